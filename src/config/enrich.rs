//! Settings of the look-ups: Compute Engine and Kubernetes.

use std::time::Duration;

use url::Url;

use super::env::{Area, Env, Setting};
use crate::event::location::{is_region, is_zone};
use crate::google::{compute, resource_manager};

/// Where instances are.
pub static COMPUTE_PROJECT_ID: Setting = Setting {
    name: "COMPUTE_PROJECT_ID",
    aliases: &[],
    default: None,
    example: "my-project,my-other-project",
    secret: false,
    doc: "The projects whose instances are looked up, by id or number, separated by commas. Empty means that no instance \
          is looked up. Needs roles/compute.viewer in each: while one of them cannot be asked, no instance of the \
          others is taken by its name alone.",
};
/// Which zones.
pub static COMPUTE_ZONE: Setting = Setting {
    name: "COMPUTE_ZONE",
    aliases: &[],
    default: None,
    example: "europe-west3-a,europe-west3-b",
    secret: false,
    doc: "The zones in which instances are looked up, separated by commas. Empty means all. A region is refused: name its \
          zones.",
};
/// Where the service is.
pub static COMPUTE_ENDPOINT: Setting = Setting {
    name: "COMPUTE_ENDPOINT",
    aliases: &[],
    default: Some(compute::ENDPOINT),
    example: "http://127.0.0.1:8088",
    secret: false,
    doc: "Compute Engine's address. A loopback http address is called without a token when no key is set.",
};
/// Where the service is.
pub static RESOURCE_MANAGER_ENDPOINT: Setting = Setting {
    name: "RESOURCE_MANAGER_ENDPOINT",
    aliases: &[],
    default: Some(resource_manager::ENDPOINT),
    example: "http://127.0.0.1:8088",
    secret: false,
    doc: "Resource Manager's address, asked for a project's number where Compute Engine does not say it.",
};
/// How long look-ups may take.
pub static ENRICH_TIMEOUT_SECS: Setting = Setting {
    name: "ENRICH_TIMEOUT_SECS",
    aliases: &[],
    default: Some("5"),
    example: "5",
    secret: false,
    doc: "How long all look-ups of one event may take together, in seconds. What was not found in time is a gap in the finding.",
};
/// How long is remembered what was found.
pub static ENRICH_CACHE_SECS: Setting = Setting {
    name: "ENRICH_CACHE_SECS",
    aliases: &[],
    default: Some("600"),
    example: "600",
    secret: false,
    doc: "How long what a look-up found is remembered, in seconds. A machine made again under its name is taken for the one before that long by events that name nothing else of it.",
};
/// How long is remembered that nothing was found.
pub static ENRICH_MISS_CACHE_SECS: Setting = Setting {
    name: "ENRICH_MISS_CACHE_SECS",
    aliases: &[],
    default: Some("30"),
    example: "30",
    secret: false,
    doc: "How long is remembered that a look-up found nothing, in seconds. A machine that has just been made is missed that long.",
};
/// How many things are remembered.
pub static ENRICH_CACHE_ENTRIES: Setting = Setting {
    name: "ENRICH_CACHE_ENTRIES",
    aliases: &[],
    default: Some("10000"),
    example: "10000",
    secret: false,
    doc: "How many machines, and how many pods, are remembered at most.",
};
/// Ask Kubernetes.
pub static KUBERNETES_ENRICH: Setting = Setting {
    name: "KUBERNETES_ENRICH",
    aliases: &[],
    default: Some("off"),
    example: "in-cluster",
    secret: false,
    doc: "Ask a Kubernetes API server about pods, their owners and nodes: off, in-cluster, kubeconfig, or auto (a kubeconfig \
          if there is one, else in-cluster; true, yes, on and 1 mean auto, and false, no and 0 off). Reads only; needs get on pods, nodes, replicasets and jobs.",
};
/// Which context.
pub static KUBERNETES_CONTEXT: Setting = Setting {
    name: "KUBERNETES_CONTEXT",
    aliases: &[],
    default: None,
    example: "gke_my-project_europe-west3_prod",
    secret: false,
    doc: "The context of the kubeconfig, if not its current one.",
};
/// Which cluster that is.
pub static KUBERNETES_CLUSTER: Setting = Setting {
    name: "KUBERNETES_CLUSTER",
    aliases: &[],
    default: None,
    example: "prod",
    secret: false,
    doc: "The name of the cluster whose API server is asked, as Sysdig's events have it. Events of other clusters are not \
          looked up. Empty means that every event is from it.",
};

/// The area as the documents show it.
pub static AREA: Area = Area {
    title: "Look-ups",
    settings: &[
        &COMPUTE_PROJECT_ID,
        &COMPUTE_ZONE,
        &COMPUTE_ENDPOINT,
        &RESOURCE_MANAGER_ENDPOINT,
        &ENRICH_TIMEOUT_SECS,
        &ENRICH_CACHE_SECS,
        &ENRICH_MISS_CACHE_SECS,
        &ENRICH_CACHE_ENTRIES,
        &KUBERNETES_ENRICH,
        &KUBERNETES_CONTEXT,
        &KUBERNETES_CLUSTER,
    ],
};

/// How long and how much of what look-ups found is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// What was found.
    pub found: Duration,
    /// That nothing was found.
    pub missed: Duration,
    /// Entries at most.
    pub entries: u64,
}

/// The look-ups' settings.
#[derive(Debug, Clone)]
pub struct EnrichConfig {
    /// The projects; empty means that no instance is looked up.
    pub projects: Vec<String>,
    /// The zones; empty means all.
    pub zones: Vec<String>,
    /// Compute Engine's address, without `/compute/v1`.
    pub compute_endpoint: Url,
    /// Resource Manager's address; `None` when Compute Engine is a rehearsal's and this is not set.
    pub resource_manager_endpoint: Option<Url>,
    /// For all look-ups of one event.
    pub deadline: Duration,
    /// What is remembered.
    pub keep: Keep,
    /// The API server; `None` when it is off.
    pub kubernetes: Option<KubernetesConfig>,
}

/// Which API server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KubernetesConfig {
    /// Where its address and credentials come from.
    pub source: KubernetesSource,
    /// The name of the cluster as events have it.
    pub cluster: Option<String>,
}

/// Where the API server's address and credentials come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KubernetesSource {
    /// The pod's own service account.
    InCluster,
    /// A kubeconfig file, by `KUBECONFIG` or in its usual place, and a context in it.
    Kubeconfig(Option<String>),
    /// A kubeconfig if there is one, else the pod's own service account.
    Auto,
}

impl EnrichConfig {
    /// Reads the area. `None` when something is wrong; the problems are in `env`.
    pub fn read(env: &mut Env) -> Option<Self> {
        let projects = projects(env);
        let zones = zones(env);
        let compute_endpoint = compute_endpoint(env);
        let rehearsal =
            compute_endpoint.as_ref().is_some_and(|url| url.as_str().trim_end_matches('/') != compute::ENDPOINT);
        let names_given = env.given(&RESOURCE_MANAGER_ENDPOINT).is_some();
        let resource_manager = env.address(&RESOURCE_MANAGER_ENDPOINT).flatten();
        let deadline = env.number(&ENRICH_TIMEOUT_SECS, 1..=60);
        let found = env.number(&ENRICH_CACHE_SECS, 0..=86_400);
        let missed = env.number(&ENRICH_MISS_CACHE_SECS, 0..=3600);
        let entries = env.number(&ENRICH_CACHE_ENTRIES, 1..=1_000_000);
        let kubernetes = kubernetes(env);
        Some(Self {
            projects: projects?,
            zones: zones?,
            compute_endpoint: compute_endpoint?,
            resource_manager_endpoint: Some(resource_manager?).filter(|_| names_given || !rehearsal),
            deadline: Duration::from_secs(deadline?),
            keep: Keep { found: Duration::from_secs(found?), missed: Duration::from_secs(missed?), entries: entries? },
            kubernetes: kubernetes?,
        })
    }
}

/// The projects whose instances are looked up. `None` when something is wrong; the problem is in `env`.
pub fn projects(env: &mut Env) -> Option<Vec<String>> {
    names(env, &COMPUTE_PROJECT_ID, |b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.:".contains(&b))
}

fn names(env: &mut Env, setting: &'static Setting, fits: impl Fn(u8) -> bool) -> Option<Vec<String>> {
    let mut names = env.list(setting);
    names.dedup();
    if let Some(wrong) = names.iter().find(|name| !name.bytes().all(&fits)) {
        let text = format!("has {wrong:?}, which cannot be one");
        env.problem(setting.name, &text, &format!("for example {}", setting.example));
        return None;
    }
    Some(names)
}

fn zones(env: &mut Env) -> Option<Vec<String>> {
    let zones = names(env, &COMPUTE_ZONE, |b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')?;
    if let Some(wrong) = zones.iter().find(|name| !is_zone(name)) {
        let (what, such) =
            if is_region(wrong) { ("is a region", wrong.as_str()) } else { ("is no zone", "europe-west3") };
        let remedy = format!("name zones, such as {such}-a,{such}-b, or leave it empty for all zones");
        env.problem(COMPUTE_ZONE.name, &format!("has {wrong:?}, which {what}"), &remedy);
        return None;
    }
    Some(zones)
}

/// Where Compute Engine is; a problem stays in `env`.
pub fn compute_endpoint(env: &mut Env) -> Option<Url> {
    let mut url = env.address(&COMPUTE_ENDPOINT).flatten()?;
    // gcloud's own override ends in /compute/v1/; here it is added by every call.
    let path = url.path().trim_end_matches('/').trim_end_matches("/compute/v1").to_owned();
    url.set_path(&path);
    Some(url)
}

/// Which API server; the inner `None` when it is off, the outer one when something is wrong.
#[expect(clippy::option_option, reason = "off and not readable are different answers")]
pub(super) fn kubernetes(env: &mut Env) -> Option<Option<KubernetesConfig>> {
    let context = env.given(&KUBERNETES_CONTEXT);
    let cluster = env.given(&KUBERNETES_CLUSTER);
    let word = env.required(&KUBERNETES_ENRICH)?.to_ascii_lowercase();
    let source = match word.as_str() {
        "off" | "false" | "no" | "0" => return Some(None),
        "in-cluster" => KubernetesSource::InCluster,
        "kubeconfig" => KubernetesSource::Kubeconfig(context),
        "auto" | "true" | "on" | "yes" | "1" if context.is_some() => KubernetesSource::Kubeconfig(context),
        "auto" | "true" | "on" | "yes" | "1" => KubernetesSource::Auto,
        _ => {
            env.problem(KUBERNETES_ENRICH.name, &format!("is {word:?}"), "use off, in-cluster, kubeconfig or auto");
            return None;
        }
    };
    Some(Some(KubernetesConfig { source, cluster }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> (Option<EnrichConfig>, String) {
        let mut env = Env::from_pairs(pairs.iter().copied());
        let config = EnrichConfig::read(&mut env);
        (config, env.finish().err().map(|problems| problems.to_string()).unwrap_or_default())
    }

    #[test]
    fn lists_are_read_and_everything_is_off_by_default() {
        let (config, problems) = read(&[]);
        assert_eq!(problems, "");
        let config = config.unwrap();
        assert!(config.projects.is_empty() && config.zones.is_empty() && config.kubernetes.is_none());
        let (config, _) = read(&[
            ("COMPUTE_PROJECT_ID", " a-1 , example.com:b ,,42"),
            ("COMPUTE_ZONE", "europe-west3-a"),
            ("COMPUTE_ENDPOINT", "http://127.0.0.1:9/compute/v1/"),
            ("KUBERNETES_ENRICH", "kubeconfig"),
            ("KUBERNETES_CONTEXT", "c"),
        ]);
        let config = config.unwrap();
        assert_eq!(config.projects, ["a-1", "example.com:b", "42"]);
        assert_eq!(config.compute_endpoint.as_str(), "http://127.0.0.1:9/");
        assert_eq!(config.resource_manager_endpoint, None, "a rehearsal does not ask Google");
        assert_eq!(config.kubernetes.unwrap().source, KubernetesSource::Kubeconfig(Some("c".into())));
    }

    #[test]
    fn a_region_is_no_zone_and_the_remedy_is_named() {
        for (zones, wrong, such) in [
            ("us-central1", "has \"us-central1\", which is a region", "such as us-central1-a,us-central1-b"),
            ("us-central1-a,us-central1-1", "has \"us-central1-1\", which is no zone", "such as europe-west3-a"),
            ("us", "has \"us\", which is no zone", "such as europe-west3-a"),
        ] {
            let (config, problems) = read(&[("COMPUTE_ZONE", zones)]);
            assert!(config.is_none() && problems.contains(wrong) && problems.contains(such), "{problems}");
            assert!(problems.contains("leave it empty for all zones"), "{problems}");
        }
        assert_eq!(read(&[("COMPUTE_ZONE", "us-central1-a,us-central1-ai1a,northamerica-northeast1-b")]).1, "");
    }

    #[test]
    fn mistakes_are_named() {
        let (config, problems) =
            read(&[("COMPUTE_PROJECT_ID", "a/b"), ("COMPUTE_ENDPOINT", "compute"), ("KUBERNETES_ENRICH", "maybe")]);
        assert!(config.is_none());
        for name in ["COMPUTE_PROJECT_ID", "COMPUTE_ENDPOINT", "KUBERNETES_ENRICH"] {
            assert!(problems.contains(name), "{problems}");
        }
    }
}
