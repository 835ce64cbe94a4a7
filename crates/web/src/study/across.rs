//! Horizontal axes: of steps, as in the report of a run, and of values.

use crate::axis::{self, NARROWEST_PLOT, Scale, StepAxis, Tick, ValueAxis};
use crate::number;

/// Positive values that span this factor stand on a logarithmic axis.
const LOG_FACTOR: f64 = 100.0;
/// Width of one character of a label, with what keeps neighbours apart, in pixels.
const CHARACTER: f64 = 6.2;
const GAP: f64 = 8.0;

/// A horizontal axis.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Across {
    Steps(StepAxis),
    Values(ValueAxis),
}

impl Across {
    /// The axis of these steps; `None` without any.
    pub(super) fn steps(steps: &[f64]) -> Option<Self> {
        StepAxis::of(steps.iter().copied()).map(Self::Steps)
    }

    /// The axis of these values, logarithmic where they are positive and span a factor of 100.
    pub(super) fn values(values: &[f64]) -> Self {
        Self::Values(ValueAxis::covering(scale(values), values, &[]))
    }

    /// A linear axis of values and as much of the intervals as leaves the values readable.
    pub(super) fn linear(values: &[f64], intervals: &[(f64, f64)]) -> Self {
        Self::Values(ValueAxis::covering(Scale::Linear, values, intervals))
    }

    /// Where a value stands, in percent from the left; clamped to the axis.
    pub(super) fn position(&self, x: f64) -> f64 {
        match self {
            Self::Steps(axis) => axis.position(x),
            Self::Values(axis) => 100.0 - axis.position(x),
        }
    }

    /// Labelled ticks that do not touch on the narrowest screen.
    pub(super) fn ticks(&self) -> Vec<Tick> {
        let axis = match self {
            Self::Steps(axis) => return axis.ticks(),
            Self::Values(axis) => axis,
        };
        let mut ticks: Vec<Tick> = axis.ticks().into_iter().map(|tick| Tick { at: 100.0 - tick.at, ..tick }).collect();
        ticks.sort_by(|a, b| a.at.total_cmp(&b.at));
        // Counted from 0, so that it keeps its label.
        let zero = ticks.iter().position(|tick| tick.label == "0").unwrap_or(0);
        let thinned = |every: usize| -> Vec<Tick> {
            ticks
                .iter()
                .enumerate()
                .filter(|(i, _)| i.abs_diff(zero).is_multiple_of(every))
                .map(|(_, t)| t.clone())
                .collect()
        };
        (1..=ticks.len().max(1)).map(thinned).find(|kept| do_not_touch(kept)).unwrap_or_default()
    }

    /// The power of ten that the labels leave out, as ` × 10⁻⁷`; nothing where they are whole.
    pub(super) fn power(&self) -> String {
        match self {
            Self::Values(axis) if axis.power() != 0 => format!(" × {}", number::power_of_ten(axis.power())),
            _ => String::new(),
        }
    }
}

/// The scale that values want.
pub(super) fn scale(values: &[f64]) -> Scale {
    let lowest = values.iter().copied().fold(f64::INFINITY, f64::min);
    let highest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if lowest > 0.0 && highest / lowest >= LOG_FACTOR { Scale::Log } else { Scale::Linear }
}

fn do_not_touch(ticks: &[Tick]) -> bool {
    let centre = |tick: &Tick| tick.at / 100.0 * NARROWEST_PLOT + axis::shift(tick.at, &tick.label);
    let width = |tick: &Tick| tick.label.chars().count() as f64 * CHARACTER;
    ticks.windows(2).all(|pair| centre(&pair[1]) - centre(&pair[0]) > 0.5 * (width(&pair[0]) + width(&pair[1])) + GAP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_grow_to_the_right_and_zero_keeps_its_label() {
        let axis = Across::linear(&[-0.125, 0.45], &[]);
        assert!(axis.position(-0.125) < axis.position(0.0) && axis.position(0.0) < axis.position(0.45));
        let ticks = axis.ticks();
        assert!(ticks.len() >= 3 && ticks.iter().any(|t| t.label == "0"), "{ticks:?}");
        let zero = ticks.iter().find(|t| t.label == "0").unwrap();
        assert!((zero.at - axis.position(0.0)).abs() < 1e-9);
    }

    #[test]
    fn labels_do_not_touch_on_a_phone() {
        for values in [[123_456.0, 123_460.0], [-1e-9, 2e-9], [0.0, 0.0], [4.605_17, 4.605_18], [1e-6, 3.0]] {
            for axis in [Across::linear(&values, &[]), Across::values(&values)] {
                let ticks = axis.ticks();
                assert!(do_not_touch(&ticks) && !ticks.is_empty(), "{values:?}: {ticks:?}");
            }
        }
    }

    #[test]
    fn wide_positive_values_stand_on_a_logarithmic_axis() {
        let axis = Across::values(&[0.001, 0.01, 0.1]);
        assert!((axis.position(0.01) - 50.0).abs() < 1e-9);
        assert_eq!(axis.power(), "");
        assert_eq!(Across::linear(&[4e-7, 5e-7], &[]).power(), " × 10⁻⁷");
    }
}
