//! Curves from anywhere with what was found in them: as a page like the report, or as one picture.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use ontogeny_store::{Boundary, ChangePoints, Stage, SumOfParts, Transition, Warnings};

use crate::axis::StepAxis;
use crate::changes;
use crate::chart::Frame;
use crate::csv;
use crate::figure;
use crate::number;
use crate::page;
use crate::panel::{Form, Panel, Point, Series};
use crate::parts;
use crate::picture;
use crate::strip;
use crate::table;
use crate::text::{counted, escape};
use crate::warnings;

/// Series with the transitions and stages found in them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Curves {
    /// Where they are from, such as the name of a file.
    pub title: String,
    /// The series in the order of their figures.
    pub curves: Vec<Curve>,
    /// Transitions, each with the name of its curve in `observable`.
    pub transitions: Vec<Transition>,
    /// Stage boundaries, which all figures show.
    pub stages: Vec<Boundary>,
    /// The stages between them.
    pub intervals: Vec<Stage>,
    /// Change points, where they were looked for in place of transitions and stages.
    pub change_points: Option<ChangePoints>,
    /// Early warnings, where they were looked for instead.
    pub warnings: Option<Warnings>,
    /// One of the curves as a sum of the others, where that was asked for instead.
    pub parts: Option<SumOfParts>,
}

impl Curves {
    /// Whether something else was looked for than transitions and stages.
    fn is_of_something_else(&self) -> bool {
        self.change_points.is_some() || self.warnings.is_some() || self.parts.is_some()
    }
}

/// One series.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    /// Its name.
    pub name: String,
    /// Unit of the values; `1` for a pure number, empty where it is not known.
    pub unit: String,
    /// Increasing, at least 0.
    pub steps: Vec<f64>,
    /// As many as steps.
    pub values: Vec<f64>,
    /// As many as steps, not negative.
    pub standard_errors: Option<Vec<f64>>,
}

/// Longer curves are drawn as means over [`BINS`].
const MOST_POINTS: usize = 1000;
/// Bins of equal width in ln(step + 1) over all curves together.
const BINS: f64 = 500.0;

/// The curves as one self-contained page: the strip of stages and transitions, then a figure for each curve.
///
/// It needs no network, and no script to be read; the same curves give the same bytes. Curves of more than 1,000 points
/// are drawn as means over 500 bins of equal width in ln(step + 1), and the page says so.
pub fn curves_page(curves: &Curves) -> String {
    let panels = panels(curves);
    let frame = frame(curves);
    let mut steps: Vec<f64> = panels.iter().flat_map(Panel::steps).collect();
    steps.sort_unstable_by(f64::total_cmp);
    steps.dedup();
    let mut html = page::head(&curves.title, &summary(curves, frame.as_ref()), frame.as_ref(), &steps);
    if let Some(frame) = frame {
        if !curves.is_of_something_else() {
            html.push_str(&strip::strip(&frame));
        }
        let _ = write!(html, "<p class=\"note\">{}</p><section>", how_to_read(curves));
        for panel in &panels {
            html.push_str(&figure::lines(panel, &frame));
        }
        html.push_str("</section>");
        if let Some(found) = &curves.change_points {
            html.push_str(&changes::section(found));
        } else if let Some(found) = &curves.warnings {
            html.push_str(&warnings::section(found, &frame));
        } else if let Some(found) = &curves.parts {
            html.push_str(&parts::section(&curves.title, found, &frame));
        } else {
            let (transitions, stages, intervals) = (&curves.transitions, &curves.stages, &curves.intervals);
            html.push_str(&table::transitions(transitions, stages, intervals, "No transition was found."));
        }
    }
    html.push_str(&page::foot());
    html
}

/// Width of the picture and of its margins, in pixels.
const WIDTH: usize = 760;
const LEFT: usize = 64;
const RIGHT: usize = 16;
/// Room above a drawing for its title and the marks of its transitions, and below it for the labels of its axis.
const ABOVE: usize = 34;
const BELOW: usize = 30;
/// Longer titles are shortened to the width of the picture, in characters.
const LONGEST_TITLE: usize = 72;
/// Height of a drawing.
const FIGURE: usize = 200;

/// The curves as one SVG picture of its own, 760 pixels wide: the strip, then a figure for each curve.
///
/// Colours are written out, light and dark, so that a renderer needs no variables; fonts are those of the system.
pub fn curves_svg(curves: &Curves) -> String {
    let mut drawings = Vec::new();
    if let Some(frame) = frame(curves) {
        if !curves.is_of_something_else() {
            drawings.push((curves.title.clone(), strip::height(&frame), strip::svg(&frame)));
        }
        if let Some(found) = &curves.parts {
            let panel = parts::panel("", found);
            drawings.push((csv::column(&panel.title, &panel.unit), FIGURE, parts::drawing(&panel, found, &frame)));
        }
        let indicators = curves.warnings.as_ref().map(warnings::panels).unwrap_or_default();
        for panel in panels(curves).into_iter().chain(indicators) {
            let scale = figure::scales(&panel)[0];
            drawings.push((csv::column(&panel.title, &panel.unit), FIGURE, figure::svg(&panel, &frame, scale)));
        }
    }
    let height: usize = drawings.iter().map(|(_, height, _)| ABOVE + height + BELOW).sum();
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\"><title>{}</title><style>{}</style><rect class=\"paper\" width=\"100%\" height=\"100%\"/>",
        escape(&curves.title),
        picture::style("")
    );
    let mut top = 0;
    for (title, height, drawing) in drawings {
        let _ = write!(
            svg,
            "<text class=\"title\" x=\"{LEFT}\" y=\"{}\">{}</text><svg x=\"{LEFT}\" y=\"{}\" width=\"{}\" height=\"{height}\" overflow=\"visible\">{drawing}</svg>",
            top + ABOVE - 16,
            escape(&strip::shortened(&title, LONGEST_TITLE)),
            top + ABOVE,
            WIDTH - LEFT - RIGHT
        );
        top += ABOVE + height + BELOW;
    }
    svg.push_str("</svg>\n");
    svg
}

fn frame(curves: &Curves) -> Option<Frame<'_>> {
    let axis = StepAxis::of(curves.curves.iter().flat_map(|c| c.steps.iter().copied()))?;
    let changes = curves.change_points.as_ref().map_or(&[][..], |found| &found.series);
    Some(Frame {
        axis,
        transitions: &curves.transitions,
        boundaries: &curves.stages,
        changes,
        names: BTreeMap::new(),
        subject: "series",
    })
}

fn summary(curves: &Curves, frame: Option<&Frame<'_>>) -> String {
    let Some(frame) = frame else {
        return "There is no series.".to_owned();
    };
    if let Some(found) = &curves.change_points {
        let n_changes = found.series.iter().map(|s| s.changes.len()).sum();
        let series = counted(curves.curves.len(), "curve");
        return format!("{series} over {}: {}.", frame.span(), counted(n_changes, "change point"));
    }
    if let Some(found) = &curves.parts {
        return parts::summary(found, &frame.span());
    }
    if let Some(found) = &curves.warnings {
        let is_clear = |own: &&ontogeny_store::SeriesWarning| own.variance_p.min(own.autocorrelation_p) <= 0.05;
        let n_clear = found.series.iter().filter(is_clear).count();
        let series = counted(curves.curves.len(), "curve");
        return format!(
            "{series} over {}: early warnings (p ≤ 0.05) in {n_clear} of {}.",
            frame.span(),
            found.series.len()
        );
    }
    let n_with = curves.curves.iter().filter(|c| curves.transitions.iter().any(|t| t.observable == c.name)).count();
    let found = match (curves.transitions.len(), curves.curves.len()) {
        (0, _) => "no transition was found".to_owned(),
        (n, 1) => counted(n, "transition"),
        (n, _) => format!("{} in {n_with} of them", counted(n, "transition")),
    };
    let stages = match curves.stages.len() {
        0 => String::new(),
        1 => "; one boundary divides them into 2 stages".to_owned(),
        n => format!("; {n} boundaries divide them into {} stages", n + 1),
    };
    let n = curves.curves.len();
    let series = if n == 1 { "One series".to_owned() } else { format!("{} series", number::count(n as u64)) };
    format!("{series} over {}: {found}{stages}.", frame.span())
}

fn how_to_read(curves: &Curves) -> String {
    let mut sentences = vec!["All figures share this axis, logarithmic in the step."];
    if !curves.stages.is_empty() {
        sentences.push("Shaded bands are every second stage.");
    }
    if curves.curves.iter().any(|c| c.standard_errors.is_some()) {
        sentences.push("Shaded ranges and bars are 95 % intervals (± 1.96 standard errors).");
    }
    if !curves.transitions.is_empty() {
        sentences.push(
            "Triangles mark the transitions of the series shown; the bars above are the 95 % intervals of their steps.",
        );
    }
    if curves.change_points.is_some() {
        sentences.push(changes::HOW_TO_READ);
    }
    if curves.curves.iter().any(|c| c.steps.len() > MOST_POINTS) {
        sentences
            .push("Series of more than 1,000 points are drawn as means over 500 bins of equal width on this axis.");
    }
    sentences.join(" ")
}

fn panels(curves: &Curves) -> Vec<Panel> {
    let all = || curves.curves.iter().flat_map(|c| c.steps.iter().map(|step| step.ln_1p()));
    let (low, high) = (all().fold(f64::INFINITY, f64::min), all().fold(f64::NEG_INFINITY, f64::max));
    let bin = |step: f64| if high > low { ((step.ln_1p() - low) / (high - low) * BINS) as usize } else { 0 };
    let panel = |(index, curve): (usize, &Curve)| Panel {
        id: format!("curve-{index}"),
        title: curve.name.clone(),
        unit: curve.unit.clone(),
        description: String::new(),
        series: vec![Series {
            address: curve.name.clone(),
            label: String::new(),
            measurement: curve.name.clone(),
            points: points(curve, &bin),
        }],
        kind: String::new(),
        form: Form::Lines,
    };
    curves.curves.iter().enumerate().map(panel).collect()
}

/// The points of a curve, those of a long one averaged in bins.
fn points(curve: &Curve, bin: &dyn Fn(f64) -> usize) -> Vec<Point> {
    let n = curve.steps.len().min(curve.values.len());
    let is_long = n > MOST_POINTS;
    let in_whole_steps = curve.steps.iter().all(|step| step.fract() == 0.0);
    let mut points = Vec::new();
    let mut first = 0;
    while first < n {
        let is_in = |i: &usize| is_long && bin(curve.steps[*i]) == bin(curve.steps[first]);
        let end = first + 1 + (first + 1..n).take_while(is_in).count();
        let count = (end - first) as f64;
        let centre = (curve.steps[first..end].iter().map(|step| step.ln_1p()).sum::<f64>() / count).exp_m1();
        let step = match end - first {
            1 => curve.steps[first],
            // It lies between the first and last step of its bin, also when rounded.
            _ if in_whole_steps => centre.round(),
            _ => centre,
        };
        let value = curve.values[first..end].iter().sum::<f64>() / count;
        let errors = curve.standard_errors.as_ref().and_then(|errors| errors.get(first..end));
        let standard_error = errors.map(|e| e.iter().map(|e| e * e).sum::<f64>().sqrt() / count);
        points.push(Point {
            step,
            value: Some(value).filter(|v| v.is_finite()),
            standard_error: standard_error.filter(|e| e.is_finite() && *e > 0.0),
            refusal: None,
        });
        first = end;
    }
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curves(n: usize, name: &str) -> Curves {
        let steps: Vec<f64> = (0..n).map(|i| i as f64).collect();
        let values = steps.iter().map(|t| 4.0 / (1.0 + t / 90.0)).collect();
        let standard_errors = Some(vec![0.1; n]);
        let curve = Curve { name: name.to_owned(), unit: String::new(), steps, values, standard_errors };
        let (step, lower, upper) = (90.0, 80.0, 100.0);
        let transition = crate::sample::grokking(24, 0).transitions[0].clone();
        Curves {
            title: name.to_owned(),
            curves: vec![curve],
            transitions: vec![Transition { observable: name.to_owned(), step, lower, upper, ..transition }],
            stages: vec![Boundary { step, lower, upper, observables: vec![name.to_owned()] }],
            ..Curves::default()
        }
    }

    #[test]
    fn long_curves_are_averaged_and_keep_order_and_error() {
        let curves = curves(50_000, "loss");
        let panel = &panels(&curves)[0];
        let points = &panel.series[0].points;
        assert!(points.len() <= 501 && points.is_sorted_by(|a, b| a.step < b.step), "{}", points.len());
        assert_eq!((points[0].step, points[0].value), (0.0, Some(4.0)), "early points stand alone");
        let last = points.last().unwrap();
        // A bin holds e^(ln 50,000 / 500) − 1 of its steps, about 1,070 at the end (the last also takes the end itself).
        let error = last.standard_error.unwrap();
        let n_in_bin = (0.1 / error).powi(2);
        assert!((900.0..1200.0).contains(&n_in_bin) || (0.5..1.5).contains(&n_in_bin), "{n_in_bin}");
        assert!(how_to_read(&curves).contains("means over 500 bins"));
    }

    #[test]
    fn the_picture_stands_alone() {
        let svg = curves_svg(&curves(200, "</style><script>alert(1)</script> & \"x\""));
        assert!(!svg.contains("var(--") && !svg.contains("<script") && svg.contains("prefers-color-scheme"));
        assert_eq!(svg.matches("<svg").count(), svg.matches("</svg>").count());
        for wrong in ["NaN", "inf%", "href", "url("] {
            assert!(!svg.contains(wrong), "{wrong}");
        }
        let (low, high) = (svg.matches("<path").count(), svg.matches("<style>").count());
        assert!(low > 0 && high == 1);
    }

    #[test]
    fn the_page_has_a_figure_for_each_curve_and_no_unit_that_nobody_gave() {
        let html = curves_page(&curves(200, "loss"));
        assert_eq!(html.matches("<figure").count(), 2);
        assert!(!html.contains("dimensionless") && html.contains("1 transition; one boundary"), "{html}");
        assert!(html.ends_with("</html>\n"));
        let empty = Curves { title: "none".to_owned(), ..Curves::default() };
        assert!(curves_page(&empty).contains("There is no series."));
        assert!(curves_svg(&empty).contains("</svg>"));
    }

    #[test]
    fn fractions_of_a_step_get_an_axis() {
        let mut curves = curves(100, "loss");
        curves.curves[0].steps.iter_mut().for_each(|step| *step /= 100.0);
        let frame = frame(&curves).unwrap();
        let labels: Vec<String> = frame.axis.ticks().into_iter().map(|t| t.label).collect();
        assert!(labels.contains(&"0.1".to_owned()) && labels.contains(&"0".to_owned()), "{labels:?}");
    }
}
