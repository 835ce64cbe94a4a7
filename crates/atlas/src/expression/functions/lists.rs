//! Lists and labels: what lists share with curves, parts of lists, the largest entries.

use glob::Pattern;
use ontogeny_stats::{gini as gini_of, median as median_of};

use super::{Arguments, Function};
use crate::expression::arithmetic::{Double, both};
use crate::expression::error::Undefined;
use crate::expression::value::{Value, entry};

/// Most arguments of `list`.
const MOST: usize = 100;

pub(super) const FUNCTIONS: &[Function] = &[
    Function::of_curve("sum", 1, "sum(x)", "Sum of the values of a curve or list; 0 for an empty list.", |arguments| {
        arguments.finite(values(arguments, 0)?.iter().sum())
    }),
    Function::of_curve("mean", 1, "mean(x)", "Mean of the values of a curve or list.", mean),
    Function::of_curve("median", 1, "median(x)", "Median of the values of a curve or list.", |arguments| {
        arguments.finite(median_of(&some_values(arguments, 1)?))
    }),
    Function::of_curve("sd", 1, "sd(x)", "Standard deviation of the values (divisor n − 1).", sd),
    Function::of_curve("n", 1, "n(x)", "Number of values of a curve, of a list, or of labels.", n),
    Function::of_curve("count", 1, "count(x)", "Number of values that are not 0, as in count(x > 2).", |arguments| {
        Ok(Value::Number(values(arguments, 0)?.iter().filter(|value| **value != 0.0).count() as f64))
    }),
    Function {
        lifts: true,
        ..Function::new(
            "min",
            (1, 2),
            "min(x) or min(a, b)",
            "Least value of a curve or list; the lesser of two numbers, or of each pair of values.",
            |arguments| extreme(arguments, &MIN),
        )
    },
    Function {
        lifts: true,
        ..Function::new(
            "max",
            (1, 2),
            "max(x) or max(a, b)",
            "Largest value of a curve or list; the larger of two numbers, or of each pair of values.",
            |arguments| extreme(arguments, &MAX),
        )
    },
    Function::new("list", (1, MOST), "list(a, b, …)", "Numbers as a list, labelled 1, 2, ….", |arguments| {
        let numbers = (0..arguments.len()).map(|i| arguments.number(i)).collect::<Result<Vec<f64>, Undefined>>()?;
        Ok(Value::numbered(numbers.into_iter()))
    }),
    Function::new("get", (2, 2), "get(x, 'label')", "The entry of a list, or the one of several curves.", get),
    Function::new(
        "select",
        (2, 2),
        "select(x, 'pattern')",
        "Entries of a list, curves or labels that fit a pattern with * and ?.",
        |arguments| chosen(arguments, true),
    ),
    Function::new(
        "without",
        (2, 2),
        "without(x, 'pattern')",
        "Entries of a list, curves or labels that do not fit a pattern with * and ?.",
        |arguments| chosen(arguments, false),
    ),
    Function::new("top", (2, 2), "top(list, k)", "Labels of the k largest entries, the largest first.", |arguments| {
        extremes(arguments, |a, b| b.total_cmp(&a))
    }),
    Function::new(
        "bottom",
        (2, 2),
        "bottom(list, k)",
        "Labels of the k least entries, the least first.",
        |arguments| extremes(arguments, |a, b| a.total_cmp(&b)),
    ),
    Function::new("argmax", (1, 1), "argmax(list)", "Label of the largest entry.", |arguments| {
        best(arguments.list(0)?.iter().map(|(label, value)| (label, *value)))
    }),
    Function::new("argmin", (1, 1), "argmin(list)", "Label of the least entry.", |arguments| {
        best(arguments.list(0)?.iter().map(|(label, value)| (label, -value)))
    }),
    Function::new(
        "argmax_at",
        (2, 2),
        "argmax_at(curves, step)",
        "Label of the curve with the largest value at a step, on straight lines in ln(step + 1).",
        argmax_at,
    ),
    Function::new("labels", (1, 1), "labels(x)", "Labels of a list, or of several curves.", labels),
    Function::new(
        "overlap",
        (2, 2),
        "overlap(labels, labels)",
        "Labels in both over labels in either: 1 for the same ones in any order, 0 for none in common.",
        overlap,
    ),
    Function::new("in", (2, 2), "in('label', labels)", "1 where the label is among them, else 0.", |arguments| {
        let word = arguments.word(0)?;
        Ok(Value::Number(f64::from(u8::from(arguments.labels(1)?.iter().any(|label| label == word)))))
    }),
    Function::new(
        "ranks",
        (1, 1),
        "ranks(list)",
        "Rank of each entry from 1, the least; equal ones share theirs.",
        |arguments| {
            let list = arguments.list(0)?;
            Ok(Value::List(list.iter().map(|(label, value)| (label.clone(), rank(list, *value))).collect()))
        },
    ),
    Function::of_curve(
        "gini",
        1,
        "gini(x)",
        "Gini coefficient of the sizes of the values: 0 all equal, near 1 one alone.",
        |arguments| match gini_of(&values(arguments, 0)?) {
            Some(gini) => arguments.finite(gini),
            None => Err(arguments.undefined("all values are 0, or there is none")),
        },
    ),
];

const MIN: Double = Double { sign: "min", value: f64::min, slopes: None };
const MAX: Double = Double { sign: "max", value: f64::max, slopes: None };

/// The values of a curve or list, which may be empty.
fn values(arguments: &Arguments, i: usize) -> Result<Vec<f64>, Undefined> {
    match arguments.value(i) {
        Value::Curve(curve) => Ok(curve.values.clone()),
        Value::List(list) => Ok(list.iter().map(|(_, value)| *value).collect()),
        _ => Err(arguments.unfit(i, "a curve or list")),
    }
}

/// At least so many values.
fn some_values(arguments: &Arguments, least: usize) -> Result<Vec<f64>, Undefined> {
    let values = values(arguments, 0)?;
    if values.len() < least {
        return Err(arguments.undefined(format!("found {} values, expected at least {least}", values.len())));
    }
    Ok(values)
}

fn mean(arguments: &Arguments) -> Result<Value, Undefined> {
    let values = some_values(arguments, 1)?;
    arguments.finite(mean_of(&values))
}

fn mean_of(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn sd(arguments: &Arguments) -> Result<Value, Undefined> {
    let values = some_values(arguments, 2)?;
    let mean = mean_of(&values);
    let square: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    arguments.finite((square / (values.len() - 1) as f64).sqrt())
}

fn n(arguments: &Arguments) -> Result<Value, Undefined> {
    let n = match arguments.value(0) {
        Value::Labels(labels) => labels.len(),
        _ => values(arguments, 0)?.len(),
    };
    Ok(Value::Number(n as f64))
}

fn extreme(arguments: &Arguments, rule: &Double) -> Result<Value, Undefined> {
    if arguments.len() == 2 {
        return both(rule, arguments.value(0).clone(), arguments.value(1).clone());
    }
    let found = some_values(arguments, 1)?.into_iter().reduce(rule.value);
    arguments.finite(found.unwrap_or(f64::NAN))
}

fn get(arguments: &Arguments) -> Result<Value, Undefined> {
    let label = arguments.word(1)?;
    let found = match arguments.value(0) {
        Value::List(list) => entry(list, label).map(|value| Value::Number(*value)),
        Value::Curves(curves) => entry(curves, label).map(|curve| Value::Curve(curve.clone())),
        _ => return Err(arguments.unfit(0, "a list or several curves")),
    };
    found.ok_or_else(|| {
        let known = labels_of(arguments.value(0)).unwrap_or_default();
        let nearest = known.iter().min_by_key(|known| strsim::levenshtein(known, label));
        let text = arguments.text(0);
        Undefined::new(match nearest {
            Some(nearest) => {
                format!("{text} has no entry '{label}'; the nearest of its {} is '{nearest}'", known.len())
            }
            None => format!("{text} has no entry"),
        })
    })
}

fn chosen(arguments: &Arguments, fitting: bool) -> Result<Value, Undefined> {
    let text = arguments.word(1)?;
    let pattern =
        Pattern::new(text).map_err(|error| arguments.undefined(format!("'{text}' is no pattern: {error}")))?;
    let is_kept = |label: &str| pattern.matches(label) == fitting;
    let (kept, n_kept) = match arguments.value(0) {
        Value::List(list) => {
            let kept: Vec<_> = list.iter().filter(|(label, _)| is_kept(label)).cloned().collect();
            let n = kept.len();
            (Value::List(kept), n)
        }
        Value::Curves(curves) => {
            let kept: Vec<_> = curves.iter().filter(|(label, _)| is_kept(label)).cloned().collect();
            let n = kept.len();
            (Value::Curves(kept), n)
        }
        Value::Labels(labels) => return Ok(Value::Labels(labels.iter().filter(|l| is_kept(l)).cloned().collect())),
        _ => return Err(arguments.unfit(0, "a list, several curves or labels")),
    };
    if n_kept == 0 {
        return Err(arguments.undefined(format!("no label is left by '{text}'")));
    }
    Ok(kept)
}

/// Labels of the k first entries in this order; equal entries as they stand.
fn extremes(arguments: &Arguments, order: fn(f64, f64) -> std::cmp::Ordering) -> Result<Value, Undefined> {
    let (list, k) = (arguments.list(0)?, arguments.count(1)?);
    if k > list.len() {
        let (name, text, n) = (arguments.function.name, arguments.text(0), list.len());
        return Err(Undefined::new(format!("{name} asks for {k} entries of {text}, which has {n}")));
    }
    let mut sorted: Vec<&(String, f64)> = list.iter().collect();
    sorted.sort_by(|a, b| order(a.1, b.1));
    Ok(Value::Labels(sorted[..k].iter().map(|(label, _)| label.clone()).collect()))
}

/// The first label with the largest number.
fn best<'a>(entries: impl Iterator<Item = (&'a String, f64)>) -> Result<Value, Undefined> {
    let best = entries.reduce(|best, own| if own.1 > best.1 { own } else { best });
    best.map(|(label, _)| Value::Text(label.clone())).ok_or_else(|| Undefined::new("a list without entries"))
}

fn argmax_at(arguments: &Arguments) -> Result<Value, Undefined> {
    let Value::Curves(curves) = arguments.value(0) else {
        return Err(arguments.unfit(0, "several curves, as \"NAME.*\" gives them"));
    };
    let step = arguments.number(1)?;
    let at = curves.iter().filter_map(|(label, curve)| curve.at(step).map(|value| (label, value)));
    best(at).map_err(|_| arguments.undefined(format!("no curve has a value at step {step}")))
}

fn labels_of(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::List(list) => Some(list.iter().map(|(label, _)| label.clone()).collect()),
        Value::Curves(curves) => Some(curves.iter().map(|(label, _)| label.clone()).collect()),
        Value::Labels(labels) => Some(labels.clone()),
        _ => None,
    }
}

fn labels(arguments: &Arguments) -> Result<Value, Undefined> {
    let found = labels_of(arguments.value(0));
    found.map(Value::Labels).ok_or_else(|| arguments.unfit(0, "a list or several curves"))
}

fn overlap(arguments: &Arguments) -> Result<Value, Undefined> {
    let (a, b) = (arguments.labels(0)?, arguments.labels(1)?);
    let common = a.iter().filter(|label| b.contains(label)).count();
    let all = a.len() + b.len() - common;
    if all == 0 {
        return Err(arguments.undefined("neither side has a label"));
    }
    Ok(Value::Number(common as f64 / all as f64))
}

/// Rank of a value in a list that has it.
fn rank(list: &[(String, f64)], value: f64) -> f64 {
    let below = list.iter().filter(|(_, own)| *own < value).count();
    let equal = list.iter().filter(|(_, own)| *own == value).count();
    below as f64 + f64::midpoint(equal as f64, 1.0)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check, curve, list, reason, value};
    use super::*;
    use crate::expression::value::Curve;

    fn names() -> [(&'static str, Value); 4] {
        let part = |values: &[f64]| Curve::new(vec![0.0, 9.0], values.to_vec());
        let many = vec![("L0H0".to_owned(), part(&[1.0, 2.0])), ("L1H0".to_owned(), part(&[3.0, 0.0]))];
        [
            ("l", list(&[("a", 3.0), ("b", 0.0), ("c", -1.0), ("d", 3.0)])),
            ("c", curve(&[0.0, 9.0, 99.0], &[2.0, 0.0, 4.0])),
            ("m", Value::Curves(many)),
            ("none", list(&[])),
        ]
    }

    #[test]
    fn numbers_by_hand() {
        check(
            &names(),
            &[
                ("sum(l)", 5.0),
                ("sum(c)", 6.0),
                ("sum(none)", 0.0),
                ("mean(l)", 1.25),
                ("mean(c)", 2.0),
                ("median(l)", 1.5),
                ("median(c)", 2.0),
                // Distances 1.75, −1.25, −2.25, 1.75.
                ("sd(l) ^ 2", (2.0 * 3.0625 + 1.5625 + 5.0625) / 3.0),
                ("sd(c)", 2.0),
                ("n(l)", 4.0),
                ("n(c)", 3.0),
                ("n(none)", 0.0),
                ("n(top(l, 2))", 2.0),
                ("count(l)", 3.0),
                ("count(l > 2)", 2.0),
                ("count(c)", 2.0),
                ("min(l)", -1.0),
                ("max(l)", 3.0),
                ("min(c)", 0.0),
                ("max(c)", 4.0),
                ("min(2, 3) + max(2, 3)", 5.0),
                ("sum(max(l, 1))", 8.0),
                ("get(l, 'c')", -1.0),
                ("last(get(m, 'L0H0'))", 2.0),
                ("sum(list(1, 2, 3))", 6.0),
                ("get(list(4, 5), '2')", 5.0),
                // Sizes 0, 1, 3, 3 of 7: 1 − 2 (1·2.5 + 3·1.5 + 3·0.5) / (7·4).
                ("gini(l)", 1.0 - 2.0 * 8.5 / 28.0),
                ("in('a', labels(l))", 1.0),
                ("in('x', labels(l))", 0.0),
                ("overlap(top(l, 2), labels(l))", 0.5),
                ("overlap(top(l, 2), bottom(l, 2))", 0.0),
                // {a, d, b} and {c, b}: one of four.
                ("overlap(top(l, 3), bottom(l, 2))", 0.25),
                ("argmax(l) == 'a'", 1.0),
                ("argmin(l) == 'c'", 1.0),
                ("argmax_at(m, 0) == 'L1H0'", 1.0),
                ("argmax_at(m, 9) == 'L0H0'", 1.0),
            ],
        );
    }

    #[test]
    fn labels_and_parts_by_hand() {
        let of = |text: &str| value(&names(), text).unwrap();
        let texts = |labels: &[&str]| Value::Labels(labels.iter().map(|label| (*label).to_owned()).collect());
        assert_eq!(of("top(l, 3)"), texts(&["a", "d", "b"]));
        assert_eq!(of("bottom(l, 1)"), texts(&["c"]));
        assert_eq!(of("labels(m)"), texts(&["L0H0", "L1H0"]));
        assert_eq!(of("select(labels(m), 'L0*')"), texts(&["L0H0"]));
        assert_eq!(of("ranks(l)"), list(&[("a", 3.5), ("b", 2.0), ("c", 1.0), ("d", 3.5)]));
        assert_eq!(of("select(l, '[ab]')"), list(&[("a", 3.0), ("b", 0.0)]));
        assert_eq!(of("without(l, '[ab]')"), list(&[("c", -1.0), ("d", 3.0)]));
        assert_eq!(of("last(select(m, 'L1*'))"), list(&[("L1H0", 0.0)]));
        assert_eq!(of("max(m)"), list(&[("L0H0", 2.0), ("L1H0", 3.0)]));
        assert_eq!(of("last(min(m, 1))"), list(&[("L0H0", 1.0), ("L1H0", 0.0)]));
        assert_eq!(of("last(max(m, 1 - m))"), list(&[("L0H0", 2.0), ("L1H0", 1.0)]));
        assert_eq!(of("list(1)"), list(&[("1", 1.0)]));
    }

    #[test]
    fn what_is_missing_says_so() {
        let of = |text: &str| reason(&names(), text);
        assert_eq!(of("get(m, 'L1H1')"), "m has no entry 'L1H1'; the nearest of its 2 is 'L1H0'");
        assert_eq!(of("top(l, 5)"), "top asks for 5 entries of l, which has 4");
        assert_eq!(of("argmax(none)"), "none has no entry");
        assert!(of("mean(none)").contains("found 0 values, expected at least 1"));
        assert!(of("sd(list(1))").contains("expected at least 2"));
        assert!(of("select(l, 'z*')").contains("no label is left by 'z*'"));
        assert!(of("select(l, '[')").contains("is no pattern"));
        assert!(of("argmax_at(m, 10)").contains("no curve has a value at step 10"));
        assert!(of("gini(0 * l)").contains("all values are 0"));
        assert!(of("overlap(select(labels(l), 'z'), select(labels(l), 'z'))").contains("neither side has a label"));
        assert!(of("sum('a')").contains("sum expects a curve or list in place 1"));
    }
}
