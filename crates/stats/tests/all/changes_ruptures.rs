//! Change points against ruptures 1.1.10 (`tests/fixtures/stats/make_changes.py`), break for break.
//!
//! Where ruptures defines a cost otherwise (`docs/change-points.md` lists how and why), its own cost is
//! written down here, so that the searches are compared on the same numbers.

use ontogeny_stats::Partition;
use ontogeny_stats::changes::{
    AbsoluteCost, ChangeError, Comparison, CostModel, Divisor, GaussianCost, InterpolationCost, KernelCost, MeanCost,
    RankCost, RegressionCost, SegmentCost, Signal, Stop, TrendCost, binary_segmentation, bottom_up,
    dynamic_programming, pelt, sliding_window,
};
use ontogeny_stats::median;
use serde_json::Value;
use std::collections::BTreeMap;

const FIXTURE: &str = include_str!("../../../../tests/fixtures/stats/changes.json");

fn numbers(value: &Value) -> Vec<f64> {
    serde_json::from_value(value.clone()).expect("the fixture holds numbers")
}

/// The Gaussian kernel as ruptures has it: exponents clipped to [0.01, 100], in `KernelCPD` on the
/// diagonal too and in single precision.
fn clipped_kernel(signal: &Signal, in_c: bool) -> KernelCost {
    let d = signal.dimensions();
    let point = |i: usize| &signal.values()[i * d..(i + 1) * d];
    let square = |i: usize, j: usize| point(i).iter().zip(point(j)).map(|(a, b)| (a - b) * (a - b)).sum::<f64>();
    let n = signal.n_points();
    let squares: Vec<f64> = (1..n).flat_map(|j| (0..j).map(move |i| square(i, j))).collect();
    let middle = median(&squares);
    let gamma = if middle > 0.0 { middle.recip() } else { 1.0 };
    let kernel = |i: usize, j: usize| {
        let exponent = gamma * square(i, j);
        if in_c {
            (-f64::from((exponent as f32).clamp(0.01, 100.0))).exp()
        } else if i == j {
            1.0
        } else {
            (-exponent.clamp(0.01, 100.0)).exp()
        }
    };
    KernelCost::new(n, kernel).expect("the signal has points")
}

/// The autoregression of ruptures: the first `order` points repeat the next one and its predecessors,
/// and a segment whose columns depend on each other costs nothing (NumPy's `lstsq` returns no residual then).
struct PaddedAutoregression {
    rows: Vec<Vec<f64>>,
    regression: RegressionCost,
}

impl PaddedAutoregression {
    fn new(signal: &Signal, order: usize) -> Self {
        let y = signal.values();
        let padded: Vec<f64> = (0..y.len()).map(|t| y[t.max(order)]).collect();
        let row = |t: usize| y[t.max(order) - order..t.max(order)].iter().copied().chain([1.0]).collect();
        let rows: Vec<Vec<f64>> = (0..y.len()).map(row).collect();
        let regression = RegressionCost::new(&padded, &rows.concat(), order + 1).expect("one row for each point");
        Self { rows, regression }
    }

    fn has_full_rank(&self, start: usize, end: usize) -> bool {
        let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let mut units: Vec<Vec<f64>> = vec![];
        for k in 0..self.rows[0].len() {
            let mut column: Vec<f64> = self.rows[start..end].iter().map(|row| row[k]).collect();
            let before = product(&column, &column).sqrt();
            for unit in units.iter().chain(&units) {
                let along = product(unit, &column);
                column.iter_mut().zip(unit).for_each(|(c, u)| *c -= along * u);
            }
            let length = product(&column, &column).sqrt();
            if length <= 1e-12 * before {
                return false;
            }
            units.push(column.into_iter().map(|c| c / length).collect());
        }
        end - start > units.len()
    }
}

impl SegmentCost for PaddedAutoregression {
    fn n_points(&self) -> usize {
        self.rows.len()
    }

    fn cost(&self, start: usize, end: usize) -> f64 {
        if self.has_full_rank(start, end) { self.regression.cost(start, end) } else { 0.0 }
    }
}

/// Whether `theirs` is what cutting where it saves most gives, ties broken their way.
fn is_binary_segmentation(
    cost: &dyn SegmentCost,
    theirs: &[usize],
    stop: Stop,
    min_size: usize,
    rounding: f64,
) -> bool {
    let n = cost.n_points();
    let mut cuts: Vec<usize> = vec![];
    loop {
        let bounds: Vec<usize> = [0].into_iter().chain(cuts.iter().copied()).chain([n]).collect();
        let mut gains = vec![];
        for pair in bounds.windows(2) {
            let (start, end) = (pair[0], pair[1]);
            let whole = cost.cost(start, end);
            for at in start + min_size..=end.saturating_sub(min_size) {
                gains.push((whole - cost.cost(start, at) - cost.cost(at, end), at));
            }
        }
        let most = gains.iter().map(|g| g.0).fold(f64::NEG_INFINITY, f64::max);
        let next = gains.iter().find(|(gain, at)| *gain >= most - rounding && theirs.contains(at));
        let Some((gain, at)) = next else {
            let has_ended = match stop {
                Stop::Changes(k) => cuts.len() == k,
                Stop::Penalty(penalty) => most <= penalty + rounding,
                Stop::Budget(_) => false,
            };
            return cuts == theirs && (has_ended || gains.is_empty());
        };
        if matches!(stop, Stop::Penalty(penalty) if *gain < penalty - rounding) {
            return false;
        }
        cuts.push(*at);
        cuts.sort_unstable();
    }
}

/// Whether change points that only one side has lie on scores that are equal to the other's.
fn has_equal_scores(cost: &dyn SegmentCost, ours: &[usize], theirs: &[usize], half: usize, rounding: f64) -> bool {
    let score = |at: usize| cost.cost(at - half, at + half) - (cost.cost(at - half, at) + cost.cost(at, at + half));
    let only = |a: &[usize], b: &[usize]| a.iter().copied().filter(|c| !b.contains(c)).collect::<Vec<_>>();
    let (ours, theirs) = (only(ours, theirs), only(theirs, ours));
    ours.len() == theirs.len() && ours.iter().zip(&theirs).all(|(a, b)| (score(*a) - score(*b)).abs() <= rounding)
}

fn cost_of(model: &str, in_c: bool, signal: &Signal, at_indices: &Signal) -> Result<Box<dyn SegmentCost>, ChangeError> {
    Ok(match model {
        "l1" => Box::new(AbsoluteCost::new(signal)?),
        "l2" => Box::new(MeanCost::new(signal)?),
        "normal" => {
            let divisor = if signal.dimensions() == 1 { Divisor::Points } else { Divisor::PointsLessOne };
            Box::new(GaussianCost::new(signal, divisor, 1e-6)?)
        }
        "rank" => Box::new(RankCost::new(signal)?),
        "rbf" => Box::new(clipped_kernel(signal, in_c)),
        "linear" => Box::new(TrendCost::new(signal)?),
        "clinear" => Box::new(InterpolationCost::new(at_indices)?),
        "ar" => Box::new(PaddedAutoregression::new(signal, 2)),
        _ => panic!("no cost {model}"),
    })
}

/// Along a line without noise all windows and all pairs of equal length save the same, and rounding decides.
fn is_noise_free_line(name: &str) -> bool {
    name.strip_prefix("slopes ").is_some_and(|i| i.parse().is_ok_and(|i: usize| i.is_multiple_of(3)))
}

#[derive(Default)]
struct Tally {
    equal: usize,
    tied: usize,
    better: usize,
    different: usize,
    /// Equal with our own cost where it differs from ruptures'.
    by_default: usize,
}

/// What a partition is judged by.
fn objective(cost: &dyn SegmentCost, ends: &[usize], stop: Stop) -> f64 {
    let cuts = &ends[..ends.len() - 1];
    cost.sum(cuts) + if let Stop::Penalty(penalty) = stop { penalty * cuts.len() as f64 } else { 0.0 }
}

fn search(method: &str, cost: &dyn SegmentCost, stop: Stop, min_size: usize) -> Partition {
    match (method, stop) {
        ("dynp" | "kernel", Stop::Changes(k)) => dynamic_programming(cost, k + 1, min_size),
        ("pelt" | "kernel", Stop::Penalty(penalty)) => pelt(cost, penalty, min_size),
        ("binseg", stop) => binary_segmentation(cost, stop, min_size),
        ("bottomup", stop) => bottom_up(cost, stop, min_size),
        ("window" | "window_as_is", stop) => sliding_window(cost, 12, stop, min_size),
        _ => panic!("no method {method}"),
    }
    .expect("ruptures can do it")
}

/// The cost as we have it where nobody asks for another.
fn our_cost(model: &str, signal: &Signal) -> Box<dyn SegmentCost> {
    let model = match model {
        "l1" => CostModel::L1,
        "l2" => CostModel::L2,
        "normal" => CostModel::Normal,
        "rank" => CostModel::Rank,
        "rbf" => CostModel::Rbf(None),
        "linear" => CostModel::Linear,
        "clinear" => CostModel::ContinuousLinear,
        "ar" => CostModel::Autoregressive(2),
        _ => panic!("no cost {model}"),
    };
    model.of(signal).expect("the signal has points")
}

#[test]
fn segmentations_agree_break_for_break() {
    let fixture: Value = serde_json::from_str(FIXTURE).unwrap();
    let mut tallies: BTreeMap<(String, String), Tally> = BTreeMap::new();
    let mut failures = vec![];
    let all = fixture["series"].as_array().unwrap();
    assert!(all.len() > 100);
    for series in all {
        let name = series["name"].as_str().unwrap();
        let at_indices =
            Signal::new(numbers(&series["values"]), series["dimensions"].as_u64().unwrap() as usize).unwrap();
        let positions = &series["positions"];
        let signal =
            if positions.is_null() { at_indices.clone() } else { at_indices.clone().at(numbers(positions)).unwrap() };
        for case in series["cases"].as_array().unwrap() {
            let (method, model) = (case[0].as_str().unwrap(), case[1].as_str().unwrap());
            let (min_size, argument) = (case[2].as_u64().unwrap() as usize, case[4].as_f64().unwrap());
            let stop = if case[3] == "changes" { Stop::Changes(argument as usize) } else { Stop::Penalty(argument) };
            let cost = cost_of(model, method == "kernel", &signal, &at_indices).unwrap();
            let found = search(method, &*cost, stop, min_size);
            let ends: Vec<usize> = found.change_points.iter().copied().chain([signal.n_points()]).collect();
            let theirs: Vec<usize> = numbers(&case[5]).iter().map(|&e| e as usize).collect();
            let (ours_value, their_value) = (objective(&*cost, &ends, stop), objective(&*cost, &theirs, stop));
            // Rounding of either side, on sums of n terms of the size of the signal's own sum of squares.
            let scale = 1.0 + their_value.abs() + cost.cost(0, signal.n_points()).abs();
            let rounding = if model == "ar" { 1e-8 } else { 1e-9 } * scale;
            // The cost that ruptures itself gives to its segments.
            let recorded = case[6].as_f64().unwrap();
            let again = cost_of(model, false, &signal, &at_indices).unwrap().sum(&theirs[..theirs.len() - 1]);
            if (recorded - again).abs() > rounding {
                failures.push(format!("{name} {case}: cost {again}"));
            }
            let by_default = search(method, &*our_cost(model, &signal), stop, min_size);
            let is_equal_by_default = by_default.change_points == theirs[..theirs.len() - 1];
            let tally = tallies.entry((method.to_owned(), model.to_owned())).or_default();
            tally.by_default += usize::from(is_equal_by_default);
            if ends == theirs {
                tally.equal += 1;
            } else if (ours_value - their_value).abs() <= rounding {
                tally.tied += 1;
            } else if matches!(method, "dynp" | "pelt" | "kernel") && ours_value < their_value {
                tally.better += 1;
                // Only a search that drops starts can have missed it.
                if !matches!(stop, Stop::Penalty(_)) || min_size == 1 && cost.is_subadditive() {
                    failures.push(format!("{name} {case}: ours {ends:?} {ours_value} < theirs {their_value}"));
                }
            } else if method == "binseg"
                && is_binary_segmentation(&*cost, &theirs[..theirs.len() - 1], stop, min_size, rounding)
                || method == "window" && has_equal_scores(&*cost, &ends, &theirs, 6, rounding)
                || matches!(method, "bottomup" | "window") && is_noise_free_line(name)
            {
                tally.tied += 1;
            } else {
                tally.different += 1;
                if method != "window_as_is" {
                    failures.push(format!("{name} {case}: ours {ends:?} {ours_value}, theirs {their_value}"));
                }
            }
        }
    }
    println!(
        "{:<14} {:<8} {:>6} {:>6} {:>7} {:>10} {:>11}",
        "method", "cost", "equal", "tied", "better", "different", "by default"
    );
    for ((method, model), t) in &tallies {
        println!(
            "{method:<14} {model:<8} {:>6} {:>6} {:>7} {:>10} {:>11}",
            t.equal, t.tied, t.better, t.different, t.by_default
        );
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn comparisons_agree() {
    let fixture: Value = serde_json::from_str(FIXTURE).unwrap();
    let mut n_equal_matches = 0;
    let all = fixture["comparisons"].as_array().unwrap();
    for case in all {
        let ends = |i: usize| numbers(&case[i]).iter().map(|&e| e as usize).collect::<Vec<_>>();
        let (truth, found) = (ends(0), ends(1));
        let (n, margin) = (truth[truth.len() - 1], case[2].as_u64().unwrap() as usize);
        let comparison = Comparison::new(&truth[..truth.len() - 1], &found[..found.len() - 1], n).unwrap();
        assert_eq!(comparison.hausdorff().unwrap() as f64, case[3].as_f64().unwrap());
        assert!((comparison.rand_index() - case[4].as_f64().unwrap()).abs() < 1e-12, "{case}");
        // ruptures lets one true change point take several found ones, which are then missing for others.
        let matches = comparison.matches(margin);
        let (precision, recall) = (case[5].as_f64().unwrap(), case[6].as_f64().unwrap());
        assert!(matches.precision > precision - 1e-12 && matches.recall > recall - 1e-12, "{case}: {matches:?}");
        n_equal_matches += usize::from((matches.recall - recall).abs() < 1e-12);
    }
    println!("{n_equal_matches} of {} with equal precision and recall", all.len());
    assert!(n_equal_matches < all.len(), "the corpus holds a case that tells the two ways apart");
}
