//! Costs about straight lines over the positions: free in each segment, or drawn from value to value.

use super::cost::{SegmentCost, check_points};
use super::signal::{ChangeError, Signal};
use super::sums::RunningSums;
use crate::order::median;

/// Sums over a stretch: of x and xx, of yy over all dimensions, and of y and xy of each.
#[derive(Debug, Clone)]
struct Moments {
    sums: RunningSums,
    dimensions: usize,
    n_points: usize,
}

const X: usize = 0;
const XX: usize = 1;
const YY: usize = 2;
/// Columns before those of the dimensions.
const FIRST: usize = 3;

impl Moments {
    fn new(signal: &Signal) -> Result<Self, ChangeError> {
        let (n, d) = (signal.n_points(), signal.dimensions());
        check_points(n)?;
        let (x, origin) = (signal.positions(), f64::midpoint(signal.positions()[0], signal.positions()[n - 1]));
        let centres: Vec<f64> = (0..d).map(|k| median(&signal.column(k))).collect();
        let sums = RunningSums::new(n, FIRST + 2 * d, |i, row| {
            let u = x[i] - origin;
            (row[X], row[XX], row[YY]) = (u, u * u, 0.0);
            for (k, (y, centre)) in signal.point(i).iter().zip(&centres).enumerate() {
                let v = y - centre;
                row[YY] += v * v;
                (row[FIRST + 2 * k], row[FIRST + 2 * k + 1]) = (v, u * v);
            }
        });
        Ok(Self { sums, dimensions: d, n_points: n })
    }
}

/// Σ ‖y − a − b x‖² over a segment, the line a + b x of each dimension fitted to it; x are the
/// positions of the signal, evenly spaced or not. Segments may jump.
#[derive(Debug, Clone)]
pub struct TrendCost {
    moments: Moments,
}

impl TrendCost {
    /// Of the segments of `signal`.
    ///
    /// # Errors
    /// No points.
    pub fn new(signal: &Signal) -> Result<Self, ChangeError> {
        Ok(Self { moments: Moments::new(signal)? })
    }
}

impl SegmentCost for TrendCost {
    fn n_points(&self) -> usize {
        self.moments.n_points
    }

    fn cost(&self, start: usize, end: usize) -> f64 {
        // A line goes through any two points.
        if end - start <= 2 {
            return 0.0;
        }
        let (m, sums) = ((end - start) as f64, &self.moments.sums);
        let x = sums.between(X, start, end);
        let xx = sums.between(XX, start, end) - x * x / m;
        let mut rest = sums.between(YY, start, end);
        for k in 0..self.moments.dimensions {
            let y = sums.between(FIRST + 2 * k, start, end);
            let xy = sums.between(FIRST + 2 * k + 1, start, end) - x * y / m;
            rest -= y * y / m + xy * xy / xx;
        }
        rest.max(0.0)
    }
}

/// Σ ‖y − line‖² over a segment, the line drawn from the last value before it to its own last one: a
/// continuous curve with its knots on the points, as ruptures' `clinear`, over uneven positions too.
///
/// The knots take the noise of the points they lie on, and cutting may cost: PELT drops no starts
/// here and stays exact. (A continuous curve with free heights needs another search: Fearnhead,
/// Maidstone and Letchford 2019.)
#[derive(Debug, Clone)]
pub struct InterpolationCost {
    moments: Moments,
    /// Positions and values as the moments have them, so that differences agree.
    x: Vec<f64>,
    y: Vec<f64>,
}

impl InterpolationCost {
    /// Of the segments of `signal`.
    ///
    /// # Errors
    /// No points.
    pub fn new(signal: &Signal) -> Result<Self, ChangeError> {
        let moments = Moments::new(signal)?;
        let (n, d) = (signal.n_points(), signal.dimensions());
        let x = (0..n).map(|i| moments.sums.between(X, i, i + 1)).collect();
        let value = |i: usize| moments.sums.between(FIRST + 2 * (i % d), i / d, i / d + 1);
        let y = (0..n * d).map(value).collect();
        Ok(Self { moments, x, y })
    }
}

impl SegmentCost for InterpolationCost {
    fn n_points(&self) -> usize {
        self.moments.n_points
    }

    fn cost(&self, start: usize, end: usize) -> f64 {
        // The line goes from point `first` to point `last`; both lie on it.
        let (first, last, d) = (start.max(1) - 1, end - 1, self.moments.dimensions);
        if last <= first + 1 {
            return 0.0;
        }
        let (m, sums) = ((end - first) as f64, &self.moments.sums);
        let x0 = self.x[first];
        let x = sums.between(X, first, end);
        let ww = sums.between(XX, first, end) - 2.0 * x0 * x + m * x0 * x0;
        let mut rest = sums.between(YY, first, end);
        for k in 0..d {
            let (y0, y1) = (self.y[first * d + k], self.y[last * d + k]);
            let slope = (y1 - y0) / (self.x[last] - x0);
            let y = sums.between(FIRST + 2 * k, first, end);
            let xy = sums.between(FIRST + 2 * k + 1, first, end);
            let wv = xy - x0 * y - y0 * x + m * x0 * y0;
            rest += m * y0 * y0 - 2.0 * y0 * y - 2.0 * slope * wv + slope * slope * ww;
        }
        rest.max(0.0)
    }

    fn is_subadditive(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;
    use proptest::prelude::*;

    fn uneven(n: usize, d: usize, seed: u64) -> Signal {
        let mut stream = Stream::new(seed, 0, 0);
        let mut x = 100.0;
        let positions: Vec<f64> = (0..n)
            .map(|_| {
                x += 0.1 + 3.0 * stream.uniform();
                x
            })
            .collect();
        let values = (0..n * d).map(|i| 0.5 * positions[i / d] + stream.normal()).collect();
        Signal::new(values, d).unwrap().at(positions).unwrap()
    }

    proptest! {
        #[test]
        fn lines_against_two_passes(seed in 0u64..300, d in 1usize..3, start in 0usize..30, length in 1usize..25) {
            let signal = uneven(60, d, seed);
            let end = start + length;
            let (free, drawn) = (TrendCost::new(&signal).unwrap(), InterpolationCost::new(&signal).unwrap());
            let (mut expected_free, mut expected_drawn) = (0.0, 0.0);
            for k in 0..d {
                let (x, y) = (signal.positions(), signal.column(k));
                let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
                let (xm, ym) = (mean(&x[start..end]), mean(&y[start..end]));
                let xx: f64 = x[start..end].iter().map(|x| (x - xm).powi(2)).sum();
                let xy: f64 = (start..end).map(|i| (x[i] - xm) * (y[i] - ym)).sum();
                let slope = if length > 1 { xy / xx } else { 0.0 };
                expected_free += (start..end).map(|i| (y[i] - ym - slope * (x[i] - xm)).powi(2)).sum::<f64>();
                let first = start.max(1) - 1;
                if end - 1 > first {
                    let slope = (y[end - 1] - y[first]) / (x[end - 1] - x[first]);
                    let rest = |i: usize| (y[i] - y[first] - slope * (x[i] - x[first])).powi(2);
                    expected_drawn += (first..end).map(rest).sum::<f64>();
                }
            }
            // Squares of values of about 50 cancel: 25 × 50² × 2⁻⁵² for each dimension.
            prop_assert!((free.cost(start, end) - expected_free).abs() < 1e-9);
            prop_assert!((drawn.cost(start, end) - expected_drawn).abs() < 1e-9);
        }
    }

    #[test]
    fn lines_cost_nothing() {
        let x: Vec<f64> = (0..30).map(|i| f64::from(i * i)).collect();
        let signal = Signal::new(x.iter().map(|x| 3.0 - 0.5 * x).collect(), 1).unwrap().at(x).unwrap();
        assert!(TrendCost::new(&signal).unwrap().cost(2, 29) < 1e-9);
        assert!(InterpolationCost::new(&signal).unwrap().cost(0, 30) < 1e-9);
    }
}
