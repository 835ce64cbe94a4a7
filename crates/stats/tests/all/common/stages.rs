//! Curves with stages, as learning coefficients have them, and where their boundaries are.

use super::Random;
use super::families::{Change, Noise};
use ontogeny_stats::BoundaryKind::{self, Peak, Plateau, Trough};

/// What a curve does from its first to its last step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Course {
    /// It rises, falls and rises again.
    RiseFallRise,
    /// It rises slowly, falls late and fast, and recovers by a little: three speeds, at log-spaced and even steps.
    LateFall,
    /// It rises, falls back for a short while, and rises on.
    Dip,
    /// It rises, rests and rises on.
    TwoRises,
    /// One sigmoid.
    OneRise,
    /// A straight line in the logarithm of the step.
    Line,
    /// Nothing but noise.
    Constant,
}

impl Course {
    pub(crate) const ALL: [Course; 7] = [
        Course::RiseFallRise,
        Course::LateFall,
        Course::Dip,
        Course::TwoRises,
        Course::OneRise,
        Course::Line,
        Course::Constant,
    ];

    /// `n` steps from 1 to 10,000: log-spaced, or half of them log-spaced and half even where much happens late.
    pub(crate) fn steps(self, n: usize) -> Vec<f64> {
        match self {
            Course::LateFall => super::log_and_even(n),
            _ => super::log_spaced(n),
        }
    }

    /// A curve of range 1 or near it, over the steps from 1 to 10,000.
    pub(crate) fn draw(self, random: &mut Random) -> Change {
        let mut between = |from: f64, to: f64| from * (to / from).powf(random.uniform());
        let transitions = match self {
            Course::RiseFallRise => vec![
                (between(8.0, 20.0), between(0.3, 0.7), 1.0),
                (between(150.0, 300.0), between(0.3, 0.7), -between(0.4, 0.7)),
                (between(2000.0, 3500.0), between(0.3, 0.5), between(0.3, 0.6)),
            ],
            Course::LateFall => vec![
                (between(30.0, 120.0), between(0.6, 1.2), 1.0),
                (between(3000.0, 5000.0), between(0.06, 0.2), -between(0.2, 0.4)),
                (between(7200.0, 8500.0), between(0.05, 0.1), between(0.05, 0.15)),
            ],
            Course::Dip => vec![
                (between(40.0, 150.0), between(0.4, 0.8), 1.0),
                (between(700.0, 900.0), between(0.06, 0.12), -between(0.1, 0.2)),
                (between(1500.0, 2500.0), between(0.2, 0.3), between(0.3, 0.6)),
            ],
            Course::TwoRises => vec![
                (between(8.0, 30.0), between(0.3, 0.8), between(0.4, 0.6)),
                (between(700.0, 2000.0), between(0.3, 0.6), between(0.4, 0.6)),
            ],
            Course::OneRise => vec![(between(20.0, 500.0), between(0.2, 1.2), 1.0)],
            // A sigmoid so wide that a hundredth of it is a straight line.
            Course::Line => vec![(100.0, 200.0, 49.0)],
            Course::Constant => vec![],
        };
        Change { from: 10.0, transitions, noise: 0.0, kind: Noise { phi: 0.0, is_relative: false } }
    }
}

impl Change {
    /// The extrema of the curve, and the middles of its plateaus (where its slope in ln(step + 1)
    /// is least), between neighbouring transitions.
    pub(crate) fn boundaries(&self) -> Vec<(f64, BoundaryKind)> {
        let between = |pair: &[(f64, f64, f64)]| {
            let (from, to) = (pair[0].0.ln_1p(), pair[1].0.ln_1p());
            let grid: Vec<f64> = (0..=4000).map(|i| (from + (to - from) * f64::from(i) / 4000.0).exp_m1()).collect();
            let (kind, sought): (_, Box<dyn Fn(usize) -> f64>) = match (pair[0].2 > 0.0, pair[1].2 > 0.0) {
                (true, false) => (Peak, Box::new(|i| -self.level(grid[i]))),
                (false, true) => (Trough, Box::new(|i| self.level(grid[i]))),
                _ => (Plateau, Box::new(|i| (self.level(grid[i + 1]) - self.level(grid[i - 1])).abs())),
            };
            let best = (1..grid.len() - 1).min_by(|&a, &b| sought(a).total_cmp(&sought(b)));
            (grid[best.expect("the grid is not empty")], kind)
        };
        self.transitions.windows(2).map(between).collect()
    }
}

/// Whether a step lies within the 10–90 % span of a transition.
pub(crate) fn is_inside(curve: &Change, step: f64) -> bool {
    let half = |width: f64| 0.5 * width * std::f64::consts::LN_10;
    let reaches = |(centre, width, _): &(f64, f64, f64)| (step.ln_1p() - centre.ln_1p()).abs() < half(*width);
    curve.transitions.iter().any(reaches)
}
