//! What to do where something has no value, or one of two.

use super::{Body, Function, FunctionDoc, Thunk};
use crate::expression::error::Undefined;
use crate::expression::value::Value;

pub(super) const FUNCTIONS: &[Function] = &[
    lazy("or_else", 2, "or_else(x, fallback)", "x, or the fallback where x has no value.", |argument| {
        argument(0).or_else(|_| argument(1))
    }),
    lazy("is_defined", 1, "is_defined(x)", "1 where x has a value, else 0.", |argument| {
        Ok(Value::Number(f64::from(u8::from(argument(0).is_ok()))))
    }),
    lazy(
        "if",
        3,
        "if(condition, a, b)",
        "a where the condition is not 0, else b; the other is not asked for.",
        |argument| match argument(0)? {
            Value::Number(condition) => argument(if condition == 0.0 { 2 } else { 1 }),
            other => Err(Undefined::new(format!("if expects a number in place 1, but it is {}", other.kind()))),
        },
    ),
];

/// A function that asks for the arguments it needs.
const fn lazy(
    name: &'static str,
    n_arguments: usize,
    usage: &'static str,
    doc: &'static str,
    body: fn(&Thunk<'_>) -> Result<Value, Undefined>,
) -> Function {
    Function {
        doc: FunctionDoc { name, usage, doc },
        n_arguments: (n_arguments, n_arguments),
        lifts: false,
        body: Body::Lazy(body),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check, curve, reason};

    #[test]
    fn by_hand() {
        let names = [("c", curve(&[0.0, 9.0], &[2.0, 1.0]))];
        check(
            &names,
            &[
                ("or_else(first_below(c, 0), 9)", 9.0),
                ("or_else(first_below(c, 1), 10)", 9.0),
                ("or_else(1 / 0, 2)", 2.0),
                ("is_defined(missing)", 0.0),
                ("is_defined(c)", 1.0),
                ("is_defined(missing) and missing > 3", 0.0),
                ("is_defined(c) or missing > 3", 1.0),
                ("if(1 < 2, 5, missing)", 5.0),
                ("if(0, missing, 6)", 6.0),
            ],
        );
        assert_eq!(reason(&names, "or_else(missing, absent)"), "no absent");
        assert_eq!(reason(&names, "if(missing, 1, 2)"), "no missing");
        assert_eq!(reason(&names, "if(c, 1, 2)"), "if expects a number in place 1, but it is a curve");
    }
}
