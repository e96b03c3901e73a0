//! Attestation under load: tokens that are all different and all good, shown to the real program over kept
//! connections. `POST /attestation/verify` asks the policy of Google's documentation and explains; a secret is
//! released once for each token, which needs the state store and the journal on disk.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value as Json, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::child::Child;
use crate::generator::{Answers, is_whole};
use crate::receiver::{Manner, Receiver};
use crate::{LIFTED, Table, said};

const KID: &str = "1111111111111111111111111111111111111111";
const CLAIMS: &str = include_str!("../../tests/data/attestation/confidential-space-production.json");
/// So many machines attest, each many times.
const MACHINES: usize = 1000;
/// Signing takes much longer than verifying, so tokens are made before and shown in turn.
const TOKENS: usize = 20_000;

const POLICY: &str = include_str!("../../tests/data/attestation/benched-policy.yaml");

/// Verdicts at 64 and 16 connections, then releases, each with a server of its own.
pub(crate) fn attest(events: u64, table: &mut Table) {
    let folder = tempfile::tempdir_in(std::env::current_exe().unwrap().parent().unwrap()).unwrap();
    let tokens = prepare(folder.path());
    let requests = (events as usize).max(1);
    for connections in [64, 16] {
        let verdicts = tokens.iter().map(|token| request("POST /attestation/verify", token)).collect();
        measure(
            &format!("verify and policy, {connections} connections"),
            folder.path(),
            table,
            Shown { requests: Arc::new(verdicts), count: requests, connections },
        );
        let releases: Vec<Vec<u8>> = tokens.iter().map(|token| request("GET /attestation/secrets/db", token)).collect();
        let count = releases.len().min(requests);
        measure(
            &format!("secret released, {connections} connections"),
            folder.path(),
            table,
            Shown { requests: Arc::new(releases), count, connections },
        );
    }
}

fn measure(name: &str, folder: &Path, table: &mut Table, shown: Shown) {
    let receiver = Receiver::start(Manner::Create(Duration::ZERO));
    let place = |file: &str| folder.join(file).display().to_string();
    let (policies, jwks) = (place("policies"), place("jwks.json"));
    let settings = [
        ("ATTESTATION_POLICIES", policies.as_str()),
        ("ATTESTATION_JWKS_FILE", jwks.as_str()),
        ("ATTESTATION_SECRETS", "db=bench:env:DB_SECRET"),
        ("DB_SECRET", "nothing-that-matters"),
    ];
    let connector = Child::connector(receiver.address, &[LIFTED, &settings].concat());
    let count = shown.count as u64;
    let (idle, address) = (connector.cpu(), connector.address);
    let answers = shown.run(address);
    let cpu = (connector.cpu() - idle).as_micros() as u64 / count;
    table.row(&[name.to_owned(), said(&answers, Some(cpu))]);
}

/// Keys, policy and tokens. The tokens differ in machine and nonce.
fn prepare(folder: &Path) -> Vec<String> {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    std::fs::write(folder.join("jwks.json"), jwks(&pair)).unwrap();
    std::fs::create_dir(folder.join("policies")).unwrap();
    std::fs::write(folder.join("policies/bench.yaml"), POLICY).unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let mut claims: Json = serde_json::from_str(CLAIMS).unwrap();
    (claims["iat"], claims["nbf"], claims["exp"]) = (json!(now), json!(now), json!(now + 3600));
    (0..TOKENS).map(|number| token(&pair, &mut claims, number)).collect()
}

fn token(pair: &RsaKeyPair, claims: &mut Json, number: usize) -> String {
    let machine = number % MACHINES;
    let name = format!("job-{machine}");
    claims["sub"] = json!(format!(
        "https://www.googleapis.com/compute/v1/projects/acme-data/zones/europe-west4-a/instances/{name}"
    ));
    claims["submods"]["gce"]["instance_name"] = json!(name);
    claims["submods"]["gce"]["instance_id"] = json!(format!("{}", 4_455_667_788_000_000_000 + machine as u64));
    claims["eat_nonce"] = json!(format!("nonce-of-the-load-{number:012}"));
    let header = json!({"alg": "RS256", "typ": "JWT", "kid": KID}).to_string();
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims.to_string()));
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).unwrap();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn jwks(pair: &RsaKeyPair) -> String {
    let der: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
    let (_, info) = SubjectPublicKeyInfo::from_der(der.as_ref()).unwrap();
    let PublicKey::RSA(key) = info.parsed().unwrap() else { panic!("an RSA key was generated") };
    let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(&bytes[bytes.iter().take_while(|byte| **byte == 0).count()..]);
    let key = json!({"kty": "RSA", "alg": "RS256", "use": "sig", "kid": KID, "n": part(key.modulus), "e": part(key.exponent)});
    json!({ "keys": [key] }).to_string()
}

fn request(line: &str, token: &str) -> Vec<u8> {
    format!("{line} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nContent-Length: 0\r\n\r\n")
        .into_bytes()
}

/// What is shown, in turn, over how many connections.
struct Shown {
    requests: Arc<Vec<Vec<u8>>>,
    count: usize,
    connections: usize,
}

impl Shown {
    fn run(self, address: SocketAddr) -> Answers {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let next = Arc::new(AtomicUsize::new(0));
            let began = Instant::now();
            let connections: Vec<_> = (0..self.connections)
                .map(|_| tokio::spawn(speak(address, Arc::clone(&self.requests), self.count, Arc::clone(&next))))
                .collect();
            let (mut latencies, mut refused) = (Vec::new(), 0);
            for connection in connections {
                let (of_one, refused_of_one) = connection.await.unwrap();
                latencies.extend(of_one);
                refused += refused_of_one;
            }
            Answers::new(latencies, began.elapsed(), refused)
        })
    }
}

async fn speak(
    address: SocketAddr,
    requests: Arc<Vec<Vec<u8>>>,
    count: usize,
    next: Arc<AtomicUsize>,
) -> (Vec<Duration>, u64) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut latencies, mut refused) = (Vec::new(), 0);
    let mut answer = Vec::with_capacity(8192);
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= count {
            return (latencies, refused);
        }
        let began = Instant::now();
        stream.write_all(&requests[number % requests.len()]).await.unwrap();
        answer.clear();
        while !is_whole(&answer) {
            assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "the server hung up");
        }
        latencies.push(began.elapsed());
        let allowed =
            answer.starts_with(b"HTTP/1.1 200") && !answer.windows(15).any(|part| part == b"\"allowed\":false");
        refused += u64::from(!allowed);
    }
}
