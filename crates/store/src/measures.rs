//! What is to be measured (`measures.json`) and what the analysis said (`analysis.json`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    Boundary, ChangePoints, Fluctuations, MissingReason, RecordKey, Stage, SumOfParts, Trajectory, Transition, Warnings,
};

/// A measurement as it is planned: the store expects a record of it at each of its steps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeasurePlan {
    /// The kind of observable (`llc` for a measurement named `llc_unembed`).
    pub kind: String,
    /// Unit of the values, such as `nats`; `1` for a pure number.
    pub unit: String,
    /// One sentence that says what is measured.
    pub description: String,
    /// Steps at which the measurement is expected. Where the key is known, only a record with that key counts; where it
    /// is not (`None`: the checkpoint does not exist yet), any whole record does.
    pub steps: BTreeMap<u64, Option<RecordKey>>,
}

/// One unit of work that is not done: a measurement at a step.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkItem {
    /// Name of the measurement.
    pub measure: String,
    /// Step of the checkpoint.
    pub step: u64,
    /// Why it counts as missing.
    pub reason: MissingReason,
}

/// What was found in the series of a run.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Analysis {
    /// Transitions of all watched series, by step.
    pub transitions: Vec<Transition>,
    /// Stage boundaries, by step.
    pub stages: Vec<Boundary>,
    /// The stages between them. Not in analyses of format 4.
    #[serde(default)]
    pub intervals: Vec<Stage>,
    /// Paths of the checkpoints, by measurement. Not in analyses of format 4.
    #[serde(default)]
    pub trajectories: BTreeMap<String, Trajectory>,
    /// Change points, where the run file asks for them. Not in analyses of format 8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change_points: Option<ChangePoints>,
    /// Early warnings, where the run file asks for them. Not in analyses of format 8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warnings: Option<Warnings>,
    /// Measurements of components as sums of their parts, by measurement, where the run file asks for them. Not in analyses of format 8.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parts: BTreeMap<String, SumOfParts>,
    /// How the units of measurements fluctuate together, by measurement, where the run file asks for them. Not in analyses of format 8.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fluctuations: BTreeMap<String, Fluctuations>,
    /// Hash of what they were found in; where it still holds, nothing needs to be looked at again.
    #[serde(default)]
    pub basis: String,
}

/// All measurements of a run by name, as `measures.json` holds them.
pub(crate) type Plans = BTreeMap<String, MeasurePlan>;

/// File of the planned measurements.
pub(crate) const PLANS_FILE: &str = "measures.json";

/// File of the analysis.
pub(crate) const ANALYSIS_FILE: &str = "analysis.json";
