//! Matrix products and Einstein sums.

use ontogeny_graph::Node;

use crate::onnx::build::{Build, Call, Outcome};
use crate::onnx::error::Problem;
use crate::onnx::host::common_shape;

/// As `numpy.matmul`: products of matrices in the last two axes, the others broadcast; a vector is a row on the left
/// and a column on the right.
pub(super) fn matmul(call: &mut Call<'_, '_>) -> Outcome {
    let (a, b) = (call.floats(0)?, call.floats(1)?);
    Call::done(product(call.build, a, b)?)
}

fn product(build: &mut Build<'_>, a: Node, b: Node) -> Result<Node, Problem> {
    let g = &mut *build.g;
    let (left, right) = (g.shape(a).to_vec(), g.shape(b).to_vec());
    let refused = || Problem::new(format!("{left:?} and {right:?}"), "[…, m, k] and […, k, n]");
    let is_row = left.len() == 1;
    let is_column = right.len() == 1;
    let lead_a = left.len().checked_sub(if is_row { 1 } else { 2 }).ok_or_else(refused)?;
    let lead_b = right.len().checked_sub(if is_column { 1 } else { 2 }).ok_or_else(refused)?;
    let lead = common_shape(&[&left[..lead_a], &right[..lead_b]])?;
    if lead.len() > 20 {
        return Err(refused());
    }
    // An axis that is repeated has no label: it is taken out, and the product does not read it.
    let mut labelled = |node: Node, own: &[usize], n_lead: usize, last: &str| {
        let (mut labels, mut shape) = (String::new(), Vec::new());
        for (i, &extent) in own[..n_lead].iter().enumerate() {
            let at = lead.len() - n_lead + i;
            if extent == lead[at] {
                labels.push(label(at));
                shape.push(extent);
            }
        }
        shape.extend_from_slice(&own[n_lead..]);
        (g.reshape(node, &shape), labels + last)
    };
    let (a, labels_a) = labelled(a, &left, lead_a, if is_row { "y" } else { "xy" });
    let (b, labels_b) = labelled(b, &right, lead_b, if is_column { "y" } else { "yz" });
    let out: String = (0..lead.len()).map(label).collect();
    let rows = if is_row { "" } else { "x" };
    let columns = if is_column { "" } else { "z" };
    Ok(build.g.einsum(&format!("{labels_a},{labels_b}->{out}{rows}{columns}"), a, b))
}

fn label(at: usize) -> char {
    char::from(b'a' + at as u8)
}

/// α·A'·B' + β·C.
pub(super) fn gemm(call: &mut Call<'_, '_>) -> Outcome {
    let (a, b) = (call.floats(0)?, call.floats(1)?);
    let (alpha, beta) = (call.float("alpha", 1.0)?, call.float("beta", 1.0)?);
    let turned = |name| call.integer(name, 0).map(|value| value != 0);
    let labels_a = if turned("transA")? { "ba" } else { "ab" };
    let labels_b = if turned("transB")? { "cb" } else { "bc" };
    let mut node = call.build.g.einsum(&format!("{labels_a},{labels_b}->ac"), a, b);
    if alpha != 1.0 {
        node = call.build.g.scale(node, alpha);
    }
    if call.optional(2).is_some() && beta != 0.0 {
        let mut bias = call.floats(2)?;
        if beta != 1.0 {
            bias = call.build.g.scale(bias, beta);
        }
        node = call.build.g.add(node, bias);
    }
    Call::done(node)
}

/// Of one or two operands, each label once in each.
pub(super) fn einsum(call: &mut Call<'_, '_>) -> Outcome {
    let equation: String = call.text("equation", "")?.split_whitespace().collect();
    let refused =
        || Problem::new(format!("the equation `{equation}`"), "one such as `abc,cd->abd`, of one or two operands");
    if equation.contains('.') {
        return Err(refused());
    }
    let (operands, out) = if let Some((operands, out)) = equation.split_once("->") {
        (operands.to_owned(), out.to_owned())
    } else {
        // Labels that stand once, in the order of the alphabet.
        let mut labels: Vec<char> = equation.chars().filter(|label| *label != ',').collect();
        labels.sort_unstable();
        let once = |label: &&[char]| label.len() == 1;
        (equation.clone(), labels.chunk_by(|a, b| a == b).filter(once).map(|labels| labels[0]).collect())
    };
    let operands: Vec<&str> = operands.split(',').collect();
    match operands[..] {
        [_, _] if call.n_inputs() == 2 => {
            let (a, b) = (call.floats(0)?, call.floats(1)?);
            Call::done(call.build.g.einsum(&format!("{}->{out}", operands.join(",")), a, b))
        }
        [own] if call.n_inputs() == 1 => {
            // The other factor is 1.
            let (a, one) = (call.floats(0)?, call.build.g.constant(1.0));
            Call::done(call.build.g.einsum(&format!("{own},->{out}"), a, one))
        }
        _ => Err(refused()),
    }
}
