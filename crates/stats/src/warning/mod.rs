//! Early warnings: what fluctuations say about a transition to come.

mod covariance;
mod indicators;
mod kendall;
mod lead_time;
mod lyapunov;
mod markers;
mod red_noise;

use crate::array_error::{ArrayError, length};

pub use covariance::{CovarianceSum, DominantMode, WindowMode, dominant_mode, window_modes};
pub use indicators::{EarlyWarnings, Surrogates, Trend, WarningSettings, early_warnings};
pub use kendall::kendall_trend;
pub use lead_time::{AlarmRates, WatchedRun, alarm_rates, area_under_rates};
pub use lyapunov::{stationary_covariance, stationary_covariance_of_map};
pub use markers::{FoundGroup, MarkerIndex, find_marker_group, marker_index};

/// (rows, units) row-major, all finite.
fn check_rows(rows: &[f64], n_rows: usize, n_units: usize) -> Result<(), ArrayError> {
    length("the rows of units", rows.len(), n_rows * n_units)?;
    match rows.iter().position(|x| !x.is_finite()) {
        Some(i) => Err(ArrayError::NotFinite { what: "the rows of units", row: i / n_units, column: i % n_units }),
        None => Ok(()),
    }
}
