//! The affected resource beside a listed finding, as far as its full name tells it.

use serde_json::{Map, Value, json};

use super::names::{Parent, Version};

/// What follows `name` in a full resource name, `projects/p/zones/z` → `p` for `projects`.
fn segment<'a>(resource_name: &'a str, name: &str) -> Option<&'a str> {
    let mut parts = resource_name.split('/');
    parts.by_ref().find(|part| *part == name)?;
    parts.next().filter(|id| !id.is_empty())
}

/// The nearest project, folder or organisation of a resource; `organization` when its name tells none.
pub(crate) fn ancestor(resource_name: &str, organization: &str) -> Parent {
    if let Some(project) = segment(resource_name, "projects") {
        return Parent::Project(project.to_owned());
    }
    if let Some(folder) = segment(resource_name, "folders") {
        return Parent::Folder(folder.to_owned());
    }
    Parent::Organization(organization.to_owned())
}

/// Whether a resource lies in a project or folder. The sandbox knows no hierarchy: only the resource's name counts.
pub(crate) fn lies_in(resource_name: &str, parent: &Parent) -> bool {
    match parent {
        Parent::Organization(_) => true,
        Parent::Folder(id) => segment(resource_name, "folders") == Some(id),
        Parent::Project(id) => segment(resource_name, "projects") == Some(id),
    }
}

/// The `resource` of a list result.
pub(crate) fn describe(resource_name: &str, organization: &str, version: Version) -> Value {
    let mut resource = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            resource.insert(name.to_owned(), value);
        }
    };
    let display = resource_name.rsplit('/').next().unwrap_or_default();
    let service = resource_name.strip_prefix("//").and_then(|rest| rest.split('/').next());
    let google = service.is_some_and(|service| service.ends_with(".googleapis.com"));
    let project = segment(resource_name, "projects");
    put("name", Some(json!(resource_name)));
    put("displayName", Some(json!(display)));
    put("type", kind(resource_name).map(Value::from));
    let full = project.map(|p| format!("//cloudresourcemanager.googleapis.com/projects/{p}"));
    if version == Version::V1 {
        put("projectName", full.map(Value::from));
        put("projectDisplayName", project.map(Value::from));
        return Value::Object(resource);
    }
    let place = ["zones", "regions", "locations"].into_iter().find_map(|name| segment(resource_name, name));
    put("cloudProvider", google.then(|| json!("GOOGLE_CLOUD_PLATFORM")));
    put("service", service.filter(|_| google).map(Value::from));
    put("location", place.map(Value::from));
    if google {
        let mut metadata = json!({"organization": format!("organizations/{organization}")});
        if let (Some(full), Some(project)) = (full, project) {
            metadata["project"] = json!(full);
            metadata["projectDisplayName"] = json!(project);
        }
        if let Some(folder) = segment(resource_name, "folders") {
            metadata["folders"] =
                json!([{"resourceFolder": format!("//cloudresourcemanager.googleapis.com/folders/{folder}")}]);
        }
        put("gcpMetadata", Some(metadata));
    }
    Value::Object(resource)
}

fn kind(resource_name: &str) -> Option<&'static str> {
    let service = resource_name.strip_prefix("//")?.split('/').next()?;
    let collection = resource_name.rsplit('/').nth(1)?;
    Some(match (service, collection) {
        ("compute.googleapis.com", "instances") => "google.compute.Instance",
        ("container.googleapis.com", "clusters") => "google.container.Cluster",
        ("cloudresourcemanager.googleapis.com", "projects") => "google.cloud.resourcemanager.Project",
        ("cloudresourcemanager.googleapis.com", "folders") => "google.cloud.resourcemanager.Folder",
        ("cloudresourcemanager.googleapis.com", "organizations") => "google.cloud.resourcemanager.Organization",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const VM: &str = "//compute.googleapis.com/projects/shop/zones/europe-west3-a/instances/42";

    #[test]
    fn a_machine_is_described_by_its_name() {
        let resource = describe(VM, "1", Version::V2);
        assert_eq!(resource["type"], "google.compute.Instance");
        assert_eq!(resource["location"], "europe-west3-a");
        assert_eq!(resource["gcpMetadata"]["projectDisplayName"], "shop");
        assert_eq!(describe(VM, "1", Version::V1)["projectDisplayName"], "shop");
    }

    #[test]
    fn a_resource_lies_where_its_name_says() {
        assert!(lies_in(VM, &Parent::Project("shop".into())));
        assert!(!lies_in(VM, &Parent::Project("sho".into())));
        assert_eq!(ancestor(VM, "1"), Parent::Project("shop".into()));
        assert_eq!(ancestor("sysdig://agent/1", "1"), Parent::Organization("1".into()));
    }
}
