//! A token's text taken apart, strictly. Nothing here is trusted: only [`super::verify`] makes claims of it.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::Value as Json;
use sha2::{Digest, Sha256};

use super::json;
use super::reason::{LIMIT, Reason};

/// What identifies a token without being one: SHA-256 over its decoded header, payload and signature,
/// each after its length as 8 bytes, big endian.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenHash(pub [u8; 32]);

impl fmt::Display for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A token taken apart; not verified. Its parts are not shown.
pub struct Parts<'t> {
    /// The key's id.
    pub kid: Option<String>,
    /// The certificate chain, DER, leaf first.
    pub chain: Option<Vec<Vec<u8>>>,
    /// What is signed.
    pub signed: &'t [u8],
    /// The payload's bytes.
    pub payload: Vec<u8>,
    /// The signature.
    pub signature: Vec<u8>,
    /// What identifies it.
    pub hash: TokenHash,
}

impl fmt::Debug for Parts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").field("kid", &self.kid).field("hash", &self.hash).finish_non_exhaustive()
    }
}

/// Takes a token apart: size, three canonical base64url parts, a header that is one object, `alg` RS256, no `crit`.
pub fn take_apart(token: &str) -> Result<Parts<'_>, Reason> {
    if token.is_empty() {
        return Err(Reason::TokenMissing);
    }
    if token.len() > LIMIT {
        return Err(Reason::TokenTooLarge);
    }
    let mut parts = token.split('.');
    let (Some(header), Some(payload), Some(signature), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Reason::Malformed("it does not have three parts"));
    };
    let signed = &token.as_bytes()[..header.len() + 1 + payload.len()];
    let (header, payload, signature) = (decode(header)?, decode(payload)?, decode(signature)?);
    let mut hash = Sha256::new();
    for part in [&header, &payload, &signature] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let (kid, chain) = read_header(&header)?;
    Ok(Parts { kid, chain, signed, payload, signature, hash: TokenHash(hash.finalize().into()) })
}

fn decode(part: &str) -> Result<Vec<u8>, Reason> {
    if part.is_empty() {
        return Err(Reason::Malformed("a part is empty"));
    }
    // This engine refuses padding, other alphabets, white space and bits behind the end.
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Reason::Malformed("a part is not canonical base64url"))
}

type HeaderParts = (Option<String>, Option<Vec<Vec<u8>>>);

fn read_header(bytes: &[u8]) -> Result<HeaderParts, Reason> {
    let header = json::read(bytes, 8).map_err(|_| Reason::Malformed("the header is not plain JSON"))?;
    let Json::Object(header) = header else { return Err(Reason::Malformed("the header is not an object")) };
    match header.get("alg").and_then(Json::as_str) {
        Some("RS256") => {}
        Some(_) => return Err(Reason::Algorithm),
        None => return Err(Reason::Malformed("the header has no alg")),
    }
    if header.contains_key("crit") || header.contains_key("b64") || header.contains_key("zip") {
        return Err(Reason::CriticalHeader);
    }
    let jwt = |typ: &Json| typ.as_str().is_some_and(|typ| typ.eq_ignore_ascii_case("JWT"));
    if header.get("typ").is_some_and(|typ| !jwt(typ)) {
        return Err(Reason::Malformed("the header's typ is not JWT"));
    }
    let kid = match header.get("kid") {
        None => None,
        Some(Json::String(kid)) if (1..=256).contains(&kid.len()) => Some(kid.clone()),
        Some(_) => return Err(Reason::Malformed("the header's kid is not a short text")),
    };
    Ok((kid, header.get("x5c").map(read_chain).transpose()?))
}

fn read_chain(x5c: &Json) -> Result<Vec<Vec<u8>>, Reason> {
    let wrong = || Reason::Malformed("x5c is not a list of 2 to 5 certificates in base64");
    let list = x5c.as_array().filter(|list| (2..=5).contains(&list.len())).ok_or_else(wrong)?;
    let decode = |item: &Json| STANDARD.decode(item.as_str()?).ok().filter(|der| !der.is_empty());
    list.iter().map(|item| decode(item).ok_or_else(wrong)).collect()
}
