//! How fast the pairs of rotary positions turn, and how that is slowed down for contexts longer than those of a training.

/// Changes the frequencies of rotary positions.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum RotaryScaling {
    /// As they are (Su et al. 2021).
    #[default]
    None,
    /// All are divided by `factor`, as if positions stood closer to each other (Chen et al. 2023).
    Linear {
        /// Above 0.
        factor: f64,
    },
    /// Those that turn less than `low` times within `context` positions are divided by `factor`, those that turn more than
    /// `high` times stay, and the ones between are mixed (Llama 3.1; Grattafiori et al. 2024).
    Llama3 {
        /// Above 0.
        factor: f64,
        /// Turns within `context`.
        low: f64,
        /// Turns within `context`, above `low`.
        high: f64,
        /// Positions of the training before.
        context: f64,
    },
}

impl RotaryScaling {
    /// The frequency (radians a position) that takes the place of `plain`.
    pub(crate) fn frequency(self, plain: f64) -> f64 {
        match self {
            Self::None => plain,
            Self::Linear { factor } => plain / factor,
            Self::Llama3 { factor, low, high, context } => {
                let turns = context * plain / std::f64::consts::TAU;
                let share_kept = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                plain * (share_kept + (1.0 - share_kept) / factor)
            }
        }
    }

    /// Whether every number is one that frequencies can be made of.
    pub fn is_valid(self) -> bool {
        let is_positive = |number: f64| number.is_finite() && number > 0.0;
        match self {
            Self::None => true,
            Self::Linear { factor } => is_positive(factor),
            Self::Llama3 { factor, low, high, context } => {
                [factor, low, high, context].into_iter().all(is_positive) && low < high
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fast_pairs_stay_and_slow_ones_slow_down() {
        let scaling = RotaryScaling::Llama3 { factor: 8.0, low: 1.0, high: 4.0, context: 8192.0 };
        let of_turns = |turns: f64| turns * std::f64::consts::TAU / 8192.0;
        let ratio = |turns| scaling.frequency(of_turns(turns)) / of_turns(turns);
        for (turns, expected) in [(4.0, 1.0), (100.0, 1.0), (1.0, 0.125), (0.1, 0.125), (2.5, 0.5 + 0.5 / 8.0)] {
            // A handful of roundings.
            assert!((ratio(turns) - expected).abs() < 1e-14, "{turns} turns: {}", ratio(turns));
        }
        assert_eq!(RotaryScaling::Linear { factor: 4.0 }.frequency(0.5), 0.125);
        assert_eq!(RotaryScaling::None.frequency(0.3), 0.3);
        assert!(scaling.is_valid());
        assert!(!RotaryScaling::Llama3 { factor: 8.0, low: 4.0, high: 4.0, context: 8192.0 }.is_valid());
        assert!(!RotaryScaling::Linear { factor: f64::NAN }.is_valid());
    }
}
