//! What a machine calls itself: host name, network cards, static addresses.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::folder::ConfigFiles;
use crate::hive::read_registry;
use crate::readers::read_history;

/// Who a machine is, for a first `site.toml`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// From `etc/hostname` or the registry.
    pub hostname: Option<String>,
    /// Cards named by the kernel or configured, by name.
    pub interfaces: Vec<Interface>,
}

/// One network card.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// The name the operating system knows it by.
    pub name: String,
    /// Hardware address, lower case, where a log or file tells it.
    pub mac: Option<String>,
    /// Static addresses with their prefix.
    pub addresses: Vec<IpNet>,
    /// Default gateway configured on it.
    pub gateway: Option<IpAddr>,
}

/// Reads host name and interfaces from a machine folder; what is missing stays empty.
pub fn machine_identity(folder: &Path) -> Identity {
    let config = ConfigFiles::read("", folder, &mut Vec::new());
    let mut identity = identity_of(&config);
    let registry = read_registry("", folder, &mut Vec::new());
    let hostname = || {
        registry
            .names
            .iter()
            .find(|name| !name.contains('.'))
            .cloned()
    };
    identity.hostname = identity.hostname.take().or_else(hostname);
    identity.interfaces.extend(registry.interfaces.clone());
    let history = read_history("", folder, &BTreeMap::new(), &mut Vec::new());
    for (name, mac) in cards(&history.card_lines) {
        interface(&mut identity.interfaces, &name)
            .mac
            .get_or_insert(mac);
    }
    identity.interfaces.sort_by(|a, b| a.name.cmp(&b.name));
    identity
}

/// The part of the identity that configuration alone tells.
pub(crate) fn identity_of(config: &ConfigFiles) -> Identity {
    let mut interfaces = Vec::new();
    for (name, text) in config.below("etc/") {
        match name {
            "etc/network/interfaces" => ifupdown(text, &mut interfaces),
            _ if name.starts_with("etc/network/interfaces.d/") => ifupdown(text, &mut interfaces),
            _ if name.starts_with("etc/systemd/network/") && name.ends_with(".network") => {
                networkd(text, &mut interfaces);
            }
            _ if name.starts_with("etc/systemd/network/") && name.ends_with(".link") => {
                link_file(text, &mut interfaces);
            }
            _ if name.starts_with("etc/udev/rules.d/") => udev_rules(text, &mut interfaces),
            _ if name.starts_with("etc/netplan/") => netplan(text, &mut interfaces),
            _ if name.ends_with(".nmconnection") => network_manager(text, &mut interfaces),
            _ if name.contains("network-scripts/ifcfg-") || name.contains("/network/ifcfg-") => {
                ifcfg(text, &mut interfaces);
            }
            _ => {}
        }
    }
    interfaces.retain(|i: &Interface| i.name != "lo");
    let hostname = config
        .get("etc/hostname")
        .and_then(first_word)
        .map(str::to_ascii_lowercase);
    Identity {
        hostname,
        interfaces,
    }
}

fn first_word(text: &str) -> Option<&str> {
    text.lines()
        .map(str::trim)
        .find(|line| !line.is_empty() && !line.starts_with('#'))
}

fn interface<'a>(interfaces: &'a mut Vec<Interface>, name: &str) -> &'a mut Interface {
    let at = interfaces
        .iter()
        .position(|i| i.name == name)
        .unwrap_or_else(|| {
            interfaces.push(Interface {
                name: name.to_owned(),
                ..Interface::default()
            });
            interfaces.len() - 1
        });
    &mut interfaces[at]
}

fn add_address(interface: &mut Interface, text: &str, netmask: Option<&str>) {
    let text = text.trim().trim_matches(['"', '\'']);
    let net = text.parse::<IpNet>().ok().or_else(|| {
        let address: IpAddr = text.parse().ok()?;
        let prefix = match netmask.map(str::trim) {
            Some(mask) => mask
                .parse()
                .ok()
                .or_else(|| ipnet::ip_mask_to_prefix(mask.parse().ok()?).ok())?,
            None => {
                if address.is_ipv4() {
                    32
                } else {
                    128
                }
            }
        };
        IpNet::new(address, prefix).ok()
    });
    if let Some(net) = net
        && !interface.addresses.contains(&net)
    {
        interface.addresses.push(net);
    }
}

fn ifupdown(text: &str, interfaces: &mut Vec<Interface>) {
    let lines: Vec<Vec<&str>> = text
        .lines()
        .map(|l| l.split_whitespace().collect())
        .collect();
    for (at, line) in lines.iter().enumerate() {
        let ["iface", name, rest @ ..] = line.as_slice() else {
            continue;
        };
        if rest.contains(&"loopback") {
            continue;
        }
        let stanza = lines[at + 1..]
            .iter()
            .take_while(|l| !matches!(l.first(), Some(&("iface" | "auto" | "mapping" | "source"))));
        let stanza: Vec<_> = stanza.collect();
        let value = |key: &str| {
            stanza
                .iter()
                .find(|l| l.first() == Some(&key))
                .and_then(|l| l.get(1).copied())
        };
        let card = interface(interfaces, name);
        if let Some(address) = value("address") {
            add_address(card, address, value("netmask"));
        }
        if let Some(mac) = value("hwaddress").filter(|m| is_mac(m)) {
            card.mac = Some(mac.to_ascii_lowercase());
        }
        card.gateway = card
            .gateway
            .or(value("gateway").and_then(|g| g.parse().ok()));
    }
}

/// `key = value` pairs of an ini-like file, keys in lower case.
pub(crate) fn pairs(text: &str) -> impl Iterator<Item = (String, &str)> {
    text.lines()
        .filter(|line| !line.trim_start().starts_with(['#', ';']))
        .filter_map(|line| {
            let (key, value) = line.split_once('=')?;
            Some((
                key.trim().to_ascii_lowercase(),
                value.trim().trim_matches(['"', '\'']),
            ))
        })
}

fn networkd(text: &str, interfaces: &mut Vec<Interface>) {
    let all: Vec<_> = pairs(text).collect();
    let find = |key: &str| all.iter().find(|(k, _)| k == key).map(|(_, v)| *v);
    let mac = find("macaddress")
        .or(find("permanentmacaddress"))
        .filter(|m| is_mac(m));
    let Some(name) = find("name").filter(|n| !n.contains(['*', ' '])).or(mac) else {
        return;
    };
    let card = interface(interfaces, name);
    if let Some(mac) = mac {
        card.mac = Some(mac.to_ascii_lowercase());
    }
    for (key, value) in &all {
        match key.as_str() {
            "address" => add_address(card, value, None),
            "gateway" => card.gateway = card.gateway.or(value.parse().ok()),
            _ => {}
        }
    }
}

/// `.link` files give a card its name by its hardware address.
fn link_file(text: &str, interfaces: &mut Vec<Interface>) {
    let all: Vec<_> = pairs(text).collect();
    let find = |key: &str| all.iter().find(|(k, _)| k == key).map(|(_, v)| *v);
    let mac = find("permanentmacaddress")
        .or(find("macaddress"))
        .filter(|m| is_mac(m));
    if let (Some(mac), Some(name)) = (mac, find("name")) {
        interface(interfaces, name).mac = Some(mac.to_ascii_lowercase());
    }
}

/// `ATTR{address}=="...", NAME="eth0"` of persistent-net rules.
fn udev_rules(text: &str, interfaces: &mut Vec<Interface>) {
    for line in text
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
    {
        let quoted = |key: &str| line.split_once(key)?.1.split('"').nth(1);
        let mac = quoted("ATTR{address}==").filter(|m| is_mac(m));
        if let (Some(mac), Some(name)) = (mac, quoted(" NAME=")) {
            interface(interfaces, name).mac = Some(mac.to_ascii_lowercase());
        }
    }
}

fn network_manager(text: &str, interfaces: &mut Vec<Interface>) {
    let all: Vec<_> = pairs(text).collect();
    let find = |key: &str| all.iter().find(|(k, _)| k == key).map(|(_, v)| *v);
    let mac = find("mac-address").filter(|m| is_mac(m));
    let Some(name) = find("interface-name").or(mac).or(find("id")) else {
        return;
    };
    let card = interface(interfaces, name);
    if let Some(mac) = mac {
        card.mac = Some(mac.to_ascii_lowercase());
    }
    for (key, value) in &all {
        if key == "gateway" {
            card.gateway = card.gateway.or(value.parse().ok());
        } else if key
            .strip_prefix("address")
            .is_some_and(|n| n.parse::<u8>().is_ok())
        {
            let mut parts = value.split(',');
            add_address(card, parts.next().unwrap_or(""), None);
            card.gateway = card
                .gateway
                .or(parts.next().and_then(|g| g.trim().parse().ok()));
        }
    }
}

fn ifcfg(text: &str, interfaces: &mut Vec<Interface>) {
    let all: Vec<_> = pairs(text).collect();
    let find = |key: &str| all.iter().find(|(k, _)| k == key).map(|(_, v)| *v);
    let mac = find("hwaddr").filter(|m| is_mac(m));
    let Some(name) = find("device").or(mac) else {
        return;
    };
    let card = interface(interfaces, name);
    if let Some(mac) = mac {
        card.mac = Some(mac.to_ascii_lowercase());
    }
    if let Some(address) = find("ipaddr").or(find("ipaddr0")) {
        add_address(
            card,
            address,
            find("prefix").or(find("netmask")).or(find("prefix0")),
        );
    }
    card.gateway = card
        .gateway
        .or(find("gateway").and_then(|g| g.parse().ok()));
}

/// The few shapes of netplan that give static addresses; it is YAML, read by indentation.
fn netplan(text: &str, interfaces: &mut Vec<Interface>) {
    let mut current: Option<(usize, String)> = None;
    let mut kinds_indent = None;
    for line in text.lines().map(|l| l.split(" #").next().unwrap_or(l)) {
        let trimmed = line.trim();
        let indent = line.len() - line.trim_start().len();
        if matches!(trimmed, "ethernets:" | "bonds:" | "bridges:" | "vlans:") {
            kinds_indent = Some(indent);
            current = None;
            continue;
        }
        let Some(kinds) = kinds_indent else { continue };
        let starts_card = current.as_ref().is_none_or(|(level, _)| indent <= *level);
        if let Some(name) = trimmed
            .strip_suffix(':')
            .filter(|_| indent > kinds && starts_card)
        {
            current = Some((indent, name.trim_matches(['"', '\'']).to_owned()));
            continue;
        }
        if let Some((_, name)) = &current {
            netplan_value(trimmed, interface(interfaces, name));
        }
    }
}

fn netplan_value(line: &str, card: &mut Interface) {
    let (key, value) = line.split_once(": ").unwrap_or(("", line));
    let key = key.trim_start_matches("- ").trim();
    let value = value.trim().trim_matches(['"', '\'']);
    match key {
        "macaddress" if is_mac(value) => card.mac = Some(value.to_ascii_lowercase()),
        "gateway4" | "gateway6" | "via" => card.gateway = card.gateway.or(value.parse().ok()),
        "" | "addresses" => {
            for item in value
                .trim_start_matches("- ")
                .trim_matches(['[', ']'])
                .split(',')
            {
                if item.contains('/') {
                    add_address(card, item, None);
                }
            }
        }
        _ => {}
    }
}

/// Whether a word is a hardware address with colons.
pub(crate) fn is_mac(word: &str) -> bool {
    let parts: Vec<&str> = word.split(':').collect();
    parts.len() == 6
        && parts
            .iter()
            .all(|p| p.len() == 2 && p.chars().all(|c| c.is_ascii_hexdigit()))
}

/// Name and hardware address of each card, following renames within each boot.
pub(crate) fn cards(lines: &[String]) -> BTreeMap<String, String> {
    let mut by_kernel_name: BTreeMap<String, String> = BTreeMap::new();
    let mut cards = BTreeMap::new();
    for line in lines {
        let words: Vec<&str> = line
            .split_whitespace()
            .map(|w| w.trim_end_matches([':', ',']))
            .collect();
        if let Some(at) = words.iter().position(|w| *w == "renamed") {
            let (new, old) = (
                at.checked_sub(1).and_then(|i| words.get(i)),
                words.get(at + 2),
            );
            if let (Some(new), Some(old)) = (new, old)
                && let Some(mac) = by_kernel_name.remove(*old)
            {
                cards.remove(*old);
                cards.insert((*new).to_owned(), mac);
            }
        } else if let Some(mac) = words.iter().find(|w| is_mac(w))
            && let Some(name) = words.iter().find(|w| is_kernel_name(w))
        {
            let mac = mac.to_ascii_lowercase();
            by_kernel_name.insert((*name).to_owned(), mac.clone());
            if !cards.values().any(|known| *known == mac) {
                cards.insert((*name).to_owned(), mac);
            }
        }
    }
    cards
}

fn is_kernel_name(word: &str) -> bool {
    word.strip_prefix("eth")
        .is_some_and(|number| number.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(file: &str, text: &str, name: &str, mac: Option<&str>) {
        let identity = identity_of(&ConfigFiles::of(&[
            (file, text),
            ("etc/hostname", "Dir1\n"),
        ]));
        assert_eq!(identity.hostname.as_deref(), Some("dir1"));
        let expected = Interface {
            name: name.to_owned(),
            mac: mac.map(str::to_owned),
            addresses: vec!["10.20.0.10/24".parse().unwrap()],
            gateway: Some("10.20.0.1".parse().unwrap()),
        };
        assert_eq!(identity.interfaces, [expected], "{file}");
    }

    #[test]
    fn every_style_of_network_configuration() {
        check(
            "etc/network/interfaces",
            "auto lo enp0s2\niface lo inet loopback\niface enp0s2 inet static\n  address 10.20.0.10/24\n  gateway 10.20.0.1\n",
            "enp0s2",
            None,
        );
        check(
            "etc/network/interfaces.d/lan",
            "iface enp0s2 inet static\naddress 10.20.0.10\nnetmask 255.255.255.0\ngateway 10.20.0.1\n",
            "enp0s2",
            None,
        );
        check(
            "etc/systemd/network/10-lan.network",
            "[Match]\nName=enp0s2\n[Network]\nAddress=10.20.0.10/24\nGateway=10.20.0.1\nDNS=10.20.0.10\n",
            "enp0s2",
            None,
        );
        check(
            "etc/netplan/01.yaml",
            "network:\n  version: 2\n  ethernets:\n    enp0s2:\n      match:\n        macaddress: 52:54:00:20:00:10\n      addresses: [10.20.0.10/24]\n      routes:\n        - to: default\n          via: 10.20.0.1\n",
            "enp0s2",
            Some("52:54:00:20:00:10"),
        );
        check(
            "etc/netplan/02.yaml",
            "network:\n  ethernets:\n    enp0s2:\n      addresses:\n        - 10.20.0.10/24\n      gateway4: 10.20.0.1\n",
            "enp0s2",
            None,
        );
        check(
            "etc/NetworkManager/system-connections/lan.nmconnection",
            "[connection]\nid=lan\ninterface-name=enp0s2\n[ethernet]\nmac-address=52:54:00:20:00:1A\n[ipv4]\naddress1=10.20.0.10/24,10.20.0.1\ndns=10.20.0.10;\n",
            "enp0s2",
            Some("52:54:00:20:00:1a"),
        );
        check(
            "etc/sysconfig/network-scripts/ifcfg-enp0s2",
            "DEVICE=enp0s2\nIPADDR=10.20.0.10\nPREFIX=24\nGATEWAY=\"10.20.0.1\"\nHWADDR=52:54:00:20:00:10\n",
            "enp0s2",
            Some("52:54:00:20:00:10"),
        );
    }

    #[test]
    fn names_given_by_hardware_address() {
        let link = "[Match]\nPermanentMACAddress=52:54:00:20:00:1A\n[Link]\nName=lan0\n";
        let rule = "SUBSYSTEM==\"net\", ATTR{address}==\"52:54:00:20:00:1b\", NAME=\"eth7\"\n";
        let found = identity_of(&ConfigFiles::of(&[
            ("etc/systemd/network/10-lan.link", link),
            ("etc/udev/rules.d/70-persistent-net.rules", rule),
        ]));
        let found: Vec<_> = found
            .interfaces
            .iter()
            .map(|i| (i.name.as_str(), i.mac.as_deref()))
            .collect();
        let expected = [
            ("lan0", Some("52:54:00:20:00:1a")),
            ("eth7", Some("52:54:00:20:00:1b")),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn cards_follow_their_renames() {
        let lines = [
            "e1000e 0000:00:02.0 eth0: (PCI Express:2.5GT/s:Width x1) 52:54:00:20:00:10",
            "e1000e 0000:00:02.0 enp0s2: renamed from eth0",
            "e1000 0000:00:03.0 eth0: (PCI:33MHz:32-bit) 52:54:00:20:00:11",
        ]
        .map(str::to_owned);
        let found = cards(&[lines.to_vec(), lines.to_vec()].concat());
        assert_eq!(found["enp0s2"], "52:54:00:20:00:10");
        assert_eq!(found["eth0"], "52:54:00:20:00:11");
        assert_eq!(found.len(), 2);
    }

    proptest::proptest! {
        #[test]
        fn hostile_files_never_panic(text in "(.{0,40}\n?){0,12}", mac in "[0-9a-f:éx]{0,20}") {
            for name in ["etc/network/interfaces", "etc/systemd/network/a.network", "etc/netplan/a.yaml", "etc/a.nmconnection", "etc/network/ifcfg-a"] {
                let _ = identity_of(&ConfigFiles::of(&[(name, &text)]));
            }
            let _ = is_mac(&mac);
            let _ = cards(&[text]);
        }
    }
}
