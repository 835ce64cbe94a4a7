//! Convolutions, pools, rotary positions, grouped-query attention, gated MLP and batch norm against PyTorch: values,
//! gradients and Hessian-vector products, interpreted in f64 and compiled in f32.

#![expect(clippy::unwrap_used, reason = "a failed step of a test is a failed test")]

mod common;

use std::collections::BTreeMap;

use common::{difference, run_all, widened};
use ontogeny_graph::{Convolution, Gradient, Graph, Node, Value};
use serde_json::Value as Json;

fn floats(json: &Json) -> Vec<f64> {
    json.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

fn sizes<const N: usize>(json: &Json) -> [usize; N] {
    let all: Vec<usize> = json.as_array().unwrap().iter().map(|x| x.as_u64().unwrap() as usize).collect();
    all.try_into().unwrap()
}

fn convolution<const N: usize>(options: &Json) -> Convolution<N> {
    Convolution {
        stride: sizes(&options["stride"]),
        padding: sizes(&options["padding"]),
        dilation: sizes(&options["dilation"]),
        groups: options["groups"].as_u64().unwrap() as usize,
    }
}

/// The layer of a case on its inputs.
fn build(g: &mut Graph, case: &Json, of: impl Fn(&str) -> Node) -> Node {
    let options = &case["options"];
    let pool = || (sizes(&options["size"]), sizes(&options["stride"]), sizes(&options["padding"]));
    match case["layer"].as_str().unwrap() {
        "conv2d" => g.conv2d(of("x"), of("kernel"), convolution(options)),
        "conv1d" => g.conv1d(of("x"), of("kernel"), convolution(options)),
        "max_pool2d" => {
            let (size, stride, padding) = pool();
            g.max_pool2d(of("x"), size, stride, padding)
        }
        "avg_pool2d" => {
            let (size, stride, padding) = pool();
            g.avg_pool2d(of("x"), size, stride, padding)
        }
        "rotary" => {
            let of_options = |key: &str| options[key].as_u64().unwrap() as usize;
            g.rotary(of("x"), of_options("axis"), of_options("n_rotary"), options["base"].as_f64().unwrap())
        }
        "attention" => {
            let scores = g.grouped_scores(of("q"), of("k"));
            let d = *g.shape(of("q")).last().unwrap() as f64;
            let scores = g.scale(scores, 1.0 / d.sqrt());
            let scores = g.causal_mask(scores);
            let pattern = g.softmax(scores);
            g.grouped_values(pattern, of("v"))
        }
        "sigmoid" => g.sigmoid(of("x")),
        "silu" => g.silu(of("x")),
        "swiglu" => g.swiglu(of("x"), of("gate"), of("up"), of("down")),
        "batch_norm" => g.frozen_batch_norm(of("x"), [of("mean"), of("variance")], [of("weight"), of("bias")], 1e-5),
        "cnn" => {
            let first = g.conv2d(of("x"), of("w1"), Convolution { padding: [1, 1], ..Convolution::default() });
            let first = g.relu(first);
            let first = g.max_pool2d(first, [2, 2], [2, 2], [0, 0]);
            let second = g.conv2d(first, of("w2"), Convolution::default());
            let second = g.relu(second);
            let second = g.max_pool2d(second, [2, 2], [2, 2], [0, 0]);
            let n = g.shape(second)[1..].iter().product();
            let flat = g.reshape(second, &[g.shape(of("x"))[0], n]);
            g.matmul(flat, of("dense"))
        }
        other => panic!("no layer {other}"),
    }
}

#[test]
fn layers_agree_with_pytorch() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/torch/layers.json");
    let fixture: Json = serde_json::from_str(&fs_err::read_to_string(path).unwrap()).unwrap();
    let cases = fixture["cases"].as_array().unwrap();
    assert!(cases.len() >= 20);
    for (i, case) in cases.iter().enumerate() {
        let name = format!("case {i}, {}", case["layer"]);
        let mut g = Graph::new();
        let mut values: BTreeMap<String, Value<f32>> = BTreeMap::new();
        let mut give = |name: &str, numbers: &Json| {
            values.insert(name.to_owned(), Value::Float(floats(numbers).into_iter().map(|x| x as f32).collect()));
        };
        let mut nodes: BTreeMap<String, Node> = BTreeMap::new();
        let (mut wrt, mut directions, mut gradients, mut hessian) = (vec![], vec![], vec![], vec![]);
        for (input, data) in case["inputs"].as_object().unwrap() {
            let shape: Vec<usize> =
                data["shape"].as_array().unwrap().iter().map(|x| x.as_u64().unwrap() as usize).collect();
            let node = g.param(input, &shape);
            nodes.insert(input.clone(), node);
            give(input, &data["values"]);
            if let Some(gradient) = case["gradients"].get(input) {
                wrt.push(node);
                let direction = format!("direction {input}");
                directions.push(g.input(&direction, &shape));
                give(&direction, &case["directions"][input]);
                gradients.push(floats(gradient));
                hessian.push(floats(&case["hessian"][input]));
            }
        }
        let y = build(&mut g, case, |name| nodes[name]);
        g.check().unwrap();
        let shape: Vec<u64> = g.shape(y).iter().map(|&x| x as u64).collect();
        assert_eq!(Json::from(shape), case["shape"], "{name}");
        let shape = g.shape(y).to_vec();
        let weights = g.input("weights", &shape);
        give("weights", &case["weights"]);
        let square = g.square(y);
        let half = g.scale(square, 0.5);
        let bent = g.add(y, half);
        let weighted = g.mul(bent, weights);
        let axes: Vec<usize> = (0..g.shape(y).len()).collect();
        let loss = g.sum(weighted, &axes);

        let mut outputs = vec![y];
        outputs.extend(g.gradient(loss, &wrt).unwrap());
        outputs.extend(g.hessian_vector(loss, &wrt, &directions).unwrap());
        let mut want = vec![floats(&case["output"])];
        want.extend(gradients);
        want.extend(hessian);
        let exact = g.interpret(&widened(&values), &outputs).unwrap();
        let (compiled, _) = run_all(&g, &outputs, Gradient::None, &values);
        for (j, want) in want.iter().enumerate() {
            // Sums of at most a few hundred products: √n·1e-16 in f64, √n·6e-8 in f32, and what cancels in them.
            let scale = want.iter().fold(1e-30_f64, |a, x| a.max(x.abs()));
            let error = exact[j].iter().zip(want).map(|(x, y)| (x - y).abs()).fold(0.0, f64::max) / scale;
            assert!(exact[j].len() == want.len() && error < 1e-12, "{name}, result {j}: interpreted {error}");
            let error = difference(&compiled[j], want);
            assert!(error < 1e-5, "{name}, result {j}: compiled {error}");
        }
    }
}
