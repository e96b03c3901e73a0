//! The program itself, as somebody runs it: its commands, and what they say.

use std::ffi::OsStr;
use std::process::{Command, Output};

/// Runs it with nothing in its environment but `settings`: whether it ended well, and all that it said.
pub async fn program<N, V>(arguments: &[&str], settings: &[(N, V)]) -> (bool, String)
where
    N: AsRef<OsStr>,
    V: AsRef<OsStr>,
{
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_sysdig-scc"));
    command
        .args(arguments)
        .env_clear()
        .envs(settings.iter().map(|(name, value)| (name, value)))
        .current_dir(folder.path());
    // The fakes run on the test's own threads.
    let output: Output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}
