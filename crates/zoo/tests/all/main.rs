//! Networks, tasks and readers through the public interface.
//!
//! One program for all of them: linking one takes as long as a quick test, and a slow test leaves the other core to others.

mod adversarial_training;
mod agents;
mod burn;
mod deep_linear;
mod every_task;
mod families;
mod families_hostile;
mod formats;
mod formats_hostile;
mod formats_layout;
mod formats_pickle;
mod images;
mod induction_heads;
mod networks;
mod onnx;
mod onnx_hostile;
mod programs;
mod progress_loss;
mod run_file;
mod stages;
mod stories;
mod tasks;
mod text;
mod tokens;
mod training;
