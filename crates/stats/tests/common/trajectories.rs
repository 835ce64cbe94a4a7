//! Simulated trajectories of outputs, with and without forms, as scores of their principal components.

use super::Random;
use ontogeny_stats::{ArrayError, TrajectoryGram};

/// What a trajectory does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Course {
    /// A random walk in 100 dimensions.
    Walk,
    /// Each of 100 outputs goes to its end at a rate of its own.
    Relaxation,
    /// 100 outputs are smooth waves of random frequency about a random drift.
    Waves,
    /// One sigmoid movement along a straight line, then rest.
    Straight,
    /// A turn in all planes, made at once: from one movement to the next, with little rest between.
    OneForm,
    /// Three movements, with two turns between them.
    TwoForms,
}

impl Course {
    /// Those without forms.
    pub(crate) const NULL: [Self; 4] = [Self::Walk, Self::Relaxation, Self::Waves, Self::Straight];

    /// Coordinates of the planted forms, of 10 in all.
    pub(crate) fn forms(self) -> &'static [f64] {
        match self {
            Self::OneForm => &[4.75],
            Self::TwoForms => &[3.5, 6.5],
            _ => &[],
        }
    }
}

/// `n` evenly spaced coordinates from 0 to 10, and three components; every output has noise of this deviation.
pub(crate) fn trajectory(
    course: Course,
    n: usize,
    noise: f64,
    random: &mut Random,
) -> Result<(Vec<f64>, Vec<Vec<f64>>), ArrayError> {
    const N_OUTPUTS: usize = 100;
    let x: Vec<f64> = (0..n).map(|i| 10.0 * i as f64 / (n - 1) as f64).collect();
    let rise = |x: f64, middle: f64| 1.0 / (1.0 + (-(x - middle) / 0.35).exp());
    let mut direction =
        || -> Vec<f64> { (0..N_OUTPUTS).map(|_| random.normal() / (N_OUTPUTS as f64).sqrt()).collect() };
    let axes: Vec<Vec<f64>> = (0..4).map(|_| direction()).collect();
    // Along the axes: where movements lead; each turns by more than a right angle in every pair of axes.
    let (middles, legs): (&[f64], &[[f64; 3]]) = match course {
        Course::OneForm => (&[2.5, 7.0], &[[8.0, 5.0, -3.0], [2.0, -6.0, 3.5]]),
        Course::TwoForms => (&[2.0, 5.0, 8.0], &[[8.0, 5.0, -3.0], [2.0, -6.0, 3.5], [7.0, 4.0, -3.0]]),
        Course::Straight => (&[4.0], &[[8.0, 5.0, -3.0]]),
        _ => (&[], &[]),
    };
    let rates: Vec<f64> = (0..N_OUTPUTS).map(|_| 0.2 * 20f64.powf(random.uniform())).collect();
    let phases: Vec<[f64; 3]> = (0..N_OUTPUTS).map(|_| [random.uniform(), random.uniform(), random.normal()]).collect();
    let mut rows = vec![0.0; n * N_OUTPUTS];
    let mut walk = vec![0.0; N_OUTPUTS];
    for t in 0..n {
        for d in 0..N_OUTPUTS {
            walk[d] += random.normal();
            let value = match course {
                Course::Walk => walk[d] / (n as f64).sqrt(),
                Course::Relaxation => phases[d][2] * (1.0 - (-rates[d] * x[t]).exp()),
                Course::Waves => {
                    let [frequency, phase, size] = phases[d];
                    size * (std::f64::consts::TAU * (0.2 * frequency * x[t] + phase)).sin() + 0.1 * x[t] * axes[3][d]
                }
                _ => middles
                    .iter()
                    .zip(legs)
                    .map(|(m, leg)| rise(x[t], *m) * (0..3).map(|k| leg[k] * axes[k][d]).sum::<f64>())
                    .sum(),
            };
            rows[t * N_OUTPUTS + d] = value + noise * random.normal();
        }
    }
    let mut gram = TrajectoryGram::new(n, 0)?;
    gram.add_columns(&rows, &[])?;
    Ok((x, gram.principal_components(3)?.scores))
}
