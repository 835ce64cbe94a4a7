//! Intervals of a proportion, from how often something happened.

use super::answer::{Effect, Interval, check_level};
use crate::array_error::{ArrayError, enough, setting};
use crate::special::{beta_quantile, normal_quantile};

/// How the interval of a proportion is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProportionKind {
    /// Inverts the score test (Wilson 1927): covers with the level on average over proportions.
    Wilson,
    /// Inverts the exact binomial test (Clopper and Pearson 1934): covers with at least the level always.
    ClopperPearson,
}

/// `n_hits` of `n` independent trials, with the interval of the underlying proportion.
///
/// # Errors
/// No trials, more hits than trials, a level outside (0, 1).
pub fn proportion(n_hits: usize, n: usize, kind: ProportionKind, level: f64) -> Result<Effect, ArrayError> {
    check_level(level)?;
    enough("trials", n, 1)?;
    setting("the number of hits", n_hits as f64, n_hits <= n, "at most the number of trials")?;
    let (hits, trials) = (n_hits as f64, n as f64);
    let tail = (1.0 - level) / 2.0;
    let (lower, upper) = match kind {
        ProportionKind::Wilson => {
            let z = normal_quantile(tail);
            let share = hits / trials;
            let centre = share + z * z / (2.0 * trials);
            let half = -z * (share * (1.0 - share) / trials + z * z / (4.0 * trials * trials)).sqrt();
            let scale = 1.0 + z * z / trials;
            ((centre - half) / scale, (centre + half) / scale)
        }
        // The beta law of 0 hits or misses has a parameter of 0; the end is then 0 or 1 (below).
        ProportionKind::ClopperPearson => (
            if n_hits > 0 { beta_quantile(tail, hits, trials - hits + 1.0) } else { 0.0 },
            if n_hits < n { beta_quantile(1.0 - tail, hits + 1.0, trials - hits) } else { 1.0 },
        ),
    };
    // At the ends both intervals reach them exactly; rounding must not.
    let lower = if n_hits == 0 { 0.0 } else { lower.max(0.0) };
    let upper = if n_hits == n { 1.0 } else { upper.min(1.0) };
    Ok(Effect { estimate: hits / trials, interval: Interval { lower, upper, level } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_in_closed_form() {
        // No hits in n: Clopper–Pearson (0, 1 − (α/2)^(1/n)), Wilson (0, z²/(n + z²)).
        for n in [1, 5, 30] {
            let exact = proportion(0, n, ProportionKind::ClopperPearson, 0.95).unwrap().interval;
            assert!((exact.upper - (1.0 - 0.025_f64.powf(1.0 / n as f64))).abs() < 1e-14 && exact.lower == 0.0);
            let all = proportion(n, n, ProportionKind::ClopperPearson, 0.95).unwrap().interval;
            assert!((all.lower - (1.0 - exact.upper)).abs() < 1e-14 && all.upper == 1.0);
            let z = normal_quantile(0.975);
            let wilson = proportion(0, n, ProportionKind::Wilson, 0.95).unwrap().interval;
            assert!((wilson.upper - z * z / (n as f64 + z * z)).abs() < 1e-14 && wilson.lower == 0.0);
        }
        assert!(proportion(0, 0, ProportionKind::Wilson, 0.95).is_err());
        assert!(proportion(3, 2, ProportionKind::Wilson, 0.95).is_err());
        assert!(proportion(1, 2, ProportionKind::Wilson, 0.0).is_err());
    }

    #[test]
    fn clopper_pearson_always_covers() {
        // Coverage of n = 12 summed over all outcomes, at many proportions.
        let n = 12_usize;
        let intervals: Vec<Interval> =
            (0..=n).map(|k| proportion(k, n, ProportionKind::ClopperPearson, 0.9).unwrap().interval).collect();
        for i in 1..100 {
            let p = f64::from(i) / 100.0;
            let (mut weight, mut covered) = ((1.0 - p).powi(12), 0.0);
            for (k, interval) in intervals.iter().enumerate() {
                covered += if interval.contains(p) { weight } else { 0.0 };
                weight *= (n - k) as f64 / (k + 1) as f64 * p / (1.0 - p);
            }
            assert!(covered >= 0.9 - 1e-12, "{p}: {covered}");
        }
    }
}
