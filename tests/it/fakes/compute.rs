//! A Compute Engine: projects, zones, instances, filters as our client and gcloud write them, pages, partial answers.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use regex::Regex;
use serde_json::{Map, Value, json};

use super::loopback::{Answer, Asked, Loopback};

#[derive(Debug, Default)]
pub struct State {
    /// Id, number, instances.
    pub projects: Vec<(String, String, Vec<Value>)>,
    pub zones: Vec<String>,
    pub unreachable: Vec<String>,
    pub trouble: VecDeque<Answer>,
    /// What is answered when a project's names are asked for.
    pub nameless: Option<Answer>,
    /// What is answered to what is asked about a project, and how often.
    pub failing: BTreeMap<String, (Answer, usize)>,
    pub lists: usize,
    pub gets: usize,
}

#[derive(Debug)]
pub struct FakeCompute {
    pub server: Loopback,
    state: Arc<Mutex<State>>,
}

impl FakeCompute {
    pub fn start() -> Self {
        let state = Arc::<Mutex<State>>::default();
        let shared = Arc::clone(&state);
        let server = Loopback::start(move |asked| shared.lock().unwrap().answer(asked));
        Self { server, state }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

/// An instance as the API says it.
pub fn instance(project: &str, zone: &str, name: &str, id: u64, ip: &str) -> Value {
    let base = format!("https://www.googleapis.com/compute/v1/projects/{project}");
    json!({
        "kind": "compute#instance", "id": id.to_string(), "name": name, "status": "RUNNING",
        "zone": format!("{base}/zones/{zone}"), "selfLink": format!("{base}/zones/{zone}/instances/{name}"),
        "machineType": format!("{base}/zones/{zone}/machineTypes/e2-standard-4"),
        "networkInterfaces": [{"name": "nic0", "networkIP": ip}],
        "serviceAccounts": [{"email": format!("nodes@{project}.iam.gserviceaccount.com"), "scopes": []}],
        "labels": {"env": "prod"},
    })
}

impl State {
    fn answer(&mut self, asked: &Asked) -> Answer {
        if let Some(trouble) = self.trouble.pop_front() {
            return trouble;
        }
        let parts: Vec<&str> = asked.path.trim_start_matches("/compute/v1/projects/").split('/').collect();
        if let Some((trouble, left)) = self.failing.get_mut(parts[0]).filter(|(_, left)| *left > 0) {
            *left -= 1;
            return trouble.clone();
        }
        let Some((id, number, instances)) =
            self.projects.iter().find(|(id, number, _)| id == parts[0] || number == parts[0])
        else {
            return refused(403, "forbidden", "Required 'compute.instances.list' permission");
        };
        match parts[1..] {
            [] if self.nameless.is_some() => self.nameless.clone().unwrap(),
            [] => Answer::Json(200, json!({"kind": "compute#project", "id": number, "name": id})),
            ["aggregated", "instances"] => {
                self.lists += 1;
                aggregated(&self.zones, &self.unreachable, instances, asked)
            }
            ["zones"] => {
                let items: Vec<Value> = self.zones.iter().map(|zone| json!({"name": zone})).collect();
                Answer::Json(200, json!({"kind": "compute#zoneList", "items": items}))
            }
            ["zones", zone, "instances"] if !self.zones.iter().any(|known| known == zone) => {
                refused(404, "notFound", &format!("The resource 'projects/{id}/zones/{zone}' was not found"))
            }
            ["zones", zone, "instances"] => {
                self.lists += 1;
                let (page, next) = page(instances.iter().filter(|i| in_zone(i, zone)), asked);
                let mut answer = json!({"kind": "compute#instanceList", "items": page});
                next.into_iter().for_each(|next| answer["nextPageToken"] = json!(next));
                Answer::Json(200, answer)
            }
            ["zones", zone, "instances", name] => {
                self.gets += 1;
                let found =
                    instances.iter().filter(|i| in_zone(i, zone)).find(|i| i["name"] == name || i["id"] == name);
                match found {
                    Some(instance) => Answer::Json(200, instance.clone()),
                    None => refused(404, "notFound", "The resource was not found"),
                }
            }
            _ => refused(404, "notFound", "no such path"),
        }
    }
}

pub fn refused(code: u16, reason: &str, message: &str) -> Answer {
    Answer::Json(
        code,
        json!({"error": {"code": code, "message": message, "errors": [{"message": message, "domain": "global", "reason": reason}]}}),
    )
}

fn in_zone(instance: &Value, zone: &str) -> bool {
    instance["zone"].as_str().unwrap().ends_with(&format!("/{zone}"))
}

fn aggregated(zones: &[String], unreachable: &[String], instances: &[Value], asked: &Asked) -> Answer {
    let reachable = instances.iter().filter(|i| !unreachable.iter().any(|zone| in_zone(i, zone)));
    let (page, next) = page(reachable, asked);
    let mut items = Map::new();
    for zone in zones {
        let mine: Vec<&Value> = page.iter().copied().filter(|i| in_zone(i, zone)).collect();
        let scoped = match mine.is_empty() {
            false => json!({ "instances": mine }),
            true if unreachable.contains(zone) => json!({"warning": {"code": "UNREACHABLE", "message": "no answer"}}),
            true => json!({"warning": {"code": "NO_RESULTS_ON_PAGE", "message": "nothing here"}}),
        };
        items.insert(format!("zones/{zone}"), scoped);
    }
    let mut answer = json!({"kind": "compute#instanceAggregatedList", "items": items});
    if !unreachable.is_empty() {
        answer["unreachables"] = unreachable.iter().map(|zone| json!(format!("zones/{zone}"))).collect();
    }
    next.into_iter().for_each(|next| answer["nextPageToken"] = json!(next));
    Answer::Json(200, answer)
}

fn page<'a>(all: impl Iterator<Item = &'a Value>, asked: &Asked) -> (Vec<&'a Value>, Option<String>) {
    let filter = asked.query.get("filter").map(String::as_str).unwrap_or_default();
    let filter = filter_of(filter);
    let fits = |instance: &Value| {
        filter.as_ref().is_none_or(|(member, value)| value.is_match(instance[member].as_str().unwrap_or_default()))
    };
    let matching: Vec<&Value> = all.filter(|instance| fits(instance)).collect();
    let size: usize = asked.query.get("maxResults").map_or(500, |text| text.parse().unwrap());
    let start: usize = asked.query.get("pageToken").map_or(0, |text| text.parse().unwrap());
    let end = (start + size).min(matching.len());
    (matching[start..end].to_vec(), (end < matching.len()).then(|| end.to_string()))
}

/// `name eq x` with a regular expression, and `name = x`.
fn filter_of(text: &str) -> Option<(String, Regex)> {
    let text = text.trim_matches(|c| c == '(' || c == ')');
    let (member, rest) = text.split_once([' ', '='])?;
    let value = rest.trim_start_matches(['=', ' ']).trim_start_matches("eq ").trim_matches(['"', '\'']);
    Some((member.to_owned(), Regex::new(&format!("^(?:{value})$")).unwrap()))
}
