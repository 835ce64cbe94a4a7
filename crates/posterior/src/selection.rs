//! What a restriction selects in one network: ranges of the flat vector, the parameters they lie in, and projectors.

use std::ops::Range;

use ontogeny_graph::ParamSpace;

use crate::preview::Preview;
use crate::restriction::Ranges;
pub use crate::restriction::RestrictionError;
use crate::singular::Projector;

/// The free part of a chain's weights.
#[derive(Debug, Clone, PartialEq)]
pub struct Selection {
    ranges: Ranges,
    names: Vec<String>,
    /// In flat order; no two of one parameter.
    projectors: Vec<Projector>,
    n_free: usize,
}

impl Selection {
    /// Coordinates, and projectors of parameters that hold none of them.
    pub(crate) fn new(space: &ParamSpace, coordinates: &Ranges, mut projectors: Vec<Projector>) -> Self {
        projectors.sort_by_key(|projector| projector.range().start);
        let n_free = coordinates.count() + projectors.iter().map(Projector::n_directions).sum::<usize>();
        let projected = projectors.iter().map(|projector| projector.range().clone());
        let ranges = Ranges::union(coordinates.as_slice().iter().cloned().chain(projected).collect());
        let moves = |own: &Range<usize>| ranges.count_in(own) > 0;
        let names = space.iter().filter(|p| moves(&p.range)).map(|p| p.name.clone()).collect();
        Self { ranges, names, projectors, n_free }
    }

    /// Disjoint ascending ranges of the flat parameter vector that do not touch each other: all coordinates that may
    /// change. A parameter that moves along singular directions is among them as a whole.
    pub fn ranges(&self) -> &[Range<usize>] {
        self.ranges.as_slice()
    }

    /// Parameters with at least one free coordinate or direction, in flat order.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Number of free dimensions: coordinates, and singular directions.
    pub fn n_free(&self) -> usize {
        self.n_free
    }

    /// Projectors of the parameters that move along singular directions only.
    pub fn projectors(&self) -> &[Projector] {
        &self.projectors
    }

    /// Brings weights back to the free part around `start`: where a parameter moves along singular directions, w − w*
    /// is replaced by its orthogonal projection. All other weights keep their bits.
    ///
    /// A Langevin step with one step size for all coordinates, projected, is that step in the coordinates z of
    /// w = w* + Σ zₖ·uₖvₖᵀ, since the uₖvₖᵀ are orthonormal. Preconditioned coordinate by coordinate it is not.
    pub fn project(&self, start: &[f32], weights: &mut [f32]) {
        for projector in &self.projectors {
            projector.project(Some(start), weights);
        }
    }

    /// [`Selection::project`] of a direction such as a gradient, whose origin is 0.
    pub fn project_direction(&self, direction: &mut [f32]) {
        for projector in &self.projectors {
            projector.project(None, direction);
        }
    }

    /// What is selected of each module and parameter of `space`, which must be the network that this was resolved in.
    pub fn preview(&self, space: &ParamSpace) -> Preview {
        Preview::new(self, space)
    }

    /// Number of coordinates in `within` that may change.
    pub(crate) fn count_in(&self, within: &Range<usize>) -> usize {
        self.ranges.count_in(within)
    }
}
