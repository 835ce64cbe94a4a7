//! False alarms and power of the search for forms on simulated trajectories: `form_rates [CURVES] [FIRST SEED] [PART OF A NAME]`.

#![expect(clippy::print_stdout, reason = "an example prints its result")]

#[path = "../tests/common/mod.rs"]
mod common;

use common::trajectories::{Course, trajectory};
use common::{Random, Share, arguments, in_parallel};
use ontogeny_stats::{FormSettings, forms};
use std::time::Instant;

/// Level of both p-values.
const ALPHA: f64 = 0.05;
/// How far a form may be from where it was planted, of a run of length 10: a tenth.
const MARGIN: f64 = 0.5;

fn main() {
    let (n_curves, first_seed, only) = arguments(100);
    println!("{:<36} {:>28} {:>28} {:>28} {:>7}", "course", "p(walk) <= .05", "p(phases) <= .05", "both", "ms");
    for (k, course) in Course::NULL.into_iter().chain([Course::OneForm, Course::TwoForms]).enumerate() {
        for n in [100, 300] {
            for noise in [0.01, 0.1] {
                let name = format!("{course:?}, {n} points, noise {noise}");
                if !name.contains(&only) {
                    continue;
                }
                let start = Instant::now();
                let answers = in_parallel(n_curves, |seed| {
                    let seed = first_seed + (k as u64 + 1) * 1_000_000 + seed;
                    let (x, scores) = trajectory(course, n, noise, &mut Random::new(seed)).expect("it moves");
                    let settings = FormSettings { seed, ..FormSettings::smoothed(0.1, 0.4) };
                    forms(&x, &scores, &settings).expect("the curve is long enough")
                });
                let milliseconds = 1e3 * start.elapsed().as_secs_f64() / n_curves as f64;
                let planted = course.forms();
                // Of a null: is there any; of planted forms: is each found in its place.
                let share = |passes: &dyn Fn(&ontogeny_stats::Form) -> bool| {
                    let mut all = vec![];
                    for found in &answers {
                        let kept: Vec<f64> = found.iter().filter(|f| passes(f)).map(|f| f.x).collect();
                        if planted.is_empty() {
                            all.push(!kept.is_empty());
                        }
                        all.extend(planted.iter().map(|at| kept.iter().any(|x| (x - at).abs() <= MARGIN)));
                    }
                    Share::of(&all)
                };
                let walk = share(&|f| f.p_walk <= ALPHA);
                let phases = share(&|f| f.p_phases <= ALPHA);
                let both = share(&|f| f.p_walk <= ALPHA && f.p_phases <= ALPHA);
                println!("{name:<36} {walk:>28} {phases:>28} {both:>28} {milliseconds:>7.1}");
                if !planted.is_empty() {
                    let listed = share(&|_| true);
                    println!("{:<36} {listed:>28} among at most six candidates", "");
                }
            }
        }
    }
}
