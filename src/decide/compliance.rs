//! Compliance tags of rules → the finding's compliances, one entry a standard.

use std::borrow::Cow;

use crate::finding::Compliance;
use crate::text::cut;

const NIST_CONTROLS: &str = "NIST 800-53";
const FEDRAMP: &str = "FedRAMP";

/// Prefix of the tag (upper case), the standard's name.
const STANDARDS: [(&str, &str); 18] = [
    ("NIST_800-53", NIST_CONTROLS),
    ("NIST_800-171", "NIST 800-171"),
    ("NIST_800-190", "NIST 800-190"),
    // As Sysdig's rules for CloudTrail spell them.
    ("NIST800_53", NIST_CONTROLS),
    ("NIST800_171", "NIST 800-171"),
    ("NIST800_190", "NIST 800-190"),
    ("PCI_DSS", "PCI DSS"),
    ("PCI", "PCI DSS"),
    ("SOC2", "SOC 2"),
    ("ISO_27001", "ISO 27001"),
    ("ISO27001", "ISO 27001"),
    ("HIPAA", "HIPAA"),
    ("GDPR", "GDPR"),
    ("HITRUST_CSF", "HITRUST CSF"),
    ("HITRUST", "HITRUST CSF"),
    ("FEDRAMP", FEDRAMP),
    ("CIS", "CIS"),
    ("NIS2", "NIS 2"),
];
/// Most controls listed of one standard.
const MOST_IDS: usize = 50;

/// Reads the tags.
pub(super) fn read(tags: &[String]) -> Vec<Compliance> {
    let mut found: Vec<Compliance> = Vec::new();
    for tag in tags {
        let Some((standard, version, id)) = control(tag.trim()) else { continue };
        let at = found
            .iter()
            .position(|entry| entry.standard.as_deref() == Some(standard) && entry.version.as_deref() == version)
            .unwrap_or_else(|| {
                found.push(Compliance {
                    standard: Some(standard.to_owned()),
                    version: version.map(str::to_owned),
                    ids: Vec::new(),
                });
                found.len() - 1
            });
        let ids = &mut found[at].ids;
        let id = id.map(|id| spelt(standard, cut(id, 128)));
        if let Some(id) = id.filter(|id| ids.len() < MOST_IDS && !ids.iter().any(|known| *known == **id)) {
            ids.push(id.into_owned());
        }
    }
    found
}

/// The standard, its version where the tag tells one, and the control.
fn control(tag: &str) -> Option<(&'static str, Option<&str>, Option<&str>)> {
    for (prefix, standard) in STANDARDS {
        let Some((start, rest)) = tag.split_at_checked(prefix.len()) else { continue };
        if start.bytes().zip(prefix.bytes()).all(|(a, b)| same(a, b)) {
            if rest.is_empty() {
                return Some((standard, None, None));
            }
            if let Some(rest) = rest.strip_prefix(['_', '-', ' ', ':']) {
                let (version, id) = versioned(rest);
                return Some((standard, version, Some(id.trim()).filter(|id| !id.is_empty())));
            }
        }
    }
    None
}

/// A version and what follows it: `v4.0_10.2.1`, `rev5_AC-2`, and of a year `2022_A.8.1`.
fn versioned(rest: &str) -> (Option<&str>, &str) {
    let (first, id) = rest.split_once(['_', ' ']).unwrap_or((rest, ""));
    let numbers = |text: &str| {
        text.len() <= 16 && text.split('.').all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
    };
    let is_year = first.len() == 4 && first.starts_with("20") && numbers(first);
    let is_revision = first.get(..3).is_some_and(|start| start.eq_ignore_ascii_case("rev")) && numbers(&first[3..]);
    match first.strip_prefix(['v', 'V']).filter(|version| numbers(version)) {
        Some(version) => (Some(version), id),
        None if is_year || is_revision => (Some(first), id),
        None => (None, rest),
    }
}

/// The control as its standard spells it: `AU8` is AU-8 where a control is a family's two letters and a number.
fn spelt<'t>(standard: &str, id: &'t str) -> Cow<'t, str> {
    let has_families = matches!(standard, NIST_CONTROLS | FEDRAMP);
    match id.as_bytes() {
        [a, b, c, ..] if has_families && a.is_ascii_alphabetic() && b.is_ascii_alphabetic() && c.is_ascii_digit() => {
            Cow::Owned(format!("{}-{}", &id[..2], &id[2..]))
        }
        _ => Cow::Borrowed(id),
    }
}

/// Letters without case; any of the separators for another.
fn same(a: u8, b: u8) -> bool {
    let separator = |c: u8| matches!(c, b'_' | b'-' | b' ');
    a.eq_ignore_ascii_case(&b) || separator(a) && separator(b)
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn every_known_standard_is_told_from_its_tags() {
        for (tag, standard, id) in [
            ("NIST_800-53_AC-6(9)", "NIST 800-53", "AC-6(9)"),
            ("PCI_DSS_10.2.1", "PCI DSS", "10.2.1"),
            ("SOC2_CC6.6", "SOC 2", "CC6.6"),
            ("ISO_27001_A.9.2.3", "ISO 27001", "A.9.2.3"),
            ("HIPAA_164.312(a)", "HIPAA", "164.312(a)"),
            ("GDPR_32.1", "GDPR", "32.1"),
            ("HITRUST_CSF_01.c", "HITRUST CSF", "01.c"),
            ("FedRAMP_AU-2", "FedRAMP", "AU-2"),
            ("nist_800-171_3.1.5", "NIST 800-171", "3.1.5"),
            ("NIST800_53_AU8", "NIST 800-53", "AU-8"),
            ("NIST800-53_AC-6(9)", "NIST 800-53", "AC-6(9)"),
            ("NIST800_171_3.1.5", "NIST 800-171", "3.1.5"),
        ] {
            let found = read(&[tag.to_owned()]);
            assert_eq!(found[0].standard.as_deref(), Some(standard), "{tag}");
            assert_eq!(found[0].ids, [id], "{tag}");
        }
        assert_eq!(read(&["CIS".to_owned()])[0].ids, Vec::<String>::new());
        let cloud = read(&["NIST800_53".to_owned(), "NIST800_53_AU8".to_owned(), "NIST_800-53_AU-8".to_owned()]);
        assert_eq!(
            (cloud.len(), cloud[0].standard.as_deref(), &*cloud[0].ids),
            (1, Some("NIST 800-53"), &["AU-8".to_owned()][..])
        );
        assert!(read(&["container".to_owned(), "cisco".to_owned(), "é".to_owned()]).is_empty());
    }

    #[test]
    fn a_version_is_told_apart_from_its_control() {
        for (tag, version, id) in [
            ("PCI_DSS_v4.0_10.2.1", Some("4.0"), &["10.2.1"][..]),
            ("PCI_DSS_V3.2.1", Some("3.2.1"), &[]),
            ("ISO_27001:2022_A.8.1", Some("2022"), &["A.8.1"]),
            ("ISO_27001_2022_A.8.1", Some("2022"), &["A.8.1"]),
            ("NIST_800-53_rev5_AC-2", Some("rev5"), &["AC-2"]),
            ("PCI_DSS_10.2.1", None, &["10.2.1"]),
            ("HIPAA_164.312(a)", None, &["164.312(a)"]),
            ("CIS_v_5", None, &["v_5"]),
            ("CIS_review_5", None, &["review_5"]),
        ] {
            let found = read(&[tag.to_owned()]).remove(0);
            assert_eq!(
                (found.version.as_deref(), found.ids),
                (version, id.iter().map(|id| (*id).to_owned()).collect()),
                "{tag}"
            );
        }
        let tags = ["PCI_DSS_10.2.1", "PCI_DSS_v4.0_10.2.1", "PCI_DSS_v3.2.1_10.2.1", "PCI_DSS_v4.0_1.1"];
        assert_eq!(read(&tags.map(str::to_owned)).iter().map(|found| found.ids.len()).collect::<Vec<_>>(), [1, 2, 1]);
    }

    #[test]
    fn controls_of_one_standard_stand_together() {
        let tags = ["SOC2_CC6.6", "SOC2_CC6.1", "SOC2_CC6.6"].map(str::to_owned);
        let found = read(&tags);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].ids, ["CC6.6", "CC6.1"]);
    }
}
