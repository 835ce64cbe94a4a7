//! Kernels: the loops that programs consist of, each compiled for every instruction set.
//!
//! The plan proves what the loops rely on: every place lies inside its buffer, and no result overlaps an operand of the
//! same step (an elementwise result may *be* an operand; [`fused`] then writes through a register).

pub(crate) mod at_max;
pub(crate) mod contract;
pub(crate) mod copy;
pub(crate) mod fused;
pub(crate) mod offsets;
pub(crate) mod overlap;
mod pack;
pub(crate) mod parts;
pub(crate) mod reduce;
pub(crate) mod rows;
pub(crate) mod tables;
mod tile;
mod tiny;
mod vector;

use std::ops::Range;

use parts::Part;

use crate::isa::Isa;
use crate::plan::{Buffer, Kernel, Place, Space};
use crate::program::RunError;

/// Memory a step touches: so many elements from a place on, with gaps where it walks with strides.
pub(crate) struct Span {
    pub(crate) place: Place,
    pub(crate) len: usize,
    pub(crate) written: bool,
}

/// Elements between the first and the last that axes of (extent, stride) reach, both included.
pub(crate) fn reach(axes: impl IntoIterator<Item = (usize, usize)>) -> usize {
    1 + axes.into_iter().map(|(extent, stride)| (extent - 1) * stride).sum::<usize>()
}

/// Base addresses of one execution.
#[derive(Clone, Copy)]
pub(crate) struct Memory<'a> {
    pub(crate) buffers: &'a [Buffer],
    pub(crate) weights: *const f32,
    pub(crate) literals: *const f32,
    pub(crate) kept: *mut f32,
    pub(crate) transient: *mut f32,
    pub(crate) ids: *mut i32,
    /// Blocks of the fused kernels, packed panels of products: free for every step to overwrite.
    pub(crate) scratch: *mut f32,
    /// Floats from one thread's scratch memory to the next one's.
    pub(crate) scratch_stride: usize,
    pub(crate) isa: Isa,
}

// SAFETY: parts of a step that run at the same time write memory that no other part touches, and each thread has its own
// scratch memory; weights and literals are only read.
#[expect(unsafe_code, reason = "threads share the addresses of one execution")]
unsafe impl Sync for Memory<'_> {}

#[expect(unsafe_code, reason = "the plan places every operand; see the module's promise")]
impl Memory<'_> {
    /// The same, with the scratch memory of a thread.
    pub(crate) fn of_thread(&self, thread: usize) -> Self {
        // SAFETY: the workspace holds scratch memory for each of its threads.
        Self { scratch: unsafe { self.scratch.add(thread * self.scratch_stride) }, ..*self }
    }

    /// The address of a place; ids are as wide as floats, and only copies take them by this address.
    pub(crate) fn at(&self, place: Place) -> *mut f32 {
        let buffer = &self.buffers[place.buffer];
        let base = match buffer.space {
            Space::Weights => self.weights.cast_mut(),
            Space::Literals => self.literals.cast_mut(),
            Space::Kept => self.kept,
            Space::Transient => self.transient,
            Space::Ids => self.ids.cast(),
        };
        // SAFETY: offsets come from the plan and lie inside their space.
        unsafe { base.add(buffer.offset + place.offset) }
    }

    /// `len` floats to read.
    pub(crate) fn read(&self, place: Place, len: usize) -> &[f32] {
        debug_assert!(place.offset + len <= self.buffers[place.buffer].len);
        // SAFETY: inside its buffer, and no step writes what it reads.
        unsafe { std::slice::from_raw_parts(self.at(place), len) }
    }

    /// `len` floats to write.
    #[expect(clippy::mut_from_ref, reason = "distinct places of one arena are distinct memory")]
    pub(crate) fn write(&self, place: Place, len: usize) -> &mut [f32] {
        debug_assert!(place.offset + len <= self.buffers[place.buffer].len);
        debug_assert!(matches!(self.buffers[place.buffer].space, Space::Kept | Space::Transient));
        // SAFETY: inside its buffer; the plan gives a step's result to nobody else in the same step.
        unsafe { std::slice::from_raw_parts_mut(self.at(place), len) }
    }

    /// The first `len` floats of the memory that every step may overwrite; `len` is what the kernel asked for.
    #[expect(clippy::mut_from_ref, reason = "one step runs at a time on a thread, and takes it once")]
    pub(crate) fn scratch(&self, len: usize) -> &mut [f32] {
        // SAFETY: the workspace holds as much as the kernel that asks for most.
        unsafe { std::slice::from_raw_parts_mut(self.scratch, len) }
    }

    /// The integer at element `index` after a place.
    pub(crate) fn id(&self, place: Place, index: usize) -> i32 {
        let buffer = &self.buffers[place.buffer];
        debug_assert!(place.offset + index < buffer.len);
        // SAFETY: inside its buffer by the plan.
        unsafe { *self.ids.add(buffer.offset + place.offset + index) }
    }
}

impl Kernel {
    /// Runs one part; all parts, in any order or at the same time, make the step. Those of a kernel that
    /// [cannot be cut](Self::is_divisible) are one.
    pub(crate) fn run(&self, memory: &Memory<'_>, part: Part) -> Result<(), RunError> {
        match self {
            Self::Fused(k) => k.run(memory, part),
            Self::Contract(k) => k.run(memory, part),
            Self::Reduce(k) => k.run(memory, part),
            Self::Rows(k) => return k.run(memory, part),
            Self::Table(k) => return k.run(memory, part),
            Self::Copy(k) => k.run(memory, part),
            Self::Overlap(k) => k.run(memory),
            Self::AtMax(k) => k.run(memory),
        }
        Ok(())
    }

    pub(crate) fn is_divisible(&self) -> bool {
        match self {
            Self::Copy(k) => k.is_divisible(),
            Self::Overlap(_) | Self::AtMax(_) => false,
            _ => true,
        }
    }

    /// About how long it takes on one thread: as long as its operations, or its memory, would take alone.
    pub(crate) fn cost_ns(&self, flops: usize) -> usize {
        if !self.is_divisible() {
            return 0;
        }
        let flops_per_ns = if matches!(self, Self::Contract(_)) { 64 } else { 8 };
        let bytes: usize = self.spans().iter().map(|span| 4 * span.len).sum();
        flops / flops_per_ns + bytes / 16
    }

    /// All memory the kernel touches.
    pub(crate) fn spans(&self) -> Vec<Span> {
        match self {
            Self::Fused(k) => k.spans(),
            Self::Contract(k) => k.spans(),
            Self::Reduce(k) => k.spans(),
            Self::Rows(k) => k.spans(),
            Self::Table(k) => k.spans(),
            Self::Copy(k) => k.spans(),
            Self::Overlap(k) => k.spans(),
            Self::AtMax(k) => k.spans(),
        }
    }

    /// Floats of scratch memory it needs.
    pub(crate) fn scratch_len(&self) -> usize {
        match self {
            Self::Fused(k) => k.register_len(),
            Self::Contract(k) => k.scratch_len(),
            _ => 0,
        }
    }

    /// A word for listings.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Fused(_) => "fused",
            Self::Contract(_) => "einsum",
            Self::Reduce(_) => "reduce",
            Self::Rows(_) => "rows",
            Self::Table(_) => "table",
            Self::Copy(_) => "copy",
            Self::Overlap(_) => "overlap",
            Self::AtMax(_) => "at_max",
        }
    }
}

/// All index tuples of some axes as running offsets of several stride lists, last axis fastest. An iterator and not a
/// function of a closure, so that the loop body is compiled for the instruction set of the kernel around it.
pub(crate) struct Walk<'a, const N: usize> {
    dims: &'a [(usize, [usize; N])],
    index: [usize; MAX_RANK],
    offsets: [usize; N],
    n_left: usize,
}

/// Index tuples of axes.
pub(crate) fn n_tuples<const N: usize>(dims: &[(usize, [usize; N])]) -> usize {
    dims.iter().map(|(extent, _)| extent).product()
}

/// Walks axes given as (extent, strides), none of them empty.
pub(crate) fn walk<const N: usize>(dims: &[(usize, [usize; N])]) -> Walk<'_, N> {
    walk_range(dims, 0..n_tuples(dims))
}

/// Walks the index tuples of these numbers.
pub(crate) fn walk_range<const N: usize>(dims: &[(usize, [usize; N])], range: Range<usize>) -> Walk<'_, N> {
    debug_assert!(dims.len() <= MAX_RANK);
    let mut walk = Walk { dims, index: [0; MAX_RANK], offsets: [0; N], n_left: range.len() };
    let mut rest = range.start;
    if rest > 0 {
        for (axis, (extent, strides)) in dims.iter().enumerate().rev() {
            walk.index[axis] = rest % extent;
            rest /= extent;
            (0..N).for_each(|i| walk.offsets[i] += walk.index[axis] * strides[i]);
        }
    }
    walk
}

impl<const N: usize> Iterator for Walk<'_, N> {
    type Item = [usize; N];

    #[inline(always)]
    fn next(&mut self) -> Option<[usize; N]> {
        self.n_left = self.n_left.checked_sub(1)?;
        let current = self.offsets;
        for axis in (0..self.dims.len()).rev() {
            let (extent, strides) = self.dims[axis];
            self.index[axis] += 1;
            if self.index[axis] < extent {
                (0..N).for_each(|i| self.offsets[i] += strides[i]);
                break;
            }
            self.index[axis] = 0;
            (0..N).for_each(|i| self.offsets[i] -= strides[i] * (extent - 1));
        }
        Some(current)
    }
}

/// More axes than any graph here has after collapsing.
pub(crate) const MAX_RANK: usize = 16;
