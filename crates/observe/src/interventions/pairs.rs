//! Pairs of examples that differ in their answer: the clean one, the corrupted one, and the difference of two logits.

use ontogeny_graph::{Column, ColumnData, DataSet, Graph, Node, Purpose, Stream};
use ontogeny_zoo::{Interface, Model, Read, VectorLoss};

use crate::ObserveError;

/// Name of the difference of logits, `[batch]`.
pub(super) const PAIR_METRIC: &str = "logit_difference";

const TARGET: &str = "pair.target";
const FOIL: &str = "pair.foil";
const WEIGHT: &str = "pair.weight";

/// Clean examples, their corrupted partners, and for each answer the right class and the wrong one.
///
/// The metric is m = Σ w·(logit of the right class − logit of the wrong one) over the answers of an example, with weights that
/// sum up to 1: the logit difference of Wang et al. (2023). Both data sets carry the classes and weights of the clean example, so
/// that m means the same before and after.
#[derive(Debug, Clone, PartialEq)]
pub struct Pairs {
    /// The examples that are answered as wanted.
    pub clean: DataSet,
    /// The same number of examples, whose right answer is the wrong one.
    pub corrupted: DataSet,
}

impl Pairs {
    /// Each of `rows` with another of them, drawn among those of another answer. Answers that both share do not count.
    ///
    /// # Errors
    /// A network whose answers have no classes, or examples that all have the same answer.
    pub fn of_examples(model: &Model, data: &DataSet, rows: &[usize], seed: u32) -> Result<Self, ObserveError> {
        Self::of_answers(model, data, rows, seed, &|_, _| true)
    }

    /// As [`Pairs::of_examples`], of the answers that count alone: `counts` is told the example and the number of the answer in it.
    /// Examples without such an answer are left out.
    ///
    /// # Errors
    /// As for [`Pairs::of_examples`]; or none is left.
    pub fn of_answers(
        model: &Model,
        data: &DataSet,
        rows: &[usize],
        seed: u32,
        counts: &dyn Fn(usize, usize) -> bool,
    ) -> Result<Self, ObserveError> {
        let n_answers = model.interface().answers();
        let rows: Vec<usize> =
            rows.iter().copied().filter(|&row| (0..n_answers).any(|answer| counts(row, answer))).collect();
        if rows.len() < 2 {
            return Err(ObserveError::Setting(format!(
                "{} examples with an answer that counts; expected at least 2, to compare one with another",
                rows.len()
            )));
        }
        let answers = answers(model, data)?;
        let of = |row: usize| &answers[row * n_answers..(row + 1) * n_answers];
        // What the task gives no weight, such as padding, is no answer, right or wrong.
        let weights = crate::evaluate::floats(data, "weights");
        let has_weight = |row: usize, answer: usize| weights.is_none_or(|own| own[row * n_answers + answer] > 0.0);
        let is_compared = |a: usize, b: usize, answer: usize| {
            of(a)[answer] != of(b)[answer] && counts(a, answer) && has_weight(a, answer) && has_weight(b, answer)
        };
        let differs = |a: usize, b: usize| (0..n_answers).any(|answer| is_compared(a, b, answer));
        let n = rows.len();
        let mut partners = Vec::with_capacity(n);
        for (i, &row) in rows.iter().enumerate() {
            // From a random place on, the first with another answer.
            let start = Stream::new(seed, Purpose::Probe, i as u64).below(n, 0, 0);
            let other = (0..n).map(|k| rows[(start + k) % n]).find(|&other| differs(row, other));
            partners.push(other.ok_or_else(|| {
                ObserveError::Setting(
                    "all examples have the same answer; expected some that differ: take more, or another split"
                        .to_owned(),
                )
            })?);
        }
        let target: Vec<i32> = rows.iter().flat_map(|&row| of(row).to_vec()).collect();
        let foil = rows
            .iter()
            .zip(&partners)
            .flat_map(|(&row, &other)| (0..n_answers).map(move |answer| (row, other, answer)));
        let foil = foil.map(
            |(row, other, answer)| {
                if is_compared(row, other, answer) { of(other)[answer] } else { of(row)[answer] }
            },
        );
        let foil: Vec<i32> = foil.collect();
        Self::new(&data.rows(&rows), &data.rows(&partners), (target, foil), n_answers)
    }

    /// Pairs that are given: `target` and `foil` hold the right and the wrong class of each answer, `[example, answers]`; where
    /// both are the same the answer does not count.
    ///
    /// # Errors
    /// Numbers of examples that differ, or an example without an answer that counts.
    pub fn new(
        clean: &DataSet,
        corrupted: &DataSet,
        (target, foil): (Vec<i32>, Vec<i32>),
        n_answers: usize,
    ) -> Result<Self, ObserveError> {
        let n = clean.len();
        let expected = n * n_answers;
        if corrupted.len() != n || target.len() != expected || foil.len() != expected || n == 0 {
            return Err(ObserveError::Setting(format!(
                "{n} clean and {} corrupted examples with {} right and {} wrong answers; expected at least one of each, and \
                 {n_answers} of both answers for every example",
                corrupted.len(),
                target.len(),
                foil.len(),
            )));
        }
        let mut weight = Vec::with_capacity(target.len());
        for (number, (target, foil)) in target.chunks(n_answers).zip(foil.chunks(n_answers)).enumerate() {
            let count = target.iter().zip(foil).filter(|(t, f)| t != f).count();
            if count == 0 {
                return Err(ObserveError::Setting(format!(
                    "example {number} has the same right and wrong answer; expected two"
                )));
            }
            weight.extend(target.iter().zip(foil).map(|(t, f)| if t == f { 0.0 } else { 1.0 / count as f32 }));
        }
        let with = |data: &DataSet| {
            let column = |name: &str, data| Column { name: name.to_owned(), width: n_answers, data };
            let own = [
                column(TARGET, ColumnData::Ids(target.clone())),
                column(FOIL, ColumnData::Ids(foil.clone())),
                column(WEIGHT, ColumnData::Float(weight.clone())),
            ];
            DataSet::new(n, data.columns().iter().cloned().chain(own).collect())
                .map_err(|error| ObserveError::Setting(error.to_string()))
        };
        Ok(Self { clean: with(clean)?, corrupted: with(corrupted)? })
    }

    /// Pairs.
    pub fn len(&self) -> usize {
        self.clean.len()
    }

    /// Never.
    pub fn is_empty(&self) -> bool {
        self.clean.is_empty()
    }
}

/// Adds the metric of pairs to a graph whose logits of answers are `answers`; the loss gives the logits up to a constant, which
/// falls out of the difference.
pub(super) fn add_metric(graph: &mut Graph, answers: Node, batch: usize) -> Result<Node, ObserveError> {
    let shape = graph.shape(answers).to_vec();
    let n_answers = shape[1..shape.len() - 1].iter().product::<usize>().max(1);
    let logits = graph.reshape(answers, &[batch, n_answers, shape[shape.len() - 1]]);
    let target = graph.input_ids(TARGET, &[batch, n_answers]);
    let foil = graph.input_ids(FOIL, &[batch, n_answers]);
    let weight = graph.input(WEIGHT, &[batch, n_answers]);
    let of_foil = graph.cross_entropy(logits, foil);
    let of_target = graph.cross_entropy(logits, target);
    let difference = graph.sub(of_foil, of_target);
    let weighted = graph.mul(difference, weight);
    let metric = graph.sum(weighted, &[1]);
    let metric = graph.named(metric, PAIR_METRIC);
    graph.check()?;
    Ok(metric)
}

/// The right class of each answer, `[example, answers]`.
///
/// # Errors
/// A network whose answers have no classes.
pub(crate) fn answers(model: &Model, data: &DataSet) -> Result<Vec<i32>, ObserveError> {
    let ids = |name: &str| crate::evaluate::ids(data, name).map(<[i32]>::to_vec);
    let found = match model.interface() {
        Interface::Tokens { read: Read::LastPosition { .. }, .. } => ids("targets"),
        Interface::Tokens { length, read: Read::Tokens { from, every, .. }, .. } => ids("tokens").map(|tokens| {
            let of = |row: &[i32]| row[from..].iter().step_by(every).copied().collect::<Vec<_>>();
            tokens.chunks_exact(length).flat_map(of).collect()
        }),
        Interface::Vectors { loss: VectorLoss::CrossEntropy, .. } => ids("y"),
        Interface::LabelledItems { pairs, .. } => {
            ids("y").map(|labels| labels.chunks_exact(pairs).map(|row| row[pairs - 1]).collect())
        }
        Interface::Vectors { .. } | Interface::Pairs { .. } => None,
    };
    found.ok_or_else(|| {
        ObserveError::Setting(
            "the network predicts numbers; expected answers that are classes, whose logits can be compared".to_owned(),
        )
    })
}
