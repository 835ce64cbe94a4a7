//! Which examples of a task an observable looks at.

use ontogeny_graph::DataSet;
use ontogeny_zoo::Task;

use crate::ObserveError;

/// Examples that are looked at where the settings do not say how many.
pub(crate) const EXAMPLES: usize = 1000;

/// `examples` of the split, evenly spaced; [`EXAMPLES`], or all where there are fewer, unless given.
pub(crate) fn examples_of(
    observable: &'static str,
    task: &Task,
    split: &str,
    examples: Option<usize>,
) -> Result<DataSet, ObserveError> {
    let not_defined = |needs: String, found: String| ObserveError::NotDefined { observable, needs, found };
    let Some(found) = task.split(split) else {
        let names: Vec<String> = task.splits.iter().map(|split| format!("`{}`", split.name)).collect();
        let needs =
            format!("`split` to be one of {}", if names.is_empty() { "none".to_owned() } else { names.join(", ") });
        return Err(not_defined(needs, format!("`{split}`")));
    };
    let n_all = found.data.len();
    let n = examples.unwrap_or(EXAMPLES.min(n_all));
    if n == 0 || n > n_all {
        let needs = format!("`examples` from 1 to {n_all}, those of the split `{split}`");
        return Err(not_defined(needs, n.to_string()));
    }
    let rows: Vec<usize> = (0..n).map(|i| i * n_all / n).collect();
    Ok(found.data.rows(&rows))
}
