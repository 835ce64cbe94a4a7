//! The table of `ontogeny stages --warnings`, which `ontogeny show` prints too.

use comfy_table::{CellAlignment, Table, presets};
use ontogeny_store::{Together, Warnings};

use crate::terminal::{grouped, number, print, say};

/// Units that are named of a direction.
const MOST_UNITS: usize = 5;

pub(crate) fn print_warnings(warnings: &Warnings) {
    for left_out in &warnings.left_out {
        say(&format!("note: not looked at: {left_out}"));
    }
    if warnings.series.is_empty() {
        print("no series has values at even intervals to look for early warnings in");
    } else {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header([
            "series",
            "values",
            "τ variance",
            "p",
            "last/first",
            "τ autocorrelation",
            "p",
            "first",
            "last",
        ]);
        for own in &warnings.series {
            table.add_row([
                own.name.clone(),
                grouped(own.n_values as f64),
                format!("{:+.2}", own.variance_tau),
                format!("{:.3}", own.variance_p),
                format!("{:.2}", own.variance_ratio),
                format!("{:+.2}", own.autocorrelation_tau),
                format!("{:.3}", own.autocorrelation_p),
                format!("{:.2}", own.autocorrelation[0]),
                format!("{:.2}", own.autocorrelation[1]),
            ]);
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        print(&table.to_string());
        print(
            "τ: Kendall's trend of an indicator in a rolling window of half of the values; p: share of surrogates of autoregressive",
        );
        print(
            "noise that rise as much, corrected for all trends. A rise is no proof of a transition ahead: noise that grows raises it, too.",
        );
    }
    if let Some(together) = &warnings.together {
        print_together(together);
    }
}

fn print_together(together: &Together) {
    print(&format!("\nfluctuations of {} series together, about straight lines", together.units.len()));
    let (Some(first), Some(last)) = (together.windows.first(), together.windows.last()) else { return };
    for (name, window) in [("first window", first), ("last window", last)] {
        let mut units: Vec<(f64, &String)> = window.direction.iter().copied().zip(&together.units).collect();
        units.sort_by(|a, b| b.0.abs().total_cmp(&a.0.abs()).then(a.1.cmp(b.1)));
        let named: Vec<String> =
            units.iter().take(MOST_UNITS).map(|(entry, unit)| format!("{unit} {entry:+.2}")).collect();
        print(&format!(
            "  {name} (to step {}): variance {} along its dominant direction, {:.0} % of all; {}",
            grouped(window.step),
            number(window.variance),
            100.0 * window.share,
            named.join(", ")
        ));
    }
    print(&format!(
        "  trend of that variance over {} windows: τ {:+.2}",
        together.windows.len(),
        together.variance_tau
    ));
    if let Some(group) = &together.group {
        print(&format!(
            "  group that stands out in the last window: {} (index {}, p {:.3})",
            group.units.join(", "),
            number(group.index),
            group.p_value
        ));
    }
}
