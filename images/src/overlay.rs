//! Overlays: the files that are written instead of captured volumes.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

use crate::error::ImageError;
use crate::format::Format;
use crate::printable::printable_bytes;

const QEMU_IMG: &str = "qemu-img";

/// Makes the qcow2 file `overlay` over `backing`. Format and size are given, so `qemu-img` does
/// not open the backing file at all. `overlay` appears complete or not at all, and must not exist.
pub fn create_overlay(
    backing: &Path,
    backing_format: Format,
    virtual_size: u64,
    overlay: &Path,
) -> Result<(), ImageError> {
    let backing = std::path::absolute(backing).map_err(ImageError::io("resolve", backing))?;
    let overlay = std::path::absolute(overlay).map_err(ImageError::io("resolve", overlay))?;
    if overlay.symlink_metadata().is_ok() {
        let exists = io::Error::from(io::ErrorKind::AlreadyExists);
        return Err(ImageError::io("create overlay", &overlay)(exists));
    }
    let unfinished = Unfinished(beside(&overlay));
    run_qemu_img(&backing, backing_format, virtual_size, &unfinished.0)?;
    publish(&unfinished.0, &overlay).map_err(ImageError::io("create overlay", &overlay))
}

/// A name in the same directory, so that the rename is atomic.
fn beside(overlay: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(overlay.file_name().unwrap_or_default());
    name.push(format!(".{}.unfinished", std::process::id()));
    overlay.with_file_name(name)
}

/// Removed unless it was renamed.
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        // Gone after the rename, and perhaps never made.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Paths are absolute here, so QEMU takes none of them for an option or a protocol.
fn run_qemu_img(
    backing: &Path,
    backing_format: Format,
    virtual_size: u64,
    target: &Path,
) -> Result<(), ImageError> {
    let output = Command::new(QEMU_IMG)
        .args([
            "create",
            "-q",
            "-u",
            "-f",
            "qcow2",
            "-F",
            backing_format.qemu_driver(),
        ])
        .arg("-b")
        .arg(backing)
        .arg(target)
        .arg(virtual_size.to_string())
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()
        .map_err(ImageError::io(
            "start `qemu-img` (package qemu-utils) for",
            target,
        ))?;
    if output.status.success() {
        return Ok(());
    }
    Err(ImageError::Tool {
        tool: QEMU_IMG.to_owned(),
        path: target.to_owned(),
        message: printable_bytes(output.stderr.trim_ascii()),
    })
}

fn publish(unfinished: &Path, overlay: &Path) -> io::Result<()> {
    File::open(unfinished)?.sync_all()?;
    rename_without_replacing(unfinished, overlay)?;
    if let Some(directory) = overlay.parent() {
        File::open(directory)?.sync_all()?;
    }
    Ok(())
}

/// Renames a file or folder. Keeps what another process put there meanwhile, on filesystems that can
/// promise that.
pub fn rename_without_replacing(from: &Path, to: &Path) -> io::Result<()> {
    match renameat2(AT_FDCWD, from, AT_FDCWD, to, RenameFlags::RENAME_NOREPLACE) {
        Ok(()) => Ok(()),
        Err(Errno::EINVAL | Errno::ENOSYS) => std::fs::rename(from, to),
        Err(error) => Err(error.into()),
    }
}
