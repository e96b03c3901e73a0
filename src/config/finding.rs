//! What the findings say and which events become one.

use super::env::{Area, Env, Setting};
use crate::finding::FindingSeverity;

/// Which finding severity each Sysdig level becomes, where it differs from the default.
pub static FINDING_SEVERITIES: Setting = Setting {
    name: "FINDING_SEVERITIES",
    aliases: &[],
    default: None,
    example: "0=CRITICAL,1=CRITICAL,7=LOW",
    secret: false,
    doc: "Overrides of the severity mapping, as LEVEL=SEVERITY pairs; the levels are Sysdig's 0 (worst) to 7. Without it \
          0 becomes CRITICAL, 1-3 HIGH, 4-5 MEDIUM and 6-7 LOW.",
};
/// The least severe level that still becomes a finding.
pub static FINDING_MIN_SEVERITY: Setting = Setting {
    name: "FINDING_MIN_SEVERITY",
    aliases: &[],
    default: Some("7"),
    example: "5",
    secret: false,
    doc: "The least severe Sysdig level (0 worst, 7 information) that still becomes a finding; events beyond it are closed \
          as filtered. A falling number keeps fewer events; 7 keeps all. An event that does not say how severe it is passes.",
};
/// Rules that open no finding.
pub static FINDING_EXCLUDE_RULES: Setting = Setting {
    name: "FINDING_EXCLUDE_RULES",
    aliases: &[],
    default: None,
    example: "Contact K8S API Server From Container,Activity *",
    secret: false,
    doc: "Names of rules whose events open no finding, separated by commas; case does not matter and * stands for any text.",
};
/// Policies that open no finding.
pub static FINDING_EXCLUDE_POLICIES: Setting = Setting {
    name: "FINDING_EXCLUDE_POLICIES",
    aliases: &[],
    default: None,
    example: "Sysdig Runtime Activity Logs",
    secret: false,
    doc: "Names of policies whose events open no finding, separated by commas; case does not matter and * stands for any text.",
};
/// What stands before each category.
pub static FINDING_CATEGORY_PREFIX: Setting = Setting {
    name: "FINDING_CATEGORY_PREFIX",
    aliases: &[],
    default: None,
    example: "Sysdig:",
    secret: false,
    doc: "A word put before the category of every finding. The category cannot be changed later, and people mute by it: \
          choose it before the first delivery.",
};
/// The link to the event in the console.
pub static FINDING_LINK: Setting = Setting {
    name: "FINDING_LINK",
    aliases: &[],
    default: Some(DEFAULT_LINK),
    example: "{base}/secure/#/events/{id}",
    secret: false,
    doc: "The address put into a finding's externalUri when the event brings none. {base} is SYSDIG_URL, {id} the event's id, \
          {from} and {to} the seconds since 1970 one minute before and after the event.",
};

const DEFAULT_LINK: &str = "{base}/#/events/f:{from},t:{to}/*/*?viewAs=list";

/// The settings of this area.
pub static AREA: Area = Area {
    title: "Findings",
    settings: &[
        &FINDING_SEVERITIES,
        &FINDING_MIN_SEVERITY,
        &FINDING_EXCLUDE_RULES,
        &FINDING_EXCLUDE_POLICIES,
        &FINDING_CATEGORY_PREFIX,
        &FINDING_LINK,
    ],
};

/// What the findings say and which events become one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FindingConfig {
    /// The finding's severity for each of Sysdig's levels 0 to 7.
    pub severities: [FindingSeverity; 8],
    /// The least severe level that still becomes a finding, 0 to 7.
    pub least_severe: u8,
    /// Rules that open no finding; `*` stands for any text.
    pub exclude_rules: Vec<String>,
    /// Policies that open no finding; `*` stands for any text.
    pub exclude_policies: Vec<String>,
    /// Put before every category, with a space; empty for none.
    pub category_prefix: String,
    /// The template of the link to the event.
    pub link: String,
}

impl Default for FindingConfig {
    fn default() -> Self {
        use FindingSeverity::{Critical, High, Low, Medium};
        Self {
            severities: [Critical, High, High, High, Medium, Medium, Low, Low],
            least_severe: 7,
            exclude_rules: Vec::new(),
            exclude_policies: Vec::new(),
            category_prefix: String::new(),
            link: DEFAULT_LINK.to_owned(),
        }
    }
}

impl FindingConfig {
    /// Reads the area.
    pub fn read(env: &mut Env) -> Option<Self> {
        let severities = read_severities(env);
        let least_severe = env.number(&FINDING_MIN_SEVERITY, 0..=7).and_then(|level| u8::try_from(level).ok());
        let link = read_link(env);
        let config = Self {
            exclude_rules: env.list(&FINDING_EXCLUDE_RULES),
            exclude_policies: env.list(&FINDING_EXCLUDE_POLICIES),
            category_prefix: env.text(&FINDING_CATEGORY_PREFIX).unwrap_or_default(),
            ..Self::default()
        };
        Some(Self { severities: severities?, least_severe: least_severe?, link: link?, ..config })
    }
}

fn read_severities(env: &mut Env) -> Option<[FindingSeverity; 8]> {
    let mut severities = FindingConfig::default().severities;
    let mut good = true;
    for pair in env.list(&FINDING_SEVERITIES) {
        let told = pair.split_once('=').and_then(|(level, name)| {
            let level = level.trim().parse::<usize>().ok().filter(|level| *level <= 7)?;
            Some((level, FindingSeverity::from_name(name)?))
        });
        match told {
            Some((level, severity)) => severities[level] = severity,
            None => {
                good = false;
                let remedy = "write LEVEL=SEVERITY with a level from 0 to 7 and CRITICAL, HIGH, MEDIUM or LOW, for example 1=CRITICAL";
                env.problem(FINDING_SEVERITIES.name, &format!("has a pair that cannot be read: {pair:?}"), remedy);
            }
        }
    }
    good.then_some(severities)
}

fn read_link(env: &mut Env) -> Option<String> {
    let link = env.text(&FINDING_LINK)?;
    let example = link
        .replace("{base}", "https://secure.sysdig.com")
        .replace("{id}", "17dec715376910362c8c3f62a4ced001")
        .replace("{from}", "1720030941")
        .replace("{to}", "1720031061");
    let is_address =
        url::Url::parse(&example).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    if !is_address || example.contains(['{', '}']) {
        let remedy = "use an http(s) address in which only {base}, {id}, {from} and {to} are filled in";
        env.problem(FINDING_LINK.name, &format!("does not make an address: {link:?}"), remedy);
        return None;
    }
    Some(link)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_settings_the_default_mapping_holds() {
        let mut env = Env::from_pairs::<&str, &str>([]);
        assert_eq!(FindingConfig::read(&mut env), Some(FindingConfig::default()));
        assert!(env.finish().is_ok());
    }

    #[test]
    fn overrides_are_read_and_every_mistake_is_told() {
        let mut env =
            Env::from_pairs([("FINDING_SEVERITIES", "1=critical, 7 = MEDIUM"), ("FINDING_MIN_SEVERITY", "5")]);
        let config = FindingConfig::read(&mut env).unwrap();
        assert_eq!(config.severities[1], FindingSeverity::Critical);
        assert_eq!(config.severities[7], FindingSeverity::Medium);
        assert_eq!(config.least_severe, 5);

        let wrong = [
            ("FINDING_SEVERITIES", "9=HIGH,1=LOUD"),
            ("FINDING_MIN_SEVERITY", "8"),
            ("FINDING_LINK", "javascript:{x}"),
        ];
        let mut env = Env::from_pairs(wrong);
        assert_eq!(FindingConfig::read(&mut env), None);
        assert_eq!(env.finish().unwrap_err().0.len(), 4);
    }
}
