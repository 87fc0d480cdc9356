//! What a guest's configuration says of its interfaces, in five languages.

mod ifcfg;
mod ifupdown;
mod keyfile;
mod netplan;
mod remembered;
mod yaml;

pub mod links;

pub use remembered::Remembered;

use super::root::Root;
use crate::report::{Interface, NetworkStyle};

/// No directory of configuration holds more files that matter.
const MOST_FILES: usize = 1000;
/// No machine has more interfaces.
const MOST_INTERFACES: usize = 2000;

/// An interface and the interfaces it stands on (bridge port, VLAN parent, bond member).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configured {
    /// What the report says of it.
    pub interface: Interface,
    /// Names of interfaces below.
    pub lower: Vec<String>,
    /// Whether it is no card: a bond, bridge, VLAN...
    pub is_virtual: bool,
}

impl Configured {
    fn new(name: &str, style: NetworkStyle) -> Self {
        let interface = Interface {
            name: name.to_owned(),
            style,
            addresses: Vec::new(),
            gateway: None,
            dns: Vec::new(),
            mac: None,
        };
        Self {
            interface,
            lower: Vec::new(),
            is_virtual: false,
        }
    }

    /// An interface that stands on others.
    fn above(name: &str, lower: Vec<String>, style: NetworkStyle) -> Self {
        Self {
            lower,
            is_virtual: true,
            ..Self::new(name, style)
        }
    }

    fn says_something(&self) -> bool {
        !self.interface.name.is_empty() || self.interface.mac.is_some()
    }
}

/// What a guest knows of its interfaces.
#[derive(Debug, Default)]
pub struct Knowledge {
    /// What is configured.
    pub configured: Vec<Configured>,
    /// What was remembered of names, MAC addresses and leases.
    pub remembered: Vec<Remembered>,
}

impl Knowledge {
    /// Reads everything.
    pub fn of_guest(root: &Root) -> Self {
        Self {
            configured: configured(root),
            remembered: remembered::all(root),
        }
    }
}

/// The interfaces that one text describes in one of the languages; `name` is
/// what the name of an `ifcfg` file says.
pub fn interfaces_in(style: NetworkStyle, name: &str, text: &str) -> Vec<Configured> {
    match style {
        NetworkStyle::Ifupdown => ifupdown::parse(text),
        NetworkStyle::Networkd => {
            let mut all = keyfile::networkd(text);
            all.extend(keyfile::netdev(text));
            all
        }
        NetworkStyle::Netplan => netplan::parse(text),
        NetworkStyle::NetworkManager => keyfile::network_manager(&[text.to_owned()]),
        NetworkStyle::Ifcfg => ifcfg::parse(name, text),
        // A registry is no text.
        NetworkStyle::Registry => Vec::new(),
    }
}

/// All configured interfaces except the loopback.
pub fn configured(root: &Root) -> Vec<Configured> {
    let mut all = ifupdown::parse(&ifupdown::whole_text(root));
    all.extend(networkd(root));
    let places = ["etc/netplan", "run/netplan", "lib/netplan"];
    for (_, text) in texts(root, &places, ".yaml") {
        all.extend(netplan::parse(&text));
    }
    let places = [
        "etc/NetworkManager/system-connections",
        "usr/lib/NetworkManager/system-connections",
    ];
    let connections = texts(root, &places, "").into_iter().map(|(_, text)| text);
    all.extend(keyfile::network_manager(&connections.collect::<Vec<_>>()));
    for directory in ["etc/sysconfig/network-scripts", "etc/sysconfig/network"] {
        for (name, text) in texts(root, &[directory], "") {
            if let Some(device) = name.strip_prefix("ifcfg-").filter(|name| !is_backup(name)) {
                all.extend(ifcfg::parse(device, &text));
            }
        }
    }
    all.retain(|found| found.interface.name != "lo" && found.says_something());
    all.truncate(MOST_INTERFACES);
    all
}

/// `.network` files with their drop-ins, and the devices of `.netdev` files.
fn networkd(root: &Root) -> Vec<Configured> {
    let directory = "etc/systemd/network";
    let mut all = Vec::new();
    for (name, mut text) in texts(root, &[directory], ".network") {
        for (_, more) in texts(root, &[&format!("{directory}/{name}.d")], ".conf") {
            text.push('\n');
            text.push_str(&more);
        }
        all.extend(keyfile::networkd(&text));
    }
    for (_, text) in texts(root, &[directory], ".netdev") {
        all.extend(keyfile::netdev(&text));
    }
    all
}

/// Files that the tools themselves pass over.
fn is_backup(name: &str) -> bool {
    let endings = [
        "~", ".bak", ".orig", ".rpmsave", ".rpmnew", ".rpmorig", ".old",
    ];
    endings.iter().any(|ending| name.ends_with(ending))
}

fn texts(root: &Root, directories: &[&str], ending: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for directory in directories {
        let names = root.list(directory).into_iter().map(|(name, _)| name);
        for name in names.filter(|name| name.ends_with(ending)).take(MOST_FILES) {
            let text = root.text(&format!("{directory}/{name}"));
            found.push((name, text));
        }
    }
    found
}

/// A MAC address in lower case with colons, or nothing.
pub fn normalised_mac(text: &str) -> Option<String> {
    let text = text
        .trim()
        .trim_matches(['"', '\''])
        .replace('-', ":")
        .to_ascii_lowercase();
    let parts: Vec<&str> = text.split(':').collect();
    let valid = parts.len() == 6
        && parts
            .iter()
            .all(|part| part.len() == 2 && u8::from_str_radix(part, 16).is_ok());
    valid.then_some(text)
}

/// `255.255.255.0` is 24.
fn prefix_of_netmask(mask: &str) -> Option<u32> {
    if let Ok(prefix) = mask.parse::<u32>() {
        return (prefix <= 128).then_some(prefix);
    }
    let mask: std::net::Ipv4Addr = mask.parse().ok()?;
    Some(u32::from(mask).leading_ones())
}

fn with_prefix(address: &str, mask: Option<&str>) -> String {
    match mask.and_then(prefix_of_netmask) {
        Some(prefix) if !address.contains('/') => format!("{address}/{prefix}"),
        _ => address.to_owned(),
    }
}
