//! JSON as people keep measurements in it: an object of arrays, an array of records, or one record on each line.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value};

use super::{Array, Rows, SeriesFileError, Source};

const FORMS: &str = "expected an object of arrays, an array of objects, or one object on each line";

/// Reads a whole JSON document, or JSON lines that call themselves `.json`.
///
/// # Errors
/// Text that is neither, ragged arrays, or a document of another form.
pub(super) fn read(path: &Path, text: &str) -> Result<Source, SeriesFileError> {
    match serde_json::from_str(&with_nulls(text)) {
        Ok(value) => document(path, value),
        // Several documents after each other are lines.
        Err(error) if error.is_syntax() && to_string(&error).starts_with("trailing characters") => {
            read_lines(path, text)
        }
        Err(error) => Err(SeriesFileError::content(path, format!("is no JSON: {error}"))),
    }
}

/// Reads JSON lines: a log with one object on each line, not all with the same keys.
///
/// # Errors
/// A line that is no JSON object.
pub(super) fn read_lines(path: &Path, text: &str) -> Result<Source, SeriesFileError> {
    let mut source = Source::default();
    let mut records = Records::new("line");
    let last = text.lines().count();
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
        match serde_json::from_str(&with_nulls(line)) {
            Ok(Value::Object(object)) => records.push(number, &object),
            Ok(_) => {
                return Err(SeriesFileError::content(path, format!("line {number} is no object; {FORMS}")));
            }
            // A log is cut where its writer was stopped.
            Err(error) if error.is_eof() && number as usize == last && !text.ends_with('\n') => {
                source.notices.push(format!("line {number}, the last, is cut off and skipped"));
            }
            Err(error) => {
                let message = format!("line {number} is no JSON: {}", to_string(&error));
                return Err(SeriesFileError::content(path, message));
            }
        }
    }
    records.finish(&mut source);
    Ok(source)
}

fn document(path: &Path, value: Value) -> Result<Source, SeriesFileError> {
    let mut source = Source::default();
    match value {
        Value::Array(items) if items.iter().any(Value::is_object) => read_records(path, &items, &mut source)?,
        Value::Array(_) => {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            add_array(path, &stem, &value, &mut source)?;
        }
        Value::Object(object) => {
            let mut others = Vec::new();
            add_object(path, "", &object, &mut source, &mut others)?;
            check_names(path, &source)?;
            // Some trainers keep their log as one list of records among settings.
            let logs: Vec<(&String, &Vec<Value>)> = object
                .iter()
                .filter_map(|(key, v)| v.as_array().map(|items| (key, items)))
                .filter(|(_, items)| items.iter().any(Value::is_object))
                .collect();
            match logs.as_slice() {
                [(key, items)] if source.arrays.is_empty() => {
                    source.notices.push(format!("the series are the records in `{key}`"));
                    read_records(path, items, &mut source)?;
                }
                _ if !others.is_empty() => {
                    source.notices.push(format!("not arrays of numbers, and skipped: {}", others.join(", ")));
                }
                _ => {}
            }
        }
        _ => return Err(SeriesFileError::content(path, format!("holds a single value; {FORMS}"))),
    }
    if source.arrays.is_empty() {
        return Err(SeriesFileError::content(path, format!("holds no arrays of numbers; {FORMS}")));
    }
    Ok(source)
}

fn read_records(path: &Path, items: &[Value], source: &mut Source) -> Result<(), SeriesFileError> {
    let mut records = Records::new("record");
    for (number, item) in (1..).zip(items) {
        let Value::Object(object) = item else {
            return Err(SeriesFileError::content(path, format!("record {number} is no object; {FORMS}")));
        };
        records.push(number, object);
    }
    records.finish(source);
    Ok(())
}

/// Records with whatever keys each has; every key becomes an array over the rows in which it stands.
struct Records {
    rows: Rows,
    keys: BTreeMap<String, Key>,
}

#[derive(Default)]
struct Key {
    in_rows: Vec<usize>,
    values: Vec<f64>,
    text: Option<(String, u64)>,
}

impl Records {
    fn new(word: &'static str) -> Self {
        Self { rows: Rows { word, numbers: Vec::new(), is_table: false }, keys: BTreeMap::new() }
    }

    fn push(&mut self, number: u64, object: &Map<String, Value>) {
        self.rows.numbers.push(number);
        for (key, value) in object {
            self.add(key, value, &mut Vec::new());
        }
    }

    /// Adds what stands under `key`; `at` is the place within a list of numbers.
    fn add(&mut self, key: &str, value: &Value, at: &mut Vec<usize>) {
        let value = match value {
            Value::Object(inner) => {
                for (name, value) in inner {
                    self.add(&format!("{key}.{name}"), value, at);
                }
                return;
            }
            Value::Array(items) => {
                for (i, item) in items.iter().enumerate() {
                    at.push(i);
                    self.add(key, item, at);
                    at.pop();
                }
                return;
            }
            other => number(other),
        };
        let name = if at.is_empty() { key.to_owned() } else { format!("{key}{}", component(at)) };
        let row = self.rows.numbers.len() - 1;
        let entry = self.keys.entry(name).or_default();
        // Two keys of one record may flatten to one name (`{"a.b": 1, "a": {"b": 2}}`): the first stays.
        if entry.in_rows.last() == Some(&row) {
            return;
        }
        match value {
            Ok(value) => {
                entry.in_rows.push(row);
                entry.values.push(value);
            }
            Err(text) => _ = entry.text.get_or_insert((text, self.rows.numbers[row])),
        }
    }

    fn finish(self, source: &mut Source) {
        for (name, key) in self.keys {
            if let Some((text, at)) = key.text {
                let word = self.rows.word;
                source.notices.push(format!("`{name}` is skipped: {word} {at} holds the text `{text:.40}`"));
            } else {
                let shape = vec![key.values.len()];
                source.arrays.push(Array { name, shape, values: key.values, in_rows: Some(key.in_rows) });
            }
        }
        source.rows = Some(self.rows);
    }
}

/// `[i,j]`.
pub(super) fn component(at: &[usize]) -> String {
    let parts: Vec<String> = at.iter().map(ToString::to_string).collect();
    format!("[{}]", parts.join(","))
}

/// A number, NaN where there is none, `Err` for text. Truth values count as 0 and 1.
fn number(value: &Value) -> Result<f64, String> {
    match value {
        Value::Number(number) => Ok(number.as_f64().unwrap_or(f64::NAN)),
        Value::Bool(is_true) => Ok(f64::from(u8::from(*is_true))),
        // JSON has no word for these, so some writers quote theirs.
        Value::String(text) if ["NaN", "Infinity", "-Infinity"].contains(&text.as_str()) => Ok(f64::NAN),
        Value::String(text) => Err(text.clone()),
        _ => Ok(f64::NAN),
    }
}

fn add_object(
    path: &Path,
    prefix: &str,
    object: &Map<String, Value>,
    source: &mut Source,
    others: &mut Vec<String>,
) -> Result<(), SeriesFileError> {
    for (key, value) in object {
        let name = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match value {
            Value::Object(inner) => add_object(path, &name, inner, source, others)?,
            Value::Array(items) if !items.is_empty() && !has_text(value) => add_array(path, &name, value, source)?,
            _ => others.push(format!("`{name}`")),
        }
    }
    Ok(())
}

/// Whether anything but numbers and lists of them stands in it.
fn has_text(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().any(has_text),
        Value::Object(_) => true,
        other => number(other).is_err(),
    }
}

fn add_array(path: &Path, name: &str, value: &Value, source: &mut Source) -> Result<(), SeriesFileError> {
    let mut array = Array { name: name.to_owned(), shape: Vec::new(), values: Vec::new(), in_rows: None };
    flatten(value, 0, &mut array)
        .map_err(|message| SeriesFileError::content(path, format!("`{name}` is ragged: {message}")))?;
    source.arrays.push(array);
    Ok(())
}

fn check_names(path: &Path, source: &Source) -> Result<(), SeriesFileError> {
    let mut names: Vec<&str> = source.arrays.iter().map(|array| array.name.as_str()).collect();
    names.sort_unstable();
    match names.array_windows().find(|[a, b]| a == b) {
        Some([twice, _]) => {
            let message = format!("two keys are both `{twice}`, one of them dotted; rename one");
            Err(SeriesFileError::content(path, message))
        }
        None => Ok(()),
    }
}

fn flatten(value: &Value, depth: usize, into: &mut Array) -> Result<(), String> {
    let Value::Array(items) = value else {
        if depth != into.shape.len() {
            return Err(format!("a number at depth {depth}, lists go {} deep", into.shape.len()));
        }
        into.values.push(number(value).unwrap_or(f64::NAN));
        return Ok(());
    };
    match into.shape.get(depth) {
        None if into.values.is_empty() => into.shape.push(items.len()),
        None => return Err(format!("a list at depth {depth}, where numbers stand before")),
        Some(&n) if n == items.len() => {}
        Some(&n) => return Err(format!("a list of {} after one of {n}", items.len())),
    }
    items.iter().try_for_each(|item| flatten(item, depth + 1, into))
}

/// Python writes `NaN` and `Infinity` where JSON has only `null`: outside strings they become that.
fn with_nulls(text: &str) -> std::borrow::Cow<'_, str> {
    if !text.contains("NaN") && !text.contains("Infinity") {
        return text.into();
    }
    let mut result = String::with_capacity(text.len() + text.len() / 8);
    let mut is_string = false;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let word = ["NaN", "-Infinity", "Infinity"].into_iter().find(|w| !is_string && rest.starts_with(w));
        if let Some(word) = word {
            result.push_str("null");
            rest = &rest[word.len()..];
            continue;
        }
        let n_bytes =
            if is_string && c == '\\' { 1 + rest[1..].chars().next().map_or(0, char::len_utf8) } else { c.len_utf8() };
        is_string ^= c == '"';
        result.push_str(&rest[..n_bytes]);
        rest = &rest[n_bytes..];
    }
    result.into()
}

fn to_string(error: &serde_json::Error) -> String {
    // The line is said by whoever knows which one it is in the file.
    let text = error.to_string();
    text.rsplit_once(" at line").map_or(text.clone(), |(message, _)| message.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrays(source: &Source) -> Vec<(&str, &[usize], &[f64])> {
        source.arrays.iter().map(|a| (a.name.as_str(), &*a.shape, &*a.values)).collect()
    }

    fn json(text: &str) -> Result<Source, String> {
        read(Path::new("m.json"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn an_object_of_arrays_is_flattened_with_dots() {
        let source =
            json(r#"{"step":[1,2],"loss":{"test":[0.5,true]},"heads":[[1,2,3],[4,5,6]],"lr":0.1,"tags":["a"]}"#);
        let source = source.unwrap();
        let expected: [(&str, &[usize], &[f64]); 3] = [
            ("step", &[2], &[1.0, 2.0]),
            ("loss.test", &[2], &[0.5, 1.0]),
            ("heads", &[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
        ];
        assert_eq!(arrays(&source), expected);
        assert_eq!(source.notices, ["not arrays of numbers, and skipped: `lr`, `tags`"]);
    }

    #[test]
    fn records_keep_their_rows() {
        let lines = "{\"step\":1,\"train\":{\"loss\":2}}\n\n{\"step\":2,\"eval\":0.5,\"note\":\"x\"}\n{\"step\":3,\"eval\":NaN,\"h\":[7,8]}";
        let array = "[{\"step\":1,\"train\":{\"loss\":2}},{\"step\":2,\"eval\":0.5,\"note\":\"x\"},{\"step\":3,\"eval\":null,\"h\":[7,8]}]";
        for (text, word, numbers) in [(lines, "line", [1, 3, 4]), (array, "record", [1, 2, 3])] {
            let source = json(text).unwrap();
            let rows = source.rows.as_ref().unwrap();
            assert_eq!((rows.word, &*rows.numbers), (word, &numbers[..]));
            let eval = &source.arrays[0];
            assert_eq!((eval.name.as_str(), eval.in_rows.as_deref()), ("eval", Some(&[1, 2][..])));
            assert!(eval.values[0] == 0.5 && eval.values[1].is_nan());
            let names: Vec<&str> = source.arrays.iter().map(|a| a.name.as_str()).collect();
            assert_eq!(names, ["eval", "h[0]", "h[1]", "step", "train.loss"]);
            assert!(source.notices[0].contains("`note` is skipped") && source.notices[0].contains("`x`"));
        }
    }

    #[test]
    fn a_list_of_records_among_settings_is_the_log() {
        let source = json(r#"{"lr":1,"log_history":[{"step":1,"loss":2},{"step":2,"loss":1}]}"#).unwrap();
        assert_eq!(source.arrays.len(), 2);
        assert_eq!(source.notices, ["the series are the records in `log_history`"]);
    }

    #[test]
    fn python_words_are_nulls_outside_strings() {
        assert_eq!(
            with_nulls(r#"{"NaN":NaN,"a\"NaN":[-Infinity,Infinity,"é\\NaN"]}"#),
            r#"{"NaN":null,"a\"NaN":[null,null,"é\\NaN"]}"#
        );
        assert_eq!(with_nulls("\"NaN\\"), "\"NaN\\");
    }

    #[test]
    fn mistakes_name_their_place() {
        for (text, says) in [
            ("{\"a\":[[1,2],[3]]}", "`a` is ragged: a list of 1 after one of 2"),
            ("{\"a\":[[1,2],3]}", "`a` is ragged: a number at depth 1"),
            ("{\"a\":[1,[2]]}", "`a` is ragged: a list at depth 1"),
            ("{\"a\":1}", "no arrays of numbers"),
            ("7", "a single value"),
            ("[{\"a\":1},2]", "record 2 is no object"),
            ("{\"a\":1}\n[2]\n", "line 2 is no object"),
            ("{\"a\":1}\n{\"a\":\n{\"a\":2}\n", "line 2 is no JSON"),
            ("{\"a\":[1,2", "is no JSON"),
            ("{\"a\":[1e999]}", "number out of range"),
            ("{\"a\":[1],\"b.c\":[1],\"b\":{\"c\":[1]}}", "two keys are both `b.c`"),
        ] {
            let error = json(text).unwrap_err();
            assert!(error.starts_with("m.json: ") && error.contains(says), "{text}: {error}");
        }
        let cut = json("{\"a\":1}\n{\"a\":2}\n{\"a\":").unwrap();
        assert_eq!(cut.arrays[0].values, [1.0, 2.0]);
        assert_eq!(cut.notices, ["line 3, the last, is cut off and skipped"]);
        assert!(json(&"[".repeat(100_000)).unwrap_err().contains("recursion limit"));
    }
}
