//! From the runs of a study to its judged hypotheses and attacks.

use std::collections::{BTreeMap, BTreeSet};

use ontogeny_stats::holm_rates;
use ontogeny_stats::hypothesis::{Basis, Interval, RunEvents, RunRows, Verdict};
use ontogeny_store::{JudgedAttack, JudgedHypothesis, Judgement, StudyEffect, UnitValue};

use crate::bench::{Bench, Place, Reading};
use crate::estimate::{Claim, Estimate, Sample};
use crate::expression::{Undefined, Value};
use crate::power::power;
use crate::study_file::{Attack, AttackKind, Direction, Expect, Hypothesis, TestKind};
use crate::words;

/// A hypothesis with its data, before any correction.
struct Gathered {
    units: Vec<UnitValue>,
    sample: Result<Sample, String>,
    n_defined: usize,
}

/// All hypotheses of the study, corrected for one another by Holm's method.
pub(crate) fn hypotheses(bench: &Bench<'_>) -> Vec<JudgedHypothesis> {
    let all: Vec<Gathered> = bench.study.hypotheses.iter().map(|h| gather(bench, h, 0, None)).collect();
    let tested: Vec<Option<Result<Estimate, String>>> =
        bench.study.hypotheses.iter().zip(&all).map(|(h, gathered)| test(h, gathered)).collect();
    let p_values: Vec<f64> =
        tested.iter().map(|t| t.as_ref().and_then(|t| t.as_ref().ok()).map_or(1.0, |e| e.p_value)).collect();
    let judged = bench.study.hypotheses.iter().zip(all).zip(tested).enumerate();
    judged
        .map(|(at, ((h, gathered), tested))| {
            let alpha = h.alpha.unwrap_or(bench.study.alpha);
            let corrected = holm_rates(&p_values, p_values.len(), alpha)[at];
            judge(h, gathered, tested, alpha, corrected)
        })
        .collect()
}

/// All attacks, one entry for each hypothesis attacked; `claims` are the judged hypotheses.
pub(crate) fn attacks(bench: &Bench<'_>, claims: &[JudgedHypothesis]) -> Vec<JudgedAttack> {
    let mut judged = Vec::new();
    for (k, attack) in bench.study.attacks.iter().enumerate() {
        let is_attacked = |h: &&Hypothesis| attack.hypotheses.is_empty() || attack.hypotheses.contains(&h.id);
        for h in bench.study.hypotheses.iter().filter(is_attacked) {
            let gathered = gather(bench, h, k + 1, Some(attack));
            let alpha = h.alpha.unwrap_or(bench.study.alpha);
            let tested = test(h, &gathered);
            let mut found = judge(h, gathered, tested, alpha, alpha);
            if let Some(statistic) = &attack.statistic {
                found.statistic.clone_from(statistic);
            }
            judged.push(JudgedAttack {
                kind: attack.kind.name().to_owned(),
                what: attack.what.clone(),
                expect: attack.expectation().name().to_owned(),
                hypothesis: h.id.clone(),
                survived: claims
                    .iter()
                    .find(|claim| claim.id == h.id)
                    .and_then(|claim| survived(claim.outcome, &found, attack.expectation())),
                found,
            });
        }
    }
    judged
}

/// Whether the verdict on a claim survives what an attack found. Of a claim that is supported `holds` needs the effect, `vanishes` none. One
/// that is refuted must be refuted where it should hold; controls without an effect say nothing of it. An undecided one has nothing to lose.
fn survived(claim: Judgement, found: &JudgedHypothesis, expect: Expect) -> Option<bool> {
    match claim {
        Judgement::Supported => {}
        Judgement::Refuted if expect == Expect::Holds => {
            return (found.outcome != Judgement::Undecided).then_some(found.outcome == Judgement::Refuted);
        }
        Judgement::Refuted | Judgement::Undecided => return None,
    }
    match (expect, found.outcome) {
        (Expect::Holds, Judgement::Supported) | (Expect::Vanishes, Judgement::Refuted) => Some(true),
        (Expect::Holds, Judgement::Refuted) | (Expect::Vanishes, Judgement::Supported) => Some(false),
        (Expect::Holds, Judgement::Undecided) => None,
        (Expect::Vanishes, Judgement::Undecided) => {
            // Undecided with an interval about no effect and an estimate below the smallest of interest: nothing is there to see.
            let effect = found.effect.as_ref()?;
            let is_equivalence = found.direction == "within";
            let [lower, upper] = found.deciding?;
            let holds_none = lower.is_none_or(|l| l <= found.no_effect) && upper.is_none_or(|u| u >= found.no_effect);
            let is_small = (effect.estimate - found.no_effect).abs() < found.smallest_effect;
            (!is_equivalence && holds_none && is_small).then_some(true)
        }
    }
}

fn judge(
    h: &Hypothesis,
    gathered: Gathered,
    tested: Option<Result<Estimate, String>>,
    alpha: f64,
    corrected_alpha: f64,
) -> JudgedHypothesis {
    let claim = Claim::of(h);
    let mut judged = JudgedHypothesis {
        id: h.id.clone(),
        claim: h.claim.clone(),
        statistic: h.statistic.clone(),
        quantity: h.quantity.clone(),
        unit: h.unit.clone(),
        test: h.test.name().to_owned(),
        direction: match h.direction {
            _ if h.test.is_equivalence() => "within",
            Direction::Greater => "greater",
            Direction::Less => "less",
            Direction::Either => "either",
        }
        .to_owned(),
        smallest_effect: h.smallest_effect,
        no_effect: h.no_effect,
        alpha,
        corrected_alpha,
        outcome: Judgement::Undecided,
        why: None,
        effect: None,
        deciding: None,
        p_value: None,
        basis: String::new(),
        power: None,
        values: gathered.units,
        minimal_seeds: h.minimal_seeds,
    };
    let estimate = match tested {
        None => {
            let n = gathered.n_defined;
            let reason = judged.values.iter().find_map(|unit| unit.why.clone());
            let reason = reason.map(|why| format!("; {why}")).unwrap_or_default();
            judged.why = Some(format!(
                "{n} of {} units have a value, and the study asks for {}{reason}",
                judged.values.len(),
                h.minimal_seeds
            ));
            return judged;
        }
        Some(Err(why)) => {
            judged.why = Some(why);
            return judged;
        }
        Some(Ok(estimate)) => estimate,
    };
    let Ok(sample) = &gathered.sample else { return judged };
    let at = |level: f64| claim.estimate(sample, level);
    let deciding = match at(claim.deciding_level(corrected_alpha)) {
        Ok(found) => found,
        Err(error) => {
            judged.why = Some(error.to_string());
            return judged;
        }
    };
    let back = |interval: Interval| {
        let end = |value: f64| Some(value + h.no_effect).filter(|v| v.is_finite());
        [end(interval.lower), end(interval.upper)]
    };
    let [lower, upper] = back(at(0.95).map_or(Interval::everything(0.95), |found| found.interval));
    judged.effect =
        Some(StudyEffect { name: estimate.name.to_owned(), estimate: estimate.effect + h.no_effect, lower, upper });
    judged.deciding = Some(back(deciding.interval));
    judged.p_value = Some(estimate.p_value);
    judged.basis = basis(estimate.basis);
    judged.power = power(claim, sample, corrected_alpha);
    // By the interval alone, at α = 1, it would be supported.
    let is_withheld = || claim.verdict(&deciding, 1.0) == Ok(Verdict::Supported);
    match claim.verdict(&deciding, corrected_alpha) {
        Ok(Verdict::Supported) => judged.outcome = Judgement::Supported,
        Ok(Verdict::Refuted) => judged.outcome = Judgement::Refuted,
        Ok(Verdict::Undecided) if claim.can_support(sample, corrected_alpha) == Ok(false) => {
            judged.why = Some(format!(
                "with {} units `{}` supports nothing at the corrected α of {}, whatever the values",
                gathered.n_defined,
                h.test.name(),
                words::number(corrected_alpha)
            ));
        }
        Ok(Verdict::Undecided) if is_withheld() => {
            judged.why = Some(format!(
                "the interval of the {} excludes no effect, the p-value of `{}`, {}, is above the corrected α of {}",
                estimate.name,
                h.test.name(),
                words::number(deciding.p_value),
                words::number(corrected_alpha)
            ));
        }
        Ok(Verdict::Undecided) => {}
        Err(error) => judged.why = Some(error.to_string()),
    }
    judged
}

fn basis(basis: Basis) -> String {
    match basis {
        Basis::Exact => "exact".to_owned(),
        Basis::MonteCarlo { n } => format!("{} arrangements", words::grouped(n)),
        Basis::Normal => "normal values".to_owned(),
    }
}

/// Tests the claim; `None` where too few units have a value.
fn test(h: &Hypothesis, gathered: &Gathered) -> Option<Result<Estimate, String>> {
    if gathered.n_defined < h.minimal_seeds {
        return None;
    }
    let sample = match &gathered.sample {
        Ok(sample) => sample,
        Err(why) => return Some(Err(why.clone())),
    };
    Some(Claim::of(h).estimate(sample, 0.95).map_err(|error| format!("the test cannot be done: {error}")))
}

/// The values of all units of a hypothesis, in the runs of a variant.
fn gather(bench: &Bench<'_>, h: &Hypothesis, variant: usize, attack: Option<&Attack>) -> Gathered {
    let statistic = attack.and_then(|attack| attack.statistic.as_ref()).unwrap_or(&h.statistic);
    let Some(family) = h.runs.clone().or_else(|| bench.study.runs.keys().next().cloned()) else {
        return Gathered { units: Vec::new(), sample: Err("there are no runs".to_owned()), n_defined: 0 };
    };
    let mut gathered = match h.test {
        test if test.is_of_two_samples() => two_samples(bench, h, statistic, variant, &family),
        TestKind::Page => doses(bench, h, statistic, variant, &family),
        TestKind::Jonckheere => groups(bench, h, statistic, variant, &family),
        TestKind::Spearman | TestKind::Kendall => pairs(bench, h, statistic, variant, &family),
        TestKind::Precision | TestKind::Recall => events(bench, h, statistic, variant, &family),
        TestKind::Prediction => rows(bench, h, statistic, variant, &family),
        _ => {
            let units = one_sample(bench, statistic, variant, &family);
            let values: Vec<f64> = units.iter().filter_map(|unit| unit.value).collect();
            Gathered { n_defined: values.len(), sample: Ok(Sample::One(values)), units }
        }
    };
    if attack.is_some_and(|attack| attack.kind == AttackKind::ShuffledUnits) {
        gathered.shuffle();
    }
    gathered
}

/// One value for each seed, or for each pair of seeds where the statistic speaks of the `other`. Over a family that varies
/// names are lists over its conditions.
fn one_sample(bench: &Bench<'_>, statistic: &str, variant: usize, family: &str) -> Vec<UnitValue> {
    let Some(runs) = bench.family(variant, family) else { return Vec::new() };
    let reading = if runs.conditions.len() > 1 { Reading::OverConditions } else { Reading::OneRun };
    let step = if bench.is_of_pairs(statistic) { 2 } else { 1 };
    let seeds: Vec<u32> = runs.runs.first().map(|seeds| seeds.iter().map(|run| run.seed).collect()).unwrap_or_default();
    (0..seeds.len() / step)
        .map(|unit| {
            let seed = unit * step;
            let place = Place { variant, family: family.to_owned(), condition: 0, seed };
            let label = seeds[seed..seed + step].iter().map(u32::to_string).collect::<Vec<_>>().join(" and ");
            unit_value(format!("seed={label}"), None, bench.number(statistic, &place, reading))
        })
        .collect()
}

fn unit_value(unit: String, x: Option<f64>, value: Result<f64, Undefined>) -> UnitValue {
    match value {
        Ok(value) => UnitValue { unit, x, value: Some(value), why: None },
        Err(undefined) => UnitValue { unit, x, value: None, why: Some(undefined.reason) },
    }
}

/// Every run of a family: its place and what sets it apart.
fn places(bench: &Bench<'_>, variant: usize, family: &str) -> Vec<(Place, String)> {
    let Some(runs) = bench.family(variant, family) else { return Vec::new() };
    let mut all = Vec::new();
    for (condition, (settings, seeds)) in runs.conditions.iter().zip(&runs.runs).enumerate() {
        for (seed, run) in seeds.iter().enumerate() {
            let name = crate::plan::RunKey { family, condition: settings, seed: run.seed }.name();
            all.push((Place { variant, family: family.to_owned(), condition, seed }, name));
        }
    }
    all
}

fn two_samples(bench: &Bench<'_>, h: &Hypothesis, statistic: &str, variant: usize, family: &str) -> Gathered {
    let other = h.against.clone().unwrap_or_default();
    let mut units = Vec::new();
    let mut sample_of = |family: &str| {
        let mut values = Vec::new();
        for (place, name) in places(bench, variant, family) {
            let unit = unit_value(format!("{family} {name}"), None, bench.number(statistic, &place, Reading::OneRun));
            values.extend(unit.value);
            units.push(unit);
        }
        values
    };
    let (first, second) = (sample_of(family), sample_of(&other));
    Gathered { n_defined: first.len().min(second.len()), sample: Ok(Sample::Two(first, second)), units }
}

/// Only seeds that have a value at every dose count.
fn doses(bench: &Bench<'_>, h: &Hypothesis, statistic: &str, variant: usize, family: &str) -> Gathered {
    let against = h.against.as_deref().unwrap_or_default();
    let mut units = Vec::new();
    let mut by_seed: BTreeMap<usize, Vec<Option<(f64, f64)>>> = BTreeMap::new();
    for (place, name) in places(bench, variant, family) {
        let dose = bench.number(against, &place, Reading::OneRun);
        let value = bench.number(statistic, &place, Reading::OneRun);
        let both = dose.as_ref().ok().zip(value.as_ref().ok()).map(|(d, v)| (*d, *v));
        by_seed.entry(place.seed).or_default().push(both);
        let value = dose.clone().and(value);
        units.push(unit_value(name, dose.ok(), value));
    }
    let whole: Vec<Vec<(f64, f64)>> = by_seed
        .into_values()
        .filter_map(|block| {
            let mut block = block.into_iter().collect::<Option<Vec<_>>>()?;
            block.sort_by(|a, b| a.0.total_cmp(&b.0));
            Some(block)
        })
        .collect();
    let doses: Vec<f64> = whole.first().map(|block| block.iter().map(|(d, _)| *d).collect()).unwrap_or_default();
    let is_same = |block: &Vec<(f64, f64)>| block.iter().map(|(d, _)| *d).eq(doses.iter().copied());
    let n_defined = whole.len();
    let sample = if whole.iter().all(is_same) {
        Ok(Sample::Doses(doses.clone(), whole.iter().map(|block| block.iter().map(|(_, v)| *v).collect()).collect()))
    } else {
        Err("the doses differ from seed to seed; `page` needs the same ones".to_owned())
    };
    Gathered { units, sample, n_defined }
}

/// Every run is a unit; n are the fewest at any dose.
fn groups(bench: &Bench<'_>, h: &Hypothesis, statistic: &str, variant: usize, family: &str) -> Gathered {
    let units = pairs(bench, h, statistic, variant, family).units;
    let mut defined: Vec<(f64, f64)> = units.iter().filter_map(|unit| unit.x.zip(unit.value)).collect();
    defined.sort_by(|a, b| a.0.total_cmp(&b.0));
    let by_dose: Vec<&[(f64, f64)]> = defined.chunk_by(|a, b| a.0 == b.0).collect();
    let doses: Vec<f64> = by_dose.iter().map(|group| group[0].0).collect();
    let groups: Vec<Vec<f64>> = by_dose.iter().map(|group| group.iter().map(|(_, value)| *value).collect()).collect();
    // A condition without any value is no dose with few units: the claim spoke of it.
    let conditions = bench.family(variant, family).map_or(0, |runs| runs.conditions.len());
    let known: BTreeSet<u64> = units.iter().filter_map(|unit| unit.x).map(f64::to_bits).collect();
    if known.len() != conditions && units.iter().all(|unit| unit.x.is_some()) {
        let why = format!(
            "`against` has {} values over {conditions} conditions; `jonckheere` needs one dose for each condition, such as the key \
             that varies",
            known.len()
        );
        return Gathered { n_defined: h.minimal_seeds, sample: Err(why), units };
    }
    let fewest = groups.iter().map(Vec::len).min().unwrap_or(0);
    let n_defined = if groups.len() < conditions { 0 } else { fewest };
    Gathered { n_defined, sample: Ok(Sample::Groups(doses, groups)), units }
}

fn pairs(bench: &Bench<'_>, h: &Hypothesis, statistic: &str, variant: usize, family: &str) -> Gathered {
    let against = h.against.as_deref().unwrap_or_default();
    let (mut units, mut xs, mut ys) = (Vec::new(), Vec::new(), Vec::new());
    for (place, name) in places(bench, variant, family) {
        let x = bench.number(against, &place, Reading::OneRun);
        let y = bench.number(statistic, &place, Reading::OneRun);
        if let (Ok(x), Ok(y)) = (&x, &y) {
            xs.push(*x);
            ys.push(*y);
        }
        let y = x.clone().and(y);
        units.push(unit_value(name, x.ok(), y));
    }
    Gathered { n_defined: xs.len(), sample: Ok(Sample::Pairs(xs, ys)), units }
}

/// Lists of steps; a run without a list of true events has none that could be found.
fn events(bench: &Bench<'_>, h: &Hypothesis, statistic: &str, variant: usize, family: &str) -> Gathered {
    let truth = h.truth.as_deref().unwrap_or_default();
    let (mut units, mut runs) = (Vec::new(), Vec::new());
    for (place, name) in places(bench, variant, family) {
        let list = |text: &str| bench.value(text, &place, Reading::OneRun).and_then(steps);
        match (list(statistic), list(truth)) {
            (Ok(found), Ok(truth)) => {
                let run = RunEvents { truth, found };
                let margin = ontogeny_stats::hypothesis::Margin::factor(h.factor.unwrap_or(1.0));
                let n_matched = ontogeny_stats::hypothesis::match_events(&run, margin).map_or(0, |pairs| pairs.len());
                let n = if h.test == TestKind::Precision { run.found.len() } else { run.truth.len() };
                let share = (n > 0).then(|| n_matched as f64 / n as f64);
                let why = share.is_none().then(|| "there are no events".to_owned());
                units.push(UnitValue { unit: name, x: None, value: share, why });
                runs.push(run);
            }
            (found, truth) => {
                let reason = found.err().or(truth.err()).map(|undefined| undefined.reason);
                units.push(UnitValue { unit: name, x: None, value: None, why: reason });
            }
        }
    }
    Gathered { n_defined: runs.len(), sample: Ok(Sample::Events(runs, h.factor.unwrap_or(1.0))), units }
}

fn steps(value: Value) -> Result<Vec<f64>, Undefined> {
    match value {
        Value::List(list) => Ok(list.into_iter().map(|(_, step)| step).collect()),
        Value::Number(step) => Ok(vec![step]),
        _ => Err(Undefined::new("found neither a list of steps nor a step")),
    }
}

/// Rows of the same seed belong together, unless conditions have their own seeds.
fn rows(bench: &Bench<'_>, h: &Hypothesis, statistic: &str, variant: usize, family: &str) -> Gathered {
    let is_apart = bench.study.runs.get(family).is_some_and(|family| family.own_seeds);
    let mut units = Vec::new();
    let mut by_unit: BTreeMap<(usize, usize), RunRows> = BTreeMap::new();
    for (place, name) in places(bench, variant, family) {
        let target = bench.number(statistic, &place, Reading::OneRun);
        let features: Result<Vec<f64>, Undefined> =
            h.features.iter().map(|text| bench.number(text, &place, Reading::OneRun)).collect();
        if let (Ok(target), Ok(features)) = (&target, &features) {
            let key = if is_apart { (place.condition, place.seed) } else { (0, place.seed) };
            let rows = by_unit.entry(key).or_insert_with(|| RunRows { features: Vec::new(), targets: Vec::new() });
            rows.features.push(features.clone());
            rows.targets.push(*target);
        }
        units.push(unit_value(name, None, features.and(target)));
    }
    let rows: Vec<RunRows> = by_unit.into_values().collect();
    Gathered { n_defined: rows.len(), sample: Ok(Sample::Rows(rows)), units }
}

impl Gathered {
    /// Hands the values to the wrong units, in an order that has nothing to do with them.
    fn shuffle(&mut self) {
        match &mut self.sample {
            Ok(Sample::Pairs(_, y)) => *y = shuffled(y, &[]),
            Ok(Sample::Two(first, second)) => {
                let mixed = shuffled(&[first.as_slice(), second.as_slice()].concat(), &[]);
                let (one, two) = mixed.split_at(first.len());
                (*first, *second) = (one.to_vec(), two.to_vec());
            }
            Ok(Sample::Groups(_, groups)) => {
                let mut mixed = shuffled(&groups.concat(), &[]).into_iter();
                groups.iter_mut().flatten().for_each(|value| *value = mixed.next().unwrap_or(*value));
            }
            // Each seed has an order of its own.
            Ok(Sample::Doses(_, blocks)) => {
                for (at, block) in blocks.iter_mut().enumerate() {
                    *block = shuffled(block, &at.to_le_bytes());
                }
            }
            Ok(Sample::Rows(rows)) => {
                let features: Vec<Vec<Vec<f64>>> = rows.iter().map(|row| row.features.clone()).collect();
                for (row, mut features) in rows.iter_mut().zip(shuffled(&features, &[])) {
                    // Units may have different numbers of rows.
                    if let Some(last) = features.last().cloned() {
                        features.resize(row.targets.len(), last);
                        row.features = features;
                    }
                }
            }
            Ok(Sample::Events(runs, _)) => {
                let found: Vec<Vec<f64>> = runs.iter().map(|run| run.found.clone()).collect();
                for (run, found) in runs.iter_mut().zip(shuffled(&found, &[])) {
                    run.found = found;
                }
            }
            // Refused when the file is read.
            Ok(Sample::One(_)) | Err(_) => {}
        }
    }
}

/// The same things in the order of the hashes of their places; another order for each `salt`.
fn shuffled<T: Clone>(things: &[T], salt: &[u8]) -> Vec<T> {
    let mut order: Vec<usize> = (0..things.len()).collect();
    order.sort_by_key(|place| *blake3::hash(&[&place.to_le_bytes(), salt].concat()).as_bytes());
    order.into_iter().map(|place| things[place].clone()).collect()
}

impl AttackKind {
    fn name(self) -> &'static str {
        match self {
            Self::OtherSeeds => "other_seeds",
            Self::OtherSettings => "other_settings",
            Self::ShuffledLabels => "shuffled_labels",
            Self::RandomMasks => "random_masks",
            Self::Placebo => "placebo",
            Self::ShuffledUnits => "shuffled_units",
        }
    }
}

impl Expect {
    fn name(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::Vanishes => "vanishes",
        }
    }
}

#[cfg(test)]
mod tests;
