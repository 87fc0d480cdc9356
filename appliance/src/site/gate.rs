//! Gates: the observable conditions under which a machine counts as ready.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

/// One gate of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Gate {
    /// What must be observed.
    pub kind: GateKind,
    /// Address to probe instead of the machine's first one.
    #[schema(value_type = Option<String>)]
    pub address: Option<Ipv4Addr>,
    /// Seconds after the start of the machine until the gate counts as failed;
    /// none: the default for the accelerator.
    pub timeout_s: Option<u64>,
}

/// What a gate observes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum GateKind {
    /// The machine answers an echo request.
    Icmp,
    /// A TCP connection is accepted on this port.
    Tcp(u16),
    /// A page is served.
    Http {
        /// TCP port.
        port: u16,
        /// Path of the page.
        path: String,
        /// `Host` header; none: the address.
        host: Option<String>,
        /// Text that the body must hold.
        expect: Option<String>,
    },
    /// The machine has no address to probe: it counts as ready when it runs.
    Running,
}

impl Gate {
    /// A gate with default address and timeout.
    pub fn new(kind: GateKind) -> Self {
        Self {
            kind,
            address: None,
            timeout_s: None,
        }
    }
}

impl GateKind {
    /// The word used in reports.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Icmp => "icmp",
            Self::Tcp(_) => "tcp",
            Self::Http { .. } => "http",
            Self::Running => "running",
        }
    }

    /// The port, where there is one.
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Tcp(port) | Self::Http { port, .. } => Some(*port),
            Self::Icmp | Self::Running => None,
        }
    }
}
