//! What can be read out of names: Docker-era container names, hardware addresses.

use super::sentinels::meaningful;

/// What a container name of the Docker era tells: `k8s_<container>_<pod>_<namespace>_<pod uid>_<attempt>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DockerName<'a> {
    /// The container's name in its pod.
    pub container: &'a str,
    /// The pod.
    pub pod: &'a str,
    /// The namespace.
    pub namespace: &'a str,
}

/// Reads a Docker-era container name; kubelet wrote it, so no part holds an underscore.
pub fn docker_name(name: &str) -> Option<DockerName<'_>> {
    let mut parts = name.trim_start_matches('/').strip_prefix("k8s_")?.split('_');
    let (container, pod, namespace) = (parts.next()?, parts.next()?, parts.next()?);
    // Old versions wrote `<container>.<hash>`.
    let container = container.split('.').next().unwrap_or(container);
    let whole = !container.is_empty() && !pod.is_empty() && !namespace.is_empty() && parts.next().is_some();
    whole.then_some(DockerName { container, pod, namespace })
}

/// The items of a list of names, as Falco writes lists, `(a,b)`, or as JSON does, `["a","b"]`.
pub fn listed(text: &str) -> impl Iterator<Item = &str> {
    let around = |c: char| matches!(c, '(' | ')' | '[' | ']' | '"' | ' ');
    text.split(',').filter_map(move |item| meaningful(item.trim_matches(around)))
}

/// A hardware address in lower case with colons; `None` when it is none.
pub fn mac(text: &str) -> Option<String> {
    let text = text.trim();
    let parts: Vec<_> = text.split([':', '-']).collect();
    let well_formed =
        parts.len() == 6 && parts.iter().all(|p| p.len() == 2 && p.bytes().all(|b| b.is_ascii_hexdigit()));
    (well_formed && parts.iter().any(|part| *part != "00")).then(|| text.to_ascii_lowercase().replace('-', ":"))
}

/// Whether a bare word from `metrics` can be a host's name: not a container's, not a hardware address, not an id.
pub(crate) fn looks_like_host(word: &str) -> bool {
    let shape = word.len() >= 3
        && word.len() <= 253
        && word.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'))
        && word.bytes().any(|b| b.is_ascii_alphabetic());
    shape && !is_container_id(word) && mac(word).is_none()
}

/// Whether it is a container's id, whole or the beginning that stands for it.
pub fn is_container_id(word: &str) -> bool {
    matches!(word.len(), 12 | 64) && word.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_docker_name_tells_pod_and_namespace() {
        let name = "k8s_web_web-7984c4d898-rfrwl_shop_35b5c3ff-3d9e-11e8-9249-42010a9c0071_0";
        let told = DockerName { container: "web", pod: "web-7984c4d898-rfrwl", namespace: "shop" };
        assert_eq!(docker_name(name), Some(told));
        assert_eq!(docker_name("k8s_web"), None);
        assert_eq!(docker_name("web"), None);
    }

    #[test]
    fn lists_of_both_spellings_have_the_same_items() {
        for text in ["(a/b:1,c)", r#"["a/b:1", "c"]"#, "a/b:1,c,", "(a/b:1,<NA>,c)"] {
            assert_eq!(listed(text).collect::<Vec<_>>(), ["a/b:1", "c"], "{text}");
        }
        assert_eq!(listed("()").count(), 0);
    }

    #[test]
    fn a_host_name_is_told_from_ids_and_addresses() {
        assert!(looks_like_host("gke-demo-default-pool-1af4d30b-716h"));
        for other in ["60a3478041e2", "42:01:0a:9c:00:04", "k8s_web_x_y_z_0", "", "12345"] {
            assert!(!looks_like_host(other), "{other}");
        }
    }
}
