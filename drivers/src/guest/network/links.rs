//! Interface names that must survive new hardware, by MAC address.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{Configured, normalised_mac};
use crate::report::{NicIdentity, Refusal};

/// `.link` files by name, and what could not be decided.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Links {
    /// File name to content.
    pub files: BTreeMap<String, String>,
    /// Cards whose interface is not known.
    pub warnings: Vec<String>,
}

/// Decides which interface each card is.
pub fn decide(configured: &[Configured], nics: &[NicIdentity]) -> Result<Links, Refusal> {
    let mut links = Links::default();
    let mut seen = BTreeMap::new();
    for nic in nics {
        let Some(mac) = normalised_mac(&nic.mac) else {
            links
                .warnings
                .push(format!("{:?} is not a MAC address", nic.mac));
            continue;
        };
        if seen.insert(mac.clone(), ()).is_some() {
            return Err(Refusal::DuplicateMac { mac });
        }
        match interface_of(configured, nics, nic, &mac) {
            Found::Name(name) => {
                links
                    .files
                    .insert(format!("10-keep-{name}.link"), link_file(&mac, &name));
            }
            Found::ByMac => {}
            Found::Unknown(why) => links.warnings.push(why),
        }
    }
    let kernel_names = links
        .files
        .keys()
        .filter(|name| name.starts_with("10-keep-eth"));
    if kernel_names.count() > 1 {
        links.warnings.push(
            "several cards are called eth*, names that the kernel gives itself; \
             a card may keep another name if the order of the cards differs"
                .to_owned(),
        );
    }
    Ok(links)
}

enum Found {
    Name(String),
    ByMac,
    Unknown(String),
}

fn interface_of(
    configured: &[Configured],
    nics: &[NicIdentity],
    nic: &NicIdentity,
    mac: &str,
) -> Found {
    let matched = configured.iter().find(|found| match nic.address {
        Some(address) => has_address(found, address),
        None => found.interface.mac.as_deref() == Some(mac),
    });
    let found = matched.or_else(|| only_physical(configured).filter(|_| nics.len() == 1));
    let Some(found) = found else {
        let address = nic
            .address
            .map(|address| format!(" with {address}"))
            .unwrap_or_default();
        return Found::Unknown(format!(
            "no configured interface fits the card {mac}{address}; its name may change"
        ));
    };
    let name = physical_below(configured, &found.interface.name);
    if is_plain_name(&name) {
        return Found::Name(name);
    }
    match found.interface.mac.as_deref() {
        Some(known) if known == mac => Found::ByMac,
        Some(known) => Found::Unknown(format!(
            "the guest's configuration matches the MAC address {known}, the card has {mac}"
        )),
        None => Found::ByMac,
    }
}

fn has_address(found: &Configured, wanted: IpAddr) -> bool {
    let addresses = found.interface.addresses.iter();
    let mut plain = addresses.filter_map(|text| text.split('/').next()?.parse::<IpAddr>().ok());
    plain.any(|address| address == wanted)
}

fn only_physical(configured: &[Configured]) -> Option<&Configured> {
    let is_virtual = |name: &str| {
        [
            "br", "bond", "virbr", "docker", "veth", "tun", "tap", "wg", "dummy",
        ]
        .iter()
        .any(|prefix| name.starts_with(prefix))
    };
    let mut physical = configured
        .iter()
        .filter(|found| found.lower.is_empty() && !is_virtual(&found.interface.name));
    let first = physical.next()?;
    physical
        .all(|other| other.interface.name == first.interface.name)
        .then_some(first)
}

/// Goes down through bridges, VLANs and bonds with one member.
fn physical_below(configured: &[Configured], name: &str) -> String {
    let mut name = name.to_owned();
    for _ in 0..8 {
        let lower: Vec<&String> = configured
            .iter()
            .filter(|found| found.interface.name == name)
            .flat_map(|found| &found.lower)
            .filter(|lower| **lower != name)
            .collect();
        match lower.first() {
            Some(first) if lower.iter().all(|other| other == first) => name = (*first).clone(),
            _ => break,
        }
    }
    name
}

/// A real interface name, neither a pattern nor an alias.
fn is_plain_name(name: &str) -> bool {
    let letters = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
    letters && (1..16).contains(&name.len()) && name != "." && name != ".."
}

fn link_file(mac: &str, name: &str) -> String {
    format!("[Match]\nMACAddress={mac}\nType=ether\n\n[Link]\nName={name}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::NetworkStyle;

    fn interface(name: &str, address: &str, lower: &[&str]) -> Configured {
        let mut found = Configured::new(name, NetworkStyle::Ifupdown);
        found.interface.addresses = vec![address.to_owned()];
        found.lower = lower.iter().map(|name| (*name).to_owned()).collect();
        found
    }

    fn nic(mac: &str, address: Option<&str>) -> NicIdentity {
        NicIdentity {
            mac: mac.into(),
            address: address.map(|text| text.parse().unwrap()),
        }
    }

    #[test]
    fn the_address_finds_the_interface() {
        let configured = [
            interface("enp9s0", "10.0.0.5/24", &[]),
            interface("br0", "10.1.0.5/24", &["enp8s0"]),
        ];
        let nics = [
            nic("52:54:00:00:00:01", Some("10.1.0.5")),
            nic("52:54:00:00:00:02", Some("10.0.0.5")),
            nic("52:54:00:00:00:03", Some("10.9.0.5")),
        ];
        let links = decide(&configured, &nics).unwrap();
        assert!(links.files["10-keep-enp8s0.link"].contains("MACAddress=52:54:00:00:00:01\n"));
        assert!(links.files["10-keep-enp9s0.link"].contains("MACAddress=52:54:00:00:00:02\n"));
        assert_eq!(links.warnings.len(), 1);
    }

    #[test]
    fn the_only_card_is_the_only_interface() {
        let configured = [interface("ens192", "10.0.0.5/24", &[])];
        let links = decide(&configured, &[nic("52:54:00:00:00:01", None)]).unwrap();
        assert!(links.files.contains_key("10-keep-ens192.link"));
    }

    #[test]
    fn hostile_names_make_no_file() {
        for name in ["../../etc/x", "en*", "a b", ""] {
            let configured = [interface(name, "10.0.0.5/24", &[])];
            let links = decide(&configured, &[nic("52:54:00:00:00:01", None)]).unwrap();
            assert!(links.files.is_empty(), "{name}");
        }
    }

    #[test]
    fn one_mac_twice_is_refused() {
        let nics = [
            nic("52:54:00:00:00:0A", None),
            nic("52:54:00:00:00:0a", None),
        ];
        assert!(decide(&[], &nics).is_err());
    }
}
