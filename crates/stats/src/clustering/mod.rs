//! Groups of what is alike: k-means, spectral clustering, agreement of two groupings.

mod k_means;
mod rand_index;
mod spectral;

use k_means::k_means;
pub use rand_index::adjusted_rand_index;
pub use spectral::SpectralClustering;
