//! Studies: a question as a file, its hypotheses registered before the runs that test them, and a verdict.

pub mod audit;
pub mod expression;
pub mod forecast;
pub mod registry;
pub mod run_names;
