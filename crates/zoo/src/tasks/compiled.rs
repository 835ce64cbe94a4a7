//! Tasks that a known program solves: the data of the programs that can be compiled to a network.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::sampled::{Counts, Distribution, Example, Numbers};
use super::{SubtaskBy, Subtasks, Task, TaskConfig, wrong};
use crate::programs::{CompiledTransformer, ProgramError, ProgramKind};
use crate::{Interface, Model, NetworkConfig, SettingError};

/// Settings of a task that a compiled program solves without error: "Tracr: Compiled Transformers as a Laboratory for
/// Interpretability" (Lindner et al. 2023), with programs in the manner of "Thinking Like Transformers" (Weiss et al. 2021).
///
/// What an example looks like stands at [`ProgramKind`]. Its given part is uniform, except that `balanced` is balanced in half of the
/// examples, all such sequences alike, and uniform in the others. The answers are computed from the definition, not by the
/// program. The smallest loss is 0. The sub-task `answer_k`, from 1, is the k-th predicted token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CompiledConfig {
    /// Which program.
    pub program: ProgramKind,
    /// L, 2 to 256; at least 3 for `previous_token`, even for `balanced`.
    pub length: usize,
    /// V, the number of different symbols, 2 to 256; not of `balanced`, which has brackets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub symbols: Option<usize>,
    /// Sequences to train on; new ones at every update unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train_examples: Option<usize>,
    /// Sequences held out.
    #[serde(default = "super::default_held_examples")]
    pub held_examples: usize,
    /// Seed of the sequences; the seed of the run unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_seed: Option<u32>,
}

const MAX: usize = 256;

impl CompiledConfig {
    /// See [`TaskConfig::prepare`](super::TaskConfig::prepare).
    pub(super) fn prepare(&self, run_seed: u32) -> Result<Task, SettingError> {
        let sequences = self.sequences()?;
        let counts = Counts::new(self.train_examples, self.held_examples)?;
        Ok(Task::sampled(Arc::new(sequences), counts, self.data_seed.unwrap_or(run_seed)))
    }

    /// The network that solves the task, with its weights.
    ///
    /// # Errors
    /// A setting out of range, or a length at which 32-bit rounding could change an answer.
    pub fn compile(&self) -> Result<CompiledTransformer, SettingError> {
        let Sequences { program, length, symbols } = self.sequences()?;
        let Interface::Tokens { read, .. } = program.interface(length, symbols) else {
            unreachable!("programs read tokens")
        };
        let (program, answer) = program.program(length, symbols);
        program.compile(answer, read).map_err(|error| match error {
            ProgramError::Inexact { .. } => {
                wrong("length", length, &format!("a smaller one, or fewer symbols: {error}"))
            }
            ProgramError::Step { .. } | ProgramError::Sequence { .. } => {
                wrong("program", error, "one without mistakes")
            }
        })
    }

    fn sequences(&self) -> Result<Sequences, SettingError> {
        let (least, range) = match self.program {
            ProgramKind::PreviousToken => (3, "3 to 256"),
            ProgramKind::Balanced => (2, "an even number from 2 to 256"),
            _ => (2, "2 to 256"),
        };
        let is_odd = self.program == ProgramKind::Balanced && self.length % 2 == 1;
        if !(least..=MAX).contains(&self.length) || is_odd {
            return Err(wrong("length", self.length, range));
        }
        let symbols = match (self.program, self.symbols) {
            (ProgramKind::Balanced, None) => 2,
            (ProgramKind::Balanced, Some(n)) => {
                return Err(wrong("symbols", n, "nothing, because program = balanced has brackets"));
            }
            (_, None) => return Err(wrong("symbols", "missing", "2 to 256")),
            (_, Some(n)) if !(2..=MAX).contains(&n) => return Err(wrong("symbols", n, "2 to 256")),
            (_, Some(n)) => n,
        };
        Ok(Sequences { program: self.program, length: self.length, symbols })
    }
}

impl TaskConfig {
    /// Flat weights of `model` that solve the task without error, where it is one of compiled programs: a start for training, or a
    /// network whose every part is known.
    ///
    /// # Errors
    /// Another kind of task, a setting out of range, or a network of another shape than the program's, whose settings are
    /// then told.
    pub fn compiled_weights(&self, model: &Model) -> Result<Vec<f32>, SettingError> {
        let Self::Compiled(config) = self else {
            return Err(wrong("kind", "another one", "`compiled`, the tasks whose weights are known"));
        };
        let compiled = config.compile()?;
        let is_same = compiled.model.interface() == model.interface() && compiled.model.space() == model.space();
        match (compiled.model.network(), model.network()) {
            // Parameters alone do not tell what is done between them; how they would start does not matter.
            (NetworkConfig::Transformer(wanted), NetworkConfig::Transformer(found)) if is_same => {
                let mut found = found.clone();
                (found.init, found.init_scale, found.init_gamma) = (None, None, None);
                found.norm_eps = wanted.norm_eps;
                found.context = None;
                if found == *wanted { Ok(compiled.weights) } else { Err(other_network(wanted)) }
            }
            (NetworkConfig::Transformer(wanted), _) => Err(other_network(wanted)),
            _ => unreachable!("programs are compiled to transformers"),
        }
    }
}

fn other_network(wanted: &crate::TransformerConfig) -> SettingError {
    let mlp = match wanted.d_mlp {
        Some(n) => format!("d_mlp = {n}, activation = relu"),
        None => "attention_only = true".to_owned(),
    };
    let expected = format!(
        "the program's: transformer, layers = {}, d_model = {}, heads = {}, d_head = {}, {mlp}, normalization = none, \
         positions = learned, nothing else",
        wanted.layers,
        wanted.d_model,
        wanted.heads,
        wanted.head_width(),
    );
    SettingError::new("network", "kind", "a network of another shape", expected)
}

/// Random sequences with their answers.
#[derive(Debug)]
struct Sequences {
    program: ProgramKind,
    length: usize,
    symbols: usize,
}

impl Distribution for Sequences {
    fn interface(&self) -> Interface {
        self.program.interface(self.length, self.symbols)
    }

    fn subtasks(&self) -> Option<Subtasks> {
        let n = self.interface().answers();
        let names = (1..=n).map(|k| format!("answer_{k}")).collect();
        (self.program != ProgramKind::Balanced).then_some(Subtasks { names, by: SubtaskBy::Answer })
    }

    fn draw_of(&self, _: Option<u32>, numbers: &mut Numbers, example: &mut Example<'_>) {
        let given: Vec<i32> = match self.program {
            ProgramKind::Balanced if numbers.below(2) == 0 => balanced_brackets(self.length, numbers),
            ProgramKind::Balanced => (0..self.length).map(|_| numbers.below(2) as i32).collect(),
            ProgramKind::PreviousToken => (0..2).map(|_| numbers.below(self.symbols) as i32).collect(),
            ProgramKind::Induction => {
                let mut given: Vec<i32> = (1..self.length).map(|_| numbers.below(self.symbols) as i32).collect();
                given.push(given[numbers.below(given.len())]);
                given
            }
            _ => (0..self.length).map(|_| numbers.below(self.symbols) as i32).collect(),
        };
        example.tokens[..given.len()].copy_from_slice(&given);
        self.complete(&given, example);
    }
}

impl Sequences {
    /// Writes what follows the given tokens, or the class, from the definition.
    fn complete(&self, given: &[i32], example: &mut Example<'_>) {
        let tokens = &mut *example.tokens;
        let n = given.len();
        let answers: Vec<i32> = match self.program {
            ProgramKind::Balanced => {
                tokens[n] = 2;
                example.targets[0] = i32::from(is_balanced(given));
                return;
            }
            ProgramKind::PreviousToken => {
                (n..tokens.len()).for_each(|at| tokens[at] = tokens[at - 2]);
                return;
            }
            ProgramKind::Induction => {
                for at in n..tokens.len() {
                    let current = tokens[at - 1];
                    let last = tokens[..at - 1].iter().rposition(|&token| token == current);
                    tokens[at] =
                        tokens[last.expect("the last given token came before, and all after it are copies") + 1];
                }
                return;
            }
            ProgramKind::Reverse => given.iter().rev().copied().collect(),
            ProgramKind::Sort => {
                let mut sorted = given.to_vec();
                sorted.sort_unstable();
                sorted
            }
            ProgramKind::Histogram => given.iter().map(|x| given.iter().filter(|&y| y == x).count() as i32).collect(),
        };
        let Interface::Tokens { vocabulary, .. } = self.program.interface(self.length, self.symbols) else {
            unreachable!("programs read tokens")
        };
        tokens[n] = (vocabulary - 1) as i32;
        tokens[n + 1..].copy_from_slice(&answers);
    }
}

fn is_balanced(brackets: &[i32]) -> bool {
    let mut depth = 0;
    for &bracket in brackets {
        depth += 1 - 2 * bracket;
        if depth < 0 {
            return false;
        }
    }
    depth == 0
}

/// A balanced sequence of an even length, all alike. With r brackets to come at depth d, the ways to end at 0 are
/// C(r, (r − d)/2)·(d + 1)/((r + d)/2 + 1) (the ballot theorem), of which the share (d + 2)(r − d)/(2r(d + 1)) opens one more.
fn balanced_brackets(length: usize, numbers: &mut Numbers) -> Vec<i32> {
    let mut depth = 0.0;
    let mut draw = |left: usize| {
        let left = left as f64;
        let share = (depth + 2.0) * (left - depth) / (2.0 * left * (depth + 1.0));
        let opens = numbers.uniform() < share;
        depth += if opens { 1.0 } else { -1.0 };
        i32::from(!opens)
    };
    (1..=length).rev().map(&mut draw).collect()
}
