//! How precisely the place of a kink is known.

/// χ² of one degree of freedom at 0.95.
const BOUND: f64 = 3.841_458_820_694_124;

/// Places between two points that are tried.
const BETWEEN: usize = 4;

/// The places at which a kink leaves at most 3.84 · `variance` more squares than at the best place, ends excluded, widened outward by a
/// quarter of the way between two points: an interval by profile likelihood of the regression a + b x + c max(x − τ, 0), in
/// which the estimate of τ is asymptotically normal (Feder 1975), unlike that of a jump. It holds the neighbouring kinks,
/// between which `x` and `y` lie, where they are. `None` for fewer than four points.
pub(super) fn kink_interval(x: &[f64], y: &[f64], variance: f64) -> Option<(f64, f64)> {
    let n = x.len();
    if n < 4 {
        return None;
    }
    let between = |i: usize| (0..BETWEEN).map(move |k| x[i] + (x[i + 1] - x[i]) * k as f64 / BETWEEN as f64);
    let places: Vec<f64> = (0..n - 1).flat_map(between).skip(1).collect();
    let costs: Vec<f64> = places.iter().map(|tau| squares(x, y, *tau)).collect();
    let least = costs.iter().copied().fold(f64::INFINITY, f64::min);
    let is_inside = |cost: &f64| *cost - least <= BOUND * variance;
    let (lower, upper) = (costs.iter().position(is_inside)?, costs.iter().rposition(is_inside)?);
    Some((places[lower.saturating_sub(1)], places[(upper + 1).min(places.len() - 1)]))
}

/// Squares left by the regression on 1, x and max(x − τ, 0), by Gram–Schmidt.
fn squares(x: &[f64], y: &[f64], tau: f64) -> f64 {
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let without = |v: &mut Vec<f64>, unit: &[f64]| {
        let along = product(v, unit);
        v.iter_mut().zip(unit).for_each(|(v, u)| *v -= along * u);
    };
    let columns = [vec![1.0; x.len()], x.to_vec(), x.iter().map(|x| (x - tau).max(0.0)).collect()];
    let mut units: Vec<Vec<f64>> = Vec::new();
    let mut rest = y.to_vec();
    for mut column in columns {
        let before = product(&column, &column).sqrt();
        for unit in &units {
            without(&mut column, unit);
        }
        let length = product(&column, &column).sqrt();
        if length > 1e-9 * before {
            for v in &mut column {
                *v /= length;
            }
            without(&mut rest, &column);
            units.push(column);
        }
    }
    product(&rest, &rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    #[test]
    fn intervals_hold_the_kink() {
        // 400 curves of 100 points whose slope changes by 0.3 σ a point at point 60: the error of τ is some two points.
        let x: Vec<f64> = (0..100).map(f64::from).collect();
        let holds = |seed: u64| {
            let mut stream = Stream::new(seed, 33, 0);
            let y: Vec<f64> = x.iter().map(|x| 0.3 * (x - 60.0).max(0.0) + stream.normal()).collect();
            let (lower, upper) = kink_interval(&x, &y, 1.0).unwrap();
            (lower..=upper).contains(&60.0)
        };
        let share = (0..400).filter(|seed| holds(*seed)).count() as f64 / 400.0;
        // Places are discrete, so that the interval is somewhat wide, never narrow.
        assert!(share > 0.95 - 3.0 * (0.95f64 * 0.05 / 400.0).sqrt(), "{share}");
    }

    #[test]
    fn a_clean_kink_is_known_to_the_point() {
        let x: Vec<f64> = (0..20).map(f64::from).collect();
        let y: Vec<f64> = x.iter().map(|x| 2.0 - x + 3.0 * (x - 7.0).max(0.0)).collect();
        assert_eq!(kink_interval(&x, &y, 1e-12), Some((6.75, 7.25)));
        assert_eq!(kink_interval(&x[..3], &y[..3], 1.0), None);
    }
}
