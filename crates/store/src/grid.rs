//! Arrays of several records laid into one dense array with a leading step.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Coordinate, RecordArray};

/// Labels by dimension.
pub(crate) type Labels = BTreeMap<String, Vec<Coordinate>>;

/// More values than this in one array are refused: 2 GiB.
pub(crate) const MAX_VALUES: usize = 1 << 28;

/// The labels that occur along each dimension of `arrays`: ascending where all are numbers, else as they first occur.
pub(crate) fn union_of_labels<'a>(arrays: impl Iterator<Item = &'a RecordArray>) -> Labels {
    let mut labels = Labels::new();
    let mut seen: BTreeSet<(&str, &Coordinate)> = BTreeSet::new();
    for array in arrays {
        for (dim, of_array) in &array.coordinates {
            let of_dim = labels.entry(dim.clone()).or_default();
            of_dim.extend(of_array.iter().filter(|label| seen.insert((dim, label))).cloned());
        }
    }
    for of_dim in labels.values_mut() {
        if of_dim.iter().all(|label| matches!(label, Coordinate::Number(_))) {
            of_dim.sort_unstable();
        }
    }
    labels
}

/// The extents of an array over `n_steps` and `dims`; `None` where it would hold more than [`MAX_VALUES`].
pub(crate) fn shape(n_steps: usize, dims: &[String], labels: &Labels) -> Option<Vec<usize>> {
    let shape: Vec<usize> = std::iter::once(n_steps).chain(dims.iter().map(|dim| labels[dim].len())).collect();
    let n_values = shape.iter().try_fold(1_usize, |n, &extent| n.checked_mul(extent))?;
    (n_values <= MAX_VALUES).then_some(shape)
}

/// Row-major values over (step, `dims`…), NaN where no array has one.
///
/// `arrays` come with the index of their step; all have the dimensions `dims`, and their labels are among `labels`.
pub(crate) fn dense<'a>(
    shape: &[usize],
    dims: &[String],
    labels: &Labels,
    arrays: impl Iterator<Item = (usize, &'a RecordArray)>,
) -> Vec<f64> {
    let width = shape[1..].iter().product::<usize>();
    let mut values = vec![f64::NAN; shape[0] * width];
    let index_of: Vec<BTreeMap<&Coordinate, usize>> =
        dims.iter().map(|dim| labels[dim].iter().enumerate().map(|(idx, label)| (label, idx)).collect()).collect();
    for (step_idx, array) in arrays {
        // The offset each label contributes, by dimension; the offset of a value is the sum over its labels.
        let mut offsets = vec![step_idx * width];
        let mut stride = width;
        for (dim_idx, dim) in dims.iter().enumerate() {
            stride = stride.checked_div(shape[dim_idx + 1]).unwrap_or(0);
            let along: Vec<usize> =
                array.coordinates[dim].iter().map(|label| index_of[dim_idx][label] * stride).collect();
            offsets = offsets.iter().flat_map(|base| along.iter().map(move |o| base + o)).collect();
        }
        for (&offset, &value) in offsets.iter().zip(&array.values) {
            values[offset] = value;
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(rows: &[u64], columns: &[&str], values: &[f64]) -> RecordArray {
        let rows = rows.iter().map(|&n| Coordinate::Number(n)).collect();
        let columns = columns.iter().map(|&t| Coordinate::Text(t.to_owned())).collect();
        RecordArray {
            name: "value".to_owned(),
            unit: "1".to_owned(),
            dims: vec!["row".to_owned(), "column".to_owned()],
            coordinates: Labels::from([("row".to_owned(), rows), ("column".to_owned(), columns)]),
            values: values.to_vec(),
        }
    }

    #[test]
    fn arrays_with_different_labels_meet_in_their_union() {
        let first = array(&[10, 2], &["b", "a"], &[1.0, 2.0, 3.0, 4.0]);
        let second = array(&[3], &["a", "c"], &[5.0, 6.0]);
        let labels = union_of_labels([&first, &second].into_iter());
        assert_eq!(labels["row"], [2, 3, 10].map(Coordinate::Number), "numbers ascend");
        assert_eq!(labels["column"], ["b", "a", "c"].map(|t| Coordinate::Text(t.to_owned())));
        let shape = shape(2, &first.dims, &labels).unwrap();
        assert_eq!(shape, [2, 3, 3]);
        let values = dense(&shape, &first.dims, &labels, [(0, &first), (1, &second)].into_iter());
        let n = f64::NAN;
        let expected = [
            3.0, 4.0, n, n, n, n, 1.0, 2.0, n, // step 0
            n, n, n, n, 5.0, 6.0, n, n, n, // step 1
        ];
        assert_eq!(values.map_nan(), expected.to_vec().map_nan());
    }

    trait MapNan {
        fn map_nan(&self) -> Vec<Option<f64>>;
    }

    impl MapNan for Vec<f64> {
        fn map_nan(&self) -> Vec<Option<f64>> {
            self.iter().map(|v| Some(*v).filter(|v| !v.is_nan())).collect()
        }
    }

    #[test]
    fn an_array_too_large_to_hold_is_refused_without_overflow() {
        let labels = Labels::from([("a".to_owned(), crate::index_labels(1 << 10))]);
        let dims = vec!["a".to_owned()];
        assert_eq!(shape(1 << 18, &dims, &labels), Some(vec![1 << 18, 1 << 10]));
        assert_eq!(shape((1 << 18) + 1, &dims, &labels), None);
        assert_eq!(shape(usize::MAX, &dims, &labels), None);
        assert_eq!(shape(3, &[], &labels), Some(vec![3]));
    }
}
