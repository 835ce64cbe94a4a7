//! Estimators against closed forms and independent implementations.
//!
//! One program for all of them: linking one takes as long as a quick test, and a slow test leaves the other core to others.

mod arviz;
mod changes;
mod changes_ruptures;
mod common;
mod early_warnings;
mod extremes;
mod forms;
mod hypotheses;
mod null_studies;
mod probes;
mod ruptures;
mod stages;
mod transitions;
