//! A mean curve as the sum of its parts, of a run's measurements or of any series.

use std::collections::BTreeMap;

use ontogeny_stats::{ArrayError, SigmoidSumSettings, component_shares, log_log_fit, sigmoid_sum, zipf_frequencies};
use ontogeny_store::{Part, PartFit, PartSigmoid, RunView, SumOfParts};
use ontogeny_zoo::TaskConfig;

use crate::RunFile;
use crate::analysis::{Watched, all_series};
use crate::series::NamedSeries;

/// Stretches of ln(step + 1) in which the sharpness of a component is taken.
const STRETCHES: usize = 10;
/// Points to which sigmoids are fitted; of more, those nearest to even distances in ln(step + 1).
const MOST_FITTED: usize = 400;
/// Steps whose contributions are kept.
const MOST_KEPT: usize = 100;
/// Most components.
const MOST_COMPONENTS: usize = 1000;
/// A component is learned where it changes by at least this share of the largest change of any.
const LEARNED: f64 = 0.5;
/// Fewest learned components for a line.
const FEWEST_LEARNED: usize = 3;

/// Takes `mean` apart into `components`, at the steps that all of them have. `weights` (frequencies) need not have sum 1; all are the
/// same unless given. Without `mean` the weighted mean of the components stands for it.
///
/// Shares, half times and sharpness are those of `component_shares`, the sigmoids those of `sigmoid_sum` (Michaud et al. 2023; Nam et al.
/// 2024): a smooth curve can always be written as sigmoids, and only where they stand where components are learned is it evidence.
///
/// # Errors
/// In words: no component, too many, fewer than eight common steps, weights that do not fit, or a mean that does not change.
pub fn sum_of_parts(
    mean: Option<&NamedSeries>,
    components: &[NamedSeries],
    weights: Option<&[f64]>,
) -> Result<SumOfParts, String> {
    let n = components.len();
    if !(1..=MOST_COMPONENTS).contains(&n) {
        return Err(format!("found {n} components, expected 1 to {MOST_COMPONENTS}"));
    }
    let weights = match weights {
        Some(weights) if weights.len() != n => {
            return Err(format!("found {} weights of {n} components, expected one for each", weights.len()));
        }
        Some(weights) => weights.to_vec(),
        None => vec![1.0; n],
    };
    let total: f64 = weights.iter().sum();
    let weights: Vec<f64> = weights.iter().map(|weight| weight / total).collect();
    let steps = common_steps(mean.into_iter().chain(components));
    let curves: Vec<Vec<f64>> = components.iter().map(|component| at_steps(component, &steps)).collect();
    let summed: Vec<f64> = (0..steps.len())
        .map(|at| curves.iter().zip(&weights).map(|(curve, weight)| weight * curve[at]).sum())
        .collect();
    let own = mean.map(|mean| at_steps(mean, &steps));
    let explained = own.as_ref().map(|own| explained(own, &summed));
    let values = own.unwrap_or(summed);
    let words = |error: ArrayError| error.to_string();
    let shares = component_shares(&steps, &curves.concat(), &weights, STRETCHES).map_err(words)?;
    let fitted = thinned(&steps, MOST_FITTED);
    let pick = |of: &[f64], rows: &[usize]| rows.iter().map(|&row| of[row]).collect::<Vec<f64>>();
    let sum =
        sigmoid_sum(&pick(&steps, &fitted), &pick(&values, &fitted), &SigmoidSumSettings::default()).map_err(words)?;

    let change = |curve: &[f64]| (curve[curve.len() - 1] - curve[0]).abs();
    let largest = curves.iter().map(|curve| change(curve)).fold(0.0, f64::max);
    let kept = thinned(&steps, MOST_KEPT);
    let mut parts: Vec<Part> = components
        .iter()
        .zip(&curves)
        .zip(weights.iter().zip(&shares))
        .map(|((component, curve), (&weight, share))| Part {
            name: component.name.clone(),
            weight,
            share: share.share,
            half_time: share.half_time,
            sharpness: share.sharpness,
            is_learned: change(curve) >= LEARNED * largest && share.half_time.is_some(),
            contribution: kept.iter().map(|&row| weight * curve[row]).collect(),
        })
        .collect();
    parts.sort_by(|a, b| {
        let time = |part: &Part| part.half_time.unwrap_or(f64::INFINITY);
        time(a).total_cmp(&time(b)).then_with(|| a.name.cmp(&b.name))
    });
    let unit = mean.unwrap_or(&components[0]).unit.clone();
    Ok(SumOfParts {
        mean: mean.map(|mean| mean.name.clone()),
        unit,
        explained,
        steps: pick(&steps, &kept),
        values: pick(&values, &kept),
        sigmoids: sum.sigmoids.iter().map(|sigmoid| described(sigmoid, &parts)).collect(),
        explained_by_sigmoids: sum.explained,
        learning_times: learning_times(&parts),
        components: parts,
    })
}

/// The measurements that `[stages]` of a run file takes apart, and those that could not be, with the reason.
pub(crate) fn of_run(view: &RunView, file: &RunFile) -> (BTreeMap<String, SumOfParts>, Vec<String>) {
    let (mut found, mut left_out) = (BTreeMap::new(), Vec::new());
    let Some(wanted) = &file.stages.parts else { return (found, left_out) };
    let all = all_series(view);
    let named = |watched: &Watched, name: &str| NamedSeries {
        name: name.to_owned(),
        unit: watched.unit.clone(),
        series: watched.series.clone(),
    };
    for measure in &wanted.0 {
        let own: Vec<&Watched> = all.iter().filter(|watched| watched.measure == *measure).collect();
        let components: Vec<NamedSeries> = own.iter().map(|watched| named(watched, &watched.label)).collect();
        let weights = frequencies(&file.task).and_then(|frequencies| {
            // Labels end in the number of the sub-task, from 1.
            let of = |component: &NamedSeries| {
                let number: usize = component.name.rsplit('_').next()?.parse().ok()?;
                frequencies.get(number.checked_sub(1)?).copied()
            };
            components.iter().map(of).collect::<Option<Vec<f64>>>()
        });
        // What the whole of it is called depends on what is measured of it.
        let is_loss = own.first().is_some_and(|watched| watched.kind == "subtask_loss");
        let mean = ["loss.test", "loss.train"].into_iter().find_map(|address| {
            let watched = all.iter().find(|watched| is_loss && watched.address == address)?;
            Some(named(watched, address))
        });
        match sum_of_parts(mean.as_ref(), &components, weights.as_deref()) {
            Ok(sum) => drop(found.insert(measure.clone(), sum)),
            Err(why) => left_out.push(format!("{measure} ({why})")),
        }
    }
    (found, left_out)
}

/// Frequencies of the sub-tasks where the task states them, in their order.
fn frequencies(task: &TaskConfig) -> Option<Vec<f64>> {
    let (n, exponent) = match task {
        TaskConfig::SparseParity(config) => (config.tasks, config.zipf_exponent?),
        TaskConfig::DeepLinear(config) => (config.inputs, config.zipf_exponent?),
        _ => return None,
    };
    Some(zipf_frequencies(n, exponent))
}

/// The steps that all series have, ascending.
fn common_steps<'a>(mut all: impl Iterator<Item = &'a NamedSeries>) -> Vec<f64> {
    let mut steps = all.next().map_or_else(Vec::new, |first| first.series.steps().to_vec());
    for series in all {
        let other = series.series.steps();
        steps.retain(|step| other.binary_search_by(|own| own.total_cmp(step)).is_ok());
    }
    steps
}

fn at_steps(series: &NamedSeries, steps: &[f64]) -> Vec<f64> {
    let (own, values) = (series.series.steps(), series.series.values());
    let place = |step: &f64| own.binary_search_by(|own| own.total_cmp(step)).expect("all series have the common steps");
    steps.iter().map(|step| values[place(step)]).collect()
}

/// 1 − Σ (value − other)² / Σ (value − mean)².
fn explained(values: &[f64], others: &[f64]) -> f64 {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let total: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    let rest: f64 = values.iter().zip(others).map(|(value, other)| (value - other).powi(2)).sum();
    if total > 0.0 { 1.0 - rest / total } else { 0.0 }
}

/// At most so many rows, those nearest to even distances in ln(step + 1); the first and the last among them.
fn thinned(steps: &[f64], most: usize) -> Vec<usize> {
    let n = steps.len();
    if n <= most {
        return (0..n).collect();
    }
    let (first, last) = (steps[0].ln_1p(), steps[n - 1].ln_1p());
    let mut rows: Vec<usize> = (0..most)
        .map(|i| {
            let x = first + (last - first) * i as f64 / (most - 1) as f64;
            let above = steps.partition_point(|step| step.ln_1p() < x).min(n - 1);
            let below = above.saturating_sub(1);
            if x - steps[below].ln_1p() < steps[above].ln_1p() - x { below } else { above }
        })
        .collect();
    rows.dedup();
    rows
}

/// A sigmoid with the components that are learned on its way.
fn described(sigmoid: &ontogeny_stats::Sigmoid, parts: &[Part]) -> PartSigmoid {
    let half = 0.5 * sigmoid.decades * std::f64::consts::LN_10;
    let is_within = |part: &&Part| {
        let time = part.half_time.map(f64::ln_1p);
        part.is_learned && time.is_some_and(|time| (time - sigmoid.step.ln_1p()).abs() <= half)
    };
    PartSigmoid {
        step: sigmoid.step,
        decades: sigmoid.decades,
        change: sigmoid.change,
        components: parts.iter().filter(is_within).map(|part| part.name.clone()).collect(),
    }
}

/// The power law of half times in weights.
fn learning_times(parts: &[Part]) -> Option<PartFit> {
    let learned = parts.iter().filter(|part| part.is_learned);
    let (weights, times): (Vec<f64>, Vec<f64>) =
        learned.filter_map(|part| Some((part.weight, part.half_time.filter(|time| *time > 0.0)?))).unzip();
    if weights.len() < FEWEST_LEARNED {
        return None;
    }
    let fit = log_log_fit(&weights, &times).ok()?;
    let standard_error = Some(fit.slope_error).filter(|error| error.is_finite());
    let explained = Some(fit.explained).filter(|share| share.is_finite()).unwrap_or(0.0);
    Some(PartFit { slope: fit.slope, standard_error, explained, n: fit.n })
}

#[cfg(test)]
mod tests {
    use ontogeny_stats::Series;

    use super::*;

    fn series(name: &str, steps: &[f64], of: impl Fn(f64) -> f64) -> NamedSeries {
        let values = steps.iter().map(|step| of(*step)).collect();
        NamedSeries {
            name: name.to_owned(),
            unit: "nats".to_owned(),
            series: Series::new(steps.to_vec(), values).unwrap(),
        }
    }

    /// Sub-tasks of frequency 1/4ᵏ whose losses of 1 fall at 40·4ᵏ.
    fn parts(steps: &[f64], n: i32) -> (Vec<NamedSeries>, Vec<f64>) {
        let fall = |k: i32| move |t: f64| 1.0 / (1.0 + ((t.ln_1p() - (40.0 * 4f64.powi(k)).ln_1p()) / 0.1).exp());
        let all = (0..n).map(|k| series(&format!("p{k}"), steps, fall(k))).collect();
        (all, (0..n).map(|k| 0.25f64.powi(k)).collect())
    }

    fn steps(n: i32) -> Vec<f64> {
        (0..n).map(|i| 1.05f64.powi(i) - 1.0).collect()
    }

    #[test]
    fn a_planted_sum_is_taken_apart() {
        let steps = steps(180);
        let (components, weights) = parts(&steps, 3);
        let total: f64 = weights.iter().sum();
        let mean = |t: f64| {
            let at = steps.iter().position(|step| *step == t).unwrap();
            components.iter().zip(&weights).map(|(c, w)| w / total * c.series.values()[at]).sum()
        };
        let found = sum_of_parts(Some(&series("loss", &steps, mean)), &components, Some(&weights)).unwrap();
        assert_eq!((found.mean.as_deref(), found.unit.as_str()), (Some("loss"), "nats"));
        assert!((found.explained.unwrap() - 1.0).abs() < 1e-12);
        assert!((found.components.iter().map(|part| part.share).sum::<f64>() - 1.0).abs() < 1e-12);
        for (k, part) in found.components.iter().enumerate() {
            assert_eq!(part.name, format!("p{k}"));
            assert!((part.weight - weights[k] / total).abs() < 1e-12 && part.is_learned);
            // A line between points 0.05 apart in ln(step + 1).
            let truth = 40.0 * 4f64.powi(k as i32);
            assert!((part.half_time.unwrap() / truth - 1.0).abs() < 0.02, "{part:?}");
        }
        // Each sigmoid is the transition of one component; half times are in inverse proportion to weights.
        let own: Vec<&[String]> = found.sigmoids.iter().map(|sigmoid| sigmoid.components.as_slice()).collect();
        assert_eq!(own, [["p0"], ["p1"], ["p2"]], "{:?}", found.sigmoids);
        let fit = found.learning_times.unwrap();
        assert!((fit.slope + 1.0).abs() < 0.01 && fit.n == 3, "{fit:?}");
        assert_eq!(
            (found.steps.len(), found.values.len()),
            (found.components[0].contribution.len(), found.steps.len())
        );
        assert!(found.steps.len() <= MOST_KEPT && found.steps.last() == steps.last());
    }

    #[test]
    fn what_is_not_learned_has_no_part_in_the_line_and_other_curves_are_not_explained() {
        let steps = steps(180);
        let (mut components, _) = parts(&steps, 3);
        components.push(series("never", &steps, |t| 1.0 - 1e-3 * t.ln_1p()));
        let rising = series("other", &steps, f64::ln_1p);
        let found = sum_of_parts(Some(&rising), &components, None).unwrap();
        assert!(found.explained.unwrap() < 0.0 && found.learning_times.is_none());
        let never = found.components.iter().find(|part| part.name == "never").unwrap();
        assert!(!never.is_learned && never.weight == 0.25);
        assert!(found.sigmoids.iter().all(|sigmoid| !sigmoid.components.contains(&"never".to_owned())));
        let alone = sum_of_parts(None, &components, None).unwrap();
        assert!(alone.explained.is_none() && alone.mean.is_none() && alone.explained_by_sigmoids > 0.999);
    }

    #[test]
    fn only_common_steps_count_and_misfits_are_named() {
        let steps = steps(60);
        let (mut components, _) = parts(&steps, 3);
        components[1] = series("p1", &steps[10..], |t| 1.0 - 0.1 * t);
        assert_eq!(sum_of_parts(None, &components, None).unwrap().steps.len(), 50);
        let error =
            |components: &[NamedSeries], weights: Option<&[f64]>| sum_of_parts(None, components, weights).unwrap_err();
        assert_eq!(error(&[], None), "found 0 components, expected 1 to 1000");
        assert!(error(&components, Some(&[1.0])).contains("found 1 weights of 3 components"));
        assert!(error(&[series("flat", &steps, |_| 2.0)], None).contains("the mean curve"));
        let far: Vec<f64> = steps.iter().map(|step| step + 0.5).collect();
        components[1] = series("p1", &far, |t| t);
        assert!(error(&components, None).contains("at least 3"), "{}", error(&components, None));
    }
}
