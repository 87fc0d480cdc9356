//! Commands that need no daemon.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::Context;
use lifeboat_bootorder::{MachineFolder, Options, machine_identity};
use lifeboat_drivers::{GuestReport, InjectRequest, NicIdentity, Target};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::progress::Progress;
use super::{Format, Inject, output};
use crate::accelerator::{self, Verdict};
use crate::confined;
use crate::daemon::WrongUse;
use crate::events::Event;
use crate::host::Host;
use crate::prepare;
use crate::report::printable;
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

/// Scratch folders in use: an interrupt ends this program without unwinding.
static SCRATCH: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Scratch space of one command, removed at its end.
pub fn scratch(beside: &Path, prefix: &str) -> anyhow::Result<tempfile::TempDir> {
    let folder = tempfile::Builder::new()
        .prefix(prefix)
        .tempdir_in(beside)
        .with_context(|| format!("failed to write to `{}`", beside.display()))?;
    let mut scratch = SCRATCH.lock().unwrap_or_else(PoisonError::into_inner);
    scratch.push(folder.path().to_path_buf());
    Ok(folder)
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
    let folders = std::mem::take(&mut *SCRATCH.lock().unwrap_or_else(PoisonError::into_inner));
    for folder in folders.iter().filter(|folder| folder.exists()) {
        std::fs::remove_dir_all(folder)
            .with_context(|| format!("interrupted, and failed to remove `{}`", folder.display()))?;
    }
    anyhow::bail!("interrupted; nothing was left behind")
}

/// `lifeboat inject`.
pub async fn inject(state_dir: &Path, inject: Inject, format: Format) -> anyhow::Result<bool> {
    let host = Host::new(state_dir)?;
    let verdict = detect(&host).await?;
    let report =
        tokio::task::spawn_blocking(move || inject_disk(&host, &verdict, &inject)).await??;
    output::print(format, &report, || {
        let checks = report.verified.iter().map(|check| {
            format!(
                "{}  {}: {}\n",
                if check.ok { "ok  " } else { "FAIL" },
                check.what,
                printable(&check.detail)
            )
        });
        let changes = report
            .changes
            .changes
            .iter()
            .map(|change| format!("{:?}  {}\n", change.action, printable(&change.path)));
        format!(
            "{}{}{:.1} s\n",
            changes.collect::<String>(),
            checks.collect::<String>(),
            report.seconds
        )
    })?;
    Ok(report.verified.iter().all(|check| check.ok))
}

fn inject_disk(
    host: &Host,
    verdict: &Verdict,
    inject: &Inject,
) -> anyhow::Result<lifeboat_drivers::PrepareReport> {
    if inject.overlay.exists() {
        return Err(WrongUse(format!(
            "overlay `{}` exists already: name a new file",
            inject.overlay.display()
        ))
        .into());
    }
    let nics = inject
        .nics
        .iter()
        .map(|nic| parse_nic(nic))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let captured = import(host, &inject.disk, &inject.backing)?;
    // Made in a scratch folder beside its place and moved there whole.
    let place = std::path::absolute(&inject.overlay)?;
    let beside = place.parent().unwrap_or(Path::new("/"));
    let scratch = scratch(beside, ".lifeboat-")?;
    let overlay = scratch.path().join("overlay.qcow2");
    prepare::overlay_over(&captured, &overlay)?;
    let request = InjectRequest {
        machine: "disk".into(),
        nics,
        target: Target::default(),
    };
    let vm = prepare::micro_vm(host, verdict.accelerator);
    let disk = prepare::disk(&captured, &overlay)?;
    let folder = scratch.path().join("folder");
    let report = lifeboat_drivers::prepare(&vm, &[disk], &request, &folder)?;
    prepare::require_checks(&report)?;
    std::fs::rename(&overlay, &place)
        .with_context(|| format!("failed to move the overlay to `{}`", place.display()))?;
    Ok(report)
}

fn import(
    host: &Host,
    path: &Path,
    chain: &[PathBuf],
) -> anyhow::Result<lifeboat_images::CapturedVolume> {
    let never = std::sync::atomic::AtomicBool::new(false);
    Ok(lifeboat_images::import(
        &confined::launcher(),
        path,
        chain,
        &host.conversions(),
        None,
        &lifeboat_images::Reading::fast(&|_, _| {}, &never),
    )?)
}

fn parse_nic(text: &str) -> anyhow::Result<NicIdentity> {
    let (mac, address) = text
        .split_once('=')
        .map_or((text, None), |(mac, address)| (mac, Some(address)));
    let wrong = || {
        WrongUse(format!(
            "`--nic {text}` is not understood: expected MAC or MAC=ADDRESS"
        ))
    };
    let mac: lifeboat_network::MacAddr = mac.parse().map_err(|_| wrong())?;
    let address = address.map(str::parse).transpose().map_err(|_| wrong())?;
    Ok(NicIdentity {
        mac: mac.to_string(),
        address,
    })
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
    let mut progress = Progress::new();
    let mut machines = Vec::new();
    for group in volumes {
        progress.show(&Event::Step {
            what: "inspect".into(),
            subject: group.clone(),
        });
        let (host, verdict, disks) = (
            host.clone(),
            verdict.clone(),
            group.split(',').map(PathBuf::from).collect(),
        );
        let machine =
            tokio::task::spawn_blocking(move || examine(&host, &verdict, disks)).await??;
        progress.show(&Event::Done {
            what: "inspect".into(),
            subject: group.clone(),
            detail: format!("{}, {}", machine.hostname, machine.operating_system),
        });
        machines.push(machine);
    }
    progress.finish();
    let text = crate::site::draft::draft(name, &machines);
    output::print(format, &json!({ "site_toml": text }), || text.clone())
}

/// Looks at the volumes of one machine in the micro-VM, without writing.
fn examine(host: &Host, verdict: &Verdict, volumes: Vec<PathBuf>) -> anyhow::Result<FoundMachine> {
    let scratch = scratch(&std::env::temp_dir(), "lifeboat-")?;
    let mut disks = Vec::new();
    for volume in &volumes {
        let captured = import(host, volume, &[])?;
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
    }
}
