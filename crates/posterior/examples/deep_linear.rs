//! Samplers against Aoyagi's λ on random deep linear networks of 5 to 10⁵ weights:
//! `cargo run --release -p ontogeny-posterior --example deep_linear -- [ARCHITECTURES] [MAX_WEIGHTS]`
//!
//! Each architecture (2 to 5 layers of random widths) is measured at true weights of several ranks, as a training run
//! passes them from saddle to saddle, with minibatches. Every sampler runs at every step size, the same for all
//! networks: what a user gets who does not know the answer.

#![expect(clippy::print_stdout, reason = "the tables are this example's output")]

use std::num::NonZero;
use std::time::Instant;

use ontogeny_graph::{Column, ColumnData, DataSet, Graph, Purpose, Stream};
use ontogeny_posterior::closed_forms::{Coefficient, deep_linear};
use ontogeny_posterior::{Batch, Correction, Execution, Llc, Objective, Sampler, in_parallel};

const N_EXAMPLES: usize = 2000;
/// As for 10⁵ examples; the loss has no noise of labels, so that fewer give the same posterior.
const N: f64 = 1e5;
/// Step sizes, in units of the smallest of a sampler.
const STEP_SIZES: [f64; 5] = [1.0, 3.0, 10.0, 30.0, 100.0];
const CHAINS: usize = 2;
const BURN_IN: usize = 1000;
const DRAWS: usize = 250;
const THIN: usize = 8;
const STEPS: usize = CHAINS * (BURN_IN + DRAWS * THIN);
const MIN_WEIGHTS: f64 = 5.0;

/// Widths from input to output, and the rank of the truth.
struct Network {
    architecture: usize,
    sizes: Vec<usize>,
    rank: usize,
}

/// What a sampler said of a network at a step size.
struct Outcome {
    /// λ̂, unless refused.
    value: Option<f64>,
    /// The mean of all draws whatever the verdict, unless a chain diverged.
    mean: Option<f64>,
    seconds: f64,
}

fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let argument = |at: usize, default: usize| std::env::args().nth(at).map_or(Ok(default), |text| text.parse());
    let networks = networks(argument(1, 16)?, argument(2, 100_000)?);
    let truths: Vec<Coefficient> = networks
        .iter()
        .map(|network| deep_linear(&network.sizes, network.rank).ok_or("a network without a coefficient"))
        .collect::<Result<_, _>>()?;
    let n_beta = N / N.ln();
    let weights: Vec<usize> = networks.iter().map(Network::n_weights).collect();
    // What E[nβL] lacks of λ at this temperature, to first order (`closed_forms`).
    let mut short: Vec<f64> = truths.iter().map(|t| (t.multiplicity - 1) as f64 / n_beta.ln() / t.lambda).collect();
    short.sort_by(f64::total_cmp);
    println!(
        "{} networks of {} to {} weights, λ from {} to {}; nβ = {n_beta:.0}, at which λ lacks {:.1} % in the median\n",
        networks.len(),
        weights.iter().min().unwrap_or(&0),
        weights.iter().max().unwrap_or(&0),
        truths.iter().map(|t| t.lambda).fold(f64::INFINITY, f64::min),
        truths.iter().map(|t| t.lambda).fold(0.0, f64::max),
        100.0 * short[short.len() / 2],
    );
    println!(
        "| sampler | ε | refused | error of the rest: median, four fifths | order kept | error of all that end | order kept | ms a step |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for (name, sampler, smallest) in samplers() {
        let mut best: Vec<Vec<Outcome>> = Vec::new();
        for step_size in STEP_SIZES.map(|factor| factor * smallest) {
            let found = in_parallel(networks.len(), Execution::default().threads, |i| {
                measure(&networks[i], sampler, step_size, n_beta)
            });
            let found = found.into_iter().collect::<Result<Vec<_>, _>>()?;
            row(name, &format!("{step_size:.0e}"), &networks, &truths, &found);
            best.push(found);
        }
        // The largest step whose answer the next smaller one, a third, confirms to 5 %: no knowledge of the truth.
        let confirmed: Vec<Outcome> = (0..networks.len())
            .map(|i| {
                let value = (1..STEP_SIZES.len()).rev().find_map(|at| {
                    let (here, finer) = (best[at][i].value?, best[at - 1][i].value?);
                    ((here - finer).abs() < 0.05 * finer.abs()).then_some(here)
                });
                Outcome { value, mean: None, seconds: best.iter().map(|found| found[i].seconds).sum() }
            })
            .collect();
        row(name, "confirmed", &networks, &truths, &confirmed);
    }
    Ok(())
}

/// With the smallest step size of each: preconditioners of up to 1/eps make steps larger.
fn samplers() -> [(&'static str, Sampler, f64); 6] {
    let rmsprop = |eps| Sampler::RmspropSgld { decay: 0.99, eps, correction: Correction::None };
    [
        ("sgld", Sampler::Sgld, 1e-7),
        ("rmsprop_sgld, eps 0.1", rmsprop(0.1), 1e-8),
        ("rmsprop_sgld, eps 0.001", rmsprop(0.001), 1e-8),
        ("adam_sgld, eps 0.1", Sampler::AdamSgld { betas: [0.9, 0.99], eps: 0.1 }, 1e-9),
        ("sghmc", Sampler::Sghmc { friction: 0.1 }, 1e-7),
        ("sgnht", Sampler::Sgnht { friction: 0.1 }, 1e-7),
    ]
}

fn row(name: &str, step_size: &str, networks: &[Network], truths: &[Coefficient], found: &[Outcome]) {
    let values: Vec<Option<f64>> = found.iter().map(|outcome| outcome.value).collect();
    let means: Vec<Option<f64>> = found.iter().map(|outcome| outcome.mean).collect();
    let error = |values: &[Option<f64>], share: f64| {
        let errors = values.iter().zip(truths).filter_map(|(v, t)| v.map(|v| (v - t.lambda) / t.lambda));
        let mut errors: Vec<f64> = errors.collect();
        errors.sort_by(|a, b| a.abs().total_cmp(&b.abs()));
        let at = (share * errors.len() as f64) as usize;
        errors.get(at).map_or_else(|| "–".to_owned(), |e| format!("{:+.1} %", 100.0 * e))
    };
    let order = |values: &[Option<f64>]| format!("{:+.2}", order_kept(networks, truths, values));
    let mut ms: Vec<f64> = found.iter().map(|outcome| 1e3 * outcome.seconds / STEPS as f64).collect();
    ms.sort_by(f64::total_cmp);
    println!(
        "| {name} | {step_size} | {} of {} | {}, {} | {} | {}, {} | {} | {:.4} |",
        values.iter().filter(|v| v.is_none()).count(),
        values.len(),
        error(&values, 0.5),
        error(&values, 0.8),
        order(&values),
        error(&means, 0.5),
        error(&means, 0.8),
        order(&means),
        ms[ms.len() / 2],
    );
}

/// Kendall's τ of estimates and truths among the ranks of each architecture, over all pairs; a pair with a refused
/// estimate counts as neither.
fn order_kept(networks: &[Network], truths: &[Coefficient], values: &[Option<f64>]) -> f64 {
    let (mut sum, mut n) = (0.0, 0.0_f64);
    for i in 0..networks.len() {
        for j in i + 1..networks.len() {
            if networks[i].architecture == networks[j].architecture {
                n += 1.0;
                if let (Some(a), Some(b)) = (values[i], values[j]) {
                    sum += ((a - b) * (truths[i].lambda - truths[j].lambda)).signum();
                }
            }
        }
    }
    sum / n
}

fn measure(
    network: &Network,
    sampler: Sampler,
    step_size: f64,
    n_beta: f64,
) -> Result<Outcome, Box<dyn std::error::Error + Send + Sync>> {
    let (objective, weights) = network.objective()?;
    let llc = Llc {
        sampler,
        chains: CHAINS,
        burn_in: BURN_IN,
        draws: DRAWS,
        thin: THIN,
        step_size,
        localization: 1.0,
        batch: Batch::Size(64),
        n_beta: Some(n_beta),
        ..Llc::default()
    };
    let start = Instant::now();
    let one = Execution { threads: NonZero::<usize>::MIN, ..Execution::default() };
    let estimate = llc.estimate_with(&objective, &weights, &one)?;
    let seconds = start.elapsed().as_secs_f64();
    let mean = estimate.diagnostics().convergence.map(|c| c.mean).filter(|mean| mean.is_finite());
    Ok(Outcome { value: estimate.value(), mean, seconds })
}

/// Architectures with numbers of weights spread evenly over the orders of magnitude, each at up to five ranks.
fn networks(n_architectures: usize, max_weights: usize) -> Vec<Network> {
    let mut networks = Vec::new();
    for architecture in 0..n_architectures {
        let stream = Stream::new(7, Purpose::Data, architecture as u64);
        let share = architecture as f64 / (n_architectures - 1).max(1) as f64;
        let wanted = MIN_WEIGHTS * (max_weights as f64 / MIN_WEIGHTS).powf(share);
        let n_layers = 2 + stream.below(if wanted < 20.0 { 1 } else { 4 }, 0, 0);
        let mut width = (wanted / n_layers as f64).sqrt();
        let factors: Vec<f64> = (0..=n_layers).map(|i| (0.8 * (stream.uniform(1, i as u32) - 0.5)).exp()).collect();
        // Rounding and products move the number of weights: scale until it fits.
        let sizes = loop {
            let sizes: Vec<usize> = factors.iter().map(|f| ((width * f).round() as usize).max(1)).collect();
            let n: usize = sizes.windows(2).map(|pair| pair[0] * pair[1]).sum();
            if n <= max_weights.min((1.2 * wanted) as usize + 2) {
                break sizes;
            }
            width *= 0.97;
        };
        let largest = sizes.iter().copied().min().unwrap_or(0);
        let mut ranks: Vec<usize> = (0..=4).map(|i| i * largest / 4).collect();
        ranks.dedup();
        networks.extend(ranks.into_iter().map(|rank| Network { architecture, sizes: sizes.clone(), rank }));
    }
    networks
}

impl Network {
    fn n_weights(&self) -> usize {
        self.sizes.windows(2).map(|pair| pair[0] * pair[1]).sum()
    }

    /// Layers of rank r whose images and kernels fit: Wₖ = Qₖ₊₁·S·Qₖᵀ with orthonormal columns Qₖ and S between 0.8 and
    /// 1.25, the most singular of all weights with this product, where the local coefficient is Aoyagi's.
    fn truth(&self) -> Vec<f32> {
        let frames: Vec<Vec<f64>> = self.sizes.iter().enumerate().map(|(i, &n)| self.frame(i, n)).collect();
        let stream = Stream::new(11, Purpose::Data, 0);
        let mut weights = Vec::new();
        for layer in 0..self.sizes.len() - 1 {
            let (columns, rows) = (self.sizes[layer], self.sizes[layer + 1]);
            for i in 0..rows {
                for j in 0..columns {
                    let entry = |r: usize| {
                        let s = 0.8 + 0.45 * stream.uniform(layer as u32, r as u32);
                        s * frames[layer + 1][r * rows + i] * frames[layer][r * columns + j]
                    };
                    weights.push((0..self.rank).map(entry).sum::<f64>() as f32);
                }
            }
        }
        weights
    }

    /// `rank` orthonormal vectors of length n, by Gram–Schmidt.
    fn frame(&self, i: usize, n: usize) -> Vec<f64> {
        let stream = Stream::new(13, Purpose::Data, (self.architecture * 64 + i) as u64);
        let mut vectors: Vec<Vec<f64>> = Vec::new();
        for r in 0..self.rank {
            let mut normals = vec![0.0_f32; n];
            stream.normals(r as u32, 0, &mut normals);
            let mut v: Vec<f64> = normals.into_iter().map(f64::from).collect();
            // Twice: once leaves what rounding puts back.
            for other in vectors.iter().chain(&vectors) {
                let along: f64 = v.iter().zip(other).map(|(a, b)| a * b).sum();
                v.iter_mut().zip(other).for_each(|(a, b)| *a -= along * b);
            }
            let norm = v.iter().map(|a| a * a).sum::<f64>().sqrt();
            vectors.push(v.into_iter().map(|a| a / norm).collect());
        }
        vectors.concat()
    }

    /// Mean squared error per output on inputs uniform on [−10, 10], and the true weights.
    fn objective(&self) -> Result<(Objective, Vec<f32>), Box<dyn std::error::Error + Send + Sync>> {
        let truth = self.truth();
        let (n_in, n_out) = (self.sizes[0], self.sizes[self.sizes.len() - 1]);
        let stream = Stream::new(17, Purpose::Data, self.architecture as u64);
        let inputs: Vec<f32> = (0..N_EXAMPLES * n_in)
            .map(|at| (20.0 * stream.uniform((at / n_in) as u32, (at % n_in) as u32) - 10.0) as f32)
            .collect();
        let sizes = self.sizes.clone();
        let layers: Vec<Vec<f32>> = sizes
            .windows(2)
            .scan(0, |at, pair| {
                let layer = truth[*at..*at + pair[0] * pair[1]].to_vec();
                *at += pair[0] * pair[1];
                Some(layer)
            })
            .collect();
        let mut targets = Vec::with_capacity(N_EXAMPLES * n_out);
        for x in inputs.chunks(n_in) {
            let y = layers.iter().zip(sizes.windows(2)).fold(
                x.iter().map(|&x| f64::from(x)).collect(),
                |x: Vec<f64>, (w, pair)| {
                    w.chunks(pair[0]).map(|row| row.iter().zip(&x).map(|(w, x)| f64::from(*w) * x).sum()).collect()
                },
            );
            targets.extend(y.into_iter().map(|y| y as f32));
        }
        let column = |name: &str, width: usize, values: Vec<f32>| Column {
            name: name.to_owned(),
            width,
            data: ColumnData::Float(values),
        };
        let data = DataSet::new(N_EXAMPLES, vec![column("x", n_in, inputs), column("y", n_out, targets)])?;
        let objective = Objective::new(data, move |batch| {
            let mut g = Graph::new();
            let mut value = g.input("x", &[batch, n_in]);
            let target = g.input("y", &[batch, n_out]);
            for (i, pair) in sizes.windows(2).enumerate() {
                let w = g.param(&format!("layers.{i}.W"), &[pair[1], pair[0]]);
                value = g.einsum("bi,oi->bo", value, w);
            }
            let residual = g.sub(value, target);
            let square = g.square(residual);
            let loss = g.mean(square, &[1]);
            (g, loss)
        })?;
        Ok((objective, truth))
    }
}
