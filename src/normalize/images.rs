//! The name of a container's image, put together from its repository and its tag.

/// How what is told of an image is called: its repository, its tag, its digest.
pub(super) const REPOSITORY: [&str; 2] = ["container.image.repo", "container.image.repository"];
pub(super) const TAG: &str = "container.image.tag";
const DIGEST: &str = "container.image.digest";

/// What Docker calls the repository or the tag of an image that has none.
pub(super) const UNNAMED: &str = "<none>";

/// What one source tells of an image.
struct Told<'f> {
    repository: Option<&'f str>,
    tag: Option<&'f str>,
    digest: Option<&'f str>,
}

impl<'f> Told<'f> {
    fn read(get: impl Fn(&str) -> Option<&'f str>) -> Self {
        Self { repository: REPOSITORY.into_iter().find_map(&get), tag: get(TAG), digest: get(DIGEST) }
    }

    /// Whether both are of one image, as far as they say. One may leave out the registry.
    fn agrees(&self, other: &Self) -> bool {
        let ends = |long: &str, short: &str| long.strip_suffix(short).is_some_and(|head| head.ends_with('/'));
        let alike = |one: &str, other: &str| one == other || ends(one, other) || ends(other, one);
        let same = |one: Option<&str>, other: Option<&str>| one.zip(other).is_none_or(|(one, other)| one == other);
        self.repository.zip(other.repository).is_none_or(|(one, other)| alike(one, other))
            && same(self.tag, other.tag)
            && same(self.digest, other.digest)
    }

    /// Whether it names the image, and says which of that name.
    fn is_whole(&self) -> bool {
        self.repository.is_some() && (self.tag.is_some() || self.digest.is_some())
    }
}

/// Whether the second of two sources is the one to be asked alone, or the first; `None` where they agree.
pub(super) fn speaks_second<'f>(
    first: impl Fn(&str) -> Option<&'f str>,
    second: impl Fn(&str) -> Option<&'f str>,
) -> Option<bool> {
    let (first, second) = (Told::read(first), Told::read(second));
    let names_only_second = first.repository.is_none() && second.repository.is_some();
    (!first.agrees(&second)).then(|| !first.is_whole() && (second.is_whole() || names_only_second))
}

/// Whether it is part of what is told of an image.
pub(super) fn is_part(name: &str) -> bool {
    name.starts_with("container.image")
}

/// `repository:tag`; a digest in the tag's place stands behind an `@`. A repository may hold either already.
pub(super) fn named(repository: String, tag: &str) -> String {
    let last = repository.rsplit('/').next().unwrap_or_default();
    if last.contains([':', '@']) {
        return repository;
    }
    let mark = if tag.starts_with("sha256:") { '@' } else { ':' };
    format!("{repository}{mark}{tag}")
}
