//! Bayesian influence asked for by a run file: the matrix and its top pairs are those of the library, in bounded memory.

use crate::common::{execute, prepared, record, tiny, values};
use ontogeny_posterior::{Execution, Influence, Judged, Llc, Probe, Recording, Sampler};
use ontogeny_store::{Detail, NumberType, Outcome, pair_detail};
use ontogeny_study::{OpenedRun, StudyError};

const TEXT: &str = tiny!(
    "none",
    r#"[train]
optimizer = "adamw"
learning_rate = 0.01
batch = "full"
steps = 60
checkpoints = [0, 20, 60]

[measure.pairs]
observable = "influence"
queries = "test"
examples = 10
query_examples = 4
pairs = 6
sampler = "sgld"
chains = 2
burn_in = 50
draws = 60
batch = 8
step_size = 2.5e-3
localization = 500.0
refused = "accept"
"#
);

#[test]
fn a_record_holds_what_the_library_gives() {
    let scratch = tempfile::tempdir().unwrap();
    let directory = scratch.path().join("run");
    let summary = execute(&prepared(TEXT).unwrap(), &directory, 2, usize::MAX).unwrap();
    let opened = OpenedRun::open(&directory).unwrap();
    let objective = opened.objective("train").unwrap();
    let llc = Llc {
        sampler: Sampler::Sgld,
        chains: 2,
        burn_in: 50,
        draws: 60,
        batch: ontogeny_posterior::Batch::Size(8),
        step_size: 2.5e-3,
        localization: 500.0,
        seed: 5,
        ..Llc::default()
    };
    let model = opened.model().clone();
    let probe = |name: &str, n: usize| {
        let losses = |batch: usize| {
            let (graph, nodes) = model.graph(batch);
            (graph, nodes.example_loss)
        };
        let split = opened.task().split(name).unwrap();
        let rows: Vec<usize> = (0..n).map(|i| i * split.data.len() / n).collect();
        let places: Vec<f64> = rows.iter().map(|&row| split.indices[row] as f64).collect();
        (Probe::new(name, split.data.rows(&rows), 256, losses).unwrap(), places)
    };
    let ((train, examples), (test, queries)) = (probe("train", 10), probe("test", 4));
    let probes = [train, test];
    let recording = Recording::of(&probes);
    let mut n_compared = 0;
    for step in [0, 20, 60] {
        let execution = Execution::default();
        let draws = llc.loss_draws(&objective, &opened.weights(step).unwrap(), &recording, &execution).unwrap();
        let Judged::Ok(influence) = Influence::of(&draws).unwrap() else { continue };
        let own = record(&directory, "pairs", step);
        assert_eq!((values(&own, "example_index"), values(&own, "query_index")), (&examples[..], &queries[..]));
        let all = influence.block(0..10, 10..14, execution.threads).unwrap();
        let matrix = own.array("influence").unwrap();
        assert_eq!(
            (&matrix.dims[..], matrix.number),
            (&["example".to_owned(), "query".to_owned()][..], NumberType::Float32)
        );
        for (at, pair) in all.iter().enumerate() {
            let found = ["influence", "influence_standard_error", "correlation"].map(|name| values(&own, name)[at]);
            assert_eq!(found, [pair.value, pair.mcse, pair.correlation.unwrap()].map(|x| f64::from(x as f32)));
        }
        let top = influence.top_pairs(0..10, 10..14, 6, execution.threads);
        assert_eq!((top.len(), &own.details["n_pairs"]), (6, &Detail::Number(Some(40.0))));
        for (at, top) in top.iter().enumerate() {
            assert_eq!(values(&own, "value")[at], top.pair.value);
            assert_eq!(values(&own, "standard_error")[at], top.pair.mcse);
            let told = |what: &str| &own.details[&pair_detail(at as u64 + 1, what)];
            assert_eq!(told("correlation"), &Detail::Number(top.pair.correlation));
            // In words: the place of the example, its two residues, the sign =, and the answer.
            for (what, split, index) in
                [("example", "train", examples[top.items[0]]), ("query", "test", queries[top.items[1] - 10])]
            {
                let (a, b) = (index as usize / 5, index as usize % 5);
                let words = format!("{split} {index}: tokens {a} {b} 5, targets {}", (a + b) % 5);
                assert_eq!(told(what), &Detail::Text(words));
            }
        }
        n_compared += 1;
    }
    assert!(n_compared >= 2, "{n_compared} checkpoints of 3 were accepted");
    let seen = &summary.view.observables["pairs"];
    assert_eq!((seen.unit.as_str(), &seen.dims[..]), ("nats^2", &["step".to_owned(), "pair".to_owned()][..]));
    assert_eq!(seen.values.shape, [3, 6]);
    let wrong = prepared(&format!("{TEXT}[stages]\nobservables = [\"influence.1\"]\n")).unwrap_err();
    assert!(wrong.contains("nothing measures `influence.1`"), "{wrong}");
}

#[test]
fn training_examples_against_themselves_are_symmetric_and_no_pair_is_one_example() {
    let scratch = tempfile::tempdir().unwrap();
    let directory = scratch.path().join("run");
    let text = TEXT.replace("queries = \"test\"", "queries = \"train\"").replace("query_examples = 4\n", "");
    execute(&prepared(&text.replace("pairs = 6", "pairs = 1000")).unwrap(), &directory, 2, usize::MAX).unwrap();
    let own = record(&directory, "pairs", 60);
    assert_eq!(own.outcome, Outcome::Done);
    let (influence, correlation) = (values(&own, "influence"), values(&own, "correlation"));
    for i in 0..10 {
        // Minus a variance; of the same losses, so the correlation is 1 but for the rounding of two sums of 120 products.
        assert!(influence[11 * i] < 0.0 && (correlation[11 * i] - 1.0).abs() < 1e-6);
        for j in 0..10 {
            assert_eq!(influence[10 * i + j], influence[10 * j + i]);
        }
    }
    assert_eq!(values(&own, "value").len(), 45, "all pairs of two of ten examples");
    assert_eq!(own.details["n_pairs"], Detail::Number(Some(45.0)));
    for pair in 1..=45 {
        assert_ne!(own.details[&pair_detail(pair, "example")], own.details[&pair_detail(pair, "query")]);
    }
}

#[test]
fn refused_chains_have_no_pairs_and_an_interrupted_run_ends_with_the_same_bits() {
    let scratch = tempfile::tempdir().unwrap();
    let (whole, parts) = (scratch.path().join("whole"), scratch.path().join("parts"));
    // Short steps: the chains disagree before step 60, and there they do not.
    let run = prepared(&TEXT.replace("refused = \"accept\"\n", "").replace("step_size = 2.5e-3", "step_size = 3e-4"));
    let run = run.unwrap();
    let summary = execute(&run, &whole, 1, usize::MAX).unwrap();
    assert!(summary.has_unaccepted_refusal());
    let refused = record(&whole, "pairs", 0);
    assert!(matches!(&refused.outcome, Outcome::Refused { verdict, .. } if verdict == "not converged"), "{refused:?}");
    assert!(values(&refused, "value").len() == 6 && values(&refused, "value").iter().all(|x| x.is_nan()));
    assert!(refused.array("influence").is_none() && !refused.details.contains_key(&pair_detail(1, "example")));
    assert!(summary.view.observables["pairs"].values.values[..6].iter().all(Option::is_none));
    assert_eq!(record(&whole, "pairs", 60).outcome, Outcome::Done);

    let mut n_events = 70;
    loop {
        match execute(&run, &parts, 1 + n_events % 3, n_events) {
            Ok(_) => break,
            Err(StudyError::Interrupted) => n_events *= 2,
            Err(other) => panic!("{other}"),
        }
    }
    assert!(n_events >= 280, "interrupted at most once");
    for step in [0, 20, 60] {
        assert_eq!(record(&parts, "pairs", step), record(&whole, "pairs", step));
    }
}

#[test]
fn what_does_not_fit_is_named() {
    let line = |key: &str| 1 + TEXT.lines().position(|line| line.starts_with(key)).unwrap();
    for (from, to, says) in [
        ("queries = \"test\"\n", "", "`measure.pairs.queries` is missing; expected a split of the task".to_owned()),
        ("queries =", "querys =", format!("tiny.toml:{}: unknown key `measure.pairs.querys`; did you mean `queries`?", line("queries"))),
        ("\"test\"", "\"tset\"", "`queries` names `tset`, and the task has no such split; expected of train, test; did you mean `test`?".to_owned()),
        ("\"test\"", "\"all\"", "`queries` names `all`, which holds training examples: those would be found against themselves; expected of train, test".to_owned()),
        ("\"test\"", "\"train\"", format!("tiny.toml:{}: `measure.pairs.query_examples` is given, and `queries` names `train`", line("query_examples"))),
        ("examples = 10", "examples = 21", "in [measure.pairs]: `examples` is 21; expected 1 to 20, the examples of `train`".to_owned()),
        ("query_examples = 4", "query_examples = 6", "`query_examples` is 6; expected 1 to 5, the examples of `test`".to_owned()),
        ("pairs = 6", "pairs = 0", format!("tiny.toml:{}: `measure.pairs.pairs` is 0; expected at least 1", line("pairs"))),
        ("pairs = 6", "pairs = 6\nkeep_losses = \"example\"", "`measure.pairs.keep_losses` has no place here".to_owned()),
        ("pairs = 6", "pairs = 6\nrestrict = \"l0h9\"", "in [measure.pairs]: restriction `l0h9`".to_owned()),
        ("draws = 60", "draws = 5000001", "`chains · draws` is 10000002; expected at most 10000000".to_owned()),
    ] {
        assert!(TEXT.contains(from), "{from}");
        let error = prepared(&TEXT.replacen(from, to, 1)).unwrap_err();
        assert!(error.contains(&says), "{to}: `{says}` is not in: {error}");
    }
    let alone = TEXT.replace("queries = \"test\"", "queries = \"train\"").replace("query_examples = 4\n", "");
    let error = prepared(&alone.replace("examples = 10", "examples = 1")).unwrap_err();
    assert!(error.contains("one example is no pair; expected at least 2"), "{error}");
    // Both are checked before anything is sampled: the draws in memory, and the pairs in the record.
    let large = |p: usize, draws: usize, examples: usize, queries: usize| {
        let text = TEXT.replace("p = 5", &format!("p = {p}")).replace("draws = 60", &format!("draws = {draws}"));
        let text = text.replacen("examples = 10", &format!("examples = {examples}"), 1);
        prepared(&text.replace("query_examples = 4", &format!("query_examples = {queries}"))).unwrap_err()
    };
    let error = large(59, 5_000_000, 2000, 400);
    assert!(error.contains("2400 losses of each of 2 · 5000000 draws, 2 times"), "{error}");
    assert!(error.contains("take fewer examples or draws"), "{error}");
    let error = large(113, 60, 9000, 900);
    assert!(error.contains("is 8100000 pairs; expected at most 1000000"), "{error}");
}
