//! What the kernels' unsafe code relies on, checked step by step for every plan of a debug build.

use super::{Kernel, Place, Plan, Space};
use crate::kernels::Span;

/// Panics where a step leaves a buffer, writes what is not its own, overlaps an operand, or reads memory that another
/// buffer has taken since.
pub(super) fn check(plan: &Plan) {
    let start = |place: Place| plan.buffers[place.buffer].offset + place.offset;
    // Which buffer's values every transient element holds.
    let mut holder: Vec<Option<usize>> = vec![None; plan.n_transient];
    for (at, step) in plan.steps.iter().enumerate() {
        let spans = step.kernel.spans();
        let (writes, reads): (Vec<&Span>, Vec<&Span>) = spans.iter().partition(|span| span.written);
        for span in &spans {
            let buffer = &plan.buffers[span.place.buffer];
            assert!(span.place.offset + span.len <= buffer.len, "step {at} ({}) leaves its buffer", step.label);
            let size = match buffer.space {
                Space::Transient => plan.n_transient,
                Space::Kept => plan.n_kept,
                Space::Ids => plan.n_ids,
                Space::Literals => plan.literals.len(),
                Space::Weights => buffer.len,
            };
            assert!(start(span.place) + span.len <= size, "step {at} ({}) leaves the workspace", step.label);
        }
        for read in &reads {
            let buffer = read.place.buffer;
            if plan.buffers[buffer].space == Space::Transient {
                let first = start(read.place);
                let held = holder[first..first + read.len].iter().all(|held| *held == Some(buffer));
                assert!(held, "step {at} ({}) reads memory that has been taken", step.label);
            }
        }
        let in_place = matches!(&step.kernel, Kernel::Fused(fused) if fused.is_in_place());
        for write in &writes {
            let space = plan.buffers[write.place.buffer].space;
            let is_copy_of_ids = matches!(step.kernel, Kernel::Copy(_)) && space == Space::Ids;
            assert!(
                matches!(space, Space::Transient | Space::Kept) || is_copy_of_ids,
                "step {at} ({}) writes what is not its own",
                step.label
            );
            let first = start(write.place);
            for read in reads.iter().filter(|read| plan.buffers[read.place.buffer].space == space) {
                let other = start(read.place);
                let apart = first + write.len <= other || other + read.len <= first;
                let same = in_place && first == other && write.len == read.len;
                assert!(apart || same, "step {at} ({}) overlaps its operand", step.label);
            }
            if space == Space::Transient {
                holder[first..first + write.len].fill(Some(write.place.buffer));
            }
        }
    }
}
