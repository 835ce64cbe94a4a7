//! Change points: a table of them, and how their number depends on the price of a change.

use std::fmt::Write as _;

use ontogeny_store::{ChangePoints, SeriesChanges};

use crate::csv::{self, Csv};
use crate::number;
use crate::table::Table;
use crate::text::{unit_name, unit_suffix};

/// What the marks in the figures are.
pub(crate) const HOW_TO_READ: &str =
    "Strokes at the bottom of a figure are the change points of its series, on bars that are their 95 % intervals.";

/// Ranges of prices in a row of the table; the file has all.
const MOST_RANGES: usize = 8;

/// The whole section.
pub(crate) fn section(found: &ChangePoints) -> String {
    let mut html = format!("<section><h2>Change points</h2><p class=\"note\">{}</p>", words(found));
    let n_changes: usize = found.series.iter().map(|series| series.changes.len()).sum();
    if n_changes == 0 {
        html.push_str("<p>No series has a change point.</p>");
    } else {
        html.push_str(&changes(found));
    }
    html.push_str(&paths(found));
    html.push_str("</section>");
    html
}

fn words(found: &ChangePoints) -> String {
    let segments = match found.shape.as_str() {
        "l1" => "levels, by the median",
        "l2" => "levels, by the mean",
        "normal" => "normal values with a mean and a variance of their own",
        "rank" => "levels of the ranks",
        "rbf" => "distributions of their own",
        "linear" => "straight lines of their own",
        "continuous_linear" => "straight lines that meet",
        _ => "autoregressions of their own",
    };
    let over = match (found.shape.as_str(), found.time.as_str()) {
        ("linear" | "continuous_linear", "log") => " over ln(step + 1)",
        ("linear" | "continuous_linear", _) => " over the step",
        _ => "",
    };
    let price = match found.criterion.as_str() {
        "BIC" => "BIC, in noise that may be autocorrelated",
        "mBIC" => "the modified BIC (Zhang &amp; Siegmund 2007), in noise that may be autocorrelated",
        _ => "what the noise of two ends can do to a line",
    };
    format!(
        "The best of all ways to cut each series into {segments}{over} (PELT, Killick et al. 2012), where a change must be worth the price \
         set by {price}. Any smooth curve is full of changes of level; only transitions have smooth curves as their null hypothesis."
    )
}

fn changes(found: &ChangePoints) -> String {
    let (before, after) = (format!("{} before", found.quantity), format!("{} after", found.quantity));
    let mut table = Table::new(&["observable", "step", "95 % interval", &before, &after, "jump", "holds to price ×"]);
    let columns =
        ["observable", "step", "lower (step)", "upper (step)", &before, &after, "unit", "jump", "unit of jump"];
    let mut data = Csv::new(columns.iter().map(|c| (*c).to_owned()).chain(["holds to price".to_owned()]).collect());
    for series in &found.series {
        for c in &series.changes {
            let value = |x: Option<f64>| {
                x.map_or_else(
                    || "–".to_owned(),
                    |x| format!("{}{}", number::value(x), unit_suffix(&series.quantity_unit)),
                )
            };
            let holds = if c.holds_to >= 10.0 { "10 and more".to_owned() } else { number::significant(c.holds_to, 2) };
            table.row(&[
                series.observable.clone(),
                number::step(c.step),
                format!("[{}, {}]", number::step(c.lower), number::step(c.upper)),
                value(c.before),
                value(c.after),
                format!("{}{}", number::change(c.jump), unit_suffix(&series.unit)),
                holds,
            ]);
            let places = [c.step, c.lower, c.upper].map(|x| csv::cell(Some(x)));
            data.push(
                [series.observable.clone()]
                    .into_iter()
                    .chain(places)
                    .chain([csv::cell(c.before), csv::cell(c.after), unit_name(&series.quantity_unit).to_owned()])
                    .chain([csv::cell(Some(c.jump)), unit_name(&series.unit).to_owned(), csv::cell(Some(c.holds_to))])
                    .collect(),
            );
        }
    }
    let link = data.link("change points", "Change points as CSV");
    format!("{}<p class=\"foot\">{link}</p>", table.html("Change points"))
}

/// How many changes there would be at other prices.
fn paths(found: &ChangePoints) -> String {
    let mut table =
        Table::new(&["observable", "noise of a point", "its autocorrelation", "number of changes at price ×"]);
    let header = ["observable", "number of changes", "lowest price", "highest price"];
    let mut data = Csv::new(header.map(str::to_owned).to_vec());
    for series in &found.series {
        let noise = format!("{}{}", number::significant(series.noise, 2), unit_suffix(&series.unit));
        let name = match series.averaged {
            1 => series.observable.clone(),
            n => format!("{} (means of {n})", series.observable),
        };
        table.row(&[name, noise, number::value(series.autocorrelation), path(series)]);
        for range in &series.path {
            let numbers = [csv::cell(Some(range.from)), csv::cell(Some(range.to))];
            data.push([series.observable.clone(), range.n_changes.to_string()].into_iter().chain(numbers).collect());
        }
    }
    format!(
        "{}<p class=\"note\">The price taken is 1; a number of changes that holds for many prices is the one not to doubt (Haynes et al. \
         2017).</p><p class=\"foot\">{}</p>",
        table.html("Number of changes by price"),
        data.link("changes by price", "Prices as CSV")
    )
}

/// The ranges nearest to the price taken: `3 from 0.5, 1 from 0.8`.
fn path(series: &SeriesChanges) -> String {
    let at = series.path.partition_point(|range| range.to < 1.0);
    let first = at.saturating_sub(MOST_RANGES / 2).min(series.path.len().saturating_sub(MOST_RANGES));
    let mut words = String::new();
    for (index, range) in series.path.iter().enumerate().skip(first).take(MOST_RANGES) {
        let separator = if index > first { ", " } else { "" };
        let from = number::significant(range.from, 2);
        let _ = write!(words, "{separator}{} from {from}", range.n_changes);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chart::Frame;
    use crate::figure;
    use crate::panel::sections;
    use crate::sample;

    #[test]
    fn changes_stand_on_their_curves_and_in_the_table() {
        let view = sample::grokking(24, 0);
        let loss = &sections(&view)[0].panels[0];
        let html = figure::lines(loss, &Frame::of(&view).unwrap());
        // On the logarithmic axis and on the linear one; the test loss is the second series.
        assert_eq!(html.matches("class=\"change c2\"").count(), 4);
        assert_eq!(html.matches("class=\"change-interval c2\"").count(), 4);
        assert!(html.contains("<title>change of loss.test at step 1,900 [1,710, 1,995]</title>"), "{html}");
        let html = section(view.change_points.as_ref().unwrap());
        assert!(html.contains("straight lines of their own over ln(step + 1)"), "{html}");
        assert!(html.contains("<td class=\"n\">1.9 nats/decade</td><td class=\"n\">−0.6 nats/decade</td><td class=\"n\">−6.1 nats</td><td class=\"n\">10 and more</td>"), "{html}");
        assert!(html.contains("3 from 0.5, 2 from 0.8, 1 from 1.7"), "{html}");
    }

    #[test]
    fn a_long_path_is_cut_around_the_price_taken() {
        let mut view = sample::grokking(24, 0);
        let found = view.change_points.as_mut().unwrap();
        let range = |i: usize| ontogeny_store::PenaltyRange {
            n_changes: 40 - i,
            from: 0.5 + 0.1 * i as f64,
            to: 0.6 + 0.1 * i as f64,
        };
        found.series[0].path = (0..40).map(range).collect();
        assert_eq!(path(&found.series[0]).split(", ").count(), MOST_RANGES);
        assert!(path(&found.series[0]).contains("35 from 1"), "{}", path(&found.series[0]));
        found.series.iter_mut().for_each(|series| series.changes.clear());
        assert!(section(found).contains("No series has a change point."));
    }
}
