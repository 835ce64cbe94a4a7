//! Tables: one column for each series, one row for each step.

use std::path::Path;

use csv::{ReaderBuilder, StringRecord, Trim};

use super::{Array, Rows, SeriesFileError, Source};

/// What stands for a missing value, in lower case.
const MISSING: [&str; 7] = ["", "nan", "na", "n/a", "null", "none", "-"];

/// The columns of a table whose cells are parted by commas, semicolons or tabs.
///
/// # Errors
/// Rows of different lengths, a name twice, an axis that is not numeric, or no rows.
pub(super) fn read(path: &Path, text: &str, is_tsv: bool) -> Result<Source, SeriesFileError> {
    let wrong = |message: String| SeriesFileError::content(path, message);
    let delimiter = if is_tsv { b'\t' } else { delimiter(text) };
    let mut reader = ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .trim(Trim::All)
        .delimiter(delimiter)
        .from_reader(text.as_bytes());
    let mut source = Source::default();
    let mut record = StringRecord::new();
    let mut next = |record: &mut StringRecord| {
        let found = reader.read_record(record).map_err(|error| wrong(format!("cannot be read: {error}")))?;
        Ok::<_, SeriesFileError>(found.then(|| record.position().map_or(0, csv::Position::line)))
    };
    let number = |cell: &str| number(cell, delimiter == b';');

    let first_line = next(&mut record)?.unwrap_or(1);
    // An empty first cell is the corner above row names, so it heads numbers.
    let has_header = record.iter().any(|cell| number(cell).is_none()) || record.get(0) == Some("");
    let mut names: Vec<String> = if has_header {
        record.iter().map(str::to_owned).collect()
    } else {
        source
            .notices
            .push("the first row is numeric, so there is no header: columns are called 0, 1, 2, …".to_owned());
        (0..record.len()).map(|i| i.to_string()).collect()
    };
    let is_unnamed: Vec<bool> = names.iter().map(String::is_empty).collect();
    for (i, name) in names.iter_mut().enumerate().filter(|(_, name)| name.is_empty()) {
        *name = i.to_string();
    }
    if let Some((i, j)) = repeated(&names) {
        let message = format!("columns {} and {} are both called `{}`; rename one", i + 1, j + 1, names[i]);
        return Err(wrong(message));
    }

    let mut columns: Vec<Column> = names.iter().map(|_| Column::default()).collect();
    let mut lines = Vec::new();
    let mut line = if has_header { next(&mut record)? } else { Some(first_line) };
    while let Some(number_of_line) = line {
        if record.len() != names.len() {
            let head = if has_header { "the header" } else { "the first row" };
            return Err(wrong(format!(
                "line {number_of_line} has {} cells, {head} has {}; give every row as many",
                record.len(),
                names.len()
            )));
        }
        for (column, cell) in columns.iter_mut().zip(&record) {
            column.push(cell, number(cell), number_of_line);
        }
        lines.push(number_of_line);
        line = next(&mut record)?;
    }
    if lines.is_empty() {
        return Err(wrong("has a header and no rows".to_owned()));
    }

    for (i, (name, column)) in names.into_iter().zip(columns).enumerate() {
        let is_counter = || column.values.iter().enumerate().all(|(row, v)| *v == row as f64);
        if is_unnamed[i] && (column.is_empty || (i == 0 && is_counter())) {
            if !column.is_empty {
                source.notices.push("the first column has no name and counts the rows: it is skipped".to_owned());
            }
        } else if let Some((text, at)) = column.text {
            source.notices.push(format!("column `{name}` is skipped: line {at} holds the text `{text:.40}`"));
        } else {
            let shape = vec![column.values.len()];
            source.arrays.push(Array { name, shape, values: column.values, in_rows: None });
        }
    }
    source.rows = Some(Rows { word: "line", numbers: lines, is_table: true });
    Ok(source)
}

struct Column {
    values: Vec<f64>,
    /// The first cell that is no number, and its line.
    text: Option<(String, u64)>,
    is_empty: bool,
}

impl Default for Column {
    fn default() -> Self {
        Self { values: Vec::new(), text: None, is_empty: true }
    }
}

impl Column {
    fn push(&mut self, cell: &str, number: Option<f64>, line: u64) {
        self.is_empty &= cell.is_empty();
        if number.is_none() && self.text.is_none() {
            self.text = Some((cell.to_owned(), line));
        }
        self.values.push(number.unwrap_or(f64::NAN));
    }
}

/// The number in a cell, NaN where one is missing, `None` for text. Where semicolons part the cells, a comma may stand
/// for the decimal point.
fn number(cell: &str, has_decimal_commas: bool) -> Option<f64> {
    if MISSING.contains(&cell.to_lowercase().as_str()) {
        return Some(f64::NAN);
    }
    if has_decimal_commas && cell.matches(',').count() == 1 && !cell.contains('.') {
        return cell.replace(',', ".").parse().ok();
    }
    cell.parse().ok()
}

/// The most frequent of comma, semicolon and tab in the first line that is not empty, outside quotes.
fn delimiter(text: &str) -> u8 {
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or("");
    let mut counts = [(b';', 0), (b'\t', 0), (b',', 0)];
    let mut is_quoted = false;
    for byte in line.bytes() {
        is_quoted ^= byte == b'"';
        if let Some((_, count)) = counts.iter_mut().find(|(d, _)| !is_quoted && *d == byte) {
            *count += 1;
        }
    }
    // The last of equals wins: a comma, where nothing speaks against it.
    counts.into_iter().max_by_key(|(_, count)| *count).map_or(b',', |(d, _)| d)
}

/// The first two places of one name.
fn repeated(names: &[String]) -> Option<(usize, usize)> {
    let mut first = std::collections::BTreeMap::new();
    names.iter().enumerate().find_map(|(j, name)| first.insert(name, j).map(|i| (i, j)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> Result<Source, String> {
        read(Path::new("t.csv"), text, false).map_err(|error| error.to_string())
    }

    fn columns(source: &Source) -> Vec<(&str, Vec<f64>)> {
        source.arrays.iter().map(|a| (a.name.as_str(), a.values.clone())).collect()
    }

    #[test]
    fn delimiters_quotes_line_ends_and_decimal_commas() {
        let expected = vec![("step", vec![1.0, 2.0]), ("a b", vec![0.5, -3e-2])];
        for text in [
            "step,a b\n1,0.5\n2,-3e-2\n",
            "step,\"a b\"\r\n1,0.5\r\n\r\n2, -3e-2",
            "step;a b\n1;0,5\n2;-3e-2\n",
            "step\ta b\n1\t.5\n2\t-0.03\n",
            "\nstep ; a b\n\"1\";\"0,5\"\n2;-0,03\n",
        ] {
            let source = table(text).unwrap();
            assert_eq!(columns(&source), expected, "{text}");
            assert!(source.notices.is_empty(), "{:?}", source.notices);
        }
        // A quoted comma is no delimiter.
        assert_eq!(columns(&table("\"a,b,c\";d\n1;2\n").unwrap()), [("a,b,c", vec![1.0]), ("d", vec![2.0])]);
    }

    #[test]
    fn what_is_missing_or_text_is_said() {
        let source = table("step,loss,note\n1,,ok\n2,NaN,ok\n3,-inf,\n").unwrap();
        assert_eq!(source.arrays.len(), 2);
        let loss = &source.arrays[1].values;
        assert!(loss[0].is_nan() && loss[1].is_nan() && loss[2] == f64::NEG_INFINITY);
        assert_eq!(source.notices, ["column `note` is skipped: line 2 holds the text `ok`"]);

        let source = table("1,2\n3,4\n").unwrap();
        assert_eq!(columns(&source), [("0", vec![1.0, 3.0]), ("1", vec![2.0, 4.0])]);
        assert!(source.notices[0].contains("no header"), "{:?}", source.notices);

        // What pandas writes: row numbers without a name. An empty last column is nothing.
        let source = table(",step,loss,\n0,10,1,\n1,20,2,\n").unwrap();
        assert_eq!(columns(&source), [("step", vec![10.0, 20.0]), ("loss", vec![1.0, 2.0])]);
        assert_eq!(source.notices.len(), 1);
    }

    #[test]
    fn mistakes_name_their_line_or_columns() {
        for (text, says) in [
            ("a,b\n1,2\n1,2,3\n", "line 3 has 3 cells, the header has 2"),
            ("1,2\n1\n", "line 2 has 1 cells, the first row has 2"),
            ("loss,b,loss\n1,2,3\n", "columns 1 and 3 are both called `loss`"),
            ("a,b\n", "a header and no rows"),
        ] {
            let error = table(text).unwrap_err();
            assert!(error.starts_with("t.csv: ") && error.contains(says), "{error}");
        }
    }
}
