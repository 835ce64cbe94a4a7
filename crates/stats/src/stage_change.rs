//! How a series changes from one boundary to the next.

use crate::series::{Series, SeriesError};
use crate::smooth::Smooth;
use crate::stage::{MIN_STAGE_POINTS, StageSettings};

/// The change of a series over one stage.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StageChange {
    /// Step at which the stage begins.
    pub from: f64,
    /// Step at which it ends.
    pub to: f64,
    /// Smoothed value at its end less that at its beginning.
    pub change: f64,
    /// Standard deviation of the change, the smoothing scales held fixed.
    pub standard_error: f64,
}

/// The change of `series` over every stage between neighbouring `boundaries`, and before the first and after the last.
///
/// The series is smoothed over ln(step + 1) as for [`stage_boundaries`](crate::stage_boundaries), so that the standard errors of its
/// points and their noise are in the error of a change: of a Gaussian process f with kernel k, known at the points x with covariance
/// K + Λ, the difference f(b) − f(a) has the mean c·(K + Λ)⁻¹(y − ȳ) and the variance 2k(0) − 2k(b − a) − c·(K + Λ)⁻¹c with
/// c = k(b − x) − k(a − x) (Rasmussen and Williams 2006, equations 2.25 and 2.26). Boundaries outside of the series count as its ends.
///
/// # Errors
/// Fewer than [`MIN_STAGE_POINTS`] points, or a setting out of range.
pub fn stage_changes(
    series: &Series,
    boundaries: &[f64],
    settings: &StageSettings,
) -> Result<Vec<StageChange>, SeriesError> {
    settings.check()?;
    let log = series.in_log_time(MIN_STAGE_POINTS, settings.max_points)?;
    let smooth = Smooth::fit(&log, settings.length_bounds);
    let (first, last) = (series.steps()[0], series.steps()[series.steps().len() - 1]);
    let mut edges: Vec<f64> = boundaries.iter().map(|step| step.clamp(first, last)).collect();
    edges.sort_by(f64::total_cmp);
    edges.insert(0, first);
    edges.push(last);
    let change = |edge: &[f64]| {
        let (from, to) = (edge[0], edge[1]);
        // A constant series has no scales to fit, and no change. The first and last of long series are means of several
        // points; beyond them the smooth curve knows nothing.
        let place = |step: f64| step.ln_1p().clamp(log.x[0], log.x[log.x.len() - 1]);
        let (change, standard_error) =
            smooth.as_ref().map_or((0.0, 0.0), |smooth| smooth.difference(place(from), place(to)));
        StageChange { from, to, change, standard_error }
    };
    Ok(edges.windows(2).map(change).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    fn noisy(seed: u64, noise: f64) -> Series {
        let mut stream = Stream::new(seed, 0, 0);
        let steps: Vec<f64> = (0..60).map(|i| (f64::from(i) * 0.15).exp().round() + f64::from(i)).collect();
        let value =
            |t: f64| if t < 100.0 { 2.0 * t.ln_1p() } else { 2.0 * 100f64.ln_1p() - (t.ln_1p() - 100f64.ln_1p()) };
        let values = steps.iter().map(|&t| value(t) + noise * stream.normal()).collect();
        Series::new(steps, values).unwrap().with_errors(vec![noise; 60]).unwrap()
    }

    #[test]
    fn changes_add_up_and_lie_within_their_errors() {
        let settings = StageSettings::default();
        let mut within = 0;
        for seed in 0..40 {
            let series = noisy(seed, 0.3);
            let found = stage_changes(&series, &[20.0, 1000.0], &settings).unwrap();
            assert_eq!(found.len(), 3);
            assert_eq!((found[0].to, found[1].from, found[1].to), (20.0, 20.0, 1000.0));
            let whole = stage_changes(&series, &[], &settings).unwrap();
            let total: f64 = found.iter().map(|stage| stage.change).sum();
            assert!((total - whole[0].change).abs() < 1e-9);
            // From 20 to 1000: up to 100 and down again.
            let truth = 2.0 * (101f64 / 21.0).ln() - (1001f64 / 101.0).ln();
            within += usize::from((found[1].change - truth).abs() < 1.96 * found[1].standard_error);
        }
        // 95 % of 40 are 38 ± 1.4; the corner of the curve is smoothed away a little.
        assert!(within >= 33, "{within} of 40");
    }

    #[test]
    fn a_constant_series_does_not_change_and_boundaries_outside_are_its_ends() {
        let series = Series::new((0..20).map(f64::from).collect(), vec![3.0; 20]).unwrap();
        let found = stage_changes(&series, &[500.0], &StageSettings::default()).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].change, found[0].standard_error, found[1].from, found[1].to), (0.0, 0.0, 19.0, 19.0));
    }
}
