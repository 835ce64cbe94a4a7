//! The atlas as Markdown, for the documentation.

use std::fmt::Write as _;

use ontogeny_store::{Atlas, StudyVerdict};

use super::atlas::{q_value, summary};
use super::effects::{capitalised, found_in_short};
use super::{tables, words};
use crate::number;
use crate::text::counted;

/// The atlas as Markdown: counts, a table of all studies, a short section for each, and what is not asked yet.
///
/// `figure` gives the path of a study's picture by its identifier, where there is one. All strings are escaped:
/// none of them can make a link, a heading, a cell or a tag.
pub fn atlas_markdown(atlas: &Atlas, figure: &dyn Fn(&str) -> Option<String>) -> String {
    let mut text = format!("# Atlas of studies\n\n{}\n", summary(atlas));
    if !atlas.studies.is_empty() {
        text.push_str(
            "\n| study | question | verdict | answer | effect [95 % interval] | seeds | q | time |\n|---|---|---|---|---|--:|--:|--:|\n",
        );
        for row in &atlas.studies {
            let mut cells: [String; 8] = std::array::from_fn(|_| String::new());
            (cells[0], cells[1], cells[2]) = (escape(&row.id), escape(&row.question), "not run".to_owned());
            if let Some(verdict) = &row.verdict {
                cells[2] = verdict_words(verdict);
                cells[3] = escape(&verdict.answer);
                cells[4] = escape(&effect(verdict));
                cells[5] = number::count(words::seeds(verdict) as u64);
                cells[6] = escape(&q_value(row));
                cells[7] = words::duration(verdict.seconds);
            }
            let _ = writeln!(text, "| {} |", cells.join(" | "));
        }
        text.push_str(
            "\nThe effect is that of the hypothesis that answers the question; *q* is its p-value after Benjamini and Hochberg's correction over all hypotheses of the atlas.\n",
        );
    }
    for row in &atlas.studies {
        if let Some(verdict) = &row.verdict {
            text.push_str(&section(&row.id, &row.question, verdict, figure(&row.id)));
        }
    }
    if !atlas.left_out.is_empty() {
        text.push_str("\n## Not asked yet\n\n");
        for (id, reason) in &atlas.left_out {
            let _ = writeln!(text, "- **{}**: {}", escape(id), escape(reason));
        }
    }
    text
}

fn section(id: &str, question: &str, verdict: &StudyVerdict, figure: Option<String>) -> String {
    let mut text = format!("\n## {}: {}\n\n", escape(id), escape(question));
    let _ = writeln!(
        text,
        "**{}** ({}, {} scale, {}, {} of work). {}",
        capitalised(words::word(verdict.outcome)),
        words::kind(verdict),
        escape(&verdict.scale),
        counted(words::seeds(verdict), "seed"),
        words::duration(verdict.seconds),
        escape(&verdict.answer)
    );
    if let Some(path) = figure {
        let title = verdict.figures.first().map_or(question, |own| own.title.as_str());
        let _ = writeln!(
            text,
            "\n![{}]({})",
            escape(&title.replace(['[', ']'], "")),
            path.replace('%', "%25").replace(' ', "%20").replace(['(', ')', '<', '>', '\n'], "")
        );
    }
    text.push('\n');
    for hypothesis in &verdict.hypotheses {
        let _ = writeln!(
            text,
            "- *{}* {} {}",
            words::word(hypothesis.outcome),
            sentence(&hypothesis.claim),
            escape(&found_in_short(hypothesis))
        );
    }
    if !verdict.known.trim().is_empty() {
        let _ = writeln!(text, "\nKnown: {}", escape(&verdict.known));
    }
    if !verdict.attacks.is_empty() {
        let _ = writeln!(text, "\n{}\n", escape(&tables::attack_counts(verdict)));
        for attack in &verdict.attacks {
            let outcome = words::attack_word(verdict, attack);
            let _ = writeln!(
                text,
                "- *{outcome}* {} It survives if {}. {}",
                sentence(&attack.what),
                escape(&words::expectation(verdict, attack)),
                escape(&found_in_short(&attack.found))
            );
        }
    }
    if !verdict.limits.trim().is_empty() {
        let _ = writeln!(text, "\nLimits: {}", escape(&verdict.limits));
    }
    text
}

/// The verdict in bold, with what makes it weaker.
fn verdict_words(verdict: &StudyVerdict) -> String {
    let word = words::word(verdict.outcome);
    if verdict.confirmatory { format!("**{word}**") } else { format!("**{word}** (exploratory)") }
}

fn effect(verdict: &StudyVerdict) -> String {
    verdict.hypotheses.first().and_then(words::effect).unwrap_or_else(|| "no estimate".to_owned())
}

/// Escaped, with a full stop.
fn sentence(text: &str) -> String {
    let text = text.trim();
    let ends = text.ends_with(['.', '!', '?']);
    format!("{}{}", escape(text), if ends || text.is_empty() { "" } else { "." })
}

/// Text that is only text in Markdown, also in a cell of a table: on one line, with what has a meaning escaped.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    let mut before = ' ';
    let mut characters = text.trim().chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '\\' | '`' | '*' | '|' | '~' => {
                escaped.push('\\');
                escaped.push(c);
            }
            // Brackets are only text (of intervals, mostly) where nothing follows that makes them a link.
            ']' if characters.peek().is_some_and(|next| "([:".contains(*next)) => escaped.push_str("\\]"),
            // Inside of a word an underscore is one.
            '_' if !(before.is_alphanumeric() && characters.peek().is_some_and(|c| c.is_alphanumeric())) => {
                escaped.push_str("\\_");
            }
            // A bare address would become a link.
            ':' if characters.peek() == Some(&'/') => escaped.push_str("&#58;"),
            '@' => escaped.push_str("&#64;"),
            c if c.is_whitespace() => {
                if !before.is_whitespace() {
                    escaped.push(' ');
                }
            }
            c if c.is_control() => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
        before = c;
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn every_study_has_a_row_and_those_with_a_verdict_a_section() {
        let atlas = sample::atlas();
        let text = atlas_markdown(&atlas, &|id| (id == "N1.2").then(|| "atlas/N1.2.svg".to_owned()));
        let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("| N")).collect();
        assert_eq!(rows.len(), 5);
        assert!(rows.iter().all(|row| row.matches(" | ").count() == 7), "{rows:?}");
        assert!(rows[1].contains("**refuted**") && rows[2].contains("(exploratory)") && rows[4].contains("not run"));
        assert!(rows[1].contains("4.2 × 10⁻⁵ [2.9 × 10⁻⁵, 5.5 × 10⁻⁵] nats"), "{}", rows[1]);
        assert_eq!(text.matches("\n## ").count(), 5, "four studies and what is left out");
        assert_eq!(text.matches("![").count(), 1);
        assert!(text.contains("](atlas/N1.2.svg)") && text.contains("- **N3.1**: Needs networks"));
        assert_eq!(text.matches("*could not tell*").count(), 4, "one for each verdict");
        assert_eq!(text.matches("\nKnown: ").count(), 4);
        assert_eq!(text.matches("\nLimits: ").count(), 4);
    }

    #[test]
    fn text_stays_text() {
        assert_eq!(
            escape("a|b\n# c [x](y) <b> `c` *d* _e_ f_g https://x.y [1, 2] !"),
            "a\\|b # c [x\\](y) &lt;b> \\`c\\` \\*d\\* \\_e\\_ f_g https&#58;//x.y [1, 2] !"
        );
        assert_eq!(escape("![x](y) [x][y] [x]: y"), "![x\\](y) [x\\][y] [x\\]: y");
    }
}
