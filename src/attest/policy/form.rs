//! A policy file's members as the documents show them. The tests compare them with what is read.

/// One member.
#[derive(Debug, Clone, Copy)]
pub struct Member {
    /// Its name in the file.
    pub name: &'static str,
    /// What holds without it; nothing when it must be there.
    pub default: Option<&'static str>,
    /// What it says.
    pub meaning: &'static str,
}

const fn member(name: &'static str, default: &'static str, meaning: &'static str) -> Member {
    Member { name, default: Some(default), meaning }
}

const fn required(name: &'static str, meaning: &'static str) -> Member {
    Member { name, default: None, meaning }
}

/// The members of our own form. Any other is refused.
pub const OWN: [Member; 13] = [
    member("name", "the file's name without its ending", "what settings and the journal call it"),
    member("description", "empty", "what it is for, for people"),
    member("issuer", "`https://confidentialcomputing.googleapis.com`", "who signed the token; compared exactly"),
    required("audiences", "one of these must be the token's audience"),
    member(
        "tokens",
        "`[oidc]`",
        "by which keys a token may be signed: `oidc` (the issuer's published keys), `pki` (a certificate chain to the pinned root), or both",
    ),
    member(
        "family",
        "`any`",
        "`confidential_space`, `confidential_vm`, or `any`: the claim `swname` decides; an `eat_profile` that is a page of Google's must not name the other family, any other is not looked at",
    ),
    member(
        "mapping",
        "none",
        "`google.subject`, `google.groups` or `attribute.NAME`, each with an expression over `assertion`; what comes out is `google` and `attribute` in the condition",
    ),
    required("condition", "an expression over the variables below: true allows, all else denies"),
    member("max_age_seconds", "no limit of its own", "the token's greatest age, from `iat`"),
    member("leeway_seconds", "30", "how far clocks may differ, 0 to 60"),
    member("max_lifetime_seconds", "3600", "the longest `exp - iat`, 60 to 86400"),
    member("max_tcb_age_days", "never", "a TCB date older than this becomes a finding; it denies nothing"),
    member("allow_everything", "`false`", "must be `true` beside a condition that is only `true`"),
];

/// What is read of a workload identity pool provider, as gcloud prints it. Whatever else it has is left aside.
pub const PROVIDER: [Member; 10] = [
    member("name", "the file's name without its ending", "its last part becomes the policy's name"),
    member("displayName", "empty", "the description, when there is none"),
    member("description", "empty", "what it is for, for people"),
    member("attributeMapping", "none", "the mapping"),
    required("attributeCondition", "the condition; an empty one is refused"),
    required("oidc.issuerUri", "the issuer"),
    member("oidc.allowedAudiences", "the provider's own resource name, with and without `https:`", "the audiences"),
    member("oidc.jwksJson", "the issuer's published keys", "the keys, instead of fetching them"),
    member("disabled", "`false`", "nothing passes"),
    member("state", "`ACTIVE`", "`DELETED`: nothing passes"),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use super::super::{Off, file::read, members};
    use super::*;

    fn refused(text: &str) -> String {
        read(text, "x").map(drop).unwrap_err().to_string()
    }

    /// The names in back quotes that the reader says it expected.
    fn expected(told: &str) -> BTreeSet<String> {
        let quoted = regex::Regex::new("`([a-z_]+)`").unwrap();
        let (_, expected) = told.split_once("expected").unwrap_or_else(|| panic!("{told}"));
        quoted.captures_iter(expected).map(|found| found[1].to_owned()).collect()
    }

    #[test]
    fn the_members_are_those_that_are_read() {
        let shown: BTreeSet<String> = OWN.iter().map(|member| member.name.to_owned()).collect();
        assert_eq!(expected(&refused(r#"{"unheard_of": 1}"#)), shown);
        let words = |name: &str| OWN.iter().find(|member| member.name == name).unwrap().meaning;
        for (member, text) in [("family", r#"{"family": "x"}"#), ("tokens", r#"{"tokens": ["x"]}"#)] {
            assert!(
                expected(&refused(text)).iter().all(|word| words(member).contains(&format!("`{word}`"))),
                "{member}"
            );
        }
    }

    #[test]
    fn what_must_be_there_and_what_holds_else_is_so() {
        let full = r#"{"audiences": ["a"], "condition": "assertion.x", "leeway_seconds": 61}"#;
        assert!(refused(full).contains("use 0 to 60"));
        assert!(refused(&full.replace("leeway", "max_lifetime").replace("61", "59")).contains("use 60 to 86400"));
        let least = read(r#"{"audiences": ["a"], "condition": "assertion.x"}"#, "x").unwrap();
        assert_eq!((least.leeway, least.max_lifetime), (Duration::from_secs(30), Duration::from_secs(3600)));
        assert_eq!(OWN[2].default, Some(format!("`{}`", least.issuer).as_str()));
        assert_eq!((least.max_age, least.max_tcb_age), (None, None));
        let least = serde_json::json!({"audiences": ["a"], "condition": "assertion.x"});
        let required: Vec<&str> =
            OWN.iter().filter(|member| member.default.is_none()).map(|member| member.name).collect();
        assert_eq!(required, ["audiences", "condition"]);
        for name in required {
            let mut without = least.clone();
            without.as_object_mut().unwrap().remove(name);
            assert!(refused(&without.to_string()).contains(name));
        }
    }

    #[test]
    fn a_wrong_policy_is_told_by_member_place_and_remedy() {
        let with = |text: &str| format!("name: p\naudiences: [x]\n{text}\ncondition: assertion.secboot\n");
        for (text, told) in [
            ("audiences: https://x".to_owned(), "put it in brackets, audiences: [https://x]"),
            (
                with("leeway_seconds: '30'"),
                "leeway_seconds is the text \"30\", not a whole number: leave out the quotes",
            ),
            (with("leeway_seconds: -1"), "leeway_seconds is the number -1, not a whole number from 0"),
            (with("allow_everything: 'yes'"), "allow_everything is the text \"yes\": write true or false"),
            (with("mapping: [a]"), "mapping is a list: write names and their values"),
            (with("mapping: {google.subject: 1}"), "mapping holds the number 1, not only texts: put it in quotes"),
            (with("family: vm"), "family: unknown variant `vm`"),
            (with("tokens: oidc"), "put it in brackets, tokens: [oidc]"),
            (with("tokens: []"), "tokens is empty, so that none is accepted"),
            ("audiences: [x]\ncondition: assertion.exp + 1\n".to_owned(), "is a calculation, neither true nor false"),
            ("audiences: [x]\ncondition: size(assertion.l)\n".to_owned(), "is what a function makes, neither true"),
            ("audiences: [x]\ncondition: 'assertion.l.map(a, a)'\n".to_owned(), "is a list, neither true nor false"),
            (with("issuer: foo"), "issuer is \"foo\", which is not a URL"),
            ("audiences: ['']\ncondition: assertion.secboot\n".to_owned(), "audiences holds an empty text"),
            ("audiences:\ncondition: assertion.secboot\n".to_owned(), "audiences is missing"),
            ("audiences: [x]\ncondition: false\n".to_owned(), "put it in quotes, condition: 'false'"),
            (with("name: q"), "line 3, column 1: name stands twice"),
            (with("---\nname: q"), "a second document begins"),
            (
                "audiences: [x]\ncondition: |\n  assertion.swname == 'A'\n  && assertion.secboot = true\n".to_owned(),
                "syntax error at line 2, column 22: a single = is no operator: write ==",
            ),
            ("audiences: [x]\ncondition: |\n  'é' == 'é' &&\n  'é' == asertion.x\n".to_owned(), "(line 2, column 8)"),
            ("audiences: [x]\ncondition: assertion.a == 'é' = 1\n".to_owned(), "at column 20: a single ="),
            (
                "audiences: [x]\ncondition: assertion.a == \"x\n".to_owned(),
                "at column 16: a text begins here that does not end",
            ),
            (
                r#"{"oidc": {"issuerUri": "https://x", "allowedAudiences": "a"}, "attributeCondition": "assertion.x"}"#
                    .to_owned(),
                "allowedAudiences: [a]",
            ),
        ] {
            let refused = refused(&text);
            assert!(refused.contains(told), "{refused}");
            assert!(!refused.contains("Options") && !refused.contains("from_str"), "{refused}");
        }
        let kinds = |kinds: &[(&'static str, _)]| kinds.iter().map(|(name, _)| *name).collect::<BTreeSet<_>>();
        assert_eq!(kinds(&members::OWN), OWN.iter().map(|member| member.name).collect());
        let oidc = members::OIDC.map(|(name, _)| format!("oidc.{name}"));
        let provider = PROVIDER.iter().map(|member| member.name).filter(|name| !oidc.contains(&(*name).to_owned()));
        assert_eq!(provider.chain(["oidc"]).collect::<BTreeSet<_>>(), kinds(&members::PROVIDER));
    }

    #[test]
    fn a_provider_is_read_by_the_members_that_are_shown() {
        let provider = r#"{"name": "projects/1/locations/global/workloadIdentityPools/p/providers/short", "displayName": "d",
            "attributeMapping": {"google.subject": "assertion.sub"}, "attributeCondition": "assertion.x",
            "oidc": {"issuerUri": "https://i.example", "allowedAudiences": []}, "disabled": false, "state": "DELETED"}"#;
        let policy = read(provider, "x").unwrap();
        assert_eq!((policy.name.as_str(), policy.description.as_str(), policy.off), ("short", "d", Some(Off::Deleted)));
        assert_eq!(policy.audiences.len(), 2);
        let json: serde_json::Value = serde_json::from_str(provider).unwrap();
        let shown = |name: &str| PROVIDER.iter().any(|member| member.name == name);
        for name in json.as_object().unwrap().keys().filter(|name| *name != "oidc") {
            assert!(shown(name), "{name}");
        }
        assert!(json["oidc"].as_object().unwrap().keys().all(|name| shown(&format!("oidc.{name}"))));
    }
}
