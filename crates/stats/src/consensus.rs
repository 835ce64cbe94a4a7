//! Boundaries on which several observables agree.

use crate::series::step_at;
use crate::stage::Boundary;

/// One boundary of a run, and the observables that show it.
#[derive(Debug, Clone, PartialEq)]
pub struct ConsensusBoundary {
    /// Training step: mean of the observables' steps in ln(step + 1), each weighted by the
    /// inverse square of the width of its interval.
    pub step: f64,
    /// The same mean of their lower ends. Observables of one run share its noise, so agreement
    /// among them does not narrow the interval.
    pub lower: f64,
    /// The same mean of their upper ends.
    pub upper: f64,
    /// Addresses of the observables, sorted.
    pub observables: Vec<String>,
}

/// Merges boundaries of different observables whose 95 % intervals have a step in common.
///
/// Given are pairs of an observable's address and its boundaries. Intervals are taken in order of
/// their upper ends, each group by the first one's: this needs the fewest groups (interval
/// piercing). Two boundaries of the same observable are never merged.
pub fn consensus(found: &[(String, Vec<Boundary>)]) -> Vec<ConsensusBoundary> {
    weighted(found.iter().map(|(name, all)| (name.as_str(), 1.0, all.as_slice())), 0.0)
}

/// As [`consensus`], where observables count differently: each has a weight, which multiplies its weight in
/// the means, and boundaries whose observables together weigh less than `least_weight` are left out.
///
/// Weights that are not above 0 (or not numbers) leave the observable out.
pub fn weighted_consensus(found: &[(String, f64, Vec<Boundary>)], least_weight: f64) -> Vec<ConsensusBoundary> {
    weighted(found.iter().map(|(name, weight, all)| (name.as_str(), *weight, all.as_slice())), least_weight)
}

/// A boundary with the name and the weight of its observable.
type Weighted<'a> = (&'a str, f64, &'a Boundary);

fn weighted<'a>(
    found: impl Iterator<Item = (&'a str, f64, &'a [Boundary])>,
    least_weight: f64,
) -> Vec<ConsensusBoundary> {
    let counts = found.filter(|(_, weight, _)| *weight > 0.0 && weight.is_finite());
    let mut open: Vec<Weighted> =
        counts.flat_map(|(name, weight, all)| all.iter().map(move |b| (name, weight, b))).collect();
    open.sort_by(|(a_name, _, a), (b_name, _, b)| {
        a.upper.total_cmp(&b.upper).then(a.lower.total_cmp(&b.lower)).then(a_name.cmp(b_name))
    });
    let mut merged = vec![];
    while !open.is_empty() {
        let pierced = open[0].2.upper;
        let mut group: Vec<Weighted> = vec![];
        open.retain(|&(name, weight, boundary)| {
            let joins = boundary.lower <= pierced && group.iter().all(|(n, ..)| *n != name);
            if joins {
                group.push((name, weight, boundary));
            }
            !joins
        });
        if group.iter().map(|(_, weight, _)| weight).sum::<f64>() >= least_weight {
            merged.push(merge(&group));
        }
    }
    merged.sort_by(|a, b| a.step.total_cmp(&b.step));
    merged
}

fn merge(group: &[Weighted]) -> ConsensusBoundary {
    // An interval of no width (a boundary between two exact points) must not silence the others.
    let narrowest = 1e-3;
    let share = |(_, weight, b): &Weighted| weight * (b.upper.ln_1p() - b.lower.ln_1p()).max(narrowest).powi(-2);
    let total: f64 = group.iter().map(share).sum();
    let mean =
        |end: fn(&Boundary) -> f64| step_at(group.iter().map(|b| share(b) * end(b.2).ln_1p()).sum::<f64>() / total);
    let mut observables: Vec<String> = group.iter().map(|(name, ..)| (*name).to_owned()).collect();
    observables.sort();
    ConsensusBoundary { step: mean(|b| b.step), lower: mean(|b| b.lower), upper: mean(|b| b.upper), observables }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::BoundaryKind;

    fn at(lower: f64, step: f64, upper: f64) -> Boundary {
        Boundary { step, lower, upper, kind: BoundaryKind::Peak }
    }

    #[test]
    fn overlapping_intervals_become_one() {
        let found = [
            ("loss.test".to_owned(), vec![at(80.0, 100.0, 120.0), at(900.0, 1000.0, 1100.0)]),
            ("llc.full".to_owned(), vec![at(110.0, 130.0, 150.0), at(2000.0, 2100.0, 2200.0)]),
            ("accuracy".to_owned(), vec![at(90.0, 115.0, 140.0)]),
        ];
        let merged = consensus(&found);
        let names: Vec<Vec<&str>> = merged.iter().map(|m| m.observables.iter().map(String::as_str).collect()).collect();
        let three = vec!["accuracy", "llc.full", "loss.test"];
        assert_eq!(names, [three, vec!["loss.test"], vec!["llc.full"]]);
        assert!(merged[0].step > 100.0 && merged[0].step < 130.0, "{:?}", merged[0]);
        assert!(merged[0].lower < merged[0].step && merged[0].step < merged[0].upper);
        assert!((merged[1].step - 1000.0).abs() < 1e-9);
    }

    #[test]
    fn an_observable_does_not_merge_with_itself() {
        let found = [("llc".to_owned(), vec![at(80.0, 100.0, 120.0), at(90.0, 110.0, 130.0)])];
        assert_eq!(consensus(&found).len(), 2);
        assert!(consensus(&[]).is_empty());
    }

    #[test]
    fn weights_draw_the_mean_and_decide_what_stays() {
        let found = |loss: f64, llc: f64| {
            weighted_consensus(
                &[
                    ("loss".to_owned(), loss, vec![at(80.0, 100.0, 125.0), at(900.0, 1000.0, 1100.0)]),
                    ("llc".to_owned(), llc, vec![at(110.0, 130.0, 150.0)]),
                ],
                1.5,
            )
        };
        let even = found(1.0, 1.0);
        assert_eq!(even.len(), 1);
        assert_eq!(found(2.0, 1.0).len(), 2);
        assert!(found(9.0, 1.0)[0].step < even[0].step && even[0].step < found(1.0, 9.0)[0].step);
        // Without a weight an observable says nothing.
        assert_eq!(found(2.0, 0.0)[0].observables, ["loss"]);
        assert!(found(0.0, f64::NAN).is_empty());
    }
}
