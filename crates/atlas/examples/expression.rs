//! The number that a study takes from a run: an expression over its curves.
//!
//! ```text
//! cargo run -p ontogeny-atlas --example expression
//! ```
#![expect(clippy::print_stdout, reason = "an example shows something")]

use ontogeny_atlas::expression::{Curve, Expression, Undefined, Value};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // A run that knows its training pairs by heart at step 100 and finds the rule at step 1,000.
    let steps: Vec<f64> = (0..80).map(|i| (1.12_f64.powi(i)).round() + f64::from(i)).collect();
    let fall = |middle: f64| steps.iter().map(|t| 3.4 / (1.0 + (t / middle).powi(6))).collect();
    let loss = |name: &str| match name {
        "loss.train" => Ok(Value::Curve(Curve::new(steps.clone(), fall(100.0)))),
        "loss.test" => Ok(Value::Curve(Curve::new(steps.clone(), fall(1000.0)))),
        other => Err(Undefined::unknown(format!("there is no `{other}`"))),
    };
    let delay = Expression::parse("log(transition(loss.test) / transition(loss.train))")?;
    println!("{} = {:.3} (ln 10 = 2.303)", delay.text(), delay.number(&loss)?);
    match Expression::parse("transition(loss.tset)")?.number(&loss) {
        Ok(step) => println!("{step}"),
        Err(undefined) => println!("no value: {undefined}"),
    }
    Ok(())
}
