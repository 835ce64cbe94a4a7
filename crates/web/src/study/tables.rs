//! The tables of a study: hypotheses, attacks, runs, and the value of every unit.

use std::fmt::Write as _;

use ontogeny_store::{JudgedHypothesis, StudyVerdict};

use super::effects::capitalised;
use super::grid::{Grid, label};
use super::strip;
use super::words::{self, or_dash};
use crate::csv::{self, Csv};
use crate::number;
use crate::text::{breakable, counted, escape};

/// What was claimed, how it was tested, and what was found, three lines to a hypothesis.
pub(super) fn hypotheses(verdict: &StudyVerdict) -> String {
    let mut html = String::from(
        "<section><h2>Hypotheses</h2><div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Hypotheses\"><table class=\"stack claims\"><thead><tr>",
    );
    let columns = ["verdict", "test", "claimed", "estimate [95 % interval]", "p", "α left", "power", "units"];
    for (index, heading) in columns.iter().enumerate() {
        let class = if (4..7).contains(&index) { " class=\"n\"" } else { "" };
        let _ = write!(html, "<th scope=\"col\"{class}>{heading}</th>");
    }
    html.push_str("</tr></thead>");
    for hypothesis in &verdict.hypotheses {
        let _ = write!(
            html,
            "<tbody><tr class=\"claim-row\"><th scope=\"rowgroup\" colspan=\"8\"><span class=\"name\">{}</span> {}<br>{}</th></tr><tr>",
            breakable(&hypothesis.id),
            escape(&hypothesis.claim),
            words::code(&hypothesis.statistic)
        );
        let estimate = words::effect(hypothesis).map_or_else(
            || "–".to_owned(),
            |effect| {
                let name = hypothesis.effect.as_ref().map_or("", |found| found.name.as_str());
                format!("{}<br><span class=\"quiet\">{}</span>", words::unbroken(&effect), words::loose(name))
            },
        );
        let basis = if hypothesis.basis.is_empty() {
            String::new()
        } else {
            format!("<br><span class=\"quiet\">{}</span>", words::loose(&hypothesis.basis))
        };
        let [left, allowed] = [hypothesis.corrected_alpha, hypothesis.alpha]
            .map(|rate| or_dash(Some(rate), |x| number::significant(x, 2)));
        let alpha = format!("{left}<br><span class=\"quiet\">of {allowed}</span>");
        let count = |n: usize| number::count(n as u64);
        let units = format!(
            "{} of {}<br><span class=\"quiet\">{} needed</span>",
            count(words::n_defined(hypothesis)),
            count(hypothesis.values.len()),
            count(hypothesis.minimal_seeds)
        );
        let cells = [
            ("", words::chip(Some(hypothesis.outcome))),
            ("wrap", words::loose(&hypothesis.test.replace('_', " "))),
            ("wrap wide", words::unbroken(&words::claimed(hypothesis))),
            ("wrap wide", estimate),
            ("n wrap narrow", format!("{}{basis}", escape(&or_dash(hypothesis.p_value, number::p_value)))),
            ("n", alpha),
            ("n", or_dash(hypothesis.power, |x| number::significant(x, 2))),
            ("", units),
        ];
        for ((class, cell), heading) in cells.iter().zip(columns) {
            let class = if class.is_empty() { String::new() } else { format!(" class=\"{class}\"") };
            let _ = write!(html, "<td{class} data-label=\"{}\">{cell}</td>", label(heading));
        }
        html.push_str("</tr>");
        let remarks = remarks(hypothesis);
        if !remarks.is_empty() {
            let _ = write!(html, "<tr class=\"why-row\"><td colspan=\"8\">{remarks}</td></tr>");
        }
        html.push_str("</tbody>");
    }
    html.push_str("</table></div><p class=\"note\">α left is the error rate after Holm's correction within the study. Power is the probability of excluding no effect when the effect is the smallest of interest. Units are those with a value, of all.</p></section>");
    html
}

/// Why nothing else could be said, and how many units have no value.
fn remarks(found: &JudgedHypothesis) -> String {
    let why = found.why.as_ref().map(|why| format!("{}.", capitalised(why)));
    let remarks: Vec<String> = why.into_iter().chain(words::undefined_in_short(found)).collect();
    escape(&remarks.join(" "))
}

/// What was done to bring the claims down, and what became of them.
pub(super) fn attacks(verdict: &StudyVerdict) -> String {
    let mut html = String::from("<section><h2>Attacks</h2>");
    if verdict.attacks.is_empty() {
        html.push_str("<p>No attack was made on these claims.</p></section>");
        return html;
    }
    let _ = write!(html, "<p>{}</p>", attack_counts(verdict));
    let columns = [
        ("outcome", ""),
        ("kind", "wrap"),
        ("what was done", "long"),
        ("survives if", "wrap"),
        ("claim", "wrap"),
        ("effect [95 % interval]", "wrap wide"),
    ];
    let mut grid = Grid::new(&columns, true);
    for attack in &verdict.attacks {
        let effect =
            words::effect(&attack.found).map_or_else(|| "no estimate".to_owned(), |effect| words::unbroken(&effect));
        let effect = format!("{effect}{}", strip::strip(&attack.found));
        let cells = vec![
            words::attack_chip(verdict, attack),
            words::loose(&attack.kind.replace('_', " ")),
            escape(&attack.what),
            words::loose(&words::expectation(verdict, attack)),
            words::loose(&attack.hypothesis),
            effect,
        ];
        grid.row_with_remark(cells, remarks(&attack.found));
    }
    html.push_str(&grid.html("Attacks"));
    html.push_str("<p class=\"note\">The strip shows the effect in units of the smallest one of interest, to the right on the side claimed: the solid line is no effect, the dashed lines (or the shaded band) the smallest effect.</p></section>");
    html
}

/// `4 attacks: 2 survived, 1 fell, 1 could not tell.`
pub(super) fn attack_counts(verdict: &StudyVerdict) -> String {
    let count = |word: &str| verdict.attacks.iter().filter(|a| words::attack_word(verdict, a) == word).count();
    let parts: Vec<String> = ["survived", "fell", "refuted again", "not refuted", "could not tell", "nothing to lose"]
        .into_iter()
        .map(|word| (count(word), word))
        .filter(|(n, _)| *n > 0)
        .map(|(n, word)| format!("{n} {word}"))
        .collect();
    format!("{}: {}.", counted(verdict.attacks.len(), "attack"), parts.join(", "))
}

/// The runs, each with its report.
pub(super) fn runs(verdict: &StudyVerdict, runs_base: &str) -> String {
    let mut html = String::from("<section><h2>Runs</h2>");
    if verdict.runs.is_empty() {
        html.push_str("<p>The study rests on no run.</p></section>");
        return html;
    }
    let n_pilots = verdict.runs.iter().filter(|run| !run.confirmatory).count();
    let pilots = match n_pilots {
        0 => String::new(),
        n => format!(", of which {n} with a pilot's seed, which is not of the registration"),
    };
    let _ = write!(html, "<p>{}{pilots}.</p>", counted(verdict.runs.len(), "run"));
    let columns = [("family", "wrap"), ("name", "wrap"), ("seed", "n"), ("seed of", ""), ("report", "")];
    let mut grid = Grid::new(&columns, false);
    let header =
        ["family", "name", "folder", "seed", "seed of", "trajectory", "length of the registry", "head of the registry"];
    let mut data = Csv::new(header.map(str::to_owned).to_vec());
    for run in &verdict.runs {
        let seed_of = if run.confirmatory { "registration" } else { "pilot" };
        data.push(vec![
            run.family.clone(),
            run.name.clone(),
            run.directory.clone(),
            run.seed.to_string(),
            seed_of.to_owned(),
            run.trajectory.clone(),
            run.chain_length.to_string(),
            run.chain_head.clone(),
        ]);
        let directory = run.directory.trim_matches('/');
        let path = [runs_base.trim_end_matches('/'), directory, "report.html"];
        let path: Vec<&str> = path.into_iter().filter(|part| !part.is_empty()).collect();
        grid.row(vec![
            words::loose(&run.family),
            words::loose(&run.name),
            run.seed.to_string(),
            seed_of.to_owned(),
            format!("<a href=\"{}\">report</a>", words::address(&path.join("/"))),
        ]);
    }
    html.push_str(&grid.html("Runs"));
    let _ =
        write!(html, "<p class=\"foot\">{}</p></section>", data.link(&format!("{}-runs", verdict.id), "Runs as CSV"));
    html
}

/// The value of every unit, closed at first.
pub(super) fn values(verdict: &StudyVerdict) -> String {
    let found: Vec<(String, &JudgedHypothesis)> = verdict
        .hypotheses
        .iter()
        .map(|hypothesis| (hypothesis.id.clone(), hypothesis))
        .chain(
            verdict
                .attacks
                .iter()
                .map(|a| (format!("{} under attack by {}", a.hypothesis, a.kind.replace('_', " ")), &a.found)),
        )
        .collect();
    let n: usize = found.iter().map(|(_, hypothesis)| hypothesis.values.len()).sum();
    let header = ["hypothesis", "attack", "unit", "x", "value", "unit of the value", "why there is none"];
    let mut data = Csv::new(header.map(str::to_owned).to_vec());
    let mut html = String::new();
    let attacks =
        std::iter::repeat_n("", verdict.hypotheses.len()).chain(verdict.attacks.iter().map(|a| a.kind.as_str()));
    let ids =
        verdict.hypotheses.iter().map(|h| h.id.as_str()).chain(verdict.attacks.iter().map(|a| a.hypothesis.as_str()));
    for (((name, hypothesis), attack), id) in found.iter().zip(attacks).zip(ids) {
        let has_x = hypothesis.values.iter().any(|unit| unit.x.is_some());
        let all_defined = words::n_defined(hypothesis) == hypothesis.values.len();
        let mut columns = vec![("unit", "wrap"), ("value", "n")];
        if has_x {
            columns.insert(1, ("dose or other quantity", "n"));
        }
        if !all_defined {
            columns.push(("why there is none", "long"));
        }
        let mut grid = Grid::new(&columns, false);
        for unit in &hypothesis.values {
            let value = unit.value.and_then(super::drawable);
            let why = if value.is_some() { "" } else { words::reason(unit) };
            let mut cells = vec![words::loose(&unit.unit), or_dash(value, number::value)];
            if has_x {
                cells.insert(1, or_dash(unit.x, number::value));
            }
            if !all_defined {
                cells.push(escape(why));
            }
            grid.row(cells);
            data.push(vec![
                id.to_owned(),
                attack.to_owned(),
                unit.unit.clone(),
                csv::cell(unit.x),
                csv::cell(unit.value),
                hypothesis.unit.clone(),
                why.to_owned(),
            ]);
        }
        let _ = write!(
            html,
            "<h3>{} <span class=\"unit\">{}</span></h3>{}",
            breakable(name),
            escape(crate::text::unit_name(&hypothesis.unit)),
            if hypothesis.values.is_empty() {
                "<p>No unit.</p>".to_owned()
            } else {
                grid.html(&format!("Values of {name}"))
            }
        );
    }
    format!(
        "<section><h2>Values of the units</h2><details><summary>{} of {}</summary>{html}</details><p class=\"foot\">{}</p></section>",
        counted(n, "value"),
        counted(found.len(), "test"),
        data.link(&format!("{}-values", verdict.id), "Values as CSV")
    )
}
