//! Driver images made with xorriso, as virtio-win is made: Joliet and Rock Ridge.

use std::fs::File;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::process::Command;

use lifeboat_drivers::windows::catalogue::image::{add, extract, read};

use crate::fixture::{Directory, Layout, PACKAGES, catalogue, say, virtio_win};

fn iso(folder: &Path, name: &str, layout: Layout, version: &str) -> Option<PathBuf> {
    let tree = folder.join(format!("{name}-tree"));
    virtio_win(&tree, layout, version);
    let path = folder.join(format!("{name}.iso"));
    let made = Command::new("xorriso")
        .args([
            "-as",
            "mkisofs",
            "-quiet",
            "-J",
            "-joliet-long",
            "-R",
            "-V",
            "virtio-win",
            "-o",
        ])
        .args([&path, &tree])
        .output();
    let Ok(made) = made else {
        say("SKIPPED driver images: xorriso is not installed");
        return None;
    };
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    Some(path)
}

fn extracted(iso: &Path, only: &[String]) -> Vec<u8> {
    let mut out = Vec::new();
    let name = iso.file_name().unwrap().to_str().unwrap();
    let warnings = extract(File::open(iso).unwrap(), name, only, &mut out).unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
    out
}

#[test]
fn images_of_both_layouts_fill_the_catalogue_and_an_older_one_is_pinned() {
    let folder = tempfile::tempdir().unwrap();
    let Some(new) = iso(folder.path(), "virtio-win-new", Layout::Iso, "1.0.0.0") else {
        return;
    };
    let old = iso(folder.path(), "virtio-win-old", Layout::ByOs, "0.9.0.0").unwrap();
    let store = folder.path().join("state/drivers/catalogue.tar");
    assert!(read(&store).unwrap().packages.is_empty());
    add(&store, &mut Cursor::new(extracted(&new, &[]))).unwrap();
    let once = std::fs::read(&store).unwrap();
    add(&store, &mut Cursor::new(extracted(&new, &[]))).unwrap();
    assert!(
        std::fs::read(&store).unwrap() == once,
        "a second time changes nothing"
    );
    add(
        &store,
        &mut Cursor::new(extracted(&old, &["2K25".to_owned()])),
    )
    .unwrap();
    let all = read(&store).unwrap();
    let found = |os: &str| {
        let fitting = all.fitting(&[os.to_owned()], "amd64");
        let package = fitting["viostor"];
        (package.inf.version_text(), package.source.clone())
    };
    assert_eq!(
        found("2k25"),
        ("0.9.0.0".to_owned(), "virtio-win-old.iso".to_owned())
    );
    assert_eq!(
        found("w10"),
        ("1.0.0.0".to_owned(), "virtio-win-new.iso".to_owned())
    );
    assert_eq!(all.packages.len(), PACKAGES);
}

#[test]
fn what_is_no_driver_image_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("text.iso");
    std::fs::write(&path, vec![b'x'; 100_000]).unwrap();
    let error = extract(File::open(&path).unwrap(), "text.iso", &[], Vec::new()).unwrap_err();
    assert!(error.to_string().contains("ISO 9660"), "{error}");
    let Some(new) = iso(folder.path(), "empty", Layout::Iso, "1.0.0.0") else {
        return;
    };
    let only = ["w99".to_owned()];
    let error = extract(File::open(&new).unwrap(), "empty.iso", &only, Vec::new()).unwrap_err();
    assert!(error.to_string().contains("no driver was found"), "{error}");
}

#[test]
fn both_layouts_give_the_same_drivers() {
    let catalogues = [Layout::Iso, Layout::ByOs].map(|layout| {
        let drivers = tempfile::tempdir().unwrap();
        virtio_win(drivers.path(), layout, "1.2.3.4");
        catalogue(drivers.path()).0
    });
    assert_eq!(catalogues[0], catalogues[1]);
    assert_eq!(catalogues[0].packages.len(), PACKAGES);
    let package = catalogues[0].fitting(&["2k25".to_owned()], "amd64")["netkvm"];
    assert_eq!(package.inf.version_text(), "1.2.3.4");
    assert_eq!(package.files.len(), 3);
}

#[test]
fn a_newer_driver_takes_the_place_of_an_older_one_for_chosen_systems() {
    let drivers = tempfile::tempdir().unwrap();
    virtio_win(drivers.path(), Layout::Iso, "1.0.0.0");
    let (mut all, _) = catalogue(drivers.path());
    let pinned = tempfile::tempdir().unwrap();
    virtio_win(pinned.path(), Layout::Iso, "0.9.0.0");
    let mut files = Directory(pinned.path().to_owned());
    let only = ["2k25".to_owned()];
    let chosen =
        lifeboat_drivers::windows::catalogue::collect::collect(&mut files, "old.iso", &only)
            .unwrap();
    all.take(chosen.catalogue.packages);
    let version = |os: &str| {
        all.fitting(&[os.to_owned()], "amd64")["viostor"]
            .inf
            .version_text()
    };
    assert_eq!(
        (version("2k25"), version("w10")),
        ("0.9.0.0".to_owned(), "1.0.0.0".to_owned())
    );
}
