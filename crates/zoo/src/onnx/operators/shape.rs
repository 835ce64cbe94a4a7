//! Operators that make values: constants, shapes, ranges, sequences.

use crate::onnx::build::{Call, Outcome, Value};
use crate::onnx::error::Problem;
use crate::onnx::file::Setting;
use crate::onnx::host::{Host, Kind, axis};

pub(super) fn identity(call: &mut Call<'_, '_>) -> Outcome {
    Ok(vec![call.input(0)?])
}

pub(super) fn constant(call: &mut Call<'_, '_>) -> Outcome {
    let mut settings = call.operation.settings.iter();
    let host = match (settings.next(), settings.next()) {
        (Some((_, Setting::Tensor(tensor))), None) => {
            call.build.claim(tensor.data.len())?;
            Host::of_tensor(tensor)
        }
        (Some((_, Setting::Integer(value))), None) => Host::scalar(Kind::Int, *value as f64),
        (Some((_, Setting::Float(value))), None) => Host::scalar(Kind::Float, f64::from(*value)),
        (Some((_, Setting::Integers(values))), None) => {
            Host::list(Kind::Int, values.iter().map(|&x| x as f64).collect())
        }
        (Some((_, Setting::Floats(values))), None) => {
            Host::list(Kind::Float, values.iter().map(|&x| f64::from(x)).collect())
        }
        _ => return Err(Problem::new("no constant, or one of text or of sparse values", "numbers in one attribute")),
    };
    Ok(vec![Value::of(host)])
}

pub(super) fn constant_of_shape(call: &mut Call<'_, '_>) -> Outcome {
    let shape = extents(&call.integers(0)?)?;
    let (kind, value) = match call.operation.settings.get("value") {
        None => (Kind::Float, 0.0),
        Some(Setting::Tensor(tensor)) => {
            let host = Host::of_tensor(tensor);
            (host.kind, host.single()?)
        }
        Some(_) => return Err(Problem::new("an attribute `value` of another type", "a tensor")),
    };
    Ok(vec![call.build.host(shape, kind, |_| value)?])
}

/// A shape out of integers.
pub(super) fn extents(values: &[i64]) -> Result<Vec<usize>, Problem> {
    let extents = values.iter().map(|&value| usize::try_from(value).ok()).collect::<Option<_>>();
    extents.ok_or_else(|| Problem::new(format!("the shape {values:?}"), "extents of 0 or more"))
}

pub(super) fn shape(call: &mut Call<'_, '_>) -> Outcome {
    let value = call.input(0)?;
    let shape = call.build.shape(&value)?;
    let rank = shape.len() as i64;
    let end = |name, missing| {
        let at = call.integer(name, missing)?;
        Ok((if at < 0 { at.saturating_add(rank) } else { at }).clamp(0, rank) as usize)
    };
    let (start, end): (usize, usize) = (end("start", 0)?, end("end", rank)?);
    let extents = shape[start..end.max(start)].iter().map(|&extent| extent as f64).collect();
    Ok(vec![Value::of(Host::list(Kind::Int, extents))])
}

pub(super) fn size(call: &mut Call<'_, '_>) -> Outcome {
    let value = call.input(0)?;
    let n: usize = call.build.shape(&value)?.iter().product();
    Ok(vec![Value::of(Host::scalar(Kind::Int, n as f64))])
}

/// start, start + step, … below the limit.
pub(super) fn range(call: &mut Call<'_, '_>) -> Outcome {
    let kind = call.known(0)?.kind;
    let of = |at| call.known(at)?.single();
    let (start, limit, step) = (of(0)?, of(1)?, of(2)?);
    let n = ((limit - start) / step).ceil().max(0.0);
    if !n.is_finite() {
        return Err(Problem::new(format!("a range from {start} to {limit} by {step}"), "one that ends"));
    }
    Ok(vec![call.build.host(vec![n as usize], kind, |index| start + index[0] as f64 * step)?])
}

/// What stands above, or below, a diagonal; 0 elsewhere.
pub(super) fn trilu(call: &mut Call<'_, '_>) -> Outcome {
    let x = call.input(0)?;
    let shape = call.build.shape(&x)?;
    let rank = shape.len();
    if rank < 2 {
        return Err(Problem::new(format!("the shape {shape:?}"), "at least two axes"));
    }
    let diagonal = call.optional_integers(1)?.and_then(|values| values.first().copied()).unwrap_or(0);
    let is_upper = call.integer("upper", 1)? != 0;
    let is_kept = move |row: usize, column: usize| {
        let above = (column as i64 - row as i64).saturating_sub(diagonal);
        if is_upper { above >= 0 } else { above <= 0 }
    };
    if let Value::Host(host) = &x {
        let value = |index: &[usize]| if is_kept(index[rank - 2], index[rank - 1]) { host.at(index) } else { 0.0 };
        return Ok(vec![call.build.host(shape.clone(), host.kind, value)?]);
    }
    let (rows, columns) = (shape[rank - 2], shape[rank - 1]);
    let mask = call.build.host(vec![rows, columns], Kind::Bool, |index| f64::from(is_kept(index[0], index[1])))?;
    let (mask, x) = (call.build.floats(&mask)?, call.build.floats(&x)?);
    let zero = call.build.g.constant(0.0);
    Call::done(call.build.g.select(mask, x, zero))
}

/// Rows of the unit matrix, as the last axis.
pub(super) fn one_hot(call: &mut Call<'_, '_>) -> Outcome {
    let ids = call.input(0)?;
    let (depth, values) = (call.known(1)?.single()?, call.known(2)?);
    let (Value::Run(ids, Kind::Int), [off, on]) = (&ids, &values.values[..]) else {
        return Err(Problem::new("ids that are not the input's, or other than two values", "ids and [off, on]"));
    };
    let rank = call.build.g.shape(*ids).len();
    if axis(call.integer("axis", -1)?, rank + 1)? != rank {
        return Err(Problem::new("an `axis` that is not the last", "-1"));
    }
    let n = depth as usize;
    let (off, on, kind) = (*off, *on, values.kind);
    let table = call.build.host(vec![n, n], kind, |index| if index[0] == index[1] { on } else { off })?;
    let table = call.build.floats(&table)?;
    Call::done(call.build.g.gather(table, *ids))
}

pub(super) fn sequence_at(call: &mut Call<'_, '_>) -> Outcome {
    let Value::List(values) = call.input(0)? else {
        return Err(Problem::new("a tensor", "a sequence"));
    };
    let at = axis(call.known(1)?.single()? as i64, values.len())?;
    Ok(vec![values[at].clone()])
}
