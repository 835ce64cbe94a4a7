//! The answer: a value with an error, or a refusal with a reason; either way with the evidence.

use crate::diagnostics::Diagnostics;
use crate::verdict::Verdict;

/// An estimate of a learning coefficient.
#[derive(Debug, Clone, PartialEq)]
pub enum Estimate {
    /// The chains agree and nothing speaks against them.
    Ok {
        /// λ̂.
        value: f64,
        /// Its Monte Carlo standard error, at the temperature, localisation and step size of the settings.
        mcse: f64,
        /// The evidence; look at `not_a_minimum`.
        diagnostics: Box<Diagnostics>,
    },
    /// There is no value to report.
    Refused {
        /// Why, in one word.
        verdict: Verdict,
        /// Why, in a sentence with the numbers.
        reason: String,
        /// The evidence.
        diagnostics: Box<Diagnostics>,
    },
}

impl Estimate {
    /// λ̂, unless refused.
    pub fn value(&self) -> Option<f64> {
        match self {
            Self::Ok { value, .. } => Some(*value),
            Self::Refused { .. } => None,
        }
    }

    /// The verdict; [`Verdict::Ok`] for an accepted estimate.
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::Ok { .. } => Verdict::Ok,
            Self::Refused { verdict, .. } => *verdict,
        }
    }

    /// The evidence.
    pub fn diagnostics(&self) -> &Diagnostics {
        match self {
            Self::Ok { diagnostics, .. } | Self::Refused { diagnostics, .. } => diagnostics,
        }
    }
}
