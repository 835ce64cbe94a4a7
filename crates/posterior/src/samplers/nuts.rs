//! The no-U-turn sampler: Hamiltonian trajectories that end where they begin to return.

use ontogeny_graph::StepNorms;

use super::Dynamics;
use super::adaptation::StepSize;
use super::exact::Point;
use crate::llc::LlcError;
use crate::target::Target;

/// NUTS (Hoffman & Gelman 2014) with multinomial weights and the criterion of Betancourt 2017, app. A, an identity mass
/// matrix and dual averaging.
#[derive(Debug)]
pub(super) struct NutsDynamics {
    max_depth: u32,
    target_acceptance: Option<f64>,
    size: Option<StepSize>,
    here: Option<Point>,
    acceptance: (f64, usize),
    is_burnt_in: bool,
}

/// A rise of the energy from which a trajectory does not come back.
const MAX_ENERGY_ERROR: f64 = 1000.0;

impl NutsDynamics {
    pub(super) fn new(max_depth: u32, target_acceptance: Option<f64>) -> Self {
        Self { max_depth, target_acceptance, size: None, here: None, acceptance: (0.0, 0), is_burnt_in: false }
    }
}

/// Points of a trajectory that were reached in one direction, or all of it.
#[derive(Debug)]
struct Tree {
    /// The two ends, earliest first.
    ends: [Point; 2],
    /// One of the points, with probability proportional to exp(−energy).
    proposal: Point,
    /// ln Σ exp(H₀ − H) over the points.
    log_weight: f64,
    /// Sum of the momenta of all points.
    momenta: Vec<f64>,
    /// The trajectory turns, or its energy is lost: no point of it may be taken, and it ends.
    is_over: bool,
}

/// One trajectory under construction.
struct Trajectory<'a, 'b> {
    target: &'a mut Target<'b>,
    h: f64,
    start_energy: f64,
    step: u32,
    /// Random choices made so far.
    n_choices: u32,
    sum_acceptance: f64,
    n_points: usize,
}

impl Trajectory<'_, '_> {
    /// 2^depth points from `from` on, in one direction of time.
    fn grow(&mut self, from: &Point, depth: u32, forward: bool) -> Result<Tree, LlcError> {
        if depth == 0 {
            return self.leaf(from, forward);
        }
        let near = self.grow(from, depth - 1, forward)?;
        if near.is_over {
            return Ok(near);
        }
        let far = self.grow(&near.ends[usize::from(forward)], depth - 1, forward)?;
        if far.is_over {
            return Ok(Tree { is_over: true, ..near });
        }
        let all = log_sum(near.log_weight, far.log_weight);
        let takes_far = self.choice() < (far.log_weight - all).exp();
        Ok(join(near, far, forward, takes_far))
    }

    fn leaf(&mut self, from: &Point, forward: bool) -> Result<Tree, LlcError> {
        let mut point = from.clone();
        point.leapfrog(self.target, if forward { self.h } else { -self.h })?;
        let gain = self.start_energy - point.energy();
        let is_lost = gain.is_nan() || gain < -MAX_ENERGY_ERROR;
        self.sum_acceptance += if gain.is_nan() { 0.0 } else { gain.min(0.0).exp() };
        self.n_points += 1;
        Ok(Tree {
            ends: [point.clone(), point.clone()],
            momenta: point.momentum.iter().map(|&p| f64::from(p)).collect(),
            proposal: point,
            log_weight: gain,
            is_over: is_lost,
        })
    }

    fn choice(&mut self) -> f64 {
        self.n_choices += 1;
        self.target.choice(self.step, self.n_choices - 1)
    }
}

/// Two neighbouring pieces as one, the second later in the direction of growth.
fn join(near: Tree, far: Tree, forward: bool, takes_far: bool) -> Tree {
    let [log_near, log_far] = [near.log_weight, far.log_weight];
    let (proposal, unused) = if takes_far { (far.proposal, near.proposal) } else { (near.proposal, far.proposal) };
    drop(unused);
    let (early, late) = if forward {
        ((near.ends, near.momenta), (far.ends, far.momenta))
    } else {
        ((far.ends, far.momenta), (near.ends, near.momenta))
    };
    let ([first, early_end], early_momenta) = early;
    let ([late_start, last], late_momenta) = late;
    let momenta: Vec<f64> = early_momenta.iter().zip(&late_momenta).map(|(a, b)| a + b).collect();
    // Of the whole, and of each half with the first point of the other: a turn at the seam is seen by neither half.
    let is_over = is_turning(&momenta, None, &first, &last)
        || is_turning(&early_momenta, Some(&late_start), &first, &late_start)
        || is_turning(&late_momenta, Some(&early_end), &early_end, &last);
    Tree { ends: [first, last], proposal, log_weight: log_sum(log_near, log_far), momenta, is_over }
}

/// Whether the momentum at either end points back along the sum of all momenta, one more point's added.
fn is_turning(momenta: &[f64], one_more: Option<&Point>, first: &Point, last: &Point) -> bool {
    let along = |end: &Point| -> f64 {
        let more = |i: usize| one_more.map_or(0.0, |point| f64::from(point.momentum[i]));
        momenta.iter().zip(&end.momentum).enumerate().map(|(i, (sum, &p))| (sum + more(i)) * f64::from(p)).sum()
    };
    along(first) <= 0.0 || along(last) <= 0.0
}

fn log_sum(a: f64, b: f64) -> f64 {
    let top = a.max(b);
    if top == f64::NEG_INFINITY { top } else { top + ((a - top).exp() + (b - top).exp()).ln() }
}

impl Dynamics for NutsDynamics {
    fn step(&mut self, weights: &mut [f32], target: &mut Target<'_>, step: u32) -> Result<StepNorms, LlcError> {
        let h = f64::from(target.langevin.step_size).sqrt();
        let size = self.size.get_or_insert_with(|| StepSize::new(h, self.target_acceptance));
        size.follow(h);
        if self.is_burnt_in {
            size.settle();
        }
        let here = self.here.get_or_insert_with(|| Point::here(weights, target));
        let norms = here.norms(target);
        target.draw_momentum(&mut here.momentum, step, 1.0);
        let mut tree = Tree {
            ends: [here.clone(), here.clone()],
            proposal: here.clone(),
            log_weight: 0.0,
            momenta: here.momentum.iter().map(|&p| f64::from(p)).collect(),
            is_over: false,
        };
        let mut trajectory = Trajectory {
            start_energy: here.energy(),
            target,
            h: size.h(),
            step,
            n_choices: 0,
            sum_acceptance: 0.0,
            n_points: 0,
        };
        for depth in 0..self.max_depth {
            let forward = trajectory.choice() < 0.5;
            let grown = trajectory.grow(&tree.ends[usize::from(forward)].clone(), depth, forward)?;
            if grown.is_over {
                break;
            }
            // Biased towards the new half (Betancourt 2017, eq. A.3.2): it leads further away.
            let takes_new = trajectory.choice() < (grown.log_weight - tree.log_weight).exp();
            tree = join(tree, grown, forward, takes_new);
            if tree.is_over {
                break;
            }
        }
        let probability = trajectory.sum_acceptance / trajectory.n_points.max(1) as f64;
        size.learn(probability);
        if self.is_burnt_in {
            self.acceptance.0 += probability;
            self.acceptance.1 += 1;
        }
        weights.copy_from_slice(&tree.proposal.weights);
        *here = tree.proposal;
        Ok(norms)
    }

    fn known_loss(&self) -> Option<f64> {
        self.here.as_ref().map(|here| here.loss)
    }

    fn end_burn_in(&mut self) {
        self.is_burnt_in = true;
    }

    fn acceptance(&self) -> (f64, usize) {
        self.acceptance
    }
}
