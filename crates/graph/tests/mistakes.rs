//! Mistakes of a builder become one error that says what was wrong: never a panic, never a wrong program.

#![expect(clippy::unwrap_used, reason = "a failed step of a test is a failed test")]

use ontogeny_graph::{Column, ColumnData, Convolution, DataSet, Gradient, Graph, Node, Program, Workspace};

type Build = fn(&mut Graph) -> Node;

/// (name, what the message must hold, the mistake). Every graph has a float `x` [2, 3], a scalar `s`, and `ids` [2].
const MISTAKES: &[(&str, &str, Build)] = &[
    ("extent of zero", "at least 1", |g| g.param("w", &[2, 0])),
    ("input without rows", "at least 1", |g| g.input("empty", &[0, 3])),
    ("too many axes", "16 axes", |g| g.input("deep", &[1; 17])),
    ("more elements than memory", "elements", |g| g.input("wide", &[usize::MAX, 2])),
    ("elements that wrap to a small number", "elements", |g| g.input("wide", &[1 << 32, 1 << 32])),
    ("broadcast beyond memory", "elements", |g| {
        let s = g.find("s").unwrap();
        g.broadcast(s, &[1 << 40, 1 << 40])
    }),
    ("reshape to nothing", "as many elements", |g| {
        let x = g.find("x").unwrap();
        g.reshape(x, &[0, 3])
    }),
    ("reshape beyond usize", "as many elements", |g| {
        let x = g.find("x").unwrap();
        g.reshape(x, &[1 << 33, 1 << 33])
    }),
    ("slice of a scalar", "slice", |g| {
        let s = g.find("s").unwrap();
        g.slice(s, 0, 0, 1)
    }),
    ("slice past the end", "slice", |g| {
        let x = g.find("x").unwrap();
        g.slice(x, 1, 2, 2)
    }),
    ("slice whose end wraps", "slice", |g| {
        let x = g.find("x").unwrap();
        g.slice(x, 1, usize::MAX, 2)
    }),
    ("slice of nothing", "at least 1", |g| {
        let x = g.find("x").unwrap();
        g.slice(x, 1, 1, 0)
    }),
    ("index past the end", "slice", |g| {
        let x = g.find("x").unwrap();
        g.select_index(x, 1, 3)
    }),
    ("padding that wraps", "elements", |g| {
        let x = g.find("x").unwrap();
        g.pad(x, 1, usize::MAX, 2)
    }),
    ("pad of a scalar", "pad", |g| {
        let s = g.find("s").unwrap();
        g.pad(s, 0, 1, 1)
    }),
    ("pad of ids", "float", |g| {
        let ids = g.find("ids").unwrap();
        g.pad(ids, 0, 1, 1)
    }),
    ("windows wider than the axis", "windows", |g| {
        let x = g.find("x").unwrap();
        g.windows(x, 1, 2, 1, 3)
    }),
    ("windows that do not move", "stride 0", |g| {
        let x = g.find("x").unwrap();
        g.windows(x, 1, 2, 0, 1)
    }),
    ("windows whose reach wraps", "windows", |g| {
        let x = g.find("x").unwrap();
        g.windows(x, 1, usize::MAX, 1, usize::MAX)
    }),
    ("windows of ids", "float", |g| {
        let ids = g.find("ids").unwrap();
        g.windows(ids, 0, 1, 1, 1)
    }),
    ("windows over an axis that is not there", "windows", |g| {
        let x = g.find("x").unwrap();
        g.windows(x, usize::MAX, 1, 1, 1)
    }),
    ("windows that do not fit where they are added up", "overlap", |g| {
        let x = g.find("x").unwrap();
        g.overlap(x, 0, 2, 1, 4)
    }),
    ("windows added up without an axis", "overlap", |g| {
        let x = g.find("x").unwrap();
        g.overlap(x, 1, 1, 1, 9)
    }),
    ("convolution of a matrix", "conv2d", |g| {
        let x = g.find("x").unwrap();
        g.conv2d(x, x, Convolution::default())
    }),
    ("kernel of other channels", "groups", |g| {
        let x = g.input("image", &[1, 3, 5, 5]);
        let kernel = g.param("kernel", &[2, 2, 3, 3]);
        g.conv2d(x, kernel, Convolution::default())
    }),
    ("no groups", "groups", |g| {
        let x = g.input("image", &[1, 3, 5, 5]);
        let kernel = g.param("kernel", &[2, 3, 3, 3]);
        g.conv2d(x, kernel, Convolution { groups: 0, ..Convolution::default() })
    }),
    ("kernel larger than the image", "windows", |g| {
        let x = g.input("image", &[1, 1, 5, 5]);
        let kernel = g.param("kernel", &[1, 1, 3, 7]);
        g.conv2d(x, kernel, Convolution::default())
    }),
    ("pool with more padding than window", "padding", |g| {
        let x = g.input("image", &[1, 1, 5, 5]);
        g.max_pool2d(x, [2, 2], [2, 2], [0, 2])
    }),
    ("rotary of an odd number", "rotary", |g| {
        let x = g.find("x").unwrap();
        g.rotary(x, 0, 3, 1e4)
    }),
    ("rotary along the last axis", "rotary", |g| {
        let x = g.find("x").unwrap();
        g.rotary(x, 1, 2, 1e4)
    }),
    ("rotary without a base", "positive", |g| {
        let x = g.find("x").unwrap();
        g.rotary(x, 0, 2, f64::NAN)
    }),
    ("kv heads that do not divide the heads", "kv heads", |g| {
        let q = g.input("q", &[1, 2, 3, 4]);
        let k = g.input("k", &[1, 2, 2, 4]);
        g.grouped_scores(q, k)
    }),
    ("pattern over other keys", "grouped_values", |g| {
        let pattern = g.input("pattern", &[1, 2, 3, 4]);
        let v = g.input("v", &[1, 5, 2, 4]);
        g.grouped_values(pattern, v)
    }),
    ("batch norm of other channels", "frozen_batch_norm", |g| {
        let x = g.find("x").unwrap();
        let s = g.input("statistics", &[2]);
        g.frozen_batch_norm(x, [s, s], [s, s], 1e-5)
    }),
    ("concat of nothing", "concat", |g| g.concat(&[], 0)),
    ("concat of scalars", "concat", |g| {
        let s = g.find("s").unwrap();
        g.concat(&[s, s], 0)
    }),
    ("concat of ids", "float", |g| {
        let ids = g.find("ids").unwrap();
        g.concat(&[ids, ids], 0)
    }),
    ("iota along no axis", "iota", |g| g.iota(&[2, 3], 2)),
    ("softmax of a scalar", "softmax", |g| {
        let s = g.find("s").unwrap();
        g.softmax(s)
    }),
    ("log_softmax of a scalar", "log_softmax", |g| {
        let s = g.find("s").unwrap();
        g.log_softmax(s)
    }),
    ("solu of a scalar", "softmax", |g| {
        let s = g.find("s").unwrap();
        g.solu(s)
    }),
    ("normalisation of a scalar", "expected axes", |g| {
        let s = g.find("s").unwrap();
        g.normalize(s, 1e-5)
    }),
    ("softmax of ids", "float", |g| {
        let ids = g.find("ids").unwrap();
        g.softmax(ids)
    }),
    ("gather by floats", "integer ids", |g| {
        let x = g.find("x").unwrap();
        g.gather(x, x)
    }),
    ("gather from ids", "table", |g| {
        let ids = g.find("ids").unwrap();
        g.gather(ids, ids)
    }),
    ("gather from a scalar", "table", |g| {
        let (s, ids) = (g.find("s").unwrap(), g.find("ids").unwrap());
        g.gather(s, ids)
    }),
    ("sum of ids", "float", |g| {
        let ids = g.find("ids").unwrap();
        g.sum(ids, &[0])
    }),
    ("maximum of ids", "float", |g| {
        let ids = g.find("ids").unwrap();
        g.max(ids, &[0])
    }),
    ("sum over an axis that is not there", "axes", |g| {
        let x = g.find("x").unwrap();
        g.sum(x, &[2])
    }),
    ("einsum of ids", "float", |g| {
        let ids = g.find("ids").unwrap();
        g.einsum("a,a->", ids, ids)
    }),
    ("einsum with a lonely label of ids", "float", |g| {
        let (x, ids) = (g.find("x").unwrap(), g.find("ids").unwrap());
        g.einsum("ab,c->ab", x, ids)
    }),
    ("einsum that repeats a lonely label", "none twice", |g| {
        let (x, s) = (g.find("x").unwrap(), g.find("s").unwrap());
        let square = g.einsum("ab,cb->ac", x, x);
        g.einsum("aa,->", square, s)
    }),
    ("einsum with a result label from nowhere", "labels", |g| {
        let x = g.find("x").unwrap();
        g.einsum("ab,ab->c", x, x)
    }),
    ("einsum with labels that are no letters", "labels", |g| {
        let x = g.find("x").unwrap();
        g.einsum("é,ab->ab", x, x)
    }),
    ("einsum of unequal extents", "one extent", |g| {
        let x = g.find("x").unwrap();
        g.einsum("ab,bc->ac", x, x)
    }),
    ("addition of ids", "float", |g| {
        let ids = g.find("ids").unwrap();
        g.add(ids, ids)
    }),
    ("comparison of ids", "float", |g| {
        let (s, ids) = (g.find("s").unwrap(), g.find("ids").unwrap());
        g.greater(ids, s)
    }),
    ("select by ids", "float", |g| {
        let (s, ids) = (g.find("s").unwrap(), g.find("ids").unwrap());
        g.select(ids, s, s)
    }),
    ("tanh of ids", "float", |g| {
        let ids = g.find("ids").unwrap();
        g.tanh(ids)
    }),
    ("matmul of a scalar", "matmul", |g| {
        let (x, s) = (g.find("x").unwrap(), g.find("s").unwrap());
        g.matmul(s, x)
    }),
    ("linear layer of a scalar", "at least 1", |g| {
        let s = g.find("s").unwrap();
        g.linear("layer", s, 2)
    }),
    ("cross-entropy against floats", "integer targets", |g| {
        let (x, s) = (g.find("x").unwrap(), g.find("s").unwrap());
        let row = g.sum(x, &[1]);
        let _ = s;
        g.cross_entropy(x, row)
    }),
    ("cross-entropy of ids", "logits", |g| {
        let ids = g.find("ids").unwrap();
        let one = g.input_ids("one", &[]);
        g.cross_entropy(ids, one)
    }),
    ("transpose of a vector", "transpose", |g| {
        let ids = g.find("ids").unwrap();
        g.transpose(ids)
    }),
    ("permutation that repeats an axis", "permute", |g| {
        let x = g.find("x").unwrap();
        g.permute(x, &[0, 0])
    }),
    ("causal mask of a vector", "causal_mask", |g| {
        let x = g.find("x").unwrap();
        let row = g.sum(x, &[1]);
        g.causal_mask(row)
    }),
    ("a parameter with the name of an input", "used twice", |g| g.param("x", &[2])),
    ("an activation with the name of an input", "used twice", |g| {
        let s = g.find("s").unwrap();
        g.named(s, "x")
    }),
];

fn start() -> Graph {
    let mut g = Graph::new();
    let _ = g.input("x", &[2, 3]);
    let _ = g.input("s", &[]);
    let _ = g.input_ids("ids", &[2]);
    g
}

#[test]
fn tables_that_do_not_fit_and_mistakes_of_other_builders_are_kept() {
    let mut g = Graph::new();
    g.values(&[2, 2], [1.0, 2.0, 3.0].into());
    assert_eq!(g.check().unwrap_err().to_string(), "values: 3 values; expected as many as [2, 2] has");
    let mut g = Graph::new();
    let shape = |found: &str| ontogeny_graph::GraphError::Shape {
        operation: "import".to_owned(),
        node: Some("fc".to_owned()),
        found: found.to_owned(),
        expected: "2 axes".to_owned(),
    };
    g.fail(shape("3 axes"));
    g.fail(shape("4 axes"));
    assert_eq!(g.check().unwrap_err().to_string(), "import at `fc`: 3 axes; expected 2 axes", "the first is kept");
}

#[test]
fn every_mistake_is_an_error_that_says_what_was_expected() {
    for (name, holds, build) in MISTAKES {
        let mut g = start();
        let node = build(&mut g);
        // Building goes on after a mistake, and the first one is what is reported.
        let more = g.tanh(node);
        let more = g.mean_all(more);
        let _ = g.param("later", &[3]);
        let error = g.check().expect_err(name).to_string();
        assert!(error.contains(holds), "{name}: {error}");
        let compiled = Program::compile(&g, &[("y", more)], Gradient::All(more)).expect_err(name).to_string();
        assert_eq!(error, compiled, "{name}");
    }
}

#[test]
fn transforms_and_compilation_check_what_they_are_given() {
    let base = start();
    let (x, s, ids) = (base.find("x").unwrap(), base.find("s").unwrap(), base.find("ids").unwrap());
    let message = |result: Result<Program, ontogeny_graph::GraphError>| result.map(drop).unwrap_err().to_string();
    // Ids are no result, and no loss.
    assert!(message(Program::compile(&base, &[("ids", ids)], Gradient::None)).contains("float"));
    let mut g = base.clone();
    let one = g.input_ids("one", &[]);
    assert!(message(Program::compile(&g, &[], Gradient::All(one))).contains("scalar"));
    assert!(message(Program::compile(&base, &[], Gradient::All(x))).contains("scalar"));
    let unknown = ["w".to_owned()];
    assert!(message(Program::compile(&base, &[], Gradient::Only(s, &unknown))).contains("`w`"));
    // Directions must be as many, and of the shape and type, of their variables.
    for (wrt, directions) in [(vec![x], vec![]), (vec![x], vec![s]), (vec![], vec![x]), (vec![s], vec![one])] {
        assert!(g.clone().tangent(&[s], &wrt, &directions).is_err(), "{wrt:?} along {directions:?}");
        assert!(g.clone().hessian_vector(s, &wrt, &directions).is_err(), "{wrt:?} along {directions:?}");
    }
    // A replacement has the shape and the type of what it replaces.
    assert!(g.replace("s", one).is_err());
    assert!(g.replace("x", s).is_err());
    assert!(g.replace("y", s).unwrap_err().to_string().contains("`y`"));
}

#[test]
fn repeated_axes_count_once() {
    let mut g = start();
    let x = g.find("x").unwrap();
    let outputs = [g.mean(x, &[1, 1]), g.mean(x, &[1]), g.sum(x, &[0, 0, 1]), g.sum(x, &[0, 1])];
    let values = [("x".to_owned(), ontogeny_graph::Value::Float(vec![1.0_f64, 2.0, 3.0, 4.0, 5.0, 6.0]))].into();
    let results = g.interpret(&values, &outputs).unwrap();
    assert_eq!(results, [vec![2.0, 5.0], vec![2.0, 5.0], vec![21.0], vec![21.0]]);
}

#[test]
fn data_that_does_not_fit_the_program_is_refused() {
    let mut g = start();
    let _ = g.param("w", &[2]);
    let s = g.find("s").unwrap();
    let program = Program::compile(&g, &[("s", s)], Gradient::None).unwrap();
    let mut workspace = Workspace::new(&program);
    for (name, width, rows, holds) in [
        ("x", 3, vec![], "0 rows"),
        ("x", 3, vec![0, 1, 0], "1 to 2 rows of 3"),
        ("x", 3, vec![4], "rows below 4"),
        ("x", 0, vec![0], "rows of 0"),
        ("x", 4, vec![0], "rows of 4"),
        ("w", 2, vec![0], "`w`"),
        ("ids", 1, vec![0], "no such float input"),
        ("x", 3, vec![0], "`ids`: expected a column of that name"),
    ] {
        let column = Column { name: name.to_owned(), width, data: ColumnData::Float(vec![1.0; 4 * width]) };
        let data = DataSet::new(4, vec![column]).unwrap();
        let error = data.fill(&program, &mut workspace, &rows).expect_err(name).to_string();
        assert!(error.contains(holds), "{name} {width} {rows:?}: {error}");
    }
    assert!(
        DataSet::new(2, vec![Column { name: "x".to_owned(), width: 3, data: ColumnData::Ids(vec![1; 5]) }]).is_err()
    );
}
