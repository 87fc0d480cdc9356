//! The daemon: the appliance's parts together, its API, its life.

pub mod api;
mod certificate;
pub mod client;
mod drafts;
mod https;
mod live;
mod ongoing;
mod operations;
mod rules;
mod serve;
#[cfg(test)]
pub mod testing;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use ongoing::Operations;
use tokio::sync::{OnceCell, watch};

pub use https::HttpsOptions;
pub use live::{AllSeen, IsolationState};
pub use ongoing::{Beginning, Operation, OperationKind, OperationState, OperationView};
pub use serve::{FAREWELL, IN_USE, InUse, ServeOptions, serve, socket_path};

use crate::accelerator::{self, Verdict};
use crate::events::Events;
use crate::host::Host;
use crate::hypervisor::Hypervisor;
use crate::integrity::{Integrity, Settings};
use crate::screens::Screens;
use crate::session::SessionPlan;
use crate::session::supervise::Supervisor;
use crate::store::Store;

/// The parts of a running appliance; cheap to clone.
#[derive(Clone)]
pub struct Appliance {
    /// What it remembers.
    pub store: Store,
    /// Where it lives.
    pub host: Arc<Host>,
    /// libvirt.
    pub hypervisor: Hypervisor,
    /// Preparing writes to shared places, so one request does it at a time.
    pub preparing: Arc<tokio::sync::Mutex<()>>,
    /// Who reads captured volumes again, and when.
    pub integrity: Arc<Integrity>,
    verdict: Arc<OnceCell<Verdict>>,
    /// Sessions with a driver, and how to stop them.
    active: Arc<Mutex<HashMap<String, watch::Sender<StopRequest>>>>,
    /// The daemon is ending: nothing new may begin.
    ending: Arc<AtomicBool>,
    /// Kept sessions whose switch is watched.
    watched: Arc<Mutex<HashMap<String, Supervisor>>>,
    /// Requests that are being worked on.
    working: Arc<AtomicUsize>,
    /// The same, as they are shown.
    pub operations: Operations,
    /// Pieces of uploads are written one at a time.
    pub uploading: Arc<tokio::sync::Mutex<()>>,
    /// What is seen of sessions that go on.
    pub seen: AllSeen,
    /// What their guests show.
    pub screens: Screens,
}

/// Work for one command.
pub struct Working(Arc<AtomicUsize>);

impl Drop for Working {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Appliance {
    /// Opens the state and takes nothing up yet.
    pub async fn open(host: Host, settings: Settings) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&host.state_dir).with_context(|| {
            format!(
                "failed to make state directory `{}`",
                host.state_dir.display()
            )
        })?;
        let store = Store::open(&host.state_dir).await?;
        crate::prepare::remove_unfinished(&host);
        Ok(Self {
            host: Arc::new(host),
            hypervisor: Hypervisor::start(),
            preparing: Arc::default(),
            integrity: Arc::new(Integrity::new(settings)),
            verdict: Arc::default(),
            operations: Operations::new(store.notices().clone()),
            store,
            uploading: Arc::default(),
            seen: AllSeen::default(),
            screens: Screens::default(),
            active: Arc::default(),
            ending: Arc::default(),
            watched: Arc::default(),
            working: Arc::default(),
        })
    }

    /// Which accelerator guests use; found out once.
    pub async fn verdict(&self) -> Verdict {
        let kernel_dir = self.host.kernel_dir.clone();
        let detect = || async move {
            let found = tokio::task::spawn_blocking(move || accelerator::detect(&kernel_dir)).await;
            found.unwrap_or_else(|error| Verdict {
                accelerator: accelerator::Accelerator::Tcg,
                reason: format!("the accelerator could not be tried: {error}"),
            })
        };
        self.verdict.get_or_init(detect).await.clone()
    }

    /// Notes a session that begins; the receiver changes when it is to stop.
    pub fn register(&self, session: &str) -> watch::Receiver<StopRequest> {
        let (sender, receiver) = watch::channel(StopRequest::None);
        self.active
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(session.to_owned(), sender);
        receiver
    }

    /// Forgets a session whose driver ended.
    pub fn unregister(&self, session: &str) {
        self.active
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(session);
    }

    /// Asks a running session to stop; says whether there was one.
    pub fn stop_active(&self, session: &str) -> bool {
        let active = self.active.lock().unwrap_or_else(PoisonError::into_inner);
        active
            .get(session)
            .is_some_and(|stop| stop.send(StopRequest::Operator).is_ok())
    }

    /// Ready when the daemon ends.
    pub fn ending(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut notices = self.store.notices().follow(None).0;
        async move { while notices.next().await.is_some() {} }
    }

    /// Whether the daemon is ending.
    pub fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Acquire)
    }

    /// The daemon ends: running sessions stop, and none begins any more.
    pub fn end(&self) {
        self.ending.store(true, Ordering::Release);
        // Whoever watches would hold up the end.
        self.store.notices().close();
        let active = self.active.lock().unwrap_or_else(PoisonError::into_inner);
        for stop in active.values() {
            let _ = stop.send(StopRequest::DaemonEnds);
        }
    }

    /// Whether any session has a driver.
    pub fn is_busy(&self) -> bool {
        !self
            .active
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_empty()
    }

    /// Watches the switch of a kept session.
    pub fn keep_watching(&self, plan: Arc<SessionPlan>) {
        let id = plan.id.clone();
        let watching =
            crate::session::supervise::supervise(self.clone(), plan, Events::channel().0);
        self.watched
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id, watching);
    }

    /// Ends watching the switch of a session.
    pub async fn stop_watching(&self, session: &str) {
        let watching = self
            .watched
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(session);
        if let Some(watching) = watching {
            watching.end().await;
        }
    }

    /// Notes work for a command that goes on until the answer is dropped.
    pub fn begin_work(&self) -> Working {
        self.working.fetch_add(1, Ordering::AcqRel);
        Working(self.working.clone())
    }

    /// Whether any command waits for work.
    pub fn is_working(&self) -> bool {
        self.working.load(Ordering::Acquire) > 0
    }
}

/// Why a session is to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopRequest {
    /// It is not.
    None,
    /// The operator wants it gone.
    Operator,
    /// The daemon ends; a recovery goes on under the next one.
    DaemonEnds,
}

/// The asker's mistake: wrong use rather than failed work.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct WrongUse(pub String);

/// The asker's mistake: what was named is not there.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Missing(pub String);

/// It cannot be done at this moment, though it may be later.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotNow(pub String);

/// Whether an error is the asker's mistake.
pub fn is_wrong_use(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.is::<WrongUse>()
            || cause.is::<Missing>()
            || cause.is::<InUse>()
            || cause.is::<crate::site::SiteError>()
    })
}
