//! Why a restriction selects nothing sensible in a network.

/// What is wrong with a restriction: with its text, or with its text and this network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RestrictionError {
    /// Not a word, a name, a module or a pattern of this network.
    #[error(
        "unknown restriction `{found}`{}; expected `full`, `embed`, `unembed`, `attn`, `mlp`, a layer (`l0`, `l0 attn`, \
         `l0 mlp`), a head (`l0h2`), a key and value group (`l0g1`), a neuron (`l0n17`, `l0n0-15`), a parameter or module name, \
         a pattern such as `blocks.*.mlp.*`, or singular directions (`blocks.0.mlp.W_in[sv 0-3]`)",
        suggestion(.nearest)
    )]
    Unknown {
        /// What was asked for.
        found: String,
        /// The nearest names there are, best first.
        nearest: Vec<String>,
    },
    /// Text that is no expression.
    #[error("restriction `{found}`, character {character}, {}: {problem}", place(.rest))]
    Syntax {
        /// The whole text.
        found: String,
        /// Where the mistake is, counted from 1.
        character: usize,
        /// The text from there on.
        rest: String,
        /// What is wrong, and what to do.
        problem: String,
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
    /// A head, group or neuron the layer does not have.
    #[error("restriction `{found}`: there is no {kind} {number} in layer {layer}; it has {}", count(*.n, .kind))]
    Unit {
        /// What was asked for.
        found: String,
        /// `head`, `group` or `neuron`.
        kind: &'static str,
        /// The layer in it.
        layer: usize,
        /// The first number in it that is too large.
        number: usize,
        /// How many the layer has.
        n: usize,
    },
    /// A tensor whose axis cannot be that of the heads, groups or neurons.
    #[error("restriction `{found}`: `{tensor}` has shape {shape:?}; expected {expected}")]
    Axis {
        /// What was asked for.
        found: String,
        /// The tensor.
        tensor: String,
        /// Its shape.
        shape: Vec<usize>,
        /// What was expected, in words.
        expected: String,
    },
    /// Numbers that run backwards.
    #[error("restriction `{found}`: the range {first}-{last} ends before it starts; write {last}-{first}")]
    Backwards {
        /// What was asked for.
        found: String,
        /// First number.
        first: usize,
        /// Last number.
        last: usize,
    },
    /// A word or pattern that fits no parameter.
    #[error("restriction `{found}` selects no parameter of this network{}", suggestion(.nearest))]
    Nothing {
        /// What was asked for.
        found: String,
        /// Parameters with the nearest names.
        nearest: Vec<String>,
    },
    /// An expression whose operators leave nothing.
    #[error(
        "restriction `{found}` selects nothing: its parts do ({parts} of {n_weights} weights), but nothing is left by its \
         operators; `&` keeps what is in both sides, `|` what is in either, `!` all else"
    )]
    NothingLeft {
        /// The whole expression.
        found: String,
        /// Its parts with the number of weights of each.
        parts: String,
        /// Weights of the network.
        n_weights: usize,
    },
    /// Singular directions where only sets of coordinates have a meaning.
    #[error(
        "`{found}` stands inside `!` or `&`: singular directions are no set of weights; give them alone, or beside others in a \
         union (`|`)"
    )]
    DirectionsInside {
        /// The part.
        found: String,
    },
    /// Singular directions of a tensor that is free in part.
    #[error("`{tensor}` is free in part and along singular directions at once; leave out one of the two")]
    DirectionsOverlap {
        /// The tensor.
        tensor: String,
    },
    /// A singular direction that the weights do not determine.
    #[error(
        "restriction `{found}`: singular direction {index} of `{tensor}` is not determined: its singular value {value} is {problem} \
         to the rounding of the weights; leave it out"
    )]
    DirectionUndetermined {
        /// The part.
        found: String,
        /// The tensor.
        tensor: String,
        /// Number of the direction.
        index: usize,
        /// Its singular value, in words.
        value: String,
        /// What is the matter with it.
        problem: String,
    },
    /// Singular directions of a tensor with NaN or infinity.
    #[error("restriction `{found}`: `{tensor}` holds NaN or infinity, so that it has no singular directions")]
    NonFinite {
        /// The part.
        found: String,
        /// The tensor.
        tensor: String,
    },
    /// Singular directions without weights.
    #[error("restriction `{found}` names singular directions, which depend on the weights; here there are none")]
    NeedsWeights {
        /// The whole expression.
        found: String,
    },
    /// Weights of another network.
    #[error("restriction `{found}`: {n_weights} weights; expected {expected}, those of the network")]
    Weights {
        /// The whole expression.
        found: String,
        /// How many were given.
        n_weights: usize,
        /// How many the network has.
        expected: usize,
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

fn place(rest: &str) -> String {
    if rest.is_empty() { "at the end".to_owned() } else { format!("at `{rest}`") }
}

fn count(n: usize, noun: &str) -> String {
    match n {
        0 => format!("no {noun}s"),
        1 => format!("one {noun}, number 0"),
        n => format!("{n} {noun}s, numbers 0 to {}", n - 1),
    }
}
