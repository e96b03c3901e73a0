//! What a failed call to the Kubernetes API server means, and what may be said of it.

use std::sync::Arc;

use super::login::{LoginError, is_login};
use crate::causes::chain;
use crate::text::{ellipsis, printable};

/// The most that is repeated of what a server says, in bytes.
const LONGEST_TOLD: usize = 500;

/// Why it cannot be told what we may do.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// It is not known who we are.
    #[error(transparent)]
    Login(#[from] Arc<LoginError>),
    /// The server does not answer, or with something else.
    #[error("{}", told(.0))]
    Api(kube::Error),
}

/// What a failed call means.
pub(super) struct Failure {
    pub(super) text: String,
    pub(super) label: &'static str,
    /// Whether it may be over soon.
    pub(super) passing: bool,
    /// Whether all calls fail now, and not only those for one resource.
    pub(super) of_all: bool,
    pub(super) remedy: &'static str,
}

impl Failure {
    pub(super) fn of(error: &kube::Error, resource: &str, by_login: bool) -> Self {
        const ROLE: &str = "the look-up needs the verb get on pods, nodes, replicasets and jobs";
        const USER: &str = "correct the user of the kubeconfig, or the service account";
        const SERVER: &str = "it is asked again after a pause; look at the server and at the way to it";
        let made = |text: String, label, passing, of_all, remedy| Self { text, label, passing, of_all, remedy };
        let server = "the Kubernetes API server";
        match error {
            // The next login may be known.
            kube::Error::Api(status) if status.code == 401 => {
                made(format!("{server} does not accept our credentials"), "unauthenticated", by_login, true, USER)
            }
            kube::Error::Api(status) => {
                let passing = matches!(status.code, 408 | 409 | 425 | 429) || !(400..=499).contains(&status.code);
                let (text, label) = match status.code {
                    403 => (format!("{server} refuses to show {resource}"), "forbidden"),
                    _ if passing => (format!("{server} did not answer for {resource}"), "unavailable"),
                    _ => (format!("{server} could not be asked for {resource}"), "client_error"),
                };
                made(text, label, passing, false, ROLE)
            }
            kube::Error::SerdeError(_) | kube::Error::FromUtf8(_) => made(
                format!("{server}'s answer for {resource} could not be read"),
                "broken_answer",
                true,
                false,
                SERVER,
            ),
            _ if is_login(error) => made(LoginError::Provider.to_string(), "login", true, true, USER),
            _ if chain(error).contains("invalid peer certificate") => {
                made(format!("the certificate of {server} is not accepted"), "certificate", false, true, SERVER)
            }
            kube::Error::Service(_) | kube::Error::HyperError(_) => {
                made(format!("{server} did not answer"), "unavailable", true, true, SERVER)
            }
            _ => made(format!("{server} could not be asked for {resource}"), "client_error", false, false, SERVER),
        }
    }
}

impl From<kube::Error> for AskError {
    fn from(error: kube::Error) -> Self {
        if is_login(&error) { Arc::new(LoginError::Provider).into() } else { Self::Api(error) }
    }
}

/// What is said of a failure: the server's own words once, which the library repeats with its structures, and nothing
/// that a login program may have printed.
pub(super) fn told(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => {
            let words: Vec<&str> = status.message.split_whitespace().collect();
            // What is no status of Kubernetes' has a reason of the library's own.
            let reason = Some(status.reason.as_str()).filter(|reason| !reason.contains(' ')).unwrap_or_default();
            let said = [status.code.to_string(), reason.to_owned(), words.join(" ")];
            let said: Vec<String> = said.into_iter().filter(|part| !part.is_empty()).collect();
            ellipsis(&printable(&said.join(" ")), LONGEST_TOLD)
        }
        _ if is_login(error) => LoginError::Provider.to_string(),
        _ => chain(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_answered_is_not_told_as_silent() {
        let service = |text: &str| kube::Error::Service(std::io::Error::other(text).into());
        for (error, text, of_all) in [
            (service("connection refused"), "the Kubernetes API server did not answer", true),
            (
                service("invalid peer certificate: UnknownIssuer"),
                "the certificate of the Kubernetes API server is not accepted",
                true,
            ),
            (kube::Error::TlsRequired, "the Kubernetes API server could not be asked for pods", false),
        ] {
            let failure = Failure::of(&error, "pods", false);
            assert_eq!((failure.text.as_str(), failure.of_all), (text, of_all), "{error}");
        }
    }

    #[test]
    fn what_the_server_says_is_told_once() {
        let said = r#"pods "web-1" is forbidden: User "robot" cannot get resource "pods" in API group """#;
        let page = "<html>\n  <body>Bad\u{1b} gateway</body>";
        let status = |code, text: &str, reason: &str| kube::core::Status::failure(text, reason).with_code(code).boxed();
        for (status, expected) in [
            (status(403, said, "Forbidden"), format!("403 Forbidden {said}")),
            (status(502, page, "Failed to parse error data"), "502 <html> <body>Bad  gateway</body>".to_owned()),
            (status(500, &"x".repeat(9000), ""), format!("500 {}…", "x".repeat(LONGEST_TOLD - 7))),
        ] {
            let error = kube::Error::Api(status);
            assert_eq!(told(&error), expected);
            assert_eq!(chain(&AskError::from(error)), expected);
        }
    }

    #[test]
    fn what_a_login_program_printed_is_not_said_again() {
        let printed = kube::client::AuthError::AuthExec("its very-secret-token".into());
        let error = kube::Error::Service(Box::new(printed));
        assert_eq!(told(&error), LoginError::Provider.to_string());
        assert_eq!(chain(&AskError::from(error)), LoginError::Provider.to_string());
    }
}
