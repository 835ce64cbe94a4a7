//! A small strip with an effect in units of the smallest one of interest: the same scale for all studies.

use std::fmt::Write as _;

use ontogeny_store::JudgedHypothesis;

use super::{drawable, words};
use crate::chart::round;

/// Smallest effects on either side that a strip shows.
const REACH: f64 = 10.0;

/// The effect in units of the smallest one of interest, to the right on the side claimed; nothing where it has none.
pub(super) fn strip(hypothesis: &JudgedHypothesis) -> String {
    let size = hypothesis.smallest_effect.abs();
    let found =
        hypothesis.effect.as_ref().and_then(|e| drawable(e.estimate).map(|estimate| (estimate, words::ends(e))));
    let (Some((estimate, ends)), true) = (found, size > 0.0 && drawable(size).is_some()) else { return String::new() };
    let is_less = hypothesis.direction == "less";
    let sign = if is_less { -1.0 } else { 1.0 };
    let scaled = |x: f64| sign * (x - hypothesis.no_effect) / size;
    let ends = if is_less { [ends[1], ends[0]] } else { ends }.map(|end| end.map(scaled));
    let Some(center) = drawable(scaled(estimate)) else { return String::new() };
    // Even around no effect, logarithmic further out.
    let at = |x: f64| round(50.0 + 50.0 * (x.asinh() / REACH.asinh()).clamp(-1.0, 1.0));
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
        let _ = write!(svg, "<circle class=\"estimate\" cx=\"{}%\" cy=\"50%\" r=\"3.4\"/>", at(center));
    }
    svg.push_str("</svg>");
    svg
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn a_strip_points_to_the_claimed_side() {
        let study = sample::study();
        let center = |index: usize| -> f64 {
            let svg = strip(&study.hypotheses[index]);
            svg.split("cx=\"").nth(1).unwrap().split('%').next().unwrap().parse().unwrap()
        };
        // asinh(2.7333) / asinh(10) = 1.7305 / 2.9982.
        assert!((center(3) - 78.86).abs() < 0.02, "−0.82 where less is claimed is to the right: {}", center(3));
        assert!(center(2) > 50.0 && strip(&study.hypotheses[2]).contains("class=\"margin\""));
        assert!(strip(&study.hypotheses[1]).contains("class=\"arrow\""), "an open end");
        assert!(!strip(&study.hypotheses[0]).contains("class=\"arrow\""));
        assert_eq!(strip(&study.hypotheses[4]), "", "no estimate");
        let mut far = study.hypotheses[0].clone();
        far.smallest_effect = 0.01;
        assert!(!strip(&far).contains("<circle") && strip(&far).contains("class=\"arrow\""), "31 smallest effects");
    }
}
