//! Strangers whose projects, accounts and machines are called much as those that a condition asks for. A project's id
//! is free to whoever takes it first, and so are an account's and a machine's name within one's own project.

use serde_json::{Value as Json, json};

use super::token;
use crate::attest::cel::node::{Literal, Node};

/// The most parts of texts that names are made of.
const MOST: usize = 100;

/// A part of a text that can be the name of something, with what stands around it.
struct Part<'t> {
    text: &'t str,
    /// The account before the `@` of the same text.
    account: Option<&'t str>,
    /// The zone and the machine, where the text is a part of a resource's name.
    zone: Option<&'t str>,
    machine: Option<&'t str>,
}

/// Tokens of strangers with names made of the texts in these expressions.
pub(super) fn tokens(nodes: &[&Node]) -> Vec<Json> {
    let (texts, sizes) = literals(nodes);
    let mut made = vec![
        stranger("zzq-9", "907-compute@developer.gserviceaccount.com", "zq-1", "zq-2"),
        stranger("zzq-9", "zzq-9@appspot.gserviceaccount.com", "zq-1", "zq-2"),
    ];
    let parts: Vec<Part<'_>> = texts.iter().flat_map(|text| parts(text)).take(MOST).collect();
    // The ids in a list may differ by no more than what is added here.
    let theirs = |project: &String| is_project(project) && !parts.iter().any(|part| part.text == project);
    for part in &parts {
        let digits = part.text.bytes().all(|b| b.is_ascii_digit());
        let own = part.machine.unwrap_or(part.text);
        let machine =
            if own.starts_with(|c: char| c.is_ascii_lowercase()) { own.to_owned() } else { format!("zq{own}") };
        let account = part.account.unwrap_or(part.text);
        let account = if is_account(account) { account } else { "zq" };
        for project in like(part.text).into_iter().filter(theirs) {
            let email = format!("{account}@{project}.iam.gserviceaccount.com");
            let mut claims = stranger(&project, &email, part.zone.unwrap_or("zq-1"), &machine);
            if digits {
                claims["submods"]["gce"]["project_number"] = json!(format!("{}907", part.text));
                claims["submods"]["gce"]["instance_id"] = json!(format!("907{}", part.text));
            }
            made.push(claims);
        }
    }
    made.extend(sizes.into_iter().map(|size| {
        let project = "z".repeat(size);
        stranger(&project, &format!("zq@{project}.iam.gserviceaccount.com"), "zq-1", "zq-2")
    }));
    made
}

fn stranger(project: &str, account: &str, zone: &str, machine: &str) -> Json {
    let mut claims = token("CONFIDENTIAL_SPACE", project, &"0".repeat(64), Json::Null);
    claims["google_service_accounts"] = json!([account]);
    claims["sub"] =
        json!(format!("https://www.googleapis.com/compute/v1/projects/{project}/zones/{zone}/instances/{machine}"));
    claims["submods"]["gce"]["zone"] = json!(zone);
    claims["submods"]["gce"]["instance_name"] = json!(machine);
    claims
}

/// The texts and patterns in expressions, and the numbers that may be the length of a project's id.
fn literals(nodes: &[&Node]) -> (Vec<String>, Vec<usize>) {
    let (mut texts, mut sizes) = (Vec::new(), Vec::new());
    for node in nodes {
        node.visit(&mut |part| match part {
            Node::Literal(Literal::Text(text)) | Node::Pattern { source: text, .. } => texts.push(text.clone()),
            Node::Literal(Literal::Int(size)) => {
                sizes.extend(usize::try_from(*size).ok().filter(|size| PROJECT_ID.contains(size)));
            }
            _ => {}
        });
    }
    (texts, sizes)
}

fn parts(text: &str) -> Vec<Part<'_>> {
    let of_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let account = text.split_once('@').and_then(|(before, _)| before.rsplit(|c| !of_name(c)).next());
    let behind = |word: &str| {
        let (_, behind) = text.split_once(word)?;
        behind.split(|c| !of_name(c)).next().filter(|name| !name.is_empty())
    };
    let (zone, machine) = (behind("zones/"), behind("instances/"));
    let names = text.split(|c| !of_name(c)).filter(|name| !name.is_empty());
    names.map(|text| Part { text, account, zone, machine }).collect()
}

/// Ids with a name within them, and one as long as it.
fn like(name: &str) -> [String; 7] {
    [
        format!("{name}-zqzq"),
        format!("{name}907"),
        format!("{name}zq"),
        format!("zqzq-{name}"),
        format!("zq{name}"),
        format!("zqzq-{name}-zqzq"),
        "z".repeat(name.len()),
    ]
}

/// How long the id of a project is.
const PROJECT_ID: std::ops::RangeInclusive<usize> = 6..=30;

fn is_project(id: &str) -> bool {
    PROJECT_ID.contains(&id.len()) && id.starts_with(|c: char| c.is_ascii_lowercase()) && !id.ends_with('-')
}

fn is_account(name: &str) -> bool {
    name.len() <= 30 && name.starts_with(|c: char| c.is_ascii_lowercase()) && !name.ends_with('-')
}
