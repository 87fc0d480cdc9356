//! Machine folders: the logs and configuration of one machine, as the injector writes them.

use std::collections::BTreeMap;
use std::fs::{File, FileType};
use std::io::Read;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use crate::event::printable;
use crate::graph::is_unit_file;
use crate::identity::identity_of;

const MAX_DEPTH: usize = 24;
const MAX_ENTRIES: usize = 400_000;
const MAX_UNREADABLE: usize = 20;
const MAX_CONFIG_FILES: usize = 20_000;
const MAX_CONFIG_FILE: u64 = 256 << 10;
const MAX_CONFIG_TOTAL: usize = 64 << 20;

/// A machine and where its files lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineFolder {
    /// The name of the machine in the site.
    pub name: String,
    /// Holds `etc/`, `var/log/`, `usr/lib/systemd/system/`.
    pub folder: PathBuf,
    /// Addresses known from elsewhere; those in `etc/` are found.
    pub addresses: Vec<IpAddr>,
    /// Other host names known from elsewhere.
    pub names: Vec<String>,
}

/// Files below a folder, sorted, with their `/`-separated relative names.
pub(crate) struct Listing {
    pub files: Vec<(String, PathBuf)>,
    pub truncated: bool,
    /// Folders that could not be looked into, and why.
    pub unreadable: Vec<String>,
}

impl Listing {
    /// What is missing from it, as warnings about a machine.
    pub fn warn(&self, machine: &str, warnings: &mut Vec<String>) {
        for folder in &self.unreadable {
            let warning = format!("{machine}: {folder}");
            if !warnings.contains(&warning) {
                warnings.push(warning);
            }
        }
    }
}

/// Lists regular files in `root`, below `start` ("" or "a/b/").
///
/// Links to files are followed as the machine itself would follow them, and only where they end
/// inside `root`; links to directories are not.
pub(crate) fn list_files(
    root: &Path,
    start: &str,
    limit: usize,
    wanted: &dyn Fn(&str) -> bool,
) -> Listing {
    let mut listing = Listing {
        files: Vec::new(),
        truncated: false,
        unreadable: Vec::new(),
    };
    let first = inside(root, &root.join(start)).map(|path| (start.to_owned(), path, 0));
    let mut waiting: Vec<(String, PathBuf, usize)> = first.into_iter().collect();
    let mut seen = 0;
    while let Some((prefix, directory, depth)) = waiting.pop() {
        if let Err(error) = std::fs::read_dir(&directory)
            && listing.unreadable.len() < MAX_UNREADABLE
            && error.kind() != std::io::ErrorKind::NotFound
        {
            let place = printable(&prefix);
            listing
                .unreadable
                .push(format!("folder `{place}` could not be read: {error}"));
        }
        for (name, path, kind) in sorted_entries(&directory) {
            seen += 1;
            if seen > MAX_ENTRIES || listing.files.len() >= limit {
                listing.truncated = true;
                break;
            }
            let relative = format!("{prefix}{name}");
            if kind.is_dir() && depth < MAX_DEPTH {
                waiting.push((format!("{relative}/"), path, depth + 1));
            } else if kind.is_file() && wanted(&relative) {
                listing.files.push((relative, path));
            } else if kind.is_symlink() && wanted(&relative) {
                listing
                    .files
                    .extend(linked_file(root, &path).map(|path| (relative, path)));
            }
        }
    }
    listing.files.sort();
    listing
}

/// What is in a directory, in an order that does not depend on the filesystem.
fn sorted_entries(directory: &Path) -> Vec<(String, PathBuf, FileType)> {
    let entries = std::fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .take(MAX_ENTRIES);
    let mut entries: Vec<_> = entries
        .filter_map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            Some((name, entry.path(), entry.file_type().ok()?))
        })
        .collect();
    entries.sort_by(|a, b| a.1.cmp(&b.1));
    entries
}

/// The path without links, if it lies inside the root.
fn inside(root: &Path, path: &Path) -> Option<PathBuf> {
    let (root, path) = (root.canonicalize().ok()?, path.canonicalize().ok()?);
    path.starts_with(&root).then_some(path)
}

fn linked_file(root: &Path, link: &Path) -> Option<PathBuf> {
    let target = std::fs::read_link(link).ok()?;
    // An absolute link means the root of the machine, not that of this host.
    let path = match target.strip_prefix("/") {
        Ok(absolute) => root.join(absolute),
        Err(_) => link.to_owned(),
    };
    inside(root, &path).filter(|path| path.is_file())
}

/// The text files below `etc/` and zone data, by relative name.
#[derive(Debug, Default)]
pub(crate) struct ConfigFiles {
    files: BTreeMap<String, String>,
    /// Names below `etc/systemd/system/*.wants/`, read from the directories.
    pub links: Vec<String>,
}

impl ConfigFiles {
    pub fn read(machine: &str, folder: &Path, warnings: &mut Vec<String>) -> Self {
        let listing = list_files(folder, "", MAX_CONFIG_FILES, &is_config);
        listing.warn(machine, warnings);
        if listing.truncated {
            warnings.push(format!(
                "{machine}: too many files below etc/; the rest was left out"
            ));
        }
        let mut files = BTreeMap::new();
        let mut total = 0;
        for (relative, path) in listing.files {
            if total >= MAX_CONFIG_TOTAL {
                warnings.push(format!(
                    "{machine}: etc/ is too large; the rest was left out"
                ));
                break;
            }
            match read_text(&path) {
                Ok(Some(text)) => {
                    total += text.len();
                    files.insert(relative, text);
                }
                Ok(None) => {}
                Err(error) => warnings.push(format!("{machine}: {relative}: {error}")),
            }
        }
        Self {
            files,
            links: wanted_units(folder),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.files.get(name).map(String::as_str)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files
            .iter()
            .map(|(name, text)| (name.as_str(), text.as_str()))
    }

    /// The hosts file, wherever the operating system keeps it.
    pub fn hosts(&self) -> Option<&str> {
        let of_windows = || {
            let ends = |(name, _): &(&str, &str)| {
                name.to_ascii_lowercase()
                    .ends_with("system32/drivers/etc/hosts")
            };
            self.iter().find(ends).map(|(_, text)| text)
        };
        self.get("etc/hosts").or_else(of_windows)
    }

    /// Files whose name begins so.
    pub fn below<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.iter()
            .filter(move |(name, _)| name.starts_with(prefix))
    }

    /// A single file.
    pub fn one(name: &str, text: &str) -> Self {
        Self {
            files: BTreeMap::from([(name.to_owned(), text.to_owned())]),
            links: Vec::new(),
        }
    }

    #[cfg(test)]
    pub fn of(files: &[(&str, &str)]) -> Self {
        let files = files
            .iter()
            .map(|(n, t)| ((*n).to_owned(), (*t).to_owned()))
            .collect();
        Self {
            files,
            links: Vec::new(),
        }
    }
}

fn is_config(relative: &str) -> bool {
    let zones = [
        "var/lib/bind/",
        "var/cache/bind/",
        "var/named/",
        "var/lib/named/",
    ];
    let www = relative.starts_with("var/www/") || relative.starts_with("srv/www/");
    relative.starts_with("etc/")
        || www
        || crate::facts::is_configuration_elsewhere(relative)
        || zones.iter().any(|zone| relative.starts_with(zone))
}

/// Unit files and drop-ins, from the vendor and the administrator, by relative name.
pub(crate) fn read_units(folder: &Path) -> BTreeMap<String, String> {
    let places = [
        "usr/lib/systemd/system/",
        "lib/systemd/system/",
        "etc/systemd/system/",
    ];
    let mut units = BTreeMap::new();
    for place in places {
        for (relative, path) in list_files(folder, place, 4_000, &is_unit_file).files {
            if let Ok(Some(text)) = read_text(&path) {
                units.insert(relative, text);
            }
        }
    }
    units
}

/// Enabled units, by name alone: what the links lead to does not matter.
fn wanted_units(folder: &Path) -> Vec<String> {
    let place = "etc/systemd/system";
    let Some(directory) = inside(folder, &folder.join(place)) else {
        return Vec::new();
    };
    let enabling = sorted_entries(&directory)
        .into_iter()
        .filter(|(name, _, kind)| {
            kind.is_dir() && (name.ends_with(".wants") || name.ends_with(".requires"))
        });
    let units = enabling.flat_map(|(name, path, _)| {
        let links = sorted_entries(&path).into_iter().take(1000);
        links
            .map(move |(link, _, _)| format!("{place}/{name}/{link}"))
            .collect::<Vec<_>>()
    });
    units.take(10_000).collect()
}

/// A text file inside a machine folder; links that leave it lead nowhere.
pub(crate) fn read_inside(folder: &Path, relative: &str) -> Option<String> {
    let path = inside(folder, &folder.join(relative))?;
    read_text(&path).ok().flatten()
}

/// The beginning of a text file; `None` for what is not text.
pub(crate) fn read_text(path: &Path) -> std::io::Result<Option<String>> {
    // Opening a pipe would wait for its other end.
    if !std::fs::metadata(path)?.is_file() {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    File::open(path)?
        .take(MAX_CONFIG_FILE)
        .read_to_end(&mut bytes)?;
    if bytes.iter().take(4096).any(|byte| *byte == 0) {
        return Ok(None);
    }
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

/// One machine for each folder below `dir`; names and addresses come from `etc/`.
///
/// A `dir` that is itself the folder of a machine (it holds `etc` or `var`) is that one machine.
pub fn read_directory(dir: &Path) -> std::io::Result<Vec<MachineFolder>> {
    if dir.join("etc").is_dir() || dir.join("var").is_dir() {
        let whole = dir.canonicalize()?;
        return Ok(vec![machine_folder(&whole)]);
    }
    let mut machines = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        // A link that leads out of the directory is nobody's machine.
        if path.is_dir() && inside(dir, &path).is_some() {
            machines.push(machine_folder(&path));
        }
    }
    if machines.is_empty() {
        let expected = "it holds no folders; one folder a machine is expected";
        return Err(std::io::Error::new(std::io::ErrorKind::NotFound, expected));
    }
    machines.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(machines)
}

fn machine_folder(folder: &Path) -> MachineFolder {
    let name = folder
        .file_name()
        .unwrap_or(folder.as_os_str())
        .to_string_lossy()
        .into_owned();
    let identity = identity_of(&ConfigFiles::read(&name, folder, &mut Vec::new()));
    let addresses = identity
        .interfaces
        .iter()
        .flat_map(|i| i.addresses.iter().map(|a| a.addr()));
    MachineFolder {
        name,
        folder: folder.to_owned(),
        addresses: addresses.collect(),
        names: identity.hostname.into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_directory_is_a_site_or_one_machine() {
        let site = tempfile::tempdir().expect("a directory");
        assert!(read_directory(site.path()).is_err(), "nothing in it");
        fs::create_dir_all(site.path().join("web1/etc")).expect("a directory");
        let names = |path: &Path| -> Vec<String> {
            read_directory(path)
                .expect("machines")
                .into_iter()
                .map(|m| m.name)
                .collect()
        };
        assert_eq!(names(site.path()), ["web1"]);
        assert_eq!(names(&site.path().join("web1")), ["web1"]);
    }

    #[test]
    fn links_are_followed_only_inside_the_machine() {
        let host = tempfile::tempdir().expect("a directory");
        let root = host.path().join("m");
        fs::create_dir_all(root.join("etc/enabled")).expect("a directory");
        fs::write(root.join("etc/site"), "inside").expect("a file");
        fs::write(host.path().join("secret"), "outside").expect("a file");
        for (target, link) in [
            ("/etc/site", "etc/enabled/absolute"),
            ("../site", "etc/enabled/relative"),
            ("../../../secret", "etc/enabled/climbing"),
            ("/secret", "etc/enabled/missing"),
            ("/etc", "etc/enabled/directory"),
        ] {
            symlink(target, root.join(link)).expect("a link");
        }
        symlink(host.path(), root.join("etc/out")).expect("a link");
        let names: Vec<String> = list_files(&root, "", 100, &|_| true)
            .files
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        assert_eq!(
            names,
            ["etc/enabled/absolute", "etc/enabled/relative", "etc/site"]
        );
        assert!(
            list_files(&root, "etc/out/", 100, &|_| true)
                .files
                .is_empty()
        );
    }
}
