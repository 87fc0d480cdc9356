//! Filesystems that a guest names and that nobody can see: decided before any
//! write, and the same afterwards.

use lifeboat_drivers::Refusal;
use lifeboat_drivers::guest::apply::apply;
use lifeboat_drivers::guest::plan::{Edit, Plan};

use crate::guest::{Guest, ROOT, report};

const VERSION: &str = "6.1.0-1-amd64";

fn with_fstab(lines: &str, grub: &str) -> Guest {
    let fstab = format!("UUID={ROOT} / xfs defaults 0 0\n{lines}");
    let guest = Guest::new(&[
        ("etc/fstab", &fstab),
        ("boot/grub/grub.cfg", grub),
        (
            "etc/network/interfaces",
            "iface eth0 inet static\n address 10.0.0.5/24\n",
        ),
    ]);
    guest.kernel(VERSION, ".ko");
    let path = format!("boot/initrd.img-{VERSION}");
    guest.initramfs(&path, "initramfs-tools", VERSION, &[]);
    guest
}

/// Data on iSCSI, in LUKS, on filesystems that are not known here.
#[test]
fn data_that_cannot_be_seen_is_worth_a_warning() {
    let lines = "UUID=5ca5-1 /iscsi xfs _netdev 0 0\n\
                 UUID=other-disk /secret ext4 defaults 0 2\n\
                 LABEL=ntfs\\040data /windows ntfs defaults 0 0\n\
                 LABEL=my\\040disk /labelled xfs defaults 0 0\n\
                 UUID=gone /optional xfs nofail 0 0\n";
    let guest = with_fstab(lines, "linux /vmlinuz root=UUID=other-system ro\n");
    let mut report = report();
    report.partitions[0].label = Some("my disk".to_owned());
    // Nothing that is there is named by the boot loader.
    let refusal = guest.refusal();
    let device = "UUID=other-system".to_owned();
    let mount = "/".to_owned();
    assert_eq!(refusal, Refusal::MissingFilesystem { mount, device });
    let grub = format!(
        "linux /vmlinuz root=UUID={ROOT} resume=UUID=gone ro\nlinux /x root=UUID=other-system\n"
    );
    guest.write("boot/grub/grub.cfg", grub.as_bytes());
    let (plan, _, _) = guest.inject_into(&report);
    let about = |what: &str| {
        plan.warnings
            .iter()
            .filter(|one| one.contains(what))
            .count()
    };
    for (what, expected) in [
        ("\"/secret\" is on \"UUID=other-disk\"", 1),
        ("\"/windows\" is on", 1),
        ("other-system", 1),
        ("/boot/grub/grub.cfg names \"UUID=gone\"", 1),
        ("my", 0),
        ("5ca5-1", 0),
    ] {
        assert_eq!(about(what), expected, "{what}: {:?}", plan.warnings);
    }
    let lines = lines
        .replace("/secret ext4 defaults", "/secret ext4 defaults,nofail")
        .replace("/windows ntfs defaults", "/windows ntfs defaults,nofail");
    let text = guest.root.text("etc/fstab");
    assert!(text.ends_with(&lines), "{text}");
}

/// What comes when the guest has opened its container must be waited for:
/// services would start on an empty directory.
#[test]
fn what_a_captured_container_may_hold_is_not_made_optional() {
    let line = "UUID=in-luks /secret ext4 defaults 0 2\n";
    let container = |filesystem: Option<&str>, bytes| lifeboat_drivers::Partition {
        number: 4,
        filesystem: filesystem.map(str::to_owned),
        uuid: Some("c0".to_owned()),
        bytes,
        ..Default::default()
    };
    for (partition, closed_volumes, is_waited_for) in [
        (container(Some("luks"), 1 << 30), false, true),
        (container(None, 1 << 30), false, true),
        (container(None, 1 << 20), false, false),
        (container(Some("ext4"), 1 << 30), false, false),
        (container(Some("lvm2"), 1 << 30), false, false),
        (container(Some("lvm2"), 1 << 30), true, true),
        (container(Some("raid"), 1 << 30), true, true),
    ] {
        let guest = with_fstab(line, "");
        let mut report = report();
        report.closed_volumes = closed_volumes;
        report.partitions.push(partition);
        let (plan, ..) = guest.inject_into(&report);
        let told = plan.warnings.iter().filter(|one| one.contains("in-luks"));
        assert_eq!(told.count(), 1, "{:?}", plan.warnings);
        let text = guest.root.text("etc/fstab");
        assert_eq!(text.ends_with(line), is_waited_for, "{text}");
    }
}

#[test]
fn what_the_guest_cannot_start_without() {
    for mount in ["/usr", "/boot", "/boot/", "/etc", "/var"] {
        let guest = with_fstab(&format!("UUID=gone {mount} xfs defaults 0 0\n"), "");
        assert_eq!(
            guest.refusal(),
            Refusal::MissingFilesystem {
                mount: mount.trim_end_matches('/').to_owned(),
                device: "UUID=gone".to_owned(),
            }
        );
    }
    with_fstab("UUID=gone /srv xfs defaults 0 0\n", "").inject();
    with_fstab("UUID=gone /var xfs nofail 0 0\n", "").inject();
}

/// A guest that waits for a disk that never comes ends in emergency mode.
#[test]
fn names_of_the_old_hardware_that_mean_nothing_here() {
    let guest = with_fstab(
        "/dev/sdc1 /data xfs defaults 0 0\n/dev/sda1 /old xfs\n/dev/sda3 swap swap\n",
        "",
    );
    let before = guest.snapshot();
    let (plan, manifest, _) = guest.inject();
    let text = guest.root.text("etc/fstab");
    assert!(
        text.contains(
            "/dev/sdc1 /data xfs defaults,nofail 0 0\n/dev/sda1 /old xfs defaults,nofail\nUUID="
        ),
        "{text}"
    );
    let told = plan.warnings.iter().filter(|one| one.contains("(nofail)"));
    assert_eq!(told.count(), 2, "{:?}", plan.warnings);
    guest.take_back(&manifest, &before);
}

/// GRUB's map of the old disks, which one of its names is a link to.
#[test]
fn a_map_of_disks_behind_a_link_comes_back() {
    let guest = with_fstab("", "");
    guest.write("boot/grub2/device.map", b"(hd0) /dev/sda\n");
    let link = "boot/grub/device.map";
    guest.root.symlink("../grub2/device.map", link).unwrap();
    let before = guest.snapshot();
    let (_, manifest, _) = guest.inject();
    assert!(!guest.root.exists(link) && !guest.root.exists("boot/grub2/device.map"));
    guest.take_back(&manifest, &before);
}

/// A link in the place of a file that is written, which leads to nothing yet.
#[test]
fn a_file_made_through_a_link_is_taken_back_where_it_was_made() {
    let guest = with_fstab("", "");
    let card = "etc/systemd/network/10-keep-eth0.link";
    guest.root.symlink("/var/elsewhere", card).unwrap();
    guest.root.make_parents("var/x").unwrap();
    let before = guest.snapshot();
    let plan = Plan {
        edits: vec![Edit::Write {
            path: card.to_owned(),
            content: b"new".to_vec(),
        }],
        ..Plan::default()
    };
    let manifest = apply(&guest.root, &plan).unwrap();
    assert_eq!(manifest.changes[0].path, "var/elsewhere");
    assert_eq!(guest.root.text("var/elsewhere"), "new");
    guest.take_back(&manifest, &before);
}
