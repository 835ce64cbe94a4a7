//! The steps at which a curve reaches a level, first or for good.

use super::{Arguments, Function};
use crate::expression::error::Undefined;
use crate::expression::value::{Curve, Value};

pub(super) const FUNCTIONS: &[Function] = &[
    Function::of_curve(
        "first_below",
        2,
        "first_below(c, level)",
        "First step at which it is at or below the level, on straight lines in ln(step + 1).",
        |arguments| first(arguments, &BELOW),
    ),
    Function::of_curve(
        "first_above",
        2,
        "first_above(c, level)",
        "First step at which it is at or above the level, on straight lines in ln(step + 1).",
        |arguments| first(arguments, &ABOVE),
    ),
    Function::of_curve(
        "stays_below",
        2,
        "stays_below(c, level)",
        "Step from which on it is at or below the level to its end.",
        |arguments| stays(arguments, &BELOW),
    ),
    Function::of_curve(
        "stays_above",
        2,
        "stays_above(c, level)",
        "Step from which on it is at or above the level to its end.",
        |arguments| stays(arguments, &ABOVE),
    ),
];

/// One of the two ways to pass a level.
struct Side {
    is_there: fn(f64, f64) -> bool,
    never: &'static str,
    extreme: fn(f64, f64) -> f64,
    extreme_name: &'static str,
}

const BELOW: Side =
    Side { is_there: |value, level| value <= level, never: "falls below", extreme: f64::min, extreme_name: "least" };
const ABOVE: Side =
    Side { is_there: |value, level| value >= level, never: "rises above", extreme: f64::max, extreme_name: "most" };

fn first(arguments: &Arguments, side: &Side) -> Result<Value, Undefined> {
    let (curve, level) = (arguments.curve(0)?, arguments.number(1)?);
    match curve.values.iter().position(|&value| (side.is_there)(value, level)) {
        Some(0) => Ok(Value::Number(curve.steps[0])),
        Some(i) => arguments.finite(crossing(curve, i, level)),
        None => Err(never(arguments, curve, level, side)),
    }
}

fn stays(arguments: &Arguments, side: &Side) -> Result<Value, Undefined> {
    let (curve, level) = (arguments.curve(0)?, arguments.number(1)?);
    match curve.values.iter().rposition(|&value| !(side.is_there)(value, level)) {
        None => Ok(Value::Number(curve.steps[0])),
        Some(i) if i + 1 < curve.len() => arguments.finite(crossing(curve, i + 1, level)),
        Some(_) if !curve.values.iter().any(|&value| (side.is_there)(value, level)) => {
            Err(never(arguments, curve, level, side))
        }
        Some(i) => Err(Undefined::new(format!(
            "{} does not stay there once it {} {level}: it ends at {}",
            arguments.text(0),
            side.never,
            curve.values[i]
        ))),
    }
}

/// The step between points `i - 1` and `i` at which the line between them has the level.
fn crossing(curve: &Curve, i: usize, level: f64) -> f64 {
    let (before, after) = (curve.values[i - 1], curve.values[i]);
    if after == level {
        return curve.steps[i];
    }
    let share = (level - before) / (after - before);
    let (a, b) = (curve.steps[i - 1].ln_1p(), curve.steps[i].ln_1p());
    (a + share * (b - a)).exp_m1()
}

fn never(arguments: &Arguments, curve: &Curve, level: f64, side: &Side) -> Undefined {
    let extreme = curve.values.iter().copied().reduce(side.extreme).unwrap_or(f64::NAN);
    Undefined::new(format!(
        "the training run never {} {level} in {} ({} {})",
        side.never,
        arguments.text(0),
        side.extreme_name,
        shown(extreme)
    ))
}

/// Four digits.
fn shown(number: f64) -> String {
    match number.abs() {
        0.0 => "0".to_owned(),
        1e-3..1e6 => {
            let digits = (3 - number.abs().log10().floor() as i32).max(0) as usize;
            let text = format!("{number:.digits$}");
            if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
        }
        _ => format!("{number:.3e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check, curve, reason};
    use super::shown;

    #[test]
    fn by_hand() {
        let names = [("c", curve(&[0.0, 9.0, 99.0, 999.0, 9999.0], &[4.0, 2.0, 3.0, 1.0, 2.0]))];
        let root = 10_f64.sqrt();
        check(
            &names,
            &[
                // Half-way from ln 1 to ln 10.
                ("first_below(c, 3)", root - 1.0),
                ("first_below(c, 2)", 9.0),
                ("first_below(c, 4)", 0.0),
                ("first_below(c, 1)", 999.0),
                ("first_above(c, 1)", 0.0),
                ("first_above(-c, -1.5)", 10_f64.powf(2.75) - 1.0),
                ("stays_below(c, 2)", 10_f64.powf(2.5) - 1.0),
                ("stays_below(c, 5)", 0.0),
                ("stays_above(-c, -2)", 10_f64.powf(2.5) - 1.0),
                ("stays_above(c, 1.5)", 1000.0 * root - 1.0),
                ("stays_above(c, 1)", 0.0),
            ],
        );
        assert_eq!(reason(&names, "first_below(c, 0.1)"), "the training run never falls below 0.1 in c (least 1)");
        assert_eq!(reason(&names, "first_above(c, 5)"), "the training run never rises above 5 in c (most 4)");
        assert_eq!(reason(&names, "stays_above(c, 5)"), "the training run never rises above 5 in c (most 4)");
        assert_eq!(
            reason(&names, "stays_below(c, 1.5)"),
            "c does not stay there once it falls below 1.5: it ends at 2"
        );
    }

    #[test]
    fn numbers_are_short() {
        let cases = [
            (0.31, "0.31"),
            (0.0, "0"),
            (-12.3456, "-12.35"),
            (1000.0, "1000"),
            (123_456.0, "123456"),
            (1e-9, "1.000e-9"),
        ];
        for (number, text) in cases {
            assert_eq!(shown(number), text);
        }
    }
}
