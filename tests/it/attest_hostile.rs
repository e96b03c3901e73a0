//! Expressions, claims and tokens meant to do harm, through the real program: each is answered, in time, in little
//! memory, and the program lives. `SYSDIG_SCC_PROGRAM=target/release/sysdig-scc` runs them against the released form.

use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use chrono::Utc;
use serde_json::{Value as Json, json};

use crate::attest_door::POLICY;
use crate::attest_issuer::{KEY, NEXT, SPACE, Signer, base64url, claims, jwks};
use crate::recovery::{Process, program};
use crate::world::World;

/// Far more than any takes, and far less than what would be noticed as a hang. A debug build on a busy machine is slow.
const PATIENCE: Duration = Duration::from_secs(if cfg!(debug_assertions) { 60 } else { 10 });
/// The address space, in KiB: the parser's stack of 512 MiB, which is only reserved, and room to work.
const MEMORY: &str = "2000000";

/// `attest explain` over claims; the answer of a program that ended by itself.
fn explain(condition: &str, claims: &str) -> (i32, Json) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("claims.json");
    std::fs::write(&file, claims).unwrap();
    let began = Instant::now();
    let limited = format!("ulimit -v {MEMORY} && exec \"$0\" \"$@\"");
    let output: Output = Command::new("sh")
        .args(["-c", &limited])
        .arg(program())
        .args(["attest", "explain", "--format", "json"])
        .arg("--condition")
        .arg(condition)
        .arg("--claims")
        .arg(&file)
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let shown = &condition[..condition.len().min(60)];
    let took = began.elapsed();
    assert!(took < PATIENCE, "{shown} took {took:?}");
    eprintln!("{took:>8.2?} {shown}");
    let code = output.status.code().unwrap_or_else(|| panic!("{shown} ended the program: {:?}", output.status));
    assert!(output.stdout.len() < 8 << 20, "{shown} printed {} bytes", output.stdout.len());
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.contains("panicked") && !String::from_utf8_lossy(&output.stderr).contains("panicked"), "{shown}");
    let answer = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{shown}: code {code}, {text}"));
    (code, answer)
}

fn chain(part: &str, joint: &str, count: usize) -> String {
    vec![part; count].join(joint)
}

#[test]
fn expressions_meant_to_do_harm_are_refused() {
    let nested = |open: &str, middle: &str, close: &str, count: usize| {
        format!("{}{middle}{}", open.repeat(count), close.repeat(count))
    };
    let refused = [
        chain("1", "+", 2048),
        chain("1", "<", 2048),
        chain("true", " ? true : ", 370),
        chain("assertion.a", "==", 300),
        nested("(", "1", ")", 2000),
        nested("[", "1", "]", 2000),
        nested("{1:", "1", "}", 900),
        nested("[1].all(x,", "true", ")", 300),
        nested("size([", "1", "])", 400),
        nested("has(", "assertion.a", ")", 400),
        format!("assertion{}", ".a".repeat(2000)),
        format!("assertion{}", "[0]".repeat(1300)),
        format!("['aaaaaaaa']{}", ".map(x, x + x)".repeat(200)),
        "a".repeat(100_000),
        "(".repeat(100_000),
        "\u{0}".repeat(10).replace('\u{0}', "\u{1}"),
        "'".repeat(4095),
        "\\".repeat(4096),
        "1".repeat(4096),
        format!("0x{}", "f".repeat(4000)),
        format!("1e{}", "9".repeat(4000)),
        format!("'{}", "\\u".repeat(2000)),
        "// nothing".into(),
        "\u{feff}true".into(),
        "tru\u{202e}e".into(),
        "assertion.`".into(),
        "[1].all(__result__, true)".into(),
    ];
    for condition in refused {
        let (code, answer) = explain(&condition, "{}");
        assert_eq!((code, &answer["allowed"]), (2, &json!(false)), "{}", &condition[..condition.len().min(60)]);
        assert!(answer["error"].as_str().unwrap().len() < 1000, "{answer}");
    }
}

#[test]
fn evaluations_meant_to_do_harm_use_up_their_budget_or_end() {
    let long = json!({"s": "a".repeat(3_500_000), "l": vec![7; 300_000], "t": "(a{500}b?){2}"}).to_string();
    let wide: serde_json::Map<String, Json> = (0..60_000).map(|n| (format!("name{n}"), json!(n))).collect();
    let wide = json!({"m": wide, "n": wide}).to_string();
    let list = |count: usize| format!("[{}]", chain("1", ",", count));
    let cases = [
        (format!("['aaaaaaaaaaaaaaaa']{} == []", ".map(x, x + x + x + x)".repeat(14)), "{}"),
        (format!("{0}.all(x, {0}.all(y, {0}.all(z, {0}.all(w, x == y && z == w))))", list(400)), "{}"),
        (format!("{}.all(x, {}.exists(y, y == 2))", list(900), list(900)), "{}"),
        (chain(&format!("{0}.all(x, {0}.all(y, {0}.all(z, x > 0)))", list(70)), " && ", 5), "{}"),
        ("!".repeat(4001 - 12) + "true == true", "{}"),
        ("-".repeat(4000) + "1 == 2", "{}"),
        ("assertion.l.all(x, assertion.l.all(y, x == y))".into(), &long),
        ("assertion.l.map(x, assertion.l) == []".into(), &long),
        ("assertion.l.all(x, assertion.l + assertion.l == [])".into(), &long),
        ("assertion.l.all(x, size(assertion.s) > x)".into(), &long),
        ("assertion.l.all(x, {'k': 1}[assertion.s] == 1)".into(), &long),
        ("assertion.l.all(x, bytes(assertion.s) == b'')".into(), &long),
        ("assertion.s.matches('(a|aa)+$') && assertion.s.matches('(a?){900}a{900}b')".into(), &long),
        ("assertion.s.matches('^(([a-z])+.)+[A-Z]([a-z])+$')".into(), &long),
        ("assertion.l.all(x, assertion.s.matches(assertion.t))".into(), &long),
        ("'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'.matches('(a*)*(a*)*(a*)*b')".into(), "{}"),
        ("'a'.matches('((((a{100}){100}){100}){100})')".into(), "{}"),
        (chain("'aa'.matches('(a{90}){90}(a{90}){90}')", " || ", 80), "{}"),
        (chain("'a'.matches(r'[\\pL\\pN\\pS]{200}')", " || ", 100), "{}"),
        (format!("'a'.matches('{}a{}')", "(".repeat(1500), ")".repeat(1500)), "{}"),
        ("assertion.m.all(k, assertion.m == assertion.n)".into(), &wide),
        ("assertion.m.all(k, assertion.m.exists(j, j > k))".into(), &wide),
        (chain("assertion.m.nome == assertion.n", " || ", 100), &wide),
        (chain("assertion.l == assertion.s", " || ", 130), &long),
        (chain("timestamp(0).getHours('Europe/Berlin') == 1", " || ", 90) + " || false", "{}"),
        ("9223372036854775807 + 1 > 0 || -9223372036854775808 / -1 > 0 || 1 % 0 == 0".into(), "{}"),
    ];
    for (condition, claims) in cases {
        let (code, answer) = explain(&condition, claims);
        // Some have an answer within their budget; none may be allowed or end the program.
        let shown = &condition[..condition.len().min(60)];
        assert!(matches!(code, 1 | 2), "{shown}: {code}");
        assert_eq!(answer["allowed"], false, "{shown}");
    }
}

#[test]
fn claims_meant_to_do_harm_are_refused() {
    let cases = [
        ("[".repeat(1_000_000), 2),
        (format!("{{\"a\":{}1{}}}", "[".repeat(40), "]".repeat(40)), 2),
        ("{\"a\":".repeat(500_000), 2),
        (r#"{"ok":false,"ok":true}"#.into(), 2),
        (r#"{"o":{"k":1,"\u006b":2},"ok":true}"#.into(), 2),
        (format!(r#"{{"ok":{}}}"#, "9".repeat(1_000_000)), 2),
        (r#"{"ok":1e999}"#.into(), 2),
        (r#"{"ok":NaN}"#.into(), 2),
        (r#"{"ok":"\ud800"}"#.into(), 2),
        ("\u{feff}{\"ok\":true}".into(), 2),
        (r#"{"ok":true} {"ok":true}"#.into(), 2),
        ("[true]".into(), 2),
        (String::new(), 2),
        ("x".repeat(5 << 20), 2),
        (r#"{"ok":18446744073709551616}"#.into(), 1),
        (r#"{"ok":"true"}"#.into(), 1),
        (r#"{"ok":[true]}"#.into(), 1),
        (r#"{"ok":null}"#.into(), 1),
        (r#"{"OK":true}"#.into(), 1),
        (format!(r#"{{"ok":true,"x":[{}]}}"#, chain("[]", ",", 600_000)), 0),
    ];
    for (claims, expected) in cases {
        let (code, answer) = explain("assertion.ok", &claims);
        assert_eq!((code, answer["allowed"] == true), (expected, expected == 0), "{}", &claims[..claims.len().min(60)]);
    }
}

/// Tokens that must not pass, most of them signed by the issuer's own key.
fn harmful_tokens(now: i64) -> Vec<String> {
    let kid = &KEY.kid;
    let body = claims(SPACE, now, json!({})).to_string();
    let head = format!(r#"{{"alg":"RS256","typ":"JWT","kid":"{kid}"}}"#);
    let of = |header: &str| KEY.token_of(header, &body);
    let with = |payload: &str| KEY.token_of(&head, payload);
    let good = of(&head);
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let (header, payload) = signed.split_once('.').unwrap();
    let hmac = {
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &KEY.spki());
        let signed = format!("{}.{}", base64url(format!(r#"{{"alg":"HS256","kid":"{kid}"}}"#)), base64url(&body));
        format!("{signed}.{}", base64url(aws_lc_rs::hmac::sign(&key, signed.as_bytes())))
    };
    let small = Signer::new(aws_lc_rs::rsa::KeySize::Rsa2048, kid);
    let mut tokens = vec![
        hmac,
        small.token_of(&head, &body),
        NEXT.token_of(&head, &body),
        of(r#"{"alg":"none"}"#),
        format!("{}.{}.", base64url(r#"{"alg":"none"}"#), base64url(&body)),
        format!("{header}.{payload}."),
        format!("{header}.{payload}.{}", base64url(vec![0; 256])),
        format!("{header}.{payload}.{}", base64url(vec![255; 256])),
        format!("{header}.{payload}.{}", base64url(vec![1; 20_000])),
        format!("{header}.{}.{signature}", base64url(body.replace("acme-data", "other-one"))),
        of(&format!(r#"{{"alg":"RS256","alg":"RS256","kid":"{kid}"}}"#)),
        of(&format!(r#"{{"alg":"RS256","kid":"{kid}","crit":["exp"],"exp":1}}"#)),
        of(&format!(r#"{{"alg":"RS256","kid":"{kid}","b64":false}}"#)),
        of(&format!(r#"{{"alg":"RS256","kid":"{kid}","x5c":[]}}"#)),
        of(&format!(r#"{{"alg":"RS256","kid":"{kid}","x5c":["{}"]}}"#, "A".repeat(9000))),
        of(&format!(r#"{{"alg":"RS256","kid":"{kid}","x5c":["MIIB","MIIB","MIIB"]}}"#)),
        of(&format!(r#"{{"alg":"RS256","kid":"{}"}}"#, "../../../etc/passwd")),
        of(&format!(r#"{{"alg":"RS256","kid":"{}"}}"#, "k".repeat(9000))),
        of(&format!(r#"{{"alg":"RS256","x":{}{}}}"#, "[".repeat(4000), "]".repeat(4000))),
        with(&format!("{}{}", "{\"a\":".repeat(3000), "}".repeat(3000))),
        with(&body.replacen('{', r#"{"exp":9999999999,"#, 1)),
        with(&body.replacen('{', r#"{"secboot":true,"#, 1)),
        with("{}"),
        with("null"),
        with(""),
        with("\u{0}"),
        with(&body.replace("\"iat\"", "\"iat_\"")),
        "a.b.c".into(),
        "..".into(),
        ".".repeat(20_000),
        "eyJ".repeat(10_000),
        format!("{good}{good}"),
        format!("{good}="),
        good.replace('.', ".\u{200b}"),
    ];
    for (claim, value) in [
        ("exp", json!(1e300)),
        ("exp", json!(i64::MAX)),
        ("exp", json!(u64::MAX)),
        ("nbf", json!(i64::MIN)),
        ("iat", json!(-1)),
        ("iss", json!(["https://confidentialcomputing.googleapis.com"])),
        ("aud", json!([[["https://secrets.example.org"]]])),
        ("aud", json!({"https://secrets.example.org": true})),
        ("sub", json!(7)),
    ] {
        tokens.push(KEY.token(&claims(SPACE, now, json!({ claim: value }))));
    }
    tokens
}

#[tokio::test]
async fn tokens_meant_to_do_harm_open_nothing_and_the_program_lives() {
    let mut world = World::new().await;
    world.stop().await;
    let folder = tempfile::tempdir().unwrap();
    let policies = folder.path().join("policies");
    std::fs::create_dir(&policies).unwrap();
    std::fs::write(policies.join("ours.yaml"), POLICY).unwrap();
    let greedy = "audiences: ['https://secrets.example.org']\ncondition: |\n  assertion.list.all(a, assertion.list.all(b, a == b)) || assertion.text.matches('(a?){400}a{400}b')\n";
    std::fs::write(policies.join("greedy.yaml"), greedy).unwrap();
    std::fs::write(folder.path().join("jwks.json"), jwks(&[&KEY])).unwrap();
    let place = |name: &str| folder.path().join(name).display().to_string();
    let settings = [
        ("ATTESTATION_POLICIES", place("policies")),
        ("ATTESTATION_JWKS_FILE", place("jwks.json")),
        ("ATTESTATION_POLICY", "ours,greedy".to_owned()),
        ("ATTESTATION_SECRETS", "db=ours:env:DB_SECRET".to_owned()),
        ("DB_SECRET", "the-super-secret-information".to_owned()),
        ("ATTESTATION_JOURNAL", place("journal.jsonl")),
        ("ATTESTATION_FAILURES_PER_MINUTE", "100000".to_owned()),
    ];
    let pairs: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let mut process = Process::with(&world, &pairs);
    let (verify, secret) =
        (format!("{}/attestation/verify", process.url), format!("{}/attestation/secrets/db", process.url));
    let now = Utc::now().timestamp();
    for token in harmful_tokens(now) {
        let shown = &token.chars().take(60).collect::<String>();
        for address in [&verify, &secret] {
            let answer = world.http.post(address).json(&json!({ "token": token })).send().await.unwrap();
            assert_eq!(answer.status(), 401, "{shown}");
            let text = answer.text().await.unwrap();
            assert!(text.len() < 1000 && !text.contains("super-secret"), "{text}");
        }
        if let Ok(header) = reqwest::header::HeaderValue::from_str(&format!("Bearer {token}")) {
            let answer = world.http.get(&secret).header("authorization", header).send().await;
            // A header past what the server reads is refused as such, or the connection ends.
            let status = answer.map(|answer| answer.status().as_u16());
            assert!(status.as_ref().map_or(true, |status| [400, 401, 431].contains(status)), "{shown}: {status:?}");
        }
    }
    let bodies = ["[".repeat(60_000), "{\"token\":".repeat(5000), "{\"token\":{}}".into(), "{\"token\":null}".into()];
    for body in bodies.into_iter().chain(["{\"token\":\"a\",\"token\":\"b\"}".into(), "x".repeat(48_000)]) {
        let status = world.http.post(&verify).body(body).send().await.unwrap().status().as_u16();
        assert!(matches!(status, 400 | 401 | 413), "{status}");
    }
    let greedy = claims(SPACE, now, json!({"list": vec![1; 5000], "text": "a".repeat(9000)}));
    let asking = (0..4).map(|_| {
        let body = json!({"token": KEY.token(&greedy), "policy": "greedy"});
        let asked = world.http.post(&verify).json(&body).timeout(PATIENCE).send();
        async move { asked.await.unwrap().json::<Json>().await.unwrap() }
    });
    for verdict in futures_util::future::join_all(asking).await {
        assert_eq!((&verdict["allowed"], &verdict["reason"]), (&json!(false), &json!("policy_error")), "{verdict}");
    }
    let good = KEY.token(&claims(SPACE, now, json!({})));
    let answer = world.http.get(&secret).bearer_auth(good).send().await.unwrap();
    assert_eq!(answer.status(), 200, "a good token is served after all that");
    let last = KEY.token(&claims(SPACE, now, json!({"oemid": 1})));
    assert_eq!(world.http.post(&verify).json(&json!({ "token": last })).send().await.unwrap().status(), 200);
    assert_eq!(process.terminate(), Some(0));
    let journal = std::fs::read_to_string(folder.path().join("journal.jsonl")).unwrap();
    let last: Json = serde_json::from_str(journal.lines().last().unwrap()).unwrap();
    assert_eq!((&last["asked"], &last["verdict"]), (&json!("verify"), &json!("allowed")), "the last line is kept");
    assert!(!journal.contains("super-secret") && !journal.contains("eyJ"));
}
