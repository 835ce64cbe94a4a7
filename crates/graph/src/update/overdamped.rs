//! Overdamped Langevin steps: plain, and with the step size of each coordinate set by its own gradients.

use super::{CHUNK, Free, Langevin, Parts, StepNorms, Sums, add_parts, pass};
use crate::isa::multiversion;
use crate::threads::Threads;

/// RMSprop preconditioning of a Langevin step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RmsProp {
    /// α, the memory of the squared gradients.
    pub decay: f32,
    /// Added to the root.
    pub eps: f32,
    /// The squared gradients are no longer learnt: the preconditioner is constant.
    pub is_frozen: bool,
}

/// Adam preconditioning of a Langevin step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamLangevin {
    /// β₁, β₂, the memories of the gradients and of their squares.
    pub betas: [f32; 2],
    /// Added to the root.
    pub eps: f32,
}

/// Welling & Teh (2011) with localisation: Δw = −(ε/2)[nβ·g + γ(w − w*)] + √ε·ξ.
pub fn sgld(
    weights: &mut [f32],
    centre: &[f32],
    gradient: &[f32],
    free: Free<'_>,
    langevin: &Langevin,
    threads: &Threads,
) -> StepNorms {
    let half = 0.5 * langevin.step_size;
    let scales = [half * langevin.n_beta, half * langevin.localization, langevin.step_size.sqrt()];
    pass(weights, [], centre, gradient, free, threads, |isa, w, [], w0, g, noise, sums| {
        sgld_chunk(isa, w, w0, g, noise, scales, sums);
    })
}

/// RMSprop-preconditioned SGLD (Li et al. 2016, without the curvature term Γ): v ← αv + (1 − α)g² on the untempered
/// gradient, P = 1/(√v̂ + eps) with the bias-corrected v̂ = v/(1 − α^t), t the number of gradients in v,
/// Δw = −(ε/2)·P·[nβ·g + γ(w − w*)] + √(εP)·ξ.
///
/// `n_steps_before` counts the gradients already in v; a frozen preconditioner takes in no more.
#[expect(clippy::too_many_arguments, reason = "the five vectors of the update and its two settings")]
pub fn rmsprop_sgld(
    weights: &mut [f32],
    centre: &[f32],
    gradient: &[f32],
    second_moment: &mut [f32],
    n_steps_before: u32,
    free: Free<'_>,
    langevin: &Langevin,
    rms: &RmsProp,
    threads: &Threads,
) -> StepNorms {
    let t = n_steps_before as i32 + i32::from(!rms.is_frozen);
    let correction = (1.0 / (1.0 - f64::from(rms.decay).powi(t))) as f32;
    let (step, eps) = (*langevin, rms.eps);
    let decay = if rms.is_frozen { 1.0 } else { rms.decay };
    pass(weights, [second_moment], centre, gradient, free, threads, |isa, w, [v], w0, g, noise, sums| {
        rmsprop_chunk(isa, w, w0, g, v, noise, correction, step, [decay, eps], sums);
    })
}

/// SGLD with Adam's moments: m ← β₁m + (1 − β₁)g, v ← β₂v + (1 − β₂)g², both bias-corrected, P = 1/(√v̂ + eps),
/// Δw = −(ε/2)·P·[nβ·m̂ + γ(w − w*)] + √(εP)·ξ.
///
/// The average m̂ lags behind the gradient by about β₁/(1 − β₁) steps, so for a smooth loss the drift is that of where
/// the chain was; the error is of the order of the step size, like that of SGLD itself.
#[expect(clippy::too_many_arguments, reason = "the vectors of the update and its two settings")]
pub fn adam_sgld(
    weights: &mut [f32],
    centre: &[f32],
    gradient: &[f32],
    moments: [&mut [f32]; 2],
    n_steps_before: u32,
    free: Free<'_>,
    langevin: &Langevin,
    adam: &AdamLangevin,
    threads: &Threads,
) -> StepNorms {
    let correct = |beta: f32| (1.0 / (1.0 - f64::from(beta).powi(n_steps_before as i32 + 1))) as f32;
    let (step, settings, corrections) = (*langevin, *adam, adam.betas.map(correct));
    pass(weights, moments, centre, gradient, free, threads, |isa, w, [m, v], w0, g, noise, sums| {
        adam_chunk(isa, w, w0, g, m, v, noise, corrections, step, settings, sums);
    })
}

multiversion! {
/// A chunk of [`sgld`]. Arrays, so that loops have no tails and the sums stay in registers.
fn sgld_chunk(
    w: &mut [f32; CHUNK],
    w0: &[f32; CHUNK],
    g: &[f32; CHUNK],
    noise: &[f32; CHUNK],
    scales: [f32; 3],
    sums: &mut Sums,
) {
    let [of_gradient, of_distance, of_noise] = scales;
    let mut parts: Parts = [[0.0; CHUNK]; 4];
    let [pull, home, kick, distance] = &mut parts;
    for i in 0..CHUNK {
        distance[i] = w[i] - w0[i];
        pull[i] = of_gradient * g[i];
        home[i] = of_distance * distance[i];
        kick[i] = of_noise * noise[i];
        w[i] = w[i] - (pull[i] + home[i]) + kick[i];
    }
    add_parts(&parts, sums);
}
}

multiversion! {
/// A chunk of [`rmsprop_sgld`].
fn rmsprop_chunk(
    w: &mut [f32; CHUNK],
    w0: &[f32; CHUNK],
    g: &[f32; CHUNK],
    v: &mut [f32; CHUNK],
    noise: &[f32; CHUNK],
    correction: f32,
    step: Langevin,
    decay_and_eps: [f32; 2],
    sums: &mut Sums,
) {
    let [decay, eps] = decay_and_eps;
    let mut parts: Parts = [[0.0; CHUNK]; 4];
    let [pull, home, kick, distance] = &mut parts;
    for i in 0..CHUNK {
        v[i] = decay * v[i] + (1.0 - decay) * g[i] * g[i];
        let scaled = step.step_size / ((v[i] * correction).sqrt() + eps);
        let half = 0.5 * scaled;
        distance[i] = w[i] - w0[i];
        pull[i] = half * step.n_beta * g[i];
        home[i] = half * step.localization * distance[i];
        kick[i] = scaled.sqrt() * noise[i];
        w[i] = w[i] - (pull[i] + home[i]) + kick[i];
    }
    add_parts(&parts, sums);
}
}

multiversion! {
/// A chunk of [`adam_sgld`].
fn adam_chunk(
    w: &mut [f32; CHUNK],
    w0: &[f32; CHUNK],
    g: &[f32; CHUNK],
    m: &mut [f32; CHUNK],
    v: &mut [f32; CHUNK],
    noise: &[f32; CHUNK],
    corrections: [f32; 2],
    step: Langevin,
    adam: AdamLangevin,
    sums: &mut Sums,
) {
    let [beta1, beta2] = adam.betas;
    let mut parts: Parts = [[0.0; CHUNK]; 4];
    let [pull, home, kick, distance] = &mut parts;
    for i in 0..CHUNK {
        m[i] = beta1 * m[i] + (1.0 - beta1) * g[i];
        v[i] = beta2 * v[i] + (1.0 - beta2) * g[i] * g[i];
        let scaled = step.step_size / ((v[i] * corrections[1]).sqrt() + adam.eps);
        let half = 0.5 * scaled;
        distance[i] = w[i] - w0[i];
        pull[i] = half * step.n_beta * (m[i] * corrections[0]);
        home[i] = half * step.localization * distance[i];
        kick[i] = scaled.sqrt() * noise[i];
        w[i] = w[i] - (pull[i] + home[i]) + kick[i];
    }
    add_parts(&parts, sums);
}
}
