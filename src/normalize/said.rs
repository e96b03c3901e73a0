//! What Falco's sentence says at its end about the place, for events that came without fields
//! (`json_include_output_fields_property: false`).

use super::json::meaningful;
use crate::event::facts::Facts;

/// What Falco puts for `%container.info`, now and before, and the fields' own names.
const NAMES: [(&str, &str); 11] = [
    ("container_id", "container.id"),
    ("container", "container.id"),
    ("container_name", "container.name"),
    ("container_image", "container.image"),
    ("container_image_repository", "container.image.repository"),
    ("image", "container.image.repository"),
    ("container_image_tag", "container.image.tag"),
    ("k8s_pod_name", "k8s.pod.name"),
    ("k8s.pod", "k8s.pod.name"),
    ("k8s_ns_name", "k8s.ns.name"),
    ("k8s.ns", "k8s.ns.name"),
];

/// The fields that the sentence ends with, `container_id=… k8s_pod_name=…`. What stands before them may be a command,
/// and a command may say anything.
pub(super) fn fields(sentence: &str) -> Facts {
    let told = |word: &str| {
        let (name, value) = word.split_once('=')?;
        let (_, field) = NAMES.iter().find(|(known, _)| *known == name)?;
        Some((*field, meaningful(value).map(str::to_owned)))
    };
    let words = sentence.trim_end().trim_end_matches(')').rsplit(' ');
    words.map_while(told).filter_map(|(field, value)| Some((field, value?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_sentence_ends_with_is_told_of_the_place() {
        let told = |sentence: &str| {
            let pairs = fields(sentence);
            let pairs: Vec<_> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
            pairs.join(" ")
        };
        for (sentence, expected) in [
            (
                "A shell (command=sh -c ls -al terminal=1 container_id=873807ba3669 container_name=alpine k8s_pod_name=web-1 k8s_ns_name=shop)",
                "container.id=873807ba3669 container.name=alpine k8s.ns.name=shop k8s.pod.name=web-1",
            ),
            (
                "x (image=nginx) k8s.ns=shop k8s.pod=web-1 container=32c415f00958",
                "container.id=32c415f00958 k8s.ns.name=shop k8s.pod.name=web-1",
            ),
            ("x | command=sh k8s_pod_name=evil a container_id=abc k8s_pod_name=<NA> k8s_ns_name=", "container.id=abc"),
            ("command=sh k8s_pod_name=evil terminal=0", ""),
            ("", ""),
        ] {
            assert_eq!(told(sentence), expected, "{sentence}");
        }
    }
}
