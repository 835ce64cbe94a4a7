//! A random graph compiled and compared with the reference interpreter: values, gradients, tangents and Hessian-vector
//! products, as far as roundings let them agree.

use std::cell::Cell;
use std::collections::BTreeMap;

use ontogeny_graph::{Gradient, Graph, Node, Program, Real, Value, Workspace};

use super::random_graphs::{Case, Wanted};

/// What a comparison showed where nothing was wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All results agree as far as roundings let them.
    Agrees,
    /// Values overflow, or roundings are amplified to more than 1 % of a result: nothing can be said.
    Unclear,
}

/// f32 arithmetic in which every result that has to be rounded is off by up to 16 units in the last place at random
/// (Monte Carlo arithmetic, Parker 1997). How far results scatter says what roundings in any order, and elementary
/// functions that are a few units off, can do to them: also through cancellation, and where they decide a comparison.
/// In every other run equal values are off by the same: the error of a function belongs to its argument, and a sum of n
/// entries that were gathered from a few has n times their error, not √n. In the others each is off by its own: what
/// decides between equals decides otherwise.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
struct Shaken(f32);

/// The run that shakes nothing: plain f32, in which a distribution function may be exactly 1 and decide by that.
const PLAIN: u64 = 0;

/// The run in which all are off by the most, and upwards: a long chain of equal addends is rounded the same way every time.
const UP: u64 = 1;

const SHAKE: f64 = 16.0 * f32::EPSILON as f64;

thread_local! {
    static RUN: Cell<u64> = const { Cell::new(PLAIN) };
    /// Values shaken so far, in runs that shake equal ones differently.
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

fn shaken(value: f64) -> f32 {
    let rounded = value as f32;
    if f64::from(rounded) == value || value.is_nan() { rounded } else { (value * (1.0 + shake(value))) as f32 }
}

/// What a value is off by in this run, by a hash (the finaliser of SplitMix64).
fn shake(value: f64) -> f64 {
    match RUN.get() {
        PLAIN => return 0.0,
        UP => return SHAKE,
        _ => {}
    }
    let count = COUNT.get() + RUN.get() % 2;
    COUNT.set(count);
    let mut hash =
        value.to_bits() ^ count.wrapping_mul(0xd1b5_4a32_d192_ed03) ^ RUN.get().wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^= hash >> 31;
    SHAKE * ((hash >> 32) as f64 / 2_147_483_648.0 - 1.0)
}

impl Real for Shaken {
    fn from_f64(value: f64) -> Self {
        Self(shaken(value))
    }
    fn to_f64(self) -> f64 {
        f64::from(self.0)
    }
    /// Products that cancel leave what they were rounded by, also where their exact sum is 0.
    fn term(product: f64) -> f64 {
        f64::from(shaken(product))
    }
}

/// How much larger than the largest scatter seen an error may be. Sums of n entries are rounded n times where the
/// interpreter rounds once; n is at most a few thousand, errors grow as √n, and the shaking is 16 times a rounding.
const FACTOR: f64 = 6.0;
/// Scatter of two runs may be small by chance; so many are made before anything is called wrong.
const MORE_RUNS: usize = 24;

/// Compiles and compares.
///
/// # Errors
/// What differs, and by how much.
pub(crate) fn check(case: &Case) -> Result<Outcome, String> {
    let mut graph = case.graph.clone();
    let params = graph.param_nodes();
    let find = |graph: &Graph, name: &str| graph.find(name).expect("the case named it");
    let loss = find(&graph, "loss");
    let mut names: Vec<String> = (0..case.n_outputs).map(|i| format!("out {i}")).collect();
    names.push("loss".to_owned());
    let mut outputs: Vec<Node> = names.iter().map(|name| find(&graph, name)).collect();
    let gradients = graph.gradient(loss, &params).map_err(|e| e.to_string())?;
    if case.has_second_order {
        let params_of = case.graph.param_names().map(|name| format!("along {name}"));
        let along: Vec<Node> = params_of.map(|name| find(&graph, &name)).collect();
        let slope = graph.tangent(&[loss], &params, &along).map_err(|e| e.to_string())?;
        let curvature = graph.hessian_vector(loss, &params, &along).map_err(|e| e.to_string())?;
        for (i, &node) in slope.iter().chain(&curvature).enumerate() {
            names.push(format!("derivative {i}"));
            outputs.push(node);
        }
    }
    let everything = [&outputs[..], &gradients].concat();

    let named: Vec<(&str, Node)> = names.iter().map(String::as_str).zip(outputs.iter().copied()).collect();
    let gradient = match &case.wanted {
        Wanted::None => Gradient::None,
        Wanted::All => Gradient::All(loss),
        Wanted::Only(names) => Gradient::Only(loss, names),
    };
    let program = Program::compile(&graph, &named, gradient).map_err(|e| format!("compile: {e}"))?;
    let mut got = execute(&program, case, &names)?;
    let flat = got.pop().expect("the gradient is the last");
    let is_wanted = |name: &str| match &case.wanted {
        Wanted::None => false,
        Wanted::All => true,
        Wanted::Only(names) => names.iter().any(|n| n == name),
    };
    let mut labels = names.clone();
    let mut compared: Vec<usize> = (0..outputs.len()).collect();
    if !matches!(case.wanted, Wanted::None) {
        for (i, param) in program.space().iter().enumerate() {
            let part = flat[param.range.clone()].to_vec();
            if is_wanted(&param.name) {
                compared.push(outputs.len() + i);
                labels.push(format!("gradient of {}", param.name));
                got.push(part);
            } else if part.iter().any(|&x| x != 0.0) {
                return Err(format!("the gradient of {}, which was not asked for, is not 0", param.name));
            }
        }
    }

    let wide: BTreeMap<String, Value<f64>> = convert(&case.values, f64::from);
    let want = graph.interpret(&wide, &everything).map_err(|e| format!("interpret: {e}"))?;
    let mut scatter = vec![0.0_f64; everything.len()];
    shake_more(&graph, case, &everything, &want, 2, &mut scatter)?;
    // Derivatives that are roundings of 0 were compared with what roundings can make of it.
    let is_clear = |i: usize, scatter: f64| scatter <= 0.01 * size(&want[i]).max(0.01) && size(&want[i]) < 1e30;
    let mut wrong = compare(&compared, &got, &want, &scatter, &labels);
    if wrong.is_some() {
        shake_more(&graph, case, &everything, &want, MORE_RUNS, &mut scatter)?;
        wrong = compare(&compared, &got, &want, &scatter, &labels);
    }
    let clear = compared.iter().all(|&i| is_clear(i, scatter[i]));
    wrong.map_or(Ok(if clear { Outcome::Agrees } else { Outcome::Unclear }), Err)
}

/// Runs twice with the same bits, or says so; outputs by name, then the flat gradient.
fn execute(program: &Program, case: &Case, names: &[String]) -> Result<Vec<Vec<f32>>, String> {
    let mut workspace = Workspace::new(program);
    let mut weights = vec![0.0; program.space().len()];
    for (name, value) in &case.values {
        if let Ok(param) = program.space().find(name) {
            weights[param.range.clone()].copy_from_slice(value.floats());
        } else if program.input_shape(name).is_some() {
            match value {
                Value::Float(v) => workspace.floats_mut(program, name).map_err(|e| e.to_string())?.copy_from_slice(v),
                Value::Ids(v) => workspace.ids_mut(program, name).map_err(|e| e.to_string())?.copy_from_slice(v),
            }
        }
    }
    let mut run = || {
        program.run(&mut workspace, &weights).map_err(|e| format!("run: {e}"))?;
        let mut all: Vec<Vec<f32>> = names.iter().map(|name| workspace.output(program, name).to_vec()).collect();
        all.push(workspace.gradient(program).to_vec());
        Ok::<_, String>(all)
    };
    let (first, second) = (run()?, run()?);
    let bits = |all: &[Vec<f32>]| all.iter().flatten().map(|x| x.to_bits()).collect::<Vec<_>>();
    if bits(&first) != bits(&second) {
        return Err("a second execution gives other bits".to_owned());
    }
    Ok(first)
}

/// Raises the scatter of every result by plain f32, all upwards, and `n` more shaken interpretations.
fn shake_more(
    graph: &Graph,
    case: &Case,
    nodes: &[Node],
    want: &[Vec<f64>],
    n: usize,
    scatter: &mut [f64],
) -> Result<(), String> {
    for run in 0..n as u64 + 2 {
        COUNT.set(0);
        RUN.set(if run <= UP { run } else { run + 1000 * n as u64 });
        let moved = convert(&case.values, |x| Shaken((f64::from(x) * (1.0 + shake(f64::from(x)))) as f32));
        let got = graph.interpret(&moved, nodes).map_err(|e| format!("interpret: {e}"))?;
        for (scatter, (got, want)) in scatter.iter_mut().zip(got.iter().zip(want)) {
            let far = got.iter().zip(want).map(|(g, w)| (g.to_f64() - w).abs());
            *scatter = far.fold(*scatter, |a, x| if x > a || x.is_nan() { x } else { a });
        }
    }
    Ok(())
}

/// The first result that is farther off than roundings explain.
fn compare(
    compared: &[usize],
    got: &[Vec<f32>],
    want: &[Vec<f64>],
    scatter: &[f64],
    labels: &[String],
) -> Option<String> {
    for ((&i, got), label) in compared.iter().zip(got).zip(labels) {
        let want = &want[i];
        if got.len() != want.len() {
            return Some(format!("{label}: {} entries, expected {}", got.len(), want.len()));
        }
        if !scatter[i].is_finite() || want.iter().any(|w| !w.is_finite() || w.abs() > 1e30) {
            continue;
        }
        let allowed = FACTOR * scatter[i] + 4.0 * f64::from(f32::EPSILON) * size(want);
        for (at, (&g, &w)) in got.iter().zip(want).enumerate() {
            let error = (f64::from(g) - w).abs();
            if error.is_nan() || error > allowed {
                return Some(format!("{label}[{at}]: {g}, expected {w}; off by {error:e}, allowed {allowed:e}"));
            }
        }
    }
    None
}

fn size(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |a, x| a.max(x.abs()))
}

fn convert<T>(values: &BTreeMap<String, Value<f32>>, f: impl Fn(f32) -> T) -> BTreeMap<String, Value<T>> {
    let one = |value: &Value<f32>| match value {
        Value::Float(v) => Value::Float(v.iter().map(|&x| f(x)).collect()),
        Value::Ids(v) => Value::Ids(v.clone()),
    };
    values.iter().map(|(name, value)| (name.clone(), one(value))).collect()
}
