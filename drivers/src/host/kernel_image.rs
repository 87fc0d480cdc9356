//! The kernel's program out of its boot image. A boot image unpacks itself when
//! it is started, which an emulated processor does many times slower than this
//! one.

use std::io::{self, Read};

use crate::initrd::{lz4_legacy, xz};

/// No kernel unpacks to more than this.
const LARGEST: u64 = 256 << 20;
/// The note by which QEMU finds where to enter an ELF kernel.
const ENTRY_NOTE: [u8; 16] = *b"\x04\0\0\0\x04\0\0\0\x12\0\0\0Xen\0";

/// The ELF program inside a boot image, where it is one that QEMU can start;
/// otherwise the image itself.
pub(super) fn startable(image: Vec<u8>) -> Vec<u8> {
    match program(&image) {
        Some(program) => program,
        None => image,
    }
}

fn program(image: &[u8]) -> Option<Vec<u8>> {
    let program = unpack(payload(image)?).ok()?;
    let is_elf = program.starts_with(b"\x7fELF\x02\x01");
    (is_elf && has_entry_note(&program)).then_some(program)
}

/// The packed part, by the setup header of x86 boot images (from protocol 2.08).
fn payload(image: &[u8]) -> Option<&[u8]> {
    if image.get(0x202..0x206)? != b"HdrS" || number(image, 0x206, 2)? < 0x208 {
        return None;
    }
    let setup = match number(image, 0x1f1, 1)? {
        0 => 4,
        sectors => sectors,
    };
    let start = ((setup + 1) * 512).checked_add(number(image, 0x248, 4)?)?;
    image.get(start..start.checked_add(number(image, 0x24c, 4)?)?)
}

fn unpack(packed: &[u8]) -> io::Result<Vec<u8>> {
    let mut program = Vec::new();
    // Behind all but gzip lie four bytes that give the unpacked size.
    let stream = packed.get(..packed.len().saturating_sub(4)).unwrap_or(&[]);
    match packed {
        [0x1f, 0x8b, ..] => flate2::bufread::GzDecoder::new(packed)
            .take(LARGEST)
            .read_to_end(&mut program),
        [0x02, 0x21, 0x4c, 0x18, ..] => lz4_legacy::Decoder::new(stream)
            .take(LARGEST)
            .read_to_end(&mut program),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => zstd::stream::read::Decoder::with_buffer(stream)?
            .single_frame()
            .take(LARGEST)
            .read_to_end(&mut program),
        [0xfd, b'7', b'z', b'X', b'Z', ..] => {
            let decoder = xz2::stream::Stream::new_stream_decoder(LARGEST, 0)?;
            xz::Decoder::new(stream, decoder)
                .take(LARGEST)
                .read_to_end(&mut program)
        }
        _ => Err(io::ErrorKind::Unsupported.into()),
    }?;
    Ok(program)
}

/// Whether any note segment holds the entry note.
fn has_entry_note(program: &[u8]) -> bool {
    const NOTE: usize = 4;
    let (Some(table), Some(size), Some(count)) = (
        number(program, 0x20, 8),
        number(program, 0x36, 2),
        number(program, 0x38, 2),
    ) else {
        return false;
    };
    (0..count).any(|index| {
        let segment = || {
            let header = table.checked_add(index * size)?;
            if number(program, header, 4)? != NOTE {
                return None;
            }
            let offset = number(program, header.checked_add(8)?, 8)?;
            program.get(offset..offset.checked_add(number(program, header + 32, 8)?)?)
        };
        segment().is_some_and(|notes| notes.windows(16).any(is_entry_note))
    })
}

/// Its value may have four or eight bytes.
fn is_entry_note(note: &[u8]) -> bool {
    note[..4] == ENTRY_NOTE[..4] && note[8..] == ENTRY_NOTE[8..] && matches!(note[4], 4 | 8)
}

/// A little-endian number.
pub(super) fn number(bytes: &[u8], offset: usize, length: usize) -> Option<usize> {
    let field = bytes.get(offset..offset.checked_add(length)?)?;
    let value = field
        .iter()
        .rev()
        .fold(0u64, |value, byte| value << 8 | u64::from(*byte));
    usize::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An ELF file of one note segment, as small as it gets.
    fn elf(note: &[u8]) -> Vec<u8> {
        let mut program = vec![0; 0x40 + 56];
        program[..6].copy_from_slice(b"\x7fELF\x02\x01");
        program[0x20] = 0x40;
        program[0x36] = 56;
        program[0x38] = 1;
        program[0x40] = 4;
        program[0x48] = 0x40 + 56;
        program[0x60] = note.len() as u8;
        program.extend_from_slice(note);
        program
    }

    fn boot_image(packed: &[u8]) -> Vec<u8> {
        let mut image = vec![0; 1024];
        image[0x1f1] = 1;
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x206..0x208].copy_from_slice(&0x20fu16.to_le_bytes());
        image[0x24c..0x250].copy_from_slice(&(packed.len() as u32).to_le_bytes());
        image.extend_from_slice(packed);
        image
    }

    fn with_size(mut packed: Vec<u8>) -> Vec<u8> {
        packed.extend_from_slice(&[0; 4]);
        packed
    }

    #[test]
    fn every_packing_gives_the_same_program() {
        let program = elf(&[&ENTRY_NOTE[..], &[0; 4]].concat());
        let zipped = {
            let mut reader =
                flate2::bufread::GzEncoder::new(&program[..], flate2::Compression::fast());
            let mut packed = Vec::new();
            reader.read_to_end(&mut packed).unwrap();
            packed
        };
        let xz = {
            let mut packed = Vec::new();
            xz2::bufread::XzEncoder::new(&program[..], 0)
                .read_to_end(&mut packed)
                .unwrap();
            packed
        };
        let zstd = zstd::stream::encode_all(&program[..], 1).unwrap();
        for packed in [
            zipped,
            with_size(lz4_legacy::encode(&program)),
            with_size(zstd),
            with_size(xz),
        ] {
            assert_eq!(startable(boot_image(&packed)), program);
        }
    }

    #[test]
    fn what_qemu_could_not_start_stays_packed() {
        let other_note = [&ENTRY_NOTE[..12], b"GNU\0", &[0; 4]].concat();
        for program in [elf(&other_note), b"no program".to_vec()] {
            let image = boot_image(&with_size(lz4_legacy::encode(&program)));
            assert_eq!(startable(image.clone()), image);
        }
        assert_eq!(startable(b"MZ".to_vec()), b"MZ");
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(packed in proptest::collection::vec(any::<u8>(), 0..300), at in 0usize..1100, byte: u8) {
            let mut image = boot_image(&packed);
            let at = at.min(image.len() - 1);
            image[at] = byte;
            startable(image);
            has_entry_note(&packed);
        }
    }
}
