//! Developmental interpretability: watch neural networks while they train, and find, locate and explain the phase
//! transitions in what they learn.
//!
//! The binary `ontogeny` runs one TOML file from training to report. This library is the same toolkit for programs:
//!
//! ```no_run
//! use ontogeny::prelude::*;
//!
//! let run = Run::open("runs/grokking-3f9a")?;
//! let objective = run.objective("train")?; // program, batches and n
//! let llc = Llc { chains: 8, ..Llc::default() }.restrict("l0h2")?;
//! for (step, weights) in run.checkpoints()? {
//!     match llc.estimate(&objective, &weights?)? {
//!         Estimate::Ok { value, mcse, .. } => println!("{step}: {value:.2} ± {mcse:.2}"),
//!         Estimate::Refused { verdict, .. } => println!("{step}: {verdict}"),
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | module | what |
//! |---|---|
//! | [`graph`] | differentiable tensor graphs, compiled to programs that run without allocating |
//! | [`zoo`] | networks, tasks, weight formats, the trainer |
//! | [`posterior`] | samplers, chains, learning coefficients with their errors and verdicts |
//! | [`observe`] | losses, norms, Fourier progress measures |
//! | [`stats`] | chain diagnostics, transitions, stages |
//! | [`store`] | runs on disk |
//! | [`study`] | run files and their execution |
//! | [`web`] | the report |

pub use ontogeny_graph as graph;
pub use ontogeny_observe as observe;
pub use ontogeny_posterior as posterior;
pub use ontogeny_stats as stats;
pub use ontogeny_store as store;
pub use ontogeny_study as study;
pub use ontogeny_web as web;
pub use ontogeny_zoo as zoo;

/// What most programs need.
pub mod prelude {
    pub use ontogeny_graph::{DataSet, Gradient, Graph, Node, Program, Workspace};
    pub use ontogeny_posterior::{Estimate, Llc, Objective, Restriction, Sampler, Verdict};
    pub use ontogeny_stats::{Series, TransitionSettings, transitions};
    pub use ontogeny_store::{RunFolder, RunView};
    pub use ontogeny_study::{OpenedRun as Run, RunFile};
    pub use ontogeny_zoo::{Model, NetworkConfig, TaskConfig, Trainer};
}
