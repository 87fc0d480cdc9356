//! Where the result of an injection goes, and what lies beside it.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use lifeboat_images::{CapturedVolume, Conversions, rename_without_replacing};

use crate::daemon::WrongUse;
use crate::host::Host;

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
    if record.symlink_metadata().is_ok() {
        let problem = format!(
            "`{}` is the record of another injection: keep it elsewhere, or name another {kind}",
            record.display()
        );
        return Err(WrongUse(problem).into());
    }
    Ok(place)
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
/// captured. It is there only while somebody needs it: a result that lies over
/// them, or a next try after this process was killed.
pub struct BesideResult {
    folder: PathBuf,
    conversions: Conversions,
    used: HashSet<PathBuf>,
}

impl BesideResult {
    /// That of `place`; it is made when something has to be converted.
    pub fn new(host: &Host, place: &Path) -> Self {
        let folder = beside(place, "converted");
        Self {
            conversions: host.conversions_in(&folder),
            folder,
            used: HashSet::new(),
        }
    }

    /// Where to convert to.
    pub fn conversions(&self) -> &Conversions {
        &self.conversions
    }

    /// Keeps what overlays over these volumes need.
    pub fn keep_what_serves(&mut self, volumes: &[CapturedVolume]) {
        let layers = volumes.iter().flat_map(CapturedVolume::converted);
        self.used = layers.map(|layer| layer.file.path.clone()).collect();
    }

    /// Keeps nothing after all.
    pub fn keep_nothing(&mut self) {
        self.used.clear();
    }
}

impl Drop for BesideResult {
    fn drop(&mut self) {
        if let Err(error) = self.conversions.remove_unused(&self.used, Duration::ZERO) {
            tracing::warn!(%error, "converted disks stay that nobody needs");
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
}
