//! The operators of ONNX that are understood, by name; what they mean is in <https://onnx.ai/onnx/operators/>.

mod elementwise;
mod layers;
mod products;
mod reduce;
mod shape;
mod views;

use super::build::{Call, Outcome};

type Operator = fn(&mut Call<'_, '_>) -> Outcome;

/// Every operator, sorted by name.
const OPERATORS: &[(&str, Operator)] = &[
    ("Abs", elementwise::function),
    ("Add", elementwise::arithmetic),
    ("And", elementwise::arithmetic),
    ("AveragePool", layers::average_pool),
    ("BatchNormalization", layers::batch_norm),
    ("Cast", elementwise::cast),
    ("CastLike", elementwise::cast_like),
    ("Ceil", elementwise::function),
    ("Celu", elementwise::function),
    ("Clip", elementwise::clip),
    ("Concat", views::concat),
    ("Constant", shape::constant),
    ("ConstantOfShape", shape::constant_of_shape),
    ("Conv", layers::conv),
    ("Cos", elementwise::function),
    ("CumSum", reduce::cumulative_sum),
    ("Div", elementwise::arithmetic),
    ("Dropout", layers::dropout),
    ("Einsum", products::einsum),
    ("Elu", elementwise::function),
    ("Equal", elementwise::arithmetic),
    ("Erf", elementwise::function),
    ("Exp", elementwise::function),
    ("Expand", views::expand),
    ("Flatten", views::flatten),
    ("Floor", elementwise::function),
    ("Gather", views::gather),
    ("Gelu", elementwise::function),
    ("Gemm", products::gemm),
    ("GlobalAveragePool", layers::global_pool),
    ("GlobalMaxPool", layers::global_pool),
    ("Greater", elementwise::arithmetic),
    ("GreaterOrEqual", elementwise::arithmetic),
    ("GroupNormalization", layers::group_norm),
    ("HardSigmoid", elementwise::function),
    ("HardSwish", elementwise::function),
    ("Identity", shape::identity),
    ("InstanceNormalization", layers::instance_norm),
    ("IsNaN", elementwise::function),
    ("LayerNormalization", layers::layer_norm),
    ("LeakyRelu", elementwise::function),
    ("Less", elementwise::arithmetic),
    ("LessOrEqual", elementwise::arithmetic),
    ("Log", elementwise::function),
    ("LogSoftmax", reduce::softmax),
    ("MatMul", products::matmul),
    ("Max", elementwise::extremum),
    ("MaxPool", layers::max_pool),
    ("Mean", elementwise::extremum),
    ("Min", elementwise::extremum),
    ("Mish", elementwise::function),
    ("Mod", elementwise::arithmetic),
    ("Mul", elementwise::arithmetic),
    ("Neg", elementwise::function),
    ("Not", elementwise::function),
    ("OneHot", shape::one_hot),
    ("Or", elementwise::arithmetic),
    ("PRelu", elementwise::prelu),
    ("Pad", views::pad),
    ("Pow", elementwise::power),
    ("RMSNormalization", layers::layer_norm),
    ("Range", shape::range),
    ("Reciprocal", elementwise::function),
    ("ReduceL2", reduce::reduce),
    ("ReduceLogSumExp", reduce::reduce),
    ("ReduceMax", reduce::reduce),
    ("ReduceMean", reduce::reduce),
    ("ReduceMin", reduce::reduce),
    ("ReduceProd", reduce::reduce),
    ("ReduceSum", reduce::reduce),
    ("ReduceSumSquare", reduce::reduce),
    ("Relu", elementwise::function),
    ("Reshape", views::reshape),
    ("Round", elementwise::function),
    ("Selu", elementwise::function),
    ("SequenceAt", shape::sequence_at),
    ("Shape", shape::shape),
    ("Sigmoid", elementwise::function),
    ("Sign", elementwise::function),
    ("Sin", elementwise::function),
    ("Size", shape::size),
    ("Slice", views::slice),
    ("Softmax", reduce::softmax),
    ("Softplus", elementwise::function),
    ("Split", views::split),
    ("SplitToSequence", views::split_to_sequence),
    ("Sqrt", elementwise::function),
    ("Squeeze", views::squeeze),
    ("Sub", elementwise::arithmetic),
    ("Sum", elementwise::extremum),
    ("Swish", elementwise::function),
    ("Tanh", elementwise::function),
    ("Tile", views::tile),
    ("Transpose", views::transpose),
    ("Trilu", shape::trilu),
    ("Unsqueeze", views::unsqueeze),
    ("Where", elementwise::choose),
];

/// The operator of that name.
pub(super) fn find(name: &str) -> Option<Operator> {
    let at = OPERATORS.binary_search_by(|(known, _)| known.cmp(&name)).ok()?;
    Some(OPERATORS[at].1)
}

/// All names, for messages.
pub(super) fn names() -> String {
    OPERATORS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operator_is_found() {
        for (name, _) in OPERATORS {
            assert!(find(name).is_some(), "{name} stands out of order");
        }
        assert!(find("Loop").is_none());
    }
}
