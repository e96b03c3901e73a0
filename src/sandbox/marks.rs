//! Security marks: the users' own words on a finding. Their keys have no case.

use serde_json::{Map, Value};

use super::error::Refusal;
use super::findings::{Ask, change};
use super::mask::spelled;
use super::message::normalize;
use super::store::Store;

type Object = Map<String, Value>;

/// UpdateSecurityMarks; the answer is the marks.
pub(crate) fn update(store: &mut Store, id: &str, ask: Ask<'_>) -> Result<Object, Refusal> {
    let body = normalize("SecurityMarks", "security_marks", ask.body)?;
    let mut new = Object::new();
    for (key, value) in body.get("marks").and_then(Value::as_object).into_iter().flatten() {
        new.insert(key.clone(), Value::String(mark(key, value.as_str().unwrap_or_default())?));
    }
    let asked = Asked::read(&ask.query.update_mask)?;
    let finding = change(store, id, ask.place, |finding| {
        let Some(Value::Object(holder)) = finding.get_mut("securityMarks") else { return Ok(()) };
        let old = holder.remove("marks").and_then(|m| if let Value::Object(m) = m { Some(m) } else { None });
        let marks = asked.merged(old.unwrap_or_default(), new);
        if !marks.is_empty() {
            holder.insert("marks".into(), Value::Object(marks));
        }
        Ok(())
    })?;
    Ok(finding.get("securityMarks").and_then(Value::as_object).cloned().unwrap_or_default())
}

/// Which marks an update is about.
enum Asked {
    All,
    Keys(Vec<String>),
}

impl Asked {
    fn read(paths: &[String]) -> Result<Self, Refusal> {
        let whole = |path: &String| matches!(path.as_str(), "marks" | "*");
        let keys: Vec<String> =
            paths.iter().filter_map(|path| path.strip_prefix("marks.")).map(str::to_owned).collect();
        if keys.len() < paths.iter().filter(|path| !whole(path)).count() {
            let text = "Invalid update_mask: only `marks` and `marks.KEY` can be updated.";
            return Err(Refusal::field("update_mask", text));
        }
        Ok(if paths.is_empty() || paths.iter().any(whole) { Self::All } else { Self::Keys(keys) })
    }

    /// The marks after the update: of `old` those that were not asked for stay, of `new` those that were come.
    fn merged(&self, old: Object, new: Object) -> Object {
        let Self::Keys(keys) = self else { return put(Object::new(), new) };
        let keys: Vec<_> = keys.iter().map(|key| spelled(key, &[&new, &old], str::eq_ignore_ascii_case)).collect();
        let asked = |mark: &String| keys.iter().any(|key| key.eq_ignore_ascii_case(mark));
        let kept = old.iter().filter(|(mark, _)| !asked(mark)).map(|(k, v)| (k.clone(), v.clone())).collect();
        put(kept, new.iter().filter(|(mark, _)| asked(mark)).map(|(k, v)| (k.clone(), v.clone())).collect())
    }
}

/// Adds marks; of two keys that differ in case only the later one stays.
fn put(mut marks: Object, new: Object) -> Object {
    for (key, value) in new {
        marks.retain(|mark, _| !mark.eq_ignore_ascii_case(&key));
        marks.insert(key, value);
    }
    marks
}

fn mark(key: &str, value: &str) -> Result<String, Refusal> {
    let value = value.trim();
    let good_key =
        (1..=256).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    if !good_key {
        let text = format!("Mark key {key:?} must have 1 to 256 letters, digits, underscores or dashes.");
        return Err(Refusal::field("security_marks.marks", text));
    }
    if value.is_empty() || value.chars().count() > 4096 {
        let text = format!("The value of mark {key:?} must have 1 to 4096 characters after trimming.");
        return Err(Refusal::field("security_marks.marks", text));
    }
    Ok(value.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_mask_says_which_marks_change() {
        // mask, new marks, marks after it; before it: my_key and Ack
        let table: [(&[&str], Value, Value); 9] = [
            (&[], json!({"a": "1"}), json!({"a": "1"})),
            (&["marks"], json!({}), json!({})),
            (&["marks.ack"], json!({"ACK": "2", "b": "3"}), json!({"ACK": "2", "my_key": "0"})),
            (&["marks.ack"], json!({}), json!({"my_key": "0"})),
            (&["marks.my_key"], json!({"my_key": "1"}), json!({"my_key": "1", "Ack": "0"})),
            (&["marks.myKey"], json!({"my_key": "1"}), json!({"my_key": "1", "Ack": "0"})),
            (&["marks.myKey"], json!({}), json!({"Ack": "0"})),
            (&["marks.myKey"], json!({"myKey": "1"}), json!({"my_key": "0", "myKey": "1", "Ack": "0"})),
            (&["marks.newKey"], json!({"new_key": "1"}), json!({"my_key": "0", "new_key": "1", "Ack": "0"})),
        ];
        for (paths, new, expected) in table {
            let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
            let old = json!({"my_key": "0", "Ack": "0"}).as_object().unwrap().clone();
            let merged = Asked::read(&paths).unwrap().merged(old, new.as_object().unwrap().clone());
            assert_eq!(Value::Object(merged), expected, "{paths:?} {new}");
        }
        assert!(Asked::read(&["name".to_owned()]).is_err());
    }
}
