//! Text that is safe to put into HTML: every string of a run passes through here.

/// `text` with the five characters that mean something in HTML replaced, for element content and quoted attributes.
///
/// Control characters other than newline and tab have no place in a page and become U+FFFD.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\n' | '\t' => escaped.push(c),
            c if c.is_control() => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

/// Longer names and words in tables may wrap, in characters.
pub(crate) const LONG_NAME: usize = 24;

/// [`escape`], and a long name may break after its underscores and dots, but no decimal number at its point.
pub(crate) fn breakable(name: &str) -> String {
    let escaped = escape(name);
    if name.chars().count() <= LONG_NAME {
        return escaped;
    }
    let mut broken = String::with_capacity(2 * escaped.len());
    let mut before = ' ';
    let mut characters = escaped.chars().peekable();
    while let Some(c) = characters.next() {
        broken.push(c);
        let is_point = before.is_ascii_digit() && characters.peek().is_some_and(char::is_ascii_digit);
        if c == '_' || (c == '.' && !is_point) {
            broken.push_str("<wbr>");
        }
        before = c;
    }
    broken
}

/// A name reduced to what may stand in an `id`: letters, digits, `-` and `_`.
pub(crate) fn slug(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' }).collect()
}

/// A unit as it is read in a sentence: `1` is the unit of a pure number; an unknown unit is empty and not named.
pub(crate) fn unit_name(unit: &str) -> &str {
    match unit {
        "1" => "dimensionless",
        "nats^2" => "nats²",
        _ => unit,
    }
}

/// A unit as it follows a number: with its space, or nothing for a pure number.
pub(crate) fn unit_suffix(unit: &str) -> String {
    if unit == "1" || unit.is_empty() { String::new() } else { format!(" {}", unit_name(unit)) }
}

/// `a`, `a and b`, `a, b and c`.
pub(crate) fn list(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [only] => only.clone(),
        [rest @ .., last] => format!("{} and {last}", rest.join(", ")),
    }
}

/// `1 checkpoint`, `24 checkpoints`.
pub(crate) fn counted(n: usize, noun: &str) -> String {
    let plural = if n == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", crate::number::count(n as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_and_control_characters_are_defused() {
        assert_eq!(
            escape("<script>\"a\" & 'b'</script>"),
            "&lt;script&gt;&quot;a&quot; &amp; &#39;b&#39;&lt;/script&gt;"
        );
        assert_eq!(escape("a\u{0}b\u{1b}c\nd"), "a\u{fffd}b\u{fffd}c\nd");
        assert_eq!(slug("llc \"x\"/../é.csv"), "llc--x-------csv");
    }

    #[test]
    fn only_long_names_break() {
        assert_eq!(breakable("llc_unembed.unembed"), "llc_unembed.unembed");
        assert_eq!(
            breakable("blocks.0.attn.hook_z.mean&x"),
            "blocks.<wbr>0.<wbr>attn.<wbr>hook_<wbr>z.<wbr>mean&amp;x"
        );
    }

    #[test]
    fn lists_and_counts_read_as_english() {
        let items = ["a", "b", "c"].map(String::from);
        let read: Vec<String> = (0..=3).map(|n| list(&items[..n])).collect();
        assert_eq!(read, ["", "a", "a and b", "a, b and c"]);
        assert_eq!(
            [counted(0, "step"), counted(1, "step"), counted(2400, "step")],
            ["0 steps", "1 step", "2,400 steps"]
        );
    }
}
