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
    let mut open: Vec<(&str, &Boundary)> =
        found.iter().flat_map(|(name, all)| all.iter().map(|b| (name.as_str(), b))).collect();
    open.sort_by(|(a_name, a), (b_name, b)| {
        a.upper.total_cmp(&b.upper).then(a.lower.total_cmp(&b.lower)).then(a_name.cmp(b_name))
    });
    let mut merged = vec![];
    while !open.is_empty() {
        let pierced = open[0].1.upper;
        let mut group: Vec<(&str, &Boundary)> = vec![];
        open.retain(|&(name, boundary)| {
            let joins = boundary.lower <= pierced && group.iter().all(|(n, _)| *n != name);
            if joins {
                group.push((name, boundary));
            }
            !joins
        });
        merged.push(merge(&group));
    }
    merged.sort_by(|a, b| a.step.total_cmp(&b.step));
    merged
}

fn merge(group: &[(&str, &Boundary)]) -> ConsensusBoundary {
    // An interval of no width (a boundary between two exact points) must not silence the others.
    let narrowest = 1e-3;
    let weight = |b: &Boundary| (b.upper.ln_1p() - b.lower.ln_1p()).max(narrowest).powi(-2);
    let total: f64 = group.iter().map(|(_, b)| weight(b)).sum();
    let mean =
        |end: fn(&Boundary) -> f64| step_at(group.iter().map(|(_, b)| weight(b) * end(b).ln_1p()).sum::<f64>() / total);
    let mut observables: Vec<String> = group.iter().map(|(name, _)| (*name).to_owned()).collect();
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
}
