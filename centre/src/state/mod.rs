//! One task for each application owns its state: the state machine of figure 2, who serves, the
//! process that runs, and Auto Pilot. Everything that is shown was written down before.

mod owner;
mod switching;

use std::sync::Arc;

use lifeboat_failover::authority::{CentreRecord, Message};
use lifeboat_failover::process::{Ending, Kind, Plan};
use lifeboat_failover::safety::Process;
use lifeboat_failover::state::Event;
use lifeboat_failover::{Side, autopilot};
use serde::{Deserialize, Serialize};
use tokio::sync::{oneshot, watch};

use crate::application::Application;
use crate::autopilot::Change;
use crate::error::CentreError;
use crate::event::QuestionView;
use crate::observation::Observed;
use crate::store::{JournalLine, ProcessRecord, StateRecord, Wishes};

pub(crate) use owner::start;
pub(crate) use switching::{events_of, plan};

type Reply<T> = oneshot::Sender<Result<T, CentreError>>;

/// What reaches the task that owns an application.
pub(crate) enum Order {
    /// An agent came.
    Linked,
    /// An agent went.
    Unlinked,
    /// The agent of the side that serves lost what it had written down about its lease.
    Forgot(Side),
    /// An agent spoke of its lease.
    Lease { side: Side, message: Message },
    /// Somebody wants a switch.
    Switch(Box<SwitchRequest>, Reply<String>),
    /// Somebody answers a question.
    Answer {
        yes: bool,
        who: String,
        reply: Reply<()>,
    },
    /// Somebody wants the running switch undone.
    Abort { who: String, reply: Reply<()> },
    /// Somebody wants a stopped switch taken up again.
    TakeUp { who: String, reply: Reply<()> },
    /// What is seen of the application.
    Observed(Box<Observed>),
    /// Work on the application's data wants to begin.
    Reserve(Process, Reply<()>),
    /// Work that was broken off goes on.
    ReserveAgain(Process, Reply<()>),
    /// It ended.
    Release(Process),
    /// The operator changes Auto Pilot.
    AutoPilot {
        change: Change,
        who: String,
        reply: Reply<()>,
    },
    /// Something changes the state.
    Apply {
        event: Event,
        who: String,
        why: String,
        evidence: Vec<String>,
        reply: Reply<()>,
    },
    /// The running process wants the epoch replaced.
    Replace(Side),
    /// It wants that given up.
    Abandon(oneshot::Sender<bool>),
    /// It ended.
    Ended { process: String, ending: Ending },
    /// The application's file was read again.
    Update(Arc<Application>),
    /// The application is removed.
    Remove(Reply<()>),
}

/// Asks for process 300.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwitchRequest {
    /// Which way.
    pub kind: Kind,
    /// Who asks.
    pub who: String,
    /// Why.
    pub why: String,
    /// Answers given beforehand.
    pub wishes: Wishes,
    /// How long step 314 waits for a word, in milliseconds, instead of what the application's
    /// file says.
    pub confirmation_ms: Option<u64>,
    /// It belongs to a restore (718, 724), which holds the application.
    pub for_restore: bool,
}

/// Where an application stands, as its owner last wrote it down.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    pub(crate) state: StateRecord,
    pub(crate) process: Option<Arc<ProcessRecord>>,
    pub(crate) progress: watch::Receiver<Progress>,
    pub(crate) working: Vec<Process>,
    pub(crate) observed: Option<Arc<Observed>>,
    pub(crate) autopilot: AutoPilotView,
}

/// How far a process is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress {
    pub(crate) journal: Vec<JournalLine>,
    pub(crate) question: Option<QuestionView>,
}

/// Auto Pilot, for the operator.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AutoPilotView {
    /// What is set.
    pub settings: autopilot::Settings,
    /// Whether it is locked out.
    pub locked_out: bool,
    /// What it wants now, in words.
    pub wish: String,
}

/// What a dry run prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlanView {
    /// The plan.
    pub plan: Plan,
    /// For each step, whether it would be left out now, because the old side is not there.
    pub bypassed: Vec<bool>,
    /// Why it could not begin now; empty when it could.
    pub obstacles: Vec<String>,
}

/// The record of who serves, for those who watch it.
pub(crate) type Watched = watch::Receiver<CentreRecord>;
