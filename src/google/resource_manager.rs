//! Resource Manager v3: a project's id and number.

use serde::Deserialize;

use super::compute::{Number, Project};
use super::error::ApiError;
use super::http::{Client, segment};

/// Google's address of the service.
pub const ENDPOINT: &str = "https://cloudresourcemanager.googleapis.com";

#[derive(Deserialize)]
struct Granted {
    #[serde(default)]
    permissions: Vec<String>,
}

/// The service. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ResourceManager {
    http: Client,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ProjectWire {
    /// `projects/NUMBER`.
    name: String,
    project_id: String,
}

impl ResourceManager {
    /// The service behind `http`.
    pub fn new(http: Client) -> Self {
        Self { http }
    }

    /// The project's id and number, asked by either. Needs `resourcemanager.projects.get`.
    pub async fn project(&self, project: &str) -> Result<Project, ApiError> {
        let wire: ProjectWire = self.http.get_json(&format!("/v3/projects/{}", segment(project)), &[]).await?;
        let number = wire.name.strip_prefix("projects/").unwrap_or_default().to_owned();
        Ok(Project { id: wire.project_id, number: Number(number) })
    }

    /// Which of these permissions the caller has on the project. Changes nothing.
    pub async fn granted(&self, project: &str, permissions: &[&str]) -> Result<Vec<String>, ApiError> {
        let path = format!("/v3/projects/{}:testIamPermissions", segment(project));
        let wire: Granted = self.http.post_json(&path, &[], &serde_json::json!({ "permissions": permissions })).await?;
        Ok(wire.permissions)
    }
}
