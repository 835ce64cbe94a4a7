//! What the weight matrices of a network are like: norms, ranks and sparsity, of whole matrices and of attention heads.

use ontogeny_stats::{
    entropy_rank, gini, hoyer, participation_ratio, squared_singular_values, squared_singular_values_of_product,
    stable_rank,
};
use ontogeny_zoo::Model;
use serde::{Deserialize, Serialize};

use crate::{Checkpoint, Findings, Instrument, Measured, ObserveError, Settings, Subject};

/// Version of the numbers of [`WeightStatisticsSettings`].
pub(crate) const WEIGHT_STATISTICS_VERSION: u32 = 1;

/// The numbers of a matrix, in the order of the array.
const SCORES: [&str; 9] =
    ["l2", "l1", "linf", "spectral_norm", "stable_rank", "participation_ratio", "entropy_rank", "gini", "hoyer"];

/// Settings of `observable = "weight_statistics"`; there are none.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WeightStatisticsSettings {}

impl Settings for WeightStatisticsSettings {
    fn build(&self, subject: &Subject<'_>) -> Result<Box<dyn Instrument>, ObserveError> {
        let parts = parts_of(subject.model);
        if parts.is_empty() {
            return Err(ObserveError::NotDefined {
                observable: "weight_statistics",
                needs: "a parameter of two or more axes, each longer than 1".to_owned(),
                found: "none".to_owned(),
            });
        }
        Ok(Box::new(WeightStatistics { n_weights: subject.model.space().len(), parts }))
    }
}

/// The matrices that are looked at.
#[derive(Debug)]
struct WeightStatistics {
    n_weights: usize,
    parts: Vec<Part>,
}

/// A matrix in the flat weights.
#[derive(Debug, Clone, Copy)]
struct Matrix {
    first: usize,
    rows: usize,
    columns: usize,
}

#[derive(Debug)]
struct Part {
    label: String,
    content: Content,
}

#[derive(Debug)]
enum Content {
    /// Every head's `[d, e]` one under the other, read as `[d, heads·e]`: what the layer multiplies with.
    SideBySide {
        heads: usize,
        head: Matrix,
    },
    Matrix(Matrix),
    /// left·rightᵀ, both `[d, e]`.
    Product {
        left: Matrix,
        right: Matrix,
        is_right_turned: bool,
    },
}

impl Matrix {
    fn of<'a>(&self, weights: &'a [f32]) -> &'a [f32] {
        &weights[self.first..self.first + self.rows * self.columns]
    }

    fn head(self, head: usize) -> Self {
        Self { first: self.first + head * self.rows * self.columns, ..self }
    }

    fn turned(self, weights: &[f32]) -> Vec<f32> {
        let own = self.of(weights);
        (0..self.columns).flat_map(|j| (0..self.rows).map(move |i| own[i * self.columns + j])).collect()
    }
}

/// Every parameter of two or more axes, then the matrices of every attention head.
fn parts_of(model: &Model) -> Vec<Part> {
    let mut parts = Vec::new();
    for param in model.space().iter() {
        let (first, shape) = (param.range.start, param.shape.as_slice());
        let name = param.name.rsplit('.').next().unwrap_or_default();
        let content = match *shape {
            [heads, rows, columns] if is_attention(&param.name) && name == "W_O" => {
                Content::Matrix(Matrix { first, rows: heads * rows, columns })
            }
            [heads, rows, columns] if is_attention(&param.name) => {
                Content::SideBySide { heads, head: Matrix { first, rows, columns } }
            }
            // Of a convolution [out, in, height, width] the matrix of each output channel's kernels (Miyato et al. 2018).
            [rows, ref rest @ ..] if !rest.is_empty() => {
                Content::Matrix(Matrix { first, rows, columns: rest.iter().product() })
            }
            _ => continue,
        };
        if shape.iter().filter(|&&axis| axis > 1).count() >= 2 {
            parts.push(Part { label: param.name.clone(), content });
        }
    }
    parts.extend((0..).map_while(|layer| heads_of(model, layer)).flatten());
    parts
}

fn is_attention(name: &str) -> bool {
    name.starts_with("blocks.") && name.contains(".attn.")
}

/// The matrices of the heads of a layer; empty of one without attention by the names of TransformerLens, `None` behind the last.
fn heads_of(model: &Model, layer: usize) -> Option<Vec<Part>> {
    let prefix = format!("blocks.{layer}.");
    if !model.space().iter().any(|param| param.name.starts_with(&prefix)) {
        return None;
    }
    let matrices = |name: &str| {
        // Keys and values that several heads share have a name of their own.
        let own = [name.to_owned(), format!("_{name}")].map(|name| format!("{prefix}attn.{name}"));
        let param = own.iter().find_map(|name| model.space().find(name).ok())?;
        let &[heads, rows, columns] = param.shape.as_slice() else { return None };
        Some((heads, Matrix { first: param.range.start, rows, columns }))
    };
    let found = ["W_Q", "W_K", "W_V", "W_O"].map(matrices);
    let [Some((n_heads, q)), Some((n_shared, k)), Some((n_values, v)), Some((n_outputs, o))] = found else {
        return Some(Vec::new());
    };
    let is_usual = n_shared > 0
        && n_heads.is_multiple_of(n_shared)
        && n_values == n_shared
        && n_outputs == n_heads
        && (q.rows, q.columns) == (k.rows, k.columns)
        && v.columns == o.rows;
    if !is_usual {
        return Some(Vec::new());
    }
    let of_head = |head: usize| {
        let shared = head / (n_heads / n_shared);
        let [q, k, v, o] = [q.head(head), k.head(shared), v.head(shared), o.head(head)];
        [
            ("Q", Content::Matrix(q)),
            ("K", Content::Matrix(k)),
            ("V", Content::Matrix(v)),
            ("O", Content::Matrix(o)),
            ("QK", Content::Product { left: q, right: k, is_right_turned: false }),
            ("OV", Content::Product { left: v, right: o, is_right_turned: true }),
        ]
        .map(|(name, content)| Part { label: format!("l{layer}h{head}.{name}"), content })
    };
    Some((0..n_heads).flat_map(of_head).collect())
}

impl Instrument for WeightStatistics {
    fn dims(&self) -> Vec<(&'static str, Vec<String>)> {
        let labels = self.parts.iter().map(|part| part.label.clone()).collect();
        vec![("part", labels), ("score", SCORES.map(str::to_owned).to_vec())]
    }

    fn measure(&mut self, checkpoint: &Checkpoint<'_>) -> Result<Findings, ObserveError> {
        let weights = checkpoint.weights;
        if weights.len() != self.n_weights {
            let (expected, found) = (self.n_weights, weights.len());
            return Err(ontogeny_graph::RunError::Weights { expected, found }.into());
        }
        let mut values = Vec::with_capacity(self.parts.len() * SCORES.len());
        for (at, part) in self.parts.iter().enumerate() {
            checkpoint.check_cancelled()?;
            let not_finite = |_| ObserveError::NonFinite { node: part.label.clone() };
            let (entries, squares) = part.content.read(weights).map_err(not_finite)?;
            values.extend(scores(&entries, &squares));
            (checkpoint.progress)((at + 1) as f64 / self.parts.len() as f64);
        }
        Ok(Measured { unit: "1", dims: self.dims(), values }.into())
    }
}

impl Content {
    /// The entries and the squared singular values, those that may differ from zero.
    fn read(&self, weights: &[f32]) -> Result<(Vec<f64>, Vec<f64>), ontogeny_stats::ArrayError> {
        let wide = |entries: &[f32]| entries.iter().copied().map(f64::from).collect::<Vec<f64>>();
        match *self {
            Self::Matrix(matrix) => {
                let own = matrix.of(weights);
                Ok((wide(own), squared_singular_values(own, matrix.rows, matrix.columns)?))
            }
            Self::SideBySide { heads, head } => {
                let row = |i: usize| {
                    (0..heads)
                        .flat_map(move |h| head.head(h).of(weights)[i * head.columns..(i + 1) * head.columns].iter())
                };
                let own: Vec<f32> = (0..head.rows).flat_map(row).copied().collect();
                Ok((wide(&own), squared_singular_values(&own, head.rows, heads * head.columns)?))
            }
            Self::Product { left, right, is_right_turned } => {
                let right = if is_right_turned { right.turned(weights) } else { right.of(weights).to_vec() };
                let (left, n) = (left.of(weights), left.columns);
                let squares = squared_singular_values_of_product(left, &right, n)?;
                let [left, right] = [wide(left), wide(&right)];
                let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
                let rows = left.chunks_exact(n).flat_map(|a| right.chunks_exact(n).map(move |b| dot(a, b)));
                Ok((rows.collect(), squares))
            }
        }
    }
}

/// The scores of a matrix from its entries and squared singular values; what a matrix of zeros has no value for is 0.
fn scores(entries: &[f64], squares: &[f64]) -> [f64; SCORES.len()] {
    let singular: Vec<f64> = squares.iter().map(|square| square.sqrt()).collect();
    let or_zero = |of: Option<f64>| of.unwrap_or(0.0);
    [
        entries.iter().map(|w| w * w).sum::<f64>().sqrt(),
        entries.iter().map(|w| w.abs()).sum(),
        entries.iter().fold(0.0, |a, w| a.max(w.abs())),
        singular.first().copied().unwrap_or(0.0),
        or_zero(stable_rank(squares)),
        or_zero(participation_ratio(squares)),
        or_zero(entropy_rank(&singular)),
        or_zero(gini(entries)),
        or_zero(hoyer(entries)),
    ]
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use ontogeny_graph::{Purpose, Stream};
    use ontogeny_zoo::{NetworkConfig, Task, TaskConfig};
    use serde_json::{Value, from_value, json};

    use super::*;

    fn setting(network: Value) -> (Task, Model) {
        let task: TaskConfig =
            from_value(json!({"kind": "modular_arithmetic", "p": 5, "operation": "add", "train_fraction": 0.8}))
                .unwrap();
        let task = task.prepare(0, Path::new(".")).unwrap();
        let model = Model::new(from_value::<NetworkConfig>(network).unwrap(), task.interface).unwrap();
        (task, model)
    }

    fn transformer(more: &Value) -> Value {
        let mut network = json!({
            "kind": "transformer", "layers": 2, "d_model": 8, "heads": 4, "d_mlp": 6, "activation": "relu",
            "normalization": "layer_norm", "positions": "learned",
        });
        for (key, value) in more.as_object().unwrap() {
            network[key] = value.clone();
        }
        network
    }

    fn measure(task: &Task, model: &Model, weights: &[f32]) -> Measured {
        let mut instrument = WeightStatisticsSettings {}.build(&Subject { model, task, seed: 0 }).unwrap();
        instrument.measure(&Checkpoint::alone(weights)).unwrap().value
    }

    fn of<'a>(found: &'a Measured, part: &str) -> &'a [f64] {
        let at = found.dims[0].1.iter().position(|label| label == part).unwrap_or_else(|| panic!("no {part}"));
        &found.values[at * SCORES.len()..(at + 1) * SCORES.len()]
    }

    fn close(found: &[f64], expected: &[f64], tolerance: f64) {
        for ((name, a), b) in SCORES.iter().zip(found).zip(expected) {
            assert!((a - b).abs() <= tolerance * b.abs().max(1.0), "{name}: {a}, {b}");
        }
    }

    #[test]
    fn identity_rank_one_one_hot_and_uniform_in_closed_form() {
        let scores_of = |matrix: &[f32], rows, columns| {
            let (entries, squares) = Content::Matrix(Matrix { first: 0, rows, columns }).read(matrix).unwrap();
            scores(&entries, &squares)
        };
        let n = 6;
        let identity: Vec<f32> = (0..n * n).map(|ij| if ij / n == ij % n { 3.0 } else { 0.0 }).collect();
        let (many, root) = (n as f64, (n as f64).sqrt());
        // Gini and Hoyer of n equal ones among n².
        let sparse = [1.0 - 1.0 / many, (many - root) / (many - 1.0)];
        close(
            &scores_of(&identity, n, n),
            &[3.0 * root, 3.0 * many, 3.0, 3.0, many, many, many, sparse[0], sparse[1]],
            1e-14,
        );
        // A single entry: one dimension, and as sparse as can be.
        let mut one_hot = vec![0.0; 20];
        one_hot[7] = -2.0;
        close(&scores_of(&one_hot, 4, 5), &[2.0, 2.0, 2.0, 2.0, 1.0, 1.0, 1.0, 0.95, 1.0], 1e-14);
        // All entries alike: one dimension, and not sparse. Its singular value is the norm.
        let norm = 0.5 * 20_f64.sqrt();
        close(&scores_of(&[0.5; 20], 4, 5), &[norm, 10.0, 0.5, norm, 1.0, 1.0, 1.0, 0.0, 0.0], 1e-7);
        // Singular values 1 and √½: the squares are (1, ½).
        let root = 0.5_f32.sqrt();
        let found = scores_of(&[1.0, 0.0, 0.0, root], 2, 2);
        assert!((found[4] - 1.5).abs() < 1e-7 && (found[5] - 1.8).abs() < 1e-7, "{found:?}");
        assert_eq!(scores_of(&[0.0; 6], 2, 3), [0.0; 9]);
    }

    #[test]
    fn heads_and_their_products_are_the_matrices_that_they_name() {
        for (more, shared) in [(json!({}), 4), (json!({"key_value_heads": 2}), 2)] {
            let (task, model) = setting(transformer(&more));
            let weights = model.initial_weights(3);
            let found = measure(&task, &model, &weights);
            assert_eq!(found.dims[1].1, SCORES);
            assert_eq!(found.dims[0].1.iter().filter(|label| label.starts_with("l1h")).count(), 4 * 6);
            assert!(!found.dims[0].1.iter().any(|label| label.contains("ln") || label.contains(".b_")));
            let prefix = if shared == 2 { "_" } else { "" };
            let read = |name: &str| {
                let param = model.space().find(&format!("blocks.1.attn.{name}")).unwrap();
                (&weights[param.range.clone()], param.shape[1], param.shape[2])
            };
            let (q, d, e) = read("W_Q");
            let ((k, ..), (v, ..), (o, ..)) =
                (read(&format!("{prefix}W_K")), read(&format!("{prefix}W_V")), read("W_O"));
            let (head, key_head) = (3, 3 / (4 / shared));
            let at = |m: &[f32], head: usize, i: usize, j: usize, columns: usize| {
                f64::from(m[head * d * e + i * columns + j])
            };
            let form = |entry: &dyn Fn(usize, usize) -> f64| -> Vec<f32> {
                (0..d * d).map(|ij| entry(ij / d, ij % d) as f32).collect()
            };
            let qk = form(&|i, j| (0..e).map(|m| at(q, head, i, m, e) * at(k, key_head, j, m, e)).sum());
            let ov = form(&|i, j| (0..e).map(|m| at(v, key_head, i, m, e) * at(o, head, m, j, d)).sum());
            for (name, formed) in [("l1h3.QK", qk), ("l1h3.OV", ov)] {
                let (entries, squares) =
                    Content::Matrix(Matrix { first: 0, rows: d, columns: d }).read(&formed).unwrap();
                let mut expected = scores(&entries, &squares);
                // Rounding of the formed product gives d − e singular values of ε, which the entropy of all of them sees.
                let bound = 8.0 * d as f64 * f64::from(f32::EPSILON) * 20.0;
                expected[6] = expected[6].clamp(1.0, e as f64);
                close(of(&found, name), &expected, bound);
                assert!(of(&found, name)[5] <= e as f64 + 1e-9);
            }
            // The matrix of the layer is that of the heads side by side: squares of norms add up.
            let heads: f64 = (0..4).map(|h| of(&found, &format!("l1h{h}.Q"))[0].powi(2)).sum();
            assert!((of(&found, "blocks.1.attn.W_Q")[0].powi(2) - heads).abs() < 1e-12 * heads);
            let outputs: f64 = (0..4).map(|h| of(&found, &format!("l1h{h}.O"))[1]).sum();
            assert!((of(&found, "blocks.1.attn.W_O")[1] - outputs).abs() < 1e-12 * outputs);
        }
    }

    #[test]
    fn scales_change_norms_alone_and_orders_nothing() {
        let (task, model) = setting(json!({
            "kind": "modular_mlp", "d_embed": 6, "hidden": 7, "activation": "relu",
        }));
        let weights = model.initial_weights(1);
        let before = measure(&task, &model, &weights);
        for seed in 0..5 {
            // Rows in another order, and a power of two as the scale, so that rounding is the same.
            let mut changed: Vec<f32> = weights.iter().map(|w| -8.0 * w).collect();
            for param in model.space().iter().filter(|param| param.shape.len() == 2) {
                let order = Stream::new(seed, Purpose::Resampling, 0).permutation(param.shape[0], 0);
                let own = changed[param.range.clone()].to_vec();
                let rows: Vec<&[f32]> = own.chunks_exact(param.shape[1]).collect();
                let mixed: Vec<f32> = order.iter().flat_map(|&row| rows[row]).copied().collect();
                changed[param.range.clone()].copy_from_slice(&mixed);
            }
            let after = measure(&task, &model, &changed);
            for (a, b) in before.values.chunks_exact(9).zip(after.values.chunks_exact(9)) {
                let expected: Vec<f64> =
                    a.iter().enumerate().map(|(at, x)| if at < 4 { 8.0 * x } else { *x }).collect();
                close(b, &expected, 1e-12);
            }
        }
    }

    #[test]
    fn weights_that_are_not_finite_are_named_and_those_of_others_counted() {
        let (task, model) = setting(transformer(&json!({})));
        let mut instrument =
            WeightStatisticsSettings {}.build(&Subject { model: &model, task: &task, seed: 0 }).unwrap();
        let mut weights = model.initial_weights(1);
        let at = model.space().find("blocks.1.attn.W_K").unwrap().range.start;
        weights[at] = f32::INFINITY;
        let error = instrument.measure(&Checkpoint::alone(&weights)).unwrap_err().to_string();
        assert!(error.contains("`blocks.1.attn.W_K`"), "{error}");
        let error = instrument.measure(&Checkpoint::alone(&weights[1..])).unwrap_err().to_string();
        assert!(error.contains(&format!("expected {} weights", weights.len())), "{error}");
        assert!(from_value::<WeightStatisticsSettings>(json!({"split": "train"})).is_err());
    }
}
