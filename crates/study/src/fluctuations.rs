//! How the kept numbers of a run fluctuate together: a trajectory's over nearby checkpoints, a learning coefficient's losses over draws.

use std::collections::BTreeMap;

use ontogeny_stats::{
    ArrayError, CovarianceSum, DominantMode, dominant_mode, find_marker_group, kendall_trend, marker_index,
    window_modes,
};
use ontogeny_store::{FluctuationGroup, FluctuationMode, Fluctuations, MeasurePlan, Outcome, Record, RunFolder};

use crate::essential::{each_record, points};
use crate::sections::{MeasureConfig, ObservableConfig};
use crate::{Run, StudyError};

/// Windows hold this share of the checkpoints, and at least so many.
const WINDOW: f64 = 0.25;
const MIN_WINDOW: usize = 8;
/// Most windows.
const N_WINDOWS: usize = 60;
/// Most units over checkpoints: with 500 of those 80 MB.
const MOST_UNITS: usize = 20_000;
/// Most units over draws, whose covariance is taken as a matrix.
const MOST_LOSSES: usize = 300;
/// Units among which a group is looked for.
const MOST_GROUPED: usize = 100;
/// Random draws behind the p-value of a group.
const N_DRAWS: usize = 199;
/// Eigenvalues that are kept.
const MOST_EIGENVALUES: usize = 20;

/// Array of the losses at draws in records of a learning coefficient.
const LOSS_CHANGE: &str = "loss_change";

/// Whether `[stages] fluctuations` may name this measurement.
pub(crate) fn is_possible(measure: &MeasureConfig) -> bool {
    match &measure.observable {
        ObservableConfig::Trajectory(_) => true,
        ObservableConfig::Llc(config) => config.keeps_losses(),
        _ => false,
    }
}

/// The fluctuations of every measurement that `[stages]` names, and what could not be analysed, with the reason.
///
/// # Errors
/// Records that cannot be read.
pub(crate) fn of_run(
    run: &Run,
    folder: &RunFolder,
    plans: &BTreeMap<String, MeasurePlan>,
) -> Result<(BTreeMap<String, Fluctuations>, Vec<String>), StudyError> {
    let (mut found, mut left_out) = (BTreeMap::new(), Vec::new());
    for name in run.file.stages.fluctuations.iter().flat_map(|names| &names.0) {
        let (Some(measure), Some(plan)) = (run.file.measures.iter().find(|m| m.name == *name), plans.get(name)) else {
            continue;
        };
        let result = if let ObservableConfig::Trajectory(config) = &measure.observable {
            let (steps, points) = points(folder, name, plan)?;
            over_checkpoints(&steps, &points, config.of.name(), u64::from(run.file.seed))
        } else {
            let mut losses = Vec::new();
            each_record(folder, name, plan, |step, record| losses.extend(at_draws(step, record)))?;
            over_draws(&losses)
        };
        match result {
            Ok(own) => drop(found.insert(name.clone(), own)),
            Err(why) => left_out.push(format!("{name} ({why})")),
        }
    }
    Ok((found, left_out))
}

/// Windows of checkpoints that end at a step, each unit about a straight line in ln(step + 1).
fn over_checkpoints(steps: &[u64], points: &[Vec<f32>], of: &str, seed: u64) -> Result<Fluctuations, String> {
    let n = steps.len();
    let window = ((WINDOW * n as f64) as usize).max(MIN_WINDOW);
    if n < 2 * window {
        return Err(format!("{n} checkpoints, expected at least {}", 2 * MIN_WINDOW));
    }
    let n_measured = points[0].len();
    let chosen = spread(n_measured, MOST_UNITS);
    let rows = |units: &[usize]| -> Vec<f64> {
        points.iter().flat_map(|point| units.iter().map(move |&unit| f64::from(point[unit]))).collect()
    };
    let x: Vec<f64> = steps.iter().map(|&step| (step as f64).ln_1p()).collect();
    let words = |error: ArrayError| error.to_string();
    let stride = ((n - window) / N_WINDOWS).max(1);
    let windows = window_modes(&x, &rows(&chosen), chosen.len(), window, stride).map_err(words)?;

    // The group is looked for among few units: its search takes all pairs. A unit that does not move has no correlations.
    let few = spread(n_measured, MOST_GROUPED);
    let few_rows = rows(&few);
    let part = |last: usize| {
        (&x[last + 1 - window..=last], &few_rows[(last + 1 - window) * few.len()..(last + 1) * few.len()])
    };
    let (last_x, last_rows) = part(n - 1);
    let group = find_marker_group(last_x, last_rows, few.len(), N_DRAWS, seed).ok().flatten();
    let marker = |last: usize| {
        let group = group.as_ref()?;
        let (x, rows) = part(last);
        let found = marker_index(x, rows, few.len(), &group.units, 0, seed).ok()?;
        found.index.is_finite().then_some(found.index)
    };
    let modes: Vec<FluctuationMode> =
        windows.iter().map(|w| mode(steps[w.last] as f64, &w.mode, w.agreement, marker(w.last))).collect();
    Ok(Fluctuations {
        over: "checkpoints".to_owned(),
        units: of.to_owned(),
        n_units: chosen.len(),
        n_measured,
        n_vectors: window,
        variance_tau: trend(&modes),
        modes,
        group: group.filter(|group| group.marker.index.is_finite()).map(|group| FluctuationGroup {
            units: group.units.iter().map(|&unit| few[unit] as u64).collect(),
            among: few.len(),
            index: group.marker.index,
            p_value: group.marker.p_value,
        }),
    })
}

/// The losses of examples at the draws of one checkpoint.
struct AtStep {
    step: u64,
    n_measured: usize,
    n_draws: usize,
    mode: Result<DominantMode, String>,
}

/// The covariance over the draws of a record; nothing where the estimate was refused, or no losses were kept.
fn at_draws(step: u64, record: &Record) -> Option<AtStep> {
    let losses = record.array(LOSS_CHANGE).filter(|_| record.outcome == Outcome::Done)?;
    let extent = |dim: &str| losses.coordinates.get(dim).map_or(0, Vec::len);
    let (n_chains, n_draws) = (extent("chain"), extent("draw"));
    let n_measured = losses.values.len().checked_div(n_chains * n_draws)?;
    let chosen = spread(n_measured, MOST_LOSSES);
    let covariance = || -> Result<DominantMode, ArrayError> {
        let mut sum = CovarianceSum::new(chosen.len())?;
        for chain in losses.values.chunks_exact(n_draws * n_measured) {
            for draw in chain.chunks_exact(n_measured) {
                let units: Vec<f64> = chosen.iter().map(|&unit| draw[unit]).collect();
                // A chain that diverged ends early.
                if units.iter().all(|loss| loss.is_finite()) {
                    sum.add(&units, 1.0)?;
                }
            }
            sum.end_group();
        }
        dominant_mode(&sum.covariance()?)
    };
    let mode = covariance().map_err(|error| format!("at step {step}: {error}"));
    Some(AtStep { step, n_measured, n_draws: n_chains * n_draws, mode })
}

fn over_draws(all: &[AtStep]) -> Result<Fluctuations, String> {
    let Some(first) = all.first() else {
        return Err("no checkpoint has losses of draws whose estimate counts".to_owned());
    };
    let mut modes: Vec<FluctuationMode> = Vec::with_capacity(all.len());
    let mut before: Option<&DominantMode> = None;
    for own in all {
        let found = own.mode.as_ref().map_err(Clone::clone)?;
        let cosine = |other: &DominantMode| {
            let product: f64 = other.direction.iter().zip(&found.direction).map(|(a, b)| a * b).sum();
            product.abs()
        };
        modes.push(mode(own.step as f64, found, before.map_or(0.0, cosine), None));
        before = Some(found);
    }
    Ok(Fluctuations {
        over: "draws".to_owned(),
        units: "losses of examples".to_owned(),
        n_units: first.n_measured.min(MOST_LOSSES),
        n_measured: first.n_measured,
        n_vectors: all.iter().map(|own| own.n_draws).max().unwrap_or(0),
        variance_tau: trend(&modes),
        modes,
        group: None,
    })
}

fn mode(step: f64, found: &DominantMode, agreement: f64, marker: Option<f64>) -> FluctuationMode {
    FluctuationMode {
        step,
        variance: found.variance,
        total: found.total_variance,
        agreement,
        spectrum: found.spectrum.iter().copied().take(MOST_EIGENVALUES).collect(),
        marker,
    }
}

fn trend(modes: &[FluctuationMode]) -> f64 {
    let tau = kendall_trend(&modes.iter().map(|mode| mode.variance).collect::<Vec<f64>>());
    if tau.is_finite() { tau } else { 0.0 }
}

/// At most so many of 0..n, evenly spaced.
fn spread(n: usize, most: usize) -> Vec<usize> {
    let n_kept = n.min(most);
    (0..n_kept).map(|i| i * n / n_kept).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Noise that repeats, without trend, of unit size.
    fn noise(i: usize, unit: usize) -> f64 {
        let k = (i * i * 7919 + unit * unit * 104_729 + i * unit * 31) % 10_007;
        12f64.sqrt() * (k as f64 / 10_007.0 - 0.5)
    }

    #[test]
    fn a_direction_that_fluctuates_more_and_more_is_seen_over_checkpoints() {
        let steps: Vec<u64> = (0..80).map(|i| 10 * i).collect();
        // Four of 12 units share fluctuations that grow tenfold on a common trend.
        let point = |i: usize| -> Vec<f32> {
            let common = (0.3 + 0.03 * i as f64) * noise(i, 99);
            let unit = |u: usize| (0.1 * noise(i, u) + if u < 4 { common } else { 0.0 } + 0.01 * i as f64) as f32;
            (0..12).map(unit).collect()
        };
        let points: Vec<Vec<f32>> = (0..80).map(point).collect();
        let found = over_checkpoints(&steps, &points, "logits", 0).unwrap();
        assert_eq!((found.over.as_str(), found.n_units, found.n_vectors), ("checkpoints", 12, 20));
        let (first, last) = (&found.modes[0], &found.modes[found.modes.len() - 1]);
        assert_eq!((first.step, last.step), (190.0, 790.0));
        assert!(last.variance > 4.0 * first.variance && found.variance_tau > 0.5, "{found:?}");
        assert!(last.agreement > 0.95 && last.variance / last.total > 0.9 && last.spectrum.len() == 12);
        let group = found.group.as_ref().unwrap();
        assert_eq!((group.units.as_slice(), group.among), (&[0, 1, 2, 3][..], 12));
        assert!(group.p_value < 0.05 && last.marker == Some(group.index), "{group:?}");
        assert!(
            over_checkpoints(&steps[..12], &points[..12], "logits", 0).unwrap_err().contains("expected at least 16")
        );
    }

    #[test]
    fn chains_at_levels_of_their_own_add_nothing_over_draws() {
        use ontogeny_store::{KeyParts, NumberType, RecordArray, RecordKey, index_labels};
        let (n_chains, n_draws, n_units) = (3, 400, 2);
        let values: Vec<f64> = (0..n_chains)
            .flat_map(|c| {
                (0..n_draws).flat_map(move |d| {
                    (0..n_units).map(move |u| 100.0 * c as f64 + (1.0 + u as f64) * noise(c * 997 + d, u))
                })
            })
            .collect();
        let dims = [("chain", n_chains), ("draw", n_draws), ("example", n_units)];
        let array = RecordArray {
            name: LOSS_CHANGE.to_owned(),
            unit: "nats".to_owned(),
            dims: dims.iter().map(|(dim, _)| (*dim).to_owned()).collect(),
            coordinates: dims.iter().map(|&(dim, n)| (dim.to_owned(), index_labels(n))).collect(),
            number: NumberType::Float64,
            values,
        };
        let parts = KeyParts { tensors: "", data: "", configuration: "", observable: "llc", algorithm_version: 1 };
        let record = |outcome: Outcome| Record {
            key: RecordKey::new(&parts),
            measure: "llc".to_owned(),
            kind: "llc".to_owned(),
            algorithm_version: 1,
            step: 7,
            outcome,
            arrays: vec![array.clone()],
            details: BTreeMap::new(),
        };
        let draws = at_draws(7, &record(Outcome::Done)).unwrap();
        assert_eq!((draws.n_measured, draws.n_draws), (2, 1200));
        let found = over_draws(&[draws, at_draws(9, &record(Outcome::Done)).unwrap()]).unwrap();
        // Deviations 1 and 2: eigenvalues 4 and 1, with a relative error of √(2/1200).
        let [large, small] = found.modes[0].spectrum[..] else { panic!("{found:?}") };
        assert!((large - 4.0).abs() < 0.6 && (small - 1.0).abs() < 0.2, "{found:?}");
        assert_eq!((found.modes[0].agreement, found.n_vectors), (0.0, 1200));
        assert!((found.modes[1].agreement - 1.0).abs() < 1e-12);
        let refused = Outcome::Refused { verdict: "diverged".to_owned(), reason: String::new() };
        assert!(at_draws(7, &record(refused)).is_none() && over_draws(&[]).is_err());
    }
}
