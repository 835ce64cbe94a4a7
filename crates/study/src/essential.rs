//! Essential dynamics of a run: principal components of its path, their geometry, and the forms on it.

use std::collections::BTreeMap;

use ontogeny_stats::{FormSettings, Smoother, TrajectoryGram, forms, plane_curve, random_walk_shares};
use ontogeny_store::{Form, MeasurePlan, Plane, Record, RunFolder, Trajectory};

use crate::sections::ObservableConfig;
use crate::trajectory::{POINT, TrajectoryConfig};
use crate::{Run, StudyError};

/// Components that are told; forms are looked for in the planes of the first three.
const COMPONENTS: usize = 5;
const FORM_COMPONENTS: usize = 3;

/// Fewer checkpoints are no path.
const MIN_CHECKPOINTS: usize = 8;

/// Columns that are added to the products at once: a block of a thousand checkpoints takes 4 MB.
const BLOCK: usize = 512;

/// The trajectories of every measurement that asks for one and has enough checkpoints, and what could not be analysed, with the
/// reason.
///
/// # Errors
/// Records that cannot be read.
pub(crate) fn trajectories(
    run: &Run,
    folder: &RunFolder,
    plans: &BTreeMap<String, MeasurePlan>,
) -> Result<(BTreeMap<String, Trajectory>, Vec<String>), StudyError> {
    let (mut found, mut left_out) = (BTreeMap::new(), Vec::new());
    for measure in &run.file.measures {
        let ObservableConfig::Trajectory(config) = &measure.observable else { continue };
        let plan = &plans[&measure.name];
        let (steps, points) = points(folder, &measure.name, plan)?;
        if steps.len() < MIN_CHECKPOINTS {
            left_out.push(format!(
                "{} ({} checkpoints, expected at least {MIN_CHECKPOINTS})",
                measure.name,
                steps.len()
            ));
            continue;
        }
        match trajectory(config, u64::from(run.file.seed), steps, &points) {
            Ok(trajectory) => drop(found.insert(measure.name.clone(), trajectory)),
            Err(error) => left_out.push(format!("{} ({error})", measure.name)),
        }
    }
    Ok((found, left_out))
}

/// The kept numbers of every checkpoint that has them.
pub(crate) fn points(
    folder: &RunFolder,
    measure: &str,
    plan: &MeasurePlan,
) -> Result<(Vec<u64>, Vec<Vec<f32>>), StudyError> {
    let (mut steps, mut points) = (Vec::new(), Vec::new());
    each_record(folder, measure, plan, |step, record| {
        if let Some(point) = record.array(POINT) {
            steps.push(step);
            points.push(point.values.iter().map(|&value| value as f32).collect());
        }
    })?;
    Ok((steps, points))
}

/// Hands over the records of a measurement one by one, by step.
pub(crate) fn each_record(
    folder: &RunFolder,
    measure: &str,
    plan: &MeasurePlan,
    mut hear: impl FnMut(u64, &Record),
) -> Result<(), StudyError> {
    let mut shelf = folder.shelf()?;
    for (&step, key) in &plan.steps {
        let Some(key) = key else { continue };
        let record = loop {
            match shelf.find(measure, step, key)? {
                Some(lookup) => break lookup.into_record(),
                // Sealed by another worker since.
                None => shelf = folder.shelf()?,
            }
        };
        if let Some(record) = &record {
            hear(step, record);
        }
    }
    Ok(())
}

/// Principal components over time ln(step + 1), curvature in the planes of the first three, forms.
fn trajectory(
    config: &TrajectoryConfig,
    seed: u64,
    steps: Vec<u64>,
    points: &[Vec<f32>],
) -> Result<Trajectory, ontogeny_stats::ArrayError> {
    let n_outputs = points[0].len();
    let mut gram = TrajectoryGram::new(points.len(), 0)?;
    let mut block = Vec::new();
    for first in (0..n_outputs).step_by(BLOCK) {
        block.clear();
        for point in points {
            block.extend(point[first..(first + BLOCK).min(n_outputs)].iter().map(|&value| f64::from(value)));
        }
        gram.add_columns(&block, &[])?;
    }
    let pca = gram.principal_components(COMPONENTS.min(points.len() - 1))?;
    let x: Vec<f64> = steps.iter().map(|&step| (step as f64).ln_1p()).collect();
    let smoother = Smoother::gaussian(&x, config.smoothing, config.smoothing)?;
    let smoothed = pca.scores.iter().map(|scores| smoother.apply(scores)).collect::<Result<Vec<_>, _>>()?;
    let n_planes = pca.scores.len().min(FORM_COMPONENTS);
    let pairs = (0..n_planes).flat_map(|across| (across + 1..n_planes).map(move |up| (across, up)));
    let plane = |(across, up): (usize, usize)| {
        let curve = plane_curve(&x, &smoothed[across], &smoothed[up])?;
        Ok(Plane {
            across,
            up,
            centres: curve.iter().map(|point| point.centre).collect(),
            radii: curve.iter().map(|point| point.radius).map(|r| r.is_finite().then_some(r)).collect(),
        })
    };
    let planes = pairs.map(plane).collect::<Result<Vec<_>, ontogeny_stats::ArrayError>>()?;
    let candidates = if n_planes < 2 {
        Vec::new()
    } else {
        let settings = FormSettings { seed, ..FormSettings::smoothed(config.smoothing, config.smoothing) };
        forms(&x, &pca.scores[..n_planes], &settings)?
    };
    let forms = candidates
        .into_iter()
        .map(|form| Form {
            step: form.x.exp_m1(),
            lower: form.lower.exp_m1(),
            upper: form.upper.exp_m1(),
            kind: if form.planes.iter().any(|plane| plane.is_cusp) { "cusp" } else { "vertex" }.to_owned(),
            point: form.point,
            // Curves of random phases turn so much by themselves that nothing beats them (docs/essential-dynamics.md).
            p_value: form.p_walk,
        })
        .collect();
    let mut random_walk = random_walk_shares(points.len())?;
    random_walk.truncate(pca.shares.len());
    Ok(Trajectory {
        of: config.of.name().to_owned(),
        n_outputs: n_outputs as u64,
        steps,
        shares: pca.shares,
        random_walk,
        scores: pca.scores,
        smoothed,
        planes,
        forms,
    })
}
