//! The axes: one step axis for the whole page, and value axes that are linear or logarithmic.

use crate::number;

/// Percent of the width kept free at either end, so that marks at the first and last step stay whole.
const MARGIN: f64 = 1.0;
/// Width of a plot on the narrowest screen, in pixels; labels that would touch there are left out.
pub(crate) const NARROWEST_PLOT: f64 = 260.0;
/// Room for words outside the frame on the narrowest screen, in pixels: left and right.
pub(crate) const OUTSIDE: (f64, f64) = (60.0, 14.0);
/// Width of one character of a tick label, in pixels.
const CHARACTER: f64 = 6.2;

/// The axis that all figures share: ln(1 + t/s), which shows step 0.
///
/// s is the first positive step measured (1 on logarithmic schedules, giving ln(t + 1)); with checkpoints
/// every 1,000 steps ln(t + 1) would spend two thirds of the page on the way to the first of them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StepAxis {
    /// The scale s.
    pub scale: f64,
    /// First and last step measured.
    pub steps: (f64, f64),
}

/// A labelled place on an axis; `at` in percent of its length, from the left or from the top.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tick {
    pub at: f64,
    pub label: String,
}

impl StepAxis {
    /// The axis that shows all of these steps; `None` without any.
    pub(crate) fn of(steps: impl Iterator<Item = f64> + Clone) -> Option<Self> {
        let first = steps.clone().min_by(f64::total_cmp)?;
        let last = steps.clone().max_by(f64::total_cmp)?;
        let scale = steps.filter(|step| *step > 0.0).min_by(f64::total_cmp).unwrap_or(1.0);
        Some(Self { scale, steps: (first, last) })
    }

    /// Where a step stands, in percent of the width, from the left; clamped to the axis.
    pub(crate) fn position(&self, step: f64) -> f64 {
        let (low, high) = (self.warp(self.steps.0), self.warp(self.steps.1));
        if high <= low || !step.is_finite() {
            return 50.0;
        }
        let fraction = (self.warp(step) - low) / (high - low);
        MARGIN + (100.0 - 2.0 * MARGIN) * fraction.clamp(0.0, 1.0)
    }

    /// Labelled ticks: 0, the powers of ten, then their doubles and fives where there is room.
    pub(crate) fn ticks(&self) -> Vec<Tick> {
        let (first, last) = self.steps;
        if first == last {
            return vec![Tick { at: 50.0, label: number::step(first) }];
        }
        // Steps below 1 are fractions of an epoch.
        let least = self.scale.log10().floor().clamp(-9.0, 0.0) as i32;
        let decades: Vec<f64> = (least..19).map(|exponent| 10f64.powi(exponent)).take_while(|d| *d <= last).collect();
        let between = decades.iter().flat_map(|d| [2.0, 5.0].map(|factor| d * factor));
        let mut kept: Vec<f64> = Vec::new();
        for step in [0.0].into_iter().chain(decades.iter().rev().copied()).chain(between) {
            let fits = |other: &f64| {
                let characters = number::step(*other).len() + number::step(step).len();
                let centre = |step| {
                    let at = self.position(step);
                    at / 100.0 * NARROWEST_PLOT + shift(at, &number::step(step))
                };
                (centre(step) - centre(*other)).abs() > characters as f64 * CHARACTER / 2.0 + CHARACTER
            };
            if (first..=last).contains(&step) && kept.iter().all(fits) {
                kept.push(step);
            }
        }
        kept.sort_unstable_by(f64::total_cmp);
        kept.iter().map(|step| Tick { at: self.position(*step), label: number::step(*step) }).collect()
    }

    fn warp(&self, step: f64) -> f64 {
        (step.max(0.0) / self.scale).ln_1p()
    }
}

/// How far a label below the frame moves to the left to stay in the page, in pixels, not positive.
pub(crate) fn shift(at: f64, label: &str) -> f64 {
    let room = (100.0 - at) / 100.0 * NARROWEST_PLOT + OUTSIDE.1;
    (room - label.chars().count() as f64 * CHARACTER / 2.0).min(0.0).round()
}

/// How values become heights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    Linear,
    Log,
}

/// A value axis with its range.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ValueAxis {
    pub scale: Scale,
    low: f64,
    high: f64,
}

impl ValueAxis {
    /// An axis that shows all `values` and, of the `intervals` around them, as much as leaves the values readable:
    /// at most half of their own range on either side.
    pub(crate) fn covering(scale: Scale, values: &[f64], intervals: &[(f64, f64)]) -> Self {
        let finite = values.iter().copied().filter(|v| v.is_finite() && (scale == Scale::Linear || *v > 0.0));
        let (low, high) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
        if low > high {
            return Self { scale, low: 0.0, high: 1.0 };
        }
        if scale == Scale::Log {
            let margin = 0.04 * (high / low).log10() + 0.02;
            return Self { scale, low: low.log10() - margin, high: high.log10() + margin };
        }
        let room = if high > low { 0.5 * (high - low) } else { f64::INFINITY };
        let widest = intervals.iter().filter(|(a, b)| a.is_finite() && b.is_finite());
        let (bottom, top) = widest.fold((low, high), |(bottom, top), (a, b)| (bottom.min(*a), top.max(*b)));
        let (bottom, top) = (bottom.max(low - room), top.min(high + room));
        // Differences near rounding are no range: a constant series is a level line, not magnified noise.
        let is_level = top - bottom <= 1e-9 * top.abs().max(bottom.abs());
        let margin = if is_level && top == 0.0 {
            0.5
        } else if is_level {
            0.5 * top.abs()
        } else {
            0.04 * (top - bottom)
        };
        // Quantities that are not negative start at zero where that costs little height, and never run below it.
        let floor = if bottom < 0.0 {
            bottom - margin
        } else if bottom < 0.4 * top {
            -0.02 * top
        } else {
            (bottom - margin).max(0.0)
        };
        Self { scale, low: floor, high: top + margin }
    }

    /// The axis of fractions, from 0 to 1 with room for the marks at both ends.
    pub(crate) fn of_fractions() -> Self {
        Self { scale: Scale::Linear, low: -0.03, high: 1.03 }
    }

    /// Where a value stands, in percent of the height, from the top; clamped to the axis.
    pub(crate) fn position(&self, value: f64) -> f64 {
        let warped = match self.scale {
            Scale::Linear => value,
            Scale::Log if value > 0.0 => value.log10(),
            Scale::Log => self.low,
        };
        100.0 * (1.0 - (warped - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }

    /// The power of ten that the labels of a linear axis leave out; 0 where they are short without.
    pub(crate) fn power(&self) -> i32 {
        let exponent = self.low.abs().max(self.high.abs()).log10().floor().max(-300.0) as i32;
        if self.scale == Scale::Log || (-3..6).contains(&exponent) { 0 } else { exponent }
    }

    /// Four to eight labelled ticks.
    pub(crate) fn ticks(&self) -> Vec<Tick> {
        match self.scale {
            Scale::Log => {
                let (first, last) = (self.low.ceil() as i32, self.high.floor() as i32);
                let as_powers = first < -3 || last > 4;
                let every = ((f64::from(last - first) / 6.0).ceil() as i32).max(1);
                (first..=last)
                    .filter(|exponent| exponent.rem_euclid(every) == 0)
                    .map(|exponent| {
                        let label = if as_powers {
                            number::power_of_ten(exponent)
                        } else {
                            number::value(10f64.powi(exponent))
                        };
                        Tick { at: self.position(10f64.powi(exponent)), label }
                    })
                    .collect()
            }
            Scale::Linear => {
                let every = nice_interval((self.high - self.low) / 5.5);
                let unit = 10f64.powi(self.power());
                let (first, last) = ((self.low / every).ceil() as i64, (self.high / every).floor() as i64);
                (first..=last)
                    .map(|k| {
                        let at = k as f64 * every;
                        Tick { at: self.position(at), label: number::tick(at / unit, every / unit) }
                    })
                    .collect()
            }
        }
    }
}

/// The nearest of 1, 2, 5 × 10ᵏ above `rough`.
fn nice_interval(rough: f64) -> f64 {
    let decade = 10f64.powf(rough.log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|f| f * decade >= rough).unwrap_or(10.0);
    factor * decade
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(scale: f64, steps: (u32, u32)) -> StepAxis {
        StepAxis { scale, steps: (steps.0.into(), steps.1.into()) }
    }

    #[test]
    fn the_step_axis_is_ln_of_t_plus_one_between_its_margins() {
        let axis = axis(1.0, (0, 999));
        assert_eq!(axis.position(0.0), 1.0);
        assert!((axis.position(999.0) - 99.0).abs() < 1e-12);
        // ln 10 / ln 1000 = 1/3, exact up to rounding.
        assert!((axis.position(9.0) - (1.0 + 98.0 / 3.0)).abs() < 1e-9);
        assert_eq!(axis.position(1e9), axis.position(999.0));
    }

    #[test]
    fn tick_labels_never_touch_on_a_phone() {
        for (scale, steps) in [
            (1.0, (0, 3000)),
            (1.0, (0, 143_000)),
            (1000.0, (0, 41_000)),
            (1.0, (900, 1000)),
            (1.0, (0, 1_000_000)),
            (500.0, (500, 5_000_000)),
        ] {
            let ticks = axis(scale, steps).ticks();
            assert!(ticks.len() >= 2 || steps.0 > 0, "{steps:?}: {ticks:?}");
            for pair in ticks.windows(2) {
                let at = |tick: &Tick| tick.at / 100.0 * NARROWEST_PLOT + shift(tick.at, &tick.label);
                let gap = at(&pair[1]) - at(&pair[0]);
                let needed = (pair[0].label.len() + pair[1].label.len()) as f64 * CHARACTER / 2.0;
                assert!(gap > needed, "{steps:?}: {pair:?}");
            }
        }
        assert_eq!(axis(1.0, (0, 3000)).ticks()[0].label, "0");
        assert_eq!(axis(1.0, (7, 7)).ticks(), [Tick { at: 50.0, label: "7".into() }]);
    }

    #[test]
    fn a_huge_interval_does_not_flatten_the_values() {
        let axis = ValueAxis::covering(Scale::Linear, &[1.0, 3.0], &[(-1e6, 1e6)]);
        let height = axis.position(1.0) - axis.position(3.0);
        assert!(height > 40.0, "{height}");
        assert_eq!(axis.position(1e6), 0.0);
    }

    #[test]
    fn axes_without_a_range_still_place_their_value() {
        for values in [&[][..], &[0.0], &[5.0], &[-2.0, -2.0], &[f64::NAN]] {
            for scale in [Scale::Linear, Scale::Log] {
                let axis = ValueAxis::covering(scale, values, &[]);
                assert!(axis.ticks().iter().all(|t| (0.0..=100.0).contains(&t.at)));
                assert!(
                    (0.0..=100.0).contains(&axis.position(values.first().copied().unwrap_or(0.3)))
                        || values.iter().any(|v| v.is_nan())
                );
            }
        }
    }

    #[test]
    fn labels_stay_short_where_values_are_not() {
        for (values, power) in [
            ([4e-7, 4.5e-7], -7),
            ([-1e-9, 3e-9], -9),
            ([1.2e7, 1.3e7], 7),
            ([0.01, 0.04], 0),
            ([4.605_17, 4.605_18], 0),
            ([0.0, 0.0], 0),
            ([1e-310, 2e-310], -300),
        ] {
            let axis = ValueAxis::covering(Scale::Linear, &values, &[]);
            let labels: Vec<String> = axis.ticks().into_iter().map(|t| t.label).collect();
            assert_eq!(axis.power(), power, "{values:?}");
            assert!(labels.len() > 2 && labels.is_sorted_by(|a, b| a != b), "{labels:?}");
            assert!(power == -300 || labels.iter().all(|label| label.chars().count() <= 9), "{labels:?}");
        }
    }

    #[test]
    fn log_ticks_are_decades() {
        let axis = ValueAxis::covering(Scale::Log, &[1e-7, 4.0], &[]);
        let labels: Vec<String> = axis.ticks().into_iter().map(|t| t.label).collect();
        assert_eq!(labels, ["10⁻⁶", "10⁻⁴", "10⁻²", "10⁰"]);
    }
}
