//! What is known by position in a sequence: a map of positions over the steps.

use ontogeny_store::{Observable, RunView};

use crate::panel::{self, Form, Panel, Point, Series};
use crate::text::slug;

/// Rows of a map; of more positions neighbours are put together, by their mean.
const MOST_ROWS: usize = 64;

/// A map for each measurement that has an array `by_position` `[position]`.
pub(crate) fn panels(view: &RunView) -> Vec<Panel> {
    view.observables.iter().filter_map(|(name, observable)| one(name, observable, &view.checkpoints)).collect()
}

fn one(name: &str, observable: &Observable, checkpoints: &[u64]) -> Option<Panel> {
    let steps = panel::steps_of(observable, checkpoints);
    let found = observable.shown.get("by_position")?;
    let (_, first) = found.first()?;
    let labels: Vec<String> = first.coordinates.get("position")?.iter().map(ToString::to_string).collect();
    let arrays: Vec<(f64, &[f64])> = found
        .iter()
        .filter(|(_, array)| array.dims == ["position"] && array.values.len() == labels.len())
        .filter_map(|(at, array)| Some((*steps.get(*at)? as f64, array.values.as_slice())))
        .collect();
    let n_each = labels.len().div_ceil(MOST_ROWS).max(1);
    let series = |(row, own): (usize, &[String])| {
        let label = match own {
            [only] => only.clone(),
            _ => format!("{}–{}", own[0], own[own.len() - 1]),
        };
        let mean = |values: &[f64]| values[row * n_each..][..own.len()].iter().sum::<f64>() / own.len() as f64;
        let point = |&(step, values): &(f64, &[f64])| Point {
            step,
            value: Some(mean(values)).filter(|value| value.is_finite()),
            standard_error: None,
            refusal: None,
        };
        let address = format!("{name}.by_position.{label}");
        Series { address, label, measurement: name.to_owned(), points: arrays.iter().map(point).collect() }
    };
    Some(Panel {
        id: format!("{}-by-position", slug(name)),
        title: format!("{} by position", panel::title(name)),
        unit: observable.unit.clone(),
        description: "Mean at each position of the sequences, the first at the top.".to_owned(),
        series: labels.chunks(n_each).enumerate().map(series).collect(),
        kind: observable.kind.clone(),
        form: Form::HeatMap,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use ontogeny_store::{Coordinate, NumberType, RecordArray};

    use super::*;
    use crate::sample;

    #[test]
    fn neighbours_are_put_together_where_positions_are_many() {
        let mut view = sample::grokking(4, 0);
        let own = view.observables.get_mut("loss").unwrap();
        let array = |n: usize| RecordArray {
            name: "by_position".to_owned(),
            unit: "nats".to_owned(),
            dims: vec!["position".to_owned()],
            coordinates: BTreeMap::from([(
                "position".to_owned(),
                (2..n + 2).map(|at| Coordinate::Text(at.to_string())).collect(),
            )]),
            number: NumberType::Float64,
            values: (0..n).map(|at| at as f64).collect(),
        };
        own.shown.insert("by_position".to_owned(), vec![(1, array(3)), (3, array(3))]);
        let [few] = &panels(&view)[..] else { panic!("one") };
        let labels: Vec<&str> = few.series.iter().map(|series| series.label.as_str()).collect();
        assert_eq!((labels, few.title.as_str()), (vec!["2", "3", "4"], "Loss by position"));
        assert_eq!(few.series[2].points[1].value, Some(2.0));
        assert_eq!(few.steps(), [view.checkpoints[1] as f64, view.checkpoints[3] as f64]);
        let own = view.observables.get_mut("loss").unwrap();
        own.shown.insert("by_position".to_owned(), vec![(0, array(130))]);
        let [many] = &panels(&view)[..] else { panic!("one") };
        assert_eq!((many.series.len(), many.series[0].label.as_str()), (44, "2–4"));
        assert_eq!((many.series[43].label.as_str(), many.series[43].points[0].value), ("131", Some(129.0)));
    }
}
