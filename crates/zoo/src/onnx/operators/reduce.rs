//! Reductions over axes, and softmax.

use ontogeny_graph::Node;

use crate::onnx::build::{Build, Call, Outcome, Value};
use crate::onnx::error::Problem;
use crate::onnx::host::{axes, axis};

/// `ReduceSum` and its relatives; axes are an operand or (before opset 18) an attribute.
pub(super) fn reduce(call: &mut Call<'_, '_>) -> Outcome {
    let name = call.operation.operator.clone();
    let value = call.input(0)?;
    let own = call.build.shape(&value)?;
    let given = match call.optional_integers(1)? {
        Some(given) => Some(given),
        None => call.list("axes")?,
    };
    let gone = match given.filter(|given| !given.is_empty()) {
        Some(given) => axes(&given, own.len())?,
        None if call.integer("noop_with_empty_axes", 0)? != 0 => return Ok(vec![value]),
        None => (0..own.len()).collect(),
    };
    let keeps = call.integer("keepdims", 1)? != 0;
    let kept: Vec<usize> = (0..own.len()).filter(|axis| keeps || !gone.contains(axis)).collect();
    let shape: Vec<usize> = kept.iter().map(|axis| if gone.contains(axis) { 1 } else { own[*axis] }).collect();
    if let (Value::Host(host), "ReduceSum" | "ReduceMean" | "ReduceMax" | "ReduceMin" | "ReduceProd") =
        (&value, name.as_str())
    {
        let inner: Vec<usize> = gone.iter().map(|&axis| own[axis]).collect();
        // Every value is read once.
        call.build.claim(host.values.len())?;
        let n: usize = inner.iter().product();
        let result = call.build.host(shape, host.kind, |index| {
            let mut source = vec![0; own.len()];
            for (&axis, &at) in kept.iter().zip(index) {
                source[axis] = at;
            }
            let values = (0..n).map(|mut flat| {
                for (&axis, &extent) in gone.iter().zip(&inner).rev() {
                    source[axis] = flat % extent;
                    flat /= extent;
                }
                host.at(&source)
            });
            match name.as_str() {
                "ReduceSum" => values.sum(),
                "ReduceMean" => values.sum::<f64>() / n as f64,
                "ReduceMax" => values.fold(f64::NEG_INFINITY, f64::max),
                "ReduceMin" => values.fold(f64::INFINITY, f64::min),
                _ => values.product(),
            }
        })?;
        return Ok(vec![result]);
    }
    let x = call.build.floats(&value)?;
    let node = run(call.build, &name, x, &gone)?;
    Call::done(call.build.g.reshape(node, &shape))
}

fn run(build: &mut Build<'_>, name: &str, x: Node, gone: &[usize]) -> Result<Node, Problem> {
    let g = &mut *build.g;
    Ok(match name {
        "ReduceSum" => g.sum(x, gone),
        "ReduceMean" => g.mean(x, gone),
        "ReduceMax" => g.max(x, gone),
        "ReduceMin" => {
            let negative = g.neg(x);
            let most = g.max(negative, gone);
            g.neg(most)
        }
        "ReduceSumSquare" | "ReduceL2" => {
            let square = g.square(x);
            let sum = g.sum(square, gone);
            if name == "ReduceL2" { g.sqrt(sum) } else { sum }
        }
        "ReduceLogSumExp" => {
            // ln Σ e^(x − m) + m for the largest entry m, so that nothing overflows.
            let most = g.max(x, gone);
            let wide = g.keep_axes(most, gone);
            let shifted = g.sub(x, wide);
            let exponential = g.exp(shifted);
            let sum = g.sum(exponential, gone);
            let logarithm = g.log(sum);
            g.add(logarithm, most)
        }
        _ => return Err(Problem::new(format!("{name} of what the network computes"), "one of constants")),
    })
}

/// `Softmax` and `LogSoftmax` over any axis.
pub(super) fn softmax(call: &mut Call<'_, '_>) -> Outcome {
    let x = call.floats(0)?;
    let rank = call.build.g.shape(x).len();
    let at = axis(call.integer("axis", -1)?, rank)?;
    let is_log = call.operation.operator == "LogSoftmax";
    let g = &mut *call.build.g;
    // The axis changes places with the last, and back.
    let mut order: Vec<usize> = (0..rank).collect();
    order.swap(at, rank - 1);
    let x = g.permute(x, &order);
    let node = if is_log { g.log_softmax(x) } else { g.softmax(x) };
    Call::done(g.permute(node, &order))
}

/// Sums of all entries up to each; of constants only.
pub(super) fn cumulative_sum(call: &mut Call<'_, '_>) -> Outcome {
    let host = call.known(0)?;
    let at = axis(call.known(1)?.single()? as i64, host.shape.len())?;
    call.only("exclusive", 0)?;
    call.only("reverse", 0)?;
    // Entry by entry, each from the one before it.
    let stride: usize = host.shape[at + 1..].iter().product();
    let mut values = host.values.clone();
    call.build.claim(values.len())?;
    let extent = host.shape[at];
    for flat in 0..values.len() {
        if !(flat / stride).is_multiple_of(extent) {
            values[flat] += values[flat - stride];
        }
    }
    let (kind, shape) = (host.kind, host.shape.clone());
    let mut values = values.into_iter();
    Ok(vec![call.build.host(shape, kind, |_| values.next().expect("as many values as the shape has"))?])
}
