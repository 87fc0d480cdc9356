//! The confined reader of images: a program of its own beside this one.

use std::path::{Path, PathBuf};

/// Starts the reader.
pub fn launcher() -> lifeboat_images::Confined {
    lifeboat_images::Confined::beside_this_program()
}

/// Takes a disk in for one command: checked, but not read to its end, and kept
/// in no catalogue. What has to be converted goes to `conversions`.
pub fn import(
    conversions: &lifeboat_images::Conversions,
    path: &Path,
    chain: &[PathBuf],
) -> anyhow::Result<lifeboat_images::CapturedVolume> {
    let never = std::sync::atomic::AtomicBool::new(false);
    Ok(lifeboat_images::import(
        &launcher(),
        path,
        chain,
        conversions,
        None,
        &lifeboat_images::Reading {
            progress: &|_, _| {},
            cancelled: &never,
            effort: lifeboat_images::Effort::Nothing,
        },
    )?)
}
