//! From a sequence program to the weights of a transformer: a block of the residual stream for each variable, a head for each reading
//! of other positions, neurons for tables and thresholds (Lindner et al. 2023).

use std::ops::Range;

use super::{Operation, ProgramError, SequenceProgram, Table, Variable};
use crate::networks::{NormPosition, Normalization, Positions};
use crate::{Activation, Interface, Model, NetworkConfig, Read, TransformerConfig};

/// A difference of 1 between scores is one of so many nats in the softmax: e⁻³² = 1.3·10⁻¹⁴ is what a position outside of the chosen
/// ones keeps, far below the rounding of 32-bit numbers.
pub(super) const SHARPNESS: f64 = 32.0;

/// Logit of the answer; all others are 0. The loss is then at most (vocabulary − 1)·e⁻³².
const LOGIT: f64 = 32.0;

/// A transformer that computes what a program says.
#[derive(Debug, Clone, PartialEq)]
pub struct CompiledTransformer {
    /// The network: ReLU, no norm, learned positions, no attention biases.
    pub model: Model,
    /// Its flat weights.
    pub weights: Vec<f32>,
    /// Coordinates of the residual stream that hold each variable of the program, by step, once it is there.
    pub coordinates: Vec<Range<usize>>,
    /// Where each variable is made, by step.
    pub places: Vec<Place>,
    /// Lower bound on the logit of the right answer minus any other, in 32-bit arithmetic.
    pub margin: f64,
}

/// Which part of the network makes a variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The embedding of tokens or positions.
    Embedding,
    /// A head of attention.
    Head {
        /// Block, from 0.
        layer: usize,
        /// Head of the block, from 0.
        head: usize,
    },
    /// Neurons of an MLP.
    Neurons {
        /// Block, from 0.
        layer: usize,
        /// First neuron.
        first: usize,
        /// How many.
        count: usize,
    },
}

/// ReLU(Σ read + bias), added to coordinates of the stream.
#[derive(Debug, Default)]
struct Neuron {
    reads: Vec<(usize, f64)>,
    bias: f64,
    writes: Vec<(usize, f64)>,
}

impl SequenceProgram {
    /// Compiles the program to a transformer whose answer is the one-hot variable `output`, at the positions that `read` says.
    ///
    /// Blocks, heads and neurons are as few as the order of the steps allows, each step in the first place after what it reads. A block
    /// has as many heads as the one with the most; those that it does not need are 0, and so are neurons.
    ///
    /// # Errors
    /// A mistake in the program, an output that is not one-hot or wider than the vocabulary, or sizes at which rounding could
    /// change an answer.
    pub fn compile(&self, output: Variable, read: Read) -> Result<CompiledTransformer, ProgramError> {
        self.check()?;
        let is_output = |step: &super::Step| step.is_one_hot && step.width <= self.vocabulary;
        let n_answers = self.step(output).filter(|step| is_output(step)).map(|step| step.width);
        let n_answers = n_answers.ok_or_else(|| ProgramError::Step {
            step: output.0,
            found: "is the output".to_owned(),
            expected: "a one-hot variable that is no wider than the vocabulary",
        })?;
        let coordinates = self.coordinates();
        let places = self.places();
        let network = self.network(&places);
        let errors = self.errors(network.head_width())?;
        let error = errors[output.0];
        // Rounding of the product with the unembedding is relative.
        let margin = LOGIT * (1.0 - error.largest - error.off - 1e-6);
        if margin < 0.5 * LOGIT {
            let bound = error.largest + error.off;
            return Err(ProgramError::Inexact { step: output.0, bound, allowed: 0.5 });
        }
        let interface = Interface::Tokens { vocabulary: self.vocabulary, length: self.positions, read };
        let model =
            Model::new(NetworkConfig::Transformer(network), interface).map_err(|error| ProgramError::Sequence {
                found: format!("does not fit its network: {error}"),
                expected: "another".to_owned(),
            })?;
        let mut writer = Writer { weights: vec![0.0; model.space().len()], model: &model };
        for (number, place) in places.iter().enumerate() {
            self.write_step(number, *place, &coordinates, &mut writer);
        }
        for i in 0..n_answers {
            writer.add("unembed.W_U", &[coordinates[output.0].start + i, i], LOGIT);
        }
        let weights = writer.weights;
        Ok(CompiledTransformer { model, weights, coordinates, places, margin })
    }

    /// One block of the stream after another.
    fn coordinates(&self) -> Vec<Range<usize>> {
        let mut end = 0;
        let mut block = |width| {
            end += width;
            end - width..end
        };
        self.steps.iter().map(|step| block(step.width)).collect()
    }

    fn places(&self) -> Vec<Place> {
        // A variable is there from a half-block on: attention of block l reads at 2l, its MLP at 2l + 1.
        let mut there_at: Vec<usize> = Vec::with_capacity(self.steps.len());
        let mut used: Vec<usize> = Vec::new();
        let mut places = Vec::with_capacity(self.steps.len());
        for step in &self.steps {
            let (inputs, parity, count) = match &step.operation {
                Operation::Tokens | Operation::Indices => {
                    there_at.push(0);
                    places.push(Place::Embedding);
                    continue;
                }
                Operation::Attend { scores, value, .. } => {
                    let of_scores = scores.iter().flat_map(|table| [table.query, table.key]);
                    (of_scores.chain([*value]).collect::<Vec<Variable>>(), 0, 1)
                }
                Operation::Table { of, to, .. } => (of.to_vec(), 1, to.len()),
                Operation::Thresholds { thresholds, .. } => {
                    let read = thresholds.iter().flat_map(|threshold| threshold.terms.iter().map(|&(of, ..)| of));
                    (read.collect(), 1, 2 * thresholds.len())
                }
            };
            let first = inputs.iter().map(|input| there_at[input.0]).max().unwrap_or(0);
            let at = first + (first % 2 + parity) % 2;
            there_at.push(at + 1);
            used.resize(used.len().max(at + 1), 0);
            let (layer, number) = (at / 2, used[at]);
            used[at] += count;
            places.push(match parity {
                0 => Place::Head { layer, head: number },
                _ => Place::Neurons { layer, first: number, count },
            });
        }
        places
    }

    fn network(&self, places: &[Place]) -> TransformerConfig {
        let (mut layers, mut heads, mut neurons, mut d_head) = (0, 1, 0, 1);
        for (step, place) in self.steps.iter().zip(places) {
            match *place {
                Place::Embedding => {}
                Place::Head { layer, head } => (layers, heads) = (layers.max(layer + 1), heads.max(head + 1)),
                Place::Neurons { layer, first, count } => {
                    // An MLP of constants alone still has to be there.
                    (layers, neurons) = (layers.max(layer + 1), neurons.max(first + count).max(1));
                }
            }
            if let Operation::Attend { scores, .. } = &step.operation {
                let of_scores = scores.iter().map(|table| table.factors().len()).sum::<usize>();
                d_head = d_head.max(of_scores).max(step.width);
            }
        }
        let has_neurons = neurons > 0;
        TransformerConfig {
            layers,
            d_model: self.steps.iter().map(|step| step.width).sum::<usize>().max(1),
            heads,
            d_head: Some(d_head),
            d_mlp: has_neurons.then_some(neurons),
            activation: has_neurons.then_some(Activation::Relu),
            vocabulary: None,
            key_value_heads: None,
            gated_mlp: false,
            parallel_block: false,
            normalization: Normalization::None,
            norm_position: NormPosition::Pre,
            norm_eps: 1e-5,
            positions: Positions::Learned,
            rotary_base: None,
            rotary_dim: None,
            rotary_scaling: None,
            window: None,
            window_layers: None,
            attention_scale: None,
            scale_by_layer: false,
            context: None,
            attention_only: !has_neurons,
            tied_unembed: false,
            attention_biases: false,
            output_bias: None,
            mlp_biases: true,
            unembed_bias: false,
            init: None,
            init_scale: None,
            init_gamma: None,
        }
    }

    fn write_step(&self, number: usize, place: Place, coordinates: &[Range<usize>], writer: &mut Writer<'_>) {
        let start = |variable: Variable| coordinates[variable.0].start;
        let out = coordinates[number].start;
        match (&self.steps[number].operation, place) {
            (Operation::Tokens, _) => (0..self.vocabulary).for_each(|i| writer.add("embed.W_E", &[i, out + i], 1.0)),
            (Operation::Indices, _) => {
                (0..self.positions).for_each(|i| writer.add("pos_embed.W_pos", &[i, out + i], 1.0));
            }
            (Operation::Attend { scores, value, to }, Place::Head { layer, head }) => {
                let name = |own| format!("blocks.{layer}.attn.{own}");
                let d_head = writer.shape(&name("W_Q"))[2];
                // The network divides scores by √d_head.
                let scale = SHARPNESS * (d_head as f64).sqrt();
                let factors = scores.iter().flat_map(|table| table.factors().into_iter().map(move |f| (table, f)));
                for (inner, (table, (of_query, of_key))) in factors.enumerate() {
                    for (value, s) in of_query {
                        writer.add(&name("W_Q"), &[head, start(table.query) + value, inner], scale * f64::from(s));
                    }
                    for (value, s) in of_key {
                        writer.add(&name("W_K"), &[head, start(table.key) + value, inner], f64::from(s));
                    }
                }
                for (i, to) in to.iter().enumerate() {
                    if let Some(to) = *to {
                        writer.add(&name("W_V"), &[head, start(*value) + i, to], 1.0);
                    }
                }
                for i in 0..self.steps[number].width {
                    writer.add(&name("W_O"), &[head, i, out + i], 1.0);
                }
            }
            (operation, Place::Neurons { layer, first, .. }) => {
                let name = |own| format!("blocks.{layer}.mlp.{own}");
                for (i, neuron) in neurons(operation, &start, out).into_iter().enumerate() {
                    let at = first + i;
                    neuron.reads.iter().for_each(|&(from, x)| writer.add(&name("W_in"), &[from, at], x));
                    writer.add(&name("b_in"), &[at], neuron.bias);
                    neuron.writes.iter().for_each(|&(to, x)| writer.add(&name("W_out"), &[at, to], x));
                }
                if let Operation::Thresholds { constants, .. } = operation {
                    for (i, &x) in constants.iter().enumerate() {
                        writer.add(&name("b_out"), &[out + i], x);
                    }
                }
            }
            (Operation::Attend { .. } | Operation::Table { .. } | Operation::Thresholds { .. }, _) => {
                unreachable!("`places` gives attention to heads, the others to neurons")
            }
        }
    }
}

/// The neurons of a table or of thresholds; `start` says where a variable lies, `out` where the new one does.
fn neurons(operation: &Operation, start: &dyn Fn(Variable) -> usize, out: usize) -> Vec<Neuron> {
    match operation {
        Operation::Table { of: [a, b], n_second, to } => {
            let neuron = |(i, &to): (usize, &usize)| Neuron {
                // 1 where both are, with room for errors of a half below.
                reads: vec![(start(*a) + i / n_second, 2.0), (start(*b) + i % n_second, 2.0)],
                bias: -3.0,
                writes: vec![(out + to, 1.0)],
            };
            to.iter().enumerate().map(neuron).collect()
        }
        Operation::Thresholds { thresholds, .. } => {
            let pair = |threshold: &super::Threshold| {
                let [from, to] = threshold.corners();
                let slope = 1.0 / (to - from);
                [(from, 1.0), (to, -1.0)].map(|(corner, sign)| Neuron {
                    reads: threshold.terms.iter().map(|&(of, at, x)| (start(of) + at, slope * x)).collect(),
                    bias: -slope * corner,
                    writes: threshold.writes.iter().map(|&(at, x)| (out + at, sign * x)).collect(),
                })
            };
            thresholds.iter().flat_map(pair).collect()
        }
        Operation::Tokens | Operation::Indices | Operation::Attend { .. } => Vec::new(),
    }
}

/// One dimension of a head's queries and keys: what each value of either puts there.
type Factor = (Vec<(usize, i32)>, Vec<(usize, i32)>);

impl Table {
    /// The table as a sum of products: one for each different row that is not 0, or for each different column where these are
    /// fewer.
    fn factors(&self) -> Vec<Factor> {
        let n_keys = self.rows.first().map_or(0, Vec::len);
        let columns: Vec<Vec<i32>> = (0..n_keys).map(|k| self.rows.iter().map(|row| row[k]).collect()).collect();
        let (of_rows, of_columns) = (grouped(&self.rows), grouped(&columns));
        if of_rows.len() <= of_columns.len() {
            return of_rows;
        }
        of_columns.into_iter().map(|(keys, queries)| (queries, keys)).collect()
    }
}

/// The different lines that are not 0, in the order of their first: who has it, and its entries that are not 0.
fn grouped(lines: &[Vec<i32>]) -> Vec<Factor> {
    let mut different: Vec<&Vec<i32>> = Vec::new();
    let mut members: Vec<Vec<(usize, i32)>> = Vec::new();
    for (i, line) in lines.iter().enumerate().filter(|(_, line)| line.iter().any(|&s| s != 0)) {
        let number = different.iter().position(|&own| own == line).unwrap_or_else(|| {
            different.push(line);
            members.push(Vec::new());
            members.len() - 1
        });
        members[number].push((i, 1));
    }
    let entries = |line: &[i32]| line.iter().copied().enumerate().filter(|&(_, s)| s != 0).collect();
    members.into_iter().zip(different).map(|(members, line)| (members, entries(line))).collect()
}

/// Flat weights, written by name.
struct Writer<'a> {
    model: &'a Model,
    weights: Vec<f32>,
}

impl Writer<'_> {
    fn shape(&self, name: &str) -> &[usize] {
        &self.model.space().find(name).expect("a parameter of the network that was just made").shape
    }

    /// Adds to one entry.
    fn add(&mut self, name: &str, index: &[usize], value: f64) {
        let param = self.model.space().find(name).expect("a parameter of the network that was just made");
        let at = index.iter().zip(&param.shape).fold(0, |at, (&i, &n)| at * n + i);
        self.weights[param.range.start + at] += value as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_the_sum_of_its_factors() {
        let tables: [&dyn Fn(usize, usize) -> i32; 4] =
            [&|q, k| i32::from(q == k), &|_, k| k as i32, &|q, k| i32::from(k < 3) * q as i32, &|q, k| {
                (q * k) as i32 % 3
            }];
        for (of, n_factors) in tables.iter().zip([5, 1, 1, 2]) {
            let rows: Vec<Vec<i32>> = (0..5).map(|q| (0..7).map(|k| of(q, k)).collect()).collect();
            let table = Table { query: Variable(0), key: Variable(0), rows: rows.clone() };
            let factors = table.factors();
            assert_eq!(factors.len(), n_factors);
            let mut sum = vec![vec![0; 7]; 5];
            for (queries, keys) in &factors {
                for &(q, x) in queries {
                    for &(k, y) in keys {
                        sum[q][k] += x * y;
                    }
                }
            }
            assert_eq!(sum, rows);
        }
    }
}
