//! Real clients against the sandbox: Google's Python libraries (installed by `scripts/install_test_clients`) and
//! gcloud. Where one is not installed the test says so and passes, except with CI=true.
#![allow(clippy::print_stderr, reason = "says which client is missing")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use sysdig_scc::sandbox::{self, DEFAULT_ORGANIZATION, DEFAULT_SOURCE, Running, Settings};

const PROXIES: [&str; 8] =
    ["http_proxy", "https_proxy", "all_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"];

/// A missing client fails the run where everything should be there.
fn missing(what: &str, remedy: &str) {
    #[allow(clippy::disallowed_methods, reason = "a test's own switch, not a setting")]
    let strict = std::env::var_os("CI").is_some_and(|ci| ci == "true");
    let text = format!("{what} is missing: {remedy}");
    assert!(!strict, "{text}");
    eprintln!("NOT TESTED: {text}");
}

/// Runs a program without blocking the sandbox, which answers on other threads.
async fn run(mut command: Command) -> Output {
    for name in PROXIES {
        command.env_remove(name);
    }
    tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test]
async fn googles_python_clients_work() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join("target/test-clients/bin/python");
    if !python.exists() {
        return missing("the Python environment target/test-clients", "run scripts/install_test_clients");
    }
    let running = sandbox::start(Settings::on_free_port()).await.unwrap();
    let mut command = Command::new(python);
    command.arg(root.join("tests/clients/python_clients.py")).arg(running.url());
    let output = run(command).await;
    assert!(output.status.success(), "{}", said(&output));
}

/// gcloud with a configuration of its own that knows only the sandbox.
struct Gcloud {
    program: PathBuf,
    config: tempfile::TempDir,
    running: Running,
}

impl Gcloud {
    fn command(&self, words: &str) -> Command {
        let mut command = Command::new(&self.program);
        command
            .env("CLOUDSDK_CONFIG", self.config.path())
            .env("CLOUDSDK_CORE_DISABLE_PROMPTS", "1")
            .env("CLOUDSDK_CORE_DISABLE_USAGE_REPORTING", "true")
            .env("CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK", "true")
            .env("CLOUDSDK_API_ENDPOINT_OVERRIDES_SECURITYCENTER", format!("{}/", self.running.url()))
            .env("CLOUDSDK_AUTH_ACCESS_TOKEN", "no-real-token")
            .arg("scc");
        for word in words.split_whitespace() {
            command.arg(word.replace("ORG", DEFAULT_ORGANIZATION).replace("SRC", DEFAULT_SOURCE));
        }
        command
    }

    async fn does(&self, words: &str) -> String {
        let output = run(self.command(words)).await;
        assert!(output.status.success(), "gcloud scc {words}: {}", said(&output));
        said(&output)
    }
}

fn gcloud() -> Option<PathBuf> {
    let known =
        ["/usr/bin/gcloud", "/usr/local/bin/gcloud", "/snap/bin/gcloud", "/usr/lib/google-cloud-sdk/bin/gcloud"];
    known.into_iter().map(PathBuf::from).find(|path| path.exists())
}

#[tokio::test]
async fn gcloud_works() {
    let Some(program) = gcloud() else {
        return missing("gcloud", "install the Google Cloud CLI");
    };
    let running = sandbox::start(Settings::on_free_port()).await.unwrap();
    let gcloud = Gcloud { program, config: tempfile::tempdir().unwrap(), running };
    let at = "--organization=ORG --source=SRC --location=global";
    let facts = "--state=ACTIVE --category=Shell --event-time=2026-01-02T03:04:05Z --resource-name=//x/y \
                 --source-properties=a=b,c=d --external-uri=https://e/x";
    gcloud.does(&format!("findings create g1 {at} {facts}")).await;
    let again = run(gcloud.command(&format!("findings create g1 {at} {facts}"))).await;
    assert!(!again.status.success() && said(&again).contains("ALREADY_EXISTS"), "{}", said(&again));
    // Without a location the call goes to v1.
    gcloud.does(&format!("findings create g10 --organization=ORG --source=SRC {facts}")).await;
    let update = "--source-properties=a=z,c=q --update-mask=source_properties.a --format=json";
    let updated = gcloud.does(&format!("findings update g1 {at} {update}")).await;
    let fields: Vec<&str> = ["\"a\": \"z\"", "\"c\": \"d\"", "\"state\": \"ACTIVE\""].into();
    assert!(fields.iter().all(|field| updated.contains(field)), "{updated}");
    gcloud.does(&format!("findings update-marks g1 {at} --security-marks=k1=v1,k2=v2")).await;
    let marks = gcloud.does(&format!("findings list-marks g1 {at}")).await;
    assert!(marks.contains("k1: v1") && marks.contains("k2: v2"), "{marks}");
    gcloud.does(&format!("findings set-mute g1 {at} --mute=MUTED")).await;
    let list = "findings list ORG --source=SRC --location=global --filter=state=\"ACTIVE\" --page-size=1 \
                --field-mask=finding.category,finding.name,finding.mute --format=value(finding.name,finding.mute)";
    // The filter's quotes are part of the word: no shell takes them away.
    let listed = gcloud.does(&format!("{list} --order-by=event_time")).await;
    assert!(listed.contains("findings/g10") && listed.contains("findings/g1\tMUTED"), "{listed}");
    let groups = gcloud.does("findings group ORG --source=SRC --location=global --group-by=category").await;
    assert!(groups.contains("Shell") && groups.contains("'2'"), "{groups}");
    let source = gcloud.does("sources describe ORG --source=SRC").await;
    assert!(source.contains(DEFAULT_SOURCE), "{source}");
}
