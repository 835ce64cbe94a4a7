//! Whether the stated errors are those of repeated estimates.

use ontogeny_posterior::{Covariance, Execution, Influence, Judged, Llc, Recording, Restriction, Susceptibilities};

use crate::{D, Quadratic, baoab, covariance, exact_chi, objective, probe, quadratic_covariance, rows};

const N_SEEDS: u32 = 150;

/// The variance of z-scores about their exact values, and their mean.
///
/// Over S seeds the mean of z² scatters by √((κ − 1)/S) for a kurtosis κ. Products of normals are skewed and the error
/// is estimated from the same draws, so κ is taken as 4 rather than 3: 0.14, of which 4.5 are 0.64. A stated error that
/// is itself off by 15 %, as those of λ̂ may be, moves it by 0.3 more.
#[track_caller]
fn assert_calibrated(what: &str, z: &[f64]) {
    let n = z.len() as f64;
    let square = z.iter().map(|z| z * z).sum::<f64>() / n;
    let mean = z.iter().sum::<f64>() / n;
    println!("{what}: mean z {mean:+.2}, mean z² {square:.2} over {n} seeds");
    assert!(square > (1.0 - 0.64) * 0.7 && square < (1.0 + 0.64) * 1.3, "{what}: {square}");
    // A bias of a third of the error would show.
    assert!(mean.abs() < 4.5 / n.sqrt() + 0.15, "{what}: {mean}");
}

#[test]
fn the_errors_of_susceptibilities_and_influence_are_those_of_repeated_estimates() {
    let objective = objective();
    let probes = [probe("one", 1), probe("two", 2)];
    let parts: [(&str, &[usize]); 3] = [("full", &[0, 1, 2, 3]), ("a", &[0, 1]), ("b", &[2, 3])];
    let data = rows(1, 6, 2, 1.0);
    let set = Quadratic::of(&data, 0..6, 0..2);
    let [first, second] = [0, 1].map(|e| Quadratic::of(&data, e..e + 1, 0..2));
    let sigma = covariance(&[0, 1, 2, 3]);
    let mut z = vec![Vec::new(); 8];
    for seed in 0..N_SEEDS {
        let llc = Llc { draws: 250, thin: 8, seed, ..baoab() };
        let components = ["a", "b"].map(|name| name.parse::<Restriction>().unwrap());
        let recording = Recording::of(&probes);
        let execution = Execution::default();
        let found =
            Susceptibilities::measure(&llc, &components, &objective, &[0.0; D], &recording, &execution).unwrap();
        for (k, ((_, coordinates), response)) in parts.iter().zip(&found.components).enumerate() {
            let Judged::Ok(table) = &response.table else { continue };
            z[k].push((table.sets[0].chi - exact_chi(&set, coordinates)) / table.sets[0].chi_mcse);
            z[3 + k].push((table.examples[1].chi - exact_chi(&second, coordinates)) / table.examples[1].chi_mcse);
        }
        let draws = llc.loss_draws(&objective, &[0.0; D], &recording, &execution).unwrap();
        if let Judged::Ok(influence) = Influence::of(&draws).unwrap() {
            for (k, (i, j, a, b)) in [(0, 1, first, second), (1, 1, second, second)].into_iter().enumerate() {
                let pair = influence.pair(i, j);
                z[6 + k].push((pair.value + quadratic_covariance(&a, &b, &sigma)) / pair.mcse);
            }
        }
    }
    let names = ["full", "a", "b", "full, example", "a, example", "b, example", "influence", "influence on itself"];
    for (name, z) in names.iter().zip(&z) {
        assert!(z.len() > N_SEEDS as usize * 9 / 10, "{name}: {} accepted", z.len());
        assert_calibrated(name, z);
    }
}

#[test]
fn the_errors_of_covariances_are_those_of_repeated_estimates() {
    let objective = objective();
    let sigma = covariance(&[0, 1, 2, 3]);
    let mut z = [Vec::new(), Vec::new()];
    for seed in 0..N_SEEDS {
        let llc = Llc { draws: 250, thin: 8, seed, ..baoab() };
        let draws = llc.weight_draws(&objective, &[0.0; D], 1 << 30, &Execution::default()).unwrap();
        let Judged::Ok(found) = Covariance::of(&draws, 1 << 30).unwrap() else { continue };
        for (z, (i, j)) in z.iter_mut().zip([(1, 1), (0, 2)]) {
            let (value, error) = found.entry(i, j);
            z.push((value - sigma[i][j]) / error);
        }
    }
    assert!(z[0].len() > N_SEEDS as usize * 9 / 10);
    assert_calibrated("variance", &z[0]);
    assert_calibrated("covariance", &z[1]);
}
