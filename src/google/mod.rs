//! Google Cloud: tokens, one authorised HTTP client, and the calls we make. Knows no event.

pub mod bearer;
pub mod firestore;
