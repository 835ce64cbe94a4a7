//! Run files and their execution: one TOML file describes a run, one call does whatever of it is missing.
//!
//! [`RunFile::read`] parses and checks a file; [`Run::prepare`] resolves data, network and measurements; its work list
//! is what a dry run prints; [`Run::execute`] trains or imports, measures, detects transitions and stages, and leaves
//! everything in the run's folder. It is idempotent: a second call finds nothing to do, a killed one is continued with
//! the same bits, and several at once share the work.
//!
//! [`read_series`] and [`detect`] do the last of that for curves from anywhere: CSV, NPZ and JSON files as well as runs.

mod adopt;
mod analysis;
mod board;
mod calibrate;
mod change_points;
mod checkpoint_series;
mod curriculum;
mod detect;
mod error;
mod essential;
mod event;
mod execute;
mod explain;
mod fluctuations;
mod hub;
mod import;
mod influence;
mod instruments;
mod kept_losses;
mod known_network;
mod llc_config;
mod look;
mod measure;
mod opened;
mod partner;
mod parts;
mod prepare;
mod relative_variance;
mod response_config;
mod responses;
mod run_file;
mod sections;
mod series;
mod start;
mod start_heads;
mod station;
mod sweep;
mod toml_source;
mod training;
mod training_log;
mod trajectory;
mod warnings;

pub use ontogeny_graph::ENGINE_VERSION;

pub use change_points::{ChangePointsConfig, ChangeTime, change_points};
pub use curriculum::StageConfig;
pub use detect::{Detection, Found, detect};
pub use error::StudyError;
pub use event::{Event, Refusal, Summary};
pub use execute::Options;
pub use explain::{ExplainSettings, Explanation, PartExplanation, Question};
pub use llc_config::LlcConfig;
pub use look::{Comparison, LookAt, PartExamples, ShownExample, TokenChange};
pub use opened::OpenedRun;
pub use parts::sum_of_parts;
pub use prepare::{Run, WorkSummary};
pub use response_config::{InfluenceConfig, RelativeVarianceConfig, SusceptibilityConfig, Truth};
pub use run_file::{RunFile, Source};
pub use sections::{ImportConfig, MeasureConfig, ObservableConfig, Paths, ReportConfig, StagesConfig, StepRule};
pub use series::{
    Every, MIN_FILE_POINTS, NameGlob, NameGlobError, NamedSeries, SeriesFile, SeriesFileError, SeriesSettings,
    read_series,
};
pub use start::{PruneConfig, StartConfig};
pub use start_heads::HeadStart;
pub use sweep::{Member, Sweep};
pub use toml_source::{Overrides, RunFileError, Scale, nearest, read_toml};
pub use trajectory::{TrajectoryConfig, TrajectoryOf};
pub use warnings::{WarningsConfig, warnings};
