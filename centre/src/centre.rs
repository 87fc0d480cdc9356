//! The handle by which everything is asked of the control centre. Cheap to clone.

mod ask;
mod tasks;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use lifeboat_agent::ca::{Ca, Stored as StoredCa};
use lifeboat_agent::wire::{ActionRequest, Outcome, Values};
use lifeboat_failover::authority::CentreRecord;
use lifeboat_failover::process::{Action, Actor};
use lifeboat_failover::safety::Process;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};

use crate::alerts::{self, Alerts};
use crate::application::Application;
use crate::changes::Changes;
use crate::error::CentreError;
use crate::event::Events;
use crate::observation::{self, Observation, Observed, Told};
use crate::reception::{self, Links};
use crate::state::{self, Order, Snapshot, Watched};
use crate::store::Store;
use crate::{archive, autosync, restore};
#[cfg(test)]
pub(crate) use ask::first_standing;
use tasks::Tasks;

const CA: &str = "ca";
/// What agents told and nobody took in yet.
const TOLD: usize = 1024;
/// How long an action outside of a process may take, when its agent went away.
const AWAY: Duration = Duration::from_secs(30);

/// How a control centre runs.
#[derive(Clone)]
pub struct Settings {
    /// Where its database lies.
    pub state_dir: PathBuf,
    /// Where agents dial; without it no agent is met.
    pub listen: Option<SocketAddr>,
    /// How long certificates of agents last.
    pub certificates: Duration,
    /// Called at every moment at which a crash could hurt; for tests, which end the process there.
    pub passing: Option<Arc<dyn Fn(SwitchMoment) + Send + Sync>>,
}

impl Settings {
    /// As usual: certificates for a day.
    pub fn new(state_dir: PathBuf, listen: Option<SocketAddr>) -> Self {
        Self {
            state_dir,
            listen,
            certificates: Duration::from_secs(24 * 3600),
            passing: None,
        }
    }
}

/// A moment within a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SwitchMoment {
    /// The step, by its place in the plan.
    pub step: usize,
    /// Where in the step.
    pub point: Point,
    /// Whether the step is being taken back.
    pub undo: bool,
}

/// Where in a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Point {
    /// Its beginning is written down, nothing was asked for.
    BeforeEffect,
    /// Its effect is there, and not written down.
    AfterEffect,
    /// Its end is written down.
    AfterEntry,
}

/// The control centre.
#[derive(Clone)]
pub struct Centre {
    inner: Arc<Inner>,
}

struct Inner {
    settings: Settings,
    store: Store,
    events: Events,
    links: Links,
    told: mpsc::Sender<Told>,
    applications: RwLock<BTreeMap<String, Arc<ApplicationHandle>>>,
    address: OnceLock<SocketAddr>,
    tasks: Tasks,
    alerts: Alerts,
    observation: Observation,
    changes: Changes,
    seen: autosync::seen::Seen,
}

/// An application, for those who do not own it.
pub(crate) struct ApplicationHandle {
    application: RwLock<Arc<Application>>,
    orders: mpsc::Sender<Order>,
    authority: Watched,
    snapshot: watch::Receiver<Arc<Snapshot>>,
}

/// Leave to work on an application's data; given back when it is dropped.
#[must_use = "the work is over when this is dropped"]
pub struct Permit {
    handle: Arc<ApplicationHandle>,
    process: Process,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.handle.order_soon(Order::Release(self.process));
    }
}

impl Centre {
    /// Opens the database, takes every application up where it stands, and meets agents.
    pub async fn open(settings: Settings) -> Result<Self, CentreError> {
        let store = Store::open(&settings.state_dir).await?;
        let (told, received) = mpsc::channel(TOLD);
        let alerts = Alerts::new(store.pool().clone(), alerts::Patience::default());
        let observation = Observation::new(
            store.pool().clone(),
            alerts.clone(),
            observation::Settings::default(),
        );
        let changes = Changes::new(store.pool().clone(), alerts.clone());
        let centre = Self {
            inner: Arc::new(Inner {
                settings,
                store,
                events: Events::default(),
                links: Links::default(),
                told,
                applications: RwLock::default(),
                address: OnceLock::new(),
                tasks: Tasks::default(),
                alerts,
                observation,
                changes,
                seen: autosync::seen::Seen::default(),
            }),
        };
        centre.make_ca().await?;
        for kept in centre.store().applications().await? {
            let application = Application::parse(&kept.file, &kept.texts)?;
            let handle = state::start(&centre, application).await?;
            centre.put_handle(handle);
        }
        centre.spawn(observation::run(centre.clone(), received));
        centre.spawn(crate::names::keep(centre.clone()));
        centre.spawn(autosync::keep(centre.clone()));
        centre.spawn(archive::keep(centre.clone()));
        centre.spawn(restore::keep(centre.clone()));
        centre.listen().await?;
        Ok(centre)
    }

    async fn listen(&self) -> Result<(), CentreError> {
        let Some(address) = self.inner.settings.listen else {
            return Ok(());
        };
        let failed = |source| CentreError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let bound = listener.local_addr().map_err(failed)?;
        // Opened once.
        let _ = self.inner.address.set(bound);
        let desk = reception::open(self).await?;
        self.spawn(reception::meet(self.clone(), listener, desk));
        Ok(())
    }

    /// Where agents dial.
    pub fn address(&self) -> Option<SocketAddr> {
        self.inner.address.get().copied()
    }

    /// Ends everything that runs here. What was begun goes on when it is opened again.
    pub async fn close(&self) {
        self.events().tell(None, crate::event::What::Closes);
        self.inner.tasks.end().await;
        self.write_handles().clear();
        self.inner.store.close().await;
    }

    /// What happens, from now on.
    pub fn events(&self) -> &Events {
        &self.inner.events
    }

    /// Who is told what.
    pub fn alerts(&self) -> &Alerts {
        &self.inner.alerts
    }

    /// What is seen.
    pub fn observation(&self) -> &Observation {
        &self.inner.observation
    }

    /// What changed, and in what the sites differ.
    pub fn changes(&self) -> &Changes {
        &self.inner.changes
    }

    pub(crate) fn store(&self) -> &Store {
        &self.inner.store
    }

    /// What is seen of replication.
    pub(crate) fn seen(&self) -> &autosync::seen::Seen {
        &self.inner.seen
    }

    pub(crate) fn links(&self) -> &Links {
        &self.inner.links
    }

    /// Runs something until the control centre closes.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.inner.tasks.spawn(work);
    }

    pub(crate) fn pass(&self, moment: SwitchMoment) {
        if let Some(passing) = &self.inner.settings.passing {
            passing(moment);
        }
    }

    /// Hands over what an agent told; a part that cannot keep up misses some of it.
    pub(crate) fn told(&self, told: Told) {
        if let Told::Report(heard) = &told {
            self.inner.seen.report(&heard.host, &heard.word);
        }
        if self.inner.told.try_send(told).is_err() {
            tracing::warn!("what an agent told is lost: too much at once");
        }
    }

    async fn make_ca(&self) -> Result<(), CentreError> {
        if self.store().thing::<StoredCa>(CA).await?.is_none() {
            let made = Ca::make(SystemTime::now())?;
            self.store().put_thing(CA, &made).await?;
        }
        Ok(())
    }

    pub(crate) async fn load_ca(&self) -> Result<Ca, CentreError> {
        let stored = self.store().thing::<StoredCa>(CA).await?;
        let stored = stored.ok_or(CentreError::Closed)?;
        Ok(Ca::load(&stored, self.inner.settings.certificates)?)
    }

    fn handles(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<String, Arc<ApplicationHandle>>> {
        // Every change of the table is whole before the lock is given back.
        let handles = self.inner.applications.read();
        handles.unwrap_or_else(PoisonError::into_inner)
    }

    fn write_handles(
        &self,
    ) -> std::sync::RwLockWriteGuard<'_, BTreeMap<String, Arc<ApplicationHandle>>> {
        let handles = self.inner.applications.write();
        handles.unwrap_or_else(PoisonError::into_inner)
    }

    fn put_handle(&self, handle: ApplicationHandle) {
        let name = handle.application().name.clone();
        self.write_handles().insert(name, Arc::new(handle));
    }

    /// Every application.
    pub(crate) fn all(&self) -> Vec<Arc<ApplicationHandle>> {
        self.handles().values().cloned().collect()
    }

    pub(crate) fn handle(&self, name: &str) -> Result<Arc<ApplicationHandle>, CentreError> {
        let handle = self.handles().get(name).cloned();
        handle.ok_or_else(|| CentreError::UnknownApplication(name.to_owned()))
    }

    /// To which application a host belongs, and which part it has.
    pub(crate) fn part_of(&self, host: &str) -> Option<(Arc<ApplicationHandle>, Actor)> {
        self.all().into_iter().find_map(|handle| {
            let actor = handle.application().actor(host)?;
            Some((handle, actor))
        })
    }

    /// What is made of everything that is seen of an application.
    pub async fn observed(&self, application: &str, observed: Observed) {
        if let Ok(handle) = self.handle(application) {
            handle.order(Order::Observed(Box::new(observed))).await;
        }
    }

    /// Asks for leave to work on an application's data (612, 704).
    pub async fn reserve(
        &self,
        application: &str,
        process: Process,
    ) -> Result<Permit, CentreError> {
        let handle = self.handle(application)?;
        handle.ask(|reply| Order::Reserve(process, reply)).await?;
        Ok(Permit { handle, process })
    }

    /// The same for work that had leave already when it was broken off.
    pub(crate) async fn reserve_again(
        &self,
        application: &str,
        process: Process,
    ) -> Result<Permit, CentreError> {
        let handle = self.handle(application)?;
        handle
            .ask(|reply| Order::ReserveAgain(process, reply))
            .await?;
        Ok(Permit { handle, process })
    }

    /// Has an agent carry out an action, outside of process 300. Says what it saw.
    pub async fn act(
        &self,
        application: &str,
        actor: Actor,
        action: Action,
        values: Values,
    ) -> Result<Outcome, CentreError> {
        let id = format!("{:016x}", fastrand::u64(..));
        self.act_once(application, actor, action, id, values).await
    }

    /// The same under an id that outlives this control centre: asked again, an agent goes on with
    /// what it does already, or says what came of it.
    pub(crate) async fn act_once(
        &self,
        application: &str,
        actor: Actor,
        action: Action,
        id: String,
        values: Values,
    ) -> Result<Outcome, CentreError> {
        let handle = self.handle(application)?;
        let described = handle.application();
        let not_done = |host: &str, reason: String| CentreError::NotDone {
            action,
            host: host.to_owned(),
            reason,
        };
        let host = described.host(actor);
        let host = &host
            .ok_or_else(|| not_done("-", "there is no such host".to_owned()))?
            .name;
        let request = ActionRequest {
            id,
            action,
            values,
            epoch: Some(handle.authority().grantor.epoch),
        };
        tokio::select! {
            outcome = self.links().ask(host, request) => match outcome {
                Outcome::Failed { reason, .. } | Outcome::Refused { reason } => {
                    Err(not_done(host, reason))
                }
                done => Ok(done),
            },
            () = self.links().is_gone(host, AWAY) => {
                Err(not_done(host, "its agent is not there".to_owned()))
            }
        }
    }
}

impl ApplicationHandle {
    pub(crate) fn new(
        application: Arc<Application>,
        orders: mpsc::Sender<Order>,
        authority: Watched,
        snapshot: watch::Receiver<Arc<Snapshot>>,
    ) -> Self {
        Self {
            application: RwLock::new(application),
            orders,
            authority,
            snapshot,
        }
    }

    /// Its description.
    pub(crate) fn application(&self) -> Arc<Application> {
        let application = self.application.read();
        application.unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn name(&self) -> Arc<str> {
        self.application().name.as_str().into()
    }

    /// Who serves, as it was written down last.
    pub(crate) fn authority(&self) -> CentreRecord {
        *self.authority.borrow()
    }

    /// Where it stands, as it was written down last.
    pub(crate) fn snapshots(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshot.clone()
    }

    /// Where it stands, as it was written down last.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.borrow().clone()
    }

    /// Tells its owner something.
    pub(crate) async fn order(&self, order: Order) {
        if self.orders.send(order).await.is_err() {
            tracing::debug!("an application that is gone is told something");
        }
    }

    /// Tells its owner something, from where nobody can wait.
    pub(crate) fn order_soon(&self, order: Order) {
        let orders = self.orders.clone();
        match orders.try_send(order) {
            Err(mpsc::error::TrySendError::Full(order)) => {
                if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                    runtime.spawn(async move { orders.send(order).await });
                }
            }
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => {}
        }
    }

    /// Asks its owner something.
    pub(crate) async fn ask<T>(
        &self,
        order: impl FnOnce(oneshot::Sender<Result<T, CentreError>>) -> Order,
    ) -> Result<T, CentreError> {
        let (reply, answer) = oneshot::channel();
        let sent = self.orders.send(order(reply)).await;
        sent.map_err(|_| CentreError::Closed)?;
        answer.await.map_err(|_| CentreError::Closed)?
    }

    async fn update(&self, application: Arc<Application>) {
        let place = self.application.write();
        *place.unwrap_or_else(PoisonError::into_inner) = application.clone();
        self.order(Order::Update(application)).await;
    }
}
