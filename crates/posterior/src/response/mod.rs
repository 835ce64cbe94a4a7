//! What the draws of a posterior say beyond its learning coefficient: susceptibilities, influence, covariance.
//!
//! A [`Probe`] is a set of examples whose losses are recorded at every draw, before that step's update and at the very
//! weights whose loss enters λ̂. [`LossDraws`] holds them; [`Susceptibilities`] and [`Influence`] are functions of them.
//! [`WeightDraws`] holds the weights instead, for their covariance and the shape of their paths.

mod covariance;
mod influence;
mod loss_draws;
mod observer;
mod probe;
mod series;
mod susceptibility;
mod trajectory;
mod weight_draws;

pub use covariance::{Covariance, Direction};
pub use influence::{Influence, Pair, TopPair};
pub use loss_draws::{Item, LossDraws, ProbeItems, Recording};
pub use probe::{Detail, Probe, ProbeError};
pub use susceptibility::{Chi, ComponentResponse, ResponseTable, Susceptibilities};
pub use trajectory::{Trajectory, random_walk_share};
pub use weight_draws::WeightDraws;

use crate::estimate::Estimate;
use crate::llc::{LlcError, SettingsError};
use crate::verdict::Verdict;

/// Why draws could not be recorded at all.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ResponseError {
    /// As of a learning coefficient.
    #[error(transparent)]
    Llc(#[from] LlcError),
    /// A probe that does not fit.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// More memory than allowed.
    #[error("{what} would take {needed} bytes, and {limit} are allowed: {remedy}")]
    Memory {
        /// What is kept, with the numbers.
        what: String,
        /// Bytes it takes.
        needed: u128,
        /// Bytes that are allowed.
        limit: usize,
        /// What to do.
        remedy: &'static str,
    },
}

impl From<SettingsError> for ResponseError {
    fn from(error: SettingsError) -> Self {
        Self::Llc(error.into())
    }
}

impl From<crate::selection::RestrictionError> for ResponseError {
    fn from(error: crate::selection::RestrictionError) -> Self {
        Self::Llc(error.into())
    }
}

/// Something computed from chains, or why there is no value.
#[derive(Debug, Clone, PartialEq)]
pub enum Judged<T> {
    /// Nothing speaks against the chains.
    Ok(T),
    /// There is no value to report.
    Refused(Refusal),
}

/// Why there is no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The part of the network whose chains are refused.
    pub component: String,
    /// Why, in one word.
    pub verdict: Verdict,
    /// Why, in a sentence with the numbers.
    pub reason: String,
}

impl<T> Judged<T> {
    /// The value, unless refused.
    pub fn value(&self) -> Option<&T> {
        match self {
            Self::Ok(value) => Some(value),
            Self::Refused(_) => None,
        }
    }
}

/// The refusal of an estimate on a component, if it is one.
fn refusal(component: &str, estimate: &Estimate) -> Option<Refusal> {
    match estimate {
        Estimate::Ok { .. } => None,
        Estimate::Refused { verdict, reason, .. } => {
            Some(Refusal { component: component.to_owned(), verdict: *verdict, reason: reason.clone() })
        }
    }
}

/// Checks that something fits into the allowed memory before any of it is taken.
fn check_memory(
    what: impl FnOnce() -> String,
    needed: u128,
    limit: usize,
    remedy: &'static str,
) -> Result<(), ResponseError> {
    if needed <= limit as u128 { Ok(()) } else { Err(ResponseError::Memory { what: what(), needed, limit, remedy }) }
}
