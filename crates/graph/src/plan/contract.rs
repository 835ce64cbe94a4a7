//! Lowering einsums: which axes are batch, rows, columns and inner, and which operands must be packed first.

use super::layout::{Layout, collapse};
use super::{Kernel, Place, Planner, Space, request_len};
use crate::einsum::EinsumSpec;
use crate::graph::Node;
use crate::kernels::contract::{Contract, Product};
use crate::kernels::copy::Copy;
use crate::shape::row_major_strides;

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

/// Plans `result = einsum(a, b)`.
///
/// Batch labels (in all three) become loops with any strides. The rows (a and result), columns (b and result) and inner
/// labels (a and b) must each be walked with one stride; where an operand or the result does not allow it, a packed
/// copy does: it costs one pass over a tensor that the product reads many times.
pub(super) fn plan(planner: &mut Planner<'_>, node: Node, (a, b, spec): (Node, Node, &EinsumSpec), result: Place) {
    let graph = planner.graph;
    let extents = spec.extents(graph.shape(a), graph.shape(b)).expect("checked when built");
    let out_strides = row_major_strides(graph.shape(node));
    let mut places = [planner.layout(a).place, planner.layout(b).place, result];
    let mut axes: Vec<Axis> = Vec::new();
    {
        let strides = [&planner.layout(a).strides, &planner.layout(b).strides, &out_strides];
        let labels = [&spec.a, &spec.b, &spec.out];
        for &(label, extent) in extents.iter().filter(|(_, extent)| *extent != 1) {
            let stride =
                |side: usize| labels[side].iter().position(|&l| l == label).map_or(0, |axis| strides[side][axis]);
            axes.push(Axis { label, extent, strides: [stride(A), stride(B), stride(OUT)] });
        }
    }
    let has = |labels: &[u8], axis: &Axis| labels.contains(&axis.label);
    let pick = |in_a: bool, in_b: bool, in_out: bool| -> Vec<Axis> {
        axes.iter()
            .filter(|x| has(&spec.a, x) == in_a && has(&spec.b, x) == in_b && has(&spec.out, x) == in_out)
            .copied()
            .collect()
    };
    let mut batch = pick(true, true, true);
    let mut rows = pick(true, false, true);
    let mut columns = pick(false, true, true);
    let mut inner = pick(true, true, false);
    let by_stride = |group: &mut Vec<Axis>, side: usize| {
        group.sort_by_key(|x| std::cmp::Reverse(x.strides[side]));
    };
    by_stride(&mut batch, OUT);
    by_stride(&mut rows, OUT);
    by_stride(&mut columns, OUT);
    // The larger operand keeps its order; the smaller is packed to follow it if need be.
    let size = |x: Node| request_len(graph, x);
    by_stride(&mut inner, if size(a) >= size(b) { A } else { B });

    let one_stride = |group: &[Axis], side: usize| collapse_axes(group, &[side]).len() <= 1;
    if !one_stride(&rows, A) || !one_stride(&inner, A) {
        places[A] = pack(planner, node, places[A], A, &mut [&mut batch, &mut rows, &mut inner]);
    }
    if !one_stride(&columns, B) || !one_stride(&inner, B) {
        places[B] = pack(planner, node, places[B], B, &mut [&mut batch, &mut inner, &mut columns]);
    }
    let unpack = (!one_stride(&rows, OUT) || !one_stride(&columns, OUT)).then(|| {
        let final_axes: Vec<Axis> = [&batch[..], &rows, &columns].concat();
        let len = request_len(graph, node);
        places[OUT] = planner.buffer(Space::Transient, len);
        set_dense(OUT, &mut [&mut batch, &mut rows, &mut columns]);
        let packed: Vec<usize> = [&batch[..], &rows, &columns].concat().iter().map(|x| x.strides[OUT]).collect();
        let shape: Vec<usize> = final_axes.iter().map(|x| x.extent).collect();
        let target: Vec<usize> = final_axes.iter().map(|x| x.strides[OUT]).collect();
        Copy::new(None, &shape, &Layout { place: places[OUT], strides: packed }, result, &target)
    });

    let single = |group: &[Axis], sides: [usize; 2]| {
        let dims = collapse_axes(group, &sides);
        debug_assert!(dims.len() <= 1);
        dims.first().map_or((1, [0, 0]), |(extent, strides)| (*extent, [strides[0], strides[1]]))
    };
    let (m, [a_rows, out_rows]) = single(&rows, [A, OUT]);
    let (n, [b_columns, out_columns]) = single(&columns, [B, OUT]);
    let (k, [a_inner, b_inner]) = single(&inner, [A, B]);
    let product = Product { m, n, k, a_rows, a_inner, b_inner, b_columns, out_rows, out_columns };
    let loops: Vec<(usize, [usize; 3])> = collapse_axes(&batch, &[A, B, OUT])
        .into_iter()
        .map(|(extent, strides)| (extent, [strides[0], strides[1], strides[2]]))
        .collect();
    let n_products: usize = loops.iter().map(|(extent, _)| extent).product();
    let flops = 2 * n_products * m * n * k;
    planner.step(node, Kernel::Contract(Contract::new(places, loops, product)), places[OUT], flops);
    if let Some(copy) = unpack {
        planner.step(node, Kernel::Copy(copy), result, 0);
    }
}

/// Copies an operand to a dense buffer whose axes are the given groups in order, and updates their strides.
fn pack(planner: &mut Planner<'_>, node: Node, from: Place, side: usize, groups: &mut [&mut Vec<Axis>]) -> Place {
    let axes: Vec<Axis> = groups.iter().flat_map(|group| group.iter().copied()).collect();
    let shape: Vec<usize> = axes.iter().map(|x| x.extent).collect();
    let strides = axes.iter().map(|x| x.strides[side]).collect();
    let len = shape.iter().product();
    let place = planner.buffer(Space::Transient, len);
    let copy = Copy::new(None, &shape, &Layout { place: from, strides }, place, &row_major_strides(&shape));
    planner.step_of(node, Kernel::Copy(copy), (place, len), 0);
    set_dense(side, groups);
    place
}

/// Gives the axes of the groups, in order, dense strides on one side.
fn set_dense(side: usize, groups: &mut [&mut Vec<Axis>]) {
    let mut stride = 1;
    for group in groups.iter_mut().rev() {
        for axis in group.iter_mut().rev() {
            axis.strides[side] = stride;
            stride *= axis.extent;
        }
    }
}

/// Merges neighbouring axes that the given sides walk as one.
fn collapse_axes(group: &[Axis], sides: &[usize]) -> Vec<(usize, Vec<usize>)> {
    let shape: Vec<usize> = group.iter().map(|x| x.extent).collect();
    let strides: Vec<Vec<usize>> = sides.iter().map(|&side| group.iter().map(|x| x.strides[side]).collect()).collect();
    let layouts: Vec<&[usize]> = strides.iter().map(Vec::as_slice).collect();
    collapse(&shape, &layouts).into_iter().map(|dim| (dim.extent, dim.strides)).collect()
}
