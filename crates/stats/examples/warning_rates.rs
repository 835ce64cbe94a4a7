//! False alarms and power of early-warning signals on simulated series: `warning_rates [SERIES] [FIRST SEED] [PART OF A NAME]`.

#![expect(clippy::print_stdout, reason = "an example prints its result")]

#[path = "../tests/all/common/mod.rs"]
mod common;

use common::warnings::{Kind, series};
use common::{Random, Share, arguments, in_parallel};
use ontogeny_stats::{Surrogates, WarningSettings, early_warnings};

fn main() {
    let (n_series, first_seed, only) = arguments(1000);
    println!("{:<46} {:>30} {:>30} {:>30}", "series", "variance", "autocorrelation", "both");
    for (k, kind) in Kind::ALL.into_iter().enumerate() {
        for n in [100, 200, 400] {
            for surrogates in [Surrogates::Autoregressive, Surrogates::Phases] {
                let name = format!("{kind:?}, {n} values, {surrogates:?}");
                if !name.contains(&only) {
                    continue;
                }
                let settings = WarningSettings { surrogates, ..WarningSettings::default() };
                let answers = in_parallel(n_series, |seed| {
                    let seed = first_seed + (k as u64 + 1) * 1_000_000 + seed;
                    let found =
                        early_warnings(&series(kind, n, &mut Random::new(seed)), &settings).expect("long enough");
                    (found.variance_trend.p_value <= 0.05, found.autocorrelation_trend.p_value <= 0.05)
                });
                let share = |of: &dyn Fn(&(bool, bool)) -> bool| Share::of(&answers.iter().map(of).collect::<Vec<_>>());
                let (variance, lag) = (share(&|a| a.0), share(&|a| a.1));
                let both = share(&|a| a.0 && a.1);
                println!("{name:<46} {variance:>30} {lag:>30} {both:>30}");
            }
        }
    }
}
