//! The start after a crash: every session that the daemon left in the middle
//! is finished or torn down, and the answer says which.

use std::sync::Arc;

use super::plan::SessionPlan;
use super::{driver, making, supervise, teardown};
use crate::daemon::Appliance;
use crate::events::Events;
use crate::hypervisor::{DomainState, HypervisorError};
use crate::report::Mode;
use crate::store::{SessionRecord, SessionState};

/// What became of a session.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Recovered {
    /// Its id.
    pub session: String,
    /// What was done, for people.
    pub what: String,
}

/// Takes up every session of an earlier daemon.
pub async fn recover(appliance: &Appliance) -> anyhow::Result<Vec<Recovered>> {
    let mut recovered = Vec::new();
    for record in appliance.store.sessions().await? {
        let what = match (record.state, record.mode) {
            (SessionState::Running, Mode::Test) => Some(remove(appliance, &record).await),
            (SessionState::Running, Mode::Recovery) => Some(go_on(appliance, &record).await),
            (SessionState::Kept, _) => Some(adopt(appliance, &record).await),
            (SessionState::Ended | SessionState::Interrupted, _) => {
                clean_rest(appliance, &record).await
            }
        };
        recovered.extend(what.map(|what| Recovered {
            session: record.id,
            what,
        }));
    }
    Ok(recovered)
}

async fn remove(appliance: &Appliance, record: &SessionRecord) -> String {
    match teardown::tear_down(&appliance.store, &appliance.hypervisor, &record.id).await {
        Err(error) => format!("not torn down yet: {error:#}"),
        Ok(count) => {
            let what =
                format!("interrupted by the end of the daemon; torn down ({count} things removed)");
            interrupted(appliance, record, what).await
        }
    }
}

async fn interrupted(appliance: &Appliance, record: &SessionRecord, what: String) -> String {
    match appliance
        .store
        .set_session_state(&record.id, SessionState::Interrupted, &what)
        .await
    {
        Ok(()) => what,
        Err(error) => format!("{what}, but not recorded: {error}"),
    }
}

/// An ended session whose tear-down could not remove everything then.
async fn clean_rest(appliance: &Appliance, record: &SessionRecord) -> Option<String> {
    let rest = appliance.store.resources(&record.id).await.ok()?;
    if rest.is_empty() {
        return None;
    }
    let result = teardown::tear_down(&appliance.store, &appliance.hypervisor, &record.id).await;
    Some(match result {
        Ok(count) => format!("removed {count} things that an earlier tear-down had left"),
        Err(error) => format!("not torn down yet: {error:#}"),
    })
}

/// A recovery goes on where it stood: its machines keep running.
async fn go_on(appliance: &Appliance, record: &SessionRecord) -> String {
    match making::read_plan(&appliance.host, &record.id) {
        Ok(plan) => {
            resume(appliance, plan);
            "the recovery goes on: machines that run are kept, the others are started".to_owned()
        }
        // Its disks may hold what its machines wrote, so nothing is removed.
        Err(error) => format!(
            "the recovery cannot go on, because its plan cannot be read ({error:#}); what it made stays until `lifeboat session stop {}`",
            record.id
        ),
    }
}

fn resume(appliance: &Appliance, mut plan: SessionPlan) {
    plan.warnings.push("the daemon ended during this recovery and another one went on with it: the times count from its first start".into());
    let (appliance, events) = (appliance.clone(), Events::channel().0);
    // Before the task runs, so that a stop from now on reaches it.
    let stop = appliance.register(&plan.id);
    tokio::spawn(async move {
        let id = plan.id.clone();
        if let Err(error) = driver::run(&appliance, plan, &events, stop).await {
            tracing::error!(
                session = id,
                error = format!("{error:#}"),
                "the resumed recovery failed"
            );
        }
        appliance.unregister(&id);
    });
}

async fn adopt(appliance: &Appliance, record: &SessionRecord) -> String {
    match making::read_plan(&appliance.host, &record.id) {
        Ok(plan) => adopt_plan(appliance, plan).await,
        Err(error) => format!("its plan is gone, so its switch is not watched: {error:#}"),
    }
}

/// A kept session with no machine running went down with its host: it is
/// started again. One with some machines off is as its administrators left it.
async fn adopt_plan(appliance: &Appliance, plan: SessionPlan) -> String {
    match any_machine_runs(appliance, &plan).await {
        Ok(false) => {
            resume(appliance, plan);
            "kept, but no machine of it runs (the host was started again?): they are started from their disks".to_owned()
        }
        Ok(true) => watch_switch(appliance, plan).await,
        Err(error) => {
            appliance.keep_watching(Arc::new(plan));
            format!("kept, but libvirt does not tell whether its machines run: {error}")
        }
    }
}

async fn any_machine_runs(
    appliance: &Appliance,
    plan: &SessionPlan,
) -> Result<bool, HypervisorError> {
    for machine in &plan.machines {
        if appliance.hypervisor.state(&machine.domain).await? != DomainState::Absent {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn watch_switch(appliance: &Appliance, plan: SessionPlan) -> String {
    let what = match supervise::ensure_switch(appliance, &plan).await {
        Ok(true) => "kept; its switch had ended and runs again".to_owned(),
        Ok(false) => "kept; its switch runs".to_owned(),
        Err(error) => format!("kept, but its switch does not start: {error:#}"),
    };
    appliance.keep_watching(Arc::new(plan));
    what
}
