//! Operators, element by element: numbers with anything, curves at common steps, lists and several curves by label.
//!
//! Standard errors go through +, −, ·, /, ^ and the functions of one number to first order, as of independent values; whatever has no
//! finite value is left out of curves and lists.

use super::error::Undefined;
use super::tree::Operator;
use super::value::{Curve, Value, entry};

/// A function of one number.
pub(super) struct Single {
    /// As it is written.
    pub(super) sign: &'static str,
    pub(super) value: fn(f64) -> f64,
    /// Its derivative; `None` where standard errors mean nothing after it.
    pub(super) slope: Option<fn(f64) -> f64>,
}

/// The derivatives of a function of two numbers by either.
type Slopes = fn(f64, f64) -> (f64, f64);

/// A function of two numbers.
pub(super) struct Double {
    /// As it is written.
    pub(super) sign: &'static str,
    pub(super) value: fn(f64, f64) -> f64,
    /// Its derivatives by either; `None` where standard errors mean nothing after it.
    pub(super) slopes: Option<Slopes>,
}

pub(super) const NEGATIVE: Single = Single { sign: "-", value: |x| -x, slope: Some(|_| -1.0) };
pub(super) const NOT: Single = Single { sign: "not", value: |x| truth(x == 0.0), slope: None };

fn truth(is_true: bool) -> f64 {
    f64::from(u8::from(is_true))
}

/// What an operator does with numbers.
fn rule(operator: Operator) -> Double {
    let (value, slopes): (fn(f64, f64) -> f64, Option<Slopes>) = match operator {
        Operator::Or => (|a, b| truth(a != 0.0 || b != 0.0), None),
        Operator::And => (|a, b| truth(a != 0.0 && b != 0.0), None),
        Operator::Less => (|a, b| truth(a < b), None),
        Operator::AtMost => (|a, b| truth(a <= b), None),
        Operator::More => (|a, b| truth(a > b), None),
        Operator::AtLeast => (|a, b| truth(a >= b), None),
        Operator::Equal => (|a, b| truth(a == b), None),
        Operator::Unequal => (|a, b| truth(a != b), None),
        Operator::Plus => (|a, b| a + b, Some(|_, _| (1.0, 1.0))),
        Operator::Minus => (|a, b| a - b, Some(|_, _| (1.0, -1.0))),
        Operator::Times => (|a, b| a * b, Some(|a, b| (b, a))),
        Operator::Over => (|a, b| a / b, Some(|a, b| (1.0 / b, -a / (b * b)))),
        Operator::Power => {
            (f64::powf, Some(|a, b| (b * a.powf(b - 1.0), if a > 0.0 { a.powf(b) * a.ln() } else { 0.0 })))
        }
    };
    Double { sign: operator.sign(), value, slopes }
}

/// Two values joined by an operator.
pub(super) fn combine(operator: Operator, left: Value, right: Value) -> Result<Value, Undefined> {
    let equal = match (&left, &right) {
        (Value::Text(a), Value::Text(b)) => Some(a == b),
        (Value::Labels(a), Value::Labels(b)) => Some(a == b),
        _ => None,
    };
    match (operator, equal) {
        (Operator::Equal, Some(equal)) => Ok(Value::Number(truth(equal))),
        (Operator::Unequal, Some(equal)) => Ok(Value::Number(truth(!equal))),
        _ => both(&rule(operator), left, right),
    }
}

/// A function of one number, of each element.
pub(super) fn each(rule: &Single, value: Value) -> Result<Value, Undefined> {
    match value {
        Value::Number(x) => number((rule.value)(x), || format!("{}({x})", rule.sign)),
        Value::Curve(curve) => each_point(rule, &curve).map(Value::Curve),
        Value::List(list) => entries(rule.sign, list.into_iter().map(|(label, x)| (label, (rule.value)(x)))),
        Value::Curves(curves) => {
            parts(rule.sign, curves.into_iter().map(|(label, curve)| (label, each_point(rule, &curve))))
        }
        other => Err(Undefined::new(format!("`{}` takes numbers, not {}", rule.sign, other.kind()))),
    }
}

fn each_point(rule: &Single, curve: &Curve) -> Result<Curve, Undefined> {
    let values = curve.values.iter().map(|&v| (rule.value)(v)).collect();
    let errors =
        curve.errors.as_ref().zip(rule.slope).map(|(errors, slope)| {
            errors.iter().zip(&curve.values).map(|(error, &v)| (slope(v) * error).abs()).collect()
        });
    with_points(curve.with_values(values, errors), rule.sign)
}

/// A function of two numbers, of each pair of elements that belong together.
pub(super) fn both(rule: &Double, left: Value, right: Value) -> Result<Value, Undefined> {
    use Value::{Curves, List, Number};
    let sign = rule.sign;
    match (left, right) {
        (Number(a), Number(b)) => number((rule.value)(a, b), || format!("{a} {sign} {b}")),
        (List(a), Number(b)) => entries(sign, a.into_iter().map(|(label, a)| (label, (rule.value)(a, b)))),
        (Number(a), List(b)) => entries(sign, b.into_iter().map(|(label, b)| (label, (rule.value)(a, b)))),
        (List(a), List(b)) => {
            let pairs: Vec<(String, f64)> = a
                .into_iter()
                .filter_map(|(label, a)| entry(&b, &label).map(|&b| (rule.value)(a, b)).map(|value| (label, value)))
                .collect();
            if pairs.is_empty() {
                return Err(Undefined::new(format!("the two lists that `{sign}` joins have no label in common")));
            }
            entries(sign, pairs.into_iter())
        }
        (Value::Curve(a), Number(b)) => points(rule, &Side::Curve(&a), &Side::Number(b)).map(Value::Curve),
        (Number(a), Value::Curve(b)) => points(rule, &Side::Number(a), &Side::Curve(&b)).map(Value::Curve),
        (Value::Curve(a), Value::Curve(b)) => points(rule, &Side::Curve(&a), &Side::Curve(&b)).map(Value::Curve),
        (Curves(a), Number(b)) => {
            parts(sign, a.into_iter().map(|(l, a)| (l, points(rule, &Side::Curve(&a), &Side::Number(b)))))
        }
        (Number(a), Curves(b)) => {
            parts(sign, b.into_iter().map(|(l, b)| (l, points(rule, &Side::Number(a), &Side::Curve(&b)))))
        }
        (Curves(a), Value::Curve(b)) => {
            parts(sign, a.into_iter().map(|(l, a)| (l, points(rule, &Side::Curve(&a), &Side::Curve(&b)))))
        }
        (Value::Curve(a), Curves(b)) => {
            parts(sign, b.into_iter().map(|(l, b)| (l, points(rule, &Side::Curve(&a), &Side::Curve(&b)))))
        }
        (Curves(a), Curves(b)) => {
            let of = |label: &String| entry(&b, label).map(Side::Curve);
            labelled(rule, &a, of, |own, other| points(rule, &Side::Curve(own), &other))
        }
        (Curves(a), List(b)) => {
            let of = |label: &String| entry(&b, label).copied().map(Side::Number);
            labelled(rule, &a, of, |own, other| points(rule, &Side::Curve(own), &other))
        }
        (List(a), Curves(b)) => {
            let of = |label: &String| entry(&a, label).copied().map(Side::Number);
            labelled(rule, &b, of, |own, other| points(rule, &other, &Side::Curve(own)))
        }
        (left, right) => {
            let (left, right) = (left.kind(), right.kind());
            Err(Undefined::new(format!("`{sign}` cannot join {left} and {right}")))
        }
    }
}

/// One side of an operator at each step.
enum Side<'a> {
    Number(f64),
    Curve(&'a Curve),
}

impl Side<'_> {
    /// Value and standard error at a step; the curve has it where it is asked for.
    fn at(&self, step: f64) -> Option<(f64, Option<f64>)> {
        match self {
            Self::Number(number) => Some((*number, Some(0.0))),
            Self::Curve(curve) => {
                let at = curve.steps.binary_search_by(|own| own.total_cmp(&step)).ok()?;
                Some((*curve.values.get(at)?, curve.errors.as_ref().and_then(|errors| errors.get(at).copied())))
            }
        }
    }

    /// Whether it has a value at a step, or should have one.
    fn covers(&self, step: f64) -> bool {
        self.at(step).is_some() || self.gaps().contains(&step)
    }

    fn gaps(&self) -> &[f64] {
        match self {
            Self::Number(_) => &[],
            Self::Curve(curve) => &curve.gaps,
        }
    }
}

/// Two sides, at least one of them a curve, at the steps that both have.
fn points(rule: &Double, left: &Side<'_>, right: &Side<'_>) -> Result<Curve, Undefined> {
    let steps = match (left, right) {
        (Side::Curve(curve), _) | (_, Side::Curve(curve)) => &curve.steps[..],
        _ => &[],
    };
    let (mut common, mut errors) = (Curve::new(vec![], vec![]), vec![]);
    for &step in steps {
        let (Some((a, error_a)), Some((b, error_b))) = (left.at(step), right.at(step)) else { continue };
        common.steps.push(step);
        common.values.push((rule.value)(a, b));
        let error = error_a.zip(error_b).zip(rule.slopes).map(|((error_a, error_b), slopes)| {
            let (by_a, by_b) = slopes(a, b);
            // A number has no error, whatever the derivative by it.
            let part = |slope: f64, error: f64| if error == 0.0 { 0.0 } else { slope * error };
            part(by_a, error_a).hypot(part(by_b, error_b))
        });
        errors.extend(error);
    }
    // Where one has a gap and the other a value, or a gap as well, there should have been a point.
    let gaps = left.gaps().iter().chain(right.gaps());
    common.gaps = gaps.copied().filter(|&gap| left.covers(gap) && right.covers(gap)).collect();
    common.gaps.sort_by(f64::total_cmp);
    common.gaps.dedup();
    if common.is_empty() {
        return Err(Undefined::new(format!("the two curves that `{}` joins have no step in common", rule.sign)));
    }
    let errors = (errors.len() == common.len()).then_some(errors);
    with_points(common.with_values(common.values.clone(), errors), rule.sign)
}

fn with_points(curve: Curve, sign: &str) -> Result<Curve, Undefined> {
    if curve.is_empty() {
        Err(Undefined::new(format!("no point has a finite value after `{sign}`")))
    } else {
        Ok(curve)
    }
}

fn number(value: f64, written: impl FnOnce() -> String) -> Result<Value, Undefined> {
    if value.is_finite() {
        Ok(Value::Number(value))
    } else {
        Err(Undefined::new(format!("{} is not a finite number", written())))
    }
}

/// The entries that are finite.
fn entries(sign: &str, entries: impl Iterator<Item = (String, f64)>) -> Result<Value, Undefined> {
    let entries: Vec<(String, f64)> = entries.filter(|(_, value)| value.is_finite()).collect();
    if entries.is_empty() {
        return Err(Undefined::new(format!("no entry has a finite value after `{sign}`")));
    }
    Ok(Value::List(entries))
}

/// The curves that have a point.
fn parts(sign: &str, parts: impl Iterator<Item = (String, Result<Curve, Undefined>)>) -> Result<Value, Undefined> {
    let mut why = None;
    let mut found = vec![];
    for (label, curve) in parts {
        match curve {
            Ok(curve) => found.push((label, curve)),
            Err(undefined) => why = why.or(Some(undefined)),
        }
    }
    match (found.is_empty(), why) {
        (false, _) => Ok(Value::Curves(found)),
        (true, Some(why)) => Err(why),
        (true, None) => Err(Undefined::new(format!("there is no curve for `{sign}`"))),
    }
}

/// The curves for whose label there is another side.
fn labelled<'a>(
    rule: &Double,
    curves: &[(String, Curve)],
    other: impl Fn(&String) -> Option<Side<'a>>,
    join: impl Fn(&Curve, Side<'a>) -> Result<Curve, Undefined>,
) -> Result<Value, Undefined> {
    let common: Vec<_> =
        curves.iter().filter_map(|(label, own)| other(label).map(|other| (label.clone(), join(own, other)))).collect();
    if common.is_empty() {
        return Err(Undefined::new(format!("the two sides of `{}` have no label in common", rule.sign)));
    }
    parts(rule.sign, common.into_iter())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &[(&str, f64)]) -> Value {
        Value::List(entries.iter().map(|(label, value)| ((*label).to_owned(), *value)).collect())
    }

    fn curve(steps: &[f64], values: &[f64], errors: Option<&[f64]>) -> Curve {
        Curve { errors: errors.map(<[f64]>::to_vec), ..Curve::new(steps.to_vec(), values.to_vec()) }
    }

    fn curves(entries: &[(&str, Curve)]) -> Value {
        Value::Curves(entries.iter().map(|(label, curve)| ((*label).to_owned(), curve.clone())).collect())
    }

    #[test]
    fn curves_meet_at_common_steps_and_errors_add_in_squares() {
        let a = Value::Curve(curve(&[0.0, 1.0, 5.0], &[1.0, 2.0, 3.0], Some(&[0.3, 0.3, 0.3])));
        let b = Value::Curve(curve(&[1.0, 5.0, 7.0], &[10.0, 0.0, 1.0], Some(&[0.4, 0.4, 0.4])));
        let sum = combine(Operator::Plus, a.clone(), b.clone()).unwrap();
        assert_eq!(sum, Value::Curve(curve(&[1.0, 5.0], &[12.0, 3.0], Some(&[0.5, 0.5]))));
        // At step 5 the divisor is 0.
        let Value::Curve(ratio) = combine(Operator::Over, a.clone(), b).unwrap() else { panic!("no curve") };
        assert_eq!((ratio.steps, ratio.values, ratio.gaps), (vec![1.0], vec![0.2], vec![5.0]));
        let expected = (0.03_f64.powi(2) + (2.0 / 100.0 * 0.4_f64).powi(2)).sqrt();
        assert!((ratio.errors.unwrap()[0] - expected).abs() < 1e-15);
        let squared = combine(Operator::Power, a.clone(), Value::Number(2.0)).unwrap();
        assert_eq!(squared, Value::Curve(curve(&[0.0, 1.0, 5.0], &[1.0, 4.0, 9.0], Some(&[0.6, 1.2, 6.0 * 0.3]))));
        let is_above = combine(Operator::More, a.clone(), Value::Number(1.5)).unwrap();
        assert_eq!(is_above, Value::Curve(curve(&[0.0, 1.0, 5.0], &[0.0, 1.0, 1.0], None)));
        // The gap at 1 is one of the sum, that at 6 lies where the other curve has nothing.
        let gapped = Value::Curve(Curve { gaps: vec![1.0, 6.0], ..curve(&[0.0, 5.0], &[1.0, 1.0], None) });
        let Value::Curve(sum) = combine(Operator::Plus, gapped, a.clone()).unwrap() else { panic!("no curve") };
        assert_eq!((sum.steps, sum.gaps), (vec![0.0, 5.0], vec![1.0]));
        let apart = Value::Curve(curve(&[2.0], &[1.0], None));
        assert!(combine(Operator::Plus, a, apart).unwrap_err().reason.contains("no step in common"));
    }

    #[test]
    fn lists_meet_by_label() {
        let (a, b) = (list(&[("x", 1.0), ("y", 2.0), ("z", 3.0)]), list(&[("z", 1.0), ("y", 0.0)]));
        assert_eq!(combine(Operator::Minus, a.clone(), b.clone()), Ok(list(&[("y", 2.0), ("z", 2.0)])));
        assert_eq!(combine(Operator::Over, a.clone(), b), Ok(list(&[("z", 3.0)])));
        assert_eq!(
            combine(Operator::AtLeast, Value::Number(2.0), a.clone()),
            Ok(list(&[("x", 1.0), ("y", 1.0), ("z", 0.0)]))
        );
        let error = combine(Operator::Plus, a, list(&[("w", 1.0)])).unwrap_err();
        assert!(error.reason.contains("no label in common"), "{error}");
    }

    #[test]
    fn several_curves_meet_curves_lists_and_each_other() {
        let (p, q) = (curve(&[0.0, 1.0], &[1.0, 2.0], None), curve(&[1.0, 2.0], &[5.0, 6.0], None));
        let many = curves(&[("p", p.clone()), ("q", q.clone())]);
        let with_p = combine(Operator::Plus, many.clone(), Value::Curve(p)).unwrap();
        let expected = curves(&[("p", curve(&[0.0, 1.0], &[2.0, 4.0], None)), ("q", curve(&[1.0], &[7.0], None))]);
        assert_eq!(with_p, expected);
        let scaled = combine(Operator::Times, list(&[("q", 2.0)]), many.clone()).unwrap();
        assert_eq!(scaled, curves(&[("q", curve(&[1.0, 2.0], &[10.0, 12.0], None))]));
        let of_q = combine(Operator::Minus, many, curves(&[("q", q)])).unwrap();
        assert_eq!(of_q, curves(&[("q", curve(&[1.0, 2.0], &[0.0, 0.0], None))]));
    }

    #[test]
    fn what_does_not_belong_together_says_so() {
        let text = || Value::Text("a".to_owned());
        let reason = |a, b| combine(Operator::Plus, a, b).unwrap_err().reason;
        assert_eq!(reason(text(), Value::Number(1.0)), "`+` cannot join a text and a number");
        assert_eq!(reason(text(), text()), "`+` cannot join a text and a text");
        assert_eq!(
            reason(list(&[("x", 1.0)]), Value::Curve(curve(&[0.0], &[1.0], None))),
            "`+` cannot join a list and a curve"
        );
        let labels = |label: &str| Value::Labels(vec![label.to_owned()]);
        assert_eq!(combine(Operator::Equal, labels("a"), labels("a")), Ok(Value::Number(1.0)));
        assert_eq!(combine(Operator::Unequal, labels("a"), labels("b")), Ok(Value::Number(1.0)));
        assert!(combine(Operator::Over, Value::Number(1.0), Value::Number(0.0)).is_err());
        assert!(combine(Operator::Power, Value::Number(-1.0), Value::Number(0.5)).is_err());
    }
}
