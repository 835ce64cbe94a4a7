//! Unembedding and cross-entropy in chunks: the logits of a large vocabulary are never all there.
//!
//! The logits of 512 tokens over a vocabulary of 50,304 are 100 MB, their gradient as much again, and nobody asks for
//! either: they are made from the residual stream, turned into losses and gradients, and multiplied by the unembedding.
//! Here a few examples at a time go that way; losses are joined, gradients of the weights added up.

use std::collections::HashMap;

use crate::graph::{Binary, DType, Graph, Node, Op};
use crate::simplify::{Pass, Window};

/// Logits of so many entries are cut up.
const LARGE: usize = 1 << 20;
/// Entries of one chunk, if the examples are not larger.
const CHUNK: usize = 1 << 20;
/// Rows of one chunk at least: every chunk reads the unembedding again.
const ROWS: usize = 256;

/// Nodes of the size of the logits that are made and used up in chunks, and the nodes that use them.
struct Region {
    inside: Vec<bool>,
    exits: Vec<usize>,
    /// Examples in all and in a chunk.
    n: usize,
    chunk: usize,
}

impl Graph {
    /// An equivalent graph that makes and uses large logits chunk by chunk, and the roots in it.
    pub(crate) fn chunked(&self, roots: &[Node]) -> (Self, Vec<Node>) {
        let mut graph = self.clone();
        let mut roots = roots.to_vec();
        let mut from = 0;
        // A graph may have several sets of logits: of the network and of its tangent.
        while let Some((region, logits)) = graph.next_region(&roots, from) {
            from = logits + 1;
            if let Some(region) = region {
                let (next, next_roots) = in_chunks(&graph, &roots, &region);
                (graph, roots, from) = (next, next_roots, 0);
            }
        }
        (graph, roots)
    }

    /// The next large logits that a cross-entropy reads, from node `from` on, and what can be chunked around them.
    fn next_region(&self, roots: &[Node], from: usize) -> Option<(Option<Region>, usize)> {
        let live = self.ancestors(roots);
        let logits = live.iter().copied().find_map(|at| match self.nodes[at].op {
            Op::CrossEntropy { logits, .. } | Op::CrossEntropyGrad { logits, .. } => {
                let is_large = self.shape(logits).iter().product::<usize>() >= LARGE && self.shape(logits)[0] > 1;
                (is_large && logits.0 as usize >= from).then_some(logits)
            }
            _ => None,
        })?;
        Some((self.region(&live, roots, logits), logits.0 as usize))
    }

    fn region(&self, live: &[usize], roots: &[Node], logits: Node) -> Option<Region> {
        let shape = self.shape(logits);
        let cuts = |at: usize| {
            matches!(
                self.nodes[at].op,
                Op::Einsum(..)
                    | Op::Unary(..)
                    | Op::Binary(..)
                    | Op::Select(..)
                    | Op::Broadcast(_)
                    | Op::Softmax(_)
                    | Op::LogSoftmax(_)
                    | Op::CrossEntropyGrad { .. }
            ) && self.nodes[at].shape == shape
                && !roots.contains(&Node(at as u32))
        };
        if !cuts(logits.0 as usize) || shape.len() < 2 {
            return None;
        }
        // All that hangs together with the logits through values of their size.
        let mut inside = vec![false; self.nodes.len()];
        inside[logits.0 as usize] = true;
        loop {
            let mut grew = false;
            for &at in live {
                for operand in self.nodes[at].op.operands() {
                    let operand = operand.0 as usize;
                    if cuts(at) && cuts(operand) && inside[at] != inside[operand] {
                        (inside[at], inside[operand]) = (true, true);
                        grew = true;
                    }
                }
            }
            if !grew {
                break;
            }
        }
        // Slices of a product's result may need all of its operands: those must be there.
        let products = live.iter().filter(|&&at| inside[at] && matches!(self.nodes[at].op, Op::Einsum(..)));
        if products.copied().any(|at| self.nodes[at].op.operands().iter().any(|operand| inside[operand.0 as usize])) {
            return None;
        }
        let reads = |at: usize| self.nodes[at].op.operands().into_iter().any(|operand| inside[operand.0 as usize]);
        let exits: Vec<usize> = live.iter().copied().filter(|&at| !inside[at] && reads(at)).collect();
        let can_leave = exits.iter().all(|&at| match &self.nodes[at].op {
            Op::CrossEntropy { targets, .. } => !inside[targets.0 as usize],
            Op::Sum(_, axes) => axes.contains(&0) || self.nodes[at].shape.len() + axes.len() == shape.len(),
            Op::Einsum(a, b, spec) => !(inside[a.0 as usize] && inside[b.0 as usize] && spec.a[0] != spec.b[0]),
            _ => false,
        });
        // Nothing inside, and no other operand of an exit, may depend on an exit.
        let after = self.dependents(&exits);
        let is_convex = live.iter().all(|&at| !(inside[at] && after[at]))
            && exits.iter().all(|&at| self.nodes[at].op.operands().iter().all(|operand| !after[operand.0 as usize]));
        let example: usize = shape[1..].iter().product();
        let rows = shape[1..shape.len() - 1].iter().product::<usize>();
        let chunk = (CHUNK / example).max(ROWS.div_ceil(rows)).max(1);
        (can_leave && is_convex && chunk < shape[0]).then(|| Region { inside, exits, n: shape[0], chunk })
    }

    /// The given nodes and all that depend on them.
    fn dependents(&self, of: &[usize]) -> Vec<bool> {
        let mut after = vec![false; self.nodes.len()];
        for &at in of {
            after[at] = true;
        }
        for at in 0..self.nodes.len() {
            after[at] = after[at] || self.nodes[at].op.operands().iter().any(|operand| after[operand.0 as usize]);
        }
        after
    }
}

/// First all that does not depend on the region, then the region chunk by chunk, then the rest.
fn in_chunks(old: &Graph, roots: &[Node], region: &Region) -> (Graph, Vec<Node>) {
    let after = old.dependents(&region.exits);
    let mut pass = Pass::new(old, roots);
    pass.in_slices.clone_from(&region.inside);
    let mut map = vec![Node(u32::MAX); old.nodes.len()];
    for at in 0..old.nodes.len() {
        if pass.is_live(at) && !after[at] && !region.inside[at] {
            map[at] = pass.emit_mapped(&old.nodes[at], &map);
        }
    }
    let mut parts: Vec<Vec<Node>> = vec![Vec::new(); region.exits.len()];
    for start in (0..region.n).step_by(region.chunk) {
        let window = Window { axis: 0, start, extent: region.chunk.min(region.n - start), full: region.n };
        for (&exit, parts) in region.exits.iter().zip(&mut parts) {
            let (part, joined_axis) = part_of_exit(&mut pass, region, exit, window, &map);
            let node = match (parts.pop(), joined_axis) {
                (Some(sum), None) => {
                    let shape = pass.new.shape(sum).to_vec();
                    pass.emit(Op::Binary(Binary::Add, sum, part), &shape, DType::Float)
                }
                (before, _) => {
                    parts.extend(before);
                    part
                }
            };
            parts.push(node);
            let is_last = start + window.extent == region.n;
            if is_last {
                map[exit] = match joined_axis {
                    Some(axis) => {
                        let joined = Op::Concat { parts: parts.clone(), axis };
                        pass.emit(joined, &old.nodes[exit].shape, DType::Float)
                    }
                    None => node,
                };
            }
        }
    }
    for at in 0..old.nodes.len() {
        if pass.is_live(at) && after[at] && map[at] == Node(u32::MAX) {
            map[at] = pass.emit_mapped(&old.nodes[at], &map);
        }
    }
    pass.finish(&map, &HashMap::new(), roots)
}

/// What an exit makes of one chunk, and the axis along which these parts are joined; without one they are summed.
fn part_of_exit(
    pass: &mut Pass<'_>,
    region: &Region,
    exit: usize,
    window: Window,
    map: &[Node],
) -> (Node, Option<usize>) {
    let old = pass.old;
    let data = &old.nodes[exit];
    match &data.op {
        Op::Einsum(a, b, spec) => {
            let label = if region.inside[a.0 as usize] { spec.a[0] } else { spec.b[0] };
            if let Some(axis) = spec.out.iter().position(|&l| l == label) {
                let part = pass.slice_through(Node(exit as u32), Window { axis, ..window }, map);
                return (part.expect("slices move through products"), Some(axis));
            }
            let mut narrow = |node: Node, labels: &[u8]| match labels.iter().position(|&l| l == label) {
                Some(axis) => pass.narrow(node, Window { axis, ..window }, map),
                None => map[node.0 as usize],
            };
            let (a, b) = (narrow(*a, &spec.a), narrow(*b, &spec.b));
            (pass.einsum(a, b, spec.clone()), None)
        }
        Op::Sum(a, axes) if axes.contains(&0) => {
            let inner = pass.narrow(*a, window, map);
            (pass.emit(Op::Sum(inner, axes.clone()), &data.shape, DType::Float), None)
        }
        _ => {
            let part = pass.slice_through(Node(exit as u32), window, map);
            (part.expect("slices of examples move through losses and sums over classes"), Some(0))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::interpret::Value;

    /// Four examples of 256 positions over a vocabulary of 1,100, with a bias.
    #[test]
    fn large_logits_are_never_whole_and_losses_and_gradients_stay() {
        let mut g = Graph::new();
        let x = g.param("x", &[4, 256, 3]);
        let unembed = g.param("unembed", &[3, 1_100]);
        let bias = g.param("bias", &[1_100]);
        let targets = g.input_ids("targets", &[4, 256]);
        let logits = g.matmul(x, unembed);
        let logits = g.add(logits, bias);
        let losses = g.cross_entropy(logits, targets);
        let loss = g.mean_all(losses);
        let gradient = g.gradient(loss, &[x, unembed, bias]).unwrap();
        let roots = [vec![loss, losses], gradient].concat();
        let (simple, roots) = g.simplified(&roots);
        let (chunked, moved) = simple.chunked(&roots);
        chunked.check().unwrap();
        let largest = |graph: &Graph, roots: &[Node]| {
            let live = graph.ancestors(roots);
            live.into_iter().map(|at| graph.nodes[at].shape.iter().product::<usize>()).max().unwrap()
        };
        assert_eq!(largest(&simple, &roots), 4 * 256 * 1_100);
        assert_eq!(largest(&chunked, &moved), 3 * 256 * 1_100);
        let spread = |n: usize, f: f64| Value::Float((0..n).map(|i| (i as f64 * f).sin()).collect());
        let values: BTreeMap<String, Value<f64>> = [
            ("x".to_owned(), spread(3_072, 0.7)),
            ("unembed".to_owned(), spread(3_300, 1.3)),
            ("bias".to_owned(), spread(1_100, 0.3)),
            ("targets".to_owned(), Value::Ids((0..1_024).map(|i| i * 255 % 1_100).collect())),
        ]
        .into();
        let before = simple.interpret(&values, &roots).unwrap();
        let after = chunked.interpret(&values, &moved).unwrap();
        for (x, y) in before.iter().flatten().zip(after.iter().flatten()) {
            assert!((x - y).abs() <= 1e-12 * x.abs().max(1e-9), "{x} {y}");
        }
    }

    #[test]
    fn logits_that_are_asked_for_stay_whole() {
        let mut g = Graph::new();
        let x = g.param("x", &[4, 256, 3]);
        let unembed = g.param("unembed", &[3, 1_100]);
        let targets = g.input_ids("targets", &[4, 256]);
        let logits = g.matmul(x, unembed);
        let losses = g.cross_entropy(logits, targets);
        let (chunked, roots) = g.chunked(&[logits, losses]);
        assert_eq!(chunked.shape(roots[0]), [4, 256, 1_100]);
        assert_eq!(chunked.nodes.len(), g.nodes.len());
    }
}
