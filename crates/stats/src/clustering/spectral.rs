//! Spectral clustering of a matrix of similarities.

use super::k_means;
use crate::array_error::{ArrayError, setting};
use crate::eigen::symmetric_eigen;
use crate::linear::Matrix;

/// The leading eigenvectors of a matrix of similarities, for any number of clusters up to theirs.
///
/// Ng, Jordan and Weiss 2002: with D the sums of the rows of A, rows of the leading k eigenvectors of D^(−½)·A·D^(−½), each scaled to unit
/// length, are grouped by k-means.
#[derive(Debug, Clone)]
pub struct SpectralClustering {
    n: usize,
    vectors: Vec<Vec<f64>>,
}

impl SpectralClustering {
    /// Of the symmetric matrix `similarities`, with entries of at least 0, for at most `most` clusters. Takes O(n³).
    ///
    /// # Errors
    /// A matrix that is not square or has entries below 0, or more clusters than rows.
    pub fn new(similarities: &Matrix, most: usize) -> Result<Self, ArrayError> {
        let n = similarities.n_rows();
        crate::array_error::length("a row of similarities", similarities.n_columns(), n)?;
        setting("the number of clusters", most as f64, (1..=n).contains(&most), "1 to the number of examples")?;
        if let Some(&found) = similarities.values().iter().find(|v| **v < 0.0) {
            return Err(ArrayError::Setting { setting: "a similarity", found, expected: "at least 0" });
        }
        let roots: Vec<f64> = similarities.rows().map(|row| row.iter().sum::<f64>().sqrt()).collect();
        let scaled = (0..n * n).map(|ij| {
            let root = roots[ij / n] * roots[ij % n];
            // What is like nothing, not even itself, stands alone.
            if root > 0.0 { similarities.values()[ij] / root } else { 0.0 }
        });
        let eigen = symmetric_eigen(scaled.collect(), n, most);
        Ok(Self { n, vectors: eigen.vectors })
    }

    /// The cluster of each row, below `k`; cluster 0 is the largest. The same seed gives the same clusters.
    ///
    /// # Errors
    /// No cluster, or more than the matrix was decomposed for.
    pub fn clusters(&self, k: usize, seed: u64) -> Result<Vec<u32>, ArrayError> {
        let expected = "1 to the largest number that was asked for";
        setting("the number of clusters", k as f64, (1..=self.vectors.len()).contains(&k), expected)?;
        let rows = (0..self.n).flat_map(|i| {
            let row: Vec<f64> = self.vectors[..k].iter().map(|vector| vector[i]).collect();
            let length = row.iter().map(|v| v * v).sum::<f64>().sqrt();
            row.into_iter().map(move |v| if length > 0.0 { v / length } else { 0.0 })
        });
        Ok(k_means(&Matrix::new(self.n, k, rows.collect())?, k, seed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_recovered_also_over_a_common_background() {
        let sizes = [40, 20, 10, 5];
        let which: Vec<u32> = sizes.iter().zip(0..).flat_map(|(&size, at)| vec![at; size]).collect();
        // The first three stand apart from the order of rows.
        let order: Vec<usize> = (0..75).map(|i| i * 37 % 75).collect();
        let which: Vec<u32> = order.iter().map(|&i| which[i]).collect();
        for background in [0.0, 0.5] {
            let entry = |ij: usize| if which[ij / 75] == which[ij % 75] { 1.0 } else { background };
            let similarities = Matrix::new(75, 75, (0..75 * 75).map(entry).collect()).unwrap();
            let found = SpectralClustering::new(&similarities, 4).unwrap();
            // Clusters come by size, as the blocks do.
            assert_eq!(found.clusters(4, 3).unwrap(), which, "{background}");
            assert!(found.clusters(5, 3).is_err() && found.clusters(0, 3).is_err());
        }
        assert!(SpectralClustering::new(&Matrix::zeros(3, 2), 1).is_err());
        assert!(SpectralClustering::new(&Matrix::new(1, 1, vec![-1.0]).unwrap(), 1).is_err());
    }
}
