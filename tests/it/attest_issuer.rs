//! An issuer of attestation tokens: keys made on the spot, a key set, a certificate chain, and tokens of any form.

use std::sync::LazyLock;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rcgen::ExtendedKeyUsagePurpose;
use serde_json::{Value as Json, json};
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

/// A signing key with its id.
pub struct Signer {
    pair: RsaKeyPair,
    pub kid: String,
}

/// The issuer's present key, and one it rotates to.
pub static KEY: LazyLock<Signer> =
    LazyLock::new(|| Signer::new(KeySize::Rsa2048, "1111111111111111111111111111111111111111"));
pub static NEXT: LazyLock<Signer> =
    LazyLock::new(|| Signer::new(KeySize::Rsa2048, "2222222222222222222222222222222222222222"));

pub const ISSUER: &str = "https://confidentialcomputing.googleapis.com";
pub const SPACE: &str = include_str!("../data/attestation/confidential-space-production.json");
pub const VM: &str = include_str!("../data/attestation/confidential-vm.json");

pub fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Signer {
    pub fn new(size: KeySize, kid: &str) -> Self {
        Self { pair: RsaKeyPair::generate(size).unwrap(), kid: kid.to_owned() }
    }

    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).unwrap();
        signature
    }

    pub fn spki(&self) -> Vec<u8> {
        let der: PublicKeyX509Der<'_> = self.pair.public_key().as_der().unwrap();
        der.as_ref().to_vec()
    }

    /// Modulus and exponent, without leading zeros.
    pub fn components(&self) -> (Vec<u8>, Vec<u8>) {
        let spki = self.spki();
        let (_, info) = SubjectPublicKeyInfo::from_der(&spki).unwrap();
        let PublicKey::RSA(key) = info.parsed().unwrap() else { panic!("an RSA key was generated") };
        let strip = |bytes: &[u8]| bytes.iter().copied().skip_while(|byte| *byte == 0).collect();
        (strip(key.modulus), strip(key.exponent))
    }

    pub fn jwk(&self) -> Json {
        let (n, e) = self.components();
        json!({"kty": "RSA", "alg": "RS256", "use": "sig", "kid": self.kid, "n": base64url(n), "e": base64url(e)})
    }

    pub fn rcgen(&self) -> rcgen::KeyPair {
        let der: Pkcs8V1Der<'_> = self.pair.as_der().unwrap();
        let pem =
            format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(der.as_ref()));
        rcgen::KeyPair::from_pkcs8_pem_and_sign_algo(&pem, &rcgen::PKCS_RSA_SHA256).unwrap()
    }

    /// A token with any header and payload text.
    pub fn token_of(&self, header: &str, payload: &str) -> String {
        let signed = format!("{}.{}", base64url(header), base64url(payload));
        let signature = self.sign(signed.as_bytes());
        format!("{signed}.{}", base64url(signature))
    }

    /// An ordinary token over claims.
    pub fn token(&self, claims: &Json) -> String {
        self.token_of(&json!({"alg": "RS256", "typ": "JWT", "kid": self.kid}).to_string(), &claims.to_string())
    }
}

pub fn jwks(keys: &[&Signer]) -> String {
    json!({"keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>()}).to_string()
}

/// Claims of a fixture, moved to `now`, with members changed.
pub fn claims(fixture: &str, now: i64, changes: Json) -> Json {
    let mut claims: Json = serde_json::from_str(fixture).unwrap();
    claims["iat"] = json!(now);
    claims["nbf"] = json!(now);
    claims["exp"] = json!(now + 3600);
    for (path, value) in changes.as_object().unwrap() {
        let (parent, name) = path.rsplit_once('.').unwrap_or(("", path));
        let target = parent.split('.').filter(|part| !part.is_empty()).fold(&mut claims, |at, part| &mut at[part]);
        match value {
            Json::String(word) if word == "(absent)" => drop(target.as_object_mut().unwrap().remove(name)),
            value => target[name] = value.clone(),
        }
    }
    claims
}

/// A chain as Google's: leaf, intermediate with the attestation key usage only, root; DER, leaf first.
pub struct Chain {
    pub ders: Vec<Vec<u8>>,
}

pub struct ChainShape {
    pub leaf_days: (i64, i64),
    pub leaf_is_authority: bool,
    pub wrong_intermediate: bool,
    /// The last number of a further extension of the intermediate, and whether it is critical.
    pub extension: Option<(u64, bool)>,
    /// What the extended key usages of leaf and intermediate allow; `None` where there is none.
    pub purposes: [Option<ExtendedKeyUsagePurpose>; 2],
}

/// What Google's intermediate allows.
pub fn attesting() -> ExtendedKeyUsagePurpose {
    ExtendedKeyUsagePurpose::Other(vec![2, 23, 133, 8, 1])
}

impl Default for ChainShape {
    fn default() -> Self {
        Self {
            leaf_days: (-1, 59),
            leaf_is_authority: false,
            wrong_intermediate: false,
            extension: None,
            purposes: [None, Some(attesting())],
        }
    }
}

static ROOT: LazyLock<Signer> = LazyLock::new(|| Signer::new(KeySize::Rsa2048, "root"));
static MIDDLE: LazyLock<Signer> = LazyLock::new(|| Signer::new(KeySize::Rsa2048, "middle"));

impl Chain {
    pub fn new(leaf: &Signer, now: i64, shape: &ChainShape) -> Self {
        use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyUsagePurpose};
        let [leaf_purpose, middle_purpose] = shape.purposes.clone();
        let params = |name: &str, days: (i64, i64)| {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, name);
            let at = |days: i64| {
                use chrono::Datelike;
                let day = chrono::DateTime::from_timestamp(now + days * 86_400, 0).unwrap().date_naive();
                rcgen::date_time_ymd(day.year(), u8::try_from(day.month()).unwrap(), u8::try_from(day.day()).unwrap())
            };
            params.not_before = at(days.0);
            params.not_after = at(days.1);
            params
        };
        let authority = |params: &mut CertificateParams| {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        };
        let mut root = params("Confidential Space Root CA", (-900, 3000));
        authority(&mut root);
        let root_key = ROOT.rcgen();
        let root_certificate = root.self_signed(&root_key).unwrap();
        let mut middle = params("Confidential Space Intermediate CA", (-900, 900));
        authority(&mut middle);
        middle.extended_key_usages = middle_purpose.into_iter().collect();
        middle.custom_extensions.extend(shape.extension.map(|(number, critical)| {
            // A permitted subtree, as name constraints have it: the host "x".
            let content = vec![0x30, 7, 0xa0, 5, 0x30, 3, 0x82, 1, b'x'];
            let mut extension = rcgen::CustomExtension::from_oid_content(&[2, 5, 29, number], content);
            extension.set_criticality(critical);
            extension
        }));
        let middle_key = MIDDLE.rcgen();
        let root_issuer = Issuer::from_params(&root, &root_key);
        let middle_certificate = middle.signed_by(&middle_key, &root_issuer).unwrap();
        let mut last = params("Confidential Space Leaf Certificate", shape.leaf_days);
        last.extended_key_usages = leaf_purpose.into_iter().collect();
        last.is_ca =
            if shape.leaf_is_authority { IsCa::Ca(BasicConstraints::Unconstrained) } else { IsCa::ExplicitNoCa };
        let stranger = NEXT.rcgen();
        let signing = if shape.wrong_intermediate { &stranger } else { &middle_key };
        let middle_issuer = Issuer::from_params(&middle, signing);
        let leaf_certificate = last.signed_by(&leaf.rcgen(), &middle_issuer).unwrap();
        let ders = [&leaf_certificate, &middle_certificate, &root_certificate].map(|c| c.der().to_vec()).to_vec();
        Self { ders }
    }

    pub fn root_hex(&self) -> String {
        use sha2::{Digest, Sha256};
        hex::encode(Sha256::digest(self.ders.last().unwrap()))
    }

    pub fn x5c(&self) -> Vec<String> {
        self.ders.iter().map(|der| STANDARD.encode(der)).collect()
    }

    pub fn token(&self, leaf: &Signer, claims: &Json) -> String {
        use sha2::{Digest, Sha256};
        let (n, e) = leaf.components();
        let text = format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, base64url(e), base64url(n));
        let kid = base64url(Sha256::digest(text));
        leaf.token_of(
            &json!({"alg": "RS256", "typ": "JWT", "kid": kid, "x5c": self.x5c()}).to_string(),
            &claims.to_string(),
        )
    }
}
