//! What tells that a machine is ready, and how long that took before.

use std::collections::BTreeMap;

use crate::classify::What;
use crate::event::Boot;
use crate::order::LearnedGate;
use crate::services::{self, Service};
use crate::site::{Machine, Site};

/// A service that was not started in so many boots is taken for removed.
const RECENT_BOOTS: usize = 3;
/// A boot that took longer than this was waiting for a person, not for a machine.
const LONGEST_BOOT_S: f64 = 1800.0;

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

/// Median seconds from boot to the last of the served services, else to the end of the boot.
pub(crate) fn ready_delays(site: &Site) -> BTreeMap<String, f64> {
    let mut delays = BTreeMap::new();
    for machine in &site.machines {
        let wanted: Vec<&str> = serving(machine)
            .map(|service| service.key.as_str())
            .collect();
        let mut seconds: Vec<f64> = machine
            .history
            .boots
            .iter()
            .filter_map(|boot| ready_s(boot, &wanted))
            .collect();
        seconds.sort_by(f64::total_cmp);
        if let Some(median) = seconds.get(seconds.len() / 2) {
            delays.insert(machine.name.clone(), *median);
        }
    }
    delays
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
