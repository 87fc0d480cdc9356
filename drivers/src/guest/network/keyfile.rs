//! Files of sections and `Key=value` lines: systemd-networkd and NetworkManager.

use super::{Configured, normalised_mac};
use crate::report::NetworkStyle;

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
    let mut carried_by = None;
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
            ("network", "bridge" | "bond" | "vlan") => carried_by = Some(value.to_owned()),
            _ => {}
        }
    }
    let mut all: Vec<Configured> = names
        .iter()
        .map(|name| {
            let mut one = found.clone();
            one.interface.name = name.clone();
            one
        })
        .collect();
    if let Some(upper) = carried_by {
        let mut above = Configured::new(&upper, NetworkStyle::Networkd);
        above.lower = names;
        all.push(above);
    } else if all.is_empty() {
        all.push(found);
    }
    all
}

/// One NetworkManager connection.
pub fn network_manager(text: &str) -> Option<Configured> {
    let mut found = Configured::new("", NetworkStyle::NetworkManager);
    let mut upper = None;
    for (section, key, value) in entries(text) {
        let interface = &mut found.interface;
        match (section.as_str(), key.as_str()) {
            ("connection", "interface-name") => interface.name = value.to_owned(),
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
            ("ipv4" | "ipv6", key) if is_address_key(key) => {
                let mut parts = value.split(',');
                interface.addresses.extend(parts.next().map(str::to_owned));
                if let Some(gateway) = parts.next().filter(|gateway| !gateway.is_empty()) {
                    interface
                        .gateway
                        .get_or_insert_with(|| gateway.trim().to_owned());
                }
            }
            _ => {}
        }
    }
    if let Some(upper) = upper {
        let mut above = Configured::new(&upper, NetworkStyle::NetworkManager);
        above.lower.push(found.interface.name);
        return Some(above);
    }
    found.says_something().then_some(found)
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
        let found = network_manager(
            "[connection]\nid=lan\ninterface-name=ens192\n[ethernet]\nmac-address=00:50:56:AA:00:01\n\
             [ipv4]\nmethod=manual\naddress1=10.0.0.5/24,10.0.0.1\ndns=10.0.0.2;10.0.0.3;\n",
        )
        .unwrap();
        assert_eq!(found.interface.name, "ens192");
        assert_eq!(found.interface.addresses, ["10.0.0.5/24"]);
        assert_eq!(found.interface.gateway.as_deref(), Some("10.0.0.1"));
        assert_eq!(found.interface.dns, ["10.0.0.2", "10.0.0.3"]);
        assert_eq!(found.interface.mac.as_deref(), Some("00:50:56:aa:00:01"));
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in "(\\[|\\]|match|network|=|[ \n;,a-z0-9])*") {
            networkd(&text);
            network_manager(&text);
        }
    }
}
