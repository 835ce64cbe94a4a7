//! Can an outcome be predicted? Nested cross-validation over runs, against a naive baseline.

use super::paired_skill::{PairedSkill, paired_skill};
use crate::array_error::{ArrayError, enough, finite, length, setting};
use crate::linear_system::solve;

/// What is known of one run, in rows that belong together (one row where a run has one outcome).
#[derive(Debug, Clone, PartialEq)]
pub struct RunRows {
    /// What may be used for prediction, (rows, features).
    pub features: Vec<Vec<f64>>,
    /// What is to be predicted, one for each row.
    pub targets: Vec<f64>,
}

/// What a predictor has to beat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Baseline {
    /// The mean target of the training runs, each run weighing the same.
    TrainingMean,
    /// A feature as it is, by its index: the last known value, say.
    Feature(usize),
}

/// Outcome of [`predictive_skill`].
#[derive(Debug, Clone, PartialEq)]
pub struct PredictiveSkill {
    /// 1 − MSE/MSE of the baseline, each run weighing the same, with the interval over runs.
    pub skill: PairedSkill,
    /// Predictions of the rows of each run, by a predictor that has not seen the run.
    pub predictions: Vec<Vec<f64>>,
    /// The candidate chosen for each run, without it.
    pub chosen: Vec<f64>,
}

/// Skill out of sample of the predictor that `fit` makes of training runs and a candidate setting (a penalty, say).
///
/// Each run is left out in turn; among the others, each candidate is judged by leaving out every run again, the best (the
/// first of equals) is fitted to all of them, and predicts the run left out. No run has any part in the choice or the fit
/// of what predicts it (Stone 1974; Varma and Simon 2006). Training sets of different runs overlap, so their errors are not quite
/// independent, and the interval is a little too narrow (Bates, Hastie and Tibshirani 2024).
///
/// # Errors
/// Fewer than three runs, runs without rows, rows of different lengths, values or predictions that are not finite, no
/// candidates, a baseline feature that does not exist; what `fit` returns; those of [`paired_skill`].
pub fn predictive_skill<P: Fn(&[f64]) -> f64>(
    runs: &[RunRows],
    candidates: &[f64],
    baseline: Baseline,
    level: f64,
    fit: impl Fn(&[&RunRows], f64) -> Result<P, ArrayError>,
) -> Result<PredictiveSkill, ArrayError> {
    check(runs, candidates, baseline)?;
    let (mut losses, mut baseline_losses) = (vec![], vec![]);
    let (mut predictions, mut chosen) = (vec![], vec![]);
    for (left_out, run) in runs.iter().enumerate() {
        let others: Vec<&RunRows> = without(runs.iter().collect(), left_out);
        let mut best = (f64::INFINITY, candidates[0]);
        if candidates.len() > 1 {
            for &candidate in candidates {
                let mut loss = 0.0;
                for (inner, judged) in others.iter().enumerate() {
                    let predictor = fit(&without(others.clone(), inner), candidate)?;
                    loss += squared_error(&predictions_of(&predictor, judged)?, judged);
                }
                if loss < best.0 {
                    best = (loss, candidate);
                }
            }
        }
        let found = predictions_of(&fit(&others, best.1)?, run)?;
        let naive = match baseline {
            Baseline::TrainingMean => {
                let sum: f64 = others.iter().map(|r| r.targets.iter().sum::<f64>() / r.targets.len() as f64).sum();
                vec![sum / others.len() as f64; run.targets.len()]
            }
            Baseline::Feature(index) => run.features.iter().map(|row| row[index]).collect(),
        };
        losses.push(squared_error(&found, run));
        baseline_losses.push(squared_error(&naive, run));
        predictions.push(found);
        chosen.push(best.1);
    }
    Ok(PredictiveSkill { skill: paired_skill(&losses, &baseline_losses, level)?, predictions, chosen })
}

/// Ridge regression (Hoerl and Kennard 1970) on standardised features: minimises the mean squared error plus `penalty` times
/// the squared coefficients, each run weighing the same. Features that do not vary are left out.
///
/// # Errors
/// A penalty that is negative or not finite; without a penalty, features that depend on each other; no runs, runs without
/// rows, rows of different lengths, values that are not finite. The predictor gives NaN for a row that is too short.
pub fn ridge(runs: &[&RunRows], penalty: f64) -> Result<impl Fn(&[f64]) -> f64 + use<>, ArrayError> {
    setting("the penalty", penalty, penalty >= 0.0 && penalty.is_finite(), "a number, at least 0")?;
    enough("training runs", runs.len(), 1)?;
    let n_features = check_rows(runs)?;
    // (weight, features, target) of all rows; weights sum to 1.
    let rows: Vec<(f64, &[f64], f64)> = runs
        .iter()
        .flat_map(|run| {
            let weight = 1.0 / (runs.len() * run.targets.len()) as f64;
            run.features.iter().zip(&run.targets).map(move |(x, y)| (weight, x.as_slice(), *y))
        })
        .collect();
    let mean_of = |value: &dyn Fn(&[f64], f64) -> f64| rows.iter().map(|(w, x, y)| w * value(x, *y)).sum::<f64>();
    let target = mean_of(&|_, y| y);
    let means: Vec<f64> = (0..n_features).map(|j| mean_of(&|x, _| x[j])).collect();
    let scales: Vec<f64> = (0..n_features).map(|j| mean_of(&|x, _| (x[j] - means[j]).powi(2)).sqrt()).collect();
    // A spread that is rounding of the mean is none.
    let used: Vec<usize> = (0..n_features).filter(|&j| scales[j] > 1e-12 * means[j].abs()).collect();
    let standard = |x: &[f64], j: usize| (x[j] - means[j]) / scales[j];
    let mut gram = vec![];
    for &j in &used {
        for &k in &used {
            let product = mean_of(&|x, _| standard(x, j) * standard(x, k));
            gram.push(if j == k { product + penalty } else { product });
        }
    }
    let right = used.iter().map(|&j| mean_of(&|x, y| standard(x, j) * (y - target))).collect();
    let coefficients = solve(gram, right)?;
    let slopes: Vec<(usize, f64, f64)> =
        used.iter().zip(coefficients).map(|(&j, c)| (j, means[j], c / scales[j])).collect();
    let feature = |x: &[f64], j: usize| x.get(j).copied().unwrap_or(f64::NAN);
    Ok(move |x: &[f64]| target + slopes.iter().map(|(j, mean, slope)| slope * (feature(x, *j) - mean)).sum::<f64>())
}

fn without(mut runs: Vec<&RunRows>, index: usize) -> Vec<&RunRows> {
    runs.remove(index);
    runs
}

fn predictions_of(predictor: impl Fn(&[f64]) -> f64, run: &RunRows) -> Result<Vec<f64>, ArrayError> {
    let found: Vec<f64> = run.features.iter().map(|row| predictor(row)).collect();
    finite("the predictions of a run", &found)?;
    Ok(found)
}

/// Mean squared error of the rows of a run.
fn squared_error(predictions: &[f64], run: &RunRows) -> f64 {
    predictions.iter().zip(&run.targets).map(|(p, y)| (p - y).powi(2)).sum::<f64>() / predictions.len() as f64
}

fn check(runs: &[RunRows], candidates: &[f64], baseline: Baseline) -> Result<(), ArrayError> {
    enough("runs", runs.len(), 3)?;
    enough("candidate settings", candidates.len(), 1)?;
    let n_features = check_rows(&runs.iter().collect::<Vec<_>>())?;
    if let Baseline::Feature(index) = baseline {
        setting("the feature of the baseline", index as f64, index < n_features, "the index of a feature")?;
    }
    Ok(())
}

/// The number of features, the same in all rows of one run or more.
fn check_rows(runs: &[&RunRows]) -> Result<usize, ArrayError> {
    let n_features = runs[0].features.first().map_or(0, Vec::len);
    for run in runs {
        enough("rows of a run", run.targets.len(), 1)?;
        length("the features of a run", run.features.len(), run.targets.len())?;
        finite("the targets of a run", &run.targets)?;
        for row in &run.features {
            length("a row of features", row.len(), n_features)?;
            finite("a row of features", row)?;
        }
    }
    Ok(n_features)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    /// Runs of two rows: the target is twice the first feature and noise, the second feature is nothing.
    fn runs(n: usize, seed: u64, noise: f64) -> Vec<RunRows> {
        (0..n)
            .map(|i| {
                let mut stream = Stream::new(seed, 0, i as u64);
                let features: Vec<Vec<f64>> = (0..2).map(|_| vec![stream.normal(), stream.normal()]).collect();
                let targets = features.iter().map(|x| 2.0 * x[0] + 1.0 + noise * stream.normal()).collect();
                RunRows { features, targets }
            })
            .collect()
    }

    #[test]
    fn ridge_without_penalty_finds_an_exact_line() {
        let runs = runs(6, 1, 0.0);
        let all: Vec<&RunRows> = runs.iter().collect();
        let predict = ridge(&all, 0.0).unwrap();
        assert!((predict(&[3.0, -5.0]) - 7.0).abs() < 1e-12);
        // One standardised feature: the slope shrinks by 1/(1 + penalty).
        let line = RunRows { features: vec![vec![-1.0], vec![1.0]], targets: vec![-4.0, 4.0] };
        let predict = ridge(&[&line], 3.0).unwrap();
        assert!((predict(&[1.0]) - 1.0).abs() < 1e-14);
        let twin = RunRows { features: vec![vec![1.0, 1.0, 5.0], vec![2.0, 2.0, 5.0]], targets: vec![0.0, 1.0] };
        assert!(predict(&[]).is_nan());
        let ragged = RunRows { features: vec![vec![1.0], vec![1.0, 2.0]], targets: vec![0.0, 1.0] };
        assert!(ridge(&[&ragged], 1.0).is_err() && ridge(&[], 1.0).is_err());
        assert!(ridge(&[&twin], 0.0).is_err() && ridge(&[&twin], 0.1).is_ok() && ridge(&[&twin], -1.0).is_err());
    }

    #[test]
    fn skill_of_a_known_relation() {
        // Var of the target is 4 + ¼, of what no line explains ¼: skill near 1 − 0.25/4.25 = 0.94.
        let found =
            predictive_skill(&runs(40, 2, 0.5), &[0.0, 0.1, 10.0], Baseline::TrainingMean, 0.95, ridge).unwrap();
        let skill = found.skill.skill;
        assert!(skill.interval.contains(0.94) && skill.interval.lower > 0.8, "{skill:?}");
        assert!(found.chosen.iter().all(|c| *c < 10.0));
        // The feature itself, as a baseline, has MSE (x + 1)² = 2.
        let naive = predictive_skill(&runs(40, 2, 0.5), &[0.0], Baseline::Feature(0), 0.95, ridge).unwrap();
        assert!(naive.skill.skill.interval.contains(1.0 - 0.25 / 2.25), "{:?}", naive.skill.skill);
    }

    #[test]
    fn no_run_is_seen_by_what_predicts_it() {
        // Each run is marked by its only feature; fits and predictions say what they have seen.
        let runs: Vec<RunRows> = (0..5)
            .map(|i| RunRows { features: vec![vec![f64::from(i)]], targets: vec![f64::from(i * i % 3) + 0.1] })
            .collect();
        let fits = std::cell::RefCell::new(vec![]);
        let fit = |train: &[&RunRows], setting: f64| {
            let seen: Vec<f64> = train.iter().map(|run| run.features[0][0]).collect();
            fits.borrow_mut().push(seen.len());
            Ok(move |x: &[f64]| {
                assert!(!seen.contains(&x[0]), "run {} was seen", x[0]);
                setting
            })
        };
        predictive_skill(&runs, &[0.0, 1.0], Baseline::TrainingMean, 0.95, fit).unwrap();
        // Five times: two candidates × four inner fits of three runs, and one of four.
        assert_eq!(fits.borrow().iter().filter(|n| **n == 3).count(), 40);
        assert_eq!(fits.borrow().iter().filter(|n| **n == 4).count(), 5);
    }

    #[test]
    fn bad_input_is_refused() {
        let of =
            |runs: &[RunRows], candidates: &[f64], baseline| predictive_skill(runs, candidates, baseline, 0.95, ridge);
        let mean = Baseline::TrainingMean;
        assert!(of(&runs(2, 3, 1.0), &[1.0], mean).is_err() && of(&runs(5, 3, 1.0), &[], mean).is_err());
        assert!(of(&runs(5, 3, 1.0), &[1.0], Baseline::Feature(2)).is_err());
        let mut bad = runs(5, 3, 1.0);
        bad[2].targets[0] = f64::NAN;
        assert!(of(&bad, &[1.0], mean).is_err());
        bad[2] = RunRows { features: vec![], targets: vec![] };
        assert!(of(&bad, &[1.0], mean).is_err());
        bad[2] = RunRows { features: vec![vec![1.0]], targets: vec![1.0] };
        assert!(of(&bad, &[1.0], mean).is_err());
        let constant = vec![RunRows { features: vec![vec![1.0]], targets: vec![2.0] }; 4];
        assert!(of(&constant, &[1.0], mean).is_err(), "a baseline without loss");
    }
}
