//! What a guest's configuration says of its interfaces, in five languages.

mod ifcfg;
mod ifupdown;
mod keyfile;
mod netplan;
mod yaml;

pub mod links;

use super::root::Root;
use crate::report::{Interface, NetworkStyle};

/// An interface and the interfaces it stands on (bridge port, VLAN parent, bond member).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configured {
    /// What the report says of it.
    pub interface: Interface,
    /// Names of interfaces below.
    pub lower: Vec<String>,
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
        }
    }

    fn says_something(&self) -> bool {
        !self.interface.name.is_empty() || self.interface.mac.is_some()
    }
}

/// All configured interfaces except the loopback.
pub fn configured(root: &Root) -> Vec<Configured> {
    let mut all = ifupdown::parse(&ifupdown::whole_text(root));
    for text in texts(root, &["etc/systemd/network"], ".network") {
        all.extend(keyfile::networkd(&text.1));
    }
    for (_, text) in texts(root, &["etc/netplan", "lib/netplan"], ".yaml") {
        all.extend(netplan::parse(&text));
    }
    for (_, text) in texts(root, &["etc/NetworkManager/system-connections"], "") {
        all.extend(keyfile::network_manager(&text));
    }
    for directory in ["etc/sysconfig/network-scripts", "etc/sysconfig/network"] {
        for (name, text) in texts(root, &[directory], "") {
            if let Some(device) = name.strip_prefix("ifcfg-") {
                all.extend(ifcfg::parse(device, &text));
            }
        }
    }
    all.retain(|found| found.interface.name != "lo" && found.says_something());
    all
}

fn texts(root: &Root, directories: &[&str], ending: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for directory in directories {
        for (name, _) in root.list(directory) {
            if name.ends_with(ending) {
                let text = root.text(&format!("{directory}/{name}"));
                found.push((name, text));
            }
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
