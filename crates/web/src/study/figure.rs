//! A figure of a study: lines or clouds of points by group, so many that the bundle is what is read.

use std::fmt::Write as _;

use ontogeny_store::{FigureForm, StudyFigure, StudyMark};

use super::across::{self, Across};
use super::drawable;
use super::picture::{self, BOLD, Block, CHARACTERS, Drawing};
use super::words::short;
use crate::axis::{Scale, ValueAxis};
use crate::chart;
use crate::csv::{self, Csv};
use crate::figure::tenths;
use crate::number;
use crate::text::{counted, escape};

/// Groups with a colour of their own; the rest is grey.
const COLOURS: usize = 7;
/// Height of the frame.
const HEIGHT: usize = 300;
/// Marks without any point that a sentence names.
const MOST_NAMED: usize = 12;

/// The figure as an element of a page; `id` is unique in it.
pub(super) fn html(figure: &StudyFigure, id: &str) -> String {
    let mut html = format!("<figure id=\"{id}\"><figcaption><h3>{}</h3></figcaption>", escape(&figure.title));
    let keys = keys(figure);
    if !keys.is_empty() {
        html.push_str("<div class=\"key groups\">");
        let dot = if figure.form == FigureForm::Points { " dot" } else { "" };
        for key in keys {
            let _ = write!(
                html,
                "<span class=\"entry\"><i class=\"swatch{dot} {}\"></i>{} <span class=\"quiet\">{}</span></span>",
                key.class,
                escape(&key.name),
                number::count(key.n as u64)
            );
        }
        html.push_str("</div>");
    }
    let _ = write!(html, "<p class=\"axis-name\">{}</p>", escape(&vertical_name(figure)));
    let _ = write!(
        html,
        "<div class=\"plot still\"><div style=\"height:{HEIGHT}px\">{}</div></div><p class=\"axis-name across\">{}</p>",
        drawing(figure, id),
        escape(&horizontal_name(figure))
    );
    if let Some(absent) = absent(figure) {
        let _ = write!(html, "<p class=\"note\">{}</p>", escape(&absent));
    }
    let _ = write!(html, "<p class=\"foot\">{}</p></figure>", data(figure).link(id, "Data as CSV"));
    html
}

/// A figure of a study as one SVG picture of its own, 760 pixels wide, with colours written out, light and dark.
pub fn study_figure_svg(figure: &StudyFigure) -> String {
    let mut lines: Vec<String> = picture::wrapped(&figure.title, BOLD, 2)
        .iter()
        .map(|line| format!("<tspan class=\"strong\">{}</tspan>", escape(line)))
        .collect();
    lines.extend(key_lines(figure));
    if let Some(absent) = absent(figure) {
        let absent = picture::wrapped(&absent, CHARACTERS, 2);
        lines.extend(absent.iter().map(|line| format!("<tspan class=\"quiet\">{}</tspan>", escape(line))));
    }
    lines.push(format!("<tspan class=\"quiet\">{}</tspan>", escape(&picture::cut(&vertical_name(figure), CHARACTERS))));
    let svg = format!(
        "{}<svg x=\"50%\" y=\"100%\" overflow=\"visible\"><text class=\"words\" y=\"36\" text-anchor=\"middle\"><tspan class=\"quiet\">{}</tspan></text></svg>",
        drawing(figure, "figure"),
        escape(&picture::cut(&horizontal_name(figure), CHARACTERS - 8))
    );
    let drawing = Drawing { svg, height: HEIGHT, above: 12, below: 44 };
    picture::picture(&figure.title, &[Block { lines, drawings: vec![drawing] }])
}

/// A group as the key shows it.
#[derive(Debug, Clone, PartialEq)]
struct Key {
    name: String,
    class: String,
    /// Its marks.
    n: usize,
}

/// The groups in the order in which they come; beyond seven, the others together. A single group without a name needs no key.
fn keys(figure: &StudyFigure) -> Vec<Key> {
    let names = groups(figure);
    let is_coloured = |index: usize| names.len() <= COLOURS || index < COLOURS;
    let count = |name: &str| figure.marks.iter().filter(|mark| mark.group == name).map(|m| n_drawn(figure, m)).sum();
    let mut keys: Vec<Key> = names
        .iter()
        .enumerate()
        .filter(|(index, _)| is_coloured(*index))
        .map(|(index, name)| Key { name: (*name).to_owned(), class: chart::series_class(index), n: count(name) })
        .collect();
    let others = &names[keys.len()..];
    if !others.is_empty() {
        let n = others.iter().map(|name| count(name)).sum();
        keys.push(Key { name: format!("others: {}", others.join(", ")), class: "others".to_owned(), n });
    }
    if let [only] = keys.as_slice()
        && only.name.is_empty()
    {
        keys.clear();
    }
    keys
}

fn groups(figure: &StudyFigure) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for mark in &figure.marks {
        if !names.contains(&mark.group.as_str()) {
            names.push(&mark.group);
        }
    }
    names
}

/// The key in lines of a picture.
fn key_lines(figure: &StudyFigure) -> Vec<String> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    for key in keys(figure) {
        let (name, n) = (picture::cut(&key.name, CHARACTERS - 16), number::count(key.n as u64));
        let width = name.chars().count() + n.len() + 6;
        let entry = format!(
            "<tspan class=\"swatch {}\">■</tspan> {} <tspan class=\"quiet\">{n}</tspan>",
            key.class,
            escape(&name)
        );
        match lines.last_mut() {
            Some((used, line)) if *used + width <= CHARACTERS => {
                *used += width;
                let _ = write!(line, "\u{2003}{entry}");
            }
            _ => lines.push((width, entry)),
        }
    }
    lines.into_iter().map(|(_, line)| line).collect()
}

fn vertical_name(figure: &StudyFigure) -> String {
    let (_, heights) = axes(figure);
    match heights {
        Some(axis) if axis.scale == Scale::Log => format!("{}, logarithmic", figure.y_label),
        _ => figure.y_label.clone(),
    }
}

fn horizontal_name(figure: &StudyFigure) -> String {
    match axes(figure).0 {
        Some(Across::Values(axis)) if axis.scale == Scale::Log => format!("{}, logarithmic", figure.x_label),
        Some(axis) => format!("{}{}", figure.x_label, axis.power()),
        None => figure.x_label.clone(),
    }
}

/// The points of a mark in its order; `None` for y where there is none.
fn points(mark: &StudyMark) -> impl Iterator<Item = (f64, Option<f64>)> {
    let heights = mark.y.iter().copied().map(|y| y.and_then(drawable)).chain(std::iter::repeat(None));
    mark.x.iter().zip(heights).filter_map(|(x, y)| drawable(*x).map(|x| (x, y)))
}

/// Both axes; `None` where there is no point.
fn axes(figure: &StudyFigure) -> (Option<Across>, Option<ValueAxis>) {
    let all: Vec<(f64, f64)> =
        figure.marks.iter().flat_map(|mark| points(mark).filter_map(|(x, y)| Some((x, y?)))).collect();
    if all.is_empty() {
        return (None, None);
    }
    let (x, y): (Vec<f64>, Vec<f64>) = all.into_iter().unzip();
    let across = if figure.x_is_step { Across::steps(&x) } else { Some(Across::values(&x)) };
    let is_fraction = y.iter().all(|y| (0.0..=1.0).contains(y))
        && y.iter().any(|y| *y > 0.3)
        && !["loss", "nats", "error"].iter().any(|word| figure.y_label.contains(word));
    let heights = if is_fraction { ValueAxis::of_fractions() } else { ValueAxis::covering(across::scale(&y), &y, &[]) };
    (across, Some(heights))
}

/// The drawing alone.
fn drawing(figure: &StudyFigure, id: &str) -> String {
    let mut svg = format!(
        "<svg class=\"chart\" role=\"img\" aria-label=\"{}\" aria-describedby=\"{id}-text\"><desc id=\"{id}-text\">{}</desc>",
        escape(&format!("{}: {} over {}", figure.title, figure.y_label, figure.x_label)),
        escape(&alternative(figure))
    );
    let (Some(across), Some(heights)) = axes(figure) else {
        svg.push_str("<text class=\"none\" x=\"50%\" y=\"50%\" text-anchor=\"middle\">no run has a value</text></svg>");
        return svg;
    };
    svg.push_str(&chart::value_axis(&heights));
    svg.push_str(&chart::axis_below(&across.ticks(), ""));
    let (opacity, stroke) = bundle(figure);
    // In a large bundle a pixel is exact enough.
    let rounded = if figure.marks.len() > 60 { f64::round } else { tenths };
    let _ = write!(
        svg,
        "<svg class=\"curves bundle\" width=\"100%\" height=\"100%\" viewBox=\"0 0 1000 1000\" preserveAspectRatio=\"none\"><g opacity=\"{opacity}\">"
    );
    let names = groups(figure);
    let index = |mark: &StudyMark| names.iter().position(|name| *name == mark.group).unwrap_or(0);
    let is_other = |mark: &&StudyMark| names.len() > COLOURS && index(mark) >= COLOURS;
    // What has no colour of its own lies behind.
    for mark in figure.marks.iter().filter(is_other).chain(figure.marks.iter().filter(|mark| !is_other(mark))) {
        let class = if is_other(&mark) { "others".to_owned() } else { chart::series_class(index(mark)) };
        let place = |x: f64, y: f64| (rounded(10.0 * across.position(x)), rounded(10.0 * heights.position(y)));
        let _ = write!(svg, "<g class=\"{class}\"><title>{}</title>", escape(&name(mark)));
        svg.push_str(&path(mark, figure.form, stroke, &place));
        svg.push_str("</g>");
    }
    svg.push_str("</g></svg></svg>");
    svg
}

/// Lines or points that stand for a mark.
fn n_drawn(figure: &StudyFigure, mark: &StudyMark) -> usize {
    match figure.form {
        FigureForm::Lines => 1,
        FigureForm::Points => points(mark).filter(|(_, y)| y.is_some()).count(),
    }
}

/// Opacity of a mark and class of its strokes: the more there are, the thinner.
fn bundle(figure: &StudyFigure) -> (f64, &'static str) {
    let n: usize = figure.marks.iter().map(|mark| n_drawn(figure, mark)).sum();
    match (figure.form, n) {
        (FigureForm::Lines, ..=4) => (1.0, "line"),
        (FigureForm::Lines, ..=30) => (0.7, "line thin"),
        (FigureForm::Lines, ..=120) => (0.5, "line thin"),
        (FigureForm::Lines, _) => (0.32, "line faint"),
        (FigureForm::Points, ..=60) => (0.75, "points"),
        (FigureForm::Points, ..=400) => (0.5, "points many"),
        (FigureForm::Points, _) => (0.3, "points many"),
    }
}

/// The strokes of one mark: a line that stops where a value is missing, with a dot where one stands alone; or dots.
fn path(mark: &StudyMark, form: FigureForm, stroke: &str, place: &dyn Fn(f64, f64) -> (f64, f64)) -> String {
    let points: Vec<(f64, Option<f64>)> = points(mark).collect();
    let (mut line, mut dots) = (String::new(), String::new());
    for run in points.split(|(_, y)| y.is_none()).filter(|run| !run.is_empty()) {
        let is_line = form == FigureForm::Lines && run.len() > 1;
        for (at, (x, y)) in run.iter().enumerate() {
            let (x, y) = place(*x, y.unwrap_or_default());
            if is_line {
                let _ = write!(line, "{}{x} {y}", if at == 0 { 'M' } else { 'L' });
            } else {
                let _ = write!(dots, "M{x} {y}h.1");
            }
        }
    }
    let mut svg = String::new();
    let dot = if form == FigureForm::Lines { "points many" } else { stroke };
    for (class, d) in [(stroke, line), (dot, dots)] {
        if !d.is_empty() {
            let _ = write!(svg, "<path class=\"{class}\" d=\"{d}\"/>");
        }
    }
    svg
}

/// What is not there: points without a value, and marks without any.
fn absent(figure: &StudyFigure) -> Option<String> {
    let of = |mark: &StudyMark| (mark.x.len().max(mark.y.len()), points(mark).filter(|(_, y)| y.is_some()).count());
    let (all, defined) = figure.marks.iter().map(of).fold((0, 0), |(a, d), (n, m)| (a + n, d + m));
    let empty: Vec<String> = figure.marks.iter().filter(|mark| of(mark).1 == 0).map(name).collect();
    if all == defined && empty.is_empty() {
        return None;
    }
    let mut words = format!(
        "{} of {} not there.",
        number::count((all - defined) as u64),
        counted(all, "value") + if all == 1 { " is" } else { " are" }
    );
    if !empty.is_empty() {
        let rest = empty.len().saturating_sub(MOST_NAMED);
        let more = if rest > 0 { format!(" and {rest} more") } else { String::new() };
        let _ = write!(words, " Without any value: {}{more}.", empty[..empty.len() - rest].join(", "));
    }
    Some(words)
}

/// The figure in words: for each group how many marks it has, and where they begin and end, or how far they reach.
fn alternative(figure: &StudyFigure) -> String {
    let mut sentences = Vec::new();
    for key in keys_with_single(figure) {
        let marks: Vec<&StudyMark> = figure.marks.iter().filter(|mark| mark.group == key.name).collect();
        let values = |end: fn(&StudyMark) -> Option<f64>| {
            let mut values: Vec<f64> = marks.iter().filter_map(|mark| end(mark)).collect();
            values.sort_unstable_by(f64::total_cmp);
            values
        };
        let name = if key.name.is_empty() { "All".to_owned() } else { key.name.clone() };
        let first = values(|mark| points(mark).find_map(|(_, y)| y));
        let last = values(|mark| points(mark).filter_map(|(_, y)| y).last());
        let least = values(|mark| points(mark).filter_map(|(_, y)| y).min_by(f64::total_cmp));
        let most = values(|mark| points(mark).filter_map(|(_, y)| y).max_by(f64::total_cmp));
        let (Some(lowest), Some(highest)) = (least.first(), most.last()) else {
            sentences.push(format!("{name}: no value."));
            continue;
        };
        sentences.push(match figure.form {
            FigureForm::Lines => format!(
                "{name}: {} from {} to {} (medians), between {} and {}.",
                counted(marks.len(), "line"),
                short(first[first.len() / 2]),
                short(last[last.len() / 2]),
                short(*lowest),
                short(*highest)
            ),
            FigureForm::Points => format!(
                "{name}: {} between {} and {}.",
                counted(marks.iter().map(|mark| points(mark).filter(|(_, y)| y.is_some()).count()).sum(), "point"),
                short(*lowest),
                short(*highest)
            ),
        });
    }
    sentences.join(" ")
}

/// All groups, each by itself.
fn keys_with_single(figure: &StudyFigure) -> Vec<Key> {
    let key = |name: &str| Key { name: name.to_owned(), class: String::new(), n: 0 };
    groups(figure).into_iter().map(key).collect()
}

/// All points: lines over the same places stand beside each other, a row for each place; otherwise each point has a row.
fn data(figure: &StudyFigure) -> Csv {
    let is_shared = figure.marks.windows(2).all(|pair| pair[0].x == pair[1].x);
    if let (FigureForm::Lines, true, Some(first)) = (figure.form, is_shared, figure.marks.first()) {
        let names = figure.marks.iter().map(name);
        let mut csv = Csv::new([figure.x_label.clone()].into_iter().chain(names).collect());
        for (at, x) in first.x.iter().enumerate() {
            let heights = figure.marks.iter().map(|mark| csv::short(mark.y.get(at).copied().flatten()));
            csv.push([csv::cell(Some(*x))].into_iter().chain(heights).collect());
        }
        return csv;
    }
    let mut csv = Csv::new(["group", "label", &figure.x_label, &figure.y_label].map(str::to_owned).to_vec());
    for mark in &figure.marks {
        let heights = mark.y.iter().copied().chain(std::iter::repeat(None));
        for (x, y) in mark.x.iter().zip(heights) {
            csv.push(vec![mark.group.clone(), mark.label.clone(), csv::cell(Some(*x)), csv::short(y)]);
        }
    }
    csv
}

/// Group and label of a mark.
fn name(mark: &StudyMark) -> String {
    [mark.group.as_str(), mark.label.as_str()].join(" ").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn every_mark_is_drawn_and_a_gap_stops_its_line() {
        let study = sample::study();
        let svg = study_figure_svg(&study.figures[0]);
        assert_eq!(svg.matches("<path class=\"line").count(), 24);
        let mut gap = study.figures[0].clone();
        gap.marks.truncate(1);
        gap.marks[0].y[20] = None;
        let svg = study_figure_svg(&gap);
        let d = svg.split("<path class=\"line\" d=\"").nth(1).unwrap().split('"').next().unwrap();
        assert_eq!((d.matches('M').count(), d.matches('L').count()), (2, 37));
        assert!(svg.contains("1 of 40 values are not there."), "{svg}");
    }

    #[test]
    fn steps_stand_where_the_report_of_a_run_has_them() {
        let (Some(across), _) = axes(&sample::study().figures[0]) else { panic!("steps have an axis") };
        let expected = crate::axis::StepAxis::of(sample::study().figures[0].marks[0].x.iter().copied()).unwrap();
        assert_eq!(across.ticks(), expected.ticks());
        assert!((across.position(3000.0) - 99.0).abs() < 1e-9 && (across.position(0.0) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn groups_beyond_the_colours_are_grey_and_named() {
        let study = sample::study();
        // A cloud is as many points as it has.
        let mut cloud = study.figures[2].clone();
        (cloud.form, cloud.marks) = (FigureForm::Points, cloud.marks[..1].to_vec());
        (cloud.marks[0].x, cloud.marks[0].y) = (vec![1.0, 2.0, 3.0], vec![Some(1.0), None, Some(2.0)]);
        assert_eq!(keys(&cloud)[0].n, 2);
        let keys = keys(&study.figures[2]);
        assert_eq!(keys.len(), 8);
        assert_eq!(
            keys[7],
            Key { name: "others: width 1024, width 2048, width 4096".into(), class: "others".into(), n: 9 }
        );
        let svg = study_figure_svg(&study.figures[2]);
        assert_eq!(svg.matches("<g class=\"others\">").count(), 9);
        assert!(svg.contains("logarithmic"), "noise and loss span decades");
        let mut eight = study.figures[2].clone();
        eight.marks.retain(|mark| mark.group != "width 4096" && mark.group != "width 2048");
        assert_eq!(super::keys(&eight)[7].name, "others: width 1024");
    }

    #[test]
    fn figures_of_nothing_and_of_odd_numbers_are_still_figures() {
        let mut figure = sample::study().figures[1].clone();
        for x in [f64::NAN, f64::INFINITY, f64::MAX, 0.0, -3.0, 1e-300] {
            for is_step in [false, true] {
                figure.x_is_step = is_step;
                figure.marks.iter_mut().for_each(|mark| (mark.x, mark.y) = (vec![x, 1.0], vec![Some(x)]));
                let both = format!("{}{}", html(&figure, "f"), study_figure_svg(&figure));
                assert!(!both.contains("NaN") && !both.contains("inf"), "{x}");
                assert!(both.contains("not there"), "the second value is missing: {both}");
            }
        }
        figure.marks.clear();
        assert!(html(&figure, "f").contains("no run has a value"));
    }

    #[test]
    fn the_data_are_those_of_the_marks() {
        let text = data(&sample::study().figures[1]).text();
        assert_eq!(text.lines().count(), 37);
        let wide = data(&sample::study().figures[0]).text();
        assert!(wide.starts_with("step,weight decay 1 seed=0,weight decay 2 seed=40,"));
        assert_eq!((wide.lines().count(), wide.lines().last().unwrap().split(',').count()), (41, 25));
        assert!(wide.lines().last().unwrap().contains(",,"), "the seed that ends early");
        assert!(text.starts_with(
            "group,label,norm of the weights at step 100 (relative),delay (nats of step)\nweight decay 1,seed=0,"
        ));
    }
}
