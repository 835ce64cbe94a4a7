//! Convolutions, pooling, and normalisations.

use ontogeny_graph::{Convolution, Node};

use crate::onnx::build::{Build, Call, Outcome, Value};
use crate::onnx::error::{EXPORT, Problem};
use crate::onnx::host::axis;

/// Stride, padding before and after, and the like of a window over `n` axes.
struct Window {
    stride: Vec<usize>,
    before: Vec<usize>,
    after: Vec<usize>,
    dilation: Vec<usize>,
}

impl Window {
    /// For windows of `size` over axes of `extents`.
    fn read(call: &Call<'_, '_>, size: &[usize], extents: &[usize]) -> Result<Self, Problem> {
        let n = size.len();
        let stride = call.counts("strides", n, 1)?;
        let dilation = call.counts("dilations", n, 1)?;
        if stride.contains(&0) || dilation.contains(&0) || size.contains(&0) {
            return Err(Problem::new("a window, stride or dilation of 0", "1 or more"));
        }
        let (mut before, mut after) = (vec![0; n], vec![0; n]);
        match call.text("auto_pad", "NOTSET")?.as_str() {
            "NOTSET" | "" => {
                let pads = call.counts("pads", 2 * n, 0)?;
                before.copy_from_slice(&pads[..n]);
                after.copy_from_slice(&pads[n..]);
            }
            "VALID" => {}
            same @ ("SAME_UPPER" | "SAME_LOWER") => {
                // As many windows as the extent holds strides, the odd zero at one end.
                for i in 0..n {
                    let reach = (size[i] - 1).saturating_mul(dilation[i]).saturating_add(1);
                    let wanted = (extents[i].div_ceil(stride[i]) - 1).saturating_mul(stride[i]).saturating_add(reach);
                    let total = wanted.saturating_sub(extents[i]);
                    let small = total / 2;
                    (before[i], after[i]) =
                        if same == "SAME_UPPER" { (small, total - small) } else { (total - small, small) };
                }
            }
            other => return Err(Problem::new(format!("`auto_pad` = {other}"), "NOTSET, VALID or SAME_UPPER")),
        }
        Ok(Self { stride, before, after, dilation })
    }
}

/// Over one or two spatial axes.
pub(super) fn conv(call: &mut Call<'_, '_>) -> Outcome {
    let (x, kernel) = (call.floats(0)?, call.floats(1)?);
    let (own, weight) = (call.build.g.shape(x).to_vec(), call.build.g.shape(kernel).to_vec());
    let n = own.len().saturating_sub(2);
    if !(1..=2).contains(&n) || weight.len() != own.len() {
        let found = format!("{own:?} and a kernel {weight:?}");
        return Err(Problem::new(found, "[batch, in, …] and [out, in/groups, …] with one or two spatial axes"));
    }
    let Window { stride, before, after, dilation } = Window::read(call, &weight[2..], &own[2..])?;
    let groups = usize::try_from(call.integer("group", 1)?).unwrap_or(0);
    let g = &mut *call.build.g;
    let mut padded = x;
    for i in 0..n {
        if before[i] > 0 || after[i] > 0 {
            padded = g.pad(padded, 2 + i, before[i], after[i]);
        }
    }
    let node = if n == 1 {
        let convolution = Convolution { stride: [stride[0]], padding: [0], dilation: [dilation[0]], groups };
        g.conv1d(padded, kernel, convolution)
    } else {
        let (stride, dilation) = ([stride[0], stride[1]], [dilation[0], dilation[1]]);
        g.conv2d(padded, kernel, Convolution { stride, padding: [0, 0], dilation, groups })
    };
    if call.optional(2).is_none() {
        return Call::done(node);
    }
    let bias = call.floats(2)?;
    let bias = call.build.g.per_channel(bias, node);
    Call::done(call.build.g.add(node, bias))
}

/// What pooling reads, with two spatial axes, and how its windows move.
struct Pool {
    x: Node,
    size: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
    /// Whether the first of the two was put in.
    is_1d: bool,
}

impl Pool {
    fn read(call: &mut Call<'_, '_>) -> Result<Self, Problem> {
        let x = call.floats(0)?;
        let own = call.build.g.shape(x).to_vec();
        let n = own.len().saturating_sub(2);
        if !(1..=2).contains(&n) {
            return Err(Problem::new(
                format!("the shape {own:?}"),
                "[batch, channels, …] with one or two spatial axes",
            ));
        }
        let size = call.counts("kernel_shape", n, 1)?;
        let Window { stride, before, after, dilation } = Window::read(call, &size, &own[2..])?;
        if before != after || dilation.iter().any(|&d| d != 1) {
            let found = format!("padding {before:?} and {after:?}, dilations {dilation:?}");
            return Err(Problem::new(found, "the same padding on both sides, and no dilation"));
        }
        let rounds_up = call.integer("ceil_mode", 0)? != 0;
        let leaves_rest =
            |i: usize| before[i].saturating_mul(2).saturating_add(own[2 + i]).saturating_sub(size[i]) % stride[i] != 0;
        if rounds_up && (0..n).any(leaves_rest) {
            return Err(Problem::new("`ceil_mode` = 1 where windows leave a rest", "0"));
        }
        let wide = |values: &[usize], missing| if n == 1 { [missing, values[0]] } else { [values[0], values[1]] };
        let x = if n == 1 { call.build.g.reshape(x, &[own[0], own[1], 1, own[2]]) } else { x };
        Ok(Self { x, size: wide(&size, 1), stride: wide(&stride, 1), padding: wide(&before, 0), is_1d: n == 1 })
    }

    fn finish(&self, build: &mut Build<'_>, node: Node) -> Outcome {
        let shape = build.g.shape(node).to_vec();
        match shape[..] {
            [batch, channels, _, length] if self.is_1d => Call::done(build.g.reshape(node, &[batch, channels, length])),
            _ => Call::done(node),
        }
    }
}

pub(super) fn max_pool(call: &mut Call<'_, '_>) -> Outcome {
    if call.operation.outputs.len() > 1 {
        return Err(Problem::new("the places of the maxima as a second result", "the maxima alone"));
    }
    let pool = Pool::read(call)?;
    let node = call.build.g.max_pool2d(pool.x, pool.size, pool.stride, pool.padding);
    pool.finish(call.build, node)
}

pub(super) fn average_pool(call: &mut Call<'_, '_>) -> Outcome {
    let pool = Pool::read(call)?;
    let counts_padding = call.integer("count_include_pad", 0)? != 0;
    let g = &mut *call.build.g;
    let mut node = g.avg_pool2d(pool.x, pool.size, pool.stride, pool.padding);
    if pool.padding != [0, 0] && !counts_padding {
        // The share of each window that is no padding.
        let shape = g.shape(pool.x).to_vec();
        let one = g.constant(1.0);
        let ones = g.broadcast(one, &[&[1, 1], &shape[2..]].concat());
        let share = g.avg_pool2d(ones, pool.size, pool.stride, pool.padding);
        node = g.div(node, share);
    }
    pool.finish(call.build, node)
}

/// Over all spatial axes, which keep an extent of 1.
pub(super) fn global_pool(call: &mut Call<'_, '_>) -> Outcome {
    let x = call.floats(0)?;
    let g = &mut *call.build.g;
    let gone: Vec<usize> = (2..g.shape(x).len()).collect();
    let node = if call.operation.operator == "GlobalMaxPool" { g.max(x, &gone) } else { g.mean(x, &gone) };
    Call::done(g.keep_axes(node, &gone))
}

/// Nothing is dropped while a network is measured.
pub(super) fn dropout(call: &mut Call<'_, '_>) -> Outcome {
    if call.optional(2).is_some() && call.known(2)?.single()? != 0.0 {
        return Err(Problem::new("dropout in training mode", format!("a network in evaluation; {EXPORT}")));
    }
    Ok(vec![call.input(0)?])
}

/// With the statistics of the file or of a checkpoint; where scale and shift are weights, the statistics are in them.
pub(super) fn batch_norm(call: &mut Call<'_, '_>) -> Outcome {
    if call.integer("training_mode", 0)? != 0 {
        let found = "a batch norm in training mode, which makes every loss depend on the whole batch";
        return Err(Problem::new(found, format!("a network in evaluation; {EXPORT}")));
    }
    let epsilon = call.float("epsilon", 1e-5)?;
    let is_folded = call.operation.inputs.get(1).is_some_and(|scale| call.build.folded.contains(scale));
    let (x, scale, shift) = (call.floats(0)?, call.floats(1)?, call.floats(2)?);
    if !is_folded {
        let (mean, variance) = (call.floats(3)?, call.floats(4)?);
        return Call::done(call.build.g.frozen_batch_norm(x, [mean, variance], [scale, shift], epsilon));
    }
    let g = &mut *call.build.g;
    let (scale, shift) = (g.per_channel(scale, x), g.per_channel(shift, x));
    let scaled = g.mul(x, scale);
    Call::done(g.add(scaled, shift))
}

/// Over all axes from `axis` on, with mean (`LayerNormalization`) or without (`RMSNormalization`).
pub(super) fn layer_norm(call: &mut Call<'_, '_>) -> Outcome {
    if call.operation.outputs.iter().skip(1).any(|name| !name.is_empty()) {
        return Err(Problem::new("mean or deviation as a second result", "the normalised values alone"));
    }
    let x = call.floats(0)?;
    let shape = call.build.g.shape(x).to_vec();
    let at = axis(call.integer("axis", -1)?, shape.len())?;
    let epsilon = call.float("epsilon", 1e-5)?;
    let is_rms = call.operation.operator == "RMSNormalization";
    let g = &mut *call.build.g;
    // The axes become one, and are parted again.
    let flat = [&shape[..at], &[shape[at..].iter().product()]].concat();
    let x = g.reshape(x, &flat);
    let node = if is_rms { g.rms_normalize(x, epsilon) } else { g.normalize(x, epsilon) };
    let node = g.reshape(node, &shape);
    affine(call, node, |_, weight, _| weight)
}

/// Each channel of each example by itself.
pub(super) fn instance_norm(call: &mut Call<'_, '_>) -> Outcome {
    let x = call.floats(0)?;
    let channels = call.build.g.shape(x).get(1).copied().unwrap_or(1);
    let node = normalized_groups(call, x, channels)?;
    affine(call, node, |build, weight, like| build.g.per_channel(weight, like))
}

/// Channels in groups (Wu & He 2018).
pub(super) fn group_norm(call: &mut Call<'_, '_>) -> Outcome {
    if call.opset < 21 {
        return Err(Problem::new("GroupNormalization before opset 21, with weights for groups", "`opset_version=21`"));
    }
    let x = call.floats(0)?;
    let groups = usize::try_from(call.integer("num_groups", 0)?).unwrap_or(0);
    let node = normalized_groups(call, x, groups)?;
    affine(call, node, |build, weight, like| build.g.per_channel(weight, like))
}

fn normalized_groups(call: &mut Call<'_, '_>, x: Node, groups: usize) -> Result<Node, Problem> {
    let epsilon = call.float("epsilon", 1e-5)?;
    let shape = call.build.g.shape(x).to_vec();
    let n_channels = shape.get(1).copied().unwrap_or(0);
    if groups == 0 || !n_channels.is_multiple_of(groups) {
        return Err(Problem::new(format!("{groups} groups of the shape {shape:?}"), "groups that divide the channels"));
    }
    let size = shape[1..].iter().product::<usize>() / groups;
    let g = &mut *call.build.g;
    let cut = g.reshape(x, &[shape[0], groups, size]);
    let node = g.normalize(cut, epsilon);
    Ok(g.reshape(node, &shape))
}

/// ·weight + bias, where they are given.
fn affine(call: &mut Call<'_, '_>, mut node: Node, spread: impl Fn(&mut Build<'_>, Node, Node) -> Node) -> Outcome {
    for (at, is_scale) in [(1, true), (2, false)] {
        let Some(value) = call.optional(at) else { continue };
        let weight = call.build.floats(&value)?;
        let weight = spread(call.build, weight, node);
        node = if is_scale { call.build.g.mul(node, weight) } else { call.build.g.add(node, weight) };
    }
    Ok(vec![Value::Run(node, crate::onnx::host::Kind::Float)])
}
