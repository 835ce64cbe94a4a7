//! What expressions are about: numbers, texts, curves over training steps, and labelled lists of them.

use super::error::Undefined;

/// The value of an expression or of a name.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A number; comparisons give 1 or 0.
    Number(f64),
    /// A word, such as the name of an optimiser.
    Text(String),
    /// A series over training steps.
    Curve(Curve),
    /// Several series by their labels, each label once.
    Curves(Vec<(String, Curve)>),
    /// Numbers by their labels, each label once.
    List(Vec<(String, f64)>),
    /// Labels, such as those of the largest entries of a list.
    Labels(Vec<String>),
}

/// A series over training steps: only the steps that have a value, and where there should have been one.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    /// Training steps, ascending, at least 0.
    pub steps: Vec<f64>,
    /// The value at each step, finite.
    pub values: Vec<f64>,
    /// The standard error of each value, where all are known.
    pub errors: Option<Vec<f64>>,
    /// Steps without a value that should have one, ascending: an estimate was refused there, or is no finite number.
    pub gaps: Vec<f64>,
}

impl Value {
    /// A list with the labels 1, 2, ….
    pub fn numbered(values: impl Iterator<Item = f64>) -> Self {
        Self::List(values.enumerate().map(|(i, value)| ((i + 1).to_string(), value)).collect())
    }

    /// What it is, in words.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Number(_) => "a number",
            Self::Text(_) => "a text",
            Self::Curve(_) => "a curve",
            Self::Curves(_) => "several curves",
            Self::List(_) => "a list",
            Self::Labels(_) => "labels",
        }
    }
}

impl Curve {
    /// A curve without standard errors and without gaps.
    pub fn new(steps: Vec<f64>, values: Vec<f64>) -> Self {
        Self { steps, values, errors: None, gaps: vec![] }
    }

    /// Number of points.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Whether it has no point.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// ln(step + 1) of each point.
    pub(super) fn log_steps(&self) -> Vec<f64> {
        self.steps.iter().map(|step| step.ln_1p()).collect()
    }

    /// The points at the indices for which `keep` says so.
    pub(super) fn filtered(&self, keep: impl Fn(usize) -> bool) -> Self {
        let of = |values: &[f64]| values.iter().enumerate().filter(|(i, _)| keep(*i)).map(|(_, v)| *v).collect();
        let errors = self.errors.as_deref().map(of);
        Self { steps: of(&self.steps), values: of(&self.values), errors, gaps: self.gaps.clone() }
    }

    /// The same points with other values; of a value that is not finite a gap is left. Errors go unless given.
    pub(super) fn with_values(&self, values: Vec<f64>, errors: Option<Vec<f64>>) -> Self {
        let whole = Self { steps: self.steps.clone(), values, errors, gaps: self.gaps.clone() };
        // An error that could not be carried over (of a root at 0) makes that of the whole curve unknown.
        let errors = whole.errors.as_ref().filter(|errors| {
            errors.iter().zip(&whole.values).all(|(error, value)| error.is_finite() || !value.is_finite())
        });
        let whole = Self { errors: errors.cloned(), ..whole.clone() };
        let is_finite: Vec<bool> = whole.values.iter().map(|v| v.is_finite()).collect();
        if is_finite.iter().all(|b| *b) {
            return whole;
        }
        let mut kept = whole.filtered(|i| is_finite[i]);
        kept.gaps
            .extend(whole.steps.iter().zip(&is_finite).filter(|(_, is_finite)| !**is_finite).map(|(step, _)| step));
        kept.gaps.sort_by(f64::total_cmp);
        kept
    }

    /// The first value, if no gap comes before it; else the step of the gap.
    pub(super) fn first(&self) -> Result<f64, f64> {
        match self.gaps.first() {
            Some(&gap) if gap < self.steps[0] => Err(gap),
            _ => Ok(self.values[0]),
        }
    }

    /// The last value, if no gap comes behind it; else the step of the gap.
    pub(super) fn last(&self) -> Result<f64, f64> {
        let end = self.len() - 1;
        match self.gaps.last() {
            Some(&gap) if gap > self.steps[end] => Err(gap),
            _ => Ok(self.values[end]),
        }
    }

    /// Its value at a step, along straight lines in ln(step + 1); `None` outside of its steps and at a gap.
    pub(super) fn at(&self, step: f64) -> Option<f64> {
        if self.gaps.contains(&step) {
            return None;
        }
        let above = self.steps.partition_point(|s| *s < step);
        let (&next, &value) = (self.steps.get(above)?, self.values.get(above)?);
        if next == step {
            return Some(value);
        }
        // NaN stops here too: no step is below it.
        let before = above.checked_sub(1)?;
        let (a, b) = (self.steps[before].ln_1p(), next.ln_1p());
        let share = if b > a { (step.ln_1p() - a) / (b - a) } else { 0.5 };
        Some(self.values[before] + share * (value - self.values[before]))
    }
}

/// The entry of this label.
pub(super) fn entry<'a, T>(entries: &'a [(String, T)], label: &str) -> Option<&'a T> {
    entries.iter().find(|(own, _)| own == label).map(|(_, value)| value)
}

/// A curve, if it has a point.
pub(super) fn not_empty(curve: Curve, reason: impl FnOnce() -> String) -> Result<Value, Undefined> {
    if curve.is_empty() { Err(Undefined::new(reason())) } else { Ok(Value::Curve(curve)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn between_points_lines_are_straight_in_log_time() {
        let curve = Curve::new(vec![0.0, 99.0], vec![4.0, 2.0]);
        // ln 10 is half of ln 100.
        assert!((curve.at(9.0).unwrap() - 3.0).abs() < 1e-15);
        assert_eq!((curve.at(0.0), curve.at(99.0)), (Some(4.0), Some(2.0)));
        assert_eq!((curve.at(-0.5), curve.at(99.5), curve.at(f64::NAN)), (None, None, None));
    }

    #[test]
    fn values_that_are_not_finite_take_their_points_out() {
        let curve = Curve { errors: Some(vec![0.1, 0.2, 0.3]), ..Curve::new(vec![0.0, 1.0, 2.0], vec![1.0; 3]) };
        let found = curve.with_values(vec![1.0, f64::NAN, 3.0], Some(vec![0.1, f64::NAN, 0.3]));
        assert_eq!((&found.gaps[..], found.at(1.0), found.first(), found.last()), (&[1.0][..], None, Ok(1.0), Ok(3.0)));
        let ends = found.with_values(vec![f64::NAN, 3.0], None);
        assert_eq!((&ends.gaps[..], ends.first(), ends.last()), (&[0.0, 1.0][..], Err(0.0), Ok(3.0)));
        let begins = found.with_values(vec![1.0, f64::INFINITY], None);
        assert_eq!((&begins.gaps[..], begins.first(), begins.last()), (&[1.0, 2.0][..], Ok(1.0), Err(2.0)));
        assert_eq!((found.steps, found.values, found.errors), (vec![0.0, 2.0], vec![1.0, 3.0], Some(vec![0.1, 0.3])));
        let found = curve.with_values(vec![1.0, 2.0, 3.0], Some(vec![f64::INFINITY, 0.2, 0.3]));
        assert_eq!((found.len(), found.errors), (3, None));
    }
}
