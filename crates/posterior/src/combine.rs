//! Estimates from the draws of one or several ensembles: differences, WBIC, free energy, and the temperature ladder.

use ontogeny_stats::ChainError;

use crate::estimate::Estimate;
use crate::quantity::Quantity;
use crate::verdict::Verdict;

/// Why estimates cannot be put together.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CombineError {
    /// One of them was refused: what is made of it would be too.
    #[error("estimate {which} was refused as `{verdict}`: {reason}")]
    Refused {
        /// Its place, from 0.
        which: usize,
        /// Its verdict.
        verdict: Verdict,
        /// Its reason.
        reason: String,
    },
    /// Draws that do not pair up.
    #[error("estimate {which} has {found} chains × draws, estimate 0 has {expected}; use the same chains and draws")]
    OtherShape {
        /// Its place, from 0.
        which: usize,
        /// Chains × draws.
        found: String,
        /// Those of the first.
        expected: String,
    },
    /// Other points, or other losses, than a quantity at one point needs.
    #[error("estimate {which} starts at a loss of {found}, estimate 0 at {expected}; a ladder needs one start")]
    OtherStart {
        /// Its place, from 0.
        which: usize,
        /// L_n(w*).
        found: f64,
        /// That of the first.
        expected: f64,
    },
    /// Temperatures that do not tell what is asked.
    #[error("nβ is {}; expected {expected}", list(.found))]
    Temperatures {
        /// nβ of each.
        found: Vec<f64>,
        /// In words.
        expected: String,
    },
    /// Draws that cannot be diagnosed.
    #[error(transparent)]
    Draws(#[from] ChainError),
}

fn list(values: &[f64]) -> String {
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// λ̂ of one estimate minus that of another.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Difference {
    /// λ̂ of the first minus λ̂ of the second.
    pub value: f64,
    /// Its Monte Carlo standard error, from the differences of paired draws.
    pub mcse: f64,
    /// What the error would be if the two shared no noise: the root of the sum of their squared errors.
    pub independent_mcse: f64,
}

/// The difference of two learning coefficients, with the error of the paired draws.
///
/// Chain number c has the same noise and the same batches at every checkpoint and for every restriction (common random
/// numbers), so that chains of like settings wander together and the error of a difference is smaller than the errors of
/// its terms. The error is honest whatever they share: it comes from the series of the differences, draw by draw.
///
/// # Errors
/// A refused estimate, or other numbers of chains or draws.
pub fn difference(first: &Estimate, second: &Estimate) -> Result<Difference, CombineError> {
    let both = [first, second];
    let n_betas = n_betas(&both);
    let Quantity { value, mcse } = combination(&both, &[n_betas[0], -n_betas[1]])?;
    let own = |at: usize| both[at].diagnostics().convergence.map_or(0.0, |c| c.mcse);
    Ok(Difference { value, mcse, independent_mcse: own(0).hypot(own(1)) })
}

impl Estimate {
    /// WBIC, E[n·L_n(w)] at β = 1/ln n (Watanabe 2013): −ln of the marginal likelihood up to O(√ln n), in nats. Here
    /// n·L_n(w*) + (n/nβ)·λ̂, which compares draws with the baseline of their own examples.
    ///
    /// # Errors
    /// A refused estimate, or one at another temperature than nβ = n/ln n.
    pub fn wbic(&self) -> Result<Quantity, CombineError> {
        let lambda = accepted(&[self])?[0];
        let diagnostics = self.diagnostics();
        let n = diagnostics.n as f64;
        let expected = n / n.ln();
        if (diagnostics.n_beta - expected).abs() > 1e-6 * expected {
            return Err(temperatures(&[self], &format!("{expected}, which is n/ln n")));
        }
        let excess = lambda.scaled(n / diagnostics.n_beta);
        Ok(Quantity { value: n * diagnostics.baseline + excess.value, ..excess })
    }

    /// The local free energy n·L_n(w*) + λ̂·ln n in nats: the leading terms of −ln of the marginal likelihood of the
    /// neighbourhood of w* (Watanabe 2009; Lau et al. 2023). Left out are −(m − 1)·ln ln n for a
    /// multiplicity m, and a constant. The error is that of λ̂ alone.
    ///
    /// # Errors
    /// A refused estimate.
    pub fn free_energy(&self) -> Result<Quantity, CombineError> {
        let lambda = accepted(&[self])?[0];
        let n = self.diagnostics().n as f64;
        let complexity = lambda.scaled(n.ln());
        Ok(Quantity { value: n * self.diagnostics().baseline + complexity.value, ..complexity })
    }
}

/// λ from two temperatures (Watanabe 2013): (E_β₁\[nL\] − E_β₂\[nL\])/(1/β₁ − 1/β₂), which needs no L_n(w*).
///
/// It is the slope of E\[L\] in 1/nβ. With a loss that is homogeneous around its minimum and no localisation it has the same
/// expectation as λ̂ at either; where w* is not quite the minimum it is free of the error of the baseline.
///
/// # Errors
/// A refused estimate, two starts, other numbers of chains or draws, or one temperature.
pub fn two_temperatures(first: &Estimate, second: &Estimate) -> Result<Quantity, CombineError> {
    let both = [first, second];
    one_start(&both)?;
    let [a, b] = [0, 1].map(|at| 1.0 / n_betas(&both)[at]);
    if a == b {
        return Err(temperatures(&both, "two different values"));
    }
    combination(&both, &[1.0 / (a - b), -1.0 / (a - b)])
}

/// What a ladder of at least three temperatures says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ladder {
    /// λ: the slope of E\[L\] in 1/nβ, by least squares with the weights (nβ)², which are those of a constant variance of
    /// nβ·L.
    pub lambda: Quantity,
    /// Where this line ends at 1/nβ = 0, minus L_n(w*), in nats: how far the loss of the minimum lies below the start.
    pub lowest_loss: Quantity,
    /// Slope at the hottest temperature minus slope at the coldest, of a parabola in 1/nβ: 0 where λ̂ is one number. More
    /// than a few errors say that it depends on the temperature: localisation, multiplicity, or further directions.
    pub bend: Quantity,
    /// −ln Z(coldest) + ln Z(hottest) with Z(nβ) = ∫exp(−nβ·L)φ(w)dw, in nats, by thermodynamic integration (Gelman &
    /// Meng 1998): ∫E\[L\]d(nβ), trapezoids in ln nβ of nβ·E[L − L_n(w*)].
    pub free_energy: Quantity,
    /// Estimate of the error of the trapezoids, in nats: from every other temperature, over 3 (Richardson). `None` unless
    /// the number of temperatures is odd.
    pub quadrature_error: Option<f64>,
}

impl Ladder {
    /// Puts estimates at three or more temperatures together, in any order. All errors are those of the combined draws,
    /// so noise that the temperatures share is accounted for.
    ///
    /// # Errors
    /// A refused estimate, several starts, other numbers of chains or draws, or fewer than three different temperatures.
    pub fn of(estimates: &[&Estimate]) -> Result<Self, CombineError> {
        let mut estimates = estimates.to_vec();
        estimates.sort_by(|a, b| a.diagnostics().n_beta.total_cmp(&b.diagnostics().n_beta));
        let n_betas = n_betas(&estimates);
        if estimates.len() < 3 || n_betas.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(temperatures(&estimates, "at least three different values"));
        }
        one_start(&estimates)?;
        let x: Vec<f64> = n_betas.iter().map(|n_beta| 1.0 / n_beta).collect();
        // In units of the hottest, which keeps squares of large nβ harmless.
        let weights: Vec<f64> = n_betas.iter().map(|n_beta| (n_beta / n_betas[0]).powi(2)).collect();
        let inner = |a: &[f64], b: &[f64]| -> f64 { weights.iter().zip(a).zip(b).map(|((w, a), b)| w * a * b).sum() };
        let one = vec![1.0; x.len()];
        let minus =
            |a: &[f64], factor: f64, b: &[f64]| -> Vec<f64> { a.iter().zip(b).map(|(a, b)| a - factor * b).collect() };
        // Orthogonal polynomials under the weights: 1, x − x̄ and x² without its part along both.
        let centre = inner(&x, &one) / inner(&one, &one);
        let line = minus(&x, centre, &one);
        let square: Vec<f64> = x.iter().map(|x| x * x).collect();
        let square = minus(&square, inner(&square, &one) / inner(&one, &one), &one);
        let parabola = minus(&square, inner(&square, &line) / inner(&line, &line), &line);
        let along = |polynomial: &[f64]| -> Vec<f64> {
            let norm = inner(polynomial, polynomial);
            weights.iter().zip(polynomial).map(|(w, p)| w * p / norm).collect()
        };
        let slope = along(&line);
        let level = along(&one);
        let intercept = minus(&level, centre, &slope);
        let span = 2.0 * (x[0] - x[x.len() - 1]);
        let bend: Vec<f64> = along(&parabola).into_iter().map(|c| span * c).collect();

        let trapezoid = trapezoids(&n_betas, 1);
        let baseline = estimates[0].diagnostics().baseline * (n_betas[n_betas.len() - 1] - n_betas[0]);
        let integral = combination(&estimates, &trapezoid)?;
        let quadrature_error = if estimates.len() % 2 == 1 {
            Some((integral.value - combination(&estimates, &trapezoids(&n_betas, 2))?.value).abs() / 3.0)
        } else {
            None
        };
        Ok(Self {
            lambda: combination(&estimates, &slope)?,
            lowest_loss: combination(&estimates, &intercept)?,
            bend: combination(&estimates, &bend)?,
            free_energy: Quantity { value: integral.value + baseline, ..integral },
            quadrature_error,
        })
    }
}

/// The weights of the mean excesses in ∫(nβ·excess)d(ln nβ) by trapezoids over every `stride`-th temperature.
fn trapezoids(n_betas: &[f64], stride: usize) -> Vec<f64> {
    let mut weights = vec![0.0; n_betas.len()];
    let nodes: Vec<usize> = (0..n_betas.len()).step_by(stride).collect();
    for pair in nodes.windows(2) {
        let half = 0.5 * (n_betas[pair[1]] / n_betas[pair[0]]).ln();
        for &at in pair {
            weights[at] += half * n_betas[at];
        }
    }
    weights
}

/// Σ weight·(mean excess), with the error of the series of the weighted sums, draw by draw.
pub(crate) fn combination(estimates: &[&Estimate], weights: &[f64]) -> Result<Quantity, CombineError> {
    accepted(estimates)?;
    let traces: Vec<&[Vec<f64>]> = estimates.iter().map(|e| e.diagnostics().trace.excess.as_slice()).collect();
    let shape = |trace: &[Vec<f64>]| format!("{} × {}", trace.len(), trace.first().map_or(0, Vec::len));
    let expected = shape(traces[0]);
    for (which, trace) in traces.iter().enumerate() {
        let found = shape(trace);
        if found != expected {
            return Err(CombineError::OtherShape { which, found, expected });
        }
    }
    let sums: Vec<Vec<f64>> = (0..traces[0].len())
        .map(|chain| {
            let sum = |draw: usize| traces.iter().zip(weights).map(|(trace, weight)| weight * trace[chain][draw]).sum();
            (0..traces[0][chain].len()).map(sum).collect()
        })
        .collect();
    Ok(Quantity::of_segments(&sums)?)
}

/// λ̂ of each, if none was refused.
fn accepted(estimates: &[&Estimate]) -> Result<Vec<Quantity>, CombineError> {
    let own = |(which, estimate): (usize, &&Estimate)| match estimate {
        Estimate::Ok { value, mcse, .. } => Ok(Quantity { value: *value, mcse: *mcse }),
        Estimate::Refused { verdict, reason, .. } => {
            Err(CombineError::Refused { which, verdict: *verdict, reason: reason.clone() })
        }
    };
    estimates.iter().enumerate().map(own).collect()
}

fn one_start(estimates: &[&Estimate]) -> Result<(), CombineError> {
    let expected = estimates[0].diagnostics().baseline;
    for (which, estimate) in estimates.iter().enumerate() {
        let found = estimate.diagnostics().baseline;
        if found != expected {
            return Err(CombineError::OtherStart { which, found, expected });
        }
    }
    Ok(())
}

fn n_betas(estimates: &[&Estimate]) -> Vec<f64> {
    estimates.iter().map(|estimate| estimate.diagnostics().n_beta).collect()
}

fn temperatures(estimates: &[&Estimate], expected: &str) -> CombineError {
    CombineError::Temperatures { found: n_betas(estimates), expected: expected.to_owned() }
}
