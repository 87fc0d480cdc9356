//! Addresses given by DHCP: lease files, log lines of DHCP clients, reservations of servers.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::folder::ConfigFiles;
use crate::identity::is_mac;

const MAX_LINES: usize = 50_000;
const MAX_RESERVATIONS: usize = 5_000;

/// What a DHCP server is told, or remembers, about one client.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Reservation {
    pub name: Option<String>,
    pub mac: Option<String>,
    pub address: Option<IpAddr>,
}

/// Interface (or program) and address of a DHCP client's log line.
pub(crate) fn in_log(identifier: &str, message: &str) -> Option<(String, IpAddr)> {
    let after = |mark: &str| {
        let (before, rest) = message.split_once(mark)?;
        let word = rest
            .split([' ', '/', ',', ';'])
            .find(|word| !word.is_empty())?;
        let address: IpAddr = word.trim_end_matches('.').parse().ok()?;
        let name = before
            .split([':', ' ', '(', ')'])
            .rfind(|word| is_interface(word));
        Some((name.unwrap_or(identifier).to_owned(), address))
    };
    match identifier {
        "dhclient" | "udhcpc" => after("bound to ").or_else(|| after("lease of ")),
        "systemd-networkd" => after("DHCPv4 address ").or_else(|| after("DHCPv6 address ")),
        "NetworkManager" if message.contains("dhcp4") => after("address=")
            .or_else(|| after("):   address "))
            .or_else(|| after(" address ")),
        "dhcpcd" => after("leased "),
        _ => None,
    }
}

fn is_interface(word: &str) -> bool {
    ["eth", "en", "wl", "bond", "br", "vlan"]
        .iter()
        .any(|kind| word.starts_with(kind))
}

/// The newest address of each interface in the lease files of DHCP clients.
pub(crate) fn of_files(config: &ConfigFiles) -> Vec<IpAddr> {
    let mut by_card: BTreeMap<String, IpAddr> = BTreeMap::new();
    let places = [
        "var/lib/dhcp/dhclient",
        "var/lib/dhclient/",
        "var/lib/NetworkManager/",
        "run/systemd/netif/leases/",
    ];
    for (file, text) in places.iter().flat_map(|place| config.below(place)) {
        let mut card = file.to_owned();
        for line in text.lines().take(MAX_LINES).map(str::trim) {
            if let Some(name) = line.strip_prefix("interface ") {
                card = name.trim_matches(['"', ';']).to_owned();
            }
            let address = line
                .strip_prefix("fixed-address ")
                .or_else(|| line.strip_prefix("ADDRESS="));
            let address = address.and_then(|text| text.trim_end_matches(';').parse().ok());
            by_card.extend(address.map(|address| (card.clone(), address)));
        }
    }
    by_card.into_values().collect()
}

/// What the DHCP servers among the machines say about others.
pub(crate) fn reservations(config: &ConfigFiles) -> Vec<Reservation> {
    let mut found = Vec::new();
    let isc = [
        "etc/dhcp/dhcpd",
        "etc/dhcpd",
        "etc/isc-dhcp",
        "var/lib/dhcp/dhcpd.leases",
        "var/lib/dhcpd/",
    ];
    for (_, text) in isc.iter().flat_map(|place| config.below(place)) {
        found.extend(blocks(text));
    }
    for (file, text) in config
        .below("etc/dnsmasq")
        .chain(config.below("etc/ethers"))
    {
        if !crate::facts::is_stale(file) {
            found.extend(text.lines().take(MAX_LINES).filter_map(dnsmasq));
        }
    }
    found.truncate(MAX_RESERVATIONS);
    found
}

/// `host web1 { hardware ethernet ...; fixed-address ...; }` and `lease 10.0.0.5 { ... }`.
fn blocks(text: &str) -> Vec<Reservation> {
    let mut found: Vec<Reservation> = Vec::new();
    let mut current: Option<Reservation> = None;
    let text: String = text
        .lines()
        .take(MAX_LINES)
        .map(|line| line.split('#').next().unwrap_or(""))
        .collect::<Vec<_>>()
        .join("\n");
    for statement in text.split_inclusive(['{', ';', '}']) {
        let end = statement.chars().next_back();
        let words: Vec<&str> = statement
            .split([' ', '\t', '\n', ';', '{', '}', '"'])
            .filter(|word| !word.is_empty())
            .collect();
        match (words.as_slice(), &mut current) {
            ([.., "host", name], _) if end == Some('{') => {
                current = Some(Reservation {
                    name: Some((*name).to_owned()),
                    ..Reservation::default()
                });
            }
            (["lease", address], _) if end == Some('{') => {
                current = Some(Reservation {
                    address: address.parse().ok(),
                    ..Reservation::default()
                });
            }
            (["hardware", "ethernet", mac], Some(entry)) => {
                entry.mac = Some(mac.to_ascii_lowercase())
            }
            (["fixed-address", address, ..], Some(entry)) => {
                entry.address = address.trim_end_matches(',').parse().ok();
            }
            (["client-hostname", name] | ["option", "host-name", name], Some(entry)) => {
                entry.name = Some((*name).to_owned());
            }
            _ => {}
        }
        if end == Some('}') {
            found.extend(current.take());
        }
    }
    found
}

/// `dhcp-host=52:54:00:20:00:10,web1,10.0.0.30,infinite` and lines of `ethers`.
fn dnsmasq(line: &str) -> Option<Reservation> {
    let line = line.trim();
    let words: Vec<&str> = match line.strip_prefix("dhcp-host=") {
        Some(rest) => rest.split(',').map(str::trim).collect(),
        None => {
            let words: Vec<&str> = line.split_whitespace().collect();
            if !words.first().is_some_and(|mac| is_mac(mac)) {
                return None;
            }
            words
        }
    };
    let is_name = |word: &str| {
        !word.is_empty()
            && !word.contains(':')
            && word.contains(char::is_alphabetic)
            && !["infinite", "ignore"].contains(&word)
            && !word
                .trim_end_matches(['h', 'm', 'd', 's', 'w'])
                .chars()
                .all(|c| c.is_ascii_digit())
    };
    Some(Reservation {
        name: words
            .iter()
            .find(|word| is_name(word))
            .map(|word| (*word).to_owned()),
        mac: words
            .iter()
            .find(|word| is_mac(word))
            .map(|word| word.to_ascii_lowercase()),
        address: words.iter().find_map(|word| word.parse().ok()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_every_client() {
        for (identifier, message, card) in [
            (
                "dhclient",
                "bound to 10.0.0.30 -- renewal in 1234 seconds.",
                "dhclient",
            ),
            (
                "systemd-networkd",
                "enp0s2: DHCPv4 address 10.0.0.30/24, gateway 10.0.0.1 acquired from 10.0.0.1",
                "enp0s2",
            ),
            (
                "systemd-networkd",
                "eth0: DHCPv4 address 10.0.0.30/24 via 10.0.0.1",
                "eth0",
            ),
            (
                "NetworkManager",
                "<info>  [1.2] dhcp4 (eth0): state changed new lease, address=10.0.0.30",
                "eth0",
            ),
            (
                "NetworkManager",
                "<info>  [1.2] dhcp4 (eth0):   address 10.0.0.30",
                "eth0",
            ),
            ("dhcpcd", "eth0: leased 10.0.0.30 for 3600 seconds", "eth0"),
        ] {
            let expected = Some((card.to_owned(), "10.0.0.30".parse().unwrap()));
            assert_eq!(in_log(identifier, message), expected, "{message}");
        }
        assert_eq!(in_log("sshd", "bound to 10.0.0.30"), None);
    }

    #[test]
    fn what_servers_reserve_and_remember() {
        let config = ConfigFiles::of(&[
            (
                "etc/dhcp/dhcpd.conf",
                "subnet 10.0.0.0 netmask 255.255.255.0 {\n host web1 { hardware ethernet 52:54:00:20:00:1A; fixed-address 10.0.0.30; }\n}\n",
            ),
            (
                "etc/dnsmasq.conf",
                "#dhcp-host=x\ndhcp-host=52:54:00:20:00:1b,web2,10.0.0.31,12h\n",
            ),
            (
                "var/lib/dhcp/dhcpd.leases",
                "lease 10.0.0.32 {\n  hardware ethernet 52:54:00:20:00:1c;\n  client-hostname \"web3\";\n}\n",
            ),
        ]);
        let found: Vec<_> = reservations(&config)
            .into_iter()
            .map(|r| {
                (
                    r.name.unwrap(),
                    r.mac.unwrap(),
                    r.address.unwrap().to_string(),
                )
            })
            .collect();
        let expected = [
            ("web1", "1a", "30"),
            ("web3", "1c", "32"),
            ("web2", "1b", "31"),
        ]
        .map(|(n, m, a)| {
            (
                n.to_owned(),
                format!("52:54:00:20:00:{m}"),
                format!("10.0.0.{a}"),
            )
        });
        assert_eq!(found, expected);
    }

    #[test]
    fn the_newest_lease_of_a_card_counts() {
        let lease =
            |address| format!("lease {{\n  interface \"eth0\";\n  fixed-address {address};\n}}\n");
        let text = lease("10.0.0.5") + &lease("10.0.0.6");
        let config = ConfigFiles::of(&[("var/lib/dhcp/dhclient.eth0.leases", &text)]);
        assert_eq!(of_files(&config), ["10.0.0.6".parse::<IpAddr>().unwrap()]);
    }

    proptest::proptest! {
        #[test]
        fn hostile_leases_never_panic(text in "(host|lease|hardware ethernet|fixed-address|dhcp-host=|bound to|address|[{};,:\" \n]|é|[a-f0-9:.]{1,12}){0,60}") {
            let _ = reservations(&ConfigFiles::of(&[("etc/dhcp/dhcpd.conf", &text), ("etc/dnsmasq.conf", &text)]));
            let _ = of_files(&ConfigFiles::of(&[("var/lib/dhclient/a", &text)]));
            let _ = in_log("dhclient", &text);
            let _ = in_log("NetworkManager", &text);
        }
    }
}
