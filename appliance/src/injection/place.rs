//! Where the result of an injection goes, and what lies beside it.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use lifeboat_images::{Conversions, rename_without_replacing};

use super::record::Injection;
use crate::daemon::WrongUse;
use crate::host::Host;
use crate::session::making::replace_file;

/// Name of the record of an injection in its folder.
pub const MANIFEST: &str = "manifest.json";

/// An absolute path at which nothing is yet.
pub fn new_place(path: &Path, kind: &str) -> anyhow::Result<PathBuf> {
    if path.symlink_metadata().is_ok() {
        let problem = format!("{kind} `{}` exists already: name a new one", path.display());
        return Err(WrongUse(problem).into());
    }
    Ok(std::path::absolute(path)?)
}

/// The same for a file that gets its record beside it.
pub fn new_result(path: &Path, kind: &str) -> anyhow::Result<PathBuf> {
    let place = new_place(path, kind)?;
    let record = record_of(&place);
    if record.symlink_metadata().is_ok() && !is_leftover(&place) {
        let problem = format!(
            "`{}` is the record of another injection: keep it elsewhere, or name another {kind}",
            record.display()
        );
        return Err(WrongUse(problem).into());
    }
    Ok(place)
}

/// Whether a process was killed between the record of this disk and the disk.
/// The record of a disk that was moved away says nothing of the kind.
fn is_leftover(place: &Path) -> bool {
    place.symlink_metadata().is_err()
        && Injection::read(&record_of(place)).is_ok_and(|record| record.unfinished)
}

/// Publishes a disk that is on the medium, and its record. The record is there
/// first: no disk is there without the way back.
pub fn publish_with_record(
    made: &Path,
    place: &Path,
    injection: &mut Injection,
) -> anyhow::Result<()> {
    let record = record_of(place);
    injection.manifest = Some(record.clone());
    let finished = made.with_file_name(MANIFEST);
    replace_file(&finished, &serde_json::to_vec_pretty(injection)?)?;
    let inode = publish_record(made, place, injection)?;
    publish(made, place).inspect_err(|_| {
        // It describes nothing, unless another process put its own there. The
        // first error is the one to tell.
        if record.symlink_metadata().is_ok_and(|is| is.ino() == inode) {
            let _ = std::fs::remove_file(&record);
        }
    })?;
    std::fs::rename(&finished, &record)
        .and_then(|()| File::open(folder_of(place))?.sync_all())
        .with_context(|| format!("failed to finish `{}`", record.display()))
}

/// Puts the record of a disk to come to its place; gives its inode.
fn publish_record(made: &Path, place: &Path, injection: &Injection) -> anyhow::Result<u64> {
    let draft = made.with_file_name("unfinished.json");
    let unfinished = Injection {
        unfinished: true,
        ..injection.clone()
    };
    replace_file(&draft, &serde_json::to_vec_pretty(&unfinished)?)?;
    let record = record_of(place);
    if is_leftover(place) {
        std::fs::remove_file(&record)
            .with_context(|| format!("failed to remove `{}`", record.display()))?;
    }
    let inode = draft.symlink_metadata()?.ino();
    publish(&draft, &record)?;
    Ok(inode)
}

/// Where the record of an injection into this file lies.
pub fn record_of(place: &Path) -> PathBuf {
    beside(place, MANIFEST)
}

fn beside(place: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(place.file_name().unwrap_or_default());
    name.push(".");
    name.push(ending);
    place.with_file_name(name)
}

/// The folder that a place is in.
pub fn folder_of(place: &Path) -> &Path {
    place.parent().unwrap_or(Path::new("/"))
}

/// Moves what is finished, and on the medium, to its place, where nothing may
/// have appeared meanwhile.
pub fn publish(made: &Path, place: &Path) -> anyhow::Result<()> {
    let publish = || {
        rename_without_replacing(made, place)?;
        File::open(folder_of(place))?.sync_all()
    };
    publish().with_context(|| format!("failed to move the result to `{}`", place.display()))
}

/// The folder `RESULT.converted` of disks that QEMU cannot serve as they were
/// captured. What was converted for a result that did not come is removed;
/// what lay there before may lie below another disk by now, and stays.
pub struct BesideResult {
    folder: PathBuf,
    conversions: Conversions,
    is_needed: bool,
}

impl BesideResult {
    /// That of `place`; it is made when something has to be converted.
    pub fn new(host: &Host, place: &Path) -> Self {
        let folder = beside(place, "converted");
        Self {
            conversions: host.conversions_in(&folder).holding(),
            folder,
            is_needed: false,
        }
    }

    /// Where to convert to.
    pub fn conversions(&self) -> &Conversions {
        &self.conversions
    }

    /// Keeps what was converted: the result lies over it.
    pub fn keep(mut self) {
        self.is_needed = true;
    }
}

impl Drop for BesideResult {
    fn drop(&mut self) {
        if !self.is_needed {
            self.conversions.discard();
        } else if let Err(error) = self.conversions.keep() {
            tracing::warn!(%error, "half-converted disks stay that nobody needs");
        }
        // Fails as long as it holds something.
        let _ = std::fs::remove_dir(&self.folder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_appeared_meanwhile_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let place = new_result(&path("out.qcow2"), "overlay").unwrap();
        std::fs::write(path("made"), "new").unwrap();
        std::fs::write(&place, "of another").unwrap();
        publish(&path("made"), &place).unwrap_err();
        assert_eq!(std::fs::read_to_string(&place).unwrap(), "of another");
        std::fs::remove_file(&place).unwrap();
        publish(&path("made"), &place).unwrap();
        assert_eq!(std::fs::read_to_string(&place).unwrap(), "new");
    }

    #[test]
    fn an_older_record_is_no_place_for_a_new_one() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("out.qcow2");
        new_result(&place, "overlay").unwrap();
        std::fs::write(record_of(&place), "{}").unwrap();
        let error = new_result(&place, "overlay").unwrap_err().to_string();
        assert!(error.contains("out.qcow2.manifest.json"), "{error}");
    }

    fn injection(machine: &str) -> Injection {
        serde_json::from_value(serde_json::json!({
            "version": 2, "disks": [], "operating_system": "", "changes": {"changes": []},
            "request": {"machine": machine, "nics": [], "target": crate::hardware::Hardware::default().target()},
            "verified": [], "warnings": [], "seconds": 0.0, "manifest": null,
        }))
        .unwrap()
    }

    #[test]
    fn a_record_whose_disk_never_came_gives_way_to_the_next_try() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::create_dir(path("scratch")).unwrap();
        let made = path("scratch/made");
        std::fs::write(&made, "disk").unwrap();
        // Killed between the two.
        let place = new_result(&path("out.qcow2"), "overlay").unwrap();
        publish_record(&made, &place, &injection("killed")).unwrap();
        let read = || Injection::read(&record_of(&place)).unwrap();
        assert!(read().unfinished && !place.exists());
        new_result(&place, "overlay").unwrap();
        publish_with_record(&made, &place, &mut injection("next")).unwrap();
        assert_eq!(std::fs::read(&place).unwrap(), b"disk");
        assert!(!read().unfinished);
        assert_eq!(read().request.machine, "next");
        // It is the way back of a disk that was moved away.
        std::fs::rename(&place, path("moved.qcow2")).unwrap();
        let error = new_result(&place, "overlay").unwrap_err().to_string();
        assert!(error.contains("record of another injection"), "{error}");
    }

    #[test]
    fn a_disk_that_cannot_come_takes_only_its_own_record_away() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::create_dir(path("scratch")).unwrap();
        std::fs::write(path("scratch/made"), "disk").unwrap();
        let place = path("out.qcow2");
        std::fs::write(&place, "of another").unwrap();
        let publish = |machine| {
            let mut injection = injection(machine);
            publish_with_record(&path("scratch/made"), &place, &mut injection)
        };
        publish("late").unwrap_err();
        assert!(!record_of(&place).exists());
        std::fs::write(record_of(&place), "of another").unwrap();
        publish("late").unwrap_err();
        assert_eq!(std::fs::read(record_of(&place)).unwrap(), b"of another");
        assert_eq!(std::fs::read(&place).unwrap(), b"of another");
    }
}
