//! The programs that come with the toolkit.

use serde::{Deserialize, Serialize};

use super::{Score, SequenceProgram, Threshold, Variable};
use crate::{Interface, Read};

/// A program that can be compiled, with the layout of its sequences. L is the length and V the number of different symbols, which
/// are the ids from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProgramKind {
    /// `a b a b …`, L tokens; from the third on each is what stood before the current one. One head.
    PreviousToken,
    /// L tokens, the last of which came before, and L more, each what followed the last earlier occurrence of the token before it. Two
    /// blocks of one head (Olsson et al. 2022): the first fetches the previous token, the second looks for it.
    Induction,
    /// `x₁…x_L = x_L…x₁`. One head.
    Reverse,
    /// `x₁…x_L = y₁…y_L` with y the x in ascending order. One head counts every symbol; a neuron pair for each symbol compares
    /// how many x are at most as large with the number of the place.
    Sort,
    /// `x₁…x_L = n₁…n_L`, where x_k comes n_k times; numbers are ids too. A head fetches x_k, one of the second block has the share
    /// 1/(1 + n_k) of `=` among the positions of this symbol and `=`, and neurons tell n_k from it.
    Histogram,
    /// L brackets, 0 opening and 1 closing, and the query 2; whether they are balanced (class 1). Neurons of the first block see the
    /// sign of the depth, those of the second whether it was negative anywhere or is not 0 at the end.
    Balanced,
}

impl ProgramKind {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::PreviousToken, Self::Induction, Self::Reverse, Self::Sort, Self::Histogram, Self::Balanced];

    /// What a network reads and predicts, for a length of at least 2 and at least 2 symbols.
    pub fn interface(self, length: usize, symbols: usize) -> Interface {
        let (vocabulary, positions, from) = match self {
            Self::PreviousToken => (symbols, length, 2),
            Self::Induction => (symbols, 2 * length, length),
            Self::Reverse | Self::Sort => (symbols + 1, 2 * length + 1, length + 1),
            Self::Histogram => (symbols.max(length + 1) + 1, 2 * length + 1, length + 1),
            Self::Balanced => {
                let read = Read::LastPosition { classes: 2 };
                return Interface::Tokens { vocabulary: 3, length: length + 1, read };
            }
        };
        let read = Read::Tokens { from, every: 1, is_weighted: false };
        Interface::Tokens { vocabulary, length: positions, read }
    }

    /// The program and the variable that is its answer.
    pub fn program(self, length: usize, symbols: usize) -> (SequenceProgram, Variable) {
        let (vocabulary, positions) = match self.interface(length, symbols) {
            Interface::Tokens { vocabulary, length, .. } => (vocabulary, length),
            Interface::Vectors { .. } | Interface::Pairs { .. } | Interface::LabelledItems { .. } => {
                unreachable!("programs read tokens")
            }
        };
        let mut program = SequenceProgram::new(vocabulary, positions);
        let [tokens, indices] = [program.tokens(), program.indices()];
        let answer = match self {
            Self::PreviousToken => previous_token(&mut program, tokens, indices, vocabulary),
            Self::Induction => {
                let previous = previous_token(&mut program, tokens, indices, vocabulary);
                let matches = Score { query: tokens, key: previous, of: &|q, k| i32::from(q == k) * positions as i32 };
                // Among the matches, the latest.
                let latest = Score { query: indices, key: indices, of: &|_, k| k as i32 };
                program.attend_one(&[matches, latest], tokens, vocabulary, &Some)
            }
            Self::Reverse => {
                let mirrored = Score { query: indices, key: indices, of: &|q, k| i32::from(q + k + 1 == 2 * length) };
                program.attend_one(&[mirrored], tokens, vocabulary, &Some)
            }
            Self::Sort => sort(&mut program, tokens, indices, (length, symbols)),
            Self::Histogram => histogram(&mut program, tokens, indices, (length, vocabulary)),
            Self::Balanced => balanced(&mut program, tokens, indices, length),
        };
        (program, answer)
    }
}

fn previous_token(program: &mut SequenceProgram, tokens: Variable, indices: Variable, vocabulary: usize) -> Variable {
    let before = Score { query: indices, key: indices, of: &|q, k| i32::from(k + 1 == q) };
    program.attend_one(&[before], tokens, vocabulary, &Some)
}

fn sort(
    program: &mut SequenceProgram,
    tokens: Variable,
    indices: Variable,
    (length, symbols): (usize, usize),
) -> Variable {
    let given = Score { query: indices, key: indices, of: &|_, k| i32::from(k < length) };
    let shares = program.attend_mean(&[given], tokens, symbols, &|token| (token < symbols).then_some(token));
    // The answer at place k, from 0, is the smallest v of which more than k numbers are at most as large.
    let is_above = |v: usize| {
        let counted = (0..=v).map(|u| (shares, u, length as f64));
        let place = (1..length).map(|k| (indices, length + k, -(k as f64)));
        let after = (v + 1 < symbols).then_some((v + 1, -1.0));
        Threshold {
            terms: counted.chain(place).collect(),
            low: 0.0,
            high: 1.0,
            writes: [(v, 1.0)].into_iter().chain(after).collect(),
        }
    };
    program.thresholds((0..symbols).map(is_above).collect(), vec![0.0; symbols], true)
}

fn histogram(
    program: &mut SequenceProgram,
    tokens: Variable,
    indices: Variable,
    (length, vocabulary): (usize, usize),
) -> Variable {
    let equals = vocabulary - 1;
    let asked = Score { query: indices, key: indices, of: &|q, k| i32::from(k + length == q) };
    let own = program.attend_one(&[asked], tokens, vocabulary, &Some);
    let same = Score { query: own, key: tokens, of: &|q, k| i32::from(q == k || k == equals) };
    let given = Score { query: indices, key: indices, of: &|_, k| i32::from(k <= length) };
    let share = program.attend_mean(&[same, given], tokens, 1, &|token| (token == equals).then_some(0));
    // The share is 1/(1 + n): at most 1/(1 + m) where n is at least m, else at least 1/m.
    let is_at_least = |m: usize| Threshold {
        terms: vec![(share, 0, -1.0)],
        low: -1.0 / m as f64,
        high: -1.0 / (m + 1) as f64,
        writes: vec![(m - 1, -1.0), (m, 1.0)],
    };
    let mut constants = vec![0.0; length + 1];
    constants[1] = 1.0;
    program.thresholds((2..=length).map(is_at_least).collect(), constants, true)
}

fn balanced(program: &mut SequenceProgram, tokens: Variable, indices: Variable, length: usize) -> Variable {
    let given = Score { query: indices, key: indices, of: &|_, k| i32::from(k < length) };
    let shares = program.attend_mean(&[given], tokens, 2, &|token| (token < 2).then_some(token));
    // Of at most L brackets, open and closed ones differ by at least 1/L, where they do.
    let apart = |more: usize| Threshold {
        terms: vec![(shares, more, 1.0), (shares, 1 - more, -1.0)],
        low: 0.0,
        high: 1.0 / length as f64,
        writes: vec![(more, 1.0)],
    };
    let signs = program.thresholds(vec![apart(0), apart(1)], vec![0.0; 2], false);
    let ever_below = program.attend_mean(&[given], signs, 1, &|sign| (sign == 1).then_some(0));
    let is_wrong = Threshold {
        terms: vec![(ever_below, 0, length as f64), (signs, 0, 1.0), (signs, 1, 1.0)],
        low: 0.0,
        high: 1.0,
        writes: vec![(0, 1.0), (1, -1.0)],
    };
    program.thresholds(vec![is_wrong], vec![0.0, 1.0], true)
}
