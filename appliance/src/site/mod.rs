//! `site.toml`: the machines and networks that belong together.
//!
//! Three stages, so that later code sees only what is valid: the text, the
//! parsed [`raw`] form with the place of every value, and the validated
//! [`Site`]. Unknown keys and impossible values are errors that name the key
//! and its line.

pub mod draft;
mod gate;
mod raw;
mod validate;

pub(crate) use validate::is_plain_name;

pub use gate::{Gate, GateKind};

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnet::Ipv4Net;
use lifeboat_network::MacAddr;
use serde::{Deserialize, Serialize};

use crate::hardware::{Clock, DiskBus, NicModel};

/// A validated site.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Site {
    /// Name of the site, usable in paths and domain names.
    pub name: String,
    /// The file it was read from.
    #[schema(value_type = String)]
    pub file: PathBuf,
    /// Networks in the order of the file.
    pub networks: Vec<Network>,
    /// Machines in the order of the file.
    pub machines: Vec<Machine>,
    /// The operator's word on dependencies.
    pub dependencies: Vec<Dependency>,
}

/// One layer-2 network of the site.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Network {
    /// Name that NICs refer to.
    pub name: String,
    /// Its IPv4 range.
    #[schema(value_type = String)]
    pub cidr: Ipv4Net,
    /// The address answered by the switch.
    #[schema(value_type = Option<String>)]
    pub gateway: Option<std::net::Ipv4Addr>,
}

/// Firmware that the machine boots with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Firmware {
    /// Legacy BIOS.
    #[default]
    Bios,
    /// UEFI with fresh variables.
    Uefi,
}

/// One machine of the site.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Machine {
    /// Name of the machine.
    pub name: String,
    /// Firmware to boot with.
    pub firmware: Firmware,
    /// The firmware starts only what is signed.
    #[serde(default)]
    pub secure_boot: bool,
    /// The machine's own id (SMBIOS), when it is known; a new one for each session otherwise.
    #[serde(default)]
    pub uuid: Option<String>,
    /// What its clock shows, when the operator says so.
    #[serde(default)]
    pub clock: Option<Clock>,
    /// The bus of its disks, when the operator says so.
    #[serde(default)]
    pub disk_bus: Option<DiskBus>,
    /// The root filesystem of the system that is meant, where its disks hold several.
    #[serde(default)]
    pub root: Option<String>,
    /// Guest memory in MiB.
    pub memory_mib: u64,
    /// Number of virtual processors.
    pub vcpus: u32,
    /// Captured volumes, absolute, in the order of the machine's disks.
    #[schema(value_type = Vec<String>)]
    pub volumes: Vec<PathBuf>,
    /// What lies below those volumes that hold only differences.
    #[serde(default)]
    pub backing: Vec<Backing>,
    /// Network cards.
    pub nics: Vec<Nic>,
    /// Conditions under which it counts as ready; empty: learned.
    pub gates: Vec<Gate>,
}

/// The files below one captured volume, which the operator vouches for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Backing {
    /// The volume, as it stands among the machine's volumes.
    #[schema(value_type = String)]
    pub volume: PathBuf,
    /// The files below it, absolute, nearest first.
    #[schema(value_type = Vec<String>)]
    pub chain: Vec<PathBuf>,
}

impl Machine {
    /// The files below a captured volume; none for most.
    pub fn chain_of(&self, volume: &std::path::Path) -> &[PathBuf] {
        let named = self.backing.iter().find(|backing| backing.volume == volume);
        named.map_or(&[], |backing| &backing.chain)
    }
}

/// One network card.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Nic {
    /// Name of the network it is plugged into.
    pub network: String,
    /// The address that the captured machine's card had.
    #[schema(value_type = String)]
    pub mac: MacAddr,
    /// Static address, when it has one.
    #[schema(value_type = Option<String>)]
    pub address: Option<std::net::Ipv4Addr>,
    /// Its model, when the operator says so.
    #[serde(default)]
    pub model: Option<NicModel>,
}

/// "`before` must be ready before `after` starts", said by the operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Dependency {
    /// The machine that is needed.
    pub before: String,
    /// The machine that needs it.
    pub after: String,
}

/// What is wrong with a `site.toml`.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// The file cannot be read.
    #[error("failed to read site file `{file}`")]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The text is not TOML of the expected shape.
    #[error("`{file}`: {message}")]
    Syntax {
        /// The file.
        file: PathBuf,
        /// The parser's words: line, column, key, what was expected.
        message: String,
    },
    /// A value is impossible.
    #[error("`{file}` line {line}, key `{key}`: {problem}")]
    Value {
        /// The file.
        file: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Dotted key.
        key: String,
        /// What is wrong, what was expected, what to do.
        problem: String,
    },
}

/// Whether a captured volume may be used; if not, what is wrong and what to do.
pub type VolumeCheck<'a> = &'a dyn Fn(&Path) -> Result<(), String>;

fn is_there(volume: &Path) -> Result<(), String> {
    match volume.exists() {
        true => Ok(()),
        false => Err(format!(
            "captured volume `{}` does not exist: paths are relative to the folder of the site file",
            volume.display()
        )),
    }
}

impl Site {
    /// Reads and validates a site file; `path` may be the file or its folder.
    pub fn load(path: &Path) -> Result<Self, SiteError> {
        let file = if path.is_dir() {
            path.join("site.toml")
        } else {
            path.to_path_buf()
        };
        let text = lifeboat_centre::read_text(&file).map_err(|source| SiteError::Read {
            file: file.clone(),
            source,
        })?;
        let file = std::path::absolute(&file).unwrap_or(file);
        Self::parse(&file, &text)
    }

    /// Validates the text of a site file; relative volumes are taken from the
    /// folder of `file`.
    pub fn parse(file: &Path, text: &str) -> Result<Self, SiteError> {
        Self::parse_with(file, text, &is_there)
    }

    /// Like [`Site::parse`], with a check of one's own for each captured volume.
    pub fn parse_with(
        file: &Path,
        text: &str,
        volume_check: VolumeCheck,
    ) -> Result<Self, SiteError> {
        let raw = toml::from_str(text).map_err(|error| SiteError::Syntax {
            file: file.to_path_buf(),
            message: error.to_string().trim_end().to_owned(),
        })?;
        validate::Validator::new(file, text, volume_check).site(raw)
    }
}

impl Site {
    /// The names of its machines.
    pub fn machine_names(&self) -> Vec<String> {
        self.machines
            .iter()
            .map(|machine| machine.name.clone())
            .collect()
    }
}

impl Machine {
    /// Its static addresses.
    pub fn addresses(&self) -> Vec<IpAddr> {
        self.nics
            .iter()
            .filter_map(|nic| nic.address)
            .map(IpAddr::V4)
            .collect()
    }
}

#[cfg(test)]
mod tests;
