//! Early warnings: the indicators of each series over the steps, their trends, and how all series fluctuate together.

use std::fmt::Write as _;

use ontogeny_store::{SeriesWarning, Together, Warnings};

use crate::chart::Frame;
use crate::csv::{self, Csv};
use crate::figure;
use crate::number;
use crate::panel::{Form, Panel, Point, Series};
use crate::table::Table;
use crate::text::{escape, list};

/// Series whose indicators are drawn: those whose trends are least likely by chance.
const MOST_DRAWN: usize = 6;
/// Units that are named of a direction.
const MOST_UNITS: usize = 5;

/// The whole section.
pub(crate) fn section(found: &Warnings, frame: &Frame<'_>) -> String {
    let mut html = String::from("<section><h2>Early warnings</h2>");
    if found.series.is_empty() {
        html.push_str("<p>No series has values at even intervals to look for early warnings in.</p>");
    } else {
        let until = match found.until {
            Some(step) => format!(" Nothing after step {} was looked at.", number::step(step)),
            None => " Indicators near a transition that is already under way warn of nothing.".to_owned(),
        };
        let _ = write!(
            html,
            "<p class=\"note\">Variance and lag-1 autocorrelation of each series about its trend, in a rolling window of half of the \
             values, drawn where the window ends (Scheffer et al. 2009). τ is Kendall’s trend of an indicator; p the share of surrogates of \
             autoregressive noise that rise as much, corrected for all trends. A rise is no proof of a transition ahead: noise that grows \
             raises the variance, too.{until}</p>"
        );
        for panel in panels(found) {
            html.push_str(&figure::lines(&panel, frame));
        }
        if found.series.len() > MOST_DRAWN {
            let _ = write!(html, "<p class=\"note\">Drawn are the {MOST_DRAWN} series with the smallest p.</p>");
        }
        html.push_str(&trends(found));
    }
    if !found.left_out.is_empty() {
        let _ = write!(html, "<p class=\"note\">Not looked at: {}.</p>", escape(&found.left_out.join("; ")));
    }
    if let Some(together) = &found.together {
        html.push_str(&common(together, frame));
    }
    html.push_str("</section>");
    html
}

/// Two low figures for each series that is drawn.
pub(crate) fn panels(found: &Warnings) -> Vec<Panel> {
    let least = |own: &SeriesWarning| own.variance_p.min(own.autocorrelation_p);
    let mut drawn: Vec<(usize, &SeriesWarning)> = found.series.iter().enumerate().collect();
    drawn.sort_by(|a, b| least(a.1).total_cmp(&least(b.1)).then(a.0.cmp(&b.0)));
    drawn.truncate(MOST_DRAWN);
    drawn.into_iter().flat_map(|(index, own)| indicators(index, own)).collect()
}

fn indicators(index: usize, own: &SeriesWarning) -> [Panel; 2] {
    let square = match own.unit.as_str() {
        "" | "1" => own.unit.clone(),
        unit => format!("{unit}^2"),
    };
    let panel = |what: &str, words: &str, unit: &str, values: &[f64], tau: f64, p: f64| Panel {
        id: format!("warning-{index}-{what}"),
        title: format!("{} of {}", words, own.name),
        unit: unit.to_owned(),
        description: format!("τ {}, p {}.", number::change((100.0 * tau).round() / 100.0), number::p_value(p)),
        series: vec![series(&format!("{} {what}", own.name), words, &own.indicators.steps, values)],
        kind: "warning".to_owned(),
        form: Form::SmallLines,
    };
    let of = &own.indicators;
    [
        panel("variance", "Variance", &square, &of.variance, own.variance_tau, own.variance_p),
        panel(
            "autocorrelation",
            "Autocorrelation",
            "1",
            &of.autocorrelation,
            own.autocorrelation_tau,
            own.autocorrelation_p,
        ),
    ]
}

fn series(address: &str, label: &str, steps: &[f64], values: &[f64]) -> Series {
    let point = |(&step, &value): (&f64, &f64)| Point {
        step,
        value: Some(value).filter(|value| value.is_finite()),
        standard_error: None,
        refusal: None,
    };
    Series {
        address: address.to_owned(),
        label: label.to_lowercase(),
        measurement: address.to_owned(),
        points: steps.iter().zip(values).map(point).collect(),
    }
}

fn trends(found: &Warnings) -> String {
    let head = ["series", "values", "τ variance", "p", "last / first", "τ autocorrelation", "p", "first", "last"];
    let mut table = Table::new(&head);
    let columns = ["series", "values", "tau variance", "p variance", "variance last over first", "tau autocorrelation"];
    let columns = columns.into_iter().chain(["p autocorrelation", "first autocorrelation", "last autocorrelation"]);
    let mut data = Csv::new(columns.map(str::to_owned).collect());
    let tau = |tau: f64| number::change((100.0 * tau).round() / 100.0);
    for own in &found.series {
        table.row(&[
            own.name.clone(),
            number::count(own.n_values as u64),
            tau(own.variance_tau),
            number::p_value(own.variance_p),
            number::significant(own.variance_ratio, 3),
            tau(own.autocorrelation_tau),
            number::p_value(own.autocorrelation_p),
            number::significant(own.autocorrelation[0], 2),
            number::significant(own.autocorrelation[1], 2),
        ]);
        let [first, last] = own.autocorrelation;
        let numbers = [own.variance_tau, own.variance_p, own.variance_ratio, own.autocorrelation_tau];
        let numbers = numbers.into_iter().chain([own.autocorrelation_p, first, last]).map(|x| csv::cell(Some(x)));
        data.push([own.name.clone(), own.n_values.to_string()].into_iter().chain(numbers).collect());
    }
    let link = data.link("early warnings", "Trends as CSV");
    format!("{}<p class=\"foot\">{link}</p>", table.html("Trends of the indicators"))
}

/// The dominant mode of the fluctuations of all series, window by window.
fn common(together: &Together, frame: &Frame<'_>) -> String {
    let steps: Vec<f64> = together.windows.iter().map(|window| window.step).collect();
    let values = |of: fn(&ontogeny_store::Window) -> f64| together.windows.iter().map(of).collect::<Vec<f64>>();
    let panel = |id: &str, title: &str, unit: &str, description: String, all: Vec<Series>| Panel {
        id: format!("together-{id}"),
        title: title.to_owned(),
        unit: unit.to_owned(),
        description,
        series: all,
        kind: "warning".to_owned(),
        form: Form::SmallLines,
    };
    let variance = panel(
        "variance",
        "Variance along the dominant direction",
        "",
        format!(
            "Largest eigenvalue of the covariance of {} series about straight lines, in windows that end at the step; trend τ {}.",
            number::count(together.units.len() as u64),
            number::change((100.0 * together.variance_tau).round() / 100.0)
        ),
        vec![series("dominant variance", "variance", &steps, &values(|window| window.variance))],
    );
    let share = panel(
        "share",
        "Dominance and steadiness of that direction",
        "1",
        "Its share of all variance, and the |cosine| with the direction of the window before.".to_owned(),
        vec![
            series("dominant share", "share", &steps, &values(|window| window.share)),
            // The first window has none before it.
            series(
                "dominant agreement",
                "agreement",
                steps.get(1..).unwrap_or(&[]),
                values(|window| window.agreement).get(1..).unwrap_or(&[]),
            ),
        ],
    );
    let mut html = String::from("<h3>Fluctuations together</h3>");
    html.push_str(&figure::lines(&variance, frame));
    html.push_str(&figure::lines(&share, frame));
    if let Some(last) = together.windows.last() {
        let mut units: Vec<(f64, &String)> = last.direction.iter().copied().zip(&together.units).collect();
        units.sort_by(|a, b| b.0.abs().total_cmp(&a.0.abs()).then(a.1.cmp(b.1)));
        let named: Vec<String> = units
            .iter()
            .take(MOST_UNITS)
            .map(|(entry, unit)| format!("{unit} {}", number::significant(*entry, 2)))
            .collect();
        let _ = write!(html, "<p class=\"note\">In the last window it points along {}.</p>", escape(&list(&named)));
    }
    if let Some(group) = &together.group {
        let _ = write!(
            html,
            "<p>A group stands out in the last window (dynamical network marker, Chen et al. 2012): {}; index {}, p {}.</p>",
            escape(&list(&group.units)),
            number::significant(group.index, 3),
            number::p_value(group.p_value)
        );
    }
    html
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn indicators_trends_and_the_common_mode_are_drawn() {
        let view = sample::grokking(24, 0);
        let found = &Warnings { until: Some(2800.0), ..view.warnings.clone().unwrap() };
        let html = section(found, &Frame::of(&view).unwrap());
        // Two figures for each of two series, and two of all together.
        assert_eq!(html.matches("<figure").count(), 6, "{html}");
        for words in [
            "Variance of loss.test",
            "τ +0.81, p 0.004.",
            "nats²",
            "Nothing after step 2,800 was looked at.",
            "Not looked at: llc.full (its steps are uneven)",
            "points along loss.test 0.96",
            "dynamical network marker",
        ] {
            assert!(html.contains(words), "{words}: {html}");
        }
        assert!(html.contains("class=\"band\""), "stages lie behind indicators too");
    }

    #[test]
    fn the_clearest_series_are_drawn_and_none_is_said() {
        let view = sample::grokking(24, 0);
        let mut found = view.warnings.clone().unwrap();
        found.series = (0..9)
            .map(|i| SeriesWarning {
                name: format!("s{i}"),
                variance_p: 1.0 - 0.1 * f64::from(i),
                ..found.series[1].clone()
            })
            .collect();
        let titles: Vec<String> = panels(&found).into_iter().step_by(2).map(|panel| panel.title).collect();
        assert_eq!(titles, ["s8", "s7", "s6", "s5", "s4", "s3"].map(|name| format!("Variance of {name}")));
        found.series.clear();
        assert!(section(&found, &Frame::of(&view).unwrap()).contains("No series has values at even intervals"));
    }
}
