//! Transitions, change points and stages of a curve, by the detectors of `ontogeny_stats` with settings that never change.

use std::cell::RefCell;
use std::collections::VecDeque;

use ontogeny_stats::changes::{
    ChangeShape, OnlineChanges, OnlineSettings, SeriesChangeSettings, TimeScale, series_changes,
};
use ontogeny_stats::{Series, StageSettings, Transition, TransitionSettings, stage_boundaries};

use super::{Arguments, Function};
use crate::expression::error::Undefined;
use crate::expression::value::{Curve, Value};

pub(super) const FUNCTIONS: &[Function] = &[
    Function::of_curve("transition", 1, "transition(c)", "Step of the largest transition.", |arguments| {
        of_largest(arguments, |_| true, "transition", |t| t.step)
    }),
    Function::of_curve("fall", 1, "fall(c)", "Step of the largest transition downwards.", |arguments| {
        of_largest(arguments, |t| t.size < 0.0, "transition downwards", |t| t.step)
    }),
    Function::of_curve("rise", 1, "rise(c)", "Step of the largest transition upwards.", |arguments| {
        of_largest(arguments, |t| t.size > 0.0, "transition upwards", |t| t.step)
    }),
    Function::of_curve(
        "transition_size",
        1,
        "transition_size(c)",
        "Change over the largest transition, with its sign.",
        |arguments| of_largest(arguments, |_| true, "transition", |t| t.size),
    ),
    Function::of_curve(
        "transition_width",
        1,
        "transition_width(c)",
        "From 10 to 90 % of the largest transition, in decades of step + 1.",
        |arguments| of_largest(arguments, |_| true, "transition", |t| t.width_decades),
    ),
    Function::of_curve(
        "transition_p",
        1,
        "transition_p(c)",
        "p-value of the largest transition against smooth curves; not corrected for several series.",
        |arguments| of_largest(arguments, |_| true, "transition", |t| t.p_value),
    ),
    Function::of_curve(
        "transition_start",
        1,
        "transition_start(c)",
        "Step at which 10 % of the largest transition are reached.",
        |arguments| of_largest(arguments, |_| true, "transition", |t| t.start),
    ),
    Function::of_curve(
        "transition_end",
        1,
        "transition_end(c)",
        "Step at which 90 % of the largest transition are reached.",
        |arguments| of_largest(arguments, |_| true, "transition", |t| t.end),
    ),
    Function::of_curve("n_transitions", 1, "n_transitions(c)", "Number of transitions (α = 0.05).", |arguments| {
        number_of(arguments, |_| true)
    }),
    Function::of_curve("n_falls", 1, "n_falls(c)", "Number of transitions downwards.", |arguments| {
        number_of(arguments, |t| t.size < 0.0)
    }),
    Function::of_curve("n_rises", 1, "n_rises(c)", "Number of transitions upwards.", |arguments| {
        number_of(arguments, |t| t.size > 0.0)
    }),
    Function::of_curve(
        "transitions",
        1,
        "transitions(c)",
        "Steps of all transitions in order of time, labelled 1, 2, …; empty where there is none.",
        |arguments| {
            let found = found(arguments)?;
            Ok(Value::numbered(found.iter().map(|t| t.step)))
        },
    ),
    Function::of_curve(
        "change_points",
        1,
        "change_points(c)",
        "Steps at which its level changes, labelled 1, 2, …: first steps of segments of equal mean.",
        change_points,
    ),
    Function::of_curve(
        "online_change",
        1,
        "online_change(c)",
        "Step at which a detector that is told the values one by one first says that the level has changed.",
        online_change,
    ),
    Function::of_curve(
        "boundaries",
        1,
        "boundaries(c)",
        "Steps of its stage boundaries, labelled 1, 2, …; empty where there is one stage.",
        boundaries,
    ),
];

/// Something of the largest transition for which `counts` is true; the first of equally large ones.
fn of_largest(
    arguments: &Arguments,
    counts: fn(&Transition) -> bool,
    what: &str,
    of: fn(&Transition) -> f64,
) -> Result<Value, Undefined> {
    let found = found(arguments)?;
    let counted = found.iter().filter(|transition| counts(transition));
    let largest = counted.reduce(|best, own| if own.size.abs() > best.size.abs() { own } else { best });
    let largest = largest.ok_or_else(|| Undefined::new(format!("{} has no {what}", arguments.text(0))))?;
    arguments.finite(of(largest))
}

fn number_of(arguments: &Arguments, counts: fn(&Transition) -> bool) -> Result<Value, Undefined> {
    Ok(Value::Number(found(arguments)?.iter().filter(|transition| counts(transition)).count() as f64))
}

/// The curve as a checked series.
fn series(arguments: &Arguments, curve: &Curve) -> Result<Series, Undefined> {
    let series = Series::new(curve.steps.clone(), curve.values.clone());
    let series = match &curve.errors {
        Some(errors) => series.and_then(|series| series.with_errors(errors.clone())),
        None => series,
    };
    series.map_err(|error| arguments.undefined(error))
}

/// The transitions of the first argument.
fn found(arguments: &Arguments) -> Result<Vec<Transition>, Undefined> {
    let curve = arguments.curve(0)?;
    known(curve, || {
        let settings = TransitionSettings::default();
        ontogeny_stats::transitions(&series(arguments, curve)?, &settings).map_err(|error| arguments.undefined(error))
    })
}

/// A study asks for several things of one transition, and each search simulates a thousand series: the last curves of a thread are
/// remembered with what was found. The answer is the same with and without.
fn known(
    curve: &Curve,
    search: impl FnOnce() -> Result<Vec<Transition>, Undefined>,
) -> Result<Vec<Transition>, Undefined> {
    const MOST: usize = 256;
    thread_local! {
        static LAST: RefCell<VecDeque<(Curve, Vec<Transition>)>> = const { RefCell::new(VecDeque::new()) };
    }
    let before = LAST.with_borrow(|last| last.iter().find(|(own, _)| own == curve).map(|(_, found)| found.clone()));
    if let Some(found) = before {
        return Ok(found);
    }
    let found = search()?;
    LAST.with_borrow_mut(|last| {
        last.truncate(MOST - 1);
        last.push_front((curve.clone(), found.clone()));
    });
    Ok(found)
}

fn change_points(arguments: &Arguments) -> Result<Value, Undefined> {
    let series = series(arguments, arguments.curve(0)?)?;
    let settings = SeriesChangeSettings { shape: ChangeShape::L2, time: TimeScale::LogStep };
    let found = series_changes(&series, &settings).map_err(|error| arguments.undefined(error))?;
    Ok(Value::numbered(found.changes.iter().map(|change| change.step)))
}

fn boundaries(arguments: &Arguments) -> Result<Value, Undefined> {
    let series = series(arguments, arguments.curve(0)?)?;
    let found = stage_boundaries(&series, &StageSettings::default()).map_err(|error| arguments.undefined(error))?;
    Ok(Value::numbered(found.iter().map(|boundary| boundary.step)))
}

/// Values from which the online detector learns the noise; it says nothing during them.
const LEARNED_FROM: usize = 8;
/// Values of a new level before it is believed: one may be an outlier.
const BELIEVED_AFTER: usize = 2;

/// The values are pushed one by one into [`OnlineChanges`], in units of the noise of the first eight: the root of half the mean square of
/// their seven differences. An alarm is raised after the first later value with which the most probable current segment begins after the
/// first value, and holds two values or more. Of curves of 60 values that are noise alone, 8 % have an alarm.
fn online_change(arguments: &Arguments) -> Result<Value, Undefined> {
    let curve = arguments.curve_of(0, LEARNED_FROM + 1)?;
    let learned = &curve.values[..LEARNED_FROM];
    let mean = learned.iter().sum::<f64>() / LEARNED_FROM as f64;
    let squares: f64 = learned.windows(2).map(|pair| (pair[1] - pair[0]).powi(2)).sum();
    let largest = learned.iter().fold(0.0_f64, |a, v| a.max(v.abs()));
    // Values that are all the same have rounding for noise, or the smallest of numbers.
    let noise = (squares / (2.0 * (LEARNED_FROM - 1) as f64)).sqrt().max(1e-9 * largest).max(1e-60);
    let shape = LEARNED_FROM as f64 / 2.0;
    let settings = OnlineSettings { shape, rate: shape, ..OnlineSettings::default() };
    let mut online = OnlineChanges::new(settings).map_err(|error| arguments.undefined(error))?;
    for (i, (&step, &value)) in curve.steps.iter().zip(&curve.values).enumerate() {
        let value = ((value - mean) / noise).clamp(-1e100, 1e100);
        online.push(value).map_err(|error| arguments.undefined(error))?;
        let run = online.most_probable_run();
        if i >= LEARNED_FROM && (BELIEVED_AFTER..=i).contains(&run) {
            return Ok(Value::Number(step));
        }
    }
    Err(Undefined::new(format!("no change of {} was seen while it came in", arguments.text(0))))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check, curve, list, number, reason, value};
    use super::*;

    /// Sixty steps, about evenly spaced in ln(step + 1), from 0 to 3,000 or so.
    fn steps() -> Vec<f64> {
        (0..60).map(|i| 1.14_f64.powi(i).round() + f64::from(i)).map(|step| step - 1.0).collect()
    }

    /// A logistic curve from 0 to 1 about ln(step + 1) = ln 101, with a small fixed wiggle.
    fn logistic(size: f64, middle: f64) -> Value {
        let value = |(i, step): (usize, &f64)| {
            let x = (step.ln_1p() - (middle + 1.0).ln()) / 0.12;
            size / (1.0 + (-x).exp()) + 0.01 * size.abs() * (7.3 * (i * i) as f64).sin()
        };
        curve(&steps(), &steps().iter().enumerate().map(value).collect::<Vec<f64>>())
    }

    #[test]
    fn a_planted_fall_is_found_with_its_size_and_place() {
        let names = [("c", logistic(-2.0, 100.0)), ("flat", curve(&steps(), &[1.0; 60]))];
        check(
            &names,
            &[("n_transitions(c)", 1.0), ("n_falls(c)", 1.0), ("n_rises(c)", 0.0), ("n_transitions(flat)", 0.0)],
        );
        let step = number(&names, "transition(c)");
        assert!((step / 100.0).ln().abs() < 0.1, "{step}");
        check(&names, &[("fall(c)", step), ("get(transitions(c), '1')", step), ("rise(-c)", step)]);
        // Noise changes sign with the curve, so the search sees its mirror image.
        check(&names, &[("transition_size(-c) + transition_size(c)", 0.0)]);
        let size = number(&names, "transition_size(c)");
        assert!((size + 2.0).abs() < 0.1, "{size}");
        // 10 to 90 % of a logistic curve are ln 81 of its widths.
        let width = number(&names, "transition_width(c)");
        assert!((width - 0.12 * 81_f64.log10()).abs() < 0.08, "{width}");
        assert!(number(&names, "transition_p(c)") <= 0.05);
        let (start, end) = (number(&names, "transition_start(c)"), number(&names, "transition_end(c)"));
        assert!(start < step && step < end, "{start} {step} {end}");
        check(&names, &[("log10((transition_end(c) + 1) / (transition_start(c) + 1))", width)]);
        assert_eq!(reason(&names, "rise(c)"), "c has no transition upwards");
        assert_eq!(reason(&names, "transition(flat)"), "flat has no transition");
        assert_eq!(value(&names, "transitions(flat)"), Ok(list(&[])));
        assert!(reason(&names, "n_transitions(between(c, 0, 5))").contains("points; at least 8 are needed"));
    }

    #[test]
    fn of_two_transitions_the_largest_counts() {
        let names = [("small", logistic(1.0, 20.0)), ("large", logistic(-3.0, 500.0))];
        check(&names, &[("n_transitions(small + large)", 2.0), ("count(transitions(small + large))", 2.0)]);
        let fall = number(&names, "transition(small + large)");
        assert!((fall / 500.0).ln().abs() < 0.15, "{fall}");
        let rise = number(&names, "rise(small + large)");
        assert!((rise / 20.0).ln().abs() < 0.3, "{rise}");
    }

    #[test]
    fn levels_and_stages() {
        let values: Vec<f64> = (0..60).map(|i| f64::from(u8::from(i >= 30)) + 0.01 * f64::from(i * i % 7)).collect();
        let hill: Vec<f64> = steps().iter().map(|step| -(step.ln_1p() - 31_f64.ln()).powi(2)).collect();
        let names = [("jump", curve(&steps(), &values)), ("hill", curve(&steps(), &hill))];
        assert_eq!(value(&names, "change_points(jump)"), Ok(list(&[("1", steps()[30])])));
        let top = number(&names, "get(boundaries(hill), '1')");
        assert!((top / 30.0).ln().abs() < 0.2, "{top}");
        check(&names, &[("n(boundaries(hill))", 1.0)]);
    }

    #[test]
    fn the_online_detector_sees_a_jump_soon_and_nothing_later_matters() {
        let of = |n: usize, later: f64| {
            let value = |i: usize| match i {
                0..30 => 5.0 + 0.1 * (1.7 * (i * i) as f64).sin(),
                30..32 => 6.0 + 0.1 * (1.7 * (i * i) as f64).sin(),
                _ => later * (i as f64).sin(),
            };
            curve(&steps()[..n], &(0..n).map(value).collect::<Vec<f64>>())
        };
        let names = [("all", of(60, 40.0)), ("cut", of(32, 0.0)), ("other", of(50, 0.0)), ("calm", of(30, 0.0))];
        let alarm = number(&names, "online_change(all)");
        assert!(alarm == steps()[31], "{alarm}, the jump is at {}", steps()[30]);
        check(&names, &[("online_change(cut)", alarm), ("online_change(other)", alarm)]);
        assert_eq!(reason(&names, "online_change(calm)"), "no change of calm was seen while it came in");
        // Units do not matter, nor does a constant.
        check(&names, &[("online_change(1000 * all)", alarm), ("online_change(all - 5)", alarm)]);
        assert!(reason(&names, "online_change(between(all, 0, 5))").contains("and online_change needs 9"));
    }

    #[test]
    fn online_false_alarms_are_few_and_jumps_are_seen() {
        // Normal numbers from uniform ones by Box and Muller.
        let mut state = 1_u64;
        let mut uniform = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((state >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
        };
        let mut normal = || (-2.0 * uniform().ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos();
        let (mut false_alarms, mut seen) = (0, 0);
        for _ in 0..400 {
            let noise: Vec<f64> = (0..60).map(|_| normal()).collect();
            let jump = (0..60).map(|i| noise[i] + if i >= 30 { 5.0 } else { 0.0 }).collect::<Vec<f64>>();
            let names = [("noise", curve(&steps(), &noise)), ("jump", curve(&steps(), &jump))];
            false_alarms += usize::from(number(&names, "is_defined(online_change(noise))") == 1.0);
            let alarm = number(&names, "or_else(online_change(jump), 0)");
            seen += usize::from((steps()[30]..=steps()[36]).contains(&alarm));
        }
        // 33, and the jumps that follow no false alarm.
        assert!((15..=55).contains(&false_alarms), "{false_alarms} of 400");
        assert!(seen >= 360, "{seen} of 400");
    }
}
