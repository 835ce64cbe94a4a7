//! The best predictors of in-context linear regression, exactly: Bayes under a Gaussian prior (ridge) and under a finite set of
//! tasks (dMMSE).

/// What the posterior after the pairs before says of an answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prediction {
    /// Expected answer.
    pub mean: f64,
    /// Expected squared distance of the answer from it, noise included, where tasks come from the prior.
    pub variance: f64,
}

/// Squared errors at one position.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PositionError {
    /// Mean over sequences.
    pub mean: f64,
    /// Standard error of that mean.
    pub standard_error: f64,
}

/// Predictions of every answer of a sequence from its question and the pairs before, under w ~ N(0, I) and noise of variance
/// σ² = `noise_variance`: ridge regression with the penalty σ² ("Pretraining task diversity and the emergence of
/// non-Bayesian in-context learning for regression", Raventós et al. 2023, equation 4).
///
/// `x` are the questions one after another, `y` the answers; a question has `x.len() / y.len()` numbers.
pub fn ridge_predictions(x: &[f32], y: &[f32], noise_variance: f64) -> Vec<Prediction> {
    let d = (x.len() / y.len().max(1)).max(1);
    let mut mean = vec![0.0; d];
    // Posterior covariance of w, d × d, from I on updated pair by pair (recursive least squares).
    let mut covariance: Vec<f64> = (0..d * d).map(|at| f64::from(u8::from(at % (d + 1) == 0))).collect();
    let mut predictions = Vec::with_capacity(y.len());
    for (question, &answer) in x.chunks_exact(d).zip(y) {
        let gain: Vec<f64> = covariance.chunks_exact(d).map(|row| dot(row, question)).collect();
        let spread = dot(&gain, question).max(0.0);
        let prediction = Prediction { mean: dot(&mean, question), variance: spread + noise_variance };
        predictions.push(prediction);
        // Without noise the answer says nothing once w is known along x: what is left of `spread` is rounding.
        if prediction.variance <= 1e-12 * question.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() {
            continue;
        }
        let surprise = (f64::from(answer) - prediction.mean) / prediction.variance;
        for (i, row) in covariance.chunks_exact_mut(d).enumerate() {
            mean[i] += gain[i] * surprise;
            for (entry, along) in row.iter_mut().zip(&gain) {
                *entry -= gain[i] * along / prediction.variance;
            }
        }
    }
    predictions
}

/// The same under a uniform prior over the rows of `tasks`, each with as many numbers as a question: the mean of their answers
/// with the weights ∝ exp(−Σ(y − w·x)²/2σ²) over the pairs before (dMMSE; Raventós et al. 2023, equation 3).
pub fn dmmse_predictions(x: &[f32], y: &[f32], tasks: &[f32], noise_variance: f64) -> Vec<Prediction> {
    let d = (x.len() / y.len().max(1)).max(1);
    // Sums of squared residuals.
    let mut misfits = vec![0.0; tasks.len() / d];
    let mut predictions = Vec::with_capacity(y.len());
    for (question, &answer) in x.chunks_exact(d).zip(y) {
        let least = misfits.iter().copied().fold(f64::INFINITY, f64::min);
        let [mut total, mut first, mut second] = [0.0; 3];
        let answers = tasks.chunks_exact(d).map(|task| {
            let parts = task.iter().zip(question).map(|(&w, &x)| f64::from(w) * f64::from(x));
            parts.sum::<f64>()
        });
        for (misfit, expected) in misfits.iter_mut().zip(answers) {
            let excess = *misfit - least;
            // Without noise only the tasks that fit best are left.
            let weight = if excess == 0.0 { 1.0 } else { (-excess / (2.0 * noise_variance)).exp() };
            total += weight;
            first += weight * expected;
            second += weight * expected * expected;
            *misfit += (f64::from(answer) - expected).powi(2);
        }
        let mean = first / total;
        predictions.push(Prediction { mean, variance: (second / total - mean * mean).max(0.0) + noise_variance });
    }
    predictions
}

/// Mean squared error of a predictor at each of `pairs` positions, over sequences with the questions `x`
/// `[sequences, pairs, dimension]` and the answers `y` `[sequences, pairs]`; `predict` gets those of one sequence.
pub fn squared_errors_by_position(
    x: &[f32],
    y: &[f32],
    pairs: usize,
    predict: impl Fn(&[f32], &[f32]) -> Vec<Prediction>,
) -> Vec<PositionError> {
    let n = (y.len() / pairs.max(1)).max(1);
    let mut sums = vec![[0.0; 2]; pairs];
    for (x, y) in x.chunks_exact((x.len() / n).max(1)).zip(y.chunks_exact(pairs.max(1))) {
        for ((sum, prediction), &answer) in sums.iter_mut().zip(predict(x, y)).zip(y) {
            let square = (prediction.mean - f64::from(answer)).powi(2);
            sum[0] += square;
            sum[1] += square * square;
        }
    }
    let n = n as f64;
    let error = |[sum, squares]: [f64; 2]| {
        let mean = sum / n;
        let variance = (squares / n - mean * mean).max(0.0);
        PositionError { mean, standard_error: (variance / (n - 1.0).max(1.0)).sqrt() }
    };
    sums.into_iter().map(error).collect()
}

fn dot(a: &[f64], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| a * f64::from(b)).sum()
}

#[cfg(test)]
mod tests {
    use super::super::InContextRegressionConfig;
    use super::*;
    use ontogeny_graph::{Purpose, Stream};
    use serde_json::json;

    fn normals(n: usize, number: u64) -> Vec<f32> {
        let mut out = vec![0.0; n];
        Stream::new(7, Purpose::Probe, number).normals(0, 0, &mut out);
        out
    }

    /// a⁻¹·b by Gauss–Jordan elimination.
    fn solve(mut a: Vec<Vec<f64>>, mut b: Vec<f64>) -> Vec<f64> {
        for i in 0..b.len() {
            let pivot = a[i].clone();
            let of_pivot = b[i];
            for k in (0..b.len()).filter(|&k| k != i) {
                let factor = a[k][i] / pivot[i];
                a[k].iter_mut().zip(&pivot).for_each(|(entry, p)| *entry -= factor * p);
                b[k] -= factor * of_pivot;
            }
        }
        (0..b.len()).map(|i| b[i] / a[i][i]).collect()
    }

    #[test]
    fn ridge_solves_the_normal_equations() {
        let (d, k, noise) = (5, 12, 0.3);
        let (x, y) = (normals(d * k, 0), normals(k, 1));
        let found = ridge_predictions(&x, &y, noise);
        for at in 0..k {
            let mut gram = vec![vec![0.0; d]; d];
            let mut moments = vec![0.0; d];
            for (row, &y) in x.chunks(d).zip(&y).take(at) {
                for i in 0..d {
                    moments[i] += f64::from(row[i]) * f64::from(y);
                    for j in 0..d {
                        gram[i][j] += f64::from(row[i]) * f64::from(row[j]);
                    }
                }
            }
            (0..d).for_each(|i| gram[i][i] += noise);
            let question: Vec<f64> = x[at * d..(at + 1) * d].iter().map(|&x| f64::from(x)).collect();
            let inner = |w: &[f64]| w.iter().zip(&question).map(|(w, x)| w * x).sum::<f64>();
            let mean = inner(&solve(gram.clone(), moments));
            // The posterior of w has the covariance σ²(XᵀX + σ²I)⁻¹.
            let variance = noise * (1.0 + inner(&solve(gram, question.clone())));
            assert!((found[at].mean - mean).abs() < 1e-12, "{at}: {:?} {mean}", found[at]);
            assert!((found[at].variance - variance).abs() < 1e-12, "{at}: {:?} {variance}", found[at]);
        }
    }

    #[test]
    fn ridge_without_noise_is_exact_once_it_has_seen_every_direction() {
        let (x, w) = (normals(3 * 9, 2), [1.0, -2.0, 0.5]);
        let y: Vec<f32> = x.chunks(3).map(|x| dot(&w, x) as f32).collect();
        for (prediction, &y) in ridge_predictions(&x, &y, 0.0)[3..].iter().zip(&y[3..]) {
            // Answers are rounded to 24 bits; directions seen poorly amplify that.
            assert!((prediction.mean - f64::from(y)).abs() < 1e-4 && prediction.variance < 1e-9, "{prediction:?} {y}");
        }
    }

    #[test]
    fn dmmse_is_the_mean_under_the_posterior() {
        let (d, k, m, noise) = (3, 6, 5, 0.4);
        let (x, y, tasks) = (normals(d * k, 3), normals(k, 4), normals(d * m, 5));
        let tasks: Vec<f32> = tasks.iter().map(|w| 0.5 * w).collect();
        let answer = |task: usize, at: usize| -> f64 {
            (0..d).map(|i| f64::from(tasks[task * d + i]) * f64::from(x[at * d + i])).sum()
        };
        for (at, found) in dmmse_predictions(&x, &y, &tasks, noise).iter().enumerate() {
            // Products of densities, as Bayes' rule has them.
            let density = |y: f64| (-y * y / (2.0 * noise)).exp() / (std::f64::consts::TAU * noise).sqrt();
            let likelihood = |task| (0..at).map(|k| density(f64::from(y[k]) - answer(task, k))).product::<f64>();
            let evidence: f64 = (0..m).map(likelihood).sum();
            let mean: f64 = (0..m).map(|task| likelihood(task) / evidence * answer(task, at)).sum();
            let spread: f64 = (0..m).map(|task| likelihood(task) / evidence * (answer(task, at) - mean).powi(2)).sum();
            assert!((found.mean - mean).abs() < 1e-12, "{at}: {found:?} {mean}");
            assert!((found.variance - spread - noise).abs() < 1e-12, "{at}: {found:?} {spread}");
        }
    }

    /// Bayes-optimal errors by position for 16 pairs, from an independent simulation with errors of ½ %.
    const PUBLISHED: [(usize, f64, [f64; 16]); 3] = [
        (
            4,
            0.125,
            [
                4.125, 3.178, 2.279, 1.489, 0.895, 0.575, 0.409, 0.322, 0.271, 0.240, 0.220, 0.205, 0.194, 0.186,
                0.179, 0.174,
            ],
        ),
        (
            8,
            0.25,
            [
                8.25, 7.289, 6.342, 5.414, 4.518, 3.671, 2.899, 2.232, 1.702, 1.317, 1.057, 0.874, 0.751, 0.663, 0.599,
                0.551,
            ],
        ),
        (
            8,
            0.125,
            [
                8.125, 7.145, 6.173, 5.212, 4.271, 3.365, 2.523, 1.787, 1.217, 0.848, 0.626, 0.489, 0.405, 0.349,
                0.310, 0.283,
            ],
        ),
    ];

    #[test]
    fn ridge_has_its_published_errors_by_position() {
        let (n, n_samples) = (50_000, 6);
        for (d, noise, published) in PUBLISHED {
            // The error given the questions is known: σ² + x·Σx, whose mean needs fewer sequences than that of the
            // squares. Its spread is largest for the first answer, where x·x has the standard deviation √(2d): at most
            // 0.7/√300,000 = 0.13 % of the mean.
            let mut expected = [0.0; 16];
            // Squares minus what is expected of them: mean 0, with the errors of single squares.
            let mut excess = [[0.0; 2]; 16];
            for data_seed in 0..n_samples {
                let settings = json!({
                    "dimension": d, "pairs": 16, "noise_variance": noise, "held_examples": n, "data_seed": data_seed,
                });
                let config: InContextRegressionConfig = serde_json::from_value(settings).unwrap();
                let task = config.prepare(0).unwrap();
                let split = task.split("train").unwrap();
                let (x, y) = (split.floats("x"), split.floats("y"));
                let mut sums = [0.0; 16];
                for (x, y) in x.chunks(16 * d).zip(y.chunks(16)) {
                    for (at, (prediction, &y)) in ridge_predictions(x, y, noise).iter().zip(y).enumerate() {
                        let square = (prediction.mean - f64::from(y)).powi(2);
                        sums[at] += square;
                        expected[at] += prediction.variance / f64::from(n * n_samples);
                        excess[at][0] += square - prediction.variance;
                        excess[at][1] += (square - prediction.variance).powi(2);
                    }
                }
                let errors = squared_errors_by_position(x, y, 16, |x, y| ridge_predictions(x, y, noise));
                for (error, sum) in errors.iter().zip(sums) {
                    assert!((error.mean - sum / f64::from(n)).abs() < 1e-9);
                }
                // The first answer is predicted by 0: (d + σ²)·χ² given the question, with the fourth moment
                // 3·E(x·x + σ²)² = 3·((d + σ²)² + 2d). Its sample is right to some per cent.
                let (mean, error) = (d as f64 + noise, errors[0].standard_error);
                let deviation = (3.0 * (mean * mean + 2.0 * d as f64) - mean * mean).sqrt();
                assert!((error * f64::from(n).sqrt() / deviation - 1.0).abs() < 0.1, "{error} {deviation}");
            }
            for at in 0..16 {
                let (found, printed) = (expected[at], published[at]);
                assert!((found - printed).abs() < 0.01 * printed, "d {d}, answer {at}: {found}, published {printed}");
                let [sum, squares] = excess[at];
                assert!(sum.abs() < 4.0 * squares.sqrt(), "d {d}, answer {at}: {sum} beyond ±{}", squares.sqrt());
            }
        }
    }

    #[test]
    fn each_predictor_is_best_on_the_tasks_of_its_prior() {
        let (noise, tasks) = (0.25, 4);
        let settings = json!({
            "dimension": 8, "pairs": 16, "noise_variance": noise, "tasks": tasks, "held_examples": 4000,
        });
        let config: InContextRegressionConfig = serde_json::from_value(settings).unwrap();
        let task = config.prepare(3).unwrap();
        let vectors = config.task_vectors(3).unwrap();
        for (split, sign) in [("train", -1.0), ("ood", 1.0)] {
            let split = task.split(split).unwrap();
            let (x, y) = (split.floats("x"), split.floats("y"));
            let dmmse = squared_errors_by_position(x, y, 16, |x, y| dmmse_predictions(x, y, &vectors, noise));
            let ridge = squared_errors_by_position(x, y, 16, |x, y| ridge_predictions(x, y, noise));
            // At the fifth answer four tasks are told apart, and eight directions are not.
            let error = dmmse[4].standard_error.hypot(ridge[4].standard_error);
            let difference = sign * (dmmse[4].mean - ridge[4].mean);
            assert!(difference > 10.0 * error, "{}: {:?} {:?}", split.name, dmmse[4], ridge[4]);
        }
    }
}
