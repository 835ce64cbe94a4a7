//! Learning coefficients that are known in closed form: λ with its multiplicity m, for n → ∞.
//!
//! The free energy of a model with coefficient λ and multiplicity m is n·L_n(w*) + λ ln n − (m − 1) ln ln n + O(1)
//! (Watanabe 2009). At a finite temperature nβ·(E\[L\] − L*) is λ − (m − 1)/ln nβ and smaller terms: compare an estimate
//! with these values only where that is small, and with [`crate::known_answers`] elsewhere.

/// A learning coefficient and its multiplicity.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Coefficient {
    /// λ, a real log canonical threshold, above 0.
    pub lambda: f64,
    /// m, the order of the pole at λ, at least 1.
    pub multiplicity: usize,
}

/// A deep linear network at a true parameter (Aoyagi 2024, theorem 1): `sizes` are the widths H₁ (input), …, H_{L+1}
/// (output) of its L layers without biases, `rank` that of the true product. `None` for fewer than two widths, a width
/// of 0, or a rank above the smallest width.
///
/// With M_s = H_s − r there is one set 𝓜 of the ℓ + 1 smallest M_s with max 𝓜 < min(rest), Σ𝓜 ≥ ℓ·max 𝓜 and
/// Σ𝓜 < ℓ·min(rest). With S = Σ𝓜 and a = S − (⌈S/ℓ⌉ − 1)·ℓ,
/// λ = [r(H₁ + H_{L+1}) − r²]/2 + a(ℓ − a)/(4ℓ) − (ℓ − 1)S²/(4ℓ) + ½·Σ_{i<j ∈ 𝓜} M_i M_j and m = a(ℓ − a) + 1.
///
/// At saddles of smaller rank, where training rests on its way, the formula says nothing.
///
/// ```
/// use ontogeny_posterior::closed_forms::deep_linear;
/// let coefficient = deep_linear(&[10, 20, 15, 8, 12], 4);
/// assert_eq!(coefficient.map(|c| (c.lambda, c.multiplicity)), Some((47.5, 1)));
/// ```
pub fn deep_linear(sizes: &[usize], rank: usize) -> Option<Coefficient> {
    let (first, last) = (*sizes.first()?, *sizes.last()?);
    if sizes.len() < 2 || sizes.iter().any(|&width| width == 0 || width < rank) {
        return None;
    }
    let mut excess: Vec<usize> = sizes.iter().map(|width| width - rank).collect();
    excess.sort_unstable();
    let fits = |&l: &usize| {
        let (chosen, rest) = excess.split_at(l + 1);
        let (sum, largest) = (chosen.iter().sum::<usize>(), chosen[l]);
        sum >= l * largest && rest.first().is_none_or(|&least| largest < least && sum < l * least)
    };
    let l = (1..excess.len()).find(fits)?;
    let chosen = &excess[..=l];
    let sum: usize = chosen.iter().sum();
    let a = sum + l - sum.div_ceil(l) * l;
    let squares: usize = chosen.iter().map(|m| m * m).sum();
    // Σ_{i<j} M_i M_j = (S² − ΣM²)/2, and everything over the common denominator 4ℓ, so that nothing is rounded.
    let spread = a * (l - a);
    let [quarter, sum, squares, rank, ends, l] = [spread, sum, squares, rank, first + last, l].map(|x| x as i128);
    let numerator = 2 * l * (rank * ends - rank * rank) + quarter - (l - 1) * sum * sum + l * (sum * sum - squares);
    Some(Coefficient { lambda: numerator as f64 / (4 * l) as f64, multiplicity: spread + 1 })
}

/// Reduced-rank regression (Aoyagi & Watanabe 2005): [`deep_linear`] with two layers, in its own four cases. `inputs` M,
/// `hidden` H, `outputs` N, true rank r; `None` as there.
pub fn reduced_rank_regression(inputs: usize, hidden: usize, outputs: usize, rank: usize) -> Option<Coefficient> {
    let (m, h, n, r) = (inputs, hidden, outputs, rank);
    if m.min(h).min(n) < r.max(1) {
        return None;
    }
    let [fm, fh, fn_, fr] = [m, h, n, r].map(|x| x as f64);
    let once = |lambda: f64| Some(Coefficient { lambda, multiplicity: 1 });
    if m + h < n + r {
        return once(0.5 * (fh * (fm - fr) + fn_ * fr));
    }
    if n + h < m + r {
        return once(0.5 * (fh * (fn_ - fr) + fm * fr));
    }
    if m + n < h + r {
        return once(fm * fn_ / 2.0);
    }
    let q = -(fh + fr).powi(2) - fm * fm - fn_ * fn_ + 2.0 * (fh + fr) * (fm + fn_) + 2.0 * fm * fn_;
    if (m + h + n + r).is_multiple_of(2) {
        once(q / 8.0)
    } else {
        Some(Coefficient { lambda: (q + 1.0) / 8.0, multiplicity: 2 })
    }
}

/// One hidden layer of `hidden` tanh units, one input, one output, no biases, where the truth is 0 (Aoyagi & Watanabe
/// 2005b): λ = (H + i² + i)/(4i + 2) with i = ⌊√H⌋, m = 2 where H is a square. `None` for no units.
pub fn tanh_network(hidden: usize) -> Option<Coefficient> {
    let i = hidden.isqrt();
    let lambda = (hidden + i * i + i) as f64 / (4 * i + 2) as f64;
    (hidden > 0).then_some(Coefficient { lambda, multiplicity: if i * i == hidden { 2 } else { 1 } })
}

/// Normal crossings: K = Π uⱼ^{2kⱼ} under a prior Π |uⱼ|^{hⱼ}, as pairs (kⱼ, hⱼ) (Watanabe 2009): λ is the least
/// (hⱼ + 1)/(2kⱼ) of the coordinates with kⱼ > 0, m how many attain it. `None` if there is no such coordinate.
///
/// A product of N scalars is `[(1, 0); N]`; one ReLU unit a·relu(bx) and the mixture (1 − a)·N(0, 1) + a·N(b, 1) are
/// a²b² to leading order: `[(1, 0); 2]`.
pub fn normal_crossing(powers: &[(usize, usize)]) -> Option<Coefficient> {
    let crossing = || powers.iter().filter(|(k, _)| *k > 0);
    // (h + 1)/(2k) compared as fractions, without rounding.
    let &(k, h) = crossing().min_by(|a, b| ((a.1 + 1) * b.0).cmp(&((b.1 + 1) * a.0)))?;
    let multiplicity = crossing().filter(|other| (other.1 + 1) * k == (h + 1) * other.0).count();
    Some(Coefficient { lambda: (h + 1) as f64 / (2 * k) as f64, multiplicity })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(coefficient: Option<Coefficient>) -> (f64, usize) {
        let Coefficient { lambda, multiplicity } = coefficient.unwrap();
        (lambda, multiplicity)
    }

    #[test]
    fn deep_linear_networks_have_their_published_values() {
        let cases: &[(&[usize], usize, f64, usize)] = &[
            (&[1, 1, 1], 0, 0.5, 2),
            (&[1, 1, 1], 1, 0.5, 1),
            (&[2, 1, 2], 0, 1.0, 2),
            (&[2, 1, 2], 1, 1.5, 1),
            (&[2, 2, 2], 0, 1.5, 1),
            (&[2, 2, 2], 1, 2.0, 2),
            (&[2, 2, 2], 2, 2.0, 1),
            (&[3, 2, 3], 0, 2.5, 1),
            (&[3, 2, 3], 1, 3.5, 2),
            (&[3, 2, 3], 2, 4.0, 1),
            (&[3, 3, 3], 0, 3.5, 2),
            (&[3, 3, 3], 1, 4.0, 1),
            (&[5, 3, 5], 0, 6.5, 2),
            (&[5, 3, 5], 2, 9.5, 2),
            (&[5, 4, 5], 0, 8.0, 1),
            (&[4, 3, 8], 0, 6.0, 1),
            (&[8, 3, 4], 0, 6.0, 1),
            (&[3, 8, 4], 0, 6.0, 1),
            (&[6, 2, 6], 1, 8.0, 2),
            (&[10, 5, 10], 3, 32.0, 1),
            (&[10, 10, 10], 0, 37.5, 1),
            (&[10, 10, 10], 5, 47.0, 2),
            (&[1; 4], 0, 0.5, 3),
            (&[2; 4], 0, 1.5, 3),
            (&[2; 4], 1, 2.0, 3),
            (&[3; 4], 0, 3.0, 1),
            (&[3; 4], 1, 4.0, 3),
            (&[5; 4], 0, 8.5, 3),
            (&[5; 4], 2, 11.0, 1),
            (&[10; 4], 0, 33.5, 3),
            (&[10; 4], 5, 46.0, 3),
            (&[10; 4], 10, 50.0, 1),
            (&[10; 6], 0, 30.0, 1),
            (&[10; 6], 3, 40.5, 7),
            (&[4, 3, 2, 3, 4], 0, 2.5, 1),
            (&[4, 3, 2, 3, 4], 1, 4.5, 2),
            (&[10, 20, 15, 8, 12], 0, 35.5, 1),
            (&[10, 20, 15, 8, 12], 4, 47.5, 1),
            (&[5, 100, 100, 100, 5], 0, 12.5, 1),
            (&[5, 100, 100, 100, 5], 3, 12.5, 1),
            (&[5, 100, 100, 100, 5], 5, 12.5, 1),
        ];
        for &(sizes, rank, lambda, multiplicity) in cases {
            assert_eq!(pair(deep_linear(sizes, rank)), (lambda, multiplicity), "{sizes:?} of rank {rank}");
        }
        let large = [100, 89, 467, 95, 231, 59, 159, 36, 225, 210, 342, 457, 495, 366, 186];
        assert_eq!(deep_linear(&large, 36).unwrap().lambda, 4500.0);
    }

    #[test]
    fn two_layers_are_reduced_rank_regression() {
        let mut n_compared = 0;
        for (m, h, n) in (1..=7).flat_map(|m| (1..=7).flat_map(move |h| (1..=7).map(move |n| (m, h, n)))) {
            for rank in 0..=m.min(h).min(n) {
                let other = reduced_rank_regression(m, h, n, rank);
                assert_eq!(pair(deep_linear(&[m, h, n], rank)), pair(other), "{m}-{h}-{n} of rank {rank}");
                n_compared += 1;
            }
        }
        // Σ over the 343 triples of their minimum and one: Σ min = 7³ + 6³ + … + 1³ = 784.
        assert_eq!(n_compared, 784 + 343);
    }

    #[test]
    fn tanh_networks_and_crossings_have_their_published_values() {
        let lambdas = [0.5, 2.0 / 3.0, 5.0 / 6.0, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 11.0 / 7.0];
        for (hidden, lambda) in (1..).zip(lambdas) {
            let multiplicity = if [1, 4, 9].contains(&hidden) { 2 } else { 1 };
            assert_eq!(pair(tanh_network(hidden)), (lambda, multiplicity), "{hidden} units");
        }
        for (powers, lambda, multiplicity) in [
            (vec![(0, 0), (1, 0)], 0.5, 1),
            (vec![(1, 0), (1, 0)], 0.5, 2),
            (vec![(0, 0), (2, 0)], 0.25, 1),
            (vec![(1, 0), (2, 0)], 0.25, 1),
            (vec![(2, 0), (2, 0)], 0.25, 2),
            (vec![(0, 0), (3, 0)], 1.0 / 6.0, 1),
            (vec![(1, 0); 5], 0.5, 5),
            (vec![(1, 1), (2, 3), (3, 0)], 1.0 / 6.0, 1),
            (vec![(1, 1), (2, 3)], 1.0, 2),
        ] {
            assert_eq!(pair(normal_crossing(&powers)), (lambda, multiplicity), "{powers:?}");
        }
    }

    #[test]
    fn a_rank_one_factorisation_is_half_its_smaller_side() {
        for (n, m) in [(1, 1), (2, 5), (5, 2), (3, 3), (7, 4)] {
            let expected = (n.min(m) as f64 / 2.0, if n == m { 2 } else { 1 });
            assert_eq!(pair(deep_linear(&[m, 1, n], 0)), expected);
        }
    }

    #[test]
    fn what_is_no_network_has_no_coefficient() {
        for (sizes, rank) in [(vec![], 0), (vec![3], 0), (vec![3, 0, 3], 0), (vec![3, 2, 3], 3)] {
            assert_eq!(deep_linear(&sizes, rank), None);
        }
        assert_eq!(reduced_rank_regression(3, 2, 3, 3), None);
        assert_eq!(tanh_network(0), None);
        assert_eq!(normal_crossing(&[(0, 0)]), None);
    }
}
