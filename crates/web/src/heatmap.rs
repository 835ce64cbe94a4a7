//! A heat map: steps across, components down, value as one of sixteen colours.

use std::fmt::Write as _;

use crate::axis::Scale;
use crate::chart::{Frame, round};
use crate::figure;
use crate::number;
use crate::panel::{Form, Panel, Point, Series};
use crate::text::{counted, escape, unit_name, unit_suffix};

/// Colours of the scale, `h0` to `h15` in the style sheet.
const LEVELS: usize = 16;
/// Labels of rows that fit beside the map.
const MOST_LABELS: usize = 16;

/// Letters of such a label.
const MOST_LETTERS: usize = 7;

/// The range of colours of one map.
struct Shades {
    scale: Scale,
    low: f64,
    high: f64,
    /// Less than `low` is left blank.
    has_blanks: bool,
}

/// Of a map of counts, what is less than this part of one is nothing.
const LEAST_COUNT: f64 = 0.25;

/// The whole `<figure>`.
pub(crate) fn heat_map(panel: &Panel, frame: &Frame<'_>) -> String {
    let shades =
        if panel.form == Form::CountMap { Shades::of_counts(&panel.series) } else { Shades::of(&panel.series) };
    let height = (panel.series.len() * 12).clamp(180, 420);
    let mut html = format!("<figure id=\"{}\">{}", panel.id, figure::caption(panel));
    html.push_str(&legend(panel, &shades));
    let _ = write!(
        html,
        "<div class=\"plot\" tabindex=\"0\" role=\"group\" aria-label=\"{}; left and right arrow keys move the cursor\">",
        escape(&panel.title)
    );
    html.push_str(&figure::refusals(panel, frame));
    let description = format!("{}-text", panel.id);
    let _ = write!(
        html,
        "<div class=\"frame only\" style=\"height:{height}px\"><svg class=\"chart\" role=\"img\" aria-label=\"{}\" aria-describedby=\"{description}\"><desc id=\"{description}\">{}</desc>",
        escape(&format!("{}, {}, over {}", panel.title, unit_name(&panel.unit), frame.span())),
        escape(&alternative(panel)),
    );
    html.push_str("<rect class=\"missing\" width=\"100%\" height=\"100%\"/>");
    html.push_str(&cells(panel, frame, &shades));
    html.push_str(&row_labels(panel));
    html.push_str(&frame.step_axis());
    for (from, _) in frame.stages().into_iter().skip(1) {
        let _ = write!(html, "<line class=\"boundary\" x1=\"{0}%\" x2=\"{0}%\" y1=\"0\" y2=\"100%\"/>", round(from));
    }
    html.push_str(Frame::cursor());
    html.push_str("</svg></div></div>");
    html.push_str(&figure::foot(panel));
    html.push_str("</figure>");
    html
}

impl Shades {
    fn of(series: &[Series]) -> Self {
        let values = || series.iter().flat_map(|s| s.measured().map(|(_, v)| v));
        let low = values().fold(f64::INFINITY, f64::min);
        let high = values().fold(f64::NEG_INFINITY, f64::max);
        // Four decades and more are lost on a linear scale.
        let scale = if low > 0.0 && high / low >= 1e4 { Scale::Log } else { Scale::Linear };
        Self { scale, low, high, has_blanks: false }
    }

    /// Of expected counts, which go from parts of one to all that there are, with nothing at most places: logarithmic.
    fn of_counts(series: &[Series]) -> Self {
        let values = series.iter().flat_map(|s| s.measured().map(|(_, v)| v));
        let high = values.fold(0.0, f64::max);
        Self { scale: Scale::Log, low: LEAST_COUNT.min(high / 10.0), high, has_blanks: true }
    }

    /// The level of a cell, unless it is blank.
    fn cell(&self, value: f64) -> Option<usize> {
        (!self.has_blanks || (value >= self.low && value > 0.0)).then(|| self.level(value))
    }

    fn level(&self, value: f64) -> usize {
        let warp = |v: f64| if self.scale == Scale::Log { v.ln() } else { v };
        let (low, high) = (warp(self.low), warp(self.high));
        if high <= low {
            return 0;
        }
        (((warp(value) - low) / (high - low) * LEVELS as f64) as usize).min(LEVELS - 1)
    }
}

/// Cells as one path for each colour; neighbours of one colour in a row are one rectangle.
fn cells(panel: &Panel, frame: &Frame<'_>, shades: &Shades) -> String {
    let steps = panel.steps();
    let edges = edges(&steps.iter().map(|s| 10.0 * frame.axis.position(*s)).collect::<Vec<_>>());
    let row_height = 1000.0 / panel.series.len() as f64;
    let mut paths = vec![String::new(); LEVELS];
    for (row, series) in panel.series.iter().enumerate() {
        let own = (panel.form == Form::RowHeatMap).then(|| Shades::of(std::slice::from_ref(series)));
        let shades = own.as_ref().unwrap_or(shades);
        let (top, bottom) = (round(row as f64 * row_height), round((row + 1) as f64 * row_height));
        let levels: Vec<Option<usize>> = steps
            .iter()
            .map(|step| {
                let point =
                    series.points.binary_search_by(|p| p.step.total_cmp(step)).ok().map(|at| &series.points[at]);
                point.and_then(|p| p.value).and_then(|v| shades.cell(v))
            })
            .collect();
        let mut column = 0;
        for same in levels.chunk_by(|a, b| a == b) {
            if let Some(level) = same[0] {
                let (left, right) = (round(edges[column]), round(edges[column + same.len()]));
                let _ = write!(paths[level], "M{left} {top}H{right}V{bottom}H{left}z");
            }
            column += same.len();
        }
    }
    let mut svg = String::from(
        "<svg class=\"cells\" width=\"100%\" height=\"100%\" viewBox=\"0 0 1000 1000\" preserveAspectRatio=\"none\">",
    );
    for (level, d) in paths.iter().enumerate().filter(|(_, d)| !d.is_empty()) {
        let _ = write!(svg, "<path class=\"h{level}\" d=\"{d}\"/>");
    }
    svg.push_str("</svg>");
    svg
}

/// Edges of columns around their centres: half-way to the neighbours, the ends of the frame outside.
fn edges(centres: &[f64]) -> Vec<f64> {
    let between = centres.windows(2).map(|pair| f64::midpoint(pair[0], pair[1]));
    [0.0].into_iter().chain(between).chain([1000.0]).collect()
}

fn row_labels(panel: &Panel) -> String {
    let every = panel.series.len().div_ceil(MOST_LABELS);
    let mut svg = String::new();
    for (row, series) in panel.series.iter().enumerate().step_by(every) {
        let at = round(100.0 * (row as f64 + 0.5) / panel.series.len() as f64);
        let label = short(&series.label);
        let _ = write!(svg, "<text x=\"-7\" y=\"{at}%\" dy=\".35em\" text-anchor=\"end\">{}</text>", escape(&label));
    }
    svg
}

/// What fits beside a row: of a name in several pieces the end, which tells neighbours apart, of others the beginning.
fn short(label: &str) -> String {
    let n = label.chars().count();
    if n <= MOST_LETTERS {
        return label.to_owned();
    }
    match label.rsplit_once('.') {
        Some((_, last)) if last.chars().count() < MOST_LETTERS => format!("…{last}"),
        _ => label.chars().take(MOST_LETTERS - 1).chain(['…']).collect(),
    }
}

/// The colour scale, and the largest component at the cursor.
fn legend(panel: &Panel, shades: &Shades) -> String {
    let unit = unit_suffix(&panel.unit);
    let last_step = panel.steps().last().copied().unwrap_or(0.0);
    let largest =
        largest(panel, last_step).map_or("–".to_owned(), |(label, v)| format!("{label}: {}{unit}", number::value(v)));
    let columns: Vec<String> = figure::data(panel).1.iter().map(|(value, _)| value.to_string()).collect();
    let mut html = format!(
        "<div class=\"key\" data-unit=\"{}\"><span class=\"at\">step <b>{}</b></span><span class=\"entry shades\">",
        escape(&unit),
        number::step(last_step)
    );
    let ramp = (0..LEVELS).fold(String::new(), |ramp, level| ramp + &format!("<i class=\"h{level}\"></i>"));
    if panel.form == Form::RowHeatMap {
        html.push_str("least <span class=\"ramp\" aria-hidden=\"true\">");
        html.push_str(&ramp);
        html.push_str("</span> greatest of each row");
    } else if shades.low <= shades.high {
        let _ = write!(html, "{} <span class=\"ramp\" aria-hidden=\"true\">", escape(&number::value(shades.low)));
        html.push_str(&ramp);
        let kind = if shades.scale == Scale::Log { ", logarithmic" } else { "" };
        let _ = write!(html, "</span> {}{}{kind}", escape(&number::value(shades.high)), escape(&unit));
    }
    let _ = write!(
        html,
        "</span><span class=\"entry\">largest <output data-largest=\"{}\">{}</output></span></div>",
        columns.join(","),
        escape(&largest)
    );
    html
}

fn largest(panel: &Panel, step: f64) -> Option<(&str, f64)> {
    let here = panel.series.iter().filter_map(|s| {
        let point: &Point = s.points.iter().find(|p| p.step == step)?;
        Some((s.label.as_str(), point.value?))
    });
    here.max_by(|a, b| a.1.total_cmp(&b.1))
}

fn alternative(panel: &Panel) -> String {
    let steps = panel.steps();
    let mut words = format!(
        "Heat map of {} over {}.",
        counted(panel.series.len(), "component"),
        counted(steps.len(), "checkpoint")
    );
    for (name, step) in [("first", steps.first()), ("last", steps.last())] {
        if let Some((step, (label, value))) = step.and_then(|s| Some((s, largest(panel, *s)?))) {
            let _ = write!(
                words,
                " At the {name}, step {}, the largest is {label} with {}{}.",
                number::step(*step),
                number::value(value),
                unit_suffix(&panel.unit)
            );
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::panel::sections;
    use crate::sample;

    #[test]
    fn columns_meet_half_way_and_fill_the_frame() {
        assert_eq!(edges(&[10.0, 500.0, 990.0]), [0.0, 255.0, 745.0, 1000.0]);
        assert_eq!(edges(&[500.0]), [0.0, 1000.0]);
    }

    #[test]
    fn missing_columns_stay_empty_and_equal_neighbours_merge() {
        let mut view = sample::grokking(4, 0);
        let power = view.observables.get_mut("fourier_power").unwrap();
        power.values.values.fill(Some(0.5));
        // The whole second step is missing; the rest has one colour: two rectangles for each of 26 rows.
        power.values.values[26..52].fill(None);
        let panel = &sections(&view)[4].panels[0];
        let html = heat_map(panel, &Frame::of(&view).unwrap());
        let path = html.split("<path class=\"h0\" d=\"").nth(1).unwrap().split('"').next().unwrap();
        assert_eq!(path.matches('z').count(), 2 * 26);
        assert!(!html.contains("<path class=\"h1\""));
    }

    #[test]
    fn refused_columns_are_marked_with_their_reason() {
        let mut view = sample::grokking(4, 0);
        let power = view.observables.get_mut("fourier_power").unwrap();
        power.status[2] =
            ontogeny_store::Status::Refused { verdict: "not a number".into(), reason: "in blocks.0".into() };
        let html = heat_map(&sections(&view)[4].panels[0], &Frame::of(&view).unwrap());
        let step = view.checkpoints[2];
        assert!(html.contains(&format!("fourier_power at step {step} refused: not a number, in blocks.0")), "{html}");
    }

    #[test]
    fn labels_keep_what_tells_them_apart() {
        let cases = [
            ("l0h1.QK", "l0h1.QK"),
            ("blocks.0.attn.W_Q", "…W_Q"),
            ("unembed.W_U", "…W_U"),
            ("bracket counts", "bracke…"),
        ];
        for (label, shown) in cases {
            assert_eq!(short(label), shown);
        }
        assert_eq!(short("blocks.0.hook_resid_post"), "blocks…");
    }

    #[test]
    fn counts_have_shades_of_their_logarithm_and_blanks() {
        let mut view = sample::grokking(4, 0);
        let power = view.observables.get_mut("fourier_power").unwrap();
        power.values.values.fill(Some(0.0));
        power.values.values[0] = Some(1000.0);
        power.values.values[26] = Some(0.3);
        let mut panel = sections(&view)[4].panels[0].clone();
        panel.form = Form::CountMap;
        let html = heat_map(&panel, &Frame::of(&view).unwrap());
        assert_eq!(html.matches("<path class=\"h").count(), 2, "two cells hold something");
        assert!(html.contains("<path class=\"h15\"") && html.contains("<path class=\"h0\""));
        assert!(html.contains("logarithmic"));
    }

    #[test]
    fn levels_cover_the_scale_and_its_ends() {
        let shades = Shades { scale: Scale::Linear, low: -1.0, high: 3.0, has_blanks: false };
        assert_eq!([shades.level(-1.0), shades.level(0.99), shades.level(3.0)], [0, 7, 15]);
        let flat = Shades { low: 2.0, high: 2.0, ..shades };
        assert_eq!(flat.level(2.0), 0);
    }
}
