//! Policy gradients: unbiased against closed forms, good against exact optima, and the same bits after all.

#![expect(clippy::unwrap_used, reason = "helpers of tests stop at the first surprise")]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::num::NonZero;
use std::ops::ControlFlow;

use ontogeny_graph::{Threads, Value};
use ontogeny_zoo::{
    Environment, Gridworld, Model, Opponent, Outcome, PolicyTrainer, TicTacToe, TrainConfig, TrainEvent, TrainState,
    expected_return, optimal_return, policy_interface, random_return,
};
use serde_json::{Value as Json, json};

fn model<E: Environment>(environment: &E, hidden: &[usize]) -> Model {
    let sizes = [&[environment.inputs()], hidden, &[environment.actions()]].concat();
    let network = json!({ "kind": "mlp", "sizes": sizes, "activation": "tanh" });
    Model::new(serde_json::from_value(network).unwrap(), policy_interface(environment)).unwrap()
}

fn config(changes: &Json) -> TrainConfig {
    let mut settings =
        json!({ "optimizer": "adam", "learning_rate": 1e-2, "batch": 32, "steps": 100, "checkpoints": {} });
    for (key, value) in changes.as_object().unwrap() {
        settings[key] = value.clone();
    }
    serde_json::from_value(settings).unwrap()
}

fn gridworld(settings: Json) -> Gridworld {
    Gridworld::new(serde_json::from_value(settings).unwrap()).unwrap()
}

/// Mean and standard error of each coordinate of the estimated gradient of the return, over `n` updates.
fn estimates<E: Environment>(environment: &E, model: &Model, weights: &[f32], n: u64) -> Vec<[f64; 2]> {
    // Few episodes, so that a baseline that leaned on the episode itself would show: by a quarter.
    let mut trainer = PolicyTrainer::new(model, environment, &config(&json!({ "batch": 4 })), 5).unwrap();
    let mut sums = vec![[0.0; 2]; weights.len()];
    for update in 0..n {
        let (_, gradient) = trainer.gradient(update, weights).unwrap();
        for (sums, &g) in sums.iter_mut().zip(gradient) {
            let g = -f64::from(g);
            *sums = [sums[0] + g, sums[1] + g * g];
        }
    }
    let n = n as f64;
    let finish = |[sum, squares]: [f64; 2]| {
        let mean = sum / n;
        [mean, ((squares / n - mean * mean) / (n - 1.0)).sqrt()]
    };
    sums.into_iter().map(finish).collect()
}

fn assert_unbiased(estimates: &[[f64; 2]], exact: &[f64]) {
    let mut strongest = 0.0_f64;
    for (i, (&[mean, error], exact)) in estimates.iter().zip(exact).enumerate() {
        // Beyond 4.5 standard errors with probability 7·10⁻⁶. A weight that no observation reaches has no gradient at all.
        assert!((mean - exact).abs() <= 4.5 * error + 1e-9, "weight {i}: {mean} ± {error} instead of {exact}");
        strongest = strongest.max(exact.abs() / error.max(1e-12));
    }
    // The estimate is precise enough to tell.
    assert!(strongest > 20.0, "{strongest}");
}

/// Three arms, of which the middle one may not be pulled; the last pays 1 with probability 0.7.
#[derive(Debug)]
struct Bandit;

impl Environment for Bandit {
    type State = ();

    fn inputs(&self) -> usize {
        1
    }

    fn actions(&self) -> usize {
        3
    }

    fn horizon(&self) -> usize {
        1
    }

    fn discount(&self) -> f64 {
        1.0
    }

    fn start(&self) {}

    fn observe(&self, (): &(), x: &mut [f32]) {
        x[0] = 1.0;
    }

    fn is_legal(&self, (): &(), action: usize) -> bool {
        action != 1
    }

    fn outcomes(&self, (): &(), action: usize) -> Vec<Outcome<()>> {
        let outcome = |probability, reward| Outcome { probability, reward, next: None };
        if action == 0 { vec![outcome(1.0, 0.2)] } else { vec![outcome(0.7, 1.0), outcome(0.3, 0.0)] }
    }
}

#[test]
fn the_gradient_of_a_bandit_is_that_of_its_closed_form() {
    let model = model(&Bandit, &[]);
    // Weights and biases of the three logits.
    let weights = [0.3, 5.0, -0.2, 0.1, 2.0, -0.4];
    let (z0, z2) = (0.4_f64, -0.6_f64);
    let p0 = z0.exp() / (z0.exp() + z2.exp());
    let expected = 0.2 * p0 + 0.7 * (1.0 - p0);
    // ∂J/∂zₐ = πₐ(rₐ − J).
    let of_logits = [p0 * (0.2 - expected), 0.0, (1.0 - p0) * (0.7 - expected)];
    let exact = [of_logits, of_logits].concat();
    let mut trainer = PolicyTrainer::new(&model, &Bandit, &config(&json!({})), 0).unwrap();
    let found = trainer.expected_return(&weights).unwrap();
    // Logits are of 32 bits: each a rounding of 2⁻²⁴ or so.
    assert!((found - expected).abs() < 1e-6, "{found} instead of {expected}");
    assert_eq!(optimal_return(&Bandit), 0.7);
    assert!((random_return(&Bandit) - 0.45).abs() < 1e-15);
    assert_unbiased(&estimates(&Bandit, &model, &weights, 4000), &exact);
}

#[test]
fn the_gradient_of_a_gridworld_is_that_of_its_exact_return() {
    let grid = gridworld(json!({ "size": [2, 2], "start": [0, 0], "goal": [1, 1], "discount": 0.9, "max_moves": 3 }));
    let model = model(&grid, &[3]);
    let weights = model.initial_weights(1);
    let (graph, nodes) = model.graph(1);
    // The return in double precision, by a policy that no part of the trainer computes.
    let exact_return = |weights: &[f64]| {
        let mut values: BTreeMap<String, Value<f64>> = model
            .space()
            .iter()
            .map(|param| (param.name.clone(), Value::Float(weights[param.range.clone()].to_vec())))
            .collect();
        expected_return(&grid, |states| {
            let of_state = |&state: &usize| {
                let mut x = vec![0.0; 4];
                x[state] = 1.0;
                values.insert("x".to_owned(), Value::Float(x));
                let logits = graph.interpret(&values, &[nodes.logits]).unwrap().remove(0);
                let total: f64 = logits.iter().map(|z| z.exp()).sum();
                logits.iter().map(|z| z.exp() / total).collect()
            };
            states.iter().map(of_state).collect()
        })
    };
    let center: Vec<f64> = weights.iter().map(|&w| f64::from(w)).collect();
    let derivative = |i: usize| {
        // Off by h²/6 of the third derivative, 2·10⁻⁹ of it.
        let shifted = |h: f64| {
            let mut at = center.clone();
            at[i] += h;
            exact_return(&at)
        };
        (shifted(1e-4) - shifted(-1e-4)) / 2e-4
    };
    let exact: Vec<f64> = (0..weights.len()).map(derivative).collect();
    let mut trainer = PolicyTrainer::new(&model, &grid, &config(&json!({})), 0).unwrap();
    let found = trainer.expected_return(&weights).unwrap();
    let expected = exact_return(&center);
    assert!((found - expected).abs() < 1e-6, "{found} instead of {expected}");
    assert_unbiased(&estimates(&grid, &model, &weights, 20_000), &exact);
}

/// Trains from scratch; gives the exact returns before and after.
fn train<E: Environment>(environment: &E, hidden: usize, changes: &Json, seed: u32) -> [f64; 2] {
    let model = model(environment, &[hidden]);
    let mut trainer = PolicyTrainer::new(&model, environment, &config(changes), seed).unwrap();
    let mut state = trainer.start(model.initial_weights(seed)).unwrap();
    let before = trainer.expected_return(&state.weights).unwrap();
    trainer.run(&mut state, |_| Ok::<_, Infallible>(ControlFlow::Continue(()))).unwrap();
    [before, trainer.expected_return(&state.weights).unwrap()]
}

#[test]
fn agents_find_the_way_through_a_gridworld() {
    let grid = gridworld(json!({
        "size": [5, 5], "walls": [[1, 1], [1, 2], [1, 3], [3, 1], [3, 2], [3, 3], [2, 3]],
        "start": [0, 2], "goal": [4, 2], "discount": 0.95, "max_moves": 60,
    }));
    let best = optimal_return(&grid);
    assert!((best - 0.95_f64.powi(7)).abs() < 1e-12);
    for seed in 0..3 {
        let [before, after] = train(&grid, 32, &json!({ "learning_rate": 2e-2, "steps": 150 }), seed);
        println!("gridworld, seed {seed}: {before:.4} to {after:.4} of {best:.4}");
        assert!(before < 0.5 * best && after >= 0.95 * best, "seed {seed}: {before} to {after} of {best}");
    }
}

#[test]
fn agents_learn_tic_tac_toe_against_a_random_player() {
    let game = TicTacToe::new(Opponent::Random);
    let random = random_return(&game);
    for seed in 0..3 {
        let changes = json!({ "learning_rate": 5e-3, "batch": 64, "steps": 400 });
        let [before, after] = train(&game, 64, &changes, seed);
        println!("tic-tac-toe, seed {seed}: {before:.4} (random {random:.4}) to {after:.4}");
        assert!((before - random).abs() < 0.15 && after > 0.85, "seed {seed}: {before} to {after}");
    }
}

#[test]
fn bits_do_not_depend_on_threads_or_on_being_resumed() {
    let game = TicTacToe::new(Opponent::Optimal);
    let model = model(&game, &[16]);
    let config = config(&json!({ "batch": 8, "steps": 12, "clip_norm": 0.5, "checkpoints": { "linear": 2 } }));
    let run = |trainer: &mut PolicyTrainer<'_, TicTacToe>, state: &mut TrainState, until: u64| {
        let mut losses = Vec::new();
        trainer
            .run(state, |event| {
                if let TrainEvent::Step { loss, step, .. } = event {
                    losses.push(loss);
                    if step + 1 == until {
                        return Ok::<_, Infallible>(ControlFlow::Break(()));
                    }
                }
                Ok(ControlFlow::Continue(()))
            })
            .unwrap();
        losses
    };
    let mut trainer = PolicyTrainer::new(&model, &game, &config, 7).unwrap();
    let mut whole = trainer.start(model.initial_weights(7)).unwrap();
    let losses = run(&mut trainer, &mut whole, 12);
    assert!(losses.len() == 12 && losses.iter().any(|loss| *loss != losses[0]));

    let mut other = PolicyTrainer::new(&model, &game, &config, 7).unwrap();
    other.set_threads(&Threads::new(NonZero::new(3).unwrap()));
    let mut part = other.start(model.initial_weights(7)).unwrap();
    let mut again = run(&mut other, &mut part, 5);
    let saved = part.buffers.iter().map(|(name, values)| ((*name).to_owned(), values.clone())).collect();
    let mut third = PolicyTrainer::new(&model, &game, &config, 7).unwrap();
    let mut state = third.resume(part.step, part.weights, saved).unwrap();
    again.extend(run(&mut third, &mut state, 12));
    assert_eq!((again, state), (losses, whole));
}

#[test]
fn settings_that_say_nothing_about_episodes_are_refused() {
    let grid = gridworld(json!({ "size": [2, 1], "start": [0, 0], "goal": [1, 0], "discount": 1.0, "max_moves": 1 }));
    let own = model(&grid, &[]);
    for (changes, message) in [
        (json!({ "batch": "full" }), "train.batch is full; expected a number of episodes, at least 2"),
        (json!({ "batch": 1 }), "train.batch is 1; expected at least 2 episodes, each a baseline of the others"),
        (
            json!({ "optimizer": "kfac" }),
            "train.optimizer is another; expected `sgd`, `adam`, `adamw` or `rmsprop` for policies",
        ),
        (
            json!({ "stop_below": { "loss": 0.1 } }),
            "train.stop_below is given; expected nothing: policies are trained without",
        ),
    ] {
        let error = PolicyTrainer::new(&own, &grid, &config(&changes), 0).unwrap_err();
        assert_eq!(error.to_string(), message);
    }
    let error = PolicyTrainer::new(&own, &grid, &config(&json!({ "batch": usize::MAX / 2 })), 0).unwrap_err();
    assert!(error.to_string().ends_with("make the network or the batch smaller"), "{error}");
    let game = TicTacToe::new(Opponent::Random);
    let error = PolicyTrainer::new(&own, &game, &config(&json!({})), 0).unwrap_err().to_string();
    let message =
        "network.kind is fitted to something else; expected one that gives 9 logits from 27 inputs, as the environment";
    assert_eq!(error, message);
}
