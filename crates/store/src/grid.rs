//! Arrays of several records laid into one dense array with a leading step.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Coordinate, RecordArray};

/// Labels by dimension.
pub(crate) type Labels = BTreeMap<String, Vec<Coordinate>>;

/// More values than this in one array are refused: 2 GiB.
pub(crate) const MAX_VALUES: usize = 1 << 28;

/// The labels that occur along each dimension of `arrays`: ascending where all are numbers, else as they first occur.
pub(crate) fn union_of_labels<'a>(arrays: impl Iterator<Item = &'a RecordArray>) -> Labels {
    union_of(arrays.flat_map(|array| &array.coordinates))
}

/// As [`union_of_labels`], of pairs of a dimension and labels along it.
pub(crate) fn union_of<'a>(along: impl Iterator<Item = (&'a String, &'a Vec<Coordinate>)>) -> Labels {
    let mut labels = Labels::new();
    let mut seen: BTreeSet<(&str, &Coordinate)> = BTreeSet::new();
    for (dim, of_array) in along {
        let of_dim = labels.entry(dim.clone()).or_default();
        of_dim.extend(of_array.iter().filter(|label| seen.insert((dim, label))).cloned());
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
    let mut values = vec![f64::NAN; shape.iter().product()];
    let places = Places::new(shape, dims, labels);
    for (step_idx, array) in arrays {
        let along = |dim_idx: usize| &array.coordinates[&dims[dim_idx]][..];
        let offsets = places.offsets(step_idx, along).expect("the labels of all arrays are in the union");
        for (offset, &value) in offsets.into_iter().zip(&array.values) {
            values[offset] = value;
        }
    }
    values
}

/// Where the values of an array with some of the labels lie in the dense array.
pub(crate) struct Places<'a> {
    shape: &'a [usize],
    index_of: Vec<BTreeMap<&'a Coordinate, usize>>,
}

impl<'a> Places<'a> {
    /// Of a dense array over (step, `dims`…) with these labels.
    pub(crate) fn new(shape: &'a [usize], dims: &[String], labels: &'a Labels) -> Self {
        let indexed = |dim: &String| labels[dim].iter().enumerate().map(|(idx, label)| (label, idx)).collect();
        Self { shape, index_of: dims.iter().map(indexed).collect() }
    }

    /// Offsets of the values at `step_idx`, row-major over the labels that `along` gives for each dimension; `None`
    /// where a label is not among those of the dense array.
    pub(crate) fn offsets<'b>(&self, step_idx: usize, along: impl Fn(usize) -> &'b [Coordinate]) -> Option<Vec<usize>> {
        // No values, however many labels the other dimensions have.
        if (0..self.index_of.len()).any(|dim_idx| along(dim_idx).is_empty()) {
            return Some(Vec::new());
        }
        let width = self.shape[1..].iter().product::<usize>();
        // The offset each label contributes, by dimension; the offset of a value is the sum over its labels.
        let mut offsets = vec![step_idx * width];
        let mut stride = width;
        for (dim_idx, index_of) in self.index_of.iter().enumerate() {
            stride = stride.checked_div(self.shape[dim_idx + 1]).unwrap_or(0);
            let of_dim: Vec<usize> =
                along(dim_idx).iter().map(|label| Some(index_of.get(label)? * stride)).collect::<Option<_>>()?;
            offsets = offsets.iter().flat_map(|base| of_dim.iter().map(move |o| base + o)).collect();
        }
        Some(offsets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NumberType;

    fn array(rows: &[u64], columns: &[&str], values: &[f64]) -> RecordArray {
        let rows = rows.iter().map(|&n| Coordinate::Number(n)).collect();
        let columns = columns.iter().map(|&t| Coordinate::Text(t.to_owned())).collect();
        RecordArray {
            name: "value".to_owned(),
            unit: "1".to_owned(),
            dims: vec!["row".to_owned(), "column".to_owned()],
            coordinates: Labels::from([("row".to_owned(), rows), ("column".to_owned(), columns)]),
            number: NumberType::Float64,
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
