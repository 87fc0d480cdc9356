//! Every language of network configuration, and which card is which.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lifeboat_drivers::guest::network::links::{decide, persistent_rules};
use lifeboat_drivers::guest::network::{Knowledge, interfaces_in};
use lifeboat_drivers::{NetworkStyle, NicIdentity, NicModel};

fuzz_target!(|input: (u8, &str, &str)| {
    let (style, name, text) = input;
    let style = match style % 5 {
        0 => NetworkStyle::Ifupdown,
        1 => NetworkStyle::Networkd,
        2 => NetworkStyle::Netplan,
        3 => NetworkStyle::NetworkManager,
        _ => NetworkStyle::Ifcfg,
    };
    let knowledge = Knowledge {
        configured: interfaces_in(style, name, text),
        remembered: Vec::new(),
    };
    let nic = |last: u8, address: Option<&str>| NicIdentity {
        mac: format!("52:54:00:00:00:{last:02x}"),
        address: address.map(|text| text.parse().expect("an address")),
    };
    let nics = [
        nic(1, Some("10.0.0.5")),
        nic(2, None),
        nic(3, Some("fd00::5")),
    ];
    let links = decide(&knowledge, &nics, NicModel::Virtio).expect("no address is given twice");
    assert!(links.cards.len() <= nics.len());
    for (file, content) in &links.files {
        assert!(!file.contains(['/', '\n']) && content.lines().count() == 6);
    }
    let once = persistent_rules(text, &links.cards);
    assert_eq!(persistent_rules(&once, &links.cards), once);
});
