//! Tests for one change of level or of line against none, in noise that may be autoregressive.

use super::cost::SegmentCost;
use super::mean::MeanCost;
use super::regression::RegressionCost;
use super::signal::{ChangeError, Signal};
use super::trend::TrendCost;
use crate::partition::SegmentShape;
use crate::random::Stream;
use std::f64::consts::PI;

/// Fewest points of a test.
const MIN_POINTS: usize = 12;
/// Simulations that reach the statistic, after which its p-value is known well enough.
const ENOUGH: usize = 20;
/// Largest noise coefficient that is believed.
const LARGEST_PHI: f64 = 0.98;

/// Settings of [`sup_f_test`] and [`cusum_test`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TestSettings {
    /// Share of the points at either end in which no change is looked for. Default 0.15.
    pub trim: f64,
    /// Most simulations behind a p-value. Default 999.
    pub draws: usize,
    /// Seed. Default 0.
    pub seed: u64,
}

impl Default for TestSettings {
    fn default() -> Self {
        Self { trim: 0.15, draws: 999, seed: 0 }
    }
}

/// What a test says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ChangeTest {
    /// Largest statistic over all places.
    pub statistic: f64,
    /// Its place, the first index after the change.
    pub at: usize,
    /// Probability of a statistic as large without a change, by simulation; at least 1 / (draws + 1).
    pub p_value: f64,
    /// Autocorrelation of the noise with which the signal was whitened.
    pub autocorrelation: f64,
}

/// The largest F statistic of a change of level, or of line over the positions, over all places (Andrews
/// 1993), on the scale of its χ² limit: (n − 2p)(RSS₀ − RSS₁) / RSS₁ with p parameters of a segment.
///
/// Null hypothesis: one level (or line) with stationary first-order autoregressive normal noise. The noise
/// coefficient φ is that of the residuals about the best change, freed of its bias; signal and columns
/// are whitened with it. The p-value is the share of simulations, each estimated likewise, that reach the
/// statistic. Their φ is one standard error above that of the residuals without a change, yet at most
/// three above that about the change, which a true change does not raise: this errs on the side of no change. Simulations end after 20 that
/// reach it (Besag and Clifford 1991).
///
/// A smooth curve is not in the null hypothesis of either shape; test it with
/// [`shape_test`](super::shape_test).
///
/// # Errors
/// More than one dimension, fewer than 12 points, or a setting out of range.
pub fn sup_f_test(signal: &Signal, shape: SegmentShape, settings: &TestSettings) -> Result<ChangeTest, ChangeError> {
    run(signal, Kind::SupF(shape), settings)
}

/// The largest partial sum of deviations from the mean, over σ √n (Brown, Durbin and Evans 1975; Ploberger
/// and Krämer 1992), of the signal whitened as in [`sup_f_test`]: for one change of level, of most power in
/// the middle.
///
/// In white noise its limit is the largest |Brownian bridge| ([`brownian_bridge_tail`]); the p-value is by
/// simulation, as in [`sup_f_test`], which also holds for few points and strong correlation.
///
/// # Errors
/// As of [`sup_f_test`].
pub fn cusum_test(signal: &Signal, settings: &TestSettings) -> Result<ChangeTest, ChangeError> {
    run(signal, Kind::Cusum, settings)
}

/// P(sup |B| > x) of the Brownian bridge B on [0, 1], 2 Σ (−1)^(k+1) e^(−2 k² x²) (Kolmogorov 1933):
/// 0.05 at 1.3581. For small x by the other form of the theta function.
pub fn brownian_bridge_tail(x: f64) -> f64 {
    if x <= 0.0 {
        return 1.0;
    }
    if x < 1.0 {
        let term = |k: f64| (-(2.0 * k - 1.0).powi(2) * PI * PI / (8.0 * x * x)).exp();
        return 1.0 - (2.0 * PI).sqrt() / x * (1..=4).map(|k| term(f64::from(k))).sum::<f64>();
    }
    let term = |k: f64| if k % 2.0 == 1.0 { 1.0 } else { -1.0 } * (-2.0 * k * k * x * x).exp();
    2.0 * (1..=8).map(|k| term(f64::from(k))).sum::<f64>()
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    SupF(SegmentShape),
    Cusum,
}

/// A statistic and the noise coefficients that belong to it.
struct Finding {
    statistic: f64,
    at: usize,
    /// Of the residuals without a change, and about the best one.
    phi_null: f64,
    phi_change: f64,
}

/// Purpose of the random streams.
const NULL_STREAM: u64 = 22;

fn run(signal: &Signal, kind: Kind, settings: &TestSettings) -> Result<ChangeTest, ChangeError> {
    let n = signal.n_points();
    if signal.dimensions() != 1 {
        let value = signal.dimensions() as f64;
        return Err(ChangeError::BadSetting { name: "dimensions", value, range: "1 for this test" });
    }
    if n < MIN_POINTS {
        return Err(ChangeError::TooFewPoints { found: n, needed: MIN_POINTS });
    }
    if !(settings.trim >= 0.0 && settings.trim < 0.4) {
        let range = "at least 0 and below 0.4";
        return Err(ChangeError::BadSetting { name: "trim", value: settings.trim, range });
    }
    if settings.draws == 0 {
        return Err(ChangeError::BadSetting { name: "draws", value: 0.0, range: "at least 1" });
    }
    let found = examine(signal, kind, settings.trim)?;
    let error = |phi: f64| ((1.0 - phi * phi) / n as f64).sqrt();
    let phi = found.phi_null + error(found.phi_null);
    let phi = phi.min(found.phi_change + 3.0 * error(found.phi_change)).clamp(0.0, LARGEST_PHI);
    let (mut reached, mut n_draws) = (0, 0);
    while n_draws < settings.draws && reached < ENOUGH {
        let mut stream = Stream::new(settings.seed, NULL_STREAM, n_draws as u64);
        let noise = autoregression(n, phi, &mut stream);
        let simulated = Signal::new(noise, 1)?.at(signal.positions().to_vec())?;
        reached += usize::from(examine(&simulated, kind, settings.trim)?.statistic >= found.statistic);
        n_draws += 1;
    }
    let p_value =
        if reached == ENOUGH { ENOUGH as f64 / n_draws as f64 } else { (reached + 1) as f64 / (n_draws + 1) as f64 };
    Ok(ChangeTest { statistic: found.statistic, at: found.at, p_value, autocorrelation: found.phi_change })
}

/// Stationary first-order autoregression of unit variance.
fn autoregression(n: usize, phi: f64, stream: &mut Stream) -> Vec<f64> {
    let mut last = stream.normal();
    let step = (1.0 - phi * phi).sqrt();
    (0..n)
        .map(|_| {
            let value = last;
            last = phi * last + step * stream.normal();
            value
        })
        .collect()
}

fn examine(signal: &Signal, kind: Kind, trim: f64) -> Result<Finding, ChangeError> {
    let (n, x) = (signal.n_points(), signal.positions());
    let shape = if let Kind::SupF(shape) = kind { shape } else { SegmentShape::Constant };
    let n_parameters = if shape == SegmentShape::Line { 2 } else { 1 };
    let least = ((trim * n as f64).ceil() as usize).max(n_parameters + 1);
    let places = least..=n - least;
    // Residuals without a change and about the best one, by ordinary least squares.
    let (constant, line);
    let cost: &dyn SegmentCost = match shape {
        SegmentShape::Constant => {
            constant = MeanCost::new(signal)?;
            &constant
        }
        SegmentShape::Line => {
            line = TrendCost::new(signal)?;
            &line
        }
    };
    let change_cost = |at: usize| cost.cost(0, at) + cost.cost(at, n);
    let best = places.clone().min_by(|&a, &b| change_cost(a).total_cmp(&change_cost(b))).unwrap_or(least);
    let left = residuals(signal, shape, &[0, n]);
    let phi_null = first_order(&left, n_parameters as f64);
    let phi_change = first_order(&residuals(signal, shape, &[0, best, n]), (2 * n_parameters + 1) as f64);
    // Whitened with the latter (Prais and Winsten 1954).
    let whitened = |v: &dyn Fn(usize) -> f64, t: usize| {
        if t == 0 { (1.0 - phi_change * phi_change).sqrt() * v(0) } else { v(t) - phi_change * v(t - 1) }
    };
    // Of the residuals, which differ from the signal by what the null hypothesis holds anyway.
    let y: Vec<f64> = (0..n).map(|t| whitened(&|i| left[i], t)).collect();
    let (statistic, at) = if kind == Kind::Cusum {
        // The first whitened value has another mean than the rest.
        let mean = y[1..].iter().sum::<f64>() / (n - 1) as f64;
        let scale = (y[1..].iter().map(|v| (v - mean).powi(2)).sum::<f64>()).sqrt();
        let (mut sum, mut most, mut at) = (0.0, 0.0, 1);
        for (t, value) in y.iter().enumerate().skip(1) {
            sum += value - mean;
            if f64::abs(sum) > most {
                (most, at) = (f64::abs(sum), t + 1);
            }
        }
        (if scale > 0.0 { most / scale } else { 0.0 }, at.min(n - 1))
    } else {
        let middle = f64::midpoint(x[0], x[n - 1]);
        let span = (x[n - 1] - x[0]).max(f64::MIN_POSITIVE);
        let mut columns = Vec::with_capacity(n * n_parameters);
        for t in 0..n {
            columns.push(whitened(&|_| 1.0, t));
            if n_parameters == 2 {
                columns.push(whitened(&|i| (x[i] - middle) / span, t));
            }
        }
        let cost = RegressionCost::new(&y, &columns, n_parameters)?;
        let whole = cost.cost(0, n);
        let (mut least_cost, mut at) = (whole, best);
        for place in places {
            let value = cost.cost(0, place) + cost.cost(place, n);
            if value < least_cost {
                (least_cost, at) = (value, place);
            }
        }
        let freedom = (n - 2 * n_parameters) as f64;
        // An exact level or line has nothing to test but rounding.
        let square: f64 = signal.values().iter().map(|y| y * y).sum();
        let statistic = if whole > 1e-24 * square { freedom * (whole - least_cost) / least_cost } else { 0.0 };
        (statistic.min(f64::MAX), at)
    };
    Ok(Finding { statistic, at, phi_null, phi_change })
}

/// What levels or lines between the `bounds` leave.
fn residuals(signal: &Signal, shape: SegmentShape, bounds: &[usize]) -> Vec<f64> {
    let mut left = vec![];
    for pair in bounds.windows(2) {
        let (x, y) = (&signal.positions()[pair[0]..pair[1]], &signal.values()[pair[0]..pair[1]]);
        let m = x.len() as f64;
        let (x_mean, y_mean) = (x.iter().sum::<f64>() / m, y.iter().sum::<f64>() / m);
        let xx: f64 = x.iter().map(|x| (x - x_mean).powi(2)).sum();
        let xy: f64 = x.iter().zip(y).map(|(x, y)| (x - x_mean) * (y - y_mean)).sum();
        let slope = if shape == SegmentShape::Line && xx > 0.0 { xy / xx } else { 0.0 };
        left.extend(x.iter().zip(y).map(|(x, y)| y - y_mean - slope * (x - x_mean)));
    }
    left
}

/// Lag-one autocorrelation of residuals, freed of its bias of about −(1 + 3φ + p (1 + φ)) / n for p
/// parameters fitted (Kendall 1954 for p = 0).
pub(crate) fn first_order(residuals: &[f64], n_parameters: f64) -> f64 {
    let square: f64 = residuals.iter().map(|e| e * e).sum();
    if square == 0.0 {
        return 0.0;
    }
    let product: f64 = residuals.windows(2).map(|e| e[0] * e[1]).sum();
    let phi = product / square;
    let bias = (1.0 + 3.0 * phi + n_parameters * (1.0 + phi)) / residuals.len() as f64;
    (phi + bias).clamp(-LARGEST_PHI, LARGEST_PHI)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(n: usize, phi: f64, step: f64, seed: u64) -> Signal {
        let mut stream = Stream::new(seed, 41, 0);
        let noise = autoregression(n, phi, &mut stream);
        let values = noise.into_iter().enumerate().map(|(i, e)| e + if i >= n / 2 { step } else { 0.0 });
        Signal::new(values.collect(), 1).unwrap()
    }

    #[test]
    fn critical_values_of_the_brownian_bridge() {
        for (x, p) in [(1.2238, 0.1), (1.3581, 0.05), (1.6276, 0.01)] {
            // x is rounded to 5e-5, and the slope there is at most 8 x e^(−2x²) = 0.49.
            assert!((brownian_bridge_tail(x) - p).abs() < 2.5e-5, "{x}: {}", brownian_bridge_tail(x));
        }
        // The two forms meet, and the tail falls from 1 to 0.
        assert!((brownian_bridge_tail(1.0 - 1e-12) - brownian_bridge_tail(1.0)).abs() < 1e-11);
        assert_eq!((brownian_bridge_tail(0.0), brownian_bridge_tail(0.02)), (1.0, 1.0));
        assert!(brownian_bridge_tail(10.0) < 1e-80);
    }

    #[test]
    fn statistics_have_their_limits() {
        // Share above the published 5 % points in white noise: 8.68 for sup-F of one parameter with 15 %
        // cut off at either end (Andrews 2003), 1.3581 for the bridge. 4,000 draws: standard error 0.0034;
        // of 200 points the discrete bridge has a little less.
        let n = 4000;
        let (mut above_f, mut above_bridge) = (0, 0);
        for seed in 0..n {
            let signal = noise(200, 0.0, 0.0, seed);
            let (cost, y) = (MeanCost::new(&signal).unwrap(), signal.values());
            let whole = cost.cost(0, 200);
            let least = (30..=170).map(|t| cost.cost(0, t) + cost.cost(t, 200)).fold(f64::INFINITY, f64::min);
            above_f += usize::from(198.0 * (whole - least) / least > 8.68);
            let mean = y.iter().sum::<f64>() / 200.0;
            let (mut sum, mut most) = (0.0, 0.0);
            for v in y {
                sum += v - mean;
                most = f64::max(most, f64::abs(sum));
            }
            above_bridge += usize::from(most / whole.sqrt() > 1.3581);
        }
        let (f, bridge) = (above_f as f64 / n as f64, above_bridge as f64 / n as f64);
        println!("sup-F above 8.68: {f}; bridge above 1.3581: {bridge}");
        assert!((0.035..0.062).contains(&f) && (0.03..0.06).contains(&bridge), "{f} {bridge}");
    }

    #[test]
    fn false_positives_stay_at_the_level() {
        // 200 series each at α = 0.1, 99 draws: at most α + 2.33 √(α (1 − α) / 200) = 0.149. The example
        // `change_rates` does more.
        let settings = TestSettings { draws: 99, ..TestSettings::default() };
        for phi in [0.0, 0.6, 0.9] {
            let share = |kind: Kind| {
                let rejects = |seed: &u64| run(&noise(100, phi, 0.0, *seed), kind, &settings).unwrap().p_value <= 0.1;
                (0..200u64).filter(rejects).count() as f64 / 200.0
            };
            for kind in [Kind::SupF(SegmentShape::Constant), Kind::SupF(SegmentShape::Line), Kind::Cusum] {
                let share = share(kind);
                println!("{kind:?}, phi {phi}: {share}");
                assert!(share <= 0.149, "{kind:?}, phi {phi}: {share}");
            }
        }
    }

    #[test]
    fn clear_changes_are_found() {
        // A step of 2 standard deviations amid 100 points of white noise, and of 4 with φ = 0.6.
        let settings = TestSettings { draws: 199, ..TestSettings::default() };
        for (phi, step) in [(0.0, 2.0), (0.6, 4.0)] {
            for kind in [Kind::SupF(SegmentShape::Constant), Kind::Cusum] {
                let tests: Vec<ChangeTest> =
                    (0..50).map(|seed| run(&noise(100, phi, step, seed), kind, &settings).unwrap()).collect();
                let found = tests.iter().filter(|t| t.p_value <= 0.05 && t.at.abs_diff(50) <= 5).count();
                println!("{kind:?}, phi {phi}: {found} of 50");
                assert!(found >= 40, "{kind:?} {phi}: {found}");
            }
        }
        let constant = Signal::new(vec![3.0; 20], 1).unwrap();
        assert_eq!(cusum_test(&constant, &settings).unwrap().statistic, 0.0);
        assert!(sup_f_test(&constant, SegmentShape::Line, &settings).unwrap().p_value > 0.5);
        let exact = Signal::new((0..20).map(|i| f64::from(i / 10)).collect(), 1).unwrap();
        assert!(sup_f_test(&exact, SegmentShape::Constant, &settings).unwrap().p_value < 0.05);
    }

    #[test]
    fn what_is_refused() {
        let settings = TestSettings::default();
        assert!(cusum_test(&Signal::new(vec![1.0; 40], 2).unwrap(), &settings).is_err());
        assert!(cusum_test(&Signal::new(vec![1.0; 11], 1).unwrap(), &settings).is_err());
        let signal = noise(20, 0.0, 0.0, 1);
        assert!(cusum_test(&signal, &TestSettings { trim: 0.4, ..settings }).is_err());
        assert!(cusum_test(&signal, &TestSettings { draws: 0, ..settings }).is_err());
    }
}
