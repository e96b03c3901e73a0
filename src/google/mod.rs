//! Google Cloud: tokens, one authorised HTTP client, and the calls we make. Knows no event.

pub mod auth;
mod auth_error;
pub mod compute;
pub mod compute_acts;
mod confirmation;
pub mod credentials;
pub mod error;
mod exchange;
pub mod firestore;
pub mod http;
pub mod logging;
pub mod pubsub;
pub mod resource_manager;
pub mod scc;
pub mod secret_manager;

pub use auth::{Token, TokenSource};
pub use auth_error::AuthError;
pub use credentials::Credentials;
pub use error::{ApiError, GoogleError};
pub use http::{Client, HttpSettings};

/// The one scope we ask for: what may really be done is decided by IAM roles.
pub const CLOUD_PLATFORM: &str = "https://www.googleapis.com/auth/cloud-platform";
