//! Differentiable tensor graphs, compiled to programs that run without allocating.
//!
//! A [`Graph`] is built from named parameters, inputs and operations; derivatives of both modes are further nodes of
//! the same graph; [`Program::compile`] simplifies and plans it once, and any number of threads execute it, each in
//! its own [`Workspace`].
//!
//! ```
//! use ontogeny_graph::{Gradient, Graph, Program, Workspace};
//!
//! let mut g = Graph::new();
//! let x = g.input("x", &[4, 3]);
//! let y = g.input("y", &[4, 1]);
//! let prediction = g.linear("out", x, 1);
//! let loss = g.mean_squared_error(prediction, y);
//! let program = Program::compile(&g, &[("loss", loss)], Gradient::All(loss))?;
//!
//! let mut workspace = Workspace::new(&program);
//! workspace.floats_mut(&program, "x")?.fill(1.0);
//! workspace.floats_mut(&program, "y")?.fill(2.0);
//! program.run(&mut workspace, &[0.5, 0.5, 0.5, 0.0])?; // out.W, then out.b
//! assert_eq!(workspace.output(&program, "loss"), [0.25]);
//! assert_eq!(workspace.gradient(&program), [-1.0, -1.0, -1.0, -1.0]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![expect(clippy::inline_always, reason = "a loop's helpers must be compiled with the instruction set of its copy")]

mod build;
mod chunk;
mod compile;
mod convolution;
mod curvature;
mod data;
mod einsum;
mod forward;
mod graph;
mod hoist;
mod interpret;
mod isa;
mod kernels;
mod lanczos;
mod layers;
mod listing;
mod math;
mod padding;
mod params;
mod plan;
mod probes;
mod program;
mod random;
mod reverse;
mod rotary;
mod shape;
mod simplify;
mod threads;
mod tridiagonal;
mod turn;
mod update;

/// Version of the engine's bits: raised whenever a program, an update or a random stream gives other bits than before on
/// the same instruction set. Runs record it beside that set. (`tests/determinism.rs` notices a change.)
pub const ENGINE_VERSION: u32 = 2;

pub use compile::Gradient;
pub use convolution::Convolution;
pub use curvature::{Curvature, CurvatureProgram};
pub use data::{Column, ColumnData, DataSet, DataSetError, ElementsMut};
pub use graph::{DType, Graph, GraphError, Node};
pub use interpret::{InterpretError, Real, Value, cross_entropy};
pub use isa::{Isa, IsaError};
pub use lanczos::{EigenPair, SpectrumError, top_eigenpairs};
pub use listing::Profile;
pub use params::{Param, ParamSpace};
pub use probes::{ProbeMean, SpectralDensity, hutchinson_trace};
pub use program::{Program, RunError, Workspace};
pub use random::{Purpose, Stream};
pub use rotary::RotaryScaling;
pub use threads::Threads;
pub use update::{
    Adam, AdamLangevin, Free, Friction, Langevin, RmsProp, RmsPropDescent, Sgd, StepNorms, adam, adam_sgld,
    add_normals, baoab, gradient_norm, rmsprop, rmsprop_sgld, scale_gradient, sgd, sghmc, sgld,
};
