//! Where captured volumes may come from when somebody asks over the network: folders
//! that the operator named when the daemon was started, and uploads.
//!
//! A path of a request is opened beneath its folder by the kernel itself, which
//! follows neither `..` nor links; what it opened is what is shown and used.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use nix::dir::{Dir, Type};
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{FileStat, fstatat};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::daemon::{Appliance, Missing, WrongUse};
use crate::report::printable;
use crate::site::is_plain_name;

/// Entries of one folder that are shown.
const MOST: usize = 10_000;

/// A folder from which volumes may be taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ImportFolder {
    /// How requests call it.
    pub name: String,
    /// Where it lies on the appliance.
    #[schema(value_type = String)]
    pub path: PathBuf,
}

/// Of `NAME=DIR`, as the command line has it.
pub fn import_folder(text: &str) -> Result<ImportFolder, String> {
    let wrong = || "expected NAME=DIR, with a plain name and an absolute path".to_owned();
    let (name, path) = text.split_once('=').ok_or_else(wrong)?;
    let path = PathBuf::from(path);
    if !is_plain_name(name) || !path.is_absolute() {
        return Err(wrong());
    }
    Ok(ImportFolder {
        name: name.to_owned(),
        path,
    })
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    /// It holds others.
    Folder,
    /// Perhaps a volume.
    File,
}

/// Something in such a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ImportEntry {
    /// Its name.
    pub name: String,
    /// Its path below the import folder.
    pub path: String,
    /// What it is.
    pub kind: EntryKind,
    /// Bytes; 0 of a folder.
    pub size: u64,
    /// When it changed last, Unix time in milliseconds.
    pub modified_ms: u64,
}

/// Where the disks of a machine lie.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "from", rename_all = "snake_case", deny_unknown_fields)]
pub enum VolumeRef {
    /// In an import folder.
    Import {
        /// Its name.
        import: String,
        /// The path below it.
        path: String,
    },
    /// Among the uploads.
    Upload {
        /// Its id.
        upload: String,
    },
}

impl ImportFolder {
    /// What lies in a folder of it, folders first; links and hidden things are left out.
    pub fn list(&self, path: &str) -> anyhow::Result<Vec<ImportEntry>> {
        let relative = Self::relative(path)?;
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
        let opened = self
            .open(&relative, flags)
            .map_err(|_| self.missing(path))?;
        let mut folder = Dir::from_fd(opened)?;
        let mut entries = Vec::new();
        let found: Vec<_> = folder
            .iter()
            .filter_map(Result::ok)
            .take(MOST * 2)
            .collect();
        for entry in found {
            let Ok(name) = entry.file_name().to_str() else {
                continue;
            };
            if name.starts_with('.') || entry.file_type() == Some(Type::Symlink) {
                continue;
            }
            let stat = fstatat(&folder, entry.file_name(), AtFlags::AT_SYMLINK_NOFOLLOW);
            entries.extend(stat.ok().and_then(|stat| shown(&relative, name, &stat)));
        }
        entries.sort_by(|a, b| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
        entries.truncate(MOST);
        Ok(entries)
    }

    /// The absolute path of a file in it.
    pub fn file(&self, path: &str) -> anyhow::Result<PathBuf> {
        let relative = Self::relative(path)?;
        let opened = self.open(&relative, OFlag::O_RDONLY | OFlag::O_NONBLOCK);
        let opened = File::from(opened.map_err(|_| self.missing(path))?);
        if !opened.metadata()?.is_file() {
            return Err(self.missing(path).into());
        }
        Ok(self.path.join(relative))
    }

    fn relative(path: &str) -> Result<PathBuf, WrongUse> {
        let path = Path::new(path);
        let plain = |part: Component| matches!(part, Component::Normal(_) | Component::CurDir);
        if path.components().all(plain) {
            return Ok(path
                .components()
                .filter(|part| *part != Component::CurDir)
                .collect());
        }
        let path = printable(&path.to_string_lossy());
        Err(WrongUse(format!(
            "`{path}` is no path below an import folder"
        )))
    }

    fn open(&self, relative: &Path, flags: OFlag) -> io::Result<OwnedFd> {
        let root = File::open(&self.path)?;
        let path = match relative.as_os_str().is_empty() {
            true => Path::new("."),
            false => relative,
        };
        let how = OpenHow::new()
            .flags(flags | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
        Ok(openat2(&root, path, how)?)
    }

    fn missing(&self, path: &str) -> Missing {
        Missing(format!(
            "import folder `{}` has no `{}`, or it is a link",
            self.name,
            printable(path)
        ))
    }
}

fn shown(folder: &Path, name: &str, stat: &FileStat) -> Option<ImportEntry> {
    let kind = match stat.st_mode & libc_mode::FORMAT {
        libc_mode::FILE => EntryKind::File,
        libc_mode::FOLDER => EntryKind::Folder,
        _ => return None,
    };
    let size = match kind {
        EntryKind::File => u64::try_from(stat.st_size).unwrap_or(0),
        EntryKind::Folder => 0,
    };
    Some(ImportEntry {
        name: name.to_owned(),
        path: folder.join(name).to_str()?.to_owned(),
        kind,
        size,
        modified_ms: u64::try_from(stat.st_mtime)
            .unwrap_or(0)
            .saturating_mul(1_000),
    })
}

/// The kinds of `st_mode`.
mod libc_mode {
    use nix::sys::stat::SFlag;

    pub const FORMAT: u32 = SFlag::S_IFMT.bits();
    pub const FILE: u32 = SFlag::S_IFREG.bits();
    pub const FOLDER: u32 = SFlag::S_IFDIR.bits();
}

impl Appliance {
    /// The import folder of that name.
    pub fn import(&self, name: &str) -> Result<&ImportFolder, Missing> {
        let mut all = self.host.imports.iter();
        all.find(|one| one.name == name).ok_or_else(|| {
            Missing(format!(
                "no import folder is called `{}`: `lifeboat serve --imports NAME=DIR` names one",
                printable(name)
            ))
        })
    }

    /// Where a volume of a request lies.
    pub fn volume_of(&self, volume: &VolumeRef) -> anyhow::Result<PathBuf> {
        match volume {
            VolumeRef::Import { import, path } => self.import(import)?.file(path),
            VolumeRef::Upload { upload } => crate::uploads::complete(&self.host, upload),
        }
    }

    /// Fails for a file that lies in no import folder and is no upload, whether or not it is there.
    pub fn require_reachable(&self, volume: &Path) -> Result<(), String> {
        match self.is_reachable(volume) {
            true => Ok(()),
            false => Err(
                "this volume lies in no import folder, and is no upload that is complete: name it by its absolute path"
                    .to_owned(),
            ),
        }
    }

    fn is_reachable(&self, volume: &Path) -> bool {
        let beneath = |folder: &ImportFolder| {
            let rest = volume.strip_prefix(&folder.path).ok();
            rest.and_then(Path::to_str)
                .is_some_and(|rest| folder.file(rest).is_ok())
        };
        self.host.imports.iter().any(beneath) || crate::uploads::is_one(&self.host, volume)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn folder(place: &Path) -> ImportFolder {
        let path = place.join("in");
        std::fs::create_dir_all(path.join("site/deep")).unwrap();
        std::fs::write(path.join("site/b.qcow2"), "1234").unwrap();
        std::fs::write(path.join("site/.hidden"), "").unwrap();
        std::fs::write(place.join("secret"), "secret").unwrap();
        symlink("../../secret", path.join("site/link")).unwrap();
        symlink("..", path.join("site/deep/up")).unwrap();
        symlink("/etc", path.join("etc")).unwrap();
        ImportFolder {
            name: "nas".into(),
            path,
        }
    }

    #[test]
    fn a_folder_shows_its_files_and_no_links() {
        let place = tempfile::tempdir().unwrap();
        let folder = folder(place.path());
        let listed = folder.list("site").unwrap();
        let names: Vec<_> = listed
            .iter()
            .map(|one| (one.path.as_str(), one.kind, one.size))
            .collect();
        assert_eq!(
            names,
            [
                ("site/deep", EntryKind::Folder, 0),
                ("site/b.qcow2", EntryKind::File, 4)
            ]
        );
        assert_eq!(folder.list("").unwrap().len(), 1);
        assert_eq!(
            folder.file("./site/b.qcow2").unwrap(),
            folder.path.join("site/b.qcow2")
        );
    }

    #[test]
    fn no_path_leaves_its_folder() {
        let place = tempfile::tempdir().unwrap();
        let folder = folder(place.path());
        for path in [
            "../secret",
            "site/../../secret",
            "site/link",
            "/etc/passwd",
            "etc/passwd",
            "etc",
            "site/deep/up/b.qcow2",
            "site/b.qcow2/x",
            "site\0",
            "nothing",
            "site",
        ] {
            assert!(folder.file(path).is_err(), "{path:?}");
        }
        for path in ["..", "etc", "/etc", "site/deep/up", "site/b.qcow2"] {
            assert!(folder.list(path).is_err(), "{path:?}");
        }
    }

    #[test]
    fn folders_are_named_plainly() {
        assert_eq!(
            import_folder("nas=/srv/nas").unwrap().path,
            Path::new("/srv/nas")
        );
        for wrong in ["", "nas", "nas=", "nas=srv", "a/b=/srv", "=/srv"] {
            assert!(import_folder(wrong).is_err(), "{wrong}");
        }
    }
}
