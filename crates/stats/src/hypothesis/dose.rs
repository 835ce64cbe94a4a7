//! Dose response: does an outcome rise with an ordered setting? Independent runs (Jonckheere) or the same seeds (Page).

use super::answer::{Effect, Sided, Test, check_level};
use super::correlation::pearson;
use super::discrete::DiscreteNull;
use super::permutation::{PermutationSettings, arrangement_test, mean};
use super::rank_sum::check_ranked;
use super::t_tests::t_test;
use crate::array_error::{ArrayError, enough, finite, increasing, length, setting};
use crate::order::{average_ranks, quantile_of_sorted};

/// Most doses of [`page_trend`], whose law counts all orders of a block.
const MAX_DOSES: usize = 8;
/// Most blocks of it.
const MAX_BLOCKS: usize = 200;

/// Outcome of [`jonckheere_trend`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct JonckheereTrend {
    /// The statistic J is the number of pairs in which the larger dose has the larger value, equal ones counting one half.
    pub test: Test,
    /// J rescaled to [−1, 1]: concordant less discordant pairs, over all pairs of different doses (Somers's D).
    pub concordance: f64,
    /// Median slope, in units of the value for one unit of the dose, over all pairs of different doses (Theil and Sen).
    pub slope: Effect,
}

/// Different runs at each dose: do values rise with the dose (Jonckheere 1954, Terpstra 1952)?
///
/// `groups[i]` holds the values at `doses[i]`. Without ties the law of J is exact at any size: J is a sum of independent Mann–
/// Whitney statistics, each group against all below it. With ties all arrangements are counted where few, else drawn.
/// The interval of the slope inverts the same law (Sen 1968): exact where the dose shifts the values along a line, and
/// without ties it excludes 0 exactly where the two-sided test rejects. At most 200 values.
///
/// # Errors
/// Fewer than two doses, doses that do not increase, an empty group, values that are not finite, a level outside (0, 1).
pub fn jonckheere_trend(
    doses: &[f64],
    groups: &[Vec<f64>],
    sided: Sided,
    level: f64,
    settings: &PermutationSettings,
) -> Result<JonckheereTrend, ArrayError> {
    check_doses(doses, level)?;
    length("the groups of a dose response", groups.len(), doses.len())?;
    for group in groups {
        finite("the values at a dose", group)?;
        enough("values at a dose", group.len(), 1)?;
    }
    let values: Vec<f64> = groups.concat();
    check_ranked(values.len())?;
    let labels: Vec<usize> = groups.iter().enumerate().flat_map(|(i, g)| vec![i; g.len()]).collect();

    // Slopes of all pairs of different doses, and J twice over, so that it is whole.
    let (mut slopes, mut doubled) = (vec![], 0);
    for i in 0..values.len() {
        for j in (i + 1..values.len()).filter(|&j| labels[j] > labels[i]) {
            slopes.push((values[j] - values[i]) / (doses[labels[j]] - doses[labels[i]]));
            doubled += twice_larger(values[j], values[i]);
        }
    }
    finite("the slopes between values", &slopes)?;
    slopes.sort_by(f64::total_cmp);
    let j = doubled as f64 / 2.0;

    let mut untied = DiscreteNull::of_counts(vec![1.0]);
    let mut n_below = 0;
    for group in groups {
        untied = untied.plus(&DiscreteNull::of_u(n_below, group.len()));
        n_below += group.len();
    }
    let mut sorted = values.clone();
    sorted.sort_by(f64::total_cmp);
    let test = if sorted.windows(2).any(|pair| pair[0] == pair[1]) {
        arrangement_test(&labels, j, sided, settings, |labels| {
            let pairs = (0..values.len()).flat_map(|i| (i + 1..values.len()).map(move |k| (i, k)));
            let doubled: usize = pairs
                .map(|(i, k)| match labels[i].cmp(&labels[k]) {
                    std::cmp::Ordering::Less => twice_larger(values[k], values[i]),
                    std::cmp::Ordering::Greater => twice_larger(values[i], values[k]),
                    std::cmp::Ordering::Equal => 0,
                })
                .sum();
            doubled as f64 / 2.0
        })?
    } else {
        untied.test(doubled / 2, j, sided)
    };
    let interval = untied.order_interval(&slopes, level);
    let slope = Effect { estimate: quantile_of_sorted(&slopes, 0.5), interval };
    Ok(JonckheereTrend { test, concordance: 2.0 * j / slopes.len() as f64 - 1.0, slope })
}

/// Outcome of [`page_trend`].
#[derive(Debug, Clone, PartialEq)]
pub struct PageTrend {
    /// The statistic L is the sum over doses of the place of the dose (from 1) times its ranks in all blocks.
    pub test: Test,
    /// Mean over the blocks of Spearman's correlation with the dose; a block of equal values counts 0.
    pub correlation: f64,
    /// Mean of the slopes, in units of the value for one unit of the dose, with the interval of t over the blocks.
    pub slope: Effect,
    /// Least-squares slope of each block, for other tests over blocks.
    pub block_slopes: Vec<f64>,
}

/// The same seeds (blocks) at every dose: do values rise with the dose within seeds (Page 1963)?
///
/// `blocks[s]` holds the values of one seed, in the order of the `doses`. Exact at any number of blocks, ties included: the
/// law of each block counts all orders of its ranks. At most 8 doses and 200 blocks.
///
/// # Errors
/// Fewer than two or more than eight doses, doses that do not increase, fewer than two or more than 200 blocks, a block of
/// another length than the doses, values that are not finite, slopes that are the same in all blocks, a level outside (0, 1).
pub fn page_trend(doses: &[f64], blocks: &[Vec<f64>], sided: Sided, level: f64) -> Result<PageTrend, ArrayError> {
    check_doses(doses, level)?;
    setting("the number of doses", doses.len() as f64, doses.len() <= MAX_DOSES, "at most 8 (use Jonckheere's test)")?;
    enough("blocks", blocks.len(), 2)?;
    setting("the number of blocks", blocks.len() as f64, blocks.len() <= MAX_BLOCKS, "at most 200")?;
    let centre = mean(doses);
    let spread: f64 = doses.iter().map(|d| (d - centre).powi(2)).sum();
    let places: Vec<f64> = (1..=doses.len()).map(|i| i as f64).collect();
    let mut null = DiscreteNull::of_counts(vec![1.0]);
    let (mut doubled, mut correlation, mut block_slopes) = (0, 0.0, vec![]);
    for block in blocks {
        length("a block of a dose response", block.len(), doses.len())?;
        finite("the values of a block", block)?;
        let ranks = average_ranks(block);
        let twice: Vec<usize> = ranks.iter().map(|r| (2.0 * r) as usize).collect();
        doubled += (0..).zip(&twice).map(|(i, r)| (i + 1) * r).sum::<usize>();
        null = null.plus(&block_null(&twice));
        let agreement = pearson(&places, &ranks);
        correlation += if agreement.is_nan() { 0.0 } else { agreement } / blocks.len() as f64;
        block_slopes.push(doses.iter().zip(block).map(|(d, y)| (d - centre) * y).sum::<f64>() / spread);
    }
    let test = null.test(doubled, doubled as f64 / 2.0, sided);
    let slope = t_test(&block_slopes, sided, level)?.mean;
    Ok(PageTrend { test, correlation, slope, block_slopes })
}

/// Law of Σ place · rank of one block over all orders of its (doubled) ranks.
fn block_null(ranks: &[usize]) -> DiscreteNull {
    let k = ranks.len();
    let top = k * k * 2 * k;
    // sums[set]: counts of Σ place · rank where the ranks in `set` have taken the first places.
    let mut sums = vec![vec![]; 1 << k];
    sums[0] = vec![1.0];
    for set in 0_usize..1 << k {
        let from = std::mem::take(&mut sums[set]);
        let place = set.count_ones() as usize + 1;
        for (i, rank) in ranks.iter().enumerate().filter(|(i, _)| set >> i & 1 == 0) {
            let to: &mut Vec<f64> = &mut sums[set | 1 << i];
            to.resize(top + 1, 0.0);
            for (sum, count) in from.iter().enumerate().filter(|(_, count)| **count > 0.0) {
                to[sum + place * rank] += count;
            }
        }
        if set + 1 == 1 << k {
            return DiscreteNull::of_counts(from);
        }
    }
    DiscreteNull::of_counts(vec![1.0])
}

fn twice_larger(a: f64, b: f64) -> usize {
    usize::from(a > b) + usize::from(a >= b)
}

fn check_doses(doses: &[f64], level: f64) -> Result<(), ArrayError> {
    check_level(level)?;
    increasing("the doses", doses)?;
    enough("doses", doses.len(), 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hypothesis::{Basis, rank_sum_test};
    use crate::random::Stream;

    const EXACT: PermutationSettings = PermutationSettings { max_exact: 100_000, n_resamples: 9_999, seed: 0 };

    #[test]
    fn exact_law_without_ties_is_that_of_all_arrangements() {
        for seed in 0..20 {
            let mut stream = Stream::new(seed, 0, 0);
            let groups: Vec<Vec<f64>> = [2, 3, 2].iter().map(|n| (0..*n).map(|_| stream.normal()).collect()).collect();
            for sided in [Sided::Either, Sided::Greater, Sided::Less] {
                let found = jonckheere_trend(&[0.0, 1.0, 2.0], &groups, sided, 0.9, &EXACT).unwrap();
                // J again, for every arrangement of the labels.
                let values = groups.concat();
                let labels = [0, 0, 1, 1, 1, 2, 2];
                let j = |labels: &[usize]| {
                    let mut sum = 0.0;
                    for (a, x) in labels.iter().zip(&values) {
                        sum += labels.iter().zip(&values).filter(|(b, y)| a < b && x < *y).count() as f64;
                    }
                    sum
                };
                let all = arrangement_test(&labels, j(&labels), sided, &EXACT, j).unwrap();
                assert!((found.test.p_value - all.p_value).abs() < 1e-14, "{groups:?}");
                assert_eq!(found.test.statistic, all.statistic);
            }
        }
    }

    #[test]
    fn two_doses_are_mann_and_whitney() {
        for seed in 0..20 {
            let mut stream = Stream::new(seed, 1, 0);
            let mut draw = || (0..4).map(|_| (2.0 * stream.normal()).round()).collect::<Vec<f64>>();
            let (a, b) = (draw(), draw());
            let found = jonckheere_trend(&[0.0, 2.0], &[a.clone(), b.clone()], Sided::Greater, 0.9, &EXACT).unwrap();
            let u = rank_sum_test(&b, &a, Sided::Greater, 0.9).unwrap();
            assert!((found.test.p_value - u.test.p_value).abs() < 1e-14);
            assert_eq!((found.test.statistic, found.slope.estimate), (u.test.statistic, u.shift.estimate / 2.0));
            assert_eq!(found.slope.interval.lower, u.shift.interval.lower / 2.0);
        }
    }

    #[test]
    fn slope_and_test_decide_alike() {
        for seed in 0..100 {
            let mut stream = Stream::new(seed, 2, 0);
            let doses = [1.0, 2.0, 4.0, 8.0];
            let groups: Vec<Vec<f64>> =
                doses.iter().map(|d| (0..4).map(|_| 0.15 * d + stream.normal()).collect()).collect();
            let found = jonckheere_trend(&doses, &groups, Sided::Either, 0.95, &EXACT).unwrap();
            assert_eq!(found.test.p_value <= 0.05, !found.slope.interval.contains(0.0));
            assert_eq!(found.test.basis, Basis::Exact);
        }
    }

    #[test]
    fn page_against_all_orders() {
        // Two blocks of three doses: 36 orders, also with a tie.
        for blocks in [[vec![1.0, 2.0, 5.0], vec![0.0, 3.0, 2.0]], [vec![1.0, 1.0, 5.0], vec![4.0, 3.0, 9.0]]] {
            let ranks: Vec<Vec<f64>> = blocks.iter().map(|b| average_ranks(b)).collect();
            let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
            let l = |block: usize, order: [usize; 3]| -> f64 {
                order.iter().enumerate().map(|(place, i)| (place + 1) as f64 * ranks[block][*i]).sum()
            };
            let observed = l(0, orders[0]) + l(1, orders[0]);
            let mut n_greater = 0.0;
            for a in orders {
                n_greater += orders.iter().filter(|b| l(0, a) + l(1, **b) >= observed).count() as f64;
            }
            let found = page_trend(&[0.0, 1.0, 2.0], &blocks, Sided::Greater, 0.95).unwrap();
            assert!((found.test.p_value - n_greater / 36.0).abs() < 1e-14);
            assert_eq!(found.test.statistic, observed);
        }
    }

    #[test]
    fn slopes_of_blocks() {
        let blocks = [vec![1.0, 3.0, 5.0], vec![0.0, 1.0, 2.0], vec![2.0, 5.0, 8.0]];
        let found = page_trend(&[0.0, 1.0, 2.0], &blocks, Sided::Greater, 0.95).unwrap();
        assert_eq!((found.slope.estimate, found.block_slopes), (2.0, vec![2.0, 1.0, 3.0]));
        assert!((found.correlation - 1.0).abs() < 1e-15 && (found.test.p_value - 1.0 / 216.0).abs() < 1e-15);
    }

    #[test]
    fn bad_input_is_refused() {
        let groups = [vec![1.0, 2.0], vec![3.0]];
        let of = |doses: &[f64], groups: &[Vec<f64>]| jonckheere_trend(doses, groups, Sided::Either, 0.95, &EXACT);
        assert!(of(&[0.0, 1.0], &groups).is_ok());
        assert!(
            of(&[1.0, 0.0], &groups).is_err()
                && of(&[0.0], &groups[..1]).is_err()
                && of(&[0.0, 1.0, 2.0], &groups).is_err()
        );
        assert!(
            of(&[0.0, 1.0], &[vec![], vec![1.0]]).is_err() && of(&[0.0, 1.0], &[vec![f64::NAN], vec![1.0]]).is_err()
        );
        let equal = of(&[0.0, 1.0], &[vec![1.0; 4], vec![1.0; 4]]).unwrap();
        assert_eq!((equal.test.p_value, equal.concordance, equal.slope.estimate), (1.0, 0.0, 0.0));
        let page = |blocks: &[Vec<f64>]| page_trend(&[0.0, 1.0], blocks, Sided::Either, 0.95);
        assert!(page(&[vec![1.0, 2.0]]).is_err() && page(&[vec![1.0], vec![1.0, 2.0]]).is_err());
        assert!(page(&[vec![1.0, 2.0], vec![2.0, 3.0]]).is_err(), "slopes without spread");
        assert!(
            page_trend(&[0., 1., 2., 3., 4., 5., 6., 7., 8.], &vec![vec![0.0; 9]; 3], Sided::Either, 0.95).is_err()
        );
    }
}
