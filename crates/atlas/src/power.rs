//! The probability that a test excludes no effect when the effect is the smallest of interest.

use ontogeny_stats::hypothesis::{
    Draws, PermutationSettings, Sided, binomial_law, mean, simulated_power, t_test_power,
};

use crate::estimate::{Claim, Sample, binomial_p, is_significant};
use crate::study_file::TestKind;

/// Simulated studies; the standard error of a power of one half is 2.5 points.
const N_STUDIES: usize = 400;
/// Arrangements in each of them: all, where there are few.
const MAX_EXACT: usize = 5_000;

/// Power of the claim with units like those of the sample, at the error rate `alpha`: exact for t and for shares, else simulated with
/// normal scatter of the size found. `None` for predictions, whose scatter depends on the predictor.
///
/// Of equivalence it is the probability of staying within the margin when there is no effect at all.
pub(crate) fn power(claim: Claim, sample: &Sample, alpha: f64) -> Option<f64> {
    let sign = if claim.sided == Sided::Less { -1.0 } else { 1.0 };
    let effect = if claim.test.is_equivalence() { 0.0 } else { sign * claim.smallest_effect };
    // The least p-value of random arrangements lies well below the error rate.
    let n_resamples = ((4.0 / alpha).ceil() as usize).clamp(400, 1_000_000) - 1;
    let permutations = PermutationSettings { max_exact: MAX_EXACT, n_resamples, seed: 0 };
    let simulate = |draw: &dyn Fn(&mut Draws) -> Sample| {
        let rejects = |draws: &mut Draws| {
            let found = claim.estimate_with(&draw(draws), claim.deciding_level(alpha), &permutations)?;
            claim.excludes_no_effect(&found, alpha)
        };
        simulated_power(N_STUDIES, 0, rejects).ok().map(|found| found.power)
    };
    match sample {
        Sample::One(values) if claim.test == TestKind::Proportion => Some(of_share(claim, values.len(), effect, alpha)),
        Sample::Events(runs, _) => {
            let n = runs
                .iter()
                .map(|r| if claim.test == TestKind::Precision { r.found.len() } else { r.truth.len() })
                .sum();
            Some(of_share(claim, n, effect, alpha))
        }
        Sample::One(values) => {
            let (n, scatter) = (values.len(), deviation(values, effect));
            if claim.test == TestKind::T {
                return t_test_power(n, effect / scatter, claim.sided, alpha).ok().map(|found| found.power);
            }
            simulate(&|draws| {
                let centre = claim.no_effect + effect;
                Sample::One((0..n).map(|_| centre + scatter * draws.normal()).collect())
            })
        }
        Sample::Two(first, second) => {
            let (a, b) = (deviation(first, effect), deviation(second, effect));
            simulate(&|draws| {
                let one = (0..first.len()).map(|_| effect + a * draws.normal()).collect();
                Sample::Two(one, (0..second.len()).map(|_| b * draws.normal()).collect())
            })
        }
        Sample::Doses(doses, blocks) => {
            let scatter = about_lines(doses, blocks, effect);
            simulate(&|draws| {
                let block = |draws: &mut Draws| doses.iter().map(|d| effect * d + scatter * draws.normal()).collect();
                Sample::Doses(doses.clone(), (0..blocks.len()).map(|_| block(draws)).collect())
            })
        }
        Sample::Groups(doses, groups) => {
            let scatter = within_groups(groups, effect);
            simulate(&|draws| {
                let mut group =
                    |(d, g): (&f64, &Vec<f64>)| g.iter().map(|_| effect * d + scatter * draws.normal()).collect();
                Sample::Groups(doses.clone(), doses.iter().zip(groups).map(&mut group).collect())
            })
        }
        Sample::Pairs(x, _) => {
            // The correlation of normal pairs with that rank correlation (Pearson 1907).
            let rho = match claim.test {
                TestKind::Kendall => (std::f64::consts::FRAC_PI_2 * effect).sin(),
                _ => 2.0 * (std::f64::consts::PI * effect / 6.0).sin(),
            }
            .clamp(-1.0, 1.0);
            simulate(&|draws| {
                let pairs: Vec<(f64, f64)> = (0..x.len())
                    .map(|_| {
                        let a = draws.normal();
                        (a, rho * a + (1.0 - rho * rho).sqrt() * draws.normal())
                    })
                    .collect();
                let (x, y) = pairs.into_iter().unzip();
                Sample::Pairs(x, y)
            })
        }
        Sample::Rows(_) => None,
    }
}

/// Probability of a share that excludes its value without an effect, by the binomial law.
fn of_share(claim: Claim, n: usize, effect: f64, alpha: f64) -> f64 {
    let p = (claim.no_effect + effect).clamp(0.0, 1.0);
    let rejects = |k: usize| is_significant(binomial_p(k, n, claim.no_effect, claim.sided), alpha);
    binomial_law(n, p).iter().enumerate().filter(|(k, _)| rejects(*k)).map(|(_, weight)| weight).sum::<f64>().min(1.0)
}

/// Standard deviation; where the values are equal, one that is nothing beside the effect.
fn deviation(values: &[f64], effect: f64) -> f64 {
    let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
    let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    let found = (squares / values.len().saturating_sub(1).max(1) as f64).sqrt();
    found.max(1e-9 * effect.abs()).max(1e-12)
}

/// Scatter about the mean of each group.
fn within_groups(groups: &[Vec<f64>], effect: f64) -> f64 {
    let squares: f64 = groups.iter().flat_map(|g| g.iter().map(move |v| (v - mean(g)).powi(2))).sum();
    let freedom: usize = groups.iter().map(|g| g.len().saturating_sub(1)).sum();
    (squares / freedom.max(1) as f64).sqrt().max(1e-9 * effect.abs()).max(1e-12)
}

/// Scatter about the line of each block.
fn about_lines(doses: &[f64], blocks: &[Vec<f64>], effect: f64) -> f64 {
    let n = doses.len() as f64;
    let centre = doses.iter().sum::<f64>() / n;
    let spread: f64 = doses.iter().map(|d| (d - centre).powi(2)).sum();
    let mut squares = 0.0;
    for block in blocks {
        let mean = block.iter().sum::<f64>() / n;
        let slope = doses.iter().zip(block).map(|(d, v)| (d - centre) * v).sum::<f64>() / spread;
        squares += doses.iter().zip(block).map(|(d, v)| (v - mean - slope * (d - centre)).powi(2)).sum::<f64>();
    }
    let freedom = blocks.len() as f64 * (n - 2.0);
    if freedom > 0.0 { (squares / freedom).sqrt().max(1e-9 * effect.abs()) } else { 1e-9 * effect.abs() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(test: TestKind, no_effect: f64, smallest_effect: f64) -> Claim {
        Claim { test, sided: Sided::Greater, no_effect, smallest_effect }
    }

    #[test]
    fn more_units_and_less_scatter_find_more() {
        let values = |n: usize, scatter: f64| {
            Sample::One((0..n).map(|i| scatter * if i % 2 == 0 { 1.0 } else { -1.0 }).collect())
        };
        for test in [TestKind::T, TestKind::SignedRank] {
            let of = |n, scatter| power(claim(test, 0.0, 1.0), &values(n, scatter), 0.05).unwrap();
            assert!(of(12, 0.5) > 0.95, "{test:?}");
            assert!(of(12, 4.0) < 0.4, "{test:?}");
        }
        // Four units cannot support anything by signed ranks: 1/16 > 0.05.
        assert_eq!(power(claim(TestKind::SignedRank, 0.0, 1.0), &values(4, 0.1), 0.05), Some(0.0));
    }

    /// Of 2¹² signs the least p-value is 2/4096 for either side, below 0.01/3.
    #[test]
    fn strict_error_rates_are_within_reach_of_permutations() {
        let clear = Claim { sided: Sided::Either, ..claim(TestKind::SignFlip, 0.0, 1.0) };
        let values = Sample::One((0..12).map(|i| 0.1 * f64::from(i % 3)).collect());
        assert!(power(clear, &values, 0.01 / 3.0).unwrap() > 0.9);
    }

    /// Three groups of two: the scatter has three degrees of freedom of six values.
    #[test]
    fn groups_have_a_mean_each() {
        let groups = [vec![0.0, 2.0], vec![10.0, 12.0], vec![5.0, 7.0]];
        assert!((within_groups(&groups, 1.0) - 2.0_f64.sqrt()).abs() < 1e-12);
    }

    #[test]
    fn shares_are_exact() {
        // Of 5 trials only 5 hits reject 0.5 at 0.05; at 0.9 that is 0.9^5.
        let found = power(claim(TestKind::Proportion, 0.5, 0.4), &Sample::One(vec![1.0; 5]), 0.05).unwrap();
        assert!((found - 0.9_f64.powi(5)).abs() < 1e-12);
    }

    #[test]
    fn correlations_and_doses_are_simulated() {
        let x: Vec<f64> = (0..30).map(f64::from).collect();
        let found = power(claim(TestKind::Spearman, 0.0, 0.6), &Sample::Pairs(x.clone(), x), 0.05).unwrap();
        assert!(found > 0.9, "{found}");
        let blocks = vec![vec![0.1, 0.0, 0.2], vec![0.0, 0.1, 0.0], vec![0.2, 0.0, 0.1], vec![0.0, 0.0, 0.1]];
        let found = power(claim(TestKind::Page, 0.0, 1.0), &Sample::Doses(vec![0.0, 1.0, 2.0], blocks), 0.05).unwrap();
        assert!(found > 0.99, "{found}");
    }
}
