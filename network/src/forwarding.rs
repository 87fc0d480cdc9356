//! Where a frame goes inside its network: learning Ethernet addresses, as a switch does.
//!
//! Pure: a table and a function. Nothing here knows rings, sockets or time.

use std::collections::HashMap;

use crate::config::Topology;
use crate::frame;
use crate::mac::MacAddr;

/// Learned addresses a port may hold; guests with containers have some, a flooder has no more.
const LEARNED_PER_PORT: usize = 128;

/// What to do with a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Give it to this port.
    Port(usize),
    /// Give it to every other port of the network and to the switch's own endpoint.
    Flood,
    /// Give it to every other port of the network: nobody knows the address.
    FloodUnknown,
    /// It is for the switch's own endpoint.
    Endpoint,
    /// Forget it.
    Drop(Refusal),
}

/// Why a frame is forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Shorter than an Ethernet header, or from a group address.
    Malformed,
    /// Claims to come from the switch's own endpoint.
    Spoofed,
    /// Its destination is where it came from.
    Hairpin,
}

/// The forwarding tables of all networks.
#[derive(Debug)]
pub struct Forwarding {
    ports: Vec<PortEntry>,
    networks: Vec<NetworkEntry>,
}

#[derive(Debug)]
struct PortEntry {
    machine: String,
    network: usize,
    learned: usize,
}

#[derive(Debug)]
struct NetworkEntry {
    endpoint: MacAddr,
    ports: Vec<usize>,
    configured: HashMap<MacAddr, usize>,
    learned: HashMap<MacAddr, usize>,
}

impl Forwarding {
    /// Tables that know the cards of the site and nothing else.
    #[must_use]
    pub fn new(topology: &Topology) -> Self {
        let ports = topology.ports.iter();
        let ports = ports.map(|port| PortEntry {
            machine: port.machine.clone(),
            network: port.network,
            learned: 0,
        });
        let networks = topology
            .networks
            .iter()
            .enumerate()
            .map(|(index, network)| {
                let members = topology
                    .ports
                    .iter()
                    .enumerate()
                    .filter(|(_, port)| port.network == index);
                NetworkEntry {
                    endpoint: network.mac,
                    ports: members.clone().map(|(port, _)| port).collect(),
                    configured: members.map(|(index, port)| (port.mac, index)).collect(),
                    learned: HashMap::new(),
                }
            });
        Self {
            ports: ports.collect(),
            networks: networks.collect(),
        }
    }

    /// Learns from a frame that came in at `port` and says where it goes.
    pub fn ingress(&mut self, port: usize, frame: &[u8]) -> Verdict {
        let (Some(to), Some(from)) = (frame::destination(frame), frame::source(frame)) else {
            return Verdict::Drop(Refusal::Malformed);
        };
        if !from.is_unicast() || frame.len() < frame::ETHERNET_HEADER {
            return Verdict::Drop(Refusal::Malformed);
        }
        let Some(network) = self.ports.get(port).map(|entry| entry.network) else {
            return Verdict::Drop(Refusal::Malformed);
        };
        if from == self.networks[network].endpoint {
            return Verdict::Drop(Refusal::Spoofed);
        }
        self.learn(port, network, from);
        match self.lookup(network, to) {
            Verdict::Port(destination) if destination == port => Verdict::Drop(Refusal::Hairpin),
            verdict => verdict,
        }
    }

    /// Where a frame to `to` goes that the switch itself sends into `network`.
    #[must_use]
    pub fn lookup(&self, network: usize, to: MacAddr) -> Verdict {
        let entry = &self.networks[network];
        if to.is_multicast() {
            return Verdict::Flood;
        }
        if to == entry.endpoint {
            return Verdict::Endpoint;
        }
        match entry.learned.get(&to).or_else(|| entry.configured.get(&to)) {
            Some(port) => Verdict::Port(*port),
            None => Verdict::FloodUnknown,
        }
    }

    /// The ports of a network.
    #[must_use]
    pub fn members(&self, network: usize) -> &[usize] {
        &self.networks[network].ports
    }

    /// The addresses learned at a port beyond the card's own.
    #[must_use]
    pub fn learned(&self, port: usize) -> Vec<MacAddr> {
        let Some(entry) = self.ports.get(port) else {
            return Vec::new();
        };
        let table = &self.networks[entry.network].learned;
        let mut macs: Vec<MacAddr> = table
            .iter()
            .filter(|(_, at)| **at == port)
            .map(|(mac, _)| *mac)
            .collect();
        macs.sort();
        macs
    }

    /// A card of the site is learned only behind its own machine (two cards of one machine may
    /// share an address when bonded); other addresses are learned wherever they appear.
    fn learn(&mut self, port: usize, network: usize, from: MacAddr) {
        let entry = &mut self.networks[network];
        if entry.learned.get(&from) == Some(&port) {
            return;
        }
        if let Some(owner) = entry.configured.get(&from)
            && self.ports[*owner].machine != self.ports[port].machine
        {
            return;
        }
        if self.ports[port].learned >= LEARNED_PER_PORT {
            return;
        }
        if let Some(before) = entry.learned.insert(from, port) {
            self.ports[before].learned -= 1;
        }
        self.ports[port].learned += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Network, Port};
    use crate::frame::ethernet;
    use proptest::prelude::*;

    fn topology() -> Topology {
        let network = |index: u8| Network {
            name: format!("n{index}"),
            cidr: format!("10.{index}.0.0/24").parse().unwrap(),
            endpoint: [10, index, 0, 1].into(),
            mac: gateway(index),
            routed: true,
        };
        let port = |index: u8, network: usize| Port {
            id: format!("p{index}"),
            machine: format!("m{index}"),
            network,
            mac: card(index),
            address: None,
        };
        Topology {
            networks: vec![network(0), network(1)],
            ports: vec![port(0, 0), port(1, 0), port(2, 0), port(3, 1), port(4, 1)],
        }
    }

    fn card(index: u8) -> MacAddr {
        MacAddr([0x52, 0x54, 0, 0, 0, index])
    }

    fn gateway(index: u8) -> MacAddr {
        MacAddr([2, 0, 0, 0, 0, index])
    }

    fn frame(to: MacAddr, from: MacAddr) -> Vec<u8> {
        ethernet(to, from, 0x0800, &[])
    }

    #[test]
    fn cards_are_known_before_they_speak() {
        let mut table = Forwarding::new(&topology());
        assert_eq!(table.ingress(0, &frame(card(1), card(0))), Verdict::Port(1));
        assert_eq!(
            table.ingress(0, &frame(card(3), card(0))),
            Verdict::FloodUnknown
        );
        assert_eq!(
            table.ingress(0, &frame(MacAddr::BROADCAST, card(0))),
            Verdict::Flood
        );
        assert_eq!(
            table.ingress(0, &frame(gateway(0), card(0))),
            Verdict::Endpoint
        );
    }

    #[test]
    fn other_addresses_are_learned_and_move() {
        let mut table = Forwarding::new(&topology());
        let container = MacAddr([6, 0, 0, 0, 0, 1]);
        assert_eq!(
            table.ingress(1, &frame(container, card(1))),
            Verdict::FloodUnknown
        );
        table.ingress(0, &frame(card(1), container));
        assert_eq!(
            table.ingress(1, &frame(container, card(1))),
            Verdict::Port(0)
        );
        table.ingress(2, &frame(card(1), container));
        assert_eq!(
            table.ingress(1, &frame(container, card(1))),
            Verdict::Port(2)
        );
        assert_eq!(table.learned(0), vec![]);
    }

    #[test]
    fn nobody_takes_a_card_or_the_gateway_over() {
        let mut table = Forwarding::new(&topology());
        assert_eq!(table.ingress(2, &frame(card(1), card(0))), Verdict::Port(1));
        assert_eq!(table.ingress(1, &frame(card(0), card(1))), Verdict::Port(0));
        assert_eq!(
            table.ingress(2, &frame(card(1), gateway(0))),
            Verdict::Drop(Refusal::Spoofed)
        );
        assert_eq!(
            table.ingress(1, &frame(gateway(0), card(1))),
            Verdict::Endpoint
        );
    }

    proptest! {
        #[test]
        fn no_port_sees_another_network(frames in proptest::collection::vec((0usize..5, 0u8..12, 0u8..12), 0..300)) {
            let mut table = Forwarding::new(&topology());
            let mac = |index: u8| if index > 9 { gateway(index - 10) } else { card(index) };
            for (port, to, from) in frames {
                if let Verdict::Port(destination) = table.ingress(port, &frame(mac(to), mac(from))) {
                    prop_assert_eq!(topology().ports[destination].network, topology().ports[port].network);
                    prop_assert_ne!(destination, port);
                }
            }
        }

        #[test]
        fn tables_are_bounded(macs in proptest::collection::vec(any::<[u8; 6]>(), 0..2000)) {
            let mut table = Forwarding::new(&topology());
            for mac in macs {
                table.ingress(0, &frame(card(1), MacAddr(mac)));
            }
            prop_assert!(table.learned(0).len() <= LEARNED_PER_PORT);
        }

        #[test]
        fn hostile_frames_never_panic(port in 0usize..8, frame: Vec<u8>) {
            let _ = Forwarding::new(&topology()).ingress(port, &frame);
        }
    }
}
