//! Long work: it goes on by itself, tells what it does, and can be followed,
//! listed and cancelled.
//!
//! ```text
//! begin -> running -> succeeded
//!             |  \--> failed
//!             |           ^ whoever began it left, or it cannot be done
//!             \ cancel -> cancelled
//! ```

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinHandle};
use utoipa::ToSchema;

use super::api::ApiError;
use super::{Appliance, NotNow};
use crate::events::{Event, Events, chain};
use crate::notices::{Notices, What};
use crate::session::unix_ms;
use crate::telling::{Follower, Telling};

/// Events that are kept of one operation.
const EVENTS: usize = 4096;
/// Ended operations that are kept.
const ENDED: usize = 64;
/// Operations that may run at once.
const MOST: usize = 256;

/// What kind of work it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OperationKind {
    /// Machines are prepared.
    Prepare,
    /// The order is worked out.
    Order,
    /// A test or a recovery runs to its report.
    Session,
    /// A kept recovery is started again.
    Start,
    /// Captured volumes are read.
    Verify,
    /// A site is drafted from volumes.
    Draft,
}

/// Where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OperationState {
    /// It goes on.
    Running,
    /// It has its result.
    Succeeded,
    /// It could not be done.
    Failed,
    /// It was told to stop and did.
    Cancelled,
}

/// Long work, as it is shown.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Operation)]
pub struct OperationView {
    /// Its id.
    pub id: String,
    /// What kind of work.
    pub kind: OperationKind,
    /// On what: a site, a session, a file.
    pub subject: String,
    /// Where it stands.
    pub state: OperationState,
    /// When it began, Unix time in milliseconds.
    pub began_ms: u64,
    /// When it ended.
    pub ended_ms: Option<u64>,
    /// The session that it runs, once there is one.
    pub session: Option<String>,
    /// It goes on when whoever began it leaves.
    pub asynchronous: bool,
    /// Number of its last event.
    pub last_event: u64,
    /// Why it failed.
    pub failure: Option<ApiError>,
}

/// What changes of an operation.
#[derive(Debug)]
struct Standing {
    state: OperationState,
    ended_ms: Option<u64>,
    session: Option<String>,
    failure: Option<ApiError>,
    result: Option<serde_json::Value>,
    /// It was told to stop.
    cancelled: bool,
}

/// One piece of long work.
#[derive(Debug)]
pub struct Operation {
    id: String,
    kind: OperationKind,
    subject: String,
    began_ms: u64,
    asynchronous: bool,
    standing: Mutex<Standing>,
    telling: Arc<Telling<Event>>,
    events: Events,
}

impl Operation {
    /// What is shown of it.
    pub fn view(&self) -> OperationView {
        let standing = self.standing();
        OperationView {
            id: self.id.clone(),
            kind: self.kind,
            subject: self.subject.clone(),
            state: standing.state,
            began_ms: self.began_ms,
            ended_ms: standing.ended_ms,
            session: standing.session.clone(),
            asynchronous: self.asynchronous,
            last_event: self.telling.last(),
            failure: standing.failure.clone(),
        }
    }

    /// Its result, when it has one.
    pub fn result(&self) -> Option<serde_json::Value> {
        self.standing().result.clone()
    }

    /// Its events from behind this number.
    pub fn follow(&self, after: u64) -> Follower<Event> {
        self.telling.follow(after)
    }

    /// Waits until it has ended.
    pub async fn ended(&self) {
        let mut follower = self.follow(self.telling.last());
        while follower.next().await.is_some() {}
    }

    /// Nobody waits for it any more: work that nothing else needs ends.
    pub fn abandon(&self) {
        self.events.abandon();
    }

    fn is_running(&self) -> bool {
        self.standing().state == OperationState::Running
    }

    /// Whether whoever watches should look at it again.
    fn note(&self, event: Event) -> bool {
        let session = match &event {
            Event::Session { id } => Some(id.clone()),
            _ => None,
        };
        let is_new = session.is_some();
        if is_new {
            self.standing().session = session;
        }
        self.telling
            .tell_over(event.clone(), |last| outdates(&event, last));
        is_new
    }

    fn end(&self, outcome: anyhow::Result<serde_json::Value>) {
        let last = match &outcome {
            Ok(value) => Event::Result {
                value: value.clone(),
            },
            Err(error) => ApiError::of(error).into(),
        };
        {
            let mut standing = self.standing();
            standing.ended_ms = Some(unix_ms());
            standing.state = match (&outcome, standing.cancelled) {
                (Ok(_), _) => OperationState::Succeeded,
                (Err(_), true) => OperationState::Cancelled,
                (Err(_), false) => OperationState::Failed,
            };
            standing.failure = outcome.as_ref().err().map(ApiError::of);
            standing.result = outcome.ok();
        }
        self.telling.tell(last);
        self.telling.close();
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl From<ApiError> for Event {
    fn from(error: ApiError) -> Self {
        Self::Failed {
            chain: error.chain,
            wrong_use: error.wrong_use,
        }
    }
}

/// Of how far the same step is, only the newest counts.
fn outdates(new: &Event, old: &Event) -> bool {
    match (new, old) {
        (
            Event::Progress { what, subject, .. },
            Event::Progress {
                what: old_what,
                subject: old_subject,
                ..
            },
        ) => what == old_what && subject == old_subject,
        _ => false,
    }
}

/// All long work that goes on, and some that ended. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Operations {
    all: Arc<Mutex<VecDeque<Arc<Operation>>>>,
    notices: Notices,
}

/// How work is begun.
#[derive(Debug, Clone)]
pub struct Beginning {
    /// What kind.
    pub kind: OperationKind,
    /// On what.
    pub subject: String,
    /// Whether it goes on when whoever began it leaves.
    pub asynchronous: bool,
}

impl Operations {
    /// None yet.
    pub fn new(notices: Notices) -> Self {
        Self {
            all: Arc::default(),
            notices,
        }
    }

    /// All of them, the newest first.
    pub fn list(&self) -> Vec<OperationView> {
        let all: Vec<_> = self.all().iter().rev().cloned().collect();
        all.iter().map(|operation| operation.view()).collect()
    }

    /// The one with this id.
    pub fn find(&self, id: &str) -> Option<Arc<Operation>> {
        self.all().iter().find(|one| one.id == id).cloned()
    }

    /// How many go on.
    pub fn running(&self) -> usize {
        self.all().iter().filter(|one| one.is_running()).count()
    }

    /// Begins work in a task of its own.
    pub fn begin<F, W>(
        &self,
        appliance: &Appliance,
        beginning: Beginning,
        work: F,
    ) -> anyhow::Result<Arc<Operation>>
    where
        F: FnOnce(Events) -> W,
        W: Future<Output = anyhow::Result<serde_json::Value>> + Send + 'static,
    {
        let (events, receiver) = Events::channel();
        let operation = Arc::new(fresh(beginning, events.clone()));
        self.add(operation.clone())?;
        let working = appliance.begin_work();
        let work = tokio::spawn(work(events));
        let carrying = Carrying {
            appliance: appliance.clone(),
            operation: operation.clone(),
        };
        tokio::spawn(async move {
            let _working = working;
            carrying.carry(receiver, work).await;
        });
        Ok(operation)
    }

    /// Tells an operation to stop; what it had begun ends by itself.
    pub async fn cancel(&self, appliance: &Appliance, operation: &Operation) -> anyhow::Result<()> {
        if !operation.is_running() {
            return Ok(());
        }
        operation.standing().cancelled = true;
        operation.abandon();
        self.stop_session_of(appliance, operation).await
    }

    async fn stop_session_of(
        &self,
        appliance: &Appliance,
        operation: &Operation,
    ) -> anyhow::Result<()> {
        let session = operation.standing().session.clone();
        if let Some(session) = session {
            appliance.stop_session(&session).await?;
        }
        Ok(())
    }

    fn add(&self, operation: Arc<Operation>) -> anyhow::Result<()> {
        {
            let mut all = self.all();
            if all.iter().filter(|one| one.is_running()).count() >= MOST {
                return Err(NotNow(format!(
                    "{MOST} pieces of work are going on already: wait until one ends"
                ))
                .into());
            }
            forget_oldest(&mut all);
            all.push_back(operation.clone());
        }
        self.tell(&operation);
        Ok(())
    }

    fn tell(&self, operation: &Operation) {
        self.notices.tell(What::Operation {
            operation: operation.view(),
        });
    }

    fn all(&self) -> MutexGuard<'_, VecDeque<Arc<Operation>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn forget_oldest(all: &mut VecDeque<Arc<Operation>>) {
    let ended = all.iter().filter(|one| !one.is_running()).count();
    if ended >= ENDED
        && let Some(oldest) = all.iter().position(|one| !one.is_running())
    {
        all.remove(oldest);
    }
}

fn fresh(beginning: Beginning, events: Events) -> Operation {
    Operation {
        id: uuid::Uuid::new_v4().simple().to_string(),
        kind: beginning.kind,
        subject: beginning.subject,
        began_ms: unix_ms(),
        asynchronous: beginning.asynchronous,
        standing: Mutex::new(Standing {
            state: OperationState::Running,
            ended_ms: None,
            session: None,
            failure: None,
            result: None,
            cancelled: false,
        }),
        telling: Telling::new(EVENTS),
        events,
    }
}

/// Work on its way, as the task that listens to it sees it.
struct Carrying {
    appliance: Appliance,
    operation: Arc<Operation>,
}

impl Carrying {
    /// Notes what the work says until it ends.
    async fn carry(
        self,
        mut receiver: mpsc::UnboundedReceiver<Event>,
        mut work: JoinHandle<anyhow::Result<serde_json::Value>>,
    ) {
        let outcome = loop {
            tokio::select! {
                biased;
                Some(event) = receiver.recv() => self.note(event).await,
                outcome = &mut work => break outcome,
            }
        };
        while let Ok(event) = receiver.try_recv() {
            self.note(event).await;
        }
        let outcome = outcome.unwrap_or_else(|error| Err(broke_off(&error)));
        self.operation.end(outcome);
        self.appliance.operations.tell(&self.operation);
    }

    async fn note(&self, event: Event) {
        if !self.operation.note(event) {
            return;
        }
        self.appliance.operations.tell(&self.operation);
        // Told to stop before the session was known.
        if !self.operation.standing().cancelled {
            return;
        }
        let operations = &self.appliance.operations;
        let stopped = operations.stop_session_of(&self.appliance, &self.operation);
        if let Err(error) = stopped.await {
            tracing::error!(error = format!("{error:#}"), "a cancelled session goes on");
        }
    }
}

fn broke_off(error: &JoinError) -> anyhow::Error {
    anyhow::anyhow!("the work broke off by a fault of Lifeboat's own ({error}); its log tells more")
}

impl ApiError {
    /// Of an error and its causes.
    pub fn of(error: &anyhow::Error) -> Self {
        Self {
            chain: chain(error),
            wrong_use: super::is_wrong_use(error),
        }
    }
}
