//! Planted truths and null studies through the whole judgement: expressions, tests, correction, power, verdict.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use ontogeny_stats::hypothesis::simulated_power;
use ontogeny_store::{
    Coordinate, JudgedAttack, JudgedHypothesis, Judgement, Nested, Observable, RunInfo, RunView, Status,
};
use ontogeny_study::Scale;

use crate::bench::{Bench, BenchRun, FamilyRuns};
use crate::catalog::expressions;
use crate::study_file::StudyFile;

/// A run whose series `x` and `y` have one value each.
fn view(seed: u32, x: f64, y: f64) -> RunView {
    let series = |value: f64| Observable {
        kind: "loss".to_owned(),
        unit: "nats".to_owned(),
        description: String::new(),
        dims: vec!["step".to_owned()],
        coordinates: BTreeMap::from([("step".to_owned(), vec![Coordinate::Number(0)])]),
        values: Nested { shape: vec![1], values: vec![Some(value)] },
        standard_errors: Nested { shape: vec![1], values: vec![None] },
        status: vec![Status::Done],
        details: vec![BTreeMap::new()],
        shown: BTreeMap::new(),
    };
    RunView {
        run: RunInfo {
            title: String::new(),
            directory: String::new(),
            version: String::new(),
            instruction_set: String::new(),
            seed: u64::from(seed),
            configuration: format!("[train]\nrate = {}\n", f64::from(seed % 3)),
            hashes: BTreeMap::new(),
            command: String::new(),
        },
        checkpoints: vec![0],
        observables: BTreeMap::from([("x".to_owned(), series(x)), ("y".to_owned(), series(y))]),
        transitions: Vec::new(),
        stages: Vec::new(),
        intervals: Vec::new(),
        calibrations: BTreeMap::new(),
        trajectories: BTreeMap::new(),
        change_points: None,
        warnings: None,
        parts: BTreeMap::new(),
        fluctuations: BTreeMap::new(),
        training: None,
    }
}

fn file(hypotheses: &str) -> StudyFile {
    let head = "id = \"T\"\nquestion = \"?\"\nsource = \"a test\"\n[runs.a]\npreset = \"none\"\n";
    StudyFile::parse(Path::new("T.toml"), &format!("{head}{hypotheses}"), Scale::Full).unwrap()
}

/// Judges a study of one family, whose runs have these values of x and y.
fn judged(file: &StudyFile, values: &[(f64, f64)]) -> (Vec<JudgedHypothesis>, Vec<JudgedAttack>) {
    let expressions = expressions(file, Path::new("T.toml")).unwrap();
    let run =
        |(at, (x, y)): (usize, &(f64, f64))| BenchRun { seed: at as u32, view: Ok(Arc::new(view(at as u32, *x, *y))) };
    let runs = FamilyRuns { conditions: vec![Vec::new()], runs: vec![values.iter().enumerate().map(run).collect()] };
    let variants = 0..=file.attacks.len();
    let families = variants.map(|variant| ((variant, "a".to_owned()), runs.clone())).collect();
    let bench = Bench::new(file, &expressions, families);
    let found = super::hypotheses(&bench);
    let attacks = super::attacks(&bench, &found);
    (found, attacks)
}

fn hypothesis(id: &str, statistic: &str, test: &str, more: &str) -> String {
    format!(
        "[[hypothesis]]\nid = \"{id}\"\nclaim = \"c\"\nquantity = \"q\"\nstatistic = \"{statistic}\"\ntest = \"{test}\"\n{more}\n"
    )
}

/// Normal values from a fixed stream.
fn normals(seed: u64, n: usize) -> Vec<f64> {
    let drawn = std::cell::RefCell::new(Vec::new());
    simulated_power(1, seed, |draws| {
        *drawn.borrow_mut() = (0..n).map(|_| draws.normal()).collect();
        Ok(false)
    })
    .unwrap();
    drawn.into_inner()
}

#[test]
fn planted_claims_are_supported_refuted_and_undecided() {
    let file = file(
        &[
            hypothesis("true", "first(x)", "signed_rank", "smallest_effect = 1.0"),
            hypothesis("false", "first(y)", "signed_rank", "smallest_effect = 1.0"),
            hypothesis("too_few", "first(x)", "signed_rank", "smallest_effect = 1.0\nminimal_seeds = 20"),
            hypothesis("weak", "first(y) * 40", "t", "smallest_effect = 1.0"),
            hypothesis("same", "first(y)", "equivalence_t", "smallest_effect = 0.5"),
            hypothesis("apart", "first(x)", "equivalence_t", "smallest_effect = 0.5"),
        ]
        .concat(),
    );
    let noise = normals(7, 24);
    let values: Vec<(f64, f64)> = noise.chunks(2).map(|pair| (2.0 + 0.3 * pair[0], 0.1 * pair[1])).collect();
    let (found, _) = judged(&file, &values);
    let outcome = |id: &str| found.iter().find(|h| h.id == id).unwrap().outcome;
    assert_eq!(outcome("true"), Judgement::Supported);
    assert_eq!(outcome("false"), Judgement::Refuted);
    assert_eq!(outcome("too_few"), Judgement::Undecided);
    assert_eq!(outcome("weak"), Judgement::Undecided);
    assert_eq!(outcome("same"), Judgement::Supported);
    assert_eq!(outcome("apart"), Judgement::Refuted);
    let few = found.iter().find(|h| h.id == "too_few").unwrap();
    assert!(few.why.as_ref().unwrap().contains("12 of 12 units have a value, and the study asks for 20"), "{few:?}");
    let power = |id: &str| found.iter().find(|h| h.id == id).unwrap().power.unwrap();
    assert!(power("true") > 0.95 && power("weak") < 0.3, "{} {}", power("true"), power("weak"));
    // Holm: the smallest of six p-values is held against α/6.
    assert!(found.iter().any(|h| (h.corrected_alpha - 0.05 / 6.0).abs() < 1e-12));
    assert!(found.iter().all(|h| h.corrected_alpha >= 0.05 / 6.0 - 1e-12 && h.corrected_alpha <= 0.05));
}

#[test]
fn pairs_of_seeds_and_values_that_are_missing() {
    let file = file(
        &[
            hypothesis("pairs", "abs(first(x) - first(other.x))", "t", "smallest_effect = 0.1\nminimal_seeds = 2"),
            hypothesis("logs", "log(first(y))", "t", "smallest_effect = 0.1\nminimal_seeds = 2"),
            hypothesis("nothing", "first(z)", "t", "smallest_effect = 0.1"),
        ]
        .concat(),
    );
    let (found, _) = judged(&file, &[(1.0, 1.0), (3.0, -1.0), (1.0, 2.0), (4.0, 3.0), (0.0, 4.0)]);
    assert_eq!(
        found[0].values.iter().map(|v| v.value.unwrap()).collect::<Vec<_>>(),
        [2.0, 3.0],
        "the fifth has no other"
    );
    assert_eq!(found[0].values[1].unit, "seed=2 and 3");
    assert_eq!(found[1].values.iter().filter(|v| v.value.is_some()).count(), 4);
    assert!(found[1].values[1].why.is_some());
    assert_eq!((found[2].outcome, found[2].p_value), (Judgement::Undecided, None));
    assert!(found[2].why.as_ref().unwrap().contains('z'), "{:?}", found[2].why);
}

#[test]
fn attacks_bring_down_what_is_everywhere() {
    let file = file(&format!(
        "{}[[attack]]\nkind = \"placebo\"\nwhat = \"the same at another place\"\nstatistic = \"first(y)\"\n\
         [[attack]]\nkind = \"placebo\"\nwhat = \"the same again\"\nstatistic = \"first(x)\"\n\
         [[attack]]\nkind = \"other_settings\"\nwhat = \"twice as much\"\nstatistic = \"2 * first(x)\"\n\
         [[attack]]\nkind = \"other_settings\"\nwhat = \"nothing\"\nstatistic = \"first(y)\"\n",
        hypothesis("h", "first(x)", "signed_rank", "smallest_effect = 1.0")
    ));
    let noise = normals(3, 16);
    let values: Vec<(f64, f64)> = noise.chunks(2).map(|pair| (2.0 + 0.2 * pair[0], 0.1 * pair[1])).collect();
    let (_, attacks) = judged(&file, &values);
    let survived: Vec<Option<bool>> = attacks.iter().map(|attack| attack.survived).collect();
    assert_eq!(survived, [Some(true), Some(false), Some(true), Some(false)]);
}

/// What an attack does to the other claims stands in the answer as well.
#[test]
fn the_answer_tells_which_other_claims_fell() {
    let attack =
        "[[attack]]\nkind = \"placebo\"\nwhat = \"the same again\"\nstatistic = \"first(x)\"\nhypotheses = [\"b\"]\n";
    let claims = ["a", "b", "c"].map(|id| hypothesis(id, "first(x)", "signed_rank", "smallest_effect = 1.0"));
    let values: Vec<(f64, f64)> = normals(3, 8).iter().map(|noise| (2.0 + 0.2 * noise, 0.0)).collect();
    let (found, attacks) = judged(&file(&format!("{}{attack}", claims.concat())), &values);
    let answer = crate::words::answer(&found, &attacks, true);
    assert!(answer.ends_with("; of the other hypotheses 2 supported (1 fell in an attack)."), "{answer}");
}

/// What is refuted must be refuted again, and a control where nothing is says nothing of it; what is undecided has nothing to lose.
#[test]
fn attacks_on_what_is_not_supported() {
    let attacks = "[[attack]]\nkind = \"other_settings\"\nwhat = \"half\"\nstatistic = \"first(y) / 2\"\n\
                   [[attack]]\nkind = \"other_settings\"\nwhat = \"where it is\"\nstatistic = \"first(x)\"\n\
                   [[attack]]\nkind = \"placebo\"\nwhat = \"elsewhere\"\nstatistic = \"first(y) * 2\"\n";
    let noise = normals(3, 16);
    let values: Vec<(f64, f64)> = noise.chunks(2).map(|pair| (2.0 + 0.2 * pair[0], 0.1 * pair[1])).collect();
    let refuted = file(&format!("{}{attacks}", hypothesis("h", "first(y)", "signed_rank", "smallest_effect = 1.0")));
    let (found, judged_attacks) = judged(&refuted, &values);
    assert_eq!(found[0].outcome, Judgement::Refuted);
    assert_eq!(judged_attacks.iter().map(|a| a.survived).collect::<Vec<_>>(), [Some(true), Some(false), None]);
    let answer = crate::words::answer(&found, &judged_attacks, true);
    assert!(answer.contains("; refuted again in 1 of 2 attacks, supported in 1"), "{answer}");
    let undecided =
        file(&format!("{}{attacks}", hypothesis("h", "first(x)", "t", "smallest_effect = 1.0\nminimal_seeds = 9")));
    let (found, judged_attacks) = judged(&undecided, &values);
    assert_eq!(found[0].outcome, Judgement::Undecided);
    assert!(judged_attacks.iter().all(|attack| attack.survived.is_none()));
    assert!(!crate::words::answer(&found, &judged_attacks, true).contains("attack"));
}

#[test]
fn correlations_fall_when_units_are_shuffled() {
    let file = file(&format!(
        "{}[[attack]]\nkind = \"shuffled_units\"\nwhat = \"values of other seeds\"\n",
        hypothesis("h", "first(y)", "spearman", "against = \"first(x)\"\nsmallest_effect = 0.5")
    ));
    let noise = normals(11, 40);
    let values: Vec<(f64, f64)> = noise.chunks(2).map(|pair| (pair[0], pair[0] + 0.2 * pair[1])).collect();
    let (found, attacks) = judged(&file, &values);
    assert_eq!(found[0].outcome, Judgement::Supported);
    assert!(found[0].effect.as_ref().unwrap().estimate > 0.9);
    assert_eq!(attacks[0].survived, Some(true), "{:?}", attacks[0].found);
}

/// A run of 5 + 5, 5 + 5 + 5 or 24 units; the values of a family that varies are those of its conditions one after another.
fn judged_families(
    file: &StudyFile,
    by_family: &[(&str, Vec<Vec<f64>>)],
) -> (Vec<JudgedHypothesis>, Vec<JudgedAttack>) {
    let expressions = expressions(file, Path::new("T.toml")).unwrap();
    let mut families = BTreeMap::new();
    for (name, conditions) in by_family {
        let run = |at: usize, x: f64| BenchRun { seed: at as u32, view: Ok(Arc::new(view(at as u32, x, 0.0))) };
        let runs = FamilyRuns {
            conditions: file.runs[*name].conditions().unwrap(),
            runs: conditions
                .iter()
                .enumerate()
                // The rate of a run is its seed modulo 3: seeds of a condition are those with its rate.
                .map(|(c, values)| values.iter().enumerate().map(|(i, x)| run(3 * i + c, *x)).collect())
                .collect(),
        };
        for variant in 0..=file.attacks.len() {
            families.insert((variant, (*name).to_owned()), runs.clone());
        }
    }
    let bench = Bench::new(file, &expressions, families);
    let found = super::hypotheses(&bench);
    let attacks = super::attacks(&bench, &found);
    (found, attacks)
}

#[test]
fn runs_of_their_own_at_each_dose() {
    let head = "id = \"T\"\nquestion = \"?\"\nsource = \"a test\"\n[runs.a]\npreset = \"none\"\nown_seeds = true\n\
                vary = { \"train.rate\" = [0.0, 1.0, 2.0] }\n";
    let claim = hypothesis("h", "first(x)", "jonckheere", "against = \"setting.train.rate\"\nsmallest_effect = 0.5");
    let attack = "[[attack]]\nkind = \"shuffled_units\"\nwhat = \"runs at other doses\"\n";
    let file = StudyFile::parse(Path::new("T.toml"), &format!("{head}{claim}{attack}"), Scale::Full).unwrap();
    let noise = normals(2, 15);
    let at = |dose: f64, noise: &[f64]| noise.iter().map(|e| 2.0 * dose + 0.3 * e).collect::<Vec<f64>>();
    let rising = vec![at(0.0, &noise[..5]), at(1.0, &noise[5..10]), at(2.0, &noise[10..])];
    let (found, attacks) = judged_families(&file, &[("a", rising)]);
    let h = &found[0];
    assert_eq!((h.outcome, h.basis.as_str(), h.values.len()), (Judgement::Supported, "exact", 15), "{h:?}");
    let effect = h.effect.as_ref().unwrap();
    assert!((effect.estimate - 2.0).abs() < 0.3 && effect.lower.unwrap() > 1.0, "{effect:?}");
    assert_eq!(attacks[0].survived, Some(true), "{:?}", attacks[0].found);
    assert!(h.power.unwrap() > 0.5, "{:?}", h.power);
    let level = vec![at(0.0, &noise[..5]), at(0.0, &noise[5..10]), at(0.0, &noise[10..])];
    assert_eq!(judged_families(&file, &[("a", level.clone())]).0[0].outcome, Judgement::Refuted);
    // A measured dose is another for every run.
    let measured = hypothesis("h", "first(x)", "jonckheere", "against = \"first(x)\"\nsmallest_effect = 0.5");
    let file = StudyFile::parse(Path::new("T.toml"), &format!("{head}{measured}"), Scale::Full).unwrap();
    let (found, _) = judged_families(&file, &[("a", level)]);
    assert!(found[0].why.as_ref().unwrap().contains("15 values over 3 conditions"), "{:?}", found[0].why);
}

/// Two small falls among eight rises and falls are chance to ranks, while the interval of the slopes excludes 0: the page says which of both
/// withheld the verdict.
#[test]
fn what_the_p_value_withholds_is_told() {
    let head = "id = \"T\"\nquestion = \"?\"\nsource = \"a test\"\n[runs.a]\npreset = \"none\"\n\
                vary = { \"train.rate\" = [0.0, 1.0] }\n";
    let claim = hypothesis("h", "first(x)", "page", "against = \"setting.train.rate\"\nsmallest_effect = 0.1");
    let file = StudyFile::parse(Path::new("T.toml"), &format!("{head}{claim}"), Scale::Full).unwrap();
    let rises = [vec![1.0; 6], vec![-0.01; 2]].concat();
    let (found, _) = judged_families(&file, &[("a", vec![vec![0.0; 8], rises])]);
    let [lower, _] = found[0].deciding.unwrap();
    assert!(found[0].outcome == Judgement::Undecided && lower.unwrap() > 0.4, "{found:?}");
    let why = found[0].why.as_ref().unwrap();
    // 37/256: six or more rises of eight.
    assert!(
        why.contains("excludes no effect, the p-value of `page`, 0.145, is above the corrected α of 0.05"),
        "{why}"
    );
}

#[test]
fn two_samples_by_permutation() {
    let head = "id = \"T\"\nquestion = \"?\"\nsource = \"a test\"\n[runs.a]\npreset = \"none\"\n[runs.b]\npreset = \"none\"\n\
                own_seeds = true\n";
    let claim = hypothesis("h", "first(x)", "permutation", "runs = \"a\"\nagainst = \"b\"\nsmallest_effect = 1.0");
    let attack = "[[attack]]\nkind = \"shuffled_units\"\nwhat = \"runs of the other family\"\n";
    let file = StudyFile::parse(Path::new("T.toml"), &format!("{head}{claim}{attack}"), Scale::Full).unwrap();
    let (a, b) = (vec![5.0, 5.5, 6.1, 4.8, 5.3], vec![2.2, 1.9, 2.6, 2.4, 2.0]);
    let (found, attacks) = judged_families(&file, &[("a", vec![a]), ("b", vec![b])]);
    // All of the first are above all of the second: 1 of C(10, 5) = 252 arrangements.
    assert!((found[0].p_value.unwrap() - 1.0 / 252.0).abs() < 1e-12, "{found:?}");
    assert_eq!((found[0].outcome, attacks[0].survived), (Judgement::Supported, Some(true)), "{attacks:?}");
}

#[test]
fn a_mean_by_signs_and_by_resampling() {
    let file = file(
        &[
            hypothesis("signs", "first(x)", "sign_flip", "smallest_effect = 1.0"),
            hypothesis("boot", "first(x)", "bootstrap", "smallest_effect = 1.0"),
            hypothesis("none", "first(y)", "sign_flip", "smallest_effect = 1.0"),
            hypothesis("nothing", "first(y)", "bootstrap", "smallest_effect = 1.0"),
        ]
        .concat(),
    );
    let noise = normals(9, 48);
    let values: Vec<(f64, f64)> = noise.chunks(2).map(|pair| (2.0 + 0.5 * pair[0], 0.5 * pair[1])).collect();
    let (found, _) = judged(&file, &values);
    let outcomes: Vec<Judgement> = found.iter().map(|h| h.outcome).collect();
    assert_eq!(outcomes, [Judgement::Supported, Judgement::Supported, Judgement::Refuted, Judgement::Refuted]);
    let ends =
        |h: &JudgedHypothesis| (h.effect.as_ref().unwrap().lower.unwrap(), h.effect.as_ref().unwrap().upper.unwrap());
    let ((a, b), (c, d)) = (ends(&found[0]), ends(&found[1]));
    // 24 units: both intervals are about the mean ± 2.07 standard errors of 0.1.
    assert!((a - c).abs() < 0.06 && (b - d).abs() < 0.06, "{a} {b} {c} {d}");
    assert!(found[1].power.unwrap() > 0.95, "{:?}", found[1].power);
    let (few, _) = judged(&file, &values[..8]);
    assert_eq!(few[0].outcome, Judgement::Supported);
    assert!(few[1].why.as_ref().unwrap().contains("20"), "{:?}", few[1].why);
}

/// Six units cannot be told apart from nothing at 0.05/4, and the page says so.
#[test]
fn too_few_units_for_holm_are_told() {
    let all: String =
        (0..4).map(|i| hypothesis(&format!("h{i}"), "first(x)", "signed_rank", "smallest_effect = 1.0")).collect();
    let (found, _) = judged(&file(&all), &[(2.0, 0.0), (2.1, 0.0), (2.2, 0.0), (2.3, 0.0), (2.4, 0.0), (2.5, 0.0)]);
    assert!(found.iter().all(|h| h.outcome == Judgement::Undecided));
    assert!(
        found[0].why.as_ref().unwrap().contains("with 6 units `signed_rank` supports nothing"),
        "{:?}",
        found[0].why
    );
}

/// 1,000 studies without any effect, each of one hypothesis: the share supported is at most α + 2.33·√(α(1 − α)/1000), the
/// 99 % point of 1,000 studies that err with probability α.
#[test]
fn null_studies_are_rarely_supported() {
    let alpha: f64 = 0.05;
    let bound = alpha + 2.33 * (alpha * (1.0 - alpha) / 1000.0).sqrt();
    for (test, more) in [
        ("t", ""),
        ("signed_rank", ""),
        ("sign_flip", ""),
        ("spearman", "against = \"first(x)\""),
        ("prediction", "features = [\"first(x)\"]"),
    ] {
        // Whatever the smallest effect of interest: none is there.
        let file = file(&hypothesis("h", "first(y)", test, &format!("smallest_effect = 0.01\n{more}")));
        let mut n_supported = 0;
        for study in 0..1000 {
            let noise = normals(study, 16);
            let values: Vec<(f64, f64)> = noise.chunks(2).map(|pair| (pair[0], pair[1])).collect();
            n_supported += usize::from(judged(&file, &values).0[0].outcome == Judgement::Supported);
        }
        let share = f64::from(n_supported as u32) / 1000.0;
        println!("{test}: {share} supported");
        assert!(share <= bound, "{test}: {share} of null studies are supported, more than {bound}");
    }
}

/// A family of five hypotheses: the chance that any is supported is bounded too.
#[test]
fn holm_bounds_any_false_support() {
    let names = ["first(y)", "first(x)", "first(x) + first(y)", "first(x) - first(y)", "first(y) * 3"];
    let all: String =
        names.iter().enumerate().map(|(i, s)| hypothesis(&format!("h{i}"), s, "t", "smallest_effect = 0.01")).collect();
    let file = file(&all);
    let n_any = (0..1000).filter(|study| {
        let noise = normals(5000 + study, 16);
        let values: Vec<(f64, f64)> = noise.chunks(2).map(|pair| (pair[0], pair[1])).collect();
        judged(&file, &values).0.iter().any(|h| h.outcome == Judgement::Supported)
    });
    let share = n_any.count() as f64 / 1000.0;
    println!("any of five: {share} supported");
    assert!(share <= 0.05 + 2.33 * (0.05_f64 * 0.95 / 1000.0).sqrt(), "{share}");
}
