//! Filesystems of machines that lost their power: their last changes stand in
//! the journal only, and come into the overlay from there.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use lifeboat_drivers::{Check, Disk, Format, GuestReport, Layer, PrepareReport, inspect, prepare};

use crate::fake_guest::fill;
use crate::laboratory::Laboratory;
use crate::small::{Content, MIB, disk};
use crate::{hash, overlay_disk, request};

/// A mount of the test's own file, let go when dropped.
struct Mounted(PathBuf);

impl Mounted {
    fn of(image: &Path, at: PathBuf) -> Option<Self> {
        let output = Command::new("mount")
            .args(["-o", "loop"])
            .args([image, &at])
            .output()
            .unwrap();
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            eprintln!("\nSKIPPED whole_machine journals: {}", said.trim());
            return None;
        }
        Some(Self(at))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

fn tool(name: &str, arguments: &[&str]) -> Option<()> {
    let Ok(output) = Command::new(name).args(arguments).output() else {
        eprintln!("\nSKIPPED whole_machine journals: {name} is not installed");
        return None;
    };
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} {arguments:?}: {said}");
    Some(())
}

/// The disk of a machine that was renamed just before its power failed: the
/// journal has the new name, the filesystem the old one.
fn cut_off(laboratory: &Laboratory, make: &str, mebibytes: u64) -> Option<PathBuf> {
    let image = laboratory.bytes("system", mebibytes * MIB, 0, b"");
    tool(make, &["-q", image.to_str().unwrap()])?;
    let at = laboratory.directory("mounted");
    let captured = laboratory.directory("").join("captured.raw");
    {
        let _mounted = Mounted::of(&image, at.clone())?;
        let root = fill(&at, "dracut", "gzip");
        root.write("etc/hostname", b"before").unwrap();
        nix::unistd::sync();
    }
    {
        let _mounted = Mounted::of(&image, at.clone())?;
        let mut file = File::create(at.join("etc/new")).unwrap();
        file.write_all(b"after").unwrap();
        file.sync_all().unwrap();
        std::fs::rename(at.join("etc/new"), at.join("etc/hostname")).unwrap();
        tool("xfs_io", &["-x", "-c", "shutdown -f", at.to_str().unwrap()])?;
        std::fs::copy(&image, &captured).unwrap();
    }
    let base = laboratory.bytes("disk", MIB, 0, b"");
    disk(&base, &[(mebibytes, Content::Bytes(&captured))]);
    Some(base)
}

fn look(laboratory: &Laboratory, base: &Path) -> GuestReport {
    let layer = Layer {
        file: File::open(base).unwrap().into(),
        format: Format::Raw,
    };
    let disk = Disk {
        layers: vec![layer],
    };
    inspect(
        &laboratory.micro_vm(),
        &[disk],
        &laboratory.directory("looked"),
    )
    .unwrap()
}

fn of_filesystem<'r>(report: &'r PrepareReport, kind: &str) -> &'r Check {
    let mut checks = report.verified.iter();
    let wanted = format!("the {kind} on ");
    checks
        .find(|check| check.what.starts_with(&wanted))
        .unwrap()
}

fn replayed_into_the_overlay(kind: &str, make: &str, mebibytes: u64) {
    let Some(laboratory) = Laboratory::open(kind) else {
        return;
    };
    let Some(base) = cut_off(&laboratory, make, mebibytes) else {
        return;
    };
    let before = hash(&base);
    let control = look(&laboratory, &base);
    assert_eq!(control.hostname, "before", "without the journal");
    let unclean = |warning: &String| warning.contains("was not unmounted cleanly");
    assert!(control.warnings.iter().any(unclean), "{control:?}");

    let overlay = laboratory.overlay(&base, "overlay");
    let inject = || {
        let disks = [overlay_disk(&base, &overlay)];
        let folder = laboratory.directory("folder");
        prepare(&laboratory.micro_vm(), &disks, &request(), &folder).unwrap()
    };
    let report = inject();
    assert_eq!(report.guest.hostname, "after", "the journal was replayed");
    let broken: Vec<_> = report.verified.iter().filter(|check| !check.ok).collect();
    assert!(broken.is_empty(), "{broken:?}");
    let sound = of_filesystem(&report, kind);
    assert_eq!(sound.detail, "recovered from its journal");
    assert!(!report.changes.changes.is_empty());
    assert_eq!(hash(&base), before, "the captured volume is as it was");

    let again = inject();
    assert_eq!(again.changes.changes, [], "it was injected whole");
    assert_eq!(of_filesystem(&again, kind).detail, "clean");
    assert_eq!(again.guest.hostname, "after");
    assert_eq!(hash(&base), before);
    laboratory.say(&format!(
        "{kind}: {:.2} s, then {:.2} s",
        report.seconds, again.seconds
    ));
}

#[test]
fn a_dirty_journal_of_ext4_is_replayed_into_the_overlay() {
    replayed_into_the_overlay("ext4", "mkfs.ext4", 96);
}

#[test]
fn a_dirty_log_of_xfs_is_replayed_into_the_overlay() {
    // mkfs.xfs makes none smaller than 300 MiB.
    replayed_into_the_overlay("xfs", "mkfs.xfs", 320);
}
