//! The checks that decide whether an image may be used: one module a format, all of them inside
//! the confined child. They read headers and tables and never the content.

pub(crate) mod qcow2;
mod vdi;
mod vhdx;
mod vmdk;
mod vpc;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::error::{Refusal, RefusalKind};
use crate::format::Format;
use crate::printable::printable_bytes;

/// No disk of the field is larger; QEMU's own limits are of this order.
const LARGEST_DISK: u64 = 64 << 40;

/// What a structure check found out about an image that passed it.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub variant: Option<String>,
    /// Bytes of the disk as its header says; `None` where only QEMU can say.
    pub virtual_size: Option<u64>,
    pub cluster_size: Option<u64>,
    /// The name of the backing file inside the image, already checked to be a plain path.
    pub backing_name: Option<String>,
    /// Whether `qcow2-rs` can read the content.
    pub plain_qcow2: bool,
    pub risks: Vec<String>,
}

/// Checks the structure of `file`, which has `length` bytes.
pub(crate) fn check(format: Format, file: &File, length: u64) -> Result<Facts, Refusal> {
    let source = Source { file, length };
    let facts = match format {
        Format::Raw => raw(length),
        Format::Qcow2 => qcow2::check(&source)?,
        Format::Vmdk => vmdk::check(&source)?,
        Format::Vpc => vpc::check(&source)?,
        Format::Vhdx => vhdx::check(&source)?,
        Format::Vdi => vdi::check(&source)?,
    };
    if let Some(size) = facts.virtual_size {
        plausible_size(size)?;
    }
    Ok(facts)
}

fn raw(length: u64) -> Facts {
    let mut risks = Vec::new();
    if !length.is_multiple_of(512) {
        risks.push(format!(
            "its length of {length} bytes is no multiple of 512, as if the copy had been cut off"
        ));
    }
    Facts {
        virtual_size: Some(length),
        risks,
        ..Facts::default()
    }
}

/// Refuses sizes that no disk has.
pub(crate) fn plausible_size(size: u64) -> Result<(), Refusal> {
    if size == 0 {
        return Err(Refusal::absurd("it claims to be a disk of 0 bytes"));
    }
    if size > LARGEST_DISK {
        return Err(Refusal::absurd(format!(
            "it claims to be a disk of {size} bytes, more than 64 TiB"
        )));
    }
    Ok(())
}

/// An image file with bounds-checked reading.
pub(crate) struct Source<'a> {
    pub file: &'a File,
    pub length: u64,
}

impl Source<'_> {
    /// Reads `length` bytes of the part called `what`, all of which must be there.
    pub(crate) fn read(&self, offset: u64, length: u64, what: &str) -> Result<Fields, Refusal> {
        self.require(offset, length, what)?;
        let mut bytes = vec![0; length as usize];
        self.file
            .read_exact_at(&mut bytes, offset)
            .map_err(|error| unreadable(what, &error))?;
        Ok(Fields(bytes))
    }

    /// Refuses the image as truncated unless the range lies inside the file.
    pub(crate) fn require(&self, offset: u64, length: u64, what: &str) -> Result<(), Refusal> {
        match offset.checked_add(length) {
            Some(end) if end <= self.length => Ok(()),
            _ => Err(Refusal::truncated(format!(
                "{what} should lie at byte {offset} but the file has only {} bytes",
                self.length
            ))),
        }
    }
}

fn unreadable(what: &str, error: &io::Error) -> Refusal {
    Refusal::new(
        RefusalKind::NotReadable,
        format!("reading {what} failed ({error})"),
        "check the disk or share that holds the file",
    )
}

/// A block of bytes with typed access. Out of range reads give 0: every caller has read a block
/// that is long enough.
pub(crate) struct Fields(Vec<u8>);

impl Fields {
    pub(crate) fn bytes(&self, offset: usize, length: usize) -> &[u8] {
        let range = self.0.get(offset..offset.saturating_add(length));
        range.unwrap_or_default()
    }

    fn array<const N: usize>(&self, offset: usize) -> [u8; N] {
        self.bytes(offset, N).try_into().unwrap_or([0; N])
    }

    pub(crate) fn be32(&self, offset: usize) -> u32 {
        u32::from_be_bytes(self.array(offset))
    }

    pub(crate) fn be64(&self, offset: usize) -> u64 {
        u64::from_be_bytes(self.array(offset))
    }

    pub(crate) fn le16(&self, offset: usize) -> u16 {
        u16::from_le_bytes(self.array(offset))
    }

    pub(crate) fn le32(&self, offset: usize) -> u32 {
        u32::from_le_bytes(self.array(offset))
    }

    pub(crate) fn le64(&self, offset: usize) -> u64 {
        u64::from_le_bytes(self.array(offset))
    }

    pub(crate) fn all(&self) -> &[u8] {
        &self.0
    }
}

/// The refusal of an image that names another file, by what kind of name it is.
pub(crate) fn refuse_reference(name: &[u8], role: &str) -> Refusal {
    let shown = printable_bytes(name);
    if let Some(protocol) = protocol(name) {
        return Refusal::new(
            RefusalKind::Protocol,
            format!(
                "its {role} is `{shown}`, a reference by the protocol `{}`",
                printable_bytes(protocol)
            ),
            "such references are never followed: flatten it where it comes from, \
             with `qemu-img convert -O qcow2`",
        );
    }
    Refusal::new(
        RefusalKind::BackingFile,
        format!("its content continues in the {role} `{shown}`"),
        "give a flattened image, or name the whole chain",
    )
}

/// The protocol of a file name as QEMU would read it: what stands before a colon that comes
/// before any slash.
pub(crate) fn protocol(name: &[u8]) -> Option<&[u8]> {
    let end = name
        .iter()
        .position(|byte| *byte == b':' || *byte == b'/')?;
    (name[end] == b':').then(|| &name[..end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    #[test]
    fn protocols_are_read_as_qemu_reads_them() {
        assert_eq!(protocol(b"nbd://host/x"), Some(&b"nbd"[..]));
        assert_eq!(protocol(b"json:{\"driver\":\"raw\"}"), Some(&b"json"[..]));
        assert_eq!(protocol(b"/srv/a:b"), None);
        assert_eq!(protocol(b"../base.img"), None);
    }

    fn any_format() -> impl Strategy<Value = (Format, Vec<u8>)> {
        prop_oneof![
            Just((Format::Qcow2, b"QFI\xfb\0\0\0\x03".to_vec())),
            Just((Format::Vmdk, b"KDMV\x01\0\0\0\x03\0\0\0".to_vec())),
            Just((Format::Vpc, b"conectix\0\0\0\x02\0\x01\0\0".to_vec())),
            Just((Format::Vhdx, b"vhdxfile".to_vec())),
            Just((
                Format::Vdi,
                b"<<< Oracle VM VirtualBox Disk Image >>>\n".to_vec()
            )),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        #[test]
        fn arbitrary_bytes_behind_a_magic_are_refused_or_taken_but_never_panic(
            (format, magic) in any_format(),
            rest in prop::collection::vec(prop_oneof![3 => Just(0_u8), 1 => any::<u8>()], 0..3000),
        ) {
            let mut bytes = magic;
            bytes.extend(rest);
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&bytes).unwrap();
            let _ = check(format, &file, bytes.len() as u64);
        }
    }
}
