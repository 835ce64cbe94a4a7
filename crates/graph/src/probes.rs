//! What random probes say about a symmetric operator: its trace, and the density of its eigenvalues.

use std::error::Error;

use crate::lanczos::{Lanczos, SpectrumError, dot};
use crate::random::Stream;

/// A mean over independent probes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ProbeMean {
    /// The mean.
    pub mean: f64,
    /// Its standard error; infinite for a single probe.
    pub standard_error: f64,
}

impl ProbeMean {
    fn of(values: &[f64]) -> Self {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let variance = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0);
        let standard_error = if values.len() > 1 { (variance / n).sqrt() } else { f64::INFINITY };
        Self { mean, standard_error }
    }
}

/// Trace of a symmetric operator on vectors of length `n`: the mean of vᵀAv over probes of random signs (Hutchinson 1990),
/// of variance 2(‖A‖² − Σ aᵢᵢ²) each. Probe i is step i of `stream`; `apply(v, w)` writes A·v to w.
///
/// # Errors
/// A product that fails or is not finite; no entries or no probes.
pub fn hutchinson_trace<E: Error + 'static>(
    n: usize,
    n_probes: u32,
    stream: &Stream,
    mut apply: impl FnMut(&[f32], &mut [f32]) -> Result<(), E>,
) -> Result<ProbeMean, SpectrumError<E>> {
    check(n, n_probes)?;
    let (mut probe, mut product) = (vec![0.0; n], vec![0.0; n]);
    let mut values = Vec::new();
    for i in 0..n_probes {
        stream.signs(i, &mut probe);
        apply(&probe, &mut product).map_err(SpectrumError::Product)?;
        let value = dot(&probe, &product);
        if !value.is_finite() {
            return Err(SpectrumError::NotFinite { index: i as usize });
        }
        values.push(value);
    }
    Ok(ProbeMean::of(&values))
}

/// How the eigenvalues of a symmetric operator are spread, by stochastic Lanczos quadrature (Ubaru, Chen & Saad 2017;
/// Ghorbani, Krishnan & Xiao 2019).
#[derive(Debug, Clone, PartialEq)]
pub struct SpectralDensity {
    /// (node, weight) of each probe; weights of a probe add up to one.
    probes: Vec<Vec<(f64, f64)>>,
    /// The same with a node held at the lower end.
    from_below: Vec<Vec<(f64, f64)>>,
}

impl SpectralDensity {
    /// `n_probes` runs of `n_steps` Lanczos steps on vectors of length `n`, from starts of random signs. Probe i is step i of
    /// `stream`; `apply(v, w)` writes A·v to w. Each run keeps one vector for each of its steps.
    ///
    /// # Errors
    /// A product that fails or is not finite (numbered within its run); no entries, probes or steps.
    pub fn estimate<E: Error + 'static>(
        n: usize,
        n_probes: u32,
        n_steps: usize,
        stream: &Stream,
        mut apply: impl FnMut(&[f32], &mut [f32]) -> Result<(), E>,
    ) -> Result<Self, SpectrumError<E>> {
        check(n, n_probes)?;
        if n_steps == 0 {
            return Err(SpectrumError::Empty { expected: "at least one step" });
        }
        let mut probe = vec![0.0; n];
        let (mut probes, mut from_below) = (Vec::new(), Vec::new());
        for i in 0..n_probes {
            stream.signs(i, &mut probe);
            let mut lanczos = Lanczos::new(&probe)?;
            while lanczos.step(&mut apply)? && lanczos.n_steps() < n_steps {}
            probes.push(lanczos.quadrature());
            from_below.push(lanczos.quadrature_from_below());
        }
        Ok(Self { probes, from_below })
    }

    /// Nodes and weights of each probe, nodes ascending, weights adding up to one: Σ weight·f(node) estimates the mean of f over
    /// the eigenvalues, and n times it the trace of f(A). For f = 1, λ and (from two steps on) λ² it is vᵀf(A)v of that probe
    /// itself, to rounding.
    pub fn nodes(&self) -> &[Vec<(f64, f64)>] {
        &self.probes
    }

    /// Nodes and weights of the quadratures of Gauss and Radau, with one node more, held below zero and all others. Of an operator
    /// without negative eigenvalues, and for f such as 1/(λ + α), whose derivatives have signs that alternate, they are too large
    /// where [`SpectralDensity::nodes`] are too small: the two are bounds of each probe's vᵀf(A)v (Golub & Meurant 2010, §6.2.1).
    pub fn nodes_from_below(&self) -> &[Vec<(f64, f64)>] {
        &self.from_below
    }

    /// Mean of `f` over the eigenvalues, tr f(A)/n: multiply by n for a trace or a count. The error is that of the probes;
    /// what too few steps miss of a sharp `f` is not in it.
    pub fn mean_of(&self, f: impl Fn(f64) -> f64) -> ProbeMean {
        let of_probe = |nodes: &Vec<(f64, f64)>| nodes.iter().map(|&(node, weight)| weight * f(node)).sum();
        ProbeMean::of(&self.probes.iter().map(of_probe).collect::<Vec<f64>>())
    }

    /// Density at `at` of the eigenvalues smoothed by a Gaussian of standard deviation `width`: the share of eigenvalues for
    /// each unit of the axis.
    pub fn density(&self, at: f64, width: f64) -> ProbeMean {
        let height = 1.0 / (width * (2.0 * std::f64::consts::PI).sqrt());
        self.mean_of(|node| height * (-0.5 * ((at - node) / width).powi(2)).exp())
    }

    /// Smallest and largest node of all probes: within the range of the eigenvalues, and near its ends.
    pub fn range(&self) -> (f64, f64) {
        let nodes = || self.probes.iter().flatten().map(|(node, _)| *node);
        (nodes().fold(f64::INFINITY, f64::min), nodes().fold(f64::NEG_INFINITY, f64::max))
    }
}

fn check<E: Error>(n: usize, n_probes: u32) -> Result<(), SpectrumError<E>> {
    if n == 0 || n_probes == 0 {
        return Err(SpectrumError::Empty { expected: "at least one entry and one probe" });
    }
    Ok(())
}
