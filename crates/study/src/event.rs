//! What a run says while it works: one stream of events for terminals, logs and JSON.

use ontogeny_store::{Analysis, RunView};
use serde::Serialize;

/// Something that happened, in order.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The run's folder is open.
    Opened {
        /// Title of the run.
        title: String,
        /// Its folder.
        directory: String,
        /// Checkpoints that exist already.
        n_checkpoints: usize,
        /// Measurements to make, those of checkpoints to come included.
        n_missing: usize,
    },
    /// Something worth knowing that is no error.
    Notice {
        /// What.
        message: String,
    },
    /// One update of the training.
    Trained {
        /// Updates done.
        step: u64,
        /// Updates in all.
        n_steps: u64,
        /// Training loss before the update, in nats.
        loss: f32,
    },
    /// A measurement is under way.
    Measuring {
        /// The measurement.
        measure: String,
        /// The checkpoint.
        step: u64,
        /// Measurements finished.
        n_done: usize,
        /// Measurements to make.
        n_total: usize,
        /// Share of this one that is done, 0 to 1.
        share: f64,
    },
    /// A measurement is done and kept.
    Measured {
        /// The measurement.
        measure: String,
        /// The checkpoint.
        step: u64,
        /// Measurements finished, this one included.
        n_done: usize,
        /// Measurements to make.
        n_total: usize,
        /// Why no value was given, if it was refused.
        #[serde(skip_serializing_if = "Option::is_none")]
        refused: Option<String>,
    },
    /// Settings of a measurement are being searched for.
    Calibrating {
        /// The measurement.
        measure: String,
        /// Share of the expected search that is done; a search may end early.
        share: f64,
    },
    /// Transitions and stages were looked for.
    Analysed {
        /// Transitions found.
        n_transitions: usize,
        /// Stage boundaries found.
        n_boundaries: usize,
    },
}

impl Event {
    /// Whether it belongs into a log: steps and shares come thousands of times, and a hundredth of them is enough.
    pub fn is_milestone(&self) -> bool {
        match self {
            Self::Trained { step, n_steps, .. } => *step == *n_steps || step.is_multiple_of((n_steps / 100).max(1)),
            Self::Measuring { .. } | Self::Calibrating { .. } => false,
            _ => true,
        }
    }
}

/// A refused estimate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// The measurement.
    pub measure: String,
    /// The checkpoint.
    pub step: u64,
    /// The verdict and its numbers.
    pub reason: String,
    /// Whether the run file accepts it.
    pub accepted: bool,
}

/// How a run ended.
#[derive(Debug, Clone)]
pub struct Summary {
    /// Everything measured.
    pub view: RunView,
    /// Transitions and stages.
    pub analysis: Analysis,
    /// Estimates that were refused.
    pub refusals: Vec<Refusal>,
}

impl Summary {
    /// Whether an estimate was refused that the run file does not accept.
    pub fn has_unaccepted_refusal(&self) -> bool {
        self.refusals.iter().any(|refusal| !refusal.accepted)
    }
}
