//! What watches the draws of a chain: the losses of probes.

use ontogeny_graph::{Threads, Workspace};

use super::probe::{Detail, Probe};
use crate::chain::Observer;
use crate::llc::LlcError;

/// Keeps the losses of all probes at the draws of one chain, each minus its value at the start.
pub(super) struct LossObserver<'a> {
    probes: &'a [Probe],
    baselines: &'a [Vec<f32>],
    detail: Detail,
    workspaces: Vec<Workspace>,
    /// (draw, item), row-major.
    pub(super) kept: Vec<f32>,
}

impl<'a> LossObserver<'a> {
    /// `capacity` is the number of values of all draws.
    pub(super) fn new(
        probes: &'a [Probe],
        baselines: &'a [Vec<f32>],
        detail: Detail,
        capacity: usize,
        threads: &Threads,
    ) -> Self {
        let workspaces = probes.iter().map(|probe| Workspace::with_threads(probe.program(), threads)).collect();
        Self { probes, baselines, detail, workspaces, kept: Vec::with_capacity(capacity) }
    }
}

impl Observer for LossObserver<'_> {
    fn draw(&mut self, weights: &[f32]) -> Result<(), LlcError> {
        let Self { probes, baselines, detail, workspaces, kept } = self;
        for ((probe, baseline), workspace) in probes.iter().zip(*baselines).zip(workspaces) {
            let width = probe.n_tokens().unwrap_or(1);
            let mut sum = 0.0;
            probe.losses(workspace, weights, |example, losses| {
                let differences = || {
                    let own = &baseline[example * width..(example + 1) * width];
                    losses.iter().zip(own).map(|(&loss, &start)| f64::from(loss) - f64::from(start))
                };
                match detail {
                    Detail::Token => kept.extend(differences().map(|d| d as f32)),
                    Detail::Example => kept.push((differences().sum::<f64>() / width as f64) as f32),
                    Detail::Set => sum += differences().sum::<f64>(),
                }
            })?;
            if *detail == Detail::Set {
                kept.push((sum / baseline.len() as f64) as f32);
            }
        }
        Ok(())
    }
}
