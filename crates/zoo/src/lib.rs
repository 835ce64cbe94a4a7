//! Networks, tasks, weight formats and the trainer of ontogeny.
//!
//! Weights come in through [`read_tensors`], which looks at a file's content (not at its extension) and reads
//! `.safetensors`, PyTorch `.pt`/`.pth`, `.npz` and `.npy`. A pickle is data here: nothing in it is ever executed,
//! and a file that names any function outside a short allow-list is refused before a tensor is read.
//! [`to_canonical`] then gives every tensor its TransformerLens name and layout, and [`match_shapes`] compares the
//! result with what a network expects.
//!
//! [`read_network`] knows the networks of others by their configuration files, [`read_checkpoint`] and [`family_weights`] read
//! their checkpoints.
//!
//! A [`TaskConfig`] is made ready as a [`Task`], whose interface a [`NetworkConfig`] is fitted to as a [`Model`]; a
//! [`Trainer`] then updates the model's flat weights and hands over every checkpoint. A [`PolicyTrainer`] does the same on episodes
//! of an [`Environment`], and a [`SequenceProgram`] gives weights without training.
//!
//! ```
//! use std::{convert::Infallible, ops::ControlFlow, path::Path};
//! use ontogeny_zoo::{Model, NetworkConfig, TaskConfig, TrainConfig, TrainEvent, Trainer};
//! use serde_json::{from_value, json};
//!
//! let task: TaskConfig = from_value(json!({
//!     "kind": "modular_arithmetic", "p": 5, "operation": "add", "train_fraction": 0.8,
//! }))?;
//! let network: NetworkConfig = from_value(json!({
//!     "kind": "transformer", "layers": 1, "d_model": 8, "heads": 2, "d_mlp": 16, "activation": "relu",
//!     "normalization": "none", "positions": "learned",
//! }))?;
//! let config: TrainConfig = from_value(json!({
//!     "optimizer": "adamw", "learning_rate": 1e-2, "batch": "full", "steps": 4, "checkpoints": { "linear": 2 },
//! }))?;
//!
//! let seed = 0;
//! let task = task.prepare(seed, Path::new("."))?;
//! let model = Model::new(network, task.interface)?;
//! let mut trainer = Trainer::new(&model, &task, &config, seed)?;
//! let mut state = trainer.start(model.initial_weights(seed))?;
//! let mut checkpoints = Vec::new();
//! trainer.run(&mut state, |event| {
//!     if let TrainEvent::Checkpoint(state) = event {
//!         checkpoints.push(state.step);
//!     }
//!     Ok::<_, Infallible>(ControlFlow::Continue(()))
//! })?;
//! assert_eq!(checkpoints, [0, 2, 4]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod adversarial;
mod agents;
mod families;
mod formats;
mod heads;
mod interface;
mod memory;
mod model;
mod networks;
mod ngrams;
mod onnx;
mod programs;
mod setting;
mod tasks;
mod train;
mod unit_groups;

pub use adversarial::{Adversary, Attack, AttackConfig, AttackError, AttackNorm};
pub use agents::{
    Environment, Gridworld, GridworldConfig, Opponent, Outcome, ReturnError, TaskEnvironment, TicTacToe,
    TicTacToeAgentConfig, expected_return, optimal_return, random_return,
};
pub use families::{
    CheckpointFiles, KnownNetwork, NetworkFileError, checkpoint_files, checkpoint_revisions, different_settings,
    family_weights, read_checkpoint, read_llama2c, read_network,
};
pub use formats::{
    Array, DType, Description, FileFormat, FloatStats, Layout, LayoutError, NameMap, NamedTensor, NonFinite,
    PickleScanError, ReadError, Scalar, ScalarValue, ShapeDifferences, ShapeMismatch, TensorData, TensorFile,
    TensorSummary, UnmatchedName, Unread, WeightTensor, check_finite, check_finite_weights, describe, match_shapes,
    read_arrays, read_tensors, scan_pickle, to_canonical,
};
pub use heads::{HeadError, copy_head, head_ranges, n_heads, permute_heads};
pub use interface::{Interface, Read, VectorLoss};
pub use model::{Model, Nodes, TOKEN_LOSS};
pub use networks::{
    Activation, AutoencoderConfig, CnnConfig, Initialization, MlpConfig, ModularMlpConfig, NetworkConfig, NormPosition,
    Normalization, Pooling, Positions, ResNetConfig, ResNetNorm, RotaryScalingConfig, TransformerConfig,
};
pub use ngrams::{NgramModel, ngram_entropy};
pub use onnx::{OnnxConfig, OnnxDescription, OnnxError, OnnxTensor, OnnxValue, describe_onnx};
pub use programs::{
    CompiledTransformer, Place, ProgramError, ProgramKind, Score, SequenceProgram, Threshold, Variable,
};
pub use setting::SettingError;
pub use tasks::{
    CompiledConfig, Corpus, DataFileError, DeepLinearConfig, DigitAdditionConfig, Endless, FeatureInput, FewShotConfig,
    FewShotVectorsConfig, Game, GcdConfig, IllegalMove, ImageLoss, ImageSource, ImagesConfig,
    InContextRegressionConfig, IndexFileError, IoiConfig, IoiOrder, IoiPrompt, LinearInput, LinearLoss,
    Llama2cTokenizer, ModularArithmeticConfig, OperandLaw, Operation, OthelloBoard, OthelloConfig, OutcomeLaw, Polygon,
    PositionError, PredictTokens, Prediction, RepeatedTokensConfig, SkipTrigramsConfig, SortingConfig,
    SparseParityConfig, Split, Square, SubtaskBy, Subtasks, SuperpositionConfig, Task, TaskConfig, TaskError,
    TextConfig, TextSource, TextWindows, TicTacToeBoard, TicTacToeConfig, TicTacToeGames, Tokenizer, TokensConfig,
    ToyIoiConfig, TranslationConfig, Trigger, UnknownWord, WordSortingConfig, WordUnit, Words, dmmse_predictions,
    ioi_prompts, ioi_vocabulary, modulus_of_addition, one_hot_population_loss, othello_square, othello_states,
    othello_token, ridge_predictions, skill_loss, skill_strength, squared_errors_by_position, tic_tac_toe_states,
    word_list,
};
pub use train::{
    Batch, CheckpointSchedule, EntropySgdConfig, OptimizerKind, PolicyTrainer, ProgressConfig, ProgressKind,
    ProgressPairs, RateSchedule, ResumeError, Spacing, Stage, StopBelow, TaskTrainer, TrainConfig, TrainError,
    TrainEvent, TrainOutcome, TrainState, Trainer, TrainerError, density, policy_interface, prune_smallest, rewind,
    ticket,
};
pub use unit_groups::{UnitGroup, unit_groups};
