//! Verdicts, intervals, claims and times in words.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use ontogeny_store::{JudgedAttack, JudgedHypothesis, Judgement, StudyEffect, StudyVerdict, UnitValue};

use super::drawable;
use crate::number;
use crate::text::{counted, escape, unit_suffix};

/// `supported`.
pub(super) fn word(outcome: Judgement) -> &'static str {
    match outcome {
        Judgement::Supported => "supported",
        Judgement::Refuted => "refuted",
        Judgement::Undecided => "undecided",
    }
}

/// The word of a verdict with a disc that is full, empty or half: it does not speak by colour alone.
pub(super) fn chip(outcome: Option<Judgement>) -> String {
    let word = outcome.map_or("not run", word);
    let class = outcome.map_or("open", self::word);
    format!("<span class=\"chip {class}\">{word}</span>")
}

/// What became of an attack, as [`chip`].
pub(super) fn attack_chip(verdict: &StudyVerdict, attack: &JudgedAttack) -> String {
    let class = match attack.survived {
        Some(true) => "supported",
        Some(false) => "refuted",
        None => "undecided",
    };
    format!("<span class=\"chip {class}\">{}</span>", attack_word(verdict, attack))
}

/// What became of an attack: of a supported claim it survives or falls, of a refuted one it is refuted again or not.
pub(super) fn attack_word(verdict: &StudyVerdict, attack: &JudgedAttack) -> &'static str {
    match (attacked(verdict, attack), attack.survived) {
        (Some(Judgement::Refuted), Some(true)) => "refuted again",
        (Some(Judgement::Refuted), Some(false)) => "not refuted",
        (Some(Judgement::Undecided), _) => "nothing to lose",
        (Some(Judgement::Refuted), None) if attack.expect == "vanishes" => "nothing to lose",
        (_, Some(true)) => "survived",
        (_, Some(false)) => "fell",
        (_, None) => "could not tell",
    }
}

/// What an attack must find, in words that follow on "survives if"; a refuted claim survives as such.
pub(super) fn expectation(verdict: &StudyVerdict, attack: &JudgedAttack) -> String {
    match (attacked(verdict, attack), attack.expect.as_str()) {
        (Some(Judgement::Refuted), "holds") => "it is refuted again".to_owned(),
        (_, "holds") => "the effect is still there".to_owned(),
        (_, "vanishes") => "the effect is gone".to_owned(),
        (_, other) => other.to_owned(),
    }
}

/// Verdict of the claim that an attack is made on.
fn attacked(verdict: &StudyVerdict, attack: &JudgedAttack) -> Option<Judgement> {
    verdict.hypotheses.iter().find(|claim| claim.id == attack.hypothesis).map(|claim| claim.outcome)
}

/// `[0.2, 0.4]`, and `[0.2, ∞)` where the data do not bound an end.
pub(super) fn interval(ends: [Option<f64>; 2]) -> String {
    let [lower, upper] = ends.map(|end| end.and_then(drawable));
    let lower = lower.map_or_else(|| "(\u{2212}∞".to_owned(), |x| format!("[{}", short(x)));
    let upper = upper.map_or_else(|| "∞)".to_owned(), |x| format!("{}]", short(x)));
    format!("{lower}, {upper}")
}

/// `0.31 [0.22, 0.41] nats`; `None` where nothing could be estimated.
pub(super) fn effect(hypothesis: &JudgedHypothesis) -> Option<String> {
    let found = hypothesis.effect.as_ref()?;
    let estimate = drawable(found.estimate)?;
    let unit = unit_suffix(effect_unit(hypothesis));
    Some(format!("{} {}{unit}", short(estimate), interval([found.lower, found.upper])))
}

/// Longer words get places to break, so many characters apart.
const LONG_WORD: usize = 16;
const SYLLABLE: usize = 6;

/// Escaped, for a narrow cell: only words that are too long for it may break inside.
pub(super) fn loose(text: &str) -> String {
    let mut broken = String::with_capacity(text.len());
    for piece in text.split_inclusive(char::is_whitespace) {
        let characters: Vec<char> = piece.chars().collect();
        if characters.len() <= LONG_WORD {
            broken.push_str(&escape(piece));
            continue;
        }
        for part in characters.chunks(SYLLABLE) {
            broken.push_str(&escape(&part.iter().collect::<String>()));
            broken.push_str("<wbr>");
        }
    }
    broken
}

/// [`loose`], and no number breaks at its power of ten.
pub(super) fn unbroken(text: &str) -> String {
    loose(text).replace(" × ", "\u{a0}×\u{a0}").replace(" ± ", "\u{a0}± ")
}

/// A number to three significant digits.
pub(super) fn short(x: f64) -> String {
    number::significant(x, 3)
}

/// A number, or a dash where there is none.
pub(super) fn or_dash(x: Option<f64>, words: impl Fn(f64) -> String) -> String {
    x.and_then(drawable).map_or_else(|| "–".to_owned(), words)
}

/// `greater than 0, by at least 0.1 nats`, `within 0 ± 0.1 nats`.
pub(super) fn claimed(hypothesis: &JudgedHypothesis) -> String {
    let no_effect = or_dash(Some(hypothesis.no_effect), short);
    let unit = unit_suffix(effect_unit(hypothesis));
    let least = or_dash(Some(hypothesis.smallest_effect), short);
    match hypothesis.direction.as_str() {
        "greater" | "less" => format!("{} than {no_effect}, by at least {least}{unit}", hypothesis.direction),
        "either" => format!("other than {no_effect}, by at least {least}{unit}"),
        "within" => format!("within {no_effect} ± {least}{unit}"),
        other => format!("{other}; no effect at {no_effect}, smallest effect {least}{unit}"),
    }
}

/// Whether the values of units lie on the scale of the effect, so that one axis holds both.
///
/// A correlation, a trend or a difference of two samples is a property of all units together.
pub(super) fn shares_scale(hypothesis: &JudgedHypothesis) -> bool {
    const OF_ALL: [&str; 6] = ["welch", "rank_sum", "spearman", "kendall", "page", "prediction"];
    hypothesis.values.iter().all(|unit| unit.x.is_none()) && !OF_ALL.contains(&hypothesis.test.as_str())
}

/// Unit of the effect: that of the values where they share a scale or the effect is a shift of them; else not known.
pub(super) fn effect_unit(hypothesis: &JudgedHypothesis) -> &str {
    let is_shift = ["welch", "rank_sum"].contains(&hypothesis.test.as_str());
    if shares_scale(hypothesis) || is_shift { &hypothesis.unit } else { "" }
}

/// The units with a value.
pub(super) fn n_defined(hypothesis: &JudgedHypothesis) -> usize {
    hypothesis.values.iter().filter(|unit| unit.value.and_then(drawable).is_some()).count()
}

/// Units named with one reason in a sentence; the table of values has all.
const MOST_NAMED: usize = 12;

/// The units without a value, by reason: `2 of 12 units have no value: seed=1, seed=3 (no transition).`
pub(super) fn undefined(hypothesis: &JudgedHypothesis) -> Option<String> {
    undefined_words(hypothesis, |reason, units| {
        let rest = units.len().saturating_sub(MOST_NAMED);
        let more = if rest > 0 { format!(" and {rest} more, in the table of values") } else { String::new() };
        format!("{}{more} ({reason})", units[..units.len() - rest].join(", "))
    })
}

/// [`undefined`] without their names: `2 of 12 units have no value: no transition (2).`
pub(super) fn undefined_in_short(hypothesis: &JudgedHypothesis) -> Option<String> {
    undefined_words(hypothesis, |reason, units| format!("{reason} ({})", units.len()))
}

fn undefined_words(hypothesis: &JudgedHypothesis, words: impl Fn(&str, &[&str]) -> String) -> Option<String> {
    let mut by_reason: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for unit in hypothesis.values.iter().filter(|unit| unit.value.and_then(drawable).is_none()) {
        by_reason.entry(reason(unit)).or_default().push(&unit.unit);
    }
    if by_reason.is_empty() {
        return None;
    }
    let n: usize = by_reason.values().map(Vec::len).sum();
    let parts: Vec<String> = by_reason.iter().map(|(reason, units)| words(reason, units)).collect();
    let verb = if n == 1 { "has" } else { "have" };
    Some(format!("{n} of {} {verb} no value: {}.", counted(hypothesis.values.len(), "unit"), parts.join("; ")))
}

/// Why a unit has no value.
pub(super) fn reason(unit: &UnitValue) -> &str {
    match (&unit.why, unit.value) {
        (Some(why), _) => why,
        (None, Some(_)) => "the value is not finite",
        (None, None) => "no reason is given",
    }
}

/// The ends of an effect's interval.
pub(super) fn ends(effect: &StudyEffect) -> [Option<f64>; 2] {
    [effect.lower, effect.upper].map(|end| end.and_then(drawable))
}

/// `12 seeds`, of all runs.
pub(super) fn seeds(verdict: &StudyVerdict) -> usize {
    let mut seeds: Vec<u32> = verdict.runs.iter().map(|run| run.seed).collect();
    seeds.sort_unstable();
    seeds.dedup();
    seeds.len()
}

/// `confirmatory`, or `exploratory`.
pub(super) fn kind(verdict: &StudyVerdict) -> &'static str {
    if verdict.confirmatory { "confirmatory" } else { "exploratory" }
}

/// `3 h 12 min`, `41 s`, `0.3 s`.
pub(super) fn duration(seconds: f64) -> String {
    let Some(seconds) = drawable(seconds).filter(|s| *s >= 0.0) else { return "–".to_owned() };
    if seconds < 9.95 {
        return format!("{} s", number::significant(seconds, 2));
    }
    let whole = seconds.round() as u64;
    let (hours, minutes) = (whole / 3600, whole / 60 % 60);
    match (hours, minutes, whole % 60) {
        (0, 0, s) => format!("{s} s"),
        (0, m, 0) => format!("{m} min"),
        (0, m, s) if m < 10 => format!("{m} min {s} s"),
        (0, m, _) => format!("{m} min"),
        (h, 0, _) => format!("{} h", number::count(h)),
        (h, m, _) if h < 100 => format!("{h} h {m} min"),
        (h, ..) => format!("{} h", number::count(h)),
    }
}

/// Unix seconds as ISO 8601 in UTC: `2026-11-29T16:50:47Z`.
pub(super) fn time(unix: u64) -> String {
    let (days, second) = (unix / 86_400, unix % 86_400);
    // Civil date from days, by eras of 400 years that begin in March (Hinnant 2021).
    let day = days + 719_468;
    let (era, of_era) = (day / 146_097, day % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{:02}T{:02}:{:02}:{:02}Z",
        of_year - (153 * shifted + 2) / 5 + 1,
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

/// A relative address whose every part is a name: nothing in it can end the attribute or begin a scheme.
pub(super) fn address(path: &str) -> String {
    let mut encoded = String::with_capacity(path.len());
    for byte in path.trim_start_matches('/').bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte) {
            encoded.push(byte as char);
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// Code in the running text, that may break after its operators and dots.
pub(super) fn code(text: &str) -> String {
    let mut broken = String::from("<code>");
    for piece in escape(text).split_inclusive(['(', '.', '_', ',', '/']) {
        broken.push_str(piece);
        broken.push_str("<wbr>");
    }
    broken.push_str("</code>");
    broken
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    /// Attacks are told as what they are to the verdict on their claim.
    #[test]
    fn attacks_are_told_by_the_verdict_on_the_claim() {
        let mut study = sample::study();
        let id = study.attacks[0].hypothesis.clone();
        let mut told = |outcome: Judgement| -> Vec<(&'static str, String)> {
            study.hypotheses.iter_mut().filter(|h| h.id == id).for_each(|h| h.outcome = outcome);
            study.attacks.iter().take(2).map(|a| (attack_word(&study, a), expectation(&study, a))).collect()
        };
        let [gone, there] = ["the effect is gone", "the effect is still there"].map(str::to_owned);
        assert_eq!(told(Judgement::Supported), [("survived", there.clone()), ("survived", gone.clone())]);
        assert_eq!(told(Judgement::Undecided)[0], ("nothing to lose", there));
        assert_eq!(told(Judgement::Refuted)[0], ("refuted again", "it is refuted again".to_owned()));
        study.attacks[1].survived = None;
        assert_eq!(attack_word(&study, &study.attacks[1]), "nothing to lose", "a control of a refuted claim");
    }

    #[test]
    fn times_are_civil_dates_in_utc() {
        let cases = [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_799, "2000-02-29T23:59:59Z"),
            (1_000_000_000, "2001-09-09T01:46:40Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ];
        for (unix, expected) in cases {
            assert_eq!(time(unix), expected);
        }
        assert!(time(u64::MAX).ends_with('Z'));
    }

    #[test]
    fn durations_have_two_parts_at_most() {
        let cases = [
            (0.0, "0 s"),
            (0.31, "0.31 s"),
            (41.4, "41 s"),
            (60.0, "1 min"),
            (200.0, "3 min 20 s"),
            (3599.0, "59 min"),
            (11_530.0, "3 h 12 min"),
            (7200.0, "2 h"),
            (3.6e6, "1,000 h"),
            (f64::NAN, "–"),
            (-1.0, "–"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(duration(seconds), expected);
        }
    }

    #[test]
    fn open_ends_and_absent_estimates_are_said() {
        assert_eq!(interval([Some(0.2), Some(0.4)]), "[0.2, 0.4]");
        assert_eq!(interval([None, Some(-0.4)]), "(−∞, −0.4]");
        assert_eq!(interval([Some(f64::NAN), Some(f64::INFINITY)]), "(−∞, ∞)");
        let study = sample::study();
        let found: Vec<Option<String>> = study.hypotheses.iter().map(effect).collect();
        assert_eq!(found[0].as_deref(), Some("0.31 [0.224, 0.405] nats of step"));
        assert_eq!(found[1].as_deref(), Some("2.4 [0.6, ∞)"));
        assert_eq!(found[3].as_deref(), Some("−0.82 [−0.93, −0.58]"), "a correlation has no unit of the values");
        assert_eq!(found[4], None);
        let claims: Vec<String> = study.hypotheses.iter().map(claimed).collect();
        assert_eq!(claims[0], "greater than 0, by at least 0.1 nats of step");
        assert_eq!(claims[2], "within 0 ± 2 × 10⁻⁵ nats");
        assert_eq!(claims[4], "other than 0, by at least 5");
    }

    #[test]
    fn units_without_a_value_are_named_with_the_reason() {
        let study = sample::study();
        assert_eq!(undefined(&study.hypotheses[2]), None);
        assert_eq!(
            undefined(&study.hypotheses[3]).unwrap(),
            "1 of 24 units has no value: decay=1,seed=1 (loss.test has no transition)."
        );
        let mut many = study.hypotheses[0].clone();
        many.values.iter_mut().for_each(|unit| (unit.value, unit.why) = (Some(f64::NAN), None));
        many.values.extend(many.values.clone());
        let words = undefined(&many).unwrap();
        assert!(words.starts_with("24 of 24 units have no value: seed=3735928559, "), "{words}");
        assert!(words.ends_with(" and 12 more, in the table of values (the value is not finite)."), "{words}");
    }

    #[test]
    fn only_words_that_are_too_long_break() {
        assert_eq!(loose("rank sum & co"), "rank sum &amp; co");
        assert_eq!(loose("a abcdefghijklmnopqr"), "a abcdef<wbr>ghijkl<wbr>mnopqr<wbr>");
        assert_eq!(unbroken("2 × 10⁻⁵ nats"), "2\u{a0}×\u{a0}10⁻⁵ nats");
    }

    #[test]
    fn addresses_stay_relative() {
        assert_eq!(address("runs/a b-1/report.html"), "runs/a%20b-1/report.html");
        assert_eq!(address("javascript:alert(1)"), "javascript%3Aalert%281%29");
        assert_eq!(address("//evil.example/\"x"), "evil.example/%22x");
    }
}
