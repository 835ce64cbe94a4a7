//! The only door to the terminal: data on stdout, talk on stderr.

use std::borrow::Cow;
use std::io::Write as _;

/// A line of data. A closed pipe (`ontogeny show … | head`) is not an error.
pub(crate) fn print(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{}", harmless(line));
}

/// A line of talk.
pub(crate) fn say(line: &str) {
    let mut err = std::io::stderr().lock();
    let _ = writeln!(err, "{}", harmless(line));
}

/// The text with control characters other than line feeds spelled out: names in files may hold commands to a terminal.
pub(crate) fn harmless(text: &str) -> Cow<'_, str> {
    let is_harmful = |c: char| c.is_control() && c != '\n';
    if !text.contains(is_harmful) {
        return Cow::Borrowed(text);
    }
    // As JSON spells them, because data may be JSON.
    let spelled = |c: char| if is_harmful(c) { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() };
    Cow::Owned(text.chars().map(spelled).collect())
}

/// A number with four significant digits, grouped where it is large.
pub(crate) fn number(value: f64) -> String {
    let magnitude = value.abs();
    if !value.is_finite() {
        return format!("{value}");
    }
    if magnitude >= 1000.0 {
        return grouped(value);
    }
    if magnitude != 0.0 && magnitude < 1e-3 {
        return format!("{value:.2e}");
    }
    let digits = if magnitude >= 100.0 {
        1
    } else if magnitude >= 1.0 {
        2
    } else {
        4
    };
    format!("{value:.digits$}")
}

/// A whole number with commas.
pub(crate) fn grouped(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0.0 { format!("-{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_spelled_out() {
        assert_eq!(harmless("a\nb é"), "a\nb é");
        assert_eq!(harmless("\x1b[2Ja\u{9b}\r"), "\\u001b[2Ja\\u009b\\u000d");
    }

    #[test]
    fn numbers_read_well() {
        for (value, text) in [
            (0.0, "0.0000"),
            (1.5, "1.50"),
            (-6.842, "-6.84"),
            (123.46, "123.5"),
            (1899.6, "1,900"),
            (-1_234_567.0, "-1,234,567"),
            (3.1e-7, "3.10e-7"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(number(value), text);
        }
    }
}
