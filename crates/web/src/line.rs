//! The loss between each checkpoint and its partner: a map of the points of the line over the run.

use ontogeny_store::{Coordinate, Observable, RecordArray};

use crate::panel::{Form, Panel, Point, Series, steps_of};
use crate::text;

/// Name of the array: curves along α from 0, the checkpoint, to 1, the partner.
const LINE: &str = "line";

/// A map for each curve of a measurement, such as the loss and the accuracy; `title` is that of the measurement.
pub(crate) fn panels(name: &str, title: &str, observable: &Observable, checkpoints: &[u64]) -> Vec<Panel> {
    let Some(arrays) = observable.shown.get(LINE) else { return Vec::new() };
    let steps = steps_of(observable, checkpoints);
    let Some((_, first)) = arrays.first() else { return Vec::new() };
    let Some([curves, alphas]) = labels(first) else { return Vec::new() };
    // Of weight matching the curves are the loss before and after.
    let of_orders = first.dims[0] == "order";
    let map = |(at, curve): (usize, &String)| {
        let of_alpha = |(alpha, label): (usize, &String)| {
            let mut points: Vec<Point> = arrays
                .iter()
                .filter_map(|(index, array)| {
                    let value = array.values.get(at * alphas.len() + alpha).copied().filter(|v| v.is_finite());
                    let step = *steps.get(*index)? as f64;
                    Some(Point { step, value, standard_error: None, refusal: None })
                })
                .collect();
            points.sort_by(|a, b| a.step.total_cmp(&b.step));
            let address = format!("{name}.{curve}.{label}");
            let short = label.parse().map_or_else(|_| label.clone(), |alpha: f64| format!("α {alpha:.2}"));
            Series { address, label: short, measurement: name.to_owned(), points }
        };
        let words = curve.replace('_', " ");
        Panel {
            id: format!("{}-line-{}", text::slug(name), text::slug(curve)),
            title: if of_orders {
                format!("{title}: loss on the line, {words}")
            } else {
                format!("{title}: {words} on the line")
            },
            unit: if curve == "accuracy" { "1".to_owned() } else { first.unit.clone() },
            description: "From each checkpoint (α = 0, above) in a straight line to its partner (α = 1, below)."
                .to_owned(),
            series: alphas.iter().enumerate().map(of_alpha).collect(),
            kind: observable.kind.clone(),
            form: Form::HeatMap,
        }
    };
    curves.iter().enumerate().map(map).collect()
}

/// The labels of both dimensions.
fn labels(array: &RecordArray) -> Option<[Vec<String>; 2]> {
    let [curves, alphas] = array.dims.as_slice() else { return None };
    let of =
        |dim: &String| Some(array.coordinates.get(dim)?.iter().map(Coordinate::to_string).collect::<Vec<String>>());
    Some([of(curves)?, of(alphas)?])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use ontogeny_store::{Nested, NumberType, Status};

    use super::*;

    #[test]
    fn every_curve_is_a_map_of_its_points() {
        let text = |labels: &[&str]| labels.iter().map(|&l| Coordinate::Text(l.to_owned())).collect::<Vec<_>>();
        let array = |values: [f64; 6]| RecordArray {
            name: "line".to_owned(),
            unit: "nats".to_owned(),
            dims: vec!["score".to_owned(), "alpha".to_owned()],
            coordinates: BTreeMap::from([
                ("score".to_owned(), text(&["loss", "accuracy"])),
                ("alpha".to_owned(), text(&["0", "0.5", "1"])),
            ]),
            number: NumberType::default(),
            values: values.to_vec(),
        };
        let observable = Observable {
            kind: "mode_connectivity".to_owned(),
            description: String::new(),
            unit: "1".to_owned(),
            dims: vec!["step".to_owned()],
            coordinates: BTreeMap::new(),
            values: Nested { shape: vec![2], values: vec![Some(0.5), Some(0.0)] },
            standard_errors: Nested { shape: vec![2], values: vec![None, None] },
            status: vec![Status::Done; 2],
            details: vec![BTreeMap::new(); 2],
            shown: BTreeMap::from([(
                "line".to_owned(),
                vec![(0, array([3.0, 2.0, 1.0, 0.1, 0.2, 0.3])), (1, array([1.0; 6]))],
            )]),
        };
        let found = panels("path", "Path", &observable, &[0, 100]);
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].id.as_str(), found[1].unit.as_str()), ("path-line-loss", "1"));
        assert_eq!(found[0].series.len(), 3);
        let point = &found[1].series[1].points[0];
        assert_eq!((point.step, point.value), (0.0, Some(0.2)));
        assert_eq!(found[0].series[0].points[1].step, 100.0);
        assert!(panels("path", "Path", &Observable { shown: BTreeMap::new(), ..observable }, &[0]).is_empty());
    }
}
