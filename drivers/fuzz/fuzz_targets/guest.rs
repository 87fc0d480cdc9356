//! Whole injections: as it was or complete, done once, taken back exactly.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::collections::BTreeMap;
use std::path::Path;

use lifeboat_drivers::guest::apply::{apply, undo};
use lifeboat_drivers::guest::root::Root;
use lifeboat_drivers::guest::{kernels, plan, verify::verify};
use lifeboat_drivers::initrd::cpio::Writer;
use lifeboat_drivers::{GuestReport, InjectRequest, NicIdentity, Partition};

const VERSION: &str = "6.1.0";

/// Files that the input may fill, and links that it may make of them.
const PLACES: [&str; 24] = [
    "etc/fstab",
    "etc/crypttab",
    "etc/network/interfaces",
    "etc/netplan/a.yaml",
    "etc/NetworkManager/system-connections/a",
    "etc/sysconfig/network-scripts/ifcfg-eth0",
    "etc/systemd/network/a.network",
    "etc/udev/rules.d/70-persistent-net.rules",
    "etc/initramfs-tools/modules",
    "etc/mkinitcpio.conf",
    "etc/sysconfig/kernel",
    "etc/lvm/lvm.conf",
    "etc/lvm/lvmlocal.conf",
    "etc/lvm/devices/system.devices",
    "etc/multipath.conf",
    "etc/default/grub",
    "boot/grub/grub.cfg",
    "boot/grub/grubenv",
    "boot/grub/device.map",
    "boot/loader/entries/a.conf",
    "etc/selinux/config",
    "etc/selinux/targeted/contexts/files/file_contexts",
    "lib/modules/6.1.0/modules.dep",
    "lib/udev/write_net_rules",
];

fuzz_target!(|input: Vec<(u8, Option<u8>, Vec<u8>)>| {
    let directory = tempfile::tempdir().expect("a directory");
    let root = Root::open(directory.path()).expect("the root");
    usual(&root);
    for (place, link, content) in input.iter().take(8) {
        let path = PLACES[usize::from(*place) % PLACES.len()];
        let _ = match link {
            Some(target) => {
                let _ = root.remove(path);
                root.symlink(
                    &format!("/{}", PLACES[usize::from(*target) % PLACES.len()]),
                    path,
                )
            }
            None => root.write(path, content),
        };
    }
    let before = snapshot(directory.path());
    let Ok(kernels) = kernels::find(&root, &mut Vec::new()) else {
        return;
    };
    let guest = report();
    let request = request();
    let Ok(plan) = plan::plan(&root, &guest, &kernels, &request) else {
        assert_eq!(snapshot(directory.path()), before);
        return;
    };
    let Ok(manifest) = apply(&root, &plan) else {
        assert_eq!(snapshot(directory.path()), before);
        return;
    };
    let after: Result<Vec<_>, _> = kernels
        .iter()
        .map(|kernel| kernels::read_again(&root, kernel))
        .collect();
    verify(
        &root,
        &guest,
        &after.expect("our own images"),
        &request,
        &manifest,
    );
    undo(&root, &manifest).expect("nothing was changed since");
    assert_eq!(snapshot(directory.path()), before);
});

fn usual(root: &Root) {
    let write = |path: &str, content: &[u8]| root.write(path, content).expect("a file");
    let mut dep = String::new();
    for name in ["virtio_pci", "virtio_blk", "virtio_net"] {
        dep.push_str(&format!("{name}.ko:\n"));
        write(&format!("lib/modules/{VERSION}/{name}.ko"), b"module");
    }
    write(
        &format!("lib/modules/{VERSION}/modules.dep"),
        dep.as_bytes(),
    );
    let mut writer = Writer::new();
    for path in [
        "conf/initramfs.conf",
        "scripts/functions",
        "conf/modules",
        "etc/lvm/lvm.conf",
    ] {
        writer.file(path, 0o644, b"");
    }
    write(&format!("boot/initrd.img-{VERSION}"), &writer.finish());
    write("etc/fstab", b"/dev/sda1 / ext4\n");
}

fn report() -> GuestReport {
    let mut guest = GuestReport::default();
    guest.partitions.push(Partition {
        number: 1,
        uuid: Some("aaaa".to_owned()),
        ..Partition::default()
    });
    guest.root.partition = (0, 1);
    guest
}

fn request() -> InjectRequest {
    InjectRequest {
        machine: "guest".to_owned(),
        nics: vec![NicIdentity {
            mac: "52:54:00:00:00:05".to_owned(),
            address: Some("10.0.0.5".parse().expect("an address")),
        }],
        target: Default::default(),
        root: None,
    }
}

fn snapshot(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(directory).expect("a directory").flatten() {
        let path = entry.path();
        let kind = entry.file_type().expect("a kind");
        let content = if kind.is_dir() {
            found.extend(snapshot(&path));
            Vec::new()
        } else if kind.is_symlink() {
            let target = std::fs::read_link(&path).expect("a target");
            target.display().to_string().into_bytes()
        } else {
            std::fs::read(&path).expect("a content")
        };
        found.insert(path.display().to_string(), content);
    }
    found
}
