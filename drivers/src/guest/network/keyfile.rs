//! Files of sections and `Key=value` lines: systemd-networkd and NetworkManager.

use std::collections::BTreeMap;

use super::{Configured, Remembered, normalised_mac};
use crate::report::{Interface, NetworkStyle};

/// More names no file needs.
const MOST_NAMES: usize = 100;

/// All `(section, key, value)` of a file, section and key in lower case.
fn entries(text: &str) -> impl Iterator<Item = (String, String, &str)> {
    let mut section = String::new();
    text.lines().filter_map(move |line| {
        let line = line.trim();
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            section = name.to_ascii_lowercase();
            return None;
        }
        let (key, value) = line.split_once('=')?;
        if key.starts_with(['#', ';']) {
            return None;
        }
        Some((
            section.clone(),
            key.trim().to_ascii_lowercase(),
            value.trim(),
        ))
    })
}

/// One `.network` file; it may match several names.
pub fn networkd(text: &str) -> Vec<Configured> {
    let mut names = Vec::new();
    let mut found = Configured::new("", NetworkStyle::Networkd);
    let mut carried_by = Vec::new();
    for (section, key, value) in entries(text) {
        let interface = &mut found.interface;
        match (section.as_str(), key.as_str()) {
            ("match", "name") => names.extend(value.split_whitespace().map(str::to_owned)),
            ("match", "macaddress" | "permanentmacaddress") => {
                interface.mac = value.split_whitespace().next().and_then(normalised_mac);
            }
            ("network" | "address", "address") => interface.addresses.push(value.to_owned()),
            ("network" | "route", "gateway") => {
                interface.gateway.get_or_insert_with(|| value.to_owned());
            }
            ("network", "dns") => interface
                .dns
                .extend(value.split_whitespace().map(str::to_owned)),
            ("network", "bridge" | "bond" | "vlan" | "macvlan" | "vrf") => {
                carried_by.extend(value.split_whitespace());
            }
            _ => {}
        }
    }
    let mut all: Vec<Configured> = names
        .iter()
        .take(MOST_NAMES)
        .map(|name| {
            let mut one = found.clone();
            one.interface.name = name.clone();
            one
        })
        .collect();
    if all.is_empty() {
        all.push(found);
    }
    let uppers = carried_by.iter().take(MOST_NAMES);
    all.extend(uppers.map(|upper| Configured::above(upper, names.clone(), NetworkStyle::Networkd)));
    all
}

/// One `.netdev` file.
pub fn netdev(text: &str) -> Option<Configured> {
    let mut all = entries(text);
    let name = all
        .find(|(section, key, _)| section == "netdev" && key == "name")?
        .2;
    Some(Configured::above(name, Vec::new(), NetworkStyle::Networkd))
}

/// One `.link` file that names a card by its MAC address.
pub fn link(text: &str) -> Option<Remembered> {
    let mut all: Vec<(String, String, &str)> = entries(text).collect();
    let mut take = |wanted: &str, keys: &[&str]| {
        let place = all
            .iter()
            .position(|(section, key, _)| section == wanted && keys.contains(&key.as_str()))?;
        Some(all.swap_remove(place).2)
    };
    let mac = take("match", &["macaddress", "permanentmacaddress"])?;
    Some(Remembered {
        name: take("link", &["name"])?.to_owned(),
        mac: Some(mac.split_whitespace().next().and_then(normalised_mac)?),
        address: None,
    })
}

/// All connections of NetworkManager, which may name each other by UUID.
pub fn network_manager(texts: &[String]) -> Vec<Configured> {
    let parsed: Vec<Connection> = texts.iter().map(|text| connection(text)).collect();
    let names: BTreeMap<&str, &str> = parsed
        .iter()
        .map(|one| (one.uuid.as_str(), one.found.interface.name.as_str()))
        .collect();
    let real = |name: &str| names.get(name).copied().unwrap_or(name).to_owned();
    let mut all = Vec::new();
    for one in &parsed {
        let mut found = one.found.clone();
        found.lower = found.lower.iter().map(|name| real(name)).collect();
        if let Some(upper) = &one.upper {
            let lower = vec![found.interface.name.clone()];
            all.push(Configured::above(
                &real(upper),
                lower,
                NetworkStyle::NetworkManager,
            ));
        }
        if found.says_something() {
            all.push(found);
        }
    }
    all
}

struct Connection {
    uuid: String,
    found: Configured,
    upper: Option<String>,
}

fn connection(text: &str) -> Connection {
    let mut found = Configured::new("", NetworkStyle::NetworkManager);
    let (mut upper, mut uuid) = (None, String::new());
    for (section, key, value) in entries(text) {
        let interface = &mut found.interface;
        match (section.as_str(), key.as_str()) {
            ("connection", "uuid") => uuid = value.to_owned(),
            ("connection", "interface-name") => interface.name = value.to_owned(),
            ("connection", "type") => {
                found.is_virtual =
                    ["bond", "bridge", "vlan", "team", "dummy", "vrf"].contains(&value);
            }
            ("connection", "master" | "controller") => upper = Some(value.to_owned()),
            ("ethernet" | "802-3-ethernet", "mac-address") => {
                interface.mac = normalised_mac(value);
            }
            ("vlan", "parent") => found.lower.push(value.to_owned()),
            ("ipv4" | "ipv6", "gateway") => interface.gateway = Some(value.to_owned()),
            ("ipv4" | "ipv6", "dns") => {
                let servers = value.split([';', ',']).filter(|server| !server.is_empty());
                interface
                    .dns
                    .extend(servers.map(|server| server.trim().to_owned()));
            }
            ("ipv4" | "ipv6", key) if is_address_key(key) => add_address(interface, value),
            _ => {}
        }
    }
    Connection { uuid, found, upper }
}

/// `address/prefix`, with a gateway behind a comma in older files.
fn add_address(interface: &mut Interface, value: &str) {
    let mut parts = value.split(',');
    interface.addresses.extend(parts.next().map(str::to_owned));
    if let Some(gateway) = parts.next().filter(|gateway| !gateway.is_empty()) {
        interface
            .gateway
            .get_or_insert_with(|| gateway.trim().to_owned());
    }
}

fn is_address_key(key: &str) -> bool {
    let number = key
        .strip_prefix("addresses")
        .or(key.strip_prefix("address"));
    number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn networkd_files() {
        let all = networkd(
            "[Match]\nName=enp9s0 enp8s0\n[Network]\nAddress=10.0.0.5/24\n#Address=x\nGateway=10.0.0.1\nDNS=10.0.0.2\n",
        );
        assert_eq!(all.len(), 2);
        assert_eq!(all[0].interface.name, "enp9s0");
        assert_eq!(all[0].interface.addresses, ["10.0.0.5/24"]);
        let all = networkd("[Match]\nName=enp9s0\n[Network]\nBridge=br0\n");
        assert_eq!(
            (all[1].interface.name.as_str(), &all[1].lower[0][..]),
            ("br0", "enp9s0")
        );
        let all = networkd("[Match]\nMACAddress=52:54:00:00:00:01\n[Network]\nDHCP=yes\n");
        assert_eq!(all[0].interface.mac.as_deref(), Some("52:54:00:00:00:01"));
    }

    #[test]
    fn network_manager_connections() {
        let all = network_manager(&[
            "[connection]\nid=lan\ninterface-name=ens192\n[ethernet]\nmac-address=00:50:56:AA:00:01\n\
             [ipv4]\nmethod=manual\naddress1=10.0.0.5/24,10.0.0.1\ndns=10.0.0.2;10.0.0.3;\n".to_owned(),
        ]);
        let found = &all[0];
        assert_eq!(found.interface.name, "ens192");
        assert_eq!(found.interface.addresses, ["10.0.0.5/24"]);
        assert_eq!(found.interface.gateway.as_deref(), Some("10.0.0.1"));
        assert_eq!(found.interface.dns, ["10.0.0.2", "10.0.0.3"]);
        assert_eq!(found.interface.mac.as_deref(), Some("00:50:56:aa:00:01"));
    }

    #[test]
    fn connections_name_each_other() {
        let texts = [
            "[connection]\nuuid=u-1\ntype=bond\ninterface-name=bond0\n[ipv4]\naddress1=10.0.0.5/24\n",
            "[connection]\ntype=ethernet\ninterface-name=ens1\nmaster=u-1\n",
            "[connection]\ntype=ethernet\ninterface-name=ens2\ncontroller=bond0\n[ethernet]\nmac-address=00:50:56:AA:00:02\n",
            "[connection]\ntype=vlan\ninterface-name=bond0.7\n[vlan]\nparent=u-1\n",
        ];
        let all = network_manager(&texts.map(str::to_owned));
        let lower: Vec<(&str, Vec<String>)> = all
            .iter()
            .filter(|found| !found.lower.is_empty())
            .map(|found| (found.interface.name.as_str(), found.lower.clone()))
            .collect();
        let names = |names: &[&str]| {
            names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            lower,
            [
                ("bond0", names(&["ens1"])),
                ("bond0", names(&["ens2"])),
                ("bond0.7", names(&["bond0"])),
            ]
        );
        let ens2 = all.iter().find(|found| found.interface.name == "ens2");
        assert_eq!(
            ens2.unwrap().interface.mac.as_deref(),
            Some("00:50:56:aa:00:02")
        );
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in "(\\[|\\]|match|network|=|[ \n;,a-z0-9])*") {
            networkd(&text);
            netdev(&text);
            link(&text);
            network_manager(&[text.clone(), text]);
        }
    }
}
