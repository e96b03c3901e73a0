//! Secrets behind names that say what they are, `DB_PASSWORD=…`, and behind options called so.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;

use super::values::{Found, VALUE, hide as hide_values};
use super::{is_secret, pattern};

/// What a text with such a name holds.
pub(super) const STEMS: &str = concat!(
    r"bearer|pass|pwd|token|secret|api.?key|access.?key|private.?key|storage.?key|account.?key|auth.?key",
    r"|functions.?key|subscription.?key|unseal.?key|customer.?key|sse-c-|sig(?:nature)?=|[?&]key=",
    r"|(?-i:_PAT|(?:JWT|ENCRYPTION)_KEY)|hooks\.slack|discord(?:app)?\.com/api"
);

/// A name that says what its value is, and the value: `DB_PASSWORD=…`, `"token": "…"`, `X-Api-Key: …`, `--secret …`.
static NAMED: LazyLock<Regex> = LazyLock::new(|| {
    let names = concat!(
        "password|passwd|passphrase|pwd|token|secret|api[-_]?key|access[-_]?key|secret[-_]?key(?:_base)?",
        "|private[-_]?key|storage[-_]?key|auth[-_]?key|functions[-_]key|subscription[-_]key|unseal[-_]?key",
        "|customer[-_]?key",
    );
    let only = r"(?-i:_PAT|JWT_KEY|ENCRYPTION_KEY)|[?&]sig|[?&](?:[\w-]+-)?signature|(?:\b|_)account[-_]?key";
    let told = format!(r#"(?:\bpass|_pass|\bsshpass|{only}|max[-_]token|{names})(?:\\*["'])?\]?\s*[:=]\s*"#);
    // Of most addresses `key` says nothing; those of Google's services take an API key so.
    let of_google = r#"googleapis\.com(?::\d+)?[^\s"'?]*\?(?:[^\s"'&]*&)*key="#;
    let of_slack = r"hooks\.slack(?:-gov)?\.com/(?:services|triggers|workflows)/\w+/\w+/(?:\d+/)?";
    let of_discord = r"discord(?:app)?\.com/api/(?:v\d+/)?webhooks/\d+/";
    // Paths and names of others end like options: `/tmp/get-token`, `prod-db-password`.
    let option = format!(
        r#"(?:^|[\s"'(,\[=])--?[\w-]*(?:pass|account[-_]?key|secret[-_]string|sse-c-(?:copy-source-)?key|{names})"#
    );
    let of_ngrok = r"\bngrok(?:\.exe)?\s(?:\S+\s)*?(?:add-)?authtoken";
    let behind_option =
        format!(r"(?:{option}|secret_access_key|aws_session_token|:_authToken|{of_ngrok})(?:\s*[:=]\s*|\s+)");
    pattern(&format!(
        r"(?i)((?:{told}|{behind_option}|{of_google}|{of_slack}|{of_discord}|\bbearer )(?:(?:bearer|basic|cscc) )?)({VALUE})"
    ))
});

/// A fact of a sentence, `proc.name=sh`, by a field's name.
static FACT: LazyLock<Regex> = LazyLock::new(|| pattern(r"^(?:k8s)?[a-z._]+=[^=\s]"));

/// The text without secrets behind such names.
pub(super) fn hide(text: Cow<'_, str>) -> Cow<'_, str> {
    hide_values(text, &NAMED, |found| !is_no_value(found))
}

/// Whether a name says that the value beside it is a secret: of a variable, a setting or a parameter.
pub(super) fn tells_secret(name: &str) -> bool {
    const OTHERS: [&str; 6] = ["PWD", "OLDPWD", "max-token", "max_token", "max-tokens", "max_tokens"];
    // `app.kubernetes.io/secret` is a label's; `db/password` is none.
    let is_label = name.split_once('/').is_some_and(|(domain, _)| domain.contains('.'));
    !is_label
        && !OTHERS.contains(&name)
        && (is_secret(name) || matches!(hide(format!("{name}=x").into()), Cow::Owned(told) if !told.ends_with('x')))
}

/// Whether no secret stands behind a name: it takes none, says that there is none, or something else comes next.
fn is_no_value(found: &Found<'_>) -> bool {
    const SWITCHES: [&str; 5] = ["-disabled-password", "-no-password", "-with-token", "max_token", "max-token"];
    const NOTHING: [&str; 4] = ["none", "null", "nil", "undefined"];
    let told = found.told.to_ascii_lowercase();
    let name = told.trim_end();
    if SWITCHES.iter().any(|switch| name.trim_end_matches([':', '=']).trim_end().ends_with(switch)) {
        return true;
    }
    let is_nothing =
        NOTHING.iter().any(|nothing| found.value.trim_end_matches([')', ']', '}']).eq_ignore_ascii_case(nothing));
    if (is_nothing && name.ends_with([':', '='])) || is_place(found) {
        return true;
    }
    let is_scheme = ["bearer", "basic", "cscc"].iter().any(|scheme| name.ends_with(scheme));
    let behind_blank = name.len() < told.len() && name.ends_with(|c: char| c.is_ascii_alphanumeric()) && !is_scheme;
    behind_blank && (found.value.starts_with('-') || FACT.is_match(found.value))
}

/// Whether this is the folder that a shell is in, or was: `PWD=/app`, `OLDPWD=/root`.
fn is_place(found: &Found<'_>) -> bool {
    let is_path = found.value.starts_with(['/', '~']) || found.value.get(1..2) == Some(":");
    let before = found.before.strip_suffix("OLD").unwrap_or(found.before);
    is_path && found.told == "PWD=" && !before.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
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
            "PATH=/bin PWD=/app OLDPWD=/root HOME=/root",
            "Unexpected connection to K8s API (token: none, ns=shop)",
            "x (password=null) y",
        ] {
            assert_eq!(redact(text), text);
        }
    }
}
