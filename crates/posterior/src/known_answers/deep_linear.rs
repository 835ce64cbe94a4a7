//! Two small deep linear networks of rank one at a finite temperature, by an integral over all layers but the last.

use ontogeny_graph::Graph;

use crate::objective::{Objective, ObjectiveError};

pub(super) const N_BETA: f64 = 1000.0;
pub(super) const LOCALIZATION: f64 = 5.0;

/// ‖W_L⋯W₁ − diag(1, 0)‖² for L matrices of 2 × 2 around the truth W_k = diag(1, 0).
#[derive(Debug, Clone, Copy)]
pub(super) struct Network {
    n_layers: usize,
    /// Mean of nβ·L and its standard error, from [`Network::integrate`] with 4·10⁷ samples.
    pub(super) mean: f64,
    pub(super) error: f64,
}

pub(super) const TWO_LAYERS: Network = Network { n_layers: 2, mean: 1.822_76, error: 3.3e-4 };
pub(super) const THREE_LAYERS: Network = Network { n_layers: 3, mean: 1.678_90, error: 4.0e-4 };

impl Network {
    pub(super) fn truth(&self) -> Vec<f32> {
        [1.0, 0.0, 0.0, 0.0].repeat(self.n_layers)
    }

    pub(super) fn objective(&self) -> Result<Objective, ObjectiveError> {
        let mut g = Graph::new();
        let layers: Vec<_> = (0..self.n_layers).map(|i| g.param(&format!("layers.{i}.W"), &[2, 2])).collect();
        let product = layers.into_iter().reduce(|below, w| g.matmul(w, below)).expect("two layers at least");
        // 1 at (0, 0) alone: (1 − row)·(1 − column).
        let (row, column, one) = (g.iota(&[2, 2], 0), g.iota(&[2, 2], 1), g.constant(1.0));
        let (row, column) = (g.sub(one, row), g.sub(one, column));
        let target = g.mul(row, column);
        let difference = g.sub(product, target);
        let square = g.square(difference);
        let loss = g.sum(square, &[0, 1]);
        Objective::population(g, loss, 10_000)
    }

    /// The mean of nβ·L under the localised posterior and its standard error, by importance sampling.
    ///
    /// Given the product P of all layers but the last, each row r of the last is normal: its energy
    /// nβ‖rP − t‖² + γ/2·‖r − r*‖² has the precision Λ = 2nβPPᵀ + γ and the minimum r̂ = Λ⁻¹(2nβPt + γr*), so that
    /// integrating it out leaves det Λ^(−½)·exp(−energy at r̂), and a mean of nβ·(‖r̂P − t‖² + tr PPᵀΛ⁻¹). The layers
    /// below are drawn from the localisation itself, and these factors are the weights.
    #[cfg(test)]
    pub(super) fn integrate(&self, seed: u32, n_samples: u32) -> (f64, f64) {
        use ontogeny_graph::{Purpose, Stream};

        let n_batches = 100_u32;
        let n_normals = 4 * (self.n_layers - 1);
        let batches: Vec<(f64, f64)> = (0..n_batches)
            .map(|batch| {
                let stream = Stream::new(seed, Purpose::Probe, u64::from(batch));
                let mut normals = vec![0.0_f32; n_normals];
                let (mut mass, mut moment) = (0.0, 0.0);
                for i in 0..n_samples / n_batches {
                    stream.normals(i, 0, &mut normals);
                    let mut product = [1.0, 0.0, 0.0, 1.0];
                    for layer in normals.chunks(4) {
                        let mut w = [1.0, 0.0, 0.0, 0.0];
                        w.iter_mut().zip(layer).for_each(|(w, z)| *w += f64::from(*z) / LOCALIZATION.sqrt());
                        product = multiply(w, product);
                    }
                    let (weight, energy) = last_layer(product);
                    mass += weight;
                    moment += weight * energy;
                }
                (mass, moment)
            })
            .collect();
        let (mass, moment) = batches.iter().fold((0.0, 0.0), |sum, b| (sum.0 + b.0, sum.1 + b.1));
        let mean = moment / mass;
        // Linearised error of a ratio of means, from independent batches.
        let squares: f64 = batches.iter().map(|(m, e)| (e - mean * m).powi(2)).sum();
        let n = f64::from(n_batches);
        (mean, (squares * n / (n - 1.0)).sqrt() / mass)
    }
}

#[cfg(test)]
fn multiply(a: [f64; 4], b: [f64; 4]) -> [f64; 4] {
    [a[0] * b[0] + a[1] * b[2], a[0] * b[1] + a[1] * b[3], a[2] * b[0] + a[3] * b[2], a[2] * b[1] + a[3] * b[3]]
}

/// Weight and mean energy of both rows of the last layer over the product of those below.
#[cfg(test)]
fn last_layer(p: [f64; 4]) -> (f64, f64) {
    // PPᵀ = [[a, b], [b, d]] and the precision.
    let (a, b, d) = (p[0] * p[0] + p[1] * p[1], p[0] * p[2] + p[1] * p[3], p[2] * p[2] + p[3] * p[3]);
    let (la, lb, ld) = (2.0 * N_BETA * a + LOCALIZATION, 2.0 * N_BETA * b, 2.0 * N_BETA * d + LOCALIZATION);
    let determinant = la * ld - lb * lb;
    let trace = (a * ld - 2.0 * b * lb + d * la) / determinant;
    // The second row is r* = 0, t = 0: nothing pulls it.
    let (weight, energy) = (1.0 / determinant, 2.0 * N_BETA * trace);
    // The first is r* = t = (1, 0), with Pt the first column of P.
    let (u, v) = (2.0 * N_BETA * p[0] + LOCALIZATION, 2.0 * N_BETA * p[2]);
    let r = [(ld * u - lb * v) / determinant, (la * v - lb * u) / determinant];
    let q = [r[0] * p[0] + r[1] * p[2] - 1.0, r[0] * p[1] + r[1] * p[3]];
    let residual = N_BETA * (q[0] * q[0] + q[1] * q[1]);
    let pull = 0.5 * LOCALIZATION * ((r[0] - 1.0).powi(2) + r[1] * r[1]);
    (weight * (-residual - pull).exp(), energy + residual)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_means_are_those_of_the_integral() {
        for network in [TWO_LAYERS, THREE_LAYERS] {
            let (mean, error) = network.integrate(1, 400_000);
            assert!(error < 0.01, "{error}");
            let distance = (mean - network.mean).abs();
            assert!(distance < 4.5 * error.hypot(network.error), "{mean} ± {error}, committed {network:?}");
        }
    }
}
