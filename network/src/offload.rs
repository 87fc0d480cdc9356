//! Work that a sender left to its network card, done in software.
//!
//! A guest that negotiated offloads hands over frames with a partial checksum or far larger than
//! the wire. When the receiver negotiated the same, they pass as they are; otherwise this module
//! completes the checksum and cuts the segment. Pure functions over bytes.

use crate::frame::{
    ETHERNET_HEADER, Offload, PROTOCOL_TCP, PartialChecksum, SegmentKind, Segmentation, fold, sum,
    word,
};

/// What a receiver negotiated to accept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Accepts {
    /// Partial checksums.
    pub checksum: bool,
    /// Large TCP segments over IPv4.
    pub tcp4: bool,
    /// Large TCP segments over IPv6.
    pub tcp6: bool,
    /// Large TCP segments with congestion marks.
    pub ecn: bool,
}

impl Accepts {
    /// Whether a receiver takes a frame with this offload header as it is.
    #[must_use]
    pub fn takes(self, offload: &Offload) -> bool {
        let segments = offload.segmentation.is_none_or(|segmentation| {
            let kind = match segmentation.kind {
                SegmentKind::Tcp4 => self.tcp4,
                SegmentKind::Tcp6 => self.tcp6,
            };
            kind && (self.ecn || !segmentation.ecn)
        });
        segments && (self.checksum || offload.checksum.is_none())
    }
}

/// The frames that a receiver gets instead of one it cannot take. `None`: the frame contradicts
/// its own offload header.
#[must_use]
pub fn prepare(offload: &Offload, frame: &[u8]) -> Option<Vec<Vec<u8>>> {
    if let Some(segmentation) = offload.segmentation {
        return segment(segmentation, frame);
    }
    let mut whole = frame.to_vec();
    if let Some(checksum) = offload.checksum {
        complete(checksum, &mut whole)?;
    }
    Some(vec![whole])
}

/// Completes a partial checksum: the field already holds the sum over the pseudo header.
#[must_use]
pub fn complete(checksum: PartialChecksum, frame: &mut [u8]) -> Option<()> {
    let start = usize::from(checksum.start);
    let value = match fold(sum(frame.get(start..)?)) {
        0 => 0xffff,
        value => value,
    };
    let at = start + usize::from(checksum.offset);
    frame
        .get_mut(at..at + 2)?
        .copy_from_slice(&value.to_be_bytes());
    Some(())
}

/// Where the layers of a TCP frame lie.
#[derive(Debug, Clone, Copy)]
struct Layers {
    kind: SegmentKind,
    ip: usize,
    tcp: usize,
    payload: usize,
}

impl Layers {
    fn find(kind: SegmentKind, frame: &[u8]) -> Option<Self> {
        let ip = match word(frame, 12)? {
            0x8100 => ETHERNET_HEADER + 4,
            _ => ETHERNET_HEADER,
        };
        let tcp = match kind {
            SegmentKind::Tcp4 => ip4_tcp(frame, ip)?,
            SegmentKind::Tcp6 => ip6_tcp(frame, ip)?,
        };
        let payload = tcp + usize::from(frame.get(tcp + 12)? >> 4) * 4;
        (payload >= tcp + 20 && payload < frame.len()).then_some(Self {
            kind,
            ip,
            tcp,
            payload,
        })
    }
}

fn ip4_tcp(frame: &[u8], ip: usize) -> Option<usize> {
    let first = *frame.get(ip)?;
    let header = usize::from(first & 0x0f) * 4;
    (first >> 4 == 4 && header >= 20 && *frame.get(ip + 9)? == PROTOCOL_TCP).then_some(ip + header)
}

/// Extension headers before TCP do not occur in segments that Linux or Windows hand over.
fn ip6_tcp(frame: &[u8], ip: usize) -> Option<usize> {
    let first = *frame.get(ip)?;
    (first >> 4 == 6 && *frame.get(ip + 6)? == PROTOCOL_TCP).then_some(ip + 40)
}

/// More than 64 KiB over the smallest segment size in real use; a bound on what one frame costs.
const MAX_PIECES: usize = 256;

/// Cuts a large TCP segment into frames of `segmentation.size` payload bytes, each complete.
#[must_use]
pub fn segment(segmentation: Segmentation, frame: &[u8]) -> Option<Vec<Vec<u8>>> {
    let layers = Layers::find(segmentation.kind, frame)?;
    let (headers, payload) = frame.split_at(layers.payload);
    let pieces: Vec<&[u8]> = payload
        .chunks(usize::from(segmentation.size).max(1))
        .collect();
    if pieces.len() > MAX_PIECES {
        return None;
    }
    let last = pieces.len().saturating_sub(1);
    let mut offset = 0;
    let mut frames = Vec::with_capacity(pieces.len());
    for (index, piece) in pieces.into_iter().enumerate() {
        let mut whole = [headers, piece].concat();
        fix_tcp(&mut whole, layers, offset, index == 0, index == last)?;
        fix_ip(&mut whole, layers, index)?;
        fix_checksum(&mut whole, layers)?;
        offset = offset.wrapping_add(piece.len() as u32);
        frames.push(whole);
    }
    Some(frames)
}

const FIN_AND_PSH: u8 = 0x09;
const CWR: u8 = 0x80;

fn fix_tcp(frame: &mut [u8], layers: Layers, offset: u32, first: bool, last: bool) -> Option<()> {
    let header = frame.get_mut(layers.tcp..layers.tcp + 20)?;
    let sequence =
        u32::from_be_bytes([header[4], header[5], header[6], header[7]]).wrapping_add(offset);
    header[4..8].copy_from_slice(&sequence.to_be_bytes());
    if !last {
        header[13] &= !FIN_AND_PSH;
    }
    if !first {
        header[13] &= !CWR;
    }
    header[16..18].fill(0);
    Some(())
}

fn fix_ip(frame: &mut [u8], layers: Layers, index: usize) -> Option<()> {
    let length = frame.len() - layers.ip;
    match layers.kind {
        SegmentKind::Tcp6 => {
            let payload = u16::try_from(length.checked_sub(40)?).ok()?;
            frame
                .get_mut(layers.ip + 4..layers.ip + 6)?
                .copy_from_slice(&payload.to_be_bytes());
        }
        SegmentKind::Tcp4 => {
            let header = frame.get_mut(layers.ip..layers.tcp)?;
            header[2..4].copy_from_slice(&u16::try_from(length).ok()?.to_be_bytes());
            let id = u16::from_be_bytes([header[4], header[5]]).wrapping_add(index as u16);
            header[4..6].copy_from_slice(&id.to_be_bytes());
            header[10..12].fill(0);
            let checksum = fold(sum(header));
            header[10..12].copy_from_slice(&checksum.to_be_bytes());
        }
    }
    Some(())
}

fn fix_checksum(frame: &mut [u8], layers: Layers) -> Option<()> {
    let addresses = match layers.kind {
        SegmentKind::Tcp4 => frame.get(layers.ip + 12..layers.ip + 20)?,
        SegmentKind::Tcp6 => frame.get(layers.ip + 8..layers.ip + 40)?,
    };
    let segment = frame.get(layers.tcp..)?;
    let checksum =
        fold(sum(addresses) + u64::from(PROTOCOL_TCP) + segment.len() as u64 + sum(segment));
    frame
        .get_mut(layers.tcp + 16..layers.tcp + 18)?
        .copy_from_slice(&checksum.to_be_bytes());
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{ETHERTYPE_IPV4, Ipv4, ethernet, ipv4, pseudo_header4};
    use crate::mac::MacAddr;
    use proptest::prelude::*;
    use std::net::Ipv4Addr;

    const FROM: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    const TO: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

    fn tcp_frame(payload: &[u8], flags: u8) -> Vec<u8> {
        let mut tcp = vec![0; 20];
        tcp[4..8].copy_from_slice(&1000u32.to_be_bytes());
        tcp[12] = 5 << 4;
        tcp[13] = flags;
        tcp.extend_from_slice(payload);
        let pseudo = !fold(pseudo_header4(FROM, TO, PROTOCOL_TCP, tcp.len()));
        tcp[16..18].copy_from_slice(&pseudo.to_be_bytes());
        ethernet(
            MacAddr([2; 6]),
            MacAddr([4; 6]),
            ETHERTYPE_IPV4,
            &ipv4(FROM, TO, PROTOCOL_TCP, &tcp),
        )
    }

    fn tcp_is_sound(frame: &[u8]) -> bool {
        let packet = Ipv4::parse(&frame[14..]).unwrap();
        let tcp = packet.payload();
        fold(pseudo_header4(FROM, TO, PROTOCOL_TCP, tcp.len()) + sum(tcp)) == 0
    }

    #[test]
    fn completing_makes_the_checksum_sound() {
        let frame = tcp_frame(b"hello", 0x18);
        assert!(!tcp_is_sound(&frame));
        let offload = Offload {
            checksum: Some(PartialChecksum {
                start: 34,
                offset: 16,
            }),
            ..Offload::default()
        };
        assert!(tcp_is_sound(&prepare(&offload, &frame).unwrap()[0]));
    }

    proptest! {
        #[test]
        fn pieces_join_to_the_whole(payload in proptest::collection::vec(any::<u8>(), 1..5000), size in 20u16..1460) {
            let segmentation = Segmentation { kind: SegmentKind::Tcp4, ecn: false, size };
            let pieces = segment(segmentation, &tcp_frame(&payload, 0x80 | 0x19)).unwrap();
            let mut joined = Vec::new();
            for (index, piece) in pieces.iter().enumerate() {
                prop_assert!(tcp_is_sound(piece));
                let tcp = Ipv4::parse(&piece[14..]).unwrap().payload();
                let sequence = u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]);
                prop_assert_eq!(sequence as usize, 1000 + joined.len());
                prop_assert_eq!(tcp[13] & 0x09 != 0, index + 1 == pieces.len());
                prop_assert_eq!(tcp[13] & 0x80 != 0, index == 0);
                joined.extend_from_slice(&tcp[20..]);
            }
            prop_assert_eq!(joined, payload);
        }

        #[test]
        fn hostile_frames_never_panic(frame: Vec<u8>, size: u16, six: bool, start: u16, offset: u16) {
            let kind = if six { SegmentKind::Tcp6 } else { SegmentKind::Tcp4 };
            let checksum = Some(PartialChecksum { start, offset });
            let segmentation = Some(Segmentation { kind, ecn: false, size });
            let _ = prepare(&Offload { checksum, segmentation, header_length: 0 }, &frame);
            let _ = prepare(&Offload { checksum, segmentation: None, header_length: 0 }, &frame);
        }
    }
}
