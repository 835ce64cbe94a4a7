//! Simulated series with a known truth, for the tests and examples, each of which uses a part.

#![allow(dead_code, reason = "no test or example uses all of it")]

pub(crate) mod families;

use ontogeny_stats::normal_quantile;

/// A seeded stream of uniform and normal numbers (SplitMix64).
pub(crate) struct Random(u64);

impl Random {
    /// A stream of its own for every seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x2545_f491_4f6c_dd1d))
    }

    /// Uniform on (0, 1).
    pub(crate) fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (((z ^ (z >> 31)) >> 11) as f64 + 0.5) * 2f64.powi(-53)
    }

    /// Standard normal.
    pub(crate) fn normal(&mut self) -> f64 {
        normal_quantile(self.uniform())
    }
}

/// 16 logarithmic and 8 linear checkpoints up to step 3000, as a short run keeps them.
pub(crate) fn checkpoints() -> Vec<f64> {
    let mut steps: Vec<f64> = (0..16).map(|i| 3000f64.powf(f64::from(i) / 15.0).round()).collect();
    steps.extend((1..=8).map(|i| 375.0 * f64::from(i)));
    steps.sort_by(f64::total_cmp);
    steps.dedup();
    steps
}

/// `n` steps from 1 to 10,000, evenly spaced in their logarithm.
pub(crate) fn log_spaced(n: usize) -> Vec<f64> {
    (0..n).map(|i| 1e4f64.powf(i as f64 / (n - 1) as f64)).collect()
}

/// Logistic rise from 0 to 1 in ln(step + 1) around `centre`, 10–90 % in `decades`.
pub(crate) fn sigmoid(step: f64, centre: f64, decades: f64) -> f64 {
    let scale = decades * std::f64::consts::LN_10 / 81f64.ln();
    1.0 / (1.0 + (-(step.ln_1p() - centre.ln_1p()) / scale).exp())
}

/// The answers for the seeds 0..n, in order, from all threads there are.
pub(crate) fn in_parallel<T: Send>(n: u64, answer: impl Fn(u64) -> T + Sync) -> Vec<T> {
    let n_threads = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let of_thread = |thread: u64| (thread..n).step_by(n_threads as usize).map(|seed| (seed, answer(seed)));
    let mut all: Vec<(u64, T)> = std::thread::scope(|scope| {
        let of_thread = &of_thread;
        let start = |thread| scope.spawn(move || of_thread(thread).collect::<Vec<_>>());
        let workers: Vec<_> = (0..n_threads).map(start).collect();
        workers.into_iter().flat_map(|w| w.join().expect("a simulation does not panic")).collect()
    });
    all.sort_by_key(|(seed, _)| *seed);
    all.into_iter().map(|(_, answer)| answer).collect()
}
