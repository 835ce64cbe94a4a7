//! `ontogeny new`: run files to start from.

use ontogeny_study::nearest;
use serde_json::{Value, json};

use super::CommandError;
use crate::cli::{NewArgs, exit};
use crate::terminal::print;

/// A run file to start from.
struct Preset {
    name: &'static str,
    /// Expected time of the file as it is on two cores; every file has a `[scale.small]` of seconds to a minute or two.
    minutes: f64,
    text: &'static str,
}

/// Preset of the file of that name in `presets/`, with its minutes.
macro_rules! preset {
    ($name:literal, $minutes:literal) => {
        Preset { name: $name, minutes: $minutes, text: include_str!(concat!("../../presets/", $name, ".toml")) }
    };
}

/// By what they show.
const PRESETS: &[Preset] = &[
    preset!("grokking", 2.5),
    preset!("grokking-small", 0.2),
    preset!("grokking-multiplication", 3.0),
    preset!("weight-decay", 12.0),
    preset!("fine-tuning", 5.0),
    preset!("modular-mlp", 5.0),
    preset!("sparse-parity", 1.0),
    preset!("multitask-parity", 10.0),
    preset!("seeds", 3.0),
    preset!("early-stop", 1.0),
    preset!("digit-addition", 20.0),
    preset!("sorting", 10.0),
    preset!("word-sorting", 5.0),
    preset!("gcd", 60.0),
    preset!("skip-trigrams", 5.0),
    preset!("induction", 10.0),
    preset!("induction-repeats", 10.0),
    preset!("translation", 10.0),
    preset!("few-shot", 10.0),
    preset!("few-shot-vectors", 5.0),
    preset!("toy-ioi", 10.0),
    preset!("ioi", 10.0),
    preset!("in-context-regression", 60.0),
    preset!("in-context-tasks", 90.0),
    preset!("curriculum", 60.0),
    preset!("superposition", 2.0),
    preset!("superposition-sparse", 3.0),
    preset!("deep-linear", 1.0),
    preset!("reduced-rank", 2.0),
    preset!("product-toy", 1.0),
    preset!("skill-sigmoids", 1.0),
    preset!("optimizers", 1.0),
    preset!("compiled", 0.2),
    preset!("llc", 2.0),
    preset!("llc-optimizers", 3.0),
    preset!("digits-mlp", 1.0),
    preset!("digits-cnn", 1.0),
    preset!("omnigrok", 10.0),
    preset!("double-descent", 5.0),
    preset!("backdoor", 1.0),
    preset!("adversarial", 10.0),
    preset!("names-lm", 15.0),
    preset!("shakespeare-lm", 120.0),
    preset!("tic-tac-toe", 10.0),
    preset!("othello", 3000.0),
    preset!("gridworld", 3.0),
    preset!("tic-tac-toe-agent", 3.0),
    preset!("import", 5.0),
];

/// The text of a preset, for studies that begin with one.
pub(super) fn text(name: &str) -> Option<&'static str> {
    PRESETS.iter().find(|preset| preset.name == name).map(|preset| preset.text)
}

impl Preset {
    /// The first line of the file, which says in a sentence what it is about.
    fn description(&self) -> &'static str {
        let first = self.text.lines().next().unwrap_or_default();
        first.trim_start_matches("# ").trim_end_matches('.')
    }

    fn as_json(&self) -> Value {
        json!({ "name": self.name, "description": self.description(), "minutes": self.minutes })
    }
}

pub(crate) fn new(args: &NewArgs) -> Result<u8, CommandError> {
    let Some(name) = &args.preset else {
        if args.json {
            print(&serde_json::to_string(&PRESETS.iter().map(Preset::as_json).collect::<Vec<_>>())?);
        } else {
            for preset in PRESETS {
                print(&format!("{:<22} {:<112} {}", preset.name, preset.description(), time(preset.minutes)));
            }
        }
        return Ok(exit::DONE);
    };
    let preset = PRESETS.iter().find(|preset| preset.name == name).ok_or_else(|| {
        let names = PRESETS.iter().map(|preset| preset.name);
        let hint = nearest(name, names.clone()).map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
        let there = names.collect::<Vec<_>>().join(", ");
        CommandError::Arguments(format!("no preset is called `{name}`; there are {there}{hint}"))
    })?;
    if args.json {
        let mut object = preset.as_json();
        object["toml"] = preset.text.into();
        print(&serde_json::to_string(&object)?);
    } else {
        print(preset.text.trim_end());
    }
    Ok(exit::DONE)
}

fn time(minutes: f64) -> String {
    if minutes < 1.0 { format!("{:.0} s", minutes * 60.0) } else { format!("{minutes} min") }
}
