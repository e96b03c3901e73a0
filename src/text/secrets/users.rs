//! The password that curl and its like are told behind a user's name, `-u user:password`.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;

use super::{HIDDEN, pattern};

/// A user and what stands behind the colon. A list of arguments does not say whose they are.
static BEHIND_USER: LazyLock<Regex> = LazyLock::new(|| {
    let options = r"-[uU](?:\s+|=)?|-[A-Za-z]{1,8}u\s+|--(?:proxy-)?user(?:\s+|=)|--?http-auth(?:\s+|=)";
    pattern(&format!(
        r#"(?:(?:^|\s)(?P<option>{options})|\bCONSUL_HTTP_AUTH=)['"]?(?P<user>[^\s:'"]*):(?P<password>\S+)"#
    ))
});

/// What stands before `-u` where it says who runs a program, or nothing of a user: `docker run -u www-data:www-data`,
/// `sudo -u bob:staff`, `python -u app.py:main`. Behind a container's image a program of its own begins.
static OF_OTHERS: LazyLock<Regex> = LazyLock::new(|| {
    let word = r"(?:run|exec|create|container|compose)";
    let valued = concat!(
        r"(?:-[a-z]*[vpewhlmn]|--(?:name|volume|publish|env|env-file|workdir|network|mount|entrypoint|restart|platform",
        r"|hostname|label|memory|cpus|context|namespace|container))\s+[^\s-]\S*",
    );
    let container =
        format!(r"(?:docker(?:-compose)?|podman|nerdctl|kubectl)(?:\s+(?:{word}|{valued}|--?[\w-]+(?:=\S+)?))*");
    let runs = r"(?:sudo|doas|runuser|su|python[0-9.]*|rsync)(?:\s+-[\w-]+)*";
    pattern(&format!(r#"(?:^|[\s/(="'])(?:{container}|{runs})$"#))
});

/// How much of the text before an option tells whose it is.
const BEFORE: usize = 400;

/// The text without such passwords.
pub(super) fn hide(text: Cow<'_, str>) -> Cow<'_, str> {
    let (mut shown, mut done) = (String::new(), 0);
    for found in BEHIND_USER.captures_iter(&text) {
        let (Some(whole), Some(password)) = (found.get(0), found.name("password")) else { continue };
        let before = &text[text.floor_char_boundary(whole.start().saturating_sub(BEFORE))..whole.start()];
        let option = found.name("option").map_or("", |option| option.as_str().trim_end());
        if is_password(before, option, &found["user"], password.as_str()) {
            shown.push_str(&text[done..password.start()]);
            shown.push_str(HIDDEN);
            done = password.end();
        }
    }
    if done == 0 {
        return text;
    }
    shown.push_str(&text[done..]);
    Cow::Owned(shown)
}

fn is_password(before: &str, option: &str, user: &str, password: &str) -> bool {
    let numeric = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    // `-u 1000:1000`: a container's user; `-u http://…`: an address, whose own password was found before.
    if (numeric(user) && numeric(password)) || password.starts_with("//") {
        return false;
    }
    if option.is_empty() {
        return true;
    }
    // Of options of one letter joined, `-fsSu`, curl's are known.
    let is_joined = !option.starts_with("--") && option.ends_with('u') && option.len() > 2;
    let command = before.rsplit(['|', ';', '\n']).next().unwrap_or_default();
    if is_joined {
        return command.to_ascii_lowercase().contains("curl");
    }
    !OF_OTHERS.is_match(before.trim_end())
}

#[cfg(test)]
mod tests {
    use crate::text::secrets::redact;

    #[test]
    fn passwords_behind_users_are_left_out() {
        for before in [
            "curl -su bob:",
            "curl -sSu bob:",
            "sh -c /usr/bin/curl -fsSLu bob:",
            "sudo -u www curl -u bob:",
            "sudo curl -u bob:",
            "docker exec web curl -u bob:",
            "docker exec -it web curl -u bob:",
            "docker run --rm curlimages/curl -u bob:",
            "docker run -it --name x alpine curl -u bob:",
            "kubectl exec -n shop web -- curl --user bob:",
            "python app.py -u bob:",
            "xh -u bob:",
        ] {
            assert_eq!(redact(&format!("{before}Hunter2 https://x")), format!("{before}[redacted] https://x"));
        }
    }

    #[test]
    fn who_runs_a_program_stays() {
        for text in [
            "docker run -u www-data:www-data nginx",
            "docker run --rm -it --name web -v /a:/b --user www-data:www-data nginx",
            "/usr/bin/docker exec -u root:root web sh",
            "docker compose exec --user=root:root web sh",
            "podman run -e A=b -u a:b x",
            "nerdctl run -u a:b x",
            "Run (command=sudo -u bob:staff id)",
            "sudo -n -u bob:staff id",
            "runuser -u bob:x id",
            "python -u app.py:main",
            "python3.12 -u app.py:main",
            "rsync -a -u host:/path /x",
            "tar -xzu a:b",
            "ps -u bob",
        ] {
            assert_eq!(redact(text), text);
        }
    }
}
