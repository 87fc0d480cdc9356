//! What a guest's configuration says of its interfaces, in five languages.

mod ifcfg;
mod ifupdown;
mod keyfile;
mod netplan;
mod remembered;
mod yaml;

pub mod links;

pub use remembered::{Remembered, in_file as remembered_in};

use std::cell::Cell;

use super::root::Root;
use crate::refusal::Refusal;
use crate::report::{Interface, NetworkStyle};

/// No directory of configuration holds more files that matter.
const MOST_FILES: usize = 1000;
/// No machine has more interfaces.
const MOST_INTERFACES: usize = 2000;
/// All configuration of networks together, in bytes. What is understood takes
/// several times as much memory.
const MOST_TEXT: usize = 8 << 20;

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
    pub fn of_guest(root: &Root) -> Result<Self, Refusal> {
        let texts = Texts::of(root);
        let knowledge = Self {
            configured: all_configured(&texts),
            remembered: remembered::all(&texts),
        };
        texts.all_were_read()?;
        Ok(knowledge)
    }
}

/// Reads texts as long as all of them together are no more than they may be.
struct Texts<'a> {
    root: &'a Root,
    left: Cell<usize>,
    exceeded: Cell<bool>,
}

impl<'a> Texts<'a> {
    fn of(root: &'a Root) -> Self {
        Self {
            root,
            left: Cell::new(MOST_TEXT),
            exceeded: Cell::new(false),
        }
    }

    /// One text; an empty one where it would be too much.
    fn one(&self, path: &str) -> String {
        if self.exceeded.get() {
            return String::new();
        }
        let text = self.root.text(path);
        match self.left.get().checked_sub(text.len()) {
            Some(left) => {
                self.left.set(left);
                text
            }
            None => {
                self.exceeded.set(true);
                String::new()
            }
        }
    }

    /// All with an ending, by their names.
    fn all(&self, directories: &[&str], ending: &str) -> Vec<(String, String)> {
        let mut found = Vec::new();
        for directory in directories {
            let names = self.root.list(directory).into_iter().map(|(name, _)| name);
            for name in names.filter(|name| name.ends_with(ending)).take(MOST_FILES) {
                let text = self.one(&format!("{directory}/{name}"));
                found.push((name, text));
            }
        }
        found
    }

    fn all_were_read(&self) -> Result<(), Refusal> {
        match self.exceeded.get() {
            true => Err(Refusal::TooMuch {
                by_memory: false,
                what: "network configuration".to_owned(),
                limit: MOST_TEXT as u64 >> 20,
            }),
            false => Ok(()),
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
pub fn configured(root: &Root) -> Result<Vec<Configured>, Refusal> {
    let texts = Texts::of(root);
    let all = all_configured(&texts);
    texts.all_were_read()?;
    Ok(all)
}

fn all_configured(texts: &Texts) -> Vec<Configured> {
    let mut all = ifupdown::parse(&ifupdown::whole_text(texts));
    let mut add = |more: Vec<Configured>| {
        all.extend(more);
        all.truncate(MOST_INTERFACES);
    };
    networkd(texts, &mut add);
    let places = ["etc/netplan", "run/netplan", "lib/netplan"];
    for (_, text) in texts.all(&places, ".yaml") {
        add(netplan::parse(&text));
    }
    let places = [
        "etc/NetworkManager/system-connections",
        "usr/lib/NetworkManager/system-connections",
    ];
    let connections = texts.all(&places, "").into_iter().map(|(_, text)| text);
    add(keyfile::network_manager(&connections.collect::<Vec<_>>()));
    for directory in ["etc/sysconfig/network-scripts", "etc/sysconfig/network"] {
        for (name, text) in texts.all(&[directory], "") {
            if let Some(device) = name.strip_prefix("ifcfg-").filter(|name| !is_backup(name)) {
                add(ifcfg::parse(device, &text));
            }
        }
    }
    all.retain(|found| found.interface.name != "lo" && found.says_something());
    all
}

/// `.network` files with their drop-ins, and the devices of `.netdev` files.
fn networkd(texts: &Texts, add: &mut impl FnMut(Vec<Configured>)) {
    let directory = "etc/systemd/network";
    for (name, mut text) in texts.all(&[directory], ".network") {
        for (_, more) in texts.all(&[&format!("{directory}/{name}.d")], ".conf") {
            text.push('\n');
            text.push_str(&more);
        }
        add(keyfile::networkd(&text));
    }
    for (_, text) in texts.all(&[directory], ".netdev") {
        add(keyfile::netdev(&text).into_iter().collect());
    }
}

/// Files that the tools themselves pass over.
fn is_backup(name: &str) -> bool {
    let endings = [
        "~", ".bak", ".orig", ".rpmsave", ".rpmnew", ".rpmorig", ".old",
    ];
    endings.iter().any(|ending| name.ends_with(ending))
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
