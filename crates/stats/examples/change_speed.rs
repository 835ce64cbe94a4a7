//! Times an exact search on a series: `change_speed FILE (pelt PENALTY | dynp CHANGES) [COST] [SECONDS]`.
//!
//! FILE holds the values, separated by white space. Prints the milliseconds of the fastest run, making the cost
//! included, and the ends of the segments, as ruptures writes them. `benches/peers/change_points.py` calls it.

#![expect(clippy::print_stdout, reason = "an example prints its result")]

use ontogeny_stats::changes::{CostModel, Signal, dynamic_programming, pelt};
use std::time::{Duration, Instant};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, method, argument, rest @ ..] = arguments.as_slice() else {
        return Err("give FILE, pelt or dynp, and the penalty or the number of changes".into());
    };
    let text = fs_err::read_to_string(file)?;
    let values = text.split_whitespace().map(str::parse).collect::<Result<Vec<f64>, _>>()?;
    let model = match rest.first().map(String::as_str) {
        None | Some("l2") => CostModel::L2,
        Some("l1") => CostModel::L1,
        Some("normal") => CostModel::Normal,
        Some("rank") => CostModel::Rank,
        Some("rbf") => CostModel::Rbf(None),
        Some("clinear") => CostModel::ContinuousLinear,
        Some(other) => return Err(format!("no cost {other}: l1, l2, normal, rank, rbf or clinear").into()),
    };
    let seconds: f64 = rest.get(1).map_or(Ok(0.5), |s| s.parse())?;
    let signal = Signal::new(values, 1)?;
    let (mut fastest, mut ends) = (Duration::MAX, vec![]);
    let begun = Instant::now();
    while begun.elapsed().as_secs_f64() < seconds || ends.is_empty() {
        let start = Instant::now();
        let cost = model.of(&signal)?;
        let found = match method.as_str() {
            "pelt" => pelt(&cost, argument.parse()?, 2)?,
            "dynp" => dynamic_programming(&cost, argument.parse::<usize>()? + 1, 2)?,
            other => return Err(format!("no method {other}: pelt or dynp").into()),
        };
        fastest = fastest.min(start.elapsed());
        ends = found.change_points;
        ends.push(signal.n_points());
    }
    println!("{{\"ms\": {}, \"ends\": {ends:?}}}", 1e3 * fastest.as_secs_f64());
    Ok(())
}
