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

/// `text` in lines of at most so many characters; what is beyond the last line is cut, with an ellipsis.
pub(super) fn wrapped(text: &str, characters: usize, most_lines: usize) -> Vec<String> {
    // Letters of East Asian scripts are twice as wide.
    let width = |c: char| if c >= '\u{1100}' && !('\u{2000}'..'\u{2e80}').contains(&c) { 2 } else { 1 };
    let width_of = |word: &str| word.chars().map(width).sum::<usize>();
    let mut lines: Vec<String> = vec![String::new()];
    let mut room = characters;
    for word in text.split_whitespace() {
        let is_first = lines.last().is_some_and(String::is_empty);
        if width_of(word) + usize::from(!is_first) <= room {
            let line = lines.last_mut().expect("there is always a line");
            if !is_first {
                line.push(' ');
                room -= 1;
            }
            line.push_str(word);
            room -= width_of(word);
            continue;
        }
        if !is_first {
            lines.push(String::new());
            room = characters;
        }
        // A word without an end is cut into lines.
        for c in word.chars() {
            if width(c) > room {
                lines.push(String::new());
                room = characters;
            }
            lines.last_mut().expect("there is always a line").push(c);
            room -= width(c);
        }
    }
    if lines.len() > most_lines {
        lines.truncate(most_lines);
        let last = lines.last_mut().expect("at least one line is allowed");
        while width_of(last) + 1 > characters {
            last.pop();
        }
        last.push('…');
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_keep_their_width_and_lose_nothing_in_between() {
        assert_eq!(wrapped("one two three", 7, 9), ["one two", "three"]);
        assert_eq!(wrapped("abcdefgh ij", 3, 9), ["abc", "def", "gh", "ij"]);
        assert_eq!(wrapped("one two three four", 7, 2), ["one two", "three…"]);
        assert_eq!(wrapped("one twothree four", 8, 1), ["one…"]);
        assert_eq!(wrapped("", 8, 2), [""]);
        assert_eq!(wrapped("学习学习", 4, 9), ["学习", "学习"]);
    }
}
