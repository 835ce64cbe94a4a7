//! Where series of a run change, by an exact segmentation: what `change_points` of a view holds.

use serde::{Deserialize, Serialize};

/// The change points of several series, all found in the same way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangePoints {
    /// What a segment is taken for: `l1`, `l2`, `normal`, `rank`, `rbf`, `linear`, `continuous_linear` or `autoregressive`.
    pub shape: String,
    /// What lines run over: `log`, ln(step + 1), or `linear`, the step.
    pub time: String,
    /// How the price of a change comes about, such as `mBIC`.
    pub criterion: String,
    /// What is told of the segments beside a change, such as `mean`.
    pub quantity: String,
    /// The series in the order of their names; those without a change are there, with empty lists.
    pub series: Vec<SeriesChanges>,
}

/// The change points of one series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeriesChanges {
    /// Address of the series, such as `llc.full`.
    pub observable: String,
    /// Unit of the values, and of jumps.
    pub unit: String,
    /// Unit of `before` and `after`.
    pub quantity_unit: String,
    /// Points looked at.
    pub n_points: usize,
    /// Neighbouring points of the series that were averaged to one of these; 1: none.
    pub averaged: usize,
    /// Standard deviation of the noise of a point.
    pub noise: f64,
    /// Correlation of the noise of neighbouring points, 0 to 0.95.
    pub autocorrelation: f64,
    /// The changes, by step.
    pub changes: Vec<ChangePoint>,
    /// How many changes there would be at other prices, from the lowest price to the highest.
    pub path: Vec<PenaltyRange>,
}

/// A change point.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangePoint {
    /// First step of the new segment; of lines that meet, the step of the kink.
    pub step: f64,
    /// Lower end of its 95 % interval.
    pub lower: f64,
    /// Upper end of its 95 % interval.
    pub upper: f64,
    /// The quantity of the segment before; slopes are per decade of step + 1, or per step. `None` where a segment has none.
    pub before: Option<f64>,
    /// The quantity of the segment after.
    pub after: Option<f64>,
    /// By how much the level jumps.
    pub jump: f64,
    /// How many times the price may be for this change still to be found; at most 10.
    pub holds_to: f64,
}

/// A range of prices with the same number of changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PenaltyRange {
    /// Number of changes.
    pub n_changes: usize,
    /// Lowest price, in units of the one taken, from 0.5.
    pub from: f64,
    /// Highest price, to 10.
    pub to: f64,
}
