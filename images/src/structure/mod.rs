//! The checks that decide whether an image may be used: one module a format, all of them inside
//! the confined child. They read headers and tables and never the content.

pub(crate) mod qcow2;
mod vdi;
pub(crate) mod vhdx;
pub(crate) mod vmdk;
pub(crate) mod vmdk_descriptor;
pub(crate) mod vpc;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::confine::Part;
use crate::content::{Content, Ewf, Joined};
use crate::error::{Refusal, RefusalKind};
use crate::format::Container;
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
    /// The extents of a VMDK in several files.
    pub extents: Vec<vmdk_descriptor::Extent>,
    pub serving: Serving,
    pub risks: Vec<String>,
}

/// What QEMU can be given of an image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Serving {
    /// The file as it is.
    #[default]
    AsItIs,
    /// The one extent beside the descriptor, as raw.
    Extent,
    /// What it is converted to.
    Converted,
    /// What it is converted to together with the parents that it needs.
    WithParents,
}

/// Checks the structure of the image that consists of `parts`.
pub(crate) fn check(container: Container, parts: &[Part]) -> Result<Facts, Refusal> {
    let Some(first) = parts.first() else {
        return Err(Refusal::damaged("it consists of no file"));
    };
    let source = first.source();
    let facts = match container {
        Container::Raw => raw(first.length),
        Container::Qcow2 => qcow2::check(&source)?,
        Container::Vmdk if is_descriptor(&source)? => vmdk::check_set(parts)?,
        Container::Vmdk => vmdk::check(&source)?,
        Container::Vpc => vpc::check(&source)?,
        Container::Vhdx => vhdx::check(&source)?,
        Container::Vdi => vdi::check(&source)?,
        Container::SplitRaw => {
            let mut facts = converted(&Joined::of_parts(parts)?, parts);
            facts.risks.extend(maybe_more_parts(parts));
            facts
        }
        Container::Ewf => {
            let image = Ewf::open(parts)?;
            let mut facts = converted(&image, parts);
            facts.cluster_size = Some(image.chunk_bytes());
            facts.risks = image.risks().to_vec();
            facts
        }
        Container::Gzip | Container::Xz | Container::Zstd | Container::Bzip2 => Facts {
            serving: Serving::Converted,
            ..Facts::default()
        },
    };
    if let Some(size) = facts.virtual_size {
        plausible_size(size)?;
    }
    Ok(facts)
}

fn is_descriptor(source: &Source<'_>) -> Result<bool, Refusal> {
    let head = source.read(0, 32.min(source.length), "its header")?;
    Ok(crate::format::is_descriptor(head.all()))
}

fn converted(disk: &dyn Content, parts: &[Part]) -> Facts {
    Facts {
        variant: Some(match parts.len() {
            1 => "one part".to_owned(),
            count => format!("{count} parts"),
        }),
        virtual_size: Some(disk.size()),
        serving: Serving::Converted,
        ..Facts::default()
    }
}

/// Only a shorter part is surely the last one.
fn maybe_more_parts(parts: &[Part]) -> Option<String> {
    match parts {
        [_] => Some("it has one part only; further parts may be missing".to_owned()),
        [first, .., last] if first.length == last.length => Some(format!(
            "the last of its {} parts is as long as the others; further parts may be missing",
            parts.len()
        )),
        _ => None,
    }
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
                "{what} should reach from byte {offset} over {length} bytes but the file has only {} \
                 bytes",
                self.length
            ))),
        }
    }
}

pub(crate) fn unreadable(what: &str, error: &io::Error) -> Refusal {
    Refusal::new(
        RefusalKind::NotReadable,
        format!("reading {what} failed ({error})"),
        "check the disk or share that holds the file",
    )
}

/// A block of bytes with typed access. Out of range reads give 0: every caller has read a block
/// that is long enough.
pub(crate) struct Fields(pub(crate) Vec<u8>);

impl Fields {
    pub(crate) fn bytes(&self, offset: usize, length: usize) -> &[u8] {
        let range = self.0.get(offset..offset.saturating_add(length));
        range.unwrap_or_default()
    }

    pub(crate) fn array<const N: usize>(&self, offset: usize) -> [u8; N] {
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

/// Whether ranges of `length` that begin at `starts` share nothing.
pub(crate) fn are_apart(mut starts: Vec<u32>, length: u64) -> bool {
    starts.sort_unstable();
    starts
        .windows(2)
        .all(|pair| u64::from(pair[1] - pair[0]) >= length)
}

/// A range of bytes in one of the files of an image: file, first byte, first byte after it.
pub(crate) type FileRange = (usize, u64, u64);

/// The first range that lies over one before it in the same file. Ranges that lie over each other
/// would let a small file become a disk of any size.
pub(crate) fn first_overlap(ranges: impl Iterator<Item = FileRange>) -> Option<FileRange> {
    let mut ranges: Vec<_> = ranges.filter(|(_, start, end)| start < end).collect();
    ranges.sort_unstable();
    let over = |pair: &&[FileRange]| pair[0].0 == pair[1].0 && pair[1].1 < pair[0].2;
    ranges.windows(2).find(over).map(|pair| pair[1])
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

/// The refusal of a disk that holds only differences and for which no parent was named.
pub(crate) fn refuse_lonely(parent: Option<&str>) -> Refusal {
    Refusal::new(
        RefusalKind::BackingFile,
        format!(
            "it holds only the differences to the parent `{}`",
            printable_bytes(parent.unwrap_or_default().as_bytes())
        ),
        "name the parent, and its parents, as its chain; or merge them and give the result",
    )
}

/// Whether a checksum is right. A fuzzer cannot guess them, so that for it all are.
pub(crate) fn sums_agree(is: u32, should_be: u32) -> bool {
    is == should_be || cfg!(feature = "fuzzing")
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

    fn any_format() -> impl Strategy<Value = (Container, Vec<u8>)> {
        prop_oneof![
            Just((Container::Qcow2, b"QFI\xfb\0\0\0\x03".to_vec())),
            Just((Container::Vmdk, b"KDMV\x01\0\0\0\x03\0\0\0".to_vec())),
            Just((Container::Vpc, b"conectix\0\0\0\x02\0\x01\0\0".to_vec())),
            Just((Container::Vhdx, b"vhdxfile".to_vec())),
            Just((
                Container::Ewf,
                b"EVF\x09\x0d\x0a\xff\x00\x01\x01\0\0\0".to_vec()
            )),
            Just((
                Container::Vmdk,
                b"# Disk DescriptorFile\nRW 1 FLAT \"".to_vec()
            )),
            Just((
                Container::Vdi,
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
            let length = bytes.len() as u64;
            let _ = check(format, &[Part { file, length, name: "x".to_owned() }]);
        }
    }
}
