//! The settings of a configuration file, taken out one by one, so that none is passed over.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::NetworkFileError;
use crate::Activation;

/// Longest configuration read: real ones have kilobytes, labels of classes included.
const MAX_BYTES: u64 = 16 << 20;

/// Largest size of anything: a network of more would not fit any memory.
const MAX_SIZE: u64 = 1 << 24;

/// Keys and values that have not been taken yet.
#[derive(Debug)]
pub(super) struct Settings {
    path: PathBuf,
    /// Dotted path of a nested table, with its dot.
    prefix: String,
    values: Map<String, Value>,
}

impl Settings {
    /// Reads a JSON object, or a TOML table where the file's name ends in `.toml`.
    pub(super) fn read(path: &Path) -> Result<Self, NetworkFileError> {
        let io = |source| NetworkFileError::Io { path: path.to_owned(), source };
        let wrong = |found: String| NetworkFileError::Content {
            path: path.to_owned(),
            found,
            expected: "the configuration of a network: a config.json of Hugging Face, or one of TransformerLens"
                .to_owned(),
        };
        // Before it is opened: to open a pipe is to wait for somebody to write.
        if !fs_err::metadata(path).map_err(io)?.is_file() {
            return Err(wrong("no regular file".to_owned()));
        }
        let mut bytes = Vec::new();
        let file = fs_err::File::open(path).map_err(io)?;
        file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(io)?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(wrong(format!("more than {MAX_BYTES} bytes")));
        }
        let value = if path.extension().is_some_and(|extension| extension == "toml") {
            let text = String::from_utf8(bytes).map_err(|error| wrong(error.to_string()))?;
            toml::from_str(&text).map_err(|error| wrong(error.message().to_owned()))?
        } else {
            serde_json::from_slice(&bytes).map_err(|error| wrong(format!("no JSON ({error})")))?
        };
        match value {
            Value::Object(values) => Ok(Self { path: path.to_owned(), prefix: String::new(), values }),
            _ => Err(wrong("JSON that is no object".to_owned())),
        }
    }

    /// Whether a key is there and has not been taken.
    pub(super) fn has(&self, key: &str) -> bool {
        self.values.get(key).is_some_and(|value| !value.is_null())
    }

    /// Whether a key is there, be it as `null`.
    pub(super) fn has_key(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }

    /// A value as it stands; `null` counts as nothing.
    pub(super) fn take(&mut self, key: &str) -> Option<Value> {
        self.values.remove(key).filter(|value| !value.is_null())
    }

    /// A number of things, 1 to 2²⁴.
    pub(super) fn size(&mut self, key: &str) -> Result<Option<usize>, NetworkFileError> {
        let Some(value) = self.take(key) else { return Ok(None) };
        match value.as_u64() {
            Some(n) if (1..=MAX_SIZE).contains(&n) => Ok(Some(n as usize)),
            _ => Err(self.wrong(key, &value, &format!("a whole number, 1 to {MAX_SIZE}"))),
        }
    }

    /// A number of things that must be there.
    pub(super) fn required_size(&mut self, key: &str) -> Result<usize, NetworkFileError> {
        self.size(key)?.ok_or_else(|| self.missing(key, "a whole number"))
    }

    /// A finite number.
    pub(super) fn number(&mut self, key: &str) -> Result<Option<f64>, NetworkFileError> {
        let Some(value) = self.take(key) else { return Ok(None) };
        value.as_f64().filter(|number| number.is_finite()).map(Some).ok_or_else(|| self.wrong(key, &value, "a number"))
    }

    /// True or false.
    pub(super) fn flag(&mut self, key: &str) -> Result<Option<bool>, NetworkFileError> {
        let Some(value) = self.take(key) else { return Ok(None) };
        value.as_bool().map(Some).ok_or_else(|| self.wrong(key, &value, "true or false"))
    }

    /// A word.
    pub(super) fn text(&mut self, key: &str) -> Result<Option<String>, NetworkFileError> {
        let Some(value) = self.take(key) else { return Ok(None) };
        value.as_str().map(|text| Some(text.to_owned())).ok_or_else(|| self.wrong(key, &value, "a text"))
    }

    /// A table within this one.
    pub(super) fn table(&mut self, key: &str) -> Result<Option<Self>, NetworkFileError> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Object(values)) => {
                let prefix = format!("{}{key}.", self.prefix);
                Ok(Some(Self { path: self.path.clone(), prefix, values }))
            }
            Some(other) => Err(self.wrong(key, &other, "an object")),
        }
    }

    /// A nonlinearity under the name that Hugging Face or TransformerLens gives it.
    pub(super) fn activation(&mut self, key: &str, default: Option<&str>) -> Result<Activation, NetworkFileError> {
        let named = self.text(key)?.or_else(|| default.map(str::to_owned));
        let name = named.ok_or_else(|| self.missing(key, "the name of a nonlinearity"))?;
        Ok(match name.as_str() {
            "relu" => Activation::Relu,
            "gelu" | "gelu_python" => Activation::Gelu,
            // One formula with its constants written in different ways.
            "gelu_new" | "gelu_fast" | "gelu_pytorch_tanh" | "gelu_accurate" => Activation::GeluTanh,
            "silu" | "swish" => Activation::Silu,
            "solu" => Activation::Solu,
            "solu_ln" => Activation::SoluLn,
            "tanh" => Activation::Tanh,
            "linear" => Activation::Identity,
            other => {
                let expected =
                    "one of relu, gelu, gelu_new, gelu_fast, gelu_pytorch_tanh, silu, swish, solu, solu_ln, tanh";
                return Err(self.wrong(key, &other.into(), expected));
            }
        })
    }

    /// Takes a key that may only have one value, or be left out.
    pub(super) fn only(&mut self, key: &str, expected: &Value, why: &str) -> Result<(), NetworkFileError> {
        match self.take(key) {
            Some(found) if found != *expected => {
                Err(self.wrong(key, &found, &format!("{expected}, or nothing: {why}")))
            }
            _ => Ok(()),
        }
    }

    /// Refuses whatever is left that is not `known` to change nothing. `null` says nothing, and names that begin with `_` are
    /// notes of the library that wrote the file.
    pub(super) fn check_finished(&self, known: &[&[&str]]) -> Result<(), NetworkFileError> {
        let is_known = |key: &str| key.starts_with('_') || known.iter().any(|list| list.contains(&key));
        let mut left: Vec<(&String, &Value)> =
            self.values.iter().filter(|(key, value)| !value.is_null() && !is_known(key)).collect();
        left.sort_unstable_by_key(|(key, _)| *key);
        match left.first() {
            None => Ok(()),
            Some((key, value)) => Err(NetworkFileError::UnknownKey {
                path: self.path.clone(),
                key: format!("{}{key}", self.prefix),
                value: shortened(value),
            }),
        }
    }

    pub(super) fn wrong(&self, key: &str, found: &Value, expected: &str) -> NetworkFileError {
        NetworkFileError::Key {
            path: self.path.clone(),
            key: format!("{}{key}", self.prefix),
            found: shortened(found),
            expected: expected.to_owned(),
        }
    }

    pub(super) fn missing(&self, key: &str, expected: &str) -> NetworkFileError {
        self.wrong(key, &Value::Null, expected)
    }
}

/// A value as it is written, cut where it is long.
fn shortened(value: &Value) -> String {
    if value.is_null() {
        return "missing".to_owned();
    }
    let text = value.to_string();
    match text.char_indices().nth(80) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}
