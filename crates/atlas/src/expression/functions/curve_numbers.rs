//! Numbers of one curve; those that lists have too are in `lists`.

use super::{Arguments, Function};
use crate::expression::error::Undefined;
use crate::expression::value::{Curve, Value};

pub(super) const FUNCTIONS: &[Function] = &[
    Function::of_curve("first", 1, "first(c)", "Value at the first step; none where that was refused.", first),
    Function::of_curve("last", 1, "last(c)", "Value at the last step; none where that was refused.", last),
    Function::of_curve("first_step", 1, "first_step(c)", "Its first step.", |arguments| {
        Ok(Value::Number(arguments.curve(0)?.steps[0]))
    }),
    Function::of_curve("last_step", 1, "last_step(c)", "Its last step.", |arguments| {
        let steps = &arguments.curve(0)?.steps;
        Ok(Value::Number(steps[steps.len() - 1]))
    }),
    Function::of_curve(
        "at",
        2,
        "at(c, step)",
        "Value at a step, on straight lines in ln(step + 1); none where it was refused.",
        at,
    ),
    Function::of_curve("step_of_min", 1, "step_of_min(c)", "First step with the least value.", step_of_min),
    Function::of_curve("step_of_max", 1, "step_of_max(c)", "First step with the largest value.", step_of_max),
    Function::of_curve("area", 1, "area(c)", "Mean over ln(step + 1), by trapezoids.", area),
    Function::of_curve("drop", 1, "drop(c)", "Value at the first step less that at the last.", drop_of),
    Function::of_curve(
        "largest_rise",
        1,
        "largest_rise(c)",
        "Largest increase from any step to a later one; 0 where it never rises.",
        largest_rise,
    ),
    Function::of_curve(
        "largest_fall",
        1,
        "largest_fall(c)",
        "Largest decrease from any step to a later one, above 0; 0 where it never falls.",
        largest_fall,
    ),
    Function::of_curve(
        "monotone_share",
        1,
        "monotone_share(c)",
        "Share of all its changes from step to step, by size, that go its main way: 1 never turns, 0.5 ends where it began.",
        monotone_share,
    ),
];

fn first(arguments: &Arguments) -> Result<Value, Undefined> {
    arguments.first_value().map(Value::Number)
}

fn last(arguments: &Arguments) -> Result<Value, Undefined> {
    arguments.last_value().map(Value::Number)
}

fn at(arguments: &Arguments) -> Result<Value, Undefined> {
    let (curve, step) = (arguments.curve(0)?, arguments.number(1)?);
    curve.at(step).map(Value::Number).ok_or_else(|| {
        let why = if curve.gaps.contains(&step) {
            "it was refused, or is no finite number".to_owned()
        } else {
            format!("it goes from {} to {}", curve.steps[0], curve.steps[curve.len() - 1])
        };
        Undefined::new(format!("{} has no value at step {step}: {why}", arguments.text(0)))
    })
}

fn step_of_min(arguments: &Arguments) -> Result<Value, Undefined> {
    Ok(Value::Number(step_of_best(arguments.curve(0)?, |value, best| value < best)))
}

fn step_of_max(arguments: &Arguments) -> Result<Value, Undefined> {
    Ok(Value::Number(step_of_best(arguments.curve(0)?, |value, best| value > best)))
}

fn step_of_best(curve: &Curve, is_better: impl Fn(f64, f64) -> bool) -> f64 {
    let mut best = 0;
    for (i, &value) in curve.values.iter().enumerate() {
        if is_better(value, curve.values[best]) {
            best = i;
        }
    }
    curve.steps[best]
}

fn area(arguments: &Arguments) -> Result<Value, Undefined> {
    let curve = arguments.curve_of(0, 2)?;
    let x = curve.log_steps();
    let pairs = x.windows(2).zip(curve.values.windows(2));
    let sum: f64 = pairs.map(|(x, v)| (x[1] - x[0]) * f64::midpoint(v[0], v[1])).sum();
    arguments.finite(sum / (x[x.len() - 1] - x[0]))
}

fn drop_of(arguments: &Arguments) -> Result<Value, Undefined> {
    arguments.finite(arguments.first_value()? - arguments.last_value()?)
}

fn largest_rise(arguments: &Arguments) -> Result<Value, Undefined> {
    arguments.finite(largest_change(arguments.curve(0)?, 1.0))
}

fn largest_fall(arguments: &Arguments) -> Result<Value, Undefined> {
    arguments.finite(largest_change(arguments.curve(0)?, -1.0))
}

/// Largest increase of the curve times `sign` from a step to a later one.
fn largest_change(curve: &Curve, sign: f64) -> f64 {
    let (mut least, mut largest) = (f64::INFINITY, 0.0_f64);
    for value in curve.values.iter().map(|value| sign * value) {
        least = least.min(value);
        largest = largest.max(value - least);
    }
    largest
}

fn monotone_share(arguments: &Arguments) -> Result<Value, Undefined> {
    let curve = arguments.curve_of(0, 2)?;
    let (mut up, mut down) = (0.0, 0.0);
    for pair in curve.values.windows(2) {
        let change = pair[1] - pair[0];
        if change > 0.0 { up += change } else { down -= change }
    }
    if up + down == 0.0 {
        return Err(arguments.undefined("the curve never changes"));
    }
    arguments.finite(f64::max(up, down) / (up + down))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check, curve, reason};

    #[test]
    fn by_hand() {
        // ln(step + 1) is 0, ln 10, 2 ln 10 and 3 ln 10.
        let names = [("c", curve(&[0.0, 9.0, 99.0, 999.0], &[2.0, 5.0, 1.0, 4.0])), ("one", curve(&[7.0], &[3.0]))];
        check(
            &names,
            &[
                ("first(c)", 2.0),
                ("last(c)", 4.0),
                ("first_step(one)", 7.0),
                ("last_step(c)", 999.0),
                ("at(c, 9)", 5.0),
                ("at(c, sqrt(10) * 100 - 1)", 2.5),
                ("at(one, 7)", 3.0),
                ("step_of_min(c)", 99.0),
                ("step_of_max(c)", 9.0),
                ("step_of_max(0 * c)", 0.0),
                // (3.5 + 3 + 2.5) / 3.
                ("area(c)", 3.0),
                ("drop(c)", -2.0),
                ("largest_rise(c)", 3.0),
                ("largest_fall(c)", 4.0),
                ("largest_fall(one)", 0.0),
                // Up 3 + 3, down 4.
                ("monotone_share(c)", 0.6),
                ("monotone_share(-c)", 0.6),
            ],
        );
        // The logarithm of c − 2 has no value at the first step and at the third.
        let gap = |step: &str| format!("step {step}: it was refused, or is no finite number");
        assert_eq!(reason(&names, "first(log(c - 2))"), format!("log(c - 2) has no value at its first {}", gap("0")));
        assert_eq!(reason(&names, "at(log(c - 2), 99)"), format!("log(c - 2) has no value at {}", gap("99")));
        assert_eq!(
            reason(&names, "last(c + log(4 - c))"),
            format!("c + log(4 - c) has no value at its last {}", gap("999"))
        );
        assert_eq!(reason(&names, "drop(log(c - 2))"), format!("log(c - 2) has no value at its first {}", gap("0")));
        assert_eq!(reason(&names, "at(c, 1000)"), "c has no value at step 1000: it goes from 0 to 999");
        assert_eq!(reason(&names, "area(one)"), "one has 1 point, and area needs 2");
        assert_eq!(reason(&names, "monotone_share(0 * c)"), "monotone_share of 0 * c: the curve never changes");
    }
}
