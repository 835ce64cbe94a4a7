//! Trajectories without forms: random walks, and smooth curves with the spectrum of the observed one.

use super::random_walk::walk_components;
use super::smoother::Smoother;
use crate::array_error::ArrayError;
use crate::eigen::symmetric_eigen;
use crate::random::Stream;
use crate::spectrum::Spectrum;

/// Width, in points, over which the size of increments is taken to be the same: a share of their number.
const ENVELOPE_SHARE: f64 = 0.05;

/// Draws curves whose increments have the observed sizes over time and the observed spectrum of each
/// component, with phases of their own: the components no longer turn together.
pub(super) struct PhaseCurves {
    envelope: Vec<f64>,
    spectra: Vec<Spectrum>,
}

impl PhaseCurves {
    pub(super) fn new(scores: &[Vec<f64>]) -> Result<Self, ArrayError> {
        let n = scores[0].len() - 1;
        let increments: Vec<Vec<f64>> =
            scores.iter().map(|s| s.windows(2).map(|pair| pair[1] - pair[0]).collect()).collect();
        let squares: Vec<f64> = (0..n).map(|t| increments.iter().map(|d| d[t] * d[t]).sum()).collect();
        let places: Vec<f64> = (0..n).map(|t| t as f64).collect();
        let width = ENVELOPE_SHARE * n as f64;
        // The line of the smoother may dip below zero next to a jump; a tenth of the mean around is a floor.
        let smooth = Smoother::gaussian(&places, width, width)?.smooth(&squares);
        let mean = squares.iter().sum::<f64>() / n as f64;
        let floor = (mean * 1e-6).max(f64::MIN_POSITIVE);
        let envelope: Vec<f64> = smooth.iter().map(|s| s.max(floor).sqrt()).collect();
        let spectrum = |d: &Vec<f64>| Spectrum::of(&d.iter().zip(&envelope).map(|(d, e)| d / e).collect::<Vec<f64>>());
        Ok(Self { spectra: increments.iter().map(spectrum).collect(), envelope })
    }

    pub(super) fn draw(&self, stream: &mut Stream) -> Vec<Vec<f64>> {
        let component = |spectrum: &Spectrum| {
            let mut at = 0.0;
            let mut curve = vec![0.0];
            for (d, e) in spectrum.surrogate(stream).into_iter().zip(&self.envelope) {
                at += d * e;
                curve.push(at);
            }
            curve
        };
        principal_axes(self.spectra.iter().map(component).collect())
    }
}

/// The first components of a random walk, scaled to the total variance of the observed scores, with
/// the observed noise.
pub(super) fn walk_curve(
    scores: &[Vec<f64>],
    noise: &[f64],
    n_dimensions: usize,
    stream: &mut Stream,
) -> Vec<Vec<f64>> {
    let n_rows = scores[0].len();
    let n_dimensions = n_dimensions.max(scores.len());
    let (mut walk, squares) = walk_components(n_rows, n_dimensions, scores.len(), stream);
    let observed: f64 = scores.iter().map(|s| variance_sum(s)).sum();
    let scale = (observed / squares[..scores.len()].iter().sum::<f64>()).sqrt();
    for (component, noise) in walk.iter_mut().zip(noise) {
        for x in component.iter_mut() {
            *x = *x * scale + noise * stream.normal();
        }
    }
    walk
}

/// Σ (x − mean)².
fn variance_sum(values: &[f64]) -> f64 {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    values.iter().map(|v| (v - mean) * (v - mean)).sum()
}

/// The same curve along its own principal axes: scores of a PCA are uncorrelated, which alone makes
/// curves turn, so a null must have it too.
fn principal_axes(mut curve: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
    let m = curve.len();
    for component in &mut curve {
        let mean = component.iter().sum::<f64>() / component.len() as f64;
        for x in component.iter_mut() {
            *x -= mean;
        }
    }
    let mut products = vec![0.0; m * m];
    for i in 0..m {
        for j in 0..=i {
            products[i * m + j] = curve[i].iter().zip(&curve[j]).map(|(a, b)| a * b).sum();
        }
    }
    let axes = symmetric_eigen(products, m, m).vectors;
    let along =
        |axis: &Vec<f64>| (0..curve[0].len()).map(|t| axis.iter().zip(&curve).map(|(a, c)| a * c[t]).sum()).collect();
    axes.iter().map(along).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drawn_curves_keep_increments_and_lie_along_their_axes() {
        let n = 200;
        let scores: Vec<Vec<f64>> = (1..=3)
            .map(|k| (0..n).map(|t| (f64::from(t) / 30.0 * f64::from(k)).sin() * f64::from(4 - k)).collect())
            .collect();
        let squares = |curve: &[Vec<f64>]| -> f64 {
            curve.iter().flat_map(|c| c.windows(2)).map(|w| (w[1] - w[0]).powi(2)).sum()
        };
        let null = PhaseCurves::new(&scores).unwrap();
        let mut total = 0.0;
        for draw in 0..40 {
            let curve = null.draw(&mut Stream::new(1, 0, draw));
            total += squares(&curve) / 40.0;
            for i in 0..3 {
                for j in 0..i {
                    let dot: f64 = curve[i].iter().zip(&curve[j]).map(|(a, b)| a * b).sum();
                    assert!(dot.abs() < 1e-8 * variance_sum(&curve[0]), "components are uncorrelated");
                }
            }
            assert!(variance_sum(&curve[0]) >= variance_sum(&curve[1]));
        }
        // The envelope is all but constant here, so the sum of squares is nearly kept.
        assert!((total / squares(&scores) - 1.0).abs() < 0.1, "{}", total / squares(&scores));
    }

    #[test]
    fn walks_have_the_observed_variance() {
        let scores: Vec<Vec<f64>> =
            (0..2).map(|k| (0..90).map(|t| f64::from(t * t) * f64::from(2 - k)).collect()).collect();
        let walk = walk_curve(&scores, &[0.0, 0.0], 20, &mut Stream::new(3, 0, 0));
        let total = |c: &[Vec<f64>]| c.iter().map(|c| variance_sum(c)).sum::<f64>();
        assert!((total(&walk) / total(&scores) - 1.0).abs() < 1e-9);
    }
}
