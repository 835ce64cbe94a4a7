//! The noise of a series, told apart from its trend.

use crate::order::median;
use crate::series::LogSeries;

/// Half the width, in points, of the window in which the noise is taken for constant.
const HALF_WINDOW: usize = 20;

/// Variance of each point of the series: the given standard errors squared, plus whatever scatter
/// they do not account for.
///
/// The scatter is the median absolute deviation of each point from the straight line through its
/// two neighbours. A smooth trend hardly enters it, and a few steep places do not move the median.
/// Series longer than a window get a local estimate, because the noise of a loss shrinks with the
/// loss.
pub(crate) fn noise_variance(series: &LogSeries) -> Vec<f64> {
    let LogSeries { x, y, count, error } = series;
    let n = x.len();
    let mut scatter = Vec::with_capacity(n);
    let mut known = Vec::with_capacity(n);
    for i in 1..n - 1 {
        let right = (x[i] - x[i - 1]) / (x[i + 1] - x[i - 1]);
        let left = 1.0 - right;
        let deviation = y[i] - left * y[i - 1] - right * y[i + 1];
        // Variance of the deviation for unit variance of a single original point, and the part
        // that the given errors explain.
        let spread = 1.0 / count[i] + left * left / count[i - 1] + right * right / count[i + 1];
        let explained = error[i] + left * left * error[i - 1] + right * right * error[i + 1];
        scatter.push(deviation.abs() / spread.sqrt());
        known.push(explained / spread);
    }
    let m = scatter.len();
    (0..n)
        .map(|i| {
            let middle = i.saturating_sub(1).min(m - 1);
            let first = middle.saturating_sub(HALF_WINDOW).min(m.saturating_sub(2 * HALF_WINDOW + 1));
            let window = first..(first + 2 * HALF_WINDOW + 1).min(m);
            // 1.4826 turns a median absolute deviation into a standard deviation.
            let deviation = 1.482_602_218_505_602 * median(&scatter[window.clone()]);
            let unexplained = (deviation * deviation - median(&known[window])).max(0.0);
            error[i] + unexplained / count[i]
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    fn uneven(n: usize, seed: u64) -> Vec<f64> {
        let mut stream = Stream::new(seed, 0, 0);
        let mut x = 0.0;
        (0..n)
            .map(|_| {
                x += 0.02 + 0.1 * stream.uniform();
                x
            })
            .collect()
    }

    fn mean_deviation(error: f64, trend: impl Fn(f64) -> f64) -> f64 {
        let n_series = 40;
        let mut total = 0.0;
        for seed in 0..n_series {
            let x = uneven(150, seed);
            let mut stream = Stream::new(seed, 1, 0);
            let y = x.iter().map(|&x| trend(x) + 0.3 * stream.normal()).collect();
            let n = x.len();
            let series = LogSeries { x, y, count: vec![1.0; n], error: vec![error; n] };
            total += noise_variance(&series).iter().map(|v| v.sqrt()).sum::<f64>() / n as f64;
        }
        total / f64::from(n_series as u32)
    }

    #[test]
    fn trend_and_steps_do_not_count_as_noise() {
        // A window of 41 correlated deviations scatters by about 18 %; the mean of 40 series with
        // 3 to 4 windows each by under 2 %, plus a small-sample bias of that order.
        for estimate in [
            mean_deviation(0.0, |_| 0.0),
            mean_deviation(0.0, |x| 20.0 * x),
            mean_deviation(0.0, |x| if x > 5.0 { 10.0 } else { 0.0 }),
            // Errors that explain half of the variance leave the total as it is.
            mean_deviation(0.045, |_| 0.0),
        ] {
            assert!((estimate - 0.3).abs() < 0.024, "{estimate}");
        }
    }

    #[test]
    fn given_errors_are_a_floor() {
        assert!((mean_deviation(1.0, |_| 0.0) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn exact_lines_have_no_noise() {
        let x = uneven(30, 1);
        let y = x.clone();
        let series = LogSeries { x, y, count: vec![1.0; 30], error: vec![0.0; 30] };
        assert!(noise_variance(&series).iter().all(|&v| v < 1e-28));
    }
}
