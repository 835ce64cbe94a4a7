//! Shapes fitted to a curve: a sigmoid or a decay, its half time, power laws.

use std::f64::consts::LN_10;

use super::pairs::paired;
use super::shape_fit::{ShapeFit, exponential, logistic};
use super::{Arguments, Function};
use crate::expression::error::Undefined;
use crate::expression::value::{Curve, Value};

pub(super) const FUNCTIONS: &[Function] = &[
    Function::of_curve(
        "sigmoid_bic",
        1,
        "sigmoid_bic(c)",
        "BIC of an exponential decay in the step less that of a logistic curve in ln(step + 1): above 0 an S-curve fits better.",
        sigmoid_bic,
    ),
    Function::of_curve(
        "sigmoid_midpoint",
        1,
        "sigmoid_midpoint(c)",
        "Step at the middle of the best logistic curve.",
        sigmoid_midpoint,
    ),
    Function::of_curve(
        "sigmoid_width",
        1,
        "sigmoid_width(c)",
        "From 10 to 90 % of the best logistic curve, in decades of step + 1.",
        |arguments| {
            let fit = logistic(varied(arguments)?);
            arguments.finite(fit.log_width.exp() * 81_f64.ln() / LN_10)
        },
    ),
    Function::of_curve(
        "sigmoid_r2",
        1,
        "sigmoid_r2(c)",
        "Share of the variation that the best logistic curve in ln(step + 1) explains.",
        |arguments| explained(arguments, logistic),
    ),
    Function::of_curve(
        "exponential_r2",
        1,
        "exponential_r2(c)",
        "Share of the variation that the best exponential decay in the step explains.",
        |arguments| explained(arguments, exponential),
    ),
    Function::of_curve(
        "half_time",
        1,
        "half_time(c)",
        "Step at which it crosses the middle between its first and its last value for the last time.",
        half_time,
    ),
    Function::of_curve(
        "power_law",
        2,
        "power_law(x, y)",
        "Exponent of y ∝ x^e: the slope of ln y on ln x, of lists by label or of curves at common steps.",
        power_law,
    ),
];

/// Parameters of the two shapes; their noise has one more, which makes no difference.
const DECAY_PARAMETERS: usize = 3;
const LOGISTIC_PARAMETERS: usize = 4;
/// Fewest points: one more than the parameters of a logistic curve with its noise.
const LEAST: usize = 6;

/// A curve with enough points, which is not constant.
fn varied(arguments: &Arguments) -> Result<&Curve, Undefined> {
    let curve = arguments.curve_of(0, LEAST)?;
    let square: f64 = curve.values.iter().map(|value| (value - curve.values[0]).powi(2)).sum();
    if square > 0.0 && square.is_finite() {
        Ok(curve)
    } else {
        Err(arguments.undefined("the curve never changes, or by more than can be squared"))
    }
}

fn sigmoid_bic(arguments: &Arguments) -> Result<Value, Undefined> {
    let curve = varied(arguments)?;
    let n = curve.len();
    let decay = exponential(curve).bic(n, DECAY_PARAMETERS);
    arguments.finite(decay - logistic(curve).bic(n, LOGISTIC_PARAMETERS))
}

fn sigmoid_midpoint(arguments: &Arguments) -> Result<Value, Undefined> {
    let curve = varied(arguments)?;
    let x = curve.log_steps();
    let (start, end) = (x[0], x[x.len() - 1]);
    let middle = logistic(curve).place;
    let margin = 1e-6 * (end - start);
    if middle <= start + margin || middle >= end - margin {
        return Err(arguments.undefined("the middle of the best logistic curve does not lie within the run"));
    }
    arguments.finite(middle.exp_m1())
}

fn explained(arguments: &Arguments, fit: fn(&Curve) -> ShapeFit) -> Result<Value, Undefined> {
    arguments.finite(fit(varied(arguments)?).explained())
}

fn half_time(arguments: &Arguments) -> Result<Value, Undefined> {
    let curve = arguments.curve(0)?;
    arguments.first_value()?;
    arguments.last_value()?;
    match ontogeny_stats::half_time(&curve.steps, &curve.values) {
        Some(step) => arguments.finite(step),
        None => Err(Undefined::new(format!("{} has no half time: it ends where it began", arguments.text(0)))),
    }
}

fn power_law(arguments: &Arguments) -> Result<Value, Undefined> {
    let (x, y) = paired(arguments)?;
    let fit = ontogeny_stats::log_log_fit(&x, &y).map_err(|error| arguments.undefined(error))?;
    arguments.finite(fit.slope)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check, curve, list, number, reason};
    use super::*;

    fn noisy(seed: u32, of: impl Fn(f64) -> f64) -> Value {
        let steps: Vec<f64> = (0..50).map(|i| 1.17_f64.powi(i).round() + f64::from(i) - 1.0).collect();
        // Multiples of an irrational number are evenly spread: a sum of three less its mean is nearly normal.
        let noise = |i: usize| {
            let parts =
                (1..=3).map(|k| (f64::from(seed) * 0.37 + (i * k * k + 7 * k) as f64 * 0.618_033_988_7).fract());
            parts.sum::<f64>() - 1.5
        };
        let values = steps.iter().enumerate().map(|(i, step)| of(*step) + 0.1 * noise(i)).collect::<Vec<f64>>();
        curve(&steps, &values)
    }

    #[test]
    fn planted_shapes_are_told_apart() {
        for seed in 0..10 {
            let names = [
                ("decay", noisy(seed, |step| 1.0 + 2.0 * (-step / 60.0).exp())),
                ("sharp", noisy(seed, |step| 3.0 - 2.0 / (1.0 + (-(step.ln_1p() - 101_f64.ln()) / 0.2).exp()))),
            ];
            let (decay, sharp) = (number(&names, "sigmoid_bic(decay)"), number(&names, "sigmoid_bic(sharp)"));
            assert!(decay < 0.0 && sharp > 10.0, "{seed}: {decay} {sharp}");
            let middle = number(&names, "sigmoid_midpoint(sharp)");
            assert!((middle / 100.0).ln().abs() < 0.1, "{seed}: {middle}");
            let width = number(&names, "sigmoid_width(sharp)");
            assert!((width / (0.2 * 81_f64.log10()) - 1.0).abs() < 0.3, "{seed}: {width}");
            assert!(number(&names, "exponential_r2(decay)") > 0.98);
            assert!(number(&names, "sigmoid_r2(sharp)") > 0.99);
            assert!(number(&names, "exponential_r2(sharp)") < number(&names, "sigmoid_r2(sharp)"));
        }
    }

    #[test]
    fn either_shape_is_preferred_where_it_is_the_truth_at_any_place() {
        let (mut decays, mut sigmoids) = (0, 0);
        for (seed, place) in (0..10).flat_map(|seed| [10.0, 60.0, 300.0, 1000.0].map(|place| (seed, place))) {
            let names = [
                ("decay", noisy(seed, |step| 2.0 * (-step / place).exp())),
                ("sigmoid", noisy(seed, |step| 2.0 / (1.0 + ((step.ln_1p() - place.ln_1p()) / 0.5).exp()))),
            ];
            decays += usize::from(number(&names, "sigmoid_bic(decay)") < 0.0);
            sigmoids += usize::from(number(&names, "sigmoid_bic(sigmoid)") > 0.0);
        }
        assert!(decays >= 38 && sigmoids >= 38, "{decays} and {sigmoids} of 40");
    }

    #[test]
    fn exact_shapes() {
        let steps: Vec<f64> = (0..12).map(|i| 2_f64.powi(i) - 1.0).collect();
        let of = |f: fn(f64) -> f64| curve(&steps, &steps.iter().map(|step| f(*step)).collect::<Vec<f64>>());
        let names = [
            ("s", of(|step| 1.0 / (1.0 + ((step.ln_1p() - 4.0) / 0.5).exp()))),
            ("line", of(|step| step)),
            ("flat", of(|_| 3.0)),
            ("x", list(&[("a", 1.0), ("b", 2.0), ("c", 4.0)])),
            ("y", list(&[("a", 8.0), ("b", 2.0), ("c", 0.5), ("d", 9.0)])),
        ];
        assert!((number(&names, "sigmoid_midpoint(s)") - 4_f64.exp_m1()).abs() < 1e-2);
        assert!((number(&names, "sigmoid_width(s)") - 0.5 * 81_f64.log10()).abs() < 1e-3);
        assert!(number(&names, "sigmoid_r2(s)") > 1.0 - 1e-9);
        // Half of the last value of 2047 lies between 1023 and 2047, a straight line in ln(step + 1).
        let half_time = (1024_f64.ln() + 2_f64.ln() * 0.5 / 1024.0).exp() - 1.0;
        check(
            &names,
            &[("half_time(line)", half_time), ("power_law(x, y)", -2.0), ("power_law(line + 1, (line + 1) ^ 3)", 3.0)],
        );
        assert!(reason(&names, "sigmoid_bic(flat)").contains("the curve never changes"));
        assert!(reason(&names, "half_time(flat)").contains("it ends where it began"));
        assert!(reason(&names, "power_law(x - 1, y)").contains("a positive number"));
        assert!(reason(&names, "sigmoid_r2(between(s, 0, 10))").contains("and sigmoid_r2 needs 6"));
    }
}
