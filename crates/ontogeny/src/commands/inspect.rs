//! `ontogeny inspect`: the tensors of a weight file or a network, and which of its weights a restriction holds.

use std::path::Path;

use comfy_table::{CellAlignment, Table, presets};
use ontogeny_graph::{Graph, ParamSpace};
use ontogeny_posterior::{Preview, PreviewRow, Restriction};
use ontogeny_zoo::{OnnxValue, TensorSummary, describe, describe_onnx, read_tensors};
use serde_json::json;

use super::CommandError;
use crate::cli::{InspectArgs, exit};
use crate::terminal::{number, print, say};

pub(crate) fn inspect(args: &InspectArgs) -> Result<u8, CommandError> {
    if let Some(restriction) = &args.restrict {
        return draw(&args.file, restriction, args.json);
    }
    if args.file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("onnx")) {
        return inspect_network(&args.file, args.json);
    }
    let description = describe(&args.file)?;
    if args.json {
        print(&serde_json::to_string(&description)?);
        return Ok(exit::DONE);
    }
    print(&tensor_table(description.tensors.iter().map(|tensor| (tensor, ""))).to_string());
    for unread in &description.unread {
        say(&format!("not shown: {}: {}", unread.name, unread.reason));
    }
    Ok(exit::DONE)
}

/// A network in an ONNX file: what it reads and gives, its operators, its tensors.
fn inspect_network(file: &Path, as_json: bool) -> Result<u8, CommandError> {
    let network = describe_onnx(file).map_err(|error| CommandError::Arguments(error.to_string()))?;
    if as_json {
        print(&serde_json::to_string(&network)?);
        return Ok(exit::DONE);
    }
    let value = |value: &OnnxValue| {
        let shape = value.shape.as_ref().map_or_else(|| "?".to_owned(), |shape| shape.join(", "));
        format!("{} [{shape}]", value.name)
    };
    let values = |values: &[OnnxValue]| values.iter().map(value).collect::<Vec<_>>().join(", ");
    let operators: Vec<String> = network.operators.iter().map(|(name, n)| format!("{name} {n}")).collect();
    print(&format!(
        "ONNX, opset {}, written by {}\ninput      {}\noutput     {}\nweights    {}\noperators  {}",
        network.opset,
        if network.producer.is_empty() { "?" } else { &network.producer },
        values(&network.inputs),
        values(&network.outputs),
        network.n_parameters,
        operators.join(", ")
    ));
    print(&tensor_table(network.tensors.iter().map(|tensor| (&tensor.tensor, tensor.role))).to_string());
    if !network.unsupported.is_empty() {
        say(&format!("not supported: {}", network.unsupported.join(", ")));
    }
    Ok(exit::DONE)
}

/// A line for each tensor, with what it is for.
fn tensor_table<'a>(tensors: impl Iterator<Item = (&'a TensorSummary, &'static str)>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["tensor", "shape", "type", "min", "mean", "max", ""]);
    for (tensor, role) in tensors {
        let shape: Vec<String> = tensor.shape.iter().map(ToString::to_string).collect();
        let mut row = vec![tensor.name.clone(), format!("[{}]", shape.join(", ")), tensor.dtype.to_string()];
        match &tensor.stats {
            Some(stats) => {
                let ends = [stats.min.map(f64::from), stats.mean, stats.max.map(f64::from)];
                row.extend(ends.map(|x| x.map_or_else(|| "–".to_owned(), number)));
                let n = stats.n_non_finite;
                row.push(if n == 0 {
                    role.to_owned()
                } else {
                    format!("{role} {n} not finite").trim_start().to_owned()
                });
            }
            None => row.extend(["–", "–", "–", role].map(str::to_owned)),
        }
        table.add_row(row);
    }
    for column in table.column_iter_mut().skip(3).take(3) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
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
