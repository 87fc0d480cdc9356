//! The start after a crash: every session that the daemon left in the middle
//! is finished or torn down, and the answer says which.

use std::sync::Arc;

use tokio::sync::watch;

use super::plan::SessionPlan;
use super::{driver, making, supervise, teardown};
use crate::daemon::{Appliance, StopRequest, WrongUse};
use crate::events::Events;
use crate::hypervisor::{DomainState, HypervisorError};
use crate::report::{Mode, Report};
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
            (SessionState::Stopping, _) => Some(finish_stopping(appliance, &record).await),
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

/// The operator's word was given; a crash does not take it back.
async fn finish_stopping(appliance: &Appliance, record: &SessionRecord) -> String {
    let detail = record.detail.as_deref().unwrap_or("stopped");
    let (store, hypervisor) = (&appliance.store, &appliance.hypervisor);
    match teardown::end_session(store, hypervisor, &record.id, detail).await {
        Ok(count) => format!("its tear-down was cut off and is finished ({count} things removed)"),
        Err(error) => format!("not torn down yet: {error:#}"),
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
    let plan = match making::read_plan(&appliance.host, &record.id) {
        Ok(plan) => plan,
        Err(error) => return without_plan(appliance, record, &error).await,
    };
    match resume(appliance, plan, "the daemon ended during this recovery and another one went on with it: the times count from its first start").await {
        Ok(()) => {
            "the recovery goes on: machines that run are kept, the others are started".to_owned()
        }
        Err(error) => format!("the recovery cannot go on yet: {error:#}"),
    }
}

/// Nothing is removed where disks may hold what machines wrote.
async fn without_plan(
    appliance: &Appliance,
    record: &SessionRecord,
    error: &anyhow::Error,
) -> String {
    let made = appliance.store.resources(&record.id).await;
    if made.is_ok_and(|made| made.is_empty()) {
        let what = "interrupted before it made anything".to_owned();
        return interrupted(appliance, record, what).await;
    }
    format!(
        "the recovery cannot go on, because its plan cannot be read ({error:#}); what it made stays until `lifeboat session stop {}`",
        record.id
    )
}

/// Marked as running first: should this daemon die too, the next one goes on.
async fn resume(appliance: &Appliance, plan: SessionPlan, why: &str) -> anyhow::Result<()> {
    let (plan, stop) = begin_again(appliance, plan, why).await?;
    let (appliance, events) = (appliance.clone(), Events::channel().0);
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
    Ok(())
}

async fn begin_again(
    appliance: &Appliance,
    mut plan: SessionPlan,
    why: &str,
) -> anyhow::Result<(SessionPlan, watch::Receiver<StopRequest>)> {
    plan.warnings = vec![why.to_owned()];
    plan.host_boot = appliance.host.boot_id();
    making::write_plan(&plan)?;
    let store = &appliance.store;
    store
        .set_session_state(&plan.id, SessionState::Running, why)
        .await?;
    // Before anything runs, so that a stop from now on reaches it.
    let stop = appliance.register(&plan.id);
    Ok((plan, stop))
}

/// Starts the machines of a kept recovery that are off, in the order of its plan.
pub async fn start_again(
    appliance: &Appliance,
    id: &str,
    events: &Events,
) -> anyhow::Result<Report> {
    let sessions = appliance.store.sessions().await?;
    let kept = |record: &&SessionRecord| record.id == id && record.state == SessionState::Kept;
    if !sessions.iter().any(|record| kept(&record)) {
        return Err(WrongUse(format!(
            "no kept recovery has the id `{id}`: see `lifeboat session list`"
        ))
        .into());
    }
    appliance.store.audit("session start", id).await?;
    let mut plan = making::read_plan(&appliance.host, id)?;
    plan.began_ms = super::unix_ms();
    appliance.stop_watching(id).await;
    let why = "started again by the operator: the times count from then";
    let (plan, stop) = begin_again(appliance, plan, why).await?;
    let result = driver::run(appliance, plan, events, stop).await;
    appliance.unregister(id);
    result
}

async fn adopt(appliance: &Appliance, record: &SessionRecord) -> String {
    match making::read_plan(&appliance.host, &record.id) {
        Ok(plan) => adopt_plan(appliance, plan).await,
        Err(error) => format!("its plan is gone, so its switch is not watched: {error:#}"),
    }
}

/// Machines that went down with this host are started again; those that their
/// administrators switched off stay off.
async fn adopt_plan(appliance: &Appliance, mut plan: SessionPlan) -> String {
    match any_machine_runs(appliance, &plan).await {
        Ok(false) if plan.host_boot != appliance.host.boot_id() => {
            plan.began_ms = super::unix_ms();
            let why = "this host was started again: the times count from then";
            match resume(appliance, plan, why).await {
                Ok(()) => {
                    "kept; this host was started again, so its machines are started from their disks".to_owned()
                }
                Err(error) => format!("kept, but its machines cannot be started yet: {error:#}"),
            }
        }
        Ok(false) => format!(
            "{}; all its machines are off: `lifeboat session start {}` starts them",
            watch_switch(appliance, plan.clone()).await,
            plan.id
        ),
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
        if appliance.hypervisor.adopt(&machine.domain).await? != DomainState::Absent {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Host;
    use crate::integrity::Settings;
    use crate::store::Resource;

    struct Left {
        appliance: Appliance,
        overlay: std::path::PathBuf,
        _folder: tempfile::TempDir,
    }

    /// What a daemon that died left behind: a recovery with one disk.
    async fn left_in(state: SessionState) -> Left {
        let folder = tempfile::tempdir().unwrap();
        let appliance = Appliance::open(Host::new(folder.path()).unwrap(), Settings::default())
            .await
            .unwrap();
        let overlay = folder.path().join("disk.qcow2");
        std::fs::write(&overlay, b"what the machine wrote").unwrap();
        let store = &appliance.store;
        store
            .create_session("s1", "site", Mode::Recovery)
            .await
            .unwrap();
        let resource = Resource::Overlay {
            path: overlay.clone(),
            made: true,
        };
        store.plan_resource("s1", &resource).await.unwrap();
        store.set_session_state("s1", state, "words").await.unwrap();
        Left {
            appliance,
            overlay,
            _folder: folder,
        }
    }

    async fn state(left: &Left) -> SessionState {
        left.appliance.store.sessions().await.unwrap()[0].state
    }

    #[tokio::test]
    async fn a_tear_down_that_was_cut_off_is_finished() {
        let left = left_in(SessionState::Stopping).await;
        let said = recover(&left.appliance).await.unwrap();
        assert!(said[0].what.contains("finished"), "{said:?}");
        assert_eq!(state(&left).await, SessionState::Ended);
        assert!(!left.overlay.exists());
    }

    #[tokio::test]
    async fn a_recovery_without_its_plan_keeps_its_disks() {
        let left = left_in(SessionState::Running).await;
        let said = recover(&left.appliance).await.unwrap();
        assert!(said[0].what.contains("session stop s1"), "{said:?}");
        assert_eq!(state(&left).await, SessionState::Running);
        assert!(left.overlay.exists());
    }

    #[tokio::test]
    async fn a_recovery_that_made_nothing_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let appliance = Appliance::open(Host::new(folder.path()).unwrap(), Settings::default())
            .await
            .unwrap();
        let store = &appliance.store;
        store
            .create_session("s1", "site", Mode::Recovery)
            .await
            .unwrap();
        recover(&appliance).await.unwrap();
        let state = store.sessions().await.unwrap()[0].state;
        assert_eq!(state, SessionState::Interrupted);
    }
}
