//! A server as a child process, and what the system says of it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// `USER_HZ`, in which /proc counts: 100 on every Linux architecture in use.
const TICK: Duration = Duration::from_millis(10);

pub(crate) struct Child {
    pub(crate) address: SocketAddr,
    pub(crate) ready_after: Duration,
    process: std::process::Child,
    largest_log: Arc<AtomicU64>,
    // On the disk the target folder is on: a folder in memory would make every sync free.
    _folder: tempfile::TempDir,
}

impl Child {
    /// The connector, built beside this program, with an outbox of its own, delivering to `receiver`.
    pub(crate) fn connector(receiver: SocketAddr, settings: &[(&str, &str)]) -> Self {
        let (folder, address) = (folder(), free_address());
        let mut command = Command::new(std::env::current_exe().unwrap().with_file_name("sysdig-scc"));
        command
            .arg("serve")
            .env_clear()
            .envs(settings.iter().copied())
            .env("PORT", address.port().to_string())
            .env("LISTEN_ADDRESS", address.ip().to_string())
            .env("ORG_ID", "1")
            .env("SOURCE_ID", "2")
            .env("SCC_ENDPOINT", format!("http://{receiver}"))
            .env("WEBHOOK_AUTHENTICATION_TOKEN", super::TOKEN)
            .env("RUST_LOG", "off")
            .env("OUTBOX_URL", format!("sqlite:{}", folder.path().join("outbox.db").display()));
        Self::start(command, folder, address, "/readyz")
    }

    /// The connector's server and parser before a store that keeps nothing.
    pub(crate) fn nothing_stored() -> Self {
        Self::ourselves(super::nothing::WORD, None)
    }

    /// The least server with our parser.
    pub(crate) fn parse_only() -> Self {
        Self::ourselves(super::parse_only::WORD, None)
    }

    /// The yardstick: the least program that does something like it.
    pub(crate) fn bare(receiver: Option<SocketAddr>) -> Self {
        Self::ourselves(super::bare::WORD, receiver)
    }

    /// This program, as what the word says.
    fn ourselves(word: &str, receiver: Option<SocketAddr>) -> Self {
        let (folder, address) = (folder(), free_address());
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg(word).arg(address.port().to_string());
        command.args(receiver.map(|receiver| receiver.to_string()));
        Self::start(command, folder, address, "/healthz")
    }

    fn start(mut command: Command, folder: tempfile::TempDir, address: SocketAddr, ready: &str) -> Self {
        let began = Instant::now();
        let process = command.current_dir(folder.path()).stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        while !answers(address, ready) {
            assert!(began.elapsed() < Duration::from_secs(20), "the server does not become ready");
            std::thread::sleep(Duration::from_millis(2));
        }
        let ready_after = began.elapsed();
        let largest_log = Arc::new(AtomicU64::new(0));
        watch(folder.path().join("outbox.db-wal"), Arc::downgrade(&largest_log));
        Self { address, ready_after, process, largest_log, _folder: folder }
    }

    /// User and system time it has taken so far.
    pub(crate) fn cpu(&self) -> Duration {
        let stat = self.proc("stat");
        // The second member is the name in parentheses; utime and stime are the 14th and 15th.
        let after_name = stat.rsplit_once(") ").unwrap().1;
        let ticks: u32 = after_name.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u32>().unwrap()).sum();
        TICK * ticks
    }

    /// Resident memory now and at its peak, in MB of a million bytes.
    pub(crate) fn memory(&self) -> (u64, u64) {
        let status = self.proc("status");
        let kilobytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim_start_matches(':').trim().trim_end_matches(" kB").parse::<u64>().unwrap()
        };
        (kilobytes("VmRSS") * 1024 / 1_000_000, kilobytes("VmHWM") * 1024 / 1_000_000)
    }

    /// The largest size of the write-ahead log that was seen, in MB.
    pub(crate) fn largest_log(&self) -> u64 {
        self.largest_log.load(Ordering::Relaxed) / 1_000_000
    }

    fn proc(&self, file: &str) -> String {
        std::fs::read_to_string(Path::new("/proc").join(self.process.id().to_string()).join(file)).unwrap()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let ended = self.process.kill().and_then(|()| self.process.wait());
        if let Err(error) = ended {
            eprintln!("process {} could not be ended: {error}", self.process.id());
        }
    }
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(std::env::current_exe().unwrap().parent().unwrap()).unwrap()
}

fn free_address() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

fn answers(address: SocketAddr, page: &str) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(address)?;
        write!(stream, "GET {page} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer.starts_with("HTTP/1.1 200"))
    };
    ask().unwrap_or(false)
}

/// Looks at the log until nobody wants to know.
fn watch(log: PathBuf, largest: std::sync::Weak<AtomicU64>) {
    std::thread::spawn(move || {
        while let Some(largest) = largest.upgrade() {
            let size = std::fs::metadata(&log).map_or(0, |log| log.len());
            largest.fetch_max(size, Ordering::Relaxed);
            drop(largest);
            std::thread::sleep(Duration::from_millis(50));
        }
    });
}
