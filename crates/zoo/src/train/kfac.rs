//! K-FAC (Martens & Grosse 2015): natural gradient with one Kronecker product for each layer of a perceptron.

use std::ops::Range;

use ontogeny_graph::{Gradient, Graph, GraphError, Node, ParamSpace, Program, RunError, Workspace};

use super::batches::Batches;
use super::positive_definite::{factorise, solve};
use crate::{Nodes, VectorLoss};

/// Kronecker factors of the layers of a perceptron, and all memory of an update.
///
/// The Fisher information of a layer's weights and biases is taken as A ⊗ G, that between layers as 0. A = mean of ā·āᵀ over
/// the batch, ā the layer's inputs with a 1 behind them for the bias; G = mean of E[δ·δᵀ], δ the derivative of the loss by the
/// layer's outputs, expected under the network's own distribution (ibid., §3). The expectation is exact, by one backward
/// pass for each output, and no target is drawn. With damping λ and π = √(mean eigenvalue of A / that of G), the
/// step is (A + π√λ·I)⁻¹·∇W·(G + √λ/π·I)⁻¹ (§6.3). Factors are those of the update's own batch: nothing is carried along.
#[derive(Debug)]
pub(super) struct Kfac<'a> {
    program: Program,
    workspace: Workspace,
    batches: Batches<'a>,
    layers: Vec<Layer>,
    batch: usize,
    n_outputs: usize,
    damping: f64,
}

#[derive(Debug)]
struct Layer {
    /// `[in, out]`, row by row.
    weight: Range<usize>,
    bias: Option<Range<usize>>,
    n_in: usize,
    n_out: usize,
    /// Names of the program's outputs.
    input: String,
    slope: String,
    /// A, `[n, n]` with n = inputs and bias; then A + π√λ·I and its factor.
    a: Vec<f64>,
    /// G, `[n_out, n_out]`; then as A.
    g: Vec<f64>,
    /// The gradient `[n, n_out]`, then the step.
    step: Vec<f64>,
    column: Vec<f64>,
}

/// The float input that says of which output the program goes back.
const OUTPUT: &str = "kfac.output";

impl<'a> Kfac<'a> {
    /// For a perceptron's own `graph`, whose batches are `batches`.
    pub(super) fn new(
        graph: &Graph,
        nodes: &Nodes,
        space: &ParamSpace,
        loss: VectorLoss,
        batches: Batches<'a>,
        damping: f64,
    ) -> Result<Self, GraphError> {
        let mut g = graph.clone();
        let mut layers: Vec<Layer> = Vec::new();
        for param in space.iter().filter(|param| param.shape.len() == 2) {
            let number = layers.len();
            let [n_in, n_out] = [param.shape[0], param.shape[1]];
            let bias = space.find(&format!("layers.{number}.b")).ok().map(|bias| bias.range.clone());
            let n = n_in + usize::from(bias.is_some());
            layers.push(Layer {
                weight: param.range.clone(),
                bias,
                n_in,
                n_out,
                input: format!("kfac.input.{number}"),
                slope: format!("kfac.slope.{number}"),
                a: vec![0.0; n * n],
                g: vec![0.0; n_out * n_out],
                step: vec![0.0; n * n_out],
                column: vec![0.0; n],
            });
        }
        let mut inputs = vec![g.find("x")?];
        let mut pre = Vec::new();
        for layer in 0..layers.len() - 1 {
            pre.push(g.find(&format!("layers.{layer}.hook_pre"))?);
            inputs.push(g.find(&format!("layers.{layer}.hook_post"))?);
        }
        pre.push(nodes.logits);
        let cotangent = root_of_curvature(&mut g, nodes.logits, loss);
        let slopes = g.vector_jacobian(nodes.logits, cotangent, &pre)?;
        let names = layers.iter().flat_map(|layer| [layer.input.as_str(), layer.slope.as_str()]);
        let outputs: Vec<(&str, Node)> = names.zip(inputs.into_iter().zip(slopes).flat_map(|(a, b)| [a, b])).collect();
        let program = Program::compile(&g, &outputs, Gradient::None)?;
        let workspace = Workspace::new(&program);
        let [batch, n_outputs] = g.shape(nodes.logits).try_into().expect("logits of a perceptron have two axes");
        Ok(Self { program, workspace, batches, layers, batch, n_outputs, damping })
    }

    /// Applies update number `step`. `Ok(false)` leaves the weights as they are: a damped factor is not positive definite.
    pub(super) fn update(
        &mut self,
        step: u64,
        rate: f64,
        weights: &mut [f32],
        gradient: &[f32],
    ) -> Result<bool, RunError> {
        let Self { program, workspace, batches, layers, .. } = self;
        batches.fill(step, step, program, workspace)?;
        for output in 0..self.n_outputs {
            workspace.floats_mut(program, OUTPUT)?[0] = output as f32;
            program.run(workspace, weights)?;
            for layer in &mut *layers {
                let slopes = workspace.output(program, &layer.slope);
                add_squares(&mut layer.g, slopes, layer.n_out, layer.n_out, output == 0);
                if output == 0 {
                    let n = layer.n_in + usize::from(layer.bias.is_some());
                    add_squares(&mut layer.a, workspace.output(program, &layer.input), layer.n_in, n, true);
                }
            }
        }
        for layer in &mut *layers {
            if !layer.find_step(self.batch, self.damping, gradient) {
                return Ok(false);
            }
        }
        for layer in layers {
            let bias = layer.bias.clone().unwrap_or(0..0);
            for (at, step) in layer.weight.clone().chain(bias).zip(&layer.step) {
                weights[at] = (f64::from(weights[at]) - rate * step) as f32;
            }
        }
        Ok(true)
    }
}

impl Layer {
    /// Makes means of the sums in `a` and `g`, damps them and solves for the step.
    fn find_step(&mut self, batch: usize, damping: f64, gradient: &[f32]) -> bool {
        let (n, n_out) = (self.column.len(), self.n_out);
        for entry in self.a.iter_mut().chain(&mut self.g) {
            *entry /= batch as f64;
        }
        let mean_eigenvalue = |matrix: &[f64], n: usize| (0..n).map(|i| matrix[i * n + i]).sum::<f64>() / n as f64;
        let ratio = mean_eigenvalue(&self.a, n) / mean_eigenvalue(&self.g, n_out);
        // Without any slope no balance is better than another.
        let balance = if ratio.is_finite() && ratio > 0.0 { ratio.sqrt() } else { 1.0 };
        for i in 0..n {
            self.a[i * n + i] += balance * damping.sqrt();
        }
        for i in 0..n_out {
            self.g[i * n_out + i] += damping.sqrt() / balance;
        }
        if !(factorise(&mut self.a, n) && factorise(&mut self.g, n_out)) {
            return false;
        }
        let bias = self.bias.clone().unwrap_or(0..0);
        self.step.iter_mut().zip(self.weight.clone().chain(bias)).for_each(|(to, at)| *to = f64::from(gradient[at]));
        for row in self.step.chunks_exact_mut(n_out) {
            solve(&self.g, row);
        }
        for output in 0..n_out {
            for (i, entry) in self.column.iter_mut().enumerate() {
                *entry = self.step[i * n_out + output];
            }
            solve(&self.a, &mut self.column);
            for (i, entry) in self.column.iter().enumerate() {
                self.step[i * n_out + output] = *entry;
            }
        }
        true
    }
}

/// For the output k that the input [`OUTPUT`] names, column k of S with S·Sᵀ = the second derivatives of an example's loss by
/// its outputs: `[batch, outputs]`. Of softmax and cross-entropy, diag p − p·pᵀ, it is √p_k·(e_k − p).
fn root_of_curvature(g: &mut Graph, logits: Node, loss: VectorLoss) -> Node {
    let shape = g.shape(logits).to_vec();
    let n = shape[1];
    let number = g.input(OUTPUT, &[]);
    let places = g.iota(&[n], 0);
    let chosen = g.equal(places, number);
    let (factor, importance) = match loss {
        VectorLoss::CrossEntropy => {
            let p = g.softmax(logits);
            let own = g.mul(p, chosen);
            let own = g.sum(own, &[1]);
            let own = g.keep_axes(own, &[1]);
            let root = g.sqrt(own);
            let difference = g.sub(chosen, p);
            return g.mul(root, difference);
        }
        VectorLoss::MeanSquared => (1.0 / n as f64, 1.0),
        VectorLoss::Squared { factor, importance } => (factor, importance),
    };
    // Twice the weight of the output's square, as in the loss itself.
    let logarithm = g.scale(places, 0.5 * importance.ln());
    let roots = g.exp(logarithm);
    let roots = g.scale(roots, (2.0 * factor).sqrt());
    let root = g.mul(chosen, roots);
    g.broadcast(root, &shape)
}

/// Adds v·vᵀ of each row v of `rows` `[…, width]` to the lower triangle of `sum` `[n, n]`, which starts anew where `is_first`. With
/// n = width + 1 the rows have a 1 behind them.
fn add_squares(sum: &mut [f64], rows: &[f32], width: usize, n: usize, is_first: bool) {
    if is_first {
        sum.fill(0.0);
    }
    for row in rows.chunks_exact(width) {
        let entry = |i: usize| row.get(i).map_or(1.0, |&x| f64::from(x));
        for i in 0..n {
            let own = entry(i);
            // Inactive neurons add nothing.
            if own == 0.0 {
                continue;
            }
            for (j, to) in sum[i * n..=i * n + i].iter_mut().enumerate() {
                *to += own * entry(j);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use ontogeny_graph::Value;
    use serde_json::json;

    use super::*;
    use crate::{Interface, Model};

    /// S·Sᵀ from the graph, in f64, against second derivatives of the loss.
    #[test]
    fn roots_are_those_of_the_second_derivatives() {
        for loss in
            [VectorLoss::CrossEntropy, VectorLoss::MeanSquared, VectorLoss::Squared { factor: 0.7, importance: 0.6 }]
        {
            let network = json!({"kind": "mlp", "sizes": [3, 4], "activation": "identity"});
            let interface = Interface::Vectors { inputs: 3, outputs: 4, loss, image: None };
            let model = Model::new(serde_json::from_value(network).unwrap(), interface).unwrap();
            let (mut g, nodes) = model.graph(1);
            let root = root_of_curvature(&mut g, nodes.logits, loss);
            let direction = g.input("direction", &[1, 4]);
            let product = g.hessian_vector(nodes.loss, &[nodes.logits], &[direction]).unwrap()[0];
            let mut values: BTreeMap<String, Value<f64>> = BTreeMap::from([
                ("layers.0.W".to_owned(), Value::Float((0..12).map(|i| f64::from(i).sin()).collect())),
                ("layers.0.b".to_owned(), Value::Float(vec![0.3, -0.2, 0.1, 0.4])),
                ("x".to_owned(), Value::Float(vec![0.5, -1.0, 2.0])),
            ]);
            let y = if loss == VectorLoss::CrossEntropy { Value::Ids(vec![2]) } else { Value::Float(vec![1.0; 4]) };
            values.insert("y".to_owned(), y);
            let mut sum = vec![0.0; 16];
            let mut wanted = Vec::new();
            for k in 0..4 {
                values.insert(OUTPUT.to_owned(), Value::Float(vec![f64::from(k)]));
                let unit = (0..4).map(|i| f64::from(u8::from(i == k))).collect();
                values.insert("direction".to_owned(), Value::Float(unit));
                let found = g.interpret(&values, &[root, product]).unwrap();
                for (at, entry) in sum.iter_mut().enumerate() {
                    *entry += found[0][at / 4] * found[0][at % 4];
                }
                wanted.extend(found[1].clone());
            }
            for (found, wanted) in sum.iter().zip(&wanted) {
                assert!((found - wanted).abs() < 1e-14, "{loss:?}: {sum:?} {wanted:?}");
            }
        }
    }
}
