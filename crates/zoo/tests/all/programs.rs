//! Compiled programs: right on every input of a small size, with the margin that was derived, and made of the parts that they
//! say.

#![expect(clippy::unwrap_used, reason = "helpers of tests stop at the first surprise")]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ops::ControlFlow;
use std::path::Path;

use ontogeny_graph::{ColumnData, Gradient, Program, Workspace};
use ontogeny_zoo::{
    CompiledTransformer, Interface, Model, NetworkConfig, Place, ProgramKind, Read, Score, SequenceProgram, Split,
    Task, TaskConfig, TrainConfig, TrainEvent, Trainer,
};
use serde_json::{Value as Json, json};

fn settings(program: ProgramKind, length: usize, symbols: usize) -> Json {
    let mut settings = json!({ "kind": "compiled", "program": program, "length": length, "held_examples": 500 });
    if program != ProgramKind::Balanced {
        settings["symbols"] = json!(symbols);
    }
    settings
}

fn task_config(program: ProgramKind, length: usize, symbols: usize) -> TaskConfig {
    serde_json::from_value(settings(program, length, symbols)).unwrap()
}

fn compile(program: ProgramKind, length: usize, symbols: usize) -> CompiledTransformer {
    let TaskConfig::Compiled(config) = task_config(program, length, symbols) else { panic!("compiled") };
    config.compile().unwrap()
}

/// The whole sequence and the answers, from the given part.
fn example(program: ProgramKind, given: &[i32], vocabulary: usize) -> (Vec<i32>, Vec<i32>) {
    let n = given.len();
    let question = |answers: Vec<i32>| {
        let equals = vocabulary as i32 - 1;
        ([given, &[equals], &answers].concat(), answers)
    };
    match program {
        ProgramKind::PreviousToken => {
            let tokens: Vec<i32> = (0..n).map(|at| given[at % 2]).collect();
            (tokens.clone(), tokens[2..].to_vec())
        }
        ProgramKind::Induction => {
            let mut tokens = given.to_vec();
            for _ in 0..n {
                let current = tokens[tokens.len() - 1];
                let before = (0..tokens.len() - 1).filter(|&at| tokens[at] == current).max().unwrap();
                tokens.push(tokens[before + 1]);
            }
            let answers = tokens[n..].to_vec();
            (tokens, answers)
        }
        ProgramKind::Reverse => question((0..n).map(|at| given[n - 1 - at]).collect()),
        ProgramKind::Sort => {
            let of = |number: i32| given.iter().filter(move |&&x| x == number).copied();
            question((0..vocabulary as i32).flat_map(of).collect())
        }
        ProgramKind::Histogram => {
            let mut counts = BTreeMap::new();
            for x in given {
                *counts.entry(x).or_insert(0) += 1;
            }
            question(given.iter().map(|x| counts[x]).collect())
        }
        ProgramKind::Balanced => {
            // Pairs that stand side by side are taken away until there are none.
            let mut text: String = given.iter().map(|&bracket| if bracket == 0 { '(' } else { ')' }).collect();
            while text.contains("()") {
                text = text.replace("()", "");
            }
            ([given, &[2]].concat(), vec![i32::from(text.is_empty())])
        }
    }
}

fn is_allowed(program: ProgramKind, given: &[i32]) -> bool {
    let (last, before) = given.split_last().unwrap();
    match program {
        ProgramKind::Induction => before.contains(last),
        // Two tokens tell all: one example of each pair.
        ProgramKind::PreviousToken => given[2..].iter().all(|&token| token == 0),
        _ => true,
    }
}

/// The least logit of a right answer minus the largest other, over some sequences.
fn least_margin(compiled: &CompiledTransformer, examples: &[(Vec<i32>, Vec<i32>)]) -> f64 {
    let (graph, nodes) = compiled.model.graph(examples.len());
    let program = Program::compile(&graph, &[("answers", nodes.answers)], Gradient::None).unwrap();
    let mut workspace = Workspace::new(&program);
    let tokens: Vec<i32> = examples.iter().flat_map(|(tokens, _)| tokens.iter().copied()).collect();
    workspace.ids_mut(&program, "tokens").unwrap().copy_from_slice(&tokens);
    program.run(&mut workspace, &compiled.weights).unwrap();
    let answers: Vec<i32> = examples.iter().flat_map(|(_, answers)| answers.iter().copied()).collect();
    let logits = workspace.output(&program, "answers");
    let mut least = f64::INFINITY;
    for (logits, answer) in logits.chunks(logits.len() / answers.len()).zip(answers) {
        let others = logits.iter().enumerate().filter(|&(i, _)| i != answer as usize).map(|(_, &x)| f64::from(x));
        let margin = f64::from(logits[answer as usize]) - others.fold(f64::NEG_INFINITY, f64::max);
        least = least.min(margin);
    }
    least
}

fn vocabulary(compiled: &CompiledTransformer) -> usize {
    let Interface::Tokens { vocabulary, .. } = compiled.model.interface() else { panic!("tokens") };
    vocabulary
}

#[test]
fn programs_are_right_on_every_input_of_a_small_size() {
    for program in ProgramKind::ALL {
        // Odd lengths, more symbols than places and the other way round.
        for (length, symbols) in [(2, 2), (3, 5), (4, 4), (5, 3), (6, 2), (8, 2)] {
            let is_unfit = match program {
                ProgramKind::Balanced => length % 2 == 1,
                ProgramKind::PreviousToken => length < 3,
                _ => false,
            };
            if is_unfit {
                continue;
            }
            let symbols = if program == ProgramKind::Balanced { 2 } else { symbols };
            let compiled = compile(program, length, symbols);
            let all = (0..symbols.pow(length as u32)).map(|number| {
                let digit = |at: usize| (number / symbols.pow((length - 1 - at) as u32) % symbols) as i32;
                (0..length).map(digit).collect::<Vec<i32>>()
            });
            let examples: Vec<_> = all
                .filter(|given| is_allowed(program, given))
                .map(|given| example(program, &given, vocabulary(&compiled)))
                .collect();
            let margin = least_margin(&compiled, &examples);
            println!(
                "{program:?} {length} {symbols}: {} inputs, margin {margin}, bound {}",
                examples.len(),
                compiled.margin
            );
            assert!(compiled.margin > 31.9, "{program:?}: {}", compiled.margin);
            assert!(margin >= compiled.margin, "{program:?} {length} {symbols}: {margin}, not {}", compiled.margin);
        }
    }
}

fn ids<'a>(split: &'a Split, name: &str) -> &'a [i32] {
    match split.data.columns().iter().find(|column| column.name == name).map(|column| &column.data) {
        Some(ColumnData::Ids(ids)) => ids,
        other => panic!("`{name}` is {other:?}"),
    }
}

/// The sequences of a split and their answers.
fn examples_of(task: &Task) -> Vec<(Vec<i32>, Vec<i32>)> {
    let split = task.split("train").unwrap();
    let Interface::Tokens { length, read, .. } = task.interface else { panic!("tokens") };
    let rows = ids(split, "tokens").chunks(length).map(<[i32]>::to_vec);
    match read {
        Read::LastPosition { .. } => rows.zip(ids(split, "targets").iter().map(|&class| vec![class])).collect(),
        Read::Tokens { from, .. } => rows.map(|row| (row.clone(), row[from..].to_vec())).collect(),
    }
}

#[test]
fn examples_of_the_task_follow_the_definition_and_large_programs_are_right_on_them() {
    for program in ProgramKind::ALL {
        let (length, symbols) = (40, 30);
        let compiled = compile(program, length, symbols);
        let task = task_config(program, length, symbols).prepare(3, Path::new("")).unwrap();
        assert_eq!(task.interface, compiled.model.interface());
        let examples = examples_of(&task);
        for found in &examples {
            assert_eq!(*found, example(program, &found.0[..length], vocabulary(&compiled)), "{program:?}");
        }
        let margin = least_margin(&compiled, &examples);
        println!("{program:?} {length} {symbols}: margin {margin}, bound {}", compiled.margin);
        assert!(compiled.margin > 30.0, "{program:?}: {}", compiled.margin);
        assert!(margin >= compiled.margin, "{program:?}: {margin}, not {}", compiled.margin);
    }
}

#[test]
fn half_of_the_brackets_are_balanced_and_all_balanced_ones_alike() {
    let mut settings = settings(ProgramKind::Balanced, 8, 2);
    let n = 20_000;
    settings["held_examples"] = json!(n);
    let config: TaskConfig = serde_json::from_value(settings).unwrap();
    let task = config.prepare(0, Path::new("")).unwrap();
    let mut counts = BTreeMap::new();
    for (tokens, answers) in examples_of(&task) {
        if answers == [1] {
            *counts.entry(tokens).or_insert(0.0) += 1.0;
        }
    }
    // There are 14 of 256; half of the draws are one of them, the others by chance.
    assert_eq!(counts.len(), 14);
    let p = 0.5 + 0.5 * 14.0 / 256.0;
    let n_balanced: f64 = counts.values().sum();
    assert!((n_balanced / f64::from(n) - p).abs() < 4.0 * (p * (1.0 - p) / f64::from(n)).sqrt(), "{n_balanced}");
    // χ² of 13 degrees of freedom: above 34.5 with probability 0.001.
    let expected = n_balanced / 14.0;
    let chi2: f64 = counts.values().map(|c| (c - expected) * (c - expected) / expected).sum();
    assert!(chi2 < 34.5, "{counts:?}");
}

#[test]
fn networks_are_made_of_the_parts_that_programs_have() {
    let head = |layer| Place::Head { layer, head: 0 };
    let neurons = |layer, count| Place::Neurons { layer, first: 0, count };
    let (length, symbols) = (6, 4);
    for (program, parts, sizes) in [
        (ProgramKind::PreviousToken, vec![head(0)], [1, 6 + 4 + 4, 5]),
        (ProgramKind::Induction, vec![head(0), head(1)], [2, 12 + 4 + 4 + 4, 11]),
        (ProgramKind::Reverse, vec![head(0)], [1, 13 + 5 + 5, 12]),
        (ProgramKind::Sort, vec![head(0), neurons(0, 8)], [1, 13 + 5 + 4 + 4, 4]),
        (ProgramKind::Histogram, vec![head(0), head(1), neurons(1, 10)], [2, 13 + 8 + 8 + 1 + 7, 9]),
        (ProgramKind::Balanced, vec![head(0), neurons(0, 4), head(1), neurons(1, 2)], [2, 7 + 3 + 2 + 2 + 1 + 2, 2]),
    ] {
        let compiled = compile(program, length, symbols);
        let NetworkConfig::Transformer(network) = compiled.model.network() else { panic!("transformer") };
        assert_eq!([Place::Embedding; 2], compiled.places[..2]);
        assert_eq!(parts, compiled.places[2..], "{program:?}");
        assert_eq!(network.heads, 1);
        assert_eq!([network.layers, network.d_model, network.head_width()], sizes, "{program:?}");
    }
}

#[test]
fn own_programs_can_have_several_heads_of_a_block_and_tables_of_two_variables() {
    // The sum modulo 3 of the token before and the first one.
    let mut steps = SequenceProgram::new(3, 4);
    let (tokens, indices) = (steps.tokens(), steps.indices());
    let before = Score { query: indices, key: indices, of: &|q, k| i32::from(k + 1 == q) };
    let previous = steps.attend_one(&[before], tokens, 3, &Some);
    let at_start = Score { query: indices, key: indices, of: &|_, k| -(k as i32) };
    let first = steps.attend_one(&[at_start], tokens, 3, &Some);
    let sum = steps.table(previous, first, 3, &|a, b| (a + b) % 3);
    let compiled = steps.compile(sum, Read::Tokens { from: 2, every: 1, is_weighted: false }).unwrap();
    let head = |head| Place::Head { layer: 0, head };
    assert_eq!(compiled.places[2..], [head(0), head(1), Place::Neurons { layer: 0, first: 0, count: 9 }]);
    let mut examples = Vec::new();
    for number in 0..81 {
        let tokens: Vec<i32> = [27, 9, 3, 1].iter().map(|place| number / place % 3).collect();
        // Predictions of the positions 1 and 2.
        let answers = vec![(tokens[0] + tokens[0]) % 3, (tokens[1] + tokens[0]) % 3];
        let values = steps.evaluate(&tokens).unwrap();
        for (&answer, value) in answers.iter().zip(&values[4][1..]) {
            assert!((0..3).all(|i| value[i] == f64::from(u8::from(i == answer as usize))), "{tokens:?}: {value:?}");
        }
        examples.push((tokens, answers));
    }
    let margin = least_margin(&compiled, &examples);
    assert!(compiled.margin > 31.9 && margin >= compiled.margin, "{margin}, not {}", compiled.margin);
}

#[test]
fn the_stream_holds_the_variables_of_the_program() {
    for program in ProgramKind::ALL {
        let (length, symbols) = (6, 4);
        let compiled = compile(program, length, symbols);
        let (steps, _) = program.program(length, symbols);
        let task = task_config(program, length, symbols).prepare(1, Path::new("")).unwrap();
        let NetworkConfig::Transformer(network) = compiled.model.network() else { panic!("transformer") };
        let d = network.d_model;
        let Interface::Tokens { length: positions, read, .. } = task.interface else { panic!("tokens") };
        let first = match read {
            Read::LastPosition { .. } => positions - 1,
            Read::Tokens { from, .. } => from - 1,
        };
        let (mut graph, _) = compiled.model.graph(1);
        let stream = graph.find(&format!("blocks.{}.hook_resid_post", network.layers - 1)).unwrap();
        let whole = graph.scale(stream, 1.0);
        let compiled_program = Program::compile(&graph, &[("stream", whole)], Gradient::None).unwrap();
        let mut workspace = Workspace::new(&compiled_program);
        for (tokens, _) in examples_of(&task).into_iter().take(20) {
            workspace.ids_mut(&compiled_program, "tokens").unwrap().copy_from_slice(&tokens);
            compiled_program.run(&mut workspace, &compiled.weights).unwrap();
            let stream = workspace.output(&compiled_program, "stream");
            let values = steps.evaluate(&tokens).unwrap();
            // The last token of a sequence that is predicted itself answers nothing.
            let last = if matches!(read, Read::LastPosition { .. }) { positions } else { positions - 1 };
            for (variable, range) in values.iter().zip(&compiled.coordinates) {
                for position in first..last {
                    for (value, at) in variable[position].iter().zip(range.clone()) {
                        let found = f64::from(stream[position * d + at]);
                        // The margin bounds the errors of the answer alone; of shares there are a few roundings more.
                        assert!((found - value).abs() < 1e-4, "{program:?}: {found} instead of {value}");
                    }
                }
            }
        }
    }
}

#[test]
fn heads_of_induction_attend_where_they_should_and_nowhere_else() {
    let compiled = compile(ProgramKind::Induction, 6, 4);
    let task = task_config(ProgramKind::Induction, 6, 4).prepare(2, Path::new("")).unwrap();
    let (mut graph, _) = compiled.model.graph(1);
    let names = ["first", "second"];
    let patterns = [0, 1].map(|layer| {
        let pattern = graph.find(&format!("blocks.{layer}.attn.hook_pattern")).unwrap();
        graph.scale(pattern, 1.0)
    });
    let program =
        Program::compile(&graph, &[(names[0], patterns[0]), (names[1], patterns[1])], Gradient::None).unwrap();
    let mut workspace = Workspace::new(&program);
    for (tokens, _) in examples_of(&task).into_iter().take(100) {
        workspace.ids_mut(&program, "tokens").unwrap().copy_from_slice(&tokens);
        program.run(&mut workspace, &compiled.weights).unwrap();
        for q in 5..11 {
            let last = tokens[..q].iter().rposition(|&token| token == tokens[q]).unwrap();
            for (name, attended) in names.iter().zip([q - 1, last + 1]) {
                let row = &workspace.output(&program, name)[q * 12..(q + 1) * 12];
                // 11 others of e⁻³² each at most, and the roundings of a softmax.
                let is_right = |(k, &p): (usize, &f32)| if k == attended { p > 1.0 - 1e-6 } else { p < 2e-14 };
                assert!(row.iter().enumerate().all(is_right), "{name} at {q} of {tokens:?}: {row:?}");
            }
        }
    }
}

#[test]
fn a_training_can_start_from_the_compiled_weights() {
    for program in ProgramKind::ALL {
        let config = task_config(program, 6, 4);
        let compiled = compile(program, 6, 4);
        // As a run file would say it, with another start.
        let mut network = serde_json::to_value(compiled.model.network()).unwrap();
        network["init"] = json!("pytorch");
        let task = config.prepare(0, Path::new("")).unwrap();
        let model = Model::new(serde_json::from_value(network.clone()).unwrap(), task.interface).unwrap();
        let weights = config.compiled_weights(&model).unwrap();
        assert_eq!(weights, compiled.weights);
        let train: TrainConfig = serde_json::from_value(json!({
            "optimizer": "sgd", "learning_rate": 0.1, "batch": 16, "steps": 3, "checkpoints": {},
        }))
        .unwrap();
        let mut trainer = Trainer::new(&model, &task, &train, 0).unwrap();
        let mut state = trainer.start(weights).unwrap();
        let mut losses = Vec::new();
        trainer
            .run(&mut state, |event| {
                if let TrainEvent::Step { loss, .. } = event {
                    losses.push(f64::from(loss));
                }
                Ok::<_, Infallible>(ControlFlow::Continue(()))
            })
            .unwrap();
        let bound = (vocabulary(&compiled) - 1) as f64 * (-compiled.margin).exp() * 1.01;
        assert!(losses.iter().all(|&loss| loss <= bound), "{program:?}: {losses:?} above {bound}");
        network["heads"] = json!(2);
        let other = Model::new(serde_json::from_value(network).unwrap(), task.interface).unwrap();
        let error = config.compiled_weights(&other).unwrap_err().to_string();
        assert!(
            error.contains("a network of another shape; expected the program's: transformer, layers = "),
            "{error}"
        );
    }
    let config: TaskConfig = serde_json::from_value(json!({ "kind": "sorting", "length": 3, "numbers": 4 })).unwrap();
    let model = compile(ProgramKind::Sort, 3, 4).model;
    let error = config.compiled_weights(&model).unwrap_err().to_string();
    assert_eq!(error, "task.kind is another one; expected `compiled`, the tasks whose weights are known");
}

#[test]
fn sizes_at_which_rounding_could_change_an_answer_are_refused() {
    let largest = |program: ProgramKind| {
        let compiles = |size: usize| {
            let TaskConfig::Compiled(config) = task_config(program, size, size) else { panic!("compiled") };
            match config.compile() {
                Ok(compiled) => compiled.margin > 16.0,
                Err(error) => {
                    let message = error.to_string();
                    assert!(message.contains("expected a smaller one, or fewer symbols: step "), "{message}");
                    false
                }
            }
        };
        [256, 128, 64, 32].into_iter().find(|&size| compiles(size)).unwrap()
    };
    let found = ProgramKind::ALL.map(largest);
    println!("largest sizes: {found:?}");
    // Copies are exact at any size; shares of many positions are told apart only while they differ by more than their rounding,
    // 1/n and 1/(n + 1) of n positions the least.
    assert_eq!(found[..3], [256; 3]);
    assert!(found.iter().all(|&size| size >= 32) && found[4] < 256, "{found:?}");
}

#[test]
fn settings_out_of_range_are_named() {
    for (changes, message) in [
        (json!({ "length": 1 }), "task.length is 1; expected 2 to 256"),
        (json!({ "symbols": null }), "task.symbols is missing; expected 2 to 256"),
        (json!({ "symbols": 257 }), "task.symbols is 257; expected 2 to 256"),
        (json!({ "program": "previous_token", "length": 2 }), "task.length is 2; expected 3 to 256"),
        (
            json!({ "program": "balanced", "length": 5, "symbols": null }),
            "task.length is 5; expected an even number from 2 to 256",
        ),
        (
            json!({ "program": "balanced" }),
            "task.symbols is 4; expected nothing, because program = balanced has brackets",
        ),
    ] {
        let mut settings = settings(ProgramKind::Sort, 6, 4);
        for (key, value) in changes.as_object().unwrap() {
            settings[key] = value.clone();
        }
        let config: TaskConfig = serde_json::from_value(settings).unwrap();
        assert_eq!(config.prepare(0, Path::new("")).unwrap_err().to_string(), message);
    }
}
