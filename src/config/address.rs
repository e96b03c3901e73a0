//! Addresses of services in settings: one rule for all to which a token, a secret or a finding may go.

use url::Url;

use super::{Env, Setting};
use crate::calls::may_carry_a_token;

impl Env {
    /// The address of a service, or its default: https, or http on this machine. `Some(None)` where there is neither,
    /// `None` where what is there is a problem.
    pub fn address(&mut self, setting: &'static Setting) -> Option<Option<Url>> {
        let Some(text) = self.text(setting) else { return Some(None) };
        let url = Url::parse(&text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let (wrong, remedy) = match &url {
            Some(url) if may_carry_a_token(url) => return Some(Some(url.clone())),
            Some(_) => (
                "is plain http beyond this machine, where a token could be read",
                "use https; plain http is for a stand-in on 127.0.0.1 or localhost".to_owned(),
            ),
            None => ("is not an http or https address", format!("for example {}", setting.example)),
        };
        self.problem(setting.name, wrong, &remedy);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static SERVICE: Setting = Setting {
        name: "SERVICE",
        aliases: &[],
        default: None,
        example: "http://127.0.0.1:8087",
        secret: false,
        doc: "A service.",
    };

    #[test]
    fn an_address_is_https_or_on_this_machine() {
        let read = |text: &str| {
            let mut env = Env::from_pairs([("SERVICE", text)]);
            let address = env.address(&SERVICE).map(|url| url.map(String::from));
            (address, env.finish().err().map(|problems| problems.to_string()).unwrap_or_default())
        };
        assert_eq!(read(""), (Some(None), String::new()));
        for good in ["https://compute.googleapis.com/", "http://127.0.0.1:8087/path", "http://localhost/"] {
            assert_eq!(read(good), (Some(Some(good.to_owned())), String::new()));
        }
        for (wrong, why) in [
            ("ftp://x/", "SERVICE  is not an http or https address"),
            ("compute.googleapis.com", "SERVICE  is not an http or https address"),
            ("https://", "SERVICE  is not an http or https address"),
            ("http://10.0.0.1", "SERVICE  is plain http beyond this machine"),
        ] {
            let (address, told) = read(wrong);
            assert!(address.is_none() && told.contains(why), "{wrong}: {told}");
        }
    }
}
