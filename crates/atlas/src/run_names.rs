//! What names in expressions mean in a run.
