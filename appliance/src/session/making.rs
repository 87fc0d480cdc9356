//! Making what a session needs; every thing is written to the store first.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use lifeboat_network::process::SwitchProcess;

use super::plan::{DiskPlan, SessionPlan};
use crate::host::{Host, ProcessIdentity};
use crate::store::{Resource, Store};

/// Name of the file that holds the decided session.
pub const PLAN_FILE: &str = "session.json";

/// Makes the session's folder and writes the plan into it.
pub fn write_plan(plan: &SessionPlan) -> anyhow::Result<()> {
    std::fs::create_dir_all(&plan.folder)
        .with_context(|| format!("failed to make session folder `{}`", plan.folder.display()))?;
    let text = serde_json::to_vec_pretty(plan)?;
    replace_file(&plan.folder.join(PLAN_FILE), &text)
}

/// Reads the plan of an earlier life of the daemon.
pub fn read_plan(host: &Host, id: &str) -> anyhow::Result<SessionPlan> {
    let path = host.session_dir(id).join(PLAN_FILE);
    let text =
        std::fs::read(&path).with_context(|| format!("failed to read `{}`", path.display()))?;
    serde_json::from_slice(&text)
        .with_context(|| format!("`{}` is not a session of this version", path.display()))
}

/// Replaces a file in one step, so that a crash leaves the old or the new.
pub fn replace_file(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let temporary = path.with_extension("part");
    let write = || {
        std::fs::write(&temporary, content)?;
        std::fs::File::open(&temporary)?.sync_all()?;
        std::fs::rename(&temporary, path)
    };
    write().with_context(|| format!("failed to write `{}`", path.display()))
}

/// The folder of sockets: QEMU's user may pass through it, but not list it.
pub async fn make_run_dir(store: &Store, plan: &SessionPlan) -> anyhow::Result<()> {
    store
        .plan_resource(
            &plan.id,
            &Resource::RunDirectory {
                path: plan.run_dir.clone(),
            },
        )
        .await?;
    ensure_run_dir(plan)
}

/// Makes the folder of sockets where it is missing. Its mode is set, not asked
/// for: a umask would keep QEMU's user out.
pub fn ensure_run_dir(plan: &SessionPlan) -> anyhow::Result<()> {
    let make = |folder: &Path| {
        std::fs::create_dir_all(folder)?;
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o711))
    };
    plan.run_dir
        .parent()
        .map_or(Ok(()), make)
        .and_then(|()| make(&plan.run_dir))
        .with_context(|| format!("failed to make `{}`", plan.run_dir.display()))
}

/// File of the switch's configuration.
pub fn switch_config_file(plan: &SessionPlan) -> PathBuf {
    plan.run_dir.join("switch.json")
}

/// Starts the switch and writes down which process it is.
pub async fn start_switch(
    store: &Store,
    host: &Host,
    plan: &SessionPlan,
) -> anyhow::Result<SwitchProcess> {
    let number = store
        .plan_resource(
            &plan.id,
            &Resource::Switch {
                config: switch_config_file(plan),
                pid: 0,
                start_time: 0,
            },
        )
        .await?;
    let switch = spawn_switch(host, plan).await?;
    note_switch(store, number, plan, &switch).await?;
    Ok(switch)
}

async fn spawn_switch(host: &Host, plan: &SessionPlan) -> anyhow::Result<SwitchProcess> {
    let program = host.program("lifeboat-switch");
    let file = switch_config_file(plan);
    replace_file(&file, &serde_json::to_vec_pretty(&plan.switch)?)?;
    Ok(SwitchProcess::start(&program, &file).await?)
}

async fn note_switch(
    store: &Store,
    number: i64,
    plan: &SessionPlan,
    switch: &SwitchProcess,
) -> anyhow::Result<()> {
    let pid = i32::try_from(switch.pid()).context("the switch has an impossible process id")?;
    let identity = ProcessIdentity::of(pid).context("the switch ended at once")?;
    let known = Resource::Switch {
        config: switch_config_file(plan),
        pid,
        start_time: identity.start_time,
    };
    Ok(store.update_resource(number, &known).await?)
}

/// Makes the run overlay of every disk. A recovery that resumes keeps those
/// that exist: they hold what its machines wrote.
pub async fn make_run_overlays(store: &Store, plan: &SessionPlan) -> anyhow::Result<()> {
    let known = store.resources(&plan.id).await?;
    for disk in plan.machines.iter().flat_map(|machine| &machine.disks) {
        if !disk.run.exists() {
            never_made(&known, &disk.run)?;
            make_run_overlay(store, plan, disk).await?;
        }
    }
    Ok(())
}

/// An empty overlay in the place of one that is gone would take its machine
/// back to the time of its capture, and nobody would notice.
fn never_made(known: &[(i64, Resource)], overlay: &Path) -> anyhow::Result<()> {
    let lost = known.iter().any(
        |(_, resource)| matches!(resource, Resource::Overlay { path, made: true } if path == overlay),
    );
    anyhow::ensure!(
        !lost,
        "run overlay `{}` is gone, and with it what its machine wrote: put it back, or give the session up with `lifeboat session stop`",
        overlay.display()
    );
    Ok(())
}

async fn make_run_overlay(
    store: &Store,
    plan: &SessionPlan,
    disk: &DiskPlan,
) -> anyhow::Result<()> {
    let overlay = |made| Resource::Overlay {
        path: disk.run.clone(),
        made,
    };
    let number = store.plan_resource(&plan.id, &overlay(false)).await?;
    let planned = disk.clone();
    tokio::task::spawn_blocking(move || make_overlay(&planned)).await??;
    Ok(store.update_resource(number, &overlay(true)).await?)
}

fn make_overlay(disk: &DiskPlan) -> anyhow::Result<()> {
    lifeboat_images::create_overlay(
        &disk.prepared,
        DiskPlan::OVERLAY,
        disk.captured.virtual_size,
        &disk.run,
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_was_lost_is_not_made_anew() {
        let path = PathBuf::from("web1-0.qcow2");
        let overlay = |made| {
            let path = path.clone();
            [(1, Resource::Overlay { path, made })]
        };
        assert!(never_made(&overlay(true), &path).is_err());
        assert!(never_made(&overlay(false), &path).is_ok());
        assert!(never_made(&overlay(true), Path::new("db1-0.qcow2")).is_ok());
    }
}
