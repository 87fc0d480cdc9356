//! `ifcfg-*` files of Red Hat and SUSE.

use std::collections::BTreeMap;

use super::super::facts::shell_assignments;
use super::{Configured, normalised_mac, with_prefix};
use crate::report::NetworkStyle;

/// One file; `device` is what its name says.
pub fn parse(device: &str, text: &str) -> Vec<Configured> {
    let values = shell_assignments(text);
    let value = |key: &str| {
        values
            .get(key)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    };
    // SUSE once named files for the card: `ifcfg-eth-id-00:11:22:33:44:55`.
    let card = device.strip_prefix("eth-id-").and_then(normalised_mac);
    let device = if card.is_some() { "" } else { device };
    let name = value("DEVICE")
        .or(value("NAME").filter(|_| device.is_empty()))
        .unwrap_or(device);
    let mut found = Configured::new(name, NetworkStyle::Ifcfg);
    let interface = &mut found.interface;
    interface.mac = value("HWADDR").and_then(normalised_mac).or(card);
    interface.gateway = value("GATEWAY").map(str::to_owned);
    interface.addresses = addresses(&values);
    for key in ["DNS1", "DNS2", "DNS3"] {
        interface.dns.extend(value(key).map(str::to_owned));
    }
    found.lower = lower(name, &values);
    let kind = value("TYPE").unwrap_or_default().to_ascii_lowercase();
    let virtual_kinds = ["bond", "bridge", "vlan", "team", "dummy", "ovsbridge"];
    let yes = |key: &str| value(key).is_some_and(|value| value.eq_ignore_ascii_case("yes"));
    found.is_virtual = virtual_kinds.contains(&kind.as_str())
        || ["BONDING_MASTER", "BRIDGE", "VLAN"]
            .iter()
            .any(|key| yes(key));
    let uppers = ["BRIDGE", "MASTER", "TEAM_MASTER"]
        .into_iter()
        .filter(|key| !yes(key))
        .filter_map(value);
    let above = uppers
        .map(|upper| Configured::above(upper, vec![name.to_owned()], NetworkStyle::Ifcfg))
        .collect::<Vec<_>>();
    std::iter::once(found).chain(above).collect()
}

/// `IPADDR`, `IPADDR0` of Red Hat and `IPADDR_0` of SUSE, with their masks.
fn addresses(values: &BTreeMap<String, String>) -> Vec<String> {
    let numbered = values.iter().filter(|(_, value)| !value.is_empty());
    let addresses = numbered.filter_map(|(key, address)| {
        let suffix = key.strip_prefix("IPADDR")?;
        let masks = ["PREFIX", "PREFIXLEN", "NETMASK"];
        let mut masks = masks
            .iter()
            .map(|mask| values.get(&format!("{mask}{suffix}")));
        let mask = masks.find_map(|mask| mask).map(String::as_str);
        Some(with_prefix(address, mask))
    });
    addresses.take(100).collect()
}

/// Members of a bond or bridge, and the parent of a VLAN.
fn lower(name: &str, values: &BTreeMap<String, String>) -> Vec<String> {
    let mut lower = Vec::new();
    let parents = ["ETHERDEVICE", "PHYSDEV"];
    let mut parents = parents.iter().filter_map(|key| values.get(*key).cloned());
    lower.extend(
        parents
            .next()
            .or_else(|| Some(name.split_once('.')?.0.to_owned())),
    );
    let members = values
        .iter()
        .filter(|(key, _)| key.starts_with("BONDING_SLAVE"));
    lower.extend(members.map(|(_, member)| member.clone()));
    let ports = values
        .get("BRIDGE_PORTS")
        .map(String::as_str)
        .unwrap_or_default();
    lower.extend(ports.split_whitespace().map(str::to_owned));
    lower.retain(|name| !name.is_empty());
    lower
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn red_hat_and_suse() {
        let all = parse(
            "eth0",
            "DEVICE=\"ens192\"\nHWADDR=00:50:56:AA:00:01\nIPADDR=10.0.0.5\nNETMASK=255.255.0.0\nGATEWAY=10.0.0.1\nDNS1=10.0.0.2\nBRIDGE=br0\n",
        );
        assert_eq!(all[0].interface.name, "ens192");
        assert_eq!(all[0].interface.addresses, ["10.0.0.5/16"]);
        assert_eq!(all[1].lower, ["ens192"]);
        let all = parse("eth1", "IPADDR='10.0.0.6/24'\nSTARTMODE='auto'\n");
        assert_eq!(all[0].interface.name, "eth1");
        assert_eq!(all[0].interface.addresses, ["10.0.0.6/24"]);
    }

    #[test]
    fn bonds_and_vlans() {
        let all = parse(
            "bond0",
            "BONDING_MASTER='yes'\nBONDING_SLAVE_0='eth0'\nBONDING_SLAVE_1='eth1'\nIPADDR='10.0.0.5'\nPREFIXLEN='24'\nIPADDR_1='10.0.1.5/16'\n",
        );
        assert!(all[0].is_virtual);
        assert_eq!(all[0].lower, ["eth0", "eth1"]);
        assert_eq!(all[0].interface.addresses, ["10.0.0.5/24", "10.0.1.5/16"]);
        let all = parse("vlan7", "ETHERDEVICE=bond0\nVLAN=yes\n");
        assert_eq!((all[0].is_virtual, &all[0].lower[0][..]), (true, "bond0"));
        let all = parse(
            "ens1",
            "MASTER=bond0\nSLAVE=yes\nHWADDR=00:50:56:AA:00:01\n",
        );
        assert_eq!(
            (all[1].interface.name.as_str(), &all[1].lower[0][..]),
            ("bond0", "ens1")
        );
        let all = parse("br0", "BRIDGE='yes'\nBRIDGE_PORTS='eth0 eth1'\n");
        assert_eq!((all.len(), all[0].lower.len()), (1, 2));
        let all = parse(
            "eth-id-00:50:56:aa:00:09",
            "BOOTPROTO=static\nIPADDR=10.0.0.9/24\n",
        );
        assert_eq!(all[0].interface.mac.as_deref(), Some("00:50:56:aa:00:09"));
        assert_eq!(all[0].interface.name, "");
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in "(IPADDR|PREFIX|NETMASK|BRIDGE|MASTER|=|'|\"|[0-9a-z./\n])*", device in any::<String>()) {
            parse(&device, &text);
        }
    }
}
