//! `ontogeny new`: run files to start from.

use ontogeny_study::nearest;
use serde::Serialize;

use super::CommandError;
use crate::cli::{NewArgs, exit};
use crate::terminal::print;

/// A run file to start from.
#[derive(Debug, Serialize)]
struct Preset {
    name: &'static str,
    /// One line.
    description: &'static str,
    /// Expected time on two cores.
    minutes: f64,
    #[serde(skip)]
    text: &'static str,
}

const PRESETS: [Preset; 4] = [
    Preset {
        name: "grokking",
        description: "a one-layer transformer learns modular addition, first by heart, then by rule",
        minutes: 2.5,
        text: include_str!("../../presets/grokking.toml"),
    },
    Preset {
        name: "grokking-small",
        description: "the same in little, for a first look; every key of training",
        minutes: 0.2,
        text: include_str!("../../presets/grokking-small.toml"),
    },
    Preset {
        name: "import",
        description: "measure a series of checkpoints trained elsewhere",
        minutes: 5.0,
        text: include_str!("../../presets/import.toml"),
    },
    Preset {
        name: "llc",
        description: "learning coefficients of the parts of a network; every key of the sampler",
        minutes: 2.0,
        text: include_str!("../../presets/llc.toml"),
    },
];

pub(crate) fn new(args: &NewArgs) -> Result<u8, CommandError> {
    let Some(name) = &args.preset else {
        if args.json {
            print(&serde_json::to_string(&PRESETS)?);
        } else {
            for preset in &PRESETS {
                print(&format!("{:<15} {:<82} {}", preset.name, preset.description, time(preset.minutes)));
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
        let Preset { name, description, minutes, text } = preset;
        let object = serde_json::json!({ "name": name, "description": description, "minutes": minutes, "toml": text });
        print(&serde_json::to_string(&object)?);
    } else {
        print(preset.text.trim_end());
    }
    Ok(exit::DONE)
}

fn time(minutes: f64) -> String {
    if minutes < 1.0 { format!("{:.0} s", minutes * 60.0) } else { format!("{minutes} min") }
}
