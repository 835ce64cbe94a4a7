//! Text into tokens, each with its place.

use super::MAX_LENGTH;
use super::error::{ExpressionError, clipped};

/// A token and the bytes it stands at.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) start: usize,
    pub(super) end: usize,
}

/// What a token is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    Number(f64),
    /// A name or a word of the language, as it stands there.
    Word(String),
    /// A name in double quotes.
    Quoted(String),
    /// Text in single quotes.
    Text(String),
    /// An operator, parenthesis or comma.
    Sign(&'static str),
    End,
}

/// Longer ones first.
const SIGNS: [&str; 15] = ["<=", ">=", "==", "!=", "<", ">", "+", "-", "*", "/", "^", "(", ")", ",", "="];

/// All tokens, the last of which is the end.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, ExpressionError> {
    let n_characters = text.chars().count();
    if n_characters > MAX_LENGTH {
        return Err(ExpressionError {
            column: MAX_LENGTH + 1,
            found: format!("an expression of {n_characters} characters"),
            expected: "at most 4,000: give parts of it names of their own".to_owned(),
            nearest: None,
        });
    }
    let mut tokens = vec![];
    let mut start = 0;
    while let Some(first) = text[start..].chars().next() {
        if first.is_whitespace() {
            start += first.len_utf8();
            continue;
        }
        let (kind, length) = token(text, start, first)?;
        tokens.push(Token { kind, start, end: start + length });
        start += length;
    }
    tokens.push(Token { kind: Kind::End, start, end: start });
    Ok(tokens)
}

/// The error at a byte of the text.
pub(super) fn error_at(text: &str, start: usize, found: String, expected: impl Into<String>) -> ExpressionError {
    let column = text[..start].chars().count() + 1;
    ExpressionError { column, found, expected: expected.into(), nearest: None }
}

/// The token at `start` and its length in bytes.
fn token(text: &str, start: usize, first: char) -> Result<(Kind, usize), ExpressionError> {
    let rest = &text[start..];
    if first.is_ascii_digit() {
        return number(text, start);
    }
    if first.is_alphabetic() || first == '_' {
        return word(text, start);
    }
    if first == '"' || first == '\'' {
        let Some(length) = rest[1..].find(first) else {
            return Err(error_at(text, start, format!("`{}`", clipped(rest)), format!("a closing {first}")));
        };
        let content = rest[1..=length].to_owned();
        if first == '"' && content.is_empty() {
            return Err(error_at(text, start, "an empty name".to_owned(), "a name, such as \"induction.*\""));
        }
        return Ok((if first == '"' { Kind::Quoted(content) } else { Kind::Text(content) }, length + 2));
    }
    match SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
        Some(&"=") => Err(error_at(text, start, "`=`".to_owned(), "`==` to compare")),
        Some(sign) => Ok((Kind::Sign(sign), sign.len())),
        None => Err(error_at(
            text,
            start,
            format!("`{first}`"),
            "a number, a name, an operator or a parenthesis; other names stand in double quotes",
        )),
    }
}

/// Digits, a fraction, an exponent.
fn number(text: &str, start: usize) -> Result<(Kind, usize), ExpressionError> {
    let rest = &text.as_bytes()[start..];
    let digits = |from: usize| rest[from..].iter().take_while(|c| c.is_ascii_digit()).count();
    let mut length = digits(0);
    if rest.get(length) == Some(&b'.') && digits(length + 1) > 0 {
        length += 1 + digits(length + 1);
    }
    if matches!(rest.get(length), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(rest.get(length + 1), Some(b'+' | b'-')));
        let n_digits = rest.get(length + 1 + sign..).map_or(0, |_| digits(length + 1 + sign));
        if n_digits > 0 {
            length += 1 + sign + n_digits;
        }
    }
    let literal = &text[start..start + length];
    let next = text[start + length..].chars().next();
    if let Some(next) = next.filter(|c| c.is_alphanumeric() || *c == '_' || *c == '.') {
        let expected = "a number such as 0.5 or 1e-3; names begin with a letter, others stand in double quotes";
        return Err(error_at(text, start, format!("`{literal}{next}`"), expected));
    }
    match literal.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok((Kind::Number(number), length)),
        _ => Err(error_at(text, start, format!("`{}`", clipped(literal)), "a number below 1.8e308")),
    }
}

/// Letters, digits and `_`, and parts after a dot, which may begin with a digit.
fn word(text: &str, start: usize) -> Result<(Kind, usize), ExpressionError> {
    let rest = &text[start..];
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let length = rest.find(|c| !is_part(c) && c != '.').unwrap_or(rest.len());
    let word = &rest[..length];
    if let Some(dot) = word.match_indices('.').map(|(i, _)| i).find(|i| !word[i + 1..].starts_with(is_part)) {
        let expected = "letters or digits after the dot; other names stand in double quotes";
        return Err(error_at(text, start + dot, format!("`{}`", clipped(&rest[..=dot])), expected));
    }
    Ok((Kind::Word(word.to_owned()), length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<Kind> {
        tokens(text).unwrap().into_iter().map(|token| token.kind).collect()
    }

    #[test]
    fn numbers_names_and_texts() {
        let word = |text: &str| Kind::Word(text.to_owned());
        assert_eq!(kinds("1.5e-3"), [Kind::Number(1.5e-3), Kind::End]);
        assert_eq!(kinds("2<=x_1.3h"), [Kind::Number(2.0), Kind::Sign("<="), word("x_1.3h"), Kind::End]);
        assert_eq!(kinds("λ.ü"), [word("λ.ü"), Kind::End]);
        let quoted = [Kind::Quoted("a-b*".to_owned()), Kind::Text(String::new()), Kind::End];
        assert_eq!(kinds("\"a-b*\"''"), quoted);
    }

    #[test]
    fn errors_say_where() {
        let cases = [
            ("1 + #", 5, "`#`"),
            ("ü = 2", 3, "`=`"),
            ("loss. + 1", 5, "`loss.`"),
            ("2x", 1, "`2x`"),
            ("1e", 1, "`1e`"),
            ("1e999", 1, "`1e999`"),
            ("1.", 1, "`1.`"),
            ("1 + 'adamw", 5, "`'adamw`"),
            ("\"\"", 1, "an empty name"),
            ("a..b", 2, "`a.`"),
            (".5", 1, "`.`"),
        ];
        for (text, column, found) in cases {
            let error = tokens(text).unwrap_err();
            assert_eq!((error.column, &*error.found), (column, found), "{text}");
        }
    }
}
