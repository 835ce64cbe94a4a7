//! TOML with its lines kept: overrides are merged in before anything is read, and every mistake names its line and the
//! nearest key there is.

use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

/// `--set a.b=c` and `--scale`, applied to a file before it is read.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// Dotted keys and TOML values; a value that is no TOML is taken as a string.
    pub set: Vec<(String, String)>,
    /// Which `[scale.…]` table to merge over the file.
    pub scale: Scale,
}

/// Sizes a file may offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scale {
    /// `[scale.small]`.
    Small,
    /// The file as it stands, with `[scale.full]` if it has one.
    #[default]
    Full,
}

impl Scale {
    fn name(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Full => "full",
        }
    }
}

/// A mistake in a run file.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}{}: {message}{}", path.display(), line.map(|l| format!(":{l}")).unwrap_or_default(), hint.as_ref().map(|h| format!("; {h}")).unwrap_or_default())]
pub struct RunFileError {
    /// The file.
    pub path: PathBuf,
    /// Line, from 1; `None` for a key that was set on the command line, or is missing.
    pub line: Option<usize>,
    /// What is wrong: the key, what was found, what was expected.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

/// Reads a file of another kind than a run file in the same way: scales and overrides merged in, mistakes told with their line.
///
/// # Errors
/// Text that is no TOML, a scale that is not in it, or what `T` refuses.
pub fn read_toml<T: DeserializeOwned>(path: &Path, text: &str, overrides: &Overrides) -> Result<T, RunFileError> {
    let text = Text { path, text };
    Section::parse(&text, overrides)?.read(T::deserialize)
}

/// The text of a run file, its path, and the overrides: what the parsed values borrow from.
pub(crate) struct Text<'a> {
    pub(crate) path: &'a Path,
    pub(crate) text: &'a str,
}

/// A table whose keys are taken out one by one; whatever is left at the end is a mistake.
pub(crate) struct Section<'a> {
    text: &'a Text<'a>,
    /// Dotted path for messages; empty for the file itself.
    name: String,
    span: Range<usize>,
    table: DeTable<'a>,
}

/// Values set on the command line have no place in the file.
const NOWHERE: Range<usize> = 0..0;

impl<'a> Section<'a> {
    /// Parses the file and merges the scale and the overrides into it.
    pub(crate) fn parse(text: &'a Text<'a>, overrides: &'a Overrides) -> Result<Self, RunFileError> {
        let parsed = DeTable::parse(text.text).map_err(|e| text.error(e.span(), e.message().to_owned(), None))?;
        let mut table = parsed.into_inner();
        if let Some(scales) = table.remove("scale") {
            let span = scales.span();
            let DeValue::Table(mut scales) = scales.into_inner() else {
                return Err(text.error(Some(span), "`scale` must be tables, such as [scale.small]".to_owned(), None));
            };
            let chosen = scales.remove(overrides.scale.name());
            let other = scales.keys().find(|key| !matches!(key.get_ref().as_ref(), "small" | "full"));
            if let Some(other) = other {
                let message = format!("unknown scale `{}`; expected `small` or `full`", other.get_ref());
                return Err(text.error(Some(other.span()), message, None));
            }
            match chosen.map(|chosen| (chosen.span(), chosen.into_inner())) {
                Some((_, DeValue::Table(chosen))) => merge(&mut table, chosen),
                Some((span, other)) => {
                    let name = overrides.scale.name();
                    let message = format!("`scale.{name}` is {}; expected a table [scale.{name}]", other.type_str());
                    return Err(text.error(Some(span), message, None));
                }
                None => text.check_scale(overrides.scale)?,
            }
        } else {
            text.check_scale(overrides.scale)?;
        }
        for (key, value) in &overrides.set {
            let value = match DeValue::parse(value) {
                Ok(parsed) => parsed.into_inner(),
                Err(_) => DeValue::String(value.as_str().into()),
            };
            set(&mut table, key, without_place(value).into_inner()).map_err(|found| {
                let message = format!("--set {key}: `{found}` is not a table");
                RunFileError { path: text.path.to_owned(), line: None, message, hint: None }
            })?;
        }
        Ok(Self { text, name: String::new(), span: NOWHERE, table })
    }

    /// Takes a value of any type that serde can read.
    pub(crate) fn take<T: DeserializeOwned>(&mut self, key: &str) -> Result<Option<T>, RunFileError> {
        let Some(value) = self.table.remove(key) else { return Ok(None) };
        let name = self.path_of(key);
        let span = value.span();
        T::deserialize(ValueDeserializer::from(value)).map(Some).map_err(|e| self.text.located(&name, span, &e))
    }

    /// Takes a value that must be there.
    pub(crate) fn require<T: DeserializeOwned>(&mut self, key: &str, expected: &str) -> Result<T, RunFileError> {
        self.take(key)?.ok_or_else(|| {
            let keys: Vec<String> = self.table.keys().map(|k| k.get_ref().to_string()).collect();
            let nearest = nearest(key, keys.iter().map(String::as_str)).map(|k| format!("did you mean `{k}`?"));
            let message = format!("`{}` is missing; expected {expected}", self.path_of(key));
            self.text.error((self.span != NOWHERE).then(|| self.span.clone()), message, nearest)
        })
    }

    /// Takes a sub-table.
    pub(crate) fn take_section(&mut self, key: &str) -> Result<Option<Self>, RunFileError> {
        let Some(value) = self.table.remove(key) else { return Ok(None) };
        let (span, name) = (value.span(), self.path_of(key));
        match value.into_inner() {
            DeValue::Table(table) => Ok(Some(Self { text: self.text, name, span, table })),
            other => {
                let message = format!("`{name}` is {}; expected a table [{name}]", other.type_str());
                Err(self.text.error(Some(span), message, None))
            }
        }
    }

    /// Takes all sub-tables, sorted by key.
    pub(crate) fn into_sections(mut self) -> Result<Vec<(String, Self)>, RunFileError> {
        let mut keys: Vec<String> = self.table.keys().map(|key| key.get_ref().to_string()).collect();
        keys.sort();
        let mut sections = Vec::new();
        for key in keys {
            if let Some(section) = self.take_section(&key)? {
                sections.push((key, section));
            }
        }
        Ok(sections)
    }

    /// Reads everything that is left with serde, which refuses unknown keys.
    pub(crate) fn read<T>(
        self,
        read: impl FnOnce(ValueDeserializer<'a>) -> Result<T, toml::de::Error>,
    ) -> Result<T, RunFileError> {
        let span = self.span.clone();
        let value = Spanned::new(span.clone(), DeValue::Table(self.table));
        read(ValueDeserializer::from(value)).map_err(|e| self.text.located(&self.name, span, &e))
    }

    /// Reads `kind` first, then the rest as the settings of that kind: a mistake keeps its line.
    pub(crate) fn read_kind<T>(
        mut self,
        kinds: &[&str],
        read: impl FnOnce(&str, ValueDeserializer<'a>) -> Result<T, toml::de::Error>,
    ) -> Result<T, RunFileError> {
        let kind: String = self.require("kind", &format!("one of {kinds:?}"))?;
        if !kinds.contains(&kind.as_str()) {
            let hint = nearest(&kind, kinds.iter().copied()).map(|k| format!("did you mean `{k}`?"));
            return Err(self.error(format!("`{}.kind` is \"{kind}\"; expected one of {kinds:?}", self.name), hint));
        }
        self.read(|deserializer| read(&kind, deserializer))
    }

    /// A sub-table as it is written, left where it is.
    pub(crate) fn copy_of(&self, key: &str) -> Option<Self> {
        let value = self.table.get(key)?;
        let DeValue::Table(table) = value.get_ref() else { return None };
        Some(Self { text: self.text, name: self.path_of(key), span: value.span(), table: table.clone() })
    }

    /// The keys of `base`, with those of this table in their place where it has them.
    pub(crate) fn over(self, base: &Self) -> Self {
        let mut table = base.table.clone();
        merge(&mut table, self.table);
        Self { table, ..self }
    }

    /// An error for the first key in the file that is none of these.
    pub(crate) fn check_keys(&self, known: &[&str]) -> Result<(), RunFileError> {
        let unknown = self.table.keys().filter(|key| !known.contains(&key.get_ref().as_ref()));
        let Some(key) = unknown.min_by_key(|key| key.span().start) else { return Ok(()) };
        let name = key.get_ref().to_string();
        let hint = nearest(&name, known.iter().copied())
            .map_or_else(|| format!("expected one of {}", known.join(", ")), |k| format!("did you mean `{k}`?"));
        Err(self.text.error(Some(key.span()), format!("unknown key `{}`", self.path_of(&name)), Some(hint)))
    }

    /// An error about this table as a whole, or about one of its keys that has been taken already.
    pub(crate) fn error(&self, message: String, hint: Option<String>) -> RunFileError {
        self.text.error((self.span != NOWHERE).then(|| self.span.clone()), message, hint)
    }

    /// Where a key that has not been taken stands, for [`Self::error_at`].
    pub(crate) fn place_of(&self, key: &str) -> Option<Range<usize>> {
        self.table.keys().find(|known| known.get_ref() == key).map(Spanned::span)
    }

    /// An error about a key, at its place where it has one.
    pub(crate) fn error_at(&self, place: Option<Range<usize>>, message: String, hint: Option<String>) -> RunFileError {
        self.text.error(place.or_else(|| (self.span != NOWHERE).then(|| self.span.clone())), message, hint)
    }

    /// The file this is of.
    pub(crate) fn path(&self) -> &'a Path {
        self.text.path
    }

    fn path_of(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }
}

impl Text<'_> {
    /// The file as it stands is the full scale; any other must be written in it.
    fn check_scale(&self, scale: Scale) -> Result<(), RunFileError> {
        match scale {
            Scale::Full => Ok(()),
            Scale::Small => {
                let hint = "add the table with the keys that differ, or leave `--scale` out".to_owned();
                Err(self.error(None, "--scale small: the file has no [scale.small]".to_owned(), Some(hint)))
            }
        }
    }

    pub(crate) fn error(&self, span: Option<Range<usize>>, message: String, hint: Option<String>) -> RunFileError {
        let line =
            span.filter(|s| *s != NOWHERE).map(|s| 1 + self.text[..s.start.min(self.text.len())].matches('\n').count());
        RunFileError { path: self.path.to_owned(), line, message, hint }
    }

    /// A serde error at its line, with the nearest of the names that it expected.
    fn located(&self, name: &str, section: Range<usize>, error: &toml::de::Error) -> RunFileError {
        let message = error.message();
        let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
        let hint = match quoted.split_first() {
            Some((found, expected)) if message.starts_with("unknown") => {
                nearest(found, expected.iter().copied()).map(|k| format!("did you mean `{k}`?"))
            }
            _ => None,
        };
        if name.is_empty() {
            // Of the file as a whole, such as a key that is missing.
            return self.error(error.span().filter(|span| *span != NOWHERE), message.to_owned(), hint);
        }
        if error.span() == Some(NOWHERE) {
            return self.error(None, format!("in `{name}`, as set by --set: {message}"), hint);
        }
        self.error(Some(error.span().unwrap_or(section)), format!("in `{name}`: {message}"), hint)
    }
}

/// The candidate with the smallest edit distance, if it is near enough to be a slip.
pub fn nearest<'n>(name: &str, candidates: impl Iterator<Item = &'n str>) -> Option<String> {
    candidates
        .map(|candidate| (strsim::levenshtein(name, candidate), candidate))
        .min()
        .filter(|(distance, _)| *distance <= 1 + name.len() / 3)
        .map(|(_, candidate)| candidate.to_owned())
}

fn merge<'a>(into: &mut DeTable<'a>, from: DeTable<'a>) {
    for (key, value) in from {
        let name = key.get_ref().to_string();
        let merged = match (into.remove(name.as_str()), value) {
            (Some(old), new) => {
                let span = new.span();
                match (old.into_inner(), new.into_inner()) {
                    (DeValue::Table(mut old), DeValue::Table(new)) => {
                        merge(&mut old, new);
                        Spanned::new(span, DeValue::Table(old))
                    }
                    (_, new) => Spanned::new(span, new),
                }
            }
            (None, new) => new,
        };
        into.insert(key, merged);
    }
}

/// The value with no place in the file, however deep: the places of a value from the command line are not lines of it.
fn without_place(value: DeValue<'_>) -> Spanned<DeValue<'_>> {
    let value = match value {
        DeValue::Table(table) => {
            let keys = table.into_iter();
            let bare = keys.map(|(k, v)| (Spanned::new(NOWHERE, k.into_inner()), without_place(v.into_inner())));
            DeValue::Table(bare.collect())
        }
        DeValue::Array(array) => DeValue::Array(array.into_iter().map(|v| without_place(v.into_inner())).collect()),
        other => other,
    };
    Spanned::new(NOWHERE, value)
}

/// Sets a dotted key; `Err` names the part that is no table.
fn set<'a>(table: &mut DeTable<'a>, key: &'a str, value: DeValue<'a>) -> Result<(), String> {
    let (first, rest) = key.split_once('.').map_or((key, None), |(first, rest)| (first, Some(rest)));
    let name = || Spanned::new(NOWHERE, first.into());
    let Some(rest) = rest else {
        table.remove(first);
        table.insert(name(), Spanned::new(NOWHERE, value));
        return Ok(());
    };
    let (span, mut inner) = match table.remove(first) {
        None => (NOWHERE, DeTable::new()),
        Some(old) => match (old.span(), old.into_inner()) {
            (span, DeValue::Table(inner)) => (span, inner),
            _ => return Err(first.to_owned()),
        },
    };
    let result = set(&mut inner, rest, value);
    table.insert(name(), Spanned::new(span, DeValue::Table(inner)));
    result
}
