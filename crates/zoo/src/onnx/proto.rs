//! The messages of an ONNX file as far as they are used: model, graph, nodes, attributes, tensors.
//!
//! Field numbers are those of <https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3>.

use std::collections::BTreeMap;

use super::wire::{Field, Fields, WireError};

type Found<T> = Result<T, WireError>;

/// A file holds at most so many nodes, and as many initialisers: far above what is exported, far below what would fill a
/// memory.
const MAX_ENTRIES: usize = 1 << 18;

/// `ModelProto`.
#[derive(Debug, Default)]
pub(super) struct ModelProto<'a> {
    pub(super) ir_version: i64,
    pub(super) producer: String,
    /// Versions of operator sets by domain; "" is ONNX itself.
    pub(super) opsets: BTreeMap<String, i64>,
    pub(super) graph: Option<GraphProto<'a>>,
    pub(super) n_functions: usize,
}

/// `GraphProto`.
#[derive(Debug, Default)]
pub(super) struct GraphProto<'a> {
    pub(super) nodes: Vec<NodeProto<'a>>,
    pub(super) initializers: Vec<TensorProto<'a>>,
    pub(super) inputs: Vec<ValueInfo>,
    pub(super) outputs: Vec<ValueInfo>,
    pub(super) metadata: BTreeMap<String, String>,
    pub(super) has_sparse: bool,
}

/// `NodeProto`.
#[derive(Debug, Default)]
pub(super) struct NodeProto<'a> {
    pub(super) name: String,
    pub(super) operator: String,
    pub(super) domain: String,
    pub(super) inputs: Vec<String>,
    pub(super) outputs: Vec<String>,
    pub(super) attributes: BTreeMap<String, Attribute<'a>>,
}

/// `AttributeProto`, by what it holds.
#[derive(Debug)]
pub(super) enum Attribute<'a> {
    Integer(i64),
    Float(f32),
    Text(String),
    Integers(Vec<i64>),
    Floats(Vec<f32>),
    Tensor(TensorProto<'a>),
    /// A subgraph and the like.
    Other,
}

/// `TensorProto`.
#[derive(Debug, Default)]
pub(super) struct TensorProto<'a> {
    pub(super) name: String,
    pub(super) dims: Vec<i64>,
    pub(super) data_type: i64,
    pub(super) raw: Option<&'a [u8]>,
    pub(super) floats: Vec<f32>,
    /// `int32_data`, `int64_data` or `uint64_data`.
    pub(super) integers: Vec<i64>,
    pub(super) doubles: Vec<f64>,
    pub(super) external: BTreeMap<String, String>,
    pub(super) is_external: bool,
    pub(super) is_segment: bool,
}

/// `ValueInfoProto` of a tensor.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct ValueInfo {
    pub(super) name: String,
    pub(super) data_type: i64,
    /// `None` where the file does not tell the rank.
    pub(super) dims: Option<Vec<Dim>>,
}

/// One extent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Dim {
    Static(i64),
    /// With a name, which may be empty.
    Dynamic(String),
}

impl<'a> ModelProto<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Found<Self> {
        let mut model = Self::default();
        each(Fields::of_file(bytes), |number, field, at| {
            match number {
                1 => model.ir_version = field.integer(at)?,
                2 => model.producer = field.text(at)?,
                7 => model.graph = Some(GraphProto::read(field.message(at)?)?),
                8 => {
                    let (mut domain, mut version) = (String::new(), 0);
                    each(field.message(at)?, |number, field, at| {
                        match number {
                            1 => domain = field.text(at)?,
                            2 => version = field.integer(at)?,
                            _ => {}
                        }
                        Ok(())
                    })?;
                    if domain == "ai.onnx" {
                        domain.clear();
                    }
                    model.opsets.insert(domain, version);
                }
                25 => model.n_functions += 1,
                _ => {}
            }
            Ok(())
        })?;
        Ok(model)
    }
}

impl<'a> GraphProto<'a> {
    fn read(fields: Fields<'a>) -> Found<Self> {
        let mut graph = Self::default();
        each(fields, |number, field, at| {
            match number {
                1 => graph.nodes.push(NodeProto::read(field.message(at)?)?),
                5 => graph.initializers.push(TensorProto::read(field.message(at)?)?),
                11 => graph.inputs.push(ValueInfo::read(field.message(at)?)?),
                12 => graph.outputs.push(ValueInfo::read(field.message(at)?)?),
                15 => graph.has_sparse = true,
                16 => {
                    let (key, value) = read_pair(field.message(at)?)?;
                    graph.metadata.insert(key, value);
                }
                _ => {}
            }
            if graph.nodes.len() > MAX_ENTRIES || graph.initializers.len() > MAX_ENTRIES {
                return Err(WireError {
                    at,
                    found: "more nodes or initialisers".to_owned(),
                    expected: "at most 262144",
                });
            }
            Ok(())
        })?;
        Ok(graph)
    }
}

impl<'a> NodeProto<'a> {
    fn read(fields: Fields<'a>) -> Found<Self> {
        let mut node = Self::default();
        each(fields, |number, field, at| {
            match number {
                1 => node.inputs.push(field.text(at)?),
                2 => node.outputs.push(field.text(at)?),
                3 => node.name = field.text(at)?,
                4 => node.operator = field.text(at)?,
                5 => {
                    let (name, value) = Attribute::read(field.message(at)?)?;
                    node.attributes.insert(name, value);
                }
                7 => node.domain = field.text(at)?,
                _ => {}
            }
            Ok(())
        })?;
        if node.domain == "ai.onnx" {
            node.domain.clear();
        }
        Ok(node)
    }

    /// How messages call it: its name, else that of its first result.
    pub(super) fn title(&self) -> String {
        let name = if self.name.is_empty() { self.outputs.first().map_or("", String::as_str) } else { &self.name };
        let domain = if self.domain.is_empty() { String::new() } else { format!("{}.", self.domain) };
        format!("node `{name}` ({domain}{})", self.operator)
    }
}

impl<'a> Attribute<'a> {
    fn read(fields: Fields<'a>) -> Found<(String, Self)> {
        let (mut name, mut kind) = (String::new(), 0);
        let (mut float, mut integer, mut text) = (0.0, 0, None);
        let (mut floats, mut integers, mut tensor) = (Vec::new(), Vec::new(), None);
        each(fields, |number, field, at| {
            match number {
                1 => name = field.text(at)?,
                2 => {
                    let mut one = Vec::new();
                    field.floats(at, &mut one)?;
                    float = one.first().copied().unwrap_or(0.0);
                }
                3 => integer = field.integer(at)?,
                4 => text = Some(field.message(at)?),
                5 => tensor = Some(TensorProto::read(field.message(at)?)?),
                7 => field.floats(at, &mut floats)?,
                8 => field.integers(at, &mut integers)?,
                20 => kind = field.integer(at)?,
                _ => {}
            }
            Ok(())
        })?;
        // `AttributeProto.AttributeType`. Numbers that are 0 may be left out of a file.
        let value = match (kind, tensor, text) {
            (1, ..) => Self::Float(float),
            (2, ..) => Self::Integer(integer),
            (3, _, Some(text)) => Self::Text(text.text()?),
            (3, _, None) => Self::Text(String::new()),
            (4, Some(tensor), _) => Self::Tensor(tensor),
            (6, ..) => Self::Floats(floats),
            (7, ..) => Self::Integers(integers),
            _ => Self::Other,
        };
        Ok((name, value))
    }
}

impl<'a> TensorProto<'a> {
    fn read(fields: Fields<'a>) -> Found<Self> {
        let mut tensor = Self::default();
        each(fields, |number, field, at| {
            match number {
                1 => field.integers(at, &mut tensor.dims)?,
                2 => tensor.data_type = field.integer(at)?,
                3 => tensor.is_segment = true,
                4 => field.floats(at, &mut tensor.floats)?,
                5 | 7 | 11 => field.integers(at, &mut tensor.integers)?,
                8 => tensor.name = field.text(at)?,
                9 => tensor.raw = Some(field.message(at)?.bytes()),
                10 => field.doubles(at, &mut tensor.doubles)?,
                13 => {
                    let (key, value) = read_pair(field.message(at)?)?;
                    tensor.external.insert(key, value);
                }
                14 => tensor.is_external = field.integer(at)? == 1,
                _ => {}
            }
            Ok(())
        })?;
        Ok(tensor)
    }
}

impl ValueInfo {
    fn read(fields: Fields<'_>) -> Found<Self> {
        let mut value = Self::default();
        each(fields, |number, field, at| {
            match number {
                1 => value.name = field.text(at)?,
                // Type, then the tensor in it.
                2 => each(field.message(at)?, |number, field, at| {
                    if number == 1 { value.read_tensor_type(field.message(at)?) } else { Ok(()) }
                })?,
                _ => {}
            }
            Ok(())
        })?;
        Ok(value)
    }

    fn read_tensor_type(&mut self, fields: Fields<'_>) -> Found<()> {
        each(fields, |number, field, at| {
            match number {
                1 => self.data_type = field.integer(at)?,
                2 => {
                    let mut dims = Vec::new();
                    each(field.message(at)?, |number, field, at| {
                        if number == 1 {
                            dims.push(Dim::read(field.message(at)?)?);
                        }
                        Ok(())
                    })?;
                    self.dims = Some(dims);
                }
                _ => {}
            }
            Ok(())
        })
    }
}

impl Dim {
    fn read(fields: Fields<'_>) -> Found<Self> {
        let mut dim = Self::Dynamic(String::new());
        each(fields, |number, field, at| {
            match number {
                1 => dim = Self::Static(field.integer(at)?),
                2 => dim = Self::Dynamic(field.text(at)?),
                _ => {}
            }
            Ok(())
        })?;
        Ok(dim)
    }
}

/// `StringStringEntryProto`.
fn read_pair(fields: Fields<'_>) -> Found<(String, String)> {
    let (mut key, mut value) = (String::new(), String::new());
    each(fields, |number, field, at| {
        match number {
            1 => key = field.text(at)?,
            2 => value = field.text(at)?,
            _ => {}
        }
        Ok(())
    })?;
    Ok((key, value))
}

/// Calls `read` with number, value and offset of every field.
fn each<'a>(mut fields: Fields<'a>, mut read: impl FnMut(u64, Field<'a>, usize) -> Found<()>) -> Found<()> {
    loop {
        let at = fields.at();
        match fields.next()? {
            Some((number, field)) => read(number, field, at)?,
            None => return Ok(()),
        }
    }
}
