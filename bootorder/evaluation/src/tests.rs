//! The generator against its own promises.

use std::path::Path;

use lifeboat_bootorder::read_directory;
use proptest::prelude::*;

use crate::failures::failure;
use crate::history::Log;
use crate::makespan::recover;
use crate::messages::Cause;
use crate::methods::{Case, Method, ask};
use crate::metrics::{closure, score};
use crate::parameters::Parameters;
use crate::truth::Truth;
use crate::write_site::{Request, generate};
use crate::{journal, simulate, topology};

fn parameters() -> Parameters {
    Parameters::frozen().expect("the parameters")
}

fn request(seed: u64, machines: usize) -> Request {
    Request {
        seed,
        machines: Some(machines),
        boots: 2,
        padding: 0,
    }
}

/// Whether journals can be written here; says so loudly when not.
fn can_write() -> bool {
    let can = journal::writer().is_some();
    if !can {
        eprintln!("SKIPPED: systemd-journal-remote is not installed");
    }
    can
}

fn fingerprint(log: &Log) -> Vec<String> {
    log.records
        .iter()
        .map(|r| format!("{} {:.6} {} {}", r.boot, r.wall, r.tag, r.text))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn the_truth_has_no_cycle(seed in 0_u64..1_000_000, machines in 5_usize..80) {
        let truth = Truth::of(&topology::build(seed, machines, &parameters()));
        let all = closure(&truth.machines.keys().cloned().collect());
        for (before, after) in &all {
            prop_assert!(!all.contains(&(after.clone(), before.clone())), "{before} and {after}");
        }
    }

    #[test]
    fn a_seed_makes_one_site(seed in 0_u64..1_000_000) {
        let p = parameters();
        let site = topology::build(seed, 12, &p);
        let (one, two) = (simulate::simulate(&site, 2, seed, &p).logs, simulate::simulate(&site, 2, seed, &p).logs);
        for (one, two) in one.iter().zip(&two) {
            prop_assert_eq!(fingerprint(one), fingerprint(two));
        }
    }

    #[test]
    fn names_and_addresses_are_unique(seed in 0_u64..1_000_000, machines in 5_usize..300) {
        let site = topology::build(seed, machines, &parameters());
        let mut names: Vec<_> = site.machines.iter().map(|m| m.name.clone()).collect();
        let mut addresses: Vec<_> = site.machines.iter().map(|m| m.address.clone()).collect();
        names.sort();
        names.dedup();
        addresses.sort();
        addresses.dedup();
        prop_assert_eq!((names.len(), addresses.len()), (site.machines.len(), site.machines.len()));
    }

    #[test]
    fn the_truth_leaves_nobody_to_restart(seed in 0_u64..1_000_000) {
        let p = parameters();
        let site = topology::build(seed, 20, &p);
        let truth = Truth::of(&site);
        let mut after = std::collections::BTreeMap::<String, Vec<String>>::new();
        for (before, later) in truth.machines.keys() {
            after.entry(later.clone()).or_default().push(before.clone());
        }
        prop_assert_eq!(recover(&site, &after, &p).fallen, 0);
    }
}

/// A careful operator sees no failure over a server that was not there.
#[test]
fn failures_are_written_only_when_something_is_missing() {
    let mut p = parameters();
    p.staging.operator = 1.0;
    p.staging.operator_slips = 0.0;
    p.noise.false_evidence = 0.0;
    for seed in 0..20 {
        let site = topology::build(seed, 15, &p);
        let logs = simulate::simulate(&site, 2, seed, &p).logs;
        for need in site.needs.iter().filter(|need| !need.peer) {
            let wanted: Vec<String> = [Cause::Refused, Cause::Unreachable, Cause::TimedOut]
                .into_iter()
                .flat_map(|cause| failure(&site, need, cause, 0))
                .map(|said| said.text)
                .filter(|text| text.contains(&site.written(need)))
                .collect();
            let said = logs[need.client.0]
                .records
                .iter()
                .find(|record| wanted.contains(&record.text));
            assert!(said.is_none(), "seed {seed}: {said:?}");
        }
    }
}

/// When all start at once, programs that need a slow server say so.
#[test]
fn a_power_failure_leaves_failures() {
    let mut p = parameters();
    p.staging.operator = 0.0;
    p.staging.power = 1.0;
    let site = topology::build(3, 25, &p);
    let logs = simulate::simulate(&site, 1, 3, &p).logs;
    let failed = logs
        .iter()
        .flat_map(|log| &log.records)
        .filter(|r| r.text.contains("refused") || r.text.contains("No route"));
    assert!(failed.count() > 5);
}

#[test]
fn a_written_site_is_read_back() {
    if !can_write() {
        return;
    }
    let folder = tempfile::tempdir().expect("a directory");
    let written = generate(&request(5, 12), folder.path(), &parameters()).expect("a site");
    let folders = read_directory(folder.path()).expect("machines");
    assert_eq!(folders.len(), written.site.machines.len());
    for (number, machine) in written.site.machines.iter().enumerate() {
        let found = folders
            .iter()
            .find(|folder| folder.name == machine.name)
            .expect("the machine");
        let known = found
            .addresses
            .iter()
            .any(|address| address.to_string() == machine.address);
        assert!(
            known || machine.dynamic,
            "{}: {:?}",
            machine.name,
            found.addresses
        );
        assert!(log_bytes(&found.folder) > 0, "machine {number} has no logs");
    }
}

fn log_bytes(folder: &Path) -> u64 {
    let mut waiting = vec![folder.join("var/log")];
    let mut bytes = 0;
    while let Some(directory) = waiting.pop() {
        for entry in std::fs::read_dir(directory).expect("a directory").flatten() {
            match entry.path().is_dir() {
                true => waiting.push(entry.path()),
                false => bytes += entry.metadata().expect("metadata").len(),
            }
        }
    }
    bytes
}

#[test]
fn the_truth_scores_full_marks() {
    if !can_write() {
        return;
    }
    let folder = tempfile::tempdir().expect("a directory");
    let p = parameters();
    let written = generate(&request(8, 9), folder.path(), &p).expect("a site");
    let folders = read_directory(folder.path()).expect("machines");
    let truth = Truth::of(&written.site);
    let case = Case {
        folders: &folders,
        truth: &truth,
        starts: &written.starts,
    };
    let perfect = score(&ask(Method::Oracle, &case), &truth);
    assert_eq!((perfect.direct.f1(), perfect.validity()), (1.0, 1.0));
    let idle = score(&ask(Method::AllAtOnce, &case), &truth);
    assert_eq!((idle.direct.recall(), idle.validity()), (0.0, 0.0));
}
