//! The figures of a study, from the runs.

use std::collections::BTreeMap;

use ontogeny_store::{FigureForm, StudyFigure, StudyMark};

use crate::bench::{Bench, Place, Reading};
use crate::expression::{Curve, Value};
use crate::plan::RunKey;
use crate::study_file::Figure;
use crate::words;

/// Every figure of the file; a run without the value of a figure is not in it.
pub(crate) fn figures(bench: &Bench<'_>) -> Vec<StudyFigure> {
    bench.study.figures.iter().map(|figure| drawn(bench, figure)).collect()
}

fn drawn(bench: &Bench<'_>, figure: &Figure) -> StudyFigure {
    let mut lines = Vec::new();
    let mut clouds: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
    let families: Vec<&String> =
        bench.study.runs.keys().filter(|name| figure.runs.is_empty() || figure.runs.contains(name)).collect();
    for family in &families {
        let Some(runs) = bench.family(0, family) else { continue };
        for (condition, (settings, seeds)) in runs.conditions.iter().zip(&runs.runs).enumerate() {
            for (seed, run) in seeds.iter().enumerate() {
                let place = Place { variant: 0, family: (*family).clone(), condition, seed };
                let name = RunKey { family, condition: settings, seed: run.seed }.name();
                let Ok(y) = bench.value(&figure.y, &place, Reading::OneRun) else { continue };
                let x = match &figure.x {
                    None => None,
                    Some(text) => match bench.value(text, &place, Reading::OneRun) {
                        Ok(value) => Some(value),
                        Err(_) => continue,
                    },
                };
                let group = group(bench, figure, &place, families.len());
                add(&mut lines, &mut clouds, (group, name), x, y);
            }
        }
    }
    let is_points = !clouds.is_empty();
    let mut marks = lines;
    if is_points {
        marks = clouds
            .into_iter()
            .map(|(group, points)| {
                let (x, y): (Vec<f64>, Vec<f64>) = points.into_iter().unzip();
                StudyMark { label: group.clone(), group, x, y: y.into_iter().map(Some).collect() }
            })
            .collect();
    }
    StudyFigure {
        title: figure.title.clone(),
        x_label: figure.x_label.clone().unwrap_or_else(|| "step".to_owned()),
        y_label: figure.y_label.clone(),
        x_is_step: figure.x.is_none(),
        form: if is_points { FigureForm::Points } else { FigureForm::Lines },
        marks,
    }
}

/// What runs of one colour have in common.
fn group(bench: &Bench<'_>, figure: &Figure, place: &Place, n_families: usize) -> Option<String> {
    let Some(text) = &figure.group else {
        return (n_families > 1).then(|| place.family.clone());
    };
    match bench.value(text, place, Reading::OneRun) {
        Ok(Value::Number(value)) => Some(words::number(value)),
        Ok(Value::Text(text)) => Some(text),
        _ => Some(place.family.clone()),
    }
}

/// Adds what one run shows: a line for each curve, or points.
fn add(
    lines: &mut Vec<StudyMark>,
    clouds: &mut BTreeMap<String, Vec<(f64, f64)>>,
    (group, name): (Option<String>, String),
    x: Option<Value>,
    y: Value,
) {
    let mut line = |part: Option<String>, curve: Curve, x: Option<&Curve>| {
        let (xs, ys) = match x {
            None => (curve.steps, curve.values.into_iter().map(Some).collect()),
            Some(x) => crossed(x, &curve),
        };
        let own = match (&group, &part) {
            (Some(group), None) => group.clone(),
            (Some(group), Some(part)) => format!("{group} {part}"),
            (None, Some(part)) => part.clone(),
            (None, None) => "runs".to_owned(),
        };
        let label = part.map_or_else(|| name.clone(), |part| format!("{part} {name}"));
        lines.push(StudyMark { group: own, label, x: xs, y: ys });
    };
    match (x, y) {
        (None, Value::Curve(curve)) => line(None, curve, None),
        (Some(Value::Curve(x)), Value::Curve(curve)) => line(None, curve, Some(&x)),
        (None, Value::Curves(curves)) => curves.into_iter().for_each(|(part, curve)| line(Some(part), curve, None)),
        (Some(Value::Number(x)), Value::Number(y)) => {
            clouds.entry(group.unwrap_or_else(|| "runs".to_owned())).or_default().push((x, y));
        }
        (Some(Value::List(x)), Value::List(y)) => {
            let points = clouds.entry(group.unwrap_or_else(|| "runs".to_owned())).or_default();
            for (label, y) in y {
                if let Some((_, x)) = x.iter().find(|(other, _)| *other == label) {
                    points.push((*x, y));
                }
            }
        }
        _ => {}
    }
}

/// One curve over the values of another, at the steps that both have, in the order of the steps.
fn crossed(x: &Curve, y: &Curve) -> (Vec<f64>, Vec<Option<f64>>) {
    let mut points = (Vec::new(), Vec::new());
    for (step, value) in x.steps.iter().zip(&x.values) {
        if let Some(at) = y.steps.iter().position(|other| other == step) {
            points.0.push(*value);
            points.1.push(Some(y.values[at]));
        }
    }
    points
}
