//! Whom the machines asked for and nobody answered.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::frame::{Ipv4, PROTOCOL_ICMP, PROTOCOL_TCP, PROTOCOL_UDP};

/// More destinations than this are counted together as overflow: a scanner must not fill memory.
const MAX_ENTRIES: usize = 1024;

/// A destination that a machine asked for and that nobody in the site has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unanswered {
    /// The machine that asked.
    pub from: String,
    /// The address it asked for.
    pub to: Ipv4Addr,
    /// `tcp`, `udp`, `icmp`, or the protocol's number.
    pub protocol: String,
    /// The port, where the protocol has ports.
    pub port: Option<u16>,
    /// How many packets.
    pub count: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    from: String,
    to: Ipv4Addr,
    protocol: u8,
    port: Option<u16>,
}

/// The bounded list of unanswered destinations.
#[derive(Debug, Default)]
pub struct UnansweredList {
    entries: BTreeMap<Key, u64>,
    overflow: u64,
}

impl UnansweredList {
    /// Notes a packet of machine `from`.
    pub fn record(&mut self, from: &str, packet: &Ipv4<'_>) {
        let key = Key {
            from: from.to_owned(),
            to: packet.destination(),
            protocol: packet.protocol(),
            port: packet.destination_port(),
        };
        let full = self.entries.len() >= MAX_ENTRIES;
        match self.entries.get_mut(&key) {
            Some(count) => *count += 1,
            None if full => self.overflow += 1,
            None => {
                self.entries.insert(key, 1);
            }
        }
    }

    /// The list, ordered by machine and address.
    #[must_use]
    pub fn list(&self) -> Vec<Unanswered> {
        let entries = self.entries.iter().map(|(key, count)| Unanswered {
            from: key.from.clone(),
            to: key.to,
            protocol: protocol_name(key.protocol),
            port: key.port,
            count: *count,
        });
        entries.collect()
    }

    /// Packets to destinations beyond the bound of the list.
    #[must_use]
    pub fn overflow(&self) -> u64 {
        self.overflow
    }
}

fn protocol_name(protocol: u8) -> String {
    match protocol {
        PROTOCOL_ICMP => "icmp".to_owned(),
        PROTOCOL_TCP => "tcp".to_owned(),
        PROTOCOL_UDP => "udp".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::ipv4;

    #[test]
    fn counts_and_stays_bounded() {
        let mut list = UnansweredList::default();
        let from = Ipv4Addr::new(10, 0, 0, 1);
        for port in 0..2000u16 {
            let [high, low] = port.to_be_bytes();
            let packet = ipv4(
                from,
                Ipv4Addr::new(10, 9, 0, 9),
                PROTOCOL_TCP,
                &[0, 1, high, low],
            );
            let view = Ipv4::parse(&packet).unwrap();
            list.record("web1", &view);
            list.record("web1", &view);
        }
        assert_eq!(list.list().len(), MAX_ENTRIES);
        assert_eq!(list.list()[0].count, 2);
        assert_eq!(list.overflow(), 2 * (2000 - MAX_ENTRIES as u64));
    }
}
