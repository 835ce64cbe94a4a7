//! Studies: a question as a file, its hypotheses registered before the runs that test them, and a verdict.
//!
//! A [`Study`] is one TOML file ([`StudyFile`]). [`run_study`] registers it in the atlas ([`registry`]), makes the runs it needs with seeds
//! that follow from the registration, evaluates its [expressions](expression) in every run, tests its hypotheses and judges
//! them. [`audit`] says whether registry, verdicts, runs and study files agree; [`forecast`] keeps and scores predictions of verdicts.

pub mod audit;
pub mod expression;
pub mod forecast;
pub mod registry;
pub mod run_names;

mod bench;
mod catalog;
mod error;
mod estimate;
mod execute;
mod figures;
mod judge;
mod plan;
mod power;
mod reach;
mod study_file;
mod words;

pub use catalog::{Presets, Study, catalog, find};
pub use error::{AtlasError, StudyFileError};
pub use execute::{StudyEvent, StudyOptions, read_verdict, register, run_study};
pub use study_file::{Attack, AttackKind, Direction, Expect, Family, Figure, Hypothesis, StudyFile, TestKind};
