//! What the activations of a network are like over examples: their dimension, dead units, sparsity.

use ontogeny_graph::{DType, DataSet, Gradient, Graph, Program, Purpose, Stream, Workspace};
use ontogeny_stats::{GramSum, Neighbours, components_for_share, entropy_rank, gini, hoyer, participation_ratio};
use ontogeny_zoo::Model;
use serde::{Deserialize, Serialize};

use crate::interventions::chosen_rows;
use crate::{Checkpoint, Findings, Instrument, Measured, ObserveError, Settings, Subject};

/// Version of the numbers of [`ActivationStatisticsSettings`].
pub(crate) const ACTIVATION_STATISTICS_VERSION: u32 = 1;

/// Stream of [`Purpose::Probe`] for the rows whose neighbours are looked for.
const POINTS: u64 = (1 << 40) + 2;

/// Most numbers of all activations of one execution, 64 MB.
const MAX_ACTIVATIONS: usize = 1 << 24;

/// Examples of one execution, where memory allows.
const BATCH: usize = 256;

/// The numbers of a place, in the order of the array.
const SCORES: [&str; 10] = [
    "participation_ratio",
    "pca_90",
    "pca_95",
    "pca_99",
    "entropy_rank",
    "two_nn",
    "levina_bickel",
    "dead",
    "gini",
    "hoyer",
];

/// Settings of `observable = "activation_statistics"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ActivationStatisticsSettings {
    /// Names of activations; unless given the residual stream behind each block and the neurons of each MLP, or the hidden layers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub places: Option<Vec<String>>,
    /// The split whose examples are run.
    pub split: String,
    /// Examples, evenly spaced over the split; all where there are fewer.
    pub examples: usize,
    /// Rows whose nearest neighbours are looked for, drawn at random; all where there are fewer.
    pub points: usize,
    /// Neighbours of the estimate of Levina and Bickel.
    pub neighbours: usize,
}

impl Default for ActivationStatisticsSettings {
    fn default() -> Self {
        Self { places: None, split: "train".to_owned(), examples: 1000, points: 2000, neighbours: 10 }
    }
}

impl Settings for ActivationStatisticsSettings {
    fn build(&self, subject: &Subject<'_>) -> Result<Box<dyn Instrument>, ObserveError> {
        let wrong = |key: &str, found: usize, expected: &str| {
            Err(ObserveError::Setting(format!("`{key}` is {found}; expected {expected}")))
        };
        if self.neighbours < 2 {
            return wrong("neighbours", self.neighbours, "at least 2");
        }
        if self.points <= self.neighbours {
            return wrong("points", self.points, "more than `neighbours`");
        }
        let (split, rows) = chosen_rows(subject.task, Some(&self.split), self.examples)?;
        let data = split.data.rows(&rows);
        Ok(Box::new(ActivationStatistics::new(self, subject.model, subject.seed, data)?))
    }
}

/// Programs and choices of the measurement.
#[derive(Debug)]
struct ActivationStatistics {
    program: Program,
    workspace: Workspace,
    data: DataSet,
    batch: usize,
    neighbours: usize,
    places: Vec<Place>,
}

/// An activation that is read.
#[derive(Debug)]
struct Place {
    name: String,
    /// Units: numbers of a row.
    width: usize,
    /// Rows of an example.
    n_rows: usize,
    /// Whether the units stand before the rows, as the channels of an image do.
    is_turned: bool,
    /// Numbers of the rows, over all examples, whose neighbours are looked for; ascending.
    points: Vec<usize>,
}

impl ActivationStatistics {
    fn new(
        settings: &ActivationStatisticsSettings,
        model: &Model,
        seed: u32,
        data: DataSet,
    ) -> Result<Self, ObserveError> {
        let (graph, _) = model.graph(1);
        let names = match &settings.places {
            Some(names) => names.clone(),
            None => usual_places(&graph),
        };
        if names.is_empty() {
            let mut known: Vec<&str> =
                graph.names().map(|(name, _)| name).filter(|name| !name.ends_with("loss")).collect();
            known.sort_unstable();
            return Err(ObserveError::NotDefined {
                observable: "activation_statistics",
                needs: "`places`, names of activations (residual streams and hidden layers are found by the names that the \
                        networks here give them)"
                    .to_owned(),
                found: format!("the activations {}", known.join(", ")),
            });
        }
        let mut places: Vec<Place> = Vec::new();
        for name in names {
            if places.iter().any(|place| place.name == name) {
                return Err(ObserveError::Setting(format!("`places` names `{name}` twice; expected each once")));
            }
            places.push(Place::of(&graph, name, data.len(), settings.points, seed)?);
        }
        let per_example: usize = places.iter().map(|place| place.n_rows * place.width).sum();
        let batch = (MAX_ACTIVATIONS / per_example.max(1)).clamp(1, BATCH).min(data.len());
        let (graph, _) = model.graph(batch);
        let nodes = places.iter().map(|place| Ok((place.name.as_str(), graph.find(&place.name)?)));
        let outputs = nodes.collect::<Result<Vec<_>, ObserveError>>()?;
        let program = Program::compile(&graph, &outputs, Gradient::None)?;
        let workspace = Workspace::new(&program);
        Ok(Self { program, workspace, data, batch, neighbours: settings.neighbours, places })
    }
}

/// The residual stream behind each block, neurons behind their nonlinearity, and what else networks here call hidden layers.
fn usual_places(graph: &Graph) -> Vec<String> {
    let ends = ["hook_resid_post", "hook_post", "hook_hidden", "hook_out", "hook_pooled"];
    let is_usual = |name: &str| ends.contains(&name.rsplit('.').next().unwrap_or_default());
    let mut found: Vec<_> = graph.names().filter(|(name, _)| is_usual(name)).collect();
    // In the order of the computation: nodes are numbered as they are built.
    found.sort_by_key(|(_, node)| *node);
    found.into_iter().map(|(name, _)| name.to_owned()).collect()
}

impl Place {
    fn of(graph: &Graph, name: String, n_examples: usize, n_points: usize, seed: u32) -> Result<Self, ObserveError> {
        let node = graph.find(&name)?;
        // Of a batch of one example; by the first axis the graph may also have none of examples, as tables of positions.
        let shape = if graph.dtype(node) == DType::Float { graph.shape(node) } else { &[] };
        let (width, n_rows, is_turned) = match *shape {
            [1, width] => (width, 1, false),
            [1, length, width] => (width, length, false),
            [1, channels, height, width] if is_of_images(&name) => (channels, height * width, true),
            [1, length, ref rest @ ..] if rest.len() == 2 => (rest.iter().product(), length, false),
            _ => {
                return Err(ObserveError::NotDefined {
                    observable: "activation_statistics",
                    needs: "numbers [batch, units], [batch, position, units], [batch, position, head, entry] or [batch, channel, \
                            height, width]"
                        .to_owned(),
                    found: format!("`{name}` of shape {:?} for one example", graph.shape(node)),
                });
            }
        };
        let n_all = n_examples * n_rows;
        let mut points: Vec<usize> = if n_all <= n_points {
            (0..n_all).collect()
        } else {
            Stream::new(seed, Purpose::Probe, POINTS).permutation(n_all, 0).into_iter().take(n_points).collect()
        };
        points.sort_unstable();
        Ok(Self { name, width, n_rows, is_turned, points })
    }

    /// The rows of the first `n_examples` of an output.
    fn rows(&self, output: &[f32], n_examples: usize) -> Vec<f32> {
        let each = self.n_rows * self.width;
        let used = &output[..n_examples * each];
        if !self.is_turned {
            return used.to_vec();
        }
        let turned = |example: &[f32]| -> Vec<f32> {
            (0..self.n_rows)
                .flat_map(|row| (0..self.width).map(move |unit| (row, unit)))
                .map(|(row, unit)| example[unit * self.n_rows + row])
                .collect()
        };
        used.chunks_exact(each).flat_map(turned).collect()
    }
}

/// Of four axes, whether they are channels, height and width: convolutional networks here call their layers so.
fn is_of_images(name: &str) -> bool {
    name.starts_with("conv.") || name.starts_with("stages.")
}

/// What is gathered of a place, batch by batch.
struct Gathered {
    products: GramSum,
    /// First row, and of each unit whether it was ever another number.
    first: Vec<f32>,
    varies: Vec<bool>,
    gini: f64,
    hoyer: f64,
    points: Vec<f32>,
}

impl Gathered {
    fn new(place: &Place) -> Self {
        let varies = vec![false; place.width];
        let products = GramSum::about_mean(place.width);
        Self { products, first: Vec::new(), varies, gini: 0.0, hoyer: 0.0, points: Vec::new() }
    }

    /// Adds rows that follow those before; `Err` where one is not finite.
    fn add(&mut self, place: &Place, rows: &[f32]) -> Result<(), ontogeny_stats::ArrayError> {
        let before = self.products.n_rows();
        self.products.add(rows)?;
        if self.first.is_empty() {
            self.first = rows[..place.width].to_vec();
        }
        let mut wide = vec![0.0; place.width];
        for row in rows.chunks_exact(place.width) {
            for (((varies, first), x), wide) in self.varies.iter_mut().zip(&self.first).zip(row).zip(&mut wide) {
                *varies |= x != first;
                *wide = f64::from(*x);
            }
            self.gini += gini(&wide).unwrap_or(0.0);
            self.hoyer += hoyer(&wide).unwrap_or(0.0);
        }
        let end = self.products.n_rows();
        let from = place.points.partition_point(|&point| point < before);
        let to = place.points.partition_point(|&point| point < end);
        for point in &place.points[from..to] {
            let at = (point - before) * place.width;
            self.points.extend_from_slice(&rows[at..at + place.width]);
        }
        Ok(())
    }

    /// The scores; 0 for a dimension of rows that are all the same, or of too few distinct ones.
    fn scores(&self, place: &Place, neighbours: usize) -> [f64; SCORES.len()] {
        let variances = self.products.squared_singular_values();
        let n_rows = self.products.n_rows() as f64;
        let nearest = Neighbours::of(&self.points, place.width, neighbours).expect("whole rows that are finite");
        let component = |share| components_for_share(&variances, share).unwrap_or(0) as f64;
        let n_dead = self.varies.iter().filter(|varies| !**varies).count();
        [
            participation_ratio(&variances).unwrap_or(0.0),
            component(0.9),
            component(0.95),
            component(0.99),
            entropy_rank(&variances).unwrap_or(0.0),
            nearest.two_nn().unwrap_or(0.0),
            nearest.levina_bickel(neighbours).unwrap_or(0.0),
            n_dead as f64 / place.width as f64,
            self.gini / n_rows,
            self.hoyer / n_rows,
        ]
    }
}

impl Instrument for ActivationStatistics {
    fn dims(&self) -> Vec<(&'static str, Vec<String>)> {
        let names = self.places.iter().map(|place| place.name.clone()).collect();
        vec![("place", names), ("score", SCORES.map(str::to_owned).to_vec())]
    }

    fn measure(&mut self, checkpoint: &Checkpoint<'_>) -> Result<Findings, ObserveError> {
        let mut gathered: Vec<Gathered> = self.places.iter().map(Gathered::new).collect();
        let examples: Vec<usize> = (0..self.data.len()).collect();
        let n_parts = examples.len().div_ceil(self.batch) + self.places.len();
        let mut n_done = 0;
        let mut done = || {
            n_done += 1;
            (checkpoint.progress)(f64::from(n_done) / n_parts as f64);
        };
        for rows in examples.chunks(self.batch) {
            checkpoint.check_cancelled()?;
            self.data.fill(&self.program, &mut self.workspace, rows)?;
            self.program.run(&mut self.workspace, checkpoint.weights)?;
            for (place, gathered) in self.places.iter().zip(&mut gathered) {
                let found = place.rows(self.workspace.output(&self.program, &place.name), rows.len());
                if gathered.add(place, &found).is_err() {
                    let node = self.program.first_non_finite(&mut self.workspace, checkpoint.weights)?;
                    return Err(ObserveError::non_finite(node, &place.name));
                }
            }
            done();
        }
        let mut values = Vec::with_capacity(self.places.len() * SCORES.len());
        for (place, gathered) in self.places.iter().zip(&gathered) {
            checkpoint.check_cancelled()?;
            values.extend(gathered.scores(place, self.neighbours));
            done();
        }
        let details = vec![("n_examples", self.data.len() as f64)];
        let value = Measured { unit: "1", dims: self.dims(), values };
        Ok(Findings { details, ..value.into() })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use ontogeny_graph::{Column, ColumnData};
    use ontogeny_zoo::{Interface, NetworkConfig, Split, Task, TaskConfig, VectorLoss};
    use serde_json::{Value, from_value, json};

    use super::*;

    fn measure(settings: &ActivationStatisticsSettings, task: &Task, model: &Model, weights: &[f32]) -> Measured {
        let mut instrument = settings.build(&Subject { model, task, seed: 5 }).unwrap();
        let found = instrument.measure(&Checkpoint::alone(weights)).unwrap().value;
        assert_eq!(found.dims, instrument.dims());
        found
    }

    fn score(found: &Measured, place: &str, score: &str) -> f64 {
        let at = |dim: usize, label: &str| found.dims[dim].1.iter().position(|own| own == label).unwrap();
        found.values[at(0, place) * SCORES.len() + at(1, score)]
    }

    fn vectors(x: Vec<f32>, inputs: usize, image: Option<[usize; 3]>) -> Task {
        let n = x.len() / inputs;
        let columns = vec![
            Column { name: "x".to_owned(), width: inputs, data: ColumnData::Float(x) },
            Column { name: "y".to_owned(), width: 2, data: ColumnData::Float(vec![0.0; 2 * n]) },
        ];
        let data = DataSet::new(n, columns).unwrap();
        let split = Split { name: "train", indices: (0..n).collect(), data, subtasks: Vec::new() };
        let interface = Interface::Vectors { inputs, outputs: 2, loss: VectorLoss::MeanSquared, image };
        Task {
            interface,
            splits: vec![split],
            endless: None,
            subtasks: None,
            environment: None,
            corpus: None,
            words: None,
        }
    }

    fn model(task: &Task, network: Value) -> Model {
        Model::new(from_value::<NetworkConfig>(network).unwrap(), task.interface).unwrap()
    }

    /// Inputs on a cube of five dimensions, carried on isometrically to eight units, and a layer that never fires.
    #[test]
    fn dimensions_of_a_cube_and_units_that_are_dead() {
        let (n, d, hidden) = (2000, 5, 8);
        let stream = Stream::new(1, Purpose::Data, 0);
        let x: Vec<f32> = (0..n * d).map(|at| stream.uniform(0, at as u32) as f32).collect();
        let task = vectors(x, d, None);
        let model = model(&task, json!({"kind": "mlp", "sizes": [d, hidden, 4, 2], "activation": "relu"}));
        let mut weights = vec![0.0; model.space().len()];
        let mut set = |name: &str, index: usize, value: f32| {
            let range = model.space().find(name).unwrap().range.clone();
            weights[range.start + index] = value;
        };
        // The unit matrix into the first five of eight units, the sixth held at 1, two at 0; then a layer below zero.
        for i in 0..d {
            set("layers.0.W", i * hidden + i, 1.0);
        }
        set("layers.0.b", 5, 1.0);
        (0..4).for_each(|i| set("layers.1.b", i, -1.0));
        let settings = ActivationStatisticsSettings { examples: n, ..ActivationStatisticsSettings::default() };
        let found = measure(&settings, &task, &model, &weights);
        assert_eq!(found.dims[0].1, ["layers.0.hook_post", "layers.1.hook_post"]);
        let first = |of: &str| score(&found, "layers.0.hook_post", of);
        // Five equal variances, each of a sample with a relative error of √(0.8/n) (the kurtosis of a uniform is 1.8).
        assert!((first("participation_ratio") - 5.0).abs() < 0.05, "{}", first("participation_ratio"));
        assert!((first("entropy_rank") - 5.0).abs() < 0.05);
        assert_eq!(["pca_90", "pca_95", "pca_99"].map(first), [5.0; 3]);
        assert!((first("two_nn") - 4.8).abs() < 0.25, "{}", first("two_nn"));
        assert!((first("levina_bickel") - 4.6).abs() < 0.35, "{}", first("levina_bickel"));
        assert_eq!(first("dead"), 3.0 / 8.0);
        for of in SCORES {
            let expected = if of == "dead" { 1.0 } else { 0.0 };
            assert_eq!(score(&found, "layers.1.hook_post", of), expected, "{of}");
        }
    }

    #[test]
    fn one_active_unit_at_a_time_is_as_sparse_as_can_be() {
        // Rows of a unit matrix: the covariance is I/n − 11ᵀ/n², of rank n − 1.
        let n = 6;
        let x: Vec<f32> = (0..n * n).map(|ij| if ij / n == ij % n { 1.0 } else { 0.0 }).collect();
        let task = vectors(x, n, None);
        let model = model(&task, json!({"kind": "mlp", "sizes": [n, n, 2], "activation": "relu", "biases": false}));
        let mut weights = vec![0.0; model.space().len()];
        (0..n).for_each(|i| weights[i * n + i] = 1.0);
        let settings =
            ActivationStatisticsSettings { points: 6, neighbours: 3, ..ActivationStatisticsSettings::default() };
        let found = measure(&settings, &task, &model, &weights);
        let first = |of: &str| score(&found, "layers.0.hook_post", of);
        assert!((first("participation_ratio") - 5.0).abs() < 1e-9 && (first("entropy_rank") - 5.0).abs() < 1e-9);
        assert_eq!((first("pca_99"), first("hoyer"), first("dead")), (5.0, 1.0, 0.0));
        assert!((first("gini") - 5.0 / 6.0).abs() < 1e-12);
        // Corners of a simplex are all equally far: no dimension is large enough but that of the space.
        assert_eq!([first("two_nn"), first("levina_bickel")], [6.0, 6.0]);
    }

    #[test]
    fn places_of_each_network_and_rows_of_images() {
        let (channels, side) = (2, 6);
        let mut x = vec![0.0; 40 * channels * side * side];
        Stream::new(2, Purpose::Data, 0).normals(0, 0, &mut x);
        let task = vectors(x, channels * side * side, Some([channels, side, side]));
        let cnn =
            model(&task, json!({"kind": "cnn", "channels": [3], "kernel": 3, "dense": [4], "activation": "relu"}));
        let weights = cnn.initial_weights(1);
        let found = measure(&ActivationStatisticsSettings::default(), &task, &cnn, &weights);
        assert_eq!(found.dims[0].1, ["conv.0.hook_post", "dense.0.hook_post"]);
        // Three channels, whatever the image: a row is a place.
        assert!((1.0..=3.0).contains(&score(&found, "conv.0.hook_post", "participation_ratio")));
        let mut reader =
            ActivationStatistics::new(&ActivationStatisticsSettings::default(), &cnn, 0, task.splits[0].data.clone())
                .unwrap();
        assert_eq!((reader.places[0].width, reader.places[0].n_rows), (3, 16));
        reader.data.fill(&reader.program, &mut reader.workspace, &[0, 1]).unwrap();
        reader.program.run(&mut reader.workspace, &weights).unwrap();
        let output = reader.workspace.output(&reader.program, "conv.0.hook_post");
        let rows = reader.places[0].rows(output, 2);
        // Example 1, place 5, channel 2.
        assert_eq!(rows[(16 + 5) * 3 + 2], output[(3 + 2) * 16 + 5]);

        let config: TaskConfig =
            from_value(json!({"kind": "modular_arithmetic", "p": 5, "operation": "add", "train_fraction": 0.8}))
                .unwrap();
        let task = config.prepare(0, Path::new(".")).unwrap();
        let transformer = model(
            &task,
            json!({
                "kind": "transformer", "layers": 2, "d_model": 8, "heads": 2, "d_mlp": 6, "activation": "gelu",
                "normalization": "layer_norm", "positions": "learned",
            }),
        );
        let weights = transformer.initial_weights(1);
        let found = measure(&ActivationStatisticsSettings::default(), &task, &transformer, &weights);
        let expected =
            [0, 1].map(|layer| ["mlp.hook_post", "hook_resid_post"].map(|at| format!("blocks.{layer}.{at}")));
        assert_eq!(found.dims[0].1, expected.concat());
        assert!(found.values.iter().all(|value| value.is_finite()));
        // 20 sequences of 3 positions: half of them drawn, always the same.
        let some = ActivationStatisticsSettings {
            places: Some(vec!["blocks.0.attn.hook_z".to_owned()]),
            points: 30,
            ..ActivationStatisticsSettings::default()
        };
        let drawn = measure(&some, &task, &transformer, &weights);
        assert_eq!(drawn, measure(&some, &task, &transformer, &weights));
        assert!(score(&drawn, "blocks.0.attn.hook_z", "participation_ratio") <= 8.0);
    }

    #[test]
    fn what_cannot_be_measured_says_why() {
        let task = vectors(vec![1.0, 2.0, 3.0, 4.0], 2, None);
        let linear = model(&task, json!({"kind": "mlp", "sizes": [2, 2], "activation": "relu"}));
        let refused = |settings: Value| {
            let settings: ActivationStatisticsSettings = from_value(settings).unwrap();
            settings.build(&Subject { model: &linear, task: &task, seed: 0 }).err().unwrap().to_string()
        };
        for (settings, part) in [
            (json!({}), "this run has the activations"),
            (json!({"places": ["logit"]}), "`logits`"),
            (json!({"places": ["loss"]}), "`loss` of shape []"),
            (json!({"places": ["logits", "logits"]}), "`places` names `logits` twice"),
            (json!({"neighbours": 1}), "`neighbours` is 1; expected at least 2"),
            (json!({"points": 10}), "`points` is 10; expected more than `neighbours`"),
        ] {
            let found = refused(settings);
            assert!(found.contains(part), "{found}");
        }
        let settings: ActivationStatisticsSettings = from_value(json!({"places": ["logits"]})).unwrap();
        let mut instrument = settings.build(&Subject { model: &linear, task: &task, seed: 0 }).unwrap();
        let mut weights = linear.initial_weights(0);
        weights[0] = f32::NAN;
        let error = instrument.measure(&Checkpoint::alone(&weights)).unwrap_err().to_string();
        assert!(error.contains("layers.0.W"), "{error}");
    }
}
