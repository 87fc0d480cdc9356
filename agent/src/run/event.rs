//! What reaches the task that owns everything.

use lifeboat_failover::authority::Message;
use tokio::sync::mpsc;

use crate::wire::{ActionResult, FromAgent, FromPeer, Inventory, Metric, ToAgent, Welcome};

/// Something happened.
#[derive(Debug)]
pub(crate) enum Event {
    /// The control centre welcomed us.
    LinkUp(Box<Welcome>, mpsc::Sender<FromAgent>),
    /// The link to it is gone.
    LinkDown,
    /// It said something.
    Heard(Box<ToAgent>),
    /// The other agent is there: one of its two connections.
    PeerUp(Way, mpsc::Sender<FromPeer>),
    /// The other agent said something.
    PeerHeard(Message),
    /// An action ended.
    Acted(Box<ActionResult>),
    /// The application was taken up again after a lease came back.
    Resumed(Result<(), String>),
    /// The fence commands ran.
    Fenced(Result<(), String>),
    /// A round of checks ended.
    Seen(Vec<Metric>),
    /// An inventory was taken.
    Counted(Box<Inventory>),
}

/// Which of the two connections between agents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// The one that this agent dialed.
    Out,
    /// The one that the other agent dialed.
    In,
}
