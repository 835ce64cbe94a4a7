//! Lowering einsums: which axes are batch, rows, columns and inner.

use super::layout::collapse;
use super::{Kernel, Place, Planner};
use crate::einsum::EinsumSpec;
use crate::graph::Node;
use crate::kernels::contract::{Contract, Extra, FinishOp, Mode, Product};
use crate::kernels::offsets::Offsets;

/// A label with its extent and its stride in the two operands and the result (0 where absent).
#[derive(Debug, Clone, Copy)]
struct Axis {
    label: u8,
    extent: usize,
    strides: [usize; 3],
}

const A: usize = 0;
const B: usize = 1;
const OUT: usize = 2;

/// Plans `result = einsum(a, b)`: batch labels (in all three) become loops; the rows (a and result), columns (b and
/// result) and inner labels (a and b) are each walked as one, by a stride where there is one and a table else.
///
/// The result's axes have the given strides from its place on.
pub(super) fn plan(
    planner: &mut Planner<'_>,
    node: Node,
    (a, b, spec): (Node, Node, &EinsumSpec),
    (result, out_strides): (Place, &[usize]),
    mode: Mode,
    finish: &[(Option<FinishOp>, Node)],
) {
    let graph = planner.graph;
    let extents = spec.extents(graph.shape(a), graph.shape(b)).expect("checked when built");
    let places = [planner.layout(a).place, planner.layout(b).place, result];
    let strides = [planner.layout(a).strides.as_slice(), &planner.layout(b).strides, out_strides];
    let labels = [&spec.a, &spec.b, &spec.out];
    let axes: Vec<Axis> = extents
        .iter()
        .filter(|(_, extent)| *extent != 1)
        .map(|&(label, extent)| {
            let stride =
                |side: usize| labels[side].iter().position(|&l| l == label).map_or(0, |axis| strides[side][axis]);
            Axis { label, extent, strides: [stride(A), stride(B), stride(OUT)] }
        })
        .collect();
    // Axes in which sides, those that move furthest on `side` outermost.
    let pick = |within: [bool; 3], side: usize| -> Vec<Axis> {
        let is_within = |axis: &&Axis| (0..3).all(|side| labels[side].contains(&axis.label) == within[side]);
        let mut group: Vec<Axis> = axes.iter().filter(is_within).copied().collect();
        group.sort_by_key(|axis| std::cmp::Reverse(axis.strides[side]));
        group
    };
    let batch = pick([true, true, true], OUT);
    let rows = pick([true, false, true], OUT);
    let columns = pick([false, true, true], OUT);
    // The larger operand keeps its order.
    let size = |node: Node| super::request_len(graph, node);
    let inner = pick([true, true, false], if size(a) >= size(b) { A } else { B });
    let product = Product {
        a_rows: offsets(&rows, A),
        a_inner: offsets(&inner, A),
        b_inner: offsets(&inner, B),
        b_columns: offsets(&columns, B),
        out_rows: offsets(&rows, OUT),
        out_columns: offsets(&columns, OUT),
    };
    let shape: Vec<usize> = batch.iter().map(|axis| axis.extent).collect();
    let of_batch: Vec<Vec<usize>> = (0..3).map(|side| batch.iter().map(|axis| axis.strides[side]).collect()).collect();
    let loops = collapse(&shape, &[&of_batch[A], &of_batch[B], &of_batch[OUT]])
        .into_iter()
        .map(|dim| (dim.extent, [dim.strides[A], dim.strides[B], dim.strides[OUT]]))
        .collect();
    let flops = 2 * axes.iter().map(|axis| axis.extent).product::<usize>();
    let extra = |&(op, other): &(Option<FinishOp>, Node)| {
        let Some(op) = op else {
            let none = Offsets::Even(1, 0);
            return Extra { op: None, place: result, batch: Vec::new(), rows: none.clone(), columns: none };
        };
        // The other operand has the shape of the result.
        let layout = planner.layout(other);
        let stride = |axis: &Axis| {
            let at = spec.out.iter().position(|&label| label == axis.label);
            at.map_or(0, |at| layout.strides[at])
        };
        let along = |group: &[Axis]| {
            let group: Vec<Axis> = group.iter().map(|axis| Axis { strides: [stride(axis); 3], ..*axis }).collect();
            offsets(&group, A)
        };
        let batch = batch.iter().map(|axis| (axis.extent, stride(axis))).collect();
        Extra { op: Some(op), place: layout.place, batch, rows: along(&rows), columns: along(&columns) }
    };
    let extras: Vec<Extra> = finish.iter().map(extra).collect();
    let kernel = Kernel::Contract(Contract::new(places, loops, product, mode, extras));
    // What overlaps is there under the name of what it adds up to.
    let len = if let Mode::Overlaps(len) = mode { len } else { super::request_len(graph, node) };
    planner.step_of(node, kernel, (result, len), flops);
}

/// The offsets of a group of axes on one side.
fn offsets(group: &[Axis], side: usize) -> Offsets {
    let shape: Vec<usize> = group.iter().map(|axis| axis.extent).collect();
    let strides: Vec<usize> = group.iter().map(|axis| axis.strides[side]).collect();
    let dims = collapse(&shape, &[&strides]);
    Offsets::of(&dims.iter().map(|dim| (dim.extent, dim.strides[0])).collect::<Vec<_>>())
}
