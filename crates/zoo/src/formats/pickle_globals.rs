//! The globals that a pickle may name: what PyTorch and NumPy need to describe tensors, and the builtin containers.
//!
//! The list is kept to what checkpoints of weights, optimiser states and plain numbers hold. A class belongs on it
//! only if building one from any arguments does nothing but hold them.

/// Whether `module.name` stands for plain data.
pub(super) fn is_data(module: &str, name: &str) -> bool {
    ALLOWED.iter().any(|&(allowed, names)| allowed == module && names.contains(&name))
}

/// Modules and the names in them that stand for data.
const ALLOWED: &[(&str, &[&str])] = &[
    ("__builtin__", BUILTINS),
    ("builtins", BUILTINS),
    ("_codecs", &["encode"]),
    ("collections", &["Counter", "OrderedDict", "defaultdict"]),
    ("numpy", NUMPY),
    ("numpy.core.multiarray", &["_reconstruct", "scalar"]),
    ("numpy._core.multiarray", &["_reconstruct", "scalar"]),
    ("torch", TORCH),
    (
        "torch._utils",
        &[
            "_rebuild_parameter",
            "_rebuild_parameter_with_state",
            "_rebuild_tensor",
            "_rebuild_tensor_v2",
            "_rebuild_tensor_v3",
        ],
    ),
    ("torch.storage", &["TypedStorage", "UntypedStorage"]),
];

const BUILTINS: &[&str] = &[
    "bool",
    "bytearray",
    "bytes",
    "complex",
    "dict",
    "float",
    "frozenset",
    "int",
    "list",
    "set",
    "slice",
    "str",
    "tuple",
];

const NUMPY: &[&str] = &["dtype", "ndarray"];

const TORCH: &[&str] = &[
    "BFloat16Storage",
    "BoolStorage",
    "ByteStorage",
    "CharStorage",
    "DoubleStorage",
    "FloatStorage",
    "HalfStorage",
    "IntStorage",
    "LongStorage",
    "ShortStorage",
    "Size",
    "UntypedStorage",
    "bfloat16",
    "bool",
    "device",
    "float16",
    "float32",
    "float64",
    "int16",
    "int32",
    "int64",
    "int8",
    "uint16",
    "uint32",
    "uint64",
    "uint8",
];
