//! Susceptibilities asked for by a run file: the record holds what the library gives, refused parts stay refused.

use crate::common::{execute, prepared, record, tiny, values};
use ontogeny_posterior::{Detail, Execution, Judged, Llc, Probe, Recording, Restriction, Sampler, Susceptibilities};
use ontogeny_store::{Outcome, Status, refused_parts};
use ontogeny_study::{OpenedRun, StudyError};

const TEXT: &str = tiny!(
    "none",
    r#"[train]
optimizer = "adamw"
learning_rate = 0.01
batch = "full"
steps = 60
checkpoints = [0, 20, 60]

[measure.answers]
observable = "susceptibility"
components = ["unembed", "l0h1"]
probes = ["test", "all"]
sampler = "sgld"
chains = 2
burn_in = 50
draws = 60
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
        step_size: 2.5e-3,
        localization: 500.0,
        seed: 5,
        ..Llc::default()
    };
    let model = opened.model().clone();
    let probe = |name: &str| {
        let losses = |batch: usize| {
            let (graph, nodes) = model.graph(batch);
            (graph, nodes.example_loss)
        };
        Probe::new(name, opened.task().split(name).unwrap().data.clone(), 256, losses).unwrap()
    };
    let probes = [probe("test"), probe("all")];
    let recording = Recording { detail: Detail::Set, ..Recording::of(&probes) };
    let components = ["unembed", "l0h1"].map(|part| part.parse::<Restriction>().unwrap());
    let mut n_compared = 0;
    for step in [0, 20, 60] {
        let weights = opened.weights(step).unwrap();
        let execution = Execution::default();
        let found = Susceptibilities::measure(&llc, &components, &objective, &weights, &recording, &execution).unwrap();
        let own = record(&directory, "answers", step);
        for (at, component) in found.components.iter().enumerate() {
            let Judged::Ok(table) = &component.table else { continue };
            for (probe, chi) in table.sets.iter().enumerate() {
                let i = 2 * at + probe;
                let expected = [chi.response, chi.response_mcse, chi.chi, chi.chi_mcse, chi.r_hat];
                let names = ["value", "standard_error", "chi", "chi_standard_error", "r_hat"];
                assert_eq!(names.map(|name| values(&own, name)[i]), expected, "step {step}, {}", component.component);
                assert_eq!(chi.response, found.n_beta * chi.chi);
                n_compared += 1;
            }
            // L_all − L_train is the share of the test examples times L_test − L_train, so are the covariances; both
            // losses are sums of f32 near 1 and known to some 1e-7 at each draw, φ to the same, against changes of 1e-2.
            let share = 5.0 / 25.0;
            let (test, all) = (table.sets[0], table.sets[1]);
            assert!((all.chi - share * test.chi).abs() < 1e-3 * test.chi.abs() + 1e-8, "{test:?} {all:?}");
            assert_eq!(values(&own, "llc")[at], component.estimate.value().unwrap());
        }
    }
    assert_eq!(n_compared, 18, "nothing is refused with these settings");
    let seen = &summary.view.observables["answers"];
    assert_eq!((seen.kind.as_str(), seen.unit.as_str()), ("susceptibility", "nats"));
    assert_eq!(seen.dims, ["step", "component", "probe"]);
    assert_eq!(seen.components()[..3], ["full.test", "full.all", "unembed.test"]);
    assert_eq!(seen.values.values[17], Some(values(&record(&directory, "answers", 60), "value")[5]));
    // No series of it is looked at for transitions unless it is named.
    let named = format!("{TEXT}[stages]\nobservables = [\"susceptibility.unembed.test\"]\n");
    prepared(&named).unwrap();
    let wrong = prepared(&named.replace("unembed.test", "unembed.train")).unwrap_err();
    assert!(wrong.contains("`susceptibility.unembed.train`") && wrong.contains("susceptibility.l0h1.all"), "{wrong}");
}

#[test]
fn interrupted_and_on_other_threads_it_ends_with_the_same_bits() {
    let scratch = tempfile::tempdir().unwrap();
    let run = prepared(TEXT).unwrap();
    let (whole, parts) = (scratch.path().join("whole"), scratch.path().join("parts"));
    execute(&run, &whole, 1, usize::MAX).unwrap();
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
        assert_eq!(record(&parts, "answers", step), record(&whole, "answers", step));
    }
}

#[test]
fn singular_directions_are_parts_too_and_no_part_changes_the_row_of_the_network() {
    let scratch = tempfile::tempdir().unwrap();
    let (plain, along) = (scratch.path().join("plain"), scratch.path().join("along"));
    execute(&prepared(TEXT).unwrap(), &plain, 2, usize::MAX).unwrap();
    let part = "blocks.0.mlp.W_in[sv 0-1]";
    let text = TEXT.replace("[\"unembed\", \"l0h1\"]", &format!("[\"{part}\"]"));
    let summary = execute(&prepared(&text).unwrap(), &along, 2, usize::MAX).unwrap();
    assert_eq!(summary.view.observables["answers"].components()[2], format!("{part}.test"));
    for step in [0, 20, 60] {
        let (plain, along) = (record(&plain, "answers", step), record(&along, "answers", step));
        for name in ["value", "standard_error", "chi"] {
            assert_eq!(values(&plain, name)[..2], values(&along, name)[..2], "step {step}");
        }
        let is_refused = refused_parts(&along.details).iter().any(|(number, _)| *number == 1);
        assert!(values(&along, "value")[2].is_nan() == is_refused);
        println!("step {step}: {:?} {:?}", values(&along, "value"), refused_parts(&along.details));
    }
}

#[test]
fn a_refused_part_leaves_the_others_and_a_refused_network_leaves_nothing() {
    let scratch = tempfile::tempdir().unwrap();
    let directory = scratch.path().join("run");
    // Steps so small that chains of 60 draws disagree: at step 60 those of the parts, before that those of the network.
    let text = TEXT.replace("refused = \"accept\"\n", "").replace("step_size = 2.5e-3", "step_size = 3e-4");
    let summary = execute(&prepared(&text).unwrap(), &directory, 2, usize::MAX).unwrap();
    assert!(summary.has_unaccepted_refusal());
    let seen = &summary.view.observables["answers"];
    let is_told =
        |step: u64, why: &str| summary.refusals.iter().any(|refusal| refusal.step == step && refusal.reason == why);

    let whole = record(&directory, "answers", 0);
    let Outcome::Refused { verdict, reason } = &whole.outcome else { panic!("{:?}", whole.outcome) };
    assert!(verdict == "not converged" && reason.ends_with("without the whole network no part has a susceptibility"));
    assert!(matches!(seen.status[0], Status::Refused { .. }) && is_told(0, &format!("{verdict}: {reason}")));
    assert!(seen.values.values[..6].iter().chain(&seen.standard_errors.values[..6]).all(Option::is_none));
    assert!(["value", "chi"].iter().all(|name| values(&whole, name).iter().all(|x| x.is_nan())));

    let part = record(&directory, "answers", 60);
    assert_eq!((&part.outcome, &seen.status[2]), (&Outcome::Done, &Status::Done));
    let refused = refused_parts(&part.details);
    assert!(!refused.is_empty() && refused.iter().all(|(number, _)| *number > 0), "{refused:?}");
    for (number, label) in ["full: ", "unembed: ", "l0h1: "].into_iter().enumerate() {
        let why = refused.iter().find(|(part, _)| *part == number).map(|(_, why)| *why);
        for i in [2 * number, 2 * number + 1] {
            assert_eq!(seen.values.values[12 + i].is_none(), why.is_some(), "{refused:?}");
            assert!(values(&part, "chi")[i].is_nan() == why.is_some());
        }
        assert!(why.is_none_or(|why| why.starts_with(label) && is_told(60, why)), "{why:?}");
    }
}

#[test]
fn what_does_not_fit_is_named_with_its_line() {
    let line = |key: &str| 1 + TEXT.lines().position(|line| line.starts_with(key)).unwrap();
    for (from, to, says) in [
        ("components =", "component =", format!("tiny.toml:{}: unknown key `measure.answers.component`", line("components"))),
        ("components =", "component =", "did you mean `components`?".to_owned()),
        ("components = [", "components = [3, ", format!("tiny.toml:{}:", line("components"))),
        ("\"l0h1\"]", "\"l0h1\", \"unembed\"]", format!("tiny.toml:{}: `measure.answers.components` lists `unembed` twice; expected each part once; remove one", line("components"))),
        ("\"l0h1\"]", "\"l0h1 &\"]", format!("tiny.toml:{}: in `measure.answers.components`:", line("components"))),
        ("\"l0h1\"]", "\"l0h7\"]", "in [measure.answers]: restriction `l0h7`".to_owned()),
        ("probes = [\"test\", \"all\"]\n", "", "`measure.answers.probes` is missing; expected a list of splits".to_owned()),
        ("[\"test\", \"all\"]", "[]", format!("tiny.toml:{}: `measure.answers.probes` is an empty list", line("probes"))),
        ("[\"test\", \"all\"]", "[\"test\", \"test\"]", "`measure.answers.probes` lists `test` twice".to_owned()),
        ("[\"test\", \"all\"]", "[\"tset\"]", "in [measure.answers]: `probes` names `tset`, and the task has no such split; expected of test, all; did you mean `test`?".to_owned()),
        ("[\"test\", \"all\"]", "[\"train\"]", "`probes` names `train`, the data of the posterior itself".to_owned()),
        ("chains = 2", "chains = 2\nrestrict = \"embed\"", "`measure.answers.restrict` has no place here; every part is sampled by itself: list it in `components`".to_owned()),
        ("chains = 2", "chains = 2\nkeep_losses = \"example\"", "`measure.answers.keep_losses` has no place here".to_owned()),
        ("chains = 2", "chains = 2\nprobe_examples = 0", "`measure.answers.probe_examples` is 0; expected at least 1".to_owned()),
        ("chains = 2", "chains = 2\nprobe_examples = 6", "`probe_examples` is 6; expected 1 to 5, the examples of `test`".to_owned()),
        ("chains = 2", "chains = 2\nbatch = 4", "in [measure.answers]: `evaluation` is a random choice of examples; expected `full`".to_owned()),
        ("draws = 60", "draws = 2", "in [measure.answers]: `draws` is 2".to_owned()),
        ("draws = 60", "draws = 60\ncalibrate = [3]", "`calibrate` names step 3".to_owned()),
    ] {
        assert!(TEXT.contains(from), "{from}");
        let error = prepared(&TEXT.replacen(from, to, 1)).unwrap_err();
        assert!(error.contains(&says), "{to}: `{says}` is not in: {error}");
    }
    prepared(&TEXT.replace("chains = 2", "chains = 2\nbatch = 4\nevaluation = \"full\"\nprobe_examples = 3")).unwrap();
}
