//! Who called what from where, for audit events; for workloads the user of the operating system.

use std::net::SocketAddr;

use super::activity::{bounded, ip};
use super::audited::Target;
use crate::event::runtime::Runtime;
use crate::event::scene::{self, Scene};
use crate::finding::Access;

/// Where one fact may stand: under names that Falco's plugins and Sysdig gave it, the best first, else where the
/// cloud's own record has it, as a JSON pointer that the rule printed.
struct Places {
    names: &'static [&'static str],
    pointers: &'static [&'static str],
}

/// Callers that may be told as an e-mail address beside a name for people.
const E_MAILS: Places =
    Places { names: &["okta.actor.alternateid", "gitlab.author_email", "salesforce.username"], pointers: &[] };

const CALLERS: Places = Places {
    names: &[
        "gcp.user",
        "gcp.principalEmail",
        "ct.user",
        "ct.user.arn",
        "ct.user.principalid",
        "aws.user",
        "ka.user.name",
        "okta.actor.name",
        "okta.actor.alternateid",
        "github.user",
        "azure.user",
        "entra.user",
        "gitlab.author_name",
        "keycloak.admin.authDetails.userID",
        "keycloak.user.userID",
        "salesforce.username",
    ],
    // CloudTrail; audit logs of Google Cloud; activity logs of Azure, its storage logs, and those of Entra ID.
    pointers: &[
        "/userIdentity/userName",
        "/userIdentity/arn",
        "/userIdentity/principalId",
        "/userIdentity/invokedBy",
        "/protoPayload/authenticationInfo/principalEmail",
        "/protoPayload/authenticationInfo/principalSubject",
        "/identity/claims/http:~1~1schemas.xmlsoap.org~1ws~12005~105~1identity~1claims~1upn",
        "/identity/claims/http:~1~1schemas.xmlsoap.org~1ws~12005~105~1identity~1claims~1emailaddress",
        "/identity/claims/http:~1~1schemas.xmlsoap.org~1ws~12005~105~1identity~1claims~1name",
        "/identity/claims/appid",
        "/identity/requester/upn",
        "/identity/requester/objectId",
        "/caller",
        "/properties/userPrincipalName",
        "/properties/initiatedBy/user/userPrincipalName",
        "/properties/initiatedBy/app/displayName",
    ],
};

const ADDRESSES: Places = Places {
    names: &[
        "gcp.callerIP",
        "gcp.callerIp",
        "ct.srcip",
        "aws.sourceIP",
        "ka.sourceips",
        "okta.client.ip",
        "entra.srcip",
        "entra.callerIpAddress",
        "azure.callerIpAddress",
        "gitlab.ip_address",
        "keycloak.admin.authDetails.ipAddress",
        "keycloak.user.ipAddress",
        "salesforce.sourceip",
        "awselb.client_ip",
        "nginx.remote_addr",
        "sequence.sourceIpAddress",
    ],
    pointers: &["/sourceIPAddress", "/protoPayload/requestMetadata/callerIp", "/callerIpAddress"],
};

const AGENTS: Places = Places {
    names: &[
        "gcp.userAgent",
        "ct.useragent",
        "ka.useragent",
        "okta.useragent.raw",
        "entra.userAgent",
        "salesforce.useragent",
        "awselb.user_agent",
        "nginx.user_agent",
    ],
    pointers: &["/userAgent", "/protoPayload/requestMetadata/callerSuppliedUserAgent", "/properties/userAgent"],
};

const SERVICES: Places = Places {
    names: &["gcp.serviceName", "ct.src", "aws.eventSource"],
    pointers: &["/eventSource", "/protoPayload/serviceName"],
};

const METHODS: Places = Places {
    names: &[
        "gcp.methodName",
        "ct.name",
        "aws.eventName",
        "okta.evt.type",
        "github.action",
        "entra.operation",
        "entra.operationName",
        "azure.operationName",
        "gitlab.event_type",
        "keycloak.admin.operationType",
        "keycloak.user.eventType",
        "salesforce.eventtype",
    ],
    pointers: &["/eventName", "/protoPayload/methodName", "/operationName"],
};

/// Who called which method.
pub(super) fn access(event: &Runtime) -> Option<Access> {
    let record = Record::of(event);
    let principal = record.told(&E_MAILS).filter(is_email).or_else(|| record.told(&CALLERS));
    let principal = principal.or_else(|| event.label("cloudProvider.user")).or_else(|| event.label("aws.user"));
    let access = Access {
        principal_email: principal.filter(is_email).map(bounded),
        principal_subject: principal.filter(|name| !is_email(name)).map(bounded),
        caller_ip: record.told(&ADDRESSES).and_then(address),
        user_agent: record.told(&AGENTS).map(bounded),
        service_name: record.told(&SERVICES).map(bounded),
        method_name: record.told(&METHODS).map(bounded).or_else(|| audited(event)),
        user_name: event.field("user.name").or_else(|| event.field("user.loginname")).map(bounded),
    };
    (access != Access::default()).then_some(access)
}

/// The event's fields, with the pointers into the record that it was made from.
struct Record<'e> {
    event: &'e Runtime,
    pointers: Vec<(&'e str, &'e str)>,
}

impl<'e> Record<'e> {
    fn of(event: &'e Runtime) -> Self {
        // What a kernel tells is no record: most events are not looked through.
        let of_kernel = scene::of(event) == Scene::Machine;
        let pointed = |name: &'e str| {
            let inner = name.strip_prefix("jevt.value[").or_else(|| name.strip_prefix("json.value["))?;
            inner.strip_suffix(']')
        };
        let pointers = event.fields.iter().filter(|_| !of_kernel);
        Self { event, pointers: pointers.filter_map(|(name, value)| Some((pointed(name)?, value))).collect() }
    }

    fn told(&self, places: &Places) -> Option<&'e str> {
        let pointed =
            |pointer: &&str| self.pointers.iter().find(|(known, _)| known == pointer).map(|(_, value)| *value);
        let named = places.names.iter().find_map(|name| self.event.field(name));
        named.or_else(|| places.pointers.iter().filter(|_| !self.pointers.is_empty()).find_map(pointed))
    }
}

/// Not an assumed role's name, which may end in one.
fn is_email(name: &&str) -> bool {
    let around = |c: char| c.is_whitespace() || matches!(c, ':' | '/');
    name.contains('@') && !name.contains(around) && name.len() <= 320
}

/// The first address: of one, or of several as Falco writes lists, `(a,b)`, or as JSON does, `["a","b"]`. Some logs of
/// Azure have the port with it.
fn address(list: &str) -> Option<String> {
    let around = [',', '(', ')', '[', ']', '"', ' '];
    let with_port = |text: &str| ip(&text.parse::<SocketAddr>().ok()?.ip().to_string());
    with_port(list).or_else(|| list.split(around).find_map(|text| ip(text).or_else(|| with_port(text))))
}

/// A Kubernetes audit record's verb and resource, as roles name it: `create pods`, `create pods/exec`.
fn audited(event: &Runtime) -> Option<String> {
    let verb = event.field("ka.verb")?;
    let told = Target::of(event).map(|target| match target.subresource {
        Some(part) => format!("{verb} {}/{part}", target.resource),
        None => format!("{verb} {}", target.resource),
    });
    Some(bounded(told.as_deref().unwrap_or(verb)))
}
