//! What an observable gives back, and why it may not.

use ontogeny_graph::{GraphError, RunError};
use ontogeny_stats::ArrayError;
use ontogeny_zoo::AttackError;

/// A dense array with named dimensions and a unit, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// Unit of the values; `1` for pure numbers.
    pub unit: &'static str,
    /// Each dimension with its labels, outermost first.
    pub dims: Vec<(&'static str, Vec<String>)>,
    /// As many values as the product of the numbers of labels.
    pub values: Vec<f64>,
}

impl Measured {
    /// One value for each label of one dimension.
    pub fn along(dim: &'static str, unit: &'static str, entries: Vec<(String, f64)>) -> Self {
        let (labels, values) = entries.into_iter().unzip();
        Self { unit, dims: vec![(dim, labels)], values }
    }

    /// The value at a label of a one-dimensional array; `None` without that label, or with several dimensions.
    pub fn get(&self, label: &str) -> Option<f64> {
        let [(_, labels)] = self.dims.as_slice() else {
            return None;
        };
        let at = labels.iter().position(|own| own == label)?;
        self.values.get(at).copied()
    }
}

/// What an instrument finds at one checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct Findings {
    /// What is followed over the run.
    pub value: Measured,
    /// Standard errors in the layout of the value, where it has them.
    pub standard_errors: Option<Vec<f64>>,
    /// Further arrays by name, kept with it.
    pub arrays: Vec<(&'static str, Measured)>,
    /// Further numbers by name, for tables.
    pub details: Vec<(&'static str, f64)>,
    /// Why there is no value, where there is none; the values are then NaN and count for nobody.
    pub refusal: Option<Refusal>,
}

/// Why a checkpoint has no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What is the matter, in two words.
    pub verdict: &'static str,
    /// What was found, and what to do.
    pub reason: String,
}

impl From<Measured> for Findings {
    fn from(value: Measured) -> Self {
        Self { value, standard_errors: None, arrays: Vec::new(), details: Vec::new(), refusal: None }
    }
}

/// Why an observable could not be measured.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// The network's graph does not hold what the observable reads.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The program failed.
    #[error(transparent)]
    Run(#[from] RunError),
    /// Examples that could not be attacked.
    #[error(transparent)]
    Attack(#[from] AttackError),
    /// The observable is not defined for this network or task.
    #[error("`{observable}` needs {needs}; this run has {found}")]
    NotDefined {
        /// The observable.
        observable: &'static str,
        /// What it needs.
        needs: String,
        /// What there is.
        found: String,
    },
    /// A setting out of range, or what the data do not allow; the message says what is expected.
    #[error("{0}")]
    Setting(String),
    /// Arrays that an analysis cannot begin with.
    #[error(transparent)]
    Array(#[from] ArrayError),
    /// Somebody asked for the end of it.
    #[error("the measurement was cancelled")]
    Cancelled,
    /// A value that is not finite.
    #[error("non-finite value, first at `{node}`; expected finite weights and activations")]
    NonFinite {
        /// The first parameter, or else activation, that holds one.
        node: String,
    },
}

/// Mean, and its standard error for independent numbers; the latter is NaN for fewer than two.
pub(crate) fn mean_and_error(numbers: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let n = numbers.clone().count() as f64;
    let mean = numbers.clone().sum::<f64>() / n;
    let squares: f64 = numbers.map(|x| (x - mean).powi(2)).sum();
    (mean, (squares / (n - 1.0) / n).sqrt())
}

impl ObserveError {
    /// `node` is what a program gives as its first non-finite value, `seen` where the observable met one.
    pub(crate) fn non_finite(node: Option<String>, seen: &str) -> Self {
        let node = node.unwrap_or_else(|| seen.to_owned());
        Self::NonFinite { node }
    }
}
