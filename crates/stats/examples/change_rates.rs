//! False positives and power of the tests of a change on simulated training curves:
//! `change_rates [CURVES PER FAMILY] [FIRST SEED] [PART OF A NAME]`.
//!
//! Each test is run on curves of its null hypothesis; a share above α + 2.33 √(α (1 − α) / n) is marked.

#![expect(clippy::print_stdout, reason = "an example prints its result")]

#[path = "../tests/all/common/mod.rs"]
mod common;

use common::{Random, Share, arguments, in_parallel};
use ontogeny_stats::changes::{ShapeSettings, Signal, TestSettings, TimeScale, cusum_test, shape_test, sup_f_test};
use ontogeny_stats::{SegmentShape, Series};

const ALPHA: f64 = 0.05;

#[derive(Debug, Clone, Copy)]
enum Test {
    Cusum,
    LevelF,
    LineF,
    Shape,
}

/// A curve over x = ln(step + 1), on a scale of 1.
#[derive(Debug, Clone, Copy)]
enum Curve {
    Constant,
    Line,
    PowerLaw,
    TwoPowerLaws,
    /// A step in the middle, or a sigmoid of this many decades.
    Step(f64),
}

fn main() {
    let (n_curves, first_seed, only) = arguments(1000);
    let bound = ALPHA + 2.33 * (ALPHA * (1.0 - ALPHA) / n_curves as f64).sqrt();
    println!("alpha = {ALPHA}, {n_curves} curves each; the bound is {bound:.4}\n");
    println!("{:<44} {:>34}", "test, curve, points, noise, phi", "share with p <= alpha");
    let mut families = vec![];
    for n in [50, 150] {
        for phi in [0.0, 0.6, 0.9] {
            families.push((Test::Cusum, Curve::Constant, n, 1.0, phi));
            families.push((Test::LevelF, Curve::Constant, n, 1.0, phi));
            families.push((Test::LineF, Curve::Line, n, 0.1, phi));
            for curve in [Curve::Constant, Curve::Line, Curve::PowerLaw, Curve::TwoPowerLaws] {
                families.push((Test::Shape, curve, n, 0.05, phi));
            }
        }
    }
    for test in [Test::Cusum, Test::LevelF, Test::LineF] {
        families.push((test, Curve::Step(0.0), 100, 0.25, 0.0));
        families.push((test, Curve::Step(0.0), 100, 0.5, 0.6));
    }
    for width in [0.1, 0.3, 0.6, 1.0] {
        families.push((Test::Shape, Curve::Step(width), 100, 0.1, 0.0));
    }
    for (k, (test, curve, n, noise, phi)) in families.into_iter().enumerate() {
        let name = format!("{test:?}, {curve:?}, {n}, {noise}, {phi}");
        if !name.contains(&only) {
            continue;
        }
        let is_found = |i: u64| {
            let seed = first_seed + k as u64 * 1_000_000 + i + 1;
            let series = series(curve, n, noise, phi, &mut Random::new(seed));
            p_value(test, &series, seed) <= ALPHA
        };
        let share = Share::of(&in_parallel(n_curves, is_found));
        let is_null = !matches!(curve, Curve::Step(_));
        let mark = if is_null && share.n_found as f64 / share.n as f64 > bound { "above the bound" } else { "" };
        println!("{name:<44} {:>34} {mark}", share.to_string());
    }
}

fn p_value(test: Test, series: &Series, seed: u64) -> f64 {
    let settings = TestSettings { draws: 199, seed, ..TestSettings::default() };
    let signal = Signal::of_series(series, TimeScale::LogStep).expect("the values are of ordinary size");
    let found = match test {
        Test::Cusum => cusum_test(&signal, &settings).map(|t| t.p_value),
        Test::LevelF => sup_f_test(&signal, SegmentShape::Constant, &settings).map(|t| t.p_value),
        Test::LineF => sup_f_test(&signal, SegmentShape::Line, &settings).map(|t| t.p_value),
        Test::Shape => {
            let settings = ShapeSettings { draws: 99, seed, ..ShapeSettings::default() };
            Ok(shape_test(series, &settings).expect("the series is long enough").p_value)
        }
    };
    found.expect("the series is long enough")
}

/// A curve at `n` steps evenly spread over the logarithm of 1 to 10,000, as far as whole steps allow.
fn series(curve: Curve, n: usize, noise: f64, phi: f64, random: &mut Random) -> Series {
    let (offset, exponent) = (100.0 * random.uniform(), 0.2 + 0.6 * random.uniform());
    let centre = 3.0 + 3.0 * random.uniform();
    let steps: Vec<f64> = (0..n).map(|i| 10_000f64.powf(i as f64 / n as f64).floor() + i as f64).collect();
    let mut last = random.normal();
    let height = |i: usize, t: f64| match curve {
        Curve::Constant => 0.0,
        Curve::Line => -0.1 * (t + 1.0).ln(),
        Curve::PowerLaw => (1.0 + t / (1.0 + offset)).powf(-exponent),
        Curve::TwoPowerLaws => 0.5 * (1.0 + t).powf(-exponent) + 0.5 * (1.0 + t / (100.0 + offset)).powf(-0.5),
        Curve::Step(0.0) => f64::from(u8::from(i >= n / 2)),
        Curve::Step(width) => 1.0 / (1.0 + (-((t + 1.0).ln() - centre) * 81f64.ln() / (width * 10f64.ln())).exp()),
    };
    let values = steps.iter().enumerate().map(|(i, &t)| {
        let value = height(i, t) + noise * last;
        last = phi * last + (1.0 - phi * phi).sqrt() * random.normal();
        value
    });
    let values = values.collect();
    Series::new(steps, values).expect("steps increase")
}
