//! Network interfaces as the registry knows them, and which virtual card each belongs to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lifeboat_hive::{Hive, Key};

use super::system::control;
use crate::report::{Interface, NetworkStyle, NicIdentity};

/// Class of network cards.
const NET_CLASS: &str = "{4d36e972-e325-11ce-bfc1-08002be10318}";
/// Where the network's settings of version 6 are kept.
const IPV6: &str = "{eb004a01-9b1a-11d4-9123-0050047759bc}";
const MOST: usize = 1_000;

/// One interface with addresses that do not come from a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaticInterface {
    /// Its GUID, with braces.
    pub guid: String,
    /// Its hardware address, where the registry knows it: `00:0c:29:f3:ff:de`.
    pub mac: Option<String>,
    /// Addresses with the length of their network.
    pub addresses: Vec<(Ipv4Addr, u8)>,
    /// Gateways.
    pub gateways: Vec<Ipv4Addr>,
    /// Name servers.
    pub name_servers: Vec<IpAddr>,
}

/// What a virtual card is given at the first start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The card.
    pub mac: String,
    /// The interface of old.
    pub interface: StaticInterface,
}

/// Interfaces with static addresses.
pub fn static_interfaces(system: &Hive, set: &str) -> Vec<StaticInterface> {
    let interfaces = control(system, set, "Services\\Tcpip\\Parameters\\Interfaces");
    let keys = interfaces
        .into_iter()
        .flat_map(|key| key.subkeys())
        .take(MOST);
    keys.filter_map(|key| {
        let guid = key.name();
        let mac = hardware_address(system, set, &guid);
        static_interface(key, guid, mac)
    })
    .collect()
}

fn static_interface(key: Key<'_>, guid: String, mac: Option<String>) -> Option<StaticInterface> {
    if key.number("EnableDHCP") != Some(0) {
        return None;
    }
    let masks = key.texts("SubnetMask");
    let addresses: Vec<(Ipv4Addr, u8)> = parsed::<Ipv4Addr>(&key.texts("IPAddress"))
        .into_iter()
        .zip(masks.iter().map(|mask| prefix(mask)))
        .filter(|(address, _)| !address.is_unspecified())
        .collect();
    if addresses.is_empty() {
        return None;
    }
    let servers = key.text("NameServer").unwrap_or_default();
    let servers: Vec<String> = servers.split([',', ' ']).map(str::to_owned).collect();
    Some(StaticInterface {
        guid,
        mac,
        addresses,
        gateways: parsed(&key.texts("DefaultGateway")),
        name_servers: parsed(&servers),
    })
}

/// Static addresses of version 6, which Windows keeps elsewhere: by the number of the interface and
/// the address, as digits. Those that every card gives itself are left out.
pub fn static_ipv6(system: &Hive, set: &str) -> Vec<Ipv6Addr> {
    let kept = control(system, set, &format!("Control\\Nsi\\{IPV6}\\10"));
    let values = kept.into_iter().flat_map(|key| key.values()).take(MOST);
    let addresses = values.filter_map(|value| {
        let digits = value.name.get(16..48)?;
        let bits = u128::from_str_radix(digits, 16).ok()?;
        Some(Ipv6Addr::from_bits(bits))
    });
    addresses
        .filter(|address| {
            let own = address.is_unicast_link_local() || address.is_loopback();
            !own && !address.is_unspecified()
        })
        .collect()
}

/// The same for the report.
pub fn reported(system: &Hive, set: &str) -> Vec<Interface> {
    let interfaces = static_interfaces(system, set).into_iter();
    let written = |(address, prefix): &(Ipv4Addr, u8)| format!("{address}/{prefix}");
    interfaces
        .map(|interface| Interface {
            name: interface.guid,
            style: NetworkStyle::Registry,
            addresses: interface.addresses.iter().map(written).collect(),
            gateway: interface.gateways.first().map(ToString::to_string),
            dns: interface
                .name_servers
                .iter()
                .map(ToString::to_string)
                .collect(),
            mac: interface.mac,
        })
        .collect()
}

/// Addresses only: these words are written into a script.
fn parsed<T: std::str::FromStr>(texts: &[String]) -> Vec<T> {
    texts
        .iter()
        .filter_map(|text| text.trim().parse().ok())
        .collect()
}

fn prefix(mask: &str) -> u8 {
    let mask: Ipv4Addr = mask
        .trim()
        .parse()
        .unwrap_or(Ipv4Addr::new(255, 255, 255, 0));
    u8::try_from(mask.to_bits().leading_ones()).unwrap_or(24)
}

/// The mask of a network's length.
pub fn mask(prefix: u8) -> Ipv4Addr {
    let bits = u32::MAX
        .checked_shl(32 - u32::from(prefix.min(32)))
        .unwrap_or(0);
    Ipv4Addr::from_bits(bits)
}

fn hardware_address(system: &Hive, set: &str, guid: &str) -> Option<String> {
    let kernel = format!("Control\\NetworkSetup2\\Interfaces\\{guid}\\Kernel");
    let permanent = control(system, set, &kernel).and_then(|key| key.value("PermanentAddress"));
    if let Some(value) = permanent {
        return written(&value.data);
    }
    // An address that the operator set by hand stands with the driver.
    let cards = control(system, set, &format!("Control\\Class\\{NET_CLASS}"))?;
    let is_it = |key: &Key| {
        key.text("NetCfgInstanceId")
            .is_some_and(|id| id.eq_ignore_ascii_case(guid))
    };
    let card = cards.subkeys().into_iter().take(MOST).find(is_it)?;
    let digits: String = card
        .text("NetworkAddress")?
        .chars()
        .filter(char::is_ascii_hexdigit)
        .collect();
    let bytes: Option<Vec<u8>> = (0..digits.len() / 2)
        .map(|place| u8::from_str_radix(digits.get(place * 2..place * 2 + 2)?, 16).ok())
        .collect();
    written(&bytes?)
}

fn written(bytes: &[u8]) -> Option<String> {
    let bytes = bytes.get(..6)?;
    let texts: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Some(texts.join(":"))
}

/// Six bytes in hexadecimal, and nothing else: it is written into a script.
pub fn is_mac(text: &str) -> bool {
    let parts: Vec<&str> = text.split(':').collect();
    let is_byte =
        |part: &&str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    parts.len() == 6 && parts.iter().all(is_byte)
}

type Rule<'r> = &'r dyn Fn(&StaticInterface, &NicIdentity) -> bool;

/// Gives each virtual card the interface of the same hardware address, else of the same address.
pub fn assign(
    interfaces: &[StaticInterface],
    nics: &[NicIdentity],
    warnings: &mut Vec<String>,
) -> Vec<Assignment> {
    let mut left: Vec<&StaticInterface> = interfaces.iter().collect();
    let mut found = Vec::new();
    let has_mac = |interface: &StaticInterface, nic: &NicIdentity| {
        let own = interface.mac.as_deref();
        own.is_some_and(|mac| mac.eq_ignore_ascii_case(&nic.mac))
    };
    let has_address = |interface: &StaticInterface, nic: &NicIdentity| {
        let own = interface.addresses.iter();
        own.map(|(address, _)| IpAddr::V4(*address))
            .any(|address| Some(address) == nic.address)
    };
    let rules: [Rule; 2] = [&has_mac, &has_address];
    let mut cards: Vec<&NicIdentity> = nics.iter().filter(|nic| is_mac(&nic.mac)).collect();
    for fits in rules {
        cards.retain(|nic| {
            let place = left.iter().position(|interface| fits(interface, nic));
            if let Some(place) = place {
                found.push(Assignment {
                    mac: nic.mac.to_ascii_lowercase(),
                    interface: left.remove(place).clone(),
                });
            }
            place.is_none()
        });
    }
    let lost = left
        .iter()
        .filter_map(|interface| interface.addresses.first());
    warnings.extend(lost.map(|(address, _)| {
        format!("the static address {address} of Windows belongs to no network card of the machine and is not set")
    }));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(mac: Option<&str>, address: [u8; 4]) -> StaticInterface {
        StaticInterface {
            guid: format!("{{{address:?}}}"),
            mac: mac.map(str::to_owned),
            addresses: vec![(address.into(), 24)],
            gateways: Vec::new(),
            name_servers: Vec::new(),
        }
    }

    #[test]
    fn cards_by_hardware_address_first() {
        let interfaces = [
            interface(Some("00:0c:29:00:00:02"), [10, 0, 0, 2]),
            interface(None, [10, 0, 0, 3]),
            interface(Some("00:0c:29:00:00:09"), [10, 0, 0, 9]),
        ];
        let nic = |mac: &str, address: Option<[u8; 4]>| NicIdentity {
            mac: mac.to_owned(),
            address: address.map(|address| Ipv4Addr::from(address).into()),
        };
        let nics = [
            nic("52:54:00:00:00:01", Some([10, 0, 0, 3])),
            nic("00:0C:29:00:00:02", Some([10, 0, 0, 3])),
            nic("x; rm", Some([10, 0, 0, 9])),
        ];
        let mut warnings = Vec::new();
        let found: Vec<_> = assign(&interfaces, &nics, &mut warnings)
            .into_iter()
            .map(|found| (found.mac, found.interface.addresses[0].0.to_string()))
            .collect();
        let pair = |mac: &str, address: &str| (mac.to_owned(), address.to_owned());
        assert_eq!(
            found,
            [
                pair("00:0c:29:00:00:02", "10.0.0.2"),
                pair("52:54:00:00:00:01", "10.0.0.3")
            ]
        );
        assert!(warnings[0].contains("10.0.0.9"), "{warnings:?}");
    }

    #[test]
    fn masks_both_ways() {
        for prefix_length in 0..=32 {
            assert_eq!(prefix(&mask(prefix_length).to_string()), prefix_length);
        }
    }
}
