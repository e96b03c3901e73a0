//! The closed list of ways an event can end.

use crate::words::words;

words! {
    /// How an event ended. Each accepted event ends in exactly one of these.
    Outcome.label {
        /// Its finding stands in Security Command Center.
        Delivered = "delivered",
        /// The same event had been taken before.
        Duplicate = "duplicate",
        /// It is of a kind that opens no finding: an `OK` notification, a Monitor alert, a test delivery, an audit
        /// record.
        Ignored = "ignored",
        /// A setting says that it is not wanted.
        Filtered = "filtered",
        /// A newer event about the same thing made it pointless.
        Superseded = "superseded",
        /// It could not be read or delivered; it is kept with its reason until an operator retries or discards it.
        Parked = "parked",
        /// An operator discarded it after it was parked.
        Discarded = "discarded",
    }
}
