//! One sentence made from the numbers of a run.

use ontogeny_store::{RunView, Status, Transition};

use crate::chart;
use crate::number;
use crate::panel::{Series, series_of};
use crate::table;
use crate::text::{counted, list, unit_suffix};

/// Transitions that fit into a sentence.
const MOST_TOLD: usize = 3;

/// What happened in the run, in one sentence of plain text.
pub(crate) fn sentence(view: &RunView) -> String {
    let Some(last) = view.checkpoints.iter().max() else {
        return "This run holds no checkpoint yet.".to_owned();
    };
    let mut parts = vec![match view.checkpoints.len() {
        1 => format!(
            "The run holds one checkpoint, at step {}, so that nothing can be said of its development",
            number::count(*last)
        ),
        n => format!(
            "Over {} and {} the run {}",
            counted(*last as usize, "step"),
            counted(n, "checkpoint"),
            passed(&view.transitions)
        ),
    }];
    match view.stages.len() {
        0 => {}
        1 => parts.push("one boundary divides it into 2 stages".to_owned()),
        n => parts.push(format!("{n} boundaries divide it into {} stages", n + 1)),
    }
    parts.extend(outcomes(view));
    parts.extend(refused(view));
    format!("{}.", parts.join("; "))
}

fn passed(transitions: &[Transition]) -> String {
    if transitions.is_empty() {
        return "has no recorded transition".to_owned();
    }
    // Those with a name say most; without any, the earliest speak.
    let any_named = transitions.iter().any(|t| t.label.is_some());
    let worth_telling = transitions.iter().filter(|t| t.label.is_some() || !any_named);
    let told: Vec<String> = worth_telling.take(MOST_TOLD).map(in_words).collect();
    let lead = if told.len() < transitions.len() { ", among them " } else { ": " };
    format!("passed {}{lead}{}", counted(transitions.len(), "transition"), list(&told))
}

/// `grokking (loss.test) at step 1,900 [1,800, 2,000]`.
fn in_words(t: &Transition) -> String {
    let name = match &t.label {
        Some(_) => format!("{} ({})", chart::transition_name(t), t.observable),
        None => format!("one in {}", t.observable),
    };
    format!("{name} at step {} [{}, {}]", number::step(t.step), number::step(t.lower), number::step(t.upper))
}

/// Where accuracy and the learning coefficient ended.
fn outcomes(view: &RunView) -> Vec<String> {
    let mut outcomes = Vec::new();
    if let Some(accuracy) = view.observables.values().find(|o| o.kind == "accuracy") {
        let ends: Vec<String> = series_of("", accuracy, &view.checkpoints)
            .iter()
            .filter_map(|s| s.last().map(|(_, v)| format!("{:.1} % on {}", 100.0 * v, s.label)))
            .collect();
        if !ends.is_empty() {
            outcomes.push(format!("accuracy ended at {}", list(&ends)));
        }
    }
    // The unrestricted coefficient, under whatever name it was measured.
    let full = view.observables.iter().filter(|(_, o)| o.kind == "llc").find_map(|(name, o)| {
        let series = series_of(name, o, &view.checkpoints).into_iter().find(|s| s.label == "full")?;
        Some((series, o.unit.clone()))
    });
    outcomes.extend(full.and_then(|(series, unit)| ended(&series, &unit)));
    outcomes
}

fn ended(llc: &Series, unit: &str) -> Option<String> {
    let (last, end) = llc.last()?;
    let estimate = |value, se| format!("{}{}", number::estimate(value, se), unit_suffix(unit));
    let (highest, peak) = llc.measured().max_by(|a, b| a.1.total_cmp(&b.1))?;
    let peak_words = if highest.step == last.step {
        String::new()
    } else {
        format!(" after a peak of {} at step {}", estimate(peak, highest.standard_error), number::step(highest.step))
    };
    Some(format!(
        "the learning coefficient was {} at step {}{peak_words}",
        estimate(end, last.standard_error),
        number::step(last.step)
    ))
}

fn refused(view: &RunView) -> Option<String> {
    let estimated = view.observables.values().filter(|o| table::is_estimated(o));
    let estimates: Vec<&Status> = estimated.flat_map(|o| &o.status).filter(|s| **s != Status::Missing).collect();
    let n_refused = estimates.iter().filter(|s| matches!(s, Status::Refused { .. })).count();
    let verb = if n_refused == 1 { "was" } else { "were" };
    (n_refused > 0).then(|| {
        format!("{} of {} {verb} refused", number::count(n_refused as u64), counted(estimates.len(), "estimate"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn the_sentence_is_right_in_every_case() {
        let mut view = sample::grokking(24, 1);
        let full = sentence(&view);
        assert!(full.starts_with(
            "Over 3,000 steps and 24 checkpoints the run passed 4 transitions, among them memorisation (loss.train) at step 90 [80, 105] and grokking (loss.test) at step 1,900 [1,800, 2,000]; 3 boundaries divide it into 4 stages; accuracy ended at 100.0 % on train and "
        ), "{full}");
        assert!(full.contains("; the learning coefficient was ") && full.contains(" after a peak of "), "{full}");
        assert!(full.ends_with("; 2 of 96 estimates were refused."), "{full}");

        view.transitions.truncate(1);
        view.stages.clear();
        assert!(
            sentence(&view).contains("the run passed 1 transition: memorisation (loss.train) at step 90 [80, 105];")
        );
        view.transitions[0].label = None;
        assert!(sentence(&view).contains("the run passed 1 transition: one in loss.train at step 90 [80, 105];"));
        view.transitions.clear();
        assert!(
            sentence(&view).starts_with("Over 3,000 steps and 24 checkpoints the run has no recorded transition; ")
        );
        view.observables.clear();
        assert_eq!(sentence(&view), "Over 3,000 steps and 24 checkpoints the run has no recorded transition.");
        view.checkpoints.truncate(1);
        assert_eq!(
            sentence(&view),
            "The run holds one checkpoint, at step 0, so that nothing can be said of its development."
        );
        view.checkpoints.clear();
        assert_eq!(sentence(&view), "This run holds no checkpoint yet.");
    }

    #[test]
    fn a_coefficient_refused_throughout_is_not_quoted() {
        let view = sample::grokking(4, 4);
        let sentence = sentence(&view);
        assert!(
            !sentence.contains("learning coefficient") && sentence.contains("8 of 16 estimates were refused"),
            "{sentence}"
        );
    }
}
