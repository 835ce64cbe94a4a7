//! Dynamical network markers: a group of units that begins to fluctuate strongly and together.

use super::check_rows;
use crate::array_error::{ArrayError, enough, increasing, setting};
use crate::eigen::product;
use crate::random::Stream;
use crate::spectrum::Spectrum;

/// Purposes of the random streams.
const LABEL_STREAM: u64 = 65;
const PHASE_STREAM: u64 = 66;
/// Most units in which a group is searched for: clustering takes their cube.
const MAX_UNITS: usize = 500;

/// The composite index of a group of units in one window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MarkerIndex {
    /// I = SD · |correlation inside| / |correlation across|.
    pub index: f64,
    /// Mean standard deviation of the units in the group.
    pub deviation: f64,
    /// Mean |correlation| between two units of the group.
    pub inside: f64,
    /// Mean |correlation| between a unit of the group and one outside.
    pub across: f64,
    /// Share of random groups of the same size with an index as large.
    pub p_value: f64,
}

/// A group found by its fluctuations.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundGroup {
    /// Its units, ascending.
    pub units: Vec<usize>,
    /// Its index, with the share of unrelated units in which the same search finds one as large.
    pub marker: MarkerIndex,
}

/// The index of Chen et al. (2012) of the units in `group`, from a window of `rows` (checkpoints, draws
/// or batches, by units; row-major), each unit freed of the straight line over `x`.
///
/// All three parts should go together before a transition: deviation and correlation inside rise,
/// correlation across falls. The p-value is of `n_draws` random groups of the same size, so it asks whether
/// this group differs from others, not whether anything is going to happen: compare windows for that.
///
/// # Errors
/// Fewer than four rows, a group of fewer than two units, with none outside it, or with units that do not
/// exist or repeat, a unit that does not vary, lengths that do not fit, or values not finite.
pub fn marker_index(
    x: &[f64],
    rows: &[f64],
    n_units: usize,
    group: &[usize],
    n_draws: usize,
    seed: u64,
) -> Result<MarkerIndex, ArrayError> {
    let fluctuations = Fluctuations::new(x, rows, n_units)?;
    enough("units of the group", group.len(), 2)?;
    enough("units outside of the group", n_units.saturating_sub(group.len()), 1)?;
    let mut inside = vec![false; n_units];
    for unit in group {
        setting("a unit of the group", *unit as f64, *unit < n_units && !inside[*unit], "a unit once, from 0")?;
        inside[*unit] = true;
    }
    let mut marker = fluctuations.index(&inside);
    let n_larger = (0..n_draws as u64)
        .filter(|draw| {
            let mut stream = Stream::new(seed, LABEL_STREAM, *draw);
            let mut labels = inside.clone();
            for i in (1..n_units).rev() {
                labels.swap(i, (stream.uniform() * (i + 1) as f64) as usize);
            }
            fluctuations.index(&labels).index >= marker.index
        })
        .count();
    marker.p_value = (1 + n_larger) as f64 / (1 + n_draws) as f64;
    Ok(marker)
}

/// The group with the largest index among all clusters of an average-linkage clustering by
/// 1 − |correlation|, of at least two units and at most half of them; none where there are fewer than
/// four units.
///
/// In each of `n_draws` null draws every unit gets random phases, which keep its variance and its spectrum
/// but no correlation between units, and the search is made anew.
///
/// # Errors
/// Fewer than four rows, more than 500 units, lengths that do not fit, a unit that does not vary, or values
/// not finite.
pub fn find_marker_group(
    x: &[f64],
    rows: &[f64],
    n_units: usize,
    n_draws: usize,
    seed: u64,
) -> Result<Option<FoundGroup>, ArrayError> {
    setting("the number of units", n_units as f64, n_units <= MAX_UNITS, "at most 500")?;
    let fluctuations = Fluctuations::new(x, rows, n_units)?;
    let Some((units, mut marker)) = fluctuations.best_cluster() else {
        return Ok(None);
    };
    let spectra: Vec<Spectrum> = fluctuations.units.iter().map(|u| Spectrum::of(u)).collect();
    let n_larger = (0..n_draws as u64)
        .filter(|draw| {
            let mut stream = Stream::new(seed, PHASE_STREAM, *draw);
            let unrelated = fluctuations.unrelated(&spectra, &mut stream);
            unrelated.best_cluster().is_some_and(|(_, other)| other.index >= marker.index)
        })
        .count();
    marker.p_value = (1 + n_larger) as f64 / (1 + n_draws) as f64;
    Ok(Some(FoundGroup { units, marker }))
}

/// Detrended units over time, their deviations and correlations.
struct Fluctuations {
    /// `units[u][t]`, of mean zero and length one.
    units: Vec<Vec<f64>>,
    deviations: Vec<f64>,
    /// |correlation|, (units, units).
    correlations: Vec<f64>,
}

impl Fluctuations {
    fn new(x: &[f64], rows: &[f64], n_units: usize) -> Result<Self, ArrayError> {
        enough("rows of the window", x.len(), 4)?;
        enough("units", n_units, 1)?;
        increasing("the coordinate", x)?;
        check_rows(rows, x.len(), n_units)?;
        let residuals = super::covariance::detrended(x, rows, n_units);
        let largest = rows.iter().fold(0.0_f64, |a, b| a.max(b.abs()));
        let (mut units, mut deviations) = (vec![], vec![]);
        for u in 0..n_units {
            let mut unit: Vec<f64> = residuals.iter().skip(u).step_by(n_units).copied().collect();
            let norm = product(&unit, &unit).sqrt();
            if norm <= 1e-12 * largest {
                return Err(ArrayError::Constant { what: "a unit about its straight line" });
            }
            for v in &mut unit {
                *v /= norm;
            }
            units.push(unit);
            deviations.push(norm / ((x.len() - 2) as f64).sqrt());
        }
        Ok(Self::correlated(units, deviations))
    }

    fn correlated(units: Vec<Vec<f64>>, deviations: Vec<f64>) -> Self {
        let n = units.len();
        let mut correlations = vec![1.0; n * n];
        for i in 0..n {
            for j in 0..i {
                let c = product(&units[i], &units[j]).abs();
                (correlations[i * n + j], correlations[j * n + i]) = (c, c);
            }
        }
        Self { units, deviations, correlations }
    }

    /// Each unit with random phases of its own.
    fn unrelated(&self, spectra: &[Spectrum], stream: &mut Stream) -> Self {
        let draw = |spectrum: &Spectrum| {
            let mut unit = spectrum.surrogate(stream);
            let norm = product(&unit, &unit).sqrt();
            for v in &mut unit {
                *v /= norm;
            }
            unit
        };
        Self::correlated(spectra.iter().map(draw).collect(), self.deviations.clone())
    }

    fn index(&self, is_inside: &[bool]) -> MarkerIndex {
        let n = is_inside.len();
        let (mut deviation, mut inside, mut across) = (0.0, 0.0, 0.0);
        let n_inside = is_inside.iter().filter(|i| **i).count() as f64;
        for i in (0..n).filter(|&i| is_inside[i]) {
            deviation += self.deviations[i];
            for j in (0..n).filter(|&j| j != i) {
                *(if is_inside[j] { &mut inside } else { &mut across }) += self.correlations[i * n + j];
            }
        }
        let deviation = deviation / n_inside;
        let inside = inside / (n_inside * (n_inside - 1.0));
        let across = across / (n_inside * (n as f64 - n_inside));
        MarkerIndex { index: deviation * inside / across, deviation, inside, across, p_value: 1.0 }
    }

    /// Average linkage: the two clusters with the smallest mean distance are merged, again and again.
    fn best_cluster(&self) -> Option<(Vec<usize>, MarkerIndex)> {
        let n = self.units.len();
        let mut clusters: Vec<Vec<usize>> = (0..n).map(|u| vec![u]).collect();
        let mut mean = self.correlations.clone();
        let mut best: Option<(Vec<usize>, MarkerIndex)> = None;
        let mut alive: Vec<usize> = (0..n).collect();
        while alive.len() > 1 {
            let mut closest = (alive[1], alive[0]);
            for (place, &i) in alive.iter().enumerate() {
                for &j in &alive[..place] {
                    if mean[i * n + j] > mean[closest.0 * n + closest.1] {
                        closest = (i, j);
                    }
                }
            }
            let (i, j) = closest;
            let (a, b) = (clusters[i].len() as f64, clusters[j].len() as f64);
            for &k in alive.iter().filter(|&&k| k != i && k != j) {
                let merged = (a * mean[i * n + k] + b * mean[j * n + k]) / (a + b);
                (mean[j * n + k], mean[k * n + j]) = (merged, merged);
            }
            let other = std::mem::take(&mut clusters[i]);
            clusters[j].extend(other);
            alive.retain(|&k| k != i);
            if clusters[j].len() <= n / 2 {
                let mut is_inside = vec![false; n];
                clusters[j].iter().for_each(|&u| is_inside[u] = true);
                let marker = self.index(&is_inside);
                if best.as_ref().is_none_or(|(_, b)| marker.index > b.index) {
                    best = Some((clusters[j].clone(), marker));
                }
            }
        }
        best.map(|(mut units, marker)| {
            units.sort_unstable();
            (units, marker)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Units 2, 5 and 6 of ten share a strong mode.
    fn window(n: usize, strength: f64, seed: u64) -> (Vec<f64>, Vec<f64>) {
        let mut stream = Stream::new(seed, 0, 0);
        let mut rows = vec![];
        for t in 0..n {
            let shared = strength * stream.normal();
            rows.extend((0..10).map(|u| {
                let along = if [2, 5, 6].contains(&u) { shared } else { 0.0 };
                0.3 * t as f64 * f64::from(u) + along + stream.normal()
            }));
        }
        ((0..n).map(|t| t as f64).collect(), rows)
    }

    #[test]
    fn the_index_has_its_expected_parts() {
        // Variance 1 + s², correlation s²/(1 + s²) inside, and across E|r| = √(2/(π(n − 2))) of independent units.
        let (n, s): (usize, f64) = (2000, 1.5);
        let (x, rows) = window(n, s, 1);
        let found = marker_index(&x, &rows, 10, &[2, 5, 6], 199, 0).unwrap();
        let size = n as f64;
        assert!((found.deviation / (1.0 + s * s).sqrt() - 1.0).abs() < 4.0 / (2.0 * size).sqrt());
        let r = s * s / (1.0 + s * s);
        assert!((found.inside - r).abs() < 4.0 * (1.0 - r * r) / size.sqrt());
        let mean = (2.0 / std::f64::consts::PI / size).sqrt();
        // The 21 correlations across share the mode, so their mean scatters like that of seven.
        assert!((found.across - mean).abs() < 4.0 * mean * 0.76 / 7f64.sqrt());
        assert!((found.index - found.deviation * found.inside / found.across).abs() < 1e-12);
        // One of the 120 groups of three is the group itself, so one draw in 120 equals it.
        assert!(found.p_value < 0.05, "{}", found.p_value);
    }

    #[test]
    fn the_group_is_found_and_nothing_is_found_in_noise() {
        let (x, rows) = window(60, 2.0, 2);
        let found = find_marker_group(&x, &rows, 10, 199, 0).unwrap().unwrap();
        assert_eq!(found.units, [2, 5, 6]);
        assert!(found.marker.p_value <= 0.01);
        let n_windows = 200;
        let n_false = (0..n_windows)
            .filter(|seed| {
                let (x, rows) = window(30, 0.0, 1000 + seed);
                find_marker_group(&x, &rows, 10, 39, *seed).unwrap().unwrap().marker.p_value <= 0.05
            })
            .count() as f64;
        // α + 2.33 √(α(1 − α)/n).
        assert!(n_false / n_windows as f64 <= 0.05 + 2.33 * (0.05 * 0.95 / n_windows as f64).sqrt(), "{n_false}");
    }

    #[test]
    fn groups_that_make_no_sense_are_refused() {
        let (x, rows) = window(20, 1.0, 3);
        for group in [&[1][..], &[1, 1], &[1, 10], &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]] {
            assert!(marker_index(&x, &rows, 10, group, 9, 0).is_err());
        }
        assert!(marker_index(&x, &[0.0; 200], 10, &[1, 2], 9, 0).is_err());
        assert!(find_marker_group(&x[..3], &rows[..30], 10, 9, 0).is_err());
    }
}
