//! What a sequence program means, exactly: every variable at every position, with attention that is all or nothing.

use super::{Operation, ProgramError, SequenceProgram, Step, Table};

impl SequenceProgram {
    /// Every variable at every position: by step, position and coordinate. This is what the compiled network's residual stream holds
    /// at [`CompiledTransformer::coordinates`](super::CompiledTransformer::coordinates), but for rounding and for the positions
    /// that no answer depends on.
    ///
    /// # Errors
    /// A mistake in the program, or tokens of another length or beyond the vocabulary.
    pub fn evaluate(&self, tokens: &[i32]) -> Result<Vec<Vec<Vec<f64>>>, ProgramError> {
        self.check()?;
        if tokens.len() != self.positions {
            let (found, expected) = (format!("has {} tokens", tokens.len()), self.positions.to_string());
            return Err(ProgramError::Sequence { found, expected });
        }
        let mut ids = Vec::with_capacity(tokens.len());
        for &token in tokens {
            let id = usize::try_from(token).ok().filter(|&id| id < self.vocabulary);
            ids.push(id.ok_or_else(|| ProgramError::Sequence {
                found: format!("has the token {token}"),
                expected: format!("tokens from 0 to {}", self.vocabulary.saturating_sub(1)),
            })?);
        }
        let mut values: Vec<Vec<Vec<f64>>> = Vec::with_capacity(self.steps.len());
        for step in &self.steps {
            let at = |position: usize| value(step, &values, ids[position], position);
            values.push((0..self.positions).map(at).collect());
        }
        Ok(values)
    }
}

/// The variable of `step` at a position that holds `token`, from all earlier ones.
fn value(step: &Step, values: &[Vec<Vec<f64>>], token: usize, position: usize) -> Vec<f64> {
    let mut out = vec![0.0; step.width];
    match &step.operation {
        Operation::Tokens => out[token] = 1.0,
        Operation::Indices => out[position] = 1.0,
        Operation::Attend { scores, value, to } => {
            let score = |k: usize| scores.iter().map(|table| table.score(values, position, k)).sum::<f64>();
            let scores: Vec<f64> = (0..=position).map(score).collect();
            let largest = scores.iter().fold(f64::NEG_INFINITY, |a, &s| a.max(s));
            // Scores of one-hot variables are whole numbers.
            let best: Vec<usize> = (0..=position).filter(|&k| scores[k] > largest - 0.5).collect();
            for &k in &best {
                for (x, to) in values[value.0][k].iter().zip(to) {
                    if let Some(to) = *to {
                        out[to] += x / best.len() as f64;
                    }
                }
            }
        }
        Operation::Table { of: [a, b], to, .. } => {
            let (a, b) = (&values[a.0][position], &values[b.0][position]);
            for (i, x) in a.iter().enumerate() {
                for (j, y) in b.iter().enumerate() {
                    out[to[i * b.len() + j]] += x * y;
                }
            }
        }
        Operation::Thresholds { thresholds, constants } => {
            out.copy_from_slice(constants);
            for threshold in thresholds {
                let sum: f64 =
                    threshold.terms.iter().map(|&(of, at, factor)| factor * values[of.0][position][at]).sum();
                let [from, to] = threshold.corners();
                let indicator = ((sum - from) / (to - from)).clamp(0.0, 1.0);
                for &(at, factor) in &threshold.writes {
                    out[at] += factor * indicator;
                }
            }
        }
    }
    out
}

impl Table {
    fn score(&self, values: &[Vec<Vec<f64>>], q: usize, k: usize) -> f64 {
        let (query, key) = (&values[self.query.0][q], &values[self.key.0][k]);
        let row = |row: &Vec<i32>| row.iter().zip(key).map(|(&s, y)| f64::from(s) * y).sum::<f64>();
        self.rows.iter().zip(query).map(|(r, x)| x * row(r)).sum()
    }
}
