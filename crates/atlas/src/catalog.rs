//! Study files: where they are, and what a registration holds of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ontogeny_study::{Scale, nearest};

use crate::StudyFileError;
use crate::expression::Expression;
use crate::plan::{RunKey, Sources, in_order};
use crate::study_file::StudyFile;

/// The text of a preset by its name.
pub type Presets<'a> = &'a (dyn Fn(&str) -> Option<&'static str> + Sync);

/// A study at one scale, read and checked.
#[derive(Clone)]
pub struct Study<'a> {
    /// The file.
    pub file: StudyFile,
    /// Where it was read from.
    pub path: PathBuf,
    /// `small` or `full`.
    pub scale: Scale,
    /// Hashes of the study file and of all run files and presets it uses, by name.
    pub files: BTreeMap<String, String>,
    /// Every expression of the file by its text.
    pub(crate) expressions: BTreeMap<String, Expression>,
    pub(crate) presets: Presets<'a>,
}

impl<'a> Study<'a> {
    /// Reads a study file, every file it uses, and all of its expressions.
    ///
    /// # Errors
    /// A file that cannot be read, or a mistake in it.
    pub fn read(path: &Path, scale: Scale, presets: Presets<'a>) -> Result<Self, StudyFileError> {
        let text = fs_err::read_to_string(path).map_err(StudyFileError::Io)?;
        let file = StudyFile::parse(path, &text, scale)?;
        let content = |message: String| StudyFileError::Content { path: path.to_owned(), message };
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        if stem != file.id {
            return Err(content(format!("`id` is {:?} in a file called {stem}.toml; expected the same", file.id)));
        }
        in_order(&file.runs).map_err(content)?;
        let mut files = BTreeMap::from([(format!("{stem}.toml"), hash(&text))]);
        for (name, family) in &file.runs {
            family.conditions().map_err(|message| content(format!("in [runs.{name}]: {message}")))?;
            let (_, text, name) = family.base(Sources { path, scale, presets })?;
            files.insert(name, hash(&text));
        }
        let expressions = expressions(&file, path)?;
        Ok(Self { file, path: path.to_owned(), scale, files, expressions, presets })
    }

    /// Hash over all files of the study, as its registration keeps it.
    pub fn content(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for (name, hash) in &self.files {
            hasher.update(format!("{name}\n{hash}\n").as_bytes());
        }
        hasher.finalize().to_hex().to_string()
    }

    /// Makes one run of every condition ready and forgets it, with the settings of attacks too, so that a mistake is told before the
    /// study is registered. Runs that begin with others wait for these.
    ///
    /// # Errors
    /// What is wrong with a run.
    pub(crate) fn try_runs(&self) -> Result<(), StudyFileError> {
        for (name, family) in self.file.runs.iter().filter(|(_, family)| family.needs().is_empty()) {
            let conditions = family.conditions().map_err(|message| StudyFileError::Content {
                path: self.path.clone(),
                message: format!("in [runs.{name}]: {message}"),
            })?;
            let own = std::iter::once(None)
                .chain(self.file.attacks.iter().filter_map(|attack| attack.set.get(name)).map(Some));
            for (extra, condition) in own.flat_map(|extra| conditions.iter().map(move |condition| (extra, condition))) {
                let key = RunKey { family: name, condition, seed: 0 };
                family.prepare(&self.file, self.sources(), key, extra, &|other| {
                    Err(format!("`{other}` is made before"))
                })?;
            }
        }
        Ok(())
    }

    /// What the seeds of the study cannot show at all, a sentence for each hypothesis; empty for a study with enough of them.
    pub fn warnings(&self) -> Vec<String> {
        crate::reach::warnings(&self.file)
    }

    /// `small` or `full`.
    pub fn scale_name(&self) -> &'static str {
        match self.scale {
            Scale::Small => "small",
            Scale::Full => "full",
        }
    }

    pub(crate) fn sources(&self) -> Sources<'_> {
        Sources { path: &self.path, scale: self.scale, presets: self.presets }
    }
}

/// The study files of a folder by identifier, in the order of the atlas: letters first, then numbers by their size.
///
/// # Errors
/// A folder that cannot be read.
pub fn catalog(folder: &Path) -> Result<Vec<(String, PathBuf)>, StudyFileError> {
    let mut found = Vec::new();
    for entry in fs_err::read_dir(folder).map_err(StudyFileError::Io)? {
        let path = entry.map_err(StudyFileError::Io)?.path();
        if path.extension().is_some_and(|extension| extension == "toml")
            && let Some(stem) = path.file_stem()
        {
            found.push((stem.to_string_lossy().into_owned(), path));
        }
    }
    found.sort_by_cached_key(|(id, _)| sort_key(id));
    Ok(found)
}

/// The study called `id`, whatever the case of its letters.
///
/// # Errors
/// No such study: the message names the nearest.
pub fn find(folder: &Path, id: &str) -> Result<PathBuf, StudyFileError> {
    let all = catalog(folder)?;
    if let Some((_, path)) = all.iter().find(|(known, _)| known.eq_ignore_ascii_case(id)) {
        return Ok(path.clone());
    }
    let hint = nearest(id, all.iter().map(|(known, _)| known.as_str()))
        .map_or_else(|| "`ontogeny study list` lists them".to_owned(), |known| format!("did you mean `{known}`?"));
    Err(StudyFileError::Content { path: folder.to_owned(), message: format!("there is no study `{id}`; {hint}") })
}

/// `N5.10` after `N5.9`, and both after `D33`.
pub(crate) fn sort_key(id: &str) -> Vec<(u8, u64, String)> {
    let mut parts = Vec::new();
    let mut rest = id;
    while let Some(first) = rest.chars().next() {
        let digits = first.is_ascii_digit();
        let end = rest.find(|c: char| c.is_ascii_digit() != digits).unwrap_or(rest.len());
        let (part, after) = rest.split_at(end);
        let number = if digits { part.parse().unwrap_or(u64::MAX) } else { 0 };
        parts.push((u8::from(digits), number, part.to_owned()));
        rest = after;
    }
    parts
}

fn hash(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex().to_string()
}

/// Parses every expression of the file, so that a slip is told before anything runs.
pub(crate) fn expressions(file: &StudyFile, path: &Path) -> Result<BTreeMap<String, Expression>, StudyFileError> {
    let mut all: Vec<(String, &String)> = Vec::new();
    let values = |values: &'_ BTreeMap<String, String>, of: &str| {
        values.keys().map(|name| format!("{of}.{name}")).collect::<Vec<_>>()
    };
    all.extend(values(&file.values, "values").into_iter().zip(file.values.values()));
    for h in &file.hypotheses {
        let place = format!("the hypothesis `{}`", h.id);
        all.push((place.clone(), &h.statistic));
        let is_expression = !h.test.is_of_two_samples();
        all.extend(h.against.iter().filter(|_| is_expression).map(|text| (place.clone(), text)));
        all.extend(h.features.iter().chain(&h.truth).map(|text| (place.clone(), text)));
    }
    for attack in &file.attacks {
        let place = format!("the attack {:?}", attack.what);
        all.extend(attack.values.values().chain(&attack.statistic).map(|text| (place.clone(), text)));
    }
    for figure in &file.figures {
        let place = format!("the figure {:?}", figure.title);
        all.extend([&figure.y].into_iter().chain(&figure.x).chain(&figure.group).map(|text| (place.clone(), text)));
    }
    let mut parsed = BTreeMap::new();
    for (place, text) in all {
        let expression = Expression::parse(text).map_err(|source| StudyFileError::Expression {
            path: path.to_owned(),
            place,
            source: Box::new(source),
        })?;
        parsed.insert(text.clone(), expression);
    }
    Ok(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_in_the_order_of_their_numbers() {
        let mut ids = ["N5.10", "S1", "N5.9", "D33", "D4", "N5.1"];
        ids.sort_by_cached_key(|id| sort_key(id));
        assert_eq!(ids, ["D4", "D33", "N5.1", "N5.9", "N5.10", "S1"]);
    }
}
