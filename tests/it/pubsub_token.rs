//! Who may push: tokens of a key of our own, served as Google serves its keys.

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::KeyPair as _;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{TimeDelta, Utc};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use sysdig_scc::config::pubsub::PushToken;
use sysdig_scc::receive::pubsub_token::{Refused, Verifier};

use crate::fakes::wire::{Answer, Wire};
use crate::pubsub::{sample, wrapped};
use crate::world::World;

const AUDIENCE: &str = "https://conn.example/pubsub/push";
const ACCOUNT: &str = "pusher@demo-int.iam.gserviceaccount.com";

struct Key {
    pair: KeyPair,
    id: &'static str,
}

impl Key {
    fn new(id: &'static str) -> Self {
        Self { pair: KeyPair::generate(KeySize::Rsa2048).unwrap(), id }
    }

    fn jwk(&self) -> Value {
        let public = self.pair.public_key();
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        json!({"kty": "RSA", "alg": "RS256", "use": "sig", "kid": self.id,
            "n": text(public.modulus().big_endian_without_leading_zero()), "e": text(public.exponent().big_endian_without_leading_zero())})
    }

    fn sign(&self, claims: &Value) -> String {
        self.sign_as(Header::new(Algorithm::RS256), claims)
    }

    fn sign_as(&self, header: Header, claims: &Value) -> String {
        let header = Header { kid: Some(self.id.into()), ..header };
        let der: aws_lc_rs::encoding::Pkcs8V1Der<'static> = self.pair.as_der().unwrap();
        // The RSA key itself stands behind 26 bytes that say that it is one.
        encode(&header, claims, &EncodingKey::from_rsa_der(&der.as_ref()[26..])).unwrap()
    }
}

fn verifier(issuer: &Wire) -> Verifier {
    let wanted = PushToken {
        audiences: vec![AUDIENCE.into()],
        accounts: vec![ACCOUNT.into()],
        issuers: vec!["https://accounts.google.com".into()],
        jwks: format!("http://{}/certs", issuer.address).parse().unwrap(),
    };
    Verifier::new(wanted).unwrap()
}

/// What a verifier says of a token of this key so many seconds after the start.
async fn said(verifier: &Verifier, key: &Key, start: Instant, seconds: u64) -> &'static str {
    let exp = (Utc::now() + TimeDelta::days(2)).timestamp();
    let bearer = format!("Bearer {}", key.sign(&claims(&[("exp", json!(exp))])));
    let later = Utc::now() + TimeDelta::seconds(i64::try_from(seconds).unwrap());
    let answer = verifier.check_at(Some(bearer.as_bytes()), later, start + Duration::from_secs(seconds)).await;
    answer.map_err(Refused::label).err().unwrap_or("good")
}

fn claims(change: &[(&str, Value)]) -> Value {
    let now = Utc::now().timestamp();
    let mut claims = json!({"aud": AUDIENCE, "azp": "1", "sub": "1", "email": ACCOUNT, "email_verified": true,
        "iss": "https://accounts.google.com", "iat": now - 3000, "exp": now + 600});
    for (name, value) in change {
        claims[*name] = value.clone();
    }
    claims
}

#[tokio::test]
async fn only_tokens_of_the_right_key_issuer_audience_and_account_open_the_door() {
    let (key, rotated, foreign) = (Key::new("k1"), Key::new("k2"), Key::new("k1"));
    let served = Arc::new(Mutex::new(vec![key.jwk()]));
    let keys = Arc::clone(&served);
    let issuer = Wire::start(move |_| {
        let keys = keys.lock().unwrap().clone();
        Answer::json(200, json!({"keys": keys})).with("Cache-Control", "public, max-age=3600")
    })
    .await;
    let jwks = format!("http://{}/certs", issuer.address);
    let world = World::with(&[
        ("PUBSUB_PUSH_AUDIENCE", AUDIENCE),
        ("PUBSUB_PUSH_ACCOUNTS", ACCOUNT),
        ("PUBSUB_PUSH_JWKS_URL", &jwks),
    ])
    .await;
    let body = wrapped(sample("late_failed_pcr4_changed_pcr14_new").to_string().as_bytes());
    let send = async |authorization: Option<String>| {
        let mut request = world.http.post(format!("{}/pubsub/push", world.url)).body(body.clone());
        if let Some(value) = authorization {
            request = request.header("authorization", value);
        }
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let now = Utc::now().timestamp();
    let unsigned = |alg: &str| {
        let part = |json: Value| URL_SAFE_NO_PAD.encode(json.to_string());
        format!("Bearer {}.{}.x", part(json!({"alg": alg, "kid": "k1"})), part(claims(&[])))
    };
    let hs256 =
        encode(&Header { kid: Some("k1".into()), ..Header::default() }, &claims(&[]), &EncodingKey::from_secret(b"x"))
            .unwrap();
    let asking = Header { crit: Some(vec!["exp".into()]), ..Header::new(Algorithm::RS256) };
    let bearer = |token: String| Some(format!("Bearer {token}"));
    for (code, status, authorization) in [
        ("missing", 401, None),
        ("missing", 401, Some("Basic eHg=".to_owned())),
        ("malformed", 401, Some("Bearer nonsense".to_owned())),
        ("algorithm", 401, Some(unsigned("none"))),
        ("algorithm", 401, bearer(hs256)),
        ("extension", 401, bearer(key.sign_as(asking, &claims(&[])))),
        ("signature", 401, bearer(foreign.sign(&claims(&[])))),
        ("issuer", 401, bearer(key.sign(&claims(&[("iss", json!("https://evil.example"))])))),
        ("audience", 401, bearer(key.sign(&claims(&[("aud", json!("https://other.example"))])))),
        ("expired", 401, bearer(key.sign(&claims(&[("exp", json!(now - 120))])))),
        ("email_unverified", 401, bearer(key.sign(&claims(&[("email_verified", json!(false))])))),
        ("email_unverified", 401, bearer(key.sign(&claims(&[("email_verified", json!("true"))])))),
        ("account", 403, bearer(key.sign(&claims(&[("email", json!("mallory@demo-int.iam.gserviceaccount.com"))])))),
        ("unknown_key", 401, bearer(rotated.sign(&claims(&[])))),
    ] {
        let (answered, text) = send(authorization).await;
        assert_eq!(answered, status, "{code}: {text}");
        assert!(text.contains(&format!("\"{code}\"")), "{code}: {text}");
        assert!(!text.contains("eyJ"), "no token in an answer: {text}");
    }
    assert_eq!(world.ledger().accepted, 0, "nothing was written");
    assert_eq!(send(bearer(rotated.sign(&claims(&[])))).await.0, 401);
    assert_eq!(issuer.asked().len(), 2, "an unknown key makes us ask once, and not again and again");
    let (answered, text) = send(bearer(key.sign(&claims(&[])))).await;
    assert_eq!(answered, 204, "{text}");
    assert_eq!(world.settle().await.closed["delivered"], 1);
}

#[tokio::test]
async fn a_rotated_key_is_asked_for_at_once_and_missing_keys_after_ten_seconds() {
    let (key, rotated, guess) = (Key::new("k1"), Key::new("k2"), Key::new("k3"));
    let served = Arc::new(Mutex::new(None));
    let keys = Arc::clone(&served);
    let issuer = Wire::start(move |asked| match keys.lock().unwrap().clone() {
        Some(keys) => Answer::json(200, json!({"keys": keys})).with("Cache-Control", "public, max-age=3600"),
        // Whoever can send us elsewhere can give us keys.
        None => Answer::json(302, json!({})).with("Location", format!("{}x", asked.target)),
    })
    .await;
    let (verifier, start) = (verifier(&issuer), Instant::now());
    let check = async |key: &Key, second: u64| (said(&verifier, key, start, second).await, issuer.asked().len());
    assert_eq!(check(&key, 0).await, ("no_keys", 1), "a redirect is not followed");
    *served.lock().unwrap() = Some(vec![key.jwk()]);
    assert_eq!(check(&key, 9).await, ("no_keys", 1));
    assert_eq!(check(&key, 11).await, ("good", 2), "no need to wait for half a minute");
    *served.lock().unwrap() = Some(vec![key.jwk(), rotated.jwk()]);
    assert_eq!(check(&rotated, 12).await, ("good", 3), "an ordinary fetch a second ago does not count");
    assert_eq!(check(&guess, 13).await, ("unknown_key", 3));
    assert_eq!(check(&guess, 43).await, ("unknown_key", 4));
    assert_eq!(check(&guess, 72).await, ("unknown_key", 4));
}

/// The issuer answers, then hangs, then knows no keys that can be used, then answers no more.
#[tokio::test]
async fn a_key_that_is_known_waits_for_nobody_and_is_lost_only_when_it_is_too_old() {
    let (key, guess) = (Key::new("k1"), Key::new("k2"));
    let says = Arc::new(Mutex::new(Answer::json(200, json!({"keys": [key.jwk()]}))));
    let told = Arc::clone(&says);
    let issuer = Wire::start(move |_| told.lock().unwrap().clone()).await;
    let (first, start) = (verifier(&issuer), Instant::now());
    let (one, other) = tokio::join!(said(&first, &key, start, 0), said(&first, &key, start, 0));
    assert_eq!((one, other, issuer.asked().len()), ("good", "good", 1), "both wait for one fetch");

    *says.lock().unwrap() = Answer::Hang;
    let mut asking = std::pin::pin!(said(&first, &guess, start, 60));
    while issuer.asked().len() < 2 {
        assert!(futures_util::poll!(&mut asking).is_pending());
        tokio::task::yield_now().await;
    }
    assert_eq!(said(&first, &key, start, 61).await, "good");
    assert!(futures_util::poll!(&mut asking).is_pending(), "the stranger is still waiting");

    let (second, start) = (verifier(&issuer), Instant::now());
    let check = async |minutes: u64| said(&second, &key, start, minutes * 60).await;
    let odd = Answer::json(200, json!({"keys": [key.jwk()]})).with("Cache-Control", "max-age=-9000000000000");
    *says.lock().unwrap() = odd;
    assert_eq!(check(0).await, "good");
    assert_eq!((check(3).await, issuer.asked().len()), ("good", 3));
    *says.lock().unwrap() = Answer::json(200, json!({"keys": [key.jwk()]}));
    assert_eq!((check(5).await, issuer.asked().len()), ("good", 4), "asked for again, and waited for");
    // The same id twice, or a weak key: which one verifies would be chance, or anybody could sign.
    let weak = json!({"kty": "RSA", "kid": "k1", "n": URL_SAFE_NO_PAD.encode([0xff; 128]), "e": "AQAB"});
    for (minute, keys) in [(10, json!([])), (11, json!([key.jwk(), key.jwk()])), (12, json!([weak]))] {
        *says.lock().unwrap() = Answer::json(200, json!({ "keys": keys }));
        assert_eq!(check(minute).await, "good", "what cannot be used takes no key away: {keys}");
    }
    assert_eq!(issuer.asked().len(), 7);
    *says.lock().unwrap() = Answer::json(500, json!({}));
    assert_eq!(check(24 * 60).await, "good");
    assert_eq!(
        check(24 * 60 + 11).await,
        "no_keys",
        "after a day without an answer nobody knows whether it still holds"
    );
}
