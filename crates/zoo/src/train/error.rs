//! Why a trainer cannot be made, a state cannot be continued, a training stopped.

use ontogeny_graph::{GraphError, RunError};

use crate::{AttackError, Interface, SettingError};

/// Why a trainer cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum TrainerError {
    /// A setting out of range.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// A setting that does not go with the examples of one of several stages.
    #[error("in the stage `{name}`: {source}")]
    Stage {
        /// The stage.
        name: String,
        /// What is wrong.
        source: SettingError,
    },
    /// A stage that begins at the wrong step.
    #[error("the stage `{name}` begins at step {found}; expected {expected}")]
    StageStep {
        /// The stage.
        name: String,
        /// Its first step.
        found: u64,
        /// What is allowed, in words.
        expected: String,
    },
    /// A stage that asks for another network than the last one.
    #[error(
        "the stage `{name}` has {found}; expected {expected}, as the task that is trained last: a training has one network"
    )]
    StageInterface {
        /// The stage.
        name: String,
        /// What its task gives to a network and asks of it.
        found: Box<Interface>,
        /// The same of the last stage.
        expected: Box<Interface>,
    },
    /// Inputs that cannot be attacked.
    #[error("in train.adversarial: {0}")]
    Attack(#[from] AttackError),
    /// The graph of model and loss cannot be compiled.
    #[error("failed to compile the training step")]
    Graph(#[from] GraphError),
    /// More memory than there is.
    #[error(
        "a training step needs at least {bytes} bytes of memory, more than are free; make the network or the batch smaller"
    )]
    OutOfMemory {
        /// What it needs.
        bytes: usize,
    },
}

/// Why a saved state cannot be continued.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResumeError {
    /// More steps than the training has.
    #[error("the saved state is at step {found}; expected at most {n_steps}, the steps of this training")]
    Step {
        /// Step of the state.
        found: u64,
        /// Steps of the training.
        n_steps: u64,
    },
    /// Other buffers than the optimiser's.
    #[error("the saved state has the optimiser buffers {found:?}; expected {expected:?}")]
    Buffers {
        /// Names in the state.
        found: Vec<String>,
        /// Names of the optimiser.
        expected: Vec<&'static str>,
    },
    /// Of another network.
    #[error("`{name}` of the saved state has {found} values; expected {expected}")]
    Length {
        /// `weights` or a buffer.
        name: String,
        /// Its length.
        found: usize,
        /// Parameters of the model.
        expected: usize,
    },
}

/// Why a training stopped.
#[derive(Debug, thiserror::Error)]
pub enum TrainError<E> {
    /// The loss or the weights are no longer numbers.
    #[error(
        "training stopped at step {step}: {found}; the first such value arose at `{node}`; lower the learning rate"
    )]
    NonFinite {
        /// Updates done.
        step: u64,
        /// What was seen.
        found: String,
        /// The first node, or the parameter, that held one.
        node: String,
    },
    /// The Fisher matrix of a natural gradient has no inverse.
    #[error(
        "training stopped at step {step}: the Fisher matrix plus train.damping = {damping} is not positive definite; raise the damping"
    )]
    Singular {
        /// Updates done.
        step: u64,
        /// What was added to the diagonal.
        damping: f64,
    },
    /// An attack on a batch failed.
    #[error("training stopped at step {step}, at the attack on its batch: {source}; lower the learning rate")]
    Attack {
        /// Updates done.
        step: u64,
        /// Why.
        source: AttackError,
    },
    /// The data do not fit the program.
    #[error("failed at step {step}")]
    Run {
        /// Updates done.
        step: u64,
        /// What did not fit.
        source: RunError,
    },
    /// The caller's own error, from its event function.
    #[error(transparent)]
    Caller(E),
}
