//! Equivalence: is an effect smaller than a margin on either side? Two one-sided tests.

use super::answer::{Effect, Sided, Test, check_alpha};
use super::rank_sum::rank_sum_test;
use super::sign::check_signed;
use super::signed_rank::{signed_rank_test, signed_ranks};
use super::t_tests::{TTest, t_test, welch_test};
use crate::array_error::{ArrayError, setting};

/// Outcome of two one-sided tests.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Equivalence {
    /// The test with the larger p-value of the two, which is that of equivalence (Schuirmann 1987).
    pub test: Test,
    /// The effect with its interval at level 1 − 2α: equivalence holds at α where it lies within the margins.
    pub effect: Effect,
}

/// By t: the mean of the values (differences of pairs) lies in (−margin, margin). For a level α, both one-sided tests must
/// reject at α.
///
/// # Errors
/// Those of [`t_test`]; a margin that is not positive, an `alpha` outside (0, ½).
pub fn equivalence_t(values: &[f64], margin: f64, alpha: f64) -> Result<Equivalence, ArrayError> {
    check(margin, alpha)?;
    Ok(within(&t_test(values, Sided::Either, 1.0 - 2.0 * alpha)?, margin))
}

/// By Welch's t: the difference of two means lies in (−margin, margin).
///
/// # Errors
/// Those of [`welch_test`]; a margin that is not positive, an `alpha` outside (0, ½).
pub fn equivalence_welch(first: &[f64], second: &[f64], margin: f64, alpha: f64) -> Result<Equivalence, ArrayError> {
    check(margin, alpha)?;
    Ok(within(&welch_test(first, second, Sided::Either, 1.0 - 2.0 * alpha)?, margin))
}

/// By signed ranks: the pseudo-median of the values lies in (−margin, margin), exactly, for values symmetric about it.
///
/// # Errors
/// Those of [`signed_rank_test`]; a margin that is not positive, an `alpha` outside (0, ½).
pub fn equivalence_signed_rank(values: &[f64], margin: f64, alpha: f64) -> Result<Equivalence, ArrayError> {
    check(margin, alpha)?;
    check_signed(values)?;
    let shifted = |by: f64| values.iter().map(|v| v + by).collect::<Vec<f64>>();
    let above = signed_ranks(&shifted(margin), Sided::Greater);
    let below = signed_ranks(&shifted(-margin), Sided::Less);
    let effect = signed_rank_test(values, Sided::Either, 1.0 - 2.0 * alpha)?.shift;
    Ok(Equivalence { test: weaker(above, below), effect })
}

/// By rank sums: the shift between two independent samples lies in (−margin, margin), exactly, where they differ by a shift.
///
/// # Errors
/// Those of [`rank_sum_test`]; a margin that is not positive, an `alpha` outside (0, ½).
pub fn equivalence_rank_sum(first: &[f64], second: &[f64], margin: f64, alpha: f64) -> Result<Equivalence, ArrayError> {
    check(margin, alpha)?;
    let level = 1.0 - 2.0 * alpha;
    let effect = rank_sum_test(first, second, Sided::Either, level)?.shift;
    let shifted = |by: f64| first.iter().map(|v| v + by).collect::<Vec<f64>>();
    let above = rank_sum_test(&shifted(margin), second, Sided::Greater, level)?.test;
    let below = rank_sum_test(&shifted(-margin), second, Sided::Less, level)?.test;
    Ok(Equivalence { test: weaker(above, below), effect })
}

fn within(found: &TTest, margin: f64) -> Equivalence {
    let test = weaker(found.against(-margin, Sided::Greater), found.against(margin, Sided::Less));
    Equivalence { test, effect: found.mean }
}

fn weaker(above: Test, below: Test) -> Test {
    if above.p_value >= below.p_value { above } else { below }
}

fn check(margin: f64, alpha: f64) -> Result<(), ArrayError> {
    check_alpha(alpha)?;
    setting("the margin of equivalence", margin, margin > 0.0 && margin.is_finite(), "a positive number")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    #[test]
    fn decided_as_the_interval() {
        let inside = |e: &Equivalence| e.effect.interval.lower > -1.0 && e.effect.interval.upper < 1.0;
        let mut n_equivalent = 0;
        for seed in 0..300 {
            let mut stream = Stream::new(seed, 0, 0);
            let n = 4 + stream.below(12);
            let mut draw = |n: usize| (0..n).map(|_| 1.2 * stream.normal() + 0.2).collect::<Vec<f64>>();
            let (a, b) = (draw(n), draw(9));
            let all = [
                equivalence_t(&a, 1.0, 0.05).unwrap(),
                equivalence_welch(&a, &b, 1.0, 0.05).unwrap(),
                equivalence_signed_rank(&a, 1.0, 0.05).unwrap(),
                equivalence_rank_sum(&a, &b, 1.0, 0.05).unwrap(),
            ];
            for (which, found) in all.iter().enumerate() {
                assert_eq!(found.test.p_value <= 0.05, inside(found), "{seed} {which}");
                n_equivalent += usize::from(inside(found));
            }
        }
        assert!(n_equivalent > 100 && n_equivalent < 1100, "{n_equivalent}");
    }

    #[test]
    fn bad_margins_are_refused() {
        for margin in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(equivalence_t(&[1.0, 2.0], margin, 0.05).is_err());
            assert!(equivalence_signed_rank(&[1.0, 2.0], margin, 0.05).is_err());
        }
        assert!(equivalence_t(&[1.0, 2.0], 1.0, 0.5).is_err() && equivalence_t(&[1.0, 1.0], 1.0, 0.05).is_err());
        assert!(equivalence_signed_rank(&[], 1.0, 0.05).is_err());
    }
}
