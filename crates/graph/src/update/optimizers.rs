//! Optimisers of training: Adam, stochastic gradient descent and RMSprop, PyTorch's conventions.

use super::segment_len;
use crate::isa::{Isa, multiversion};
use crate::threads::Threads;

/// Adam with decoupled or coupled weight decay.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Adam {
    /// β₁, β₂.
    pub betas: [f32; 2],
    /// Added to the root.
    pub eps: f32,
    /// λ.
    pub weight_decay: f32,
    /// AdamW (Loshchilov & Hutter 2019): shrink the weights themselves. Else the decay joins the gradient.
    pub decoupled: bool,
}

/// Stochastic gradient descent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sgd {
    /// μ; 0 for none.
    pub momentum: f32,
    /// Look ahead along the momentum.
    pub nesterov: bool,
    /// λ, joins the gradient.
    pub weight_decay: f32,
}

/// RMSprop (Tieleman & Hinton 2012), not centred.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RmsPropDescent {
    /// α, the memory of the squared gradients.
    pub alpha: f32,
    /// Added to the root.
    pub eps: f32,
    /// μ; 0 for none.
    pub momentum: f32,
    /// λ, joins the gradient.
    pub weight_decay: f32,
}

/// Adam (Kingma & Ba 2015) step number `n_steps_before + 1` with learning rate `rate`, PyTorch's conventions.
pub fn adam(
    weights: &mut [f32],
    gradient: &[f32],
    moments: [&mut [f32]; 2],
    n_steps_before: u64,
    rate: f32,
    adam: &Adam,
    threads: &Threads,
) {
    let t = n_steps_before as f64 + 1.0;
    let correction = adam.betas.map(|beta| 1.0 - f64::from(beta).powf(t));
    let step_size = (f64::from(rate) / correction[0]) as f32;
    let root_correction = (1.0 / correction[1].sqrt()) as f32;
    let [first, second] = moments;
    let settings = *adam;
    let isa = Isa::current();
    assert!(
        [gradient.len(), first.len(), second.len()] == [weights.len(); 3],
        "a gradient and moments for each weight"
    );
    let n = segment_len(weights.len());
    let parts = weights.chunks_mut(n).zip(gradient.chunks(n)).zip(first.chunks_mut(n)).zip(second.chunks_mut(n));
    threads.each(parts, |(((w, g), first), second)| {
        adam_loop(isa, w, g, first, second, settings, rate, step_size, root_correction);
    });
}

/// One SGD step; `velocity` starts as the first gradient (PyTorch's convention, dampening 0).
pub fn sgd(
    weights: &mut [f32],
    gradient: &[f32],
    velocity: &mut [f32],
    n_steps_before: u64,
    rate: f32,
    sgd: &Sgd,
    threads: &Threads,
) {
    let settings = *sgd;
    let first = n_steps_before == 0;
    let isa = Isa::current();
    assert!([gradient.len(), velocity.len()] == [weights.len(); 2], "a gradient and a velocity for each weight");
    let n = segment_len(weights.len());
    let parts = weights.chunks_mut(n).zip(gradient.chunks(n)).zip(velocity.chunks_mut(n));
    threads.each(parts, |((w, g), velocity)| sgd_loop(isa, w, g, velocity, settings, rate, first));
}

/// One RMSprop step, PyTorch's conventions: v ← αv + (1 − α)g², u ← μu + g/(√v + eps), w ← w − `rate`·u; `moments` are v
/// and u, which start as zeros.
pub fn rmsprop(
    weights: &mut [f32],
    gradient: &[f32],
    moments: [&mut [f32]; 2],
    rate: f32,
    rmsprop: &RmsPropDescent,
    threads: &Threads,
) {
    let [square, velocity] = moments;
    let settings = *rmsprop;
    let isa = Isa::current();
    assert!(
        [gradient.len(), square.len(), velocity.len()] == [weights.len(); 3],
        "a gradient and moments for each weight"
    );
    let n = segment_len(weights.len());
    let parts = weights.chunks_mut(n).zip(gradient.chunks(n)).zip(square.chunks_mut(n)).zip(velocity.chunks_mut(n));
    threads.each(parts, |(((w, g), square), velocity)| rmsprop_loop(isa, w, g, square, velocity, settings, rate));
}

multiversion! {
fn adam_loop(
    w: &mut [f32],
    g: &[f32],
    first: &mut [f32],
    second: &mut [f32],
    adam: Adam,
    rate: f32,
    step_size: f32,
    root_correction: f32,
) {
    let n = w.len();
    let (g, first, second) = (&g[..n], &mut first[..n], &mut second[..n]);
    let [beta1, beta2] = adam.betas;
    let shrink = if adam.decoupled { 1.0 - rate * adam.weight_decay } else { 1.0 };
    let coupled = if adam.decoupled { 0.0 } else { adam.weight_decay };
    for i in 0..n {
        let gradient = g[i] + coupled * w[i];
        first[i] += (1.0 - beta1) * (gradient - first[i]);
        second[i] = beta2 * second[i] + (1.0 - beta2) * gradient * gradient;
        w[i] = w[i] * shrink - step_size * first[i] / (second[i].sqrt() * root_correction + adam.eps);
    }
}
}

multiversion! {
fn sgd_loop(w: &mut [f32], g: &[f32], velocity: &mut [f32], sgd: Sgd, rate: f32, first: bool) {
    let n = w.len();
    let (g, velocity) = (&g[..n], &mut velocity[..n]);
    let momentum = if first { 0.0 } else { sgd.momentum };
    for i in 0..n {
        let gradient = g[i] + sgd.weight_decay * w[i];
        velocity[i] = momentum * velocity[i] + gradient;
        let step = if sgd.nesterov { gradient + sgd.momentum * velocity[i] } else { velocity[i] };
        w[i] -= rate * step;
    }
}
}

multiversion! {
fn rmsprop_loop(
    w: &mut [f32],
    g: &[f32],
    square: &mut [f32],
    velocity: &mut [f32],
    rmsprop: RmsPropDescent,
    rate: f32,
) {
    let n = w.len();
    let (g, square, velocity) = (&g[..n], &mut square[..n], &mut velocity[..n]);
    for i in 0..n {
        let gradient = g[i] + rmsprop.weight_decay * w[i];
        square[i] = rmsprop.alpha * square[i] + (1.0 - rmsprop.alpha) * gradient * gradient;
        velocity[i] = rmsprop.momentum * velocity[i] + gradient / (square[i].sqrt() + rmsprop.eps);
        w[i] -= rate * velocity[i];
    }
}
}
