//! Curvature of the loss at a checkpoint: largest eigenvalues, trace, density and effective dimensions.

mod operator;
mod spectrum;

use ontogeny_graph::{Purpose, SpectralDensity, SpectrumError, Stream, top_eigenpairs};
use ontogeny_stats::symmetric_eigenvalues;
use serde::{Deserialize, Serialize};

use crate::interventions::chosen_rows;
use crate::{Checkpoint, Findings, Instrument, Measured, ObserveError, Settings, Subject};
use operator::DataSetCurvature;
use spectrum::{Estimate, Grid, Spectrum};

/// Version of the numbers of [`CurvatureSettings`].
pub(crate) const CURVATURE_VERSION: u32 = 1;

/// Streams of [`Purpose::Probe`]: signs of the probes, and starts of the searches for eigenvalues.
const PROBES: u64 = 1 << 40;
const STARTS: u64 = (1 << 40) + 1;

/// Most products of one search for eigenvalues (PyHessian's `maxIter`), and the residual, relative to the largest |eigenvalue|,
/// at which it ends before (PyHessian's `tol`). The most negative may be far smaller than the largest; products in f32 tell it
/// no better than that.
const MAX_STEPS: usize = 100;
const TOLERANCE: f64 = 1e-3;
const LOWEST_TOLERANCE: f64 = 1e-6;

/// Which matrix over all weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CurvatureMatrix {
    /// Second derivatives of the mean loss.
    #[default]
    Hessian,
    /// JᵀHJ of the mean loss: J the derivatives of the answers by the weights, H those of the loss by the answers (Schraudolph 2002).
    GaussNewton,
    /// The Fisher information of the model's own distribution over answers; that of the Gauss–Newton matrix for cross-entropies
    /// (Martens 2020, §9).
    Fisher,
    /// 1/n Σ ggᵀ of the gradients of single examples at their targets.
    EmpiricalFisher,
}

/// Settings of `observable = "curvature"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CurvatureSettings {
    /// Which matrix.
    pub matrix: CurvatureMatrix,
    /// The split over whose examples the matrix is a mean.
    pub split: String,
    /// Examples, evenly spaced over the split; all where there are fewer.
    pub examples: usize,
    /// Largest eigenvalues that are told.
    pub top: usize,
    /// Random probes, at least 2.
    pub probes: u32,
    /// Lanczos steps of each probe, at least 4. A network of at most probes·steps weights has its whole matrix computed instead.
    pub steps: usize,
    /// α of MacKay's effective number of parameters Σ λ/(λ + α), in units of the eigenvalues. Of the Hessian it is told where the
    /// whole matrix is computed, with 0 for negative λ.
    pub alpha: f64,
    /// Eigenvalues above this share of the largest in magnitude count for the rank, which is told where the whole matrix is
    /// computed.
    pub rank_threshold: f64,
    /// Smallest and largest |eigenvalue| between which the density has bins.
    pub range: [f64; 2],
}

impl Default for CurvatureSettings {
    fn default() -> Self {
        Self {
            matrix: CurvatureMatrix::Hessian,
            split: "train".to_owned(),
            examples: 1000,
            top: 5,
            probes: 6,
            steps: 80,
            alpha: 1e-3,
            rank_threshold: 1e-5,
            range: [1e-5, 1e3],
        }
    }
}

impl Settings for CurvatureSettings {
    fn build(&self, subject: &Subject<'_>) -> Result<Box<dyn Instrument>, ObserveError> {
        self.check(subject.model.space().len())?;
        let (split, rows) = chosen_rows(subject.task, Some(&self.split), self.examples)?;
        let data = split.data.rows(&rows);
        let n_examples = data.len();
        let matrix = DataSetCurvature::new(subject.model, self.matrix, data)?;
        Ok(Box::new(CurvatureInstrument { settings: self.clone(), matrix, seed: subject.seed, n_examples }))
    }
}

impl CurvatureSettings {
    fn check(&self, n_weights: usize) -> Result<(), ObserveError> {
        let wrong = |key: &str, found: String, expected: &str| {
            Err(ObserveError::Setting(format!("`{key}` is {found}; expected {expected}")))
        };
        let is_above_zero = |x: f64| x > 0.0 && x.is_finite();
        if self.top == 0 || self.top > n_weights {
            return wrong("top", self.top.to_string(), &format!("1 to {n_weights}, the weights of the network"));
        }
        if self.probes < 2 {
            return wrong("probes", self.probes.to_string(), "at least 2, between which there is an error");
        }
        if self.steps < 4 {
            return wrong("steps", self.steps.to_string(), "at least 4");
        }
        if !is_above_zero(self.alpha) {
            return wrong("alpha", self.alpha.to_string(), "a finite number above 0");
        }
        if !(self.rank_threshold > 0.0 && self.rank_threshold < 1.0) {
            return wrong("rank_threshold", self.rank_threshold.to_string(), "a number between 0 and 1");
        }
        let [low, high] = self.range;
        if !(is_above_zero(low) && high > low && high / low <= 1e30) {
            return wrong(
                "range",
                format!("[{low}, {high}]"),
                "two numbers above 0, the second larger, at most 30 decades apart",
            );
        }
        Ok(())
    }
}

/// Programs and choices of the measurement.
#[derive(Debug)]
struct CurvatureInstrument {
    settings: CurvatureSettings,
    matrix: DataSetCurvature,
    seed: u32,
    n_examples: usize,
}

/// What was found at the ends of the spectrum, and in it. The error of an end is its residual: an eigenvalue lies within it.
struct Found {
    top: Vec<Estimate>,
    lowest: Estimate,
    spectrum: Spectrum,
    n_products: usize,
}

impl Instrument for CurvatureInstrument {
    fn dims(&self) -> Vec<(&'static str, Vec<String>)> {
        let mut labels: Vec<String> = (1..=self.settings.top).map(|at| format!("eigenvalue_{at}")).collect();
        if self.has_negative() {
            labels.push("eigenvalue_lowest".to_owned());
        }
        labels.extend(["trace", "frobenius_norm"].map(str::to_owned));
        labels.push("dimension_participation_ratio".to_owned());
        if self.is_exact() || !self.has_negative() {
            labels.extend(["dimension_stable_rank", "dimension_mackay"].map(str::to_owned));
        }
        if self.is_exact() {
            labels.push("dimension_rank".to_owned());
        }
        vec![("quantity", labels)]
    }

    fn measure(&mut self, checkpoint: &Checkpoint<'_>) -> Result<Findings, ObserveError> {
        self.matrix.share_among(checkpoint.threads);
        let n = self.matrix.n_weights();
        let is_exact = self.is_exact();
        let found = if is_exact { self.all_eigenvalues(checkpoint)? } else { self.probed(checkpoint)? };
        let Found { top: mut estimates, lowest, spectrum, n_products } = found;
        if self.has_negative() {
            estimates.push(lowest);
        }
        estimates.extend([spectrum.sum_of(|x| x), spectrum.frobenius_norm(), spectrum.participation_ratio()]);
        // Quadratures know sums of |λ| and λ⁺/(λ⁺ + α) well where nothing changes its sign, and counts of small ones nowhere.
        if is_exact || !self.has_negative() {
            estimates.extend([spectrum.stable_rank(), spectrum.mackay(self.settings.alpha)]);
        }
        if is_exact {
            estimates.push(spectrum.rank(self.settings.rank_threshold));
        }
        let grid = Grid::new(self.settings.range, self.has_negative());
        let bins = grid.centres().iter().map(|&centre| bin_label(centre)).collect();
        let density = Measured { unit: "1", dims: vec![("eigenvalue", bins)], values: spectrum.counts(&grid) };
        let details = vec![
            ("n_weights", n as f64),
            ("n_examples", self.n_examples as f64),
            ("n_products", n_products as f64),
            ("is_exact", f64::from(u8::from(is_exact))),
        ];
        Ok(Findings {
            value: Measured { unit: "1", dims: self.dims(), values: estimates.iter().map(|e| e.value).collect() },
            standard_errors: Some(estimates.iter().map(|e| e.error).collect()),
            arrays: vec![("density", density)],
            details,
            refusal: None,
        })
    }
}

impl CurvatureInstrument {
    /// Whether the matrix may have negative eigenvalues that mean something.
    fn has_negative(&self) -> bool {
        self.settings.matrix == CurvatureMatrix::Hessian
    }

    /// Whether no more products than the probes would take show the whole matrix.
    fn is_exact(&self) -> bool {
        self.matrix.n_weights() <= self.settings.probes as usize * self.settings.steps
    }

    /// The whole matrix, column by column.
    fn all_eigenvalues(&mut self, checkpoint: &Checkpoint<'_>) -> Result<Found, ObserveError> {
        let n = self.matrix.n_weights();
        let mut counted = Counted::new(&mut self.matrix, checkpoint, n);
        let (mut unit, mut column) = (vec![0.0_f32; n], vec![0.0_f32; n]);
        let mut matrix = vec![0.0_f64; n * n];
        for i in 0..n {
            unit[i] = 1.0;
            counted.multiply(&unit, &mut column)?;
            unit[i] = 0.0;
            // Half of each side: the two triangles differ by rounding.
            for (j, &x) in column.iter().enumerate() {
                matrix[i * n + j] += f64::from(x) / 2.0;
                matrix[j * n + i] += f64::from(x) / 2.0;
            }
        }
        let n_products = counted.n_done;
        let values = symmetric_eigenvalues(matrix, n).expect("products are finite, n of them with n entries");
        let known = |&value: &f64| Estimate { value, error: 0.0 };
        Ok(Found {
            top: values[..self.settings.top].iter().map(known).collect(),
            lowest: known(&values[n - 1]),
            spectrum: Spectrum::exact(&values),
            n_products,
        })
    }

    /// The ends by Lanczos iteration, the rest by stochastic Lanczos quadrature.
    fn probed(&mut self, checkpoint: &Checkpoint<'_>) -> Result<Found, ObserveError> {
        let n = self.matrix.n_weights();
        let CurvatureSettings { probes, steps, top, .. } = self.settings;
        let (seed, has_negative) = (self.seed, self.has_negative());
        let n_expected = probes as usize * steps + MAX_STEPS / 2 + top + MAX_STEPS * usize::from(has_negative);
        let mut counted = Counted::new(&mut self.matrix, checkpoint, n_expected);
        let top = largest(&mut counted, n, top, seed, 1.0)?;
        let stream = Stream::new(seed, Purpose::Probe, PROBES);
        let density = SpectralDensity::estimate(n, probes, steps, &stream, |v, w| counted.multiply(v, w));
        let density = density.map_err(observed)?;
        let (low, high) = density.range();
        let mut lowest = Estimate { value: 0.0, error: 0.0 };
        if has_negative {
            let found = largest(&mut counted, n, 1, seed, -1.0)?[0];
            // Nodes are within the range of the spectrum, and may reach further.
            lowest = Estimate { value: low.min(-found.value), ..found };
        }
        let radius = [low, high, lowest.value, top[0].value].into_iter().fold(0.0_f64, |a, x| a.max(x.abs()));
        let spectrum = Spectrum::sampled(&density, n, radius);
        Ok(Found { top, lowest, spectrum, n_products: counted.n_done })
    }
}

/// The `wanted` largest eigenvalues of `sign` times the matrix, largest first, with their residuals.
///
/// Lanczos iteration from one start sees one vector of each eigenspace. So it is begun anew in what is orthogonal to the
/// vectors found, until that holds nothing larger than what is told: a repeated eigenvalue then counts as often as it is one
/// (layers that act alike on several outputs have such).
fn largest(
    counted: &mut Counted<'_, '_>,
    n: usize,
    wanted: usize,
    seed: u32,
    sign: f32,
) -> Result<Vec<Estimate>, ObserveError> {
    let stream = Stream::new(seed, Purpose::Probe, STARTS);
    let (mut found, mut vectors): (Vec<(f64, f64)>, Vec<Vec<f32>>) = (Vec::new(), Vec::new());
    for n_starts in 0.. {
        let mut start = vec![0.0; n];
        stream.normals(n_starts, 0, &mut start);
        remove(&vectors, &mut start);
        let of_rest = |v: &[f32], w: &mut [f32]| {
            counted.multiply(v, w)?;
            for x in w.iter_mut() {
                *x *= sign;
            }
            remove(&vectors, w);
            Ok::<(), ObserveError>(())
        };
        let n_missing = wanted.saturating_sub(found.len()).max(1);
        let tolerance = if sign > 0.0 { TOLERANCE } else { LOWEST_TOLERANCE };
        let pairs = top_eigenpairs(&start, n_missing, MAX_STEPS, tolerance, of_rest).map_err(observed)?;
        let known = found.clone();
        found.extend(pairs.iter().map(|pair| (pair.value, pair.residual)));
        vectors.extend(pairs.into_iter().map(|pair| pair.vector));
        found.sort_by(|a, b| b.0.total_cmp(&a.0));
        let scale = found.iter().fold(0.0_f64, |a, (value, _)| a.max(value.abs()));
        let has_changed = (0..wanted)
            .any(|at| known.get(at).is_none_or(|(old, _)| found[at.min(found.len() - 1)].0 > old + TOLERANCE * scale));
        if found.len() >= n || (found.len() >= wanted && (wanted == 1 || !has_changed)) {
            break;
        }
    }
    found.truncate(wanted);
    Ok(found.into_iter().map(|(value, error)| Estimate { value, error }).collect())
}

/// Two digits tell bins apart, of which there are four in a decade.
fn bin_label(centre: f64) -> String {
    if centre == 0.0 { "0".to_owned() } else { format!("{centre:.1e}") }
}

/// Takes off what lies along unit vectors that are orthogonal to each other, twice: rounding leaves some of it.
fn remove(vectors: &[Vec<f32>], from: &mut [f32]) {
    for vector in vectors.iter().chain(vectors) {
        let along: f64 = vector.iter().zip(from.iter()).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
        from.iter_mut().zip(vector).for_each(|(x, &v)| *x -= (along * f64::from(v)) as f32);
    }
}

/// The matrix at one checkpoint, with its products counted.
struct Counted<'a, 'c> {
    matrix: &'a mut DataSetCurvature,
    checkpoint: &'a Checkpoint<'c>,
    n_done: usize,
    n_expected: usize,
}

impl<'a, 'c> Counted<'a, 'c> {
    fn new(matrix: &'a mut DataSetCurvature, checkpoint: &'a Checkpoint<'c>, n_expected: usize) -> Self {
        Self { matrix, checkpoint, n_done: 0, n_expected }
    }

    fn multiply(&mut self, vector: &[f32], product: &mut [f32]) -> Result<(), ObserveError> {
        self.checkpoint.check_cancelled()?;
        self.matrix.multiply(self.checkpoint.weights, vector, product)?;
        self.n_done += 1;
        (self.checkpoint.progress)((self.n_done as f64 / self.n_expected as f64).min(1.0));
        Ok(())
    }
}

fn observed(error: SpectrumError<ObserveError>) -> ObserveError {
    match error {
        SpectrumError::Product(error) => error,
        // The operator has looked at its products, so that this is a vector that overflows.
        other => ObserveError::NonFinite { node: other.to_string() },
    }
}

#[cfg(test)]
mod tests;
