//! The tables: transitions, stage boundaries, estimates with their diagnostics, and where the run comes from.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use ontogeny_store::{Boundary, Detail, Observable, RunInfo, RunView, Stage, Status, Transition, refused_parts};

use crate::csv::{self, Csv};
use crate::number;
use crate::panel::{self, Series};
use crate::text::{LONG_NAME, breakable, escape, unit_name, unit_suffix};
use crate::{influence, response};

/// Diagnostics in the order a reader wants them, with their headings; others follow by name.
const KNOWN: [(&str, &str); 12] = [
    ("verdict", "verdict"),
    ("r_hat", "R̂"),
    ("ess_bulk", "bulk ESS (draws)"),
    ("ess_tail", "tail ESS (draws)"),
    ("mcse", "MCSE"),
    ("baseline_loss", "baseline loss (nats)"),
    ("n_beta", "nβ"),
    ("step_size", "step size ε"),
    ("localization", "localization γ"),
    ("chains", "chains"),
    ("burn_in", "burn-in (draws)"),
    ("draws", "draws per chain"),
];

/// More rows than this scroll inside their table.
const LONG: usize = 40;

/// Transitions and stage boundaries; `none` is said in place of the transitions where there are none.
pub(crate) fn transitions(transitions: &[Transition], stages: &[Boundary], intervals: &[Stage], none: &str) -> String {
    let mut html = String::from("<section><h2>Transitions and stages</h2>");
    if transitions.is_empty() {
        let _ = write!(html, "<p>{none}</p>");
    } else {
        let mut table =
            Table::new(&["transition", "observable", "step", "95 % interval", "width (decades)", "size", "p"]);
        for t in transitions {
            table.row(&[
                t.label.clone().unwrap_or_else(|| "–".to_owned()),
                t.observable.clone(),
                number::step(t.step),
                format!("[{}, {}]", number::step(t.lower), number::step(t.upper)),
                number::value(t.width_decades),
                format!("{}{}", number::change(t.size), unit_suffix(&t.unit)),
                number::p_value(t.p_value),
            ]);
        }
        html.push_str(&table.html("Transitions"));
        html.push_str(&found(transitions, &[]));
    }
    if !stages.is_empty() {
        let mut table = Table::new(&["boundary between", "step", "95 % interval", "agreed by"]);
        for (index, b) in stages.iter().enumerate() {
            table.row(&[
                format!("stages {} and {}", index + 1, index + 2),
                number::step(b.step),
                format!("[{}, {}]", number::step(b.lower), number::step(b.upper)),
                b.observables.join(", "),
            ]);
        }
        html.push_str(&table.html("Stage boundaries"));
        html.push_str(&found(&[], stages));
        html.push_str(&changes(intervals));
    }
    html.push_str("</section>");
    html
}

/// Most observables with a column of their own in the table of stages; the file has all.
const MOST_CHANGES: usize = 6;

/// How the run changes in each stage.
fn changes(intervals: &[Stage]) -> String {
    let Some(first) = intervals.first() else { return String::new() };
    let shown = first.changes.len().min(MOST_CHANGES);
    let names: Vec<String> =
        first.changes[..shown].iter().map(|c| format!("Δ {}{}", c.observable, unit_suffix(&c.unit))).collect();
    let mut head = vec!["stage", "steps", "type"];
    head.extend(names.iter().map(String::as_str));
    let mut table = Table::new(&head);
    let columns = ["stage", "from (step)", "to (step)", "type", "observable", "change", "standard error", "unit"];
    let mut data = Csv::new(columns.iter().map(|h| (*h).to_owned()).collect());
    for (index, stage) in intervals.iter().enumerate() {
        let number_and_kind = [(index + 1).to_string(), stage.kind.clone().unwrap_or_else(|| "–".to_owned())];
        let mut row = vec![
            number_and_kind[0].clone(),
            format!("{} to {}", number::step(stage.from), number::step(stage.to)),
            number_and_kind[1].clone(),
        ];
        row.extend(
            stage.changes[..shown]
                .iter()
                .map(|c| format!("{} ± {}", number::change(c.change), number::value(c.standard_error))),
        );
        table.row(&row);
        for c in &stage.changes {
            data.push(vec![
                (index + 1).to_string(),
                csv::cell(Some(stage.from)),
                csv::cell(Some(stage.to)),
                stage.kind.clone().unwrap_or_default(),
                c.observable.clone(),
                csv::cell(Some(c.change)),
                csv::cell(Some(c.standard_error)),
                unit_name(&c.unit).to_owned(),
            ]);
        }
    }
    let note = "Change of the smoothed curve over each stage ± its standard error. Type A: the learning coefficient rises beyond its \
                error; type B: it falls (Hoogland et al. 2024).";
    let link = data.link("stage changes", "Changes as CSV");
    format!("{}<p class=\"note\">{note}</p><p class=\"foot\">{link}</p>", table.html("Stages"))
}

/// Links to what was found as CSV, under its table and under the strip; nothing where nothing was found.
pub(crate) fn found(transitions: &[Transition], stages: &[Boundary]) -> String {
    let csv = |header: &[&str]| Csv::new(header.iter().map(|h| (*h).to_owned()).collect());
    let mut links = Vec::new();
    if !transitions.is_empty() {
        let mut data = csv(&[
            "transition",
            "observable",
            "step",
            "lower (step)",
            "upper (step)",
            "width (decades)",
            "size",
            "unit of size",
            "p",
        ]);
        for t in transitions {
            let numbers = [t.step, t.lower, t.upper, t.width_decades, t.size].map(|x| csv::cell(Some(x)));
            let words = [t.label.clone().unwrap_or_default(), t.observable.clone()];
            let unit = unit_name(&t.unit).to_owned();
            data.push(words.into_iter().chain(numbers).chain([unit, csv::cell(Some(t.p_value))]).collect());
        }
        links.push(data.link("transitions", "Transitions as CSV"));
    }
    if !stages.is_empty() {
        let mut data = csv(&["step", "lower (step)", "upper (step)", "observables"]);
        for b in stages {
            let numbers = [b.step, b.lower, b.upper].map(|x| csv::cell(Some(x)));
            data.push(numbers.into_iter().chain([b.observables.join(" ")]).collect());
        }
        links.push(data.link("stages", "Stage boundaries as CSV"));
    }
    if links.is_empty() { String::new() } else { format!("<p class=\"foot\">{}</p>", links.join(" · ")) }
}

/// One table for each measurement that comes with errors, diagnostics or refusals.
pub(crate) fn estimates(view: &RunView) -> String {
    let tables: String = view
        .observables
        .iter()
        .filter(|(_, o)| is_estimated(o))
        .map(|(name, o)| estimate_table(name, o, view))
        .collect();
    if tables.is_empty() { tables } else { format!("<section><h2>Estimates</h2>{tables}</section>") }
}

/// Whether an observable is estimated rather than computed exactly.
pub(crate) fn is_estimated(observable: &Observable) -> bool {
    observable.standard_errors.values.iter().any(Option::is_some)
        || observable.details.iter().any(|d| !d.is_empty())
        || observable.status.iter().any(|s| matches!(s, Status::Refused { .. }))
}

fn estimate_table(name: &str, observable: &Observable, view: &RunView) -> String {
    let series = panel::series_of(name, observable, &view.checkpoints);
    let (shared, varying) = split_details(observable);
    // A long list of components, parts against probes, and pairs have their own figures or tables and CSV.
    let is_elsewhere = series.len() > 8 || response::is_one(observable) || influence::is_one(observable);
    let series: &[Series] = if is_elsewhere { &[] } else { &series };
    let mut header = vec!["step".to_owned()];
    let mut data_header = header.clone();
    for s in series {
        header.push(csv::column(&s.address, &observable.unit));
        data_header
            .extend([&s.address, &format!("{} standard error", s.address)].map(|c| csv::column(c, &observable.unit)));
    }
    header.extend(varying.iter().map(|key| heading(key)));
    // The key alone names a column of the data, in the unit of its heading or, of an error, in that of the estimate.
    data_header.extend(varying.iter().map(|key| match heading(key).split_once(" (") {
        Some((_, unit)) => format!("{key} ({unit}"),
        None if *key == "mcse" => csv::column(key, &observable.unit),
        None => (*key).to_owned(),
    }));
    header.push("refused because".to_owned());
    data_header.extend(["status", "reason"].map(String::from));
    let mut table = Table::new(&header.iter().map(String::as_str).collect::<Vec<_>>());
    let mut data = Csv::new(data_header);
    for (at, step) in panel::steps_of(observable, &view.checkpoints).iter().enumerate() {
        let status = observable.status.get(at).unwrap_or(&Status::Missing);
        let mut row = vec![number::count(*step)];
        let mut data_row = vec![step.to_string()];
        for s in series {
            let point = s.points.iter().find(|p| p.step == *step as f64);
            let (value, se) = point.map_or((None, None), |p| (p.value, p.standard_error));
            row.push(value.map_or("–".to_owned(), |v| number::estimate(v, se)));
            data_row.extend([csv::cell(value), csv::cell(se)]);
        }
        for key in &varying {
            let detail = observable.details.get(at).and_then(|d| d.get(*key));
            row.push(detail.map_or("–".to_owned(), |d| words(key, d)));
            data_row.push(match detail {
                Some(Detail::Number(x)) => csv::cell(*x),
                Some(Detail::Text(text)) => text.clone(),
                None => String::new(),
            });
        }
        let (state, reason) = match status {
            Status::Missing => ("missing", "not measured yet".to_owned()),
            Status::Done => {
                let parts = observable.details.get(at).map(refused_parts).unwrap_or_default();
                let reasons: Vec<&str> = parts.iter().map(|(_, why)| *why).collect();
                (if parts.is_empty() { "done" } else { "refused in part" }, reasons.join("; "))
            }
            Status::Refused { verdict, reason } => ("refused", panel::refusal_words(verdict, reason)),
        };
        // The table says the verdict once, also where it is among the diagnostics.
        let told = observable.details.get(at).and_then(|details| details.get("verdict"));
        row.push(match status {
            Status::Refused { verdict, reason }
                if !reason.is_empty() && told == Some(&Detail::Text(verdict.clone())) =>
            {
                reason.clone()
            }
            _ => reason.clone(),
        });
        data_row.extend([state.to_owned(), reason]);
        let is_refused = matches!(status, Status::Refused { .. });
        if is_refused {
            table.refused_row(&row);
        } else {
            table.row(&row);
        }
        data.push(data_row);
    }
    table.drop_empty_last_column();
    let mut html = format!("<h3>{}</h3>", escape(name));
    if !shared.is_empty() {
        let settings: Vec<String> =
            shared.iter().map(|(key, value)| format!("{} {value}", escape(&heading(key)))).collect();
        let _ = write!(html, "<p>The same at every step: {}.</p>", settings.join(", "));
    }
    html.push_str(&table.html(&format!("Estimates of {name}")));
    let _ = write!(html, "<p class=\"foot\">{}</p>", data.link(&format!("{name}-estimates"), "Estimates as CSV"));
    html
}

/// Details that are the same at all steps, with their value, and the names of those that are not; the verdict always counts as varying.
fn split_details(observable: &Observable) -> (Vec<(&str, String)>, Vec<&str>) {
    // Details of single parts or pairs, which have a dot in their names, stand in the column of reasons or in other tables.
    let keys = observable.details.iter().flat_map(BTreeMap::keys).map(String::as_str).filter(|key| !key.contains('.'));
    let keys: BTreeSet<&str> = keys.collect();
    let rank = |key: &str| KNOWN.iter().position(|(known, _)| *known == key).unwrap_or(KNOWN.len());
    let mut keys: Vec<&str> = keys.into_iter().collect();
    keys.sort_by_key(|key| (rank(key), *key));
    let (mut shared, mut varying) = (Vec::new(), Vec::new());
    for key in keys {
        let mut present = observable.details.iter().filter_map(|d| d.get(key));
        let first = present.next();
        let is_setting = rank(key) >= rank("n_beta");
        match first {
            Some(value) if is_setting && present.all(|v| v == value) => {
                shared.push((key, escape(&words(key, value))));
            }
            _ => varying.push(key),
        }
    }
    (shared, varying)
}

/// A detail as it is read; an effective sample size is a whole number, an error has two digits.
fn words(key: &str, detail: &Detail) -> String {
    match detail {
        Detail::Number(Some(x)) if key.starts_with("ess") && *x >= 1.0 => number::count(x.round() as u64),
        Detail::Number(Some(x)) if key == "mcse" => number::significant(*x, 2),
        Detail::Number(x) => x.map_or("–".to_owned(), number::value),
        Detail::Text(text) => text.clone(),
    }
}

fn heading(key: &str) -> String {
    KNOWN
        .iter()
        .find(|(known, _)| *known == key)
        .map_or_else(|| key.replace('_', " "), |(_, heading)| (*heading).to_owned())
}

/// Configuration, versions, hashes and the command that makes the run again.
pub(crate) fn provenance(run: &RunInfo) -> String {
    let mut rows = vec![
        ("folder".to_owned(), run.directory.clone()),
        ("ontogeny".to_owned(), run.version.clone()),
        ("instruction set".to_owned(), run.instruction_set.clone()),
        ("seed".to_owned(), run.seed.to_string()),
    ];
    rows.extend(run.hashes.iter().map(|(name, hash)| (format!("hash of {name}"), hash.clone())));
    let mut html = String::from("<section><h2>Where this comes from</h2><p>This command makes the run again:</p>");
    let _ = write!(html, "<pre tabindex=\"0\" class=\"command\"><code>{}</code></pre><dl>", escape(&run.command));
    for (name, value) in rows {
        let _ = write!(html, "<dt>{}</dt><dd>{}</dd>", escape(&name), escape(&value));
    }
    let _ = write!(
        html,
        "</dl><h3>Configuration</h3><pre tabindex=\"0\" class=\"configuration\"><code>{}</code></pre></section>",
        escape(run.configuration.trim_end())
    );
    html
}

/// A table of text cells; columns whose cells begin like numbers are set right.
pub(crate) struct Table {
    header: Vec<String>,
    rows: Vec<(bool, Vec<String>)>,
}

impl Table {
    pub(crate) fn new(header: &[&str]) -> Self {
        Self { header: header.iter().map(|h| (*h).to_owned()).collect(), rows: Vec::new() }
    }

    pub(crate) fn row(&mut self, cells: &[String]) {
        self.rows.push((false, cells.to_vec()));
    }

    fn refused_row(&mut self, cells: &[String]) {
        self.rows.push((true, cells.to_vec()));
    }

    fn drop_empty_last_column(&mut self) {
        if self.rows.iter().all(|(_, cells)| cells.last().is_none_or(String::is_empty)) {
            self.header.pop();
            self.rows.iter_mut().for_each(|(_, cells)| drop(cells.pop()));
        }
    }

    pub(crate) fn html(&self, name: &str) -> String {
        let is_number = |column: usize| {
            let mut cells = self.rows.iter().map(|(_, cells)| cells[column].as_str()).filter(|c| *c != "–").peekable();
            cells.peek().is_some() && cells.all(|c| c.starts_with(|c: char| "0123456789+\u{2212}(<[".contains(c)))
        };
        let numeric: Vec<bool> = (0..self.header.len()).map(is_number).collect();
        let class = |column: usize| if numeric[column] { " class=\"n\"" } else { "" };
        // A long table scrolls under its header; a short one is read at once.
        let tall = if self.rows.len() > LONG { " tall" } else { "" };
        let mut html = format!(
            "<div class=\"scroll{tall}\" tabindex=\"0\" role=\"region\" aria-label=\"{}\"><table><thead><tr>",
            escape(name)
        );
        for (column, heading) in self.header.iter().enumerate() {
            let _ = write!(html, "<th scope=\"col\"{}>{}</th>", class(column), breakable(heading));
        }
        html.push_str("</tr></thead><tbody>");
        for (is_refused, cells) in &self.rows {
            html.push_str(if *is_refused { "<tr class=\"refused-row\">" } else { "<tr>" });
            for (column, cell) in cells.iter().enumerate() {
                let is_long = !numeric[column] && cell.chars().count() > LONG_NAME;
                let class = if is_long { " class=\"long\"" } else { class(column) };
                let _ = write!(html, "<td{class}>{}</td>", breakable(cell));
            }
            html.push_str("</tr>");
        }
        html.push_str("</tbody></table></div>");
        html
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn refused_estimates_show_their_reason_and_diagnostics_but_no_value() {
        let html = estimates(&sample::grokking(24, 2));
        // Of `llc` and of `pairs`.
        assert_eq!(html.matches("class=\"refused-row\"").count(), 4);
        assert!(html.contains("<td class=\"n\">–</td><td>not converged</td><td class=\"n\">1.31</td>"));
        assert!(html.contains("<td>R̂ 1.31 is above 1.05</td>") && !html.contains("<td>not converged, R̂"));
        assert!(html.contains(
            "The same at every step: nβ 193.7, step size ε 2 × 10⁻⁵, localization γ 300, chains 4, draws per chain 200."
        ));
    }

    #[test]
    fn a_part_that_is_refused_alone_is_named_beside_the_others() {
        let html = estimates(&sample::grokking(24, 0));
        let answers = html.split("<h3>answers</h3>").nth(1).unwrap();
        assert!(answers.contains("<td class=\"long\">l0h0: not converged, the chains disagree"));
        assert!(!answers.contains("refused.1") && answers.contains("refused%20in%20part"));
    }

    #[test]
    fn exact_measurements_have_no_table_of_estimates() {
        let mut view = sample::grokking(24, 0);
        view.observables.retain(|name, _| !["answers", "pairs"].contains(&name.as_str()));
        let html = estimates(&view);
        assert!(
            html.contains("<h3>llc</h3>") && html.contains("<h3>llc_unembed</h3>") && !html.contains("<h3>loss</h3>")
        );
        assert!(!html.contains("refused because"));
    }

    #[test]
    fn transitions_carry_units_intervals_and_p_values() {
        let view = sample::grokking(24, 0);
        let html = transitions(&view.transitions, &view.stages, &view.intervals, "none");
        assert!(html.contains("<td class=\"n\">3</td><td class=\"n\">410 to 2,600</td><td>B</td>"), "{html}");
        assert!(html.contains("Δ llc.full") && html.contains("Changes as CSV"));
        assert!(html.contains("<td>loss.train</td><td class=\"n\">90</td><td class=\"n\">[80, 105]</td><td class=\"n\">0.42</td><td class=\"n\">−3.9 nats</td><td class=\"n\">&lt; 0.0001</td>"), "{html}");
        let none = transitions(&[], &[], &[], "No transition was found.");
        assert!(none.contains("<p>No transition was found.</p>") && !none.contains("<table>"));
    }
}
