//! A small language of sequence programs, after RASP (Weiss et al. 2021), that compiles to the weights of a transformer.

mod compile;
mod error_bound;
mod evaluate;
mod library;

pub use compile::{CompiledTransformer, Place};
pub use library::ProgramKind;

/// A variable of a [`SequenceProgram`]: a vector at every position of the sequence, made by one step of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Variable(usize);

/// A program over the positions of a sequence, as a list of steps that make one [`Variable`] each.
///
/// A *one-hot* variable holds one of n values at every position, as a vector of n coordinates. Only such ones can be queries, keys
/// and arguments of tables. A step never fails while the program is built; the first mistake is kept and returned by
/// [`SequenceProgram::evaluate`] and [`SequenceProgram::compile`].
///
/// ```
/// use ontogeny_zoo::{Read, Score, SequenceProgram};
///
/// // What stood one position before, of 4 tokens in sequences of 6.
/// let mut program = SequenceProgram::new(4, 6);
/// let (tokens, indices) = (program.tokens(), program.indices());
/// let before = Score { query: indices, key: indices, of: &|q, k| i32::from(k + 1 == q) };
/// let previous = program.attend_one(&[before], tokens, 4, &|token| Some(token));
/// let values = program.evaluate(&[3, 1, 0, 0, 2, 1])?;
/// assert_eq!(values[2][4], [1.0, 0.0, 0.0, 0.0]);
/// let compiled = program.compile(previous, Read::NEXT_TOKEN)?;
/// assert_eq!(compiled.weights.len(), compiled.model.space().len());
/// # Ok::<(), ontogeny_zoo::ProgramError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct SequenceProgram {
    vocabulary: usize,
    positions: usize,
    steps: Vec<Step>,
    mistake: Option<ProgramError>,
}

/// What a position gives to another: a whole number for each value of the one's query and the other's key.
#[derive(Clone, Copy)]
pub struct Score<'a> {
    /// A one-hot variable of the position that reads.
    pub query: Variable,
    /// A one-hot variable of the position that is read.
    pub key: Variable,
    /// The score of two values.
    pub of: &'a dyn Fn(usize, usize) -> i32,
}

/// Whether a sum of coordinates is large: 1 where Σ factor · coordinate is at least `high`, 0 where it is at most `low`. Values
/// between the two must not arise where an answer depends on them.
#[derive(Debug, Clone, PartialEq)]
pub struct Threshold {
    /// Coordinates of variables with their factors.
    pub terms: Vec<(Variable, usize, f64)>,
    /// Where it is 0.
    pub low: f64,
    /// Where it is 1; above `low`.
    pub high: f64,
    /// To which coordinates of the new variable it is added, with which factor.
    pub writes: Vec<(usize, f64)>,
}

/// Why a program cannot be run or compiled.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ProgramError {
    /// A step that makes no sense.
    #[error("step {step} of the program {found}; expected {expected}")]
    Step {
        /// Number of the step, from 0.
        step: usize,
        /// What is wrong.
        found: String,
        /// What would be right.
        expected: &'static str,
    },
    /// A sequence that the program is not for.
    #[error("the sequence {found}; expected {expected}")]
    Sequence {
        /// What is wrong.
        found: String,
        /// What would be right.
        expected: String,
    },
    /// Rounding could change the answer.
    #[error(
        "step {step} of the program may be off by {bound:.2e} in 32-bit numbers, of which {allowed:.2e} are allowed; make the sequence or the vocabulary smaller"
    )]
    Inexact {
        /// Number of the step, from 0.
        step: usize,
        /// Bound on its error.
        bound: f64,
        /// Largest bound with which the answers are right.
        allowed: f64,
    },
}

#[derive(Debug, Clone, PartialEq)]
struct Step {
    /// Coordinates of the variable.
    width: usize,
    is_one_hot: bool,
    operation: Operation,
}

#[derive(Debug, Clone, PartialEq)]
enum Operation {
    /// The token of the position, one-hot.
    Tokens,
    /// The number of the position, one-hot.
    Indices,
    /// The mean of a variable over the visible positions of the largest score: an attention head. Value i of the variable goes
    /// to coordinate `to[i]`, where it goes anywhere.
    Attend { scores: Vec<Table>, value: Variable, to: Vec<Option<usize>> },
    /// A value for each pair of values, row by row of the first, with `n_second` in a row: a layer of neurons.
    Table { of: [Variable; 2], n_second: usize, to: Vec<usize> },
    /// Thresholds added up, on top of constants.
    Thresholds { thresholds: Vec<Threshold>, constants: Vec<f64> },
}

/// A score as numbers.
#[derive(Debug, Clone, PartialEq)]
struct Table {
    query: Variable,
    key: Variable,
    /// A row for each value of the query.
    rows: Vec<Vec<i32>>,
}

impl SequenceProgram {
    /// An empty program for sequences of `positions` tokens below `vocabulary`.
    pub fn new(vocabulary: usize, positions: usize) -> Self {
        Self { vocabulary, positions, steps: Vec::new(), mistake: None }
    }

    /// The token of each position, one-hot.
    pub fn tokens(&mut self) -> Variable {
        self.push(self.vocabulary, true, Operation::Tokens)
    }

    /// The number of each position, from 0, one-hot.
    pub fn indices(&mut self) -> Variable {
        self.push(self.positions, true, Operation::Indices)
    }

    /// The mean of `value` over the positions with the largest sum of `scores`, among the own position and those before it.
    /// Coordinate i of `value` goes to coordinate `to(i)` of `width`, or is left out. One attention head. The
    /// positions that share the largest sum must have the same score in each of its parts.
    pub fn attend_mean(
        &mut self,
        scores: &[Score<'_>],
        value: Variable,
        width: usize,
        to: &dyn Fn(usize) -> Option<usize>,
    ) -> Variable {
        self.attend(scores, value, (width, false), to)
    }

    /// As [`SequenceProgram::attend_mean`] where the largest score belongs to one position alone and `value` is one-hot, so that the
    /// result is one-hot too. It must be so wherever an answer depends on it.
    pub fn attend_one(
        &mut self,
        scores: &[Score<'_>],
        value: Variable,
        width: usize,
        to: &dyn Fn(usize) -> Option<usize>,
    ) -> Variable {
        if !self.step(value).is_some_and(|step| step.is_one_hot) {
            self.fail("reads one position of a variable that is not one-hot", "a one-hot value, or a mean");
        }
        self.attend(scores, value, (width, true), to)
    }

    /// The value `of(a, b)`, below `width`, of two one-hot variables at each position. A neuron for each pair.
    pub fn table(&mut self, a: Variable, b: Variable, width: usize, of: &dyn Fn(usize, usize) -> usize) -> Variable {
        let (n, m) = (self.one_hot_width(a), self.one_hot_width(b));
        let to: Vec<usize> = (0..n).flat_map(|i| (0..m).map(move |j| of(i, j))).collect();
        if to.iter().any(|&to| to >= width) {
            self.fail("has a table with a value outside of its width", "values below the width");
        }
        self.push(width, true, Operation::Table { of: [a, b], n_second: m, to })
    }

    /// `constants` plus the thresholds, each added where it writes. Two neurons for each threshold. `is_one_hot` is the writer's
    /// word that exactly one coordinate is 1 wherever an answer depends on it.
    pub fn thresholds(&mut self, thresholds: Vec<Threshold>, constants: Vec<f64>, is_one_hot: bool) -> Variable {
        let width = constants.len();
        for threshold in &thresholds {
            let is_known = |&(of, at, _): &(Variable, usize, f64)| self.step(of).is_some_and(|step| at < step.width);
            let is_right = threshold.terms.iter().all(is_known)
                && threshold.writes.iter().all(|&(at, _)| at < width)
                && threshold.low < threshold.high;
            if !is_right {
                self.fail("has a threshold out of range", "coordinates that exist, and low below high");
                break;
            }
        }
        self.push(width, is_one_hot, Operation::Thresholds { thresholds, constants })
    }

    fn attend(
        &mut self,
        scores: &[Score<'_>],
        value: Variable,
        (width, is_one_hot): (usize, bool),
        to: &dyn Fn(usize) -> Option<usize>,
    ) -> Variable {
        let mut tables = Vec::with_capacity(scores.len());
        for &Score { query, key, of } in scores {
            let (n, m) = (self.one_hot_width(query), self.one_hot_width(key));
            let rows = (0..n).map(|q| (0..m).map(|k| of(q, k)).collect()).collect();
            tables.push(Table { query, key, rows });
        }
        let n = self.step(value).map(|step| step.width);
        if n.is_none() {
            self.fail("reads a variable that does not exist", "variables of earlier steps");
        }
        let to: Vec<Option<usize>> = (0..n.unwrap_or(0)).map(to).collect();
        if to.iter().flatten().any(|&to| to >= width) {
            self.fail("sends a coordinate outside of its width", "coordinates below the width");
        }
        self.push(width, is_one_hot, Operation::Attend { scores: tables, value, to })
    }

    fn push(&mut self, width: usize, is_one_hot: bool, operation: Operation) -> Variable {
        if width == 0 {
            self.fail("makes a variable of width 0", "at least 1");
        }
        self.steps.push(Step { width, is_one_hot, operation });
        Variable(self.steps.len() - 1)
    }

    fn step(&self, variable: Variable) -> Option<&Step> {
        self.steps.get(variable.0)
    }

    /// Width of a variable that must be one-hot; 0 with a mistake where it is not.
    fn one_hot_width(&mut self, variable: Variable) -> usize {
        match self.step(variable) {
            Some(step) if step.is_one_hot => step.width,
            _ => {
                self.fail("takes a variable that is not one-hot", "a one-hot variable of an earlier step");
                0
            }
        }
    }

    fn fail(&mut self, found: &str, expected: &'static str) {
        let step = self.steps.len();
        self.mistake.get_or_insert(ProgramError::Step { step, found: found.to_owned(), expected });
    }

    fn check(&self) -> Result<(), ProgramError> {
        self.mistake.clone().map_or(Ok(()), Err)
    }
}

impl Threshold {
    /// Where its two neurons begin: a quarter of the way from `low` to `high`, and a quarter before `high`, so that a sum that is off
    /// by as much changes nothing.
    fn corners(&self) -> [f64; 2] {
        let quarter = 0.25 * (self.high - self.low);
        [self.low + quarter, self.high - quarter]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Read;

    #[test]
    fn the_first_mistake_is_kept() {
        let mut program = SequenceProgram::new(3, 4);
        let tokens = program.tokens();
        let half = Threshold { terms: vec![(tokens, 0, 1.0)], low: 0.0, high: 1.0, writes: vec![(0, 1.0)] };
        let is_zero = program.thresholds(vec![half.clone()], vec![0.0], false);
        assert!(program.evaluate(&[0, 1, 2, 0]).is_ok());
        program.table(tokens, is_zero, 2, &|_, _| 0);
        program.thresholds(vec![Threshold { writes: vec![(1, 1.0)], ..half }], vec![0.0], false);
        let message = "step 2 of the program takes a variable that is not one-hot; expected a one-hot variable of an earlier step";
        assert_eq!(program.evaluate(&[0, 1, 2, 0]).unwrap_err().to_string(), message);
        assert_eq!(program.compile(tokens, Read::NEXT_TOKEN).unwrap_err().to_string(), message);
    }
}
