//! Parameter updates fused into one pass over memory: optimisers, and Langevin steps with their noise.
//!
//! The threads they are given share the work and change no bit.

mod optimizers;
mod overdamped;
mod training;
mod underdamped;

use std::ops::Range;

pub use optimizers::{Adam, RmsPropDescent, Sgd, adam, rmsprop, sgd};
pub use overdamped::{AdamLangevin, RmsProp, adam_sgld, rmsprop_sgld, sgld};
pub use training::{add_normals, gradient_norm, scale_gradient};
pub use underdamped::{Friction, baoab, sghmc};

use crate::isa::Isa;
use crate::random::Stream;
use crate::threads::Threads;

/// A Langevin step on the localised tempered posterior exp(−nβ·L(w) − γ/2·‖w − w*‖²).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Langevin {
    /// ε.
    pub step_size: f32,
    /// nβ, the inverse temperature times the number of samples; multiplies the gradient of the mean loss.
    pub n_beta: f32,
    /// γ, the strength of the pull to the centre: the start, unless there are other priors.
    pub localization: f32,
}

/// The parts of one Langevin step over the free parameters: Euclidean norms, and dot products of the parts as they enter
/// the step (the gradient's and the localisation's with their minus signs).
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct StepNorms {
    /// ½ε·P·nβ·g; with momentum its share of a step of the momentum.
    pub gradient: f64,
    /// ½ε·P·γ·(w − w*); with momentum as above.
    pub localization: f64,
    /// √(εP)·ξ; with momentum what the noise adds to it.
    pub noise: f64,
    /// w minus the centre of the localisation, before the step.
    pub distance: f64,
    /// The momentum after the step, as a displacement per step; 0 for updates without.
    pub momentum: f64,
    /// Gradient · localisation.
    pub gradient_localization: f64,
    /// Gradient · noise.
    pub gradient_noise: f64,
    /// Localisation · noise.
    pub localization_noise: f64,
    /// Gradient's part · (w − centre), before the step.
    pub gradient_distance: f64,
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

/// Normals per chunk of the streams.
const CHUNK: usize = 64;

/// Sums of squares and of products of the parts of a step, in lanes of a fixed order.
type Sums = [[f64; LANES]; N_SUMS];
const LANES: usize = 16;
const N_SUMS: usize = 9;
/// Where the squares of the momentum are added.
const MOMENTUM: usize = 4;

/// Segments of one update, at most: their sums of squares are added in order, and lie on the stack until then.
const SEGMENTS: usize = 64;
/// Coordinates of a segment, at least: the time of one is worth handing over.
const SHORTEST: usize = 1 << 14;

/// Coordinates of a segment of a vector: no function of the threads, so that sums have the same bits with any number.
fn segment_len(n: usize) -> usize {
    n.div_ceil(SEGMENTS).next_multiple_of(CHUNK).max(SHORTEST)
}

/// One pass over memory that steps the free weights and the `N` vectors a chain remembers, chunk by chunk.
fn pass<const N: usize>(
    weights: &mut [f32],
    memory: [&mut [f32]; N],
    centre: &[f32],
    gradient: &[f32],
    free: Free<'_>,
    threads: &Threads,
    step: impl Fn(Isa, &mut [f32; CHUNK], [&mut [f32; CHUNK]; N], &[f32; CHUNK], &[f32; CHUNK], &[f32; CHUNK], &mut Sums)
    + Sync,
) -> StepNorms {
    let isa = Isa::current();
    let n = weights.len();
    assert!(memory.iter().all(|own| own.len() == n), "as much memory as weights");
    let segment = segment_len(n);
    let mut rest = memory;
    let segments = weights.chunks_mut(segment).map(move |weights| {
        let own: [&mut [f32]; N] = std::array::from_fn(|i| {
            let (own, others) = std::mem::take(&mut rest[i]).split_at_mut(weights.len());
            rest[i] = others;
            own
        });
        (weights, own)
    });
    in_segments(threads, segments, |at, (weights, mut memory)| {
        let origin = at * segment;
        in_chunks(isa, free, origin..origin + weights.len(), |range, noise, sums| {
            let own = range.start - origin..range.end - origin;
            let (w0, g) = (&centre[range.clone()], &gradient[range.clone()]);
            if range.len() == CHUNK {
                let whole = "a range of one chunk";
                let memory = memory.each_mut().map(|m| m[own.clone()].as_mut_array().expect(whole));
                let w = weights[own.clone()].as_mut_array().expect(whole);
                return step(isa, w, memory, w0.as_array().expect(whole), g.as_array().expect(whole), noise, sums);
            }
            let mut moved = padded(&weights[own.clone()]);
            let mut remembered = memory.each_ref().map(|m| padded(&m[own.clone()]));
            step(isa, &mut moved, remembered.each_mut(), &padded(w0), &padded(g), noise, sums);
            weights[own.clone()].copy_from_slice(&moved[..range.len()]);
            for (memory, remembered) in memory.iter_mut().zip(&remembered) {
                memory[own.clone()].copy_from_slice(&remembered[..range.len()]);
            }
        })
    })
}

/// The norms of a step whose segments `f(number, segment)` does.
fn in_segments<T>(
    threads: &Threads,
    segments: impl ExactSizeIterator<Item = T> + Send,
    f: impl Fn(usize, T) -> [f64; N_SUMS] + Sync,
) -> StepNorms {
    let mut sums = [[0.0_f64; N_SUMS]; SEGMENTS];
    debug_assert!(segments.len() <= SEGMENTS);
    threads.each(sums.iter_mut().zip(segments).enumerate(), |(at, (sums, segment))| *sums = f(at, segment));
    let sum = |part: usize| sums.iter().map(|sums| sums[part]).sum::<f64>();
    StepNorms {
        gradient: sum(0).sqrt(),
        localization: sum(1).sqrt(),
        noise: sum(2).sqrt(),
        distance: sum(3).sqrt(),
        momentum: sum(MOMENTUM).sqrt(),
        gradient_localization: sum(5),
        gradient_noise: -sum(6),
        localization_noise: -sum(7),
        gradient_distance: -sum(8),
    }
}

/// The sums over the free coordinates of a segment, whose chunks `f` does.
fn in_chunks(
    isa: Isa,
    free: Free<'_>,
    segment: Range<usize>,
    mut f: impl FnMut(Range<usize>, &[f32; CHUNK], &mut Sums),
) -> [f64; N_SUMS] {
    let mut noise = [0.0; CHUNK];
    let mut sums = [[0.0; LANES]; N_SUMS];
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

/// Adds the squares and products of the parts of a chunk. Written out: left to itself, the compiler walks across the
/// parts.
#[inline(always)]
fn add_parts(parts: &Parts, sums: &mut Sums) {
    let [pull, home, kick, distance] = parts;
    add_part(pull, &mut sums[0]);
    add_part(home, &mut sums[1]);
    add_part(kick, &mut sums[2]);
    add_part(distance, &mut sums[3]);
    add_products(pull, home, &mut sums[5]);
    add_products(pull, kick, &mut sums[6]);
    add_products(home, kick, &mut sums[7]);
    add_products(pull, distance, &mut sums[8]);
}

/// Adds the squares of a part.
#[inline(always)]
fn add_part(part: &[f32; CHUNK], sums: &mut [f64; LANES]) {
    add_products(part, part, sums);
}

#[inline(always)]
fn add_products(a: &[f32; CHUNK], b: &[f32; CHUNK], sums: &mut [f64; LANES]) {
    let mut products = [0.0_f32; LANES];
    for (a, b) in a.as_chunks::<LANES>().0.iter().zip(b.as_chunks::<LANES>().0) {
        for lane in 0..LANES {
            products[lane] += a[lane] * b[lane];
        }
    }
    for lane in 0..LANES {
        sums[lane] += f64::from(products[lane]);
    }
}

/// The values of a chunk that ends early, and zeros behind them.
fn padded(values: &[f32]) -> [f32; CHUNK] {
    let mut chunk = [0.0; CHUNK];
    chunk[..values.len()].copy_from_slice(values);
    chunk
}
