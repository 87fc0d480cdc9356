//! Commands that need no daemon.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::progress::Progress;
use super::{Format, output};
use crate::accelerator::{self, Verdict};
use crate::daemon::WrongUse;
use crate::drafting;
use crate::events::{Event, Events};
use crate::host::Host;
use crate::leftovers::Drafting;

/// `lifeboat check`.
pub async fn check(state_dir: &Path, format: Format) -> anyhow::Result<bool> {
    let host = Host::new(state_dir)?;
    let verdict = detect(&host).await?;
    let fitness = crate::check::check(&host, verdict).await;
    output::print(format, &fitness, || crate::check::to_text(&fitness))?;
    Ok(fitness.fit)
}

pub async fn detect(host: &Host) -> anyhow::Result<Verdict> {
    let kernel_dir = host.kernel_dir.clone();
    Ok(tokio::task::spawn_blocking(move || accelerator::detect(&kernel_dir)).await?)
}

/// Works until done or interrupted; guests' files do not stay behind.
pub async fn interruptible(
    work: impl Future<Output = anyhow::Result<bool>>,
) -> anyhow::Result<bool> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        result = work => return result,
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        _ = terminate.recv() => {}
    }
    crate::scratch::remove_all()?;
    anyhow::bail!(
        "interrupted; what was begun was removed, but for a conversion that the next try goes on with"
    )
}

/// `lifeboat site draft`.
pub async fn draft(
    state_dir: &Path,
    name: &str,
    volumes: &[String],
    format: Format,
) -> anyhow::Result<bool> {
    if !crate::site::is_plain_name(name) {
        return Err(WrongUse(format!("`{name}` is not a name for a site")).into());
    }
    let host = Host::new(state_dir)?;
    let verdict = detect(&host).await?;
    let drafts = Arc::new(Drafting::begin(&host)?);
    let mut progress = Progress::new();
    let mut machines = Vec::new();
    for group in volumes {
        progress.show(&Event::Step {
            what: "inspect".into(),
            subject: group.clone(),
        });
        let (host, verdict, drafts, disks) = (
            host.clone(),
            verdict.clone(),
            drafts.clone(),
            group.split(',').map(PathBuf::from).collect::<Vec<_>>(),
        );
        let (events, mut heard) = Events::channel();
        let work = tokio::task::spawn_blocking(move || {
            drafting::machines(&host, &verdict, &drafts, disks, &events)
        });
        while let Some(event) = heard.recv().await {
            progress.show(&event);
        }
        for machine in work.await?? {
            progress.show(&Event::Done {
                what: "inspect".into(),
                subject: group.clone(),
                detail: format!("{}, {}", machine.hostname, machine.operating_system),
            });
            machines.push(machine);
        }
    }
    progress.finish();
    let text = crate::site::draft::draft(name, &machines);
    output::print(format, &json!({ "site_toml": text }), || text.clone())
}
