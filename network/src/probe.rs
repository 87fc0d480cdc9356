//! What can be asked of a machine from inside its network.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

/// A question to a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Probe {
    /// Does it answer a ping?
    Icmp {
        /// Whom to ask.
        address: Ipv4Addr,
    },
    /// Does it accept a connection?
    Tcp {
        /// Whom to ask.
        address: Ipv4Addr,
        /// On which port.
        port: u16,
    },
    /// Does it serve a page?
    Http {
        /// Whom to ask.
        address: Ipv4Addr,
        /// On which port.
        port: u16,
        /// For which host name.
        host: String,
        /// Which page.
        path: String,
        /// Text that the page must contain.
        #[serde(default)]
        expect: Option<String>,
    },
}

impl Probe {
    /// Whom the probe asks.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        match self {
            Self::Icmp { address } | Self::Tcp { address, .. } | Self::Http { address, .. } => {
                *address
            }
        }
    }
}

/// The answer to a probe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProbeResult {
    /// Whether the machine answered as asked.
    pub ok: bool,
    /// How long it took, in milliseconds.
    pub elapsed_ms: f64,
    /// What happened, for people.
    pub detail: String,
    /// The status of an HTTP answer.
    #[serde(default)]
    pub status: Option<u16>,
    /// The first 4 KiB of an HTTP answer's body. From a guest: escape before a terminal sees it.
    #[serde(default)]
    pub body: Option<String>,
}

impl ProbeResult {
    /// A failure without an answer.
    #[must_use]
    pub fn failed(elapsed: std::time::Duration, detail: impl Into<String>) -> Self {
        Self {
            ok: false,
            elapsed_ms: milliseconds(elapsed),
            detail: detail.into(),
            status: None,
            body: None,
        }
    }

    /// A success without a body.
    #[must_use]
    pub fn succeeded(elapsed: std::time::Duration, detail: impl Into<String>) -> Self {
        Self {
            ok: true,
            ..Self::failed(elapsed, detail)
        }
    }
}

/// A duration as the protocol carries it.
#[must_use]
pub fn milliseconds(elapsed: std::time::Duration) -> f64 {
    (elapsed.as_secs_f64() * 1_000_000.0).round() / 1000.0
}
