//! Tokens that machines wrote to the log `gotpm`.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use chrono::{DateTime, Utc};

use super::service::Attestor;
use crate::attest::gotpm;
use crate::attest::key_source::Unavailable;
use crate::attest::policy::file::GOOGLE;
use crate::attest::verify::Trust;
use crate::event::Attestation;
use crate::event::attestation::Category;

impl Attestor {
    /// What an entry of the log `gotpm` with a token says: verified, compared with the entry's labels. Nothing is told
    /// from here: the caller takes it in, and may ask again for the same entry.
    ///
    /// # Errors
    /// When the issuer's keys cannot be had now.
    pub async fn logged(&self, entry: &serde_json::Value, now: DateTime<Utc>) -> Result<Vec<Attestation>, Unavailable> {
        let table = self.0.policies.all();
        let claimed = gotpm::claimed_issuer(entry);
        let mut known = table.values().filter(|policy| Some(&policy.issuer) == claimed.as_ref());
        let issuer = if known.clone().next().is_some() { claimed.as_deref().unwrap_or(GOOGLE) } else { GOOGLE };
        let keys = match (gotpm::key_id(entry), known.find_map(|policy| policy.keys.clone())) {
            (None, _) => None,
            (Some(_), Some(keys)) => Some(keys),
            (Some(kid), None) => Some(self.0.issuers.of(issuer).ok_or(Unavailable)?.keys_for(&kid).await?),
        };
        let mut found = gotpm::examine(entry, issuer, Trust { keys: keys.as_deref(), roots: &self.0.roots }, now);
        for event in found.iter_mut().filter(|event| event.category == Category::AttestationTokenInvalid) {
            let count = self.0.forged.fetch_add(1, Ordering::Relaxed) + 1;
            event.properties.insert("count_since_start".to_owned(), count.into());
        }
        found.extend(self.seen_in_log(&found, now));
        self.0.told.note(&found).await;
        Ok(found)
    }

    /// A live token that agrees with its entry shows that its machine attests: it is not missed, or no longer.
    fn seen_in_log(&self, found: &[Attestation], now: DateTime<Utc>) -> Option<Attestation> {
        let [live] = found else { return None };
        let resource = live.resource.clone().filter(|_| live.category == Category::AttestationTokenExposed)?;
        let mut attested = self.0.attested.lock().unwrap_or_else(PoisonError::into_inner);
        let found_again = Attestation {
            category: Category::AttestationMissing,
            open: false,
            description: String::new(),
            properties: Default::default(),
            ..live.clone()
        };
        attested.seen(&resource, now).then_some(found_again)
    }
}
