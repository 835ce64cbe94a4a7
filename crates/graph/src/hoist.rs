//! Products of looked-up rows become look-ups of products: `table[ids] · W = (table · W)[ids]`.
//!
//! A network that reads a vocabulary of 114 through 1,536 tokens multiplies 114 rows instead of 1,536, forwards and,
//! because this runs before differentiation, backwards too: the cotangents of equal tokens are added up before the
//! transposed products and not after. Exact in real arithmetic; no name, output or gradient changes its meaning.

use crate::einsum::EinsumSpec;
use crate::graph::{Binary, Graph, Named, Node, Op};

/// Extents of the summed axes below which a product costs no more than the look-up of its result.
const WORTH: usize = 16;

impl Graph {
    /// The graph with cheaper products where a table has at most half as many rows as are looked up, and where each
    /// node of this graph is in it.
    pub(crate) fn hoisted(&self) -> (Self, Vec<Node>) {
        let mut new = Self::new();
        let mut map: Vec<Node> = Vec::with_capacity(self.nodes.len());
        for data in &self.nodes {
            let op = data.op.map_operands(|operand| map[operand.0 as usize]);
            let hoisted = match &op {
                Op::Einsum(a, b, spec) => {
                    let swapped = EinsumSpec { a: spec.b.clone(), b: spec.a.clone(), out: spec.out.clone() };
                    new.hoist(*a, *b, spec).or_else(|| new.hoist(*b, *a, &swapped))
                }
                _ => None,
            };
            map.push(hoisted.unwrap_or_else(|| new.push(op, data.shape.clone(), data.dtype)));
        }
        let moved = |named: &Named| Named { name: named.name.clone(), node: map[named.node.0 as usize] };
        new.params = self.params.iter().map(moved).collect();
        new.inputs = self.inputs.iter().map(moved).collect();
        for (name, node) in self.names() {
            // Parameters and inputs are known by these names already; a name twice is an earlier mistake.
            let _ = new.named(map[node.0 as usize], name);
        }
        (new, map)
    }

    /// `einsum(rows, weight)` by fewer multiplications, if `rows` is a sum of look-ups and of values that repeat.
    fn hoist(&mut self, rows: Node, weight: Node, spec: &EinsumSpec) -> Option<Node> {
        let mut terms = Vec::new();
        self.terms(rows, &mut terms);
        let mut has_table = false;
        for &term in &terms {
            match self.node(term).op {
                Op::Gather { table, ids } => {
                    let n_ids: usize = self.shape(ids).iter().product();
                    let (own, looked_up) = spec.a.split_at(self.shape(ids).len());
                    let summed: usize = (looked_up.iter().zip(&self.shape(table)[1..]))
                        .filter(|(label, _)| !spec.out.contains(label))
                        .map(|(_, extent)| extent)
                        .product();
                    let is_free = own.iter().all(|label| !spec.b.contains(label));
                    if !is_free || 2 * self.shape(table)[0] > n_ids || summed < WORTH {
                        return None;
                    }
                    has_table = true;
                }
                Op::Broadcast(of) if !self.repeated(of, spec).is_empty() => {}
                _ => return None,
            }
        }
        if !has_table {
            return None;
        }
        let shape = spec.out_shape(self.shape(rows), self.shape(weight))?;
        let mut sum: Option<Node> = None;
        for term in terms {
            let product = match self.node(term).op {
                Op::Gather { table, ids } => self.table_product(table, ids, weight, spec),
                Op::Broadcast(of) => self.repeated_product(of, weight, spec, &shape),
                _ => unreachable!("all terms were checked"),
            };
            sum = Some(sum.map_or(product, |sum| self.add(sum, product)));
        }
        sum
    }

    /// Operands of a tree of additions.
    fn terms(&self, node: Node, terms: &mut Vec<Node>) {
        match self.node(node).op {
            // A tree of shared sums could have exponentially many leaves.
            Op::Binary(Binary::Add, a, b) if terms.len() < 8 => {
                self.terms(a, terms);
                self.terms(b, terms);
            }
            _ => terms.push(node),
        }
    }

    /// (table · W)[ids].
    fn table_product(&mut self, table: Node, ids: Node, weight: Node, spec: &EinsumSpec) -> Node {
        let n_id_axes = self.shape(ids).len();
        let (own, looked_up) = spec.a.split_at(n_id_axes);
        // One label for the rows of the table, of those that its ids had or, for a single id, any other.
        let unused = || (b'a'..=b'z').find(|l| !spec.a.contains(l) && !spec.b.contains(l)).unwrap_or(b'Z');
        let row = own.first().copied().unwrap_or_else(unused);
        let kept: Vec<u8> = spec.out.iter().copied().filter(|label| !own.contains(label)).collect();
        let of_table =
            EinsumSpec { a: [&[row], looked_up].concat(), b: spec.b.clone(), out: [&[row], kept.as_slice()].concat() };
        let product = self.einsum_of(table, weight, of_table);
        let found = self.gather(product, ids);
        let labels = [own, &kept].concat();
        let order: Vec<usize> =
            spec.out.iter().map(|label| labels.iter().position(|l| l == label).unwrap_or_default()).collect();
        if order.iter().copied().eq(0..order.len()) { found } else { self.permute(found, &order) }
    }

    /// Labels of `spec.a` along which a broadcast of `of` repeats itself and that stand in the result only.
    fn repeated(&self, of: Node, spec: &EinsumSpec) -> Vec<u8> {
        let own = self.shape(of);
        let lead = spec.a.len() - own.len();
        let repeats = |axis: usize| axis < lead || own[axis - lead] == 1;
        let free = |label: &u8| !spec.b.contains(label) && spec.out.contains(label);
        (0..spec.a.len()).filter(|&axis| repeats(axis)).map(|axis| spec.a[axis]).filter(free).collect()
    }

    /// broadcast(of · W).
    fn repeated_product(&mut self, of: Node, weight: Node, spec: &EinsumSpec, shape: &[usize]) -> Node {
        let own = self.shape(of).to_vec();
        let lead = spec.a.len() - own.len();
        let dropped = self.repeated(of, spec);
        // Extents of the broadcast itself, where it repeats along a label that stays.
        let full = |graph: &Self, label: u8, axis: usize| -> usize {
            if let Some(at) = spec.b.iter().position(|&l| l == label) {
                graph.shape(weight)[at]
            } else if let Some(at) = spec.out.iter().position(|&l| l == label) {
                shape[at]
            } else {
                own[axis - lead]
            }
        };
        let kept: Vec<(usize, u8)> =
            spec.a.iter().copied().enumerate().filter(|(_, label)| !dropped.contains(label)).collect();
        let narrow: Vec<usize> = kept.iter().map(|&(axis, label)| full(self, label, axis)).collect();
        let solid: Vec<usize> = kept.iter().map(|&(axis, _)| if axis < lead { 1 } else { own[axis - lead] }).collect();
        let of = self.reshape(of, &solid);
        let of = self.broadcast(of, &narrow);
        let out: Vec<u8> = spec.out.iter().copied().filter(|label| !dropped.contains(label)).collect();
        let product =
            self.einsum_of(of, weight, EinsumSpec { a: kept.iter().map(|k| k.1).collect(), b: spec.b.clone(), out });
        let ones: Vec<usize> = spec
            .out
            .iter()
            .zip(shape)
            .map(|(label, &extent)| if dropped.contains(label) { 1 } else { extent })
            .collect();
        let product = self.reshape(product, &ones);
        self.broadcast(product, shape)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::interpret::Value;

    #[test]
    fn looked_up_rows_are_multiplied_once() {
        let mut g = Graph::new();
        let table = g.param("table", &[5, 20]);
        let position = g.param("position", &[3, 20]);
        let weight = g.param("weight", &[2, 20, 4]);
        let ids = g.input_ids("ids", &[7, 3]);
        let rows = g.gather(table, ids);
        let sum = g.add(rows, position);
        let product = g.einsum("btd,hde->bhte", sum, weight);
        let (hoisted, map) = g.hoisted();
        hoisted.check().unwrap();
        assert_eq!(hoisted.shape(map[product.0 as usize]), [7, 2, 3, 4]);
        // No product of 7·3 rows is left.
        let needed = hoisted.ancestors(&[map[product.0 as usize]]);
        for at in needed {
            if let Op::Einsum(a, ..) = hoisted.nodes[at].op {
                assert!(hoisted.shape(a)[0] <= 5);
            }
        }
        let mut values: BTreeMap<String, Value<f64>> = BTreeMap::new();
        let spread = |n: usize, f: f64| Value::Float((0..n).map(|i| (i as f64 * f).sin()).collect());
        values.insert("table".to_owned(), spread(100, 0.7));
        values.insert("position".to_owned(), spread(60, 1.3));
        values.insert("weight".to_owned(), spread(160, 0.3));
        values.insert("ids".to_owned(), Value::Ids((0..21).map(|i| i * i % 5).collect()));
        let before = g.interpret(&values, &[product]).unwrap();
        let after = hoisted.interpret(&values, &[map[product.0 as usize]]).unwrap();
        for (x, y) in before[0].iter().zip(&after[0]) {
            assert!((x - y).abs() < 1e-12, "{x} {y}");
        }
    }

    #[test]
    fn large_tables_and_other_terms_stay() {
        for (rows, with_other) in [(50, false), (5, true)] {
            let mut g = Graph::new();
            let table = g.param("table", &[rows, 20]);
            let weight = g.param("weight", &[20, 4]);
            let other = g.param("other", &[21, 20]);
            let ids = g.input_ids("ids", &[21]);
            let mut x = g.gather(table, ids);
            if with_other {
                x = g.add(x, other);
            }
            let product = g.matmul(x, weight);
            let (hoisted, map) = g.hoisted();
            let Op::Einsum(a, ..) = hoisted.node(map[product.0 as usize]).op else { panic!("still a product") };
            assert_eq!(hoisted.shape(a)[0], 21);
        }
    }
}
