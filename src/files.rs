//! Files that are ours and stay open for long. One that was removed or replaced takes every write without complaint, and all of it is
//! gone with the process: nothing else would ever tell.

use std::fs::{File, Metadata, OpenOptions};
use std::io::ErrorKind;
use std::path::Path;

/// How a file is made: readable by its owner only, because it may hold secrets. One that is there keeps its mode.
pub(crate) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Opens a file that is only ever appended to, or makes it. A pipe that nobody reads is refused: opening it would wait for a
/// reader without end.
pub(crate) fn appended_to(path: &Path) -> std::io::Result<File> {
    // Held until the file is open: a reader of a pipe is at its end as soon as nobody has it open for writing.
    let probe = if is_pipe(path) { Some(at_once(path)?) } else { None };
    let file = private().create(true).append(true).open(path);
    drop(probe);
    file
}

/// Whether it is a pipe with a name. Such a one is not opened just to look: closing it again would end its reader.
#[cfg(unix)]
pub(crate) fn is_pipe(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    std::fs::metadata(path).is_ok_and(|found| found.file_type().is_fifo())
}

/// Whether it is a pipe with a name.
#[cfg(not(unix))]
pub(crate) fn is_pipe(_: &Path) -> bool {
    false
}

/// Opens a pipe for writing, when somebody reads it.
#[cfg(unix)]
fn at_once(pipe: &Path) -> std::io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let opened = OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(pipe);
    opened.map_err(|error| match error.raw_os_error() {
        Some(libc::ENXIO) => std::io::Error::new(ErrorKind::NotConnected, "it is a pipe that nobody reads"),
        _ => error,
    })
}

/// Opens a pipe for writing.
#[cfg(not(unix))]
fn at_once(pipe: &Path) -> std::io::Result<File> {
    OpenOptions::new().write(true).open(pipe)
}

/// Makes the folder of a file where it is missing.
pub(crate) fn make_folder_of(path: &Path) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.map_or(Ok(()), std::fs::create_dir_all)
}

/// The bytes that are free on the volume on which this stands, and all of it; `None` where the system does not tell.
#[cfg(unix)]
pub(crate) fn free_and_total(path: &Path) -> Option<(u64, u64)> {
    let volume = rustix::fs::statvfs(path).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(volume.f_frsize);
    Some((bytes(volume.f_bavail), bytes(volume.f_blocks))).filter(|(_, total)| *total > 0)
}

/// The bytes that are free on the volume on which this stands, and all of it.
#[cfg(not(unix))]
pub(crate) fn free_and_total(_: &Path) -> Option<(u64, u64)> {
    None
}

/// What tells one file from another; nothing, where files cannot be told apart. Then everything is believed.
pub(crate) type Identity = Option<(u64, u64)>;

/// The file's identity.
#[cfg(unix)]
pub(crate) fn identity(file: &Metadata) -> Identity {
    use std::os::unix::fs::MetadataExt;
    Some((file.dev(), file.ino()))
}

/// The file's identity.
#[cfg(not(unix))]
pub(crate) fn identity(_: &Metadata) -> Identity {
    None
}

/// What stands at `path` now.
pub(crate) fn standing(path: &Path) -> Identity {
    std::fs::metadata(path).ok().and_then(|found| identity(&found))
}

/// Whether the file that was opened still stands at `path`. A question the disk cannot answer is answered yes: the write
/// itself will tell.
pub(crate) fn stands(path: &Path, opened: Identity) -> bool {
    match std::fs::metadata(path) {
        _ if opened.is_none() => true,
        Ok(found) => identity(&found) == opened,
        Err(error) => !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory),
    }
}
