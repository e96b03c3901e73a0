//! Tokens that are known by their own form, whatever stands before them.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;

use super::{HIDDEN, pattern};

/// What a text with one of them holds.
pub(super) const STEMS: &str = concat!(
    r"eyJ|gh[oprsu]_|github_pat_|glpat-|xox[abprs]-|ya29\.|AIza|hv[sb]\.|npm_|GOCSPX-|[sr]k_live_|dckr_[po]at_",
    r"|sk-(?:proj|ant|svcacct|admin)-|do[opr]_v1_|(?-i:SG\.)|(?-i:[0-9]{6}:AA)|private.key"
);

/// How those begin that may happen to be of small letters and digits only.
pub(in crate::text) const OF_SMALL_LETTERS: [&str; 14] = [
    "sk-", "dop_v1_", "doo_v1_", "dor_v1_", "glpat-", "npm_", "sk_live_", "rk_live_", "dckr_", "gh", "xox", "hvs.",
    "hvb.", "ya29.",
];

/// JSON Web Tokens, those of GitHub, GitLab, Slack, Google, Vault, npm, Stripe, Docker, OpenAI, Anthropic,
/// DigitalOcean, SendGrid and of Telegram's bots, private keys.
static TOKEN: LazyLock<Regex> = LazyLock::new(|| {
    let tokens = [
        r"\beyJ[\w-]{8,}\.eyJ[\w-]+\.[\w-]+",
        r"\b(?:gh[oprsu]_|github_pat_)\w{20,}",
        r"\bglpat-[\w-]{20,}",
        r"\bxox[abprs]-[\w-]{20,}",
        r"\bya29\.[\w-]{20,}",
        r"\bAIza[\w-]{35}",
        r"\bhv[sb]\.[\w-]{20,}",
        r"\bnpm_[A-Za-z0-9]{36,}",
        r"\bGOCSPX-[\w-]{20,}",
        r"\b[sr]k_live_[A-Za-z0-9]{16,}",
        r"\bdckr_[po]at_[\w-]{20,}",
        r"\bsk-(?:proj|ant|svcacct|admin)-[\w-]{20,}",
        r"\bdo[opr]_v1_\w{40,}",
        r"\bSG\.[\w-]{16,}\.[\w-]{32,}",
        r"(?:\bbot|\b)[0-9]{8,12}:AA[\w-]{32,}",
    ];
    pattern(&format!("(?-u:{})|-----BEGIN [A-Z ]*PRIVATE KEY-----[^-]*", tokens.join("|")))
});

/// The text without them.
pub(super) fn hide(text: Cow<'_, str>) -> Cow<'_, str> {
    match TOKEN.replace_all(&text, HIDDEN) {
        Cow::Borrowed(_) => text,
        Cow::Owned(shown) => Cow::Owned(shown),
    }
}
