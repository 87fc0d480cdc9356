//! The agent itself.
//!
//! One task owns all state (`engine`); everything that takes time runs beside it and comes back
//! as an event. The watchdog is a process of its own, which stops the application when the lease
//! ends even if this one is dead.

mod actions;
mod clock;
mod command;
mod config;
mod engine;
mod event;
mod inventory;
mod join;
mod keep;
mod lease;
mod link;
mod log;
mod peer;
pub(crate) mod resolve;
mod results;
mod session;
mod trying;
mod watch;
mod watchdog;

pub use config::{Config, ConfigError, Places};
pub use engine::{RunError, run};
pub use join::{JoinError, join};
pub use trying::{TryError, try_action};
pub use watchdog::{WatchdogError, watchdog};
