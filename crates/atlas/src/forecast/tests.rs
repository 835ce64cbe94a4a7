//! Planted chains with scores computed by hand.

use std::collections::BTreeMap;

use ontogeny_store::{Judgement, StudyVerdict};
use serde_json::{Value, json};

use super::*;

type Verdicts = BTreeMap<(String, String), StudyVerdict>;

/// A registry in a folder of its own, and the verdict files beside it.
struct Planted {
    folder: tempfile::TempDir,
    registry: Registry,
    verdicts: Verdicts,
}

impl Planted {
    fn new(studies: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let registry = Registry::open(folder.path()).unwrap();
        let mut planted = Self { folder, registry, verdicts: Verdicts::new() };
        for study in studies {
            planted.register(study);
        }
        planted
    }

    fn register(&mut self, study: &str) {
        let entry = Entry::Registration {
            study: study.to_owned(),
            content: String::new(),
            files: BTreeMap::new(),
            version: "0.1.0".to_owned(),
            engine: 7,
            earlier: 0,
        };
        self.registry.append(entry, 100).unwrap();
    }

    /// A verdict with hypotheses by name, outcome and estimate; the first is that of the study.
    fn judge(&mut self, study: &str, hypotheses: &[(&str, &str, Option<f64>)]) -> Line {
        let registration = self.registry.registration(study).unwrap().clone();
        let verdict = verdict(study, &registration, hypotheses);
        let entry = Entry::Verdict {
            study: study.to_owned(),
            scale: "small".to_owned(),
            registration: registration.hash,
            content: String::new(),
            outcome: verdict.outcome,
            p_values: BTreeMap::from([(hypotheses[0].0.to_owned(), 0.25)]),
        };
        self.verdicts.insert((study.to_owned(), "small".to_owned()), verdict);
        self.registry.append(entry, 100).unwrap()
    }

    fn forecast(&mut self, by: &str, study: &str, hypothesis: &str, statement: Prediction) -> Line {
        record(&mut self.registry, &new(by, study, hypothesis, statement), 100).unwrap()
    }

    fn score(&self) -> Scoreboard {
        score(&self.registry, &self.verdicts)
    }

    fn outcomes(&self) -> Vec<Outcome> {
        self.score().forecasts.into_iter().map(|forecast| forecast.outcome).collect()
    }
}

fn verdict(study: &str, registration: &Line, hypotheses: &[(&str, &str, Option<f64>)]) -> StudyVerdict {
    let hypothesis = |(id, outcome, estimate): &(&str, &str, Option<f64>)| -> Value {
        let effect = estimate.map(|e| json!({"name": "mean", "estimate": e, "lower": null, "upper": null}));
        json!({
            "id": id, "claim": "", "quantity": "", "statistic": "", "unit": "1", "test": "t", "direction": "greater",
            "smallest_effect": 0.1, "no_effect": 0.0, "alpha": 0.05, "corrected_alpha": 0.05, "outcome": outcome,
            "effect": effect, "deciding": null, "p_value": 0.25, "power": null, "values": [], "minimal_seeds": 2,
        })
    };
    let hypotheses_json: Vec<Value> = hypotheses.iter().map(hypothesis).collect();
    serde_json::from_value(json!({
        "format": 1, "id": study, "question": "", "source": "", "scale": "small", "outcome": hypotheses[0].1,
        "answer": "", "confirmatory": true, "hypotheses": hypotheses_json, "attacks": [], "figures": [], "runs": [],
        "registration": {
            "index": registration.index, "hash": registration.hash, "time": registration.time, "content": "",
            "earlier": 0, "chain_length": registration.index + 1, "chain_head": registration.hash,
        },
        "version": "0.1.0", "seconds": 0.0, "time": 100,
    }))
    .unwrap()
}

fn new(by: &str, study: &str, hypothesis: &str, statement: Prediction) -> NewForecast {
    NewForecast {
        study: study.to_owned(),
        hypothesis: hypothesis.to_owned(),
        scale: "small".to_owned(),
        by: by.to_owned(),
        statement,
        note: String::new(),
    }
}

fn p(supported: f64) -> Prediction {
    Prediction::Probability { supported }
}

fn interval(lower: f64, upper: f64, level: f64) -> Prediction {
    Prediction::Interval { lower, upper, level }
}

#[track_caller]
fn close(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-12, "{found}, expected {expected}");
}

#[test]
fn what_is_no_forecast_is_refused_and_not_recorded() {
    let mut planted = Planted::new(&["A"]);
    let before = planted.registry.length();
    let mut refused = |statement| record(&mut planted.registry, &new("ann", "A", "H1", statement), 100).unwrap_err();
    for bad in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
        assert!(matches!(refused(p(bad)), ForecastError::Probability { .. }), "{bad}");
    }
    for (lower, upper) in [(1.0, 1.0), (2.0, 1.0), (f64::NAN, 1.0), (0.0, f64::NAN), (f64::NEG_INFINITY, 0.0)] {
        assert!(matches!(refused(interval(lower, upper, 0.9)), ForecastError::Interval { .. }), "{lower} {upper}");
    }
    for level in [0.0, 1.0, -0.5, f64::NAN] {
        assert!(matches!(refused(interval(0.0, 1.0, level)), ForecastError::Level { .. }), "{level}");
    }
    for i in 0..4 {
        let mut forecast = new("ann", "A", "H1", p(0.5));
        let fields = [&mut forecast.study, &mut forecast.hypothesis, &mut forecast.scale, &mut forecast.by];
        " ".clone_into(fields.into_iter().nth(i).unwrap());
        let error = record(&mut planted.registry, &forecast, 100).unwrap_err();
        assert!(matches!(error, ForecastError::Empty { .. }), "{error}");
    }
    assert_eq!(Registry::open(planted.folder.path()).unwrap().length(), before);
    for edge in [0.0, 1.0] {
        planted.forecast("ann", "A", "H1", p(edge));
    }
}

#[test]
fn a_forecast_after_the_outcome_is_refused() {
    let mut planted = Planted::new(&["A"]);
    // Another process read the registry before the verdict came.
    let mut stale = Registry::open(planted.folder.path()).unwrap();
    planted.judge("A", &[("H1", "supported", None)]);
    for registry in [&mut stale, &mut planted.registry] {
        let error = record(registry, &new("ann", "A", "H1", p(0.9)), 100).unwrap_err();
        assert!(matches!(error, ForecastError::TooLate { line: 2, .. }), "{error}");
    }
    // At another scale, of another study, and after the study was registered again, nothing is known.
    let mut full = new("ann", "A", "H1", p(0.9));
    full.scale = "full".to_owned();
    record(&mut planted.registry, &full, 100).unwrap();
    planted.forecast("ann", "B", "H1", p(0.9));
    planted.register("A");
    planted.forecast("ann", "A", "H1", p(0.2));
    planted.judge("A", &[("H1", "refuted", None)]);
    assert!(record(&mut planted.registry, &new("ann", "A", "H1", p(0.1)), 100).is_err());
    let outcomes = planted.outcomes();
    assert_eq!(outcomes[..2], [Outcome::Open, Outcome::Open]);
    let Outcome::Probability { supported: false, brier, .. } = outcomes[2] else { panic!("{outcomes:?}") };
    close(brier, 0.04);
}

#[test]
fn identifiers_are_never_given_twice() {
    let planted = Planted::new(&["A"]);
    std::thread::scope(|scope| {
        for by in ["ann", "bob"] {
            let atlas = planted.folder.path();
            scope.spawn(move || {
                let mut registry = Registry::open(atlas).unwrap();
                for _ in 0..10 {
                    record(&mut registry, &new(by, "A", "H1", p(0.5)), 100).unwrap();
                }
            });
        }
    });
    let registry = Registry::open(planted.folder.path()).unwrap();
    let ids: Vec<String> = score(&registry, &Verdicts::new()).forecasts.into_iter().map(|f| f.id).collect();
    assert_eq!(ids, (1..=20).map(|i| format!("F{i}")).collect::<Vec<_>>());
}

#[test]
fn scores_by_hand() {
    let mut planted = Planted::new(&["A", "B", "C"]);
    planted.forecast("ann", "A", "H1", p(0.8)); // baseline (0 + 1)/(0 + 2)
    planted.judge("A", &[("H1", "supported", Some(2.0))]);
    planted.forecast("ann", "B", "H1", p(0.3)); // baseline (1 + 1)/(1 + 2)
    planted.forecast("bob", "B", "H1", p(0.0));
    planted.forecast("bob", "B", "H1", interval(1.0, 3.0, 0.8));
    planted.judge("B", &[("H1", "refuted", Some(0.5))]);
    planted.forecast("bob", "C", "H2", p(0.25)); // baseline (1 + 1)/(2 + 2)
    planted.forecast("bob", "C", "H2", interval(-1.0, 1.0, 0.5));
    planted.forecast("cy", "D", "H1", p(0.5));
    planted.judge("C", &[("H1", "undecided", None), ("H2", "supported", Some(1.0))]);

    let board = planted.score();
    let expected = [
        (true, 0.04, -(0.8_f64.ln()), 0.5, 0.25, 2f64.ln()),
        (false, 0.09, -(0.7_f64.ln()), 2.0 / 3.0, 4.0 / 9.0, 3f64.ln()),
        (false, 0.0, 0.0, 2.0 / 3.0, 4.0 / 9.0, 3f64.ln()),
        (true, 0.5625, 4f64.ln(), 0.5, 0.25, 2f64.ln()),
    ];
    let of = |i: usize| &board.forecasts[i].outcome;
    for (i, (is_supported, b, l, base, base_b, base_l)) in [0, 1, 2, 4].into_iter().zip(expected) {
        let Outcome::Probability { supported, brier, log, baseline, baseline_brier, baseline_log, .. } = of(i) else {
            panic!("{:?}", of(i));
        };
        assert_eq!(*supported, is_supported);
        close(*brier, b);
        close(log.unwrap(), l);
        close(*baseline, base);
        close(*baseline_brier, base_b);
        close(*baseline_log, base_l);
    }
    // Width 2, a miss of 0.5 below at 2/(1 − 0.8) each; the second lies on its end.
    let Outcome::Interval { verdict: 8, estimate: 0.5, covered: false, score } = *of(3) else { panic!("{:?}", of(3)) };
    close(score, 7.0);
    let Outcome::Interval { estimate: 1.0, covered: true, score, .. } = *of(5) else { panic!("{:?}", of(5)) };
    close(score, 2.0);
    assert_eq!(*of(6), Outcome::Open);

    let ann = &board.forecasters["ann"];
    assert_eq!((ann.n_forecasts, ann.n_open, ann.n_probabilities, ann.coverage.len()), (2, 0, 2, 0));
    close(ann.brier.unwrap(), 0.065);
    close(ann.log.unwrap(), -(0.8_f64.ln() + 0.7_f64.ln()) / 2.0);
    close(ann.brier_skill.unwrap().estimate, 1.0 - 0.13 / (0.25 + 4.0 / 9.0));
    close(ann.log_skill.unwrap().estimate, 1.0 + (0.8_f64.ln() + 0.7_f64.ln()) / 6f64.ln());
    let bob = &board.forecasters["bob"];
    assert_eq!((bob.n_forecasts, bob.n_probabilities), (4, 2));
    close(bob.brier.unwrap(), 0.28125);
    let levels: Vec<_> = bob.coverage.iter().map(|c| (c.level, c.n, c.n_covered)).collect();
    assert_eq!(levels, [(0.5, 1, 1), (0.8, 1, 0)]);
    let cy = &board.forecasters["cy"];
    assert_eq!((cy.n_open, cy.brier, cy.brier_skill), (1, None, None));
    assert_eq!((board.all.n_forecasts, board.all.n_open, board.all.n_probabilities), (7, 1, 4));
    close(board.all.brier.unwrap(), 0.6925 / 4.0);
    close(board.all.brier_skill.unwrap().estimate, 1.0 - 0.6925 / (0.5 + 8.0 / 9.0));
    assert_eq!(planted.score(), board);
}

#[test]
fn what_was_called_impossible_has_no_finite_score() {
    let mut planted = Planted::new(&["A", "B"]);
    planted.forecast("ann", "A", "H1", p(0.0));
    planted.forecast("ann", "B", "H1", p(0.5));
    planted.judge("A", &[("H1", "supported", None)]);
    planted.judge("B", &[("H1", "supported", None)]);
    let board = planted.score();
    let Outcome::Probability { brier: 1.0, log: None, .. } = board.forecasts[0].outcome else { panic!("{board:?}") };
    let record = &board.forecasters["ann"];
    assert_eq!((record.log, record.log_skill), (None, None));
    close(record.brier.unwrap(), 0.625);
    // JSON has no infinity.
    let text = serde_json::to_string(&board).unwrap();
    assert!(text.contains("\"state\":\"probability\"") && text.contains("\"log\":null"), "{text}");
}

#[test]
fn a_baseline_that_was_just_as_good_is_no_skill() {
    let mut planted = Planted::new(&["A", "B"]);
    planted.forecast("ann", "A", "H1", p(0.5));
    planted.judge("A", &[("H1", "supported", None)]);
    let exact = 2.0 / 3.0;
    planted.forecast("ann", "B", "H1", p(exact));
    planted.judge("B", &[("H1", "refuted", None)]);
    let record = &planted.score().forecasters["ann"];
    // The same saving, 0, each time: no interval is defined.
    assert!(record.brier_skill.is_none_or(|skill| skill.estimate.abs() < 1e-12));
}

#[test]
fn a_study_judged_again_counts_once_in_the_baseline() {
    let mut planted = Planted::new(&["A", "B"]);
    planted.judge("A", &[("H1", "supported", None)]);
    planted.judge("A", &[("H1", "supported", None)]);
    planted.register("A");
    planted.judge("A", &[("H1", "refuted", None)]);
    planted.forecast("ann", "B", "H1", p(0.5));
    planted.judge("B", &[("H1", "refuted", None)]);
    let outcomes = planted.outcomes();
    let Outcome::Probability { baseline, .. } = outcomes[0] else { panic!("{outcomes:?}") };
    close(baseline, 1.0 / 3.0);
}

#[test]
fn the_first_verdict_after_it_decides() {
    let mut planted = Planted::new(&[]);
    // Before the study is registered.
    planted.forecast("ann", "A", "H1", p(0.9));
    planted.forecast("ann", "A", "H9", p(0.9));
    planted.forecast("ann", "A", "H1", interval(0.0, 1.0, 0.9));
    planted.register("A");
    let line = planted.judge("A", &[("H1", "supported", None)]);
    let outcomes = planted.outcomes();
    assert!(matches!(outcomes[0], Outcome::Probability { supported: true, verdict, .. } if verdict == line.index));
    assert!(matches!(&outcomes[1], Outcome::Unresolved { why, .. } if why.contains("no hypothesis `H9`")));
    assert!(matches!(&outcomes[2], Outcome::Unresolved { why, .. } if why.contains("nothing could be estimated")));

    // Judged again with the same outcome the file still answers; with another, or gone, it does not.
    planted.judge("A", &[("H1", "supported", None)]);
    assert_eq!(planted.outcomes(), outcomes);
    planted.register("A");
    planted.judge("A", &[("H1", "refuted", None)]);
    assert!(matches!(&planted.outcomes()[0], Outcome::Unresolved { why, .. } if why.contains("replaced by another")));
    planted.verdicts.clear();
    assert!(matches!(&planted.outcomes()[0], Outcome::Unresolved { why, .. } if why.contains("missing")));
}

#[test]
fn a_verdict_of_an_older_registration_does_not_answer() {
    let mut planted = Planted::new(&["A"]);
    let old = planted.registry.registration("A").unwrap().hash.clone();
    planted.register("A");
    planted.forecast("ann", "A", "H1", p(0.9));
    let entry = Entry::Verdict {
        study: "A".to_owned(),
        scale: "small".to_owned(),
        registration: old,
        content: String::new(),
        outcome: Judgement::Refuted,
        p_values: BTreeMap::new(),
    };
    planted.registry.append(entry, 100).unwrap();
    assert_eq!(planted.outcomes(), [Outcome::Open]);
    planted.judge("A", &[("H1", "supported", None)]);
    assert!(matches!(planted.outcomes()[0], Outcome::Probability { supported: true, verdict: 4, .. }));
}

#[test]
fn a_forecast_written_by_hand_after_the_outcome_is_invalid() {
    let mut planted = Planted::new(&["A"]);
    planted.judge("A", &[("H1", "supported", None)]);
    let by_hand = |statement| Entry::Forecast {
        id: "F1".to_owned(),
        study: "A".to_owned(),
        hypothesis: "H1".to_owned(),
        scale: "small".to_owned(),
        by: "ann".to_owned(),
        statement,
        note: String::new(),
    };
    planted.registry.append(by_hand(p(1.0)), 100).unwrap();
    planted.register("A");
    planted.registry.append(by_hand(p(1.5)), 100).unwrap();
    planted.judge("A", &[("H1", "supported", None)]);
    let board = planted.score();
    assert!(matches!(&board.forecasts[0].outcome, Outcome::Invalid { why } if why.contains("line 2")), "{board:?}");
    assert!(matches!(&board.forecasts[1].outcome, Outcome::Invalid { why } if why.contains("1.5")), "{board:?}");
    assert_eq!(board.all.n_probabilities, 0);
}

#[test]
fn coverage_tells_calibrated_forecasters_from_sure_ones() {
    // 100 hypotheses whose estimates are 0.005, 0.015, …, 0.995: the middle 80 % and 50 % of these, both called 80 %.
    let names: Vec<String> = (0..100).map(|i| format!("H{i}")).collect();
    let mut planted = Planted::new(&["A"]);
    for name in &names {
        planted.forecast("calibrated", "A", name, interval(0.1, 0.9, 0.8));
        planted.forecast("sure", "A", name, interval(0.25, 0.75, 0.8));
    }
    let hypotheses: Vec<(&str, &str, Option<f64>)> =
        names.iter().enumerate().map(|(i, name)| (&**name, "undecided", Some((i as f64 + 0.5) / 100.0))).collect();
    planted.judge("A", &hypotheses);
    let board = planted.score();
    let of = |by: &str| board.forecasters[by].coverage[0];
    let (calibrated, sure) = (of("calibrated"), of("sure"));
    assert_eq!((calibrated.n, calibrated.n_covered, sure.n_covered), (100, 80, 50));
    assert!(calibrated.lower < 0.8 && 0.8 < calibrated.upper);
    assert!(sure.upper < 0.8);
    // Clopper–Pearson of 80 of 100, from the tables.
    assert!((calibrated.lower - 0.7082).abs() < 1e-4 && (calibrated.upper - 0.8733).abs() < 1e-4, "{calibrated:?}");
    assert_eq!(board.all.coverage[0].n_covered, 130);
}
