//! Control variates from what a chain computes anyway: combinations of known mean 0 that follow the loss.

use ontogeny_graph::StepNorms;
use ontogeny_stats::{ChainError, Chains};

use crate::chain::ChainRecord;
use crate::llc::Llc;
use crate::quantity::Quantity;
use crate::target::Target;

/// λ̂ with control variates: the mean over draws of nβ·(loss − baseline) − b₁c₁ − b₂c₂.
///
/// Both c are sums over the steps since the draw before, of mean 0 at any step size and with any minibatches:
///
/// - g·ξ, the loss's part of a step times its noise. The noise is drawn after the gradient and independent of it and of
///   the preconditioner, so the mean is 0 at every step, burn-in and box or not: a martingale (Henderson & Glynn 2002). It
///   is what the noise adds to the loss, to first order, and stays there for as long as the chain remembers.
/// - For SGLD without a box (w − c)·ĝ − (ε/4)‖ĝ‖² − d with ĝ = nβg + γ(w − c) and d free parameters, c the centre of all
///   priors: from w' = w − (ε/2)ĝ + √ε·ξ the mean of ‖w' − c‖² − ‖w − c‖² is −ε times it, and vanishes in the stationary
///   law, so burn-in must be over. Where the loss is steeper than the localisation half of it is what λ̂ averages. With a
///   preconditioner P the identity has w − c weighted by P and tr P in place of d, and fails if P adapts; there, and with
///   a box, (w − c)·ξ takes its place, which is the martingale in it.
///
/// The coefficients are those of least squares on the means of batches of draws, max(√draws, twice the autocorrelation
/// time) long, since what the noise does to the loss comes later. Those for a chain come from the other chains, which are
/// independent of it: E[b·c̄] = E\[b\]·E[c̄] = 0, so the mean of λ̂ stays exactly what it is without them. The error is that of
/// the corrected draws.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Controlled {
    /// The corrected λ̂ and its error.
    pub lambda: Quantity,
    /// Mean over chains of the coefficients of the identity (or its martingale) and of g·ξ, in the units of a mean over
    /// steps of the identity, and of 2/ε times the products.
    pub coefficients: [f64; 2],
    /// Mean of the identity over d, where it holds: 0 in the stationary law, −1 for chains that have not felt the loss or
    /// the localisation yet. Far from 0 it says that some directions still widen; whether λ̂ needs them is another matter.
    pub identity: Option<Quantity>,
}

/// Two control variates at one draw.
pub(crate) type Controls = [f64; 2];

/// The means of the control variates over the steps from one draw to the next.
#[derive(Debug)]
pub(crate) struct ControlSums {
    /// Whether the identity of SGLD holds.
    has_identity: bool,
    sums: Controls,
    n: usize,
}

impl ControlSums {
    /// Whether the identity holds: for SGLD without a box.
    pub(crate) fn has_identity(settings: &Llc) -> bool {
        settings.sampler.is_memoryless() && settings.bounding_box.is_none()
    }

    pub(crate) fn new(has_identity: bool) -> Self {
        Self { has_identity, sums: [0.0; 2], n: 0 }
    }

    /// Adds a step, from its parts −(ε/2)P·nβg, −(ε/2)P·γ(w − c) and √(εP)·ξ.
    pub(crate) fn add(&mut self, norms: &StepNorms, target: &Target<'_>) {
        let epsilon = f64::from(target.langevin.step_size);
        let first = if self.has_identity {
            let localization = f64::from(target.langevin.localization);
            let inner = -2.0 / epsilon * norms.gradient_distance + localization * norms.distance.powi(2);
            let square = norms.gradient.powi(2) + norms.localization.powi(2) + 2.0 * norms.gradient_localization;
            inner - square / epsilon - target.n_free() as f64
        } else {
            2.0 / epsilon * norms.localization_noise
        };
        self.sums[0] += first;
        self.sums[1] += 2.0 / epsilon * norms.gradient_noise;
        self.n += 1;
    }

    /// Zeros, which have the right mean, before the first step.
    pub(crate) fn take(&mut self) -> Controls {
        let n = self.n.max(1) as f64;
        let means = self.sums.map(|sum| sum / n);
        *self = Self::new(self.has_identity);
        means
    }
}

/// The corrected estimate from complete chains; `None` for one chain, for samplers without control variates, and for
/// chains so far out that the sums of their steps overflow. The first control is the identity of so many free parameters, if given.
pub(crate) fn controlled(
    records: &[ChainRecord],
    n_beta: f64,
    n_identity: Option<usize>,
) -> Result<Option<Controlled>, ChainError> {
    let has_controls = |record: &ChainRecord| {
        record.controls.len() == record.excess.len() && record.controls.iter().flatten().all(|c| c.is_finite())
    };
    if records.len() < 2 || !records.iter().all(has_controls) {
        return Ok(None);
    }
    let scaled = |record: &ChainRecord| record.excess.iter().map(|excess| n_beta * excess).collect();
    let draws: Vec<Vec<f64>> = records.iter().map(scaled).collect();
    let n_draws = draws[0].len();
    let time = Chains::new(&draws)?.autocorrelation_time();
    let length = (n_draws as f64).sqrt().max(2.0 * time).min(n_draws as f64 / 4.0) as usize;
    let moments: Vec<Moments> =
        draws.iter().zip(records).map(|(draws, record)| Moments::of(draws, &record.controls, length.max(1))).collect();
    let mut coefficients = [0.0; 2];
    let mut corrected = Vec::with_capacity(draws.len());
    for (chain, (draws, record)) in draws.iter().zip(records).enumerate() {
        let others = moments.iter().enumerate().filter(|&(other, _)| other != chain);
        let own = others.fold(Moments::default(), |sum, (_, other)| sum.plus(other)).coefficients();
        for (sum, own) in coefficients.iter_mut().zip(own) {
            *sum += own / records.len() as f64;
        }
        let correct = |(x, c): (&f64, &Controls)| x - own[0] * c[0] - own[1] * c[1];
        corrected.push(draws.iter().zip(&record.controls).map(correct).collect::<Vec<f64>>());
    }
    let identity = match n_identity {
        Some(d) => {
            // No step leads to the first draw.
            let own = |record: &ChainRecord| record.controls[1..].iter().map(|c| c[0] / d as f64).collect();
            let shares: Vec<Vec<f64>> = records.iter().map(own).collect();
            // Of four draws three steps are left, too few to judge.
            Quantity::of_segments(&shares).ok()
        }
        None => None,
    };
    Ok(Some(Controlled { lambda: Quantity::of_segments(&corrected)?, coefficients, identity }))
}

/// Sums over batches of means x̄ of draws and c̄ of control variates.
#[derive(Debug, Clone, Copy, Default)]
struct Moments {
    n: f64,
    x: f64,
    c: Controls,
    cx: Controls,
    /// c₁², c₂², c₁c₂.
    cc: [f64; 3],
}

impl Moments {
    fn of(draws: &[f64], controls: &[Controls], length: usize) -> Self {
        let mut sum = Self::default();
        for (draws, controls) in draws.chunks_exact(length).zip(controls.chunks_exact(length)) {
            let x = draws.iter().sum::<f64>() / length as f64;
            let [a, b] = [0, 1].map(|k| controls.iter().map(|c| c[k]).sum::<f64>() / length as f64);
            sum = sum.plus(&Self { n: 1.0, x, c: [a, b], cx: [a * x, b * x], cc: [a * a, b * b, a * b] });
        }
        sum
    }

    fn plus(mut self, other: &Self) -> Self {
        self.n += other.n;
        self.x += other.x;
        for k in 0..2 {
            self.c[k] += other.c[k];
            self.cx[k] += other.cx[k];
        }
        for k in 0..3 {
            self.cc[k] += other.cc[k];
        }
        self
    }

    /// Least squares of x̄ on 1 and c̄. A control that never differs from 0, or from a multiple of the other, gets the
    /// coefficient 0.
    fn coefficients(&self) -> Controls {
        let [a, b] = self.c;
        let right = [0, 1].map(|k| self.cx[k] - self.x * self.c[k] / self.n);
        let [aa, bb, ab] = [a * a, b * b, a * b].map(|product| product / self.n);
        let [aa, bb, ab] = [self.cc[0] - aa, self.cc[1] - bb, self.cc[2] - ab];
        let determinant = aa * bb - ab * ab;
        // Of correlated sums some digits remain; a correlation of 1 to rounding leaves none.
        if determinant > 1e-9 * aa * bb {
            [(bb * right[0] - ab * right[1]) / determinant, (aa * right[1] - ab * right[0]) / determinant]
        } else if bb > 0.0 {
            [0.0, right[1] / bb]
        } else if aa > 0.0 {
            [right[0] / aa, 0.0]
        } else {
            [0.0; 2]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ontogeny_graph::{Purpose, Stream};

    /// Four chains of 200 draws x = 5 + 2a − 3b + noise/10 with controls a, b.
    fn records(has_second: bool) -> Vec<ChainRecord> {
        (0..4)
            .map(|chain| {
                let mut z = vec![0.0_f32; 600];
                Stream::new(3, Purpose::Probe, chain).normals(0, 0, &mut z);
                let z: Vec<f64> = z.into_iter().map(f64::from).collect();
                let controls: Vec<Controls> =
                    (0..200).map(|i| [z[i], if has_second { z[200 + i] } else { 0.0 }]).collect();
                let excess = controls.iter().zip(&z[400..]).map(|(c, z)| 5.0 + 2.0 * c[0] - 3.0 * c[1] + 0.1 * z);
                ChainRecord { excess: excess.map(|x| x / 2.0).collect(), controls, ..ChainRecord::default() }
            })
            .collect()
    }

    #[test]
    fn what_the_controls_explain_is_gone() {
        for has_second in [true, false] {
            let found = controlled(&records(has_second), 2.0, None).unwrap().unwrap();
            let [a, b] = found.coefficients;
            // Regressed on the means of 42 batches from three chains, whose noise is 0.1 of the controls' scatter: a
            // coefficient has the error 0.1/√42, the mean of four that share most of their batches that of 56.
            let error = 4.5 * 0.1 / 56_f64.sqrt();
            assert!((a - 2.0).abs() < error, "{found:?}");
            assert!(if has_second { (b + 3.0).abs() < error } else { b == 0.0 }, "{found:?}");
            // Noise of 0.1 over 800 independent draws; an error from 20 segments is good to 1/√38.
            let expected = 0.1 / 800_f64.sqrt();
            assert!((found.lambda.mcse / expected - 1.0).abs() < 4.0 / 38_f64.sqrt(), "{found:?}");
            assert!((found.lambda.value - 5.0).abs() < 4.5 * found.lambda.mcse, "{found:?}");
        }
    }

    #[test]
    fn one_chain_has_no_other_to_learn_from() {
        assert_eq!(controlled(&records(true)[..1], 2.0, None).unwrap(), None);
        let mut without = records(true);
        without[2].controls.clear();
        let mut overflown = records(true);
        overflown[1].controls[7] = [f64::INFINITY, f64::NAN];
        assert_eq!(controlled(&overflown, 2.0, None).unwrap(), None);
        assert_eq!(controlled(&without, 2.0, None).unwrap(), None);
    }
}
