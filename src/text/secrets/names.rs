//! Secrets behind names that say what they are, `DB_PASSWORD=…`, and behind options called so.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::{VALUE, hidden, pattern, then};

/// A name that says what its value is, and the value: `DB_PASSWORD=…`, `"token": "…"`, `X-Api-Key: …`, `--secret …`.
static NAMED: LazyLock<Regex> = LazyLock::new(|| {
    let names = "password|passwd|passphrase|pwd|token|secret|api[-_]?key|access[-_]?key|secret[-_]?key(?:_base)?|private[-_]?key|storage[-_]?key|auth[-_]?key";
    let only = r"(?-i:_PAT|JWT_KEY|ENCRYPTION_KEY)|[?&]sig|[?&](?:[\w-]+-)?signature|(?:\b|_)account[-_]?key";
    let told = format!(r#"(?:\bpass|_pass|\bsshpass|{only}|max[-_]token|{names})(?:\\?["'])?\]?\s*[:=]\s*"#);
    // Of most addresses `key` says nothing; those of Google's services take an API key so.
    let of_google = r#"googleapis\.com(?::\d+)?[^\s"'?]*\?(?:[^\s"'&]*&)*key="#;
    let of_slack = r"hooks\.slack(?:-gov)?\.com/(?:services|triggers|workflows)/\w+/\w+/(?:\d+/)?";
    // Paths and names of others end like options: `/tmp/get-token`, `prod-db-password`.
    let option = format!(r#"(?:^|[\s"'(,\[=])--?[\w-]*(?:pass|account[-_]?key|{names})"#);
    let behind_option = format!(r"(?:{option}|secret_access_key|:_authToken)(?:\s*[:=]\s*|\s+)");
    pattern(&format!(
        r"(?i)((?:{told}|{behind_option}|{of_google}|{of_slack}|\bbearer )(?:(?:bearer|basic|cscc) )?)({VALUE})"
    ))
});

/// A fact of a sentence, `proc.name=sh`, by a field's name.
static FACT: LazyLock<Regex> = LazyLock::new(|| pattern(r"^(?:k8s)?[a-z._]+=[^=\s]"));

/// The text without secrets behind such names.
pub(super) fn hide(text: Cow<'_, str>) -> Cow<'_, str> {
    then(text, &NAMED, |found| (!is_no_value(found)).then(|| hidden(found)))
}

/// Whether no secret stands behind an option: it takes none, or another option or a fact of a sentence comes next.
fn is_no_value(found: &Captures<'_>) -> bool {
    const SWITCHES: [&str; 5] = ["-disabled-password", "-no-password", "-with-token", "max_token", "max-token"];
    let told = found[1].to_ascii_lowercase();
    let name = told.trim_end();
    if SWITCHES.iter().any(|switch| name.trim_end_matches([':', '=']).trim_end().ends_with(switch)) {
        return true;
    }
    let is_scheme = ["bearer", "basic", "cscc"].iter().any(|scheme| name.ends_with(scheme));
    let behind_blank = name.len() < told.len() && name.ends_with(|c: char| c.is_ascii_alphanumeric()) && !is_scheme;
    behind_blank && (found[2].starts_with('-') || FACT.is_match(&found[2]))
}

#[cfg(test)]
mod tests {
    use crate::text::secrets::redact;

    #[test]
    fn words_that_are_no_values_stay() {
        for text in [
            "bash /tmp/get-token /tmp/evil.sh",
            "cat /etc/pam.d/common-password /etc/shadow",
            "docker run --rm x/print-secret /bin/sh",
            "kubectl get secret prod-db-password -o yaml",
            "Run (command=gcloud auth print-access-token user=root)",
            "Run (command=gh auth token --token user=root k8s.ns.name=x)",
            "adduser --disabled-password evil",
            "psql --no-password shop",
            "gh auth login --with-token < f",
            "gcloud sql users set-password root",
            "app --max-token 5 max_token=5 max_tokens=5 --max_tokens 5",
            "app --token -v --password --debug",
        ] {
            assert_eq!(redact(text), text);
        }
    }
}
