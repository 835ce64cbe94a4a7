//! Intrinsic dimensions of a cloud of points from the distances to nearest neighbours.

use crate::ArrayError;

/// Distances of each distinct point of a cloud to its nearest neighbours.
#[derive(Debug, Clone)]
pub struct Neighbours {
    /// Of each point, ascending; all above 0.
    distances: Vec<Vec<f64>>,
    width: usize,
}

impl Neighbours {
    /// The distances of points of `width` coordinates, one after another, to the `k` nearest others, or to all where there are
    /// fewer. Of equal points one counts: a distance of zero says nothing of the dimension. The work grows as points²·width.
    ///
    /// # Errors
    /// Coordinates that are no whole points, or not finite.
    pub fn of(points: &[f32], width: usize, k: usize) -> Result<Self, ArrayError> {
        let what = "the points";
        let each = width.max(1);
        if !points.len().is_multiple_of(each) {
            return Err(ArrayError::Length { what, found: points.len(), expected: points.len() / each * each });
        }
        if let Some(at) = points.iter().position(|x| !x.is_finite()) {
            return Err(ArrayError::NotFinite { what, row: at / each, column: at % each });
        }
        let mut distinct: Vec<&[f32]> = points.chunks_exact(each).collect();
        distinct.sort_by(|a, b| {
            a.iter().zip(*b).map(|(x, y)| x.total_cmp(y)).find(|o| o.is_ne()).unwrap_or(a.len().cmp(&b.len()))
        });
        // 0 and −0 are one place, though two in that order.
        distinct.dedup_by(|a, b| a == b);
        let n = distinct.len();
        let mut squares = vec![0.0; n * n];
        for i in 0..n {
            for j in 0..i {
                let square = squared_distance(distinct[i], distinct[j]);
                squares[i * n + j] = square;
                squares[j * n + i] = square;
            }
        }
        let k = k.min(n.saturating_sub(1));
        let nearest = |i: usize| {
            let mut own: Vec<f64> = (0..n).filter(|&j| j != i).map(|j| squares[i * n + j]).collect();
            if k > 0 && k < own.len() {
                own.select_nth_unstable_by(k - 1, f64::total_cmp);
            }
            own.truncate(k);
            own.sort_by(f64::total_cmp);
            own.into_iter().map(f64::sqrt).filter(|&d| d > 0.0).collect()
        };
        Ok(Self { distances: (0..n).map(nearest).collect(), width })
    }

    /// Distinct points.
    pub fn n_points(&self) -> usize {
        self.distances.len()
    }

    /// TwoNN (Facco, d'Errico, Rodriguez & Laio 2017): the maximum-likelihood d = N/Σ ln(r₂/r₁) of the Pareto law of the ratios
    /// of the first two distances, over all N points. Its relative standard error is 1/√N. At most the number of coordinates,
    /// which bounds it where points are equally far from each other. `None` for fewer than three distinct points.
    pub fn two_nn(&self) -> Option<f64> {
        self.mean_inverse(2)
    }

    /// The estimate of Levina and Bickel (2004) from `k` neighbours, at least 2, with the inverses averaged over the points as
    /// MacKay and Ghahramani (2005) correct it: d = N(k − 1)/Σᵢ Σⱼ₌₁^{k−1} ln(r_k/r_j). At most the number of coordinates. With k = 2
    /// it is [`Neighbours::two_nn`]. `None` where a point has fewer than k neighbours.
    pub fn levina_bickel(&self, k: usize) -> Option<f64> {
        self.mean_inverse(k)
    }

    fn mean_inverse(&self, k: usize) -> Option<f64> {
        if k < 2 || self.distances.len() <= k || self.distances.iter().any(|own| own.len() < k) {
            return None;
        }
        let log_ratios = |own: &Vec<f64>| own[..k - 1].iter().map(|r| (own[k - 1] / r).ln()).sum::<f64>();
        let sum: f64 = self.distances.iter().map(log_ratios).sum();
        let n = (self.distances.len() * (k - 1)) as f64;
        Some((n / sum).min(self.width as f64))
    }
}

/// Σ(a − b)² in eight partial sums, which a processor adds at the same time.
fn squared_distance(a: &[f32], b: &[f32]) -> f64 {
    let mut lanes = [0.0_f64; 8];
    let ((a, last_a), (b, last_b)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    for (a, b) in a.iter().zip(b) {
        for i in 0..8 {
            let difference = f64::from(a[i]) - f64::from(b[i]);
            lanes[i] += difference * difference;
        }
    }
    let rest: f64 = last_a.iter().zip(last_b).map(|(x, y)| (f64::from(*x) - f64::from(*y)).powi(2)).sum();
    lanes.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    fn cube(seed: u64, n: usize, d: usize) -> Vec<f32> {
        let mut stream = Stream::new(seed, 0, 0);
        (0..n * d).map(|_| stream.uniform() as f32).collect()
    }

    /// The tolerances are what is known of these estimators at N = 2000: an error of 1/√N = 2 % each, and in five dimensions the
    /// faces of the cube, which take away a few percent.
    #[test]
    fn cubes_have_their_dimension() {
        for (d, k, expected, within) in [(1, 10, 1.0, 0.05), (2, 10, 2.0, 0.1), (5, 10, 4.6, 0.35)] {
            let found = Neighbours::of(&cube(7, 2000, d), d, k).unwrap();
            let two = found.two_nn().unwrap();
            let two_expected = if d == 5 { 4.8 } else { expected };
            let two_within = if d == 5 { 0.25 } else { within };
            assert!((two - two_expected).abs() <= two_within, "TwoNN in {d}: {two}");
            let several = found.levina_bickel(k).unwrap();
            assert!((several - expected).abs() <= within, "{k} neighbours in {d}: {several}");
        }
    }

    #[test]
    fn where_they_lie_and_how_large_they_are_does_not_matter() {
        // A plane in ten dimensions: coordinates by two fixed vectors, far from zero.
        let plane = cube(3, 1000, 2);
        let embed = |scale: f32| -> Vec<f32> {
            plane
                .chunks_exact(2)
                .flat_map(|p| (0..10).map(move |i| scale * (p[0] * (i as f32).cos() + p[1] * (i as f32).sin())))
                .collect()
        };
        let flat = Neighbours::of(&plane, 2, 10).unwrap();
        // The two vectors are nearly orthogonal and of one length; N = 1000 have an error of 3 %.
        for points in [embed(1.0), embed(1e4)] {
            let found = Neighbours::of(&points, 10, 10).unwrap();
            assert!((found.two_nn().unwrap() - 2.0).abs() < 4.0 * 2.0 / 1000_f64.sqrt());
            assert!((found.levina_bickel(10).unwrap() / flat.levina_bickel(10).unwrap() - 1.0).abs() < 0.05);
        }
        // Equal points count once, whatever their order.
        let mut twice = plane.clone();
        twice.extend(plane.chunks_exact(2).rev().flatten());
        let found = Neighbours::of(&twice, 2, 10).unwrap();
        assert_eq!((found.n_points(), found.two_nn()), (1000, flat.two_nn()));
        assert_eq!(flat.levina_bickel(2), flat.two_nn());
    }

    #[test]
    fn too_few_points_have_no_dimension_and_a_simplex_that_of_its_space() {
        assert_eq!(Neighbours::of(&[], 3, 2).unwrap().two_nn(), None);
        assert_eq!(Neighbours::of(&[1.0; 30], 3, 2).unwrap().two_nn(), None);
        assert_eq!(Neighbours::of(&[0.0, -0.0, 1.0], 1, 2).unwrap().n_points(), 2);
        let corners: Vec<f32> = (0..16).map(|ij| if ij / 4 == ij % 4 { 1.0 } else { 0.0 }).collect();
        let found = Neighbours::of(&corners, 4, 3).unwrap();
        assert_eq!([found.two_nn(), found.levina_bickel(3)], [Some(4.0), Some(4.0)]);
        assert_eq!(found.levina_bickel(4), None);
        assert!(Neighbours::of(&[1.0, 2.0, 3.0], 2, 2).is_err());
        assert!(Neighbours::of(&[1.0, f32::INFINITY], 2, 2).is_err());
    }
}
