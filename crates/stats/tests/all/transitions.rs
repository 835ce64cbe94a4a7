//! Transitions of simulated series whose truth is known, and the rates of false ones.

#![expect(clippy::unwrap_used, reason = "helpers of tests, where clippy only excuses the tests themselves")]

use crate::common::families::{self, Change, Sampling, Trend, smooth_curve};
use crate::common::{Random, checkpoints, log_spaced, sigmoid};
use ontogeny_stats::{Series, SeriesError, Transition, TransitionSettings, transitions};
use proptest::prelude::*;

fn series(steps: &[f64], value: impl FnMut(f64) -> f64) -> Series {
    Series::new(steps.to_vec(), steps.iter().copied().map(value).collect()).unwrap()
}

fn find(series: &Series) -> Vec<Transition> {
    transitions(series, &TransitionSettings::default()).unwrap()
}

/// Fewer simulations, for the tests that analyse hundreds of series.
fn quick() -> TransitionSettings {
    TransitionSettings { null_draws: 99, interval_draws: 50, ..TransitionSettings::default() }
}

/// Checks the size to a tenth, the interval, and that it is no wider than `widest` decades.
fn check(found: &Transition, step: f64, size: f64, widest: f64) {
    assert!(found.lower <= step && step <= found.upper, "{step}: {found:?}");
    assert!(found.lower <= found.step && found.step <= found.upper, "{found:?}");
    assert!((found.upper / found.lower).log10() <= widest, "{found:?}");
    assert!((found.size / size - 1.0).abs() < 0.1, "{size}: {found:?}");
    assert!(found.p_value <= 0.01, "{found:?}");
}

#[test]
fn memorisation_and_grokking_at_24_checkpoints() {
    // Neighbouring checkpoints lie 0.23 decades apart around step 90, and 0.08 around step 1900:
    // two such gaps bound the interval of a noise-free series.
    for decades in [0.15, 0.3, 0.5, 0.8] {
        let train = series(&checkpoints(), |t| 1e-6 + 4.0 * (1.0 - sigmoid(t, 90.0, decades)));
        let found = find(&train);
        assert_eq!(found.len(), 1, "{decades}: {found:?}");
        check(&found[0], 90.0, -4.0, 0.46);
    }
    for decades in [0.15, 0.3, 0.4] {
        let test = series(&checkpoints(), |t| {
            let risen = 4.0 + 6.0 * sigmoid(t, 90.0, decades);
            1e-5 + risen * (1.0 - sigmoid(t, 1900.0, 0.5 * decades))
        });
        let found = find(&test);
        assert_eq!(found.len(), 2, "{decades}: {found:?}");
        check(&found[0], 90.0, 6.0, 0.46);
        check(&found[1], 1900.0, -10.0, 0.16);
    }
}

#[test]
fn a_drift_towards_a_fall_is_no_part_of_it() {
    // A straight drift in ln(t + 1) up to the fall, with a share of its steepest slope, then a fall that takes all the rest.
    let steps: Vec<f64> = (1..=10_000).map(|i| f64::from(i) * 10.0).collect();
    let (centre, decades, height) = (60_000.0_f64, 0.12, 20.0);
    let steepest = height * 4.39 / (4.0 * decades * std::f64::consts::LN_10);
    for share in [0.02, 0.05, 0.1, 0.15, 0.2] {
        let mut random = Random::new((100.0 * share) as u64);
        let curve = series(&steps, |t| {
            let drift = share * steepest * (centre.ln() - t.ln()).min(1.0);
            (height + drift) * (1.0 - sigmoid(t, centre, decades)) + 0.05 * random.normal()
        });
        let found = find(&curve);
        let fall = found.iter().min_by(|a, b| a.size.total_cmp(&b.size)).unwrap();
        let width = (fall.end / fall.start).log10();
        assert!((0.5 * decades..2.0 * decades).contains(&width), "{share}: {width} decades, {fall:?}");
        assert!((fall.step / centre).log10().abs() < 0.5 * decades, "{share}: {fall:?}");
    }
}

#[test]
fn a_training_loss_logged_every_step() {
    // 5,000 steps; the noise shrinks with the loss, by six orders of magnitude.
    let steps: Vec<f64> = (0..5000).map(f64::from).collect();
    let mut random = Random::new(1);
    let train = series(&steps, |t| (1e-6 + 4.0 * (1.0 - sigmoid(t, 90.0, 0.5))) * (1.0 + 0.1 * random.normal()));
    let found = find(&train);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].lower <= 90.0 && 90.0 <= found[0].upper, "{found:?}");
    assert!((found[0].size + 4.0).abs() < 0.6, "{found:?}");
    assert!((0.3..0.7).contains(&found[0].width_decades), "{found:?}");
}

#[test]
fn a_step_on_a_power_law() {
    let steps: Vec<f64> = (0..4000).map(f64::from).collect();
    let mut random = Random::new(2);
    let loss =
        series(&steps, |t| 1.0 + 3.0 * (t + 1.0).powf(-0.3) - 0.3 * sigmoid(t, 800.0, 0.2) + 0.1 * random.normal());
    let found = find(&loss);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].lower <= 800.0 && 800.0 <= found[0].upper, "{found:?}");
}

/// Number of `n_series` simulated series in which anything is found at α = 0.05.
fn n_with_transitions(n_series: u64, simulate: impl Fn(&mut Random) -> Series) -> u64 {
    let is_found = |seed: &u64| !transitions(&simulate(&mut Random::new(seed + 1)), &quick()).unwrap().is_empty();
    (0..n_series).filter(is_found).count() as u64
}

/// 99.9 % quantile of a binomial count with success rate α = 0.05, in the normal approximation.
fn most_false_ones(n_series: u64) -> f64 {
    let n = n_series as f64;
    0.05 * n + 3.1 * (0.05 * 0.95 * n).sqrt()
}

#[test]
fn noise_has_no_transitions() {
    for (steps, n_series) in [(checkpoints(), 400), (log_spaced(60), 300), (log_spaced(200), 100)] {
        let n = n_with_transitions(n_series, |random| series(&steps, |_| random.normal()));
        assert!((n as f64) <= most_false_ones(n_series), "{} points: {n}", steps.len());
    }
}

#[test]
fn smooth_curves_have_no_transitions() {
    for noise in [0.01, 0.03, 0.1, 0.3] {
        for (steps, n_series) in [(checkpoints(), 200), (log_spaced(60), 100)] {
            let most = most_false_ones(n_series);
            let n = n_with_transitions(n_series, |random| {
                series(&steps, |t| 3.0 * (t + 1.0).powf(-0.4) + noise * random.normal())
            });
            assert!((n as f64) <= most, "power law, {} points, {noise}: {n}", steps.len());
            let n = n_with_transitions(n_series, |random| series(&steps, |t| t.ln_1p() + noise * random.normal()));
            assert!((n as f64) <= most, "line, {} points, {noise}: {n}", steps.len());
        }
    }
    for exponent in [0.1, 0.37, 0.5, 1.0, 1.7] {
        for steps in [checkpoints(), log_spaced(100)] {
            let exact = series(&steps, |t| 1.0 + 3.0 * (t + 1.0).powf(-exponent));
            assert_eq!(find(&exact), [], "{exponent}");
        }
    }
}

#[test]
fn a_step_of_four_deviations_is_found() {
    let steps = log_spaced(200);
    let n = n_with_transitions(25, |random| series(&steps, |t| if t >= 100.0 { 4.0 } else { 0.0 } + random.normal()));
    assert!(n >= 20, "{n} of 25");
}

#[test]
fn intervals_cover_the_centre() {
    // Nominal 95 %; with 40 series, 34 is two and a half standard deviations below.
    for (steps, noise) in [(checkpoints(), 0.0), (checkpoints(), 0.05), (log_spaced(120), 0.05)] {
        let n_series = 40;
        let mut n_covered = 0;
        for seed in 0..n_series {
            let mut random = Random::new(seed + 100);
            let decades = 0.1 + 0.5 * random.uniform();
            let centre = 30.0 * 30f64.powf(random.uniform());
            let simulated = series(&steps, |t| 4.0 * (1.0 - sigmoid(t, centre, decades) + noise * random.normal()));
            let settings = TransitionSettings { interval_draws: 200, ..quick() };
            let found = transitions(&simulated, &settings).unwrap();
            let is_covered = |t: &Transition| t.lower <= centre && centre <= t.upper;
            n_covered += u64::from(found.iter().any(is_covered));
        }
        assert!(n_covered >= 34, "{} points, noise {noise}: {n_covered}", steps.len());
    }
}

/// The quick version of `examples/detector_rates`: autocorrelated noise on smooth curves.
#[test]
fn autocorrelated_noise_has_no_transitions() {
    for (sampling, phi) in [(Sampling::EveryStep, 0.6), (Sampling::Checkpoints, 0.6), (Sampling::Multiples, 0.3)] {
        let noise = families::Noise { phi, is_relative: false };
        let n_series = 40;
        let n = n_with_transitions(n_series, |random| smooth_curve(Trend::Power, sampling, noise, random));
        assert!((n as f64) <= most_false_ones(n_series), "{sampling:?}, {phi}: {n}");
    }
}

/// Of a single noisy fall that begins five points after the start, the 10-90 % span holds the place
/// where the value first crosses half-way.
#[test]
fn an_early_fall_holds_its_half_way_point() {
    for seed in 0..12 {
        let mut random = Random::new(seed + 1);
        let width = 0.3 + 0.7 * random.uniform();
        let centre = 6.0 * 10f64.powf(0.5 * width) - 1.0;
        let kind = families::Noise { phi: 0.3, is_relative: false };
        let fall = Change { from: 4.0, transitions: vec![(centre, width, -4.0)], noise: 0.03, kind };
        let steps: Vec<f64> = (1..=4000).map(f64::from).collect();
        let loss = fall.sample(steps, &mut random);
        let half_way = loss.values().iter().position(|v| *v <= 2.0).map(|i| loss.steps()[i]).unwrap();
        let found = find(&loss);
        let largest = found.iter().max_by(|a, b| a.size.abs().total_cmp(&b.size.abs())).unwrap();
        assert!(largest.start <= half_way && half_way <= largest.end, "{half_way}: {found:?}");
    }
}

#[test]
fn given_errors_count_as_noise() {
    // A step well above the scatter but below the errors the caller knows of.
    let mut random = Random::new(5);
    let step = series(&checkpoints(), |t| f64::from(u8::from(t > 100.0)) + 0.02 * random.normal());
    assert_eq!(find(&step).len(), 1);
    let n = step.steps().len();
    let unsure = step.with_errors(vec![1.0; n]).unwrap();
    assert_eq!(find(&unsure), []);
}

#[test]
fn what_cannot_be_analysed() {
    let constant = series(&checkpoints(), |_| 3.0);
    assert_eq!(find(&constant), []);
    let short = series(&[1.0, 2.0, 3.0], |t| t);
    let error = transitions(&short, &quick()).unwrap_err();
    assert_eq!(error, SeriesError::TooFewPoints { found: 3, needed: 8 });
    let settings = TransitionSettings { alpha: 0.0, ..quick() };
    let message = transitions(&constant, &settings).unwrap_err().to_string();
    assert_eq!(message, "setting alpha = 0 is out of range; it must be above 0 and at most 1");
}

#[test]
fn the_same_seed_gives_the_same_answer() {
    let mut random = Random::new(8);
    let step = series(&log_spaced(100), |t| 3.0 * sigmoid(t, 200.0, 0.3) + 0.3 * random.normal());
    let settings = TransitionSettings { alpha: 1.0, ..TransitionSettings::default() };
    let found = transitions(&step, &settings).unwrap();
    assert!(!found.is_empty());
    assert_eq!(found, transitions(&step, &settings).unwrap());
    let other = TransitionSettings { seed: 1, ..settings };
    assert_ne!(found, transitions(&step, &other).unwrap());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// y → a y + b scales sizes, step + 1 → c (step + 1) scales steps; nothing else changes.
    #[test]
    fn units_do_not_matter(seed in 0u64..1000, a in 0.01f64..100.0, b in -10.0f64..10.0, c in 1.0f64..50.0) {
        let mut random = Random::new(seed);
        let steps = checkpoints();
        let plain = series(&steps, |t| 5.0 * sigmoid(t, 300.0, 0.3) + 0.2 * random.normal());
        let values = plain.values().iter().map(|y| b + a * y).collect();
        let later = steps.iter().map(|t| c * (t + 1.0) - 1.0).collect();
        let moved = Series::new(later, values).unwrap();
        let plain = transitions(&plain, &quick()).unwrap();
        let moved = transitions(&moved, &quick()).unwrap();
        prop_assert_eq!(plain.len(), moved.len());
        for (p, m) in plain.iter().zip(&moved) {
            // Rounding is magnified by the offset, at most 1000 times the scale.
            prop_assert!((m.size - a * p.size).abs() < 1e-6 * a);
            for (m, p) in [(m.step, p.step), (m.lower, p.lower), (m.upper, p.upper)] {
                prop_assert!(((m + 1.0) / (c * (p + 1.0)) - 1.0).abs() < 1e-6);
            }
            prop_assert!((m.width_decades - p.width_decades).abs() < 1e-6);
            prop_assert_eq!(m.p_value, p.p_value);
        }
    }
}
