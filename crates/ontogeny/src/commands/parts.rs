//! The tables of `ontogeny stages --parts`, which `ontogeny show` prints too.

use comfy_table::{CellAlignment, Table, presets};
use ontogeny_store::SumOfParts;

use super::stages::step;
use crate::terminal::{number, print};

/// Components that are printed; JSON has all.
const MAX_COMPONENTS: usize = 40;

pub(crate) fn print_parts(found: &SumOfParts) {
    let n = found.components.len();
    print(&match (&found.mean, found.explained) {
        (Some(mean), Some(share)) => {
            format!("{mean} as the mean of {n} components, which explains {:.1} % of its variation", 100.0 * share)
        }
        _ => format!("the mean of {n} components"),
    });
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["component", "weight", "share of the change", "half time", "sharpness", ""]);
    for part in found.components.iter().take(MAX_COMPONENTS) {
        table.add_row([
            part.name.clone(),
            number(part.weight),
            format!("{:.1} %", 100.0 * part.share),
            part.half_time.map_or_else(|| "–".to_owned(), step),
            format!("{:.2}", part.sharpness),
            if part.is_learned { String::new() } else { "not learned".to_owned() },
        ]);
    }
    for column in table.column_iter_mut().skip(1).take(4) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    print(&table.to_string());
    if n > MAX_COMPONENTS {
        print(&format!("… {} more", n - MAX_COMPONENTS));
    }
    if let Some(fit) = &found.learning_times {
        let error = fit.standard_error.map_or_else(String::new, |error| format!(" ± {error:.2}"));
        print(&format!("half time ~ weight^({:.2}{error}), of {} learned components", fit.slope, fit.n));
    }
    let share = 100.0 * found.explained_by_sigmoids;
    print(&format!("\n{} sigmoids explain {share:.1} % of the mean", found.sigmoids.len()));
    for sigmoid in &found.sigmoids {
        let components = match sigmoid.components.as_slice() {
            [] => "no component".to_owned(),
            names => names.join(", "),
        };
        print(&format!(
            "  step {:>7}  {:>5.2} decades  {:>9}  {components}",
            step(sigmoid.step),
            sigmoid.decades,
            number(sigmoid.change)
        ));
    }
}
