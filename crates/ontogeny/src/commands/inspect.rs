//! `ontogeny inspect`: the tensors of a weight file.

use comfy_table::{CellAlignment, Table, presets};
use ontogeny_zoo::describe;

use super::CommandError;
use crate::cli::{InspectArgs, exit};
use crate::terminal::{number, print, say};

pub(crate) fn inspect(args: &InspectArgs) -> Result<u8, CommandError> {
    let description = describe(&args.file)?;
    if args.json {
        print(&serde_json::to_string(&description)?);
        return Ok(exit::DONE);
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["tensor", "shape", "type", "min", "mean", "max", ""]);
    for tensor in &description.tensors {
        let shape: Vec<String> = tensor.shape.iter().map(ToString::to_string).collect();
        let mut row = vec![tensor.name.clone(), format!("[{}]", shape.join(", ")), tensor.dtype.to_string()];
        match &tensor.stats {
            Some(stats) => {
                let ends = [stats.min.map(f64::from), stats.mean, stats.max.map(f64::from)];
                row.extend(ends.map(|x| x.map_or_else(|| "–".to_owned(), number)));
                let n = stats.n_non_finite;
                row.push(if n == 0 { String::new() } else { format!("{n} not finite") });
            }
            None => row.extend(["–", "–", "–", ""].map(str::to_owned)),
        }
        table.add_row(row);
    }
    for column in table.column_iter_mut().skip(3).take(3) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    print(&table.to_string());
    for unread in &description.unread {
        say(&format!("not shown: {}: {}", unread.name, unread.reason));
    }
    Ok(exit::DONE)
}
