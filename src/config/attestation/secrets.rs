//! `ATTESTATION_SECRETS`: what may be released, to whom, and where it is.

use std::fs::File;
use std::path::{Path, PathBuf};

use secrecy::SecretString;

use crate::config::env::{Env, Setting};
use crate::google::secret_manager::{SecretName, is_place};

/// `ATTESTATION_SECRETS`.
pub static ATTESTATION_SECRETS: Setting = Setting {
    name: "ATTESTATION_SECRETS",
    aliases: &[],
    default: None,
    example: "db=production-confidential-space:sm://acme-data/db-password",
    secret: false,
    doc: "The secrets that can be released, NAME=POLICY:SOURCE, separated by commas. A source is sm://project/secret, \
          file:PATH or env:VARIABLE; files and variables must be there at start.",
};
/// `ATTESTATION_SEALED_ONLY`.
pub static ATTESTATION_SEALED_ONLY: Setting = Setting {
    name: "ATTESTATION_SEALED_ONLY",
    aliases: &[],
    default: None,
    example: "db",
    secret: false,
    doc: "The secrets that are released only sealed to a public key whose hash is a nonce of the token, by name, \
          separated by commas; * for all. Whoever steals a token has nothing of it then. Not set: a caller that gives \
          no public_key gets the secret as it is.",
};
/// Where a secret is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// Secret Manager: `sm://project/secret[/version]`, as given.
    Manager(String),
    /// A file, read at each release.
    File(PathBuf),
    /// A variable of the environment, by name.
    Variable(String),
}

/// A secret that can be released.
#[derive(Debug, Clone)]
pub struct SecretRule {
    /// Its name in the path.
    pub name: String,
    /// The policy a token must satisfy.
    pub policy: String,
    /// Where it is.
    pub source: SecretSource,
    /// Its value, when it is a variable.
    pub value: Option<SecretString>,
    /// It is released only sealed to the key that the token vouches for.
    pub sealed_only: bool,
}

/// Marks the secrets that are released only sealed.
fn mark_sealed(env: &mut Env, rules: &mut [SecretRule]) {
    for name in env.list(&ATTESTATION_SEALED_ONLY) {
        let mut known = name == "*";
        for rule in rules.iter_mut().filter(|rule| name == "*" || rule.name == name) {
            (rule.sealed_only, known) = (true, true);
        }
        if !known {
            let wrong = format!("names {name:?}, which is no secret");
            env.problem(ATTESTATION_SEALED_ONLY.name, &wrong, "use names of ATTESTATION_SECRETS, or * for all");
        }
    }
}

pub(super) fn read(env: &mut Env) -> Vec<SecretRule> {
    let mut rules: Vec<SecretRule> = Vec::new();
    for (number, item) in (1..).zip(env.list(&ATTESTATION_SECRETS)) {
        let parts = item.split_once('=').and_then(|(name, rest)| {
            let (policy, source) = rest.split_once(':')?;
            let plain = |text: &str| {
                (1..=100).contains(&text.len())
                    && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
            };
            (plain(name.trim()) && plain(policy.trim())).then(|| (name.trim(), policy.trim(), source.trim()))
        });
        let source = parts.and_then(|(_, _, source)| read_source(source));
        let (Some((name, policy, _)), Some(source)) = (parts, source) else {
            // What has not even the form may be the secret itself.
            let wrong = match parts {
                Some((name, ..)) => format!("names no place that {name:?} can come from"),
                None => {
                    format!("cannot be read: entry {number} has another form (it is not shown, it may be a secret)")
                }
            };
            env.problem(
                ATTESTATION_SECRETS.name,
                &wrong,
                "write NAME=POLICY:SOURCE with a source sm://PROJECT/SECRET[/VERSION], file:PATH or env:VARIABLE",
            );
            continue;
        };
        if rules.iter().any(|rule| rule.name == name) {
            env.problem(ATTESTATION_SECRETS.name, &format!("names {name} twice"), "give each secret one name");
            continue;
        }
        let value = match &source {
            SecretSource::Variable(variable) => value(env, name, variable),
            SecretSource::File(path) => {
                require_file(env, name, path);
                None
            }
            SecretSource::Manager(_) => None,
        };
        let (name, policy) = (name.to_owned(), policy.to_owned());
        rules.push(SecretRule { name, policy, source, value, sealed_only: false });
    }
    mark_sealed(env, &mut rules);
    rules
}

fn value(env: &mut Env, name: &str, variable: &str) -> Option<SecretString> {
    let value = env.variable(variable).map(SecretString::from);
    if value.is_none() {
        let wrong = format!("takes {name} from {variable}, which is not set");
        env.problem(ATTESTATION_SECRETS.name, &wrong, "set the variable");
    }
    value
}

/// A file that cannot be read now is told now, not to the workload that asks for its secret.
fn require_file(env: &mut Env, name: &str, path: &Path) {
    let cause = match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => "is a folder".to_owned(),
        // Whatever else is no plain file could wait for a writer when it is opened.
        Ok(found) if !found.is_file() => "is no plain file".to_owned(),
        Ok(found) if found.len() == 0 => "is empty".to_owned(),
        found => match found.and_then(|_| File::open(path)) {
            Ok(_) => return,
            Err(error) => format!("cannot be read: {error}"),
        },
    };
    env.problem(
        ATTESTATION_SECRETS.name,
        &format!("takes {name} from the file {}, which {cause}", path.display()),
        "correct the path, or put the file there, readable for the user this runs as",
    );
}

fn read_source(text: &str) -> Option<SecretSource> {
    if is_place(text) {
        return text.parse::<SecretName>().is_ok().then(|| SecretSource::Manager(text.to_owned()));
    }
    if let Some(path) = text.strip_prefix("file:").filter(|path| !path.is_empty()) {
        return Some(SecretSource::File(PathBuf::from(path)));
    }
    text.strip_prefix("env:").filter(|name| !name.is_empty()).map(|name| SecretSource::Variable(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_names_no_secret_is_told_when_it_is_read() {
        for (source, good) in [
            ("sm://p/s", true),
            ("sm://projects/p/secrets/s/versions/2", true),
            ("sm://p/", false),
            ("sm://p", false),
            ("sm://p/s/1/2", false),
        ] {
            let mut env = Env::from_pairs([("ATTESTATION_SECRETS", format!("db=ours:{source}"))]);
            assert_eq!((read(&mut env).len() == 1, env.has_problems()), (good, !good), "{source}");
        }
    }

    #[test]
    fn a_secret_in_the_place_of_its_name_is_not_repeated() {
        for secrets in
            ["hunter2SEKRIT", "SEKRIT=", "c0ffeeSEKRIT==", "SEKRIT:x=y", "a=SEKRIT", "a=b:c,SEKRIT", "a=b:SEKRIT"]
        {
            let mut env = Env::from_pairs([("ATTESTATION_SECRETS", secrets)]);
            assert!(read(&mut env).is_empty(), "{secrets}");
            let told = env.finish().unwrap_err().to_string();
            assert!(!told.contains("SEKRIT") && told.contains("NAME=POLICY:SOURCE"), "{told}");
        }
    }

    #[test]
    fn a_secret_is_where_the_setting_says() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        std::fs::write(at("there"), "x").unwrap();
        let told = |path: &str| {
            let secrets = format!("db=ours:file:{path}");
            let mut env = Env::from_pairs([("ATTESTATION_SECRETS", secrets.as_str())]);
            read(&mut env);
            env.finish().err().map(|problems| problems.to_string()).unwrap_or_default()
        };
        assert_eq!(told(&at("there")), "");
        let missing = told(&at("missing"));
        assert!(missing.contains("takes db from the file") && missing.contains("cannot be read"), "{missing}");
        assert!(told(&at("")).contains("is a folder"));
        std::fs::write(at("empty"), "").unwrap();
        assert!(told(&at("empty")).contains("is empty"));
        assert!(told("/dev/null").contains("is no plain file"));
    }
}
