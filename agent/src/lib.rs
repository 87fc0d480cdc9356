//! The agent of a protected machine, and what the control centre has to know of it.
//!
//! | module | what it holds | feature |
//! |---|---|---|
//! | [`wire`] | what agent and control centre say to each other, frames, tokens | - |
//! | [`profile`] | the data file that says how one application is watched and moved | - |
//! | `probe` | log-ins as users do them | `probe` |
//! | `tls` | TLS 1.3 with the appliance's own CA; frames over a connection | `tls` |
//! | `ca` | the control centre's end: CA, joining, renewal, one seat for each host | `centre` |
//! | `names` | the control centre's name servers: signed updates, believed after asking | `centre` |
//! | `run` | the agent itself: link, lease, watchdog, actions, watching | `run` |
//!
//! Nothing is ever executed on a protected machine but the named actions of its own profile.

#[cfg(feature = "centre")]
pub mod ca;
#[cfg(feature = "centre")]
pub mod names;
#[cfg(feature = "probe")]
pub mod probe;
pub mod profile;
#[cfg(feature = "run")]
pub mod run;
#[cfg(feature = "tls")]
pub mod tls;
pub mod wire;
