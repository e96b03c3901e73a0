//! A Sysdig: an events feed of one of two generations with its quirks, notification channels, policies, forwarders.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Value, json};
use sysdig_scc::sysdig::{Access, Client, Credential, Patience, region};

use super::loopback::{Answer, Asked, Loopback};

pub const TOKEN: &str = "0b54b2b5-f0a9-4d0f-a212-000000000001";

/// Which way the feed's cursors lead from the first page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cursors {
    /// Newest first, `next` is older.
    NextIsOlder,
    /// Newest first, `prev` is older and `next` is newer.
    PrevIsOlder,
    /// Oldest first, `next` is newer.
    NextIsNewer,
    /// Every page says the same cursor.
    Circle,
    /// A new cursor on every page, the same events behind all of them.
    Endless,
}

/// One event there: when it happened and when Sysdig came to know it, both in nanoseconds.
#[derive(Debug, Clone)]
pub struct Stored {
    pub id: String,
    pub at: i64,
    pub known: i64,
}

#[derive(Debug)]
pub struct State {
    pub now: i64,
    pub events: Vec<Stored>,
    pub cursors: Cursors,
    pub page_size: usize,
    /// How many seconds past its end a window is answered.
    pub runs_over: i64,
    pub says_total: bool,
    /// The total is that of the page.
    pub counts_the_page: bool,
    /// How many seconds its clock is behind this machine's.
    pub behind: i64,
    pub public_feed: bool,
    pub text_times: bool,
    /// Answers given instead of the real ones, first come first served; `None` lets one through.
    pub trouble: VecDeque<Option<Answer>>,
    pub feed_calls: usize,
    pub public_api: bool,
    pub admin: bool,
    /// Whose token it is may not be asked.
    pub nameless: bool,
    pub channels: Vec<Value>,
    pub policies: Vec<Value>,
    pub forwarders: Vec<Value>,
    /// The next so many writes meet somebody else's change.
    pub conflicts: usize,
    pub next_id: i64,
}

#[derive(Debug)]
pub struct FakeSysdig {
    pub server: Loopback,
    state: Arc<Mutex<State>>,
}

impl FakeSysdig {
    pub fn start() -> Self {
        let state = Arc::new(Mutex::new(State {
            now: i64::MAX,
            events: Vec::new(),
            cursors: Cursors::NextIsOlder,
            page_size: 200,
            runs_over: 0,
            says_total: true,
            counts_the_page: false,
            behind: 0,
            public_feed: true,
            text_times: false,
            trouble: VecDeque::new(),
            feed_calls: 0,
            public_api: true,
            admin: true,
            nameless: false,
            channels: Vec::new(),
            policies: Vec::new(),
            forwarders: Vec::new(),
            conflicts: 0,
            next_id: 100,
        }));
        let shared = Arc::clone(&state);
        let server = Loopback::start(move |asked| shared.lock().unwrap().answer(asked));
        Self { server, state }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub fn access(&self) -> Access {
        Access { base: region::base_url(&self.server.url).unwrap(), credential: Credential::Token(TOKEN.into()) }
    }

    pub fn client(&self, attempts: u32) -> Client {
        let patience = Patience {
            attempts,
            first_wait: std::time::Duration::from_millis(1),
            longest_wait: std::time::Duration::from_millis(20),
            timeout: std::time::Duration::from_millis(1500),
        };
        Client::new(self.access(), patience).unwrap()
    }
}

impl State {
    pub fn add(&mut self, id: &str, at: i64, known: i64) {
        self.events.push(Stored { id: id.into(), at, known });
    }

    fn answer(&mut self, asked: &Asked) -> Answer {
        if asked.header("authorization") != format!("Bearer {TOKEN}") {
            return Answer::Json(401, json!({"message": "Bad credentials"}));
        }
        let path = asked.path.as_str();
        match path {
            "/secure/events/v1/events" if self.public_feed => self.feed(asked, false),
            "/api/v1/secureEvents" if !self.public_feed => self.feed(asked, true),
            "/api/users/me" if self.nameless => Answer::Json(403, json!({"message": "Forbidden"})),
            "/api/users/me" => Answer::Json(200, json!({"user": {"username": "robot@example.com", "currentTeam": 77}})),
            "/api/v2/policies" => Answer::Json(200, Value::Array(self.policies.clone())),
            _ if path.starts_with("/api/v2/policies/") => self.policy(asked),
            _ if path.starts_with("/platform/v1/notification-channels") && self.public_api => {
                self.channel(asked, false)
            }
            _ if path.starts_with("/api/notificationChannels") => self.channel(asked, true),
            _ if path.starts_with("/secure/events-forwarder/v1/integrations") => self.forwarder(asked),
            _ => Answer::Json(404, json!({"timestamp": 1, "status": 404, "error": "Not Found", "path": path})),
        }
    }

    fn feed(&mut self, asked: &Asked, old: bool) -> Answer {
        self.feed_calls += 1;
        if let Some(Some(trouble)) = self.trouble.pop_front() {
            return trouble;
        }
        let query = |name: &str| asked.query.get(name).cloned();
        if query("cursor").is_some() && (query("from").is_some() || query("to").is_some()) {
            return Answer::Json(
                400,
                json!({"errors": [{"reason": "Bad", "message": "cursor and from/to exclude each other"}]}),
            );
        }
        let limit: usize = query("limit").map_or(25, |text| text.parse().unwrap());
        if limit > 200 {
            return Answer::Json(400, json!({"message": "limit is at most 200"}));
        }
        let size = limit.min(self.page_size);
        // Newest first, what is known by now.
        let mut all: Vec<&Stored> = self.events.iter().filter(|event| event.known <= self.now).collect();
        all.sort_by(|a, b| (b.at, &b.id).cmp(&(a.at, &a.id)));
        let number = |name| query(name).and_then(|text| text.parse::<i64>().ok());
        let to = number("to").map(|to| to + self.runs_over * 1_000_000_000);
        let inside = |event: &Stored| number("from").unwrap() <= event.at && event.at < to.unwrap();
        let (start, total) = match query("cursor") {
            Some(cursor) => {
                (cursor.trim_start_matches(|c: char| !c.is_ascii_digit() && c != '-').parse::<i64>().unwrap(), None)
            }
            None if number("from").is_none() || number("to").is_none() => {
                return Answer::Json(
                    422,
                    json!({"type": "invalid_argument", "message": "from and to are required", "details": []}),
                );
            }
            None => {
                let within: Vec<usize> = (0..all.len()).filter(|i| inside(all[*i])).collect();
                let first = within.first().copied().unwrap_or(all.len());
                let start = if self.cursors == Cursors::NextIsNewer && !within.is_empty() {
                    (within[within.len() - 1] + 1).saturating_sub(size)
                } else {
                    first
                };
                (start as i64, Some(within))
            }
        };
        let end = ((start + size as i64).max(0) as usize).min(all.len());
        let from = (start.max(0) as usize).min(end);
        // A first page ends with its window; pages by cursor run over.
        let events: Vec<&Stored> = match &total {
            Some(_) => all[from..end].iter().copied().filter(|event| inside(event)).collect(),
            None => all[from..end].to_vec(),
        };
        let older = (end < all.len()).then(|| format!("-{}", end)).map(|c| c.replacen('-', "c", 1));
        let newer = (from > 0).then(|| format!("c{}", from as i64 - size as i64));
        let (next, prev) = match self.cursors {
            Cursors::NextIsOlder => (older, newer),
            Cursors::PrevIsOlder => (newer, older),
            Cursors::NextIsNewer => (newer, older),
            Cursors::Circle => (Some(format!("c{start}")), None),
            Cursors::Endless => (Some(format!("{}{start}", "x".repeat(self.feed_calls))), None),
        };
        let mut page = json!({});
        if let Some(next) = next {
            page["next"] = json!(next);
        }
        if let Some(prev) = prev {
            page["prev"] = json!(prev);
        }
        if let (true, Some(within)) = (self.says_total, &total) {
            page["total"] = json!(if self.counts_the_page { events.len() } else { within.len() });
        }
        let _ = old;
        Answer::With(
            200,
            vec![("X-RateLimit-Limit", "60".into()), ("Date", self.date())],
            json!({
                "data": events.iter().map(|event| self.body(event)).collect::<Vec<_>>(), "page": page,
            }),
        )
    }

    fn date(&self) -> String {
        let date = chrono::Utc::now() - chrono::TimeDelta::seconds(self.behind);
        date.format("%a, %d %b %Y %H:%M:%S GMT").to_string()
    }

    fn body(&self, event: &Stored) -> Value {
        let time = if self.text_times {
            json!(chrono::DateTime::from_timestamp_nanos(event.at).to_rfc3339_opts(chrono::SecondsFormat::Nanos, true))
        } else {
            json!(event.at)
        };
        json!({
            "id": event.id, "timestamp": time, "originator": "policy", "category": "runtime", "source": "syscall",
            "name": "Sysdig Runtime Notable Events", "description": "Rules that may show undesired behaviour", "severity": 4,
            "engine": "falco", "rawEventOriginator": "linuxAgent",
            "content": {"type": "workloadRuntimeDetection", "policyId": 544, "ruleName": "Terminal shell in container",
                        "ruleType": 6, "ruleSubType": 0, "ruleTags": ["container", "MITRE_T1059_command_and_scripting_interpreter"],
                        "output": "A shell was spawned in a container", "fields": {"proc.name": "bash"}},
            "labels": {"kubernetes.cluster.name": "prod", "host.hostName": "gke-prod-default-pool-1"}
        })
    }

    fn channel(&mut self, asked: &Asked, legacy: bool) -> Answer {
        let body = if legacy { asked.json()["notificationChannel"].clone() } else { asked.json() };
        let wrap = |channel: &Value| if legacy { json!({ "notificationChannel": channel }) } else { channel.clone() };
        let id = asked.path.rsplit('/').next().and_then(|text| text.parse::<i64>().ok());
        match (asked.method.as_str(), id) {
            ("GET", None) if legacy => Answer::Json(200, json!({ "notificationChannels": self.channels })),
            ("GET", None) => {
                let offset: usize = asked.query["offset"].parse().unwrap();
                let limit: usize = asked.query["limit"].parse().unwrap();
                let page: Vec<&Value> = self.channels.iter().skip(offset).take(limit).collect();
                Answer::Json(200, json!({"data": page, "page": {"total": self.channels.len()}}))
            }
            ("POST", None) => {
                if !self.admin && body["teamId"].is_null() {
                    return Answer::Json(
                        403,
                        json!({"errors": [{"reason": "Forbidden", "message": "not an administrator"}]}),
                    );
                }
                if self.channels.iter().any(|c| c["name"] == body["name"]) {
                    return Answer::Json(409, json!({"message": "the name is taken"}));
                }
                let mut channel = body;
                self.next_id += 1;
                channel["id"] = json!(self.next_id);
                channel["version"] = json!(1);
                channel["customerId"] = json!(5);
                let answer = wrap(&channel);
                self.channels.push(channel);
                Answer::Json(201, answer)
            }
            ("GET", Some(id)) => match self.channels.iter().find(|c| c["id"] == id) {
                Some(channel) => Answer::Json(200, wrap(channel)),
                None => Answer::Json(404, json!({"message": "no such channel"})),
            },
            ("PUT", Some(id)) => {
                let conflict = self.conflicts > 0;
                let Some(channel) = self.channels.iter_mut().find(|c| c["id"] == id) else {
                    return Answer::Json(404, json!({"message": "no such channel"}));
                };
                if conflict {
                    self.conflicts -= 1;
                    channel["version"] = json!(channel["version"].as_i64().unwrap() + 1);
                }
                if body["version"] != channel["version"] {
                    return Answer::Json(409, json!({"message": "the version is not the current one"}));
                }
                if !legacy && body.get("id").is_some() {
                    return Answer::Json(422, json!({"message": "id is read only"}));
                }
                let version = channel["version"].as_i64().unwrap();
                *channel = body;
                channel["id"] = json!(id);
                channel["version"] = json!(version + 1);
                Answer::Json(200, wrap(channel))
            }
            _ => Answer::Json(405, json!({"message": "no such method"})),
        }
    }

    fn policy(&mut self, asked: &Asked) -> Answer {
        let id: i64 = asked.path.rsplit('/').next().unwrap().parse().unwrap();
        let Some(policy) = self.policies.iter_mut().find(|p| p["id"] == id) else {
            return Answer::Json(404, json!({"message": "no such policy"}));
        };
        if asked.method == "PUT" {
            let body = asked.json();
            if self.conflicts > 0 || body["version"] != policy["version"] {
                self.conflicts = self.conflicts.saturating_sub(1);
                policy["version"] = json!(policy["version"].as_i64().unwrap() + 1);
                return Answer::Json(409, json!({"message": "changed meanwhile"}));
            }
            *policy = body;
            policy["version"] = json!(policy["version"].as_i64().unwrap() + 1);
        }
        Answer::Json(200, policy.clone())
    }

    fn forwarder(&mut self, asked: &Asked) -> Answer {
        let mut shown = asked.json();
        shown["connectionInfo"].as_object_mut().map(|info| info.remove("secret"));
        let id = asked.path.rsplit('/').next().and_then(|text| text.parse::<i64>().ok());
        match (asked.method.as_str(), id) {
            ("GET", None) => Answer::Json(200, json!({ "integrations": self.forwarders })),
            ("POST", None) if self.forwarders.iter().any(|f| f["name"] == shown["name"]) => {
                Answer::Json(409, json!({"message": "the name is taken"}))
            }
            ("PUT", Some(_)) if self.conflicts > 0 => {
                self.conflicts -= 1;
                Answer::Json(409, json!({"message": "changed meanwhile"}))
            }
            ("POST", None) => {
                self.next_id += 1;
                shown["id"] = json!(self.next_id);
                self.forwarders.push(shown.clone());
                Answer::Json(201, shown)
            }
            ("PUT", Some(id)) => {
                shown["id"] = json!(id);
                *self.forwarders.iter_mut().find(|f| f["id"] == id).unwrap() = shown.clone();
                Answer::Json(200, shown)
            }
            _ => Answer::Json(405, json!({"message": "no such method"})),
        }
    }
}
