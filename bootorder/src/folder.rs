//! Machine folders: the logs and configuration of one machine, as the injector writes them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use crate::identity::machine_identity;
use crate::services;

const MAX_DEPTH: usize = 24;
const MAX_ENTRIES: usize = 400_000;
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
}

/// Lists regular files without following links.
pub(crate) fn list_files(folder: &Path, limit: usize, wanted: &dyn Fn(&str) -> bool) -> Listing {
    let mut files = Vec::new();
    let mut waiting = vec![(String::new(), folder.to_owned(), 0)];
    let mut seen = 0;
    let mut truncated = false;
    while let Some((prefix, directory, depth)) = waiting.pop() {
        let Ok(entries) = std::fs::read_dir(&directory) else {
            continue;
        };
        for entry in entries.flatten() {
            seen += 1;
            if seen > MAX_ENTRIES || files.len() >= limit {
                truncated = true;
                break;
            }
            let Ok(kind) = entry.file_type() else {
                continue;
            };
            let relative = format!("{prefix}{}", entry.file_name().to_string_lossy());
            if kind.is_dir() && depth < MAX_DEPTH {
                waiting.push((format!("{relative}/"), entry.path(), depth + 1));
            } else if kind.is_file() && wanted(&relative) {
                files.push((relative, entry.path()));
            }
        }
    }
    files.sort();
    Listing { files, truncated }
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
        let listing = list_files(folder, MAX_CONFIG_FILES, &is_config);
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

    /// Files whose name begins so.
    pub fn below<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.iter()
            .filter(move |(name, _)| name.starts_with(prefix))
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
    relative.starts_with("etc/") || www || zones.iter().any(|zone| relative.starts_with(zone))
}

/// Unit files of services, from the vendor and the administrator, by relative name.
pub(crate) fn read_units(folder: &Path) -> BTreeMap<String, String> {
    let places = [
        "usr/lib/systemd/system/",
        "lib/systemd/system/",
        "etc/systemd/system/",
    ];
    let mut units = BTreeMap::new();
    for place in places {
        let is_unit = |name: &str| name.ends_with(".service");
        for (relative, path) in list_files(&folder.join(place), 4_000, &is_unit).files {
            let name = relative.rsplit('/').next().unwrap_or(&relative);
            if services::by_unit(name).is_some()
                && let Ok(Some(text)) = read_text(&path)
            {
                units.insert(format!("{place}{relative}"), text);
            }
        }
    }
    units
}

/// Enabled units: links are taken by name alone, so that nothing outside is ever opened.
fn wanted_units(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder.join("etc/systemd/system")) else {
        return Vec::new();
    };
    let mut units = Vec::new();
    for directory in entries.flatten().take(1000) {
        let name = directory.file_name().to_string_lossy().into_owned();
        let is_directory = directory.file_type().is_ok_and(|kind| kind.is_dir());
        if !is_directory || !(name.ends_with(".wants") || name.ends_with(".requires")) {
            continue;
        }
        let Ok(links) = std::fs::read_dir(directory.path()) else {
            continue;
        };
        let links = links.flatten().take(1000);
        units.extend(links.map(|l| {
            format!(
                "etc/systemd/system/{name}/{}",
                l.file_name().to_string_lossy()
            )
        }));
    }
    units.sort();
    units
}

/// The beginning of a text file; `None` for what is not text.
pub(crate) fn read_text(path: &Path) -> std::io::Result<Option<String>> {
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
pub fn read_directory(dir: &Path) -> std::io::Result<Vec<MachineFolder>> {
    let mut machines = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if !entry.path().is_dir() {
            continue;
        }
        let name = entry.file_name().to_string_lossy().into_owned();
        let identity = machine_identity(&entry.path());
        let addresses = identity
            .interfaces
            .iter()
            .flat_map(|i| i.addresses.iter().map(|a| a.addr()));
        machines.push(MachineFolder {
            name,
            folder: entry.path(),
            addresses: addresses.collect(),
            names: identity.hostname.into_iter().collect(),
        });
    }
    machines.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(machines)
}
