//! The events feed is read completely, whatever its cursors do.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};

use chrono::DateTime;
use serde_json::{Value, json};
use sysdig_scc::sysdig::{Access, Client, Credential, Patience, SysdigError, Window, region};

use crate::fakes::loopback::{Answer, Loopback};
use crate::fakes::sysdig::{Cursors, FakeSysdig, TOKEN};

const SECOND: i64 = 1_000_000_000;

/// 450 events a second apart, of which the window has those from 100 to 350.
fn filled(cursors: Cursors) -> FakeSysdig {
    let sysdig = FakeSysdig::start();
    let mut state = sysdig.state();
    state.cursors = cursors;
    state.page_size = 60;
    for n in 0..450 {
        let at = 1_700_000_000 * SECOND + n * SECOND;
        state.add(&format!("{n:032x}"), at, at);
    }
    drop(state);
    sysdig
}

fn window() -> Window {
    let at = |n: i64| DateTime::from_timestamp(1_700_000_000 + n, 0).unwrap();
    Window { from: at(100), to: at(350) }
}

async fn ids(client: &Client) -> Result<Vec<String>, SysdigError> {
    let mut walk = client.walk(window(), None).at_most(50);
    let mut ids = Vec::new();
    while let Some(page) = walk.next_page().await? {
        for element in page {
            let value: Value = serde_json::from_str(element.get()).unwrap();
            ids.push(value["id"].as_str().unwrap().to_owned());
        }
    }
    Ok(ids)
}

async fn all_in_the_window(sysdig: &FakeSysdig) {
    let ids = ids(&sysdig.client(1)).await.unwrap();
    let expected: BTreeSet<String> = (100..350).map(|n: i64| format!("{n:032x}")).collect();
    assert_eq!(ids.len(), 250, "each once");
    assert_eq!(ids.into_iter().collect::<BTreeSet<_>>(), expected);
}

#[tokio::test]
async fn cursors_may_lead_either_way() {
    for cursors in [Cursors::NextIsOlder, Cursors::PrevIsOlder, Cursors::NextIsNewer] {
        for says_total in [true, false] {
            for public_feed in [true, false] {
                let sysdig = filled(cursors);
                sysdig.state().says_total = says_total;
                sysdig.state().public_feed = public_feed;
                sysdig.state().text_times = !public_feed;
                all_in_the_window(&sysdig).await;
                let calls = sysdig.state().feed_calls;
                assert!(
                    calls <= 9,
                    "{cursors:?} total {says_total} public {public_feed}: {calls} calls for five pages"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_first_page_beyond_the_windows_end_is_on_the_way_to_it() {
    for cursors in [Cursors::NextIsOlder, Cursors::PrevIsOlder, Cursors::NextIsNewer] {
        for (runs_over, says_total) in [(59, true), (60, true), (75, false), (75, true), (200, true)] {
            let sysdig = filled(cursors);
            (sysdig.state().runs_over, sysdig.state().says_total) = (runs_over, says_total);
            all_in_the_window(&sysdig).await;
            let calls = sysdig.state().feed_calls;
            assert!(calls <= 10, "{cursors:?} over {runs_over} total {says_total}: {calls} calls");
        }
    }
}

#[tokio::test]
async fn a_full_page_that_counts_only_itself_is_not_all() {
    for (cursors, public_feed) in [(Cursors::PrevIsOlder, true), (Cursors::NextIsOlder, false)] {
        let sysdig = filled(cursors);
        {
            let mut state = sysdig.state();
            (state.page_size, state.counts_the_page, state.public_feed) = (50, true, public_feed);
        }
        all_in_the_window(&sysdig).await;
    }
}

#[tokio::test]
async fn a_quiet_window_costs_one_call() {
    let sysdig = FakeSysdig::start();
    assert_eq!(ids(&sysdig.client(1)).await.unwrap().len(), 0);
    assert_eq!(sysdig.state().feed_calls, 1);
    let asked = sysdig.server.asked();
    assert_eq!(asked[0].query["from"], "1700000100000000000");
    assert_eq!(asked[0].query["to"], "1700000350000000000");
    assert_eq!(asked[0].query["limit"], "200");
}

#[tokio::test]
async fn an_answer_without_a_page_is_no_quiet_window() {
    for body in [json!({}), json!({"message": "internal error"}), json!({"page": {"total": 250}})] {
        let sysdig = filled(Cursors::NextIsOlder);
        sysdig.state().trouble = [Some(Answer::Json(200, body.clone()))].into();
        assert!(ids(&sysdig.client(1)).await.is_err(), "{body}");
        assert_eq!(ids(&sysdig.client(1)).await.unwrap().len(), 250);
    }
    for body in [json!({"page": {"total": 250}, "data": []}), json!({"page": {"total": 250}, "data": null})] {
        let sysdig = filled(Cursors::NextIsOlder);
        sysdig.state().trouble = [Some(Answer::Json(200, body.clone()))].into();
        assert_eq!(ids(&sysdig.client(1)).await.unwrap().len(), 250, "{body}: asked once more");
        sysdig.state().trouble = vec![Some(Answer::Json(200, body.clone())); 2].into();
        assert_eq!(ids(&sysdig.client(1)).await.unwrap().len(), 0, "{body}: believed in the end");
    }
    let sysdig = FakeSysdig::start();
    sysdig.state().trouble = [Some(Answer::Json(200, json!({"page": {}, "data": null})))].into();
    assert_eq!(ids(&sysdig.client(1)).await.unwrap().len(), 0);
    assert_eq!(sysdig.state().feed_calls, 1);
}

#[tokio::test]
async fn an_empty_page_between_others_is_no_end() {
    let empty = |next: String| Some(Answer::Json(200, json!({"page": {"total": 250, "next": next}, "data": []})));
    let sysdig = filled(Cursors::NextIsOlder);
    sysdig.state().trouble = [None, empty("x160".into()), None, empty("x220".into()), empty("y220".into())].into();
    all_in_the_window(&sysdig).await;

    let sysdig = filled(Cursors::NextIsOlder);
    sysdig.state().counts_the_page = true;
    sysdig.state().trouble = [None, empty("x160".into())].into();
    all_in_the_window(&sysdig).await;

    // However many there are in a row: nothing of the window is given up while the feed counts more and leads on.
    let sysdig = filled(Cursors::NextIsOlder);
    let many = (0..20).map(|n| empty(if n < 19 { format!("y{n}") } else { "x160".into() }));
    sysdig.state().trouble = std::iter::once(None).chain(many).collect();
    all_in_the_window(&sysdig).await;

    let sysdig = filled(Cursors::NextIsOlder);
    sysdig.state().trouble = std::iter::once(None).chain((0..80).map(|n| empty(format!("x{n}")))).collect();
    let error = ids(&sysdig.client(1)).await.unwrap_err();
    assert!(matches!(error, SysdigError::TooManyPages { pages: 50 }), "not for ever, and not in silence: {error}");

    let sysdig = filled(Cursors::NextIsOlder);
    sysdig.state().trouble = std::iter::once(None).chain((0..80).map(|_| empty("x160".into()))).collect();
    assert_eq!(ids(&sysdig.client(1)).await.unwrap().len(), 60, "a circle of empty pages");
    assert!(sysdig.state().feed_calls <= 4, "{}", sysdig.state().feed_calls);

    let sysdig = filled(Cursors::NextIsOlder);
    sysdig.state().trouble = [None, Some(Answer::Json(200, json!({"page": {"total": 250}, "data": []})))].into();
    assert_eq!(ids(&sysdig.client(1)).await.unwrap().len(), 60, "nothing leads on");
}

#[tokio::test]
async fn a_cursor_that_is_gone_is_nobodys_setting() {
    for status in [400, 404, 410, 422] {
        let gone = || Some(Answer::Json(status, json!({"message": "cursor expired"})));
        let sysdig = filled(Cursors::NextIsOlder);
        sysdig.state().trouble = [None, gone()].into();
        let error = ids(&sysdig.client(4)).await.unwrap_err();
        assert!(error.is_transient() && error.to_string().contains("cursor expired"), "{error}");
        assert_eq!(ids(&sysdig.client(1)).await.unwrap().len(), 250, "the window is read anew");
        sysdig.state().trouble = [gone()].into();
        assert!(!ids(&sysdig.client(4)).await.unwrap_err().is_transient(), "{status} of a first page");
    }
}

#[tokio::test]
async fn a_circle_ends_and_so_does_an_endless_chain_of_repeats() {
    for cursors in [Cursors::Circle, Cursors::Endless] {
        let sysdig = filled(cursors);
        let found = ids(&sysdig.client(1)).await.unwrap();
        assert_eq!(found.len(), 60, "{cursors:?}");
        assert!(sysdig.state().feed_calls <= 7);
    }
}

#[tokio::test]
async fn an_installation_without_the_public_feed_is_asked_by_the_older_one_and_not_again_by_the_first() {
    let sysdig = filled(Cursors::PrevIsOlder);
    sysdig.state().public_feed = false;
    let client = sysdig.client(1);
    ids(&client).await.unwrap();
    ids(&client).await.unwrap();
    let public = sysdig.server.asked().iter().filter(|asked| asked.path.starts_with("/secure/")).count();
    assert_eq!(public, 1);
}

#[tokio::test]
async fn a_public_feed_that_answered_is_not_given_up_for_a_404() {
    let sysdig = filled(Cursors::NextIsOlder);
    let client = sysdig.client(1);
    ids(&client).await.unwrap();
    sysdig.state().trouble = [Some(Answer::Text(404, "<html>nginx</html>"))].into();
    assert!(ids(&client).await.unwrap_err().is_not_found());
    assert_eq!(ids(&client).await.unwrap().len(), 250);
    assert!(sysdig.server.asked().iter().all(|asked| asked.path.starts_with("/secure/")));
}

#[tokio::test]
async fn an_older_feed_that_is_gone_makes_way_for_the_public_one() {
    let sysdig = filled(Cursors::PrevIsOlder);
    sysdig.state().public_feed = false;
    let client = sysdig.client(1);
    ids(&client).await.unwrap();
    sysdig.state().public_feed = true;
    sysdig.state().cursors = Cursors::NextIsOlder;
    assert!(ids(&client).await.unwrap_err().is_not_found());
    assert_eq!(ids(&client).await.unwrap().len(), 250);
}

#[tokio::test]
async fn a_short_trouble_is_sat_out() {
    let sysdig = filled(Cursors::NextIsOlder);
    let again = |code| Some(Answer::With(code, vec![("Retry-After", "0".into())], json!({"message": "slowly"})));
    sysdig.state().trouble = [
        again(429),
        None,
        again(503),
        Some(Answer::Text(200, "<html>a proxy's page</html>")),
        None,
        Some(Answer::Text(502, "bad gateway")),
    ]
    .into();
    assert_eq!(ids(&sysdig.client(4)).await.unwrap().len(), 250);
}

#[tokio::test]
async fn a_hang_ends_in_time_and_says_so() {
    let sysdig = filled(Cursors::NextIsOlder);
    sysdig.state().trouble = [Some(Answer::Hang)].into();
    let error = ids(&sysdig.client(1)).await.unwrap_err();
    assert_eq!((error.label(), error.is_transient()), ("timeout", true));
    assert!(!format!("{error:?} {error}").contains(TOKEN));
}

#[tokio::test]
async fn a_long_wait_is_the_callers_business() {
    let sysdig = filled(Cursors::NextIsOlder);
    sysdig.state().trouble = [Some(Answer::With(429, vec![("Retry-After", "600".into())], json!({})))].into();
    let error = ids(&sysdig.client(4)).await.unwrap_err();
    assert!(error.is_rate_limit());
    assert_eq!(error.retry_after(), Some(std::time::Duration::from_secs(600)));
    assert_eq!(sysdig.state().feed_calls, 1);
}

#[tokio::test]
async fn a_refusal_names_the_reason_but_never_the_token() {
    let sysdig = filled(Cursors::NextIsOlder);
    let echo = json!({"errors": [{"reason": "Forbidden", "message": format!("{TOKEN} lacks policy-events.read")}]});
    sysdig.state().trouble = [Some(Answer::Json(403, echo))].into();
    let error = ids(&sysdig.client(4)).await.unwrap_err();
    assert_eq!(error.label(), "permission");
    assert_eq!(error.to_string(), "the events feed was answered with 403: Forbidden: [token] lacks policy-events.read");
    assert_eq!(sysdig.state().feed_calls, 1, "asking again does not help");
}

#[tokio::test]
async fn an_exchanged_token_that_an_answer_repeats_is_not_told_either() {
    // The first token is refused; the answer to the call with the second one repeats both.
    let exchanges = AtomicU32::new(0);
    let iam = Loopback::start(move |_| {
        let token = format!("iam-token-{}", exchanges.fetch_add(1, Ordering::Relaxed) % 2);
        Answer::Json(200, json!({"access_token": token, "expires_in": 3600}))
    });
    for (status, html) in [(403, false), (403, true), (200, true)] {
        let sysdig = Loopback::start(move |asked| match asked.header("authorization") {
            "Bearer iam-token-0" => Answer::Json(401, json!({})),
            word if html => Answer::Bytes(status, format!("<p>{word} iam-token-0</p>").into_bytes()),
            word => Answer::Json(status, json!({"message": format!("{word} iam-token-0")})),
        });
        let error = format!("{:?}", ids(&of_ibm(&sysdig, &iam)).await.unwrap_err());
        assert!(error.contains("[token] [token]") && !error.contains("iam-token"), "{error}");
    }
}

/// One attempt a call, with a token that this IAM exchanges.
fn of_ibm(sysdig: &Loopback, iam: &Loopback) -> Client {
    let credential = Credential::Ibm {
        api_key: "key-1".to_owned().into(),
        instance: "i".into(),
        team: None,
        iam: iam.url.parse().unwrap(),
    };
    let access = Access { base: region::base_url(&sysdig.url).unwrap(), credential };
    Client::new(access, Patience { attempts: 1, ..Patience::default() }).unwrap()
}

#[tokio::test]
async fn an_exchange_is_not_answered_with_whatever_one_likes() {
    let sysdig = Loopback::start(|_| Answer::Json(200, json!({})));
    for (padding, expected) in [(0, "holds no access_token"), (70_000, "answered with more than 65536 bytes")] {
        let iam = Loopback::start(move |_| Answer::Json(200, json!({"padding": "x".repeat(padding)})));
        let error = ids(&of_ibm(&sysdig, &iam)).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
    assert!(sysdig.asked().is_empty());
}
