//! What is said of a spectrum: sums over eigenvalues with their errors, effective dimensions, and counts on a fixed grid.

use ontogeny_graph::SpectralDensity;

/// A number with its standard error; 0 where there is none.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Estimate {
    pub(super) value: f64,
    pub(super) error: f64,
}

/// The eigenvalues of a symmetric matrix: all of them, or what random probes say about them.
#[derive(Debug, Clone)]
pub(super) struct Spectrum {
    /// Nodes and weights of each probe: n·Σ weight·f(node) estimates Σ f(λ). Of known eigenvalues one probe of equal weights.
    probes: Vec<Vec<(f64, f64)>>,
    /// The same with a node held at zero, for bounds; none of known eigenvalues.
    from_below: Vec<Vec<(f64, f64)>>,
    n: usize,
    /// Largest |λ|.
    radius: f64,
}

impl Spectrum {
    /// Of all eigenvalues.
    pub(super) fn exact(eigenvalues: &[f64]) -> Self {
        let n = eigenvalues.len();
        let radius = eigenvalues.iter().fold(0.0_f64, |a, x| a.max(x.abs()));
        let probes = vec![eigenvalues.iter().map(|&value| (value, 1.0 / n as f64)).collect()];
        Self { probes, from_below: Vec::new(), n, radius }
    }

    /// Of the quadratures of probes of an n × n matrix whose largest |λ| is `radius`.
    pub(super) fn sampled(density: &SpectralDensity, n: usize, radius: f64) -> Self {
        Self { probes: density.nodes().to_vec(), from_below: density.nodes_from_below().to_vec(), n, radius }
    }

    /// Σ f(λ) for f = 1, λ, λ², which a quadrature gives exactly, or of a known spectrum, for any f. The error is that between
    /// probes; a known spectrum has none.
    pub(super) fn sum_of(&self, f: impl Fn(f64) -> f64) -> Estimate {
        mean(&self.of_each_probe(&self.probes, f))
    }

    /// √Σλ², the Frobenius norm of the matrix.
    pub(super) fn frobenius_norm(&self) -> Estimate {
        let square = self.sum_of(|x| x * x);
        let value = square.value.max(0.0).sqrt();
        Estimate { value, error: if value > 0.0 { square.error / (2.0 * value) } else { 0.0 } }
    }

    /// (Σλ)²/Σλ²; 0 of a matrix of zeros.
    ///
    /// E T̄² is (tr A)² plus the variance of T̄, which is taken off; the error is that of the ratio to first order in the
    /// probes' deviations from T̄ = Σλ and S̄ = Σλ².
    pub(super) fn participation_ratio(&self) -> Estimate {
        let (traces, squares) = (self.of_each_probe(&self.probes, |x| x), self.of_each_probe(&self.probes, |x| x * x));
        let (trace, square) = (mean(&traces), mean(&squares));
        if square.value <= 0.0 {
            return Estimate { value: 0.0, error: 0.0 };
        }
        let ratio = ((trace.value.powi(2) - trace.error.powi(2)) / square.value).max(0.0);
        let deviation =
            |(t, s): (&f64, &f64)| (2.0 * trace.value * (t - trace.value) - ratio * (s - square.value)) / square.value;
        let deviations: Vec<f64> = traces.iter().zip(&squares).map(deviation).collect();
        Estimate { value: ratio, error: mean(&deviations).error }
    }

    /// Σ λ⁺/(λ⁺ + α) with λ⁺ = max(λ, 0), of a matrix without negative eigenvalues, or of a known spectrum.
    ///
    /// Quadratures of few nodes miss some of it where α is far below the largest eigenvalue. They are wrong to either side, so the
    /// value is the middle between the two, and half of what lies between is part of the error.
    pub(super) fn mackay(&self, alpha: f64) -> Estimate {
        let f = |x: f64| x.max(0.0) / (x.max(0.0) + alpha);
        let above = self.sum_of(f);
        if self.is_known() {
            return above;
        }
        let below = mean(&self.of_each_probe(&self.from_below, f));
        let half = (above.value - below.value) / 2.0;
        Estimate { value: below.value + half, error: above.error.max(below.error).hypot(half) }
    }

    /// Σ|λ|/max|λ|, of a matrix without negative eigenvalues, or of a known spectrum; 0 of a matrix of zeros.
    pub(super) fn stable_rank(&self) -> Estimate {
        if self.radius == 0.0 {
            return Estimate { value: 0.0, error: 0.0 };
        }
        self.sum_of(|x| x.abs() / self.radius)
    }

    /// How many |λ| of a known spectrum are above `threshold`·max|λ|; quadratures put clusters of small ones anywhere near.
    pub(super) fn rank(&self, threshold: f64) -> Estimate {
        self.sum_of(|x| f64::from(u8::from(x.abs() > threshold * self.radius)))
    }

    fn of_each_probe(&self, probes: &[Vec<(f64, f64)>], f: impl Fn(f64) -> f64) -> Vec<f64> {
        let of = |nodes: &Vec<(f64, f64)>| nodes.iter().map(|&(node, weight)| weight * f(node)).sum::<f64>();
        probes.iter().map(|nodes| self.n as f64 * of(nodes)).collect()
    }

    /// How many eigenvalues there are in each bin of the grid; they add up to n.
    ///
    /// A node of a quadrature stands for all eigenvalues that are nearer to it than to the next: what it counts is spread evenly
    /// over the bins half-way to its neighbours. (Left at one place, the bulk would be a few spikes between which there is nothing.)
    pub(super) fn counts(&self, grid: &Grid) -> Vec<f64> {
        let mut counts = vec![0.0; grid.len()];
        let share = self.n as f64 / self.probes.len() as f64;
        for nodes in &self.probes {
            let places: Vec<f64> = nodes.iter().map(|(node, _)| grid.place(*node)).collect();
            for (at, &(_, weight)) in nodes.iter().enumerate() {
                let own = places[at];
                let half_way =
                    |other: Option<&f64>| other.filter(|_| !self.is_known()).map_or(own, |&p| f64::midpoint(own, p));
                let [low, high] =
                    [half_way(at.checked_sub(1).map(|before| &places[before])), half_way(places.get(at + 1))];
                spread(share * weight, low, high, &mut counts);
            }
        }
        counts
    }

    /// Whether all eigenvalues are known.
    fn is_known(&self) -> bool {
        self.from_below.is_empty()
    }
}

/// Adds `count` evenly to the bins between two places.
fn spread(count: f64, low: f64, high: f64, counts: &mut [f64]) {
    let last = counts.len() - 1;
    let bin = |place: f64| (place as usize).min(last);
    if high - low < 1e-9 {
        counts[bin(low)] += count;
        return;
    }
    for (at, own) in counts.iter_mut().enumerate().take(bin(high) + 1).skip(bin(low)) {
        let end = if at == last { f64::INFINITY } else { at as f64 + 1.0 };
        *own += count * (high.min(end) - low.max(at as f64)).max(0.0) / (high - low);
    }
}

/// Mean and standard error over probes; a single one is no sample.
fn mean(values: &[f64]) -> Estimate {
    let n = values.len() as f64;
    let value = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|x| (x - value).powi(2)).sum();
    let error = if values.len() > 1 { (squares / (n - 1.0) / n).sqrt() } else { 0.0 };
    Estimate { value, error }
}

/// Bins for eigenvalues, the same at every checkpoint: of equal width in log|λ| from `smallest` to `largest`, one bin about
/// zero, and those beyond the ends in the last ones.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Grid {
    smallest: f64,
    /// Bins on each side of zero.
    n_side: usize,
    has_negative: bool,
}

/// Bins in a decade.
const PER_DECADE: f64 = 4.0;

impl Grid {
    pub(super) fn new([smallest, largest]: [f64; 2], has_negative: bool) -> Self {
        let n_side = (PER_DECADE * (largest / smallest).log10() - 1e-9).ceil().max(1.0) as usize;
        Self { smallest, n_side, has_negative }
    }

    /// Number of bins.
    pub(super) fn len(&self) -> usize {
        self.n_side + 1 + if self.has_negative { self.n_side } else { 0 }
    }

    /// Where an eigenvalue is, in bins from the most negative on: bin i is from i to i + 1.
    fn place(&self, value: f64) -> f64 {
        let (zero, n_side) = (if self.has_negative { self.n_side as f64 } else { 0.0 }, self.n_side as f64);
        // Rounding must not put the end of a bin into its neighbour.
        let decades = (value.abs() / self.smallest).log10();
        let beyond = (PER_DECADE * decades + 1e-9).min(n_side);
        match (decades < 0.0, value > 0.0) {
            (true, _) if self.has_negative => zero + f64::midpoint(1.0, value / self.smallest),
            (true, _) => (value / self.smallest).max(0.0),
            (false, true) => zero + 1.0 + beyond,
            (false, false) => (zero - beyond).max(0.0),
        }
    }

    /// The eigenvalue in the middle of each bin, in its logarithm; 0 of the one about zero.
    pub(super) fn centres(&self) -> Vec<f64> {
        let centre = |place: usize| self.smallest * 10_f64.powf((place as f64 + 0.5) / PER_DECADE);
        let negative = (0..if self.has_negative { self.n_side } else { 0 }).rev().map(|place| -centre(place));
        negative.chain([0.0]).chain((0..self.n_side).map(centre)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use ontogeny_graph::{Purpose, Stream};

    use super::*;

    /// Eigenvalues spread over six decades, on a diagonal, where probes of signs have no error of their own: all there is is that
    /// of too few steps, and it is told.
    #[test]
    fn what_few_steps_miss_is_in_the_error() {
        let n = 400;
        let values: Vec<f64> = (0..n).map(|i| 10_f64.powf(-6.0 * i as f64 / n as f64)).collect();
        let exact = Spectrum::exact(&values);
        let mut errors = Vec::new();
        for steps in [8, 16, 32, 64, 128] {
            let stream = Stream::new(1, Purpose::Probe, 0);
            let apply = |v: &[f32], w: &mut [f32]| {
                w.iter_mut().zip(v).zip(&values).for_each(|((w, &v), &value)| *w = (value * f64::from(v)) as f32);
                Ok::<(), Infallible>(())
            };
            let density = SpectralDensity::estimate(n, 4, steps, &stream, apply).unwrap();
            let sampled = Spectrum::sampled(&density, n, 1.0);
            for alpha in [1e-2, 1e-4] {
                let [found, wanted] = [&sampled, &exact].map(|spectrum| spectrum.mackay(alpha));
                let off = (found.value - wanted.value).abs();
                // Products in f32 move each eigenvalue by at most half an ε, and the sum by 1/α times that.
                let rounding = n as f64 * f64::from(f32::EPSILON) / 2.0 / alpha;
                assert!(off <= found.error + rounding, "{steps} steps, α = {alpha}: {found:?}, {wanted:?}");
                if alpha == 1e-2 {
                    errors.push(found.error);
                }
            }
            assert!((sampled.sum_of(|x| x).value - exact.sum_of(|x| x).value).abs() < 1e-4);
        }
        assert!(errors.windows(2).all(|pair| pair[1] < pair[0] + 1e-3) && errors[4] < 0.1, "{errors:?}");
    }

    #[test]
    fn dimensions_of_spectra_in_closed_form() {
        for n in [1, 3, 50] {
            let mut values = vec![2.0; n];
            let identity = Spectrum::exact(&values);
            assert!((identity.participation_ratio().value - n as f64).abs() < 1e-12 * n as f64);
            assert!((identity.stable_rank().value - n as f64).abs() < 1e-12 * n as f64);
            assert!((identity.rank(1e-6).value - n as f64).abs() < 1e-12 * n as f64);
            assert!((identity.mackay(2.0).value - n as f64 / 2.0).abs() < 1e-12 * n as f64);
            // Zeros change none of them.
            values.extend([0.0; 7]);
            let padded = Spectrum::exact(&values);
            assert!((padded.participation_ratio().value - n as f64).abs() < 1e-12 * n as f64);
            assert!((padded.rank(1e-6).value - n as f64).abs() < 1e-12 * n as f64);
            assert_eq!(padded.participation_ratio().error, 0.0);
        }
        let spectrum = Spectrum::exact(&[1.0, 0.5]);
        assert!((spectrum.participation_ratio().value - 1.8).abs() < 1e-14);
        assert!((spectrum.stable_rank().value - 1.5).abs() < 1e-14);
        // 1/(1 + ½) + ½/(½ + ½).
        assert!((spectrum.mackay(0.5).value - (2.0 / 3.0 + 0.5)).abs() < 1e-14);
        let saddle = Spectrum::exact(&[3.0, -1.0, -4.0]);
        assert!((saddle.mackay(1.0).value - 0.75).abs() < 1e-14);
        assert!((saddle.stable_rank().value - 2.0).abs() < 1e-14);
        let zeros = Spectrum::exact(&[0.0; 4]);
        let found = [zeros.participation_ratio(), zeros.stable_rank(), zeros.rank(1e-6), zeros.mackay(1e-3)];
        assert!(found.iter().all(|estimate| *estimate == Estimate { value: 0.0, error: 0.0 }));
    }

    #[test]
    fn bins_are_where_their_centres_are_and_ends_take_what_is_beyond() {
        for has_negative in [true, false] {
            let grid = Grid::new([1e-3, 1e2], has_negative);
            assert_eq!(grid.len(), if has_negative { 41 } else { 21 });
            let centres = grid.centres();
            let bin = |value: f64| (grid.place(value) as usize).min(grid.len() - 1);
            assert_eq!(centres.len(), grid.len());
            assert!(centres.windows(2).all(|pair| pair[0] < pair[1]));
            for (at, centre) in centres.iter().enumerate() {
                assert_eq!(bin(*centre), at, "{centre}");
            }
            assert_eq!([bin(1e9), bin(-1e9)], [grid.len() - 1, 0]);
            assert_eq!([bin(-1e-5), bin(1e-5)], [bin(0.0); 2]);
            assert_eq!(bin(1e-3), bin(0.0) + 1);
            let counts = Spectrum::exact(&[1e-3, 0.0, -2.0, 1e9]).counts(&grid);
            assert_eq!((counts.iter().sum::<f64>(), counts[bin(0.0) + 1]), (4.0, 1.0));
        }
    }

    #[test]
    fn counts_are_spread_evenly_and_none_is_lost() {
        let mut counts = [0.0; 4];
        spread(2.0, 0.5, 2.5, &mut counts);
        assert_eq!(counts, [0.5, 1.0, 0.5, 0.0]);
        spread(1.0, 3.2, 3.2, &mut counts);
        // Beyond the end is in the last bin.
        spread(1.0, 4.0, 4.0, &mut counts);
        spread(4.0, 2.0, 4.0, &mut counts);
        assert_eq!(counts, [0.5, 1.0, 2.5, 4.0]);
    }
}
