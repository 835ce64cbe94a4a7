//! Online prediction: a predictor that is handed the past and, by its types, cannot see more.

use crate::array_error::{ArrayError, enough, finite, increasing, length};

/// A series under lock: what moves in is read again only through [`HeldBack::forecast`], a piece of the past at a time.
///
/// The predictor is a closure that never receives the series, only a [`Past`]: a view that ends before what is to be predicted,
/// cannot be built or made longer, and cannot be kept from one call to the next:
///
/// ```
/// use ontogeny_stats::hypothesis::{HeldBack, Past};
///
/// let held = HeldBack::new(vec![0.0, 1.0, 2.0, 3.0], vec![1.0, 2.0, 4.0, 8.0])?;
/// let forecasts = held.forecast(2, 1, |past: Past<'_>| 2.0 * past.values()[past.len() - 1])?;
/// assert_eq!(forecasts[0].forecast, 4.0);
/// assert_eq!(forecasts[0].outcome, 4.0);
/// # Ok::<(), ontogeny_stats::ArrayError>(())
/// ```
///
/// ```compile_fail,E0521
/// # use ontogeny_stats::hypothesis::{HeldBack, Past};
/// # let held = HeldBack::new(vec![0.0, 1.0, 2.0, 3.0], vec![1.0, 2.0, 4.0, 8.0]).unwrap();
/// let mut kept: Vec<Past<'_>> = vec![];
/// held.forecast(2, 1, |past| { kept.push(past); 0.0 }); // a past outlives its call
/// ```
///
/// ```compile_fail,E0382
/// # use ontogeny_stats::hypothesis::{HeldBack, Past};
/// # let (steps, values) = (vec![0.0, 1.0, 2.0, 3.0], vec![1.0, 2.0, 4.0, 8.0]);
/// let held = HeldBack::new(steps, values).unwrap();
/// held.forecast(2, 1, |_| values[3]); // the series has moved away
/// ```
///
/// ```compile_fail,E0451
/// # use ontogeny_stats::hypothesis::Past;
/// let longer = Past { steps: &[0.0], values: &[1.0], target_step: 1.0 }; // a past of one's own making
/// ```
#[derive(Debug)]
pub struct HeldBack {
    steps: Vec<f64>,
    values: Vec<f64>,
}

/// What a predictor may know: steps and values up to now, and for which step it is asked.
#[derive(Debug, Clone, Copy)]
pub struct Past<'a> {
    steps: &'a [f64],
    values: &'a [f64],
    target_step: f64,
}

/// One forecast and what came of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OnlineForecast {
    /// The last step that was known.
    pub made_at: f64,
    /// The step that was foretold.
    pub step: f64,
    /// What was foretold.
    pub forecast: f64,
    /// What came.
    pub outcome: f64,
    /// The naive forecast: the last known value.
    pub last_value: f64,
}

impl HeldBack {
    /// Takes a series over: values at increasing steps.
    ///
    /// # Errors
    /// Arrays of different lengths, fewer than two values, numbers that are not finite, steps that do not increase.
    pub fn new(steps: Vec<f64>, values: Vec<f64>) -> Result<Self, ArrayError> {
        length("the values of a series", values.len(), steps.len())?;
        enough("values of a series", values.len(), 2)?;
        increasing("the steps of a series", &steps)?;
        finite("the values of a series", &values)?;
        Ok(Self { steps, values })
    }

    /// Forecasts by `predictor` of the value `horizon` values ahead, once for every past of at least `first` values, in order.
    ///
    /// The predictor may keep a state of its own; what it is told later never changes what it has said.
    ///
    /// # Errors
    /// A `first` or `horizon` of 0 or so large that nothing is left to foretell; a forecast that is not finite.
    pub fn forecast(
        &self,
        first: usize,
        horizon: usize,
        mut predictor: impl FnMut(Past<'_>) -> f64,
    ) -> Result<Vec<OnlineForecast>, ArrayError> {
        enough("known values before the first forecast", first, 1)?;
        enough("values from a forecast to its outcome", horizon, 1)?;
        enough("values of the series", self.values.len(), first.saturating_add(horizon))?;
        let mut forecasts = vec![];
        for known in first..=self.values.len() - horizon {
            let target = known - 1 + horizon;
            let step = self.steps[target];
            let past = Past { steps: &self.steps[..known], values: &self.values[..known], target_step: step };
            let forecast = predictor(past);
            finite("a forecast", &[forecast])?;
            let (made_at, last_value) = (self.steps[known - 1], self.values[known - 1]);
            forecasts.push(OnlineForecast { made_at, step, forecast, outcome: self.values[target], last_value });
        }
        Ok(forecasts)
    }
}

impl<'a> Past<'a> {
    /// Steps of the known values, increasing.
    pub fn steps(&self) -> &'a [f64] {
        self.steps
    }

    /// The known values.
    pub fn values(&self) -> &'a [f64] {
        self.values
    }

    /// The step whose value is to be foretold. Schedules are fixed before a run, so that this says nothing about the outcome.
    pub fn target_step(&self) -> f64 {
        self.target_step
    }

    /// How many values are known; at least 1.
    #[expect(clippy::len_without_is_empty, reason = "a past is never empty")]
    pub fn len(&self) -> usize {
        self.values.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_past_ends_before_its_target() {
        let held =
            HeldBack::new((0..10).map(f64::from).collect(), (0..10).map(|i| f64::from(i * i)).collect()).unwrap();
        let mut lengths = vec![];
        let forecasts = held.forecast(3, 2, |past| {
            lengths.push(past.len());
            assert_eq!(past.steps()[past.len() - 1] + 2.0, past.target_step());
            past.values()[past.len() - 1]
        });
        let forecasts = forecasts.unwrap();
        assert_eq!(lengths, [3, 4, 5, 6, 7, 8]);
        assert_eq!(
            forecasts[0],
            OnlineForecast { made_at: 2.0, step: 4.0, forecast: 4.0, outcome: 16.0, last_value: 4.0 }
        );
        assert_eq!(forecasts[5].outcome, 81.0);
    }

    #[test]
    fn what_comes_later_changes_no_forecast() {
        let forecasts = |last: f64| {
            let held = HeldBack::new(vec![0.0, 1.0, 2.0, 5.0], vec![1.0, 3.0, 2.0, last]).unwrap();
            let found = held.forecast(1, 1, |past| past.values().iter().sum::<f64>()).unwrap();
            found.iter().map(|f| f.forecast).collect::<Vec<_>>()
        };
        assert_eq!(forecasts(0.0), forecasts(1e9));
    }

    #[test]
    fn bad_input_is_refused() {
        assert!(HeldBack::new(vec![0.0, 1.0], vec![1.0]).is_err() && HeldBack::new(vec![0.0], vec![1.0]).is_err());
        assert!(HeldBack::new(vec![1.0, 1.0], vec![1.0, 2.0]).is_err());
        assert!(HeldBack::new(vec![0.0, 1.0], vec![1.0, f64::NAN]).is_err());
        let held = HeldBack::new(vec![0.0, 1.0], vec![1.0, 2.0]).unwrap();
        assert!(held.forecast(0, 1, |_| 0.0).is_err() && held.forecast(1, 0, |_| 0.0).is_err());
        assert!(held.forecast(1, 2, |_| 0.0).is_err() && held.forecast(usize::MAX, 1, |_| 0.0).is_err());
        assert!(held.forecast(1, 1, |_| f64::NAN).is_err());
    }
}
