//! Who may do what over HTTP.
//!
//! ```text
//! browser, program          root's socket
//!        |                        |
//!      guard                   trusted          guard/: before every route
//!  host -> origin -> who -> may they?
//!        |      Extension<Identity>, header `lifeboat-operator`
//!   audit: intent  ------------------------->   trail/: on disk before the effect
//!        |
//!      route            (api/: /api/v1/access)
//!        |
//!   audit: outcome,  security headers
//! ```
//!
//! * [`guard`] stands before a router with a list of [`Rule`]s: a route that is not listed is
//!   refused. It knows a browser by its cookie and a program by its token ([`Identity`]), asks of
//!   them what the rule needs ([`Need`]), turns requests of foreign pages away, and notes every
//!   change in the audit trail before it happens, and its outcome after.
//! * [`trusted`] stands before the same router on the socket that only root can open.
//! * [`router`] is what can be asked of this crate over HTTP: log-in, users, tokens, sessions,
//!   the audit trail. Its [`RULES`] belong into the list of the guard.
//!
//! What is kept lies in one database (`store/`), secrets only as hashes: a session's secret is in
//! its cookie, a token's in the program that uses it. Sessions end when idle and when old; each
//! step of a log-in makes a new one, so that nobody can be given one beforehand. Failures are
//! counted by name and address (`store/failures.rs`); root of the machine is never locked out.

mod access;
mod api;
mod clock;
mod enter;
mod error;
mod guard;
mod identity;
mod password;
mod role;
mod second_factor;
mod secret;
mod store;
mod trail;

pub use access::{Access, Settings};
pub use api::*;
pub use clock::Clock;
pub use error::{AccessError, Reason, Refusal, Refused};
pub use guard::{BACKGROUND, COOKIE, OPERATOR, Record, guard, trusted};
pub use identity::Identity;
pub use role::{Need, PREFIX, RULES, Role, Rule, SCOPES};
pub use trail::{EntryKind, Fault, Head, Verdict};
