//! The exact expected return of an agent.

use ontogeny_zoo::{Model, ReturnError, TaskEnvironment};

use crate::ObserveError;

/// Version of the numbers of [`expected_return`].
pub const RETURN_VERSION: u32 = 1;

/// The expected return in `environment` of the policy with these flat weights, by going through all that may happen.
///
/// # Errors
/// Weights of another model, or weights or logits that are not finite.
pub fn expected_return(model: &Model, environment: &TaskEnvironment, weights: &[f32]) -> Result<f64, ObserveError> {
    let expected = environment.expected_return(model, weights).map_err(|error| match error {
        ReturnError::Graph(error) => ObserveError::from(error),
        ReturnError::Run(error) => error.into(),
    })?;
    if !expected.is_finite() {
        let mut wrong = model.tensors(weights).filter(|(_, values)| values.iter().any(|w| !w.is_finite()));
        return Err(ObserveError::non_finite(wrong.next().map(|(param, _)| param.name.clone()), "logits"));
    }
    Ok(expected)
}
