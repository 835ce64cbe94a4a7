//! Error rates of the transition detector on simulated curves: `detector_rates [CURVES PER FAMILY]`.

#![expect(clippy::print_stdout, reason = "an example prints its result")]

#[path = "../tests/common/mod.rs"]
mod common;

use common::families::{NOISES, SAMPLINGS, TRENDS, Trend, smooth_curve};
use common::{Random, in_parallel};
use ontogeny_stats::{TransitionSettings, transitions};
use std::time::Instant;

fn main() {
    let n_curves: u64 = std::env::args().nth(1).and_then(|a| a.parse().ok()).unwrap_or(1000);
    let settings = TransitionSettings::default();
    println!("{:<10} {:<12} {:>4} {:<8} {:>6} {:>8}", "trend", "sampling", "phi", "noise", "rate", "ms/curve");
    for trend in TRENDS {
        for sampling in SAMPLINGS {
            for noise in NOISES {
                if trend == Trend::Constant && noise.is_relative {
                    continue;
                }
                let start = Instant::now();
                let is_found = |seed: u64| {
                    let curve = smooth_curve(trend, sampling, noise, &mut Random::new(seed + 1));
                    !transitions(&curve, &settings).expect("the curve is long enough").is_empty()
                };
                let n_found = in_parallel(n_curves, is_found).into_iter().filter(|found| *found).count();
                let rate = n_found as f64 / n_curves as f64;
                let milliseconds = 1e3 * start.elapsed().as_secs_f64() / n_curves as f64;
                let kind = if noise.is_relative { "relative" } else { "constant" };
                let (trend, sampling) = (format!("{trend:?}"), format!("{sampling:?}"));
                println!("{trend:<10} {sampling:<12} {:>4} {kind:<8} {rate:>6.3} {milliseconds:>8.1}", noise.phi);
            }
        }
    }
}
