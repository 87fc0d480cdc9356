//! Ports that speak frames, against QEMU's side of the socket.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, channel};

use super::*;
use crate::frame::{ETHERTYPE_IPV4, Ipv4, MAX_FRAME, ipv4};
use crate::stream::{Stream, frame_onto};

/// QEMU with a card that is not virtio.
struct Card {
    socket: UnixStream,
    gone: Receiver<()>,
}

impl Card {
    fn plug(engine: &EngineHandle, port: usize) -> Self {
        let (near, socket) = UnixStream::pair().unwrap();
        socket.set_read_timeout(Some(SECONDS)).unwrap();
        let (held, gone) = channel();
        engine.tell(Command::StreamConnected {
            port,
            stream: Stream::new(near).unwrap(),
            held,
        });
        Self { socket, gone }
    }

    fn send(&mut self, frame: &[u8]) {
        let mut bytes = Vec::new();
        frame_onto(&mut bytes, frame);
        self.socket.write_all(&bytes).unwrap();
    }

    fn receive(&mut self) -> Vec<u8> {
        let mut length = [0; 4];
        self.socket.read_exact(&mut length).unwrap();
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        self.socket.read_exact(&mut frame).unwrap();
        frame
    }

    fn is_let_go(&self) -> bool {
        self.gone
            .recv_timeout(SECONDS)
            .is_err_and(|error| error == std::sync::mpsc::RecvTimeoutError::Disconnected)
    }
}

/// A virtio guest at port 0 and the card at port 1.
fn pair(features: u64) -> (Bench, Driver, Card) {
    let bench = Bench::start();
    let mut driver = Driver::new(features);
    driver.offer(RING);
    driver.plug(&bench.engine, 0);
    let card = Card::plug(&bench.engine, 1);
    until("both are connected", || {
        let status = bench.status();
        status.ports[0].link_up && status.ports[1].link_up
    });
    (bench, driver, card)
}

#[test]
fn both_kinds_of_ports_exchange_frames() {
    let (bench, mut driver, mut other) = pair(ALL_OFFLOADS);
    for number in 0..30 {
        driver.send(Offload::default(), &frame(1, 0, number));
        assert_eq!(other.receive(), frame(1, 0, number));
        other.send(&frame(0, 1, number));
        until("a frame arrives", || {
            driver.receive.seen != driver.receive.used(&driver.memory)
        });
        let (offload, arrived) = driver.receive().unwrap();
        assert_eq!(
            (offload, arrived),
            (Offload::default(), frame(0, 1, number))
        );
        driver.offer(1);
    }
    let counters = bench.status().ports[1].counters;
    assert_eq!((counters.frames_in, counters.frames_out), (30, 30));
    assert_eq!((counters.refused, counters.dropped), (0, 0));
}

#[test]
fn what_a_guest_left_to_its_card_is_done_before_the_socket() {
    let (_bench, mut driver, mut other) = pair(ALL_OFFLOADS);
    let (from, to) = (Ipv4Addr::new(10, 0, 0, 10), Ipv4Addr::new(10, 0, 0, 11));
    let payload: Vec<u8> = (0..5000u32).map(|byte| byte as u8).collect();
    let mut tcp = vec![0; 20];
    tcp[12] = 5 << 4;
    tcp.extend_from_slice(&payload);
    let pseudo = !fold(pseudo_header4(from, to, PROTOCOL_TCP, tcp.len()));
    tcp[16..18].copy_from_slice(&pseudo.to_be_bytes());
    let whole = ethernet(
        card(1),
        card(0),
        ETHERTYPE_IPV4,
        &ipv4(from, to, PROTOCOL_TCP, &tcp),
    );
    let offload = Offload {
        checksum: Some(PartialChecksum {
            start: 34,
            offset: 16,
        }),
        segmentation: Some(Segmentation {
            kind: SegmentKind::Tcp4,
            ecn: false,
            size: 1460,
        }),
        header_length: 54,
    };
    driver.send(offload, &whole);
    let mut joined = Vec::new();
    while joined.len() < payload.len() {
        let piece = other.receive();
        assert!(piece.len() <= 1514);
        let packet = Ipv4::parse(&piece[14..]).unwrap();
        let segment = packet.payload();
        let sound = pseudo_header4(from, to, PROTOCOL_TCP, segment.len()) + sum(segment);
        assert_eq!(fold(sound), 0);
        joined.extend_from_slice(&segment[20..]);
    }
    assert_eq!(joined, payload);
}

#[test]
fn a_card_that_does_not_read_holds_its_sender_without_loss() {
    let (bench, mut driver, mut other) = pair(ALL_OFFLOADS);
    // More than a socket holds, sent in the frames of one ring at a time.
    let big = |number: u16| ethernet(card(1), card(0), 0x88b5, &number.to_be_bytes().repeat(700));
    let (mut sent, mut arrived) = (0u16, 0u16);
    while arrived < 1000 {
        while sent < 1000 && sent.wrapping_sub(driver.sent()) < RING {
            driver.send(Offload::default(), &big(sent));
            sent += 1;
        }
        assert_eq!(other.receive(), big(arrived));
        arrived += 1;
    }
    assert_eq!(bench.status().dropped, 0);
}

#[test]
fn a_card_that_never_reads_costs_its_sender_one_deadline() {
    let (bench, mut driver, _other) = pair(ALL_OFFLOADS);
    let big = ethernet(card(1), card(0), 0x88b5, &[1; 1400]);
    let mut sent = 0u16;
    until("frames are dropped", || {
        if sent.wrapping_sub(driver.sent()) < RING {
            driver.send(Offload::default(), &big);
            sent = sent.wrapping_add(1);
        }
        bench.status().ports[1].counters.dropped > 10
    });
    // The sender is free again, and reaches others.
    assert!(bench.status().ports[1].counters.waits >= 1);
    until("its ring is empty", || driver.sent() == sent);
}

#[test]
fn hostile_bytes_end_one_connection_and_not_the_port() {
    let (bench, mut driver, mut hostile) = pair(ALL_OFFLOADS);
    let too_long = u32::try_from(MAX_FRAME + 1).unwrap();
    hostile.socket.write_all(&too_long.to_be_bytes()).unwrap();
    assert!(hostile.is_let_go());
    until("the port is free", || !bench.status().ports[1].connected);
    let mut card_again = Card::plug(&bench.engine, 1);
    // Too short to be a frame, and the gateway's own address: neither gets through.
    card_again.send(&[1; 13]);
    let gateway = topology().networks[0].mac;
    card_again.send(&ethernet(card(0), gateway, 0x88b5, &[1; 100]));
    card_again.send(&frame(0, 1, 2));
    until("a frame arrives", || {
        driver.receive.seen != driver.receive.used(&driver.memory)
    });
    assert_eq!(driver.receive().unwrap().1, frame(0, 1, 2));
    assert!(driver.receive().is_none());
    let port = &bench.status().ports[1];
    assert_eq!((port.counters.refused, port.connections), (2, 2));
}

#[test]
fn a_connection_that_ends_frees_its_port() {
    let (bench, mut driver, other) = pair(ALL_OFFLOADS);
    let Card { socket, gone } = other;
    drop(socket);
    assert!(gone.recv_timeout(SECONDS).is_err());
    until("the port is free", || !bench.status().ports[1].connected);
    driver.send(Offload::default(), &frame(1, 0, 1));
    until("nobody is there", || {
        bench.status().ports[1].counters.unplugged == 1
    });
}
