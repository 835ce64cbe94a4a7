//! False alarms of the transition detector on simulated curves without transitions:
//! `detector_rates [CURVES PER FAMILY] [FIRST SEED] [PART OF A NAME]`.

#![expect(clippy::print_stdout, reason = "an example prints its result")]

#[path = "../tests/all/common/mod.rs"]
mod common;

use common::families::{NOISES, Noise, SAMPLINGS, Sampling, TRENDS, Trend, smooth_curve};
use common::{Random, Share, arguments, in_parallel};
use ontogeny_stats::{TransitionSettings, transitions};
use std::time::Instant;

/// Seeds from one family to the next, so that no two families share a curve.
const SEEDS_PER_FAMILY: u64 = 1_000_000;

fn main() {
    let (n_curves, first_seed, only) = arguments(1000);
    let settings = TransitionSettings::default();
    println!("{:<42} {:>32} {:>8}", "family", "false alarms", "ms/curve");
    let mut of_noise = vec![Share::default(); NOISES.len()];
    for (k, (trend, sampling, noise)) in families().into_iter().enumerate() {
        let name = format!("{trend:?}, {sampling:?}, {}", name_of(noise));
        if !name.contains(&only) {
            continue;
        }
        let start = Instant::now();
        let is_found = |seed: u64| {
            let seed = first_seed + k as u64 * SEEDS_PER_FAMILY + seed + 1;
            let curve = smooth_curve(trend, sampling, noise, &mut Random::new(seed));
            !transitions(&curve, &settings).expect("the curve is long enough").is_empty()
        };
        let share = Share::of(&in_parallel(n_curves, is_found));
        let milliseconds = 1e3 * start.elapsed().as_secs_f64() / n_curves as f64;
        println!("{name:<42} {:>32} {milliseconds:>8.1}", share.to_string());
        if let Some(i) = NOISES.iter().position(|n| *n == noise) {
            of_noise[i] += share;
        }
    }
    for (noise, share) in NOISES.into_iter().zip(&of_noise) {
        println!("{:<42} {:>32}", format!("all, {}", name_of(noise)), share.to_string());
    }
    let all = of_noise.into_iter().fold(Share::default(), |mut all, share| {
        all += share;
        all
    });
    println!("{:<42} {:>32}", "all", all.to_string());
}

/// Every kind of curve; noise in proportion to the level of a constant is constant noise.
fn families() -> Vec<(Trend, Sampling, Noise)> {
    let mut families = vec![];
    for trend in TRENDS {
        for sampling in SAMPLINGS {
            let noises = NOISES.into_iter().filter(|n| trend != Trend::Constant || !n.is_relative);
            families.extend(noises.map(|noise| (trend, sampling, noise)));
        }
    }
    families
}

fn name_of(noise: Noise) -> String {
    format!("phi {:.1}{}", noise.phi, if noise.is_relative { " relative" } else { "" })
}
