//! One machine of a running session, from its start to its last gate.

use std::fs::OpenOptions;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use lifeboat_network::client::SwitchClient;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Clock;
use super::gates::{self, Opening};
use super::plan::{DiskPlan, MachinePlan, SessionPlan};
use crate::hypervisor::domain_xml::{DiskSpec, DomainSpec, LayerSpec, NicSpec, domain_xml};
use crate::hypervisor::{DiskDescriptors, DomainStart, DomainState, Hypervisor};
use crate::report::Mode;

/// Between two looks at whether a domain still runs.
const WATCH: Duration = Duration::from_secs(1);

/// Why a halted machine is not ready.
pub const PAUSED: &str =
    "QEMU halted the machine: a disk of this host is full or failing (see `lifeboat check`)";

/// What a machine says to the driver.
#[derive(Debug)]
pub enum Said {
    /// Its domain runs.
    Started,
    /// A gate opened or stayed closed.
    Gate {
        /// Which.
        gate: usize,
        /// How it ended.
        opening: Opening,
        /// When, seconds since the start of the session.
        at_s: f64,
    },
    /// All gates are open.
    Ready,
    /// It will not become ready.
    Failed(String),
}

/// What bringing up machines needs.
#[derive(Clone)]
pub struct Means {
    /// The decided session.
    pub plan: Arc<SessionPlan>,
    /// libvirt.
    pub hypervisor: Hypervisor,
    /// The switch.
    pub client: SwitchClient,
    /// Session time.
    pub clock: Clock,
    /// To the driver: machine and what it says.
    pub says: mpsc::UnboundedSender<(usize, Said)>,
}

impl Means {
    fn say(&self, machine: usize, said: Said) {
        drop(self.says.send((machine, said)));
    }
}

/// Starts the machine, unless it runs already, and waits for its gates.
pub async fn bring_up(means: Means, index: usize, already_running: bool) {
    let started = if already_running {
        Ok(())
    } else {
        start(&means, index).await
    };
    match started {
        Err(error) => means.say(index, Said::Failed(crate::events::chain(&error).join(": "))),
        Ok(()) => {
            means.say(index, Said::Started);
            let end = tokio::select! {
                end = all_gates(&means, index) => end,
                end = domain_ends(&means, index) => Said::Failed(end),
            };
            means.say(index, end);
        }
    }
}

async fn start(means: &Means, index: usize) -> anyhow::Result<()> {
    let plan = means.plan.clone();
    let qemu = means.hypervisor.capabilities().await?.qemu();
    let start = tokio::task::spawn_blocking(move || domain_start(&plan, index, qemu)).await??;
    Ok(means.hypervisor.start_domain(start).await?)
}

async fn all_gates(means: &Means, index: usize) -> Said {
    let begun = Instant::now();
    let mut waiting = JoinSet::new();
    for (number, gate) in means.plan.machines[index].gates.iter().cloned().enumerate() {
        let client = means.client.clone();
        let deadline = begun + Duration::from_secs(gate.timeout_s);
        waiting.spawn(async move { (number, gates::wait_open(&client, &gate, deadline).await) });
    }
    let mut closed = Vec::new();
    while let Some(probed) = waiting.join_next().await {
        let Ok((gate, opening)) = probed else {
            return Said::Failed("probing a gate broke off".into());
        };
        if !opening.open {
            closed.push(closed_gate(&means.plan.machines[index], gate, &opening));
        }
        means.say(
            index,
            Said::Gate {
                gate,
                opening,
                at_s: means.clock.elapsed_s(),
            },
        );
    }
    if closed.is_empty() {
        Said::Ready
    } else {
        Said::Failed(closed.join("; "))
    }
}

fn closed_gate(plan: &MachinePlan, number: usize, opening: &Opening) -> String {
    let gate = &plan.gates[number];
    let port = gate
        .gate
        .kind
        .port()
        .map(|port| format!(" {port}"))
        .unwrap_or_default();
    format!(
        "gate {}{port} stayed closed for {} s after the start ({})",
        gate.gate.kind.word(),
        gate.timeout_s,
        opening.detail
    )
}

/// Returns when the domain no longer runs; never otherwise.
async fn domain_ends(means: &Means, index: usize) -> String {
    let domain = &means.plan.machines[index].domain;
    loop {
        tokio::time::sleep(WATCH).await;
        match means.hypervisor.state(domain).await {
            Ok(DomainState::Running) => {}
            Ok(DomainState::Paused) => return PAUSED.into(),
            Ok(DomainState::Ended | DomainState::Absent) => {
                return "the machine ended by itself before its gates opened (powered off or crashed)".into();
            }
            Err(error) => tracing::warn!(%error, domain, "failed to watch the domain"),
        }
    }
}

/// Opens the layers of the machine's disks and writes its definition.
fn domain_start(
    plan: &SessionPlan,
    index: usize,
    qemu_version: (u32, u32),
) -> anyhow::Result<DomainStart> {
    let machine = &plan.machines[index];
    let mut disks = Vec::new();
    let mut specs = Vec::new();
    for (number, disk) in machine.disks.iter().enumerate() {
        let group = format!("{}-{number}", machine.machine.name);
        let (layers, spec) = open_layers(disk, &group)?;
        disks.push(DiskDescriptors { layers });
        specs.push(spec);
    }
    let nic = |number: usize| NicSpec {
        mac: machine.machine.nics[number].mac,
        socket: &machine.sockets[number],
        model: machine.nic_model(number),
    };
    let xml = domain_xml(&DomainSpec {
        name: &machine.domain,
        accelerator: plan.verdict.accelerator,
        firmware: machine.machine.firmware,
        secure_boot: machine.machine.secure_boot,
        uuid: machine.machine.uuid.as_deref(),
        clock: machine.machine.clock.unwrap_or(machine.hardware.clock),
        disk_bus: machine.hardware.disk,
        qemu_version,
        memory_mib: machine.machine.memory_mib,
        vcpus: machine.machine.vcpus,
        disks: specs,
        nics: machine.attached_cards().into_iter().map(nic).collect(),
        console_log: &machine.console,
        nvram: &plan
            .run_dir
            .join(format!("{}_VARS.fd", machine.machine.name)),
        disposable: plan.mode == Mode::Test,
    });
    Ok(DomainStart {
        name: machine.domain.clone(),
        xml,
        disks,
    })
}

type Layers = Vec<(String, OwnedFd)>;

/// Top first: the run overlay to write, the prepared image and the captured
/// volume to read.
fn open_layers(disk: &DiskPlan, group: &str) -> anyhow::Result<(Layers, DiskSpec)> {
    use anyhow::Context;
    let run = OpenOptions::new().read(true).write(true).open(&disk.run);
    let run =
        run.with_context(|| format!("failed to open run overlay `{}`", disk.run.display()))?;
    let prepared = OpenOptions::new().read(true).open(&disk.prepared);
    let prepared = prepared.with_context(|| {
        format!(
            "failed to open prepared image `{}`",
            disk.prepared.display()
        )
    })?;
    let mut layers: Layers = vec![
        (format!("{group}-run"), run.into()),
        (format!("{group}-prepared"), prepared.into()),
    ];
    let mut about = vec![
        (disk.run.clone(), DiskPlan::OVERLAY),
        (disk.prepared.clone(), DiskPlan::OVERLAY),
    ];
    for (number, layer) in lifeboat_images::open_read_only(&disk.captured)?
        .into_iter()
        .enumerate()
    {
        layers.push((format!("{group}-captured-{number}"), layer.file));
        about.push((layer.path, layer.format));
    }
    let spec = layers
        .iter()
        .zip(about)
        .map(|((group, _), (path, format))| LayerSpec {
            group: group.clone(),
            path: path.to_string_lossy().into_owned(),
            format,
        });
    let spec = DiskSpec {
        layers: spec.collect(),
    };
    Ok((layers, spec))
}
