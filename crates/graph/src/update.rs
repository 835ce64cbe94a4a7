//! Parameter updates fused into one pass over memory: optimisers, and Langevin steps with their noise.
//!
//! The threads they are given share the work and change no bit.

use std::ops::Range;

use crate::isa::{Isa, multiversion};
use crate::random::Stream;
use crate::threads::Threads;

/// A Langevin step on the localised tempered posterior exp(−nβ·L(w) − γ/2·‖w − w*‖²).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Langevin {
    /// ε.
    pub step_size: f32,
    /// nβ, the inverse temperature times the number of samples; multiplies the gradient of the mean loss.
    pub n_beta: f32,
    /// γ, the strength of the pull to the start.
    pub localization: f32,
}

/// RMSprop preconditioning of a Langevin step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RmsProp {
    /// α, the memory of the squared gradients.
    pub decay: f32,
    /// Added to the root.
    pub eps: f32,
}

/// Euclidean norms of the parts of one Langevin step, over the free parameters.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct StepNorms {
    /// ½ε·P·nβ·g.
    pub gradient: f64,
    /// ½ε·P·γ·(w − w*).
    pub localization: f64,
    /// √(εP)·ξ.
    pub noise: f64,
    /// w − w*, before the step.
    pub distance: f64,
}

/// Adam with decoupled or coupled weight decay.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Adam {
    /// β₁, β₂.
    pub betas: [f32; 2],
    /// Added to the root.
    pub eps: f32,
    /// λ.
    pub weight_decay: f32,
    /// AdamW (Loshchilov & Hutter 2019): shrink the weights themselves. Else the decay joins the gradient.
    pub decoupled: bool,
}

/// Stochastic gradient descent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sgd {
    /// μ; 0 for none.
    pub momentum: f32,
    /// Look ahead along the momentum.
    pub nesterov: bool,
    /// λ, joins the gradient.
    pub weight_decay: f32,
}

/// Free coordinates and the noise of one step.
#[derive(Debug, Clone, Copy)]
pub struct Free<'a> {
    /// Disjoint ascending ranges of the flat vector that may move; all others keep their bits.
    pub ranges: &'a [Range<usize>],
    /// Source of the noise: coordinate i always takes normal number i, so restricted chains share it.
    pub noise: &'a Stream,
    /// Step within the stream.
    pub step: u32,
}

/// Welling & Teh (2011) with localisation: Δw = −(ε/2)[nβ·g + γ(w − w*)] + √ε·ξ.
pub fn sgld(
    weights: &mut [f32],
    start: &[f32],
    gradient: &[f32],
    free: Free<'_>,
    langevin: &Langevin,
    threads: &Threads,
) -> StepNorms {
    let half = 0.5 * langevin.step_size;
    let scales = [half * langevin.n_beta, half * langevin.localization, langevin.step_size.sqrt()];
    let isa = Isa::current();
    let segment = segment_len(weights.len());
    in_segments(threads, weights.chunks_mut(segment), |at, weights| {
        let origin = at * segment;
        in_chunks(isa, free, origin..origin + weights.len(), |range, noise, sums| {
            let w = &mut weights[range.start - origin..range.end - origin];
            let (w0, g) = (&start[range.clone()], &gradient[range]);
            if let (Some(w), Some(w0), Some(g)) = (w.as_mut_array(), w0.as_array(), g.as_array()) {
                return sgld_chunk(isa, w, w0, g, noise, scales, sums);
            }
            let mut moved = padded(w, 0.0);
            sgld_chunk(isa, &mut moved, &padded(w0, 0.0), &padded(g, 0.0), noise, scales, sums);
            w.copy_from_slice(&moved[..w.len()]);
        })
    })
}

/// RMSprop-preconditioned SGLD (Li et al. 2016, without the curvature term Γ): v ← αv + (1 − α)g² on the untempered
/// gradient, P = 1/(√v̂ + eps) with the bias-corrected v̂ = v/(1 − α^t),
/// Δw = −(ε/2)·P·[nβ·g + γ(w − w*)] + √(εP)·ξ.
#[expect(clippy::too_many_arguments, reason = "the five vectors of the update and its two settings")]
pub fn rmsprop_sgld(
    weights: &mut [f32],
    start: &[f32],
    gradient: &[f32],
    second_moment: &mut [f32],
    n_steps_before: u32,
    free: Free<'_>,
    langevin: &Langevin,
    rms: &RmsProp,
    threads: &Threads,
) -> StepNorms {
    let correction = 1.0 - f64::from(rms.decay).powi(n_steps_before as i32 + 1);
    let correction = (1.0 / correction) as f32;
    let (step, rms) = (*langevin, *rms);
    let isa = Isa::current();
    let segment = segment_len(weights.len());
    assert_eq!(second_moment.len(), weights.len(), "a second moment for each weight");
    let parts = weights.chunks_mut(segment).zip(second_moment.chunks_mut(segment));
    in_segments(threads, parts, |at, (weights, second_moment)| {
        let origin = at * segment;
        in_chunks(isa, free, origin..origin + weights.len(), |range, noise, sums| {
            let own = range.start - origin..range.end - origin;
            let w = &mut weights[own.clone()];
            let v = &mut second_moment[own];
            let (w0, g) = (&start[range.clone()], &gradient[range]);
            if let (Some(w), Some(w0), Some(g), Some(v)) =
                (w.as_mut_array(), w0.as_array(), g.as_array(), v.as_mut_array())
            {
                return rmsprop_chunk(isa, w, w0, g, v, noise, correction, step, rms, sums);
            }
            let (mut moved, mut second) = (padded(w, 0.0), padded(v, 1.0));
            rmsprop_chunk(
                isa,
                &mut moved,
                &padded(w0, 0.0),
                &padded(g, 0.0),
                &mut second,
                noise,
                correction,
                step,
                rms,
                sums,
            );
            w.copy_from_slice(&moved[..w.len()]);
            v.copy_from_slice(&second[..v.len()]);
        })
    })
}

/// Adam (Kingma & Ba 2015) step number `n_steps_before + 1` with learning rate `rate`, PyTorch's conventions.
pub fn adam(
    weights: &mut [f32],
    gradient: &[f32],
    moments: [&mut [f32]; 2],
    n_steps_before: u64,
    rate: f32,
    adam: &Adam,
    threads: &Threads,
) {
    let t = n_steps_before as f64 + 1.0;
    let correction = adam.betas.map(|beta| 1.0 - f64::from(beta).powf(t));
    let step_size = (f64::from(rate) / correction[0]) as f32;
    let root_correction = (1.0 / correction[1].sqrt()) as f32;
    let [first, second] = moments;
    let settings = *adam;
    let isa = Isa::current();
    assert!(
        [gradient.len(), first.len(), second.len()] == [weights.len(); 3],
        "a gradient and moments for each weight"
    );
    let n = segment_len(weights.len());
    let parts = weights.chunks_mut(n).zip(gradient.chunks(n)).zip(first.chunks_mut(n)).zip(second.chunks_mut(n));
    threads.each(parts, |(((w, g), first), second)| {
        adam_loop(isa, w, g, first, second, settings, rate, step_size, root_correction);
    });
}

/// One SGD step; `velocity` starts as the first gradient (PyTorch's convention, dampening 0).
pub fn sgd(
    weights: &mut [f32],
    gradient: &[f32],
    velocity: &mut [f32],
    n_steps_before: u64,
    rate: f32,
    sgd: &Sgd,
    threads: &Threads,
) {
    let settings = *sgd;
    let first = n_steps_before == 0;
    let isa = Isa::current();
    assert!([gradient.len(), velocity.len()] == [weights.len(); 2], "a gradient and a velocity for each weight");
    let n = segment_len(weights.len());
    let parts = weights.chunks_mut(n).zip(gradient.chunks(n)).zip(velocity.chunks_mut(n));
    threads.each(parts, |((w, g), velocity)| sgd_loop(isa, w, g, velocity, settings, rate, first));
}

/// Normals per chunk of the streams.
const CHUNK: usize = 64;

/// Sums of squares of the four norms, in lanes of a fixed order.
type Sums = [[f64; LANES]; 4];
const LANES: usize = 16;

/// Segments of one update, at most: their sums of squares are added in order, and lie on the stack until then.
const SEGMENTS: usize = 64;
/// Coordinates of a segment, at least: the time of one is worth handing over.
const SHORTEST: usize = 1 << 14;

/// Coordinates of a segment of a vector: no function of the threads, so that sums have the same bits with any number.
fn segment_len(n: usize) -> usize {
    n.div_ceil(SEGMENTS).next_multiple_of(CHUNK).max(SHORTEST)
}

/// The norms of a step whose segments `f(number, segment)` does.
fn in_segments<T>(
    threads: &Threads,
    segments: impl ExactSizeIterator<Item = T> + Send,
    f: impl Fn(usize, T) -> [f64; 4] + Sync,
) -> StepNorms {
    let mut squares = [[0.0_f64; 4]; SEGMENTS];
    debug_assert!(segments.len() <= SEGMENTS);
    threads.each(squares.iter_mut().zip(segments).enumerate(), |(at, (squares, segment))| *squares = f(at, segment));
    let norm = |part: usize| squares.iter().map(|squares| squares[part]).sum::<f64>().sqrt();
    StepNorms { gradient: norm(0), localization: norm(1), noise: norm(2), distance: norm(3) }
}

/// Sums of squares over the free coordinates of a segment, whose chunks `f` does.
fn in_chunks(
    isa: Isa,
    free: Free<'_>,
    segment: Range<usize>,
    mut f: impl FnMut(Range<usize>, &[f32; CHUNK], &mut Sums),
) -> [f64; 4] {
    let mut noise = [0.0; CHUNK];
    let mut sums = [[0.0; LANES]; 4];
    let first = free.ranges.partition_point(|range| range.end <= segment.start);
    for range in free.ranges[first..].iter().take_while(|range| range.start < segment.end) {
        let mut at = range.start.max(segment.start);
        let range_end = range.end.min(segment.end);
        while at < range_end {
            let within = at % CHUNK;
            let end = (at - within + CHUNK).min(range_end);
            free.noise.chunk(isa, free.step, at / CHUNK, &mut noise);
            // Zeros where the chunk has no free coordinate: they move nothing and add nothing to the norms.
            let used = end - at;
            if used < CHUNK {
                noise.copy_within(within..within + used, 0);
                noise[used..].fill(0.0);
            }
            f(at..end, &noise, &mut sums);
            at = end;
        }
    }
    sums.map(|lanes| lanes.iter().sum())
}

/// Gradient, localisation, noise and distance of each coordinate of a chunk.
type Parts = [[f32; CHUNK]; 4];

/// Adds the squares of the parts of a chunk. Written out: left to itself, the compiler walks across the parts.
#[inline(always)]
fn add_squares(parts: &Parts, sums: &mut Sums) {
    add_part(&parts[0], &mut sums[0]);
    add_part(&parts[1], &mut sums[1]);
    add_part(&parts[2], &mut sums[2]);
    add_part(&parts[3], &mut sums[3]);
}

#[inline(always)]
fn add_part(part: &[f32; CHUNK], sums: &mut [f64; LANES]) {
    let mut squares = [0.0_f32; LANES];
    for block in part.as_chunks::<LANES>().0 {
        for lane in 0..LANES {
            squares[lane] += block[lane] * block[lane];
        }
    }
    for lane in 0..LANES {
        sums[lane] += f64::from(squares[lane]);
    }
}

/// The values of a chunk that ends early, and something finite behind them.
fn padded(values: &[f32], rest: f32) -> [f32; CHUNK] {
    let mut chunk = [rest; CHUNK];
    chunk[..values.len()].copy_from_slice(values);
    chunk
}

multiversion! {
/// A chunk of [`sgld`]. Arrays, so that loops have no tails and the sums stay in registers.
fn sgld_chunk(
    w: &mut [f32; CHUNK],
    w0: &[f32; CHUNK],
    g: &[f32; CHUNK],
    noise: &[f32; CHUNK],
    scales: [f32; 3],
    sums: &mut Sums,
) {
    let [of_gradient, of_distance, of_noise] = scales;
    let mut parts = [[0.0; CHUNK]; 4];
    let [pull, home, kick, distance] = &mut parts;
    for i in 0..CHUNK {
        distance[i] = w[i] - w0[i];
        pull[i] = of_gradient * g[i];
        home[i] = of_distance * distance[i];
        kick[i] = of_noise * noise[i];
        w[i] = w[i] - (pull[i] + home[i]) + kick[i];
    }
    add_squares(&parts, sums);
}
}

multiversion! {
/// A chunk of [`rmsprop_sgld`].
fn rmsprop_chunk(
    w: &mut [f32; CHUNK],
    w0: &[f32; CHUNK],
    g: &[f32; CHUNK],
    v: &mut [f32; CHUNK],
    noise: &[f32; CHUNK],
    correction: f32,
    step: Langevin,
    rms: RmsProp,
    sums: &mut Sums,
) {
    let mut parts = [[0.0; CHUNK]; 4];
    let [pull, home, kick, distance] = &mut parts;
    for i in 0..CHUNK {
        v[i] = rms.decay * v[i] + (1.0 - rms.decay) * g[i] * g[i];
        let scaled = step.step_size / ((v[i] * correction).sqrt() + rms.eps);
        let half = 0.5 * scaled;
        distance[i] = w[i] - w0[i];
        pull[i] = half * step.n_beta * g[i];
        home[i] = half * step.localization * distance[i];
        kick[i] = scaled.sqrt() * noise[i];
        w[i] = w[i] - (pull[i] + home[i]) + kick[i];
    }
    add_squares(&parts, sums);
}
}

multiversion! {
fn adam_loop(
    w: &mut [f32],
    g: &[f32],
    first: &mut [f32],
    second: &mut [f32],
    adam: Adam,
    rate: f32,
    step_size: f32,
    root_correction: f32,
) {
    let n = w.len();
    let (g, first, second) = (&g[..n], &mut first[..n], &mut second[..n]);
    let [beta1, beta2] = adam.betas;
    let shrink = if adam.decoupled { 1.0 - rate * adam.weight_decay } else { 1.0 };
    let coupled = if adam.decoupled { 0.0 } else { adam.weight_decay };
    for i in 0..n {
        let gradient = g[i] + coupled * w[i];
        first[i] += (1.0 - beta1) * (gradient - first[i]);
        second[i] = beta2 * second[i] + (1.0 - beta2) * gradient * gradient;
        w[i] = w[i] * shrink - step_size * first[i] / (second[i].sqrt() * root_correction + adam.eps);
    }
}
}

multiversion! {
fn sgd_loop(w: &mut [f32], g: &[f32], velocity: &mut [f32], sgd: Sgd, rate: f32, first: bool) {
    let n = w.len();
    let (g, velocity) = (&g[..n], &mut velocity[..n]);
    let momentum = if first { 0.0 } else { sgd.momentum };
    for i in 0..n {
        let gradient = g[i] + sgd.weight_decay * w[i];
        velocity[i] = momentum * velocity[i] + gradient;
        let step = if sgd.nesterov { gradient + sgd.momentum * velocity[i] } else { velocity[i] };
        w[i] -= rate * step;
    }
}
}
