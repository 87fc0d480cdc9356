use proptest::prelude::*;

use super::*;
use crate::config::{NetworkConfig, PortConfig, SwitchConfig};
use crate::frame::{PROTOCOL_TCP, ipv4};

const WEB: MacAddr = MacAddr([0x52, 0x54, 0, 0, 0, 1]);
const DATA: MacAddr = MacAddr([0x52, 0x54, 0, 0, 0, 2]);

fn address(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

fn router() -> Router {
    let network = |name: &str, cidr: &str, gateway: Option<&str>| NetworkConfig {
        name: name.into(),
        cidr: cidr.parse().unwrap(),
        gateway: gateway.map(address),
    };
    let port = |id: &str, network: &str, mac: MacAddr, at: &str| PortConfig {
        id: id.into(),
        machine: id.into(),
        network: network.into(),
        mac,
        address: Some(address(at)),
        socket: id.into(),
        kind: Default::default(),
    };
    let config = SwitchConfig {
        session: "s".into(),
        control_socket: "c".into(),
        networks: vec![
            network("lan", "10.0.0.0/24", Some("10.0.0.1")),
            network("back", "10.1.0.0/24", Some("10.1.0.1")),
            network("alone", "10.2.0.0/24", None),
        ],
        ports: vec![
            port("web", "lan", WEB, "10.0.0.10"),
            port("data", "back", DATA, "10.1.0.10"),
        ],
        run_as: None,
        socket_owner: None,
        log: None,
    };
    Router::new(&config.validate().unwrap())
}

fn gateway(router: &Router, network: usize) -> MacAddr {
    router.networks[network].endpoint.mac
}

fn tcp_syn(port: u16) -> Vec<u8> {
    let mut segment = vec![0; 20];
    segment[0..2].copy_from_slice(&40_000u16.to_be_bytes());
    segment[2..4].copy_from_slice(&port.to_be_bytes());
    segment[12] = 5 << 4;
    segment[13] = 2;
    segment
}

fn syn(router: &Router, to: &str, port: u16) -> Vec<u8> {
    let packet = ipv4(
        address("10.0.0.10"),
        address(to),
        PROTOCOL_TCP,
        &tcp_syn(port),
    );
    ethernet(gateway(router, 0), WEB, ETHERTYPE_IPV4, &packet)
}

fn at(network: usize) -> Ingress {
    Ingress {
        network,
        port: Some(network),
    }
}

fn frames(out: &[Output]) -> Vec<(usize, &[u8])> {
    out.iter()
        .filter_map(|output| match output {
            Output::Frame { network, frame, .. } => Some((*network, frame.as_slice())),
            Output::Local { .. } => None,
        })
        .collect()
}

fn ask(router: &mut Router, seconds: u64, sender: &str, target: &str) -> Vec<Output> {
    let station = Station {
        mac: WEB,
        address: address(sender),
    };
    let mut out = Vec::new();
    router.arp(
        Duration::from_secs(seconds),
        0,
        &replies::arp_request(station, address(target)),
        &mut out,
    );
    out
}

#[test]
fn the_gateway_answers_arp_and_ping() {
    let mut router = router();
    let out = ask(&mut router, 0, "10.0.0.10", "10.0.0.1");
    let reply = Arp::parse(&frames(&out)[0].1[14..]).unwrap();
    assert_eq!(
        (reply.sender, reply.sender_mac),
        (address("10.0.0.1"), gateway(&router, 0))
    );

    let ping = replies::echo_request(address("10.0.0.10"), address("10.0.0.1"), 1, 1);
    let mut frame = ethernet(gateway(&router, 0), WEB, ETHERTYPE_IPV4, &ping);
    let mut out = Vec::new();
    assert_eq!(
        router.route(
            Duration::ZERO,
            at(0),
            &Offload::default(),
            &mut frame,
            &mut out
        ),
        Route::Consumed
    );
    let (network, reply) = frames(&out)[0];
    assert_eq!((network, destination(reply)), (0, Some(WEB)));
    assert!(parse_echo_reply(&Ipv4::parse(&reply[14..]).unwrap()).is_some());
}

#[test]
fn a_packet_crosses_to_the_other_network() {
    let mut router = router();
    let mut frame = syn(&router, "10.1.0.10", 5432);
    let mut out = Vec::new();
    assert_eq!(
        router.route(
            Duration::ZERO,
            at(0),
            &Offload::default(),
            &mut frame,
            &mut out
        ),
        Route::Consumed
    );
    let (network, question) = frames(&out)[0];
    let question = Arp::parse(&question[14..]).unwrap();
    assert_eq!(
        (network, question.sender, question.target),
        (1, address("10.1.0.1"), address("10.1.0.10"))
    );

    let station = Station {
        mac: DATA,
        address: address("10.1.0.10"),
    };
    let asker = Station {
        mac: gateway(&router, 1),
        address: address("10.1.0.1"),
    };
    let mut out = Vec::new();
    router.arp(
        Duration::ZERO,
        1,
        &replies::arp_reply(station, asker),
        &mut out,
    );
    let (network, sent) = frames(&out)[0];
    assert_eq!(
        (network, destination(sent), source(sent)),
        (1, Some(DATA), Some(gateway(&router, 1)))
    );
    assert_eq!(Ipv4::parse(&sent[14..]).unwrap().ttl(), 63);

    let mut again = syn(&router, "10.1.0.10", 5432);
    let mut out = Vec::new();
    assert_eq!(
        router.route(
            Duration::ZERO,
            at(0),
            &Offload::default(),
            &mut again,
            &mut out
        ),
        Route::Forward(1)
    );
    assert_eq!(destination(&again), Some(DATA));
}

#[test]
fn an_outside_address_is_noted_and_refused() {
    let mut router = router();
    for to in ["10.9.0.9", "10.2.0.9"] {
        let mut frame = syn(&router, to, 389);
        let mut out = Vec::new();
        assert_eq!(
            router.route(
                Duration::ZERO,
                at(0),
                &Offload::default(),
                &mut frame,
                &mut out
            ),
            Route::Consumed
        );
        assert_eq!(frames(&out).len(), 2, "unreachable and reset");
    }
    let list = router.unanswered().list();
    assert_eq!(list.len(), 2);
    assert_eq!(
        (list[1].from.as_str(), list[1].to, list[1].port),
        ("web", address("10.9.0.9"), Some(389))
    );
}

#[test]
fn an_absent_neighbour_is_answered_for_but_no_machine_probe_or_announcement() {
    let mut router = router();
    for (sender, target) in [
        ("10.0.0.10", "10.0.0.10"),
        ("0.0.0.0", "10.0.0.99"),
        ("10.0.0.5", "10.0.0.10"),
    ] {
        assert!(ask(&mut router, 0, sender, target).is_empty());
        assert!(
            ask(&mut router, 5, sender, target).is_empty(),
            "{sender} {target}"
        );
    }
    assert!(ask(&mut router, 0, "10.0.0.10", "10.0.0.99").is_empty());
    assert_eq!(ask(&mut router, 1, "10.0.0.10", "10.0.0.99").len(), 1);
    let mut frame = syn(&router, "10.0.0.99", 53);
    router.route(
        Duration::from_secs(1),
        at(0),
        &Offload::default(),
        &mut frame,
        &mut Vec::new(),
    );
    assert_eq!(router.unanswered().list()[0].port, Some(53));
}

#[test]
fn a_machine_that_is_not_there_yet_is_not_listed() {
    let mut router = router();
    let mut frame = syn(&router, "10.1.0.10", 5432);
    router.route(
        Duration::ZERO,
        at(0),
        &Offload::default(),
        &mut frame,
        &mut Vec::new(),
    );
    let mut out = Vec::new();
    for second in 1..5 {
        router.tick(Duration::from_secs(second), &mut out);
    }
    assert!(router.unanswered().list().is_empty());
    let (network, last) = *frames(&out).last().unwrap();
    assert_eq!(
        (network, Ipv4::parse(&last[14..]).unwrap().protocol()),
        (0, PROTOCOL_ICMP)
    );
}

#[test]
fn the_last_hop_is_told() {
    let mut router = router();
    let mut frame = syn(&router, "10.1.0.10", 80);
    frame[14 + 8] = 2;
    replies::decrement_ttl(&mut frame[14..]);
    let mut out = Vec::new();
    router.route(
        Duration::ZERO,
        at(0),
        &Offload::default(),
        &mut frame,
        &mut out,
    );
    assert_eq!(frames(&out)[0].1[14 + 20], 11);
}

#[test]
fn errors_are_rate_limited() {
    let mut router = router();
    let mut out = Vec::new();
    for _ in 0..1000 {
        let packet = ipv4(
            address("10.0.0.10"),
            address("8.8.8.8"),
            PROTOCOL_UDP,
            &[0, 9, 0, 53, 0, 8, 0, 0],
        );
        let mut frame = ethernet(gateway(&router, 0), WEB, ETHERTYPE_IPV4, &packet);
        router.route(
            Duration::ZERO,
            at(0),
            &Offload::default(),
            &mut frame,
            &mut out,
        );
    }
    assert_eq!(out.len(), ERRORS_PER_SECOND as usize);
    assert_eq!(router.unanswered().list()[0].count, 1000);
}

proptest! {
    #[test]
    fn hostile_frames_never_panic_and_never_leave_for_the_sender_s_own_choice(
        raw in proptest::collection::vec(any::<u8>(), 0..200), ip: bool, to_gateway: bool, seconds in 0u64..10,
    ) {
        let mut router = router();
        let mut frame = raw;
        if to_gateway && frame.len() >= 14 {
            frame[0..6].copy_from_slice(&gateway(&router, 0).0);
        }
        if frame.len() >= 14 {
            let kind = if ip { ETHERTYPE_IPV4 } else { ETHERTYPE_ARP };
            frame[12..14].copy_from_slice(&kind.to_be_bytes());
        }
        let mut out = Vec::new();
        router.arp(Duration::from_secs(seconds), 0, &frame, &mut out);
        router.route(Duration::from_secs(seconds), at(0), &Offload::default(), &mut frame, &mut out);
        router.tick(Duration::from_secs(seconds + 1), &mut out);
        prop_assert!(out.len() < 16);
    }

    #[test]
    fn any_ip_packet_is_dealt_with(payload: Vec<u8>, from: u32, to: u32, protocol: u8) {
        let mut router = router();
        let packet = ipv4(from.into(), to.into(), protocol, &payload);
        let mut frame = ethernet(gateway(&router, 0), WEB, ETHERTYPE_IPV4, &packet);
        let mut out = Vec::new();
        router.route(Duration::ZERO, at(0), &Offload::default(), &mut frame, &mut out);
        prop_assert!(out.len() <= 2);
    }
}
