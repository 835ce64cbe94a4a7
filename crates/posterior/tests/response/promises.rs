//! What is stored under a draw, what is refused, and what nothing may depend on.

use std::num::NonZero;

use ontogeny_graph::{Column, ColumnData, DataSet, Graph};
use ontogeny_posterior::{
    Baseline, Batch, Detail, Evaluation, Execution, Influence, Judged, Llc, LossDraws, Objective, Probe, Recording,
    Restriction, Sampler, Susceptibilities, Verdict, random_walk_share,
};

use crate::{D, ONE, baoab, losses, objective, probe, rows};

fn record(llc: &Llc, probes: &[Probe], detail: Detail) -> LossDraws {
    let recording = Recording { detail, ..Recording::of(probes) };
    llc.loss_draws(&objective(), &[0.1; D], &recording, &Execution::default()).unwrap()
}

/// The objective's own examples as a probe.
fn own_losses() -> Probe {
    Probe::new("own", rows(0, 12, 1, 0.0), 5, |batch| losses(batch, 1)).unwrap()
}

#[test]
fn defect_11_a_draw_of_losses_belongs_to_the_weights_whose_loss_enters_the_estimate() {
    let llc = Llc { burn_in: 0, draws: 20, thin: 3, ..baoab() };
    let draws = record(&llc, &[own_losses()], Detail::Set);
    let trace = &draws.estimate().diagnostics().trace;
    for chain in 0..4 {
        assert_eq!(draws.chain(chain)[0], 0.0, "the first draw is the start");
        for (own, excess) in draws.chain(chain).iter().zip(&trace.excess[chain]) {
            // Twelve f32 losses of order 0.1, and the mean kept in f32.
            assert!((f64::from(*own) - excess).abs() < 1e-6, "{own} {excess}");
        }
    }
}

#[test]
fn coarser_levels_are_means_of_finer_ones() {
    let llc = Llc { draws: 8, ..baoab() };
    let probes = [probe("one", 1), own_losses()];
    let [set, example, token] = [Detail::Set, Detail::Example, Detail::Token].map(|d| record(&llc, &probes, d));
    assert_eq!((set.n_items(), example.n_items(), token.n_items()), (2, 18, 24));
    for (coarse, expected) in [(token.coarsened(Detail::Example), &example), (token.coarsened(Detail::Set), &set)] {
        assert_eq!(coarse.probes(), expected.probes());
        for chain in 0..4 {
            for (a, b) in coarse.chain(chain).iter().zip(expected.chain(chain)) {
                assert!((a - b).abs() < 1e-6);
            }
        }
    }
    assert_eq!(token.coarsened(Detail::Token), token);
    let item = token.item(5).unwrap();
    assert_eq!((item.probe, item.example, item.token), ("one", Some(2), Some(1)));
    assert_eq!(token.item(12).unwrap().probe, "own");
    assert_eq!(token.item(24), None);
    assert_eq!(set.item(1).unwrap().example, None);
}

#[test]
fn recording_changes_no_estimate_and_threads_change_no_bit() {
    let llc = Llc { draws: 40, ..baoab() };
    let probes = [probe("one", 1)];
    let alone = llc.estimate(&objective(), &[0.1; D]).unwrap();
    assert_eq!(record(&llc, &probes, Detail::Token).estimate(), &alone);
    let components = [Restriction::full(), "a".parse().unwrap()];
    let with = |threads| {
        let execution = Execution { threads: NonZero::new(threads).unwrap(), ..Execution::default() };
        let recording = Recording { detail: Detail::Token, ..Recording::of(&probes) };
        Susceptibilities::measure(&llc, &components, &objective(), &[0.0; D], &recording, &execution).unwrap()
    };
    let one = with(1);
    assert_eq!(one.components.len(), 2, "`full` once");
    for threads in [2, 5] {
        assert_eq!(with(threads), one);
    }
}

/// L = ½·Σ w² over the parameter `steep`; the weight `flat` has none, and a weak localisation lets chains wander along it.
fn valley() -> Objective {
    let mut g = Graph::new();
    let steep = g.param("steep", &[20]);
    g.param("flat", &[1]);
    let square = g.square(steep);
    let sum = g.sum(square, &[0]);
    let loss = g.scale(sum, 0.5);
    Objective::population(g, loss, 1000).unwrap()
}

/// Losses ±flat + steep₀ and the like: two examples that move apart along the valley and together across it.
fn valley_probe() -> Probe {
    let column = Column { name: "sign".to_owned(), width: 1, data: ColumnData::Float(vec![1.0, -1.0]) };
    Probe::new("valley", DataSet::new(2, vec![column]).unwrap(), 2, |batch| {
        let mut g = Graph::new();
        let sign = g.input("sign", &[batch, 1]);
        let steep = g.param("steep", &[20]);
        let flat = g.param("flat", &[1]);
        let along = g.mul(sign, flat);
        let first = g.slice(steep, 0, 0, 1);
        let across = g.broadcast(first, &[batch, 1]);
        let loss = g.add(along, across);
        let loss = g.reshape(loss, &[batch]);
        (g, loss)
    })
    .unwrap()
}

#[test]
fn defect_8_levels_of_chains_are_not_pooled_into_influence_and_its_sign_is_that_of_the_definition() {
    // Chains diffuse along the flat direction far from each other before the first draw: between them the two losses
    // differ by much and in opposite directions, within each they move mostly together.
    let llc = Llc {
        sampler: Sampler::Sgld,
        step_size: 2e-3,
        localization: 1e-3,
        n_beta: Some(100.0),
        chains: 8,
        burn_in: 50_000,
        draws: 150,
        thin: 5,
        ..Llc::default()
    };
    let probes = [valley_probe()];
    let draws = llc.loss_draws(&valley(), &[0.0; 21], &Recording::of(&probes), &Execution::default()).unwrap();
    let Judged::Ok(influence) = Influence::of(&draws).unwrap() else { panic!("{:?}", draws.refusal()) };
    let pair = influence.pair(0, 1);
    let series = [draws.series(0).concat(), draws.series(1).concat()];
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let means = [mean(&series[0]), mean(&series[1])];
    let products = series[0].iter().zip(&series[1]).map(|(a, b)| (a - means[0]) * (b - means[1]));
    let pooled = products.sum::<f64>() / series[0].len() as f64;
    // A walk of 50 000 steps of √ε: the levels differ by 10, while 750 steps within the draws move it by about 1.
    assert!(pooled < -20.0, "pooled covariance {pooled}");
    assert!(pair.value.abs() < 0.1 * pooled.abs(), "{pair:?} against {pooled}");
    // −Cov and not a correlation: an example's influence on itself is minus its variance.
    for i in 0..2 {
        let own = influence.pair(i, i);
        assert!(own.value < 0.0, "{own:?}");
        assert!((own.correlation.unwrap() - 1.0).abs() < 1e-12);
    }
}

#[test]
fn a_refused_ensemble_gives_a_refused_susceptibility() {
    let probes = [probe("one", 1)];
    let measure = |llc: &Llc, parts: &[&str]| {
        let components: Vec<Restriction> = parts.iter().map(|part| part.parse().unwrap()).collect();
        let recording = Recording::of(&probes);
        Susceptibilities::measure(llc, &components, &objective(), &[0.0; D], &recording, &Execution::default()).unwrap()
    };
    // Too few draws: every ensemble is refused, and so is every table.
    let found = measure(&Llc { burn_in: 0, draws: 6, thin: 1, ..baoab() }, &["a"]);
    for response in &found.components {
        assert!(response.estimate.value().is_none());
        let Judged::Refused(refusal) = &response.table else { panic!("{response:?}") };
        assert_eq!((refusal.component.as_str(), refusal.verdict), ("full", Verdict::NotConverged));
        assert!(response.table.value().is_none());
    }
    // A diverging chain: no draw of it is averaged over.
    let found = measure(&Llc { sampler: Sampler::Sgld, step_size: 10.0, ..baoab() }, &["b"]);
    let Judged::Refused(refusal) = &found.components[1].table else { panic!("accepted") };
    assert_eq!(refusal.verdict, Verdict::Diverged);
    let diverging = Llc { sampler: Sampler::Sgld, step_size: 10.0, ..baoab() };
    let draws = record(&diverging, &probes, Detail::Example);
    assert!(matches!(Influence::of(&draws).unwrap(), Judged::Refused(_)));
}

#[test]
fn a_loss_of_a_probe_that_is_not_finite_refuses_what_is_made_of_it() {
    // ln(0.05 + w·x) is finite at the start and not where chains go.
    let broken = Probe::new("broken", rows(1, 3, 1, 1.0), 3, |batch| {
        let (mut g, loss) = losses(batch, 1);
        let shift = g.constant(0.05);
        let shifted = g.add(loss, shift);
        let loss = g.log(shifted);
        (g, loss)
    });
    let probes = [broken.unwrap()];
    let llc = baoab();
    let draws = llc.loss_draws(&objective(), &[0.0; D], &Recording::of(&probes), &Execution::default()).unwrap();
    assert!(draws.estimate().value().is_some());
    let refusal = draws.refusal().unwrap();
    assert_eq!(refusal.verdict, Verdict::Diverged);
    assert!(refusal.reason.starts_with("a loss of probe `broken` is not finite at draw "), "{}", refusal.reason);
}

#[test]
fn a_chain_that_diffuses_has_the_path_of_a_random_walk() {
    let mut g = Graph::new();
    let w = g.param("w", &[3000]);
    let square = g.square(w);
    let loss = g.sum(square, &[0]);
    let objective = Objective::population(g, loss, 1000).unwrap();
    let path = |llc: Llc| {
        let draws = llc.weight_draws(&objective, &vec![0.0; 3000], 1 << 30, &Execution::default()).unwrap();
        draws.trajectories(2, ONE)
    };
    let llc = Llc { sampler: Sampler::Sgld, burn_in: 0, draws: 60, n_beta: Some(1.0), ..baoab() };
    // 60 steps of ε = 1e-6 see nothing of a curvature of 2.
    for found in path(Llc { step_size: 1e-6, thin: 1, ..llc.clone() }) {
        for k in 0..2 {
            assert_eq!(found.random_walk[k], random_walk_share(k + 1, 60));
            // √(2/3000) = 2.6 %, 4.5 times.
            assert!((found.shares[k] / found.random_walk[k] - 1.0).abs() < 0.12, "{found:?}");
        }
    }
    // Steps of 0.1 with 20 between draws forget: about (1 + √(60/3000))²/60.
    for found in path(Llc { step_size: 0.1, thin: 20, burn_in: 200, ..llc }) {
        assert!(found.shares[0] < 0.03, "{found:?}");
    }
}

#[test]
fn mistakes_are_named() {
    let execution = Execution::default();
    let (objective, start) = (objective(), [0.0; D]);
    let measure = |llc: &Llc, probes: &[Probe], max_bytes| {
        let recording = Recording { max_bytes, ..Recording::of(probes) };
        Susceptibilities::measure(llc, &["a".parse().unwrap()], &objective, &start, &recording, &execution)
            .unwrap_err()
            .to_string()
    };
    let own = || [probe("one", 1)];
    let minibatch = |evaluation, baseline| Llc { batch: Batch::Size(4), evaluation, baseline, ..baoab() };
    let same = Baseline::SameExamples;
    for (error, message) in [
        (measure(&baoab(), &[], 1 << 30), "no probe; expected at least one probe"),
        (measure(&baoab(), &[probe("x", 1), probe("x", 2)], 1 << 30), "two probes named `x`"),
        (
            measure(&baoab(), &[valley_probe()], 1 << 30),
            "probe `valley` has other parameters than the objective (21 against 4",
        ),
        (
            measure(&baoab(), &own(), 1000),
            "6 losses of each of 4 · 1000 draws, 2 times would take 192000 bytes, and 1000 are allowed: take fewer examples",
        ),
        (measure(&minibatch(Evaluation::Batch, same), &own(), 1 << 30), "`evaluation` is a random choice of examples"),
        (measure(&minibatch(Evaluation::Fresh(5), same), &own(), 1 << 30), "`evaluation` is a random choice"),
        (
            measure(&minibatch(Evaluation::Fixed(5), Baseline::Full), &own(), 1 << 30),
            "`baseline` is that of all examples",
        ),
    ] {
        assert!(error.starts_with(message), "{error}");
    }
    let error = baoab().weight_draws(&objective, &start, 1000, &execution).unwrap_err().to_string();
    assert!(error.starts_with("4 free weights at each of 4 · 1000 draws would take 64000 bytes"), "{error}");
    let shape = Probe::new("odd", rows(1, 3, 1, 1.0), 3, |batch| {
        let (mut g, loss) = losses(batch, 1);
        let loss = g.mean_all(loss);
        (g, loss)
    });
    assert!(shape.unwrap_err().to_string().starts_with("probe `odd`: the losses have shape []; expected [3] or"));
    let empty = Probe::new("none", rows(1, 0, 1, 1.0), 3, |batch| losses(batch, 1));
    assert!(empty.unwrap_err().to_string().starts_with("probe `none` has 0 examples"));
    let draws = baoab().loss_draws(&objective, &start, &Recording::of(&own()), &execution).unwrap();
    let Judged::Ok(influence) = Influence::of(&draws).unwrap() else { panic!("refused") };
    assert_eq!(influence.top_pairs(0..6, 0..6, 100, ONE).len(), 15, "each pair once");
    assert_eq!(influence.top_pairs(0..3, 2..6, 100, ONE).len(), 11);
}

#[test]
fn progress_counts_all_ensembles_and_a_check_says_what_measuring_would() {
    let probes = [probe("one", 1)];
    let recording = Recording::of(&probes);
    let objective = objective();
    let parts = ["a", "b", "full"].map(|part| part.parse::<Restriction>().unwrap());
    let seen = std::sync::Mutex::new(Vec::new());
    let hear = |p: ontogeny_posterior::Progress| seen.lock().unwrap().push(p);
    let execution = Execution { threads: ONE, progress: Some(&hear), cancel: None };
    let llc = Llc { burn_in: 3, draws: 6, thin: 2, ..baoab() };
    Susceptibilities::measure(&llc, &parts, &objective, &[0.0; D], &recording, &execution).unwrap();
    let seen = seen.into_inner().unwrap();
    // The whole network, `a` and `b`: `full` is not sampled twice.
    let total = seen[0].total;
    assert!(total.is_multiple_of(3) && seen.iter().all(|p| p.total == total));
    assert!(seen.windows(2).all(|pair| pair[0].done < pair[1].done), "on one thread it never goes back");
    assert_eq!(seen.last().map(|p| p.done), Some(total));

    let small = Recording { max_bytes: 1000, ..recording };
    let says = |error: ontogeny_posterior::ResponseError| error.to_string();
    let random = Llc { batch: Batch::Size(4), ..baoab() };
    let missing = ["c".parse::<Restriction>().unwrap()];
    for (llc, parts, recording) in
        [(&baoab(), &parts[..], &small), (&random, &parts, &recording), (&llc, &missing, &recording)]
    {
        let checked = Susceptibilities::check(llc, parts, &objective, recording).unwrap_err();
        let measured = Susceptibilities::measure(llc, parts, &objective, &[0.0; D], recording, &Execution::default());
        assert_eq!(says(checked), says(measured.unwrap_err()));
    }
    Susceptibilities::check(&llc, &parts, &objective, &recording).unwrap();
    // Influence needs the draws twice: 6 losses of 24 draws of 4 bytes each, of all chains together.
    let needed = 2 * 6 * 4 * llc.draws * size_of::<f32>();
    let within = |max_bytes| {
        let recording = Recording { max_bytes, ..Recording::of(&probes) };
        Influence::check(&llc, &objective, &recording).map_err(says)
    };
    assert_eq!(within(needed), Ok(()));
    let error = within(needed - 1).unwrap_err();
    assert!(error.contains(&format!("would take {needed} bytes")), "{error}");
}
