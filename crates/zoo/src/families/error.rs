//! Why a file that describes a network cannot be followed.

use std::io;
use std::path::PathBuf;

/// Why a configuration file does not become a network.
#[derive(Debug, thiserror::Error)]
pub enum NetworkFileError {
    /// The operating system refused.
    #[error("failed to read {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The content is no configuration.
    #[error("{}: found {found}; expected {expected}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What stands there.
        found: String,
        /// What should.
        expected: String,
    },
    /// A key has a value that cannot be honoured.
    #[error("{}: `{key}` is {found}; expected {expected}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// The key, with dots where it is nested.
        key: String,
        /// Its value.
        found: String,
        /// What can be honoured.
        expected: String,
    },
    /// A key that may change what the network computes.
    #[error(
        "{}: `{key}` = {value} is not known here, and may change what the network computes; if it does not, remove it from a copy of \
         the file, or describe the network in [network] with `layout` in [import]",
        path.display()
    )]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// Its value.
        value: String,
    },
    /// A file of weights that describes the network itself.
    #[error(transparent)]
    Weights(#[from] crate::ReadError),
}
