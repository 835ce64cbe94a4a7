//! Means of nβ·L at a finite temperature: closed forms, and quadratures that are exact to rounding.

/// γ_Euler/2 + ln 2.
#[cfg(test)]
const HALF_EULER_AND_LN_2: f64 = 0.981_755_013_011_711_5;

/// SGLD on ½Σhw² with localisation γ: the stationary variance of a direction of precision A = nβh + γ is
/// 1/(A(1 − εA/4)), from w' = (1 − εA/2)w + √ε·ξ. At ε = 0 the posterior itself.
pub(super) fn sgld(curvatures: &[f64], n_beta: f64, localization: f64, step_size: f64) -> f64 {
    preconditioned(curvatures, n_beta, localization, step_size, |_, _| 1.0)
}

/// SGLD with a constant preconditioner P(h, A) of each direction: ε becomes εP.
pub(super) fn preconditioned(
    curvatures: &[f64],
    n_beta: f64,
    localization: f64,
    step_size: f64,
    preconditioner: impl Fn(f64, f64) -> f64,
) -> f64 {
    let direction = |&h: &f64| {
        let a = n_beta * h + localization;
        0.5 * n_beta * h / (a * (1.0 - step_size * preconditioner(h, a) * a / 4.0))
    };
    curvatures.iter().map(direction).sum()
}

/// SGLD with gradients whose noise has the variance `c` in each direction: (ε + ε²nβ²c/4) in place of the noise ε.
pub(super) fn noisy_sgld(h: f64, n_beta: f64, localization: f64, step_size: f64, c: f64) -> f64 {
    sgld(&[h], n_beta, localization, step_size) * (1.0 + step_size * n_beta * n_beta * c / 4.0)
}

/// SGHMC, u' = (1 − a)u − ηAw + √(2a₀η)·ξ, w' = w + u', η = ε/2, that loses the share a = `lost` of its momentum and is
/// fed as if it lost a₀ = `fed`.
///
/// Stationarity of E[w'²], E[w'u'] and E[u'²] gives q = E[u²] = 2a₀η/[a(2 − a − ηA/2)] and E[w²] = q(2 − a)/(2ηA).
pub(super) fn sghmc(curvatures: &[f64], n_beta: f64, localization: f64, step_size: f64, [lost, fed]: [f64; 2]) -> f64 {
    let eta = 0.5 * step_size;
    let direction = |&h: &f64| {
        let a = n_beta * h + localization;
        let variance = heat(a, eta, lost, fed) * (2.0 - lost) / (2.0 * eta * a);
        0.5 * n_beta * h * variance
    };
    curvatures.iter().map(direction).sum()
}

/// E[u²] above.
fn heat(precision: f64, eta: f64, lost: f64, fed: f64) -> f64 {
    2.0 * fed * eta / (lost * (2.0 - lost - eta * precision / 2.0))
}

/// SGNHT: SGHMC with the friction a at which (1 − a/2)·u² has the mean η over all directions. Since E[w²] = E[u²](1 − a/2)/(ηA)
/// in each of them, A·E[w²] is then 1 in the mean over directions, at any step size: directions that the finite step heats
/// more are paid for by the others. The friction scatters by O(1/√d), which costs O(1/d): for many copies only.
pub(super) fn sgnht(curvatures: &[f64], n_beta: f64, localization: f64, step_size: f64, fed: f64) -> f64 {
    let eta = 0.5 * step_size;
    let excess = |lost: f64| {
        let heats = curvatures.iter().map(|h| heat(n_beta * h + localization, eta, lost, fed));
        (1.0 - 0.5 * lost) * heats.sum::<f64>() / curvatures.len() as f64 - eta
    };
    // More friction is less heat; it is bisected to rounding.
    let (mut low, mut high) = (0.1 * fed, (10.0 * fed).min(1.0));
    for _ in 0..200 {
        let middle = 0.5 * (low + high);
        if excess(middle) > 0.0 { low = middle } else { high = middle }
    }
    sghmc(curvatures, n_beta, localization, step_size, [0.5 * (low + high), fed])
}

/// L = x²y² under a Gaussian of precision γ at the origin, t = nβ.
///
/// Given x, y is normal of precision γ + 2tx²: E[t·L | x] = tx²/(γ + 2tx²) and p(x) ∝ exp(−γx²/2)/√(γ + 2tx²). The
/// trapezoidal rule in ln x, where the integrand dies out on both sides, is exact to rounding.
pub(super) fn crossing_in_a_well(t: f64, localization: f64) -> f64 {
    let (mut mass, mut moment) = (0.0, 0.0);
    for i in -8000..=1000 {
        let x = (0.01 * f64::from(i)).exp() / localization.sqrt();
        let precision = localization + 2.0 * t * x * x;
        let weight = x * (-0.5 * localization * x * x).exp() / precision.sqrt();
        mass += weight;
        moment += weight * t * x * x / precision;
    }
    moment / mass
}

/// L = x^2a·y^2b, uniform on [−1, 1]², t = nβ.
///
/// s = −ln L is the sum of two exponential variables of rates 1/(2a) and 1/(2b), so the density of L is known, and one
/// trapezoidal rule in s is left; e^(−t) is taken for 0, so t must be large.
pub(super) fn crossing_in_a_box(t: f64, [a, b]: [u32; 2]) -> f64 {
    let [slow, fast] = [a.max(b), a.min(b)].map(|k| 0.5 / f64::from(k));
    let density = |s: f64| if a == b { s * (-slow * s).exp() } else { (-slow * s).exp() - (-fast * s).exp() };
    let (mut mass, mut moment) = (0.0, 0.0);
    for i in 0..100_000 {
        let s = 0.005 * f64::from(i);
        let energy = t * (-s).exp();
        let weight = density(s) * (-energy).exp();
        mass += weight;
        moment += weight * energy;
    }
    moment / mass
}

#[cfg(test)]
mod tests {
    use super::*;

    const CURVATURES: [f64; 5] = [10.0, 1.0, 0.1, 0.01, 0.0];

    #[track_caller]
    fn near(found: f64, expected: f64, digits: i32) {
        assert!((found - expected).abs() <= 0.5001 * 10f64.powi(-digits), "{found}, expected {expected}");
    }

    #[test]
    fn quadratics_have_the_published_numbers() {
        let n_beta = 1000.0 / 1000f64.ln();
        for (step_size, expected) in
            [(0.0, 1.759_640), (1e-5, 1.761_657), (1e-4, 1.780_431), (1e-3, 2.064_120), (2e-3, 3.115_503)]
        {
            near(sgld(&CURVATURES, n_beta, 1.0, step_size), expected, 6);
        }
        for (h, expected) in CURVATURES.into_iter().zip([0.499_655, 0.496_570, 0.467_693, 0.295_722, 0.0]) {
            near(sgld(&[h], n_beta, 1.0, 0.0), expected, 6);
        }
    }

    #[test]
    fn momentum_with_full_friction_is_sgld_and_small_steps_are_exact() {
        near(sghmc(&CURVATURES, 100.0, 1.0, 1e-3, [1.0, 1.0]), sgld(&CURVATURES, 100.0, 1.0, 1e-3), 12);
        let exact = sgld(&CURVATURES, 100.0, 1.0, 0.0);
        near(sghmc(&CURVATURES, 100.0, 1.0, 1e-9, [0.1, 0.1]), exact, 6);
        near(sgnht(&CURVATURES, 100.0, 1.0, 1e-9, 0.1), exact, 6);
        // In one curvature the thermostat takes away all that the finite step adds.
        near(sgnht(&[3.0], 100.0, 1.0, 1e-3, 0.1), sgld(&[3.0], 100.0, 1.0, 0.0), 9);
    }

    #[test]
    fn crossings_have_the_published_numbers() {
        for (powers, expected) in [
            ([1, 1], [0.34776, 0.38728, 0.41051, 0.43662, 0.45094]),
            ([1, 2], [0.20428, 0.22620, 0.23715, 0.24607, 0.24877]),
            ([2, 2], [0.13678, 0.16019, 0.17558, 0.19458, 0.20585]),
        ] {
            for (t, expected) in [1e2, 1e3, 1e4, 1e6, 1e8].into_iter().zip(expected) {
                near(crossing_in_a_box(t, powers), expected, 5);
            }
        }
        // x²y²: ½(1 − 1/(½ ln t + γ_E/2 + ln 2)) up to e^(−t).
        let closed = |t: f64| 0.5 * (1.0 - 1.0 / (0.5 * t.ln() + HALF_EULER_AND_LN_2));
        near(crossing_in_a_box(100.0, [1, 1]), closed(100.0), 12);
        // The last but two is ½ + z(1 − K₁(z)/K₀(z)) with z = γ²/(8t) = 8.635: 1/(8z) − 1/(8z²) + … = 0.01305.
        for (t, localization, expected) in [
            (144.7648, 1.0, 0.3614),
            (1e3, 1.0, 0.3903),
            (1e4, 1.0, 0.4123),
            (1e6, 1.0, 0.4375),
            (144.7648, 10.0, 0.2020),
            (1e4, 10.0, 0.3542),
            (144.7648, 100.0, 0.0130),
            (1e4, 100.0, 0.1816),
            (1e6, 100.0, 0.3542),
        ] {
            near(crossing_in_a_well(t, localization), expected, 4);
        }
    }
}
