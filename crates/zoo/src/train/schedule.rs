//! Checkpoint schedules: logarithmic and linear steps together, or a list.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::SettingError;

/// When to hand over a checkpoint: `{ log = 16, linear = 8 }` or a list of steps. The initial weights (step 0) and the
/// last step always belong to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckpointSchedule {
    /// The union of two spacings.
    Spaced(Spacing),
    /// These steps, ascending.
    Steps(Vec<u64>),
}

/// Numbers of checkpoints in two spacings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spacing {
    /// Evenly spaced in ln step, from 1 to the last step. Rounding makes early ones coincide.
    #[serde(default)]
    pub log: u32,
    /// Evenly spaced in step, ending at the last step.
    #[serde(default)]
    pub linear: u32,
}

/// More files than anybody wants in a folder.
const MAX_CHECKPOINTS: u32 = 1_000_000;

impl CheckpointSchedule {
    /// The steps of a training of `n_steps`, ascending, each once.
    pub fn steps(&self, n_steps: u64) -> Vec<u64> {
        let mut steps = BTreeSet::from([0, n_steps]);
        match self {
            Self::Steps(listed) => steps.extend(listed),
            Self::Spaced(Spacing { log, linear }) => {
                let total = n_steps as f64;
                let share = |i: u32, n: u32| f64::from(i) / f64::from(n);
                steps.extend((0..*log).map(|i| {
                    // A single logarithmic step is the last one, which is in already.
                    let exponent = if *log == 1 { 1.0 } else { share(i, log - 1) };
                    total.powf(exponent).round() as u64
                }));
                steps.extend((1..=*linear).map(|i| (total * share(i, *linear)).round() as u64));
            }
        }
        // A total beyond 2^53 may round to more than it is.
        steps.into_iter().map(|step| step.min(n_steps)).collect::<BTreeSet<_>>().into_iter().collect()
    }

    pub(super) fn check(&self, n_steps: u64) -> Result<(), SettingError> {
        let wrong = |found: String, expected: String| Err(SettingError::new("train", "checkpoints", found, expected));
        let steps = match self {
            Self::Steps(steps) => steps,
            Self::Spaced(Spacing { log, linear }) => {
                let most = *log.max(linear);
                let expected = format!("at most {MAX_CHECKPOINTS} in each spacing");
                return if most > MAX_CHECKPOINTS { wrong(most.to_string(), expected) } else { Ok(()) };
            }
        };
        if let Some([first, second]) = steps.array_windows().find(|[a, b]| a >= b) {
            let found = format!("{first}, {second}");
            return wrong(found, "steps in ascending order, each once".to_owned());
        }
        match steps.last() {
            Some(&last) if last > n_steps => {
                wrong(last.to_string(), format!("steps from 0 to {n_steps}, the last one"))
            }
            _ => Ok(()),
        }
    }
}

impl Serialize for CheckpointSchedule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Spaced(spacing) => spacing.serialize(serializer),
            Self::Steps(steps) => steps.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for CheckpointSchedule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ScheduleVisitor;

        impl<'de> Visitor<'de> for ScheduleVisitor {
            type Value = CheckpointSchedule;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("{ log = 16, linear = 8 } or a list of steps")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                Spacing::deserialize(MapAccessDeserializer::new(map)).map(CheckpointSchedule::Spaced)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(seq)).map(CheckpointSchedule::Steps)
            }
        }

        deserializer.deserialize_any(ScheduleVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spaced(log: u32, linear: u32, n_steps: u64) -> Vec<u64> {
        CheckpointSchedule::Spaced(Spacing { log, linear }).steps(n_steps)
    }

    #[test]
    fn spacings_are_joined_with_both_ends() {
        let expected = [
            0, 1, 2, 3, 5, 8, 14, 25, 42, 72, 122, 208, 355, 375, 605, 750, 1032, 1125, 1500, 1759, 1875, 2250, 2625,
            3000,
        ];
        // The logarithmic ones are round(3000^(i/15)), i = 0..15; the linear ones multiples of 375.
        assert_eq!(spaced(16, 8, 3000), expected);
        assert_eq!(spaced(0, 0, 10), [0, 10]);
        assert_eq!(spaced(1, 0, 10), [0, 10]);
        assert_eq!(spaced(2, 0, 10), [0, 1, 10]);
        assert_eq!(spaced(0, 4, 10), [0, 3, 5, 8, 10]);
        assert_eq!(spaced(50, 50, 3), [0, 1, 2, 3]);
    }

    #[test]
    fn lists_are_completed_and_checked() {
        let list = |steps: &[u64]| CheckpointSchedule::Steps(steps.to_vec());
        assert_eq!(list(&[3, 7]).steps(9), [0, 3, 7, 9]);
        assert_eq!(list(&[]).steps(9), [0, 9]);
        assert!(list(&[0, 9]).check(9).is_ok());
        for wrong in [&[3, 3][..], &[7, 3]] {
            let message = list(wrong).check(9).unwrap_err().to_string();
            assert!(message.contains("ascending"), "{message}");
        }
    }
}
