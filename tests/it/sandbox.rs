//! The sandbox over real HTTP: what Security Command Center documents, held to the letter.

use std::io::{BufRead, BufReader};

use chrono::TimeDelta;
use reqwest::{Client, Method, Response};
use serde_json::{Value, json};
use sysdig_scc::sandbox::{self, Bounds, Clock, DEFAULT_SOURCE, Hand, Quotas, Running, SandboxError, Settings, V1};

pub(crate) const NOW: &str = "2026-11-20T12:00:00Z";
pub(crate) const FINDINGS: &str =
    "/v2/organizations/123456789012/sources/5629499534213120001/locations/global/findings";
pub(crate) const V1_FINDINGS: &str = "/v1/organizations/123456789012/sources/5629499534213120001/findings";

/// A sandbox whose clock stands still, and a client.
pub(crate) struct Stage {
    pub(crate) running: Running,
    client: Client,
    hand: Hand,
}

impl Stage {
    pub(crate) async fn new() -> Self {
        Self::with(Settings::on_free_port()).await
    }

    pub(crate) async fn with(settings: Settings) -> Self {
        let (clock, hand) = Clock::by_hand(NOW.parse().unwrap());
        let running = sandbox::start(Settings { clock, ..settings }).await.unwrap();
        Self { running, client: Client::builder().no_proxy().build().unwrap(), hand }
    }

    pub(crate) async fn send(&self, method: Method, path: &str, body: Option<Value>) -> Response {
        let request = self.client.request(method, format!("{}{path}", self.running.url()));
        let request = match body {
            Some(body) => request.json(&body),
            None => request,
        };
        request.send().await.unwrap()
    }

    pub(crate) async fn call(&self, method: Method, path: &str, body: Value) -> (u16, Value) {
        let body = if method == Method::GET { None } else { Some(body) };
        let response = self.send(method, path, body).await;
        assert!(response.headers()["x-sandbox"].to_str().unwrap().contains("not Google"));
        (response.status().as_u16(), response.json().await.unwrap())
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        self.call(Method::GET, path, Value::Null).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        self.call(Method::POST, path, body).await
    }

    pub(crate) async fn patch(&self, path: &str, body: Value) -> (u16, Value) {
        self.call(Method::PATCH, path, body).await
    }

    pub(crate) async fn create(&self, id: &str, body: Value) -> (u16, Value) {
        self.post(&format!("{FINDINGS}?findingId={id}"), body).await
    }

    pub(crate) async fn listed(&self, query: &str) -> Vec<Value> {
        let (code, body) = self.get(&format!("{FINDINGS}?{query}")).await;
        assert_eq!(code, 200, "{body}");
        body["listFindingsResults"].as_array().unwrap().clone()
    }
}

pub(crate) fn shell() -> Value {
    json!({"state": "ACTIVE", "category": "Terminal shell in container", "severity": "HIGH", "findingClass": "THREAT",
        "resourceName": "//container.googleapis.com/projects/shop/locations/europe-west3/clusters/main",
        "eventTime": "2026-11-20T10:15:42.117Z",
        "processes": [{"name": "bash", "binary": {"path": "/bin/bash"}, "pid": "4711"}],
        "mitreAttack": {"primaryTactic": "EXECUTION", "primaryTechniques": ["UNIX_SHELL"]},
        "sourceProperties": {"rule_type": "RUNTIME", "Pod_Name": "web-6c9", "n": 7}})
}

pub(crate) fn status(body: &Value) -> &str {
    body["error"]["status"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn a_created_finding_is_completed_and_can_be_read_back() {
    let stage = Stage::new().await;
    let (code, finding) = stage.create("f1", shell()).await;
    assert_eq!(code, 200, "{finding}");
    let parent = &FINDINGS[4..FINDINGS.len() - "/findings".len()];
    assert_eq!(finding["name"], format!("{parent}/findings/f1"));
    assert_eq!(finding["parent"], parent);
    let canonical = format!("projects/shop/sources/{DEFAULT_SOURCE}/locations/global/findings/f1");
    assert_eq!(finding["canonicalName"], canonical);
    assert_eq!(finding["createTime"], NOW);
    assert_eq!((&finding["state"], &finding["mute"]), (&json!("ACTIVE"), &json!("UNDEFINED")));
    assert_eq!(finding["parentDisplayName"], "Sysdig Secure");
    assert_eq!(finding["securityMarks"]["name"], format!("{parent}/findings/f1/securityMarks"));
    assert_eq!(finding["processes"][0]["pid"], "4711");
    let listed = stage.listed("").await;
    assert_eq!(listed[0]["finding"], finding);
    assert_eq!(listed[0]["resource"]["gcpMetadata"]["projectDisplayName"], "shop");
}

#[tokio::test]
async fn a_second_create_of_an_id_is_a_conflict() {
    let stage = Stage::new().await;
    assert_eq!(stage.create("f1", shell()).await.0, 200);
    let (code, body) = stage.create("f1", shell()).await;
    assert_eq!((code, status(&body), &body["error"]["code"]), (409, "ALREADY_EXISTS", &json!(409)));
    let (_, stats) = stage.get("/sandbox/stats").await;
    assert_eq!((&stats["created"], &stats["duplicates"]), (&json!(1), &json!(1)));
    assert_eq!(stats["calls"]["findings.create"], json!({"200": 1, "409": 1}));
}

#[tokio::test]
async fn json_is_read_as_proto3_says() {
    let stage = Stage::new().await;
    let body = json!({"state": 1, "category": "c", "severity": 2, "finding_class": "THREAT",
        "resource_name": "//x/y", "event_time": "2026-11-20T12:00:00.123456789+02:00", "description": null,
        "name": "whatever", "createTime": "1999-01-01T00:00:00Z", "contacts": {}, "externalSystems": {},
        "processes": [{"pid": 4711, "parent_pid": "1"}], "connections": [{"destinationPort": "443", "protocol": 6}]});
    let (code, finding) = stage.create("f1", body).await;
    assert_eq!(code, 200, "{finding}");
    assert_eq!((&finding["state"], &finding["severity"]), (&json!("ACTIVE"), &json!("HIGH")));
    assert_eq!(finding["eventTime"], "2026-11-20T10:00:00.123456789Z");
    assert_eq!(finding["createTime"], NOW);
    assert_eq!(finding["processes"], json!([{"pid": "4711", "parentPid": "1"}]));
    assert_eq!(finding["connections"], json!([{"destinationPort": 443, "protocol": "TCP"}]));
    assert!(finding.get("contacts").is_none() && finding.get("description").is_none());
}

#[tokio::test]
async fn what_is_wrong_in_a_finding_is_named() {
    let stage = Stage::new().await;
    let table = [
        (json!({"nonsense": 1}), "nonsense"),
        (json!({"processes": [{"nam": "bash"}]}), "finding.processes[0].nam"),
        (json!({"severity": "INFO"}), "finding.severity"),
        (json!({"mitreAttack": {"primaryTechniques": ["PRE_OS_BOOT"]}}), "finding.mitreAttack.primaryTechniques[0]"),
        (json!({"category": 7}), "finding.category"),
        (json!({"processes": {"name": "bash"}}), "finding.processes"),
        (json!({"processes": [{"pid": "1.5"}]}), "finding.processes[0].pid"),
        (json!({"eventTime": "yesterday"}), "finding.eventTime"),
        (json!({"eventTime": "2026-11-20T12:00:01Z"}), "finding.event_time"),
        (json!({"externalUri": "not a uri"}), "finding.external_uri"),
        (json!({"sourceProperties": {"a.b": 1}}), "finding.source_properties"),
        (json!({"sourceProperties": {"1a": 1}}), "finding.source_properties"),
        (json!({"eventTime": NOW, "event_time": NOW}), "finding.event"),
    ];
    for (body, field) in table {
        let (code, answer) = stage.create("f1", body.clone()).await;
        assert_eq!((code, status(&answer)), (400, "INVALID_ARGUMENT"), "{body}");
        let detail = &answer["error"]["details"][0];
        assert_eq!(detail["@type"], "type.googleapis.com/google.rpc.BadRequest");
        assert!(detail["fieldViolations"][0]["field"].as_str().unwrap().contains(field), "{body}: {answer}");
    }
    for id in ["", "a-b", "0123456789abcdef0123456789abcdef0", "ä"] {
        assert_eq!(stage.create(id, shell()).await.0, 400, "{id}");
    }
    let (code, answer) = stage.post("/v2/organizations/123456789012/sources/99/findings?findingId=a", shell()).await;
    assert_eq!((code, status(&answer)), (404, "NOT_FOUND"));
    assert_eq!(stage.post("/v2/projects/p/sources/99/findings?findingId=a", shell()).await.0, 400);
    let raw = stage.client.post(format!("{}{FINDINGS}?findingId=a", stage.running.url())).body("{\"a\":");
    assert_eq!(raw.send().await.unwrap().status(), 400);
}

#[tokio::test]
async fn a_patch_changes_what_its_mask_names_and_nothing_else() {
    let stage = Stage::new().await;
    stage.create("f1", shell()).await;
    let one = |mask: &str| format!("{FINDINGS}/f1?updateMask={mask}");
    let change = json!({"state": "STATE_UNSPECIFIED", "severity": "LOW", "eventTime": "2026-11-20T11:00:00Z",
        "externalUri": "https://e/x", "sourceProperties": {"rule_type": "z", "q": 1}});
    let (code, finding) = stage.patch(&one("eventTime%2Cexternal_uri,source_properties.rule_type"), change).await;
    assert_eq!(code, 200, "{finding}");
    assert_eq!((&finding["state"], &finding["severity"]), (&json!("ACTIVE"), &json!("HIGH")));
    assert_eq!(finding["externalUri"], "https://e/x");
    assert_eq!(finding["sourceProperties"], json!({"rule_type": "z", "Pod_Name": "web-6c9", "n": 7}));
    let refused = [
        (one("severity"), json!({"severity": "LOW", "eventTime": "2026-11-20T11:30:00Z"})),
        (one("severity,event_time"), json!({"severity": "LOW", "eventTime": "2026-11-20T11:00:00Z"})),
        (one("severity,event_time"), json!({"severity": "LOW"})),
        (one("category,event_time"), json!({"category": "x", "eventTime": "2026-11-20T11:30:00Z"})),
        (one("nope,event_time"), json!({"eventTime": "2026-11-20T11:30:00Z"})),
        (one("state,event_time"), json!({"eventTime": "2026-11-20T11:30:00Z"})),
        (format!("{FINDINGS}/missing?updateMask=severity,event_time"), json!({"eventTime": NOW})),
    ];
    for (path, body) in refused {
        let (code, answer) = stage.patch(&path, body).await;
        assert_eq!((code, status(&answer)), (400, "INVALID_ARGUMENT"), "{path}");
    }
    let closed = json!({"state": "INACTIVE", "eventTime": "2026-11-20T11:30:00Z"});
    assert_eq!(stage.patch(&one("state,event_time"), closed).await.1["state"], "INACTIVE");
}

#[tokio::test]
async fn a_patch_without_a_mask_creates_or_replaces() {
    let stage = Stage::new().await;
    let path = format!("{FINDINGS}/up1");
    assert_eq!(stage.patch(&path, shell()).await.0, 200);
    stage.post(&format!("{path}:setMute"), json!({"mute": "MUTED"})).await;
    let again = json!({"category": "Other", "resourceName": "//x/y", "severity": "LOW",
        "eventTime": "2026-11-20T11:00:00Z", "sourceProperties": {"only": true}});
    let (code, finding) = stage.patch(&path, again).await;
    assert_eq!(code, 200, "{finding}");
    assert_eq!(finding["category"], "Terminal shell in container");
    assert_eq!(finding["sourceProperties"], json!({"only": true}));
    assert_eq!((&finding["severity"], &finding["mute"]), (&json!("LOW"), &json!("MUTED")));
    assert!(finding.get("processes").is_none());
}

#[tokio::test]
async fn the_event_time_rule_can_be_switched_off() {
    let stage = Stage::with(Settings { strict_event_time: false, ..Settings::on_free_port() }).await;
    stage.create("f1", shell()).await;
    let (code, _) = stage.patch(&format!("{FINDINGS}/f1?updateMask=severity"), json!({"severity": "LOW"})).await;
    assert_eq!(code, 200);
}

#[tokio::test]
async fn state_mute_marks_and_external_systems_have_their_own_calls() {
    let stage = Stage::new().await;
    stage.create("f1", shell()).await;
    let one = format!("{FINDINGS}/f1");
    let (code, finding) = stage.post(&format!("{one}:setState"), json!({"state": "INACTIVE"})).await;
    assert_eq!((code, &finding["state"]), (200, &json!("INACTIVE")));
    assert_eq!(stage.post(&format!("{one}:setState"), json!({"state": "OPEN"})).await.0, 400);
    assert_eq!(stage.post(&format!("{FINDINGS}/nope:setState"), json!({"state": "ACTIVE"})).await.0, 404);
    let (_, finding) = stage.post(&format!("{one}:setMute"), json!({"mute": 1})).await;
    assert_eq!((&finding["mute"], &finding["muteUpdateTime"]), (&json!("MUTED"), &json!(NOW)));
    let marks = format!("{one}/securityMarks");
    let (_, set) = stage.patch(&marks, json!({"marks": {"a": " 1 ", "b": "2"}})).await;
    assert_eq!(set["marks"], json!({"a": "1", "b": "2"}));
    let (_, set) = stage.patch(&format!("{marks}?updateMask=marks.a,marks.c"), json!({"marks": {"c": "3"}})).await;
    assert_eq!(set["marks"], json!({"b": "2", "c": "3"}));
    let (_, set) = stage.patch(&marks, json!({"marks": {"d": "4"}})).await;
    assert_eq!(set["marks"], json!({"d": "4"}));
    assert_eq!(stage.patch(&marks, json!({"marks": {"a b": "4"}})).await.0, 400);
    let system = json!({"externalUid": "T-1", "status": "open", "assignees": ["ann"]});
    let (code, set) = stage.patch(&format!("{one}/externalSystems/jira"), system).await;
    assert_eq!(code, 200, "{set}");
    let masked =
        stage.patch(&format!("{one}/externalSystems/jira?updateMask=status"), json!({"status": "done"})).await.1;
    assert_eq!((&masked["status"], &masked["externalUid"]), (&json!("done"), &json!("T-1")));
    let found = stage.listed("filter=security_marks.marks.d%3D%224%22").await;
    assert_eq!(found[0]["finding"]["externalSystems"]["jira"]["status"], "done");
}

#[tokio::test]
async fn keys_of_marks_have_no_case() {
    let stage = Stage::new().await;
    stage.create("f0", json!({})).await;
    let marks = format!("{FINDINGS}/f0/securityMarks");
    stage.patch(&marks, json!({"marks": {"ACK": "true"}})).await;
    for key in ["ACK", "ack", "Ack"] {
        let filter = format!("filter=security_marks.marks.{key}%3D%22true%22");
        assert_eq!(stage.listed(&filter).await.len(), 1, "{key}");
    }
    let (_, set) = stage.patch(&format!("{marks}?updateMask=marks.ACK"), json!({"marks": {"ack": "no"}})).await;
    assert_eq!(set["marks"], json!({"ack": "no"}));
    let (_, set) = stage.patch(&format!("{marks}?updateMask=marks.ACK"), json!({"marks": {}})).await;
    assert!(set.get("marks").is_none(), "{set}");
}

#[tokio::test]
async fn an_unspecified_severity_is_none() {
    let stage = Stage::new().await;
    for (id, severity) in [("f0", json!("SEVERITY_UNSPECIFIED")), ("f1", json!(0)), ("f2", json!(null))] {
        let (status, made) = stage.create(id, json!({"severity": severity})).await;
        assert_eq!((status, made.get("severity")), (200, None), "{made}");
    }
    stage.create("f3", json!({"severity": "LOW"})).await;
    assert_eq!(stage.listed("filter=severity%3D%22SEVERITY_UNSPECIFIED%22").await.len(), 3);
    assert_eq!(stage.listed("filter=NOT%20severity%3D%22SEVERITY_UNSPECIFIED%22").await.len(), 1);
    let (_, groups) = stage.post(&format!("{FINDINGS}:group"), json!({"groupBy": "severity"})).await;
    assert_eq!(groups["totalSize"], 2, "{groups}");
    let low = format!("{FINDINGS}/f3?updateMask=severity");
    let (_, changed) = stage.patch(&low, json!({"severity": "SEVERITY_UNSPECIFIED"})).await;
    assert_eq!(changed.get("severity"), None, "{changed}");
}

#[tokio::test]
async fn lists_filter_order_page_and_mask() {
    let stage = Stage::new().await;
    for (i, severity) in ["LOW", "HIGH", "HIGH", "MEDIUM", "HIGH"].iter().enumerate() {
        let mut body = shell();
        body["severity"] = json!(severity);
        body["eventTime"] = json!(format!("2026-11-20T10:0{i}:00Z"));
        assert_eq!(stage.create(&format!("f{i}"), body).await.0, 200);
    }
    let query = "filter=severity%3D%22HIGH%22&orderBy=event_time+desc&pageSize=2&fieldMask=finding.name,event_time";
    let (_, first) = stage.get(&format!("{FINDINGS}?{query}")).await;
    assert_eq!(first["totalSize"], 3);
    let results = first["listFindingsResults"].as_array().unwrap();
    assert_eq!(results.len(), 2);
    assert_eq!(results[0]["finding"].as_object().unwrap().len(), 2);
    assert_eq!(results[0]["finding"]["eventTime"], "2026-11-20T10:04:00Z");
    let token = first["nextPageToken"].as_str().unwrap();
    let (_, second) = stage.get(&format!("{FINDINGS}?{query}&pageToken={token}")).await;
    assert_eq!(second["listFindingsResults"].as_array().unwrap().len(), 1);
    assert!(second.get("nextPageToken").is_none());
    for bad in
        ["pageToken=nonsense", &format!("pageToken={token}"), "pageSize=-1", "pageSize=x", "orderBy=nope", "what=1"]
    {
        let (code, body) = stage.get(&format!("{FINDINGS}?{bad}")).await;
        assert_eq!((code, status(&body)), (400, "INVALID_ARGUMENT"), "{bad}");
    }
    let (code, body) = stage.get(&format!("{FINDINGS}?filter=severity%3DHIGH")).await;
    assert_eq!(code, 400);
    assert!(body["error"]["message"].as_str().unwrap().contains("character 10"), "{body}");
    let (_, groups) = stage.post(&format!("{FINDINGS}:group"), json!({"groupBy": "severity"})).await;
    assert_eq!(groups["groupByResults"][0], json!({"properties": {"severity": "HIGH"}, "count": "3"}));
    assert_eq!(groups["totalSize"], 3);
}

#[tokio::test]
async fn views_by_parent_source_and_location() {
    let stage = Stage::new().await;
    stage.create("f1", shell()).await;
    let count = async |path: &str| {
        let (code, body) = stage.get(path).await;
        assert_eq!(code, 200, "{path}: {body}");
        body["totalSize"].as_u64().unwrap()
    };
    assert_eq!(count("/v2/organizations/123456789012/sources/-/findings").await, 1);
    assert_eq!(count("/v2/organizations/777/sources/-/findings").await, 0);
    assert_eq!(count("/v2/projects/shop/sources/-/locations/global/findings").await, 1);
    assert_eq!(count("/v2/projects/other/sources/-/locations/global/findings").await, 0);
    assert_eq!(count("/v2/folders/1/sources/-/findings").await, 0);
    assert_eq!(count("/v2/organizations/123456789012/sources/-/locations/eu/findings").await, 0);
    assert_eq!(stage.get("/v2/organizations/123456789012/sources/1/findings").await.0, 404);
}

#[tokio::test]
async fn v1_answers_alike_with_names_without_locations_unless_refused() {
    let stage = Stage::new().await;
    let (code, finding) = stage.post(&format!("{V1_FINDINGS}?findingId=f1"), shell()).await;
    assert_eq!(code, 200, "{finding}");
    assert_eq!(finding["name"], format!("{}/f1", &V1_FINDINGS[4..]));
    assert_eq!(stage.listed("").await[0]["finding"]["name"], format!("{}/f1", &FINDINGS[4..]));
    assert_eq!(stage.get(V1_FINDINGS).await.1["readTime"], NOW);
    let state = json!({"state": "INACTIVE"});
    assert_eq!(stage.post(&format!("{V1_FINDINGS}/f1:setState"), state).await.0, 400);
    let state = json!({"state": "INACTIVE", "startTime": NOW});
    assert_eq!(stage.post(&format!("{V1_FINDINGS}/f1:setState"), state).await.0, 200);
    let stage = Stage::with(Settings { v1: V1::Refuse, ..Settings::on_free_port() }).await;
    let (code, body) = stage.get(V1_FINDINGS).await;
    assert_eq!(code, 400);
    assert!(body["error"]["message"].as_str().unwrap().contains("no longer available"));
}

#[tokio::test]
async fn v1_knows_names_with_and_without_locations_and_answers_those_without() {
    let stage = Stage::new().await;
    stage.create("f1", shell()).await;
    stage.create("f2", shell()).await;
    stage.patch(&format!("{FINDINGS}/f1/externalSystems/jira"), json!({"status": "open"})).await;
    let found = async |filter: &str| {
        let filter: String = url::form_urlencoded::byte_serialize(filter.as_bytes()).collect();
        let (code, body) = stage.get(&format!("{V1_FINDINGS}?filter={filter}")).await;
        assert_eq!(code, 200, "{body}");
        body["totalSize"].as_u64().unwrap()
    };
    let (v1, v2) = (&V1_FINDINGS[4..], &FINDINGS[4..]);
    for findings in [v1, v2] {
        let parent = findings.strip_suffix("/findings").unwrap();
        assert_eq!(found(&format!("name=\"{findings}/f1\"")).await, 1);
        assert_eq!(found(&format!("-name=\"{findings}/f1\"")).await, 1);
        assert_eq!(found(&format!("parent=\"{parent}\" AND name : \"f2\"")).await, 1);
        let canonical = findings.replace("organizations/123456789012", "projects/shop");
        assert_eq!(found(&format!("canonical_name=\"{canonical}/f1\"")).await, 1);
        assert_eq!(found(&format!("security_marks.name=\"{findings}/f1/securityMarks\"")).await, 1);
        let system = format!("external_systems.jira.name=\"{findings}/f1/externalSystems/jira\"");
        assert_eq!(found(&system).await, 1);
    }
    let (_, listed) = stage.get(&format!("{V1_FINDINGS}?orderBy=name")).await;
    let first = &listed["listFindingsResults"][0]["finding"];
    assert_eq!(first["externalSystems"]["jira"]["name"], format!("{v1}/f1/externalSystems/jira"));
    assert!(!first.to_string().contains("/locations/global"), "{first}");
    for (path, findings) in [(V1_FINDINGS, v1), (FINDINGS, v2)] {
        let (_, groups) = stage.post(&format!("{path}:group"), json!({"groupBy": "name,parent"})).await;
        let parent = findings.strip_suffix("/findings").unwrap();
        let one = json!({"properties": {"name": format!("{findings}/f1"), "parent": parent}, "count": "1"});
        assert_eq!(groups["groupByResults"][0], one);
        let bulk = format!("{}/organizations/123456789012/findings:bulkMute", &path[..3]);
        let (code, muted) = stage.post(&bulk, json!({"filter": format!("name=\"{findings}/f1\"")})).await;
        assert_eq!(code, 200, "{muted}");
        assert_eq!(found("mute=\"MUTED\"").await, 1);
        stage.post(&format!("{path}/f1:setMute"), json!({"mute": "UNDEFINED"})).await;
    }
}

#[tokio::test]
async fn sources_are_made_found_and_changed() {
    let stage = Stage::new().await;
    let sources = "/v2/organizations/42/sources";
    for i in 0..12 {
        let (code, source) =
            stage.post(sources, json!({"displayName": format!("Source {i}"), "description": "d"})).await;
        assert_eq!(code, 200, "{source}");
    }
    let (_, first) = stage.get(sources).await;
    assert_eq!(first["sources"].as_array().unwrap().len(), 10);
    let token = first["nextPageToken"].as_str().unwrap();
    let (_, rest) = stage.get(&format!("{sources}?pageToken={token}")).await;
    assert_eq!(rest["sources"].as_array().unwrap().len(), 2);
    let name = format!("/v2/{}", first["sources"][3]["name"].as_str().unwrap());
    let body = json!({"display_name": "Renamed", "description": "x"});
    let (_, source) = stage.patch(&format!("{name}?updateMask=displayName"), body).await;
    assert_eq!((&source["displayName"], &source["description"]), (&json!("Renamed"), &json!("d")));
    assert_eq!(stage.get(&name).await.1, source);
    assert_eq!(stage.post(sources, json!({"displayName": "-x"})).await.0, 400);
    assert_eq!(stage.post(sources, json!({"displayName": ""})).await.0, 400);
    assert_eq!(stage.post("/v2/projects/p/sources", json!({"displayName": "x"})).await.0, 400);
    assert_eq!(stage.post("/v2/organizations/acme/sources", json!({"displayName": "x"})).await.0, 400);
    let twin = stage.send(Method::POST, sources, Some(json!({"displayName": "Renamed"}))).await;
    assert!(twin.status().is_success() && twin.headers().contains_key("warning"));
    let asked = json!({"permissions": ["securitycenter.findings.update", "compute.instances.get"]});
    let (_, granted) = stage.post(&format!("{name}:testIamPermissions"), asked).await;
    assert_eq!(granted["permissions"], json!(["securitycenter.findings.update"]));
    let (_, mut policy) = stage.post(&format!("{name}:getIamPolicy"), json!({})).await;
    policy["bindings"] = json!([{"role": "roles/securitycenter.findingsEditor", "members": ["user:a@example.com"]}]);
    let stale = policy.clone();
    let (code, set) = stage.post(&format!("{name}:setIamPolicy"), json!({"policy": policy})).await;
    assert_eq!((code, &set["bindings"]), (200, &stale["bindings"]));
    let (code, body) = stage.post(&format!("{name}:setIamPolicy"), json!({"policy": stale})).await;
    assert_eq!((code, status(&body)), (409, "ABORTED"));
}

#[tokio::test]
async fn a_bulk_is_muted_by_a_finished_operation() {
    let stage = Stage::new().await;
    stage.create("f1", shell()).await;
    let path = "/v2/organizations/123456789012/locations/global/findings:bulkMute";
    let (code, operation) = stage.post(path, json!({"filter": "severity=\"HIGH\"", "muteState": "MUTED"})).await;
    assert_eq!((code, &operation["done"]), (200, &json!(true)));
    let name = operation["name"].as_str().unwrap();
    assert_eq!(stage.get(&format!("/v2/{name}")).await.1, operation);
    assert_eq!(stage.listed("filter=mute%3D%22MUTED%22").await.len(), 1);
}

#[tokio::test]
async fn quotas_refuse_and_say_when_to_come_again() {
    let quotas = Quotas { writes_per_minute: Some(2), reads_per_minute: Some(1), bytes_per_day: None };
    let stage = Stage::with(Settings { quotas, ..Settings::on_free_port() }).await;
    assert_eq!(stage.create("f1", shell()).await.0, 200);
    assert_eq!(stage.create("f2", shell()).await.0, 200);
    let refused = stage.send(Method::POST, &format!("{FINDINGS}?findingId=f3"), Some(shell())).await;
    assert_eq!((refused.status().as_u16(), refused.headers()["retry-after"].to_str().unwrap()), (429, "30"));
    let body: Value = refused.json().await.unwrap();
    assert_eq!(status(&body), "RESOURCE_EXHAUSTED");
    assert_eq!(body["error"]["details"][0]["reason"], "RATE_LIMIT_EXCEEDED");
    assert_eq!(body["error"]["details"][1]["retryDelay"], "30s");
    stage.hand.forward(TimeDelta::seconds(30));
    assert_eq!(stage.create("f3", shell()).await.0, 200);
    assert_eq!(stage.post("/sandbox/quotas", json!({"writes_per_minute": null, "bytes_per_day": 10})).await.0, 200);
    let (code, body) = stage.create("f4", shell()).await;
    assert_eq!((code, body["error"]["details"][1]["retryDelay"].as_str()), (429, Some("43170s")));
    assert_eq!(stage.post("/sandbox/quotas", json!({"writes_per_minute": "x"})).await.0, 400);
}

#[tokio::test]
async fn a_full_sandbox_says_so() {
    let bounds = Bounds { findings: 1, ..Bounds::default() };
    let stage = Stage::with(Settings { bounds, ..Settings::on_free_port() }).await;
    assert_eq!(stage.create("f1", shell()).await.0, 200);
    let (code, body) = stage.create("f2", shell()).await;
    assert_eq!((code, body["error"]["details"][0]["reason"].as_str()), (429, Some("SANDBOX_FULL")));
    assert_eq!(stage.post("/sandbox/reset", json!({})).await.1["findings"], 0);
    assert_eq!(stage.create("f2", shell()).await.0, 200);
}

#[tokio::test]
async fn faults_are_served_to_order() {
    let stage = Stage::new().await;
    let order = async |fault: Value| assert_eq!(stage.post("/sandbox/faults", fault).await.0, 200);
    let create = async |id: &str| {
        let request = stage.client.post(format!("{}{FINDINGS}?findingId={id}", stage.running.url()));
        request.json(&shell()).send().await
    };
    order(json!({"next": 1, "status": 503, "retry_after": 3})).await;
    let unavailable = create("a1").await.unwrap();
    assert_eq!((unavailable.status().as_u16(), unavailable.headers()["retry-after"].to_str().unwrap()), (503, "3"));
    order(json!({"reset": true})).await;
    assert!(create("a1").await.is_err());
    order(json!({"reset": true, "after": true})).await;
    assert!(create("a1").await.is_err());
    assert_eq!(create("a1").await.unwrap().status(), 409);
    order(json!({"truncate": true})).await;
    assert!(create("a2").await.unwrap().bytes().await.is_err());
    assert_eq!(create("a2").await.unwrap().status(), 409);
    order(json!({"garbage": true, "latency_ms": 1})).await;
    assert!(create("a3").await.unwrap().json::<Value>().await.is_err());
    order(json!({"next": 5, "status": 500, "match": "GET "})).await;
    assert_eq!(create("a4").await.unwrap().status(), 200);
    assert_eq!(stage.get(FINDINGS).await.0, 500);
    assert_eq!(stage.call(Method::DELETE, "/sandbox/faults", json!({})).await.0, 200);
    assert_eq!(stage.listed("").await.len(), 4);
    assert_eq!(stage.post("/sandbox/faults", json!({"next": 1})).await.0, 400);
    assert_eq!(stage.post("/sandbox/faults", json!({"nxt": 1})).await.0, 400);
}

#[tokio::test]
async fn a_token_is_asked_for_when_it_was_set() {
    let settings = Settings { require_token: Some("letmein".to_owned().into()), ..Settings::on_free_port() };
    let stage = Stage::with(settings).await;
    let (code, body) = stage.get(FINDINGS).await;
    assert_eq!((code, status(&body)), (401, "UNAUTHENTICATED"));
    let url = format!("{}{FINDINGS}", stage.running.url());
    assert_eq!(stage.client.get(&url).bearer_auth("wrong").send().await.unwrap().status(), 401);
    let metadata = format!("{}/computeMetadata/v1/instance/service-accounts/default/token", stage.running.url());
    assert_eq!(stage.client.get(&metadata).send().await.unwrap().status(), 403);
    let token: Value =
        stage.client.get(&metadata).header("Metadata-Flavor", "Google").send().await.unwrap().json().await.unwrap();
    let token = token["access_token"].as_str().unwrap();
    assert_eq!(stage.client.get(&url).bearer_auth(token).send().await.unwrap().status(), 200);
}

/// The command `sandbox` as a process, ended when this is dropped.
struct Process(std::process::Child);

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[tokio::test]
async fn the_command_asks_for_the_token_it_is_given_and_does_not_print_it() {
    let mut command = std::process::Command::new(crate::recovery::program());
    command.env_clear().args(["sandbox", "--listen", "127.0.0.1:0", "--require-token", "letmein"]);
    let mut process = Process(command.stdout(std::process::Stdio::piped()).spawn().unwrap());
    let lines = BufReader::new(process.0.stdout.take().unwrap()).lines().map_while(Result::ok);
    let said: Vec<String> = lines.take_while(|line| !line.starts_with("Ctrl-C")).collect();
    let page = said.iter().find_map(|line| line.trim().strip_prefix("findings")).unwrap().trim();
    let url = format!("{}{FINDINGS}", page.trim_end_matches('/'));
    assert!(said.concat().contains("Authorization: Bearer") && !said.concat().contains("letmein"), "{said:?}");
    let client = Client::builder().no_proxy().build().unwrap();
    for (token, code) in [("wrong", 401), ("letmein", 200)] {
        assert_eq!(client.get(&url).bearer_auth(token).send().await.unwrap().status(), code, "{token}");
    }
    let refused = client.get(&url).send().await.unwrap();
    assert_eq!((refused.status().as_u16(), refused.headers()["www-authenticate"].to_str().unwrap()), (401, "Bearer"));
    let body: Value = refused.json().await.unwrap();
    assert_eq!((&body["error"]["code"], status(&body)), (&json!(401), "UNAUTHENTICATED"));
    assert_eq!(
        client.get(format!("{page}sandbox/stats")).send().await.unwrap().status(),
        200,
        "steering stays as it is"
    );
}

#[tokio::test]
async fn a_body_that_is_too_long_is_refused() {
    let bounds = Bounds { body: 1000, ..Bounds::default() };
    let stage = Stage::with(Settings { bounds, ..Settings::on_free_port() }).await;
    let mut body = shell();
    body["description"] = json!("x".repeat(2000));
    assert_eq!(stage.create("f1", body).await.0, 413);
}

#[tokio::test]
async fn the_page_shows_hostile_findings_as_text() {
    let stage = Stage::new().await;
    let mut body = shell();
    body["category"] = json!("<script>alert(1)</script>");
    body["externalUri"] = json!("javascript:alert(1)");
    body["nextSteps"] = json!("1. Look.\n2. \"</pre><img src=x onerror=alert(1)>\"");
    stage.create("f1", body).await;
    let hostile_filter = "%22%3E%3Cscript%3E";
    for path in [
        "/",
        "/?filter=state%3D%22ACTIVE%22",
        &format!("/?filter={hostile_filter}"),
        &format!("/finding?name={}/f1", &FINDINGS[4..]),
        "/<script>",
    ] {
        let page = stage.send(Method::GET, path, None).await;
        assert!(page.headers()["content-security-policy"].to_str().unwrap().contains("default-src 'none'"));
        assert!(page.headers().contains_key("x-sandbox"));
        let html = page.text().await.unwrap();
        assert!(html.contains("not Google"), "{path}");
        for bad in ["<script", "<img", "href=\"javascript"] {
            assert!(!html.contains(bad), "{path} has {bad}");
        }
    }
}

#[tokio::test]
async fn it_listens_beyond_loopback_only_when_asked() {
    let listen = "0.0.0.0:0".parse().unwrap();
    let refused = sandbox::start(Settings { listen, ..Settings::default() }).await;
    assert!(matches!(refused, Err(SandboxError::BeyondLoopback(_))));
    let running = sandbox::start(Settings { listen, beyond_loopback: true, ..Settings::default() }).await.unwrap();
    running.stop().await;
}
