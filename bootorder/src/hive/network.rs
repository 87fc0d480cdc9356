//! Control set, network cards, resolvers, DHCP and time.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{Facts, Hive, Key, listed};
use crate::facts::Weight;
use crate::identity::Interface;

const INTERFACES: &str = "Services\\Tcpip\\Parameters\\Interfaces";
const CONNECTIONS: &str = "Control\\Network\\{4D36E972-E325-11CE-BFC1-08002BE10318}";
const MAX_INTERFACES: usize = 200;

/// The settings that the machine was using, for a SYSTEM hive.
pub(super) fn control_set(hive: &Hive) -> Option<Key<'_>> {
    let root = hive.root()?;
    let current = root.subkey("Select").and_then(|key| key.number("Current"));
    let named = current.and_then(|number| root.subkey(&format!("ControlSet{number:03}")));
    named
        .or_else(|| root.subkey("ControlSet001"))
        .or_else(|| root.subkey("CurrentControlSet"))
}

pub(super) fn read(set: Key<'_>, facts: &mut Facts<'_>) {
    let keys = set
        .at(INTERFACES)
        .map(|key| key.subkeys())
        .unwrap_or_default();
    let connections = set.at(CONNECTIONS);
    for key in keys.into_iter().take(MAX_INTERFACES) {
        let guid = key.name();
        let place = format!("{INTERFACES}\\{guid}");
        let name = connections
            .and_then(|all| all.subkey(&guid)?.subkey("Connection")?.text("Name"))
            .unwrap_or(guid);
        let is_leased = key.number("EnableDHCP") == Some(1);
        card(key, name, is_leased, facts);
        resolvers(key, &place, is_leased, facts);
    }
    if let Some(tcpip) = set.at("Services\\Tcpip\\Parameters") {
        resolvers(tcpip, "Services\\Tcpip\\Parameters", true, facts);
    }
    time(set, facts);
}

fn card(key: Key<'_>, name: String, is_leased: bool, facts: &mut Facts<'_>) {
    if is_leased {
        let address = key.text("DhcpIPAddress").and_then(|text| text.parse().ok());
        let usable = address.filter(|address: &IpAddr| !address.is_unspecified());
        facts.registry.leased.extend(usable);
        return;
    }
    let addresses = key.texts("IPAddress");
    let masks = key.texts("SubnetMask");
    let nets = addresses
        .iter()
        .zip(masks.iter())
        .filter_map(|(address, mask)| {
            let address: IpAddr = address.parse().ok()?;
            let prefix = ipnet::ip_mask_to_prefix(mask.parse().ok()?).ok()?;
            IpNet::new(address, prefix)
                .ok()
                .filter(|_| !address.is_unspecified())
        });
    let addresses: Vec<IpNet> = nets.take(100).collect();
    if !addresses.is_empty() {
        let gateways = key.texts("DefaultGateway");
        facts.registry.interfaces.push(Interface {
            name,
            mac: None,
            addresses,
            gateway: gateways.iter().find_map(|text| text.parse().ok()),
        });
    }
}

/// What is set by hand outranks what DHCP said.
fn resolvers(key: Key<'_>, place: &str, is_leased: bool, facts: &mut Facts<'_>) {
    let by_hand = key.text("NameServer").map(|text| ("NameServer", text));
    let by_lease = || {
        let text = key.text("DhcpNameServer").filter(|_| is_leased)?;
        Some(("DhcpNameServer", text))
    };
    if let Some((value, text)) = by_hand.or_else(by_lease) {
        for server in listed(&text).filter(|word| is_remote(word)) {
            facts.refer(
                place,
                &format!("{value} = {text}"),
                server,
                "dns",
                Weight::Normal,
            );
        }
    }
    let server = key.text("DhcpServer").filter(|_| is_leased);
    if let Some(server) = server.filter(|server| is_remote(server)) {
        facts.refer(
            place,
            &format!("DhcpServer = {server}"),
            &server,
            "dhcp",
            Weight::Normal,
        );
    }
}

fn is_remote(word: &str) -> bool {
    word.parse::<IpAddr>().is_ok_and(|a| {
        !a.is_loopback() && !a.is_unspecified() && a.to_string() != "255.255.255.255"
    })
}

/// Servers count only where the time does not come from the domain.
fn time(set: Key<'_>, facts: &mut Facts<'_>) {
    let place = "Services\\W32Time\\Parameters";
    let Some(key) = set.at(place) else { return };
    let kind = key.text("Type").unwrap_or_default();
    if !["NTP", "AllSync"]
        .iter()
        .any(|own| kind.eq_ignore_ascii_case(own))
    {
        return;
    }
    let servers = key.text("NtpServer").unwrap_or_default();
    // "dc1.corp.example,0x8 10.0.0.1,0x9": what follows the comma are flags.
    for server in servers
        .split_whitespace()
        .filter_map(|word| word.split(',').next())
    {
        facts.refer(
            place,
            &format!("NtpServer = {servers}"),
            server,
            "time",
            Weight::Normal,
        );
    }
}
