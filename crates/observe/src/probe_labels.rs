//! What a probe is asked for: classes of samples that a task knows.

use std::collections::BTreeMap;

use ontogeny_graph::{Purpose, Stream};
use ontogeny_stats::Question;
use ontogeny_zoo::{Interface, Split, Square, SubtaskBy, othello_states, tic_tac_toe_states};
use serde::{Deserialize, Serialize};

use crate::evaluate::{Targets, ids};
use crate::samples::{PositionsOf, Sample, Samples};
use crate::{ObserveError, Subject};

/// What is read from activations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbeTarget {
    /// The class that the network is to predict there: of language models the next token.
    #[default]
    Label,
    /// The token at the position.
    Token,
    /// The token before it.
    PreviousToken,
    /// The sub-task that the example, or its answer there, belongs to.
    Subtask,
    /// Every square of the board of a game (Othello, tic-tac-toe) after the move at the position: empty, of the player who moves
    /// next, or of the other.
    Board,
}

/// Most classes of a question: of more, the commonest count, and samples of others are left out.
const MAX_CLASSES: usize = 256;

/// Number of the random stream of controls.
const STREAM: u64 = (1 << 40) + 2;

/// Samples with what is asked of each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Labelled {
    pub(crate) samples: Samples,
    /// One, or one for each square of a board.
    pub(crate) questions: Vec<Question>,
    /// Their names: `label`, or `square_12`.
    pub(crate) names: Vec<String>,
    /// Samples of classes that are too many.
    pub(crate) n_left_out: usize,
    /// The token at each sample, of networks that read tokens.
    tokens: Option<Vec<i32>>,
}

impl Labelled {
    /// About `n` samples of a split.
    pub(crate) fn choose(
        subject: &Subject<'_>,
        split: &Split,
        n: usize,
        target: ProbeTarget,
        observable: &'static str,
    ) -> Result<Self, ObserveError> {
        let positions = match target {
            ProbeTarget::Label | ProbeTarget::Subtask => PositionsOf::Answers,
            ProbeTarget::Token | ProbeTarget::Board => PositionsOf::All(0),
            ProbeTarget::PreviousToken => PositionsOf::All(1),
        };
        let mut samples = Samples::choose(subject, split, n, positions);
        let (mut questions, names) = if target == ProbeTarget::Board {
            board(split, &mut samples, observable)?
        } else {
            let labels = labels(subject, split, &samples, target, observable)?;
            (vec![labels], vec![target.name().to_owned()])
        };
        let mut n_left_out = 0;
        if let [question] = questions.as_mut_slice() {
            let before = samples.chosen.len();
            commonest(question, &mut samples);
            n_left_out = before - samples.chosen.len();
            if question.n_classes < 2 {
                return Err(ObserveError::NotDefined {
                    observable,
                    needs: format!("at least two classes of `{}` among the samples", target.name()),
                    found: format!("{} in {before} samples", question.n_classes),
                });
            }
        }
        let tokens = token_columns(split).map(|(tokens, width)| {
            let at = |s: &Sample| tokens[samples.examples[s.row] * width + s.position];
            samples.chosen.iter().map(at).collect()
        });
        Ok(Self { samples, questions, names, n_left_out, tokens })
    }

    /// The same questions with the labels of other samples, in a random order: no probe reads them better than the majority.
    pub(crate) fn shuffled(&self, seed: u32) -> Vec<Question> {
        let order = Stream::new(seed, Purpose::Probe, STREAM).permutation(self.samples.chosen.len(), 0);
        let shuffle = |question: &Question| Question {
            n_classes: question.n_classes,
            labels: order.iter().map(|&from| question.labels[from]).collect(),
        };
        self.questions.iter().map(shuffle).collect()
    }

    /// The control task of Hewitt and Liang 2019: every token has a random label, drawn as often as labels are, wherever it stands.
    /// A probe reaches it by knowing tokens by heart. `None` unless tokens are read, at least two of them.
    pub(crate) fn by_token(&self, seed: u32) -> Option<Vec<Question>> {
        let tokens = self.tokens.as_ref()?;
        let stream = Stream::new(seed, Purpose::Probe, STREAM);
        let of_question = |(number, question): (usize, &Question)| {
            let mut drawn = BTreeMap::new();
            let mut label = |token: i32| {
                let next = drawn.len() as u32;
                let chosen = || question.labels[stream.below(question.labels.len(), 1 + number as u32, next)];
                *drawn.entry(token).or_insert_with(chosen)
            };
            let labels: Vec<u32> = tokens.iter().map(|&token| label(token)).collect();
            (drawn.len() >= 2).then_some(Question { n_classes: question.n_classes, labels })
        };
        self.questions.iter().enumerate().map(of_question).collect()
    }
}

impl ProbeTarget {
    fn name(self) -> &'static str {
        match self {
            Self::Label => "label",
            Self::Token => "token",
            Self::PreviousToken => "previous_token",
            Self::Subtask => "subtask",
            Self::Board => "board",
        }
    }
}

fn token_columns(split: &Split) -> Option<(&[i32], usize)> {
    let tokens = ids(&split.data, "tokens")?;
    Some((tokens, tokens.len() / split.data.len().max(1)))
}

/// The class of each sample, as the task numbers them.
fn labels(
    subject: &Subject<'_>,
    split: &Split,
    samples: &Samples,
    target: ProbeTarget,
    observable: &'static str,
) -> Result<Question, ObserveError> {
    let interface = subject.model.interface();
    let not_defined = |needs: &str| ObserveError::NotDefined {
        observable,
        needs: format!("{needs}, for target = \"{}\"", target.name()),
        found: format!("{interface}"),
    };
    let answer = |s: &Sample| s.answer.unwrap_or(0);
    let of = |label: &dyn Fn(&Sample) -> u32| samples.chosen.iter().map(label).collect::<Vec<u32>>();
    let labels = match target {
        ProbeTarget::Label => {
            let targets = Targets::new(interface, &split.data);
            let targets = targets.ok_or_else(|| not_defined("a task whose answers are one of several classes"))?;
            of(&|s| targets.of(samples.examples[s.row], answer(s)) as u32)
        }
        ProbeTarget::Token | ProbeTarget::PreviousToken => {
            let back = usize::from(target == ProbeTarget::PreviousToken);
            let (Interface::Tokens { .. }, Some((tokens, width))) = (interface, token_columns(split)) else {
                return Err(not_defined("a network that reads tokens"));
            };
            of(&|s| tokens[samples.examples[s.row] * width + s.position - back] as u32)
        }
        ProbeTarget::Subtask => {
            let subtasks = subject.task.subtasks.as_ref().ok_or_else(|| not_defined("a task with sub-tasks"))?;
            subtask_of(subtasks.by, interface.answers(), split, samples)
        }
        ProbeTarget::Board => unreachable!("has questions of its own"),
    };
    Ok(Question { n_classes: labels.iter().max().map_or(0, |&most| most as usize + 1), labels })
}

/// Number of the sub-task of each sample.
pub(crate) fn subtask_of(by: SubtaskBy, n_answers: usize, split: &Split, samples: &Samples) -> Vec<u32> {
    let of = |s: &Sample| {
        let (example, answer) = (samples.examples[s.row], s.answer.unwrap_or(0));
        match by {
            SubtaskBy::Answer => answer as u32,
            SubtaskBy::Example => split.subtasks[example],
            SubtaskBy::EachAnswer => split.subtasks[example * n_answers + answer],
        }
    };
    samples.chosen.iter().map(of).collect()
}

/// Classes are numbered anew, without gaps; samples beyond the commonest [`MAX_CLASSES`] are dropped.
fn commonest(question: &mut Question, samples: &mut Samples) {
    let mut counts: BTreeMap<u32, usize> = BTreeMap::new();
    question.labels.iter().for_each(|&label| *counts.entry(label).or_default() += 1);
    let mut kept: Vec<(u32, usize)> = counts.into_iter().collect();
    kept.sort_by_key(|&(label, count)| (std::cmp::Reverse(count), label));
    kept.truncate(MAX_CLASSES);
    let mut kept: Vec<u32> = kept.into_iter().map(|(label, _)| label).collect();
    kept.sort_unstable();
    let mut labels = question.labels.iter();
    samples.retain(|_| labels.next().is_some_and(|label| kept.binary_search(label).is_ok()));
    let number = |label: &u32| kept.binary_search(label).ok().map(|at| at as u32);
    question.labels = question.labels.iter().filter_map(number).collect();
    question.n_classes = kept.len();
}

/// A question for each square; samples behind the end of their game are dropped.
fn board(
    split: &Split,
    samples: &mut Samples,
    observable: &'static str,
) -> Result<(Vec<Question>, Vec<String>), ObserveError> {
    let not_defined = |found: String| ObserveError::NotDefined {
        observable,
        needs: "games of `othello` or `tic_tac_toe`, for target = \"board\"".to_owned(),
        found,
    };
    let (tokens, width) = token_columns(split).ok_or_else(|| not_defined("no tokens".to_owned()))?;
    let mut boards: BTreeMap<usize, Vec<Vec<Square>>> = BTreeMap::new();
    for &example in &samples.examples {
        let game = &tokens[example * width..(example + 1) * width];
        let states = match width {
            60 => othello_states(game).map(|states| states.iter().map(|state| state.to_vec()).collect()),
            9 => tic_tac_toe_states(game).map(|states| states.iter().map(|state| state.to_vec()).collect()),
            other => return Err(not_defined(format!("sequences of {other} tokens"))),
        };
        boards.insert(example, states.map_err(|error| not_defined(error.to_string()))?);
    }
    let examples = samples.examples.clone();
    samples.retain(|s| s.position < boards[&examples[s.row]].len());
    let n_squares = if width == 60 { 64 } else { 9 };
    let of_square = |square: usize| {
        let label = |s: &Sample| match boards[&samples.examples[s.row]][s.position][square] {
            Square::Empty => 0,
            Square::Mine => 1,
            Square::Theirs => 2,
        };
        Question { n_classes: 3, labels: samples.chosen.iter().map(label).collect() }
    };
    Ok((0..n_squares).map(|square| (of_square(square), format!("square_{square}"))).unzip())
}
