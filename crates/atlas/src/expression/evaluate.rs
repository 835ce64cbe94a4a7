//! The value of a tree.

use super::arithmetic;
use super::error::Undefined;
use super::functions;
use super::tree::{Node, Operator};
use super::value::Value;

/// What a name stands for.
type Lookup<'a> = &'a dyn Fn(&str) -> Result<Value, Undefined>;

/// The value of `node`, a part of `text`.
pub(super) fn evaluate(node: &Node, text: &str, lookup: Lookup<'_>) -> Result<Value, Undefined> {
    match node {
        Node::Number(number) => Ok(Value::Number(*number)),
        Node::Text(text) => Ok(Value::Text(text.clone())),
        Node::Name(name) => match lookup(name)? {
            // A comparison would take it for false.
            Value::Number(number) if number.is_nan() => {
                Err(Undefined::new(format!("`{name}` is NaN, expected a finite number")))
            }
            value => Ok(value),
        },
        Node::Negative(inner) => arithmetic::each(&arithmetic::NEGATIVE, evaluate(inner, text, lookup)?),
        Node::Not(inner) => arithmetic::each(&arithmetic::NOT, evaluate(inner, text, lookup)?),
        Node::Chain { first, rest } => chain(first, rest, text, lookup),
        Node::Call { function, arguments } => {
            let texts = arguments.iter().map(|argument| &text[argument.place.clone()]).collect();
            functions::call(function, texts, &|i| evaluate(&arguments[i].node, text, lookup))
        }
    }
}

/// Operators of one rank, from the left.
fn chain(first: &Node, rest: &[(Operator, Node)], text: &str, lookup: Lookup<'_>) -> Result<Value, Undefined> {
    let mut value = evaluate(first, text, lookup)?;
    for (operator, node) in rest {
        // What is decided asks no further: `is_defined(x) and x > 3` has a value without x.
        match (operator, &value) {
            (Operator::And, Value::Number(0.0)) => continue,
            (Operator::Or, Value::Number(number)) if *number != 0.0 => {
                value = Value::Number(1.0);
                continue;
            }
            _ => {}
        }
        value = arithmetic::combine(*operator, value, evaluate(node, text, lookup)?)?;
    }
    Ok(value)
}
