//! With which other checkpoint each one is compared.

use std::fmt;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// `with = "last"`, `"first"`, `"previous"`, a step, or the folder of another run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Partner {
    /// The first checkpoint of the run.
    First,
    /// The last checkpoint of the run.
    #[default]
    Last,
    /// The checkpoint before; of the first it is itself.
    Previous,
    /// The checkpoint at this step.
    Step(u64),
    /// The folder of a run of the same network, relative to the run file: its last checkpoint that is not behind the step.
    Run(String),
}

impl Serialize for Partner {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::First => serializer.serialize_str("first"),
            Self::Last => serializer.serialize_str("last"),
            Self::Previous => serializer.serialize_str("previous"),
            Self::Step(step) => serializer.serialize_u64(*step),
            Self::Run(folder) => serializer.serialize_str(folder),
        }
    }
}

impl<'de> Deserialize<'de> for Partner {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = Partner;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"first\", \"last\", \"previous\", a step, or the folder of a run")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Partner, E> {
                Ok(match text {
                    "first" => Partner::First,
                    "last" => Partner::Last,
                    "previous" => Partner::Previous,
                    "" => return Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                    folder => Partner::Run(folder.to_owned()),
                })
            }
            fn visit_u64<E: de::Error>(self, step: u64) -> Result<Partner, E> {
                Ok(Partner::Step(step))
            }
            fn visit_i64<E: de::Error>(self, step: i64) -> Result<Partner, E> {
                u64::try_from(step).map(Partner::Step).map_err(|_| E::custom(format!("step {step} is negative")))
            }
        }
        deserializer.deserialize_any(Either)
    }
}
