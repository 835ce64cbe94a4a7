//! Candidate forms of a trajectory given as components: `forms FILE.csv FIRST_WIDTH LAST_WIDTH`, widths in points.
//!
//! The file has a header and the columns step, component 1, component 2, ...

#![expect(clippy::print_stdout, reason = "an example prints its result")]

use ontogeny_stats::{FormSettings, forms};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("name a CSV file")?;
    let first: f64 = arguments.next().ok_or("give the first width")?.parse()?;
    let last: f64 = arguments.next().ok_or("give the last width")?.parse()?;
    let mut steps = vec![];
    let mut scores: Vec<Vec<f64>> = vec![];
    for line in fs_err::read_to_string(&path)?.lines().skip(1) {
        let numbers = line.split(',').map(|n| n.trim().parse()).collect::<Result<Vec<f64>, _>>()?;
        scores.resize(numbers.len() - 1, vec![]);
        steps.push(numbers[0]);
        for (component, value) in scores.iter_mut().zip(&numbers[1..]) {
            component.push(*value);
        }
    }
    let places: Vec<f64> = (0..steps.len()).map(|i| i as f64).collect();
    let step_at = |x: f64| {
        let below = (x as usize).min(steps.len() - 2);
        steps[below] + (x - below as f64) * (steps[below + 1] - steps[below])
    };
    println!("{:>10} {:>10} {:>10} {:>6} {:>8} {:>10}", "step", "from", "to", "turn", "p(walk)", "p(phases)");
    for f in forms(&places, &scores, &FormSettings::smoothed(first, last))? {
        let (at, from, to) = (step_at(f.x), step_at(f.lower), step_at(f.upper));
        println!("{at:>10.0} {from:>10.0} {to:>10.0} {:>6.2} {:>8.3} {:>10.3}", f.turn, f.p_walk, f.p_phases);
        for plane in &f.planes {
            let kind = if plane.is_cusp { "cusp" } else { "vertex" };
            println!(
                "{:>14}{:?} turn {:.2}, {kind} at {:.3?}, radius {:.3}",
                "", plane.components, plane.turn, plane.centre, plane.radius
            );
        }
    }
    Ok(())
}
