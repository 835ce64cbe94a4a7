//! Susceptibilities: a low figure for each part of the network with a line for each probe, and all of them side by side.

use std::fmt::Write as _;

use ontogeny_store::{Coordinate, Observable, RunView, Status, refused_parts};

use crate::csv::{self, Csv};
use crate::number;
use crate::panel::{self, Form, MOST_LINES, Panel, Series};
use crate::text::{self, escape, unit_name};

/// The kind of observable that is drawn here.
pub(crate) const KIND: &str = "susceptibility";
/// Heading of its section.
pub(crate) const HEADING: &str = "Susceptibilities";
/// Colours of the table, `f0` to `f15` in the style sheet.
const LEVELS: f64 = 16.0;

/// Whether an observable has the dimensions that are drawn here.
pub(crate) fn is_one(observable: &Observable) -> bool {
    observable.kind == KIND && observable.dims == ["step", "component", "probe"]
}

/// A figure for each part, because each has a unit of its own; of many parts a map for each probe, whose rows have their own
/// shades.
pub(crate) fn panels(name: &str, observable: &Observable, series: Vec<Series>) -> Vec<Panel> {
    let (components, probes) = (labels(observable, "component"), labels(observable, "probe"));
    if series.len() != components.len() * probes.len() {
        return Vec::new();
    }
    let is_many = components.len() > MOST_LINES;
    let mut groups: Vec<Vec<Series>> = vec![Vec::new(); if is_many { probes.len() } else { components.len() }];
    for (at, mut own) in series.into_iter().enumerate() {
        let (component, probe) = (at / probes.len(), at % probes.len());
        if is_many {
            own.label.clone_from(&components[component]);
            groups[probe].push(own);
        } else {
            own.label.clone_from(&probes[probe]);
            // A part may be refused where others are not.
            own.measurement = format!("{name}.{}", components[component]);
            groups[component].push(own);
        }
    }
    let titled = groups.into_iter().zip(if is_many { &probes } else { &components });
    let made = titled.enumerate().map(|(at, (series, title))| Panel {
        id: format!("{}-{at}", text::slug(name)),
        title: if is_many { format!("{name} towards {title}") } else { format!("{name} of {title}") },
        unit: observable.unit.clone(),
        description: if at == 0 { observable.description.clone() } else { String::new() },
        series,
        kind: observable.kind.clone(),
        form: if is_many { Form::RowHeatMap } else { Form::SmallLines },
    });
    made.collect()
}

/// All parts against all probes at the last checkpoint that has them, for each measurement of a run.
pub(crate) fn tables(view: &RunView) -> String {
    let mut html = String::from(
        "<p class=\"note\">Positive: the loss over the posterior of the part would rise if the data became the probe. Each \
         part stands in units of its own (the density of its posterior at the checkpoint is left out), so compare the shapes \
         of the lines and the order of a column, not heights between parts.</p>",
    );
    for (name, observable) in view.observables.iter().filter(|(_, observable)| is_one(observable)) {
        html.push_str(&table(name, observable, view));
    }
    html
}

fn table(name: &str, observable: &Observable, view: &RunView) -> String {
    let Some(at) = observable.status.iter().rposition(|status| *status == Status::Done) else { return String::new() };
    let Some(step) = panel::steps_of(observable, &view.checkpoints).get(at).copied() else { return String::new() };
    let (components, probes) = (labels(observable, "component"), labels(observable, "probe"));
    let width = probes.len();
    let from = at * components.len() * width;
    let finite = |values: &[Option<f64>], i: usize| values.get(from + i).copied().flatten().filter(|x| x.is_finite());
    let value = |i: usize| finite(&observable.values.values, i);
    let error = |i: usize| finite(&observable.standard_errors.values, i).filter(|se| *se >= 0.0);
    let largest = |probe: usize| {
        let column = (0..components.len()).filter_map(|component| value(component * width + probe));
        column.fold(0.0, |largest: f64, x| largest.max(x.abs()))
    };
    let largest: Vec<f64> = (0..width).map(largest).collect();
    let refused = observable.details.get(at).map(refused_parts).unwrap_or_default();

    let step = number::count(step);
    let mut html = format!(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{0} at step {step}\"><table class=\"map\"><caption>{0} at \
         step {step}, {1}</caption><thead><tr><th scope=\"col\">part</th>",
        escape(name),
        escape(unit_name(&observable.unit))
    );
    let unit = &observable.unit;
    let mut header = vec!["component".to_owned()];
    for probe in &probes {
        let _ = write!(html, "<th scope=\"col\" class=\"n\">{}</th>", escape(probe));
        header.extend([csv::column(probe, unit), csv::column(&format!("{probe} standard error"), unit)]);
    }
    header.push("refused because".to_owned());
    let mut data = Csv::new(header);
    html.push_str("</tr></thead><tbody>");
    for (component, label) in components.iter().enumerate() {
        let _ = write!(html, "<tr><th scope=\"row\">{}</th>", escape(label));
        let mut row = vec![label.clone()];
        for (probe, largest) in largest.iter().enumerate() {
            let i = component * width + probe;
            row.extend([csv::cell(value(i)), csv::cell(error(i))]);
            let share = value(i).filter(|_| *largest > 0.0).map_or(0.0, |x| x.abs() / largest);
            let level = (share * LEVELS).min(LEVELS - 1.0) as usize;
            let ink = if level >= 8 { " over" } else { "" };
            let (shade, words) = match value(i) {
                Some(x) => (format!("f{level}{ink}"), number::estimate(x, error(i))),
                None => ("refused-row".to_owned(), "refused".to_owned()),
            };
            let _ = write!(html, "<td class=\"n {shade}\">{words}</td>");
        }
        html.push_str("</tr>");
        let why = refused.iter().find(|(number, _)| *number == component);
        row.push(why.map_or_else(String::new, |(_, why)| (*why).to_owned()));
        data.push(row);
    }
    html.push_str("</tbody></table></div>");
    html.push_str(
        "<p class=\"note\">± one standard error; stronger shades are farther from 0, each column with its own.</p>",
    );
    for (_, why) in &refused {
        let _ = write!(html, "<p class=\"note\">Refused: {}.</p>", escape(why));
    }
    let _ = write!(
        html,
        "<p class=\"foot\">{}</p>",
        data.link(&format!("{name}-at-{}", step.replace(',', "")), "Table as CSV")
    );
    html
}

fn labels(observable: &Observable, dim: &str) -> Vec<String> {
    observable.coordinates.get(dim).into_iter().flatten().map(Coordinate::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    fn made(components: &[&str]) -> (RunView, Vec<Panel>) {
        let mut view = sample::grokking(24, 0);
        let answers = sample::susceptibility(components, &["test", "all"], &view.checkpoints, |_| 0.0);
        view.observables.insert("answers".to_owned(), answers);
        let sections = panel::sections(&view);
        let panels = sections.into_iter().find(|section| section.heading == HEADING).unwrap().panels;
        (view, panels)
    }

    #[test]
    fn each_part_has_a_figure_with_its_own_refusals() {
        let (view, panels) = made(&["full", "blocks.0.attn.W_Q", "unembed"]);
        let titles: Vec<&str> = panels.iter().map(|panel| panel.title.as_str()).collect();
        assert_eq!(titles, ["answers of full", "answers of blocks.0.attn.W_Q", "answers of unembed"]);
        let labels: Vec<&str> = panels[1].series.iter().map(|series| series.label.as_str()).collect();
        assert_eq!(labels, ["test", "all"]);
        assert_eq!(panels[1].series[1].address, "answers.blocks.0.attn.W_Q.all");
        let refused: Vec<usize> = panels.iter().map(|panel| panel.refusals().len()).collect();
        let n_refused = (0..24).filter(|at| *at == 23 || at % 7 == 2).count();
        assert_eq!(refused, [0, n_refused, 0]);
        // What one part has at a step, it has at that step's place.
        let values = &view.observables["answers"].values.values;
        assert_eq!(panels[2].series[1].points[5].value, values[5 * 6 + 2 * 2 + 1]);
    }

    #[test]
    fn many_parts_become_a_map_for_each_probe_with_shades_for_each_row() {
        let labels: Vec<String> = (0..14).map(|head| format!("l0h{head}")).collect();
        let (view, panels) = made(&labels.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(panels.iter().map(|panel| panel.form).collect::<Vec<_>>(), [Form::RowHeatMap; 2]);
        assert_eq!((panels[1].series.len(), panels[1].series[13].label.as_str()), (14, "l0h13"));
        let frame = crate::chart::Frame::of(&view).unwrap();
        let html = crate::heatmap::heat_map(&panels[0], &frame);
        // Every row has its darkest colour somewhere, although the rows differ a hundredfold.
        let darkest = html.split("<path class=\"h15\" d=\"").nth(1).unwrap().split('"').next().unwrap();
        let tops: std::collections::BTreeSet<&str> = darkest
            .split('M')
            .skip(1)
            .map(|cell| cell.split(['H', 'V']).next().unwrap().split(' ').nth(1).unwrap())
            .collect();
        assert_eq!(tops.len(), 14, "{tops:?}");
        assert!(html.contains("greatest of each row"));
    }

    #[test]
    fn the_table_is_of_the_last_checkpoint_and_says_what_is_refused() {
        let (mut view, _) = made(&["full", "l0h0", "unembed"]);
        let html = tables(&view);
        assert!(html.contains("answers at step 3,000, nats") && html.contains("download=\"answers-at-3000.csv\""));
        assert_eq!(html.matches("<td class=\"n refused-row\">refused</td>").count(), 2);
        assert!(html.contains("Refused: l0h0: not converged, the chains disagree"));
        assert_eq!(html.matches(" ± ").count(), 4);
        // Refused as a whole, the last checkpoint gives way to the one before.
        let last = view.observables.get_mut("answers").unwrap();
        last.status[23] = Status::Refused { verdict: "diverged".to_owned(), reason: String::new() };
        assert!(!tables(&view).contains("at step 3,000"));
        let none = view.observables.get_mut("answers").unwrap();
        none.status.fill(Status::Missing);
        assert!(!tables(&view).contains("<table"));
    }
}
