//! Files that are ours and stay open for long. One that was removed or replaced takes every write without complaint, and all of it is
//! gone with the process: nothing else would ever tell. And of any file: who else may write it.

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

/// Who else may write a file, as a predicate of it; `None`: only root and the user this runs as, or the system does not tell.
#[cfg(unix)]
pub(crate) fn others_who_write(file: &Metadata) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    others(file.uid(), file.gid(), file.mode(), rustix::process::geteuid().as_raw())
}

/// Who else may write a file.
#[cfg(not(unix))]
pub(crate) fn others_who_write(_: &Metadata) -> Option<String> {
    None
}

/// The same of an owner, a group and a mode. A group with its owner's number is theirs alone: systems make one for every
/// user, and the volume of a pod has it.
#[cfg(unix)]
fn others(owner: u32, group: u32, mode: u32, us: u32) -> Option<String> {
    if owner != us && owner != 0 {
        return Some(format!("belongs to the user {owner}, who is neither root nor the one this runs as ({us})"));
    }
    if mode & 0o002 != 0 {
        return Some("may be written by everybody".to_owned());
    }
    (mode & 0o020 != 0 && group != owner).then(|| format!("may be written by the group {group}"))
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

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn who_else_writes_a_file_is_told_by_its_owner_and_mode() {
        for (owner, group, mode, told) in [
            (1000, 1000, 0o600, None),
            (1000, 1000, 0o664, None),
            (0, 0, 0o664, None),
            (0, 100, 0o644, None),
            (1001, 1001, 0o600, Some("belongs to the user 1001")),
            (1000, 100, 0o660, Some("written by the group 100")),
            (1000, 1000, 0o606, Some("written by everybody")),
        ] {
            let found = others(owner, group, mode, 1000);
            let right = match (&found, told) {
                (Some(found), Some(told)) => found.contains(told),
                (found, told) => found.is_none() && told.is_none(),
            };
            assert!(right, "{owner} {group} {mode:o}: {found:?}");
        }
    }
}
