//! Paths of checkpoints: planes of principal components with evolute and forms, and what a random walk would show.

use std::fmt::Write as _;

use ontogeny_store::{Plane, RunView, Trajectory};

use crate::chart::{self, round};
use crate::csv::{self, Csv};
use crate::figure;
use crate::number;
use crate::panel::{Form, Panel, Point, Series};
use crate::table::Table;
use crate::text::{counted, escape};

/// Colours along the path, the last of those of heat maps: the first are too pale for a line.
const FIRST_SHADE: usize = 4;
const SHADES: usize = 12;
/// Components in the figure over the steps.
const MOST_COMPONENTS: usize = 4;
/// Forms of at most this p-value are drawn with their circles.
const SIGNIFICANT: f64 = 0.05;
/// Side of a drawing, in its own units, and the margin for letters.
const SIDE: f64 = 300.0;
const MARGIN: f64 = 14.0;

/// A section for every trajectory; empty where there are none.
pub(crate) fn section(view: &RunView, frame: &chart::Frame<'_>) -> String {
    let mut html = String::new();
    for (index, (name, trajectory)) in view.trajectories.iter().enumerate() {
        if trajectory.steps.len() < 2 || trajectory.scores.is_empty() {
            continue;
        }
        let _ = write!(html, "<section><h2>Trajectory: {}</h2>{}", escape(name), words(trajectory));
        let _ = write!(html, "<div class=\"planes\">");
        for plane in &trajectory.planes {
            html.push_str(&drawing((index, name), trajectory, plane));
        }
        html.push_str("</div>");
        html.push_str(&figure::lines(&components((index, name), trajectory), frame));
        html.push_str(&shares(name, trajectory));
        html.push_str(&forms(name, trajectory));
        html.push_str("</section>");
    }
    html
}

/// The components over the steps; their extrema lie near forms.
fn components((index, name): (usize, &str), trajectory: &Trajectory) -> Panel {
    let series = |(k, scores): (usize, &Vec<f64>)| Series {
        address: format!("{name}.component_{}", k + 1),
        label: format!("component {}", k + 1),
        measurement: name.to_owned(),
        points: trajectory
            .steps
            .iter()
            .zip(scores)
            .map(|(&step, &value)| Point { step: step as f64, value: Some(value), standard_error: None, refusal: None })
            .collect(),
    };
    Panel {
        id: format!("trajectory-{index}"),
        title: "Components over the steps".to_owned(),
        unit: "1".to_owned(),
        description: "Coordinates of the checkpoints along the first principal components of the path.".to_owned(),
        series: trajectory.scores.iter().take(MOST_COMPONENTS).enumerate().map(series).collect(),
        kind: "trajectory".to_owned(),
        form: Form::Lines,
    }
}

fn words(trajectory: &Trajectory) -> String {
    let of = match trajectory.of.as_str() {
        "losses" => "losses of single answers",
        "weights" => "weights",
        _ => "outputs on fixed examples",
    };
    format!(
        "<p class=\"note\">{} as points in the space of their {} {of}, seen along the principal components of the path. Colour goes from \
         pale (step {}) to strong (step {}). The dotted line is the evolute of the smoothed path: the centres of its osculating circles. \
         {}</p>",
        counted(trajectory.steps.len(), "checkpoint"),
        number::count(trajectory.n_outputs),
        number::count(trajectory.steps[0]),
        number::count(trajectory.steps[trajectory.steps.len() - 1]),
        match trajectory.forms.len() {
            0 => "There is no candidate for a form, a place where the path turns around a point in all planes.",
            _ =>
                "Numbers mark candidates for forms, places where the path turns around a point in all planes; those that turn more than \
                 random walks do (p ≤ 0.05) are red, with the osculating circle.",
        }
    )
}

/// Equal scales on both axes, so that circles are circles.
struct Frame {
    low: [f64; 2],
    scale: f64,
    offset: [f64; 2],
}

impl Frame {
    fn of(curves: &[[&[f64]; 2]]) -> Self {
        let ends = |axis: usize| {
            let values = curves.iter().flat_map(|curve| curve[axis].iter().copied()).filter(|x| x.is_finite());
            values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)))
        };
        let (x, y) = (ends(0), ends(1));
        let span = (x.1 - x.0).max(y.1 - y.0);
        let scale = if span > 0.0 { (SIDE - 2.0 * MARGIN) / span } else { 0.0 };
        let centred = |(low, high): (f64, f64)| 0.5 * (SIDE - 2.0 * MARGIN - scale * (high - low));
        Self { low: [x.0, y.0], scale, offset: [centred(x), centred(y)] }
    }

    fn place(&self, x: f64, y: f64) -> (f64, f64) {
        let along = |axis: usize, value: f64| MARGIN + self.offset[axis] + self.scale * (value - self.low[axis]);
        (round(along(0, x)), round(SIDE - along(1, y)))
    }
}

fn drawing((index, name): (usize, &str), trajectory: &Trajectory, plane: &Plane) -> String {
    let (Some(x), Some(y)) = (trajectory.scores.get(plane.across), trajectory.scores.get(plane.up)) else {
        return String::new();
    };
    let smooth = (trajectory.smoothed.get(plane.across), trajectory.smoothed.get(plane.up));
    let (smooth_x, smooth_y) = (smooth.0.unwrap_or(x), smooth.1.unwrap_or(y));
    let frame = Frame::of(&[[x, y], [smooth_x, smooth_y]]);
    let (across, up) = (plane.across + 1, plane.up + 1);
    let mut svg = format!(
        "<figure id=\"trajectory-{index}-{across}-{up}\"><svg class=\"chart plane\" viewBox=\"0 0 {SIDE} {SIDE}\" role=\"img\" aria-label=\"{}\"><rect class=\"missing\" width=\"{SIDE}\" height=\"{SIDE}\"/>",
        escape(&alternative(trajectory, plane)),
    );
    let clip = format!("<svg class=\"clipped\" width=\"{SIDE}\" height=\"{SIDE}\">");
    let _ = write!(svg, "{clip}<path class=\"evolute\" d=\"{}\"/></svg>", evolute(plane, &frame));
    // Measured points, small; the smoothed path over them.
    let n = trajectory.steps.len();
    let points: Vec<(f64, f64)> = x.iter().zip(y).map(|(&x, &y)| frame.place(x, y)).collect();
    let line: Vec<(f64, f64)> = smooth_x.iter().zip(smooth_y).map(|(&x, &y)| frame.place(x, y)).collect();
    for shade in 0..SHADES {
        let range = (shade * (n - 1) / SHADES, (shade + 1) * (n - 1) / SHADES);
        let mut dots = String::new();
        for (x, y) in &points[range.0..=range.1] {
            let _ = write!(dots, "M{x} {y}h0");
        }
        let mut path = String::new();
        for (at, (x, y)) in line[range.0..=range.1].iter().enumerate() {
            let _ = write!(path, "{}{x} {y}", if at == 0 { "M" } else { "L" });
        }
        let _ = write!(
            svg,
            "<g class=\"path h{}\"><path class=\"dots\" d=\"{dots}\"/><path class=\"line\" d=\"{path}\"/></g>",
            FIRST_SHADE + shade
        );
    }
    for (number, form) in trajectory.forms.iter().enumerate() {
        let at = trajectory.steps.partition_point(|&step| (step as f64) < form.step).min(n - 1);
        let (x, y) = line[at];
        let is_clear = form.p_value <= SIGNIFICANT;
        if let (true, Some(Some(centre)), Some(Some(radius))) = (is_clear, plane.centres.get(at), plane.radii.get(at)) {
            let (cx, cy) = frame.place(centre[0], centre[1]);
            let radius = round(radius * frame.scale);
            let _ = write!(svg, "{clip}<circle class=\"osculating\" cx=\"{cx}\" cy=\"{cy}\" r=\"{radius}\"/></svg>");
        }
        // The number stands inside the drawing, wherever the form is.
        let (label_x, anchor) = if x > SIDE - 24.0 { (x - 6.0, "end") } else { (x + 6.0, "start") };
        let _ = write!(
            svg,
            "<circle class=\"form{}\" cx=\"{x}\" cy=\"{y}\" r=\"4\"/><text class=\"form-name\" x=\"{}\" y=\"{}\" text-anchor=\"{anchor}\">{}</text>",
            if is_clear { " clear" } else { "" },
            round(label_x),
            round((y - 6.0).max(14.0)),
            number + 1
        );
    }
    let _ = write!(
        svg,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">component {across} →</text><text x=\"8\" y=\"16\">↑ component {up}</text></svg>",
        SIDE - 8.0,
        SIDE - 7.0
    );
    let _ = write!(svg, "<p class=\"foot\">{}</p></figure>", data(name, trajectory, plane));
    svg
}

/// The centres of the osculating circles that lie anywhere near the drawing, as strokes.
fn evolute(plane: &Plane, frame: &Frame) -> String {
    let mut path = String::new();
    let mut is_drawn = false;
    for centre in &plane.centres {
        let place = centre.map(|[x, y]| frame.place(x, y)).filter(|(x, y)| x.abs().max(y.abs()) < 4.0 * SIDE);
        match place {
            Some((x, y)) => {
                let _ = write!(path, "{}{x} {y}", if is_drawn { "L" } else { "M" });
                is_drawn = true;
            }
            None => is_drawn = false,
        }
    }
    path
}

fn alternative(trajectory: &Trajectory, plane: &Plane) -> String {
    let share = |k: usize| percent(trajectory.shares.get(k).copied().unwrap_or(0.0));
    format!(
        "Path of {} in the plane of components {} ({} of the variance) and {} ({})",
        counted(trajectory.steps.len(), "checkpoint"),
        plane.across + 1,
        share(plane.across),
        plane.up + 1,
        share(plane.up)
    )
}

fn data(name: &str, trajectory: &Trajectory, plane: &Plane) -> String {
    let (across, up) = (plane.across + 1, plane.up + 1);
    let columns = ["step", &format!("component {across}"), &format!("component {up}")].map(str::to_owned);
    let more = ["centre across", "centre up", "radius"].map(str::to_owned);
    let mut csv = Csv::new(columns.into_iter().chain(more).collect());
    let value =
        |rows: &[Vec<f64>], component: usize, at: usize| rows.get(component).and_then(|row| row.get(at)).copied();
    for (at, step) in trajectory.steps.iter().enumerate() {
        let centre = plane.centres.get(at).copied().flatten();
        let cells = [
            value(&trajectory.scores, plane.across, at),
            value(&trajectory.scores, plane.up, at),
            centre.map(|c| c[0]),
            centre.map(|c| c[1]),
            plane.radii.get(at).copied().flatten(),
        ];
        csv.push([step.to_string()].into_iter().chain(cells.map(csv::short)).collect());
    }
    csv.link(&format!("{name} {across} {up}"), "Data as CSV")
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// Shares of the variance, beside those of a random walk.
fn shares(name: &str, trajectory: &Trajectory) -> String {
    let mut table = Table::new(&["component", "share of the variance", "of a random walk"]);
    let mut csv = Csv::new(["component", "share", "random walk"].map(str::to_owned).to_vec());
    for (k, share) in trajectory.shares.iter().enumerate() {
        let walk = trajectory.random_walk.get(k).copied();
        let shown = walk.map_or_else(|| "–".to_owned(), percent);
        table.row(&[(k + 1).to_string(), percent(*share), shown]);
        csv.push(vec![(k + 1).to_string(), csv::cell(Some(*share)), csv::cell(walk)]);
    }
    format!(
        "{}<p class=\"note\">A random walk in many dimensions has these shares, and cosines as its components (Antognini & \
         Sohl-Dickstein 2018): shares near them are no structure by themselves.</p><p class=\"foot\">{}</p>",
        table.html("Components"),
        csv.link(&format!("{name} components"), "Components as CSV")
    )
}

fn forms(name: &str, trajectory: &Trajectory) -> String {
    if trajectory.forms.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&["form", "step", "interval", "kind", "p"]);
    let mut csv = Csv::new(["form", "step", "lower (step)", "upper (step)", "kind", "p"].map(str::to_owned).to_vec());
    for (at, form) in trajectory.forms.iter().enumerate() {
        let interval = format!("[{}, {}]", number::step(form.lower), number::step(form.upper));
        let number = (at + 1).to_string();
        table.row(&[
            number.clone(),
            number::step(form.step),
            interval,
            form.kind.clone(),
            number::p_value(form.p_value),
        ]);
        let ends = [form.step, form.lower, form.upper].map(|x| csv::cell(Some(x)));
        csv.push([number].into_iter().chain(ends).chain([form.kind.clone(), csv::cell(Some(form.p_value))]).collect());
    }
    format!("{}<p class=\"foot\">{}</p>", table.html("Forms"), csv.link(&format!("{name} forms"), "Forms as CSV"))
}
