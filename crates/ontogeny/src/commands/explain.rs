//! `ontogeny explain`: the parts of a network that are responsible for a transition or an answer, with the evidence.

use comfy_table::{CellAlignment, Table, presets};
use ontogeny_observe::interventions::Effect;
use ontogeny_study::{ExplainSettings, Explanation, OpenedRun, PartExplanation, Question};

use super::CommandError;
use super::run::set_on_interrupt;
use crate::cli::{ExplainArgs, exit};
use crate::terminal::{grouped, number, print, say};

/// Parts that are shown at least, responsible or not.
const FEWEST_ROWS: usize = 10;

pub(crate) fn explain(args: &ExplainArgs) -> Result<u8, CommandError> {
    let run = OpenedRun::open(&args.dir)?;
    let question = match (args.transition, &args.behaviour) {
        (Some(number), None) => Question::Transition(number),
        (None, Some(behaviour)) => {
            // An answer may be a comma itself.
            let comma = behaviour.strip_suffix(",,").map(|input| (input, ","));
            let (input, target) = comma.or_else(|| behaviour.rsplit_once(',')).ok_or_else(|| {
                CommandError::Arguments(format!(
                    "--behaviour `{behaviour}`; expected a prompt and its answer with a comma between them, such as \"3 1 4 1,5\""
                ))
            })?;
            Question::Behaviour {
                input: input.to_owned(),
                target: target.to_owned(),
                foil: args.foil.clone(),
                against: args.against.clone(),
                step: args.step,
            }
        }
        _ => {
            let message = "expected --transition K, or --behaviour INPUT,TARGET";
            return Err(CommandError::Arguments(message.to_owned()));
        }
    };
    let mut settings = ExplainSettings {
        question,
        parts: args.parts.clone(),
        prompts: args.budget_prompts,
        seconds: args.budget_seconds,
        threads: std::thread::available_parallelism().unwrap_or(std::num::NonZero::<usize>::MIN),
    };
    if let Some(threads) = args.threads {
        settings.threads = threads;
    }
    let found = run.explain(&settings, &set_on_interrupt())?;
    if args.json {
        print(&serde_json::to_string(&found)?);
    } else {
        tell(&found);
    }
    Ok(exit::DONE)
}

fn tell(found: &Explanation) {
    print(&found.question);
    match found.before {
        Some(before) => print(&format!(
            "evidence at step {} less that at step {}",
            grouped(found.step as f64),
            grouped(before as f64)
        )),
        None => print(&format!("at step {}", grouped(found.step as f64))),
    }
    print(&format!(
        "right minus wrong answer: {} logits in clean, {} in corrupted examples",
        number(found.clean),
        number(found.corrupted)
    ));
    let responsible: Vec<&str> =
        found.parts.iter().filter(|part| part.is_responsible).map(|part| part.part.as_str()).collect();
    print(&match responsible.as_slice() {
        [] => "no part is told from none".to_owned(),
        parts => format!("responsible: {}", parts.join(", ")),
    });
    print("");
    print(&table(found).to_string());
    for reason in &found.left_out {
        say(&format!("left out: {reason}"));
    }
    say(&format!(
        "{} pairs of examples, {} examples forward, {} backward{}, {:.1} s",
        found.prompts,
        grouped(found.n_forward as f64),
        grouped(found.n_backward as f64),
        if found.n_chain_steps > 0 {
            format!(", {} steps of chains", grouped(found.n_chain_steps as f64))
        } else {
            String::new()
        },
        found.seconds
    ));
}

fn table(found: &Explanation) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let of_transition = found.before.is_some();
    let mut header = vec!["", "part", "share", "needed", "suffices", "attribution", "direct"];
    if of_transition {
        header.extend(["ablation", "rewind", "moved", "λ̂"]);
    }
    let n_columns = header.len();
    table.set_header(header);
    let n_responsible = found.parts.iter().filter(|part| part.is_responsible).count();
    for part in found.parts.iter().take(n_responsible.max(FEWEST_ROWS)) {
        table.add_row(row(part, of_transition));
    }
    for column in table.column_iter_mut().take(n_columns).skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn row(part: &PartExplanation, of_transition: bool) -> Vec<String> {
    let none = || "–".to_owned();
    let with_error = |effect: Option<Effect>| {
        effect.map_or_else(none, |effect| {
            let error = 1.96 * effect.standard_error;
            format!("{} ± {}", number(effect.mean), if error.is_nan() { none() } else { number(error) })
        })
    };
    let plain = |value: Option<f64>| value.map_or_else(none, number);
    let evidence = &part.evidence;
    let mut row = vec![
        if part.is_responsible { "*" } else { "" }.to_owned(),
        part.part.clone(),
        part.share.map_or_else(none, |share| format!("{:.0} %", 100.0 * share)),
        with_error(evidence.needed),
        with_error(evidence.suffices),
        plain(evidence.attribution.map(|effect| effect.mean)),
        plain(evidence.direct.map(|effect| effect.mean)),
    ];
    if of_transition {
        row.extend([with_error(part.ablation), plain(part.rewind), plain(part.moved), with_error(part.llc)]);
    }
    row
}
