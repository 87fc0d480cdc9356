//! A captured volume for tests.

use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::Command;

use lifeboat_images::CapturedVolume;

/// A raw volume of 5 MiB that was imported, without a tree.
pub fn volume(folder: &Path) -> CapturedVolume {
    let path = folder.join("disk.raw");
    let bytes: Vec<u8> = (0..5_u32 << 20).map(|n| (n % 251) as u8).collect();
    std::fs::write(&path, &bytes).unwrap();
    let file = std::fs::metadata(&path).unwrap();
    let modified_ns = file.mtime() * 1_000_000_000 + file.mtime_nsec();
    imported(&path, &bytes, modified_ns)
}

fn imported(path: &Path, bytes: &[u8], modified_ns: i64) -> CapturedVolume {
    let file = std::fs::metadata(path).unwrap();
    let record = serde_json::json!({
        "path": path.canonicalize().unwrap(),
        "format": "raw",
        "virtual_size": bytes.len(),
        "file_size": bytes.len(),
        "modified_ns": modified_ns,
        "device": file.dev(),
        "inode": file.ino(),
        "blake3": blake3::hash(bytes).to_hex().to_string(),
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

/// A block device over a file that can change behind its page cache.
pub struct Medium {
    /// The captured volume on the device.
    pub volume: CapturedVolume,
    /// Its bytes.
    pub below: CapturedVolume,
    /// The last one to close a device empties its page cache.
    _open: std::fs::File,
}

impl Medium {
    /// `None` where this host has no loop devices for us; says so.
    pub fn new(folder: &Path) -> Option<Self> {
        let below = volume(folder);
        let made = Command::new("losetup")
            .args(["--find", "--show"])
            .arg(&below.path)
            .output();
        let Some(made) = made.ok().filter(|made| made.status.success()) else {
            eprintln!("SKIPPED: no loop device can be had here, so no medium rots");
            return None;
        };
        let device = String::from_utf8(made.stdout).unwrap();
        let device = Path::new(device.trim());
        let open = std::fs::File::open(device).unwrap();
        // The page cache of the device is warm from now on.
        let bytes = std::fs::read(device).unwrap();
        let volume = imported(device, &bytes, 0);
        Some(Self {
            volume,
            below,
            _open: open,
        })
    }
}

impl Drop for Medium {
    fn drop(&mut self) {
        let mut detach = Command::new("losetup");
        drop(detach.arg("--detach").arg(&self.volume.path).status());
    }
}
