//! `ontogeny stages`: transitions and stages of any series.

use std::num::NonZero;
use std::path::Path;
use std::thread;

use comfy_table::{CellAlignment, Table, presets};
use ontogeny_store::{Boundary, Stage, Transition};
use ontogeny_study::{
    ChangePointsConfig, Detection, NameGlobError, NamedSeries, SeriesFile, SeriesSettings, change_points, detect,
    read_series, sum_of_parts, warnings,
};
use ontogeny_web::{Curve, Curves};
use serde::Serialize;

use super::CommandError;
use super::change_points::print_change_points;
use super::parts::print_parts;
use super::warnings::print_warnings;
use crate::cli::{StagesArgs, exit};
use crate::progress::Counter;
use crate::terminal::{grouped, number, print, say};

/// A page of more figures than this helps nobody.
const MAX_FIGURES: usize = 200;

pub(crate) fn stages(args: &StagesArgs) -> Result<u8, CommandError> {
    let plot = args.plot.as_deref().map(|path| Ok::<_, CommandError>((path, Picture::of(path)?))).transpose()?;
    let mut select = args.series.clone();
    if let Some(mean) = args.parts.as_ref().filter(|_| !select.is_empty()) {
        select.push(mean.parse().map_err(|error: NameGlobError| CommandError::Arguments(format!("--parts: {error}")))?);
    }
    let settings =
        SeriesSettings { time_axis: args.time_axis, every: args.every.clone(), select, log_values: args.log_values };
    let file = read_series(&args.path, &settings)?;
    for notice in &file.notices {
        say(&format!("note: {notice}"));
    }
    if plot.is_some() && file.series.len() > MAX_FIGURES {
        let n = file.series.len();
        let message = format!("--plot draws at most {MAX_FIGURES} series, found {n}; choose some with --series");
        return Err(CommandError::Arguments(message));
    }
    let threads = args.threads.unwrap_or_else(|| thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN));
    if let Some(config) = args.change_points {
        let config = ChangePointsConfig { time: args.time.unwrap_or_default(), ..config };
        return only_change_points(args, &file, config, threads, plot);
    }
    if let Some(mean) = &args.parts {
        return only_parts(args, &file, mean, plot);
    }
    if args.warnings {
        let found = warnings(&file.series, args.until, args.seed.unwrap_or(file.seed), threads);
        if let Some(plot) = plot {
            write_plot(plot, &Curves { warnings: Some(found.clone()), ..curves(&file) })?;
        }
        if args.json {
            print(&serde_json::to_string(&found)?);
        } else {
            print_warnings(&found);
        }
        return Ok(exit::DONE);
    }
    let counter = Counter::new("search");
    let found = detect(&file.series, args.seed.unwrap_or(file.seed), threads, &|done, all| counter.on(done, all));
    counter.finish();
    if let Some(plot) = plot {
        let curves = Curves {
            transitions: found.transitions.clone(),
            stages: found.stages.clone(),
            intervals: found.intervals.clone(),
            ..curves(&file)
        };
        write_plot(plot, &curves)?;
    }
    if args.json {
        print(&serde_json::to_string(&Output::of(&found))?);
    } else {
        print_found(&file, &found);
    }
    Ok(exit::DONE)
}

fn only_change_points(
    args: &StagesArgs,
    file: &SeriesFile,
    config: ChangePointsConfig,
    threads: NonZero<usize>,
    plot: Option<(&Path, Picture)>,
) -> Result<u8, CommandError> {
    let (found, left_out) = change_points(&file.series, config, threads);
    for why in &left_out {
        say(&format!("note: not looked at: {why}"));
    }
    if let Some(plot) = plot {
        let curves = Curves { change_points: Some(found.clone()), ..curves(file) };
        write_plot(plot, &curves)?;
    }
    if args.json {
        print(&serde_json::to_string(&found)?);
    } else {
        print_change_points(&found);
    }
    Ok(exit::DONE)
}

fn only_parts(
    args: &StagesArgs,
    file: &SeriesFile,
    mean: &str,
    plot: Option<(&Path, Picture)>,
) -> Result<u8, CommandError> {
    let wrong = |message: String| CommandError::Arguments(format!("--parts {mean}: {message}"));
    let (whole, components): (Vec<NamedSeries>, Vec<NamedSeries>) =
        file.series.iter().cloned().partition(|series| series.name == mean);
    let Some(whole) = whole.first() else {
        let names: Vec<&str> = file.series.iter().map(|series| series.name.as_str()).take(20).collect();
        return Err(wrong(format!("found no series of this name, expected one of {}", names.join(", "))));
    };
    let found = sum_of_parts(Some(whole), &components, None).map_err(wrong)?;
    if let Some(plot) = plot {
        write_plot(plot, &Curves { parts: Some(found.clone()), ..curves(file) })?;
    }
    if args.json {
        print(&serde_json::to_string(&found)?);
    } else {
        print_parts(&found);
    }
    Ok(exit::DONE)
}

fn write_plot((path, picture): (&Path, Picture), curves: &Curves) -> Result<(), CommandError> {
    ontogeny_store::write_file(path, picture.draw(curves).as_bytes())?;
    say(&format!("  plot     {}", path.display()));
    Ok(())
}

/// The series as they are drawn, with nothing found in them.
fn curves(file: &SeriesFile) -> Curves {
    let curve = |s: &NamedSeries| Curve {
        name: s.name.clone(),
        unit: s.unit.clone(),
        steps: s.series.steps().to_vec(),
        values: s.series.values().to_vec(),
        standard_errors: s.series.errors().map(<[f64]>::to_vec),
    };
    Curves { title: file.title.clone(), curves: file.series.iter().map(curve).collect(), ..Curves::default() }
}

/// What `--plot` writes.
#[derive(Debug, Clone, Copy)]
enum Picture {
    Page,
    Svg,
}

impl Picture {
    fn of(path: &Path) -> Result<Self, CommandError> {
        let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
        match extension.as_str() {
            "html" | "htm" => Ok(Self::Page),
            "svg" => Ok(Self::Svg),
            _ => Err(CommandError::Arguments(format!("--plot {}: expected a name in .html or .svg", path.display()))),
        }
    }

    fn draw(self, curves: &Curves) -> String {
        match self {
            Self::Page => ontogeny_web::curves_page(curves),
            Self::Svg => ontogeny_web::curves_svg(curves),
        }
    }
}

/// The JSON object.
#[derive(Serialize)]
struct Output<'a> {
    series: &'a std::collections::BTreeMap<String, ontogeny_study::Found>,
    transitions: Vec<InSeries<'a>>,
    stages: &'a [Boundary],
    intervals: &'a [Stage],
}

/// A transition that says in which series it is.
#[derive(Serialize)]
struct InSeries<'a> {
    series: &'a str,
    #[serde(flatten)]
    transition: &'a Transition,
}

impl<'a> Output<'a> {
    fn of(found: &'a Detection) -> Self {
        let in_series = |transition: &'a Transition| InSeries { series: &transition.observable, transition };
        let transitions = found.transitions.iter().map(in_series).collect();
        Self { series: &found.series, transitions, stages: &found.stages, intervals: &found.intervals }
    }
}

fn print_found(file: &SeriesFile, found: &Detection) {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["series", "", "step", "95 % interval", "decades", "size", "p"]);
    for series in &file.series {
        let Some(own) = found.series.get(&series.name) else { continue };
        let mut name = Some(series.name.clone());
        for t in &own.transitions {
            let what = t.label.clone().unwrap_or_else(|| "transition".to_owned());
            let unit = if t.unit.is_empty() || t.unit == "1" { String::new() } else { format!(" {}", t.unit) };
            table.add_row([
                name.take().unwrap_or_default(),
                what,
                step(t.step),
                interval(t.lower, t.upper),
                format!("{:.2}", t.width_decades),
                format!("{}{unit}", number(t.size)),
                if t.p_value < 1e-3 { format!("{:.0e}", t.p_value) } else { format!("{:.3}", t.p_value) },
            ]);
        }
        for b in &own.stages {
            let ends = [step(b.step), interval(b.lower, b.upper)];
            let head = [name.take().unwrap_or_default(), "boundary".to_owned()];
            table.add_row(head.into_iter().chain(ends));
        }
        if let Some(name) = name {
            table.add_row([name, "nothing found".to_owned()]);
        }
    }
    for (column, alignment) in table.column_iter_mut().zip(ALIGNMENTS) {
        column.set_cell_alignment(alignment);
    }
    print(&table.to_string());
    if found.stages.is_empty() {
        print("no stage boundaries");
        return;
    }
    print("stage boundaries");
    for b in &found.stages {
        let names = b.observables.join(", ");
        print(&format!("  step {:>7}  {:<18} {names}", step(b.step), interval(b.lower, b.upper)));
    }
    print("");
    print_intervals(&found.intervals);
}

/// Most series whose changes are printed; the others are in JSON.
const MAX_CHANGES: usize = 5;

/// The stages as a table: one row for each, a column for each series.
pub(crate) fn print_intervals(intervals: &[Stage]) {
    let Some(first) = intervals.first() else { return };
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let names = first.changes.iter().take(MAX_CHANGES).map(|change| format!("Δ {}", change.observable));
    table.set_header(["stage".to_owned(), "steps".to_owned(), "type".to_owned()].into_iter().chain(names));
    for (index, stage) in intervals.iter().enumerate() {
        let ends = format!("{} to {}", step(stage.from), step(stage.to));
        let head = [(index + 1).to_string(), ends, stage.kind.clone().unwrap_or_default()];
        let changes = stage.changes.iter().take(MAX_CHANGES);
        let changes = changes.map(|c| format!("{:+.3} ± {}", c.change, number(c.standard_error)));
        table.add_row(head.into_iter().chain(changes));
    }
    print(&table.to_string());
}

const ALIGNMENTS: [CellAlignment; 7] = [
    CellAlignment::Left,
    CellAlignment::Left,
    CellAlignment::Right,
    CellAlignment::Left,
    CellAlignment::Right,
    CellAlignment::Right,
    CellAlignment::Right,
];

/// A step, with decimals where it is small: epochs may be fractions.
pub(super) fn step(step: f64) -> String {
    if step >= 100.0 || step.fract() == 0.0 { grouped(step) } else { number(step) }
}

pub(super) fn interval(lower: f64, upper: f64) -> String {
    format!("[{}, {}]", step(lower), step(upper))
}
