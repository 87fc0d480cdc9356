//! Everything a session needs, decided before it makes anything.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use lifeboat_bootorder::Order;
use lifeboat_bootorder::schedule::{Budget, Need, Node, Standing};
use lifeboat_images::{CapturedVolume, Format};
use lifeboat_network::config::{NetworkConfig, Owner, PortConfig, PortKind, SwitchConfig};
use serde::{Deserialize, Serialize};

use crate::accelerator::{Accelerator, Verdict};
use crate::firmware::{self, SECURE_BOOT_MISSING};
use crate::hardware::{Hardware, NicModel};
use crate::host::{Host, QemuUser};
use crate::prepare::PreparedMachine;
use crate::report::{Mode, PlanLine};
use crate::site::{Gate, GateKind, Machine, Site};

/// Memory that a QEMU process needs beyond the guest's own, MiB.
pub const QEMU_OVERHEAD_MIB: u64 = 160;

/// Why a session cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum AdmissionError {
    /// The guests do not fit into memory.
    #[error(
        "site `{site}` needs {needed_mib} MiB of memory for {machines} machines, but this host can give {available_mib} MiB: lower `memory_mib` in the site file, leave machines out, or use a larger host"
    )]
    Memory {
        /// The site.
        site: String,
        /// How many machines.
        machines: usize,
        /// What they need, MiB.
        needed_mib: u64,
        /// What there is, MiB.
        available_mib: u64,
    },
    /// Firmware that a machine needs.
    #[error("machine `{machine}` boots with Secure Boot, but {SECURE_BOOT_MISSING}")]
    SecureBoot {
        /// The machine.
        machine: String,
    },
    /// Too little room for the run overlays.
    #[error(
        "`{folder}` has {free_mib} MiB free, but a session of {machines} machines needs at least {needed_mib} MiB: free some space or choose another `--state-dir`"
    )]
    Disk {
        /// The state directory.
        folder: PathBuf,
        /// How many machines.
        machines: usize,
        /// Free space, MiB.
        free_mib: u64,
        /// Space needed, MiB.
        needed_mib: u64,
    },
}

/// One machine of a session.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MachinePlan {
    /// As the site file describes it.
    pub machine: Machine,
    /// Name of its domain.
    pub domain: String,
    /// Its disks in order.
    pub disks: Vec<DiskPlan>,
    /// Socket of each NIC in order.
    pub sockets: Vec<PathBuf>,
    /// Its gates; never empty.
    pub gates: Vec<PlannedGate>,
    /// Machines it needs, by index.
    pub needs: Vec<(usize, bool)>,
    /// Number of the group that it starts together with.
    #[serde(default)]
    pub group: Option<usize>,
    /// Expected seconds from start to ready.
    pub expected_s: f64,
    /// Seconds of its preparation.
    pub inject_s: f64,
    /// Serial console.
    pub console: PathBuf,
    /// The hardware it boots on.
    #[serde(default)]
    pub hardware: Hardware,
    /// MAC addresses in the order in which the cards are best attached.
    #[serde(default)]
    pub card_order: Vec<String>,
}

impl MachinePlan {
    /// Its cards by number, in the order in which they are attached.
    pub fn attached_cards(&self) -> Vec<usize> {
        let macs = self.machine.nics.iter().map(|nic| nic.mac.to_string());
        attach_order(&macs.collect::<Vec<_>>(), &self.card_order)
    }

    /// The model of a card; sessions of earlier versions have virtio only.
    pub fn nic_model(&self, number: usize) -> NicModel {
        self.hardware.nics.get(number).copied().unwrap_or_default()
    }
}

/// A guest whose kernel counts its cards itself (`eth0`, `eth1`) gives each the name that it had
/// when they are attached in that order. Cards that nothing is known of follow as the site file has
/// them.
fn attach_order(macs: &[String], known: &[String]) -> Vec<usize> {
    let place = |number: &usize| {
        let same = |mac: &String| mac.eq_ignore_ascii_case(&macs[*number]);
        known.iter().position(same).unwrap_or(known.len())
    };
    let mut cards: Vec<usize> = (0..macs.len()).collect();
    cards.sort_by_key(place);
    cards
}

/// A gate and where it comes from.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PlannedGate {
    /// The gate.
    pub gate: Gate,
    /// Learned rather than given.
    pub learned: bool,
    /// Address to probe, where one is probed.
    pub address: Option<Ipv4Addr>,
    /// Seconds until it counts as failed.
    pub timeout_s: u64,
}

/// The layers of a disk.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DiskPlan {
    /// The captured volume.
    pub captured: CapturedVolume,
    /// The prepared image over it.
    pub prepared: PathBuf,
    /// The run overlay over that.
    pub run: PathBuf,
}

impl DiskPlan {
    /// Format of the layers that we make.
    pub const OVERLAY: Format = Format::Qcow2;
}

/// A session, decided.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SessionPlan {
    /// Its id.
    pub id: String,
    /// Unix time of its beginning, milliseconds.
    pub began_ms: u64,
    /// Test or recovery.
    pub mode: Mode,
    /// The site's name.
    pub site: String,
    /// How guests run, and why.
    pub verdict: Verdict,
    /// The machines.
    pub machines: Vec<MachinePlan>,
    /// The order with its evidence, for the report.
    pub order: Vec<PlanLine>,
    /// The switch.
    pub switch: SwitchConfig,
    /// Memory for all guests, MiB.
    pub memory_mib: u64,
    /// Folder of consoles, screenshots, report.
    pub folder: PathBuf,
    /// Folder of sockets.
    pub run_dir: PathBuf,
    /// Which boot of this host its machines were started in.
    #[serde(default)]
    pub host_boot: String,
    /// The screens and keyboards of its machines can be used.
    #[serde(default)]
    pub display: bool,
    /// Warnings so far.
    pub warnings: Vec<String>,
}

/// Warnings of the preparation and of the order.
fn warnings(from: &Ingredients) -> Vec<String> {
    let of_machine = |prepared: &PreparedMachine| {
        let name = prepared.machine.clone();
        prepared
            .warnings
            .clone()
            .into_iter()
            .map(move |warning| format!("{name}: {warning}"))
    };
    let prepared = from.prepared.iter().flat_map(of_machine);
    prepared
        .chain(from.order.warnings.iter().cloned())
        .collect()
}

/// What a plan is made of.
pub struct Ingredients<'a> {
    /// The site.
    pub site: &'a Site,
    /// Test or recovery.
    pub mode: Mode,
    /// Accelerator.
    pub verdict: Verdict,
    /// Prepared machines in the site's order.
    pub prepared: &'a [PreparedMachine],
    /// The order.
    pub order: &'a Order,
    /// The host.
    pub host: &'a Host,
    /// Memory that machines of other sessions may still take, MiB.
    pub promised_mib: u64,
    /// User of QEMU processes.
    pub qemu_user: QemuUser,
}

impl SessionPlan {
    /// Decides a session, or says why it cannot begin.
    pub fn decide(id: String, began_ms: u64, from: &Ingredients) -> Result<Self, AdmissionError> {
        let folder = from.host.session_dir(&id);
        let run_dir = from.host.run_dir.join(&id);
        let memory_mib = admit(from.site, from.host, from.promised_mib)?;
        let machines: Vec<_> = (0..from.site.machines.len())
            .map(|index| machine_plan(&id, &folder, &run_dir, index, from))
            .collect();
        let switch = switch_config(&id, &run_dir, &folder, from, &machines);
        Ok(Self {
            id,
            began_ms,
            host_boot: from.host.boot_id(),
            mode: from.mode,
            site: from.site.name.clone(),
            verdict: from.verdict.clone(),
            machines,
            order: plan_lines(from.order),
            switch,
            memory_mib,
            folder,
            run_dir,
            display: true,
            warnings: warnings(from),
        })
    }

    /// The nodes of the schedule, all waiting.
    pub fn nodes(&self) -> Vec<Node> {
        self.machines.iter().map(node).collect()
    }

    /// Memory that its machines were given and have not touched yet, MiB: the
    /// host still counts that as free.
    pub fn untouched_mib(&self, host: &Host) -> u64 {
        let untouched = |machine: &MachinePlan| {
            let whole = machine.machine.memory_mib + QEMU_OVERHEAD_MIB;
            whole.saturating_sub(host.resident_mib(&machine.domain))
        };
        self.machines.iter().map(untouched).sum()
    }

    /// What the host can carry.
    pub fn budget(&self) -> Budget {
        Budget {
            memory_mib: self.memory_mib,
            booting: booting_at_once(self.verdict.accelerator),
        }
    }
}

/// How many guests may boot at once. Emulated guests share the cores; more of
/// them than cores only slows the one on the critical path.
pub fn booting_at_once(accelerator: Accelerator) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    match accelerator {
        Accelerator::Tcg => cores.max(2),
        Accelerator::Kvm => cores.max(1) * 4,
    }
}

fn node(plan: &MachinePlan) -> Node {
    let need = |hard: bool| if hard { Need::Hard } else { Need::Soft };
    Node {
        name: plan.machine.name.clone(),
        memory_mib: plan.machine.memory_mib + QEMU_OVERHEAD_MIB,
        expected_s: plan.expected_s,
        needs: plan
            .needs
            .iter()
            .map(|(other, hard)| (*other, need(*hard)))
            .collect(),
        group: plan.group,
        standing: Standing::Waiting,
    }
}

/// Whether the host has room for a session of the site; returns the memory that
/// guests may use, MiB. Asked before anything is prepared, and again when the
/// session is decided.
pub fn admit(site: &Site, host: &Host, promised_mib: u64) -> Result<u64, AdmissionError> {
    admit_disk(site, host)?;
    admit_firmware(site)?;
    let needed_mib = site
        .machines
        .iter()
        .map(|machine| machine.memory_mib + QEMU_OVERHEAD_MIB)
        .sum();
    let available_mib = host.memory_for_guests_mib().saturating_sub(promised_mib);
    if needed_mib <= available_mib {
        return Ok(available_mib);
    }
    Err(AdmissionError::Memory {
        site: site.name.clone(),
        machines: site.machines.len(),
        needed_mib,
        available_mib,
    })
}

fn admit_firmware(site: &Site) -> Result<(), AdmissionError> {
    let needing = site.machines.iter().find(|machine| machine.secure_boot);
    match needing {
        Some(machine) if firmware::secure_boot().is_none() => Err(AdmissionError::SecureBoot {
            machine: machine.name.clone(),
        }),
        _ => Ok(()),
    }
}

fn admit_disk(site: &Site, host: &Host) -> Result<(), AdmissionError> {
    let machines = site.machines.len();
    // A guest that boots writes tens of MiB into its run overlay.
    let needed_mib = 256 + 256 * machines as u64;
    let free_mib = host.free_disk_mib();
    if free_mib >= needed_mib {
        return Ok(());
    }
    Err(AdmissionError::Disk {
        folder: host.state_dir.clone(),
        machines,
        free_mib,
        needed_mib,
    })
}

fn machine_plan(
    id: &str,
    folder: &Path,
    run_dir: &Path,
    index: usize,
    from: &Ingredients,
) -> MachinePlan {
    let machine = from.site.machines[index].clone();
    let prepared = &from.prepared[index];
    let disks = prepared
        .disks
        .iter()
        .enumerate()
        .map(|(number, disk)| DiskPlan {
            captured: disk.captured.clone(),
            prepared: disk.overlay.clone(),
            run: folder.join(format!("{}-{number}.qcow2", machine.name)),
        });
    MachinePlan {
        domain: format!("{}{id}-{}", crate::hypervisor::DOMAIN_PREFIX, machine.name),
        disks: disks.collect(),
        sockets: (0..machine.nics.len())
            .map(|nic| run_dir.join(format!("p{index}-{nic}.sock")))
            .collect(),
        gates: gates(&machine, from),
        needs: needs(&machine.name, from),
        group: group(&machine.name, from.order),
        expected_s: from.order.expected_s(&machine.name),
        inject_s: prepared.inject_s,
        hardware: prepared.hardware.clone(),
        card_order: prepared.card_order.clone(),
        console: folder.join(format!("{}.log", machine.name)),
        machine,
    }
}

/// Machines that this one waits for, and whether it cannot do without.
fn needs(name: &str, from: &Ingredients) -> Vec<(usize, bool)> {
    let index_of = |other: &String| from.site.machines.iter().position(|m| &m.name == other);
    let needs = from.order.needs(name);
    needs
        .iter()
        .filter_map(|(other, need)| Some((index_of(other)?, *need == Need::Hard)))
        .collect()
}

fn group(name: &String, order: &Order) -> Option<usize> {
    let mut groups = order.groups.iter();
    groups.position(|group| group.members.contains(name))
}

fn gates(machine: &Machine, from: &Ingredients) -> Vec<PlannedGate> {
    let (gates, learned) = if machine.gates.is_empty() {
        (learned_gates(machine, from.order), true)
    } else {
        (machine.gates.clone(), false)
    };
    gates
        .into_iter()
        .map(|gate| planned(gate, learned, machine, from))
        .collect()
}

/// The services that listened before, else an echo, else that it runs.
fn learned_gates(machine: &Machine, order: &Order) -> Vec<Gate> {
    let ports: BTreeSet<u16> = order
        .gates
        .get(&machine.name)
        .into_iter()
        .flatten()
        .map(|gate| gate.port)
        .collect();
    let kinds: Vec<GateKind> = match (machine.addresses().is_empty(), ports.is_empty()) {
        (true, _) => vec![GateKind::Running],
        (false, true) => vec![GateKind::Icmp],
        (false, false) => ports.into_iter().map(GateKind::Tcp).collect(),
    };
    kinds.into_iter().map(Gate::new).collect()
}

fn planned(gate: Gate, learned: bool, machine: &Machine, from: &Ingredients) -> PlannedGate {
    let nic = match gate.address {
        Some(address) => machine.nics.iter().find(|nic| nic.address == Some(address)),
        None => machine.nics.iter().find(|nic| nic.address.is_some()),
    };
    let learned_s = from.order.ready.get(&machine.name).map(|r| r.timeout_s);
    PlannedGate {
        address: gate.address.or(nic.and_then(|nic| nic.address)),
        timeout_s: gate
            .timeout_s
            .unwrap_or_else(|| timeout_s(learned_s, from.verdict.accelerator)),
        gate,
        learned,
    }
}

/// What the slowest boot seen leads to, with a floor: drivers are new, and an emulated machine is
/// several times slower than the one that wrote the logs.
fn timeout_s(learned_s: Option<u64>, accelerator: Accelerator) -> u64 {
    let (floor, slowdown) = match accelerator {
        Accelerator::Kvm => (240, 1),
        Accelerator::Tcg => (600, 3),
    };
    floor.max(learned_s.unwrap_or(0).saturating_mul(slowdown))
}

fn plan_lines(order: &Order) -> Vec<PlanLine> {
    let line = |entry: &lifeboat_bootorder::PlanEntry| PlanLine {
        machine: entry.machine.clone(),
        after: entry.after.clone(),
        evidence: entry.evidence.clone(),
        reasons: entry.reasons.clone(),
    };
    order.plan.iter().map(line).collect()
}

fn switch_config(
    id: &str,
    run_dir: &Path,
    folder: &Path,
    from: &Ingredients,
    machines: &[MachinePlan],
) -> SwitchConfig {
    let network = |network: &crate::site::Network| NetworkConfig {
        name: network.name.clone(),
        cidr: network.cidr,
        gateway: network.gateway,
    };
    let owner = Owner {
        uid: from.qemu_user.uid,
        gid: from.qemu_user.gid,
    };
    SwitchConfig {
        session: id.to_owned(),
        control_socket: run_dir.join("control.sock"),
        networks: from.site.networks.iter().map(network).collect(),
        ports: machines.iter().flat_map(ports).collect(),
        run_as: Some(from.host.switch_user()),
        socket_owner: Some(owner),
        // No machine's console has this name: theirs end in `.log`.
        log: Some(folder.join("switch.txt")),
    }
}

fn ports(plan: &MachinePlan) -> impl Iterator<Item = PortConfig> + '_ {
    plan.machine
        .nics
        .iter()
        .zip(&plan.sockets)
        .enumerate()
        .map(|(number, (nic, socket))| PortConfig {
            id: format!("{}-{number}", plan.machine.name),
            machine: plan.machine.name.clone(),
            network: nic.network.clone(),
            mac: nic.mac,
            address: nic.address,
            socket: socket.clone(),
            kind: match plan.nic_model(number) {
                NicModel::Virtio => PortKind::VhostUser,
                NicModel::E1000e => PortKind::Stream,
            },
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards_are_attached_as_the_guest_counted_them_and_unknown_ones_last() {
        let macs = [
            "52:54:00:00:00:01",
            "52:54:00:00:00:02",
            "52:54:00:00:00:0a",
        ];
        let macs = macs.map(str::to_owned);
        let known = [
            "52:54:00:00:00:0A".to_owned(),
            "52:54:00:00:00:01".to_owned(),
        ];
        assert_eq!(attach_order(&macs, &known), [2, 0, 1]);
        assert_eq!(attach_order(&macs, &[]), [0, 1, 2]);
    }

    #[test]
    fn time_outs_are_learned_above_a_floor() {
        use Accelerator::{Kvm, Tcg};
        for (learned, accelerator, expected) in [
            (None, Kvm, 240),
            (Some(120), Kvm, 240),
            (Some(900), Kvm, 900),
            (Some(120), Tcg, 600),
            (Some(900), Tcg, 2700),
        ] {
            assert_eq!(timeout_s(learned, accelerator), expected, "{learned:?}");
        }
    }
}
