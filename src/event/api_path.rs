//! What the path of a request to a Kubernetes API server says: `/apis/apps/v1/namespaces/shop/deployments/web/scale`.

/// A path, taken apart. What a name holds that Kubernetes does not allow is no name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ApiPath<'p> {
    /// The API group with its version: `apps/v1`, and `v1` of the core.
    pub group: &'p str,
    /// Where the object lives; nothing that belongs to the whole cluster has one.
    pub namespace: Option<&'p str>,
    /// As the API names it, in the plural.
    pub resource: Option<&'p str>,
    /// The object; a request for a list names none.
    pub name: Option<&'p str>,
    /// The part of the object that the request is about: `exec`, `status`.
    pub subresource: Option<&'p str>,
}

impl<'p> ApiPath<'p> {
    /// `None` when it is no path of an object or a list, `/healthz` for example.
    pub fn read(uri: &'p str) -> Option<Self> {
        let path = uri.split('?').next().unwrap_or_default();
        let (group, rest) = match path.strip_prefix("/api/") {
            Some(rest) => cut(rest, 1),
            None => cut(path.strip_prefix("/apis/")?, 2),
        };
        let parts = group.split('/').filter(|part| !part.is_empty()).count();
        if parts != group.split('/').count() || (path.starts_with("/apis/") && parts < 2) {
            return None;
        }
        let mut told = rest.split('/').filter(|segment| !segment.is_empty()).peekable();
        told.next_if_eq(&"watch");
        let [first, second, third] = [told.next(), told.next(), told.next()];
        let found = Self { group, ..Self::default() };
        let part = third.and_then(named);
        if first != Some("namespaces") || third.is_none() || matches!(part, Some("status" | "finalize")) {
            return Some(found.about(first, second, third));
        }
        let found = Self { namespace: second.and_then(named), ..found };
        Some(if part.is_some() { found.about(third, told.next(), told.next()) } else { found })
    }

    /// With the object of these segments.
    fn about(self, resource: Option<&'p str>, name: Option<&'p str>, part: Option<&'p str>) -> Self {
        let subresource = part.and_then(named);
        // It may be told what to talk to there, and how: `https:web:8443`.
        let alone = |name: &'p str| match *name.split(':').collect::<Vec<_>>() {
            [name, _] | [_, name, _] if subresource == Some("proxy") => name,
            _ => name,
        };
        let name = name.and_then(named).map(alone).filter(|name| !name.is_empty());
        Self { resource: resource.and_then(named), name, subresource, ..self }
    }
}

/// The first segments, and what follows them.
fn cut(path: &str, segments: usize) -> (&str, &str) {
    let end = path.match_indices('/').nth(segments - 1).map_or(path.len(), |(at, _)| at);
    path.split_at(end)
}

fn named(segment: &str) -> Option<&str> {
    let harmless = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b':' | b'_');
    segment.bytes().all(harmless).then_some(segment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_tells_its_group() {
        for (path, expected) in [
            ("/apis/storage.k8s.io/v1/volumeattachments/csi-1/status", Some("storage.k8s.io/v1")),
            ("/apis/batch/v1?timeout=32s", Some("batch/v1")),
            ("/api/v1/namespaces/prod/secrets", Some("v1")),
            ("/api/", None),
            ("/apis/apps", None),
            ("/apis/apps/", None),
            ("/healthz", None),
        ] {
            assert_eq!(ApiPath::read(path).map(|path| path.group), expected, "{path}");
        }
    }

    #[test]
    fn a_path_tells_where_its_object_is() {
        for (path, [namespace, resource, name, subresource]) in [
            ("/api/v1/namespaces/shop/pods/web-1/exec?command=cat", ["shop", "pods", "web-1", "exec"]),
            ("/apis/apps/v1/namespaces/shop/deployments/web", ["shop", "deployments", "web", ""]),
            ("/api/v1/namespaces/shop/pods?limit=500", ["shop", "pods", "", ""]),
            ("/api/v1/namespaces/shop", ["", "namespaces", "shop", ""]),
            ("/api/v1/namespaces/shop/finalize", ["", "namespaces", "shop", "finalize"]),
            ("/api/v1/nodes/n-1/proxy/run/a/b", ["", "nodes", "n-1", "proxy"]),
            ("/apis/example.com/v1/namespaces/shop/widgets/w", ["shop", "widgets", "w", ""]),
            ("/api/v1/namespaces/shop/pods/$(id)", ["shop", "pods", "", ""]),
            ("/api/v1/namespaces/shop/$(x)/y", ["shop", "", "", ""]),
            ("/api/v1/namespaces/shop/services/http:web:80/proxy/x", ["shop", "services", "web", "proxy"]),
            ("/api/v1/namespaces/shop/services/web:80/proxy", ["shop", "services", "web", "proxy"]),
            ("/api/v1/namespaces/shop/services/https:web:/proxy", ["shop", "services", "web", "proxy"]),
            ("/api/v1/nodes/n-1:10250/proxy/pods", ["", "nodes", "n-1", "proxy"]),
            ("/apis/rbac.authorization.k8s.io/v1/clusterroles/system:node", ["", "clusterroles", "system:node", ""]),
            ("/api/v1/watch/namespaces/shop/secrets/db", ["shop", "secrets", "db", ""]),
            ("/api/v1/watch/pods?timeout=5m", ["", "pods", "", ""]),
            ("/api/v1/pods", ["", "pods", "", ""]),
            ("/api/v1", ["", "", "", ""]),
        ] {
            let found = ApiPath::read(path).unwrap();
            let told = [found.namespace, found.resource, found.name, found.subresource];
            assert_eq!(told.map(Option::unwrap_or_default), [namespace, resource, name, subresource], "{path}");
        }
    }
}
