//! Boots a site again and again: who is ready when, who fails over whom.

use std::collections::BTreeSet;

use fastrand::Rng;

use crate::client_files::by_name;
use crate::failures::failure;
use crate::history::{Boot, Log, between};
use crate::messages::{Cause, Said, outage, success};
use crate::model::{Distribution, Handling, Kind, Link, Need, Site};
use crate::noise;
use crate::parameters::Parameters;
use crate::programs::{Package, package, ready_lines};

/// How the machines of a site come up together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Staging {
    Operator,
    Power,
    Random,
    Single,
}

/// 2023-11-05 in seconds since the epoch.
const BEGIN: f64 = 1_699_142_400.0;
const MANY_ATTEMPTS: usize = 40;

/// Simulates so many boots of the site and returns the log of each machine.
pub fn simulate(site: &Site, boots: usize, seed: u64, p: &Parameters) -> Simulated {
    let mut rng = Rng::with_seed(seed ^ 0x9e37_79b9_7f4a_7c15);
    let machines = site.machines.len();
    let mut logs: Vec<Log> = (0..machines).map(|_| Log::default()).collect();
    let skews: Vec<f64> = (0..machines).map(|_| skew(&mut rng, p)).collect();
    for (index, log) in logs.iter_mut().enumerate() {
        log.own_file = own_files(site, index, &mut rng, p);
    }
    let mut world = World {
        site,
        p,
        rng,
        logs,
        skews,
        power: vec![0.0; machines],
        ready: site
            .machines
            .iter()
            .map(|m| vec![0.0; m.programs.len()])
            .collect(),
        down: vec![0.0; machines],
        base: BEGIN,
        traced: BTreeSet::new(),
    };
    for number in 0..boots {
        world.episode(number, boots);
    }
    world.close();
    Simulated {
        logs: world.logs,
        traced: world.traced,
    }
}

fn skew(rng: &mut Rng, p: &Parameters) -> f64 {
    if rng.f64() >= p.clock.skewed {
        return between(rng, -0.05, 0.05);
    }
    let size = match rng.f64() < p.clock.seconds {
        true => between(rng, 1.0, 90.0),
        false => between(rng, 300.0, 10_800.0),
    };
    if rng.bool() { size } else { -size }
}

fn own_files(site: &Site, index: usize, rng: &mut Rng, p: &Parameters) -> Vec<String> {
    let machine = &site.machines[index];
    let able = |kind: Kind| {
        matches!(
            kind,
            Kind::Postgres
                | Kind::Mariadb
                | Kind::Nginx
                | Kind::PhpSite
                | Kind::Zabbix
                | Kind::JavaApp
                | Kind::Redis
        )
    };
    let programs = machine.programs.iter().filter(|program| able(program.kind));
    programs
        .filter(|_| rng.f64() < p.traces.own_file)
        .map(|program| package(program, machine.distribution).tag)
        .collect()
}

/// What a site wrote.
pub struct Simulated {
    pub logs: Vec<Log>,
    /// Machine pairs (server, client) whose need left a line.
    pub traced: BTreeSet<(usize, usize)>,
}

struct World<'a> {
    site: &'a Site,
    p: &'a Parameters,
    rng: Rng,
    logs: Vec<Log>,
    skews: Vec<f64>,
    power: Vec<f64>,
    /// When each program of each machine became ready last.
    ready: Vec<Vec<f64>>,
    /// When each machine went down last.
    down: Vec<f64>,
    base: f64,
    traced: BTreeSet<(usize, usize)>,
}

impl World<'_> {
    fn between(&mut self, least: f64, most: f64) -> f64 {
        between(&mut self.rng, least, most)
    }

    fn staging(&mut self, number: usize) -> Staging {
        let share = self.rng.f64();
        let s = &self.p.staging;
        if share < s.operator {
            Staging::Operator
        } else if share < s.operator + s.power {
            Staging::Power
        } else if share < s.operator + s.power + s.random || number == 0 {
            Staging::Random
        } else {
            Staging::Single
        }
    }

    fn episode(&mut self, number: usize, boots: usize) {
        let staging = self.staging(number);
        // Nobody keeps years of logs: many boots are closer together.
        let most = if boots > 5 { 12.0 } else { 40.0 };
        self.base += self.between(2.0, most) * 86_400.0;
        match staging {
            Staging::Single => self.singles(),
            _ => self.together(staging),
        }
        let latest = self
            .ready
            .iter()
            .flatten()
            .fold(self.base, |a, b| a.max(*b));
        self.base = latest;
    }

    /// The whole site was down and comes up.
    fn together(&mut self, staging: Staging) {
        let order = self.random_sequence();
        for machine in 0..self.site.machines.len() {
            let before = match staging {
                Staging::Power => self.base,
                _ => self.base + self.between(0.0, 300.0),
            };
            self.shut_down(machine, before, staging != Staging::Power);
        }
        let up = self.base + self.between(400.0, 3600.0);
        let mut last = up;
        for machine in order {
            let at = match staging {
                Staging::Power => up + self.between(0.0, 8.0),
                Staging::Random => up + self.between(0.0, 2400.0),
                _ => self.operator_time(machine, last),
            };
            last = last.max(at);
            self.boot(machine, at);
        }
        self.look_for_each_other();
    }

    fn operator_time(&mut self, machine: usize, last: f64) -> f64 {
        let slip = self.rng.f64() < self.p.staging.operator_slips;
        let needs = self
            .site
            .needs
            .iter()
            .filter(|n| n.client.0 == machine && !n.peer);
        let servers = needs.map(|n| self.ready[n.server.0][n.server.1]);
        let wanted = servers.fold(0.0_f64, f64::max);
        let pause = self.between(3.0, 45.0);
        match slip {
            true => last + pause,
            false => last.max(wanted) + pause,
        }
    }

    /// A random order in which every machine comes after those it needs.
    fn random_sequence(&mut self) -> Vec<usize> {
        let count = self.site.machines.len();
        let mut open = vec![0_usize; count];
        let mut clients: Vec<Vec<usize>> = vec![Vec::new(); count];
        for need in self.site.needs.iter().filter(|need| !need.peer) {
            open[need.client.0] += 1;
            clients[need.server.0].push(need.client.0);
        }
        let mut free: Vec<usize> = (0..count).filter(|machine| open[*machine] == 0).collect();
        let mut done = Vec::with_capacity(count);
        while !free.is_empty() {
            let next = free.swap_remove(self.rng.usize(..free.len()));
            done.push(next);
            for client in &clients[next] {
                open[*client] -= 1;
                if open[*client] == 0 {
                    free.push(*client);
                }
            }
        }
        done
    }

    /// Each machine reboots alone while the others run.
    fn singles(&mut self) {
        let mut order: Vec<usize> = (0..self.site.machines.len()).collect();
        self.rng.shuffle(&mut order);
        let mut at = self.base;
        for machine in order {
            at += self.between(1200.0, 7200.0);
            let down = at;
            self.shut_down(machine, down, true);
            let pause = self.between(3.0, 10.0);
            self.boot(machine, down + pause);
            self.interrupted(machine, down);
            at = self.ready[machine].iter().fold(at, |a, b| a.max(*b));
        }
    }

    /// The clients of a machine that rebooted notice.
    fn interrupted(&mut self, machine: usize, down: f64) {
        let site = self.site;
        for need in site
            .needs
            .iter()
            .filter(|n| n.server.0 == machine && n.logged)
        {
            if self.rng.f64() < 0.3 || self.logs[need.client.0].boots.is_empty() {
                continue;
            }
            let (lost, back) = outage(site, need);
            let noticed = down + self.between(0.5, 20.0);
            let ready = self.ready[machine][need.server.1];
            if noticed >= ready {
                continue;
            }
            self.say_about(need, noticed, lost);
            let again = ready + self.between(0.2, 12.0);
            self.say_about(need, again, back);
        }
    }

    fn say_about(&mut self, need: &Need, time: f64, lines: Vec<Said>) {
        if !lines.is_empty() {
            self.traced.insert((need.server.0, need.client.0));
        }
        self.say_all(need.client.0, time, lines);
    }

    fn say_all(&mut self, machine: usize, time: f64, lines: Vec<Said>) {
        for (number, said) in lines.into_iter().enumerate() {
            self.logs[machine].say(time + number as f64 * 0.0007, said);
        }
    }

    fn shut_down(&mut self, machine: usize, time: f64, orderly: bool) {
        self.down[machine] = time;
        let Some(boot) = self.logs[machine].boots.last_mut() else {
            return;
        };
        let begin = boot.kernel;
        boot.end = time;
        noise::fill(
            self.site,
            machine,
            &mut self.logs[machine],
            (begin, time),
            &mut self.rng,
            self.p,
        );
        if orderly {
            self.stop_units(machine, time - 8.0);
        }
    }

    fn stop_units(&mut self, machine: usize, time: f64) {
        let log = &mut self.logs[machine];
        log.plain(
            time,
            "systemd-logind",
            "systemd-logind.service",
            "System is rebooting.",
        );
        for (number, program) in self.site.machines[machine]
            .programs
            .iter()
            .enumerate()
            .skip(1)
        {
            let p = package(program, self.site.machines[machine].distribution);
            let shown = shown(&p, self.site.machines[machine].distribution);
            log.stopped(time + 0.5 + number as f64 * 0.3, &p.unit, &shown);
        }
        log.plain(
            time + 6.0,
            "systemd",
            "reboot.target",
            "Reached target reboot.target - System Reboot.",
        );
        log.plain(
            time + 7.0,
            "systemd-journald",
            "systemd-journald.service",
            "Journal stopped",
        );
    }

    fn close(&mut self) {
        let end = self.base + 3600.0 * 5.0;
        for machine in 0..self.site.machines.len() {
            self.shut_down(machine, end, false);
        }
    }

    fn boot(&mut self, machine: usize, power: f64) {
        self.power[machine] = power;
        let firmware = self.site.machines[machine].firmware_s * self.between(0.9, 1.1);
        let kernel = power + firmware;
        let skew = self.skews[machine] * self.between(0.9, 1.1);
        let steps = skew.abs() > 0.5 && self.rng.f64() < self.p.clock.stepped;
        let stepped_after = steps.then(|| self.between(15.0, 70.0));
        self.logs[machine].boots.push(Boot {
            kernel,
            skew,
            stepped_after,
            end: f64::INFINITY,
        });
        noise::boot_lines(
            self.site,
            machine,
            &mut self.logs[machine],
            kernel,
            &mut self.rng,
        );
        if let Some(after) = stepped_after {
            noise::step_lines(
                self.site,
                machine,
                &mut self.logs[machine],
                kernel + after,
                -skew,
            );
        }
        let userspace = kernel + self.site.machines[machine].kernel_s * self.between(0.9, 1.2);
        for program in 0..self.site.machines[machine].programs.len() {
            let offset = self.between(0.2, 3.0);
            self.start_program((machine, program), userspace + offset);
        }
    }

    /// Whether a program serves at that time.
    fn available(&self, server: (usize, usize), time: f64) -> bool {
        let ready = self.ready[server.0][server.1];
        ready > self.down[server.0] && ready <= time
    }

    fn names_work(&self, need: &Need, time: f64) -> bool {
        let machine = &self.site.machines[need.client.0];
        if !by_name(need) || machine.hosts_file {
            return true;
        }
        let own = machine
            .programs
            .iter()
            .any(|p| matches!(p.kind, Kind::Bind | Kind::SambaDc | Kind::Dnsmasq));
        let mut servers = self
            .site
            .needs
            .iter()
            .filter(|n| n.client == (need.client.0, 0) && n.link == Link::Resolver)
            .peekable();
        own || servers.peek().is_none() || servers.any(|n| self.available(n.server, time))
    }

    fn cause(&mut self, need: &Need, time: f64) -> Option<Cause> {
        if !self.names_work(need, time) {
            return Some(Cause::Nameless);
        }
        if self.available(need.server, time) {
            return None;
        }
        let up = self.logs[need.server.0]
            .boots
            .last()
            .is_some_and(|b| b.kernel + 4.0 <= time && b.kernel > self.down[need.server.0]);
        Some(match (up, self.rng.f64() < 0.7) {
            (true, _) => Cause::Refused,
            (false, true) => Cause::Unreachable,
            (false, false) => Cause::TimedOut,
        })
    }

    fn start_program(&mut self, place: (usize, usize), start: f64) {
        let site = self.site;
        let machine = &site.machines[place.0];
        let program = site.program(place);
        let p = package(program, machine.distribution);
        let shown = shown(&p, machine.distribution);
        let simple = matches!(
            program.kind,
            Kind::PythonApp | Kind::NodeApp | Kind::JavaApp | Kind::Gitea | Kind::Runner
        );
        if simple {
            self.logs[place.0].started(start, &p.unit, &shown);
        } else {
            self.logs[place.0].starting(start, &p.unit, &shown);
        }
        let mut time = start + 0.2;
        let mut reached = start;
        let needs: Vec<&Need> = site.needs_of(place).filter(|n| !n.peer).collect();
        for need in needs {
            let settled = self.settle(need, time, &p, &shown);
            match need.handling {
                Handling::Background(_) => {}
                _ => time = settled,
            }
            reached = reached.max(time);
        }
        let ready = time + program.start_s * self.between(0.8, 1.3);
        let realm = site.realm();
        for (number, text) in ready_lines(program.kind, &realm, p.port)
            .into_iter()
            .enumerate()
        {
            let at = ready - 0.05 + number as f64 * 0.002;
            self.logs[place.0].plain(at, &p.tag, &p.unit, text);
        }
        if !simple {
            self.logs[place.0].started(ready, &p.unit, &shown);
        }
        self.ready[place.0][place.1] = ready;
    }

    /// Tries until the server answers; returns when it did.
    fn settle(&mut self, need: &Need, start: f64, p: &Package, shown: &str) -> f64 {
        let mut time = start;
        let mut attempt = 0;
        while let Some(cause) = self.cause(need, time) {
            if need.logged && attempt < MANY_ATTEMPTS {
                let took = match cause {
                    Cause::Refused => 0.002,
                    Cause::Unreachable => 3.05,
                    Cause::TimedOut | Cause::Nameless => 5.0,
                };
                self.say_about(need, time + took, failure(self.site, need, cause, attempt));
                time += took;
            }
            attempt += 1;
            time = self.after_failure(need, time, attempt, p, shown);
        }
        if need.logged || need.link == Link::Lease {
            let lines = success(self.site, need, attempt > 0);
            self.say_about(need, time + 0.05, lines);
        }
        time
    }

    fn after_failure(
        &mut self,
        need: &Need,
        time: f64,
        attempt: usize,
        p: &Package,
        shown: &str,
    ) -> f64 {
        match need.handling {
            Handling::Waits(every) | Handling::Background(every) => {
                // Programs slow down, and so does the log of a long wait.
                let factor = if attempt > 12 { 6.0 } else { 1.0 };
                time + every * factor * self.between(0.9, 1.1)
            }
            Handling::Restarts(every) => {
                let log = &mut self.logs[need.client.0];
                log.exited(time + 0.1, &p.unit);
                log.restarting(time + 0.1 + every, &p.unit, shown, attempt);
                log.started(time + 0.2 + every, &p.unit, shown);
                time + every + 0.4
            }
            Handling::StaysDown => self.wait_for_operator(need, time, p, shown),
        }
    }

    fn wait_for_operator(&mut self, need: &Need, time: f64, p: &Package, shown: &str) -> f64 {
        let mount = matches!(
            need.link,
            Link::NfsMount | Link::CifsMount | Link::IscsiDisk
        );
        if !mount {
            let log = &mut self.logs[need.client.0];
            log.exited(time + 0.1, &p.unit);
            log.failed(time + 0.2, &p.unit, shown);
        }
        let names = self
            .site
            .needs
            .iter()
            .filter(|n| n.client == (need.client.0, 0) && n.link == Link::Resolver);
        let names = names
            .map(|n| self.ready[n.server.0][n.server.1])
            .fold(f64::INFINITY, f64::min);
        let names = if names.is_finite() { names } else { 0.0 };
        let server = self.ready[need.server.0][need.server.1];
        let pause = self.p.handling.operator_s * self.between(0.3, 1.7);
        let back = time.max(server).max(names) + pause;
        if !mount {
            self.logs[need.client.0].starting(back - 0.1, &p.unit, shown);
        }
        back
    }

    /// Peers and those who contact everybody meet whom they meet; nobody waits.
    fn look_for_each_other(&mut self) {
        let site = self.site;
        let peers = site.needs.iter().filter(|need| need.peer);
        for need in peers.chain(&site.contacts).filter(|need| need.logged) {
            let start = match need.link {
                // Checks come round every few minutes, backups once a night.
                Link::Watch => self.ready[need.client.0][need.client.1] + self.between(0.0, 300.0),
                Link::Fetch => {
                    self.ready[need.client.0][need.client.1] + self.between(0.0, 86_400.0)
                }
                _ => self.ready[need.client.0][need.client.1] + 0.5,
            };
            let other = self.ready[need.server.0][need.server.1];
            self.look(need, start, other);
        }
    }

    fn look(&mut self, need: &Need, start: f64, other: f64) {
        let kernel = self.logs[need.server.0]
            .boots
            .last()
            .map_or(0.0, |b| b.kernel);
        let mut time = start;
        let mut attempt = 0;
        while time < other && attempt < 8 {
            let cause = if kernel + 4.0 < time {
                Cause::Refused
            } else {
                Cause::Unreachable
            };
            self.say_about(need, time, failure(self.site, need, cause, attempt));
            attempt += 1;
            time += if need.peer { 10.0 } else { 30.0 };
        }
        if attempt > 0 && !need.peer {
            let back = time.max(other + 1.0);
            self.say_about(need, back, success(self.site, need, true));
        }
    }
}

/// How the manager shows a unit: since version 252 with its name, in RHEL without.
fn shown(p: &Package, distribution: Distribution) -> String {
    match distribution {
        Distribution::Debian => format!("{} - {}", p.unit, p.description),
        Distribution::Rhel => p.description.clone(),
    }
}
