//! Curves made of one curve, and functions of single numbers, which take curves and lists too.

use super::{Arguments, Function};
use crate::expression::arithmetic::{Single, each};
use crate::expression::error::Undefined;
use crate::expression::value::{Curve, Value, not_empty};

pub(super) const FUNCTIONS: &[Function] = &[
    Function::of_curve(
        "between",
        3,
        "between(c, from, to)",
        "The part of a curve at these steps, both included.",
        between,
    ),
    Function::of_curve("every", 2, "every(c, k)", "The first point, and each k-th after it.", every),
    Function::of_curve(
        "change",
        1,
        "change(c)",
        "The curve less its value at the first step; errors stay as they are.",
        change,
    ),
    Function::of_curve(
        "normalise",
        1,
        "normalise(c)",
        "The curve in units of its range: 0 at its least, 1 at its largest value.",
        normalise,
    ),
    Function::of_curve(
        "slope",
        1,
        "slope(c)",
        "Its derivative by ln(step + 1): differences between the two neighbours, at the ends to the only one.",
        slope,
    ),
    Function::of_curve(
        "smooth",
        2,
        "smooth(c, width)",
        "Means weighted by a normal curve with this standard deviation in ln(step + 1).",
        smooth,
    ),
    Function::new(
        "log",
        (1, 1),
        "log(x)",
        "Natural logarithm of a number, or of each value; values of 0 or less are left out.",
        |arguments| each(&LOG, arguments.value(0).clone()),
    ),
    Function::new("log10", (1, 1), "log10(x)", "Decadic logarithm, as log.", |arguments| {
        each(&LOG10, arguments.value(0).clone())
    }),
    Function::new("exp", (1, 1), "exp(x)", "Exponential of a number, or of each value.", |arguments| {
        each(&EXP, arguments.value(0).clone())
    }),
    Function::new("abs", (1, 1), "abs(x)", "Size without sign, of a number or of each value.", |arguments| {
        each(&ABS, arguments.value(0).clone())
    }),
    Function::new(
        "sqrt",
        (1, 1),
        "sqrt(x)",
        "Square root of a number, or of each value; values below 0 are left out.",
        |arguments| each(&SQRT, arguments.value(0).clone()),
    ),
    Function::new(
        "step",
        (1, 1),
        "step(x)",
        "The number or list itself: for expressions that say what they take, as step(transition(c)).",
        |arguments| match arguments.value(0) {
            value @ (Value::Number(_) | Value::List(_)) => Ok(value.clone()),
            _ => Err(arguments.unfit(0, "a step, or a list of steps")),
        },
    ),
];

const LOG: Single = Single { sign: "log", value: f64::ln, slope: Some(|x| 1.0 / x) };
const LOG10: Single = Single { sign: "log10", value: f64::log10, slope: Some(|x| 1.0 / (x * std::f64::consts::LN_10)) };
const EXP: Single = Single { sign: "exp", value: f64::exp, slope: Some(f64::exp) };
const ABS: Single = Single { sign: "abs", value: f64::abs, slope: Some(|_| 1.0) };
const SQRT: Single = Single { sign: "sqrt", value: f64::sqrt, slope: Some(|x| 0.5 / x.sqrt()) };

fn between(arguments: &Arguments) -> Result<Value, Undefined> {
    let (curve, from, to) = (arguments.curve(0)?, arguments.number(1)?, arguments.number(2)?);
    let mut part = curve.filtered(|i| (from..=to).contains(&curve.steps[i]));
    part.gaps.retain(|gap| (from..=to).contains(gap));
    not_empty(part, || format!("{} has no point between steps {from} and {to}", arguments.text(0)))
}

fn every(arguments: &Arguments) -> Result<Value, Undefined> {
    let (curve, k) = (arguments.curve(0)?, arguments.count(1)?);
    Ok(Value::Curve(curve.filtered(|i| i.is_multiple_of(k))))
}

fn change(arguments: &Arguments) -> Result<Value, Undefined> {
    let (curve, first) = (arguments.curve(0)?, arguments.first_value()?);
    let values = curve.values.iter().map(|value| value - first).collect();
    Ok(Value::Curve(curve.with_values(values, curve.errors.clone())))
}

fn normalise(arguments: &Arguments) -> Result<Value, Undefined> {
    let curve = arguments.curve(0)?;
    let (least, range) = least_and_range(curve);
    if !(range > 0.0 && range.is_finite()) {
        return Err(arguments.undefined(format!("its range is {range}, expected one above 0")));
    }
    let values = curve.values.iter().map(|value| (value - least) / range).collect();
    let errors = curve.errors.as_ref().map(|errors| errors.iter().map(|error| error / range).collect());
    Ok(Value::Curve(curve.with_values(values, errors)))
}

/// Least value, and the largest less the least.
pub(super) fn least_and_range(curve: &Curve) -> (f64, f64) {
    let least = curve.values.iter().copied().fold(f64::INFINITY, f64::min);
    let largest = curve.values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    (least, largest - least)
}

fn slope(arguments: &Arguments) -> Result<Value, Undefined> {
    let curve = arguments.curve_of(0, 2)?;
    let (x, y, end) = (curve.log_steps(), &curve.values, curve.len() - 1);
    let at = |i: usize| {
        let (a, b) = (i.saturating_sub(1), (i + 1).min(end));
        (y[b] - y[a]) / (x[b] - x[a])
    };
    let found = curve.with_values((0..=end).map(at).collect(), None);
    not_empty(found, || format!("{} has no slope that is finite", arguments.text(0)))
}

fn smooth(arguments: &Arguments) -> Result<Value, Undefined> {
    let (curve, width) = (arguments.curve(0)?, arguments.positive(1)?);
    let x = curve.log_steps();
    let at = |here: &f64| {
        let (mut sum, mut total) = (0.0, 0.0);
        for (there, value) in x.iter().zip(&curve.values) {
            let distance = (there - here) / width;
            let weight = (-0.5 * distance * distance).exp();
            (sum, total) = (sum + weight * value, total + weight);
        }
        sum / total
    };
    let found = curve.with_values(x.iter().map(at).collect(), None);
    not_empty(found, || format!("{} has no mean that is finite", arguments.text(0)))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check, curve, list, reason, value};
    use super::*;

    #[test]
    fn by_hand() {
        let steps = [0.0, 9.0, 99.0, 999.0];
        let names = [("c", curve(&steps, &[2.0, 5.0, 1.0, 4.0])), ("l", list(&[("a", -1.0), ("b", 1.0)]))];
        let of = |text: &str| value(&names, text).unwrap();
        assert_eq!(of("between(c, 9, 500)"), curve(&[9.0, 99.0], &[5.0, 1.0]));
        assert_eq!(of("every(c, 2)"), curve(&[0.0, 99.0], &[2.0, 1.0]));
        assert_eq!(of("every(c, 1)"), of("c"));
        assert_eq!(of("change(c)"), curve(&steps, &[0.0, 3.0, -1.0, 2.0]));
        assert_eq!(of("normalise(c)"), curve(&steps, &[0.25, 1.0, 0.0, 0.75]));
        assert_eq!(of("log(l)"), list(&[("b", 0.0)]));
        assert_eq!(of("abs(l)"), list(&[("a", 1.0), ("b", 1.0)]));
        assert_eq!(of("sqrt(c - 1)"), curve(&steps, &[1.0, 2.0, 0.0, 3_f64.sqrt()]));
        // The third value is 0, whose logarithm is no number.
        let Value::Curve(found) = of("log10(c - 1)") else { panic!("no curve") };
        let logs = Curve::new(vec![0.0, 9.0, 999.0], vec![0.0, 4_f64.log10(), 3_f64.log10()]);
        assert_eq!(found, Curve { gaps: vec![99.0], ..logs });
        assert_eq!(of("between(log10(c - 1), 0, 50)"), curve(&[0.0, 9.0], &[0.0, 4_f64.log10()]));
        let decade = std::f64::consts::LN_10;
        check(
            &names,
            &[
                ("first(slope(c))", 3.0 / decade),
                ("at(slope(c), 9)", -0.5 / decade),
                ("last(slope(c))", 3.0 / decade),
                ("log(exp(2))", 2.0),
                ("log10(1000)", 3.0),
                ("sqrt(9) + abs(-1) + step(2)", 6.0),
            ],
        );
        assert_eq!(reason(&names, "log(0)"), "log(0) is not a finite number");
        assert_eq!(reason(&names, "between(c, 10, 20)"), "c has no point between steps 10 and 20");
        assert!(reason(&names, "step(c)").starts_with("step expects a step"));
        assert!(reason(&names, "every(c, 1.5)").contains("a whole number of at least 1 in place 2, not 1.5"));
        assert!(reason(&names, "normalise(0 * c)").contains("its range is 0"));
    }

    #[test]
    fn kernels_are_normal_in_log_time() {
        let names = [("c", curve(&[0.0, 9.0], &[0.0, 1.0]))];
        let weight = (-0.5 * (10_f64.ln() / 2.0).powi(2)).exp();
        check(
            &names,
            &[
                ("first(smooth(c, 2))", weight / (1.0 + weight)),
                ("last(smooth(c, 2))", 1.0 / (1.0 + weight)),
                ("last(smooth(c, 1e-3))", 1.0),
            ],
        );
        assert!(reason(&names, "smooth(c, 0)").contains("a number above 0 in place 2, not 0"));
    }

    #[test]
    fn errors_follow_where_they_mean_something() {
        let with_errors = Curve { errors: Some(vec![0.1, 0.2]), ..Curve::new(vec![0.0, 1.0], vec![1.0, 2.0]) };
        let names = [("c", Value::Curve(with_errors))];
        let errors = |text: &str| match value(&names, text).unwrap() {
            Value::Curve(curve) => curve.errors,
            _ => None,
        };
        assert_eq!(errors("log(c)"), Some(vec![0.1, 0.1]));
        assert_eq!(errors("change(c)"), Some(vec![0.1, 0.2]));
        assert_eq!(errors("between(c, 1, 2)"), Some(vec![0.2]));
        assert_eq!(errors("normalise(3 * c)"), Some(vec![0.1 * 3.0 / 3.0, 0.2 * 3.0 / 3.0]));
        assert_eq!(errors("slope(c)"), None);
    }
}
