//! The files of a package: is each what the manifest says, and, out of an archive, each as a file.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sha1::Sha1;
use sha2::{Sha256, Sha512};

use super::{Algorithm, Digest, Member, Package, is_archive, is_plain_file_name};
use crate::error::{ImageError, Refusal, RefusalKind};
use crate::format::open_source;
use crate::source::open_found;
use crate::sparse::{SparseFile, require_room};

const CHUNK: usize = 1 << 20;

/// Reads every file that the manifest names and compares. Without a manifest there is nothing to
/// do. `progress` hears bytes done and bytes in all.
pub fn require_manifest(
    path: &Path,
    package: &Package,
    progress: &dyn Fn(u64, u64),
) -> Result<(), ImageError> {
    let mut found = Vec::new();
    for digest in &package.digests {
        found.push((digest, find(path, package, &digest.file)?));
    }
    let total = found.iter().map(|(_, (_, _, size))| size).sum();
    let mut before = 0;
    for (digest, (origin, mut bytes, size)) in found {
        let hear = |done| progress(before + done, total);
        let is =
            hashed(&mut bytes, digest.algorithm, &hear).map_err(ImageError::io("read", &origin))?;
        if is != digest.hex {
            return Err(ImageError::refused(&origin, differs(digest)));
        }
        before += size;
    }
    Ok(())
}

fn differs(digest: &Digest) -> Refusal {
    Refusal::new(
        RefusalKind::Damaged,
        format!(
            "`{}` is not what its manifest says ({:?})",
            digest.file, digest.algorithm
        ),
        "copy the whole package again, or remove the manifest (`.mf`) if you changed it yourself",
    )
}

type Bytes = io::Take<File>;

/// A file of the package: where it is, its bytes, how many they are.
fn find(path: &Path, package: &Package, name: &str) -> Result<(PathBuf, Bytes, u64), ImageError> {
    if !is_archive(path)? {
        let place = beside(path, name)?;
        let (file, length) = open_found(path, &place, "file")?;
        return Ok((place, file.take(length), length));
    }
    let member = package.members.iter().find(|member| member.name == name);
    let member = member.ok_or_else(|| missing(path, name))?;
    let bytes = open_member(path, member)?;
    Ok((path.to_owned(), bytes, member.size))
}

fn missing(path: &Path, name: &str) -> ImageError {
    let refusal = Refusal::new(
        RefusalKind::Missing,
        format!("it names the file `{name}`, which is not in it"),
        "export the machine again",
    );
    ImageError::refused(path, refusal)
}

fn open_member(path: &Path, member: &Member) -> Result<Bytes, ImageError> {
    let (mut file, _) = open_source(path)?;
    file.seek(SeekFrom::Start(member.offset))
        .map_err(ImageError::io("read", path))?;
    Ok(file.take(member.size))
}

/// The child lets plain names through only; this process trusts it with nothing.
fn beside(path: &Path, name: &str) -> Result<PathBuf, ImageError> {
    if is_plain_file_name(name) {
        return Ok(path.with_file_name(name));
    }
    Err(ImageError::ReaderDied {
        path: path.to_owned(),
        how: "named a file elsewhere".to_owned(),
    })
}

fn hashed(bytes: &mut Bytes, algorithm: Algorithm, hear: &dyn Fn(u64)) -> io::Result<String> {
    match algorithm {
        Algorithm::Sha1 => hashed_by::<Sha1>(bytes, hear),
        Algorithm::Sha256 => hashed_by::<Sha256>(bytes, hear),
        Algorithm::Sha512 => hashed_by::<Sha512>(bytes, hear),
    }
}

fn hashed_by<H: sha2::Digest>(bytes: &mut Bytes, hear: &dyn Fn(u64)) -> io::Result<String> {
    let mut hasher = H::new();
    each_chunk(
        bytes,
        &mut |chunk| {
            hasher.update(chunk);
            Ok(())
        },
        hear,
    )?;
    let digits = hasher.finalize();
    Ok(digits.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn each_chunk(
    bytes: &mut Bytes,
    take: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    hear: &dyn Fn(u64),
) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    let mut done = 0;
    hear(0);
    while bytes.limit() > 0 {
        match bytes.read(&mut buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                take(&buffer[..count])?;
                done += count as u64;
                hear(done);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The files of all disks of the package, in the order of its machines. Those of a descriptor lie
/// beside it. Those of an archive become files in `folder`, once: a file that is there already
/// with the same bytes stays. Each appears whole or not at all, with holes for zeros, while
/// `reserve` bytes stay free.
pub fn disk_files(
    path: &Path,
    package: &Package,
    folder: &Path,
    reserve: u64,
    progress: &dyn Fn(u64, u64),
) -> Result<Vec<Vec<PathBuf>>, ImageError> {
    let archive = is_archive(path)?;
    let mut machines = Vec::new();
    for machine in &package.machines {
        let mut files = Vec::new();
        for name in &machine.disks {
            files.push(match archive {
                true => unpacked(path, package, name, (folder, reserve), progress)?,
                false => existing(path, beside(path, name)?)?,
            });
        }
        machines.push(files);
    }
    Ok(machines)
}

fn existing(path: &Path, place: PathBuf) -> Result<PathBuf, ImageError> {
    open_found(path, &place, "disk")?;
    Ok(place)
}

fn unpacked(
    path: &Path,
    package: &Package,
    name: &str,
    (folder, reserve): (&Path, u64),
    progress: &dyn Fn(u64, u64),
) -> Result<PathBuf, ImageError> {
    let (_, mut bytes, size) = find(path, package, name)?;
    let place = beside(&folder.join("package"), name)?;
    let hear = |done| progress(done, size);
    // Whatever is wrong with what is there, it is replaced.
    let there = open_found(path, &place, "disk").ok();
    if let Some((there, _)) = there.filter(|(_, length)| *length == size) {
        if is_same(&mut bytes, there, &hear).map_err(ImageError::io("read", &place))? {
            return Ok(place);
        }
        (_, bytes, _) = find(path, package, name)?;
    }
    let unfinished = folder.join(format!(".{}.part", std::process::id()));
    let room = Room {
        path,
        folder,
        needed: size.min(occupied(path)?),
        reserve,
    };
    let copied = copy(&mut bytes, &unfinished, &room, &hear).and_then(|()| {
        std::fs::rename(&unfinished, &place).map_err(ImageError::io("unpack a disk to", &place))
    });
    if copied.is_err() {
        // The first error is the one to tell.
        let _ = std::fs::remove_file(&unfinished);
    }
    copied?;
    Ok(place)
}

/// What a file of an archive may take where it is unpacked.
struct Room<'a> {
    path: &'a Path,
    folder: &'a Path,
    needed: u64,
    reserve: u64,
}

/// Zeros of a sparse archive take no room in its files either.
fn occupied(archive: &Path) -> Result<u64, ImageError> {
    let metadata = std::fs::metadata(archive);
    let metadata = metadata.map_err(ImageError::io("read the attributes of", archive))?;
    Ok(metadata.blocks().saturating_mul(512))
}

fn is_same(bytes: &mut Bytes, there: File, hear: &dyn Fn(u64)) -> io::Result<bool> {
    let mut there = io::BufReader::with_capacity(CHUNK, there);
    let mut beside = Vec::with_capacity(CHUNK);
    let mut same = true;
    each_chunk(
        bytes,
        &mut |chunk| {
            beside.resize(chunk.len(), 0);
            same = same && there.read_exact(&mut beside).is_ok() && beside == chunk;
            Ok(())
        },
        hear,
    )?;
    Ok(same)
}

fn copy(
    bytes: &mut Bytes,
    target: &Path,
    room: &Room<'_>,
    hear: &dyn Fn(u64),
) -> Result<(), ImageError> {
    let file = std::fs::create_dir_all(room.folder).and_then(|()| File::create(target));
    let file = file.map_err(ImageError::io("make", target))?;
    require_room(&file, room.path, room.folder, room.needed, room.reserve)?;
    let mut sparse = SparseFile::new(&file, room.reserve);
    each_chunk(bytes, &mut |chunk| sparse.write(chunk), hear)
        .and_then(|()| sparse.finish())
        .map_err(ImageError::io("unpack a disk to", room.folder))?;
    Ok(())
}
