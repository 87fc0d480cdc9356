//! Machines of an OVF package in a draft: the descriptor knows the hardware,
//! the guest knows its addresses.

use std::path::PathBuf;

use lifeboat_images::{PackagedMachine, PackagedNic};

use super::{FoundInterface, FoundMachine};
use crate::site::{Firmware, is_plain_name};

/// A machine from its descriptor and, where the guest could be looked into,
/// from what that says.
pub fn of_package(
    machine: &PackagedMachine,
    volumes: Vec<PathBuf>,
    guest: Option<FoundMachine>,
) -> FoundMachine {
    let said = match machine.firmware {
        Some(lifeboat_images::Firmware::Bios) => Some(Firmware::Bios),
        Some(lifeboat_images::Firmware::Uefi) => Some(Firmware::Uefi),
        None => None,
    };
    let operating_system = match &guest {
        Some(guest) => guest.operating_system.clone(),
        None => "described by an OVF package; nobody looked into its disks".to_owned(),
    };
    let guest = guest.unwrap_or_default();
    let mut found = guest.interfaces;
    let nics = machine.nics.iter().map(|nic| interface(nic, &mut found));
    FoundMachine {
        interfaces: nics.collect(),
        hostname: plain(&machine.name).unwrap_or(guest.hostname),
        volumes,
        firmware: said.unwrap_or(guest.firmware),
        operating_system,
        services: guest.services,
        memory_mib: machine.memory_mib,
        vcpus: machine.vcpus,
    }
}

/// A card with the addresses of the guest's interface that has its hardware
/// address, or of the next one of which no hardware address is known.
fn interface(nic: &PackagedNic, found: &mut Vec<FoundInterface>) -> FoundInterface {
    let is_it = |other: &FoundInterface| {
        let macs = other.mac.as_deref().zip(nic.mac.as_deref());
        macs.is_some_and(|(one, two)| one.eq_ignore_ascii_case(two))
    };
    let is_free = |other: &FoundInterface| other.name != "lo" && other.mac.is_none();
    let place = found
        .iter()
        .position(is_it)
        .or_else(|| found.iter().position(is_free));
    let guest = place.map(|place| found.remove(place)).unwrap_or_default();
    FoundInterface {
        name: if guest.name.is_empty() {
            nic.name.clone()
        } else {
            guest.name
        },
        mac: nic.mac.clone().or(guest.mac),
        network: nic.network.clone(),
        addresses: guest.addresses,
        gateway: guest.gateway,
    }
}

/// A name of another hypervisor, as one of a site.
pub(super) fn plain(name: &str) -> Option<String> {
    let letter = |character: char| match character {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '_' => character,
        _ => '-',
    };
    let name: String = name.chars().map(letter).take(40).collect();
    let name = name.trim_matches(['-', '_']);
    is_plain_name(name).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::Site;
    use crate::site::draft::draft;

    fn packaged() -> PackagedMachine {
        let nic = |network: &str, mac: Option<&str>| PackagedNic {
            name: "Network adapter 1".into(),
            network: Some(network.into()),
            mac: mac.map(str::to_owned),
        };
        PackagedMachine {
            name: "web one (old)".into(),
            firmware: Some(lifeboat_images::Firmware::Uefi),
            memory_mib: Some(2048),
            vcpus: Some(2),
            disks: vec!["disk.vmdk".into()],
            nics: vec![
                nic("VM Network", Some("00:50:56:aa:bb:01")),
                nic("DMZ\n[[x]]", None),
            ],
        }
    }

    fn parsed(machine: FoundMachine) -> Site {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("disk.vmdk"), b"disk").unwrap();
        let text = draft("s", &[machine]);
        Site::parse(&folder.path().join("site.toml"), &text)
            .unwrap_or_else(|error| panic!("{error}\n{text}"))
    }

    #[test]
    fn hardware_and_networks_of_a_descriptor_stand_in_the_draft() {
        let site = parsed(of_package(&packaged(), vec!["disk.vmdk".into()], None));
        let machine = &site.machines[0];
        assert_eq!(
            (machine.name.as_str(), machine.firmware),
            ("web-one--old", Firmware::Uefi)
        );
        assert_eq!((machine.memory_mib, machine.vcpus), (2048, 2));
        assert_eq!(machine.nics[0].mac.to_string(), "00:50:56:aa:bb:01");
        let names: Vec<_> = site
            .networks
            .iter()
            .map(|network| network.name.as_str())
            .collect();
        assert_eq!(names, ["VM-Network", "DMZ---x"]);
        assert_eq!(machine.nics[1].network, "DMZ---x");
    }

    #[test]
    fn the_guest_adds_its_addresses_by_hardware_address_and_then_in_order() {
        let interface = |name: &str, mac: Option<&str>, address: &str| FoundInterface {
            name: name.into(),
            mac: mac.map(str::to_owned),
            addresses: vec![address.parse().unwrap()],
            ..FoundInterface::default()
        };
        let guest = FoundMachine {
            hostname: "inside".into(),
            interfaces: vec![
                interface("eth1", None, "10.2.0.5/24"),
                interface("eth0", Some("00:50:56:AA:BB:01"), "10.1.0.5/24"),
            ],
            ..FoundMachine::default()
        };
        let site = parsed(of_package(
            &packaged(),
            vec!["disk.vmdk".into()],
            Some(guest),
        ));
        let addresses: Vec<_> = site.machines[0]
            .nics
            .iter()
            .map(|nic| nic.address)
            .collect();
        assert_eq!(
            addresses,
            ["10.1.0.5".parse().ok(), "10.2.0.5".parse().ok()]
        );
        assert_eq!(site.networks.len(), 2);
    }
}
