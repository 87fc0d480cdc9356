//! Windows registry hives: who a machine is, whom it is configured to use, what it runs.
//!
//! `lifeboat-hive` reads the file and applies its transaction logs; the modules here take the facts
//! out.

mod identity;
mod network;
mod service;
mod software;
mod storage;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::event::printable;
use crate::facts::{Reference, Weight};
use crate::folder::list_files;
use crate::identity::Interface;
use crate::services;

pub(crate) use lifeboat_hive::Hive;
use lifeboat_hive::Key;
pub(crate) use service::{WindowsService, needs};

/// Larger than any hive that Windows itself loads in practice.
const MAX_HIVE: u64 = 512 << 20;
const MAX_CANDIDATES: usize = 2_000;
const MAX_HIVES: usize = 50;
const MAX_REFERENCES: usize = 1_000;

/// Why a hive was not used.
#[derive(Debug, Error)]
pub enum HiveError {
    /// The file could not be read.
    #[error("failed to read the registry hive")]
    Io(#[from] std::io::Error),
    /// The file is something else, or damaged from its first key on.
    #[error(transparent)]
    Unusable(#[from] lifeboat_hive::HiveError),
    /// No machine has a hive of this size.
    #[error("the registry hive is larger than {} MiB", MAX_HIVE >> 20)]
    TooLarge,
}

/// What the hives of one machine say.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    /// Names of the machine, lower case, the NetBIOS name too.
    pub names: Vec<String>,
    /// The domain it belongs to, and others it searches.
    pub domains: Vec<String>,
    pub interfaces: Vec<Interface>,
    /// Addresses it got by DHCP last.
    pub leased: Vec<std::net::IpAddr>,
    pub references: Vec<Reference>,
    /// Services and drivers, in the order of the hive.
    pub services: Vec<WindowsService>,
    /// Whether it holds the directory of its domain.
    pub is_domain_controller: bool,
    /// Keys of the table of services, with the registry key that says so.
    pub roles: Vec<(String, String)>,
    /// The file that `services` and `roles` come from.
    pub file: String,
}

/// What a registry hive holds, for those who have nothing but the hive.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HiveSurvey {
    /// Names of the machine.
    pub names: Vec<String>,
    /// Services and drivers.
    pub services: usize,
    /// What they say they need of each other.
    pub dependencies: usize,
    /// Other hosts that it names, and the service wanted there.
    pub references: Vec<(String, String)>,
    /// Changes are missing that transaction logs should hold.
    pub is_torn: bool,
}

/// Reads a hive in memory, with its transaction logs in any sequence.
pub fn survey_hive(bytes: Vec<u8>, logs: &[Vec<u8>]) -> Result<HiveSurvey, HiveError> {
    let hive = Hive::open(bytes, logs)?;
    let mut registry = Registry::default();
    read_hive(&hive, "hive", &mut registry);
    let needed = registry.services.iter();
    Ok(HiveSurvey {
        services: registry.services.len(),
        dependencies: needed
            .map(|service| needs(&registry.services, service).len())
            .sum(),
        names: registry.names,
        references: registry
            .references
            .into_iter()
            .map(|found| (found.target, found.service.unwrap_or_default()))
            .collect(),
        is_torn: hive.is_torn,
    })
}

/// Where facts of one hive go.
struct Facts<'a> {
    file: &'a str,
    registry: &'a mut Registry,
}

impl Facts<'_> {
    /// Notes that a value names another host.
    fn refer(&mut self, key: &str, value: &str, target: &str, service: &str, weight: Weight) {
        if self.registry.references.len() >= MAX_REFERENCES || !crate::facts::is_host_like(target) {
            return;
        }
        let port = services::by_key(service).and_then(|s| s.ports.first().copied());
        self.registry.references.push(Reference {
            file: self.file.to_owned(),
            line: 0,
            key: Some(printable(key)),
            text: printable(value),
            target: target.to_owned(),
            service: (!service.is_empty()).then(|| service.to_owned()),
            port,
            kind: None,
            weight,
        });
    }
}

/// Reads every hive of a machine folder; what cannot be used becomes a warning.
pub(crate) fn read_registry(machine: &str, folder: &Path, warnings: &mut Vec<String>) -> Registry {
    let mut registry = Registry::default();
    let mut has_system = false;
    let files = list_files(folder, "", MAX_CANDIDATES, &may_be_hive).files;
    let mut hives: Vec<&(String, PathBuf)> = files
        .iter()
        .filter(|(relative, path)| !is_log(relative) && (is_named(relative) || has_magic(path)))
        .collect();
    // Copies that Windows keeps of its hives are older than the hives.
    hives.sort_by_key(|(relative, _)| (is_copy(relative), relative.clone()));
    for (relative, path) in hives.into_iter().take(MAX_HIVES) {
        match open(relative, path, &files) {
            Ok(hive) => {
                let is_system = network::control_set(&hive).is_some();
                if hive.is_torn && !is_copy(relative) {
                    warnings.push(format!(
                        "{machine}: {relative}: changes to the registry that its transaction logs should hold are missing"
                    ));
                }
                if is_system && has_system {
                    if !is_copy(relative) {
                        warnings.push(format!(
                            "{machine}: {relative}: a second SYSTEM hive; the first one was used"
                        ));
                    }
                    continue;
                }
                has_system |= is_system;
                read_hive(&hive, relative, &mut registry);
            }
            Err(error) => warnings.push(format!("{machine}: {relative}: {}", explain(&error))),
        }
    }
    registry
}

fn explain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// Takes the facts out of one hive, whichever it is.
fn read_hive(hive: &Hive, file: &str, registry: &mut Registry) {
    if let Some(set) = network::control_set(hive) {
        registry.file = file.to_owned();
        let mut facts = Facts { file, registry };
        identity::read(set, &mut facts);
        network::read(set, &mut facts);
        service::read(set, &mut facts);
        storage::read(set, &mut facts);
    } else if let Some(root) = hive.root() {
        software::read(root, &mut Facts { file, registry });
    }
}

fn open(relative: &str, path: &Path, files: &[(String, PathBuf)]) -> Result<Hive, HiveError> {
    let lower = relative.to_ascii_lowercase();
    let mut logs = Vec::new();
    for (other, path) in files {
        let rest = other.to_ascii_lowercase();
        if matches!(
            rest.strip_prefix(lower.as_str()),
            Some(".log" | ".log1" | ".log2")
        ) {
            logs.push(bytes_of(path)?);
        }
    }
    Ok(Hive::open(bytes_of(path)?, &logs)?)
}

fn bytes_of(path: &Path) -> Result<Vec<u8>, HiveError> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(MAX_HIVE + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_HIVE {
        return Err(HiveError::TooLarge);
    }
    Ok(bytes)
}

const NAMES: &[&str] = &["system", "software", "ntuser.dat", "clusdb"];

fn base_of(relative: &str) -> String {
    relative
        .rsplit('/')
        .next()
        .unwrap_or(relative)
        .to_ascii_lowercase()
}

/// Named like a hive at a place where Windows has them.
fn is_named(relative: &str) -> bool {
    let lower = relative.to_ascii_lowercase();
    let is_place = !lower.contains('/') || lower.contains("/config/") || lower.contains("users/");
    is_place && NAMES.contains(&base_of(relative).as_str())
}

fn is_log(relative: &str) -> bool {
    let base = base_of(relative);
    [".log", ".log1", ".log2"]
        .iter()
        .any(|end| base.ends_with(end))
}

fn is_copy(relative: &str) -> bool {
    let lower = relative.to_ascii_lowercase();
    ["regback/", "windows.old/", "repair/", "backup"]
        .iter()
        .any(|mark| lower.contains(mark))
}

/// Whether a file is worth four bytes of reading to see what it is.
fn may_be_hive(relative: &str) -> bool {
    let lower = relative.to_ascii_lowercase();
    let is_linux = ["etc/", "usr/", "var/", "lib/", "proc/", "sys/"]
        .iter()
        .any(|place| lower.starts_with(place));
    let base = base_of(relative);
    let extension = base.rsplit_once('.').map_or("", |(_, extension)| extension);
    let fits = ["", "log", "log1", "log2", "dat", "hiv", "hive", "hve"].contains(&extension)
        || extension.chars().all(|c| c.is_ascii_digit());
    !is_linux && fits
}

fn has_magic(path: &Path) -> bool {
    let mut magic = [0; 4];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut magic));
    read.is_ok() && &magic == b"regf"
}

/// Hosts in a value that lists them ("10.0.0.10,10.0.0.11 10.0.0.12").
fn listed(value: &str) -> impl Iterator<Item = &str> {
    value
        .split([' ', ',', ';', '\t'])
        .map(|word| word.trim_matches(['[', ']']))
        .filter(|word| !word.is_empty() && *word != "0.0.0.0")
}

/// The host of `\\host\share`.
fn host_of_share(path: &str) -> Option<&str> {
    let rest = path
        .trim_matches('"')
        .strip_prefix("\\\\")
        .filter(|rest| !rest.starts_with(['?', '.']))?;
    rest.split(['\\', '@'])
        .next()
        .filter(|host| !host.is_empty())
}

#[cfg(test)]
mod tests;
