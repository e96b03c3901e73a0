//! Sinks of Cloud Logging, the managing half of Pub/Sub and one project of Resource Manager, small and stateful, on one
//! port: what `setup sink` talks to.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Value, json};

use super::loopback::{Answer, Asked, Loopback};

/// What there is.
#[derive(Debug, Default)]
pub struct State {
    pub topics: BTreeMap<String, Value>,
    pub subscriptions: BTreeMap<String, Value>,
    pub sinks: BTreeMap<String, Value>,
    pub policies: BTreeMap<String, Value>,
    /// Whether there is access control; the emulator has none.
    pub access: bool,
    /// The answer to who the project is, where it is another one.
    pub project: Option<(u16, Value)>,
    /// So many policies are refused because somebody else wrote in between.
    pub conflicts: u32,
}

/// The running fake.
#[derive(Debug)]
pub struct FakeCloud {
    pub server: Loopback,
    state: Arc<Mutex<State>>,
}

impl FakeCloud {
    pub fn start() -> Self {
        let state = Arc::new(Mutex::new(State { access: true, ..State::default() }));
        let shared = Arc::clone(&state);
        let server = Loopback::start(move |asked| {
            let (code, body) = shared.lock().unwrap().answer(asked);
            Answer::Json(code, body)
        });
        Self { server, state }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// How many calls changed something or tried to.
    pub fn writes(&self) -> usize {
        self.server.asked().iter().filter(|asked| asked.method != "GET").count()
    }
}

fn refusal(code: u16, status: &str) -> (u16, Value) {
    (code, json!({"error": {"code": code, "status": status, "message": format!("the fake says {status}")}}))
}

impl State {
    fn answer(&mut self, asked: &Asked) -> (u16, Value) {
        let method = asked.method.as_str();
        if let Some(path) = asked.path.strip_prefix("/v2/") {
            return self.sink(method, path, asked);
        }
        if asked.path.starts_with("/v3/projects/") {
            let known = || (200, json!({"name": "projects/123456", "projectId": "acme"}));
            return self.project.clone().unwrap_or_else(known);
        }
        let name = asked.path.strip_prefix("/v1/").unwrap_or_default();
        match name.rsplit_once(':') {
            Some((name, verb)) => self.access(name, verb, asked),
            None if name.contains("/topics/") => put(&mut self.topics, method, name, asked.json()),
            None if method == "PATCH" => self.update(name, &asked.json()),
            None => {
                let wanted = asked.json();
                let topic = wanted["topic"].as_str().unwrap_or_default();
                if method == "PUT" && !self.topics.contains_key(topic) {
                    return refusal(404, "NOT_FOUND");
                }
                put(&mut self.subscriptions, method, name, wanted)
            }
        }
    }

    fn update(&mut self, name: &str, body: &Value) -> (u16, Value) {
        let Some(found) = self.subscriptions.get_mut(name) else { return refusal(404, "NOT_FOUND") };
        let mask = body["updateMask"].as_str().unwrap_or_default();
        if mask.is_empty() || body["subscription"]["name"] != name {
            return refusal(400, "INVALID_ARGUMENT");
        }
        for member in mask.split(',') {
            found[member] = body["subscription"][member].clone();
        }
        (200, found.clone())
    }

    fn access(&mut self, name: &str, verb: &str, asked: &Asked) -> (u16, Value) {
        if !self.access {
            return refusal(501, "UNIMPLEMENTED");
        }
        if !self.topics.contains_key(name) && !self.subscriptions.contains_key(name) {
            return refusal(404, "NOT_FOUND");
        }
        let stands = self.policies.entry(name.to_owned()).or_insert_with(|| json!({"etag": "0"}));
        if verb == "getIamPolicy" {
            let conditions = asked.query.get("options.requestedPolicyVersion").map(String::as_str) == Some("3");
            return if conditions { (200, stands.clone()) } else { refusal(400, "INVALID_ARGUMENT") };
        }
        let policy = asked.json()["policy"].clone();
        let etag: u32 = stands["etag"].as_str().unwrap().parse().unwrap();
        if self.conflicts > 0 || policy["etag"] != stands["etag"] {
            self.conflicts = self.conflicts.saturating_sub(1);
            stands["etag"] = json!((etag + 1).to_string());
            return refusal(409, "ABORTED");
        }
        *stands = policy;
        stands["etag"] = json!((etag + 1).to_string());
        (200, stands.clone())
    }

    fn sink(&mut self, method: &str, path: &str, asked: &Asked) -> (u16, Value) {
        let unique = asked.query.get("uniqueWriterIdentity").map(String::as_str) == Some("true");
        if method == "POST" {
            let mut sink = asked.json();
            let topic = sink["destination"].as_str().unwrap_or_default().replace("pubsub.googleapis.com/", "");
            if !unique || !self.topics.contains_key(&topic) {
                return refusal(400, "INVALID_ARGUMENT");
            }
            // Not what anybody would make up from a number.
            sink["writerIdentity"] = json!("serviceAccount:o17-4711@gcp-sa-logging.iam.gserviceaccount.com");
            let name = format!("{path}/{}", sink["name"].as_str().unwrap_or_default());
            self.sinks.insert(name, sink.clone());
            return (200, sink);
        }
        let Some(found) = self.sinks.get_mut(path) else { return refusal(404, "NOT_FOUND") };
        if method == "PATCH" {
            let mask = asked.query.get("updateMask").cloned().unwrap_or_default();
            for member in mask.split(',') {
                found[member] = asked.json()[member].clone();
            }
        }
        (200, found.clone())
    }
}

fn put(all: &mut BTreeMap<String, Value>, method: &str, name: &str, mut wanted: Value) -> (u16, Value) {
    match (method, all.get(name)) {
        ("GET", Some(found)) => (200, found.clone()),
        ("PUT", None) => {
            wanted["name"] = json!(name);
            all.insert(name.to_owned(), wanted.clone());
            (200, wanted)
        }
        ("PUT", Some(_)) => refusal(409, "ALREADY_EXISTS"),
        _ => refusal(404, "NOT_FOUND"),
    }
}
