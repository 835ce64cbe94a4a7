//! Change points from the outside: extreme signals, many series at once, and what the searches share.

use crate::common::Random;
use ontogeny_stats::changes::{
    CostModel, JointCost, SegmentCost, Signal, Stop, TestSettings, bic, binary_segmentation, bottom_up,
    dynamic_programming, in_noise_units, pelt, penalty_path, sliding_window, sup_f_test,
};
use ontogeny_stats::{SegmentShape, benjamini_hochberg};

const MODELS: [CostModel; 8] = [
    CostModel::L1,
    CostModel::L2,
    CostModel::Normal,
    CostModel::Rank,
    CostModel::Rbf(None),
    CostModel::Linear,
    CostModel::ContinuousLinear,
    CostModel::Autoregressive(2),
];

#[test]
fn extreme_signals_do_no_harm() {
    let mut random = Random::new(4);
    for scale in [0.0, 1e-300, 1e-70, 1.0, 1e70] {
        for spacing in [1e-60, 1.0, 1e60] {
            let values: Vec<f64> = (0..40).map(|i| scale * (2.0 * random.uniform() - f64::from(i % 2))).collect();
            let positions = (0..40).map(|i| spacing * f64::from(i)).collect();
            let signal = Signal::new(values.iter().map(|v| v.clamp(-1e70, 1e70)).collect(), 1).unwrap();
            let signal = signal.at(positions).unwrap();
            for model in MODELS {
                let cost = model.of(&signal).unwrap();
                for found in [
                    pelt(&cost, 1.0, 2).unwrap(),
                    dynamic_programming(&cost, 3, 2).unwrap(),
                    binary_segmentation(&cost, Stop::Changes(2), 2).unwrap(),
                    bottom_up(&cost, Stop::Penalty(1.0), 2).unwrap(),
                    sliding_window(&cost, 10, Stop::Changes(2), 2).unwrap(),
                ] {
                    assert!(found.cost.is_finite(), "{model:?} at scale {scale}, spacing {spacing}: {found:?}");
                    assert!(found.change_points.is_sorted_by(|a, b| a < b));
                    assert!(found.change_points.iter().all(|c| (1..40).contains(c)));
                }
            }
        }
    }
}

#[test]
fn a_change_shared_by_several_signals_shows_in_their_sum() {
    // A step of one standard deviation at 60 of 120 points, in each of eight signals: the best segmentation
    // at BIC misses it in most, and finds it in all of them together.
    let signals: Vec<Signal> = (0..8)
        .map(|seed| {
            let mut random = Random::new(900 + seed);
            let values = (0..120).map(|i| random.normal() + if i >= 60 { 1.0 } else { 0.0 }).collect();
            Signal::new(values, 1).unwrap()
        })
        .collect();
    let cost = |signal: &Signal| -> Box<dyn SegmentCost> { CostModel::L2.of(signal).unwrap() };
    let joint = JointCost::new(signals.iter().map(|s| (1.0, cost(s))).collect()).unwrap();
    let together = pelt(&joint, bic(120, 8), 2).unwrap();
    assert_eq!(together.change_points.len(), 1, "{together:?}");
    assert!(together.change_points[0].abs_diff(60) <= 3, "{together:?}");
}

#[test]
fn automatic_penalties_find_levels_on_any_scale() {
    let mut random = Random::new(12);
    let values: Vec<f64> = (0..200).map(|i| 1e-6 * (random.normal() + 4.0 * f64::from(i / 50 % 2))).collect();
    let signal = in_noise_units(&Signal::new(values, 1).unwrap()).unwrap();
    let cost = CostModel::L2.of(&signal).unwrap();
    let found = pelt(&cost, bic(200, 1), 2).unwrap();
    assert_eq!(found.change_points.len(), 3, "{found:?}");
    for (change, truth) in found.change_points.iter().zip([50, 100, 150]) {
        assert!(change.abs_diff(truth) <= 2, "{found:?}");
    }
    // The same segmentation is optimal for a wide range of penalties.
    let path = penalty_path(&cost, 5.0, 200.0, 2).unwrap();
    let step = path.iter().find(|s| s.partition.change_points == found.change_points).unwrap();
    assert!(step.to > 5.0 * step.from, "{path:?}");
}

#[test]
fn false_discoveries_among_many_series_stay_few() {
    // 30 batches of 20 series, 10 of them with a step of two standard deviations: the share of false ones
    // among those kept at Q = 0.1 is at most Q / 2 in the mean; the bound adds three standard errors, the
    // share of a batch having a standard deviation of about 0.08.
    let settings = TestSettings { draws: 399, ..TestSettings::default() };
    let (mut false_share, mut power) = (0.0, 0.0);
    for batch in 0..30 {
        let p_value = |k: u64| {
            let mut random = Random::new(10_000 + 100 * batch + k);
            let step = if k < 10 { 2.0 } else { 0.0 };
            let values = (0..60).map(|i| random.normal() + if i >= 30 { step } else { 0.0 }).collect();
            sup_f_test(&Signal::new(values, 1).unwrap(), SegmentShape::Constant, &settings).unwrap().p_value
        };
        let q = benjamini_hochberg(&(0..20).map(p_value).collect::<Vec<_>>(), 20);
        let kept: Vec<usize> = (0..20).filter(|&k| q[k] <= 0.1).collect();
        let n_false = kept.iter().filter(|k| **k >= 10).count();
        false_share += n_false as f64 / kept.len().max(1) as f64 / 30.0;
        power += (kept.len() - n_false) as f64 / 300.0;
    }
    println!("false discoveries {false_share:.3}, power {power:.3}");
    assert!(false_share < 0.05 + 3.0 * 0.08 / 30f64.sqrt() && power > 0.8, "{false_share} {power}");
}
