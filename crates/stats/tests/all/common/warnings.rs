//! Simulated series with and without a bifurcation ahead.

use super::Random;

/// Where the fold of x' = r + x − x³ on its upper branch lies: r = −2/(3√3).
const FOLD: f64 = -0.384_900_179_459_750_5;

/// What a series follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// White noise.
    White,
    /// AR(1) noise, φ = 0.5.
    Red,
    /// AR(1) noise, φ = 0.8.
    Redder,
    /// AR(1) noise, φ = 0.95.
    Reddest,
    /// AR(1) noise, φ = 0.5, about a power law.
    RedOnPowerLaw,
    /// dx = (r + x − x³) dt + noise, r falling to the fold, up to the tipping.
    Fold,
    /// White noise whose deviation doubles.
    GrowingNoise,
    /// Two modes with fixed rates whose angle narrows: no bifurcation comes near.
    NonNormal,
}

impl Kind {
    /// All of them.
    pub(crate) const ALL: [Self; 8] = [
        Self::White,
        Self::Red,
        Self::Redder,
        Self::Reddest,
        Self::RedOnPowerLaw,
        Self::Fold,
        Self::GrowingNoise,
        Self::NonNormal,
    ];

    /// Those in which nothing changes but a trend.
    pub(crate) const NULL: [Self; 5] = [Self::White, Self::Red, Self::Redder, Self::Reddest, Self::RedOnPowerLaw];
}

/// `n` values at even intervals (fewer where a fold tips early).
pub(crate) fn series(kind: Kind, n: usize, random: &mut Random) -> Vec<f64> {
    let share = |t: usize| t as f64 / (n - 1) as f64;
    match kind {
        Kind::White => (0..n).map(|_| random.normal()).collect(),
        Kind::Red => autoregression(n, 0.5, random),
        Kind::Redder => autoregression(n, 0.8, random),
        Kind::Reddest => autoregression(n, 0.95, random),
        Kind::RedOnPowerLaw => {
            let noise = autoregression(n, 0.5, random);
            noise.iter().enumerate().map(|(t, x)| x + 30.0 * (1.0 + 20.0 * share(t)).powf(-0.5)).collect()
        }
        Kind::Fold => fold(n, random),
        Kind::GrowingNoise => (0..n).map(|t| (1.0 + share(t)) * random.normal()).collect(),
        Kind::NonNormal => {
            let (mut x, mut y) = (0.0, 0.0);
            (0..n)
                .map(|t| {
                    (x, y) = (0.5 * x + 3.0 * share(t) * y + random.normal(), 0.6 * y + random.normal());
                    x
                })
                .collect()
        }
    }
}

fn autoregression(n: usize, phi: f64, random: &mut Random) -> Vec<f64> {
    let mut x = random.normal() / (1.0 - phi * phi).sqrt();
    (0..n)
        .map(|_| {
            x = phi * x + random.normal();
            x
        })
        .collect()
}

/// Unit time between values, in twenty Euler steps; r falls from 0.6 to the fold; ends where x leaves the branch.
fn fold(n: usize, random: &mut Random) -> Vec<f64> {
    let (n_steps, noise) = (20, 0.05);
    let dt = 1.0 / f64::from(n_steps);
    let mut x = 1.2;
    let mut values = vec![];
    for t in 0..n {
        let r = 0.6 + (FOLD - 0.6) * t as f64 / (n - 1) as f64;
        for _ in 0..n_steps {
            x += dt * (r + x - x * x * x) + noise * dt.sqrt() * random.normal();
        }
        // The branch ends at x = 1/√3.
        if x < 0.4 {
            break;
        }
        values.push(x);
    }
    values
}
