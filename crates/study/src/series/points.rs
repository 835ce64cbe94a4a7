//! The points of one series, and what readers of files and of runs do with them alike.

use std::path::Path;

use ontogeny_stats::Series;

use super::{SeriesFileError, SeriesSettings};
use crate::toml_source::nearest;

/// Values and errors beyond this are refused: their squares overflow.
pub(crate) const MAX_VALUE: f64 = 1e100;

/// One value of a series.
#[derive(Debug, Clone, Copy)]
pub(super) struct Point {
    pub(super) step: f64,
    pub(super) value: f64,
    /// Standard error; 0 where it is not known.
    pub(super) error: f64,
    /// Index along time, for messages.
    pub(super) at: usize,
}

/// Checks that every pattern of `--series` fits one of `names`, which are pairs of a series and the array it is from.
pub(super) fn check_selection(
    path: &Path,
    settings: &SeriesSettings,
    names: &[(String, &str)],
) -> Result<(), SeriesFileError> {
    for glob in &settings.select {
        if !names.iter().any(|(name, array)| glob.matches(name) || glob.matches(array)) {
            let text = glob.to_string();
            let hint = match nearest(&text, names.iter().map(|(name, _)| name.as_str())) {
                Some(name) => format!("did you mean `{name}`?"),
                None => format!("there are {}", listed(names.iter().map(|(name, _)| name.as_str()))),
            };
            return Err(SeriesFileError::content(path, format!("no series fits `{text}`; {hint}")));
        }
    }
    Ok(())
}

/// The logarithm of values, with that of their errors.
pub(super) fn logarithm(path: &Path, name: &str, points: &mut [Point]) -> Result<(), SeriesFileError> {
    for point in points {
        if point.value <= 0.0 {
            let message = format!(
                "`{name}` is {} at step {}, which has no logarithm; leave out --log-values, or choose other series with \
                 --series",
                point.value, point.step
            );
            return Err(SeriesFileError::content(path, message));
        }
        // d ln y = dy / y.
        let error = point.error / point.value;
        if error > MAX_VALUE {
            let (value, step) = (point.value, point.step);
            let message = format!(
                "`{name}` is {value:e} ± {:e} at step {step}, and the error of its logarithm beyond {MAX_VALUE:e}; leave \
                 out --log-values, or choose other series with --series",
                point.error
            );
            return Err(SeriesFileError::content(path, message));
        }
        point.error = error;
        point.value = point.value.ln();
    }
    Ok(())
}

/// The series of checked points, with errors where there are any.
pub(super) fn series_of(path: &Path, name: &str, points: &[Point]) -> Result<Series, SeriesFileError> {
    let wrong = |error| SeriesFileError::content(path, format!("`{name}`: {error}"));
    let column = |of: fn(&Point) -> f64| points.iter().map(of).collect::<Vec<f64>>();
    let series = Series::new(column(|p| p.step), column(|p| p.value)).map_err(wrong)?;
    if points.iter().any(|p| p.error > 0.0) {
        series.with_errors(column(|p| p.error)).map_err(wrong)
    } else {
        Ok(series)
    }
}

/// Up to twelve names.
pub(super) fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let all: Vec<String> = names.map(|name| format!("`{name}`")).collect();
    let shown = all.len().min(12);
    let more = if shown < all.len() { format!(" and {} more", all.len() - shown) } else { String::new() };
    format!("{}{more}", all[..shown].join(", "))
}
