//! How far the variables of a compiled program can be from their exact values in 32-bit arithmetic.

use super::compile::SHARPNESS;
use super::{Operation, ProgramError, SequenceProgram, Step, Table, Threshold};

/// Bounds on the error of one variable, wherever an answer depends on it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Error {
    /// Of a coordinate that is 1; of any, where the variable is not one-hot.
    pub(super) largest: f64,
    /// Of a coordinate that is 0 in a one-hot variable.
    pub(super) off: f64,
    /// Sum over the coordinates.
    total: f64,
}

/// Bounds on the error of a score.
#[derive(Debug, Clone, Copy, Default)]
struct ScoreError {
    /// Of any score.
    any: f64,
    /// Of the difference of two of the chosen positions.
    between: f64,
}

/// Twice the unit roundoff of f32. A sum of n products, in any order, is off by less than (n + 1)/2 of these times the sum of
/// their absolute values, for every n below 2²² (Higham 2002, lemma 3.1); so n of them are a safe bound.
const ROUNDING: f64 = 1.0 / (1 << 23) as f64;

impl Error {
    fn one_hot(largest: f64, off: f64, width: usize) -> Self {
        Self { largest, off, total: largest + (width - 1) as f64 * off }
    }

    /// Of all coordinates alike.
    fn alike(each: f64, width: usize) -> Self {
        Self { largest: each, off: each, total: each * width as f64 }
    }
}

impl SequenceProgram {
    /// Bounds for each step of the program; `d_head` is the width of the heads.
    pub(super) fn errors(&self, d_head: usize) -> Result<Vec<Error>, ProgramError> {
        let mut errors: Vec<Error> = Vec::with_capacity(self.steps.len());
        for (number, step) in self.steps.iter().enumerate() {
            let within = |bound: f64, allowed: f64| {
                // Written so that a bound that is no number is refused.
                if bound < allowed { Ok(()) } else { Err(ProgramError::Inexact { step: number, bound, allowed }) }
            };
            errors.push(match &step.operation {
                Operation::Tokens | Operation::Indices => Error::default(),
                Operation::Attend { scores, value, .. } => {
                    let mut score = ScoreError::default();
                    for table in scores {
                        let of_table = table.error(self, &errors, (d_head, scores.len()));
                        score.any += SHARPNESS * of_table.any;
                        score.between += SHARPNESS * of_table.between;
                    }
                    // Scores of other positions stay below the largest by half of the sharpness.
                    within(score.any, 0.25 * SHARPNESS)?;
                    self.attention_error(step, score, (&errors[value.0], self.steps[value.0].width), d_head)
                }
                Operation::Table { of: [a, b], .. } => {
                    let (a, b) = (errors[a.0], errors[b.0]);
                    // A neuron is ReLU(2x + 2y − 3): of a pair that shares one value it stays 0 while x + y < 3/2.
                    within((a.largest + b.off).max(b.largest + a.off), 0.5)?;
                    Error::one_hot(2.0 * (a.largest + b.largest) + 8.0 * ROUNDING, 0.0, step.width)
                }
                Operation::Thresholds { thresholds, .. } => {
                    let mut of_outputs = vec![0.0; step.width];
                    for threshold in thresholds {
                        let [bound, of_indicator] = threshold.error(self, &errors);
                        within(bound, 0.25 * (threshold.high - threshold.low))?;
                        for &(at, factor) in &threshold.writes {
                            of_outputs[at] += factor.abs() * of_indicator;
                        }
                    }
                    let sum = (2 * thresholds.len() + 1) as f64 * ROUNDING;
                    Error::alike(of_outputs.iter().fold(0.0_f64, |a, &e| a.max(e)) + sum, step.width)
                }
            });
        }
        Ok(errors)
    }

    /// A position outside of the chosen ones has at most the weight exp(2·any − sharpness), and chosen ones have weights that differ
    /// by the factor exp(2·between). One chosen position has all the rest.
    fn attention_error(&self, step: &Step, score: ScoreError, value: (&Error, usize), d_head: usize) -> Error {
        let n = self.positions as f64;
        let (value, value_width) = value;
        let astray = n * (2.0 * score.any - SHARPNESS).exp();
        let of_sums = 2.0 * (n + (value_width + d_head) as f64 + 8.0) * ROUNDING;
        if step.is_one_hot {
            // A number of at most a quarter of the rounding leaves a sum of 1 as it is: what is left are the softmax's own roundings.
            let is_alone = astray + (value_width as f64) * value.off < 0.25 * ROUNDING;
            let arithmetic = if is_alone { 8.0 * ROUNDING } else { of_sums };
            // Several coordinates of the value may go to the same one.
            let off = value_width as f64 * value.off + 2.0 * astray;
            return Error::one_hot(value.largest + astray + arithmetic, off, step.width);
        }
        let each = (2.0 * score.between).exp_m1() + 2.0 * astray + of_sums;
        // Coordinates of the mean of a one-hot variable add up to 1, and so do the errors that are shares of them.
        let total = if self.is_mean_of_one_hot(step) { value.total + 2.0 * each } else { f64::INFINITY };
        let largest = value.largest + each;
        Error { largest, off: largest, total: total.min(largest * step.width as f64) }
    }

    fn is_mean_of_one_hot(&self, step: &Step) -> bool {
        matches!(step.operation, Operation::Attend { value, .. } if self.steps[value.0].is_one_hot)
    }
}

impl Table {
    /// Of its part of a sum of `n_tables` scores, before the sharpness.
    fn error(&self, program: &SequenceProgram, errors: &[Error], (d_head, n_tables): (usize, usize)) -> ScoreError {
        let largest = self.rows.iter().flatten().map(|&s| f64::from(s).abs()).fold(0.0, f64::max);
        let (query, key) = (errors[self.query.0], errors[self.key.0]);
        let widths = program.steps[self.query.0].width + program.steps[self.key.0].width;
        // Zeros add no rounding, and what is far below the rounding adds none to something of the size 1. Then there is one
        // product for each table.
        let stray = widths as f64 * (query.off + key.off);
        let is_clean = stray < 0.25 * ROUNDING;
        let n_roundings = if is_clean { n_tables + 6 } else { widths + d_head + n_tables + 6 };
        let arithmetic = n_roundings as f64 * ROUNDING * (1.0 + query.total) * (1.0 + key.total);
        let any = largest * (query.total + key.total + query.total * key.total + arithmetic);
        // Chosen positions have the same score in every table, so that an error of the query changes them alike. Numbers that are
        // equal stay equal: one product each, and a sum of two has no order.
        let arithmetic = if is_clean && n_tables <= 2 { 0.0 } else { arithmetic };
        let between = largest * (1.0 + query.total) * (key.total + stray + arithmetic);
        ScoreError { any, between }
    }
}

impl Threshold {
    /// Of its sum, and of its indicator where the sum is within its tolerance.
    fn error(&self, program: &SequenceProgram, errors: &[Error]) -> [f64; 2] {
        // Coordinates of one variable are walked together: of a one-hot variable, and of its means, they add up to 1.
        let mut of_variables: Vec<(usize, f64, f64)> = Vec::new();
        for &(of, _, factor) in &self.terms {
            match of_variables.iter_mut().find(|(number, ..)| *number == of.0) {
                Some((_, largest, sum)) => (*largest, *sum) = (largest.max(factor.abs()), *sum + factor.abs()),
                None => of_variables.push((of.0, factor.abs(), factor.abs())),
            }
        }
        let (mut error, mut size) = (0.0, self.corners().iter().fold(0.0_f64, |a, c| a.max(c.abs())));
        for (number, largest, sum) in of_variables {
            let step = &program.steps[number];
            let adds_to_one = step.is_one_hot || program.is_mean_of_one_hot(step);
            error += if adds_to_one { largest * errors[number].total } else { sum * errors[number].largest };
            size += if adds_to_one { largest } else { sum };
        }
        let arithmetic = (self.terms.len() + 2) as f64 * ROUNDING * size;
        let slope = 2.0 / (self.high - self.low);
        // Its neurons' rises differ by 1; both are rounded.
        [error + arithmetic, 2.0 * slope * (arithmetic + ROUNDING * size)]
    }
}
