//! What happened, told to whoever watches (server-sent events, tests). Telling is not keeping:
//! everything that matters is in the store before it is told here.

use std::sync::Arc;

use lifeboat_agent::wire::UnixMillis;
use lifeboat_failover::process::{Ending, Phase, Plan};
use serde::Serialize;
use tokio::sync::broadcast;

use crate::alerts::Notice;
use crate::clock;
use crate::store::TransitionRecord;

/// How many events a slow watcher may be behind before it misses some.
const BEHIND: usize = 1024;

/// One thing that happened.
#[derive(Debug, Clone, Serialize)]
pub struct Event {
    /// When.
    pub at: UnixMillis,
    /// To which application, if to one.
    pub application: Option<String>,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// What happened.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "kind", content = "detail", rename_all = "kebab-case")]
pub enum What {
    /// The state of the application changed.
    Transition(TransitionRecord),
    /// A process began.
    ProcessBegan {
        /// Its id.
        process: String,
        /// What it will do.
        plan: Plan,
    },
    /// A line of its journal was written.
    Step {
        /// The process.
        process: String,
        /// Which step, by its place in the plan.
        step: usize,
        /// The step's number in the reference process.
        number: String,
        /// What it does.
        title: String,
        /// What became of it.
        phase: Phase,
    },
    /// The operator is asked.
    Question(QuestionView),
    /// A process ended, or stopped where it can be taken up again.
    ProcessEnded {
        /// Its id.
        process: String,
        /// How.
        ending: Ending,
    },
    /// An agent came or went.
    Agent {
        /// Its host.
        host: String,
        /// Whether it is there now.
        there: bool,
    },
    /// Somebody is told something.
    Notice(Notice),
    /// Auto Pilot looked and wants something, or would in shadow mode.
    AutoPilot {
        /// What.
        wish: String,
        /// Whether it only says so.
        shadow: bool,
    },
    /// The control centre closes; nothing more is told.
    Closes,
    /// Something of another part of the control centre: its name, and what it says.
    Told {
        /// Which part.
        part: &'static str,
        /// What it says.
        detail: serde_json::Value,
    },
}

/// A question to the operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct QuestionView {
    /// The process that asks.
    pub process: String,
    /// The step.
    pub step: usize,
    /// Its number in the reference process.
    pub number: String,
    /// The question.
    pub text: String,
    /// What counts when nobody answers.
    pub silence_means: bool,
    /// Until when an answer counts; `None`: for ever.
    pub until: Option<UnixMillis>,
}

/// Where events go. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Events {
    sender: broadcast::Sender<Arc<Event>>,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            sender: broadcast::Sender::new(BEHIND),
        }
    }
}

impl Events {
    /// Watches from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Event>> {
        self.sender.subscribe()
    }

    /// Tells everybody who watches.
    pub fn tell(&self, application: Option<&str>, what: What) {
        let event = Event {
            at: clock::unix(),
            application: application.map(str::to_owned),
            what,
        };
        // Nobody watching is nobody's fault.
        let _ = self.sender.send(Arc::new(event));
    }
}
