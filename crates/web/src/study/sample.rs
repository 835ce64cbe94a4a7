//! An invented study for the tests of this crate: every kind of row, value and end of an interval.

use std::collections::BTreeMap;

use ontogeny_store::{
    Atlas, AtlasRow, FigureForm, JudgedAttack, JudgedHypothesis, Judgement, Registered, StudyEffect, StudyFigure,
    StudyMark, StudyRun, StudyVerdict, UnitValue,
};

/// A study of twelve seeds with five hypotheses, four attacks and three figures.
pub(crate) fn study() -> StudyVerdict {
    let hypotheses = hypotheses();
    StudyVerdict {
        format: 1,
        id: "N5.3".to_owned(),
        question: "Does weight decay bring the fall of the test loss forward?".to_owned(),
        source: "Power et al. 2022, section 3.3".to_owned(),
        known: "Stronger decay shortens the delay on modular division (Power et al. 2022, figure 2).".to_owned(),
        limits: "One task, one network of two layers; decay up to 2.".to_owned(),
        scale: "small".to_owned(),
        outcome: Judgement::Supported,
        answer: "Yes: with twice the decay the test loss falls 0.31 nats of step sooner (95 % interval 0.22 to 0.41), in 10 of 12 seeds."
            .to_owned(),
        confirmatory: true,
        attacks: attacks(&hypotheses[0]),
        hypotheses,
        figures: vec![lines(), clouds(), doses()],
        runs: runs(),
        registration: Registered {
            index: 17,
            hash: "9f".repeat(32),
            time: 1_795_968_000,
            content: "3a".repeat(32),
            earlier: 2,
            chain_length: 18,
            chain_head: "c4".repeat(32),
        },
        version: "0.1.0".to_owned(),
        seconds: 11_530.0,
        time: 1_795_981_530,
    }
}

/// The study with `words` in place of all of its strings, but those that have a meaning of their own.
pub(crate) fn worded(words: &str) -> StudyVerdict {
    let mut study = study();
    let own = || words.to_owned();
    for text in [
        &mut study.id,
        &mut study.question,
        &mut study.source,
        &mut study.known,
        &mut study.limits,
        &mut study.scale,
        &mut study.answer,
        &mut study.version,
        &mut study.registration.hash,
        &mut study.registration.content,
        &mut study.registration.chain_head,
    ] {
        *text = own();
    }
    for attack in &mut study.attacks {
        for text in [&mut attack.kind, &mut attack.what, &mut attack.expect, &mut attack.hypothesis] {
            *text = own();
        }
    }
    let found = study.attacks.iter_mut().map(|attack| &mut attack.found);
    for hypothesis in study.hypotheses.iter_mut().chain(found) {
        for text in [&mut hypothesis.id, &mut hypothesis.claim, &mut hypothesis.statistic, &mut hypothesis.unit] {
            *text = own();
        }
        (hypothesis.basis, hypothesis.why) = (own(), Some(own()));
        if let Some(effect) = &mut hypothesis.effect {
            effect.name = own();
        }
        for unit in &mut hypothesis.values {
            unit.unit = own();
            unit.why = unit.why.is_some().then(own);
        }
    }
    // The rows keep their forms: one test and one direction of each is enough.
    (study.hypotheses[1].test, study.hypotheses[1].direction) = (own(), own());
    for figure in &mut study.figures {
        (figure.title, figure.x_label, figure.y_label) = (own(), own(), own());
        for mark in &mut figure.marks {
            (mark.group, mark.label) = (format!("{words}{}", mark.group), own());
        }
    }
    for run in &mut study.runs {
        (run.family, run.name, run.directory) = (own(), own(), own());
    }
    study
}

fn hypotheses() -> Vec<JudgedHypothesis> {
    let delay = JudgedHypothesis {
        id: "sooner".to_owned(),
        claim: "With twice the weight decay the largest fall of the test loss comes sooner.".to_owned(),
        quantity: "difference".to_owned(),
        statistic: "log(step(transition(base.loss.test))) - log(step(transition(double.loss.test)))".to_owned(),
        unit: "nats of step".to_owned(),
        test: "signed_rank".to_owned(),
        direction: "greater".to_owned(),
        smallest_effect: 0.1,
        no_effect: 0.0,
        alpha: 0.05,
        corrected_alpha: 0.01,
        outcome: Judgement::Supported,
        why: None,
        effect: Some(effect("pseudo-median", 0.31, Some(0.224), Some(0.405))),
        deciding: Some([Some(0.198), Some(0.437)]),
        p_value: Some(0.000_98),
        basis: "exact".to_owned(),
        power: Some(0.81),
        values: units(&[0.31, 0.22, 0.48, 0.41, 0.17, 0.27, 0.35, 0.3, 0.29, 0.33], 2),
        minimal_seeds: 8,
    };
    vec![
        delay.clone(),
        JudgedHypothesis {
            id: "unbounded".to_owned(),
            claim: "The delay at least doubles without decay.".to_owned(),
            direction: "greater".to_owned(),
            unit: "1".to_owned(),
            no_effect: 1.0,
            smallest_effect: 1.0,
            outcome: Judgement::Undecided,
            why: Some("three seeds leave the interval without an upper end".to_owned()),
            effect: Some(effect("median ratio", 2.4, Some(0.6), None)),
            deciding: Some([None, None]),
            p_value: Some(0.25),
            power: Some(0.12),
            values: units(&[2.4, 0.6, 9.8], 9),
            ..delay.clone()
        },
        JudgedHypothesis {
            id: "same_loss".to_owned(),
            claim: "The final test loss is the same.".to_owned(),
            quantity: "difference".to_owned(),
            statistic: "last(base.loss.test) - last(double.loss.test)".to_owned(),
            unit: "nats".to_owned(),
            test: "equivalence_t".to_owned(),
            direction: "within".to_owned(),
            smallest_effect: 2e-5,
            outcome: Judgement::Refuted,
            effect: Some(effect("mean difference", 4.2e-5, Some(2.9e-5), Some(5.5e-5))),
            deciding: Some([Some(3.1e-5), Some(5.3e-5)]),
            p_value: Some(0.98),
            power: None,
            values: units(
                &[4.1e-5, 3.3e-5, 6.2e-5, 4.9e-5, 1.8e-5, 3.8e-5, 4.2e-5, 4.4e-5, 4.6e-5, 5.1e-5, 3.7e-5, 4.0e-5],
                0,
            ),
            ..delay.clone()
        },
        JudgedHypothesis {
            id: "dose".to_owned(),
            claim: "The delay falls with the decay, over all doses.".to_owned(),
            test: "spearman".to_owned(),
            direction: "less".to_owned(),
            smallest_effect: 0.3,
            unit: "decades".to_owned(),
            effect: Some(effect("Spearman's ρ", -0.82, Some(-0.93), Some(-0.58))),
            deciding: Some([Some(-0.95), Some(-0.51)]),
            values: (0..24)
                .map(|i| UnitValue {
                    unit: format!("decay={},seed={}", i / 4, i % 4),
                    x: Some(f64::from(i / 4) * 0.4),
                    value: (i != 5).then(|| 2.2 - 0.12 * f64::from(i / 4) + 0.08 * noise(i)),
                    why: (i == 5).then(|| "loss.test has no transition".to_owned()),
                })
                .collect(),
            ..delay.clone()
        },
        JudgedHypothesis {
            id: "nothing".to_owned(),
            claim: "The learning coefficient at the end differs.".to_owned(),
            quantity: "difference".to_owned(),
            statistic: "last(base.llc.full) - last(double.llc.full)".to_owned(),
            direction: "either".to_owned(),
            unit: "1".to_owned(),
            smallest_effect: 5.0,
            outcome: Judgement::Undecided,
            why: Some("2 of 12 seeds have a value, of which 8 are needed".to_owned()),
            effect: None,
            deciding: None,
            p_value: None,
            basis: String::new(),
            power: None,
            values: units(&[4.0, -7.5], 10),
            ..delay
        },
    ]
}

fn attacks(claim: &JudgedHypothesis) -> Vec<JudgedAttack> {
    let attack = |kind: &str, what: &str, expect: &str, survived: Option<bool>, found: JudgedHypothesis| JudgedAttack {
        kind: kind.to_owned(),
        what: what.to_owned(),
        expect: expect.to_owned(),
        hypothesis: claim.id.clone(),
        survived,
        found,
    };
    let found = |outcome, effect| JudgedHypothesis { outcome, effect, ..claim.clone() };
    vec![
        attack(
            "other_seeds",
            "Twelve further seeds that no analysis had seen.",
            "holds",
            Some(true),
            found(Judgement::Supported, Some(effect("pseudo-median", 0.28, Some(0.19), Some(0.36)))),
        ),
        attack(
            "shuffled_labels",
            "Training labels shuffled, so that there is no rule to find.",
            "vanishes",
            Some(true),
            found(Judgement::Refuted, Some(effect("pseudo-median", 0.01, Some(-0.05), Some(0.06)))),
        ),
        attack(
            "other_optimiser",
            "SGD with momentum in place of AdamW.",
            "holds",
            Some(false),
            found(Judgement::Refuted, Some(effect("pseudo-median", -0.02, Some(-0.08), Some(0.05)))),
        ),
        attack(
            "finer_checkpoints",
            "Twice as many checkpoints.",
            "holds",
            None,
            JudgedHypothesis {
                why: Some("no seed has a value".to_owned()),
                deciding: None,
                values: units(&[], 3),
                ..found(Judgement::Undecided, None)
            },
        ),
    ]
}

fn effect(name: &str, estimate: f64, lower: Option<f64>, upper: Option<f64>) -> StudyEffect {
    StudyEffect { name: name.to_owned(), estimate, lower, upper }
}

/// These values, then so many seeds without one.
fn units(values: &[f64], n_undefined: usize) -> Vec<UnitValue> {
    let unit = |at: usize| format!("seed={}", 3_735_928_559_u32 - 7919 * at as u32);
    let defined = values.iter().enumerate().map(|(at, value)| UnitValue {
        unit: unit(at),
        x: None,
        value: Some(*value),
        why: None,
    });
    let undefined = (0..n_undefined).map(|at| UnitValue {
        unit: unit(values.len() + at),
        x: None,
        value: None,
        why: Some(if at % 2 == 0 { "loss.test has no transition" } else { "the run diverged" }.to_owned()),
    });
    defined.chain(undefined).collect()
}

fn lines() -> StudyFigure {
    let steps: Vec<f64> = (0..40).map(|i| (f64::from(i) / 39.0 * 3001_f64.ln()).exp_m1().round()).collect();
    let mark = |group: &str, fall: f64, seed: i32| {
        let value = |t: &f64| {
            let middle = fall.ln() + 0.25 * noise(seed);
            4.2 / (1.0 + (((t + 1.0).ln() - middle) / 0.12).exp()) + 0.02 + 0.01 * noise(seed + *t as i32)
        };
        let y = steps.iter().map(|t| (seed != 3 || *t < 900.0).then(|| value(t))).collect();
        StudyMark { group: group.to_owned(), label: format!("seed={seed}"), x: steps.clone(), y }
    };
    StudyFigure {
        title: "The test loss of every seed".to_owned(),
        x_label: "step".to_owned(),
        y_label: "loss.test (nats)".to_owned(),
        x_is_step: true,
        form: FigureForm::Lines,
        marks: (0..12)
            .flat_map(|s| [mark("weight decay 1", 1500.0, s), mark("weight decay 2", 900.0, s + 40)])
            .collect(),
    }
}

fn clouds() -> StudyFigure {
    let point = |i: i32| StudyMark {
        group: ["weight decay 1", "weight decay 2", "weight decay 0.5"][i as usize % 3].to_owned(),
        label: format!("seed={i}"),
        x: vec![0.4 + 0.5 * (1.0 + noise(i))],
        y: vec![Some(0.3 + 0.2 * noise(i) + 0.1 * noise(7 * i))],
    };
    StudyFigure {
        title: "Delay against the norm of the weights".to_owned(),
        x_label: "norm of the weights at step 100 (relative)".to_owned(),
        y_label: "delay (nats of step)".to_owned(),
        x_is_step: false,
        form: FigureForm::Points,
        marks: (0..36).map(point).collect(),
    }
}

/// More groups than there are colours.
fn doses() -> StudyFigure {
    let mark = |group: i32, seed: i32| StudyMark {
        group: format!("width {}", 8 << group),
        label: format!("seed={seed}"),
        x: vec![0.001, 0.01, 0.1, 1.0],
        y: (0..4)
            .map(|k| Some(1e-4 * 10_f64.powf(f64::from(k) * 0.8 + 0.1 * f64::from(group) + 0.1 * noise(seed))))
            .collect(),
    };
    StudyFigure {
        title: "Excess loss by width and noise".to_owned(),
        x_label: "noise of the gradient".to_owned(),
        y_label: "excess loss (nats)".to_owned(),
        x_is_step: false,
        form: FigureForm::Lines,
        marks: (0..10).flat_map(|group| (0..3).map(move |seed| mark(group, seed + 5 * group))).collect(),
    }
}

fn runs() -> Vec<StudyRun> {
    let run = |family: &str, at: u32| StudyRun {
        family: family.to_owned(),
        name: format!("seed={}", 3_735_928_559 - 7919 * at),
        directory: format!("runs/{family}-{at}-1f0c9e2b"),
        seed: 3_735_928_559 - 7919 * at,
        confirmatory: true,
        trajectory: "5d".repeat(32),
        chain_length: 18,
        chain_head: "c4".repeat(32),
    };
    ["base", "double"].into_iter().flat_map(|family| (0..12).map(move |at| run(family, at))).collect()
}

/// Deterministic noise in [−1, 1].
fn noise(at: i32) -> f64 {
    (f64::from(at) * 12.9898 + 1.3).sin()
}

/// An atlas with a study of each verdict, one that has not been run, and questions left out.
pub(crate) fn atlas() -> Atlas {
    let row = |id: &str, question: &str, outcome: Option<Judgement>| {
        let mut verdict = study();
        (verdict.id, verdict.question) = (id.to_owned(), question.to_owned());
        if let Some(outcome) = outcome {
            verdict.outcome = outcome;
            if outcome != Judgement::Supported {
                // The answering hypothesis is another one.
                verdict.hypotheses.swap(0, if outcome == Judgement::Refuted { 2 } else { 1 });
                verdict.answer = format!(
                    "The question is {}, by numbers.",
                    ["refuted", "undecided"][usize::from(outcome == Judgement::Undecided)]
                );
                verdict.confirmatory = outcome == Judgement::Refuted;
                if !verdict.confirmatory {
                    (verdict.runs[11].seed, verdict.runs[11].confirmatory) = (11, false);
                }
            }
        }
        AtlasRow {
            id: id.to_owned(),
            question: question.to_owned(),
            q_values: verdict
                .hypotheses
                .iter()
                .filter_map(|h| Some((h.id.clone(), (h.p_value? * 1.7).min(1.0))))
                .collect(),
            verdict: outcome.map(|_| verdict),
        }
    };
    Atlas {
        studies: vec![
            row("N1.1", "Do induction heads form in one transition?", Some(Judgement::Supported)),
            row("N1.2", "Is the final loss the same for any decay?", Some(Judgement::Refuted)),
            row("N2.7", "Does the delay double without any weight decay at all?", Some(Judgement::Undecided)),
            row("N5.3", "Does weight decay bring the fall of the test loss forward?", Some(Judgement::Supported)),
            row("N9.9", "Are stages of a ResNet the same on every data set?", None),
        ],
        left_out: BTreeMap::from([
            ("N3.1".to_owned(), "Needs networks of a billion parameters.".to_owned()),
            ("N3.2".to_owned(), "The question has no claim that a number could refute.".to_owned()),
        ]),
    }
}
