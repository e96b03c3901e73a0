//! A secret sealed to a workload's public key, so that a stolen token alone is useless: JWE in compact form,
//! RSA-OAEP-256 with A256GCM. The key is the workload's when the SHA-256 of its SubjectPublicKeyInfo is a nonce of
//! the verified token.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey};
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, URL_SAFE_NO_PAD};
use base64::engine::{DecodePaddingMode, Engine};
use sha2::{Digest, Sha256};

/// Why a secret cannot be sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Not a public key.
    #[error("public_key is not an RSA key of at least 2048 bits as SubjectPublicKeyInfo, in PEM or base64")]
    Key,
    /// The token does not vouch for it.
    #[error("the key's SHA-256 is not a nonce of the token")]
    NotInToken,
    /// The encryption failed.
    #[error("the secret could not be encrypted")]
    Failed,
}

/// Random bytes for one sealing: key and initialisation vector.
#[derive(Clone)]
pub struct Randomness {
    /// The content's key.
    pub key: [u8; 32],
    /// The initialisation vector.
    pub iv: [u8; 12],
}

impl std::fmt::Debug for Randomness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Randomness")
    }
}

impl Drop for Randomness {
    fn drop(&mut self) {
        self.key.fill(0);
        // Keeps the compiler from leaving out what nobody reads.
        std::hint::black_box(&self.key);
    }
}

/// Reads a public key: PEM, or base64 of the DER.
pub fn read_key(text: &str) -> Result<Vec<u8>, SealError> {
    let body: String = text
        .lines()
        .filter(|line| !line.starts_with("-----"))
        .flat_map(str::chars)
        .filter(|c| !c.is_whitespace())
        .collect();
    decoded(&body).ok_or(SealError::Key)
}

/// What a text of base64 stands for: with either alphabet, padded or not.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let lenient = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let read = |letters| GeneralPurpose::new(letters, lenient).decode(text).ok();
    read(&alphabet::STANDARD).or_else(|| read(&alphabet::URL_SAFE))
}

/// Whether one of the nonces is the key's SHA-256, in hex or any base64.
pub fn vouched(spki: &[u8], nonces: &[&str]) -> bool {
    let hash = Sha256::digest(spki).to_vec();
    nonces.iter().any(|nonce| [hex::decode(nonce).ok(), decoded(nonce)].contains(&Some(hash.clone())))
}

/// Seals a secret to the key.
pub fn seal(spki: &[u8], secret: &[u8], random: Randomness) -> Result<String, SealError> {
    let public = PublicEncryptingKey::from_der(spki).map_err(|_| SealError::Key)?;
    if public.key_size_bits() < 2048 {
        return Err(SealError::Key);
    }
    let public = OaepPublicEncryptingKey::new(public).map_err(|_| SealError::Key)?;
    let mut wrapped = vec![0; public.ciphertext_size()];
    let wrapped =
        public.encrypt(&OAEP_SHA256_MGF1SHA256, &random.key, &mut wrapped, None).map_err(|_| SealError::Failed)?;
    let header = URL_SAFE_NO_PAD.encode(br#"{"alg":"RSA-OAEP-256","enc":"A256GCM"}"#);
    let key = UnboundKey::new(&AES_256_GCM, &random.key).map_err(|_| SealError::Failed)?;
    let mut content = secret.to_vec();
    let tag = LessSafeKey::new(key)
        .seal_in_place_separate_tag(Nonce::assume_unique_for_key(random.iv), Aad::from(header.as_bytes()), &mut content)
        .map_err(|_| SealError::Failed)?;
    let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    Ok(format!("{header}.{}.{}.{}.{}", part(wrapped), part(&random.iv), part(&content), part(tag.as_ref())))
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE};

    use super::*;

    #[test]
    fn a_key_and_its_hash_are_read_in_hex_and_in_every_base64() {
        // A hash whose base64 has a letter of each alphabet's own, and padding.
        let key = (0..=255).map(|n| vec![n; 400]).find(|key| {
            let text = STANDARD.encode(Sha256::digest(key));
            text.contains('+') && text.contains('/')
        });
        let key = key.unwrap();
        let hash = Sha256::digest(&key);
        let hex = hex::encode(hash);
        let forms =
            |bytes: &[u8]| [STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD].map(|form| form.encode(bytes));
        for nonce in forms(&hash).into_iter().chain([hex.to_uppercase(), hex.clone()]) {
            assert!(vouched(&key, &["aaaaaaaaaa", &nonce]), "{nonce}");
        }
        assert!(!vouched(&key, &[&hex[1..], &forms(&hash)[0][1..], ""]));
        for text in forms(&key) {
            assert_eq!(read_key(&text).unwrap(), key, "{text}");
        }
    }
}
