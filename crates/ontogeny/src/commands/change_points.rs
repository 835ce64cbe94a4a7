//! The tables of `ontogeny stages --change-points`, which `ontogeny show` prints too.

use comfy_table::{CellAlignment, Table, presets};
use ontogeny_store::{ChangePoints, SeriesChanges};

use super::stages::{interval, step};
use crate::terminal::{number, print};

/// Ranges of prices that are printed of a series; JSON has all.
const MAX_RANGES: usize = 8;

pub(crate) fn print_change_points(found: &ChangePoints) {
    if found.series.is_empty() {
        print("no series is long enough for change points");
        return;
    }
    let axis = match (found.shape.as_str(), found.time.as_str()) {
        ("linear" | "continuous_linear", "log") => " over ln(step + 1)",
        ("linear" | "continuous_linear", _) => " over the step",
        _ => "",
    };
    print(&format!("change points, shape {}{axis}, price of a change by {}", found.shape, found.criterion));
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header([
        "series",
        "step",
        "95 % interval",
        &format!("{} before", found.quantity),
        "after",
        "jump",
        "holds to",
    ]);
    for series in &found.series {
        let mut name = Some(series.observable.clone());
        for c in &series.changes {
            let value = |x: Option<f64>| x.map_or_else(|| "–".to_owned(), number);
            let unit = unit(&series.quantity_unit);
            table.add_row([
                name.take().unwrap_or_default(),
                step(c.step),
                interval(c.lower, c.upper),
                value(c.before),
                format!("{}{unit}", value(c.after)),
                format!("{}{}", if c.jump > 0.0 { "+" } else { "" }, number(c.jump)),
                holds(c.holds_to),
            ]);
        }
        if let Some(name) = name {
            table.add_row([name, "none".to_owned()]);
        }
    }
    for (column, alignment) in table.column_iter_mut().zip(ALIGNMENTS) {
        column.set_cell_alignment(alignment);
    }
    print(&table.to_string());
    print("holds to: how many times the price may be for the change still to be found");
    print("\nnumber of changes at other prices (1: the price taken)");
    for series in &found.series {
        print(&format!("  {}: {}", series.observable, path(series)));
    }
}

fn unit(unit: &str) -> String {
    if unit.is_empty() || unit == "1" { String::new() } else { format!(" {unit}") }
}

fn holds(times: f64) -> String {
    if times >= 10.0 { "≥ 10".to_owned() } else { format!("{times:.1}") }
}

/// The ranges nearest to the price taken, such as `0.5 to 0.8: 3, 0.8 to 10: 1`.
fn path(series: &SeriesChanges) -> String {
    let at = series.path.partition_point(|range| range.to < 1.0);
    let first = at.saturating_sub(MAX_RANGES / 2).min(series.path.len().saturating_sub(MAX_RANGES));
    let shown = series.path.iter().skip(first).take(MAX_RANGES);
    let words: Vec<String> = shown.map(|r| format!("{:.2} to {:.2}: {}", r.from, r.to, r.n_changes)).collect();
    let (before, after) = (first > 0, first + MAX_RANGES < series.path.len());
    format!("{}{}{}", if before { "…, " } else { "" }, words.join(", "), if after { ", …" } else { "" })
}

const ALIGNMENTS: [CellAlignment; 7] = [
    CellAlignment::Left,
    CellAlignment::Right,
    CellAlignment::Left,
    CellAlignment::Right,
    CellAlignment::Right,
    CellAlignment::Right,
    CellAlignment::Right,
];
