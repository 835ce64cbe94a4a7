//! An ONNX file in memory: its nodes, its tensors, and which of these are weights.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};

use super::error::{EXPORT, OnnxError, Problem};
use super::proto::{Attribute, Dim, GraphProto, ModelProto, NodeProto, ValueInfo};
use super::tensor::TensorReader;
use crate::{NamedTensor, TensorData, memory};

/// An ONNX network, read and checked for form.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct OnnxFile {
    pub(super) path: PathBuf,
    /// BLAKE3 hash of the file and of the external data it names.
    pub(super) blake3: String,
    pub(super) producer: String,
    pub(super) opset: i64,
    pub(super) input: ValueInfo,
    pub(super) output: String,
    pub(super) outputs: Vec<ValueInfo>,
    pub(super) operations: Vec<Operation>,
    /// Initialisers by name.
    pub(super) tensors: BTreeMap<String, NamedTensor>,
    /// Names of those that are weights, in the file's order.
    pub(super) parameters: Vec<String>,
    /// The same, to look them up.
    weights: BTreeSet<String>,
    /// Parameters of PyTorch's model that no initialiser has: tied to others, or merged with them by the exporter.
    pub(super) lost: Vec<String>,
    /// Names of those that PyTorch calls buffers, also where the network does not read them.
    pub(super) buffers: BTreeSet<String>,
    pub(super) foldings: Vec<Folding>,
}

/// A node of the file.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Operation {
    /// How messages call it.
    pub(super) title: String,
    pub(super) operator: String,
    pub(super) domain: String,
    pub(super) inputs: Vec<String>,
    pub(super) outputs: Vec<String>,
    pub(super) settings: BTreeMap<String, Setting>,
}

/// An attribute of a node.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Setting {
    Integer(i64),
    Float(f32),
    Text(String),
    Integers(Vec<i64>),
    Floats(Vec<f32>),
    Tensor(NamedTensor),
    /// A subgraph and the like.
    Other,
}

/// A batch norm whose statistics go into its scale and shift, as it is frozen:
/// (x − μ)/√(σ² + ε)·γ + β = x·γ/√(σ² + ε) + (β − μ·γ/√(σ² + ε)).
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Folding {
    pub(super) scale: String,
    pub(super) shift: String,
    pub(super) mean: String,
    pub(super) variance: String,
    pub(super) epsilon: f64,
}

/// Operator sets of ONNX that are understood. Before 13, axes stood elsewhere.
const OPSETS: std::ops::RangeInclusive<i64> = 13..=26;

/// Longest file: more does not fit into one message.
const MAX_BYTES: u64 = 1 << 31;

/// Where PyTorch's exporter tells parameters from buffers.
const SIGNATURE: &str = "pkg.torch.export.ExportedProgram.graph_signature";

impl OnnxFile {
    /// Reads and checks a file. `constants` names initialisers that are no weights, where the file does not tell.
    pub(crate) fn read(path: &Path, constants: &[String]) -> Result<Self, OnnxError> {
        let bytes = read_bytes(path).map_err(|problem| OnnxError::new(path, "the file", problem))?;
        let failed = |place: &str, problem| OnnxError::new(path, place, problem);
        let model = ModelProto::read(&bytes)
            .map_err(|error| failed(&format!("byte {}", error.at), Problem::new(error.found, error.expected)))?;
        let whole = |found: &str, expected: &str| failed("the file", Problem::new(found, expected));
        let Some(graph) = model.graph else {
            return Err(whole("no graph", "an ONNX network; is it truncated, or of another kind?"));
        };
        let Some(&opset) = model.opsets.get("") else {
            return Err(whole("no version of ONNX's operators", "an `opset_import`"));
        };
        if !OPSETS.contains(&opset) {
            let found = format!("opset {opset}");
            let expected = format!("{} to {}; export with `opset_version=18`", OPSETS.start(), OPSETS.end());
            return Err(failed("the file", Problem::new(found, expected)));
        }
        if model.n_functions > 0 {
            return Err(whole(
                "functions of its own",
                "operators of ONNX only; export without `export_modules_as_functions`",
            ));
        }
        if graph.has_sparse {
            return Err(whole("sparse initialisers", "dense ones"));
        }
        let folder = path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
        let mut reader = TensorReader::new(folder, &bytes);
        let (tensors, order) = read_initializers(&graph, &mut reader, &failed)?;
        let operations = graph
            .nodes
            .iter()
            .map(|node| Operation::read(node, &mut reader).map_err(|problem| failed(&node.title(), problem)))
            .collect::<Result<Vec<_>, _>>()?;
        let mut inputs = graph.inputs.into_iter().filter(|input| !tensors.contains_key(&input.name));
        let (input, more) = (inputs.next(), inputs.map(|input| input.name).collect::<Vec<_>>());
        let Some(input) = input.filter(|_| more.is_empty()) else {
            let found =
                if more.is_empty() { "no input".to_owned() } else { format!("further inputs: {}", more.join(", ")) };
            return Err(failed(
                "the graph",
                Problem::new(found, "one: token ids, vectors or images; export a module whose `forward` takes one"),
            ));
        };
        let Some(output) = graph.outputs.first().map(|output| output.name.clone()) else {
            return Err(failed("the graph", Problem::new("no output", "one: logits or predictions")));
        };
        let mut file = Self {
            path: path.to_owned(),
            blake3: reader.hash(),
            producer: model.producer,
            opset,
            input,
            output,
            outputs: graph.outputs,
            operations,
            tensors,
            parameters: Vec::new(),
            weights: BTreeSet::new(),
            lost: Vec::new(),
            buffers: BTreeSet::new(),
            foldings: Vec::new(),
        };
        file.check_names(&failed)?;
        file.find_parameters(&order, graph.metadata.get(SIGNATURE).map(String::as_str), constants)?;
        file.find_foldings()?;
        Ok(file)
    }

    pub(super) fn is_parameter(&self, name: &str) -> bool {
        self.weights.contains(name)
    }

    /// The batch that the file was exported for, if it takes no other.
    pub(super) fn fixed_batch(&self) -> Option<i64> {
        match self.input.dims.as_deref() {
            Some([Dim::Static(n), ..]) => Some(*n),
            _ => None,
        }
    }

    /// Each name is given once (static single assignment).
    fn check_names(&self, failed: &dyn Fn(&str, Problem) -> OnnxError) -> Result<(), OnnxError> {
        let mut given: BTreeSet<&str> = self.tensors.keys().map(String::as_str).collect();
        given.insert(&self.input.name);
        for operation in &self.operations {
            for name in operation.outputs.iter().filter(|name| !name.is_empty()) {
                if !given.insert(name) {
                    let found = format!("the name `{name}` for a second value");
                    return Err(failed(&operation.title, Problem::new(found, "names that are given once")));
                }
            }
        }
        Ok(())
    }

    /// Which initialisers are weights: those that PyTorch's exporter calls parameters; where it says nothing, all of floats
    /// that a node reads, but those in `constants`, those that are not finite (masks), statistics of batch norms, and
    /// those that the exporter made itself and uses otherwise than as weights.
    fn find_parameters(
        &mut self,
        order: &[String],
        signature: Option<&str>,
        constants: &[String],
    ) -> Result<(), OnnxError> {
        let failed = |place: String, problem| Err(OnnxError::new(&self.path, place, problem));
        let is_given = |name: &String| {
            self.tensors.contains_key(name) || self.operations.iter().any(|operation| operation.outputs.contains(name))
        };
        if let Some(unknown) = constants.iter().find(|name| !is_given(name)) {
            let problem = Problem::new("no initialiser of this name", "one of the file, in `import.constants`");
            return failed(format!("initialiser `{unknown}`"), problem);
        }
        let is_float = |name: &str| matches!(self.tensors[name].data, TensorData::F32(_));
        let is_constant = |name: &str| constants.iter().any(|constant| constant == name);
        let (parameters, buffers) = if let Some(signature) = signature {
            let parameters = targets(signature, "PARAMETER");
            let buffers = targets(signature, "BUFFER");
            let is_lost = |name: &&&str| !self.tensors.contains_key(**name);
            self.lost = parameters.iter().filter(is_lost).map(|name| (*name).to_owned()).collect();
            let is_computed = |name: &&&str| {
                !parameters.contains(**name)
                    && !buffers.contains(**name)
                    && self.tensors.get(**name).is_some_and(|tensor| tensor.shape.len() > 1 && is_float(&tensor.name))
            };
            let (_, as_weight, _) = self.uses();
            if let (Some(lost), Some(made)) = (self.lost.first(), as_weight.iter().find(is_computed)) {
                let found = format!("a weight that the exporter made, where `{lost}` of the model is missing");
                let problem = Problem::new(found, format!("the model's own parameters; {EXPORT}"));
                return failed(format!("initialiser `{made}`"), problem);
            }
            let is_parameter =
                |name: &&String| parameters.contains(name.as_str()) && is_float(name) && !is_constant(name);
            let buffers = buffers.into_iter().map(str::to_owned).collect();
            (order.iter().filter(is_parameter).cloned().collect::<Vec<_>>(), buffers)
        } else {
            let (read, as_weight, statistics) = self.uses();
            let is_finite = |name: &str| {
                self.tensors[name].data.as_f32().is_some_and(|values| values.iter().all(|x| x.is_finite()))
            };
            let is_parameter = |name: &&String| {
                let name = name.as_str();
                is_finite(name)
                    && !self.tensors[name].data.is_empty()
                    && read.contains(name)
                    && !is_constant(name)
                    && !statistics.contains(name)
                    && (!is_made(name) || as_weight.contains(name))
            };
            (order.iter().filter(is_parameter).cloned().collect::<Vec<_>>(), BTreeSet::new())
        };
        if signature.is_none() {
            for operation in self.operations.iter().filter(|operation| operation.operator == "Identity") {
                if let (Some(source), Some(copy)) = (operation.inputs.first(), operation.outputs.first())
                    && parameters.contains(source)
                {
                    let found = format!(
                        "`{copy}` as a copy of the weight `{source}`: the exporter merges tensors of equal values"
                    );
                    return failed(
                        operation.title.clone(),
                        Problem::new(found, format!("each weight by itself; {EXPORT}")),
                    );
                }
            }
        }
        self.weights = parameters.iter().cloned().collect();
        self.parameters = parameters;
        self.buffers = buffers;
        self.buffers.extend(constants.iter().cloned());
        Ok(())
    }

    /// Names that nodes read; that they read as weights; that are statistics.
    fn uses(&self) -> (BTreeSet<&str>, BTreeSet<&str>, BTreeSet<&str>) {
        let (mut read, mut as_weight, mut statistics) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for operation in &self.operations {
            for (at, name) in operation.inputs.iter().enumerate() {
                read.insert(name.as_str());
                match (operation.operator.as_str(), at) {
                    ("MatMul", _) | ("Gemm" | "Conv", 1 | 2) | ("Gather", 0) => {
                        as_weight.insert(name.as_str());
                    }
                    ("BatchNormalization", 3 | 4) => {
                        statistics.insert(name.as_str());
                    }
                    _ => {}
                }
            }
        }
        (read, as_weight, statistics)
    }

    /// Batch norms whose scale and shift are weights.
    fn find_foldings(&mut self) -> Result<(), OnnxError> {
        let mut foldings: Vec<Folding> = Vec::new();
        for operation in self.operations.iter().filter(|operation| operation.operator == "BatchNormalization") {
            let [_, scale, shift, mean, variance] = operation.inputs.as_slice() else { continue };
            if !self.is_parameter(scale) && !self.is_parameter(shift) {
                continue;
            }
            let failed = |problem| Err(OnnxError::new(&self.path, operation.title.clone(), problem));
            let epsilon = match operation.settings.get("epsilon") {
                Some(Setting::Float(epsilon)) => f64::from(*epsilon),
                _ => 1e-5,
            };
            let lengths = [scale, shift, mean, variance].map(|name| self.tensors.get(name).map(|t| t.shape.clone()));
            if !self.is_parameter(scale)
                || !self.is_parameter(shift)
                || lengths.iter().any(|shape| *shape != lengths[0] || shape.is_none())
            {
                let problem = Problem::new(
                    "a batch norm that is not made of four initialisers",
                    "scale, shift, mean and variance of one length",
                );
                return failed(problem);
            }
            if foldings.iter().any(|other| other.scale == *scale || other.shift == *shift) {
                let found = format!("the weights `{scale}` and `{shift}` in a second batch norm");
                return failed(Problem::new(found, "a batch norm with weights of its own"));
            }
            foldings.push(Folding {
                scale: scale.clone(),
                shift: shift.clone(),
                mean: mean.clone(),
                variance: variance.clone(),
                epsilon,
            });
        }
        self.foldings = foldings;
        Ok(())
    }
}

impl Operation {
    fn read(node: &NodeProto<'_>, reader: &mut TensorReader) -> Result<Self, Problem> {
        let mut settings = BTreeMap::new();
        for (name, attribute) in &node.attributes {
            let setting = match attribute {
                Attribute::Integer(value) => Setting::Integer(*value),
                Attribute::Float(value) => Setting::Float(*value),
                Attribute::Text(value) => Setting::Text(value.clone()),
                Attribute::Integers(values) => Setting::Integers(values.clone()),
                Attribute::Floats(values) => Setting::Floats(values.clone()),
                Attribute::Tensor(tensor) => Setting::Tensor(reader.read(tensor)?),
                Attribute::Other => Setting::Other,
            };
            settings.insert(name.clone(), setting);
        }
        Ok(Self {
            title: node.title(),
            operator: node.operator.clone(),
            domain: node.domain.clone(),
            inputs: node.inputs.clone(),
            outputs: node.outputs.clone(),
            settings,
        })
    }
}

/// The tensors by name, and the names in the file's order.
fn read_initializers(
    graph: &GraphProto<'_>,
    reader: &mut TensorReader,
    failed: &dyn Fn(&str, Problem) -> OnnxError,
) -> Result<(BTreeMap<String, NamedTensor>, Vec<String>), OnnxError> {
    let (mut tensors, mut order) = (BTreeMap::new(), Vec::new());
    for proto in &graph.initializers {
        let place = format!("initialiser `{}`", proto.name);
        let tensor = reader.read(proto).map_err(|problem| failed(&place, problem))?;
        order.push(tensor.name.clone());
        if tensor.name.is_empty() || tensors.insert(tensor.name.clone(), tensor).is_some() {
            return Err(failed(&place, Problem::new("this name twice, or none", "names that are given once")));
        }
    }
    Ok((tensors, order))
}

fn read_bytes(path: &Path) -> Result<Vec<u8>, Problem> {
    let io = |error: std::io::Error| Problem::new(error.to_string(), "a readable file");
    let metadata = fs_err::metadata(path).map_err(io)?;
    if !metadata.is_file() {
        return Err(Problem::new("no regular file", "an ONNX file"));
    }
    let n = metadata.len();
    if n > MAX_BYTES || !memory::is_free(n as usize * 2) {
        let expected = format!("at most {MAX_BYTES}, and memory for them; export with `external_data=True`");
        return Err(Problem::new(format!("{n} bytes"), expected));
    }
    let mut bytes = Vec::new();
    let file = fs_err::File::open(path).map_err(io)?;
    file.take(MAX_BYTES).read_to_end(&mut bytes).map_err(io)?;
    Ok(bytes)
}

/// Names of a kind in PyTorch's signature, whose lines are such as `p_fc_weight: PARAMETER target='fc.weight'`.
fn targets<'a>(signature: &'a str, kind: &str) -> BTreeSet<&'a str> {
    let target = |line: &'a str| {
        let (_, rest) = line.split_once(": ")?;
        let rest = rest.strip_prefix(kind)?.trim_start().strip_prefix("target='")?;
        Some(rest.split_once('\'')?.0)
    };
    signature.lines().filter_map(target).collect()
}

/// Whether an exporter made this name itself, such as `onnx::MatMul_12` and `val_3`.
fn is_made(name: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    name.contains("::") || name.starts_with('/') || is_number(name) || name.strip_prefix("val_").is_some_and(is_number)
}
