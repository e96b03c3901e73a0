//! Security Command Center: where findings go, and how fast.

use std::time::Duration;

use url::Url;

use super::{Area, Env, Setting};
use crate::calls::is_rehearsal;
use crate::deliver::pace::PaceSettings;
use crate::google::scc::{SourceName, is_location, organization, source_text};

/// The organization.
pub static ORG_ID: Setting = Setting {
    name: "ORG_ID",
    aliases: &[],
    default: None,
    example: "534901558763",
    secret: false,
    doc: "The number of the Google Cloud organization that findings belong to (organizations/NUMBER is understood).",
};

/// The project.
pub static PROJECT_ID: Setting = Setting {
    name: "PROJECT_ID",
    aliases: &[],
    default: None,
    example: "my-project",
    secret: false,
    doc: "The project the connector belongs to: its service accounts live there. Findings do not name it: what is affected is told by the event.",
};

/// The source.
pub static SOURCE_ID: Setting = Setting {
    name: "SOURCE_ID",
    aliases: &[],
    default: None,
    example: "organizations/534901558763/sources/12345678901234567890",
    secret: false,
    doc: "The Security Command Center source that findings are written to: its number or its full name, as `sysdig-scc setup source` prints it.",
};

/// The location.
pub static SCC_LOCATION: Setting = Setting {
    name: "SCC_LOCATION",
    aliases: &[],
    default: Some("global"),
    example: "eu",
    secret: false,
    doc: "Where findings are kept. Anything but global needs data residency, and the matching regional SCC_ENDPOINT (chosen by itself for eu, us and sa).",
};

/// The service's address.
pub static SCC_ENDPOINT: Setting = Setting {
    name: "SCC_ENDPOINT",
    aliases: &[],
    default: Some("https://securitycenter.googleapis.com"),
    example: "https://securitycenter.eu.rep.googleapis.com",
    secret: false,
    doc: "The address of Security Command Center. A loopback http address is a sandbox: calls go without a token unless a key is set. Plain http to any other address is refused.",
};

/// Calls a minute.
pub static SCC_WRITES_PER_MINUTE: Setting = Setting {
    name: "SCC_WRITES_PER_MINUTE",
    aliases: &[],
    default: Some("600"),
    example: "900",
    secret: false,
    doc: "Calls to Security Command Center in any minute, at most; 0 for no limit. Google allows a project 1,000, shared by everything that writes there.",
};

/// Bytes a day.
pub static SCC_BYTES_PER_DAY: Setting = Setting {
    name: "SCC_BYTES_PER_DAY",
    aliases: &[],
    default: Some("500000000"),
    example: "250000000",
    secret: false,
    doc: "Bytes of findings in any 24 hours, at most; 0 for no limit. A quarter may go at once, the rest is spread over the day. Google allows 500 MB. Counted from the start of the process.",
};

/// Calls at once.
pub static SCC_CONCURRENCY: Setting = Setting {
    name: "SCC_CONCURRENCY",
    aliases: &[],
    default: Some("64"),
    example: "16",
    secret: false,
    doc: "How many calls to Security Command Center run at once.",
};

/// Seconds a call.
pub static SCC_TIMEOUT_SECS: Setting = Setting {
    name: "SCC_TIMEOUT_SECS",
    aliases: &[],
    default: Some("30"),
    example: "60",
    secret: false,
    doc: "How long one call to Security Command Center may take, in seconds; then it is tried again.",
};

/// Send nothing.
pub static DRY_RUN: Setting = Setting {
    name: "DRY_RUN",
    aliases: &[],
    default: Some("false"),
    example: "true",
    secret: false,
    doc: "Print findings as JSON lines on standard output instead of sending them. Events count as delivered: what arrives meanwhile never reaches Security Command Center.",
};

/// The area.
pub static AREA: Area = Area {
    title: "Security Command Center",
    settings: &[
        &ORG_ID,
        &PROJECT_ID,
        &SOURCE_ID,
        &SCC_LOCATION,
        &SCC_ENDPOINT,
        &SCC_WRITES_PER_MINUTE,
        &SCC_BYTES_PER_DAY,
        &SCC_CONCURRENCY,
        &SCC_TIMEOUT_SECS,
        &DRY_RUN,
    ],
};

/// Where findings go, and how fast.
#[derive(Debug, Clone, PartialEq)]
pub struct SccConfig {
    /// The organization's number.
    pub organization: Option<String>,
    /// The project the connector belongs to.
    pub project: Option<String>,
    /// The source, when both its number and its organization are known.
    pub source: Option<SourceName>,
    /// The location.
    pub location: String,
    /// The service's address.
    pub endpoint: Url,
    /// How fast.
    pub pace: PaceSettings,
    /// Calls at once.
    pub concurrency: usize,
    /// For one call.
    pub timeout: Duration,
    /// Print instead of sending.
    pub dry_run: bool,
}

impl SccConfig {
    /// Reads the area. What a destination needs beyond this is asked by [`SccConfig::require_source`], because a
    /// rehearsal needs less.
    pub fn read(env: &mut Env) -> Option<Self> {
        let org = org(env);
        let source = source(env);
        let location = location(env, source.as_ref().and_then(|s| s.location.as_deref()));
        let endpoint = endpoint(env, location.as_deref());
        let project = env.given(&PROJECT_ID);
        let writes = env.number(&SCC_WRITES_PER_MINUTE, 0..=1_000_000);
        let bytes_per_day = env.number(&SCC_BYTES_PER_DAY, 0..=10_000_000_000);
        let concurrency = env.number(&SCC_CONCURRENCY, 1..=1_024);
        let timeout = env.number(&SCC_TIMEOUT_SECS, 1..=600);
        let dry_run = env.flag(&DRY_RUN);
        let organization = org.clone().or_else(|| source.as_ref().and_then(|s| s.organization.clone()));
        if let (Some(org), Some(other)) = (&org, source.as_ref().and_then(|s| s.organization.as_ref()))
            && org != other
        {
            let remedy = "name the same organization in both, or leave ORG_ID out";
            env.problem(SOURCE_ID.name, &format!("belongs to organization {other}, but ORG_ID is {org}"), remedy);
        }
        let source =
            source.zip(organization.clone()).map(|(s, organization)| SourceName { organization, source: s.source });
        Some(Self {
            organization,
            project,
            source,
            location: location?,
            endpoint: endpoint?,
            pace: PaceSettings {
                writes_per_minute: u32::try_from(writes?).ok()?,
                bytes_per_day: bytes_per_day?,
                ..PaceSettings::default()
            },
            concurrency: usize::try_from(concurrency?).ok()?,
            timeout: Duration::from_secs(timeout?),
            dry_run: dry_run?,
        })
    }

    /// Whether findings go nowhere, or to a sandbox: nothing else should be changed by it either.
    pub fn is_rehearsal(&self) -> bool {
        self.dry_run || is_rehearsal(&self.endpoint)
    }

    /// Notes what is missing to write to the real service. Not to be asked for a dry run or an embedded sandbox.
    pub fn require_source(&self, env: &mut Env) {
        if self.source.is_some() || self.dry_run {
            return;
        }
        let source = env.given(&SOURCE_ID);
        if self.organization.is_none()
            && source.as_deref().is_none_or(|text| source_text(text).is_some())
            && env.given(&ORG_ID).is_none()
        {
            let remedy = "give the organization's number (`gcloud organizations list`); to try things out, use `serve --sandbox` or DRY_RUN=true";
            env.problem(ORG_ID.name, super::env::REQUIRED, remedy);
        }
    }
}

/// The organization, for what needs nothing else of this area; a problem stays in `env`.
pub fn read_organization(env: &mut Env) -> Option<String> {
    let of_source = env.given(&SOURCE_ID).and_then(|text| source_text(&text)?.organization);
    org(env).or(of_source)
}

fn org(env: &mut Env) -> Option<String> {
    let text = env.given(&ORG_ID)?;
    let number = organization(&text);
    if number.is_none() {
        let remedy = "use the organization's number, for example 534901558763: `gcloud organizations list`";
        env.problem(ORG_ID.name, &format!("is not an organization's number: {text:?}"), remedy);
    }
    number
}

fn source(env: &mut Env) -> Option<crate::google::scc::SourceText> {
    let text = env.given(&SOURCE_ID)?;
    let read = source_text(&text);
    if read.is_none() {
        let remedy = "use its number or organizations/NUMBER/sources/NUMBER, as `sysdig-scc setup source` prints it";
        env.problem(SOURCE_ID.name, &format!("is not a source: {text:?}"), remedy);
    }
    read
}

/// The location set, else the one in the source's name, else the default; two that differ are a problem.
fn location(env: &mut Env, in_source: Option<&str>) -> Option<String> {
    let given = env.given(&SCC_LOCATION);
    if let (Some(given), Some(named)) = (given.as_deref(), in_source)
        && given != named
    {
        let remedy = "name the same location in both, or leave SCC_LOCATION out";
        env.problem(SCC_LOCATION.name, &format!("is {given}, but SOURCE_ID says {named}"), remedy);
        return None;
    }
    let location =
        given.or_else(|| in_source.map(str::to_owned)).or_else(|| SCC_LOCATION.default.map(str::to_owned))?;
    if is_location(&location) {
        if !LOCATIONS.contains(&location.as_str()) {
            let wrong = format!("is {location}, which this version does not know");
            env.doubt(SCC_LOCATION.name, &wrong, "use global, eu, us or sa, unless Google has more by now");
        }
        return Some(location);
    }
    env.problem(SCC_LOCATION.name, &format!("is not a location: {location:?}"), "use global, eu, us or sa");
    None
}

/// The locations there are, as far as is known; Google may open others.
const LOCATIONS: [&str; 4] = ["global", "eu", "us", "sa"];

/// The regional address of a location: `sa` (Saudi Arabia) is served from me-central2.
fn region(location: &str) -> Option<&'static str> {
    match location {
        "eu" => Some("eu"),
        "us" => Some("us"),
        "sa" => Some("me-central2"),
        _ => None,
    }
}

fn endpoint(env: &mut Env, location: Option<&str>) -> Option<Url> {
    if env.given(&SCC_ENDPOINT).is_none() {
        let regional = location.and_then(region).map(|r| format!("https://securitycenter.{r}.rep.googleapis.com"));
        return Url::parse(regional.as_deref().or(SCC_ENDPOINT.default)?).ok();
    }
    let url = env.address(&SCC_ENDPOINT)??;
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
        env.problem(
            SCC_ENDPOINT.name,
            "has a user, password or query, which no call sends",
            &format!("for example {}", SCC_ENDPOINT.example),
        );
        return None;
    }
    agree(env, &url, location?).then_some(url)
}

/// Google's own addresses serve one location each; any other address is believed.
fn agree(env: &mut Env, url: &Url, location: &str) -> bool {
    let host = url.host_str().unwrap_or_default();
    let served = match host.strip_prefix("securitycenter.").and_then(|h| h.strip_suffix(".rep.googleapis.com")) {
        Some("me-central2") => "sa",
        Some(region) => region,
        None if host == "securitycenter.googleapis.com" && region(location).is_some() => "global",
        None => return true,
    };
    if served == location {
        return true;
    }
    let remedy = "set both to the same place, or leave SCC_ENDPOINT out: it follows SCC_LOCATION";
    env.problem(SCC_ENDPOINT.name, &format!("serves {served}, but SCC_LOCATION is {location}"), remedy);
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> (Option<SccConfig>, String) {
        let mut env = Env::from_pairs(pairs.iter().copied());
        let config = SccConfig::read(&mut env);
        if let Some(config) = &config {
            config.require_source(&mut env);
        }
        (config, env.finish().err().map(|p| p.to_string()).unwrap_or_default())
    }

    #[test]
    fn a_full_source_name_is_enough() {
        let (config, problems) = read(&[("SOURCE_ID", "organizations/123/sources/98765432109876543210/locations/eu")]);
        let config = config.unwrap();
        assert_eq!(problems, "");
        assert_eq!(config.source.unwrap().to_string(), "organizations/123/sources/98765432109876543210");
        assert_eq!(config.location, "eu");
        assert_eq!(config.endpoint.as_str(), "https://securitycenter.eu.rep.googleapis.com/");
        assert_eq!(config.pace.writes_per_minute, 600);
    }

    #[test]
    fn what_makes_no_sense_together_is_refused() {
        let base = [("ORG_ID", "123"), ("SOURCE_ID", "456")];
        for (extra, expected) in [
            (("SCC_ENDPOINT", "http://scc.example:8089"), "plain http"),
            (("SCC_ENDPOINT", "https://securitycenter.eu.rep.googleapis.com"), "serves eu, but SCC_LOCATION is global"),
            (("SCC_ENDPOINT", "https://user:pw@scc.example"), "has a user, password or query"),
            (("SCC_ENDPOINT", "ftp://scc.example"), "not an http or https address"),
            (("SCC_LOCATION", "Europe West"), "not a location"),
            (("ORG_ID", "example.com"), "not an organization"),
            (("SOURCE_ID", "organizations/999/sources/1"), "ORG_ID is 123"),
            (("SOURCE_ID", "sysdig"), "not a source"),
            (("SCC_CONCURRENCY", "0"), "out of bounds"),
        ] {
            let pairs: Vec<_> = base.into_iter().chain([extra]).collect();
            let (_, problems) = read(&pairs);
            assert!(problems.contains(expected), "{extra:?}: {problems}");
            assert!(!problems.contains("user:pw"), "{problems}");
        }
        let (config, problems) = read(&[("SCC_ENDPOINT", "http://[::1]:8089"), base[0], base[1]]);
        assert_eq!(problems, "");
        assert!(config.is_some());
    }

    #[test]
    fn what_the_real_service_needs_is_asked_for_at_once() {
        let (_, problems) = read(&[]);
        assert!(problems.contains("ORG_ID"), "{problems}");
        let (_, problems) = read(&[("DRY_RUN", "yes")]);
        assert_eq!(problems, "");
    }

    #[test]
    fn a_location_that_nobody_knows_is_doubted() {
        for (location, doubted) in [("global", false), ("eu", false), ("us", false), ("sa", false), ("mars", true)] {
            let mut env = Env::from_pairs([("ORG_ID", "1"), ("SOURCE_ID", "2"), ("SCC_LOCATION", location)]);
            assert_eq!(SccConfig::read(&mut env).unwrap().location, location);
            let told: Vec<_> = env.doubts().iter().map(|doubt| doubt.wrong.clone()).collect();
            assert_eq!(told.iter().any(|told| told.contains("does not know")), doubted, "{told:?}");
        }
    }

    #[test]
    fn the_place_and_the_address_agree_for_saudi_arabia() {
        let (config, _) = read(&[("ORG_ID", "1"), ("SOURCE_ID", "2"), ("SCC_LOCATION", "sa")]);
        assert_eq!(config.unwrap().endpoint.host_str(), Some("securitycenter.me-central2.rep.googleapis.com"));
    }
}
