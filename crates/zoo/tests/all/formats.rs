//! Weight files written by PyTorch, safetensors and NumPy (tests/fixtures/formats/make_formats.py) read back.

use std::path::{Path, PathBuf};

use ontogeny_zoo::{
    DType, FileFormat, NamedTensor, ScalarValue, TensorData, TensorFile, check_finite, describe, read_tensors,
};

/// Values of the script that are exact in every width.
const SIMPLE: [f32; 6] = [0.5, -1.25, 3.0, 1024.0, -0.007_812_5, 2.0];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/formats").join(name)
}

fn read(name: &str) -> TensorFile {
    read_tensors(fixture(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn tensor(name: &str, shape: &[usize], dtype: DType, data: TensorData) -> NamedTensor {
    NamedTensor { name: name.to_owned(), shape: shape.to_vec(), dtype, data }
}

fn floats(values: &[f32]) -> TensorData {
    TensorData::F32(values.to_vec())
}

/// The script's `state_dict()`, sorted by name.
fn state_dict() -> Vec<NamedTensor> {
    // 1e-12 beside numbers of 0.008 and more is lost in an f32.
    let transposed = [0., 4., 8., 1., 5., 9., 2., 6., 10., 3., 7., 11.];
    vec![
        tensor("bf16", &[2, 3], DType::Bf16, floats(&SIMPLE)),
        tensor("bool", &[3], DType::Bool, TensorData::Bool(vec![true, false, true])),
        tensor("empty", &[0, 3], DType::F32, floats(&[])),
        tensor("f16", &[2, 3], DType::F16, floats(&SIMPLE)),
        tensor("f32", &[2, 3], DType::F32, floats(&SIMPLE)),
        tensor("f64", &[2, 3], DType::F64, floats(&SIMPLE)),
        tensor("i64", &[2], DType::I64, TensorData::I64(vec![-(1 << 40), 7])),
        tensor("parameter", &[2], DType::F32, floats(&[1.0, 2.0])),
        tensor("scalar", &[], DType::F32, floats(&[2.5])),
        tensor("shared.every_third", &[3], DType::F32, floats(&[0., 3., 6.])),
        tensor("shared.first", &[4], DType::F32, floats(&[0., 1., 2., 3.])),
        tensor("shared.last", &[2, 2], DType::F32, floats(&[6., 7., 8., 9.])),
        tensor("transposed", &[4, 3], DType::F32, floats(&transposed)),
        tensor("u8", &[2], DType::U8, TensorData::I64(vec![0, 200])),
    ]
}

#[test]
fn one_state_dict_reads_the_same_from_every_format() {
    let cases = [
        ("state_dict.pt", FileFormat::PytorchZip),
        ("state_dict_protocol4.pt", FileFormat::PytorchZip),
        ("state_dict_without_checksums.pt", FileFormat::PytorchZip),
        ("state_dict_legacy.pt", FileFormat::PytorchLegacy),
        ("state_dict.safetensors", FileFormat::Safetensors),
    ];
    let mut hashes = Vec::new();
    for (name, format) in cases {
        let file = read(name);
        assert_eq!(file.format, format, "{name}");
        assert_eq!(file.tensors, state_dict(), "{name}");
        assert!(file.scalars.is_empty() && file.unread.is_empty(), "{name}");
        hashes.push(file.content_hash());
    }
    assert!(hashes.iter().all(|hash| hash.len() == 64 && *hash == hashes[0]), "{hashes:?}");
}

#[test]
fn the_format_is_found_by_content_not_by_extension() {
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let path = folder.path().join("weights.pt");
    fs_err::copy(fixture("state_dict.safetensors"), &path).expect("a copy");
    assert_eq!(read_tensors(&path).expect("a safetensors file").tensors, state_dict());
}

#[test]
fn the_hash_follows_names_shapes_types_and_values() {
    let original = tensor("a", &[2], DType::F32, floats(&[1.0, 2.0]));
    let others = [
        tensor("b", &[2], DType::F32, floats(&[1.0, 2.0])),
        tensor("a", &[2, 1], DType::F32, floats(&[1.0, 2.0])),
        tensor("a", &[2], DType::F64, floats(&[1.0, 2.0])),
        tensor("a", &[2], DType::F32, floats(&[1.0, 2.5])),
    ];
    for other in others {
        assert_ne!(original.content_hash(), other.content_hash(), "{other:?}");
    }
    assert_eq!(original.content_hash(), original.clone().content_hash());
}

#[test]
fn a_checkpoint_gives_weights_optimiser_state_and_numbers() {
    let file = read("checkpoint.pt");
    let names: Vec<&str> = file.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "model_state_dict.bias",
            "model_state_dict.weight",
            "optimizer_state_dict.state.0.exp_avg",
            "optimizer_state_dict.state.0.exp_avg_sq",
            "optimizer_state_dict.state.0.step",
            "optimizer_state_dict.state.1.exp_avg",
            "optimizer_state_dict.state.1.exp_avg_sq",
            "optimizer_state_dict.state.1.step",
        ]
    );
    let values = |name: &str| file.get(name).and_then(|tensor| tensor.data.as_f32()).expect("floats");
    // Adam's first step moves each parameter by the learning rate, 0.5, against the sign of its gradient, and
    // leaves a tenth of the gradient [1, 2] in the first moment; both to f32 rounding.
    let close = |a: f32, b: f32| (a - b).abs() <= 4.0 * f32::EPSILON * b.abs();
    assert!(close(values("model_state_dict.bias")[0], -0.25));
    let first_moment = values("optimizer_state_dict.state.0.exp_avg");
    assert!(close(first_moment[0], 0.1) && close(first_moment[1], 0.2), "{first_moment:?}");

    assert_eq!(file.scalar("step"), Some(ScalarValue::Int(1)));
    assert_eq!(file.scalar("train_loss"), Some(ScalarValue::Float(0.125)));
    assert_eq!(file.scalar("done"), Some(ScalarValue::Bool(false)));
    assert_eq!(file.scalar("optimizer_state_dict.param_groups.0.lr"), Some(ScalarValue::Float(0.5)));
    assert_eq!(file.scalar("val_loss"), None);
}

#[test]
fn numpy_archives_are_read_stored_and_compressed() {
    let fortran: Vec<f32> = (0_u8..24).map(f32::from).collect();
    let expected = vec![
        tensor("bool", &[2], DType::Bool, TensorData::Bool(vec![true, false])),
        tensor("empty", &[0, 3], DType::F32, floats(&[])),
        tensor("f2", &[6], DType::F16, floats(&SIMPLE)),
        tensor("f4", &[2, 3], DType::F32, floats(&SIMPLE)),
        tensor("f8", &[6], DType::F64, floats(&SIMPLE)),
        tensor("fortran", &[2, 3, 4], DType::F32, floats(&fortran)),
        tensor("i2_big", &[2], DType::I16, TensorData::I64(vec![1, -2])),
        tensor("i8", &[2], DType::I64, TensorData::I64(vec![-(1 << 40), 7])),
        tensor("scalar", &[], DType::F32, floats(&[2.5])),
    ];
    for name in ["arrays.npz", "arrays_compressed.npz"] {
        let file = read(name);
        assert_eq!(file.format, FileFormat::Npz, "{name}");
        assert_eq!(file.tensors, expected, "{name}");
        let unread: Vec<&str> = file.unread.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(unread, ["complex", "text"], "{name}");
    }
    let file = read("single.npy");
    assert_eq!(file.tensors, [tensor("single", &[2, 3, 4], DType::F32, floats(&fortran))]);
}

#[test]
fn arrays_of_objects_are_left_unread_with_the_reason() {
    let file = read("objects.npz");
    assert_eq!(file.tensors, [tensor("plain", &[2], DType::F32, floats(&[1.0, 1.0]))]);
    assert_eq!(file.unread[0].name, "objects");
    assert!(file.unread[0].reason.contains("pickle"), "{}", file.unread[0].reason);
}

#[test]
fn a_description_agrees_with_the_tensors_and_is_json() {
    let description = describe(fixture("state_dict.pt")).expect("a description");
    let json = serde_json::to_value(&description).expect("json");
    assert_eq!(json["format"], "pytorch-zip");
    assert_eq!(json["n_elements"], 6 * 4 + 3 + 2 + 2 + 1 + 3 + 4 + 4 + 12 + 2);
    let names: Vec<&str> = description.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    assert_eq!(names, state_dict().iter().map(|tensor| tensor.name.clone()).collect::<Vec<_>>());
    let f64_tensor = &json["tensors"][5];
    // The mean of the six values, exact in f64: 1028.2421875 / 6.
    assert_eq!(f64_tensor["dtype"], "f64");
    assert_eq!(f64_tensor["bytes"], 48);
    assert_eq!(f64_tensor["stats"]["min"], -1.25);
    assert_eq!(f64_tensor["stats"]["max"], 1024.0);
    assert_eq!(f64_tensor["stats"]["mean"], 1_028.242_187_5 / 6.0);
    assert_eq!(f64_tensor["stats"]["n_non_finite"], 0);
    assert_eq!(json["tensors"][1]["stats"], serde_json::Value::Null);
}

/// A folder of files that are not part of the project; tests on them are skipped where it is absent.
#[expect(clippy::print_stdout, reason = "a skipped test says why")]
fn shared_data(folder: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data").join(folder);
    if path.is_dir() {
        return Some(path);
    }
    println!("skipped: {} is absent", path.display());
    None
}

#[test]
fn a_series_saved_on_another_device_is_read() {
    let Some(folder) = shared_data("torus-markov-ckpts") else {
        return;
    };
    for step in [1, 500, 10_000, 20_000] {
        let path = folder.join(format!("model_step_{step:05}.pt"));
        let file = read_tensors(&path).unwrap_or_else(|error| panic!("{error}"));
        check_finite(&file).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(file.scalar("step"), Some(ScalarValue::Int(step)));
        let model: Vec<&NamedTensor> =
            file.tensors.iter().filter(|tensor| tensor.name.starts_with("model_state_dict.")).collect();
        assert_eq!(model.len(), 14);
        assert_eq!(model.iter().map(|tensor| tensor.data.len()).sum::<usize>(), 276);
    }
    // Sums that PyTorch gives in f64, at the last step.
    let file = read_tensors(folder.join("model_step_20000.pt")).expect("the last checkpoint");
    let sums = [
        ("out_bias", 0.898_042_646_236_717_7),
        ("token_emb.weight", -0.754_578_460_007_906),
        ("mlp.0.weight", 1.551_628_685_090_690_9),
        ("ln2.bias", -0.531_310_551_799_833_8),
    ];
    for (name, expected) in sums {
        let tensor = file.get(&format!("model_state_dict.{name}")).expect(name);
        let sum: f64 = tensor.data.as_f32().expect("floats").iter().copied().map(f64::from).sum();
        // At most 64 f64 additions of numbers below 4.
        assert!((sum - expected).abs() < 64.0 * 64.0 * 4.0 * f64::EPSILON, "{name}: {sum}");
    }
    let Some(ScalarValue::Float(loss)) = file.scalar("val_loss") else { panic!("no val_loss") };
    assert_eq!(loss, 1.740_511_536_598_205_6);
}

#[test]
fn numpy_curves_of_the_grokking_paper_are_read() {
    let Some(folder) = shared_data("progress-measures") else {
        return;
    };
    let splits = read_tensors(folder.join("splits.npz")).unwrap_or_else(|error| panic!("{error}"));
    let indices = splits.get("wd_10-1_train").and_then(|t| t.data.as_i64()).expect("indices");
    assert_eq!(indices.len(), 3830, "30 % of 113 squared, rounded down");
    assert!(indices.iter().all(|index| (0..113 * 113).contains(index)));
    let curves = read_tensors(folder.join("loss_curves.npz")).unwrap_or_else(|error| panic!("{error}"));
    let is_float = |tensor: &&NamedTensor| tensor.data.as_f32().is_some();
    let others: Vec<&NamedTensor> = curves.tensors.iter().filter(|tensor| !is_float(tensor)).collect();
    assert_eq!(curves.tensors.len(), 40);
    let names: Vec<&str> = others.iter().map(|tensor| tensor.name.as_str()).collect();
    assert_eq!(names, ["no_wd_width_scan__d_models"]);
}
