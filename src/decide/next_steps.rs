//! What to do about it: numbered steps with the event's real names, commands that run as printed. A step whose facts
//! are missing is left out; a name that no honest thing bears is never put into a command.

mod called;
mod ended;
mod kubernetes_audit;
mod serverless;
mod shell;

use std::fmt::{Display, Write};

use ended::End;

use super::resource::{Resource, is_cluster_name, is_not_gke, location};
use super::workload::{has_own_place, node_name, sensors_own};
use super::{activity, drift};
use crate::enrich::{Enriched, images};
use crate::event::Runtime;
use crate::event::location::is_zone;
use crate::event::runtime::Shape;
use crate::event::scene::{self, Scene};
use crate::text::command_line::is_windows_path;
use crate::text::cut;
use crate::text::shell::word;

/// The longest text of all steps together, in bytes.
const LONGEST: usize = 8 * 1024;
/// As many bytes as they usually take.
const USUAL: usize = 3 * 1024;

/// What kind of case it is; it decides what is asked first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Case {
    CryptoMiner,
    Malware,
    Drift,
    SystemNamespace,
    SensitiveMount,
    Privileged,
    Shell,
    Exec,
    Process,
    Admission,
    CloudAudit,
    Service,
    KubernetesAudit,
    Sensor,
    Host,
    General,
}

/// The steps.
pub(super) fn write(event: &Runtime, enriched: &Enriched, resource: &Resource, link: Option<&str>) -> String {
    let case = case(event);
    let target = Target::of(event, enriched, resource);
    let mut steps = Steps { text: String::with_capacity(USUAL), count: 0 };
    opening(event, link, &mut steps);
    match case {
        Case::CloudAudit => called::cloud(event, &target, &mut steps),
        Case::Service => called::service(event, &mut steps),
        Case::Sensor => steps.say(question(case)),
        Case::KubernetesAudit => kubernetes_audit::write(event, &target, &mut steps),
        Case::Admission => kubernetes_audit::admission(event, &target, &mut steps),
        _ if target.pod.is_some() => pod(event, case, &target, &mut steps),
        _ if scene::is_serverless(event) => serverless::write(event, case, &target, &mut steps),
        _ => host(event, case, &target, &mut steps),
    }
    steps.say("If it was expected, mute this finding or tune the rule; else keep it ACTIVE until the cause is removed, then set it INACTIVE.");
    steps.text
}

fn case(event: &Runtime) -> Case {
    match scene::of(event) {
        Scene::Cluster if event.admission.is_some() => Case::Admission,
        Scene::Cluster => Case::KubernetesAudit,
        Scene::Cloud => Case::CloudAudit,
        Scene::Service => Case::Service,
        Scene::Machine if event.origin.source.as_deref() == Some("internal") => Case::Sensor,
        Scene::Machine => case_of_workload(event),
    }
}

/// What happened to a workload or a host, by the rule's name and what it tells.
fn case_of_workload(event: &Runtime) -> Case {
    let title = event.title().unwrap_or_default().to_ascii_lowercase();
    // "privileged" is not in "unprivileged", nor "mining" in "determining".
    let begins_word = |at: &usize| !title[..*at].ends_with(|c: char| c.is_ascii_alphanumeric());
    // Most titles hold none of the words, and few words: looked for from there, all of them cost little.
    let begun: Vec<&str> = title.char_indices().map(|(at, _)| at).filter(begins_word).map(|at| &title[at..]).collect();
    let has = |words: &[&str]| words.iter().any(|word| begun.iter().any(|rest| rest.starts_with(word)));
    let tagged = |word: &str| {
        let named =
            |tag: &String| tag.as_bytes().windows(word.len()).any(|part| part.eq_ignore_ascii_case(word.as_bytes()));
        event.tags.iter().any(named)
    };
    let origin = &event.origin;
    let engine = origin.engine.as_deref().unwrap_or_default();
    let kind = event.rule_type.as_deref().unwrap_or_default();
    // A container's start is no process's.
    let is_start = activity::is_container_start(event);
    let in_workload = event.kubernetes.pod.is_some() || event.container.id.is_some() || event.container.name.is_some();
    match () {
        () if origin.category.as_deref() == Some("miner") || kind == "11" || has(MINERS) || tagged("t1496") => {
            Case::CryptoMiner
        }
        () if engine == "malware" || matches!(kind, "8" | "RULE_TYPE_MALWARE") || has(&["malware"]) => Case::Malware,
        () if drift::is_reported(event) => Case::Drift,
        () if has(&["sensitive mount", "sensitive host mount"]) => Case::SensitiveMount,
        () if has(&["privileged"]) => Case::Privileged,
        () if shell::is_opened(event, &title) => Case::Shell,
        () if has(&["attach/exec", "attach or exec", "exec/attach"]) => Case::Exec,
        () if !in_workload && !is_system(event) => Case::Host,
        () if drift::is_seen(event) => Case::Drift,
        () if !is_start && (matches!(kind, "1" | "RULE_TYPE_PROCESS") || has(&["process", "spawned", "executed"])) => {
            Case::Process
        }
        () if is_system(event) && has(&["kube-system", "kube namespace", "unexpected container"]) => {
            Case::SystemNamespace
        }
        () if !is_start && has(&["launch", "unexpected"]) => Case::Process,
        // The rule says nothing of its own; the namespace does.
        () if is_system(event) => Case::SystemNamespace,
        () => Case::General,
    }
}

/// Whether it happened in the namespace of the cluster's own workloads.
fn is_system(event: &Runtime) -> bool {
    event.kubernetes.namespace.as_deref() == Some("kube-system")
}

/// What the names of rules about mining hold.
const MINERS: &[&str] = &[
    "miner",
    "mining",
    "cryptomin",
    "crypto min",
    "crypto-min",
    "cryptojack",
    "cryptocurrenc",
    "coinmin",
    "coinhive",
    "xmrig",
    "stratum",
];

/// Whether it happened on Windows.
fn is_windows(event: &Runtime) -> bool {
    let system = event.label("host.os.name").or_else(|| event.label("host.os.type")).unwrap_or_default();
    let programs = ["proc.exepath", "proc.exe", "proc.cmdline"].into_iter().filter_map(|name| event.field(name));
    system.to_ascii_lowercase().contains("windows")
        || programs.into_iter().any(|line| is_windows_path(line.trim_start_matches('"')))
}

/// Names as shell words, ready to be put into commands.
struct Target {
    pod: Option<String>,
    namespace: Option<String>,
    container: Option<String>,
    node: Option<String>,
    cluster: Option<String>,
    location: Option<String>,
    project: Option<String>,
    /// The same, where its cluster may be one of GKE's.
    gke_project: Option<String>,
    zone: Option<String>,
    instance: Option<String>,
    workload: Option<String>,
    evidence: String,
}

impl Target {
    fn of(event: &Runtime, enriched: &Enriched, resource: &Resource) -> Self {
        let known = |text: Option<&str>| text.and_then(word);
        let found = enriched.instance.as_ref().filter(|_| resource.is_instance);
        let cloud = &event.cloud;
        let zone = cloud.zone.as_deref().filter(|zone| is_zone(zone));
        // Without a project an instance is not addressed completely, and a name outside Google Cloud is none.
        let instance = cloud.instance_name.as_deref().or(event.host.name.as_deref()).filter(|_| resource.is_instance);
        let kubernetes = &event.kubernetes;
        let owner = kubernetes.workload_kind.as_deref().zip(kubernetes.workload.as_deref());
        let owner = owner.or(kubernetes.deployment.as_deref().map(|name| ("deployment", name)));
        // A pod of its own, or of its node, has steps of its own.
        let is_owner =
            |kind: &str| kind.bytes().all(|b| b.is_ascii_lowercase()) && !kind.is_empty() && !has_own_place(kind);
        let owner = owner.filter(|(kind, _)| is_owner(kind));
        // What an event calls its cluster may be any text of the agent's settings: what Compute Engine says is its name.
        let looked_up = found.and_then(|instance| instance.cluster.as_ref()).filter(|c| is_cluster_name(&c.name));
        let (cluster, place) = looked_up.map_or_else(
            || (kubernetes.cluster.as_deref().filter(|name| is_cluster_name(name)), location(event)),
            |cluster| (Some(cluster.name.as_str()), Some(cluster.location.as_str())),
        );
        let project = known(found.map(|i| i.project.as_str()).or(cloud.project()));
        Self {
            pod: known(kubernetes.pod.as_deref()).filter(|_| known(kubernetes.namespace.as_deref()).is_some()),
            namespace: known(kubernetes.namespace.as_deref()),
            container: known(event.container.name.as_deref()),
            node: known(node_name(event)),
            cluster: known(cluster),
            location: known(place),
            gke_project: project.clone().filter(|_| !is_not_gke(event, enriched)),
            project,
            zone: known(found.map(|i| i.zone.as_str()).or(zone)),
            instance: known(found.map(|i| i.name.as_str()).or(instance)),
            workload: owner.and_then(|(kind, name)| Some(format!("{kind} {}", word(name)?))),
            evidence: format!("evidence-{}", event.finding_id().as_str().to_ascii_lowercase()),
        }
    }
}

fn opening(event: &Runtime, link: Option<&str>, steps: &mut Steps) {
    let place = if event.link.is_some() || event.shape != Shape::Falco { "Sysdig Secure" } else { "the console" };
    if let Some(link) = link {
        steps.say(format_args!("Open the event in {place}: {link}"));
    }
    if let Some(runbook) = event.runbook.as_deref().and_then(crate::text::address) {
        steps.say(format_args!("Follow the rule's run book: {runbook}"));
    }
}

/// What to ask first, by case.
fn question(case: Case) -> &'static str {
    match case {
        Case::CryptoMiner => {
            "Confirm that the process mines: look for mining pools among its connections and for sustained CPU use."
        }
        Case::Malware => {
            "Take the file's digest from the finding and check it with a malware service; do not run the file."
        }
        Case::Drift => "Find out how the executable that is not part of the image came into the container.",
        Case::SystemNamespace => {
            "Compare the container with what the provider of the cluster runs in kube-system; what neither it nor your operators put there is an intrusion."
        }
        Case::SensitiveMount => {
            "Check whether the workload needs the host path it mounts; such a mount can be a way out of the container."
        }
        Case::Privileged => "Check whether the container must be privileged; a privileged container controls its node.",
        Case::Shell => "Find out who opened the shell and why; nobody should need one in production.",
        Case::Exec => {
            "Find out who ran a command in the container or attached to it, and why; nobody should need that in production."
        }
        Case::Sensor => {
            "The sensor tells of itself: find out what it could not see, and why. Attackers may overload it on purpose."
        }
        Case::Process => "Check whether the image is meant to start this process.",
        _ => "Check whether what the summary describes was expected.",
    }
}

fn pod(event: &Runtime, case: Case, target: &Target, steps: &mut Steps) {
    let (Some(pod), Some(ns)) = (&target.pod, &target.namespace) else { return };
    steps.say(question(case));
    let end = ended::of(event);
    if let Some(warning) = ended::warning(event) {
        steps.say(warning);
    }
    credentials(target, steps);
    steps.run("Look at the pod, its node and its owner:", format_args!("kubectl -n {ns} get pod {pod} -o wide"));
    let inspection = match case {
        Case::SensitiveMount => format!("kubectl -n {ns} get pod {pod} -o 'jsonpath={{.spec.volumes}}'"),
        Case::Privileged => {
            format!("kubectl -n {ns} get pod {pod} -o 'jsonpath={{.spec.containers[*].securityContext}}'")
        }
        _ => format!("kubectl -n {ns} describe pod {pod}"),
    };
    steps.run("Inspect what it is allowed to do:", inspection);
    if is_system(event) {
        let columns = "POD:.metadata.name,OWNER:.metadata.ownerReferences[*].name,IMAGES:.spec.containers[*].image";
        let list = format_args!("kubectl -n {ns} get pods -o 'custom-columns={columns}'");
        steps.run("Compare it with what else runs in kube-system, by owner and image:", list);
    }
    log(target, end, steps);
    steps.run(
        "Save its manifest as evidence:",
        format_args!("kubectl -n {ns} get pod {pod} -o yaml > {}.yaml", target.evidence),
    );
    if matches!(case, Case::Shell | Case::Exec)
        && let Some(principal) = audit_filter(target, event)
    {
        steps.run("See who executed commands in the pod:", principal);
    }
    steps.run(
        "Mark the pod as quarantined:",
        format_args!("kubectl -n {ns} label pod {pod} quarantine=true --overwrite"),
    );
    if let Some(node) = &target.node {
        steps.run("Keep new pods off its node:", format_args!("kubectl cordon {node}"));
    }
    snapshot(target, steps);
    image(event, steps);
    removal(case, target, steps);
}

/// A container that was ended has been started anew since then, unless its pod forbids it: its log is the one before.
fn log(target: &Target, end: Option<End>, steps: &mut Steps) {
    let (Some(pod), Some(ns)) = (&target.pod, &target.namespace) else { return };
    let container = target.container.as_ref().map_or_else(|| " --all-containers".into(), |name| format!(" -c {name}"));
    let file = &target.evidence;
    let Some(end) = end else {
        let command = format_args!("kubectl -n {ns} logs {pod}{container} --timestamps > {file}.log");
        return steps.run("Save its log as evidence:", command);
    };
    // Of all containers only the ended ones have an earlier log.
    let others = if target.container.is_some() { "" } else { " --ignore-errors" };
    let sentence = format!(
        "Save the log of the {} container as evidence; if nothing started it again, without --previous:",
        end.word()
    );
    let command = format_args!("kubectl -n {ns} logs {pod}{container} --previous{others} --timestamps > {file}.log");
    steps.run(&sentence, command);
}

fn credentials(target: &Target, steps: &mut Steps) {
    if let (Some(cluster), Some(location), Some(project)) = (&target.cluster, &target.location, &target.gke_project) {
        steps.run(
            "Get access to the cluster (for a zonal cluster the location is its zone):",
            format_args!(
                "gcloud container clusters get-credentials {cluster} --location {location} --project {project}"
            ),
        );
    } else if let Some(project) = &target.gke_project {
        let command = format_args!("gcloud container clusters list --project {project}");
        steps.run("Find the cluster and get access to it:", command);
    }
}

fn audit_filter(target: &Target, event: &Runtime) -> Option<String> {
    let (project, namespace, pod) =
        (target.gke_project.as_ref()?, event.kubernetes.namespace.as_deref()?, event.kubernetes.pod.as_deref()?);
    let plain = |name: &str| name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'));
    (plain(namespace) && plain(pod)).then(|| {
        let filter = format!(
            "resource.type=k8s_cluster AND protoPayload.resourceName=~\"namespaces/{namespace}/pods/{pod}/exec\""
        );
        format!("gcloud logging read '{filter}' --project {project} --freshness 1d --limit 20")
    })
}

fn snapshot(target: &Target, steps: &mut Steps) {
    if let (Some(instance), Some(zone), Some(project)) = (&target.instance, &target.zone, &target.project) {
        let place = format!("--zone {zone} --project {project}");
        steps.run(
            "Before anything is destroyed, list the disks of the virtual machine:",
            format_args!("gcloud compute instances describe {instance} {place} --format 'value(disks[].source)'"),
        );
        steps.run(
            "Take a snapshot of each persistent disk; the boot disk usually bears the machine's name:",
            format_args!(
                "gcloud compute disks snapshot {instance} {place} --snapshot-names {}",
                cut(&target.evidence, 63)
            ),
        );
    }
}

fn image(event: &Runtime, steps: &mut Steps) {
    let (Some(image), Some(digest)) = (event.container.image.as_deref(), event.container.digest.as_deref()) else {
        return;
    };
    // Of others the command knows nothing, nor of Google's mirrors, as gke.gcr.io.
    let Some(known) = images::recognise(image).filter(|_| digest.starts_with("sha256:")) else { return };
    if let Some(reference) = word(&format!("{}@{digest}", known.path())) {
        steps.run(
            "See when and by whom the image was pushed:",
            format_args!("gcloud artifacts docker images describe {reference}"),
        );
    }
}

fn removal(case: Case, target: &Target, steps: &mut Steps) {
    let (Some(pod), Some(ns)) = (&target.pod, &target.namespace) else { return };
    if let Some(workload) = &target.workload {
        steps.run("Look at the workload it belongs to:", format_args!("kubectl -n {ns} get {workload} -o yaml"));
    }
    // Of a pod without a known workload nobody knows whether it comes back.
    let is_owned = target.workload.is_some();
    let what = match case {
        Case::SensitiveMount | Case::Privileged if is_owned => {
            "Take the privilege out of the workload's manifest, apply it, then delete this pod:"
        }
        Case::SensitiveMount | Case::Privileged => {
            "Take the privilege out of the manifest that the pod was made from, apply it, then delete this pod:"
        }
        Case::CryptoMiner | Case::Malware | Case::Drift if is_owned => {
            "When the evidence is safe, delete the pod; its controller starts a clean one from the image:"
        }
        Case::CryptoMiner | Case::Malware | Case::Drift => {
            "When the evidence is safe, delete the pod; a controller, if it has one, starts a clean one from the image:"
        }
        _ if is_owned => {
            "When it was not expected and the evidence is safe, delete the pod; its controller starts a new one:"
        }
        _ => {
            "When it was not expected and the evidence is safe, delete the pod; a controller, if it has one, starts a new one:"
        }
    };
    steps.run(what, format_args!("kubectl -n {ns} delete pod {pod} --grace-period 10"));
    if matches!(case, Case::CryptoMiner | Case::Malware | Case::Shell | Case::Exec | Case::SystemNamespace) {
        steps
            .say("Change every credential that the pod could read: its service account, its secrets, its environment.");
    }
}

fn host(event: &Runtime, case: Case, target: &Target, steps: &mut Steps) {
    steps.say(question(case));
    if event.lacks_fields() {
        steps.say(
            "The event came without its fields: if its sentence names a pod or a container, look there first; what follows is about the host that Falco ran on.",
        );
    }
    let end = ended::of(event);
    if let Some(warning) = ended::warning(event) {
        steps.say(warning);
    }
    let is_windows = is_windows(event);
    if let (Some(instance), Some(zone), Some(project), false) =
        (&target.instance, &target.zone, &target.project, is_windows)
    {
        let command = format!(
            "gcloud compute ssh {instance} --zone {zone} --project {project} --command 'ps -eo pid,ppid,user,lstart,args --forest'"
        );
        steps.run("Look at the processes of the machine:", command);
    } else if let Some(host) = &target.node.clone().or_else(|| event.machine().and_then(word)) {
        let or_node = match sensors_own(event) {
            Some("pod") => "; if that is Falco's own pod, of the node that it runs on",
            Some(_) => "; if that is Falco's own container, of the machine that it runs on",
            None => "",
        };
        steps.say(format_args!("Look at the processes, log-ins and scheduled jobs of the host {host}{or_node}."));
    }
    let id = event.container.id.as_deref().filter(|id| id.bytes().all(|b| b.is_ascii_alphanumeric())).and_then(word);
    let kubernetes = &event.kubernetes;
    let on_node = kubernetes.node.is_some() || kubernetes.namespace.is_some() || kubernetes.cluster.is_some();
    if let Some(id) = id.as_ref().filter(|_| !on_node) {
        steps.say(format_args!("Inspect the container {id} with the tools of what runs it, and keep what they say."));
    }
    let id = id.filter(|_| on_node);
    if let Some(id) = &id {
        steps.run("On the node, inspect the container:", format_args!("sudo crictl inspect {id}"));
    }
    if let Some(user) = event.field("user.name").filter(|user| *user != "root" && !is_windows).and_then(word) {
        steps.run("On the host, see when the user logged in:", format_args!("last -w {user}"));
    }
    snapshot(target, steps);
    if let Some(id) = id.filter(|_| end.is_none()) {
        steps.run(
            "When it was not expected and the evidence is safe, stop the container on the node:",
            format_args!("sudo crictl stop {id}"),
        );
    }
    image(event, steps);
}

/// Numbered steps under way.
struct Steps {
    text: String,
    count: usize,
}

impl Steps {
    fn say(&mut self, sentence: impl Display) {
        self.step("", sentence);
    }

    /// A sentence, and below it a command on a line of its own.
    fn run(&mut self, sentence: &str, command: impl Display) {
        self.step(sentence, command);
    }

    /// A step that does not fit into what is left is left out.
    fn step(&mut self, sentence: &str, last: impl Display) {
        let before = self.text.len();
        let line_break = if before > 0 { "\n" } else { "" };
        let written = write!(self.text, "{line_break}{}. ", self.count + 1);
        if !sentence.is_empty() {
            self.text.push_str(sentence);
            self.text.push_str("\n   ");
        }
        if written.and_then(|()| write!(self.text, "{last}")).is_err() || self.text.len() > LONGEST {
            self.text.truncate(before);
        } else {
            self.count += 1;
        }
    }
}
