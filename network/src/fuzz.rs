//! Entries for fuzzers: bytes in, no panic out. Exercised by property tests until a fuzzer runs.

use std::time::Duration;

use crate::config::Topology;
use crate::forwarding::{Forwarding, Verdict};
use crate::frame::{OFFLOAD_HEADER, Offload};
use crate::offload;
use crate::router::{Ingress, Router};

/// Everything that a guest's frame meets between its ring and another guest's: offload header,
/// learning, ARP, routing, segmentation. `bytes` are what the guest put into its transmit ring.
pub fn fuzz_frame(topology: &Topology, bytes: &[u8]) {
    let Some((header, frame)) = bytes.split_first_chunk::<OFFLOAD_HEADER>() else {
        return;
    };
    let Some(offload) = Offload::parse(header, frame.len()) else {
        return;
    };
    let mut frame = frame.to_vec();
    let (mut forwarding, mut router) = (Forwarding::new(topology), Router::new(topology));
    let mut out = Vec::new();
    for second in 0..5 {
        let now = Duration::from_secs(second);
        let verdict = forwarding.ingress(0, &frame);
        router.arp(now, 0, &frame, &mut out);
        if verdict == Verdict::Endpoint {
            router.route(
                now,
                Ingress {
                    network: 0,
                    port: Some(0),
                },
                &offload,
                &mut frame,
                &mut out,
            );
        }
        router.tick(now, &mut out);
    }
    let _ = offload::prepare(&offload, &frame);
}

/// What a guest's web server may answer to a probe.
pub fn fuzz_http(bytes: &[u8]) {
    let _ = crate::http::progress(bytes, false);
    let _ = crate::http::progress(bytes, true);
}

/// What a requester may write to the control socket.
pub fn fuzz_request(bytes: &[u8]) {
    let _ = serde_json::from_slice::<crate::control::Request>(bytes);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::SwitchConfig;
    use crate::frame::{ETHERTYPE_ARP, ETHERTYPE_IPV4};

    fn topology() -> Topology {
        let text = r#"{"session":"s","control_socket":"c",
            "networks":[{"name":"lan","cidr":"10.0.0.0/24","gateway":"10.0.0.1"},{"name":"b","cidr":"10.1.0.0/24","gateway":"10.1.0.1"}],
            "ports":[{"id":"p","machine":"m","network":"lan","mac":"52:54:00:00:00:01","address":"10.0.0.9","socket":"p"},
                     {"id":"q","machine":"n","network":"b","mac":"52:54:00:00:00:02","address":"10.1.0.9","socket":"q"}]}"#;
        serde_json::from_str::<SwitchConfig>(text)
            .unwrap()
            .validate()
            .unwrap()
    }

    /// Frames that get past the first checks more often than random bytes do.
    fn plausible() -> impl Strategy<Value = Vec<u8>> {
        let header = prop_oneof![
            Just(vec![0; OFFLOAD_HEADER]),
            Just(vec![1, 1, 54, 0, 0x40, 0, 34, 0, 16, 0, 0, 0]),
            Just(vec![1, 4, 74, 0, 0x40, 0, 54, 0, 16, 0, 0, 0]),
        ];
        let kind = prop_oneof![
            Just(ETHERTYPE_IPV4),
            Just(ETHERTYPE_ARP),
            Just(0x86dd),
            any::<u16>()
        ];
        let first = prop_oneof![Just(0x45u8), Just(0x4f), Just(0x60), any::<u8>()];
        let body = proptest::collection::vec(any::<u8>(), 0..300);
        (header, any::<bool>(), kind, first, body).prop_map(
            |(header, gateway, kind, first, body)| {
                let to = if gateway {
                    topology().networks[0].mac.0
                } else {
                    [0xff; 6]
                };
                let mut bytes = [header, to.to_vec(), vec![0x52, 0x54, 0, 0, 0, 1]].concat();
                bytes.extend_from_slice(&kind.to_be_bytes());
                bytes.push(first);
                bytes.extend_from_slice(&body);
                bytes
            },
        )
    }

    proptest! {
        #[test]
        fn any_bytes(bytes: Vec<u8>) {
            fuzz_frame(&topology(), &bytes);
            fuzz_http(&bytes);
            fuzz_request(&bytes);
        }

        #[test]
        fn plausible_frames(bytes in plausible()) {
            fuzz_frame(&topology(), &bytes);
        }
    }
}
