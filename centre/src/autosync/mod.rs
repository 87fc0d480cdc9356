//! Process 500: data flow from the active to the passive side, and only when they may.
//!
//! [`seen`] makes the state of the session out of reports; [`run`] does what
//! `lifeboat_failover::autosync` decides.

mod run;
pub(crate) mod seen;

use std::time::Duration;

use lifeboat_failover::Side;
use lifeboat_failover::autosync::Session;
use lifeboat_failover::process::{Action, Journal, Phase, Plan, Task};
use serde::{Deserialize, Serialize};

pub(crate) use run::{Merge, establish, keep};

use crate::archive::records::Keeping;
use crate::centre::{ApplicationHandle, Centre};
use crate::error::CentreError;
use crate::store::journal_of;

/// The section `[autosync]` of an application's file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Whether data are sent.
    pub enabled: bool,
    /// From how many seconds of lag on a session does not keep up.
    pub lag_at_most_s: f64,
    /// From how many waiting changes on it does not keep up, however small the lag.
    pub queue_at_most: Option<f64>,
    /// How long nothing is tried after something failed, and how long a remedy has to help.
    pub patience_s: f64,
}

impl Settings {
    fn patience(&self) -> Duration {
        Duration::try_from_secs_f64(self.patience_s).unwrap_or(Duration::from_secs(60))
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            enabled: true,
            lag_at_most_s: 60.0,
            queue_at_most: None,
            patience_s: 60.0,
        }
    }
}

/// Process 500, for the operator.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AutoSyncView {
    /// Whether data are sent.
    pub enabled: bool,
    /// Nothing is sent after a switch, because the answer to step 364 was no.
    pub held: bool,
    /// The side that sends; none while a switch is under way.
    pub from: Option<Side>,
    /// The session, as that side's agent last told; none when it told nothing lately.
    pub session: Option<Session>,
    /// How far the other side is behind, in seconds.
    pub lag_s: Option<f64>,
    /// How many changes wait.
    pub queue: Option<f64>,
    /// What is being done, if something is.
    pub doing: Option<String>,
    /// What went wrong last.
    pub trouble: Option<String>,
}

impl Centre {
    /// What process 500 sees and does.
    pub async fn autosync(&self, application: &str) -> Result<AutoSyncView, CentreError> {
        let handle = self.handle(application)?;
        let keeping = self.store().keeping(application).await?;
        let settings = &handle.application().autosync;
        let from = handle.snapshot().state.state.active();
        let latest = from.and_then(|side| self.seen().latest(&handle.application(), side));
        let doing = self.seen().doing(application);
        Ok(AutoSyncView {
            enabled: keeping.autosync.unwrap_or(settings.enabled),
            held: keeping.held,
            from,
            session: latest.as_ref().and_then(|latest| latest.session(settings)),
            lag_s: latest.as_ref().and_then(|latest| latest.lag),
            queue: latest.as_ref().and_then(|latest| latest.queue),
            doing: doing.doing,
            trouble: doing.trouble,
        })
    }

    /// Switches process 500 on or off. On also ends the wait after a no to step 364.
    pub async fn set_autosync(
        &self,
        application: &str,
        on: bool,
        who: &str,
    ) -> Result<(), CentreError> {
        self.handle(application)?;
        let word = if on { "on" } else { "off" };
        self.store()
            .audit(who, "autosync", application, word)
            .await?;
        self.store().set_keeping_autosync(application, on).await?;
        if on {
            self.store().set_held(application, false).await?;
            self.seen().forget(application);
        }
        Ok(())
    }
}

async fn enabled(
    centre: &Centre,
    handle: &ApplicationHandle,
) -> Result<(bool, Keeping), CentreError> {
    let application = handle.application();
    let keeping = centre.store().keeping(&application.name).await?;
    let on = keeping.autosync.unwrap_or(application.autosync.enabled) && !keeping.held;
    Ok((on, keeping))
}

/// What a run of process 300 left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Left {
    /// The new side had everything of the old one when it began to serve.
    complete: bool,
    /// The answer to step 364 was no.
    refused: bool,
}

fn left(plan: &Plan, journal: &Journal) -> Left {
    let last = |index: usize| {
        let entries = journal.0.iter().rev();
        entries
            .filter(|entry| entry.step == index)
            .map(|entry| &entry.phase)
            .next()
    };
    let mut left = Left {
        complete: false,
        refused: false,
    };
    for (index, step) in plan.steps.iter().enumerate() {
        match step.task {
            Task::Act {
                action: Action::VerifyReplica,
                ..
            } => {
                left.complete = matches!(last(index), Some(Phase::Done { .. }));
            }
            Task::AskToReplicate(_) => {
                left.refused = matches!(last(index), Some(Phase::Answered { yes: false, .. }));
            }
            _ => {}
        }
    }
    left
}

/// The last run of process 300 of an application, if it came to an end that changed sides and data
/// do not flow again since.
async fn unsettled(
    centre: &Centre,
    application: &str,
    keeping: &Keeping,
) -> Result<Option<(String, Left)>, CentreError> {
    let store = centre.store();
    let Some(process) = store.processes(application, 1).await?.pop() else {
        return Ok(None);
    };
    let done = process.ending == Some(lifeboat_failover::process::Ending::Done);
    if !done || keeping.settled.as_deref() == Some(process.id.as_str()) {
        return Ok(None);
    }
    let journal = journal_of(&store.journal(&process.id).await?);
    Ok(Some((process.id, left(&process.plan, &journal))))
}

/// How often process 500 looks.
const ROUND: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use lifeboat_failover::lease::Epoch;
    use lifeboat_failover::process::{Identity, Kind, Request, Stores, switch};

    use super::*;

    fn plan() -> Plan {
        switch(&Request {
            kind: Kind::SwitchOver,
            epoch: Epoch(1),
            identity: Identity::NamesOnly,
            stores: Stores::ByServices,
            confirmation: Duration::ZERO,
            replicate_back: true,
        })
    }

    fn index(plan: &Plan, wanted: impl Fn(&Task) -> bool) -> usize {
        plan.steps
            .iter()
            .position(|step| wanted(&step.task))
            .expect("in the plan")
    }

    #[test]
    fn a_side_that_was_not_compared_may_have_what_nobody_else_has() {
        let plan = plan();
        let verify = index(&plan, |task| {
            matches!(
                task,
                Task::Act {
                    action: Action::VerifyReplica,
                    ..
                }
            )
        });
        let mut journal = Journal::default();
        journal.push(verify, Phase::Begun);
        let reason = "gone".to_owned();
        journal.push(
            verify,
            Phase::Failed {
                reason: reason.clone(),
                lost: true,
            },
        );
        assert!(!left(&plan, &journal).complete);
        journal.push(
            verify,
            Phase::Done {
                evidence: String::new(),
            },
        );
        assert!(left(&plan, &journal).complete);
        let mut gone = Journal::default();
        gone.push(verify, Phase::Skipped { reason });
        assert!(!left(&plan, &gone).complete);
    }

    #[test]
    fn a_no_to_364_is_a_no_and_silence_is_not() {
        let plan = plan();
        let ask = index(&plan, |task| matches!(task, Task::AskToReplicate(_)));
        let mut journal = Journal::default();
        assert!(!left(&plan, &journal).refused);
        journal.push(
            ask,
            Phase::Answered {
                yes: true,
                by: "x".to_owned(),
            },
        );
        assert!(!left(&plan, &journal).refused);
        journal.push(
            ask,
            Phase::Answered {
                yes: false,
                by: "x".to_owned(),
            },
        );
        assert!(left(&plan, &journal).refused);
    }

    #[test]
    fn settings_are_on_unless_the_file_says_otherwise() {
        let read = |text: &str| toml::from_str::<Settings>(text);
        assert!(read("").expect("good").enabled);
        let own = read("enabled = false\nlag_at_most_s = 5.0").expect("good");
        assert_eq!((own.enabled, own.lag_at_most_s), (false, 5.0));
        assert!(read("lag = 1").is_err());
    }
}
