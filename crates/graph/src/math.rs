//! Elementary functions on f32 that vectorise in any loop and give the same bits on every instruction set.
//!
//! Polynomials are minimax fits (Remez) computed for this crate; each function states its error, in units in the
//! last place or of the smallest subnormal, and the tests sweep it over all floats against double precision.

#![expect(clippy::excessive_precision, reason = "coefficients are printed with the digits that tell f32 values apart")]

// ln 2 in two parts, the first exact in 12 bits, so that x − n·ln 2 keeps its digits.
const LN2_HIGH: f32 = 0.693_359_4;
const LN2_LOW: f32 = -2.121_944_4e-4;

/// (e^r − 1 − r)/r² for |r| ≤ ½ ln 2.
const EXP: [f32; 5] = [0.5, 0.166_665_2, 0.041_666_206, 0.008_368_876, 0.001_395_046_4];

/// e^x, within 2 ulp; 0 below −104, ∞ above 88.8.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    let clamped = x.clamp(-104.0, 89.0);
    let n = round(clamped * std::f32::consts::LOG2_E);
    let r = (clamped - n * LN2_HIGH) - n * LN2_LOW;
    let mantissa = 1.0 + (r + r * r * polynomial(r, EXP));
    // 2^n in two factors reaches subnormal results and infinity without special cases.
    let half = round(n * 0.5);
    let value = mantissa * power_of_two(half) * power_of_two(n - half);
    if x.is_nan() { x } else { value }
}

/// ln x, within 2 ulp; −∞ at 0, NaN below.
#[inline(always)]
pub(crate) fn ln(x: f32) -> f32 {
    // x = 2^e · m with m in [√½, √2).
    let tiny = x < f32::MIN_POSITIVE;
    let scaled = if tiny { x * 8_388_608.0 } else { x };
    let bits = scaled.to_bits() as i32;
    let e = (bits - 0x3F35_04F3) >> 23;
    let m = f32::from_bits((bits - (e << 23)) as u32);
    let exponent = e as f32 - if tiny { 23.0 } else { 0.0 };
    let f = m - 1.0;
    let p = polynomial(
        f,
        [
            0.333_333_13,
            -0.250_000_1,
            0.200_021_2,
            -0.166_679_95,
            0.142_195_54,
            -0.124_055_95,
            0.118_881_606,
            -0.116_756_14,
            0.067_465_98,
        ],
    );
    let square = f * f;
    // ln 2 in two parts as in `exp`; the small terms first.
    let low = f * square * p + exponent * LN2_LOW;
    let value = (low - 0.5 * square) + f + exponent * LN2_HIGH;
    let finite = if x == 0.0 { f32::NEG_INFINITY } else { value };
    let positive = if x < 0.0 || x.is_nan() { f32::NAN } else { finite };
    if x == f32::INFINITY { x } else { positive }
}

/// ln(1 + x), within 2 ulp; −∞ at −1, NaN below.
#[inline(always)]
pub(crate) fn ln_1p(x: f32) -> f32 {
    // The rounding error of 1 + x is known exactly; it moves the logarithm by error/(1 + x).
    let sum = 1.0 + x;
    let error = x - (sum - 1.0);
    let value = ln(sum) + if sum.is_finite() { error / sum } else { 0.0 };
    if x.abs() < 1e-4 { x - 0.5 * x * x } else { value }
}

/// tanh x, within 3 ulp.
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    let magnitude = x.abs();
    let square = x * x;
    let p =
        polynomial(square, [-0.333_333_31, 0.133_332_1, -0.053_947_23, 0.021_703_089, -0.008_182_936, 0.002_147_753_3]);
    let small = x + x * square * p;
    let large = 1.0 - 2.0 / (exp(2.0 * magnitude.min(20.0)) + 1.0);
    if magnitude < 0.625 || x.is_nan() { small } else { large.copysign(x) }
}

/// 1/(1 + e^−x), within 4 ulp; 0 below −104.
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    // The smaller of the two tails is e/(1 + e): nothing cancels, and e never overflows.
    let e = exp(-x.abs());
    let top = if x < 0.0 { e } else { 1.0 };
    top / (1.0 + e)
}

/// erf x, within 4 ulp.
#[inline(always)]
#[expect(clippy::approx_constant, reason = "the fit's first coefficient, which need not be 2/√π")]
pub(crate) fn erf(x: f32) -> f32 {
    let magnitude = x.abs().min(4.0);
    let square = magnitude * magnitude;
    let small = x * polynomial(
        square,
        [
            1.128_379_2,
            -0.376_126_38,
            0.112_837_83,
            -0.026_865_445,
            0.005_221_075,
            -0.000_848_471_15,
            0.000_112_705_45,
            -9.680_137e-6,
        ],
    );
    // erfc(x) = exp(−R(x)).
    let r = polynomial(
        magnitude,
        [
            -0.000_204_370_46,
            1.129_661_2,
            0.633_039_47,
            0.108_639_17,
            -0.025_373_694,
            0.004_282_452,
            -0.000_463_809_53,
            2.531_855e-5,
            -2.516_060_2e-7,
        ],
    );
    let large = 1.0 - exp(-r);
    if magnitude <= 1.0 || x.is_nan() { small } else { large.copysign(x) }
}

/// Φ(x), the share of standard normal numbers below x, within 4 ulp; 0 below −14.5. It keeps its digits
/// in the left tail, where 1 + erf cancels.
#[inline(always)]
pub(crate) fn normal_cdf(x: f32) -> f32 {
    let square = x * x;
    let near =
        0.5 + x * polynomial(square, [0.398_942_3, -0.066_490_34, 0.009_972_83, -0.001_183_007_6, 0.000_104_834_08]);
    // The tail is e^(−a²/2) · t · P(t) with t = 1/(a + 1.75). The rounding of a², which the exponential would amplify,
    // and that of a + 1.75 are carried along as small corrections.
    let a = x.abs().min(15.0);
    let sum = a + 1.75;
    let lost = a - (sum - 1.75);
    let t = 1.0 / sum;
    let p = polynomial(
        t - 0.171_875,
        [
            0.540_971_64,
            0.926_449_1,
            0.342_463_4,
            -1.715_866_7,
            -0.872_118_4,
            6.372_303_5,
            -1.990_927_1,
            -25.105_448,
            51.868_89,
            -33.461_998,
        ],
    );
    let factor = t * p;
    // The square of the upper half of a's digits is exact.
    let high = f32::from_bits(a.to_bits() & 0xFFFF_F000);
    let exponent = -0.5 * (high * high);
    let n = round(exponent * std::f32::consts::LOG2_E);
    let exact = exponent - n * LN2_HIGH;
    let low = -0.5 * ((a - high) * (a + high)) - n * LN2_LOW;
    let r = exact + low;
    let growth = exact + ((low - lost * t) + r * r * polynomial(r, EXP));
    let half = round(n * 0.5);
    let tail = (factor + factor * growth) * power_of_two(half) * power_of_two(n - half);
    let far = if x < 0.0 { tail } else { 1.0 - tail };
    if a < 0.6875 || x.is_nan() { near } else { far }
}

/// u = c₀x + c₁x³ with ½(1 + tanh(u/2)) = σ(u) as the tanh approximation of Φ: 2√(2/π)·(1, 0.044715).
pub(crate) const NORMAL_CDF_TANH: [f64; 2] = [1.595_769_121_605_730_8, 0.071_354_816_272_600_25];

/// σ(c₀x + c₁x³), within 4 ulp; 0 below −10.4.
#[inline(always)]
pub(crate) fn normal_cdf_tanh(x: f32) -> f32 {
    // The exponential amplifies errors of its argument, which is therefore made in f64 and used in two parts.
    let a = f64::from(x.abs().min(11.0));
    let u = -a * (NORMAL_CDF_TANH[0] + NORMAL_CDF_TANH[1] * a * a);
    let exponent = u as f32;
    let n = round(exponent * std::f32::consts::LOG2_E);
    let exact = exponent - n * LN2_HIGH;
    let low = (u - f64::from(exponent)) as f32 - n * LN2_LOW;
    let r = exact + low;
    let growth = exact + (low + r * r * polynomial(r, EXP));
    let half = round(n * 0.5);
    let e = (1.0 + growth) * power_of_two(half) * power_of_two(n - half);
    let top = if x < 0.0 { e } else { 1.0 };
    let value = top / (1.0 + e);
    if x.is_nan() { x } else { value }
}

/// (sin 2πt, cos 2πt) for |t| ≤ ½, within 1.2e-7 absolute.
#[inline(always)]
pub(crate) fn sin_cos_turns(t: f32) -> (f32, f32) {
    let quarter = round(4.0 * t);
    let r = t - 0.25 * quarter;
    let z = r * r;
    let s = r * polynomial(z, [6.283_185_5, -41.341_7, 81.605_2, -76.697_87, 41.472_95]);
    let c = polynomial(z, [1.0, -19.739_208, 64.939_316, -85.442_856, 59.220_41]);
    let q = low_bits(quarter) & 3;
    let swapped = q & 1 == 1;
    let sine = if swapped { c } else { s };
    let cosine = if swapped { s } else { c };
    (if q & 2 == 2 { -sine } else { sine }, if q == 1 || q == 2 { -cosine } else { cosine })
}

/// 1.5 · 2²³: adding it leaves the nearest integer in the low bits of the mantissa.
const SHIFT: f32 = 12_582_912.0;

/// Nearest integer for |x| < 2²², ties to even, by the rounding of an addition: vectorises without SSE4.1.
#[inline(always)]
fn round(x: f32) -> f32 {
    (x + SHIFT) - SHIFT
}

/// A whole number |n| < 2²² as an integer, right in its low 22 bits (two's complement). Rust's own cast saturates,
/// which costs several instructions for each lane.
#[inline(always)]
fn low_bits(n: f32) -> u32 {
    (n + SHIFT).to_bits()
}

#[inline(always)]
fn power_of_two(n: f32) -> f32 {
    f32::from_bits((low_bits(n) << 23).wrapping_add(127 << 23))
}

/// Σ c_i x^i by Horner's rule, without contraction.
#[inline(always)]
fn polynomial<const N: usize>(x: f32, coefficients: [f32; N]) -> f32 {
    let mut value = coefficients[N - 1];
    for i in (0..N - 1).rev() {
        value = value * x + coefficients[i];
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Unary;
    use crate::interpret;

    /// Largest error over every 997th float there is, in units in the last place of the true value (the smallest
    /// subnormal where that is subnormal), and where. Infinite and undefined results must be just that.
    fn worst_ulp(name: &str, f: fn(f32) -> f32, truth: fn(f64) -> f64) -> (f64, f32) {
        let mut worst = (0.0, 0.0);
        for bits in (0..=u32::MAX).step_by(997) {
            let x = f32::from_bits(bits);
            let (got, want) = (f(x), truth(f64::from(x)));
            let nearest = want as f32;
            if nearest.is_finite() && got.is_finite() {
                let size = nearest.abs().min(f32::MAX.next_down());
                let error = (f64::from(got) - want).abs() / f64::from(size.next_up() - size);
                if error > worst.0 {
                    worst = (error, x);
                }
            } else {
                assert!(got == nearest || got.is_nan() && nearest.is_nan(), "{name}({x}) = {got}, expected {nearest}");
            }
        }
        worst
    }

    #[test]
    fn errors_are_as_documented_over_all_floats() {
        for (name, f, truth, allowed) in [
            ("exp", exp as fn(f32) -> f32, f64::exp as fn(f64) -> f64, 2.0),
            ("ln", ln, f64::ln, 2.0),
            ("ln_1p", ln_1p, f64::ln_1p, 2.0),
            ("tanh", tanh, f64::tanh, 3.0),
            ("erf", erf, libm::erf, 4.0),
            ("sigmoid", sigmoid, |x| interpret::unary(Unary::Sigmoid, x), 4.0),
            ("normal_cdf", normal_cdf, |x| interpret::unary(Unary::NormalCdf, x), 4.0),
            ("normal_cdf_tanh", normal_cdf_tanh, |x| interpret::unary(Unary::NormalCdfTanh, x), 4.0),
        ] {
            let (error, at) = worst_ulp(name, f, truth);
            assert!(error <= allowed, "{name}: {error} ulp at {at}");
        }
    }

    /// As the graph composes them: a product, whose factor may be subnormal where the result is not.
    #[test]
    fn gelu_keeps_its_digits_in_the_left_tail() {
        let gates =
            [(normal_cdf as fn(f32) -> f32, Unary::NormalCdf, -12.9), (normal_cdf_tanh, Unary::NormalCdfTanh, -9.9)];
        for (gate, op, low) in gates {
            for i in 0..=1_000_000 {
                let x = low + (3.0 - low) * (i as f32 / 1e6);
                let want = f64::from(x) * interpret::unary(op, f64::from(x));
                let size = (want as f32).abs();
                let error = (f64::from(x * gate(x)) - want).abs() / f64::from(size.next_up() - size);
                assert!(error <= 4.0, "{op:?} at {x}: {error} ulp");
            }
        }
    }

    #[test]
    fn special_values() {
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(f32::INFINITY), f32::INFINITY);
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(ln(0.0), f32::NEG_INFINITY);
        assert_eq!(ln(1.0), 0.0);
        assert!(ln(-1.0).is_nan() && ln(f32::NAN).is_nan() && exp(f32::NAN).is_nan() && tanh(f32::NAN).is_nan());
        assert_eq!(ln(f32::INFINITY), f32::INFINITY);
        assert_eq!(tanh(1e9), 1.0);
        assert_eq!(tanh(-1e9), -1.0);
        assert_eq!(erf(-1e9), -1.0);
        assert_eq!([sigmoid(0.0), sigmoid(200.0), sigmoid(f32::INFINITY)], [0.5, 1.0, 1.0]);
        assert_eq!([normal_cdf(f32::NEG_INFINITY), normal_cdf(-0.0), normal_cdf(f32::INFINITY)], [0.0, 0.5, 1.0]);
        assert!(normal_cdf(f32::NAN).is_nan() && normal_cdf_tanh(f32::NAN).is_nan());
        assert_eq!([sigmoid(-200.0), sigmoid(f32::NEG_INFINITY)], [0.0, 0.0]);
        assert!(sigmoid(f32::NAN).is_nan());
        // The last results above zero are subnormal.
        assert!(sigmoid(-100.0) > 0.0 && sigmoid(-100.0) < 1e-43);
        assert_eq!(ln_1p(0.0), 0.0);
        assert_eq!(ln_1p(1e-9), 1e-9);
    }
}
