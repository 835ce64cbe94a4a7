//! Predictions made before the outcome is there.
