//! `observable = "trajectory"`: where each checkpoint stands in the space of functions (or of weights), kept at every step.

use std::collections::BTreeMap;

use ontogeny_observe::{OUTPUTS_VERSION, ObserveError, OutputReader, Outputs};
use ontogeny_store::{Detail, NumberType, Outcome, RecordArray, index_labels};
use ontogeny_zoo::{Model, Task};
use serde::{Deserialize, Serialize};

use crate::measure::{Reading, insert_number};

/// Version of what is kept.
pub(crate) const TRAJECTORY_VERSION: u32 = OUTPUTS_VERSION;

/// Name of the kept numbers in a record.
pub(crate) const POINT: &str = "point";

/// Most numbers of all checkpoints together, 1 GB in memory: the analysis holds them at once.
const MAX_NUMBERS: usize = 1 << 28;

/// Most numbers of one checkpoint.
const MAX_WIDTH: usize = 1 << 24;

/// Examples that are taken unless the file says how many.
const EXAMPLES: usize = 1000;

/// Settings of `observable = "trajectory"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrajectoryConfig {
    /// What stands for a checkpoint; `logits` unless given.
    #[serde(default)]
    pub of: TrajectoryOf,
    /// The split whose examples are answered; unless given `even`, else `test`, else `train`, whichever the task has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// Examples, evenly spaced over the split; 1000, or all where there are fewer, unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub examples: Option<usize>,
    /// Width of the Gaussian kernel that smooths the path before its curvature is taken, in units of ln(step + 1); 0.15 unless given.
    #[serde(default = "default_smoothing")]
    pub smoothing: f64,
}

fn default_smoothing() -> f64 {
    0.15
}

/// What stands for a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TrajectoryOf {
    /// Logits of every answer, or predictions.
    #[default]
    Logits,
    /// The loss of every answer: minus its log-likelihood.
    Losses,
    /// All weights.
    Weights,
}

impl TrajectoryOf {
    /// The word in run files.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Logits => "logits",
            Self::Losses => "losses",
            Self::Weights => "weights",
        }
    }
}

/// Reads the point of any weights.
pub(crate) enum TrajectoryProbe {
    Outputs(Box<OutputReader>),
    Weights,
}

impl TrajectoryProbe {
    /// Chooses the examples; `n_steps` checkpoints are to be read. `Err` explains what does not fit.
    pub(crate) fn new(config: &TrajectoryConfig, model: &Model, task: &Task, n_steps: usize) -> Result<Self, String> {
        if !(config.smoothing > 0.0 && config.smoothing.is_finite()) {
            return Err(format!(
                "`smoothing` is {}; expected a number above 0, in units of ln(step + 1)",
                config.smoothing
            ));
        }
        let outputs = match config.of {
            TrajectoryOf::Logits => Outputs::Logits,
            TrajectoryOf::Losses => Outputs::Losses,
            TrajectoryOf::Weights => {
                if config.split.is_some() || config.examples.is_some() {
                    let key = if config.split.is_some() { "split" } else { "examples" };
                    return Err(format!("`{key}` chooses examples, and `of = \"weights\"` looks at none; remove it"));
                }
                let n = model.space().len();
                return check_size(n, n_steps, "the network has too many weights").map(|()| Self::Weights);
            }
        };
        let split = task.evaluation_split(config.split.as_deref())?;
        let n_all = split.data.len();
        let n = config.examples.unwrap_or(EXAMPLES.min(n_all));
        if n == 0 || n > n_all {
            return Err(format!("`examples` is {n}; expected 1 to {n_all}, those of the split `{}`", split.name));
        }
        let rows: Vec<usize> = (0..n).map(|i| i * n_all / n).collect();
        let reader = OutputReader::new(model, split.data.rows(&rows), outputs).map_err(|error| error.to_string())?;
        check_size(n.saturating_mul(reader.width()), n_steps, "lower `examples`")?;
        Ok(Self::Outputs(Box::new(reader)))
    }

    /// The point, and as the value its root mean square.
    pub(crate) fn measure(&mut self, weights: &[f32]) -> Result<Reading, ObserveError> {
        let (point, dims) = match self {
            Self::Outputs(reader) => {
                (reader.read(weights)?, vec![("example", reader.n_examples()), ("output", reader.width())])
            }
            Self::Weights => (weights.to_vec(), vec![("weight", weights.len())]),
        };
        let squares: f64 = point.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
        let mut details = BTreeMap::<String, Detail>::new();
        insert_number(&mut details, "n_outputs", point.len() as f64);
        let value = RecordArray {
            name: "value".to_owned(),
            unit: "1".to_owned(),
            dims: Vec::new(),
            coordinates: BTreeMap::new(),
            number: NumberType::Float64,
            values: vec![(squares / point.len() as f64).sqrt()],
        };
        let point = RecordArray {
            name: POINT.to_owned(),
            unit: "1".to_owned(),
            dims: dims.iter().map(|(dim, _)| (*dim).to_owned()).collect(),
            coordinates: dims.into_iter().map(|(dim, n)| (dim.to_owned(), index_labels(n))).collect(),
            number: NumberType::Float32,
            values: point.into_iter().map(f64::from).collect(),
        };
        Ok(Reading { outcome: Outcome::Done, arrays: vec![value, point], details })
    }
}

fn check_size(width: usize, n_steps: usize, remedy: &str) -> Result<(), String> {
    let n_all = width.saturating_mul(n_steps);
    if width > MAX_WIDTH || n_all > MAX_NUMBERS {
        return Err(format!(
            "a trajectory of {width} numbers at {n_steps} checkpoints; expected at most {MAX_WIDTH} at each and \
             {MAX_NUMBERS} at all together: {remedy}, or keep fewer checkpoints"
        ));
    }
    Ok(())
}
