//! Hessian-, Gauss–Newton- and Fisher-vector products, Lanczos, spectral densities and traces against dense matrices in
//! f64, built from the definitions by the reference interpreter.

#![expect(clippy::unwrap_used, reason = "a failed step of a test is a failed test")]

mod common;

use std::collections::BTreeMap;
use std::convert::Infallible;

use common::{fill, random_values, transformer, widened};
use ontogeny_graph::{
    Curvature, CurvatureProgram, Graph, Node, Purpose, RunError, SpectralDensity, SpectrumError, Stream, Value,
    Workspace, hutchinson_trace, top_eigenpairs,
};

type Matrix = Vec<Vec<f64>>;

/// A classifier with its nodes, and the values at which it is looked at.
struct Network {
    name: &'static str,
    graph: Graph,
    logits: Node,
    losses: Node,
    loss: Node,
    values: BTreeMap<String, Value<f32>>,
}

fn networks() -> Vec<Network> {
    let mut g = Graph::new();
    let x = g.input("x", &[12, 4]);
    let targets = g.input_ids("targets", &[12]);
    let hidden = g.linear("first", x, 6);
    let hidden = g.tanh(hidden);
    let hidden = g.linear("second", hidden, 5);
    let hidden = g.silu(hidden);
    let logits = g.linear("third", hidden, 3);
    let losses = g.cross_entropy(logits, targets);
    let loss = g.mean_all(losses);
    let values = random_values(&g, 7, 3);
    let mlp = Network { name: "mlp", graph: g, logits, losses, loss, values };

    let t = transformer(6, 4, 3, 4, 2, 6);
    let mut g = t.graph;
    // Found by name: the last axis of classes before the loss.
    let w = g.find("unembed.W_U").unwrap();
    let last = g.find("last").unwrap();
    let logits = g.matmul(last, w);
    let targets = g.find("targets").unwrap();
    let losses = g.cross_entropy(logits, targets);
    let loss = g.mean_all(losses);
    let values = random_values(&g, 8, 4);
    vec![mlp, Network { name: "attention", graph: g, logits, losses, loss, values }]
}

/// The matrix whose columns are the products of `build` with the unit vectors.
fn columns(network: &Network, build: impl FnOnce(&mut Graph, &[Node], &[Node]) -> Vec<Node>) -> Matrix {
    let mut g = network.graph.clone();
    let wrt = g.param_nodes();
    let shapes: Vec<Vec<usize>> = wrt.iter().map(|&n| g.shape(n).to_vec()).collect();
    let names: Vec<String> = (0..wrt.len()).map(|i| format!("v{i}")).collect();
    let directions: Vec<Node> = names.iter().zip(&shapes).map(|(name, shape)| g.input(name, shape)).collect();
    let products = build(&mut g, &wrt, &directions);
    let mut values = widened(&network.values);
    for (name, shape) in names.iter().zip(&shapes) {
        values.insert(name.clone(), Value::Float(vec![0.0; shape.iter().product()]));
    }
    let mut columns = Vec::new();
    for (name, shape) in names.iter().zip(&shapes) {
        let n: usize = shape.iter().product();
        for i in 0..n {
            let unit = (0..n).map(|j| f64::from(i == j)).collect();
            values.insert(name.clone(), Value::Float(unit));
            columns.push(g.interpret(&values, &products).unwrap().concat());
        }
        values.insert(name.clone(), Value::Float(vec![0.0; n]));
    }
    columns
}

fn hessian(network: &Network) -> Matrix {
    columns(network, |g, wrt, v| g.hessian_vector(network.loss, wrt, v).unwrap())
}

/// ∂logits/∂parameter, a column for each parameter.
fn jacobian(network: &Network) -> Matrix {
    columns(network, |g, wrt, v| g.tangent(&[network.logits], wrt, v).unwrap())
}

fn interpreted(network: &Network, node: Node) -> Vec<f64> {
    network.graph.interpret(&widened(&network.values), &[node]).unwrap().concat()
}

/// Σ weight·vvᵀ.
fn outer_products(n: usize, vectors: impl Iterator<Item = (f64, Vec<f64>)>) -> Matrix {
    let mut sum = vec![vec![0.0; n]; n];
    for (weight, v) in vectors {
        for (row, x) in sum.iter_mut().zip(&v) {
            row.iter_mut().zip(&v).for_each(|(s, y)| *s += weight * x * y);
        }
    }
    sum
}

/// E over the model's own classes of the outer product of the gradient of ln p, by its definition.
fn fisher(network: &Network) -> Matrix {
    let jacobian = jacobian(network);
    let logits = interpreted(network, network.logits);
    let classes = *network.graph.shape(network.logits).last().unwrap();
    let n = logits.len() / classes;
    let terms = (0..n).flat_map(|i| {
        let row = &logits[i * classes..(i + 1) * classes];
        let total: f64 = row.iter().map(|z| z.exp()).sum();
        let p: Vec<f64> = row.iter().map(|z| z.exp() / total).collect();
        let jacobian = &jacobian;
        (0..classes).map(move |y| {
            let gradient = jacobian.iter().map(|column| {
                let of = &column[i * classes..(i + 1) * classes];
                of[y] - of.iter().zip(&p).map(|(j, p)| j * p).sum::<f64>()
            });
            (p[y] / n as f64, gradient.collect::<Vec<f64>>())
        })
    });
    outer_products(jacobian.len(), terms)
}

/// The mean over examples of the outer product of the gradient at the target, from one gradient for each example.
fn empirical_fisher(network: &Network) -> Matrix {
    let n = network.graph.shape(network.losses)[0];
    let gradients = (0..n).map(|i| {
        let mut g = network.graph.clone();
        let one = g.select_index(network.losses, 0, i);
        let wrt = g.param_nodes();
        let gradient = g.gradient(one, &wrt).unwrap();
        (1.0 / n as f64, g.interpret(&widened(&network.values), &gradient).unwrap().concat())
    });
    let gradients: Vec<_> = gradients.collect();
    outer_products(gradients[0].1.len(), gradients.into_iter())
}

fn times(matrix: &Matrix, v: &[f32]) -> Vec<f64> {
    matrix.iter().map(|row| row.iter().zip(v).map(|(a, &x)| a * f64::from(x)).sum()).collect()
}

fn norm(x: impl Iterator<Item = f64>) -> f64 {
    x.map(|x| x * x).sum::<f64>().sqrt()
}

/// Eigenvalues of a symmetric matrix by Jacobi's rotations, ascending: slow, and nothing like what is tested.
fn dense_eigenvalues(matrix: &Matrix) -> Vec<f64> {
    let n = matrix.len();
    let mut a = matrix.clone();
    let scale = norm(a.iter().flatten().copied());
    loop {
        let off = norm((0..n).flat_map(|i| (0..i).map(move |j| (i, j))).map(|(i, j)| a[i][j]));
        if off <= 1e-14 * scale {
            break;
        }
        for i in 0..n {
            for j in 0..i {
                if a[i][j].abs() < 1e-18 * scale {
                    continue;
                }
                let theta = 0.5 * (2.0 * a[i][j]).atan2(a[j][j] - a[i][i]);
                let (s, c) = theta.sin_cos();
                for row in &mut a {
                    (row[i], row[j]) = (c * row[i] - s * row[j], s * row[i] + c * row[j]);
                }
                let (first, second) = a.split_at_mut(i);
                for (x, y) in second[0].iter_mut().zip(&mut first[j]) {
                    (*x, *y) = (c * *x - s * *y, s * *x + c * *y);
                }
            }
        }
    }
    let mut values: Vec<f64> = (0..n).map(|i| a[i][i]).collect();
    values.sort_by(f64::total_cmp);
    values
}

/// A compiled product as a closure.
fn operator<'a>(
    program: &'a CurvatureProgram,
    network: &Network,
) -> impl FnMut(&[f32], &mut [f32]) -> Result<(), RunError> + use<'a> {
    let mut workspace = Workspace::new(program.program());
    let weights = fill(program.program(), &mut workspace, &network.values);
    move |v, product| program.multiply(&mut workspace, &weights, v, product)
}

#[test]
fn compiled_products_are_those_of_the_dense_matrices() {
    for network in networks() {
        let (logits, losses, loss) = (network.logits, network.losses, network.loss);
        let hessian = hessian(&network);
        let n = hessian.len();
        let symmetric = |(i, row): (usize, &Vec<f64>)| (0..i).all(|j| (row[j] - hessian[j][i]).abs() < 1e-12);
        assert!(hessian.iter().enumerate().all(symmetric), "{} is not symmetric", network.name);
        let fisher = fisher(&network);
        let cases = [
            ("hessian", Curvature::Hessian { loss }, hessian),
            ("gauss-newton", Curvature::GaussNewton { outputs: logits, loss }, fisher.clone()),
            ("fisher", Curvature::Fisher { logits }, fisher),
            ("empirical fisher", Curvature::EmpiricalFisher { losses }, empirical_fisher(&network)),
        ];
        for (name, curvature, dense) in cases {
            let program = CurvatureProgram::compile(&network.graph, curvature).unwrap();
            assert_eq!(program.program().space().len(), n);
            let mut multiply = operator(&program, &network);
            let (mut v, mut product) = (vec![0.0; n], vec![0.0; n]);
            for probe in 0..3 {
                Stream::new(1, Purpose::Probe, 0).normals(probe, 0, &mut v);
                multiply(&v, &mut product).unwrap();
                let want = times(&dense, &v);
                let error = norm(want.iter().zip(&product).map(|(w, &p)| w - f64::from(p)));
                // f32 through a few layers forward and back: tens of roundings of 6e-8.
                assert!(error < 1e-5 * norm(want.into_iter()), "{} {name}: {error}", network.name);
            }
        }
    }
}

#[test]
fn gauss_newton_of_squares_is_the_jacobian_twice() {
    let network = networks().swap_remove(0);
    let mut g = network.graph.clone();
    let zero = g.constant(0.0);
    let shape = g.shape(network.logits).to_vec();
    let target = g.broadcast(zero, &shape);
    let loss = g.mean_squared_error(network.logits, target);
    // Weight decay does not pass through the outputs, and so takes no part.
    let w = g.find("first.W").unwrap();
    let decay = g.square(w);
    let decay = g.sum(decay, &[0, 1]);
    let loss = g.add(loss, decay);
    let jacobian = jacobian(&network);
    let n_outputs = jacobian[0].len();
    let rows = (0..n_outputs).map(|i| (2.0 / n_outputs as f64, jacobian.iter().map(|column| column[i]).collect()));
    let dense = outer_products(jacobian.len(), rows);
    let network = Network { graph: g, loss, ..network };
    let columns = columns(&network, |g, wrt, v| g.gauss_newton_vector(network.logits, network.loss, wrt, v).unwrap());
    for (got, want) in columns.iter().flatten().zip(dense.iter().flatten()) {
        assert!((got - want).abs() < 1e-12, "{got} {want}");
    }
}

#[test]
fn lanczos_finds_the_top_of_the_dense_spectrum_within_its_residuals() {
    for network in networks() {
        let dense = hessian(&network);
        let n = dense.len();
        let eigenvalues = dense_eigenvalues(&dense);
        let scale = eigenvalues.iter().fold(0.0_f64, |a, x| a.max(x.abs()));
        let program = CurvatureProgram::compile(&network.graph, Curvature::Hessian { loss: network.loss }).unwrap();
        let mut multiply = operator(&program, &network);
        let mut start = vec![0.0; n];
        Stream::new(2, Purpose::Probe, 0).normals(0, 0, &mut start);
        let pairs = top_eigenpairs(&start, 5, 60, 1e-5, &mut multiply).unwrap();
        assert_eq!(pairs.len(), 5);
        for (i, pair) in pairs.iter().enumerate() {
            let truth = eigenvalues[n - 1 - i];
            // Products round by about 1e-6 of the largest eigenvalue; what they round is not in the measured residual's sign.
            let noise = 1e-6 * scale;
            assert!((pair.value - truth).abs() <= pair.residual + noise, "{}: {} {truth}", network.name, pair.value);
            assert!(pair.residual < 1e-4 * scale, "{}: residual {}", network.name, pair.residual);
            let product = times(&dense, &pair.vector);
            let residual = norm(product.iter().zip(&pair.vector).map(|(y, &x)| y - pair.value * f64::from(x)));
            assert!((residual - pair.residual).abs() < noise * 3.0, "{residual} {}", pair.residual);
        }
        // The other end, by negating the products.
        let negated = |v: &[f32], out: &mut [f32]| {
            multiply(v, out)?;
            for x in out {
                *x = -*x;
            }
            Ok::<(), RunError>(())
        };
        let lowest = top_eigenpairs(&start, 1, 60, 1e-5, negated).unwrap();
        assert!((lowest[0].value + eigenvalues[0]).abs() <= lowest[0].residual + 1e-6 * scale);
    }
}

#[test]
fn probes_agree_with_the_dense_trace_and_spectrum() {
    const N_PROBES: u32 = 60;
    const MANY: u32 = 2000;
    for network in networks() {
        let dense = hessian(&network);
        let n = dense.len();
        let eigenvalues = dense_eigenvalues(&dense);
        let program = CurvatureProgram::compile(&network.graph, Curvature::Hessian { loss: network.loss }).unwrap();
        let mut multiply = operator(&program, &network);
        let stream = Stream::new(3, Purpose::Probe, 0);

        let trace = hutchinson_trace(n, MANY, &stream, &mut multiply).unwrap();
        let exact: f64 = (0..n).map(|i| dense[i][i]).sum();
        assert!((eigenvalues.iter().sum::<f64>() - exact).abs() < 1e-10);
        assert!((trace.mean - exact).abs() < 4.0 * trace.standard_error, "{trace:?} {exact}");
        // A probe varies by 2(‖A‖² − Σ aᵢᵢ²), known to 4√(κ/n) from a sample of n, κ ≤ 4 for such forms.
        let squares = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>();
        let variance =
            2.0 * (squares(&mut dense.iter().flatten().copied()) - squares(&mut (0..n).map(|i| dense[i][i])));
        let ratio = trace.standard_error.powi(2) * f64::from(MANY) / variance;
        assert!((ratio - 1.0).abs() < 4.0 * (4.0 / f64::from(MANY)).sqrt(), "{ratio}");

        let n_steps = 30;
        let density = SpectralDensity::estimate(n, N_PROBES, n_steps, &stream, &mut multiply).unwrap();
        // The quadrature of each probe is exact for low powers: the same probes give the same trace.
        let first = density.mean_of(|x| x);
        let trace = hutchinson_trace(n, N_PROBES, &stream, &mut multiply).unwrap();
        assert!((first.mean * n as f64 - trace.mean).abs() < 1e-4 * trace.mean.abs());
        assert!((density.mean_of(|_| 1.0).mean - 1.0).abs() < 1e-6);
        let mut power = 0.0;
        let mut v = vec![0.0; n];
        for i in 0..N_PROBES {
            stream.signs(i, &mut v);
            let once: Vec<f32> = times(&dense, &v).iter().map(|&x| x as f32).collect();
            power += times(&dense, &once).iter().zip(&once).map(|(y, &x)| y * f64::from(x)).sum::<f64>();
        }
        let third = density.mean_of(|x| x.powi(3)).mean * n as f64 * f64::from(N_PROBES);
        assert!((third - power).abs() < 1e-4 * power.abs(), "{third} {power}");

        // Smoothed density: within four standard errors at nearly every place, and far less than the peak off.
        let (low, high) = (eigenvalues[0], eigenvalues[n - 1]);
        let width = (high - low) / 15.0;
        let truth = |at: f64| {
            let height = 1.0 / (width * (2.0 * std::f64::consts::PI).sqrt() * n as f64);
            eigenvalues.iter().map(|x| height * (-0.5 * ((at - x) / width).powi(2)).exp()).sum::<f64>()
        };
        for i in 0..=20 {
            let at = low + (high - low) * f64::from(i) / 20.0;
            let found = density.density(at, width);
            let allowed = 4.0 * found.standard_error + 1e-4 * truth(at);
            assert!((found.mean - truth(at)).abs() < allowed, "at {at}: {found:?} {}", truth(at));
        }
        let range = density.range();
        assert!(low - 1e-5 * high < range.0 && range.1 < high + 1e-5 * high && range.1 > 0.99 * high, "{range:?}");
    }
}

#[test]
fn operators_that_are_simple_or_broken_are_told_apart() {
    let scaled = |factor: f32| {
        move |v: &[f32], out: &mut [f32]| {
            for (y, x) in out.iter_mut().zip(v) {
                *y = factor * x;
            }
            Ok::<(), Infallible>(())
        }
    };
    let stream = Stream::new(0, Purpose::Probe, 0);
    let start = [1.0, 2.0, -1.0, 0.5];
    // All of a multiple of the identity is one eigenspace, and one vector of it is found.
    for factor in [3.0, 0.0, -2.0] {
        let pairs = top_eigenpairs(&start, 3, 10, 1e-6, scaled(factor)).unwrap();
        assert_eq!(pairs.len(), 1);
        assert!((pairs[0].value - f64::from(factor)).abs() < 1e-6 && pairs[0].residual < 1e-6);
        let trace = hutchinson_trace(4, 5, &stream, scaled(factor)).unwrap();
        assert_eq!((trace.mean, trace.standard_error), (4.0 * f64::from(factor), 0.0));
        let density = SpectralDensity::estimate(4, 2, 8, &stream, scaled(factor)).unwrap();
        assert!((density.mean_of(|x| x * x).mean - f64::from(factor).powi(2)).abs() < 1e-5);
    }
    let one = top_eigenpairs(&[2.0], 5, 5, 1e-6, scaled(7.0)).unwrap();
    assert!(one.len() == 1 && one[0].value == 7.0 && one[0].vector == [1.0]);
    assert_eq!(hutchinson_trace(4, 1, &stream, scaled(1.0)).unwrap().standard_error, f64::INFINITY);
    // All eigenvalues of a small diagonal are found, in order, when the space is exhausted.
    let diagonal = |v: &[f32], out: &mut [f32]| {
        for (i, (y, x)) in out.iter_mut().zip(v).enumerate() {
            *y = i as f32 * x;
        }
        Ok::<(), Infallible>(())
    };
    let pairs = top_eigenpairs(&start, 10, 100, 0.0, diagonal).unwrap();
    let values: Vec<f64> = pairs.iter().map(|pair| pair.value).collect();
    assert!(values.iter().zip([3.0, 2.0, 1.0, 0.0]).all(|(got, want)| (got - want).abs() < 1e-6), "{values:?}");

    let broken = |v: &[f32], out: &mut [f32]| {
        out.copy_from_slice(v);
        out[1] = f32::NAN;
        Ok::<(), Infallible>(())
    };
    assert_eq!(top_eigenpairs(&start, 1, 5, 0.1, broken), Err(SpectrumError::NotFinite { index: 0 }));
    assert_eq!(hutchinson_trace(4, 3, &stream, broken), Err(SpectrumError::NotFinite { index: 0 }));
    let failing = |_: &[f32], _: &mut [f32]| Err(RunError::Weights { expected: 1, found: 2 });
    let error = SpectralDensity::estimate(4, 3, 3, &stream, failing).unwrap_err();
    assert_eq!(error.to_string(), "expected 1 weights, found 2");
    for empty in [
        top_eigenpairs(&[0.0; 4], 1, 5, 0.1, scaled(1.0)).map(drop),
        top_eigenpairs(&[f32::NAN; 4], 1, 5, 0.1, scaled(1.0)).map(drop),
        top_eigenpairs(&[], 1, 5, 0.1, scaled(1.0)).map(drop),
        top_eigenpairs(&start, 0, 5, 0.1, scaled(1.0)).map(drop),
        top_eigenpairs(&start, 1, 0, 0.1, scaled(1.0)).map(drop),
        hutchinson_trace(0, 3, &stream, scaled(1.0)).map(drop),
        hutchinson_trace(4, 0, &stream, scaled(1.0)).map(drop),
        SpectralDensity::estimate(4, 3, 0, &stream, scaled(1.0)).map(drop),
    ] {
        assert!(matches!(empty, Err(SpectrumError::Empty { .. })), "{empty:?}");
    }
}

#[test]
fn mistakes_in_curvature_are_errors() {
    let network = networks().swap_remove(0);
    let mut g = network.graph.clone();
    assert!(CurvatureProgram::compile(&g, Curvature::Hessian { loss: network.losses }).is_err());
    assert!(CurvatureProgram::compile(&g, Curvature::Fisher { logits: network.loss }).is_err());
    assert!(CurvatureProgram::compile(&Graph::new(), Curvature::Hessian { loss: network.loss }).is_err());
    let program = CurvatureProgram::compile(&g, Curvature::Hessian { loss: network.loss }).unwrap();
    let mut workspace = Workspace::new(program.program());
    let n = program.program().space().len();
    let error = program.multiply(&mut workspace, &vec![0.0; n], &vec![0.0; n + 1], &mut vec![0.0; n]).unwrap_err();
    assert!(error.to_string().contains(&format!("expected {n} entries")), "{error}");
    let _ = g.input("curvature.direction", &[1]);
    let error = CurvatureProgram::compile(&g, Curvature::Hessian { loss: network.loss }).unwrap_err();
    assert!(error.to_string().contains("used twice"), "{error}");
}
