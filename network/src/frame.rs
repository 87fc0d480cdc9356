//! Ethernet frames as they lie in a virtio ring: offload header and bytes.

use std::net::Ipv4Addr;

use crate::mac::MacAddr;

/// Destination, source, type.
pub const ETHERNET_HEADER: usize = 14;
/// The smallest IPv4 header.
pub const IPV4_HEADER: usize = 20;
/// The largest frame a guest may hand over: a 64 KiB segment and its Ethernet header.
pub const MAX_FRAME: usize = 65_535 + 64;

/// EtherType of IPv4.
pub const ETHERTYPE_IPV4: u16 = 0x0800;
/// EtherType of ARP.
pub const ETHERTYPE_ARP: u16 = 0x0806;
/// EtherType of IPv6.
pub const ETHERTYPE_IPV6: u16 = 0x86dd;
/// IEEE 802 local experimental EtherType, used for canary frames.
pub const ETHERTYPE_EXPERIMENTAL: u16 = 0x88b5;

/// IP protocol number of ICMP.
pub const PROTOCOL_ICMP: u8 = 1;
/// IP protocol number of TCP.
pub const PROTOCOL_TCP: u8 = 6;
/// IP protocol number of UDP.
pub const PROTOCOL_UDP: u8 = 17;

const FLAG_NEEDS_CSUM: u8 = 1;

/// What a guest left for the other side to do, from `virtio_net_hdr`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Offload {
    /// Where the checksum is missing.
    pub checksum: Option<PartialChecksum>,
    /// How the frame must be cut.
    pub segmentation: Option<Segmentation>,
    /// How many bytes of headers precede the payload, as a hint.
    pub header_length: u16,
}

/// A checksum that the sender left to be completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartialChecksum {
    /// From where on bytes are summed.
    pub start: u16,
    /// Where the sum goes, counted from `start`.
    pub offset: u16,
}

/// A TCP segment larger than the wire carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segmentation {
    /// Over which IP version.
    pub kind: SegmentKind,
    /// Whether congestion marks are in use (`ECN` bit).
    pub ecn: bool,
    /// Payload bytes of each piece.
    pub size: u16,
}

/// The TCP flavours of segmentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SegmentKind {
    /// TCP over IPv4.
    Tcp4,
    /// TCP over IPv6.
    Tcp6,
}

/// Size of `virtio_net_hdr` with the `num_buffers` field.
pub const OFFLOAD_HEADER: usize = 12;

impl Offload {
    /// Reads `virtio_net_hdr`; `None` when it asks for something that was never offered.
    #[must_use]
    pub fn parse(raw: &[u8; OFFLOAD_HEADER], frame_length: usize) -> Option<Self> {
        let word = |at: usize| u16::from_le_bytes([raw[at], raw[at + 1]]);
        let checksum = (raw[0] & FLAG_NEEDS_CSUM != 0).then(|| PartialChecksum {
            start: word(6),
            offset: word(8),
        });
        if checksum.is_some_and(|checksum| !checksum.fits(frame_length)) {
            return None;
        }
        let segmentation = match raw[1] & 0x7f {
            0 => None,
            1 => Some(SegmentKind::Tcp4),
            4 => Some(SegmentKind::Tcp6),
            _ => return None,
        };
        let segmentation = segmentation.map(|kind| Segmentation {
            kind,
            ecn: raw[1] & 0x80 != 0,
            size: word(4),
        });
        if segmentation.is_some_and(|segmentation| segmentation.size == 0 || checksum.is_none()) {
            return None;
        }
        Some(Self {
            checksum,
            segmentation,
            header_length: word(2),
        })
    }

    /// Writes `virtio_net_hdr`, with `buffers` as the number of merged buffers.
    #[must_use]
    pub fn bytes(&self, buffers: u16) -> [u8; OFFLOAD_HEADER] {
        let mut raw = [0; OFFLOAD_HEADER];
        if let Some(checksum) = self.checksum {
            raw[0] |= FLAG_NEEDS_CSUM;
            raw[6..8].copy_from_slice(&checksum.start.to_le_bytes());
            raw[8..10].copy_from_slice(&checksum.offset.to_le_bytes());
        }
        if let Some(segmentation) = self.segmentation {
            raw[1] = match segmentation.kind {
                SegmentKind::Tcp4 => 1,
                SegmentKind::Tcp6 => 4,
            };
            raw[1] |= if segmentation.ecn { 0x80 } else { 0 };
            raw[2..4].copy_from_slice(&self.header_length.to_le_bytes());
            raw[4..6].copy_from_slice(&segmentation.size.to_le_bytes());
        }
        raw[10..12].copy_from_slice(&buffers.to_le_bytes());
        raw
    }

    /// Whether nothing is left to do.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.checksum.is_none() && self.segmentation.is_none()
    }
}

impl PartialChecksum {
    /// Whether the two bytes of the sum lie inside a frame of this length.
    #[must_use]
    pub fn fits(self, frame_length: usize) -> bool {
        usize::from(self.start) + usize::from(self.offset) + 2 <= frame_length
    }
}

/// The destination address of a frame.
#[must_use]
pub fn destination(frame: &[u8]) -> Option<MacAddr> {
    MacAddr::read(frame)
}

/// The source address of a frame.
#[must_use]
pub fn source(frame: &[u8]) -> Option<MacAddr> {
    MacAddr::read(frame.get(6..)?)
}

/// The EtherType of a frame.
#[must_use]
pub fn ethertype(frame: &[u8]) -> Option<u16> {
    word(frame, 12)
}

/// A big-endian 16-bit value.
#[must_use]
pub fn word(bytes: &[u8], at: usize) -> Option<u16> {
    bytes
        .get(at..)?
        .first_chunk::<2>()
        .map(|raw| u16::from_be_bytes(*raw))
}

/// A big-endian 32-bit value.
#[must_use]
pub fn double_word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes
        .get(at..)?
        .first_chunk::<4>()
        .map(|raw| u32::from_be_bytes(*raw))
}

/// An IPv4 address inside `bytes`.
#[must_use]
pub fn address(bytes: &[u8], at: usize) -> Option<Ipv4Addr> {
    bytes
        .get(at..)?
        .first_chunk::<4>()
        .map(|raw| Ipv4Addr::from(*raw))
}

/// A frame of the given type around `payload`.
#[must_use]
pub fn ethernet(to: MacAddr, from: MacAddr, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(ETHERNET_HEADER + payload.len());
    frame.extend_from_slice(&to.0);
    frame.extend_from_slice(&from.0);
    frame.extend_from_slice(&ethertype.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// The Internet checksum's running sum over `bytes`, which start at an even offset.
#[must_use]
pub fn sum(bytes: &[u8]) -> u64 {
    let mut total: u64 = 0;
    let mut quads = bytes.chunks_exact(4);
    for quad in &mut quads {
        total += u64::from(u32::from_be_bytes([quad[0], quad[1], quad[2], quad[3]]));
    }
    let rest = quads.remainder();
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    total + u64::from(u32::from_be_bytes(last))
}

/// Folds a running sum to the checksum that is written into a header.
#[must_use]
pub fn fold(mut total: u64) -> u16 {
    while total > 0xffff {
        total = (total >> 16) + (total & 0xffff);
    }
    !(total as u16)
}

/// The part of the checksum of TCP and UDP over IPv4 that covers addresses, protocol and length.
#[must_use]
pub fn pseudo_header4(from: Ipv4Addr, to: Ipv4Addr, protocol: u8, length: usize) -> u64 {
    sum(&from.octets()) + sum(&to.octets()) + u64::from(protocol) + length as u64
}

/// A view of an IPv4 packet whose header was checked: version, lengths, header checksum.
#[derive(Debug, Clone, Copy)]
pub struct Ipv4<'a> {
    packet: &'a [u8],
    header: usize,
}

impl<'a> Ipv4<'a> {
    /// Checks the packet at the start of `bytes`; trailing bytes (padding) are cut off.
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let first = *bytes.first()?;
        let header = usize::from(first & 0x0f) * 4;
        if first >> 4 != 4 || header < IPV4_HEADER {
            return None;
        }
        let length = usize::from(word(bytes, 2)?);
        let packet = bytes.get(..length)?;
        if length < header || fold(sum(packet.get(..header)?)) != 0 {
            return None;
        }
        Some(Self { packet, header })
    }

    /// The whole packet.
    #[must_use]
    pub fn packet(&self) -> &'a [u8] {
        self.packet
    }

    /// What follows the header.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        &self.packet[self.header..]
    }

    /// Length of the header.
    #[must_use]
    pub fn header_length(&self) -> usize {
        self.header
    }

    /// Who sent it.
    #[must_use]
    pub fn source(&self) -> Ipv4Addr {
        Ipv4Addr::new(
            self.packet[12],
            self.packet[13],
            self.packet[14],
            self.packet[15],
        )
    }

    /// Whom it is for.
    #[must_use]
    pub fn destination(&self) -> Ipv4Addr {
        Ipv4Addr::new(
            self.packet[16],
            self.packet[17],
            self.packet[18],
            self.packet[19],
        )
    }

    /// The IP protocol number.
    #[must_use]
    pub fn protocol(&self) -> u8 {
        self.packet[9]
    }

    /// Hops left.
    #[must_use]
    pub fn ttl(&self) -> u8 {
        self.packet[8]
    }

    /// Whether this is the first (or only) fragment, the one with the ports.
    #[must_use]
    pub fn is_first_fragment(&self) -> bool {
        u16::from_be_bytes([self.packet[6], self.packet[7]]) & 0x1fff == 0
    }

    /// The destination port of TCP and UDP.
    #[must_use]
    pub fn destination_port(&self) -> Option<u16> {
        let has_ports =
            matches!(self.protocol(), PROTOCOL_TCP | PROTOCOL_UDP) && self.is_first_fragment();
        has_ports.then(|| word(self.payload(), 2)).flatten()
    }

    /// Whether the packet opens a TCP connection.
    #[must_use]
    pub fn is_tcp_syn(&self) -> bool {
        let flags = self.payload().get(13).copied().unwrap_or_default();
        self.protocol() == PROTOCOL_TCP && self.is_first_fragment() && flags & 0x16 == 0x02
    }
}

/// An IPv4 packet with a fresh header and a complete header checksum.
#[must_use]
pub fn ipv4(from: Ipv4Addr, to: Ipv4Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(IPV4_HEADER + payload.len()).unwrap_or(u16::MAX);
    let mut packet = vec![0; IPV4_HEADER];
    packet[0] = 0x45;
    packet[2..4].copy_from_slice(&length.to_be_bytes());
    packet[6] = 0x40;
    packet[8] = 64;
    packet[9] = protocol;
    packet[12..16].copy_from_slice(&from.octets());
    packet[16..20].copy_from_slice(&to.octets());
    let checksum = fold(sum(&packet));
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    packet.extend_from_slice(payload);
    packet
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_built_packet_parses() {
        let packet = ipv4(
            Ipv4Addr::new(10, 0, 0, 1),
            Ipv4Addr::new(10, 0, 0, 2),
            PROTOCOL_UDP,
            &[0, 1, 0, 53, 0, 8, 0, 0],
        );
        let view = Ipv4::parse(&packet).unwrap();
        assert_eq!(view.destination_port(), Some(53));
        assert_eq!(view.source(), Ipv4Addr::new(10, 0, 0, 1));
        assert!(!view.is_tcp_syn());
    }

    #[test]
    fn a_partial_checksum_outside_the_frame_is_refused() {
        let header = Offload {
            checksum: Some(PartialChecksum {
                start: 34,
                offset: 16,
            }),
            ..Offload::default()
        };
        assert!(Offload::parse(&header.bytes(0), 52).is_some());
        assert!(Offload::parse(&header.bytes(0), 51).is_none());
    }

    proptest! {
        #[test]
        fn parsing_never_panics(bytes: Vec<u8>) {
            if let Some(packet) = Ipv4::parse(&bytes) {
                let _ = (packet.destination_port(), packet.is_tcp_syn(), packet.payload().len());
            }
            let _ = (destination(&bytes), source(&bytes), ethertype(&bytes));
        }

        #[test]
        fn offload_header_round_trip(raw: [u8; OFFLOAD_HEADER], length in 0usize..70_000) {
            if let Some(offload) = Offload::parse(&raw, length) {
                prop_assert_eq!(Offload::parse(&offload.bytes(1), length).map(|again| (again.checksum, again.segmentation)),
                    Some((offload.checksum, offload.segmentation)));
            }
        }

        #[test]
        fn the_sum_is_the_one_of_rfc_1071(bytes: Vec<u8>) {
            let mut plain: u64 = 0;
            for pair in bytes.chunks(2) {
                plain += u64::from(pair[0]) << 8 | u64::from(pair.get(1).copied().unwrap_or(0));
            }
            prop_assert_eq!(fold(plain), fold(sum(&bytes)));
        }
    }
}
