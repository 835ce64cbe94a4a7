//! `ontogeny examples` and `ontogeny compare`: single examples of a run's task, with their text.

use ontogeny_study::{Comparison, LookAt, OpenedRun, PartExamples, TokenChange};

use super::CommandError;
use crate::cli::{CompareArgs, ExamplesArgs, LookArgs, exit};
use crate::terminal::{grouped, harmless, number, print, say};

/// Tokens that are shown before and behind the one that is meant.
const AROUND: usize = 12;

pub(crate) fn examples(args: &ExamplesArgs) -> Result<u8, CommandError> {
    let run = OpenedRun::open(&args.dir)?;
    let found = run.top_examples(&args.parts, &at(&args.look, args.step))?;
    if args.look.json {
        print(&serde_json::to_string(&found)?);
        return Ok(exit::DONE);
    }
    for PartExamples { part, examples } in &found {
        print(part);
        for shown in examples {
            let text = window(&shown.tokens, shown.top.position);
            print(&format!("  {:>9}  example {:<6} {text}", number(shown.top.activation), shown.top.example));
        }
    }
    Ok(exit::DONE)
}

pub(crate) fn compare(args: &CompareArgs) -> Result<u8, CommandError> {
    let first = OpenedRun::open(&args.dir)?;
    let second = args.with.as_ref().map(OpenedRun::open).transpose()?;
    if second.is_none() && args.step.is_none() && args.with_step.is_none() {
        let message = "expected two checkpoints: --step and --with-step of one run, or another run by --with";
        return Err(CommandError::Arguments(message.to_owned()));
    }
    let other = second.as_ref().unwrap_or(&first);
    let found = first.compare(other, &at(&args.look, args.step), args.with_step)?;
    if args.look.json {
        print(&serde_json::to_string(&found)?);
    } else {
        tell(&found);
    }
    Ok(exit::DONE)
}

fn tell(found: &Comparison) {
    let [before, after] = found.steps.map(|step| grouped(step as f64));
    print(&format!(
        "log-probability of the right answer at step {after} minus step {before}: {} ± {} nats, higher for {:.0} %",
        number(found.mean),
        number(1.96 * found.standard_error),
        100.0 * found.share_higher
    ));
    for (heading, changes) in [("largest rises", &found.rises), ("largest falls", &found.falls)] {
        if changes.is_empty() {
            continue;
        }
        print(heading);
        for change in changes {
            print(&format!("  {:>8}  {}", signed(change.after - change.before), line(change)));
        }
    }
    say(&format!(
        "{} answers in {} examples of the split `{}`",
        grouped(found.answers as f64),
        grouped(found.examples as f64),
        found.split
    ));
}

fn line(change: &TokenChange) -> String {
    let values = format!("{} → {}", number(change.before), number(change.after));
    format!("{values:<20} example {:<6} {}", change.example, window(&change.tokens, change.position))
}

fn signed(value: f64) -> String {
    if value > 0.0 { format!("+{}", number(value)) } else { number(value) }
}

/// The tokens around a position, which stands between ⟦ and ⟧; from the first where there is none.
fn window(tokens: &[String], position: Option<usize>) -> String {
    // Numbers need a space between them; pieces of text bring their own.
    let has_ids = tokens.iter().all(|token| token.bytes().all(|byte| byte.is_ascii_digit()));
    let between = if has_ids { " " } else { "" };
    let middle = position.unwrap_or(0).min(tokens.len());
    let (from, to) = (middle.saturating_sub(AROUND), (middle + AROUND + 1).min(tokens.len()));
    let shown = tokens[from..to].iter().enumerate().map(|(at, token)| {
        let token = harmless(token);
        if position == Some(from + at) { format!("⟦{token}⟧") } else { token.into_owned() }
    });
    let text = shown.collect::<Vec<_>>().join(between).replace(['\n', '\r', '\t'], "⏎");
    format!("{}{text}{}", if from > 0 { "…" } else { "" }, if to < tokens.len() { "…" } else { "" })
}

fn at(look: &LookArgs, step: Option<u64>) -> LookAt {
    LookAt { step, split: look.split.clone(), examples: look.examples, top: look.top }
}
