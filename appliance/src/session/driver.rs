//! The one task that owns a running session: it waits for what machines say,
//! changes their standing, asks the [schedule] and acts on its answer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use anyhow::Context;
use lifeboat_bootorder::schedule::{self, Action, Node, Standing};
use lifeboat_network::client::SwitchClient;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::boot::{self, Means, Said};
use super::isolation::Isolation;
use super::live;
use super::plan::SessionPlan;
use super::wire::Wire;
use super::{Clock, making, supervise, teardown};
use crate::daemon::{Appliance, StopRequest};
use crate::events::{Event, Events};
use crate::hypervisor::{DomainState, Hypervisor};
use crate::report::{
    GateReport, IsolationLine, MachineReport, Mode, NetworkReport, Outcome, Report,
};
use crate::store::{Resource, SessionState};

mod finish;

/// Why the driver stopped waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Settled,
    Stopped,
}

/// What becomes of what a session made.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Disposition {
    TearDown,
    /// Its machines go on running; with a word on how it ended.
    Keep(String),
    /// The next daemon goes on with it.
    Leave,
}

/// Decides it. What machines of a recovery wrote is production data: only the
/// operator's word removes it.
fn disposition(
    mode: Mode,
    stop: StopRequest,
    result: Result<(), String>,
    machines_began: bool,
) -> Disposition {
    match (mode, stop, result) {
        (Mode::Test, ..) | (Mode::Recovery, StopRequest::Operator, _) => Disposition::TearDown,
        (Mode::Recovery, StopRequest::DaemonEnds, _) => Disposition::Leave,
        (Mode::Recovery, StopRequest::None, Ok(())) => Disposition::Keep("its machines run".into()),
        (Mode::Recovery, StopRequest::None, Err(error)) if machines_began => {
            Disposition::Keep(format!("its machines run, but: {error}"))
        }
        (Mode::Recovery, StopRequest::None, Err(_)) => Disposition::TearDown,
    }
}

/// Runs a decided session to its report. A test is torn down; a recovery whose
/// machines began is kept, whatever else failed.
pub async fn run(
    appliance: &Appliance,
    plan: SessionPlan,
    events: &Events,
    stop: watch::Receiver<StopRequest>,
) -> anyhow::Result<Report> {
    let plan = Arc::new(plan);
    let result = run_made(appliance, &plan, events, stop.clone()).await;
    let began = machines_began(appliance, &plan).await;
    let outcome = result
        .as_ref()
        .map(drop)
        .map_err(|error| format!("{error:#}"));
    let stop = *stop.borrow();
    match disposition(plan.mode, stop, outcome, began) {
        Disposition::Leave => {}
        Disposition::Keep(detail) => {
            let store = &appliance.store;
            store
                .set_session_state(&plan.id, SessionState::Kept, &detail)
                .await?;
            appliance.keep_watching(plan);
        }
        Disposition::TearDown => remove_all(appliance, &plan, &result, events).await?,
    }
    result
}

/// Unknown counts as begun: the careful answer.
async fn machines_began(appliance: &Appliance, plan: &SessionPlan) -> bool {
    let domain = |(_, resource): &(i64, Resource)| matches!(resource, Resource::Domain { .. });
    let resources = appliance.store.resources(&plan.id).await;
    resources.map_or(true, |resources| resources.iter().any(domain))
}

async fn remove_all(
    appliance: &Appliance,
    plan: &SessionPlan,
    result: &anyhow::Result<Report>,
    events: &Events,
) -> anyhow::Result<()> {
    events.step("tear down", &plan.id);
    appliance
        .store
        .log_step(&plan.id, "tear down", "", "")
        .await?;
    let detail = match result {
        Ok(report) if report.ok => "ok".to_owned(),
        Ok(report) => report.problems.join("; "),
        Err(error) => format!("{error:#}"),
    };
    let removed =
        teardown::end_session(&appliance.store, &appliance.hypervisor, &plan.id, &detail).await?;
    events.done(
        "tear down",
        &plan.id,
        format!("{removed} things removed, none left"),
    );
    Ok(())
}

async fn run_made(
    appliance: &Appliance,
    plan: &Arc<SessionPlan>,
    events: &Events,
    stop: watch::Receiver<StopRequest>,
) -> anyhow::Result<Report> {
    making::make_run_dir(&appliance.store, plan).await?;
    appliance
        .store
        .log_step(&plan.id, "start switch", "", "")
        .await?;
    events.step("start switch", &plan.id);
    supervise::ensure_switch(appliance, plan)
        .await
        .context("failed to start the session's switch")?;
    making::make_run_overlays(&appliance.store, plan).await?;
    let client = SwitchClient::new(&plan.switch.control_socket);
    let seen = appliance.seen.of(&plan.id);
    let isolation = Isolation::start(client.clone(), seen.isolation)
        .await
        .context("failed to start the proof of isolation")?;
    // Watches until the report is written, which takes as long as hashing does.
    let supervisor = supervise::supervise(appliance.clone(), plan.clone(), events.clone());
    let result = match Driver::new(appliance, plan.clone(), client, events, stop).await {
        Ok(driver) => run_watched(driver.watching(supervisor.wire()), isolation).await,
        Err(error) => Err(error),
    };
    // Awaited: a switch that a last look starts must be known to the tear-down.
    supervisor.end().await;
    result
}

async fn run_watched(mut driver: Driver<'_>, isolation: Isolation) -> anyhow::Result<Report> {
    let end = driver.drive().await;
    let isolation = isolation.finish().await;
    driver.report(end?, isolation).await
}

struct Driver<'a> {
    appliance: &'a Appliance,
    plan: Arc<SessionPlan>,
    events: &'a Events,
    nodes: Vec<Node>,
    reports: Vec<MachineReport>,
    /// Machines whose domain ran already when the driver began.
    running_before: Vec<bool>,
    means: Means,
    said: mpsc::UnboundedReceiver<(usize, Said)>,
    tasks: JoinSet<()>,
    /// Which machine a task brings up.
    machine_of: HashMap<tokio::task::Id, usize>,
    stop: watch::Receiver<StopRequest>,
    /// What the switch saw.
    wire: Arc<Mutex<Wire>>,
}

impl<'a> Driver<'a> {
    async fn new(
        appliance: &'a Appliance,
        plan: Arc<SessionPlan>,
        client: SwitchClient,
        events: &'a Events,
        stop: watch::Receiver<StopRequest>,
    ) -> anyhow::Result<Self> {
        let (says, said) = mpsc::unbounded_channel();
        let hypervisor = appliance.hypervisor.clone();
        let running_before = running(&hypervisor, &plan).await?;
        let clock = Clock::since(plan.began_ms);
        let means = Means {
            plan: plan.clone(),
            hypervisor,
            client,
            clock,
            says,
        };
        let nodes = plan.nodes();
        let reports = plan.machines.iter().map(empty_report).collect();
        Ok(Self {
            appliance,
            plan,
            events,
            nodes,
            reports,
            running_before,
            means,
            said,
            tasks: JoinSet::new(),
            machine_of: HashMap::new(),
            stop,
            wire: Arc::default(),
        })
    }

    fn watching(self, wire: Arc<Mutex<Wire>>) -> Self {
        Self { wire, ..self }
    }

    async fn drive(&mut self) -> anyhow::Result<End> {
        loop {
            self.act().await?;
            if self.settled() {
                return Ok(End::Settled);
            }
            tokio::select! {
                _ = self.stop.changed() => return Ok(End::Stopped),
                Some((machine, said)) = self.said.recv() => self.hear(machine, said).await,
                Some(Err(error)) = self.tasks.join_next_with_id() => {
                    if let Some(machine) = self.machine_of.get(&error.id()) {
                        let reason = format!("bringing it up broke off: {error}");
                        self.failed(*machine, reason).await;
                    }
                }
            }
        }
    }

    fn settled(&self) -> bool {
        self.nodes
            .iter()
            .all(|node| !matches!(node.standing, Standing::Waiting | Standing::Booting))
    }

    async fn act(&mut self) -> anyhow::Result<()> {
        loop {
            let actions = schedule::next(&self.nodes, self.plan.budget());
            if actions.is_empty() {
                return Ok(());
            }
            for action in actions {
                match action {
                    Action::Start(index) => self.start(index).await?,
                    Action::Block { machine, because } => self.block(machine, because).await,
                }
            }
        }
    }

    async fn start(&mut self, index: usize) -> anyhow::Result<()> {
        let domain = Resource::Domain {
            name: self.plan.machines[index].domain.clone(),
        };
        let running = self.running_before[index];
        if !running {
            self.appliance
                .store
                .plan_resource(&self.plan.id, &domain)
                .await?;
        }
        self.nodes[index].standing = Standing::Booting;
        self.reports[index].started_s = Some(self.means.clock.elapsed_s());
        self.tell(index, "starting", "").await;
        let task = self
            .tasks
            .spawn(boot::bring_up(self.means.clone(), index, running));
        self.machine_of.insert(task.id(), index);
        Ok(())
    }

    async fn block(&mut self, machine: usize, because: usize) {
        self.nodes[machine].standing = Standing::Blocked;
        let other = &self.plan.machines[because].machine.name;
        let reason = format!("not started, because it needs `{other}`, which is not ready");
        self.reports[machine].outcome = Outcome::Blocked;
        self.reports[machine].reason = Some(reason.clone());
        self.tell(machine, "blocked", &reason).await;
    }

    async fn hear(&mut self, machine: usize, said: Said) {
        match said {
            Said::Started => self.tell(machine, "booting", "").await,
            Said::Gate {
                gate,
                opening,
                at_s,
            } => self.hear_gate(machine, gate, &opening, at_s).await,
            Said::Ready => self.ready(machine).await,
            Said::Failed(reason) => self.failed(machine, reason).await,
        }
    }

    async fn hear_gate(
        &mut self,
        machine: usize,
        gate: usize,
        opening: &super::gates::Opening,
        at_s: f64,
    ) {
        let planned = &self.plan.machines[machine].gates[gate];
        let kind = &planned.gate.kind;
        let words = live::gate_words(kind.word(), kind.port());
        let report = &mut self.reports[machine].gates[gate];
        report.detail.clone_from(&opening.detail);
        report.ready_s = opening.open.then_some(at_s);
        self.tell(
            machine,
            if opening.open {
                "gate open"
            } else {
                "gate closed"
            },
            &words,
        )
        .await;
    }

    async fn ready(&mut self, machine: usize) {
        self.nodes[machine].standing = Standing::Ready;
        let report = &mut self.reports[machine];
        let last = report
            .gates
            .iter()
            .filter_map(|gate| gate.ready_s)
            .fold(0.0, f64::max);
        let at = if last > 0.0 {
            last
        } else {
            self.means.clock.elapsed_s()
        };
        (report.ready_s, report.ok, report.outcome) = (Some(at), true, Outcome::Ready);
        self.tell(machine, "ready", "").await;
    }

    async fn failed(&mut self, machine: usize, reason: String) {
        self.nodes[machine].standing = Standing::Failed;
        self.reports[machine].outcome = Outcome::Failed;
        self.reports[machine].reason = Some(reason.clone());
        self.photograph(machine).await;
        self.tell(machine, "failed", &reason).await;
    }

    /// A picture of the screen; a machine without one is no failure.
    async fn photograph(&mut self, machine: usize) {
        let plan = &self.plan.machines[machine];
        let name = format!("{}.png", plan.machine.name);
        match self
            .means
            .hypervisor
            .screenshot(&plan.domain, self.plan.folder.join(&name))
            .await
        {
            Ok(()) => self.reports[machine].screenshot = Some(name),
            Err(error) => tracing::warn!(%error, machine = plan.machine.name, "no screenshot"),
        }
    }

    async fn tell(&self, machine: usize, state: &str, detail: &str) {
        let name = &self.plan.machines[machine].machine.name;
        let store = &self.appliance.store;
        if let Err(error) = store.log_step(&self.plan.id, state, name, detail).await {
            tracing::error!(%error, "a step was not logged");
        }
        self.events.send(Event::Machine {
            machine: self.plan.machines[machine].machine.name.clone(),
            state: state.into(),
            at_s: self.means.clock.elapsed_s(),
            detail: detail.into(),
        });
    }
}

async fn running(hypervisor: &Hypervisor, plan: &SessionPlan) -> anyhow::Result<Vec<bool>> {
    let mut running = Vec::new();
    for machine in &plan.machines {
        let state = hypervisor.adopt(&machine.domain).await?;
        running.push(matches!(state, DomainState::Running | DomainState::Paused));
    }
    Ok(running)
}

fn empty_report(plan: &super::plan::MachinePlan) -> MachineReport {
    let gate = |planned: &super::plan::PlannedGate| GateReport {
        kind: planned.gate.kind.word().into(),
        port: planned.gate.kind.port(),
        expect: match &planned.gate.kind {
            crate::site::GateKind::Http { expect, .. } => expect.clone(),
            _ => None,
        },
        learned: planned.learned,
        ready_s: None,
        detail: "not probed".into(),
    };
    MachineReport {
        name: plan.machine.name.clone(),
        prepared: true,
        inject_s: plan.inject_s,
        hardware: plan.hardware.clone(),
        gates: plan.gates.iter().map(gate).collect(),
        console: plan
            .console
            .file_name()
            .map(|name| name.to_string_lossy().into_owned()),
        ..MachineReport::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_machines_of_a_recovery_wrote_is_removed_by_the_operator_only() {
        let failed = || Err("the disk is full".to_owned());
        for (stop, result, began, expected) in [
            (StopRequest::None, Ok(()), true, "keep"),
            (StopRequest::None, failed(), true, "keep"),
            (StopRequest::None, failed(), false, "tear down"),
            (StopRequest::DaemonEnds, Ok(()), true, "leave"),
            (StopRequest::DaemonEnds, failed(), true, "leave"),
            (StopRequest::Operator, Ok(()), true, "tear down"),
        ] {
            let word = match disposition(Mode::Recovery, stop, result, began) {
                Disposition::TearDown => "tear down",
                Disposition::Keep(_) => "keep",
                Disposition::Leave => "leave",
            };
            assert_eq!(word, expected, "{stop:?}, began: {began}");
        }
    }

    #[test]
    fn a_test_is_always_torn_down() {
        for stop in [
            StopRequest::None,
            StopRequest::DaemonEnds,
            StopRequest::Operator,
        ] {
            assert_eq!(
                disposition(Mode::Test, stop, Ok(()), true),
                Disposition::TearDown
            );
        }
    }
}
