//! What names in expressions mean in a run.
//!
//! | Name | Value |
//! |---|---|
//! | `loss.test`, `llc.full` | the series of this address, as analyses name it; also by its measurement, `llc_unembed.unembed` |
//! | `returns` | the series of a measurement without components, by its kind or its name |
//! | `"head_scores.*"` | all series whose address fits, labelled by what stands from the star on |
//! | `setting.training.weight_decay` | a key of the resolved run file: a number or text, 1 or 0 for true and false |
//! | `seed` | the seed of the run |
//! | `path.NAME.pc1` | coordinate of the checkpoints along a principal component of a path; from 1 |
//! | `path.NAME.share`, `path.NAME.random_walk` | shares of variance by component, measured and of a random walk |
//! | `path.NAME.forms` | steps of the forms found on the path |
//! | `detail.NAME.r_hat` | a number beside the estimates of a measurement, over the steps that have it |
//! | `found.transitions.ADDRESS` | steps of the transitions that the run's own analysis found in a series |
//! | `found.stages` | steps of the stage boundaries that it found |
//!
//! A series has the steps with a value only. What was refused is a gap of it: `last` and `first` do not take another step's value instead.

use std::collections::BTreeMap;

use glob::Pattern;
use ontogeny_store::{Coordinate, Detail, Observable, RunView, Status, Trajectory};

use crate::expression::{Curve, Undefined, Value};

/// The value of a name in a run.
///
/// # Errors
/// Names that the run does not have, with the nearest that it has; series without a value.
pub fn lookup(view: &RunView, name: &str) -> Result<Value, Undefined> {
    let series = all_series(view);
    if let Some(found) = find(&series, name) {
        return found.curve().map(Value::Curve);
    }
    if name.contains('*') {
        return fitting(&series, name);
    }
    if name == "seed" {
        return Ok(Value::Number(view.run.seed as f64));
    }
    match name.split_once('.') {
        Some(("setting", key)) => setting(view, key),
        Some(("path", rest)) => path(view, rest),
        Some(("detail", rest)) => detail(view, rest),
        Some(("found", rest)) => found(view, &series, rest),
        _ => Err(unknown(view, &series, name)),
    }
}

/// One component of a measurement.
struct OneSeries<'a> {
    address: String,
    /// By the measurement's own name.
    own: String,
    observable: &'a Observable,
    component: usize,
}

/// The series of a run in the order of its measurements and their components.
fn all_series(view: &RunView) -> Vec<OneSeries<'_>> {
    let mut addresses = view.addresses();
    let mut series = vec![];
    for (name, observable) in &view.observables {
        let of_measure = addresses.remove(name).unwrap_or_default();
        for (component, (address, label)) in of_measure.into_iter().zip(observable.components()).enumerate() {
            let own = if label.is_empty() { name.clone() } else { format!("{name}.{label}") };
            series.push(OneSeries { address, own, observable, component });
        }
    }
    series
}

/// The series of an address, or of a measurement's own name.
fn find<'s, 'a>(series: &'s [OneSeries<'a>], name: &str) -> Option<&'s OneSeries<'a>> {
    series.iter().find(|one| one.address == name).or_else(|| series.iter().find(|one| one.own == name))
}

impl OneSeries<'_> {
    fn curve(&self) -> Result<Curve, Undefined> {
        let usable = |error: Option<f64>| error.filter(|error| error.is_finite() && *error >= 0.0);
        let (mut curve, mut errors) = (Curve::new(vec![], vec![]), vec![]);
        for (step, (value, error)) in steps(self.observable).zip(self.observable.series(self.component)) {
            let Some(step) = step else { continue };
            if let Some(value) = value.filter(|value| value.is_finite()) {
                curve.steps.push(step);
                curve.values.push(value);
                errors.push(usable(error));
            } else {
                curve.gaps.push(step);
            }
        }
        if curve.is_empty() {
            return Err(Undefined::new(format!("{} has no value{}", self.address, self.why_none())));
        }
        curve.errors = errors.into_iter().collect();
        Ok(curve)
    }

    fn why_none(&self) -> String {
        let n = self.observable.status.len();
        let refused = self.observable.status.iter().find_map(|status| match status {
            Status::Refused { verdict, reason } => Some(format!("{verdict}: {reason}")),
            _ => None,
        });
        match refused {
            Some(why) => format!(" at any of {n} steps; the first that was refused: {why}"),
            None if self.observable.status.contains(&Status::Missing) => {
                ": it has not been measured yet; `ontogeny run` on the run file does it".to_owned()
            }
            None => format!(" at any of {n} steps"),
        }
    }
}

/// The planned steps of a measurement; words are none.
fn steps(observable: &Observable) -> impl Iterator<Item = Option<f64>> {
    let coordinates = observable.coordinates.get("step").map_or(&[][..], Vec::as_slice);
    coordinates.iter().map(|coordinate| match coordinate {
        Coordinate::Number(step) => Some(*step as f64),
        Coordinate::Text(_) => None,
    })
}

/// All series that a pattern fits, by their addresses, or where it fits none by their measurements' own names.
fn fitting(series: &[OneSeries<'_>], name: &str) -> Result<Value, Undefined> {
    let pattern = Pattern::new(name).map_err(|error| {
        Undefined::new(format!("\"{name}\" is no pattern ({error}); * stands for any part of a name"))
    })?;
    // A label is what the stars stand for: without what all of them begin and end with.
    let prefix = name.find(['*', '?', '[']).unwrap_or(0);
    let suffix = name.len() - name.rfind(['*', '?', ']']).map_or(name.len(), |at| at + 1);
    let label = |own: &str| own[prefix..own.len() - suffix].to_owned();
    let fitting = |of: fn(&OneSeries<'_>) -> String| -> Vec<(String, usize)> {
        let names = series.iter().map(of).enumerate();
        names.filter(|(_, own)| pattern.matches(own)).map(|(i, own)| (label(&own), i)).collect()
    };
    let mut found = fitting(|one| one.address.clone());
    if found.is_empty() {
        found = fitting(|one| one.own.clone());
    }
    if found.is_empty() {
        // What stands before the star is compared with as much of each address.
        let (literal, n) = (&name[..prefix], name[..prefix].chars().count());
        let rate = |one: &OneSeries<'_>| strsim::levenshtein(literal, &one.address.chars().take(n).collect::<String>());
        let nearest = the_nearest(series.iter().map(|one| (rate(one), one.address.as_str())).collect());
        return Err(Undefined::unknown(format!("no series fits \"{name}\"{nearest}; {LISTED}")));
    }
    let mut why = None;
    let mut curves = vec![];
    for (label, i) in found {
        match series[i].curve() {
            Ok(curve) => curves.push((label, curve)),
            Err(undefined) => why = why.or(Some(undefined)),
        }
    }
    match (curves.is_empty(), why) {
        (true, Some(why)) => Err(Undefined::new(format!("no series that fits \"{name}\" has a value; {why}"))),
        _ => Ok(Value::Curves(curves)),
    }
}

/// A key of the resolved run file.
fn setting(view: &RunView, key: &str) -> Result<Value, Undefined> {
    let table: toml::Table = view.run.configuration.parse().map_err(|error: toml::de::Error| {
        Undefined::new(format!("the configuration of the run cannot be read: {}", error.message()))
    })?;
    let mut here = &toml::Value::Table(table);
    let mut passed = String::from("setting");
    for part in key.split('.') {
        let toml::Value::Table(table) = here else {
            return Err(Undefined::unknown(format!("{passed} has no keys, so there is no setting.{key}")));
        };
        here = table.get(part).ok_or_else(|| {
            let nearest = nearest(table.keys().map(String::as_str), part);
            Undefined::unknown(format!("{passed} has no key `{part}`{nearest}; the run's resolved run file has all"))
        })?;
        passed = format!("{passed}.{part}");
    }
    setting_value(here).ok_or_else(|| {
        let what = match here {
            toml::Value::Table(table) => {
                let keys: Vec<&str> = table.keys().map(String::as_str).collect();
                format!("a table; name one of its keys: {}", keys.join(", "))
            }
            _ => "a list of several kinds of things".to_owned(),
        };
        Undefined::new(format!("{passed} is {what}"))
    })
}

fn setting_value(value: &toml::Value) -> Option<Value> {
    match value {
        toml::Value::Integer(number) => Some(Value::Number(*number as f64)),
        toml::Value::Float(number) => Some(Value::Number(*number)),
        toml::Value::Boolean(is_true) => Some(Value::Number(f64::from(u8::from(*is_true)))),
        toml::Value::String(text) => Some(Value::Text(text.clone())),
        toml::Value::Datetime(time) => Some(Value::Text(time.to_string())),
        toml::Value::Table(_) => None,
        toml::Value::Array(items) => {
            let items = items.iter().map(setting_value).collect::<Option<Vec<Value>>>()?;
            if items.iter().all(|item| matches!(item, Value::Number(_))) {
                let number = |item: Value| if let Value::Number(number) = item { Some(number) } else { None };
                return Some(Value::numbered(items.into_iter().filter_map(number)));
            }
            let text = |item: Value| if let Value::Text(text) = item { Some(text) } else { None };
            items.into_iter().map(text).collect::<Option<Vec<String>>>().map(Value::Labels)
        }
    }
}

/// Something of the path of a measurement: `NAME.pc1`.
fn path(view: &RunView, rest: &str) -> Result<Value, Undefined> {
    let (name, what) = rest.rsplit_once('.').unwrap_or((rest, ""));
    let Some(path) = view.trajectories.get(name) else {
        let nearest = nearest(view.trajectories.keys().map(String::as_str), name);
        return Err(Undefined::unknown(format!("the analysis of the run has no path of `{name}`{nearest}")));
    };
    let by_component = |shares: &[f64]| {
        Value::List(shares.iter().enumerate().map(|(i, share)| (format!("pc{}", i + 1), *share)).collect())
    };
    match what {
        "share" => Ok(by_component(&path.shares)),
        "random_walk" => Ok(by_component(&path.random_walk)),
        "forms" => {
            let mut steps: Vec<f64> = path.forms.iter().map(|form| form.step).collect();
            steps.sort_by(f64::total_cmp);
            Ok(Value::numbered(steps.into_iter()))
        }
        _ => component(path, what).ok_or_else(|| {
            let n = path.scores.len();
            Undefined::new(format!("path.{name} has no `{what}`, expected pc1 to pc{n}, share, random_walk or forms"))
        }),
    }
}

/// `pc1` and so on.
fn component(path: &Trajectory, what: &str) -> Option<Value> {
    let index = what.strip_prefix("pc")?.parse::<usize>().ok()?.checked_sub(1)?;
    let scores = path.scores.get(index)?;
    let steps = path.steps.iter().map(|step| *step as f64);
    let points = steps.zip(scores.iter().copied()).filter(|(_, score)| score.is_finite());
    let (steps, values) = points.unzip();
    Some(Value::Curve(Curve::new(steps, values)))
}

/// A number beside the estimates of a measurement: `NAME.KEY`.
fn detail(view: &RunView, rest: &str) -> Result<Value, Undefined> {
    let measure = view.observables.iter().find_map(|(name, observable)| {
        rest.strip_prefix(name.as_str()).and_then(|rest| rest.strip_prefix('.')).map(|key| (name, observable, key))
    });
    let Some((name, observable, key)) = measure else {
        let wanted = rest.split('.').next().unwrap_or(rest);
        let nearest = nearest(view.observables.keys().map(String::as_str), wanted);
        return Err(Undefined::unknown(format!(
            "no measurement is named `{wanted}`{nearest}; details are written detail.NAME.KEY"
        )));
    };
    let (mut steps_with, mut values) = (vec![], vec![]);
    let mut keys: BTreeMap<&str, bool> = BTreeMap::new();
    for (step, details) in steps(observable).zip(&observable.details) {
        for (own, detail) in details {
            *keys.entry(own).or_default() |= matches!(detail, Detail::Number(_));
        }
        if let (Some(step), Some(Detail::Number(Some(number)))) = (step, details.get(key))
            && number.is_finite()
        {
            steps_with.push(step);
            values.push(*number);
        }
    }
    if values.is_empty() {
        let why = match keys.get(key) {
            Some(true) => "has no finite number at any step".to_owned(),
            Some(false) => "is a word, not a number".to_owned(),
            None => {
                let numbers = keys.iter().filter(|(_, is_number)| **is_number).map(|(key, _)| *key);
                format!("does not exist{}", nearest(numbers, key))
            }
        };
        return Err(Undefined::new(format!("detail `{key}` of `{name}` {why}")));
    }
    Ok(Value::Curve(Curve::new(steps_with, values)))
}

/// What the run's own analysis found.
fn found(view: &RunView, series: &[OneSeries<'_>], rest: &str) -> Result<Value, Undefined> {
    if rest == "stages" {
        return Ok(Value::numbered(view.stages.iter().map(|boundary| boundary.step)));
    }
    let Some(name) = rest.strip_prefix("transitions.") else {
        return Err(Undefined::new(format!(
            "found `found.{rest}`, expected found.stages or found.transitions.ADDRESS"
        )));
    };
    let one = find(series, name).ok_or_else(|| unknown(view, series, name))?;
    let own = view.transitions.iter().filter(|transition| transition.observable == one.address);
    Ok(Value::numbered(own.map(|transition| transition.step)))
}

const LISTED: &str = "`ontogeny show RUN` lists all";

/// The run has nothing of this name.
fn unknown(view: &RunView, series: &[OneSeries<'_>], name: &str) -> Undefined {
    if let Some(observable) = view.observables.get(name) {
        let components = observable.components();
        let (n, first) = (components.len(), components.first().map_or("", String::as_str));
        return Undefined::new(format!(
            "{name} has {n} components; name one of them, as {name}.{first}, or all by \"{name}.*\"; {LISTED}"
        ));
    }
    if series.is_empty() {
        return Undefined::unknown(format!("the run has no series, so none is named `{name}`"));
    }
    let all = series.iter().flat_map(|one| [one.address.as_str(), one.own.as_str()]);
    Undefined::unknown(format!("the run has no series `{name}`{}; {LISTED}", nearest(all, name)))
}

/// `; the nearest are a, b, c`, or nothing where there are none.
fn nearest<'a>(known: impl Iterator<Item = &'a str>, name: &str) -> String {
    // What differs after the first 200 characters is far from everything.
    let name: String = name.chars().take(200).collect();
    the_nearest(known.map(|known| (strsim::levenshtein(&name, known), known)).collect())
}

/// The same, of names with their distances.
fn the_nearest(mut rated: Vec<(usize, &str)>) -> String {
    const MOST: usize = 3;
    rated.sort_unstable();
    rated.dedup();
    let names: Vec<String> = rated.iter().take(MOST).map(|(_, known)| format!("`{known}`")).collect();
    match &names[..] {
        [] => String::new(),
        [one] => format!("; the only one is {one}"),
        _ => format!("; the nearest are {}", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use ontogeny_store::{Boundary, Form, Nested, RunInfo, Transition};

    use super::*;
    use crate::expression::Expression;

    const STEPS: [u64; 3] = [0, 10, 100];

    /// Values and standard errors by step, then by label.
    fn observable(kind: &str, labels: &[&str], values: &[Option<f64>], errors: &[Option<f64>]) -> Observable {
        let mut dims = vec!["step".to_owned()];
        let mut coordinates = BTreeMap::from([("step".to_owned(), STEPS.map(Coordinate::Number).to_vec())]);
        let mut shape = vec![STEPS.len()];
        if !labels.is_empty() {
            dims.push("part".to_owned());
            let texts = labels.iter().map(|label| Coordinate::Text((*label).to_owned())).collect();
            coordinates.insert("part".to_owned(), texts);
            shape.push(labels.len());
        }
        Observable {
            kind: kind.to_owned(),
            unit: "nats".to_owned(),
            description: "A measured thing.".to_owned(),
            dims,
            coordinates,
            values: Nested { shape: shape.clone(), values: values.to_vec() },
            standard_errors: Nested { shape, values: errors.to_vec() },
            status: vec![Status::Done; STEPS.len()],
            details: vec![BTreeMap::new(); STEPS.len()],
            shown: BTreeMap::new(),
        }
    }

    fn observables() -> BTreeMap<String, Observable> {
        let loss = [Some(3.0), Some(4.0), Some(2.0), Some(4.5), Some(1.0), Some(0.5)];
        let mut llc = observable("llc", &["full"], &[None, Some(5.0), Some(7.0)], &[None, Some(0.1), Some(0.2)]);
        llc.status[0] = Status::Refused { verdict: "not converged".to_owned(), reason: "R̂ 1.31".to_owned() };
        llc.details[0].insert("r_hat".to_owned(), Detail::Number(None));
        llc.details[1].insert("r_hat".to_owned(), Detail::Number(Some(1.01)));
        llc.details[1].insert("pair.1.example".to_owned(), Detail::Text("train 3".to_owned()));
        llc.details[2].insert("r_hat".to_owned(), Detail::Number(Some(1.02)));
        let unembed = observable("llc", &["unembed"], &[Some(1.0); 3], &[Some(0.1), None, Some(0.1)]);
        let mut refused = observable("llc", &["mlp"], &[None; 3], &[None; 3]);
        refused.status.fill(Status::Refused { verdict: "diverged".to_owned(), reason: "a loss of 1e9".to_owned() });
        let mut missing = observable("rank", &[], &[None; 3], &[None; 3]);
        missing.status.fill(Status::Missing);
        let values: Vec<Option<f64>> = (0..9).map(|i| Some(f64::from(i))).collect();
        let labels = ["L0H0.induction", "L0H1.induction", "L0H0.copy"];
        let regret = [Some(1.0), Some(2.0), Some(f64::NAN)];
        let all = [
            ("heads", observable("head_scores", &labels, &values, &[None; 9])),
            ("llc", llc),
            ("llc_mlp", refused),
            ("llc_unembed", unembed),
            ("loss", observable("loss", &["train", "test"], &loss, &[None; 6])),
            ("missing", missing),
            ("regret", observable("returns", &[], &regret, &[None; 3])),
        ];
        all.into_iter().map(|(name, observable)| (name.to_owned(), observable)).collect()
    }

    fn path() -> Trajectory {
        Trajectory {
            of: "logits".to_owned(),
            n_outputs: 10,
            steps: STEPS.to_vec(),
            shares: vec![0.7, 0.2],
            random_walk: vec![0.6, 0.15],
            scores: vec![vec![1.0, 2.0, 3.0], vec![0.5, 0.0, -0.5]],
            smoothed: vec![],
            planes: vec![],
            forms: vec![Form {
                step: 12.0,
                lower: 10.0,
                upper: 15.0,
                kind: "vertex".to_owned(),
                point: vec![0.0, 0.0],
                p_value: 0.01,
            }],
        }
    }

    fn view() -> RunView {
        let transition = |observable: &str, step: f64| Transition {
            observable: observable.to_owned(),
            label: None,
            step,
            lower: step,
            upper: step,
            start: step,
            end: step,
            width_decades: 0.1,
            size: -1.0,
            unit: "nats".to_owned(),
            p_value: 0.001,
        };
        let configuration = "seed = 7\n[training]\nname = \"adamw\"\nweight_decay = 0.5\nshuffle = true\n\
            rates = [0.1, 0.2]\nparts = [\"a\", \"b\"]\n[training.schedule]\nwarmup = 10\n";
        RunView {
            run: RunInfo {
                title: "t".to_owned(),
                directory: "d".to_owned(),
                version: "0.1.0".to_owned(),
                instruction_set: "avx2".to_owned(),
                seed: 7,
                configuration: configuration.to_owned(),
                hashes: BTreeMap::new(),
                command: "ontogeny run".to_owned(),
            },
            checkpoints: STEPS.to_vec(),
            observables: observables(),
            transitions: vec![
                transition("loss.test", 11.0),
                transition("llc.full", 12.0),
                transition("loss.test", 50.0),
            ],
            stages: vec![Boundary { step: 20.0, lower: 15.0, upper: 25.0, observables: vec![] }],
            intervals: vec![],
            calibrations: BTreeMap::new(),
            trajectories: BTreeMap::from([("path".to_owned(), path())]),
            change_points: None,
            warnings: None,
            parts: BTreeMap::new(),
            fluctuations: BTreeMap::new(),
            training: None,
        }
    }

    fn curve(steps: &[f64], values: &[f64]) -> Curve {
        Curve::new(steps.to_vec(), values.to_vec())
    }

    fn list(entries: &[(&str, f64)]) -> Value {
        Value::List(entries.iter().map(|(label, value)| ((*label).to_owned(), *value)).collect())
    }

    fn reason(name: &str) -> String {
        lookup(&view(), name).unwrap_err().reason
    }

    #[test]
    fn series_by_address_and_by_the_name_of_the_measurement() {
        let view = view();
        let all = [0.0, 10.0, 100.0];
        let test = Value::Curve(curve(&all, &[4.0, 4.5, 0.5]));
        assert_eq!(lookup(&view, "loss.test").unwrap(), test);
        // The refused step has no point, and all others have an error.
        let errors = Some(vec![0.1, 0.2]);
        let full = Value::Curve(Curve { errors, gaps: vec![0.0], ..curve(&[10.0, 100.0], &[5.0, 7.0]) });
        assert_eq!(lookup(&view, "llc.full").unwrap(), full);
        // One error is missing: none counts. The address is llc.unembed.
        let unembed = Value::Curve(curve(&all, &[1.0; 3]));
        assert_eq!(lookup(&view, "llc.unembed").unwrap(), unembed);
        assert_eq!(lookup(&view, "llc_unembed.unembed").unwrap(), unembed);
        let returns = Value::Curve(Curve { gaps: vec![100.0], ..curve(&[0.0, 10.0], &[1.0, 2.0]) });
        assert_eq!(lookup(&view, "returns").unwrap(), returns);
        assert_eq!(lookup(&view, "regret").unwrap(), returns);
    }

    #[test]
    fn patterns_give_labelled_curves() {
        let view = view();
        let labels = |name: &str| match lookup(&view, name).unwrap() {
            Value::Curves(curves) => curves.into_iter().map(|(label, _)| label).collect::<Vec<String>>(),
            other => panic!("{other:?}"),
        };
        assert_eq!(labels("head_scores.*"), ["L0H0.induction", "L0H1.induction", "L0H0.copy"]);
        assert_eq!(labels("head_scores.L0H*.induction"), ["0", "1"]);
        assert_eq!(labels("heads.*.copy"), ["L0H0"]);
        // llc.mlp has no value.
        assert_eq!(labels("llc.*"), ["full", "unembed"]);
        let mean = Expression::parse("mean(last(\"head_scores.*\"))").unwrap();
        assert_eq!(mean.number(&|name| lookup(&view, name)), Ok(7.0));
        assert!(
            reason("los.*").contains("no series fits \"los.*\"; the nearest are `loss.test`"),
            "{}",
            reason("los.*")
        );
        assert!(reason("rank*").contains("no series that fits \"rank*\" has a value; rank has no value"));
        assert!(reason("a[*").contains("is no pattern"));
    }

    #[test]
    fn settings_are_those_of_the_resolved_run_file() {
        let of = |name: &str| lookup(&view(), name).unwrap();
        assert_eq!(of("setting.training.weight_decay"), Value::Number(0.5));
        assert_eq!(of("setting.training.schedule.warmup"), Value::Number(10.0));
        assert_eq!(of("setting.training.name"), Value::Text("adamw".to_owned()));
        assert_eq!(of("setting.training.shuffle"), Value::Number(1.0));
        assert_eq!(of("setting.training.rates"), list(&[("1", 0.1), ("2", 0.2)]));
        assert_eq!(of("setting.training.parts"), Value::Labels(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(of("seed"), Value::Number(7.0));
        assert!(reason("setting.training.wieght_decay").contains("the nearest are `weight_decay`"));
        assert!(reason("setting.training").contains("setting.training is a table; name one of its keys: name"));
        assert!(reason("setting.seed.x").contains("setting.seed has no keys"));
    }

    #[test]
    fn paths_details_and_findings() {
        let of = |name: &str| lookup(&view(), name).unwrap();
        assert_eq!(of("path.path.pc2"), Value::Curve(curve(&[0.0, 10.0, 100.0], &[0.5, 0.0, -0.5])));
        assert_eq!(of("path.path.share"), list(&[("pc1", 0.7), ("pc2", 0.2)]));
        assert_eq!(of("path.path.random_walk"), list(&[("pc1", 0.6), ("pc2", 0.15)]));
        assert_eq!(of("path.path.forms"), list(&[("1", 12.0)]));
        assert_eq!(of("detail.llc.r_hat"), Value::Curve(curve(&[10.0, 100.0], &[1.01, 1.02])));
        assert_eq!(of("found.transitions.loss.test"), list(&[("1", 11.0), ("2", 50.0)]));
        assert_eq!(of("found.transitions.loss.train"), list(&[]));
        assert_eq!(of("found.stages"), list(&[("1", 20.0)]));
        for (name, expected) in [
            ("path.path.pc0", "path.path has no `pc0`, expected pc1 to pc2, share, random_walk or forms"),
            ("path.path.pc3", "expected pc1 to pc2"),
            ("path.paht.pc1", "no path of `paht`; the only one is `path`"),
            ("detail.llc.rhat", "detail `rhat` of `llc` does not exist; the only one is `r_hat`"),
            ("detail.llc.pair.1.example", "is a word, not a number"),
            ("detail.lcl.r_hat", "no measurement is named `lcl`; the nearest are `llc`"),
            ("found.stage", "expected found.stages or found.transitions.ADDRESS"),
            ("found.transitions.loss.tets", "the nearest are `loss.test`"),
        ] {
            assert!(reason(name).contains(expected), "{name}: {}", reason(name));
        }
    }

    #[test]
    fn what_is_not_there_says_what_is() {
        assert!(reason("loss.tset").starts_with("the run has no series `loss.tset`; the nearest are `loss.test`"));
        assert!(reason("loss.tset").ends_with("`ontogeny show RUN` lists all"));
        let several = "loss has 2 components; name one of them, as loss.train, or all by \"loss.*\"";
        assert!(reason("loss").starts_with(several), "{}", reason("loss"));
        assert_eq!(
            reason("llc.mlp"),
            "llc.mlp has no value at any of 3 steps; the first that was refused: diverged: a loss of 1e9"
        );
        assert!(reason("rank").starts_with("rank has no value: it has not been measured yet"));
        let empty = RunView { observables: BTreeMap::new(), ..view() };
        assert_eq!(lookup(&empty, "loss").unwrap_err().reason, "the run has no series, so none is named `loss`");
        assert!(reason(&"x".repeat(4000)).len() < 5000);
    }
}
