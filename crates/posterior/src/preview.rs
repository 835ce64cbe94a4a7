//! What is selected of each module and parameter of a network, as data and as a tree in plain text.

use std::fmt;

use ontogeny_graph::{Param, ParamSpace};

use crate::selection::Selection;
use crate::singular::Projector;

/// A tree of a network's modules with how much of each is free; its `Display` draws it.
#[derive(Debug, Clone, PartialEq)]
pub struct Preview {
    /// Free dimensions of the network.
    pub n_selected: usize,
    /// Weights of the network.
    pub n_weights: usize,
    /// Modules and parameters, each before what it holds.
    pub rows: Vec<PreviewRow>,
}

/// A module or a parameter.
#[derive(Debug, Clone, PartialEq)]
pub struct PreviewRow {
    /// Its whole name, such as `blocks.0.attn`.
    pub name: String,
    /// Number of modules around it.
    pub depth: usize,
    /// Free dimensions in it: coordinates, or singular directions.
    pub n_selected: usize,
    /// Weights in it.
    pub n_weights: usize,
    /// What else is known of a parameter; `None` for a module.
    pub tensor: Option<PreviewTensor>,
}

/// A parameter.
#[derive(Debug, Clone, PartialEq)]
pub struct PreviewTensor {
    /// Its shape, outermost axis first.
    pub shape: Vec<usize>,
    /// Numbers of the singular directions along which it moves; empty where it moves by coordinates or not at all.
    pub directions: Vec<usize>,
    /// Share of free coordinates, 0 to 1, among those that each of 16 equal pieces of the tensor touches, in row-major
    /// order.
    pub shares: Vec<f64>,
}

/// Pieces of a bar.
const PIECES: usize = 16;
/// Modules inside each other that are told apart: names in files may hold any number of dots.
const MAX_DEPTH: usize = 8;

impl Preview {
    pub(crate) fn new(selection: &Selection, space: &ParamSpace) -> Self {
        let mut rows: Vec<PreviewRow> = Vec::new();
        // Rows of the modules that hold the parameter before.
        let mut open: Vec<usize> = Vec::new();
        for param in space.iter() {
            let segments: Vec<&str> = param.name.splitn(MAX_DEPTH, '.').collect();
            let modules = &segments[..segments.len() - 1];
            let module = |depth: usize| modules[..=depth].join(".");
            let n_shared =
                (0..modules.len().min(open.len())).take_while(|&at| rows[open[at]].name == module(at)).count();
            open.truncate(n_shared);
            for depth in n_shared..modules.len() {
                open.push(rows.len());
                rows.push(PreviewRow { name: module(depth), depth, n_selected: 0, n_weights: 0, tensor: None });
            }
            let row = row(selection, param, modules.len());
            for &at in &open {
                rows[at].n_selected += row.n_selected;
                rows[at].n_weights += row.n_weights;
            }
            rows.push(row);
        }
        Self { n_selected: selection.n_free(), n_weights: space.len(), rows }
    }
}

fn row(selection: &Selection, param: &Param, depth: usize) -> PreviewRow {
    let n_weights = param.range.len();
    let projector = selection.projectors().iter().find(|projector| *projector.range() == param.range);
    let shares = (0..PIECES).map(|piece| {
        let (start, end) = (piece * n_weights / PIECES, ((piece + 1) * n_weights).div_ceil(PIECES));
        let free = selection.count_in(&(param.range.start + start..param.range.start + end));
        free as f64 / (end - start).max(1) as f64
    });
    PreviewRow {
        name: param.name.clone(),
        depth,
        n_selected: projector.map_or_else(|| selection.count_in(&param.range), Projector::n_directions),
        n_weights,
        tensor: Some(PreviewTensor {
            shape: param.shape.clone(),
            directions: projector.map_or_else(Vec::new, |projector| projector.numbers().to_vec()),
            shares: shares.collect(),
        }),
    }
}

impl PreviewRow {
    fn label(&self) -> String {
        // Below the last module that is told apart, a name keeps its dots.
        let own = self.name.splitn(self.depth + 1, '.').last().unwrap_or_default();
        let shape = self.tensor.as_ref().map_or_else(String::new, |tensor| format!(" {:?}", tensor.shape));
        format!("{}{own}{shape}", "  ".repeat(self.depth))
    }
}

impl PreviewTensor {
    /// One character for each piece, by its share; `~` where singular directions cross all of it.
    fn bar(&self) -> String {
        let shade = |&share: &f64| match share {
            _ if !self.directions.is_empty() => '~',
            0.0 => '·',
            share if share < 1.0 / 3.0 => '░',
            share if share < 2.0 / 3.0 => '▒',
            share if share < 1.0 => '▓',
            _ => '█',
        };
        self.shares.iter().map(shade).collect()
    }
}

/// A line for the network, then one for each module and parameter: selected, of how many, and for parameters a bar
/// whose characters are equal pieces in row-major order, from `·` (nothing) over `░▒▓` to `█` (all).
impl fmt::Display for Preview {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let labels: Vec<String> = self.rows.iter().map(PreviewRow::label).collect();
        let width = labels.iter().map(|label| label.chars().count()).max().unwrap_or(0).max("all".len());
        let digits = self.n_weights.to_string().len();
        let share = 100.0 * self.n_selected as f64 / self.n_weights.max(1) as f64;
        write!(f, "{:<width$}  {:>digits$} of {:>digits$}  {share:.2} %", "all", self.n_selected, self.n_weights)?;
        for (label, row) in labels.iter().zip(&self.rows) {
            write!(f, "\n{label:<width$}  {:>digits$} of {:>digits$}", row.n_selected, row.n_weights)?;
            if let Some(tensor) = &row.tensor {
                write!(f, "  {}", tensor.bar())?;
                if !tensor.directions.is_empty() {
                    write!(f, "  singular directions {}", spans(&tensor.directions))?;
                }
            }
        }
        Ok(())
    }
}

/// Ascending numbers as `0-3, 7`.
fn spans(numbers: &[usize]) -> String {
    let runs = numbers.chunk_by(|a, b| a + 1 == *b);
    let run = |run: &[usize]| match run {
        [one] => one.to_string(),
        run => format!("{}-{}", run[0], run[run.len() - 1]),
    };
    runs.map(run).collect::<Vec<_>>().join(", ")
}
