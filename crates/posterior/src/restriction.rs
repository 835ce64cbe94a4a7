//! Which part of a network a chain may move: named parts, and what is in both, in either or in none of them.

mod error;
mod expression;
mod part;
mod ranges;

use std::fmt;
use std::str::FromStr;

use ontogeny_graph::{Param, ParamSpace};

pub use self::error::RestrictionError;
use self::expression::Expression;
pub(crate) use self::ranges::Ranges;
use crate::selection::Selection;
use crate::singular::Projector;

/// A part of a network, named independently of any one network's sizes.
///
/// | written | selects |
/// |---|---|
/// | `full` | everything |
/// | `embed` | `embed.*` and `pos_embed.*` |
/// | `unembed` | `unembed.*` |
/// | `attn`, `mlp` | `blocks.N.attn.*`, `blocks.N.mlp.*` of all layers N (without layer norms) |
/// | `l0` | `blocks.0.*` or `layers.0.*` |
/// | `l0 attn`, `l0 mlp` | `blocks.0.attn.*`, `blocks.0.mlp.*` |
/// | `l0h2`, `blocks.0.attn.head.2` | head 2 of layer 0: its slices of `W_Q`, `W_K`, `W_V`, `W_O`, `b_Q`, `b_K`, `b_V` |
/// | `l0g1`, `blocks.0.attn.group.1` | key and value head 1 of layer 0 with all query heads that share it |
/// | `l0n17`, `blocks.0.mlp.neuron.17` | neuron 17 of layer 0: its column of `W_in` and `W_gate`, its `b_in`, its row of `W_out` |
/// | `l0n17`, `layers.0.neuron.17` | in an MLP: its column of `layers.0.W`, its `layers.0.b`, its row of `layers.1.W` |
/// | `l0h0-3`, `l0g0-1`, `l0n0-15` | several of them, the last included |
/// | `blocks.0.mlp.W_in` | that parameter |
/// | `blocks.0.mlp` | that module: all parameters below it |
/// | `blocks.*.mlp.W_*` | all parameters that fit; `*` stands for any characters, dots included |
/// | `blocks.0.mlp.W_in[sv 0-3]` | that matrix W along its four leading singular directions: w* + Σ zₖ·uₖvₖᵀ |
/// | `!A` | all but A |
/// | `A & B` | what is in both; `A & !B` is A without B |
/// | `A \| B`, `A + B` | what is in either; a list is such a union |
/// | `(A)` | A, before what stands around it |
///
/// `!` binds tighter than `&`, and `&` tighter than `|` and ` + `, which are the same; `+` is an operator only between
/// spaces. A parameter whose name holds an operator can be written with a `*` in its place.
///
/// Heads are the first axis of their tensors (TransformerLens layout), so a head's extent is read off the tensor and
/// never computed from the width of the residual stream. Where keys and values have fewer heads than queries, a head
/// includes the key and value head that it shares. `b_O` belongs to no head, `b_out` to no neuron; the outputs of an
/// MLP's last layer are no neurons.
///
/// Singular directions are those of the weights at the start, ordered by singular value, the largest first, from 0 on.
/// They are no set of coordinates: they may stand alone or in a union, but not inside `!` or `&`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restriction {
    /// As written, one for each entry of a list.
    written: Vec<String>,
    expression: Expression,
}

impl Default for Restriction {
    fn default() -> Self {
        Self::full()
    }
}

impl Restriction {
    /// Everything is free.
    pub fn full() -> Self {
        Self { written: vec!["full".to_owned()], expression: Expression::Part("full".to_owned()) }
    }

    /// The union of expressions. Whether their parts exist is known once a network is: see [`Restriction::resolve`].
    ///
    /// # Errors
    /// No expressions, an empty one, one that is not well formed, or `full` beside others.
    pub fn union<S: AsRef<str>>(expressions: &[S]) -> Result<Self, RestrictionError> {
        let written: Vec<String> = expressions.iter().map(|text| text.as_ref().trim().to_owned()).collect();
        let terms = written.iter().map(|text| Expression::parse(text)).collect::<Result<Vec<_>, _>>()?;
        if terms.is_empty() {
            return Err(RestrictionError::Empty);
        }
        Ok(Self { written, expression: Expression::union(terms)? })
    }

    /// Checks against a network all that can be known without its weights.
    ///
    /// # Errors
    /// As [`Restriction::resolve_at`], except for singular directions that the weights do not determine.
    pub fn check(&self, space: &ParamSpace) -> Result<(), RestrictionError> {
        self.parts_in(space).map(|_| ())
    }

    /// The coordinates this selects in a network, for restrictions that do not depend on weights.
    ///
    /// # Errors
    /// As [`Restriction::resolve_at`], and [`RestrictionError::NeedsWeights`] for singular directions.
    pub fn resolve(&self, space: &ParamSpace) -> Result<Selection, RestrictionError> {
        let parts = self.parts_in(space)?;
        if !parts.directions.is_empty() {
            return Err(RestrictionError::NeedsWeights { found: self.to_string() });
        }
        Ok(Selection::new(space, &parts.coordinates, Vec::new()))
    }

    /// What this selects in a network with these weights (flat, as `space` says).
    ///
    /// # Errors
    /// A part that does not exist in this network, with the nearest that does; an expression that leaves nothing;
    /// singular directions inside `!` or `&`, of a tensor that is free in part, or that the weights do not determine;
    /// weights of another network.
    pub fn resolve_at(&self, space: &ParamSpace, weights: &[f32]) -> Result<Selection, RestrictionError> {
        if weights.len() != space.len() {
            let (found, n_weights) = (self.to_string(), weights.len());
            return Err(RestrictionError::Weights { found, n_weights, expected: space.len() });
        }
        let parts = self.parts_in(space)?;
        let projectors = parts.directions.iter().map(|directions| directions.projector(weights));
        let projectors = projectors.collect::<Result<Vec<_>, _>>()?;
        Ok(Selection::new(space, &parts.coordinates, projectors))
    }

    fn parts_in<'a>(&self, space: &'a ParamSpace) -> Result<Parts<'a>, RestrictionError> {
        let mut coordinates = Vec::new();
        let mut directions: Vec<Directions<'_>> = Vec::new();
        for term in self.expression.terms() {
            let found = match term {
                Expression::Part(part) => part::directions_of(part, space)?.map(|found| (part, found)),
                _ => None,
            };
            let Some((part, (param, numbers))) = found else {
                coordinates.extend_from_slice(evaluate(term, space)?.as_slice());
                continue;
            };
            let numbers = numbers.first..=numbers.last;
            match directions.iter_mut().find(|known| known.param.range == param.range) {
                Some(known) => known.numbers.extend(numbers),
                None => directions.push(Directions { found: part.clone(), param, numbers: numbers.collect() }),
            }
        }
        let coordinates = Ranges::union(coordinates);
        for own in &mut directions {
            own.numbers.sort_unstable();
            own.numbers.dedup();
            let n_free = coordinates.count_in(&own.param.range);
            if n_free > 0 && n_free < own.param.range.len() {
                return Err(RestrictionError::DirectionsOverlap { tensor: own.param.name.clone() });
            }
        }
        // A tensor that is free as a whole is free along any of its directions.
        directions.retain(|own| coordinates.count_in(&own.param.range) == 0);
        if coordinates.count() == 0 && directions.is_empty() {
            return Err(self.nothing(space));
        }
        Ok(Parts { coordinates, directions })
    }

    fn nothing(&self, space: &ParamSpace) -> RestrictionError {
        let found = self.to_string();
        let mut counts: Vec<String> = Vec::new();
        for part in self.expression.parts() {
            if let Ok(ranges) = part::ranges_of(part, space) {
                let count = format!("`{part}` {}", Ranges::union(ranges).count());
                if !counts.contains(&count) {
                    counts.push(count);
                }
            }
        }
        if counts.is_empty() {
            return RestrictionError::Nothing { found, nearest: Vec::new() };
        }
        RestrictionError::NothingLeft { found, parts: counts.join(", "), n_weights: space.len() }
    }
}

/// What an expression names in a network.
struct Parts<'a> {
    coordinates: Ranges,
    directions: Vec<Directions<'a>>,
}

/// Singular directions of one tensor.
struct Directions<'a> {
    /// The part that first named it.
    found: String,
    param: &'a Param,
    /// Ascending, none twice.
    numbers: Vec<usize>,
}

impl Directions<'_> {
    fn projector(&self, weights: &[f32]) -> Result<Projector, RestrictionError> {
        Projector::new(self.param, weights, &self.numbers).map_err(|error| error.of(&self.found, &self.param.name))
    }
}

/// The coordinates of an expression without singular directions.
fn evaluate(expression: &Expression, space: &ParamSpace) -> Result<Ranges, RestrictionError> {
    match expression {
        Expression::Part(part) if part::directions_of(part, space)?.is_some() => {
            Err(RestrictionError::DirectionsInside { found: part.clone() })
        }
        Expression::Part(part) => Ok(Ranges::union(part::ranges_of(part, space)?)),
        Expression::Complement(inner) => Ok(evaluate(inner, space)?.complement(space.len())),
        Expression::Intersection(terms) => {
            let all = Ranges::default().complement(space.len());
            terms.iter().try_fold(all, |both, term| Ok(both.intersection(&evaluate(term, space)?)))
        }
        Expression::Union(terms) => {
            let mut ranges = Vec::new();
            for term in terms {
                ranges.extend_from_slice(evaluate(term, space)?.as_slice());
            }
            Ok(Ranges::union(ranges))
        }
    }
}

impl FromStr for Restriction {
    type Err = RestrictionError;

    fn from_str(expression: &str) -> Result<Self, RestrictionError> {
        Self::union(&[expression])
    }
}

/// As written; the entries of a list are joined by ` + `, which reads as the same restriction.
impl fmt::Display for Restriction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written.join(" + "))
    }
}
