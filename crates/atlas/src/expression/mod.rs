//! The language of studies: one formula over the series of a run, or over the values of one seed, which yields a number.
//!
//! `transition(loss.test) / first_below(loss.train, 0.1)` is read once by [`Expression::parse`] and evaluated for every run,
//! with names that a lookup explains ([`crate::run_names::lookup`] for those of runs). An expression cannot read files or
//! clocks, and gives the same answer for the same values.
//!
//! | Written | Meaning |
//! |---|---|
//! | `1`, `0.5`, `1e-3` | numbers |
//! | `loss.test`, `head_scores.L0H1` | names: letters, digits and `_`, parts after a dot |
//! | `"induction.*"` | any other name; with a star all series that it fits |
//! | `'adamw'` | text |
//! | `^`, `-x`, `* /`, `+ -` | arithmetic, from what binds most; `^` groups from the right, and `-2 ^ 2` is −4 |
//! | `< <= > >= == !=` | comparisons: 1 or 0; they do not chain |
//! | `not`, `and`, `or` | all but 0 is true |
//! | `first(c)` | functions: [`functions()`] |
//!
//! Curves are combined at the steps that both have, lists and curves of several parts by their labels. What has no answer
//! (the transition of a curve without one) is [`Undefined`], with the reason in words; so is every number that would be
//! infinite or not a number.

mod arithmetic;
mod error;
mod evaluate;
mod functions;
mod lexer;
mod parser;
mod tree;
mod value;

pub use error::{ExpressionError, Undefined};
pub use functions::{FunctionDoc, functions};
pub use value::{Curve, Value};

use tree::Node;

/// Most characters of an expression.
pub const MAX_LENGTH: usize = 4_000;
/// Deepest nesting of parentheses, calls, signs and powers.
pub const MAX_NESTING: usize = 64;

/// An expression that was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Expression {
    text: String,
    root: Node,
}

impl Expression {
    /// Reads an expression of at most [`MAX_LENGTH`] characters, nested at most [`MAX_NESTING`] deep.
    ///
    /// # Errors
    /// Text that is no expression, functions that do not exist, the wrong number of arguments: with the column.
    pub fn parse(text: &str) -> Result<Self, ExpressionError> {
        Ok(Self { text: text.to_owned(), root: parser::parse(text)? })
    }

    /// The text it was read from.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The names in it, in the order in which they first stand there.
    pub fn names(&self) -> Vec<&str> {
        let mut names = vec![];
        self.root.collect_names(&mut names);
        names
    }

    /// Its value, where `lookup` says what a name stands for.
    ///
    /// # Errors
    /// What has no value, with the reason.
    pub fn evaluate(&self, lookup: &dyn Fn(&str) -> Result<Value, Undefined>) -> Result<Value, Undefined> {
        evaluate::evaluate(&self.root, &self.text, lookup)
    }

    /// Its value, which must be a finite number.
    ///
    /// # Errors
    /// What has no value, or is no number, with the reason.
    pub fn number(&self, lookup: &dyn Fn(&str) -> Result<Value, Undefined>) -> Result<f64, Undefined> {
        match self.evaluate(lookup)? {
            Value::Number(number) if number.is_finite() => Ok(number),
            Value::Number(number) => {
                Err(Undefined::new(format!("`{}` is {number}, expected a finite number", error::clipped(&self.text))))
            }
            other => {
                let (text, found) = (error::clipped(&self.text), other.kind());
                Err(Undefined::new(format!(
                    "`{text}` is {found}, expected a number: take one from it, as by last, mean or count"
                )))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn number(text: &str) -> f64 {
        let lookup = |name: &str| match name {
            "a" => Ok(Value::Number(3.0)),
            "nan" => Ok(Value::Number(f64::NAN)),
            "loss.test" => Ok(Value::Curve(Curve::new(vec![0.0, 9.0], vec![2.0, 1.0]))),
            _ => Err(Undefined::new(format!("no {name}"))),
        };
        Expression::parse(text).unwrap().number(&lookup).unwrap_or(f64::NAN)
    }

    #[test]
    fn precedence_is_the_usual_one() {
        let cases = [
            ("1 + 2 * 3", 7.0),
            ("(1 + 2) * 3", 9.0),
            ("2 ^ 3 ^ 2", 512.0),
            ("-2 ^ 2", -4.0),
            ("2 ^ -1", 0.5),
            ("8 / 4 / 2", 1.0),
            ("8 - 4 - 2", 2.0),
            ("2 * -3", -6.0),
            ("--2", 2.0),
            ("1 + 1 == 2 and 3 > 2", 1.0),
            ("not 1 == 2", 1.0),
            ("0 and 0 or 1", 1.0),
            ("not 0 and 0", 0.0),
            ("1e-3 * 1E3", 1.0),
            ("a.5 + 1", f64::NAN),
            ("last(loss.test)", 1.0),
            ("'adamw' == 'adamw'", 1.0),
            ("'adamw' != 'adamw'", 0.0),
        ];
        for (text, expected) in cases {
            let found = number(text);
            assert!(found == expected || found.is_nan() && expected.is_nan(), "{text}: {found}");
        }
    }

    #[test]
    fn names_come_once_and_in_order() {
        let read = Expression::parse(r#"b.2 + first(a) * "x.*" - b.2 + if(c, 'd', a)"#).unwrap();
        assert_eq!(read.names(), ["b.2", "a", "x.*", "c"]);
        assert_eq!(read.text(), r#"b.2 + first(a) * "x.*" - b.2 + if(c, 'd', a)"#);
    }

    #[test]
    fn a_statistic_of_a_study() {
        let read = Expression::parse("step(fall(loss.test)) / first_below(loss.train, 0.1)").unwrap();
        assert_eq!(read.names(), ["loss.test", "loss.train"]);
        // Two logistic falls in ln(step + 1) from 1 to 0, of width 0.1, at steps 999 and 9.
        let fall = |middle: f64| {
            let steps: Vec<f64> = (0..80).map(|i| f64::from(i) + 1.12_f64.powi(i).round() - 1.0).collect();
            let values = steps.iter().map(|step| 1.0 / (1.0 + ((step.ln_1p() - middle) / 0.1).exp())).collect();
            Value::Curve(Curve::new(steps, values))
        };
        let middle = |name: &str| if name == "loss.test" { 1000_f64.ln() } else { 10_f64.ln() };
        let found = read.number(&|name| Ok(fall(middle(name)))).unwrap();
        // The logistic curve is at 0.1 where its argument is ln 9.
        let expected = 999.0 / (10.0 * (0.1 * 9_f64.ln()).exp() - 1.0);
        assert!((found / expected - 1.0).abs() < 0.05, "{found} {expected}");
    }

    #[test]
    fn what_is_no_finite_number_says_so() {
        let lookup = |name: &str| match name {
            "nan" => Ok(Value::Number(f64::NAN)),
            _ => Ok(Value::Curve(Curve::new(vec![0.0], vec![2.0]))),
        };
        let reason = |text: &str| Expression::parse(text).unwrap().number(&lookup).unwrap_err().reason;
        assert_eq!(reason("nan"), "`nan` is NaN, expected a finite number");
        assert_eq!(reason("nan > 1"), reason("nan"), "a comparison does not take it for false");
        assert!(reason("c").starts_with("`c` is a curve, expected a number"), "{}", reason("c"));
        assert!(reason("1 / 0").contains("1 / 0 is not a finite number"), "{}", reason("1 / 0"));
    }

    #[test]
    fn hostile_texts_are_refused_and_the_deepest_allowed_ones_fit_on_a_small_stack() {
        let deep =
            |open: &str, core: &str, close: &str, n: usize| format!("{}{core}{}", open.repeat(n), close.repeat(n));
        let work = move || {
            for (open, close) in [("(", ")"), ("abs(", ")"), ("-", ""), ("2^", ""), ("not ", ""), ("or_else(", ",1)")] {
                for n in [65, 300, 700] {
                    let text = deep(open, "1", close, n);
                    assert!(Expression::parse(&text).is_err(), "{open} {n}");
                }
            }
            // Every level of precedence at every level of nesting.
            let text = deep("0 or 1 and 0 < 1 + 1 * (", "1", ")", 63);
            let read = Expression::parse(&text).unwrap();
            assert_eq!(read.evaluate(&|_| Err(Undefined::new("none"))), Ok(Value::Number(1.0)));
            assert_eq!(read.clone(), read);
            assert!(!format!("{read:?}").is_empty());
            let text = deep("or_else(0 < 1 + 1 * ", "1", ",1)", 63);
            assert_eq!(Expression::parse(&text).unwrap().number(&|_| Err(Undefined::new("none"))), Ok(1.0));
            let long = format!("1{}", "+1".repeat(1999));
            assert_eq!(Expression::parse(&long).unwrap().number(&|_| Err(Undefined::new("none"))), Ok(2000.0));
            assert!(Expression::parse(&format!("{long}+1")).unwrap_err().to_string().contains("4,000"));
        };
        std::thread::Builder::new().stack_size(1 << 20).spawn(work).unwrap().join().unwrap();
    }

    proptest! {
        #[test]
        fn random_text_never_panics(text in ".{0,200}") {
            let _ = Expression::parse(&text);
        }

        #[test]
        fn random_tokens_never_panic_and_spaces_change_nothing(
            tokens in prop::collection::vec(
                prop::sample::select(vec![
                    "a", "loss.test", "1", "2.5", "1e3", "'t'", "\"x.*\"", "(", ")", ",", "+", "-", "*", "/", "^", "<",
                    "<=", "==", "!=", "and", "or", "not", "first(", "max(", "if(", "or_else(", "list(",
                ]),
                0..30,
            ),
        ) {
            let (narrow, wide) = (tokens.join(" "), tokens.join("  "));
            let value = |_: &str| Ok(Value::Curve(Curve::new(vec![0.0, 5.0, 9.0], vec![1.0, 0.0, 3.0])));
            match (Expression::parse(&narrow), Expression::parse(&wide)) {
                (Ok(a), Ok(b)) => {
                    prop_assert_eq!(a.names(), b.names());
                    prop_assert_eq!(a.evaluate(&value).ok(), b.evaluate(&value).ok());
                }
                (Err(a), Err(b)) => prop_assert_eq!((a.found, a.expected), (b.found, b.expected)),
                _ => prop_assert!(false, "spaces made a difference: {}", narrow),
            }
        }
    }
}
