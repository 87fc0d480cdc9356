//! What a guest remembers of its cards, arrays and volumes, says of itself, and must not tell.
#![no_main]

use libfuzzer_sys::fuzz_target;

use lifeboat_drivers::guest::arrays::ArrayNames;
use lifeboat_drivers::guest::facts;
use lifeboat_drivers::guest::identity::DeviceMap;
use lifeboat_drivers::guest::network::links::decide;
use lifeboat_drivers::guest::network::{Knowledge, interfaces_in, remembered_in};
use lifeboat_drivers::guest::root::Root;
use lifeboat_drivers::guest::secrets::hide_passwords;
use lifeboat_drivers::init::lvm;
use lifeboat_drivers::{NetworkStyle, NicIdentity, NicModel, Partition};

/// Files that remember cards, each in a language of its own.
const MEMORIES: [&str; 5] = [
    "a.link",
    "70-persistent-net.rules",
    "dhclient.eth0.leases",
    "internal-5fb06bd0-0bb0-7ffb-45f1-d6edd65f3e03-eth0.lease",
    "lease-eth0-dhcp-ipv4.xml",
];
const FACTS: [&str; 5] = [
    "etc/os-release",
    "etc/redhat-release",
    "etc/debian_version",
    "etc/hostname",
    "var/lib/dpkg/status",
];
const SECRETS: [&str; 3] = ["etc/x", "etc/netplan/a.yaml", "etc/pam.d/x"];

fuzz_target!(|input: (u8, &str)| {
    let (kind, text) = input;
    match kind % 5 {
        0 => cards(usize::from(kind / 5), text),
        1 => arrays(text),
        2 => facts_of(usize::from(kind / 5), text),
        3 => secrets(usize::from(kind / 5), text),
        _ => {
            let volumes = lvm::parse(text);
            assert!(volumes.is_none_or(|volumes| volumes.len() <= text.len()));
        }
    }
});

fn cards(kind: usize, text: &str) {
    let remembered = remembered_in(MEMORIES[kind % MEMORIES.len()], text);
    assert!(remembered.len() <= text.lines().count());
    let ifupdown = "iface eth0 inet static\n address 10.0.0.5/24\niface eth1 inet dhcp\n";
    let knowledge = Knowledge {
        configured: interfaces_in(NetworkStyle::Ifupdown, "", ifupdown),
        remembered,
    };
    let nic = |last: u8, address: &str| NicIdentity {
        mac: format!("52:54:00:00:00:{last:02x}"),
        address: Some(address.parse().expect("an address")),
    };
    let nics = [nic(1, "10.0.0.5"), nic(2, "10.0.0.6")];
    let links = decide(&knowledge, &nics, NicModel::Virtio).expect("no address is given twice");
    assert!(links.cards.len() <= nics.len());
    for (file, content) in &links.files {
        assert!(!file.contains(['/', '\n']) && content.lines().count() == 6);
    }
}

/// The text is what configures arrays and what is mounted from them.
fn arrays(text: &str) {
    let array = |number: u32| Partition {
        number,
        uuid: Some(format!("aaaa{number}")),
        volume: Some(format!("/dev/md/{number}")),
        names: vec![
            format!("/dev/disk/by-id/md-uuid-1:2:3:{number}"),
            format!("/dev/disk/by-id/md-name-host:{number}"),
        ],
        ..Partition::default()
    };
    let partitions = [array(1), array(2)];
    let map = DeviceMap::new(&partitions, (0, 1)).knowing_arrays(ArrayNames::parse(text));
    let once = map.edit_fstab(text).text;
    assert_eq!(map.edit_fstab(&once).text, once);
    assert_eq!(once.lines().count(), text.lines().count());
}

fn facts_of(kind: usize, text: &str) {
    let directory = tempfile::tempdir().expect("a directory");
    let root = Root::open(directory.path()).expect("the root");
    let path = FACTS[kind % FACTS.len()];
    root.write(path, text.as_bytes()).expect("a file");
    facts::operating_system(&root);
    facts::kinship(&root);
    assert!(!facts::hostname(&root).contains('\n'));
    assert!(facts::packages(&root).len() <= text.lines().count());
}

fn secrets(kind: usize, text: &str) {
    let mut once = text.as_bytes().to_vec();
    let path = SECRETS[kind % SECRETS.len()];
    hide_passwords(path, &mut once);
    assert_eq!(once.len(), text.len());
    let mut pairs = text.bytes().zip(&once);
    assert!(pairs.all(|(old, new)| old == *new || *new == b'*' && old != b'\n'));
    if text.starts_with("password=x") {
        assert!(once.starts_with(b"password=*"));
    }
}
