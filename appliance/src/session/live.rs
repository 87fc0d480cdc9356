//! A session as it goes on: where each machine stands, what it waits for and why.
//! Nothing but its decided plan and the log of its steps goes into the picture, so
//! that it is the same in every life of the daemon.

use lifeboat_bootorder::schedule;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::plan::{MachinePlan, PlannedGate, SessionPlan};

/// Where a machine stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MachineState {
    /// It is not its turn yet.
    Waiting,
    /// Its domain is being started.
    Starting,
    /// It runs; not all of its gates are open.
    Booting,
    /// All gates are open.
    Ready,
    /// A gate stayed closed, or it ended.
    Failed,
    /// A machine that it needs failed.
    Blocked,
    /// The session ended before its turn.
    NotStarted,
}

/// Where a gate stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum GateState {
    /// It is probed, or will be.
    Waiting,
    /// It opened.
    Open,
    /// It stayed closed.
    Closed,
}

/// A gate of a machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LiveGate {
    /// `icmp`, `tcp`, `http` or `running`.
    pub kind: String,
    /// The port, where there is one.
    pub port: Option<u16>,
    /// The address that is probed.
    pub address: Option<String>,
    /// Learned from logs and configuration rather than given.
    pub learned: bool,
    /// Where it stands.
    pub state: GateState,
    /// Since when, seconds since the start of the session.
    pub at_s: Option<f64>,
    /// Seconds after the start of its machine until it counts as closed.
    pub timeout_s: u64,
}

/// A machine that another one waits for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WaitsFor {
    /// It.
    pub machine: String,
    /// The waiting one cannot do without.
    pub hard: bool,
    /// Where it stands.
    pub state: MachineState,
    /// Why it is waited for, a line each.
    pub why: Vec<String>,
}

/// A machine of a session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LiveMachine {
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub state: MachineState,
    /// Since when, seconds since the start of the session.
    pub since_s: f64,
    /// When its domain was started.
    pub started_s: Option<f64>,
    /// When its last gate opened.
    pub ready_s: Option<f64>,
    /// Seconds from start to ready, as its logs tell.
    pub expected_s: f64,
    /// Why it is not ready and will not be.
    pub reason: Option<String>,
    /// Machines that it waits for now.
    pub waits_for: Vec<WaitsFor>,
    /// It waits for nothing but memory, or for one of those that boot to be ready.
    pub waits_for_room: bool,
    /// Its gates.
    pub gates: Vec<LiveGate>,
    /// There is a picture of its screen.
    pub has_screen: bool,
    /// Its screen and keyboard can be used.
    pub has_vnc: bool,
}

/// A step of the log: what was done, to which machine, more words, and when (seconds since the
/// start of the session).
#[derive(Debug, Clone, Copy)]
pub struct Step<'a> {
    /// What.
    pub step: &'a str,
    /// To which machine; empty for the session itself.
    pub subject: &'a str,
    /// More words.
    pub detail: &'a str,
    /// When.
    pub at_s: f64,
}

/// Whether the session has a driver, its machines go on without one, or it is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Machines may still be started.
    Driven,
    /// Its machines run; nothing more is started.
    Kept,
    /// Everything is gone.
    Over,
}

/// The machines of a session in the order of its plan.
pub fn machines(plan: &SessionPlan, steps: &[Step<'_>], phase: Phase) -> Vec<LiveMachine> {
    // A recovery that is taken up again logs the start of its switch anew.
    let begins = |step: &Step| step.step == "start switch" && step.subject.is_empty();
    let from = steps.iter().rposition(begins).unwrap_or(0);
    let began_s = steps.get(from).map_or(0.0, |step| step.at_s);
    let steps = &steps[from..];
    let mut machines: Vec<LiveMachine> = plan
        .machines
        .iter()
        .map(|machine| replayed(machine, steps, began_s))
        .collect();
    let states: Vec<MachineState> = machines.iter().map(|machine| machine.state).collect();
    for (index, machine) in machines.iter_mut().enumerate() {
        let alive = is_alive(machine.state) && phase != Phase::Over;
        (machine.has_screen, machine.has_vnc) = (alive, alive && plan.display);
        if machine.state != MachineState::Waiting {
            continue;
        }
        if phase == Phase::Driven {
            machine.waits_for = waits_for(plan, index, &states);
            machine.waits_for_room = machine.waits_for.is_empty();
        } else {
            machine.state = MachineState::NotStarted;
        }
    }
    machines
}

/// Seconds that the longest chain of needs takes, if each machine takes what is expected.
pub fn expected_rta_s(plan: &SessionPlan) -> f64 {
    let expected: Vec<_> = plan
        .machines
        .iter()
        .map(|machine| Some(machine.expected_s))
        .collect();
    schedule::critical_path(&plan.nodes(), &expected).0
}

fn is_alive(state: MachineState) -> bool {
    use MachineState::{Booting, Failed, Ready};
    matches!(state, Booting | Ready | Failed)
}

fn replayed(plan: &MachinePlan, steps: &[Step<'_>], began_s: f64) -> LiveMachine {
    let mut machine = LiveMachine {
        name: plan.machine.name.clone(),
        state: MachineState::Waiting,
        since_s: began_s,
        started_s: None,
        ready_s: None,
        expected_s: plan.expected_s,
        reason: None,
        waits_for: Vec::new(),
        waits_for_room: false,
        gates: plan.gates.iter().map(gate).collect(),
        has_screen: false,
        has_vnc: false,
    };
    let own = steps
        .iter()
        .filter(|step| step.subject == plan.machine.name);
    own.for_each(|step| machine.follow(step));
    machine
}

fn gate(planned: &PlannedGate) -> LiveGate {
    LiveGate {
        kind: planned.gate.kind.word().into(),
        port: planned.gate.kind.port(),
        address: planned.address.map(|address| address.to_string()),
        learned: planned.learned,
        state: GateState::Waiting,
        at_s: None,
        timeout_s: planned.timeout_s,
    }
}

impl LiveMachine {
    fn follow(&mut self, step: &Step<'_>) {
        let state = match step.step {
            "starting" => MachineState::Starting,
            "booting" => MachineState::Booting,
            "ready" => MachineState::Ready,
            "failed" => MachineState::Failed,
            "blocked" => MachineState::Blocked,
            "gate open" => return self.note_gate(step, GateState::Open),
            "gate closed" => return self.note_gate(step, GateState::Closed),
            _ => return,
        };
        (self.state, self.since_s) = (state, step.at_s);
        match state {
            MachineState::Starting => self.started_s = Some(step.at_s),
            MachineState::Ready => self.ready_s = Some(step.at_s),
            MachineState::Failed | MachineState::Blocked => {
                self.reason = Some(step.detail.to_owned());
            }
            _ => {}
        }
    }

    /// Of gates that are called the same, the first that is not decided yet.
    fn note_gate(&mut self, step: &Step<'_>, state: GateState) {
        let named = |gate: &&mut LiveGate| {
            gate.state == GateState::Waiting && gate_words(&gate.kind, gate.port) == step.detail
        };
        if let Some(gate) = self.gates.iter_mut().find(named) {
            (gate.state, gate.at_s) = (state, Some(step.at_s));
        }
    }
}

/// How the log calls a gate.
pub fn gate_words(kind: &str, port: Option<u16>) -> String {
    match port {
        Some(port) => format!("{kind} {port}"),
        None => kind.to_owned(),
    }
}

fn waits_for(plan: &SessionPlan, index: usize, states: &[MachineState]) -> Vec<WaitsFor> {
    let own = &plan.machines[index];
    let nodes = plan.machines[index].needs.iter();
    let waiting = nodes.filter(|(other, hard)| {
        let settled = matches!(states[*other], MachineState::Failed | MachineState::Blocked);
        states[*other] != MachineState::Ready && (*hard || !settled)
    });
    let about = |(other, hard): &(usize, bool)| {
        let name = &plan.machines[*other].machine.name;
        WaitsFor {
            machine: name.clone(),
            hard: *hard,
            state: states[*other],
            why: why(plan, &own.machine.name, name),
        }
    };
    waiting.map(about).collect()
}

/// The reasons of the order, which name the earlier machine first.
fn why(plan: &SessionPlan, machine: &str, before: &str) -> Vec<String> {
    let line = plan.order.iter().find(|line| line.machine == machine);
    let (colon, bracket) = (format!("after {before}: "), format!("after {before} ("));
    let about = |reason: &&String| reason.starts_with(&colon) || reason.starts_with(&bracket);
    let Some(line) = line else { return Vec::new() };
    let said = line.reasons.iter().chain(&line.evidence);
    said.filter(about).cloned().collect()
}
