//! The packets that the switch's endpoint says by itself: ARP, ICMP, TCP resets.

use std::net::Ipv4Addr;

use crate::frame::{
    ETHERTYPE_ARP, IPV4_HEADER, Ipv4, PROTOCOL_ICMP, PROTOCOL_TCP, address, double_word, ethernet,
    fold, ipv4, pseudo_header4, sum, word,
};
use crate::mac::MacAddr;

const REQUEST: u16 = 1;
const REPLY: u16 = 2;

/// An ARP message for Ethernet and IPv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arp {
    /// Whether it asks; otherwise it answers.
    pub is_request: bool,
    /// The sender's Ethernet address.
    pub sender_mac: MacAddr,
    /// The sender's address; unspecified in a probe.
    pub sender: Ipv4Addr,
    /// The address asked for.
    pub target: Ipv4Addr,
}

impl Arp {
    /// Reads the message behind an Ethernet header.
    #[must_use]
    pub fn parse(message: &[u8]) -> Option<Self> {
        let fixed = (word(message, 0)?, word(message, 2)?, word(message, 4)?);
        let operation = word(message, 6)?;
        if fixed != (1, 0x0800, 0x0604) || !matches!(operation, REQUEST | REPLY) {
            return None;
        }
        Some(Self {
            is_request: operation == REQUEST,
            sender_mac: MacAddr::read(message.get(8..)?)?,
            sender: address(message, 14)?,
            target: address(message, 24)?,
        })
    }
}

/// Who a message is about: an Ethernet address and the address behind it.
#[derive(Debug, Clone, Copy)]
pub struct Station {
    /// Its Ethernet address.
    pub mac: MacAddr,
    /// Its address.
    pub address: Ipv4Addr,
}

/// A request for `target`, to everybody.
#[must_use]
pub fn arp_request(from: Station, target: Ipv4Addr) -> Vec<u8> {
    let to = Station {
        mac: MacAddr::ZERO,
        address: target,
    };
    ethernet(
        MacAddr::BROADCAST,
        from.mac,
        ETHERTYPE_ARP,
        &arp_message(REQUEST, from, to),
    )
}

/// An answer to `to` that `from` is where it says.
#[must_use]
pub fn arp_reply(from: Station, to: Station) -> Vec<u8> {
    ethernet(
        to.mac,
        from.mac,
        ETHERTYPE_ARP,
        &arp_message(REPLY, from, to),
    )
}

fn arp_message(operation: u16, from: Station, to: Station) -> Vec<u8> {
    let mut message = vec![0, 1, 8, 0, 6, 4];
    message.extend_from_slice(&operation.to_be_bytes());
    message.extend_from_slice(&from.mac.0);
    message.extend_from_slice(&from.address.octets());
    message.extend_from_slice(&to.mac.0);
    message.extend_from_slice(&to.address.octets());
    message
}

/// The answer to a ping, or `None` when the packet is none.
#[must_use]
pub fn echo_reply(request: &Ipv4<'_>) -> Option<Vec<u8>> {
    let payload = request.payload();
    let whole = request.is_first_fragment() && request.packet()[6] & 0x20 == 0;
    if !whole || payload.len() < 8 || payload[0] != 8 || fold(sum(payload)) != 0 {
        return None;
    }
    let mut reply = payload.to_vec();
    reply[0] = 0;
    write_icmp_checksum(&mut reply);
    Some(ipv4(
        request.destination(),
        request.source(),
        PROTOCOL_ICMP,
        &reply,
    ))
}

/// A ping.
#[must_use]
pub fn echo_request(from: Ipv4Addr, to: Ipv4Addr, identifier: u16, sequence: u16) -> Vec<u8> {
    let mut message = vec![8, 0, 0, 0];
    message.extend_from_slice(&identifier.to_be_bytes());
    message.extend_from_slice(&sequence.to_be_bytes());
    message.extend_from_slice(b"lifeboat probe..");
    write_icmp_checksum(&mut message);
    ipv4(from, to, PROTOCOL_ICMP, &message)
}

/// Identifier and sequence of an answer to a ping.
#[must_use]
pub fn parse_echo_reply(packet: &Ipv4<'_>) -> Option<(u16, u16)> {
    let payload = packet.payload();
    let is_reply = packet.protocol() == PROTOCOL_ICMP && payload.first() == Some(&0);
    is_reply
        .then(|| Some((word(payload, 4)?, word(payload, 6)?)))
        .flatten()
}

/// What an ICMP error says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Complaint {
    /// Nobody has the address.
    HostUnreachable,
    /// Nobody listens on the port.
    PortUnreachable,
    /// Too many hops.
    TimeExceeded,
}

/// An ICMP error about `cause`, or `None` where RFC 1122 forbids one.
#[must_use]
pub fn icmp_error(from: Ipv4Addr, complaint: Complaint, cause: &Ipv4<'_>) -> Option<Vec<u8>> {
    let source = cause.source();
    let is_error = cause.protocol() == PROTOCOL_ICMP
        && !matches!(cause.payload().first(), Some(0 | 8 | 13..=18));
    let nobody = source.is_unspecified()
        || source.is_multicast()
        || source.is_broadcast()
        || source.is_loopback();
    if is_error || nobody || !cause.is_first_fragment() {
        return None;
    }
    let (kind, code) = match complaint {
        Complaint::HostUnreachable => (3, 1),
        Complaint::PortUnreachable => (3, 3),
        Complaint::TimeExceeded => (11, 0),
    };
    let mut message = vec![kind, code, 0, 0, 0, 0, 0, 0];
    let quoted = (cause.header_length() + 8).min(cause.packet().len());
    message.extend_from_slice(&cause.packet()[..quoted]);
    write_icmp_checksum(&mut message);
    Some(ipv4(from, source, PROTOCOL_ICMP, &message))
}

fn write_icmp_checksum(message: &mut [u8]) {
    message[2..4].fill(0);
    let checksum = fold(sum(message));
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
}

/// The refusal of a TCP connection, or `None` when the packet does not open one.
#[must_use]
pub fn tcp_reset(syn: &Ipv4<'_>) -> Option<Vec<u8>> {
    let segment = syn.payload();
    if !syn.is_tcp_syn() || segment.len() < 20 {
        return None;
    }
    let acknowledged = double_word(segment, 4)?.wrapping_add(1);
    let mut reset = vec![0; 20];
    reset[0..2].copy_from_slice(&segment[2..4]);
    reset[2..4].copy_from_slice(&segment[0..2]);
    reset[8..12].copy_from_slice(&acknowledged.to_be_bytes());
    reset[12] = 5 << 4;
    reset[13] = 0x14;
    let (from, to) = (syn.destination(), syn.source());
    let checksum = fold(pseudo_header4(from, to, PROTOCOL_TCP, reset.len()) + sum(&reset));
    reset[16..18].copy_from_slice(&checksum.to_be_bytes());
    Some(ipv4(from, to, PROTOCOL_TCP, &reset))
}

/// Takes one hop off the packet inside `frame` (behind its Ethernet header).
pub fn decrement_ttl(packet: &mut [u8]) {
    let header = packet
        .first()
        .map_or(IPV4_HEADER, |first| usize::from(first & 0x0f) * 4);
    let Some(header) = packet.get_mut(..header.max(IPV4_HEADER)) else {
        return;
    };
    header[8] = header[8].saturating_sub(1);
    header[10..12].fill(0);
    let checksum = fold(sum(header));
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::PROTOCOL_UDP;
    use proptest::prelude::*;

    const A: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
    const B: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

    #[test]
    fn arp_round_trip() {
        let from = Station {
            mac: MacAddr([2; 6]),
            address: A,
        };
        let to = Station {
            mac: MacAddr([4; 6]),
            address: B,
        };
        let parsed = Arp::parse(&arp_reply(from, to)[14..]).unwrap();
        assert_eq!(
            parsed,
            Arp {
                is_request: false,
                sender_mac: from.mac,
                sender: A,
                target: B
            }
        );
    }

    #[test]
    fn a_ping_is_answered() {
        let request = echo_request(A, B, 7, 9);
        let reply = echo_reply(&Ipv4::parse(&request).unwrap()).unwrap();
        let reply = Ipv4::parse(&reply).unwrap();
        assert_eq!((reply.source(), reply.destination()), (B, A));
        assert_eq!(parse_echo_reply(&reply), Some((7, 9)));
        assert_eq!(fold(sum(reply.payload())), 0);
    }

    #[test]
    fn no_error_about_an_error() {
        let cause = ipv4(A, B, PROTOCOL_UDP, &[0; 8]);
        let error =
            icmp_error(B, Complaint::HostUnreachable, &Ipv4::parse(&cause).unwrap()).unwrap();
        assert!(icmp_error(A, Complaint::HostUnreachable, &Ipv4::parse(&error).unwrap()).is_none());
    }

    #[test]
    fn one_hop_less_and_still_sound() {
        let mut packet = ipv4(A, B, PROTOCOL_UDP, &[0; 8]);
        decrement_ttl(&mut packet);
        assert_eq!(Ipv4::parse(&packet).unwrap().ttl(), 63);
    }

    proptest! {
        #[test]
        fn hostile_packets_never_panic(bytes: Vec<u8>, protocol: u8) {
            let _ = Arp::parse(&bytes);
            let packet = ipv4(A, B, protocol, &bytes);
            let Some(view) = Ipv4::parse(&packet) else { return Ok(()) };
            let _ = (echo_reply(&view), tcp_reset(&view), parse_echo_reply(&view));
            let _ = icmp_error(B, Complaint::TimeExceeded, &view);
            let mut raw = bytes.clone();
            decrement_ttl(&mut raw);
        }
    }
}
