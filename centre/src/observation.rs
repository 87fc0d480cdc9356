//! Reports in; states, tendencies and causes out.

use std::sync::Arc;

use lifeboat_agent::wire::{Inventory, Report};
use lifeboat_failover::autopilot::Condition;
use lifeboat_failover::process::Actor;
use serde::Serialize;
use tokio::sync::mpsc;

use crate::centre::Centre;

/// Something that an agent told, with the part of its host.
#[derive(Debug, Clone)]
pub struct Heard<T> {
    /// The application.
    pub application: Arc<str>,
    /// The part of the host.
    pub actor: Actor,
    /// The host.
    pub host: Arc<str>,
    /// What it told.
    pub word: T,
}

/// What agents tell beside their leases and results.
#[derive(Debug, Clone)]
pub enum Told {
    /// What it sees.
    Report(Heard<Report>),
    /// What is installed.
    Inventory(Box<Heard<Inventory>>),
}

/// What is made of everything that is seen of one application. Given to
/// [`Centre::observed`] whenever it changed, and at least once in every round of reports.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Observed {
    /// How the application is on the side that serves.
    pub condition: Condition,
    /// What degraded, if something did (204, 230).
    pub degraded: Option<Degraded>,
    /// Whether data of the active side arrive at the other.
    pub replicating: bool,
    /// Whether the other side has everything.
    pub complete: bool,
    /// What shows all this, in sentences; the first departure first.
    pub evidence: Vec<String>,
}

/// What degraded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Degraded {
    /// The primary or its replication (206).
    Primary,
    /// The users' way to it (232).
    UserAccess,
}

/// Takes in what agents tell until the control centre closes.
pub(crate) async fn run(_centre: Centre, mut told: mpsc::Receiver<Told>) {
    while let Some(told) = told.recv().await {
        match told {
            Told::Report(heard) => tracing::trace!(host = &*heard.host, "a report"),
            Told::Inventory(heard) => tracing::trace!(host = &*heard.host, "an inventory"),
        }
    }
}
