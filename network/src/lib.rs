//! The network between the machines of a site: a vhost-user switch that is also the site's
//! gateways, probes the machines from inside, and keeps the list of whom they asked for in vain.
//!
//! Two sides share this crate. The process `lifeboat-switch` is [`engine`] with everything below
//! it; the daemon uses [`process`], [`client`] and [`isolation`].
#![forbid(unsafe_code)]

pub mod client;
pub mod config;
pub mod control;
pub mod endpoint;
pub mod engine;
pub mod forwarding;
pub mod frame;
pub mod fuzz;
pub mod http;
pub mod isolation;
pub mod mac;
pub mod offload;
pub mod probe;
pub mod process;
pub mod relay;
pub mod ring;
pub mod router;
pub mod sandbox;
pub mod status;
pub mod stream;
pub mod stream_port;
pub mod unanswered;
pub mod vhost_port;

pub use client::{ClientError, SwitchClient};
pub use config::{ConfigError, NetworkConfig, Owner, PortConfig, PortKind, SwitchConfig};
pub use isolation::{CanaryWatcher, IsolationError, IsolationReport};
pub use mac::MacAddr;
pub use probe::{Probe, ProbeResult};
pub use process::{ProcessError, SwitchProcess};
pub use status::{Counters, NetworkStatus, PortStatus, SwitchStatus};
pub use unanswered::Unanswered;
