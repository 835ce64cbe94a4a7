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
