//! Row-major shapes, strides and index iteration.

/// Strides of a dense row-major array.
pub(crate) fn row_major_strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    strides
}

/// All indices of a shape, last axis fastest; one empty index for a scalar.
pub(crate) struct Indices<'a> {
    shape: &'a [usize],
    next: Option<Vec<usize>>,
}

impl<'a> Indices<'a> {
    pub(crate) fn new(shape: &'a [usize]) -> Self {
        let next = (!shape.contains(&0)).then(|| vec![0; shape.len()]);
        Self { shape, next }
    }
}

impl Iterator for Indices<'_> {
    type Item = Vec<usize>;

    fn next(&mut self) -> Option<Vec<usize>> {
        let current = self.next.clone()?;
        let advanced = self.next.as_mut()?;
        let mut axis = self.shape.len();
        loop {
            if axis == 0 {
                self.next = None;
                break;
            }
            axis -= 1;
            advanced[axis] += 1;
            if advanced[axis] < self.shape[axis] {
                break;
            }
            advanced[axis] = 0;
        }
        Some(current)
    }
}
