//! From the arrays of a file to series: time, steps, companions, what is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::json::component;
use super::points::{MAX_VALUE, Point, check_selection, listed, logarithm, series_of};
use super::{Array, MIN_FILE_POINTS, NamedSeries, Rows, SeriesFile, SeriesFileError, SeriesSettings, Source};

/// Names of an axis, in lower case; of several in one file the first here is taken.
const AXES: [&str; 4] = ["step", "epoch", "x", "t"];
/// Those that are never measurements: beside another axis they are a second clock.
const CLOCKS: [&str; 2] = ["step", "epoch"];
/// Beyond this, neighbouring steps could no longer be told apart.
const MAX_STEP: f64 = 1e15;
/// More are a mistake, or a matter for a script.
const MAX_SERIES: usize = 10_000;

/// Makes the series of a file.
///
/// # Errors
/// See [`read_series`](super::read_series).
pub(super) fn assemble(path: &Path, source: Source, settings: &SeriesSettings) -> Result<SeriesFile, SeriesFileError> {
    let Source { arrays, rows, notices } = source;
    let mut reading = Reading { path, settings, arrays: &arrays, rows: rows.as_ref(), notices };
    let series = reading.all()?;
    let title = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(SeriesFile { title, series, notices: reading.notices, seed: 0 })
}

struct Reading<'a> {
    path: &'a Path,
    settings: &'a SeriesSettings,
    arrays: &'a [Array],
    rows: Option<&'a Rows>,
    notices: Vec<String>,
}

/// An array of measurements with its time.
struct Measured<'a> {
    array: &'a Array,
    /// Which axis is time.
    time: usize,
    axis: Option<&'a Array>,
    error: Option<&'a Array>,
    every: f64,
    /// The components that were asked for, with their names.
    components: Vec<(usize, String)>,
}

impl<'a> Reading<'a> {
    fn wrong(&self, message: impl Into<String>) -> SeriesFileError {
        SeriesFileError::content(self.path, message)
    }

    fn all(&mut self) -> Result<Vec<NamedSeries>, SeriesFileError> {
        let axes = self.axes();
        let errors = self.companions();
        let is_error: BTreeSet<usize> = errors.values().copied().collect();
        let mut measured = Vec::new();
        let mut used = Vec::new();
        for (i, array) in self.arrays.iter().enumerate() {
            if array.values.is_empty() {
                self.notices.push(format!("`{}` is skipped: it is empty", array.name));
                continue;
            }
            if axes.contains(&i) || is_error.contains(&i) {
                continue;
            }
            let (time, axis) = self.time(array, &axes)?;
            used.extend(axis);
            measured.push((i, time, axis));
        }
        // What nobody uses as an axis is a measurement that happens to be called `x`, unless it is a clock.
        for &i in axes.iter().rev() {
            let array = &self.arrays[i];
            let is_clock = CLOCKS.contains(&lower(array).as_str());
            if used.contains(&i) {
            } else if is_clock && !measured.is_empty() {
                self.notices.push(format!("`{}` is another axis and is not analysed", array.name));
            } else {
                let others: Vec<usize> = axes.iter().copied().filter(|other| *other != i).collect();
                let (time, axis) = self.time(array, &others)?;
                used.extend(axis);
                measured.push((i, time, axis));
            }
        }
        measured.sort_unstable_by_key(|(i, ..)| *i);
        let mut chosen: Vec<Measured<'a>> = Vec::new();
        for (i, time, axis) in measured {
            let array = &self.arrays[i];
            let error = errors.get(&i).map(|&e| &self.arrays[e]);
            let every = self.every(array);
            let axis = axis.map(|a| &self.arrays[a]);
            chosen.push(Measured { array, time, axis, error, every, components: self.components(array, time)? });
        }
        self.select(&mut chosen)?;
        self.say_where_steps_come_from(&chosen, &axes)?;
        let mut names: Vec<&str> =
            chosen.iter().flat_map(|one| one.components.iter().map(|(_, name)| name.as_str())).collect();
        names.sort_unstable();
        if let Some([twice, _]) = names.array_windows().find(|[a, b]| a == b) {
            return Err(self.wrong(format!("two series are called `{twice}`; rename one")));
        }
        let mut series = Vec::new();
        let mut short = Vec::new();
        for one in &chosen {
            self.read(one, &mut series, &mut short)?;
        }
        if !short.is_empty() {
            let names = short.iter().map(|(name, n)| format!("`{name}` ({n})")).collect::<Vec<_>>().join(", ");
            self.notices.push(format!("skipped, fewer than {MIN_FILE_POINTS} points: {names}"));
        }
        if series.is_empty() {
            let said = if self.notices.is_empty() { String::new() } else { format!(" ({})", self.notices.join("; ")) };
            return Err(self.wrong(format!(
                "holds no series of at least {MIN_FILE_POINTS} points{said}; a series is a numeric column or array, one \
                 value for each step"
            )));
        }
        Ok(series)
    }

    /// The arrays that may be an axis, the preferred one first.
    fn axes(&mut self) -> Vec<usize> {
        let is_list = |array: &Array| array.shape.len() == 1 && !array.values.is_empty();
        let rank = |array: &Array| AXES.iter().position(|axis| is_list(array) && lower(array) == *axis);
        let mut axes: Vec<(usize, usize)> =
            self.arrays.iter().enumerate().filter_map(|(i, array)| Some((rank(array)?, i))).collect();
        axes.sort_unstable();
        if self.rows.is_some_and(|rows| rows.is_table) {
            // In a table the first column decides; elsewhere only the plain words for training time are believed.
            if let Some(&first) = axes.iter().find(|(_, i)| *i == 0) {
                axes.retain(|(rank, i)| *i == 0 || *rank < CLOCKS.len());
                axes.sort_unstable_by_key(|axis| *axis != first);
            } else {
                axes.retain(|(rank, _)| *rank < CLOCKS.len());
                if let Some((_, i)) = axes.first() {
                    self.notices.push(format!("column `{}` is the axis", self.arrays[*i].name));
                } else if let Some(first) = self.arrays.first().filter(|a| a.values.is_sorted_by(|a, b| a < b)) {
                    let name = &first.name;
                    self.notices.push(format!("column `{name}` only rises: if it is the axis, call it `step`"));
                }
            }
        }
        axes.into_iter().map(|(_, i)| i).collect()
    }

    /// For each array the one called `NAME_se` that holds its standard errors.
    fn companions(&self) -> BTreeMap<usize, usize> {
        let by_name: BTreeMap<&str, usize> =
            self.arrays.iter().enumerate().map(|(i, a)| (a.name.as_str(), i)).collect();
        let of = |i: usize, array: &Array| {
            // Components of records are called `NAME[i]`, so their errors `NAME_se[i]`.
            let (stem, index) = array.name.split_at(array.name.find('[').unwrap_or(array.name.len()));
            let base = *by_name.get(format!("{}{index}", stem.strip_suffix("_se")?).as_str())?;
            let fits = self.arrays[base].shape == array.shape || array.in_rows.is_some();
            fits.then_some((base, i))
        };
        self.arrays.iter().enumerate().filter_map(|(i, array)| of(i, array)).collect()
    }

    /// Which axis of an array is time, and the array that holds its steps.
    fn time(&mut self, array: &Array, axes: &[usize]) -> Result<(usize, Option<usize>), SeriesFileError> {
        if self.rows.is_some() {
            return Ok((0, axes.first().copied()));
        }
        let (shape, n_axes) = (&array.shape, array.shape.len());
        let longest = (0..n_axes).rev().max_by_key(|&axis| shape[axis]).unwrap_or(0);
        let fitting = |axis: usize| axes.iter().copied().find(|&i| self.arrays[i].values.len() == shape[axis]);
        if let Some(asked) = self.settings.time_axis.filter(|_| n_axes > 1) {
            let from_start = if asked < 0 { asked + n_axes as i64 } else { asked };
            let time = usize::try_from(from_start).ok().filter(|&axis| axis < n_axes).ok_or_else(|| {
                self.wrong(format!(
                    "--time-axis {asked}: `{}` of shape {shape:?} has axes 0 to {}",
                    array.name,
                    n_axes - 1
                ))
            })?;
            return Ok((time, fitting(time)));
        }
        if let Some(axis) = fitting(longest) {
            return Ok((longest, Some(axis)));
        }
        // An axis array that fits only a shorter axis still says which one is time.
        if let Some((time, axis)) = (0..n_axes).find_map(|time| Some((time, fitting(time)?))) {
            self.notices.push(format!(
                "`{}` of shape {shape:?}: axis {time} is time, because `{}` is as long",
                array.name, self.arrays[axis].name
            ));
            return Ok((time, Some(axis)));
        }
        if (0..n_axes).filter(|&axis| shape[axis] == shape[longest]).count() > 1 {
            self.notices.push(format!(
                "`{}` of shape {shape:?} has two longest axes: axis {longest} is time; --time-axis chooses another",
                array.name
            ));
        }
        Ok((longest, None))
    }

    /// Steps from value to value where no axis says.
    fn every(&self, array: &Array) -> f64 {
        let fits = |names: &super::NameGlob| names.matches(&array.name);
        let found = self.settings.every.iter().rev().find(|every| every.names.as_ref().is_none_or(fits));
        found.map_or(1.0, |every| every.steps)
    }

    fn components(&self, array: &Array, time: usize) -> Result<Vec<(usize, String)>, SeriesFileError> {
        let others: Vec<usize> =
            array.shape.iter().enumerate().filter(|(axis, _)| *axis != time).map(|(_, n)| *n).collect();
        let n: usize = others.iter().product();
        if others.is_empty() {
            return Ok(vec![(0, array.name.clone())]);
        }
        let most = if self.settings.select.is_empty() { MAX_SERIES } else { 100 * MAX_SERIES };
        if n > most {
            return Err(self.wrong(format!(
                "`{}` of shape {:?} would be {n} series, more than {most}; choose some with --series, or average \
                 over an axis first",
                array.name, array.shape
            )));
        }
        let name = |mut i: usize| {
            let mut at = vec![0; others.len()];
            for (place, extent) in at.iter_mut().zip(&others).rev() {
                *place = i % extent;
                i /= extent;
            }
            format!("{}{}", array.name, component(&at))
        };
        Ok((0..n).map(|i| (i, name(i))).collect())
    }

    /// Keeps what `--series` asks for.
    fn select(&self, chosen: &mut Vec<Measured<'a>>) -> Result<(), SeriesFileError> {
        let names: Vec<(String, &str)> = chosen
            .iter()
            .flat_map(|one| one.components.iter().map(|(_, name)| (name.clone(), one.array.name.as_str())))
            .collect();
        check_selection(self.path, self.settings, &names)?;
        if !self.settings.select.is_empty() {
            let is_wanted = |name: &str| self.settings.select.iter().any(|glob| glob.matches(name));
            for one in chosen.iter_mut() {
                let whole = is_wanted(&one.array.name);
                one.components.retain(|(_, name)| whole || is_wanted(name));
            }
            chosen.retain(|one| !one.components.is_empty());
        }
        let n: usize = chosen.iter().map(|one| one.components.len()).sum();
        if n > MAX_SERIES {
            return Err(self.wrong(format!("holds {n} series, more than {MAX_SERIES}; choose some with --series")));
        }
        Ok(())
    }

    fn say_where_steps_come_from(&mut self, chosen: &[Measured<'_>], axes: &[usize]) -> Result<(), SeriesFileError> {
        for every in &self.settings.every {
            if let Some(names) = &every.names
                && !self.arrays.iter().any(|array| names.matches(&array.name))
            {
                let there = listed(self.arrays.iter().map(|array| array.name.as_str()));
                return Err(self.wrong(format!("--every {names}={}: no array fits; there are {there}", every.steps)));
            }
        }
        let without: Vec<&str> = chosen.iter().filter(|one| one.axis.is_none()).map(|one| &*one.array.name).collect();
        if without.is_empty() && !self.settings.every.is_empty() {
            let axis = axes.first().map_or("", |&i| &self.arrays[i].name);
            self.notices.push(format!("--every is not used: the steps are those of `{axis}`"));
        } else if !without.is_empty() && self.settings.every.is_empty() {
            let which = if without.len() == chosen.len() {
                String::new()
            } else {
                format!(" of {}", listed(without.into_iter()))
            };
            self.notices.push(format!(
                "no axis called step, epoch, x or t{}: value i (from 0) stands at step i + 1; --every K makes it (i + 1)·K",
                if which.is_empty() { String::new() } else { format!(" fits the length{which}") }
            ));
        }
        Ok(())
    }

    /// Adds the series of one array; those too short to `short`.
    fn read(
        &mut self,
        one: &Measured<'_>,
        series: &mut Vec<NamedSeries>,
        short: &mut Vec<(String, usize)>,
    ) -> Result<(), SeriesFileError> {
        let (array, name) = (one.array, &one.array.name);
        let n_times = array.shape[one.time];
        let stride: usize = array.shape[one.time + 1..].iter().product();
        let steps = self.steps(one, n_times)?;
        let (mut n_lost, mut n_without_step, mut was_unsorted) = (0, 0, false);
        let error_at = |at: usize, place: usize| match (one.error, &array.in_rows) {
            (None, _) => Some(0.0),
            (Some(errors), None) => Some(errors.values[place]),
            (Some(errors), Some(rows)) => {
                let rows_of_errors = errors.in_rows.as_deref().unwrap_or(&[]);
                rows_of_errors.binary_search(&rows[at]).ok().map(|i| errors.values[i])
            }
        };
        for (index, full_name) in &one.components {
            let first = index / stride * stride * n_times + index % stride;
            let mut points = Vec::with_capacity(n_times);
            for (at, &step) in steps.iter().enumerate() {
                let place = first + at * stride;
                let value = array.values[place];
                if !value.is_finite() {
                    n_lost += 1;
                } else if step.is_nan() {
                    n_without_step += 1;
                } else {
                    let error = error_at(at, place).filter(|e| !e.is_nan()).unwrap_or(0.0);
                    let place = || self.place(array, at);
                    if !(0.0..=MAX_VALUE).contains(&error) {
                        let (place, range) = (place(), format!("expected 0 to {MAX_VALUE:e}"));
                        return Err(
                            self.wrong(format!("the standard error of `{full_name}` at {place} is {error}; {range}"))
                        );
                    }
                    if value.abs() > MAX_VALUE {
                        let (place, range) = (place(), format!("expected at most {MAX_VALUE:e} in size; rescale it"));
                        return Err(self.wrong(format!("`{full_name}` at {place} is {value:e}; {range}")));
                    }
                    points.push(Point { step, value, error, at });
                }
            }
            was_unsorted |= !points.is_sorted_by(|a, b| a.step <= b.step);
            points.sort_by(|a, b| a.step.total_cmp(&b.step));
            self.check_steps(one, full_name, &points)?;
            if points.len() < MIN_FILE_POINTS {
                short.push((full_name.clone(), points.len()));
                continue;
            }
            if self.settings.log_values {
                logarithm(self.path, full_name, &mut points)?;
            }
            let unit = String::new();
            series.push(NamedSeries {
                name: full_name.clone(),
                unit,
                series: series_of(self.path, full_name, &points)?,
            });
        }
        let axis = one.axis.map_or("", |axis| &axis.name);
        let n_all = n_times * one.components.len();
        if n_lost > 0 {
            self.notices.push(format!("`{name}`: {n_lost} of {n_all} values are missing or not finite and left out"));
        }
        if n_without_step > 0 {
            self.notices
                .push(format!("`{name}`: {n_without_step} of {n_all} values have no `{axis}` and are left out"));
        }
        if was_unsorted {
            self.notices.push(format!("`{name}`: the steps in `{axis}` are not in order, and were sorted"));
        }
        Ok(())
    }

    /// The step of every value of an array along its time; NaN where there is none.
    fn steps(&self, one: &Measured<'_>, n_times: usize) -> Result<Vec<f64>, SeriesFileError> {
        let Some(axis) = one.axis else {
            let index = |at: usize| one.array.in_rows.as_ref().map_or(at, |rows| rows[at]);
            return Ok((0..n_times).map(|at| (index(at) + 1) as f64 * one.every).collect());
        };
        let wrong = |at: usize, step: f64| {
            let place = self.place(axis, at);
            self.wrong(format!("`{}` at {place} is {step}; a step is a number from 0 to {MAX_STEP:e}", axis.name))
        };
        for (at, &step) in axis.values.iter().enumerate() {
            if !step.is_nan() && !(0.0..=MAX_STEP).contains(&step) {
                return Err(wrong(at, step));
            }
        }
        Ok(match (&one.array.in_rows, &axis.in_rows) {
            (Some(rows), Some(rows_of_axis)) => {
                let step = |row| rows_of_axis.binary_search(row).map_or(f64::NAN, |i| axis.values[i]);
                rows.iter().map(step).collect()
            }
            _ => axis.values.clone(),
        })
    }

    fn check_steps(&self, one: &Measured<'_>, name: &str, sorted: &[Point]) -> Result<(), SeriesFileError> {
        let Some(pair) = sorted.windows(2).find(|pair| pair[0].step == pair[1].step) else {
            return Ok(());
        };
        let (a, b) = (pair[0].at.min(pair[1].at), pair[0].at.max(pair[1].at));
        let axis = one.axis.map_or("", |axis| &axis.name);
        let remedy = if self.rows.is_some_and(|rows| rows.is_table) {
            "keep one row for each step; a long table, with several series below each other, must be split first"
        } else {
            "keep one value for each step, or rename the array if it is no axis"
        };
        Err(self.wrong(format!(
            "`{name}` has two values at `{axis}` {}: {} and {}; {remedy}",
            pair[0].step,
            self.place(one.array, a),
            self.place(one.array, b)
        )))
    }

    /// Where a value stands, as people find it in the file.
    fn place(&self, array: &Array, at: usize) -> String {
        match self.rows {
            Some(rows) => {
                let row = array.in_rows.as_ref().map_or(at, |in_rows| in_rows[at]);
                format!("{} {}", rows.word, rows.numbers[row])
            }
            None => format!("index {at}"),
        }
    }
}

fn lower(array: &Array) -> String {
    array.name.to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::Every;

    fn array(name: &str, shape: &[usize], values: Vec<f64>) -> Array {
        Array { name: name.to_owned(), shape: shape.to_vec(), values, in_rows: None }
    }

    fn ramp(n: usize) -> Vec<f64> {
        (0..n).map(|i| i as f64).collect()
    }

    fn file(arrays: Vec<Array>, settings: &SeriesSettings) -> Result<SeriesFile, String> {
        let source = Source { arrays, ..Source::default() };
        assemble(Path::new("a.npz"), source, settings).map_err(|error| error.to_string())
    }

    fn names(file: &SeriesFile) -> Vec<&str> {
        file.series.iter().map(|s| s.name.as_str()).collect()
    }

    #[test]
    fn the_longest_axis_is_time_and_the_others_are_components() {
        // value = 100·time + 10·i + j, time in the middle.
        let at = |i: usize, t: usize, j: usize| (100 * t + 10 * i + j) as f64;
        let values = (0..2).flat_map(|i| (0..30).flat_map(move |t| (0..3).map(move |j| at(i, t, j)))).collect();
        let cube = || vec![array("a", &[2, 30, 3], Vec::clone(&values))];
        let found = file(cube(), &SeriesSettings::default()).unwrap();
        assert_eq!(names(&found), ["a[0,0]", "a[0,1]", "a[0,2]", "a[1,0]", "a[1,1]", "a[1,2]"]);
        for (s, (i, j)) in found.series.iter().zip([(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]) {
            assert_eq!(s.series.values(), (0..30).map(|t| at(i, t, j)).collect::<Vec<_>>());
            assert_eq!(s.series.steps(), (1..=30).map(f64::from).collect::<Vec<_>>());
        }
        // Along another axis everything is too short, and said to be.
        for time_axis in [2, -1] {
            let settings = SeriesSettings { time_axis: Some(time_axis), ..SeriesSettings::default() };
            let error = file(cube(), &settings).unwrap_err();
            assert!(error.contains("fewer than 20 points: `a[0,0]` (3)"), "{error}");
        }
        let settings = SeriesSettings { time_axis: Some(3), ..SeriesSettings::default() };
        assert!(file(cube(), &settings).unwrap_err().contains("`a` of shape [2, 30, 3] has axes 0 to 2"));
    }

    #[test]
    fn steps_come_from_the_axis_that_fits_else_from_every() {
        let steps: Vec<f64> = (0..25).map(|i| f64::from(i * i)).collect();
        let arrays = || {
            vec![
                array("Step", &[25], steps.clone()),
                array("fits", &[25], ramp(25)),
                array("wide", &[25, 40], ramp(1000)),
                array("other", &[30], ramp(30)),
                array("x", &[30], ramp(30)),
                array("lone", &[21], ramp(21)),
            ]
        };
        let every = |names: Option<&str>, steps| Every { names: names.map(|n| n.parse().unwrap()), steps };
        let settings =
            SeriesSettings { every: vec![every(None, 5.0), every(Some("lo*"), 100.0)], ..SeriesSettings::default() };
        let found = file(arrays(), &settings).unwrap();
        let of = |name: &str| found.series.iter().find(|s| s.name == name).unwrap().series.steps().to_vec();
        assert_eq!(of("fits"), steps);
        assert_eq!(of("wide[39]"), steps, "the axis of 25 is time although 40 is longer");
        assert_eq!(of("other"), ramp(30));
        assert_eq!(of("lone")[..2], [100.0, 200.0]);
        assert!(found.notices.iter().any(|n| n.contains("`wide` of shape [25, 40]: axis 0 is time")));
        let wrong = SeriesSettings { every: vec![every(Some("none*"), 2.0)], ..SeriesSettings::default() };
        assert!(file(arrays(), &wrong).unwrap_err().contains("--every none*=2: no array fits"));
    }

    #[test]
    fn an_x_that_is_no_axis_is_a_measurement() {
        let found = file(vec![array("x", &[20], ramp(20))], &SeriesSettings::default()).unwrap();
        assert_eq!(names(&found), ["x"]);
        let arrays = vec![array("epoch", &[20], ramp(20)), array("step", &[20], ramp(20)), array("y", &[20], ramp(20))];
        let found = file(arrays, &SeriesSettings::default()).unwrap();
        assert_eq!(names(&found), ["y"]);
        assert_eq!(found.notices, ["`epoch` is another axis and is not analysed"]);
    }

    #[test]
    fn errors_of_a_series_come_from_its_companion() {
        let mut errors = vec![0.5; 20];
        errors[3] = f64::NAN;
        let arrays =
            |errors: Vec<f64>| vec![array("y", &[20], (1..21).map(f64::from).collect()), array("y_se", &[20], errors)];
        let found = file(arrays(errors.clone()), &SeriesSettings::default()).unwrap();
        assert_eq!(names(&found), ["y"]);
        let read = found.series[0].series.errors().unwrap();
        assert_eq!((read[2], read[3]), (0.5, 0.0), "an error that is missing is not known");
        // d ln y = dy / y
        let log = SeriesSettings { log_values: true, ..SeriesSettings::default() };
        let found = file(arrays(errors.clone()), &log).unwrap();
        assert_eq!(found.series[0].series.errors().unwrap()[1], 0.25);
        assert_eq!(found.series[0].series.values()[1], 2_f64.ln());
        let mut tiny = arrays(vec![1e100; 20]);
        tiny[0].values[4] = 1e-300;
        assert!(file(tiny, &log).unwrap_err().contains("`y` is 1e-300 ± 1e100 at step 5"));
        errors[5] = -1.0;
        assert!(file(arrays(errors), &log).unwrap_err().contains("standard error of `y` at index 5 is -1"));
    }

    #[test]
    fn what_cannot_be_a_series_is_left_out_or_an_error() {
        let mut holes = ramp(30);
        (holes[4], holes[7]) = (f64::NAN, f64::INFINITY);
        let arrays =
            || vec![array("y", &[30], holes.clone()), array("short", &[19], ramp(19)), array("none", &[0, 5], vec![])];
        let found = file(arrays(), &SeriesSettings::default()).unwrap();
        assert_eq!(found.series[0].series.steps().len(), 28);
        let said = found.notices.join("\n");
        for words in ["`y`: 2 of 30 values", "fewer than 20 points: `short` (19)", "`none` is skipped: it is empty"] {
            assert!(said.contains(words), "{said}");
        }
        let log = SeriesSettings { log_values: true, ..SeriesSettings::default() };
        let error = file(arrays(), &log).unwrap_err();
        assert!(error.contains("`y` is 0 at step 1, which has no logarithm"), "{error}");

        let select = |glob: &str| SeriesSettings { select: vec![glob.parse().unwrap()], ..SeriesSettings::default() };
        assert!(file(arrays(), &select("shirt")).unwrap_err().contains("did you mean `short`?"));
        assert!(file(arrays(), &select("loss*")).unwrap_err().contains("no series fits `loss*`"));

        let twice = vec![array("a", &[30, 2], ramp(60)), array("a[0]", &[30], ramp(30))];
        assert!(file(twice, &SeriesSettings::default()).unwrap_err().contains("two series are called `a[0]`"));
        let many = vec![array("a", &[20, 10_001], vec![0.0; 200_020])];
        let time = SeriesSettings { time_axis: Some(0), ..SeriesSettings::default() };
        assert!(file(many, &time).unwrap_err().contains("would be 10001 series"));
        // The product of these extents is 0, that of two of them beyond any integer.
        let mut high = ramp(20);
        high[3] = -1e300;
        let error = file(vec![array("y", &[20], high)], &SeriesSettings::default()).unwrap_err();
        assert!(error.contains("`y` at index 3 is -1e300; expected at most 1e100"), "{error}");
        let hollow = vec![array("a", &[0, 1 << 40, 1 << 40, 1 << 40], vec![]), array("y", &[20], ramp(20))];
        assert_eq!(names(&file(hollow, &SeriesSettings::default()).unwrap()), ["y"]);
    }

    #[test]
    fn unsorted_steps_are_sorted_and_repeated_ones_name_both_places() {
        let mut steps = ramp(25);
        steps.swap(3, 9);
        let y: Vec<f64> = steps.iter().map(|s| 10.0 * s).collect();
        let arrays = |steps: Vec<f64>| vec![array("t", &[25], steps), array("y", &[25], y.clone())];
        let found = file(arrays(steps.clone()), &SeriesSettings::default()).unwrap();
        assert_eq!(found.series[0].series.values(), (0..25).map(|s| 10.0 * f64::from(s)).collect::<Vec<_>>());
        assert_eq!(found.notices, ["`y`: the steps in `t` are not in order, and were sorted"]);
        steps[20] = steps[6];
        let error = file(arrays(steps.clone()), &SeriesSettings::default()).unwrap_err();
        assert!(error.contains("`y` has two values at `t` 6: index 6 and index 20"), "{error}");
        steps[20] = -1.0;
        assert!(file(arrays(steps), &SeriesSettings::default()).unwrap_err().contains("`t` at index 20 is -1"));
    }

    #[test]
    fn records_find_their_own_steps() {
        let sparse = |name: &str, rows: Vec<usize>, values: Vec<f64>| {
            let shape = vec![values.len()];
            Array { name: name.to_owned(), shape, values, in_rows: Some(rows) }
        };
        // Every second record logs `eval`; record 50 has no step.
        let step = sparse("step", (0..50).collect(), (0..50).map(|i| f64::from(10 * i)).collect());
        let eval = sparse("eval", (0..26).map(|i| 2 * i).collect(), ramp(26));
        let rows = Rows { word: "line", numbers: (1..=51).collect(), is_table: false };
        let source = Source { arrays: vec![eval, step], rows: Some(rows), notices: vec![] };
        let found = assemble(Path::new("log.jsonl"), source, &SeriesSettings::default()).unwrap();
        let expected: Vec<f64> = (0..25).map(|i| f64::from(20 * i)).collect();
        assert_eq!(found.series[0].series.steps(), expected);
        assert_eq!(found.notices, ["`eval`: 1 of 26 values have no `step` and are left out"]);
    }
}
