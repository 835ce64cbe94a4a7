//! The parameter space: ordered names, shapes and ranges in one flat vector, and the weights that fill it.

use std::ops::Range;

use crate::graph::{Graph, GraphError, nearest};

/// Names, shapes and places of all parameters of a network in one flat vector.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ParamSpace {
    params: Vec<Param>,
    len: usize,
}

/// One named parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Param {
    /// Its name, such as `blocks.0.attn.W_Q`.
    pub name: String,
    /// Its shape, outermost axis first.
    pub shape: Vec<usize>,
    /// Its elements in the flat vector, row-major.
    pub range: Range<usize>,
}

impl ParamSpace {
    /// The parameters of a graph, in the order in which they were declared, without gaps.
    pub fn of(graph: &Graph) -> Self {
        let mut space = Self::default();
        for param in &graph.params {
            let shape = graph.shape(param.node).to_vec();
            let end = space.len + shape.iter().product::<usize>();
            space.params.push(Param { name: param.name.clone(), shape, range: space.len..end });
            space.len = end;
        }
        space
    }

    /// Number of scalar parameters.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All parameters, in flat order.
    pub fn iter(&self) -> impl Iterator<Item = &Param> {
        self.params.iter()
    }

    /// The parameter of a name.
    ///
    /// # Errors
    /// [`GraphError::UnknownName`] with the nearest name.
    pub fn find(&self, name: &str) -> Result<&Param, GraphError> {
        self.params.iter().find(|p| p.name == name).ok_or_else(|| GraphError::UnknownName {
            kind: "parameter",
            name: name.to_owned(),
            nearest: nearest(name, self.params.iter().map(|p| &p.name)),
        })
    }
}
