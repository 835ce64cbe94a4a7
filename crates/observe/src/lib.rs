//! Observables that need a network: what a checkpoint does and is, as named arrays.
//!
//! An observable takes flat weights and gives a [`Measured`] array. Those of [`Observed`] are settings of a run file that build an
//! [`Instrument`]; a new one is a file with both, and an entry in the table of `kinds.rs`. It knows no files and no training; where its numbers
//! are kept, and on which checkpoints it runs, is decided elsewhere. Each states an algorithm version: results of
//! another version are measured again. A value that is not finite is refused with the name of its origin, never kept.
//!
//! | observable | what |
//! |---|---|
//! | [`Evaluator`] | loss and accuracy on exact evaluation sets |
//! | [`HeadScores`] | where attention heads look on repeated sequences: previous token, induction and so on |
//! | [`AttentionSettings`] | attention patterns of prompts |
//! | [`CompositionSettings`] | how much of what a head writes a later one reads |
//! | [`IclScoreSettings`] | how much lower the loss is late in a sequence |
//! | [`NgramsSettings`] | how near predictions are to those of n-grams |
//! | [`IoiSettings`], [`IoiHeadsSettings`] | indirect object identification, and the heads of its circuit |
//! | [`NeuronSelectivitySettings`] | how much more active neurons are for one class |
//! | [`interventions`] | ablation, activation, attribution and path patching, patching between checkpoints, direct logit attribution, logit lens |
//! | [`CurvatureSettings`] | curvature of the loss: largest eigenvalues, trace, density, effective dimensions |
//! | [`WeightStatisticsSettings`] | norms, ranks and sparsity of weight matrices and of the matrices of attention heads |
//! | [`ActivationStatisticsSettings`] | dimensions of activations, dead units, sparsity |
//! | [`DescriptionLengthSettings`] | bits for each weight, and weights that can be 0, at a tolerated rise of the loss |
//! | [`LegalMoves`] | how often a move is legal, of networks that predict the moves of a game |
//! | [`TopExamples`] | the examples that activate a part most |
//! | [`weight_norms`] | L2 norms of the parts of a network |
//! | [`OutputReader`] | logits or losses of fixed examples, one by one |
//! | [`SimilaritySettings`] | how alike the activations of two checkpoints are: kernel alignment, canonical correlations |
//! | [`LinearProbeSettings`] | what a linear map reads from activations, cross-validated, with controls |
//! | [`ErasureSettings`] | what probe and network lose when that is erased |
//! | [`ModeConnectivitySettings`] | the loss on the straight line between two checkpoints |
//! | [`WeightMatchingSettings`] | the same when the units of one are put in the order of the other's |
//! | [`FrequenciesSettings`] | which frequencies the embedding and the neurons of modular addition have |
//! | [`MaskOverlapSettings`] | whether the largest weights are those of another checkpoint, and what they do alone |
//! | [`QuantaSettings`] | groups of examples with parallel gradients |
//! | [`FourierMeasures`] | progress measures of grokked modular addition, by the [`FourierBasis`] |
//!
//! ```
//! use std::path::Path;
//! use ontogeny_observe::{Evaluator, weight_norms};
//! use ontogeny_zoo::{Model, NetworkConfig, TaskConfig};
//! use serde_json::{from_value, json};
//!
//! let task: TaskConfig = from_value(json!({
//!     "kind": "modular_arithmetic", "p": 5, "operation": "add", "train_fraction": 0.8,
//! }))?;
//! let network: NetworkConfig = from_value(json!({
//!     "kind": "transformer", "layers": 1, "d_model": 8, "heads": 2, "d_mlp": 16, "activation": "relu",
//!     "normalization": "none", "positions": "learned",
//! }))?;
//! let task = task.prepare(0, Path::new("."))?;
//! let model = Model::new(network, task.interface)?;
//!
//! // With weights of zero all five answers are equally likely, and none is the largest.
//! let weights = vec![0.0; model.space().len()];
//! let test = &task.split("test").expect("a fifth of the pairs is left").data;
//! let found = Evaluator::new(&model)?.evaluate(&weights, test)?;
//! assert!((found.loss - 5_f64.ln()).abs() < 1e-6);
//! assert_eq!(found.accuracy, Some(0.0));
//! assert_eq!(weight_norms(&model, &weights)?.get("total"), Some(0.0));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod activation_statistics;
mod activations;
mod attention;
mod composition;
mod copying;
mod curvature;
mod description_length;
mod erased_weights;
mod erasure;
mod evaluate;
mod fourier;
mod fourier_basis;
mod frequencies;
mod head_scores;
mod head_weights;
mod icl_score;
pub mod interventions;
mod ioi;
mod ioi_prompts;
mod kinds;
mod legal_moves;
mod linear_probe;
mod mask_overlap;
mod matching;
mod measured;
mod mode_connectivity;
mod neuron_selectivity;
mod ngrams;
mod outputs;
mod partner;
mod probe_labels;
mod quanta;
mod returns;
mod samples;
mod sequences;
mod similarity;
mod top_examples;
mod weight_matching;
mod weight_norm;
mod weight_statistics;

pub use activation_statistics::ActivationStatisticsSettings;
pub use attention::{AttentionSettings, Prompt};
pub use composition::CompositionSettings;
pub use curvature::{CurvatureMatrix, CurvatureSettings};
pub use description_length::DescriptionLengthSettings;
pub use erased_weights::EraseConfig;
pub use erasure::{ErasureMethod, ErasureSettings};
pub use evaluate::{EVALUATION_VERSION, Evaluation, Evaluator};
pub use fourier::{FOURIER_VERSION, FourierMeasures, FourierProgress};
pub use fourier_basis::{FourierBasis, GridData, KEY_NEURON_SHARE, KeyFrequencies};
pub use frequencies::FrequenciesSettings;
pub use head_scores::{HEAD_SCORES_VERSION, HeadScores, HeadScoresSettings};
pub use icl_score::IclScoreSettings;
pub use ioi::{IoiHeadsSettings, IoiSettings};
pub use kinds::{Checkpoint, Instrument, LOSS, Observed, Settings, Subject};
pub use legal_moves::{LEGAL_MOVES_VERSION, LegalMoves};
pub use linear_probe::{LinearProbeSettings, ProbeControl, ProbeMethod};
pub use mask_overlap::MaskOverlapSettings;
pub use measured::{Findings, Measured, ObserveError, Refusal};
pub use mode_connectivity::ModeConnectivitySettings;
pub use neuron_selectivity::{NeuronSelectivitySettings, SelectivityBy};
pub use ngrams::NgramsSettings;
pub use outputs::{OUTPUTS_VERSION, OutputReader, Outputs};
pub use partner::Partner;
pub use probe_labels::ProbeTarget;
pub use quanta::QuantaSettings;
pub use returns::{RETURN_VERSION, expected_return};
pub use similarity::SimilaritySettings;
pub use top_examples::{TopExample, TopExamples};
pub use weight_matching::WeightMatchingSettings;
pub use weight_norm::{WEIGHT_NORM_VERSION, weight_norms};
pub use weight_statistics::WeightStatisticsSettings;
