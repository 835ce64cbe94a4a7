//! Fourier analysis on the grid of all pairs (a, b) modulo p: the frequencies of neurons, the trigonometric part of
//! logits, the sparsity of matrices.

use std::f64::consts::TAU;

use ontogeny_graph::cross_entropy;
use ontogeny_stats::gini;

/// A neuron counts for its frequency when more than this share of its variance lies in it (Nanda et al. 2023 find
/// 84.6 % of the neurons of their network beyond it).
pub const KEY_NEURON_SHARE: f64 = 0.85;

/// The waves of the orthonormal real Fourier basis modulo p: cosine and sine of each frequency 1..=(p−1)/2.
///
/// No measure here needs the constant or, for even p, the alternating vector of frequency p/2, which has no sine.
#[derive(Debug, Clone)]
pub struct FourierBasis {
    p: usize,
    /// Cosine and sine of frequency k at k − 1, one value for each residue.
    waves: Vec<[Vec<f64>; 2]>,
}

/// Numbers on the grid of all pairs: `width` values for each, the pair (a, b) in row a·p + b.
#[derive(Debug, Clone, Copy)]
pub struct GridData<'a> {
    /// `[p², width]`, row-major.
    pub values: &'a [f32],
    /// Values of one pair, at least 1.
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
    /// The basis of residues modulo `p`, which must be at least 3.
    pub fn new(p: usize) -> Self {
        let norm = (2.0 / p as f64).sqrt();
        // k·a is reduced before it becomes an angle, so that the cosine is exact to rounding for every p.
        let wave = |k: usize, f: fn(f64) -> f64| -> Vec<f64> {
            (0..p).map(|a| norm * f(TAU * ((k * a) % p) as f64 / p as f64)).collect()
        };
        let waves = (1..=(p - 1) / 2).map(|k| [wave(k, f64::cos), wave(k, f64::sin)]).collect();
        Self { p, waves }
    }

    /// Number of frequencies with a cosine and a sine: (p−1)/2, rounded down.
    pub fn n_frequencies(&self) -> usize {
        self.waves.len()
    }

    /// For each neuron the frequency k whose block {1, cos, sin}² without the constant holds the largest share of the
    /// variance of its activation over the grid, counted where that share is above [`KEY_NEURON_SHARE`] (Nanda et al.
    /// 2023, section 4; the threshold makes it an event). `neurons` holds p² rows.
    pub fn key_frequencies(&self, neurons: GridData<'_>) -> KeyFrequencies {
        let mut n_neurons = vec![0; self.n_frequencies()];
        for (k, share) in self.neuron_shares(neurons).into_iter().flatten() {
            if share > KEY_NEURON_SHARE {
                n_neurons[k - 1] += 1;
            }
        }
        KeyFrequencies { n_neurons }
    }

    /// (best frequency, its share of the variance, 0 to 1) of each neuron; `None` for one with the same activation on
    /// all pairs. `neurons` holds p² rows.
    ///
    /// Of the eight directions of frequency k, four are waves in a or in b alone, and the other four, the products of
    /// cosines and sines, span the waves cos and sin of k(a+b) and k(a−b). Each of the eight is thus constant along one
    /// of four families of lines, and sums along those lines are all that a neuron's shares depend on.
    pub fn neuron_shares(&self, neurons: GridData<'_>) -> Vec<Option<(usize, f64)>> {
        let (p, width) = (self.p, neurons.width);
        let families: [fn(usize, usize, usize) -> usize; 4] =
            [|a, _, _| a, |_, b, _| b, |a, b, p| (a + b) % p, |a, b, p| (a + p - b) % p];
        let sums = families.map(|line| self.line_sums(neurons, line));
        let power: Vec<Vec<f64>> = (1..=self.n_frequencies())
            .map(|k| {
                let mut power = vec![0.0; width];
                for coefficients in sums.iter().flat_map(|sums| self.coefficients(k, sums)) {
                    add_squares(&mut power, &coefficients);
                }
                power
            })
            .collect();

        let variance = self.sums_of_squared_deviations(neurons, &sums[0]);
        let first = &neurons.values[..width];
        (0..width)
            .map(|n| {
                let column = neurons.values[n..].iter().step_by(width);
                if column.clone().all(|x| *x == first[n]) {
                    return None;
                }
                // A sum along a line of p pairs meets a unit wave on the grid with the factor 1/√p.
                let shares = power.iter().map(|power| power[n] / (p as f64 * variance[n]));
                (1..).zip(shares).max_by(|x, y| x.1.total_cmp(&y.1))
            })
            .collect()
    }

    /// The part of logits on the grid that lies in cos k(a+b) and sin k(a+b) of the given frequencies, each of them from
    /// 1 to (p−1)/2 and given once. It depends on the sum alone: `[p, width]`, in row s the part of all pairs with
    /// a + b = s modulo p. `logits` holds p² rows.
    pub fn trigonometric_part(&self, logits: GridData<'_>, keys: &[usize]) -> Vec<f64> {
        let (p, width) = (self.p, logits.width);
        let sums = self.line_sums(logits, |a, b, p| (a + b) % p);
        let mut part = vec![0.0; p * width];
        for &k in keys {
            for (wave, coefficients) in self.waves[k - 1].iter().zip(self.coefficients(k, &sums)) {
                for (row, &height) in part.chunks_exact_mut(width).zip(wave) {
                    // Once 1/√p for the projection and once for the wave's own height on the grid.
                    add_scaled(row, height / p as f64, &coefficients);
                }
            }
        }
        part
    }

    /// Restricted losses (Nanda et al. 2023, section 5.1): for each list of pairs the mean cross-entropy, in nats, of
    /// the trigonometric part of the logits plus their mean over all pairs. `logits` holds p² rows, `targets` a class
    /// below the width for each; NaN for an empty list.
    pub fn restricted_losses(
        &self,
        logits: GridData<'_>,
        keys: &[usize],
        targets: &[i32],
        sets: &[&[usize]],
    ) -> Vec<f64> {
        let width = logits.width;
        let mut restricted = self.trigonometric_part(logits, keys);
        let n_pairs = (self.p * self.p) as f64;
        let mut mean = vec![0.0; width];
        for row in self.line_sums(logits, |a, _, _| a).chunks_exact(width) {
            add_scaled(&mut mean, 1.0 / n_pairs, row);
        }
        for row in restricted.chunks_exact_mut(width) {
            add_scaled(row, 1.0, &mean);
        }
        let loss = |&pair: &usize| {
            let row = &restricted[self.sum_of(pair) * width..][..width];
            cross_entropy(row, targets[pair] as usize)
        };
        sets.iter().map(|pairs| mean_of(pairs.iter().map(loss))).collect()
    }

    /// Excluded loss (Nanda et al. 2023, section 5.1): the mean cross-entropy over the chosen pairs, in nats, of the
    /// logits without their trigonometric part. Arguments as for [`Self::restricted_losses`].
    pub fn excluded_loss(&self, logits: GridData<'_>, keys: &[usize], targets: &[i32], pairs: &[usize]) -> f64 {
        let width = logits.width;
        let part = self.trigonometric_part(logits, keys);
        let mut excluded = vec![0.0; width];
        let loss = |&pair: &usize| {
            let whole = &logits.values[pair * width..][..width];
            let part = &part[self.sum_of(pair) * width..][..width];
            for ((rest, &z), part) in excluded.iter_mut().zip(whole).zip(part) {
                *rest = f64::from(z) - part;
            }
            cross_entropy(&excluded, targets[pair] as usize)
        };
        mean_of(pairs.iter().map(loss))
    }

    /// Norm of cosine and sine component together of each frequency 1..=(p−1)/2, for a matrix whose rows are the
    /// residues: `[p, width]`, row-major, `width` at least 1.
    pub fn frequency_norms(&self, matrix: &[f64], width: usize) -> Vec<f64> {
        let norm = |k| {
            let mut power = vec![0.0; width];
            for coefficients in self.coefficients(k, matrix) {
                add_squares(&mut power, &coefficients);
            }
            power.iter().sum::<f64>().sqrt()
        };
        (1..=self.n_frequencies()).map(norm).collect()
    }

    /// Gini coefficient of [`Self::frequency_norms`]: 0 when all frequencies weigh the same, 1 − 2/(p−1) when one does
    /// everything. `None` for a matrix without any frequency or with a value that is not finite.
    pub fn frequency_gini(&self, matrix: &[f64], width: usize) -> Option<f64> {
        gini(&self.frequency_norms(matrix, width))
    }

    /// Sums of the values over the pairs of each line, `[p, width]`; `line` tells the line of (a, b) modulo p.
    fn line_sums(&self, data: GridData<'_>, line: fn(usize, usize, usize) -> usize) -> Vec<f64> {
        let (p, width) = (self.p, data.width);
        let mut sums = vec![0.0; p * width];
        for (pair, values) in data.values.chunks_exact(width).enumerate() {
            let sum = &mut sums[line(pair / p, pair % p, p) * width..][..width];
            sum.iter_mut().zip(values).for_each(|(sum, &x)| *sum += f64::from(x));
        }
        sums
    }

    /// Products of the cosine and of the sine of frequency k with the columns of a matrix `[p, width]`.
    fn coefficients(&self, k: usize, matrix: &[f64]) -> [Vec<f64>; 2] {
        let width = matrix.len() / self.p;
        self.waves[k - 1].each_ref().map(|wave| {
            let mut product = vec![0.0; width];
            for (values, &weight) in matrix.chunks_exact(width).zip(wave) {
                add_scaled(&mut product, weight, values);
            }
            product
        })
    }

    /// Σ (x − mean)² of each column over the grid, from the sums of its rows of p pairs.
    fn sums_of_squared_deviations(&self, data: GridData<'_>, sums: &[f64]) -> Vec<f64> {
        let n_pairs = (self.p * self.p) as f64;
        let mut mean = vec![0.0; data.width];
        for row in sums.chunks_exact(data.width) {
            add_scaled(&mut mean, 1.0 / n_pairs, row);
        }
        let mut squares = vec![0.0; data.width];
        for pair in data.values.chunks_exact(data.width) {
            for ((square, &x), mean) in squares.iter_mut().zip(pair).zip(&mean) {
                *square += (f64::from(x) - mean).powi(2);
            }
        }
        squares
    }

    fn sum_of(&self, pair: usize) -> usize {
        (pair / self.p + pair % self.p) % self.p
    }
}

fn add_scaled(to: &mut [f64], factor: f64, values: &[f64]) {
    to.iter_mut().zip(values).for_each(|(to, x)| *to += factor * x);
}

fn add_squares(to: &mut [f64], values: &[f64]) {
    to.iter_mut().zip(values).for_each(|(to, x)| *to += x * x);
}

fn mean_of(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let n = values.len() as f64;
    values.sum::<f64>() / n
}

#[cfg(test)]
mod tests {
    use ontogeny_graph::{Purpose, Stream};

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
        for (pair, row) in logits.chunks_exact(p).enumerate() {
            let part = &part[basis.sum_of(pair) * p..][..p];
            // f32 logits of size 5: half an ulp is 2.4e-7.
            assert!(part.iter().zip(row).all(|(x, &z)| (x - f64::from(z)).abs() < 5e-7));
        }
        let targets: Vec<i32> = (0..p * p).map(|pair| basis.sum_of(pair) as i32).collect();
        let pairs: Vec<usize> = (0..p * p).collect();
        // Nothing is left over but rounding, so that all p classes are equally likely.
        let excluded = basis.excluded_loss(grid, &keys, &targets, &pairs);
        assert!((excluded - (p as f64).ln()).abs() < 1e-6, "{excluded}");
        // Their mean over all pairs is 0, so that restricting them changes nothing either.
        let whole = mean_of(pairs.iter().map(|&pair| {
            let row: Vec<f64> = logits[pair * p..][..p].iter().map(|&z| z.into()).collect();
            cross_entropy(&row, targets[pair] as usize)
        }));
        let restricted = basis.restricted_losses(grid, &keys, &targets, &[&pairs]);
        assert!((restricted[0] - whole).abs() < 1e-6, "{restricted:?} {whole}");
    }

    #[test]
    fn the_waves_are_orthonormal_for_odd_and_even_p() {
        for p in [3, 7, 10, 53] {
            let basis = FourierBasis::new(p);
            let rows: Vec<&Vec<f64>> = basis.waves.iter().flatten().collect();
            assert_eq!(rows.len(), 2 * ((p - 1) / 2));
            for (i, x) in rows.iter().enumerate() {
                assert!(x.iter().sum::<f64>().abs() < 1e-12, "not the constant");
                for (j, y) in rows.iter().enumerate() {
                    let product: f64 = x.iter().zip(*y).map(|(x, y)| x * y).sum();
                    assert!((product - f64::from(i == j)).abs() < 1e-12);
                }
            }
        }
    }

    #[test]
    fn line_sums_give_the_shares_of_the_definition() {
        for p in [3, 8, 11] {
            let mut values = vec![0.0; p * p];
            Stream::new(p as u32, Purpose::Initialization, 0).normals(0, 0, &mut values);
            let basis = FourierBasis::new(p);
            let constant = vec![1.0 / (p as f64).sqrt(); p];
            let grid = |pair: usize| f64::from(values[pair]);
            // Projection on the product of one vector over a and one over b.
            let power = |x: &[f64], y: &[f64]| {
                (0..p * p).map(|pair| x[pair / p] * y[pair % p] * grid(pair)).sum::<f64>().powi(2)
            };
            let total = (0..p * p).map(|pair| grid(pair).powi(2)).sum::<f64>();
            let variance = total - power(&constant, &constant);
            let shares = basis.waves.iter().map(|[cosine, sine]| {
                let block = [&constant, cosine, sine];
                let sum: f64 = block.iter().flat_map(|x| block.iter().map(|y| power(x, y))).sum();
                (sum - power(&constant, &constant)) / variance
            });
            let (k, share) = (1..).zip(shares).max_by(|x, y| x.1.total_cmp(&y.1)).unwrap();
            let found = basis.neuron_shares(GridData { values: &values, width: 1 });
            let (found_k, found_share) = found[0].unwrap();
            assert_eq!(found_k, k, "p = {p}");
            assert!((found_share - share).abs() < 1e-12, "p = {p}: {found_share} {share}");
        }
    }

    #[test]
    fn neurons_of_one_frequency_are_found_and_dead_ones_are_not() {
        let p = 11;
        let mut values = Vec::new();
        for a in 0..p {
            for b in 0..p {
                let wave = |x: usize| (TAU * (3 * x) as f64 / p as f64).cos();
                values.extend([(wave(a) + wave(b)) as f32, 0.0, 2.1]);
            }
        }
        let neurons = GridData { values: &values, width: 3 };
        let basis = FourierBasis::new(p);
        let shares = basis.neuron_shares(neurons);
        assert_eq!(shares[0].map(|(k, _)| k), Some(3));
        // f32 activations: the share left over is at most the square of 6e-8.
        assert!(shares[0].is_some_and(|(_, share)| (share - 1.0).abs() < 1e-12));
        assert_eq!(&shares[1..], [None, None]);
        assert_eq!(basis.key_frequencies(neurons).n_neurons, [0, 0, 1, 0, 0]);
        assert_eq!(basis.key_frequencies(neurons).keys(), [3]);
    }
}
