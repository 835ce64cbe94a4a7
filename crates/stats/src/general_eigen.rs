//! Eigenvalues of real matrices without symmetry: Householder reduction to Hessenberg form, then shifted QR steps.

use std::ops::{Add, Mul, Sub};

/// Eigenvalues `[real, imaginary]` of the `n`×`n` matrix (row-major), in no particular order. `None` where an entry is not finite, or
/// where the QR steps do not converge (30 for each eigenvalue, which is not known to happen with finite entries).
///
/// Golub and Van Loan (2013), algorithm 7.4.2 for the Hessenberg form; then single complex shifts of Wilkinson, with Givens rotations
/// (section 7.5). The computed values are those of a matrix within a small multiple of n·ε·‖A‖ of this one: single eigenvalues are
/// exact to that times their condition number, those of Jordan blocks of size k only to its k-th root.
pub fn eigenvalues(matrix: &[f64], n: usize) -> Option<Vec<[f64; 2]>> {
    assert_eq!(matrix.len(), n * n, "the matrix is n × n");
    let largest = matrix.iter().fold(0.0_f64, |a, x| a.max(x.abs()));
    if !largest.is_finite() || matrix.iter().any(|x| x.is_nan()) {
        return None;
    }
    if largest == 0.0 {
        return Some(vec![[0.0; 2]; n]);
    }
    let scaled: Vec<f64> = matrix.iter().map(|x| x / largest).collect();
    let mut h: Vec<Complex> = hessenberg(scaled, n).into_iter().map(|re| Complex { re, im: 0.0 }).collect();
    let mut values = Vec::with_capacity(n);
    let mut end = n;
    let mut n_steps = 0;
    while end > 0 {
        let first = block_start(&mut h, n, end);
        if first + 1 == end {
            let value = h[(end - 1) * (n + 1)];
            values.push([largest * value.re, largest * value.im]);
            end -= 1;
            n_steps = 0;
            continue;
        }
        n_steps += 1;
        if n_steps > 30 {
            return None;
        }
        let shift = if n_steps % 10 == 0 {
            // Breaks the cycles of matrices that a shift maps to themselves, such as permutations.
            let below = h[(end - 1) * n + end - 2].modulus();
            h[(end - 1) * (n + 1)] + Complex { re: 0.75 * below, im: 0.4 * below }
        } else {
            wilkinson_shift(&h, n, end)
        };
        qr_step(&mut h, n, first, end, shift);
    }
    Some(values)
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Complex {
    re: f64,
    im: f64,
}

impl Complex {
    const ZERO: Self = Self { re: 0.0, im: 0.0 };

    fn modulus(self) -> f64 {
        self.re.hypot(self.im)
    }

    fn conjugate(self) -> Self {
        Self { re: self.re, im: -self.im }
    }

    fn scaled(self, factor: f64) -> Self {
        Self { re: factor * self.re, im: factor * self.im }
    }

    /// The root with a real part that is not negative.
    fn sqrt(self) -> Self {
        let modulus = self.modulus();
        let re = (0.5 * (modulus + self.re.abs())).sqrt();
        if re == 0.0 {
            return Self::ZERO;
        }
        let im = 0.5 * self.im.abs() / re;
        let (re, im) = if self.re >= 0.0 { (re, im) } else { (im, re) };
        Self { re, im: im.copysign(self.im) }
    }
}

impl Add for Complex {
    type Output = Self;
    fn add(self, b: Self) -> Self {
        Self { re: self.re + b.re, im: self.im + b.im }
    }
}

impl Sub for Complex {
    type Output = Self;
    fn sub(self, b: Self) -> Self {
        Self { re: self.re - b.re, im: self.im - b.im }
    }
}

impl Mul for Complex {
    type Output = Self;
    fn mul(self, b: Self) -> Self {
        Self { re: self.re * b.re - self.im * b.im, im: self.re * b.im + self.im * b.re }
    }
}

/// An orthogonally similar matrix that is 0 below its first subdiagonal.
fn hessenberg(mut a: Vec<f64>, n: usize) -> Vec<f64> {
    for k in 0..n.saturating_sub(2) {
        let mut v: Vec<f64> = (k + 1..n).map(|i| a[i * n + k]).collect();
        let rest = v[1..].iter().map(|x| x * x).sum::<f64>();
        if rest == 0.0 {
            continue;
        }
        // The reflector 1 − 2vvᵀ/|v|² takes the column to a multiple of its first entry; this sign cancels nothing.
        v[0] += v[0].hypot(rest.sqrt()).copysign(v[0]);
        let factor = 2.0 / (v[0] * v[0] + rest);
        for j in k..n {
            let dot: f64 = v.iter().enumerate().map(|(i, x)| x * a[(k + 1 + i) * n + j]).sum();
            for (i, x) in v.iter().enumerate() {
                a[(k + 1 + i) * n + j] -= factor * dot * x;
            }
        }
        for row in a.chunks_exact_mut(n) {
            let own = &mut row[k + 1..];
            let dot: f64 = v.iter().zip(own.iter()).map(|(x, y)| x * y).sum();
            for (y, x) in own.iter_mut().zip(&v) {
                *y -= factor * dot * x;
            }
        }
        for i in k + 2..n {
            a[i * n + k] = 0.0;
        }
    }
    a
}

/// First row of the last block that ends before `end`; what parts it from the others becomes 0.
fn block_start(h: &mut [Complex], n: usize, end: usize) -> usize {
    for row in (1..end).rev() {
        let beside = h[(row - 1) * (n + 1)].modulus() + h[row * (n + 1)].modulus();
        // Entries are at most 1 or so: where both neighbours vanish, what is below rounding of the whole counts as 0.
        let scale = if beside > 0.0 { beside } else { 1.0 };
        if h[row * n + row - 1].modulus() <= f64::EPSILON * scale {
            h[row * n + row - 1] = Complex::ZERO;
            return row;
        }
    }
    0
}

/// The eigenvalue of the last 2×2 block that is nearer to its last entry.
fn wilkinson_shift(h: &[Complex], n: usize, end: usize) -> Complex {
    let [a, b, c, d] = [(2, 2), (2, 1), (1, 2), (1, 1)].map(|(i, j)| h[(end - i) * n + end - j]);
    let half = (a - d).scaled(0.5);
    let root = (half * half + b * c).sqrt();
    let middle = (a + d).scaled(0.5);
    let (high, low) = (middle + root, middle - root);
    if (high - d).modulus() < (low - d).modulus() { high } else { low }
}

/// H − σ = QR, H ← RQ + σ, of the block `first..end`.
fn qr_step(h: &mut [Complex], n: usize, first: usize, end: usize, shift: Complex) {
    for i in first..end {
        h[i * (n + 1)] = h[i * (n + 1)] - shift;
    }
    let mut rotations = Vec::with_capacity(end - first);
    for k in first..end - 1 {
        let (a, b) = (h[k * (n + 1)], h[(k + 1) * n + k]);
        let length = a.modulus().hypot(b.modulus());
        let (cosine, sine) = if length == 0.0 {
            (1.0, Complex::ZERO)
        } else if a.modulus() == 0.0 {
            (0.0, b.conjugate().scaled(1.0 / b.modulus()))
        } else {
            (a.modulus() / length, (a * b.conjugate()).scaled(1.0 / (a.modulus() * length)))
        };
        for j in k..end {
            let (x, y) = (h[k * n + j], h[(k + 1) * n + j]);
            h[k * n + j] = x.scaled(cosine) + sine * y;
            h[(k + 1) * n + j] = y.scaled(cosine) - sine.conjugate() * x;
        }
        rotations.push((cosine, sine));
    }
    for (k, (cosine, sine)) in (first..).zip(rotations) {
        for i in first..=k + 1 {
            let (x, y) = (h[i * n + k], h[i * n + k + 1]);
            h[i * n + k] = x.scaled(cosine) + sine.conjugate() * y;
            h[i * n + k + 1] = y.scaled(cosine) - sine * x;
        }
    }
    for i in first..end {
        h[i * (n + 1)] = h[i * (n + 1)] + shift;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(matrix: &[f64], n: usize) -> Vec<[f64; 2]> {
        let mut values = eigenvalues(matrix, n).unwrap();
        // Pairs differ in their real parts by rounding alone.
        values.sort_by(|a, b| (a[0] + 1e-7 * a[1]).total_cmp(&(b[0] + 1e-7 * b[1])));
        values
    }

    fn close(found: &[[f64; 2]], expected: &[[f64; 2]], tolerance: f64) {
        assert_eq!(found.len(), expected.len());
        for (f, e) in found.iter().zip(expected) {
            assert!((f[0] - e[0]).hypot(f[1] - e[1]) <= tolerance, "{found:?}, expected {expected:?}");
        }
    }

    #[test]
    fn small_matrices_have_the_eigenvalues_by_hand() {
        close(&sorted(&[], 0), &[], 0.0);
        close(&sorted(&[-3.0], 1), &[[-3.0, 0.0]], 0.0);
        close(&sorted(&[0.0; 9], 3), &[[0.0; 2]; 3], 0.0);
        close(&sorted(&[2.0, 1.0, 1.0, 2.0], 2), &[[1.0, 0.0], [3.0, 0.0]], 1e-14);
        // A turn by 30° that doubles: 2·e^{±iπ/6}.
        let (c, s) = (3.0_f64.sqrt(), 1.0);
        close(&sorted(&[c, -s, s, c], 2), &[[c, -1.0], [c, 1.0]], 1e-14);
        // A cycle of three: the cube roots of 1. Of four: those of 1 again, where shifts alone would turn in a circle.
        let half = 0.5 * 3.0_f64.sqrt();
        let cycle =
            |n: usize| -> Vec<f64> { (0..n * n).map(|at| f64::from(u8::from((at / n + 1) % n == at % n))).collect() };
        close(&sorted(&cycle(3), 3), &[[-0.5, -half], [-0.5, half], [1.0, 0.0]], 1e-14);
        close(&sorted(&cycle(4), 4), &[[-1.0, 0.0], [0.0, -1.0], [0.0, 1.0], [1.0, 0.0]], 1e-14);
        // The companion matrix of (x − 1)(x − 2)(x − 3)(x − 4).
        let companion = [10.0, -35.0, 50.0, -24.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0];
        close(&sorted(&companion, 4), &[1.0, 2.0, 3.0, 4.0].map(|x| [x, 0.0]), 1e-11);
        // A Jordan block of size 2: exact to the root of rounding.
        close(&sorted(&[5.0, 1.0, 0.0, 5.0], 2), &[[5.0, 0.0], [5.0, 0.0]], 1e-7);
        assert_eq!(eigenvalues(&[f64::NAN, 0.0, 0.0, 1.0], 2), None);
        assert_eq!(eigenvalues(&[f64::INFINITY, 0.0, 0.0, 1.0], 2), None);
    }

    /// Traces of powers are sums of powers of the eigenvalues, whatever the matrix.
    #[test]
    fn sums_of_powers_are_the_traces_of_powers() {
        let mut state = 1_u64;
        let mut uniform = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64 / (1_u64 << 53) as f64 - 0.5
        };
        for n in [2, 5, 16, 40, 64] {
            let matrix: Vec<f64> = (0..n * n).map(|_| uniform()).collect();
            let values = eigenvalues(&matrix, n).unwrap();
            let mut power = matrix.clone();
            let mut of_values: Vec<Complex> = values.iter().map(|&[re, im]| Complex { re, im }).collect();
            let norm = matrix.iter().map(|x| x * x).sum::<f64>().sqrt();
            for k in 1..=3 {
                let trace: f64 = (0..n).map(|i| power[i * (n + 1)]).sum();
                let sum = of_values.iter().fold(Complex::ZERO, |a, &b| a + b);
                // Backward error n·ε·‖A‖ of each of n values, amplified by k·‖A‖^(k−1).
                let bound = 16.0 * f64::from(k) * (n * n) as f64 * f64::EPSILON * norm.powi(k);
                assert!((sum.re - trace).abs() <= bound && sum.im.abs() <= bound, "{n}, {k}: {sum:?}, {trace}");
                let next = |at: usize| (0..n).map(|j| power[at / n * n + j] * matrix[j * n + at % n]).sum();
                power = (0..n * n).map(next).collect();
                for (value, &[re, im]) in of_values.iter_mut().zip(&values) {
                    *value = *value * Complex { re, im };
                }
            }
        }
    }

    #[test]
    fn a_matrix_of_low_rank_has_zeros_beside_the_small_product() {
        // u vᵀ of rank 1 has the eigenvalue vᵀu.
        let (u, v) = ([1.0, 2.0, -1.0, 0.5], [0.5, -1.0, 3.0, 2.0]);
        let matrix: Vec<f64> = u.iter().flat_map(|x| v.map(|y| x * y)).collect();
        let expected: f64 = u.iter().zip(v).map(|(x, y)| x * y).sum();
        let mut found = sorted(&matrix, 4);
        let at = found.iter().position(|value| (value[0] - expected).abs() < 1e-13).expect("vᵀu is among them");
        found.remove(at);
        close(&found, &[[0.0; 2]; 3], 1e-7);
    }
}
