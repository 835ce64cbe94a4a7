//! A mean curve as the sum of its components: what `parts` of a view holds.

use serde::{Deserialize, Serialize};

/// A mean curve, its components, and the sigmoids that it is made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SumOfParts {
    /// Address of the curve that is taken apart, such as `loss.test`; `None`: the weighted mean of the components itself.
    pub mean: Option<String>,
    /// Unit of all values.
    pub unit: String,
    /// Share of the variation of that curve that the weighted mean of the components explains; may be negative. `None` where it is that mean.
    pub explained: Option<f64>,
    /// Steps of the curves below, at most 100.
    pub steps: Vec<f64>,
    /// The curve at these steps.
    pub values: Vec<f64>,
    /// The components, in the order of their half times; those without one come last.
    pub components: Vec<Part>,
    /// The curve as a level and sigmoids in ln(step + 1), by step.
    pub sigmoids: Vec<PartSigmoid>,
    /// Share of its variation that they explain.
    pub explained_by_sigmoids: f64,
    /// Line of ln half time over ln weight, through the components that are learned; `None` where weights are all the same, or fewer than
    /// three are learned.
    pub learning_times: Option<PartFit>,
}

/// A component.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Its name.
    pub name: String,
    /// Its weight in the mean; all weights have sum 1.
    pub weight: f64,
    /// Its share in the change of the mean, from the first step to the last; all shares have sum 1.
    pub share: f64,
    /// Step at which half of its own change is made for the last time; `None` where it does not change.
    pub half_time: Option<f64>,
    /// Largest part of its fall (or rise) in one of ten equal stretches of ln(step + 1): 1 for a sudden one.
    pub sharpness: f64,
    /// Whether it changes by at least half as much as the component that changes most.
    pub is_learned: bool,
    /// Its weight times its values, at the steps above.
    pub contribution: Vec<f64>,
}

/// A sigmoid of the mean curve.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartSigmoid {
    /// Step of its middle.
    pub step: f64,
    /// 10–90 % width in decades of step + 1.
    pub decades: f64,
    /// Signed change.
    pub change: f64,
    /// Learned components whose half time lies within its 10–90 % span.
    pub components: Vec<String>,
}

/// A power law.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartFit {
    /// The exponent.
    pub slope: f64,
    /// Its standard error; `None` where the points lie on the line.
    pub standard_error: Option<f64>,
    /// Share of the variance that the line explains.
    pub explained: f64,
    /// Number of components.
    pub n: usize,
}
