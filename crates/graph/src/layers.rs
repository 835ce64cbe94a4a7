//! Layers of larger networks: gated MLP, rotary positions, grouped-query attention, frozen batch norm.

use crate::RotaryScaling;
use crate::graph::{DType, Graph, GraphError, Node, Op};

impl Graph {
    /// Gated MLP (SwiGLU, Shazeer 2020): (silu(x·`w_gate`) ⊙ x·`w_in`)·`w_out` with `x [..., d]`, `w_gate` and
    /// `w_in [d, hidden]`, `w_out [hidden, d]`.
    pub fn swiglu(&mut self, x: Node, w_gate: Node, w_in: Node, w_out: Node) -> Node {
        let gate = self.matmul(x, w_gate);
        let gate = self.silu(gate);
        let hidden = self.matmul(x, w_in);
        let gated = self.mul(gate, hidden);
        self.matmul(gated, w_out)
    }

    /// Rotary positions (Su et al. 2021) in the layout of GPT-NeoX and Llama: of the first `n_rotary` entries of the last
    /// axis, entry i of the first half and entry i of the second turn as a pair by position · base^(−2i/`n_rotary`)
    /// radians; the rest stays. Position is the index along `axis`, from 0 on. Angles are computed in f64.
    pub fn rotary(&mut self, x: Node, axis: usize, n_rotary: usize, base: f64) -> Node {
        self.rotary_scaled(x, axis, n_rotary, (base, RotaryScaling::None))
    }

    /// [`Graph::rotary`] with frequencies base^(−2i/`n_rotary`) changed by a scaling.
    pub fn rotary_scaled(
        &mut self,
        x: Node,
        axis: usize,
        n_rotary: usize,
        (base, scaling): (f64, RotaryScaling),
    ) -> Node {
        let shape = self.shape(x).to_vec();
        let last = shape.len().saturating_sub(1);
        if axis >= last || n_rotary == 0 || n_rotary % 2 == 1 || n_rotary > shape[last] {
            let expected = format!("[…, position (axis {axis}), …, d ≥ {n_rotary}], an even number of them turning");
            return self.shape_error("rotary", &[x], &expected);
        }
        if !(base.is_finite() && base > 0.0 && scaling.is_valid()) {
            self.fail(GraphError::Shape {
                operation: "rotary".to_owned(),
                node: Some(self.describe(x)),
                found: format!("base {base}, scaling {scaling:?}"),
                expected: "positive numbers, `low` below `high`".to_owned(),
            });
            return x;
        }
        let half = n_rotary / 2;
        // One row of angles for each position, the same along all axes between.
        let mut wide = vec![1; shape.len() - axis];
        wide[0] = shape[axis];
        wide[last - axis] = half;
        let [cos, sin] = [false, true].map(|is_sine| {
            let table = self.push(Op::Rotation { base, scaling, is_sine }, vec![shape[axis], half], DType::Float);
            self.reshape(table, &wide)
        });
        let (a, b) = (self.slice(x, last, 0, half), self.slice(x, last, half, half));
        let (a_cos, a_sin) = (self.mul(a, cos), self.mul(a, sin));
        let (b_cos, b_sin) = (self.mul(b, cos), self.mul(b, sin));
        let mut parts = vec![self.sub(a_cos, b_sin), self.add(b_cos, a_sin)];
        if n_rotary < shape[last] {
            parts.push(self.slice(x, last, n_rotary, shape[last] - n_rotary));
        }
        self.concat(&parts, last)
    }

    /// The fixed vectors of positions 0 to `n_positions` − 1 (Vaswani et al. 2017, §3.5): `[n_positions, width]` with
    /// sin(position · base^(−2i/width)) in entry 2i and the cosine in entry 2i + 1. The width must be even. Angles are
    /// computed in f64.
    pub fn sinusoidal_positions(&mut self, n_positions: usize, width: usize, base: f64) -> Node {
        let half = width / 2;
        let [sin, cos] = [true, false].map(|is_sine| {
            let rotation = Op::Rotation { base, scaling: RotaryScaling::None, is_sine };
            let table = self.push(rotation, vec![n_positions, half], DType::Float);
            self.reshape(table, &[n_positions, half, 1])
        });
        let pairs = self.concat(&[sin, cos], 2);
        self.reshape(pairs, &[n_positions, width])
    }

    /// Scores of grouped-query attention (Ainslie et al. 2023): `q [batch, query, heads, d]` against
    /// `k [batch, key, kv heads, d]`, result `[batch, heads, query, key]`. Each kv head serves heads/(kv heads) neighbouring
    /// heads and is not copied. Scaling and masking are left to the caller.
    pub fn grouped_scores(&mut self, q: Node, k: Node) -> Node {
        let (own, other) = (self.shape(q).to_vec(), self.shape(k).to_vec());
        let (&[batch, n_queries, heads, d], &[_, n_keys, kv_heads, _]) = (own.as_slice(), other.as_slice()) else {
            return self.shape_error("grouped_scores", &[q, k], GROUPED_SCORES);
        };
        if other[0] != batch || other[3] != d || !heads.is_multiple_of(kv_heads) {
            return self.shape_error("grouped_scores", &[q, k], GROUPED_SCORES);
        }
        let q = self.reshape(q, &[batch, n_queries, kv_heads, heads / kv_heads, d]);
        let scores = self.einsum("bqhgd,bkhd->bhgqk", q, k);
        self.reshape(scores, &[batch, heads, n_queries, n_keys])
    }

    /// What grouped-query attention reads: `pattern [batch, heads, query, key]` of `v [batch, key, kv heads, d]`, result
    /// `[batch, query, heads, d]`.
    pub fn grouped_values(&mut self, pattern: Node, v: Node) -> Node {
        let (own, other) = (self.shape(pattern).to_vec(), self.shape(v).to_vec());
        let (&[batch, heads, n_queries, n_keys], &[_, _, kv_heads, d]) = (own.as_slice(), other.as_slice()) else {
            return self.shape_error("grouped_values", &[pattern, v], GROUPED_VALUES);
        };
        if other[..2] != [batch, n_keys] || !heads.is_multiple_of(kv_heads) {
            return self.shape_error("grouped_values", &[pattern, v], GROUPED_VALUES);
        }
        let pattern = self.reshape(pattern, &[batch, kv_heads, heads / kv_heads, n_queries, n_keys]);
        let z = self.einsum("bhgqk,bkhd->bqhgd", pattern, v);
        self.reshape(z, &[batch, n_queries, heads, d])
    }

    /// Batch norm with fixed statistics, as PyTorch's in evaluation: per channel of `x [batch, channels, …]`,
    /// (x − mean)/√(variance + eps)·weight + bias. `statistics` are mean and variance, `affine` weight and bias, each
    /// `[channels]`.
    pub fn frozen_batch_norm(&mut self, x: Node, statistics: [Node; 2], affine: [Node; 2], eps: f64) -> Node {
        let ([mean, variance], [weight, bias]) = (statistics, affine);
        for vector in [mean, variance, weight, bias] {
            if self.shape(x).len() < 2 || self.shape(vector) != &self.shape(x)[1..2] {
                return self.shape_error("frozen_batch_norm", &[x, vector], "[batch, channels, …] and [channels]");
            }
        }
        let eps = self.constant(eps);
        let variance = self.add(variance, eps);
        let deviation = self.sqrt(variance);
        let scale = self.div(weight, deviation);
        let moved = self.mul(mean, scale);
        let shift = self.sub(bias, moved);
        let (scale, shift) = (self.per_channel(scale, x), self.per_channel(shift, x));
        let scaled = self.mul(x, scale);
        self.add(scaled, shift)
    }
}

const GROUPED_SCORES: &str = "[batch, query, heads, d] and [batch, key, kv heads, d], kv heads dividing heads";
const GROUPED_VALUES: &str = "[batch, heads, query, key] and [batch, key, kv heads, d], kv heads dividing heads";
