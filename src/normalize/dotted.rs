//! Names that a shipper took apart at their dots: `{"k8s": {"pod": {"name": "web-1"}}}` for `"k8s.pod.name": "web-1"`,
//! as Logstash, Vector and Elastic's agents do.

use super::json::Json;
use crate::text::sentinels::meaningful;

/// So many parts a name may have; what is deeper stays one value.
const DEEPEST: usize = 12;

/// The longest beginning that is put before other parts, in bytes: what is longer is no field's.
const LONGEST: usize = 1_024;

/// Labels of an object are one value, whatever is in their names.
const ONE_VALUE: &str = "labels";

/// Whether this member is such a part of names. A name that has its dots was not taken apart: its value is an object.
pub(super) fn is_part(name: &str, value: &Json<'_>) -> bool {
    value.is_map() && !name.contains('.') && name != ONE_VALUE && meaningful(name).is_some()
}

/// The values in the parts of names, under their whole names: at most so many. Nothing is made where there are none.
pub(super) fn values<'j, 'a>(object: &'j Json<'a>, most: usize) -> Vec<(String, &'j Json<'a>)> {
    let mut found = Vec::new();
    for (name, value) in object.members().iter().filter(|(name, value)| is_part(name, value)) {
        collect(name.trim().to_owned(), value, DEEPEST, most, &mut found);
    }
    found
}

fn collect<'j, 'a>(
    name: String,
    value: &'j Json<'a>,
    depth: usize,
    most: usize,
    out: &mut Vec<(String, &'j Json<'a>)>,
) {
    let is_one = depth == 0 || name.len() > LONGEST || !value.is_map() || name.ends_with(".labels");
    if is_one && out.len() < most {
        return out.push((name, value));
    }
    for (part, value) in value.members().iter().take_while(|_| !is_one) {
        if out.len() >= most {
            return;
        }
        if let Some(part) = meaningful(part) {
            collect(format!("{name}.{part}"), value, depth - 1, most, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(json: &str, most: usize) -> Vec<(String, String)> {
        let json: Json<'_> = serde_json::from_str(json).unwrap();
        values(&json, most).into_iter().map(|(name, value)| (name, value.any_text().unwrap_or_default())).collect()
    }

    #[test]
    fn names_are_put_together_again() {
        let json = r#"{"k8s":{"pod":{"name":"web-1","labels":{"app":"web"}},"ns.name":"shop"},"proc.name":"sh",
            "k8s.pod.labels":{"a":"b"},"labels":{"a":"b"},"list":[{"a":1}],"":{"x":1},"evt":{"args":["a","b"]}}"#;
        let expected = [
            ("k8s.pod.name", "web-1"),
            ("k8s.pod.labels", r#"{"app":"web"}"#),
            ("k8s.ns.name", "shop"),
            ("evt.args", r#"["a","b"]"#),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(told(json, 100), expected);
        assert_eq!(told(json, 2), expected[..2]);
        assert!(told(r#"{"a.b":1,"c":[1],"d":null}"#, 100).is_empty());
    }

    #[test]
    fn what_is_very_deep_stays_one_value() {
        let deep = (0..40).fold("1".to_owned(), |inner, _| format!(r#"{{"a":{inner}}}"#));
        let [(name, value)] = told(&deep, 100).try_into().unwrap();
        let long = "a".repeat(LONGEST + 1);
        assert_eq!(told(&format!(r#"{{"{long}":{{"b":1}}}}"#), 100), [(long, r#"{"b":1}"#.to_owned())]);
        assert_eq!((name.matches('a').count(), value.matches('a').count()), (DEEPEST + 1, 40 - DEEPEST - 1));
    }
}
