//! How few bits describe the weights at a tolerated rise of the loss: by coarser numbers, and by fewer of them.

use ontogeny_graph::{DataSet, ParamSpace};
use serde::{Deserialize, Serialize};

use crate::interventions::chosen_rows;
use crate::{Checkpoint, Evaluator, Findings, Instrument, Measured, ObserveError, Settings, Subject};

/// Version of the numbers of [`DescriptionLengthSettings`].
pub(crate) const DESCRIPTION_LENGTH_VERSION: u32 = 1;

/// Widths of integers that weights are rounded to; beyond the largest they are kept as they are.
const MAX_WIDTH: u32 = 16;

/// Bits of a weight that is kept as it is, and of the scale of a tensor.
const FLOAT_BITS: f64 = 32.0;

/// What is measured, in the order of the array.
const QUANTITIES: [&str; 5] =
    ["bits_integer", "bits_interpolated", "length_quantised", "length_pruned", "pruned_share"];

/// Settings of `observable = "description_length"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DescriptionLengthSettings {
    /// The rise of the mean loss that is tolerated, in its unit (nats of cross-entropies).
    pub tolerance: f64,
    /// The split on whose examples the loss is taken.
    pub split: String,
    /// Examples, evenly spaced over the split; all where there are fewer.
    pub examples: usize,
}

impl Default for DescriptionLengthSettings {
    fn default() -> Self {
        Self { tolerance: 0.01, split: "train".to_owned(), examples: 1000 }
    }
}

impl Settings for DescriptionLengthSettings {
    fn build(&self, subject: &Subject<'_>) -> Result<Box<dyn Instrument>, ObserveError> {
        if !(self.tolerance >= 0.0 && self.tolerance.is_finite()) {
            let message = format!("`tolerance` is {}; expected a finite number, at least 0", self.tolerance);
            return Err(ObserveError::Setting(message));
        }
        let (split, rows) = chosen_rows(subject.task, Some(&self.split), self.examples)?;
        let data = split.data.rows(&rows);
        let evaluator = Evaluator::new(subject.model)?;
        Ok(Box::new(DescriptionLength {
            tolerance: self.tolerance,
            space: subject.model.space().clone(),
            evaluator,
            data,
        }))
    }
}

/// Programs and choices of the measurement.
#[derive(Debug)]
struct DescriptionLength {
    tolerance: f64,
    space: ParamSpace,
    evaluator: Evaluator,
    data: DataSet,
}

impl Instrument for DescriptionLength {
    fn dims(&self) -> Vec<(&'static str, Vec<String>)> {
        vec![("quantity", QUANTITIES.map(str::to_owned).to_vec())]
    }

    fn measure(&mut self, checkpoint: &Checkpoint<'_>) -> Result<Findings, ObserveError> {
        let weights = checkpoint.weights;
        let loss = self.evaluator.evaluate(weights, &self.data)?.loss;
        let n = weights.len() as f64;
        let mut trial = Trial { of: self, checkpoint, loss, n_tried: 0, changed: weights.to_vec() };
        let quantised = trial.quantised()?;
        let n_pruned = trial.pruned()?;
        let n_tried = trial.n_tried;
        let bits = quantised.map_or(FLOAT_BITS, |levels| f64::from(levels).log2());
        let n_tensors = self.space.iter().count() as f64;
        let scales = if quantised.is_some() { FLOAT_BITS * n_tensors } else { 0.0 };
        let values = vec![
            quantised.map_or(FLOAT_BITS, |levels| (f64::from(levels) + 1.0).log2().ceil()),
            bits,
            n * bits + scales,
            log2_choices(weights.len(), n_pruned) + FLOAT_BITS * (weights.len() - n_pruned) as f64,
            n_pruned as f64 / n,
        ];
        let value = Measured { unit: "1", dims: self.dims(), values };
        let levels = quantised.map_or(0.0, f64::from);
        let details =
            vec![("loss", loss), ("levels", levels), ("n_pruned", n_pruned as f64), ("n_tried", f64::from(n_tried))];
        Ok(Findings { details, ..value.into() })
    }
}

/// Changed weights of one checkpoint, tried one after another.
struct Trial<'a, 'c> {
    of: &'a mut DescriptionLength,
    checkpoint: &'a Checkpoint<'c>,
    loss: f64,
    n_tried: u32,
    changed: Vec<f32>,
}

impl Trial<'_, '_> {
    /// The levels that weights are rounded to: those of the narrowest width that keeps the tolerance, or fewer, an odd number 2m + 1,
    /// by bisection down to the next narrower width. `None` where even the widest breaks it.
    ///
    /// The narrowest, whatever wider ones do: a code is as short as one can find, and the levels of one width are none of the next's
    /// (weights in steps of a seventh need no other).
    fn quantised(&mut self) -> Result<Option<u32>, ObserveError> {
        let mut width = 1;
        while !self.keeps_with(half_range(width))? {
            width += 1;
            if width > MAX_WIDTH {
                return Ok(None);
            }
        }
        let (mut broken, mut kept) = (half_range(width.max(2) - 1), half_range(width));
        while kept - broken > 1 {
            let middle = broken + (kept - broken) / 2;
            if self.keeps_with(middle)? { kept = middle } else { broken = middle }
        }
        Ok(Some(2 * kept + 1))
    }

    fn keeps_with(&mut self, half_range: u32) -> Result<bool, ObserveError> {
        for param in self.of.space.iter() {
            round(&self.checkpoint.weights[param.range.clone()], half_range, &mut self.changed[param.range.clone()]);
        }
        self.keeps()
    }

    /// How many weights, the smallest in magnitude over all tensors, can be 0: the number found by bisection that keeps the
    /// tolerance where one more breaks it.
    fn pruned(&mut self) -> Result<usize, ObserveError> {
        let weights = self.checkpoint.weights;
        let mut order: Vec<usize> = (0..weights.len()).collect();
        // Of equal ones the first.
        order.sort_by(|&i, &j| weights[i].abs().total_cmp(&weights[j].abs()));
        let n_zero = weights.iter().filter(|&&w| w == 0.0).count();
        let (mut kept, mut broken) = (n_zero, weights.len() + 1);
        while broken - kept > 1 {
            // All of them first: no bisection would ever ask for that.
            let middle = if broken > weights.len() { weights.len() } else { kept + (broken - kept) / 2 };
            self.changed.copy_from_slice(weights);
            order[..middle].iter().for_each(|&at| self.changed[at] = 0.0);
            if self.keeps()? { kept = middle } else { broken = middle }
        }
        Ok(kept)
    }

    /// Whether the changed weights have a loss within the tolerance; one that is not finite is none.
    fn keeps(&mut self) -> Result<bool, ObserveError> {
        self.checkpoint.check_cancelled()?;
        self.n_tried += 1;
        // 16 widths and two bisections.
        let n_expected = f64::from(2 * MAX_WIDTH) + (self.changed.len() as f64).log2();
        (self.checkpoint.progress)((f64::from(self.n_tried) / n_expected).min(1.0));
        match self.of.evaluator.evaluate(&self.changed, &self.of.data) {
            Ok(found) => Ok(found.loss - self.loss <= self.of.tolerance),
            Err(ObserveError::NonFinite { .. }) => Ok(false),
            Err(other) => Err(other),
        }
    }
}

/// m of the integers −m..=m that have this width in bits, without the one more on the negative side: 2^(width − 1) − 1.
fn half_range(width: u32) -> u32 {
    (1 << (width - 1)) - 1
}

/// A tensor rounded to the nearest of the 2m + 1 even steps from −max|w| to max|w|; to 0 where m is 0.
fn round(weights: &[f32], m: u32, rounded: &mut [f32]) {
    let largest = weights.iter().fold(0.0_f32, |a, w| a.max(w.abs()));
    if m == 0 || largest == 0.0 {
        rounded.fill(0.0);
        return;
    }
    let (m, largest) = (f64::from(m), f64::from(largest));
    for (rounded, &w) in rounded.iter_mut().zip(weights) {
        *rounded = ((f64::from(w) / largest * m).round() * largest / m) as f32;
    }
}

/// log₂ of the number of ways to choose k of n, to the error of ln Γ's series.
fn log2_choices(n: usize, k: usize) -> f64 {
    (ln_factorial(n) - ln_factorial(k) - ln_factorial(n - k)) / std::f64::consts::LN_2
}

/// ln n!: a sum for small n, else Stirling's series, whose next term is below 1e-12 from n = 32 on.
fn ln_factorial(n: usize) -> f64 {
    if n < 32 {
        return (2..=n).map(|i| (i as f64).ln()).sum();
    }
    let x = n as f64;
    x * x.ln() - x + 0.5 * (std::f64::consts::TAU * x).ln() + 1.0 / (12.0 * x) - 1.0 / (360.0 * x.powi(3))
        + 1.0 / (1260.0 * x.powi(5))
}

#[cfg(test)]
mod tests {
    use ontogeny_graph::{Column, ColumnData, Purpose, Stream};
    use ontogeny_zoo::{Interface, Model, Split, Task, VectorLoss};
    use serde_json::{from_value, json};

    use super::*;

    const WIDTH: usize = 8;

    /// Regression on what a linear network with these weights says itself: its loss is mean((w − w')·x)², of any other.
    fn taught_by(weights: &[f32]) -> (Task, Model) {
        let n = 64;
        let mut x = vec![0.0; n * WIDTH];
        Stream::new(1, Purpose::Data, 0).normals(0, 0, &mut x);
        let interface = Interface::Vectors { inputs: WIDTH, outputs: 1, loss: VectorLoss::MeanSquared, image: None };
        let network = json!({"kind": "mlp", "sizes": [WIDTH, 1], "activation": "identity", "biases": false});
        let model = Model::new(from_value(network).unwrap(), interface).unwrap();
        let y = x.chunks_exact(WIDTH).map(|row| row.iter().zip(weights).map(|(x, w)| x * w).sum()).collect();
        let columns = vec![
            Column { name: "x".to_owned(), width: WIDTH, data: ColumnData::Float(x) },
            Column { name: "y".to_owned(), width: 1, data: ColumnData::Float(y) },
        ];
        let data = DataSet::new(n, columns).unwrap();
        let split = Split { name: "train", indices: (0..n).collect(), data, subtasks: Vec::new() };
        let task = Task {
            interface,
            splits: vec![split],
            endless: None,
            subtasks: None,
            environment: None,
            corpus: None,
            words: None,
        };
        (task, model)
    }

    fn measure(weights: &[f32], tolerance: f64) -> Findings {
        let (task, model) = taught_by(weights);
        let settings = DescriptionLengthSettings { tolerance, ..DescriptionLengthSettings::default() };
        let mut instrument = settings.build(&Subject { model: &model, task: &task, seed: 0 }).unwrap();
        instrument.measure(&Checkpoint::alone(weights)).unwrap()
    }

    fn get(found: &Findings, quantity: &str) -> f64 {
        found.value.get(quantity).unwrap()
    }

    /// Multiples of ¼ up to 7/4 are the integers −7..=7: 4 bits, and no step of another number of levels between 9 and 15 holds
    /// all of ±1, 3, 5, 7 quarters.
    #[test]
    fn weights_on_a_grid_need_its_levels() {
        let weights = [1.75, -0.25, 0.75, -1.25, 0.25, 1.25, -0.75, -1.75];
        let found = measure(&weights, 1e-9);
        assert_eq!([get(&found, "bits_integer"), get(&found, "bits_interpolated")], [4.0, 15_f64.log2()]);
        assert!((get(&found, "length_quantised") - (8.0 * 15_f64.log2() + 32.0)).abs() < 1e-9);
        assert_eq!(get(&found, "pruned_share"), 0.0);
        assert_eq!(get(&found, "length_pruned"), 8.0 * 32.0);
        // Signs alone: three levels, 2 bits as an integer.
        let found = measure(&[0.5, -0.5, 0.5, 0.5, -0.5, 0.5, -0.5, -0.5], 1e-9);
        assert_eq!([get(&found, "bits_integer"), get(&found, "bits_interpolated")], [2.0, 3_f64.log2()]);
    }

    #[test]
    fn zeros_are_free_and_what_is_small_may_go() {
        let weights = [0.0, 1.0, 0.0, -1.0, 0.0, 1.0, 0.0, 0.0];
        let found = measure(&weights, 0.0);
        assert_eq!(get(&found, "pruned_share"), 5.0 / 8.0);
        // Which five of eight: 56 ways.
        assert!((get(&found, "length_pruned") - (56_f64.log2() + 3.0 * 32.0)).abs() < 1e-9);
        // Of w·x the loss rises by the mean of (w_i x_i)² when w_i goes: 1e-4 of a normal, against 1.
        let found = measure(&[1e-2, 1.0, 1e-2, -1.0, 1.0, 1.0, 1.0, 1.0], 1e-2);
        assert_eq!(get(&found, "pruned_share"), 2.0 / 8.0);
    }

    #[test]
    fn no_tolerance_keeps_all_bits_and_any_needs_none() {
        let mut weights = vec![0.0; WIDTH];
        Stream::new(3, Purpose::Data, 0).normals(0, 0, &mut weights);
        // The teacher's own loss is 0; any other weights have more.
        let found = measure(&weights, 0.0);
        assert_eq!([get(&found, "bits_integer"), get(&found, "bits_interpolated")], [32.0, 32.0]);
        assert_eq!([get(&found, "length_quantised"), get(&found, "length_pruned")], [256.0, 256.0]);
        let found = measure(&weights, f64::MAX);
        assert_eq!(
            [get(&found, "bits_integer"), get(&found, "bits_interpolated"), get(&found, "pruned_share")],
            [1.0, 0.0, 1.0]
        );
        assert_eq!(get(&found, "length_pruned"), 0.0);
        // Between them bits fall as the tolerance grows: the loss is in proportion to the square of the step.
        let bits: Vec<f64> = [1e-8, 1e-6, 1e-4, 1e-2].map(|t| get(&measure(&weights, t), "bits_interpolated")).to_vec();
        for pair in bits.windows(2) {
            let fall = pair[0] - pair[1];
            // A factor of 10 in the step is 3.3 bits; that of one draw of eight rounding errors may be twice as good or bad.
            assert!((fall - 10_f64.log2()).abs() < 1.5, "{bits:?}");
        }
    }

    #[test]
    fn rounding_is_to_the_nearest_level_and_keeps_zero_and_the_ends() {
        let weights = [-1.0, 0.0, 0.3, 0.5, 0.74, 1.0];
        let mut rounded = [9.0; 6];
        round(&weights, 2, &mut rounded);
        assert_eq!(rounded, [-1.0, 0.0, 0.5, 0.5, 0.5, 1.0]);
        round(&weights, 0, &mut rounded);
        assert_eq!(rounded, [0.0; 6]);
        assert_eq!([1, 2, 3, 8, 16].map(half_range), [0, 1, 3, 127, 32767]);
    }

    #[test]
    fn choices_are_counted() {
        for (n, k, ways) in [(8, 5, 56.0), (52, 5, 2_598_960.0), (3, 0, 1.0), (3, 3, 1.0), (1000, 1, 1000.0)] {
            assert!((log2_choices(n, k) - f64::log2(ways)).abs() < 1e-9, "{n} {k}");
        }
        let error = DescriptionLengthSettings { tolerance: -1.0, ..DescriptionLengthSettings::default() };
        let (task, model) = taught_by(&[0.0; WIDTH]);
        let error = error.build(&Subject { model: &model, task: &task, seed: 0 }).err().unwrap().to_string();
        assert_eq!(error, "`tolerance` is -1; expected a finite number, at least 0");
    }
}
