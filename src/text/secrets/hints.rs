//! Words that only hint at a secret: whether there is one shows in the value, or in the program before it.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::{VALUE, hidden, pattern, then};

/// Credentials, cookies and what an option calls the proof of who somebody is.
static HINTED: LazyLock<Regex> = LazyLock::new(|| {
    let credentials = r#"(?:x-(?:amz|goog)-)?credentials?(?:\s*=\s*|\\?["']\s*:\s*)"#;
    let option = r#"(?:^|[\s"'(,\[])--?(?:[\w-]*credentials?|cookie|auth)(?:\s*=\s*|\s+)"#;
    let cookie = r#"(?-u:\b)cookie(?:\\?["'])?\s*[:=]\s*"#;
    let more = r#"(?:;\s*[^\s"'&;,=\\]+=[^\s"'&;,\\]*)*"#;
    pattern(&format!(r"(?i)({option}|{credentials}|{cookie})({VALUE}{more})"))
});

/// Options of one letter, and words in a place, which only their program gives a meaning: `mongo -p SECRET`,
/// `sqlcmd -P SECRET`, `ldapsearch -w SECRET`, `smbclient -U user%SECRET`, `htpasswd -b file user SECRET`,
/// `htpasswd -nb user SECRET`, `net use \\host\share SECRET`.
static OF_PROGRAM: LazyLock<Regex> = LazyLock::new(|| {
    // Where a program's name stands; elsewhere it may be a pod's, or that of a host.
    let program = r#"(?:^|[/\\"'(;|&]\s*|:\s|\s--\s+|\s[/-][cC]\s+["']?|(?:command|cmd|cmdline)=|(?:sudo|doas|env|nohup|nice|time|timeout \S+)\s+)"#;
    // To the end of the command. A filter of LDAP may have `|` and `&` in it.
    let (within, within_filter) =
        (r#"["']?\s(?:(?:[^|&;]|&[^&]|;\S)*?\s)?"#, r"\s(?:(?:[^&|;]|&[^&]|\|[^|\s]|;\S)*?\s)?");
    let flags = r"(?:\s+-\w+(?:\s+\d+)?)*";
    let starts = [
        format!(r"mongo(?:sh|dump|restore|export|import|stat|top|files)?(?:\.exe)?{within}-p\s*"),
        format!(r"(?:(?i:sqlcmd|osql|isql|tsql|bcp)(?:\.exe)?){within}-P\s*"),
        format!(r"ldap(?:search|modify|add|delete|whoami|passwd|compare|modrdn|exop){within_filter}-w\s*"),
        format!(r#"(?:smb\w*|rpcclient|winexe|wmic|net){within}(?:-U\s*|--user(?:name)?[=\s]\s*)["']?[^\s%"']+%"#),
        format!(r"htpasswd{flags}\s+-(?:\w*n\w*b|\w*b\w*n|\w*n\w*\s+-\w*b|\w*b\w*\s+-\w*n)\w*{flags}\s+[^\s-]\S*\s+"),
        format!(r"htpasswd{flags}\s+-\w*b\w*{flags}\s+[^\s-]\S*\s+\S+\s+"),
        r#"(?i:net(?:\.exe)?["']?\s+use)\s+(?:[\w*]:?\s+)?\\\\\S+\s+(?:/\S+\s+)*"#.to_owned(),
    ];
    pattern(&format!(r"({program}(?:{}))({VALUE})", starts.join("|")))
});

/// The text without secrets that are only hinted at.
pub(super) fn hide(text: Cow<'_, str>) -> Cow<'_, str> {
    let text = then(text, &HINTED, |found| if says_where(found) { found[0].to_owned() } else { hidden(found) });
    then(text, &OF_PROGRAM, |found| match found[2].as_bytes() {
        // Another option follows.
        [b'-', ..] => found[0].to_owned(),
        [b'/', ..] if found[1].contains(r"\\") => found[0].to_owned(),
        _ => hidden(found),
    })
}

/// Whether the value says where or how, and not what: a path, a variable, an option, a method, an object whose members
/// have names of their own.
fn says_where(found: &Captures<'_>) -> bool {
    const METHODS: [&str; 20] = [
        "none",
        "basic",
        "digest",
        "ntlm",
        "negotiate",
        "kerberos",
        "password",
        "oauth",
        "oauth2",
        "true",
        "false",
        "md5",
        "plain",
        "trust",
        "peer",
        "ident",
        "scram-sha-256",
        "ldap",
        "cert",
        "reject",
    ];
    // Options without a value.
    const SWITCHES: [&str; 4] = ["pass-credentials", "with-credentials", "no-credentials", "skip-credentials"];
    let told = found[1].to_ascii_lowercase();
    let told = told.trim_start_matches(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '(' | ',' | '['));
    let value = found[2].trim_start_matches(['\\', '"', '\'']);
    let elsewhere = value.starts_with(['/', '~', '.', '$', '(', '{', '[', '-']) || value.get(1..3) == Some(r":\");
    match told.trim_start_matches('-') {
        _ if elsewhere => true,
        name if SWITCHES.contains(&name.trim_end()) => true,
        // Who signed an address; the signature is told apart.
        name if name.starts_with("x-") => true,
        name if name.starts_with("auth") => {
            let value = value.trim_end_matches(['"', '\'']).to_ascii_lowercase();
            METHODS.contains(&&*value) || value.starts_with("sha")
        }
        // The option may name a file of cookies.
        name if name.starts_with("cookie") && told.starts_with('-') => !value.contains('='),
        _ => false,
    }
}
