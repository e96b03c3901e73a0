//! Options of one letter and words in a place, which only their program gives a meaning.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;

use super::commands::{command, place, starts};
use super::pattern;
use super::values::{Found, Secret, VALUE, hide as hide_values};

/// What a text with one of these programs holds; what has `pass` in it is looked at by its name.
pub(super) const STEMS: &str = concat!(
    r#"mysql|mariadb|redis-cli|login|mongo|ldap|sqlcmd|osql|isql|tsql|net1?(?:\.exe)?["'\\,\s]+use"#,
    r#"|(?:user|group)(?:add|mod)|rabbitmqctl|nmcli|cryptsetup|openssl|(?-u:\b)(?:un)?zip|(?-u:\b)7z|-u|unseal"#,
    r#"|(?-u:\b)(?:(?:un)?rar|rman|bcp|cme|nxc)[\s"\\]|cqlsh|mosquitto|ipmitool|schtasks|psexec|evil-winrm|crackmapexec|netexec|hydra|medusa|rdesktop|freerdp"#,
    r#"|ncftp|securestring|sqlplus|expdp|impdp|sqlldr|lftp|rclone|impacket|exec\.py|secretsdump|mssqlclient|smbclient"#,
    r#"|lookupsid|samrdump|get(?:userspns|npusers|adusers)|sudo\s.*<<<"#
);

/// To the end of the command.
const WITHIN: &str = r#"["']?\s(?:(?:[^|&;]|&[^&]|;\S)*?\s)?"#;

/// Those of programs that others start in many ways, behind any word: `mysql -pSECRET`, `sshpass -p SECRET`,
/// `docker login -p SECRET`, `redis-cli -a SECRET`, `psexec.py domain/user:SECRET@host`.
static ANYWHERE: LazyLock<Regex> = LazyLock::new(|| {
    // Data of MySQL lies in folders of its name.
    let mysql = format!(r#"(?:^|[\s"'`(;|&=\\]|bin/)(?:mysql|mariadb)[0-9A-Za-z_]*(?:\.exe)?{WITHIN}-p"#);
    let of_images = format!(r"\b(?:docker|podman|nerdctl|buildah|skopeo)(?:\.exe)?\s+login{WITHIN}-p[\s=]*");
    let login = format!(r"\slogin{WITHIN}-p[\s=]+");
    let redis =
        format!(r"\bredis-cli(?:\.exe)?{WITHIN}(?:-a\s+|(?i:auth\s+|config\s+set\s+(?:requirepass|masterauth)\s+))");
    let sshpass = r"\bsshpass(?:\s+-v|\s+-P\s*\S+)*\s+-v?p\s*";
    let powershell = r"(?i:\bconvertto-securestring)\s+(?i:-string\s+)?";
    let scripts =
        r"(?:[a-z]+exec|secretsdump|smbclient|mssqlclient|lookupsid|samrdump|GetUserSPNs|GetNPUsers|GetADUsers)\.py";
    let impacket = format!(r#"\b(?:impacket-[A-Za-z]+|{scripts}){WITHIN}["']?(?:[0-9A-Za-z_.-]+/)?[0-9A-Za-z_.$-]+:"#);
    let starts = [&*mysql, sshpass, &of_images, &login, &redis, powershell, &impacket];
    pattern(&format!(r"((?:{}))({VALUE})", starts.join("|")))
});

/// `mongo -p SECRET`, `sqlcmd -P SECRET`, `ldapsearch -w SECRET`, `smbclient -U user%SECRET`,
/// `htpasswd -b file user SECRET`, `htpasswd -nb user SECRET`, `net use \\host\share SECRET`,
/// `mysqladmin password SECRET`, `zip -P SECRET`, `sqlplus user/SECRET@db`, and others.
static OF_PROGRAM: LazyLock<Regex> = LazyLock::new(|| {
    // A filter of LDAP may have `|` and `&` in it.
    let (within, within_filter) = (WITHIN, r"\s(?:(?:[^&|;]|&[^&]|\|[^|\s]|;\S)*?\s)?");
    let flags = r"(?:\s+-\w+(?:\s+\d+)?)*";
    // A cluster's last option may take a number.
    let number = r"(?:\w*[Cr]\s+\d+|\w*)";
    let word = r#"(?:"[^"]*"|'[^']*'|[^\s"'|<>-]\S*)\s+"#;
    let of_remotes = r"psexec(?:64)?|evil-winrm|crackmapexec|cme|netexec|nxc|hydra|medusa|rdesktop";
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
        format!(r"(?:un)?rar(?:\.exe)?{within}-h?p"),
        format!(r"vault(?:\.exe)?{within}secret_id="),
        r"vault(?:\.exe)? operator unseal\s+(?:-\S+\s+)*".to_owned(),
        format!(r"rclone(?:\.exe)?{within}(?:pass|obscure)\s+"),
        r"openssl(?:\.exe)?\s+passwd\s+(?:-(?:salt|in)\s+\S+\s+|-\w+\s+)*".to_owned(),
        r"mkpasswd\s+(?:-(?:m|S|R|-method|-salt|-rounds)[=\s]\s*\S+\s+)*".to_owned(),
        format!(r"(?:{of_remotes}|cqlsh|ncftp[a-z]*)(?:\.exe|\.rb|\.py)?{within}-p\s+"),
        format!(r"(?:mosquitto_(?:pub|sub|rr)|ipmitool){within}-P\s*"),
        format!(r"(?i:schtasks(?:\.exe)?{within}/r?p)\s+"),
        format!(r"(?:x|wl|w)?freerdp[23]?(?:\.exe)?{within}/p:"),
        format!(r"lftp{within}-u\s*[^\s,]+,"),
        r#"(?:sqlplus|rman|expdp|impdp|sqlldr)(?:\.exe)?\s+(?:-\w+\s+|target\s+|userid=)*["']?[A-Za-z][\w$#]*/"#
            .to_owned(),
        format!(r"(?:passwd|(?:sudo\s+)?(?:-\S+\s+)*?-[A-Za-z]*S){within}<<<\s*"),
        r#"chpasswd\s+(?:-\S+\s+)*<<<\s*["']?[^\s:"']+:"#.to_owned(),
    ];
    // ASCII's letters will do; with those of all scripts it would be many times as large.
    let starts = starts.join("|").replace(r"\w", "[0-9A-Za-z_]").replace(r"\d", "[0-9]");
    // Or behind the folders of a path, wherever that stands.
    pattern(&format!(r"((?:[/\\]|{})(?:{starts}))({VALUE})", place()))
});

/// The text without the secrets in options that are known behind any word.
pub(super) fn hide_options(text: Cow<'_, str>) -> Cow<'_, str> {
    hide_values(text, &ANYWHERE, |found| match found.told.trim_end().to_ascii_lowercase() {
        _ if is_other(found) || is_ports(found.value) || asks_systemd(found) => Secret::Nothing,
        told if told.ends_with(':') => before_host(found.value),
        // A user may stand before the password.
        told if told.ends_with(" auth") => Secret::WithNext,
        _ => Secret::Whole,
    })
}

/// Whether these are the ports of a container, `8080:80`.
fn is_ports(value: &str) -> bool {
    value.contains(':') && value.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b':'))
}

/// The password before a host: `SECRET@host`.
fn before_host(value: &str) -> Secret {
    value.rfind('@').filter(|at| *at > 0).map_or(Secret::Whole, |at| Secret::Between(0, at))
}

/// Whether a service is meant and no client: `systemctl show mysqld -pMainPID`.
fn asks_systemd(found: &Found<'_>) -> bool {
    let asks = |program: &str| matches!(program, "systemctl" | "journalctl");
    let told = found.told.trim_start();
    let clients = told.matches("mysql").count() + told.matches("mariadb").count();
    let is_daemon = told.starts_with("mysqld") && !told.starts_with("mysqldump");
    // Behind `&` another command begins.
    clients == 1 && !told.contains('&') && (is_daemon || starts(command(found.before), asks))
}

/// The text without them.
pub(super) fn hide(text: Cow<'_, str>) -> Cow<'_, str> {
    hide_values(text, &OF_PROGRAM, |found| match found.told.as_bytes() {
        _ if is_other(found) => Secret::Nothing,
        [.., b'/'] => before_host(found.value),
        _ => Secret::Whole,
    })
}

/// Whether something else follows where a secret may stand.
fn is_other(found: &Found<'_>) -> bool {
    // What find tells by `-p`, `-perm` and others; and what is hidden by its name, `-password`.
    const REST: [&str; 7] = ["erm", "rint", "rint0", "rintf", "rune", "ath", "assword"];
    let (told, value) = (found.told, found.value);
    let last = told.trim_end_matches([' ', '=']);
    match value.as_bytes() {
        // Another option.
        [b'-', ..] => true,
        _ if told.ends_with("-p") && REST.contains(&value) => true,
        // The switches of `net user`, and its sign to ask for the password.
        [b'/', ..] | b"*" if is_net_user(told) => true,
        [b'/', ..] if told.contains(r"\\") || ["--key", "/p", ":"].iter().any(|end| last.ends_with(end)) => true,
        // A variable of PowerShell.
        [b'$', ..] | [b'"', b'$', ..] | [b'(', ..] if is_powershell(last) => true,
        // The shell's signs.
        _ if value.trim_matches(['|', '<', '>']).is_empty() || value.starts_with(">/") => true,
        _ => ["vault login ", "vault.exe login "].iter().any(|login| told.contains(login)) && is_no_token(told, value),
    }
}

fn is_powershell(told: &str) -> bool {
    told.to_ascii_lowercase().contains("convertto-securestring")
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
            ("rar a -hp", " a.rar f"),
            ("unrar x -p", " a.rar"),
            ("vault write auth/approle/login role_id=x secret_id=", ""),
            ("vault operator unseal ", ""),
            ("rclone config create x sftp host h pass ", ""),
            ("openssl passwd -6 ", ""),
            ("openssl passwd -salt ab -1 ", ""),
            ("mkpasswd -m sha-512 ", ""),
            ("cqlsh -u b -p ", " h"),
            ("psexec \\\\h -u bob -p ", " cmd"),
            ("evil-winrm -i h -u bob -p ", ""),
            ("crackmapexec smb h -u bob -p ", ""),
            ("hydra -l bob -p ", " ssh://h"),
            ("medusa -h h -u bob -p ", " -M ssh"),
            ("nxc smb h -u bob -p ", ""),
            ("cme smb h -u bob -p ", ""),
            ("ncftpput -u bob -p ", " h"),
            ("rman target sys/", ""),
            ("mosquitto_pub -u bob -P ", " -h x"),
            ("ipmitool -H h -U root -P ", " power status"),
            ("schtasks /create /u bob /p ", " /tn x"),
            ("xfreerdp /u:bob /p:", " /v:h"),
            ("lftp -u bob,", " h"),
            ("sshpass -v -p ", " ssh h"),
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
    fn a_program_is_known_however_it_is_started() {
        for start in [
            "sudo -u bob ",
            "sudo -E ",
            "sudo -u postgres -H ",
            "sudo --user=bob -- ",
            "sudo -Eu bob ",
            "ssh h sudo -u bob ",
            "env LANG=C ",
            "LANG=C ",
            "LANG=C LC_ALL=C nice -n 10 ",
            "bash -lc ",
            "bash -lc 'A=b ",
            "timeout -k 5 10 ",
            "sh -c exec ",
            "xargs -n 1 -I {} ",
            "docker exec mongo ",
            "docker exec -it -u root -e A=b mongo ",
            "docker compose exec -T db sudo -u bob ",
            "docker run --rm mongo:6 ",
            "kubectl exec mongo -n shop -c db -- ",
            "kubectl exec mongo -- env A=b /usr/bin/",
            "gosu mongodb ",
            "Run (command=sudo -u bob ",
            "proc.pname=sh proc.cmdline=",
            "time -p ",
            "! ",
            "sh -c { eval ",
            "Run (docker run --rm mongo:6 ",
            "ssh -i key -p 22 bob@h ",
            "nsenter -t 1 -m -- ",
            "strace -f ",
        ] {
            for program in ["mongosh -u root -p ", "ldapsearch -x -D cn=admin -w ", "sqlcmd -U sa -P ", "mysql -p"] {
                let told = redact(&format!("{start}{program}Hunter2 -v")).into_owned();
                assert_eq!(told, format!("{start}{program}[redacted] -v"));
                assert_eq!(redact(&told), told, "twice");
            }
        }
        assert_eq!(
            redact(r#"["sudo","-u","bob","ldapsearch","-w","Hunter2"]"#),
            r#"["sudo","-u","bob","ldapsearch","-w","[redacted]"]"#
        );
        assert_eq!(
            redact(r#"["/bin/bash","-lc","ldapsearch -x -w Hunter2"]"#),
            r#"["/bin/bash","-lc","ldapsearch -x -w [redacted]"]"#
        );
        for text in [
            "sudo -u mongo mkdir -p /data",
            "sudo chown -R mongo /data && mkdir -p /data/x",
            "docker exec -it mongo mkdir -p /data",
            "docker exec -w /data mongo mkdir -p x",
            "docker exec mongo sudo -u mongo mkdir -p /data",
            "docker run -d --name mongo -p 27017:27017 mongo:6",
            "ssh -i key mongo -p 2222",
            "kubectl exec -it mongo -n mongo -- mkdir -p /data",
        ] {
            assert_eq!(redact(text), text);
        }
    }

    #[test]
    fn what_stands_around_a_secret_stays() {
        for (text, expected) in [
            ("sh -c mysqld & mysql -pHunter2", "sh -c mysqld & mysql -p[redacted]"),
            ("systemctl start mysql; mysql -pHunter2", "systemctl start mysql; mysql -p[redacted]"),
            (
                "docker compose exec service mysql -uroot -pHunter2",
                "docker compose exec service mysql -uroot -p[redacted]",
            ),
            (
                "kubectl exec svc/service -- mysql -uroot -pHunter2 shop",
                "kubectl exec svc/service -- mysql -uroot -p[redacted] shop",
            ),
            ("ssh systemctl mysql -pHunter2", "ssh systemctl mysql -p[redacted]"),
            ("kubectl exec mysqld -- mysqldump -pHunter2", "kubectl exec mysqld -- mysqldump -p[redacted]"),
            ("redis-cli -h x AUTH Hunter2", "redis-cli -h x AUTH [redacted]"),
            ("redis-cli AUTH default Hunter2", "redis-cli AUTH [redacted]"),
            ("x (command=redis-cli auth Hunter2 user=root)", "x (command=redis-cli auth [redacted] user=root)"),
            ("redis-cli CONFIG SET requirepass Hunter2", "redis-cli CONFIG SET requirepass [redacted]"),
            ("python3 psexec.py dom/bob:Hunter2@10.0.0.1 id", "python3 psexec.py dom/bob:[redacted]@10.0.0.1 id"),
            ("GetUserSPNs.py dom/bob:Hunter2 -dc-ip 10.0.0.1", "GetUserSPNs.py dom/bob:[redacted] -dc-ip 10.0.0.1"),
            ("impacket-wmiexec 'bob:Hunter2@h'", "impacket-wmiexec 'bob:[redacted]@h'"),
            ("sqlplus -s scott/Hunter2@db @x.sql", "sqlplus -s scott/[redacted]@db @x.sql"),
            ("sqlplus scott/Hunter2", "sqlplus scott/[redacted]"),
            ("sudo -S id <<< Hunter2", "sudo -S id <<< [redacted]"),
            (
                "powershell ConvertTo-SecureString \"Hunter2\" -AsPlainText -Force",
                "powershell ConvertTo-SecureString \"[redacted]\" -AsPlainText -Force",
            ),
            ("powershell ConvertTo-SecureString $x -AsPlainText", "powershell ConvertTo-SecureString $x -AsPlainText"),
        ] {
            assert_eq!(redact(text), expected);
            assert_eq!(redact(expected), expected, "twice");
        }
    }

    #[test]
    fn harmless_values_stay() {
        for text in [
            "find / -user mysql -path /x",
            "kubectl exec -it mysql -- find / -path /proc -prune",
            "systemctl show mysqld -pMainPID",
            "systemctl show mysql -pMainPID",
            "sudo -u root /usr/bin/systemctl show mysql -pMainPID",
            "Run (command=sh -c systemctl show mysql -pMainPID user=root)",
            "sqlplus / as sysdba",
            "sqlplus -s /nolog @/tmp/x.sql",
            "openssl passwd -6",
            "rar a a.rar f",
            "hydra -l bob -P list.txt ssh://h",
            "schtasks /query /tn x",
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
