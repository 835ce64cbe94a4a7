//! Weights that training leaves where they are.

use std::ops::Range;

use ontogeny_graph::ParamSpace;

use super::{TrainConfig, selection};
use crate::SettingError;

/// The held weights of a training, and room for their values.
#[derive(Debug, Default)]
pub(super) struct Mask {
    held: Vec<usize>,
    values: Vec<f32>,
}

impl Mask {
    /// Holds the weights of `ranges`.
    pub(super) fn holding(ranges: &[Range<usize>]) -> Self {
        Self::of(ranges.iter().cloned().flatten().collect())
    }

    /// Holds what is not trained, and the weights of `frozen`.
    pub(super) fn new(is_trained: &[bool], frozen: &[Range<usize>]) -> Self {
        let is_frozen = |at| frozen.iter().any(|range| range.contains(&at));
        let held = is_trained.iter().enumerate().filter(|&(at, is_trained)| !is_trained || is_frozen(at));
        Self::of(held.map(|(at, _)| at).collect())
    }

    /// Holds what is not trained, and what `freeze` names.
    ///
    /// # Errors
    /// A mask of another length than the parameter space.
    pub(super) fn chosen(is_trained: &[bool], space: &ParamSpace, config: &TrainConfig) -> Result<Self, SettingError> {
        if is_trained.len() != space.len() {
            let (found, expected) =
                (format!("{} long", is_trained.len()), format!("an entry for each of {} weights", space.len()));
            return Err(SettingError::new("train", "mask", found, expected));
        }
        Ok(Self::new(is_trained, &selection::select(space, "freeze", &config.freeze)?))
    }

    fn of(held: Vec<usize>) -> Self {
        let values = vec![0.0; held.len()];
        Self { held, values }
    }

    /// The held weights, ascending.
    pub(super) fn held(&self) -> &[usize] {
        &self.held
    }

    /// Sets the gradient of the held weights to 0.
    pub(super) fn clear(&self, gradient: &mut [f32]) {
        for &at in &self.held {
            gradient[at] = 0.0;
        }
    }

    /// Notes the values of the held weights.
    pub(super) fn remember(&mut self, weights: &[f32]) {
        for (value, &at) in self.values.iter_mut().zip(&self.held) {
            *value = weights[at];
        }
    }

    /// Gives the held weights the noted values back, whatever decay, momentum and noise did to them.
    pub(super) fn restore(&self, weights: &mut [f32]) {
        for (value, &at) in self.values.iter().zip(&self.held) {
            weights[at] = *value;
        }
    }
}
