//! An invented grokking run for the tests of this crate; the example and the browser test draw it too.

use std::collections::BTreeMap;

use ontogeny_store::{
    Boundary, CalibratedSettings, Calibration, CalibrationTrial, Change, ChangePoint, ChangePoints, Coordinate, Detail,
    FluctuationGroup, FluctuationMode, Fluctuations, Form, Group, Indicators, Nested, NumberType, Observable, Part,
    PartFit, PartSigmoid, PenaltyRange, Plane, RecordArray, RunInfo, RunView, SeriesChanges, SeriesWarning, Stage,
    Status, SumOfParts, Together, Trajectory, Transition, Warnings, Window,
};

/// A run of 3,000 steps with `n_checkpoints` checkpoints, of which the first `n_refused` have no learning coefficient.
///
/// Memorisation is a logistic step at 90, grokking one at 1,900; noise is a fixed sum of sines.
pub(crate) fn grokking(n_checkpoints: usize, n_refused: usize) -> RunView {
    let checkpoints = schedule(n_checkpoints);
    let memorised = |t: f64| logistic((t + 1.0).ln() - 91f64.ln(), 0.25);
    let grokked = |t: f64| logistic((t + 1.0).ln() - 1901f64.ln(), 0.08);
    let mut observables = BTreeMap::new();
    let loss =
        plain("loss", "nats", "Mean cross-entropy.", "split", &["train", "test", "all"], &checkpoints, |t, split| {
            let train = 3.97f64.ln() - 15.5 * memorised(t) - 2.0 * grokked(t);
            let test = 3.97f64.ln() + 1.2 * memorised(t) - 16.0 * grokked(t);
            [train.exp(), test.exp(), 0.5 * (train.exp() + test.exp())][split] * (1.0 + 0.04 * noise(t, split))
        });
    observables.insert("loss".to_owned(), loss);
    let accuracy = plain(
        "accuracy",
        "1",
        "Share of examples whose largest logit is the answer.",
        "split",
        &["train", "test"],
        &checkpoints,
        |t, split| (0.02 + 0.98 * if split == 0 { memorised(t) } else { grokked(t) }).min(1.0),
    );
    observables.insert("accuracy".to_owned(), accuracy);
    for (name, component, height) in [("llc", "full", 120.0), ("llc_unembed", "unembed", 34.0)] {
        let refused = if component == "full" { n_refused } else { 0 };
        observables.insert(
            name.to_owned(),
            coefficient(component, refused, &checkpoints, |t| {
                height * (0.25 + 1.1 * memorised(t) - 0.75 * grokked(t)) + 0.02 * height * noise(t, 7)
            }),
        );
    }
    let quantities = [
        "restricted_loss",
        "restricted_loss_train",
        "excluded_loss",
        "gini_embed",
        "gini_unembed",
        "sum_of_squares",
        "n_key_frequencies",
    ];
    let fourier = plain(
        "fourier",
        "1",
        "Progress measures of the Fourier multiplication algorithm.",
        "quantity",
        &quantities,
        &checkpoints,
        |t, quantity| {
            let formed = logistic((t + 1.0).ln() - 1200f64.ln(), 0.25);
            match quantity {
                0 | 1 => (1.4 + 0.2 * quantity as f64 - 14.0 * formed).exp() * (1.0 + 0.05 * noise(t, quantity)),
                2 => 1.4 * (1.0 - memorised(t)) + 5.0 * formed,
                3 => 0.18 + 0.45 * formed,
                4 => 0.2 + 0.5 * formed,
                5 => 2600.0 + 900.0 * memorised(t) - 1900.0 * grokked(t),
                _ => (5.0 * formed).round(),
            }
        },
    );
    observables.insert("fourier".to_owned(), fourier);
    let norms = ["total", "embed", "pos_embed", "attn", "mlp", "unembed"];
    let norm = plain(
        "weight_norm",
        "1",
        "L2 norm of the weights by component.",
        "component",
        &norms,
        &checkpoints,
        |t, component| {
            let share = [1.0, 0.5, 0.12, 0.4, 0.62, 0.38][component];
            share * (38.0 + 14.0 * memorised(t) - 22.0 * grokked(t))
        },
    );
    observables.insert("weight_norm".to_owned(), norm);
    let frequencies: Vec<Coordinate> = (1..=26).map(Coordinate::Number).collect();
    let mut power = plain(
        "fourier_power",
        "1",
        "Share of the embedding's power at each frequency.",
        "frequency",
        &[""; 26],
        &checkpoints,
        |t, k| {
            let formed = logistic((t + 1.0).ln() - 1200f64.ln(), 0.25);
            let key = f64::from([3, 8, 13, 20, 24].contains(&k));
            (1.0 - formed) / 26.0 * (1.0 + 0.3 * noise(t, k)) + formed * (0.2 * key + 0.001)
        },
    );
    power.coordinates.insert("frequency".to_owned(), frequencies);
    observables.insert("fourier_power".to_owned(), power);
    let answers = susceptibility(&["full", "l0h0", "unembed"], &["test", "all"], &checkpoints, grokked);
    observables.insert("answers".to_owned(), answers);
    observables.insert("pairs".to_owned(), influence(n_refused, &checkpoints));
    RunView {
        run: RunInfo {
            title: "Demonstration with invented numbers: grokking modular addition".to_owned(),
            directory: "runs/demonstration".to_owned(),
            version: "0.1.0".to_owned(),
            instruction_set: "avx512".to_owned(),
            seed: 0,
            configuration: "title = \"Demonstration\"\nseed = 0\n\n[task]\nkind = \"modular_arithmetic\"\np = 53\n"
                .to_owned(),
            hashes: BTreeMap::from([
                ("configuration".to_owned(), "3f9a5d1c7e20b846aa01".repeat(3)),
                ("data".to_owned(), "90c1d2e3f4a5b6978812".repeat(3)),
            ]),
            command: "ontogeny run examples/grokking.toml".to_owned(),
        },
        transitions: if n_checkpoints < 8 { Vec::new() } else { transitions() },
        stages: if n_checkpoints < 8 { Vec::new() } else { boundaries() },
        intervals: if n_checkpoints < 8 { Vec::new() } else { intervals() },
        trajectories: trajectory(&checkpoints),
        change_points: (n_checkpoints >= 8).then(change_points),
        warnings: (n_checkpoints >= 8).then(warnings),
        fluctuations: if n_checkpoints < 8 { BTreeMap::new() } else { fluctuations(&checkpoints) },
        parts: if n_checkpoints < 8 { BTreeMap::new() } else { parts(&checkpoints) },
        checkpoints,
        observables,
        calibrations: BTreeMap::from([("llc".to_owned(), calibration())]),
        training: None,
    }
}

/// Responses that differ a hundredfold between parts; the second part is refused at the last checkpoint and some before.
pub(crate) fn susceptibility(
    components: &[&str],
    probes: &[&str],
    steps: &[u64],
    size: impl Fn(f64) -> f64,
) -> Observable {
    let width = probes.len();
    let value = |t: f64, i: usize| {
        let (component, probe) = (i / width, i % width);
        let of_part = [0.4, -31.0, -0.4][component % 3] * (1.0 + 0.1 * component as f64);
        of_part * (1.0 - 0.7 * size(t) + 0.1 * noise(t, i)) / (1.0 + probe as f64)
    };
    let labels = vec![""; components.len() * width];
    let description = "Rate at which the loss of a part changes as the data move towards a probe.";
    let mut observable = plain("susceptibility", "nats", description, "component", &labels, steps, value);
    let texts = |names: &[&str]| names.iter().map(|name| Coordinate::Text((*name).to_owned())).collect();
    observable.dims.push("probe".to_owned());
    observable.coordinates.insert("component".to_owned(), texts(components));
    observable.coordinates.insert("probe".to_owned(), texts(probes));
    let shape = vec![steps.len(), components.len(), width];
    (observable.values.shape, observable.standard_errors.shape) = (shape.clone(), shape);
    let n = labels.len();
    for at in 0..steps.len() {
        for i in 0..n {
            let value = observable.values.values[at * n + i];
            observable.standard_errors.values[at * n + i] = value.map(|x| 0.02 + 0.04 * x.abs());
        }
        observable.details[at] = BTreeMap::from([
            ("r_hat".to_owned(), Detail::Number(Some(1.01))),
            ("verdict".to_owned(), Detail::Text("ok".to_owned())),
        ]);
        if at + 1 == steps.len() || at % 7 == 2 {
            let why = format!("{}: not converged, the chains disagree: R̂ is 1.21, above 1.1", components[1]);
            observable.details[at].insert(ontogeny_store::refused_part(1), Detail::Text(why));
            for i in width..2 * width {
                observable.values.values[at * n + i] = None;
                observable.standard_errors.values[at * n + i] = None;
            }
        }
    }
    observable
}

/// Three pairs at each checkpoint.
fn influence(n_refused: usize, steps: &[u64]) -> Observable {
    let mut observable =
        plain("influence", "nats^2", "Minus the covariance of two losses.", "pair", &[""; 3], steps, |_, pair| {
            [-0.03, -0.02, 0.01][pair]
        });
    observable.coordinates.insert("pair".to_owned(), (1..=3).map(Coordinate::Number).collect());
    observable.standard_errors.values.fill(Some(0.001));
    for at in 0..steps.len() {
        for pair in 1..=3 {
            let mut told =
                |what: &str, told: Detail| observable.details[at].insert(ontogeny_store::pair_detail(pair, what), told);
            told("example", Detail::Text(format!("train {0}: tokens 0 {0} 53, targets {0}", 17 * pair)));
            told("query", Detail::Text(format!("test {0}: tokens 1 {0} 53, targets {1}", 16 * pair, 16 * pair + 1)));
            told("correlation", Detail::Number(Some(0.9 - 0.4 * pair as f64)));
            told("r_hat", Detail::Number(Some(1.01)));
        }
        if at < n_refused {
            observable.status[at] =
                Status::Refused { verdict: "not converged".to_owned(), reason: "R̂ 1.31 is above 1.05".to_owned() };
            observable.details[at].clear();
            observable.values.values[3 * at..3 * at + 3].fill(None);
            observable.standard_errors.values[3 * at..3 * at + 3].fill(None);
        }
    }
    observable
}

/// A search on two checkpoints: too large steps, too weak localisations, and a plateau.
fn calibration() -> Calibration {
    let steps = vec![300, 3000];
    let mut trials = Vec::new();
    for (step, lambda) in [(300, 120.0), (3000, 9.0)] {
        for (exponent, gamma) in [30.0, 100.0, 300.0].into_iter().enumerate() {
            for step_size in [6.3e-6, 2e-5, 6.3e-5] {
                let verdict = match (step_size > 5e-5, exponent) {
                    (true, _) => "step too large",
                    (false, 0) => "not converged",
                    _ => "ok",
                };
                trials.push(CalibrationTrial {
                    step,
                    step_size,
                    localization: gamma,
                    n_beta: 200.0,
                    draws: 200,
                    mean: Some(lambda * (1.0 - 0.2 * exponent as f64)),
                    mcse: Some(0.02 * lambda),
                    discretization: Some(2500.0 * step_size),
                    acceptance: None,
                    r_hat: Some(if exponent == 0 { 1.3 } else { 1.01 }),
                    ess_bulk: Some(160.0),
                    verdict: verdict.to_owned(),
                });
            }
        }
        let other = CalibrationTrial { n_beta: 632.0, step_size: 6.3e-6, ..trials[trials.len() - 4].clone() };
        trials.push(CalibrationTrial { localization: 100.0, ..other });
    }
    Calibration {
        basis: String::new(),
        steps,
        settings: Some(CalibratedSettings { step_size: 2e-5, localization: 100.0, n_beta: 200.0, draws: 200 }),
        temperature_slope: Some([0.04, 0.02]),
        localization_slope: Some([-0.2, 0.02]),
        reasons: vec!["localisation 1.000e2: the weakest of half decades that every checkpoint accepts".to_owned()],
        trials,
    }
}

/// Step 0 and then `n - 1` steps up to 3,000 that are evenly spaced in ln t where whole numbers allow it.
fn schedule(n: usize) -> Vec<u64> {
    let mut steps: Vec<u64> = Vec::new();
    for index in 0..n {
        let fraction = index as f64 / (n.max(2) - 1) as f64;
        let spaced = (3001f64.powf(fraction) - 1.0).round() as u64;
        let next = steps.last().map_or(0, |last| last + 1);
        steps.push(spaced.max(next));
    }
    steps
}

/// Adds patterns of `n_prompts` prompts, the first of `n` tokens and each next one shorter: heads that look evenly, and that come to look
/// at the token before.
#[allow(dead_code, reason = "not every program that shares this file draws it")]
pub(crate) fn add_attention(view: &mut RunView, n_prompts: usize, n: usize, n_heads: usize) {
    let heads: Vec<String> = (0..n_heads).map(|head| format!("l{}h{}", head / 4, head % 4)).collect();
    let labels: Vec<&str> = heads.iter().map(String::as_str).collect();
    let steps = view.checkpoints.clone();
    let formed = |t: f64, head: usize| logistic((t + 1.0).ln() - 200f64.ln(), 0.3) * head as f64 / n_heads as f64;
    let entropy = |t: f64, head: usize| 2.5 * (1.0 - formed(t, head));
    let mut own =
        plain("attention", "nats", "Mean entropy of each head's attention.", "head", &labels, &steps, entropy);
    let texts = |labels: Vec<String>| labels.into_iter().map(Coordinate::Text).collect::<Vec<_>>();
    let words = ["The", " cat", " sat", " on", " the", " rather", " uncomfortable", " mat", ",", "\n"];
    let prompt = |at: usize| {
        let tokens: Vec<String> = (0..n - at).map(|i| format!("{:?}", words[(i + at) % words.len()])).collect();
        format!("[{}]", tokens.join(","))
    };
    let places = || texts((0..n).map(|at| at.to_string()).collect());
    let pattern = |t: f64| {
        let cell = |at: usize| {
            let [prompt, head, query, key] = [at / (n_heads * n * n), at / (n * n) % n_heads, at / n % n, at % n];
            let even = if key <= query { 1.0 / (query + 1) as f64 } else { 0.0 };
            let before = f64::from(u8::from(key == query.saturating_sub(1)));
            let value = even + formed(t, head) * (before - even);
            if query.max(key) < n - prompt { value } else { f64::NAN }
        };
        (0..n_prompts * n_heads * n * n).map(cell).collect()
    };
    let array = |(at, step): (usize, &u64)| {
        let coordinates = BTreeMap::from([
            ("prompt".to_owned(), texts((0..n_prompts).map(prompt).collect())),
            ("head".to_owned(), texts(heads.clone())),
            ("query".to_owned(), places()),
            ("key".to_owned(), places()),
        ]);
        let dims = ["prompt", "head", "query", "key"].map(str::to_owned).to_vec();
        let (name, unit, number) = ("pattern".to_owned(), "1".to_owned(), NumberType::Float32);
        (at, RecordArray { name, unit, dims, coordinates, number, values: pattern(*step as f64) })
    };
    own.shown.insert("pattern".to_owned(), steps.iter().enumerate().map(array).collect());
    view.observables.insert("attention".to_owned(), own);
}

fn logistic(x: f64, width: f64) -> f64 {
    1.0 / (1.0 + (-x / width).exp())
}

/// A smooth wiggle of size about 1 that depends on step and series.
fn noise(t: f64, series: usize) -> f64 {
    let u = (t + 1.0).ln() * 9.0 + series as f64 * 1.7;
    (u.sin() + (2.3 * u).sin() + (5.1 * u + 1.0).sin()) / 2.0
}

fn plain(
    kind: &str,
    unit: &str,
    description: &str,
    dim: &str,
    labels: &[&str],
    steps: &[u64],
    value: impl Fn(f64, usize) -> f64,
) -> Observable {
    let width = labels.len();
    let values =
        steps.iter().flat_map(|step| (0..width).map(|c| Some(value(*step as f64, c))).collect::<Vec<_>>()).collect();
    Observable {
        kind: kind.to_owned(),
        unit: unit.to_owned(),
        description: description.to_owned(),
        dims: vec!["step".to_owned(), dim.to_owned()],
        coordinates: BTreeMap::from([
            ("step".to_owned(), steps.iter().map(|s| Coordinate::Number(*s)).collect()),
            (dim.to_owned(), labels.iter().map(|l| Coordinate::Text((*l).to_owned())).collect()),
        ]),
        values: Nested { shape: vec![steps.len(), width], values },
        standard_errors: Nested { shape: vec![steps.len(), width], values: vec![None; steps.len() * width] },
        status: vec![Status::Done; steps.len()],
        details: vec![BTreeMap::new(); steps.len()],
        shown: BTreeMap::new(),
    }
}

fn coefficient(component: &str, n_refused: usize, steps: &[u64], value: impl Fn(f64) -> f64) -> Observable {
    let mut llc =
        plain("llc", "1", "Local learning coefficient by RMSprop-SGLD.", "component", &[component], steps, |t, _| {
            value(t)
        });
    for (at, step) in steps.iter().enumerate() {
        let r_hat = if at < n_refused { 1.31 } else { 1.002 + 0.004 * noise(*step as f64, 3).abs() };
        let se = 0.03 * llc.values.values[at].unwrap_or(0.0).abs() + 0.4;
        let verdict = if at < n_refused { "not converged" } else { "ok" };
        llc.standard_errors.values[at] = Some(se);
        llc.details[at] = BTreeMap::from([
            ("r_hat".to_owned(), Detail::Number(Some(r_hat))),
            ("ess_bulk".to_owned(), Detail::Number(Some(210.0 + 40.0 * noise(*step as f64, 4)))),
            ("ess_tail".to_owned(), Detail::Number(Some(160.0 + 30.0 * noise(*step as f64, 5)))),
            ("mcse".to_owned(), Detail::Number(Some(0.8 * se))),
            ("n_beta".to_owned(), Detail::Number(Some(193.7))),
            ("step_size".to_owned(), Detail::Number(Some(2e-5))),
            ("localization".to_owned(), Detail::Number(Some(300.0))),
            ("chains".to_owned(), Detail::Number(Some(4.0))),
            ("draws".to_owned(), Detail::Number(Some(200.0))),
            ("verdict".to_owned(), Detail::Text(verdict.to_owned())),
        ]);
        if at < n_refused {
            llc.values.values[at] = None;
            llc.standard_errors.values[at] = None;
            llc.status[at] =
                Status::Refused { verdict: verdict.to_owned(), reason: format!("R̂ {r_hat:.2} is above 1.05") };
        }
    }
    llc
}

fn transitions() -> Vec<Transition> {
    let made = |observable: &str, label: Option<&str>, at: [f64; 3], width_decades: f64, size, unit: &str, p_value| {
        Transition {
            observable: observable.to_owned(),
            label: label.map(str::to_owned),
            step: at[1],
            lower: at[0],
            upper: at[2],
            start: at[1] / 10f64.powf(0.5 * width_decades),
            end: at[1] * 10f64.powf(0.5 * width_decades),
            width_decades,
            size,
            unit: unit.to_owned(),
            p_value,
        }
    };
    vec![
        made("loss.train", Some("memorisation"), [80.0, 90.0, 105.0], 0.42, -3.9, "nats", 1e-6),
        made("llc.full", None, [82.0, 95.0, 120.0], 0.48, 131.0, "1", 4e-4),
        made("llc.full", None, [1700.0, 1890.0, 2100.0], 0.2, -90.0, "1", 0.0021),
        made("loss.test", Some("grokking"), [1800.0, 1900.0, 2000.0], 0.15, -6.8, "nats", 1e-7),
    ]
}

/// A path that goes out, wraps around a point and comes back, with that one form.
fn trajectory(checkpoints: &[u64]) -> BTreeMap<String, Trajectory> {
    let n = checkpoints.len();
    if n < 8 {
        return BTreeMap::new();
    }
    let share = |at: usize| at as f64 / (n - 1) as f64;
    let along = |of: fn(f64) -> f64| (0..n).map(|at| of(share(at))).collect::<Vec<f64>>();
    let scores = vec![
        along(|s| 10.0 * (1.0 - (2.6 * s - 1.3).powi(2))),
        along(|s| 8.0 * (2.6 * s - 1.3)),
        along(|s| 3.0 * (5.0 * s).sin()),
    ];
    let plane = |across: usize, up: usize| Plane {
        across,
        up,
        // Around the turn of the parabola the circle is that of its vertex.
        centres: (0..n).map(|at| ((share(at) - 0.5).abs() < 0.2).then_some([6.8, 0.0])).collect(),
        radii: (0..n).map(|at| ((share(at) - 0.5).abs() < 0.2).then_some(3.2)).collect(),
    };
    let middle = checkpoints[n / 2] as f64;
    let trajectory = Trajectory {
        of: "logits".to_owned(),
        n_outputs: 53_000,
        steps: checkpoints.to_vec(),
        shares: vec![0.61, 0.24, 0.05],
        random_walk: vec![0.608, 0.152, 0.068],
        smoothed: scores.clone(),
        scores,
        planes: vec![plane(0, 1), plane(0, 2), plane(1, 2)],
        forms: vec![Form {
            step: middle,
            lower: 0.8 * middle,
            upper: 1.2 * middle,
            kind: "vertex".to_owned(),
            point: vec![6.8, 0.0, 0.0],
            p_value: 0.004,
        }],
    };
    BTreeMap::from([("path".to_owned(), trajectory)])
}

/// Forty units whose leading eigenvalue grows.
fn fluctuations(checkpoints: &[u64]) -> BTreeMap<String, Fluctuations> {
    let windows = &checkpoints[checkpoints.len() / 4..];
    let mode = |(at, &step): (usize, &u64)| {
        let growth = 1.0 + 4.0 * at as f64 / windows.len() as f64;
        let spectrum: Vec<f64> =
            (1..=20).map(|rank| if rank == 1 { growth } else { 0.6 / f64::from(rank * rank) }).collect();
        FluctuationMode {
            step: step as f64,
            variance: growth,
            total: spectrum.iter().sum(),
            agreement: if at == 0 { 0.0 } else { 0.9 },
            marker: Some(0.5 * growth),
            spectrum,
        }
    };
    let found = Fluctuations {
        over: "checkpoints".to_owned(),
        units: "logits".to_owned(),
        n_units: 40,
        n_measured: 40,
        n_vectors: 8,
        modes: windows.iter().enumerate().map(mode).collect(),
        variance_tau: 0.7,
        group: Some(FluctuationGroup { units: vec![0, 3, 4], among: 40, index: 2.5, p_value: 0.01 }),
    };
    BTreeMap::from([("path".to_owned(), found)])
}

/// Eight sub-tasks of frequencies in proportion to 1/k^1.4, of which the last three are not learned.
fn parts(checkpoints: &[u64]) -> BTreeMap<String, SumOfParts> {
    // No more steps are kept than these.
    let kept: Vec<u64> = checkpoints.iter().step_by(checkpoints.len().div_ceil(100)).copied().collect();
    let checkpoints = kept.as_slice();
    let weights: Vec<f64> = (1..=8).map(|k| f64::from(k).powf(-1.4)).collect();
    let total: f64 = weights.iter().sum();
    let half_time = |k: usize| 120.0 * (k as f64).powf(1.4);
    let loss = |k: usize, t: f64| 1.0 - logistic((t + 1.0).ln() - half_time(k).ln(), 0.12);
    let part = |k: usize| Part {
        name: format!("task_{k}"),
        weight: weights[k - 1] / total,
        share: if k <= 5 { weights[k - 1] / weights[..5].iter().sum::<f64>() } else { 0.02 / k as f64 },
        half_time: Some(half_time(k)),
        sharpness: 0.9,
        is_learned: k <= 5,
        contribution: checkpoints.iter().map(|&t| weights[k - 1] / total * loss(k, t as f64)).collect(),
    };
    let components: Vec<Part> = (1..=8).map(part).collect();
    let sum = |at: usize| components.iter().map(|part| part.contribution[at]).sum();
    let values = (0..checkpoints.len()).map(sum).collect();
    let sigmoid = |step: f64, change: f64, components: &[&str]| PartSigmoid {
        step,
        decades: 0.4,
        change,
        components: components.iter().map(|name| (*name).to_owned()).collect(),
    };
    let whole = SumOfParts {
        mean: Some("loss.test".to_owned()),
        unit: "nats".to_owned(),
        explained: Some(0.991),
        steps: checkpoints.iter().map(|&step| step as f64).collect(),
        values,
        components,
        sigmoids: vec![sigmoid(180.0, -0.7, &["task_1", "task_2"]), sigmoid(900.0, -0.2, &["task_4"])],
        explained_by_sigmoids: 0.998,
        learning_times: Some(PartFit { slope: -1.0, standard_error: Some(0.02), explained: 0.999, n: 5 }),
    };
    BTreeMap::from([("subtask_loss".to_owned(), whole)])
}

/// A test loss that fluctuates more and more before its fall, and a training loss that does not.
fn warnings() -> Warnings {
    let steps: Vec<f64> = (10..=30).map(|i| 100.0 * f64::from(i)).collect();
    let along = |of: &dyn Fn(f64) -> f64| steps.iter().map(|step| of(*step)).collect::<Vec<f64>>();
    let series = |name: &str, rise: f64, p: f64| SeriesWarning {
        name: name.to_owned(),
        unit: "nats".to_owned(),
        n_values: 40,
        variance_tau: 0.81 * rise,
        variance_p: p,
        variance_ratio: 1.0 + 2.4 * rise,
        autocorrelation_tau: 0.6 * rise,
        autocorrelation_p: 2.0 * p,
        autocorrelation: [0.2, 0.2 + 0.5 * rise],
        indicators: Indicators {
            steps: steps.clone(),
            variance: along(&|t| 1e-3 * (1.0 + 2.4 * rise * (t - 1000.0) / 2000.0 + 0.1 * noise(t, 3))),
            autocorrelation: along(&|t| 0.2 + 0.5 * rise * (t - 1000.0) / 2000.0 + 0.03 * noise(t, 5)),
        },
    };
    let window = |at: usize, step: &f64| Window {
        step: *step,
        variance: 1e-3 * (1.0 + 0.1 * at as f64),
        share: 0.6 + 0.01 * at as f64,
        agreement: if at == 0 { 0.0 } else { 0.97 },
        direction: vec![0.96, 0.28],
    };
    Warnings {
        until: None,
        series: vec![series("loss.test", 1.0, 0.004), series("loss.train", 0.1, 0.38)],
        together: Some(Together {
            units: vec!["loss.test".to_owned(), "loss.train".to_owned()],
            windows: steps.iter().enumerate().map(|(at, step)| window(at, step)).collect(),
            variance_tau: 0.7,
            group: Some(Group { units: vec!["loss.test".to_owned()], index: 3.2, p_value: 0.02 }),
        }),
        left_out: vec!["llc.full (its steps are uneven)".to_owned()],
    }
}

/// Changes of line in the losses, none in the coefficient.
fn change_points() -> ChangePoints {
    let change = |step: f64, before: f64, after: f64, jump: f64, holds_to: f64| ChangePoint {
        step,
        lower: 0.9 * step,
        upper: 1.05 * step,
        before: Some(before),
        after: Some(after),
        jump,
        holds_to,
    };
    let range = |n_changes: usize, from: f64, to: f64| PenaltyRange { n_changes, from, to };
    let series = |observable: &str, unit: &str, changes: Vec<ChangePoint>, path: Vec<PenaltyRange>| SeriesChanges {
        observable: observable.to_owned(),
        unit: unit.to_owned(),
        quantity_unit: format!("{}/decade", if unit == "1" { "" } else { unit }),
        n_points: 24,
        averaged: 1,
        noise: 0.02,
        autocorrelation: 0.3,
        changes,
        path,
    };
    let test = vec![change(75.0, 0.4, 1.9, 0.2, 1.7), change(1900.0, 1.9, -0.6, -6.1, 10.0)];
    ChangePoints {
        shape: "linear".to_owned(),
        time: "log".to_owned(),
        criterion: "BIC".to_owned(),
        quantity: "slope".to_owned(),
        series: vec![
            series("llc.full", "1", vec![], vec![range(1, 0.5, 0.6), range(0, 0.6, 10.0)]),
            series("loss.test", "nats", test, vec![range(3, 0.5, 0.8), range(2, 0.8, 1.7), range(1, 1.7, 10.0)]),
        ],
    }
}

/// The stages between [`boundaries`].
fn intervals() -> Vec<Stage> {
    let edges = [0.0, 22.0, 410.0, 2600.0, 3000.0];
    let changes = [(-0.4, 3.1, Some("A")), (-3.1, 22.0, Some("A")), (-0.4, -31.5, Some("B")), (0.0, 0.2, None)];
    edges
        .windows(2)
        .zip(changes)
        .map(|(ends, (loss, llc, kind))| Stage {
            from: ends[0],
            to: ends[1],
            kind: kind.map(str::to_owned),
            changes: [("llc.full", llc, 0.9, "1"), ("loss.train", loss, 0.01, "nats")]
                .map(|(name, change, standard_error, unit)| Change {
                    observable: name.to_owned(),
                    change,
                    standard_error,
                    unit: unit.to_owned(),
                })
                .to_vec(),
        })
        .collect()
}

fn boundaries() -> Vec<Boundary> {
    let made = |step, lower, upper, observables: &[&str]| Boundary {
        step,
        lower,
        upper,
        observables: observables.iter().map(|o| (*o).to_owned()).collect(),
    };
    vec![
        made(22.0, 18.0, 27.0, &["llc.full", "loss.train"]),
        made(410.0, 360.0, 470.0, &["llc.full", "loss.test"]),
        made(2600.0, 2450.0, 2750.0, &["llc.full"]),
    ]
}
