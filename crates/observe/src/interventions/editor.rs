//! A network whose activations can be read, and replaced by anything, without being compiled again.

use ontogeny_graph::{DataSet, Gradient, Graph, Program, Workspace};
use ontogeny_zoo::{Model, TOKEN_LOSS};

use super::Component;
use super::pairs::{self, PAIR_METRIC};
use crate::ObserveError;

/// Most numbers of all sites of one execution, 128 MB: each stands there three times.
const MAX_NUMBERS: usize = 1 << 25;

/// Examples of one execution.
const BATCH: usize = 64;

/// A forward pass with a switch at every site.
///
/// At a site with the activation a, everything behind it reads a + m·(v − a) instead, where the mask m (0 or 1) and the
/// value v are inputs of the program. Ablation, patching and freezing differ only in what is put there, so one compiled
/// program does them all.
#[derive(Debug)]
pub struct Editor {
    program: Program,
    workspace: Workspace,
    batch: usize,
    sites: Vec<Site>,
    has_answers: bool,
    n_loaded: usize,
    n_forward: u64,
}

#[derive(Debug)]
struct Site {
    activation: String,
    mask: String,
    value: String,
    /// With the batch.
    shape: Vec<usize>,
}

/// What stands in place of an activation.
#[derive(Debug, Clone, Copy)]
pub enum Replacement<'a> {
    /// 0.
    Zero,
    /// The same for every example: one example's part of the activation.
    Same(&'a [f32]),
    /// One for each example of the batch, as [`Editor::activation`] gives it.
    Each(&'a [f32]),
}

impl Editor {
    /// Compiles the network with a switch at each of the `activations` (none twice), for batches of at most `n_examples`.
    /// With `has_pairs` the data have the columns of [`Pairs`](super::Pairs), and the difference of logits can be read.
    ///
    /// # Errors
    /// An activation that the network does not have, or pairs where answers have no classes.
    pub fn new(
        model: &Model,
        activations: &[String],
        n_examples: usize,
        has_pairs: bool,
    ) -> Result<Self, ObserveError> {
        let (graph, _) = model.graph(1);
        let sizes = activations.iter().map(|name| Ok(graph.shape(graph.find(name)?).iter().product::<usize>()));
        let per_example: usize = sizes.sum::<Result<usize, ObserveError>>()?;
        let batch = (MAX_NUMBERS / per_example.max(1)).clamp(1, BATCH).min(n_examples.max(1));
        let (mut graph, nodes) = model.graph(batch);
        if has_pairs {
            pairs::add_metric(&mut graph, nodes.answers, batch)?;
        }
        let mut sites = Vec::with_capacity(activations.len());
        for name in activations {
            let (edited, site) = switched(graph, name)?;
            graph = edited;
            sites.push(site);
        }
        let mut outputs = vec![("example_loss", graph.find("example_loss")?)];
        if let Ok(losses) = graph.find(TOKEN_LOSS) {
            outputs.push((TOKEN_LOSS, losses));
        }
        if has_pairs {
            outputs.push((PAIR_METRIC, graph.find(PAIR_METRIC)?));
        }
        for site in &sites {
            outputs.push((&site.activation, graph.find(&site.activation)?));
        }
        let has_answers = graph.find(TOKEN_LOSS).is_ok();
        let program = Program::compile(&graph, &outputs, Gradient::None)?;
        let workspace = Workspace::new(&program);
        let mut editor = Self { program, workspace, batch, sites, has_answers, n_loaded: 0, n_forward: 0 };
        editor.clear();
        Ok(editor)
    }

    /// Examples of one execution.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Examples that went forward so far, each run of an example counted.
    pub fn n_forward(&self) -> u64 {
        self.n_forward
    }

    /// Puts the examples `rows` of `data` before the network, at most [`Self::batch`].
    ///
    /// # Errors
    /// Data of another model.
    pub fn load(&mut self, data: &DataSet, rows: &[usize]) -> Result<(), ObserveError> {
        self.n_loaded = rows.len();
        Ok(data.fill_columns(&self.program, &mut self.workspace, rows)?)
    }

    /// Takes every replacement back.
    pub fn clear(&mut self) {
        for site in &self.sites {
            for input in [&site.mask, &site.value] {
                floats(&self.program, &mut self.workspace, input).fill(0.0);
            }
        }
    }

    /// Replaces a part, at all positions or at some, until [`Self::clear`].
    pub fn replace(&mut self, part: &Component, positions: Option<&[usize]>, with: Replacement<'_>) {
        let Some(site) = self.sites.iter().find(|site| site.activation == part.activation) else {
            unreachable!("an editor has a site for every part it is asked to replace");
        };
        let ranges = part.elements(&site.shape, positions);
        let width: usize = site.shape[1..].iter().product();
        let mask = floats(&self.program, &mut self.workspace, &site.mask);
        for row in mask.chunks_exact_mut(width) {
            for range in &ranges {
                row[range.clone()].fill(1.0);
            }
        }
        let value = floats(&self.program, &mut self.workspace, &site.value);
        for (example, row) in value.chunks_exact_mut(width).enumerate() {
            for range in &ranges {
                let from = match with {
                    Replacement::Zero => None,
                    Replacement::Same(values) => Some(&values[range.clone()]),
                    // Behind the last example there may be none.
                    Replacement::Each(values) => {
                        values.get(example * width..(example + 1) * width).map(|own| &own[range.clone()])
                    }
                };
                match from {
                    Some(from) => row[range.clone()].copy_from_slice(from),
                    None => row[range.clone()].fill(0.0),
                }
            }
        }
    }

    /// Runs the flat `weights` with the replacements on the loaded examples.
    ///
    /// # Errors
    /// Weights of another model.
    pub fn run(&mut self, weights: &[f32]) -> Result<(), ObserveError> {
        self.n_forward += self.n_loaded as u64;
        Ok(self.program.run(&mut self.workspace, weights)?)
    }

    /// An activation of the last run, as those behind it read it: all examples of the batch.
    pub fn activation(&self, name: &str) -> &[f32] {
        self.workspace.output(&self.program, name)
    }

    /// The activations that can be replaced.
    pub fn activations(&self) -> impl Iterator<Item = &String> {
        self.sites.iter().map(|site| &site.activation)
    }

    /// Shape of one of them, the batch first.
    pub fn shape(&self, activation: &str) -> &[usize] {
        self.sites.iter().find(|site| site.activation == activation).map_or(&[], |site| &site.shape)
    }

    /// Loss of each example of the last run.
    pub fn losses(&self) -> &[f32] {
        self.workspace.output(&self.program, "example_loss")
    }

    /// Loss of each answer of the last run, `[batch, answers]`; of each example where it has one answer.
    pub fn answer_losses(&self) -> &[f32] {
        let name = if self.has_answers { TOKEN_LOSS } else { "example_loss" };
        self.workspace.output(&self.program, name)
    }

    /// Of pairs: the logit of the right answer minus that of the wrong one, for each example of the last run.
    pub fn logit_differences(&self) -> &[f32] {
        self.workspace.output(&self.program, PAIR_METRIC)
    }

    /// The error for numbers that are not finite.
    pub fn non_finite(&mut self, weights: &[f32], seen: &str) -> ObserveError {
        match self.program.first_non_finite(&mut self.workspace, weights) {
            Ok(node) => ObserveError::non_finite(node, seen),
            Err(error) => error.into(),
        }
    }
}

/// The graph with a switch at an activation.
fn switched(mut graph: Graph, name: &str) -> Result<(Graph, Site), ObserveError> {
    let activation = graph.find(name)?;
    let shape = graph.shape(activation).to_vec();
    let site = Site {
        activation: name.to_owned(),
        mask: format!("{name}.mask"),
        value: format!("{name}.value"),
        shape: shape.clone(),
    };
    let mask = graph.input(&site.mask, &shape);
    let value = graph.input(&site.value, &shape);
    let change = graph.sub(value, activation);
    let change = graph.mul(mask, change);
    let edited = graph.add(activation, change);
    Ok((graph.replace(name, edited)?, site))
}

fn floats<'a>(program: &Program, workspace: &'a mut Workspace, input: &str) -> &'a mut [f32] {
    workspace.floats_mut(program, input).expect("an input that the editor has declared")
}
