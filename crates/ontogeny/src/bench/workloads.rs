//! The workloads: small and large networks of the kind whose posteriors are sampled, each with its update.

use ontogeny_graph::{Adam, Convolution, Langevin, Node};

use super::recipe::{Draw, Network, Recipe};

/// One workload. Its loss is a mean over the batch, which stays the same from step to step.
#[derive(Debug)]
pub(crate) struct Workload {
    pub(crate) id: &'static str,
    /// In words.
    pub(crate) about: &'static str,
    /// Chains, unless more are asked for.
    pub(crate) chains: usize,
    pub(crate) update: Update,
    pub(crate) build: fn() -> Network,
}

/// What follows a gradient.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Update {
    /// With noise, localised at the first weights.
    Sgld(Langevin),
    /// With this learning rate.
    AdamW(f32, Adam),
}

const SGLD: Update = Update::Sgld(Langevin { step_size: 1e-7, n_beta: 100.0, localization: 1.0 });
const ADAMW: Update = Update::AdamW(1e-4, Adam { betas: [0.9, 0.999], eps: 1e-8, weight_decay: 1.0, decoupled: true });

/// All workloads, smallest first within each kind of network.
pub(crate) static WORKLOADS: [Workload; 10] = [
    Workload {
        id: "W1",
        about: "toy autoencoder, 6 features in 2, batch 512",
        chains: 1,
        update: SGLD,
        build: autoencoder,
    },
    Workload { id: "W1x64", about: "toy autoencoder, 64 chains", chains: 64, update: SGLD, build: autoencoder },
    Workload {
        id: "W2",
        about: "1-layer transformer, modular addition, batch 512",
        chains: 1,
        update: SGLD,
        build: || modular_addition(512),
    },
    Workload {
        id: "W2full",
        about: "1-layer transformer, full batch 3830, AdamW",
        chains: 1,
        update: ADAMW,
        build: || modular_addition(3830),
    },
    Workload { id: "W3", about: "MLP 784-1024-1024-10, batch 512", chains: 1, update: SGLD, build: mlp },
    Workload {
        id: "W4",
        about: "language model, 70M weights, 4 x 128 tokens",
        chains: 1,
        update: SGLD,
        build: || language_model(&LARGE, "full"),
    },
    Workload { id: "W5", about: "deep linear, 5 layers of 20, batch 256", chains: 1, update: SGLD, build: deep_linear },
    Workload {
        id: "W6",
        about: "2-layer attention-only LM, 16 x 256 tokens",
        chains: 1,
        update: SGLD,
        build: || language_model(&ATTENTION_ONLY, "full"),
    },
    Workload { id: "W7", about: "CNN 28 x 28, two convolutions, batch 128", chains: 1, update: SGLD, build: cnn },
    Workload {
        id: "W6head",
        about: "2-layer attention-only LM, one head moves",
        chains: 1,
        update: SGLD,
        build: || language_model(&ATTENTION_ONLY, "l1h0"),
    },
];

/// The workload of a name, in any case.
pub(crate) fn find(id: &str) -> Option<&'static Workload> {
    WORKLOADS.iter().find(|workload| workload.id.eq_ignore_ascii_case(id))
}

/// Toy model of superposition (Elhage et al. 2022): y = relu(W'Wx + b), W `[2, 6]`; mean squared error against x, whose
/// entries are uniform with probability 0.3, else 0.
fn autoencoder() -> Network {
    let mut r = Recipe::default();
    let w = r.param("W", &[2, 6], 0.5);
    let b = r.param("b", &[6], 0.1);
    let x = r.floats("x", &[512, 6], Draw::Sparse(0.3));
    let hidden = r.g.einsum("bi,hi->bh", x, w);
    let y = r.g.matmul(hidden, w);
    let y = r.g.add(y, b);
    let y = r.g.relu(y);
    let loss = r.g.mean_squared_error(y, x);
    r.finish(loss, "full")
}

/// The network of the grokking papers: a + b modulo 113 from the tokens a, b, `=`; loss at the last position over all 114
/// logits; no norms, no attention biases.
fn modular_addition(batch: usize) -> Network {
    const P: usize = 113;
    let mut r = Recipe::default();
    let pairs = r.stream();
    let pair = |i: usize| [0, 1].map(|which| pairs.below(P, which, i as u32) as i32);
    let tokens = (0..batch).flat_map(|i| pair(i).into_iter().chain([P as i32])).collect();
    let targets = (0..batch).map(|i| pair(i).iter().sum::<i32>() % P as i32).collect();
    let tokens = r.given_ids("tokens", &[batch, 3], tokens);
    let targets = r.given_ids("targets", &[batch], targets);
    let logits_of = Transformer {
        vocabulary: P + 1,
        context: 3,
        d: 128,
        heads: 4,
        layers: 1,
        mlp: Some((512, Activation::Relu)),
        normed: false,
        embedding: 0.5,
    };
    let x = logits_of.residual(&mut r, tokens);
    let last = r.g.select_index(x, 1, 2);
    let logits = logits_of.unembed(&mut r, last);
    let losses = r.g.cross_entropy(logits, targets);
    let loss = r.g.mean_all(losses);
    r.finish(loss, "full")
}

/// Two hidden layers with ReLU and biases; cross-entropy over ten classes.
fn mlp() -> Network {
    let mut r = Recipe::default();
    let mut h = r.floats("x", &[512, 784], Draw::Uniform);
    let targets = r.ids("targets", &[512], 10);
    for (layer, [inputs, outputs]) in [[784, 1024], [1024, 1024], [1024, 10]].into_iter().enumerate() {
        if layer > 0 {
            h = r.g.relu(h);
        }
        h = linear(&mut r, &format!("layers.{layer}"), h, [inputs, outputs], 0.1);
    }
    let losses = r.g.cross_entropy(h, targets);
    let loss = r.g.mean_all(losses);
    r.finish(loss, "full")
}

/// Five square matrices without biases; mean squared error against noise.
fn deep_linear() -> Network {
    const WIDTH: usize = 20;
    let mut r = Recipe::default();
    let mut h = r.floats("x", &[256, WIDTH], Draw::Normal);
    let y = r.floats("y", &[256, WIDTH], Draw::Normal);
    for layer in 0..5 {
        let w = r.param(&format!("layers.{layer}.W"), &[WIDTH, WIDTH], root(WIDTH));
        h = r.g.matmul(h, w);
    }
    let loss = r.g.mean_squared_error(h, y);
    r.finish(loss, "full")
}

/// Convolutions of 5 x 5 without padding to 32 and 64 channels, each with ReLU and a maximum over 2 x 2; then 128 neurons
/// with ReLU, and cross-entropy over ten classes.
fn cnn() -> Network {
    let mut r = Recipe::default();
    let mut h = r.floats("x", &[128, 1, 28, 28], Draw::Uniform);
    let targets = r.ids("targets", &[128], 10);
    for (layer, [inputs, outputs]) in [[1, 32], [32, 64]].into_iter().enumerate() {
        let w = r.param(&format!("conv.{layer}.W"), &[outputs, inputs, 5, 5], root(inputs * 25));
        let b = r.param(&format!("conv.{layer}.b"), &[outputs], 0.1);
        let convolved = r.g.conv2d(h, w, Convolution::default());
        let shifted = r.g.per_channel(b, convolved);
        let shifted = r.g.add(convolved, shifted);
        let positive = r.g.relu(shifted);
        h = r.g.max_pool2d(positive, [2, 2], [2, 2], [0, 0]);
    }
    let h = r.g.reshape(h, &[128, 64 * 4 * 4]);
    let h = linear(&mut r, "dense", h, [64 * 4 * 4, 128], 0.1);
    let h = r.g.relu(h);
    let logits = linear(&mut r, "out", h, [128, 10], 0.1);
    let losses = r.g.cross_entropy(logits, targets);
    let loss = r.g.mean_all(losses);
    r.finish(loss, "full")
}

/// A language model with its batch.
struct LanguageModel {
    batch: usize,
    network: Transformer,
}

/// 70 million weights: six blocks with norms, biases and an MLP of 2048, 50304 tokens.
const LARGE: LanguageModel = LanguageModel {
    batch: 4,
    network: Transformer {
        vocabulary: 50304,
        context: 128,
        d: 512,
        heads: 8,
        layers: 6,
        mlp: Some((2048, Activation::GeluTanh)),
        normed: true,
        embedding: 0.02,
    },
};

/// Two blocks of attention alone, without norms or biases.
const ATTENTION_ONLY: LanguageModel = LanguageModel {
    batch: 16,
    network: Transformer {
        vocabulary: 5000,
        context: 256,
        d: 256,
        heads: 8,
        layers: 2,
        mlp: None,
        normed: false,
        embedding: 0.5,
    },
};

/// Cross-entropy of a target at every position.
fn language_model(model: &LanguageModel, free: &'static str) -> Network {
    let mut r = Recipe::default();
    let shape = [model.batch, model.network.context];
    let tokens = r.ids("tokens", &shape, model.network.vocabulary);
    let targets = r.ids("targets", &shape, model.network.vocabulary);
    let x = model.network.residual(&mut r, tokens);
    let logits = model.network.unembed(&mut r, x);
    let losses = r.g.cross_entropy(logits, targets);
    let loss = r.g.mean_all(losses);
    r.finish(loss, free)
}

#[derive(Clone, Copy)]
enum Activation {
    Relu,
    GeluTanh,
}

/// A decoder-only transformer with learned positions; names and layouts of TransformerLens.
struct Transformer {
    vocabulary: usize,
    context: usize,
    d: usize,
    heads: usize,
    layers: usize,
    /// Width and nonlinearity; it has biases.
    mlp: Option<(usize, Activation)>,
    /// Layer norms (eps 1e-5) before attention, MLP and unembedding, and biases of attention.
    normed: bool,
    /// Standard deviation of the embeddings at the start.
    embedding: f64,
}

impl Transformer {
    /// The residual stream after the last norm, `[batch, context, d]`.
    fn residual(&self, r: &mut Recipe, tokens: Node) -> Node {
        let table = r.param("embed.W_E", &[self.vocabulary, self.d], self.embedding);
        let positions = r.param("pos_embed.W_pos", &[self.context, self.d], self.embedding);
        let embedded = r.g.gather(table, tokens);
        let mut x = r.g.add(embedded, positions);
        for layer in 0..self.layers {
            let read = self.norm(r, &format!("blocks.{layer}.ln1"), x);
            let out = self.attention(r, &format!("blocks.{layer}.attn"), read);
            x = r.g.add(x, out);
            if let Some((width, activation)) = self.mlp {
                let read = self.norm(r, &format!("blocks.{layer}.ln2"), x);
                let out = self.feed_forward(r, &format!("blocks.{layer}.mlp"), read, width, activation);
                x = r.g.add(x, out);
            }
        }
        self.norm(r, "ln_final", x)
    }

    fn unembed(&self, r: &mut Recipe, x: Node) -> Node {
        let w = r.param("unembed.W_U", &[self.d, self.vocabulary], root(self.d));
        r.g.matmul(x, w)
    }

    fn attention(&self, r: &mut Recipe, name: &str, x: Node) -> Node {
        let (d, h) = (self.d, self.heads);
        let e = d / h;
        let [q, k, v] = ["Q", "K", "V"].map(|which| {
            let w = r.param(&format!("{name}.W_{which}"), &[h, d, e], root(d));
            let projected = r.g.einsum("btd,hde->bthe", x, w);
            if !self.normed {
                return projected;
            }
            let b = r.param(&format!("{name}.b_{which}"), &[h, e], 0.02);
            r.g.add(projected, b)
        });
        let scores = r.g.einsum("bqhe,bkhe->bhqk", q, k);
        let scores = r.g.scale(scores, 1.0 / (e as f64).sqrt());
        let scores = r.g.causal_mask(scores);
        let pattern = r.g.softmax(scores);
        let z = r.g.einsum("bhqk,bkhe->bqhe", pattern, v);
        let w = r.param(&format!("{name}.W_O"), &[h, e, d], root(d));
        let out = r.g.einsum("bqhe,hed->bqd", z, w);
        if !self.normed {
            return out;
        }
        let b = r.param(&format!("{name}.b_O"), &[d], 0.02);
        r.g.add(out, b)
    }

    fn feed_forward(&self, r: &mut Recipe, name: &str, x: Node, width: usize, activation: Activation) -> Node {
        let deviation = if self.normed { 0.02 } else { 0.1 };
        let w = r.param(&format!("{name}.W_in"), &[self.d, width], root(self.d));
        let b = r.param(&format!("{name}.b_in"), &[width], deviation);
        let h = r.g.matmul(x, w);
        let h = r.g.add(h, b);
        let h = match activation {
            Activation::Relu => r.g.relu(h),
            Activation::GeluTanh => r.g.gelu_tanh(h),
        };
        let w = r.param(&format!("{name}.W_out"), &[width, self.d], root(width));
        let b = r.param(&format!("{name}.b_out"), &[self.d], deviation);
        let out = r.g.matmul(h, w);
        r.g.add(out, b)
    }

    fn norm(&self, r: &mut Recipe, name: &str, x: Node) -> Node {
        if !self.normed {
            return x;
        }
        let gain = r.gain(&format!("{name}.w"), &[self.d], 0.1);
        let shift = r.param(&format!("{name}.b"), &[self.d], 0.1);
        let x = r.g.normalize(x, 1e-5);
        let x = r.g.mul(x, gain);
        r.g.add(x, shift)
    }
}

fn linear(r: &mut Recipe, name: &str, x: Node, shape: [usize; 2], bias: f64) -> Node {
    let w = r.param(&format!("{name}.W"), &shape, root(shape[0]));
    let b = r.param(&format!("{name}.b"), &shape[1..], bias);
    let out = r.g.matmul(x, w);
    r.g.add(out, b)
}

/// Keeps the size of what a matrix of `inputs` rows is applied to.
fn root(inputs: usize) -> f64 {
    1.0 / (inputs as f64).sqrt()
}
