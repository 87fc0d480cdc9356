//! Captured volumes that are sent in pieces. Each lies in a folder of its own; what
//! is known of it lies beside it, so that an upload goes on after a restart.
//!
//! ```text
//! STATE/uploads/ID/upload.json   its name, size, beginning
//! STATE/uploads/ID/NAME.part     what was received so far
//! STATE/uploads/ID/NAME          all of it
//! ```

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::daemon::{Missing, NotNow, WrongUse};
use crate::host::Host;
use crate::report::printable;
use crate::session::making::replace_file;
use crate::session::unix_ms;
use crate::site::is_plain_name;

const ABOUT: &str = "upload.json";
/// Uploads at a time.
const MOST: usize = 64;

/// What is announced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AskUpload {
    /// Name of the file: letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// Bytes of all of it.
    pub size: u64,
}

/// A volume that was sent, or is being sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Upload {
    /// Its id.
    pub id: String,
    /// Name of the file.
    pub name: String,
    /// Bytes of all of it.
    pub size: u64,
    /// Bytes received.
    pub received: u64,
    /// All of it is there.
    pub complete: bool,
    /// When it began, Unix time in milliseconds.
    pub began_ms: u64,
}

/// What is kept of it.
#[derive(Debug, Serialize, Deserialize)]
struct About {
    name: String,
    size: u64,
    began_ms: u64,
}

fn folder(host: &Host) -> PathBuf {
    host.state_dir.join("uploads")
}

/// All of them, the oldest first.
pub fn list(host: &Host) -> Vec<Upload> {
    let entries = std::fs::read_dir(folder(host)).into_iter().flatten();
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut all: Vec<_> = names.filter_map(|id| find(host, &id).ok()).collect();
    all.sort_by(|a, b| (a.began_ms, &a.id).cmp(&(b.began_ms, &b.id)));
    all
}

/// The one with this id.
pub fn find(host: &Host, id: &str) -> Result<Upload, Missing> {
    let missing = || Missing(format!("no upload has the id `{}`", printable(id)));
    let place = place(host, id).ok_or_else(missing)?;
    let about = std::fs::read(place.join(ABOUT)).map_err(|_| missing())?;
    let about: About = serde_json::from_slice(&about).map_err(|_| missing())?;
    let length = |path: PathBuf| path.symlink_metadata().map(|file| file.len()).ok();
    let whole = length(place.join(&about.name));
    let part = || length(part_of(&place, &about.name));
    Ok(Upload {
        id: id.to_owned(),
        received: whole.or_else(part).unwrap_or(0),
        complete: whole.is_some(),
        name: about.name,
        size: about.size,
        began_ms: about.began_ms,
    })
}

/// Ids are ours: nothing else becomes a path.
fn place(host: &Host, id: &str) -> Option<PathBuf> {
    let plain = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    plain.then(|| folder(host).join(id))
}

fn part_of(place: &Path, name: &str) -> PathBuf {
    place.join(format!("{name}.part"))
}

/// Begins one.
pub fn begin(host: &Host, asked: &AskUpload) -> anyhow::Result<Upload> {
    if !is_plain_name(&asked.name) || asked.name == ABOUT {
        return Err(WrongUse(format!(
            "`{}` is no name for an upload: expected letters, digits, `-`, `_` and `.`, at most 63",
            printable(&asked.name)
        ))
        .into());
    }
    let others = list(host);
    if others.len() >= MOST {
        return Err(NotNow(format!(
            "there are {MOST} uploads already: remove one first"
        ))
        .into());
    }
    let room = |upload: &Upload| upload.size.saturating_sub(upload.received);
    let promised = others
        .iter()
        .map(room)
        .fold(asked.size, u64::saturating_add);
    let free = host.free_disk_mib() << 20;
    if promised.saturating_add(host.limits.reserve) > free {
        return Err(NotNow(format!(
            "the appliance has {free} bytes free, which is too little for this upload, those that go on, and its reserve of {} bytes",
            host.limits.reserve
        ))
        .into());
    }
    let id = uuid::Uuid::new_v4().simple().to_string();
    make(host, &id, asked).with_context(|| "failed to begin an upload")?;
    Ok(find(host, &id)?)
}

fn make(host: &Host, id: &str, asked: &AskUpload) -> anyhow::Result<()> {
    let place = folder(host).join(id);
    std::fs::create_dir_all(&place)?;
    File::create_new(part_of(&place, &asked.name))?;
    let about = About {
        name: asked.name.clone(),
        size: asked.size,
        began_ms: unix_ms(),
    };
    replace_file(&place.join(ABOUT), &serde_json::to_vec(&about)?)?;
    if asked.size == 0 {
        finish(&place, &asked.name)?;
    }
    Ok(())
}

/// Adds a piece that begins at `offset`. One caller at a time.
pub fn add(host: &Host, id: &str, offset: u64, piece: &[u8]) -> anyhow::Result<Upload> {
    let upload = find(host, id)?;
    if upload.complete || offset != upload.received {
        return Err(NotNow(format!(
            "upload `{id}` has {} of {} bytes: the next piece begins there",
            upload.received, upload.size
        ))
        .into());
    }
    if piece.len() as u64 > upload.size - upload.received {
        return Err(WrongUse(format!(
            "the piece goes beyond the {} bytes that were announced",
            upload.size
        ))
        .into());
    }
    let place = folder(host).join(id);
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .open(part_of(&place, &upload.name))?;
        file.seek(SeekFrom::Start(offset))?;
        file.write_all(piece)?;
        match offset + piece.len() as u64 == upload.size {
            true => finish(&place, &upload.name),
            false => Ok(()),
        }
    };
    write().with_context(|| format!("failed to write a piece of upload `{id}`"))?;
    Ok(find(host, id)?)
}

fn finish(place: &Path, name: &str) -> std::io::Result<()> {
    let part = part_of(place, name);
    File::open(&part)?.sync_all()?;
    std::fs::rename(part, place.join(name))
}

/// Removes one.
pub fn remove(host: &Host, id: &str) -> anyhow::Result<()> {
    let upload = find(host, id)?;
    let place = folder(host).join(&upload.id);
    std::fs::remove_dir_all(&place)
        .with_context(|| format!("failed to remove `{}`", place.display()))
}

/// The file of one that is complete.
pub fn complete(host: &Host, id: &str) -> anyhow::Result<PathBuf> {
    let upload = find(host, id)?;
    if !upload.complete {
        return Err(NotNow(format!(
            "upload `{id}` has {} of {} bytes",
            upload.received, upload.size
        ))
        .into());
    }
    Ok(folder(host).join(&upload.id).join(&upload.name))
}

/// Whether this is the file of one that is complete.
pub fn is_one(host: &Host, file: &Path) -> bool {
    let mut all = list(host).into_iter().filter(|upload| upload.complete);
    all.any(|upload| folder(host).join(&upload.id).join(&upload.name) == file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(name: &str, size: u64) -> AskUpload {
        AskUpload {
            name: name.into(),
            size,
        }
    }

    fn host(place: &Path) -> Host {
        let mut host = Host::new(place).unwrap();
        host.limits.reserve = 0;
        host
    }

    #[test]
    fn pieces_become_a_file_in_their_order_alone() {
        let place = tempfile::tempdir().unwrap();
        let host = host(place.path());
        let id = begin(&host, &asked("disk.raw", 8)).unwrap().id;
        assert!(complete(&host, &id).is_err());
        assert_eq!(add(&host, &id, 0, b"1234").unwrap().received, 4);
        for (offset, piece) in [(0, &b"5678"[..]), (5, b"678"), (4, b"56789")] {
            assert!(add(&host, &id, offset, piece).is_err(), "{offset}");
        }
        let upload = add(&host, &id, 4, b"5678").unwrap();
        assert!(upload.complete && upload.received == 8);
        let file = complete(&host, &id).unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"12345678");
        assert!(is_one(&host, &file) && !is_one(&host, Path::new("/etc/passwd")));
        assert!(add(&host, &id, 8, b"9").is_err());
        assert_eq!(list(&host).len(), 1);
        remove(&host, &id).unwrap();
        assert!(list(&host).is_empty() && !file.exists());
    }

    #[test]
    fn what_is_no_name_or_does_not_fit_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let host = host(place.path());
        for name in [
            "",
            "..",
            "../disk",
            "a/b",
            ".hidden",
            "upload.json",
            "a b",
            "a\0",
        ] {
            assert!(begin(&host, &asked(name, 1)).is_err(), "{name:?}");
        }
        assert!(begin(&host, &asked("disk", u64::MAX)).is_err());
        for id in ["", "..", "../..", &"f".repeat(32), &"/".repeat(32)] {
            assert!(find(&host, id).is_err(), "{id}");
        }
        assert!(list(&host).is_empty());
        for _ in 0..MOST {
            begin(&host, &asked("disk", 1)).unwrap();
        }
        assert!(begin(&host, &asked("disk", 1)).is_err());
    }
}
