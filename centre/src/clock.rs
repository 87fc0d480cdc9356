//! Clocks of the control centre's host.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lifeboat_agent::wire::UnixMillis;
use lifeboat_failover::lease::Moment;
use nix::time::{ClockId, clock_gettime};

/// Now, on the clock that leases are counted by: it also runs while the host sleeps.
pub(crate) fn now() -> Moment {
    match clock_gettime(ClockId::CLOCK_BOOTTIME) {
        Ok(time) => Duration::from(time),
        // The beginning of all time: no lease that was given ever lapses by a clock that cannot
        // be read.
        Err(_) => Duration::ZERO,
    }
}

/// Now, on the wall clock.
pub(crate) fn unix() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

/// Names this boot of the host: moments of another one mean nothing.
pub(crate) fn boot_id() -> String {
    let read = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    read.unwrap_or_default().trim().to_owned()
}

/// A moment for people and names: UTC, to the second.
pub(crate) fn stamp(moment: UnixMillis) -> String {
    let moment = i64::try_from(moment).ok();
    let moment = moment.and_then(|moment| jiff::Timestamp::from_millisecond(moment).ok());
    moment
        .unwrap_or_default()
        .strftime("%Y%m%dT%H%M%SZ")
        .to_string()
}
