//! Events of two lists that are the same ones, within a factor in step + 1.

use ontogeny_stats::hypothesis::{Margin, RunEvents, match_events};

use super::{Arguments, Function};
use crate::expression::error::Undefined;
use crate::expression::value::Value;

pub(super) const FUNCTIONS: &[Function] = &[
    Function::new(
        "matches",
        (3, 3),
        "matches(events, truth, factor)",
        "Share of the true steps that have an event within this factor in step + 1, each event for one of them.",
        |arguments| {
            let (n_matched, n_truth) = matched(arguments)?;
            if n_truth == 0 {
                return Err(Undefined::new(format!("{} has no step to be found", arguments.text(1))));
            }
            Ok(Value::Number(n_matched as f64 / n_truth as f64))
        },
    ),
    Function::new(
        "n_matched",
        (3, 3),
        "n_matched(events, truth, factor)",
        "Number of true steps that have an event within this factor in step + 1, each event for one of them.",
        |arguments| Ok(Value::Number(matched(arguments)?.0 as f64)),
    ),
];

/// Matched and all true steps.
fn matched(arguments: &Arguments) -> Result<(usize, usize), Undefined> {
    let (found, truth, factor) = (steps(arguments, 0)?, steps(arguments, 1)?, arguments.number(2)?);
    if factor < 1.0 {
        let name = arguments.function.name;
        return Err(Undefined::new(format!("{name} takes a factor of at least 1 in place 3, not {factor}")));
    }
    let n_truth = truth.len();
    let pairs = match_events(&RunEvents { truth, found }, Margin::factor(factor));
    Ok((pairs.map_err(|error| arguments.undefined(error))?.len(), n_truth))
}

/// The steps of a list, or one step.
fn steps(arguments: &Arguments, i: usize) -> Result<Vec<f64>, Undefined> {
    match arguments.value(i) {
        Value::Number(step) => Ok(vec![*step]),
        Value::List(list) => Ok(list.iter().map(|(_, step)| *step).collect()),
        _ => Err(arguments.unfit(i, "a list of steps")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check, list, reason};

    #[test]
    fn by_hand() {
        let names = [
            ("found", list(&[("1", 90.0), ("2", 110.0), ("3", 5000.0)])),
            ("truth", list(&[("1", 100.0), ("2", 1000.0)])),
            ("none", list(&[])),
        ];
        check(
            &names,
            &[
                ("matches(found, truth, 1.2)", 0.5),
                ("n_matched(found, truth, 1.2)", 1.0),
                ("n_matched(found, truth, 6)", 2.0),
                // 101 / 91 is 1.1099.
                ("n_matched(90, truth, 1.109)", 0.0),
                ("n_matched(90, truth, 1.111)", 1.0),
                ("matches(none, truth, 2)", 0.0),
                ("n_matched(found, none, 2)", 0.0),
            ],
        );
        assert_eq!(reason(&names, "matches(found, none, 2)"), "none has no step to be found");
        assert!(reason(&names, "matches(found, truth, 0.5)").contains("a factor of at least 1 in place 3, not 0.5"));
        assert!(reason(&names, "matches(-1 * found, truth, 2)").starts_with("matches of -1 * found:"));
    }
}
