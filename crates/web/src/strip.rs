//! The strip of the run's life: stages as bands, transitions with their intervals, on the axis of all figures.

use std::fmt::Write as _;

use crate::chart::{self, Frame, round};
use crate::number;
use crate::table;
use crate::text::{counted, escape};

/// Height of one transition, in pixels.
const ROW: usize = 19;
/// Height of the row of stage numbers, in pixels.
const HEAD: usize = 22;
/// More transitions than this are drawn as marks without words; the table has the words.
const MOST_WORDS: usize = 10;
/// Longer names of transitions are shortened, in characters; hovering shows them whole.
const LONGEST_WORDS: usize = 22;

/// The whole `<figure>`.
pub(crate) fn strip(frame: &Frame<'_>) -> String {
    format!(
        "<figure id=\"life\"><div class=\"plot\" tabindex=\"0\" role=\"group\" aria-label=\"Life of the {}; left and right arrow keys move the cursor\">\
         <div class=\"frame only\" style=\"height:{}px\">{}</div></div>{}</figure>",
        frame.subject,
        height(frame),
        svg(frame),
        table::found(frame.transitions, frame.boundaries)
    )
}

/// Height of the drawing, in pixels, without the labels of its axis.
pub(crate) fn height(frame: &Frame<'_>) -> usize {
    HEAD + 4 + row(frame) * frame.transitions.len().max(1)
}

fn row(frame: &Frame<'_>) -> usize {
    if frame.transitions.len() > MOST_WORDS { 7 } else { ROW }
}

/// The drawing alone.
pub(crate) fn svg(frame: &Frame<'_>) -> String {
    let (transitions, row) = (frame.transitions, row(frame));
    let mut svg = format!("<svg class=\"chart\" role=\"img\" aria-label=\"{}\">", escape(&alternative(frame)));
    svg.push_str(&frame.bands());
    let stages = frame.stages();
    if stages.len() > 1 {
        let _ = write!(svg, "<text x=\"-7\" y=\"15\" text-anchor=\"end\">stage</text>");
        for (index, (from, to)) in stages.iter().enumerate().filter(|(_, (from, to))| to - from > 4.0) {
            let _ = write!(
                svg,
                "<text class=\"stage\" x=\"{}%\" y=\"15\" text-anchor=\"middle\">{}</text>",
                round(f64::midpoint(*from, *to)),
                index + 1
            );
        }
    }
    for boundary in frame.boundaries {
        let (from, to) = (frame.axis.position(boundary.lower), frame.axis.position(boundary.upper));
        let _ = write!(
            svg,
            "<rect class=\"boundary-interval\" x=\"{0}%\" width=\"{1}%\" height=\"100%\"/><line class=\"boundary\" x1=\"{2}%\" x2=\"{2}%\" y1=\"0\" y2=\"100%\"/>",
            round(from),
            round((to - from).max(0.0)),
            round(frame.axis.position(boundary.step))
        );
    }
    for (index, transition) in transitions.iter().enumerate() {
        let y = HEAD + row * index + row / 2;
        let at = round(frame.axis.position(transition.step));
        let (from, to) = (round(frame.axis.position(transition.lower)), round(frame.axis.position(transition.upper)));
        let _ = write!(
            svg,
            "<line class=\"life-interval\" x1=\"{from}%\" x2=\"{to}%\" y1=\"{y}\" y2=\"{y}\"/><circle class=\"life-dot\" cx=\"{at}%\" cy=\"{y}\" r=\"3.5\"><title>{}</title></circle>",
            escape(&chart::transition_words(transition))
        );
        if transitions.len() <= MOST_WORDS {
            let words = shortened(transition.label.as_ref().unwrap_or(&transition.observable));
            let (edge, dx, anchor) = if at > 40.0 { (from.min(at), -9, "end") } else { (to.max(at), 9, "start") };
            let _ = write!(
                svg,
                "<text class=\"event\" x=\"{edge}%\" dx=\"{dx}\" y=\"{y}\" dy=\".35em\" text-anchor=\"{anchor}\">{} <tspan class=\"quiet\">{}</tspan></text>",
                escape(&words),
                number::step(transition.step)
            );
        }
    }
    if transitions.is_empty() {
        let _ = write!(
            svg,
            "<text x=\"50%\" y=\"{}\" text-anchor=\"middle\">no transitions recorded</text>",
            HEAD + ROW / 2
        );
    }
    svg.push_str(&frame.step_axis());
    svg.push_str(Frame::cursor());
    svg.push_str("</svg>");
    svg
}

/// The end of a name too long for a narrow screen: beginnings are what names share.
fn shortened(name: &str) -> String {
    let n = name.chars().count();
    if n <= LONGEST_WORDS {
        name.to_owned()
    } else {
        format!("…{}", name.chars().skip(n + 1 - LONGEST_WORDS).collect::<String>())
    }
}

fn alternative(frame: &Frame<'_>) -> String {
    let transitions: Vec<String> = frame.transitions.iter().map(chart::transition_words).collect();
    let boundaries: Vec<String> = frame.boundaries.iter().map(|b| number::step(b.step)).collect();
    let mut words =
        format!("Life of the {}, {}: {}", frame.subject, frame.span(), counted(transitions.len(), "transition"));
    if !transitions.is_empty() {
        let _ = write!(words, " ({})", transitions.join("; "));
    }
    let _ = write!(words, ", {}", counted(boundaries.len() + 1, "stage"));
    if !boundaries.is_empty() {
        let _ = write!(words, " (boundaries at steps {})", boundaries.join(", "));
    }
    words.push('.');
    words
}
