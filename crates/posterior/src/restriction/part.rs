//! One part of a network: a word, a layer, heads, groups, neurons, a name, a module, a pattern or singular directions.

use std::ops::Range;

use ontogeny_graph::{Param, ParamSpace};

use super::error::RestrictionError;

/// Flat ranges of one part that is no singular direction; never all empty.
pub(super) fn ranges_of(part: &str, space: &ParamSpace) -> Result<Vec<Range<usize>>, RestrictionError> {
    if let Ok(param) = space.find(part) {
        return whole(part, vec![param.range.clone()], space);
    }
    let selected = |fits: &dyn Fn(&str) -> bool| -> Vec<Range<usize>> {
        space.iter().filter(|param| fits(&param.name)).map(|param| param.range.clone()).collect()
    };
    let in_any_layer = |module: &str, name: &str| {
        layer_of(name).is_some_and(|(_, rest)| rest.strip_prefix(module).is_some_and(|rest| rest.starts_with('.')))
    };
    let ranges = match Word::parse(part) {
        Some(Word::Full) => selected(&|_| true),
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
        Some(Word::Units(kind, layer, numbers)) => {
            check_layer(part, layer, space)?;
            numbers.check(part)?;
            unit_ranges(part, kind, layer, &numbers, space)?
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
    whole(part, ranges, space)
}

/// Ranges that hold something.
fn whole(part: &str, ranges: Vec<Range<usize>>, space: &ParamSpace) -> Result<Vec<Range<usize>>, RestrictionError> {
    if ranges.iter().all(Range::is_empty) {
        return Err(RestrictionError::Nothing { found: part.to_owned(), nearest: nearest(part, space) });
    }
    Ok(ranges)
}

/// The parameter and the numbers of `NAME[sv 0-3]`; `None` for any other part.
pub(super) fn directions_of<'a>(
    part: &str,
    space: &'a ParamSpace,
) -> Result<Option<(&'a Param, Numbers)>, RestrictionError> {
    if space.find(part).is_ok() {
        return Ok(None);
    }
    let Some((name, numbers)) = split_directions(part) else {
        return Ok(None);
    };
    numbers.check(part)?;
    let Ok(param) = space.find(name) else {
        return Err(RestrictionError::Unknown { found: part.to_owned(), nearest: nearest(name, space) });
    };
    let axis = |expected: String| RestrictionError::Axis {
        found: part.to_owned(),
        tensor: param.name.clone(),
        shape: param.shape.clone(),
        expected,
    };
    let &[rows, cols] = param.shape.as_slice() else {
        return Err(axis("two axes: only a matrix has singular directions".to_owned()));
    };
    let n = rows.min(cols);
    if numbers.last >= n {
        return Err(axis(format!("more than {} rows and columns, for direction {}", numbers.last, numbers.last)));
    }
    Ok(Some((param, numbers)))
}

/// `NAME[sv 0-3]` as a name and numbers.
fn split_directions(part: &str) -> Option<(&str, Numbers)> {
    let (name, inside) = part.strip_suffix(']')?.rsplit_once('[')?;
    Some((name.trim_end(), Numbers::parse(inside.trim().strip_prefix("sv ")?.trim())?))
}

/// The parts with a meaning of their own.
#[derive(Debug, PartialEq, Eq)]
enum Word {
    Full,
    Embed,
    Unembed,
    /// `attn` or `mlp`.
    Module(&'static str),
    /// A layer, or one module of it.
    Layer(usize, Option<&'static str>),
    /// Numbered parts of a layer.
    Units(Unit, usize, Numbers),
}

/// What a layer has several of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Head,
    /// A key and value head with the query heads that share it.
    Group,
    Neuron,
}

/// Neighbouring numbers, the last included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Numbers {
    pub(super) first: usize,
    pub(super) last: usize,
}

impl Word {
    fn parse(part: &str) -> Option<Self> {
        let module = |word: &str| ["attn", "mlp"].into_iter().find(|module| *module == word);
        match part {
            "full" => return Some(Self::Full),
            "embed" => return Some(Self::Embed),
            "unembed" => return Some(Self::Unembed),
            _ => {}
        }
        if let Some(module) = module(part) {
            return Some(Self::Module(module));
        }
        let long = [
            ("blocks.", ".attn.head.", Unit::Head),
            ("blocks.", ".attn.group.", Unit::Group),
            ("blocks.", ".mlp.neuron.", Unit::Neuron),
            ("layers.", ".neuron.", Unit::Neuron),
        ];
        for (start, middle, unit) in long {
            if let Some((layer, numbers)) = part.strip_prefix(start).and_then(|rest| rest.split_once(middle)) {
                return Some(Self::Units(unit, number(layer)?, Numbers::parse(numbers)?));
            }
        }
        let rest = part.strip_prefix('l')?;
        if let Some((layer, word)) = rest.split_once(' ') {
            return Some(Self::Layer(number(layer)?, Some(module(word.trim())?)));
        }
        for (letter, unit) in [('h', Unit::Head), ('g', Unit::Group), ('n', Unit::Neuron)] {
            if let Some((layer, numbers)) = rest.split_once(letter) {
                return Some(Self::Units(unit, number(layer)?, Numbers::parse(numbers)?));
            }
        }
        Some(Self::Layer(number(rest)?, None))
    }
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Group => "group",
            Self::Neuron => "neuron",
        }
    }
}

impl Numbers {
    /// `3` or `0-3`.
    fn parse(text: &str) -> Option<Self> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        Some(Self { first: number(first.trim())?, last: number(last.trim())? })
    }

    fn check(&self, part: &str) -> Result<(), RestrictionError> {
        let (first, last) = (self.first, self.last);
        if first > last { Err(RestrictionError::Backwards { found: part.to_owned(), first, last }) } else { Ok(()) }
    }
}

/// Digits and nothing else; `parse` alone would take a sign.
fn number(text: &str) -> Option<usize> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// The layer a parameter lies in, and its name inside that layer.
fn layer_of(name: &str) -> Option<(usize, &str)> {
    let rest = name.strip_prefix("blocks.").or_else(|| name.strip_prefix("layers."))?;
    let (layer, rest) = rest.split_once('.')?;
    Some((layer.parse().ok()?, rest))
}

fn check_layer(part: &str, layer: usize, space: &ParamSpace) -> Result<(), RestrictionError> {
    let layers = space.iter().filter_map(|param| layer_of(&param.name)).map(|(own, _)| own.saturating_add(1));
    let n_layers = layers.max().unwrap_or(0);
    if layer >= n_layers {
        return Err(RestrictionError::Layer { found: part.to_owned(), layer, n_layers });
    }
    Ok(())
}

/// The slices of some heads, groups or neurons in the tensors of their layer.
fn unit_ranges(
    part: &str,
    unit: Unit,
    layer: usize,
    numbers: &Numbers,
    space: &ParamSpace,
) -> Result<Vec<Range<usize>>, RestrictionError> {
    let tensor = |name: &str| space.find(name).ok();
    let extent = |param: Option<&Param>, axis: usize| param.and_then(|p| p.shape.get(axis)).copied().unwrap_or(0);
    let in_attention = |name: &str| tensor(&format!("blocks.{layer}.attn.{name}"));
    // The tensors with the axis along which they hold the units, and how many units there are.
    let (tensors, n): (Vec<(&Param, usize)>, usize) = match unit {
        Unit::Head | Unit::Group => {
            let counted = if unit == Unit::Head { "W_Q" } else { "W_K" };
            let all = ["W_Q", "W_K", "W_V", "W_O", "b_Q", "b_K", "b_V"];
            let tensors = all.into_iter().filter_map(in_attention).map(|param| (param, 0)).collect();
            (tensors, extent(in_attention(counted), 0))
        }
        Unit::Neuron => {
            let block = |name: &str| tensor(&format!("blocks.{layer}.mlp.{name}"));
            let dense = |layer: usize, name: &str| tensor(&format!("layers.{layer}.{name}"));
            let next = layer + 1;
            let own = [
                (block("W_in"), 1),
                (block("W_gate"), 1),
                (block("b_in"), 0),
                (block("W_out"), 0),
                // The outputs of the last layer, which no layer reads, are no neurons.
                (dense(next, "W").and(dense(layer, "W")), 1),
                (dense(next, "W").and(dense(layer, "b")), 0),
                (dense(next, "W"), 0),
            ];
            let n = extent(block("W_out").or(dense(next, "W")), 0);
            (own.into_iter().filter_map(|(param, axis)| Some((param?, axis))).collect(), n)
        }
    };
    if numbers.last >= n {
        let (found, number) = (part.to_owned(), numbers.first.max(n));
        return Err(RestrictionError::Unit { found, kind: unit.name(), layer, number, n });
    }
    let mut ranges = Vec::new();
    for (param, axis) in tensors {
        let own = extent(Some(param), axis);
        let slices = match unit {
            // Query heads that share a key and value head share its slice.
            Unit::Head if own > 0 && n.is_multiple_of(own) => numbers.first * own / n..numbers.last * own / n + 1,
            Unit::Group if own.is_multiple_of(n) => numbers.first * (own / n)..(numbers.last + 1) * (own / n),
            Unit::Neuron if own == n => numbers.first..numbers.last + 1,
            _ => {
                let expected = match unit {
                    Unit::Head => format!("the {n} heads, or a divisor of them, first"),
                    Unit::Group => format!("the {n} key and value heads, or a multiple of them, first"),
                    Unit::Neuron => format!("the {n} neurons along axis {axis}"),
                };
                let (tensor, shape) = (param.name.clone(), param.shape.clone());
                return Err(RestrictionError::Axis { found: part.to_owned(), tensor, shape, expected });
            }
        };
        ranges.extend(along(param, axis, &slices));
    }
    Ok(ranges)
}

/// Neighbouring slices of a tensor along an axis: one range for each index of the axes before it.
fn along(param: &Param, axis: usize, slices: &Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let outer: usize = param.shape[..axis].iter().product();
    let inner: usize = param.shape[axis + 1..].iter().product();
    let (start, block) = (param.range.start, param.shape[axis] * inner);
    let (first, end) = (slices.start * inner, slices.end * inner);
    (0..outer).map(move |at| start + at * block + first..start + at * block + end)
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
