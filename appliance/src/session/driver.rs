//! The one task that owns a running session: it waits for what machines say,
//! changes their standing, asks the [`schedule`] and acts on its answer.

use std::sync::Arc;

use anyhow::Context;
use lifeboat_network::client::SwitchClient;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::boot::{self, Means, Said};
use super::isolation::Isolation;
use super::plan::SessionPlan;
use super::schedule::{self, Action, Node, Standing};
use super::{Clock, making, supervise, teardown};
use crate::daemon::Appliance;
use crate::events::{Event, Events};
use crate::hypervisor::{DomainState, Hypervisor};
use crate::report::{
    GateReport, IsolationLine, MachineReport, Mode, NetworkReport, Outcome, Report,
};
use crate::store::SessionState;

mod finish;

/// Why the driver stopped waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Settled,
    Stopped,
}

/// Runs a decided session to its report. A test is torn down, and so is
/// whatever fails on the way; a recovery is kept.
pub async fn run(
    appliance: &Appliance,
    plan: SessionPlan,
    events: &Events,
    stop: watch::Receiver<bool>,
) -> anyhow::Result<Report> {
    let plan = Arc::new(plan);
    let result = run_made(appliance, &plan, events, stop).await;
    let keep = plan.mode == Mode::Recovery && result.is_ok();
    if keep {
        appliance
            .store
            .set_session_state(&plan.id, SessionState::Kept, "its machines run")
            .await?;
        return result;
    }
    events.step("tear down", &plan.id);
    let removed = teardown::tear_down(&appliance.store, &appliance.hypervisor, &plan.id).await;
    let detail = match &result {
        Ok(report) if report.ok => "ok".to_owned(),
        Ok(report) => report.problems.join("; "),
        Err(error) => format!("{error:#}"),
    };
    appliance
        .store
        .set_session_state(&plan.id, SessionState::Ended, &detail)
        .await?;
    let removed = removed?;
    events.done(
        "tear down",
        &plan.id,
        format!("{removed} things removed, none left"),
    );
    result
}

async fn run_made(
    appliance: &Appliance,
    plan: &Arc<SessionPlan>,
    events: &Events,
    stop: watch::Receiver<bool>,
) -> anyhow::Result<Report> {
    making::make_run_dir(&appliance.store, plan).await?;
    events.step("start switch", &plan.id);
    supervise::ensure_switch(appliance, plan)
        .await
        .context("failed to start the session's switch")?;
    making::make_run_overlays(&appliance.store, plan).await?;
    let client = SwitchClient::new(&plan.switch.control_socket);
    let isolation = Isolation::start(client.clone())
        .await
        .context("failed to start the proof of isolation")?;
    let supervisor = supervise::supervise(appliance.clone(), plan.clone(), events.clone());
    let mut driver = Driver::new(appliance, plan.clone(), client, events, stop).await?;
    let end = driver.drive().await;
    let isolation = isolation.finish().await;
    supervisor.abort();
    driver.report(end?, isolation?).await
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
    stop: watch::Receiver<bool>,
}

impl<'a> Driver<'a> {
    async fn new(
        appliance: &'a Appliance,
        plan: Arc<SessionPlan>,
        client: SwitchClient,
        events: &'a Events,
        stop: watch::Receiver<bool>,
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
            stop,
        })
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
                    Action::Block { machine, because } => self.block(machine, because),
                }
            }
        }
    }

    async fn start(&mut self, index: usize) -> anyhow::Result<()> {
        let domain = crate::store::Resource::Domain {
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
        self.tell(index, "starting", "");
        self.tasks
            .spawn(boot::bring_up(self.means.clone(), index, running));
        Ok(())
    }

    fn block(&mut self, machine: usize, because: usize) {
        self.nodes[machine].standing = Standing::Blocked;
        let other = &self.plan.machines[because].machine.name;
        let reason = format!("not started, because it needs `{other}`, which is not ready");
        self.reports[machine].outcome = Outcome::Blocked;
        self.reports[machine].reason = Some(reason.clone());
        self.tell(machine, "blocked", &reason);
    }

    async fn hear(&mut self, machine: usize, said: Said) {
        match said {
            Said::Started => self.tell(machine, "booting", ""),
            Said::Gate {
                gate,
                opening,
                at_s,
            } => self.hear_gate(machine, gate, &opening, at_s),
            Said::Ready => self.ready(machine),
            Said::Failed(reason) => self.failed(machine, reason).await,
        }
    }

    fn hear_gate(
        &mut self,
        machine: usize,
        gate: usize,
        opening: &super::gates::Opening,
        at_s: f64,
    ) {
        let planned = &self.plan.machines[machine].gates[gate];
        let words = format!(
            "{} {}",
            planned.gate.kind.word(),
            planned
                .gate
                .kind
                .port()
                .map(|p| p.to_string())
                .unwrap_or_default()
        );
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
            words.trim(),
        );
    }

    fn ready(&mut self, machine: usize) {
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
        self.tell(machine, "ready", "");
    }

    async fn failed(&mut self, machine: usize, reason: String) {
        self.nodes[machine].standing = Standing::Failed;
        self.reports[machine].outcome = Outcome::Failed;
        self.reports[machine].reason = Some(reason.clone());
        self.photograph(machine).await;
        self.tell(machine, "failed", &reason);
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

    fn tell(&self, machine: usize, state: &str, detail: &str) {
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
        running.push(hypervisor.state(&machine.domain).await? == DomainState::Running);
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
        gates: plan.gates.iter().map(gate).collect(),
        console: plan
            .console
            .file_name()
            .map(|name| name.to_string_lossy().into_owned()),
        ..MachineReport::default()
    }
}
