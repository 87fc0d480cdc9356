//! What is shown of everything.

use lifeboat_agent::wire::{Serving, UnixMillis};
use lifeboat_failover::Side;
use lifeboat_failover::lease::Epoch;
use lifeboat_failover::process::Actor;
use lifeboat_failover::safety::Process;
use lifeboat_failover::state::DataFlow;
use serde::Serialize;

use crate::event::QuestionView;
use crate::observation::Observed;
use crate::state::AutoPilotView;
use crate::store::{JournalLine, ProcessRecord, StateRecord};

/// Where an application stands.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// Its name.
    pub application: String,
    /// The one unambiguous indication.
    pub state: StateView,
    /// The epoch in force, and who holds it.
    pub epoch: Epoch,
    /// The side that holds it.
    pub holder: Side,
    /// The process that runs or stopped, or ran last.
    pub process: Option<ProcessView>,
    /// What the operator is asked.
    pub question: Option<QuestionView>,
    /// What else touches the application's data now.
    pub working: Vec<Process>,
    /// What was made of everything that is seen.
    pub observed: Option<Observed>,
    /// Process 400.
    pub autopilot: AutoPilotView,
    /// Its hosts.
    pub agents: Vec<AgentView>,
}

/// A state, for people and programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StateView {
    /// Its number in figure 2.
    pub number: u16,
    /// Its name.
    pub name: lifeboat_failover::state::State,
    /// Its name for people.
    pub title: &'static str,
    /// Which side serves; none while a switch is under way.
    pub active: Option<Side>,
    /// Where data flow.
    pub data: DataFlow,
    /// Since when.
    pub since: UnixMillis,
}

impl From<StateRecord> for StateView {
    fn from(record: StateRecord) -> Self {
        let indication = record.state.indication();
        Self {
            number: record.state.number(),
            name: record.state,
            title: record.state.title(),
            active: indication.active,
            data: indication.data,
            since: record.since,
        }
    }
}

/// A process and how far it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProcessView {
    /// The process.
    pub record: ProcessRecord,
    /// Its journal.
    pub journal: Vec<JournalLine>,
}

/// The agent of a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AgentView {
    /// The host.
    pub host: String,
    /// The application it belongs to, if to one.
    pub application: Option<String>,
    /// Its part in it.
    pub part: Option<Actor>,
    /// When its agent joined last, if it did.
    pub joined_at: Option<UnixMillis>,
    /// Since when it is connected, if it is.
    pub connected_since: Option<UnixMillis>,
    /// Its version.
    pub version: Option<String>,
    /// What it said last about serving.
    pub serving: Option<ServingView>,
}

/// What an agent said about serving, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ServingView {
    /// What.
    #[serde(flatten)]
    pub serving: Serving,
    /// When.
    pub at: UnixMillis,
}

/// An application, in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ApplicationView {
    /// Its name.
    pub name: String,
    /// Where its file lay when it was added.
    pub file: std::path::PathBuf,
    /// Its profile.
    pub profile: String,
    /// What nobody has seen work, if so.
    pub unproven: Option<String>,
    /// Its state.
    pub state: StateView,
    /// Its hosts, primary first.
    pub hosts: Vec<String>,
}

/// A token, shown once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MadeToken {
    /// The host for which it counts.
    pub host: String,
    /// The token.
    pub token: String,
    /// Until when.
    pub expires: UnixMillis,
}
