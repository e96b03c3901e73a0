//! What the sandbox refuses as Security Command Center does: calls from where a finding is not, parameters of another
//! version, members of a wrong type, masks with unknown paths.

use reqwest::Method;
use serde_json::{Value, json};

use crate::sandbox::{FINDINGS, NOW, Stage, V1_FINDINGS, shell, status};

const SOURCE: &str = "sources/5629499534213120001";

/// The names of the fields that a refusal is about.
fn fields(answer: &Value) -> Vec<&str> {
    let violations = answer["error"]["details"][0]["fieldViolations"].as_array();
    violations.into_iter().flatten().filter_map(|violation| violation["field"].as_str()).collect()
}

#[tokio::test]
async fn a_bulk_mutes_and_clears_by_name_and_number() {
    let stage = Stage::new().await;
    stage.create("f1", shell()).await;
    let bulk = |version: &str| format!("/{version}/organizations/123456789012/findings:bulkMute");
    // version, body, how the finding stands after it
    let table = [
        ("v2", json!({}), "MUTED"),
        ("v2", json!({"muteState": 2}), "UNDEFINED"),
        ("v2", json!({"muteState": 1}), "MUTED"),
        ("v2", json!({"mute_state": "UNDEFINED"}), "UNDEFINED"),
        ("v2", json!({"muteState": "MUTE_STATE_UNSPECIFIED"}), "MUTED"),
        ("v1", json!({"muteState": "UNDEFINED", "muteAnnotation": "by me"}), "UNDEFINED"),
        ("v2", json!({"muteState": 0}), "MUTED"),
        ("v1", json!({"muteState": 2, "filter": "severity=\"HIGH\""}), "UNDEFINED"),
    ];
    for (version, body, mute) in table {
        let (code, answer) = stage.post(&bulk(version), body.clone()).await;
        assert_eq!((code, &answer["done"]), (200, &json!(true)), "{version} {body}: {answer}");
        assert_eq!(stage.listed("").await[0]["finding"]["mute"], mute, "{version} {body}");
    }
    let refused = [
        json!({"muteState": "UNMUTED"}),
        json!({"muteState": "MUTE_UNSPECIFIED"}),
        json!({"muteState": 3}),
        json!({"muteState": true}),
        json!({"muteAnnotation": "by me"}),
    ];
    for body in refused {
        let (code, answer) = stage.post(&bulk("v2"), body.clone()).await;
        assert_eq!((code, status(&answer)), (400, "INVALID_ARGUMENT"), "{body}");
        assert!(fields(&answer)[0].starts_with("mute"), "{answer}");
    }
    assert_eq!(stage.listed("").await[0]["finding"]["mute"], "UNDEFINED");
}

#[tokio::test]
async fn a_finding_is_changed_only_from_where_it_lies() {
    let stage = Stage::new().await;
    stage.create("f1", shell()).await;
    let mut in_folder = shell();
    in_folder["resourceName"] = json!("//cloudresourcemanager.googleapis.com/folders/7");
    stage.create("f2", in_folder).await;
    // parent, which of the two findings is there
    let table = [
        ("organizations/123456789012", [true, true]),
        ("projects/shop", [true, false]),
        ("projects/other", [false, false]),
        ("projects/sho", [false, false]),
        ("folders/7", [false, true]),
        ("folders/77", [false, false]),
        ("organizations/777", [false, false]),
    ];
    for (parent, seen) in table {
        for (version, at) in [("v2", "/locations/global"), ("v2", ""), ("v1", "")] {
            for (id, seen) in ["f1", "f2"].into_iter().zip(seen) {
                let findings = format!("/{version}/{parent}/{SOURCE}{at}/findings");
                let one = format!("{findings}/{id}");
                let state = json!({"state": "ACTIVE", "startTime": NOW});
                let state = if version == "v1" { state } else { json!({"state": "ACTIVE"}) };
                let mask = format!("{one}?updateMask=description,event_time");
                let change = json!({"description": "x", "eventTime": "2026-11-20T11:00:00Z"});
                let calls = [
                    (Method::POST, format!("{one}:setState"), state),
                    (Method::POST, format!("{one}:setMute"), json!({"mute": "MUTED"})),
                    (Method::PATCH, format!("{one}/securityMarks"), json!({"marks": {"a": "b"}})),
                    (Method::PATCH, format!("{one}/externalSystems/jira"), json!({"status": "open"})),
                    (Method::PATCH, mask, change),
                ];
                let count = calls.len();
                for (nth, (method, path, body)) in calls.into_iter().enumerate() {
                    let (code, answer) = stage.call(method, &path, body).await;
                    // The last one is refused for its time once it was done, which shows that the finding is there.
                    let right = if seen { code == 200 || (nth + 1 == count && code == 400) } else { code == 404 };
                    assert!(right, "{path}: {answer}");
                }
                let (code, listed) = stage.get(&format!("{findings}?filter=name%3A%22{id}%22")).await;
                let found = code == 200 && listed["totalSize"] == 1;
                assert_eq!(found, seen, "{findings} {id}: {listed}");
            }
        }
    }
}

#[tokio::test]
async fn a_finding_is_made_by_patch_only_where_it_lies() {
    let stage = Stage::new().await;
    let nowhere = json!({"category": "c", "eventTime": "2026-11-20T10:00:00Z"});
    for (parent, body, expected) in [
        ("projects/other", shell(), 404),
        ("folders/1", shell(), 404),
        ("projects/shop", nowhere.clone(), 404),
        ("projects/shop", shell(), 200),
        ("organizations/123456789012", nowhere, 200),
    ] {
        let path = format!("/v2/{parent}/{SOURCE}/locations/global/findings/n{}", parent.len());
        let (code, answer) = stage.patch(&path, body).await;
        assert_eq!(code, expected, "{path}: {answer}");
    }
    assert_eq!(stage.listed("").await.len(), 2);
}

#[tokio::test]
async fn one_source_is_there_under_its_organization_only() {
    let stage = Stage::new().await;
    for version in ["v1", "v2"] {
        for (parent, code) in [("organizations/123456789012", 200), ("folders/1", 404), ("projects/x", 404)] {
            let source = format!("/{version}/{parent}/{SOURCE}");
            let asked = json!({"permissions": ["securitycenter.findings.update"]});
            assert_eq!(stage.get(&source).await.0, code, "{source}");
            assert_eq!(stage.patch(&format!("{source}?updateMask=description"), json!({})).await.0, code, "{source}");
            assert_eq!(stage.post(&format!("{source}:getIamPolicy"), json!({})).await.0, code, "{source}");
            assert_eq!(stage.post(&format!("{source}:setIamPolicy"), json!({"policy": {}})).await.0, code, "{source}");
            assert_eq!(stage.post(&format!("{source}:testIamPermissions"), asked).await.0, code, "{source}");
            assert_eq!(stage.get(&format!("/{version}/{parent}/sources")).await.0, 200, "{parent} lists sources");
        }
    }
}

#[tokio::test]
async fn what_only_v1_has_is_unknown_in_v2() {
    let stage = Stage::new().await;
    stage.create("f1", shell()).await;
    let none = Value::Null;
    let group = json!({"groupBy": "state", "readTime": NOW, "compareDuration": "1s"});
    let state = json!({"state": "ACTIVE", "startTime": NOW});
    let table = [
        (Method::GET, "?compareDuration=86400s".to_owned(), none.clone(), "compareDuration"),
        (Method::GET, format!("?read_time={NOW}"), none, "read_time"),
        (Method::POST, ":group".to_owned(), group, "readTime"),
        (Method::POST, "/f1:setState".to_owned(), state, "startTime"),
        (Method::PATCH, format!("/f1/securityMarks?startTime={NOW}"), json!({"marks": {"a": "b"}}), "startTime"),
    ];
    for (method, path, body, field) in table {
        let (code, answer) = stage.call(method.clone(), &format!("{V1_FINDINGS}{path}"), body.clone()).await;
        assert_eq!(code, 200, "{path}: {answer}");
        let (code, answer) = stage.call(method, &format!("{FINDINGS}{path}"), body).await;
        assert_eq!((code, status(&answer)), (400, "INVALID_ARGUMENT"), "{path}");
        assert!(fields(&answer).contains(&field), "{path}: {answer}");
    }
}

#[tokio::test]
async fn a_wrong_type_in_a_request_is_named_and_nothing_is_done() {
    let stage = Stage::new().await;
    stage.create("f1", shell()).await;
    let source = FINDINGS.strip_suffix("/locations/global/findings").unwrap();
    let (group, mute) = (format!("{FINDINGS}:group"), format!("{FINDINGS}/f1:setMute"));
    let (state, sources) = (format!("{FINDINGS}/f1:setState"), source.strip_suffix("/5629499534213120001").unwrap());
    let bulk = "/v2/organizations/123456789012/locations/global/findings:bulkMute";
    let (ask, set) = (format!("{source}:testIamPermissions"), format!("{source}:setIamPolicy"));
    let get = format!("{source}:getIamPolicy");
    let table = [
        (bulk, json!({"filter": 5}), "filter"),
        (bulk, json!({"filter": ["severity=\"HIGH\""]}), "filter"),
        (&group, json!({"groupBy": "state", "filter": 5}), "filter"),
        (&group, json!({"groupBy": "state", "pageSize": "x"}), "pageSize"),
        (&group, json!({"groupBy": "state", "pageToken": 7}), "pageToken"),
        (&group, json!({"groupBy": ["state"]}), "groupBy"),
        (&mute, json!({"mute": 5}), "mute"),
        (&mute, json!({"mute": "muted"}), "mute"),
        (&mute, json!({"mute": 0}), "mute"),
        (&mute, json!({"mute": null}), "mute"),
        (&mute, json!({"mute": "MUTED", "name": 5}), "name"),
        (&state, json!({"state": 5}), "state"),
        (&state, json!({"state": {"a": 1}}), "state"),
        (&state, json!({}), "state"),
        (&ask, json!({"permissions": "securitycenter.findings.update"}), "permissions"),
        (&ask, json!({"permissions": [5]}), "permissions[0]"),
        (&set, json!({"policy": []}), "policy"),
        (&set, json!({"policy": {"bindings": [{"role": 5}]}}), "policy.bindings[0].role"),
        (&set, json!({"policy": {"version": "x"}}), "policy.version"),
        (&get, json!({"options": 5}), "options"),
        (sources, json!({"displayName": 5}), "source.displayName"),
        (sources, json!({"displayName": "x", "name": 5}), "source.name"),
    ];
    let before = stage.listed("").await;
    for (path, body, field) in table {
        let (code, answer) = stage.post(path, body.clone()).await;
        assert_eq!((code, status(&answer)), (400, "INVALID_ARGUMENT"), "{path} {body}");
        assert_eq!(answer["error"]["details"][0]["@type"], "type.googleapis.com/google.rpc.BadRequest");
        assert_eq!(fields(&answer), [field], "{path} {body}");
    }
    assert_eq!(stage.listed("").await, before);
    let (code, marks) = stage.patch(&format!("{FINDINGS}/f1/securityMarks"), json!({"marks": {"a": 5}})).await;
    assert_eq!((code, fields(&marks)[0].contains("marks")), (400, true), "{marks}");
    let good = json!({"groupBy": "state", "pageSize": "7", "filter": null});
    assert_eq!(stage.post(&group, good).await.0, 200);
}

#[tokio::test]
async fn a_field_mask_keeps_the_keys_of_maps_and_knows_every_path() {
    let stage = Stage::new().await;
    stage.create("f1", shell()).await;
    stage.patch(&format!("{FINDINGS}/f1/securityMarks"), json!({"marks": {"my_key": "v", "b": "w"}})).await;
    let mask = async |path: &str| stage.get(&format!("{FINDINGS}?fieldMask={path}")).await;
    for path in ["finding.securityMarks.marks.my_key", "security_marks.marks.myKey"] {
        let (_, listed) = mask(path).await;
        let expected = json!({"finding": {"securityMarks": {"marks": {"my_key": "v"}}}});
        assert_eq!(listed["listFindingsResults"][0], expected, "{path}");
    }
    for path in ["finding.kubernetes.nosuch", "finding.severity.x", "resource.nosuch", "name,nosuch", "stateChange"] {
        let (code, answer) = mask(path).await;
        let named = path.rsplit(',').next().unwrap();
        assert_eq!((code, fields(&answer)), (400, vec!["field_mask"]), "{path}");
        assert!(answer["error"]["message"].as_str().unwrap().contains(named), "{path}: {answer}");
    }
    let jira = format!("{FINDINGS}/f1/externalSystems/jira");
    let ticket = json!({"status": "open", "ticketInfo": {"id": "1", "status": "new"}});
    assert_eq!(stage.patch(&jira, ticket).await.0, 200);
    let change = json!({"ticketInfo": {"id": "2", "status": "done"}});
    let (_, changed) = stage.patch(&format!("{jira}?updateMask=ticket_info.status"), change).await;
    assert_eq!((&changed["ticketInfo"], &changed["status"]), (&json!({"id": "1", "status": "done"}), &json!("open")));
    for path in ["nosuch", "ticketInfo.nosuch", "status.x"] {
        assert_eq!(stage.patch(&format!("{jira}?updateMask={path}"), json!({})).await.0, 400, "{path}");
    }
    let (_, listed) = stage.get(&format!("{V1_FINDINGS}?fieldMask=stateChange,resource.project_name")).await;
    let resource = json!({"projectName": "//cloudresourcemanager.googleapis.com/projects/shop"});
    assert_eq!(listed["listFindingsResults"][0], json!({"stateChange": "UNUSED", "resource": resource}));
}

#[tokio::test]
async fn groups_name_what_an_unset_enum_is() {
    let stage = Stage::new().await;
    stage.create("f1", json!({"category": "c", "eventTime": NOW})).await;
    let table = [
        ("severity", "SEVERITY_UNSPECIFIED"),
        ("finding_class", "FINDING_CLASS_UNSPECIFIED"),
        ("mitre_attack.primary_tactic", "TACTIC_UNSPECIFIED"),
        ("state", "ACTIVE"),
        ("mute", "UNDEFINED"),
        ("category", "c"),
        ("external_uri", ""),
    ];
    for (name, expected) in table {
        let (code, groups) = stage.post(&format!("{FINDINGS}:group"), json!({"groupBy": name})).await;
        let one = json!({"properties": {name: expected}, "count": "1"});
        assert_eq!((code, &groups["groupByResults"]), (200, &json!([one])), "{name}: {groups}");
    }
}
