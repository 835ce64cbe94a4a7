//! Counter-based random streams: Philox4x32-10 (Salmon et al. 2011) and Box–Muller normals, the same bits everywhere.

#![expect(clippy::needless_range_loop, reason = "lanes of several arrays are walked side by side")]

use crate::isa::{Isa, multiversion};
use crate::math;

/// What a stream of random numbers is for: part of the key, so that purposes never share numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Purpose {
    /// Initial weights.
    Initialization = 1,
    /// Generated data.
    Data = 2,
    /// Train and test split.
    Split = 3,
    /// Order of minibatches in training.
    TrainingBatches = 4,
    /// Minibatches of a chain.
    ChainBatches = 5,
    /// Noise of a chain.
    ChainNoise = 6,
    /// Bootstrap and permutation tests.
    Resampling = 7,
    /// Directions and probes.
    Probe = 8,
    /// Momenta of a chain: those it starts with, or draws anew.
    ChainMomentum = 9,
    /// Acceptance, and other choices of a chain.
    ChainChoice = 10,
    /// Examples whose loss is recorded at the draws.
    ChainEvaluation = 11,
    /// What a task draws once, before its examples.
    Task = 12,
    /// Langevin noise of training.
    TrainingNoise = 13,
}

/// A stream of random numbers, addressed by (step, index) in any order: nothing is carried from draw to draw.
///
/// The key is (seed, purpose); the counter is (stream: 64 bits, step: 32, block: 32). Chains, parameters and epochs
/// get their own `stream`, assigned and never hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stream {
    key: [u32; 2],
    number: u64,
    /// Normals are sums of two steps, see [`Stream::paired`].
    is_paired: bool,
}

/// Normals come in chunks of this many, from 16 neighbouring counters.
const CHUNK: usize = 64;
/// Counters of one chunk.
const LANES: usize = 16;

impl Stream {
    /// The stream number `stream` of a purpose under a seed.
    pub fn new(seed: u32, purpose: Purpose, stream: u64) -> Self {
        Self { key: [seed, purpose as u32], number: stream, is_paired: false }
    }

    /// The stream whose normals of step t are (ξ₂ₜ + ξ₂ₜ₊₁)/√2 with those ξ of this one: again independent standard
    /// normals, and the Brownian path of a Langevin equation in steps twice as long. Everything but normals stays as it
    /// is. Steps must be below 2³¹.
    #[must_use]
    pub fn paired(self) -> Self {
        Self { is_paired: true, ..self }
    }

    /// The four words of one counter.
    pub fn words(&self, step: u32, block: u32) -> [u32; 4] {
        philox([block, step, self.number as u32, (self.number >> 32) as u32], self.key)
    }

    /// A float in [0, 1) with 53 bits; element `index` of `step`.
    pub fn uniform(&self, step: u32, index: u32) -> f64 {
        let words = self.words(step, index);
        let bits = (u64::from(words[0]) << 21) ^ u64::from(words[1] >> 11);
        bits as f64 / (1_u64 << 53) as f64
    }

    /// An integer below `n`, without bias worth speaking of (64-bit multiply-shift; bias below n/2⁶⁴).
    pub fn below(&self, n: usize, step: u32, index: u32) -> usize {
        let words = self.words(step, index);
        let bits = (u64::from(words[0]) << 32) | u64::from(words[1]);
        ((u128::from(bits) * n as u128) >> 64) as usize
    }

    /// A uniformly random order of 0..n (Fisher–Yates), number `step` of this stream.
    pub fn permutation(&self, n: usize, step: u32) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        for last in (1..n).rev() {
            order.swap(last, self.below(last + 1, step, last as u32));
        }
        order
    }

    /// Random signs ±1, the bits of the words of `step` from the lowest of the first on.
    pub fn signs(&self, step: u32, out: &mut [f32]) {
        for (block, signs) in out.chunks_mut(128).enumerate() {
            let words = self.words(step, block as u32);
            for (i, sign) in signs.iter_mut().enumerate() {
                *sign = if words[i / 32] >> (i % 32) & 1 == 1 { 1.0 } else { -1.0 };
            }
        }
    }

    /// Standard normals number `first..first + out.len()` of `step`. The bits do not depend on how the range is cut
    /// or on the instruction set: only IEEE operations without contraction are used.
    pub fn normals(&self, step: u32, first: usize, out: &mut [f32]) {
        let mut chunk = [0.0; CHUNK];
        let mut at = first;
        let mut rest = out;
        while !rest.is_empty() {
            let within = at % CHUNK;
            let take = (CHUNK - within).min(rest.len());
            self.chunk(Isa::current(), step, at / CHUNK, &mut chunk);
            let (head, tail) = rest.split_at_mut(take);
            head.copy_from_slice(&chunk[within..within + take]);
            at += take;
            rest = tail;
        }
    }

    /// Normals number `64·index .. 64·index + 64` of `step`.
    #[inline]
    pub(crate) fn chunk(&self, isa: Isa, step: u32, index: usize, out: &mut [f32; CHUNK]) {
        if !self.is_paired {
            normal_chunk(isa, self.key, self.number, step, index as u32, out);
            return;
        }
        normal_chunk(isa, self.key, self.number, 2 * step, index as u32, out);
        let mut second = [0.0; CHUNK];
        normal_chunk(isa, self.key, self.number, 2 * step + 1, index as u32, &mut second);
        for (first, second) in out.iter_mut().zip(second) {
            *first = (*first + second) * std::f32::consts::FRAC_1_SQRT_2;
        }
    }
}

fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let high = u64::from(counter[0]) * 0xD251_1F53;
        let low = u64::from(counter[2]) * 0xCD9E_8D57;
        counter = [
            (low >> 32) as u32 ^ counter[1] ^ key[0],
            low as u32,
            (high >> 32) as u32 ^ counter[3] ^ key[1],
            high as u32,
        ];
        key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
    }
    counter
}

multiversion! {
/// Sixteen Philox blocks side by side, then Box–Muller on (word 0, word 1) and (word 2, word 3). Normal number r of a
/// chunk is output r/16 of block r mod 16, which keeps every store contiguous.
fn normal_chunk(key: [u32; 2], stream: u64, step: u32, index: u32, out: &mut [f32; CHUNK]) {
    // 64-bit lanes that hold 32-bit words: a product needs no widening, and its low word no masking before it is used.
    let mut words = [[0_u64; LANES]; 4];
    for lane in 0..LANES {
        words[0][lane] = u64::from(index.wrapping_mul(LANES as u32).wrapping_add(lane as u32));
    }
    words[1] = [u64::from(step); LANES];
    words[2] = [stream & 0xFFFF_FFFF; LANES];
    words[3] = [stream >> 32; LANES];
    let mut key = key;
    for _ in 0..10 {
        let (first, second) = (u64::from(key[0]), u64::from(key[1]));
        for lane in 0..LANES {
            let high = (words[0][lane] & 0xFFFF_FFFF) * 0xD251_1F53;
            let low = (words[2][lane] & 0xFFFF_FFFF) * 0xCD9E_8D57;
            words[0][lane] = (low >> 32) ^ words[1][lane] ^ first;
            words[1][lane] = low;
            words[2][lane] = (high >> 32) ^ words[3][lane] ^ second;
            words[3][lane] = high;
        }
        key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
    }
    let words = words.map(|word| word.map(|lane| lane as u32));
    for pair in 0..2 {
        for lane in 0..LANES {
            let (cosine, sine) = box_muller(words[2 * pair][lane], words[2 * pair + 1][lane]);
            out[2 * pair * LANES + lane] = cosine;
            out[(2 * pair + 1) * LANES + lane] = sine;
        }
    }
}
}

#[inline(always)]
fn box_muller(radius_word: u32, angle_word: u32) -> (f32, f32) {
    // Both halves convert exactly, so all 32 bits count where u is small: normals reach 6.7.
    let whole = (radius_word >> 16) as i32 as f32 * 65536.0 + (radius_word & 0xFFFF) as i32 as f32;
    let u = (whole + 0.5) * 2.0_f32.powi(-32);
    let radius = (-2.0 * math::ln(u)).sqrt();
    let turns = angle_word as i32 as f32 * 2.0_f32.powi(-32);
    let (sine, cosine) = math::sin_cos_turns(turns);
    (radius * cosine, radius * sine)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn philox_matches_published_known_answers() {
        // Random123's kat_vectors for philox4x32-10.
        for (counter, key, expected) in [
            ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
            ([u32::MAX; 4], [u32::MAX; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
            (
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0],
                [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
            ),
        ] {
            assert_eq!(philox(counter, key), expected);
        }
    }

    #[test]
    fn normals_do_not_depend_on_the_cut_or_the_instruction_set() {
        let stream = Stream::new(7, Purpose::ChainNoise, 3);
        let mut whole = vec![0.0; 1000];
        stream.normals(5, 0, &mut whole);
        for (first, len) in [(0, 1), (1, 63), (63, 130), (500, 500)] {
            let mut part = vec![0.0; len];
            stream.normals(5, first, &mut part);
            assert_eq!(part, whole[first..first + len]);
        }
        for isa in Isa::available() {
            let mut chunk = [0.0; CHUNK];
            stream.chunk(isa, 5, 2, &mut chunk);
            assert_eq!(chunk, whole[128..192], "{isa:?}");
        }
    }

    #[test]
    fn paired_normals_are_those_of_two_steps() {
        let stream = Stream::new(7, Purpose::ChainNoise, 3);
        let [mut first, mut second, mut sum] = [[0.0; 100]; 3];
        stream.normals(10, 30, &mut first);
        stream.normals(11, 30, &mut second);
        stream.paired().normals(5, 30, &mut sum);
        for i in 0..100 {
            assert_eq!(sum[i], (first[i] + second[i]) * std::f32::consts::FRAC_1_SQRT_2);
        }
    }

    #[test]
    fn normals_are_box_muller_in_double_precision_to_three_ulp() {
        let stream = Stream::new(1, Purpose::Probe, 0);
        let mut chunk = [0.0; CHUNK];
        for index in 0..200 {
            stream.chunk(Isa::current(), 0, index, &mut chunk);
            for lane in 0..LANES {
                let words = stream.words(0, (index * LANES + lane) as u32);
                for pair in 0..2 {
                    let u = (f64::from(words[2 * pair]) + 0.5) * 2_f64.powi(-32);
                    let angle = std::f64::consts::TAU * f64::from(words[2 * pair + 1] as i32) * 2_f64.powi(-32);
                    let radius = (-2.0 * u.ln()).sqrt();
                    for (got, want) in [
                        (chunk[2 * pair * LANES + lane], radius * angle.cos()),
                        (chunk[(2 * pair + 1) * LANES + lane], radius * angle.sin()),
                    ] {
                        // The angle rounds to 2^-25 turns and u near 1 to 2^-24: absolute errors of that size.
                        let tolerance = 6e-7 * want.abs().max(radius).max(1e-3) + 1.3e-7 / radius.max(1e-3);
                        assert!((f64::from(got) - want).abs() < tolerance, "{got} {want}");
                    }
                }
            }
        }
    }

    #[test]
    fn moments_and_tails_of_normals() {
        let n = 1 << 20;
        let mut x = vec![0.0; n];
        Stream::new(11, Purpose::Probe, 9).normals(0, 0, &mut x);
        let moment = |k: i32| x.iter().map(|&v| f64::from(v).powi(k)).sum::<f64>() / n as f64;
        // Standard errors of the raw moments of N(0,1): sqrt(Var(x^k)/n) with Var = 1, 2, 15, 96.
        for (k, expected, variance) in [(1, 0.0, 1.0), (2, 1.0, 2.0), (3, 0.0, 15.0), (4, 3.0, 96.0)] {
            let z = (moment(k) - expected) / (variance / n as f64).sqrt();
            assert!(z.abs() < 4.5, "moment {k}: z = {z}");
        }
        let beyond = x.iter().filter(|v| v.abs() > 4.0).count() as f64;
        let expected = 6.334e-5 * n as f64;
        assert!((beyond - expected).abs() < 4.5 * expected.sqrt(), "{beyond} beyond 4, expected {expected}");
    }

    #[test]
    fn permutations_are_permutations_and_differ_by_step() {
        let stream = Stream::new(0, Purpose::Split, 0);
        let a = stream.permutation(100, 0);
        let mut sorted = a.clone();
        sorted.sort_unstable();
        assert!(sorted.into_iter().eq(0..100));
        assert_ne!(a, stream.permutation(100, 1));
    }
}
