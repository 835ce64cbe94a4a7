//! A figure of lines: key with read-out, frame, curves with intervals, refused estimates, text alternative and data.

use std::fmt::Write as _;

use crate::axis::{Scale, ValueAxis};
use crate::chart::{self, Frame, round};
use crate::csv::{self, Csv};
use crate::number;
use crate::panel::{Form, Panel, Point, Series};
use crate::text::{breakable, counted, escape, unit_name, unit_suffix};

/// Up to this many checkpoints each value gets its own error bar; beyond, the shaded band says the same.
const MOST_ERROR_BARS: usize = 60;
/// A positive series that spans this factor may be read on a logarithmic axis.
const LOG_FACTOR: f64 = 100.0;

/// Refused estimates nearer than this share a mark, in percent of the width; a mark is 14 pixels wide.
const SHORTEST: f64 = 3.0;
/// Reasons that one mark tells.
const MOST_REASONS: usize = 3;

/// The whole `<figure>`.
pub(crate) fn lines(panel: &Panel, frame: &Frame<'_>) -> String {
    let scales = scales(panel);
    let mut html = format!("<figure id=\"{}\">", panel.id);
    html.push_str(&caption(panel));
    let toggle = format!("{}-linear", panel.id);
    if scales.len() > 1 {
        // The box stands before what it switches, so that the style sheet alone can do it.
        let _ = write!(
            html,
            "<input type=\"checkbox\" class=\"scale\" id=\"{toggle}\"><label for=\"{toggle}\">linear axis</label>"
        );
    }
    html.push_str(&key(panel));
    html.push_str("<div class=\"plot\" tabindex=\"0\" role=\"group\" aria-label=\"");
    let _ = write!(html, "{}; left and right arrow keys move the cursor\">", escape(&panel.title));
    let refusals = refusals(panel, frame);
    html.push_str(&refusals);
    let height = if panel.form == Form::SmallLines { "small" } else { "main" };
    for scale in &scales {
        let name = if *scale == Scale::Log { "log" } else { "linear" };
        let only = if scales.len() > 1 { "" } else { " only" };
        let _ = write!(html, "<div class=\"frame {height} {name}{only}\">{}</div>", svg(panel, frame, *scale));
    }
    html.push_str("</div>");
    html.push_str(&foot(panel));
    html.push_str("</figure>");
    html
}

/// Title, unit and what is measured.
pub(crate) fn caption(panel: &Panel) -> String {
    let mut html = format!("<figcaption><h3>{}", breakable(&panel.title));
    if !panel.unit.is_empty() {
        let _ = write!(html, " <span class=\"unit\">{}</span>", escape(unit_name(&panel.unit)));
    }
    html.push_str("</h3>");
    if !panel.description.is_empty() {
        let _ = write!(html, "<p>{}</p>", escape(&panel.description));
    }
    html.push_str("</figcaption>");
    html
}

/// The data of a panel, wide: a row for each step, a value and an error for each series,
/// then for each measurement with refused estimates a status, `refused: ` and why, or nothing.
///
/// With it, the columns of each series: value and, where there is one, standard error.
pub(crate) fn data(panel: &Panel) -> (Csv, Vec<(usize, Option<usize>)>) {
    let mut header = vec!["step".to_owned()];
    let mut columns = Vec::new();
    for series in &panel.series {
        header.push(csv::column(&series.address, &panel.unit));
        let value_column = header.len() - 1;
        let has_errors = series.points.iter().any(|p| p.standard_error.is_some());
        if has_errors {
            header.push(csv::column(&format!("{} standard error", series.address), &panel.unit));
        }
        columns.push((value_column, has_errors.then_some(value_column + 1)));
    }
    let refusals = panel.refusals();
    let mut refused: Vec<&str> = refusals.iter().map(|(measurement, ..)| *measurement).collect();
    refused.dedup();
    header.extend(refused.iter().map(|measurement| format!("{measurement} status")));
    let mut csv = Csv::new(header);
    for step in panel.steps() {
        let mut row = vec![step.to_string()];
        for (series, (_, error_column)) in panel.series.iter().zip(&columns) {
            let point = series.points.iter().find(|p| p.step == step);
            row.push(csv::cell(point.and_then(|p| p.value)));
            if error_column.is_some() {
                row.push(csv::cell(point.and_then(|p| p.standard_error)));
            }
        }
        row.extend(refused.iter().map(|measurement| {
            let here = refusals.iter().find(|(name, at, _)| name == measurement && *at == step);
            here.map_or(String::new(), |(_, _, reason)| format!("refused: {reason}"))
        }));
        csv.push(row);
    }
    (csv, columns)
}

/// The link to the data.
pub(crate) fn foot(panel: &Panel) -> String {
    let name = match panel.series.as_slice() {
        [only] => &only.address,
        _ => &panel.id,
    };
    format!("<p class=\"foot\">{}</p>", data(panel).0.link(name, "Data as CSV"))
}

/// Names and colours of the series, with their values at the cursor: at first the last checkpoint.
pub(crate) fn key(panel: &Panel) -> String {
    let (_, columns) = data(panel);
    let last_step = panel.steps().last().copied().unwrap_or(0.0);
    let mut html = format!(
        "<div class=\"key\" data-unit=\"{}\"><span class=\"at\">step <b>{}</b></span>",
        escape(&unit_suffix(&panel.unit)),
        number::step(last_step)
    );
    for (index, (series, (value, error))) in panel.series.iter().zip(columns).enumerate() {
        let at_end = series.points.iter().find(|p| p.step == last_step);
        // Room for the longest reading, so that nothing moves with the cursor.
        let longest = series.points.iter().map(|p| reading(Some(p), &panel.unit).chars().count()).max().unwrap_or(1);
        let error = error.map_or(String::new(), |column| format!(" data-error=\"{column}\""));
        let _ = write!(
            html,
            "<span class=\"entry\"><i class=\"swatch {}\"></i>{} <output style=\"min-width:{longest}ch\" data-value=\"{value}\"{error} data-name=\"{}\">{}</output></span>",
            chart::series_class(index),
            escape(&series.label),
            escape(&series.measurement),
            escape(&reading(at_end, &panel.unit))
        );
    }
    html.push_str("</div>");
    html
}

/// What the key says of a point: value with error and unit, that it was refused, or that there is none.
fn reading(point: Option<&Point>, unit: &str) -> String {
    match point {
        Some(Point { value: Some(value), standard_error, .. }) => {
            format!("{}{}", number::estimate(*value, *standard_error), unit_suffix(unit))
        }
        Some(Point { refusal: Some(_), .. }) => "refused".to_owned(),
        _ => "–".to_owned(),
    }
}

/// The axes on offer, the better one first.
pub(crate) fn scales(panel: &Panel) -> Vec<Scale> {
    let values: Vec<f64> = panel.series.iter().flat_map(|s| s.measured().map(|(_, v)| v)).collect();
    let lowest = values.iter().copied().fold(f64::INFINITY, f64::min);
    let highest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let spans_decades = lowest > 0.0 && highest / lowest >= LOG_FACTOR;
    if spans_decades && !is_fraction(panel) { vec![Scale::Log, Scale::Linear] } else { vec![Scale::Linear] }
}

/// Whether the values are shares between 0 and 1: accuracies, or pure numbers that use a fair part of that range.
fn is_fraction(panel: &Panel) -> bool {
    let mut values = panel.series.iter().flat_map(|s| s.measured().map(|(_, v)| v)).peekable();
    let in_range = panel.unit == "1" && values.peek().is_some() && values.all(|v| (0.0..=1.0).contains(&v));
    in_range && (panel.kind == "accuracy" || panel.series.iter().any(|s| s.measured().any(|(_, v)| v > 0.3)))
}

/// Refused estimates as hollow marks above the frame, each with its reason on hover and on focus.
///
/// Neighbours that could not be pointed at one by one share a mark, which is as long as they are apart.
pub(crate) fn refusals(panel: &Panel, frame: &Frame<'_>) -> String {
    let refusals = panel.refusals();
    if refusals.is_empty() {
        return String::new();
    }
    let mut html = String::from("<div class=\"refusals\"><span class=\"lane-name\">refused</span>");
    let mut rest = refusals.as_slice();
    while let Some((measurement, step, _)) = rest.first() {
        let from = frame.axis.position(*step);
        let is_near =
            |(name, step, _): &(&str, f64, &str)| name == measurement && frame.axis.position(*step) - from < SHORTEST;
        let (marked, others) = rest.split_at(rest.iter().take_while(|refusal| is_near(refusal)).count());
        rest = others;
        let last = marked.last().map_or(*step, |(_, step, _)| *step);
        let to = frame.axis.position(last);
        let index = panel.series.iter().position(|s| s.measurement == *measurement).unwrap_or(0);
        // The tip opens to the side where there is room.
        let side = match from {
            ..34.0 => "",
            ..66.0 => " middle",
            _ => " late",
        };
        let when = match marked.len() {
            1 => format!("at step {} refused", number::step(*step)),
            n => format!("refused {n} times at steps {} to {}", number::step(*step), number::step(last)),
        };
        let mut reasons: Vec<&str> = marked.iter().map(|(_, _, reason)| *reason).collect();
        reasons.dedup();
        let unsaid = reasons.len().saturating_sub(MOST_REASONS);
        reasons.truncate(MOST_REASONS);
        let _ = write!(
            html,
            "<button type=\"button\" class=\"refused {}{side}\" style=\"left:{}%;width:calc({}% + 14px)\" aria-label=\"{} {when}: {}{}\"></button>",
            chart::series_class(index),
            round(from),
            round(to - from),
            escape(measurement),
            escape(&reasons.join("; ")),
            if unsaid > 0 { format!("; and {unsaid} more, see the table of estimates") } else { String::new() },
        );
    }
    html.push_str("</div>");
    html
}

/// The drawing alone.
pub(crate) fn svg(panel: &Panel, frame: &Frame<'_>, scale: Scale) -> String {
    let axis = value_axis(panel, scale);
    let description = format!("{}-{}-text", panel.id, if scale == Scale::Log { "log" } else { "linear" });
    let mut svg = format!(
        "<svg class=\"chart\" role=\"img\" aria-label=\"{}\" aria-describedby=\"{description}\"><desc id=\"{description}\">{}</desc>",
        escape(&match panel.unit.as_str() {
            "" => format!("{}, over {}", panel.title, frame.span()),
            unit => format!("{}, {}, over {}", panel.title, unit_name(unit), frame.span()),
        }),
        escape(&alternative(panel)),
    );
    svg.push_str(&frame.bands());
    svg.push_str(&chart::value_axis(&axis));
    svg.push_str(&frame.step_axis());
    svg.push_str(
        "<svg class=\"curves\" width=\"100%\" height=\"100%\" viewBox=\"0 0 1000 1000\" preserveAspectRatio=\"none\">",
    );
    for (index, series) in panel.series.iter().enumerate() {
        svg.push_str(&curve(series, &chart::series_class(index), frame, &axis));
    }
    svg.push_str("</svg>");
    let addresses: Vec<(String, String)> =
        panel.series.iter().enumerate().map(|(index, s)| (s.address.clone(), chart::series_class(index))).collect();
    svg.push_str(&frame.change_marks(&addresses));
    svg.push_str(&frame.transition_marks(&addresses));
    svg.push_str(Frame::cursor());
    svg.push_str("</svg>");
    svg
}

fn value_axis(panel: &Panel, scale: Scale) -> ValueAxis {
    if is_fraction(panel) {
        return ValueAxis::of_fractions();
    }
    let values: Vec<f64> = panel.series.iter().flat_map(|s| s.measured().map(|(_, v)| v)).collect();
    let intervals: Vec<(f64, f64)> =
        panel.series.iter().flat_map(|s| s.points.iter().filter_map(Point::interval)).collect();
    ValueAxis::covering(scale, &values, &intervals)
}

/// One series: shaded interval, error bars, line and faint points. Lines and bands stop where a value is missing.
fn curve(series: &Series, class: &str, frame: &Frame<'_>, axis: &ValueAxis) -> String {
    let x = |point: &Point| tenths(10.0 * frame.axis.position(point.step));
    let y = |value: f64| tenths(10.0 * axis.position(value));
    let (mut band, mut bars, mut line, mut dots, mut lone) =
        (String::new(), String::new(), String::new(), String::new(), String::new());
    for run in series.points.split(|p| p.value.is_none()).filter(|run| !run.is_empty()) {
        for (at, point) in run.iter().enumerate() {
            let Some(value) = point.value else { continue };
            let dot = if run.len() == 1 { &mut lone } else { &mut dots };
            let _ = write!(dot, "M{} {}h.1", x(point), y(value));
            if run.len() > 1 {
                let _ = write!(line, "{}{} {}", if at == 0 { 'M' } else { 'L' }, x(point), y(value));
            }
        }
        for stretch in run.split(|p| p.interval().is_none()).filter(|s| !s.is_empty()) {
            let edge = |point: &Point, upper: bool| {
                let (low, high) = point.interval().unwrap_or_default();
                format!("{} {}", x(point), y(if upper { high } else { low }))
            };
            if stretch.len() > 1 {
                let there = stretch.iter().map(|p| edge(p, true));
                let back = stretch.iter().rev().map(|p| edge(p, false));
                let _ = write!(band, "M{}z", there.chain(back).collect::<Vec<_>>().join("L"));
            }
            if stretch.len() == 1 || series.points.len() <= MOST_ERROR_BARS {
                for point in stretch {
                    let _ = write!(bars, "M{}L{}", edge(point, true), edge(point, false));
                }
            }
        }
    }
    let faint = if series.points.len() > MOST_ERROR_BARS { "dots many" } else { "dots" };
    let mut svg = String::new();
    for (kind, d) in [("interval", band), ("bars", bars), ("line", line), (faint, dots), ("lone", lone)] {
        if !d.is_empty() {
            let _ = write!(svg, "<path class=\"{kind} {class}\" d=\"{d}\"/>");
        }
    }
    svg
}

/// A coordinate of the stretched frame: a tenth of a thousandth of its width is finer than a pixel.
pub(crate) fn tenths(x: f64) -> f64 {
    (x * 10.0).round() / 10.0
}

/// The figure in words: for each series its start, end, least and greatest value; then what was refused.
fn alternative(panel: &Panel) -> String {
    let value =
        |point: &Point, v: f64| format!("{}{}", number::estimate(v, point.standard_error), unit_suffix(&panel.unit));
    let at = |point: &Point, v: f64| format!("{} at step {}", value(point, v), number::step(point.step));
    let mut sentences: Vec<String> = Vec::new();
    for series in &panel.series {
        let points: Vec<(&Point, f64)> = series.measured().collect();
        let lowest = points.iter().min_by(|a, b| a.1.total_cmp(&b.1));
        let highest = points.iter().max_by(|a, b| a.1.total_cmp(&b.1));
        sentences.push(match (points.as_slice(), lowest, highest) {
            ([only], ..) => format!("{} has one value, {}.", series.address, at(only.0, only.1)),
            ([first, .., last], Some(lowest), Some(highest)) => format!(
                "{} starts at {}, ends at {}, is least {} and greatest {}.",
                series.address,
                value(first.0, first.1),
                value(last.0, last.1),
                at(lowest.0, lowest.1),
                at(highest.0, highest.1)
            ),
            _ => format!("{} has no value.", series.address),
        });
    }
    let n_refused = panel.refusals().len();
    if n_refused > 0 {
        let verb = if n_refused == 1 { "was" } else { "were" };
        sentences.push(format!("{} {verb} refused.", counted(n_refused, "estimate")));
    }
    sentences.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::panel::sections;
    use crate::sample;
    use ontogeny_store::RunView;

    fn figure(view: &RunView, section: usize, panel: usize) -> (Panel, String) {
        let panel = sections(view)[section].panels[panel].clone();
        let html = lines(&panel, &Frame::of(view).unwrap());
        (panel, html)
    }

    #[test]
    fn the_csv_holds_exactly_the_data() {
        let view = sample::grokking(24, 3);
        let (panel, _) = figure(&view, 1, 0);
        let text = data(&panel).0.text();
        let rows: Vec<&str> = text.lines().collect();
        assert_eq!(
            rows[0],
            "step,llc.full (dimensionless),llc.full standard error (dimensionless),llc_unembed.unembed (dimensionless),llc_unembed.unembed standard error (dimensionless),llc status"
        );
        assert_eq!(rows.len(), 25);
        for (at, row) in rows[1..].iter().enumerate() {
            let cells: Vec<&str> = row.split(',').collect();
            assert_eq!(cells[0].parse::<u64>().unwrap(), view.checkpoints[at]);
            for (column, name) in [(1, "llc"), (3, "llc_unembed")] {
                let observable = &view.observables[name];
                assert_eq!(cells[column].parse::<f64>().ok(), observable.values.values[at]);
                assert_eq!(cells[column + 1].parse::<f64>().ok(), observable.standard_errors.values[at]);
            }
            assert_eq!(cells[5].is_empty(), at >= 3, "{row}");
        }
    }

    #[test]
    fn marks_find_their_series_by_the_name_that_analyses_give_it() {
        let mut view = sample::grokking(24, 0);
        view.transitions[1].observable = "llc.unembed".to_owned();
        let (panel, html) = figure(&view, 1, 0);
        assert_eq!(panel.series[1].address, "llc_unembed.unembed");
        assert!(html.contains("class=\"mark c2\"") && html.contains("transition of llc.unembed at step 95"), "{html}");
    }

    #[test]
    fn losses_over_decades_get_both_axes_and_fractions_only_one() {
        let view = sample::grokking(24, 0);
        let (_, loss) = figure(&view, 0, 0);
        assert!(
            loss.contains("frame main log") && loss.contains("frame main linear") && loss.contains("type=\"checkbox\"")
        );
        let (_, accuracy) = figure(&view, 0, 1);
        assert!(accuracy.contains("linear only") && !accuracy.contains("type=\"checkbox\""));
    }

    #[test]
    fn lines_break_at_refused_steps_and_lone_points_stay_visible() {
        let mut view = sample::grokking(5, 0);
        let llc = view.observables.get_mut("llc").unwrap();
        for at in [1, 3] {
            llc.values.values[at] = None;
            llc.status[at] = ontogeny_store::Status::Refused { verdict: "diverged".into(), reason: String::new() };
        }
        let (_, html) = figure(&view, 1, 0);
        // Three lone points of `llc` and no line of it; `llc_unembed` is whole.
        assert_eq!(html.matches("class=\"lone c1\"").count(), 1);
        assert!(!html.contains("class=\"line c1\"") && html.contains("class=\"line c2\""));
        assert_eq!(html.matches("class=\"refused c1").count(), 2);
        assert!(html.contains("llc at step 1 refused: diverged") || html.contains("refused: diverged\""));
    }

    #[test]
    fn refused_neighbours_share_a_mark_and_every_reason_stays_within_reach() {
        let mut view = sample::grokking(500, 30);
        let llc = view.observables.get_mut("llc").unwrap();
        for (at, status) in llc.status.iter_mut().enumerate().take(30) {
            *status = ontogeny_store::Status::Refused { verdict: format!("verdict {at}"), reason: String::new() };
        }
        let (panel, html) = figure(&view, 1, 0);
        assert_eq!(panel.refusals().len(), 30);
        let marks = html.matches("class=\"refused c1").count();
        assert!((8..20).contains(&marks), "{marks}");
        assert!(html.contains("llc at step 0 refused: verdict 0\""));
        assert!(html.contains("; and ") && html.contains(" times at steps "), "{html}");
    }

    #[test]
    fn the_text_alternative_names_ends_and_extremes() {
        let view = sample::grokking(24, 1);
        let (_, html) = figure(&view, 1, 0);
        for words in ["llc.full starts at", "ends at", "is least", "and greatest", "1 estimate was refused."] {
            assert!(html.contains(words), "{words}");
        }
    }

    #[test]
    fn no_value_at_all_is_said_and_draws_nothing() {
        let mut view = sample::grokking(3, 0);
        view.observables.get_mut("accuracy").unwrap().values.values.fill(None);
        let (_, html) = figure(&view, 0, 1);
        assert!(html.contains("accuracy.train has no value.") && !html.contains("<path"));
        assert!(!html.contains("NaN") && !html.contains("inf%"));
    }
}
