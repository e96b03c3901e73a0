//! What `setup sink` wants, and how what is there differs from it. Nothing is asked or changed here.

use serde_json::{Value, json};

use crate::google::logging::Sink;
use crate::google::pubsub::Subscription;
use crate::integrity::entry::INTEGRITY_LOG;

/// Time to make an entry durable, with room for a slow disk. It is also how long a push waits for its answer. Seconds.
const ACK_DEADLINE: u32 = 60;

/// The most that Pub/Sub allows. The connector answers for what it cannot read, so only an outage counts up here.
const MOST_ATTEMPTS: u32 = 100;

/// Where a push goes and whose token it shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Push {
    /// The exact address.
    pub(super) endpoint: String,
    /// The service account's e-mail address.
    pub(super) account: String,
    /// The token's audience.
    pub(super) audience: String,
}

/// Everything that is to be there.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    /// The sink's owner: `projects/P`, `folders/N` or `organizations/N`.
    pub(super) owner: String,
    /// The sink.
    pub(super) sink: Sink,
    /// The project of topics and subscriptions.
    pub(super) project: String,
    /// The topic's full name.
    pub(super) topic: String,
    /// The subscription's full name.
    pub(super) subscription: String,
    /// Where it pushes; `None` when it is pulled.
    pub(super) push: Option<Push>,
}

impl Wanted {
    /// The topic of what could not be delivered.
    pub(super) fn dead_topic(&self) -> String {
        format!("{}-dead-letter", self.topic)
    }

    /// The subscription that keeps it.
    pub(super) fn dead_subscription(&self) -> String {
        format!("{}-dead-letter", self.subscription)
    }

    /// What the subscription is to be like.
    pub(super) fn settings(&self) -> Subscription {
        let mut settings = Self::of_topic(self.topic.clone());
        settings.push_config = self.push.as_ref().map(|push| push.config(&Value::Null));
        settings.more.insert("retryPolicy".into(), json!({"minimumBackoff": "10s", "maximumBackoff": "600s"}));
        let dead = json!({"deadLetterTopic": self.dead_topic(), "maxDeliveryAttempts": MOST_ATTEMPTS});
        settings.more.insert("deadLetterPolicy".into(), dead);
        settings
    }

    /// What the dead letters' subscription is to be like.
    pub(super) fn dead_settings(&self) -> Subscription {
        Self::of_topic(self.dead_topic())
    }

    fn of_topic(topic: String) -> Subscription {
        Subscription {
            topic,
            ack_deadline_seconds: Some(ACK_DEADLINE),
            // Without a time to live it never expires.
            expiration_policy: Some(json!({})),
            ..Subscription::default()
        }
    }
}

impl Push {
    /// The push configuration, with what `found` has besides.
    fn config(&self, found: &Value) -> Value {
        let mut config = if found.is_object() { found.clone() } else { json!({}) };
        config["pushEndpoint"] = json!(self.endpoint);
        config["oidcToken"] = json!({"serviceAccountEmail": self.account, "audience": self.audience});
        if config["noWrapper"].is_object() {
            config["noWrapper"] = json!({"writeMetadata": false});
        } else if let Some(config) = config.as_object_mut() {
            config.remove("noWrapper");
        }
        config
    }

    fn is(&self, found: &Value) -> bool {
        let audience = found["oidcToken"]["audience"].as_str().filter(|audience| !audience.is_empty());
        found["pushEndpoint"] == self.endpoint.as_str()
            && found["oidcToken"]["serviceAccountEmail"] == self.account.as_str()
            && audience.unwrap_or(&self.endpoint) == self.audience
            && found["noWrapper"]["writeMetadata"] != true
    }
}

/// The filter of the sink: boot reports and who changed what they are measured against, and gotpm's log when wanted.
pub(super) fn filter(with_gotpm: bool) -> String {
    let mut filter = format!(
        "(resource.type=\"gce_instance\" AND log_id(\"{INTEGRITY_LOG}\")) OR (log_id(\"cloudaudit.googleapis.com/activity\") AND protoPayload.methodName=~\"compute\\.instances\\.(setShieldedInstanceIntegrityPolicy|updateShieldedInstanceConfig)$\")"
    );
    if with_gotpm {
        filter.push_str(" OR (resource.type=\"gce_instance\" AND log_id(\"gotpm\"))");
    }
    filter
}

/// The members of a sink, by their names in JSON, that are to be written.
pub(super) fn sink_changes(found: &Sink, wanted: &Sink) -> Vec<&'static str> {
    let differs = [
        ("filter", found.filter.trim() != wanted.filter),
        ("destination", found.destination != wanted.destination),
        ("includeChildren", wanted.include_children && !found.include_children),
    ];
    differs.into_iter().filter(|(_, differs)| *differs).map(|(member, _)| member).collect()
}

/// How a subscription differs.
#[derive(Debug, Default)]
pub(super) struct Differences {
    /// What is to be written.
    pub(super) mended: Subscription,
    /// The members of it, by their names in JSON.
    pub(super) members: Vec<&'static str>,
    /// What is somebody's choice and stays, as sentences.
    pub(super) kept: Vec<String>,
}

impl Differences {
    /// The options of `gcloud pubsub subscriptions update` that do the same.
    pub(super) fn by_hand(&self) -> String {
        let of = |member: &str, name: &str| {
            let value = self.mended.more.get(member).map(|value| &value[name]);
            value.map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned)).unwrap_or_default()
        };
        let push = self.mended.push_config.clone().unwrap_or_default();
        let token = |name: &str| push["oidcToken"][name].as_str().unwrap_or_default().to_owned();
        let option = |member: &&'static str| match *member {
            "expirationPolicy" => "--expiration-period=never".to_owned(),
            "ackDeadlineSeconds" => format!("--ack-deadline={ACK_DEADLINE}"),
            "retryPolicy" => format!(
                "--min-retry-delay={} --max-retry-delay={}",
                of("retryPolicy", "minimumBackoff"),
                of("retryPolicy", "maximumBackoff")
            ),
            "deadLetterPolicy" => format!(
                "--dead-letter-topic={} --max-delivery-attempts={}",
                of("deadLetterPolicy", "deadLetterTopic"),
                of("deadLetterPolicy", "maxDeliveryAttempts")
            ),
            _ => format!(
                "--push-endpoint={} --push-auth-service-account={} --push-auth-token-audience={}",
                push["pushEndpoint"].as_str().unwrap_or_default(),
                token("serviceAccountEmail"),
                token("audience")
            ),
        };
        self.members.iter().map(option).collect::<Vec<_>>().join(" ")
    }
}

/// How `found` differs from `wanted`, which pushes to `push`.
///
/// # Errors
/// What cannot or must not be changed, in words.
pub(super) fn differences(
    found: &Subscription,
    wanted: &Subscription,
    push: Option<&Push>,
) -> Result<Differences, String> {
    usable(found, wanted, push)?;
    let mut all = Differences { mended: wanted.clone(), ..Differences::default() };
    if found.expires() {
        all.members.push("expirationPolicy");
    }
    if found.ack_deadline_seconds.unwrap_or(10) < ACK_DEADLINE {
        all.members.push("ackDeadlineSeconds");
    }
    let none = Value::Null;
    let config = found.push_config.as_ref().unwrap_or(&none);
    if let Some(push) = push.filter(|push| !push.is(config)) {
        all.mended.push_config = Some(push.config(config));
        all.members.push("pushConfig");
    }
    for member in ["retryPolicy", "deadLetterPolicy"] {
        match (found.more.get(member), wanted.more.get(member)) {
            (None, Some(_)) => all.members.push(member),
            (Some(found), Some(wanted)) if !covers(found, wanted) => {
                all.kept.push(format!("Its {member} is another one, and was left so: {found}"));
            }
            _ => {}
        }
    }
    if let Some(filter) = found.more.get("filter").and_then(Value::as_str).filter(|filter| !filter.is_empty()) {
        all.kept
            .push(format!("It has a filter, which cannot be changed; what it does not match never comes: {filter}"));
    }
    Ok(all)
}

fn usable(found: &Subscription, wanted: &Subscription, push: Option<&Push>) -> Result<(), String> {
    if found.more.get("detached") == Some(&Value::Bool(true)) || found.topic == "_deleted-topic_" {
        return Err("has lost its topic for good".into());
    }
    if found.topic != wanted.topic {
        return Err(format!("is of topic {}, which cannot be changed", found.topic));
    }
    let stores = ["bigqueryConfig", "cloudStorageConfig", "bigtableConfig"];
    if let Some(store) = stores.iter().find(|&&store| found.more.get(store).is_some_and(|config| config != &json!({})))
    {
        return Err(format!("does not deliver messages, but writes them away ({store})"));
    }
    let endpoint = found.push_config.as_ref().and_then(|config| config["pushEndpoint"].as_str()).unwrap_or_default();
    if push.is_none() && !endpoint.is_empty() {
        return Err(format!("pushes to {endpoint}, and no --push-endpoint was given"));
    }
    Ok(())
}

/// Whether `found` says all that `wanted` says.
fn covers(found: &Value, wanted: &Value) -> bool {
    let wanted = wanted.as_object();
    wanted.is_some_and(|wanted| wanted.iter().all(|(name, value)| found.get(name) == Some(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(push: Option<Push>) -> Wanted {
        Wanted {
            owner: "projects/p".into(),
            sink: Sink::default(),
            project: "p".into(),
            topic: "projects/p/topics/t".into(),
            subscription: "projects/p/subscriptions/s".into(),
            push,
        }
    }

    fn push() -> Push {
        Push {
            endpoint: "https://c.example/pubsub/push".into(),
            account: "pusher@p.iam.gserviceaccount.com".into(),
            audience: "https://c.example/pubsub/push".into(),
        }
    }

    fn found(change: impl FnOnce(&mut Value), wanted: &Subscription) -> Subscription {
        let mut json = serde_json::to_value(wanted).unwrap();
        change(&mut json);
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn what_is_as_wanted_stays() {
        for push in [None, Some(push())] {
            let settings = wanted(push.clone()).settings();
            let all = differences(&settings, &settings, push.as_ref()).unwrap();
            assert!(all.members.is_empty() && all.kept.is_empty(), "{all:?}");
        }
        // An audience that is not said is the endpoint; what else a push is configured with is no difference.
        let settings = wanted(Some(push())).settings();
        let other = found(
            |json| {
                json["pushConfig"]["oidcToken"] = json!({"serviceAccountEmail": push().account});
                json["pushConfig"]["attributes"] = json!({"x-goog-version": "v1"});
            },
            &settings,
        );
        assert!(differences(&other, &settings, Some(&push())).unwrap().members.is_empty());
    }

    #[test]
    fn what_differs_is_mended_and_what_was_chosen_stays() {
        let settings = wanted(Some(push())).settings();
        let old = found(
            |json| {
                *json = json!({"topic": json["topic"], "ackDeadlineSeconds": 10, "expirationPolicy": {"ttl": "2678400s"},
                    "retryPolicy": {"minimumBackoff": "1s", "maximumBackoff": "600s"}, "filter": "attributes:a",
                    "pushConfig": {"pushEndpoint": push().endpoint, "noWrapper": {"writeMetadata": true},
                                   "oidcToken": {"serviceAccountEmail": push().account}}});
            },
            &settings,
        );
        let all = differences(&old, &settings, Some(&push())).unwrap();
        assert_eq!(all.members, ["expirationPolicy", "ackDeadlineSeconds", "pushConfig", "deadLetterPolicy"]);
        assert_eq!(all.kept.len(), 2, "{all:?}");
        assert!(
            all.by_hand().starts_with("--expiration-period=never --ack-deadline=60 --push-endpoint=https://c.example/"),
            "{}",
            all.by_hand()
        );
        assert!(
            all.by_hand().ends_with("--dead-letter-topic=projects/p/topics/t-dead-letter --max-delivery-attempts=100")
        );
        assert_eq!(all.mended.push_config.unwrap()["noWrapper"], json!({"writeMetadata": false}));
    }

    #[test]
    fn what_cannot_be_changed_is_refused() {
        let settings = wanted(None).settings();
        let cases = [
            (json!({"topic": "projects/p/topics/other"}), "cannot be changed"),
            (json!({"topic": settings.topic, "detached": true}), "lost its topic"),
            (json!({"topic": settings.topic, "bigqueryConfig": {"table": "a.b.c"}}), "bigqueryConfig"),
            (json!({"topic": settings.topic, "pushConfig": {"pushEndpoint": "https://x"}}), "no --push-endpoint"),
        ];
        for (json, expected) in cases {
            let refused = differences(&found(|it| *it = json, &settings), &settings, None).unwrap_err();
            assert!(refused.contains(expected), "{refused}");
        }
    }

    #[test]
    fn a_sink_is_changed_where_it_differs() {
        let wanted = Sink { filter: filter(false), destination: "d".into(), include_children: true, ..Sink::default() };
        assert!(sink_changes(&wanted, &wanted).is_empty());
        let old = Sink { filter: "severity=ERROR".into(), destination: "e".into(), ..Sink::default() };
        assert_eq!(sink_changes(&old, &wanted), ["filter", "destination", "includeChildren"]);
        assert!(filter(true).ends_with("log_id(\"gotpm\"))"));
    }
}
