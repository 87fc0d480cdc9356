//! The hash of a whole file, with progress and a way to stop.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};

/// Large enough that all cores get work, small enough that a stop is quick.
const CHUNK: usize = 8 << 20;

/// How hashing ended.
pub(crate) enum Hashed {
    /// BLAKE3 in hexadecimal digits.
    Done(String),
    /// The caller asked to stop.
    Cancelled,
}

/// BLAKE3 over the first `length` bytes of `file`. A file that is shorter is an error.
pub(crate) fn hash(
    file: &File,
    length: u64,
    progress: &dyn Fn(u64, u64),
    cancelled: &AtomicBool,
) -> io::Result<Hashed> {
    // Only a hint.
    let _ = posix_fadvise(file, 0, 0, PosixFadviseAdvice::POSIX_FADV_SEQUENTIAL);
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; CHUNK.min(usize::try_from(length).unwrap_or(CHUNK))];
    let mut done = 0;
    progress(0, length);
    while done < length {
        if cancelled.load(Ordering::Relaxed) {
            return Ok(Hashed::Cancelled);
        }
        let left = usize::try_from(length - done).unwrap_or(usize::MAX);
        let chunk = buffer.len().min(left);
        file.read_exact_at(&mut buffer[..chunk], done)?;
        hasher.update_rayon(&buffer[..chunk]);
        done += chunk as u64;
        progress(done, length);
    }
    Ok(Hashed::Done(hasher.finalize().to_hex().to_string()))
}
