//! Run files, training and measurements through the public interface.
//!
//! One program for all of them: linking one takes as long as a quick test, and a slow test leaves the other core to others.

mod agents;
mod common;
mod curriculum;
mod execution;
mod influence;
mod kept_losses;
mod relative_variance;
mod robustness;
mod stages_section;
mod start;
mod subtasks;
mod susceptibility;
mod training;
mod trajectory;
