//! A runtime event becomes a finding.

use chrono::{DateTime, Duration, Utc};

use super::{Rules, access, activity, compliance, looked_up, mitre, next_steps, properties, resource, workload};
use crate::config::finding::FindingConfig;
use crate::enrich::Enriched;
use crate::event::runtime::{Runtime, Shape};
use crate::event::scene;
use crate::finding::id::digest;
use crate::finding::{Finding, FindingClass};
use crate::text;

/// The longest category Security Command Center shows and filters by.
const LONGEST_CATEGORY: usize = 255;
/// As much of a name is kept before the mark that tells it apart.
const LONGEST_TOLD: usize = 160;
/// The longest description, in bytes.
const LONGEST_DESCRIPTION: usize = 4 * 1024;
/// What one finding may weigh as JSON, in bytes; the service documents no limit, this one is ours.
const LARGEST_FINDING: usize = 64 * 1024;
/// Below this many bytes of text, escaping cannot make it heavier than it may be.
const SURELY_SMALL: usize = 16 * 1024;

/// Why a setting says that this event is not wanted; `None` when it is.
pub(super) fn unwanted(event: &Runtime, config: &FindingConfig) -> Option<String> {
    let level = event.severity.level();
    // What nobody called harmless is not left out for it.
    if level > config.least_severe && !event.unrated {
        return Some(format!("Its severity {level} is less severe than FINDING_MIN_SEVERITY={}.", config.least_severe));
    }
    let listed = |name: Option<&str>, list: &[String]| {
        name.and_then(|name| list.iter().find(|pattern| text::matches(pattern, name)).cloned())
    };
    if let Some(pattern) = listed(event.rule.as_deref(), &config.exclude_rules) {
        return Some(format!("Its rule is in FINDING_EXCLUDE_RULES ({pattern})."));
    }
    let pattern = listed(event.policy.name.as_deref(), &config.exclude_policies)?;
    Some(format!("Its policy is in FINDING_EXCLUDE_POLICIES ({pattern})."))
}

/// The finding.
pub(super) fn finding(event: &Runtime, enriched: &Enriched, rules: &Rules, now: DateTime<Utc>) -> Finding {
    let sensor = &event.host;
    let placed = scene::placed(event);
    let resource = resource::resolve(&placed, enriched, &rules.organization);
    let event = &*looked_up::filled(placed, enriched);
    let severity = rules.finding.severities[usize::from(event.severity.level().min(7))];
    let latest = now - Duration::seconds(1);
    let mut finding = Finding::new(
        category(event, &rules.finding.category_prefix),
        severity,
        resource.name.clone(),
        event.time.min(latest),
    );
    if event.severity.level() == 7 {
        finding.finding_class = FindingClass::Observation;
    }
    finding.external_uri = external_uri(event, rules);
    finding.description = description(event);
    finding.module_name = Some(module_name(event));
    let attack = mitre::read(&event.tags);
    finding.compliances = compliance::read(&event.tags);
    finding.containers = workload::containers(event);
    finding.kubernetes = workload::kubernetes(event, &resource, &finding.containers);
    looked_up::complete(&mut finding, enriched);
    finding.processes = activity::processes(event);
    finding.files = activity::files(event);
    finding.connections = activity::connections(event);
    finding.indicator = activity::indicator(event, &finding.connections);
    finding.access = access::access(event);
    finding.next_steps = Some(next_steps::write(event, enriched, &resource, finding.external_uri.as_deref()));
    let context = properties::Context {
        resource: &resource,
        unknown_tags: &attack.unknown,
        clamped: event.time > latest && !event.untimed,
        enriched,
        machine: workload::machine_name(event, enriched),
        sensor,
    };
    finding.source_properties = properties::collect(event, &context);
    finding.mitre_attack = attack.finding;
    fit(&mut finding);
    finding
}

/// A stable, rule-level label: never empty, ASCII, 1 to 255 characters.
fn category(event: &Runtime, prefix: &str) -> String {
    let admission = event.admission.as_ref().map(|_| "Admission review");
    let general = admission.unwrap_or("Runtime event");
    let title = event.title().filter(|title| !title.trim().is_empty()).map(|title| plain(title, general));
    let title = title.unwrap_or_else(|| general.to_owned());
    let whole = if prefix.is_empty() { title } else { format!("{} {title}", text::ascii(prefix)) };
    text::cut(whole.trim(), LONGEST_CATEGORY).trim_end().to_owned()
}

/// A name in ASCII. What is left of a name in another script may be left of another one's too: a mark tells them apart.
fn plain(name: &str, general: &str) -> String {
    let plain = text::ascii(name);
    if !text::loses_letters(name) {
        return plain;
    }
    let told = plain.bytes().any(|b| b.is_ascii_alphanumeric());
    let told = if told { text::cut(&plain, LONGEST_TOLD) } else { general };
    format!("{told} {}", &digest("category", name)[..8])
}

/// The event's own link, else the one made of the template; only when it is a well-formed address.
fn external_uri(event: &Runtime, rules: &Rules) -> Option<String> {
    let made = || {
        let seconds = event.time.timestamp();
        let id: String = url::form_urlencoded::byte_serialize(event.id.as_bytes()).collect();
        let (from, to) = ((seconds - 60).to_string(), (seconds + 60).to_string());
        let base = rules.console.trim_end_matches('/');
        filled(&rules.finding.link, &[("{base}", base), ("{id}", &id), ("{from}", &from), ("{to}", &to)])
    };
    let own = event.link.as_deref().and_then(text::address);
    // Falco has no console of its own.
    own.or_else(|| if event.shape == Shape::Falco { None } else { text::address(&made()) })
}

/// The template with its placeholders replaced; what stands in a value is not looked at again.
fn filled(template: &str, values: &[(&str, &str)]) -> String {
    let mut text = String::with_capacity(template.len() + 64);
    let mut rest = template;
    while let Some(at) = rest.find('{') {
        text.push_str(&rest[..at]);
        rest = &rest[at..];
        let known = values.iter().find_map(|(name, value)| Some((*value, rest.strip_prefix(name)?)));
        let (value, after) = known.unwrap_or_else(|| rest.split_at(1));
        text.push_str(value);
        rest = after;
    }
    text.push_str(rest);
    text
}

fn description(event: &Runtime) -> Option<String> {
    let mut parts: Vec<String> = Vec::new();
    parts.extend(event.summary.as_deref().map(|summary| text::cut(summary, LONGEST_DESCRIPTION).to_owned()));
    let purpose = event.policy.description.as_deref().filter(|purpose| event.summary.as_deref() != Some(*purpose));
    match (event.policy.name.as_deref(), purpose) {
        (Some(name), Some(purpose)) => parts.push(format!("Policy \"{name}\": {purpose}")),
        (Some(name), None) => parts.push(format!("Policy \"{name}\".")),
        (None, Some(purpose)) => parts.push(purpose.to_owned()),
        (None, None) => {}
    }
    for action in &event.actions {
        let word = action.kind.replace('_', " ");
        parts.push(match (action.successful, action.error.as_deref()) {
            (Some(false), Some(error)) => format!("Action \"{word}\" failed: {error}."),
            (Some(false), None) => format!("Action \"{word}\" failed."),
            (Some(true), _) => format!("Action taken: {word}."),
            (None, _) => format!("Action reported, result not told: {word}."),
        });
    }
    let joined = parts.join("\n");
    let whole = text::shown(&joined);
    (!whole.is_empty()).then(|| text::ellipsis(&whole, LONGEST_DESCRIPTION))
}

/// `sysdig/<policy>/<rule>` or `falco/<rule>`.
fn module_name(event: &Runtime) -> String {
    let sender = if event.shape == Shape::Falco { "falco" } else { "sysdig" };
    let names = [event.policy.name.as_deref(), event.rule.as_deref()];
    let mut path = sender.to_owned();
    for (name, general) in names.into_iter().zip(["policy", "rule"]) {
        let Some(name) = name else { continue };
        path.push('/');
        path.push_str(&plain(name, general));
    }
    text::cut(&path, LONGEST_CATEGORY).to_owned()
}

/// Keeps the whole within its limit: first what repeats itself goes, the essence stays.
fn fit(finding: &mut Finding) {
    let rough = finding.source_properties.iter().map(|(key, value)| key.len() + value.as_str().map_or(16, str::len));
    let rough = rough.sum::<usize>()
        + finding.description.as_ref().map_or(0, String::len)
        + finding.next_steps.as_ref().map_or(0, String::len);
    if rough < SURELY_SMALL {
        return;
    }
    let heavy =
        |finding: &Finding| serde_json::to_string(finding).map_or(usize::MAX, |text| text.len()) > LARGEST_FINDING;
    let halvings = [2048, 1024, 256, 64];
    for most in halvings {
        if !heavy(finding) {
            return;
        }
        properties::shorten_values(&mut finding.source_properties, most);
        finding.description = finding.description.take().map(|text| text::ellipsis(&text, most * 2));
        for process in &mut finding.processes {
            process.args.truncate(most / 64);
            process.arguments_truncated = Some(true);
        }
    }
}
