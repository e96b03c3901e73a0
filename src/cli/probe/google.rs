//! What mends a refusal of one of Google's services: the exact command where there is one.

use crate::google::{ApiError, TokenSource};

const SCC_API: &str = "securitycenter.googleapis.com";

/// What was asked, as far as the remedy needs it.
pub(in crate::cli) struct Asked<'a> {
    /// The API's name, as `gcloud services enable` takes it.
    pub(in crate::cli) api: &'a str,
    /// The project whose API it likely is, where Google names none.
    pub(in crate::cli) project: Option<&'a str>,
    /// What gives the right that is missing.
    pub(in crate::cli) grant: String,
    /// What to do when the thing is not there.
    pub(in crate::cli) missing: String,
}

/// What mends it.
pub(in crate::cli) fn remedy(error: &ApiError, asked: &Asked<'_>) -> String {
    if let Some(command) = error.enabling(asked.api, asked.project) {
        return command;
    }
    match (error, error.reason().unwrap_or_default()) {
        (ApiError::Auth { source, .. }, _) => source.remedy().into(),
        (_, "ACCESS_TOKEN_SCOPE_INSUFFICIENT" | "insufficientPermissions" | "insufficientScopes") => {
            "give the instance the cloud-platform access scope: `gcloud compute instances set-service-account INSTANCE --scopes cloud-platform`".into()
        }
        (_, "USER_PROJECT_DENIED") => {
            "grant roles/serviceusage.serviceUsageConsumer on the project of GOOGLE_CLOUD_QUOTA_PROJECT, or name another one".into()
        }
        (ApiError::Transport { .. } | ApiError::Timeout { .. }, _) => {
            "check the address, the name service and the egress rules: HTTPS to it must be allowed".into()
        }
        (ApiError::Body { .. } | ApiError::TooLarge { .. }, _) => "check the address: what answered is not Google's API".into(),
        _ if error.is_quota() => "a quota is used up: try again in a minute".into(),
        _ => by_status(error, asked),
    }
}

fn by_status(error: &ApiError, asked: &Asked<'_>) -> String {
    match error.status() {
        Some(401) => {
            "the token was refused: check that the key was not deleted and that this machine's clock is right".into()
        }
        Some(403) => asked.grant.clone(),
        Some(404) => asked.missing.clone(),
        Some(400) if error.canonical() == "FAILED_PRECONDITION" && asked.api == SCC_API => {
            "activate Security Command Center for the organization, in its Standard tier or a higher one, at https://console.cloud.google.com/security/command-center: its older edition is switched off".into()
        }
        Some(400) if error.canonical() == "FAILED_PRECONDITION" => {
            format!("what {} says is missing has to be set up first", asked.api)
        }
        Some(500..) => "the service has a problem: try again, and see https://status.cloud.google.com".into(),
        _ => "check the settings that the message names".into(),
    }
}

/// Whom to grant to, as gcloud takes it; a word to replace where it cannot be known.
pub(in crate::cli) async fn member(tokens: &TokenSource) -> String {
    let identity = tokens.identity().await.ok().flatten();
    match identity {
        Some(account) if account.ends_with(".gserviceaccount.com") => format!("serviceAccount:{account}"),
        Some(account) if account.starts_with("//iam.googleapis.com/") => "PRINCIPAL".into(),
        Some(account) if account.contains('@') => format!("user:{account}"),
        _ => "serviceAccount:ACCOUNT".into(),
    }
}
