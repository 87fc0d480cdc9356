//! What the whole-system tests share: the built programs run as a user runs
//! them, and the host is looked at with its own tools, never with the product's
//! code, so that a fault in the product cannot hide itself.

pub mod bed;

mod appliance;
mod command;
mod daemon;
mod figure4;
mod host;
mod programs;
mod sites;
mod strace;
mod traces;
mod waiting;

pub use appliance::Appliance;
pub use command::{Lifeboat, Outcome, Running};
pub use daemon::Daemon;
pub use figure4::Figure4;
pub use host::{Process, domains, processes, run_tool, seconds_on_this_host, sha256};
pub use programs::{missing_for_guests, program, require};
pub use sites::SiteFile;
pub use strace::{Strace, Trace};
pub use traces::Traces;
pub use waiting::{eventually, soon};
