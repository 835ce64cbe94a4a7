//! Memory by liveness: transient buffers share one arena, and elementwise results take over operands that die.

use super::{Buffer, Kernel, Place, Space, Step};

/// Elements per 64 bytes: every buffer starts at a cache line.
const ALIGN: usize = 16;

/// Lengths of the three spaces a workspace owns.
pub(crate) struct Sizes {
    pub(crate) kept: usize,
    pub(crate) transient: usize,
    pub(crate) ids: usize,
}

/// Gives every buffer its offset.
pub(crate) fn allocate(buffers: &mut [Buffer], steps: &mut [Step]) -> Sizes {
    let mut sizes = Sizes { kept: 0, transient: 0, ids: 0 };
    for buffer in buffers.iter_mut() {
        let end = match buffer.space {
            Space::Kept => &mut sizes.kept,
            Space::Ids => &mut sizes.ids,
            Space::Weights | Space::Literals | Space::Transient => continue,
        };
        buffer.offset = *end;
        *end += buffer.len.next_multiple_of(ALIGN);
    }

    let mut first = vec![usize::MAX; buffers.len()];
    let mut last = vec![0; buffers.len()];
    for (at, step) in steps.iter().enumerate() {
        for span in step.kernel.spans() {
            let buffer = span.place.buffer;
            first[buffer] = first[buffer].min(at);
            last[buffer] = last[buffer].max(at);
        }
    }
    let owner = take_over(buffers, steps, &first, &mut last);

    let mut order: Vec<usize> = (0..buffers.len())
        .filter(|&b| buffers[b].space == Space::Transient && owner[b] == b && first[b] != usize::MAX)
        .collect();
    order.sort_by_key(|&b| (first[b], std::cmp::Reverse(buffers[b].len), b));
    let mut placed: Vec<usize> = Vec::new();
    for b in order {
        // First gap that is wide enough among the buffers alive at the same time.
        let mut alive: Vec<(usize, usize)> = placed
            .iter()
            .filter(|&&other| first[other] <= last[b] && last[other] >= first[b])
            .map(|&other| (buffers[other].offset, buffers[other].offset + buffers[other].len.next_multiple_of(ALIGN)))
            .collect();
        alive.sort_unstable();
        let mut offset = 0;
        for (start, end) in alive {
            if offset + buffers[b].len <= start {
                break;
            }
            offset = offset.max(end);
        }
        buffers[b].offset = offset;
        sizes.transient = sizes.transient.max(offset + buffers[b].len.next_multiple_of(ALIGN));
        placed.push(b);
    }
    for b in 0..buffers.len() {
        if owner[b] != b {
            buffers[b].offset = buffers[owner[b]].offset;
        }
    }
    sizes
}

/// Lets the result of a fused group use the memory of a dense operand of the same length that dies in it.
fn take_over(buffers: &[Buffer], steps: &mut [Step], first: &[usize], last: &mut [usize]) -> Vec<usize> {
    let mut owner: Vec<usize> = (0..buffers.len()).collect();
    for (at, step) in steps.iter_mut().enumerate() {
        let Kernel::Fused(fused) = &mut step.kernel else {
            continue;
        };
        let result = fused.result().buffer;
        if buffers[result].space != Space::Transient || first[result] != at {
            continue;
        }
        let candidate = fused.dense_operands().find(|place| {
            let memory = owner[place.buffer];
            buffers[place.buffer].space == Space::Transient
                && place.offset == 0
                && buffers[memory].len == buffers[result].len
                && last[memory] == at
                && fused.reads_once(*place, |other: Place| owner[other.buffer] == memory)
        });
        if let Some(place) = candidate {
            let memory = owner[place.buffer];
            owner[result] = memory;
            last[memory] = last[result];
            fused.set_in_place();
        }
    }
    owner
}
