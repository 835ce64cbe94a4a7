//! Where the entries along one side of a product lie: evenly spaced, or in a table.

/// Offsets of the indices 0, 1, … of one or several axes walked as one, from the first entry on.
#[derive(Debug, Clone)]
pub(crate) enum Offsets {
    /// (number of indices, stride).
    Even(usize, usize),
    /// What no single stride describes: several axes, or windows that overlap.
    Table(Box<[usize]>),
}

impl Offsets {
    /// Axes of (extent, stride), outermost first, that are already merged where one stride serves.
    pub(crate) fn of(axes: &[(usize, usize)]) -> Self {
        match axes {
            [] => Self::Even(1, 0),
            [(extent, stride)] => Self::Even(*extent, *stride),
            _ => {
                let dims: Vec<(usize, [usize; 1])> = axes.iter().map(|&(extent, stride)| (extent, [stride])).collect();
                Self::Table(super::walk(&dims).map(|[at]| at).collect())
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Even(len, _) => *len,
            Self::Table(table) => table.len(),
        }
    }

    #[inline(always)]
    pub(crate) fn at(&self, index: usize) -> usize {
        match self {
            Self::Even(_, stride) => index * stride,
            Self::Table(table) => table[index],
        }
    }

    /// The stride, where there is one.
    pub(crate) fn stride(&self) -> Option<usize> {
        match self {
            Self::Even(_, stride) => Some(*stride),
            Self::Table(_) => None,
        }
    }

    /// Whether `n` indices from `first` on lie next to each other, in this order.
    #[inline(always)]
    pub(crate) fn is_dense(&self, first: usize, n: usize) -> bool {
        match self {
            Self::Even(_, stride) => *stride == 1 || n == 1,
            Self::Table(table) => (1..n).all(|i| table[first + i] == table[first] + i),
        }
    }

    /// The largest offset: strides are never negative.
    pub(crate) fn reach(&self) -> usize {
        match self {
            Self::Even(len, stride) => (len - 1) * stride,
            Self::Table(table) => table.iter().copied().max().unwrap_or(0),
        }
    }
}
