//! What does not go as usual: a write that fails, an empty EFI system partition, addresses that are
//! not set.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use lifeboat_drivers::guest::root::Root;
use lifeboat_drivers::windows::apply::{Volumes, apply};
use lifeboat_drivers::windows::plan::{Edit, Volume};
use lifeboat_hive::{Editor, kind};

use crate::directory::{Bench, snapshot, virtio};
use crate::fixture::{WINDOWS_10, dirty_with_log};

#[test]
fn what_was_done_before_a_failure_is_taken_back() {
    let Some(bench) = Bench::new(WINDOWS_10) else {
        return;
    };
    let (hive, log) = dirty_with_log(&bench.hive("SYSTEM"));
    let config = bench.path("Windows/System32/config");
    std::fs::write(config.join("SYSTEM"), &hive).unwrap();
    std::fs::write(config.join("SYSTEM.LOG1"), &log).unwrap();
    std::fs::write(config.join("SOFTWARE.LOG1"), b"old").unwrap();
    // Left by an injection that was killed.
    std::fs::write(config.join("SOFTWARE.lifeboat-old"), b"older").unwrap();
    let (_, mut plan) = bench.plan(&virtio()).unwrap();
    let before = directories(bench.guest.path());
    std::fs::remove_file(config.join("SOFTWARE.lifeboat-old")).unwrap();
    let files = snapshot(bench.guest.path());
    std::fs::write(config.join("SOFTWARE.lifeboat-old"), b"older").unwrap();
    // A file is no directory.
    plan.edits.push(Edit::Write {
        volume: Volume::System,
        path: "Windows/System32/cmd.exe/impossible".to_owned(),
        content: b"x".to_vec(),
    });
    let root = Root::open(bench.guest.path()).unwrap();
    let volumes = Volumes {
        system: &root,
        esp: None,
    };
    apply(volumes, &plan).unwrap_err();
    assert!(snapshot(bench.guest.path()) == files);
    assert_eq!(directories(bench.guest.path()), before);
    plan.edits.pop();
    apply(volumes, &plan).unwrap();
    let after = snapshot(bench.guest.path());
    assert!(after.iter().all(|(name, _)| !name.contains("lifeboat-")));
    assert!(
        after != files
            && std::fs::read(config.join("SYSTEM.LOG1"))
                .unwrap()
                .is_empty()
    );
}

fn directories(root: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in std::fs::read_dir(&directory).unwrap().flatten() {
            if entry.file_type().unwrap().is_dir() {
                waiting.push(entry.path());
            }
        }
        found.insert(directory);
    }
    found
}

#[test]
fn a_static_address_of_version_6_is_told() {
    let Some(bench) = Bench::new(WINDOWS_10) else {
        return;
    };
    let key = "ControlSet001\\Control\\Nsi\\{eb004a01-9b1a-11d4-9123-0050047759bc}\\10";
    let told = |bench: &Bench| -> Vec<String> {
        let warnings = bench.plan(&virtio()).unwrap().1.warnings;
        let told = |warning: &String| warning.contains("by hand");
        warnings.into_iter().filter(told).collect()
    };
    assert_eq!(told(&bench), [""; 0]);
    let mut editor = Editor::open(bench.hive("SYSTEM"), &[]).unwrap();
    let card = "0000000180000600";
    for address in [
        "fe800000000000000000000000000001",
        "20010db8000000000000000000000005",
    ] {
        let name = format!("{card}{address}");
        editor.set(key, &name, kind::BINARY, &[0xff; 48]).unwrap();
    }
    std::fs::write(
        bench.path("Windows/System32/config/SYSTEM"),
        editor.finish(),
    )
    .unwrap();
    let told = told(&bench);
    assert!(
        told.len() == 1 && told[0].contains("2001:db8::5"),
        "{told:?}"
    );
}

#[test]
fn an_empty_efi_partition_beside_a_bios_loader_fails_no_injection() {
    let Some(bench) = Bench::new(WINDOWS_10) else {
        return;
    };
    std::fs::create_dir(bench.path("esp")).unwrap();
    let (_, plan, _) = bench.inject(&virtio());
    let told = |warning: &String| warning.contains("no loader of Windows");
    assert!(plan.warnings.iter().any(told), "{:?}", plan.warnings);
}
