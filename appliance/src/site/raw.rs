//! The parsed but not yet validated form, with the place of each value.

use serde::Deserialize;
use toml::Spanned;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSite {
    pub site: RawHeader,
    #[serde(default)]
    pub network: Vec<RawNetwork>,
    #[serde(default)]
    pub machine: Vec<RawMachine>,
    #[serde(default)]
    pub dependency: Vec<RawDependency>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawHeader {
    pub name: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawNetwork {
    pub name: Spanned<String>,
    pub cidr: Spanned<String>,
    pub gateway: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawMachine {
    pub name: Spanned<String>,
    #[serde(default)]
    pub firmware: super::Firmware,
    pub secure_boot: Option<Spanned<bool>>,
    pub uuid: Option<Spanned<String>>,
    pub clock: Option<super::Clock>,
    pub disk_bus: Option<super::DiskBus>,
    pub root: Option<String>,
    #[serde(default = "default_memory")]
    pub memory_mib: Spanned<u64>,
    #[serde(default = "default_vcpus")]
    pub vcpus: Spanned<u32>,
    pub volumes: Spanned<Vec<Spanned<String>>>,
    #[serde(default)]
    pub backing: Vec<RawBacking>,
    #[serde(default)]
    pub nic: Vec<RawNic>,
    #[serde(default)]
    pub gate: Vec<Spanned<RawGate>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawBacking {
    pub volume: Spanned<String>,
    pub chain: Spanned<Vec<Spanned<String>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawNic {
    pub network: Spanned<String>,
    pub mac: Spanned<String>,
    pub address: Option<Spanned<String>>,
    pub model: Option<super::NicModel>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawGate {
    pub icmp: Option<bool>,
    pub tcp: Option<u16>,
    pub http: Option<RawHttp>,
    pub address: Option<Spanned<String>>,
    pub timeout_s: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawHttp {
    #[serde(default = "default_http_port")]
    pub port: u16,
    #[serde(default = "default_path")]
    pub path: String,
    pub host: Option<String>,
    pub expect: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawDependency {
    pub before: Spanned<String>,
    pub after: Spanned<String>,
}

fn default_memory() -> Spanned<u64> {
    Spanned::new(0..0, 1024)
}

fn default_vcpus() -> Spanned<u32> {
    Spanned::new(0..0, 1)
}

fn default_http_port() -> u16 {
    80
}

fn default_path() -> String {
    "/".to_owned()
}
