//! Text files that an operator names.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// No description is that long.
const LONGEST: u64 = 16 << 20;

/// Reads a text file, and nothing else that has a path: a device has no end, and a pipe waits for
/// ever.
///
/// # Errors
///
/// When it cannot be opened, is no regular file, is longer than 16 MiB or is not UTF-8.
pub fn read_text(path: &Path) -> io::Result<String> {
    let not_blocking = nix::fcntl::OFlag::O_NONBLOCK.bits();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(not_blocking)
        .open(path)?;
    let refused = |why: &str| Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    if !file.metadata()?.is_file() {
        return refused("not a regular file");
    }
    let mut text = String::new();
    if file.take(LONGEST + 1).read_to_string(&mut text)? as u64 > LONGEST {
        return refused("longer than 16 MiB");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use nix::sys::stat::Mode;

    use super::*;

    #[test]
    fn only_files_that_end_are_read() {
        let place = tempfile::tempdir().unwrap();
        let pipe = place.path().join("pipe");
        nix::unistd::mkfifo(&pipe, Mode::S_IRUSR).unwrap();
        let long = place.path().join("long");
        std::fs::File::create(&long)
            .unwrap()
            .set_len(LONGEST + 1)
            .unwrap();
        for refused in [Path::new("/dev/zero"), &pipe, &long, place.path()] {
            assert!(read_text(refused).is_err(), "{}", refused.display());
        }
        std::fs::File::options()
            .write(true)
            .open(&long)
            .unwrap()
            .set_len(LONGEST)
            .unwrap();
        assert_eq!(read_text(&long).unwrap().len() as u64, LONGEST);
    }
}
