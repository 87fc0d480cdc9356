//! A disk on its way: from a stream to a sparse file.

use std::fs::File;
use std::io::{self, ErrorKind, Read};

use lifeboat_images::SparseFile;

/// Bytes that are read at once.
const CHUNK: usize = 1 << 20;

/// Writes a stream to its end, leaving holes for zeros; gives its length. On
/// return the bytes are on the medium.
pub fn receive(stream: &mut impl Read, file: &File, progress: &dyn Fn(u64)) -> io::Result<u64> {
    receive_into(stream, SparseFile::new(file, 0), progress)
}

/// The same where room has to stay free.
pub fn receive_into(
    stream: &mut impl Read,
    mut file: SparseFile<'_>,
    progress: &dyn Fn(u64),
) -> io::Result<u64> {
    let mut chunk = vec![0; CHUNK];
    let mut length = 0;
    loop {
        let count = fill(stream, &mut chunk)?;
        file.write(&chunk[..count])?;
        length += count as u64;
        progress(length);
        if count < CHUNK {
            return file.finish();
        }
    }
}

/// The first bytes, of which there are fewer only when it ends there.
pub fn beginning(stream: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut beginning = vec![0; CHUNK];
    let count = fill(stream, &mut beginning)?;
    beginning.truncate(count);
    Ok(beginning)
}

/// Reads until the buffer is full or the stream ends, so that blocks are cut at
/// the same places however the stream arrives.
fn fill(stream: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut count = 0;
    while count < buffer.len() {
        match stream.read(&mut buffer[count..]) {
            Ok(0) => break,
            Ok(more) => count += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use proptest::prelude::*;

    use super::*;

    /// Gives the bytes in pieces of changing size.
    struct Pieces<'a>(&'a [u8], usize);

    impl Read for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.1 = self.1 % 70_001 + 1;
            let limit = self.1.min(buffer.len());
            self.0.read(&mut buffer[..limit])
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn the_file_is_what_came(runs in proptest::collection::vec((any::<u8>(), 0usize..200_000), 0..20)) {
            let mut bytes = Vec::new();
            for (byte, length) in runs {
                // Half of all runs are zeros.
                bytes.resize(bytes.len() + length, if byte < 128 { 0 } else { byte });
            }
            let file = tempfile::NamedTempFile::new().unwrap();
            let length = receive(&mut Pieces(&bytes, bytes.len()), file.as_file(), &|_| ()).unwrap();
            prop_assert_eq!(length, bytes.len() as u64);
            prop_assert!(std::fs::read(file.path()).unwrap() == bytes);
        }
    }

    #[test]
    fn zeros_take_no_room() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut bytes = vec![0; 64 << 20];
        bytes[10 << 20] = 1;
        let said = std::cell::Cell::new(0);
        receive(&mut bytes.as_slice(), file.as_file(), &|done| {
            said.set(done)
        })
        .unwrap();
        let metadata = file.as_file().metadata().unwrap();
        assert_eq!((metadata.len(), said.get()), (64 << 20, 64 << 20));
        assert!(metadata.blocks() * 512 <= 1 << 20);
    }
}
