//! The files of an image, open and with a decided form.

use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::captured::{SourceFile, changed_ns, modified_ns};
use crate::confine::{Answer, Confined, FileQuestion, LayerQuestion, Question, Task};
use crate::error::{ImageError, Refusal, RefusalKind};
use crate::format::{Container, identify_open, is_descriptor, open_source};
use crate::hash_tree::HashTree;
use crate::inspection::Backing;
use crate::integrity::{Effort, Hashed, Reading, hash};
use crate::printable::printable;
use crate::segments;
use crate::verification;

/// Descriptors that an ordinary program has left for images.
const ORDINARILY_OPEN: usize = 100;

/// One image: a file, or all files that it is cut into.
pub(crate) struct OpenImage {
    pub container: Container,
    /// The first is the one that the operator named.
    pub files: Vec<OpenFile>,
}

/// One file of it.
pub(crate) struct OpenFile {
    pub path: PathBuf,
    pub file: File,
    pub length: u64,
    pub metadata: Metadata,
}

impl OpenImage {
    /// Opens the image at `path` and finds what belongs to it.
    pub(crate) fn open(confined: &Confined, path: &Path) -> Result<Self, ImageError> {
        let first = OpenFile::open(path)?;
        let container = identify_open(path, &first.file, first.length)?;
        let mut image = Self {
            container,
            files: vec![first],
        };
        match container {
            Container::SplitRaw | Container::Ewf => image.open_parts(path)?,
            Container::Vmdk if image.is_descriptor(path)? => image.open_extents(confined, path)?,
            _ => {}
        }
        Ok(image)
    }

    fn open_parts(&mut self, path: &Path) -> Result<(), ImageError> {
        let parts = segments::parts(self.container, &first_of_parts(path)?);
        let parts = parts.map_err(|error| match error {
            // By the name that the operator knows.
            ImageError::Refused { refusal, .. } => ImageError::refused(path, refusal),
            other => other,
        })?;
        allow_descriptors(parts.len());
        for part in parts.iter().skip(1) {
            self.files.push(OpenFile::open_found(path, part, "part")?);
        }
        Ok(())
    }

    fn is_descriptor(&self, path: &Path) -> Result<bool, ImageError> {
        use std::os::unix::fs::FileExt;
        let mut head = [0; 32];
        let read = self.files[0].file.read_at(&mut head, 0);
        let count = read.map_err(ImageError::io("read the header of", path))?;
        Ok(is_descriptor(&head[..count]))
    }

    /// The child says which; what it says is looked at again, because it may have been taken over.
    fn open_extents(&mut self, confined: &Confined, path: &Path) -> Result<(), ImageError> {
        let question = Question {
            task: Task::Extents,
            layers: vec![self.question()],
            with_qemu: false,
            limits: confined.limits().clone(),
        };
        let Answer::Extents(names) = confined.ask(path, &self.descriptors(), &question)? else {
            return Err(other_question(path));
        };
        let beside = std::fs::canonicalize(path).map_err(ImageError::io("resolve", path))?;
        if names.len() >= segments::MOST_FILES {
            return Err(other_question(path));
        }
        allow_descriptors(names.len());
        for name in names {
            let plain = Path::new(&name).file_name() == Some(OsStr::new(&name));
            if !plain {
                return Err(other_question(path));
            }
            if !belongs(&beside, &name) {
                return Err(stranger(path, &beside, &name));
            }
            let place = beside.with_file_name(&name);
            self.files
                .push(OpenFile::open_found(path, &place, "extent")?);
        }
        Ok(())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.files[0].path
    }

    pub(crate) fn length(&self) -> u64 {
        self.files.iter().map(|file| file.length).sum()
    }

    /// Bytes that its files occupy on this host.
    pub(crate) fn allocated(&self) -> u64 {
        let blocks = self.files.iter().map(|file| file.metadata.blocks());
        blocks.sum::<u64>().saturating_mul(512)
    }

    pub(crate) fn descriptors(&self) -> Vec<&File> {
        self.files.iter().map(|file| &file.file).collect()
    }

    pub(crate) fn question(&self) -> LayerQuestion {
        let file = |file: &OpenFile| FileQuestion {
            name: file.name(),
            length: file.length,
        };
        LayerQuestion {
            container: self.container,
            files: self.files.iter().map(file).collect(),
        }
    }

    pub(crate) fn as_backing(&self) -> Backing {
        Backing {
            path: self.path().to_owned(),
            format: self.container,
        }
    }

    /// Hashes every file and makes sure that nobody wrote to it meanwhile.
    pub(crate) fn capture(
        &self,
        trees: Option<&Path>,
        reading: &Reading<'_>,
    ) -> Result<Vec<SourceFile>, ImageError> {
        let all = self.length();
        let mut before = 0;
        let mut captured = Vec::new();
        for file in &self.files {
            let progress = |done, _| (reading.progress)(before + done, all);
            let shifted = Reading {
                progress: &progress,
                ..*reading
            };
            captured.push(file.capture(trees, &shifted)?);
            before += file.length;
        }
        Ok(captured)
    }
}

impl OpenFile {
    pub(crate) fn open(path: &Path) -> Result<Self, ImageError> {
        let (file, length) = open_source(path)?;
        Self::opened(path, file, length)
    }

    fn opened(path: &Path, file: File, length: u64) -> Result<Self, ImageError> {
        let metadata = file
            .metadata()
            .map_err(ImageError::io("read the attributes of", path))?;
        Ok(Self {
            path: path.to_owned(),
            file,
            length,
            metadata,
        })
    }

    fn open_found(image: &Path, place: &Path, role: &str) -> Result<Self, ImageError> {
        let (file, length) = open_found(image, place, role)?;
        Self::opened(place, file, length)
    }

    /// Its own name, for messages and comparisons.
    pub(crate) fn name(&self) -> String {
        let name = self.path.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    fn capture(
        &self,
        trees: Option<&Path>,
        reading: &Reading<'_>,
    ) -> Result<SourceFile, ImageError> {
        let blake3 = match reading.effort {
            Effort::Nothing => String::new(),
            _ => self.hashed(trees, reading)?,
        };
        let captured = SourceFile {
            path: std::fs::canonicalize(&self.path)
                .map_err(ImageError::io("resolve", &self.path))?,
            file_size: self.length,
            modified_ns: modified_ns(&self.metadata),
            device: self.metadata.dev(),
            inode: self.metadata.ino(),
            changed_ns: changed_ns(&self.metadata),
            blake3,
        };
        captured.open()?;
        Ok(captured)
    }

    fn hashed(&self, trees: Option<&Path>, reading: &Reading<'_>) -> Result<String, ImageError> {
        let hashed =
            hash(&self.file, self.length, reading).map_err(ImageError::io("read", &self.path))?;
        Ok(finished(hashed, trees)?.root())
    }
}

/// Opens a file that `image`, or the name of `image`, led to, and gives its length. The operator
/// named `image` and not this one, so it must be an ordinary file that leads nowhere else.
pub(crate) fn open_found(
    image: &Path,
    place: &Path,
    role: &str,
) -> Result<(File, u64), ImageError> {
    let name = printable(&place.file_name().unwrap_or_default().to_string_lossy());
    let refuse = |kind, what: &str, remedy: &str| {
        let found = format!("its {role} `{name}` {what}");
        ImageError::refused(image, Refusal::new(kind, found, remedy))
    };
    let itself = format!("put the {role} itself beside it");
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let opened = File::options()
        .read(true)
        .custom_flags(flags.bits())
        .open(place);
    let split = RefusalKind::SplitOverFiles;
    let file = opened.map_err(|error| match error.raw_os_error() {
        Some(nix::libc::ENOENT) => {
            let remedy = format!("copy every {role} into the folder of the first file");
            refuse(split, "is missing", &remedy)
        }
        Some(nix::libc::ELOOP) => refuse(split, "is a symbolic link", &itself),
        _ => crate::format::open_failure(place, error),
    })?;
    let metadata = file
        .metadata()
        .map_err(ImageError::io("read the attributes of", place))?;
    if !metadata.is_file() {
        return Err(refuse(
            RefusalKind::NotAFile,
            "is no ordinary file",
            &itself,
        ));
    }
    if metadata.len() == 0 {
        return Err(refuse(RefusalKind::Empty, "is empty", "copy it again"));
    }
    Ok((file, metadata.len()))
}

/// Whether a file is named as all that write extents name them: `disk-flat.vmdk` or
/// `disk-s001.vmdk` of `disk.vmdk`. A descriptor could name any other disk of the folder.
fn belongs(descriptor: &Path, name: &str) -> bool {
    let lower = |text: Option<&OsStr>| text.unwrap_or_default().to_string_lossy().to_lowercase();
    let ending = lower(Path::new(name).extension());
    let own_ending = lower(descriptor.extension());
    // QEMU keeps the ending of the descriptor.
    let is_ending = ending == "vmdk" || (!ending.is_empty() && ending == own_ending);
    let stem = lower(Path::new(name).file_stem());
    let rest = stem.strip_prefix(&lower(descriptor.file_stem()));
    is_ending && rest.is_some_and(is_extent_mark)
}

/// What stands between the name of a descriptor and the ending of its extents. Anything else may be
/// the name of another machine: `web-db-flat.vmdk` is none of `web.vmdk`.
fn is_extent_mark(mark: &str) -> bool {
    let is_number = |text: &str| text.bytes().all(|digit| digit.is_ascii_digit());
    let snapshot = mark
        .split_at_checked(7)
        .filter(|(number, _)| number.strip_prefix('-').is_some_and(is_number));
    let extent = snapshot.map_or(mark, |(_, extent)| extent);
    match extent.strip_prefix('-') {
        Some("flat" | "delta" | "sesparse") => true,
        Some(part) => part
            .strip_prefix(['s', 'f'])
            .is_some_and(|number| number.len() >= 3 && is_number(number)),
        None => false,
    }
}

fn stranger(path: &Path, descriptor: &Path, name: &str) -> ImageError {
    let stem = descriptor.file_stem().unwrap_or_default().to_string_lossy();
    let stem = printable(&stem);
    let refusal = Refusal::new(
        RefusalKind::SplitOverFiles,
        format!(
            "its extent `{}` does not look like a part of it",
            printable(name)
        ),
        format!(
            "if it is, name it `{stem}-flat.vmdk` or `{stem}-s001.vmdk` there and in the \
             descriptor, or give the descriptor its first name back"
        ),
    );
    ImageError::refused(path, refusal)
}

/// Where a link that the operator named leads to, if that has a number: the other parts lie there.
fn first_of_parts(path: &Path) -> Result<PathBuf, ImageError> {
    let real = std::fs::canonicalize(path).map_err(ImageError::io("resolve", path))?;
    let is_the_same_kind = real.extension() == path.extension();
    // The folder is resolved in any case, so that no link in it can change underway.
    match (is_the_same_kind, path.parent(), path.file_name()) {
        (false, Some(folder), Some(name)) => {
            let folder = match folder.as_os_str().is_empty() {
                true => Path::new("."),
                false => folder,
            };
            let folder = std::fs::canonicalize(folder);
            Ok(folder.map_err(ImageError::io("resolve", path))?.join(name))
        }
        _ => Ok(real),
    }
}

/// The image and its named chain, nearest first. No file may stand in it twice.
pub(crate) fn open_all(
    confined: &Confined,
    path: &Path,
    named_chain: &[PathBuf],
) -> Result<Vec<OpenImage>, ImageError> {
    let named = std::iter::once(path).chain(named_chain.iter().map(PathBuf::as_path));
    let images: Vec<_> = named
        .map(|path| OpenImage::open(confined, path))
        .collect::<Result<_, _>>()?;
    let mut seen = std::collections::HashSet::new();
    for file in images.iter().flat_map(|image| &image.files) {
        if !seen.insert((file.metadata.dev(), file.metadata.ino())) {
            let refusal = Refusal::new(
                RefusalKind::BackingFile,
                "it stands twice in the named chain",
                "name every file of the chain once, nearest first",
            );
            return Err(ImageError::refused(&file.path, refusal));
        }
    }
    Ok(images)
}

/// Images of hundreds of files need more descriptors than programs ordinarily get.
fn allow_descriptors(count: usize) {
    if count < ORDINARILY_OPEN {
        return;
    }
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let wanted = hard.min(65_536);
        if soft < wanted {
            // Without it, opening the files says what is missing.
            let _ = setrlimit(Resource::RLIMIT_NOFILE, wanted, hard);
        }
    }
}

/// The tree of a file that was read to its end, kept where verification finds it.
pub(crate) fn finished(hashed: Hashed, trees: Option<&Path>) -> Result<HashTree, ImageError> {
    let Hashed::Done(tree) = hashed else {
        return Err(ImageError::Stopped);
    };
    if let Some(trees) = trees {
        verification::keep(&tree, trees);
    }
    Ok(tree)
}

pub(crate) fn other_question(path: &Path) -> ImageError {
    ImageError::ReaderDied {
        path: path.to_owned(),
        how: "gave an answer to another question".to_owned(),
    }
}
