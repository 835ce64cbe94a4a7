//! The page of the atlas: every study with its verdict, and what is not asked yet.

use std::fmt::Write as _;

use ontogeny_store::{Atlas, AtlasRow, Judgement, StudyVerdict};

use super::grid::Grid;
use super::{STYLE, strip, words};
use crate::number;
use crate::page;
use crate::text::{counted, escape};

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
             The strip shows it in units of the smallest effect of interest, to the right on the side claimed, on a scale that is narrower towards its ends at ten of them: \
             the solid line is no effect, the dashed lines (or the shaded band) the smallest effect; an arrow is an end beyond the strip. \
             q is the p-value after Benjamini and Hochberg's correction over all hypotheses of the atlas.</p>",
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
            let mut cells = vec![words::loose(&row.id), escape(&row.question), words::chip(None)];
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
                words::loose(&row.id),
                words::loose(&verdict.scale)
            ),
            escape(&row.question),
            format!("{}{kind}", words::chip(Some(verdict.outcome))),
            escape(&verdict.answer),
            first.and_then(words::effect).map_or_else(|| "no estimate".to_owned(), |effect| words::unbroken(&effect)),
            first.map(strip::strip).unwrap_or_default(),
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
    fn an_empty_atlas_is_a_page() {
        let empty = Atlas { studies: Vec::new(), left_out: std::collections::BTreeMap::new() };
        let html = atlas_page(&empty);
        assert!(html.contains("0 studies.") && html.ends_with("</html>\n"));
    }
}
