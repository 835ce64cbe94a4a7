//! Power and accuracy of the transition detector on simulated curves:
//! `detector_accuracy [CURVES PER ROW] [FIRST SEED] [PART OF A NAME]`.

#![expect(clippy::print_stdout, reason = "an example prints its result")]

#[path = "../tests/all/common/mod.rs"]
mod common;

use common::families::{Change, Noise, Sampling};
use common::{Random, Share, arguments, in_parallel};
use ontogeny_stats::{Transition, TransitionSettings, median, transitions};

/// A family of curves with transitions.
struct Row {
    name: String,
    sampling: Sampling,
    simulate: Box<dyn Fn(&mut Random) -> Change + Sync>,
}

fn main() {
    let (n_curves, first_seed, only) = arguments(200);
    println!(
        "{:<34} {:<11} {:>28} {:>5} {:>6} {:>6} {:>7} {:>6} {:>6} {:>8}",
        "curve", "sampling", "all", "extra", "cover", "half", "centre", "width", "size", "ms/curve"
    );
    for row in rows().iter().filter(|row| row.name.contains(&only)) {
        let start = std::time::Instant::now();
        let outcomes = in_parallel(n_curves, |seed| outcome(row, first_seed + seed));
        let milliseconds = 1e3 * start.elapsed().as_secs_f64() / n_curves as f64;
        let found: Vec<&Match> = outcomes.iter().flat_map(|o| &o.matches).collect();
        let share = |n: usize, of: usize| n as f64 / of.max(1) as f64;
        let of_found = |value: fn(&Match) -> f64| median(&found.iter().map(|m| value(m)).collect::<Vec<_>>());
        println!(
            "{:<34} {:<11} {:>28} {:>5.2} {:>6.2} {:>6.2} {:>7.3} {:>6.2} {:>6.2} {:>8.1}",
            row.name,
            format!("{:?}", row.sampling),
            Share::of(&outcomes.iter().map(|o| o.n_missed == 0).collect::<Vec<_>>()).to_string(),
            share(outcomes.iter().filter(|o| o.n_extra > 0).count(), outcomes.len()),
            share(found.iter().filter(|m| m.is_covered).count(), found.len()),
            share(found.iter().filter(|m| m.holds_half_way).count(), found.len()),
            of_found(|m| m.centre_error),
            of_found(|m| m.width_ratio),
            of_found(|m| m.size_ratio),
            milliseconds
        );
    }
}

struct Outcome {
    n_missed: usize,
    n_extra: usize,
    matches: Vec<Match>,
}

struct Match {
    is_covered: bool,
    /// Whether the 10–90 % span holds the place where the curve first crosses half-way between its
    /// first and last values.
    holds_half_way: bool,
    centre_error: f64,
    width_ratio: f64,
    size_ratio: f64,
}

fn outcome(row: &Row, seed: u64) -> Outcome {
    let mut random = Random::new(seed + 1);
    let steps = row.sampling.steps(&mut random);
    let change = (row.simulate)(&mut random);
    let series = change.sample(steps, &mut random);
    let mut found = transitions(&series, &TransitionSettings::default()).expect("the curve is long enough");
    let mut matches = vec![];
    let half_way = half_way(series.steps(), series.values());
    for &(centre, width, size) in &change.transitions {
        let distance = |t: &Transition| (t.step / centre).ln().abs();
        let near = |t: &Transition| {
            t.size * size > 0.0
                && (t.start <= centre && centre <= t.end
                    || distance(t) < 0.35
                    || t.lower <= centre && centre <= t.upper)
        };
        let nearest = (0..found.len())
            .filter(|&i| near(&found[i]))
            .min_by(|&a, &b| distance(&found[a]).total_cmp(&distance(&found[b])));
        if let Some(i) = nearest {
            let t = found.remove(i);
            matches.push(Match {
                is_covered: t.lower <= centre && centre <= t.upper,
                holds_half_way: t.start <= half_way && half_way <= t.end,
                centre_error: distance(&t) / std::f64::consts::LN_10,
                width_ratio: t.width_decades / width,
                size_ratio: t.size / size,
            });
        }
    }
    Outcome { n_missed: change.transitions.len() - matches.len(), n_extra: found.len(), matches }
}

/// First step at which the curve has crossed the middle between its start and its end.
fn half_way(steps: &[f64], values: &[f64]) -> f64 {
    let (first, last) = (values[0], values[values.len() - 1]);
    let middle = f64::midpoint(first, last);
    let crossed = values.iter().position(|v| (v - middle) * (first - middle) <= 0.0);
    crossed.map_or(f64::NAN, |i| steps[i])
}

fn rows() -> Vec<Row> {
    let mut rows = vec![];
    let mut row = |name: String, sampling, simulate: Box<dyn Fn(&mut Random) -> Change + Sync>| {
        rows.push(Row { name, sampling, simulate });
    };
    let white = Noise { phi: 0.0, is_relative: false };
    for sampling in [Sampling::EveryStep, Sampling::Checkpoints] {
        for width in [0.05, 0.2, 0.5, 1.0, 1.3] {
            for (noise, kind) in [
                (0.0, white),
                (0.05, white),
                (0.05, Noise { phi: 0.6, is_relative: false }),
                (0.05, Noise { phi: 0.0, is_relative: true }),
                (0.1, Noise { phi: 0.6, is_relative: true }),
            ] {
                let relative = if kind.is_relative { "r" } else { "" };
                let name = format!("sigmoid {width} noise {noise}{relative} phi {}", kind.phi);
                row(
                    name,
                    sampling,
                    Box::new(move |random| {
                        let centre = 30.0 * 10f64.powf(random.uniform());
                        Change { from: 4.0, transitions: vec![(centre, width, -4.0 + 1e-6)], noise, kind }
                    }),
                );
            }
        }
        for decades in [0.1, 0.3] {
            for noise in [0.0, 0.1] {
                let name = format!("grokking {decades} noise {noise}r");
                row(
                    name,
                    sampling,
                    Box::new(move |random| {
                        let rise = 20.0 * 3f64.powf(random.uniform());
                        let fall = 1000.0 * 1.6f64.powf(random.uniform());
                        let peak = 10.0 * 4f64.powf(random.uniform());
                        let transitions = vec![(rise, 2.0 * decades, peak - 4.0), (fall, decades, 1e-7 - peak)];
                        Change { from: 4.0, transitions, noise, kind: Noise { phi: 0.3, is_relative: true } }
                    }),
                );
            }
        }
        for noise in [0.0, 0.05] {
            row(
                format!("two falls noise {noise}"),
                sampling,
                Box::new(move |random| {
                    let first = 15.0 * 2f64.powf(random.uniform());
                    let second = 500.0 * 2f64.powf(random.uniform());
                    Change { from: 4.0, transitions: vec![(first, 0.4, -2.5), (second, 0.3, -1.0)], noise, kind: white }
                }),
            );
        }
    }
    for (noise, kind) in [(0.0, white), (0.03, white), (0.05, Noise { phi: 0.6, is_relative: true })] {
        row(
            format!("early fall noise {noise}"),
            Sampling::EveryStep,
            Box::new(move |random| {
                // 10 % of the change is reached at step 5 to 9.
                let width = 0.3 + 0.7 * random.uniform();
                let start = 5.0 + 4.0 * random.uniform();
                let centre = (start + 1.0) * 10f64.powf(0.5 * width) - 1.0;
                Change { from: 4.0, transitions: vec![(centre, width, -4.0 + 1e-6)], noise, kind }
            }),
        );
    }
    for phi in [0.0, 0.3, 0.6, 0.9] {
        for (n, height) in [(200, 4.0), (50, 4.0)] {
            row(
                format!("step of {height} sd, {n} points, phi {phi:.1}"),
                Sampling::Points(n),
                Box::new(move |random| {
                    let centre = 10f64.powf(1.0 + 2.0 * random.uniform());
                    let kind = Noise { phi, is_relative: false };
                    Change { from: 0.0, transitions: vec![(centre, 0.0, height)], noise: 1.0, kind }
                }),
            );
        }
    }
    rows
}
