//! Power: how likely a test finds an effect of a given size.

use std::f64::consts::{LN_2, SQRT_2};

use super::answer::{Basis, Sided, check_alpha};
use super::discrete::DiscreteNull;
use super::sign::MAX_SIGNED;
use crate::array_error::{ArrayError, enough, finite, setting};
use crate::random::Stream;
use crate::special::{normal_cdf, student_quantile};

/// Purpose of the random stream.
const STUDY_STREAM: u64 = 72;
/// Intervals of Simpson's rule, which the scale of a non-central t needs to ten digits.
const SIMPSON: usize = 2_000;

/// Probability of rejecting no effect at α, where the effect is as assumed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Power {
    /// The probability.
    pub power: f64,
    /// Its binomial standard error where it is a share of simulated studies, else 0.
    pub standard_error: f64,
    /// Whether it is exact, exact for normal values, or simulated.
    pub basis: Basis,
}

/// Power of [`t_test`](super::t_test) with `n` values whose mean is `effect` standard deviations (signed) from 0: exact for
/// normal values, by the non-central t.
///
/// # Errors
/// Fewer than two values, an effect that is not finite, an `alpha` outside (0, ½).
pub fn t_test_power(n: usize, effect: f64, sided: Sided, alpha: f64) -> Result<Power, ArrayError> {
    check_alpha(alpha)?;
    enough("values", n, 2)?;
    finite("the effect in standard deviations", &[effect])?;
    let degrees = (n - 1) as f64;
    let centre = effect * (n as f64).sqrt();
    let beyond = |tail: f64, centre: f64| noncentral_tail(-student_quantile(tail, degrees), degrees, centre);
    let power = match sided {
        Sided::Either => beyond(alpha / 2.0, centre) + beyond(alpha / 2.0, -centre),
        Sided::Greater => beyond(alpha, centre),
        Sided::Less => beyond(alpha, -centre),
    };
    Ok(Power { power: power.clamp(0.0, 1.0), standard_error: 0.0, basis: Basis::Normal })
}

/// Power of [`sign_test`](super::sign_test) with `n` values of which each is positive with the given probability and none is
/// 0: exact.
///
/// # Errors
/// No values or more than 1,000, a probability outside [0, 1], an `alpha` outside (0, ½).
pub fn sign_test_power(n: usize, probability_positive: f64, sided: Sided, alpha: f64) -> Result<Power, ArrayError> {
    check_alpha(alpha)?;
    let p = probability_positive;
    setting("the probability of a positive value", p, (0.0..=1.0).contains(&p), "a number from 0 to 1")?;
    setting("the number of values", n as f64, (1..=MAX_SIGNED).contains(&n), "1 to 1,000")?;
    let null = DiscreteNull::of_signs(&vec![1; n]);
    let law = binomial_law(n, p);
    let rejects = |k: usize| null.test(k, k as f64, sided).p_value <= alpha * (1.0 + 1e-12);
    let power = law.iter().enumerate().filter(|(k, _)| rejects(*k)).map(|(_, weight)| weight).sum::<f64>();
    Ok(Power { power: power.min(1.0), standard_error: 0.0, basis: Basis::Exact })
}

/// Probabilities of 0 to `n` hits in `n` independent trials of chance `p`, by adding one trial at a time, which neither overflows nor
/// cancels.
pub fn binomial_law(n: usize, p: f64) -> Vec<f64> {
    let mut law = vec![1.0];
    for _ in 0..n {
        let mut next = vec![0.0; law.len() + 1];
        for (k, weight) in law.iter().enumerate() {
            next[k] += (1.0 - p) * weight;
            next[k + 1] += p * weight;
        }
        law = next;
    }
    law
}

/// Power of anything, as the share of `n_studies` simulated studies in which `rejects` returns true.
///
/// Each study has a stream of its own. Draw its data with the effect of interest put in, from residuals of pilot runs
/// ([`Draws::residuals`]) or from an assumed law, and test them; a study whose values are all equal counts as one that finds
/// nothing.
///
/// ```
/// use ontogeny_stats::hypothesis::{Sided, signed_rank_test, simulated_power};
///
/// // Twelve seeds, residuals as in the pilot, smallest effect of interest 0.5.
/// let pilot = [0.31, -0.22, 0.08, -0.41, 0.17, 0.07];
/// let power = simulated_power(400, 1, |draws| {
///     let values = draws.residuals(&pilot, 12, 0.5);
///     Ok(signed_rank_test(&values, Sided::Greater, 0.95)?.test.p_value <= 0.05)
/// })?;
/// assert!(power.power > 0.9);
/// # Ok::<(), ontogeny_stats::ArrayError>(())
/// ```
///
/// # Errors
/// No studies; what `rejects` returns, other than that nothing varies.
pub fn simulated_power(
    n_studies: usize,
    seed: u64,
    rejects: impl Fn(&mut Draws) -> Result<bool, ArrayError>,
) -> Result<Power, ArrayError> {
    enough("simulated studies", n_studies, 1)?;
    let mut n_rejected = 0;
    for index in 0..n_studies {
        match rejects(&mut Draws { stream: Stream::new(seed, STUDY_STREAM, index as u64) }) {
            Ok(rejected) => n_rejected += usize::from(rejected),
            Err(ArrayError::Constant { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    let power = f64::from(n_rejected as u32) / n_studies as f64;
    let standard_error = (power * (1.0 - power) / n_studies as f64).sqrt();
    Ok(Power { power, standard_error, basis: Basis::MonteCarlo { n: n_studies } })
}

/// Random numbers of one simulated study.
#[derive(Debug)]
pub struct Draws {
    stream: Stream,
}

impl Draws {
    /// Uniform on (0, 1).
    pub fn uniform(&mut self) -> f64 {
        self.stream.uniform()
    }

    /// Standard normal.
    pub fn normal(&mut self) -> f64 {
        self.stream.normal()
    }

    /// `n` values about `centre` with the shape of the `residuals`: drawn from them with replacement, freed of their mean, and
    /// widened by √(m/(m − 1)), without which m residuals would spread too little. No values where there are no residuals.
    pub fn residuals(&mut self, residuals: &[f64], n: usize, centre: f64) -> Vec<f64> {
        let m = residuals.len() as f64;
        if residuals.is_empty() {
            return vec![];
        }
        let mean = residuals.iter().sum::<f64>() / m;
        let widening = if m > 1.0 { (m / (m - 1.0)).sqrt() } else { 1.0 };
        (0..n).map(|_| centre + widening * (residuals[self.stream.below(residuals.len())] - mean)).collect()
    }
}

/// P(T > t) of the non-central t, T = (Z + centre)/S with ν S² ~ χ²(ν): the mean of Φ(centre − t S) over S, by Simpson's rule.
fn noncentral_tail(t: f64, degrees: f64, centre: f64) -> f64 {
    let log_norm = LN_2 + 0.5 * degrees * (0.5 * degrees).ln() - libm::lgamma(0.5 * degrees);
    let density = |s: f64| {
        // s^(ν − 1) at 0 is 1 of one degree of freedom.
        let power = if degrees == 1.0 { 0.0 } else { (degrees - 1.0) * s.ln() };
        (log_norm + power - 0.5 * degrees * s * s).exp()
    };
    // S is near 1 with standard deviation 1/√(2ν); twelve of them leave out less than rounding.
    let reach = 12.0 / (SQRT_2 * degrees.sqrt());
    let (low, mut high) = ((1.0 - reach).max(0.0), 1.0 + reach);
    if t > 0.0 {
        // Where t S exceeds the centre by nine, Φ is below 1e-18: the steps go where it turns.
        high = high.min((centre + 9.0) / t);
    }
    if high <= low {
        return 0.0;
    }
    let step = (high - low) / SIMPSON as f64;
    let sum: f64 = (0..=SIMPSON)
        .map(|i| {
            let s = low + i as f64 * step;
            let weight = if i == 0 || i == SIMPSON { 1.0 } else { 2.0 + 2.0 * (i % 2) as f64 };
            weight * density(s) * normal_cdf(centre - t * s)
        })
        .sum();
    sum * step / 3.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hypothesis::{sign_test, t_test};

    #[test]
    fn power_without_an_effect_is_alpha() {
        for n in [2, 3, 5, 30] {
            for sided in [Sided::Either, Sided::Greater, Sided::Less] {
                let power = t_test_power(n, 0.0, sided, 0.05).unwrap();
                assert!((power.power - 0.05).abs() < 1e-9, "{n} {power:?}");
            }
        }
        // Six values: only all six of one sign have p = 2/64 ≤ 0.05.
        assert_eq!(sign_test_power(6, 0.5, Sided::Either, 0.05).unwrap().power, 2.0 / 64.0);
        assert_eq!(sign_test_power(5, 0.9, Sided::Either, 0.05).unwrap().power, 0.0);
        assert!((sign_test_power(6, 0.9, Sided::Greater, 0.05).unwrap().power - 0.9_f64.powi(6)).abs() < 1e-15);
        assert_eq!(sign_test_power(5, 1.0, Sided::Greater, 0.05).unwrap().power, 1.0);
    }

    #[test]
    fn simulation_agrees_with_what_is_exact() {
        for (n, effect, sided) in [(5, 1.0, Sided::Greater), (12, -0.7, Sided::Either), (12, -0.7, Sided::Greater)] {
            let exact = t_test_power(n, effect, sided, 0.05).unwrap().power;
            let drawn = simulated_power(4_000, 3, |draws| {
                let values: Vec<f64> = (0..n).map(|_| draws.normal() + effect).collect();
                Ok(t_test(&values, sided, 0.95)?.test.p_value <= 0.05)
            });
            let error = (exact * (1.0 - exact) / 4_000.0).sqrt();
            assert!((drawn.unwrap().power - exact).abs() < 3.5 * error + 1e-3, "{n} {exact}");
        }
        let exact = sign_test_power(15, 0.8, Sided::Greater, 0.05).unwrap().power;
        let drawn = simulated_power(4_000, 4, |draws| {
            let values: Vec<f64> = (0..15).map(|_| if draws.uniform() < 0.8 { 1.0 } else { -1.0 }).collect();
            Ok(sign_test(&values, Sided::Greater, 0.95)?.test.p_value <= 0.05)
        });
        assert!((drawn.unwrap().power - exact).abs() < 3.5 * (exact * (1.0 - exact) / 4_000.0).sqrt());
    }

    #[test]
    fn residuals_keep_their_spread() {
        let pilot = [0.0, 1.0, 5.0];
        let mut draws = Draws { stream: Stream::new(1, 0, 0) };
        let n = 20_000;
        let values = draws.residuals(&pilot, n, 7.0);
        let mean = values.iter().sum::<f64>() / n as f64;
        let variance = values.iter().map(|v| (v - 7.0).powi(2)).sum::<f64>() / n as f64;
        // The unbiased variance of the pilot is 7; their fourth moment is 1.5 variances squared (three points).
        assert!((mean - 7.0).abs() < 4.0 * (7.0 / n as f64).sqrt());
        assert!((variance - 7.0).abs() < 4.0 * 7.0 * (0.5 / n as f64).sqrt(), "{variance}");
        assert!(draws.residuals(&[], 3, 0.0).is_empty());
        assert_eq!(draws.residuals(&[4.0], 2, 1.0), [1.0, 1.0]);
    }

    #[test]
    fn errors_of_a_study_are_told() {
        assert!(simulated_power(10, 0, |_| Ok(t_test(&[1.0], Sided::Either, 0.95)?.test.p_value < 0.1)).is_err());
        let constant = simulated_power(10, 0, |_| Ok(t_test(&[1.0; 3], Sided::Either, 0.95)?.test.p_value < 0.1));
        assert_eq!(constant.unwrap().power, 0.0);
        assert!(simulated_power(0, 0, |_| Ok(true)).is_err());
        assert!(t_test_power(1, 0.0, Sided::Either, 0.05).is_err());
        assert!(t_test_power(5, f64::NAN, Sided::Either, 0.05).is_err());
        assert!(sign_test_power(5, 1.5, Sided::Either, 0.05).is_err());
        assert!(sign_test_power(0, 0.5, Sided::Either, 0.05).is_err());
    }
}
