//! The certificate chain of a PKI token, up to a pinned root.
//!
//! Ordinary web rules do not fit: the intermediate has only the extended key usage 2.23.133.8.1, and the leaf none.
//! What is checked: the last certificate is the pinned root by SHA-256, each is signed by the next with
//! sha256WithRSAEncryption, names chain, all are valid at the time, authorities say that they are, the leaf that it
//! is not, path lengths hold, an extended key usage below the root allows attesting, no other extension is marked
//! critical, and every key has at least 2048 bits.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{ExtendedKeyUsage, ParsedExtension, X509Extension};
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::time::ASN1Time;

use super::keys::VerifyingKey;
use super::reason::Reason;

/// The SHA-256 fingerprint of Google's Confidential Space Root CA, valid to 2034-01-16.
pub const GOOGLE_ROOT: &str = "148b293821bb0c6a317f413c8ba475814091cb22d49b9e3c94198db8e8f86c39";

const SHA256_WITH_RSA: &str = "1.2.840.113549.1.1.11";
/// The only extended key usage of Google's intermediate.
const ATTESTING: &str = "2.23.133.8.1";
const RSA: &str = "1.2.840.113549.1.1.1";

/// The roots that are trusted, by the SHA-256 of their DER.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roots(Vec<[u8; 32]>);

/// Why a root cannot be pinned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a root is given as 64 hex digits of its SHA-256, or as a certificate in PEM or DER")]
pub struct RootError;

impl Default for Roots {
    fn default() -> Self {
        Self::fingerprint(GOOGLE_ROOT).unwrap_or(Self(Vec::new()))
    }
}

impl Roots {
    /// A root by its fingerprint: hex, with or without colons.
    pub fn fingerprint(text: &str) -> Result<Self, RootError> {
        let digits: String = text.trim().chars().filter(|c| *c != ':').collect();
        let bytes = hex::decode(digits).map_err(|_| RootError)?;
        Ok(Self(vec![bytes.try_into().map_err(|_| RootError)?]))
    }

    /// Roots from the bytes of a file, PEM (one or several) or DER.
    pub fn certificates(file: &[u8]) -> Result<Self, RootError> {
        let text = std::str::from_utf8(file).ok().filter(|text| text.contains("-----BEGIN CERTIFICATE-----"));
        let ders: Vec<Vec<u8>> = match text {
            None => vec![file.to_vec()],
            Some(text) => text
                .split("-----BEGIN CERTIFICATE-----")
                .skip(1)
                .map(|block| {
                    let body: String = block.split("-----END").next().unwrap_or_default().split_whitespace().collect();
                    STANDARD.decode(body).map_err(|_| RootError)
                })
                .collect::<Result<_, _>>()?,
        };
        if ders.iter().any(|der| X509Certificate::from_der(der).is_err()) {
            return Err(RootError);
        }
        Ok(Self(ders.iter().map(|der| Sha256::digest(der).into()).collect()))
    }

    fn holds(&self, der: &[u8]) -> bool {
        let hash: [u8; 32] = Sha256::digest(der).into();
        self.0.contains(&hash)
    }
}

/// Checks the chain, leaf first, at a time in Unix seconds; the answer is the leaf's key.
pub fn leaf_key(chain: &[Vec<u8>], kid: Option<&str>, roots: &Roots, now: i64) -> Result<VerifyingKey, Reason> {
    let parsed: Vec<X509Certificate<'_>> = chain
        .iter()
        .map(|der| match X509Certificate::from_der(der) {
            Ok(([], certificate)) => Ok(certificate),
            _ => Err(Reason::Chain("a certificate cannot be read")),
        })
        .collect::<Result<_, _>>()?;
    let (Some(root), Some(leaf)) = (chain.last(), parsed.first()) else {
        return Err(Reason::Chain("it is empty"));
    };
    if !roots.holds(root) {
        return Err(Reason::Chain("its root is not the pinned one"));
    }
    let now = ASN1Time::from_timestamp(now).map_err(|_| Reason::Chain("the time is out of range"))?;
    for (place, certificate) in parsed.iter().enumerate() {
        one(certificate, place, now)?;
        // The root signs itself; it is trusted by its fingerprint, the rest by the signature above.
        if let Some(issuer) = parsed.get(place + 1) {
            attesting(certificate)?;
            linked(certificate, issuer)?;
        }
    }
    let (n, e) = components(leaf).ok_or(Reason::KeyUnsuitable)?;
    if let Some(kid) = kid.filter(|kid| kid.len() == 43)
        && kid != thumbprint(n, e)
    {
        return Err(Reason::Chain("kid is not the thumbprint of the leaf's key"));
    }
    VerifyingKey::from_components(n, e).ok_or(Reason::KeyUnsuitable)
}

fn one(certificate: &X509Certificate<'_>, place: usize, now: ASN1Time) -> Result<(), Reason> {
    if !certificate.validity().is_valid_at(now) {
        return Err(Reason::ChainExpired);
    }
    let constraints = certificate.basic_constraints().map_err(|_| Reason::Chain("its constraints cannot be read"))?;
    let authority = constraints.as_ref().is_some_and(|found| found.value.ca);
    if authority == (place == 0) {
        return Err(Reason::Chain("a certificate is used as what it is not: authority or leaf"));
    }
    let below = u32::try_from(place.saturating_sub(1)).unwrap_or(u32::MAX);
    if constraints.and_then(|found| found.value.path_len_constraint).is_some_and(|longest| below > longest) {
        return Err(Reason::Chain("it is longer than an authority allows"));
    }
    let usage = certificate.key_usage().map_err(|_| Reason::Chain("a key usage cannot be read"))?;
    let fits = |usage: &x509_parser::extensions::KeyUsage| {
        if place == 0 { usage.digital_signature() } else { usage.key_cert_sign() }
    };
    if usage.is_some_and(|usage| !fits(usage.value)) {
        return Err(Reason::Chain("a key is not meant for signing this"));
    }
    if certificate.extensions().iter().any(|extension| extension.critical && !is_looked_at(extension)) {
        return Err(Reason::Chain("a critical extension is not understood"));
    }
    Ok(())
}

/// Whether what an extension says was looked at, here or above. Who marks one as critical forbids to pass it over.
fn is_looked_at(extension: &X509Extension<'_>) -> bool {
    match extension.parsed_extension() {
        ParsedExtension::BasicConstraints(_) | ParsedExtension::KeyUsage(_) => true,
        ParsedExtension::ExtendedKeyUsage(usage) => allows_attesting(usage),
        _ => false,
    }
}

/// Who says what a key is for limits it to that, critical or not (RFC 5280, 4.2.1.12). Google's leaf says nothing.
fn attesting(certificate: &X509Certificate<'_>) -> Result<(), Reason> {
    let usage = certificate.extended_key_usage().map_err(|_| Reason::Chain("a key usage cannot be read"))?;
    if usage.is_some_and(|usage| !allows_attesting(usage.value)) {
        return Err(Reason::Chain("a key is not meant for attesting"));
    }
    Ok(())
}

fn allows_attesting(usage: &ExtendedKeyUsage<'_>) -> bool {
    usage.any || usage.other.iter().any(|other| other.to_id_string() == ATTESTING)
}

fn linked(certificate: &X509Certificate<'_>, issuer: &X509Certificate<'_>) -> Result<(), Reason> {
    if certificate.issuer().as_raw() != issuer.subject().as_raw() {
        return Err(Reason::Chain("names do not chain"));
    }
    if certificate.signature_algorithm.algorithm.to_id_string() != SHA256_WITH_RSA
        || certificate.tbs_certificate.signature.algorithm != certificate.signature_algorithm.algorithm
    {
        return Err(Reason::Chain("a signature is not sha256WithRSAEncryption"));
    }
    let (n, e) = components(issuer).ok_or(Reason::KeyUnsuitable)?;
    let key = VerifyingKey::from_components(n, e).ok_or(Reason::KeyUnsuitable)?;
    if key.verifies(certificate.tbs_certificate.as_ref(), &certificate.signature_value.data) {
        Ok(())
    } else {
        Err(Reason::Chain("a certificate is not signed by the next one"))
    }
}

fn components<'c>(certificate: &'c X509Certificate<'_>) -> Option<(&'c [u8], &'c [u8])> {
    if certificate.public_key().algorithm.algorithm.to_id_string() != RSA {
        return None;
    }
    // The parts point into the certificate's bytes, which outlive the parsed key.
    let bits: &'c [u8] = &certificate.public_key().subject_public_key.data;
    match certificate.public_key().parsed().ok()? {
        PublicKey::RSA(key) => Some((within(bits, key.modulus)?, within(bits, key.exponent)?)),
        _ => None,
    }
}

fn within<'b>(all: &'b [u8], part: &[u8]) -> Option<&'b [u8]> {
    let at = (part.as_ptr() as usize).checked_sub(all.as_ptr() as usize)?;
    all.get(at..at.checked_add(part.len())?)
}

/// RFC 7638.
fn thumbprint(n: &[u8], e: &[u8]) -> String {
    let part = |bytes: &[u8]| {
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        URL_SAFE_NO_PAD.encode(&bytes[zeros..])
    };
    let text = format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, part(e), part(n));
    URL_SAFE_NO_PAD.encode(Sha256::digest(text))
}
