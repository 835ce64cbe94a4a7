//! An ONNX network on a task: what its input is fed with, and which part of its output is compared with something.

use ontogeny_graph::{Graph, GraphError, Node};

use super::error::{OnnxError, Problem};
use super::file::OnnxFile;
use super::host::Kind;
use super::proto::Dim;
use crate::{Interface, Read, SettingError};

/// Batches that a network is tried with before it is used: one that takes these takes others.
const TRIED: [usize; 3] = [1, 2, 3];

impl OnnxFile {
    /// Whether it reads what the task gives and gives what the task reads.
    pub(super) fn check(&self, interface: Interface) -> Result<(), SettingError> {
        for batch in TRIED {
            let mut g = Graph::new();
            let logits = self.try_build(&mut g, interface, batch).map_err(|error| error.as_setting())?;
            g.check().map_err(|error| self.failed(Problem::new(error.to_string(), "a graph without mistakes")))?;
            debug_assert_eq!(g.shape(logits), logits_shape(interface, batch));
        }
        Ok(())
    }

    /// Declares the task's input and gives the logits. What goes wrong at this batch alone is kept by the graph.
    pub(super) fn build_logits(&self, g: &mut Graph, interface: Interface, batch: usize) -> Node {
        match self.try_build(g, interface, batch) {
            Ok(logits) => logits,
            Err(OnnxError { path, place, found, expected }) => {
                let operation = format!("{} for a batch of {batch}", path.display());
                g.fail(GraphError::Shape { operation, node: Some(place), found, expected });
                let zero = g.constant(0.0);
                g.broadcast(zero, &logits_shape(interface, batch))
            }
        }
    }

    fn try_build(&self, g: &mut Graph, interface: Interface, batch: usize) -> Result<Node, OnnxError> {
        let (declared, rank) = (self.input.data_type, self.input.dims.as_ref().map(Vec::len));
        let at_input = |problem| OnnxError::new(&self.path, format!("input `{}`", self.input.name), problem);
        let is_integer = matches!(declared, 2..=7 | 12 | 13);
        let output = match interface {
            Interface::Tokens { vocabulary, length, .. } => {
                let tokens = g.input_ids("tokens", &[batch, length]);
                if !is_integer || rank.is_some_and(|rank| rank != 2) {
                    let found = format!("{} {}", self.dims(), if is_integer { "of integers" } else { "of floats" });
                    let expected = format!("token ids [batch, {length}], because {}", gives(interface));
                    return Err(at_input(Problem::new(found, expected)));
                }
                if let Some([_, Dim::Static(fixed)]) = self.input.dims.as_deref()
                    && *fixed != length as i64
                {
                    let expected = format!("{length}, the task's, or a dynamic axis");
                    return Err(at_input(Problem::new(format!("sequences of {fixed} ids"), expected)));
                }
                self.build(g, tokens, Kind::Int, vocabulary)?
            }
            Interface::Vectors { inputs, image, .. } => {
                let x = g.input("x", &[batch, inputs]);
                let shape = self.input_shape(batch, inputs, image).filter(|_| !is_integer).ok_or_else(|| {
                    let image = image.map_or_else(String::new, |image| format!(" (images of {image:?})"));
                    let found = format!("{} {}", self.dims(), if is_integer { "of integers" } else { "of floats" });
                    at_input(Problem::new(found, format!("[batch, …] with {inputs} floats{image} for each example")))
                })?;
                let x = g.reshape(x, &shape);
                self.build(g, x, Kind::Float, 0)?
            }
            Interface::Pairs { .. } | Interface::LabelledItems { .. } => {
                let expected = "a task of sequences of ids, vectors or images for an ONNX network";
                return Err(at_input(Problem::new(gives(interface), expected)));
            }
        };
        let found = g.shape(output).to_vec();
        select(g, output, interface, batch).ok_or_else(|| {
            let expected = match interface {
                Interface::Tokens { vocabulary, length, read: Read::Tokens { .. } } => format!(
                    "[{batch}, {length}, {vocabulary}]: logits at every position over the task's vocabulary (its key `vocabulary`)"
                ),
                Interface::Tokens { length, read: Read::LastPosition { classes }, .. } => {
                    format!("[{batch}, {length}, n] or [{batch}, n] with n at least {classes}")
                }
                _ => format!("{:?}", logits_shape(interface, batch)),
            };
            let problem = self.with_hint(Problem::new(format!("{found:?} for a batch of {batch}"), expected));
            OnnxError::new(&self.path, format!("output `{}`", self.output), problem)
        })
    }

    /// The shape in which the network reads vectors.
    fn input_shape(&self, batch: usize, inputs: usize, image: Option<[usize; 3]>) -> Option<Vec<usize>> {
        let image = image.map(|image| image.to_vec());
        let Some(dims) = &self.input.dims else {
            return Some([vec![batch], image.unwrap_or_else(|| vec![inputs])].concat());
        };
        let rest = dims.get(1..)?;
        let mut shape = Vec::with_capacity(dims.len());
        for (i, dim) in rest.iter().enumerate() {
            shape.push(match (dim, &image) {
                (Dim::Static(extent), _) => Some(usize::try_from(*extent).ok()?),
                (Dim::Dynamic(_), Some(image)) if image.len() == rest.len() => Some(image[i]),
                (Dim::Dynamic(_), _) => None,
            });
        }
        // One open extent is what the others leave.
        let known = shape.iter().flatten().try_fold(1_usize, |n, &extent| n.checked_mul(extent))?;
        let n_open = shape.iter().filter(|extent| extent.is_none()).count();
        if known == 0 || n_open > 1 || !inputs.is_multiple_of(known) || (n_open == 0 && known != inputs) {
            return None;
        }
        let agrees = image.is_none_or(|image| {
            image.len() != rest.len() || image.iter().zip(&shape).all(|(a, b)| b.is_none_or(|b| b == *a))
        });
        let rest = shape.into_iter().map(|extent| extent.unwrap_or(inputs / known));
        agrees.then(|| [batch].into_iter().chain(rest).collect())
    }

    /// The declared shape of the input, for messages.
    fn dims(&self) -> String {
        let Some(dims) = &self.input.dims else { return "a tensor of any shape".to_owned() };
        let names: Vec<String> = dims.iter().map(ToString::to_string).collect();
        format!("[{}]", names.join(", "))
    }

    fn failed(&self, problem: Problem) -> SettingError {
        OnnxError::new(&self.path, "the graph", problem).as_setting()
    }
}

impl std::fmt::Display for Dim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Static(extent) => write!(f, "{extent}"),
            Self::Dynamic(name) if name.is_empty() => f.write_str("?"),
            Self::Dynamic(name) => f.write_str(name),
        }
    }
}

fn gives(interface: Interface) -> String {
    format!("the task gives {interface}")
}

/// Shape of a model's logits.
fn logits_shape(interface: Interface, batch: usize) -> Vec<usize> {
    match interface {
        Interface::Tokens { vocabulary, length, read: Read::Tokens { .. } } => vec![batch, length, vocabulary],
        Interface::Tokens { read: Read::LastPosition { classes }, .. } | Interface::LabelledItems { classes, .. } => {
            vec![batch, classes]
        }
        Interface::Vectors { outputs, .. } => vec![batch, outputs],
        Interface::Pairs { pairs, .. } => vec![batch, pairs],
    }
}

/// The part of the output that the task reads, if there is one.
fn select(g: &mut Graph, output: Node, interface: Interface, batch: usize) -> Option<Node> {
    let shape = g.shape(output).to_vec();
    let wanted = logits_shape(interface, batch);
    match (interface, &shape[..]) {
        (Interface::Tokens { length, read: Read::LastPosition { classes }, .. }, &[b, l, n])
            if b == batch && l == length && n >= classes =>
        {
            let last = g.select_index(output, 1, length - 1);
            Some(g.slice(last, 1, 0, classes))
        }
        (Interface::Tokens { read: Read::LastPosition { classes }, .. }, &[b, n]) if b == batch && n >= classes => {
            Some(g.slice(output, 1, 0, classes))
        }
        _ if shape == wanted => Some(output),
        // Extents of one, as of a single output.
        (Interface::Vectors { .. }, _)
            if shape.first() == Some(&batch) && shape.iter().product::<usize>() == wanted.iter().product::<usize>() =>
        {
            Some(g.reshape(output, &wanted))
        }
        _ => None,
    }
}
