//! A captured volume: what the catalogue stores about it.
//!
//! ```text
//! sources   the files that the operator captured: an image alone, or its extents, segments,
//!           parts, and the files below it. Never written; each with its identity.
//! served    what QEMU is given, nearest first: one file a layer with an explicit format. Either
//!           one of the sources, or a file that was converted from them once, at import.
//! ```

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::PathBuf;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use serde::{Deserialize, Serialize};

use crate::error::{Changed, ImageError};
use crate::format::{Container, Format, open_source};

/// A disk that was taken in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(from = "Record")]
pub struct CapturedVolume {
    /// The file that stands for it: absolute, without symbolic links.
    #[schema(value_type = String)]
    pub path: PathBuf,
    /// Its form, decided at import.
    pub format: Container,
    /// Bytes of the disk that a guest sees.
    pub virtual_size: u64,
    /// BLAKE3 over all sources, in hexadecimal digits: of the file itself where there is one only.
    pub blake3: String,
    /// Every file that it consists of; the first is `path`.
    pub sources: Vec<SourceFile>,
    /// What QEMU is given, nearest first; never empty. Who runs QEMU must name every layer with its
    /// format (libvirt: `<backingStore>`), or QEMU follows the names inside the image.
    pub served: Vec<ServedLayer>,
}

/// A file and its identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SourceFile {
    /// Its absolute path, without symbolic links.
    #[schema(value_type = String)]
    pub path: PathBuf,
    /// Length in bytes.
    pub file_size: u64,
    /// Modification time in nanoseconds since 1970; 0 for a block device.
    pub modified_ns: i64,
    /// Device that holds it, at import.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
    /// Time of the last change of the inode in nanoseconds since 1970, where it says something.
    #[serde(default)]
    pub changed_ns: Option<i64>,
    /// BLAKE3 of the file's bytes, in hexadecimal digits.
    pub blake3: String,
}

/// One layer as QEMU gets it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ServedLayer {
    /// The file.
    pub file: SourceFile,
    /// How QEMU has to read it.
    pub format: Format,
}

impl CapturedVolume {
    /// Every file that must stay as it is: the sources, then what was converted from them.
    pub fn files(&self) -> impl Iterator<Item = &SourceFile> {
        let converted = self.converted().map(|layer| &layer.file);
        self.sources.iter().chain(converted)
    }

    /// The layers that were made at import, as opposed to captured.
    pub fn converted(&self) -> impl Iterator<Item = &ServedLayer> {
        let is_source = |layer: &&ServedLayer| {
            let mut sources = self.sources.iter();
            sources.any(|source| source.path == layer.file.path)
        };
        self.served.iter().filter(move |layer| !is_source(layer))
    }
}

/// One hash for several files: the order counts.
pub(crate) fn content_hash(sources: &[SourceFile]) -> String {
    match sources {
        [only] => only.blake3.clone(),
        several => {
            let hashes: Vec<_> = several.iter().map(|file| file.blake3.as_str()).collect();
            let joined = blake3::hash(hashes.join("\n").as_bytes());
            joined.to_hex().to_string()
        }
    }
}

/// What stands in a catalogue. Volumes used to be one file and a chain below it.
#[derive(Deserialize)]
struct Record {
    path: PathBuf,
    format: Container,
    virtual_size: u64,
    blake3: String,
    #[serde(default)]
    sources: Vec<SourceFile>,
    #[serde(default)]
    served: Vec<ServedLayer>,
    #[serde(default)]
    file_size: u64,
    #[serde(default)]
    modified_ns: i64,
    #[serde(default)]
    device: u64,
    #[serde(default)]
    inode: u64,
    #[serde(default)]
    chain: Vec<OldLink>,
}

/// A file of an old chain.
#[derive(Deserialize)]
struct OldLink {
    path: PathBuf,
    format: Format,
    file_size: u64,
    modified_ns: i64,
    device: u64,
    inode: u64,
    blake3: String,
}

impl From<Record> for CapturedVolume {
    fn from(mut record: Record) -> Self {
        if record.served.is_empty() {
            let top = ServedLayer {
                file: record.only_file(),
                // Only what QEMU reads was taken in then.
                format: record.format.format().unwrap_or(Format::Raw),
            };
            let chain = std::mem::take(&mut record.chain);
            record.served = std::iter::once(top)
                .chain(chain.into_iter().map(ServedLayer::from))
                .collect();
            record.sources = record
                .served
                .iter()
                .map(|layer| layer.file.clone())
                .collect();
            record.blake3 = content_hash(&record.sources);
        }
        Self {
            path: record.path,
            format: record.format,
            virtual_size: record.virtual_size,
            blake3: record.blake3,
            sources: record.sources,
            served: record.served,
        }
    }
}

impl Record {
    fn only_file(&self) -> SourceFile {
        SourceFile {
            path: self.path.clone(),
            file_size: self.file_size,
            modified_ns: self.modified_ns,
            device: self.device,
            inode: self.inode,
            changed_ns: None,
            blake3: self.blake3.clone(),
        }
    }
}

impl From<OldLink> for ServedLayer {
    fn from(link: OldLink) -> Self {
        Self {
            format: link.format,
            file: SourceFile {
                path: link.path,
                file_size: link.file_size,
                modified_ns: link.modified_ns,
                device: link.device,
                inode: link.inode,
                changed_ns: None,
                blake3: link.blake3,
            },
        }
    }
}

/// The time of a device node says nothing about its content.
pub(crate) fn modified_ns(metadata: &Metadata) -> i64 {
    if metadata.file_type().is_block_device() {
        return 0;
    }
    let seconds = metadata.mtime().saturating_mul(1_000_000_000);
    seconds.saturating_add(metadata.mtime_nsec())
}

/// Set by the kernel alone, at every write and at every change of owner, mode or links.
pub(crate) fn changed_ns(metadata: &Metadata) -> Option<i64> {
    let seconds = metadata.ctime().saturating_mul(1_000_000_000);
    let is_file = metadata.file_type().is_file();
    is_file.then(|| seconds.saturating_add(metadata.ctime_nsec()))
}

impl SourceFile {
    /// Opens it for reading, if it is still the file that was imported.
    pub fn open(&self) -> Result<File, ImageError> {
        let file = self.open_nonblocking()?;
        let metadata = self.attributes(&file)?;
        // The device number is not compared: it may change with every restart of the host.
        if metadata.ino() != self.inode {
            return Err(self.changed(Changed::Replaced));
        }
        self.require_length(&metadata)?;
        if modified_ns(&metadata) != self.modified_ns {
            return Err(self.changed(Changed::Modified));
        }
        self.blocking(file)
    }

    /// Opens it to read every byte: whether it was replaced or written to is for the bytes to
    /// tell. Another length is an error.
    pub(crate) fn open_to_compare(&self) -> Result<File, ImageError> {
        let file = self.open_nonblocking()?;
        self.require_length(&self.attributes(&file)?)?;
        self.blocking(file)
    }

    /// The same file with the inode and times that it has now.
    pub(crate) fn as_it_is(&self) -> Result<Self, ImageError> {
        let attributes = self.attributes(&self.open_to_compare()?)?;
        Ok(Self {
            modified_ns: modified_ns(&attributes),
            device: attributes.dev(),
            inode: attributes.ino(),
            changed_ns: changed_ns(&attributes),
            ..self.clone()
        })
    }

    /// Whether nothing differs that the filesystem notes about it.
    pub(crate) fn is_untouched(&self) -> bool {
        let attributes = self.open().and_then(|file| self.attributes(&file));
        let same = |at| self.changed_ns.is_none() || self.changed_ns == at;
        attributes.is_ok_and(|attributes| same(changed_ns(&attributes)))
    }

    fn attributes(&self, file: &File) -> Result<Metadata, ImageError> {
        file.metadata()
            .map_err(ImageError::io("read the attributes of", &self.path))
    }

    fn require_length(&self, metadata: &Metadata) -> Result<(), ImageError> {
        let is = if metadata.file_type().is_block_device() {
            open_source(&self.path)?.1
        } else {
            metadata.len()
        };
        let was = self.file_size;
        if is == was {
            return Ok(());
        }
        Err(self.changed(Changed::Size { was, is }))
    }

    fn blocking(&self, file: File) -> Result<File, ImageError> {
        fcntl(&file, FcntlArg::F_SETFL(OFlag::empty()))
            .map_err(io::Error::from)
            .map_err(ImageError::io("open", &self.path))?;
        Ok(file)
    }

    /// Neither follows a symbolic link that took its place nor waits on a FIFO.
    fn open_nonblocking(&self) -> Result<File, ImageError> {
        let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let opened = File::options()
            .read(true)
            .custom_flags(flags.bits())
            .open(&self.path);
        opened.map_err(|source| match source.raw_os_error() {
            Some(nix::libc::ELOOP) => self.changed(Changed::Replaced),
            _ => crate::format::open_failure(&self.path, source),
        })
    }

    pub(crate) fn changed(&self, changed: Changed) -> ImageError {
        ImageError::Changed {
            path: self.path.clone(),
            changed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_earlier_versions_are_read() {
        let link = r#"{"path":"/b.raw","format":"raw","file_size":9,"modified_ns":3,"device":1,
            "inode":8,"blake3":"bb"}"#;
        let old = format!(
            r#"{{"path":"/a.qcow2","format":"qcow2","virtual_size":10,"file_size":5,
            "modified_ns":2,"device":1,"inode":7,"blake3":"aa","chain":[{link}]}}"#
        );
        let volume: CapturedVolume = serde_json::from_str(&old).unwrap();
        let served: Vec<_> = volume
            .served
            .iter()
            .map(|layer| (layer.format, layer.file.inode, layer.file.blake3.as_str()))
            .collect();
        assert_eq!(served, [(Format::Qcow2, 7, "aa"), (Format::Raw, 8, "bb")]);
        assert_eq!(volume.sources.len(), 2);
        assert_eq!(volume.converted().count(), 0);
        let alone = old.replace(&format!(r#","chain":[{link}]"#), "");
        let alone: CapturedVolume = serde_json::from_str(&alone).unwrap();
        assert_eq!((alone.blake3.as_str(), alone.sources.len()), ("aa", 1));
        let text = serde_json::to_string(&volume).unwrap();
        assert_eq!(
            serde_json::from_str::<CapturedVolume>(&text).unwrap(),
            volume
        );
    }
}
