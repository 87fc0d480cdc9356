//! What the parties say to each other, and what their machines want done.

use serde::{Deserialize, Serialize};

use crate::lease::{Attempt, Epoch, Moment, NotGranted};
use crate::side::Side;

/// One of the three.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Party {
    /// The control centre.
    Centre,
    /// An agent.
    Agent(Side),
}

/// Why the old holder serves no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Proof {
    /// It said so.
    Fenced,
    /// No lease that the control centre gave can be valid any more; the candidate looks at its own.
    Lapsed,
}

/// A message. Any of them may be lost, late, doubled or out of order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Message {
    /// The holder asks for a lease.
    Renew {
        /// Its epoch.
        epoch: Epoch,
        /// Which start of the agent asks: clocks of earlier ones mean nothing.
        incarnation: u64,
        /// When it asked, on its own clock; comes back unchanged.
        asked: Moment,
    },
    /// The lease is renewed.
    Granted {
        /// As asked.
        epoch: Epoch,
        /// As asked.
        incarnation: u64,
        /// As asked.
        asked: Moment,
    },
    /// It is not.
    Refused {
        /// As asked.
        epoch: Epoch,
        /// Why.
        why: NotGranted,
    },
    /// Renew `epoch` no more.
    StopGranting {
        /// The epoch that will be replaced.
        epoch: Epoch,
        /// Which attempt.
        attempt: Attempt,
    },
    /// The promise was written down.
    Stopped {
        /// As asked.
        epoch: Epoch,
        /// As asked.
        attempt: Attempt,
    },
    /// That attempt was given up: renew again.
    ResumeGranting {
        /// The epoch that stays.
        epoch: Epoch,
        /// Which attempt.
        attempt: Attempt,
    },
    /// Serve no more in `epoch`.
    Fence {
        /// Which.
        epoch: Epoch,
    },
    /// It does not, and never will again.
    Fenced {
        /// Which.
        epoch: Epoch,
    },
    /// Serve in `epoch`.
    Promote {
        /// The new one.
        epoch: Epoch,
        /// Why that is safe.
        proof: Proof,
    },
    /// It does.
    Promoted {
        /// The new one.
        epoch: Epoch,
    },
    /// The other side serves in `epoch` now: renew its lease, and serve in no older one.
    TakeUp {
        /// The new one.
        epoch: Epoch,
    },
}

/// What has to happen, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect<R> {
    /// Write the record down, durably, before anything that follows.
    Keep(R),
    /// Say something.
    Send(Party, Message),
    /// The application may serve until this moment; the watchdog is armed for it.
    ServeUntil(Moment),
    /// The application must not serve: stop it, and close its ports.
    StopServing,
}
