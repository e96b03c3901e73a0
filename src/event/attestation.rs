//! What attestation found out about one machine, or about this service.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::finding::{FindingClass, FindingSeverity};
use crate::finding::{FindingId, Properties, id};
use crate::words::words;

words! {
    /// What is wrong, or was done. One finding a machine and category.
    Category.name {
        /// A policy's condition is false.
        AttestationPolicyDenied = "ATTESTATION_POLICY_DENIED",
        /// A policy's condition has no answer, or what it asks is switched off.
        AttestationPolicyError = "ATTESTATION_POLICY_ERROR",
        /// The machine runs a debug image.
        AttestationDebugImage = "ATTESTATION_DEBUG_IMAGE",
        /// Its image is not, or no longer, a stable one with support.
        AttestationUnsupportedImage = "ATTESTATION_UNSUPPORTED_IMAGE",
        /// It has no memory encryption, an unknown model, or no secure boot.
        AttestationWeakHardware = "ATTESTATION_WEAK_HARDWARE",
        /// Its platform's firmware is out of date.
        AttestationTcbOutOfDate = "ATTESTATION_TCB_OUT_OF_DATE",
        /// Its operator changed the command, the environment or the monitoring.
        AttestationWorkloadOverridden = "ATTESTATION_WORKLOAD_OVERRIDDEN",
        /// A term of a policy on the image digest is false.
        AttestationImageMismatch = "ATTESTATION_IMAGE_MISMATCH",
        /// No accepted issuer vouches for a token, or it is for another service.
        AttestationTokenInvalid = "ATTESTATION_TOKEN_INVALID",
        /// A token or nonce was used twice.
        AttestationTokenReplayed = "ATTESTATION_TOKEN_REPLAYED",
        /// A live token stands in a log.
        AttestationTokenExposed = "ATTESTATION_TOKEN_EXPOSED",
        /// Claims, or claims and log labels, contradict each other.
        AttestationClaimsInconsistent = "ATTESTATION_CLAIMS_INCONSISTENT",
        /// A machine has not attested for longer than it should.
        AttestationMissing = "ATTESTATION_MISSING",
        /// A secret was released.
        AttestationSecretReleased = "ATTESTATION_SECRET_RELEASED",
    }
}

impl Category {
    /// How bad it is.
    pub fn severity(self) -> FindingSeverity {
        match self {
            Self::AttestationPolicyError
            | Self::AttestationUnsupportedImage
            | Self::AttestationTcbOutOfDate
            | Self::AttestationMissing
            | Self::AttestationWorkloadOverridden => FindingSeverity::Medium,
            Self::AttestationSecretReleased => FindingSeverity::Low,
            _ => FindingSeverity::High,
        }
    }

    /// What kind of finding it is.
    pub fn class(self) -> FindingClass {
        match self {
            Self::AttestationDebugImage
            | Self::AttestationUnsupportedImage
            | Self::AttestationWeakHardware
            | Self::AttestationTcbOutOfDate
            | Self::AttestationWorkloadOverridden
            | Self::AttestationPolicyError
            | Self::AttestationMissing
            | Self::AttestationTokenExposed => FindingClass::Misconfiguration,
            Self::AttestationSecretReleased => FindingClass::Observation,
            _ => FindingClass::Threat,
        }
    }

    /// Whether a later good attestation of the same machine closes it. What nobody vouched for is no machine's, and a
    /// release is for the record: these stay until triaged.
    pub fn closes_itself(self) -> bool {
        !matches!(self, Self::AttestationTokenInvalid | Self::AttestationSecretReleased)
    }

    /// Whether it happens, each time for itself, and is no state that lasts.
    pub fn happens(self) -> bool {
        matches!(self, Self::AttestationTokenReplayed | Self::AttestationTokenExposed)
    }

    /// Whether it is one policy's answer, and not a state of the machine.
    pub fn is_of_a_policy(self) -> bool {
        matches!(self, Self::AttestationPolicyDenied | Self::AttestationPolicyError | Self::AttestationImageMismatch)
    }

    /// What a person should do, one step a line, numbered.
    pub fn next_steps(self) -> &'static str {
        match self {
            Self::AttestationPolicyDenied | Self::AttestationImageMismatch => {
                "1. Read in the properties which terms of the policy failed and which claims they looked at.\n\
                 2. If the workload was changed on purpose, change the policy; else stop the instance and find out who started it."
            }
            Self::AttestationPolicyError => {
                "1. The policy has no answer for this token, which denies it: read the failed terms.\n\
                 2. Run sysdig-scc attest lint on the policy and guard claims that may be absent with has()."
            }
            Self::AttestationDebugImage => {
                "1. The instance runs a debug image: its operator can look into the workload.\n\
                 2. Start it from a production image of the family confidential-space, and ask for dbgstat in the policy."
            }
            Self::AttestationUnsupportedImage => {
                "1. The image is no longer supported, so it gets no fixes.\n2. Recreate the instance from a current image."
            }
            Self::AttestationWeakHardware => {
                "1. The token shows no memory encryption, an unknown hardware model, or no secure boot.\n\
                 2. Recreate the instance as a Confidential VM with secure boot."
            }
            Self::AttestationTcbOutOfDate => {
                "1. The platform's firmware is not up to date.\n2. Stop and start the instance so that it moves to a current host."
            }
            Self::AttestationWorkloadOverridden => {
                "1. The operator overrode the command or environment of the image, or switched memory monitoring on.\n\
                 2. Compare with what the image's author allows; remove tee-cmd and tee-env-* from the instance's metadata."
            }
            Self::AttestationTokenInvalid => {
                "1. Tokens that no issuer signed, or that are not for this service, were shown.\n\
                 2. Read in the properties for which reasons, or of which log entry. The attestation journal has each sender's \
                 address, but of one beyond its share a minute only the first tokens; a load balancer's log has every request."
            }
            Self::AttestationTokenReplayed => {
                "1. A token or nonce was used twice: somebody else may hold it.\n\
                 2. Find both requests in the attestation journal, by token_sha256 or instance; use nonces from POST /attestation/challenge."
            }
            Self::AttestationTokenExposed => {
                "1. A complete bearer token stands in a log; who reads it can use it until it expires.\n\
                 2. Run gotpm without --cloud-log, and restrict who may read the log gotpm."
            }
            Self::AttestationClaimsInconsistent => {
                "1. The claims, or claims and log labels, name different machines or images.\n\
                 2. Find out who wrote the log entry or configured the issuer."
            }
            Self::AttestationMissing => {
                "1. The instance has not attested for longer than it should.\n2. Look whether it runs, and at its own log."
            }
            Self::AttestationSecretReleased => "1. For the record: nothing needs to be done.",
        }
    }
}

/// Something attestation found out, as the outbox keeps it. Never holds a token, a nonce or a value of the environment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attestation {
    /// What.
    pub category: Category,
    /// Whether it is so now; `false` closes its finding.
    pub open: bool,
    /// The full resource name of the machine; `None` files it under the organization, for what nobody vouched for.
    pub resource: Option<String>,
    /// What the finding is about, for its id: the machine, or the service's own name.
    pub subject: String,
    /// When.
    pub time: DateTime<Utc>,
    /// What happened.
    pub description: String,
    /// What sets this occurrence apart: the token's hash, or a period.
    pub occurrence: String,
    /// What it rests on.
    #[serde(default, skip_serializing_if = "Evidence::is_none")]
    pub evidence: Evidence,
    /// Everything else.
    pub properties: Properties,
}

/// What a statement about a machine rests on: it tells later from earlier, whatever order things arrive in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// When the token was issued.
    pub issued: Option<DateTime<Utc>>,
    /// The policy that judged it.
    pub policy: Option<String>,
    /// Who issued the token: nobody else's takes back what it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// Whether it is so by a limit of that policy, which others may not have.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_limit: bool,
    /// Of a denial: the policies of which one would have had to allow, where several were asked.
    #[serde(skip)]
    pub asked: Vec<String>,
    /// Of a closing: whether what it closes is known to have been told.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub told: bool,
}

impl Evidence {
    /// Whether there is none.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

impl Attestation {
    /// One finding a subject and category.
    pub fn finding_id(&self) -> FindingId {
        FindingId::ours("attestation", &format!("{}|{}", self.subject, self.category.name()))
    }

    /// What a person should do, one step a line, numbered.
    pub fn next_steps(&self) -> &'static str {
        match self.properties.get("reason").and_then(serde_json::Value::as_str) {
            Some("policy_off") => {
                "1. The provider that is the policy is switched off or deleted, so it denies every token.\n\
                 2. Enable or restore it, write what gcloud prints then into the policies, or use another policy."
            }
            _ => self.category.next_steps(),
        }
    }

    /// What identifies this occurrence. No sender's id has a slash.
    pub fn key(&self) -> String {
        let open = if self.open { "open" } else { "closed" };
        let text = format!("{}|{}|{open}|{}", self.subject, self.category.name(), self.occurrence);
        format!("attestation/{}", id::digest("attestation-occurrence", &text))
    }

    /// Which go first: 1 for HIGH, 2 for MEDIUM, 3 for LOW.
    pub fn urgency(&self) -> u8 {
        match self.category.severity() {
            FindingSeverity::Critical => 0,
            FindingSeverity::High => 1,
            FindingSeverity::Medium => 2,
            FindingSeverity::Low => 3,
        }
    }
}
