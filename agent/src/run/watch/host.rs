//! The host: load, memory, boot.

use super::{Seen, metric, unknown};
use crate::run::clock;
use crate::wire::Metric;

pub(super) fn look() -> Vec<Metric> {
    let mut metrics = vec![one("host.load", load(), |_| true)];
    metrics.push(one(
        "host.memory-available",
        memory("MemAvailable:"),
        |_| true,
    ));
    metrics.push(one("host.memory", memory("MemTotal:"), |_| true));
    metrics.push(one(
        "host.up",
        Some(Seen::new(clock::now().as_secs_f64(), "s")),
        |_| true,
    ));
    metrics
}

fn one(name: &str, seen: Option<Seen>, good: impl Fn(f64) -> bool) -> Metric {
    match seen {
        Some(seen) => metric(name, Ok(seen), good),
        None => unknown(name, "the kernel does not say".to_owned()),
    }
}

fn load() -> Option<Seen> {
    let text = std::fs::read_to_string("/proc/loadavg").ok()?;
    Some(Seen::new(text.split(' ').next()?.parse().ok()?, "1"))
}

fn memory(which: &str) -> Option<Seen> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(which))?;
    let kibibytes: f64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(Seen::new(kibibytes * 1024.0, "bytes"))
}
