//! Removing what a session made, from the list in the store. Every removal
//! may be repeated: what is gone already is fine.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use nix::sys::signal::Signal;

use crate::host::ProcessIdentity;
use crate::hypervisor::Hypervisor;
use crate::store::{Resource, SessionState, Store};

/// How long a process may take to end after the polite signal.
const PATIENCE: Duration = Duration::from_secs(5);

/// Ends a session: from here on every daemon only removes what it made.
pub async fn end_session(
    store: &Store,
    hypervisor: &Hypervisor,
    session: &str,
    detail: &str,
) -> anyhow::Result<usize> {
    store
        .set_session_state(session, SessionState::Stopping, detail)
        .await?;
    let removed = tear_down(store, hypervisor, session).await?;
    store
        .set_session_state(session, SessionState::Ended, detail)
        .await?;
    Ok(removed)
}

/// Removes everything that the session made, newest first. All failures are
/// returned together; what could not be removed stays on the list.
pub async fn tear_down(
    store: &Store,
    hypervisor: &Hypervisor,
    session: &str,
) -> anyhow::Result<usize> {
    let mut resources = store.resources(session).await?;
    // Guests first: a switch that was started again is newer than they are.
    resources.sort_by_key(|(_, resource)| !matches!(resource, Resource::Domain { .. }));
    let count = resources.len();
    let mut failures = Vec::new();
    for (number, resource) in resources {
        // A guest that may still run needs its network and its disks.
        if !failures.is_empty() && !matches!(resource, Resource::Domain { .. }) {
            continue;
        }
        match remove(hypervisor, &resource).await {
            Ok(()) => store.resource_removed(number).await?,
            Err(error) => failures.push(crate::events::chain(&error).join(": ")),
        }
    }
    if failures.is_empty() {
        return Ok(count);
    }
    anyhow::bail!(
        "failed to remove all of session `{session}`: {}",
        failures.join("; ")
    )
}

async fn remove(hypervisor: &Hypervisor, resource: &Resource) -> anyhow::Result<()> {
    match resource {
        Resource::Domain { name } => hypervisor.destroy(name).await.map(drop).map_err(Into::into),
        // Found by its command line: a daemon that died while it started the
        // switch never learned which process it is.
        Resource::Switch { config, .. } => {
            for process in ProcessIdentity::with_argument(config.as_os_str()) {
                end_process(process).await?;
            }
            Ok(())
        }
        Resource::RunDirectory { path } => absent_is_fine(std::fs::remove_dir_all(path), path),
        Resource::Overlay { path, .. } => {
            remove_unfinished(path);
            absent_is_fine(std::fs::remove_file(path), path)
        }
    }
}

/// An overlay whose making was cut off lies beside its place under a hidden name.
fn remove_unfinished(overlay: &Path) {
    let (Some(folder), Some(name)) = (overlay.parent(), overlay.file_name()) else {
        return;
    };
    let prefix = format!(".{}.", name.to_string_lossy());
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    for entry in entries.filter_map(Result::ok) {
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            // What stays is a few hundred KiB in the session's own folder.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

fn absent_is_fine(result: std::io::Result<()>, path: &Path) -> anyhow::Result<()> {
    match result {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("failed to remove `{}`", path.display()))
        }
        _ => Ok(()),
    }
}

/// Ends a process politely, then firmly.
pub(super) async fn end_process(process: ProcessIdentity) -> anyhow::Result<()> {
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        process.signal(signal);
        if ended_within(process, PATIENCE).await {
            return Ok(());
        }
    }
    anyhow::bail!("process {} does not end", process.pid)
}

async fn ended_within(process: ProcessIdentity, patience: Duration) -> bool {
    let deadline = tokio::time::Instant::now() + patience;
    while process.is_alive() {
        if tokio::time::Instant::now() > deadline {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    true
}
