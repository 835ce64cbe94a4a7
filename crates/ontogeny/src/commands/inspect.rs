//! `ontogeny inspect`: the tensors of a weight file, and which of its weights a restriction holds.

use std::path::Path;

use comfy_table::{CellAlignment, Table, presets};
use ontogeny_graph::{Graph, ParamSpace};
use ontogeny_posterior::{Preview, PreviewRow, Restriction};
use ontogeny_zoo::{describe, read_tensors};
use serde_json::json;

use super::CommandError;
use crate::cli::{InspectArgs, exit};
use crate::terminal::{number, print, say};

pub(crate) fn inspect(args: &InspectArgs) -> Result<u8, CommandError> {
    if let Some(restriction) = &args.restrict {
        return draw(&args.file, restriction, args.json);
    }
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

/// What a restriction selects of the weights in a file.
fn draw(file: &Path, restriction: &Restriction, as_json: bool) -> Result<u8, CommandError> {
    let read = read_tensors(file)?;
    let mut graph = Graph::new();
    let mut weights = Vec::new();
    // Integers and truth values, such as masks, are no weights.
    for (tensor, values) in read.tensors.iter().filter_map(|tensor| Some((tensor, tensor.data.as_f32()?))) {
        graph.param(&tensor.name, &tensor.shape);
        weights.extend_from_slice(values);
    }
    let in_file = |problem: String| CommandError::Arguments(format!("{}: {problem}", file.display()));
    graph.check().map_err(|error| in_file(error.to_string()))?;
    let space = ParamSpace::of(&graph);
    let selection = restriction.resolve_at(&space, &weights).map_err(|error| in_file(error.to_string()))?;
    let preview = selection.preview(&space);
    if as_json {
        print(&object(restriction, &preview).to_string());
    } else {
        print(&format!("{restriction}\n{preview}"));
    }
    Ok(exit::DONE)
}

fn object(restriction: &Restriction, preview: &Preview) -> serde_json::Value {
    let row = |row: &PreviewRow| {
        let mut object = json!({ "name": row.name, "selected": row.n_selected, "weights": row.n_weights });
        if let Some(tensor) = &row.tensor {
            object["shape"] = json!(tensor.shape);
            object["directions"] = json!(tensor.directions);
            object["shares"] = json!(tensor.shares);
        }
        object
    };
    json!({
        "restriction": restriction.to_string(),
        "selected": preview.n_selected,
        "weights": preview.n_weights,
        "parts": preview.rows.iter().map(row).collect::<Vec<_>>(),
    })
}
