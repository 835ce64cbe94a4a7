//! Tokens into a tree, by descent through the ranks of operators.

use super::MAX_NESTING;
use super::error::{ExpressionError, clipped};
use super::functions;
use super::lexer::{Kind, Token, error_at, tokens};
use super::tree::{Argument, Node, Operator};

/// Rank of comparisons, which do not chain.
const COMPARISON: usize = 2;
/// Rank of products, the last below the sign.
const PRODUCT: usize = 4;
/// What may stand where a value is expected.
const A_VALUE: &str = "a number, a name, a function or a parenthesis";

/// Reads a whole text.
pub(super) fn parse(text: &str) -> Result<Node, ExpressionError> {
    let mut parser = Parser { text, tokens: tokens(text)?, next: 0, nesting: 0 };
    let root = parser.expression()?;
    match parser.peek() {
        Kind::End => Ok(root),
        _ => Err(parser.unexpected("an operator or the end")),
    }
}

struct Parser<'a> {
    text: &'a str,
    /// The last one is the end, which is never passed.
    tokens: Vec<Token>,
    next: usize,
    nesting: usize,
}

impl Parser<'_> {
    fn token(&self) -> &Token {
        &self.tokens[self.next.min(self.tokens.len() - 1)]
    }

    fn peek(&self) -> &Kind {
        &self.token().kind
    }

    /// Passes this sign or word, if it comes next.
    fn takes(&mut self, sign: &str) -> bool {
        let comes = match self.peek() {
            Kind::Sign(own) => *own == sign,
            Kind::Word(word) => word == sign,
            _ => false,
        };
        self.next += usize::from(comes);
        comes
    }

    fn unexpected(&self, expected: impl Into<String>) -> ExpressionError {
        let token = self.token();
        let found = match token.kind {
            Kind::End => "the end".to_owned(),
            _ => format!("`{}`", clipped(&self.text[token.start..token.end])),
        };
        error_at(self.text, token.start, found, expected)
    }

    /// One level of nesting deeper.
    fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, ExpressionError>) -> Result<T, ExpressionError> {
        if self.nesting == MAX_NESTING {
            let found = format!("an expression nested more than {MAX_NESTING} deep");
            return Err(error_at(self.text, self.token().start, found, "less: give parts of it names of their own"));
        }
        self.nesting += 1;
        let read = read(self);
        self.nesting -= 1;
        read
    }

    fn expression(&mut self) -> Result<Node, ExpressionError> {
        self.chain(0)
    }

    /// Operators of this rank or higher ones.
    fn chain(&mut self, rank: usize) -> Result<Node, ExpressionError> {
        if rank == COMPARISON && self.takes("not") {
            return Ok(Node::Not(Box::new(self.nested(|parser| parser.chain(COMPARISON))?)));
        }
        if rank > PRODUCT {
            return self.signed();
        }
        let first = self.chain(rank + 1)?;
        let mut rest = vec![];
        while let Some(operator) = self.operator(rank) {
            if rank == COMPARISON && !rest.is_empty() {
                return Err(self.unexpected("one comparison: join two by `and`"));
            }
            self.next += 1;
            // `a == not b` reads the `not` where a value is due.
            rest.push((operator, self.chain(rank + 1)?));
        }
        Ok(if rest.is_empty() { first } else { Node::Chain { first: Box::new(first), rest } })
    }

    /// The operator that comes next, if it is of this rank.
    fn operator(&self, rank: usize) -> Option<Operator> {
        let operator = match self.peek() {
            Kind::Sign(sign) => Operator::of_sign(sign),
            Kind::Word(word) => Operator::of_sign(word),
            _ => None,
        };
        operator.filter(|operator| operator.rank() == rank)
    }

    /// A power, possibly with signs before it.
    fn signed(&mut self) -> Result<Node, ExpressionError> {
        if self.takes("-") {
            return Ok(Node::Negative(Box::new(self.nested(Self::signed)?)));
        }
        let base = self.operand()?;
        if !self.takes("^") {
            return Ok(base);
        }
        let exponent = self.nested(Self::signed)?;
        Ok(Node::Chain { first: Box::new(base), rest: vec![(Operator::Power, exponent)] })
    }

    /// A value on its own.
    fn operand(&mut self) -> Result<Node, ExpressionError> {
        let token = self.token().clone();
        match token.kind {
            Kind::Number(number) => {
                self.next += 1;
                Ok(Node::Number(number))
            }
            Kind::Text(text) => {
                self.next += 1;
                Ok(Node::Text(text))
            }
            Kind::Quoted(name) => {
                self.next += 1;
                Ok(Node::Name(name))
            }
            Kind::Word(word) if !matches!(&*word, "and" | "or" | "not") => {
                self.next += 1;
                if self.takes("(") { self.call(&word, token.start) } else { Ok(Node::Name(word)) }
            }
            Kind::Sign("(") => {
                self.next += 1;
                let inner = self.nested(Self::expression)?;
                if self.takes(")") { Ok(inner) } else { Err(self.unexpected("an operator or `)`")) }
            }
            Kind::Word(word) if word == "not" => Err(self.unexpected(format!("{A_VALUE}: put `not` in parentheses"))),
            _ => Err(self.unexpected(A_VALUE)),
        }
    }

    /// The arguments of a function, after the parenthesis.
    fn call(&mut self, name: &str, start: usize) -> Result<Node, ExpressionError> {
        let Some(function) = functions::find(name) else {
            let mut error = error_at(self.text, start, format!("`{}`", clipped(name)), "a known function");
            error.nearest = functions::nearest(name).map(str::to_owned);
            return Err(error);
        };
        let mut arguments = vec![];
        if !self.takes(")") {
            loop {
                let from = self.token().start;
                let node = self.nested(Self::expression)?;
                let to = self.tokens[self.next - 1].end;
                arguments.push(Argument { node, place: from..to });
                if self.takes(")") {
                    break;
                }
                if !self.takes(",") {
                    return Err(self.unexpected("an operator, `,` or `)`"));
                }
            }
        }
        if !function.takes(arguments.len()) {
            let found = match arguments.len() {
                1 => format!("`{name}` with 1 argument"),
                n => format!("`{name}` with {n} arguments"),
            };
            return Err(error_at(self.text, start, found, function.doc.usage));
        }
        Ok(Node::Call { function, arguments })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        parse(text).unwrap_err().to_string()
    }

    #[test]
    fn errors_say_what_stands_where_and_what_could() {
        let cases = [
            ("", "column 1: found the end, expected a number, a name, a function or a parenthesis"),
            ("1 +", "column 4: found the end, expected a number"),
            ("1 2", "column 3: found `2`, expected an operator or the end"),
            ("(1", "column 3: found the end, expected an operator or `)`"),
            ("1)", "column 2: found `)`, expected an operator or the end"),
            ("first(1", "column 8: found the end, expected an operator, `,` or `)`"),
            ("first(1,)", "column 9: found `)`, expected a number"),
            ("1 < 2 < 3", "column 7: found `<`, expected one comparison: join two by `and`"),
            ("and", "column 1: found `and`, expected a number"),
            ("1 + not 1", "column 5: found `not`, expected a number"),
            ("'ü' + frist(1)", "column 7: found `frist`, expected a known function; the nearest one is `first`"),
            ("at(loss)", "column 1: found `at` with 1 argument, expected at(c, step)"),
            ("1 + first()", "column 5: found `first` with 0 arguments, expected first(c)"),
        ];
        for (text, expected) in cases {
            assert!(error(text).starts_with(expected), "{text}: {}", error(text));
        }
        assert!(!error("completely_unlike_anything(1)").contains("nearest"), "nothing is near");
    }

    #[test]
    fn sixty_four_levels_are_allowed() {
        let nested = |n: usize| format!("{}1{}", "(".repeat(n), ")".repeat(n));
        assert!(parse(&nested(64)).is_ok());
        assert!(error(&nested(65)).starts_with("column 66: found an expression nested more than 64 deep"));
    }

    #[test]
    fn names_and_functions_may_share_a_word() {
        assert_eq!(parse("first").unwrap(), Node::Name("first".to_owned()));
        assert!(matches!(parse("first(first)").unwrap(), Node::Call { .. }));
    }
}
