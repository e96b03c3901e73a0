//! Container images in Google's registries: recognised by their name alone, and where a person can look at them.

/// An image in Artifact Registry or in the registry before it.
#[derive(Debug, Clone, PartialEq, Eq)]
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
}

/// The image that `text` names, when it is in one of Google's registries.
pub fn recognise(text: &str) -> Option<Image> {
    let text = text.trim();
    let text = text.split_once("://").map_or(text, |(_, rest)| rest);
    // The digest goes first: it has a colon of its own.
    let text = text.split_once('@').map_or(text, |(named, _)| named);
    let (registry, path) = text.split_once('/')?;
    let path = path.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')).map_or(path, |(path, _)| path);
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
    Some(Image { registry, project, location, repository, name: parts.join("/") })
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
            format!(
                "https://console.cloud.google.com/artifacts/docker/{project}/{location}/{repository}/{name}?project={project}"
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> Option<[String; 5]> {
        recognise(text).map(|i| [i.path(), i.project, i.location, i.repository, i.name])
    }

    #[test]
    fn images_of_google_are_recognised_and_others_are_not() {
        let of = |five: [&str; 5]| Some(five.map(str::to_owned));
        let of_two = ["us-docker.pkg.dev/acme/repo/web", "acme", "us", "repo", "web"];
        for (text, expected) in [
            ("gcr.io/acme/web", of(["gcr.io/acme/web", "acme", "", "", "web"])),
            ("eu.gcr.io/acme/team/web:1.2", of(["eu.gcr.io/acme/team/web", "acme", "", "", "team/web"])),
            ("gcr.io/example.com/web/app", of(["gcr.io/example.com/web/app", "example.com:web", "", "", "app"])),
            ("us-docker.pkg.dev/acme/repo/web@sha256:ab", of(of_two)),
            ("docker-pullable://us-docker.pkg.dev/acme/repo/web:t@sha256:ab", of(of_two)),
            ("GCR.io/acme/web", of(["gcr.io/acme/web", "acme", "", "", "web"])),
            ("nginx", None),
            ("docker.io/library/nginx:1", None),
            ("gcr.io.example.com/acme/web", None),
            ("evil-gcr.io/acme/web", None),
            ("gke.gcr.io/acme/web", None),
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
