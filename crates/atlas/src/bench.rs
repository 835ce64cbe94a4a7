//! The runs of a study side by side, and what expressions mean in them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use ontogeny_store::RunView;

use crate::expression::{Expression, Undefined, Value};
use crate::plan::{Condition, word};
use crate::run_names;
use crate::study_file::StudyFile;

/// Values may be made of values, to this depth; deeper is a circle.
const MAX_DEPTH: usize = 16;

/// All runs of a study: those of its families, and those of its attacks.
pub(crate) struct Bench<'a> {
    pub(crate) study: &'a StudyFile,
    pub(crate) expressions: &'a BTreeMap<String, Expression>,
    /// By variant (0 is the study itself, k the attack k − 1) and family.
    pub(crate) families: BTreeMap<(usize, String), FamilyRuns>,
    /// Values already evaluated, by place and name.
    known: RefCell<BTreeMap<(Place, String), Result<Value, Undefined>>>,
    /// Names that have meant nothing in any run so far, with the reason; those that have meant something somewhere have none.
    unknown: RefCell<BTreeMap<String, Option<String>>>,
}

/// The runs of a family.
#[derive(Debug, Clone, Default)]
pub(crate) struct FamilyRuns {
    pub(crate) conditions: Vec<Condition>,
    /// By condition and seed.
    pub(crate) runs: Vec<Vec<BenchRun>>,
}

/// A run, or why there is none.
#[derive(Debug, Clone)]
pub(crate) struct BenchRun {
    pub(crate) seed: u32,
    pub(crate) view: Result<Arc<RunView>, String>,
}

/// One run of the bench.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) variant: usize,
    pub(crate) family: String,
    pub(crate) condition: usize,
    pub(crate) seed: usize,
}

/// How names are read beyond a single run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    /// In the run itself.
    OneRun,
    /// As lists over the conditions of the family, a number for each.
    OverConditions,
}

impl<'a> Bench<'a> {
    pub(crate) fn new(
        study: &'a StudyFile,
        expressions: &'a BTreeMap<String, Expression>,
        families: BTreeMap<(usize, String), FamilyRuns>,
    ) -> Self {
        Self { study, expressions, families, known: RefCell::default(), unknown: RefCell::default() }
    }

    pub(crate) fn family(&self, variant: usize, family: &str) -> Option<&FamilyRuns> {
        self.families.get(&(variant, family.to_owned()))
    }

    /// The value of an expression of the study file at a place.
    pub(crate) fn value(&self, text: &str, place: &Place, reading: Reading) -> Result<Value, Undefined> {
        let expression = self.expressions.get(text).ok_or_else(|| undefined(format!("`{text}` was never read")))?;
        expression.evaluate(&|name| self.name(name, place, reading, 0))
    }

    /// The same where it must be a number.
    pub(crate) fn number(&self, text: &str, place: &Place, reading: Reading) -> Result<f64, Undefined> {
        let expression = self.expressions.get(text).ok_or_else(|| undefined(format!("`{text}` was never read")))?;
        expression.number(&|name| self.name(name, place, reading, 0))
    }

    /// Whether an expression speaks of the next seed, so that its units are pairs of seeds.
    pub(crate) fn is_of_pairs(&self, text: &str) -> bool {
        self.expressions.get(text).is_some_and(is_of_pairs)
    }

    /// `[other.][FAMILY.]NAME`, where NAME is a value of the study or a name in a run.
    fn name(&self, name: &str, place: &Place, reading: Reading, depth: usize) -> Result<Value, Undefined> {
        if depth > MAX_DEPTH {
            return Err(undefined(format!("`{name}` is made of itself, or of more than {MAX_DEPTH} values in a row")));
        }
        let (mut own, mut place) = (name, place.clone());
        if let Some(rest) = own.strip_prefix("other.") {
            (own, place.seed) = (rest, place.seed + 1);
        }
        if let Some((family, rest)) = own.split_once('.')
            && self.study.runs.contains_key(family)
        {
            own = rest;
            place = self.moved(&place, family)?;
        }
        if reading == Reading::OneRun {
            return self.in_run(own, &place, depth);
        }
        let runs = self.runs_at(&place)?;
        let mut list = Vec::with_capacity(runs.conditions.len());
        for (condition, settings) in runs.conditions.iter().enumerate() {
            let label = settings.iter().map(word).collect::<Vec<_>>().join(",");
            match self.in_run(own, &Place { condition, ..place.clone() }, depth) {
                Ok(Value::Number(value)) => list.push((label, value)),
                Ok(_) => {
                    return Err(undefined(format!(
                        "`{own}` is no number; over the conditions of a family names stand for a number each: make it one in [values]"
                    )));
                }
                // A condition without the value has no place in the list.
                Err(_) => {}
            }
        }
        if list.is_empty() {
            return self.in_run(own, &place, depth);
        }
        Ok(Value::List(list))
    }

    /// The same seed, and the same condition where the family has it, in another family.
    fn moved(&self, place: &Place, family: &str) -> Result<Place, Undefined> {
        let from = self.runs_at(place)?;
        let place = Place { family: family.to_owned(), ..place.clone() };
        let to = self.runs_at(&place)?;
        if to.conditions.len() == 1 {
            return Ok(Place { condition: 0, ..place });
        }
        let wanted = from.conditions.get(place.condition);
        match to.conditions.iter().position(|c| Some(c) == wanted) {
            Some(condition) => Ok(Place { condition, ..place }),
            None => Err(undefined(format!("`{family}` varies, and has no run with the settings of this one"))),
        }
    }

    fn runs_at(&self, place: &Place) -> Result<&FamilyRuns, Undefined> {
        self.family(place.variant, &place.family)
            .ok_or_else(|| undefined(format!("there are no runs of `{}`", place.family)))
    }

    /// A value of the study, else what the name means in the run.
    fn in_run(&self, name: &str, place: &Place, depth: usize) -> Result<Value, Undefined> {
        let key = (place.clone(), name.to_owned());
        if let Some(found) = self.known.borrow().get(&key) {
            return found.clone();
        }
        let found = match self.text_of(name, place.variant) {
            Some(text) => match self.expressions.get(text) {
                Some(expression) => expression.evaluate(&|inner| self.name(inner, place, Reading::OneRun, depth + 1)),
                None => Err(undefined(format!("`{text}` was never read"))),
            },
            None => self.view(place).and_then(|view| {
                let found = run_names::lookup(&view, name);
                self.note(name, found.as_ref().err());
                found
            }),
        };
        self.known.borrow_mut().insert(key, found.clone());
        found
    }

    fn note(&self, name: &str, undefined: Option<&Undefined>) {
        let mut unknown = self.unknown.borrow_mut();
        let entry = unknown.entry(name.to_owned());
        match undefined.filter(|undefined| undefined.is_unknown) {
            None => *entry.or_default() = None,
            Some(undefined) => {
                entry.or_insert_with(|| Some(undefined.reason.clone()));
            }
        }
    }

    /// Names that mean nothing in any run in which they were looked up, each with the reason.
    pub(crate) fn slips(&self) -> Vec<String> {
        self.unknown.borrow().values().flatten().cloned().collect()
    }

    /// The expression of a value, that of the attack where it has its own.
    fn text_of(&self, name: &str, variant: usize) -> Option<&String> {
        let attack = variant.checked_sub(1).and_then(|k| self.study.attacks.get(k));
        attack.and_then(|attack| attack.values.get(name)).or_else(|| self.study.values.get(name))
    }

    fn view(&self, place: &Place) -> Result<Arc<RunView>, Undefined> {
        let runs = self.runs_at(place)?;
        let run = runs.runs.get(place.condition).and_then(|seeds| seeds.get(place.seed));
        let run = run.ok_or_else(|| undefined(format!("`{}` has no such run", place.family)))?;
        run.view.clone().map_err(undefined)
    }
}

/// Whether an expression speaks of the next seed.
pub(crate) fn is_of_pairs(expression: &Expression) -> bool {
    expression.names().iter().any(|name| name.starts_with("other."))
}

fn undefined(reason: impl Into<String>) -> Undefined {
    Undefined::new(reason)
}
