//! An append-only chain of what was said when.
