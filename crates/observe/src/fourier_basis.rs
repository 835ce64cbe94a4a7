//! Fourier analysis on the grid of all pairs (a, b) modulo p: neuron frequencies, and the trigonometric part of logits.

use std::f64::consts::TAU;

use ontogeny_graph::cross_entropy;
use ontogeny_stats::gini;

/// A neuron counts for its frequency when more than this share of its variance lies in it (Nanda et al. 2023 find
/// 84.6 % of the neurons of their network beyond it).
pub const KEY_NEURON_SHARE: f64 = 0.85;

/// The orthonormal real Fourier basis modulo p: the constant, then cos and sin of each frequency 1..=(p−1)/2 (and, for
/// even p, the alternating row p/2).
#[derive(Debug, Clone)]
pub struct FourierBasis {
    p: usize,
    /// [row][residue]: row 0 the constant, rows 2k−1 and 2k cosine and sine of frequency k.
    rows: Vec<Vec<f64>>,
}

/// Numbers on the grid: example a·p + b, `width` values each, row-major.
#[derive(Debug, Clone, Copy)]
pub struct GridData<'a> {
    /// [p², width].
    pub values: &'a [f32],
    /// Values of one pair.
    pub width: usize,
}

/// Frequencies that neurons compute with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFrequencies {
    /// For each frequency 1..=(p−1)/2, how many neurons have it as their best with more than [`KEY_NEURON_SHARE`].
    pub n_neurons: Vec<usize>,
}

impl KeyFrequencies {
    /// Frequencies of at least one neuron, ascending.
    pub fn keys(&self) -> Vec<usize> {
        (1..=self.n_neurons.len()).filter(|k| self.n_neurons[k - 1] > 0).collect()
    }
}

impl FourierBasis {
    /// The basis of residues modulo `p` (at least 3).
    pub fn new(p: usize) -> Self {
        let normalised = |row: Vec<f64>| {
            let norm = row.iter().map(|x| x * x).sum::<f64>().sqrt();
            row.into_iter().map(|x| x / norm).collect::<Vec<_>>()
        };
        // The angle of k·a is reduced before the cosine, so that it is exact to rounding for every p.
        let wave = |k: usize, f: fn(f64) -> f64| {
            normalised((0..p).map(|a| f(TAU * ((k * a) % p) as f64 / p as f64)).collect())
        };
        let mut rows = vec![normalised(vec![1.0; p])];
        for k in 1..=(p - 1) / 2 {
            rows.push(wave(k, f64::cos));
            rows.push(wave(k, f64::sin));
        }
        if p.is_multiple_of(2) {
            rows.push(wave(p / 2, f64::cos));
        }
        Self { p, rows }
    }

    /// Number of frequencies with a cosine and a sine.
    pub fn n_frequencies(&self) -> usize {
        (self.p - 1) / 2
    }

    /// For each neuron the frequency whose 3×3 block {1, cos, sin}² (without the constant) holds the largest share of
    /// the variance of its activation over the grid, counted where that share is above [`KEY_NEURON_SHARE`]. A neuron
    /// that never varies has none. (Recipe: Nanda et al. 2023, section 4; the threshold makes it an event.)
    pub fn key_frequencies(&self, neurons: GridData<'_>) -> KeyFrequencies {
        let mut n_neurons = vec![0; self.n_frequencies()];
        for (k, share) in self.neuron_shares(neurons).into_iter().flatten() {
            if share > KEY_NEURON_SHARE {
                n_neurons[k - 1] += 1;
            }
        }
        KeyFrequencies { n_neurons }
    }

    /// (best frequency, its share of the variance) of each neuron; `None` for one that never varies.
    pub fn neuron_shares(&self, neurons: GridData<'_>) -> Vec<Option<(usize, f64)>> {
        let (p, width) = (self.p, neurons.width);
        // Along b first: [a][row][neuron].
        let mut half = vec![0.0; p * self.rows.len() * width];
        for a in 0..p {
            for (r, row) in self.rows.iter().enumerate() {
                let out = &mut half[(a * self.rows.len() + r) * width..][..width];
                for (b, &weight) in row.iter().enumerate() {
                    let values = &neurons.values[(a * p + b) * width..][..width];
                    out.iter_mut().zip(values).for_each(|(sum, &x)| *sum += weight * f64::from(x));
                }
            }
        }
        // Σ over a of row_i(a)·half[a][j][neuron], squared.
        let power = |i: usize, j: usize| {
            let mut sums = vec![0.0; width];
            for (a, &weight) in self.rows[i].iter().enumerate() {
                let values = &half[(a * self.rows.len() + j) * width..][..width];
                sums.iter_mut().zip(values).for_each(|(sum, x)| *sum += weight * x);
            }
            sums.iter_mut().for_each(|x| *x *= *x);
            sums
        };
        let constant = power(0, 0);
        let mut total = vec![0.0; width];
        for pair in neurons.values.chunks_exact(width) {
            total.iter_mut().zip(pair).for_each(|(sum, &x)| *sum += f64::from(x).powi(2));
        }
        let mut best: Vec<Option<(usize, f64)>> = vec![None; width];
        for k in 1..=self.n_frequencies() {
            let (cosine, sine) = (2 * k - 1, 2 * k);
            let mut block = vec![0.0; width];
            for i in [0, cosine, sine] {
                for j in [0, cosine, sine] {
                    if (i, j) != (0, 0) {
                        block.iter_mut().zip(power(i, j)).for_each(|(sum, x)| *sum += x);
                    }
                }
            }
            for n in 0..width {
                let variance = total[n] - constant[n];
                // Rounding alone leaves about p²·ε of the mean square.
                if variance <= 1e-12 * total[n].max(f64::MIN_POSITIVE) {
                    continue;
                }
                let share = block[n] / variance;
                if best[n].is_none_or(|(_, other)| share > other) {
                    best[n] = Some((k, share));
                }
            }
        }
        best
    }

    /// The part of logits on the grid that lies in cos k(a+b) and sin k(a+b) of the given frequencies, [p², width].
    pub fn trigonometric_part(&self, logits: GridData<'_>, keys: &[usize]) -> Vec<f64> {
        let (p, width) = (self.p, logits.width);
        let mut part = vec![0.0; p * p * width];
        let root = std::f64::consts::FRAC_1_SQRT_2;
        for &k in keys {
            let (cosine, sine) = (&self.rows[2 * k - 1], &self.rows[2 * k]);
            // cos k(a+b) = cos·cos − sin·sin and sin k(a+b) = sin·cos + cos·sin, of unit norm.
            let directions: [Box<dyn Fn(usize, usize) -> f64>; 2] = [
                Box::new(move |a, b| root * (cosine[a] * cosine[b] - sine[a] * sine[b])),
                Box::new(move |a, b| root * (sine[a] * cosine[b] + cosine[a] * sine[b])),
            ];
            for direction in directions {
                let mut coefficients = vec![0.0; width];
                for (pair, row) in logits.values.chunks_exact(width).enumerate() {
                    let weight = direction(pair / p, pair % p);
                    coefficients.iter_mut().zip(row).for_each(|(sum, &z)| *sum += weight * f64::from(z));
                }
                for (pair, row) in part.chunks_exact_mut(width).enumerate() {
                    let weight = direction(pair / p, pair % p);
                    row.iter_mut().zip(&coefficients).for_each(|(z, c)| *z += weight * c);
                }
            }
        }
        part
    }

    /// Mean cross-entropy over the chosen pairs of the trigonometric part of the logits plus their mean over all pairs
    /// (Nanda et al. 2023, restricted loss). One value for each list of pairs.
    pub fn restricted_losses(&self, logits: GridData<'_>, keys: &[usize], targets: &[i32], sets: &[&[usize]]) -> Vec<f64> {
        let width = logits.width;
        let mut restricted = self.trigonometric_part(logits, keys);
        let n = (self.p * self.p) as f64;
        let mut mean = vec![0.0; width];
        for row in logits.values.chunks_exact(width) {
            mean.iter_mut().zip(row).for_each(|(sum, &z)| *sum += f64::from(z) / n);
        }
        for row in restricted.chunks_exact_mut(width) {
            row.iter_mut().zip(&mean).for_each(|(z, m)| *z += m);
        }
        sets.iter().map(|pairs| mean_loss(&restricted, width, targets, pairs)).collect()
    }

    /// Mean cross-entropy over the chosen pairs of the logits without their trigonometric part (excluded loss).
    pub fn excluded_loss(&self, logits: GridData<'_>, keys: &[usize], targets: &[i32], pairs: &[usize]) -> f64 {
        let mut excluded = self.trigonometric_part(logits, keys);
        excluded.iter_mut().zip(logits.values).for_each(|(part, &z)| *part = f64::from(z) - *part);
        mean_loss(&excluded, logits.width, targets, pairs)
    }

    /// Norm of each frequency's cosine and sine component of a matrix whose rows are the residues, [p, width].
    pub fn frequency_norms(&self, matrix: &[f64], width: usize) -> Vec<f64> {
        let square = |row: &[f64]| -> f64 {
            let mut sums = vec![0.0; width];
            for (residue, &weight) in row.iter().enumerate() {
                let values = &matrix[residue * width..][..width];
                sums.iter_mut().zip(values).for_each(|(sum, x)| *sum += weight * x);
            }
            sums.iter().map(|x| x * x).sum()
        };
        (1..=self.n_frequencies()).map(|k| (square(&self.rows[2 * k - 1]) + square(&self.rows[2 * k])).sqrt()).collect()
    }

    /// Gini coefficient of the frequency norms of a matrix [p, width]: 0 when all frequencies weigh the same, near 1
    /// when one does everything.
    pub fn frequency_gini(&self, matrix: &[f64], width: usize) -> Option<f64> {
        gini(&self.frequency_norms(matrix, width))
    }
}

fn mean_loss(logits: &[f64], width: usize, targets: &[i32], pairs: &[usize]) -> f64 {
    let loss = |&pair: &usize| cross_entropy(&logits[pair * width..][..width], targets[pair] as usize);
    pairs.iter().map(loss).sum::<f64>() / pairs.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Logits Σ_k cos(2πk(a + b − c)/p): a perfect Fourier multiplication.
    fn trigonometric_logits(p: usize, keys: &[usize]) -> Vec<f32> {
        let mut logits = Vec::new();
        for a in 0..p {
            for b in 0..p {
                for c in 0..p {
                    let angle = |k: usize| TAU * (k * (a + b + p - c) % p) as f64 / p as f64;
                    logits.push(keys.iter().map(|&k| angle(k).cos()).sum::<f64>() as f32);
                }
            }
        }
        logits
    }

    #[test]
    fn trigonometric_logits_are_their_own_restriction_and_nothing_is_left_over() {
        let (p, keys) = (113, [14, 35, 41, 42, 52]);
        let basis = FourierBasis::new(p);
        let logits = trigonometric_logits(p, &keys);
        let grid = GridData { values: &logits, width: p };
        let part = basis.trigonometric_part(grid, &keys);
        // f32 logits of size 5: half an ulp is 2.4e-7.
        assert!(part.iter().zip(&logits).all(|(x, &z)| (x - f64::from(z)).abs() < 5e-7));
        let targets: Vec<i32> = (0..p * p).map(|pair| ((pair / p + pair % p) % p) as i32).collect();
        let pairs: Vec<usize> = (0..p * p).collect();
        let excluded = basis.excluded_loss(grid, &keys, &targets, &pairs);
        assert!((excluded - (p as f64).ln()).abs() < 1e-5, "{excluded}"); // ln 113 = 4.7274
        let right = logits.chunks_exact(p).zip(&targets).all(|(row, &t)| {
            row.iter().enumerate().all(|(c, z)| c == t as usize || *z < row[t as usize])
        });
        assert!(right);
    }

    #[test]
    fn the_basis_is_orthonormal_for_odd_and_even_p() {
        for p in [3, 7, 10, 53] {
            let basis = FourierBasis::new(p);
            assert_eq!(basis.rows.len(), p);
            for i in 0..p {
                for j in 0..p {
                    let product: f64 = basis.rows[i].iter().zip(&basis.rows[j]).map(|(x, y)| x * y).sum();
                    assert!((product - f64::from(i == j)).abs() < 1e-12);
                }
            }
        }
    }

    #[test]
    fn neurons_of_one_frequency_are_found_and_dead_ones_are_not() {
        let p = 11;
        let mut values = Vec::new();
        for a in 0..p {
            for b in 0..p {
                let wave = (TAU * (3 * a) as f64 / p as f64).cos() + (TAU * (3 * b) as f64 / p as f64).cos();
                values.extend([wave as f32, 0.0, 2.5]);
            }
        }
        let shares = FourierBasis::new(p).neuron_shares(GridData { values: &values, width: 3 });
        assert_eq!(shares[0].map(|(k, _)| k), Some(3));
        assert!(shares[0].is_some_and(|(_, share)| (share - 1.0).abs() < 1e-6));
        assert_eq!(&shares[1..], [None, None]);
    }
}
