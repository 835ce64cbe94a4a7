//! Skill: by what share losses are smaller than those of a baseline on the same cases.

use super::answer::{Effect, Interval, Sided, check_level};
use super::t_tests::{TTest, t_test};
use crate::array_error::{ArrayError, enough, finite, length, setting};
use crate::special::student_quantile;

/// Outcome of [`paired_skill`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PairedSkill {
    /// 1 − mean loss/mean baseline loss: 1 is perfect, 0 as good as the baseline, negative worse. A lower end of −∞ means that
    /// the baseline's own loss is not known to differ from 0.
    pub skill: Effect,
    /// t test of baseline loss − loss over the cases; its mean is the loss saved, in the units of the loss.
    pub saved: TTest,
}

/// Skill of `losses` against `baseline_losses` of the same independent cases (runs, forecasts), all at least 0.
///
/// The interval is Fieller's (1954) for the ratio of two means of pairs: all r for which the pairs loss − r · baseline do not
/// reject a mean of 0 by t. It excludes 0 exactly where the paired t test rejects, unlike a bootstrap it knows how few cases there
/// are, and it is exact for normal losses. Where it is not one interval it is widened to one.
///
/// # Errors
/// Fewer than two cases, arrays of different lengths, losses that are negative or not finite, a baseline without loss, the
/// same saving in all cases, a level outside (0, 1).
pub fn paired_skill(losses: &[f64], baseline_losses: &[f64], level: f64) -> Result<PairedSkill, ArrayError> {
    check_level(level)?;
    length("the losses of the baseline", baseline_losses.len(), losses.len())?;
    enough("cases", losses.len(), 2)?;
    for (what, values) in [("the losses", losses), ("the losses of the baseline", baseline_losses)] {
        finite(what, values)?;
        if let Some(negative) = values.iter().find(|v| **v < 0.0) {
            setting(
                "a loss",
                *negative,
                false,
                "at least 0 (a score that is better when larger has no skill of this kind)",
            )?;
        }
    }
    // In units of the largest loss, so that squares neither vanish nor overflow.
    let scale = losses.iter().chain(baseline_losses).fold(0.0_f64, |m, v| m.max(*v));
    let scaled = |values: &[f64]| values.iter().map(|v| v / scale).collect::<Vec<f64>>();
    if baseline_losses.iter().all(|v| *v == 0.0) {
        return Err(ArrayError::Constant { what: "the baseline (its loss is 0 everywhere)" });
    }
    let differences: Vec<f64> = losses.iter().zip(baseline_losses).map(|(e, b)| b - e).collect();
    let saved = t_test(&differences, Sided::Either, level)?;
    let (e, b) = (scaled(losses), scaled(baseline_losses));
    let n = e.len() as f64;
    let (mean_e, mean_b) = (e.iter().sum::<f64>() / n, b.iter().sum::<f64>() / n);
    let covariance = |x: &[f64], mx: f64, y: &[f64], my: f64| {
        x.iter().zip(y).map(|(x, y)| (x - mx) * (y - my)).sum::<f64>() / (n - 1.0) / n
    };
    let (ee, bb) = (covariance(&e, mean_e, &e, mean_e), covariance(&b, mean_b, &b, mean_b));
    let eb = covariance(&e, mean_e, &b, mean_b);
    let t2 = student_quantile(f64::midpoint(1.0, level), n - 1.0).powi(2);

    // The r ≥ 0 with (ē − r b̄)² ≤ t² var(ē − r b̄): a quadratic.
    let (squared, half_linear, constant) =
        (mean_b * mean_b - t2 * bb, mean_e * mean_b - t2 * eb, mean_e * mean_e - t2 * ee);
    let root = (half_linear * half_linear - squared * constant).max(0.0).sqrt();
    let (least, most) = if squared > 0.0 {
        (((half_linear - root) / squared).max(0.0), (half_linear + root) / squared)
    } else {
        // Unbounded above. Below, only an r between 0 and the estimate can be excluded: then 0 is, and the set begins at
        // the larger root of a downward parabola whose other part is negative.
        (if constant > 0.0 && squared < 0.0 { ((half_linear - root) / squared).max(0.0) } else { 0.0 }, f64::INFINITY)
    };
    let interval = Interval { lower: 1.0 - most, upper: 1.0 - least, level };
    Ok(PairedSkill { skill: Effect { estimate: 1.0 - mean_e / mean_b, interval }, saved })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    #[test]
    fn the_ends_are_where_the_t_test_turns() {
        for seed in 0..100 {
            let mut stream = Stream::new(seed, 0, 0);
            let n = 4 + stream.below(12);
            let b: Vec<f64> = (0..n).map(|_| 1.0 + 0.5 * stream.uniform()).collect();
            let e: Vec<f64> = b.iter().map(|b| 0.6 * b + 0.5 * stream.uniform()).collect();
            let found = paired_skill(&e, &b, 0.9).unwrap();
            for end in [found.skill.interval.lower, found.skill.interval.upper] {
                let against: Vec<f64> = e.iter().zip(&b).map(|(e, b)| e - (1.0 - end) * b).collect();
                let p = t_test(&against, Sided::Either, 0.9).unwrap().test.p_value;
                assert!((p - 0.1).abs() < 1e-9, "{end} {p}");
            }
            assert_eq!(found.saved.test.p_value <= 0.1, !found.skill.interval.contains(0.0));
        }
    }

    #[test]
    fn a_wild_baseline_bounds_one_side_only() {
        // Every r on a grid that the t test does not reject lies inside, whatever the shape of the set.
        for seed in 0..200 {
            let mut stream = Stream::new(seed, 1, 0);
            let b: Vec<f64> = (0..4).map(|_| stream.normal().powi(4)).collect();
            let e: Vec<f64> = (0..4).map(|_| 0.5 + 0.4 * stream.uniform()).collect();
            let found = paired_skill(&e, &b, 0.95).unwrap();
            for i in 0..200 {
                let r = 1.06_f64.powi(i - 100);
                let against: Vec<f64> = e.iter().zip(&b).map(|(e, b)| e - r * b).collect();
                let kept = t_test(&against, Sided::Either, 0.95).unwrap().test.p_value > 0.05 + 1e-9;
                assert!(!kept || found.skill.interval.contains(1.0 - r), "{seed} {r} {found:?}");
            }
            assert!(found.skill.interval.contains(found.skill.estimate));
        }
    }

    #[test]
    fn bad_input_is_refused() {
        assert!(paired_skill(&[1.0], &[1.0], 0.95).is_err() && paired_skill(&[1.0, 2.0], &[1.0], 0.95).is_err());
        assert!(paired_skill(&[1.0, 2.0], &[0.0, 0.0], 0.95).is_err());
        assert!(paired_skill(&[0.0, 0.0], &[0.0, 0.0], 0.95).is_err());
        assert!(paired_skill(&[1.0, -2.0], &[1.0, 1.0], 0.95).is_err());
        assert!(paired_skill(&[1.0, f64::INFINITY], &[1.0, 1.0], 0.95).is_err());
        assert!(paired_skill(&[1.0, 2.0], &[2.0, 3.0], 0.95).is_err(), "the same saving everywhere");
        let perfect = paired_skill(&[0.0, 0.0, 0.0], &[1.0, 2.0, 3.0], 0.95).unwrap();
        assert_eq!(perfect.skill.estimate, 1.0);
    }
}
