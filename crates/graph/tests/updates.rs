//! Fused updates against scalar loops of their formulas in f64, and against trajectories of `torch.optim`.

use std::ops::Range;

use ontogeny_graph::{
    Adam, AdamLangevin, Free, Friction, Gradient, Graph, Langevin, Program, Purpose, RmsProp, RmsPropDescent, Sgd,
    StepNorms, Stream, Threads, Workspace, adam, adam_sgld, baoab, rmsprop, rmsprop_sgld, sgd, sghmc, sgld,
};

const N: usize = 1000;

/// Ranges that start and end on and off the chunks of the noise, which are 64 long.
const RANGES: [Range<usize>; 6] = [3..5, 60..70, 127..128, 128..300, 511..777, 960..1000];

const LANGEVIN: Langevin = Langevin { step_size: 3e-4, n_beta: 50.0, localization: 7.0 };

fn normals(stream: u64, step: u32) -> Vec<f32> {
    let mut values = vec![0.0; N];
    Stream::new(4, Purpose::Probe, stream).normals(step, 0, &mut values);
    values
}

fn is_free(i: usize) -> bool {
    RANGES.iter().any(|range| range.contains(&i))
}

fn wide(x: f32) -> f64 {
    f64::from(x)
}

/// Terms of one Langevin step at coordinate i, from the f32 state before it: pull, home, kick, distance.
fn terms(preconditioner: f64, w: f32, w0: f32, g: f32, noise: f32) -> [f64; 4] {
    let step = wide(LANGEVIN.step_size) * preconditioner;
    let distance = wide(w) - wide(w0);
    let pull = 0.5 * step * wide(LANGEVIN.n_beta) * wide(g);
    [pull, 0.5 * step * wide(LANGEVIN.localization) * distance, step.sqrt() * wide(noise), distance]
}

/// Checks one step: free coordinates to a few roundings of the terms' sizes, all others to the bit, and the norms.
fn check_step(name: &str, before: &[f32], after: &[f32], terms: &[[f64; 4]], norms: &StepNorms) {
    let mut squares = [0.0; 4];
    for (i, &[pull, home, kick, distance]) in terms.iter().enumerate() {
        if !is_free(i) {
            assert_eq!(before[i].to_bits(), after[i].to_bits(), "{name}: coordinate {i} is not free");
            continue;
        }
        let want = wide(before[i]) - (pull + home) + kick;
        // At most five roundings of each factor of a term, and three additions.
        let size = wide(before[i]).abs() + pull.abs() + home.abs() + kick.abs();
        let tolerance = 8.0 * size * wide(f32::EPSILON) / 2.0;
        assert!((wide(after[i]) - want).abs() <= tolerance, "{name}: coordinate {i}: {} {want}", after[i]);
        [pull, home, kick, distance].iter().zip(&mut squares).for_each(|(x, sum)| *sum += x * x);
    }
    let got = [norms.gradient, norms.localization, norms.noise, norms.distance];
    for (got, want) in got.iter().zip(squares.map(f64::sqrt)) {
        assert!((got - want).abs() <= 1e-6 * want, "{name}: norm {got}, expected {want}");
    }
}

#[test]
fn sgld_is_its_formula() {
    let stream = Stream::new(9, Purpose::ChainNoise, 2);
    let start = normals(0, 0);
    let mut w = normals(1, 0);
    for step in 0..4 {
        let g = normals(2, step);
        let mut noise = vec![0.0; N];
        stream.normals(step, 0, &mut noise);
        let before = w.clone();
        let norms =
            sgld(&mut w, &start, &g, Free { ranges: &RANGES, noise: &stream, step }, &LANGEVIN, &Threads::one());
        let terms: Vec<_> = (0..N).map(|i| terms(1.0, before[i], start[i], g[i], noise[i])).collect();
        check_step("sgld", &before, &w, &terms, &norms);
    }
}

#[test]
fn adam_sgld_is_its_formula() {
    let stream = Stream::new(9, Purpose::ChainNoise, 4);
    let adam = AdamLangevin { betas: [0.8, 0.95], eps: 0.1 };
    let start = normals(0, 2);
    let mut w = normals(1, 2);
    let (mut m, mut v) = (vec![0.0; N], vec![0.0; N]);
    for step in 0..4 {
        let g = normals(2, step);
        let mut noise = vec![0.0; N];
        stream.normals(step, 0, &mut noise);
        let (before, m_before, v_before) = (w.clone(), m.clone(), v.clone());
        let free = Free { ranges: &RANGES, noise: &stream, step };
        let moments = [&mut m[..], &mut v[..]];
        let norms = adam_sgld(&mut w, &start, &g, moments, step, free, &LANGEVIN, &adam, &Threads::one());
        let all: Vec<_> = (0..N)
            .map(|i| {
                let [b1, b2] = adam.betas.map(wide);
                let first = (b1 * wide(m_before[i]) + (1.0 - b1) * wide(g[i])) / (1.0 - b1.powi(step as i32 + 1));
                let second = b2 * wide(v_before[i]) + (1.0 - b2) * wide(g[i]) * wide(g[i]);
                let root = (second / (1.0 - b2.powi(step as i32 + 1))).sqrt();
                terms(1.0 / (root + wide(adam.eps)), before[i], start[i], first as f32, noise[i])
            })
            .collect();
        check_step("adam_sgld", &before, &w, &all, &norms);
    }
}

/// One step with momentum: the momentum and the weights after it, and the norms, against f64.
#[test]
fn steps_with_momentum_are_their_formulas() {
    let stream = Stream::new(9, Purpose::ChainNoise, 5);
    let [epsilon, n_beta, gamma] = [LANGEVIN.step_size, LANGEVIN.n_beta, LANGEVIN.localization].map(wide);
    for is_baoab in [false, true] {
        let start = normals(0, 3);
        let (mut w, mut u) = (normals(1, 3), normals(3, 3));
        for step in 0..4 {
            let g = normals(2, step);
            let mut noise = vec![0.0; N];
            stream.normals(step, 0, &mut noise);
            let (before, u_before) = (w.clone(), u.clone());
            let free = Free { ranges: &RANGES, noise: &stream, step };
            let one = Threads::one();
            let (lost, fed) = (0.2_f32, 0.3_f32);
            let norms = if is_baoab {
                baoab(&mut w, &start, &g, &mut u, step == 0, free, &LANGEVIN, lost, &one)
            } else {
                sghmc(&mut w, &start, &g, &mut u, free, &LANGEVIN, Friction { lost, fed }, &one)
            };
            let (mut momentum, mut products) = (0.0, [0.0; 3]);
            for i in 0..N {
                if !is_free(i) {
                    assert_eq!(before[i].to_bits(), w[i].to_bits());
                    assert_eq!(u_before[i].to_bits(), u[i].to_bits());
                    continue;
                }
                let distance = wide(before[i]) - wide(start[i]);
                let scale = match (is_baoab, step) {
                    (true, 0) | (false, _) => 0.5 * epsilon,
                    (true, _) => epsilon,
                };
                let [pull, home] = [scale * n_beta * wide(g[i]), scale * gamma * distance];
                let keeps = 1.0 - wide(lost);
                let kick = if is_baoab {
                    ((1.0 - keeps * keeps) * epsilon).sqrt() * wide(noise[i])
                } else {
                    (wide(fed) * epsilon).sqrt() * wide(noise[i])
                };
                let (want_u, moved) = if is_baoab {
                    let kicked = wide(u_before[i]) - pull - home;
                    let after = keeps * kicked + kick;
                    (after, 0.5 * (kicked + after))
                } else {
                    let after = keeps * wide(u_before[i]) - pull - home + kick;
                    (after, after)
                };
                let size = wide(u_before[i]).abs() + pull.abs() + home.abs() + kick.abs();
                let ulp = wide(f32::EPSILON);
                assert!((wide(u[i]) - want_u).abs() <= 8.0 * size * ulp, "{i}: {} {want_u}", u[i]);
                let want = wide(before[i]) + moved;
                assert!((wide(w[i]) - want).abs() <= 8.0 * (size + wide(before[i]).abs()) * ulp);
                momentum += want_u * want_u;
                products[0] += pull * home;
                products[1] -= pull * kick;
                products[2] -= home * kick;
            }
            assert!((norms.momentum - momentum.sqrt()).abs() <= 1e-6 * norms.momentum);
            let got = [norms.gradient_localization, norms.gradient_noise, norms.localization_noise];
            let sizes =
                [norms.gradient * norms.localization, norms.gradient * norms.noise, norms.localization * norms.noise];
            for ((got, want), size) in got.into_iter().zip(products).zip(sizes) {
                // Terms cancel: an error of some roundings of the product of the norms.
                assert!((got - want).abs() <= 4e-6 * size, "{got} {want}");
            }
        }
    }
}

#[test]
fn rmsprop_sgld_is_its_formula() {
    let stream = Stream::new(9, Purpose::ChainNoise, 3);
    let rms = RmsProp { decay: 0.95, eps: 0.1, is_frozen: false };
    let start = normals(0, 1);
    let mut w = normals(1, 1);
    let mut v = vec![0.0; N];
    let mut exact = vec![0.0; N];
    for step in 0..5 {
        let g = normals(2, 10 + step);
        let mut noise = vec![0.0; N];
        stream.normals(step, 0, &mut noise);
        let before = w.clone();
        let free = Free { ranges: &RANGES, noise: &stream, step };
        let norms = rmsprop_sgld(&mut w, &start, &g, &mut v, step, free, &LANGEVIN, &rms, &Threads::one());
        let decay = wide(rms.decay);
        let mut all = Vec::new();
        for i in 0..N {
            if is_free(i) {
                exact[i] = decay * exact[i] + (1.0 - decay) * wide(g[i]).powi(2);
            }
            assert!((wide(v[i]) - exact[i]).abs() <= 4e-7 * exact[i], "second moment {i}: {} {}", v[i], exact[i]);
            let corrected = exact[i] / (1.0 - decay.powi(step as i32 + 1));
            let preconditioner = 1.0 / (corrected.sqrt() + wide(rms.eps));
            all.push(terms(preconditioner, before[i], start[i], g[i], noise[i]));
        }
        check_step("rmsprop_sgld", &before, &w, &all, &norms);
    }
}

#[test]
fn a_restricted_chain_moves_its_coordinates_as_the_full_one_does() {
    let stream = Stream::new(1, Purpose::ChainNoise, 0);
    let (start, g) = (normals(0, 0), normals(2, 0));
    let step = |ranges: &[Range<usize>]| {
        let mut w = normals(1, 0);
        sgld(&mut w, &start, &g, Free { ranges, noise: &stream, step: 5 }, &LANGEVIN, &Threads::one());
        w
    };
    let (full, restricted, none) = (step(std::slice::from_ref(&(0..N))), step(&RANGES), step(&[]));
    for i in 0..N {
        let want = if is_free(i) { full[i] } else { none[i] };
        assert_eq!(restricted[i].to_bits(), want.to_bits(), "coordinate {i}");
    }
    assert_eq!(none, normals(1, 0));
}

/// Twenty steps of every optimiser from the fixture, whose gradients and weights are in f64.
#[test]
fn optimisers_follow_the_trajectories_of_torch() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/torch/optimizers.json");
    let fixture: serde_json::Value = serde_json::from_slice(&fs_err::read(path).unwrap()).unwrap();
    let row = |value: &serde_json::Value| -> Vec<f64> {
        value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
    };
    let cases = fixture["cases"].as_array().unwrap();
    let [a, b] = ["a", "b"].map(|key| row(&fixture["quartic"][key]));
    for case in cases {
        let number = |key: &str| case.get(key).and_then(serde_json::Value::as_f64).unwrap_or(0.0) as f32;
        let name = format!("{} {} {}", case["problem"], case["optimizer"], case["warm_up"]);
        let mut w: Vec<f32> = row(&fixture["start"]).iter().map(|&x| x as f32).collect();
        let (mut first, mut second) = (vec![0.0; w.len()], vec![0.0; w.len()]);
        for (step, rate) in row(&case["learning_rates"]).into_iter().enumerate() {
            let gradient: Vec<f32> = if case["problem"] == "quartic" {
                (0..w.len()).map(|i| (a[i] * wide(w[i]) + b[i] * wide(w[i]).powi(3)) as f32).collect()
            } else {
                row(&fixture["given_gradients"][step]).iter().map(|&x| x as f32).collect()
            };
            let (step, rate) = (step as u64, rate as f32);
            if case["optimizer"] == "sgd" {
                let settings = Sgd {
                    momentum: number("momentum"),
                    nesterov: case.get("nesterov").is_some_and(|x| x == true),
                    weight_decay: number("weight_decay"),
                };
                sgd(&mut w, &gradient, &mut first, step, rate, &settings, &Threads::one());
            } else if case["optimizer"] == "rmsprop" {
                let settings = RmsPropDescent {
                    alpha: number("alpha"),
                    eps: number("eps"),
                    momentum: number("momentum"),
                    weight_decay: number("weight_decay"),
                };
                rmsprop(&mut w, &gradient, [&mut first, &mut second], rate, &settings, &Threads::one());
            } else {
                let settings = Adam {
                    betas: [0, 1].map(|i| row(&case["betas"])[i] as f32),
                    eps: number("eps"),
                    weight_decay: number("weight_decay"),
                    decoupled: case["optimizer"] == "adamw",
                };
                adam(&mut w, &gradient, [&mut first, &mut second], step, rate, &settings, &Threads::one());
            }
            let want = row(&case["parameters"][step as usize + 1]);
            for (i, (&got, want)) in w.iter().zip(want).enumerate() {
                // Some ten roundings a step, each of at most the size of the weight or of a step of about one.
                let tolerance = 10.0 * (step + 1) as f64 * 6e-8 * want.abs().max(1.0);
                assert!((wide(got) - want).abs() <= tolerance, "{name}, step {step}, weight {i}: {got} {want}");
            }
        }
    }
    assert_eq!(cases.len(), 26);
}

/// What is done to a gradient in its place is gone after the next execution, also where the gradient is constant.
#[test]
fn executions_write_the_gradient_anew() {
    let mut g = Graph::new();
    let w = g.param("w", &[70]);
    let free = g.param("free", &[3]);
    let square = g.square(free);
    let (a, b) = (g.sum(w, &[0]), g.sum(square, &[0]));
    let loss = g.add(a, b);
    let program = Program::compile(&g, &[("loss", loss)], Gradient::All(loss)).unwrap();
    let mut workspace = Workspace::new(&program);
    let weights = vec![0.5; 73];
    for _ in 0..3 {
        program.run(&mut workspace, &weights).unwrap();
        assert!(workspace.gradient(&program).iter().all(|&g| g == 1.0));
        workspace.gradient_mut(&program).fill(7.0);
    }
}
