//! Parameters chosen by parts of their names: which weight decay spares, and which stay as they are.

use std::ops::Range;

use ontogeny_graph::ParamSpace;

use crate::SettingError;

/// Ranges of the parameters that one of `words` names, ascending and merged.
///
/// A name is cut at its dots. A word is one part of it (`embed`, `W_E`), several neighbouring ones (`blocks.0.attn`), or
/// one of two kinds: `bias`, all whose last part starts with `b` or `_b`, and `norm`, all with a part that starts with `ln` or
/// `norm`. Of these two a network may have none; any other word that names nothing is a mistake.
pub(super) fn select(
    space: &ParamSpace,
    key: &'static str,
    words: &[String],
) -> Result<Vec<Range<usize>>, SettingError> {
    for word in words {
        if !["bias", "norm"].contains(&word.as_str()) && !space.iter().any(|param| is_named(&param.name, word)) {
            let expected = "`bias`, `norm`, or parts of a parameter's name between dots, such as `embed`, `W_E` or \
                            `blocks.0.attn`";
            return Err(SettingError::new("train", key, word.clone(), expected));
        }
    }
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for param in space.iter().filter(|param| words.iter().any(|word| is_named(&param.name, word))) {
        match ranges.last_mut() {
            Some(last) if last.end == param.range.start => last.end = param.range.end,
            _ => ranges.push(param.range.clone()),
        }
    }
    Ok(ranges)
}

fn is_named(name: &str, word: &str) -> bool {
    let mut parts = name.split('.');
    match word {
        "bias" => parts.next_back().is_some_and(|part| part.starts_with('b') || part.starts_with("_b")),
        "norm" => parts.any(|part| part.starts_with("ln") || part.starts_with("norm")),
        _ => {
            let parts: Vec<&str> = parts.collect();
            let wanted: Vec<&str> = word.split('.').collect();
            parts.windows(wanted.len()).any(|part| part == wanted)
        }
    }
}

#[cfg(test)]
mod tests {
    use ontogeny_graph::Graph;

    use super::*;

    #[test]
    fn words_are_whole_parts_of_names() {
        let mut g = Graph::new();
        let names =
            ["embed.W_E", "pos_embed.W_pos", "blocks.0.ln1.w", "blocks.0.ln1.b", "blocks.0.attn.W_Q", "layers.1.b"];
        for name in names {
            g.param(name, &[10]);
        }
        let space = ParamSpace::of(&g);
        let of = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
            select(&space, "no_decay", &words)
        };
        for (words, ranges) in [
            (&["embed"][..], &[(0, 10)][..]),
            (&["W_pos", "embed"], &[(0, 20)]),
            (&["bias"], &[(30, 40), (50, 60)]),
            (&["norm"], &[(20, 40)]),
            (&["blocks.0"], &[(20, 50)]),
            (&["0.attn", "layers.1.b"], &[(40, 60)]),
            (&[], &[]),
        ] {
            let found: Vec<(usize, usize)> = of(words).unwrap().iter().map(|range| (range.start, range.end)).collect();
            assert_eq!(found, ranges, "{words:?}");
        }
        for wrong in ["W", "block", "0.W_Q", ""] {
            let message = of(&[wrong]).unwrap_err().to_string();
            assert!(message.starts_with(&format!("train.no_decay is {wrong}; expected")), "{message}");
        }
    }
}
