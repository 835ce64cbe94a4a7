//! Scores of forecasts: of probabilities (Brier, logarithm) and of intervals (coverage, interval score).

use super::answer::{Effect, Interval, check_level};
use super::proportion::{ProportionKind, proportion};
use crate::array_error::{ArrayError, finite, length, setting};

/// Brier score (p − o)² of each forecast: 0 is perfect, ¼ that of p = ½, 1 the worst (Brier 1950). Proper.
///
/// # Errors
/// Arrays of different lengths, probabilities outside [0, 1].
pub fn brier_scores(probabilities: &[f64], outcomes: &[bool]) -> Result<Vec<f64>, ArrayError> {
    scores(probabilities, outcomes, |of_outcome| (1.0 - of_outcome).powi(2))
}

/// Logarithmic score −ln(probability of what came) of each forecast, in nats: 0 is perfect, ln 2 that of p = ½ (Good 1952).
/// Proper; +∞ where what came was called impossible.
///
/// # Errors
/// Arrays of different lengths, probabilities outside [0, 1].
pub fn log_scores(probabilities: &[f64], outcomes: &[bool]) -> Result<Vec<f64>, ArrayError> {
    // 0 − ln 1 is 0 and not −0.
    scores(probabilities, outcomes, |of_outcome| 0.0 - of_outcome.ln())
}

/// Interval score (u − l) + 2/α (l − y)⁺ + 2/α (y − u)⁺ of each interval at level 1 − α, in units of the outcome (Gneiting and
/// Raftery 2007, equation 43). Proper: in expectation smallest for the true quantiles α/2 and 1 − α/2.
///
/// # Errors
/// Arrays of different lengths, an interval that is not finite or has its ends exchanged, a level outside (0, 1), outcomes
/// that are not finite.
pub fn interval_scores(intervals: &[Interval], outcomes: &[f64]) -> Result<Vec<f64>, ArrayError> {
    check_intervals(intervals, outcomes)?;
    let score = |(i, y): (&Interval, &f64)| {
        let miss = (i.lower - y).max(0.0) + (y - i.upper).max(0.0);
        i.upper - i.lower + 2.0 / (1.0 - i.level) * miss
    };
    Ok(intervals.iter().zip(outcomes).map(score).collect())
}

/// Share of the outcomes inside of their intervals, with the exact interval (at `level`) of the underlying share: calibrated where
/// this contains the level of the forecasts.
///
/// # Errors
/// As [`interval_scores`]; no forecasts.
pub fn interval_coverage(intervals: &[Interval], outcomes: &[f64], level: f64) -> Result<Effect, ArrayError> {
    check_intervals(intervals, outcomes)?;
    let n_inside = intervals.iter().zip(outcomes).filter(|(i, y)| i.contains(**y)).count();
    proportion(n_inside, outcomes.len(), ProportionKind::ClopperPearson, level)
}

/// A score of the probability that was given to what came.
fn scores(probabilities: &[f64], outcomes: &[bool], score: impl Fn(f64) -> f64) -> Result<Vec<f64>, ArrayError> {
    length("the outcomes", outcomes.len(), probabilities.len())?;
    let mut found = Vec::with_capacity(outcomes.len());
    for (p, outcome) in probabilities.iter().zip(outcomes) {
        setting("a probability", *p, (0.0..=1.0).contains(p), "a number from 0 to 1")?;
        found.push(score(if *outcome { *p } else { 1.0 - p }));
    }
    Ok(found)
}

fn check_intervals(intervals: &[Interval], outcomes: &[f64]) -> Result<(), ArrayError> {
    length("the outcomes", outcomes.len(), intervals.len())?;
    finite("the outcomes", outcomes)?;
    for interval in intervals {
        check_level(interval.level)?;
        finite("an interval", &[interval.lower, interval.upper])?;
        setting(
            "the lower end of an interval",
            interval.lower,
            interval.lower <= interval.upper,
            "at most the upper end",
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;
    use crate::special::normal_quantile;

    #[test]
    fn values_by_hand() {
        let brier = brier_scores(&[1.0, 0.5, 0.2, 0.0], &[true, false, true, true]).unwrap();
        for (found, expected) in brier.iter().zip([0.0, 0.25, 0.64, 1.0]) {
            assert!((found - expected).abs() < 1e-15);
        }
        let log = log_scores(&[1.0, 0.5, 0.2, 0.0], &[true, false, true, true]).unwrap();
        assert_eq!(log, [0.0, 2f64.ln(), -(0.2_f64.ln()), f64::INFINITY]);
        let i = Interval { lower: 1.0, upper: 3.0, level: 0.8 };
        let found = interval_scores(&[i; 3], &[2.0, 0.5, 4.0]).unwrap();
        for (found, expected) in found.iter().zip([2.0, 7.0, 12.0]) {
            assert!((found - expected).abs() < 1e-13, "{found}");
        }
        let coverage = interval_coverage(&[i; 3], &[1.0, 3.0, 4.0], 0.95).unwrap();
        assert_eq!(coverage.estimate, 2.0 / 3.0);
    }

    #[test]
    fn the_truth_scores_best() {
        // Proper: over draws, the true probability and the true quantiles beat others on the same draws.
        let n = 20_000;
        let mut stream = Stream::new(4, 0, 0);
        let outcomes: Vec<bool> = (0..n).map(|_| stream.uniform() < 0.3).collect();
        let total = |scores: Vec<f64>| scores.iter().sum::<f64>();
        for other in [0.2, 0.4] {
            assert!(
                total(brier_scores(&vec![0.3; n], &outcomes).unwrap())
                    < total(brier_scores(&vec![other; n], &outcomes).unwrap())
            );
            assert!(
                total(log_scores(&vec![0.3; n], &outcomes).unwrap())
                    < total(log_scores(&vec![other; n], &outcomes).unwrap())
            );
        }
        let values: Vec<f64> = (0..n).map(|_| stream.normal()).collect();
        let z = -normal_quantile(0.1);
        let of = |half: f64| {
            total(interval_scores(&vec![Interval { lower: -half, upper: half, level: 0.8 }; n], &values).unwrap())
        };
        assert!(of(z) < of(0.8 * z) && of(z) < of(1.2 * z));
        let all = vec![Interval { lower: -z, upper: z, level: 0.8 }; n];
        // 3.9 standard deviations at level 0.9999.
        assert!(interval_coverage(&all, &values, 0.9999).unwrap().interval.contains(0.8));
    }

    #[test]
    fn bad_input_is_refused() {
        assert!(brier_scores(&[1.1], &[true]).is_err() && brier_scores(&[f64::NAN], &[true]).is_err());
        assert!(log_scores(&[0.5], &[]).is_err() && brier_scores(&[], &[]).unwrap().is_empty());
        let i = |lower, upper, level| Interval { lower, upper, level };
        assert!(interval_scores(&[i(1.0, 0.0, 0.9)], &[0.0]).is_err());
        assert!(interval_scores(&[i(0.0, f64::INFINITY, 0.9)], &[0.0]).is_err());
        assert!(interval_scores(&[i(0.0, 1.0, 1.0)], &[0.0]).is_err());
        assert!(interval_scores(&[i(0.0, 1.0, 0.9)], &[f64::NAN]).is_err());
        assert!(interval_coverage(&[], &[], 0.9).is_err());
    }
}
