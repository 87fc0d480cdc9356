//! A captured volume for tests.

use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use lifeboat_images::CapturedVolume;

/// A raw volume of 5 MiB that was imported, without a tree.
pub fn volume(folder: &Path) -> CapturedVolume {
    let path = folder.join("disk.raw");
    let bytes: Vec<u8> = (0..5_u32 << 20).map(|n| (n % 251) as u8).collect();
    std::fs::write(&path, &bytes).unwrap();
    let file = std::fs::metadata(&path).unwrap();
    let record = serde_json::json!({
        "path": path.canonicalize().unwrap(),
        "format": "raw",
        "virtual_size": bytes.len(),
        "file_size": bytes.len(),
        "modified_ns": file.mtime() * 1_000_000_000 + file.mtime_nsec(),
        "device": file.dev(),
        "inode": file.ino(),
        "blake3": blake3::hash(&bytes).to_hex().to_string(),
    });
    serde_json::from_value(record).unwrap()
}

/// Another byte at `at`, under the old time of change.
pub fn rot(volume: &CapturedVolume, at: u64) {
    let file = std::fs::File::options()
        .write(true)
        .open(&volume.path)
        .unwrap();
    let modified = file.metadata().unwrap().modified().unwrap();
    file.write_all_at(&[252], at).unwrap();
    file.set_modified(modified).unwrap();
}
