//! Hypotheses: tests with intervals and power, scores of predictions, and the verdict that follows.
//!
//! Units (runs, seeds, pairs) are independent, unless a row says otherwise. Every interval is two-sided; every p-value lies in
//! (0, 1] and says by its [`Basis`] what it rests on. Whatever is random takes a seed and gives the same bits each time. Input that is
//! empty, constant where something must vary, or not finite is an error or has the result its item states. How often intervals
//! cover and tests err, measured: `docs/hypotheses.md`.
//!
//! | Question | Item | Assumes | Source |
//! |---|---|---|---|
//! | Is this mean (of differences) 0? | [`t_test`] | normal values | Student 1908 |
//! | The same, without their shape? | [`signed_rank_test`], with the pseudo-median | symmetric about it | Wilcoxon 1945; Hodges and Lehmann 1963 |
//! | The same, without symmetry? | [`sign_test`], with the median | nothing | Dixon and Mood 1946 |
//! | The same of the mean, with its interval? | [`mean_by_signs`] | symmetric about it | Fisher 1935; Hartigan 1969 |
//! | The same, of any statistic? | [`sign_flip_test`] | symmetric about 0 without an effect | Fisher 1935 |
//! | Do two samples differ in mean? | [`welch_test`] | normal values | Welch 1947 |
//! | By a shift? | [`rank_sum_test`], with the shift | one shape (for the interval) | Mann and Whitney 1947 |
//! | In mean, by permutation, with its interval? | [`difference_by_labels`] | one shape (for the interval) | Fisher 1935; Hartigan 1969 |
//! | In any statistic? | [`permutation_test`] | exchangeable labels without an effect | Fisher 1935; Phipson and Smyth 2010 |
//! | Do two quantities rise together? | [`rank_correlation`] | exchangeable pairs; the interval is approximate | Spearman 1904; Kendall 1945 |
//! | Is an effect smaller than a margin? | [`equivalence_t`], [`equivalence_welch`], [`equivalence_signed_rank`], [`equivalence_rank_sum`] | as the test | Schuirmann 1987 |
//! | Does it rise with the dose, over different runs? | [`jonckheere_trend`], with the slope | one shape at all doses | Jonckheere 1954; Sen 1968 |
//! | Over the same seeds? | [`page_trend`], with the slope | exchangeable within a seed; the slope's interval: normal | Page 1963 |
//! | How precisely is any statistic known? | [`bootstrap`] | 20 units or more | Efron 1987 |
//! | How precisely a share? | [`proportion`] | independent trials | Wilson 1927; Clopper and Pearson 1934 |
//! | Were events found, to a factor in time? | [`event_scores`], [`match_events`] | independent events, or runs | |
//! | Can an outcome be predicted, out of sample? | [`predictive_skill`], [`ridge`] | independent runs | Stone 1974; Varma and Simon 2006 |
//! | Online, from the past alone? | [`HeldBack`], [`Past`] | | |
//! | How good are forecasts? | [`brier_scores`], [`log_scores`], [`interval_scores`], [`interval_coverage`] | | Gneiting and Raftery 2007 |
//! | Better than a baseline? | [`paired_skill`] | normal losses | Fieller 1954 |
//! | What would this test find? | [`t_test_power`], [`sign_test_power`], [`simulated_power`] | stated by [`Basis`] | |
//! | Supported, refuted or undecided? | [`verdict()`], [`equivalence_verdict`] | a corrected interval | |
//!
//! Corrections for several hypotheses: [`holm`](crate::holm), [`holm_rates`](crate::holm_rates),
//! [`benjamini_hochberg`](crate::benjamini_hochberg).
//!
//! ```
//! use ontogeny_stats::hypothesis::{Sided, Verdict, signed_rank_test, verdict};
//!
//! // Six seeds: transition with the intervention less transition without, in nats of step + 1; one of 0.1 would matter.
//! let delays = [0.31, 0.22, 0.48, 0.41, 0.17, 0.27];
//! let sided = Sided::Greater;
//! let found = signed_rank_test(&delays, sided, sided.interval_level(0.05))?;
//! assert_eq!(found.test.p_value, 1.0 / 64.0);
//! assert_eq!(verdict(found.shift.estimate, found.shift.interval, sided, 0.1)?, Verdict::Supported);
//! # Ok::<(), ontogeny_stats::ArrayError>(())
//! ```

mod answer;
mod bootstrap;
mod correlation;
mod discrete;
mod dose;
mod equivalence;
mod events;
mod forecast_scores;
mod online;
mod paired_skill;
mod permutation;
mod power;
mod prediction;
mod proportion;
mod rank_sum;
mod sign;
mod signed_rank;
mod t_tests;
mod typical_values;
mod verdict;

pub use answer::{Basis, Effect, Interval, Sided, Test};
pub use bootstrap::{Bootstrap, BootstrapKind, ResamplingSettings, bootstrap};
pub use correlation::{RankCoefficient, RankCorrelation, rank_correlation};
pub use dose::{JonckheereTrend, PageTrend, jonckheere_trend, page_trend};
pub use equivalence::{Equivalence, equivalence_rank_sum, equivalence_signed_rank, equivalence_t, equivalence_welch};
pub use events::{EventScores, EventShare, Margin, RunEvents, event_scores, match_events};
pub use forecast_scores::{brier_scores, interval_coverage, interval_scores, log_scores};
pub use online::{HeldBack, OnlineForecast, Past};
pub use paired_skill::{PairedSkill, paired_skill};
pub use permutation::{PermutationSettings, difference_of_means, mean, permutation_test, sign_flip_test};
pub use power::{Draws, Power, binomial_law, sign_test_power, simulated_power, t_test_power};
pub use prediction::{Baseline, PredictiveSkill, RunRows, predictive_skill, ridge};
pub use proportion::{ProportionKind, proportion};
pub use rank_sum::{RankSumTest, rank_sum_test};
pub use sign::{SignTest, sign_test};
pub use signed_rank::{SignedRankTest, signed_rank_test};
pub use t_tests::{TTest, t_test, welch_test};
pub use typical_values::{MeanByPermutation, difference_by_labels, mean_by_signs};
pub use verdict::{Verdict, equivalence_verdict, verdict};
