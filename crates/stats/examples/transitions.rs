//! Finds memorisation and grokking, and the boundary between them, in a simulated test loss.

#![expect(clippy::print_stdout, reason = "an example prints its result")]

use ontogeny_stats::{Series, SeriesError, StageSettings, TransitionSettings, stage_boundaries, transitions};

fn main() -> Result<(), SeriesError> {
    // The loss rises from 4 to 10 nats around step 90 and falls to nothing around step 1,900.
    let steps: Vec<f64> = (0..40).map(|i| 3000f64.powf(f64::from(i) / 39.0)).collect();
    let test_loss = steps.iter().map(|step| {
        let risen = 4.0 + 6.0 / (1.0 + (90.0 / step).powi(5));
        risen / (1.0 + (step / 1900.0).powi(12))
    });
    let series = Series::new(steps.clone(), test_loss.collect())?;

    for t in transitions(&series, &TransitionSettings::default())? {
        println!(
            "transition at step {:.0} [{:.0}, {:.0}], {:+.2} nats over {:.2} decades, p = {:.3}",
            t.step, t.lower, t.upper, t.size, t.width_decades, t.p_value
        );
    }
    for b in stage_boundaries(&series, &StageSettings::default())? {
        println!("boundary   at step {:.0} [{:.0}, {:.0}], {:?}", b.step, b.lower, b.upper, b.kind);
    }
    Ok(())
}
