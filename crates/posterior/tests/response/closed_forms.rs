//! Every number on a quadratic, where all are known.

use ontogeny_graph::Graph;
use ontogeny_posterior::{
    Covariance, Detail, Execution, Influence, Judged, Llc, Objective, Probe, Recording, Restriction, Susceptibilities,
};

use crate::{
    D, Matrix, N_BETA, ONE, Quadratic, baoab, covariance, exact_chi, hessian, inverse_precision, linear_probe, losses,
    mean, minus, objective, probe, quadratic_covariance, rows,
};

/// Within 4.5 of its stated standard errors, which are small enough for that to mean something.
#[track_caller]
fn assert_close(what: &str, value: f64, error: f64, exact: f64, scale: f64) {
    assert!(error < 0.2 * scale, "{what}: an error of {error} tells nothing on a scale of {scale}");
    assert!((value - exact).abs() < 4.5 * error, "{what}: {value} ± {error}, exact {exact}");
}

fn part(name: &str) -> Restriction {
    name.parse().unwrap()
}

#[test]
fn susceptibilities_equal_their_closed_forms_at_every_level() {
    let probes = [probe("one", 1), probe("two", 2)];
    let recording = Recording { detail: Detail::Token, ..Recording::of(&probes) };
    let found = Susceptibilities::measure(
        &baoab(),
        &[part("a"), part("b")],
        &objective(),
        &[0.0; D],
        &recording,
        &Execution::default(),
    )
    .unwrap();
    assert_eq!(found.n_beta, N_BETA);
    let parts: [(&str, &[usize]); 3] = [("full", &[0, 1, 2, 3]), ("a", &[0, 1]), ("b", &[2, 3])];
    for ((name, coordinates), response) in parts.into_iter().zip(&found.components) {
        assert_eq!(response.component, name);
        let table = response.table.value().unwrap();
        let own = covariance(coordinates);
        // φ = ½w'Hw with itself: the natural size of a susceptibility.
        let phi = Quadratic { gradient: [0.0; D], hessian: hessian() };
        let scale = quadratic_covariance(&phi, &phi, &own);
        let data = [rows(1, 6, 2, 1.0), rows(2, 6, 2, 1.0)];
        let mut exact = [Vec::new(), Vec::new(), Vec::new()];
        for data in &data {
            exact[0].push(Quadratic::of(data, 0..6, 0..2));
            for e in 0..6 {
                exact[1].push(Quadratic::of(data, e..e + 1, 0..2));
                exact[2].extend((0..2).map(|t| Quadratic::of(data, e..e + 1, t..t + 1)));
            }
        }
        for (level, (chis, exact)) in [&table.sets, &table.examples, &table.tokens].into_iter().zip(&exact).enumerate()
        {
            assert_eq!(chis.len(), exact.len());
            for (i, (chi, quadratic)) in chis.iter().zip(exact).enumerate() {
                let expected = exact_chi(quadratic, coordinates);
                // Tokens scatter more than φ does.
                let size = scale.max(quadratic_covariance(quadratic, quadratic, &own)).max(expected.abs());
                assert_close(&format!("{name}, level {level}, item {i}"), chi.chi, chi.chi_mcse, expected, 2.0 * size);
                assert_eq!(chi.response, N_BETA * chi.chi);
                assert_eq!(chi.response_mcse, N_BETA * chi.chi_mcse);
            }
        }
        // λ̂ from the same draws: nβ·E[φ].
        let expected = N_BETA * mean(&phi.hessian, &own);
        let convergence = response.estimate.diagnostics().convergence.unwrap();
        assert_close("λ̂", convergence.mean, convergence.mcse, expected, expected);
    }
}

#[test]
fn defect_7_the_response_is_the_rate_of_change_and_full_is_always_there() {
    // The posterior of (1 − h)·L + h·L_probe has the covariance (nβ(H + hD) + γ)⁻¹, D = G − H: E[φ] at ±h says what the
    // response should be, to h².
    // The probe is the objective's own data with losses three times as large: D = 2H.
    let tripled = Probe::new("tripled", rows(0, 12, 1, 0.0), 12, |batch| {
        let (mut g, loss) = losses(batch, 1);
        let loss = g.reshape(loss, &[batch]);
        let loss = g.scale(loss, 3.0);
        (g, loss)
    });
    let probes = [tripled.unwrap()];
    let recording = Recording { detail: Detail::Set, ..Recording::of(&probes) };
    let found =
        Susceptibilities::measure(&baoab(), &[], &objective(), &[0.0; D], &recording, &Execution::default()).unwrap();
    assert_eq!(found.components.len(), 1, "`full` alone, though nobody asked for it");
    assert_eq!(found.components[0].component, "full");
    let chi = found.components[0].table.value().unwrap().sets[0];
    let probe = Quadratic { gradient: [0.0; D], hessian: hessian().map(|row| row.map(|h| 3.0 * h)) };
    let delta = minus(&probe.hessian, &hessian());
    let expectation = |h: f64| {
        let shifted: Matrix = std::array::from_fn(|i| std::array::from_fn(|j| hessian()[i][j] + h * delta[i][j]));
        mean(&hessian(), &inverse_precision(&shifted))
    };
    let h = 1e-4;
    let rate = (expectation(h) - expectation(-h)) / (2.0 * h);
    assert!((N_BETA * exact_chi(&probe, &[0, 1, 2, 3]) / rate - 1.0).abs() < 1e-4, "the closed form itself");
    assert!(chi.response_mcse > 0.0 && rate.abs() > 9.0 * chi.response_mcse, "{chi:?}");
    assert_close("response", chi.response, chi.response_mcse, rate, rate.abs());
}

#[test]
fn influence_equals_its_closed_form() {
    let probes = [linear_probe("linear", 3, 5), probe("quadratic", 4)];
    let llc = baoab();
    let draws = llc.loss_draws(&objective(), &[0.0; D], &Recording::of(&probes), &Execution::default()).unwrap();
    let Judged::Ok(influence) = Influence::of(&draws).unwrap() else { panic!("refused") };
    assert_eq!(influence.n_items(), 11);
    let (linear, quadratic) = (rows(3, 5, 1, 1.0), rows(4, 6, 2, 1.0));
    let exact: Vec<Quadratic> = (0..5)
        .map(|i| Quadratic::of(&linear, i..i + 1, 0..1).linear_part())
        .chain((0..6).map(|i| Quadratic::of(&quadratic, i..i + 1, 0..2)))
        .collect();
    let sigma = covariance(&[0, 1, 2, 3]);
    let block = influence.block(0..11, 0..11, ONE).unwrap();
    for i in 0..11 {
        for j in 0..11 {
            let pair = block[11 * i + j];
            let expected = -quadratic_covariance(&exact[i], &exact[j], &sigma);
            let deviations = [i, j].map(|k| quadratic_covariance(&exact[k], &exact[k], &sigma).sqrt());
            let scale = deviations[0] * deviations[1];
            assert_close(&format!("{i}, {j}"), pair.value, pair.mcse, expected, scale);
            // The error of a correlation of N effective draws is at most 1/√N; those of some hundred effective draws.
            assert!((pair.correlation.unwrap() + expected / scale).abs() < 4.5 / 20.0, "{i}, {j}: {pair:?}");
        }
    }
    // The pair that stands out most is found, with its place told by the caller.
    let top = influence.top_pairs(0..11, 0..11, 5, ONE);
    let largest = (0..11)
        .flat_map(|i| (0..i).map(move |j| (i, j)))
        .map(|(i, j)| block[11 * i + j].value.abs() / block[11 * i + j].mcse)
        .fold(0.0, f64::max);
    assert!(top.len() == 5 && top.windows(2).all(|w| w[0].z() >= w[1].z()));
    assert!(top.iter().any(|t| {
        let pair = block[11 * t.items[1] + t.items[0]];
        pair.value.abs() / pair.mcse == largest
    }));
    let label = |i: usize| {
        let item = draws.item(i).unwrap();
        format!("{} {}", item.probe, item.example.unwrap())
    };
    let text = Influence::describe(&top, label);
    assert_eq!(text.lines().count(), 5);
    assert!(text.contains("linear ") && text.contains('±'), "{text}");
}

#[test]
fn the_covariance_is_the_inverse_of_the_posterior_precision() {
    let draws = baoab().weight_draws(&objective(), &[0.0; D], 1 << 30, &Execution::default()).unwrap();
    let Judged::Ok(found) = Covariance::of(&draws, 1 << 30).unwrap() else { panic!("refused") };
    let sigma = covariance(&[0, 1, 2, 3]);
    for i in 0..D {
        for j in 0..D {
            let (value, error) = found.entry(i, j);
            assert_close(&format!("{i}, {j}"), value, error, sigma[i][j], (sigma[i][i] * sigma[j][j]).sqrt());
        }
    }
    // Along each eigenvector v of the sample the variance of the posterior is v'Σv; the sum of shares is all.
    for (name, coordinates) in [("full", vec![0, 1, 2, 3]), ("b", vec![2, 3])] {
        let directions = found.leading(&part(name), 4, ONE).unwrap();
        assert_eq!(directions.len(), coordinates.len());
        let along = |v: &[f32]| -> f64 {
            let pairs = coordinates
                .iter()
                .enumerate()
                .flat_map(|(p, &i)| coordinates.iter().enumerate().map(move |(q, &j)| (p, q, i, j)));
            pairs.map(|(p, q, i, j)| f64::from(v[p]) * f64::from(v[q]) * sigma[i][j]).sum()
        };
        for direction in &directions {
            let exact = along(&direction.vectors[0]);
            // The vector was chosen on the same draws: the largest of four is too large by about an error.
            assert!((direction.value - exact).abs() < 5.5 * direction.mcse, "{name}: {direction:?}, {exact}");
            assert!(direction.mcse < 0.2 * exact && direction.residual < 1e-4, "{direction:?}");
        }
        let shares: f64 = directions.iter().map(|d| d.share).sum();
        assert!((shares - 1.0).abs() < 1e-4, "{shares}");
    }
    // Between the parts: the singular values of a 2×2 block satisfy σ₁² + σ₂² = ‖block‖².
    let between = found.between([&part("a"), &part("b")], 2).unwrap();
    let squares: f64 = [0, 1].iter().flat_map(|&i| [2, 3].map(|j| sigma[i][j] * sigma[i][j])).sum();
    let error = between.iter().map(|d| 2.0 * d.value * d.mcse).fold(0.0, f64::hypot);
    let sum: f64 = between.iter().map(|d| d.value * d.value).sum();
    assert!((sum - squares).abs() < 4.5 * error, "{sum} ± {error}, {squares}: {between:?}");
    assert!(error < 0.4 * squares);
    let (u, v) = (&between[0].vectors[0], &between[0].vectors[1]);
    let exact: f64 = (0..2)
        .flat_map(|i| (0..2).map(move |j| (i, j)))
        .map(|(i, j)| f64::from(u[i]) * f64::from(v[j]) * sigma[i][2 + j])
        .sum();
    assert_close("along the first pair", between[0].value, between[0].mcse, exact, exact);
}

#[test]
fn more_weights_than_draws_take_the_gram_matrix() {
    // 200 weights, 4 · 40 draws: eigenpairs of the sample covariance, checked by a product with it.
    let mut g = Graph::new();
    let w = g.param("w", &[200]);
    let square = g.square(w);
    let place = g.iota(&[200], 0);
    let weighted = g.mul(square, place);
    let loss = g.sum(weighted, &[0]);
    let objective = Objective::population(g, loss, 1000).unwrap();
    let llc = Llc { draws: 40, step_size: 1e-3, n_beta: Some(1.0), burn_in: 1000, thin: 50, ..baoab() };
    let draws = llc.weight_draws(&objective, &[0.0; 200], 1 << 30, &Execution::default()).unwrap();
    let Judged::Ok(found) = Covariance::of(&draws, 1 << 30).unwrap() else { panic!("{:?}", draws.refusal()) };
    let mut rows: Vec<Vec<f64>> = Vec::new();
    for chain in 0..4 {
        let own: Vec<Vec<f64>> =
            draws.chain(chain).chunks(200).map(|row| row.iter().map(|&w| f64::from(w)).collect()).collect();
        let centre: Vec<f64> = (0..200).map(|k| own.iter().map(|row| row[k]).sum::<f64>() / 40.0).collect();
        rows.extend(own.iter().map(|row| row.iter().zip(&centre).map(|(w, c)| w - c).collect::<Vec<_>>()));
    }
    let freedom = 4.0 * 39.0;
    let total: f64 = rows.iter().flatten().map(|w| w * w).sum::<f64>() / freedom;
    let directions = found.leading(&Restriction::full(), 3, ONE).unwrap();
    for direction in &directions {
        let v: Vec<f64> = direction.vectors[0].iter().map(|&v| f64::from(v)).collect();
        let mut product = vec![0.0; 200];
        for row in &rows {
            let score: f64 = row.iter().zip(&v).map(|(w, v)| w * v).sum();
            product.iter_mut().zip(row).for_each(|(p, w)| *p += score * w / freedom);
        }
        let value = direction.share * total;
        let distance: f64 = product.iter().zip(&v).map(|(p, v)| (p - value * v).powi(2)).sum::<f64>().sqrt();
        // Vectors and products in f32, 160 terms each.
        assert!(distance < 1e-4 * value, "{distance} {value}");
        assert!(direction.residual < 1e-5 && direction.value >= value * (1.0 - 1e-2), "{value} {:?}", direction.value);
    }
    assert!(directions.windows(2).all(|w| w[0].share >= w[1].share));
}
