//! Recovery sessions: one run of a site on this host.
//!
//! ```text
//!            admit            make                    boot                      end
//! request ----------> plan ----------> switch, ------------> all settled ------------> report
//!                      |               overlays                 |    |
//!                      |                                 test   |    |  recovery
//!                      v                                        v    v
//!               session.json on disk                     torn down  kept
//! ```
//!
//! Everything a session needs is decided before it makes anything and written
//! to `session.json`; everything it makes is written to the store before it is
//! made. So the start after a crash can remove all of it ([`recover`]), or, for
//! a recovery, go on where it stood. One task, the [`driver`], owns the state
//! of a running session; machines report to it by events.

mod boot;
pub mod driver;
mod gates;
mod isolation;
pub mod live;
pub mod making;
pub mod plan;
pub mod recover;

pub mod supervise;
mod teardown;
pub mod wire;

pub use plan::SessionPlan;
pub use teardown::{end_session, tear_down};

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A new session id: the time in UTC, to the second, and a few random digits, so
/// that ids sort by time and names made of them are unique.
pub fn new_id() -> String {
    let stamp = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%S").to_string();
    let noise = uuid::Uuid::new_v4().simple().to_string();
    format!("{stamp}-{}", &noise[..6])
}

/// Time since the session began, over restarts of the daemon. Within one life of
/// the daemon a step of the wall clock does not show.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    before: Duration,
    here: Instant,
}

impl Clock {
    /// A clock that began at this Unix time in milliseconds.
    pub fn since(began_ms: u64) -> Self {
        Self {
            before: Duration::from_millis(unix_ms().saturating_sub(began_ms)),
            here: Instant::now(),
        }
    }

    /// Seconds since the session began.
    pub fn elapsed_s(self) -> f64 {
        (self.before + self.here.elapsed()).as_secs_f64()
    }
}

/// The present Unix time in milliseconds.
pub fn unix_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ() {
        assert_ne!(new_id(), new_id());
    }
}
