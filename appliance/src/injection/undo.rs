//! Taking an injection back by its record.

use std::fs::File;
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::Path;

use anyhow::Context;
use lifeboat_drivers::Disk;
use lifeboat_images::{Conversions, Format};

use super::place::folder_of;
use super::{InjectedDisk, Injection, Means, itself, stream, writable_format};
use crate::confined;
use crate::prepare;
use crate::scratch::Scratch;

impl Means<'_> {
    /// Takes an injection back. The written disk is replaced in one step by a
    /// copy in which that was done, of the same owner and mode. The record goes
    /// last: after a kill at any moment the same is done again, and what was
    /// taken back already stays as it is.
    pub fn undo(&self, manifest: &Path) -> anyhow::Result<usize> {
        let injection = Injection::read(manifest)?;
        let [disk] = injection.disks.as_slice() else {
            anyhow::bail!(
                "the injection has {} overlays over untouched disks: remove their folder to take it back",
                injection.disks.len()
            );
        };
        let place = disk.written.as_deref().context("this was a dry run")?;
        let scratch = Scratch::beside(folder_of(place))?;
        let copy = scratch.path().join(place.file_name().unwrap_or_default());
        copy_with_owner(place, &copy)?;
        let converted = self.host.conversions_in(&scratch.path().join("converted"));
        let undone = as_recorded(disk, &copy, &converted)?;
        let changes = lifeboat_drivers::undo(self.vm, &[undone], &injection.changes)?;
        replace(&copy, place)?;
        std::fs::remove_file(manifest)
            .with_context(|| format!("failed to remove `{}`", manifest.display()))?;
        Ok(changes)
    }
}

/// The disk for the micro-VM, read as its record says: what stands in it may
/// come from its guest by now.
fn as_recorded(disk: &InjectedDisk, copy: &Path, converted: &Conversions) -> anyhow::Result<Disk> {
    if let Some(base) = &disk.base {
        return prepare::disk(base, copy)
            .context("what lies below the disk is not what it was at the injection");
    }
    if disk.format == Format::Qcow2 {
        let found = writable_format(&confined::import(converted, copy, &[])?)?;
        anyhow::ensure!(
            found == disk.format,
            "the disk is no longer {:?}, as which it was injected into: put it back",
            disk.format
        );
    }
    itself(copy, disk.format)
}

fn copy_with_owner(place: &Path, copy: &Path) -> anyhow::Result<()> {
    let mut original =
        File::open(place).with_context(|| format!("failed to open `{}`", place.display()))?;
    let copied = File::create_new(copy)?;
    stream::receive(&mut original, &copied, &|_| ())?;
    let was = original.metadata()?;
    fchown(&copied, Some(was.uid()), Some(was.gid()))
        .and_then(|()| copied.set_permissions(std::fs::Permissions::from_mode(was.mode() & 0o7777)))
        .and_then(|()| copied.sync_all())
        .with_context(|| format!("failed to keep owner and mode of `{}`", place.display()))
}

fn replace(copy: &Path, place: &Path) -> anyhow::Result<()> {
    let replace = || {
        std::fs::rename(copy, place)?;
        File::open(folder_of(place))?.sync_all()
    };
    replace().with_context(|| format!("failed to put back `{}`", place.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_raw_disk_stays_raw_whatever_its_guest_wrote() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk.raw");
        let mut bytes = vec![0; 1 << 20];
        bytes[..8].copy_from_slice(b"QFI\xfb\0\0\0\x03");
        std::fs::write(&path, bytes).unwrap();
        let disk = InjectedDisk::itself(path.clone(), Format::Raw);
        let nowhere = Conversions::new("/nowhere");
        let read = as_recorded(&disk, &path, &nowhere).unwrap();
        let formats: Vec<_> = read.layers.iter().map(|layer| layer.format).collect();
        assert_eq!(formats, [lifeboat_drivers::Format::Raw]);
    }

    #[test]
    fn a_base_that_changed_is_not_built_upon() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("base.raw"), vec![1; 4096]).unwrap();
        std::fs::write(path("copy.qcow2"), "").unwrap();
        let disk = InjectedDisk::over(super::super::tests::raw_volume(&path("base.raw")), None);
        let nowhere = Conversions::new("/nowhere");
        let read = as_recorded(&disk, &path("copy.qcow2"), &nowhere).unwrap();
        let formats: Vec<_> = read.layers.iter().map(|layer| layer.format).collect();
        use lifeboat_drivers::Format::{Qcow2, Raw};
        assert_eq!(formats, [Qcow2, Raw]);
        std::fs::write(path("base.raw"), vec![2; 4097]).unwrap();
        assert!(as_recorded(&disk, &path("copy.qcow2"), &nowhere).is_err());
    }

    #[test]
    fn owner_and_mode_are_those_of_the_original() {
        let folder = tempfile::tempdir().unwrap();
        let (place, copy) = (folder.path().join("a"), folder.path().join("b"));
        std::fs::write(&place, "disk").unwrap();
        let open = std::fs::Permissions::from_mode(0o640);
        std::fs::set_permissions(&place, open).unwrap();
        if nix::unistd::geteuid().is_root() {
            std::os::unix::fs::chown(&place, Some(12), Some(34)).unwrap();
        }
        copy_with_owner(&place, &copy).unwrap();
        let of = |path: &Path| {
            let metadata = path.metadata().unwrap();
            (metadata.mode(), metadata.uid(), metadata.gid())
        };
        assert_eq!(of(&copy), of(&place));
        assert_eq!(std::fs::read(&copy).unwrap(), b"disk");
    }
}
