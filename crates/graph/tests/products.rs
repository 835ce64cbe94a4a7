//! Einstein sums of every shape against sums in f64: tails of tiles, blocks of the inner axis, tables of offsets, views.

#![expect(clippy::unwrap_used, reason = "a failed step of a test is a failed test")]

mod common;

use common::{cases, random_values, run_all, widened};
use ontogeny_graph::{Gradient, Graph, Node};
use proptest::prelude::*;

const EXTENTS: [usize; 10] = [1, 2, 3, 5, 12, 17, 33, 65, 130, 530];

/// An operand whose axes have the given extents, stored in another order, or as a part of a larger array.
fn operand(g: &mut Graph, name: &str, extents: &[usize], order: u8, is_part: bool) -> Node {
    let rank = extents.len();
    let mut axes: Vec<usize> = (0..rank).collect();
    axes.rotate_left(order as usize % rank.max(1));
    if order % 2 == 1 {
        axes.reverse();
    }
    let margin = usize::from(is_part);
    let stored: Vec<usize> = axes.iter().map(|&axis| extents[axis] + 2 * margin).collect();
    let mut node = g.param(name, &stored);
    if is_part {
        for (at, &axis) in axes.iter().enumerate() {
            node = g.slice(node, at, 1, extents[axis]);
        }
    }
    let back: Vec<usize> = (0..rank).map(|axis| axes.iter().position(|&a| a == axis).unwrap()).collect();
    g.permute(node, &back)
}

proptest! {
    #![proptest_config(cases(150))]
    #[test]
    fn products_are_sums_of_products(
        roles in prop::collection::vec((0_u8..4, 0..EXTENTS.len()), 1..6),
        orders in any::<[u8; 3]>(), parts in any::<[bool; 2]>(), adds in any::<bool>(), seed in 0_u32..1000,
    ) {
        // Every label is a batch, a row, a column or summed.
        let mut labels: Vec<(u8, u8, usize)> = Vec::new();
        for (i, &(role, extent)) in roles.iter().enumerate() {
            labels.push((b'a' + i as u8, role, EXTENTS[extent]));
        }
        let work: usize = labels.iter().map(|(_, _, extent)| extent).product();
        prop_assume!(work <= 3_000_000);
        let within = |wanted: [bool; 4]| -> Vec<(u8, usize)> {
            labels.iter().filter(|(_, role, _)| wanted[*role as usize]).map(|&(label, _, extent)| (label, extent)).collect()
        };
        let (in_a, in_b, mut out) = (
            within([true, true, false, true]),
            within([true, false, true, true]),
            within([true, true, true, false]),
        );
        let n_out = out.len().max(1);
        out.rotate_left(orders[2] as usize % n_out);
        let text = |side: &[(u8, usize)]| side.iter().map(|&(label, _)| char::from(label)).collect::<String>();
        let extents = |side: &[(u8, usize)]| side.iter().map(|&(_, extent)| extent).collect::<Vec<_>>();
        let mut g = Graph::new();
        let a = operand(&mut g, "a", &extents(&in_a), orders[0], parts[0]);
        let b = operand(&mut g, "b", &extents(&in_b), orders[1], parts[1]);
        let spec = format!("{},{}->{}", text(&in_a), text(&in_b), text(&out));
        let mut product = g.einsum(&spec, a, b);
        if adds {
            let half = g.scale(a, 0.5);
            let other = g.einsum(&spec, half, b);
            product = g.add(product, other);
        }
        g.check().unwrap();
        let values = random_values(&g, seed, 1);
        let (got, _) = run_all(&g, &[product], Gradient::None, &values);
        let wide = widened(&values);
        let want = g.interpret(&wide, &[product]).unwrap().swap_remove(0);
        // The rounding error of a sum of k products is at most k·eps·sum |a·b| (Higham 2002, 3.5).
        let mut h = g.clone();
        let (size_a, size_b) = (h.abs(a), h.abs(b));
        let size = h.einsum(&spec, size_a, size_b);
        let size = h.interpret(&wide, &[size]).unwrap().swap_remove(0);
        let k: usize = labels.iter().filter(|(_, role, _)| *role == 3).map(|(_, _, extent)| extent).product();
        for (i, ((x, want), size)) in got[0].iter().zip(&want).zip(&size).enumerate() {
            let bound = (k + 4) as f64 * f64::from(f32::EPSILON) * 3.0 * size + 1e-30;
            prop_assert!((f64::from(*x) - want).abs() <= bound, "{spec} entry {i}: {x} {want} (bound {bound})");
        }
    }
}

/// Every number of columns: the same bits as the first columns of a wider product, whatever tiles they fall into, and
/// within Higham's bound of the sum in f64. Both operands lie either way, with and without a bias and a relu on the way.
#[test]
fn any_number_of_columns_has_the_same_bits() {
    const WIDEST: usize = 70;
    for (m, k) in [(20, 256), (7, 40), (33, 530)] {
        for (spec, a_shape, is_tall) in [
            ("ik,kj->ij", [m, k], true),
            ("ki,kj->ij", [k, m], true),
            ("ik,jk->ij", [m, k], false),
            ("ki,jk->ij", [k, m], false),
        ] {
            let mut widest: Option<[Vec<f32>; 2]> = None;
            for n in (8..=WIDEST).rev() {
                let mut g = Graph::new();
                let a = g.param("a", &a_shape);
                let all = g.param("b", &if is_tall { [k, WIDEST] } else { [WIDEST, k] });
                let b = g.slice(all, usize::from(is_tall), 0, n);
                let bias = g.param("bias", &[WIDEST]);
                let bias = g.slice(bias, 0, 0, n);
                let plain = g.einsum(spec, a, b);
                let again = g.scale(a, 0.5);
                let product = g.einsum(spec, again, b);
                let shifted = g.add(product, bias);
                let active = g.relu(shifted);
                g.check().unwrap();
                let values = random_values(&g, 11, 1);
                let (got, _) = run_all(&g, &[plain, active], Gradient::None, &values);
                let Some(widest) = &widest else {
                    let wide = widened(&values);
                    let mut h = g.clone();
                    let (size_a, size_b) = (h.abs(a), h.abs(b));
                    let size = h.einsum(spec, size_a, size_b);
                    let (want, size) = (g.interpret(&wide, &[plain]).unwrap(), h.interpret(&wide, &[size]).unwrap());
                    for ((x, want), size) in got[0].iter().zip(&want[0]).zip(&size[0]) {
                        let bound = k as f64 * f64::from(f32::EPSILON) * size;
                        assert!((f64::from(*x) - want).abs() <= bound, "{spec} {m} x {n} x {k}: {x} {want}");
                    }
                    widest = Some([got[0].clone(), got[1].clone()]);
                    continue;
                };
                for (got, widest) in got.iter().zip(widest) {
                    for (row, wide) in got.chunks_exact(n).zip(widest.chunks_exact(WIDEST)) {
                        let bits = |row: &[f32]| row.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
                        assert_eq!(bits(row), bits(&wide[..n]), "{spec} {m} x {n} x {k}");
                    }
                }
            }
        }
    }
}

/// Transposed convolutions with channels last: rows of the product overlap in the result, columns lie side by side there,
/// in every number of vectors and tails. Entries of several rows meet, and each counts.
#[test]
fn rows_that_overlap_all_count() {
    for (n_positions, n_filters) in [(5, 60), (29, 9), (40, 530)] {
        for (size, stride) in [(2, 1), (3, 1), (3, 2)] {
            for n_channels in 3..=24 {
                let mut g = Graph::new();
                let a = g.param("a", &[n_positions, n_filters]);
                let kernel = g.param("kernel", &[size, n_channels, n_filters]);
                let extent = (n_positions - 1) * stride + size;
                let added_up = |g: &mut Graph, a: Node, kernel: Node| {
                    let windows = g.einsum("pf,wcf->pwc", a, kernel);
                    g.overlap(windows, 0, stride, 1, extent)
                };
                let result = added_up(&mut g, a, kernel);
                g.check().unwrap();
                let values = random_values(&g, 13, 1);
                let (got, _) = run_all(&g, &[result], Gradient::None, &values);
                let mut h = g.clone();
                let (size_a, size_kernel) = (h.abs(a), h.abs(kernel));
                let sizes = added_up(&mut h, size_a, size_kernel);
                let want = h.interpret(&widened(&values), &[result, sizes]).unwrap();
                // As above, for the sum of at most `size` rows' sums.
                let n_terms = (n_filters * size) as f64;
                for (i, ((x, want), sizes)) in got[0].iter().zip(&want[0]).zip(&want[1]).enumerate() {
                    let bound = n_terms * f64::from(f32::EPSILON) * sizes;
                    let case = format!("{n_positions} x {n_channels} x {n_filters}, windows of {size} by {stride}");
                    assert!((f64::from(*x) - want).abs() <= bound, "{case}, entry {i}: {x} {want}");
                }
            }
        }
    }
}
