//! Two sites, one truth: the pure core of switch-over.
//!
//! The reference is a system that watches a primary and a secondary environment and moves an
//! application between them; numbers in this crate (202, 300, 344...) are its own. Nothing here
//! acts: the daemon and the agents feed in what happened and carry out what comes out.
//!
//! | module | what it decides |
//! |---|---|
//! | [`state`] | the eight states, nine transitions, and the one indication |
//! | [`lease`] | epochs and leases: until when a side may serve, by its own clock |
//! | [`authority`] | who serves: control centre and agents as machines of messages |
//! | [`process`] | process 300 as data, its journal, and what comes next after any crash |
//! | [`stores`] | steps 344-356: mounting, reading, recovering |
//! | [`autopilot`] | process 400 |
//! | [`autosync`] | process 500 |
//! | [`health`] | observed ranges, tendencies, root causes |
//! | [`safety`] | what may run beside what (612, 704) |
//!
//! `simulation/` plays [`authority`] through histories full of faults.

pub mod authority;
pub mod autopilot;
pub mod autosync;
pub mod health;
pub mod lease;
pub mod process;
pub mod safety;
mod side;
pub mod state;
pub mod stores;

pub use side::Side;
