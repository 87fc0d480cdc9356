//! A guest that was captured with a damaged filesystem is prepared, and the
//! damage is told: it ran with it before.

use std::path::Path;
use std::process::Command;

use crate::fake_guest::fill;
use crate::laboratory::Laboratory;
use crate::small::{Content, MIB, disk, try_prepare};

const ROOT_MIB: u64 = 128;

/// An ext4 with a guest on it, changed by debugfs.
fn damaged(guest: &Path, file: &Path, command: &str) {
    let made = Command::new("/usr/sbin/mke2fs")
        .args(["-q", "-F", "-t", "ext4", "-d"])
        .args([guest, file])
        .arg(format!("{ROOT_MIB}M"))
        .status();
    assert!(made.unwrap().success());
    let changed = Command::new("/usr/sbin/debugfs")
        .args(["-w", "-R", command])
        .arg(file)
        .output()
        .unwrap();
    assert!(changed.status.success(), "{changed:?}");
}

#[test]
fn damage_that_was_captured_is_a_warning() {
    let Some(laboratory) = Laboratory::open("captured damage") else {
        return;
    };
    let guest = laboratory.directory("guest");
    let root = fill(&guest, "dracut", "gzip");
    root.write("etc/motd", b"hello").unwrap();
    for (command, told) in [
        ("stats", None),
        (
            "set_super_value state 3",
            Some("its superblock notes an error"),
        ),
        // Nothing that the kernel would notice, and nothing in the superblock.
        (
            "set_inode_field /etc/motd links_count 7",
            Some("e2fsck says: Inode "),
        ),
    ] {
        let file = laboratory.bytes("root", MIB, 0, b"");
        damaged(&guest, &file, command);
        let base = laboratory.bytes("disk", MIB, 0, b"");
        disk(&base, &[(ROOT_MIB, Content::Bytes(&file))]);
        let report = try_prepare(&laboratory, &[base]).unwrap();
        let mut checks = report.verified.iter();
        let check = checks.find(|check| check.what.ends_with(" is sound"));
        let check = check.unwrap();
        let warnings = report.guest.warnings.iter();
        let mut told_of = warnings.filter(|one| one.contains("was not sound when it was captured"));
        let expected = told.unwrap_or("clean");
        assert!(check.ok && check.detail.contains(expected), "{check:?}");
        let warning = told_of.next();
        assert_eq!(warning.is_some(), told.is_some(), "{warning:?}");
        assert!(
            warning.is_none_or(|one| one.contains(expected)),
            "{warning:?}"
        );
    }
}
