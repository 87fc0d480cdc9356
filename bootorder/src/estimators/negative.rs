//! Negative evidence: the later machine became ready without error while the earlier one was down.

use crate::classify::What;
use crate::event::{Boot, History};
use crate::order::Evidence;
use crate::site::Site;

/// Failures this long after the end of a boot still belong to it.
const SETTLED_US: u64 = 300_000_000;

/// A reason to doubt that `after` fails without `before`.
pub(crate) struct Doubt {
    pub evidence: Evidence,
}

/// Boots of `after` that went well without `before`.
pub(crate) fn doubts(site: &Site, before: usize, after: usize) -> Vec<Doubt> {
    let missing = &site.machines[before].history;
    let boots = site.machines[after].history.boots.iter();
    boots
        .filter_map(|boot| {
            let done = boot
                .events
                .iter()
                .find(|event| event.what == What::BootDone)?;
            let unsure = boot.uncertainty_s();
            let window = (
                boot.start_s() - unsure,
                boot.wall_s(done.monotonic_us) + unsure,
            );
            if has_errors(boot, done.monotonic_us) || !was_down(missing, window) {
                return None;
            }
            let remark = format!(
                "ready without {}, which was down",
                site.machines[before].name
            );
            Some(Doubt {
                evidence: site.event_evidence(after, done, &remark),
            })
        })
        .collect()
}

fn has_errors(boot: &Boot, until_us: u64) -> bool {
    boot.events
        .iter()
        .filter(|event| event.monotonic_us <= until_us + SETTLED_US)
        .any(|event| matches!(event.what, What::Failure(_) | What::UnitFailed))
}

/// Down during the whole window, with a margin for clocks, and known to be so: its logs reach over it.
fn was_down(history: &History, (from, to): (f64, f64)) -> bool {
    const MARGIN_S: f64 = 30.0;
    let (Some(first), Some(last)) = (history.boots.first(), history.boots.last()) else {
        return false;
    };
    let known = first.start_s() < from && to < last.end_s();
    known
        && history.boots.iter().all(|b| {
            let margin = MARGIN_S + b.uncertainty_s();
            b.end_s() + margin < from || to + margin < b.start_s()
        })
}
