//! Real guests: captured without virtio, prepared in the micro-VM, booted on virtio.
//!
//! Needs root, QEMU, mmdebstrap, GRUB's BIOS images and an unpacked kernel
//! package; says loudly what is missing.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

mod boot;
mod captured_damage;
#[path = "../fake_guest/mod.rs"]
mod fake_guest;
mod journals;
mod laboratory;
mod matrix;
mod old_kernel;
mod recipes;
mod reversal;
mod small;
mod volumes;

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;

use lifeboat_drivers::{
    Disk, Format, GuestReport, InjectRequest, Layer, MicroVmError, NicIdentity, inspect, prepare,
};

use boot::{Boot, Seen};
use laboratory::Laboratory;

const MAC: &str = "52:54:00:77:00:05";

fn request() -> InjectRequest {
    let address = Some("10.77.0.5".parse().unwrap());
    let nic = NicIdentity {
        mac: MAC.to_owned(),
        address,
    };
    InjectRequest {
        machine: "guest".into(),
        nics: vec![nic],
        target: Default::default(),
        root: None,
    }
}

fn overlay_disk(base: &Path, overlay: &Path) -> Disk {
    let top = File::options()
        .read(true)
        .write(true)
        .open(overlay)
        .unwrap();
    Disk {
        layers: vec![
            Layer {
                file: top.into(),
                format: Format::Qcow2,
            },
            Layer {
                file: File::open(base).unwrap().into(),
                format: Format::Raw,
            },
        ],
    }
}

fn hash(path: &Path) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path).unwrap()).unwrap();
    hasher.finalize().to_hex().to_string()
}

fn check_guest_report(guest: &GuestReport, kind: &str) {
    assert_eq!(guest.os.id, "debian");
    assert_eq!(guest.hostname, format!("guest-{kind}"));
    assert_eq!(guest.root.root_argument.as_deref(), Some("/dev/sda1"));
    assert_eq!(guest.root.filesystem, "ext4");
    assert_eq!(guest.kernels.len(), 1);
    assert!(!guest.kernels[0].virtio_present);
    let card = guest
        .interfaces
        .iter()
        .find(|interface| interface.name == "enp9s0")
        .unwrap();
    assert_eq!(card.addresses, ["10.77.0.5/24"]);
    assert_eq!(card.gateway.as_deref(), Some("10.77.0.1"));
    assert!(
        guest
            .enabled_units
            .iter()
            .any(|unit| unit.ends_with("/marker.service"))
    );
    assert!(guest.packages.iter().any(|package| package == kind));
}

fn check_machine_folder(folder: &Path, kind: &str) {
    let hostname = std::fs::read_to_string(folder.join("etc/hostname")).unwrap();
    assert_eq!(hostname.trim(), format!("guest-{kind}"));
    assert!(
        folder
            .join("usr/lib/systemd/system/multi-user.target")
            .is_file()
    );
    let wanted = folder.join("etc/systemd/system/multi-user.target.wants/marker.service");
    assert!(
        std::fs::read_to_string(wanted)
            .unwrap()
            .contains("ExecStart=")
    );
    for secret in ["etc/shadow", "etc/gshadow", "etc/shadow-"] {
        assert!(!folder.join(secret).exists(), "{secret}");
    }
}

fn prepared_guest_boots(kind: &str) {
    let Some(laboratory) = Laboratory::open(kind) else {
        return;
    };
    let base = laboratory.guest(kind);
    let before = hash(&base);
    let vm = laboratory.micro_vm();

    let looking = Disk {
        layers: vec![Layer {
            file: File::open(&base).unwrap().into(),
            format: Format::Raw,
        }],
    };
    let folder = laboratory.directory("inspected");
    check_guest_report(&inspect(&vm, &[looking], &folder).unwrap(), kind);
    check_machine_folder(&folder, kind);

    let untouched = laboratory.overlay(&base, "untouched");
    let seen = Boot::on_virtio(&untouched, MAC).until(&["GUEST-DONE", NO_ROOT[0], NO_ROOT[1]]);
    assert!(
        NO_ROOT.iter().any(|words| seen.text.contains(words)),
        "the untouched guest was not lost for want of its root:\n{}",
        seen.tail()
    );

    let overlay = laboratory.overlay(&base, "prepared");
    let folder = laboratory.directory("prepared");
    let report = prepare(&vm, &[overlay_disk(&base, &overlay)], &request(), &folder).unwrap();
    laboratory.say(&format!("{kind}: prepared in {:.2} s", report.seconds));
    check_guest_report(&report.guest, kind);
    check_machine_folder(&folder, kind);
    assert!(
        report.verified.iter().all(|check| check.ok),
        "{:?}",
        report.verified
    );
    assert!(
        report.guest.warnings.is_empty(),
        "{:?}",
        report.guest.warnings
    );

    let again = prepare(&vm, &[overlay_disk(&base, &overlay)], &request(), &folder).unwrap();
    assert_eq!(
        again.changes.changes,
        [],
        "a second injection changes nothing"
    );

    reversal::check_reversible(&laboratory, &base, &overlay, &report.changes);
    let seen = Boot::on_virtio(&overlay, MAC).until(&["GUEST-DONE", "Kernel panic"]);
    check_booted(&seen);
    assert_eq!(hash(&base), before, "the captured volume is as it was");
}

/// What an initramfs without virtio says in the end.
const NO_ROOT: [&str; 2] = [
    "does not exist.  Dropping to a shell",
    "timeout, still waiting for following initqueue hooks",
];

fn check_booted(seen: &Seen) {
    let lines: BTreeSet<&str> = seen.text.lines().map(str::trim).collect();
    let has = |part: &str| lines.iter().any(|line| line.contains(part));
    assert!(has("disk=vda driver=virtio_blk"), "{}", seen.tail());
    assert!(
        has("GUEST-NIC name=enp9s0 address=10.77.0.5/24"),
        "{}",
        seen.tail()
    );
}

#[test]
fn an_initramfs_tools_guest_boots_on_virtio_after_injection() {
    prepared_guest_boots("initramfs-tools");
}

#[test]
fn a_dracut_guest_boots_on_virtio_after_injection() {
    prepared_guest_boots("dracut");
}

#[test]
fn what_cannot_be_prepared_is_refused_and_not_changed() {
    let Some(laboratory) = Laboratory::open("refusals") else {
        return;
    };
    let vm = laboratory.micro_vm();
    let cases: [(&str, u64, &[u8]); 4] = [
        ("luks", 0, b"LUKS\xba\xbe\x00\x02"),
        ("lvm", 512, b"LABELONE"),
        ("windows", 3, b"NTFS    "),
        ("no-root", 0, b""),
    ];
    for (name, offset, magic) in cases {
        let base = laboratory.bytes(name, 8 << 20, offset, magic);
        let overlay = laboratory.overlay(&base, name);
        let before = hash(&overlay);
        let disk = overlay_disk(&base, &overlay);
        let error = prepare(&vm, &[disk], &request(), &laboratory.directory(name)).unwrap_err();
        let MicroVmError::Refused(refusal) = &error else {
            panic!("{name}: {error}")
        };
        let reason = serde_json::to_value(refusal).unwrap()["reason"].clone();
        assert_eq!(reason, name, "{refusal}");
        assert_eq!(hash(&overlay), before, "{name}");
    }
}

#[test]
fn a_micro_vm_that_takes_too_long_is_ended() {
    let Some(laboratory) = Laboratory::open("timeout") else {
        return;
    };
    let mut vm = laboratory.micro_vm();
    vm.timeout = std::time::Duration::from_millis(300);
    let base = laboratory.bytes("slow", 1 << 20, 0, b"");
    let disk = Disk {
        layers: vec![Layer {
            file: File::open(&base).unwrap().into(),
            format: Format::Raw,
        }],
    };
    let error = inspect(&vm, &[disk], &laboratory.directory("slow")).unwrap_err();
    assert!(matches!(error, MicroVmError::Timeout { .. }), "{error}");
}

#[test]
fn a_qemu_that_fails_says_why() {
    let Some(laboratory) = Laboratory::open("failure") else {
        return;
    };
    let vm = laboratory.micro_vm();
    let base = laboratory.bytes("not-qcow2", 1 << 20, 0, b"");
    let disk = Disk {
        layers: vec![Layer {
            file: File::open(&base).unwrap().into(),
            format: Format::Qcow2,
        }],
    };
    let error = inspect(&vm, &[disk], &laboratory.directory("failure")).unwrap_err();
    assert!(matches!(error, MicroVmError::NoReport { .. }), "{error}");
    assert!(error.to_string().contains("not in qcow2 format"), "{error}");
}
