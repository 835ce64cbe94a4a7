//! Agreement of two groupings of the same things.

use std::collections::BTreeMap;

use crate::array_error::{ArrayError, length};

/// The adjusted Rand index of Hubert and Arabie 1985: 1 where both group alike, 0 on average where one is a random order of the
/// other, and below by chance. Two groupings that both put everything together, or nothing, agree: 1.
///
/// # Errors
/// Groupings of other numbers of things.
pub fn adjusted_rand_index(a: &[u32], b: &[u32]) -> Result<f64, ArrayError> {
    length("the second grouping", b.len(), a.len())?;
    let mut cells = BTreeMap::new();
    let (mut rows, mut columns) = (BTreeMap::new(), BTreeMap::new());
    for (&a, &b) in a.iter().zip(b) {
        *cells.entry((a, b)).or_insert(0_u64) += 1;
        *rows.entry(a).or_insert(0_u64) += 1;
        *columns.entry(b).or_insert(0_u64) += 1;
    }
    let pairs = |n: u64| (n * n.saturating_sub(1) / 2) as f64;
    let together: f64 = cells.values().map(|&n| pairs(n)).sum();
    let (in_a, in_b): (f64, f64) = (rows.values().map(|&n| pairs(n)).sum(), columns.values().map(|&n| pairs(n)).sum());
    let all = pairs(a.len() as u64);
    let expected = if all > 0.0 { in_a * in_b / all } else { 0.0 };
    let most = f64::midpoint(in_a, in_b);
    Ok(if most - expected == 0.0 { 1.0 } else { (together - expected) / (most - expected) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    #[test]
    fn known_values() {
        // Of the documentation of scikit-learn: 0.57 to two digits, 4/7.
        assert!((adjusted_rand_index(&[0, 0, 1, 2], &[0, 0, 1, 1]).unwrap() - 4.0 / 7.0).abs() < 1e-15);
        assert_eq!(adjusted_rand_index(&[0, 0, 1, 1], &[5, 5, 2, 2]).unwrap(), 1.0);
        assert_eq!(adjusted_rand_index(&[0, 0, 0, 0], &[0, 1, 2, 3]).unwrap(), 0.0);
        assert_eq!(adjusted_rand_index(&[], &[]).unwrap(), 1.0);
        assert!(adjusted_rand_index(&[0], &[0, 1]).is_err());
    }

    #[test]
    fn random_groupings_have_zero_on_average() {
        let values: Vec<f64> = (0..300)
            .map(|run| {
                let mut stream = Stream::new(run, 7, 0);
                let mut group = |k: f64| (0..60).map(|_| (stream.uniform() * k) as u32).collect::<Vec<u32>>();
                let (a, b) = (group(4.0), group(6.0));
                adjusted_rand_index(&a, &b).unwrap()
            })
            .collect();
        let mean = values.iter().sum::<f64>() / 300.0;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 299.0;
        assert!(mean.abs() < 4.0 * (variance / 300.0).sqrt(), "{mean}");
    }
}
