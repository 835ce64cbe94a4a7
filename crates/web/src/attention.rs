//! Attention patterns of prompts: small maps of all heads, a large one of the chosen head, and a slider over the checkpoints.
//!
//! The page is drawn for the last checkpoint, the first prompt and the first head; the script draws the others from the numbers in
//! the page, which are rounded to 255ths.

use std::fmt::Write as _;

use ontogeny_store::{Observable, RecordArray, RunView};

use crate::chart::round;
use crate::number;
use crate::panel;
use crate::text::{counted, escape, slug};

/// Most bytes of all patterns of one measurement in the page; as text they are a third more.
const MOST_BYTES: usize = 1_500_000;

/// Labels that fit along a side of the large map, and characters of each.
const MOST_LABELS: usize = 16;
const LABEL_CHARACTERS: usize = 6;

/// The section of all measurements that have patterns; nothing where none has.
pub(crate) fn section(view: &RunView) -> String {
    let told: String = view
        .observables
        .iter()
        .filter_map(|(name, observable)| Some(viewer(name, observable, &Patterns::of(observable, &view.checkpoints)?)))
        .collect();
    if told.is_empty() { told } else { format!("<section><h2>Attention patterns</h2>{told}</section>") }
}

/// The patterns of one measurement.
struct Patterns<'a> {
    /// The tokens of each prompt.
    prompts: Vec<Vec<String>>,
    heads: Vec<String>,
    /// Queries, and keys, of one pattern in the arrays.
    n: usize,
    /// Whether no token looks at a later one.
    is_causal: bool,
    steps: Vec<(u64, &'a RecordArray)>,
}

impl<'a> Patterns<'a> {
    /// `None` without patterns `[prompt, head, query, key]`.
    fn of(observable: &'a Observable, checkpoints: &[u64]) -> Option<Self> {
        let all_steps = panel::steps_of(observable, checkpoints);
        let found = observable.shown.get("pattern")?;
        let (_, first) = found.first()?;
        let labels = |array: &RecordArray, dim: &str| -> Vec<String> {
            array.coordinates.get(dim).into_iter().flatten().map(ToString::to_string).collect()
        };
        let [prompts, heads, queries] = ["prompt", "head", "query"].map(|dim| labels(first, dim));
        let n = queries.len();
        let is_whole = |array: &&RecordArray| {
            array.dims == ["prompt", "head", "query", "key"]
                && labels(array, "key").len() == n
                && labels(array, "prompt") == prompts
                && labels(array, "head") == heads
                && array.values.len() == prompts.len() * heads.len() * n * n
        };
        let step = |(at, array): &'a (usize, RecordArray)| Some((*all_steps.get(*at)?, array));
        let mut steps: Vec<(u64, &RecordArray)> =
            found.iter().filter_map(step).filter(|(_, array)| is_whole(array)).collect();
        steps.sort_by_key(|(step, _)| *step);
        let (_, last) = steps.last()?;
        // Behind the end of a prompt there are no numbers.
        let length = |prompt: usize| {
            let first = prompt * heads.len() * n * n;
            (0..n).take_while(|query| last.values[first + query * n].is_finite()).count()
        };
        let prompts: Vec<Vec<String>> =
            prompts.iter().enumerate().map(|(at, label)| tokens(label, length(at))).collect();
        if prompts.is_empty() || heads.is_empty() || prompts.iter().any(Vec::is_empty) {
            return None;
        }
        let is_later = |(at, value): (usize, &f64)| at % n > at / n % n && *value > 0.0;
        let is_causal = !steps.iter().any(|(_, array)| array.values.iter().enumerate().any(is_later));
        Some(Self { prompts, heads, n, is_causal, steps })
    }

    /// Numbers of one row that are kept, of a prompt of so many tokens.
    fn row(&self, query: usize, length: usize) -> usize {
        if self.is_causal { query + 1 } else { length }
    }

    /// Bytes of one checkpoint.
    fn n_bytes(&self) -> usize {
        let of_head =
            |tokens: &Vec<String>| (0..tokens.len()).map(|query| self.row(query, tokens.len())).sum::<usize>();
        self.prompts.iter().map(of_head).sum::<usize>() * self.heads.len()
    }

    /// The checkpoints that are in the page: all, or as many as there is room for, evenly spaced with the first and the last.
    fn chosen(&self) -> Vec<(u64, &'a RecordArray)> {
        let (n, room) = (self.steps.len(), (MOST_BYTES / self.n_bytes().max(1)).max(1));
        if n <= room {
            return self.steps.clone();
        }
        if room == 1 {
            return self.steps[n - 1..].to_vec();
        }
        (0..room).map(|at| self.steps[at * (n - 1) / (room - 1)]).collect()
    }

    /// The pattern of a head on a prompt, row after row, in 255ths.
    fn bytes(&self, array: &RecordArray, prompt: usize, head: usize) -> Vec<u8> {
        let length = self.prompts[prompt].len();
        let first = (prompt * self.heads.len() + head) * self.n * self.n;
        let row = |query: usize| &array.values[first + query * self.n..][..self.row(query, length)];
        (0..length).flat_map(row).map(|value| (255.0 * value.clamp(0.0, 1.0)).round() as u8).collect()
    }

    /// All patterns of a checkpoint: prompts, their heads, rows.
    fn all_bytes(&self, array: &RecordArray) -> Vec<u8> {
        let pairs = (0..self.prompts.len()).flat_map(|prompt| (0..self.heads.len()).map(move |head| (prompt, head)));
        pairs.flat_map(|(prompt, head)| self.bytes(array, prompt, head)).collect()
    }
}

/// The tokens that a label of a prompt lists; their places where it is no list of so many.
fn tokens(label: &str, n: usize) -> Vec<String> {
    let text = |value: serde_json::Value| match value {
        serde_json::Value::String(text) => text,
        other => other.to_string(),
    };
    let listed: Vec<serde_json::Value> = serde_json::from_str(label).unwrap_or_default();
    let listed: Vec<String> = listed.into_iter().map(text).collect();
    if listed.len() == n { listed } else { (0..n).map(|at| at.to_string()).collect() }
}

/// The block of one measurement.
fn viewer(name: &str, observable: &Observable, patterns: &Patterns<'_>) -> String {
    let chosen = patterns.chosen();
    let (last_step, last) = chosen[chosen.len() - 1];
    let id = format!("{}-patterns", slug(name));
    let join = |texts: Vec<String>| texts.join(",");
    let prompts = serde_json::json!(patterns.prompts).to_string();
    let mut html = format!(
        "<div class=\"viewer\" id=\"{id}\" data-prompts=\"{}\" data-steps=\"{}\" data-causal=\"{}\" data-patterns=\"{}\">",
        escape(&prompts),
        join(chosen.iter().map(|(step, _)| step.to_string()).collect()),
        patterns.is_causal,
        join(chosen.iter().map(|(_, array)| base64(&patterns.all_bytes(array))).collect()),
    );
    let _ = write!(
        html,
        "<h3>{}</h3><p class=\"note\">{}</p>",
        escape(name),
        escape(&words(observable, patterns, chosen.len()))
    );
    html.push_str(&controls(&id, patterns, chosen.len(), last_step));
    let length = patterns.prompts[0].len();
    html.push_str("<div class=\"heads\" role=\"group\" aria-label=\"heads\">");
    for (at, head) in patterns.heads.iter().enumerate() {
        let drawn = paths(&patterns.bytes(last, 0, at), length, patterns.is_causal);
        let _ = write!(
            html,
            "<button type=\"button\" aria-pressed=\"{}\"><svg class=\"cells\" viewBox=\"0 0 {length} {length}\" preserveAspectRatio=\"none\" aria-hidden=\"true\">{drawn}</svg>{}</button>",
            at == 0,
            escape(head)
        );
    }
    html.push_str("</div>");
    html.push_str(&large(patterns, &patterns.bytes(last, 0, 0)));
    html.push_str("</div>");
    html
}

/// What is shown, and what is left out.
fn words(observable: &Observable, patterns: &Patterns<'_>, n_chosen: usize) -> String {
    let mut words = format!(
        "{} Rows look at columns. Below the map are the tokens in the shades of what the chosen row looks at.",
        observable.description
    );
    let (n, first) = (patterns.steps.len(), patterns.steps.first().map_or(0, |(step, _)| *step));
    if n_chosen < n {
        let _ = write!(
            words,
            " The page has room for {} of the {}, spaced evenly from step {} on; all of them are in the run's folder.",
            number::count(n_chosen as u64),
            counted(n, "checkpoint"),
            number::count(first)
        );
    }
    words
}

/// Which prompt and which step: for the script.
fn controls(id: &str, patterns: &Patterns<'_>, n_steps: usize, last_step: u64) -> String {
    let mut html =
        format!("<div class=\"controls\"><label for=\"{id}-prompt\">prompt</label><select id=\"{id}-prompt\">");
    for (at, tokens) in patterns.prompts.iter().enumerate() {
        // Words that carry their spaces are a text; others are parted.
        let is_text =
            tokens.iter().any(|token| token.starts_with(' ')) || tokens.iter().all(|t| t.chars().count() == 1);
        let text: String = tokens.join(if is_text { "" } else { " " }).chars().take(60).collect();
        let _ = write!(html, "<option value=\"{at}\">{}: {}</option>", at + 1, escape(&text.replace('\n', "⏎")));
    }
    let _ = write!(
        html,
        "</select></span><span><label for=\"{id}-step\">step</label><input type=\"range\" id=\"{id}-step\" min=\"0\" max=\"{}\" value=\"{}\" aria-valuetext=\"step {}\"><output for=\"{id}-step\">{}</output></span></div>",
        n_steps - 1,
        n_steps - 1,
        number::count(last_step),
        number::count(last_step)
    );
    html
}

/// The large map of the first head on the first prompt, with its tokens along the sides and below.
fn large(patterns: &Patterns<'_>, bytes: &[u8]) -> String {
    let tokens = &patterns.prompts[0];
    let n = tokens.len();
    let ramp = (0..16).fold(String::new(), |ramp, level| ramp + &format!("<i class=\"h{level}\"></i>"));
    let mut html = format!(
        "<p class=\"legend\">attention 0 <span class=\"ramp\" aria-hidden=\"true\">{ramp}</span> 1, ¼ in the middle</p><div class=\"large\"><svg class=\"chart\" role=\"img\" aria-label=\"attention of {} at the last checkpoint\"><rect class=\"ground\" width=\"100%\" height=\"100%\"/><svg class=\"cells\" width=\"100%\" height=\"100%\" viewBox=\"0 0 {n} {n}\" preserveAspectRatio=\"none\">{}</svg><g class=\"labels\">{}</g></svg></div>",
        escape(&patterns.heads[0]),
        paths(bytes, n, patterns.is_causal),
        labels(tokens)
    );
    // From the last token.
    let first = bytes.len() - patterns.row(n - 1, n);
    html.push_str("<p class=\"reading\" aria-live=\"polite\"></p><p class=\"tokens\" tabindex=\"0\" role=\"group\" aria-label=\"tokens; left and right arrow keys choose the row\">");
    for (key, token) in tokens.iter().enumerate() {
        let level = level(bytes[first + key]);
        let chosen = if key == n - 1 { " chosen" } else { "" };
        let over = if level > 7 { " over" } else { "" };
        let _ = write!(html, "<span class=\"f{level}{over}{chosen}\">{}</span>", escape(&visible(token)));
    }
    html.push_str("</p>");
    html
}

/// A token whose spaces and ends of lines can be seen.
fn visible(token: &str) -> String {
    if token.is_empty() { "∅".to_owned() } else { token.replace(' ', "·").replace('\n', "⏎").replace('\t', "⇥") }
}

/// Along both sides, as many as fit.
fn labels(tokens: &[String]) -> String {
    let every = tokens.len().div_ceil(MOST_LABELS);
    let mut svg = String::new();
    for (at, token) in tokens.iter().enumerate().step_by(every) {
        let place = round(100.0 * (at as f64 + 0.5) / tokens.len() as f64);
        let mut label: String = visible(token);
        if label.chars().count() > LABEL_CHARACTERS {
            label = label.chars().take(LABEL_CHARACTERS - 1).chain(['…']).collect();
        }
        let label = escape(&label);
        let _ = write!(
            svg,
            "<text x=\"-7\" y=\"{place}%\" dy=\".35em\" text-anchor=\"end\">{label}</text><svg x=\"{place}%\" y=\"100%\"><text transform=\"rotate(-90)\" x=\"-7\" dy=\".35em\" text-anchor=\"end\">{label}</text></svg>"
        );
    }
    svg
}

/// Cells as one path for each of the sixteen colours but the palest, which is the ground; equal neighbours of a row are one rectangle.
fn paths(bytes: &[u8], n: usize, is_causal: bool) -> String {
    let mut paths = vec![String::new(); 16];
    let mut rest = bytes;
    for row in 0..n {
        let (own, after) = rest.split_at(if is_causal { row + 1 } else { n });
        rest = after;
        let mut column = 0;
        for same in own.chunk_by(|&a, &b| level(a) == level(b)) {
            let _ = write!(paths[level(same[0])], "M{column} {row}h{}v1H{column}z", same.len());
            column += same.len();
        }
    }
    let path = |(level, d): (usize, &String)| format!("<path class=\"h{level}\" d=\"{d}\"/>");
    paths.iter().enumerate().skip(1).filter(|(_, d)| !d.is_empty()).map(path).collect()
}

/// The colour of a number of 255ths, by its square root: attention that is spread over many tokens is to be seen.
fn level(byte: u8) -> usize {
    ((16.0 * (f64::from(byte) / 255.0).sqrt()) as usize).min(15)
}

/// RFC 4648, with padding.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let word = group.iter().chain(&[0, 0]).take(3).fold(0_u32, |word, &byte| word << 8 | u32::from(byte));
        for at in 0..4 {
            let letter = LETTERS[(word >> (18 - 6 * at) & 63) as usize];
            text.push(if at <= group.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::report;
    use crate::sample;

    #[test]
    fn bytes_are_written_as_the_standard_says() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
        assert_eq!(base64(&[255, 254, 0]), "//4A");
    }

    #[test]
    fn tokens_are_those_of_the_label_or_places() {
        assert_eq!(tokens("[\"a\",\" b\"]", 2), ["a", " b"]);
        assert_eq!(tokens("[4,1]", 2), ["4", "1"]);
        assert_eq!(tokens("some text", 2), ["0", "1"]);
        assert_eq!((visible(" a\n"), visible("")), ("·a⏎".to_owned(), "∅".to_owned()));
    }

    #[test]
    fn cells_are_those_of_the_pattern() {
        // Of two tokens: 1; a half each, of which the root is 0.71.
        let drawn = paths(&[255, 128, 128], 2, true);
        assert_eq!(drawn, "<path class=\"h11\" d=\"M0 1h2v1H0z\"/><path class=\"h15\" d=\"M0 0h1v1H0z\"/>");
        assert_eq!(paths(&[0, 0, 0], 2, true), "");
        assert_eq!([0, 1, 64, 255].map(level), [0, 1, 8, 15]);
    }

    #[test]
    fn long_series_are_thinned_and_told() {
        let mut view = sample::grokking(40, 0);
        sample::add_attention(&mut view, 3, 40, 8);
        let patterns = Patterns::of(&view.observables["attention"], &view.checkpoints).unwrap();
        assert!(patterns.is_causal);
        // Three prompts of 40, 39 and 38 tokens, eight heads, lower triangles.
        assert_eq!(patterns.n_bytes(), 8 * (820 + 780 + 741));
        assert_eq!(patterns.chosen().len(), 40);
        let array = patterns.steps[0].1;
        assert_eq!(patterns.all_bytes(array).len(), patterns.n_bytes());
        // Without room for all: the first, the last, and what fits between.
        sample::add_attention(&mut view, 3, 64, 16);
        let patterns = Patterns::of(&view.observables["attention"], &view.checkpoints).unwrap();
        let chosen = patterns.chosen();
        assert_eq!(chosen.len(), MOST_BYTES / patterns.n_bytes());
        assert_eq!((chosen[0].0, chosen.last().unwrap().0), (view.checkpoints[0], *view.checkpoints.last().unwrap()));
        assert!(chosen.windows(2).all(|pair| pair[0].0 < pair[1].0));
        let page = report(&view);
        assert!(page.contains(&format!("room for {} of the 40 checkpoints", chosen.len())), "told");
        assert!(page.len() < 4_500_000, "{}", page.len());
    }

    #[test]
    fn hostile_tokens_stay_text() {
        let mut view = sample::grokking(4, 0);
        sample::add_attention(&mut view, 1, 2, 2);
        let own = view.observables.get_mut("attention").unwrap();
        for (_, array) in own.shown.get_mut("pattern").unwrap() {
            let label = "[\"</script><script>alert(1)</script>\",\"' onload='x\"]".to_owned();
            array.coordinates.insert("prompt".to_owned(), vec![ontogeny_store::Coordinate::Text(label)]);
        }
        let page = report(&view);
        assert_eq!(page.matches("<script").count(), 1);
        assert!(!page.contains("alert(1)</script>") && !page.contains("' onload"));
        assert!(page.contains("&lt;/script&gt;"));
    }
}
