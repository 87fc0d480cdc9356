//! How long a plan takes when the true dependencies act.

use std::collections::BTreeMap;

use crate::model::{Handling, Site};
use crate::parameters::Parameters;

/// A gate that waits for ever is given up after so long.
const GATE_TIMEOUT_S: f64 = 600.0;

/// How a recovery by a plan goes.
#[derive(Debug, Clone, Copy)]
pub struct Recovery {
    /// Seconds from the first start until the last program is ready.
    pub makespan_s: f64,
    /// Programs that failed hard and needed an operator.
    pub fallen: usize,
}

/// Starts the machines by a plan.
pub fn recover(site: &Site, after: &BTreeMap<String, Vec<String>>, p: &Parameters) -> Recovery {
    let index: BTreeMap<&str, usize> = site
        .machines
        .iter()
        .enumerate()
        .map(|(i, m)| (m.name.as_str(), i))
        .collect();
    let waits: Vec<Vec<usize>> = site
        .machines
        .iter()
        .map(|machine| {
            let names = after.get(&machine.name).into_iter().flatten();
            names
                .filter_map(|name| index.get(name.as_str()).copied())
                .collect()
        })
        .collect();
    let count = site.machines.len();
    let mut run = Run {
        site,
        p,
        start: vec![None; count],
        ready: site
            .machines
            .iter()
            .map(|m| vec![None; m.programs.len()])
            .collect(),
        fallen: 0,
    };
    while !run.is_done() {
        if !run.advance(&waits) {
            run.give_up();
        }
    }
    Recovery {
        makespan_s: run.latest(),
        fallen: run.fallen,
    }
}

struct Run<'a> {
    site: &'a Site,
    p: &'a Parameters,
    start: Vec<Option<f64>>,
    ready: Vec<Vec<Option<f64>>>,
    fallen: usize,
}

impl Run<'_> {
    fn is_done(&self) -> bool {
        self.ready.iter().flatten().all(Option::is_some)
    }

    fn latest(&self) -> f64 {
        self.ready
            .iter()
            .flatten()
            .flatten()
            .chain(self.start.iter().flatten())
            .fold(0.0, |a: f64, b| a.max(*b))
    }

    /// When a whole machine is ready.
    fn machine_ready(&self, machine: usize) -> Option<f64> {
        self.ready[machine]
            .iter()
            .try_fold(0.0_f64, |latest, ready| {
                ready.map(|ready| latest.max(ready))
            })
    }

    fn advance(&mut self, waits: &[Vec<usize>]) -> bool {
        let mut moved = false;
        for (machine, waits) in waits.iter().enumerate() {
            if self.start[machine].is_none() {
                let gates = waits.iter().map(|before| self.machine_ready(*before));
                self.start[machine] = gates.into_iter().try_fold(0.0_f64, |latest, ready| {
                    ready.map(|ready| latest.max(ready))
                });
                moved |= self.start[machine].is_some();
            }
            for program in 0..self.site.machines[machine].programs.len() {
                moved |= self.advance_program(machine, program);
            }
        }
        moved
    }

    fn advance_program(&mut self, machine: usize, program: usize) -> bool {
        if self.ready[machine][program].is_some() {
            return false;
        }
        let Some((ready, fell)) = self.program_ready((machine, program)) else {
            return false;
        };
        self.ready[machine][program] = Some(ready);
        self.fallen += usize::from(fell);
        true
    }

    fn program_ready(&self, place: (usize, usize)) -> Option<(f64, bool)> {
        let machine = &self.site.machines[place.0];
        let mut fell = false;
        let mut time = self.start[place.0]? + machine.firmware_s + machine.kernel_s;
        for need in self.site.needs_of(place).filter(|need| !need.peer) {
            let penalty = match need.handling {
                Handling::Background(_) => continue,
                Handling::Waits(_) | Handling::Restarts(_) => self.p.makespan.retry_s,
                Handling::StaysDown => self.p.makespan.fallen_s,
            };
            let server = self.ready[need.server.0][need.server.1]?;
            if server > time {
                time = server + penalty;
                fell |= need.handling == Handling::StaysDown;
            }
        }
        Some((time + machine.programs[place.1].start_s, fell))
    }

    /// Plan and truth wait for each other: the next gate times out.
    fn give_up(&mut self) {
        let at = self.latest() + GATE_TIMEOUT_S;
        if let Some(start) = self.start.iter_mut().find(|start| start.is_none()) {
            *start = Some(at);
        } else {
            let stuck = self
                .ready
                .iter_mut()
                .flatten()
                .find(|ready| ready.is_none());
            if let Some(ready) = stuck {
                *ready = Some(at);
            }
        }
    }
}
