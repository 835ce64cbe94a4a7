//! Simulated series with a known truth, for the tests and examples, each of which uses a part.

#![allow(dead_code, reason = "no test or example uses all of it")]

pub(crate) mod families;
pub(crate) mod stages;
pub(crate) mod trajectories;
pub(crate) mod warnings;

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

/// `[CURVES] [FIRST SEED] [PART OF A NAME]` of the command line; without them, `n_curves` from seed 0 of everything.
pub(crate) fn arguments(n_curves: u64) -> (u64, u64, String) {
    let argument = |i| std::env::args().nth(i).and_then(|a| a.parse().ok());
    (argument(1).unwrap_or(n_curves), argument(2).unwrap_or(0), std::env::args().nth(3).unwrap_or_default())
}

/// How many of a number of simulations showed something.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Share {
    pub(crate) n_found: usize,
    pub(crate) n: usize,
}

impl Share {
    /// The share of true answers.
    pub(crate) fn of(answers: &[bool]) -> Self {
        Self { n_found: answers.iter().filter(|a| **a).count(), n: answers.len() }
    }

    /// Its 95 % interval (Wilson 1927).
    pub(crate) fn interval(self) -> (f64, f64) {
        let (n, z) = (self.n.max(1) as f64, normal_quantile(0.975));
        let (share, slack) = (self.n_found as f64 / n, z * z / n);
        let middle = (share + slack / 2.0) / (1.0 + slack);
        let half = z * (share * (1.0 - share) / n + slack / (4.0 * n)).sqrt() / (1.0 + slack);
        ((middle - half).max(0.0), (middle + half).min(1.0))
    }
}

impl std::ops::AddAssign for Share {
    fn add_assign(&mut self, other: Self) {
        self.n_found += other.n_found;
        self.n += other.n;
    }
}

impl std::fmt::Display for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (lower, upper) = self.interval();
        let share = self.n_found as f64 / self.n.max(1) as f64;
        write!(f, "{share:.3} [{lower:.3}, {upper:.3}] {}/{}", self.n_found, self.n)
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

/// About `n` steps from 1 to 10,000: half of them evenly spaced in their logarithm, half evenly, as many runs keep
/// checkpoints.
pub(crate) fn log_and_even(n: usize) -> Vec<f64> {
    let half = n / 2;
    let mut steps: Vec<f64> = log_spaced(half).into_iter().map(f64::round).collect();
    steps.extend((1..=n - half).map(|i| (1e4 * i as f64 / (n - half) as f64).round()));
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
