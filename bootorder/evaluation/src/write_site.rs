//! Writes a simulated site as machine folders.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result};
use fastrand::Rng;

use crate::history::{Log, Record};
use crate::model::{Distribution, LogForm, Site};
use crate::parameters::Parameters;
use crate::tree::Tree;
use crate::truth::Pair;
use crate::{client_files, journal, noise, server_files, simulate, stale_files, syslog, topology};

/// A site and where it was written.
pub struct Written {
    pub site: Site,
    pub records: usize,
    /// Start of each machine in each boot by its own clock.
    pub starts: BTreeMap<String, Vec<f64>>,
    /// True machine edges of which a file or a log line tells: nobody can find more.
    pub traced: BTreeSet<Pair>,
}

/// Which site to write.
#[derive(Debug, Clone)]
pub struct Request {
    pub seed: u64,
    /// By the seed, when nobody says.
    pub machines: Option<usize>,
    pub boots: usize,
    /// Further lines without meaning in the log of each machine.
    pub padding: usize,
}

/// Builds, simulates and writes one site below `folder`.
pub fn generate(request: &Request, folder: &Path, p: &Parameters) -> Result<Written> {
    let (seed, boots) = (request.seed, request.boots);
    let machines = request.machines.unwrap_or_else(|| size(seed, p));
    let site = topology::build(seed, machines, p);
    let simulated = simulate::simulate(
        &site,
        boots,
        seed.wrapping_mul(1009).wrapping_add(boots as u64),
        p,
    );
    let mut logs = simulated.logs;
    let traced = traced(&site, &simulated.traced);
    let mut records = 0;
    for (index, log) in logs.iter_mut().enumerate() {
        let mut rng = Rng::with_seed(seed.wrapping_mul(31).wrapping_add(index as u64));
        let target = folder.join(&site.machines[index].name);
        noise::pad(log, request.padding, &mut rng);
        write_tree(&site, index, &target, &mut rng, p)
            .and_then(|()| write_logs(&site, index, log, &target, &mut rng, p))
            .with_context(|| format!("failed to write `{}`", site.machines[index].name))?;
        records += log.records.len();
        // Large sites do not fit into memory otherwise.
        log.records = Vec::new();
    }
    let starts = site.machines.iter().zip(&logs);
    let starts = starts.map(|(machine, log)| {
        let times = log.boots.iter().map(|boot| boot.wall(boot.kernel));
        (machine.name.clone(), times.collect())
    });
    let starts = starts.collect();
    Ok(Written {
        site,
        records,
        starts,
        traced,
    })
}

fn traced(site: &Site, logged: &BTreeSet<(usize, usize)>) -> BTreeSet<Pair> {
    let needs = site.needs.iter().filter(|need| !need.peer);
    needs
        .filter(|need| need.configured || logged.contains(&(need.server.0, need.client.0)))
        .map(|need| {
            let name = |machine: usize| site.machines[machine].name.clone();
            (name(need.server.0), name(need.client.0))
        })
        .collect()
}

/// How many machines a site has when nobody says so.
pub fn size(seed: u64, p: &Parameters) -> usize {
    let mut rng = Rng::with_seed(seed ^ 0x5bd1_e995);
    rng.usize(p.site.machines_least..=p.site.machines_most)
}

fn write_tree(
    site: &Site,
    index: usize,
    folder: &Path,
    rng: &mut Rng,
    p: &Parameters,
) -> Result<()> {
    let mut tree = Tree::default();
    server_files::write(site, index, &mut tree);
    for need in site.needs.iter().filter(|need| need.client.0 == index) {
        client_files::write(site, need, &mut tree);
    }
    stale_files::write_agents(site, index, &mut tree);
    if rng.f64() < p.noise.stale {
        for _ in 0..rng.usize(1..4) {
            stale_files::write_stale(site, index, rng, &mut tree);
        }
    }
    tree.write(folder)?;
    Ok(())
}

fn write_logs(
    site: &Site,
    index: usize,
    log: &Log,
    folder: &Path,
    rng: &mut Rng,
    p: &Parameters,
) -> Result<()> {
    let machine = &site.machines[index];
    let mut all: Vec<&Record> = log.records.iter().collect();
    all.sort_by(|a, b| {
        a.boot
            .cmp(&b.boot)
            .then(a.monotonic.total_cmp(&b.monotonic))
    });
    let (own, mut system): (Vec<&Record>, Vec<&Record>) =
        all.into_iter().partition(|record| record.own_file);
    if rng.f64() < p.traces.lost {
        let lost = system.len() * rng.usize(10..60) / 100;
        system.drain(..lost);
    }
    for tag in &log.own_file {
        let lines: Vec<&Record> = own
            .iter()
            .copied()
            .filter(|record| &record.tag == tag)
            .collect();
        syslog::write_own(folder, tag, &lines)?;
    }
    let debian = machine.distribution == Distribution::Debian;
    if machine.log == LogForm::Journal {
        let id = format!("{:016x}{:016x}", site.seed, index + 1);
        return journal::write(folder, &id, &machine.name, &system);
    }
    let pieces = if rng.f64() < p.traces.rotated {
        rng.usize(2..6)
    } else {
        1
    };
    let name = if debian { "syslog" } else { "messages" };
    syslog::write(folder, name, machine.log, &machine.name, &system, pieces)
}
