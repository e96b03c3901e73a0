//! Disks that misbehave: full, read-only, and a file that somebody removes while it is open.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::recovery::Process;
use crate::world::{TOKEN, World, batch, event};

/// A small file system in memory, unmounted when the test ends.
struct Mount(tempfile::TempDir);

impl Mount {
    /// `None` where mounting is not permitted, which is said; where tests are meant to be complete, a failure.
    fn new(options: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(folder.path()).output();
        let why = match mounted {
            Ok(done) if done.status.success() => return Some(Self(folder)),
            Ok(done) => String::from_utf8_lossy(&done.stderr).trim().to_owned(),
            Err(error) => error.to_string(),
        };
        let root = std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
        let complete = root && std::env::var_os("CI").is_some_and(|ci| ci == "true");
        assert!(!complete, "root under CI=true must be able to mount a tmpfs: {why}");
        eprintln!("LEFT OUT: this test mounts a file system, which is not permitted here: {why}");
        None
    }

    fn again(&self, options: &str) {
        let done = Command::new("mount").args(["-o", &format!("remount,{options}")]).arg(self.0.path()).status();
        assert!(done.unwrap().success(), "mount -o remount,{options}");
    }

    fn outbox(&self) -> PathBuf {
        self.0.path().join("outbox.db")
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(self.0.path()).status().ok();
    }
}

fn url(outbox: &Path) -> String {
    format!("sqlite:{}", outbox.display())
}

async fn until_taken(world: &World, body: String) {
    let trying = async {
        while world.sends(body.clone()).await.0 != 200 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), trying).await.expect("it recovers by itself");
}

#[tokio::test]
async fn a_full_disk_is_told_and_survived() {
    let Some(disk) = Mount::new("size=3m") else { return };
    let mut world = World::with(&[("OUTBOX_URL", &url(&disk.outbox()))]).await;
    world.scc_fails(json!({"next": 1_000_000, "status": 503})).await;
    // On the brink a checkpoint that is under way may make room once more: full is what refuses for some checkpoints.
    let (mut filled, mut full_since) = (0, None::<Instant>);
    let filling = async {
        while full_since.is_none_or(|since| since.elapsed() < Duration::from_secs(1)) {
            // Smaller than what has to fit into a disk that is not full.
            match world.sends(batch(filled..filled + 20)).await {
                (200, _) => (filled, full_since) = (filled + 20, None),
                (503, _) => {
                    full_since.get_or_insert_with(Instant::now);
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                other => panic!("{other:?}"),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), filling).await.expect("3 MB are full at some time");
    // More than the whole disk, so that it fits at no time.
    let request = world.http.post(format!("{}/events", world.url)).bearer_auth(TOKEN);
    let refused = request.body(batch(filled..filled + 5_000)).send().await.unwrap();
    assert_eq!(refused.status(), 503);
    assert!(refused.headers().contains_key("retry-after"));
    for _ in 0..5 {
        let (status, report) = world.get("/readyz").await;
        assert_eq!(status, 503, "not ready as long as events are refused: {report}");
        assert!(report.contains("full"), "{report}");
    }
    assert_eq!(world.get("/healthz").await.0, 200, "a restart would mend nothing");
    disk.again("size=200m");
    until_taken(&world, event(300_000).to_string()).await;
    assert_eq!(world.get("/readyz").await.0, 200);
    world.outbox = disk.outbox();
    assert_eq!(world.ledger().accepted, filled + 1, "nothing of what was refused was taken in half");
    world.stop().await;
}

#[tokio::test]
async fn what_filled_the_disk_is_delivered_and_makes_room() {
    let Some(disk) = Mount::new("size=4m") else { return };
    let outbox = url(&disk.outbox());
    let settings = [("OUTBOX_URL", outbox.as_str()), ("SCC_WRITES_PER_MINUTE", "0")];
    let mut world = World::with(&settings).await;
    world.outbox = disk.outbox();
    world.scc_fails(json!({"next": 1_000_000, "status": 503})).await;
    let long = |number| {
        let mut long = event(number);
        long["content"]["output"] = json!("A shell was spawned ".repeat(400));
        long.to_string()
    };
    let mut filled = 0;
    while world.sends(long(filled)).await.0 == 200 {
        filled += 1;
    }
    assert!(world.get("/readyz").await.1.contains("which delivering takes"));
    world.stop().await;
    world.scc_recovers().await;
    world.start(&settings).await;
    let ledger = world.settle().await;
    assert_eq!((ledger.closed["delivered"], ledger.waiting), (filled, 0));
    // The file never shrinks: what is done with makes room in it.
    for number in filled..2 * filled {
        until_taken(&world, long(number)).await;
    }
    let ledger = world.settle().await;
    assert_eq!(ledger.closed["delivered"], 2 * filled);
    let ready = async {
        while world.get("/readyz").await.0 != 200 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), ready).await.expect("there is room for more than one event");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_on_the_size_of_files_is_told_and_survived() {
    let mut world = World::new().await;
    world.stop().await;
    let process = Process::with(&world, &[]);
    world.url.clone_from(&process.url);
    world.scc_fails(json!({"next": 1_000_000, "status": 503})).await;
    process.limit_files("2000000");
    let (mut sent, mut refused) = (0, 0);
    let filling = async {
        // A checkpoint may make room once more.
        while refused < 5 {
            match world.sends(batch(sent..sent + 100)).await {
                (200, _) => (sent, refused) = (sent + 100, 0),
                (503, _) => refused += 1,
                other => panic!("{other:?}"),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), filling).await.expect("2 MB are full at some time");
    let (status, report) = world.get("/readyz").await;
    assert_eq!(status, 503, "{report}");
    process.limit_files("unlimited");
    until_taken(&world, event(300_000).to_string()).await;
    assert_eq!(world.ledger().accepted, sent + 1);
    let log = process.ends();
    let told = log.lines().filter(|line| line.contains("the outbox cannot be written")).count();
    assert!(told == 1 && log.contains("the outbox can be written again"), "{log}");
}

#[tokio::test]
async fn a_read_only_disk_is_told_and_survived() {
    let Some(disk) = Mount::new("size=20m") else { return };
    let outbox = url(&disk.outbox());
    let settings = [("OUTBOX_URL", outbox.as_str())];
    let mut world = World::with(&settings).await;
    assert_eq!(world.sends(event(1).to_string()).await.0, 200);
    world.outbox = disk.outbox();
    world.settle().await;
    world.stop().await;
    // The last handles close on threads of their own.
    let closed = async {
        while !Command::new("mount").args(["-o", "remount,ro"]).arg(disk.0.path()).output().unwrap().status.success() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), closed).await.expect("every handle is closed");
    world.start(&settings).await;
    assert_eq!(world.sends(event(2).to_string()).await.0, 503);
    assert_eq!(world.get("/readyz").await.0, 503);
    disk.again("rw");
    until_taken(&world, event(2).to_string()).await;
    assert_eq!(world.get("/readyz").await.0, 200);
    assert_eq!(world.settle().await.closed["delivered"], 2);
    world.stop().await;
}

#[tokio::test]
async fn a_file_that_is_removed_while_in_use_loses_nothing() {
    let mut world = World::new().await;
    world.scc_fails(json!({"next": 1_000_000, "status": 503})).await;
    assert_eq!(world.sends(batch(0..20)).await.0, 200);
    for entry in std::fs::read_dir(world.outbox.parent().unwrap()).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_string_lossy().starts_with("outbox.db") && path.extension().unwrap() != "lock" {
            std::fs::remove_file(path).unwrap();
        }
    }
    assert_eq!(world.sends(batch(20..30)).await.0, 200);
    assert_eq!(world.ledger().accepted, 30, "the old rows and the new ones stand in the file");
    world.stop().await;
    // Retries may lie half a minute ahead: that the rows are there for the next process is what counts.
    assert_eq!(world.ledger().waiting, 30);
    world.scc_recovers().await;
    world.start(&[]).await;
    assert_eq!(world.sends(event(30).to_string()).await.0, 200);
    world.until(|stats| stats.closed["delivered"] > 0).await;
    assert_eq!(world.ledger().accepted, 31);
    world.stop().await;
}

#[tokio::test]
async fn another_file_in_its_place_is_not_written_over() {
    let world = World::new().await;
    assert_eq!(world.sends(event(1).to_string()).await.0, 200);
    world.settle().await;
    std::fs::rename(&world.outbox, world.outbox.with_extension("away")).unwrap();
    std::fs::write(&world.outbox, "somebody's").unwrap();
    assert_eq!(world.sends(event(2).to_string()).await.0, 503);
    assert!(world.get("/readyz").await.1.contains("replaced by another file"));
    assert_eq!(std::fs::read(&world.outbox).unwrap(), b"somebody's");
}

/// Writes over everything of a database behind its first page, which is what opening reads.
pub fn spoil(database: &Path) {
    let connection = rusqlite::Connection::open(database).unwrap();
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    drop(connection);
    let mut bytes = std::fs::read(database).unwrap();
    bytes[4_096..].fill(b'x');
    std::fs::write(database, bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_store_that_cannot_be_used_is_told_and_keeps_no_runtime_event_away() {
    let mut world = World::new().await;
    let (state, away) = (world.outbox.with_file_name("state.db"), world.outbox.with_file_name("away"));
    assert!(world.get("/readyz").await.1.contains("\"state\":\"writable\""));
    std::fs::rename(&state, &away).unwrap();
    assert!(world.get("/readyz").await.1.contains("removed or replaced while in use"));
    std::fs::rename(&away, &state).unwrap();
    assert!(world.get("/readyz").await.1.contains("\"state\":\"writable\""));
    world.stop().await;

    spoil(&state);
    let process = Process::with(&world, &[]);
    world.url.clone_from(&process.url);
    assert_eq!(world.sends(event(1).to_string()).await.0, 200);
    assert_eq!(world.settle().await.closed["delivered"], 1);
    let (status, report) = world.get("/readyz").await;
    assert!(status == 200 && report.contains("state.db is damaged"), "{status} {report}");
    let metrics = world.get("/metrics").await.1;
    assert!(!metrics.contains("sysdig_scc_state_errors_total{error=\"damaged\"} 0"), "{metrics}");
    let told = process.before.iter().filter(|line| line["message"].to_string().contains("the state store is damaged"));
    assert!(told.filter(|line| line["severity"] == "ERROR").count() == 1, "{:?}", process.before);
}
