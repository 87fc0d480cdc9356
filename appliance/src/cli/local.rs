//! Commands that need no daemon.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lifeboat_bootorder::{MachineFolder, Options, machine_identity};
use lifeboat_drivers::GuestReport;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::progress::Progress;
use super::{Format, draft_package, output};
use crate::accelerator::{self, Verdict};
use crate::confined;
use crate::daemon::WrongUse;
use crate::events::{Event, Events};
use crate::host::Host;
use crate::leftovers::Drafting;
use crate::prepare;
use crate::scratch::Scratch;
use crate::site::Firmware;
use crate::site::draft::{FoundInterface, FoundMachine};

/// `lifeboat check`.
pub async fn check(state_dir: &Path, format: Format) -> anyhow::Result<bool> {
    let host = Host::new(state_dir)?;
    let verdict = detect(&host).await?;
    let fitness = crate::check::check(&host, verdict).await;
    output::print(format, &fitness, || crate::check::to_text(&fitness))?;
    Ok(fitness.fit)
}

pub async fn detect(host: &Host) -> anyhow::Result<Verdict> {
    let kernel_dir = host.kernel_dir.clone();
    Ok(tokio::task::spawn_blocking(move || accelerator::detect(&kernel_dir)).await?)
}

/// Works until done or interrupted; guests' files do not stay behind.
pub async fn interruptible(
    work: impl Future<Output = anyhow::Result<bool>>,
) -> anyhow::Result<bool> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        result = work => return result,
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        _ = terminate.recv() => {}
    }
    crate::scratch::remove_all()?;
    anyhow::bail!(
        "interrupted; what was begun was removed, but for a conversion that the next try goes on with"
    )
}

/// `lifeboat site draft`.
pub async fn draft(
    state_dir: &Path,
    name: &str,
    volumes: &[String],
    format: Format,
) -> anyhow::Result<bool> {
    if !crate::site::is_plain_name(name) {
        return Err(WrongUse(format!("`{name}` is not a name for a site")).into());
    }
    let host = Host::new(state_dir)?;
    let verdict = detect(&host).await?;
    let drafting = Arc::new(Drafting::begin(&host)?);
    let mut progress = Progress::new();
    let mut machines = Vec::new();
    for group in volumes {
        progress.show(&Event::Step {
            what: "inspect".into(),
            subject: group.clone(),
        });
        let (host, verdict, drafting, disks) = (
            host.clone(),
            verdict.clone(),
            drafting.clone(),
            group.split(',').map(PathBuf::from).collect::<Vec<_>>(),
        );
        let (events, mut heard) = Events::channel();
        let work = tokio::task::spawn_blocking(move || match &disks[..] {
            [package] if lifeboat_images::is_package(package) => {
                draft_package::machines(&host, &verdict, &drafting, package, &events)
            }
            _ => Ok(vec![examine(&host, &verdict, &drafting, disks)?]),
        });
        while let Some(event) = heard.recv().await {
            progress.show(&event);
        }
        for machine in work.await?? {
            progress.show(&Event::Done {
                what: "inspect".into(),
                subject: group.clone(),
                detail: format!("{}, {}", machine.hostname, machine.operating_system),
            });
            machines.push(machine);
        }
    }
    progress.finish();
    let text = crate::site::draft::draft(name, &machines);
    output::print(format, &json!({ "site_toml": text }), || text.clone())
}

/// Looks at the volumes of one machine in the micro-VM, without writing.
pub fn examine(
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
