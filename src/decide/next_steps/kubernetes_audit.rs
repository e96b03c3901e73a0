//! The steps of records of the Kubernetes audit log, and of admission reviews.

use super::{Case, Steps, Target, case_of_workload, credentials, pod, word};
use crate::decide::audited::{self, Target as Object};
use crate::event::Runtime;
use crate::finding::{Subject, SubjectKind};
use crate::text::{ascii, cut};

/// So many of the bound are asked what they may do.
const MOST_ASKED: usize = 3;

/// An object that was reviewed before it came into the cluster.
pub(super) fn admission(event: &Runtime, target: &Target, steps: &mut Steps) {
    credentials(target, steps);
    let review = event.admission.as_ref();
    let kind = review.and_then(|review| review.kind.as_deref()).and_then(word);
    let name = review.and_then(|review| review.name.as_deref()).and_then(word);
    if let (Some(kind), Some(name)) = (kind, name) {
        let namespace = target.namespace.as_ref().map(|ns| format!("-n {ns} ")).unwrap_or_default();
        steps.run("Look at the object:", format_args!("kubectl {namespace}get {kind} {name} -o yaml"));
    }
    steps.say("Read which check failed, and mend the manifest where it is kept under version control.");
}

/// A request to the API server.
pub(super) fn write(event: &Runtime, target: &Target, steps: &mut Steps) {
    let object = Object::of(event);
    let is_pod = object.as_ref().is_some_and(|object| object.resource == "pods");
    let failed = failed(event);
    if let Some(code) = failed.filter(|code| is_unclear(code)) {
        steps.say(format_args!("The API server answered {code}: the request may have been carried out all the same."));
    }
    if let Some(code) = failed.filter(|code| !is_unclear(code)) {
        credentials(target, steps);
        steps.say(format_args!("The API server answered {code}: the request changed nothing."));
        may_do(event.field("ka.user.name").and_then(word), steps);
    } else if is_pod && target.pod.is_some() && !is_gone(event) {
        pod(event, case_of_pod(event, object.as_ref()), target, steps);
    } else {
        credentials(target, steps);
        if let Some(place) = object.as_ref().and_then(Place::of) {
            look(event, &place, steps);
        }
    }
    if let Some(user) = event.field("ka.user.name") {
        let user = ascii(cut(user, 253));
        steps.say(format_args!("Find out why {user} made this request, and whether its role needs that right."));
    }
    calls_of_caller(event, target, steps);
}

/// The code of an answer that is no success.
fn failed(event: &Runtime) -> Option<&str> {
    let code = event.field("ka.response.code")?;
    (code.len() == 3 && code.starts_with(['4', '5']) && code.bytes().all(|b| b.is_ascii_digit())).then_some(code)
}

/// Whether the server gave up on the request, which says nothing of what it had done by then.
fn is_unclear(code: &str) -> bool {
    code == "408" || code.starts_with('5')
}

/// What was done in a pod or with it: commands run there whatever the rule that told of it is called.
fn case_of_pod(event: &Runtime, object: Option<&Object>) -> Case {
    let runs_commands = matches!(object.and_then(|object| object.subresource), Some("exec" | "attach"));
    match case_of_workload(event) {
        Case::General | Case::Process | Case::SystemNamespace if runs_commands => Case::Exec,
        case => case,
    }
}

/// Whether what the record is about is there no more.
fn is_gone(event: &Runtime) -> bool {
    is_eviction(event) || is_deletion(event)
}

fn is_eviction(event: &Runtime) -> bool {
    part(event) == Some("eviction")
}

fn part(event: &Runtime) -> Option<&str> {
    Object::of(event).and_then(|object| object.subresource)
}

/// Whether the object was deleted, and not a part of it: by the verb, else by the rule's name (`K8s Service Deleted`).
fn is_deletion(event: &Runtime) -> bool {
    if part(event).is_some() {
        return false;
    }
    let last = || event.title().and_then(|title| title.split_whitespace().next_back());
    event.field("ka.verb").map_or_else(
        || last().is_some_and(|word| word.eq_ignore_ascii_case("deleted")),
        |verb| matches!(verb, "delete" | "deletecollection"),
    )
}

/// Whether something was read, by the verb, else by the rule's name (`K8s Secret Get Successfully`).
fn is_read(event: &Runtime) -> bool {
    let words = || event.title().unwrap_or_default().split_whitespace();
    event.field("ka.verb").map_or_else(
        || words().any(|word| ["get", "list", "read", "accessed"].iter().any(|read| word.eq_ignore_ascii_case(read))),
        |verb| matches!(verb, "get" | "list" | "watch"),
    )
}

/// An object as commands name it.
struct Place<'o> {
    object: &'o Object<'o>,
    resource: String,
    name: Option<String>,
    /// `-n shop `, or nothing for what belongs to the whole cluster.
    namespace: String,
    /// Whether its objects live in namespaces, and which one it is was not told.
    anywhere: bool,
}

impl<'o> Place<'o> {
    fn of(object: &'o Object<'o>) -> Option<Self> {
        let namespace = object.namespace.and_then(word);
        Some(Self {
            object,
            resource: word(object.resource)?,
            name: object.name.and_then(word),
            anywhere: namespace.is_none() && object.kind.is_some_and(|kind| kind.namespaced),
            namespace: namespace.map(|ns| format!("-n {ns} ")).unwrap_or_default(),
        })
    }

    /// `kubectl -n shop get deployments web`, in whatever namespace it is when that was not told.
    fn get(&self, name: &str) -> String {
        let Self { resource, namespace, .. } = self;
        if self.anywhere {
            format!("kubectl get {resource} -A --field-selector metadata.name={name}")
        } else {
            format!("kubectl {namespace}get {resource} {name}")
        }
    }

    /// `kubectl -n shop get deployments`.
    fn list(&self) -> String {
        let all = if self.anywhere { " -A" } else { "" };
        format!("kubectl {}get {}{all}", self.namespace, self.resource)
    }
}

/// What there is to look at.
fn look(event: &Runtime, place: &Place, steps: &mut Steps) {
    if is_gone(event) {
        return left(event, place, steps);
    }
    match (place.object.resource, &place.name) {
        ("serviceaccounts", Some(name)) if place.object.subresource == Some("token") => token(place, name, steps),
        ("secrets", name) => secret(event, place, name.as_deref(), steps),
        ("configmaps", Some(name)) if holds_credentials(event) => config_map(place, name, steps),
        ("rolebindings" | "clusterrolebindings", name) => binding(event, place, name.as_deref(), steps),
        (_, Some(name)) => steps.run("Look at the object:", format_args!("{} -o yaml", place.get(name))),
        (_, None) => {}
    }
}

/// Something was deleted: it cannot be looked at.
fn left(event: &Runtime, place: &Place, steps: &mut Steps) {
    let is_eviction = is_eviction(event);
    let what = if is_eviction {
        "The pod was evicted; see what runs in its place, and where:"
    } else {
        "It was deleted; see what is left of its kind:"
    };
    steps.run(what, place.list());
    if let (Some(name), false) = (&place.name, place.namespace.is_empty()) {
        steps.run(
            "See what happened to it before; Kubernetes keeps events for an hour:",
            format_args!("kubectl {}get events --field-selector involvedObject.name={name}", place.namespace),
        );
    }
    if !is_eviction {
        steps.say("Restore it from where its manifest is kept, when it should be there.");
    }
}

/// A token was made for a service account: whoever has it is that account, until it expires.
fn token(place: &Place, name: &str, steps: &mut Steps) {
    steps.say("A token of the service account was made: whoever has it can act as that account until it expires.");
    let Some(account) = place.object.namespace.zip(place.object.name) else {
        return steps.run("Find the service account:", place.get(name));
    };
    may_do(word(&format!("system:serviceaccount:{}:{}", account.0, account.1)), steps);
    steps.run(
        "See which pods run as it:",
        format_args!("kubectl {}get pods --field-selector spec.serviceAccountName={name}", place.namespace),
    );
    steps.run(
        "When nobody can explain the token, delete the service account, which ends all its tokens; then make it and its pods anew from their manifests:",
        format_args!("kubectl {}delete serviceaccounts {name}", place.namespace),
    );
}

/// Names and sizes, never values.
fn secret(event: &Runtime, place: &Place, name: Option<&str>, steps: &mut Steps) {
    match name {
        Some(name) if !place.anywhere => steps.run(
            "See which keys the secret has; this shows their names and sizes, not what they hold:",
            format_args!("kubectl {}describe secrets {name}", place.namespace),
        ),
        Some(name) => steps.run("Find the secret:", place.get(name)),
        None => steps.run("See which secrets there are:", place.list()),
    }
    if is_read(event) {
        steps.say("If the caller was not meant to read it, change what it holds wherever that is used.");
    }
}

fn holds_credentials(event: &Runtime) -> bool {
    event.field("ka.req.configmap.obj").is_some()
        || event.title().is_some_and(|title| title.to_ascii_lowercase().contains("credential"))
}

/// Its keys, never values: they were found to hold credentials.
fn config_map(place: &Place, name: &str, steps: &mut Steps) {
    let get = place.get(name);
    if place.anywhere {
        steps.run("Find the config map:", get);
    } else {
        let keys = "-o 'go-template={{range $key, $value := .data}}{{$key}} {{end}}'";
        steps.run("See which keys it has; this shows their names, not what they hold:", format_args!("{get} {keys}"));
    }
    steps.say("Move credentials into a secret, and change them: whoever may read config maps may have seen them.");
}

/// Who is bound to what, and what that allows them.
fn binding(event: &Runtime, place: &Place, name: Option<&str>, steps: &mut Steps) {
    match name {
        Some(name) => steps.run("Look at the binding:", format_args!("{} -o yaml", place.get(name))),
        None => steps.run("See who is bound to which role:", format_args!("{} -o wide", place.list())),
    }
    let users = audited::subjects(event).into_iter().filter_map(user_of);
    users.take(MOST_ASKED).for_each(|user| may_do(Some(user), steps));
}

/// How a subject is called as the caller of a request.
fn user_of(subject: Subject) -> Option<String> {
    let name = subject.name?;
    match subject.kind? {
        SubjectKind::User => word(&name),
        SubjectKind::ServiceAccount => word(&format!("system:serviceaccount:{}:{name}", subject.ns?)),
        SubjectKind::Group => None,
    }
}

fn may_do(user: Option<String>, steps: &mut Steps) {
    if let Some(user) = user {
        let sentence = format!("See what {} may do:", user.trim_matches('\''));
        steps.run(&sentence, format_args!("kubectl auth can-i --list --as {user}"));
    }
}

/// GKE keeps the API server's audit log in Cloud Logging.
fn calls_of_caller(event: &Runtime, target: &Target, steps: &mut Steps) {
    let plain = |who: &&str| {
        let harmless = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'@' | b'.' | b'-' | b'_' | b'+' | b':');
        who.len() <= 253 && who.bytes().all(harmless)
    };
    if let (Some(project), Some(who)) = (&target.gke_project, event.field("ka.user.name").filter(plain)) {
        let filter = format!("resource.type=k8s_cluster AND protoPayload.authenticationInfo.principalEmail=\"{who}\"");
        let command = format_args!("gcloud logging read '{filter}' --project {project} --freshness 1d --limit 50");
        steps.run("See what else the same caller did:", command);
    }
}
