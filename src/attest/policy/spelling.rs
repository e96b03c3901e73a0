//! How the texts of some claims are spelled: what is spelled otherwise is a value that no token has.

/// How texts are spelled.
#[derive(Debug, Clone, Copy)]
pub(super) enum Spelling {
    /// A service account by its e-mail address alone, and not as a member of IAM.
    Account,
    ProjectId,
    /// A number, as a text.
    Digits,
    Zone,
}

impl Spelling {
    /// Whether a text may be one; so may the empty text, with which people ask whether anything is there.
    pub(super) fn fits(self, text: &str) -> bool {
        const MEMBERS: [&str; 6] = ["serviceAccount:", "user:", "group:", "domain:", "principal:", "principalSet:"];
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        match self {
            Self::Account => !MEMBERS.iter().any(|member| text.starts_with(member)),
            Self::ProjectId => !digits,
            Self::Digits => digits || text.is_empty(),
            // A zone is a region with a letter behind it; a token's has no way to it before it.
            Self::Zone => !(text.contains('/') || text.contains('-') && text.ends_with(|c: char| c.is_ascii_digit())),
        }
    }

    /// One of them.
    pub(super) fn example(self) -> &'static str {
        match self {
            Self::Account => "zq@zq.iam.gserviceaccount.com",
            Self::ProjectId => "zq-project",
            Self::Digits => "907",
            Self::Zone => "europe-west4-a",
        }
    }

    /// What one is, in words.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Account => "an e-mail address alone, without \"serviceAccount:\" before it",
            Self::ProjectId => "a project's id; its number is project_number",
            Self::Digits => "a text of digits",
            Self::Zone => "a zone's name alone, such as \"europe-west4-a\", and no region",
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::attest::policy::Policy;
    use crate::attest::policy::found::Level;
    use crate::attest::policy::lint::lint;

    #[test]
    fn what_is_spelled_as_no_claim_is_never_true() {
        let (accounts, gce) = ("assertion.google_service_accounts", "assertion.submods.gce");
        let member = "serviceAccount:x@p.iam.gserviceaccount.com";
        for (term, rule, told) in [
            (format!("'{member}' in {accounts}"), "never-true", "without \"serviceAccount:\""),
            (format!("{accounts}[0] == '{member}'"), "never-true", "without \"serviceAccount:\""),
            (format!("{accounts} == ['{member}']"), "never-true", "a list of texts, each an e-mail address alone"),
            (format!("{accounts}.exists(a, a == '{member}')"), "never-true", "without \"serviceAccount:\""),
            (format!("{accounts}.exists(a, a in ['{member}'])"), "never-true", "without \"serviceAccount:\""),
            (format!("{accounts}.exists(a, a in ['{member}', 'x@p.iam.gserviceaccount.com'])"), "", ""),
            (format!("{accounts}.exists(a, a == 'x@p.iam.gserviceaccount.com')"), "", ""),
            (format!("{accounts}.exists(a, a != '{member}')"), "", ""),
            (format!("{gce}.project_id == '123456789012'"), "never-true", "its number is project_number"),
            (format!("{gce}.project_id in ['acme-data', '123456789012']"), "", ""),
            (format!("{gce}.project_id == 'example.com:data-1'"), "", ""),
            (format!("{gce}.project_number == 'acme-data'"), "never-true", "a text of digits"),
            (format!("{gce}.project_number == '123456789012'"), "", ""),
            (format!("{gce}.instance_id == 'job-7'"), "never-true", "a text of digits"),
            (format!("{gce}.instance_id != ''"), "", ""),
            (format!("{gce}.instance_id != 'job-7'"), "always-true", "a text of digits"),
            (format!("{gce}.zone == 'europe-west4'"), "never-true", "no region"),
            (format!("{gce}.zone == 'projects/p/zones/us-central1-a'"), "never-true", "a zone's name alone"),
            (format!("{gce}.zone in ['europe-west4-a', 'us-central1-ai1a']"), "", ""),
            (format!("{gce}.zone.startsWith('europe-west4')"), "", ""),
            ("assertion.swversion.exists(v, v == 250800)".to_owned(), "never-true", "a list of texts"),
            ("size(assertion.swversion) == '1'".to_owned(), "never-true", "size() makes a number"),
            ("'1' != size(assertion.swversion)".to_owned(), "always-true", "leave out the quotes"),
            ("int(assertion.swversion[0]) in ['250800']".to_owned(), "never-true", "int() makes a number"),
            ("string(assertion.oemid) == 11129".to_owned(), "never-true", "put it in quotes"),
            ("string(assertion.oemid) == '11129'".to_owned(), "", ""),
            ("assertion.aud == 'https://b.example'".to_owned(), "never-true", "one of the policy's audiences"),
            ("assertion.aud in ['https://b.example']".to_owned(), "never-true", "one of the policy's audiences"),
            ("assertion.aud == 'https://a.example'".to_owned(), "", ""),
            ("('https://b.example' in assertion.aud)".to_owned(), "", ""),
            ("assertion.aud == ['https://a.example', 'https://b.example']".to_owned(), "", ""),
        ] {
            let of = |issuer: &str| {
                let text = format!(
                    "audiences: ['https://a.example']\nissuer: {issuer}\n\
                     condition: |\n  assertion.swname == 'GCE' && {term}\n"
                );
                let found = lint(&Policy::read(&text, "p").unwrap());
                found.into_iter().filter(|remark| remark.level == Level::Error).collect::<Vec<_>>()
            };
            let found = of(crate::attest::policy::accepted::GOOGLE);
            assert_eq!(found.len(), usize::from(!rule.is_empty()), "{term}: {found:?}");
            assert!(found.iter().all(|found| found.rule == rule && found.message.contains(told)), "{term}: {found:?}");
            assert_eq!(of("https://portal.trustauthority.intel.com"), [], "{term}");
        }
    }
}
