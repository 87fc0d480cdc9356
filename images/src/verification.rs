//! Is a captured volume still what it was at import, byte for byte?

use std::fs::File;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::captured::{CapturedVolume, SourceFile};
use crate::error::{Changed, ImageError};
use crate::hash_tree::{Begun, HashTree, piece_size};
use crate::inspection::Extent;
use crate::integrity::{Compared, Hashed, Reading, compare, go_on_hashing};

/// How far a verification came, to go on from there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Number of the file, in the order of [`CapturedVolume::files`].
    pub file: usize,
    /// First byte of it that was not compared.
    pub byte: u64,
}

/// One range of a file that is not what it was at import.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Damage {
    /// The file.
    #[schema(value_type = String)]
    pub file: PathBuf,
    /// The range. It is as fine as the pieces of the tree; the whole file where there is no tree.
    pub range: Extent,
}

/// What a verification found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verification {
    /// Everything that differs.
    pub damaged: Vec<Damage>,
    /// Where it was stopped; `None` when every byte was compared.
    pub stopped_at: Option<Position>,
}

impl Verification {
    /// The error that names the first file that changed, or that the reading was stopped.
    pub fn into_result(self) -> Result<(), ImageError> {
        if let Some(first) = self.damaged.first() {
            let path = first.file.clone();
            let of_it = self.damaged.iter().filter(|damage| damage.file == path);
            let ranges = of_it.map(|damage| damage.range).collect();
            let changed = Changed::Content { ranges };
            return Err(ImageError::Changed { path, changed });
        }
        match self.stopped_at {
            Some(_) => Err(ImageError::Stopped),
            None => Ok(()),
        }
    }
}

/// Reads every byte of the volume's sources, and of what was converted from them, beginning at
/// `from`, and compares it with the trees in the folder `trees`. A tree that is not there, or is
/// damaged itself, is made again from a file whose root is right. Until then what was read of the
/// file is kept beside the trees; where that cannot be done, a stop of such a file says that it
/// begins anew.
///
/// A file that is missing or has another length is an error at once. One that was replaced or
/// written to is compared all the same: a copy of the same bytes is the same volume.
pub fn verify(
    volume: &CapturedVolume,
    trees: &Path,
    from: Position,
    reading: &Reading<'_>,
) -> Result<Verification, ImageError> {
    let opened = volume
        .files()
        .map(|file| Ok((file, file.open_to_compare()?)));
    let opened: Vec<_> = opened.collect::<Result<_, ImageError>>()?;
    let total = volume.files().map(|file| file.file_size).sum();
    let mut found = Verification::default();
    let mut before = 0;
    for (number, (source, file)) in opened.into_iter().enumerate() {
        let first = if number == from.file { from.byte } else { 0 };
        if number >= from.file {
            let progress = |done, _| (reading.progress)(before + done, total);
            let reading = Reading {
                progress: &progress,
                ..*reading
            };
            let compared = compare_source(source, &file, trees, first, &reading)?;
            let damage = |range| Damage {
                file: source.path.clone(),
                range,
            };
            found
                .damaged
                .extend(compared.damaged.into_iter().map(damage));
            if let Some(byte) = compared.stopped_at {
                found.stopped_at = Some(Position { file: number, byte });
                break;
            }
        }
        before += source.file_size;
    }
    Ok(found)
}

fn compare_source(
    source: &SourceFile,
    file: &File,
    trees: &Path,
    from: u64,
    reading: &Reading<'_>,
) -> Result<Compared, ImageError> {
    let length = source.file_size;
    let compared = match HashTree::load(trees, &source.blake3, length) {
        Some(tree) => compare(file, length, &tree, from, reading),
        None => compare_root(source, file, trees, from, reading),
    };
    compared.map_err(ImageError::io("read", &source.path))
}

fn compare_root(
    source: &SourceFile,
    file: &File,
    trees: &Path,
    from: u64,
    reading: &Reading<'_>,
) -> std::io::Result<Compared> {
    let (root, length) = (&source.blake3, source.file_size);
    let begun = match from {
        0 => Begun::default(),
        _ => Begun::load(trees, root, length),
    };
    let hashed = go_on_hashing(file, length, begun, reading)?;
    if let Hashed::Cancelled(begun) = hashed {
        let is_kept = begun.save(trees, root);
        let reached = begun.pieces.len() as u64 * piece_size(length);
        return Ok(Compared {
            stopped_at: Some(if is_kept { reached } else { 0 }),
            ..Compared::default()
        });
    }
    Begun::forget(trees, root);
    Ok(match hashed {
        Hashed::Done(tree) if tree.root() == *root => {
            keep(&tree, trees);
            Compared::default()
        }
        _ => Compared {
            damaged: vec![Extent { start: 0, length }],
            stopped_at: None,
        },
    })
}

/// Without its tree a file can still be verified, so that is no failure.
pub(crate) fn keep(tree: &HashTree, trees: &Path) {
    if let Err(error) = tree.save(trees) {
        tracing::warn!(%error, folder = %trees.display(), "the hash tree of a file was not kept");
    }
}

/// Compares what costs nothing: inode, length and modification time.
pub fn quick_verify(volume: &CapturedVolume) -> Result<(), ImageError> {
    for file in volume.files() {
        file.open()?;
    }
    Ok(())
}

/// Whether nothing that the filesystem notes about the source files differs from the import, the
/// time of the last change of the inode included. Nobody can set that time, so a file that was
/// written to and then given its old modification time is not untouched; but a change of owner or
/// links sets it as well, so a file that is not untouched may still have the same bytes.
pub fn is_untouched(volume: &CapturedVolume) -> bool {
    volume.files().all(SourceFile::is_untouched)
}

/// The same volume over its files as they lie there now, if every byte is what it was at import:
/// a copy has the same bytes under another inode and time.
pub fn readmit(
    volume: &CapturedVolume,
    trees: &Path,
    reading: &Reading<'_>,
) -> Result<CapturedVolume, ImageError> {
    let mut now = volume.clone();
    let served = now.served.iter_mut().map(|layer| &mut layer.file);
    for file in now.sources.iter_mut().chain(served) {
        *file = file.as_it_is()?;
    }
    verify(&now, trees, Position::default(), reading)?.into_result()?;
    // Nobody may have written to them meanwhile.
    if let Some(file) = now.files().find(|file| !file.is_untouched()) {
        return Err(file.changed(Changed::Modified));
    }
    Ok(now)
}
