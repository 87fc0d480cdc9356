//! Captured volumes: taking them in, and finding out whether they are still the same.

use std::fs::{File, Metadata};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::captured::{
    CapturedVolume, ServedLayer, SourceFile, changed_ns, content_hash, modified_ns,
};
use crate::confine::{Answer, ChainLink, Confined, Findings, Question, Task};
use crate::error::{ImageError, Refusal, RefusalKind};
use crate::format::{Format, identify_open, open_source};
use crate::inspection::{AllocatedMap, Backing, Inspection};
use crate::integrity::{Hashed, Reading, hash};
use crate::verification::{self, quick_verify};

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

/// Takes in the image at `path`: all checks of [`inspect`], then the hash of every byte. The hash
/// trees go to the folder `trees`, where [`crate::verify`] finds them.
pub fn import(
    confined: &Confined,
    path: &Path,
    named_chain: &[PathBuf],
    trees: Option<&Path>,
    reading: &Reading<'_>,
) -> Result<CapturedVolume, ImageError> {
    let opened = OpenedSource::open(path)?;
    let chain = open_chain(named_chain)?;
    let findings = ask(confined, &opened, &chain)?;
    for risk in &findings.risks {
        tracing::warn!(path = %path.display(), risk, "captured volume has a risk");
    }
    let mut sources = Vec::new();
    let mut served = Vec::new();
    for layer in std::iter::once(opened).chain(chain) {
        let format = layer.format;
        let file = layer.capture(trees, reading)?;
        sources.push(file.clone());
        served.push(ServedLayer { file, format });
    }
    Ok(CapturedVolume {
        path: served[0].file.path.clone(),
        format: served[0].format,
        virtual_size: findings.virtual_size,
        blake3: content_hash(&sources),
        sources,
        served,
    })
}

/// One layer of a captured volume, open for QEMU.
#[derive(Debug)]
pub struct OpenLayer {
    /// Cannot be used to write, whatever it is passed to.
    pub file: OwnedFd,
    /// Where it lies, for logs.
    pub path: PathBuf,
    /// Format, explicit.
    pub format: Format,
}

/// Opens for reading what QEMU is given of the volume, nearest first, if all of its files are
/// still those that were imported.
pub fn open_read_only(volume: &CapturedVolume) -> Result<Vec<OpenLayer>, ImageError> {
    quick_verify(volume)?;
    let open = |layer: &ServedLayer| {
        Ok(OpenLayer {
            file: layer.file.open()?.into(),
            path: layer.file.path.clone(),
            format: layer.format,
        })
    };
    volume.served.iter().map(open).collect()
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
        trees: Option<&Path>,
        reading: &Reading<'_>,
    ) -> Result<SourceFile, ImageError> {
        let hashed =
            hash(&self.file, self.length, reading).map_err(ImageError::io("read", &self.path))?;
        let Hashed::Done(tree) = hashed else {
            return Err(ImageError::Stopped);
        };
        if let Some(trees) = trees {
            verification::keep(&tree, trees);
        }
        let captured = SourceFile {
            path: std::fs::canonicalize(&self.path)
                .map_err(ImageError::io("resolve", &self.path))?,
            file_size: self.length,
            modified_ns: modified_ns(&self.metadata),
            device: self.metadata.dev(),
            inode: self.metadata.ino(),
            changed_ns: changed_ns(&self.metadata),
            blake3: tree.root(),
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
