//! Whether memory can be had, asked before code takes it that would end the process where there is none.

use std::hint::black_box;

/// Whether `n_bytes` of memory in one piece can be had at this moment.
pub(crate) fn is_free(n_bytes: usize) -> bool {
    let mut room = Vec::<u8>::new();
    let is_free = room.try_reserve_exact(n_bytes).is_ok();
    // Unused memory is never asked for, and then there seems to be plenty.
    black_box(&room);
    is_free
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_little_is_free_and_the_address_range_is_not() {
        assert!(is_free(1 << 10));
        assert!(!is_free(isize::MAX as usize));
    }
}
