//! Agreement of two lists by label, or of two curves at the steps that both have.

use super::{Arguments, Function};
use crate::expression::error::Undefined;
use crate::expression::value::{Value, entry};

pub(super) const FUNCTIONS: &[Function] = &[
    Function::of_curve(
        "rank_correlation",
        2,
        "rank_correlation(a, b)",
        "Spearman's correlation of two lists by label, or of two curves at common steps.",
        |arguments| {
            let (a, b) = varied(arguments)?;
            arguments.finite(correlation(&ranks(&a), &ranks(&b)))
        },
    ),
    Function::of_curve(
        "pearson",
        2,
        "pearson(a, b)",
        "Pearson's correlation of two lists by label, or of two curves at common steps.",
        |arguments| {
            let (a, b) = varied(arguments)?;
            arguments.finite(correlation(&a, &b))
        },
    ),
    Function::of_curve(
        "kendall",
        2,
        "kendall(a, b)",
        "Kendall's τ-b of two lists by label, or of two curves at common steps.",
        kendall,
    ),
    Function::of_curve(
        "order_agreement",
        2,
        "order_agreement(a, b)",
        "Share of the pairs of entries that both put in the same order; pairs that are equal in either count half.",
        order_agreement,
    ),
];

/// The values of both sides where both have one.
pub(super) fn paired(arguments: &Arguments) -> Result<(Vec<f64>, Vec<f64>), Undefined> {
    let pairs: Vec<(f64, f64)> = match (arguments.value(0), arguments.value(1)) {
        (Value::List(a), Value::List(b)) => {
            a.iter().filter_map(|(label, a)| entry(b, label).map(|b| (*a, *b))).collect()
        }
        (Value::Curve(a), Value::Curve(b)) => {
            let at = |step: &f64| b.steps.binary_search_by(|own| own.total_cmp(step)).ok().map(|i| b.values[i]);
            a.steps.iter().zip(&a.values).filter_map(|(step, a)| at(step).map(|b| (*a, b))).collect()
        }
        (Value::List(_), _) => return Err(arguments.unfit(1, "a list")),
        (Value::Curve(_), _) => return Err(arguments.unfit(1, "a curve")),
        _ => return Err(arguments.unfit(0, "a list or curve")),
    };
    if pairs.len() < 2 {
        let (a, b) = (arguments.text(0), arguments.text(1));
        let what = if matches!(arguments.value(0), Value::List(_)) { "labels" } else { "steps" };
        return Err(Undefined::new(format!("{a} and {b} have {} {what} in common, expected at least 2", pairs.len())));
    }
    Ok(pairs.into_iter().unzip())
}

/// Pairs in which neither side is constant.
fn varied(arguments: &Arguments) -> Result<(Vec<f64>, Vec<f64>), Undefined> {
    let (a, b) = paired(arguments)?;
    for (i, side) in [&a, &b].into_iter().enumerate() {
        if side.iter().all(|value| *value == side[0]) {
            return Err(Undefined::new(format!("{} does not vary, so it has no correlation", arguments.text(i))));
        }
    }
    Ok((a, b))
}

/// Pearson's correlation.
fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let n = a.len() as f64;
    let (mean_a, mean_b) = (a.iter().sum::<f64>() / n, b.iter().sum::<f64>() / n);
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (a, b) in a.iter().zip(b) {
        let (a, b) = (a - mean_a, b - mean_b);
        (ab, aa, bb) = (ab + a * b, aa + a * a, bb + b * b);
    }
    // Two roots: the product of two small squares may vanish.
    (ab / (aa.sqrt() * bb.sqrt())).clamp(-1.0, 1.0)
}

/// Ranks from 1; equal values share theirs.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = |value: &f64| {
        let (below, through) = (sorted.partition_point(|own| own < value), sorted.partition_point(|own| own <= value));
        (below + through + 1) as f64 / 2.0
    };
    values.iter().map(rank).collect()
}

/// Pairs of entries in the same order, in opposite order, equal in the first only or in both, equal in the second.
struct Orders {
    same: f64,
    opposite: f64,
    tied_a: f64,
    tied_b: f64,
    all: f64,
}

fn orders(a: &[f64], b: &[f64]) -> Orders {
    let mut found = Orders { same: 0.0, opposite: 0.0, tied_a: 0.0, tied_b: 0.0, all: 0.0 };
    for i in 0..a.len() {
        for j in 0..i {
            let (by_a, by_b) = (a[i].total_cmp(&a[j]), b[i].total_cmp(&b[j]));
            let (equal_a, equal_b) = (a[i] == a[j], b[i] == b[j]);
            found.all += 1.0;
            found.tied_a += f64::from(u8::from(equal_a));
            found.tied_b += f64::from(u8::from(equal_b));
            if !equal_a && !equal_b {
                if by_a == by_b { found.same += 1.0 } else { found.opposite += 1.0 }
            }
        }
    }
    found
}

fn kendall(arguments: &Arguments) -> Result<Value, Undefined> {
    let (a, b) = varied(arguments)?;
    let Orders { same, opposite, tied_a, tied_b, all } = orders(&a, &b);
    arguments.finite((same - opposite) / ((all - tied_a) * (all - tied_b)).sqrt())
}

fn order_agreement(arguments: &Arguments) -> Result<Value, Undefined> {
    let (a, b) = paired(arguments)?;
    let Orders { same, opposite, all, .. } = orders(&a, &b);
    arguments.finite((same + 0.5 * (all - same - opposite)) / all)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check, curve, list, reason};
    use crate::expression::value::{Curve, Value};

    #[test]
    fn by_hand() {
        let part = |sign: f64| Curve::new(vec![0.0, 1.0, 2.0], vec![sign, 2.0 * sign, 3.0 * sign]);
        let names = [
            ("a", list(&[("p", 1.0), ("q", 2.0), ("r", 3.0), ("s", 4.0), ("t", 9.0)])),
            ("b", list(&[("s", 4.0), ("r", 2.0), ("q", 3.0), ("p", 1.0), ("u", 0.0)])),
            ("tied", list(&[("p", 0.0), ("q", 0.0), ("r", 5.0)])),
            ("c", curve(&[0.0, 1.0, 2.0], &[1.0, 2.0, 6.0])),
            ("d", curve(&[1.0, 2.0, 3.0], &[5.0, 4.0, 9.0])),
            ("m", Value::Curves(vec![("up".to_owned(), part(1.0)), ("down".to_owned(), part(-1.0))])),
            ("flat", list(&[("p", 1.0), ("q", 1.0)])),
        ];
        check(
            &names,
            &[
                // Ranks 1, 2, 3, 4 and 1, 3, 2, 4: 1 − 6·2/(4·15).
                ("rank_correlation(a, b)", 0.8),
                ("rank_correlation(a, exp(b))", 0.8),
                ("pearson(a, b)", 0.8),
                ("pearson(a, -b)", -0.8),
                // Five pairs of six in the same order.
                ("kendall(a, b)", 4.0 / 6.0),
                ("order_agreement(a, b)", 5.0 / 6.0),
                // Two of three pairs in order, one equal: τ-b = 2/√(3·2).
                ("kendall(a, tied)", 2.0 / 6_f64.sqrt()),
                ("order_agreement(a, tied)", 2.5 / 3.0),
                // Ranks 1, 2, 3 and 1.5, 1.5, 3.
                ("rank_correlation(a, tied)", 1.5 / (2.0 * 1.5_f64).sqrt()),
                ("pearson(c, d)", -1.0),
                ("rank_correlation(c, d)", -1.0),
                ("order_agreement(c, d)", 0.0),
                ("order_agreement(a, flat)", 0.5),
                // Several curves are compared one by one.
                ("get(rank_correlation(m, c), 'down')", -1.0),
                ("get(kendall(m, c), 'up')", 1.0),
            ],
        );
        assert_eq!(reason(&names, "pearson(a, flat)"), "flat does not vary, so it has no correlation");
        let apart = reason(&names, "kendall(a, get(list(1), '1'))");
        assert_eq!(apart, "kendall expects a list in place 2, but get(list(1), '1') is a number");
        assert_eq!(
            reason(&names, "pearson(a, list(1, 2))"),
            "a and list(1, 2) have 0 labels in common, expected at least 2"
        );
    }
}
