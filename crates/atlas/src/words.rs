//! Numbers and verdicts in a sentence.

use std::fmt::Write as _;

use ontogeny_store::{JudgedAttack, JudgedHypothesis, Judgement};

/// The answer to the question, from the first hypothesis: what was found, how surely, what else.
pub(crate) fn answer(hypotheses: &[JudgedHypothesis], attacks: &[JudgedAttack], confirmatory: bool) -> String {
    let Some(first) = hypotheses.first() else { return String::new() };
    let n = first.values.iter().filter(|unit| unit.value.is_some()).count();
    let kind = if confirmatory { "confirmatory" } else { "exploratory" };
    let mut sentence = format!("{} ({kind}, {n} {}): ", word(first.outcome), if n == 1 { "unit" } else { "units" });
    sentence.push_str(&found(first));
    let (mut survived, mut fell) = (0, 0);
    for attack in attacks.iter().filter(|attack| attack.hypothesis == first.id) {
        survived += usize::from(attack.survived == Some(true));
        fell += usize::from(attack.survived == Some(false));
    }
    let is_counted = |attack: &&JudgedAttack| {
        attack.hypothesis == first.id && (first.outcome == Judgement::Supported || attack.expect == "holds")
    };
    let n_attacks = attacks.iter().filter(is_counted).count();
    match first.outcome {
        Judgement::Supported if n_attacks > 0 => {
            let _ = write!(sentence, "; {survived} of {n_attacks} attacks survived");
            if fell > 0 {
                let _ = write!(sentence, ", {fell} brought it down");
            }
        }
        Judgement::Refuted if n_attacks > 0 => {
            let _ = write!(sentence, "; refuted again in {survived} of {n_attacks} attacks");
            if fell > 0 {
                let _ = write!(sentence, ", supported in {fell}");
            }
        }
        _ => {}
    }
    let others: Vec<String> = [Judgement::Supported, Judgement::Refuted, Judgement::Undecided]
        .into_iter()
        .filter_map(|outcome| {
            let others = || hypotheses.iter().skip(1).filter(|h| h.outcome == outcome);
            let fell = |h: &&JudgedHypothesis| {
                attacks.iter().any(|attack| attack.hypothesis == h.id && attack.survived == Some(false))
            };
            let (count, n_fallen) = (others().count(), others().filter(fell).count());
            let fallen = if n_fallen > 0 { format!(" ({n_fallen} fell in an attack)") } else { String::new() };
            (count > 0).then(|| format!("{count} {}{fallen}", word(outcome).to_lowercase()))
        })
        .collect();
    if !others.is_empty() {
        let _ = write!(sentence, "; of the other hypotheses {}", others.join(", "));
    }
    sentence.push('.');
    sentence
}

/// The quantity with its interval, beside what was asked for.
pub(crate) fn found(h: &JudgedHypothesis) -> String {
    let unit = if h.unit == "1" { String::new() } else { format!(" {}", h.unit) };
    let Some(effect) = &h.effect else {
        return format!("{}: no estimate ({})", h.quantity, h.why.as_deref().unwrap_or("no data"));
    };
    let end = |value: Option<f64>, open: &str| value.map_or_else(|| open.to_owned(), number);
    let wanted = match h.direction.as_str() {
        "within" => format!("within ±{} of {} asked for", number(h.smallest_effect), number(h.no_effect)),
        "less" => format!("at most {} asked for", number(h.no_effect - h.smallest_effect)),
        "either" => format!("{} away from {} asked for", number(h.smallest_effect), number(h.no_effect)),
        _ => format!("at least {} asked for", number(h.no_effect + h.smallest_effect)),
    };
    format!(
        "{} {}{unit} [{}, {}], {wanted}",
        h.quantity,
        number(effect.estimate),
        end(effect.lower, "−∞"),
        end(effect.upper, "∞")
    )
}

/// The word of a verdict at the beginning of a sentence.
pub(crate) fn word(outcome: Judgement) -> &'static str {
    match outcome {
        Judgement::Supported => "Supported",
        Judgement::Refuted => "Refuted",
        Judgement::Undecided => "Undecided",
    }
}

/// Three significant digits.
pub(crate) fn number(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return if value == 0.0 { "0".to_owned() } else { value.to_string() };
    }
    let magnitude = value.abs().log10().floor();
    let text = if !(-4.0..6.0).contains(&magnitude) {
        format!("{value:.2e}")
    } else if magnitude >= 3.0 {
        let rounded = value.abs().round();
        let grouped = grouped(rounded as usize);
        if value < 0.0 { format!("-{grouped}") } else { grouped }
    } else {
        let digits = (2.0 - magnitude).max(0.0) as usize;
        let text = format!("{value:.digits$}");
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
    };
    text.replace('-', "−")
}

/// Thousands set apart.
pub(crate) fn grouped(n: usize) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits() {
        for (value, text) in [
            (0.0, "0"),
            (0.012_345, "0.0123"),
            (1.0, "1"),
            (12.345, "12.3"),
            (123.4, "123"),
            (12_345.6, "12,346"),
            (-0.5, "−0.5"),
            (-1234.0, "−1,234"),
            (1.5e-7, "1.50e−7"),
            (99.96, "100"),
        ] {
            assert_eq!(number(value), text, "{value}");
        }
    }
}
