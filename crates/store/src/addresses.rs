//! What the series of a run are called: one rule for planned measurements, for analyses and for the report.

/// What one measurement gives at each step: a value for each label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeasureLabels {
    /// Name of the measurement.
    pub name: String,
    /// Kind of its observable.
    pub kind: String,
    /// Labels of its components, [`Observable::components`](crate::Observable::components).
    pub labels: Vec<String>,
}

/// Addresses by measurement and label: `KIND.LABEL` where only one measurement of that kind has it, else `NAME.LABEL`.
pub fn series_addresses(measures: &[MeasureLabels]) -> Vec<Vec<String>> {
    let address = |own: &MeasureLabels, label: &String| {
        let twins = measures.iter().filter(|m| m.kind == own.kind && m.labels.contains(label));
        let prefix = if twins.count() == 1 { &own.kind } else { &own.name };
        if label.is_empty() { prefix.clone() } else { format!("{prefix}.{label}") }
    };
    measures.iter().map(|own| own.labels.iter().map(|label| address(own, label)).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_stands_for_a_label_that_is_unique_in_it() {
        let measure = |name: &str, kind: &str, labels: &[&str]| MeasureLabels {
            name: name.to_owned(),
            kind: kind.to_owned(),
            labels: labels.iter().map(|label| (*label).to_owned()).collect(),
        };
        let all = [
            measure("llc", "llc", &["full"]),
            measure("llc_unembed", "llc", &["unembed"]),
            measure("again", "llc", &["full"]),
            measure("path", "trajectory", &[""]),
        ];
        assert_eq!(series_addresses(&all), [["llc.full"], ["llc.unembed"], ["again.full"], ["trajectory"]]);
    }
}
