//! Singular directions of a matrix, and the projection of its changes onto some of them.

use std::ops::Range;

use ontogeny_graph::Param;

use crate::restriction::RestrictionError;

/// The span {Σₖ zₖ·uₖvₖᵀ} of singular directions of one matrix of the weights.
#[derive(Debug, Clone, PartialEq)]
pub struct Projector {
    range: Range<usize>,
    shape: [usize; 2],
    numbers: Vec<usize>,
    /// uₖ below each other: `[k, rows]`, orthonormal.
    left: Vec<f64>,
    /// vₖ below each other: `[k, cols]`, orthonormal.
    right: Vec<f64>,
}

/// Why there is no such span.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum SingularError {
    NonFinite,
    /// A singular value that is zero or tied, so that rounding alone would choose the direction.
    Undetermined {
        index: usize,
        value: f64,
        problem: String,
    },
}

impl SingularError {
    pub(crate) fn of(self, found: &str, tensor: &str) -> RestrictionError {
        let (found, tensor) = (found.to_owned(), tensor.to_owned());
        match self {
            Self::NonFinite => RestrictionError::NonFinite { found, tensor },
            Self::Undetermined { index, value, problem } => {
                RestrictionError::DirectionUndetermined { found, tensor, index, value: format!("{value:.4e}"), problem }
            }
        }
    }
}

impl Projector {
    /// The directions with these ascending numbers, all below both extents of the matrix `param`.
    pub(crate) fn new(param: &Param, weights: &[f32], numbers: &[usize]) -> Result<Self, SingularError> {
        let shape = [param.shape[0], param.shape[1]];
        let matrix = &weights[param.range.clone()];
        if !matrix.iter().all(|w| w.is_finite()) {
            return Err(SingularError::NonFinite);
        }
        let decomposition = Decomposition::of(matrix, shape);
        let values = &decomposition.values;
        // Weights are rounded to f32, which moves a singular value by up to the norm of the rounding (Weyl's
        // inequality), and turns directions whose values are no further apart than that by any angle.
        let norm = values.iter().map(|s| s * s).sum::<f64>().sqrt();
        let rounding = f64::from(f32::EPSILON) * norm;
        for &index in numbers {
            let value = values[index];
            let undetermined = |problem: String| Err(SingularError::Undetermined { index, value, problem });
            if value <= rounding {
                return undetermined("zero".to_owned());
            }
            let neighbours = [index.checked_sub(1), Some(index + 1).filter(|&next| next < values.len())];
            for other in neighbours.into_iter().flatten() {
                if (values[other] - value).abs() <= rounding {
                    return undetermined(format!("equal to that of direction {other}"));
                }
            }
        }
        let rows_of = |vectors: &[Vec<f64>]| numbers.iter().flat_map(|&index| vectors[index].iter().copied()).collect();
        let (left, right) = (rows_of(&decomposition.left), rows_of(&decomposition.right));
        Ok(Self { range: param.range.clone(), shape, numbers: numbers.to_vec(), left, right })
    }

    /// The matrix in the flat vector.
    pub fn range(&self) -> &Range<usize> {
        &self.range
    }

    /// Rows and columns of the matrix.
    pub fn shape(&self) -> [usize; 2] {
        self.shape
    }

    /// Number of directions.
    pub fn n_directions(&self) -> usize {
        self.numbers.len()
    }

    /// Their numbers, ascending from 0 for that of the largest singular value.
    pub fn numbers(&self) -> &[usize] {
        &self.numbers
    }

    /// Left singular vectors, `[directions, rows]`, orthonormal.
    pub fn left(&self) -> &[f64] {
        &self.left
    }

    /// Right singular vectors, `[directions, cols]`, orthonormal.
    pub fn right(&self) -> &[f64] {
        &self.right
    }

    /// Replaces D = w − w* by Σₖ (uₖᵀDvₖ)·uₖvₖᵀ, in f64; w* is 0 unless given. Both are flat vectors of all weights.
    pub(crate) fn project(&self, start: Option<&[f32]>, weights: &mut [f32]) {
        let [rows, cols] = self.shape;
        let matrix = &mut weights[self.range.clone()];
        let start = start.map(|start| &start[self.range.clone()]);
        let vectors = || self.left.chunks_exact(rows).zip(self.right.chunks_exact(cols));
        let mut along = vec![0.0_f64; self.n_directions()];
        let mut row_of_d = vec![0.0_f64; cols];
        for (i, row) in matrix.chunks_exact(cols).enumerate() {
            row_of_d.iter_mut().zip(row).for_each(|(d, &w)| *d = f64::from(w));
            if let Some(start) = start {
                let origin = &start[i * cols..][..cols];
                row_of_d.iter_mut().zip(origin).for_each(|(d, &w0)| *d -= f64::from(w0));
            }
            for (z, (u, v)) in along.iter_mut().zip(vectors()) {
                *z += u[i] * dot(&row_of_d, v);
            }
        }
        for (i, row) in matrix.chunks_exact_mut(cols).enumerate() {
            row_of_d.fill(0.0);
            if let Some(start) = start {
                let origin = &start[i * cols..][..cols];
                row_of_d.iter_mut().zip(origin).for_each(|(d, &w0)| *d = f64::from(w0));
            }
            for (z, (u, v)) in along.iter().zip(vectors()) {
                let factor = z * u[i];
                row_of_d.iter_mut().zip(v).for_each(|(d, v)| *d += factor * v);
            }
            row.iter_mut().zip(&row_of_d).for_each(|(w, &d)| *w = d as f32);
        }
    }
}

/// Singular values, largest first, with their vectors.
#[derive(Debug)]
struct Decomposition {
    values: Vec<f64>,
    /// uₖ, zero where the value is.
    left: Vec<Vec<f64>>,
    right: Vec<Vec<f64>>,
}

/// Sweeps over all pairs of columns; quadratic convergence needs fewer than ten.
const MAX_SWEEPS: usize = 60;

impl Decomposition {
    /// One-sided Jacobi (Hestenes 1958; Golub & Van Loan 2013, §8.6.3): rotations of pairs of columns until all are
    /// orthogonal. Their lengths are then the singular values, accurate to rounding of the largest, and the product of
    /// the rotations holds the other vectors. O(m·n²) for each sweep over m×n, n the smaller.
    fn of(matrix: &[f32], [rows, cols]: [usize; 2]) -> Self {
        let is_wide = cols > rows;
        let (long, short) = if is_wide { (cols, rows) } else { (rows, cols) };
        let entry = |i: usize, j: usize| f64::from(if is_wide { matrix[j * cols + i] } else { matrix[i * cols + j] });
        let mut columns: Vec<Vec<f64>> = (0..short).map(|j| (0..long).map(|i| entry(i, j)).collect()).collect();
        let mut rotations: Vec<Vec<f64>> =
            (0..short).map(|j| (0..short).map(|i| f64::from(u8::from(i == j))).collect()).collect();
        let norm: f64 = columns.iter().map(|column| dot(column, column)).sum();
        for _ in 0..MAX_SWEEPS {
            let mut is_done = true;
            for p in 0..short {
                for q in p + 1..short {
                    let [a, b] = [p, q].map(|j| dot(&columns[j], &columns[j]));
                    let c = dot(&columns[p], &columns[q]);
                    // Products below the second test are rounding of the largest column and would never settle.
                    if c.abs() <= long as f64 * f64::EPSILON * (a * b).sqrt() || c.abs() <= f64::EPSILON.powi(2) * norm
                    {
                        continue;
                    }
                    is_done = false;
                    // The smaller of the two angles that make them orthogonal.
                    let zeta = (b - a) / (2.0 * c);
                    let tangent = zeta.signum() / (zeta.abs() + 1.0_f64.hypot(zeta));
                    let cosine = 1.0 / 1.0_f64.hypot(tangent);
                    rotate(&mut columns, p, q, cosine, cosine * tangent);
                    rotate(&mut rotations, p, q, cosine, cosine * tangent);
                }
            }
            if is_done {
                break;
            }
        }
        let lengths: Vec<f64> = columns.iter().map(|column| dot(column, column).sqrt()).collect();
        let mut order: Vec<usize> = (0..short).collect();
        order.sort_by(|&p, &q| lengths[q].total_cmp(&lengths[p]));
        let values = order.iter().map(|&j| lengths[j]).collect();
        let unit = |j: usize| columns[j].iter().map(|x| if lengths[j] > 0.0 { x / lengths[j] } else { 0.0 }).collect();
        let of_columns: Vec<Vec<f64>> = order.iter().map(|&j| unit(j)).collect();
        let of_rotations: Vec<Vec<f64>> = order.iter().map(|&j| rotations[j].clone()).collect();
        let (left, right) = if is_wide { (of_rotations, of_columns) } else { (of_columns, of_rotations) };
        Self { values, left, right }
    }
}

fn rotate(vectors: &mut [Vec<f64>], p: usize, q: usize, cosine: f64, sine: f64) {
    let (before, from_q) = vectors.split_at_mut(q);
    for (x, y) in before[p].iter_mut().zip(&mut from_q[0]) {
        (*x, *y) = (cosine * *x - sine * *y, sine * *x + cosine * *y);
    }
}

/// In eight lanes of a fixed order.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    for (a, b) in a.iter().zip(b) {
        for lane in 0..8 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use ontogeny_graph::{Graph, ParamSpace, Purpose, Stream};

    fn normals(step: u32, n: usize) -> Vec<f32> {
        let mut values = vec![0.0; n];
        Stream::new(11, Purpose::Probe, 0).normals(step, 0, &mut values);
        values
    }

    /// Largest |aᵢ·aⱼ − δᵢⱼ|.
    fn off_orthonormal(vectors: &[Vec<f64>]) -> f64 {
        let pairs = vectors.iter().enumerate().flat_map(|(i, a)| vectors.iter().enumerate().map(move |b| (i, a, b)));
        pairs.map(|(i, a, (j, b))| (dot(a, b) - f64::from(u8::from(i == j))).abs()).fold(0.0, f64::max)
    }

    #[test]
    fn vectors_are_orthonormal_and_give_the_matrix_back() {
        for (step, [rows, cols]) in
            [[1, 1], [5, 1], [1, 7], [6, 4], [9, 17], [40, 40], [64, 33]].into_iter().enumerate()
        {
            let matrix = normals(step as u32, rows * cols);
            let found = Decomposition::of(&matrix, [rows, cols]);
            assert!(found.values.is_sorted_by(|a, b| a >= b));
            // A sweep ends with cosines of at most m·ε; a hundred of them would still pass through unseen errors.
            let tolerance = 4.0 * rows.max(cols) as f64 * f64::EPSILON;
            assert!(off_orthonormal(&found.left) <= tolerance, "{rows}×{cols}: {}", off_orthonormal(&found.left));
            assert!(off_orthonormal(&found.right) <= tolerance, "{rows}×{cols}: {}", off_orthonormal(&found.right));
            for (at, &w) in matrix.iter().enumerate() {
                let (i, j) = (at / cols, at % cols);
                let terms = found.values.iter().zip(found.left.iter().zip(&found.right));
                let sum: f64 = terms.map(|(s, (u, v))| s * u[i] * v[j]).sum();
                assert!((sum - f64::from(w)).abs() <= tolerance * found.values[0], "{rows}×{cols} [{i}, {j}]");
            }
        }
    }

    #[test]
    fn spectra_in_closed_form() {
        // The second difference matrix of size n is symmetric with eigenvalues 4 sin²(kπ/(2n + 2)).
        let n = 12;
        let mut matrix = vec![0.0_f32; n * n];
        for i in 0..n {
            matrix[i * n + i] = 2.0;
            if i > 0 {
                matrix[i * n + i - 1] = -1.0;
                matrix[(i - 1) * n + i] = -1.0;
            }
        }
        let found = Decomposition::of(&matrix, [n, n]);
        for (k, value) in found.values.iter().enumerate() {
            let angle = (n - k) as f64 * std::f64::consts::PI / (2 * n + 2) as f64;
            let expected = 4.0 * angle.sin().powi(2);
            assert!((value - expected).abs() < 1e-14, "{k}: {value} {expected}");
        }
        // Rank one: ‖a‖‖b‖ and zeros.
        let matrix: Vec<f32> = [1.0_f32, 2.0, 2.0].iter().flat_map(|a| [3.0, 4.0].map(|b| a * b)).collect();
        let found = Decomposition::of(&matrix, [3, 2]);
        assert!((found.values[0] - 15.0).abs() < 1e-13 && found.values[1] < 1e-13, "{:?}", found.values);
        assert_eq!(Decomposition::of(&[0.0; 6], [2, 3]).values, [0.0, 0.0]);
    }

    fn projector(matrix: &[f32], shape: [usize; 2], numbers: &[usize]) -> Result<Projector, SingularError> {
        let mut g = Graph::new();
        g.param("before", &[3]);
        g.param("W", &shape);
        let space = ParamSpace::of(&g);
        let weights = [&[1.0, 2.0, 3.0], matrix].concat();
        Projector::new(space.find("W").unwrap(), &weights, numbers)
    }

    #[test]
    fn a_projection_keeps_the_span_and_removes_all_else() {
        let (rows, cols) = (7, 5);
        let start = [&[1.0, 2.0, 3.0][..], &normals(0, rows * cols)].concat();
        let projector = projector(&start[3..], [rows, cols], &[0, 1, 3]).unwrap();
        assert_eq!((projector.n_directions(), projector.range().clone()), (3, 3..38));
        let moved: Vec<f32> = start.iter().zip(normals(1, 38)).map(|(w, noise)| w + noise).collect();
        let mut once = moved.clone();
        projector.project(Some(&start), &mut once);
        assert_eq!(once[..3], moved[..3], "other weights keep their bits");
        // Rounding of w* + D to f32, a few units of it each.
        let near = |a: f32, b: f32| (a - b).abs() <= 4.0 * f32::EPSILON * 4.0;
        let mut twice = once.clone();
        projector.project(Some(&start), &mut twice);
        assert!(once.iter().zip(&twice).all(|(&a, &b)| near(a, b)));
        // What is left is orthogonal to what was removed, and removed is all that is orthogonal to the span.
        let difference = |a: &[f32], b: &[f32]| -> Vec<f64> {
            a[3..].iter().zip(&b[3..]).map(|(a, b)| f64::from(*a) - f64::from(*b)).collect()
        };
        let (kept, removed) = (difference(&once, &start), difference(&moved, &once));
        let vectors = projector.left().chunks(rows).zip(projector.right().chunks(cols));
        let basis: Vec<Vec<f64>> =
            vectors.map(|(u, v)| u.iter().flat_map(|u| v.iter().map(move |v| u * v)).collect()).collect();
        assert!(off_orthonormal(&basis) < 1e-14);
        let mut rest = kept.clone();
        for direction in &basis {
            assert!(dot(&removed, direction).abs() < 1e-5);
            let z = dot(&kept, direction);
            assert!(z.abs() > 1e-3, "a direction in which nothing moved tests nothing");
            rest.iter_mut().zip(direction).for_each(|(r, d)| *r -= z * d);
        }
        assert!(rest.iter().all(|r| r.abs() < 1e-5));
        // Along the span nothing changes.
        let mut along = start.clone();
        let bump = |(w, d): (&mut f32, &f64)| *w += 0.5 * *d as f32;
        along[3..].iter_mut().zip(&basis[1]).for_each(bump);
        let mut projected = along.clone();
        projector.project(Some(&start), &mut projected);
        assert!(along.iter().zip(&projected).all(|(&a, &b)| near(a, b)));
        // A direction is a change from the origin.
        let mut gradient = normals(1, 38);
        projector.project(None, &mut gradient);
        assert!(gradient[3..].iter().zip(&kept).all(|(g, k)| (f64::from(*g) - k).abs() < 1e-5));
    }

    #[test]
    fn directions_that_rounding_would_choose_are_errors() {
        let diagonal = |values: &[f32]| -> Vec<f32> {
            let n = values.len();
            (0..n * n).map(|at| if at / n == at % n { values[at / n] } else { 0.0 }).collect()
        };
        let problem = |values: &[f32], numbers: &[usize]| {
            let n = values.len();
            projector(&diagonal(values), [n, n], numbers).map_err(|error| error.of("W[sv 0]", "W").to_string())
        };
        assert!(problem(&[3.0, 1.0, 2.0], &[0, 1, 2]).is_ok());
        assert!(problem(&[3.0, 0.0, 2.0], &[0, 1]).is_ok());
        for (values, numbers, expected) in [
            (
                vec![3.0, 0.0, 2.0],
                vec![2],
                "singular direction 2 of `W` is not determined: its singular value 0.0000e0 is zero",
            ),
            (
                vec![3.0, 3.0, 2.0],
                vec![0],
                "its singular value 3.0000e0 is equal to that of direction 1 to the rounding",
            ),
            (vec![3.0, 2.0, 2.0 + 1e-7], vec![1], "equal to that of direction 2"),
            (vec![f32::NAN, 1.0], vec![0], "restriction `W[sv 0]`: `W` holds NaN or infinity"),
        ] {
            let message = problem(&values, &numbers).unwrap_err();
            assert!(message.contains(expected), "{message}");
        }
    }
}
