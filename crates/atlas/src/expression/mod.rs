//! A small language for one number of a run.
