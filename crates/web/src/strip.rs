//! The strip of the run's life: stages as bands, transitions with their intervals, on the axis of all figures.

use std::fmt::Write as _;

use ontogeny_store::Transition;

use crate::axis::{NARROWEST_PLOT, OUTSIDE};
use crate::chart::{self, Frame, round};
use crate::number;
use crate::table;
use crate::text::{counted, escape};

/// Height of a transition with its words beside it, in pixels.
const ROW: usize = 19;
/// Height of a line of words above a transition that leaves no room beside it, in pixels.
const WORDS: usize = 16;
/// Height of a row of transitions without words, in pixels.
const LANE: usize = 9;
/// Height of all transitions without words together, in pixels: beyond, their rows overlap.
const MOST_HEIGHT: usize = 240;
/// Height of the row of stage numbers, in pixels.
const HEAD: usize = 22;
/// Of more transitions than this only those with a name of their own have words, or none; the others share rows.
const MOST_WORDS: usize = 10;
/// Longer names of transitions are shortened, in characters; hovering shows them whole.
const LONGEST_WORDS: usize = 22;
/// Width of one character of the words, in pixels.
const CHARACTER: f64 = 7.0;

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
    layout(frame).1
}

/// Where a transition stands: height of its bar in pixels, its ends in percent, and its words.
struct Place {
    y: usize,
    ends: (f64, f64),
    words: Option<Words>,
}

/// Words of a transition: anchored at `x` percent and `dx` pixels.
struct Words {
    text: String,
    x: f64,
    dx: i32,
    y: usize,
    anchor: &'static str,
}

/// Places of all transitions, and the height of the drawing.
fn layout(frame: &Frame<'_>) -> (Vec<Place>, usize) {
    let top = if frame.boundaries.is_empty() { 4 } else { HEAD };
    let mut places: Vec<Place> = frame.transitions.iter().map(|t| place(t, frame)).collect();
    if places.is_empty() {
        return (places, top + ROW + 4);
    }
    // Of too many, those with a name of their own are told.
    let is_few = places.len() <= MOST_WORDS;
    let are_few_named = frame.transitions.iter().filter(|t| t.label.is_some()).count() <= MOST_WORDS;
    let mut bottom = top;
    let mut untold = Vec::new();
    for (place, transition) in places.iter_mut().zip(frame.transitions) {
        let is_told = is_few || (are_few_named && transition.label.is_some());
        let Some(words) = place.words.as_mut().filter(|_| is_told) else {
            place.words = None;
            untold.push(place);
            continue;
        };
        let above = if words.dx == 0 { WORDS } else { 0 };
        place.y = bottom + above + ROW / 2;
        words.y = place.y - above;
        bottom += above + ROW;
    }
    bottom = pack(untold, bottom);
    (places, bottom + 4)
}

/// A transition with its words beside it where a narrow screen has room for them, above it where not.
fn place(t: &Transition, frame: &Frame<'_>) -> Place {
    let [at, lower, upper] = [t.step, t.lower, t.upper].map(|step| frame.axis.position(step));
    let (from, to) = (lower.min(at), upper.max(at));
    let text = shortened(t.label.as_ref().unwrap_or(&t.observable), LONGEST_WORDS);
    let width = (text.chars().count() + 1 + number::step(t.step).len()) as f64 * CHARACTER + 9.0;
    let pixels = |percent: f64| percent / 100.0 * NARROWEST_PLOT;
    let fits_left = pixels(from) + OUTSIDE.0 >= width;
    let fits_right = pixels(100.0 - to) + OUTSIDE.1 >= width;
    let (x, dx, anchor) = if fits_left && (at > 40.0 || !fits_right) {
        (from, -9, "end")
    } else if fits_right {
        (to, 9, "start")
    } else {
        let rightmost = (NARROWEST_PLOT + OUTSIDE.1 - width) / NARROWEST_PLOT * 100.0;
        (from.min(rightmost).max(0.0), 0, "start")
    };
    Place { y: 0, ends: (from, to), words: Some(Words { text, x, dx, y: 0, anchor }) }
}

/// Puts transitions without words into as few rows as keep them apart, and returns where the last one ends.
fn pack(mut places: Vec<&mut Place>, top: usize) -> usize {
    places.sort_by(|a, b| a.ends.0.total_cmp(&b.ends.0));
    let mut ends: Vec<f64> = Vec::new();
    for place in &mut places {
        let (from, to) = place.ends;
        // Two dots of 7 pixels stand apart on the narrowest screen.
        let lane = ends.iter().position(|end| from - end > 3.0).unwrap_or(ends.len());
        if lane == ends.len() {
            ends.push(to);
        } else {
            ends[lane] = to;
        }
        place.y = lane;
    }
    let height = (LANE * ends.len()).min(MOST_HEIGHT);
    for place in places {
        place.y = top + (2 * place.y + 1) * height / (2 * ends.len());
    }
    top + height
}

/// The drawing alone.
pub(crate) fn svg(frame: &Frame<'_>) -> String {
    let (places, height) = layout(frame);
    let mut svg = format!("<svg class=\"chart\" role=\"img\" aria-label=\"{}\">", escape(&alternative(frame)));
    svg.push_str(&frame.bands());
    let stages = frame.stages();
    if stages.len() > 1 {
        let _ = write!(svg, "<text x=\"-7\" y=\"15\" text-anchor=\"end\">stage</text>");
        for (index, (from, to)) in stages.iter().enumerate() {
            // As wide as its digits on the narrowest screen.
            if to - from < 2.8 * (index + 1).to_string().len() as f64 {
                continue;
            }
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
    for (transition, place) in frame.transitions.iter().zip(&places) {
        let (y, (from, to)) = (place.y, place.ends);
        let _ = write!(
            svg,
            "<line class=\"life-interval\" x1=\"{}%\" x2=\"{}%\" y1=\"{y}\" y2=\"{y}\"/><circle class=\"life-dot\" cx=\"{}%\" cy=\"{y}\" r=\"3.5\"><title>{}</title></circle>",
            round(from),
            round(to),
            round(frame.axis.position(transition.step)),
            escape(&chart::transition_words(transition))
        );
        if let Some(words) = &place.words {
            let _ = write!(
                svg,
                "<text class=\"event\" x=\"{}%\" dx=\"{}\" y=\"{}\" dy=\".35em\" text-anchor=\"{}\">{} <tspan class=\"quiet\">{}</tspan></text>",
                round(words.x),
                words.dx,
                words.y,
                words.anchor,
                escape(&words.text),
                number::step(transition.step)
            );
        }
    }
    if places.is_empty() {
        let _ = write!(
            svg,
            "<text x=\"50%\" y=\"{}\" text-anchor=\"middle\">no transitions recorded</text>",
            height - ROW / 2
        );
    }
    svg.push_str(&frame.step_axis());
    svg.push_str(Frame::cursor());
    svg.push_str("</svg>");
    svg
}

/// The end of a name of more than so many characters: beginnings are what names share.
pub(crate) fn shortened(name: &str, longest: usize) -> String {
    let n = name.chars().count();
    if n <= longest {
        name.to_owned()
    } else {
        format!("…{}", name.chars().skip(n + 1 - longest).collect::<String>())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::axis::StepAxis;

    fn transition(label: &str, step: f64, lower: f64, upper: f64) -> Transition {
        let invented = crate::sample::grokking(24, 0).transitions[0].clone();
        Transition { label: Some(label.to_owned()), step, lower, upper, ..invented }
    }

    fn frame(transitions: &[Transition]) -> Frame<'_> {
        let axis = StepAxis::of([0.0, 1.0, 100_000.0].into_iter()).unwrap();
        Frame {
            axis,
            transitions,
            boundaries: &[],
            changes: &[],
            names: std::collections::BTreeMap::new(),
            subject: "run",
        }
    }

    #[test]
    fn words_fit_a_phone_wherever_the_interval_ends() {
        let steps = [0.0, 3.0, 30.0, 400.0, 5000.0, 60_000.0, 100_000.0];
        for label in ["grokking", "a name far longer than what is shown of it"] {
            for (i, lower) in steps.iter().enumerate() {
                for (j, upper) in steps.iter().enumerate().skip(i) {
                    let transitions = [transition(label, steps[i.midpoint(j)], *lower, *upper)];
                    let frame = frame(&transitions);
                    let (places, height) = layout(&frame);
                    let words = places[0].words.as_ref().unwrap();
                    let characters = words.text.chars().count() + 1 + number::step(transitions[0].step).len();
                    let anchor = words.x / 100.0 * NARROWEST_PLOT + f64::from(words.dx);
                    let width = characters as f64 * CHARACTER;
                    let left = if words.anchor == "end" { anchor - width } else { anchor };
                    assert!(
                        left >= -OUTSIDE.0 && left + width <= NARROWEST_PLOT + OUTSIDE.1,
                        "{lower} to {upper}: {left}"
                    );
                    // Beside the bar, or on a line of their own above it.
                    assert_eq!(words.dx == 0, words.y + WORDS == places[0].y);
                    assert!(places[0].y + ROW / 2 < height && words.y >= 8);
                }
            }
        }
    }

    #[test]
    fn many_transitions_share_rows_and_keep_apart() {
        let transitions: Vec<Transition> = (0..60)
            .map(|i| 10.0 * 1.16_f64.powi(59 - i))
            .map(|step| transition("induction", step, step * 0.8, step * 1.25))
            .map(|t| Transition { label: None, ..t })
            .collect();
        let frame = frame(&transitions);
        let (places, height) = layout(&frame);
        assert!(height < 120, "{height}");
        for (i, a) in places.iter().enumerate() {
            assert!(a.words.is_none() && a.y < height);
            for b in &places[..i] {
                assert!(a.y != b.y || a.ends.0 - b.ends.1 > 3.0 || b.ends.0 - a.ends.1 > 3.0);
            }
        }
        // Those with a name stand out, unless they are too many themselves.
        let mut transitions = transitions;
        transitions[30].label = Some("induction".to_owned());
        let (places, _) = layout(&self::frame(&transitions));
        assert!(places.iter().enumerate().all(|(i, place)| place.words.is_some() == (i == 30)));
        assert!(places.iter().all(|place| place.y >= places[30].y));
        // Five hundred at one step are no page of their own.
        let transitions = vec![transition("induction", 50.0, 40.0, 60.0); 500];
        assert!(super::height(&self::frame(&transitions)) <= MOST_HEIGHT + HEAD);
    }
}
