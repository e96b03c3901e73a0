//! MITRE ATT&CK tags in all the spellings of the senders → names of the API's enums, by table. A name that is not in
//! the table is never sent: the API answers such a finding with 400.

use super::mitre_table::{TACTICS, TECHNIQUES};
use crate::finding::MitreAttack;

/// What the tags say.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Attack {
    /// What is sent; `None` when nothing is known.
    pub finding: Option<MitreAttack>,
    /// ATT&CK tags that name something Security Command Center does not know, as they were spelt.
    pub unknown: Vec<String>,
}

/// Every name that can be sent: tactics, then techniques.
pub fn names() -> (impl Iterator<Item = &'static str>, impl Iterator<Item = &'static str>) {
    (TACTICS.iter().map(|(_, name)| *name), TECHNIQUES.iter().map(|(_, name)| *name))
}

/// Reads the tags: the first tactic and the first technique are the primary ones; of a sub-technique the parent is
/// listed too.
pub fn read(tags: &[String]) -> Attack {
    let mut tactics: Vec<&'static str> = Vec::new();
    let mut groups: Vec<Vec<&'static str>> = Vec::new();
    let mut unknown = Vec::new();
    // One text may hold several.
    for tag in tags.iter().flat_map(|tag| tag.split(',')) {
        match meaning(tag) {
            Meaning::Tactic(name) => push(&mut tactics, name),
            Meaning::Technique(names) => groups.push(names),
            Meaning::Unknown => unknown.push(tag.trim().to_owned()),
            Meaning::Parent(names) => {
                groups.push(names);
                unknown.push(tag.trim().to_owned());
            }
            Meaning::Other => {}
        }
    }
    let mut primary = Vec::new();
    let mut additional = Vec::new();
    for (index, names) in groups.into_iter().enumerate() {
        for name in names {
            if index == 0 {
                push(&mut primary, name);
            } else if !primary.contains(&name) {
                push(&mut additional, name);
            }
        }
    }
    let mut tactics = tactics.into_iter();
    let finding = MitreAttack {
        primary_tactic: tactics.next(),
        primary_techniques: primary,
        additional_tactics: tactics.collect(),
        additional_techniques: additional,
    };
    Attack { finding: (finding != MitreAttack::default()).then_some(finding), unknown }
}

fn push(names: &mut Vec<&'static str>, name: &'static str) {
    if !names.contains(&name) {
        names.push(name);
    }
}

enum Meaning {
    Tactic(&'static str),
    /// The technique, after a sub-technique also its parent.
    Technique(Vec<&'static str>),
    /// A sub-technique that is not in the table, but its parent is.
    Parent(Vec<&'static str>),
    /// ATT&CK, but not in the table.
    Unknown,
    /// No ATT&CK tag.
    Other,
}

fn meaning(tag: &str) -> Meaning {
    let tag = tag.trim();
    let starts = |prefix: &str| tag.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
    // Most tags are neither: look before copying.
    let marked = starts("mitre") || starts("attack");
    let numbered = starts("t") && tag[1..].starts_with(|c: char| matches!(c, 'a' | 'A' | '0'..='9'));
    if !marked && !numbered {
        return Meaning::Other;
    }
    let plain: String =
        tag.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c.to_ascii_uppercase() } else { '_' }).collect();
    let mut words: Vec<&str> = plain.split('_').filter(|word| !word.is_empty()).collect();
    while words.first().is_some_and(|word| matches!(*word, "MITRE" | "ATTACK" | "ATT" | "CK")) {
        words.remove(0);
    }
    let Some(first) = words.first().copied() else { return Meaning::Other };
    if is_id(first, "TA") {
        let found = TACTICS.iter().find(|(id, _)| *id == first);
        return found.map_or(Meaning::Unknown, |(_, name)| Meaning::Tactic(name));
    }
    let (id, sub) = first.split_once('.').map_or((first, words.get(1).copied()), |(id, sub)| (id, Some(sub)));
    if is_id(id, "T") {
        return technique_by_id(id, sub.filter(|sub| sub.len() == 3 && sub.bytes().all(|b| b.is_ascii_digit())));
    }
    if marked { by_name(&words.join("_")) } else { Meaning::Other }
}

fn is_id(word: &str, prefix: &str) -> bool {
    word.strip_prefix(prefix).is_some_and(|digits| digits.len() == 4 && digits.bytes().all(|b| b.is_ascii_digit()))
}

fn find(id: &str) -> Option<&'static str> {
    TECHNIQUES.iter().find(|(known, _)| *known == id).map(|(_, name)| *name)
}

fn technique_by_id(id: &str, sub: Option<&str>) -> Meaning {
    let parent = find(id);
    let Some(sub) = sub else { return parent.map_or(Meaning::Unknown, |name| Meaning::Technique(vec![name])) };
    match (find(&format!("{id}.{sub}")), parent) {
        (Some(name), parent) => Meaning::Technique(std::iter::once(name).chain(parent).collect()),
        (None, Some(parent)) => Meaning::Parent(vec![parent]),
        (None, None) => Meaning::Unknown,
    }
}

/// `mitre_persistence`, `mitre_unix_shell`.
fn by_name(name: &str) -> Meaning {
    if let Some((_, name)) = TACTICS.iter().find(|(_, known)| *known == name) {
        return Meaning::Tactic(name);
    }
    match TECHNIQUES.iter().find(|(_, known)| *known == name) {
        Some((id, known)) => {
            let parent = id.split_once('.').and_then(|(parent, _)| find(parent));
            Meaning::Technique(std::iter::once(*known).chain(parent).collect())
        }
        // The bare word `MITRE` was dealt with before; this names something.
        None => Meaning::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(tags: &[&str]) -> (Option<String>, Vec<String>, Vec<String>) {
        let tags: Vec<String> = tags.iter().map(|tag| (*tag).to_owned()).collect();
        let attack = read(&tags);
        let finding = attack.finding.unwrap_or_default();
        let text = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect::<Vec<_>>();
        (finding.primary_tactic.map(str::to_owned), text(finding.primary_techniques), attack.unknown)
    }

    #[test]
    fn every_spelling_means_the_same() {
        for tag in [
            "MITRE_TA0003_persistence",
            "mitre_persistence",
            "MITRE TA0003 persistence",
            "mitre-persistence",
            "ta0003",
            "TA0003",
        ] {
            assert_eq!(told(&[tag]).0.as_deref(), Some("PERSISTENCE"), "{tag}");
        }
        for tag in
            ["MITRE_T1059.004_unix_shell", "T1059.004", "t1059.004", "mitre T1059.004", "T1059_004", "mitre_unix_shell"]
        {
            assert_eq!(told(&[tag]).1, ["UNIX_SHELL", "COMMAND_AND_SCRIPTING_INTERPRETER"], "{tag}");
        }
        for tag in ["T1059", "MITRE_T1059_command_and_scripting_interpreter"] {
            assert_eq!(told(&[tag]).1, ["COMMAND_AND_SCRIPTING_INTERPRETER"], "{tag}");
        }
    }

    #[test]
    fn what_is_not_in_the_table_is_kept_but_not_sent() {
        assert_eq!(
            told(&["T1059.999"]),
            (None, vec!["COMMAND_AND_SCRIPTING_INTERPRETER".into()], vec!["T1059.999".into()])
        );
        assert_eq!(told(&["T1542", "mitre_execution"]), (Some("EXECUTION".into()), vec![], vec!["T1542".into()]));
        assert_eq!(told(&["container", "MITRE", "tag", "T", "é", "tä"]), (None, vec![], vec![]));
    }

    #[test]
    fn further_tactics_and_techniques_are_additional() {
        let tags = ["MITRE_TA0002_execution", "MITRE_TA0003_persistence", "T1059", "T1136.001"].map(str::to_owned);
        let finding = read(&tags).finding.unwrap();
        assert_eq!(finding.additional_tactics, ["PERSISTENCE"]);
        assert_eq!(finding.additional_techniques, ["LOCAL_ACCOUNT", "CREATE_ACCOUNT"]);
        let both = read(&["T1059, T1136".to_owned()]).finding.unwrap();
        assert_eq!((both.primary_techniques.len(), both.additional_techniques.len()), (1, 1));
    }
}
