//! The site's gateways: ARP, ICMP, routing between the site's networks, and the record of whom the
//! machines asked for in vain.
//!
//! Pure: frames and a clock in, frames out. Guests never get anything out of the site here; there
//! is no other way out either, because the process has no interface.

mod neighbors;
mod replies;

use std::net::Ipv4Addr;
use std::time::Duration;

pub use replies::{echo_request, parse_echo_reply};

use crate::config::Topology;
use crate::frame::{
    ETHERNET_HEADER, ETHERTYPE_ARP, ETHERTYPE_IPV4, Ipv4, Offload, PROTOCOL_ICMP, PROTOCOL_TCP,
    PROTOCOL_UDP, destination, ethernet, ethertype, source,
};
use crate::mac::MacAddr;
use crate::unanswered::UnansweredList;
use neighbors::{Due, Lookup, Neighbors, Waiting};
use replies::{Arp, Complaint, Station};

/// From this port on, connections to the endpoint can be answers to its own probes.
pub const FIRST_PROBE_PORT: u16 = 32_768;
/// ICMP errors for each second of the clock, for the whole switch.
const ERRORS_PER_SECOND: u32 = 200;

/// Where a frame came from.
#[derive(Debug, Clone, Copy)]
pub struct Ingress {
    /// Its network.
    pub network: usize,
    /// Its port; `None` for the switch's own canaries.
    pub port: Option<usize>,
}

/// What becomes of the frame that was shown to the router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// It was rewritten in place: send it into this network.
    Forward(usize),
    /// The router dealt with it.
    Consumed,
}

/// What else the router wants to happen.
#[derive(Debug)]
pub enum Output {
    /// Send a frame into a network.
    Frame {
        /// Which network.
        network: usize,
        /// Its offload header.
        offload: Offload,
        /// The frame.
        frame: Vec<u8>,
    },
    /// Give an IP packet to the endpoint's own connections.
    Local {
        /// The network whose endpoint is meant.
        network: usize,
        /// The packet.
        packet: Vec<u8>,
    },
}

/// The router of one switch.
#[derive(Debug)]
pub struct Router {
    networks: Vec<Side>,
    machines: Vec<String>,
    unanswered: UnansweredList,
    errors: RateLimit,
}

#[derive(Debug)]
struct Side {
    cidr: ipnet::Ipv4Net,
    endpoint: Station,
    routed: bool,
    neighbors: Neighbors,
}

enum Destination {
    Endpoint(usize),
    Site(usize),
    Nobody,
    Outside,
}

impl Router {
    /// A router that knows the networks and which addresses have a machine.
    #[must_use]
    pub fn new(topology: &Topology) -> Self {
        let networks = topology
            .networks
            .iter()
            .enumerate()
            .map(|(index, network)| {
                let machines = topology.ports.iter().filter(|port| port.network == index);
                Side {
                    cidr: network.cidr,
                    endpoint: Station {
                        mac: network.mac,
                        address: network.endpoint,
                    },
                    routed: network.routed,
                    neighbors: Neighbors::new(machines.filter_map(|port| port.address)),
                }
            });
        Self {
            networks: networks.collect(),
            machines: topology
                .ports
                .iter()
                .map(|port| port.machine.clone())
                .collect(),
            unanswered: UnansweredList::default(),
            errors: RateLimit::default(),
        }
    }

    /// Whom the machines asked for in vain.
    #[must_use]
    pub fn unanswered(&self) -> &UnansweredList {
        &self.unanswered
    }

    /// Whether somebody at `address` has been heard.
    #[must_use]
    pub fn is_known(&self, network: usize, address: Ipv4Addr) -> bool {
        self.networks[network].neighbors.is_known(address)
    }

    /// Looks at an ARP frame, wherever it goes, to learn who has which address and to answer for
    /// the endpoint and for addresses that belong to nobody.
    pub fn arp(&mut self, now: Duration, network: usize, frame: &[u8], out: &mut Vec<Output>) {
        if ethertype(frame) != Some(ETHERTYPE_ARP) {
            return;
        }
        let Some(arp) = frame.get(ETHERNET_HEADER..).and_then(Arp::parse) else {
            return;
        };
        self.learn(now, network, &arp, out);
        let side = &mut self.networks[network];
        if arp.is_request && arp.sender_mac.is_unicast() && side.answers(now, &arp) {
            let from = Station {
                mac: side.endpoint.mac,
                address: arp.target,
            };
            let to = Station {
                mac: arp.sender_mac,
                address: arp.sender,
            };
            out.push(Output::Frame {
                network,
                offload: Offload::default(),
                frame: replies::arp_reply(from, to),
            });
        }
    }

    fn learn(&mut self, now: Duration, network: usize, arp: &Arp, out: &mut Vec<Output>) {
        let side = &mut self.networks[network];
        let ours = arp.sender == side.endpoint.address || arp.sender_mac == side.endpoint.mac;
        if ours || !arp.sender_mac.is_unicast() || !side.is_host(arp.sender) {
            return;
        }
        for waiting in side.neighbors.learn(now, arp.sender, arp.sender_mac) {
            out.push(side.outgoing(network, arp.sender_mac, waiting));
        }
    }

    /// Routes a frame that is addressed to the endpoint's card.
    pub fn route(
        &mut self,
        now: Duration,
        at: Ingress,
        offload: &Offload,
        frame: &mut [u8],
        out: &mut Vec<Output>,
    ) -> Route {
        let ours = destination(frame) == Some(self.networks[at.network].endpoint.mac);
        if !ours || ethertype(frame) != Some(ETHERTYPE_IPV4) {
            return Route::Consumed;
        }
        let Some(packet) = frame.get(ETHERNET_HEADER..).and_then(Ipv4::parse) else {
            return Route::Consumed;
        };
        match self.destination(now, at, packet.destination()) {
            Destination::Endpoint(network) => self.endpoint(now, at, network, frame, out),
            Destination::Outside => self.refuse(now, at, frame, out),
            Destination::Nobody => {}
            Destination::Site(network) => {
                return self.forward(now, at, network, offload, frame, out);
            }
        }
        Route::Consumed
    }

    fn destination(&self, now: Duration, at: Ingress, to: Ipv4Addr) -> Destination {
        if to.is_multicast() || to.is_broadcast() || to.is_unspecified() || to.is_loopback() {
            return Destination::Nobody;
        }
        if let Some(network) = self
            .networks
            .iter()
            .position(|side| side.endpoint.address == to)
        {
            return Destination::Endpoint(network);
        }
        let Some(network) = self
            .networks
            .iter()
            .position(|side| side.cidr.contains(&to))
        else {
            return Destination::Outside;
        };
        let side = &self.networks[network];
        let connected = network == at.network || (side.routed && self.networks[at.network].routed);
        if !side.is_host(to) {
            Destination::Nobody
        } else if !connected || side.neighbors.is_absent(now, to) {
            Destination::Outside
        } else {
            Destination::Site(network)
        }
    }

    fn forward(
        &mut self,
        now: Duration,
        at: Ingress,
        network: usize,
        offload: &Offload,
        frame: &mut [u8],
        out: &mut Vec<Output>,
    ) -> Route {
        let Some(packet) = frame.get(ETHERNET_HEADER..).and_then(Ipv4::parse) else {
            return Route::Consumed;
        };
        let to = packet.destination();
        if packet.ttl() <= 1 {
            self.complain(now, at, Complaint::TimeExceeded, frame, out);
            return Route::Consumed;
        }
        let side = &mut self.networks[network];
        match side.neighbors.lookup(now, to) {
            Lookup::Known { mac, refresh } => {
                if refresh {
                    out.push(side.question(network, to));
                }
                side.rewrite(mac, frame);
                Route::Forward(network)
            }
            Lookup::Unknown => {
                let waiting = Waiting {
                    port: at.port,
                    network: at.network,
                    offload: *offload,
                    frame: frame.to_vec(),
                };
                if side.neighbors.wait(now, to, waiting) {
                    out.push(side.question(network, to));
                }
                Route::Consumed
            }
        }
    }

    /// Sends a packet of the endpoint itself.
    pub fn send_local(
        &mut self,
        now: Duration,
        network: usize,
        packet: &[u8],
        out: &mut Vec<Output>,
    ) {
        let Some(view) = Ipv4::parse(packet) else {
            return;
        };
        let side = &mut self.networks[network];
        let to = view.destination();
        let frame = ethernet(MacAddr::ZERO, side.endpoint.mac, ETHERTYPE_IPV4, packet);
        let waiting = Waiting {
            port: None,
            network,
            offload: Offload::default(),
            frame,
        };
        if let Lookup::Known { mac, .. } = side.neighbors.lookup(now, to) {
            out.push(side.outgoing_local(network, mac, waiting));
        } else if side.neighbors.wait(now, to, waiting) {
            out.push(side.question(network, to));
        }
    }

    /// Packets to the endpoint's own addresses.
    fn endpoint(
        &mut self,
        now: Duration,
        at: Ingress,
        network: usize,
        frame: &[u8],
        out: &mut Vec<Output>,
    ) {
        let Some(packet) = Ipv4::parse(&frame[ETHERNET_HEADER..]) else {
            return;
        };
        let for_probe = packet
            .destination_port()
            .is_some_and(|port| port >= FIRST_PROBE_PORT);
        match packet.protocol() {
            PROTOCOL_ICMP => match replies::echo_reply(&packet) {
                Some(reply) => self.answer(at, frame, &reply, out),
                None => out.push(Output::Local {
                    network,
                    packet: packet.packet().to_vec(),
                }),
            },
            PROTOCOL_TCP if for_probe => out.push(Output::Local {
                network,
                packet: packet.packet().to_vec(),
            }),
            PROTOCOL_TCP if packet.is_tcp_syn() => {
                self.record(at, &packet);
                if let Some(reset) = replies::tcp_reset(&packet) {
                    self.answer(at, frame, &reset, out);
                }
            }
            PROTOCOL_UDP => {
                self.record(at, &packet);
                self.complain(now, at, Complaint::PortUnreachable, frame, out);
            }
            _ => {}
        }
    }

    /// Packets for addresses that belong to nobody: noted, and refused so that clients fail fast.
    fn refuse(&mut self, now: Duration, at: Ingress, frame: &[u8], out: &mut Vec<Output>) {
        let Some(packet) = Ipv4::parse(&frame[ETHERNET_HEADER..]) else {
            return;
        };
        self.record(at, &packet);
        self.complain(now, at, Complaint::HostUnreachable, frame, out);
        if let Some(reset) = replies::tcp_reset(&packet) {
            self.answer(at, frame, &reset, out);
        }
    }

    fn record(&mut self, at: Ingress, packet: &Ipv4<'_>) {
        if let Some(machine) = at.port.and_then(|port| self.machines.get(port)) {
            self.unanswered.record(machine, packet);
        }
    }

    fn complain(
        &mut self,
        now: Duration,
        at: Ingress,
        complaint: Complaint,
        frame: &[u8],
        out: &mut Vec<Output>,
    ) {
        let Some(packet) = frame.get(ETHERNET_HEADER..).and_then(Ipv4::parse) else {
            return;
        };
        let from = self.networks[at.network].endpoint.address;
        let from = if complaint == Complaint::PortUnreachable {
            packet.destination()
        } else {
            from
        };
        if let Some(error) = replies::icmp_error(from, complaint, &packet)
            && self.errors.allows(now)
        {
            self.answer(at, frame, &error, out);
        }
    }

    /// Sends `packet` back to the card that `frame` came from.
    fn answer(&self, at: Ingress, frame: &[u8], packet: &[u8], out: &mut Vec<Output>) {
        let from = self.networks[at.network].endpoint.mac;
        if let Some(to) = source(frame).filter(|to| to.is_unicast() && *to != from) {
            let frame = ethernet(to, from, ETHERTYPE_IPV4, packet);
            out.push(Output::Frame {
                network: at.network,
                offload: Offload::default(),
                frame,
            });
        }
    }

    /// Repeats questions and gives up on those nobody answers.
    pub fn tick(&mut self, now: Duration, out: &mut Vec<Output>) {
        for network in 0..self.networks.len() {
            for due in self.networks[network].neighbors.due(now) {
                match due {
                    Due::Ask(address) => {
                        out.push(self.networks[network].question(network, address))
                    }
                    Due::Failed(frames) => frames
                        .iter()
                        .for_each(|waiting| self.failed(now, waiting, out)),
                }
            }
        }
    }

    fn failed(&mut self, now: Duration, waiting: &Waiting, out: &mut Vec<Output>) {
        let Some(port) = waiting.port else { return };
        let at = Ingress {
            network: waiting.network,
            port: Some(port),
        };
        let Some(packet) = waiting.frame.get(ETHERNET_HEADER..).and_then(Ipv4::parse) else {
            return;
        };
        let to = packet.destination();
        if self
            .networks
            .iter()
            .any(|side| side.neighbors.is_machine(to))
        {
            self.complain(now, at, Complaint::HostUnreachable, &waiting.frame, out);
        } else {
            self.refuse(now, at, &waiting.frame, out);
        }
    }

    /// When to call [`Self::tick`] again.
    #[must_use]
    pub fn next_tick(&self) -> Option<Duration> {
        self.networks
            .iter()
            .filter_map(|side| side.neighbors.next_due())
            .min()
    }
}

impl Side {
    fn is_host(&self, address: Ipv4Addr) -> bool {
        self.cidr.contains(&address)
            && address != self.cidr.network()
            && address != self.cidr.broadcast()
    }

    /// The endpoint answers for itself always, and for absent addresses only real questions:
    /// neither probes (no sender) nor announcements (sender asks for itself).
    fn answers(&mut self, now: Duration, arp: &Arp) -> bool {
        if arp.target == self.endpoint.address {
            return arp.sender != self.endpoint.address;
        }
        let real = !arp.sender.is_unspecified() && arp.sender != arp.target;
        real && self.is_host(arp.target) && self.neighbors.answer_for_absent(now, arp.target)
    }

    fn question(&self, network: usize, target: Ipv4Addr) -> Output {
        Output::Frame {
            network,
            offload: Offload::default(),
            frame: replies::arp_request(self.endpoint, target),
        }
    }

    fn rewrite(&self, to: MacAddr, frame: &mut [u8]) {
        if let Some((header, packet)) = frame.split_at_mut_checked(ETHERNET_HEADER) {
            header[0..6].copy_from_slice(&to.0);
            header[6..12].copy_from_slice(&self.endpoint.mac.0);
            replies::decrement_ttl(packet);
        }
    }

    fn outgoing(&self, network: usize, to: MacAddr, mut waiting: Waiting) -> Output {
        if waiting.port.is_none() && waiting.network == network {
            return self.outgoing_local(network, to, waiting);
        }
        self.rewrite(to, &mut waiting.frame);
        Output::Frame {
            network,
            offload: waiting.offload,
            frame: waiting.frame,
        }
    }

    fn outgoing_local(&self, network: usize, to: MacAddr, mut waiting: Waiting) -> Output {
        waiting.frame[0..6].copy_from_slice(&to.0);
        Output::Frame {
            network,
            offload: waiting.offload,
            frame: waiting.frame,
        }
    }
}

/// A budget that refills with every second of the clock.
#[derive(Debug, Default)]
struct RateLimit {
    second: u64,
    used: u32,
}

impl RateLimit {
    fn allows(&mut self, now: Duration) -> bool {
        if self.second != now.as_secs() {
            *self = Self {
                second: now.as_secs(),
                used: 0,
            };
        }
        self.used += 1;
        self.used <= ERRORS_PER_SECOND
    }
}

#[cfg(test)]
mod tests;
