//! How long a text made of claims can become: `google.subject` has a limit, and Workload Identity Federation refuses
//! credentials beyond it.

use crate::attest::cel::node::{Literal, Node, Operator};

/// The most bytes that a text made of claims can have; what is not known counts as nothing.
pub(super) fn longest(node: &Node) -> usize {
    const ENDLESS: usize = 4096;
    if let Some(path) = node.path() {
        return match path.segments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            ["sub" | "aud" | "eat_profile"] => ENDLESS,
            ["submods", "container", "image_reference" | "args" | "cmd_override" | "env" | "env_override", ..] => {
                ENDLESS
            }
            ["submods", "container", "image_digest" | "image_id"] => "sha256:".len() + 64,
            ["submods", "gce", "instance_name"] => 63,
            ["submods", "gce", "project_id"] => 30,
            ["submods", "gce", "zone"] => 25,
            ["submods", "gce", "instance_id" | "project_number"] => 20,
            // ACCOUNT@PROJECT.iam.gserviceaccount.com
            ["google_service_accounts", _] => 30 + 1 + 30 + 24,
            ["swname" | "dbgstat" | "hwmodel"] => 20,
            ["iss"] => 43,
            _ => 0,
        };
    }
    match node {
        Node::Literal(Literal::Text(text)) => text.len(),
        Node::Binary { operator: Operator::Add, operands } => operands.iter().map(longest).sum(),
        Node::Conditional(parts) => longest(&parts[1]).max(longest(&parts[2])),
        Node::Call { function, arguments } if matches!(function.name(), "string" | "dyn") => {
            arguments.iter().map(longest).sum()
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use crate::attest::policy::Policy;
    use crate::attest::policy::lint::lint;

    #[test]
    fn a_subject_that_can_be_too_long_is_told() {
        let long = |subject: &str| {
            let text = format!("audiences: [a]\nmapping:\n  google.subject: {subject}\ncondition: assertion.secboot\n");
            lint(&Policy::read(&text, "p").unwrap()).iter().any(|remark| remark.rule == "long-subject")
        };
        let (container, gce) = ("assertion.submods.container", "assertion.submods.gce");
        for (subject, expected) in [
            ("assertion.sub".to_owned(), true),
            ("assertion.aud".to_owned(), true),
            (format!("{container}.image_reference"), true),
            (format!("{gce}.instance_name + {gce}.zone + {container}.image_digest"), true),
            (format!("assertion.secboot ? {gce}.instance_id : assertion.sub"), true),
            (format!("string({container}.args[0])"), true),
            (
                format!(
                    "'gcpcs::' + {container}.image_digest + '::' + {gce}.project_number + '::' + {gce}.instance_id"
                ),
                false,
            ),
            (format!("{gce}.instance_name + {gce}.zone"), false),
            ("assertion.google_service_accounts[0]".to_owned(), false),
            ("assertion.sub.extract('instances/{n}')".to_owned(), false),
        ] {
            assert_eq!(long(&format!("\"{subject}\"")), expected, "{subject}");
        }
    }
}
