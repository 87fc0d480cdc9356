//! What long work says while it goes on. Terminal, JSON and log are readers of
//! the same events.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

/// One thing that happened.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
#[schema(as = OperationEvent)]
pub enum Event {
    /// A step began.
    Step {
        /// What is done.
        what: String,
        /// To what.
        subject: String,
    },
    /// A step goes on.
    Progress {
        /// What is done.
        what: String,
        /// To what.
        subject: String,
        /// Units done.
        done: u64,
        /// Units in all.
        total: u64,
    },
    /// A step ended well.
    Done {
        /// What was done.
        what: String,
        /// To what.
        subject: String,
        /// What came of it.
        detail: String,
    },
    /// A session has this id.
    Session {
        /// The id.
        id: String,
    },
    /// A machine changed.
    Machine {
        /// Its name.
        machine: String,
        /// Its new state.
        state: String,
        /// Seconds since the start of the session.
        at_s: f64,
        /// More words.
        detail: String,
    },
    /// Odd, but the work goes on.
    Warning {
        /// The words.
        text: String,
    },
    /// The work ended with this result.
    Result {
        /// The result, as its command prints it with `--format json`.
        value: serde_json::Value,
    },
    /// The work failed.
    Failed {
        /// The chain of causes, outermost first.
        chain: Vec<String>,
        /// The asker's mistake, rather than the work's failure.
        wrong_use: bool,
    },
}

impl Event {
    /// The word that tells it from others.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Step { .. } => "step",
            Self::Progress { .. } => "progress",
            Self::Done { .. } => "done",
            Self::Session { .. } => "session",
            Self::Machine { .. } => "machine",
            Self::Warning { .. } => "warning",
            Self::Result { .. } => "result",
            Self::Failed { .. } => "failed",
        }
    }
}

/// Where events go. A reader that went away stops nothing.
#[derive(Debug, Clone)]
pub struct Events {
    sender: mpsc::UnboundedSender<Event>,
    abandoned: Arc<AtomicBool>,
}

impl Events {
    /// A sink and its reader.
    pub fn channel() -> (Self, mpsc::UnboundedReceiver<Event>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let abandoned = Arc::default();
        (Self { sender, abandoned }, receiver)
    }

    /// Whether nobody waits any more.
    pub fn is_abandoned(&self) -> bool {
        self.sender.is_closed() || self.abandoned.load(Ordering::Acquire)
    }

    /// Nobody waits any more, though what is said is still heard.
    pub fn abandon(&self) {
        self.abandoned.store(true, Ordering::Release);
    }

    /// Says something.
    pub fn send(&self, event: Event) {
        drop(self.sender.send(event));
    }

    /// A step begins.
    pub fn step(&self, what: &str, subject: &str) {
        tracing::info!(subject, "{what}");
        self.send(Event::Step {
            what: what.into(),
            subject: subject.into(),
        });
    }

    /// A step goes on.
    pub fn progress(&self, what: &str, subject: &str, done: u64, total: u64) {
        self.send(Event::Progress {
            what: what.into(),
            subject: subject.into(),
            done,
            total,
        });
    }

    /// A step ended well.
    pub fn done(&self, what: &str, subject: &str, detail: impl Into<String>) {
        let detail = detail.into();
        tracing::info!(subject, detail, "{what}: done");
        self.send(Event::Done {
            what: what.into(),
            subject: subject.into(),
            detail,
        });
    }

    /// Something is odd.
    pub fn warning(&self, text: impl Into<String>) {
        let text = text.into();
        tracing::warn!("{text}");
        self.send(Event::Warning { text });
    }
}

/// The words of an error and of all its causes, outermost first.
pub fn chain(error: &anyhow::Error) -> Vec<String> {
    error.chain().map(ToString::to_string).collect()
}
