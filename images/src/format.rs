//! Which format a file has. Decided here, once, at import.
//!
//! Only fixed-size reads and comparisons of magic numbers happen here; whatever needs parsing
//! goes to the confined child.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::OFlag;
use serde::{Deserialize, Serialize};

use crate::error::{ImageError, Refusal, RefusalKind};

/// The formats in which QEMU is given a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = LayerFormat)]
pub enum Format {
    /// The bytes of the disk, also a block device.
    Raw,
    /// QEMU.
    Qcow2,
    /// VMware, in one file.
    Vmdk,
    /// Virtual PC, Hyper-V, Azure (`.vhd`).
    Vpc,
    /// Hyper-V (`.vhdx`).
    Vhdx,
    /// VirtualBox.
    Vdi,
}

impl Format {
    /// The name of QEMU's driver.
    pub fn qemu_driver(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
            Self::Vmdk => "vmdk",
            Self::Vpc => "vpc",
            Self::Vhdx => "vhdx",
            Self::Vdi => "vdi",
        }
    }
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.qemu_driver())
    }
}

/// The forms in which Lifeboat takes a captured disk. Which of its files QEMU is given, and in
/// which [`Format`], follows from it at import.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = VolumeFormat)]
pub enum Container {
    /// The bytes of the disk, also a block device.
    Raw,
    /// QEMU.
    Qcow2,
    /// VMware, in one file or as a descriptor beside its extents.
    Vmdk,
    /// Virtual PC, Hyper-V, Azure (`.vhd`).
    Vpc,
    /// Hyper-V (`.vhdx`).
    Vhdx,
    /// VirtualBox.
    Vdi,
    /// The bytes of the disk cut into numbered parts.
    SplitRaw,
    /// The bytes of the disk, compressed with gzip.
    Gzip,
    /// The bytes of the disk, compressed with xz.
    Xz,
    /// The bytes of the disk, compressed with zstd.
    Zstd,
    /// The bytes of the disk, compressed with bzip2.
    Bzip2,
    /// EnCase (`.E01`), in one segment or several.
    Ewf,
}

impl Container {
    /// The format of an image that is one file which QEMU can read.
    pub fn format(self) -> Option<Format> {
        Some(match self {
            Self::Raw => Format::Raw,
            Self::Qcow2 => Format::Qcow2,
            Self::Vmdk => Format::Vmdk,
            Self::Vpc => Format::Vpc,
            Self::Vhdx => Format::Vhdx,
            Self::Vdi => Format::Vdi,
            Self::SplitRaw | Self::Gzip | Self::Xz | Self::Zstd | Self::Bzip2 | Self::Ewf => {
                return None;
            }
        })
    }

    /// Whether it can only be read from its beginning to its end.
    pub fn is_packed(self) -> bool {
        matches!(self, Self::Gzip | Self::Xz | Self::Zstd | Self::Bzip2)
    }

    /// What a file name ending promises, if it promises something.
    fn of_extension(extension: &str) -> Option<Self> {
        Some(match extension {
            "qcow2" | "qcow" | "qc2" => Self::Qcow2,
            "vmdk" => Self::Vmdk,
            "vhd" | "vpc" => Self::Vpc,
            "vhdx" | "avhdx" => Self::Vhdx,
            "vdi" => Self::Vdi,
            "raw" | "dd" => Self::Raw,
            "gz" => Self::Gzip,
            "xz" => Self::Xz,
            "zst" | "zstd" => Self::Zstd,
            "bz2" => Self::Bzip2,
            "e01" => Self::Ewf,
            _ => return None,
        })
    }
}

impl std::fmt::Display for Container {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match (self, self.format()) {
            (_, Some(format)) => format.qemu_driver(),
            (Self::SplitRaw, _) => "split raw",
            (Self::Gzip, _) => "raw in gzip",
            (Self::Xz, _) => "raw in xz",
            (Self::Zstd, _) => "raw in zstd",
            (Self::Bzip2, _) => "raw in bzip2",
            (_, None) => "E01",
        })
    }
}

/// A format that is recognised and not taken.
#[derive(Debug, PartialEq, Eq)]
struct Foreign {
    offset: usize,
    magic: &'static [u8],
    name: &'static str,
    remedy: &'static str,
}

const UNPACK: &str = "unpack it first and give the disk image that is inside";
const CONVERT: &str = "convert it with `qemu-img convert -O qcow2`";

/// First match wins, so containers that hide others come first.
static FOREIGN: &[Foreign] = &[
    foreign(
        0,
        b"EVF2\x0d\x0a\x81\x00",
        "an EnCase image (Ex01)",
        "export it as E01 or as a raw image, for example with `ewfexport`",
    ),
    foreign(
        0,
        b"LVF\x09\x0d\x0a\xff\x00",
        "EnCase logical evidence (L01), which holds files and not a disk",
        "capture the disk itself",
    ),
    foreign(0, QCOW_VERSION_1, "a qcow image of version 1", CONVERT),
    foreign(0, b"\x04\x22\x4d\x18", "compressed with lz4", UNPACK),
    foreign(0, b"PK\x03\x04", "a ZIP archive", UNPACK),
    foreign(0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", UNPACK),
    foreign(257, b"ustar", "a tar archive (an OVA is one)", UNPACK),
    foreign(
        0,
        b"COWD",
        "a VMware ESX snapshot (COWD)",
        "consolidate the snapshots and export the disk as one VMDK",
    ),
    foreign(
        0,
        b"SEsparse",
        "a VMware SEsparse snapshot",
        "consolidate the snapshots and export the disk as one VMDK",
    ),
    foreign(0, b"QED\0", "a QED image", CONVERT),
    foreign(0, b"WithoutFreeSpace", "a Parallels image", CONVERT),
    foreign(0, b"WithouFreSpacExt", "a Parallels image", CONVERT),
    foreign(
        0,
        b"MSWIM\0\0\0",
        "a Windows image (WIM), which holds files and not a disk",
        "capture the disk itself",
    ),
    foreign(
        0,
        b"<?xml",
        "an XML document",
        "give the disk image that it describes",
    ),
    foreign(
        0,
        b"VMA\0",
        "a Proxmox backup (VMA)",
        "extract it with `vma extract` and give the disk image",
    ),
    foreign(
        0x8001,
        b"CD001",
        "a CD or DVD image (ISO 9660)",
        "give the captured disk of a machine",
    ),
];

const fn foreign(
    offset: usize,
    magic: &'static [u8],
    name: &'static str,
    remedy: &'static str,
) -> Foreign {
    Foreign {
        offset,
        magic,
        name,
        remedy,
    }
}

const QCOW_VERSION_1: &[u8] = b"QFI\xfb\0\0\0\x01";

const HEAD: usize = 0x8010;
const VHD_COOKIE: &[u8] = b"conectix";
const VDI_SIGNATURE: &[u8] = &[0x7f, 0x10, 0xda, 0xbe];

/// Decides the format of the file at `path`. A block device is raw whatever its bytes say: its
/// bytes are the guest's, and a guest can write any magic number.
pub fn identify(path: &Path) -> Result<Container, ImageError> {
    let (file, length) = open_source(path)?;
    identify_open(path, &file, length)
}

/// What the beginning of a stream says that is to become the file `path`; `None` where only its end
/// could tell.
pub fn identify_beginning(path: &Path, head: &[u8]) -> Result<Option<Container>, ImageError> {
    let promise = promise(path);
    if magic(head, b"").is_none() && Container::of_extension(&promise) == Some(Container::Vpc) {
        return Ok(None);
    }
    let decided = decide(&promise, head, b"");
    let found = decided.map_err(|refusal| ImageError::refused(path, refusal))?;
    // The footer of a VHD is its only mark.
    Ok((found != Container::Raw).then_some(found))
}

/// [`identify`] for a file that is already open.
pub(crate) fn identify_open(
    path: &Path,
    file: &File,
    length: u64,
) -> Result<Container, ImageError> {
    let metadata = file
        .metadata()
        .map_err(ImageError::io("read the attributes of", path))?;
    if metadata.file_type().is_block_device() {
        return Ok(Container::Raw);
    }
    let (head, tail) =
        read_ends(file, length).map_err(ImageError::io("read the header of", path))?;
    decide(&promise(path), &head, &tail).map_err(|refusal| ImageError::refused(path, refusal))
}

/// Opens a source for reading only and gives its length. `O_NONBLOCK` keeps a FIFO from hanging
/// the caller before it is recognised as one.
pub(crate) fn open_source(path: &Path) -> Result<(File, u64), ImageError> {
    let refuse = |kind, found: &str, remedy: &str| {
        ImageError::refused(path, Refusal::new(kind, found, remedy))
    };
    let file = File::options()
        .read(true)
        .custom_flags((OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC).bits())
        .open(path)
        .map_err(|source| open_failure(path, source))?;
    let metadata = file
        .metadata()
        .map_err(ImageError::io("read the attributes of", path))?;
    let kind = metadata.file_type();
    let length = if kind.is_file() {
        metadata.len()
    } else if kind.is_block_device() {
        device_length(&file).map_err(ImageError::io("measure the block device", path))?
    } else {
        let found = if kind.is_dir() {
            "it is a directory"
        } else {
            "it is neither a file nor a block device"
        };
        return Err(refuse(
            RefusalKind::NotAFile,
            found,
            "give the image file itself",
        ));
    };
    if length == 0 {
        return Err(refuse(
            RefusalKind::Empty,
            "it is empty",
            "copy the volume again",
        ));
    }
    Ok((file, length))
}

fn device_length(mut file: &File) -> io::Result<u64> {
    use std::io::{Seek, SeekFrom};
    let length = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(0))?;
    Ok(length)
}

pub(crate) fn open_failure(path: &Path, source: io::Error) -> ImageError {
    let refusal = match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Refusal::new(
            RefusalKind::Missing,
            "there is no such file",
            "check the path",
        ),
        io::ErrorKind::PermissionDenied => Refusal::new(
            RefusalKind::NotReadable,
            "this user may not read it",
            "grant read access, or run as a user that has it",
        ),
        _ if source.raw_os_error() == Some(nix::libc::ENXIO) => Refusal::new(
            RefusalKind::NotAFile,
            "it is neither a file nor a block device",
            "give the image file itself",
        ),
        _ => return ImageError::io("open", path)(source),
    };
    ImageError::refused(path, refusal)
}

fn read_ends(file: &File, length: u64) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let head = read_up_to(file, 0, HEAD)?;
    let tail = read_up_to(file, length.saturating_sub(512), 512)?;
    Ok((head, tail))
}

fn read_up_to(file: &File, offset: u64, wanted: usize) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; wanted];
    let mut filled = 0;
    while filled < wanted {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    buffer.truncate(filled);
    Ok(buffer)
}

/// The ending of the file name. VMware's `NAME-flat.vmdk` is the bare disk and promises nothing.
fn promise(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let name = name.to_ascii_lowercase();
    match name.rsplit_once('.') {
        Some((stem, "vmdk")) if stem.ends_with("-flat") => String::new(),
        Some((_, extension)) => extension.to_owned(),
        None => String::new(),
    }
}

fn decide(extension: &str, head: &[u8], tail: &[u8]) -> Result<Container, Refusal> {
    if matches!(extension, "ovf" | "ova") {
        return Err(Refusal::new(
            RefusalKind::UnsupportedFormat,
            "it is an OVF package of whole machines, not a disk",
            "`lifeboat site draft` takes it apart; give the disks that its draft names",
        ));
    }
    let found = magic(head, tail);
    if found.is_none() {
        refuse_foreign(head)?;
    }
    if is_part_number(extension) {
        return match found {
            None => Ok(Container::SplitRaw),
            Some(found) => Err(not_raw_parts(found)),
        };
    }
    match (found, Container::of_extension(extension)) {
        // Names that a guest can reach must not be followed because of what it wrote.
        (Some(Container::Vmdk), promised)
            if is_descriptor(head) && promised != Some(Container::Vmdk) =>
        {
            Err(mismatch(
                "its bytes are a VMDK descriptor, its name is not".to_owned(),
            ))
        }
        (Some(found), None) => Ok(found),
        (Some(found), Some(promised)) if found == promised => Ok(found),
        (Some(found), Some(promised)) => Err(mismatch(format!(
            "its name promises {promised}, its bytes are {found}"
        ))),
        (None, None | Some(Container::Raw)) => Ok(Container::Raw),
        (None, Some(Container::Vpc)) => Err(Refusal::new(
            RefusalKind::Mismatch,
            "its name promises vpc, but it has not the footer of one: it was cut off, or is \
             something else",
            "copy the volume again; only if you know that it is a raw disk, name it `.raw`",
        )),
        (None, Some(Container::Vmdk)) => Err(Refusal::new(
            RefusalKind::Mismatch,
            "its name promises vmdk, its bytes do not begin like one: it is damaged, or an extent \
             (`-f001.vmdk`) that its descriptor names",
            "give the descriptor, or copy the volume again",
        )),
        (None, Some(promised)) => Err(mismatch(format!(
            "its name promises {promised}, its bytes do not begin like one"
        ))),
    }
}

fn mismatch(found: String) -> Refusal {
    Refusal::new(
        RefusalKind::Mismatch,
        found,
        "rename it if you know what it is, or copy the volume again",
    )
}

/// The ending of one part of a split image.
pub(crate) fn is_part_number(extension: &str) -> bool {
    extension.len() == 3 && extension.bytes().all(|byte| byte.is_ascii_digit())
}

fn not_raw_parts(found: Container) -> Refusal {
    Refusal::new(
        RefusalKind::SplitOverFiles,
        format!("it is one part of a split image of the format {found}"),
        "join the parts in order (`cat NAME.* > NAME`) and give the whole",
    )
}

fn refuse_foreign(head: &[u8]) -> Result<(), Refusal> {
    let matches = |entry: &&Foreign| {
        let rest = head.get(entry.offset..).unwrap_or_default();
        rest.starts_with(entry.magic)
    };
    match FOREIGN.iter().find(matches) {
        None => Ok(()),
        Some(foreign) => Err(Refusal::new(
            RefusalKind::UnsupportedFormat,
            format!("it is {}", foreign.name),
            foreign.remedy,
        )),
    }
}

/// Refuses what a packed file turns out to hold unless it is the bytes of a disk.
#[cfg(feature = "reader")]
pub(crate) fn refuse_packed_image(head: &[u8], tail: &[u8]) -> Result<(), Refusal> {
    match magic(head, tail) {
        Some(found) => Err(Refusal::new(
            RefusalKind::UnsupportedFormat,
            format!("what is packed in it is no raw disk but {found}"),
            UNPACK,
        )),
        None => refuse_foreign(head),
    }
}

const DESCRIPTOR: &[u8] = b"# Disk DescriptorFile";

/// Whether the file is the text that names the extents of a VMDK.
pub(crate) fn is_descriptor(head: &[u8]) -> bool {
    head.starts_with(DESCRIPTOR)
}

/// Magic numbers at the beginning of a file.
static MAGIC: &[(&[u8], Container)] = &[
    (b"KDMV", Container::Vmdk),
    (DESCRIPTOR, Container::Vmdk),
    (b"vhdxfile", Container::Vhdx),
    (b"EVF\x09\x0d\x0a\xff\x00", Container::Ewf),
    (b"\x1f\x8b\x08", Container::Gzip),
    (b"\xfd7zXZ\x00", Container::Xz),
    (b"\x28\xb5\x2f\xfd", Container::Zstd),
    (b"BZh", Container::Bzip2),
];

fn magic(head: &[u8], tail: &[u8]) -> Option<Container> {
    if head.starts_with(b"QFI\xfb") && !head.starts_with(QCOW_VERSION_1) {
        return Some(Container::Qcow2);
    }
    let known = MAGIC.iter().find(|(magic, _)| head.starts_with(magic));
    if let Some((_, container)) = known {
        return Some(*container);
    }
    if head.get(64..68) == Some(VDI_SIGNATURE) {
        return Some(Container::Vdi);
    }
    // A fixed VHD is a raw disk with a footer. Old ones have a footer of 511 bytes.
    let footer = tail.starts_with(VHD_COOKIE) || tail.get(1..9) == Some(VHD_COOKIE);
    (head.starts_with(VHD_COOKIE) || footer).then_some(Container::Vpc)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(extension: &str, head: &[u8], tail: &[u8], expected: Result<Container, RefusalKind>) {
        let found = decide(extension, head, tail).map_err(|refusal| refusal.kind);
        assert_eq!(found, expected);
    }

    #[test]
    fn magic_decides_and_the_name_must_agree() {
        check("img", b"QFI\xfb\0\0\0\x03", b"", Ok(Container::Qcow2));
        check("qcow2", b"QFI\xfb\0\0\0\x03", b"", Ok(Container::Qcow2));
        check("raw", &[0; 512], &[0; 512], Ok(Container::Raw));
        // What a guest can write into its own first sector must not change the format.
        check("raw", b"QFI\xfb\0\0\0\x03", b"", Err(RefusalKind::Mismatch));
        check("img", &[0; 512], b"conectix", Ok(Container::Vpc));
        check("vhd", &[0; 512], b"conectix", Ok(Container::Vpc));
        check(
            "vmdk",
            b"QFI\xfb\0\0\0\x03",
            b"",
            Err(RefusalKind::Mismatch),
        );
        check("qcow2", &[0; 512], &[0; 512], Err(RefusalKind::Mismatch));
    }

    #[test]
    fn what_is_not_taken_is_named() {
        check(
            "E01x",
            b"EVF2\x0d\x0a\x81\x00",
            b"",
            Err(RefusalKind::UnsupportedFormat),
        );
        check(
            "qcow",
            b"QFI\xfb\0\0\0\x01",
            b"",
            Err(RefusalKind::UnsupportedFormat),
        );
        let mut iso = vec![0; HEAD];
        iso[0x8001..0x8006].copy_from_slice(b"CD001");
        check("iso", &iso, b"", Err(RefusalKind::UnsupportedFormat));
    }

    #[test]
    fn images_of_several_files_and_packed_ones_are_recognised() {
        check("e01", b"EVF\x09\x0d\x0a\xff\x00", b"", Ok(Container::Ewf));
        check("gz", b"\x1f\x8b\x08", b"", Ok(Container::Gzip));
        check("zst", b"\x28\xb5\x2f\xfd", b"", Ok(Container::Zstd));
        check("001", &[0; 512], b"", Ok(Container::SplitRaw));
        check("001", b"KDMV", b"", Err(RefusalKind::SplitOverFiles));
        check(
            "001",
            b"7z\xbc\xaf\x27\x1c",
            b"",
            Err(RefusalKind::UnsupportedFormat),
        );
        let descriptor = b"# Disk DescriptorFile\nversion=1\n";
        check("vmdk", descriptor, b"", Ok(Container::Vmdk));
        // A guest can write this into its first sector.
        check("raw", descriptor, b"", Err(RefusalKind::Mismatch));
        check("img", descriptor, b"", Err(RefusalKind::Mismatch));
    }

    proptest! {
        #[test]
        fn any_bytes_give_an_answer(
            head in prop::collection::vec(any::<u8>(), 0..600),
            tail in prop::collection::vec(any::<u8>(), 0..512),
            extension in "[a-z0-9]{0,5}",
        ) {
            let _ = decide(&extension, &head, &tail);
        }
    }
}
