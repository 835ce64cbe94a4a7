//! Tasks: a data distribution, its loss and its exact evaluation sets.

#[cfg(feature = "tokenizers")]
mod byte_pairs;
mod compiled;
mod data_file;
mod deep_linear;
mod digit_addition;
mod few_shot;
mod few_shot_vectors;
mod games;
mod gcd;
mod image_files;
mod images;
mod in_context_regression;
mod indices;
mod ioi;
mod ioi_prompts;
mod llama2c_tokenizer;
mod modular_arithmetic;
mod regression_predictors;
mod repeated_tokens;
mod sampled;
mod skill_sigmoids;
mod skip_trigrams;
mod sorting;
mod sparse_parity;
mod split;
mod superposition;
mod superposition_points;
mod translation;
mod word_sorting;
mod words;
mod zipf;

pub use compiled::CompiledConfig;
pub use deep_linear::{DeepLinearConfig, LinearInput, LinearLoss};
pub use digit_addition::DigitAdditionConfig;
pub use few_shot::FewShotConfig;
pub use few_shot_vectors::FewShotVectorsConfig;
pub use games::{
    Game, IllegalMove, OthelloBoard, OthelloConfig, Square, TicTacToeBoard, TicTacToeConfig, TicTacToeGames,
    othello_square, othello_states, othello_token, tic_tac_toe_states,
};
pub use gcd::{GcdConfig, OperandLaw, OutcomeLaw};
pub use in_context_regression::InContextRegressionConfig;
mod text;
mod tokenizer;
mod tokens;

pub use data_file::DataFileError;
pub use images::{ImageLoss, ImageSource, ImagesConfig, Trigger};
pub use indices::IndexFileError;
pub use ioi::{IoiConfig, ToyIoiConfig, ioi_vocabulary};
pub use ioi_prompts::{IoiOrder, IoiPrompt, ioi_prompts};
pub use llama2c_tokenizer::Llama2cTokenizer;
pub use modular_arithmetic::{ModularArithmeticConfig, Operation, modulus_of_addition};
pub use regression_predictors::{
    PositionError, Prediction, dmmse_predictions, ridge_predictions, squared_errors_by_position,
};
pub use repeated_tokens::{PredictTokens, RepeatedTokensConfig};
pub use sampled::Endless;
pub use skill_sigmoids::{skill_loss, skill_strength};
pub use skip_trigrams::SkipTrigramsConfig;
pub use sorting::SortingConfig;
pub use sparse_parity::SparseParityConfig;
pub use split::{Split, SubtaskBy, Subtasks};
pub use superposition::{FeatureInput, SuperpositionConfig};
pub use superposition_points::{Polygon, one_hot_population_loss};
pub use text::{Corpus, TextConfig, TextSource, TextWindows};
pub use tokenizer::Tokenizer;
pub use tokens::TokensConfig;
pub use translation::TranslationConfig;
pub use word_sorting::{WordSortingConfig, WordUnit, word_list};
pub use words::{UnknownWord, Words};

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};

use crate::agents::{Gridworld, GridworldConfig, TaskEnvironment, TicTacToe, TicTacToeAgentConfig};
use crate::{Interface, ReadError, SettingError};

/// A task of any kind, as in the table `[task]` of a run file.
///
/// Serialises with its `kind` beside its settings; see [`TaskConfig::deserialize_kind`] for reading.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum TaskConfig {
    /// Arithmetic modulo p on all pairs of residues.
    ModularArithmetic(ModularArithmeticConfig),
    /// Addition of n-digit numbers, with a loss for each digit.
    DigitAddition(DigitAdditionConfig),
    /// Parities of hidden sets of bits.
    SparseParity(SparseParityConfig),
    /// Repeats in random tokens, as for induction heads.
    RepeatedTokens(RepeatedTokensConfig),
    /// Linear regression from pairs in the context.
    InContextRegression(InContextRegressionConfig),
    /// Features through a bottleneck.
    Superposition(SuperpositionConfig),
    /// A linear teacher.
    DeepLinear(DeepLinearConfig),
    /// Sorting numbers.
    Sorting(SortingConfig),
    /// Sorting words alphabetically.
    WordSorting(WordSortingConfig),
    /// Greatest common divisors.
    Gcd(GcdConfig),
    /// Skip trigrams.
    SkipTrigrams(SkipTrigramsConfig),
    /// Toy translation.
    Translation(TranslationConfig),
    /// Few-shot classification in the context.
    FewShot(FewShotConfig),
    /// The same with items that are vectors around the centres of classes, in the context and in the weights.
    FewShotVectors(FewShotVectorsConfig),
    /// Next moves in tic-tac-toe.
    TicTacToe(TicTacToeConfig),
    /// Next moves in Othello.
    Othello(OthelloConfig),
    /// Indirect object identification.
    Ioi(IoiConfig),
    /// A toy of it.
    ToyIoi(ToyIoiConfig),
    /// Classification of images.
    Images(ImagesConfig),
    /// The next token of a text.
    Text(TextConfig),
    /// The next token of sequences in a file.
    Tokens(TokensConfig),
    /// What a known program computes.
    Compiled(CompiledConfig),
    /// An agent in a gridworld.
    Gridworld(GridworldConfig),
    /// An agent that plays tic-tac-toe.
    TicTacToeAgent(TicTacToeAgentConfig),
}

/// A task made ready: data only.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    /// What it gives to a network and asks of it.
    pub interface: Interface,
    /// Named sets of examples: `train`, `test` where examples are left for it, and `all` where they are few enough to be
    /// enumerated. Where training is endless, `train` is a fixed sample that stands for the distribution, of examples
    /// that no update sees.
    pub splits: Vec<Split>,
    /// Examples for training without end, new ones for every update; `None` where training goes over the split `train`.
    pub endless: Option<Endless>,
    /// Named parts with losses of their own, where the task has some.
    pub subtasks: Option<Subtasks>,
    /// What its tokens read as, where they are those of a text.
    pub words: Option<Words>,
    /// The whole text to train on, in tokens, where the examples of `train` are windows of it.
    pub corpus: Option<Arc<[i32]>>,
    /// What an agent acts in; such a task has no examples, and what there is to be measured is the return.
    pub environment: Option<TaskEnvironment>,
}

/// Why a task could not be made ready.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// A setting out of range, or two that contradict each other.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// A file of training indices that cannot be used.
    #[error(transparent)]
    Indices(#[from] IndexFileError),
    /// A file of examples that cannot be used.
    #[error(transparent)]
    Data(#[from] DataFileError),
    /// An array of examples that cannot be read.
    #[error(transparent)]
    Array(#[from] ReadError),
}

impl TaskConfig {
    /// The values that `kind` may have.
    pub const KINDS: &'static [&'static str] = &[
        "modular_arithmetic",
        "digit_addition",
        "sparse_parity",
        "repeated_tokens",
        "in_context_regression",
        "superposition",
        "deep_linear",
        "sorting",
        "word_sorting",
        "gcd",
        "skip_trigrams",
        "translation",
        "few_shot",
        "few_shot_vectors",
        "tic_tac_toe",
        "othello",
        "ioi",
        "toy_ioi",
        "images",
        "text",
        "tokens",
        "compiled",
        "gridworld",
        "tic_tac_toe_agent",
    ];

    /// Reads the settings of a task whose `kind` has been read (and taken out) before, so that a mistake keeps its
    /// line.
    ///
    /// # Errors
    /// An unknown kind, with the known ones, or what the deserializer finds wrong.
    pub fn deserialize_kind<'de, D: Deserializer<'de>>(kind: &str, settings: D) -> Result<Self, D::Error> {
        match kind {
            "modular_arithmetic" => ModularArithmeticConfig::deserialize(settings).map(Self::ModularArithmetic),
            "digit_addition" => DigitAdditionConfig::deserialize(settings).map(Self::DigitAddition),
            "sparse_parity" => SparseParityConfig::deserialize(settings).map(Self::SparseParity),
            "repeated_tokens" => RepeatedTokensConfig::deserialize(settings).map(Self::RepeatedTokens),
            "in_context_regression" => InContextRegressionConfig::deserialize(settings).map(Self::InContextRegression),
            "superposition" => SuperpositionConfig::deserialize(settings).map(Self::Superposition),
            "deep_linear" => DeepLinearConfig::deserialize(settings).map(Self::DeepLinear),
            "sorting" => SortingConfig::deserialize(settings).map(Self::Sorting),
            "word_sorting" => WordSortingConfig::deserialize(settings).map(Self::WordSorting),
            "gcd" => GcdConfig::deserialize(settings).map(Self::Gcd),
            "skip_trigrams" => SkipTrigramsConfig::deserialize(settings).map(Self::SkipTrigrams),
            "translation" => TranslationConfig::deserialize(settings).map(Self::Translation),
            "few_shot" => FewShotConfig::deserialize(settings).map(Self::FewShot),
            "few_shot_vectors" => FewShotVectorsConfig::deserialize(settings).map(Self::FewShotVectors),
            "tic_tac_toe" => TicTacToeConfig::deserialize(settings).map(Self::TicTacToe),
            "othello" => OthelloConfig::deserialize(settings).map(Self::Othello),
            "ioi" => IoiConfig::deserialize(settings).map(Self::Ioi),
            "toy_ioi" => ToyIoiConfig::deserialize(settings).map(Self::ToyIoi),
            "images" => ImagesConfig::deserialize(settings).map(Self::Images),
            "text" => TextConfig::deserialize(settings).map(Self::Text),
            "tokens" => TokensConfig::deserialize(settings).map(Self::Tokens),
            "compiled" => CompiledConfig::deserialize(settings).map(Self::Compiled),
            "gridworld" => GridworldConfig::deserialize(settings).map(Self::Gridworld),
            "tic_tac_toe_agent" => TicTacToeAgentConfig::deserialize(settings).map(Self::TicTacToeAgent),
            other => Err(serde::de::Error::unknown_variant(other, Self::KINDS)),
        }
    }

    /// Makes the task's data. `run_seed` serves where the task has no seed of its own; relative paths start at
    /// `folder`, the folder of the run file.
    ///
    /// # Errors
    /// A setting out of range, or a file that cannot be used.
    pub fn prepare(&self, run_seed: u32, folder: &Path) -> Result<Task, TaskError> {
        match self {
            Self::ModularArithmetic(config) => config.prepare(run_seed, folder),
            Self::DigitAddition(config) => Ok(config.prepare(run_seed)?),
            Self::SparseParity(config) => Ok(config.prepare(run_seed)?),
            Self::RepeatedTokens(config) => Ok(config.prepare(run_seed)?),
            Self::InContextRegression(config) => Ok(config.prepare(run_seed)?),
            Self::Superposition(config) => Ok(config.prepare(run_seed)?),
            Self::DeepLinear(config) => Ok(config.prepare(run_seed)?),
            Self::Sorting(config) => Ok(config.prepare(run_seed)?),
            Self::WordSorting(config) => Ok(config.prepare(run_seed)?),
            Self::Gcd(config) => Ok(config.prepare(run_seed)?),
            Self::SkipTrigrams(config) => Ok(config.prepare(run_seed)?),
            Self::Translation(config) => Ok(config.prepare(run_seed)?),
            Self::FewShot(config) => Ok(config.prepare(run_seed)?),
            Self::FewShotVectors(config) => Ok(config.prepare(run_seed)?),
            Self::TicTacToe(config) => Ok(config.prepare(run_seed)?),
            Self::Othello(config) => Ok(config.prepare(run_seed)?),
            Self::Ioi(config) => Ok(config.prepare(run_seed)?),
            Self::ToyIoi(config) => Ok(config.prepare(run_seed)?),
            Self::Images(config) => config.prepare(run_seed, folder),
            Self::Text(config) => config.prepare(run_seed, folder),
            Self::Tokens(config) => config.prepare(run_seed, folder),
            Self::Compiled(config) => Ok(config.prepare(run_seed)?),
            Self::Gridworld(config) => {
                Ok(Task::of_environment(TaskEnvironment::Gridworld(Gridworld::new(config.clone())?)))
            }
            Self::TicTacToeAgent(config) => {
                Ok(Task::of_environment(TaskEnvironment::TicTacToe(TicTacToe::new(config.opponent))))
            }
        }
    }
}

/// Examples held out where a file does not say how many: enough for a mean loss to 2 %.
fn default_held_examples() -> usize {
    2048
}

/// Examples of each sub-task in the split `even`.
fn default_examples_per_subtask() -> usize {
    32
}

/// How many of `n` a share takes, rounded down.
fn count_of_share(share: f64, n: usize) -> usize {
    // A share such as 0.29 is not exact in binary, and 0.29 of 100 must not be 28.
    ((share * n as f64 * (1.0 + 4.0 * f64::EPSILON)).floor() as usize).min(n)
}

fn wrong(key: &'static str, found: impl fmt::Display, expected: &str) -> SettingError {
    SettingError::new("task", key, format!("{found}"), expected)
}

impl Task {
    /// A task of examples that were all made beforehand.
    pub(crate) fn of_splits(interface: Interface, splits: Vec<Split>, subtasks: Option<Subtasks>) -> Self {
        Self { interface, splits, endless: None, subtasks, words: None, corpus: None, environment: None }
    }

    fn of_environment(environment: TaskEnvironment) -> Self {
        let interface = environment.interface();
        let environment = Some(environment);
        Self { environment, ..Self::of_splits(interface, Vec::new(), None) }
    }

    /// The split of that name.
    pub fn split(&self, name: &str) -> Option<&Split> {
        self.splits.iter().find(|split| split.name == name)
    }

    /// The split of that name; unless one is named `even`, else `test`, else `train`, whichever the task has.
    ///
    /// # Errors
    /// In words: no such split, with those that there are.
    pub fn evaluation_split(&self, name: Option<&str>) -> Result<&Split, String> {
        let Some(name) = name else {
            let first = ["even", "test", "train"].iter().find_map(|name| self.split(name));
            return first.ok_or_else(|| match self.environment {
                Some(_) => "the task has no examples: an agent acts in it".to_owned(),
                None => "the task has no split".to_owned(),
            });
        };
        self.split(name).ok_or_else(|| {
            let known: Vec<&str> = self.splits.iter().map(|split| split.name).collect();
            format!("`split` is \"{name}\"; the task has {}", known.join(", "))
        })
    }
}
