//! A small transformer of an odd kind, written by hand as a graph with named parameters.
//!
//! Queries, keys and values of its only head read the embedding turned by rotary positions, layer norms stand after the sums,
//! and the unembedding is the embedding with a bias. Parameters have the names and shapes of its checkpoints, PyTorch's
//! `model.state_dict()`: a matrix of `nn.Linear` is [out, in].

use ontogeny::prelude::{Graph, Node};

/// Ids are below this.
pub(crate) const VOCABULARY: usize = 16;
/// Ids of a sequence.
pub(crate) const LENGTH: usize = 16;
const WIDTH: usize = 4;
const HEAD: usize = 2;
const HIDDEN: usize = 16;

/// The graph for a batch of sequences, and the loss of each: the mean cross-entropy in nats of tokens 1 to 15, each from
/// those before it.
pub(crate) fn network(batch: usize) -> (Graph, Node) {
    let mut g = Graph::new();
    let tokens = g.input_ids("tokens", &[batch, LENGTH]);
    let out_bias = g.param("out_bias", &[VOCABULARY]);
    let embedding = g.param("token_emb.weight", &[VOCABULARY, WIDTH]);
    let x = g.gather(embedding, tokens);
    let x = g.named(x, "embedded");

    let turned = rotated(&mut g, x, batch);
    let [q, k, v] = ["W_Q.weight", "W_K.weight", "W_V.weight"].map(|name| {
        let w = g.param(name, &[HEAD, WIDTH]);
        g.einsum("btd,hd->bth", turned, w)
    });
    let scores = g.einsum("bqh,bkh->bqk", q, k);
    let scores = g.scale(scores, (HEAD as f64).sqrt().recip());
    let scores = g.causal_mask(scores);
    let pattern = g.softmax(scores);
    let pattern = g.named(pattern, "pattern");
    let z = g.einsum("bqk,bkh->bqh", pattern, v);
    let w_o = g.param("W_O.weight", &[WIDTH, HEAD]);
    let attended = g.einsum("bth,dh->btd", z, w_o);
    let x = g.add(x, attended);
    let x = layer_norm(&mut g, "ln1", x);

    let hidden = linear(&mut g, "mlp.0", x, HIDDEN);
    let hidden = g.gelu(hidden);
    let written = linear(&mut g, "mlp.2", hidden, WIDTH);
    let x = g.add(x, written);
    let x = layer_norm(&mut g, "ln2", x);

    let logits = g.einsum("btd,vd->btv", x, embedding);
    let logits = g.add(logits, out_bias);
    let logits = g.named(logits, "logits");
    let predicting = g.slice(logits, 1, 0, LENGTH - 1);
    let predicted = g.slice(tokens, 1, 1, LENGTH - 1);
    let losses = g.cross_entropy(predicting, predicted);
    let loss = g.mean(losses, &[1]);
    (g, loss)
}

/// Neighbouring entries turn as a pair, by position · 10000^(−2i/width) radians for pair i (Su et al. 2021).
fn rotated(g: &mut Graph, x: Node, batch: usize) -> Node {
    let half = WIDTH / 2;
    // Sine and cosine of these angles stand in turn in the fixed vectors of positions.
    let table = g.sinusoidal_positions(LENGTH, WIDTH, 10_000.0);
    let table = g.reshape(table, &[LENGTH, half, 2]);
    let (sin, cos) = (g.select_index(table, 2, 0), g.select_index(table, 2, 1));
    let pairs = g.reshape(x, &[batch, LENGTH, half, 2]);
    let (a, b) = (g.select_index(pairs, 3, 0), g.select_index(pairs, 3, 1));
    let (a_cos, a_sin) = (g.mul(a, cos), g.mul(a, sin));
    let (b_cos, b_sin) = (g.mul(b, cos), g.mul(b, sin));
    let (first, second) = (g.sub(a_cos, b_sin), g.add(a_sin, b_cos));
    let [first, second] = [first, second].map(|part| g.keep_axes(part, &[3]));
    let turned = g.concat(&[first, second], 3);
    g.reshape(turned, &[batch, LENGTH, WIDTH])
}

fn layer_norm(g: &mut Graph, name: &str, x: Node) -> Node {
    let (weight, bias) = (g.param(&format!("{name}.weight"), &[WIDTH]), g.param(&format!("{name}.bias"), &[WIDTH]));
    let normalized = g.normalize(x, 1e-5);
    let scaled = g.mul(normalized, weight);
    g.add(scaled, bias)
}

fn linear(g: &mut Graph, name: &str, x: Node, n_out: usize) -> Node {
    let n_in = g.shape(x).last().copied().unwrap_or(0);
    let weight = g.param(&format!("{name}.weight"), &[n_out, n_in]);
    let bias = g.param(&format!("{name}.bias"), &[n_out]);
    let product = g.einsum("bti,oi->bto", x, weight);
    g.add(product, bias)
}
