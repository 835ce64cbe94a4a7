//! The figure of effects: a row for each hypothesis, each on its own scale.

use std::fmt::Write as _;

use ontogeny_store::{JudgedHypothesis, StudyVerdict};

use super::effect_row;
use super::picture::{self, BOLD, Block, CHARACTERS};
use super::words;
use crate::number;
use crate::text::escape;

/// How the rows are read.
const HOW_TO_READ: &str = "Each row has its own scale. Dots are the values of single units, hollow ones outside are not defined. \
    Below them stands the estimate with its 95 % interval and, where it is another, the interval that decided, at the corrected level; an arrow \
    is an end that the data do not bound, or one beyond the axis. The solid line is no effect, the dashed ones the smallest effect of interest, the shaded band the margin \
    within which values count as equal.";

/// The figure as a section of a page; nothing without hypotheses.
pub(super) fn section(verdict: &StudyVerdict) -> String {
    if verdict.hypotheses.is_empty() {
        return String::new();
    }
    let mut html = format!("<section><h2>Effects</h2><p class=\"note\">{HOW_TO_READ}</p>");
    for (index, hypothesis) in verdict.hypotheses.iter().enumerate() {
        let id = format!("effect-{index}");
        let _ = write!(
            html,
            "<figure class=\"effect\" id=\"{id}\"><figcaption><p class=\"claim\">{} {}</p><p class=\"note\">{}</p></figcaption>",
            words::chip(Some(hypothesis.outcome)),
            escape(&hypothesis.claim),
            escape(&hypothesis.quantity)
        );
        for drawing in effect_row::drawings(hypothesis, &id) {
            let _ = write!(
                html,
                "<div class=\"plot row\" style=\"padding-top:{}px;padding-bottom:{}px\"><div style=\"height:{}px\">{}</div></div>",
                drawing.above, drawing.below, drawing.height, drawing.svg
            );
        }
        let _ =
            write!(html, "<p class=\"note\">{}</p></figure>", escape(&found(hypothesis, words::undefined(hypothesis))));
    }
    html.push_str("</section>");
    html
}

/// What was found, in a sentence or three, with the number of units that have no value.
pub(super) fn found_in_short(hypothesis: &JudgedHypothesis) -> String {
    found(hypothesis, words::undefined_in_short(hypothesis))
}

fn found(hypothesis: &JudgedHypothesis, undefined: Option<String>) -> String {
    let estimate = match (words::effect(hypothesis), &hypothesis.effect) {
        (Some(effect), Some(found)) => format!("{} {effect}", found.name),
        _ => "No estimate".to_owned(),
    };
    let p = hypothesis.p_value.filter(|p| p.is_finite()).map_or(String::new(), |p| {
        let basis = if hypothesis.basis.is_empty() { String::new() } else { format!(" ({})", hypothesis.basis) };
        format!(", p {}{basis}", number::p_value(p))
    });
    let why = hypothesis.why.as_ref().map_or(String::new(), |why| format!(" {}.", capitalised(why)));
    let undefined = undefined.map_or(String::new(), |words| format!(" {words}"));
    format!("{}{p}.{why}{undefined}", capitalised(&estimate))
}

/// With a capital letter, without the full stop that would be doubled.
pub(super) fn capitalised(text: &str) -> String {
    let mut characters = text.trim_end().trim_end_matches('.').chars();
    characters.next().map_or(String::new(), |first| first.to_uppercase().chain(characters).collect())
}

/// The figure as one SVG picture of its own, 760 pixels wide: a row for each hypothesis with its claim.
///
/// Colours are written out, light and dark. Longer claims and lists are cut with an ellipsis: the page has them whole.
pub fn effects_svg(verdict: &StudyVerdict) -> String {
    let mut blocks = Vec::new();
    for (index, hypothesis) in verdict.hypotheses.iter().enumerate() {
        let mut lines: Vec<String> = picture::wrapped(
            &format!("{}: {}", capitalised(words::word(hypothesis.outcome)), hypothesis.claim),
            BOLD,
            3,
        )
        .iter()
        .map(|line| format!("<tspan class=\"strong\">{}</tspan>", escape(line)))
        .collect();
        lines.extend(
            picture::wrapped(&hypothesis.quantity, CHARACTERS, 2)
                .iter()
                .map(|line| format!("<tspan class=\"quiet\">{}</tspan>", escape(line))),
        );
        lines.extend(
            picture::wrapped(&found_in_short(hypothesis), CHARACTERS, 3)
                .iter()
                .map(|line| format!("<tspan class=\"quiet\">{}</tspan>", escape(line))),
        );
        blocks.push(Block { lines, drawings: effect_row::drawings(hypothesis, &format!("effect-{index}")) });
    }
    let how = picture::wrapped(HOW_TO_READ, CHARACTERS, 9);
    let lines = how.iter().map(|line| format!("<tspan class=\"quiet\">{}</tspan>", escape(line))).collect();
    blocks.push(Block { lines, drawings: Vec::new() });
    picture::picture(&format!("{}, {}: effects", verdict.id, verdict.scale), &blocks)
}
