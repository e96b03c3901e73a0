//! A Compute Engine in which things happen: instances that are stopped, suspended and relearn, disks of which snapshots
//! are made, operations that go PENDING, RUNNING, DONE one look at a time, request ids that repeat nothing, and faults.
//! gcloud drives it too.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Value, json};

use super::compute::refused;
use super::loopback::{Answer, Asked, Loopback};

/// When every operation was asked for.
const ASKED: &str = "2026-11-20T02:12:00.000-08:00";

/// What has happened and is going to.
#[derive(Debug, Default)]
pub struct World {
    /// By zone and name.
    pub instances: Vec<Value>,
    pub snapshots: BTreeMap<String, Value>,
    pub operations: BTreeMap<String, Operation>,
    /// Every call that changed something: verb, instance or disk, request id.
    pub changes: Vec<(String, String, String)>,
    /// Calls that came again under a request id that was known.
    pub repeats: usize,
    /// The answers to the next calls of a verb, in order; `get` and `list` are verbs too.
    pub faults: Vec<(String, VecDeque<Fault>)>,
    /// Operations of this verb end with this error.
    pub failing: BTreeMap<String, (String, String)>,
    /// Right before a call of this verb its VM is deleted, and made anew under its name with this id.
    pub made_anew: BTreeMap<String, u64>,
    /// The VM is deleted when an operation of this verb has ended.
    pub deleted_after: Option<String>,
    /// Operations do not say what they are done to.
    pub without_target: bool,
    /// When operations were asked for; `ASKED` when not said.
    pub asked: Option<String>,
    /// How many looks an operation takes; 2 when not said.
    pub looks: Option<usize>,
    requests: BTreeMap<String, String>,
}

/// What goes wrong.
#[derive(Debug, Clone)]
pub enum Fault {
    /// This is answered, and nothing happens.
    Says(Answer),
    /// The call has its effect, but is answered so.
    Does(Answer),
}

#[derive(Debug, Clone)]
pub struct Operation {
    verb: String,
    target: String,
    id: String,
    zone: String,
    looks: usize,
    number: usize,
}

#[derive(Debug)]
pub struct ComputeWorld {
    pub server: Loopback,
    world: Arc<Mutex<World>>,
}

impl ComputeWorld {
    pub fn start() -> Self {
        let world = Arc::<Mutex<World>>::default();
        let shared = Arc::clone(&world);
        let server = Loopback::start(move |asked| shared.lock().unwrap().answer(asked));
        Self { server, world }
    }

    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    /// The verbs of all changes, in order.
    pub fn verbs(&self) -> Vec<String> {
        self.world().changes.iter().map(|(verb, ..)| verb.clone()).collect()
    }
}

/// A Shielded VM that runs since `start`, with a boot disk.
pub fn shielded_vm(project: &str, zone: &str, name: &str, id: u64, start: &str) -> Value {
    let base = format!("https://www.googleapis.com/compute/v1/projects/{project}/zones/{zone}");
    json!({
        "kind": "compute#instance", "id": id.to_string(), "name": name, "status": "RUNNING", "zone": base,
        "selfLink": format!("{base}/instances/{name}"), "machineType": format!("{base}/machineTypes/e2-standard-4"),
        "creationTimestamp": "2026-01-01T00:00:00.000-08:00", "lastStartTimestamp": start,
        "labels": {"env": "prod"}, "metadata": {"fingerprint": "eHl6", "items": []},
        "networkInterfaces": [{"name": "nic0", "networkIP": "10.0.0.2"}],
        "shieldedInstanceConfig": {"enableSecureBoot": true, "enableVtpm": true, "enableIntegrityMonitoring": true},
        "shieldedInstanceIntegrityPolicy": {"updateAutoLearnPolicy": false},
        "disks": [{"type": "PERSISTENT", "boot": true, "deviceName": name, "source": format!("{base}/disks/{name}")}],
    })
}

impl World {
    /// The instance of this name.
    pub fn vm(&mut self, name: &str) -> &mut Value {
        self.instances.iter_mut().find(|instance| instance["name"] == name).unwrap()
    }

    /// Orders what goes wrong with the next calls of this verb.
    pub fn fails(&mut self, verb: &str, faults: impl IntoIterator<Item = Fault>) {
        self.faults.push((verb.to_owned(), faults.into_iter().collect()));
    }

    fn answer(&mut self, asked: &Asked) -> Answer {
        let path = asked.path.strip_prefix("/compute/v1/projects/").unwrap_or_default().to_owned();
        let parts: Vec<&str> = path.split('/').collect();
        let verb = verb(&asked.method, &parts);
        let fault = self.faults.iter_mut().filter(|(known, _)| *known == verb).find_map(|(_, next)| next.pop_front());
        match fault {
            Some(Fault::Says(answer)) => answer,
            Some(Fault::Does(answer)) => {
                self.does(asked, &parts, &verb);
                answer
            }
            None => self.does(asked, &parts, &verb),
        }
    }

    fn does(&mut self, asked: &Asked, parts: &[&str], verb: &str) -> Answer {
        match parts {
            [project] => Answer::Json(200, json!({"kind": "compute#project", "name": project, "id": "4711"})),
            [_, "zones", zone] => Answer::Json(200, json!({"kind": "compute#zone", "name": zone, "status": "UP"})),
            [project, "zones", zone, "instances"] => self.list(project, zone, asked),
            [project, "aggregated", "instances"] => self.list_all(project, asked),
            [project, "zones", zone, "instances", name] => match self.seen(project, zone, name) {
                Some(instance) => Answer::Json(200, instance.clone()),
                None => not_found(name),
            },
            [project, "zones", zone, "instances", name, _] => self.change(asked, verb, [project, zone, name]),
            [project, "zones", zone, "disks", name, "createSnapshot"] => self.snapshot(asked, [project, zone, name]),
            [project, "zones", zone, "disks", name] => {
                let base = format!("https://www.googleapis.com/compute/v1/projects/{project}/zones/{zone}");
                Answer::Json(
                    200,
                    json!({"kind": "compute#disk", "name": name, "zone": base, "selfLink": format!("{base}/disks/{name}"), "sizeGb": "10"}),
                )
            }
            [_, "global", "snapshots", name] => match self.snapshots.get(*name) {
                Some(snapshot) => Answer::Json(200, snapshot.clone()),
                None => not_found(name),
            },
            [project, "zones", _, "operations", name] | [project, "zones", _, "operations", name, "wait"] => {
                self.look(asked, project, name)
            }
            _ => refused(404, "notFound", "no such path"),
        }
    }

    fn find(&mut self, project: &str, zone: &str, name: &str) -> Option<&mut Value> {
        let place = format!("/projects/{project}/zones/{zone}");
        self.instances.iter_mut().find(|instance| {
            instance["zone"].as_str().unwrap().ends_with(&place) && (instance["name"] == name || instance["id"] == name)
        })
    }

    /// Time passes, whichever way one looks.
    fn seen(&mut self, project: &str, zone: &str, name: &str) -> Option<&mut Value> {
        let name = self.find(project, zone, name)?["name"].as_str().unwrap().to_owned();
        let of_it = |(_, operation): &(&String, &Operation)| operation.target == name && operation.verb != "snapshot";
        let operations: Vec<String> = self.operations.iter().filter(of_it).map(|(name, _)| name.clone()).collect();
        operations.iter().for_each(|operation| self.moves(operation));
        self.find(project, zone, &name)
    }

    fn list(&mut self, project: &str, zone: &str, asked: &Asked) -> Answer {
        let filter = asked.query.get("filter").cloned().unwrap_or_default();
        let place = format!("/projects/{project}/zones/{zone}");
        let fits =
            |instance: &&Value| instance["zone"].as_str().unwrap().ends_with(&place) && fits_filter(instance, &filter);
        let items: Vec<Value> = self.instances.iter().filter(fits).cloned().collect();
        // Without a match there is no member at all.
        let mut answer = json!({"kind": "compute#instanceList"});
        if !items.is_empty() {
            answer["items"] = json!(items);
        }
        Answer::Json(200, answer)
    }

    fn list_all(&mut self, project: &str, asked: &Asked) -> Answer {
        let filter = asked.query.get("filter").cloned().unwrap_or_default();
        let mut items = serde_json::Map::new();
        for instance in self.instances.iter().filter(|instance| fits_filter(instance, &filter)) {
            let zone = instance["zone"].as_str().unwrap();
            if zone.contains(&format!("/projects/{project}/")) {
                let scope = format!("zones/{}", zone.rsplit('/').next().unwrap());
                items.insert(scope, json!({"instances": [instance]}));
            }
        }
        Answer::Json(200, json!({"kind": "compute#instanceAggregatedList", "items": items}))
    }

    fn change(&mut self, asked: &Asked, verb: &str, [project, zone, name]: [&str; 3]) -> Answer {
        if let Some(known) = self.known(asked) {
            return self.shown(asked, project, &known);
        }
        if let Some(id) = self.made_anew.remove(verb) {
            self.vm(name)["id"] = json!(id.to_string());
        }
        let discard = asked.query.get("discardLocalSsd").cloned();
        let Some(instance) = self.find(project, zone, name) else { return not_found(name) };
        let name = instance["name"].as_str().unwrap().to_owned();
        let local = instance["disks"].as_array().unwrap().iter().any(|disk| disk["type"] == "SCRATCH");
        let status = instance["status"].as_str().unwrap().to_owned();
        match verb {
            "stop" | "suspend" if local && discard.is_none() => {
                return refused(
                    400,
                    "badRequest",
                    "VM has a Local SSD attached but an undefined value for `discard-local-ssd`.",
                );
            }
            "suspend" | "relearn" if status != "RUNNING" => {
                return refused(400, "resourceNotReady", &format!("The resource '{name}' is not ready"));
            }
            "stop" if status == "RUNNING" => instance["status"] = json!("STOPPING"),
            "suspend" => instance["status"] = json!("SUSPENDING"),
            "relearn" if asked.json()["updateAutoLearnPolicy"] != true => {
                return refused(400, "required", "updateAutoLearnPolicy is missing");
            }
            _ => {}
        }
        self.began(asked, verb, [project, zone, &name])
    }

    fn snapshot(&mut self, asked: &Asked, [project, zone, disk]: [&str; 3]) -> Answer {
        if let Some(known) = self.known(asked) {
            return self.shown(asked, project, &known);
        }
        let name = asked.json()["name"].as_str().unwrap_or_default().to_owned();
        let fits = regex::Regex::new("^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$").unwrap();
        if !fits.is_match(&name) {
            return refused(400, "invalid", "Invalid value for field 'resource.name'");
        }
        if self.snapshots.contains_key(&name) {
            return refused(409, "alreadyExists", &format!("The resource '{name}' already exists"));
        }
        let base = format!("https://www.googleapis.com/compute/v1/projects/{project}");
        let snapshot = json!({
            "kind": "compute#snapshot", "id": "99", "name": name, "status": "CREATING", "diskSizeGb": "10",
            "sourceDisk": format!("{base}/zones/{zone}/disks/{disk}"), "selfLink": format!("{base}/global/snapshots/{name}"),
        });
        self.snapshots.insert(name.clone(), snapshot);
        self.began(asked, "snapshot", [project, zone, &name])
    }

    /// The operation of a request that came before.
    fn known(&mut self, asked: &Asked) -> Option<String> {
        let known = self.requests.get(asked.query.get("requestId")?).cloned();
        self.repeats += usize::from(known.is_some());
        known
    }

    fn began(&mut self, asked: &Asked, verb: &str, [project, zone, target]: [&str; 3]) -> Answer {
        let request = asked.query.get("requestId").cloned().unwrap_or_default();
        self.changes.push((verb.to_owned(), target.to_owned(), request.clone()));
        let number = self.operations.len() + 1;
        let name = format!("operation-{number}");
        if !request.is_empty() {
            self.requests.insert(request, name.clone());
        }
        let id =
            self.find(project, zone, target).and_then(|instance| instance["id"].as_str()).unwrap_or("1").to_owned();
        let operation = Operation { verb: verb.into(), target: target.into(), id, zone: zone.into(), looks: 0, number };
        self.operations.insert(name.clone(), operation);
        self.shown(asked, project, &name)
    }

    /// A look moves an operation on.
    fn look(&mut self, asked: &Asked, project: &str, name: &str) -> Answer {
        if !self.operations.contains_key(name) {
            return not_found(name);
        }
        self.moves(name);
        self.shown(asked, project, name)
    }

    fn moves(&mut self, name: &str) {
        let looks = self.looks.unwrap_or(2);
        let Some(operation) = self.operations.get_mut(name) else { return };
        operation.looks += 1;
        if operation.looks == looks {
            let done = operation.clone();
            self.happens(&done);
        }
    }

    fn happens(&mut self, operation: &Operation) {
        let failed = self.failing.contains_key(&operation.verb);
        if operation.verb == "snapshot" {
            if let Some(snapshot) = self.snapshots.get_mut(&operation.target) {
                snapshot["status"] = json!(if failed { "FAILED" } else { "READY" });
            }
            return;
        }
        if self.deleted_after.as_deref() == Some(&operation.verb) {
            self.instances.retain(|instance| instance["name"] != operation.target.as_str());
        }
        let instance = self.instances.iter_mut().find(|instance| instance["name"] == operation.target);
        let Some(instance) = instance else { return };
        match (operation.verb.as_str(), failed) {
            ("stop" | "suspend", true) => instance["status"] = json!("RUNNING"),
            ("stop", false) => {
                instance["status"] = json!("TERMINATED");
                instance["lastStopTimestamp"] = json!(ASKED);
            }
            ("suspend", false) => {
                instance["status"] = json!("SUSPENDED");
                instance["lastSuspendedTimestamp"] = json!(ASKED);
            }
            ("start", false) => {
                instance["status"] = json!("RUNNING");
                instance["lastStartTimestamp"] = json!("2026-12-24T00:00:00.000-00:00");
            }
            ("relearn", false) => instance["shieldedInstanceIntegrityPolicy"] = json!({"updateAutoLearnPolicy": true}),
            _ => {}
        }
    }

    fn shown(&self, asked: &Asked, project: &str, name: &str) -> Answer {
        let operation = &self.operations[name];
        let base = format!("http://{}/compute/v1/projects/{project}/zones/{}", asked.header("host"), operation.zone);
        let looks = self.looks.unwrap_or(2);
        let status = match operation.looks {
            0 => "PENDING",
            seen if seen < looks => "RUNNING",
            _ => "DONE",
        };
        let kind = if operation.verb == "snapshot" { "disks" } else { "instances" };
        let mut shown = json!({
            "kind": "compute#operation", "id": (7_000_000_000_u64 + operation.number as u64).to_string(), "name": name,
            "zone": base, "operationType": operation.verb, "status": status, "progress": if status == "DONE" { 100 } else { 0 },
            "selfLink": format!("{base}/operations/{name}"), "targetLink": format!("{base}/{kind}/{}", operation.target),
            "targetId": operation.id, "user": "connector@example.com", "insertTime": self.asked.as_deref().unwrap_or(ASKED),
        });
        if self.without_target {
            shown.as_object_mut().unwrap().remove("targetId");
        }
        if let (Some((code, message)), "DONE") = (self.failing.get(&operation.verb), status) {
            shown["error"] = json!({"errors": [{"code": code, "message": message}]});
            shown["httpErrorStatusCode"] = json!(400);
            shown["httpErrorMessage"] = json!("BAD REQUEST");
        }
        Answer::Json(200, shown)
    }
}

fn verb(method: &str, parts: &[&str]) -> String {
    match (method, parts) {
        (_, [.., "operations", _, "wait"] | [.., "operations", _]) => "wait",
        (_, [.., "setShieldedInstanceIntegrityPolicy"]) => "relearn",
        (_, [.., "createSnapshot"]) => "snapshot",
        ("POST", [.., verb]) => verb,
        (_, [.., "instances", _]) => "get",
        (_, [.., "instances"]) => "list",
        _ => "other",
    }
    .to_owned()
}

fn fits_filter(instance: &Value, filter: &str) -> bool {
    let parts = filter.split_once(" eq ").or_else(|| filter.split_once('='));
    parts.is_none_or(|(member, wanted)| instance[member] == wanted.trim_matches('"'))
}

fn not_found(name: &str) -> Answer {
    refused(404, "notFound", &format!("The resource '{name}' was not found"))
}
