//! The start after a crash: every session that the daemon left in the middle
//! is finished or torn down, and the answer says which.

use std::sync::Arc;

use anyhow::Context;
use tokio::sync::watch;

use super::plan::SessionPlan;
use super::{driver, making, supervise, teardown};
use crate::daemon::{Appliance, StopRequest, WrongUse};
use crate::events::Events;
use crate::hypervisor::{DomainState, HypervisorError};
use crate::prepare::{self, PrepareOptions};
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
    let (events, mut heard) = Events::channel();
    // Readings end when nobody hears them.
    tokio::spawn(async move { while heard.recv().await.is_some() {} });
    let appliance = appliance.clone();
    tokio::spawn(async move {
        let id = plan.id.clone();
        let resumed = run_sound(&appliance, plan, PrepareOptions::default(), &events, stop);
        if let Err(error) = resumed.await {
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

/// Runs a session again if what lies under its disks is still what it was; else
/// it stays kept as it is.
async fn run_sound(
    appliance: &Appliance,
    mut plan: SessionPlan,
    options: PrepareOptions,
    events: &Events,
    stop: watch::Receiver<StopRequest>,
) -> anyhow::Result<Report> {
    match require_same_volumes(appliance, &mut plan, options, events).await {
        Ok(()) => {
            making::write_plan(&plan)?;
            driver::run(appliance, plan, events, stop).await
        }
        Err(error) => {
            let stop = *stop.borrow();
            leave_off(appliance, plan, stop, &error).await?;
            Err(error)
        }
    }
}

async fn leave_off(
    appliance: &Appliance,
    plan: SessionPlan,
    stop: StopRequest,
    error: &anyhow::Error,
) -> anyhow::Result<()> {
    let (store, id) = (&appliance.store, &plan.id);
    match stop {
        // The next daemon goes on with it.
        StopRequest::DaemonEnds => {}
        StopRequest::Operator => {
            let hypervisor = &appliance.hypervisor;
            teardown::end_session(store, hypervisor, id, "stopped by the operator").await?;
        }
        StopRequest::None => {
            let why = format!("kept, but no machine was started again: {error:#}");
            store
                .set_session_state(id, SessionState::Kept, &why)
                .await?;
            watch_switch(appliance, plan).await;
        }
    }
    Ok(())
}

/// Fails if a captured volume is known to be, or is found to be, other than when
/// the session began: its disks hold only what differs from that.
async fn require_same_volumes(
    appliance: &Appliance,
    plan: &mut SessionPlan,
    options: PrepareOptions,
    events: &Events,
) -> anyhow::Result<()> {
    if options.accept_changed {
        let warning = "its captured volumes were not looked at before, as `--accept-changed` asks";
        plan.warnings.push(warning.to_owned());
        return Ok(());
    }
    let id = plan.id.clone();
    let found = compare_volumes(appliance, plan, options, events).await;
    found.with_context(|| {
        format!(
            "session {id} starts only over intact captured volumes; once they are, `lifeboat session start {id}` starts it, and `lifeboat session start {id} --accept-changed` does over the volumes as they are now"
        )
    })
}

async fn compare_volumes(
    appliance: &Appliance,
    plan: &mut SessionPlan,
    options: PrepareOptions,
    events: &Events,
) -> anyhow::Result<()> {
    let mut read = Vec::new();
    for planned in &mut plan.machines {
        for (path, disk) in planned.machine.volumes.iter().zip(&mut planned.disks) {
            let (site, machine, known) = (&plan.site, &planned.machine, &disk.captured);
            disk.captured =
                prepare::same_volume(appliance, site, machine, path, known, events).await?;
            read.push((path, &disk.captured));
        }
    }
    appliance
        .verify_before_boot(read, options.verify, events)
        .await
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
    options: PrepareOptions,
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
    let result = run_sound(appliance, plan, options, events, stop).await;
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
                    "kept; this host was started again, so its machines are started from their disks if its captured volumes are intact".to_owned()
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
    use crate::integrity::{BeforeBoot, Settings, sample};
    use crate::store::Resource;
    use lifeboat_images::CapturedVolume;

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

    fn plan_over(left: &Left, volume: &CapturedVolume) -> SessionPlan {
        let folder = left.appliance.host.session_dir("s1");
        let machine = serde_json::json!({
            "name": "web1", "firmware": "bios", "memory_mib": 64, "vcpus": 1,
            "volumes": [volume.path], "nics": [], "gates": [],
        });
        let machine: crate::site::Machine = serde_json::from_value(machine).unwrap();
        let plan = serde_json::json!({
            "id": "s1", "began_ms": 0, "mode": "recovery", "site": "site",
            "verdict": {"accelerator": "tcg", "reason": "a test"},
            "machines": [{
                "machine": machine, "domain": "lifeboat-s1-web1", "sockets": [], "gates": [],
                "disks": [{"captured": volume, "prepared": "/x", "run": left.overlay}],
                "needs": [], "expected_s": 1.0, "inject_s": 1.0, "console": folder.join("web1.log"),
            }],
            "order": [], "memory_mib": 1, "folder": folder,
            "switch": {"session": "s1", "control_socket": folder.join("c.sock"), "networks": [], "ports": []},
            "run_dir": folder.join("run"), "warnings": [],
        });
        serde_json::from_value(plan).unwrap()
    }

    #[tokio::test]
    async fn a_kept_recovery_does_not_start_over_a_damaged_volume() {
        let left = left_in(SessionState::Kept).await;
        let appliance = &left.appliance;
        let volume = sample::volume(&appliance.host.state_dir);
        let (path, mut plan) = (volume.path.clone(), plan_over(&left, &volume));
        appliance.store.put_volume(&path, &volume).await.unwrap();
        appliance.note_intact(&path, &volume).await.unwrap();
        let (events, _heard) = Events::channel();
        let never = PrepareOptions {
            verify: BeforeBoot::Never,
            ..PrepareOptions::default()
        };
        let check = async |plan: &mut SessionPlan, options| {
            require_same_volumes(appliance, plan, options, &events).await
        };
        check(&mut plan, never).await.unwrap();

        // Known by an earlier reading; nothing that the filesystem notes tells it.
        sample::rot(&volume, 3 << 20);
        check(&mut plan, never).await.unwrap();
        let always = PrepareOptions {
            verify: BeforeBoot::Always,
            ..never
        };
        let found = format!("{:#}", check(&mut plan, always).await.unwrap_err());
        assert!(
            found.contains("session start s1 --accept-changed"),
            "{found}"
        );
        assert!(check(&mut plan, never).await.is_err());
        let accepted = PrepareOptions {
            accept_changed: true,
            ..never
        };
        check(&mut plan, accepted).await.unwrap();

        // Another capture of the site since then is not what its disks lie over.
        let now = sample::volume(&appliance.host.state_dir);
        let other = CapturedVolume {
            blake3: "00".repeat(32),
            ..now.clone()
        };
        appliance.store.put_volume(&path, &other).await.unwrap();
        assert!(check(&mut plan, never).await.is_err());
        appliance.store.put_volume(&path, &now).await.unwrap();
        appliance.note_intact(&path, &now).await.unwrap();
        check(&mut plan, never).await.unwrap();
    }

    #[tokio::test]
    async fn a_recovery_over_a_damaged_volume_stays_kept_and_says_why() {
        let left = left_in(SessionState::Kept).await;
        let appliance = &left.appliance;
        let volume = sample::volume(&appliance.host.state_dir);
        let plan = plan_over(&left, &volume);
        std::fs::create_dir_all(&plan.folder).unwrap();
        making::write_plan(&plan).unwrap();
        appliance
            .store
            .put_volume(&volume.path, &volume)
            .await
            .unwrap();
        sample::rot(&volume, 3 << 20);
        let (events, _heard) = Events::channel();
        let started = start_again(appliance, "s1", PrepareOptions::default(), &events);
        let refused = format!("{:#}", started.await.unwrap_err());
        assert!(refused.contains("damaged"), "{refused}");
        let record = appliance.store.sessions().await.unwrap().remove(0);
        assert_eq!(record.state, SessionState::Kept);
        assert!(record.detail.unwrap().contains("damaged"));
        assert!(left.overlay.exists());
    }
}
