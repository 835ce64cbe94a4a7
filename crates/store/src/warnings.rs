//! Early warnings of a transition to come: what `warnings` of a view holds.

use serde::{Deserialize, Serialize};

/// Early warnings of several series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Warnings {
    /// The last step that was looked at, where one was named.
    pub until: Option<f64>,
    /// Of every series that has values at even intervals, in the order of the file or of the addresses.
    pub series: Vec<SeriesWarning>,
    /// How the series fluctuate together, where several share their steps.
    pub together: Option<Together>,
    /// What was not looked at, and why.
    pub left_out: Vec<String>,
}

/// Early warnings of one series (Scheffer et al. 2009).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeriesWarning {
    /// Its name.
    pub name: String,
    /// Unit of its values; empty where nobody knows it.
    pub unit: String,
    /// Values looked at.
    pub n_values: usize,
    /// Kendall's τ of the variance in a rolling window with time.
    pub variance_tau: f64,
    /// Share of surrogates that rise as much, corrected for all trends of the call (Benjamini and Hochberg 1995).
    pub variance_p: f64,
    /// Kendall's τ of the lag-1 autocorrelation.
    pub autocorrelation_tau: f64,
    /// As `variance_p`.
    pub autocorrelation_p: f64,
    /// Variance in the last window over that in the first.
    pub variance_ratio: f64,
    /// Autocorrelation in the first and in the last window.
    pub autocorrelation: [f64; 2],
    /// Both in windows over the series, at most 200 of them.
    pub indicators: Indicators,
}

/// Indicators in a rolling window of half of the values, by the step of its last value; all lists have the same length.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Indicators {
    /// Steps at which the windows end.
    pub steps: Vec<f64>,
    /// Variance of the values about their trend.
    pub variance: Vec<f64>,
    /// Lag-1 autocorrelation of the values about their trend.
    pub autocorrelation: Vec<f64>,
}

/// How several series fluctuate about straight lines in windows that end at a step (Oku & Aihara 2018; Chen et al. 2012).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Together {
    /// Names of the series, the units.
    pub units: Vec<String>,
    /// The windows, by their ends.
    pub windows: Vec<Window>,
    /// Kendall's τ of the variance along the dominant direction with time; windows overlap, so that it has no simple p-value.
    pub variance_tau: f64,
    /// The units whose fluctuations stand out together in the last window, if any.
    pub group: Option<Group>,
}

/// The dominant mode of the fluctuations in one window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// Step of its last values.
    pub step: f64,
    /// Largest eigenvalue of the covariance.
    pub variance: f64,
    /// Its share of the sum of all.
    pub share: f64,
    /// |cosine| of its direction with that of the window before; 0 of the first.
    pub agreement: f64,
    /// The direction, an entry for each unit.
    pub direction: Vec<f64>,
}

/// Units that fluctuate strongly, together, and apart from the others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Their names.
    pub units: Vec<String>,
    /// Deviation times correlation inside over correlation across.
    pub index: f64,
    /// Share of unrelated units of the same spectra in which a group as strong is found.
    pub p_value: f64,
}
