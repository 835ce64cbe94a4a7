//! Stage boundaries of simulated series whose truth is known.

#![expect(clippy::unwrap_used, reason = "helpers of tests, where clippy only excuses the tests themselves")]

use crate::common::families::{Change, autoregression};
use crate::common::stages::{Course, is_inside};
use crate::common::{Random, checkpoints, in_parallel, log_spaced, sigmoid};
use ontogeny_stats::BoundaryKind::{Peak, Plateau, Trough};
use ontogeny_stats::{Boundary, BoundaryKind, Series, StageSettings, consensus, stage_boundaries};

fn find(steps: &[f64], value: impl FnMut(f64) -> f64) -> Vec<Boundary> {
    let values = steps.iter().copied().map(value).collect();
    let series = Series::new(steps.to_vec(), values).unwrap();
    stage_boundaries(&series, &StageSettings::default()).unwrap()
}

/// A cosine in ln(step + 1) with extrema at known places.
fn wave(t: f64) -> f64 {
    150.0 + 20.0 * (2.0 * t.ln_1p()).sin()
}

#[test]
fn extrema_of_a_wave() {
    // sin(2x) turns at x = π/4 + kπ/2, between the second and the last of 10,000 steps (x = 0.7 to
    // 9.2) five times; a turn at the first step itself ends no stage. With noise of a twentieth
    // of the amplitude the error in x is near 0.02.
    let mut random = Random::new(3);
    for noise in [0.0, 1.0] {
        let found = find(&log_spaced(120), |t| wave(t) + noise * random.normal());
        let expected: Vec<(f64, BoundaryKind)> = (0..6)
            .map(|k| std::f64::consts::FRAC_PI_4 * f64::from(2 * k + 1))
            .filter(|x| *x > 1.0)
            .map(|x| (x.exp_m1(), if (2.0 * x).sin() > 0.0 { Peak } else { Trough }))
            .collect();
        let kinds: Vec<BoundaryKind> = found.iter().map(|b| b.kind).collect();
        assert_eq!(kinds, expected.iter().map(|e| e.1).collect::<Vec<_>>(), "{found:?}");
        for (boundary, (step, _)) in found.iter().zip(&expected) {
            assert!(((boundary.step + 1.0) / (step + 1.0)).ln().abs() < 0.08, "{step}: {boundary:?}");
            assert!(boundary.lower <= boundary.step && boundary.step <= boundary.upper);
        }
    }
}

#[test]
fn intervals_cover_an_extremum() {
    // Nominal 95 %; the smoothing scales are held fixed, so 85 % is asked of 60 series.
    let steps = log_spaced(80);
    let truth = (std::f64::consts::FRAC_PI_4 * 9.0).exp_m1();
    let covers = |seed: &u64| {
        let mut random = Random::new(seed + 50);
        find(&steps, |t| wave(t) + 3.0 * random.normal()).iter().any(|b| b.lower <= truth && truth <= b.upper)
    };
    let n = (0..60).filter(covers).count();
    assert!(n >= 51, "{n} of 60");
}

#[test]
fn a_staircase_has_a_plateau_boundary() {
    for noise in [0.0, 0.05] {
        let mut random = Random::new(4);
        let found =
            find(&log_spaced(100), |t| sigmoid(t, 20.0, 0.5) + sigmoid(t, 1000.0, 0.5) + noise * random.normal());
        assert_eq!(found.len(), 1, "{noise}: {found:?}");
        assert_eq!(found[0].kind, Plateau);
        assert!(found[0].step > 40.0 && found[0].step < 500.0, "{found:?}");
    }
}

#[test]
fn the_boundary_lies_between_memorisation_and_grokking() {
    for decades in [0.15, 0.3, 0.5] {
        let found = find(&checkpoints(), |t| {
            let risen = 4.0 + 6.0 * sigmoid(t, 90.0, decades);
            1e-5 + risen * (1.0 - sigmoid(t, 1900.0, 0.5 * decades))
        });
        assert_eq!(found.len(), 1, "{decades}: {found:?}");
        assert_eq!(found[0].kind, Peak);
        assert!(found[0].step > 120.0 && found[0].step < 1700.0, "{found:?}");
        // One change makes one stage: the overshoot of the smooth curve is no boundary.
        let train = find(&checkpoints(), |t| 4.0 * (1.0 - sigmoid(t, 90.0, decades)));
        assert_eq!(train, [], "{decades}");
    }
}

#[test]
fn noise_and_smooth_curves_have_one_stage() {
    let steps = checkpoints();
    let n = (0..200)
        .filter(|seed| {
            let mut random = Random::new(*seed);
            !find(&steps, |_| random.normal()).is_empty()
        })
        .count();
    // A boundary needs two slopes three deviations from zero, of opposite sign: well below 5 %.
    assert!(n <= 10, "{n} of 200");
    assert_eq!(find(&steps, |t| 3.0 * (t + 1.0).powf(-0.4)), []);
    assert_eq!(find(&steps, f64::ln_1p), []);
    assert_eq!(find(&steps, |_| 1.0), []);
}

#[test]
fn observables_agree_on_a_boundary() {
    let steps = log_spaced(80);
    let mut random = Random::new(9);
    let mut observable = |gain: f64, shift: f64| {
        let bump = |t: f64| sigmoid(t, 30.0, 0.6) - sigmoid(t, 900.0 * shift, 0.6);
        find(&steps, |t| gain * (bump(t) + 0.02 * random.normal()))
    };
    let all = [("llc.full".to_owned(), observable(30.0, 1.0)), ("loss.test".to_owned(), observable(-2.0, 1.05))];
    let merged = consensus(&all);
    assert_eq!(merged.len(), 1, "{all:?}");
    assert_eq!(merged[0].observables, ["llc.full", "loss.test"]);
    assert!(merged[0].step > 80.0 && merged[0].step < 400.0, "{merged:?}");
}

#[test]
fn bad_settings_and_short_series() {
    let series = Series::new(vec![0.0, 1.0], vec![0.0, 1.0]).unwrap();
    let message = stage_boundaries(&series, &StageSettings::default()).unwrap_err().to_string();
    assert_eq!(message, "the series has 2 points; at least 8 are needed");
    let settings = StageSettings { length_bounds: (2.0, 1.0), ..StageSettings::default() };
    let message = stage_boundaries(&series, &settings).unwrap_err().to_string();
    assert!(message.starts_with("setting length_bounds.1 = 1 is out of range"), "{message}");
}

/// The boundaries of one simulated curve with standard errors of 5 % of its range, which are given.
fn of_course(course: Course, n: usize, phi: f64, random: &mut Random) -> (Change, Vec<Boundary>) {
    let curve = course.draw(random);
    let noise = autoregression(n, phi, random);
    let steps = log_spaced(n);
    let values = steps.iter().zip(noise).map(|(&t, e)| curve.level(t) + 0.05 * e).collect();
    let series = Series::new(steps, values).unwrap().with_errors(vec![0.05; n]).unwrap();
    (curve, stage_boundaries(&series, &StageSettings::default()).unwrap())
}

#[test]
fn curves_that_rise_rest_and_fall() {
    // Nine in ten of each kind are right (`stage_rates`); 15 of 24 are four standard deviations below.
    for course in [Course::RiseFallRise, Course::TwoRises] {
        for n in [24, 60, 190] {
            let right = in_parallel(24, |seed| {
                let (curve, found) = of_course(course, n, 0.0, &mut Random::new(5000 + seed));
                let truth = curve.boundaries();
                let same_kinds = found.iter().zip(&truth).all(|(b, (_, kind))| b.kind == *kind);
                found.len() == truth.len() && same_kinds && !found.iter().any(|b| is_inside(&curve, b.step))
            });
            let n_right = right.iter().filter(|r| **r).count();
            assert!(n_right >= 15, "{course:?}, {n} points: {n_right} of 24");
        }
    }
}

#[test]
fn a_slow_rise_and_a_fast_fall_are_both_seen() {
    // One length scale for all of such a curve is right in one of forty (`stage_rates` of an earlier version), a warped time in
    // nine of ten; 12 of 20 are four standard deviations below that.
    let right = in_parallel(20, |seed| {
        let mut random = Random::new(7000 + seed);
        let curve = Course::LateFall.draw(&mut random);
        let steps = Course::LateFall.steps(190);
        let noisy = |t: &f64| curve.level(*t) + 0.01 * random.normal();
        let series = Series::new(steps.clone(), steps.iter().map(noisy).collect()).unwrap();
        let series = series.with_errors(vec![0.01; steps.len()]).unwrap();
        let found = stage_boundaries(&series, &StageSettings::default()).unwrap();
        found.iter().map(|b| b.kind).eq([Peak, Trough])
    });
    let n_right = right.iter().filter(|r| **r).count();
    assert!(n_right >= 12, "{n_right} of 20");
}

#[test]
fn correlated_noise_is_no_structure() {
    // Were it taken for white, nine in ten sigmoids and half of the constants would have boundaries.
    // Measured (`stage_rates`): up to 22 % and 8 %; more than these come once in a hundred.
    for (course, most) in [(Course::OneRise, 9), (Course::Line, 5), (Course::Constant, 5)] {
        for n in [60, 120] {
            let is_wrong =
                in_parallel(20, |seed| !of_course(course, n, 0.6, &mut Random::new(6000 + seed)).1.is_empty());
            let n_wrong = is_wrong.iter().filter(|w| **w).count();
            assert!(n_wrong <= most, "{course:?}, {n} points: {n_wrong} of 20");
        }
    }
}
