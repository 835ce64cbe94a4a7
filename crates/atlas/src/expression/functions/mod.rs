//! The functions of expressions: one table, with a file for each theme.
//!
//! A function whose first argument is a curve takes several curves too, and gives a list (or curves) by their labels: parts without a
//! value are left out, and nothing is left where none has one.

mod curve_curves;
mod curve_numbers;
mod events;
mod fits;
mod levels;
mod lists;
mod pairs;
mod shape_fit;
mod transitions;
mod undefined;

use std::fmt;
use std::sync::LazyLock;

use super::error::{Undefined, clipped};
use super::value::{Curve, Value};

/// What a study's author must know of a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FunctionDoc {
    /// Its name.
    pub name: &'static str,
    /// How it is called.
    pub usage: &'static str,
    /// What it gives, in a line.
    pub doc: &'static str,
}

/// All functions, by theme.
pub fn functions() -> &'static [FunctionDoc] {
    static DOCS: LazyLock<Vec<FunctionDoc>> = LazyLock::new(|| TABLE.iter().map(|function| function.doc).collect());
    &DOCS
}

static TABLE: LazyLock<Vec<&'static Function>> = LazyLock::new(|| {
    let themes = [
        curve_numbers::FUNCTIONS,
        levels::FUNCTIONS,
        curve_curves::FUNCTIONS,
        transitions::FUNCTIONS,
        fits::FUNCTIONS,
        lists::FUNCTIONS,
        pairs::FUNCTIONS,
        events::FUNCTIONS,
        undefined::FUNCTIONS,
    ];
    themes.into_iter().flatten().collect()
});

/// A function of the language.
pub(super) struct Function {
    pub(super) doc: FunctionDoc,
    /// Fewest and most arguments.
    n_arguments: (usize, usize),
    /// Whether several curves in the first place are taken one by one.
    lifts: bool,
    body: Body,
}

/// What a function does.
enum Body {
    /// With the values of its arguments.
    Eager(fn(&Arguments) -> Result<Value, Undefined>),
    /// With arguments of which it asks for those it needs.
    Lazy(fn(&Thunk<'_>) -> Result<Value, Undefined>),
}

/// Evaluates the argument of this number.
type Thunk<'a> = dyn Fn(usize) -> Result<Value, Undefined> + 'a;

impl Function {
    /// A function of values.
    const fn new(
        name: &'static str,
        n_arguments: (usize, usize),
        usage: &'static str,
        doc: &'static str,
        body: fn(&Arguments) -> Result<Value, Undefined>,
    ) -> Self {
        Self { doc: FunctionDoc { name, usage, doc }, n_arguments, lifts: false, body: Body::Eager(body) }
    }

    /// A function of a curve and `n_arguments - 1` other values, which takes several curves one by one.
    const fn of_curve(
        name: &'static str,
        n_arguments: usize,
        usage: &'static str,
        doc: &'static str,
        body: fn(&Arguments) -> Result<Value, Undefined>,
    ) -> Self {
        Self { lifts: true, ..Self::new(name, (n_arguments, n_arguments), usage, doc, body) }
    }

    /// Whether it can be called with so many arguments.
    pub(super) fn takes(&self, n: usize) -> bool {
        (self.n_arguments.0..=self.n_arguments.1).contains(&n)
    }
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.doc.name)
    }
}

impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        self.doc.name == other.doc.name
    }
}

/// The function of this name.
pub(super) fn find(name: &str) -> Option<&'static Function> {
    TABLE.iter().copied().find(|function| function.doc.name == name)
}

/// The function whose name is nearest to one that does not exist; none where all are far.
pub(super) fn nearest(name: &str) -> Option<&'static str> {
    // The distance takes time in proportion to both lengths, and the longest name has 16 letters.
    if name.len() > 64 {
        return None;
    }
    TABLE
        .iter()
        .map(|function| (strsim::levenshtein(name, function.doc.name), function.doc.name))
        .min()
        .filter(|(distance, nearest)| 2 * distance <= nearest.len().max(name.chars().count()))
        .map(|(_, nearest)| nearest)
}

/// Calls a function; `texts` are those of its arguments, `argument` evaluates one of them.
pub(super) fn call(function: &Function, texts: Vec<&str>, argument: &Thunk<'_>) -> Result<Value, Undefined> {
    let body = match function.body {
        Body::Lazy(body) => return body(argument),
        Body::Eager(body) => body,
    };
    let values = (0..texts.len()).map(argument).collect::<Result<Vec<Value>, Undefined>>()?;
    let texts = texts.into_iter().map(clipped).collect();
    let mut arguments = Arguments { function: function.doc, texts, values };
    // The second way to call min and max pairs two values, whatever they are.
    if function.lifts
        && arguments.len() == function.n_arguments.0
        && let Some(Value::Curves(curves)) = arguments.values.first_mut()
    {
        let curves = std::mem::take(curves);
        return lifted(body, arguments, curves);
    }
    body(&arguments)
}

/// The function of each curve in the place of the first argument.
fn lifted(
    body: fn(&Arguments) -> Result<Value, Undefined>,
    mut arguments: Arguments,
    curves: Vec<(String, Curve)>,
) -> Result<Value, Undefined> {
    let (mut numbers, mut shapes, mut why) = (vec![], vec![], None);
    let whole = arguments.texts[0].clone();
    for (label, curve) in curves {
        arguments.texts[0] = format!("{label} of {whole}");
        arguments.values[0] = Value::Curve(curve);
        match body(&arguments) {
            Ok(Value::Number(number)) => numbers.push((label, number)),
            Ok(Value::Curve(curve)) => shapes.push((label, curve)),
            Ok(other) => {
                let (name, kind) = (arguments.function.name, other.kind());
                return Err(Undefined::new(format!("{name} gives {kind}, so it takes one curve, not several")));
            }
            Err(undefined) => why = why.or(Some(undefined)),
        }
    }
    match (numbers.is_empty(), shapes.is_empty(), why) {
        (false, ..) => Ok(Value::List(numbers)),
        (true, false, _) => Ok(Value::Curves(shapes)),
        (true, true, Some(why)) => Err(Undefined::new(format!("no part of {whole} has a value; {why}"))),
        (true, true, None) => Err(Undefined::new(format!("{whole} has no part"))),
    }
}

/// Evaluated arguments, each with the text it was read from.
struct Arguments {
    function: FunctionDoc,
    texts: Vec<String>,
    values: Vec<Value>,
}

impl Arguments {
    fn len(&self) -> usize {
        self.values.len()
    }

    fn value(&self, i: usize) -> &Value {
        &self.values[i]
    }

    /// What the argument is called in messages.
    fn text(&self, i: usize) -> &str {
        &self.texts[i]
    }

    /// A curve with a point.
    fn curve(&self, i: usize) -> Result<&Curve, Undefined> {
        match &self.values[i] {
            Value::Curve(curve) if !curve.is_empty() => Ok(curve),
            Value::Curve(_) => Err(Undefined::new(format!("{} has no point", self.texts[i]))),
            _ => Err(self.unfit(i, "a curve")),
        }
    }

    /// The value of the curve in the first place at its first step, and nowhere else.
    fn first_value(&self) -> Result<f64, Undefined> {
        self.curve(0)?.first().map_err(|gap| self.gap(gap, "first"))
    }

    /// The value of the curve in the first place at its last step, and nowhere else.
    fn last_value(&self) -> Result<f64, Undefined> {
        self.curve(0)?.last().map_err(|gap| self.gap(gap, "last"))
    }

    /// The value of another step in place of one that is missing would be taken for it.
    fn gap(&self, step: f64, which: &str) -> Undefined {
        let text = &self.texts[0];
        Undefined::new(format!(
            "{text} has no value at its {which} step {step}: it was refused, or is no finite number"
        ))
    }

    /// A curve with at least so many points.
    fn curve_of(&self, i: usize, least: usize) -> Result<&Curve, Undefined> {
        let curve = self.curve(i)?;
        if curve.len() < least {
            let (name, text, n) = (self.function.name, &self.texts[i], curve.len());
            let points = if n == 1 { "point" } else { "points" };
            return Err(Undefined::new(format!("{text} has {n} {points}, and {name} needs {least}")));
        }
        Ok(curve)
    }

    fn number(&self, i: usize) -> Result<f64, Undefined> {
        match &self.values[i] {
            Value::Number(number) => Ok(*number),
            _ => Err(self.unfit(i, "a number")),
        }
    }

    /// A whole number of at least 1.
    fn count(&self, i: usize) -> Result<usize, Undefined> {
        match &self.values[i] {
            Value::Number(number) if *number >= 1.0 && *number <= 1e9 && number.fract() == 0.0 => Ok(*number as usize),
            Value::Number(number) => Err(Undefined::new(format!(
                "{} takes a whole number of at least 1 in place {}, not {number}",
                self.function.name,
                i + 1
            ))),
            _ => Err(self.unfit(i, "a whole number")),
        }
    }

    /// A number above 0.
    fn positive(&self, i: usize) -> Result<f64, Undefined> {
        match self.number(i)? {
            number if number > 0.0 => Ok(number),
            number => Err(Undefined::new(format!(
                "{} takes a number above 0 in place {}, not {number}",
                self.function.name,
                i + 1
            ))),
        }
    }

    /// A list, possibly empty.
    fn entries(&self, i: usize) -> Result<&[(String, f64)], Undefined> {
        match &self.values[i] {
            Value::List(list) => Ok(list),
            _ => Err(self.unfit(i, "a list")),
        }
    }

    /// A list with an entry.
    fn list(&self, i: usize) -> Result<&[(String, f64)], Undefined> {
        match self.entries(i)? {
            [] => Err(Undefined::new(format!("{} has no entry", self.texts[i]))),
            list => Ok(list),
        }
    }

    fn word(&self, i: usize) -> Result<&str, Undefined> {
        match &self.values[i] {
            Value::Text(text) => Ok(text),
            _ => Err(self.unfit(i, "a text in single quotes")),
        }
    }

    fn labels(&self, i: usize) -> Result<&[String], Undefined> {
        match &self.values[i] {
            Value::Labels(labels) => Ok(labels),
            _ => Err(self.unfit(i, "labels, as top(list, k) gives them")),
        }
    }

    /// The argument is of another kind than expected.
    fn unfit(&self, i: usize, expected: &str) -> Undefined {
        let (name, text, found) = (self.function.name, &self.texts[i], self.values[i].kind());
        Undefined::new(format!("{name} expects {expected} in place {}, but {text} is {found}", i + 1))
    }

    /// The function has no value for its first argument.
    fn undefined(&self, why: impl fmt::Display) -> Undefined {
        Undefined::new(format!("{} of {}: {why}", self.function.name, self.texts[0]))
    }

    /// A number, which must be finite.
    fn finite(&self, number: f64) -> Result<Value, Undefined> {
        if number.is_finite() {
            Ok(Value::Number(number))
        } else {
            Err(self.undefined("the result is not a finite number"))
        }
    }
}

/// What the tests of all themes share.
#[cfg(test)]
mod testing {
    use super::*;
    use crate::expression::Expression;

    /// A curve as a value.
    pub(super) fn curve(steps: &[f64], values: &[f64]) -> Value {
        Value::Curve(Curve::new(steps.to_vec(), values.to_vec()))
    }

    /// A list as a value.
    pub(super) fn list(entries: &[(&str, f64)]) -> Value {
        Value::List(entries.iter().map(|(label, value)| ((*label).to_owned(), *value)).collect())
    }

    /// The value of a text, where names stand for these values.
    pub(super) fn value(names: &[(&str, Value)], text: &str) -> Result<Value, Undefined> {
        let lookup = |name: &str| {
            let found = names.iter().find(|(own, _)| *own == name).map(|(_, value)| value.clone());
            found.ok_or_else(|| Undefined::new(format!("no {name}")))
        };
        Expression::parse(text).unwrap().evaluate(&lookup)
    }

    /// The number of a text.
    pub(super) fn number(names: &[(&str, Value)], text: &str) -> f64 {
        match value(names, text).unwrap() {
            Value::Number(number) => number,
            other => panic!("{text} is {other:?}"),
        }
    }

    /// Why a text has no value.
    pub(super) fn reason(names: &[(&str, Value)], text: &str) -> String {
        value(names, text).unwrap_err().reason
    }

    /// Numbers as they should be, but for rounding.
    pub(super) fn check(names: &[(&str, Value)], cases: &[(&str, f64)]) {
        for (text, expected) in cases {
            let found = number(names, text);
            assert!(
                (found - expected).abs() <= 1e-12 * expected.abs().max(1.0),
                "{text}: {found}, expected {expected}"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{check, curve, list, reason, value};
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_function_is_there_once_and_its_usage_tells_its_arguments() {
        let names: BTreeSet<&str> = functions().iter().map(|doc| doc.name).collect();
        assert_eq!(names.len(), functions().len());
        for function in TABLE.iter() {
            let FunctionDoc { name, usage, doc } = function.doc;
            let ways: Vec<usize> = usage
                .split(" or ")
                .map(|way| {
                    let inner = way.strip_prefix(name).and_then(|rest| rest.strip_prefix('(')?.strip_suffix(')'));
                    inner.unwrap_or_else(|| panic!("{usage}")).split(',').count()
                })
                .collect();
            let most = if usage.contains('…') { function.n_arguments.1 } else { *ways.iter().max().unwrap() };
            assert_eq!(
                function.n_arguments,
                (*ways.iter().min().unwrap().min(&function.n_arguments.0), most),
                "{usage}"
            );
            assert!(doc.ends_with('.') && doc.len() > 10, "{name}: {doc}");
        }
    }

    #[test]
    fn every_function_is_tested() {
        let sources = [
            include_str!("mod.rs"),
            include_str!("curve_curves.rs"),
            include_str!("curve_numbers.rs"),
            include_str!("events.rs"),
            include_str!("fits.rs"),
            include_str!("levels.rs"),
            include_str!("lists.rs"),
            include_str!("pairs.rs"),
            include_str!("transitions.rs"),
            include_str!("undefined.rs"),
        ];
        let tests: String = sources.iter().filter_map(|source| source.split_once("mod tests {")).map(|t| t.1).collect();
        for FunctionDoc { name, .. } in functions() {
            let is_called = tests.match_indices(&format!("{name}(")).any(|(at, _)| {
                let before = tests[..at].chars().next_back().unwrap_or(' ');
                !(before.is_alphanumeric() || before == '_' || before == '.')
            });
            assert!(is_called, "no test calls {name}");
        }
    }

    #[test]
    fn several_curves_are_taken_one_by_one() {
        let part = |values: &[f64]| Curve::new(vec![0.0, 9.0, 99.0], values.to_vec());
        let many = Value::Curves(vec![("a".to_owned(), part(&[3.0, 2.0, 0.0])), ("b".to_owned(), part(&[3.0; 3]))]);
        let names = [("m", many), ("c", curve(&[0.0, 9.0], &[1.0, 2.0]))];
        assert_eq!(value(&names, "last(m)"), Ok(list(&[("a", 0.0), ("b", 3.0)])));
        // Only one of them comes below 1.
        assert_eq!(value(&names, "labels(first_below(m, 1))"), Ok(Value::Labels(vec!["a".to_owned()])));
        assert_eq!(
            reason(&names, "first_below(m, -1)"),
            "no part of m has a value; the training run never falls below -1 in a of m (least 0)"
        );
        assert_eq!(
            value(&names, "change(m)"),
            Ok(Value::Curves(vec![("a".to_owned(), part(&[0.0, -1.0, -3.0])), ("b".to_owned(), part(&[0.0; 3]))]))
        );
        check(&names, &[("last(c)", 2.0)]);
    }

    #[test]
    fn arguments_of_another_kind_say_what_was_expected() {
        let names = [("c", curve(&[0.0, 9.0], &[1.0, 2.0]))];
        assert_eq!(reason(&names, "first('x')"), "first expects a curve in place 1, but 'x' is a text");
        assert_eq!(reason(&names, "at(c, c)"), "at expects a number in place 2, but c is a curve");
        let long = format!("sd({})", ["c"; 40].join(" + "));
        assert!(reason(&names, &format!("get({long}, 'x')")).contains('…'));
    }

    #[test]
    fn whatever_the_arguments_nothing_panics_and_numbers_are_finite() {
        let steps: Vec<f64> = (0..20).map(f64::from).collect();
        let wild =
            |scale: f64| curve(&steps, &steps.iter().map(|step| scale * (step - 9.0).sin()).collect::<Vec<f64>>());
        let with_errors = |error: f64| match wild(1.0) {
            Value::Curve(own) => Value::Curve(Curve { errors: Some(vec![error; 20]), ..own }),
            other => other,
        };
        let part = |value: f64| ("a".to_owned(), Curve::new(vec![1.0, 2.0], vec![value, -value]));
        let pool = [
            Value::Number(0.0),
            Value::Number(1.0),
            Value::Number(-1e308),
            Value::Number(f64::INFINITY),
            Value::Text("a*".to_owned()),
            Value::Labels(vec![]),
            Value::Labels(vec!["a".to_owned()]),
            list(&[]),
            list(&[("a", -2.0), ("b", 1e308), ("1", 1e308)]),
            curve(&[], &[]),
            curve(&[5.0], &[1.0]),
            curve(&[1e17, 1e17 + 16.0], &[1.0, 2.0]),
            curve(&steps, &[3.0; 20]),
            wild(1.0),
            wild(1e308),
            wild(1e-310),
            with_errors(0.0),
            with_errors(1e308),
            Value::Curves(vec![]),
            Value::Curves(vec![part(1.0)]),
            Value::Curves(vec![part(1e308)]),
        ];
        for function in TABLE.iter() {
            let most = function.n_arguments.1.min(3);
            for n in function.n_arguments.0..=most {
                for combination in 0..pool.len().pow(n as u32) {
                    let argument = |i: usize| Ok(pool[combination / pool.len().pow(i as u32) % pool.len()].clone());
                    let found = call(function, vec!["x"; n], &argument);
                    let numbers = match &found {
                        Ok(Value::Number(number)) => vec![*number],
                        Ok(Value::List(list)) => list.iter().map(|(_, number)| *number).collect(),
                        Ok(Value::Curve(curve)) => curve.values.clone(),
                        _ => vec![],
                    };
                    // These hand on what they were given.
                    let hands_on = matches!(function.doc.name, "or_else" | "if" | "step" | "list");
                    let are_finite = numbers.iter().all(|number| number.is_finite());
                    assert!(hands_on || are_finite, "{function:?} {combination}: {found:?}");
                }
            }
        }
    }

    #[test]
    fn names_that_are_near_are_proposed() {
        assert_eq!(nearest("transitoin"), Some("transition"));
        assert_eq!(nearest("quite_something_else"), None);
        assert_eq!(nearest(&"a".repeat(1000)), None);
    }
}
