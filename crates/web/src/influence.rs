//! Bayesian influence: the pairs of examples that stand out, in words, at the last checkpoint that has them.

use std::fmt::Write as _;

use ontogeny_store::{Coordinate, Detail, Observable, RunView, Status, pair_detail};

use crate::csv::{self, Csv};
use crate::number;
use crate::panel;
use crate::table::Table;
use crate::text::{escape, unit_name};

/// The kind of observable that is told here.
const KIND: &str = "influence";

/// Whether the values of an observable are those of pairs.
pub(crate) fn is_one(observable: &Observable) -> bool {
    observable.kind == KIND && observable.dims == ["step", "pair"]
}

/// One section for all influences of a run; nothing where there are none.
pub(crate) fn section(view: &RunView) -> String {
    let told: String = view
        .observables
        .iter()
        .filter(|(_, observable)| is_one(observable))
        .map(|(name, observable)| one(name, observable, view))
        .collect();
    if told.is_empty() { told } else { format!("<section><h2>Influence</h2>{told}</section>") }
}

/// A pair at a step.
struct Told<'a> {
    value: f64,
    error: Option<f64>,
    example: &'a str,
    query: &'a str,
    correlation: Option<f64>,
    r_hat: Option<f64>,
}

fn one(name: &str, observable: &Observable, view: &RunView) -> String {
    let unit = unit_name(&observable.unit);
    let steps = panel::steps_of(observable, &view.checkpoints);
    let mut html = format!("<h3>{}</h3><p>{}</p>", escape(name), escape(&observable.description));
    let mut data = Csv::new(
        ["step", "pair", "training example", "query"]
            .map(str::to_owned)
            .into_iter()
            .chain([csv::column("influence", &observable.unit), csv::column("standard error", &observable.unit)])
            .chain(["correlation", "r_hat", "status"].map(str::to_owned))
            .collect(),
    );
    let mut last = None;
    for (at, step) in steps.iter().enumerate() {
        let status = match observable.status.get(at) {
            Some(Status::Done) => "done".to_owned(),
            Some(Status::Refused { verdict, reason }) => format!("refused: {}", panel::refusal_words(verdict, reason)),
            Some(Status::Missing) | None => "missing".to_owned(),
        };
        let pairs = if status == "done" { pairs(observable, at) } else { Vec::new() };
        for (number, told) in (1..).zip(&pairs) {
            let words = [step.to_string(), number.to_string(), told.example.to_owned(), told.query.to_owned()];
            let numbers = [Some(told.value), told.error, told.correlation, told.r_hat].map(csv::cell);
            data.push(words.into_iter().chain(numbers).chain([status.clone()]).collect());
        }
        if pairs.is_empty() {
            let mut row = vec![String::new(); 9];
            (row[0], row[8]) = (step.to_string(), status);
            data.push(row);
        } else {
            last = Some((*step, pairs));
        }
    }
    if let Some((step, pairs)) = last {
        let _ = write!(html, "<p>At step {}, the last that has a value:</p>", number::count(step));
        let mut table = Table::new(&["training example", "query", &format!("influence ({unit})"), "correlation"]);
        for told in &pairs {
            table.row(&[
                told.example.to_owned(),
                told.query.to_owned(),
                number::estimate(told.value, told.error),
                told.correlation.map_or_else(|| "–".to_owned(), |r| number::significant(r, 2)),
            ]);
        }
        html.push_str(&table.html(&format!("Pairs of {name}")));
        let among = observable.details.iter().rev().find_map(|details| match details.get("n_pairs") {
            Some(Detail::Number(Some(n))) => Some(number::count(*n as u64)),
            _ => None,
        });
        let _ = write!(
            html,
            "<p class=\"note\">Negative: the losses rise and fall together over the posterior, so that more weight on the \
             training example lowers the loss of the query. ± one standard error; the pairs are those whose influence is \
             largest in units of it, chosen among {}: two or three standard errors alone are no finding.</p>",
            among.unwrap_or_else(|| "many".to_owned())
        );
        let _ = write!(html, "<p class=\"foot\">{}</p>", data.link(&format!("{name}-pairs"), "Pairs as CSV"));
    } else {
        html.push_str("<p>No checkpoint has a value; the table of estimates says why.</p>");
    }
    html
}

/// The pairs that have a value at the step number `at`, in their order.
fn pairs(observable: &Observable, at: usize) -> Vec<Told<'_>> {
    let labels = observable.coordinates.get("pair").map_or(&[][..], Vec::as_slice);
    let details = observable.details.get(at);
    let of = |(i, label): (usize, &Coordinate)| {
        let Coordinate::Number(pair) = label else { return None };
        let i = at * labels.len() + i;
        let detail = |what: &str| details?.get(&pair_detail(*pair, what));
        let text = |what: &str| if let Some(Detail::Text(text)) = detail(what) { text } else { "–" };
        let number = |what: &str| if let Some(Detail::Number(x)) = detail(what) { *x } else { None };
        let finite = |values: &[Option<f64>]| values.get(i).copied().flatten().filter(|x| x.is_finite());
        Some(Told {
            value: finite(&observable.values.values)?,
            error: finite(&observable.standard_errors.values).filter(|se| *se >= 0.0),
            example: text("example"),
            query: text("query"),
            correlation: number("correlation"),
            r_hat: number("r_hat"),
        })
    };
    labels.iter().enumerate().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn pairs_come_in_their_order_with_their_words_and_errors() {
        let html = section(&sample::grokking(24, 1));
        assert!(html.contains("At step 3,000, the last that has a value:"));
        let rows: Vec<&str> = html.split("<tr>").skip(1).collect();
        assert_eq!(rows.len(), 1 + 3);
        assert!(
            rows[1].contains("train 17: tokens 0 17 53, targets 17") && rows[1].contains("−0.0300 ± 0.0010"),
            "{}",
            rows[1]
        );
        assert!(rows[3].contains("0.0100 ± 0.0010"), "{}", rows[3]);
        let link = html.split("href=\"").nth(1).unwrap();
        assert!(link.contains("refused%3A%20not%20converged") && html.contains("download=\"pairs-pairs.csv\""));
    }

    #[test]
    fn a_run_without_values_says_so() {
        let mut view = sample::grokking(4, 4);
        assert!(section(&view).contains("No checkpoint has a value"));
        view.observables.remove("pairs");
        assert_eq!(section(&view), "");
    }
}
