//! What captured volumes say about their machines, for a first site file.

mod package;

use std::path::{Path, PathBuf};

use lifeboat_bootorder::{MachineFolder, Options, machine_identity};
use lifeboat_drivers::GuestReport;

use crate::accelerator::Verdict;
use crate::confined;
use crate::events::Events;
use crate::host::Host;
use crate::leftovers::Drafting;
use crate::prepare;
use crate::scratch::Scratch;
use crate::site::Firmware;
use crate::site::draft::{FoundInterface, FoundMachine};

/// How a machine is called before its name is known: by its disks.
pub fn subject(disks: &[PathBuf]) -> String {
    let names: Vec<_> = disks.iter().map(|disk| disk.to_string_lossy()).collect();
    names.join(",")
}

/// The machine on these disks, or those of an OVF package.
pub fn machines(
    host: &Host,
    verdict: &Verdict,
    drafting: &Drafting,
    disks: Vec<PathBuf>,
    events: &Events,
) -> anyhow::Result<Vec<FoundMachine>> {
    match &disks[..] {
        [package] if lifeboat_images::is_package(package) => {
            package::machines(host, verdict, drafting, package, events)
        }
        _ => Ok(vec![examine(host, verdict, drafting, disks)?]),
    }
}

/// Looks at the volumes of one machine in the micro-VM, without writing.
fn examine(
    host: &Host,
    verdict: &Verdict,
    drafting: &Drafting,
    volumes: Vec<PathBuf>,
) -> anyhow::Result<FoundMachine> {
    let scratch = Scratch::beside(&std::env::temp_dir())?;
    let mut disks = Vec::new();
    for volume in &volumes {
        let captured = confined::import(&host.conversions(), volume, &[])?;
        drafting.name(volume, Some(&captured))?;
        disks.push(prepare::read_only_disk(&captured)?);
    }
    let folder = scratch.path().join("folder");
    let guest = lifeboat_drivers::inspect(
        &prepare::micro_vm(host, verdict.accelerator),
        &disks,
        &folder,
    )?;
    Ok(found(volumes, &guest, &folder))
}

fn found(volumes: Vec<PathBuf>, guest: &GuestReport, folder: &Path) -> FoundMachine {
    let identity = machine_identity(folder);
    let machine = MachineFolder {
        name: "machine".into(),
        folder: folder.to_path_buf(),
        addresses: Vec::new(),
        names: Vec::new(),
    };
    let order = lifeboat_bootorder::order(&[machine], &[], &Options::default());
    let services = order
        .gates
        .values()
        .flatten()
        .map(|gate| (gate.port, gate.service.clone()));
    let interface = |found: lifeboat_bootorder::Interface| FoundInterface {
        name: found.name,
        mac: found.mac,
        network: None,
        addresses: found.addresses,
        gateway: found.gateway,
    };
    FoundMachine {
        hostname: guest.hostname.clone(),
        volumes,
        firmware: match guest.firmware {
            lifeboat_drivers::Firmware::Bios => Firmware::Bios,
            lifeboat_drivers::Firmware::Uefi => Firmware::Uefi,
        },
        operating_system: guest.os.pretty_name.clone(),
        interfaces: identity.interfaces.into_iter().map(interface).collect(),
        services: services.collect(),
        memory_mib: None,
        vcpus: None,
    }
}
