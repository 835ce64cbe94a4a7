//! From the values of units to an estimate, its interval and a p-value, by the test that the file names.

use ontogeny_stats::ArrayError;
use ontogeny_stats::hypothesis::{
    Baseline, Basis, Interval, Margin, PermutationSettings, ProportionKind, RankCoefficient, ResamplingSettings,
    RunEvents, RunRows, Sided, Verdict, binomial_law, bootstrap, difference_by_labels, equivalence_verdict,
    event_scores, jonckheere_trend, mean, mean_by_signs, page_trend, predictive_skill, proportion, rank_correlation,
    rank_sum_test, ridge, sign_test, signed_rank_test, t_test, verdict, welch_test,
};

use crate::study_file::{Direction, Hypothesis, TestKind};

/// What a test is done on.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Sample {
    /// One value for each unit.
    One(Vec<f64>),
    /// Units of two families.
    Two(Vec<f64>, Vec<f64>),
    /// Values by seed at ascending doses.
    Doses(Vec<f64>, Vec<Vec<f64>>),
    /// Values of different runs by ascending dose.
    Groups(Vec<f64>, Vec<Vec<f64>>),
    /// x and y of each unit.
    Pairs(Vec<f64>, Vec<f64>),
    /// Events of each unit.
    Events(Vec<RunEvents>, f64),
    /// Features and targets of each unit.
    Rows(Vec<RunRows>),
}

/// What a test found; the interval belongs to the effect, at the level asked for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Estimate {
    /// What is estimated.
    pub(crate) name: &'static str,
    /// The estimate less the value without an effect.
    pub(crate) effect: f64,
    /// Its interval.
    pub(crate) interval: Interval,
    pub(crate) p_value: f64,
    pub(crate) basis: Basis,
}

/// Fewest units of a bootstrap: of fewer, intervals at 0.95 cover the mean in less than 0.92 of all samples (docs/hypotheses.md).
const BOOTSTRAP_UNITS: usize = 20;

/// Penalties that ridge regression chooses among, by cross-validation inside.
const PENALTIES: [f64; 5] = [0.001, 0.01, 0.1, 1.0, 10.0];

impl Direction {
    pub(crate) fn sided(self) -> Sided {
        match self {
            Self::Greater => Sided::Greater,
            Self::Less => Sided::Less,
            Self::Either => Sided::Either,
        }
    }
}

impl TestKind {
    pub(crate) fn is_equivalence(self) -> bool {
        matches!(self, Self::EquivalenceT | Self::EquivalenceSignedRank)
    }

    /// Whether its units are those of two families.
    pub(crate) fn is_of_two_samples(self) -> bool {
        matches!(self, Self::RankSum | Self::Welch | Self::Permutation)
    }

    /// Whether each unit has one value, and nothing beside it.
    pub(crate) fn is_of_one_sample(self) -> bool {
        matches!(self, Self::T | Self::SignedRank | Self::Sign | Self::SignFlip | Self::Bootstrap | Self::Proportion)
            || self.is_equivalence()
    }

    /// Its name in study files.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::T => "t",
            Self::SignedRank => "signed_rank",
            Self::Sign => "sign",
            Self::SignFlip => "sign_flip",
            Self::Bootstrap => "bootstrap",
            Self::RankSum => "rank_sum",
            Self::Welch => "welch",
            Self::Permutation => "permutation",
            Self::EquivalenceT => "equivalence_t",
            Self::EquivalenceSignedRank => "equivalence_signed_rank",
            Self::Page => "page",
            Self::Jonckheere => "jonckheere",
            Self::Spearman => "spearman",
            Self::Kendall => "kendall",
            Self::Proportion => "proportion",
            Self::Precision => "precision",
            Self::Recall => "recall",
            Self::Prediction => "prediction",
        }
    }
}

/// What decides a claim besides its data.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Claim {
    pub(crate) test: TestKind,
    pub(crate) sided: Sided,
    pub(crate) no_effect: f64,
    pub(crate) smallest_effect: f64,
}

impl Claim {
    pub(crate) fn of(h: &Hypothesis) -> Self {
        Self { test: h.test, sided: h.direction.sided(), no_effect: h.no_effect, smallest_effect: h.smallest_effect }
    }

    /// Level of the interval that decides at an error rate.
    pub(crate) fn deciding_level(self, alpha: f64) -> f64 {
        if self.test.is_equivalence() { 1.0 - 2.0 * alpha } else { self.sided.interval_level(alpha) }
    }

    /// What an estimate with the interval of [`deciding_level`](Self::deciding_level) says of the claim at an error rate.
    ///
    /// Supported takes the p-value as well: Holm's method corrects p-values, and where these are of ranks and the interval of slopes,
    /// say, one may exclude no effect without the other.
    ///
    /// # Errors
    /// An estimate or an interval that is no number.
    pub(crate) fn verdict(self, found: &Estimate, alpha: f64) -> Result<Verdict, ArrayError> {
        let word = if self.test.is_equivalence() {
            equivalence_verdict(found.effect, found.interval, self.smallest_effect)
        } else {
            verdict(found.effect, found.interval, self.sided, self.smallest_effect)
        };
        Ok(match word? {
            Verdict::Supported if !is_significant(found.p_value, alpha) => Verdict::Undecided,
            word => word,
        })
    }

    /// Whether an estimate with that interval excludes no effect, or, of equivalence, a difference beyond the margin.
    ///
    /// # Errors
    /// As [`verdict`](Self::verdict).
    pub(crate) fn excludes_no_effect(self, found: &Estimate, alpha: f64) -> Result<bool, ArrayError> {
        let smallest_effect = if self.test.is_equivalence() { self.smallest_effect } else { 0.0 };
        Ok(Self { smallest_effect, ..self }.verdict(found, alpha)? == Verdict::Supported)
    }

    /// Estimates the effect with an interval of a level.
    ///
    /// # Errors
    /// Data that the test cannot take: too few units, or values that do not vary where they must.
    pub(crate) fn estimate(self, sample: &Sample, level: f64) -> Result<Estimate, ArrayError> {
        self.estimate_with(sample, level, &PermutationSettings::default())
    }

    /// The same with fewer permutations, for simulations.
    pub(crate) fn estimate_with(
        self,
        sample: &Sample,
        level: f64,
        permutations: &PermutationSettings,
    ) -> Result<Estimate, ArrayError> {
        let Self { test, sided, no_effect, .. } = self;
        match sample {
            Sample::One(values) => self.one_sample(values, level, permutations),
            Sample::Two(first, second) if test == TestKind::RankSum => {
                let found = rank_sum_test(first, second, sided, level)?;
                Ok(estimate("shift", found.shift.estimate, found.shift.interval, found.test))
            }
            Sample::Two(first, second) if test == TestKind::Permutation => {
                let found = difference_by_labels(first, second, sided, level, permutations)?;
                Ok(estimate("difference of means", found.mean.estimate, found.mean.interval, found.test))
            }
            Sample::Two(first, second) => {
                let found = welch_test(first, second, sided, level)?;
                Ok(estimate("difference of means", found.mean.estimate, found.mean.interval, found.test))
            }
            Sample::Doses(doses, blocks) => {
                let found = page_trend(doses, blocks, sided, level)?;
                Ok(estimate("slope over the dose", found.slope.estimate, found.slope.interval, found.test))
            }
            Sample::Groups(doses, groups) => {
                let found = jonckheere_trend(doses, groups, sided, level, permutations)?;
                Ok(estimate("slope over the dose", found.slope.estimate, found.slope.interval, found.test))
            }
            Sample::Pairs(x, y) => {
                let (coefficient, name) = match test {
                    TestKind::Kendall => (RankCoefficient::Kendall, "Kendall's τ"),
                    _ => (RankCoefficient::Spearman, "Spearman's ρ"),
                };
                let found = rank_correlation(x, y, coefficient, sided, level, permutations)?;
                Ok(estimate(name, found.coefficient.estimate, found.coefficient.interval, found.test))
            }
            Sample::Events(runs, factor) => {
                let settings = ResamplingSettings { level, ..ResamplingSettings::default() };
                let scores = event_scores(runs, Margin::factor(*factor), &settings)?;
                let (share, name) = match test {
                    TestKind::Precision => (scores.precision, "precision"),
                    _ => (scores.recall, "recall"),
                };
                let Some(share) = share else { return Err(ArrayError::TooFew { what: "events", found: 0, needed: 1 }) };
                // The wider of the two: events of a run may stand and fall together.
                let exact = share.share.interval;
                let interval = share.over_runs.map_or(exact, |over| Interval {
                    lower: exact.lower.min(over.lower),
                    upper: exact.upper.max(over.upper),
                    level,
                });
                let p_value = binomial_p(share.n_matched, share.n_events, no_effect, sided);
                Ok(shifted(name, share.share.estimate, interval, no_effect, p_value, Basis::Exact))
            }
            Sample::Rows(rows) => {
                let found = predictive_skill(rows, &PENALTIES, Baseline::TrainingMean, level, |runs, penalty| {
                    ridge(runs, penalty)
                })?;
                let skill = found.skill.skill;
                // The t test of the loss saved, on the side claimed.
                let saved = found.skill.saved;
                let either = saved.test.p_value;
                let p_value = match sided {
                    Sided::Either => either,
                    Sided::Greater if skill.estimate > 0.0 => either / 2.0,
                    Sided::Less if skill.estimate < 0.0 => either / 2.0,
                    _ => 1.0 - either / 2.0,
                };
                Ok(shifted("skill out of sample", skill.estimate, skill.interval, 0.0, p_value, saved.test.basis))
            }
        }
    }

    fn one_sample(
        self,
        values: &[f64],
        level: f64,
        permutations: &PermutationSettings,
    ) -> Result<Estimate, ArrayError> {
        let Self { test, sided, no_effect, smallest_effect } = self;
        if test == TestKind::Proportion {
            let n_hits = values.iter().filter(|v| **v != 0.0).count();
            let found = proportion(n_hits, values.len(), ProportionKind::ClopperPearson, level)?;
            let p_value = binomial_p(n_hits, values.len(), no_effect, sided);
            return Ok(shifted("share", found.estimate, found.interval, no_effect, p_value, Basis::Exact));
        }
        let values: Vec<f64> = values.iter().map(|v| v - no_effect).collect();
        match test {
            TestKind::T => {
                let found = t_test(&values, sided, level)?;
                Ok(estimate("mean", found.mean.estimate, found.mean.interval, found.test))
            }
            TestKind::Sign => {
                let found = sign_test(&values, sided, level)?;
                Ok(estimate("median", found.median.estimate, found.median.interval, found.test))
            }
            TestKind::SignFlip => {
                let found = mean_by_signs(&values, sided, level, permutations)?;
                Ok(estimate("mean", found.mean.estimate, found.mean.interval, found.test))
            }
            TestKind::Bootstrap => {
                if values.len() < BOOTSTRAP_UNITS {
                    return Err(ArrayError::TooFew {
                        what: "units of a bootstrap, whose intervals are too short of fewer (use `sign_flip` or `signed_rank`)",
                        found: values.len(),
                        needed: BOOTSTRAP_UNITS,
                    });
                }
                let settings = ResamplingSettings {
                    level,
                    n_resamples: permutations.n_resamples,
                    ..ResamplingSettings::default()
                };
                let found = bootstrap(&values, mean, &settings)?;
                let above = found.p_above_zero;
                let p_value = match sided {
                    Sided::Greater => above,
                    Sided::Less => 1.0 - above,
                    Sided::Either => 2.0 * above.min(1.0 - above),
                };
                let basis = Basis::MonteCarlo { n: settings.n_resamples };
                Ok(shifted("mean", found.effect.estimate, found.effect.interval, 0.0, p_value, basis))
            }
            TestKind::EquivalenceT => {
                // Its own α is half of what the interval leaves out.
                let alpha = (1.0 - level) / 2.0;
                let found = ontogeny_stats::hypothesis::equivalence_t(&values, smallest_effect, alpha)?;
                Ok(estimate("mean", found.effect.estimate, found.effect.interval, found.test))
            }
            TestKind::EquivalenceSignedRank => {
                let alpha = (1.0 - level) / 2.0;
                let found = ontogeny_stats::hypothesis::equivalence_signed_rank(&values, smallest_effect, alpha)?;
                Ok(estimate("pseudo-median", found.effect.estimate, found.effect.interval, found.test))
            }
            _ => {
                let found = signed_rank_test(&values, sided, level)?;
                Ok(estimate("pseudo-median", found.shift.estimate, found.shift.interval, found.test))
            }
        }
    }
}

/// p ≤ α; sums of probabilities that are α but for rounding are not above it.
pub(crate) fn is_significant(p_value: f64, alpha: f64) -> bool {
    p_value <= alpha * (1.0 + 1e-12)
}

fn estimate(name: &'static str, effect: f64, interval: Interval, test: ontogeny_stats::hypothesis::Test) -> Estimate {
    Estimate { name, effect, interval, p_value: test.p_value, basis: test.basis }
}

/// A share, a skill: less its value without an effect.
fn shifted(name: &'static str, value: f64, interval: Interval, no_effect: f64, p_value: f64, basis: Basis) -> Estimate {
    let interval =
        Interval { lower: interval.lower - no_effect, upper: interval.upper - no_effect, level: interval.level };
    Estimate { name, effect: value - no_effect, interval, p_value, basis }
}

/// Probability of as many hits in `n` independent trials of chance `p`; two-sided: twice the smaller side.
pub(crate) fn binomial_p(n_hits: usize, n: usize, p: f64, sided: Sided) -> f64 {
    let law = binomial_law(n, p);
    let less: f64 = law[..=n_hits.min(n)].iter().sum();
    let greater: f64 = law[n_hits.min(n)..].iter().sum();
    let value = match sided {
        Sided::Greater => greater,
        Sided::Less => less,
        Sided::Either => 2.0 * greater.min(less),
    };
    value.clamp(f64::MIN_POSITIVE, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(test: TestKind, no_effect: f64) -> Claim {
        Claim { test, sided: Sided::Greater, no_effect, smallest_effect: 0.1 }
    }

    #[test]
    fn one_sample_effects_are_told_from_the_value_without_one() {
        let found = claim(TestKind::SignedRank, 2.0).estimate(&Sample::One(vec![3.0; 6]), 0.9).unwrap();
        assert_eq!((found.effect, found.p_value), (1.0, 1.0 / 64.0));
        let found = claim(TestKind::T, 1.0).estimate(&Sample::One(vec![1.5, 2.5, 2.0]), 0.9).unwrap();
        assert!((found.effect - 1.0).abs() < 1e-12);
    }

    #[test]
    fn supported_takes_the_p_value_beside_the_interval() {
        // Six slopes of 1 and two of −0.01: their mean lies 4.5 standard errors above 0, but six rises of eight are chance (37/256).
        let blocks = [vec![vec![0.0, 1.0]; 6], vec![vec![0.0, -0.01]; 2]].concat();
        let claim = claim(TestKind::Page, 0.0);
        let found = claim.estimate(&Sample::Doses(vec![0.0, 1.0], blocks), claim.deciding_level(0.05)).unwrap();
        assert!(found.interval.lower > 0.4 && (found.p_value - 37.0 / 256.0).abs() < 1e-12, "{found:?}");
        assert_eq!(claim.verdict(&found, 0.05), Ok(Verdict::Undecided));
        assert_eq!(claim.verdict(&found, 37.0 / 256.0), Ok(Verdict::Supported));
        assert_eq!(claim.excludes_no_effect(&found, 0.05), Ok(false));
    }

    #[test]
    fn shares_are_binomial() {
        // 5 of 5 with a chance of one half: 1/32.
        let found = claim(TestKind::Proportion, 0.5).estimate(&Sample::One(vec![1.0; 5]), 0.9).unwrap();
        assert!((found.p_value - 1.0 / 32.0).abs() < 1e-12);
        assert!((found.effect - 0.5).abs() < 1e-12);
        // Clopper–Pearson at 90 %: lower end is 0.05^(1/5).
        assert!((found.interval.lower + 0.5 - 0.05_f64.powf(0.2)).abs() < 1e-9);
        assert!((binomial_p(0, 4, 0.5, Sided::Greater) - 1.0).abs() < 1e-12);
        assert!((binomial_p(1, 3, 0.2, Sided::Less) - 0.896).abs() < 1e-12);
    }

    #[test]
    fn events_within_the_factor_count() {
        let runs = vec![RunEvents { truth: vec![100.0, 1000.0], found: vec![110.0] }; 4];
        let found = claim(TestKind::Recall, 0.25).estimate(&Sample::Events(runs.clone(), 1.2), 0.9).unwrap();
        assert!((found.effect - 0.25).abs() < 1e-12);
        let found = claim(TestKind::Precision, 0.25).estimate(&Sample::Events(runs, 1.2), 0.9).unwrap();
        assert!((found.effect - 0.75).abs() < 1e-12);
    }

    #[test]
    fn what_follows_from_its_features_is_predicted() {
        let rows = |x: f64| RunRows { features: vec![vec![x]], targets: vec![3.0 * x + 0.001 * (7.0 * x).sin()] };
        let sample = Sample::Rows((0..8).map(|i| rows(f64::from(i))).collect());
        let found = claim(TestKind::Prediction, 0.0).estimate(&sample, 0.9).unwrap();
        assert!(found.effect > 0.99 && found.p_value < 0.05, "{found:?}");
    }
}
