//! A time that runs fast where a curve changes fast.

/// Number of places, evenly spaced in ln(step + 1), at which a warp has its rate.
pub(crate) const KNOTS: usize = 8;

/// A strictly increasing map u(x) of x = ln(step + 1), whose log rate ln(du/dx) is linear between knots.
///
/// A Gaussian process of one length scale ℓ in u has the length scale ℓ/(du/dx) in x: short where the rate is high. The
/// covariance stays positive definite, for a warp only renames the inputs (Sampson and Guttorp 1992; Rasmussen and
/// Williams 2006, section 4.2.3).
pub(crate) struct Warp {
    knots: [Knot; KNOTS],
}

#[derive(Debug, Clone, Copy, Default)]
struct Knot {
    x: f64,
    log_rate: f64,
    u: f64,
}

impl Warp {
    /// The warp with these log rates, up to a common shift: the ends `first` and `last` stay as far apart as they are.
    pub(crate) fn new(first: f64, last: f64, log_rates: &[f64]) -> Self {
        let mut knots = [Knot::default(); KNOTS];
        for (i, (knot, &log_rate)) in knots.iter_mut().zip(log_rates).enumerate() {
            *knot = Knot { x: first + (last - first) * i as f64 / (KNOTS - 1) as f64, log_rate, u: 0.0 };
        }
        for i in 1..KNOTS {
            knots[i].u = knots[i - 1].u + knots[i - 1].grown(knots[i].x, knots[i - 1].slope(knots[i]));
        }
        let scale = (last - first) / knots[KNOTS - 1].u;
        for knot in &mut knots {
            knot.log_rate += scale.ln();
            knot.u *= scale;
        }
        Self { knots }
    }

    /// u at `x`.
    pub(crate) fn at(&self, x: f64) -> f64 {
        let (knot, slope) = self.before(x);
        knot.u + knot.grown(x, slope)
    }

    /// du/dx at `x`.
    pub(crate) fn rate(&self, x: f64) -> f64 {
        let (knot, slope) = self.before(x);
        (knot.log_rate + slope * (x - knot.x)).exp()
    }

    /// The knot at or before `x` and the slope of the log rate after it; the rate is level beyond the last knot.
    fn before(&self, x: f64) -> (Knot, f64) {
        let at = self.knots.partition_point(|knot| knot.x <= x).saturating_sub(1);
        let knot = self.knots[at];
        (knot, self.knots.get(at + 1).map_or(0.0, |&next| knot.slope(next)))
    }
}

impl Knot {
    fn slope(self, next: Self) -> f64 {
        (next.log_rate - self.log_rate) / (next.x - self.x)
    }

    /// ∫ exp(log_rate + slope t) dt over t from 0 to x less that of the knot.
    fn grown(self, x: f64, slope: f64) -> f64 {
        let (distance, bend) = (x - self.x, slope * (x - self.x));
        // (e^b − 1)/b, to rounding where b is small: the next term is b²/6.
        let mean = if bend.abs() < 1e-8 { 1.0 + 0.5 * bend } else { bend.exp_m1() / bend };
        self.log_rate.exp() * distance * mean
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_the_derivative_and_the_ends_stay() {
        let warp = Warp::new(0.5, 9.0, &[0.0, -1.0, 0.3, 0.3, 2.0, 1.0, -2.0, 3.0]);
        assert!((warp.at(9.0) - warp.at(0.5) - 8.5).abs() < 1e-12);
        for i in 1..1000 {
            let x = 0.5 + 8.5 * f64::from(i) / 1000.0;
            // A central difference of h = 1e-5 is right to h² of the second derivative of the rate, to h of its slope at a
            // knot: below 5 · 1e-5 here.
            let difference = (warp.at(x + 1e-5) - warp.at(x - 1e-5)) / 2e-5;
            assert!((difference / warp.rate(x) - 1.0).abs() < 5e-5, "{x}: {difference} {}", warp.rate(x));
        }
    }

    #[test]
    fn equal_rates_leave_time_as_it_is() {
        let warp = Warp::new(0.0, 9.0, &[0.7; KNOTS]);
        for x in [0.0, 0.3, 5.1, 8.94, 9.0] {
            assert!((warp.at(x) - x).abs() < 1e-12 && (warp.rate(x) - 1.0).abs() < 1e-12);
        }
    }
}
