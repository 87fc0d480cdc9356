//! The life of the daemon: one for each state directory.

use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use nix::fcntl::{Flock, FlockArg};
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};

use super::{Appliance, api, https};
use crate::host::Host;
use crate::integrity::{self, Settings};

/// What a command tells its private daemon before it closes its input.
pub const FAREWELL: &[u8] = b"done";

const LOOK: Duration = Duration::from_millis(50);

/// How a private daemon ends whose place is taken: its command may try again.
pub const IN_USE: u8 = 75;

/// The state directory has a daemon already.
#[derive(Debug, thiserror::Error)]
#[error("another `lifeboat serve` uses the state directory `{}`", .0.display())]
pub struct InUse(PathBuf);

/// How to serve.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// The state directory.
    pub state_dir: PathBuf,
    /// Address for HTTPS, when wanted.
    pub listen: Option<SocketAddr>,
    /// Where agents of protected machines dial, when wanted.
    pub agents: Option<SocketAddr>,
    /// Started by one command for its own life: end when standard input ends.
    pub private: bool,
    /// When captured volumes are read again.
    pub integrity: Settings,
}

/// The socket of the daemon of a state directory. Paths of sockets are short
/// by the kernel's rule, so a long state directory gets one elsewhere.
pub fn socket_path(state_dir: &Path) -> PathBuf {
    let inside = state_dir.join("lifeboat.sock");
    if inside.as_os_str().len() < 100 {
        return inside;
    }
    let name = blake3::hash(state_dir.as_os_str().as_encoded_bytes()).to_hex();
    Path::new("/run/lifeboat").join(format!("{}.sock", &name[..16]))
}

/// Serves until a signal, or until standard input ends for a private daemon.
pub async fn serve(options: ServeOptions) -> anyhow::Result<()> {
    if let Some(problem) = crate::names::add_of_host() {
        tracing::error!("{problem}");
    }
    let host = Host::new(&options.state_dir)?;
    std::fs::create_dir_all(&host.state_dir).with_context(|| {
        format!(
            "failed to make state directory `{}`",
            host.state_dir.display()
        )
    })?;
    let _lock = lock(&host.state_dir)?;
    std::fs::create_dir_all(&host.run_dir)
        .with_context(|| format!("failed to make `{}`", host.run_dir.display()))?;
    let listener = listen(&socket_path(&host.state_dir))?;
    let appliance = Appliance::open(host, options.integrity).await?;
    // What protects an application must not come and go with one command.
    let centre = match options.private {
        false => Some(open_centre(&appliance, options.agents).await?),
        true => None,
    };
    for recovered in crate::session::recover::recover(&appliance).await? {
        tracing::warn!(session = recovered.session, "{}", recovered.what);
        eprintln!("session {}: {}", recovered.session, recovered.what);
    }
    integrity::remove_unused_trees(&appliance).await?;
    if let Err(error) = crate::leftovers::at_start(&appliance).await {
        tracing::warn!(error = format!("{error:#}"), "disks that nobody needs stay");
    }
    if !options.private {
        integrity::start(&appliance);
        crate::schedules::start(&appliance);
    }
    let https = https::start(&appliance, centre.as_ref(), options.listen).await?;
    let router = api::router(appliance.clone(), centre.as_ref(), api::Reach::Host);
    let stopping = stopping(options.private, appliance.clone());
    let closing = centre.clone();
    let stopping = async move {
        stopping.await;
        // Whoever reads its events would hold up the end.
        if let Some(centre) = closing {
            centre.close().await;
        }
    };
    axum::serve(listener, router)
        .with_graceful_shutdown(stopping)
        .await
        .context("the daemon's socket failed")?;
    https.into_iter().for_each(|task| task.abort());
    wait_idle(&appliance).await;
    drop(std::fs::remove_file(socket_path(&appliance.host.state_dir)));
    appliance.store.close().await;
    Ok(())
}

/// The control centre of failover, in the same state directory.
async fn open_centre(
    appliance: &Appliance,
    agents: Option<SocketAddr>,
) -> anyhow::Result<lifeboat_centre::Centre> {
    let state_dir = appliance.host.state_dir.clone();
    let centre = lifeboat_centre::Centre::open(lifeboat_centre::Settings::new(state_dir, agents))
        .await
        .context("failed to open the control centre of failover")?;
    if let Some(address) = centre.address() {
        tracing::info!(%address, "agents are awaited");
    }
    Ok(centre)
}

/// Two daemons on one state would tear down each other's sessions.
fn lock(state_dir: &Path) -> anyhow::Result<Flock<File>> {
    let path = state_dir.join("lock");
    let file =
        File::create(&path).with_context(|| format!("failed to create `{}`", path.display()))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock)
        .map_err(|_| InUse(state_dir.to_path_buf()).into())
}

fn listen(socket: &Path) -> anyhow::Result<UnixListener> {
    // We hold the lock, so a socket that is there is a dead daemon's.
    drop(std::fs::remove_file(socket));
    let listener = UnixListener::bind(socket)
        .with_context(|| format!("failed to listen on `{}`", socket.display()))?;
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Returns when the daemon is to end, after asking all sessions to stop.
async fn stopping(private: bool, appliance: Appliance) {
    let (Ok(mut terminate), Ok(mut interrupt)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        tracing::error!("no signals can be awaited");
        return;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        farewell = input_ends(), if private => {
            if farewell {
                // What still goes on belongs to other commands.
                while appliance.is_working() || appliance.is_busy() {
                    tokio::time::sleep(LOOK).await;
                }
            }
        }
    }
    tracing::info!("the daemon ends");
    appliance.end();
}

/// Whether the command that started this private daemon took its leave, rather
/// than being killed.
async fn input_ends() -> bool {
    use tokio::io::AsyncReadExt;
    let mut said = Vec::new();
    let read = tokio::io::stdin().take(16).read_to_end(&mut said).await;
    read.is_ok() && said == FAREWELL
}

async fn wait_idle(appliance: &Appliance) {
    while appliance.is_busy() {
        tokio::time::sleep(LOOK).await;
    }
}
