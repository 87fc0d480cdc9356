//! ICMP echo, by a socket that needs no rights where the host allows it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use crate::run::resolve;

const ECHO: u8 = 8;
const ECHO_REPLY: u8 = 0;

/// Waits for the answer to one echo; its time is bounded by the check.
pub(super) async fn ping(host: &str) -> Result<(), String> {
    let addresses = resolve::addresses(host)
        .await
        .map_err(|error| format!("{host}: {error}"))?;
    let address = addresses.into_iter().find_map(|one| match one {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    });
    let address = address.ok_or_else(|| format!("{host} has no IPv4 address"))?;
    echo(address)
        .await
        .map_err(|error| format!("{host}: {error}"))
}

async fn echo(address: Ipv4Addr) -> io::Result<()> {
    let to = SocketAddr::V4(SocketAddrV4::new(address, 0));
    let (socket, raw) = match Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::ICMPV4)) {
        Ok(socket) => (socket, false),
        Err(_) => (
            Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4))?,
            true,
        ),
    };
    socket.set_nonblocking(true)?;
    socket.connect(&to.into())?;
    let sent = request(fastrand::u16(..), fastrand::u64(..));
    socket.send(&sent)?;
    // Only to be told when there is something to read.
    let ready = UdpSocket::from_std(std::net::UdpSocket::from(socket.try_clone()?))?;
    loop {
        ready.ready(Interest::READABLE).await?;
        let read = ready.try_io(Interest::READABLE, || {
            let mut bytes = [0; 512];
            let count = io::Read::read(&mut &socket, &mut bytes)?;
            Ok(bytes.get(..count).unwrap_or_default().to_vec())
        });
        match read {
            Ok(bytes) if answers(&bytes, &sent, raw) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

fn request(sequence: u16, payload: u64) -> Vec<u8> {
    let mut packet = vec![ECHO, 0, 0, 0];
    packet.extend(
        u16::try_from(std::process::id() & 0xffff)
            .unwrap_or_default()
            .to_be_bytes(),
    );
    packet.extend(sequence.to_be_bytes());
    packet.extend(payload.to_be_bytes());
    let sum = checksum(&packet).to_be_bytes();
    packet[2..4].copy_from_slice(&sum);
    packet
}

fn checksum(packet: &[u8]) -> u16 {
    let words = packet.chunks(2).map(|pair| match pair {
        [high, low] => u32::from(u16::from_be_bytes([*high, *low])),
        [high] => u32::from(*high) << 8,
        _ => 0,
    });
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or_default()
}

/// The kernel of an unprivileged socket writes an identifier of its own, so the payload counts.
fn answers(packet: &[u8], sent: &[u8], raw: bool) -> bool {
    let header = match (raw, packet.first()) {
        (true, Some(first)) => usize::from(first & 0x0f) * 4,
        _ => 0,
    };
    let Some(icmp) = packet.get(header..) else {
        return false;
    };
    icmp.first() == Some(&ECHO_REPLY) && icmp.get(6..) == sent.get(6..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn this_host_answers() {
        // Containers without any right to ICMP say so, which is an answer of its own kind.
        match echo(Ipv4Addr::LOCALHOST).await {
            Ok(()) => {}
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{error}"),
        }
    }

    #[test]
    fn a_packet_with_its_checksum_sums_to_nothing() {
        assert_eq!(checksum(&request(7, 0x0123_4567_89ab_cdef)), 0);
    }

    #[test]
    fn other_packets_do_not_answer() {
        let sent = request(7, 1);
        assert!(!answers(&sent, &sent, false), "our own request");
        let mut reply = sent.clone();
        reply[0] = ECHO_REPLY;
        assert!(answers(&reply, &sent, false));
        reply[9] ^= 1;
        assert!(!answers(&reply, &sent, false));
        assert!(!answers(&[], &sent, true));
        assert!(!answers(&[0x4f], &sent, true));
    }
}
