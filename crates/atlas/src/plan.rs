//! From a family of a study to run files: base file, scale, measurements, settings, condition, seed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ontogeny_study::{Overrides, Run, RunFile, Scale};

use crate::study_file::{Family, StudyFile};
use crate::{Presets, StudyFileError};

/// A combination of the values that a family varies: dotted keys with their values, in the order of the keys.
pub(crate) type Condition = Vec<(String, toml::Value)>;

/// Most combinations of a family.
const MAX_CONDITIONS: usize = 1000;

/// Where the text of a run file comes from, and at which scale.
#[derive(Clone, Copy)]
pub(crate) struct Sources<'a> {
    /// Path of the study file.
    pub(crate) path: &'a Path,
    pub(crate) scale: Scale,
    pub(crate) presets: Presets<'a>,
}

/// What sets one run of a family apart.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RunKey<'a> {
    pub(crate) family: &'a str,
    pub(crate) condition: &'a Condition,
    pub(crate) seed: u32,
}

impl Family {
    /// Every combination of the values that are varied; one empty one where nothing is.
    pub(crate) fn conditions(&self) -> Result<Vec<Condition>, String> {
        let mut all: Vec<Condition> = vec![Vec::new()];
        for (key, values) in &self.vary {
            if values.is_empty() || all.len().saturating_mul(values.len()) > MAX_CONDITIONS {
                return Err(format!(
                    "`vary.{key}` has {} values; expected one at least, and {MAX_CONDITIONS} combinations at most",
                    values.len()
                ));
            }
            let with = |condition: &Condition, value: &toml::Value| {
                condition.iter().cloned().chain([(key.clone(), value.clone())]).collect::<Condition>()
            };
            all = all.iter().flat_map(|one| values.iter().map(|value| with(one, value))).collect();
        }
        Ok(all)
    }

    /// The families that runs of this one start from or are compared with.
    pub(crate) fn needs(&self) -> Vec<String> {
        let mut found = Vec::new();
        for text in self.set.values().map(ToString::to_string).chain([self.measure.to_string()]) {
            let mut rest = text.as_str();
            while let Some(at) = rest.find("{run.") {
                rest = &rest[at + 5..];
                if let Some((name, _)) = rest.split_once('}') {
                    found.push(name.to_owned());
                }
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// The text of the base file with the path that its relative paths start at, and its name.
    pub(crate) fn base(&self, sources: Sources<'_>) -> Result<(PathBuf, String, String), StudyFileError> {
        if let Some(preset) = &self.preset {
            let text = (sources.presets)(preset).ok_or_else(|| StudyFileError::Content {
                path: sources.path.to_owned(),
                message: format!("there is no preset `{preset}`; `ontogeny new` lists them"),
            })?;
            return Ok((PathBuf::from(format!("{preset}.toml")), text.to_owned(), format!("preset {preset}")));
        }
        let own = self.file.clone().unwrap_or_default();
        let path = sources.path.parent().unwrap_or(Path::new("")).join(&own);
        let text = fs_err::read_to_string(&path).map_err(StudyFileError::Io)?;
        Ok((path, text, own.to_string_lossy().into_owned()))
    }

    /// Makes one run ready. `extra` are settings of an attack; `folder` knows the folders of runs that are made before.
    pub(crate) fn prepare(
        &self,
        study: &StudyFile,
        sources: Sources<'_>,
        key: RunKey<'_>,
        extra: Option<&BTreeMap<String, toml::Value>>,
        folder: &dyn Fn(&str) -> Result<PathBuf, String>,
    ) -> Result<Run, StudyFileError> {
        let content = |message: String| StudyFileError::Content {
            path: sources.path.to_owned(),
            message: format!("in [runs.{}]: {message}", key.family),
        };
        let (path, text, _) = self.base(sources)?;
        let mut table: toml::Table =
            text.parse().map_err(|e: toml::de::Error| content(format!("{}: {}", path.display(), e.message())))?;
        take_scale(&mut table, sources.scale);
        for several in ["seeds", "sweep"] {
            table.remove(several);
        }
        self.choose_measures(&mut table).map_err(content)?;
        for dotted in &self.remove {
            remove(&mut table, dotted);
        }
        let settings = self.set.iter().chain(key.condition.iter().map(|(k, v)| (k, v)));
        for (dotted, value) in settings.chain(extra.into_iter().flatten()) {
            set(&mut table, dotted, value.clone()).map_err(content)?;
        }
        fill_in(&mut table, folder).map_err(content)?;
        table.insert("seed".to_owned(), i64::from(key.seed).into());
        table.insert("title".to_owned(), format!("{} {} {}", study.id, key.family, key.name()).into());
        let text = toml::to_string(&table).map_err(|error| content(error.to_string()))?;
        let told = |error: ontogeny_study::StudyError| StudyFileError::Run {
            path: sources.path.to_owned(),
            family: key.family.to_owned(),
            source: Box::new(error),
        };
        let file = RunFile::parse(&path, &text, &Overrides::default()).map_err(|error| told(error.into()))?;
        Run::prepare(file, &format!("ontogeny study run {}", study.id)).map_err(told)
    }

    /// Keeps the measurements that are named, adds those of the family, and drops what no longer finds its series.
    fn choose_measures(&self, table: &mut toml::Table) -> Result<(), String> {
        let mut measures = match table.remove("measure") {
            Some(toml::Value::Table(measures)) => measures,
            _ => toml::Table::new(),
        };
        if let Some(kept) = &self.measures {
            if let Some(unknown) = kept.iter().find(|name| !measures.contains_key(*name)) {
                let known = measures.keys().cloned().collect::<Vec<_>>().join(", ");
                return Err(format!("`measures` names `{unknown}`; the run file measures {known}"));
            }
            measures.retain(|name, _| kept.iter().any(|own| own == name));
            // What is looked at may no longer be measured; the default is everything that is.
            table.remove("stages");
        }
        measures.extend(self.measure.clone());
        table.insert("measure".to_owned(), measures.into());
        Ok(())
    }
}

impl RunKey<'_> {
    /// What sets the run apart within its family, such as `weight_decay=0.3,seed=12`.
    pub(crate) fn name(&self) -> String {
        let mut words: Vec<String> = self.condition.iter().map(word).collect();
        words.push(format!("seed={}", self.seed));
        words.join(",")
    }
}

/// A setting in a word: the last part of its key, and the value.
pub(crate) fn word((key, value): &(String, toml::Value)) -> String {
    let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    format!("{}={value}", key.rsplit('.').next().unwrap_or(key))
}

/// Merges `[scale.small]` over the file where there is one and it is asked for.
fn take_scale(table: &mut toml::Table, scale: Scale) {
    let Some(toml::Value::Table(mut scales)) = table.remove("scale") else { return };
    let name = match scale {
        Scale::Small => "small",
        Scale::Full => "full",
    };
    if let Some(toml::Value::Table(own)) = scales.remove(name) {
        merge(table, own);
    }
}

fn merge(into: &mut toml::Table, from: toml::Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(toml::Value::Table(old)), toml::Value::Table(new)) => merge(old, new),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

/// Sets a dotted key; `Err` names the part that is no table.
fn set(table: &mut toml::Table, dotted: &str, value: toml::Value) -> Result<(), String> {
    match dotted.split_once('.') {
        None => {
            table.insert(dotted.to_owned(), value);
            Ok(())
        }
        Some((first, rest)) => {
            match table.entry(first.to_owned()).or_insert_with(|| toml::Value::Table(toml::Table::new())) {
                toml::Value::Table(inner) => set(inner, rest, value),
                other => Err(format!("`{dotted}`: `{first}` is {}, expected a table", other.type_str())),
            }
        }
    }
}

fn remove(table: &mut toml::Table, dotted: &str) {
    match dotted.split_once('.') {
        None => {
            table.remove(dotted);
        }
        Some((first, rest)) => {
            if let Some(toml::Value::Table(inner)) = table.get_mut(first) {
                remove(inner, rest);
            }
        }
    }
}

/// Puts folders of runs in the place of `{run.NAME}` in every text.
fn fill_in(table: &mut toml::Table, folder: &dyn Fn(&str) -> Result<PathBuf, String>) -> Result<(), String> {
    fn in_value(value: &mut toml::Value, folder: &dyn Fn(&str) -> Result<PathBuf, String>) -> Result<(), String> {
        match value {
            toml::Value::String(text) => {
                while let Some(at) = text.find("{run.") {
                    let Some(end) = text[at..].find('}') else {
                        return Err(format!("`{text}` has no `}}` after `{{run.`"));
                    };
                    let path = folder(&text[at + 5..at + end])?;
                    text.replace_range(at..=at + end, &path.to_string_lossy());
                }
                Ok(())
            }
            toml::Value::Array(list) => list.iter_mut().try_for_each(|value| in_value(value, folder)),
            toml::Value::Table(inner) => fill_in(inner, folder),
            _ => Ok(()),
        }
    }
    table.iter_mut().try_for_each(|(_, value)| in_value(value, folder))
}

/// The families in an order in which each comes after those that it needs.
pub(crate) fn in_order(runs: &BTreeMap<String, Family>) -> Result<Vec<String>, String> {
    let mut order: Vec<String> = Vec::new();
    while order.len() < runs.len() {
        let is_ready = |(name, family): &(&String, &Family)| {
            !order.contains(name) && family.needs().iter().all(|need| order.contains(need))
        };
        let Some((name, _)) = runs.iter().find(is_ready) else {
            let stuck: Vec<&str> = runs.keys().filter(|n| !order.contains(n)).map(String::as_str).collect();
            return Err(format!(
                "the families {} need each other, or families that are not there ({{run.NAME}})",
                stuck.join(", ")
            ));
        };
        order.push(name.clone());
    }
    Ok(order)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_multiplied_out_in_the_order_of_the_keys() {
        let vary = BTreeMap::from([
            ("b".to_owned(), vec![toml::Value::from(1), toml::Value::from(2)]),
            ("a.x".to_owned(), vec![toml::Value::from("u")]),
        ]);
        let family = Family { vary, ..Family::default() };
        let names: Vec<String> = family
            .conditions()
            .unwrap()
            .iter()
            .map(|condition| RunKey { family: "f", condition, seed: 7 }.name())
            .collect();
        assert_eq!(names, ["x=u,b=1,seed=7", "x=u,b=2,seed=7"]);
        let none = Family { vary: BTreeMap::from([("a".to_owned(), vec![])]), ..Family::default() };
        assert!(none.conditions().is_err());
    }

    #[test]
    fn families_come_after_those_they_start_from() {
        let from = |need: &str| Family {
            set: BTreeMap::from([("start.run".to_owned(), toml::Value::from(format!("{{run.{need}}}")))]),
            ..Family::default()
        };
        let runs = BTreeMap::from([
            ("a".to_owned(), from("c")),
            ("b".to_owned(), from("a")),
            ("c".to_owned(), Family::default()),
        ]);
        assert_eq!(in_order(&runs).unwrap(), ["c", "a", "b"]);
        let circle = BTreeMap::from([("a".to_owned(), from("b")), ("b".to_owned(), from("a"))]);
        assert!(in_order(&circle).unwrap_err().contains("a, b"));
    }

    #[test]
    fn texts_name_the_folders_of_other_runs() {
        let mut table: toml::Table = "start.run = \"{run.base}/x\"\nlist = [\"{run.base}\"]".parse().unwrap();
        fill_in(&mut table, &|name| if name == "base" { Ok("runs/7".into()) } else { Err(name.to_owned()) }).unwrap();
        assert_eq!(table["start"]["run"].as_str(), Some("runs/7/x"));
        assert_eq!(table["list"][0].as_str(), Some("runs/7"));
        let mut table: toml::Table = "a = \"{run.other}\"".parse().unwrap();
        assert_eq!(fill_in(&mut table, &|name| Err(format!("no {name}"))).unwrap_err(), "no other");
    }

    #[test]
    fn keys_are_set_and_removed_and_scales_merged() {
        let mut table: toml::Table = "[train]\nsteps = 5\n[scale.small.train]\nsteps = 2\n".parse().unwrap();
        take_scale(&mut table, Scale::Small);
        assert_eq!(table["train"]["steps"].as_integer(), Some(2));
        set(&mut table, "train.rate", 0.1.into()).unwrap();
        remove(&mut table, "train.steps");
        assert_eq!(table["train"].as_table().unwrap().len(), 1);
        assert!(set(&mut table, "train.rate.x", 1.into()).is_err());
    }
}
