//! Clocks and the boot id.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lifeboat_failover::lease::Moment;
use nix::time::{ClockId, clock_gettime};

use crate::wire::UnixMillis;

/// Now, on the clock that leases are counted by: it also runs while the host sleeps.
pub(crate) fn now() -> Moment {
    match clock_gettime(ClockId::CLOCK_BOOTTIME) {
        Ok(time) => Duration::from(time),
        // The end of all time: nothing is served by a clock that cannot be read.
        Err(_) => Duration::MAX,
    }
}

/// Now, on the wall clock.
pub(crate) fn unix() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

/// Names this boot of the host.
pub(crate) fn boot_id() -> String {
    let read = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    let id = read.unwrap_or_default().trim().to_owned();
    // Containers share the id of their host and still start anew.
    match std::fs::read_to_string("/proc/1/stat") {
        Ok(stat) => match stat
            .rsplit(')')
            .next()
            .and_then(|rest| rest.split_whitespace().nth(19))
        {
            Some(began) => format!("{id}-{began}"),
            None => id,
        },
        Err(_) => id,
    }
}
