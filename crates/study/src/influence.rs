//! Bayesian influence in a run: training examples against queries, what a record keeps of it, and the words for a pair.

use ontogeny_graph::{ColumnData, DataSet};
use ontogeny_posterior::{
    Detail, Execution, Influence, Judged, Llc, LossDraws, Objective, Pair, Probe, Recording, ResponseError, TopPair,
};
use ontogeny_store::{Coordinate, Detail as Told, NumberType, Outcome, RecordArray, index_labels, pair_detail};
use ontogeny_zoo::{Model, Split, Task};

use crate::measure::{Reading, insert_number, settings};
use crate::response_config::InfluenceConfig;
use crate::responses::{BATCH, spaced};
use crate::toml_source::nearest;

/// Training examples and queries unless the file says how many.
const EXAMPLES: usize = 100;
const QUERIES: usize = 20;

/// Most pairs of a training example and a query in one record.
const MAX_PAIRS: usize = 1_000_000;

/// Everything needed to measure the influence of training examples on queries.
pub(crate) struct InfluenceProbes {
    llc: Llc,
    component: String,
    /// `train`, and the queries unless they are the same examples.
    probes: Vec<Probe>,
    /// Where the examples of each probe stand among all examples of the task.
    places: Vec<Vec<usize>>,
    n_top: usize,
}

impl InfluenceProbes {
    /// Compiles the probes and checks everything that needs no weights; `Err` explains what does not fit.
    pub(crate) fn new(
        config: &InfluenceConfig,
        seed: u32,
        model: &Model,
        task: &Task,
        objective: &Objective,
    ) -> Result<Self, String> {
        let llc = config.chains.llc(seed)?;
        let train = task.split("train").ok_or_else(|| "the task has no split `train`".to_owned())?;
        let mut chosen = vec![(train, rows(train, "examples", config.examples, EXAMPLES)?)];
        if config.queries != "train" {
            let queries = query_split(task, train, &config.queries)?;
            chosen.push((queries, rows(queries, "query_examples", config.query_examples, QUERIES)?));
        }
        let probe = |(split, rows): &(&Split, Vec<usize>)| {
            let losses = |batch: usize| {
                let (graph, nodes) = model.graph(batch);
                (graph, nodes.example_loss)
            };
            Probe::new(split.name, split.data.rows(rows), BATCH, losses).map_err(|error| error.to_string())
        };
        let probes = chosen.iter().map(probe).collect::<Result<Vec<_>, _>>()?;
        let places = chosen.iter().map(|(split, rows)| rows.iter().map(|&row| split.indices[row]).collect()).collect();
        let n_top = config.pairs;
        let own = Self { llc, component: config.chains.component(), probes, places, n_top };
        let n_kept = own.examples().len() * own.queries().len();
        if n_kept > MAX_PAIRS {
            return Err(format!(
                "`examples` times queries is {n_kept} pairs; expected at most {MAX_PAIRS}: all of them are kept, so lower \
                 `examples` or `query_examples`"
            ));
        }
        if own.n_pairs() == 0 {
            return Err(
                "`examples` is 1, and `queries` names `train`: one example is no pair; expected at least 2".to_owned()
            );
        }
        Influence::check(&own.llc, objective, &own.recording()).map_err(|error| error.to_string())?;
        Ok(own)
    }

    /// The loss of each example.
    fn recording(&self) -> Recording<'_> {
        Recording { detail: Detail::Example, ..Recording::of(&self.probes) }
    }

    fn examples(&self) -> &DataSet {
        self.probes[0].data()
    }

    fn queries(&self) -> &DataSet {
        self.probes[self.probes.len() - 1].data()
    }

    /// Pairs of two examples, each once.
    fn n_pairs(&self) -> usize {
        let n = self.examples().len();
        if self.probes.len() > 1 { n * self.queries().len() } else { n * (n - 1) / 2 }
    }

    pub(crate) fn measure(
        &self,
        objective: &Objective,
        weights: &[f32],
        execution: &Execution<'_>,
    ) -> Result<Reading, Box<ResponseError>> {
        let draws = self.llc.loss_draws(objective, weights, &self.recording(), execution)?;
        let diagnostics = draws.estimate().diagnostics();
        let mut details = settings(diagnostics, &self.llc);
        details.insert("restrict".to_owned(), Told::Text(self.component.clone()));
        insert_number(&mut details, "n_pairs", self.n_pairs() as f64);
        if let Some(convergence) = &diagnostics.convergence {
            insert_number(&mut details, "r_hat", convergence.r_hat);
            insert_number(&mut details, "ess_bulk", convergence.ess_bulk);
        }
        let influence = match Influence::of(&draws)? {
            Judged::Ok(influence) => influence,
            Judged::Refused(refusal) => {
                let verdict = refusal.verdict.to_string();
                details.insert("verdict".to_owned(), Told::Text(verdict.clone()));
                let outcome = Outcome::Refused { verdict, reason: refusal.reason };
                // The pairs keep their places; their values count for nobody.
                let n = self.n_top.min(self.n_pairs());
                let nothing = || vec![f64::NAN; n];
                return Ok(Reading {
                    outcome,
                    arrays: vec![of_pairs("value", nothing()), of_pairs("standard_error", nothing())],
                    details,
                });
            }
        };
        details.insert("verdict".to_owned(), Told::Text("ok".to_owned()));

        let (rows, columns) = self.ranges(&draws);
        let top = influence.top_pairs(rows.clone(), columns.clone(), self.n_top, execution.threads);
        let mut arrays = vec![
            of_pairs("value", top.iter().map(|top| top.pair.value).collect()),
            of_pairs("standard_error", top.iter().map(|top| top.pair.mcse).collect()),
        ];
        for (number, top) in (1..).zip(&top) {
            let mut told = |what: &str, told: Told| details.insert(pair_detail(number, what), told);
            let [example, query] = self.positions(top, &rows);
            told("example", Told::Text(self.words(0, example)));
            told("query", Told::Text(self.words(self.probes.len() - 1, query)));
            told("correlation", Told::Number(top.pair.correlation));
            told("r_hat", Told::Number(Some(top.r_hat).filter(|r_hat| r_hat.is_finite())));
        }
        let all = influence.block(rows, columns, execution.threads)?;
        arrays.extend(self.matrices(&all));
        arrays.extend(self.who_is_who());
        Ok(Reading { outcome: Outcome::Done, arrays, details })
    }

    /// Items of the examples and of the queries.
    fn ranges(&self, draws: &LossDraws) -> (std::ops::Range<usize>, std::ops::Range<usize>) {
        let of = |probe: usize| draws.probes()[probe].range();
        (of(0), of(self.probes.len() - 1))
    }

    /// Which example and which query a pair is of; among training examples alone, the smaller number first.
    fn positions(&self, top: &TopPair, examples: &std::ops::Range<usize>) -> [usize; 2] {
        let [first, second] = top.items;
        [first, if self.probes.len() > 1 { second - examples.end } else { second }]
    }

    fn matrices(&self, all: &[Pair]) -> Vec<RecordArray> {
        let dims = [("example", self.examples().len()), ("query", self.queries().len())];
        let of = |name: &str, unit: &str, of: fn(&Pair) -> f64| {
            // Digits beyond those of 32-bit losses mean nothing.
            array(name, unit, &dims, NumberType::Float32, all.iter().map(|pair| f64::from(of(pair) as f32)).collect())
        };
        vec![
            of("influence", "nats^2", |pair| pair.value),
            of("influence_standard_error", "nats^2", |pair| pair.mcse),
            of("correlation", "1", |pair| pair.correlation.unwrap_or(f64::NAN)),
        ]
    }

    /// The examples and queries themselves: where they stand among all examples of the task, and their ids.
    fn who_is_who(&self) -> Vec<RecordArray> {
        let mut arrays = Vec::new();
        for (dim, at) in [("example", 0), ("query", self.probes.len() - 1)] {
            let (data, places) = (self.probes[at].data(), &self.places[at]);
            let whole = |ids: Vec<f64>, name: &str, dims: &[(&str, usize)]| {
                array(&format!("{dim}_{name}"), "1", dims, NumberType::Index32, ids)
            };
            arrays.push(whole(places.iter().map(|&i| i as f64).collect(), "index", &[(dim, data.len())]));
            for column in data.columns() {
                let ColumnData::Ids(ids) = &column.data else { continue };
                let mut dims = vec![(dim, data.len())];
                if column.width > 1 {
                    dims.push(("position", column.width));
                }
                arrays.push(whole(ids.iter().map(|&id| f64::from(id)).collect(), &column.name, &dims));
            }
        }
        arrays
    }

    /// An example as it is read: its place among all examples of the task, and its ids.
    fn words(&self, probe: usize, row: usize) -> String {
        let of = |column: &ontogeny_graph::Column| match &column.data {
            ColumnData::Ids(ids) => {
                let own = &ids[row * column.width..(row + 1) * column.width];
                Some(format!("{} {}", column.name, own.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")))
            }
            ColumnData::Float(_) => None,
        };
        let ids: Vec<String> = self.probes[probe].data().columns().iter().filter_map(of).collect();
        let head = format!("{} {}", self.probes[probe].name(), self.places[probe][row]);
        if ids.is_empty() { head } else { format!("{head}: {}", ids.join(", ")) }
    }
}

/// The split of the queries, none of whose examples may be trained on.
fn query_split<'a>(task: &'a Task, train: &Split, name: &str) -> Result<&'a Split, String> {
    // Both lists ascend.
    let is_apart = |split: &&Split| split.indices.iter().all(|index| train.indices.binary_search(index).is_err());
    let known = || task.splits.iter().filter(|split| split.name == "train" || is_apart(split)).map(|split| split.name);
    let expected = || known().collect::<Vec<_>>().join(", ");
    let Some(split) = task.split(name) else {
        let hint = nearest(name, known()).map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
        return Err(format!(
            "`queries` names `{name}`, and the task has no such split; expected of {}{hint}",
            expected()
        ));
    };
    if !is_apart(&split) {
        return Err(format!(
            "`queries` names `{name}`, which holds training examples: those would be found against themselves; expected of {}",
            expected()
        ));
    }
    Ok(split)
}

/// So many rows of a split, evenly spaced.
fn rows(split: &Split, key: &str, n: Option<usize>, default: usize) -> Result<Vec<usize>, String> {
    let available = split.data.len();
    let n = n.unwrap_or(default.min(available));
    if n > available {
        return Err(format!("`{key}` is {n}; expected 1 to {available}, the examples of `{}`", split.name));
    }
    Ok(spaced(n, available))
}

fn of_pairs(name: &str, values: Vec<f64>) -> RecordArray {
    let labels: Vec<Coordinate> = (1..=values.len() as u64).map(Coordinate::Number).collect();
    RecordArray {
        name: name.to_owned(),
        unit: "nats^2".to_owned(),
        dims: vec!["pair".to_owned()],
        coordinates: [("pair".to_owned(), labels)].into(),
        number: NumberType::Float64,
        values,
    }
}

fn array(name: &str, unit: &str, dims: &[(&str, usize)], number: NumberType, values: Vec<f64>) -> RecordArray {
    RecordArray {
        name: name.to_owned(),
        unit: unit.to_owned(),
        dims: dims.iter().map(|(dim, _)| (*dim).to_owned()).collect(),
        coordinates: dims.iter().map(|&(dim, n)| (dim.to_owned(), index_labels(n))).collect(),
        number,
        values,
    }
}
