//! What agent and control centre say to each other: frames of JSON over TLS.
//!
//! The agent dials. On a first contact it has no certificate and may only [`FromAgent::Join`];
//! ever after it begins with [`FromAgent::Hello`] and is answered by [`ToAgent::Welcome`] or
//! [`ToAgent::Refused`]. Between agents only [`FromPeer`] is spoken.

mod frame;
mod image;
mod inventory;
mod report;
mod token;

use std::collections::BTreeMap;
use std::time::Duration;

use lifeboat_failover::Side;
use lifeboat_failover::authority::{AgentRecord, Message};
use lifeboat_failover::lease::{Epoch, Terms};
use lifeboat_failover::process::Action;
use serde::{Deserialize, Serialize};

pub use frame::{Decoder, FRAME_LIMIT, FrameError, encode};
pub use image::ImageFacts;
pub use inventory::{Configuration, Inventory, Listener, Object, Package, ServiceState, Volume};
pub use report::{Health, Metric, Report, Serving};
pub use token::{Secret, Token, TokenError};
pub(crate) use token::{hexadecimal, sha256};

/// The version of this protocol; both ends have to speak the same.
pub const PROTOCOL: u32 = 1;

/// Milliseconds since 1970 by the speaker's wall clock.
pub type UnixMillis = u64;

/// Values of a profile's parameters, by name. Their types are the profile's.
pub type Values = BTreeMap<String, String>;

/// From an agent to the control centre.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FromAgent {
    /// The first word of an agent that has no certificate.
    Join(Join),
    /// The first word of every connection with a certificate.
    Hello(Box<Hello>),
    /// What it sees.
    Report(Report),
    /// What is installed and configured.
    Inventory(Box<Inventory>),
    /// What became of an action.
    Result(ActionResult),
    /// Wants a new certificate for the same key (PEM).
    Renew {
        /// The certificate signing request.
        request: String,
    },
    /// The lease of its application.
    Lease(Message),
    /// Asks for a sign of life; the answer carries the same number.
    Ping(u64),
    /// The answer to the control centre's ping.
    Pong(u64),
}

/// From the control centre to an agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToAgent {
    /// Welcome to the house.
    Joined(Certified),
    /// The connection ends; the agent says so and, where that may help, tries again later.
    Refused(Refusal),
    /// The answer to a hello.
    Welcome(Box<Welcome>),
    /// Carry out an action. Said again with the same id until its result arrived.
    Act(ActionRequest),
    /// A new certificate.
    Renewed(Certified),
    /// Changed settings, without a new connection.
    Settings(Box<Welcome>),
    /// The lease of its application.
    Lease(Message),
    /// Asks for a sign of life.
    Ping(u64),
    /// The answer to the agent's ping.
    Pong(u64),
}

/// Between the two agents of an application.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FromPeer {
    /// The lease of the application.
    Lease(Message),
    /// Nothing to say, but alive.
    Alive,
}

/// Asks to become the agent of a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Join {
    /// Which protocol it speaks.
    pub protocol: u32,
    /// The secret part of the token.
    pub secret: Secret,
    /// A certificate signing request (PEM) for a key that never leaves the host.
    pub request: String,
}

/// A certificate and when it ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certified {
    /// The name under which the control centre knows the host.
    pub host: String,
    /// The agent's certificate (PEM).
    pub certificate: String,
    /// The certificate of the CA (PEM).
    pub ca: String,
    /// Since when it is valid (the moment of issue, without allowance for clocks).
    pub issued: UnixMillis,
    /// When it ends.
    pub expires: UnixMillis,
}

/// Who is speaking.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Which protocol it speaks.
    pub protocol: u32,
    /// The agent's version.
    pub version: String,
    /// The boot id of the host; differs between a host and its copy.
    pub boot: String,
    /// Differs at every start of the agent.
    pub incarnation: u64,
    /// The profile it has, if it has one.
    pub profile: Option<ProfileId>,
    /// Where the other agent reaches it.
    pub peer_port: Option<u16>,
    /// What it wrote down about its lease, if it ever had to.
    pub lease: Option<AgentRecord>,
}

/// Which profile a host has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProfileId {
    /// Its name.
    pub name: String,
    /// The SHA-256 of its file, in hexadecimal.
    pub hash: String,
}

/// What the control centre wants of this agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// Which protocol it speaks.
    pub protocol: u32,
    /// Its clock now.
    pub time: UnixMillis,
    /// How often to report.
    pub report_every: Duration,
    /// How often to send the inventory.
    pub inventory_every: Duration,
    /// Its part in an application, if it has one.
    pub part: Option<Part>,
}

/// A host's part in an application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The application's name.
    pub application: String,
    /// Which environment the host belongs to.
    pub side: Side,
    /// Values for the profile's parameters.
    pub values: Values,
    /// The lease, on hosts of the application itself (not on its directory server).
    pub lease: Option<LeasePart>,
}

/// How the host takes part in leases.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeasePart {
    /// What both ends agree on.
    pub terms: Terms,
    /// The agent of the other side.
    pub peer: Option<Peer>,
    /// With what an agent begins that never wrote anything down. Given once in the life of an
    /// application and host: an agent that lost its record must not serve by an old word.
    pub first: Option<AgentRecord>,
}

/// The agent of the other side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Its host's name in its certificate.
    pub host: String,
    /// Where it listens (address and port).
    pub address: String,
}

/// Asks for an action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionRequest {
    /// Names this request; the same id never acts twice.
    pub id: String,
    /// What to do.
    pub action: Action,
    /// Values that go before those of [`Part::values`].
    pub values: Values,
    /// The epoch by which the control centre asks. An agent that knows of a newer one refuses.
    pub epoch: Option<Epoch>,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionResult {
    /// The request's.
    pub id: String,
    /// The request's.
    pub action: Action,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of an action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Its effect is there.
    Done {
        /// Whether that needed a change.
        changed: bool,
        /// What shows it.
        evidence: Vec<String>,
    },
    /// Its effect could not be had.
    Failed {
        /// Why.
        reason: String,
        /// What was seen on the way.
        evidence: Vec<String>,
    },
    /// It was not tried.
    Refused {
        /// Why.
        reason: String,
    },
}

/// Why an agent is turned away.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// The versions differ.
    #[error(
        "the control centre speaks protocol {centre}, this agent {agent}: install the agent that came with it"
    )]
    Protocol {
        /// The control centre's.
        centre: u32,
        /// The agent's.
        agent: u32,
    },
    /// No such token was ever given out.
    #[error("this token is not known here: have one made with `lifeboat agent token`")]
    TokenUnknown,
    /// Ten minutes are over.
    #[error("this token has expired: have a new one made with `lifeboat agent token`")]
    TokenExpired,
    /// A token counts once.
    #[error("this token was used already: have a new one made, and find out who used it")]
    TokenUsed,
    /// A later join took the host's name over.
    #[error(
        "another agent joined as `{host}` since: its key counts now, join again if this is the right one"
    )]
    Replaced {
        /// The host's name.
        host: String,
    },
    /// Two machines hold the same certificate, and the other one is alive.
    #[error(
        "an agent of `{host}` is connected already, from another boot ({boot}): one of the two is a copy of the other"
    )]
    HostTaken {
        /// The host's name.
        host: String,
        /// The boot id of the one that is connected.
        boot: String,
    },
    /// The host is not, or no longer, one of the control centre's.
    #[error("no host `{host}` is known here any more: join again with a new token")]
    HostUnknown {
        /// The host's name.
        host: String,
    },
    /// It said something that does not belong there.
    #[error("what the agent said makes no sense here: {what}")]
    Senseless {
        /// What.
        what: String,
    },
}

impl Refusal {
    /// Whether the same agent may be welcome later without anybody doing something.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::HostTaken { .. } | Self::Senseless { .. })
    }
}
