//! Dual averaging of a step size towards an acceptance rate (Hoffman & Gelman 2014, §3.2).

/// The time step h of Hamiltonian dynamics while it is adapted, and after.
#[derive(Debug)]
pub(super) struct StepSize {
    h: f64,
    is_given: bool,
    adaptation: Option<Averages>,
}

#[derive(Debug)]
struct Averages {
    target: f64,
    /// ln(10·h₀), towards which early trials are shrunk.
    centre: f64,
    n: f64,
    /// H̄: mean of target minus acceptance.
    shortfall: f64,
    /// ln h̄, the average that is used in the end.
    mean_log: f64,
}

/// γ, t₀ and κ of the paper.
const SHRINKAGE: f64 = 0.05;
const STABILIZATION: f64 = 10.0;
const FORGETTING: f64 = 0.75;

impl StepSize {
    /// Starts at `h`, and adapts where a target is given; else it is what [`Self::follow`] says.
    pub(super) fn new(h: f64, target: Option<f64>) -> Self {
        let averages = |target| Averages { target, centre: (10.0 * h).ln(), n: 0.0, shortfall: 0.0, mean_log: 0.0 };
        Self { h, is_given: target.is_none(), adaptation: target.map(averages) }
    }

    /// Takes the step size of the schedule, unless it is adapted.
    pub(super) fn follow(&mut self, h: f64) {
        if self.is_given {
            self.h = h;
        }
    }

    pub(super) fn h(&self) -> f64 {
        self.h
    }

    /// Takes in the acceptance probability of a trajectory at the present h.
    pub(super) fn learn(&mut self, acceptance: f64) {
        let Some(a) = &mut self.adaptation else { return };
        a.n += 1.0;
        let weight = 1.0 / (a.n + STABILIZATION);
        a.shortfall += weight * (a.target - acceptance - a.shortfall);
        let log = a.centre - a.n.sqrt() / SHRINKAGE * a.shortfall;
        a.mean_log += a.n.powf(-FORGETTING) * (log - a.mean_log);
        self.h = log.exp();
    }

    /// Keeps the averaged step size from here on.
    pub(super) fn settle(&mut self) {
        if let Some(a) = self.adaptation.take().filter(|a| a.n > 0.0) {
            self.h = a.mean_log.exp();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_finds_the_step_size_of_the_target() {
        // An acceptance of exp(−h): 0.8 at h = 0.2231.
        for start in [1e-3, 10.0] {
            let mut size = StepSize::new(start, Some(0.8));
            for _ in 0..2000 {
                size.learn((-size.h()).exp());
            }
            size.settle();
            assert!((size.h() - 0.2231).abs() < 0.02, "{start}: {}", size.h());
            let before = size.h();
            size.learn(0.0);
            size.follow(7.0);
            assert_eq!(size.h(), before, "settled");
        }
        let mut fixed = StepSize::new(0.1, None);
        fixed.learn(0.0);
        fixed.settle();
        assert_eq!(fixed.h(), 0.1);
        fixed.follow(0.2);
        assert_eq!(fixed.h(), 0.2, "the schedule's");
    }
}
