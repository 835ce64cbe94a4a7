//! How often the stated 95 % interval of an estimate contains the exact answer at its own temperature, localisation and
//! step size: `cargo run --release -p ontogeny-posterior --example coverage -- [SEEDS_OF_QUADRATICS] [SEEDS_OF_OTHERS] [CASES]`
//!
//! CASES is a part of the names of those that are wanted, such as `coarse` or `deep`.

#![expect(clippy::print_stdout, reason = "the table is this example's output")]

use std::num::NonZero;

use ontogeny_posterior::known_answers::KnownAnswer;
use ontogeny_posterior::{Execution, in_parallel};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let number = |at: usize, default: u32| std::env::args().nth(at).map_or(Ok(default), |text| text.parse());
    let (quadratics, others) = (number(1, 1000)?, number(2, 200)?);
    let wanted = std::env::args().nth(3).unwrap_or_default();
    let one = Execution { threads: NonZero::<usize>::MIN, ..Execution::default() };
    println!("| case | sampler | seeds | inside the 95 % interval | mean z | root mean square z | refused |");
    println!("|---|---|---|---|---|---|---|");
    for case in KnownAnswer::all()?.into_iter().filter(|case| case.name.contains(&wanted)) {
        let seeds = if case.name.starts_with("quadratic") { quadratics } else { others };
        // Seeds that no other measurement of these cases uses.
        let found =
            in_parallel(seeds as usize, Execution::default().threads, |i| case.compare(10_000 + i as u32, &one));
        let found = found.into_iter().collect::<Result<Vec<_>, _>>()?;
        let n = found.len() as f64;
        // A chain that diverged has no interval: it counts as outside.
        let inside = found.iter().filter(|c| c.z.abs() < 1.96).count() as f64 / n;
        let finite: Vec<f64> = found.iter().map(|c| c.z).filter(|z| z.is_finite()).collect();
        let mean = finite.iter().sum::<f64>() / finite.len() as f64;
        let square = finite.iter().map(|z| z * z).sum::<f64>() / finite.len() as f64;
        let refused = found.iter().filter(|c| c.verdict != ontogeny_posterior::Verdict::Ok).count();
        println!(
            "| {} | {} | {seeds} | {:.1} % ± {:.1} | {mean:+.2} | {:.2} | {refused} |",
            case.name,
            case.llc.sampler,
            100.0 * inside,
            100.0 * (inside * (1.0 - inside) / n).sqrt(),
            square.sqrt(),
        );
    }
    Ok(())
}
