//! Why the door cannot be opened.

use std::path::PathBuf;

use crate::attest::chain::RootError;
use crate::attest::keys_file::KeysFileError;
use crate::attest::policies::FolderError;

/// Why the door cannot be opened.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each member's text says it")]
pub enum BuildError {
    #[error("the attestation policies cannot be used")]
    Policies(#[from] FolderError),
    #[error("ATTESTATION_ROOT cannot be used")]
    Root(#[from] RootError),
    #[error("ATTESTATION_ROOT cannot be read")]
    File(#[source] std::io::Error),
    #[error("ATTESTATION_JWKS_FILE cannot be used")]
    Keys(#[from] KeysFileError),
    #[error("ATTESTATION_JOURNAL names {}, which cannot be written", path.display())]
    Journal { path: PathBuf, source: std::io::Error },
}
