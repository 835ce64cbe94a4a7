//! Relative variance of a run: which examples and whose answers are the truth, and what a record keeps of the ratios.

use ontogeny_graph::{Column, ColumnData, DataSet, Graph, Node};
use ontogeny_observe::{ObserveError, OutputReader, Outputs};
use ontogeny_posterior::{
    Execution, Llc, LlcError, Moments, Objective, ObjectiveError, Quantity, RelativeVariance, VarianceScale,
};
use ontogeny_store::{Coordinate, Detail as Told, NumberType, Outcome, RecordArray};
use ontogeny_zoo::{Interface, Model, Read, Task, VectorLoss};

use crate::measure::{Reading, insert_number, settings};
use crate::response_config::{RelativeVarianceConfig, Truth};
use crate::responses::spaced;

/// Logits of the checkpoint, as a column of the data.
const TEACHER: &str = "teacher_logits";

/// Everything needed to measure the relative variance of checkpoints.
pub(crate) struct RelativeVarianceProbe {
    llc: Llc,
    n_betas: Vec<f64>,
    component: String,
    model: Model,
    data: DataSet,
    /// The loss of the examples as they are.
    losses: Objective,
    /// Where the checkpoint is the truth: what reads its logits.
    reader: Option<OutputReader>,
}

/// Logits of a checkpoint, example by example, where it is the truth.
pub(crate) struct Teacher(Option<Vec<f32>>);

impl RelativeVarianceProbe {
    /// Chooses the examples and checks everything that needs no weights; `Err` explains what does not fit.
    pub(crate) fn new(config: &RelativeVarianceConfig, seed: u32, model: &Model, task: &Task) -> Result<Self, String> {
        let llc = config.chains.llc(seed)?;
        let split = task.split("train").ok_or_else(|| {
            "the task has no split `train`; `relative_variance` needs a task with training examples".to_owned()
        })?;
        let available = split.data.len();
        let data = match config.examples {
            None => split.data.clone(),
            Some(n) if n > available => {
                return Err(format!("`examples` is {n}; expected 2 to {available}, the examples of `train`"));
            }
            Some(n) => split.data.rows(&spaced(n, available)),
        };
        let own = model.clone();
        let build = move |batch| {
            let (graph, nodes) = own.graph(batch);
            (graph, nodes.example_loss)
        };
        let losses = Objective::new(data.clone(), build).map_err(|error| error.to_string())?;
        llc.check_relative_variance(&losses, None, &config.n_betas).map_err(|error| error.to_string())?;
        let reader = match config.truth {
            Truth::Data => None,
            Truth::Model => {
                check_classes(model)?;
                let reader = OutputReader::new(model, data.clone(), Outputs::Logits);
                Some(reader.map_err(|error| error.to_string())?)
            }
        };
        let (n_betas, component) = (config.n_betas.clone(), config.chains.component());
        Ok(Self { llc, n_betas, component, model: model.clone(), data, losses, reader })
    }

    /// What the checkpoint says of each example, where that is the truth.
    pub(crate) fn teacher(&mut self, weights: &[f32]) -> Result<Teacher, ObserveError> {
        self.reader.as_mut().map(|reader| reader.read(weights)).transpose().map(Teacher)
    }

    pub(crate) fn measure(
        &self,
        teacher: Teacher,
        weights: &[f32],
        execution: &Execution<'_>,
    ) -> Result<Reading, LlcError> {
        let Teacher(logits) = teacher;
        let found = match logits {
            None => self.llc.relative_variance(&self.losses, None, weights, &self.n_betas, execution)?,
            Some(logits) => {
                let (mean, second) = divergences(&self.model, &self.data, logits)?;
                self.llc.relative_variance(&mean, Some(&second), weights, &self.n_betas, execution)?
            }
        };
        Ok(self.reading(&found))
    }

    fn reading(&self, found: &RelativeVariance) -> Reading {
        let moments = |scale: &VarianceScale| scale.moments.value().copied();
        let column = |get: fn(&Moments) -> Quantity| -> Vec<Option<Quantity>> {
            found.scales.iter().map(|scale| moments(scale).as_ref().map(get)).collect()
        };
        let (means, seconds, ratios) = (column(|m| m.mean), column(|m| m.second), column(|m| m.ratio));
        let values: Vec<Option<Quantity>> = std::iter::once(found.exponent).chain(ratios).collect();
        let names = labels(self.n_betas.len());
        let temperatures: Vec<String> = self.n_betas.iter().map(ToString::to_string).collect();
        let mut arrays = Vec::new();
        for (value, error, dim, labels, own) in [
            ("value", "standard_error", "quantity", &names, &values),
            ("mean", "mean_standard_error", "n_beta", &temperatures, &means),
            ("second_moment", "second_moment_standard_error", "n_beta", &temperatures, &seconds),
        ] {
            // The places of what is refused are kept.
            let of = |get: fn(&Quantity) -> f64| own.iter().map(|q| q.as_ref().map_or(f64::NAN, get)).collect();
            arrays.push(array(value, dim, labels, of(|q| q.value)));
            arrays.push(array(error, dim, labels, of(|q| q.mcse)));
        }

        let first = found.scales[0].estimate.diagnostics();
        let mut details = settings(first, &self.llc);
        details.insert("restrict".to_owned(), Told::Text(self.component.clone()));
        insert_number(&mut details, "n_examples", self.data.len() as f64);
        let convergences = found.scales.iter().filter_map(|scale| scale.estimate.diagnostics().convergence.as_ref());
        // Of the worst scale.
        let (r_hat, ess_bulk) =
            convergences.fold((f64::NAN, f64::NAN), |(r_hat, ess), own| (own.r_hat.max(r_hat), own.ess_bulk.min(ess)));
        insert_number(&mut details, "r_hat", r_hat);
        insert_number(&mut details, "ess_bulk", ess_bulk);
        for (number, (scale, (mean, second))) in (1..).zip(found.scales.iter().zip(means.iter().zip(&seconds))) {
            let value = |of: &Option<Quantity>| of.map_or(f64::NAN, |q| q.value);
            insert_number(&mut details, &format!("n_beta_{number}"), scale.n_beta);
            insert_number(&mut details, &format!("mean_{number}"), value(mean));
            insert_number(&mut details, &format!("second_moment_{number}"), value(second));
            insert_number(&mut details, &format!("llc_{number}"), scale.estimate.value().unwrap_or(f64::NAN));
        }
        let refused = found.scales.iter().find_map(|scale| match &scale.moments {
            ontogeny_posterior::Judged::Ok(_) => None,
            ontogeny_posterior::Judged::Refused(refusal) => Some((scale.n_beta, refusal)),
        });
        let (verdict, outcome) = match refused {
            None => ("ok".to_owned(), Outcome::Done),
            Some((n_beta, refusal)) => {
                let verdict = refusal.verdict.to_string();
                let reason = format!("at nβ = {n_beta}: {}", refusal.reason);
                (verdict.clone(), Outcome::Refused { verdict, reason })
            }
        };
        details.insert("verdict".to_owned(), Told::Text(verdict));
        Reading { outcome, arrays, details }
    }
}

/// Names of the values over so many temperatures.
pub(crate) fn labels(n_scales: usize) -> Vec<String> {
    std::iter::once("exponent".to_owned()).chain((1..=n_scales).map(|number| format!("ratio_{number}"))).collect()
}

/// Only where an example has one answer of some classes can all answers be weighed by their probability.
fn check_classes(model: &Model) -> Result<(), String> {
    let found = match model.interface() {
        Interface::Tokens { read: Read::LastPosition { .. }, .. }
        | Interface::LabelledItems { .. }
        | Interface::Vectors { loss: VectorLoss::CrossEntropy, .. } => return Ok(()),
        Interface::Tokens { .. } => "every example has several answers",
        Interface::Vectors { .. } | Interface::Pairs { .. } => "the loss is a squared one",
    };
    Err(format!(
        "`truth` is \"model\", which needs one class as the answer of each example, and here {found}; leave it out to measure on the \
         data"
    ))
}

/// Mean and second moment of f = ln p(y|x, w*) − ln p(y|x, w) for each example x, its answers y weighed by p(y|x, w*), with the
/// `logits` of w*: the mean is the divergence of the network from w*.
fn divergences(model: &Model, data: &DataSet, logits: Vec<f32>) -> Result<(Objective, Objective), ObjectiveError> {
    let width = logits.len() / data.len();
    let teacher = Column { name: TEACHER.to_owned(), width, data: ColumnData::Float(logits) };
    let mut columns = data.columns().to_vec();
    columns.push(teacher);
    let data = DataSet::new(data.len(), columns).expect("logits of every example");
    let objective = |data: DataSet, power: u32| {
        let model = model.clone();
        Objective::new(data, move |batch| moment(&model, batch, power))
    };
    Ok((objective(data.clone(), 1)?, objective(data, 2)?))
}

/// Σ_y p(y|x, w*)·f^power for each example, power 1 or 2.
fn moment(model: &Model, batch: usize, power: u32) -> (Graph, Node) {
    let (mut g, nodes) = model.graph(batch);
    let shape = g.shape(nodes.answers).to_vec();
    let teacher = g.input(TEACHER, &shape);
    let probability = g.softmax(teacher);
    let [truth, own] = [teacher, nodes.answers].map(|logits| g.log_softmax(logits));
    let ratio = g.sub(truth, own);
    let ratio = if power == 2 { g.square(ratio) } else { ratio };
    let weighted = g.mul(probability, ratio);
    let axes: Vec<usize> = (1..shape.len()).collect();
    let sum = g.sum(weighted, &axes);
    (g, sum)
}

fn array(name: &str, dim: &str, labels: &[String], values: Vec<f64>) -> RecordArray {
    RecordArray {
        name: name.to_owned(),
        unit: "1".to_owned(),
        dims: vec![dim.to_owned()],
        coordinates: [(dim.to_owned(), labels.iter().cloned().map(Coordinate::Text).collect())].into(),
        number: NumberType::Float64,
        values,
    }
}

#[cfg(test)]
mod tests {
    use ontogeny_posterior::Batch;
    use serde_json::{from_value, json};

    use super::*;

    /// A linear classifier of three classes, p(y|x, w) ∝ exp(w_y·x), at other weights than those of the truth: by hand.
    #[test]
    fn moments_are_those_of_the_answers_that_the_truth_draws() {
        let (x, truth, own) = ([0.5_f64, -2.0], [0.3_f64, -0.4, 0.2], [0.1_f64, 0.5, -0.7]);
        let interface = Interface::Vectors { inputs: 1, outputs: 3, loss: VectorLoss::CrossEntropy, image: None };
        let network = json!({"kind": "mlp", "sizes": [1, 3], "activation": "identity", "biases": false});
        let model = Model::new(from_value(network).unwrap(), interface).unwrap();
        let columns = vec![
            Column { name: "x".to_owned(), width: 1, data: ColumnData::Float(x.map(|x| x as f32).to_vec()) },
            Column { name: "y".to_owned(), width: 1, data: ColumnData::Ids(vec![0, 2]) },
        ];
        let data = DataSet::new(2, columns).unwrap();
        let weights = |w: [f64; 3]| w.map(|w| w as f32);
        let mut reader = OutputReader::new(&model, data.clone(), Outputs::Logits).unwrap();
        let logits = reader.read(&weights(truth)).unwrap();
        let (mean, second) = divergences(&model, &data, logits).unwrap();
        let log_softmax = |w: [f64; 3], x: f64| {
            let total = w.map(|w| (w * x).exp()).iter().sum::<f64>().ln();
            w.map(|w| w * x - total)
        };
        for (objective, power) in [(&mean, 1), (&second, 2)] {
            let found = objective.full_loss(&weights(own), Batch::Full).unwrap().examples;
            for (&x, found) in x.iter().zip(found) {
                let (p, q) = (log_softmax(truth, x), log_softmax(own, x));
                let expected: f64 = p.iter().zip(q).map(|(p, q)| p.exp() * (p - q).powi(power)).sum();
                assert!((found - expected).abs() < 1e-6, "{found}, {expected}");
            }
            // Nothing is left at the truth itself.
            assert!(objective.full_loss(&weights(truth), Batch::Full).unwrap().mean.abs() < 1e-7);
        }
    }

    #[test]
    fn networks_without_classes_are_told_what_is_needed() {
        let interface = Interface::Vectors { inputs: 1, outputs: 3, loss: VectorLoss::MeanSquared, image: None };
        let network = json!({"kind": "mlp", "sizes": [1, 3], "activation": "identity", "biases": false});
        let error = check_classes(&Model::new(from_value(network).unwrap(), interface).unwrap()).unwrap_err();
        assert!(error.starts_with("`truth` is \"model\"") && error.contains("the loss is a squared one"), "{error}");
    }
}
