//! `lifeboat site draft`: a first `site.toml` from what the volumes themselves
//! say. What could not be found out stands as a comment beside a guess.

mod package;

pub use package::of_package;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use ipnet::{IpNet, Ipv4Net};

use super::Firmware;

/// What was found out about one machine.
#[derive(Debug, Clone, Default)]
pub struct FoundMachine {
    /// Host name; may be empty.
    pub hostname: String,
    /// Its volumes as the user named them.
    pub volumes: Vec<PathBuf>,
    /// Firmware.
    pub firmware: Firmware,
    /// Operating system, for a comment.
    pub operating_system: String,
    /// Network cards.
    pub interfaces: Vec<FoundInterface>,
    /// Services that listened: port and name.
    pub services: Vec<(u16, String)>,
    /// Memory that the captured machine had, MiB.
    pub memory_mib: Option<u64>,
    /// Virtual processors that it had.
    pub vcpus: Option<u32>,
}

/// One network card of the captured machine.
#[derive(Debug, Clone, Default)]
pub struct FoundInterface {
    /// Name in the guest.
    pub name: String,
    /// Hardware address, when a log or a file tells it.
    pub mac: Option<String>,
    /// Name of its network, where a hypervisor told it.
    pub network: Option<String>,
    /// Static addresses.
    pub addresses: Vec<IpNet>,
    /// Default gateway.
    pub gateway: Option<IpAddr>,
}

#[derive(Debug, Clone)]
struct DraftNetwork {
    name: String,
    cidr: Ipv4Net,
    gateway: Option<Ipv4Addr>,
    /// What a hypervisor called it; its range is a guess then.
    called: Option<String>,
}

/// Writes the draft.
pub fn draft(site: &str, machines: &[FoundMachine]) -> String {
    let mut networks = networks(machines);
    add_called_networks(&mut networks, machines);
    let mut out = String::from(
        "# Drafted from the captured volumes. Lines marked GUESS could not be read from them.\n",
    );
    let _ = writeln!(out, "[site]\nname = {}", quoted(site));
    networks
        .iter()
        .for_each(|network| write_network(&mut out, network));
    let names = unique_names(machines);
    for (machine, name) in machines.iter().zip(&names) {
        write_machine(&mut out, machine, name, &networks);
    }
    out
}

fn write_network(out: &mut String, network: &DraftNetwork) {
    let _ = writeln!(
        out,
        "\n[[network]]\nname = {}\ncidr = \"{}\"{}",
        quoted(&network.name),
        network.cidr,
        if network.called.is_some() {
            "  # GUESS"
        } else {
            ""
        }
    );
    if let Some(gateway) = network.gateway {
        let _ = writeln!(out, "gateway = \"{gateway}\"");
    }
}

fn write_machine(out: &mut String, machine: &FoundMachine, name: &str, networks: &[DraftNetwork]) {
    let firmware = match machine.firmware {
        Firmware::Bios => "bios",
        Firmware::Uefi => "uefi",
    };
    let memory = match machine.memory_mib {
        Some(mib) => format!("memory_mib = {mib}"),
        None => "memory_mib = 1024  # GUESS".to_owned(),
    };
    let volumes: Vec<_> = machine
        .volumes
        .iter()
        .map(|volume| quoted(&volume.to_string_lossy()))
        .collect();
    let _ = writeln!(out, "\n# {}", comment(&machine.operating_system));
    let _ = writeln!(
        out,
        "[[machine]]\nname = {}\nfirmware = \"{firmware}\"\n{memory}\nvcpus = {}",
        quoted(name),
        machine.vcpus.unwrap_or(1)
    );
    let _ = writeln!(out, "volumes = [{}]", volumes.join(", "));
    let nics: Vec<_> = machine
        .interfaces
        .iter()
        .filter(|interface| is_card(interface))
        .collect();
    for (number, interface) in nics.iter().enumerate() {
        write_nic(out, interface, name, number, networks);
    }
    write_gates(
        out,
        machine,
        nics.iter().any(|nic| address_of(nic).is_some()),
    );
}

/// A card has a hardware address, or a network, or an address of the site's.
fn is_card(interface: &FoundInterface) -> bool {
    let is_plugged = interface.network.is_some() || address_of(interface).is_some();
    interface.name != "lo" && (interface.mac.is_some() || is_plugged)
}

fn write_nic(
    out: &mut String,
    interface: &FoundInterface,
    machine: &str,
    number: usize,
    networks: &[DraftNetwork],
) {
    let address = address_of(interface);
    let network = address
        .and_then(|net| {
            networks
                .iter()
                .find(|network| network.cidr.contains(&net.addr()))
        })
        .or_else(|| {
            let called = |network: &&DraftNetwork| {
                network.called.is_some() && network.called == interface.network
            };
            networks.iter().find(called)
        })
        .or(networks.first());
    let Some(network) = network else { return };
    let _ = writeln!(
        out,
        "[[machine.nic]]  # {}\nnetwork = {}",
        comment(&interface.name),
        quoted(&network.name)
    );
    match &interface.mac {
        Some(mac) => {
            let _ = writeln!(out, "mac = {}", quoted(&mac.to_ascii_lowercase()));
        }
        None => {
            let _ = writeln!(out, "mac = \"{}\"  # GUESS", made_up_mac(machine, number));
        }
    }
    if let Some(net) = address {
        let _ = writeln!(out, "address = \"{}\"", net.addr());
    }
}

/// The services that listened become gates; they can be probed by address only.
fn write_gates(out: &mut String, machine: &FoundMachine, addressed: bool) {
    for (port, service) in machine.services.iter().filter(|_| addressed) {
        let _ = writeln!(
            out,
            "[[machine.gate]]  # {}\ntcp = {port}",
            comment(service)
        );
    }
}

fn address_of(interface: &FoundInterface) -> Option<Ipv4Net> {
    interface.addresses.iter().find_map(|net| match net {
        // A host route ("/32") tells of no network.
        IpNet::V4(net)
            if !net.addr().is_loopback()
                && !net.addr().is_link_local()
                && net.prefix_len() <= 30 =>
        {
            Some(*net)
        }
        _ => None,
    })
}

/// One network for each range that a machine has an address in.
fn networks(machines: &[FoundMachine]) -> Vec<DraftNetwork> {
    let mut gateways: BTreeMap<Ipv4Net, Option<Ipv4Addr>> = BTreeMap::new();
    for interface in machines.iter().flat_map(|machine| &machine.interfaces) {
        let Some(net) = address_of(interface) else {
            continue;
        };
        let entry = gateways.entry(net.trunc()).or_default();
        if let Some(IpAddr::V4(gateway)) = interface.gateway
            && net.trunc().contains(&gateway)
        {
            *entry = entry.or(Some(gateway));
        }
    }
    // What a machine answers for itself is not the switch's to answer.
    let taken = |address: &Ipv4Addr| {
        let interfaces = machines.iter().flat_map(|machine| &machine.interfaces);
        interfaces
            .filter_map(address_of)
            .any(|net| net.addr() == *address)
    };
    gateways
        .values_mut()
        .for_each(|gateway| *gateway = gateway.filter(|address| !taken(address)));
    let all: Vec<Ipv4Net> = gateways.keys().copied().collect();
    let inside_another =
        |net: &Ipv4Net| all.iter().any(|other| other != net && other.contains(net));
    gateways.retain(|net, _| !inside_another(net));
    let one = gateways.len() == 1;
    let named = |(number, (cidr, gateway)): (usize, (Ipv4Net, Option<Ipv4Addr>))| DraftNetwork {
        name: if one {
            "lan".to_owned()
        } else {
            format!("lan{}", number + 1)
        },
        cidr,
        gateway,
        called: None,
    };
    gateways.into_iter().enumerate().map(named).collect()
}

/// Networks of which only a hypervisor's name is known: no machine has a known
/// address there.
fn add_called_networks(networks: &mut Vec<DraftNetwork>, machines: &[FoundMachine]) {
    for interface in machines.iter().flat_map(|machine| &machine.interfaces) {
        let Some(called) = interface.network.as_ref().filter(|_| is_card(interface)) else {
            continue;
        };
        let is_known = networks
            .iter()
            .any(|network| network.called.as_ref() == Some(called));
        if is_known || address_of(interface).is_some() {
            continue;
        }
        let Some(cidr) = free_range(networks) else {
            return;
        };
        let base = package::plain(called).unwrap_or_else(|| "network".to_owned());
        let taken = |name: &str| networks.iter().any(|other| other.name == name);
        let numbered = (2..)
            .map(|n| format!("{base}-{n}"))
            .find(|name| !taken(name));
        let name = if taken(&base) {
            numbered
        } else {
            Some(base.clone())
        };
        networks.push(DraftNetwork {
            name: name.unwrap_or(base),
            cidr,
            gateway: None,
            called: Some(called.clone()),
        });
    }
}

fn free_range(networks: &[DraftNetwork]) -> Option<Ipv4Net> {
    let is_free = |range: &Ipv4Net| {
        let mut others = networks.iter().map(|network| network.cidr);
        !others.any(|other| other.contains(range) || range.contains(&other))
    };
    let range = |third| Ipv4Net::new(Ipv4Addr::new(10, 250, third, 0), 24).ok();
    (0..=255).filter_map(range).find(is_free)
}

fn unique_names(machines: &[FoundMachine]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for (number, machine) in machines.iter().enumerate() {
        let short = machine.hostname.split('.').next().unwrap_or_default();
        let base = if super::is_plain_name(short) {
            short.to_owned()
        } else {
            format!("machine{}", number + 1)
        };
        let taken = |name: &String| names.iter().any(|other| other.eq_ignore_ascii_case(name));
        let name = (2..)
            .map(|n| format!("{base}-{n}"))
            .find(|name| !taken(name))
            .unwrap_or_else(|| base.clone());
        names.push(if taken(&base) { name } else { base });
    }
    names
}

/// Locally administered, and the same each time for the same machine.
fn made_up_mac(machine: &str, number: usize) -> String {
    let hash = blake3::hash(format!("{machine} {number}").as_bytes());
    let b = hash.as_bytes();
    format!("52:54:00:{:02x}:{:02x}:{:02x}", b[0], b[1], b[2])
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// Guest-supplied text that must stay inside its comment.
fn comment(text: &str) -> String {
    crate::report::printable(text).chars().take(120).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::Site;

    fn machine(hostname: &str, address: &str) -> FoundMachine {
        FoundMachine {
            hostname: hostname.into(),
            volumes: vec!["disk.img".into()],
            operating_system: "Debian\n[[machine]]".into(),
            interfaces: vec![FoundInterface {
                name: "enp0s2".into(),
                mac: None,
                network: None,
                addresses: vec![address.parse().unwrap()],
                gateway: "10.20.0.1".parse().ok(),
            }],
            services: vec![(53, "DNS server".into())],
            ..FoundMachine::default()
        }
    }

    fn parsed(text: &str) -> Site {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("disk.img"), b"disk").unwrap();
        Site::parse(&folder.path().join("site.toml"), text).unwrap()
    }

    #[test]
    fn a_draft_is_a_valid_site() {
        let text = draft(
            "figure4",
            &[
                machine("dir1.fig4.example", "10.20.0.10/24"),
                machine("web1", "10.20.0.30/24"),
            ],
        );
        let site = parsed(&text);
        assert_eq!(site.networks.len(), 1);
        assert_eq!(site.networks[0].gateway, "10.20.0.1".parse().ok());
        assert_eq!(site.machines[0].name, "dir1");
        assert_eq!(site.machines[1].nics[0].address, "10.20.0.30".parse().ok());
        assert_eq!(site.machines[1].gates.len(), 1);
    }

    #[test]
    fn hostile_and_equal_names_become_plain_and_different() {
        let text = draft(
            "s",
            &[
                machine("../x", "10.0.0.1/8"),
                machine("a\"\n", "10.0.0.2/8"),
                machine("a", "10.0.0.3/8"),
                machine("A", "10.0.0.4/8"),
            ],
        );
        let names: Vec<_> = parsed(&text).machines.into_iter().map(|m| m.name).collect();
        assert_eq!(names, ["machine1", "machine2", "a", "A-2"]);
    }

    #[test]
    fn what_cannot_stand_in_a_site_is_left_out_of_its_draft() {
        let mut router = machine("router", "10.20.0.1/24");
        router.interfaces.push(FoundInterface {
            name: "eth1".into(),
            mac: Some("52:54:00:00:00:09".into()),
            network: None,
            addresses: vec!["192.0.2.7/32".parse().unwrap()],
            gateway: None,
        });
        let text = draft(
            "s",
            &[
                router,
                machine("a", "10.20.0.9/24"),
                machine("b", "10.0.0.4/8"),
            ],
        );
        let site = parsed(&text);
        assert_eq!(site.networks.len(), 1, "{text}");
        assert_eq!(site.networks[0].gateway, None, "a machine answers for it");
        assert_eq!(site.machines[0].nics[1].address, None);
    }
}
