//! Series at the ends of the range of floating-point numbers: no panic, no answer that is not a number.

#![expect(clippy::unwrap_used, reason = "helpers of tests, where clippy only excuses the tests themselves")]

use crate::common::{Random, checkpoints, log_spaced, sigmoid};
use ontogeny_stats::{Series, StageSettings, TransitionSettings, stage_boundaries, transitions};

/// 2^±n, beyond what a square can hold, and the first powers that are no longer scaled.
const FACTORS: [f64; 4] = [1.607e300, 1e-290, 1e101, 1e-102];

fn settings() -> TransitionSettings {
    TransitionSettings { null_draws: 99, interval_draws: 50, ..TransitionSettings::default() }
}

/// Both analyses; their answers must be finite and in order.
fn analyse(series: &Series) -> (usize, usize) {
    // Every candidate is kept, so that every number is looked at.
    let found = transitions(series, &TransitionSettings { alpha: 1.0, ..settings() }).unwrap();
    for t in &found {
        let ordered = [t.lower, t.step, t.upper];
        assert!(ordered.is_sorted() && t.start <= t.end && (0.0..=1.0).contains(&t.p_value), "{t:?}");
        let all = [t.lower, t.upper, t.start, t.end, t.width_decades, t.size];
        assert!(all.iter().all(|v| v.is_finite()), "{t:?}");
    }
    let boundaries = stage_boundaries(series, &StageSettings { draws: 20, ..StageSettings::default() }).unwrap();
    for b in &boundaries {
        assert!([b.lower, b.step, b.upper].is_sorted() && b.upper.is_finite(), "{b:?}");
    }
    (found.len(), boundaries.len())
}

#[test]
fn the_scale_of_the_values_does_not_matter() {
    let steps = checkpoints();
    let mut random = Random::new(1);
    let noise: Vec<f64> = steps.iter().map(|_| 0.1 * random.normal()).collect();
    let wave = |t: f64| 6.0 * sigmoid(t, 60.0, 0.3) - 5.0 * sigmoid(t, 900.0, 0.3);
    let at_scale = |factor: f64| {
        let values = steps.iter().zip(&noise).map(|(&t, e)| factor * (wave(t) + e)).collect();
        Series::new(steps.clone(), values).unwrap().with_errors(vec![0.1 * factor; steps.len()]).unwrap()
    };
    let plain = transitions(&at_scale(1.0), &settings()).unwrap();
    let boundaries = stage_boundaries(&at_scale(1.0), &StageSettings::default()).unwrap();
    assert!(plain.len() == 2 && boundaries.len() == 1, "{plain:?}, {boundaries:?}");
    for factor in FACTORS {
        let scaled = transitions(&at_scale(factor), &settings()).unwrap();
        assert_eq!(scaled.len(), 2, "{factor}");
        for (p, s) in plain.iter().zip(&scaled) {
            assert!((s.step / p.step - 1.0).abs() < 1e-6 && (s.size / factor / p.size - 1.0).abs() < 1e-6);
            assert_eq!(s.p_value, p.p_value);
        }
        let scaled = stage_boundaries(&at_scale(factor), &StageSettings::default()).unwrap();
        assert_eq!(scaled.len(), 1, "{factor}");
        assert!((scaled[0].step / boundaries[0].step - 1.0).abs() < 1e-4, "{scaled:?}, {boundaries:?}");
    }
}

#[test]
fn the_largest_and_smallest_numbers() {
    let steps = log_spaced(40);
    let step_of = |from: f64, to: f64| -> Series {
        let values = (0..40).map(|i| if i < 20 { from } else { to }).collect();
        Series::new(steps.clone(), values).unwrap()
    };
    assert_eq!(analyse(&step_of(f64::MIN, f64::MAX)), analyse(&step_of(-1.0, 1.0)));
    analyse(&step_of(0.0, 5e-324));
    analyse(&step_of(0.0, f64::MIN_POSITIVE));
    analyse(&step_of(1.0, f64::MAX));
    for error in [f64::MAX, f64::MIN_POSITIVE, 1e-200, 1e200] {
        analyse(&step_of(1.0, 2.0).with_errors(vec![error; 40]).unwrap());
        let mixed = (0..40).map(|i| if i % 3 == 0 { error } else { 0.0 }).collect();
        analyse(&step_of(1.0, 2.0).with_errors(mixed).unwrap());
    }
}

#[test]
fn values_of_every_magnitude() {
    for seed in 0..25 {
        let mut random = Random::new(seed);
        let n = 8 + (80.0 * random.uniform()) as usize;
        let mut magnitude = |most: f64| 10f64.powf(most * (2.0 * random.uniform() - 1.0));
        let mut steps: Vec<f64> = (0..n).map(|_| magnitude(307.0)).collect();
        steps.sort_by(f64::total_cmp);
        steps.dedup();
        let values = (0..steps.len()).map(|i| magnitude(307.0) * [1.0, -1.0][i % 2]).collect();
        let errors = (0..steps.len()).map(|_| magnitude(307.0)).collect();
        // Half of the steps are below 1, most of them too small for any difference of logarithms.
        let series = Series::new(steps, values).unwrap();
        analyse(&series);
        analyse(&series.with_errors(errors).unwrap());
    }
}

#[test]
fn steps_that_logarithms_do_not_tell_apart() {
    // At 1e16 neighbouring numbers are 2 apart, and their logarithms equal in groups of about 30.
    let close = |n: usize| {
        let steps: Vec<f64> = (0..n).map(|i| 1e16 + 2.0 * i as f64).collect();
        let values = (0..n).map(|i| if i < n / 2 { 0.0 } else { 1.0 }).collect();
        Series::new(steps, values).unwrap()
    };
    analyse(&close(1000));
    let message = transitions(&close(100), &settings()).unwrap_err().to_string();
    assert!(message.ends_with("at least 8 are needed"), "{message}");
}
