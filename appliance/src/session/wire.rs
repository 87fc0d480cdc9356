//! What the switch saw of a session. A switch that is started again counts from
//! nothing, so what its forerunner had seen at the last look is kept here.

use std::collections::BTreeMap;

use lifeboat_network::SwitchStatus;
use lifeboat_network::unanswered::Unanswered;

use crate::report::{IsolationLine, NetworkReport, UnansweredLine};

type Asked = (String, std::net::Ipv4Addr, String, Option<u16>);

#[derive(Debug, Default)]
struct Seen {
    frames: u64,
    dropped: u64,
    unanswered: BTreeMap<Asked, u64>,
}

impl Seen {
    fn add(&mut self, other: &Self) {
        self.frames += other.frames;
        self.dropped += other.dropped;
        for (asked, count) in &other.unanswered {
            *self.unanswered.entry(asked.clone()).or_default() += count;
        }
    }
}

/// The sum over all switch processes of a session.
#[derive(Debug, Default)]
pub struct Wire {
    /// What processes saw that have ended.
    ended: Seen,
    /// What the present one saw at the last look, and its process id.
    present: Seen,
    pid: u32,
}

impl Wire {
    /// Notes what a switch says.
    pub fn note(&mut self, status: &SwitchStatus, unanswered: Vec<Unanswered>) {
        let seen = Seen {
            frames: status.frames,
            dropped: status.dropped,
            unanswered: unanswered.into_iter().map(asked).collect(),
        };
        let before = std::mem::replace(&mut self.present, seen);
        if self.pid != status.pid {
            self.ended.add(&before);
            self.pid = status.pid;
        }
    }

    /// All of it, for the report.
    pub fn report(&self) -> NetworkReport {
        let mut all = Seen::default();
        all.add(&self.ended);
        all.add(&self.present);
        NetworkReport {
            frames: all.frames,
            dropped: all.dropped,
            uplink_frames: 0,
            unanswered: all.unanswered.into_iter().map(line).collect(),
            isolation: IsolationLine::default(),
        }
    }
}

fn asked(one: Unanswered) -> (Asked, u64) {
    ((one.from, one.to, one.protocol, one.port), one.count)
}

fn line(((from, to, protocol, port), count): (Asked, u64)) -> UnansweredLine {
    UnansweredLine {
        from,
        to: to.to_string(),
        protocol,
        port,
        count,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(pid: u32, frames: u64) -> SwitchStatus {
        SwitchStatus {
            session: "s".into(),
            pid,
            uptime_ms: 1.0,
            frames,
            bytes: 0,
            dropped: 1,
            unanswered_overflow: 0,
            host_interfaces: Vec::new(),
            networks: Vec::new(),
            ports: Vec::new(),
        }
    }

    fn asked_for(count: u64) -> Vec<Unanswered> {
        vec![Unanswered {
            from: "web1".into(),
            to: "10.9.0.9".parse().unwrap(),
            protocol: "tcp".into(),
            port: Some(389),
            count,
        }]
    }

    #[test]
    fn a_restart_of_the_switch_loses_nothing_that_was_seen() {
        let mut wire = Wire::default();
        wire.note(&status(7, 10), asked_for(1));
        wire.note(&status(7, 20), asked_for(3));
        wire.note(&status(8, 5), asked_for(2));
        let report = wire.report();
        assert_eq!((report.frames, report.dropped), (25, 2));
        assert_eq!(report.unanswered.len(), 1);
        assert_eq!(report.unanswered[0].count, 5);
    }
}
