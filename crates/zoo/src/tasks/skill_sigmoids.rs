//! Emergence as a sum of sigmoids: how skills of unequal frequency are learned, in closed form.

/// Strength R of a skill at `time` = learning rate · steps, under gradient flow from `start` = R(0) towards `target` = S:
///
/// R/S = 1/(1 + (S/R(0) − 1)·e^(−2·S·share·time)),
///
/// with `share` the part of the examples that ask for the skill (Nam et al. 2024, "An exactly solvable model for emergence and
/// scaling laws in the multitask sparse parity problem", section 3; there share = dₖ/D). R = a·b is the product of two weights
/// that start alike; the loss is ½(S·g − a·b·g)² for a skill function g of values ±1. `start` lies between 0 and `target`, both
/// excluded.
pub fn skill_strength(time: f64, share: f64, target: f64, start: f64) -> f64 {
    target / (1.0 + (target / start - 1.0) * (-2.0 * target * share * time).exp())
}

/// Σₖ shareₖ·½(S − Rₖ)², the mean loss over skills of these shares at `time`, all from the same start: in `time` it falls as
/// its power −α/(α + 1) where shares fall as k^(−(α + 1)) (Nam et al. 2024, section 4).
pub fn skill_loss(time: f64, shares: &[f64], target: f64, start: f64) -> f64 {
    shares.iter().map(|&share| share * 0.5 * (target - skill_strength(time, share, target, start)).powi(2)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shares of `n` skills in proportion to k^(−(α + 1)) of infinitely many, and what all later ones have together.
    ///
    /// By Euler and Maclaurin Σ_{k>n} k^(−s) = m^(1−s)/(s − 1)·(1 − s(s − 1)/(24·m²) + …) with m = n + ½: the first term
    /// is right to 1e-9 for n of 10⁴.
    fn shares(alpha: f64, n: usize) -> (Vec<f64>, f64) {
        let weights: Vec<f64> = (1..=n).map(|k| (k as f64).powf(-(alpha + 1.0))).collect();
        let tail = (n as f64 + 0.5).powf(-alpha) / alpha;
        let total = weights.iter().sum::<f64>() + tail;
        (weights.iter().map(|weight| weight / total).collect(), tail / total)
    }

    /// Slope of ln f in ln x between `x` and 10·`x`.
    fn slope(f: impl Fn(f64) -> f64, x: f64) -> f64 {
        (f(10.0 * x) / f(x)).log10()
    }

    #[test]
    fn a_strength_obeys_its_differential_equation() {
        // dR/dt = 2·share·R·(S − R): both weights of the product move at √R·share·(S − R).
        let (share, target, start) = (0.3, 2.0, 0.01);
        let strength = |time| skill_strength(time, share, target, start);
        assert!((strength(0.0) - start).abs() < 1e-15);
        for time in [0.5, 2.0, 4.0, 6.0] {
            let dt = 1e-4;
            let found = (strength(time + dt) - strength(time - dt)) / (2.0 * dt);
            let expected = 2.0 * share * strength(time) * (target - strength(time));
            // The central difference is short by dt²/6 of the third derivative, of the order of (2·S·share)³·S = 4.
            assert!((found - expected).abs() < 1e-7, "{found} {expected}");
        }
    }

    #[test]
    fn the_exponents_of_the_sum_are_those_of_the_paper() {
        for alpha in [0.4, 0.6, 0.9] {
            let n = 1_000_000;
            let (shares, tail) = shares(alpha, n);
            // Time: every term is shareₖ times a function of shareₖ·time, so that the sum over k, as an integral, is an exact
            // power −α/(α + 1) of time. Left out by the integral: skills of shareₖ·time·2S > 20, learned to e⁻²⁰. The sum is
            // smooth in k beyond the first ones, which are long learned; later skills than n have hardly begun.
            let of_time = |time| skill_loss(time, &shares, 1.0, 1e-2) + tail * 0.5 * (1.0_f64 - 1e-2).powi(2);
            let begun = 2.0 * 1e5 * shares[n - 1];
            assert!(begun < 0.02, "{begun}");
            let found = slope(of_time, 1e4);
            assert!((found + alpha / (alpha + 1.0)).abs() < 2e-3, "time, α = {alpha}: {found}");
            // Data: D examples teach what they hold; a skill is in none of them with probability (1 − share)^D.
            let of_data = |d: f64| {
                let unseen = shares.iter().map(|share| share * (d * (-share).ln_1p()).exp()).sum::<f64>();
                0.5 * (unseen + tail)
            };
            let found = slope(of_data, 1e4);
            assert!((found + alpha / (alpha + 1.0)).abs() < 2e-3, "data, α = {alpha}: {found}");
            // Size: N skills fit in. Σ_{k>N} k^(−(α+1)) ∝ (N + ½)^(−α), whose slope between N and 10·N differs from −α by
            // α·log₁₀((1 + 1/2N)/(1 + 1/20N)) < α/5N.
            let of_size = |size: f64| 0.5 * (shares[size as usize..].iter().sum::<f64>() + tail);
            let found = slope(of_size, 100.0);
            assert!((found + alpha).abs() < alpha / 500.0, "size, α = {alpha}: {found}");
        }
    }
}
