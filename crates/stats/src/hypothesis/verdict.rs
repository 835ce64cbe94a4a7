//! From an estimate and its interval to one of three words.

use super::answer::{Interval, Sided};
use crate::array_error::{ArrayError, setting};

/// What the data say about a hypothesis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The interval excludes no effect on the side claimed, and the estimate reaches the smallest effect of interest.
    Supported,
    /// The interval lies wholly below the smallest effect of interest, or on the other side.
    Refuted,
    /// Neither: more data could still decide either way.
    Undecided,
}

/// Verdict on the claim that an effect of at least `smallest_effect` (≥ 0, in the units of the estimate) exists on the side
/// claimed. 0 is no effect: give a ratio by its logarithm, and a probability less one half.
///
/// The `interval` is the one already corrected for the family of hypotheses (see [`holm_rates`](crate::holm_rates) and
/// [`Sided::interval_level`]). Of a claim of either side, refuted means that the interval lies strictly within ± the smallest
/// effect. An infinite end is allowed and never decides anything.
///
/// When the true effect is just `smallest_effect`, about half of all estimates miss it: *supported* then has a probability
/// of at most one half at any number of seeds. Plan for a larger effect, or read power as that of excluding no effect.
///
/// # Errors
/// An estimate that is not finite, an interval with NaN or its ends exchanged, a smallest effect that is negative or
/// infinite.
pub fn verdict(estimate: f64, interval: Interval, sided: Sided, smallest_effect: f64) -> Result<Verdict, ArrayError> {
    check(estimate, interval)?;
    let holds = smallest_effect >= 0.0 && smallest_effect.is_finite();
    setting("the smallest effect of interest", smallest_effect, holds, "a number, at least 0")?;
    let (rises, falls) = (interval.lower > 0.0, interval.upper < 0.0);
    // An interval on the other side of 0 is below the smallest effect too.
    let (supported, refuted) = match sided {
        Sided::Greater => (rises && estimate >= smallest_effect, interval.upper < smallest_effect),
        Sided::Less => (falls && estimate <= -smallest_effect, interval.lower > -smallest_effect),
        Sided::Either => (
            (rises && estimate >= smallest_effect) || (falls && estimate <= -smallest_effect),
            interval.lower > -smallest_effect && interval.upper < smallest_effect,
        ),
    };
    Ok(decide(supported, refuted))
}

/// Verdict on the claim that an effect is smaller than `margin` (> 0) on either side: supported where the interval (at level
/// 1 − 2α) lies strictly within ± the margin, refuted where it lies wholly at or beyond one of them.
///
/// # Errors
/// As [`verdict`]; a margin that is not positive.
pub fn equivalence_verdict(estimate: f64, interval: Interval, margin: f64) -> Result<Verdict, ArrayError> {
    check(estimate, interval)?;
    setting("the margin of equivalence", margin, margin > 0.0 && margin.is_finite(), "a positive number")?;
    let within = interval.lower > -margin && interval.upper < margin;
    Ok(decide(within && estimate.abs() < margin, interval.lower >= margin || interval.upper <= -margin))
}

/// An estimate outside of its own interval (a bootstrap can do that) may satisfy both: then nothing is decided.
fn decide(supported: bool, refuted: bool) -> Verdict {
    match (supported, refuted) {
        (true, false) => Verdict::Supported,
        (false, true) => Verdict::Refuted,
        _ => Verdict::Undecided,
    }
}

fn check(estimate: f64, interval: Interval) -> Result<(), ArrayError> {
    setting("the estimate", estimate, estimate.is_finite(), "a finite number")?;
    // Comparisons with NaN are false.
    setting("the lower end of the interval", interval.lower, interval.lower <= interval.upper, "at most the upper end")
}

#[cfg(test)]
mod tests {
    use super::*;
    use Verdict::{Refuted, Supported, Undecided};

    fn of(lower: f64, estimate: f64, upper: f64, sided: Sided, smallest: f64) -> Verdict {
        verdict(estimate, Interval { lower, upper, level: 0.95 }, sided, smallest).unwrap()
    }

    #[test]
    fn every_case_of_one_side() {
        let cases = [
            (0.1, 1.2, 2.0, Supported),
            (0.1, 1.0, 2.0, Supported),  // the estimate just reaches it
            (0.1, 0.8, 2.0, Undecided),  // an effect, perhaps too small
            (0.1, 0.5, 0.9, Refuted),    // an effect, surely too small
            (-0.1, 1.2, 2.0, Undecided), // no effect is not excluded
            (0.0, 1.2, 2.0, Undecided),  // nor here
            (-0.5, 0.1, 0.6, Refuted),   // whatever there is is too small
            (-2.0, -1.0, -0.1, Refuted), // the other side
            (-0.5, 0.1, 1.0, Undecided), // the end belongs to the interval
            (f64::NEG_INFINITY, 3.0, f64::INFINITY, Undecided),
            (0.5, 3.0, f64::INFINITY, Supported),
        ];
        for (lower, estimate, upper, expected) in cases {
            assert_eq!(of(lower, estimate, upper, Sided::Greater, 1.0), expected, "{lower} {estimate} {upper}");
            assert_eq!(of(-upper, -estimate, -lower, Sided::Less, 1.0), expected, "mirrored {lower}");
        }
        assert_eq!(of(-0.2, 0.1, 0.3, Sided::Greater, 0.0), Undecided);
        assert_eq!(of(0.2, 0.25, 0.3, Sided::Greater, 0.0), Supported);
        assert_eq!(of(-0.3, -0.25, -0.2, Sided::Greater, 0.0), Refuted);
    }

    #[test]
    fn either_side_and_equivalence() {
        assert_eq!(of(0.1, 1.2, 2.0, Sided::Either, 1.0), Supported);
        assert_eq!(of(-2.0, -1.2, -0.1, Sided::Either, 1.0), Supported);
        assert_eq!(of(-0.9, 0.0, 0.9, Sided::Either, 1.0), Refuted);
        assert_eq!(of(-0.9, 0.0, 1.0, Sided::Either, 1.0), Undecided);
        assert_eq!(of(0.1, 0.5, 1.5, Sided::Either, 1.0), Undecided);
        let equal =
            |lower, estimate, upper| equivalence_verdict(estimate, Interval { lower, upper, level: 0.9 }, 1.0).unwrap();
        assert_eq!((equal(-0.5, 0.2, 0.9), equal(0.1, 0.5, 0.9)), (Supported, Supported));
        assert_eq!((equal(1.0, 2.0, 3.0), equal(-3.0, -2.0, -1.0)), (Refuted, Refuted));
        assert_eq!((equal(-0.5, 0.2, 1.0), equal(0.5, 0.9, 1.5)), (Undecided, Undecided));
    }

    #[test]
    fn an_estimate_outside_of_its_interval_decides_nothing() {
        assert_eq!(of(0.1, 1.2, 0.9, Sided::Greater, 1.0), Undecided);
    }

    #[test]
    fn bad_input_is_refused() {
        let i = |lower, upper| Interval { lower, upper, level: 0.95 };
        assert!(verdict(f64::NAN, i(0.0, 1.0), Sided::Either, 0.1).is_err());
        assert!(verdict(0.0, i(f64::NAN, 1.0), Sided::Either, 0.1).is_err());
        assert!(verdict(0.0, i(1.0, 0.0), Sided::Either, 0.1).is_err());
        assert!(verdict(0.0, i(0.0, 1.0), Sided::Either, -0.1).is_err());
        assert!(verdict(0.0, i(0.0, 1.0), Sided::Either, f64::INFINITY).is_err());
        assert!(equivalence_verdict(0.0, i(0.0, 1.0), 0.0).is_err());
    }
}
