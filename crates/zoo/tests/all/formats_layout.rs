//! Names and layouts: from a file's tensors to the canonical weights of a network.

use std::path::{Path, PathBuf};

use ontogeny_zoo::{
    DType, FileFormat, Layout, LayoutError, NameMap, NamedTensor, TensorData, TensorFile, WeightTensor, check_finite,
    check_finite_weights, match_shapes, read_tensors, to_canonical,
};

fn file(tensors: Vec<NamedTensor>) -> TensorFile {
    let mut tensors = tensors;
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    TensorFile {
        path: PathBuf::from("some.safetensors"),
        format: FileFormat::Safetensors,
        tensors,
        scalars: Vec::new(),
        unread: Vec::new(),
    }
}

/// A tensor whose values count up from 0.
fn counting(name: &str, shape: &[usize]) -> NamedTensor {
    let values = (0..shape.iter().product()).map(|i: usize| i as f32).collect();
    NamedTensor { name: name.to_owned(), shape: shape.to_vec(), dtype: DType::F32, data: TensorData::F32(values) }
}

fn mask(name: &str, shape: &[usize]) -> NamedTensor {
    let n = shape.iter().product();
    NamedTensor {
        name: name.to_owned(),
        shape: shape.to_vec(),
        dtype: DType::Bool,
        data: TensorData::Bool(vec![true; n]),
    }
}

fn names(pairs: &[(&str, &str)]) -> NameMap {
    NameMap::new(pairs.iter().map(|&(prefix, new)| (prefix.to_owned(), new.to_owned())))
}

fn shapes(weights: &[WeightTensor]) -> Vec<(&str, &[usize])> {
    weights.iter().map(|weight| (weight.name.as_str(), weight.shape.as_slice())).collect()
}

/// Two heads of 3, d 4, 5 tokens, 6 positions, MLP of 7.
fn progress_measures_file(blocks: &str) -> TensorFile {
    file(vec![
        counting("embed.W_E", &[4, 5]),
        counting("pos_embed.W_pos", &[6, 4]),
        counting("unembed.W_U", &[4, 5]),
        counting(&format!("{blocks}.0.attn.W_Q"), &[2, 3, 4]),
        counting(&format!("{blocks}.0.attn.W_K"), &[2, 3, 4]),
        counting(&format!("{blocks}.0.attn.W_V"), &[2, 3, 4]),
        counting(&format!("{blocks}.0.attn.W_O"), &[4, 6]),
        counting(&format!("{blocks}.0.attn.mask"), &[6, 6]),
        counting(&format!("{blocks}.0.mlp.W_in"), &[7, 4]),
        counting(&format!("{blocks}.0.mlp.b_in"), &[7]),
        counting(&format!("{blocks}.0.mlp.W_out"), &[4, 7]),
        counting(&format!("{blocks}.0.mlp.b_out"), &[4]),
    ])
}

#[test]
fn progress_measures_files_are_turned_value_by_value() {
    for blocks in ["blocks", "attn_blocks"] {
        let file = progress_measures_file(blocks);
        assert_eq!(Layout::detect(&file), Some(Layout::ProgressMeasures));
        let weights = to_canonical(&file, Layout::ProgressMeasures, &NameMap::default())
            .unwrap_or_else(|error| panic!("{error}"));
        let expected: [(&str, &[usize]); 11] = [
            ("blocks.0.attn.W_K", &[2, 4, 3]),
            ("blocks.0.attn.W_O", &[2, 3, 4]),
            ("blocks.0.attn.W_Q", &[2, 4, 3]),
            ("blocks.0.attn.W_V", &[2, 4, 3]),
            ("blocks.0.mlp.W_in", &[4, 7]),
            ("blocks.0.mlp.W_out", &[7, 4]),
            ("blocks.0.mlp.b_in", &[7]),
            ("blocks.0.mlp.b_out", &[4]),
            ("embed.W_E", &[5, 4]),
            ("pos_embed.W_pos", &[6, 4]),
            ("unembed.W_U", &[4, 5]),
        ];
        assert_eq!(shapes(&weights), expected);
        let at = |name: &str| &weights.iter().find(|weight| weight.name == name).expect(name).values;
        // A value of the file is its own index there, so each canonical place says where its value came from.
        for (head, e, r) in (0..2).flat_map(|h| (0..3).flat_map(move |e| (0..4).map(move |r| (h, e, r)))) {
            let found =
                (at("blocks.0.attn.W_Q")[(head * 4 + r) * 3 + e], at("blocks.0.attn.W_O")[(head * 3 + e) * 4 + r]);
            let expected = ((head * 3 + e) * 4 + r, r * 6 + head * 3 + e);
            assert_eq!(found, (expected.0 as f32, expected.1 as f32), "head {head}, e {e}, r {r}");
        }
        assert_eq!(at("embed.W_E")[..5], [0., 5., 10., 15., 1.]);
        assert_eq!(at("blocks.0.mlp.W_in")[..8], [0., 4., 8., 12., 16., 20., 24., 1.]);
        assert_eq!(at("unembed.W_U")[..3], [0., 1., 2.]);
        assert_eq!(at("pos_embed.W_pos")[..3], [0., 1., 2.]);
    }
}

#[test]
fn transformer_lens_files_keep_everything_but_buffers() {
    let file = file(vec![
        counting("embed.W_E", &[5, 4]),
        counting("blocks.0.attn.W_O", &[2, 3, 4]),
        mask("blocks.0.attn.mask", &[6, 6]),
        counting("blocks.0.attn.IGNORE", &[]),
        counting("blocks.0.attn.rotary_sin", &[6, 3]),
        counting("blocks.0.hook_resid_pre.scale", &[1]),
        counting("unembed.b_U", &[5]),
    ]);
    assert_eq!(Layout::detect(&file), Some(Layout::TransformerLens));
    let weights = to_canonical(&file, Layout::TransformerLens, &NameMap::default()).expect("weights");
    let expected: [(&str, &[usize]); 3] =
        [("blocks.0.attn.W_O", &[2, 3, 4]), ("embed.W_E", &[5, 4]), ("unembed.b_U", &[5])];
    assert_eq!(shapes(&weights), expected);
    for weight in &weights {
        let original = file.get(&weight.name).and_then(|tensor| tensor.data.as_f32());
        assert_eq!(Some(weight.values.as_slice()), original);
    }
}

#[test]
fn the_layout_is_not_guessed_without_evidence() {
    assert_eq!(Layout::detect(&file(vec![counting("embed.W_E", &[4, 4])])), None);
    let disagreeing = vec![counting("blocks.0.attn.W_O", &[4, 4]), counting("blocks.1.attn.W_O", &[2, 2, 4])];
    assert_eq!(Layout::detect(&file(disagreeing)), None);
    let prefixed = vec![counting("model.blocks.0.attn.W_O", &[4, 4])];
    assert_eq!(Layout::detect(&file(prefixed)), Some(Layout::ProgressMeasures));
}

#[test]
fn name_maps_choose_and_rename_by_the_longest_prefix() {
    let check = |pairs: &[(&str, &str)], name: &str, expected: Option<&str>| {
        assert_eq!(names(pairs).apply(name).as_deref(), expected, "{pairs:?} {name}");
        let mut reversed = pairs.to_vec();
        reversed.reverse();
        assert_eq!(names(&reversed).apply(name).as_deref(), expected, "{reversed:?} {name}");
    };
    check(&[], "a.b", Some("a.b"));
    check(&[("a.", "")], "a.b", Some("b"));
    check(&[("a.", "")], "b.a.", None);
    check(&[("a.", ""), ("a.b", "embed.W_E")], "a.b", Some("embed.W_E"));
    check(&[("a.", ""), ("a.b", "embed.W_E")], "a.c", Some("c"));
    check(&[("a.", "x."), ("", "")], "b", Some("b"));
    check(&[("a.", "a.a.")], "a.b", Some("a.a.b"));
}

#[test]
fn a_name_map_leaves_the_optimiser_out() {
    let file = file(vec![
        counting("model_state_dict.embed.W_E", &[5, 4]),
        counting("optimizer_state_dict.state.0.exp_avg", &[5, 4]),
    ]);
    let weights = to_canonical(&file, Layout::TransformerLens, &names(&[("model_state_dict.", "")]));
    let expected: [(&str, &[usize]); 1] = [("embed.W_E", &[5, 4])];
    assert_eq!(shapes(&weights.expect("weights")), expected);
}

#[test]
fn each_way_to_fail_names_the_tensor() {
    use Layout::{ProgressMeasures, TransformerLens};
    let cases: Vec<(&str, TensorFile, Layout, NameMap, &str)> = vec![
        (
            "an unused prefix",
            file(vec![counting("model_state_dict.w", &[1])]),
            TransformerLens,
            names(&[("model_state.", "")]),
            "no tensor's name begins with `model_state.` (nearest: `model_state_dict.w`)",
        ),
        (
            "an unknown name",
            file(vec![counting("head.weight", &[1])]),
            ProgressMeasures,
            NameMap::default(),
            "tensor `head.weight` is not one of the progress-measures layout",
        ),
        (
            "a wrong rank",
            file(vec![counting("embed.W_E", &[4])]),
            ProgressMeasures,
            NameMap::default(),
            "tensor `embed.W_E` has shape [4], expected 2 axes",
        ),
        (
            "no W_Q to tell the heads",
            file(vec![counting("blocks.0.attn.W_O", &[4, 6])]),
            ProgressMeasures,
            NameMap::default(),
            "expected `blocks.0.attn.W_Q` beside it",
        ),
        (
            "a W_O that does not go with W_Q",
            file(vec![counting("blocks.0.attn.W_O", &[4, 7]), counting("blocks.0.attn.W_Q", &[2, 3, 4])]),
            ProgressMeasures,
            NameMap::default(),
            "tensor `blocks.0.attn.W_O` has shape [4, 7], expected [4, 2·3]",
        ),
        (
            "integers",
            file(vec![mask("embed.W_E", &[2])]),
            TransformerLens,
            NameMap::default(),
            "tensor `embed.W_E` is of type bool, expected floating point",
        ),
        (
            "one name for two",
            file(vec![counting("a.w", &[1]), counting("b.w", &[1])]),
            TransformerLens,
            names(&[("a.", ""), ("b.", "")]),
            "two tensors become `w`",
        ),
    ];
    for (what, file, layout, names, expected) in cases {
        let error = to_canonical(&file, layout, &names).expect_err(what).to_string();
        assert!(error.contains("some.safetensors") && error.contains(expected), "{what}: {error}");
    }
}

#[test]
fn an_empty_tensor_is_turned_without_panic() {
    let file = file(vec![counting("embed.W_E", &[0, 5]), counting("blocks.0.mlp.W_in", &[3, 0])]);
    let weights = to_canonical(&file, Layout::ProgressMeasures, &NameMap::default()).expect("weights");
    let expected: [(&str, &[usize]); 2] = [("blocks.0.mlp.W_in", &[0, 3]), ("embed.W_E", &[5, 0])];
    assert_eq!(shapes(&weights), expected);
}

fn weight(name: &str, shape: &[usize]) -> WeightTensor {
    let n = shape.iter().product();
    WeightTensor { name: name.to_owned(), shape: shape.to_vec(), values: vec![0.0; n] }
}

#[test]
fn a_checkpoint_of_another_network_is_refused_with_every_difference() {
    let expected = [
        ("embed.W_E".to_owned(), vec![5, 4]),
        ("blocks.0.mlp.W_in".to_owned(), vec![4, 7]),
        ("unembed.W_U".to_owned(), vec![4, 5]),
    ];
    let path = Path::new("other.pt");
    let right =
        vec![weight("unembed.W_U", &[4, 5]), weight("embed.W_E", &[5, 4]), weight("blocks.0.mlp.W_in", &[4, 7])];
    let matched = match_shapes(path, right, &expected).expect("the same network");
    assert!(matched.iter().map(|weight| &weight.name).eq(expected.iter().map(|(name, _)| name)));

    let wrong = vec![weight("embed.W_E", &[4, 5]), weight("blocks.0.mlp.w_in", &[4, 7]), weight("extra", &[1])];
    let error = match_shapes(path, wrong, &expected).expect_err("another network");
    assert_eq!(
        error.to_string(),
        "other.pt does not fit the network:\
         \n  missing `blocks.0.mlp.W_in` [4, 7] (nearest: `blocks.0.mlp.w_in`)\
         \n  missing `unembed.W_U` [4, 5]\
         \n  superfluous `blocks.0.mlp.w_in` [4, 7] (nearest: `blocks.0.mlp.W_in`)\
         \n  superfluous `extra` [1]\
         \n  `embed.W_E` has shape [4, 5], expected [5, 4]"
    );
    assert!(matches!(error, LayoutError::OtherNetwork { .. }));
}

#[test]
fn weights_that_are_not_finite_are_reported_with_their_place() {
    let mut bad = weight("w", &[2, 3]);
    bad.values[4] = f32::INFINITY;
    let error = check_finite_weights(Path::new("x.pt"), &[weight("v", &[1]), bad]).expect_err("infinite");
    assert_eq!((error.tensor.as_str(), error.index.as_slice(), error.count), ("w", &[1, 1][..], 1));
}

#[test]
fn the_papers_files_become_canonical() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/progress-measures");
    if !folder.is_dir() {
        println!("skipped: {} is absent", folder.display());
        return;
    }
    for (name, n_weights, n_values) in [
        // Numbers of values: V·d + ctx·d + 4·d·d + 2·m·d + m + d + d·V.
        ("wd_10-1_mod_addition_loss_curve", 11, 226_816),
        ("mod_addition_no_wd", 11, 226_816),
        ("low_precision_mod_addition", 11, 226_816),
        ("induction_head_infinite", 11, 34_800),
    ] {
        let file = read_tensors(folder.join(format!("{name}.safetensors"))).unwrap_or_else(|error| panic!("{error}"));
        check_finite(&file).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(Layout::detect(&file), Some(Layout::ProgressMeasures), "{name}");
        let weights = to_canonical(&file, Layout::ProgressMeasures, &NameMap::default())
            .unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(weights.len(), n_weights, "{name}");
        assert_eq!(weights.iter().map(|weight| weight.values.len()).sum::<usize>(), n_values, "{name}");
    }
}
