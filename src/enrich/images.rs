//! Container images in Google's registries: recognised by their name alone, and where a person can look at them.

use serde::{Deserialize, Serialize};

/// An image in Artifact Registry or in the registry before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// The registry's host: `europe-west1-docker.pkg.dev`, `eu.gcr.io`.
    pub registry: String,
    /// The project's id, with its domain for the oldest projects: `example.com:web`.
    pub project: String,
    /// Artifact Registry's location (`europe-west1`, `us`); empty for `gcr.io`.
    pub location: String,
    /// Artifact Registry's repository; empty for `gcr.io`.
    pub repository: String,
    /// The image within the repository, which may have slashes.
    pub name: String,
    /// The tag; empty when there is none.
    pub tag: String,
    /// `sha256:…`; empty when it is not said.
    pub digest: String,
}

/// The image that `text` names, when it is in one of Google's registries.
pub fn recognise(text: &str) -> Option<Image> {
    let text = text.trim();
    let text = text.split_once("://").map_or(text, |(_, rest)| rest);
    let (rest, digest) = text.split_once('@').unwrap_or((text, ""));
    let (registry, path) = rest.split_once('/')?;
    let (path, tag) = match path.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, tag),
        _ => (path, ""),
    };
    let registry = registry.to_ascii_lowercase();
    let mut parts: Vec<&str> = path.split('/').collect();
    if parts.iter().any(|part| part.is_empty()) {
        return None;
    }
    // The oldest projects belong to a domain: gcr.io/example.com/web is the project example.com:web.
    let mut project = parts.remove(0).to_owned();
    if project.contains('.') && !parts.is_empty() {
        project = format!("{project}:{}", parts.remove(0));
    }
    let location = registry.strip_suffix("-docker.pkg.dev").unwrap_or_default().to_owned();
    let repository = match (location.is_empty(), is_gcr(&registry)) {
        (false, _) if parts.len() >= 2 => parts.remove(0).to_owned(),
        (true, true) if !parts.is_empty() => String::new(),
        _ => return None,
    };
    let (tag, digest, name) = (tag.to_owned(), digest.to_owned(), parts.join("/"));
    Some(Image { registry, project, location, repository, name, tag, digest })
}

fn is_gcr(registry: &str) -> bool {
    matches!(registry, "gcr.io" | "us.gcr.io" | "eu.gcr.io" | "asia.gcr.io")
}

impl Image {
    /// The image's full name without tag and digest.
    pub fn path(&self) -> String {
        let Self { registry, project, repository, name, .. } = self;
        let project = project.replace(':', "/");
        if repository.is_empty() {
            format!("{registry}/{project}/{name}")
        } else {
            format!("{registry}/{project}/{repository}/{name}")
        }
    }

    /// Where a person can look at it in the Google Cloud console.
    pub fn link(&self) -> String {
        let Self { project, location, repository, name, .. } = self;
        let name = name.replace('/', "%2F");
        if location.is_empty() {
            format!("https://{}", self.path())
        } else {
            format!("https://console.cloud.google.com/artifacts/docker/{project}/{location}/{repository}/{name}?project={project}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> Option<[String; 6]> {
        recognise(text).map(|i| [i.project, i.location, i.repository, i.name, i.tag, i.digest])
    }

    #[test]
    fn images_of_google_are_recognised_and_others_are_not() {
        let of = |six: [&str; 6]| Some(six.map(str::to_owned));
        for (text, expected) in [
            ("gcr.io/acme/web", of(["acme", "", "", "web", "", ""])),
            ("eu.gcr.io/acme/team/web:1.2", of(["acme", "", "", "team/web", "1.2", ""])),
            ("gcr.io/example.com/web/app", of(["example.com:web", "", "", "app", "", ""])),
            ("us-docker.pkg.dev/acme/repo/web@sha256:ab", of(["acme", "us", "repo", "web", "", "sha256:ab"])),
            (
                "docker-pullable://europe-west1-docker.pkg.dev/acme/repo/a/b:t@sha256:ab",
                of(["acme", "europe-west1", "repo", "a/b", "t", "sha256:ab"]),
            ),
            ("GCR.io/acme/web", of(["acme", "", "", "web", "", ""])),
            ("nginx", None),
            ("docker.io/library/nginx:1", None),
            ("gcr.io.example.com/acme/web", None),
            ("evil-gcr.io/acme/web", None),
            ("us-docker.pkg.dev/acme/repo", None),
            ("gcr.io/acme", None),
            ("gcr.io//web", None),
            ("", None),
        ] {
            assert_eq!(parts(text), expected, "{text}");
        }
    }

    #[test]
    fn an_image_links_to_its_page() {
        let link = |text| recognise(text).unwrap().link();
        assert_eq!(link("gcr.io/acme/web:1"), "https://gcr.io/acme/web");
        assert_eq!(
            link("us-docker.pkg.dev/acme/repo/a/b"),
            "https://console.cloud.google.com/artifacts/docker/acme/us/repo/a%2Fb?project=acme"
        );
    }
}
