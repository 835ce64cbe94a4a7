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
//! A network of one's own is a graph, and the same estimator takes it:
//!
//! ```
//! use ontogeny::graph::{Column, ColumnData};
//! use ontogeny::prelude::*;
//!
//! let x = (0..32 * 20).map(|i| ((i * 7 % 11) as f32 - 5.0) / 5.0).collect();
//! let y = (0..32).map(|i| i % 10).collect();
//! let data = DataSet::new(32, vec![
//!     Column { name: "x".to_owned(), width: 20, data: ColumnData::Float(x) },
//!     Column { name: "y".to_owned(), width: 1, data: ColumnData::Ids(y) },
//! ])?;
//! let objective = Objective::new(data, |batch| {
//!     let mut g = Graph::new();
//!     let x = g.input("x", &[batch, 20]);
//!     let hidden = g.linear("hidden", x, 16);
//!     let hidden = g.relu(hidden);
//!     let logits = g.linear("out", hidden, 10);
//!     let targets = g.input_ids("y", &[batch]);
//!     let loss = g.cross_entropy(logits, targets); // one loss for each example
//!     (g, loss)
//! })?;
//! let weights = vec![0.01; objective.space().len()];
//! let estimate = Llc { step_size: 1e-4, localization: 100.0, ..Llc::default() }.estimate(&objective, &weights)?;
//! println!("{}", estimate.verdict());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | module | what |
//! |---|---|
//! | [`graph`] | differentiable tensor graphs, compiled to programs that run without allocating |
//! | [`zoo`] | networks, tasks, weight formats, the trainer |
//! | [`posterior`] | samplers, chains, learning coefficients with their errors and verdicts |
//! | [`observe`] | losses, norms, legal moves, Fourier progress measures |
//! | [`stats`] | chain diagnostics, transitions, stages |
//! | [`store`] | runs on disk |
//! | [`study`] | run files and their execution; series from CSV, NPZ and JSON files |
//! | [`web`] | the report, and pictures of any series |

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
    pub use ontogeny_study::{OpenedRun as Run, RunFile, SeriesSettings, detect, read_series};
    pub use ontogeny_zoo::{Model, NetworkConfig, TaskConfig, Trainer};
}
