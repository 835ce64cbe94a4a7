//! Series from anywhere: the columns of a CSV file, the arrays of an NPZ or JSON file, the observables of a run.
//!
//! Every reader gives a [`Source`], named arrays as the file has them; [`assemble`](assemble::assemble) makes series of
//! them: which axis is time, which step belongs to which value, which values count.

mod assemble;
mod csv;
mod error;
mod json;
mod name_glob;
mod npz;
mod points;
mod run;
mod text;

pub use error::SeriesFileError;
pub use name_glob::{NameGlob, NameGlobError};
pub(crate) use points::MAX_VALUE;

use std::io::Read as _;
use std::path::Path;

use ontogeny_stats::Series;

/// Fewest finite points of a series from a file; shorter ones are left out with a notice.
pub const MIN_FILE_POINTS: usize = 20;

/// How the values of a file become series.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SeriesSettings {
    /// Which axis of arrays with several is time, from 0, or from −1 backwards; the longest unless given.
    pub time_axis: Option<i64>,
    /// Steps from value to value where the file gives none; a later one that matches wins. 1 unless given.
    pub every: Vec<Every>,
    /// Names to keep; all unless given.
    pub select: Vec<NameGlob>,
    /// Whether the natural logarithm of the values is analysed.
    pub log_values: bool,
}

/// Value i (from 0) stands at step (i + 1)·`steps`.
#[derive(Debug, Clone, PartialEq)]
pub struct Every {
    /// For which names; all unless given.
    pub names: Option<NameGlob>,
    /// Steps from value to value, above 0 and at most 1e9.
    pub steps: f64,
}

/// A series with its name.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedSeries {
    /// Column, array with its component (`NAME[i]`), dotted JSON key, or address in a run (`loss.test`).
    pub name: String,
    /// Unit of the values; empty where the file does not say.
    pub unit: String,
    /// Steps, values and, where known, standard errors.
    pub series: Series,
}

/// What a file or run gave.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesFile {
    /// The title of a run, the name of a file.
    pub title: String,
    /// At least one series, in the order of the file.
    pub series: Vec<NamedSeries>,
    /// What was left out or assumed, for people.
    pub notices: Vec<String>,
    /// The seed of a run, whose analysis it makes again; 0 for a file.
    pub seed: u64,
}

/// Reads every series of a CSV, TSV, NPZ, NPY, JSON or JSON-lines file (text also packed as `.gz`), or of a run's folder.
///
/// The format is found from the content, for text with the help of the extension.
///
/// - An array or column named `step`, `epoch`, `x` or `t` (in any case) is the axis: in CSV the first column, else one
///   named `step` or `epoch`; in NPZ and JSON an array or key of that name whose length fits. Without one, value i
///   stands at step (i + 1)·K, see [`Every`]. Steps that are not in order are sorted.
/// - Of several axes the longest is time; the others become components `NAME[i]`, `NAME[i,j]`, ….
/// - `NAME_se` is the standard error of `NAME`.
/// - Values that are missing or not finite are left out, and series of fewer than [`MIN_FILE_POINTS`] points as well;
///   a notice says so. Of a run, the series are those that its own analysis watches, unless others are selected, and
///   eight points are enough.
///
/// # Errors
/// A file that cannot be read, contradicts itself (ragged rows, a step twice, a name twice), or gives no series; a
/// selection that matches nothing; with `log_values`, a value that is not positive.
pub fn read_series(path: &Path, settings: &SeriesSettings) -> Result<SeriesFile, SeriesFileError> {
    if path.is_dir() {
        return run::read(path, settings);
    }
    let mut head = Vec::new();
    let mut file = fs_err::File::open(path).map_err(SeriesFileError::Io)?;
    file.by_ref().take(8).read_to_end(&mut head).map_err(|error| SeriesFileError::read(path, &error))?;
    // Opened once for text: what a pipe has given it does not give again.
    let source = if is_numpy(path, &head) { npz::read(path)? } else { text::read(path, &head, file)? };
    assemble::assemble(path, source, settings)
}

fn is_numpy(path: &Path, head: &[u8]) -> bool {
    let by_name = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("npz") || e.eq_ignore_ascii_case("npy"));
    by_name || head.starts_with(b"PK") || head.starts_with(b"\x93NUMPY")
}

/// The arrays of a file, before any of them is taken for time or left out.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Source {
    pub(crate) arrays: Vec<Array>,
    /// What the file's rows are, where its arrays share them.
    pub(crate) rows: Option<Rows>,
    pub(crate) notices: Vec<String>,
}

/// Named values.
#[derive(Debug, PartialEq)]
pub(crate) struct Array {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    /// Row-major; NaN where a value is missing.
    pub(crate) values: Vec<f64>,
    /// For records with different keys: the index of the row that each value stands in, ascending.
    pub(crate) in_rows: Option<Vec<usize>>,
}

/// Rows of a table or records of a log.
#[derive(Debug, PartialEq)]
pub(crate) struct Rows {
    /// What one is called in messages: `line`, `record`.
    pub(crate) word: &'static str,
    /// The number people know each by.
    pub(crate) numbers: Vec<u64>,
    /// Whether the axis must be the first array or be called `step` or `epoch`.
    pub(crate) is_table: bool,
}
