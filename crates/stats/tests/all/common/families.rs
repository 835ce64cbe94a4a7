//! Families of simulated training curves: what a curve follows, where it is sampled, and its noise.

use super::Random;
use ontogeny_stats::Series;

/// What a curve without transitions follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trend {
    /// Nothing but noise about 1.
    Constant,
    /// a t^(−b) + c, b from 0.1 to 1.2.
    Power,
    /// A straight line in ln t.
    Line,
    /// Two power laws added, one slow and one fast.
    TwoPowers,
}

/// Where a curve is sampled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sampling {
    /// Every step from 1 to between 3,000 and 20,000.
    EveryStep,
    /// 20 to 60 checkpoints evenly spaced in the logarithm of the step.
    Checkpoints,
    /// 60 to 200 points at steps (i + 1) K.
    Multiples,
    /// So many points from step 1 to 10,000, evenly spaced in the logarithm.
    Points(usize),
}

/// What is added to it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Noise {
    /// Correlation of neighbouring points.
    pub(crate) phi: f64,
    /// In proportion to the level above the asymptote, rather than to the range.
    pub(crate) is_relative: bool,
}

pub(crate) const TRENDS: [Trend; 4] = [Trend::Constant, Trend::Power, Trend::Line, Trend::TwoPowers];
pub(crate) const SAMPLINGS: [Sampling; 3] = [Sampling::EveryStep, Sampling::Checkpoints, Sampling::Multiples];
pub(crate) const NOISES: [Noise; 6] = [
    Noise { phi: 0.0, is_relative: false },
    Noise { phi: 0.3, is_relative: false },
    Noise { phi: 0.6, is_relative: false },
    Noise { phi: 0.9, is_relative: false },
    Noise { phi: 0.0, is_relative: true },
    Noise { phi: 0.6, is_relative: true },
];

impl Sampling {
    /// The steps of one curve.
    pub(crate) fn steps(self, random: &mut Random) -> Vec<f64> {
        let between = |random: &mut Random, from: f64, to: f64| (from * (to / from).powf(random.uniform())).round();
        match self {
            Sampling::EveryStep => (1..=between(random, 3e3, 2e4) as u32).map(f64::from).collect(),
            Sampling::Checkpoints => {
                let n = between(random, 20.0, 60.0) as usize;
                let last = between(random, 3e3, 6e4);
                let mut steps: Vec<f64> = (0..n).map(|i| last.powf(i as f64 / (n - 1) as f64).round()).collect();
                steps.dedup();
                steps
            }
            Sampling::Multiples => {
                let every = between(random, 5.0, 500.0);
                (1..=between(random, 60.0, 200.0) as u32).map(|i| every * f64::from(i)).collect()
            }
            Sampling::Points(n) => super::log_spaced(n),
        }
    }
}

/// A curve without any transition. Noise of 1 to 30 % of the range, or of the level.
pub(crate) fn smooth_curve(trend: Trend, sampling: Sampling, noise: Noise, random: &mut Random) -> Series {
    let steps = sampling.steps(random);
    let (fast, slow) = (0.5 + 0.7 * random.uniform(), 0.1 + 0.4 * random.uniform());
    let exponent = 0.1 + 1.1 * random.uniform();
    let share = random.uniform();
    let level = |t: f64| match trend {
        Trend::Constant => 1.0,
        Trend::Power => t.powf(-exponent),
        Trend::Line => 12.0 - t.ln(),
        Trend::TwoPowers => share * t.powf(-fast) + (1.0 - share) * t.powf(-slow),
    };
    let levels: Vec<f64> = steps.iter().map(|&t| level(t)).collect();
    let range = levels[0] - levels[levels.len() - 1];
    let size = 0.01 * 30f64.powf(random.uniform());
    let scale = |level: f64| {
        size * if noise.is_relative {
            level
        } else if range > 0.0 {
            range
        } else {
            1.0
        }
    };
    let innovations = autoregression(steps.len(), noise.phi, random);
    let values = levels.iter().zip(innovations).map(|(&l, e)| l + scale(l) * e).collect();
    Series::new(steps, values).expect("simulated steps increase")
}

/// A stationary AR(1) series of unit variance.
pub(crate) fn autoregression(n: usize, phi: f64, random: &mut Random) -> Vec<f64> {
    let mut last = random.normal();
    (0..n)
        .map(|_| {
            let here = last;
            last = phi * last + (1.0 - phi * phi).sqrt() * random.normal();
            here
        })
        .collect()
}

/// A curve that changes: sums of logistic curves in ln(step + 1), and noise.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    /// Level at the start.
    pub(crate) from: f64,
    /// Centre (a step), 10–90 % width in decades, and signed size of each transition.
    pub(crate) transitions: Vec<(f64, f64, f64)>,
    /// Standard deviation, in units of the series or of its level.
    pub(crate) noise: f64,
    pub(crate) kind: Noise,
}

impl Change {
    /// The curve at these steps.
    pub(crate) fn sample(&self, steps: Vec<f64>, random: &mut Random) -> Series {
        let innovations = autoregression(steps.len(), self.kind.phi, random);
        let value = |(t, e): (&f64, f64)| {
            let level = self.level(*t);
            level + e * self.noise * if self.kind.is_relative { level } else { 1.0 }
        };
        let values = steps.iter().zip(innovations).map(value).collect();
        Series::new(steps, values).expect("simulated steps increase")
    }

    /// The curve without noise.
    pub(crate) fn level(&self, step: f64) -> f64 {
        let reached = |(centre, width, size): &(f64, f64, f64)| {
            if *width == 0.0 {
                f64::from(u8::from(step >= *centre)) * size
            } else {
                size * super::sigmoid(step, *centre, *width)
            }
        };
        self.from + self.transitions.iter().map(reached).sum::<f64>()
    }
}
