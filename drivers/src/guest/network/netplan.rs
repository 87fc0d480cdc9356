//! netplan's YAML files.

use std::collections::BTreeMap;

use super::yaml::{self, Value};
use super::{Configured, normalised_mac};
use crate::report::NetworkStyle;

/// All interfaces of one file.
pub fn parse(text: &str) -> Vec<Configured> {
    let document = yaml::parse(text);
    let Some(network) = document.get("network") else {
        return Vec::new();
    };
    let mut all = Vec::new();
    let mut names = BTreeMap::new();
    for kind in [
        "ethernets",
        "wifis",
        "bridges",
        "bonds",
        "vlans",
        "tunnels",
        "vrfs",
        "dummy-devices",
    ] {
        let devices = network.get(kind).map(Value::entries).unwrap_or_default();
        for (id, device) in devices {
            let mut found = interface(id, device);
            found.is_virtual = !matches!(kind, "ethernets" | "wifis");
            names.insert(id.clone(), found.interface.name.clone());
            all.push(found);
        }
    }
    // Other devices name a card by its label.
    for lower in all.iter_mut().flat_map(|found| &mut found.lower) {
        if let Some(name) = names.get(lower).filter(|name| !name.is_empty()) {
            lower.clone_from(name);
        }
    }
    all
}

fn interface(id: &str, device: &Value) -> Configured {
    let mut found = Configured::new(id, NetworkStyle::Netplan);
    let texts = |value: Option<&Value>| value.map(Value::texts).unwrap_or_default();
    let text = |value: Option<&Value>| value.and_then(Value::text).map(str::to_owned);
    let interface = &mut found.interface;
    interface.addresses = texts(device.get("addresses"));
    interface.dns = texts(
        device
            .get("nameservers")
            .and_then(|servers| servers.get("addresses")),
    );
    interface.gateway = text(device.get("gateway4")).or_else(|| default_route(device));
    if let Some(matched) = device.get("match") {
        interface.mac = text(matched.get("macaddress"))
            .as_deref()
            .and_then(normalised_mac);
        // With a match the id is only a label.
        interface.name = text(device.get("set-name"))
            .or_else(|| text(matched.get("name")))
            .unwrap_or_default();
    }
    found.lower = texts(device.get("interfaces"));
    found.lower.extend(text(device.get("link")));
    found
}

fn default_route(device: &Value) -> Option<String> {
    let Some(Value::List(routes)) = device.get("routes") else {
        return None;
    };
    let is_default = |route: &&Value| {
        matches!(
            route.get("to").and_then(Value::text),
            Some("default" | "0.0.0.0/0")
        )
    };
    routes
        .iter()
        .find(is_default)?
        .get("via")?
        .text()
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_usual_file() {
        let all = parse(
            "network:\n  version: 2\n  renderer: networkd\n  ethernets:\n    enp9s0:\n      dhcp4: no\n\
             \x20     addresses: [10.0.0.5/24, \"fd00::5/64\"]\n      routes:\n        - to: default\n\
             \x20         via: 10.0.0.1\n      nameservers:\n        addresses:\n        - 10.0.0.2\n\
             \x20   lan:\n      match: {macaddress: 52:54:00:AA:00:01}\n      set-name: lan0\n  bridges:\n    br0:\n      interfaces: [enp8s0]\n",
        );
        assert_eq!(all.len(), 3);
        let card = &all[0].interface;
        assert_eq!(card.name, "enp9s0");
        assert_eq!(card.addresses, ["10.0.0.5/24", "fd00::5/64"]);
        assert_eq!(card.gateway.as_deref(), Some("10.0.0.1"));
        assert_eq!(card.dns, ["10.0.0.2"]);
        assert_eq!(all[1].interface.name, "lan0");
        assert_eq!(all[1].interface.mac.as_deref(), Some("52:54:00:aa:00:01"));
        assert_eq!(all[2].lower, ["enp8s0"]);
        assert!(all[2].is_virtual && !all[0].is_virtual);
    }

    #[test]
    fn bonds_and_vlans_name_cards_by_their_labels() {
        let all = parse(
            "network:\n  ethernets:\n    one: {match: {macaddress: \"52:54:00:aa:00:01\"}, set-name: lan1}\n\
             \x20   lan2: {}\n  bonds:\n    bond0:\n      interfaces: [one, lan2]\n      addresses: [10.0.0.5/24]\n\
             \x20 vlans:\n    v7: {id: 7, link: bond0}\n",
        );
        assert_eq!(all[2].lower, ["lan1", "lan2"]);
        assert_eq!(all[3].lower, ["bond0"]);
    }
}
