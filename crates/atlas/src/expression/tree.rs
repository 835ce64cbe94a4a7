//! What was read: a tree in which chains of operators of one rank lie side by side, so that long sums are not deep.

use std::ops::Range;

use super::functions::Function;

/// A part of an expression.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Number(f64),
    Text(String),
    Name(String),
    Negative(Box<Node>),
    Not(Box<Node>),
    /// `first` and what follows, from the left; operators of one rank.
    Chain {
        first: Box<Node>,
        rest: Vec<(Operator, Node)>,
    },
    Call {
        function: &'static Function,
        arguments: Vec<Argument>,
    },
}

/// An argument and the bytes of the text that it was read from.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Argument {
    pub(super) node: Node,
    pub(super) place: Range<usize>,
}

/// An operator between two values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Or,
    And,
    Less,
    AtMost,
    More,
    AtLeast,
    Equal,
    Unequal,
    Plus,
    Minus,
    Times,
    Over,
    Power,
}

impl Operator {
    /// How strongly it binds, from 0; `not` lies between `and` and comparisons, the sign between products and powers.
    pub(super) fn rank(self) -> usize {
        match self {
            Self::Or => 0,
            Self::And => 1,
            Self::Less | Self::AtMost | Self::More | Self::AtLeast | Self::Equal | Self::Unequal => 2,
            Self::Plus | Self::Minus => 3,
            Self::Times | Self::Over => 4,
            Self::Power => 5,
        }
    }

    /// As it is written.
    pub(super) fn sign(self) -> &'static str {
        match self {
            Self::Or => "or",
            Self::And => "and",
            Self::Less => "<",
            Self::AtMost => "<=",
            Self::More => ">",
            Self::AtLeast => ">=",
            Self::Equal => "==",
            Self::Unequal => "!=",
            Self::Plus => "+",
            Self::Minus => "-",
            Self::Times => "*",
            Self::Over => "/",
            Self::Power => "^",
        }
    }

    /// The operator that is written so.
    pub(super) fn of_sign(sign: &str) -> Option<Self> {
        use Operator::{And, AtLeast, AtMost, Equal, Less, Minus, More, Or, Over, Plus, Power, Times, Unequal};
        let all = [Or, And, Less, AtMost, More, AtLeast, Equal, Unequal, Plus, Minus, Times, Over, Power];
        all.into_iter().find(|operator| operator.sign() == sign)
    }
}

impl Node {
    /// Adds the names in it that are not there yet, in order.
    pub(super) fn collect_names<'a>(&'a self, names: &mut Vec<&'a str>) {
        match self {
            Self::Number(_) | Self::Text(_) => {}
            Self::Name(name) => {
                if !names.contains(&name.as_str()) {
                    names.push(name);
                }
            }
            Self::Negative(inner) | Self::Not(inner) => inner.collect_names(names),
            Self::Chain { first, rest } => {
                first.collect_names(names);
                for (_, node) in rest {
                    node.collect_names(names);
                }
            }
            Self::Call { arguments, .. } => {
                for argument in arguments {
                    argument.node.collect_names(names);
                }
            }
        }
    }
}
