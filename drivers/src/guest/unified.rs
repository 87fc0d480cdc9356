//! Unified kernel images: a kernel, its initramfs and its arguments in one
//! signed program, which can be looked at but not extended.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Take};

const MOST_SECTIONS: u16 = 96;
/// Version and arguments are short.
const LONGEST_TEXT: u64 = 64 << 10;

/// The parts of a unified kernel image that matter.
#[derive(Debug)]
pub struct UnifiedImage {
    /// The kernel's release, where the image says it.
    pub version: Option<String>,
    /// The kernel's arguments.
    pub arguments: String,
    initramfs: Option<(u64, u64)>,
}

impl UnifiedImage {
    /// Reads the head of a program; nothing where it holds no kernel.
    pub fn read(file: &mut (impl Read + Seek)) -> io::Result<Option<Self>> {
        let sections = sections(file)?;
        let find = |name: &str| {
            let mut all = sections.iter();
            all.find(|section| section.0 == name)
                .map(|section| (section.1, section.2))
        };
        if find(".linux").is_none() {
            return Ok(None);
        }
        let version = find(".uname").map(|place| text(file, place)).transpose()?;
        let arguments = find(".cmdline")
            .map(|place| text(file, place))
            .transpose()?;
        Ok(Some(Self {
            version: version.filter(|version| !version.is_empty()),
            arguments: arguments.unwrap_or_default(),
            initramfs: find(".initrd"),
        }))
    }

    /// The initramfs inside, which may be missing.
    pub fn initramfs(&self, mut file: File) -> io::Result<Take<File>> {
        let (start, length) = self.initramfs.unwrap_or_default();
        file.seek(SeekFrom::Start(start))?;
        Ok(file.take(length))
    }
}

/// Name, place and length of each section; none where this is no program.
fn sections(file: &mut (impl Read + Seek)) -> io::Result<Vec<(String, u64, u64)>> {
    let mut head = [0u8; 64];
    if !filled(file, 0, &mut head)? || !head.starts_with(b"MZ") {
        return Ok(Vec::new());
    }
    let start = u64::from(word(&head, 0x3c));
    let mut header = [0u8; 24];
    if !filled(file, start, &mut header)? || !header.starts_with(b"PE\0\0") {
        return Ok(Vec::new());
    }
    let half = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
    let table = start + 24 + u64::from(half(20));
    let mut entries = vec![0u8; usize::from(half(6).min(MOST_SECTIONS)) * 40];
    if !filled(file, table, &mut entries)? {
        return Ok(Vec::new());
    }
    let section = |entry: &[u8]| {
        let name = entry[..8]
            .split(|byte| *byte == 0)
            .next()
            .unwrap_or_default();
        let length = word(entry, 8).min(word(entry, 16));
        let name = String::from_utf8_lossy(name).into_owned();
        (name, u64::from(word(entry, 20)), u64::from(length))
    };
    Ok(entries.chunks_exact(40).map(section).collect())
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let word = bytes.get(at..at + 4).and_then(|word| word.try_into().ok());
    word.map_or(0, u32::from_le_bytes)
}

/// Fills the buffer from a place; false where the file ends before.
fn filled(file: &mut (impl Read + Seek), place: u64, buffer: &mut [u8]) -> io::Result<bool> {
    file.seek(SeekFrom::Start(place))?;
    match file.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

fn text(file: &mut (impl Read + Seek), (place, length): (u64, u64)) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(place))?;
    file.take(length.min(LONGEST_TEXT))
        .read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(text.trim_matches(['\0', '\n', ' ']).to_owned())
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn arbitrary_programs_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 64..600), place in 64u8..255) {
            bytes[..2].copy_from_slice(b"MZ");
            bytes[0x3c..0x40].copy_from_slice(&[place, 0, 0, 0]);
            let _ = UnifiedImage::read(&mut Cursor::new(&bytes));
            let place = usize::from(place);
            if bytes.len() > place + 48 {
                bytes[place..place + 4].copy_from_slice(b"PE\0\0");
                bytes[place + 24..place + 31].copy_from_slice(b".linux\0");
                bytes[place + 20..place + 22].copy_from_slice(&[0, 0]);
            }
            let _ = UnifiedImage::read(&mut Cursor::new(&bytes));
        }
    }
}
