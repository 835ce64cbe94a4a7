//! Stage boundaries on simulated curves that rise, rest and fall, and on curves with one stage:
//! `stage_rates [CURVES PER ROW] [FIRST SEED] [PART OF A NAME]`.

#![expect(clippy::print_stdout, reason = "an example prints its result")]

#[path = "../tests/all/common/mod.rs"]
mod common;

use common::families::autoregression;
use common::stages::{Course, is_inside};
use common::{Random, Share, arguments, in_parallel};
use ontogeny_stats::{Series, StageSettings, median, stage_boundaries};

/// Seeds from one row to the next, so that no two rows share a curve.
const SEEDS_PER_ROW: u64 = 1_000_000;

/// Noise of one row.
#[derive(Clone, Copy)]
struct Noise {
    /// Standard deviation, as a share of the range of the curve.
    size: f64,
    phi: f64,
    /// Whether the standard errors are given.
    is_known: bool,
}

struct Outcome {
    is_right: bool,
    n_extra: usize,
    n_inside: usize,
    covered: Vec<bool>,
    errors: Vec<f64>,
}

fn main() {
    let (n_curves, first_seed, only) = arguments(200);
    println!(
        "{:<46} {:>28} {:>6} {:>6} {:>6} {:>8} {:>8}",
        "curve", "as many, of these kinds", "extra", "inside", "cover", "decades", "ms/curve"
    );
    for (k, (course, n, noise)) in rows().into_iter().enumerate() {
        let errors = if noise.is_known { "" } else { ", no errors" };
        let name = format!("{course:?}, {n} points, {} %, phi {:.1}{errors}", 100.0 * noise.size, noise.phi);
        if !name.contains(&only) {
            continue;
        }
        let start = std::time::Instant::now();
        let seed = first_seed + k as u64 * SEEDS_PER_ROW + 1;
        let outcomes = in_parallel(n_curves, |i| outcome(course, n, noise, seed + i));
        let milliseconds = 1e3 * start.elapsed().as_secs_f64() / n_curves as f64;
        let mean =
            |value: fn(&Outcome) -> usize| outcomes.iter().map(|o| value(o) as f64).sum::<f64>() / n_curves as f64;
        let covered: Vec<bool> = outcomes.iter().flat_map(|o| o.covered.clone()).collect();
        let errors: Vec<f64> = outcomes.iter().flat_map(|o| o.errors.clone()).collect();
        println!(
            "{name:<46} {:>28} {:>6.2} {:>6.2} {:>6.2} {:>8.3} {milliseconds:>8.1}",
            Share::of(&outcomes.iter().map(|o| o.is_right).collect::<Vec<_>>()).to_string(),
            mean(|o| o.n_extra),
            mean(|o| o.n_inside),
            covered.iter().filter(|c| **c).count() as f64 / covered.len() as f64,
            median(&errors),
        );
    }
}

fn outcome(course: Course, n: usize, noise: Noise, seed: u64) -> Outcome {
    let mut random = Random::new(seed);
    let steps = course.steps(n);
    let n = steps.len();
    let curve = course.draw(&mut random);
    let innovations = autoregression(n, noise.phi, &mut random);
    // The errors of neighbouring estimates differ by up to a factor of two.
    let errors: Vec<f64> = (0..n).map(|_| noise.size * 2f64.powf(random.uniform() - 0.5)).collect();
    let values = steps.iter().zip(&innovations).zip(&errors).map(|((&t, e), s)| curve.level(t) + s * e).collect();
    let mut series = Series::new(steps, values).expect("simulated steps increase");
    if noise.is_known {
        series = series.with_errors(errors).expect("simulated errors are positive");
    }
    let found = stage_boundaries(&series, &StageSettings::default()).expect("the curve is long enough");
    let truth = curve.boundaries();
    let is_right = found.len() == truth.len() && found.iter().zip(&truth).all(|(f, (_, kind))| f.kind == *kind);
    let mut left = found.clone();
    let (mut covered, mut errors) = (vec![], vec![]);
    for (step, kind) in &truth {
        let distance = |f: &ontogeny_stats::Boundary| ((f.step + 1.0) / (step + 1.0)).log10().abs();
        let nearest = (0..left.len())
            .filter(|&i| left[i].kind == *kind)
            .min_by(|&a, &b| distance(&left[a]).total_cmp(&distance(&left[b])));
        if let Some(i) = nearest {
            let f = left.remove(i);
            covered.push(f.lower <= *step && *step <= f.upper);
            errors.push(distance(&f));
        }
    }
    let n_inside = found.iter().filter(|f| is_inside(&curve, f.step)).count();
    Outcome { is_right, n_extra: left.len(), n_inside, covered, errors }
}

fn rows() -> Vec<(Course, usize, Noise)> {
    let known = |size, phi| Noise { size, phi, is_known: true };
    let unknown = |size, phi| Noise { size, phi, is_known: false };
    let mut rows = vec![];
    for course in Course::ALL {
        for n in [24, 60, 190, 250] {
            let noises = [known(0.01, 0.0), known(0.05, 0.0), unknown(0.05, 0.0), unknown(0.05, 0.6)];
            rows.extend(noises.map(|noise| (course, n, noise)));
        }
    }
    rows
}
