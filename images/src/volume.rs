//! Captured volumes: taking them in, and finding out whether they are still the same.

use std::fs::{File, Metadata};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use serde::{Deserialize, Serialize};

use crate::confine::{Answer, ChainLink, Confined, Findings, Question, Task};
use crate::error::{Changed, ImageError, Refusal, RefusalKind};
use crate::format::{Format, identify_open, open_source};
use crate::inspection::{AllocatedMap, Backing, Inspection};
use crate::integrity::{Hashed, hash};

/// A disk image that was taken in: what the catalogue stores.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapturedVolume {
    /// Its absolute path, without symbolic links.
    pub path: PathBuf,
    /// Its format, decided at import.
    pub format: Format,
    /// Bytes of the disk that a guest sees.
    pub virtual_size: u64,
    /// Length of the file.
    pub file_size: u64,
    /// Modification time in nanoseconds since 1970; 0 for a block device.
    pub modified_ns: i64,
    /// Device that holds it, at import.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
    /// BLAKE3 of the file's bytes, in hexadecimal digits.
    pub blake3: String,
    /// The files below it, as the operator named them, nearest first. Who runs QEMU must name each
    /// of them as well (libvirt: `<backingStore>`), or QEMU follows the names inside the image.
    #[serde(default)]
    pub chain: Vec<BackingFile>,
}

/// One file below a captured volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackingFile {
    /// Its absolute path, without symbolic links.
    pub path: PathBuf,
    /// Its format, decided at import.
    pub format: Format,
    /// Length of the file.
    pub file_size: u64,
    /// Modification time in nanoseconds since 1970.
    pub modified_ns: i64,
    /// Device that holds it, at import.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
    /// BLAKE3 of the file's bytes, in hexadecimal digits.
    pub blake3: String,
}

/// Looks into the image at `path` for `lifeboat image inspect`. `named_chain` are the backing
/// files that the operator vouches for, nearest first; without them a backing file is refused.
pub fn inspect(
    confined: &Confined,
    path: &Path,
    named_chain: &[PathBuf],
) -> Result<Inspection, ImageError> {
    let opened = OpenedSource::open(path)?;
    let chain = open_chain(named_chain)?;
    let allocated_size = opened.metadata.blocks().saturating_mul(512);
    let findings = ask(confined, &opened, &chain)?;
    Ok(Inspection {
        path: path.to_owned(),
        format: opened.format,
        variant: findings.variant,
        virtual_size: findings.virtual_size,
        file_size: opened.length,
        allocated_size,
        cluster_size: findings.cluster_size,
        backing: chain.iter().map(OpenedSource::as_backing).collect(),
        partition_table: findings.table,
        partitions: findings.partitions,
        whole_disk: findings.whole_disk,
        firmware_hint: findings.firmware_hint,
        risks: findings.risks,
    })
}

/// Takes in the image at `path`: all checks of [`inspect`], then the hash of every byte. Calls
/// `progress` with bytes done and bytes in all.
pub fn import(
    confined: &Confined,
    path: &Path,
    named_chain: &[PathBuf],
    progress: &dyn Fn(u64, u64),
    cancelled: &AtomicBool,
) -> Result<CapturedVolume, ImageError> {
    let opened = OpenedSource::open(path)?;
    let chain = open_chain(named_chain)?;
    let findings = ask(confined, &opened, &chain)?;
    for risk in &findings.risks {
        tracing::warn!(path = %path.display(), risk, "captured volume has a risk");
    }
    let top = opened.capture(progress, cancelled)?;
    let below = chain
        .into_iter()
        .map(|link| link.capture(progress, cancelled));
    Ok(CapturedVolume {
        path: top.path,
        format: top.format,
        virtual_size: findings.virtual_size,
        file_size: top.file_size,
        modified_ns: top.modified_ns,
        device: top.device,
        inode: top.inode,
        blake3: top.blake3,
        chain: below.collect::<Result<_, _>>()?,
    })
}

/// Reads every byte of the volume and of the chain below it and compares with the import.
pub fn verify(
    volume: &CapturedVolume,
    progress: &dyn Fn(u64, u64),
    cancelled: &AtomicBool,
) -> Result<(), ImageError> {
    for expected in identities(volume) {
        let file = expected.open()?;
        let hashed = hash(&file, expected.file_size, progress, cancelled)
            .map_err(ImageError::io("read", &expected.path))?;
        let is = finished(hashed, &expected.path)?;
        if is != expected.blake3 {
            let was = expected.blake3.clone();
            return Err(expected.changed(Changed::Content { was, is }));
        }
    }
    Ok(())
}

/// Compares what costs nothing: inode, length and modification time.
pub fn quick_verify(volume: &CapturedVolume) -> Result<(), ImageError> {
    for expected in identities(volume) {
        expected.open()?;
    }
    Ok(())
}

/// Opens the volume for reading, if it is still the file that was imported. The descriptor can
/// not be used to write, whatever it is passed to.
pub fn open_read_only(volume: &CapturedVolume) -> Result<OwnedFd, ImageError> {
    Ok(identity(volume).open()?.into())
}

/// How much of the qcow2 file `overlay` is written, not counting what lies below it. The overlay
/// must not be in use.
pub fn allocated_map(confined: &Confined, overlay: &Path) -> Result<AllocatedMap, ImageError> {
    let opened = OpenedSource::open(overlay)?;
    let question = opened.question(Task::Map, &[], confined);
    match confined.ask(overlay, opened.copy()?, &question)? {
        Answer::Mapped(map) => Ok(map),
        _ => Err(other_question(overlay)),
    }
}

fn ask(
    confined: &Confined,
    opened: &OpenedSource,
    chain: &[OpenedSource],
) -> Result<Findings, ImageError> {
    let mut question = opened.question(Task::Inspect, chain, confined);
    // The tighter walls first: only the child knows whether QEMU has to help.
    question.with_qemu = !matches!(opened.format, Format::Raw | Format::Qcow2);
    let mut answer = confined.ask(&opened.path, opened.copy()?, &question)?;
    if matches!(answer, Answer::NeedsQemu) && !question.with_qemu {
        question.with_qemu = true;
        answer = confined.ask(&opened.path, opened.copy()?, &question)?;
    }
    match answer {
        Answer::Inspected(findings) => Ok(findings),
        _ => Err(other_question(&opened.path)),
    }
}

fn other_question(path: &Path) -> ImageError {
    ImageError::ReaderDied {
        path: path.to_owned(),
        how: "gave an answer to another question".to_owned(),
    }
}

fn finished(hashed: Hashed, path: &Path) -> Result<String, ImageError> {
    match hashed {
        Hashed::Done(digits) => Ok(digits),
        Hashed::Cancelled => Err(ImageError::Cancelled {
            path: path.to_owned(),
        }),
    }
}

/// A source whose format is decided.
struct OpenedSource {
    /// As the operator named it.
    path: PathBuf,
    file: File,
    length: u64,
    metadata: Metadata,
    format: Format,
}

impl OpenedSource {
    fn open(path: &Path) -> Result<Self, ImageError> {
        let (file, length) = open_source(path)?;
        let metadata = file
            .metadata()
            .map_err(ImageError::io("read the attributes of", path))?;
        let format = identify_open(path, &file, length)?;
        Ok(Self {
            path: path.to_owned(),
            file,
            length,
            metadata,
            format,
        })
    }

    fn copy(&self) -> Result<File, ImageError> {
        self.file
            .try_clone()
            .map_err(ImageError::io("copy the descriptor of", &self.path))
    }

    fn question(&self, task: Task, chain: &[Self], confined: &Confined) -> Question {
        Question {
            task,
            format: self.format,
            length: self.length,
            with_qemu: false,
            chain: chain.iter().map(Self::as_link).collect(),
            limits: confined.limits().clone(),
        }
    }

    fn as_link(&self) -> ChainLink {
        ChainLink {
            path: self.path.clone(),
            format: self.format,
            length: self.length,
            device: self.metadata.dev(),
            inode: self.metadata.ino(),
        }
    }

    fn as_backing(&self) -> Backing {
        Backing {
            path: self.path.clone(),
            format: self.format,
        }
    }

    /// Hashes the file and makes sure that nobody wrote to it meanwhile.
    fn capture(
        self,
        progress: &dyn Fn(u64, u64),
        cancelled: &AtomicBool,
    ) -> Result<BackingFile, ImageError> {
        let hashed = hash(&self.file, self.length, progress, cancelled)
            .map_err(ImageError::io("read", &self.path))?;
        let captured = BackingFile {
            path: std::fs::canonicalize(&self.path)
                .map_err(ImageError::io("resolve", &self.path))?,
            format: self.format,
            file_size: self.length,
            modified_ns: modified_ns(&self.metadata),
            device: self.metadata.dev(),
            inode: self.metadata.ino(),
            blake3: finished(hashed, &self.path)?,
        };
        captured.open()?;
        Ok(captured)
    }
}

fn open_chain(named: &[PathBuf]) -> Result<Vec<OpenedSource>, ImageError> {
    let opened: Vec<_> = named
        .iter()
        .map(|path| OpenedSource::open(path))
        .collect::<Result<_, _>>()?;
    for (index, link) in opened.iter().enumerate() {
        let inode = (link.metadata.dev(), link.metadata.ino());
        let earlier = &opened[..index];
        if earlier
            .iter()
            .any(|other| (other.metadata.dev(), other.metadata.ino()) == inode)
        {
            let refusal = Refusal::new(
                RefusalKind::BackingFile,
                "it stands twice in the named chain",
                "name every file of the chain once, nearest first",
            );
            return Err(ImageError::refused(&link.path, refusal));
        }
    }
    Ok(opened)
}

/// The time of a device node says nothing about its content.
fn modified_ns(metadata: &Metadata) -> i64 {
    if metadata.file_type().is_block_device() {
        return 0;
    }
    let seconds = metadata.mtime().saturating_mul(1_000_000_000);
    seconds.saturating_add(metadata.mtime_nsec())
}

fn identity(volume: &CapturedVolume) -> BackingFile {
    BackingFile {
        path: volume.path.clone(),
        format: volume.format,
        file_size: volume.file_size,
        modified_ns: volume.modified_ns,
        device: volume.device,
        inode: volume.inode,
        blake3: volume.blake3.clone(),
    }
}

fn identities(volume: &CapturedVolume) -> impl Iterator<Item = BackingFile> {
    std::iter::once(identity(volume)).chain(volume.chain.iter().cloned())
}

impl BackingFile {
    /// Opens it for reading, if it is still the file that was imported.
    pub fn open(&self) -> Result<File, ImageError> {
        let file = self.open_nonblocking()?;
        let metadata = file
            .metadata()
            .map_err(ImageError::io("read the attributes of", &self.path))?;
        let is = if metadata.file_type().is_block_device() {
            open_source(&self.path)?.1
        } else {
            metadata.len()
        };
        // The device number is not compared: it may change with every restart of the host.
        if metadata.ino() != self.inode {
            return Err(self.changed(Changed::Replaced));
        }
        if is != self.file_size {
            let was = self.file_size;
            return Err(self.changed(Changed::Size { was, is }));
        }
        if modified_ns(&metadata) != self.modified_ns {
            return Err(self.changed(Changed::Modified));
        }
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

    fn changed(&self, changed: Changed) -> ImageError {
        ImageError::Changed {
            path: self.path.clone(),
            changed,
        }
    }
}
