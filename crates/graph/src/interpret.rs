//! The reference interpreter: scalar loops, generic over f32 and f64, that define what every operation means.

use std::collections::BTreeMap;

use crate::einsum::{EinsumSpec, extent_of};
use crate::graph::{Binary, DType, Graph, GraphError, Node, Op, Unary, nearest};
use crate::math::NORMAL_CDF_TANH;
use crate::shape::{Indices, row_major_strides};

/// The number type of an interpretation.
pub trait Real: Copy + PartialOrd + 'static {
    /// From a constant of the graph.
    fn from_f64(value: f64) -> Self;
    /// To full precision.
    fn to_f64(self) -> f64;
    /// A product as it enters the sum of an einsum: exact, unless an arithmetic rounds it before.
    fn term(product: f64) -> f64 {
        product
    }
}

impl Real for f32 {
    fn from_f64(value: f64) -> Self {
        value as Self
    }
    fn to_f64(self) -> f64 {
        f64::from(self)
    }
}

impl Real for f64 {
    fn from_f64(value: f64) -> Self {
        value
    }
    fn to_f64(self) -> f64 {
        self
    }
}

/// A row-major array given to or made by [`Graph::interpret`].
#[derive(Debug, Clone, PartialEq)]
pub enum Value<T> {
    /// Numbers.
    Float(Vec<T>),
    /// Token ids or class targets.
    Ids(Vec<i32>),
}

impl<T> Value<T> {
    /// The numbers; empty for ids.
    pub fn floats(&self) -> &[T] {
        match self {
            Self::Float(values) => values,
            Self::Ids(_) => &[],
        }
    }

    fn ids(&self) -> &[i32] {
        match self {
            Self::Ids(values) => values,
            Self::Float(_) => &[],
        }
    }
}

/// Why an interpretation failed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum InterpretError {
    /// A mistake in the graph.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// A parameter or input without a value, or with one of the wrong length or type.
    #[error("`{name}`: expected {expected}; found {found}")]
    Value {
        /// The parameter or input.
        name: String,
        /// Shape and type wanted.
        expected: String,
        /// What was given.
        found: String,
    },
    /// An id outside its table.
    #[error("id {id} is outside a table of {rows} rows, at {node}")]
    Id {
        /// The id.
        id: i32,
        /// Rows of the table, or classes.
        rows: usize,
        /// Where.
        node: String,
    },
}

impl Graph {
    /// Evaluates `outputs` with plain loops in the arithmetic of `T`, every operation rounded to `T` and sums carried in
    /// f64. `values` holds every parameter and input by name.
    ///
    /// # Errors
    /// A mistake in the graph, a missing or misshapen value, or an id outside its table.
    pub fn interpret<T: Real>(
        &self,
        values: &BTreeMap<String, Value<T>>,
        outputs: &[Node],
    ) -> Result<Vec<Vec<T>>, InterpretError> {
        self.check()?;
        let mut done: Vec<Value<T>> = self.nodes.iter().map(|_| Value::Float(Vec::new())).collect();
        for at in self.ancestors(outputs) {
            done[at] = self.evaluate(Node(at as u32), values, &done)?;
        }
        Ok(outputs.iter().map(|o| done[o.0 as usize].floats().to_vec()).collect())
    }

    fn evaluate<T: Real>(
        &self,
        node: Node,
        values: &BTreeMap<String, Value<T>>,
        done: &[Value<T>],
    ) -> Result<Value<T>, InterpretError> {
        let data = self.node(node);
        let shape = data.shape.as_slice();
        let float = |n: &Node| done[n.0 as usize].floats();
        let shape_of = |n: &Node| self.shape(*n);
        let map = |f: &dyn Fn(&[usize]) -> f64| {
            Value::Float(Indices::new(shape).map(|index| T::from_f64(f(&index))).collect())
        };
        Ok(match &data.op {
            Op::Param(idx) => self.given(&self.params[*idx].name, node, values)?,
            Op::Input(idx) => self.given(&self.inputs[*idx].name, node, values)?,
            Op::Constant(value) => Value::Float(vec![T::from_f64(*value)]),
            Op::Values(values) => Value::Float(values.0.iter().map(|&x| T::from_f64(f64::from(x))).collect()),
            Op::Iota { axis, start } => map(&|index| (index[*axis] + start) as f64),
            Op::Rotation { base, scaling, is_sine } => map(&|index| {
                let frequency = base.powf(-(index[1] as f64) / shape[1] as f64);
                let angle = index[0] as f64 * scaling.frequency(frequency);
                if *is_sine { angle.sin() } else { angle.cos() }
            }),
            Op::Unary(op, a) => Value::Float(float(a).iter().map(|x| T::from_f64(unary(*op, x.to_f64()))).collect()),
            Op::Binary(op, a, b) => {
                let pairs = float(a).iter().zip(float(b));
                Value::Float(pairs.map(|(x, y)| T::from_f64(binary(*op, x.to_f64(), y.to_f64()))).collect())
            }
            Op::Select(c, a, b) => {
                let picked = float(c).iter().zip(float(a).iter().zip(float(b)));
                Value::Float(picked.map(|(c, (x, y))| if c.to_f64() == 0.0 { *y } else { *x }).collect())
            }
            Op::Broadcast(a) => {
                let own = shape_of(a);
                let lead = shape.len() - own.len();
                let source = |index: &[usize]| {
                    let own_index = index[lead..].iter().zip(own).map(|(&i, &extent)| if extent == 1 { 0 } else { i });
                    flat(own, own_index)
                };
                pick(&done[a.0 as usize], shape, source)
            }
            Op::Reshape(a) => done[a.0 as usize].clone(),
            Op::Permute(a, order) => {
                let own = shape_of(a);
                let strides = row_major_strides(own);
                pick(&done[a.0 as usize], shape, |index| {
                    index.iter().zip(order).map(|(&i, &axis)| i * strides[axis]).sum()
                })
            }
            Op::Slice { of, axis, start } => {
                let own = shape_of(of);
                pick(&done[of.0 as usize], shape, |index| {
                    flat(own, index.iter().enumerate().map(|(i, &at)| if i == *axis { at + start } else { at }))
                })
            }
            Op::Pad { of, axis, before } => {
                let own = shape_of(of);
                map(&|index| {
                    let at = index[*axis];
                    if at < *before || at >= before + own[*axis] {
                        return 0.0;
                    }
                    let inner = index.iter().enumerate().map(|(i, &at)| if i == *axis { at - before } else { at });
                    float(of)[flat(own, inner)].to_f64()
                })
            }
            Op::Concat { parts, axis } => map(&|index| {
                let mut at = index[*axis];
                let part = parts
                    .iter()
                    .find(|part| {
                        let extent = shape_of(part)[*axis];
                        let here = at < extent;
                        if !here {
                            at -= extent;
                        }
                        here
                    })
                    .expect("extents of the parts add up to that of the result");
                let inner = index.iter().enumerate().map(|(i, &other)| if i == *axis { at } else { other });
                float(part)[flat(shape_of(part), inner)].to_f64()
            }),
            Op::Windows { of, axis, stride, dilation } => {
                let own = shape_of(of);
                pick(&done[of.0 as usize], shape, |index| flat(own, unwindowed(index, *axis, *stride, *dilation)))
            }
            Op::Overlap { of, axis, stride, dilation } => {
                let mut out = vec![0.0; shape.iter().product()];
                for (index, x) in Indices::new(shape_of(of)).zip(float(of)) {
                    out[flat(shape, unwindowed(&index, *axis, *stride, *dilation))] += x.to_f64();
                }
                Value::Float(out.into_iter().map(T::from_f64).collect())
            }
            Op::Einsum(a, b, spec) => Value::Float(einsum(spec, (float(a), shape_of(a)), (float(b), shape_of(b)))),
            Op::Sum(a, axes) => {
                let groups = groups(shape_of(a), axes, float(a));
                Value::Float(groups.iter().map(|g| T::from_f64(g.iter().map(|x| x.to_f64()).sum())).collect())
            }
            Op::Max(a, axes) => {
                let groups = groups(shape_of(a), axes, float(a));
                // NaN stays NaN, unlike in `f64::max`.
                let larger = |top: f64, x: f64| if x > top || x.is_nan() { x } else { top };
                let max = |g: &Vec<T>| g.iter().map(|x| x.to_f64()).fold(f64::NEG_INFINITY, larger);
                Value::Float(groups.iter().map(|g| T::from_f64(max(g))).collect())
            }
            Op::PickMax { by, from, axes } => {
                let places = first_maxima(shape_of(by), axes, float(by));
                Value::Float(places.into_iter().map(|at| float(from)[at]).collect())
            }
            Op::PutMax { by, values, axes } => {
                let mut out = vec![T::from_f64(0.0); shape.iter().product()];
                for (at, &x) in first_maxima(shape_of(by), axes, float(by)).into_iter().zip(float(values)) {
                    out[at] = x;
                }
                Value::Float(out)
            }
            Op::Softmax(a) => rows(float(a), shape, |row, out| {
                let top = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                out.extend(row.iter().map(|z| (z - top).exp()));
                let total: f64 = out.iter().sum();
                for p in out.iter_mut() {
                    *p /= total;
                }
            }),
            Op::LogSoftmax(a) => rows(float(a), shape, |row, out| {
                let top = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let at = row.iter().position(|&z| z == top).unwrap_or(0);
                let others: f64 = row.iter().enumerate().filter(|&(j, _)| j != at).map(|(_, z)| (z - top).exp()).sum();
                out.extend(row.iter().map(|z| (z - top) - others.ln_1p()));
            }),
            Op::Gather { table, ids } => {
                let width: usize = shape_of(table)[1..].iter().product();
                let mut out = Vec::with_capacity(shape.iter().product());
                for &id in done[ids.0 as usize].ids() {
                    let row = self.row(id, shape_of(table)[0], node)?;
                    out.extend_from_slice(&float(table)[row * width..(row + 1) * width]);
                }
                Value::Float(out)
            }
            Op::ScatterAdd { ids, values } => {
                let width: usize = shape[1..].iter().product();
                let mut out = vec![0.0; shape.iter().product()];
                for (&id, row) in done[ids.0 as usize].ids().iter().zip(float(values).chunks(width.max(1))) {
                    let to = self.row(id, shape[0], node)? * width;
                    out[to..to + width].iter_mut().zip(row).for_each(|(sum, x)| *sum += x.to_f64());
                }
                Value::Float(out.into_iter().map(T::from_f64).collect())
            }
            Op::CrossEntropy { logits, targets } => {
                let classes = shape_of(logits).last().copied().unwrap_or(1);
                let mut out = Vec::new();
                for (row, &id) in float(logits).chunks(classes).zip(done[targets.0 as usize].ids()) {
                    let row: Vec<f64> = row.iter().map(|z| z.to_f64()).collect();
                    out.push(T::from_f64(cross_entropy(&row, self.row(id, classes, node)?)));
                }
                Value::Float(out)
            }
            Op::CrossEntropyGrad { logits, targets } => {
                let classes = shape_of(logits).last().copied().unwrap_or(1);
                let mut out = Vec::new();
                for (row, &id) in float(logits).chunks(classes).zip(done[targets.0 as usize].ids()) {
                    let row: Vec<f64> = row.iter().map(|z| z.to_f64()).collect();
                    let target = self.row(id, classes, node)?;
                    let top = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                    let weights: Vec<f64> = row.iter().map(|z| (z - top).exp()).collect();
                    let total: f64 = weights.iter().sum();
                    let others: f64 = weights.iter().enumerate().filter(|(j, _)| *j != target).map(|(_, w)| w).sum();
                    let entry = |(j, w): (usize, &f64)| {
                        if j == target { -others / total } else { w / total }
                    };
                    out.extend(weights.iter().enumerate().map(entry).map(T::from_f64));
                }
                Value::Float(out)
            }
        })
    }

    fn row(&self, id: i32, rows: usize, node: Node) -> Result<usize, InterpretError> {
        let row = usize::try_from(id).ok().filter(|&row| row < rows);
        row.ok_or_else(|| InterpretError::Id { id, rows, node: self.describe(node) })
    }

    fn given<T: Real>(
        &self,
        name: &str,
        node: Node,
        values: &BTreeMap<String, Value<T>>,
    ) -> Result<Value<T>, InterpretError> {
        let expected = || format!("{:?} of shape {:?}", self.dtype(node), self.shape(node));
        let n: usize = self.shape(node).iter().product();
        match (values.get(name), self.dtype(node)) {
            (Some(value @ Value::Float(v)), DType::Float) if v.len() == n => Ok(value.clone()),
            (Some(value @ Value::Ids(v)), DType::Ids) if v.len() == n => Ok(value.clone()),
            (Some(Value::Float(v)), _) => Err(InterpretError::Value {
                name: name.to_owned(),
                expected: expected(),
                found: format!("{} floats", v.len()),
            }),
            (Some(Value::Ids(v)), _) => Err(InterpretError::Value {
                name: name.to_owned(),
                expected: expected(),
                found: format!("{} ids", v.len()),
            }),
            (None, _) => Err(InterpretError::Value {
                name: name.to_owned(),
                expected: expected(),
                found: nearest(name, values.keys()).map_or("nothing".to_owned(), |n| format!("`{n}`")),
            }),
        }
    }
}

/// −ln `softmax(row)[target]` of one row of logits in f64, in nats, without cancellation where the target dominates.
/// `target` must be below `row.len()`.
pub fn cross_entropy(row: &[f64], target: usize) -> f64 {
    let others = || row.iter().enumerate().filter(move |(j, _)| *j != target).map(|(_, z)| *z);
    let top = others().fold(f64::NEG_INFINITY, f64::max);
    if top <= row[target] {
        others().map(|z| (z - row[target]).exp()).sum::<f64>().ln_1p()
    } else {
        let rest: f64 = others().map(|z| (z - top).exp()).sum::<f64>() + (row[target] - top).exp();
        top - row[target] + rest.ln()
    }
}

pub(crate) fn unary(op: Unary, x: f64) -> f64 {
    match op {
        Unary::Neg => -x,
        Unary::Exp => x.exp(),
        Unary::Log => x.ln(),
        Unary::Log1p => x.ln_1p(),
        Unary::Sqrt => x.sqrt(),
        Unary::Recip => 1.0 / x,
        Unary::Tanh => x.tanh(),
        Unary::Erf => libm::erf(x),
        Unary::Sigmoid => sigmoid(x),
        Unary::NormalCdf => 0.5 * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2),
        Unary::NormalCdfTanh => sigmoid(x * (NORMAL_CDF_TANH[0] + NORMAL_CDF_TANH[1] * x * x)),
        Unary::Relu if x.is_nan() => x,
        Unary::Relu => x.max(0.0),
        Unary::Step => f64::from(x > 0.0),
        Unary::Abs => x.abs(),
        Unary::Sign => f64::from(x > 0.0) - f64::from(x < 0.0),
    }
}

fn sigmoid(x: f64) -> f64 {
    if x >= 0.0 { 1.0 / (1.0 + (-x).exp()) } else { x.exp() / (1.0 + x.exp()) }
}

pub(crate) fn binary(op: Binary, x: f64, y: f64) -> f64 {
    match op {
        Binary::Add => x + y,
        Binary::Sub => x - y,
        Binary::Mul => x * y,
        Binary::Div => x / y,
        Binary::Greater => f64::from(x > y),
        Binary::Equal => f64::from(x == y),
    }
}

fn flat(shape: &[usize], index: impl Iterator<Item = usize>) -> usize {
    index.zip(shape).fold(0, |at, (i, &extent)| at * extent + i)
}

/// The index that a window's index stands for: axes `axis` and `axis + 1` become one.
fn unwindowed(index: &[usize], axis: usize, stride: usize, dilation: usize) -> impl Iterator<Item = usize> {
    let at = index[axis] * stride + index[axis + 1] * dilation;
    index[..axis].iter().copied().chain([at]).chain(index[axis + 2..].iter().copied())
}

fn pick<T: Real>(from: &Value<T>, shape: &[usize], source: impl Fn(&[usize]) -> usize) -> Value<T> {
    match from {
        Value::Float(v) => Value::Float(Indices::new(shape).map(|index| v[source(&index)]).collect()),
        Value::Ids(v) => Value::Ids(Indices::new(shape).map(|index| v[source(&index)]).collect()),
    }
}

/// The elements that each entry of a reduction over `axes` combines.
fn groups<T: Copy>(shape: &[usize], axes: &[usize], values: &[T]) -> Vec<Vec<T>> {
    let kept: Vec<usize> = (0..shape.len()).filter(|axis| !axes.contains(axis)).collect();
    let kept_shape: Vec<usize> = kept.iter().map(|&axis| shape[axis]).collect();
    let mut groups = vec![Vec::new(); kept_shape.iter().product()];
    for (index, &value) in Indices::new(shape).zip(values) {
        groups[flat(&kept_shape, kept.iter().map(|&axis| index[axis]))].push(value);
    }
    groups
}

/// Where the largest number of each group along `axes` first stands; the first place of groups without numbers.
fn first_maxima<T: Real>(shape: &[usize], axes: &[usize], values: &[T]) -> Vec<usize> {
    let places: Vec<usize> = (0..values.len()).collect();
    let first = |group: Vec<usize>| {
        let top = group.iter().map(|&at| values[at].to_f64()).fold(f64::NEG_INFINITY, f64::max);
        group.iter().copied().find(|&at| values[at].to_f64() == top).unwrap_or(group[0])
    };
    groups(shape, axes, &places).into_iter().map(first).collect()
}

fn rows<T: Real>(values: &[T], shape: &[usize], f: impl Fn(&[f64], &mut Vec<f64>)) -> Value<T> {
    let width = shape.last().copied().unwrap_or(1).max(1);
    let mut all = Vec::with_capacity(values.len());
    for row in values.chunks(width) {
        let row: Vec<f64> = row.iter().map(|x| x.to_f64()).collect();
        let mut out = Vec::with_capacity(width);
        f(&row, &mut out);
        all.extend(out.into_iter().map(T::from_f64));
    }
    Value::Float(all)
}

fn einsum<T: Real>(spec: &EinsumSpec, (a, a_shape): (&[T], &[usize]), (b, b_shape): (&[T], &[usize])) -> Vec<T> {
    let extents = spec.extents(a_shape, b_shape).expect("checked when built");
    let contracted = spec.contracted();
    let shape = |labels: &[u8]| labels.iter().map(|&l| extent_of(&extents, l)).collect::<Vec<_>>();
    let labels: Vec<u8> = spec.out.iter().chain(&contracted).copied().collect();
    let at = |own: &[u8], own_shape: &[usize], index: &[usize]| {
        flat(own_shape, own.iter().map(|l| index[labels.iter().position(|x| x == l).expect("every label is known")]))
    };
    let inner = shape(&contracted);
    Indices::new(&shape(&spec.out))
        .map(|out_index| {
            let sum: f64 = Indices::new(&inner)
                .map(|inner_index| {
                    let index = [out_index.as_slice(), &inner_index].concat();
                    T::term(a[at(&spec.a, a_shape, &index)].to_f64() * b[at(&spec.b, b_shape, &index)].to_f64())
                })
                .sum();
            T::from_f64(sum)
        })
        .collect()
}
