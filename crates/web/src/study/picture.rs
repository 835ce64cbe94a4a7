//! Drawings below each other as one SVG picture that stands alone.

use std::fmt::Write as _;

use crate::picture;
use crate::text::escape;

/// Width of the picture and of its margins, in pixels.
const WIDTH: usize = 760;
const LEFT: usize = 72;
const RIGHT: usize = 30;
/// Height of a line of words, and what keeps words and drawings apart.
const LINE: usize = 18;
const APART: usize = 14;
/// Characters of a line over the whole width, also of digits in a wide font; and of one in bold.
pub(super) const CHARACTERS: usize = 86;
pub(super) const BOLD: usize = 80;

/// A drawing with what stands above and below it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Drawing {
    /// An `<svg>` whose size is given in percent.
    pub svg: String,
    /// Its height in pixels.
    pub height: usize,
    /// What it needs above and below for marks and labels.
    pub above: usize,
    pub below: usize,
}

/// Words over the whole width, then drawings.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Block {
    /// Markup of the lines, such as `<tspan class="strong">…</tspan>`.
    pub lines: Vec<String>,
    pub drawings: Vec<Drawing>,
}

/// The picture; `title` is its name for those who cannot see it.
pub(super) fn picture(title: &str, blocks: &[Block]) -> String {
    let mut body = String::new();
    let mut top = APART / 2;
    for block in blocks {
        for line in &block.lines {
            top += LINE;
            let _ = write!(body, "<text class=\"words\" x=\"{}\" y=\"{}\">{line}</text>", APART, top - 4);
        }
        for drawing in &block.drawings {
            top += drawing.above;
            let _ = write!(
                body,
                "<svg x=\"{LEFT}\" y=\"{top}\" width=\"{}\" height=\"{}\" overflow=\"visible\">{}</svg>",
                WIDTH - LEFT - RIGHT,
                drawing.height,
                drawing.svg
            );
            top += drawing.height + drawing.below;
        }
        top += APART;
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{top}\" viewBox=\"0 0 {WIDTH} {top}\"><title>{}</title><style>{}</style><rect class=\"paper\" width=\"100%\" height=\"100%\"/>{body}</svg>\n",
        escape(title),
        picture::style(include_str!("drawing.css"))
    )
}

/// How wide text is about, in small letters and digits of a wide font.
fn width(text: &str) -> f64 {
    let of = |c: char| match c {
        'M' | 'W' | 'm' | 'w' | '@' | '%' => 1.6,
        '\u{2000}'..'\u{2e80}' => 1.3,
        // Letters of East Asian scripts.
        '\u{1100}'.. => 2.0,
        c if c.is_uppercase() => 1.3,
        _ => 1.0,
    };
    text.chars().map(of).sum()
}

/// The beginning of `text` that is at most so wide, with an ellipsis where there is more.
pub(super) fn cut(text: &str, widest: usize) -> String {
    if width(text) <= widest as f64 {
        return text.to_owned();
    }
    let mut kept = text.to_owned();
    while width(&kept) + 1.3 > widest as f64 {
        kept.pop();
    }
    kept.push('…');
    kept
}

/// `text` in lines that are at most so wide; what is beyond the last line is cut, with an ellipsis.
pub(super) fn wrapped(text: &str, widest: usize, most_lines: usize) -> Vec<String> {
    let widest = widest as f64;
    let mut lines: Vec<String> = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && width(&line) + 1.0 + width(word) <= widest {
            line.push(' ');
            line.push_str(word);
            continue;
        }
        if !line.is_empty() {
            lines.push(std::mem::take(&mut line));
        }
        // A word that does not end is cut into lines.
        for c in word.chars() {
            if !line.is_empty() && width(&line) + width(c.encode_utf8(&mut [0; 4])) > widest {
                lines.push(std::mem::take(&mut line));
            }
            line.push(c);
        }
    }
    lines.push(line);
    if lines.len() > most_lines {
        lines.truncate(most_lines);
        if let Some(last) = lines.last_mut() {
            *last = cut(&format!("{last} …"), widest as usize).replace(" …", "…");
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_keep_their_width_and_lose_nothing_in_between() {
        assert_eq!(wrapped("one ten three", 7, 9), ["one ten", "three"]);
        assert_eq!(wrapped("abcdefgh ij", 3, 9), ["abc", "def", "gh", "ij"]);
        assert_eq!(wrapped("one ten three four", 7, 2), ["one ten", "three…"]);
        assert_eq!(wrapped("one tenthree four", 8, 1), ["one…"]);
        assert_eq!(wrapped("", 8, 2), [""]);
        assert_eq!(wrapped("学习学习", 4, 9), ["学习", "学习"]);
        assert_eq!(wrapped("abcdefg hi", 7, 1), ["abcde…"]);
        assert_eq!(
            (cut("abcdefgh", 8), cut("abcdefghi", 8), cut("MMMM", 5)),
            ("abcdefgh".into(), "abcdef…".into(), "MM…".into())
        );
    }
}
