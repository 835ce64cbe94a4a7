//! Parts joined by `!`, `&`, `|` and ` + `: the grammar and its tree.

use super::error::RestrictionError;

/// What a restriction says, before any network is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Expression {
    /// A word, a name or a pattern; trimmed and not empty.
    Part(String),
    Complement(Box<Self>),
    Intersection(Vec<Self>),
    Union(Vec<Self>),
}

/// Parentheses inside each other, at most: far beyond what anybody reads, far below what a stack holds.
const MAX_DEPTH: usize = 64;

impl Expression {
    /// Reads
    ///
    /// ```text
    /// union        = intersection { ( "|" | "+" ) intersection }
    /// intersection = factor { "&" factor }
    /// factor       = { "!" } ( part | "(" union ")" )
    /// ```
    ///
    /// A part is everything between two operators, without the spaces at its ends. `+` is an operator only between
    /// spaces (or at an end), so that names may hold it.
    pub(super) fn parse(text: &str) -> Result<Self, RestrictionError> {
        if text.trim().is_empty() {
            return Err(RestrictionError::Empty);
        }
        let mut parser = Parser { text, tokens: tokens(text), next: 0 };
        let expression = parser.union(0)?;
        match parser.peek() {
            Token::End => Ok(expression),
            Token::Close => Err(parser.error("this `)` closes nothing; remove it, or add a `(` before")),
            _ => Err(parser.error("expected an operator before this: `&` (both), `|` or ` + ` (either)")),
        }
    }

    /// The union of terms, of which there is at least one.
    ///
    /// # Errors
    /// `full` beside others.
    pub(super) fn union(mut terms: Vec<Self>) -> Result<Self, RestrictionError> {
        if terms.len() == 1 {
            return Ok(terms.swap_remove(0));
        }
        if terms.iter().any(|term| matches!(term, Self::Part(part) if part == "full")) {
            return Err(RestrictionError::FullInList);
        }
        Ok(Self::Union(terms))
    }

    /// All parts, from left to right.
    pub(super) fn parts(&self) -> Vec<&str> {
        match self {
            Self::Part(part) => vec![part],
            Self::Complement(inner) => inner.parts(),
            Self::Intersection(terms) | Self::Union(terms) => terms.iter().flat_map(Self::parts).collect(),
        }
    }

    /// The terms of the outermost unions.
    pub(super) fn terms(&self) -> Vec<&Self> {
        match self {
            Self::Union(terms) => terms.iter().flat_map(Self::terms).collect(),
            other => vec![other],
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'a> {
    Not,
    And,
    Or,
    Open,
    Close,
    Part(&'a str),
    End,
}

/// Tokens with the bytes at which they start; the last is the end.
fn tokens(text: &str) -> Vec<(usize, Token<'_>)> {
    let mut tokens = Vec::new();
    // Start of the part that is being read.
    let mut part: Option<usize> = None;
    let mut before = None;
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let is_apart = |neighbour: Option<char>| neighbour.is_none_or(char::is_whitespace);
        let operator = match c {
            '!' => Some(Token::Not),
            '&' => Some(Token::And),
            '|' => Some(Token::Or),
            '(' => Some(Token::Open),
            ')' => Some(Token::Close),
            '+' if is_apart(before) && is_apart(chars.peek().map(|(_, c)| *c)) => Some(Token::Or),
            _ => None,
        };
        before = Some(c);
        if let Some(operator) = operator {
            if let Some(start) = part.take() {
                tokens.push((start, Token::Part(text[start..at].trim_end())));
            }
            tokens.push((at, operator));
        } else if part.is_none() && !c.is_whitespace() {
            part = Some(at);
        }
    }
    if let Some(start) = part {
        tokens.push((start, Token::Part(text[start..].trim_end())));
    }
    tokens.push((text.len(), Token::End));
    tokens
}

struct Parser<'a> {
    text: &'a str,
    tokens: Vec<(usize, Token<'a>)>,
    next: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Token<'a> {
        self.tokens[self.next].1
    }

    fn take_if(&mut self, token: Token<'_>) -> bool {
        let is_next = self.peek() == token;
        // Nobody asks for the end, so there is always a next token.
        self.next += usize::from(is_next);
        is_next
    }

    fn union(&mut self, depth: usize) -> Result<Expression, RestrictionError> {
        let mut terms = vec![self.intersection(depth)?];
        while self.take_if(Token::Or) {
            terms.push(self.intersection(depth)?);
        }
        Expression::union(terms)
    }

    fn intersection(&mut self, depth: usize) -> Result<Expression, RestrictionError> {
        let first = self.factor(depth)?;
        if self.peek() != Token::And {
            return Ok(first);
        }
        let mut terms = vec![first];
        while self.take_if(Token::And) {
            terms.push(self.factor(depth)?);
        }
        Ok(Expression::Intersection(terms))
    }

    fn factor(&mut self, depth: usize) -> Result<Expression, RestrictionError> {
        // Two complements are none, so a row of `!` needs no depth.
        let mut is_complement = false;
        while self.take_if(Token::Not) {
            is_complement = !is_complement;
        }
        let inner = match self.peek() {
            Token::Part(part) => {
                self.next += 1;
                Expression::Part(part.to_owned())
            }
            Token::Open if depth == MAX_DEPTH => {
                return Err(self.error(&format!("more than {MAX_DEPTH} parentheses inside each other; remove some")));
            }
            Token::Open => {
                let open = self.next;
                self.next += 1;
                let inner = self.union(depth + 1)?;
                match self.peek() {
                    Token::Close => self.next += 1,
                    Token::End => {
                        self.next = open;
                        return Err(self.error("this `(` is never closed; add a `)`"));
                    }
                    _ => return Err(self.error("expected an operator before this: `&` (both), `|` or ` + ` (either)")),
                }
                inner
            }
            Token::And | Token::Or | Token::Close | Token::End | Token::Not => {
                return Err(self.error("expected a part here, such as `attn`, `l0h2` or `blocks.*.mlp.W_in`"));
            }
        };
        Ok(if is_complement { Expression::Complement(Box::new(inner)) } else { inner })
    }

    /// An error at the next token.
    fn error(&self, problem: &str) -> RestrictionError {
        let at = self.tokens[self.next].0;
        RestrictionError::Syntax {
            found: self.text.to_owned(),
            character: self.text[..at].chars().count() + 1,
            rest: self.text[at..].trim_end().to_owned(),
            problem: problem.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// With all parentheses written out.
    fn explicit(expression: &Expression) -> String {
        let joined = |terms: &[Expression], operator: &str| {
            format!("({})", terms.iter().map(explicit).collect::<Vec<_>>().join(operator))
        };
        match expression {
            Expression::Part(part) => format!("<{part}>"),
            Expression::Complement(inner) => format!("!{}", explicit(inner)),
            Expression::Intersection(terms) => joined(terms, " & "),
            Expression::Union(terms) => joined(terms, " | "),
        }
    }

    #[test]
    fn complement_binds_tighter_than_intersection_and_that_than_union() {
        for (text, expected) in [
            ("attn", "<attn>"),
            ("  l0   attn ", "<l0   attn>"),
            ("a&b|c", "((<a> & <b>) | <c>)"),
            ("a | b & c", "(<a> | (<b> & <c>))"),
            ("a + b | c", "(<a> | <b> | <c>)"),
            ("!a & b", "(!<a> & <b>)"),
            ("!(a & b)", "!(<a> & <b>)"),
            ("!!a", "<a>"),
            ("! ! !a", "!<a>"),
            ("a & !b", "(<a> & !<b>)"),
            ("(l0h2 | l0h3) & blocks.*.attn.W_Q", "((<l0h2> | <l0h3>) & <blocks.*.attn.W_Q>)"),
            ("((a))", "<a>"),
            ("W[sv 0-3] + b", "(<W[sv 0-3]> | <b>)"),
            ("c++ & d+e", "(<c++> & <d+e>)"),
            ("ä.ö & ü", "(<ä.ö> & <ü>)"),
        ] {
            assert_eq!(explicit(&Expression::parse(text).unwrap()), expected, "{text}");
        }
    }

    #[test]
    fn mistakes_point_at_their_place() {
        for (text, expected) in [
            ("", "an empty restriction; give `full` to leave everything free"),
            ("a & & b", "restriction `a & & b`, character 5, at `& b`: expected a part here, such as `attn`"),
            ("a |", "restriction `a |`, character 4, at the end: expected a part here"),
            ("& a", "restriction `& a`, character 1, at `& a`: expected a part here"),
            ("+", "restriction `+`, character 1, at `+`: expected a part here"),
            ("!", "restriction `!`, character 2, at the end: expected a part here"),
            ("ü & (a | b", "restriction `ü & (a | b`, character 5, at `(a | b`: this `(` is never closed; add a `)`"),
            ("()", "restriction `()`, character 2, at `)`: expected a part here"),
            ("a) & b", "restriction `a) & b`, character 2, at `) & b`: this `)` closes nothing; remove it"),
            ("a (b)", "restriction `a (b)`, character 3, at `(b)`: expected an operator before this: `&` (both)"),
            ("(a !b)", "restriction `(a !b)`, character 4, at `!b)`: expected an operator before this"),
            ("a | full", "`full` stands in a list of restrictions"),
        ] {
            let message = Expression::parse(text).unwrap_err().to_string();
            assert!(message.starts_with(expected), "{text}: {message}");
        }
        let deep = |n: usize| format!("{}a{}", "(".repeat(n), ")".repeat(n));
        assert!(Expression::parse(&deep(MAX_DEPTH)).is_ok());
        let message = Expression::parse(&deep(100_000)).unwrap_err().to_string();
        assert!(message.contains("character 65") && message.contains("more than 64 parentheses"), "{message:.300}");
    }

    proptest! {
        #[test]
        fn any_string_is_an_expression_or_an_error(text in ".*|[a-z!&|()+ \\[\\]*.0-9-]{0,40}") {
            if let Ok(expression) = Expression::parse(&text) {
                for part in expression.parts() {
                    prop_assert!(!part.is_empty() && part == part.trim() && text.contains(part));
                }
            }
        }

        #[test]
        fn what_is_written_out_reads_the_same(text in "[ab!&|() ]{0,20}") {
            if let Ok(expression) = Expression::parse(&text) {
                let again = Expression::parse(&explicit(&expression).replace(['<', '>'], "")).unwrap();
                prop_assert_eq!(expression, again);
            }
        }
    }
}
