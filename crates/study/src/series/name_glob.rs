//! Patterns for the names of series.

use std::fmt;
use std::str::FromStr;

use glob::Pattern;

/// A name with `*` for any characters and `?` for one; brackets mean themselves, because components are called `NAME[i]`.
#[derive(Debug, Clone, PartialEq)]
pub struct NameGlob {
    text: String,
    pattern: Pattern,
}

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no pattern for names: {reason}")]
pub struct NameGlobError {
    text: String,
    reason: String,
}

impl NameGlob {
    /// Whether `name` fits.
    pub fn matches(&self, name: &str) -> bool {
        self.pattern.matches(name)
    }
}

impl FromStr for NameGlob {
    type Err = NameGlobError;

    fn from_str(text: &str) -> Result<Self, NameGlobError> {
        let wrong = |reason: String| NameGlobError { text: text.to_owned(), reason };
        if text.is_empty() {
            return Err(wrong("it is empty".to_owned()));
        }
        let mut escaped = String::new();
        for c in text.chars() {
            match c {
                '[' => escaped.push_str("[[]"),
                // Two stars would mean folders.
                '*' if escaped.ends_with('*') => {}
                c => escaped.push(c),
            }
        }
        let pattern = Pattern::new(&escaped).map_err(|error| wrong(error.msg.to_owned()))?;
        Ok(Self { text: text.to_owned(), pattern })
    }
}

impl fmt::Display for NameGlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_match_and_brackets_are_brackets() {
        for (glob, name, fits) in [
            ("loss.test", "loss.test", true),
            ("loss.*", "loss.test", true),
            ("loss.*", "llc.full", false),
            ("per_token[3]", "per_token[3]", true),
            ("per_token[3]", "per_token3", false),
            ("per_token[*]", "per_token[12]", true),
            ("a**b", "a/x/b", true),
            ("l?c", "llc", true),
        ] {
            assert_eq!(glob.parse::<NameGlob>().unwrap().matches(name), fits, "{glob} {name}");
        }
        assert!("".parse::<NameGlob>().is_err());
    }
}
