//! The observables that are settings and an instrument: one table, from which run files, records and reports know them.

use std::num::NonZero;
use std::sync::atomic::AtomicBool;

use ontogeny_zoo::{Model, Task};
use serde::{Deserialize, Deserializer, Serialize};

use crate::head_scores::{HEAD_SCORES_VERSION, HeadScoresSettings};
use crate::{Findings, ObserveError, Partner};

/// What an observable is made for.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The network.
    pub model: &'a Model,
    /// The data it is measured on.
    pub task: &'a Task,
    /// Of everything that is drawn.
    pub seed: u32,
}

/// One checkpoint to measure, and how.
#[derive(Clone, Copy)]
pub struct Checkpoint<'a> {
    /// Flat, in the order of the model's parameter space.
    pub weights: &'a [f32],
    /// Weights of the partner, where the settings name one.
    pub partner: Option<&'a [f32]>,
    /// Threads that it may use.
    pub threads: NonZero<usize>,
    /// Told the share that is done, 0 to 1.
    pub progress: &'a (dyn Fn(f64) + Sync),
    /// When it is set, the measurement ends with [`ObserveError::Cancelled`].
    pub cancel: &'a AtomicBool,
}

impl<'a> Checkpoint<'a> {
    /// A checkpoint without partner, measured by one thread to its end.
    pub fn alone(weights: &'a [f32]) -> Self {
        static NEVER: AtomicBool = AtomicBool::new(false);
        Self { weights, partner: None, threads: NonZero::<usize>::MIN, progress: &|_| (), cancel: &NEVER }
    }

    /// # Errors
    /// [`ObserveError::Cancelled`] when somebody wants the measurement to end.
    pub fn check_cancelled(&self) -> Result<(), ObserveError> {
        if self.cancel.load(std::sync::atomic::Ordering::Relaxed) { Err(ObserveError::Cancelled) } else { Ok(()) }
    }
}

/// Settings of an observable, as a run file writes them.
pub trait Settings {
    /// Compiles what the measurement needs.
    ///
    /// # Errors
    /// A network or task without what is read, or a setting out of range.
    fn build(&self, subject: &Subject<'_>) -> Result<Box<dyn Instrument>, ObserveError>;

    /// The other checkpoint that each one is compared with, where it is.
    fn partner(&self) -> Option<&Partner> {
        None
    }
}

/// Programs and choices of one observable, made once and used at each checkpoint.
pub trait Instrument: Send {
    /// Dimensions of the value with their labels, outermost first; the same at every checkpoint.
    fn dims(&self) -> Vec<(&'static str, Vec<String>)>;

    /// Measures one checkpoint.
    ///
    /// # Errors
    /// Weights that are not finite or of another network, or a cancellation.
    fn measure(&mut self, checkpoint: &Checkpoint<'_>) -> Result<Findings, ObserveError>;
}

/// Every kind: its settings, its name in run files, the version of its algorithm (records of another version are made
/// again), its unit, and a sentence that says what is measured.
macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident($settings:ty): $name:literal, version $version:expr, unit $unit:expr, says $says:expr;)+) => {
        /// An observable that a run file asks for, with its settings.
        #[derive(Debug, Clone, PartialEq, Serialize)]
        #[non_exhaustive]
        pub enum Observed {
            $($(#[$doc])* #[serde(rename = $name)] $variant($settings),)+
        }

        impl Observed {
            /// The names in run files.
            pub const KINDS: &'static [&'static str] = &[$($name),+];

            /// Reads the settings of the kind of that name.
            ///
            /// # Errors
            /// Settings that the kind does not have, or no such kind.
            pub fn deserialize_kind<'de, D: Deserializer<'de>>(kind: &str, settings: D) -> Result<Self, D::Error> {
                match kind {
                    $($name => <$settings>::deserialize(settings).map(Self::$variant),)+
                    other => Err(serde::de::Error::unknown_variant(other, Self::KINDS)),
                }
            }

            /// The name in run files and records.
            pub fn kind(&self) -> &'static str {
                match self { $(Self::$variant(_) => $name,)+ }
            }

            /// Version of the algorithm.
            pub fn version(&self) -> u32 {
                match self { $(Self::$variant(_) => $version,)+ }
            }

            /// Unit, and one sentence that says what is measured.
            pub fn describe(&self) -> (&'static str, &'static str) {
                match self { $(Self::$variant(_) => ($unit, $says),)+ }
            }

            /// The settings.
            pub fn settings(&self) -> &dyn Settings {
                match self { $(Self::$variant(settings) => settings,)+ }
            }
        }
    };
}

kinds! {
    /// Where attention heads look.
    HeadScores(HeadScoresSettings): "head_scores", version HEAD_SCORES_VERSION, unit "1",
        says "Attention of each head, on repeated random sequences, to the previous token, the current one, the first, the earlier \
              copies of the current one (duplicate) and what followed them (induction).";
}
