//! Images that were cut off inside of their last piece of data, and images that end early by right.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixture;

use std::path::{Path, PathBuf};

use fixture::writers::{self, disk};
use fixture::{assert_refused, look, qemu_img, qemu_io, take_in};
use lifeboat_images::RefusalKind as Kind;
use tempfile::TempDir;

fn made(place: &TempDir, name: &str, words: &str) -> PathBuf {
    let raw = place.path().join("made.raw");
    // Its last cluster is full, so that no byte of the image is spare.
    let mut bytes = disk(5);
    bytes.truncate(5 << 20);
    bytes[(5 << 20) - 1] = 0xee;
    std::fs::write(&raw, bytes).unwrap();
    let path = place.path().join(name);
    qemu_img(
        &format!("convert -f raw -O {words} {} @", raw.display()),
        &path,
    );
    path
}

#[track_caller]
fn refused_when_cut(image: &Path, cut: &Path, by: u64, words: &[&str]) {
    look(image).unwrap();
    let length = cut.metadata().unwrap().len();
    fixture::set_length(cut, length - by);
    assert_refused(image, Kind::Truncated, words);
}

#[test]
fn a_cut_grain_is_noticed() {
    let place = fixture::scratch();
    let sparse = made(&place, "a.vmdk", "vmdk");
    refused_when_cut(&sparse, &sparse, 512, &["grain"]);
    let split = made(&place, "b.vmdk", "vmdk -o subformat=twoGbMaxExtentSparse");
    refused_when_cut(&split, &place.path().join("b-s001.vmdk"), 512, &["grain"]);
}

/// The directory of a stream stands at its end; one that was moved to the front leaves the packed
/// grains last.
#[test]
fn a_cut_packed_grain_is_noticed() {
    let place = fixture::scratch();
    let path = made(&place, "a.vmdk", "vmdk -o subformat=streamOptimized");
    let bytes = std::fs::read(&path).unwrap();
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let directory = word(56) as usize * 512;
    let table = word(directory) as usize * 512;
    let last = (0..512).map(|entry| word(table + entry * 4)).max().unwrap();
    let size = word(last as usize * 512 + 8);
    assert!(size > 0);
    // Wherever its directory is, the marker has to be believed: a length past the end is a cut.
    fixture::patch(
        &path,
        u64::from(last) * 512 + 8,
        &0x00ff_ffff_u32.to_le_bytes(),
    );
    assert_refused(&path, Kind::Truncated, &["packed grain"]);
    fixture::patch(&path, u64::from(last) * 512 + 8, &size.to_le_bytes());
    look(&path).unwrap();
}

#[test]
fn a_cut_cluster_is_noticed() {
    let place = fixture::scratch();
    for (name, words) in [
        ("a.qcow2", "qcow2"),
        ("b.qcow2", "qcow2 -o compat=0.10"),
        ("c.qcow2", "qcow2 -c"),
        ("d.qcow2", "qcow2 -c -o compression_type=zstd"),
        ("e.qcow2", "qcow2 -o extended_l2=on"),
        ("f.qcow2", "qcow2 -o cluster_size=512"),
    ] {
        let image = made(&place, name, words);
        refused_when_cut(&image, &image, 512, &["cluster of data"]);
    }
}

#[test]
fn what_qemu_itself_leaves_short_is_taken() {
    let place = fixture::scratch();
    // Only one of the 32 pieces of the last cluster is written.
    let path = place.path().join("a.qcow2");
    qemu_img(
        "create -q -f qcow2 -o extended_l2=on,cluster_size=128k @ 64M",
        &path,
    );
    qemu_io("qcow2", &path, &["write -P 7 1M 4k"]);
    assert_ne!(path.metadata().unwrap().len() % (128 << 10), 0);
    look(&path).unwrap();
    refused_when_cut(&path, &path, 512, &["cluster of data"]);
    // The disk ends in its last cluster, and clusters that read as zeros are nowhere.
    let path = place.path().join("b.qcow2");
    qemu_img("create -q -f qcow2 @ 5000192", &path);
    qemu_io(
        "qcow2",
        &path,
        &["write -P 7 4996096 4096", "write -z 0 64k"],
    );
    look(&path).unwrap();
    let length = path.metadata().unwrap().len();
    fixture::set_length(&path, length - (64 << 10) + 5_000_192 % (64 << 10));
    look(&path).unwrap();
}

#[test]
fn a_missing_last_part_is_a_risk() {
    let place = fixture::scratch();
    let bytes = disk(3);
    let risk = |image: &Path| {
        let risks = look(image).unwrap().risks;
        risks
            .iter()
            .any(|risk| risk.contains("parts may be missing"))
    };
    let whole = writers::split(&place.path().join("a.x"), &bytes, 0, 1_000_448);
    assert!(!risk(&whole));
    std::fs::remove_file(whole.with_extension("003")).unwrap();
    assert!(risk(&whole));
    std::fs::remove_file(whole.with_extension("002")).unwrap();
    std::fs::remove_file(whole.with_extension("001")).unwrap();
    assert!(risk(&whole));
    take_in(&whole);
}
