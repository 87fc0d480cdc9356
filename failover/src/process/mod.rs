//! Processes as logged sequences of idempotent steps.
//!
//! A [`Plan`] is data that leaves no choice: it is printed by a dry run, kept before the first
//! step, and carried out by whoever can act. The [`Journal`] says what was begun and what ended.
//! [`next`] looks at both and says what comes next, and nothing else does: after `kill -9` at any
//! moment the same question gives the same answer. A step that was begun and has no end in the
//! journal is done again, which is why every action is idempotent.

mod engine;
mod plan;
mod switch;
#[cfg(test)]
mod tests;

pub use engine::{Ending, Entry, Facts, Fate, Journal, Next, Phase, next};
pub use plan::{Action, Actor, Failure, Plan, Question, Step, Task};
pub use switch::{Identity, Kind, Request, Stores, switch};
