//! The page of the atlas: every study with its verdict, and what is not asked yet.

use std::fmt::Write as _;

use ontogeny_store::{Atlas, AtlasRow, JudgedHypothesis, Judgement, StudyVerdict};

use super::grid::Grid;
use super::{STYLE, drawable, words};
use crate::chart::round;
use crate::number;
use crate::page;
use crate::text::{breakable, counted, escape};

/// The atlas as one self-contained HTML page, which links each study to `ID-SCALE.html` beside it.
///
/// Like [`study_page`](super::study_page), it loads nothing, needs no script, and the same atlas gives the same bytes.
pub fn atlas_page(atlas: &Atlas) -> String {
    let mut html = page::opening("Atlas of studies", STYLE, " class=\"atlas\"");
    let _ = write!(
        html,
        "<header class=\"prose\"><h1>Atlas of studies</h1><p class=\"summary\">{}</p>{}</header>",
        escape(&summary(atlas)),
        tally(atlas)
    );
    if !atlas.studies.is_empty() {
        html.push_str(
            "<section><h2>Studies</h2><p class=\"note prose\">Effect is the estimate of the hypothesis that answers the question, with its 95 % interval. \
             The strip shows it in units of the smallest effect of interest, to the right on the side claimed: solid line no effect, dashed line (or shaded band) the smallest effect; \
             arrows are ends beyond three of them. q is the p-value after Benjamini and Hochberg's correction over all hypotheses of the atlas.</p>",
        );
        html.push_str(&table(atlas));
        html.push_str("</section>");
    }
    if !atlas.left_out.is_empty() {
        html.push_str("<section class=\"prose\"><h2>Not asked yet</h2><dl>");
        for (id, reason) in &atlas.left_out {
            let _ = write!(html, "<dt>{}</dt><dd>{}</dd>", escape(id), escape(reason));
        }
        html.push_str("</dl></section>");
    }
    html.push_str(&page::foot());
    html
}

/// Studies by verdict, in the order in which they are told; `None` is one that has not been run.
pub(super) fn counts(atlas: &Atlas) -> [(Option<Judgement>, usize); 4] {
    [Some(Judgement::Supported), Some(Judgement::Refuted), Some(Judgement::Undecided), None].map(|outcome| {
        let is_it = |row: &&AtlasRow| row.verdict.as_ref().map(|verdict| verdict.outcome) == outcome;
        (outcome, atlas.studies.iter().filter(is_it).count())
    })
}

/// `5 studies: 2 supported, 1 refuted, 1 undecided, 1 not run. 2 questions are not asked yet.`
pub(super) fn summary(atlas: &Atlas) -> String {
    let parts: Vec<String> = counts(atlas)
        .into_iter()
        .filter(|(_, n)| *n > 0)
        .map(|(outcome, n)| format!("{n} {}", outcome.map_or("not run", words::word)))
        .collect();
    let n = atlas.studies.len();
    let noun = if n == 1 { "study" } else { "studies" };
    let mut text = format!("{} {noun}", number::count(n as u64));
    if !parts.is_empty() {
        let _ = write!(text, ": {}", parts.join(", "));
    }
    text.push('.');
    let exploratory = atlas.studies.iter().filter(|row| row.verdict.as_ref().is_some_and(|v| !v.confirmatory)).count();
    if exploratory > 0 {
        let verb = if exploratory == 1 { "is" } else { "are" };
        let _ = write!(text, " {exploratory} of them {verb} exploratory.");
    }
    if !atlas.left_out.is_empty() {
        let verb = if atlas.left_out.len() == 1 { "is" } else { "are" };
        let _ = write!(text, " {} {verb} not asked yet.", counted(atlas.left_out.len(), "question"));
    }
    text
}

/// The verdicts as one bar and in words.
fn tally(atlas: &Atlas) -> String {
    if atlas.studies.is_empty() {
        return String::new();
    }
    let mut bar = String::from("<div class=\"tally\" aria-hidden=\"true\">");
    let mut list = String::from("<ul class=\"counts\">");
    for (outcome, n) in counts(atlas) {
        if n > 0 {
            let class = outcome.map_or("open", words::word);
            let _ = write!(bar, "<i class=\"{class}\" style=\"flex:{n}\"></i>");
            let _ = write!(list, "<li>{} {}</li>", words::chip(outcome), number::count(n as u64));
        }
    }
    format!("{bar}</div>{list}</ul>")
}

fn table(atlas: &Atlas) -> String {
    let columns = [
        ("study", "wrap"),
        ("question", "long"),
        ("verdict", ""),
        ("answer", "long"),
        ("effect [95 % interval]", "wrap wide"),
        ("in smallest effects", ""),
        ("seeds", "n"),
        ("q", "n"),
        ("time", "n"),
    ];
    let mut grid = Grid::new(&columns, true);
    for row in &atlas.studies {
        let Some(verdict) = &row.verdict else {
            let mut cells = vec![breakable(&row.id), escape(&row.question), words::chip(None)];
            cells.resize(columns.len(), String::new());
            grid.row(cells);
            continue;
        };
        let first = verdict.hypotheses.first();
        let kind = if verdict.confirmatory { "" } else { "<br><span class=\"quiet\">exploratory</span>" };
        grid.row(vec![
            format!(
                "<a href=\"{}\">{}</a><br><span class=\"quiet\">{}</span>",
                link(verdict),
                breakable(&row.id),
                escape(&verdict.scale)
            ),
            escape(&row.question),
            format!("{}{kind}", words::chip(Some(verdict.outcome))),
            escape(&verdict.answer),
            first.and_then(words::effect).map_or_else(|| "no estimate".to_owned(), |effect| words::unbroken(&effect)),
            first.map(strip).unwrap_or_default(),
            number::count(words::seeds(verdict) as u64),
            escape(&q_value(row)),
            words::duration(verdict.seconds),
        ]);
    }
    grid.html("Studies").replace("<table class=\"stack\">", "<table class=\"stack studies\">")
}

/// The page of a study, beside that of the atlas.
fn link(verdict: &StudyVerdict) -> String {
    // A name of a file: no slash may make a path of it.
    words::address(&format!("{}-{}", verdict.id, verdict.scale)).replace('/', "%2F") + ".html"
}

/// The q-value of the hypothesis that answers the question.
pub(super) fn q_value(row: &AtlasRow) -> String {
    let first = row.verdict.as_ref().and_then(|verdict| verdict.hypotheses.first());
    let q = first.and_then(|hypothesis| row.q_values.get(&hypothesis.id));
    q.map_or_else(|| "–".to_owned(), |q| number::p_value(*q))
}

/// Smallest effects on either side that a strip shows.
const REACH: f64 = 3.0;

/// The effect in units of the smallest one of interest, to the right on the side claimed; nothing where it has none.
fn strip(hypothesis: &JudgedHypothesis) -> String {
    let size = hypothesis.smallest_effect.abs();
    let found =
        hypothesis.effect.as_ref().and_then(|e| drawable(e.estimate).map(|estimate| (estimate, words::ends(e))));
    let (Some((estimate, ends)), true) = (found, size > 0.0 && drawable(size).is_some()) else { return String::new() };
    let is_less = hypothesis.direction == "less";
    let sign = if is_less { -1.0 } else { 1.0 };
    let scaled = |x: f64| sign * (x - hypothesis.no_effect) / size;
    let ends = if is_less { [ends[1], ends[0]] } else { ends }.map(|end| end.map(scaled));
    let Some(center) = drawable(scaled(estimate)) else { return String::new() };
    let at = |x: f64| round(50.0 + 50.0 * (x / REACH).clamp(-1.0, 1.0));
    let mut svg = format!(
        "<svg class=\"strip\" role=\"img\" aria-label=\"{} smallest effects\"><line class=\"grid\" x1=\"0\" x2=\"100%\" y1=\"50%\" y2=\"50%\"/>",
        words::short(center)
    );
    if hypothesis.direction == "within" {
        let _ = write!(
            svg,
            "<rect class=\"margin\" x=\"{}%\" width=\"{}%\" height=\"100%\"/>",
            at(-1.0),
            round(at(1.0) - at(-1.0))
        );
    }
    svg.push_str("<line class=\"no-effect\" x1=\"50%\" x2=\"50%\" y1=\"0\" y2=\"100%\"/>");
    let least: &[f64] = if matches!(hypothesis.direction.as_str(), "greater" | "less") { &[1.0] } else { &[-1.0, 1.0] };
    for x in least {
        let _ = write!(svg, "<line class=\"least\" x1=\"{0}%\" x2=\"{0}%\" y1=\"0\" y2=\"100%\"/>", at(*x));
    }
    let [lower, upper] = ends.map(|end| end.filter(|x| x.abs() <= REACH));
    // An interval beyond the strip is a stump with its arrow at that side.
    let from = lower.unwrap_or(if ends[0].is_some_and(|x| x > REACH) { REACH } else { -REACH });
    let to = upper.unwrap_or(if ends[1].is_some_and(|x| x < -REACH) { -REACH } else { REACH });
    let _ = write!(svg, "<line class=\"range\" x1=\"{}%\" x2=\"{}%\" y1=\"50%\" y2=\"50%\"/>", at(from), at(to));
    let left = "<svg x=\"0\" y=\"50%\"><path class=\"arrow\" d=\"M-6 0l8-4.5v9z\"/></svg>";
    let right = "<svg x=\"100%\" y=\"50%\"><path class=\"arrow\" d=\"M6 0l-8-4.5v9z\"/></svg>";
    if from == -REACH && lower != Some(-REACH) {
        svg.push_str(left);
    }
    if to == REACH && upper != Some(REACH) {
        svg.push_str(right);
    }
    if center.abs() <= REACH {
        let _ = write!(svg, "<circle class=\"estimate\" cx=\"{}%\" cy=\"50%\" r=\"4.5\"/>", at(center));
    }
    svg.push_str("</svg>");
    svg
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn counts_and_links_are_those_of_the_rows() {
        let atlas = sample::atlas();
        assert_eq!(
            summary(&atlas),
            "5 studies: 2 supported, 1 refuted, 1 undecided, 1 not run. 1 of them is exploratory. 2 questions are not asked yet."
        );
        let html = atlas_page(&atlas);
        for link in ["N1.1-small.html", "N1.2-small.html", "N2.7-small.html", "N5.3-small.html"] {
            assert_eq!(html.matches(&format!("href=\"{link}\"")).count(), 1, "{link}");
        }
        assert!(!html.contains("N9.9-") && html.contains("not run") && html.contains("Needs networks of a billion"));
        assert!(html.contains("0.0017"), "the q-value of the answering hypothesis");
    }

    #[test]
    fn a_strip_points_to_the_claimed_side() {
        let study = sample::study();
        let center = |index: usize| -> f64 {
            let svg = strip(&study.hypotheses[index]);
            svg.split("cx=\"").nth(1).unwrap().split('%').next().unwrap().parse().unwrap()
        };
        assert_eq!(center(3), round(50.0 + 50.0 * 0.82 / 0.3 / 3.0), "−0.82 where less is claimed is to the right");
        assert!(center(2) > 50.0 && strip(&study.hypotheses[2]).contains("class=\"margin\""));
        let beyond = strip(&study.hypotheses[0]);
        assert!(!beyond.contains("<circle") && beyond.contains("class=\"arrow\""), "3.1 smallest effects: {beyond}");
        assert_eq!(strip(&study.hypotheses[4]), "", "no estimate");
    }

    #[test]
    fn an_empty_atlas_is_a_page() {
        let empty = Atlas { studies: Vec::new(), left_out: std::collections::BTreeMap::new() };
        let html = atlas_page(&empty);
        assert!(html.contains("0 studies.") && html.ends_with("</html>\n"));
    }
}
