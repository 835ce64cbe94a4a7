//! A linear teacher: what deep linear networks learn mode by mode, and reduced-rank regression.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::sampled::{Counts, Distribution, Example, Numbers};
use super::zipf::Zipf;
use super::{SubtaskBy, Subtasks, Task, wrong};
use crate::{Interface, SettingError, VectorLoss};

/// Settings of a linear teacher, y = Tx + N(0, σ²) with T `[outputs, inputs]`: of deep linear networks ("Exact solutions to the
/// nonlinear dynamics of learning in deep linear neural networks", Saxe et al. 2014; "Saddle-to-saddle dynamics in deep linear
/// networks", Jacot et al. 2021) and of reduced-rank regression (Aoyagi & Watanabe 2005). The network is an `mlp` with
/// `activation = "identity"` and no biases.
///
/// T has `singular_values` on its diagonal, or it is a random matrix of a given `rank`: a product of two Gaussian matrices,
/// scaled so that outputs have the variance 1 for x ~ N(0, I).
///
/// With `input = "orthogonal"` example i is √D times the unit vector number i mod D of D inputs, so that the mean of xxᵀ is I
/// and the loss ½‖T − W‖² without noise, W being the product of the network's matrices. The sub-task `input_d`, from 1, is then
/// the examples of that vector: with singular values, mode d. Of a balanced, aligned start a₀ without noise the singular value
/// s is learned as a(t) = s/(1 + (s/a₀ − 1)e^(−2st)) by two matrices, t being steps times learning rate (Saxe et al.). A hidden
/// layer of width 1 makes it the toy of "Multi-Component Learning and S-Curves" (Jermyn & Shlegeris 2022),
/// ½Σ(aᵢbⱼ − ãᵢb̃ⱼ)².
///
/// With `input = "skills"` it is the model of "An exactly solvable model for emergence and scaling laws in the multitask sparse
/// parity problem" (Nam et al. 2024): x holds the skill functions gₖ of one example, of which that of its own skill is the parity
/// 1 or −1 and all others are 0; the target is S·gₖ for the singular value S, and skill k comes with a probability in proportion
/// to k^(−`zipf_exponent`), their α + 1. [`skill_strength`](crate::skill_strength) tells how a skill is learned. The sub-task
/// `input_d` is then skill d, measured on the split `even`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeepLinearConfig {
    /// Numbers of x, 1 to 4096.
    pub inputs: usize,
    /// Numbers of y, 1 to 4096.
    pub outputs: usize,
    /// Diagonal of the teacher, each finite and at least 0; the rest of it is 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub singular_values: Option<Vec<f64>>,
    /// Rank of a random teacher, instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rank: Option<usize>,
    /// Seed of the random teacher; the seed of the run unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub teacher_seed: Option<u32>,
    /// Distribution of x.
    #[serde(default)]
    pub input: LinearInput,
    /// Inputs are uniform on ± this: of `uniform`, which needs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub half_width: Option<f64>,
    /// Exponent of the skills' frequencies, at least 0: of `skills`, which needs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zipf_exponent: Option<f64>,
    /// σ², at least 0.
    #[serde(default)]
    pub noise_variance: f64,
    /// What an example costs.
    #[serde(default)]
    pub loss: LinearLoss,
    /// Examples to train on; new ones at every update unless given, but D for `orthogonal` inputs, and there a multiple of D.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train_examples: Option<usize>,
    /// Examples held out.
    #[serde(default = "super::default_held_examples")]
    pub held_examples: usize,
    /// Seed of the examples; the seed of the run unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_seed: Option<u32>,
}

/// Distribution of the inputs of a linear teacher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinearInput {
    /// N(0, I).
    #[default]
    Normal,
    /// Independent and uniform on ± `half_width`.
    Uniform,
    /// Scaled unit vectors in turn: whitened exactly.
    Orthogonal,
    /// 1 or −1 alike at one place, drawn with a frequency that falls as a power of its number; 0 elsewhere.
    Skills,
}

/// Loss of an example of a linear teacher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinearLoss {
    /// ½‖y − ŷ‖².
    #[default]
    HalfSquared,
    /// ‖y − ŷ‖² over the number of outputs.
    MeanSquared,
}

const MAX_WIDTH: usize = 4096;

impl DeepLinearConfig {
    /// The teacher T `[outputs, inputs]`, row by row; empty where the settings give none.
    pub fn teacher(&self, run_seed: u32) -> Vec<f64> {
        let (rows, columns) = (self.outputs, self.inputs);
        let mut teacher = vec![0.0; rows * columns];
        match (&self.singular_values, self.rank) {
            (Some(values), _) => values.iter().enumerate().for_each(|(i, s)| teacher[i * (columns + 1)] = *s),
            (None, None) => teacher.clear(),
            (None, Some(rank)) => {
                let seed = self.teacher_seed.unwrap_or(run_seed);
                let normals = |n, number| {
                    let mut out = vec![0.0; n];
                    Numbers::of_task(seed, number).normals(&mut out);
                    out
                };
                let (left, right) = (normals(rows * rank, 0), normals(rank * columns, 1));
                let scale = 1.0 / ((rank * columns) as f64).sqrt();
                for (at, entry) in teacher.iter_mut().enumerate() {
                    let (row, column) = (at / columns, at % columns);
                    let parts =
                        (0..rank).map(|r| f64::from(left[row * rank + r]) * f64::from(right[r * columns + column]));
                    *entry = scale * parts.sum::<f64>();
                }
            }
        }
        teacher
    }

    /// See [`TaskConfig::prepare`](super::TaskConfig::prepare).
    pub(super) fn prepare(&self, run_seed: u32) -> Result<Task, SettingError> {
        for (key, width) in [("inputs", self.inputs), ("outputs", self.outputs)] {
            if !(1..=MAX_WIDTH).contains(&width) {
                return Err(wrong(key, width, &format!("1 to {MAX_WIDTH}")));
            }
        }
        self.check_teacher()?;
        match (self.input, self.half_width) {
            (LinearInput::Uniform, Some(width)) if !(width.is_finite() && width > 0.0) => {
                return Err(wrong("half_width", width, "a finite number above 0"));
            }
            (LinearInput::Uniform, None) => {
                return Err(wrong("half_width", "missing", "the largest input, such as 1.0"));
            }
            (LinearInput::Normal | LinearInput::Orthogonal | LinearInput::Skills, Some(width)) => {
                return Err(wrong("half_width", width, "it only with input = \"uniform\""));
            }
            _ => {}
        }
        match (self.input, self.zipf_exponent) {
            (LinearInput::Skills, Some(exponent)) if !(exponent.is_finite() && exponent >= 0.0) => {
                return Err(wrong("zipf_exponent", exponent, "a finite number, at least 0"));
            }
            (LinearInput::Skills, None) => {
                return Err(wrong("zipf_exponent", "missing", "the exponent of the skills' frequencies, such as 1.6"));
            }
            (LinearInput::Normal | LinearInput::Uniform | LinearInput::Orthogonal, Some(exponent)) => {
                return Err(wrong("zipf_exponent", exponent, "it only with input = \"skills\""));
            }
            _ => {}
        }
        if !(self.noise_variance.is_finite() && self.noise_variance >= 0.0) {
            return Err(wrong("noise_variance", self.noise_variance, "a finite number, at least 0"));
        }
        let mut n_train = self.train_examples;
        if self.input == LinearInput::Orthogonal {
            let n = *n_train.get_or_insert(self.inputs);
            if !n.is_multiple_of(self.inputs) {
                let expected = format!("a multiple of {}, so that every unit vector comes as often", self.inputs);
                return Err(wrong("train_examples", n, &expected));
            }
        }
        let mut counts = Counts::new(n_train, self.held_examples)?;
        if self.input == LinearInput::Skills {
            counts = counts.with_each(super::default_examples_per_subtask(), self.inputs)?;
        }
        let frequencies = self.zipf_exponent.map(|exponent| Zipf::new(self.inputs, exponent));
        let teacher = LinearTeacher { config: self.clone(), matrix: self.teacher(run_seed), frequencies };
        Ok(Task::sampled(Arc::new(teacher), counts, self.data_seed.unwrap_or(run_seed)))
    }

    fn check_teacher(&self) -> Result<(), SettingError> {
        let most = self.inputs.min(self.outputs);
        match (&self.singular_values, self.rank) {
            (Some(values), None) if values.is_empty() || values.len() > most => {
                Err(wrong("singular_values", format!("{values:?}"), &format!("1 to {most} numbers")))
            }
            (Some(values), None) => match values.iter().find(|s| !(s.is_finite() && **s >= 0.0)) {
                Some(value) => Err(wrong("singular_values", value, "finite numbers, at least 0")),
                None if self.teacher_seed.is_some() => {
                    Err(wrong("teacher_seed", "given", "it only with a `rank`, for a random teacher"))
                }
                None => Ok(()),
            },
            (None, Some(rank)) if !(1..=most).contains(&rank) => Err(wrong("rank", rank, &format!("1 to {most}"))),
            (None, Some(_)) => Ok(()),
            (given, _) => {
                let found = if given.is_some() { "given beside `singular_values`" } else { "missing" };
                Err(wrong("rank", found, "either `rank` or `singular_values`"))
            }
        }
    }
}

#[derive(Debug)]
struct LinearTeacher {
    config: DeepLinearConfig,
    /// T, row by row.
    matrix: Vec<f64>,
    /// Of the skills, where inputs are such.
    frequencies: Option<Zipf>,
}

impl Distribution for LinearTeacher {
    fn interface(&self) -> Interface {
        let loss = match self.config.loss {
            LinearLoss::HalfSquared => VectorLoss::Squared { factor: 0.5, importance: 1.0 },
            LinearLoss::MeanSquared => VectorLoss::MeanSquared,
        };
        Interface::Vectors { inputs: self.config.inputs, outputs: self.config.outputs, loss, image: None }
    }

    fn subtasks(&self) -> Option<Subtasks> {
        let names = || (1..=self.config.inputs).map(|d| format!("input_{d}")).collect();
        let is_one_at_a_time = matches!(self.config.input, LinearInput::Orthogonal | LinearInput::Skills);
        is_one_at_a_time.then(|| Subtasks { names: names(), by: SubtaskBy::Example })
    }

    fn draw_of(&self, subtask: Option<u32>, numbers: &mut Numbers, example: &mut Example<'_>) {
        let d = self.config.inputs;
        match self.config.input {
            LinearInput::Normal => numbers.normals(example.x),
            LinearInput::Uniform => {
                let half = self.config.half_width.unwrap_or(1.0);
                for x in example.x.iter_mut() {
                    *x = ((2.0 * numbers.uniform() - 1.0) * half) as f32;
                }
            }
            LinearInput::Orthogonal => {
                let axis = (numbers.example() % d as u64) as usize;
                example.x[axis] = (d as f64).sqrt() as f32;
                example.subtask = axis as u32;
            }
            LinearInput::Skills => {
                let drawn = self.frequencies.as_ref().map_or(0, |frequencies| frequencies.draw(numbers));
                let skill = subtask.map_or(drawn, |wanted| wanted as usize);
                example.x[skill] = if numbers.below(2) == 0 { 1.0 } else { -1.0 };
                example.subtask = skill as u32;
            }
        }
        numbers.normals(example.y);
        let deviation = self.config.noise_variance.sqrt();
        for (row, y) in self.matrix.chunks_exact(d).zip(example.y.iter_mut()) {
            let clean: f64 = row.iter().zip(&*example.x).map(|(t, &x)| t * f64::from(x)).sum();
            *y = (clean + deviation * f64::from(*y)) as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn config(changes: &serde_json::Value) -> DeepLinearConfig {
        let mut settings = json!({ "inputs": 4, "outputs": 3 });
        settings.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        serde_json::from_value(settings).unwrap()
    }

    #[test]
    fn outputs_are_those_of_the_teacher_with_noise() {
        for input in [json!({ "input": "normal" }), json!({ "input": "uniform", "half_width": 2.0 })] {
            let mut settings = json!({ "rank": 2, "noise_variance": 0.5, "held_examples": 4000 });
            settings.as_object_mut().unwrap().extend(input.as_object().unwrap().clone());
            let config = config(&settings);
            let (task, teacher) = (config.prepare(1).unwrap(), config.teacher(1));
            assert!(task.subtasks.is_none() && task.endless.is_some());
            let train = task.split("train").unwrap();
            let mut noise = 0.0;
            for (x, y) in train.floats("x").chunks(4).zip(train.floats("y").chunks(3)) {
                for (row, &y) in teacher.chunks(4).zip(y) {
                    let clean: f64 = row.iter().zip(x).map(|(t, &x)| t * f64::from(x)).sum();
                    noise += (f64::from(y) - clean).powi(2) / 12_000.0;
                }
            }
            // Squares of 12,000 normals: relative error √(2/12,000).
            assert!((noise / 0.5 - 1.0).abs() < 4.0 * (2.0_f64 / 12_000.0).sqrt(), "{noise}");
            // Variances 1 and 2²/3; fourth moments 3 and 2⁴/5 leave √2 and √(4/5) of it as relative deviation.
            let (variance, deviation) = if config.half_width.is_some() { (4.0 / 3.0, 0.9) } else { (1.0, 1.5) };
            let x = train.floats("x").iter().map(|&x| f64::from(x));
            let found = x.map(|x| x * x).sum::<f64>() / 16_000.0;
            assert!((found / variance - 1.0).abs() < 4.0 * deviation / 16_000.0_f64.sqrt(), "{found}");
        }
    }

    #[test]
    fn a_random_teacher_has_its_rank_and_outputs_of_variance_1() {
        let teacher = config(&json!({ "inputs": 200, "outputs": 150, "rank": 2 })).teacher(4);
        let entry = |row: usize, column: usize| teacher[200 * row + column];
        // Every minor of three rows and columns is 0, and of two it is not.
        for at in 0..50 {
            let minor = |a: usize, b: usize| entry(at, a) * entry(at + 7, b) - entry(at, b) * entry(at + 7, a);
            let three = entry(at + 60, 3) * minor(50, 99) - entry(at + 60, 50) * minor(3, 99)
                + entry(at + 60, 99) * minor(3, 50);
            assert!(three.abs() < 1e-15 && minor(3, 50) != 0.0, "{three} {}", minor(3, 50));
        }
        // Variances of the outputs, on average: ½Σᵣ of χ²₁₅₀/150 times χ²₂₀₀/200, for r = 1, 2, of variance 1/150 + 1/200.
        let mean = teacher.iter().map(|t| t * t).sum::<f64>() / 150.0;
        assert!((mean - 1.0).abs() < 4.0 * (1.0_f64 / 150.0 + 1.0 / 200.0).sqrt(), "{mean}");
    }

    #[test]
    fn orthogonal_inputs_are_white_and_their_modes_sub_tasks() {
        let settings = json!({
            "outputs": 4, "singular_values": [3.0, 1.0], "input": "orthogonal", "train_examples": 8, "held_examples": 4,
        });
        let task = config(&settings).prepare(0).unwrap();
        let train = task.split("train").unwrap();
        let (x, y) = (train.floats("x"), train.floats("y"));
        for (i, j) in (0..4).flat_map(|i| (0..4).map(move |j| (i, j))) {
            let moment: f32 = x.chunks(4).map(|x| x[i] * x[j]).sum();
            assert_eq!(moment / 8.0, f32::from(u8::from(i == j)));
            let with_y: f32 = x.chunks(4).zip(y.chunks(4)).map(|(x, y)| y[i] * x[j]).sum();
            let teacher = if i == j { [3.0, 1.0, 0.0, 0.0][i] } else { 0.0 };
            assert_eq!(with_y / 8.0, teacher);
        }
        assert_eq!(train.subtasks, [0, 1, 2, 3, 0, 1, 2, 3]);
        assert!(task.endless.is_none() && task.split("even").is_none());
        let default = json!({ "rank": 1, "input": "orthogonal" });
        assert_eq!(config(&default).prepare(0).unwrap().split("train").unwrap().data.len(), 4);
    }

    #[test]
    fn settings_out_of_range_are_named() {
        for (changes, message) in [
            (json!({ "outputs": 0 }), "task.outputs is 0; expected 1 to 4096"),
            (json!({}), "task.rank is missing; expected either `rank` or `singular_values`"),
            (
                json!({ "rank": 1, "singular_values": [1.0] }),
                "task.rank is given beside `singular_values`; expected either `rank` or `singular_values`",
            ),
            (json!({ "rank": 4 }), "task.rank is 4; expected 1 to 3"),
            (json!({ "singular_values": [] }), "task.singular_values is []; expected 1 to 3 numbers"),
            (
                json!({ "singular_values": [1.0, -2.0] }),
                "task.singular_values is -2; expected finite numbers, at least 0",
            ),
            (
                json!({ "singular_values": [1.0], "teacher_seed": 1 }),
                "task.teacher_seed is given; expected it only with a `rank`, for a random teacher",
            ),
            (
                json!({ "rank": 1, "input": "uniform" }),
                "task.half_width is missing; expected the largest input, such as 1.0",
            ),
            (
                json!({ "rank": 1, "input": "uniform", "half_width": 0.0 }),
                "task.half_width is 0; expected a finite number above 0",
            ),
            (
                json!({ "rank": 1, "half_width": 2.0 }),
                "task.half_width is 2; expected it only with input = \"uniform\"",
            ),
            (
                json!({ "rank": 1, "input": "skills" }),
                "task.zipf_exponent is missing; expected the exponent of the skills' frequencies, such as 1.6",
            ),
            (
                json!({ "rank": 1, "zipf_exponent": 1.6 }),
                "task.zipf_exponent is 1.6; expected it only with input = \"skills\"",
            ),
            (
                json!({ "rank": 1, "noise_variance": -1.0 }),
                "task.noise_variance is -1; expected a finite number, at least 0",
            ),
            (
                json!({ "rank": 1, "input": "orthogonal", "train_examples": 6 }),
                "task.train_examples is 6; expected a multiple of 4, so that every unit vector comes as often",
            ),
        ] {
            assert_eq!(config(&changes).prepare(0).unwrap_err().to_string(), message);
        }
    }
}
