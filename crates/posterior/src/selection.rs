//! The coordinates a restriction selects in one network: ranges of the flat vector, and the parameters they lie in.

use std::ops::Range;

use ontogeny_graph::ParamSpace;

/// The free coordinates of a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    ranges: Vec<Range<usize>>,
    names: Vec<String>,
    n_free: usize,
}

/// Why a restriction selects nothing sensible in a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RestrictionError {
    /// Not a word, a name, a module or a pattern of this network.
    #[error(
        "unknown restriction `{found}`{}; expected `full`, `embed`, `unembed`, `attn`, `mlp`, a layer (`l0`, `l0 attn`, \
         `l0 mlp`), a head (`l0h2`), a parameter or module name, or a pattern such as `blocks.*.mlp.*`",
        suggestion(.nearest)
    )]
    Unknown {
        /// What was asked for.
        found: String,
        /// The nearest names there are, best first.
        nearest: Vec<String>,
    },
    /// A layer the network does not have.
    #[error("restriction `{found}`: there is no layer {layer}; the network has {}", count(*.n_layers, "layer"))]
    Layer {
        /// What was asked for.
        found: String,
        /// The layer in it.
        layer: usize,
        /// How many there are.
        n_layers: usize,
    },
    /// A head the layer does not have.
    #[error("restriction `{found}`: there is no head {head} in layer {layer}; it has {}", count(*.n_heads, "head"))]
    Head {
        /// What was asked for.
        found: String,
        /// The layer in it.
        layer: usize,
        /// The head in it.
        head: usize,
        /// How many heads the layer has.
        n_heads: usize,
    },
    /// A tensor of a head whose first axis cannot be the heads.
    #[error(
        "restriction `{found}`: `{tensor}` has shape {shape:?}; expected the {n_heads} heads, or a divisor of them, first"
    )]
    HeadAxis {
        /// What was asked for.
        found: String,
        /// The tensor.
        tensor: String,
        /// Its shape.
        shape: Vec<usize>,
        /// Heads of the layer.
        n_heads: usize,
    },
    /// A word or pattern that fits no parameter.
    #[error("restriction `{found}` selects no parameter of this network{}", suggestion(.nearest))]
    Nothing {
        /// What was asked for.
        found: String,
        /// Parameters with the nearest names.
        nearest: Vec<String>,
    },
    /// `full` beside others.
    #[error("`full` stands in a list of restrictions; it contains all others, so give it alone")]
    FullInList,
    /// No restriction at all.
    #[error("an empty restriction; give `full` to leave everything free")]
    Empty,
}

fn suggestion(nearest: &[String]) -> String {
    let quoted: Vec<String> = nearest.iter().map(|name| format!("`{name}`")).collect();
    if quoted.is_empty() { String::new() } else { format!("; did you mean {}?", quoted.join(" or ")) }
}

fn count(n: usize, noun: &str) -> String {
    match n {
        0 => format!("no {noun}s"),
        1 => format!("one {noun}, number 0"),
        n => format!("{n} {noun}s, numbers 0 to {}", n - 1),
    }
}

impl Selection {
    /// The union of `ranges`, each inside one parameter of `space`. Empty ranges vanish.
    pub(crate) fn new(space: &ParamSpace, mut ranges: Vec<Range<usize>>) -> Self {
        ranges.retain(|range| !range.is_empty());
        ranges.sort_unstable_by_key(|range| (range.start, range.end));
        let mut merged: Vec<Range<usize>> = Vec::new();
        for range in ranges {
            match merged.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => merged.push(range),
            }
        }
        let touches = |own: &Range<usize>| merged.iter().any(|r| r.start < own.end && own.start < r.end);
        let names = space.iter().filter(|p| touches(&p.range)).map(|p| p.name.clone()).collect();
        let n_free = merged.iter().map(Range::len).sum();
        Self { ranges: merged, names, n_free }
    }

    /// Disjoint ascending ranges of the flat parameter vector that do not touch each other.
    pub fn ranges(&self) -> &[Range<usize>] {
        &self.ranges
    }

    /// Parameters with at least one free coordinate, in flat order.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Number of free coordinates.
    pub fn n_free(&self) -> usize {
        self.n_free
    }
}
