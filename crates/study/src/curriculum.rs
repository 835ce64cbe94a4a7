//! `[curriculum.NAME]`: what is trained before the task of the file, each stage up to a step.

use ontogeny_zoo::TaskConfig;
use serde::Serialize;

use crate::sections::check_name;
use crate::toml_source::{RunFileError, Section};

/// A stage of a training, before that of `[task]`. Network, batch size and learning rate are those of the whole training.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StageConfig {
    /// NAME.
    #[serde(skip)]
    pub name: String,
    /// The first step that no longer belongs to it, at least 1.
    pub until: u64,
    /// What is trained; a table without `kind` says only which keys of `[task]` differ.
    pub task: TaskConfig,
    /// Whether the optimiser's buffers start anew after it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub restart_optimizer: bool,
}

/// Reads the stages in the order of their steps; `task` is `[task]` as it is written.
pub(crate) fn read(section: Section<'_>, task: &Section<'_>) -> Result<Vec<StageConfig>, RunFileError> {
    let mut stages: Vec<StageConfig> = Vec::new();
    for (name, section) in section.into_sections()? {
        let stage = read_stage(name, section, task, &stages)?;
        stages.push(stage);
    }
    stages.sort_by_key(|stage| stage.until);
    Ok(stages)
}

fn read_stage<'a>(
    name: String,
    mut section: Section<'a>,
    task: &Section<'a>,
    others: &[StageConfig],
) -> Result<StageConfig, RunFileError> {
    check_name(&name, &section)?;
    section.check_keys(&["until", "task", "restart_optimizer"])?;
    let place = section.place_of("until");
    let until: u64 = section.require("until", "the first step that no longer belongs to the stage")?;
    let wrong = |expected: String| {
        section.error_at(place.clone(), format!("`curriculum.{name}.until` is {until}; expected {expected}"), None)
    };
    if until == 0 {
        return Err(wrong("at least 1".to_owned()));
    }
    if let Some(twin) = others.iter().find(|other| other.until == until) {
        return Err(wrong(format!("another step than `curriculum.{}` has", twin.name)));
    }
    let restart_optimizer = section.take("restart_optimizer")?.unwrap_or(false);
    let Some(own) = section.take_section("task")? else {
        let hint = "add the keys of [task] that differ, or a whole table with its `kind`".to_owned();
        return Err(section.error(format!("`curriculum.{name}.task` is missing"), Some(hint)));
    };
    let own = if own.place_of("kind").is_some() { own } else { own.over(task) };
    let task = own.read_kind(TaskConfig::KINDS, TaskConfig::deserialize_kind)?;
    Ok(StageConfig { name, until, task, restart_optimizer })
}
