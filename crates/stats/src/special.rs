//! The normal, beta and Student distributions: cumulative distributions and their inverses.

use std::f64::consts::{FRAC_1_SQRT_2, PI};

/// Cumulative distribution function of the standard normal, Φ(z).
///
/// Computed from the complementary error function, so both tails keep their relative precision.
pub fn normal_cdf(z: f64) -> f64 {
    0.5 * libm::erfc(-z * FRAC_1_SQRT_2)
}

/// Inverse of [`normal_cdf`]: the z with Φ(z) = `p`.
///
/// Returns −∞ at 0, +∞ at 1 and NaN outside [0, 1]. A rational approximation with relative error
/// 1.15e-9 (P. J. Acklam, 2003), followed by one Halley step, which brings it to rounding.
pub fn normal_quantile(p: f64) -> f64 {
    if !(0.0..=1.0).contains(&p) {
        return f64::NAN;
    }
    if p == 0.0 {
        return f64::NEG_INFINITY;
    }
    if p == 1.0 {
        return f64::INFINITY;
    }
    if p > 0.5 {
        // 1 − p is exact here (Sterbenz), and the lower tail is where the refinement is accurate.
        return -lower_quantile(1.0 - p);
    }
    lower_quantile(p)
}

/// The quantile for 0 < `p` ≤ 1/2.
fn lower_quantile(p: f64) -> f64 {
    const CENTRE_NUM: [f64; 6] = [
        -3.969_683_028_665_376e1,
        2.209_460_984_245_205e2,
        -2.759_285_104_469_687e2,
        1.383_577_518_672_69e2,
        -3.066_479_806_614_716e1,
        2.506_628_277_459_239,
    ];
    const CENTRE_DEN: [f64; 6] = [
        -5.447_609_879_822_406e1,
        1.615_858_368_580_409e2,
        -1.556_989_798_598_866e2,
        6.680_131_188_771_972e1,
        -1.328_068_155_288_572e1,
        1.0,
    ];
    const TAIL_NUM: [f64; 6] = [
        -7.784_894_002_430_293e-3,
        -3.223_964_580_411_365e-1,
        -2.400_758_277_161_838,
        -2.549_732_539_343_734,
        4.374_664_141_464_968,
        2.938_163_982_698_783,
    ];
    const TAIL_DEN: [f64; 5] =
        [7.784_695_709_041_462e-3, 3.224_671_290_700_398e-1, 2.445_134_137_142_996, 3.754_408_661_907_416, 1.0];
    let horner = |coefficients: &[f64], x: f64| coefficients.iter().fold(0.0, |sum, c| sum * x + c);
    let guess = if p < 0.024_25 {
        let q = (-2.0 * p.ln()).sqrt();
        horner(&TAIL_NUM, q) / horner(&TAIL_DEN, q)
    } else {
        let q = p - 0.5;
        q * horner(&CENTRE_NUM, q * q) / horner(&CENTRE_DEN, q * q)
    };
    // Dividing by the density before multiplying keeps the step finite far in the tail.
    let error = (normal_cdf(guess) - p) * (2.0 * PI).sqrt() * (0.5 * guess * guess).exp();
    if error.is_finite() { guess - error / (1.0 + 0.5 * guess * error) } else { guess }
}

/// Cumulative distribution function of Student's t with `df` > 0 degrees of freedom (need not be whole); NaN of NaN.
///
/// The tail beyond |t| is ½ I_x(ν/2, ½) with x = ν/(ν + t²) (Abramowitz and Stegun 26.7.1), so both tails keep their
/// relative precision; beyond |t| = 1e154, where t² is no number any more, they are 0.
pub fn student_cdf(t: f64, df: f64) -> f64 {
    if t > 0.0 { 1.0 - student_tail(t, df) } else { student_tail(-t, df) }
}

/// P(T > `t`) of Student's t for t ≥ 0, with full relative precision.
pub(crate) fn student_tail(t: f64, df: f64) -> f64 {
    if t.is_infinite() {
        return 0.0;
    }
    // Dividing by the larger of the two keeps t² from overflowing.
    let (x, y) = if t * t < df {
        let ratio = t * t / df;
        (1.0 / (1.0 + ratio), ratio / (1.0 + ratio))
    } else {
        let ratio = df / t / t;
        (ratio / (1.0 + ratio), 1.0 / (1.0 + ratio))
    };
    0.5 * incomplete_beta_of(0.5 * df, 0.5, x, y)
}

/// Inverse of [`student_cdf`]; −∞ at 0, +∞ at 1, NaN outside [0, 1] or where `df` is not positive.
pub fn student_quantile(p: f64, df: f64) -> f64 {
    if !(0.0..=1.0).contains(&p) || df.is_nan() || df <= 0.0 {
        return f64::NAN;
    }
    if p > 0.5 {
        return -student_quantile(1.0 - p, df);
    }
    if p == 0.0 {
        return f64::NEG_INFINITY;
    }
    let mut far = 1.0;
    while student_tail(far, df) > p && far < f64::MAX / 2.0 {
        far *= 2.0;
    }
    -bisect(0.0, far, |t| student_tail(t, df) > p)
}

/// Regularised incomplete beta function I_x(a, b) of a, b > 0 and x in [0, 1]: the distribution function of
/// Beta(a, b), and P(K ≥ a) of K ~ Binomial(a + b − 1, x).
pub(crate) fn incomplete_beta(a: f64, b: f64, x: f64) -> f64 {
    incomplete_beta_of(a, b, x, 1.0 - x)
}

/// The same with `y` = 1 − x, for x so near to 1 that the difference would lose its digits.
fn incomplete_beta_of(a: f64, b: f64, x: f64, y: f64) -> f64 {
    if x <= 0.0 || y <= 0.0 {
        return if x <= 0.0 { 0.0 } else { 1.0 };
    }
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - incomplete_beta_of(b, a, y, x);
    }
    // DLMF 8.17.22, evaluated from the front by the modified method of Lentz (Thompson and Barnett 1986). It takes
    // about √max(a, b) terms on this side of the mean.
    let front = a * x.ln() + b * y.ln() - (libm::lgamma(a) + libm::lgamma(b) - libm::lgamma(a + b));
    let safe = |v: f64| if v.abs() < 1e-300 { 1e-300 } else { v };
    let (mut value, mut c, mut d) = (1.0, 1.0, 0.0);
    for term in 1..100_000_u32 {
        let m = f64::from(term / 2);
        let numerator = if term % 2 == 0 {
            m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m))
        } else {
            -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0))
        };
        d = 1.0 / safe(1.0 + numerator * d);
        c = safe(1.0 + numerator / c);
        value *= c * d;
        if (c * d - 1.0).abs() < f64::EPSILON {
            break;
        }
    }
    (front.exp() / (a * value)).min(1.0)
}

/// The x with I_x(a, b) = `p`.
pub(crate) fn beta_quantile(p: f64, a: f64, b: f64) -> f64 {
    bisect(0.0, 1.0, |x| incomplete_beta(a, b, x) < p)
}

/// Where `below` turns false between `low` and `high`, to the last digit: it halves until nothing lies between.
fn bisect(mut low: f64, mut high: f64, below: impl Fn(f64) -> bool) -> f64 {
    loop {
        let middle = f64::midpoint(low, high);
        if middle <= low || middle >= high {
            return middle;
        }
        if below(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_match_published_values() {
        // scipy.stats.norm.ppf, SciPy 1.15.
        let cases = [
            (1e-300, -37.047_096_299_361_2),
            (1e-10, -6.361_340_902_404_056),
            (0.001, -3.090_232_306_167_813),
            (0.024_25, -1.972_961_051_311_885),
            (0.25, -0.674_489_750_196_081_7),
            (0.5, 0.0),
            (0.975, 1.959_963_984_540_054),
        ];
        for (p, expected) in cases {
            let z = normal_quantile(p);
            assert!((z - expected).abs() <= 4e-15 * f64::abs(expected).max(1.0), "{p}: {z}");
        }
        assert_eq!(normal_quantile(0.0), f64::NEG_INFINITY);
        assert_eq!(normal_quantile(1.0), f64::INFINITY);
        assert!(normal_quantile(-0.1).is_nan());
    }

    #[test]
    fn quantile_inverts_the_distribution() {
        for i in 1..200 {
            let p = f64::from(i) / 200.0;
            assert!((normal_cdf(normal_quantile(p)) - p).abs() < 4.0 * f64::EPSILON);
        }
    }

    #[test]
    fn student_in_closed_form() {
        // One degree of freedom is Cauchy, two are t/√(2 + t²) (Abramowitz and Stegun 26.7.3 and 26.7.4).
        for i in -60..=60 {
            let t = f64::from(i) / 4.0;
            assert!((student_cdf(t, 1.0) - (0.5 + t.atan() / PI)).abs() < 4e-15, "{t}");
            assert!((student_cdf(t, 2.0) - (0.5 + 0.5 * t / (2.0 + t * t).sqrt())).abs() < 4e-15, "{t}");
            assert!((student_cdf(t, 1e7) - normal_cdf(t)).abs() < 1e-7, "{t}");
        }
        // The tail of Cauchy's distribution is arctan(1/t)/π.
        assert!((student_tail(1e150, 1.0) / (1e-150 / PI) - 1.0).abs() < 1e-12);
        assert_eq!(student_quantile(0.5, 3.0), 0.0);
        assert_eq!(student_quantile(1.0, 3.0), f64::INFINITY);
        assert!(student_quantile(0.2, 0.0).is_nan() && student_quantile(1.2, 3.0).is_nan());
        for df in [0.5, 1.0, 4.0, 33.3] {
            for p in [1e-12, 0.001, 0.025, 0.4, 0.9, 0.975] {
                assert!((student_cdf(student_quantile(p, df), df) / p - 1.0).abs() < 1e-12, "{p} {df}");
            }
        }
    }

    #[test]
    fn binomial_tails_by_the_incomplete_beta_function() {
        // P(K ≥ k) of ten trials with probability 0.3, summed.
        let p = 0.3_f64;
        let choose = [1.0, 10.0, 45.0, 120.0, 210.0, 252.0, 210.0, 120.0, 45.0, 10.0, 1.0];
        for k in 1..=10_i32 {
            let tail: f64 = (k..=10).map(|j| choose[j as usize] * p.powi(j) * (1.0 - p).powi(10 - j)).sum();
            assert!((incomplete_beta(f64::from(k), f64::from(11 - k), p) / tail - 1.0).abs() < 1e-13, "{k}");
        }
        assert!((beta_quantile(0.025, 1.0, 5.0) - (1.0 - 0.975_f64.powf(0.2))).abs() < 1e-15);
    }
}
