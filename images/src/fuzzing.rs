//! What the fuzz targets call: the readers themselves, on bytes in memory, without the walls.
//!
//! With the feature `fuzzing` checksums always agree, so that inputs come past them.

use std::fs::File;
use std::io::Write;

use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::confine::Part;
use crate::content::{self, Content};
use crate::conversion::MemberStart;
use crate::disk::RawDisk;
use crate::format::Container;
use crate::structure::{self, Serving};
use crate::{package, partitions};

/// Content that is read of one input, in bytes.
const READ: u64 = 8 << 20;

/// The structure of an image and of what lies below it, and then its content.
pub fn image(container: Container, layers: &[&[&[u8]]]) {
    let layers: Vec<Vec<Part>> = layers.iter().map(|files| parts(files)).collect();
    let Some(first) = layers.first() else {
        return;
    };
    let Ok(facts) = structure::check(container, first) else {
        return;
    };
    if matches!(facts.serving, Serving::AsItIs | Serving::Extent) && container != Container::Vpc {
        return;
    }
    let borrowed: Vec<&[Part]> = layers.iter().map(Vec::as_slice).collect();
    if let Ok(disk) = content::open(container, &borrowed, &facts) {
        read(disk.as_ref());
    }
}

/// A packed disk, as far as it goes in a small time.
pub fn packed(container: Container, bytes: &[u8]) {
    let part = part(bytes);
    let start = MemberStart::default();
    let Ok(mut unpacker) = content::packed::Unpacker::open(container, &part, start) else {
        return;
    };
    let mut buffer = vec![0; 1 << 16];
    let mut total = 0;
    while let Ok(count @ 1..) = unpacker.read(&mut buffer) {
        total += count as u64;
        assert!(unpacker.member_start().unpacked <= total);
        assert!(unpacker.taken() <= bytes.len() as u64);
        if total > READ {
            return;
        }
    }
}

/// The partition table of a disk and what lies in the partitions.
pub fn layout(bytes: &[u8]) {
    let part = part(bytes);
    let mut disk = RawDisk::new(part.file, part.length);
    // Whatever it finds or refuses: it ends.
    let _ = partitions::layout(&mut disk);
}

/// An OVA archive, an OVF descriptor and a manifest.
pub fn package(bytes: &[u8]) {
    let part = part(bytes);
    let _ = package::archive::read(&part.file, part.length);
    let _ = package::descriptor::parse(bytes);
    let _ = package::manifest::parse(bytes);
}

/// Everything that a conversion would read.
fn read(disk: &dyn Content) {
    let size = disk.size();
    let mut buffer = vec![0; 1 << 20];
    let mut position = 0;
    let mut total = 0;
    while total < READ {
        let next = disk.next_data(position);
        assert!(next >= position && next <= size, "{position} {next} {size}");
        if next == size {
            return;
        }
        let count = (size - next).min(buffer.len() as u64);
        if disk.read_at(next, &mut buffer[..count as usize]).is_err() {
            return;
        }
        position = next + count;
        total += count;
    }
}

fn parts(files: &[&[u8]]) -> Vec<Part> {
    files.iter().map(|bytes| part(bytes)).collect()
}

#[expect(
    clippy::expect_used,
    reason = "without memory there is nothing to fuzz"
)]
fn part(bytes: &[u8]) -> Part {
    let file = memfd_create("fuzzed", MFdFlags::MFD_CLOEXEC).expect("memory for an input");
    let mut file = File::from(file);
    file.write_all(bytes).expect("memory for an input");
    Part {
        file,
        length: bytes.len() as u64,
        name: "fuzzed".to_owned(),
    }
}
