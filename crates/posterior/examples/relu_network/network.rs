//! A ReLU network whose loss is its distance from itself as a teacher, and the same function with rescaled layers.

use ontogeny_graph::{Column, ColumnData, DataSet, Graph, Node, Purpose, Stream};
use ontogeny_posterior::{Objective, ObjectiveError};

/// A network with biases and the weights it starts from, which are its minimum too.
#[derive(Debug, Clone)]
pub(crate) struct Network {
    /// Inputs, hidden layers, outputs.
    widths: &'static [usize],
    n_inputs: usize,
    /// Weights `[in, out]` and biases of all layers in turn.
    pub(crate) teacher: Vec<f32>,
}

impl Network {
    /// Weights uniform within 1/√(inputs of the layer), as PyTorch starts them; the loss is over `n_inputs` fixed inputs.
    pub(crate) fn new(widths: &'static [usize], n_inputs: usize) -> Self {
        let stream = Stream::new(1, Purpose::Initialization, 0);
        let mut teacher = Vec::new();
        for pair in widths.windows(2) {
            let bound = (pair[0] as f64).powf(-0.5);
            for _ in 0..(pair[0] + 1) * pair[1] {
                teacher.push((bound * (2.0 * stream.uniform(0, teacher.len() as u32) - 1.0)) as f32);
            }
        }
        Self { widths, n_inputs, teacher }
    }

    /// The mean over inputs and outputs of (f(x) − f*(x))², x uniform in [−10, 10], f* with the teacher's weights. Weights
    /// and biases of f are the parameters times the entries of `scales`, one for each of them.
    pub(crate) fn objective(&self, scales: &[f64]) -> Result<Objective, ObjectiveError> {
        let stream = Stream::new(2, Purpose::Data, 0);
        let (n_in, n_out) = (self.widths[0], self.widths[self.n_layers()]);
        let x: Vec<f32> =
            (0..self.n_inputs * n_in).map(|i| (20.0 * stream.uniform(0, i as u32) - 10.0) as f32).collect();
        let y = x.chunks(n_in).flat_map(|x| self.outputs(x)).collect();
        let columns = [("x", n_in, x), ("y", n_out, y)].map(|(name, width, data)| Column {
            name: name.to_owned(),
            width,
            data: ColumnData::Float(data),
        });
        let data = DataSet::new(self.n_inputs, columns.into()).expect("a row of each column for every input");
        let (network, scales) = (self.clone(), scales.to_vec());
        Objective::new(data, move |batch| {
            let mut g = Graph::new();
            let [x, y] = [("x", n_in), ("y", n_out)].map(|(name, width)| g.input(name, &[batch, width]));
            let output = network.forward(&mut g, x, &scales);
            let difference = g.sub(output, y);
            let square = g.square(difference);
            let loss = g.mean(square, &[1]);
            (g, loss)
        })
    }

    /// Weights of the same function with the first layer times c and the weights of the second over c; and the scale of each
    /// parameter, by whose square an oracle would precondition.
    pub(crate) fn rescaled(&self, c: f64) -> (Vec<f32>, Vec<f64>) {
        let mut scales = self.unscaled();
        scales[..3].copy_from_slice(&[c, c, 1.0 / c]);
        (self.times(&self.teacher, |i| scales[i]), scales)
    }

    /// The parameters of `objective(scales)` at which the network has these weights.
    pub(crate) fn in_units_of(&self, weights: &[f32], scales: &[f64]) -> Vec<f32> {
        self.times(weights, |i| 1.0 / scales[i])
    }

    pub(crate) fn unscaled(&self) -> Vec<f64> {
        vec![1.0; 2 * self.n_layers()]
    }

    fn n_layers(&self) -> usize {
        self.widths.len() - 1
    }

    /// Weights or biases number i times `factor(i)`.
    fn times(&self, weights: &[f32], factor: impl Fn(usize) -> f64) -> Vec<f32> {
        let sizes = self.widths.windows(2).flat_map(|pair| [pair[0] * pair[1], pair[1]]);
        let factors = sizes.enumerate().flat_map(|(i, size)| std::iter::repeat_n(factor(i), size));
        weights.iter().zip(factors).map(|(&w, factor)| (f64::from(w) * factor) as f32).collect()
    }

    fn forward(&self, g: &mut Graph, x: Node, scales: &[f64]) -> Node {
        let mut at = x;
        for (layer, pair) in self.widths.windows(2).enumerate() {
            let w = g.param(&format!("layers.{layer}.W"), &[pair[0], pair[1]]);
            let b = g.param(&format!("layers.{layer}.b"), &[pair[1]]);
            let w = g.scale(w, scales[2 * layer]);
            let b = g.scale(b, scales[2 * layer + 1]);
            let product = g.matmul(at, w);
            let sum = g.add(product, b);
            at = if layer + 1 < self.n_layers() { g.relu(sum) } else { sum };
        }
        at
    }

    /// The teacher by plain loops.
    fn outputs(&self, x: &[f32]) -> Vec<f32> {
        let mut at: Vec<f64> = x.iter().map(|&x| f64::from(x)).collect();
        let mut rest = self.teacher.as_slice();
        for (layer, pair) in self.widths.windows(2).enumerate() {
            let (w, after) = rest.split_at(pair[0] * pair[1]);
            let (b, after) = after.split_at(pair[1]);
            rest = after;
            let output = |j: usize| {
                let products = at.iter().zip(w.chunks(pair[1])).map(|(x, row)| x * f64::from(row[j]));
                let sum = products.sum::<f64>() + f64::from(b[j]);
                if layer + 1 < self.n_layers() { sum.max(0.0) } else { sum }
            };
            at = (0..pair[1]).map(output).collect();
        }
        at.into_iter().map(|y| y as f32).collect()
    }
}
