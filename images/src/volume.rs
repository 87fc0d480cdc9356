//! Captured volumes: taking them in, and finding out whether they are still the same.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use crate::captured::{CapturedVolume, ServedLayer, SourceFile, content_hash};
use crate::confine::{Answer, Confined, Findings, Limits, Question, Serving, Task};
use crate::conversion::{Conversions, Work};
use crate::error::{Changed, ImageError};
use crate::format::{Container, Format};
use crate::inspection::{AllocatedMap, Inspection};
use crate::integrity::{Effort, Reading};
use crate::source::{OpenFile, OpenImage, open_all, other_question};
use crate::verification::quick_verify;

/// Packed bytes whose disk any host unpacks in a second, however well they are packed.
const UNPACKED_A_SECOND: u64 = 64 << 10;

/// Bytes of other images whose tables any host checks in a second.
const CHECKED_A_SECOND: u64 = 1 << 30;

/// Looks into the image at `path` for `lifeboat image inspect`. `named_chain` are the backing
/// files that the operator vouches for, nearest first; without them a backing file is refused.
pub fn inspect(
    confined: &Confined,
    path: &Path,
    named_chain: &[PathBuf],
) -> Result<Inspection, ImageError> {
    let images = open_all(confined, path, named_chain)?;
    let findings = ask(confined, &images)?;
    Ok(Inspection {
        path: path.to_owned(),
        format: images[0].container,
        variant: findings.variant,
        virtual_size: findings.virtual_size,
        file_size: images[0].length(),
        allocated_size: images[0].allocated(),
        cluster_size: findings.cluster_size,
        backing: images[1..].iter().map(OpenImage::as_backing).collect(),
        partition_table: findings.table,
        partitions: findings.partitions,
        whole_disk: findings.whole_disk,
        firmware_hint: findings.firmware_hint,
        risks: findings.risks,
    })
}

/// Takes in the image at `path`: all checks of [`inspect`], the hash of every byte, and, where QEMU
/// cannot serve it as it is, its conversion, which goes on where an earlier one was interrupted.
/// The hash trees go to the folder `trees`, where [`crate::verify`] finds them. Progress begins anew
/// for each part of the work.
pub fn import(
    confined: &Confined,
    path: &Path,
    named_chain: &[PathBuf],
    conversions: &Conversions,
    trees: Option<&Path>,
    reading: &Reading<'_>,
) -> Result<CapturedVolume, ImageError> {
    let images = open_all(confined, path, named_chain)?;
    let import = Import {
        confined,
        conversions,
        trees,
        reading,
    };
    // Everything that can be refused is refused before hours of reading.
    let early = match images.iter().any(|image| image.container.is_packed()) {
        true => None,
        false => Some(ask(confined, &images)?),
    };
    let mut taken = Vec::new();
    for image in images {
        taken.push(import.take_in(image)?);
    }
    let findings = match early {
        Some(findings) => findings,
        None => import.ask_unpacked(&taken)?,
    };
    for risk in &findings.risks {
        tracing::warn!(path = %path.display(), risk, "captured volume has a risk");
    }
    let served = import.served(&taken, &findings.serving)?;
    let first = &taken[0];
    let container = first.image.container;
    let sources: Vec<_> = taken
        .iter()
        .flat_map(|taken| taken.sources.clone())
        .collect();
    // A conversion takes time, in which a source may have been written to.
    sources
        .iter()
        .try_for_each(|source| source.open().map(drop))?;
    let volume = CapturedVolume {
        path: sources[0].path.clone(),
        format: container,
        virtual_size: findings.virtual_size,
        blake3: content_hash(&sources),
        sources,
        served,
    };
    // A modification time can be set back.
    if let Some(file) = volume.files().find(|file| !file.is_untouched()) {
        return Err(file.changed(Changed::Modified));
    }
    Ok(volume)
}

struct Import<'a> {
    confined: &'a Confined,
    conversions: &'a Conversions,
    trees: Option<&'a Path>,
    reading: &'a Reading<'a>,
}

/// An image whose bytes are hashed.
struct Taken {
    image: OpenImage,
    sources: Vec<SourceFile>,
    /// A packed image is unpacked before it can be looked into.
    unpacked: Option<(OpenImage, ServedLayer)>,
}

impl Import<'_> {
    fn take_in(&self, image: OpenImage) -> Result<Taken, ImageError> {
        let sources = image.capture(self.trees, self.reading)?;
        let unpacked = if image.container.is_packed() {
            let blake3 = content_hash(&sources);
            let layer = self.convert(&[&image], &blake3)?;
            let mut file = OpenFile::open(&layer.file.path)?;
            // Messages and the names inside of images are about what was captured.
            image.path().clone_into(&mut file.path);
            let unpacked = OpenImage {
                container: Container::Raw,
                files: vec![file],
            };
            Some((unpacked, layer))
        } else {
            None
        };
        Ok(Taken {
            image,
            sources,
            unpacked,
        })
    }

    fn ask_unpacked(&self, taken: &[Taken]) -> Result<Findings, ImageError> {
        let layers: Vec<&OpenImage> = taken.iter().map(Taken::readable).collect();
        ask_about(self.confined, &layers, &taken[0].image)
    }

    fn convert(&self, images: &[&OpenImage], blake3: &str) -> Result<ServedLayer, ImageError> {
        if self.reading.effort != Effort::Nothing {
            return self.convert_hashed(images, blake3, self.reading);
        }
        // A conversion is kept under the hash of what it was made from.
        let reading = Reading {
            effort: Effort::Fast,
            ..*self.reading
        };
        let mut sources = Vec::new();
        for image in images {
            sources.extend(image.capture(self.trees, &reading)?);
        }
        self.convert_hashed(images, &content_hash(&sources), &reading)
    }

    fn convert_hashed(
        &self,
        images: &[&OpenImage],
        blake3: &str,
        reading: &Reading<'_>,
    ) -> Result<ServedLayer, ImageError> {
        let first = images[0];
        let work = Work {
            path: first.path(),
            layers: images.iter().map(|image| image.question()).collect(),
            files: images
                .iter()
                .flat_map(|image| image.descriptors())
                .collect(),
            blake3,
            size: images.iter().map(|image| image.length()).sum(),
            occupied: images.iter().map(|image| image.allocated()).sum(),
            trees: self.trees,
            reading,
        };
        self.conversions.convert(self.confined, &work)
    }

    /// What QEMU is given, nearest first.
    fn served(&self, taken: &[Taken], serving: &[Serving]) -> Result<Vec<ServedLayer>, ImageError> {
        let mut rest = taken;
        let mut served = Vec::new();
        for how in serving {
            let count = match how {
                Serving::File { .. } => 1,
                Serving::Converted { with_below } => with_below.saturating_add(1),
            };
            let Some((together, further)) = rest.split_at_checked(count) else {
                return Err(other_question(taken[0].image.path()));
            };
            rest = further;
            served.push(self.layer(together, *how)?);
        }
        if !rest.is_empty() {
            return Err(other_question(taken[0].image.path()));
        }
        Ok(served)
    }

    fn layer(&self, together: &[Taken], how: Serving) -> Result<ServedLayer, ImageError> {
        let first = &together[0];
        if let Some((_, layer)) = &first.unpacked {
            return Ok(layer.clone());
        }
        match how {
            Serving::File { index, format } => {
                let file = first.sources.get(index).cloned();
                let file = file.ok_or_else(|| other_question(first.image.path()))?;
                Ok(ServedLayer { file, format })
            }
            Serving::Converted { .. } => {
                let images: Vec<_> = together.iter().map(|taken| &taken.image).collect();
                let sources = together.iter().flat_map(|taken| taken.sources.clone());
                self.convert(&images, &content_hash(&sources.collect::<Vec<_>>()))
            }
        }
    }
}

impl Taken {
    fn readable(&self) -> &OpenImage {
        self.unpacked
            .as_ref()
            .map_or(&self.image, |(image, _)| image)
    }
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

/// Opens for reading what QEMU can be given of an image that was not imported: to look into it,
/// after [`inspect`] took it. `None` where it would have to be converted first.
pub fn open_to_look(
    confined: &Confined,
    path: &Path,
    named_chain: &[PathBuf],
) -> Result<Option<Vec<OpenLayer>>, ImageError> {
    let images = open_all(confined, path, named_chain)?;
    let serving = ask(confined, &images)?.serving;
    let mut layers = Vec::new();
    for (image, how) in images.iter().zip(serving) {
        let Serving::File { index, format } = how else {
            return Ok(None);
        };
        let file = image.files.get(index);
        let file = file.ok_or_else(|| other_question(path))?;
        let copy = file.file.try_clone();
        layers.push(OpenLayer {
            file: copy
                .map_err(ImageError::io("copy the descriptor of", path))?
                .into(),
            path: file.path.clone(),
            format,
        });
    }
    Ok((layers.len() == images.len()).then_some(layers))
}

/// How much of the qcow2 file `overlay` is written, not counting what lies below it. The overlay
/// must not be in use.
pub fn allocated_map(confined: &Confined, overlay: &Path) -> Result<AllocatedMap, ImageError> {
    let opened = OpenImage::open(confined, overlay)?;
    let question = Question {
        task: Task::Map,
        layers: vec![opened.question()],
        with_qemu: false,
        limits: confined.limits().clone(),
    };
    match confined.ask(overlay, &opened.descriptors(), &question)? {
        Answer::Mapped(map) => Ok(map),
        _ => Err(other_question(overlay)),
    }
}

fn ask(confined: &Confined, images: &[OpenImage]) -> Result<Findings, ImageError> {
    let layers: Vec<&OpenImage> = images.iter().collect();
    ask_about(confined, &layers, &images[0])
}

/// `named` is the image to name in messages.
fn ask_about(
    confined: &Confined,
    images: &[&OpenImage],
    named: &OpenImage,
) -> Result<Findings, ImageError> {
    let files: Vec<&File> = images
        .iter()
        .flat_map(|image| image.descriptors())
        .collect();
    // The tighter walls first: only the child knows whether QEMU has to help.
    let mut question = Question {
        task: Task::Inspect,
        layers: images.iter().map(|image| image.question()).collect(),
        with_qemu: false,
        limits: limits_for(confined.limits(), images),
    };
    let mut answer = confined.ask(named.path(), &files, &question)?;
    if matches!(answer, Answer::NeedsQemu) {
        question.with_qemu = true;
        answer = confined.ask(named.path(), &files, &question)?;
    }
    match answer {
        Answer::Inspected(findings) => Ok(findings),
        _ => Err(other_question(named.path())),
    }
}

/// Unpacking and checking many tables takes time in proportion to the files.
fn limits_for(ordinary: &Limits, images: &[&OpenImage]) -> Limits {
    let seconds = images
        .iter()
        .map(|image| match image.container.is_packed() {
            true => image.length() / UNPACKED_A_SECOND,
            // A hole holds no table.
            false => image.length().min(image.allocated()) / CHECKED_A_SECOND,
        });
    let more = seconds.sum::<u64>();
    Limits {
        cpu_seconds: ordinary.cpu_seconds.saturating_add(more),
        wall_seconds: ordinary.wall_seconds.saturating_add(more),
        ..ordinary.clone()
    }
}
