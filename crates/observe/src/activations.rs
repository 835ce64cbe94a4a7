//! Activations at named places of a network, a row for each sample.

use ontogeny_graph::{DataSet, Gradient, Graph, Program, Workspace};
use ontogeny_stats::Matrix;
use ontogeny_zoo::{Interface, Model, Split};

use crate::interventions::is_activation;
use crate::samples::{Sample, Samples, sequence_length};
use crate::{Checkpoint, ObserveError};

/// Most numbers of one activation in one execution, 16 MB.
const MAX_ACTIVATION: usize = 1 << 22;

/// Reads activations of the same samples for any weights.
#[derive(Debug)]
pub(crate) struct ActivationReader {
    program: Program,
    workspace: Workspace,
    places: Vec<Place>,
    data: DataSet,
    samples: Vec<Sample>,
    batch: usize,
}

/// A named activation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) name: String,
    /// How its numbers are laid out for one example.
    pub(crate) layout: Layout,
    /// Features of a sample.
    pub(crate) width: usize,
}

/// What the axes of an activation are, behind that of the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// `[features]`.
    Features,
    /// `[position, features]` or `[position, head, features]`.
    Positions,
    /// `[channel, height, width]`: a feature is the mean of a channel.
    Image {
        /// Height by width.
        places: usize,
    },
}

impl ActivationReader {
    /// Compiles the forward pass to `places`, or to the default ones where none are named.
    pub(crate) fn new(
        model: &Model,
        places: &[String],
        split: &Split,
        samples: &Samples,
        observable: &'static str,
    ) -> Result<Self, ObserveError> {
        let (graph, _) = model.graph(1);
        let mut names = if places.is_empty() { default_places(&graph) } else { places.to_vec() };
        let mut seen = std::collections::BTreeSet::new();
        names.retain(|name| seen.insert(name.clone()));
        if names.is_empty() {
            return Err(ObserveError::NotDefined {
                observable,
                needs: "`places`, names of activations".to_owned(),
                found: "none in the run file, and no hidden layer of a known name".to_owned(),
            });
        }
        if let Some(name) = names.iter().find(|name| graph.find(name).is_ok() && !is_activation(model, &graph, name)) {
            return Err(ObserveError::NotDefined {
                observable,
                needs: "activations in `places`, which differ from example to example".to_owned(),
                found: format!("`{name}`"),
            });
        }
        let places = names
            .into_iter()
            .map(|name| Place::of(&graph, name, model.interface(), observable))
            .collect::<Result<Vec<Place>, _>>()?;
        let positions: std::collections::BTreeSet<usize> = samples.chosen.iter().map(|s| s.position).collect();
        let single = |place: &&Place| place.layout == Layout::Features && sequence_length(model.interface()).is_some();
        if let Some(place) = places.iter().find(single).filter(|_| positions.len() > 1) {
            return Err(ObserveError::NotDefined {
                observable,
                needs: "activations of every position of a sequence".to_owned(),
                found: format!("`{}`, which there is of the last alone", place.name),
            });
        }
        let of_one = |place: &Place| graph.find(&place.name).map_or(1, |node| graph.shape(node).iter().product());
        let largest: usize = places.iter().map(of_one).max().unwrap_or(1);
        let batch = (MAX_ACTIVATION / largest.max(1)).clamp(1, 256).min(samples.examples.len().max(1));
        let (graph, _) = model.graph(batch);
        let outputs = places.iter().map(|place| Ok((place.name.as_str(), graph.find(&place.name)?)));
        let outputs = outputs.collect::<Result<Vec<_>, ObserveError>>()?;
        let program = Program::compile(&graph, &outputs, Gradient::None)?;
        let workspace = Workspace::new(&program);
        let data = split.data.rows(&samples.examples);
        Ok(Self { program, workspace, places, data, samples: samples.chosen.clone(), batch })
    }

    pub(crate) fn places(&self) -> &[Place] {
        &self.places
    }

    /// Names of the places.
    pub(crate) fn labels(&self) -> Vec<String> {
        self.places.iter().map(|place| place.name.clone()).collect()
    }

    /// The examples that are read.
    pub(crate) fn data(&self) -> &DataSet {
        &self.data
    }

    /// (samples, features) of each place.
    pub(crate) fn read(&mut self, weights: &[f32], checkpoint: &Checkpoint<'_>) -> Result<Vec<Matrix>, ObserveError> {
        let mut values: Vec<Vec<f64>> =
            self.places.iter().map(|place| Vec::with_capacity(self.samples.len() * place.width)).collect();
        let mut next = 0;
        for first in (0..self.data.len()).step_by(self.batch) {
            checkpoint.check_cancelled()?;
            let rows: Vec<usize> = (first..(first + self.batch).min(self.data.len())).collect();
            self.data.fill(&self.program, &mut self.workspace, &rows)?;
            self.program.run(&mut self.workspace, weights)?;
            let n = self.samples[next..].iter().take_while(|sample| sample.row < first + rows.len()).count();
            let mut is_finite = true;
            for (place, values) in self.places.iter().zip(&mut values) {
                let activation = self.workspace.output(&self.program, &place.name);
                let of_example = activation.len() / self.batch;
                let before = values.len();
                for sample in &self.samples[next..next + n] {
                    let own = &activation[(sample.row - first) * of_example..][..of_example];
                    place.append(own, sample.position, values);
                }
                is_finite &= values[before..].iter().all(|v| v.is_finite());
            }
            next += n;
            if !is_finite {
                let node = self.program.first_non_finite(&mut self.workspace, weights)?;
                return Err(ObserveError::non_finite(node, "the activations"));
            }
        }
        let matrix = |(place, values): (&Place, Vec<f64>)| Ok(Matrix::new(self.samples.len(), place.width, values)?);
        self.places.iter().zip(values).map(matrix).collect()
    }
}

impl Place {
    fn of(graph: &Graph, name: String, interface: Interface, observable: &'static str) -> Result<Self, ObserveError> {
        let shape = graph.shape(graph.find(&name)?).to_vec();
        let length = sequence_length(interface);
        let layout = match (shape.get(1..), length) {
            (Some([_]), _) => Some((Layout::Features, shape[1])),
            (Some([positions, rest @ ..]), Some(length)) if *positions == length && rest.len() <= 2 => {
                Some((Layout::Positions, rest.iter().product()))
            }
            (Some([channels, height, width]), None) => Some((Layout::Image { places: height * width }, *channels)),
            _ => None,
        };
        let Some((layout, width)) = layout else {
            return Err(ObserveError::NotDefined {
                observable,
                needs:
                    "activations [batch, features], [batch, position, …, features] or [batch, channel, height, width]"
                        .to_owned(),
                found: format!("`{name}` of shape {shape:?}"),
            });
        };
        Ok(Self { name, layout, width })
    }

    /// Adds the features of one position of one example.
    fn append(&self, activation: &[f32], position: usize, to: &mut Vec<f64>) {
        match self.layout {
            Layout::Features => to.extend(activation.iter().map(|&v| f64::from(v))),
            Layout::Positions => {
                let own = &activation[position * self.width..(position + 1) * self.width];
                to.extend(own.iter().map(|&v| f64::from(v)));
            }
            Layout::Image { places } => {
                let mean = |channel: &[f32]| channel.iter().map(|&v| f64::from(v)).sum::<f64>() / places as f64;
                to.extend(activation.chunks_exact(places).map(mean));
            }
        }
    }
}

/// The residual stream after each block; of other networks the hidden layers, in the order of the network.
fn default_places(graph: &Graph) -> Vec<String> {
    let ending = |suffixes: &[&str]| {
        let is_wanted = |name: &str| {
            suffixes.iter().any(|suffix| name == *suffix || name.strip_suffix(suffix).is_some_and(|r| r.ends_with('.')))
        };
        let mut found: Vec<_> = graph.names().filter(|(name, _)| is_wanted(name)).map(|(n, node)| (node, n)).collect();
        found.sort_unstable();
        found.into_iter().map(|(_, name)| name.to_owned()).collect::<Vec<String>>()
    };
    let stream = ending(&["hook_resid_post"]);
    if stream.is_empty() { ending(&["hook_post", "hook_out", "hook_pooled", "hook_hidden"]) } else { stream }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use ontogeny_zoo::{NetworkConfig, TaskConfig};
    use serde_json::{from_value, json};

    use super::*;
    use crate::Subject;
    use crate::samples::PositionsOf;

    fn setting(task: serde_json::Value, network: serde_json::Value) -> (Model, ontogeny_zoo::Task) {
        let task: TaskConfig = from_value(task).unwrap();
        let network: NetworkConfig = from_value(network).unwrap();
        let task = task.prepare(3, Path::new(".")).unwrap();
        (Model::new(network, task.interface).unwrap(), task)
    }

    fn transformer(layers: usize) -> serde_json::Value {
        json!({
            "kind": "transformer", "layers": layers, "d_model": 8, "heads": 2, "d_mlp": 16, "activation": "relu",
            "normalization": "none", "positions": "learned",
        })
    }

    #[test]
    fn rows_are_the_activations_of_their_position() {
        let task =
            json!({ "kind": "repeated_tokens", "vocabulary": 11, "block": 6, "repeats": 2, "train_examples": 300 });
        let (model, task) = setting(task, transformer(11));
        let subject = Subject { model: &model, task: &task, seed: 1 };
        let split = task.split("train").unwrap();
        let samples = Samples::choose(&subject, split, 290, PositionsOf::All(0));
        let mut reader = ActivationReader::new(&model, &[], split, &samples, "similarity").unwrap();
        let labels: Vec<String> = (0..11).map(|layer| format!("blocks.{layer}.hook_resid_post")).collect();
        assert_eq!(reader.labels(), labels);
        let weights = model.initial_weights(2);
        let found = reader.read(&weights, &Checkpoint::alone(&weights)).unwrap();
        assert_eq!((found.len(), found[3].n_rows(), found[3].n_columns()), (11, samples.chosen.len(), 8));

        // One example alone, by a program of its own.
        let (graph, _) = model.graph(1);
        let node = graph.find("blocks.3.hook_resid_post").unwrap();
        let program = Program::compile(&graph, &[("x", node)], Gradient::None).unwrap();
        let mut workspace = Workspace::new(&program);
        for at in [0, 7, 260, 289] {
            let sample = samples.chosen[at];
            split.data.fill(&program, &mut workspace, &[samples.examples[sample.row]]).unwrap();
            program.run(&mut workspace, &weights).unwrap();
            let expected = &workspace.output(&program, "x")[sample.position * 8..][..8];
            for (found, expected) in found[3].row(at).iter().zip(expected) {
                // Sums of eight, in another order.
                assert!((found - f64::from(*expected)).abs() < 1e-5 * (1.0 + found.abs()), "{found} {expected}");
            }
        }
        let mut holed = weights.clone();
        holed[3] = f32::NAN;
        assert!(reader.read(&holed, &Checkpoint::alone(&holed)).unwrap_err().to_string().contains("non-finite"));
        let named = |name: &str| ActivationReader::new(&model, &[name.to_owned()], split, &samples, "similarity");
        assert_eq!(named("blocks.0.attn.hook_z").unwrap().places()[0].width, 8);
        let error = named("blocks.0.attn.hook_pattern").unwrap_err().to_string();
        assert!(error.contains("`blocks.0.attn.hook_pattern` of shape [1, 2, 12, 12]"), "{error}");
        assert!(named("blocks.0.hook_resid_past").unwrap_err().to_string().contains("did you mean"));
    }

    #[test]
    fn hidden_layers_are_the_default_and_channels_are_means() {
        let (model, task) = setting(
            json!({ "kind": "images", "train_fraction": 0.6 }),
            json!({ "kind": "cnn", "channels": [3, 4], "kernel": 3, "padding": 1, "dense": [6], "activation": "relu" }),
        );
        let subject = Subject { model: &model, task: &task, seed: 1 };
        let split = &task.splits[0];
        let samples = Samples::choose(&subject, split, 20, PositionsOf::Answers);
        let mut reader = ActivationReader::new(&model, &[], split, &samples, "similarity").unwrap();
        assert_eq!(reader.labels(), ["conv.0.hook_post", "conv.1.hook_post", "dense.0.hook_post"]);
        let widths: Vec<usize> = reader.places().iter().map(|place| place.width).collect();
        assert_eq!(widths, [3, 4, 6]);
        let weights = model.initial_weights(2);
        let found = reader.read(&weights, &Checkpoint::alone(&weights)).unwrap();
        assert!(found[0].values().iter().any(|v| *v > 0.0) && found[0].n_rows() == 20);
    }
}
