//! Strided layouts: how views cost nothing, and how neighbouring axes collapse into one.

use super::Place;
use crate::kernels::fused::Operand;
use crate::shape::row_major_strides;

/// Where the elements of a node lie: a place and a stride for each axis (0 where repeated).
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub(crate) place: Place,
    pub(crate) strides: Vec<usize>,
}

/// An axis after collapsing, with its stride in each of several layouts.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Dim {
    pub(crate) extent: usize,
    pub(crate) strides: Vec<usize>,
}

impl Layout {
    pub(crate) fn dense(place: Place, shape: &[usize]) -> Self {
        Self { place, strides: row_major_strides(shape) }
    }

    /// Whether the elements lie in row-major order without gaps.
    pub(crate) fn is_dense(&self, shape: &[usize]) -> bool {
        let dense = row_major_strides(shape);
        shape.iter().zip(self.strides.iter().zip(&dense)).all(|(&extent, (own, want))| extent == 1 || own == want)
    }

    /// The same elements under another shape, if that needs no copy.
    pub(crate) fn reshaped(&self, from: &[usize], to: &[usize]) -> Option<Self> {
        let dims = collapse(from, &[&self.strides]);
        let mut strides = vec![0; to.len()];
        // Match the new axes, innermost first, against the collapsed runs of the old ones.
        let mut runs = dims.iter().rev();
        let mut run = runs.next();
        let mut within = 1;
        for axis in (0..to.len()).rev() {
            if to[axis] == 1 {
                continue;
            }
            let mut current = run?;
            if within == current.extent {
                run = runs.next();
                current = run?;
                within = 1;
            }
            strides[axis] = current.strides[0] * within;
            within *= to[axis];
            if !current.extent.is_multiple_of(within) {
                return None;
            }
        }
        Some(Self { place: self.place, strides })
    }

    /// How a fused group of the given shape reads these elements.
    pub(crate) fn as_operand(&self, shape: &[usize]) -> Operand {
        if self.is_dense(shape) {
            return Operand::Dense(self.place);
        }
        let dims = collapse(shape, &[&self.strides]);
        if dims.iter().all(|dim| dim.strides[0] == 0) {
            return Operand::Scalar(self.place);
        }
        Operand::Strided(self.place, dims.into_iter().map(|dim| (dim.extent, dim.strides[0])).collect())
    }
}

/// Merges neighbouring axes that every layout walks as one, and drops axes of one entry.
pub(crate) fn collapse(shape: &[usize], layouts: &[&[usize]]) -> Vec<Dim> {
    let mut dims: Vec<Dim> = Vec::new();
    for axis in 0..shape.len() {
        if shape[axis] == 1 {
            continue;
        }
        let dim = Dim { extent: shape[axis], strides: layouts.iter().map(|l| l[axis]).collect() };
        match dims.last_mut() {
            Some(outer) if outer.strides.iter().zip(&dim.strides).all(|(&o, &i)| o == i * dim.extent) => {
                outer.extent *= dim.extent;
                outer.strides = dim.strides;
            }
            _ => dims.push(dim),
        }
    }
    dims
}

/// Strides of a broadcast, aligned at the last axis: 0 where an extent of one is repeated.
pub(crate) fn broadcast_strides(strides: &[usize], from: &[usize], to: &[usize]) -> Vec<usize> {
    let lead = to.len() - from.len();
    (0..to.len())
        .map(|axis| match axis.checked_sub(lead) {
            Some(own) if from[own] == to[axis] => strides[own],
            _ => 0,
        })
        .collect()
}

/// Strides of sliding windows over `axis`, which becomes (position, place in the window).
pub(crate) fn window_strides(strides: &[usize], axis: usize, stride: usize, dilation: usize) -> Vec<usize> {
    let mut strides = strides.to_vec();
    strides.insert(axis + 1, strides[axis] * dilation);
    strides[axis] *= stride;
    strides
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_reshape_without_a_copy_where_strides_allow() {
        let place = Place { buffer: 0, offset: 0 };
        for (from, strides, to, expected) in [
            (vec![2, 3, 4], vec![12, 4, 1], vec![6, 4], Some(vec![4, 1])),
            (vec![2, 3, 4], vec![12, 4, 1], vec![24], Some(vec![1])),
            (vec![4, 6], vec![1, 4], vec![4, 2, 3], Some(vec![1, 12, 4])),
            (vec![4, 6], vec![1, 4], vec![24], None),
            (vec![2, 3], vec![0, 1], vec![2, 3, 1], Some(vec![0, 1, 0])),
            (vec![2, 1, 3], vec![9, 5, 1], vec![2, 3], Some(vec![9, 1])),
        ] {
            let layout = Layout { place, strides };
            assert_eq!(layout.reshaped(&from, &to).map(|l| l.strides), expected, "{from:?} to {to:?}");
        }
    }

    #[test]
    fn axes_collapse_only_where_all_layouts_agree() {
        assert_eq!(collapse(&[2, 3, 4], &[&[12, 4, 1]]), [Dim { extent: 24, strides: vec![1] }]);
        assert_eq!(
            collapse(&[2, 3, 4], &[&[12, 4, 1], &[0, 0, 1]]),
            [Dim { extent: 6, strides: vec![4, 0] }, Dim { extent: 4, strides: vec![1, 1] }]
        );
    }
}
