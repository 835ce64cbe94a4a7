//! Values that are known at import: shapes, indices, masks, tables. They are computed here and not by the network.

use super::error::Problem;
use crate::{NamedTensor, TensorData};

/// What the values of a tensor are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Rounded to `f32` after each operation.
    Float,
    /// 64 bits; those beyond 2⁵³, which only mean "to the end", lose digits.
    Int,
    /// 0 or 1.
    Bool,
}

/// A constant tensor, which may be empty.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Host {
    pub(super) shape: Vec<usize>,
    pub(super) kind: Kind,
    /// Row-major.
    pub(super) values: Vec<f64>,
}

impl Host {
    pub(super) fn of_tensor(tensor: &NamedTensor) -> Self {
        let (kind, values) = match &tensor.data {
            TensorData::F32(values) => (Kind::Float, values.iter().map(|&x| f64::from(x)).collect()),
            TensorData::I64(values) => (Kind::Int, values.iter().map(|&x| x as f64).collect()),
            TensorData::Bool(values) => (Kind::Bool, values.iter().map(|&x| f64::from(x)).collect()),
        };
        Self { shape: tensor.shape.clone(), kind, values }
    }

    pub(super) fn scalar(kind: Kind, value: f64) -> Self {
        Self { shape: Vec::new(), kind, values: vec![value] }
    }

    pub(super) fn list(kind: Kind, values: Vec<f64>) -> Self {
        Self { shape: vec![values.len()], kind, values }
    }

    /// The value at each place of `shape`.
    pub(super) fn generate(shape: Vec<usize>, kind: Kind, mut value: impl FnMut(&[usize]) -> f64) -> Self {
        let n: usize = shape.iter().product();
        let mut index = vec![0; shape.len()];
        let mut values = Vec::with_capacity(n);
        for _ in 0..n {
            values.push(rounded(kind, value(&index)));
            for axis in (0..shape.len()).rev() {
                index[axis] += 1;
                if index[axis] < shape[axis] {
                    break;
                }
                index[axis] = 0;
            }
        }
        Self { shape, kind, values }
    }

    /// The value at a place of a shape that this one broadcasts to.
    pub(super) fn at(&self, index: &[usize]) -> f64 {
        let lead = index.len() - self.shape.len();
        let flat = self.shape.iter().zip(&index[lead..]).fold(0, |flat, (&extent, &i)| {
            // An extent of one is repeated.
            flat * extent + if extent == 1 { 0 } else { i }
        });
        self.values[flat]
    }

    pub(super) fn integers(&self) -> Vec<i64> {
        self.values.iter().map(|&x| x as i64).collect()
    }

    /// The only value.
    pub(super) fn single(&self) -> Result<f64, Problem> {
        match self.values[..] {
            [value] => Ok(value),
            _ => Err(Problem::new(format!("{} values", self.values.len()), "one number")),
        }
    }

    /// The value that all have, if there is one.
    pub(super) fn uniform(&self) -> Option<f64> {
        let (&first, rest) = self.values.split_first()?;
        rest.iter().all(|x| x.to_bits() == first.to_bits()).then_some(first)
    }
}

/// A value of a kind.
pub(super) fn rounded(kind: Kind, value: f64) -> f64 {
    match kind {
        Kind::Float => f64::from(value as f32),
        Kind::Int => value,
        Kind::Bool => f64::from(value != 0.0),
    }
}

/// The shape that several broadcast to, aligned at the last axis.
pub(super) fn common_shape(shapes: &[&[usize]]) -> Result<Vec<usize>, Problem> {
    let rank = shapes.iter().map(|shape| shape.len()).max().unwrap_or(0);
    let mut common = vec![1; rank];
    for shape in shapes {
        for (extent, &own) in common[rank - shape.len()..].iter_mut().zip(*shape) {
            if *extent == 1 {
                *extent = own;
            } else if own != 1 && own != *extent {
                let found = shapes.iter().map(|shape| format!("{shape:?}")).collect::<Vec<_>>().join(" and ");
                return Err(Problem::new(found, "shapes that broadcast, aligned at the last axis"));
            }
        }
    }
    Ok(common)
}

/// An axis that may be counted from the end.
pub(super) fn axis(axis: i64, rank: usize) -> Result<usize, Problem> {
    let from_start = if axis < 0 { axis.saturating_add(rank as i64) } else { axis };
    match usize::try_from(from_start) {
        Ok(axis) if axis < rank => Ok(axis),
        _ => Err(Problem::new(format!("the axis {axis}"), format!("one of {rank} axes"))),
    }
}

/// Several axes, ascending.
pub(super) fn axes(axes: &[i64], rank: usize) -> Result<Vec<usize>, Problem> {
    let mut found = axes.iter().map(|&each| axis(each, rank)).collect::<Result<Vec<_>, _>>()?;
    found.sort_unstable();
    found.dedup();
    Ok(found)
}
