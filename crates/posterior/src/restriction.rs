//! Which part of a network a chain may move: words, layers, heads, parameter names, patterns, and unions of them.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use ontogeny_graph::{Param, ParamSpace};

use crate::selection::{RestrictionError, Selection};

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
/// | `blocks.0.mlp.W_in` | that parameter |
/// | `blocks.0.mlp` | that module: all parameters below it |
/// | `blocks.*.mlp.W_*` | all parameters that fit; `*` stands for any characters, dots included |
///
/// Heads are the first axis of their tensors (TransformerLens layout), so a head's extent is read off the tensor and
/// never computed from the width of the residual stream. Where keys and values have fewer heads than queries, a head
/// includes the key and value head that it shares. `b_O` belongs to no head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restriction {
    /// `None` for everything.
    parts: Option<Vec<String>>,
}

impl Default for Restriction {
    fn default() -> Self {
        Self::full()
    }
}

impl Restriction {
    /// Everything is free.
    pub fn full() -> Self {
        Self { parts: None }
    }

    /// The union of parts. Whether they exist is known once a network is: see [`Restriction::resolve`].
    ///
    /// # Errors
    /// No parts, an empty part, or `full` beside others.
    pub fn union<S: AsRef<str>>(parts: &[S]) -> Result<Self, RestrictionError> {
        let parts: Vec<String> = parts.iter().map(|part| part.as_ref().trim().to_owned()).collect();
        if parts.is_empty() || parts.iter().any(String::is_empty) {
            return Err(RestrictionError::Empty);
        }
        match parts.iter().any(|part| part == "full") {
            true if parts.len() == 1 => Ok(Self::full()),
            true => Err(RestrictionError::FullInList),
            false => Ok(Self { parts: Some(parts) }),
        }
    }

    /// The coordinates this selects in a network.
    ///
    /// # Errors
    /// A part that does not exist in this network, with the nearest that does.
    pub fn resolve(&self, space: &ParamSpace) -> Result<Selection, RestrictionError> {
        let ranges = match &self.parts {
            None => space.iter().map(|param| param.range.clone()).collect(),
            Some(parts) => {
                let mut ranges = Vec::new();
                for part in parts {
                    ranges.extend(ranges_of(part, space)?);
                }
                ranges
            }
        };
        let selection = Selection::new(space, ranges);
        if selection.n_free() == 0 {
            return Err(RestrictionError::Nothing { found: self.to_string(), nearest: Vec::new() });
        }
        Ok(selection)
    }
}

impl FromStr for Restriction {
    type Err = RestrictionError;

    fn from_str(part: &str) -> Result<Self, RestrictionError> {
        Self::union(&[part])
    }
}

/// As written; the parts of a union are joined by ` + `.
impl fmt::Display for Restriction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.parts {
            None => f.write_str("full"),
            Some(parts) => f.write_str(&parts.join(" + ")),
        }
    }
}

/// Flat ranges of one part; never empty.
fn ranges_of(part: &str, space: &ParamSpace) -> Result<Vec<Range<usize>>, RestrictionError> {
    if let Ok(param) = space.find(part) {
        return Ok(vec![param.range.clone()]);
    }
    let selected = |fits: &dyn Fn(&str) -> bool| -> Vec<Range<usize>> {
        space.iter().filter(|param| fits(&param.name)).map(|param| param.range.clone()).collect()
    };
    let in_any_layer = |module: &str, name: &str| {
        layer_of(name).is_some_and(|(_, rest)| rest.strip_prefix(module).is_some_and(|rest| rest.starts_with('.')))
    };
    let ranges = match Word::parse(part) {
        Some(Word::Embed) => selected(&|name| name.starts_with("embed.") || name.starts_with("pos_embed.")),
        Some(Word::Unembed) => selected(&|name| name.starts_with("unembed.")),
        Some(Word::Module(module)) => selected(&|name| in_any_layer(module, name)),
        Some(Word::Layer(layer, module)) => {
            check_layer(part, layer, space)?;
            selected(&|name| {
                layer_of(name).is_some_and(|(own, _)| own == layer)
                    && module.is_none_or(|module| in_any_layer(module, name))
            })
        }
        Some(Word::Head(layer, head)) => {
            check_layer(part, layer, space)?;
            head_ranges(part, layer, head, space)?
        }
        None if part.contains('*') => selected(&|name| fits_pattern(part, name)),
        None => {
            let below = format!("{part}.");
            let ranges = selected(&|name| name.starts_with(&below));
            if ranges.is_empty() {
                return Err(RestrictionError::Unknown { found: part.to_owned(), nearest: nearest(part, space) });
            }
            ranges
        }
    };
    if ranges.iter().all(Range::is_empty) {
        return Err(RestrictionError::Nothing { found: part.to_owned(), nearest: nearest(part, space) });
    }
    Ok(ranges)
}

/// The parts with a meaning of their own.
#[derive(Debug, PartialEq, Eq)]
enum Word {
    Embed,
    Unembed,
    /// `attn` or `mlp`.
    Module(&'static str),
    /// A layer, or one module of it.
    Layer(usize, Option<&'static str>),
    Head(usize, usize),
}

impl Word {
    fn parse(part: &str) -> Option<Self> {
        let module = |word: &str| ["attn", "mlp"].into_iter().find(|module| *module == word);
        if part == "embed" {
            return Some(Self::Embed);
        }
        if part == "unembed" {
            return Some(Self::Unembed);
        }
        if let Some(module) = module(part) {
            return Some(Self::Module(module));
        }
        if let Some((layer, head)) = part.strip_prefix("blocks.").and_then(|rest| rest.split_once(".attn.head.")) {
            return Some(Self::Head(layer.parse().ok()?, head.parse().ok()?));
        }
        let numbers = part.strip_prefix('l')?;
        if let Some((layer, word)) = numbers.split_once(' ') {
            return Some(Self::Layer(layer.parse().ok()?, Some(module(word.trim())?)));
        }
        if let Some((layer, head)) = numbers.split_once('h') {
            return Some(Self::Head(layer.parse().ok()?, head.parse().ok()?));
        }
        Some(Self::Layer(numbers.parse().ok()?, None))
    }
}

/// The layer a parameter lies in, and its name inside that layer.
fn layer_of(name: &str) -> Option<(usize, &str)> {
    let rest = name.strip_prefix("blocks.").or_else(|| name.strip_prefix("layers."))?;
    let (layer, rest) = rest.split_once('.')?;
    Some((layer.parse().ok()?, rest))
}

fn check_layer(part: &str, layer: usize, space: &ParamSpace) -> Result<(), RestrictionError> {
    let n_layers = space.iter().filter_map(|param| layer_of(&param.name)).map(|(own, _)| own + 1).max().unwrap_or(0);
    if layer >= n_layers {
        return Err(RestrictionError::Layer { found: part.to_owned(), layer, n_layers });
    }
    Ok(())
}

/// The slices of one head in the tensors of its layer.
fn head_ranges(
    part: &str,
    layer: usize,
    head: usize,
    space: &ParamSpace,
) -> Result<Vec<Range<usize>>, RestrictionError> {
    let tensor = |name: &str| space.find(&format!("blocks.{layer}.attn.{name}")).ok();
    let heads_of = |param: &Param| param.shape.first().copied().unwrap_or(0);
    let n_heads = tensor("W_Q").map_or(0, heads_of);
    if head >= n_heads {
        return Err(RestrictionError::Head { found: part.to_owned(), layer, head, n_heads });
    }
    let mut ranges = Vec::new();
    for param in ["W_Q", "W_K", "W_V", "W_O", "b_Q", "b_K", "b_V"].into_iter().filter_map(tensor) {
        let own_heads = heads_of(param);
        if own_heads == 0 || !n_heads.is_multiple_of(own_heads) {
            return Err(RestrictionError::HeadAxis {
                found: part.to_owned(),
                tensor: param.name.clone(),
                shape: param.shape.clone(),
                n_heads,
            });
        }
        let stride = param.range.len() / own_heads;
        let start = param.range.start + head / (n_heads / own_heads) * stride;
        ranges.push(start..start + stride);
    }
    Ok(ranges)
}

/// Whether `name` fits a pattern in which `*` stands for any characters.
fn fits_pattern(pattern: &str, name: &str) -> bool {
    let mut pieces = pattern.split('*');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else {
        return false;
    };
    let mut pieces: Vec<&str> = pieces.collect();
    let Some(last) = pieces.pop() else {
        return rest.is_empty();
    };
    for piece in pieces {
        // The leftmost place leaves most to the pieces that follow.
        let Some(at) = rest.find(piece) else {
            return false;
        };
        rest = &rest[at + piece.len()..];
    }
    rest.ends_with(last)
}

/// Up to three words and parameter names most like `part`, best first.
fn nearest(part: &str, space: &ParamSpace) -> Vec<String> {
    let words = ["full", "embed", "unembed", "attn", "mlp"];
    let names = words.into_iter().chain(space.iter().map(|param| param.name.as_str()));
    let mut scored: Vec<(f64, &str)> =
        names.map(|name| (strsim::jaro_winkler(part, name), name)).filter(|(score, _)| *score > 0.75).collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    scored.into_iter().take(3).map(|(_, name)| name.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ontogeny_graph::Graph;

    /// Two layers, width 6, two heads of size 5 (not 6/2), MLP of 4.
    fn transformer() -> ParamSpace {
        let mut g = Graph::new();
        g.param("embed.W_E", &[7, 6]);
        g.param("pos_embed.W_pos", &[3, 6]);
        for layer in 0..2 {
            let mut p = |name: &str, shape: &[usize]| g.param(&format!("blocks.{layer}.{name}"), shape);
            p("ln1.w", &[6]);
            for name in ["W_Q", "W_K", "W_V"] {
                p(&format!("attn.{name}"), &[2, 6, 5]);
            }
            p("attn.W_O", &[2, 5, 6]);
            p("attn.b_Q", &[2, 5]);
            p("attn.b_O", &[6]);
            p("mlp.W_in", &[6, 4]);
            p("mlp.W_out", &[4, 6]);
        }
        g.param("unembed.W_U", &[6, 7]);
        ParamSpace::of(&g)
    }

    fn select(parts: &[&str]) -> Result<Selection, RestrictionError> {
        Restriction::union(parts)?.resolve(&transformer())
    }

    fn n_free(parts: &[&str]) -> usize {
        select(parts).unwrap().n_free()
    }

    #[test]
    fn words_select_what_they_say() {
        let (attn, mlp) = (4 * 2 * 6 * 5 + 2 * 5 + 6, 2 * 6 * 4);
        let head = 4 * 6 * 5 + 5;
        for (parts, expected) in [
            (vec!["full"], transformer().len()),
            (vec!["embed"], 60),
            (vec!["unembed"], 42),
            (vec!["attn"], 2 * attn),
            (vec!["mlp"], 2 * mlp),
            (vec!["l1"], attn + mlp + 6),
            (vec!["l0 attn"], attn),
            (vec!["l1 mlp"], mlp),
            (vec!["l0h1"], head),
            (vec!["blocks.0.attn.head.1"], head),
            (vec!["blocks.0.attn.W_Q"], 60),
            (vec!["blocks.0.attn"], attn),
            (vec!["blocks.*.mlp.*"], 2 * mlp),
            (vec!["*.W_?"], 0),
            (vec!["*W_O"], 120),
            (vec!["embed", "unembed"], 102),
            (vec!["l0h0", "l0h1", "blocks.0.attn.b_O"], attn),
            (vec!["l0", "l0 attn", "l0h0"], attn + mlp + 6),
        ] {
            if expected == 0 {
                assert!(matches!(select(&parts), Err(RestrictionError::Nothing { .. })), "{parts:?}");
            } else {
                assert_eq!(n_free(&parts), expected, "{parts:?}");
            }
        }
    }

    #[test]
    fn mlp_networks_have_layers_too() {
        let mut g = Graph::new();
        let x = g.input("x", &[1, 3]);
        let h = g.linear("layers.0", x, 4);
        g.linear("layers.1", h, 2);
        let space = ParamSpace::of(&g);
        let selection = Restriction::union(&["l1"]).unwrap().resolve(&space).unwrap();
        assert_eq!(selection.names(), ["layers.1.W", "layers.1.b"]);
        assert_eq!(selection.ranges(), std::slice::from_ref(&(16..26)));
    }

    #[test]
    fn defect_5_a_head_has_its_own_size() {
        let space = transformer();
        let start = |name: &str| space.find(name).unwrap().range.start;
        let head = select(&["l0h1"]).unwrap();
        // Row-major [heads, 6, 5]: head 1 is the second half of each tensor, 30 numbers from the 30th on.
        for name in ["W_Q", "W_K", "W_V", "W_O"] {
            let first = start(&format!("blocks.0.attn.{name}")) + 30;
            assert!(head.ranges().contains(&(first..first + 30)), "{name}: {:?}", head.ranges());
        }
        let bias = start("blocks.0.attn.b_Q") + 5;
        assert!(head.ranges().iter().any(|r| r.contains(&bias) && r.end == bias + 5));
        let (zero, one) = (select(&["l0h0"]).unwrap(), head);
        assert!(zero.ranges().iter().all(|a| { one.ranges().iter().all(|b| a.end <= b.start || b.end <= a.start) }));
        assert!(!one.names().contains(&"blocks.0.attn.b_O".to_owned()));
    }

    #[test]
    fn a_shared_key_head_belongs_to_each_of_its_queries() {
        let mut g = Graph::new();
        g.param("blocks.0.attn.W_Q", &[4, 3, 2]);
        g.param("blocks.0.attn.W_K", &[2, 3, 2]);
        let space = ParamSpace::of(&g);
        let ranges = |head: usize| {
            let part = format!("l0h{head}");
            part.parse::<Restriction>().unwrap().resolve(&space).unwrap().ranges().to_vec()
        };
        assert_eq!(ranges(1), [6..12, 24..30]);
        assert_eq!(ranges(2), [12..18, 30..36]);
    }

    #[test]
    fn mistakes_are_named() {
        for (parts, message) in [
            (vec![], "an empty restriction"),
            (vec![" "], "an empty restriction"),
            (vec!["full", "embed"], "`full` stands in a list"),
            (vec!["unembd"], "unknown restriction `unembd`; did you mean `unembed`"),
            (vec!["blocks.0.mlp.W_on"], "unknown restriction `blocks.0.mlp.W_on`; did you mean `blocks.0.mlp.W_"),
            (vec!["l2"], "restriction `l2`: there is no layer 2; the network has 2 layers, numbers 0 to 1"),
            (vec!["l7 mlp"], "restriction `l7 mlp`: there is no layer 7"),
            (vec!["l0h2"], "restriction `l0h2`: there is no head 2 in layer 0; it has 2 heads, numbers 0 to 1"),
            (vec!["blocks.1.attn.head.9"], "restriction `blocks.1.attn.head.9`: there is no head 9 in layer 1"),
            (vec!["nothing.*"], "restriction `nothing.*` selects no parameter"),
            (vec!["lx"], "unknown restriction `lx`"),
        ] {
            let error = select(&parts).unwrap_err().to_string();
            assert!(error.starts_with(message), "{parts:?}: {error}");
        }
    }

    #[test]
    fn patterns() {
        for (pattern, name, expected) in [
            ("*", "anything", true),
            ("a*c", "abbc", true),
            ("a*c", "ac", true),
            ("a*c", "acb", false),
            ("a*b*b", "ab", false),
            ("a*b*b", "aXbYb", true),
            ("blocks.*.mlp.*", "blocks.0.attn.W_Q", false),
            ("ab*ab", "ab", false),
        ] {
            assert_eq!(fits_pattern(pattern, name), expected, "{pattern} {name}");
        }
    }
}
