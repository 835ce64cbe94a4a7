//! One row of the figure of effects: the values of the units, and the estimate with its intervals below them.
//!
//! Where the values lie on the scale of the effect, one axis holds both. Otherwise they have an axis of their own:
//! a strip, or a cloud over the dose or the other quantity.

use std::fmt::Write as _;

use ontogeny_store::JudgedHypothesis;

use super::across::{self, Across};
use super::drawable;
use super::picture::{Drawing, cut};
use super::words;
use crate::axis::{NARROWEST_PLOT, Scale, ValueAxis};
use crate::chart::{self, round};
use crate::number;
use crate::text::{escape, unit_suffix};

/// Where things stand from the top, in pixels: the lowest dots, the 95 % interval, the deciding one, the axis.
const DOTS: f64 = 34.0;
const LANE: f64 = 15.0;
/// Height of the cloud of values over a dose.
const CLOUD: usize = 130;
/// Room below an axis for the labels of its ticks and for its name.
const LABELS: usize = 40;
/// Radius of a dot, and what neighbours in a pile are apart.
const RADIUS: f64 = 3.2;
const PILE: f64 = 5.5;

/// The drawings of a row, from top to bottom; `id` is unique in the page.
pub(super) fn drawings(hypothesis: &JudgedHypothesis, id: &str) -> Vec<Drawing> {
    let own: Vec<f64> = hypothesis.values.iter().filter_map(|unit| unit.value.and_then(drawable)).collect();
    if words::shares_scale(hypothesis) {
        return vec![effect(hypothesis, &own, true, id)];
    }
    let has_x = hypothesis.values.iter().any(|unit| unit.x.and_then(drawable).is_some());
    let values = if has_x { cloud(hypothesis, &own, id) } else { strip(hypothesis, &own, id) };
    vec![values, effect(hypothesis, &[], false, id)]
}

/// The estimate with its intervals over the lines of no effect and of the smallest one; above it the values, if they are of its scale.
fn effect(hypothesis: &JudgedHypothesis, values: &[f64], with_values: bool, id: &str) -> Drawing {
    let found =
        hypothesis.effect.as_ref().and_then(|e| drawable(e.estimate).map(|estimate| (estimate, words::ends(e))));
    let deciding = hypothesis.deciding.map(|ends| ends.map(|end| end.and_then(drawable)));
    let deciding = deciding.filter(|ends| found.is_none_or(|(_, range)| range != *ends));
    let no_effect = drawable(hypothesis.no_effect);
    let least = least(hypothesis);

    let mut shown: Vec<f64> = values.to_vec();
    shown.extend(found.map(|(estimate, _)| estimate).into_iter().chain(no_effect).chain(least.iter().copied()));
    let ranges: Vec<(f64, f64)> = found
        .map(|(_, ends)| ends)
        .into_iter()
        .chain(deciding)
        .filter_map(|[lower, upper]| Some((lower.or(upper)?, upper.or(lower)?)))
        .collect();
    let axis = Across::linear(&shown, &ranges);
    let at = |x: f64| round(axis.position(x));

    let range_y = if with_values { DOTS + LANE } else { LANE };
    let deciding_y = range_y + if deciding.is_some() { LANE } else { 0.0 };
    let height = (deciding_y + LANE) as usize;
    let mut svg = opening(hypothesis, &format!("{id}-effect"));
    if let (Side::Within, [low, high]) = (side(hypothesis), least.as_slice()) {
        let _ = write!(
            svg,
            "<rect class=\"margin\" x=\"{}%\" width=\"{}%\" height=\"100%\"/>",
            at(*low),
            round(axis.position(*high) - axis.position(*low))
        );
    }
    for (class, x) in no_effect.map(|x| ("no-effect", x)).into_iter().chain(least.iter().map(|x| ("least", *x))) {
        let _ = write!(svg, "<line class=\"{class}\" x1=\"{0}%\" x2=\"{0}%\" y1=\"0\" y2=\"100%\"/>", at(x));
    }
    if with_values {
        svg.push_str(&dots(hypothesis, &axis));
    }
    if let Some((estimate, ends)) = found {
        svg.push_str(&lane_name("95 %", range_y));
        svg.push_str(&range(&axis, ends, range_y, "range"));
        let name = hypothesis.effect.as_ref().map_or("", |e| e.name.as_str());
        let words = words::effect(hypothesis).unwrap_or_default();
        let _ = write!(
            svg,
            "<svg x=\"{}%\" y=\"{range_y}\"><circle class=\"estimate\" r=\"5\"><title>{}</title></circle></svg>",
            at(estimate),
            escape(&format!("{name} {words}"))
        );
    } else {
        let _ = write!(svg, "<text class=\"none\" x=\"4\" y=\"{}\">no estimate</text>", range_y + 4.0);
    }
    if let Some(ends) = deciding {
        svg.push_str(&lane_name("deciding", deciding_y));
        svg.push_str(&range(&axis, ends, deciding_y, "deciding"));
    }
    let name = hypothesis.effect.as_ref().map_or("effect", |e| e.name.as_str());
    svg.push_str(&below(&axis, &name_with_unit(name, words::effect_unit(hypothesis))));
    svg.push_str("</svg>");
    Drawing { svg, height, above: 10, below: LABELS }
}

/// The values on an axis of their own.
fn strip(hypothesis: &JudgedHypothesis, values: &[f64], id: &str) -> Drawing {
    let axis = Across::linear(values, &[]);
    let mut svg = opening(hypothesis, &format!("{id}-values"));
    svg.push_str(&dots(hypothesis, &axis));
    svg.push_str(&below(&axis, &name_with_unit("value of a unit", &hypothesis.unit)));
    svg.push_str("</svg>");
    Drawing { svg, height: (DOTS + 8.0) as usize, above: 10, below: LABELS }
}

/// The values over the dose or the other quantity.
fn cloud(hypothesis: &JudgedHypothesis, values: &[f64], id: &str) -> Drawing {
    let x: Vec<f64> = hypothesis.values.iter().filter_map(|unit| unit.x.and_then(drawable)).collect();
    let axis = Across::values(&x);
    let heights = ValueAxis::covering(across::scale(values), values, &[]);
    let mut svg = opening(hypothesis, &format!("{id}-values"));
    svg.push_str(&chart::value_axis(&heights));
    let mut n_undefined = 0;
    for unit in &hypothesis.values {
        let x = unit.x.and_then(drawable);
        match (x, unit.value.and_then(drawable)) {
            (Some(x), Some(y)) => {
                let words = format!("{}: {} at {}", unit.unit, number::value(y), number::value(x));
                dot(
                    &mut svg,
                    &format!("{}%", round(axis.position(x))),
                    &format!("{}%", round(heights.position(y))),
                    "value",
                    &words,
                );
            }
            // At its dose, on the lower edge; without a dose, outside on the right.
            (x, y) => {
                let place = x.map_or_else(|| "100%".to_owned(), |x| format!("{}%", round(axis.position(x))));
                let missing = if y.is_some() { "no position" } else { words::reason(unit) };
                let words = format!("{}: {missing}", unit.unit);
                if x.is_some() {
                    dot(&mut svg, &place, "100%", "hollow", &words);
                } else {
                    outside(&mut svg, n_undefined, CLOUD as f64 - RADIUS, &words);
                    n_undefined += 1;
                }
            }
        }
    }
    let name = cut(&name_with_unit("value of a unit", &hypothesis.unit), LONGEST_NAME - 8);
    let _ = write!(svg, "<text x=\"-12\" y=\"-18\">{}{}</text>", escape(&name), logarithmic(&heights));
    svg.push_str(&below(&axis, "dose or other quantity"));
    svg.push_str("</svg>");
    Drawing { svg, height: CLOUD, above: 34, below: LABELS }
}

/// What is said of a vertical axis; the power of ten of its labels stands above them.
fn logarithmic(axis: &ValueAxis) -> &'static str {
    if axis.scale == Scale::Log { ", logarithmic" } else { "" }
}

fn name_with_unit(name: &str, unit: &str) -> String {
    match unit_suffix(unit).trim() {
        "" => name.to_owned(),
        unit => format!("{name} ({unit})"),
    }
}

/// What is drawn, in words for those who cannot see it.
fn opening(hypothesis: &JudgedHypothesis, id: &str) -> String {
    let effect = words::effect(hypothesis).unwrap_or_else(|| "no estimate".to_owned());
    let what = if id.ends_with("-values") { "Values of the units" } else { "Effect" };
    let undefined = words::undefined(hypothesis).unwrap_or_default();
    let values: Vec<String> =
        hypothesis.values.iter().filter_map(|unit| unit.value.and_then(drawable)).map(words::short).collect();
    format!(
        "<svg class=\"chart\" role=\"img\" aria-label=\"{}\" aria-describedby=\"{id}-text\"><desc id=\"{id}-text\">{}</desc>",
        escape(&format!("{what}: {}", hypothesis.claim)),
        escape(&format!(
            "{effect}; claimed: {}; values of {}. {undefined}",
            words::claimed(hypothesis),
            if values.is_empty() { "no unit".to_owned() } else { format!("units: {}", values.join(", ")) }
        )),
    )
}

/// The values as piles of dots; those that are not defined stand hollow outside, on the right.
fn dots(hypothesis: &JudgedHypothesis, axis: &Across) -> String {
    // What is nearer than a dot on a phone is piled up.
    let slot = |value: f64| (axis.position(value) / 100.0 * NARROWEST_PLOT / (2.0 * RADIUS)).round() as i64;
    let mut slots: Vec<i64> = hypothesis.values.iter().filter_map(|u| u.value.and_then(drawable)).map(slot).collect();
    slots.sort_unstable();
    let tallest = slots.chunk_by(|a, b| a == b).map(<[i64]>::len).max().unwrap_or(1);
    let apart = PILE.min((DOTS - 2.0 * RADIUS) / (tallest.max(2) - 1) as f64);
    let mut placed: Vec<i64> = Vec::new();
    let mut svg = lane_name("units", DOTS - RADIUS);
    let mut n_undefined = 0;
    for unit in &hypothesis.values {
        if let Some(value) = unit.value.and_then(drawable) {
            let below = placed.iter().filter(|other| **other == slot(value)).count();
            placed.push(slot(value));
            let y = round(DOTS - RADIUS - apart * below as f64);
            let words = format!("{}: {}", unit.unit, number::value(value));
            dot(&mut svg, &format!("{}%", round(axis.position(value))), &y.to_string(), "value", &words);
        } else {
            outside(&mut svg, n_undefined, DOTS - RADIUS, &format!("{}: {}", unit.unit, words::reason(unit)));
            n_undefined += 1;
        }
    }
    svg
}

fn dot(svg: &mut String, x: &str, y: &str, class: &str, words: &str) {
    let _ = write!(
        svg,
        "<circle class=\"{class}\" cx=\"{x}\" cy=\"{y}\" r=\"{RADIUS}\"><title>{}</title></circle>",
        escape(words)
    );
}

/// The `n`-th hollow dot outside of the frame, in two columns that pile up from `lowest`.
fn outside(svg: &mut String, n: usize, lowest: f64, words: &str) {
    // From the eighth on they lie on each other; the words below the row name all of them.
    let (column, above) = (n.min(7) % 2, n.min(7) / 2);
    let (x, y) = (9.0 + 8.5 * column as f64, lowest - 8.5 * above as f64);
    let _ = write!(svg, "<svg x=\"100%\" y=\"{}\">", round(y));
    dot(svg, &x.to_string(), "0", "hollow", words);
    svg.push_str("</svg>");
}

/// An interval; an end that is not bounded, or beyond the axis, is an arrow.
fn range(axis: &Across, ends: [Option<f64>; 2], y: f64, class: &str) -> String {
    let [lower, upper] = ends.map(|end| end.map(|x| axis.position(x)).filter(|at| *at > 0.0 && *at < 100.0));
    let mut svg = format!(
        "<line class=\"{class}\" x1=\"{}%\" x2=\"{}%\" y1=\"{y}\" y2=\"{y}\"/>",
        round(lower.unwrap_or(0.0)),
        round(upper.unwrap_or(100.0))
    );
    for (end, x, d) in [(lower, 0, "M-6 0l8-4.5v9z"), (upper, 100, "M6 0l-8-4.5v9z")] {
        if end.is_none() {
            let _ = write!(svg, "<svg x=\"{x}%\" y=\"{y}\"><path class=\"arrow\" d=\"{d}\"/></svg>");
        }
    }
    svg
}

fn lane_name(name: &str, y: f64) -> String {
    format!("<text x=\"-12\" y=\"{}\" dy=\".35em\" text-anchor=\"end\">{name}</text>", round(y))
}

/// Wider names of axes are cut: what a phone holds.
const LONGEST_NAME: usize = 44;

/// The axis below, with its name under the labels.
fn below(axis: &Across, name: &str) -> String {
    let power = axis.power();
    let name = format!("{}{power}", cut(name, LONGEST_NAME - power.chars().count()));
    format!(
        "{}<svg x=\"50%\" y=\"100%\"><text y=\"33\" text-anchor=\"middle\">{}</text></svg>",
        chart::axis_below(&axis.ticks(), ""),
        escape(&name)
    )
}

/// The side on which an effect is claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Greater,
    Less,
    Either,
    Within,
}

fn side(hypothesis: &JudgedHypothesis) -> Side {
    match hypothesis.direction.as_str() {
        "greater" => Side::Greater,
        "less" => Side::Less,
        "within" => Side::Within,
        _ => Side::Either,
    }
}

/// Where the smallest effect of interest lies, ascending; nothing where it is that of no effect.
fn least(hypothesis: &JudgedHypothesis) -> Vec<f64> {
    let (no_effect, size) = (hypothesis.no_effect, hypothesis.smallest_effect.abs());
    if size == 0.0 || drawable(no_effect).is_none() || drawable(size).is_none() {
        return Vec::new();
    }
    match side(hypothesis) {
        Side::Greater => vec![no_effect + size],
        Side::Less => vec![no_effect - size],
        Side::Either | Side::Within => vec![no_effect - size, no_effect + size],
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    fn place(svg: &str, class: &str, attribute: &str) -> Vec<f64> {
        svg.split(&format!("class=\"{class}\""))
            .skip(1)
            .map(|rest| {
                rest.split(&format!("{attribute}=\""))
                    .nth(1)
                    .unwrap()
                    .split(['%', '"'])
                    .next()
                    .unwrap()
                    .parse()
                    .unwrap()
            })
            .collect()
    }

    #[test]
    fn the_line_of_the_smallest_effect_is_on_the_claimed_side() {
        let study = sample::study();
        let at = |index: usize| least(&study.hypotheses[index]);
        assert_eq!([at(0), at(1)], [vec![0.1], vec![2.0]], "a ratio of 1 and an effect of 1 more");
        assert_eq!([at(2), at(3), at(4)], [vec![-2e-5, 2e-5], vec![-0.3], vec![-5.0, 5.0]]);
        let svg = &drawings(&study.hypotheses[0], "e")[0].svg;
        let (none, least) = (place(svg, "no-effect", "x1")[0], place(svg, "least", "x1")[0]);
        let (estimate, range) = (place(svg, "estimate", "r"), place(svg, "range", "x1")[0]);
        assert!(none < least && least < range && estimate.len() == 1, "{svg}");
        // One linear scale: 0.1 of a difference of 0.224 from no effect to the lower end.
        assert!(((least - none) / (range - none) - 0.1 / 0.224).abs() < 1e-3, "{none} {least} {range}");
    }

    #[test]
    fn every_unit_is_drawn_full_or_hollow() {
        for hypothesis in &sample::study().hypotheses {
            let svg: String = drawings(hypothesis, "e").into_iter().map(|d| d.svg).collect();
            let n_defined = words::n_defined(hypothesis);
            assert_eq!(svg.matches("class=\"value\"").count(), n_defined, "{}", hypothesis.id);
            assert_eq!(
                svg.matches("class=\"hollow\"").count(),
                hypothesis.values.len() - n_defined,
                "{}",
                hypothesis.id
            );
        }
    }

    #[test]
    fn an_open_end_is_an_arrow_and_a_bounded_one_is_not() {
        let study = sample::study();
        let arrows = |index: usize| drawings(&study.hypotheses[index], "e")[0].svg.matches("class=\"arrow\"").count();
        // The second: one open end of the interval, two of the deciding one.
        assert_eq!([arrows(0), arrows(1), arrows(2)], [0, 3, 0]);
        let mut same = study.hypotheses[0].clone();
        same.deciding = same.effect.as_ref().map(|e| [e.lower, e.upper]);
        assert!(!drawings(&same, "e")[0].svg.contains("class=\"deciding\""), "what decided is the interval itself");
    }

    #[test]
    fn equivalence_has_a_band_and_a_correlation_a_cloud() {
        let study = sample::study();
        let [equal, dose] = [2, 3].map(|index: usize| drawings(&study.hypotheses[index], "e"));
        assert!(equal.len() == 1 && equal[0].svg.contains("class=\"margin\""));
        assert_eq!(dose.len(), 2);
        assert!(dose[0].svg.contains("class=\"value\"") && !dose[1].svg.contains("class=\"value\""));
        assert!(drawings(&study.hypotheses[4], "e")[0].svg.contains("no estimate"));
    }

    #[test]
    fn numbers_that_cannot_be_drawn_are_hollow_and_do_no_harm() {
        let mut odd = sample::study().hypotheses[0].clone();
        for x in [f64::NAN, f64::INFINITY, f64::MAX, -f64::MAX, f64::MIN_POSITIVE] {
            odd.values.iter_mut().for_each(|unit| unit.value = Some(x));
            (odd.no_effect, odd.smallest_effect) = (x, x);
            odd.deciding = Some([Some(x), Some(-x)]);
            let found = odd.effect.as_mut().unwrap();
            (found.estimate, found.lower, found.upper) = (x, Some(x), Some(x));
            let svg = &drawings(&odd, "e")[0].svg;
            for wrong in ["NaN", "inf"] {
                assert!(!svg.contains(wrong), "{x}: {svg}");
            }
        }
    }
}
