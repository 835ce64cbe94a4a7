//! Attention heads in `[start]`: which of them start otherwise, and how.

use std::fmt;

use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How heads start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeadStart {
    /// A head as the network starts it with this seed.
    Seed(u32),
    /// The heads of a block in this order, with which the network computes the same.
    Order(Vec<usize>),
}

/// What a key of `heads` names.
pub(crate) enum HeadsOf {
    /// `l0h1`.
    Head { block: usize, head: usize },
    /// `l0`.
    Block(usize),
}

impl HeadsOf {
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let rest = name.strip_prefix('l')?;
        match rest.split_once('h') {
            Some((block, head)) => Some(Self::Head { block: block.parse().ok()?, head: head.parse().ok()? }),
            None => rest.parse().ok().map(Self::Block),
        }
    }
}

impl fmt::Display for HeadStart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Seed(seed) => write!(f, "{seed}"),
            Self::Order(order) => write!(f, "{order:?}"),
        }
    }
}

impl Serialize for HeadStart {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Seed(seed) => serializer.serialize_u32(*seed),
            Self::Order(order) => order.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for HeadStart {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = HeadStart;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a seed for a head such as `l0h1`, or an order such as [1, 0] for a block such as `l0`")
            }

            fn visit_u64<E: de::Error>(self, seed: u64) -> Result<HeadStart, E> {
                let seed = u32::try_from(seed).map_err(|_| E::invalid_value(de::Unexpected::Unsigned(seed), &self))?;
                Ok(HeadStart::Seed(seed))
            }

            fn visit_i64<E: de::Error>(self, seed: i64) -> Result<HeadStart, E> {
                let seed = u32::try_from(seed).map_err(|_| E::invalid_value(de::Unexpected::Signed(seed), &self))?;
                Ok(HeadStart::Seed(seed))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<HeadStart, A::Error> {
                let mut order = Vec::new();
                while let Some(head) = seq.next_element()? {
                    order.push(head);
                }
                Ok(HeadStart::Order(order))
            }
        }
        deserializer.deserialize_any(Either)
    }
}
