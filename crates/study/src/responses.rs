//! Susceptibilities of a run: the probes of its task, and what a record keeps of the answers.

use ontogeny_graph::DataSet;
use ontogeny_posterior::{
    Chi, ComponentResponse, Detail, Estimate, Execution, Judged, Llc, Objective, Probe, Recording, ResponseError,
    Restriction, Susceptibilities,
};
use ontogeny_store::{Coordinate, Detail as Told, NumberType, Outcome, RecordArray, refused_part};
use ontogeny_zoo::{Model, Task};

use crate::measure::{Reading, insert_number, settings};
use crate::response_config::SusceptibilityConfig;
use crate::toml_source::nearest;

/// Examples of one execution.
pub(crate) const BATCH: usize = 256;

/// Everything needed to measure the susceptibilities of checkpoints.
pub(crate) struct SusceptibilityProbes {
    llc: Llc,
    components: Vec<Restriction>,
    probes: Vec<Probe>,
}

impl SusceptibilityProbes {
    /// Compiles the probes and checks everything that needs no weights; `Err` explains what does not fit.
    pub(crate) fn new(
        config: &SusceptibilityConfig,
        seed: u32,
        model: &Model,
        task: &Task,
        objective: &Objective,
    ) -> Result<Self, String> {
        let llc = config.chains.llc(seed)?;
        let parse = |part: &String| part.parse::<Restriction>().map_err(|error| error.to_string());
        let components = config.components.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
        let probe = |name: &String| {
            let data = probe_data(task, name, config.probe_examples)?;
            let losses = |batch: usize| {
                let (graph, nodes) = model.graph(batch);
                (graph, nodes.example_loss)
            };
            Probe::new(name, data, BATCH, losses).map_err(|error| error.to_string())
        };
        let probes = config.probes.iter().map(probe).collect::<Result<Vec<_>, _>>()?;
        let own = Self { llc, components, probes };
        Susceptibilities::check(&own.llc, &own.components, objective, &own.recording()).map_err(|e| e.to_string())?;
        Ok(own)
    }

    fn recording(&self) -> Recording<'_> {
        Recording { detail: Detail::Set, ..Recording::of(&self.probes) }
    }

    pub(crate) fn measure(
        &self,
        objective: &Objective,
        weights: &[f32],
        execution: &Execution<'_>,
    ) -> Result<Reading, Box<ResponseError>> {
        let recording = self.recording();
        let found = Susceptibilities::measure(&self.llc, &self.components, objective, weights, &recording, execution)?;
        Ok(self.reading(&found))
    }

    fn reading(&self, found: &Susceptibilities) -> Reading {
        let components: Vec<String> = found.components.iter().map(|own| own.component.clone()).collect();
        let probes: Vec<String> = found.probes.iter().map(|own| own.probe.clone()).collect();
        let table = |name: &str, unit: &str, of: fn(&Chi) -> f64| {
            let row = |own: &ComponentResponse| match &own.table {
                Judged::Ok(table) => table.sets.iter().map(of).collect(),
                // Their place is kept; that they are refused is told by the outcome or the details.
                Judged::Refused(_) => vec![f64::NAN; probes.len()],
            };
            array(name, unit, &[("component", &components), ("probe", &probes)], found.components.iter().flat_map(row))
        };
        let column = |name: &str, of: fn(&Estimate) -> Option<f64>| {
            let values = found.components.iter().map(|own| of(&own.estimate).unwrap_or(f64::NAN));
            array(name, "1", &[("component", &components)], values)
        };
        let arrays = vec![
            table("value", "nats", |chi| chi.response),
            table("standard_error", "nats", |chi| chi.response_mcse),
            table("chi", "nats^2", |chi| chi.chi),
            table("chi_standard_error", "nats^2", |chi| chi.chi_mcse),
            table("r_hat", "1", |chi| chi.r_hat),
            column("llc", Estimate::value),
            column("llc_standard_error", |estimate| match estimate {
                Estimate::Ok { mcse, .. } => Some(*mcse),
                Estimate::Refused { .. } => None,
            }),
        ];

        let full = &found.components[0];
        let mut details = settings(full.estimate.diagnostics(), &self.llc);
        let convergences = found.components.iter().filter_map(|own| own.estimate.diagnostics().convergence.as_ref());
        // Of the worst part.
        let (r_hat, ess_bulk) =
            convergences.fold((f64::NAN, f64::NAN), |(r_hat, ess), own| (own.r_hat.max(r_hat), own.ess_bulk.min(ess)));
        insert_number(&mut details, "r_hat", r_hat);
        insert_number(&mut details, "ess_bulk", ess_bulk);
        let mut outcome = Outcome::Done;
        let mut verdict = "ok".to_owned();
        for (at, own) in found.components.iter().enumerate() {
            let Judged::Refused(refusal) = &own.table else { continue };
            if at == 0 {
                verdict = refusal.verdict.to_string();
                let reason = format!("{}; without the whole network no part has a susceptibility", refusal.reason);
                outcome = Outcome::Refused { verdict: verdict.clone(), reason };
                break;
            }
            "refused in part".clone_into(&mut verdict);
            let why = format!("{}: {}, {}", own.component, refusal.verdict, refusal.reason);
            details.insert(refused_part(at), Told::Text(why));
        }
        details.insert("verdict".to_owned(), Told::Text(verdict));
        Reading { outcome, arrays, details }
    }
}

/// The examples of a split, or so many of them, evenly spaced.
fn probe_data(task: &Task, name: &str, n: Option<usize>) -> Result<DataSet, String> {
    let names = || task.splits.iter().map(|split| split.name).filter(|name| *name != "train");
    if name == "train" {
        return Err(format!(
            "`probes` names `train`, the data of the posterior itself, towards which nothing can move; expected of {}",
            names().collect::<Vec<_>>().join(", ")
        ));
    }
    let Some(split) = task.split(name) else {
        let hint = nearest(name, names()).map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
        let known = names().collect::<Vec<_>>().join(", ");
        return Err(format!("`probes` names `{name}`, and the task has no such split; expected of {known}{hint}"));
    };
    let available = split.data.len();
    match n {
        None => Ok(split.data.clone()),
        Some(n) if n > available => {
            Err(format!("`probe_examples` is {n}; expected 1 to {available}, the examples of `{name}`"))
        }
        Some(n) => Ok(split.data.rows(&spaced(n, available))),
    }
}

/// `n` of so many rows, evenly spaced.
pub(crate) fn spaced(n: usize, available: usize) -> Vec<usize> {
    (0..n).map(|i| i * available / n).collect()
}

/// An array along named dimensions.
fn array(name: &str, unit: &str, dims: &[(&str, &[String])], values: impl Iterator<Item = f64>) -> RecordArray {
    let labels = |own: &[String]| own.iter().cloned().map(Coordinate::Text).collect();
    RecordArray {
        name: name.to_owned(),
        unit: unit.to_owned(),
        dims: dims.iter().map(|(dim, _)| (*dim).to_owned()).collect(),
        coordinates: dims.iter().map(|(dim, own)| ((*dim).to_owned(), labels(own))).collect(),
        number: NumberType::Float64,
        values: values.collect(),
    }
}
