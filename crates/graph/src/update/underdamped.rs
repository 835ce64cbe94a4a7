//! Underdamped Langevin steps, whose momentum carries a chain across flat directions.
//!
//! Momenta are kept in units of a displacement per step, so that the step size ε means the same in all updates: with
//! full friction each of them is an overdamped step of size ε.

use super::{CHUNK, Free, Langevin, Parts, StepNorms, Sums, add_part, add_parts, pass};
use crate::isa::multiversion;
use crate::threads::Threads;

/// Friction and noise of a step with momentum.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Friction {
    /// Share of the momentum lost in a step.
    pub lost: f32,
    /// Share that the noise makes good; equal to `lost` in equilibrium, apart from it under a thermostat.
    pub fed: f32,
}

/// Stochastic gradient Hamiltonian Monte Carlo (Chen et al. 2014, eq. 15) with η = ε/2: u ← (1 − a)u −
/// η[nβ·g + γ(w − w*)] + √(2aη)·ξ, w ← w + u. With a = 1 it is SGLD.
///
/// In a direction of precision A = nβh + γ the stationary variance of w is 1/(A(1 − εA/(4(2 − a)))): from x' = x + u',
/// u' = bu − ηAx + sξ with b = 1 − a and s² = 2aη, whose Lyapunov equation gives s²(1 + b)/(aηA(2(1 + b) − ηA)).
#[expect(clippy::too_many_arguments, reason = "the vectors of the update and its settings")]
pub fn sghmc(
    weights: &mut [f32],
    centre: &[f32],
    gradient: &[f32],
    momentum: &mut [f32],
    free: Free<'_>,
    langevin: &Langevin,
    friction: Friction,
    threads: &Threads,
) -> StepNorms {
    let eta = 0.5 * langevin.step_size;
    let scales =
        [eta * langevin.n_beta, eta * langevin.localization, (2.0 * friction.fed * eta).sqrt(), 1.0 - friction.lost];
    pass(weights, [momentum], centre, gradient, free, threads, |isa, w, [u], w0, g, noise, sums| {
        sghmc_chunk(isa, w, w0, g, u, noise, scales, sums);
    })
}

/// Langevin dynamics in the splitting BAOAB (Leimkuhler & Matthews 2013) with time step h = √ε and c = 1 − a: kick,
/// half a drift, u ← cu + √((1 − c²)ε)·ξ, half a drift, kick. The kick at the end of a step and that at the start of the
/// next share their gradient, so a step is one gradient: only the first kick (`is_first`) is a half.
///
/// On quadratics the positions have the exact law for every ε below 4/A (ibid., §3).
#[expect(clippy::too_many_arguments, reason = "the vectors of the update and its settings")]
pub fn baoab(
    weights: &mut [f32],
    centre: &[f32],
    gradient: &[f32],
    momentum: &mut [f32],
    is_first: bool,
    free: Free<'_>,
    langevin: &Langevin,
    friction: f32,
    threads: &Threads,
) -> StepNorms {
    let kick = if is_first { 0.5 * langevin.step_size } else { langevin.step_size };
    let keeps = 1.0 - friction;
    let of_noise = ((1.0 - keeps * keeps) * langevin.step_size).sqrt();
    let scales = [kick * langevin.n_beta, kick * langevin.localization, of_noise, keeps];
    pass(weights, [momentum], centre, gradient, free, threads, |isa, w, [u], w0, g, noise, sums| {
        baoab_chunk(isa, w, w0, g, u, noise, scales, sums);
    })
}

multiversion! {
/// A chunk of [`sghmc`].
fn sghmc_chunk(
    w: &mut [f32; CHUNK],
    w0: &[f32; CHUNK],
    g: &[f32; CHUNK],
    u: &mut [f32; CHUNK],
    noise: &[f32; CHUNK],
    scales: [f32; 4],
    sums: &mut Sums,
) {
    let [of_gradient, of_distance, of_noise, keeps] = scales;
    let mut parts: Parts = [[0.0; CHUNK]; 4];
    let [pull, home, kick, distance] = &mut parts;
    for i in 0..CHUNK {
        distance[i] = w[i] - w0[i];
        pull[i] = of_gradient * g[i];
        home[i] = of_distance * distance[i];
        kick[i] = of_noise * noise[i];
        u[i] = keeps * u[i] - (pull[i] + home[i]) + kick[i];
        w[i] += u[i];
    }
    add_part(u, &mut sums[super::MOMENTUM]);
    add_parts(&parts, sums);
}
}

multiversion! {
/// A chunk of [`baoab`].
fn baoab_chunk(
    w: &mut [f32; CHUNK],
    w0: &[f32; CHUNK],
    g: &[f32; CHUNK],
    u: &mut [f32; CHUNK],
    noise: &[f32; CHUNK],
    scales: [f32; 4],
    sums: &mut Sums,
) {
    let [of_gradient, of_distance, of_noise, keeps] = scales;
    let mut parts: Parts = [[0.0; CHUNK]; 4];
    let [pull, home, kick, distance] = &mut parts;
    for i in 0..CHUNK {
        distance[i] = w[i] - w0[i];
        pull[i] = of_gradient * g[i];
        home[i] = of_distance * distance[i];
        kick[i] = of_noise * noise[i];
        let before = u[i] - (pull[i] + home[i]);
        u[i] = keeps * before + kick[i];
        w[i] += 0.5 * before + 0.5 * u[i];
    }
    add_part(u, &mut sums[super::MOMENTUM]);
    add_parts(&parts, sums);
}
}
