//! `observable = "patching"`: how much of the right answer a part carries, found by exchanging its activation between two runs.

use std::collections::BTreeMap;

use ontogeny_graph::{DataSet, Gradient, Program, Workspace};
use ontogeny_zoo::Model;
use serde::{Deserialize, Serialize};

use super::pairs::add_metric;
use super::{Component, Editor, Effect, Limits, Pairs, Replacement, chosen_rows, is_over, mean_and_error, order_of};
use crate::{Checkpoint, Findings, Instrument, Measured, ObserveError, Settings, Subject};

/// Version of the numbers of [`PatchingSettings`].
pub const PATCHING_VERSION: u32 = 1;

/// Settings of `observable = "patching"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PatchingSettings {
    /// How; `activation` unless given.
    pub method: PatchMethod,
    /// Which run is changed; `corrupted` unless given.
    pub into: PatchInto,
    /// Parts, one after another; all heads and MLPs, or hidden layers, unless given.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<String>,
    /// Of `method = "path"`: heads such as `l1h0`, or one input of them such as `l1h0 k`, that alone hear of the change; the
    /// logits unless given.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub receivers: Vec<String>,
    /// Of `method = "path"`: whether MLPs, too, do not hear of the change on its way.
    pub freeze_mlps: bool,
    /// The split whose examples are paired; unless given `even`, else `test`, else `train`, whichever the task has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// Pairs, evenly spaced over the split.
    pub examples: usize,
}

impl Default for PatchingSettings {
    fn default() -> Self {
        Self {
            method: PatchMethod::Activation,
            into: PatchInto::Corrupted,
            parts: Vec::new(),
            receivers: Vec::new(),
            freeze_mlps: false,
            split: None,
            examples: 128,
        }
    }
}

/// How a part is exchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PatchMethod {
    /// Its activation, for everything behind it (Meng et al. 2022).
    Activation,
    /// As `activation`, to first order: one gradient tells it of all parts (Nanda 2023).
    Attribution,
    /// Its activation for the receivers alone; all other heads keep theirs (Wang et al. 2023).
    Path,
}

/// The run that an activation is put into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PatchInto {
    /// The corrupted one gets the clean activation: what suffices (denoising).
    Corrupted,
    /// The clean one gets the corrupted activation: what is needed (noising).
    Clean,
}

impl Settings for PatchingSettings {
    fn build(&self, subject: &Subject<'_>) -> Result<Box<dyn Instrument>, ObserveError> {
        if self.method != PatchMethod::Path && (!self.receivers.is_empty() || self.freeze_mlps) {
            let key = if self.freeze_mlps { "freeze_mlps" } else { "receivers" };
            return Err(ObserveError::Setting(format!(
                "`{key}` belongs to `method = \"path\"`; remove it, or choose that method"
            )));
        }
        let (split, rows) = chosen_rows(subject.task, self.split.as_deref(), self.examples)?;
        let pairs = Pairs::of_examples(subject.model, &split.data, &rows, subject.seed)?;
        let parts = Component::chosen(subject.model, &self.parts)?;
        Ok(Box::new(match self.method {
            PatchMethod::Activation => Patching::activations(subject.model, parts, pairs, self.into)?,
            PatchMethod::Attribution => Patching::attribution(subject.model, parts, pairs, self.into)?,
            PatchMethod::Path => {
                Patching::paths(subject.model, parts, &self.receivers, self.freeze_mlps, pairs, self.into)?
            }
        }))
    }
}

/// Activations of a batch by name.
type Activations = BTreeMap<String, Vec<f32>>;

/// Exchanges parts between clean and corrupted runs.
#[derive(Debug)]
pub struct Patching {
    editor: Editor,
    parts: Vec<Component>,
    pairs: Pairs,
    into: PatchInto,
    way: Way,
}

#[derive(Debug)]
enum Way {
    Activation,
    Attribution(Box<Slope>),
    Path { receivers: Vec<Component>, frozen: Vec<Component> },
}

/// Logit differences before any patch, as means over the pairs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Baselines {
    /// Of the clean run.
    pub clean: f64,
    /// Of the corrupted run.
    pub corrupted: f64,
}

/// What the network does to the metric at a point, to first order.
#[derive(Debug)]
struct Slope {
    program: Program,
    workspace: Workspace,
    activations: Vec<String>,
}

impl Patching {
    /// Activation patching.
    ///
    /// # Errors
    /// Parts that the network does not have.
    pub fn activations(
        model: &Model,
        parts: Vec<Component>,
        pairs: Pairs,
        into: PatchInto,
    ) -> Result<Self, ObserveError> {
        let editor = Editor::new(model, &super::activations(&parts), pairs.len(), true)?;
        Ok(Self { editor, parts, pairs, into, way: Way::Activation })
    }

    /// Attribution patching.
    ///
    /// # Errors
    /// As for [`Patching::activations`].
    pub fn attribution(
        model: &Model,
        parts: Vec<Component>,
        pairs: Pairs,
        into: PatchInto,
    ) -> Result<Self, ObserveError> {
        let activations = super::activations(&parts);
        let editor = Editor::new(model, &activations, pairs.len(), true)?;
        let slope = Slope::new(model, &activations, editor.batch())?;
        Ok(Self { editor, parts, pairs, into, way: Way::Attribution(Box::new(slope)) })
    }

    /// Path patching from the parts to `receivers`, the logits where there are none.
    ///
    /// # Errors
    /// As for [`Patching::activations`]; or receivers that are no heads.
    pub fn paths(
        model: &Model,
        parts: Vec<Component>,
        receivers: &[String],
        freeze_mlps: bool,
        pairs: Pairs,
        into: PatchInto,
    ) -> Result<Self, ObserveError> {
        let receivers = receivers.iter().map(|label| inputs_of(model, label));
        let receivers = receivers.collect::<Result<Vec<_>, _>>()?.concat();
        let frozen: Vec<Component> = Component::all(model)?
            .into_iter()
            .filter(|part| matches!(part.unit, Some((2, _))) || (freeze_mlps && part.label.ends_with(" mlp")))
            .collect();
        let activations = super::activations(parts.iter().chain(&receivers).chain(&frozen));
        let editor = Editor::new(model, &activations, pairs.len(), true)?;
        Ok(Self { editor, parts, pairs, into, way: Way::Path { receivers, frozen } })
    }

    /// Of each part the change of the logit difference that its clean activation makes, as mean over the pairs with its standard
    /// error: upwards from the corrupted run, or what is lost of the clean one without it.
    ///
    /// # Errors
    /// Weights of another model, or numbers that are not finite.
    pub fn effects(&mut self, checkpoint: &Checkpoint<'_>) -> Result<(Vec<Effect>, Baselines), ObserveError> {
        let (samples, baselines) = self.samples_within(checkpoint, None)?;
        Ok((samples.iter().filter_map(|samples| Effect::of(samples)).collect(), baselines))
    }

    /// The change at each pair, `[part][pair]`, within limits: of parts that were reached, and the pairs that were.
    ///
    /// # Errors
    /// As for [`Patching::effects`].
    pub fn samples_within(
        &mut self,
        checkpoint: &Checkpoint<'_>,
        limits: Option<Limits<'_>>,
    ) -> Result<(Vec<Vec<f64>>, Baselines), ObserveError> {
        let order = order_of(limits, self.parts.len());
        let weights = checkpoint.weights;
        let n = self.pairs.len();
        let all: Vec<usize> = (0..n).collect();
        let mut effects = vec![Vec::with_capacity(n); self.parts.len()];
        let (mut clean, mut corrupted) = (Vec::with_capacity(n), Vec::with_capacity(n));
        for rows in all.chunks(self.editor.batch()) {
            let (of_clean, clean_metric) = self.read(weights, rows, PatchInto::Clean)?;
            let (of_corrupted, corrupted_metric) = self.read(weights, rows, PatchInto::Corrupted)?;
            let (base, other, base_metric, sign) = match self.into {
                PatchInto::Corrupted => (&of_corrupted, &of_clean, &corrupted_metric, 1.0),
                PatchInto::Clean => (&of_clean, &of_corrupted, &clean_metric, -1.0),
            };
            let data = match self.into {
                PatchInto::Corrupted => &self.pairs.corrupted,
                PatchInto::Clean => &self.pairs.clean,
            };
            if let Way::Attribution(slope) = &mut self.way {
                let slopes = slope.at(weights, data, rows)?;
                for (part, effects) in self.parts.iter().zip(&mut effects) {
                    let slope = &slopes[&part.activation];
                    let [base, other] = [base, other].map(|values| &values[&part.activation]);
                    let width = base.len() / self.editor.batch();
                    let ranges = part.elements(self.editor.shape(&part.activation), None);
                    for row in 0..rows.len() {
                        let along = |at: usize| f64::from(slope[at]) * (f64::from(other[at]) - f64::from(base[at]));
                        let own =
                            ranges.iter().flat_map(|range| (row * width + range.start)..(row * width + range.end));
                        effects.push(sign * own.map(along).sum::<f64>());
                    }
                }
            } else {
                self.editor.load(data, rows)?;
                for &at in &order {
                    checkpoint.check_cancelled()?;
                    if is_over(limits) {
                        break;
                    }
                    let (part, effects) = (&self.parts[at], &mut effects[at]);
                    self.editor.clear();
                    if let Way::Path { frozen, .. } = &self.way {
                        for other in frozen.iter().filter(|other| other.label != part.label) {
                            self.editor.replace(other, None, Replacement::Each(&base[&other.activation]));
                        }
                    }
                    self.editor.replace(part, None, Replacement::Each(&other[&part.activation]));
                    self.editor.run(weights)?;
                    if let Way::Path { receivers, .. } = &self.way
                        && !receivers.is_empty()
                    {
                        let heard: Vec<Vec<f32>> =
                            receivers.iter().map(|input| self.editor.activation(&input.activation).to_vec()).collect();
                        self.editor.clear();
                        for (input, values) in receivers.iter().zip(&heard) {
                            self.editor.replace(input, None, Replacement::Each(values));
                        }
                        self.editor.run(weights)?;
                    }
                    let patched = &self.editor.logit_differences()[..rows.len()];
                    effects.extend(
                        patched.iter().zip(base_metric).map(|(&patched, base)| sign * (f64::from(patched) - base)),
                    );
                }
            }
            clean.extend(clean_metric);
            corrupted.extend(corrupted_metric);
            if is_over(limits) {
                break;
            }
            (checkpoint.progress)(clean.len() as f64 / n as f64);
        }
        let baselines = Baselines {
            clean: mean_and_error(clean.iter().copied()).0,
            corrupted: mean_and_error(corrupted.iter().copied()).0,
        };
        let is_finite = effects.iter().flatten().all(|effect: &f64| effect.is_finite());
        if !is_finite || !baselines.clean.is_finite() || !baselines.corrupted.is_finite() {
            return Err(self.editor.non_finite(weights, "the logits"));
        }
        Ok((effects, baselines))
    }

    /// Activations and metric of a run without patches.
    fn read(
        &mut self,
        weights: &[f32],
        rows: &[usize],
        run: PatchInto,
    ) -> Result<(Activations, Vec<f64>), ObserveError> {
        self.editor.clear();
        let data = if run == PatchInto::Clean { &self.pairs.clean } else { &self.pairs.corrupted };
        self.editor.load(data, rows)?;
        self.editor.run(weights)?;
        let metric = self.editor.logit_differences()[..rows.len()].iter().map(|&m| f64::from(m)).collect();
        let read = |name: &String| (name.clone(), self.editor.activation(name).to_vec());
        Ok((self.editor.activations().map(read).collect(), metric))
    }

    /// Examples that went forward so far, each run of an example counted; those of a gradient are not.
    pub fn n_forward(&self) -> u64 {
        self.editor.n_forward()
    }
}

impl Slope {
    fn new(model: &Model, activations: &[String], batch: usize) -> Result<Self, ObserveError> {
        let (mut graph, nodes) = model.graph(batch);
        let metric = add_metric(&mut graph, nodes.answers, batch)?;
        // Examples do not meet, so that the slope of the sum holds that of each.
        let total = graph.sum(metric, &[0]);
        let wrt = activations.iter().map(|name| graph.find(name)).collect::<Result<Vec<_>, _>>()?;
        let slopes = graph.gradient(total, &wrt)?;
        let outputs: Vec<_> = activations.iter().map(String::as_str).zip(slopes).collect();
        let program = Program::compile(&graph, &outputs, Gradient::None)?;
        let workspace = Workspace::new(&program);
        Ok(Self { program, workspace, activations: activations.to_vec() })
    }

    fn at(&mut self, weights: &[f32], data: &DataSet, rows: &[usize]) -> Result<Activations, ObserveError> {
        data.fill_columns(&self.program, &mut self.workspace, rows)?;
        self.program.run(&mut self.workspace, weights)?;
        let read = |name: &String| (name.clone(), self.workspace.output(&self.program, name).to_vec());
        Ok(self.activations.iter().map(read).collect())
    }
}

/// The inputs of a head, `l1h0`, or one of them, `l1h0 k`. Heads that share keys and values hear of the same ones.
fn inputs_of(model: &Model, label: &str) -> Result<Vec<Component>, ObserveError> {
    let (graph, _) = model.graph(1);
    let (head, inputs) = match label.split_once(' ') {
        Some((head, input)) if ["q", "k", "v"].contains(&input) => (head, vec![input]),
        Some(_) => ("", Vec::new()),
        None => (label, vec!["q", "k", "v"]),
    };
    let wrong = || {
        ObserveError::Setting(format!(
            "`receivers` names `{label}`; expected a head of the network such as l1h0, or one input of it: \"l1h0 q\", \"l1h0 k\" or \
             \"l1h0 v\""
        ))
    };
    let parts = Component::chosen(model, &[head.to_owned()]).map_err(|_| wrong())?;
    let [Component { activation, unit: Some((2, number)), .. }] = &parts[..] else { return Err(wrong()) };
    let n_heads = graph.shape(graph.find(activation)?)[2];
    inputs
        .into_iter()
        .map(|input| {
            let activation = activation.replace("hook_z", &format!("hook_{input}"));
            let n_own = graph.shape(graph.find(&activation)?)[2];
            let unit = Some((2, number * n_own / n_heads));
            Ok(Component { label: format!("{head} {input}"), activation, unit })
        })
        .collect()
}

impl Instrument for Patching {
    fn dims(&self) -> Vec<(&'static str, Vec<String>)> {
        vec![("part", self.parts.iter().map(|part| part.label.clone()).collect())]
    }

    fn measure(&mut self, checkpoint: &Checkpoint<'_>) -> Result<Findings, ObserveError> {
        let (effects, baselines) = self.effects(checkpoint)?;
        let (values, errors) = effects.iter().map(|effect| (effect.mean, effect.standard_error)).unzip();
        Ok(Findings {
            value: Measured { unit: "logits", dims: self.dims(), values },
            standard_errors: Some(errors),
            arrays: Vec::new(),
            details: vec![("clean", baselines.clean), ("corrupted", baselines.corrupted)],
            refusal: None,
        })
    }
}
