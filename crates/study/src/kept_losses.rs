//! Losses of single examples at the draws of a learning coefficient: what is asked for, and the arrays of a record.

use std::collections::BTreeMap;

use ontogeny_graph::{ColumnData, DataSet};
use ontogeny_posterior::{Detail, LossDraws, Probe, Recording};
use ontogeny_store::{Coordinate, NumberType, RecordArray, index_labels};
use ontogeny_zoo::{Model, TOKEN_LOSS};

use crate::llc_config::{KeptLosses, LlcConfig, MAX_KEPT};

/// Examples whose losses are kept unless the file says how many.
const EXAMPLES: usize = 100;
/// Examples of one execution.
const BATCH: usize = 256;

/// What is recorded beside a learning coefficient.
pub(crate) struct KeptProbe {
    probe: Probe,
    detail: Detail,
}

impl KeptProbe {
    /// The first examples of the training data, if the file asks for their losses; `Err` explains what does not fit.
    pub(crate) fn new(config: &LlcConfig, model: &Model, data: Option<&DataSet>) -> Result<Option<Self>, String> {
        let detail = match (config.keep_losses, config.keep_examples) {
            (None | Some(KeptLosses::None), None) => return Ok(None),
            (None | Some(KeptLosses::None), Some(_)) => {
                return Err(
                    "`keep_examples` says of how many; say what by `keep_losses = \"example\"` or \"token\"".to_owned()
                );
            }
            (Some(KeptLosses::Example), _) => Detail::Example,
            (Some(KeptLosses::Token), _) => Detail::Token,
        };
        let Some(data) = data else {
            return Err("`keep_losses` keeps the losses of examples, and an agent has none".to_owned());
        };
        let n = config.keep_examples.unwrap_or(EXAMPLES.min(data.len()));
        if n == 0 || n > data.len() {
            return Err(format!("`keep_examples` is {n}; expected 1 to {}, the training examples", data.len()));
        }
        let rows: Vec<usize> = (0..n).collect();
        let losses = |batch: usize| {
            let (graph, nodes) = model.graph(batch);
            let tokens = graph.find(TOKEN_LOSS).ok().filter(|_| detail == Detail::Token);
            (graph, tokens.unwrap_or(nodes.example_loss))
        };
        let probe = Probe::new("train", data.rows(&rows), BATCH, losses).map_err(|e| e.to_string())?;
        if detail == Detail::Token && probe.n_tokens().is_none() {
            return Err(
                "`keep_losses` is \"token\", but this task has one loss for each example; use \"example\"".to_owned()
            );
        }
        let n_items = if detail == Detail::Token { n * probe.n_tokens().unwrap_or(1) } else { n };
        let kept = config.chains.saturating_mul(config.draws).saturating_mul(n_items);
        if kept > MAX_KEPT {
            return Err(format!(
                "`keep_losses` would keep {kept} losses of each checkpoint; expected at most {MAX_KEPT}: lower `keep_examples` or `draws`"
            ));
        }
        Ok(Some(Self { probe, detail }))
    }

    pub(crate) fn recording(&self) -> Recording<'_> {
        Recording { detail: self.detail, ..Recording::of(std::slice::from_ref(&self.probe)) }
    }

    /// `start_loss`, `loss_change` (loss at the draw minus `start_loss`) and the examples' ids, once.
    pub(crate) fn arrays(&self, draws: &LossDraws) -> Vec<RecordArray> {
        let (n_examples, n_tokens) = (self.probe.data().len(), self.probe.n_tokens().unwrap_or(1));
        let mut item = vec![("example", n_examples)];
        if self.detail == Detail::Token {
            item.push(("token", n_tokens));
        }
        let whole: Vec<(&str, usize)> =
            [("chain", draws.n_chains()), ("draw", draws.n_draws())].into_iter().chain(item.clone()).collect();
        let n_values = draws.n_draws() * draws.n_items();
        let change = (0..draws.n_chains()).flat_map(|chain| {
            let own = draws.chain(chain);
            // A chain that diverged ends early.
            own.iter().map(|&loss| f64::from(loss)).chain(std::iter::repeat_n(f64::NAN, n_values - own.len()))
        });
        let start = draws.start().iter().map(|&loss| f64::from(loss)).collect();
        let mut arrays = vec![
            array("loss_change", "nats", &whole, NumberType::Float32, change.collect()),
            array("start_loss", "nats", &item, NumberType::Float32, start),
        ];
        for column in self.probe.data().columns() {
            if let ColumnData::Ids(ids) = &column.data {
                let mut dims = vec![("example", n_examples)];
                if column.width > 1 {
                    dims.push(("position", column.width));
                }
                let ids = ids.iter().map(|&id| f64::from(id)).collect();
                arrays.push(array(&column.name, "1", &dims, NumberType::Index32, ids));
            }
        }
        arrays
    }
}

fn array(name: &str, unit: &str, dims: &[(&str, usize)], number: NumberType, values: Vec<f64>) -> RecordArray {
    let labels = dims.iter().map(|&(dim, n)| (dim.to_owned(), index_labels(n)));
    let coordinates: BTreeMap<String, Vec<Coordinate>> = labels.collect();
    RecordArray {
        name: name.to_owned(),
        unit: unit.to_owned(),
        dims: dims.iter().map(|(dim, _)| (*dim).to_owned()).collect(),
        coordinates,
        number,
        values,
    }
}
