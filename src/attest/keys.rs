//! An issuer's published keys: what of a JWKS can verify RS256, by key id.

use std::collections::{HashMap, HashSet};
use std::fmt;

use aws_lc_rs::signature::{ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value as Json;

use super::json;

/// The keys of one issuer.
#[derive(Debug, Default, Clone)]
pub struct KeySet {
    keys: HashMap<String, VerifyingKey>,
    /// The ids of keys that are published and verify nothing here.
    unsuitable: HashSet<String>,
}

/// A key that verifies RS256: RSA of at least 2048 bits with the exponent 65537.
#[derive(Clone)]
pub struct VerifyingKey(ParsedPublicKey);

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VerifyingKey")
    }
}

/// Why a text gives no keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// Not a JWKS.
    #[error("the key set is not a JSON object with a list of keys: {0}")]
    Form(String),
    /// The same id twice would make it a matter of chance which key verifies.
    #[error("two keys of the key set have the same kid: {0:?}")]
    SameKid(String),
    /// None of its keys can be used.
    #[error("none of the {0} keys is an RSA signing key of at least 2048 bits with a kid")]
    NoneUsable(usize),
}

impl KeySet {
    /// Reads a JWKS. Keys of other kinds are passed over; a set without any usable key is an error.
    pub fn read(text: &[u8]) -> Result<Self, KeySetError> {
        let set = json::read(text, 8).map_err(|error| KeySetError::Form(error.to_string()))?;
        let list = set.get("keys").and_then(Json::as_array).ok_or_else(|| KeySetError::Form("no keys".into()))?;
        let (mut keys, mut unsuitable) = (HashMap::new(), HashSet::new());
        for (kid, jwk) in list.iter().take(100).filter_map(|jwk| Some((id(jwk)?, jwk))) {
            match usable(jwk) {
                Some(_) if keys.contains_key(kid) => return Err(KeySetError::SameKid(kid.to_owned())),
                Some(key) => drop(keys.insert(kid.to_owned(), key)),
                None => drop(unsuitable.insert(kid.to_owned())),
            }
        }
        if keys.is_empty() { Err(KeySetError::NoneUsable(list.len())) } else { Ok(Self { keys, unsuitable }) }
    }

    /// The key with exactly this id.
    pub fn find(&self, kid: &str) -> Option<&VerifyingKey> {
        self.keys.get(kid)
    }

    /// Whether a key with this id is published that verifies nothing here.
    pub fn has_unsuitable(&self, kid: &str) -> bool {
        self.unsuitable.contains(kid)
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

fn id(jwk: &Json) -> Option<&str> {
    jwk.get("kid").and_then(Json::as_str).filter(|kid| (1..=256).contains(&kid.len()))
}

fn usable(jwk: &Json) -> Option<VerifyingKey> {
    let text = |name: &str| jwk.get(name).and_then(Json::as_str);
    let absent_or = |name: &str, value: &str| jwk.get(name).is_none_or(|found| found.as_str() == Some(value));
    let verifies = |operations: &Json| {
        operations.as_array().is_some_and(|list| list.iter().any(|operation| operation.as_str() == Some("verify")))
    };
    let meant = absent_or("use", "sig") && absent_or("alg", "RS256") && jwk.get("key_ops").is_none_or(verifies);
    if text("kty") != Some("RSA") || !meant {
        return None;
    }
    let part = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?.trim_end_matches('=')).ok();
    VerifyingKey::from_components(&part("n")?, &part("e")?)
}

impl VerifyingKey {
    /// A key from modulus and exponent, big-endian.
    pub fn from_components(n: &[u8], e: &[u8]) -> Option<Self> {
        let n = strip(n);
        let e = strip(e);
        let bits = n.len() * 8 - n.first()?.leading_zeros() as usize;
        if bits < 2048 || e != [1, 0, 1] {
            return None;
        }
        let parts = RsaPublicKeyComponents { n, e };
        parts.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256).ok().map(Self)
    }

    /// Whether this key made the RS256 signature.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.0.verify_sig(message, signature).is_ok()
    }
}

fn strip(bytes: &[u8]) -> &[u8] {
    &bytes[bytes.iter().take_while(|byte| **byte == 0).count()..]
}
