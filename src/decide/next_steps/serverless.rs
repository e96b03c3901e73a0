//! Steps for containers that a cloud runs without a machine of yours: tasks of Fargate, services of Cloud Run and the
//! like. There is no host to log in to, and its name (`localhost`, or the task's) says nothing.

use super::{Case, Steps, Target, ended, image, question};
use crate::event::Runtime;
use crate::text::shell::word;
use crate::text::{ascii, cut};

/// The longest name shown in a sentence, in bytes.
const LONGEST_NAME: usize = 200;

pub(super) fn write(event: &Runtime, case: Case, target: &Target, steps: &mut Steps) {
    steps.say(question(case));
    if let Some(warning) = ended::warning(event) {
        steps.say(warning);
    }
    let name = |text: &Option<String>| text.as_deref().map(|text| ascii(cut(text, LONGEST_NAME)));
    let container = name(&event.container.name).map_or_else(String::new, |name| format!(" of the container {name}"));
    steps.say(format_args!(
        "There is no host to log in to: look at the service or task{container}, at its log, and at who changed its revision or task definition last."
    ));
    if let Some(task) = task(event) {
        let found = format_args!(
            "aws ecs describe-tasks --region {} --cluster {} --tasks {}",
            task.region, task.cluster, task.arn
        );
        steps.run("See which task definition the task was started from, by whom, and in which network:", found);
    } else if let Some(service) = service(event) {
        let project = target.project.as_ref().map_or_else(String::new, |project| format!(" --project {project}"));
        let region = region(event).map_or_else(String::new, |region| format!(" --region {region}"));
        let found = format_args!("gcloud run services describe {service}{region}{project}");
        steps.run("See which revision serves, of which image, and as which service account:", found);
    }
    if let Some(image) = name(&event.container.image) {
        steps.say(format_args!("Check the image {image}: whether it is the one you built, and what is new in it."));
    }
    self::image(event, steps);
    steps.say(
        "When it was not expected and the evidence is safe, stop the task or send the traffic to a revision that is known to be good.",
    );
    steps.say("Change every credential that it could read: those of its role or service account, its secrets, its environment.");
}

/// A task of ECS.
struct Task {
    arn: String,
    region: String,
    cluster: String,
}

/// The task, wherever the event names it: `arn:aws:ecs:REGION:ACCOUNT:task/CLUSTER/ID`.
fn task(event: &Runtime) -> Option<Task> {
    let values = event.labels.iter().chain(event.fields.iter()).map(|(_, value)| value);
    values.filter(|value| value.starts_with("arn:")).find_map(|arn| {
        let mut parts = arn.splitn(6, ':').skip(2);
        let is_ecs = parts.next() == Some("ecs");
        let (region, _, resource) = (parts.next()?, parts.next()?, parts.next()?);
        let (cluster, _) = resource.strip_prefix("task/").filter(|_| is_ecs)?.split_once('/')?;
        Some(Task { arn: word(arn)?, region: word(region)?, cluster: word(cluster)? })
    })
}

/// The service of Cloud Run, under whichever name the event tells it.
fn service(event: &Runtime) -> Option<String> {
    let is_service = |name: &str| {
        let name: String =
            name.bytes().filter(u8::is_ascii_alphanumeric).map(|b| char::from(b).to_ascii_lowercase()).collect();
        name.contains("cloudrun") && name.ends_with("servicename")
    };
    let named = event.labels.iter().chain(event.fields.iter()).find(|(name, _)| is_service(name));
    named.and_then(|(_, value)| word(value))
}

fn region(event: &Runtime) -> Option<String> {
    let cloud = &event.cloud;
    cloud.region.as_deref().or(cloud.location.as_deref()).filter(|place| *place != "global").and_then(word)
}
