//! Greatest common divisors of numbers written in a base.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::sampled::{Counts, Distribution, Example, Numbers};
use super::{SubtaskBy, Subtasks, Task, wrong};
use crate::{Interface, Read, SettingError};

/// Settings of greatest common divisors: "Learning the greatest common divisor: explaining transformer predictions" (Charton
/// 2023).
///
/// An example is the sequence `a b = g` of three numbers of w digits each in base B, leading digit first, with zeros in front;
/// w is as many as the largest operand needs. Digits are the ids below B, and `=` is the id B. The digits of g = gcd(a, b)
/// are predicted. The sub-tasks `gcd_1` to `gcd_100` are the examples with that g, `gcd_above_100` the others.
///
/// Operands are 1 to `largest`. With `outcomes = "natural"` they are independent, and g has a probability near 6/π²g². With
/// `"log_uniform"` g is 1 to 100 with a probability ∝ 1/g, and a and b are g times two numbers of the operands' distribution up
/// to `largest`/g without a common divisor; so they are in the split `even`. The smallest loss is 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GcdConfig {
    /// B, 2 to 10000.
    pub base: usize,
    /// Largest operand, 1000 to 1000000000; 1000000 unless given, as in the paper.
    #[serde(default = "a_million")]
    pub largest: usize,
    /// Distribution of the operands.
    #[serde(default)]
    pub operands: OperandLaw,
    /// Distribution of the greatest common divisors.
    #[serde(default)]
    pub outcomes: OutcomeLaw,
    /// Pairs to train on; new ones at every update unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train_examples: Option<usize>,
    /// Pairs held out.
    #[serde(default = "super::default_held_examples")]
    pub held_examples: usize,
    /// Pairs of each sub-task in the split `even`.
    #[serde(default = "super::default_examples_per_subtask")]
    pub examples_per_subtask: usize,
    /// Seed of the pairs; the seed of the run unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_seed: Option<u32>,
}

/// How operands are distributed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OperandLaw {
    /// All alike.
    #[default]
    Uniform,
    /// n with a probability ∝ ln(1 + 1/n), so that numbers of few digits are as frequent as long ones.
    LogUniform,
}

/// How greatest common divisors are distributed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutcomeLaw {
    /// As independent operands have them.
    #[default]
    Natural,
    /// g with a probability ∝ 1/g, up to 100.
    LogUniform,
}

fn a_million() -> usize {
    1_000_000
}

/// Divisors with a sub-task of their own.
const NAMED: usize = 100;
const MAX_BASE: usize = 10_000;
const RANGE: std::ops::RangeInclusive<usize> = 1000..=1_000_000_000;

impl GcdConfig {
    /// See [`TaskConfig::prepare`](super::TaskConfig::prepare).
    pub(super) fn prepare(&self, run_seed: u32) -> Result<Task, SettingError> {
        if !(2..=MAX_BASE).contains(&self.base) {
            return Err(wrong("base", self.base, &format!("2 to {MAX_BASE}")));
        }
        if !RANGE.contains(&self.largest) {
            return Err(wrong("largest", self.largest, &format!("{} to {}", RANGE.start(), RANGE.end())));
        }
        let counts =
            Counts::new(self.train_examples, self.held_examples)?.with_each(self.examples_per_subtask, NAMED + 1)?;
        let mut total = 0.0;
        let cumulative = (1..=NAMED).map(|g| {
            total += 1.0 / g as f64;
            total
        });
        let pairs = Pairs {
            base: self.base,
            largest: self.largest,
            digits: digits_of(self.largest, self.base),
            operands: self.operands,
            outcomes: self.outcomes,
            cumulative: cumulative.collect(),
        };
        Ok(Task::sampled(Arc::new(pairs), counts, self.data_seed.unwrap_or(run_seed)))
    }
}

/// Digits of `n` in base `base`.
fn digits_of(n: usize, base: usize) -> usize {
    std::iter::successors(Some(n), |&rest| Some(rest / base)).take_while(|&rest| rest > 0).count()
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[derive(Debug)]
struct Pairs {
    base: usize,
    largest: usize,
    /// Digits of a number.
    digits: usize,
    operands: OperandLaw,
    outcomes: OutcomeLaw,
    /// Σ 1/g up to each g.
    cumulative: Vec<f64>,
}

impl Pairs {
    fn operand(&self, largest: usize, numbers: &mut Numbers) -> usize {
        match self.operands {
            OperandLaw::Uniform => 1 + numbers.below(largest),
            OperandLaw::LogUniform => {
                let power = ((largest + 1) as f64).powf(numbers.uniform());
                (power as usize).clamp(1, largest)
            }
        }
    }

    fn operands(&self, largest: usize, numbers: &mut Numbers) -> [usize; 2] {
        [self.operand(largest, numbers), self.operand(largest, numbers)]
    }

    /// A pair with the greatest common divisor `g`. About 6/π² of all pairs have no common divisor, and the pair (1, 1)
    /// always may come, so that the search ends.
    fn with_divisor(&self, g: usize, numbers: &mut Numbers) -> [usize; 2] {
        loop {
            let [a, b] = self.operands(self.largest / g, numbers);
            if gcd(a, b) == 1 {
                return [g * a, g * b];
            }
        }
    }

    /// A pair with a divisor above those with a name, as independent operands have it: one in some hundred.
    fn with_large_divisor(&self, numbers: &mut Numbers) -> [usize; 2] {
        loop {
            let [a, b] = self.operands(self.largest, numbers);
            if gcd(a, b) > NAMED {
                return [a, b];
            }
        }
    }
}

impl Distribution for Pairs {
    fn interface(&self) -> Interface {
        let read = Read::Tokens { from: 2 * self.digits + 1, every: 1, is_weighted: false };
        Interface::Tokens { vocabulary: self.base + 1, length: 3 * self.digits + 1, read }
    }

    fn subtasks(&self) -> Option<Subtasks> {
        let named = (1..=NAMED).map(|g| format!("gcd_{g}"));
        let names = named.chain([format!("gcd_above_{NAMED}")]).collect();
        Some(Subtasks { names, by: SubtaskBy::Example })
    }

    fn draw_of(&self, subtask: Option<u32>, numbers: &mut Numbers, example: &mut Example<'_>) {
        let [a, b] = match (subtask.map(|wanted| wanted as usize), self.outcomes) {
            (Some(NAMED), _) => self.with_large_divisor(numbers),
            (Some(wanted), _) => self.with_divisor(wanted + 1, numbers),
            (None, OutcomeLaw::Natural) => self.operands(self.largest, numbers),
            (None, OutcomeLaw::LogUniform) => {
                let share = numbers.uniform() * self.cumulative[NAMED - 1];
                let g = self.cumulative.partition_point(|&upto| upto <= share).min(NAMED - 1) + 1;
                self.with_divisor(g, numbers)
            }
        };
        let divisor = gcd(a, b);
        example.subtask = (divisor - 1).min(NAMED) as u32;
        let w = self.digits;
        example.tokens[2 * w] = self.base as i32;
        for (number, start) in [(a, 0), (b, w), (divisor, 2 * w + 1)] {
            let mut rest = number;
            for token in example.tokens[start..start + w].iter_mut().rev() {
                *token = (rest % self.base) as i32;
                rest /= self.base;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn prepare(settings: serde_json::Value) -> Result<Task, SettingError> {
        serde_json::from_value::<GcdConfig>(settings).unwrap().prepare(0)
    }

    /// a, b and g of each example of a split.
    fn numbers(task: &Task, split: &str, base: usize) -> Vec<[usize; 3]> {
        let Interface::Tokens { length, .. } = task.interface else { panic!("tokens") };
        let w = (length - 1) / 3;
        let value = |digits: &[i32]| digits.iter().fold(0, |sum, &digit| sum * base + digit as usize);
        let row = |tokens: &[i32]| {
            assert_eq!(tokens[2 * w], base as i32);
            [value(&tokens[..w]), value(&tokens[w..2 * w]), value(&tokens[2 * w + 1..])]
        };
        task.split(split).unwrap().ids("tokens").chunks(length).map(row).collect()
    }

    /// By trial, not by Euclid.
    fn is_greatest_common_divisor([a, b, g]: [usize; 3]) -> bool {
        a.is_multiple_of(g)
            && b.is_multiple_of(g)
            && !(2..=a.min(b) / g).any(|k| (a / g).is_multiple_of(k) && (b / g).is_multiple_of(k))
    }

    #[test]
    fn answers_are_greatest_common_divisors() {
        for (base, digits) in [(10, 4), (2, 10), (30, 3), (1000, 2)] {
            for operands in ["uniform", "log_uniform"] {
                let task = prepare(json!({
                    "base": base, "largest": 1000, "operands": operands, "held_examples": 300, "examples_per_subtask": 2,
                }))
                .unwrap();
                assert_eq!(task.interface.answers(), digits);
                assert!(numbers(&task, "train", base).into_iter().all(is_greatest_common_divisor));
                let even = task.split("even").unwrap();
                for (i, row) in numbers(&task, "even", base).into_iter().enumerate() {
                    assert!(is_greatest_common_divisor(row) && row[0] <= 1000 && row[1] <= 1000, "{row:?}");
                    assert_eq!(even.subtasks[i] as usize, i % 101);
                    assert!(if i % 101 == 100 { row[2] > 100 } else { row[2] == i % 101 + 1 }, "{row:?}");
                }
            }
        }
    }

    /// Asserts that of `n` examples a share `p` has some property, to 4 standard errors.
    fn assert_share(rows: &[[usize; 3]], has: impl Fn(&[usize; 3]) -> bool, p: f64, what: &str) {
        let n = rows.len() as f64;
        let share = rows.iter().filter(|row| has(row)).count() as f64 / n;
        assert!((share - p).abs() < 4.0 * (p * (1.0 - p) / n).sqrt(), "{what}: {share} instead of {p}");
    }

    #[test]
    fn operands_and_outcomes_have_their_laws() {
        let n = 20_000;
        let rows = |operands: &str, outcomes: &str| {
            let settings = json!({
                "base": 10, "operands": operands, "outcomes": outcomes, "held_examples": n, "examples_per_subtask": 1,
            });
            numbers(&prepare(settings).unwrap(), "train", 10)
        };
        let natural = rows("uniform", "natural");
        for g in 1..6 {
            // 6/π²g², to 1e-5 for operands up to a million.
            let p = 6.0 / std::f64::consts::PI.powi(2) / f64::from(g).powi(2);
            assert_share(&natural, |row| row[2] == g as usize, p, "natural");
        }
        assert_share(&natural, |row| row[0] <= 100_000, 0.1, "uniform");
        let short = rows("log_uniform", "natural");
        // A number is below 10^k with the probability ln 10^k/ln(10⁶ + 1).
        for digits in 1..6 {
            let below = 10_usize.pow(digits);
            assert_share(&short, |row| row[1] < below, f64::from(digits) / 6.0, "log-uniform");
        }
        let harmonic: f64 = (1..=100).map(|g| 1.0 / f64::from(g)).sum();
        for (operands, g) in [("uniform", 1), ("uniform", 7), ("log_uniform", 100)] {
            let p = 1.0 / f64::from(g) / harmonic;
            assert_share(&rows(operands, "log_uniform"), |row| row[2] == g as usize, p, "outcomes");
        }
    }

    #[test]
    fn settings_out_of_range_are_named() {
        for (settings, message) in [
            (json!({ "base": 1 }), "task.base is 1; expected 2 to 10000"),
            (json!({ "base": 10, "largest": 999 }), "task.largest is 999; expected 1000 to 1000000000"),
            (
                json!({ "base": 10, "examples_per_subtask": 0 }),
                "task.examples_per_subtask is 0; expected 1 to 166111, for 101 sub-tasks",
            ),
        ] {
            assert_eq!(prepare(settings).unwrap_err().to_string(), message);
        }
    }
}
