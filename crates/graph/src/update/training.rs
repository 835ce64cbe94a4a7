//! What training does to a gradient or to weights beside the optimiser: norm, clipping, Langevin noise.

use super::{CHUNK, SEGMENTS, segment_len};
use crate::isa::{Isa, multiversion};
use crate::random::Stream;
use crate::threads::Threads;

/// Lanes of a sum in f64.
const LANES: usize = 8;

/// Euclidean norm of a gradient, summed in f64: one pass, the same bits for any number of threads.
pub fn gradient_norm(gradient: &[f32], threads: &Threads) -> f64 {
    let isa = Isa::current();
    let mut sums = [0.0_f64; SEGMENTS];
    let segments = gradient.chunks(segment_len(gradient.len()));
    threads.each(sums.iter_mut().zip(segments), |(sum, segment)| square_sum(isa, segment, sum));
    sums.iter().sum::<f64>().sqrt()
}

/// Multiplies a gradient by `factor`.
pub fn scale_gradient(gradient: &mut [f32], factor: f32, threads: &Threads) {
    let isa = Isa::current();
    let n = segment_len(gradient.len());
    threads.each(gradient.chunks_mut(n), |segment| scale_loop(isa, segment, factor));
}

/// Adds normals of standard deviation `deviation` to the weights; weight i always takes normal number i of the stream's
/// step.
pub fn add_normals(weights: &mut [f32], deviation: f32, noise: &Stream, step: u32, threads: &Threads) {
    let isa = Isa::current();
    let segment = segment_len(weights.len());
    threads.each(weights.chunks_mut(segment).enumerate(), |(at, weights)| {
        let mut normals = [0.0; CHUNK];
        for (chunk, weights) in weights.chunks_mut(CHUNK).enumerate() {
            // Segments are whole chunks long.
            noise.chunk(isa, step, at * (segment / CHUNK) + chunk, &mut normals);
            for (w, normal) in weights.iter_mut().zip(&normals) {
                *w += deviation * normal;
            }
        }
    });
}

multiversion! {
fn square_sum(values: &[f32], sum: &mut f64) {
    let (whole, rest) = values.as_chunks::<LANES>();
    let mut lanes = [0.0_f64; LANES];
    for values in whole {
        for i in 0..LANES {
            let wide = f64::from(values[i]);
            lanes[i] += wide * wide;
        }
    }
    *sum = lanes.iter().sum::<f64>();
    for &value in rest {
        *sum += f64::from(value) * f64::from(value);
    }
}
}

multiversion! {
fn scale_loop(values: &mut [f32], factor: f32) {
    for value in values {
        *value *= factor;
    }
}
}

#[cfg(test)]
mod tests {
    use std::num::NonZero;

    use super::*;
    use crate::random::Purpose;

    /// Enough for several segments, and no multiple of a chunk.
    const N: usize = 100_003;

    fn normals(step: u32) -> Vec<f32> {
        let mut values = vec![0.0; N];
        Stream::new(3, Purpose::TrainingNoise, 0).normals(step, 0, &mut values);
        values
    }

    #[test]
    fn norms_are_sums_in_double_precision_with_any_number_of_threads() {
        let gradient = normals(0);
        let norm = gradient_norm(&gradient, &Threads::one());
        let wanted = gradient.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt();
        // n roundings of a sum of positive terms, at most.
        assert!((norm - wanted).abs() <= N as f64 * f64::EPSILON * wanted, "{norm} {wanted}");
        for n in 2..5 {
            let threads = Threads::new(NonZero::new(n).unwrap());
            assert_eq!(gradient_norm(&gradient, &threads).to_bits(), norm.to_bits());
        }
        assert_eq!(gradient_norm(&[], &Threads::one()), 0.0);
    }

    #[test]
    fn noise_is_that_of_its_stream_whatever_the_threads() {
        let start = normals(1);
        let stream = Stream::new(3, Purpose::TrainingNoise, 0);
        let noise = normals(7);
        for n in 1..4 {
            let mut weights = start.clone();
            add_normals(&mut weights, 0.25, &stream, 7, &Threads::new(NonZero::new(n).unwrap()));
            for i in 0..N {
                assert_eq!(weights[i], start[i] + 0.25 * noise[i]);
            }
        }
    }
}
