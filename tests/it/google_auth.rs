//! Tokens: every kind of credential against a small Google, one fetch for many, and nothing secret told.

use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};
use sysdig_scc::clock::Clock;
use sysdig_scc::google::{CLOUD_PLATFORM, Credentials, TokenSource};
use sysdig_scc::telemetry::logs;

use crate::fakes::lines::Lines;
use crate::fakes::wire::{Answer, Wire};

/// A key made for this run: none lies in the repository.
static KEY: LazyLock<String> = LazyLock::new(|| {
    let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let der = AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).unwrap();
    let lines: Vec<_> =
        STANDARD.encode(der.as_ref()).as_bytes().chunks(64).map(|l| String::from_utf8_lossy(l).into_owned()).collect();
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"))
});

pub fn key(token_uri: &str) -> Value {
    json!({ "type": "service_account", "project_id": "p", "private_key_id": "k1", "private_key": *KEY,
        "client_email": "scc@p.iam.gserviceaccount.com", "token_uri": token_uri })
}

fn granted(token: &str) -> Answer {
    Answer::json(200, json!({ "access_token": token, "expires_in": 3600, "token_type": "Bearer" }))
}

fn source(file: &Value) -> TokenSource {
    TokenSource::from_credentials(Credentials::from_json(&file.to_string()).unwrap(), &[CLOUD_PLATFORM]).unwrap()
}

async fn token(source: &TokenSource) -> String {
    source.token().await.unwrap().unwrap().expose().to_owned()
}

/// A clock that the story moves.
#[derive(Clone)]
struct Moved(Arc<AtomicI64>);

impl Moved {
    fn new() -> Self {
        Self(Arc::new(AtomicI64::new(0)))
    }

    fn by(&self, minutes: i64) {
        self.0.fetch_add(minutes, Ordering::SeqCst);
    }

    fn clock(&self) -> Clock {
        let (start, moved) = (Utc::now(), self.clone());
        Arc::new(move || start + TimeDelta::minutes(moved.0.load(Ordering::SeqCst)))
    }
}

/// Yields until it is so; the runtime's own turn-taking is all that is waited for.
async fn until(mut so: impl FnMut() -> bool) {
    let all = async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), all).await.unwrap();
}

#[tokio::test]
async fn a_service_account_key_signs_and_is_exchanged_at_its_own_token_uri() {
    let google = Wire::start(|_| granted("ya29.one")).await;
    let source = source(&key(&google.url("/token")));
    assert_eq!(token(&source).await, "ya29.one");
    assert_eq!(source.identity().await.unwrap().as_deref(), Some("scc@p.iam.gserviceaccount.com"));
    let asked = google.asked();
    let form = asked[0].form();
    assert_eq!(form["grant_type"], "urn:ietf:params:oauth:grant-type:jwt-bearer");
    let claims = URL_SAFE_NO_PAD.decode(form["assertion"].split('.').nth(1).unwrap().trim_end_matches('=')).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    assert_eq!(claims["iss"], "scc@p.iam.gserviceaccount.com");
    assert_eq!(claims["scope"], CLOUD_PLATFORM);
}

#[tokio::test]
async fn a_hundred_callers_cause_one_fetch() {
    let google = Wire::start_async(|_| async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        granted("ya29.one")
    })
    .await;
    let source = source(&key(&google.url("/token")));
    let all = (0..100).map(|_| {
        let source = source.clone();
        tokio::spawn(async move { token(&source).await })
    });
    for one in futures_util::future::join_all(all).await {
        assert_eq!(one.unwrap(), "ya29.one");
    }
    assert_eq!(google.asked().len(), 1);
}

#[tokio::test]
async fn a_failed_fetch_is_shared_by_those_who_waited_for_it() {
    let google = Wire::start_async(|_| async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        Answer::json(400, json!({ "error": "invalid_grant", "error_description": "Invalid JWT Signature." }))
    })
    .await;
    let source = source(&key(&google.url("/token")));
    let all: Vec<_> = (0..50)
        .map(|_| {
            let source = source.clone();
            tokio::spawn(async move { source.token().await.unwrap_err().to_string() })
        })
        .collect();
    for one in futures_util::future::join_all(all).await {
        let text = one.unwrap();
        assert!(text.contains("invalid_grant") && text.contains("clock"), "{text}");
    }
    assert!(google.asked().len() <= 2, "{}", google.asked().len());
}

fn numbered() -> impl Fn() -> Answer + Send + Sync {
    let next = AtomicUsize::new(1);
    move || granted(&format!("ya29.{}", next.fetch_add(1, Ordering::SeqCst)))
}

#[tokio::test]
async fn five_minutes_before_its_end_the_token_is_replaced_while_callers_go_on() {
    let answer = numbered();
    let google = Wire::start(move |_| answer()).await;
    let time = Moved::new();
    let file = user(&google.url("/token"));
    let source =
        TokenSource::from_credentials_at(Credentials::from_json(&file.to_string()).unwrap(), &[], time.clock())
            .unwrap();
    assert_eq!(token(&source).await, "ya29.1");
    time.by(54);
    assert_eq!(token(&source).await, "ya29.1");
    assert_eq!(google.asked().len(), 1);
    time.by(2);
    assert_eq!(token(&source).await, "ya29.1", "the old one serves while the new one is fetched");
    until(|| google.asked().len() == 2).await;
    let mut seen = String::new();
    for _ in 0..1000 {
        seen = token(&source).await;
        if seen == "ya29.2" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(seen, "ya29.2");
    assert_eq!(google.asked().len(), 2);
}

#[tokio::test]
async fn a_token_that_is_still_valid_outlives_a_failed_refresh() {
    let google = Wire::script(vec![granted("ya29.1"), Answer::text(503, "<html>"), granted("ya29.2")]).await;
    let time = Moved::new();
    let file = user(&google.url("/token"));
    let source =
        TokenSource::from_credentials_at(Credentials::from_json(&file.to_string()).unwrap(), &[], time.clock())
            .unwrap();
    assert_eq!(token(&source).await, "ya29.1");
    time.by(57);
    assert_eq!(token(&source).await, "ya29.1");
    until(|| google.asked().len() == 2).await;
    assert_eq!(token(&source).await, "ya29.1");
    time.by(4);
    assert_eq!(token(&source).await, "ya29.2", "it has ended, so callers wait for a new one");
}

fn user(token_uri: &str) -> Value {
    json!({ "type": "authorized_user", "client_id": "c.apps", "client_secret": "S3CRET-client", "refresh_token": "S3CRET-refresh",
        "quota_project_id": "billed", "token_uri": token_uri })
}

#[tokio::test]
async fn a_persons_login_is_refreshed_and_names_its_quota_project() {
    let google = Wire::start(|_| granted("ya29.user")).await;
    let source = source(&user(&google.url("/token")));
    assert_eq!(token(&source).await, "ya29.user");
    assert_eq!(source.quota_project(), Some("billed"));
    let form = google.asked()[0].form();
    assert_eq!((form["grant_type"].as_str(), form["refresh_token"].as_str()), ("refresh_token", "S3CRET-refresh"));
}

/// STS, the other provider and the IAM credentials service in one.
async fn federation() -> Wire {
    Wire::start(|asked| match asked.target.split('?').next().unwrap() {
        "/sts" => granted("federated"),
        "/subject" if asked.header("x-id") == Some("7") => Answer::json(200, json!({ "id_token": "subject-from-url" })),
        path if path.ends_with(":generateAccessToken") => {
            assert_eq!(asked.header("authorization"), Some("Bearer federated"));
            Answer::json(
                200,
                json!({ "accessToken": "ya29.impersonated", "expireTime": Utc::now() + TimeDelta::hours(1) }),
            )
        }
        other => panic!("{other}"),
    })
    .await
}

fn external(wire: &Wire, credential_source: Value) -> Value {
    json!({ "type": "external_account", "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/w/providers/p",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt", "token_url": wire.url("/sts"), "credential_source": credential_source })
}

#[tokio::test]
async fn workload_identity_takes_its_subject_from_a_file_text_or_json_and_from_an_address() {
    let wire = federation().await;
    let folder = tempfile::tempdir().unwrap();
    let (text, object) = (folder.path().join("text"), folder.path().join("json"));
    std::fs::write(&text, "subject-from-text\n").unwrap();
    std::fs::write(&object, r#"{"id_token":"subject-from-json"}"#).unwrap();
    let format = json!({ "type": "json", "subject_token_field_name": "id_token" });
    for (credential_source, subject) in [
        (json!({ "file": text }), "subject-from-text"),
        (json!({ "file": object, "format": format }), "subject-from-json"),
        (json!({ "url": wire.url("/subject"), "headers": { "X-Id": "7" }, "format": format }), "subject-from-url"),
    ] {
        let source = source(&external(&wire, credential_source));
        assert_eq!(token(&source).await, "federated");
        let asked = wire.asked();
        let form = asked.last().unwrap().form();
        assert_eq!(form["subject_token"], subject);
        assert_eq!(form["scope"], CLOUD_PLATFORM);
    }
}

#[tokio::test]
async fn workload_identity_may_end_in_a_service_account() {
    let wire = federation().await;
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("text");
    std::fs::write(&text, "subject").unwrap();
    let mut file = external(&wire, json!({ "file": text }));
    file["service_account_impersonation_url"] =
        wire.url("/v1/projects/-/serviceAccounts/scc@p.iam.gserviceaccount.com:generateAccessToken").into();
    let source = source(&file);
    assert_eq!(token(&source).await, "ya29.impersonated");
    assert_eq!(source.identity().await.unwrap().as_deref(), Some("scc@p.iam.gserviceaccount.com"));
    assert_eq!(wire.asked().last().unwrap().json()["scope"], json!([CLOUD_PLATFORM]));
}

#[tokio::test]
async fn an_impersonated_service_account_starts_from_any_other_credential() {
    let wire = Wire::start(|asked| match asked.target.as_str() {
        "/token" => granted("ya29.source"),
        _ if asked.header("authorization") == Some("Bearer ya29.source") => {
            assert_eq!(asked.json()["delegates"], json!(["projects/-/serviceAccounts/d"]));
            Answer::json(200, json!({ "accessToken": "ya29.acting", "expireTime": Utc::now() + TimeDelta::hours(1) }))
        }
        _ => Answer::json(403, json!({ "error": { "code": 403, "status": "PERMISSION_DENIED", "message": "no" } })),
    })
    .await;
    for start in [key(&wire.url("/token")), user(&wire.url("/token"))] {
        let file = json!({ "type": "impersonated_service_account", "delegates": ["projects/-/serviceAccounts/d"],
            "service_account_impersonation_url": wire.url("/v1/projects/-/serviceAccounts/a@p:generateAccessToken"), "source_credentials": start });
        assert_eq!(token(&source(&file)).await, "ya29.acting");
    }
}

#[tokio::test]
async fn the_metadata_server_is_asked_with_its_header_and_must_answer_with_it() {
    let metadata = Wire::start(|asked| {
        assert_eq!(asked.header("metadata-flavor"), Some("Google"));
        let answer = if asked.target.ends_with("/email") {
            Answer::text(200, "vm@p.iam.gserviceaccount.com")
        } else {
            granted("ya29.vm")
        };
        answer.with("Metadata-Flavor", "Google")
    })
    .await;
    let source = TokenSource::from_metadata(&metadata.address.to_string(), &[CLOUD_PLATFORM]).unwrap();
    assert_eq!(token(&source).await, "ya29.vm");
    assert_eq!(source.identity().await.unwrap().as_deref(), Some("vm@p.iam.gserviceaccount.com"));
    let asked = metadata.asked();
    assert!(asked[0].target.starts_with("/computeMetadata/v1/instance/service-accounts/default/token?scopes="));

    let impostor = Wire::start(|_| granted("ya29.evil")).await;
    let source = TokenSource::from_metadata(&impostor.address.to_string(), &[]).unwrap();
    assert!(source.token().await.unwrap_err().to_string().contains("not a metadata server"));
}

#[tokio::test]
async fn a_metadata_server_without_an_account_or_in_trouble_says_what_to_do() {
    for (status, expected, transient) in
        [(404, "attach a service account", false), (403, "scope", false), (500, "500", true), (429, "429", true)]
    {
        let metadata = Wire::start(move |_| Answer::text(status, "trouble").with("Metadata-Flavor", "Google")).await;
        let error = TokenSource::from_metadata(&metadata.address.to_string(), &[]).unwrap().token().await.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(error.is_transient(), transient, "{error}");
    }
    let nobody = TokenSource::from_metadata("127.0.0.1:1", &[]).unwrap().token().await.unwrap_err();
    assert!(nobody.to_string().contains("SECURITY_SERVICE_ACCOUNT_INFO"), "{nobody}");
}

#[tokio::test]
async fn broken_answers_of_a_token_endpoint_are_told_and_tried_again() {
    let huge = "x".repeat(100_000);
    let answers = vec![
        Answer::text(200, "{\"access_token\": \"S3CRET-half"),
        Answer::text(200, "<html>S3CRET</html>"),
        Answer::json(200, json!({ "expires_in": 3600 })),
        Answer::json(200, json!({ "access_token": "", "expires_in": 3600 })),
        Answer::json(200, json!({ "access_token": "ya29.S3CRET", "expires_in": -5 })),
        Answer::json(200, json!({ "access_token": "ya29.S3CRET\r\nX-Other: 1", "expires_in": 3600 })),
        Answer::text(502, "<html>S3CRET</html>"),
        Answer::text(200, &huge),
        Answer::Truncated(200, "{\"access_token\":\"S3CRET\"".into()),
        Answer::Nothing,
    ];
    for file in [user, key] {
        for answer in &answers {
            let google = Wire::script(vec![answer.clone()]).await;
            let error = source(&file(&google.url("/token"))).token().await.unwrap_err();
            let shown = format!("{error} {error:?} {}", sysdig_scc::causes::chain(&error));
            assert!(!shown.contains("S3CRET") && !shown.contains("PRIVATE KEY"), "{shown}");
            assert!(error.is_transient(), "{answer:?}: {error}");
        }
    }
}

#[tokio::test]
async fn a_lifetime_beyond_every_calendar_breaks_nothing_and_the_next_answer_is_taken() {
    for lifetime in [9_999_999_999_999, i64::MAX, i64::MIN] {
        let endless = Answer::json(200, json!({ "access_token": "ya29.S3CRET", "expires_in": lifetime }));
        let google = Wire::script(vec![endless, granted("ya29.next")]).await;
        let source = source(&key(&google.url("/token")));
        let error = source.token().await.unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(error.is_transient() && shown.contains("lifetime") && !shown.contains("S3CRET"), "{shown}");
        assert_eq!(token(&source).await, "ya29.next");
    }
}

#[tokio::test]
async fn an_endpoint_that_repeats_the_assertion_does_not_make_us_tell_it() {
    let google = Wire::start(|asked| {
        let said = format!("{} is not valid", asked.form()["assertion"]);
        Answer::json(400, json!({ "error": "invalid_grant", "error_description": said }))
    })
    .await;
    let error = source(&key(&google.url("/token"))).token().await.unwrap_err().to_string();
    assert!(error.contains("[token removed] is not valid"), "{error}");
}

#[tokio::test]
async fn nothing_secret_is_shown_by_debug() {
    let google = Wire::start(|_| granted("ya29.S3CRET")).await;
    for file in [user(&google.url("/token")), key(&google.url("/token"))] {
        let source = source(&file);
        let token = source.token().await.unwrap();
        let shown = format!("{source:?} {token:?}");
        assert!(!shown.contains("S3CRET") && !shown.contains("PRIVATE"), "{shown}");
    }
}

#[tokio::test]
async fn a_key_that_is_no_rsa_key_is_refused_without_being_shown() {
    let mut file = key("https://oauth2.googleapis.com/token");
    file["private_key"] = "-----BEGIN PRIVATE KEY-----\nUzNDUkVU\n-----END PRIVATE KEY-----\n".into();
    let error = source(&file).token().await.unwrap_err();
    let shown = format!("{error} {error:?}");
    assert!(shown.contains("private key cannot be used") && !shown.contains("UzNDUkVU"), "{shown}");
    assert!(!error.is_transient());
}

/// What is logged while a token is fetched.
async fn logged(filter: impl tracing_subscriber::Layer<tracing_subscriber::Registry> + Send + Sync) -> String {
    use tracing_subscriber::prelude::*;
    let lines = Lines::default();
    let _logging = tracing_subscriber::registry().with(filter).with(lines.printed()).set_default();
    let google = Wire::start(|_| granted("ya29.S3CRET")).await;
    for file in [user(&google.url("/token")), key(&google.url("/token"))] {
        token(&source(&file)).await;
    }
    tracing::debug!("the log is written");
    lines.text()
}

#[tokio::test]
async fn the_log_never_shows_a_token_however_it_is_asked() {
    use tracing_subscriber::Layer;
    const DIRECTIVES: &str = "trace,yup_oauth2::service_account=trace,yup_oauth2::authenticator=debug";
    let unguarded = logged(logs::asked(DIRECTIVES)).await;
    assert!(unguarded.contains("S3CRET"), "this is what must be kept out: {unguarded}");
    let guarded = logged(logs::asked(DIRECTIVES).and_then(logs::discreet())).await;
    assert!(guarded.contains("the log is written"), "{guarded}");
    assert!(!guarded.contains("S3CRET") && !guarded.contains("assertion"), "{guarded}");
}
