//! ONNX files that lie, are damaged, or cannot be used: each is refused by name, and nothing outside its folder is read.

#![expect(clippy::unwrap_used, reason = "helpers of tests stop at the first surprise")]

use std::path::Path;

use ontogeny_graph::{Purpose, Stream};
use ontogeny_zoo::{Interface, Model, NetworkConfig, OnnxConfig, Read, VectorLoss};

const VECTORS: Interface = Interface::Vectors { inputs: 2, outputs: 3, loss: VectorLoss::CrossEntropy, image: None };
const TOKENS: Interface = Interface::Tokens { vocabulary: 5, length: 4, read: Read::NEXT_TOKEN };

/// Bytes of a protocol buffer, written field by field.
#[derive(Default, Clone)]
struct Message(Vec<u8>);

impl Message {
    fn varint(mut self, mut value: u64) -> Self {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
        self
    }

    fn number(self, field: u64, value: i64) -> Self {
        self.varint(field << 3).varint(value.cast_unsigned())
    }

    fn bytes(self, field: u64, bytes: &[u8]) -> Self {
        let mut longer = self.varint(field << 3 | 2).varint(bytes.len() as u64);
        longer.0.extend_from_slice(bytes);
        longer
    }

    fn text(self, field: u64, text: &str) -> Self {
        self.bytes(field, text.as_bytes())
    }

    fn message(self, field: u64, message: &Self) -> Self {
        self.bytes(field, &message.0)
    }
}

/// `ValueInfoProto`; a negative extent is dynamic.
fn value(name: &str, data_type: i64, dims: &[i64]) -> Message {
    let mut shape = Message::default();
    for &dim in dims {
        let dim = if dim < 0 { Message::default().text(2, "batch") } else { Message::default().number(1, dim) };
        shape = shape.message(1, &dim);
    }
    let tensor = Message::default().number(1, data_type).message(2, &shape);
    Message::default().text(1, name).message(2, &Message::default().message(1, &tensor))
}

/// A tensor of floats whose bytes need not fit its shape.
fn tensor(name: &str, dims: &[i64], n_bytes: usize) -> Message {
    let dims = dims.iter().fold(Message::default(), |message, &dim| message.number(1, dim));
    dims.number(2, 1).text(8, name).bytes(9, &vec![0; n_bytes])
}

fn node(operator: &str, name: &str, inputs: &[&str], outputs: &[&str]) -> Message {
    let message = inputs.iter().fold(Message::default(), |message, input| message.text(1, input));
    let message = outputs.iter().fold(message, |message, output| message.text(2, output));
    message.text(3, name).text(4, operator)
}

struct File {
    opset: i64,
    nodes: Vec<Message>,
    tensors: Vec<Message>,
    inputs: Vec<Message>,
    outputs: Vec<Message>,
}

impl File {
    /// logits = h·w, h = x.
    fn plain() -> Self {
        Self {
            opset: 18,
            nodes: vec![node("Tanh", "first", &["x"], &["h"]), node("MatMul", "second", &["h", "w"], &["logits"])],
            tensors: vec![tensor("w", &[2, 3], 24)],
            inputs: vec![value("x", 1, &[-1, 2])],
            outputs: vec![value("logits", 1, &[-1, 3])],
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut graph = Message::default();
        for (field, messages) in [(1, &self.nodes), (5, &self.tensors), (11, &self.inputs), (12, &self.outputs)] {
            graph = messages.iter().fold(graph, |graph, message| graph.message(field, message));
        }
        let opset = Message::default().text(1, "").number(2, self.opset);
        Message::default().number(1, 9).message(7, &graph).message(8, &opset).0
    }
}

fn import(folder: &Path, interface: Interface) -> Result<Model, String> {
    let mut network = OnnxConfig::new("net.onnx", Vec::new());
    network.read(folder).map_err(|error| error.to_string())?;
    Model::new(NetworkConfig::Onnx(network), interface).map_err(|error| error.to_string())
}

/// What is said about a file of these bytes.
fn refusal(bytes: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    fs_err::write(folder.path().join("net.onnx"), bytes).unwrap();
    let message = import(folder.path(), VECTORS).expect_err("such a file is refused");
    assert!(message.contains("net.onnx"), "no file name: {message}");
    message
}

fn assert_says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "`{part}` is not in: {message}");
    }
}

#[test]
fn the_plain_file_is_a_network() {
    let folder = tempfile::tempdir().unwrap();
    fs_err::write(folder.path().join("net.onnx"), File::plain().bytes()).unwrap();
    let model = import(folder.path(), VECTORS).unwrap();
    assert_eq!(model.space().len(), 6);
    let (graph, nodes) = model.graph(5);
    graph.check().unwrap();
    assert_eq!(graph.shape(nodes.logits), [5, 3]);
    assert_eq!(graph.shape(graph.find("h").unwrap()), [5, 2], "results keep their names");
    assert_says(
        &import(folder.path(), TOKENS).unwrap_err(),
        &["input `x`", "[batch, 2] of floats", "token ids [batch, 4]"],
    );
}

#[test]
fn graphs_that_are_none_are_refused_by_the_node() {
    type Change = fn(&mut File);
    let cases: &[(Change, &[&str])] = &[
        (
            |file| {
                file.nodes = vec![
                    node("Add", "a", &["x", "q"], &["p"]),
                    node("Tanh", "b", &["p"], &["q"]),
                    node("Add", "c", &["p", "q"], &["logits"]),
                ];
            },
            &["node `a` (Add)", "`q` read before anything gives it", "cyclic"],
        ),
        (|file| file.nodes[0] = node("Tanh", "first", &["nobody"], &["h"]), &["node `first` (Tanh)", "`nobody`"]),
        (
            |file| file.nodes[0] = node("Loop", "first", &["x"], &["h"]),
            &["node `first` (Loop)", "the operator `Loop`", "one of Abs, Add"],
        ),
        (
            |file| file.nodes[0] = node("Gelu", "first", &["x"], &["h"]).text(7, "com.microsoft"),
            &["node `first` (com.microsoft.Gelu)", "the operator `Gelu`"],
        ),
        (
            |file| file.nodes[0] = node("Tanh", "first", &["x"], &["w"]),
            &["node `first` (Tanh)", "the name `w` for a second value"],
        ),
        (|file| file.tensors.push(tensor("w", &[2, 3], 24)), &["initialiser `w`", "twice"]),
        (|file| file.nodes.clear(), &["output `logits`", "no node that gives it"]),
        (|file| file.nodes[0] = node("Tanh", "first", &[], &["h"]), &["node `first` (Tanh)", "no input 0"]),
        (|file| file.inputs.clear(), &["no input"]),
        (|file| file.inputs.push(value("mask", 1, &[-1, 2])), &["further inputs: mask"]),
        (|file| file.outputs.clear(), &["no output"]),
        (|file| file.opset = 99, &["opset 99", "13 to"]),
        (|file| file.opset = 11, &["opset 11", "13 to"]),
        (
            |file| file.nodes[1] = node("Identity", "second", &["w"], &["logits"]),
            &["node `second` (Identity)", "a copy of the weight `w`"],
        ),
        (
            |file| file.nodes[1] = node("Tanh", "second", &["h"], &["logits"]),
            &["output `logits`", "[1, 2] for a batch of 1", "[1, 3]"],
        ),
        (|file| file.inputs[0] = value("x", 1, &[-1, 7]), &["input `x`", "[batch, 7]", "2 floats"]),
        (|file| file.inputs[0] = value("x", 7, &[-1, 2]), &["input `x`", "of integers"]),
    ];
    for (change, parts) in cases {
        let mut file = File::plain();
        change(&mut file);
        assert_says(&refusal(&file.bytes()), parts);
    }
}

#[test]
fn shapes_that_only_claim_memory_are_refused_before_it_is_taken() {
    type Change = fn(&mut File);
    let cases: &[(Change, &[&str])] = &[
        (
            |file| file.tensors[0] = tensor("w", &[1 << 29], 4),
            &["initialiser `w`", "4 bytes for the shape [536870912]"],
        ),
        (|file| file.tensors[0] = tensor("w", &[1 << 40, 1 << 40], 4), &["initialiser `w`", "memory can hold"]),
        (|file| file.tensors[0] = tensor("w", &[-2, 3], 24), &["initialiser `w`", "[-2, 3]"]),
        (|file| file.tensors[0] = tensor("w", &[2, 3], 23), &["initialiser `w`", "23 bytes", "24"]),
        // A constant of 2³¹ values, made out of nothing.
        (
            |file| {
                let shape =
                    Message::default().number(1, 1).number(2, 7).text(8, "n").bytes(9, &(1_i64 << 31).to_le_bytes());
                file.tensors.push(shape);
                file.nodes.insert(0, node("ConstantOfShape", "huge", &["n"], &["zeros"]));
            },
            &["node `huge` (ConstantOfShape)", "a constant of 2147483648 values"],
        ),
        // The network's own values, repeated beyond memory.
        (
            |file| {
                let shape = Message::default().number(1, 3).number(2, 7).text(8, "n");
                let extents: Vec<u8> = [1_i64 << 20, 1 << 20, 1].iter().flat_map(|x| x.to_le_bytes()).collect();
                file.tensors.push(shape.bytes(9, &extents));
                file.nodes.insert(0, node("Expand", "huge", &["x", "n"], &["wide"]));
            },
            &["node `huge` (Expand)"],
        ),
    ];
    for (change, parts) in cases {
        let mut file = File::plain();
        change(&mut file);
        assert_says(&refusal(&file.bytes()), parts);
    }
}

#[test]
fn damaged_bytes_are_refused_at_their_place() {
    let whole = File::plain().bytes();
    for length in 0..whole.len() {
        // A cut may leave a smaller file that is whole; it then lacks what the network needs.
        refusal(&whole[..length]);
    }
    assert_says(
        &refusal(&[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]),
        &["byte 1", "more than 64 bits"],
    );
    assert_says(&refusal(&[0x3a, 0xff, 0xff, 0xff, 0xff, 0x0f]), &["byte 6", "truncated"]);
    assert_says(&refusal(&[0x3b]), &["byte 0", "wire type 3"]);
    assert_says(&refusal(b"no protocol buffer"), &["byte"]);
    assert_says(&refusal(b""), &["no graph"]);
}

#[test]
fn data_outside_the_folder_is_neither_read_nor_followed() {
    let above = tempfile::tempdir().unwrap();
    let folder = above.path().join("model");
    fs_err::create_dir(&folder).unwrap();
    fs_err::write(above.path().join("secret"), [0; 24]).unwrap();
    fs_err::write(folder.join("inside"), [0; 24]).unwrap();
    fs_err::write(folder.join("short"), [0; 20]).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink(above.path().join("secret"), folder.join("link")).unwrap();
    let write = |entries: &[(&str, &str)]| {
        let mut file = File::plain();
        let mut w = Message::default().number(1, 2).number(1, 3).number(2, 1).text(8, "w").number(14, 1);
        for (key, value) in entries {
            w = w.message(13, &Message::default().text(1, key).text(2, value));
        }
        file.tensors[0] = w;
        fs_err::write(folder.join("net.onnx"), file.bytes()).unwrap();
    };
    let refused = |entries: &[(&str, &str)], parts: &[&str]| {
        write(entries);
        let message = import(&folder, VECTORS).expect_err("it is refused");
        assert_says(&message, &["initialiser `w`"]);
        assert_says(&message, parts);
    };
    write(&[("location", "inside")]);
    import(&folder, VECTORS).unwrap();
    let absolute = above.path().join("secret");
    for location in ["../secret", absolute.to_str().unwrap(), "sub/../../secret", "", ".", ".."] {
        refused(&[("location", location)], &["external data in", "the folder of the network's file"]);
    }
    #[cfg(unix)]
    refused(&[("location", "link")], &["external data in `link`"]);
    refused(&[("location", "nowhere")], &["external data in `nowhere`"]);
    refused(&[("location", "short")], &["24 bytes from byte 0 of `short`", "its 20 bytes"]);
    refused(&[("location", "inside"), ("offset", "8")], &["from byte 8 of `inside`"]);
    refused(&[("location", "inside"), ("offset", "18446744073709551615")], &["external data of 24 bytes"]);
    refused(
        &[("location", "inside"), ("length", "4294967296")],
        &["external data of 4294967296 bytes", "24, by shape"],
    );
    refused(&[("location", "inside"), ("offset", "-1")], &["offset `-1`"]);
    // A small file for a hundred tensors.
    let mut file = File::plain();
    for i in 0..100 {
        let w = Message::default().number(1, 2).number(1, 3).number(2, 1).text(8, &format!("w{i}")).number(14, 1);
        file.tensors.push(w.message(13, &Message::default().text(1, "location").text(2, "inside")));
    }
    fs_err::write(folder.join("net.onnx"), file.bytes()).unwrap();
    let message = import(&folder, VECTORS).expect_err("it is refused");
    assert_says(&message, &["initialiser `w4`", "120 bytes taken from the 24 of `inside`"]);
}

/// Bytes changed, repeated, cut out and cut off at random: more of them with `ONTOGENY_MUTATIONS=100000`.
#[test]
fn mutated_files_end_in_a_message_or_a_network() {
    let n: u32 = std::env::var("ONTOGENY_MUTATIONS").map_or(150, |n| n.parse().expect("a number"));
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/onnx");
    let folder = tempfile::tempdir().unwrap();
    let image = Interface::Vectors { inputs: 128, outputs: 3, loss: VectorLoss::CrossEntropy, image: Some([2, 8, 8]) };
    let mlp = Interface::Vectors { inputs: 6, outputs: 3, loss: VectorLoss::CrossEntropy, image: None };
    let tokens = Interface::Tokens { vocabulary: 16, length: 16, read: Read::NEXT_TOKEN };
    let mut n_networks = 0;
    for (number, (name, interface)) in
        [("mlp", mlp), ("cnn-torchscript", image), ("cnn", image), ("torus", tokens)].into_iter().enumerate()
    {
        let seed = fs_err::read(fixtures.join(format!("{name}.onnx"))).unwrap();
        for step in 0..n {
            let stream = Stream::new(number as u32, Purpose::Split, 0);
            let mut draw = (0..).map(|at| stream.uniform(step, at));
            let mut below = |limit: usize| (draw.next().unwrap() * limit as f64) as usize;
            let mut bytes = seed.clone();
            for _ in 0..=below(4) {
                let at = below(bytes.len().max(1));
                let end = (at + 1 + below(16)).min(bytes.len());
                match below(6) {
                    0 => bytes.truncate(at),
                    1 => drop(bytes.drain(at.min(end)..end)),
                    2 => {
                        let part = bytes[at.min(end)..end].to_vec();
                        bytes.splice(at..at, part);
                    }
                    3 if at < bytes.len() => bytes[at] = [0, 1, 0x7f, 0x80, 0xff, 0xfe][below(6)],
                    _ if at < bytes.len() => bytes[at] ^= 1 << below(8),
                    _ => {}
                }
            }
            fs_err::write(folder.path().join("net.onnx"), &bytes).unwrap();
            match import(folder.path(), interface) {
                Ok(model) => {
                    n_networks += 1;
                    assert!(model.graph(2).0.check().is_ok(), "{name}, mutation {step}");
                }
                Err(message) => assert!(message.contains("net.onnx"), "{name}, mutation {step}: {message}"),
            }
        }
    }
    assert!(n_networks > 0, "some changes touch only weights");
}
