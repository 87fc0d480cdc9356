//! Waiting for conditions: every wait has a name and an end.

use std::time::{Duration, Instant};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// Looks until `look` finds something; fails, naming `what`, after `limit`.
#[track_caller]
pub fn eventually<T>(what: &str, limit: Duration, look: impl FnMut() -> Option<T>) -> T {
    soon(limit, look).unwrap_or_else(|| panic!("waited {} s in vain: {what}", limit.as_secs()))
}

/// Looks until `look` finds something or `limit` passes.
pub fn soon<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if Instant::now() >= deadline {
            return None;
        }
        std::thread::sleep(LOOK);
    }
}
