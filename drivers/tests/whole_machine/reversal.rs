//! The way back: what an injection appended can be cut off again, and one that
//! was killed leaves nothing that a new overlay would see.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use lifeboat_drivers::{Action, Manifest, MicroVmError, prepare};

use crate::fake_guest::fill;
use crate::laboratory::Laboratory;
use crate::small::{Content, MIB, disk};
use crate::{hash, overlay_disk, request};

/// Cutting each image at its old size gives the captured one.
pub fn check_reversible(laboratory: &Laboratory, base: &Path, overlay: &Path, changes: &Manifest) {
    let prepared = laboratory.directory("flat").join("prepared.raw");
    let converted = Command::new("qemu-img")
        .args(["convert", "-f", "qcow2", "-O", "raw"])
        .args([overlay, &prepared])
        .status();
    assert!(converted.unwrap().success());
    let appended = changes
        .changes
        .iter()
        .filter(|change| change.action == Action::Appended);
    let mut count = 0;
    for change in appended {
        let (before, after) = (
            file_on(base, &change.path),
            file_on(&prepared, &change.path),
        );
        let size = change.old_size.unwrap() as usize;
        assert_eq!(before.len(), size);
        assert!(after.len() > size && after.starts_with(&before));
        let hash = |bytes: &[u8]| Some(blake3::hash(bytes).to_hex().to_string());
        assert_eq!(hash(&after[..size]), change.old_hash);
        assert_eq!(hash(&after), change.new_hash);
        count += 1;
    }
    assert!(count > 0, "nothing was appended");
    std::fs::remove_file(prepared).unwrap();
}

/// A file of the one filesystem, which begins at 1 MiB; nothing is mounted.
fn file_on(disk: &Path, path: &str) -> Vec<u8> {
    let output = Command::new("/usr/sbin/debugfs")
        .args(["-R", &format!("cat /{path}")])
        .arg(format!("{}?offset={MIB}", disk.display()))
        .output()
        .unwrap();
    assert!(
        !output.stdout.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

#[test]
fn an_injection_that_was_killed_leaves_the_original() {
    let Some(laboratory) = Laboratory::open("killed") else {
        return;
    };
    let directory = laboratory.directory("root");
    fill(&directory, "dracut", "gzip");
    let base = laboratory.bytes("disk", MIB, 0, b"");
    disk(&base, &[(64, Content::Ext4(&directory))]);
    let before = hash(&base);
    let mut vm = laboratory.micro_vm();
    let folder = laboratory.directory("folder");
    let mut attempt = |timeout: Duration| {
        vm.timeout = timeout;
        let overlay = laboratory.overlay(&base, "overlay");
        let begin = Instant::now();
        let result = prepare(&vm, &[overlay_disk(&base, &overlay)], &request(), &folder);
        assert_eq!(hash(&base), before, "the captured volume is as it was");
        (result, begin.elapsed())
    };
    let (whole, took) = attempt(Duration::from_secs(300));
    let whole = whole.unwrap().changes;
    let mut killed = 0;
    for percent in [30, 60, 75, 85, 95] {
        match attempt(took * percent / 100).0 {
            Err(MicroVmError::Timeout { .. }) => killed += 1,
            other => assert_eq!(other.unwrap().changes, whole),
        }
    }
    assert!(killed > 0, "none was killed");
    let (again, _) = attempt(Duration::from_secs(300));
    assert_eq!(
        again.unwrap().changes,
        whole,
        "a new overlay is like the first"
    );
}
