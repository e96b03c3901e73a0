//! The outbox. (Being written.)
