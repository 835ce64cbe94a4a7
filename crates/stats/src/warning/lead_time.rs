//! Lead time of a warning against its false alarms, over runs with and without a transition.

use crate::array_error::{ArrayError, enough, finite, increasing, length, setting};
use crate::order::quantile;

/// An index watched over one run (one seed), and the step of its transition, if it has one.
#[derive(Debug, Clone, PartialEq)]
pub struct WatchedRun {
    /// Steps at which the index is known. Its value at a step must come from data up to that step.
    pub steps: Vec<f64>,
    /// The index; large values warn.
    pub values: Vec<f64>,
    /// Step at which the transition begins; none of a control run.
    pub transition: Option<f64>,
}

/// What happens at one threshold.
#[derive(Debug, Clone, PartialEq)]
pub struct AlarmRates {
    /// An alarm is the first step at which the index is at least this large.
    pub threshold: f64,
    /// Share of control runs with an alarm.
    pub false_alarm_rate: f64,
    /// Share of runs with a transition whose first alarm comes before it, at most the horizon ahead.
    pub hit_rate: f64,
    /// Share of runs with a transition whose first alarm comes earlier than that.
    pub too_early_rate: f64,
    /// Median over the hits of transition − alarm, in steps (or in ln of steps, as the runs are given).
    pub median_lead: Option<f64>,
    /// Quartiles of the lead.
    pub lead_quartiles: Option<(f64, f64)>,
}

/// Rates at every threshold that makes a difference, from the strictest to the most lenient.
///
/// Nothing looks ahead: a run counts by its first alarm, values at or after its transition are not
/// read, and a control run is watched for all its steps. Thresholds are the running maxima of the runs:
/// they are not chosen by the outcome, but the curve describes these runs, so a threshold picked from it
/// has its rates only on others.
///
/// # Errors
/// No control run or none with a transition, a horizon that is not positive, or a run whose arrays do not
/// fit, or whose transition comes before it has a value.
pub fn alarm_rates(runs: &[WatchedRun], horizon: f64) -> Result<Vec<AlarmRates>, ArrayError> {
    setting("the horizon", horizon, horizon > 0.0, "a positive number")?;
    enough("control runs", runs.iter().filter(|r| r.transition.is_none()).count(), 1)?;
    enough("runs with a transition", runs.iter().filter(|r| r.transition.is_some()).count(), 1)?;
    let records = runs.iter().map(records).collect::<Result<Vec<_>, _>>()?;
    let mut thresholds: Vec<f64> = records.iter().flatten().map(|(_, value)| *value).collect();
    thresholds.sort_by(|a, b| b.total_cmp(a));
    thresholds.dedup();
    Ok(thresholds.into_iter().map(|threshold| rates(runs, &records, threshold, horizon)).collect())
}

/// Area under hit rate against false-alarm rate: ½ for an index that knows nothing, 1 for one that
/// separates all runs. Between two thresholds both rates change along a line; beyond the most lenient one
/// the hit rate stays (a later alarm cannot undo an early one).
pub fn area_under_rates(rates: &[AlarmRates]) -> f64 {
    let (mut area, mut before) = (0.0, (0.0, 0.0));
    for r in rates {
        let here = (r.false_alarm_rate, r.hit_rate);
        area += (here.0 - before.0) * f64::midpoint(here.1, before.1);
        before = here;
    }
    area + (1.0 - before.0) * before.1
}

/// Steps at which the index passes all its earlier values, with its value: what an alarm can be.
fn records(run: &WatchedRun) -> Result<Vec<(f64, f64)>, ArrayError> {
    length("the index of a run", run.values.len(), run.steps.len())?;
    increasing("the steps of a run", &run.steps)?;
    finite("the index of a run", &run.values)?;
    let before = run.transition.unwrap_or(f64::INFINITY);
    let mut highest = f64::NEG_INFINITY;
    let mut found = vec![];
    for (step, value) in run.steps.iter().zip(&run.values).take_while(|(step, _)| **step < before) {
        if *value > highest {
            highest = *value;
            found.push((*step, *value));
        }
    }
    enough("values of a run before its transition", found.len(), 1)?;
    Ok(found)
}

fn rates(runs: &[WatchedRun], records: &[Vec<(f64, f64)>], threshold: f64, horizon: f64) -> AlarmRates {
    let (mut n_false, mut n_early, mut n_control, mut n_with) = (0, 0, 0, 0);
    let mut leads = vec![];
    for (run, records) in runs.iter().zip(records) {
        let alarm = records.iter().find(|(_, value)| *value >= threshold).map(|(step, _)| *step);
        match (run.transition, alarm) {
            (None, alarm) => {
                n_control += 1;
                n_false += usize::from(alarm.is_some());
            }
            (Some(transition), alarm) => {
                n_with += 1;
                match alarm.map(|alarm| transition - alarm) {
                    Some(lead) if lead <= horizon => leads.push(lead),
                    Some(_) => n_early += 1,
                    None => {}
                }
            }
        }
    }
    let share = |count: usize, n: usize| count as f64 / n as f64;
    AlarmRates {
        threshold,
        false_alarm_rate: share(n_false, n_control),
        hit_rate: share(leads.len(), n_with),
        too_early_rate: share(n_early, n_with),
        median_lead: (!leads.is_empty()).then(|| quantile(&leads, 0.5)),
        lead_quartiles: (!leads.is_empty()).then(|| (quantile(&leads, 0.25), quantile(&leads, 0.75))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    fn run(values: &[f64], transition: Option<f64>) -> WatchedRun {
        WatchedRun { steps: (0..values.len()).map(|i| i as f64).collect(), values: values.to_vec(), transition }
    }

    #[test]
    fn a_small_case_by_hand() {
        let runs = [
            run(&[0.0, 1.0, 2.0, 9.0], Some(3.0)),
            run(&[0.0, 3.0, 0.0, 0.0], Some(3.0)),
            run(&[0.0, 0.5, 0.2, 1.5], None),
        ];
        let rates = alarm_rates(&runs, 1.5).unwrap();
        let thresholds: Vec<f64> = rates.iter().map(|r| r.threshold).collect();
        assert_eq!(thresholds, [3.0, 2.0, 1.5, 1.0, 0.5, 0.0], "the 9 comes at the transition itself");
        // At 3: the second run warns at step 1, two steps ahead, which is too early for this horizon.
        assert_eq!((rates[0].hit_rate, rates[0].too_early_rate, rates[0].false_alarm_rate), (0.0, 0.5, 0.0));
        // At 2: the first warns at step 2, one step ahead.
        assert_eq!((rates[1].hit_rate, rates[1].median_lead), (0.5, Some(1.0)));
        assert_eq!(rates[2].false_alarm_rate, 1.0);
        let far = alarm_rates(&runs, 10.0).unwrap();
        assert_eq!(area_under_rates(&far), 1.0, "both warn at 2, the control at 1.5");
    }

    #[test]
    fn nothing_looks_ahead() {
        let mut runs = [run(&[0.0, 1.0, 2.0, 5.0, 6.0], Some(3.0)), run(&[0.5, 0.1, 0.2, 0.3, 0.1], None)];
        let before = alarm_rates(&runs, 9.0).unwrap();
        runs[0].values[3] = -100.0;
        runs[0].values[4] = 1e9;
        assert_eq!(alarm_rates(&runs, 9.0).unwrap(), before);
    }

    #[test]
    fn an_index_that_knows_nothing_has_half_the_area() {
        let n = 600;
        let runs: Vec<WatchedRun> = (0..n)
            .map(|i| {
                let mut stream = Stream::new(50, 0, i);
                let values: Vec<f64> = (0..20).map(|_| stream.normal()).collect();
                let mut run = run(&values, None);
                if i % 2 == 0 {
                    run.transition = Some(20.0);
                }
                run
            })
            .collect();
        let area = area_under_rates(&alarm_rates(&runs, 100.0).unwrap());
        // The area is the Mann–Whitney statistic: standard error √((2m + 1)/(12 m²)) of m = 300 each.
        assert!((area - 0.5).abs() < 4.0 * (601.0_f64 / 12.0).sqrt() / 300.0, "{area}");
    }

    #[test]
    fn runs_that_cannot_be_judged_are_refused() {
        let with = run(&[0.0, 1.0], Some(1.0));
        assert!(alarm_rates(std::slice::from_ref(&with), 5.0).is_err());
        let control = run(&[0.0], None);
        assert!(alarm_rates(&[with.clone(), control.clone()], 0.0).is_err());
        assert!(alarm_rates(&[run(&[0.0, 1.0], Some(0.0)), control], 5.0).is_err());
    }
}
