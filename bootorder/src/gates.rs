//! What tells that a machine is ready, and how long that took before.

use std::collections::BTreeMap;

use crate::classify::What;
use crate::event::Boot;
use crate::order::{LearnedGate, Readiness};
use crate::services::{self, Service};
use crate::site::{Machine, Site};

/// A service that was not started in so many boots is taken for removed.
const RECENT_BOOTS: usize = 3;
/// A boot that took longer than this was waiting for a person, not for a machine.
const LONGEST_BOOT_S: f64 = 1800.0;
/// A gate is given at least so long, however quick the machine was.
const LEAST_TIMEOUT_S: u64 = 120;
/// A gate is given so many times the slowest boot seen.
const PATIENCE: f64 = 2.0;
/// Delays kept for the prediction.
const MOST_DELAYS: usize = 100;

/// Ports served before the capture, for each machine that served any.
pub(crate) fn learned_gates(site: &Site) -> BTreeMap<String, Vec<LearnedGate>> {
    let gates = site
        .machines
        .iter()
        .map(|machine| (machine.name.clone(), gates_of(machine)));
    gates.filter(|(_, gates)| !gates.is_empty()).collect()
}

fn gates_of(machine: &Machine) -> Vec<LearnedGate> {
    let mut gates: Vec<LearnedGate> = serving(machine)
        .filter_map(|service| {
            let port = service
                .configured_port(&machine.config)
                .or(service.ports.first().copied())?;
            let evidence = machine.roles.get(&service.key)?.evidence.clone();
            Some(LearnedGate {
                port,
                service: service.name.clone(),
                evidence: vec![evidence],
            })
        })
        .collect();
    gates.sort_by(|a, b| (a.port, &a.service).cmp(&(b.port, &b.service)));
    gates.dedup_by_key(|gate| gate.port);
    gates
}

/// Services that others can reach.
fn serving(machine: &Machine) -> impl Iterator<Item = &'static Service> {
    let keys = machine
        .roles
        .iter()
        .filter(|(_, role)| role.boots_ago < RECENT_BOOTS)
        .map(|(key, _)| key);
    keys.filter_map(|key| services::by_key(key))
        .filter(|service| service.gate && !service.is_local_only(&machine.config))
}

/// Seconds from boot to the last of the served services, else to the end of the boot.
pub(crate) fn readiness(site: &Site) -> BTreeMap<String, Readiness> {
    let of_machine = |machine: &Machine| {
        let wanted: Vec<&str> = serving(machine)
            .map(|service| service.key.as_str())
            .collect();
        let boots = machine.history.boots.iter();
        let delays: Vec<f64> = boots.filter_map(|boot| ready_s(boot, &wanted)).collect();
        Some((machine.name.clone(), summary(delays)?))
    };
    site.machines.iter().filter_map(of_machine).collect()
}

fn summary(mut seconds: Vec<f64>) -> Option<Readiness> {
    let boots = seconds.len();
    seconds.drain(..boots.saturating_sub(MOST_DELAYS));
    seconds.sort_by(f64::total_cmp);
    let middle = |sorted: &[f64]| sorted.get(sorted.len() / 2).copied();
    let median_s = middle(&seconds)?;
    let mut distances: Vec<f64> = seconds.iter().map(|s| (s - median_s).abs()).collect();
    distances.sort_by(f64::total_cmp);
    let slowest_s = seconds.last().copied()?;
    Some(Readiness {
        boots,
        median_s,
        fastest_s: seconds.first().copied()?,
        slowest_s,
        spread_s: middle(&distances)?,
        timeout_s: LEAST_TIMEOUT_S.max((slowest_s * PATIENCE).ceil() as u64),
        seconds,
    })
}

fn ready_s(boot: &Boot, wanted: &[&str]) -> Option<f64> {
    let first_start = |key: &str| {
        let started = boot
            .events
            .iter()
            .filter(|event| event.what == What::Started);
        let mut of_key =
            started.filter(|e| services::by_unit(&e.unit).is_some_and(|s| s.key == key));
        of_key.next().map(|event| event.monotonic_us)
    };
    let served = wanted.iter().filter_map(|key| first_start(key)).max();
    let done = || {
        boot.events
            .iter()
            .find(|e| e.what == What::BootDone)
            .map(|e| e.monotonic_us)
    };
    let seconds = served.or_else(done)? as f64 / 1e6;
    (seconds <= LONGEST_BOOT_S).then_some(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_outs_follow_the_slowest_boot_with_a_floor() {
        let quick = summary(vec![20.0, 30.0, 22.0]).unwrap();
        assert_eq!(
            (quick.median_s, quick.timeout_s, quick.boots),
            (22.0, 120, 3)
        );
        assert_eq!(
            (quick.fastest_s, quick.slowest_s, quick.spread_s),
            (20.0, 30.0, 2.0)
        );
        assert_eq!(summary(vec![400.0, 90.0]).unwrap().timeout_s, 800);
        assert_eq!(summary(vec![]), None);
    }
}
