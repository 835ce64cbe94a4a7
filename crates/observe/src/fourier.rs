//! Progress measures of grokked modular addition (Nanda et al. 2023): the Fourier circuit as it forms.

use ontogeny_graph::{DataSet, Gradient, Program, Workspace};
use ontogeny_zoo::{Model, Task, modulus_of_addition};

use crate::evaluate::ids;
use crate::fourier_basis::{FourierBasis, GridData};
use crate::{Measured, ObserveError};

/// Version of the numbers of [`FourierMeasures`].
pub const FOURIER_VERSION: u32 = 1;

/// Pairs of one execution.
const BATCH: usize = 512;

/// Measures the Fourier circuit of a one-layer transformer with an MLP on all pairs (a, b) of addition modulo p.
#[derive(Debug)]
pub struct FourierMeasures {
    p: usize,
    basis: FourierBasis,
    program: Program,
    workspace: Workspace,
    n_neurons: usize,
    all: DataSet,
    targets: Vec<i32>,
    /// Pair numbers a·p + b of each split of the task.
    splits: Vec<(&'static str, Vec<usize>)>,
}

/// The measures of one checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct FourierProgress {
    /// Key frequencies, ascending: those with a key neuron.
    pub keys: Vec<usize>,
    /// Key neurons of each frequency 1..=(p−1)/2: it is their best, with more than 85 % of their variance.
    pub n_key_neurons: Vec<usize>,
    /// Along `quantity`: `restricted_loss` (all pairs), `restricted_loss_train`, `restricted_loss_test` (where there is
    /// such a split), `excluded_loss` (training pairs, all key frequencies at once), all in nats; `gini_embed` and
    /// `gini_unembed`, of the frequency norms of the residues' rows of W_E and of the neuron-logit map W_out·W_U (left
    /// out where these are 0); `sum_of_squares` of all weights; `n_key_frequencies`.
    pub measured: Measured,
    /// Norm of each frequency 1..=(p−1)/2 in the residues' rows of W_E.
    pub embedding_norms: Vec<f64>,
}

impl FourierMeasures {
    /// Prepares the measures of a model on a task.
    ///
    /// # Errors
    /// [`ObserveError::NotDefined`] for a network without exactly one layer and an MLP, or a task other than addition
    /// modulo p ≥ 3.
    pub fn new(model: &Model, task: &Task) -> Result<Self, ObserveError> {
        let not_defined = |found: &str| ObserveError::NotDefined {
            observable: "fourier",
            needs: "a one-layer transformer with an MLP on all pairs of addition modulo p ≥ 3".to_owned(),
            found: found.to_owned(),
        };
        let p = modulus_of_addition(task).map_err(|found| not_defined(&found))?;
        let all = task.split("all").ok_or_else(|| not_defined("a task without the set of all pairs"))?;
        let targets = ids(&all.data, "targets").ok_or_else(|| not_defined("a task without class targets"))?;

        let (mut graph, nodes) = model.graph(BATCH);
        if graph.find("blocks.1.hook_resid_pre").is_ok() {
            return Err(not_defined("a network of several layers"));
        }
        let neurons = graph.find("blocks.0.mlp.hook_post").map_err(|_| not_defined("a network without an MLP"))?;
        let &[_, length, n_neurons] = graph.shape(neurons) else {
            return Err(not_defined("an MLP without an axis of positions"));
        };
        let neurons = graph.select_index(neurons, 1, length - 1);
        let outputs = [("logits", nodes.logits), ("neurons", neurons)];
        let program = Program::compile(&graph, &outputs, Gradient::None)?;
        let workspace = Workspace::new(&program);
        let splits = task.splits.iter();
        Ok(Self {
            p,
            basis: FourierBasis::new(p),
            program,
            workspace,
            n_neurons,
            all: all.data.clone(),
            targets: targets.to_vec(),
            splits: splits.map(|s| (s.name, s.indices.clone())).collect(),
        })
    }

    /// Frequencies of the modulus: (p − 1)/2, rounded down.
    pub(crate) fn n_frequencies(&self) -> usize {
        (self.p - 1) / 2
    }

    /// Measures one checkpoint.
    ///
    /// # Errors
    /// Weights of another model, or weights or activations that are not finite; the first is named.
    pub fn measure(&mut self, weights: &[f32]) -> Result<FourierProgress, ObserveError> {
        // A weight that no logit depends on, such as the unembedding of `=`, still has a norm.
        if !weights.iter().all(|w| w.is_finite()) {
            let node = self.program.first_non_finite(&mut self.workspace, weights)?;
            return Err(ObserveError::non_finite(node, "the weights"));
        }
        let (logits, neurons) = self.run(weights)?;
        let logits = GridData { values: &logits, width: self.p };
        let neurons = GridData { values: &neurons, width: self.n_neurons };
        let key_frequencies = self.basis.key_frequencies(neurons);
        let keys = key_frequencies.keys();

        let mut entries: Vec<(&str, f64)> = Vec::new();
        let sets: Vec<&[usize]> = self.splits.iter().map(|(_, pairs)| pairs.as_slice()).collect();
        let restricted = self.basis.restricted_losses(logits, &keys, &self.targets, &sets);
        for (label, split) in
            [("restricted_loss", "all"), ("restricted_loss_train", "train"), ("restricted_loss_test", "test")]
        {
            let at = self.splits.iter().position(|(name, _)| *name == split);
            entries.extend(at.map(|at| (label, restricted[at])));
        }
        if let Some((_, train)) = self.splits.iter().find(|(name, _)| *name == "train") {
            let loss = self.basis.excluded_loss(logits, &keys, &self.targets, train);
            entries.push(("excluded_loss", loss));
        }
        let embedding = self.embedding(weights)?;
        let unembedding = self.neuron_logit_map(weights)?;
        for (label, (matrix, width)) in [("gini_embed", &embedding), ("gini_unembed", &unembedding)] {
            let gini = self.basis.frequency_gini(matrix, *width);
            entries.extend(gini.map(|gini| (label, gini)));
        }
        let squares = weights.iter().map(|&w| f64::from(w).powi(2));
        entries.push(("sum_of_squares", squares.sum()));
        entries.push(("n_key_frequencies", keys.len() as f64));
        let entries = entries.into_iter().map(|(label, x)| (label.to_owned(), x));
        Ok(FourierProgress {
            keys,
            n_key_neurons: key_frequencies.n_neurons,
            measured: Measured::along("quantity", "1", entries.collect()),
            embedding_norms: self.basis.frequency_norms(&embedding.0, embedding.1),
        })
    }

    /// Logits `[p², p]` and neuron activations `[p², neurons]` at the last position.
    fn run(&mut self, weights: &[f32]) -> Result<(Vec<f32>, Vec<f32>), ObserveError> {
        let pairs: Vec<usize> = (0..self.all.len()).collect();
        let (mut logits, mut neurons) = (Vec::new(), Vec::new());
        for batch in pairs.chunks(BATCH) {
            self.all.fill(&self.program, &mut self.workspace, batch)?;
            self.program.run(&mut self.workspace, weights)?;
            let outputs = [("logits", self.p, &mut logits), ("neurons", self.n_neurons, &mut neurons)];
            for (name, width, to) in outputs {
                let values = self.workspace.output(&self.program, name);
                let values = &values[..batch.len() * width];
                if !values.iter().all(|x| x.is_finite()) {
                    let node = self.program.first_non_finite(&mut self.workspace, weights)?;
                    return Err(ObserveError::non_finite(node, name));
                }
                to.extend_from_slice(values);
            }
        }
        Ok((logits, neurons))
    }

    /// The rows of W_E that belong to residues, `[p, d]`, and d.
    fn embedding(&self, weights: &[f32]) -> Result<(Vec<f64>, usize), ObserveError> {
        let param = self.program.space().find("embed.W_E")?;
        let width = param.shape[1];
        let rows = &weights[param.range.clone()][..self.p * width];
        Ok((rows.iter().map(|&w| f64::from(w)).collect(), width))
    }

    /// (W_out·W_U)ᵀ, the direct map from neurons to the logit of each residue, `[p, neurons]`, and their number.
    fn neuron_logit_map(&self, weights: &[f32]) -> Result<(Vec<f64>, usize), ObserveError> {
        let space = self.program.space();
        let out = space.find("blocks.0.mlp.W_out")?;
        let (n_neurons, d) = (out.shape[0], out.shape[1]);
        let w_out = &weights[out.range.clone()];
        // Tied networks unembed with the transposed embedding.
        let (unembed, class_stride, residual_stride) = match space.find("unembed.W_U") {
            Ok(param) => (param, 1, param.shape[1]),
            Err(_) => (space.find("embed.W_E")?, d, 1),
        };
        let unembed = &weights[unembed.range.clone()];
        let mut map = Vec::with_capacity(self.p * n_neurons);
        for class in 0..self.p {
            let column: Vec<f64> =
                (0..d).map(|i| f64::from(unembed[class * class_stride + i * residual_stride])).collect();
            for row in w_out.chunks_exact(d) {
                map.push(row.iter().zip(&column).map(|(&w, u)| f64::from(w) * u).sum());
            }
        }
        Ok((map, n_neurons))
    }
}
