//! Multinomial logistic regression with an L2 penalty.

use super::lbfgs::minimise;
use crate::array_error::{ArrayError, enough, length, setting};
use crate::linear::Matrix;

/// Logits intercept + x·weights.
#[derive(Debug, Clone, PartialEq)]
pub struct LogisticFit {
    /// (features, classes).
    pub weights: Matrix,
    /// One for each class.
    pub intercept: Vec<f64>,
}

/// Most steps of the minimisation: it is convex, and a few dozen are usual.
const MAX_STEPS: usize = 1000;

impl LogisticFit {
    /// Logits (examples, classes).
    pub fn logits(&self, x: &Matrix) -> Matrix {
        let minus: Vec<f64> = self.intercept.iter().map(|b| -b).collect();
        x.product(&self.weights).less(&minus)
    }

    /// Mean cross-entropy in nats on examples with these labels.
    pub fn loss(&self, x: &Matrix, labels: &[u32]) -> f64 {
        let logits = self.logits(x);
        let sum: f64 = logits.rows().zip(labels).map(|(row, &label)| log_sum(row) - row[label as usize]).sum();
        sum / labels.len().max(1) as f64
    }
}

/// Minimises the mean cross-entropy in nats plus penalty/2·‖weights‖²; intercepts are free. `tolerance` bounds the entries of the
/// gradient where it stops. With `start` it begins at those weights.
///
/// # Errors
/// Other numbers of labels than examples, fewer than two classes, labels beyond them, or a penalty that is not above 0: without one
/// separable classes have no minimum.
pub fn logistic(
    x: &Matrix,
    labels: &[u32],
    n_classes: usize,
    penalty: f64,
    tolerance: f64,
    start: Option<&LogisticFit>,
) -> Result<LogisticFit, ArrayError> {
    let (n, d, k) = (x.n_rows(), x.n_columns(), n_classes);
    length("the labels", labels.len(), n)?;
    enough("examples", n, 1)?;
    enough("classes", k, 2)?;
    if let Some(&label) = labels.iter().find(|&&label| label as usize >= k) {
        return Err(ArrayError::Setting {
            setting: "a label",
            found: f64::from(label),
            expected: "a number below that of the classes",
        });
    }
    setting("the penalty", penalty, penalty > 0.0 && penalty.is_finite(), "a number above 0")?;
    let transposed = x.transposed();
    let mut point = vec![0.0; (d + 1) * k];
    if let Some(start) = start {
        point[..d * k].copy_from_slice(start.weights.values());
        point[d * k..].copy_from_slice(&start.intercept);
    }
    let found = minimise(point, tolerance, MAX_STEPS, |point, gradient| {
        let (weights, intercept) = point.split_at(d * k);
        let as_matrix = Matrix::new(d, k, weights.to_vec());
        // Beyond the floats there is no minimum: the search comes back.
        let Ok(as_matrix) = as_matrix else { return f64::NAN };
        let mut residuals = transposed.transposed_product(&as_matrix);
        let mut loss = 0.0;
        for (row, &label) in labels.iter().enumerate() {
            let logits = residuals.row_mut(row);
            logits.iter_mut().zip(intercept).for_each(|(z, b)| *z += b);
            let total = log_sum(logits);
            loss += total - logits[label as usize];
            for z in logits.iter_mut() {
                *z = (*z - total).exp() / n as f64;
            }
            logits[label as usize] -= 1.0 / n as f64;
        }
        let (of_weights, of_intercept) = gradient.split_at_mut(d * k);
        of_weights.copy_from_slice(x.transposed_product(&residuals).values());
        of_weights.iter_mut().zip(weights).for_each(|(g, w)| *g += penalty * w);
        of_intercept.fill(0.0);
        for row in residuals.rows() {
            of_intercept.iter_mut().zip(row).for_each(|(g, r)| *g += r);
        }
        loss / n as f64 + 0.5 * penalty * as_matrix.square_norm()
    });
    Ok(LogisticFit { weights: Matrix::new(d, k, found[..d * k].to_vec())?, intercept: found[d * k..].to_vec() })
}

/// ln Σ eᶻ.
fn log_sum(logits: &[f64]) -> f64 {
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    largest + logits.iter().map(|z| (z - largest).exp()).sum::<f64>().ln()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    #[test]
    fn the_gradient_vanishes_where_it_ends() {
        let (n, d, k) = (60, 4, 3);
        let mut stream = Stream::new(8, 0, 0);
        let x = Matrix::new(n, d, (0..n * d).map(|_| stream.normal()).collect()).unwrap();
        let labels: Vec<u32> = (0..n).map(|_| (stream.uniform() * 3.0) as u32).collect();
        let fit = logistic(&x, &labels, k, 0.1, 1e-10, None).unwrap();
        let objective = |fit: &LogisticFit| fit.loss(&x, &labels) + 0.05 * fit.weights.square_norm();
        // A convex function is least where no small step makes it smaller: second differences are above their rounding.
        let least = objective(&fit);
        for i in 0..d * k {
            for step in [-1e-4, 1e-4] {
                let mut values = fit.weights.values().to_vec();
                values[i] += step;
                let moved = LogisticFit { weights: Matrix::new(d, k, values).unwrap(), ..fit.clone() };
                assert!(objective(&moved) > least);
            }
        }
        // Frequencies of the classes are those of the predictions (the gradient of the intercepts).
        let logits = fit.logits(&x);
        for class in 0..k {
            let predicted: f64 = logits.rows().map(|row| (row[class] - log_sum(row)).exp()).sum();
            let counted = labels.iter().filter(|&&label| label as usize == class).count() as f64;
            assert!((predicted - counted).abs() < 1e-7, "{predicted} {counted}");
        }
        let again = logistic(&x, &labels, k, 0.1, 1e-10, Some(&fit)).unwrap();
        assert_eq!(again.weights, fit.weights);
    }

    #[test]
    fn what_has_no_minimum_is_refused() {
        let x = Matrix::new(2, 1, vec![-1.0, 1.0]).unwrap();
        assert!(logistic(&x, &[0, 1], 2, 0.0, 1e-8, None).is_err());
        assert!(logistic(&x, &[0, 2], 2, 1.0, 1e-8, None).unwrap_err().to_string().contains("a label is 2"));
        assert!(logistic(&x, &[0], 2, 1.0, 1e-8, None).is_err() && logistic(&x, &[0, 0], 1, 1.0, 1e-8, None).is_err());
    }
}
