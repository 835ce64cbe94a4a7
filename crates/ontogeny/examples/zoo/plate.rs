//! The loss curves of all presets on one plate: a small panel each, the seeds over each other.

use std::fmt::Write as _;

use crate::runs::{Preset, Run};

const COLUMNS: usize = 5;
/// Of a panel with its title and the labels of its axes, in pixels.
const CELL: (f64, f64) = (188.0, 132.0);
/// Of the drawing in it.
const DRAWING: (f64, f64) = (144.0, 76.0);
/// From the corner of the panel to that of the drawing.
const CORNER: (f64, f64) = (36.0, 28.0);
const MARGIN: f64 = 8.0;
/// Height of the line that says which colour is what.
const KEY: f64 = 28.0;
/// Of a drawing: what is lower is as good as nothing learned more.
const DECADES: f64 = 3.0;
/// Points nearer than this to the one before are left out, in pixels.
const STEP: f64 = 0.8;

/// Colours of the report, light and dark.
const PALETTE: [(&str, &str); 7] = [
    ("#1549b5", "#3d8bff"),
    ("#c2260f", "#f0512d"),
    ("#00766a", "#19c3b2"),
    ("#d9761b", "#f59a45"),
    ("#9289b1", "#8d7f9e"),
    ("#2e8bf0", "#b4e4fb"),
    ("#512443", "#f7d94c"),
];

/// A curve with the number of its colour.
struct Curve {
    colour: usize,
    points: Vec<(f64, f64)>,
}

/// An SVG picture of its own, with colours for light and for dark surroundings.
pub(crate) fn plate(presets: &[Preset]) -> String {
    // Agents have returns, and no losses.
    let presets: Vec<&Preset> = presets.iter().filter(|preset| !curves(preset).is_empty()).collect();
    let n_rows = presets.len().div_ceil(COLUMNS).max(1);
    let (width, height) = (CELL.0 * COLUMNS as f64 + 2.0 * MARGIN, CELL.1 * n_rows as f64 + KEY + 2.0 * MARGIN);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\">\
         <title>Losses of the presets</title><style>{}</style><rect class=\"paper\" width=\"100%\" height=\"100%\"/>\n",
        style()
    );
    let y = MARGIN + 13.0;
    let mut x = MARGIN + 8.0;
    let keys = [(0, "training loss", 88.0), (1, "test loss", 68.0), (2, "loss of a sub-task", 112.0)];
    for (colour, words, room) in keys {
        let _ = write!(
            svg,
            "<path class=\"c{colour}\" d=\"M{x} {0}h16\"/><text class=\"key\" x=\"{1}\" y=\"{y}\">{words}</text>",
            y - 4.0,
            x + 21.0
        );
        x += 21.0 + room;
    }
    let _ = writeln!(
        svg,
        "<text class=\"key\" x=\"{x}\" y=\"{y}\">of sweeps a colour for each setting, in the order of the file; both axes are logarithmic; \
         each line is a seed</text>"
    );
    for (at, preset) in presets.iter().enumerate() {
        let left = MARGIN + CELL.0 * (at % COLUMNS) as f64;
        let top = MARGIN + KEY + CELL.1 * (at / COLUMNS) as f64;
        let _ = writeln!(svg, "<g transform=\"translate({left} {top})\">{}</g>", panel(preset));
    }
    svg.push_str("</svg>\n");
    svg
}

fn panel(preset: &Preset) -> String {
    let mut svg = format!(
        "<g transform=\"translate({} {})\"><text class=\"name\" y=\"-9\">{}</text>",
        CORNER.0, CORNER.1, preset.name
    );
    let curves = curves(preset);
    let values = || curves.iter().flat_map(|curve| curve.points.iter());
    let last = values().map(|(step, _)| *step).fold(1.0, f64::max);
    let highest = values().map(|(_, loss)| *loss).fold(f64::MIN_POSITIVE, f64::max);
    let least = values().map(|(_, loss)| *loss).fold(highest, f64::min);
    let lowest = least.max(highest * 10_f64.powf(-DECADES)).min(highest / 1.05);
    let x = |step: f64| DRAWING.0 * step.ln_1p() / last.ln_1p();
    let y = |loss: f64| DRAWING.1 * (highest / loss.max(lowest)).ln() / (highest / lowest).ln();
    for decade in 0..9 {
        let step = 10_f64.powi(decade);
        if step <= last {
            let label = if decade < 3 { format!("{step}") } else { format!("{}k", step / 1000.0) };
            let _ = write!(
                svg,
                "<path class=\"grid\" d=\"M{0:.1} 0V{1}\"/><text class=\"tick\" x=\"{0:.1}\" y=\"{2}\" text-anchor=\"middle\">{label}</text>",
                x(step),
                DRAWING.1,
                DRAWING.1 + 11.0
            );
        }
    }
    for (loss, at) in [(highest, 4.0), (lowest, DRAWING.1)] {
        let label = number(loss);
        let _ = write!(svg, "<text class=\"tick\" x=\"-4\" y=\"{at}\" text-anchor=\"end\">{label}</text>");
    }
    for curve in &curves {
        let mut path = String::new();
        let mut before: Option<(f64, f64)> = None;
        for (at, &(step, loss)) in curve.points.iter().enumerate() {
            let point = (x(step), y(loss));
            let is_near = before.is_some_and(|(px, py)| (point.0 - px).abs() < STEP && (point.1 - py).abs() < STEP);
            if !is_near || at + 1 == curve.points.len() {
                let command = if path.is_empty() { "M" } else { "L" };
                let _ = write!(path, "{command}{:.1} {:.1}", point.0, point.1);
                before = Some(point);
            }
        }
        let _ = write!(svg, "<path class=\"c{}\" d=\"{path}\"/>", curve.colour);
    }
    let _ = write!(svg, "<path class=\"axis\" d=\"M0 0V{1}H{0}\"/></g>", DRAWING.0, DRAWING.1);
    svg
}

/// Of a preset with one setting the training loss, the test loss and the series that its `[stages]` names first; of a sweep one loss
/// of every setting.
fn curves(preset: &Preset) -> Vec<Curve> {
    let variants = preset.by_variant();
    let mut curves = Vec::new();
    for (at, (_, runs)) in variants.iter().enumerate() {
        for run in runs {
            let series = |measure: &str, label: &str| positive(run.series(measure, label).unwrap_or_default());
            let named = named(run).map(|label| series("subtask_loss", &label)).unwrap_or_default();
            let test = [series("loss", "test"), series("loss", "ood")].into_iter().find(|points| !points.is_empty());
            let (train, test) = (series("loss", "train"), test.unwrap_or_default());
            if variants.len() > 1 {
                let points = [named, test, train].into_iter().find(|points| !points.is_empty()).unwrap_or_default();
                curves.push(Curve { colour: at % PALETTE.len(), points });
            } else {
                let all = [(0, train), (1, test), (2, named)];
                curves.extend(all.into_iter().map(|(colour, points)| Curve { colour, points }));
            }
        }
    }
    curves.retain(|curve| !curve.points.is_empty());
    curves
}

/// The sub-task whose loss `[stages]` names.
fn named(run: &Run) -> Option<String> {
    let configuration = run.configuration()?;
    let names = configuration.get("stages")?.get("observables")?.as_array()?;
    names.iter().find_map(|name| name.as_str()?.strip_prefix("subtask_loss.").map(str::to_owned))
}

/// What a logarithmic axis can show.
fn positive(mut points: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    points.retain(|(_, loss)| *loss > 0.0);
    points
}

/// Two digits that count.
fn number(value: f64) -> String {
    match value {
        v if v >= 10.0 => format!("{v:.0}"),
        v if v >= 1.0 => format!("{v:.1}"),
        v if v >= 0.1 => format!("{v:.2}"),
        v if v >= 0.001 => format!("{v:.3}"),
        v => format!("{v:.0e}"),
    }
}

fn style() -> String {
    let rules = |pick: fn(&(&'static str, &'static str)) -> &'static str,
                 paper: &str,
                 ink: &str,
                 quiet: &str,
                 grid: &str| {
        let mut css = format!(
            ".paper{{fill:{paper}}}.name{{fill:{ink}}}.tick,.key{{fill:{quiet}}}.grid{{stroke:{grid}}}.axis{{stroke:{quiet}}}"
        );
        for (at, colours) in PALETTE.iter().enumerate() {
            let _ = write!(css, ".c{at}{{stroke:{}}}", pick(colours));
        }
        css
    };
    let light = rules(|colours| colours.0, "#fdfdfb", "#1d1f21", "#5f6368", "#e6e6e1");
    let dark = rules(|colours| colours.1, "#16181a", "#e4e4df", "#a0a4a8", "#2a2d30");
    format!(
        "text{{font-family:system-ui,-apple-system,\"Segoe UI\",\"Liberation Sans\",Arial,sans-serif}}.name{{font-size:11px;font-weight:600}}\
         .tick{{font-size:8.5px}}.key{{font-size:11px}}path{{fill:none}}.grid,.axis{{stroke-width:.7}}\
         [class^=c]{{stroke-width:1.1;stroke-opacity:.75;stroke-linejoin:round}}{light}@media (prefers-color-scheme:dark){{{dark}}}"
    )
}
