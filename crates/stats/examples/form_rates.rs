//! False alarms and power of the search for forms on simulated trajectories: `form_rates [CURVES] [FIRST SEED] [PART OF A NAME]`.

#![expect(clippy::print_stdout, reason = "an example prints its result")]

#[path = "../tests/all/common/mod.rs"]
mod common;

use common::trajectories::{Course, trajectory};
use common::{Random, Share, arguments, in_parallel};
use ontogeny_stats::{Form, FormSettings, forms};
use std::time::Instant;

/// Level of the p-values.
const ALPHA: f64 = 0.05;
/// How far a form may be from its corner, of a run of length 10 with corners at 2, 4, 6 and 8.
const MARGIN: f64 = 0.5;
/// Corners by the smallest turn that they make among the planes, in radians.
const BINS: [(f64, f64); 4] = [(0.0, 1.0), (1.0, 2.0), (2.0, 2.5), (2.5, 3.2)];

fn main() {
    let (n_curves, first_seed, only) = arguments(100);
    println!("{:<44} {:>28} {:>28} {:>28} {:>28}", "course", "listed", "p(walk)", "p(phases)", "both");
    for (k, course) in Course::NULL.into_iter().chain([Course::Corners]).enumerate() {
        for (n, arm) in [(100, 0.5), (100, 0.25), (300, 0.5)] {
            for noise in [0.01, 0.1] {
                let name = format!("{course:?}, {n} points, arm {arm}, noise {noise}");
                if !name.contains(&only) {
                    continue;
                }
                let start = Instant::now();
                let answers = in_parallel(n_curves, |seed| {
                    let seed = first_seed + (k as u64 + 1) * 1_000_000 + seed;
                    let simulated = trajectory(course, n, noise, &mut Random::new(seed)).expect("it moves");
                    let settings = FormSettings { seed, arm, ..FormSettings::smoothed(0.1, 0.1) };
                    let found = forms(&simulated.x, &simulated.scores, &settings).expect("the curve is long enough");
                    (simulated.corners, found)
                });
                println!("{name}: {:.0} ms a curve", 1e3 * start.elapsed().as_secs_f64() / n_curves as f64);
                if course != Course::Corners {
                    let share = |passes: Passes| {
                        Share::of(&answers.iter().map(|(_, found)| found.iter().any(passes)).collect::<Vec<_>>())
                    };
                    print_row("any form", share);
                    continue;
                }
                for (low, high) in BINS {
                    let share = |passes: Passes| {
                        let mut all = vec![];
                        for (corners, found) in &answers {
                            let of_bin = corners.iter().filter(|(_, turn)| (low..high).contains(turn));
                            let near = |at: f64| found.iter().any(|f| passes(f) && (f.x - at).abs() <= MARGIN);
                            all.extend(of_bin.map(|(at, _)| near(*at)));
                        }
                        Share::of(&all)
                    };
                    print_row(&format!("corners of {low} to {high}"), share);
                }
            }
        }
    }
}

type Passes = fn(&Form) -> bool;

fn print_row(name: &str, share: impl Fn(Passes) -> Share) {
    let listed = share(|_| true);
    let walk = share(|f| f.p_walk <= ALPHA);
    let phases = share(|f| f.p_phases <= ALPHA);
    let both = share(|f| f.p_walk.max(f.p_phases) <= ALPHA);
    println!("  {name:<42} {listed:>28} {walk:>28} {phases:>28} {both:>28}");
}
