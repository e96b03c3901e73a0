//! Challenges: a nonce that proves, without memory, that it was made here, for what, and until when.
//!
//! 51 characters of base64url over 38 bytes: expiry, randomness, a mark that tells that it is ours whatever it is for, and
//! a MAC over all of these and the purpose. That it is used once is kept where used tokens are kept, so challenges nobody
//! answers cost nothing.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::reason::Reason;

/// Makes and recognises nonces. Replicas that share the key recognise each other's.
#[derive(Debug, Clone)]
pub struct Challenges {
    key: hmac::Key,
    /// How long a nonce lasts, seconds.
    pub life: u32,
}

/// Where the mark begins, behind expiry and randomness, and where it ends.
const MARKED: usize = 16;
const BODY: usize = 22;
const MAC: usize = 16;

impl Challenges {
    /// With a key of at least 32 bytes.
    pub fn new(key: &[u8], life: u32) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, key), life }
    }

    /// A nonce for a purpose, made at `now` from 12 random bytes; and when it ends, Unix seconds.
    pub fn make(&self, purpose: &str, now: i64, random: [u8; 12]) -> (String, i64) {
        let ends = now.saturating_add(i64::from(self.life));
        let mut bytes = u32::try_from(ends).unwrap_or(u32::MAX).to_be_bytes().to_vec();
        bytes.extend_from_slice(&random);
        let mark = self.mark(&bytes);
        bytes.extend_from_slice(&mark.as_ref()[..BODY - MARKED]);
        let mac = self.mac(&bytes, purpose);
        bytes.extend_from_slice(&mac.as_ref()[..MAC]);
        (URL_SAFE_NO_PAD.encode(bytes), ends)
    }

    /// Every nonce among `nonces` that was made here for the purpose and has not expired, each once, with its end. The
    /// one that lasts longest comes first, so that whoever finds some of the same ones takes them in the same order.
    ///
    /// # Errors
    /// When there is none, or only such as have expired.
    pub fn find<'n>(&self, nonces: &[&'n str], purpose: &str, now: i64) -> Result<Vec<(&'n str, i64)>, Reason> {
        let mut ours: Vec<(&str, i64)> =
            nonces.iter().filter_map(|nonce| Some((*nonce, self.end_of(nonce, purpose)?))).collect();
        if ours.is_empty() {
            return Err(Reason::NonceMissing);
        }
        ours.retain(|(_, ends)| now < *ends);
        ours.sort_unstable_by_key(|(nonce, ends)| (std::cmp::Reverse(*ends), *nonce));
        ours.dedup();
        if ours.is_empty() { Err(Reason::NonceExpired) } else { Ok(ours) }
    }

    /// Whether one of `nonces` was made here, whatever for and however long ago. Without a configured key that is known
    /// of this process's nonces only: other replicas and earlier processes have other keys.
    pub fn any_made_here(&self, nonces: &[&str]) -> bool {
        nonces.iter().filter_map(|nonce| read(nonce)).any(|bytes| {
            let (marked, mark) = bytes[..BODY].split_at(MARKED);
            verify_slices_are_equal(&self.mark(marked).as_ref()[..BODY - MARKED], mark).is_ok()
        })
    }

    fn end_of(&self, nonce: &str, purpose: &str) -> Option<i64> {
        let bytes = read(nonce)?;
        let (body, mac) = bytes.split_at(BODY);
        let expected = self.mac(body, purpose);
        let same = verify_slices_are_equal(&expected.as_ref()[..MAC], mac).is_ok();
        let ends = u32::from_be_bytes(body[..4].try_into().ok()?);
        same.then(|| i64::from(ends))
    }

    fn mac(&self, body: &[u8], purpose: &str) -> hmac::Tag {
        hmac::sign(&self.key, &[body, b"|", purpose.as_bytes()].concat())
    }

    /// Of a text of another length than any that is signed with a purpose.
    fn mark(&self, marked: &[u8]) -> hmac::Tag {
        hmac::sign(&self.key, marked)
    }
}

fn read(nonce: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(nonce).ok().filter(|bytes| bytes.len() == BODY + MAC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_bound_to_purpose_time_and_key() {
        let ours = Challenges::new(&[7; 32], 300);
        let (nonce, ends) = ours.make("secret:db", 1_790_000_000, [1; 12]);
        assert_eq!(nonce.len(), 51);
        assert_eq!(ours.find(&["other", &nonce], "secret:db", 1_790_000_010), Ok(vec![(nonce.as_str(), ends)]));
        assert_eq!(ours.find(&[&nonce], "secret:api", 1_790_000_010), Err(Reason::NonceMissing));
        assert_eq!(ours.find(&[&nonce], "secret:db", ends), Err(Reason::NonceExpired));
        assert_eq!(
            Challenges::new(&[8; 32], 300).find(&[&nonce], "secret:db", 1_790_000_010),
            Err(Reason::NonceMissing)
        );
    }

    #[test]
    fn a_nonce_is_known_as_ours_whatever_it_is_for() {
        let ours = Challenges::new(&[7; 32], 300);
        let (nonce, _) = ours.make("secret:db", 1_790_000_000, [1; 12]);
        assert!(ours.any_made_here(&["other", &nonce]));
        assert!(!Challenges::new(&[8; 32], 300).any_made_here(&[&nonce]));
        let stranger = URL_SAFE_NO_PAD.encode([9; 38]);
        assert!(!ours.any_made_here(&["other", "", &nonce[1..], &stranger]));
    }

    #[test]
    fn every_nonce_for_the_purpose_that_has_not_expired_is_found_once_the_longest_lasting_first() {
        let ours = Challenges::new(&[7; 32], 10);
        let (first, _) = ours.make("secret:db", 100, [1; 12]);
        let (second, ends) = ours.make("secret:db", 107, [2; 12]);
        let (other, _) = ours.make("secret:api", 107, [3; 12]);
        let nonces = [first.as_str(), &second, &other, &first, "of-another-party"];
        let found = |now| ours.find(&nonces, "secret:db", now);
        assert_eq!(found(108), Ok(vec![(second.as_str(), ends), (first.as_str(), 110)]));
        assert_eq!(found(110), Ok(vec![(second.as_str(), ends)]));
        assert_eq!(found(117), Err(Reason::NonceExpired));
    }
}
