//! The life of the daemon: one for each state directory.

use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use lifeboat_access::Access;
use nix::fcntl::{Flock, FlockArg};
use tokio::net::UnixListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;

use super::api::Reach;
use super::https::{Https, HttpsOptions};
use super::{Appliance, api, rules};
use crate::host::Host;
use crate::imports::ImportFolder;
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
    /// The console and the API for browsers.
    pub https: HttpsOptions,
    /// Where agents of protected machines dial, when wanted.
    pub agents: Option<SocketAddr>,
    /// Folders from which volumes may be taken over the network.
    pub imports: Vec<ImportFolder>,
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
    let mut host = Host::new(&options.state_dir)?;
    host.imports = options.imports;
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
    // Before anybody can see that it runs, and may ask it to end.
    let stopping = stopping(options.private, appliance.clone());
    let https = Https::bind(&options.https, &appliance.host.state_dir)?;
    let access = open_access(&appliance.host.state_dir, https.as_ref()).await?;
    let routes = |reach| routes(&appliance, centre.as_ref(), &access, reach);
    let https = match https {
        Some(https) => Some(serve_browsers(https, routes(Reach::Network), &access).await?),
        None => None,
    };
    let router = for_root(routes(Reach::Host), &access);
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
    access.close().await;
    appliance.store.close().await;
    Ok(())
}

/// Who may do what, in the same state directory.
async fn open_access(state_dir: &Path, https: Option<&Https>) -> anyhow::Result<Access> {
    // The one token for everybody of earlier versions opens nothing any more.
    drop(std::fs::remove_file(state_dir.join("api-token")));
    let settings = lifeboat_access::Settings {
        names: https
            .map(|https| https.names().to_vec())
            .unwrap_or_default(),
        url: https.map(Https::url),
        ..lifeboat_access::Settings::default()
    };
    let opened = Access::open(&state_dir.join("access.db"), settings).await;
    opened.context("failed to open who may do what")
}

/// Serves the console; as long as nobody can log in, says how to make the first user.
async fn serve_browsers(
    https: Https,
    router: Router,
    access: &Access,
) -> anyhow::Result<JoinHandle<()>> {
    eprintln!("console: {}", https.url());
    eprintln!("certificate (SHA-256): {}", https.fingerprint());
    if !access.has_users().await? {
        let link = access.first_user_link().await?;
        eprintln!("first user, once, within a day: {link}");
    }
    https.serve(lifeboat_access::guard(
        router,
        access.clone(),
        rules::rules(),
    ))
}

/// Everything that can be asked of this machine.
pub(super) fn routes(
    appliance: &Appliance,
    centre: Option<&lifeboat_centre::Centre>,
    access: &Access,
    reach: Reach,
) -> Router {
    let own = lifeboat_access::router(access.clone());
    api::router(appliance.clone(), centre, reach).nest(lifeboat_access::PREFIX, own.into())
}

/// The same routes, and what else the machine's root may, for the socket.
pub(super) fn for_root(router: Router, access: &Access) -> Router {
    let own = lifeboat_access::socket_router(access.clone());
    let router = router.nest(lifeboat_access::PREFIX, own);
    lifeboat_access::trusted(router, access.clone())
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
/// Signals that come before it is awaited count, too.
fn stopping(private: bool, appliance: Appliance) -> impl Future<Output = ()> + Send + 'static {
    let signals = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    );
    async move {
        match signals {
            (Ok(terminate), Ok(interrupt)) => {
                end_of(private, terminate, interrupt, &appliance).await
            }
            _ => tracing::error!("no signals can be awaited"),
        }
    }
}

async fn end_of(
    private: bool,
    mut terminate: Signal,
    mut interrupt: Signal,
    appliance: &Appliance,
) {
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
