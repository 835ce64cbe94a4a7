//! Attention, MLP and normalisation of a block.

use ontogeny_graph::{Graph, Node};

use super::{Normalization, Positions, TransformerConfig};
use crate::networks::Activation;

impl TransformerConfig {
    /// Causal attention of `x` `[batch, length, d]`; `positions` of the same shape are added for queries and keys alone.
    pub(super) fn attention(&self, g: &mut Graph, x: Node, positions: Option<Node>, layer: usize) -> Node {
        let name = &format!("blocks.{layer}.attn");
        let (d, h, e) = (self.d_model, self.heads, self.head_width());
        let kv_heads = self.key_value_heads.unwrap_or(h);
        // TransformerLens keeps the name without `_` for the matrices repeated over the heads that share them.
        let prefix = if self.key_value_heads.is_some() { "_" } else { "" };
        let names = ["Q", "K", "V"].map(|which| (if which == "Q" { "" } else { prefix }, which));
        let n_heads = [h, kv_heads, kv_heads];
        let mut weights = [x; 3];
        for (i, (prefix, which)) in names.into_iter().enumerate() {
            weights[i] = g.param(&format!("{name}.{prefix}W_{which}"), &[n_heads[i], d, e]);
        }
        let w_out = g.param(&format!("{name}.W_O"), &[h, e, d]);
        let biases = self.attention_biases.then(|| {
            let mut inner = [x; 3];
            for (i, (prefix, which)) in names.into_iter().enumerate() {
                inner[i] = g.param(&format!("{name}.{prefix}b_{which}"), &[n_heads[i], e]);
            }
            inner
        });
        let b_out = self.has_output_bias().then(|| g.param(&format!("{name}.b_O"), &[d]));
        let placed = positions.map_or(x, |positions| g.add(x, positions));
        let mut project = |from: Node, which: usize, hook: &str| {
            let mut y = g.einsum("btd,hde->bthe", from, weights[which]);
            if let Some(inner) = biases {
                y = g.add(y, inner[which]);
            }
            g.named(y, &format!("{name}.{hook}"))
        };
        let mut q = project(placed, 0, "hook_q");
        let mut k = project(placed, 1, "hook_k");
        let v = project(x, 2, "hook_v");
        if self.positions == Positions::Rotary {
            [q, k] = [(q, "hook_rot_q"), (k, "hook_rot_k")].map(|(y, hook)| {
                let turned = g.rotary_scaled(y, 1, self.n_rotary(), self.rotary_frequencies());
                g.named(turned, &format!("{name}.{hook}"))
            });
        }
        let is_shared = kv_heads < h;
        let scores = if is_shared { g.grouped_scores(q, k) } else { g.einsum("bqhe,bkhe->bhqk", q, k) };
        let scores = g.scale(scores, 1.0 / self.score_divisor(layer));
        let mut scores = g.causal_mask(scores);
        if let Some(window) = self.window_of(layer) {
            scores = g.window_mask(scores, window);
        }
        let scores = g.named(scores, &format!("{name}.hook_attn_scores"));
        let pattern = g.softmax(scores);
        let pattern = g.named(pattern, &format!("{name}.hook_pattern"));
        let z = if is_shared { g.grouped_values(pattern, v) } else { g.einsum("bhqk,bkhe->bqhe", pattern, v) };
        let z = g.named(z, &format!("{name}.hook_z"));
        let out = g.einsum("bqhe,hed->bqd", z, w_out);
        match b_out {
            Some(b_out) => g.add(out, b_out),
            None => out,
        }
    }

    /// The MLP of `x` `[batch, length, d]`. As in TransformerLens, the bias of a gated MLP comes after the gate.
    pub(super) fn mlp(&self, g: &mut Graph, x: Node, name: &str) -> Node {
        let (Some(d_mlp), Some(activation)) = (self.d_mlp, self.activation) else {
            unreachable!("`check` has asked for both where there are MLPs");
        };
        let w_in = g.param(&format!("{name}.W_in"), &[self.d_model, d_mlp]);
        let w_gate = self.gated_mlp.then(|| g.param(&format!("{name}.W_gate"), &[self.d_model, d_mlp]));
        let b_in = self.mlp_biases.then(|| g.param(&format!("{name}.b_in"), &[d_mlp]));
        let shift = |g: &mut Graph, x| b_in.map_or(x, |bias| g.add(x, bias));
        let linear = g.matmul(x, w_in);
        let post = if let Some(w_gate) = w_gate {
            let pre = g.matmul(x, w_gate);
            let pre = g.named(pre, &format!("{name}.hook_pre"));
            let linear = g.named(linear, &format!("{name}.hook_pre_linear"));
            let gate = activation.apply(g, pre);
            let gated = g.mul(gate, linear);
            shift(g, gated)
        } else {
            let pre = shift(g, linear);
            let pre = g.named(pre, &format!("{name}.hook_pre"));
            activation.apply(g, pre)
        };
        let post = if activation == Activation::SoluLn {
            let mid = g.named(post, &format!("{name}.hook_mid"));
            self.layer_norm(g, mid, &format!("{name}.ln"))
        } else {
            post
        };
        let post = g.named(post, &format!("{name}.hook_post"));
        let w_out = g.param(&format!("{name}.W_out"), &[d_mlp, self.d_model]);
        let out = g.matmul(post, w_out);
        if !self.mlp_biases {
            return out;
        }
        let b_out = g.param(&format!("{name}.b_out"), &[self.d_model]);
        g.add(out, b_out)
    }

    /// The norm `name` of the last axis. As in TransformerLens, `hook_normalized` holds a layer norm's result after scale and
    /// shift, an RMS norm's before its scale.
    pub(super) fn normalize(&self, g: &mut Graph, x: Node, name: &str) -> Node {
        match self.normalization {
            Normalization::None => x,
            Normalization::LayerNorm | Normalization::LayerNormPre => self.layer_norm(g, x, name),
            Normalization::RmsNormPre => {
                let normalized = self.over_root_mean_square(g, x, name);
                g.named(normalized, &format!("{name}.hook_normalized"))
            }
            Normalization::RmsNorm => {
                let width = *g.shape(x).last().expect("what is normalised has an axis");
                let weight = g.param(&format!("{name}.w"), &[width]);
                let normalized = self.over_root_mean_square(g, x, name);
                let normalized = g.named(normalized, &format!("{name}.hook_normalized"));
                g.mul(normalized, weight)
            }
        }
    }

    fn layer_norm(&self, g: &mut Graph, x: Node, name: &str) -> Node {
        let last = g.shape(x).len() - 1;
        let width = g.shape(x)[last];
        let has_weights = self.normalization != Normalization::LayerNormPre;
        let weight = has_weights.then(|| g.param(&format!("{name}.w"), &[width]));
        let mean = g.mean(x, &[last]);
        let mean = g.keep_axes(mean, &[last]);
        let centred = g.sub(x, mean);
        let normalized = self.over_root_mean_square(g, centred, name);
        let Some(weight) = weight else {
            return g.named(normalized, &format!("{name}.hook_normalized"));
        };
        let bias = g.param(&format!("{name}.b"), &[width]);
        let scaled = g.mul(normalized, weight);
        let shifted = g.add(scaled, bias);
        g.named(shifted, &format!("{name}.hook_normalized"))
    }

    fn over_root_mean_square(&self, g: &mut Graph, x: Node, name: &str) -> Node {
        let last = g.shape(x).len() - 1;
        let square = g.square(x);
        let mean_square = g.mean(square, &[last]);
        let mean_square = g.keep_axes(mean_square, &[last]);
        let eps = g.constant(self.norm_eps);
        let shifted = g.add(mean_square, eps);
        let scale = g.sqrt(shifted);
        let scale = g.named(scale, &format!("{name}.hook_scale"));
        let inverse = g.recip(scale);
        g.mul(x, inverse)
    }
}
