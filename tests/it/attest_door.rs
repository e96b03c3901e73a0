//! The door over real HTTP, between a caller and an issuer that rotates, dawdles, fails or talks nonsense.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use actix_web::{App, HttpResponse, HttpServer, web};
use chrono::Utc;
use serde_json::{Value as Json, json};
use sysdig_scc::attest::gotpm;
use sysdig_scc::attest::key_source::{FetchRules, KeySource};
use sysdig_scc::config::Env;
use sysdig_scc::config::attestation::AttestationConfig;
use sysdig_scc::receive::attestation::{Attestor, Parts, codelab, routes};

use crate::attest_issuer::{Chain, ChainShape, ISSUER, KEY, NEXT, SPACE, VM, claims, jwks};
use crate::world::World;

pub const SECRET: &str = "the-super-secret-information";

/// What the issuer does at the moment.
#[derive(Clone)]
pub enum Mood {
    Keys(String),
    Garbage,
    Broken,
}

pub struct Issuer {
    pub url: String,
    mood: Arc<Mutex<Mood>>,
    asked: Arc<AtomicUsize>,
}

impl Issuer {
    /// A stand-in for Google.
    pub fn start() -> Self {
        Self::with(Some(ISSUER), jwks(&[&KEY]))
    }

    /// An issuer that goes by this name, or by its own address.
    pub fn with(name: Option<&'static str>, set: String) -> Self {
        let mood = Arc::new(Mutex::new(Mood::Keys(set)));
        let asked = Arc::new(AtomicUsize::new(0));
        let data = web::Data::new((mood.clone(), asked.clone(), name));
        let server = HttpServer::new(move || {
            App::new()
                .app_data(data.clone())
                .route("/.well-known/openid-configuration", web::get().to(discovery))
                .route("/jwks", web::get().to(keys))
        });
        let server = server.workers(1).disable_signals().bind(("127.0.0.1", 0)).unwrap();
        let url = format!("http://{}", server.addrs()[0]);
        tokio::spawn(server.run());
        Self { url, mood, asked }
    }

    /// How often it was asked for keys.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    pub fn now(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }
}

type State = web::Data<(Arc<Mutex<Mood>>, Arc<AtomicUsize>, Option<&'static str>)>;

async fn discovery(request: actix_web::HttpRequest, state: State) -> HttpResponse {
    let own = format!("http://{}", request.connection_info().host());
    HttpResponse::Ok().json(json!({"issuer": state.2.unwrap_or(&own), "jwks_uri": format!("{own}/jwks")}))
}

async fn keys(state: State) -> HttpResponse {
    state.1.fetch_add(1, Ordering::SeqCst);
    let mood = state.0.lock().unwrap().clone();
    match mood {
        Mood::Keys(text) => HttpResponse::Ok().insert_header(("cache-control", "public, max-age=20000")).body(text),
        Mood::Garbage => HttpResponse::Ok().body("<html>sign in</html>"),
        Mood::Broken => HttpResponse::InternalServerError().finish(),
    }
}

pub struct Door {
    url: String,
    issuer: Issuer,
    pub folder: tempfile::TempDir,
    pub attestor: Attestor,
    client: reqwest::Client,
}

pub const POLICY: &str = "audiences: ['https://secrets.example.org']\ntokens: [oidc, pki]\ncondition: |\n  assertion.submods.gce.project_id == 'acme-data' && assertion.hwmodel == 'GCP_AMD_SEV'\n";

impl Door {
    pub fn open(extra: &[(&str, &str)]) -> Self {
        Self::with(extra, Duration::from_millis(1))
    }

    fn with(extra: &[(&str, &str)], floor: Duration) -> Self {
        let fetch = FetchRules { floor, timeout: Duration::from_secs(2), ..FetchRules::default() };
        Self::with_parts(extra, Parts { fetch, ..Parts::default() })
    }

    pub fn with_parts(extra: &[(&str, &str)], parts: Parts) -> Self {
        Self::beside(extra, parts, &[])
    }

    /// With further policies.
    pub fn beside(extra: &[(&str, &str)], parts: Parts, further: &[(&str, &str)]) -> Self {
        let issuer = Issuer::start();
        let folder = tempfile::tempdir().unwrap();
        let policies = folder.path().join("policies");
        std::fs::create_dir(&policies).unwrap();
        for (name, text) in [("ours.yaml", POLICY)].iter().chain(further) {
            std::fs::write(policies.join(name), text).unwrap();
        }
        let journal = folder.path().join("journal.jsonl").display().to_string();
        let mut pairs: Vec<(String, String)> = [
            ("ATTESTATION_POLICIES", policies.to_str().unwrap()),
            ("ATTESTATION_SECRETS", "db=ours:env:DB_SECRET,api=ours:env:DB_SECRET"),
            ("DB_SECRET", SECRET),
            ("ATTESTATION_ENDPOINT", &issuer.url),
            ("ATTESTATION_JOURNAL", &journal),
            ("ATTESTATION_CODELAB_PATH", "/=db"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec();
        pairs.extend(extra.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let mut env = Env::from_pairs(pairs);
        let config = AttestationConfig::read(&mut env).unwrap();
        env.finish().unwrap();
        let attestor = Attestor::build(&config, parts).unwrap().unwrap();
        let (data, path) = (web::Data::new(attestor.clone()), config.codelab.unwrap().0);
        let server =
            HttpServer::new(move || App::new().app_data(data.clone()).service(codelab(&path)).configure(routes));
        let server = server.workers(1).disable_signals().bind(("127.0.0.1", 0)).unwrap();
        let url = format!("http://{}", server.addrs()[0]);
        tokio::spawn(server.run());
        Self { url, issuer, folder, attestor, client: reqwest::Client::new() }
    }

    pub async fn get(&self, path: &str, token: &str) -> (u16, String) {
        let answer = self.client.get(format!("{}{path}", self.url)).bearer_auth(token).send().await.unwrap();
        assert_eq!(answer.headers()["cache-control"], "no-store");
        assert_eq!(answer.status() == 401, answer.headers().contains_key("www-authenticate"));
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    pub async fn post(&self, path: &str, body: Json) -> (u16, String) {
        let answer = self.client.post(format!("{}{path}", self.url)).json(&body).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// The journal, once it has so many lines: refusals are not waited for.
    pub async fn journal(&self, lines: usize) -> String {
        let began = std::time::Instant::now();
        loop {
            let text = std::fs::read_to_string(self.folder.path().join("journal.jsonl")).unwrap();
            // A line that is just being written has no end yet.
            if text.matches('\n').count() >= lines {
                return text;
            }
            assert!(began.elapsed() < Duration::from_secs(10), "{text}");
            tokio::task::yield_now().await;
        }
    }
}

pub fn token(changes: Json) -> String {
    KEY.token(&claims(SPACE, Utc::now().timestamp(), changes))
}

#[tokio::test]
async fn the_codelabs_client_works_as_written_once() {
    let door = Door::open(&[]);
    let token = token(json!({}));
    assert_eq!(door.get("/", &token).await, (200, SECRET.to_owned()));
    let (status, body) = door.get("/", &token).await;
    assert_eq!((status, body.contains("replayed")), (409, true), "{body}");
    let (status, body) = door.get("/", "not.a.token").await;
    assert_eq!((status, body.contains("token_malformed")), (401, true), "{body}");
    let journal = door.journal(3).await;
    assert_eq!(journal.lines().count(), 3, "{journal}");
    assert!(!journal.contains(&token) && !journal.contains(SECRET) && !journal.contains("Zm9vYmFy"));
    let first: Json = serde_json::from_str(journal.lines().next().unwrap()).unwrap();
    assert_eq!((first["verdict"].as_str(), first["policy"].as_str()), (Some("allowed"), Some("ours")));
}

#[tokio::test]
async fn without_authorization_the_codelabs_path_is_401_and_health_is_still_told() {
    let issuer = Issuer::start();
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name).display().to_string();
    std::fs::create_dir(place("policies")).unwrap();
    std::fs::write(folder.path().join("policies/ours.yaml"), POLICY).unwrap();
    std::fs::write(place("secret"), SECRET).unwrap();
    for path in ["/", "/secret"] {
        let world = World::with(&[
            ("ATTESTATION_POLICIES", &place("policies")),
            ("ATTESTATION_ENDPOINT", &issuer.url),
            ("ATTESTATION_JOURNAL", &place("journal.jsonl")),
            ("ATTESTATION_SECRETS", &format!("db=ours:file:{}", place("secret"))),
            ("ATTESTATION_CODELAB_PATH", path),
        ])
        .await;
        let (status, body) = world.get("/").await;
        if path == "/" {
            assert_eq!((status, body.contains("Authorization token required")), (401, true), "{body}");
        } else {
            assert_eq!((status, body.contains("is running")), (200, true), "{body}");
        }
        for health in ["/healthz", "/health", "/metrics"] {
            assert_eq!(world.get(health).await.0, 200, "{health}");
        }
        assert_eq!(world.http.head(&world.url).send().await.unwrap().status(), 200, "another method");
        let one = token(json!({"oemid": path.len()}));
        let answer = world.http.get(format!("{}{path}", world.url)).bearer_auth(one).send().await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.text().await.unwrap()), (200, SECRET.to_owned()));
    }
}

#[tokio::test]
async fn refusals_have_codes_and_no_claim_values() {
    let door = Door::open(&[]);
    let secret = "/attestation/secrets/db";
    let (status, body) = door.get(secret, &token(json!({"submods.gce.project_id": "intruders"}))).await;
    assert_eq!((status, body.contains("policy_denied"), body.contains("intruders")), (403, true, false), "{body}");
    let (status, body) = door.get(secret, &token(json!({"hwmodel": "(absent)"}))).await;
    assert_eq!((status, body.contains("policy_error")), (403, true), "{body}");
    assert_eq!(door.get(secret, &token(json!({"aud": "https://sts.googleapis.com"}))).await.0, 401);
    assert_eq!(door.get("/attestation/secrets/other", &token(json!({}))).await.0, 404);
    assert_eq!(door.post(secret, json!({"token": token(json!({}))})).await, (200, SECRET.to_owned()));
    let answer = door
        .client
        .post(format!("{}{secret}", door.url))
        .body(format!("{}\n", token(json!({"oemid": 1}))))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    let bare = door.client.get(format!("{}{secret}", door.url)).send().await.unwrap();
    assert_eq!((bare.status().as_u16(), bare.headers()["www-authenticate"].to_str().unwrap()), (401, "Bearer"));
    for (path, allowed) in [(secret, "GET, POST"), ("/attestation/verify", "POST"), ("/attestation/challenge", "POST")]
    {
        let answer = door.client.put(format!("{}{path}", door.url)).send().await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.headers()["allow"].to_str().unwrap()), (405, allowed), "{path}");
    }
    for (path, asked, code, told) in [
        (secret, json!({"token": token(json!({"oemid": 2})), "publicKey": "k"}), "unknown_member", "publicKey"),
        (secret, json!({"token": token(json!({"oemid": 2})), "public_key": null}), "unreadable_body", "public_key"),
        ("/attestation/secrets/db?public_key=k", json!({"token": token(json!({}))}), "unknown_parameter", "public_key"),
        ("/attestation/verify?policy=ours", json!({"token": token(json!({}))}), "unknown_parameter", "policy"),
        ("/attestation/challenge", json!({"secret": "db", "x": 1}), "unknown_member", "known are"),
    ] {
        let (status, body) = door.post(path, asked).await;
        assert_eq!((status, body.contains(code), body.contains(told)), (400, true, true), "{path} {body}");
    }
    assert_eq!(door.get("/?public_key=k", &token(json!({"oemid": 2}))).await.0, 400, "at the codelab's path too");
    assert_eq!(door.get(secret, &token(json!({"oemid": 2}))).await.0, 200, "nothing was released for it before");
    let large = door.client.post(format!("{}{secret}", door.url)).body("x".repeat(70_000)).send().await.unwrap();
    assert_eq!(large.status(), 413);
}

#[tokio::test]
async fn the_verdict_is_explained_and_uses_nothing_up() {
    let door = Door::open(&[]);
    let good = token(json!({}));
    for _ in 0..3 {
        let (status, body) = door.post("/attestation/verify", json!({"token": good})).await;
        let body: Json = serde_json::from_str(&body).unwrap();
        assert_eq!((status, &body["allowed"], &body["reason"]), (200, &json!(true), &Json::Null), "{body}");
        assert_eq!(body["explanation"]["terms"][1]["values"]["assertion.hwmodel"], "GCP_AMD_SEV");
    }
    let (status, body) = door
        .post("/attestation/verify", json!({"token": token(json!({"hwmodel": "GCP_INTEL_TDX"})), "policy": "ours"}))
        .await;
    let body: Json = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &body["allowed"], &body["reason"]), (200, &json!(false), &json!("policy_denied")), "{body}");
    assert_eq!(body["explanation"]["terms"][1]["result"], "false");
    assert_eq!(door.post("/attestation/verify", json!({"token": good, "policy": "nope"})).await.0, 404);
    assert_eq!(door.get("/attestation/secrets/db", &good).await.0, 200, "a verdict does not use the token up");
}

#[tokio::test]
async fn of_several_policies_the_nearest_is_explained() {
    let rest = POLICY.split_once("condition").unwrap().0;
    let vm = format!("{rest}family: confidential_vm\ncondition: assertion.secboot\n");
    let far = format!("{rest}condition: assertion.oemid == 1 && assertion.hwmodel == 'x'\n");
    let near = format!("{rest}condition: assertion.secboot && assertion.hwmodel == 'x'\n");
    let nobody = format!("{rest}condition: 'false'\n");
    let further = [
        ("0.yaml", nobody.as_str()),
        ("a.yaml", vm.as_str()),
        ("b.yaml", far.as_str()),
        ("c.yaml", near.as_str()),
        ("d.yaml", near.as_str()),
    ];
    let door = Door::beside(&[], Parts::default(), &further);
    let unlike = token(json!({"submods.gce.project_id": "other", "hwmodel": "GCP_INTEL_TDX"}));
    let (status, body) = door.post("/attestation/verify", json!({"token": unlike})).await;
    let body: Json = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &body["policy"], &body["reason"]), (200, &json!("c"), &json!("policy_denied")), "{body}");
}

#[tokio::test]
async fn only_policies_that_are_configured_may_be_named() {
    for (settings, status) in [(&[][..], 200), (&[("ATTESTATION_POLICY", "ours")], 404)] {
        let door = Door::beside(settings, Parts::default(), &[("theirs.yaml", POLICY)]);
        let ask = async |policy: &str| {
            let body = json!({"token": token(json!({})), "policy": policy});
            door.post("/attestation/verify", body).await
        };
        assert_eq!((ask("ours").await.0, ask("theirs").await.0), (200, status));
        let (unlisted, unknown) = (ask("theirs").await, ask("none").await);
        assert!(status == 200 || unlisted == unknown, "{unlisted:?}");
    }
}

#[tokio::test]
async fn a_challenge_is_answered_once_and_for_its_purpose() {
    let door = Door::open(&[("ATTESTATION_REQUIRE_NONCE", "true")]);
    assert!(door.get("/attestation/secrets/db", &token(json!({}))).await.1.contains("nonce_missing"));
    let (status, body) = door.post("/attestation/challenge", json!({"secret": "db"})).await;
    assert_eq!(status, 200, "{body}");
    let nonce = serde_json::from_str::<Json>(&body).unwrap()["nonce"].as_str().unwrap().to_owned();
    let both = |extra: u32| token(json!({"eat_nonce": ["of-another-party-000001", nonce], "oemid": extra}));
    assert!(door.get("/attestation/secrets/api", &both(1)).await.1.contains("nonce_missing"));
    assert_eq!(door.get("/attestation/secrets/db", &both(2)).await.0, 200);
    assert_eq!(door.get("/attestation/secrets/db", &both(3)).await.0, 409, "another token with the same nonce");
    assert_eq!(door.post("/attestation/challenge", json!({"secret": "none"})).await.0, 400);
    assert_eq!(door.post("/attestation/challenge", json!({})).await.0, 400);
    let (status, body) = door.post("/attestation/challenge", json!({"secret": 5})).await;
    assert_eq!((status, body.contains("secret") && !body.contains("token")), (400, true), "{body}");
}

#[tokio::test]
async fn a_secret_is_sealed_to_the_key_the_token_vouches_for() {
    use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
    use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
    use aws_lc_rs::rsa::{KeySize, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, PrivateDecryptingKey};
    use base64::Engine;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
    use sha2::{Digest, Sha256};

    let door = Door::open(&[("ATTESTATION_SEALED_ONLY", "db"), ("ATTESTATION_CODELAB_PATH", "/=api")]);
    let private = PrivateDecryptingKey::generate(KeySize::Rsa2048).unwrap();
    let der: PublicKeyX509Der<'_> = private.public_key().as_der().unwrap();
    let spki = der.as_ref().to_vec();
    let key = STANDARD.encode(&spki);
    let (status, body) =
        door.post("/attestation/secrets/db", json!({"token": token(json!({})), "public_key": key})).await;
    assert_eq!((status, body.contains("key_not_accepted")), (403, true), "{body}");
    let vouching = token(json!({"eat_nonce": hex::encode(Sha256::digest(&spki))}));
    let (status, body) = door.get("/attestation/secrets/db", &vouching).await;
    assert_eq!((status, body.contains("sealed_only"), body.contains(SECRET)), (403, true, false), "{body}");
    assert!(door.journal(2).await.contains("\"sealed_only\""));
    assert_eq!(door.get("/attestation/secrets/api", &token(json!({}))).await.0, 200, "others as before");
    let (status, jwe) = door.post("/attestation/secrets/db", json!({"token": vouching, "public_key": key})).await;
    assert_eq!(status, 200, "{jwe}");
    let parts: Vec<&str> = jwe.split('.').collect();
    let bytes = |at: usize| URL_SAFE_NO_PAD.decode(parts[at]).unwrap();
    let opening = OaepPrivateDecryptingKey::new(private).unwrap();
    let mut room = vec![0; opening.min_output_size()];
    let content_key = opening.decrypt(&OAEP_SHA256_MGF1SHA256, &bytes(1), &mut room, None).unwrap();
    let content_key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, content_key).unwrap());
    let mut content = [bytes(3), bytes(4)].concat();
    let nonce = Nonce::try_assume_unique_for_key(&bytes(2)).unwrap();
    assert_eq!(
        content_key.open_in_place(nonce, Aad::from(parts[0].as_bytes()), &mut content).unwrap(),
        SECRET.as_bytes()
    );
}

#[tokio::test]
async fn keys_rotate_and_an_issuer_that_fails_changes_nothing() {
    let door = Door::open(&[]);
    let path = "/attestation/secrets/db";
    let next = |n: u32| NEXT.token(&claims(SPACE, Utc::now().timestamp(), json!({"oemid": n})));
    assert_eq!(door.get(path, &token(json!({}))).await.0, 200);
    assert!(door.get(path, &next(0)).await.1.contains("key_unknown"));
    door.issuer.now(Mood::Keys(jwks(&[&KEY, &NEXT])));
    assert_eq!(door.get(path, &next(1)).await.0, 200, "a rotated key is fetched when it is met");
    for mood in [Mood::Garbage, Mood::Broken, Mood::Keys("{\"keys\":[]}".into())] {
        door.issuer.now(mood);
        let odd = NEXT.token_of(r#"{"alg":"RS256","kid":"odd"}"#, "{}");
        let (status, body) = door.get(path, &odd).await;
        assert_eq!((status, body.contains("keys_unavailable")), (503, true), "its key may be new: {body}");
        assert_eq!(
            door.get(path, &token(json!({"oemid": door.issuer.asked.load(Ordering::SeqCst)}))).await.0,
            200,
            "the last good keys stay"
        );
    }
}

#[tokio::test]
async fn each_issuer_has_its_own_keys_also_over_a_restart() {
    // Under the same key id, so that only the issuer tells the keys apart.
    let mut named = NEXT.jwk();
    named["kid"] = json!(KEY.kid);
    let other = Issuer::with(None, json!({"keys": [named]}).to_string());
    let policy = format!("issuer: {}\n{}", other.url, POLICY);
    let kept = tempfile::tempdir().unwrap();
    let cache = kept.path().join("jwks.json").display().to_string();
    let settings = [("ATTESTATION_KEYS_CACHE", cache.as_str())];
    let open = || Door::beside(&settings, Parts::default(), &[("theirs.yaml", &policy)]);
    let header = json!({"alg": "RS256", "kid": KEY.kid}).to_string();
    let claims_of = |issuer: &str| claims(SPACE, Utc::now().timestamp(), json!({ "iss": issuer })).to_string();
    let (google, theirs) = (KEY.token_of(&header, &claims_of(ISSUER)), NEXT.token_of(&header, &claims_of(&other.url)));
    let crossed = [KEY.token_of(&header, &claims_of(&other.url)), NEXT.token_of(&header, &claims_of(ISSUER))];
    for restarted in [false, true] {
        let door = open();
        if restarted {
            door.issuer.now(Mood::Broken);
            other.now(Mood::Broken);
        }
        for (token, policy) in [(&google, "ours"), (&theirs, "theirs")] {
            let (status, body) = door.post("/attestation/verify", json!({ "token": token })).await;
            let body: Json = serde_json::from_str(&body).unwrap();
            assert_eq!((status, body["policy"].as_str()), (200, Some(policy)), "restarted: {restarted}, {body}");
        }
        for token in &crossed {
            assert_eq!(door.post("/attestation/verify", json!({ "token": token })).await.0, 401);
        }
        if restarted {
            // One that is down may be the one whose new key it is, whatever the other says.
            door.issuer.now(Mood::Keys(jwks(&[&KEY])));
            let (status, body) = door.post("/attestation/verify", json!({ "token": NEXT.token(&json!({})) })).await;
            assert_eq!((status, body.contains("keys_unavailable")), (503, true), "{body}");
        }
    }
    let files = || std::fs::read_dir(kept.path()).unwrap().map(|file| file.unwrap().path());
    assert_eq!(files().count(), 2, "a file for each issuer, and nothing else");
    // Whoever may write the files may put keys of their own there.
    files().for_each(|file| std::fs::set_permissions(file, Permissions::from_mode(0o666)).unwrap());
    let door = open();
    door.issuer.now(Mood::Broken);
    let (status, body) = door.post("/attestation/verify", json!({ "token": google })).await;
    assert_eq!((status, body.contains("keys_unavailable")), (503, true), "{body}");
}

#[tokio::test]
async fn nothing_is_allowed_that_cannot_be_written_down() {
    let door = Door::open(&[("ATTESTATION_JOURNAL", "/dev/full")]);
    let (status, body) = door.get("/attestation/secrets/db", &token(json!({}))).await;
    assert_eq!((status, body.contains("journal_unavailable")), (503, true), "{body}");
    let (status, body) = door.post("/attestation/verify", json!({"token": token(json!({}))})).await;
    assert_eq!((status, body.contains("journal_unavailable")), (503, true), "{body}");
    assert_eq!(door.get("/attestation/secrets/db", &token(json!({"hwmodel": "x"}))).await.0, 403);
}

#[tokio::test]
async fn a_journal_that_cannot_be_written_is_told_and_keeps_no_event_away() {
    let (issuer, folder) = (Issuer::start(), tempfile::tempdir().unwrap());
    std::fs::write(folder.path().join("ours.yaml"), POLICY).unwrap();
    std::fs::write(folder.path().join("secret"), SECRET).unwrap();
    let world = World::with(&[
        ("ATTESTATION_POLICIES", &folder.path().display().to_string()),
        ("ATTESTATION_SECRETS", &format!("db=ours:file:{}", folder.path().join("secret").display())),
        ("ATTESTATION_ENDPOINT", &issuer.url),
        ("ATTESTATION_JOURNAL", "/dev/full"),
    ])
    .await;
    let told = async || {
        let (status, body) = world.get("/readyz").await;
        (status, serde_json::from_str::<Json>(&body).unwrap()["attestation_journal"].clone())
    };
    assert_eq!(told().await, (200, json!("writable")));
    let asked = world.http.get(format!("{}/attestation/secrets/db", world.url)).bearer_auth(token(json!({})));
    assert_eq!(asked.send().await.unwrap().status(), 503);
    let (status, journal) = told().await;
    assert!(status == 200 && journal.as_str().unwrap().contains("could not be written"), "{status} {journal}");
}

#[tokio::test]
async fn unknown_keys_make_no_storm_and_no_keys_make_503() {
    let door = Door::with(&[("ATTESTATION_FAILURES_PER_MINUTE", "100000")], Duration::from_secs(60));
    assert_eq!(door.get("/attestation/secrets/db", &token(json!({}))).await.0, 200);
    let asked = door.issuer.asked.load(Ordering::SeqCst);
    let guesses = (0..200).map(|n| {
        let guess = KEY.token_of(&json!({"alg": "RS256", "kid": format!("guess-{n}")}).to_string(), "{}");
        let door = &door;
        async move { assert_eq!(door.get("/attestation/secrets/db", &guess).await.0, 401) }
    });
    futures_util::future::join_all(guesses).await;
    assert!(door.issuer.asked.load(Ordering::SeqCst) <= asked + 1, "{}", door.issuer.asked.load(Ordering::SeqCst));
    let cold = Door::open(&[]);
    cold.issuer.now(Mood::Broken);
    assert_eq!(cold.get("/attestation/secrets/db", &token(json!({}))).await.0, 503);
}

#[tokio::test]
async fn a_rotated_key_is_asked_for_at_once_and_the_next_unknown_one_half_a_minute_later() {
    let issuer = Issuer::start();
    let source = KeySource::issuer(ISSUER, &issuer.url, FetchRules::default(), None).unwrap();
    let start = Instant::now();
    let at = |second| start + Duration::from_secs(second);
    let asked = || issuer.asked.load(Ordering::SeqCst);
    let unwaited = Duration::ZERO;
    let found = source.look_up_at(&KEY.kid, start).await.unwrap();
    assert!(found.is_certain(&KEY.kid, unwaited));
    issuer.now(Mood::Keys(jwks(&[&KEY, &NEXT])));
    let found = source.look_up_at(&NEXT.kid, at(1)).await.unwrap();
    assert!(found.keys.find(&NEXT.kid).is_some(), "an ordinary fetch a second ago does not count");
    assert_eq!(asked(), 2);
    let found = source.look_up_at("guess", at(20)).await.unwrap();
    assert_eq!((asked(), found.is_certain("guess", unwaited)), (2, false), "the floor holds");
    assert!(found.is_certain("guess", Duration::from_secs(25)), "what was there before the last fetch was asked for");
    assert!(found.is_certain(&KEY.kid, unwaited), "a known key needs no fetch");
    let found = source.look_up_at("guess", at(32)).await.unwrap();
    assert_eq!((asked(), found.is_certain("guess", unwaited)), (3, true));
    assert!(found.speaks_of("guess"), "the issuer answered");
    issuer.now(Mood::Broken);
    let found = source.look_up_at("other", at(40)).await.unwrap();
    assert_eq!((asked(), found.speaks_of("other")), (3, true), "and not long ago");
    for (second, fetches) in [(70, 4), (90, 4), (101, 5)] {
        let found = source.look_up_at("guess", at(second)).await.unwrap();
        assert_eq!((asked(), found.is_certain("guess", unwaited)), (fetches, false), "an outage says nothing of a key");
        assert_eq!((found.speaks_of("guess"), found.speaks_of(&KEY.kid)), (false, true), "after {second} s");
    }
}

#[tokio::test]
async fn without_any_keys_the_issuer_is_asked_again_after_ten_seconds() {
    let issuer = Issuer::start();
    issuer.now(Mood::Broken);
    let source = KeySource::issuer(ISSUER, &issuer.url, FetchRules::default(), None).unwrap();
    let start = Instant::now();
    let at = |second| start + Duration::from_secs(second);
    assert!(source.look_up_at(&KEY.kid, start).await.is_err());
    issuer.now(Mood::Keys(jwks(&[&KEY])));
    assert!(source.look_up_at(&KEY.kid, at(9)).await.is_err());
    assert_eq!(issuer.asked.load(Ordering::SeqCst), 1, "no storm");
    assert!(source.look_up_at(&KEY.kid, at(11)).await.unwrap().keys.find(&KEY.kid).is_some());
}

#[tokio::test]
async fn a_chain_in_the_header_fits() {
    let leaf = &KEY;
    let now = Utc::now().timestamp();
    let chain = Chain::new(leaf, now, &ChainShape::default());
    let door = Door::open(&[("ATTESTATION_ROOT", &chain.root_hex())]);
    let padded = claims(SPACE, now, json!({"submods.container.args": ["x".repeat(8000)]}));
    let token = chain.token(leaf, &padded);
    assert!(token.len() > 14_000, "{}", token.len());
    assert_eq!(door.get("/attestation/secrets/db", &token).await, (200, SECRET.to_owned()));
    door.issuer.now(Mood::Broken);
    let (status, _) =
        door.post("/attestation/secrets/db", json!({"token": chain.token(leaf, &claims(SPACE, now, json!({})))})).await;
    assert_eq!(status, 200, "chains need no keys of the issuer");
}

#[tokio::test]
async fn a_token_is_good_once_at_all_replicas() {
    let state: Arc<dyn sysdig_scc::state::Store> =
        Arc::new(sysdig_scc::state::sqlite::SqliteStore::in_memory().unwrap());
    let parts = || Parts { state: Some(state.clone()), ..Parts::default() };
    let (one, two) = (Door::with_parts(&[], parts()), Door::with_parts(&[], parts()));
    let token = token(json!({}));
    assert_eq!(one.get("/attestation/secrets/db", &token).await.0, 200);
    assert_eq!(two.get("/attestation/secrets/db", &token).await.0, 409);
}

#[tokio::test]
async fn a_secret_comes_from_where_it_is_and_its_absence_is_503() {
    let resolver: sysdig_scc::receive::attestation::Resolver = Arc::new(|place: String| {
        Box::pin(async move {
            match place.as_str() {
                "sm://acme-data/db" => Ok(SECRET.as_bytes().to_vec().into()),
                "sm://acme-data/bytes" => Ok(vec![0, 255, 254].into()),
                _ => Err("denied".to_owned()),
            }
        })
    });
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), SECRET).unwrap();
    let secrets = format!(
        "db=ours:sm://acme-data/db,gone=ours:sm://acme-data/gone,bytes=ours:sm://acme-data/bytes,disk=ours:file:{}",
        file.path().display()
    );
    let parts = Parts { resolver: Some(resolver), ..Parts::default() };
    let door = Door::with_parts(&[("ATTESTATION_SECRETS", &secrets)], parts);
    let one = token(json!({"oemid": 1}));
    assert_eq!(door.get("/attestation/secrets/gone", &one).await.0, 503);
    let journal = door.journal(1).await;
    assert!(journal.contains("\"denied\"") && journal.contains("\"secret_unavailable\""), "{journal}");
    assert_eq!(
        door.get("/attestation/secrets/db", &one).await,
        (200, SECRET.to_owned()),
        "nothing was released for it before"
    );
    assert_eq!(door.get("/attestation/secrets/disk", &token(json!({"oemid": 2}))).await, (200, SECRET.to_owned()));
    let bytes = door.client.get(format!("{}/attestation/secrets/bytes", door.url));
    let answer = bytes.bearer_auth(token(json!({"oemid": 3}))).send().await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["content-type"]),
        (200, &"application/octet-stream".parse().unwrap())
    );
    assert_eq!(answer.bytes().await.unwrap()[..], [0, 255, 254]);
    std::fs::write(file.path(), "").unwrap();
    let (status, body) = door.get("/attestation/secrets/disk", &token(json!({"oemid": 4}))).await;
    assert_eq!((status, body.contains("secret_unavailable")), (503, true), "just being written: {body}");
    std::fs::write(file.path(), SECRET).unwrap();
    assert_eq!(door.get("/attestation/secrets/disk", &token(json!({"oemid": 4}))).await, (200, SECRET.to_owned()));
}

#[tokio::test]
async fn failures_are_slowed_down_and_good_tokens_are_not() {
    let door = Door::open(&[("ATTESTATION_FAILURES_PER_MINUTE", "5")]);
    let mut statuses = Vec::new();
    for _ in 0..8 {
        statuses.push(door.get("/attestation/secrets/db", "a.b.c").await.0);
    }
    assert_eq!(statuses, [401, 401, 401, 401, 401, 429, 429, 429]);
    assert_eq!(door.get("/attestation/secrets/db", &token(json!({}))).await.0, 200);
}

#[tokio::test]
async fn refusals_keep_nobody_at_the_address_from_a_challenge() {
    let door = Door::open(&[("ATTESTATION_FAILURES_PER_MINUTE", "3"), ("ATTESTATION_REQUIRE_NONCE", "true")]);
    let mut statuses = Vec::new();
    for _ in 0..5 {
        statuses.push(door.get("/attestation/secrets/db", "a.b.c").await.0);
    }
    assert_eq!(statuses, [401, 401, 401, 429, 429]);
    let (status, body) = door.post("/attestation/challenge", json!({"secret": "db"})).await;
    assert_eq!(status, 200, "{body}");
    let nonce = serde_json::from_str::<Json>(&body).unwrap()["nonce"].clone();
    assert_eq!(door.get("/attestation/secrets/db", &token(json!({"eat_nonce": nonce}))).await.0, 200);
    let mut asked = Vec::new();
    for _ in 0..4 {
        asked.push(door.post("/attestation/challenge", json!({"secret": "db"})).await);
    }
    assert_eq!(asked.iter().map(|(status, _)| *status).collect::<Vec<_>>(), [200, 200, 429, 429]);
    assert!(asked[3].1.contains("too many challenges"), "{}", asked[3].1);
}

#[tokio::test]
async fn a_key_the_token_does_not_vouch_for_is_a_refusal_like_others() {
    let door = Door::open(&[("ATTESTATION_FAILURES_PER_MINUTE", "3")]);
    let stolen = token(json!({}));
    let mut statuses = Vec::new();
    for key in ["bm9ib2R5J3M=", "no key at all!", "bm9ib2R5J3M=", "bm9ib2R5J3M=", "bm9ib2R5J3M="] {
        let asked = json!({"token": stolen, "public_key": key});
        statuses.push(door.post("/attestation/secrets/db", asked).await.0);
    }
    assert_eq!(statuses, [403, 400, 403, 429, 429]);
    let journal = door.journal(4).await;
    let lines: Vec<Json> = journal.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 4, "of what is answered 429 the first: {journal}");
    for line in lines {
        let told = (&line["verdict"], &line["reason"], &line["secret"], &line["policy"]);
        assert_eq!(told, (&json!("denied"), &json!("key_not_accepted"), &json!("db"), &json!("ours")));
        assert!(line["instance"].is_string() && line["token_sha256"].is_string(), "{line}");
    }
    assert_eq!(door.get("/attestation/secrets/db", &stolen).await.0, 200, "nothing was released for it before");
}

#[tokio::test]
async fn a_condition_that_takes_long_keeps_nobody_else_waiting() {
    let (head, _) = POLICY.split_once("condition").unwrap();
    let all = "assertion.l.all(x, assertion.l.all(y, assertion.l.all(z, x + y + z >= 0)))";
    let settings = [("ATTESTATION_SECRETS", "db=ours:env:DB_SECRET,slow=slow:env:DB_SECRET")];
    let door = Door::beside(&settings, Parts::default(), &[("slow.yaml", &format!("{head}condition: {all}\n"))]);
    assert_eq!(door.get("/attestation/secrets/db", &token(json!({}))).await.0, 200, "the keys are there");
    let long = token(json!({"l": (0..300).collect::<Vec<_>>()}));
    let mut asking = std::pin::pin!(door.get("/attestation/secrets/slow", &long));
    let mut others = 0;
    // There is one thread for all requests.
    let (status, body) = loop {
        tokio::select! {
            answer = &mut asking => break answer,
            _ = door.post("/attestation/challenge", json!({"secret": "db"})) => others += 1,
        }
    };
    assert_eq!((status, body.contains("policy_error")), (403, true), "{body}");
    assert!(others > 20, "{others} were answered meanwhile");
}

#[test]
fn tokens_in_logs_are_recognised_cut_out_and_compared() {
    use sysdig_scc::attest::chain::Roots;
    use sysdig_scc::attest::keys::KeySet;
    use sysdig_scc::attest::verify::Trust;
    let now = Utc::now();
    let text = KEY.token(&claims(VM, now.timestamp() - 60, json!({})));
    let entry = |payload: Json, instance: &str| {
        json!({"logName": "projects/acme-data/logs/gotpm", "insertId": "a1", "jsonPayload": payload,
            "resource": {"type": "gce_instance", "labels": {"project_id": "acme-data", "instance_id": instance, "zone": "us-central1-c"}}})
    };
    let good = entry(json!({"token": text}), "5566778899001122334");
    assert_eq!(gotpm::classify(&good), Some(gotpm::Kind::Token));
    assert_eq!(gotpm::classify(&entry(json!({"Name": "c", "Nonce": "n"}), "1")), Some(gotpm::Kind::Challenge));
    assert_eq!(gotpm::classify(&entry(json!({"iss": "c", "submods": {}}), "1")), Some(gotpm::Kind::Claims));
    assert_eq!(gotpm::classify(&json!({"logName": "projects/p/logs/other", "jsonPayload": {"token": "x"}})), None);
    let redacted = gotpm::redact(&good).to_string();
    assert!(!redacted.contains(&text) && redacted.contains("sha256"), "{redacted}");
    let mut unsuitable = NEXT.jwk();
    unsuitable["use"] = json!("enc");
    let keys = KeySet::read(json!({"keys": [KEY.jwk(), unsuitable]}).to_string().as_bytes()).unwrap();
    let roots = Roots::default();
    let trust = Trust { keys: Some(&keys), roots: &roots };
    let names = |entry: &Json| {
        gotpm::examine(entry, ISSUER, trust, now).events.iter().map(|event| event.category.name()).collect::<Vec<_>>()
    };
    assert_eq!(names(&good), ["ATTESTATION_TOKEN_EXPOSED"]);
    assert_eq!(
        names(&entry(json!({"token": text}), "666")),
        ["ATTESTATION_TOKEN_EXPOSED", "ATTESTATION_CLAIMS_INCONSISTENT"]
    );
    let of_unsuitable = |ago: i64| {
        let token = NEXT.token(&claims(VM, now.timestamp() - ago, json!({})));
        names(&entry(json!({ "token": token }), "5566778899001122334"))
    };
    assert_eq!(of_unsuitable(60), ["ATTESTATION_TOKEN_INVALID"]);
    assert_eq!(of_unsuitable(7200), [""; 0], "it was signed while the key was for signing");
    let forged = NEXT.token_of(
        &json!({"alg": "RS256", "kid": KEY.kid}).to_string(),
        &claims(VM, now.timestamp(), json!({})).to_string(),
    );
    let events = gotpm::examine(&entry(json!({"token": forged}), "1"), ISSUER, trust, now).events;
    assert_eq!((events[0].category.name(), &events[0].resource), ("ATTESTATION_TOKEN_INVALID", &None));
    let shown = serde_json::to_string(&events).unwrap();
    assert!(!shown.contains(&forged), "{shown}");
}
