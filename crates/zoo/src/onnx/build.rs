//! From the nodes of a file to a graph: values by name, constants folded, results named.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ontogeny_graph::{Graph, Node};

use super::error::{EXPORT, OnnxError, Problem};
use super::file::{OnnxFile, Operation, Setting};
use super::host::{Host, Kind};
use super::operators;

/// What a name of the file stands for.
#[derive(Debug, Clone)]
pub(super) enum Value {
    /// Known at import.
    Host(Arc<Host>),
    /// Computed by the network: floats; integers as ids; truth values as the floats 0 and 1.
    Run(Node, Kind),
    /// A sequence, as `SplitToSequence` makes it.
    List(Vec<Value>),
}

pub(super) type Outcome = Result<Vec<Value>, Problem>;

/// Values that may be made at import, of all constants together.
const MAX_HOST_VALUES: usize = 1 << 25;

/// Values of one result of the network.
const MAX_RUN_VALUES: usize = 1 << 31;

/// Names that a model gives itself.
const RESERVED: [&str; 10] =
    ["tokens", "targets", "weights", "x", "y", "logits", "answers", "example_loss", "token_loss", "loss"];

/// A graph in the making.
pub(super) struct Build<'g> {
    pub(super) g: &'g mut Graph,
    /// Ids of the network's input are below this.
    pub(super) n_ids: usize,
    /// Scales of batch norms whose statistics are in the weights.
    pub(super) folded: BTreeSet<String>,
    /// What is left of [`MAX_HOST_VALUES`].
    budget: usize,
}

/// One node with what it reads.
pub(super) struct Call<'c, 'g> {
    pub(super) build: &'c mut Build<'g>,
    pub(super) operation: &'c Operation,
    /// Version of ONNX's operators.
    pub(super) opset: i64,
    inputs: Vec<Option<Value>>,
}

impl OnnxFile {
    /// Adds parameters and nodes to a graph, and gives the first output. `input` is the network's only input.
    pub(super) fn build(&self, g: &mut Graph, input: Node, kind: Kind, n_ids: usize) -> Result<Node, OnnxError> {
        let failed = |place: String, problem| OnnxError::new(&self.path, place, problem);
        let mut values: BTreeMap<&str, Value> = BTreeMap::new();
        for (name, tensor) in &self.tensors {
            if !self.is_parameter(name) {
                values.insert(name, Value::Host(Arc::new(Host::of_tensor(tensor))));
            }
        }
        for name in &self.parameters {
            let node = g.param(name, &self.tensors[name].shape);
            values.insert(name, Value::Run(node, Kind::Float));
        }
        let input_name = self.input.name.as_str();
        values.insert(input_name, Value::Run(input, kind));
        let taken = RESERVED.into_iter().chain(values.keys().copied()).collect::<Vec<_>>();
        let mut taken: BTreeSet<String> = taken.into_iter().map(str::to_owned).collect();
        let folded = self.foldings.iter().map(|folding| folding.scale.clone()).collect();
        let mut build = Build { g, n_ids, folded, budget: MAX_HOST_VALUES };
        for operation in &self.operations {
            let place = || operation.title.clone();
            let mut inputs = Vec::with_capacity(operation.inputs.len());
            for name in &operation.inputs {
                inputs.push(match (name.as_str(), values.get(name.as_str())) {
                    ("", _) => None,
                    (_, Some(value)) => Some(value.clone()),
                    (name, None) => {
                        let found = format!("`{name}` read before anything gives it");
                        let expected =
                            "an initialiser, the input or the result of a node further up; the graph is cyclic, out of order or cut";
                        return Err(failed(place(), Problem::new(found, expected)));
                    }
                });
            }
            let run = operators::find(&operation.operator).filter(|_| operation.domain.is_empty());
            let Some(run) = run else {
                let found = format!("the operator `{}`", operation.operator);
                return Err(failed(place(), Problem::new(found, format!("one of {}", operators::names()))));
            };
            let mut call = Call { build: &mut build, operation, opset: self.opset, inputs };
            let results = run(&mut call).map_err(|problem| failed(place(), self.with_hint(problem)))?;
            if let Err(error) = build.g.check() {
                let problem = Problem::new(error.to_string(), "shapes that fit the task's");
                return Err(failed(place(), self.with_hint(problem)));
            }
            for (name, value) in operation.outputs.iter().zip(results) {
                if name.is_empty() {
                    continue;
                }
                if let Value::Run(node, _) = value {
                    let n: usize = build.g.shape(node).iter().product();
                    if n > MAX_RUN_VALUES {
                        let found = format!("a result of {n} values");
                        return Err(failed(place(), Problem::new(found, format!("at most {MAX_RUN_VALUES}"))));
                    }
                    if taken.insert(name.clone()) {
                        build.g.named(node, name);
                    }
                }
                values.insert(name, value);
            }
        }
        match values.get(self.output.as_str()) {
            Some(Value::Run(node, Kind::Float)) => Ok(*node),
            Some(_) => {
                let found = "what does not depend on the input, or is no tensor of floats";
                Err(failed(format!("output `{}`", self.output), Problem::new(found, "logits or predictions")))
            }
            None => {
                let problem = Problem::new("no node that gives it", "a whole graph");
                Err(failed(format!("output `{}`", self.output), problem))
            }
        }
    }

    /// What does not fit may come from extents that were fixed while exporting.
    pub(super) fn with_hint(&self, problem: Problem) -> Problem {
        match self.fixed_batch() {
            Some(n) => Problem {
                expected: format!(
                    "{}. The file was exported for a batch of {n} only; {EXPORT}",
                    problem.expected.trim_end_matches('.')
                ),
                ..problem
            },
            None => problem,
        }
    }
}

impl Build<'_> {
    /// Takes so many values from what may be made at import.
    pub(super) fn claim(&mut self, n: usize) -> Result<(), Problem> {
        let Some(left) = self.budget.checked_sub(n) else {
            let found = format!("a constant of {n} values");
            return Err(Problem::new(found, format!("at most {MAX_HOST_VALUES} in all constants together")));
        };
        self.budget = left;
        Ok(())
    }

    /// Claims a shape whose extents may be anything.
    pub(super) fn claim_shape(&mut self, shape: &[usize]) -> Result<(), Problem> {
        let n = shape.iter().try_fold(1_usize, |n, &extent| n.checked_mul(extent)).unwrap_or(usize::MAX);
        self.claim(n)
    }

    /// A constant as a node of floats.
    pub(super) fn lift(&mut self, host: &Host) -> Result<Node, Problem> {
        if host.values.is_empty() {
            return Err(Problem::new(format!("an empty constant of shape {:?}", host.shape), "at least one value"));
        }
        if let Some(value) = host.uniform() {
            let scalar = self.g.constant(value);
            return Ok(self.g.broadcast(scalar, &host.shape));
        }
        self.claim(host.values.len())?;
        let values: Arc<[f32]> = host.values.iter().map(|&x| x as f32).collect();
        Ok(self.g.values(&host.shape, values))
    }

    /// A value as a node of floats.
    pub(super) fn floats(&mut self, value: &Value) -> Result<Node, Problem> {
        match value {
            Value::Host(host) => self.lift(host),
            Value::Run(node, Kind::Float | Kind::Bool) => Ok(*node),
            Value::Run(ids, Kind::Int) => {
                // Entry i of this table is i.
                let table = self.g.iota(&[self.n_ids.max(1)], 0);
                Ok(self.g.gather(table, *ids))
            }
            Value::List(_) => Err(Problem::new("a sequence", "a tensor")),
        }
    }

    pub(super) fn shape(&self, value: &Value) -> Result<Vec<usize>, Problem> {
        match value {
            Value::Host(host) => Ok(host.shape.clone()),
            Value::Run(node, _) => Ok(self.g.shape(*node).to_vec()),
            Value::List(_) => Err(Problem::new("a sequence", "a tensor")),
        }
    }

    /// A new constant.
    pub(super) fn host(
        &mut self,
        shape: Vec<usize>,
        kind: Kind,
        value: impl FnMut(&[usize]) -> f64,
    ) -> Result<Value, Problem> {
        self.claim_shape(&shape)?;
        Ok(Value::Host(Arc::new(Host::generate(shape, kind, value))))
    }
}

impl Value {
    pub(super) fn of(host: Host) -> Self {
        Self::Host(Arc::new(host))
    }

    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Host(host) => host.kind,
            Self::Run(_, kind) => *kind,
            Self::List(_) => Kind::Float,
        }
    }

    /// Its values, if they are known.
    pub(super) fn known(&self) -> Option<&Arc<Host>> {
        match self {
            Self::Host(host) => Some(host),
            Self::Run(..) | Self::List(_) => None,
        }
    }
}

/// Operands and attributes of a node.
impl Call<'_, '_> {
    /// Operand number `at`, if it is given.
    pub(super) fn optional(&self, at: usize) -> Option<Value> {
        self.inputs.get(at).cloned().flatten()
    }

    pub(super) fn n_inputs(&self) -> usize {
        self.inputs.len()
    }

    pub(super) fn input(&self, at: usize) -> Result<Value, Problem> {
        self.optional(at).ok_or_else(|| Problem::new(format!("no input {at}"), "the inputs of its operator"))
    }

    /// An operand as a node of floats.
    pub(super) fn floats(&mut self, at: usize) -> Result<Node, Problem> {
        let value = self.input(at)?;
        self.build.floats(&value)
    }

    /// An operand that must be known at import.
    pub(super) fn known(&self, at: usize) -> Result<Arc<Host>, Problem> {
        let value = self.input(at)?;
        value.known().cloned().ok_or_else(|| {
            let found = format!("an input {at} that depends on what the network reads");
            Problem::new(found, "one that follows from shapes and constants")
        })
    }

    /// Integers that must be known at import.
    pub(super) fn integers(&self, at: usize) -> Result<Vec<i64>, Problem> {
        Ok(self.known(at)?.integers())
    }

    /// Those of an optional operand.
    pub(super) fn optional_integers(&self, at: usize) -> Result<Option<Vec<i64>>, Problem> {
        self.optional(at).map(|_| self.integers(at)).transpose()
    }

    pub(super) fn integer(&self, name: &str, missing: i64) -> Result<i64, Problem> {
        match self.operation.settings.get(name) {
            None => Ok(missing),
            Some(Setting::Integer(value)) => Ok(*value),
            Some(_) => Err(wrong_type(name, "an integer")),
        }
    }

    pub(super) fn float(&self, name: &str, missing: f32) -> Result<f64, Problem> {
        match self.operation.settings.get(name) {
            None => Ok(f64::from(missing)),
            Some(Setting::Float(value)) => Ok(f64::from(*value)),
            Some(_) => Err(wrong_type(name, "a float")),
        }
    }

    pub(super) fn text(&self, name: &str, missing: &str) -> Result<String, Problem> {
        match self.operation.settings.get(name) {
            None => Ok(missing.to_owned()),
            Some(Setting::Text(value)) => Ok(value.clone()),
            Some(_) => Err(wrong_type(name, "text")),
        }
    }

    pub(super) fn list(&self, name: &str) -> Result<Option<Vec<i64>>, Problem> {
        match self.operation.settings.get(name) {
            None => Ok(None),
            Some(Setting::Integers(values)) => Ok(Some(values.clone())),
            Some(_) => Err(wrong_type(name, "integers")),
        }
    }

    /// Positive whole numbers, one for each spatial axis, `missing` unless given.
    pub(super) fn counts(&self, name: &str, n: usize, missing: usize) -> Result<Vec<usize>, Problem> {
        let Some(values) = self.list(name)? else { return Ok(vec![missing; n]) };
        let counts: Option<Vec<usize>> = values.iter().map(|&value| usize::try_from(value).ok()).collect();
        counts
            .filter(|counts| counts.len() == n)
            .ok_or_else(|| Problem::new(format!("`{name}` = {values:?}"), format!("{n} numbers of 0 or more")))
    }

    /// Refuses a setting that is not at its usual value.
    pub(super) fn only(&self, name: &str, value: i64) -> Result<(), Problem> {
        match self.integer(name, value)? {
            found if found == value => Ok(()),
            found => Err(Problem::new(format!("`{name}` = {found}"), format!("{value}, the only one supported"))),
        }
    }

    /// A result of floats.
    #[expect(clippy::unnecessary_wraps, reason = "it is what every operator returns")]
    pub(super) fn done(node: Node) -> Outcome {
        Ok(vec![Value::Run(node, Kind::Float)])
    }
}

fn wrong_type(name: &str, expected: &str) -> Problem {
    Problem::new(format!("an attribute `{name}` of another type"), expected)
}
