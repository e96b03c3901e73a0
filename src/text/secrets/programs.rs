//! Options of one letter, words in a place, and statements of SQL, which only their program gives a meaning.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::{HIDDEN, VALUE, hidden, pattern, then};

/// To the end of the command.
const WITHIN: &str = r#"["']?\s(?:(?:[^|&;]|&[^&]|;\S)*?\s)?"#;

/// Those of programs that others start in many ways, behind any word: `mysql -pSECRET`, `sshpass -p SECRET`,
/// `docker login -p SECRET`, `redis-cli -a SECRET`.
static ANYWHERE: LazyLock<Regex> = LazyLock::new(|| {
    // Data of MySQL lies in folders of its name.
    let mysql = format!(r#"(?:^|[\s"'`(;|&=\\]|bin/)(?:mysql|mariadb)[0-9A-Za-z_]*(?:\.exe)?{WITHIN}-p"#);
    let of_images = format!(r"\b(?:docker|podman|nerdctl|buildah|skopeo)(?:\.exe)?\s+login{WITHIN}-p[\s=]*");
    let login = format!(r"\slogin{WITHIN}-p[\s=]+");
    let redis = format!(r"\bredis-cli(?:\.exe)?{WITHIN}-a\s+");
    pattern(&format!(r"((?:{mysql}|\bsshpass\s+-p\s*|{of_images}|{login}|{redis}))({VALUE})"))
});

/// `mongo -p SECRET`, `sqlcmd -P SECRET`, `ldapsearch -w SECRET`, `smbclient -U user%SECRET`,
/// `htpasswd -b file user SECRET`, `htpasswd -nb user SECRET`, `net use \\host\share SECRET`,
/// `mysqladmin password SECRET`, `zip -P SECRET`, and others.
static OF_PROGRAM: LazyLock<Regex> = LazyLock::new(|| {
    // Where a program's name stands; elsewhere it may be a pod's, or that of a host.
    let program = r#"(?:^|[/\\"'(;|&]\s*|:\s|\s--\s+|\s[/-][cC]\s+["']?|(?:command|cmd|cmdline|exe)=|(?-u:\b)(?:sudo|doas|env|nohup|nice|time|timeout \S+|do|then|else|xargs(?:\s+-\S+|\s+\{\})*)\s+|\s-(?:exec|ok)(?:dir)?\s+)"#;
    // A filter of LDAP may have `|` and `&` in it.
    let (within, within_filter) = (WITHIN, r"\s(?:(?:[^&|;]|&[^&]|\|[^|\s]|;\S)*?\s)?");
    let flags = r"(?:\s+-\w+(?:\s+\d+)?)*";
    // A cluster's last option may take a number.
    let number = r"(?:\w*[Cr]\s+\d+|\w*)";
    let word = r#"(?:"[^"]*"|'[^']*'|[^\s"'|<>-]\S*)\s+"#;
    let starts = [
        format!(r"mongo(?:sh|dump|restore|export|import|stat|top|files)?(?:\.exe)?{within}-p\s*"),
        format!(r"(?:(?i:sqlcmd|osql|isql|tsql|bcp)(?:\.exe)?){within}-P\s*"),
        format!(r"ldap(?:search|modify|add|delete|whoami|passwd|compare|modrdn|exop){within_filter}-w\s*"),
        format!(r#"(?:smb\w*|rpcclient|winexe|wmic|net){within}(?:-U\s*|--user(?:name)?[=\s]\s*)["']?[^\s%"']+%"#),
        format!(
            r"htpasswd{flags}\s+-(?:\w*n\w*b|\w*b\w*n|\w*n{number}\s+-\w*b|\w*b{number}\s+-\w*n){number}{flags}\s+[^\s-]\S*\s+"
        ),
        format!(r"htpasswd{flags}\s+-\w*b{number}{flags}\s+[^\s-]\S*\s+\S+\s+"),
        r#"(?i:net(?:\.exe)?["']?\s+use)\s+(?:[\w*]:?\s+)?\\\\\S+\s+(?:/\S+\s+)*"#.to_owned(),
        format!(r"mysqladmin(?:\.exe)?{within}password\s+"),
        format!(r"rabbitmqctl(?:\.bat)?{within}(?:add_user|change_password|authenticate_user)\s+{word}"),
        format!(r"nmcli{within}(?:password|(?:[\w-]+\.)+(?:psk|password|wep-key\d))\s+"),
        format!(r"wpa_passphrase\s+{word}"),
        format!(r"(?:user|group)(?:add|mod){within}-[aDlLmMNorU]*p\s*"),
        r"vault(?:\.exe)? login\s+(?:-method\s+token\s+|-\S+\s+)*".to_owned(),
        r#"(?i:net1?(?:\.exe)?["']?\s+user)\s+[^\s/"']\S*\s+"#.to_owned(),
        format!(r"cryptsetup{within}--key[=\s]\s*"),
        format!(r"openssl(?:\.exe)?{within}-[kK]\s+"),
        format!(r"(?:un)?zip(?:cloak)?(?:\.exe)?{within}-[0-9a-zA-OQ-Z]*P\s*"),
        format!(r"7z[arz]?(?:\.exe)?{within}-p"),
        r#"chpasswd\s+(?:-\S+\s+)*<<<\s*["']?[^\s:"']+:"#.to_owned(),
    ];
    // ASCII's letters will do; with those of all scripts it would be many times as large.
    let starts = starts.join("|").replace(r"\w", "[0-9A-Za-z_]").replace(r"\d", "[0-9]");
    pattern(&format!(r"({program}(?:{starts}))({VALUE})"))
});

/// The passwords that chpasswd reads: `echo user:SECRET | sudo chpasswd`.
static PIPED: LazyLock<Regex> = LazyLock::new(|| {
    let given = r#"\\?"[^"]*"|'[^']*'|[^\s"'|]+"#;
    pattern(&format!(
        r"(\b(?:echo|printf)\s+(?:-\w+\s+)*)({given})(\s*\|\s*(?:[\w./=-]+\s+|\|\s*){{0,8}}(?:/\S*/)?chpasswd\b)"
    ))
});

/// Statements that say a user's password: `ALTER USER a PASSWORD 'SECRET'`, `CREATE USER a IDENTIFIED BY 'SECRET'`.
static STATEMENT: LazyLock<Regex> = LazyLock::new(|| {
    let whose = r"\b(?:alter|create)\s+(?:user|role|login|group)\s[^;]*?";
    let starts = [
        format!(r"{whose}\bpassword\s+[en]?"),
        format!(
            r"(?:{whose}|\bgrant\s[^;]*?\sto\s[^;]*?)\bidentified\s+(?:(?:with|via)\s+\S+\s+(?:as|by|using)|by)\s+(?:password\s+)?"
        ),
        r"\bset\s+password\s+(?:for\s+[^;=]*?)?(?:=|to)\s*(?:password\(\s*)?".to_owned(),
    ];
    // In a shell's quotes, a quote is written as four signs.
    pattern(&format!(r"(?i)((?:{})(?:'\\')?)({VALUE})", starts.join("|")))
});

/// The text without the secrets in options that are known behind any word.
pub(super) fn hide_options(text: Cow<'_, str>) -> Cow<'_, str> {
    then(text, &ANYWHERE, |found| (!is_other(found) && !is_port(&found[2])).then(|| hidden(found)))
}

/// Whether these are the ports of a container, `8080:80`.
fn is_port(value: &str) -> bool {
    value.contains(':') && value.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b':'))
}

/// The text without them.
pub(super) fn hide(text: Cow<'_, str>) -> Cow<'_, str> {
    let text = then(text, &OF_PROGRAM, |found| (!is_other(found)).then(|| hidden(found)));
    let text = then(text, &PIPED, |found| {
        let given = &found[2];
        let at = given.find(':')?;
        let closing = &given[given.trim_end_matches(['\\', '"', '\'']).len().max(at + 1)..];
        Some(format!("{}{}{HIDDEN}{closing}{}", &found[1], &given[..=at], &found[3]))
    });
    // Without quotes there are words such as `EXPIRE`; Oracle's passwords have none.
    then(text, &STATEMENT, |found| match found[2].as_bytes() {
        [b'\'' | b'"' | b'\\', ..] | [b'$', b'$', ..] => Some(hidden(found)),
        _ if found[1].trim_end().to_ascii_lowercase().ends_with(" by") && !found[2].eq_ignore_ascii_case("random") => {
            Some(hidden(found))
        }
        _ => None,
    })
}

/// Whether something else follows where a secret may stand.
fn is_other(found: &Captures<'_>) -> bool {
    // What find tells by `-p`, `-perm` and others; and what is hidden by its name, `-password`.
    const REST: [&str; 6] = ["erm", "rint", "rint0", "rintf", "rune", "assword"];
    let (told, value) = (&found[1], &found[2]);
    match value.as_bytes() {
        // Another option.
        [b'-', ..] => true,
        _ if told.ends_with("-p") && REST.contains(&value) => true,
        // The switches of `net user`, and its sign to ask for the password.
        [b'/', ..] | b"*" if is_net_user(told) => true,
        [b'/', ..] if told.contains(r"\\") || told.trim_end_matches([' ', '=']).ends_with("--key") => true,
        // The shell's signs.
        _ if value.trim_matches(['|', '<', '>']).is_empty() || value.starts_with(">/") => true,
        _ => ["vault login ", "vault.exe login "].iter().any(|login| told.contains(login)) && is_no_token(told, value),
    }
}

fn is_net_user(told: &str) -> bool {
    let told = told.to_ascii_lowercase();
    told.contains("net") && told.split_whitespace().any(|word| word == "user")
}

/// Whether what stands behind `vault login` is an option's value, a parameter with a name, or a word of a sentence.
fn is_no_token(login: &str, value: &str) -> bool {
    let last = login.split_whitespace().next_back().unwrap_or_default();
    let option = last.trim_start_matches('-');
    let takes_value = last.starts_with('-')
        && !option.contains('=')
        && !option.starts_with("no-")
        && !["token-only", "tls-skip-verify"].contains(&option);
    takes_value || value.contains('=') || value.bytes().all(|b| b.is_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use crate::text::secrets::{redact, redact_arguments};

    #[test]
    fn what_a_program_takes_for_a_secret_is_left_out() {
        for (before, after) in [
            ("mysqladmin -u root password ", ""),
            ("rabbitmqctl add_user bob ", ""),
            ("rabbitmqctl -n rabbit@h change_password bob ", ""),
            ("nmcli dev wifi connect home password ", " ifname wlan0"),
            ("nmcli connection modify home wifi-sec.key-mgmt wpa-psk wifi-sec.psk ", ""),
            ("wpa_passphrase home ", " > /etc/wpa.conf"),
            ("wpa_passphrase 'my home' ", ""),
            ("useradd -m -p ", " bob"),
            ("usermod -p", " bob"),
            ("useradd -mp ", " bob"),
            ("vault login ", ""),
            ("vault login -method token ", ""),
            ("net user evil ", " /add"),
            ("net.exe user evil ", " /add"),
            ("htpasswd -nbBC 10 admin ", ""),
            ("htpasswd -nBC 10 -b admin ", ""),
            ("htpasswd -nb 10 ", ""),
            ("htpasswd -bBC 10 /etc/f bob ", ""),
            ("htpasswd -bBC10 /etc/f bob ", ""),
            ("vault login -no-print -method=token ", ""),
            ("cryptsetup --key ", " open /dev/sdb x"),
            ("openssl enc -aes-256-cbc -in a -k ", " -out b"),
            ("openssl rsa -passin pass:", " -in a"),
            ("zip -r -P ", " a.zip b"),
            ("zip -rP ", " a.zip b"),
            ("unzip -P", " a.zip"),
            ("7z a -p", " a.7z b"),
            ("consul -http-auth a:", " members"),
            ("consul -http-auth=a:", ""),
            ("CONSUL_HTTP_AUTH=a:", " consul members"),
            ("consul acl -token ", ""),
            ("chpasswd -e <<< bob:", ""),
        ] {
            for start in [
                "",
                "sudo ",
                "/usr/bin/",
                "sh -c ",
                "Run (command=",
                "a && ",
                "while true; do ",
                "xargs -r ",
                "find / -exec ",
            ] {
                let start = if before.starts_with("CONSUL") && start.starts_with('/') { "" } else { start };
                let told = redact(&format!("{start}{before}Hunter2{after}")).into_owned();
                assert_eq!(told, format!("{start}{before}[redacted]{after}"));
                assert_eq!(redact(&told), told, "twice");
            }
        }
        assert_eq!(
            redact("openssl enc -aes-256-cbc -pass pass:Hunter2 -d"),
            "openssl enc -aes-256-cbc -pass [redacted] -d"
        );
        assert_eq!(redact("mongo vault -p hunter"), "mongo vault -p [redacted]");
        assert_eq!(redact_arguments("/usr/bin/zip", "-P Hunter2 a b"), "-P [redacted] a b");
    }

    #[test]
    fn passwords_that_are_piped_are_left_out() {
        for (text, expected) in [
            ("sh -c echo root:Hunter2 | chpasswd", "sh -c echo root:[redacted] | chpasswd"),
            ("echo 'root:Hunt|er2'|sudo -n chpasswd -e", "echo 'root:[redacted]'|sudo -n chpasswd -e"),
            (
                r#"printf "a:Hunter2\nb:Hunter2\n" | /usr/sbin/chpasswd"#,
                r#"printf "a:[redacted]" | /usr/sbin/chpasswd"#,
            ),
            (r#"sh -c "echo -e \"a:Hunter2\" | chpasswd""#, r#"sh -c "echo -e \"a:[redacted]\" | chpasswd""#),
            ("echo root:Hunter2 | tee f | chpasswd", "echo root:[redacted] | tee f | chpasswd"),
            ("psql -c ALTER USER a PASSWORD $$Hunter2$$", "psql -c ALTER USER a PASSWORD [redacted]"),
            ("echo a: b | cat; chpasswd < f", "echo a: b | cat; chpasswd < f"),
        ] {
            assert_eq!(redact(text), expected);
        }
    }

    #[test]
    fn passwords_of_statements_are_left_out() {
        for (before, after) in [
            ("psql -c \"ALTER USER a PASSWORD '", "'\""),
            ("psql -c CREATE ROLE a WITH LOGIN ENCRYPTED PASSWORD '", "' VALID UNTIL 'x'"),
            (r"sh -c 'psql -c '\''alter user a password '\''", r"'\'''"),
            ("mysql -e CREATE USER 'a'@'%' IDENTIFIED BY '", "'; FLUSH PRIVILEGES"),
            ("mysql -e \"ALTER USER 'a'@'%' IDENTIFIED WITH mysql_native_password BY '", "'\""),
            ("mysql -e GRANT ALL ON *.* TO 'a'@'%' IDENTIFIED BY '", "'"),
            ("sqlplus / as sysdba ALTER USER scott IDENTIFIED BY ", " ACCOUNT UNLOCK"),
            ("mysql -e SET PASSWORD FOR 'a'@'%' = PASSWORD('", "')"),
            ("mysql -e SET PASSWORD = '", "'"),
        ] {
            assert_eq!(redact(&format!("{before}Hunter2{after}")), format!("{before}[redacted]{after}"));
        }
    }

    #[test]
    fn harmless_values_stay() {
        for text in [
            "rsync --password-file=/x rsync://u@h",
            "find /var/lib/mysql -perm 777",
            "find /var/lib/mysql -print",
            "find / -user mysql -perm -4000",
            "find /data/mongo -print0",
            "kubectl exec mysql-0 -- find / -perm -4000",
            "kubectl exec -it mysql -- find / -perm -4000",
            "sh -c cd /var/lib/mysql && tar -pcf /tmp/x.tar .",
            "sh -c curl https://x/login -o a && mkdir -p /tmp/.x",
            "/bin/login -p -- root",
            "docker run --name login -p 8080:80 nginx",
            "docker run --name mysql -p3306:3306 mysql",
            "docker login --password-stdin -u bob",
            "net user",
            "net user bob",
            "net user bob /delete",
            "net user bob *",
            "docker run -p 8080 x",
            "mkdir -p /a",
            "ssh -p 22 h",
            "cp -p a b",
            "zip -r a.zip b",
            "unzip a.zip -d /p",
            "tar -xpf a.zip; mkdir -P x",
            "7z x a.7z -p",
            "7z a -p -mhe=on a.7z b",
            "openssl x509 -in a -noout",
            "openssl enc -kfile /etc/k",
            "openssl version; curl -k https://x",
            "useradd -m -s /bin/bash -p '' bob",
            "usermod -aG docker bob",
            "useradd -r postgres; mkdir -p /data",
            "groupadd -r pgroup",
            "vault login",
            "vault login -method github",
            "vault login -method=github",
            "vault login failed for bob",
            "vault login -method=userpass username=bob",
            "rabbitmqctl add_user bob",
            "rabbitmqctl add_user bob | tee f",
            "rabbitmqctl set_user_tags bob administrator",
            "nmcli dev wifi list",
            "nmcli connection modify home wifi-sec.key-mgmt wpa-psk",
            "wpa_passphrase home < f",
            "wpa_passphrase home",
            "mysqladmin status",
            "cryptsetup open --key-file /k /dev/sdb x",
            "cryptsetup --key /etc/k open /dev/sdb x",
            "nikto -http-auth basic",
            "psql -c ALTER USER a PASSWORD NULL",
            "mysql -e ALTER USER a PASSWORD EXPIRE",
            "psql -c CREATE USER a",
            "mysql -e CREATE USER a IDENTIFIED BY RANDOM PASSWORD",
            "A file identified by the scanner was opened by bob",
            "The user changed the password of bob",
            "A password was read from /etc/shadow",
            "Set password policy for bob",
            "sk-proj-web sk-learn dop_v1_x SG.x.y bot123:AA",
        ] {
            assert_eq!(redact(text), text);
        }
    }
}
