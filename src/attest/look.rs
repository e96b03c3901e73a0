//! Looks at the files of a folder, or at one file. A file that is just being written is half a policy, which may allow
//! more than the whole one, or half a key set: a change counts once two looks in a row find it the same.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What one look finds.
#[derive(Debug)]
pub(super) struct Look {
    kind: Kind,
    stamps: Vec<Stamp>,
    /// The files and what they hold, or why the folder cannot be read.
    pub(super) files: std::io::Result<Vec<Found>>,
}

/// What is looked at. What stands in a file's place is never taken for a folder, nor the other way round.
#[derive(Debug, Clone, Copy, Default)]
enum Kind {
    #[default]
    Folder,
    File,
}

/// A file and what it holds.
pub(super) type Found = (PathBuf, std::io::Result<String>);

/// A file, when it was changed, which one it is and when its entry was changed, and its length. What keeps a file's time
/// when it copies it cannot keep the entry's.
type Stamp = (PathBuf, Option<SystemTime>, (u64, i64, i64), u64);

impl Look {
    /// At the policies of a folder.
    pub(super) fn of_folder(folder: &Path) -> Self {
        Self::of(Kind::Folder, folder)
    }

    /// At one file, which is found also when it is not there: then it cannot be read.
    pub(super) fn of_file(file: &Path) -> Self {
        Self::of(Kind::File, file)
    }

    fn of(kind: Kind, place: &Path) -> Self {
        // First, so that what changes while the files are read is found changed by the next look.
        let stamps = stamps(kind, place);
        let found = |path: PathBuf| {
            let text = std::fs::read_to_string(&path);
            (path, text)
        };
        Self { kind, stamps, files: files(kind, place).map(|files| files.into_iter().map(found).collect()) }
    }

    fn contents(&self) -> Contents {
        let files = self.files.as_ref().map_err(std::io::Error::kind)?;
        let text = |text: &std::io::Result<String>| text.as_deref().map(str::to_owned).map_err(std::io::Error::kind);
        Ok(files.iter().map(|(path, found)| (path.clone(), text(found))).collect())
    }
}

/// Files and what they hold, as they are compared.
type Contents = Result<Vec<(PathBuf, Result<String, ErrorKind>)>, ErrorKind>;

/// What was found so far: what was last taken or refused, and a change that has not been found twice yet. The stamps only
/// spare reading the files: some mounts have new ones at every look.
#[derive(Debug)]
pub(super) struct Looks {
    kind: Kind,
    stamps: Vec<Stamp>,
    done: Contents,
    changed: Option<Contents>,
}

impl Default for Looks {
    fn default() -> Self {
        Self { kind: Kind::default(), stamps: Vec::new(), done: Ok(Vec::new()), changed: None }
    }
}

impl Looks {
    /// After a first look, which nothing was compared with.
    pub(super) fn after(first: &Look) -> Self {
        Self { kind: first.kind, stamps: first.stamps.clone(), done: first.contents(), changed: None }
    }

    /// Looks again: a change that has settled since the look before.
    pub(super) fn again(&mut self, place: &Path) -> Option<Look> {
        let before = self.changed.take();
        if stamps(self.kind, place) == self.stamps {
            return None;
        }
        let now = Look::of(self.kind, place);
        let contents = now.contents();
        if contents == self.done {
            self.stamps = now.stamps;
            return None;
        }
        if before.as_ref() != Some(&contents) {
            self.changed = Some(contents);
            return None;
        }
        (self.stamps, self.done) = (now.stamps.clone(), contents);
        Some(now)
    }
}

fn files(kind: Kind, place: &Path) -> std::io::Result<Vec<PathBuf>> {
    if let Kind::File = kind {
        return Ok(vec![place.to_owned()]);
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(place)? {
        let path = entry?.path();
        let policy =
            path.extension().is_some_and(|ending| ["yaml", "yml", "json"].iter().any(|known| ending == *known));
        // A mounted ConfigMap has hidden folders and links beside the files.
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if policy && !hidden && path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(unix)]
fn entry_changed(meta: &std::fs::Metadata) -> (u64, i64, i64) {
    use std::os::unix::fs::MetadataExt;
    (meta.ino(), meta.ctime(), meta.ctime_nsec())
}

#[cfg(not(unix))]
fn entry_changed(_: &std::fs::Metadata) -> (u64, i64, i64) {
    (0, 0, 0)
}

fn stamps(kind: Kind, place: &Path) -> Vec<Stamp> {
    let stamp = |path: PathBuf| {
        let meta = std::fs::metadata(&path).ok();
        let meta = meta.as_ref();
        let entry = meta.map(entry_changed).unwrap_or_default();
        (path, meta.and_then(|meta| meta.modified().ok()), entry, meta.map_or(0, |meta| meta.len()))
    };
    files(kind, place).unwrap_or_default().into_iter().map(stamp).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn a_change_that_keeps_time_and_length_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.yaml");
        std::fs::write(&path, "a").unwrap();
        let (before, time) =
            (stamps(Kind::Folder, folder.path()), std::fs::metadata(&path).unwrap().modified().unwrap());
        let new = folder.path().join("new");
        std::fs::write(&new, "b").unwrap();
        std::fs::File::options().write(true).open(&new).unwrap().set_modified(time).unwrap();
        std::fs::rename(&new, &path).unwrap();
        let after = stamps(Kind::Folder, folder.path());
        assert_eq!((before[0].1, before[0].3), (after[0].1, after[0].3));
        assert_ne!(before, after);
    }

    #[test]
    fn neither_a_folder_in_a_files_place_nor_a_file_in_a_folders_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.yaml");
        std::fs::write(&path, "whole").unwrap();
        assert!(Look::of_folder(&path).files.is_err());
        let [(_, found)] = &Look::of_file(folder.path()).files.unwrap()[..] else { panic!("one place, one finding") };
        assert!(found.is_err());
        let mut looks = Looks::after(&Look::of_file(&path));
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join("q.yaml"), "another").unwrap();
        assert!(looks.again(&path).is_none());
        let found = looks.again(&path).unwrap().files.unwrap();
        assert!(matches!(&found[..], [(place, Err(_))] if *place == path), "{found:?}");
    }

    #[test]
    fn a_change_counts_once_two_looks_find_it_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.yaml");
        std::fs::write(&path, "whole").unwrap();
        let mut looks = Looks::after(&Look::of_folder(folder.path()));
        let mut held = || {
            let files = looks.again(folder.path())?.files.unwrap();
            Some(files.into_iter().map(|(_, text)| text.unwrap()).collect::<Vec<_>>())
        };
        assert_eq!((held(), held()), (None, None), "nothing changed");
        for half in ["", "ha", "half"] {
            std::fs::write(&path, half).unwrap();
            assert_eq!(held(), None, "{half}");
        }
        std::fs::write(&path, "another").unwrap();
        assert_eq!((held(), held(), held()), (None, Some(vec!["another".to_owned()]), None));
        for _ in 0..3 {
            std::fs::File::options().write(true).open(&path).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
            assert_eq!((held(), held()), (None, None), "new stamps alone are no change");
            std::fs::write(&path, "another").unwrap();
            assert_eq!(held(), None, "new stamps at every look");
        }
        std::fs::remove_file(&path).unwrap();
        assert_eq!(held(), None, "it may just be replaced");
        std::fs::write(&path, "replaced").unwrap();
        assert_eq!((held(), held()), (None, Some(vec!["replaced".to_owned()])));
        std::fs::remove_file(&path).unwrap();
        assert_eq!((held(), held(), held()), (None, Some(Vec::new()), None));
    }
}
