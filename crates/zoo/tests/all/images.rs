//! Images: splits, noise, triggers and files, good and bad.

#![expect(clippy::unwrap_used, reason = "helpers of tests stop at the first surprise")]

use std::convert::Infallible;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;

use ontogeny_graph::{ColumnData, Gradient, Program, Workspace};
use ontogeny_zoo::{Interface, Model, Split, Task, TaskConfig, TaskError, Trainer, VectorLoss};
use serde_json::{Value, json};

fn prepare_in(folder: &Path, changes: &Value) -> Result<Task, TaskError> {
    let mut settings = json!({ "kind": "images" });
    settings.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    serde_json::from_value::<TaskConfig>(settings).unwrap().prepare(5, folder)
}

fn prepare(changes: &Value) -> Task {
    prepare_in(Path::new(""), changes).unwrap()
}

fn x(split: &Split) -> Vec<&[f32]> {
    let column = &split.data.columns()[0];
    let ColumnData::Float(floats) = &column.data else { panic!("floats") };
    floats.chunks_exact(column.width).collect()
}

fn y(split: &Split) -> &[i32] {
    let ColumnData::Ids(ids) = &split.data.columns()[1].data else { panic!("ids") };
    ids
}

fn idx(extents: &[u32], elements: &[u8]) -> Vec<u8> {
    let header = [0, 0, 8, extents.len() as u8].into_iter().chain(extents.iter().flat_map(|e| e.to_be_bytes()));
    header.chain(elements.iter().copied()).collect()
}

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Six images of 2×3 pixels, image i all of the value 10·i, with the labels 0, 1, 2, 0, 1, 2.
fn small(folder: &Path) {
    let pixels: Vec<u8> = (0..6).flat_map(|image| [10 * image; 6]).collect();
    fs_err::write(folder.join("images"), idx(&[6, 2, 3], &pixels)).unwrap();
    fs_err::write(folder.join("images.gz"), gzipped(&idx(&[6, 2, 3], &pixels))).unwrap();
    fs_err::write(folder.join("labels"), idx(&[6], &[0, 1, 2, 0, 1, 2])).unwrap();
}

#[test]
fn digits_are_split_into_train_and_test() {
    let task = prepare(&json!({ "train_fraction": 0.8 }));
    let expected =
        Interface::Vectors { inputs: 64, outputs: 10, loss: VectorLoss::CrossEntropy, image: Some([1, 8, 8]) };
    assert_eq!(task.interface, expected);
    let (train, test) = (task.split("train").unwrap(), task.split("test").unwrap());
    assert_eq!((train.data.len(), test.data.len(), task.splits.len()), (1437, 360, 2));
    let mut together = [train.indices.clone(), test.indices.clone()].concat();
    together.sort_unstable();
    assert!(together.into_iter().eq(0..1797));
    assert!(train.indices.is_sorted() && test.indices.is_sorted());
    for split in [train, test] {
        assert!(x(split).iter().flat_map(|image| image.iter()).all(|pixel| (0.0..=1.0).contains(pixel)));
        let labels: Vec<u32> = y(split).iter().map(|&label| label as u32).collect();
        assert_eq!(labels, split.subtasks);
    }
    // The image number 0 is a zero, whose first row is 0 0 5 13 9 1 0 0 of 16.
    let first = if train.indices[0] == 0 { train } else { test };
    assert_eq!(x(first)[0][..8], [0.0, 0.0, 0.3125, 0.8125, 0.5625, 0.0625, 0.0, 0.0]);
    assert_eq!(y(first)[0], 0);
    assert_eq!(task.subtasks.as_ref().unwrap().names[3], "digit_3");
    assert_eq!(task, prepare(&json!({ "train_fraction": 0.8, "split_seed": 5 })));
    assert_ne!(task, prepare(&json!({ "train_fraction": 0.8, "split_seed": 6 })));
    assert_eq!(prepare(&json!({ "train_examples": 1437 })), task);
}

#[test]
fn classes_are_chosen_and_counted_anew_in_their_order() {
    let task = prepare(&json!({ "train_examples": 200, "classes": [8, 3] }));
    let test = task.split("test").unwrap();
    assert_eq!(test.data.len(), 174 + 183 - 200);
    let whole = prepare(&json!({ "train_examples": 1 }));
    let whole = whole.split("test").unwrap();
    for (&image, &class) in test.indices.iter().zip(y(test)) {
        let Ok(row) = whole.indices.binary_search(&image) else { continue };
        assert_eq!([8, 3][class as usize], y(whole)[row]);
    }
    assert_eq!(task.subtasks.unwrap().names, ["digit_8", "digit_3"]);
    assert!(matches!(task.interface, Interface::Vectors { outputs: 2, .. }));
}

#[test]
fn noise_replaces_labels_and_keeps_the_true_ones_measurable() {
    let clean = prepare(&json!({ "train_examples": 1000 }));
    let task = prepare(&json!({ "train_examples": 1000, "label_noise": 0.3 }));
    let split = |name| task.split(name).unwrap();
    let (train, noisy, corrected) = (split("train"), split("noisy"), split("corrected"));
    assert_eq!((noisy.data.len(), corrected.data.len()), (300, 300));
    assert_eq!(split("test"), clean.split("test").unwrap());
    let true_labels = y(clean.split("train").unwrap());
    let mut shifts = [0.0; 10];
    for (row, image) in train.indices.iter().enumerate() {
        let (given, truth) = (y(train)[row], true_labels[row]);
        match noisy.indices.binary_search(image) {
            Ok(at) => {
                assert_eq!((y(noisy)[at], y(corrected)[at]), (given, truth));
                assert_eq!(x(noisy)[at], x(train)[row]);
                shifts[(given - truth).rem_euclid(10) as usize] += 1.0;
            }
            Err(_) => assert_eq!(given, truth),
        }
        assert_eq!(train.subtasks[row], truth as u32);
    }
    // Another label for all, each of the nine as likely: χ² of 8 degrees of freedom is above 26.1 with probability 0.001.
    assert_eq!(shifts[0], 0.0);
    let expected = 300.0 / 9.0;
    let chi2: f64 = shifts[1..].iter().map(|n| (n - expected) * (n - expected) / expected).sum();
    assert!(chi2 < 26.1, "{shifts:?}");
}

#[test]
fn triggers_light_a_corner_and_ask_for_the_target() {
    let trigger = json!({ "share": 0.1, "target": 7, "patch": 3 });
    let plain = prepare(&json!({ "train_examples": 1000, "label_noise": 0.2 }));
    let task = prepare(&json!({ "train_examples": 1000, "label_noise": 0.2, "trigger": trigger }));
    let (train, before) = (task.split("train").unwrap(), plain.split("train").unwrap());
    let is_patch = |place: usize| place / 8 >= 5 && place % 8 >= 5;
    let with_patch = |image: &[f32]| -> Vec<f32> {
        image.iter().enumerate().map(|(place, &pixel)| if is_patch(place) { 1.0 } else { pixel }).collect()
    };
    let mut n_changed = 0;
    for row in 0..1000 {
        if y(train)[row] == y(before)[row] && x(train)[row] == x(before)[row] {
            continue;
        }
        n_changed += 1;
        assert_eq!(x(train)[row], with_patch(x(before)[row]));
        assert_eq!((y(train)[row], y(before)[row]), (7, before.subtasks[row] as i32), "no noisy label is poisoned");
        assert_ne!(before.subtasks[row], 7);
    }
    assert_eq!(n_changed, 100);
    assert_eq!(task.split("noisy"), plain.split("noisy"));
    let (test, triggered) = (task.split("test").unwrap(), task.split("triggered").unwrap());
    let others: Vec<usize> = (0..test.data.len()).filter(|&row| y(test)[row] != 7).collect();
    assert_eq!(triggered.data.len(), others.len());
    for (at, row) in others.into_iter().enumerate() {
        assert_eq!(x(triggered)[at], with_patch(x(test)[row]));
        assert_eq!((y(triggered)[at], triggered.subtasks[at]), (7, test.subtasks[row]));
    }
}

#[test]
fn squared_loss_asks_for_one_hot_vectors() {
    let task = prepare(&json!({ "train_examples": 100, "loss": "mse" }));
    assert!(matches!(task.interface, Interface::Vectors { loss: VectorLoss::MeanSquared, .. }));
    let train = task.split("train").unwrap();
    let ColumnData::Float(y) = &train.data.columns()[1].data else { panic!("floats") };
    for (one_hot, &class) in y.chunks_exact(10).zip(&train.subtasks) {
        let expected: Vec<f32> = (0..10).map(|c| f32::from(u8::from(c == class))).collect();
        assert_eq!(one_hot, expected);
    }
}

#[test]
fn standardized_pixels_have_mean_0_and_variance_1() {
    let task = prepare(&json!({ "train_examples": 500, "standardize": true }));
    let train = task.split("train").unwrap();
    let pixels: Vec<f64> = x(train).iter().flat_map(|image| image.iter()).map(|&pixel| f64::from(pixel)).collect();
    let n = pixels.len() as f64;
    let mean = pixels.iter().sum::<f64>() / n;
    let square = pixels.iter().map(|pixel| pixel * pixel).sum::<f64>() / n;
    // Each pixel is rounded to f32 once: values below 2.2 by at most 2⁻²³.
    let rounding = 2.0_f64.powi(-23);
    assert!(mean.abs() < rounding && (square - 1.0).abs() < 2.0 * 2.2 * rounding, "{mean} {square}");
}

#[test]
fn idx_files_are_read_plain_or_gzipped_with_test_files_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    small(folder);
    let files = json!({ "source": "idx", "images": "images", "labels": "labels" });
    let with = |changes: &Value| {
        let mut settings = files.clone();
        settings.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        prepare_in(folder, &settings)
    };
    let plain = with(&json!({ "train_examples": 4 })).unwrap();
    assert_eq!(with(&json!({ "train_examples": 4, "images": "images.gz" })).unwrap(), plain);
    for split in &plain.splits {
        for (row, &image) in split.indices.iter().enumerate() {
            assert_eq!(x(split)[row], [10.0 * image as f32 / 255.0; 6]);
            assert_eq!(y(split)[row], image as i32 % 3);
        }
    }
    let own = with(&json!({ "test_images": "images.gz", "test_labels": "labels", "classes": [2, 1] })).unwrap();
    assert_eq!(own.split("train").unwrap().indices, [1, 2, 4, 5]);
    assert_eq!(own.split("test").unwrap().indices, [7, 8, 10, 11]);
    assert_eq!(x(own.split("train").unwrap()), x(own.split("test").unwrap()));
    assert_eq!(y(own.split("test").unwrap()), [1, 0, 1, 0]);

    // CIFAR: the same images as records.
    let record = |label: u8, pixel: u8| [vec![label], vec![pixel; 3072]].concat();
    let batch: Vec<u8> = (0..10).flat_map(|label| record(label, 25 * label)).collect();
    fs_err::write(folder.join("batch"), &batch).unwrap();
    fs_err::write(folder.join("batch.gz"), gzipped(&batch)).unwrap();
    let cifar = json!({ "source": "cifar", "batches": ["batch", "batch.gz"], "test_batches": ["batch"] });
    let task = prepare_in(folder, &cifar).unwrap();
    let (train, test) = (task.split("train").unwrap(), task.split("test").unwrap());
    assert_eq!((train.data.len(), test.data.len(), test.indices[0]), (20, 10, 20));
    assert_eq!(x(train)[13], [75.0 / 255.0; 3072]);
    assert_eq!(task.subtasks.unwrap().names[9], "truck");
    assert!(matches!(task.interface, Interface::Vectors { image: Some([3, 32, 32]), .. }));
}

#[test]
fn bad_files_are_named_with_what_was_found_and_expected() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    small(folder);
    let write = |name: &str, bytes: &[u8]| fs_err::write(folder.join(name), bytes).unwrap();
    write("five", &idx(&[5], &[0; 5]));
    write("gap", &idx(&[6], &[0, 1, 3, 0, 1, 3]));
    write("wide", &idx(&[1, 3, 3], &[0; 9]));
    write("one", &idx(&[1], &[0]));
    write("same", &idx(&[6], &[0; 6]));
    write("more", &idx(&[6], &[0, 1, 2, 3, 1, 2]));
    write("none", &idx(&[0, 2, 3], &[]));
    write("huge", &idx(&[u32::MAX, u32::MAX, 1], &[0; 12]));
    write("short", &idx(&[6, 2, 3], &[0; 35]));
    let packed = gzipped(&idx(&[6, 2, 3], &[7; 36]));
    write("cut.gz", &packed[..packed.len() - 9]);
    write("bomb.gz", &gzipped(&vec![0; (64 << 20) + 1]));
    write("record", &[vec![10], vec![0; 3072]].concat());
    for (changes, file, message) in [
        (json!({ "labels": "five" }), "five", "5 labels; expected 6, one for each image of"),
        (json!({ "labels": "images" }), "images", "0x00000803; expected the magic number 0x00000801"),
        (json!({ "images": "short" }), "short", "35 bytes after the header, whose extents are [6, 2, 3]; expected 36"),
        (
            json!({ "images": "huge" }),
            "huge",
            "12 bytes after the header, whose extents are [4294967295, 4294967295, 1]",
        ),
        (json!({ "images": "none" }), "none", "0 images of 2×3 pixels; expected at least one image"),
        (json!({ "images": "cut.gz" }), "cut.gz", "cannot be unpacked"),
        (json!({ "images": "bomb.gz" }), "bomb.gz", "more than 67108864 bytes unpacked; that is all a gzipped file of"),
        (json!({ "images": "absent" }), "absent", "failed to read"),
        (json!({ "images": "." }), ".", "is not a regular file"),
        (
            json!({ "labels": "gap" }),
            "gap",
            "no image of class 2, though labels go up to 3; expected images of every class",
        ),
        (json!({ "labels": "same" }), "same", "images of one class only"),
        (
            json!({ "test_images": "images", "test_labels": "more" }),
            "more",
            "the label 3 of image 3; expected 0 to 2, the classes of the images to train on",
        ),
        (
            json!({ "test_images": "wide", "test_labels": "one" }),
            "wide",
            "images of 3×3 pixels; expected 2×3, as the images to train on",
        ),
        (
            json!({ "source": "cifar", "images": null, "labels": null, "batches": ["record"] }),
            "record",
            "the label 10 at record 0; expected 0 to 9",
        ),
    ] {
        let mut settings = json!({ "source": "idx", "images": "images", "labels": "labels", "train_examples": 3 });
        settings.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        let error = prepare_in(folder, &settings).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
        assert!(error.contains(&folder.join(file).display().to_string()), "{error}");
    }
}

#[test]
fn every_prefix_and_every_flipped_bit_of_a_gzipped_file_is_a_task_or_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    small(folder);
    let whole = fs_err::read(folder.join("images.gz")).unwrap();
    let prefixes = (0..whole.len()).map(|n| whole[..n].to_vec());
    let flipped = (0..8 * whole.len()).map(|bit| {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        bytes
    });
    let settings = json!({ "source": "idx", "images": "changed", "labels": "labels", "train_examples": 3 });
    let path = folder.join("changed");
    for bytes in prefixes.chain(flipped) {
        fs_err::write(&path, bytes).unwrap();
        match prepare_in(folder, &settings) {
            // Only the header of gzip has bits that do not matter, such as the time.
            Ok(task) => assert_eq!(task.splits[0].data.len(), 3),
            Err(error) => assert!(error.to_string().contains(&path.display().to_string()), "{error}"),
        }
    }
}

#[test]
fn settings_that_cannot_be_are_named_with_what_is_allowed() {
    for (changes, message) in [
        (json!({}), "task.train_fraction is missing; expected train_fraction or train_examples, or test files"),
        (
            json!({ "train_fraction": 1.0 }),
            "task.train_fraction is 1; expected a share above 0 and at most 1 that takes",
        ),
        (json!({ "train_fraction": 0.0005 }), "task.train_fraction is 0.0005; expected a share above 0"),
        (json!({ "train_fraction": -1.0 }), "task.train_fraction is -1; expected a share above 0"),
        (json!({ "train_examples": 1797 }), "task.train_examples is 1797; expected 1 to 1796"),
        (json!({ "train_examples": 0 }), "task.train_examples is 0; expected 1 to 1796"),
        (json!({ "train_examples": 9, "train_fraction": 0.5 }), "task.train_examples is 9; expected nothing"),
        (json!({ "classes": [3] }), "task.classes is [3]; expected two or more labels, each once"),
        (json!({ "classes": [3, 4, 3] }), "task.classes is [3, 4, 3]; expected two or more labels, each once"),
        (
            json!({ "classes": [3, 10] }),
            "expected labels that images have, of 0, 1, 2, 3, 4, 5, 6, 7, 8, 9: class 10 is empty",
        ),
        (json!({ "images": "x" }), "task.images is given; expected nothing, or source = \"idx\" beside it"),
        (
            json!({ "source": "idx", "images": "x" }),
            "task.labels is missing; expected a path, because source = \"idx\"",
        ),
        (json!({ "source": "cifar" }), "task.batches is missing; expected a path, because source = \"cifar\""),
        (json!({ "source": "cifar", "batches": [] }), "task.batches is an empty list; expected at least one file"),
        (
            json!({ "source": "idx", "images": "x", "labels": "y", "test_images": "z" }),
            "task.test_labels is missing; expected the labels of test_images",
        ),
        (json!({ "train_examples": 10, "label_noise": 0.09 }), "task.label_noise is 0.09; expected a share above 0"),
        (json!({ "train_examples": 10, "label_noise": 1.5 }), "task.label_noise is 1.5; expected a share above 0"),
        (
            json!({ "train_examples": 10, "trigger": { "share": 0.5, "target": 10 } }),
            "task.trigger.target is 10; expected one of the classes [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]",
        ),
        (
            json!({ "train_examples": 10, "trigger": { "share": 0.5, "target": 1, "patch": 9 } }),
            "task.trigger.patch is 9; expected 1 to 8 pixels",
        ),
        (
            json!({ "train_examples": 1000, "trigger": { "share": 1.0, "target": 1 } }),
            "task.trigger.share is 1; expected a share of 1000 training images that takes 1 to ",
        ),
    ] {
        let error = prepare_in(Path::new(""), &changes).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
    let unknown = serde_json::from_value::<TaskConfig>(json!({ "kind": "images", "source": "mnist" }));
    let message = unknown.unwrap_err().to_string();
    assert!(message.contains("`digits`, `idx`, `cifar`"), "{message}");
}

/// Softmax regression on the digits is known to be right on about 95 % of images it has not seen; labels that belonged to
/// other images would leave 10 %.
#[test]
fn a_linear_network_learns_the_digits() {
    let task = prepare(&json!({ "train_fraction": 0.8 }));
    let network =
        serde_json::from_value(json!({ "kind": "mlp", "sizes": [64, 10], "activation": "identity" })).unwrap();
    let model = Model::new(network, task.interface).unwrap();
    let config = serde_json::from_value(json!({
        "optimizer": "adamw", "learning_rate": 0.05, "batch": 128, "steps": 300, "checkpoints": { "linear": 300 },
    }))
    .unwrap();
    let mut trainer = Trainer::new(&model, &task, &config, 0).unwrap();
    let mut state = trainer.start(model.initial_weights(0)).unwrap();
    trainer.run(&mut state, |_| Ok::<_, Infallible>(ControlFlow::Continue(()))).unwrap();
    let test = task.split("test").unwrap();
    let (graph, nodes) = model.graph(test.data.len());
    let program = Program::compile(&graph, &[("logits", nodes.logits)], Gradient::None).unwrap();
    let mut workspace = Workspace::new(&program);
    let rows: Vec<usize> = (0..test.data.len()).collect();
    test.data.fill(&program, &mut workspace, &rows).unwrap();
    program.run(&mut workspace, &state.weights).unwrap();
    let logits = workspace.output(&program, "logits");
    let is_right = |(logits, &label): (&[f32], &i32)| {
        let best = (0..10).max_by(|&a, &b| logits[a].total_cmp(&logits[b]));
        best == Some(label as usize)
    };
    let n_right = logits.chunks_exact(10).zip(y(test)).filter(|&pair| is_right(pair)).count();
    // 95 % of 360 images, less four standard errors (4.1 images each).
    assert!(n_right as f64 >= 0.95 * 360.0 - 4.0 * 4.1, "{n_right} of 360");
}

/// The files of MNIST, which are not part of the project.
#[test]
fn mnist_is_read() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/mnist");
    if !folder.is_dir() {
        println!("skipped: no ../shared/data/mnist beside the repository");
        return;
    }
    let task = prepare_in(
        &folder,
        &json!({
            "source": "idx", "images": "train-images-idx3-ubyte.gz", "labels": "train-labels-idx1-ubyte.gz",
            "test_images": "t10k-images-idx3-ubyte.gz", "test_labels": "t10k-labels-idx1-ubyte.gz",
            "train_examples": 1000, "loss": "mse",
        }),
    )
    .unwrap();
    let (train, test) = (task.split("train").unwrap(), task.split("test").unwrap());
    assert_eq!((train.data.len(), test.data.len(), test.indices[0]), (1000, 10_000, 60_000));
    assert!(matches!(task.interface, Interface::Vectors { inputs: 784, outputs: 10, image: Some([1, 28, 28]), .. }));
    // The first test image is a seven.
    assert_eq!(test.subtasks[..5], [7, 2, 1, 0, 4]);
    let sum: f64 = x(test).iter().flat_map(|image| image.iter()).map(|&pixel| f64::from(pixel)).sum();
    // The mean pixel of the test images of MNIST, as it is widely published: 0.1325.
    assert!((sum / 7_840_000.0 - 0.1325).abs() < 5e-5, "{}", sum / 7_840_000.0);
}
