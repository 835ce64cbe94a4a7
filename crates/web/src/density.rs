//! How eigenvalues are spread over the run: a map of how many there are of each size.

use ontogeny_store::Observable;

use crate::panel::{Form, Panel, Point, Series, steps_of, title};
use crate::text;

/// The map of an observable that keeps a `density` along one dimension, from its largest bin down.
pub(crate) fn map(name: &str, observable: &Observable, checkpoints: &[u64]) -> Option<Panel> {
    let found = observable.shown.get("density")?;
    let (_, first) = found.first()?;
    let [dim] = first.dims.as_slice() else { return None };
    let labels: Vec<String> = first.coordinates.get(dim)?.iter().map(ToString::to_string).collect();
    let steps = steps_of(observable, checkpoints);
    // A record of other bins says nothing of these.
    let rows: Vec<(f64, &[f64])> = found
        .iter()
        .filter(|(_, array)| array.dims == first.dims && array.coordinates == first.coordinates)
        .filter_map(|(at, array)| Some((*steps.get(*at)? as f64, array.values.as_slice())))
        .collect();
    let point = |step: f64, values: &[f64], bin: usize| Point {
        step,
        value: values.get(bin).copied().filter(|value| value.is_finite()),
        standard_error: None,
        refusal: None,
    };
    let series = |(bin, label): (usize, &String)| Series {
        address: format!("{name}.density.{label}"),
        label: label.clone(),
        measurement: name.to_owned(),
        points: rows.iter().map(|(step, values)| point(*step, values, bin)).collect(),
    };
    Some(Panel {
        id: format!("{}-density", text::slug(name)),
        title: format!("{}: {dim}s of each size", title(name)),
        unit: first.unit.clone(),
        description: format!(
            "How many {dim}s there are in each bin: four bins to a decade, one about zero, and what is beyond the ends in the last ones."
        ),
        series: labels.iter().enumerate().rev().map(series).collect(),
        kind: observable.kind.clone(),
        form: Form::CountMap,
    })
}
