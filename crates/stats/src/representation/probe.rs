//! Linear probes: how well classes can be read from activations by a linear map, on examples that it was not fitted to.

use std::ops::Range;

use super::{Eraser, LogisticFit, logistic, ridge};
use crate::array_error::{ArrayError, enough, length};
use crate::linear::Matrix;

/// How a probe is fitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    /// Least squares on ones and zeros with an L2 penalty; the class with the largest prediction. Closed form; the penalty by
    /// generalised cross-validation on the examples it is fitted to.
    Ridge,
    /// Multinomial logistic regression; the penalty is the one of 10⁻⁴, 10⁻³, …, 1 (on features of mean variance 1) with the
    /// smallest loss on the fold after the held-out one, then it is fitted to all folds but the held-out one.
    Logistic,
}

/// What is asked of each example: one of several classes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// How many there are; at least 2.
    pub n_classes: usize,
    /// The class of each example, below `n_classes`.
    pub labels: Vec<u32>,
}

/// Accuracy of a probe on held-out examples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ProbeScore {
    /// Mean over the folds of the share of right answers, 0 to 1; where several classes tie, the first is the answer.
    pub accuracy: f64,
    /// Standard deviation over the folds by the root of their number. Folds share examples to fit to, so that it is a little small.
    pub standard_error: f64,
    /// The same of answering with the commonest class of the examples that the probe is fitted to: what a probe of nothing reaches.
    pub majority: f64,
    /// Standard error of that, likewise.
    pub majority_error: f64,
}

/// Cross-validated accuracy of a probe from `x` (examples, features) for each question. `folds` says in which fold each example is
/// held out, from 0; examples that are no independent draws (positions of one sequence) belong in one fold.
///
/// ```
/// use ontogeny_stats::{Matrix, Probe, Question, probe};
///
/// let x = Matrix::new(8, 1, (0..8).map(|i| f64::from(i % 2) + 0.01 * f64::from(i)).collect())?;
/// let parity = Question { n_classes: 2, labels: (0..8).map(|i| i % 2).collect() };
/// let folds = [0, 0, 1, 1, 2, 2, 3, 3];
/// assert_eq!(probe(&x, &[parity], &folds, Probe::Ridge)?[0].accuracy, 1.0);
/// # Ok::<(), ontogeny_stats::ArrayError>(())
/// ```
///
/// # Errors
/// Fewer than two folds (three for logistic regression) or a fold without examples, numbers of labels or folds that are not that of
/// the examples, or labels beyond the classes.
pub fn probe(x: &Matrix, questions: &[Question], folds: &[usize], kind: Probe) -> Result<Vec<ProbeScore>, ArrayError> {
    let n_folds = folds.iter().max().map_or(0, |last| last + 1);
    enough("folds", n_folds, if kind == Probe::Logistic { 3 } else { 2 })?;
    scores(x, questions, folds, |fold, fitted, held| match kind {
        Probe::Ridge => by_ridge(x, questions, fitted, held),
        Probe::Logistic => by_logistic(x, questions, folds, fold, n_folds),
    })
}

/// Accuracy of a ridge probe after `erase` has been fitted, for each fold, to the same examples as the probe: features and one-hot classes.
/// Where no cross-covariance is left, it is the majority's.
///
/// # Errors
/// As for [`probe()`], and those of `erase`.
pub fn probe_erased(
    x: &Matrix,
    question: &Question,
    folds: &[usize],
    erase: impl Fn(&Matrix, &Matrix) -> Result<Eraser, ArrayError>,
) -> Result<ProbeScore, ArrayError> {
    let questions = std::slice::from_ref(question);
    let found = scores(x, questions, folds, |_, fitted, held| {
        let labels: Vec<u32> = fitted.iter().map(|&row| question.labels[row]).collect();
        let eraser = erase(&x.select(fitted), &Matrix::one_hot(&labels, question.n_classes))?;
        by_ridge(&eraser.apply(x)?, questions, fitted, held)
    })?;
    Ok(found[0])
}

/// The scores of what `answer` says to the held-out examples of each fold: (fold, fitted examples, held-out ones).
fn scores(
    x: &Matrix,
    questions: &[Question],
    folds: &[usize],
    answer: impl Fn(usize, &[usize], &[usize]) -> Result<Vec<Vec<u32>>, ArrayError>,
) -> Result<Vec<ProbeScore>, ArrayError> {
    length("the folds", folds.len(), x.n_rows())?;
    let n_folds = folds.iter().max().map_or(0, |last| last + 1);
    enough("folds", n_folds, 2)?;
    for fold in 0..n_folds {
        enough("examples of a fold", folds.iter().filter(|own| **own == fold).count(), 1)?;
    }
    for question in questions {
        length("the labels", question.labels.len(), x.n_rows())?;
        enough("classes", question.n_classes, 2)?;
        let largest = question.labels.iter().max().map_or(0, |&label| label as usize + 1);
        enough("classes", question.n_classes, largest)?;
    }
    let mut shares = vec![Vec::with_capacity(n_folds); questions.len()];
    let mut common = shares.clone();
    for fold in 0..n_folds {
        let of = |is_held: bool| (0..folds.len()).filter(|&i| (folds[i] == fold) == is_held).collect::<Vec<usize>>();
        let (fitted, held) = (of(false), of(true));
        let answers = answer(fold, &fitted, &held)?;
        for (at, (question, answers)) in questions.iter().zip(&answers).enumerate() {
            let share = |is_right: &dyn Fn(usize, u32) -> bool| {
                let right = held.iter().enumerate().filter(|&(place, &row)| is_right(place, question.labels[row]));
                right.count() as f64 / held.len() as f64
            };
            shares[at].push(share(&|place, label| answers[place] == label));
            let majority = commonest(question, &fitted);
            common[at].push(share(&|_, label| label == majority));
        }
    }
    let score = |(shares, common): (&Vec<f64>, &Vec<f64>)| {
        let (accuracy, standard_error) = mean_and_error(shares);
        let (majority, majority_error) = mean_and_error(common);
        ProbeScore { accuracy, standard_error, majority, majority_error }
    };
    Ok(shares.iter().zip(&common).map(score).collect())
}

fn mean_and_error(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (mean, (variance / n).sqrt())
}

/// The commonest class of the chosen examples, of equally common ones the first.
fn commonest(question: &Question, chosen: &[usize]) -> u32 {
    let mut counts = vec![0_usize; question.n_classes];
    for &row in chosen {
        counts[question.labels[row] as usize] += 1;
    }
    let most = counts.iter().copied().max().unwrap_or(0);
    counts.iter().position(|&count| count == most).unwrap_or(0) as u32
}

/// Answers of all questions from one decomposition of the features.
fn by_ridge(x: &Matrix, questions: &[Question], fitted: &[usize], held: &[usize]) -> Result<Vec<Vec<u32>>, ArrayError> {
    let mut first = 0;
    let groups: Vec<Range<usize>> = questions
        .iter()
        .map(|question| {
            first += question.n_classes;
            first - question.n_classes..first
        })
        .collect();
    let mut wanted = Matrix::zeros(fitted.len(), first);
    for (place, &row) in fitted.iter().enumerate() {
        for (question, group) in questions.iter().zip(&groups) {
            wanted.row_mut(place)[group.start + question.labels[row] as usize] = 1.0;
        }
    }
    let predicted = ridge(&x.select(fitted), &wanted, &groups)?.predict(&x.select(held));
    Ok(groups.iter().map(|group| predicted.rows().map(|row| largest(&row[group.clone()])).collect()).collect())
}

/// Where the gradient of a logistic regression ends: accuracies do not notice smaller ones.
const TOLERANCE: f64 = 1e-5;

/// Penalties from strong to weak, on features of mean variance 1.
const PENALTIES: [f64; 5] = [1.0, 1e-1, 1e-2, 1e-3, 1e-4];

fn by_logistic(
    x: &Matrix,
    questions: &[Question],
    folds: &[usize],
    held: usize,
    n_folds: usize,
) -> Result<Vec<Vec<u32>>, ArrayError> {
    let validated = (held + 1) % n_folds;
    let rows = |wanted: &dyn Fn(usize) -> bool| (0..folds.len()).filter(|&i| wanted(folds[i])).collect::<Vec<usize>>();
    let fitted = rows(&|fold| fold != held);
    let inner = rows(&|fold| fold != held && fold != validated);
    let (validation, test) = (rows(&|fold| fold == validated), rows(&|fold| fold == held));
    // Centred and scaled as a whole by what is fitted to.
    let mean = x.select(&fitted).means();
    let scatter = x.select(&fitted).less(&mean).square_norm();
    let variance = scatter / (fitted.len() * x.n_columns().max(1)) as f64;
    let scale = if variance > 0.0 { variance.sqrt() } else { 1.0 };
    let scaled =
        Matrix::new(x.n_rows(), x.n_columns(), x.clone().less(&mean).values().iter().map(|v| v / scale).collect())?;
    let answers = questions.iter().map(|question| {
        let labels = |rows: &[usize]| rows.iter().map(|&row| question.labels[row]).collect::<Vec<u32>>();
        let fit = |rows: &[usize], penalty: f64, start: Option<&LogisticFit>| {
            logistic(&scaled.select(rows), &labels(rows), question.n_classes, penalty, TOLERANCE, start)
        };
        let mut best: Option<(f64, f64, LogisticFit)> = None;
        let mut last: Option<LogisticFit> = None;
        for penalty in PENALTIES {
            let found = fit(&inner, penalty, last.as_ref())?;
            let loss = found.loss(&scaled.select(&validation), &labels(&validation));
            if best.as_ref().is_none_or(|(least, ..)| loss < *least) {
                best = Some((loss, penalty, found.clone()));
            }
            last = Some(found);
        }
        let (_, penalty, start) = best.expect("a loss below infinity: the first fit's");
        let found = fit(&fitted, penalty, Some(&start))?;
        Ok(found.logits(&scaled.select(&test)).rows().map(largest).collect())
    });
    answers.collect()
}

/// The first of the largest.
fn largest(values: &[f64]) -> u32 {
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    values.iter().position(|&v| v >= most).unwrap_or(0) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    fn normal(seed: u64, n: usize, d: usize) -> Matrix {
        let mut stream = Stream::new(seed, 3, d as u64);
        Matrix::new(n, d, (0..n * d).map(|_| stream.normal()).collect()).unwrap()
    }

    fn folds(n: usize, k: usize) -> Vec<usize> {
        (0..n).map(|i| i % k).collect()
    }

    #[test]
    fn separable_classes_are_read_and_an_exclusive_or_is_not() {
        let n = 600;
        let mut x = normal(1, n, 6);
        // Two clouds three standard deviations from the plane between them; a parity of two signs; three sectors.
        let linear: Vec<u32> = (0..n).map(|i| (i / 7 % 2) as u32).collect();
        for (row, &class) in linear.iter().enumerate() {
            x.row_mut(row)[2] += if class == 1 { 3.0 } else { -3.0 };
        }
        let parity: Vec<u32> = x.rows().map(|r| u32::from((r[0] > 0.0) != (r[3] > 0.0))).collect();
        let sector: Vec<u32> =
            x.rows().map(|r| if r[0] + r[1] > 0.5 { 2 } else { u32::from(r[0] + r[1] > -0.5) }).collect();
        let questions = [
            Question { n_classes: 2, labels: linear },
            Question { n_classes: 2, labels: parity },
            Question { n_classes: 3, labels: sector },
        ];
        for kind in [Probe::Ridge, Probe::Logistic] {
            let found = probe(&x, &questions, &folds(n, 5), kind).unwrap();
            // The best plane is right in Φ(3) = 0.99865 of the cases.
            assert!(found[0].accuracy > 0.99865 - 4.0 * (0.00135 / n as f64).sqrt(), "{kind:?} {found:?}");
            // Chance is ½ with a binomial error of √(¼/n).
            assert!((found[1].accuracy - 0.5).abs() < 4.0 * (0.25 / n as f64).sqrt(), "{kind:?} {found:?}");
            assert!(found[2].accuracy > found[2].majority + 0.3, "{kind:?} {found:?}");
            assert!(found.iter().all(|score| score.standard_error < 0.05));
        }
    }

    #[test]
    fn random_labels_are_read_at_chance() {
        // A class of 10 %: no probe does better than the majority's 90 %, and none much worse.
        for (seed, share, kind) in [(2, 0.5, Probe::Ridge), (3, 0.1, Probe::Ridge), (4, 0.5, Probe::Logistic)] {
            let n = 1000;
            let mut stream = Stream::new(seed, 4, 0);
            let labels: Vec<u32> = (0..n).map(|_| u32::from(stream.uniform() < share)).collect();
            let found =
                probe(&normal(seed, n, 20), &[Question { n_classes: 2, labels }], &folds(n, 5), kind).unwrap()[0];
            let chance = 1.0 - share;
            let error = (chance * share / n as f64).sqrt();
            assert!((found.accuracy - chance).abs() < 4.0 * error, "{found:?}");
            assert!((found.majority - chance).abs() < 4.0 * error, "{found:?}");
        }
    }

    #[test]
    fn nothing_to_read_gives_the_majority() {
        let labels = vec![0, 0, 1, 0, 0, 0, 1, 0, 0];
        let questions = [Question { n_classes: 2, labels }];
        for kind in [Probe::Ridge, Probe::Logistic] {
            let found = probe(&Matrix::zeros(9, 2), &questions, &folds(9, 3), kind).unwrap()[0];
            assert!((found.accuracy - 7.0 / 9.0).abs() < 1e-15 && (found.majority - 7.0 / 9.0).abs() < 1e-15);
        }
        assert!(probe(&Matrix::zeros(9, 2), &questions, &[0; 9], Probe::Ridge).is_err());
        assert!(probe(&Matrix::zeros(9, 2), &questions, &[0, 0, 0, 0, 2, 2, 2, 2, 2], Probe::Ridge).is_err());
        assert!(probe(&Matrix::zeros(8, 2), &questions, &folds(8, 2), Probe::Ridge).is_err());
    }
}
