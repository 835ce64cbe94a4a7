//! Progress measures of grokked modular addition (Nanda et al. 2023): the Fourier circuit as it forms.

use ontogeny_graph::{ColumnData, DataSet, Gradient, Program, Workspace};
use ontogeny_zoo::{Interface, Model, Read, Task};

use crate::fourier_basis::{FourierBasis, GridData};
use crate::{Measured, ObserveError};

/// Version of the numbers of [`FourierMeasures`].
pub const FOURIER_VERSION: u32 = 1;

const BATCH: usize = 512;

/// Measures the Fourier circuit of a one-layer transformer with an MLP on all pairs of a modular task.
#[derive(Debug)]
pub struct FourierMeasures {
    p: usize,
    basis: FourierBasis,
    program: Program,
    workspace: Workspace,
    n_neurons: usize,
    all: DataSet,
    targets: Vec<i32>,
    /// Pair numbers of each split, `all` first.
    splits: Vec<(&'static str, Vec<usize>)>,
}

/// The measures of one checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct FourierProgress {
    /// Key frequencies: best of at least one neuron with more than 85 % of its variance in it.
    pub keys: Vec<usize>,
    /// `restricted_loss` (all pairs), `restricted_loss_train`, `restricted_loss_test`, `excluded_loss` (train pairs),
    /// in nats; `gini_embed` and `gini_unembed` of the frequency norms of W_E and W_out·W_U; `sum_of_squares` of all
    /// weights; `n_key_frequencies`.
    pub measured: Measured,
    /// Norm of each frequency 1..=(p−1)/2 in the embedding.
    pub embedding_norms: Vec<f64>,
}

impl FourierMeasures {
    /// Prepares the measures of a model on a task.
    ///
    /// # Errors
    /// A network without exactly one layer and an MLP, or a task that is not all pairs modulo p.
    pub fn new(model: &Model, task: &Task) -> Result<Self, ObserveError> {
        let not_defined = |found: &str| ObserveError::NotDefined {
            observable: "fourier",
            needs: "a one-layer transformer with an MLP on a task of all pairs modulo p".to_owned(),
            found: found.to_owned(),
        };
        let Interface::Tokens { read: Read::LastPosition { classes: p }, length, .. } = task.interface else {
            return Err(not_defined("another task"));
        };
        let all = task.split("all").ok_or_else(|| not_defined("a task without the set of all pairs"))?.data.clone();
        if all.len() != p * p || p < 3 {
            return Err(not_defined(&format!("{} examples of {p} classes", all.len())));
        }
        let targets = all.columns().iter().find_map(|column| match &column.data {
            ColumnData::Ids(ids) if column.name == "targets" => Some(ids.clone()),
            _ => None,
        });
        let targets = targets.ok_or_else(|| not_defined("a task without class targets"))?;
        let (mut graph, nodes) = model.graph(BATCH);
        let neurons = graph.find("blocks.0.mlp.hook_post").map_err(|_| not_defined("a network without an MLP"))?;
        if graph.find("blocks.1.hook_resid_pre").is_ok() {
            return Err(not_defined("a network of several layers"));
        }
        // The hook holds every position, or the last one alone.
        let neurons = match graph.shape(neurons).to_vec().as_slice() {
            [_, positions, _] => graph.select_index(neurons, 1, positions.min(&length) - 1),
            _ => neurons,
        };
        let n_neurons = graph.shape(neurons).last().copied().unwrap_or(0);
        let program = Program::compile(&graph, &[("logits", nodes.logits), ("neurons", neurons)], Gradient::None)?;
        let workspace = Workspace::new(&program);
        let splits = task.splits.iter().map(|split| (split.name, split.indices.clone())).collect();
        Ok(Self { p, basis: FourierBasis::new(p), program, workspace, n_neurons, all, targets, splits })
    }

    /// Measures one checkpoint.
    ///
    /// # Errors
    /// Weights of another model, or non-finite values.
    pub fn measure(&mut self, model: &Model, weights: &[f32]) -> Result<FourierProgress, ObserveError> {
        let (logits, neurons) = self.run(weights)?;
        let logits = GridData { values: &logits, width: self.p };
        let keys = self.basis.key_frequencies(GridData { values: &neurons, width: self.n_neurons }).keys();

        let named: Vec<&str> = self.splits.iter().map(|(name, _)| *name).collect();
        let sets: Vec<&[usize]> = self.splits.iter().map(|(_, pairs)| pairs.as_slice()).collect();
        let restricted = self.basis.restricted_losses(logits, &keys, &self.targets, &sets);
        let of = |name: &str| named.iter().position(|own| *own == name);
        let mut entries = Vec::new();
        for (label, split) in
            [("restricted_loss", "all"), ("restricted_loss_train", "train"), ("restricted_loss_test", "test")]
        {
            if let Some(at) = of(split) {
                entries.push((label.to_owned(), restricted[at]));
            }
        }
        if let Some(at) = of("train") {
            entries.push(("excluded_loss".to_owned(), self.basis.excluded_loss(logits, &keys, &self.targets, sets[at])));
        }
        let embedding = self.embedding(model, weights)?;
        let unembedding = self.neuron_logit_map(model, weights)?;
        for (label, (matrix, width)) in [("gini_embed", &embedding), ("gini_unembed", &unembedding)] {
            if let Some(value) = self.basis.frequency_gini(matrix, *width) {
                entries.push((label.to_owned(), value));
            }
        }
        entries.push(("sum_of_squares".to_owned(), weights.iter().map(|&w| f64::from(w).powi(2)).sum()));
        entries.push(("n_key_frequencies".to_owned(), keys.len() as f64));
        let embedding_norms = self.basis.frequency_norms(&embedding.0, embedding.1);
        Ok(FourierProgress { keys, measured: Measured::along("quantity", "1", entries), embedding_norms })
    }

    /// Logits [p², p] and neuron activations [p², neurons] at the last position.
    fn run(&mut self, weights: &[f32]) -> Result<(Vec<f32>, Vec<f32>), ObserveError> {
        let rows: Vec<usize> = (0..self.all.len()).collect();
        let (mut logits, mut neurons) = (Vec::new(), Vec::new());
        for batch in rows.chunks(BATCH) {
            self.all.fill(&self.program, &mut self.workspace, batch)?;
            self.program.run(&mut self.workspace, weights)?;
            logits.extend_from_slice(&self.workspace.output(&self.program, "logits")[..batch.len() * self.p]);
            let width = self.n_neurons;
            neurons.extend_from_slice(&self.workspace.output(&self.program, "neurons")[..batch.len() * width]);
        }
        if logits.iter().chain(&neurons).any(|x| !x.is_finite()) {
            let node = self.program.first_non_finite(&mut self.workspace, weights)?;
            return Err(ObserveError::NonFinite { node: node.unwrap_or_else(|| "the logits".to_owned()) });
        }
        Ok((logits, neurons))
    }

    /// The rows of W_E that belong to residues, [p, d].
    fn embedding(&self, model: &Model, weights: &[f32]) -> Result<(Vec<f64>, usize), ObserveError> {
        let param = model.space().find("embed.W_E")?;
        let width = param.shape[1];
        let rows = &weights[param.range.clone()][..self.p * width];
        Ok((rows.iter().map(|&w| f64::from(w)).collect(), width))
    }

    /// (W_out·W_U)ᵀ, the direct map from neurons to the logit of each residue, [p, neurons].
    fn neuron_logit_map(&self, model: &Model, weights: &[f32]) -> Result<(Vec<f64>, usize), ObserveError> {
        let out = model.space().find("blocks.0.mlp.W_out")?;
        let (n_neurons, d) = (out.shape[0], out.shape[1]);
        let w_out = &weights[out.range.clone()];
        // Tied networks unembed with the transposed embedding.
        let (unembed, class_stride, residual_stride) = match model.space().find("unembed.W_U") {
            Ok(param) => (&weights[param.range.clone()], 1, param.shape[1]),
            Err(_) => (&weights[model.space().find("embed.W_E")?.range.clone()], d, 1),
        };
        let mut map = vec![0.0; self.p * n_neurons];
        for class in 0..self.p {
            let row = &mut map[class * n_neurons..][..n_neurons];
            for (neuron, entry) in row.iter_mut().enumerate() {
                *entry = (0..d)
                    .map(|i| {
                        f64::from(w_out[neuron * d + i])
                            * f64::from(unembed[class * class_stride + i * residual_stride])
                    })
                    .sum();
            }
        }
        Ok((map, n_neurons))
    }
}
