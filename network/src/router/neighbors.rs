//! Which Ethernet address belongs to which address of a network, and what waits for an answer.

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;
use std::time::Duration;

use crate::frame::Offload;
use crate::mac::MacAddr;

/// How long an answer is used without asking again.
const FRESH: Duration = Duration::from_secs(300);
/// How long to wait for an answer.
const RETRY: Duration = Duration::from_secs(1);
/// How often to ask.
const TRIES: u8 = 3;
const MAX_KNOWN: usize = 4096;
const MAX_RESOLVING: usize = 256;
const MAX_WAITING: usize = 16;
/// Frames that wait in one network, in bytes.
const MAX_WAITING_BYTES: usize = 2 << 20;
/// A second question for the same address after this time proves that nobody answered the first.
const SILENCE: Duration = Duration::from_millis(500);
/// How long an address counts as absent after it was found so.
const ABSENT: Duration = Duration::from_secs(60);

/// A frame that waits until its next hop is known.
#[derive(Debug, Clone)]
pub struct Waiting {
    /// The port it came in at; `None` when the switch itself sends it.
    pub port: Option<usize>,
    /// The network it came from.
    pub network: usize,
    /// Its offload header.
    pub offload: Offload,
    /// The frame.
    pub frame: Vec<u8>,
}

/// The answer to "where is this address".
#[derive(Debug, PartialEq, Eq)]
pub enum Lookup {
    /// At this card; `refresh` when it is time to ask again.
    Known {
        /// The card.
        mac: MacAddr,
        /// Ask again, without waiting for the answer.
        refresh: bool,
    },
    /// Being asked for already, or not known: queue the frame.
    Unknown,
}

/// What a look at the clock brought.
#[derive(Debug)]
pub enum Due {
    /// Ask for this address again.
    Ask(Ipv4Addr),
    /// Nobody answered: these frames have nowhere to go.
    Failed(Vec<Waiting>),
}

#[derive(Debug)]
struct Known {
    mac: MacAddr,
    fresh_until: Duration,
}

#[derive(Debug)]
struct Resolving {
    asked: u8,
    next: Duration,
    waiting: Vec<Waiting>,
}

#[derive(Debug)]
struct Absence {
    first_asked: Duration,
    until: Option<Duration>,
}

/// The neighbours of the switch's endpoint in one network.
#[derive(Debug, Default)]
pub struct Neighbors {
    machines: HashSet<Ipv4Addr>,
    known: HashMap<Ipv4Addr, Known>,
    resolving: HashMap<Ipv4Addr, Resolving>,
    absent: HashMap<Ipv4Addr, Absence>,
    waiting_bytes: usize,
}

impl Neighbors {
    /// A table for a network with these machines.
    #[must_use]
    pub fn new(machines: impl Iterator<Item = Ipv4Addr>) -> Self {
        Self {
            machines: machines.collect(),
            ..Self::default()
        }
    }

    /// Whether the site says that a machine has this address.
    #[must_use]
    pub fn is_machine(&self, address: Ipv4Addr) -> bool {
        self.machines.contains(&address)
    }

    /// Whether somebody has been seen with this address.
    #[must_use]
    pub fn is_known(&self, address: Ipv4Addr) -> bool {
        self.known.contains_key(&address)
    }

    /// Notes that `mac` has `address`; returns the frames that waited for it.
    pub fn learn(&mut self, now: Duration, address: Ipv4Addr, mac: MacAddr) -> Vec<Waiting> {
        self.absent.remove(&address);
        if self.known.len() >= MAX_KNOWN && !self.known.contains_key(&address) {
            self.known.retain(|_, known| known.fresh_until > now);
        }
        if self.known.len() < MAX_KNOWN || self.known.contains_key(&address) {
            self.known.insert(
                address,
                Known {
                    mac,
                    fresh_until: now + FRESH,
                },
            );
        }
        let waiting = self
            .resolving
            .remove(&address)
            .map(|entry| entry.waiting)
            .unwrap_or_default();
        self.forget_bytes(&waiting);
        waiting
    }

    /// Looks an address up.
    pub fn lookup(&mut self, now: Duration, address: Ipv4Addr) -> Lookup {
        let Some(known) = self.known.get_mut(&address) else {
            return Lookup::Unknown;
        };
        let refresh = known.fresh_until <= now;
        if refresh {
            known.fresh_until = now + RETRY;
        }
        Lookup::Known {
            mac: known.mac,
            refresh,
        }
    }

    /// Lets a frame wait for `address`; true when the address must be asked for now.
    pub fn wait(&mut self, now: Duration, address: Ipv4Addr, waiting: Waiting) -> bool {
        let room = self.waiting_bytes + waiting.frame.len() <= MAX_WAITING_BYTES;
        if let Some(entry) = self.resolving.get_mut(&address) {
            if room && entry.waiting.len() < MAX_WAITING {
                self.waiting_bytes += waiting.frame.len();
                entry.waiting.push(waiting);
            }
            return false;
        }
        if !room || self.resolving.len() >= MAX_RESOLVING {
            return false;
        }
        self.waiting_bytes += waiting.frame.len();
        self.resolving.insert(
            address,
            Resolving {
                asked: 1,
                next: now + RETRY,
                waiting: vec![waiting],
            },
        );
        true
    }

    /// What is due by now.
    pub fn due(&mut self, now: Duration) -> Vec<Due> {
        let late: Vec<Ipv4Addr> = self
            .resolving
            .iter()
            .filter(|(_, entry)| entry.next <= now)
            .map(|(address, _)| *address)
            .collect();
        late.into_iter()
            .filter_map(|address| self.due_for(now, address))
            .collect()
    }

    fn due_for(&mut self, now: Duration, address: Ipv4Addr) -> Option<Due> {
        let entry = self.resolving.get_mut(&address)?;
        if entry.asked < TRIES {
            entry.asked += 1;
            entry.next = now + RETRY;
            return Some(Due::Ask(address));
        }
        let failed = self.resolving.remove(&address)?.waiting;
        self.forget_bytes(&failed);
        Some(Due::Failed(failed))
    }

    /// When to call [`Self::due`] again.
    #[must_use]
    pub fn next_due(&self) -> Option<Duration> {
        self.resolving.values().map(|entry| entry.next).min()
    }

    /// Whether to answer a machine's question for `address` in place of an absent owner. True only
    /// from the second question on, so that an owner the site does not mention can answer first.
    pub fn answer_for_absent(&mut self, now: Duration, address: Ipv4Addr) -> bool {
        if self.is_machine(address) || self.is_known(address) {
            return false;
        }
        if self.absent.len() >= MAX_KNOWN && !self.absent.contains_key(&address) {
            self.absent
                .retain(|_, absence| absence.first_asked + ABSENT > now);
            if self.absent.len() >= MAX_KNOWN {
                return false;
            }
        }
        let absence = self.absent.entry(address).or_insert(Absence {
            first_asked: now,
            until: None,
        });
        let silent = now.saturating_sub(absence.first_asked) >= SILENCE;
        let recently = absence.until.is_some_and(|until| now < until);
        if absence.until.is_some() && !recently {
            *absence = Absence {
                first_asked: now,
                until: None,
            };
            return false;
        }
        if silent || recently {
            absence.until = Some(now + ABSENT);
        }
        silent || recently
    }

    /// Whether `address` was found to belong to nobody.
    #[must_use]
    pub fn is_absent(&self, now: Duration, address: Ipv4Addr) -> bool {
        self.absent
            .get(&address)
            .and_then(|absence| absence.until)
            .is_some_and(|until| now < until)
    }

    fn forget_bytes(&mut self, waiting: &[Waiting]) {
        let bytes: usize = waiting.iter().map(|waiting| waiting.frame.len()).sum();
        self.waiting_bytes = self.waiting_bytes.saturating_sub(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);
    const SECOND: Duration = Duration::from_secs(1);

    fn waiting() -> Waiting {
        Waiting {
            port: Some(0),
            network: 0,
            offload: Offload::default(),
            frame: vec![0; 60],
        }
    }

    #[test]
    fn asks_three_times_then_gives_up() {
        let mut table = Neighbors::default();
        assert!(table.wait(Duration::ZERO, A, waiting()));
        assert!(!table.wait(Duration::ZERO, A, waiting()));
        assert!(table.due(Duration::ZERO).is_empty());
        assert!(matches!(table.due(SECOND)[..], [Due::Ask(A)]));
        assert!(matches!(table.due(SECOND * 2)[..], [Due::Ask(A)]));
        let due = table.due(SECOND * 3);
        assert!(matches!(&due[..], [Due::Failed(frames)] if frames.len() == 2));
        assert_eq!((table.next_due(), table.waiting_bytes), (None, 0));
    }

    #[test]
    fn an_answer_frees_what_waited() {
        let mut table = Neighbors::default();
        table.wait(Duration::ZERO, A, waiting());
        assert_eq!(table.learn(Duration::ZERO, A, MacAddr([2; 6])).len(), 1);
        assert_eq!(
            table.lookup(SECOND, A),
            Lookup::Known {
                mac: MacAddr([2; 6]),
                refresh: false
            }
        );
        assert_eq!(
            table.lookup(SECOND * 400, A),
            Lookup::Known {
                mac: MacAddr([2; 6]),
                refresh: true
            }
        );
    }

    #[test]
    fn an_absent_address_is_answered_on_the_second_question() {
        let mut table = Neighbors::new([Ipv4Addr::new(10, 0, 0, 10)].into_iter());
        assert!(!table.answer_for_absent(Duration::ZERO, A));
        assert!(table.answer_for_absent(SECOND, A));
        assert!(table.answer_for_absent(SECOND, A));
        assert!(table.is_absent(SECOND * 2, A));
        table.learn(SECOND * 2, A, MacAddr([2; 6]));
        assert!(!table.answer_for_absent(SECOND * 3, A));
        assert!(!table.is_absent(SECOND * 3, A));
        let machine = Ipv4Addr::new(10, 0, 0, 10);
        assert!(
            !table.answer_for_absent(SECOND * 3, machine)
                && !table.answer_for_absent(SECOND * 9, machine)
        );
    }

    #[test]
    fn tables_are_bounded() {
        let mut table = Neighbors::default();
        for address in 0..20_000u32 {
            table.learn(Duration::ZERO, (address + 1).into(), MacAddr([2; 6]));
            table.wait(Duration::ZERO, (address + 900_000).into(), waiting());
            table.answer_for_absent(Duration::ZERO, (address + 500_000).into());
        }
        assert!(table.known.len() <= MAX_KNOWN && table.absent.len() <= MAX_KNOWN);
        assert!(table.resolving.len() <= MAX_RESOLVING);
    }
}
