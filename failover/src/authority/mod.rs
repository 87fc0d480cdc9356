//! Who serves, agreed between the control centre and the two agents.
//!
//! Three parties, each a pure machine: a message or the passing of time goes in, effects come out
//! in the order in which they have to happen ([`Effect::Keep`] first: nothing is said before it is
//! written down). The same machines run in the daemon, in the agent, and in the simulation.
//!
//! ```text
//! control centre                 candidate (passive)            old holder (active)
//!   | -- StopGranting(e, n) ------> |                              |
//!   | <-- Stopped(e, n) ----------- |                              |
//!   | -- Fence(e) ------------------------------------------------> | stops serving
//!   | <-- Fenced(e) ----------------------------------------------- |
//!   |  or: its own grants lapsed, and the candidate's did too      | its lease ran out: it stopped
//!   | -- Promote(e+1, proof) -----> | serves, asks for a lease      |
//!   | -- TakeUp(e+1) ---------------------------------------------> | renews e+1 from now on
//! ```

mod agent;
mod centre;
mod message;
#[cfg(test)]
mod tests;

pub use agent::{Agent, AgentRecord, Start};
pub use centre::{Centre, CentreRecord, Switching, Waiting};
pub use message::{Effect, Message, Party, Proof};
