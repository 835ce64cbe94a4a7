//! Adversarial examples: inputs moved, within a ball around each, to where the loss is large.

use ontogeny_graph::{ColumnData, DataSet, ElementsMut, Gradient, GraphError, Program, RunError, Threads, Workspace};
use serde::{Deserialize, Serialize};

use crate::interface::InputColumn;
use crate::{Interface, Model, SettingError};

/// An attack as a run file writes it: `{ norm = "linf", radius = 0.1, steps = 7 }`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttackConfig {
    /// Norm of the ball.
    pub norm: AttackNorm,
    /// Its radius ε, at least 0.
    pub radius: f64,
    /// Steps, at least 1.
    pub steps: usize,
    /// Length of a step; 2.5·radius/steps unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_size: Option<f64>,
    /// Least and greatest value of a coordinate; none unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bounds: Option<[f32; 2]>,
}

impl AttackConfig {
    /// The attack.
    ///
    /// # Errors
    /// A setting out of range.
    pub fn attack(&self) -> Result<Attack, SettingError> {
        let mut attack = Attack::projected(self.norm, self.radius, self.steps);
        attack.step_size = self.step_size.unwrap_or(attack.step_size);
        attack.bounds = self.bounds.map(|[low, high]| (low, high));
        attack.check()?;
        Ok(attack)
    }
}

/// How an input is moved: projected gradient ascent on its own loss (Madry et al. 2018, equation 2 and section 2.1).
///
/// Each step goes up by `step_size` in the direction of steepest ascent of the norm, then back into the ball and, where there
/// are bounds, into those of every coordinate. With `steps = 1` and `step_size = radius` in the maximum norm it is the fast
/// gradient sign method (Goodfellow et al. 2015). It starts at the input itself, so that nothing is drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Attack {
    /// Norm of the ball.
    pub norm: AttackNorm,
    /// Its radius ε, at least 0.
    pub radius: f64,
    /// Steps, at least 1.
    pub steps: usize,
    /// Length of a step in that norm, at least 0.
    pub step_size: f64,
    /// Least and greatest value of a coordinate, such as 0 and 1 for the pixels of images; inputs must lie within.
    pub bounds: Option<(f32, f32)>,
}

/// Norm of the ball that an input may be moved in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum AttackNorm {
    /// ℓ∞, the largest coordinate: steps go by the sign of each.
    #[serde(rename = "linf")]
    Maximum,
    /// ℓ₂: steps go along the gradient.
    #[serde(rename = "l2")]
    Euclidean,
}

impl Attack {
    /// The fast gradient sign method.
    pub fn fast_gradient_sign(radius: f64) -> Self {
        Self { norm: AttackNorm::Maximum, radius, steps: 1, step_size: radius, bounds: None }
    }

    /// Projected gradient ascent in steps of 2.5·radius/steps, which can reach every point of the ball and leave its rim
    /// again (Madry et al. 2018, appendix A, for ℓ₂).
    pub fn projected(norm: AttackNorm, radius: f64, steps: usize) -> Self {
        Self { norm, radius, steps, step_size: 2.5 * radius / steps as f64, bounds: None }
    }

    fn check(&self) -> Result<(), SettingError> {
        let wrong = |key, found: String, expected: &str| Err(SettingError::new("attack", key, found, expected));
        if !(self.radius >= 0.0 && self.radius.is_finite()) {
            return wrong("radius", self.radius.to_string(), "a finite number, at least 0");
        }
        if self.steps == 0 {
            return wrong("steps", "0".to_owned(), "at least 1");
        }
        if !(self.step_size >= 0.0 && self.step_size.is_finite()) {
            return wrong("step_size", self.step_size.to_string(), "a finite number, at least 0");
        }
        match self.bounds {
            Some((low, high)) if low.is_nan() || high.is_nan() || low > high => {
                wrong("bounds", format!("{low} to {high}"), "the least value, then the greatest")
            }
            _ => Ok(()),
        }
    }

    /// Whether inputs lie within the bounds.
    fn check_inputs(&self, x: &[f32]) -> Result<(), AttackError> {
        let Some((low, high)) = self.bounds else { return Ok(()) };
        match x.iter().find(|&&x| x < low || x > high) {
            Some(&found) => Err(AttackError::OutOfBounds { found, low, high }),
            None => Ok(()),
        }
    }

    /// Moves `x`, the image of `clean` after the steps so far, one step up the `gradient`.
    fn step(&self, clean: &[f32], gradient: &[f32], x: &mut [f32]) {
        match self.norm {
            AttackNorm::Maximum => {
                let (step, radius) = (self.step_size as f32, self.radius as f32);
                for ((x, &clean), &slope) in x.iter_mut().zip(clean).zip(gradient) {
                    let direction = if slope == 0.0 { 0.0 } else { slope.signum() };
                    *x = (*x + step * direction).clamp(clean - radius, clean + radius);
                }
            }
            AttackNorm::Euclidean => {
                let length = |squares: f64| squares.sqrt();
                let slope = length(gradient.iter().map(|&g| f64::from(g) * f64::from(g)).sum());
                if slope > 0.0 {
                    for (x, &g) in x.iter_mut().zip(gradient) {
                        *x = (f64::from(*x) + self.step_size * f64::from(g) / slope) as f32;
                    }
                }
                let away = |x: f32, clean: f32| f64::from(x) - f64::from(clean);
                let distance = length(x.iter().zip(clean).map(|(&x, &clean)| away(x, clean).powi(2)).sum());
                if distance > self.radius {
                    for (x, &clean) in x.iter_mut().zip(clean) {
                        *x = (f64::from(clean) + away(*x, clean) * (self.radius / distance)) as f32;
                    }
                }
            }
        }
        // Of a clean input within the bounds, each coordinate only comes nearer: it stays in the ball.
        if let Some((low, high)) = self.bounds {
            for x in x {
                *x = x.clamp(low, high);
            }
        }
    }
}

/// Why examples could not be attacked.
#[derive(Debug, thiserror::Error)]
pub enum AttackError {
    /// A setting out of range.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// A model whose inputs are no vectors.
    #[error("inputs of this model are {found}; expected vectors, which can be moved by a little")]
    Inputs {
        /// What they are.
        found: &'static str,
    },
    /// A mistake in the model's graph.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// Weights or data of another model.
    #[error(transparent)]
    Run(#[from] RunError),
    /// Inputs that no bounded attack can start at.
    #[error("`x` holds {found}; expected inputs within bounds = [{low}, {high}]: widen the bounds, or leave them out")]
    OutOfBounds {
        /// A value outside.
        found: f32,
        /// The least value.
        low: f32,
        /// The greatest.
        high: f32,
    },
    /// An input or a gradient that is not finite.
    #[error(
        "input or gradient of example {row} is not finite at step {step} of the attack; expected finite weights and data"
    )]
    NonFinite {
        /// The example.
        row: usize,
        /// Steps before.
        step: usize,
    },
}

/// Examples of one execution.
const BATCH: usize = 256;

/// Attacks a model's inputs; owns the compiled program and its memory.
#[derive(Debug)]
pub struct Adversary {
    program: Program,
    workspace: Workspace,
    width: usize,
    batch: usize,
    /// Inputs of a batch before the attack, and where they have got to.
    clean: Vec<f32>,
    moved: Vec<f32>,
}

impl Adversary {
    /// Compiles the gradient with respect to the input.
    ///
    /// The losses of a batch are summed, so that each example has the gradient of its own loss: this needs a network in which
    /// no example enters another's loss.
    ///
    /// # Errors
    /// A model of sequences, or a mistake in its graph.
    pub fn new(model: &Model) -> Result<Self, AttackError> {
        Self::with_batch(model, BATCH)
    }

    /// As [`Adversary::new`], for so many examples at once.
    pub(crate) fn with_batch(model: &Model, batch: usize) -> Result<Self, AttackError> {
        let width = match model.interface() {
            Interface::Vectors { inputs, .. } => inputs,
            Interface::Tokens { .. } => return Err(AttackError::Inputs { found: "sequences of ids" }),
            Interface::Pairs { .. } | Interface::LabelledItems { .. } => {
                return Err(AttackError::Inputs { found: "sequences of pairs" });
            }
        };
        let (mut graph, nodes) = model.graph(batch);
        let x = graph.find(INPUT)?;
        let total = graph.sum(nodes.example_loss, &[0]);
        let slopes = graph.gradient(total, &[x])?;
        let program = Program::compile(&graph, &[(SLOPES, slopes[0])], Gradient::None)?;
        let workspace = Workspace::new(&program);
        let room = || vec![0.0; batch * width];
        Ok(Self { program, workspace, width, batch, clean: room(), moved: room() })
    }

    pub(crate) fn workspace_bytes(&self) -> usize {
        self.program.workspace_bytes()
    }

    pub(crate) fn set_threads(&mut self, threads: &Threads) {
        self.workspace.set_threads(&self.program, threads);
    }

    /// Whether an attack within bounds can start at every example of `data`.
    ///
    /// # Errors
    /// The first input outside.
    pub fn check_bounds(data: &DataSet, attack: &Attack) -> Result<(), AttackError> {
        let columns = data.columns().iter().filter(|column| column.name == INPUT);
        let floats = columns.filter_map(|column| match &column.data {
            ColumnData::Float(floats) => Some(floats),
            ColumnData::Ids(_) => None,
        });
        floats.map(Vec::as_slice).try_for_each(|floats| attack.check_inputs(floats))
    }

    /// The examples of `data` with their inputs `x` moved to where the loss of the flat `weights` is larger; all other
    /// columns stay.
    ///
    /// # Errors
    /// A setting out of range, weights or data of another model, an input outside of the bounds, or an input or gradient
    /// that is not finite.
    pub fn attack(&mut self, weights: &[f32], data: &DataSet, attack: &Attack) -> Result<DataSet, AttackError> {
        attack.check()?;
        let mut moved = data.clone();
        let examples: Vec<usize> = (0..data.len()).collect();
        for rows in examples.chunks(self.batch) {
            data.fill(&self.program, &mut self.workspace, rows)?;
            let n = rows.len() * self.width;
            self.ascend(weights, rows.len(), attack).map_err(|error| error.after(rows[0]))?;
            let column = moved.elements_mut().find_map(|(name, _, elements)| match elements {
                ElementsMut::Float(floats) if name == INPUT => Some(floats),
                _ => None,
            });
            let column = column.expect("the program's input `x` has just been filled from this column");
            column[rows[0] * self.width..][..n].copy_from_slice(&self.moved[..n]);
        }
        Ok(moved)
    }

    /// Moves the inputs of a batch that stands in another program of the same model, with all its columns, to where the
    /// loss is larger. Takes no memory.
    pub(crate) fn attack_batch(
        &mut self,
        weights: &[f32],
        attack: &Attack,
        (program, workspace): (&Program, &mut Workspace),
        columns: &[InputColumn],
    ) -> Result<(), AttackError> {
        for column in columns {
            if column.is_ids {
                let from = workspace.ids_mut(program, column.name)?;
                self.workspace.ids_mut(&self.program, column.name)?.copy_from_slice(from);
            } else {
                let from = workspace.floats_mut(program, column.name)?;
                self.workspace.floats_mut(&self.program, column.name)?.copy_from_slice(from);
            }
        }
        self.ascend(weights, self.batch, attack)?;
        workspace.floats_mut(program, INPUT)?.copy_from_slice(&self.moved);
        Ok(())
    }

    /// Moves the first `n_examples` of the program's inputs; the result is in `moved`.
    fn ascend(&mut self, weights: &[f32], n_examples: usize, attack: &Attack) -> Result<(), AttackError> {
        let Self { program, workspace, width, clean, moved, .. } = self;
        let (width, n) = (*width, n_examples * *width);
        clean[..n].copy_from_slice(&workspace.floats_mut(program, INPUT)?[..n]);
        attack.check_inputs(&clean[..n])?;
        moved[..n].copy_from_slice(&clean[..n]);
        for step in 0..attack.steps {
            workspace.floats_mut(program, INPUT)?[..n].copy_from_slice(&moved[..n]);
            program.run(workspace, weights)?;
            let slopes = &workspace.output(program, SLOPES)[..n];
            let is_finite = |(clean, slope): (&f32, &f32)| clean.is_finite() && slope.is_finite();
            if let Some(at) = clean[..n].iter().zip(slopes).position(|pair| !is_finite(pair)) {
                return Err(AttackError::NonFinite { row: at / width, step });
            }
            let of_examples = clean[..n].chunks_exact(width).zip(slopes.chunks_exact(width));
            for ((clean, slopes), moved) in of_examples.zip(moved.chunks_exact_mut(width)) {
                attack.step(clean, slopes, moved);
            }
        }
        Ok(())
    }
}

impl AttackError {
    /// The same, in a data set in which the batch begins at example `first`.
    fn after(self, first: usize) -> Self {
        match self {
            Self::NonFinite { row, step } => Self::NonFinite { row: first + row, step },
            other => other,
        }
    }
}

const INPUT: &str = "x";
const SLOPES: &str = "slopes";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{TaskConfig, VectorLoss};
    use ontogeny_graph::{Column, ColumnData, Purpose, Stream};
    use serde_json::json;

    fn model(sizes: &[usize]) -> Model {
        let network = serde_json::from_value(json!({ "kind": "mlp", "sizes": sizes, "activation": "tanh" })).unwrap();
        let (inputs, outputs) = (sizes[0], sizes[sizes.len() - 1]);
        let interface = Interface::Vectors { inputs, outputs, loss: VectorLoss::CrossEntropy, image: None };
        Model::new(network, interface).unwrap()
    }

    /// `n` examples of normals with classes 0, 1, 0, 1, ….
    fn data(n: usize, width: usize) -> DataSet {
        let mut x = vec![0.0; n * width];
        Stream::new(1, Purpose::Data, 0).normals(0, 0, &mut x);
        let y = (0..n).map(|row| (row % 2) as i32).collect();
        let columns = vec![
            Column { name: "x".to_owned(), width, data: ColumnData::Float(x) },
            Column { name: "y".to_owned(), width: 1, data: ColumnData::Ids(y) },
        ];
        DataSet::new(n, columns).unwrap()
    }

    fn x(data: &DataSet) -> Vec<&[f32]> {
        let column = &data.columns()[0];
        let ColumnData::Float(floats) = &column.data else { panic!("floats") };
        floats.chunks_exact(column.width).collect()
    }

    fn y(data: &DataSet) -> &[i32] {
        let ColumnData::Ids(ids) = &data.columns()[1].data else { panic!("ids") };
        ids
    }

    /// Of two classes: the weights whose product with an input is the margin of class 1, and its offset.
    fn margin_weights(model: &Model, weights: &[f32]) -> (Vec<f64>, f64) {
        let of = |name| model.tensors(weights).find(|(param, _)| param.name == name).unwrap().1;
        let (w, b) = (of("layers.0.W"), of("layers.0.b"));
        let difference = |pair: &[f32]| f64::from(pair[1]) - f64::from(pair[0]);
        (w.chunks_exact(2).map(difference).collect(), difference(b))
    }

    /// Margin of the right class.
    fn margin((w, b): &(Vec<f64>, f64), x: &[f32], class: i32) -> f64 {
        let of_one: f64 = b + w.iter().zip(x).map(|(w, &x)| w * f64::from(x)).sum::<f64>();
        if class == 1 { of_one } else { -of_one }
    }

    #[test]
    fn a_linear_margin_falls_by_the_radius_times_the_dual_norm() {
        let width = 20;
        let model = model(&[width, 2]);
        let weights = model.initial_weights(4);
        let clean = data(300, width);
        let linear = margin_weights(&model, &weights);
        let dual_of_maximum: f64 = linear.0.iter().map(|w| w.abs()).sum();
        let dual_of_euclidean = linear.0.iter().map(|w| w * w).sum::<f64>().sqrt();
        let mut adversary = Adversary::new(&model).unwrap();
        let radius = 0.3;
        let mut check = |attack: Attack, dual: f64| {
            let moved = adversary.attack(&weights, &clean, &attack).unwrap();
            assert_eq!(moved.columns()[1], clean.columns()[1]);
            for ((before, after), &class) in x(&clean).into_iter().zip(x(&moved)).zip(y(&clean)) {
                let fall = margin(&linear, before, class) - margin(&linear, after, class);
                // Each step rounds every coordinate by half a unit in its last place, and the radius itself may be rounded
                // once; no coordinate of 6,000 normals reaches 6.
                let rounding = (attack.steps + 1) as f64 * 2.0_f64.powi(-24) * 6.3;
                let bound = rounding * dual_of_maximum;
                assert!((fall - radius * dual).abs() < bound, "{fall}, expected {}", radius * dual);
            }
            moved
        };
        let fast = check(Attack::fast_gradient_sign(radius), dual_of_maximum);
        let projected = check(Attack::projected(AttackNorm::Maximum, radius, 10), dual_of_maximum);
        // The sign method is already at the optimum: both reach the same corner of the cube.
        for (a, b) in x(&fast).concat().into_iter().zip(x(&projected).concat()) {
            assert!((a - b).abs() <= 2.0 * 2.0_f32.powi(-24) * 6.3, "{a} {b}");
        }
        check(Attack::projected(AttackNorm::Euclidean, radius, 10), dual_of_euclidean);
    }

    #[test]
    fn a_linear_classifier_is_robust_where_its_margin_says_so() {
        let settings = json!({ "kind": "images", "classes": [3, 8], "train_fraction": 0.5 });
        let task =
            serde_json::from_value::<TaskConfig>(settings).unwrap().prepare(0, std::path::Path::new("")).unwrap();
        let clean = &task.split("test").unwrap().data;
        let model = model(&[64, 2]);
        let weights = model.initial_weights(1);
        let linear = margin_weights(&model, &weights);
        let dual: f64 = linear.0.iter().map(|w| w.abs()).sum();
        let mut adversary = Adversary::new(&model).unwrap();
        let mut n_fallen = 0;
        for radius in [0.0, 0.01, 0.03, 0.1] {
            let moved = adversary.attack(&weights, clean, &Attack::fast_gradient_sign(radius)).unwrap();
            for ((before, after), &class) in x(clean).into_iter().zip(x(&moved)).zip(y(clean)) {
                let robustness = margin(&linear, before, class) - radius * dual;
                // Closer to the boundary than rounding tells apart, nothing is promised.
                if robustness.abs() > 1e-5 {
                    assert_eq!(margin(&linear, after, class) > 0.0, robustness > 0.0);
                }
                n_fallen += usize::from(margin(&linear, before, class) > 0.0 && robustness < 0.0);
            }
        }
        assert!(n_fallen > 50, "the radii matter: {n_fallen}");
    }

    #[test]
    fn moved_inputs_stay_in_the_ball_and_within_bounds_and_lose_more() {
        let model = model(&[6, 16, 2]);
        let weights = model.initial_weights(2);
        let mut clean = data(BATCH + 3, 6);
        for (_, _, elements) in clean.elements_mut() {
            if let ElementsMut::Float(floats) = elements {
                for value in floats {
                    *value = value.clamp(-1.0, 1.0);
                }
            }
        }
        let mean_loss = |data: &DataSet| {
            let (graph, nodes) = model.graph(data.len());
            let program = Program::compile(&graph, &[("loss", nodes.loss)], Gradient::None).unwrap();
            let mut workspace = Workspace::new(&program);
            let rows: Vec<usize> = (0..data.len()).collect();
            data.fill(&program, &mut workspace, &rows).unwrap();
            program.run(&mut workspace, &weights).unwrap();
            workspace.output(&program, "loss")[0]
        };
        let mut adversary = Adversary::new(&model).unwrap();
        for norm in [AttackNorm::Maximum, AttackNorm::Euclidean] {
            let radius = 0.2;
            let attack = Attack { bounds: Some((-1.0, 1.0)), ..Attack::projected(norm, radius, 7) };
            let moved = adversary.attack(&weights, &clean, &attack).unwrap();
            for (before, after) in x(&clean).into_iter().zip(x(&moved)) {
                let away = before.iter().zip(after).map(|(a, b)| f64::from(*b) - f64::from(*a));
                let distance = match norm {
                    AttackNorm::Maximum => away.fold(0.0, |most: f64, d| most.max(d.abs())),
                    AttackNorm::Euclidean => away.map(|d| d * d).sum::<f64>().sqrt(),
                };
                // Coordinates below 1.2 are rounded by 2⁻²⁴ at most and the radius by 2⁻²⁷; within 1, where those moved along
                // the gradient lie, six at once by √6 · 2⁻²⁵.
                assert!(distance <= radius + 4.0 * 2.0_f64.powi(-25), "{distance}");
                assert!(after.iter().all(|x| (-1.0..=1.0).contains(x)));
            }
            assert!(mean_loss(&moved) > mean_loss(&clean));
            // What is attacked beside it changes no example.
            let last = clean.rows(&[BATCH + 2]);
            assert_eq!(adversary.attack(&weights, &last, &attack).unwrap(), moved.rows(&[BATCH + 2]));
        }
        let unmoved = adversary.attack(&weights, &clean, &Attack::fast_gradient_sign(0.0)).unwrap();
        assert_eq!(unmoved, clean);
    }

    #[test]
    fn what_cannot_be_attacked_is_told() {
        let network = json!({
            "kind": "transformer", "layers": 1, "d_model": 8, "heads": 2, "attention_only": true, "normalization": "none",
            "positions": "learned",
        });
        let interface = Interface::Tokens { vocabulary: 5, length: 3, read: crate::Read::NEXT_TOKEN };
        let sequences = Model::new(serde_json::from_value(network).unwrap(), interface).unwrap();
        let error = Adversary::new(&sequences).unwrap_err().to_string();
        assert_eq!(
            error,
            "inputs of this model are sequences of ids; expected vectors, which can be moved by a little"
        );
        let model = model(&[6, 2]);
        let mut adversary = Adversary::new(&model).unwrap();
        let base = Attack::fast_gradient_sign(0.1);
        for (attack, message) in [
            (Attack { radius: f64::NAN, ..base }, "attack.radius is NaN; expected a finite number, at least 0"),
            (Attack { radius: -1.0, ..base }, "attack.radius is -1; expected a finite number, at least 0"),
            (Attack { steps: 0, ..base }, "attack.steps is 0; expected at least 1"),
            (Attack { step_size: -0.1, ..base }, "attack.step_size is -0.1; expected a finite number, at least 0"),
            (
                Attack { bounds: Some((1.0, 0.0)), ..base },
                "attack.bounds is 1 to 0; expected the least value, then the greatest",
            ),
        ] {
            let error = adversary.attack(&model.initial_weights(0), &data(3, 6), &attack).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
        let mut weights = model.initial_weights(0);
        weights[0] = f32::NAN;
        let error = adversary.attack(&weights, &data(3, 6), &base).unwrap_err().to_string();
        assert!(error.contains("input or gradient of example 0 is not finite at step 0"), "{error}");
        let mut unknown = data(3, 6);
        for (_, _, elements) in unknown.elements_mut() {
            if let ElementsMut::Float(floats) = elements {
                floats[7] = f32::NAN;
            }
        }
        let error = adversary.attack(&model.initial_weights(0), &unknown, &base).unwrap_err().to_string();
        assert!(error.contains("input or gradient of example 1 is not finite at step 0"), "{error}");
        let error = adversary.attack(&weights, &data(3, 5), &base).unwrap_err();
        assert!(matches!(error, AttackError::Run(_)), "{error}");
    }
}
