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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use ontogeny_store::{Coordinate, NumberType, RecordArray};

    use super::*;
    use crate::sample;

    fn density(labels: &[&str], values: &[f64]) -> RecordArray {
        let coordinates = labels.iter().map(|&label| Coordinate::Text(label.to_owned())).collect();
        RecordArray {
            name: "density".to_owned(),
            unit: "1".to_owned(),
            dims: vec!["eigenvalue".to_owned()],
            coordinates: BTreeMap::from([("eigenvalue".to_owned(), coordinates)]),
            number: NumberType::default(),
            values: values.to_vec(),
        }
    }

    #[test]
    fn rows_are_bins_from_the_largest_down_and_columns_the_steps_that_have_them() {
        let mut view = sample::grokking(4, 0);
        let mut own = view.observables["fourier"].clone();
        let bins = ["-1.0e-1", "0", "1.0e-1"];
        own.shown.insert(
            "density".to_owned(),
            vec![
                (0, density(&bins, &[1.0, 2.0, 3.0])),
                (1, density(&["0", "1"], &[9.0, 9.0])),
                (3, density(&bins, &[4.0, 5.0, 6.0])),
            ],
        );
        view.observables.insert("curvature".to_owned(), own);
        let panel = map("curvature", &view.observables["curvature"], &view.checkpoints).unwrap();
        assert_eq!((panel.id.as_str(), panel.form), ("curvature-density", Form::CountMap));
        assert_eq!(panel.title, "Curvature: eigenvalues of each size");
        let labels: Vec<&str> = panel.series.iter().map(|series| series.label.as_str()).collect();
        assert_eq!(labels, ["1.0e-1", "0", "-1.0e-1"]);
        let steps = [view.checkpoints[0], view.checkpoints[3]];
        for (series, values) in panel.series.iter().zip([[3.0, 6.0], [2.0, 5.0], [1.0, 4.0]]) {
            let points: Vec<(u64, Option<f64>)> = series.points.iter().map(|p| (p.step as u64, p.value)).collect();
            assert_eq!(points, [(steps[0], Some(values[0])), (steps[1], Some(values[1]))]);
        }
        assert!(map("loss", &view.observables["loss"], &view.checkpoints).is_none());
        let report = crate::report(&view);
        assert!(report.contains("<figure id=\"curvature-density\">"));
    }
}
