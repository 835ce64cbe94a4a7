//! Operators that move values without changing them: reshaping, cutting, joining, repeating.

use super::shape::extents;
use crate::onnx::build::{Build, Call, Outcome, Value};
use crate::onnx::error::Problem;
use crate::onnx::host::{Host, Kind, axes, axis, common_shape};

/// A result of the network is put together of at most so many pieces.
const MAX_PIECES: usize = 4096;

impl Build<'_> {
    pub(super) fn reshaped(&mut self, value: &Value, shape: &[usize]) -> Result<Value, Problem> {
        let own = self.shape(value)?;
        let size = |shape: &[usize]| shape.iter().try_fold(1_usize, |n, &extent| n.checked_mul(extent));
        if size(&own) != size(shape) {
            return Err(Problem::new(format!("the shape {own:?}"), format!("as many values as {shape:?}")));
        }
        Ok(match value {
            Value::Host(host) => {
                self.claim(host.values.len())?;
                Value::of(Host { shape: shape.to_vec(), ..Host::clone(host) })
            }
            Value::Run(node, kind) => Value::Run(self.g.reshape(*node, shape), *kind),
            Value::List(_) => unreachable!("`shape` has refused sequences"),
        })
    }

    /// Axis i of the result is axis `order[i]`.
    pub(super) fn permuted(&mut self, value: &Value, order: &[usize]) -> Result<Value, Problem> {
        let own = self.shape(value)?;
        let mut sorted = order.to_vec();
        sorted.sort_unstable();
        if !sorted.iter().copied().eq(0..own.len()) {
            return Err(Problem::new(format!("the shape {own:?}"), format!("as many axes as in {order:?}")));
        }
        Ok(match value {
            Value::Host(host) => {
                let shape = order.iter().map(|&axis| own[axis]).collect();
                let mut source = vec![0; own.len()];
                self.host(shape, host.kind, |index| {
                    for (&axis, &at) in order.iter().zip(index) {
                        source[axis] = at;
                    }
                    host.at(&source)
                })?
            }
            Value::Run(node, kind) => Value::Run(self.g.permute(*node, order), *kind),
            Value::List(_) => unreachable!("`shape` has refused sequences"),
        })
    }

    /// The entries of an axis at `places`, which lie in it.
    pub(super) fn taken(&mut self, value: &Value, axis: usize, places: &[usize]) -> Result<Value, Problem> {
        let own = self.shape(value)?;
        match value {
            Value::Host(host) => {
                let mut shape = own;
                shape[axis] = places.len();
                let mut source = vec![0; shape.len()];
                self.host(shape, host.kind, |index| {
                    source.copy_from_slice(index);
                    source[axis] = places[index[axis]];
                    host.at(&source)
                })
            }
            Value::Run(node, kind) => {
                // Neighbours stay together.
                let runs: Vec<&[usize]> = places.chunk_by(|a, b| a + 1 == *b).collect();
                if runs.is_empty() || runs.len() > MAX_PIECES {
                    let found = format!("{} pieces of an axis", runs.len());
                    return Err(Problem::new(found, format!("1 to {MAX_PIECES}")));
                }
                self.claim(64 * runs.len())?;
                let pieces: Vec<_> = runs.iter().map(|run| self.g.slice(*node, axis, run[0], run.len())).collect();
                let node = if let [piece] = pieces[..] { piece } else { self.g.concat(&pieces, axis) };
                Ok(Value::Run(node, *kind))
            }
            Value::List(_) => unreachable!("`shape` has refused sequences"),
        }
    }

    /// Extents of one are repeated.
    pub(super) fn expanded(&mut self, value: &Value, shape: &[usize]) -> Result<Value, Problem> {
        Ok(match value {
            Value::Host(host) => self.host(shape.to_vec(), host.kind, |index| host.at(index))?,
            Value::Run(node, kind) => Value::Run(self.g.broadcast(*node, shape), *kind),
            Value::List(_) => return Err(Problem::new("a sequence", "a tensor")),
        })
    }
}

/// To a shape in which −1 is what is left, and 0 (unless `allowzero`) what was there.
pub(super) fn reshape(call: &mut Call<'_, '_>) -> Outcome {
    let (value, wanted) = (call.input(0)?, call.integers(1)?);
    let own = call.build.shape(&value)?;
    let copies_zeros = call.integer("allowzero", 0)? == 0;
    let mut shape = Vec::with_capacity(wanted.len());
    let mut open = None;
    for (at, &extent) in wanted.iter().enumerate() {
        shape.push(match extent {
            -1 if open.is_none() => {
                open = Some(at);
                1
            }
            0 if copies_zeros => *own
                .get(at)
                .ok_or_else(|| Problem::new(format!("0 in {wanted:?} for an axis that {own:?} lacks"), "an extent"))?,
            _ => extents(&[extent])?[0],
        });
    }
    if let Some(at) = open {
        let n: usize = own.iter().product();
        let others = shape.iter().try_fold(1_usize, |n, &extent| n.checked_mul(extent)).unwrap_or(0);
        if others == 0 || !n.is_multiple_of(others) {
            return Err(Problem::new(format!("the shape {own:?}"), format!("as many values as {wanted:?}")));
        }
        shape[at] = n / others;
    }
    Ok(vec![call.build.reshaped(&value, &shape)?])
}

/// To two axes.
pub(super) fn flatten(call: &mut Call<'_, '_>) -> Outcome {
    let value = call.input(0)?;
    let own = call.build.shape(&value)?;
    let at = call.integer("axis", 1)?;
    let at = if at == own.len() as i64 { own.len() } else { axis(at, own.len())? };
    let shape = [own[..at].iter().product(), own[at..].iter().product()];
    Ok(vec![call.build.reshaped(&value, &shape)?])
}

pub(super) fn squeeze(call: &mut Call<'_, '_>) -> Outcome {
    let value = call.input(0)?;
    let own = call.build.shape(&value)?;
    let gone = match call.optional_integers(1)? {
        Some(values) => axes(&values, own.len())?,
        None => (0..own.len()).filter(|&axis| own[axis] == 1).collect(),
    };
    if let Some(wide) = gone.iter().find(|&&axis| own[axis] != 1) {
        return Err(Problem::new(format!("the shape {own:?}"), format!("an extent of 1 at axis {wide}")));
    }
    let shape: Vec<usize> = (0..own.len()).filter(|axis| !gone.contains(axis)).map(|axis| own[axis]).collect();
    Ok(vec![call.build.reshaped(&value, &shape)?])
}

pub(super) fn unsqueeze(call: &mut Call<'_, '_>) -> Outcome {
    let (value, new) = (call.input(0)?, call.integers(1)?);
    let mut shape = call.build.shape(&value)?;
    for axis in axes(&new, shape.len() + new.len())? {
        if axis > shape.len() {
            return Err(Problem::new(format!("the axes {new:?}"), "new axes that leave no gap"));
        }
        shape.insert(axis, 1);
    }
    Ok(vec![call.build.reshaped(&value, &shape)?])
}

pub(super) fn transpose(call: &mut Call<'_, '_>) -> Outcome {
    let value = call.input(0)?;
    let rank = call.build.shape(&value)?.len();
    let order = match call.list("perm")? {
        Some(order) => order.iter().map(|&each| axis(each, rank)).collect::<Result<Vec<_>, _>>()?,
        None => (0..rank).rev().collect(),
    };
    Ok(vec![call.build.permuted(&value, &order)?])
}

pub(super) fn expand(call: &mut Call<'_, '_>) -> Outcome {
    let (value, wanted) = (call.input(0)?, extents(&call.integers(1)?)?);
    let own = call.build.shape(&value)?;
    let shape = common_shape(&[&own, &wanted])?;
    Ok(vec![call.build.expanded(&value, &shape)?])
}

/// So many copies along each axis.
pub(super) fn tile(call: &mut Call<'_, '_>) -> Outcome {
    let (value, repeats) = (call.input(0)?, extents(&call.integers(1)?)?);
    let own = call.build.shape(&value)?;
    if repeats.len() != own.len() {
        return Err(Problem::new(format!("{} repeats", repeats.len()), format!("{}, one for each axis", own.len())));
    }
    // Copies stand before each axis, and become one with it.
    let pairs = |f: fn(usize, usize) -> [usize; 2]| -> Vec<usize> {
        repeats.iter().zip(&own).flat_map(|(&n, &extent)| f(n, extent)).collect()
    };
    let single = call.build.reshaped(&value, &pairs(|_, extent| [1, extent]))?;
    let copied = call.build.expanded(&single, &pairs(|n, extent| [n, extent]))?;
    let shape: Vec<usize> = repeats.iter().zip(&own).map(|(n, extent)| n.saturating_mul(*extent)).collect();
    Ok(vec![call.build.reshaped(&copied, &shape)?])
}

pub(super) fn concat(call: &mut Call<'_, '_>) -> Outcome {
    let parts = (0..call.n_inputs()).map(|at| call.input(at)).collect::<Result<Vec<_>, _>>()?;
    let shapes = parts.iter().map(|part| call.build.shape(part)).collect::<Result<Vec<_>, _>>()?;
    let Some(first) = shapes.first() else { return Err(Problem::new("nothing", "parts to join")) };
    let at = axis(call.integer("axis", 0)?, first.len())?;
    let fits = |shape: &Vec<usize>| {
        shape.len() == first.len() && (0..shape.len()).all(|axis| axis == at || shape[axis] == first[axis])
    };
    if !shapes.iter().all(fits) {
        return Err(Problem::new(format!("the shapes {shapes:?}"), format!("shapes equal but along axis {at}")));
    }
    let known: Option<Vec<_>> = parts.iter().map(|part| part.known().cloned()).collect();
    if let Some(hosts) = known {
        let mut shape = first.clone();
        shape[at] = shapes.iter().fold(0, |sum, shape| sum.saturating_add(shape[at]));
        let mut source = vec![0; shape.len()];
        let value = |index: &[usize]| {
            source.copy_from_slice(index);
            let mut hosts = hosts.iter();
            loop {
                let host = hosts.next().expect("extents of the parts add up to that of the result");
                match source[at].checked_sub(host.shape[at]) {
                    Some(further) => source[at] = further,
                    None => return host.at(&source),
                }
            }
        };
        return Ok(vec![call.build.host(shape, hosts[0].kind, value)?]);
    }
    // What is empty adds nothing.
    let mut nodes = Vec::with_capacity(parts.len());
    for (part, shape) in parts.iter().zip(&shapes) {
        if shape[at] > 0 {
            nodes.push(call.build.floats(part)?);
        }
    }
    Call::done(call.build.g.concat(&nodes, at))
}

/// The pieces of `Split` and `SplitToSequence`.
fn pieces(call: &mut Call<'_, '_>, value: &Value, at: usize, sizes: &[i64]) -> Outcome {
    let extent = call.build.shape(value)?[at];
    let sizes = extents(sizes)?;
    if sizes.iter().try_fold(0_usize, |sum, &size| sum.checked_add(size)) != Some(extent) {
        return Err(Problem::new(format!("pieces of {sizes:?}"), format!("pieces of {extent} in all")));
    }
    call.build.claim(extent)?;
    let mut start = 0;
    let mut results = Vec::with_capacity(sizes.len());
    for size in sizes {
        let places: Vec<usize> = (start..start + size).collect();
        results.push(call.build.taken(value, at, &places)?);
        start += size;
    }
    Ok(results)
}

pub(super) fn split(call: &mut Call<'_, '_>) -> Outcome {
    let value = call.input(0)?;
    let own = call.build.shape(&value)?;
    let at = axis(call.integer("axis", 0)?, own.len())?;
    let sizes = call.optional_integers(1)?.unwrap_or_else(|| {
        // Equal pieces, the last of which may be smaller.
        let n = call.operation.outputs.len().max(1);
        let each = own[at].div_ceil(n);
        (0..n).map(|i| own[at].saturating_sub(i * each).min(each) as i64).collect()
    });
    pieces(call, &value, at, &sizes)
}

pub(super) fn split_to_sequence(call: &mut Call<'_, '_>) -> Outcome {
    let value = call.input(0)?;
    let own = call.build.shape(&value)?;
    let at = axis(call.integer("axis", 0)?, own.len())?;
    call.build.claim(own[at])?;
    // A single number is the size of all pieces, 1 unless given; a list has the size of each.
    let given = if call.optional(1).is_some() { call.known(1)? } else { Host::scalar(Kind::Int, 1.0).into() };
    let sizes = match given.integers()[..] {
        [size] if given.shape.is_empty() && size > 0 => {
            let size = size as usize;
            (0..own[at]).step_by(size).map(|start| (own[at] - start).min(size) as i64).collect()
        }
        _ => given.integers(),
    };
    if sizes.len() > MAX_PIECES {
        return Err(Problem::new(format!("{} pieces", sizes.len()), format!("at most {MAX_PIECES}")));
    }
    Ok(vec![Value::List(pieces(call, &value, at, &sizes)?)])
}

/// Entries from start to end by steps, along some axes.
pub(super) fn slice(call: &mut Call<'_, '_>) -> Outcome {
    let mut value = call.input(0)?;
    let (starts, ends) = (call.integers(1)?, call.integers(2)?);
    let rank = call.build.shape(&value)?.len();
    let along = call.optional_integers(3)?.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = call.optional_integers(4)?.unwrap_or_else(|| vec![1; starts.len()]);
    if [ends.len(), along.len(), steps.len()] != [starts.len(); 3] {
        return Err(Problem::new("starts, ends, axes and steps of several lengths", "one of each for every axis"));
    }
    for (((start, end), along), step) in starts.into_iter().zip(ends).zip(along).zip(steps) {
        let at = axis(along, rank)?;
        let extent = call.build.shape(&value)?[at] as i64;
        if step == 0 {
            return Err(Problem::new("a step of 0", "another"));
        }
        call.build.claim(extent as usize)?;
        let from_start = |place: i64| if place < 0 { place.saturating_add(extent) } else { place };
        let (start, end) = (from_start(start), from_start(end));
        let places: Vec<usize> = if step > 0 {
            let (start, end) = (start.clamp(0, extent), end.clamp(0, extent));
            (start..end).step_by(step as usize).map(|place| place as usize).collect()
        } else {
            let (start, end) = (start.clamp(-1, extent - 1), end.clamp(-1, extent - 1));
            (end + 1..=start).rev().step_by(step.unsigned_abs() as usize).map(|place| place as usize).collect()
        };
        value = call.build.taken(&value, at, &places)?;
    }
    Ok(vec![value])
}

/// Entries of an axis by index; rows of a table by the input's ids.
pub(super) fn gather(call: &mut Call<'_, '_>) -> Outcome {
    let (data, indices) = (call.input(0)?, call.input(1)?);
    let own = call.build.shape(&data)?;
    let at = axis(call.integer("axis", 0)?, own.len())?;
    let shape = call.build.shape(&indices)?;
    let result = [&own[..at], &shape, &own[at + 1..]].concat();
    if let Value::Host(indices) = &indices {
        let places = indices.integers().iter().map(|&i| axis(i, own[at])).collect::<Result<Vec<_>, _>>()?;
        let taken = call.build.taken(&data, at, &places)?;
        return Ok(vec![call.build.reshaped(&taken, &result)?]);
    }
    let Value::Run(ids, Kind::Int) = indices else {
        return Err(Problem::new("indices that the network computes", "the input's ids, or constants"));
    };
    let table = call.build.floats(&data)?;
    // Rows of the first axis are looked up; the new axes then go where the old one was.
    let order: Vec<usize> = [at].into_iter().chain((0..own.len()).filter(|&axis| axis != at)).collect();
    let table = call.build.g.permute(table, &order);
    let rows = call.build.g.gather(table, ids);
    let (n_ids, rank) = (shape.len(), result.len());
    let order: Vec<usize> = (n_ids..n_ids + at).chain(0..n_ids).chain(n_ids + at..rank).collect();
    Call::done(call.build.g.permute(rows, &order))
}

/// A constant on all sides; less than nothing cuts off.
pub(super) fn pad(call: &mut Call<'_, '_>) -> Outcome {
    let mode = call.text("mode", "constant")?;
    if mode != "constant" {
        return Err(Problem::new(format!("`mode` = {mode}"), "`constant`"));
    }
    let (mut value, pads) = (call.input(0)?, call.integers(1)?);
    let fill = call.optional(2).map(|_| call.known(2)?.single()).transpose()?.unwrap_or(0.0);
    let rank = call.build.shape(&value)?.len();
    let along = call.optional_integers(3)?.unwrap_or_else(|| (0..rank as i64).collect());
    if pads.len() != 2 * along.len() {
        return Err(Problem::new(format!("{} pads", pads.len()), format!("two for each of {} axes", along.len())));
    }
    for (i, &each) in along.iter().enumerate() {
        let at = axis(each, rank)?;
        let (before, after) = (pads[i], pads[along.len() + i]);
        let extent = call.build.shape(&value)?[at] as i64;
        call.build.claim(extent as usize)?;
        let kept: Vec<usize> = (before.saturating_neg().clamp(0, extent)..extent.saturating_add(after.min(0)).max(0))
            .map(|place| place as usize)
            .collect();
        if kept.len() as i64 != extent {
            value = call.build.taken(&value, at, &kept)?;
        }
        let (before, after) = (before.max(0) as usize, after.max(0) as usize);
        value = match &value {
            Value::Host(host) => {
                let (inner, mut shape) = (host.shape[at], host.shape.clone());
                shape[at] = inner.saturating_add(before).saturating_add(after);
                let mut source = vec![0; rank];
                call.build.host(shape, host.kind, |index| match index[at].checked_sub(before) {
                    Some(place) if place < inner => {
                        source.copy_from_slice(index);
                        source[at] = place;
                        host.at(&source)
                    }
                    _ => fill,
                })?
            }
            _ if before == 0 && after == 0 => value,
            _ => {
                // Zeros are put around the difference from the constant.
                let node = call.build.floats(&value)?;
                let g = &mut *call.build.g;
                if fill == 0.0 {
                    Value::Run(g.pad(node, at, before, after), Kind::Float)
                } else if fill.is_finite() {
                    let constant = g.constant(fill);
                    let difference = g.sub(node, constant);
                    let padded = g.pad(difference, at, before, after);
                    Value::Run(g.add(padded, constant), Kind::Float)
                } else {
                    return Err(Problem::new(format!("a padding of {fill}"), "a finite number"));
                }
            }
        };
    }
    Ok(vec![value])
}
