//! What is installed and configured on a host, for change detection.

use serde::{Deserialize, Serialize};

use super::UnixMillis;

/// What a host consists of. Sorted by name within each part, so that two of them compare simply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Inventory {
    /// When it was taken.
    pub time: UnixMillis,
    /// Name and version of the operating system.
    pub system: String,
    /// The running kernel.
    pub kernel: String,
    /// Installed packages.
    pub packages: Vec<Package>,
    /// The profile's list of configuration files.
    pub configuration: Vec<Configuration>,
    /// Mounted volumes.
    pub volumes: Vec<Volume>,
    /// The profile's services.
    pub services: Vec<ServiceState>,
    /// Listening ports.
    pub listeners: Vec<Listener>,
    /// What the profile's listings print, as the objects of a directory.
    #[serde(default)]
    pub objects: Vec<Object>,
    /// What could not be looked at, and why.
    pub gaps: Vec<String>,
}

/// An installed package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Package {
    /// Its name, with the architecture where there may be several.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// A configuration file. Its contents stay on the host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Configuration {
    /// Where it lies.
    pub path: String,
    /// SHA-256 in hexadecimal; nothing when it is not there.
    pub hash: Option<String>,
    /// Its length in bytes.
    pub size: u64,
    /// When it was last written, in seconds since 1970.
    pub modified: i64,
}

/// A mounted volume.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Volume {
    /// Where it is mounted.
    pub mount_point: String,
    /// What is mounted there.
    pub device: String,
    /// Its filesystem.
    pub filesystem: String,
    /// Its size in bytes.
    pub size: u64,
}

/// A service of the profile.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ServiceState {
    /// Its name in the profile.
    pub name: String,
    /// Whether it runs.
    pub running: bool,
    /// Whether it starts by itself at boot, where that can be known.
    pub starts_at_boot: Option<bool>,
}

/// A listening port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Listener {
    /// `tcp` or `udp`.
    pub protocol: String,
    /// The address it listens at.
    pub address: String,
    /// The port.
    pub port: u16,
}

/// A line of a listing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Object {
    /// The listing's name in the profile.
    pub listing: String,
    /// What comes before the first tab.
    pub name: String,
    /// What follows it, if anything does.
    pub value: String,
}
