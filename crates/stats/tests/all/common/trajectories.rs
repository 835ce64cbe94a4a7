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
    /// Five movements in five random directions, with a corner and a short rest between each two.
    Corners,
}

impl Course {
    /// Those without corners.
    pub(crate) const NULL: [Self; 4] = [Self::Walk, Self::Relaxation, Self::Waves, Self::Straight];
}

/// A simulated trajectory along its principal components.
pub(crate) struct Trajectory {
    /// Evenly spaced from 0 to 10.
    pub(crate) x: Vec<f64>,
    /// Three components.
    pub(crate) scores: Vec<Vec<f64>>,
    /// Where corners were planted, and the smallest angle that the two movements make there among the three planes.
    pub(crate) corners: Vec<(f64, f64)>,
}

/// `n` points; every output has noise of this deviation.
pub(crate) fn trajectory(course: Course, n: usize, noise: f64, random: &mut Random) -> Result<Trajectory, ArrayError> {
    const N_OUTPUTS: usize = 100;
    const MIDDLES: [f64; 5] = [1.0, 3.0, 5.0, 7.0, 9.0];
    let x: Vec<f64> = (0..n).map(|i| 10.0 * i as f64 / (n - 1) as f64).collect();
    let rise = |x: f64, middle: f64| 1.0 / (1.0 + (-(x - middle) / 0.25).exp());
    let mut direction = |size: f64| -> Vec<f64> {
        (0..N_OUTPUTS).map(|_| size * random.normal() / (N_OUTPUTS as f64).sqrt()).collect()
    };
    let drift = direction(1.0);
    // Five directions span what the corners lie in; each movement is a random one of length about 8 in it.
    let axes: Vec<Vec<f64>> = (0..5).map(|_| direction(1.0)).collect();
    let legs: Vec<Vec<f64>> = (0..5)
        .map(|_| {
            let along: Vec<f64> = (0..5).map(|_| 8.0 / 5f64.sqrt() * random.normal()).collect();
            (0..N_OUTPUTS).map(|d| along.iter().zip(&axes).map(|(a, axis)| a * axis[d]).sum()).collect()
        })
        .collect();
    let n_legs = match course {
        Course::Corners => 5,
        Course::Straight => 1,
        _ => 0,
    };
    let middles = if n_legs == 1 { &MIDDLES[2..3] } else { &MIDDLES[..n_legs] };
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
                    size * (std::f64::consts::TAU * (0.2 * frequency * x[t] + phase)).sin() + 0.1 * x[t] * drift[d]
                }
                _ => middles.iter().zip(&legs).map(|(m, leg)| rise(x[t], *m) * leg[d]).sum(),
            };
            rows[t * N_OUTPUTS + d] = value + noise * random.normal();
        }
    }
    // The ends of the movements, as points in the plane.
    let mut places = vec![vec![0.0; N_OUTPUTS]];
    for leg in &legs[..n_legs] {
        let next = places[places.len() - 1].iter().zip(leg).map(|(p, l)| p + l).collect();
        places.push(next);
    }
    let mut gram = TrajectoryGram::new(n, places.len())?;
    gram.add_columns(&rows, &places.concat())?;
    let pca = gram.principal_components(3)?;
    let at = |i: usize, k: usize| pca.points[i].coordinates[k];
    let corners = (1..n_legs)
        .map(|i| {
            let angle = |a: usize, b: usize| {
                let (u, v) = (at(i, a) - at(i - 1, a), at(i, b) - at(i - 1, b));
                let (w, z) = (at(i + 1, a) - at(i, a), at(i + 1, b) - at(i, b));
                (u * z - v * w).atan2(u * w + v * z).abs()
            };
            (f64::midpoint(middles[i - 1], middles[i]), angle(0, 1).min(angle(0, 2)).min(angle(1, 2)))
        })
        .collect();
    Ok(Trajectory { x, scores: pca.scores, corners })
}
