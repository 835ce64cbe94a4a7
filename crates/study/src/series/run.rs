//! The observables of a run, by address.

use std::path::Path;

use ontogeny_stats::MIN_TRANSITION_POINTS;
use ontogeny_store::RunFolder;

use super::points::{Point, check_selection, logarithm, series_of};
use super::{NamedSeries, SeriesFile, SeriesFileError, SeriesSettings};
use crate::analysis::all_series;

/// The series of a run: those that its analysis watches, or the selected ones.
///
/// # Errors
/// A folder that is no run, settings that belong to files, or no series long enough.
pub(super) fn read(path: &Path, settings: &SeriesSettings) -> Result<SeriesFile, SeriesFileError> {
    let wrong = |message: &str| SeriesFileError::content(path, message);
    if settings.time_axis.is_some() || !settings.every.is_empty() {
        return Err(wrong("is a run, whose steps are known; --every and --time-axis are for files"));
    }
    let folder = RunFolder::open(path).map_err(|error| SeriesFileError::Run(error.to_string()))?;
    let view = folder.view().map_err(|error| SeriesFileError::Run(error.to_string()))?;
    let mut notices: Vec<String> = view.problems.iter().map(ToString::to_string).collect();
    let view = view.results;
    let all = all_series(&view);
    let names: Vec<(String, &str)> = all.iter().map(|w| (w.address.clone(), w.address.as_str())).collect();
    check_selection(path, settings, &names)?;
    let mut series = Vec::new();
    let mut short = Vec::new();
    for watched in all {
        let (name, n) = (watched.address, watched.series.steps().len());
        let is_wanted = if settings.select.is_empty() {
            watched.by_default
        } else {
            settings.select.iter().any(|glob| glob.matches(&name))
        };
        if !is_wanted {
            continue;
        }
        if n < MIN_TRANSITION_POINTS {
            short.push(format!("`{name}` ({n})"));
            continue;
        }
        let series_of_log = if settings.log_values {
            let errors = watched.series.errors().map_or_else(|| vec![0.0; n], <[f64]>::to_vec);
            let values = watched.series.steps().iter().zip(watched.series.values()).zip(errors).enumerate();
            let mut points: Vec<Point> =
                values.map(|(at, ((&step, &value), error))| Point { step, value, error, at }).collect();
            logarithm(path, &name, &mut points)?;
            Some(series_of(path, &name, &points)?)
        } else {
            None
        };
        let unit = if settings.log_values { String::new() } else { watched.unit };
        series.push(NamedSeries { name, unit, series: series_of_log.unwrap_or(watched.series) });
    }
    if !short.is_empty() {
        notices.push(format!("skipped, fewer than {MIN_TRANSITION_POINTS} points: {}", short.join(", ")));
    }
    if series.is_empty() {
        let said = if notices.is_empty() { String::new() } else { format!(" ({})", notices.join("; ")) };
        return Err(wrong(&format!("holds no series of at least {MIN_TRANSITION_POINTS} measured checkpoints{said}")));
    }
    Ok(SeriesFile { title: view.run.title, series, notices, seed: view.run.seed })
}
