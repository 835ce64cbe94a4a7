//! From tokens or pairs to logits: embedding, positions, blocks of the residual stream, unembedding.

use ontogeny_graph::{Graph, Node};

use super::{NormPosition, Positions, TransformerConfig};
use crate::Read;

impl TransformerConfig {
    /// Logits of `tokens` `[batch, length]`: `[batch, classes]` at the last position, or `[batch, length, vocabulary]`.
    pub(crate) fn build(&self, g: &mut Graph, tokens: Node, vocabulary: usize, read: Read) -> Node {
        let length = g.shape(tokens)[1];
        let table = g.param("embed.W_E", &[vocabulary, self.d_model]);
        let embed = g.gather(table, tokens);
        let mut x = self.residual_stream(g, embed);
        // Logits that no loss reads do not exist, so that nobody takes them for predictions.
        let (labels, n_logits) = match read {
            Read::LastPosition { classes } => {
                x = g.select_index(x, 1, length - 1);
                ("bd,dv->bv", classes)
            }
            Read::Tokens { .. } => ("btd,dv->btv", vocabulary),
        };
        let x = self.normalize_last(g, x);
        let unembed =
            if self.tied_unembed { g.transpose(table) } else { g.param("unembed.W_U", &[self.d_model, vocabulary]) };
        // Tokens that are never an answer, such as `=`, have logits that no loss reads.
        let unembed = g.slice(unembed, 1, 0, n_logits);
        let logits = g.einsum(labels, x, unembed);
        if !self.unembed_bias {
            return logits;
        }
        let bias = g.param("unembed.b_U", &[vocabulary]);
        let bias = g.slice(bias, 0, 0, n_logits);
        g.add(logits, bias)
    }

    /// Predictions `[batch, pairs]` of `y` `[batch, pairs]` from `x` `[batch, pairs, dimension]`, each from its own x and
    /// the pairs before it. The sequence is x₁, y₁, x₂, y₂, … without the last y, as vectors of dimension + 1: (0, x) and
    /// (y, 0, …, 0) (Garg et al. 2022; Raventós et al. 2023). `embed.W_E` is `[dimension + 1, d]`, `unembed.W_U` `[d, 1]`.
    pub(crate) fn build_pairs(&self, g: &mut Graph, x: Node, y: Node) -> Node {
        let [batch, pairs, dimension] = g.shape(x).try_into().expect("the interface declares three axes");
        let questions = g.pad(x, 2, 1, 0);
        let answers = g.keep_axes(y, &[2]);
        let answers = g.pad(answers, 2, 0, dimension);
        let [questions, answers] = [questions, answers].map(|part| g.reshape(part, &[batch, pairs, 1, dimension + 1]));
        let sequence = g.concat(&[questions, answers], 2);
        let sequence = g.reshape(sequence, &[batch, 2 * pairs, dimension + 1]);
        let sequence = g.slice(sequence, 1, 0, 2 * pairs - 1);
        let table = g.param("embed.W_E", &[dimension + 1, self.d_model]);
        let embed = g.matmul(sequence, table);
        let x = self.residual_stream(g, embed);
        // Questions stand at the even positions.
        let x = g.pad(x, 1, 0, 1);
        let x = g.reshape(x, &[batch, pairs, 2, self.d_model]);
        let x = g.select_index(x, 2, 0);
        let x = self.normalize_last(g, x);
        let unembed = g.param("unembed.W_U", &[self.d_model, 1]);
        let predictions = g.matmul(x, unembed);
        let predictions = g.reshape(predictions, &[batch, pairs]);
        if !self.unembed_bias {
            return predictions;
        }
        let bias = g.param("unembed.b_U", &[1]);
        g.add(predictions, bias)
    }

    /// Logits `[batch, classes]` of the last item of `x` `[batch, pairs, dimension]` from the items and classes `y`
    /// `[batch, pairs]` before it. The sequence is x₁, y₁, x₂, y₂, … without the last y (Chan et al. 2022). `embed.W_E` is
    /// `[classes + dimension, d]`: a row for each class, then the matrix that items are multiplied with; `unembed.W_U` is
    /// `[d, classes]`.
    pub(crate) fn build_labelled_items(&self, g: &mut Graph, x: Node, y: Node, classes: usize) -> Node {
        let [batch, pairs, dimension] = g.shape(x).try_into().expect("the interface declares three axes");
        let table = g.param("embed.W_E", &[classes + dimension, self.d_model]);
        let of_classes = g.slice(table, 0, 0, classes);
        let of_items = g.slice(table, 0, classes, dimension);
        let [items, labels] = [g.matmul(x, of_items), g.gather(of_classes, y)]
            .map(|part| g.reshape(part, &[batch, pairs, 1, self.d_model]));
        let sequence = g.concat(&[items, labels], 2);
        let sequence = g.reshape(sequence, &[batch, 2 * pairs, self.d_model]);
        let embed = g.slice(sequence, 1, 0, 2 * pairs - 1);
        let x = self.residual_stream(g, embed);
        let x = g.select_index(x, 1, 2 * pairs - 2);
        let x = self.normalize_last(g, x);
        let unembed =
            if self.tied_unembed { g.transpose(of_classes) } else { g.param("unembed.W_U", &[self.d_model, classes]) };
        let logits = g.matmul(x, unembed);
        if !self.unembed_bias {
            return logits;
        }
        let bias = g.param("unembed.b_U", &[classes]);
        g.add(logits, bias)
    }

    /// The residual stream `[batch, length, d]` after the last block, from the embedded sequence.
    fn residual_stream(&self, g: &mut Graph, embed: Node) -> Node {
        let mut x = g.named(embed, "hook_embed");
        let positions = self.position_vectors(g, x);
        // Shortformer's positions go to queries and keys of each block instead.
        let mut of_attention = None;
        if self.positions == Positions::Shortformer {
            of_attention = positions;
        } else if let Some(positions) = positions {
            x = g.add(x, positions);
        }
        for layer in 0..self.layers {
            x = self.block(g, x, of_attention, layer);
        }
        x
    }

    /// A vector for each position, shaped as the embedded sequence `like`.
    fn position_vectors(&self, g: &mut Graph, like: Node) -> Option<Node> {
        let [batch, length, d] = g.shape(like).try_into().expect("embedded sequences have three axes");
        let used = match self.positions {
            Positions::None | Positions::Rotary => return None,
            Positions::Learned | Positions::Shortformer => {
                let all = g.param("pos_embed.W_pos", &[self.context.unwrap_or(length), d]);
                g.slice(all, 0, 0, length)
            }
            Positions::Sinusoidal => g.sinusoidal_positions(length, d, 10_000.0),
        };
        let used = g.broadcast(used, &[batch, length, d]);
        Some(g.named(used, "hook_pos_embed"))
    }

    /// One block of the residual stream `x` `[batch, length, d]`.
    fn block(&self, g: &mut Graph, x: Node, positions: Option<Node>, layer: usize) -> Node {
        let name = format!("blocks.{layer}");
        let x = g.named(x, &format!("{name}.hook_resid_pre"));
        match self.norm_position {
            NormPosition::Pre if self.parallel_block => self.parallel_block(g, x, positions, layer),
            NormPosition::Pre => self.pre_norm_block(g, x, positions, layer),
            NormPosition::Post => self.post_norm_block(g, x, positions, layer),
        }
    }

    fn pre_norm_block(&self, g: &mut Graph, x: Node, positions: Option<Node>, layer: usize) -> Node {
        let name = &format!("blocks.{layer}");
        let read = self.normalize(g, x, &format!("{name}.ln1"));
        let out = self.attention_out(g, read, positions, layer);
        let mut x = g.add(x, out);
        if !self.attention_only {
            x = g.named(x, &format!("{name}.hook_resid_mid"));
            let read = self.normalize(g, x, &format!("{name}.ln2"));
            let out = self.mlp_out(g, read, name);
            x = g.add(x, out);
        }
        g.named(x, &format!("{name}.hook_resid_post"))
    }

    fn parallel_block(&self, g: &mut Graph, x: Node, positions: Option<Node>, layer: usize) -> Node {
        let name = &format!("blocks.{layer}");
        let read = self.normalize(g, x, &format!("{name}.ln1"));
        let attended = self.attention_out(g, read, positions, layer);
        let read = self.normalize(g, x, &format!("{name}.ln2"));
        let out = self.mlp_out(g, read, name);
        let x = g.add(x, attended);
        let x = g.add(x, out);
        g.named(x, &format!("{name}.hook_resid_post"))
    }

    fn post_norm_block(&self, g: &mut Graph, x: Node, positions: Option<Node>, layer: usize) -> Node {
        let name = &format!("blocks.{layer}");
        let out = self.attention_out(g, x, positions, layer);
        let mut x = g.add(x, out);
        let mut last_norm = "ln1";
        if !self.attention_only {
            x = g.named(x, &format!("{name}.hook_resid_mid"));
            x = self.normalize(g, x, &format!("{name}.ln1"));
            let out = self.mlp_out(g, x, name);
            x = g.add(x, out);
            last_norm = "ln2";
        }
        let x = g.named(x, &format!("{name}.hook_resid_post"));
        let x = self.normalize(g, x, &format!("{name}.{last_norm}"));
        g.named(x, &format!("{name}.hook_normalized_resid_post"))
    }

    fn attention_out(&self, g: &mut Graph, read: Node, positions: Option<Node>, layer: usize) -> Node {
        let out = self.attention(g, read, positions, layer);
        g.named(out, &format!("blocks.{layer}.hook_attn_out"))
    }

    fn mlp_out(&self, g: &mut Graph, read: Node, name: &str) -> Node {
        let out = self.mlp(g, read, &format!("{name}.mlp"));
        g.named(out, &format!("{name}.hook_mlp_out"))
    }

    /// The norm before the unembedding; the last block has it where norms stand behind.
    fn normalize_last(&self, g: &mut Graph, x: Node) -> Node {
        if self.norm_position == NormPosition::Post { x } else { self.normalize(g, x, "ln_final") }
    }
}
