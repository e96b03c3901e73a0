//! Conditions that let a GPU pass whose security protections are switched off for developing.

use serde_json::json;

use super::found::{Found, Level};
use super::known::written;
use super::possible::{GPU_MODE, Says, answer, asks_for_presence, terms};
use crate::attest::cel::node::{ClaimPath, Literal, Node, Variable};

impl Found {
    /// Tells of a condition that asks for the mode of the GPU, and lets `DEVTOOLS` pass.
    pub(super) fn developing(&mut self, root: &Node) {
        let asks = |(term, so): (&Node, Option<bool>)| {
            let mode = mode_of(term).filter(|_| !asks_for_presence(term))?;
            let is_so = answer(term, &mode, &json!("DEVTOOLS")) == so.map(Says::Is);
            (so.is_some() && is_so).then_some(mode)
        };
        let Some(mode) = terms(root).into_iter().find_map(asks) else { return };
        if may_be(root, true, &mode) {
            self.add(
                Level::Warning,
                "gpu-devtools",
                format!("{mode} may be \"DEVTOOLS\""),
                "in this mode of the GPU, for developing, its security protections are switched off: ask for ON",
            );
        }
    }
}

/// The claim of the mode, where a term looks at nothing else.
fn mode_of(term: &Node) -> Option<ClaimPath> {
    let [path] = term.claims().try_into().ok()?;
    (is_of_token(&path) && written(&path.segments) == GPU_MODE).then_some(path)
}

fn is_of_token(path: &ClaimPath) -> bool {
    path.variable == Variable::Assertion
}

/// Whether a condition may be so of a token with this mode, whatever its other claims are.
fn may_be(node: &Node, so: bool, mode: &ClaimPath) -> bool {
    match node {
        Node::Not(inner) => may_be(inner, !so, mode),
        Node::And(parts) if so => parts.iter().all(|part| may_be(part, so, mode)),
        Node::Or(parts) if !so => parts.iter().all(|part| may_be(part, so, mode)),
        Node::And(parts) | Node::Or(parts) => parts.iter().any(|part| may_be(part, so, mode)),
        Node::Conditional(parts) => {
            let [chooses, then, otherwise] = parts.as_ref();
            (may_be(chooses, true, mode) && may_be(then, so, mode))
                || (may_be(chooses, false, mode) && may_be(otherwise, so, mode))
        }
        Node::Literal(Literal::Bool(value)) => *value == so,
        // Such a token has a GPU, too.
        term if term.claims().iter().all(|path| is_of_token(path) && mode.segments.starts_with(&path.segments)) => {
            answer(term, mode, &json!("DEVTOOLS")).is_none_or(|answer| answer == Says::Is(so))
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use crate::attest::policy::Policy;
    use crate::attest::policy::lint::lint;

    #[test]
    fn a_gpu_for_developing_is_told() {
        let good = "assertion.swname == 'GCE' && assertion.submods.gce.project_id == 'p'";
        for (term, told) in [
            ("MODE == 'DEVTOOLS'", true),
            ("MODE in ['ON', 'DEVTOOLS']", true),
            ("MODE != 'OFF'", true),
            ("!(MODE == 'OFF')", true),
            ("!(MODE in ['OFF'])", true),
            ("(!has(assertion.submods.nvidia_gpu) || MODE != 'OFF')", true),
            ("MODE != 'DEVTOOLS'", false),
            ("MODE != 'OFF' && MODE != 'DEVTOOLS'", false),
            ("!(MODE == 'OFF' || MODE == 'DEVTOOLS')", false),
            ("(!has(assertion.submods.nvidia_gpu) || (MODE != 'OFF' && MODE != 'DEVTOOLS'))", false),
            ("(MODE != 'OFF' ? MODE == 'ON' : assertion.secboot)", false),
            ("!(MODE == 'DEVTOOLS')", false),
            ("MODE == 'ON'", false),
            ("(!has(assertion.submods.nvidia_gpu) || has(MODE))", false),
            ("(MODE == 'DEVTOOLS' ? false : assertion.secboot)", false),
            ("(!(MODE == 'ON' || MODE == 'DEVTOOLS') ? false : assertion.secboot)", false),
            ("(assertion.secboot ? MODE == 'DEVTOOLS' : false)", true),
        ] {
            let term = term.replace("MODE", "assertion.submods.nvidia_gpu.cc_mode");
            let text = format!("audiences: [a]\ncondition: |\n  {good} && {term}\n");
            let found = lint(&Policy::read(&text, "p").unwrap());
            assert_eq!(found.iter().any(|remark| remark.rule == "gpu-devtools"), told, "{term}: {found:?}");
            assert_eq!(found.len(), usize::from(told), "{term}: {found:?}");
        }
    }
}
