//! What is known of sessions that go on: the switch's counters, the proof of
//! isolation, the screens.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::api::LiveSession;
use super::{Appliance, Missing, NotNow};
use crate::accelerator::Accelerator;
use crate::hypervisor::DomainState;
use crate::report::{IsolationLine, Mode, NetworkReport, Pictures, Report};
use crate::screens::Picture;
use crate::session::live::{self, LiveMachine, MachineState, Phase, Step};
use crate::session::plan::{MachinePlan, SessionPlan};
use crate::session::wire::Wire;
use crate::session::{making, unix_ms};
use crate::store::{SessionRecord, SessionState};

/// Pictures of one page, together.
const PICTURE_BYTES: u64 = 64 << 20;

/// Where the proof of isolation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum IsolationState {
    /// Marked frames are sent and watched for; none escaped so far.
    Proving,
    /// None escaped, and the watcher saw its control.
    Proved,
    /// Frames of the session could reach the host's network, or it is not known.
    Broken,
    /// No proof is under way: the session is kept, or was never proved.
    Unknown,
}

/// What is seen of a session while it goes on.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// By the switch, in all its lives.
    pub wire: Arc<Mutex<Wire>>,
    /// Of the proof of isolation; none before its first round.
    pub isolation: Arc<Mutex<Option<IsolationLine>>>,
}

impl Seen {
    /// As a report would have it.
    pub fn network(&self) -> NetworkReport {
        let mut report = locked(&self.wire).report();
        report.isolation = locked(&self.isolation).clone().unwrap_or_default();
        report
    }
}

fn locked<T>(one: &Mutex<T>) -> MutexGuard<'_, T> {
    one.lock().unwrap_or_else(PoisonError::into_inner)
}

/// By session; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct AllSeen(Arc<Mutex<HashMap<String, Seen>>>);

impl AllSeen {
    /// What is seen of this session from now on.
    pub fn of(&self, session: &str) -> Seen {
        locked(&self.0)
            .entry(session.to_owned())
            .or_default()
            .clone()
    }

    /// The same, if anything is.
    pub fn known(&self, session: &str) -> Option<Seen> {
        locked(&self.0).get(session).cloned()
    }

    /// Nothing more is seen of it.
    pub fn forget(&self, session: &str) {
        locked(&self.0).remove(session);
    }
}

fn phase(record: &SessionRecord) -> Phase {
    match record.state {
        SessionState::Running => Phase::Driven,
        SessionState::Kept => Phase::Kept,
        _ => Phase::Over,
    }
}

impl Appliance {
    /// A session as it goes on.
    pub async fn live_session(&self, id: &str) -> anyhow::Result<LiveSession> {
        let session = self.session(id).await?;
        let plan = self.decided(id)?;
        let report = self.store.report(id).await?;
        let steps = self.store.steps(id).await?;
        let began_s = plan.began_ms as f64 / 1_000.0;
        let steps: Vec<_> = steps.iter().map(step_of(began_s)).collect();
        let mut machines = live::machines(&plan, &steps, phase(&session));
        if let Some(report) = &report {
            note_screens(&mut machines, report);
        }
        let tcg = plan.verdict.accelerator == Accelerator::Tcg;
        Ok(LiveSession {
            accelerator: plan.verdict.accelerator,
            isolation_note: tcg.then(|| crate::report::NO_ISOLATION.to_owned()),
            elapsed_s: elapsed_s(&session, &plan),
            rta_so_far_s: machines
                .iter()
                .filter_map(|one| one.ready_s)
                .reduce(f64::max),
            expected_rta_s: live::expected_rta_s(&plan),
            machines,
            isolation: self.isolation_of(id, &plan, report.as_ref()),
            network: self.network_of(id, report.as_ref()),
            report_ready: report.is_some(),
            session,
        })
    }

    fn network_of(&self, id: &str, report: Option<&Report>) -> Option<NetworkReport> {
        let seen = self.seen.known(id).map(|seen| seen.network());
        seen.or_else(|| report.map(|report| report.network.clone()))
    }

    fn isolation_of(
        &self,
        id: &str,
        plan: &SessionPlan,
        report: Option<&Report>,
    ) -> IsolationState {
        if let Some(report) = report {
            return judged(&report.network.isolation, plan.mode);
        }
        let seen = self.seen.known(id);
        let line = seen.and_then(|seen| locked(&seen.isolation).clone());
        match line {
            None => IsolationState::Unknown,
            Some(line) if escapes(&line, plan.mode) => IsolationState::Broken,
            Some(_) => IsolationState::Proving,
        }
    }

    fn decided(&self, id: &str) -> anyhow::Result<SessionPlan> {
        making::read_plan(&self.host, id).map_err(|error| {
            error.context(Missing(format!(
                "session `{id}` has no plan that could be shown: it ended before it was decided, or was made by another version"
            )))
        })
    }

    /// What was decided for a machine of a session.
    pub async fn plan_of(&self, id: &str, machine: &str) -> anyhow::Result<MachinePlan> {
        self.session(id).await?;
        let plan = self.decided(id)?;
        let found = plan
            .machines
            .into_iter()
            .find(|one| one.machine.name == machine);
        let none = || Missing(format!("session `{id}` has no machine `{machine}`"));
        Ok(found.ok_or_else(none)?)
    }

    /// The domain of a machine whose screen and keyboard can be used.
    pub async fn domain_of(&self, id: &str, machine: &str) -> anyhow::Result<String> {
        let planned = self.plan_of(id, machine).await?;
        let display = self.decided(id)?.display;
        let alive = phase(&self.session(id).await?) != Phase::Over
            && self.hypervisor.state(&planned.domain).await? == DomainState::Running;
        if alive && display {
            return Ok(planned.domain);
        }
        Err(NotNow(format!(
            "machine `{machine}` does not run, or has no console"
        ))
        .into())
    }

    /// The report of a session.
    pub async fn report(&self, id: &str) -> anyhow::Result<Report> {
        let none = || {
            Missing(format!(
                "no session with a report has the id `{id}`: see `lifeboat session list`"
            ))
        };
        Ok(self.store.report(id).await?.ok_or_else(none)?)
    }

    /// The same as a page with its pictures.
    pub async fn report_page(&self, id: &str) -> anyhow::Result<String> {
        let report = self.report(id).await?;
        let session = self.session(id).await?;
        let folder = self.host.session_dir(&session.id);
        let written = move || {
            let began = began_words(&session);
            crate::report::page(&report, &began, &pictures(&folder, &report))
        };
        Ok(tokio::task::spawn_blocking(written).await?)
    }

    /// What a guest shows, or showed when the report was written.
    pub async fn screen_of(&self, id: &str, machine: &str) -> anyhow::Result<Picture> {
        let planned = self.plan_of(id, machine).await?;
        if phase(&self.session(id).await?) != Phase::Over
            && let Ok(picture) = self.screens.take(&self.hypervisor, &planned.domain).await
        {
            return Ok(picture);
        }
        let file = self
            .host
            .session_dir(id)
            .join(format!("{}.png", planned.machine.name));
        let kept = tokio::task::spawn_blocking(move || std::fs::read(file)).await?;
        let none = |_| Missing(format!("there is no picture of machine `{machine}`"));
        Ok(Picture::new(kept.map_err(none)?))
    }
}

/// Those of the report; one that is gone or too large is left out.
fn pictures(folder: &Path, report: &Report) -> Pictures {
    let mut left = PICTURE_BYTES;
    let mut pictures = Pictures::new();
    for machine in report
        .machines
        .iter()
        .filter(|one| one.screenshot.is_some())
    {
        // By the machine's name, which is plain, and not by what the report says.
        let file = folder.join(format!("{}.png", machine.name));
        let small = std::fs::metadata(&file).is_ok_and(|file| file.len() <= left);
        if let Some(png) = small.then(|| std::fs::read(&file).ok()).flatten() {
            left = left.saturating_sub(png.len() as u64);
            pictures.insert(machine.name.clone(), png);
        }
    }
    pictures
}

fn began_words(session: &SessionRecord) -> String {
    let seconds = session.started_at.parse::<f64>().unwrap_or_default();
    let began = jiff::Timestamp::from_second(seconds as i64).unwrap_or_default();
    began.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

fn step_of(began_s: f64) -> impl Fn(&[String; 4]) -> Step<'_> {
    move |[at, step, subject, detail]| Step {
        step,
        subject,
        detail,
        at_s: (at.parse::<f64>().unwrap_or(began_s) - began_s).max(0.0),
    }
}

fn note_screens(machines: &mut [LiveMachine], report: &Report) {
    for machine in machines {
        let mut reported = report.machines.iter();
        let own = reported.find(|one| one.name == machine.name);
        machine.has_screen |= own.is_some_and(|one| one.screenshot.is_some());
        // A machine that was ready may have ended since; the report says so.
        if machine.state == MachineState::Waiting {
            machine.state = MachineState::NotStarted;
        }
    }
}

fn elapsed_s(session: &SessionRecord, plan: &SessionPlan) -> f64 {
    let ended = session
        .ended_at
        .as_ref()
        .and_then(|at| at.parse::<f64>().ok());
    let now_s = ended.unwrap_or_else(|| unix_ms() as f64 / 1_000.0);
    (now_s - plan.began_ms as f64 / 1_000.0).max(0.0)
}

fn escapes(line: &IsolationLine, mode: Mode) -> bool {
    line.canaries_escaped > 0 || (mode == Mode::Test && line.host_interfaces > 0)
}

fn judged(line: &IsolationLine, mode: Mode) -> IsolationState {
    match escapes(line, mode) || !line.control_seen || line.canaries_sent == 0 {
        true => IsolationState::Broken,
        false => IsolationState::Proved,
    }
}
