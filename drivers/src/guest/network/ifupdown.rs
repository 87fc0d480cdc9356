//! `/etc/network/interfaces` and what it includes.

use super::super::root::Root;
use super::{Configured, normalised_mac, with_prefix};
use crate::report::NetworkStyle;

/// The main file and the drop-in directory that Debian includes by default.
pub fn whole_text(root: &Root) -> String {
    let mut text = root.text("etc/network/interfaces");
    for (name, _) in root.list("etc/network/interfaces.d") {
        text.push('\n');
        text.push_str(&root.text(&format!("etc/network/interfaces.d/{name}")));
    }
    text
}

/// Every `iface` stanza, whether `auto`, `allow-hotplug` or neither brings it up.
pub fn parse(text: &str) -> Vec<Configured> {
    let mut all: Vec<Configured> = Vec::new();
    let mut netmask: Option<String> = None;
    for line in text.replace("\\\n", " ").lines() {
        let mut words = line.split_whitespace();
        let Some(keyword) = words.next() else {
            continue;
        };
        let rest: Vec<&str> = words.collect();
        if keyword == "iface" {
            finish(&mut all, &mut netmask);
            let name = rest.first().copied().unwrap_or_default();
            let name = name.split(':').next().unwrap_or_default();
            let mut found = Configured::new(name, NetworkStyle::Ifupdown);
            if let Some((parent, _)) = name.split_once('.') {
                found.lower.push(parent.to_owned());
            }
            all.push(found);
        } else if let Some(current) = all.last_mut() {
            if keyword == "netmask" {
                netmask = rest.first().map(|mask| (*mask).to_owned());
            }
            option(current, &keyword.replace('_', "-"), &rest);
        }
    }
    finish(&mut all, &mut netmask);
    all
}

fn finish(all: &mut [Configured], netmask: &mut Option<String>) {
    let mask = netmask.take();
    if let Some(address) = all
        .last_mut()
        .and_then(|last| last.interface.addresses.last_mut())
    {
        *address = with_prefix(address, mask.as_deref());
    }
}

fn option(current: &mut Configured, keyword: &str, rest: &[&str]) {
    let first = rest.first().map(|word| (*word).to_owned());
    let interface = &mut current.interface;
    match keyword {
        "address" => interface.addresses.extend(first),
        "gateway" => interface.gateway = first,
        "dns-nameservers" | "dns-nameserver" => {
            interface
                .dns
                .extend(rest.iter().map(|word| (*word).to_owned()));
        }
        "hwaddress" => interface.mac = rest.last().and_then(|word| normalised_mac(word)),
        "bridge-ports" | "bond-slaves" | "slaves" | "vlan-raw-device" => {
            let names = rest.iter().filter(|word| **word != "none");
            current.lower.extend(names.map(|word| (*word).to_owned()));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn stanzas() {
        let text = "auto lo\niface lo inet loopback\n# x\nallow-hotplug enp9s0\n\
            iface enp9s0 inet static\n\taddress 10.0.0.5\n\tnetmask 255.255.255.0\n\
            \tgateway 10.0.0.1\n\tdns-nameservers 10.0.0.2 10.0.0.3\n\thwaddress ether 52:54:00:AA:bb:01\n\
            iface br0 inet static\n address 10.1.0.5/16\n bridge_ports enp3s0 enp4s0\n\
            iface enp9s0.7 inet manual\n";
        let all = parse(text);
        assert_eq!(all.len(), 4);
        let card = &all[1].interface;
        assert_eq!(card.addresses, ["10.0.0.5/24"]);
        assert_eq!(card.gateway.as_deref(), Some("10.0.0.1"));
        assert_eq!(card.dns, ["10.0.0.2", "10.0.0.3"]);
        assert_eq!(card.mac.as_deref(), Some("52:54:00:aa:bb:01"));
        assert_eq!(all[2].lower, ["enp3s0", "enp4s0"]);
        assert_eq!(all[3].lower, ["enp9s0"]);
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in "(iface|address|netmask|hwaddress|[ \n.:0-9a-z])*") {
            parse(&text);
        }
    }
}
