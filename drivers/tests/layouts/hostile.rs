//! Guests that were made to do harm: nothing outside is touched, the work and
//! the memory are bounded, and the guest is as it was or complete.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

use lifeboat_drivers::guest::budget::Budget;
use lifeboat_drivers::guest::extract::{Limits, Sink, extract};
use lifeboat_drivers::guest::network::configured;
use lifeboat_drivers::guest::root::Root;
use lifeboat_drivers::guest::{apply, facts, kernels, plan};
use lifeboat_drivers::{Firmware, GuestReport, Refusal};

use crate::guest::{Guest, archive, report, request};

const VERSION: &str = "6.1.0-1-amd64";

fn debian(files: &[(&str, &str)]) -> Guest {
    let guest = Guest::new(files);
    guest.kernel(VERSION, ".ko");
    guest.initramfs(&image(), "initramfs-tools", VERSION, &[]);
    guest
}

fn image() -> String {
    format!("boot/initrd.img-{VERSION}")
}

/// Everything that is done to a guest, which may fail, but soon; the answer
/// holds the paths that were changed.
fn everything(root: &Root) -> Result<Vec<String>, String> {
    let start = Instant::now();
    configured(root).map_err(|refusal| refusal.to_string())?;
    facts::units(root);
    facts::operating_system(root);
    extract(root, Limits::default(), &mut Nowhere).map_err(|error| error.to_string())?;
    let found = kernels::find(root, &mut Vec::new()).map_err(|refusal| refusal.to_string());
    let done = found.and_then(|kernels| {
        let plan = plan::plan(root, &report(), &kernels, &request())
            .map_err(|refusal| refusal.to_string())?;
        let manifest = apply::apply(root, &plan).map_err(|error| error.to_string())?;
        let changes = manifest.changes.into_iter();
        Ok(changes.map(|change| change.path).collect())
    });
    assert!(
        start.elapsed() < Duration::from_secs(120),
        "{:?}",
        start.elapsed()
    );
    done
}

struct Nowhere;

impl Sink for Nowhere {
    fn file(&mut self, _: &str, _: u64, content: &mut dyn std::io::Read) -> std::io::Result<()> {
        std::io::copy(content, &mut std::io::sink()).map(|_| ())
    }
}

/// Everything below a directory, without following links.
fn tree(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        if entry.file_type().unwrap().is_dir() {
            found.extend(tree(&path));
        }
        found.insert(
            path.display().to_string(),
            std::fs::read(&path).unwrap_or_default(),
        );
    }
    found
}

/// A link in the place of a file or a directory, one in each guest, so that
/// none hides another.
#[test]
fn no_link_leads_out_of_the_guest() {
    let outside = tempfile::tempdir().unwrap();
    let canary = outside.path().join("canary");
    std::fs::write(&canary, "/dev/sda2 / xfs defaults 0 0\nroot=/dev/sda2\n").unwrap();
    let before = tree(outside.path());
    let file = canary.display().to_string();
    let targets = [
        (file.clone(), outside.path().display().to_string()),
        (
            format!("../../../../../../../../../../..{file}"),
            format!("../../../../../../../../..{}", outside.path().display()),
        ),
        (
            format!("/proc/self/root{file}"),
            format!("/proc/self/root{}", outside.path().display()),
        ),
        ("loop".to_owned(), ".".to_owned()),
    ];
    for (number, (place, is_file, is_written)) in PLACES.into_iter().enumerate() {
        // One of the ways out, and a way to itself.
        for (to_file, to_directory) in [&targets[number % 3], &targets[3]] {
            let guest = every_edit();
            let path = guest.path().join(place);
            let target = if is_file { to_file } else { to_directory };
            // Where the link leads inside the guest, there is what it stands for.
            let inside = target.trim_start_matches("../").trim_start_matches('/');
            let is_loop = ["loop", "."].contains(&target.as_str());
            let moved = guest.path().join(if is_loop { "aside" } else { inside });
            for parent in [moved.parent(), path.parent()] {
                std::fs::create_dir_all(parent.unwrap()).unwrap();
            }
            if std::fs::rename(&path, &moved).is_err() && !is_file {
                std::fs::create_dir(&moved).unwrap();
            }
            symlink(target, &path).unwrap();
            let done = everything(&guest.root);
            assert_eq!(tree(outside.path()), before, "{place} -> {target}");
            // Either it was changed inside the guest, or it is why nothing was.
            let reached = match &done {
                Ok(changed) => changed
                    .iter()
                    .any(|path| path.starts_with(place) || path.starts_with(inside)),
                Err(text) => text.contains(place),
            };
            assert!(
                reached || !is_written || is_loop,
                "{place} -> {target}: {done:?}"
            );
        }
    }
    // The control: without links each of the places is written.
    let changed = everything(&every_edit().root).unwrap();
    for (place, _, is_written) in PLACES {
        let is_changed = changed.iter().any(|path| path.starts_with(place));
        assert_eq!(is_changed, is_written, "{place}: {changed:?}");
    }
}

/// What a link takes the place of, whether that is a file, and whether an
/// injection writes to it or below it.
const PLACES: [(&str, bool, bool); 18] = [
    ("etc/fstab", true, true),
    ("etc/crypttab", true, true),
    ("etc/systemd/network", false, true),
    ("etc/systemd/network/10-keep-eth0.link", true, true),
    ("etc/systemd/system", false, true),
    ("etc/initramfs-tools/modules", true, true),
    ("etc/initramfs-tools", false, true),
    ("etc/lvm/lvm.conf", true, true),
    ("etc/cloud/cloud.cfg.d", false, true),
    ("etc/udev/rules.d/70-persistent-net.rules", true, true),
    ("boot/grub/grub.cfg", true, true),
    ("boot/grub/device.map", true, true),
    ("boot/loader", false, false),
    ("etc/selinux/config", true, false),
    ("etc/netplan", false, false),
    ("boot/efi", false, false),
    ("usr/lib/systemd/user", false, false),
    ("var/log", false, false),
];

/// A guest in which an injection does all that it can.
fn every_edit() -> Guest {
    debian(&[
        ("etc/fstab", "/dev/sda2 / xfs defaults 0 0\n"),
        ("etc/crypttab", "swap /dev/sda3 none luks\n"),
        ("etc/initramfs-tools/modules", ""),
        (
            "etc/lvm/lvm.conf",
            "devices {\n\tfilter = [ \"a|^/dev/sd.*|\", \"r|.*|\" ]\n}\n",
        ),
        ("etc/cloud/cloud.cfg", ""),
        ("lib/udev/write_net_rules", ""),
        ("boot/grub/grub.cfg", "linux /vmlinuz root=/dev/sda2 ro\n"),
        ("boot/grub/device.map", "(hd0) /dev/sda\n"),
        ("usr/lib/systemd/system/open-vm-tools.service", ""),
        (
            "etc/network/interfaces",
            "iface eth0 inet static\n address 10.0.0.5/24\n",
        ),
    ])
}

#[test]
fn names_that_forge_lines_are_not_seen() {
    let guest = debian(&[("etc/hostname", "a\nb")]);
    let forged = guest
        .path()
        .join(format!("boot/initrd.img-{VERSION}\nforged \u{1b}[2J"));
    std::fs::write(forged, "no image at all").unwrap();
    std::fs::create_dir_all(guest.path().join("etc/systemd/system/a\nb.wants")).unwrap();
    let (enabled, _) = facts::units(&guest.root);
    assert!(enabled.is_empty(), "{enabled:?}");
    let (_, manifest, images) = guest.inject();
    assert_eq!(images.len(), 1);
    assert!(
        manifest
            .changes
            .iter()
            .all(|change| !change.path.contains(char::is_control))
    );
    assert_eq!(facts::hostname(&guest.root), "a");
}

/// Special files in the place of configuration: nobody waits for them.
#[test]
fn special_files_are_no_configuration() {
    let places = [
        "etc/fstab",
        "etc/network/interfaces",
        "etc/initramfs-tools/modules",
        "boot/grub/grub.cfg",
        "boot/initrd.img-pipe",
        "etc/netplan/a.yaml",
    ];
    let guest = debian(&[]);
    for place in places {
        let path = guest.path().join(place);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    }
    let socket = std::os::unix::net::UnixListener::bind(guest.path().join("etc/crypttab"));
    assert!(socket.is_ok());
    let before = std::fs::read(guest.path().join(image())).unwrap();
    // A pipe where a list must be written: refused by the write, and taken back.
    let error = everything(&guest.root).unwrap_err();
    assert!(error.contains("not a regular file"), "{error}");
    assert_eq!(std::fs::read(guest.path().join(image())).unwrap(), before);
    std::fs::remove_file(guest.path().join("etc/initramfs-tools/modules")).unwrap();
    everything(&guest.root).unwrap();
}

#[test]
fn huge_directories_take_bounded_work() {
    let guest = debian(&[]);
    for directory in [
        "boot/loader/entries",
        "etc/netplan",
        "etc/systemd/system/a.wants",
        "var/log",
    ] {
        let directory = guest.path().join(directory);
        std::fs::create_dir_all(&directory).unwrap();
        for number in 0..50_000 {
            File::create(directory.join(format!("f{number}.yaml"))).unwrap();
        }
    }
    everything(&guest.root).unwrap();
}

#[test]
fn huge_files_are_left_as_they_are() {
    let guest = debian(&[]);
    for path in [
        "etc/fstab",
        "etc/network/interfaces",
        "boot/grub/grub.cfg",
        "etc/netplan/a.yaml",
    ] {
        let path = guest.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        File::create(path).unwrap().set_len(1 << 30).unwrap();
    }
    let (plan, ..) = guest.inject();
    let left = |path: &str| {
        plan.warnings
            .iter()
            .any(|warning| warning.contains(path) && warning.contains("left as it is"))
    };
    assert!(
        left("/etc/fstab") && left("/boot/grub/grub.cfg"),
        "{:?}",
        plan.warnings
    );
    assert_eq!(guest.root.size("etc/fstab").unwrap(), Some(1 << 30));
}

/// Directories full of full files: refused in one sentence, while the memory
/// that they would take is not there.
#[test]
fn full_files_are_not_all_held() {
    let of_files = |places: &[&str], content: &str, count: usize| {
        let guest = debian(&[("etc/network/interfaces", "source /etc/network/more/*\n")]);
        for place in places {
            for number in 0..count {
                guest.write(&place.replace('#', &number.to_string()), content.as_bytes());
            }
        }
        everything(&guest.root).map(|_| ())
    };
    let full = "# x = y\n".repeat((1 << 20) / 8);
    for place in [
        "etc/network/more/f#",
        "etc/netplan/f#.yaml",
        "etc/systemd/network/a.network.d/f#.conf",
        "etc/NetworkManager/system-connections/f#",
        "var/lib/dhcp/f#.leases",
        "etc/udev/rules.d/f#.rules",
    ] {
        let places = [place, "etc/systemd/network/a.network"];
        let text = of_files(&places, &full, 12).unwrap_err();
        assert!(text.contains("configuration are more than 8 MiB"), "{text}");
        of_files(&places, &full, 3).unwrap();
    }
    // Every one is to be changed.
    let entry = format!("options root=/dev/sda2 ro\n{}\n", "#".repeat(4_000_000));
    let places = ["boot/loader/entries/f#.conf"];
    let text = of_files(&places, &entry, 30).unwrap_err();
    assert!(text.contains("to change are more than 96 MiB"), "{text}");
    of_files(&places, &entry, 3).unwrap();
    let unit = format!("[Mount]\nWhat=/dev/sda2\n{}\n", "#".repeat(4_000_000));
    let places = ["etc/systemd/system/f#.mount"];
    let text = of_files(&places, &unit, 30).unwrap_err();
    assert!(text.contains("to change are more than 96 MiB"), "{text}");
    of_files(&places, &unit, 3).unwrap();
    // Indexes of modules, of a kernel each.
    let guest = debian(&[]);
    let index = "# alias\n".repeat(1 << 20);
    for number in 0..10 {
        let version = format!("6.1.0-{number}-amd64");
        guest.kernel(&version, ".ko");
        let path = format!("boot/initrd.img-{version}");
        guest.initramfs(&path, "initramfs-tools", &version, &[]);
        for name in ["alias", "symbols"] {
            let path = format!("usr/lib/modules/{version}/modules.{name}");
            guest.write(&path, index.as_bytes());
        }
    }
    let text = everything(&guest.root).unwrap_err();
    assert!(text.contains("are more than 144 MiB"), "{text}");
    // A micro-VM with more memory takes them.
    let larger = Budget::of_memory(1536);
    let found = kernels::find_within(&guest.root, &mut Vec::new(), larger).unwrap();
    assert_eq!(found.len(), 10);
}

/// Of many loaders none is read but the one that is taken.
#[test]
fn full_directories_of_loaders_are_not_read() {
    let read = || {
        let text = std::fs::read_to_string("/proc/thread-self/io").unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("rchar: "));
        line.unwrap().parse::<u64>().unwrap()
    };
    let guest = debian(&[("etc/os-release", "ID=debian\n")]);
    for vendor in (0..60)
        .map(|number| format!("f{number}"))
        .chain(["debian".to_owned()])
    {
        for name in ["shimx64.efi", "grubx64.efi"] {
            let path = guest.path().join(format!("boot/efi/EFI/{vendor}/{name}"));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            File::create(path).unwrap().set_len(16 << 20).unwrap();
        }
    }
    let uefi = GuestReport {
        firmware: Firmware::Uefi,
        ..report()
    };
    let kernels = guest.find();
    let before = read();
    let plan = plan::plan(&guest.root, &uefi, &kernels, &request()).unwrap();
    let (read, taken) = (read() - before, 32 << 20);
    assert!((taken..2 * taken).contains(&read), "{read}");
    let paths: Vec<&str> = plan.edits.iter().map(|edit| edit.path()).collect();
    assert!(
        paths.contains(&"boot/efi/EFI/BOOT/BOOTX64.EFI"),
        "{paths:?}"
    );
}

#[test]
fn megabytes_of_boot_entries_are_edited() {
    let guest = debian(&[("etc/fstab", "/dev/sda2 / xfs defaults 0 0\n")]);
    let entry =
        "menuentry 'x' { linux /vmlinuz root=/dev/sda2 resume=/dev/sda3 ro; initrd /initrd }\n";
    guest.write("boot/grub/grub.cfg", entry.repeat(30_000).as_bytes());
    guest.inject();
    let text = guest
        .root
        .read("boot/grub/grub.cfg", 8 << 20)
        .unwrap()
        .unwrap();
    assert!(!String::from_utf8(text).unwrap().contains("/dev/sda"));
}

#[test]
fn documents_that_multiply_themselves() {
    let mut bomb = "network: {ethernets: {a: &a {addresses: [x,x,x,x,x,x,x,x,x]}".to_owned();
    for level in 'b'..'z' {
        let before = char::from(level as u8 - 1);
        bomb.push_str(&format!(", {level}: &{level} [*{before},*{before},*{before},*{before},*{before},*{before},*{before},*{before}]"));
    }
    bomb.push_str("}}\n");
    let deep = format!("network: {}{}", "[".repeat(100_000), "]".repeat(100_000));
    let nested: String = (0..2000)
        .map(|depth| format!("{}a:\n", " ".repeat(depth)))
        .collect();
    let wide: String = (0..50_000)
        .map(|number| format!("    e{number}: {{link: e{}}}\n", number + 1))
        .collect();
    let wide = format!("network:\n  vlans:\n{wide}");
    let guest = debian(&[
        ("etc/netplan/a.yaml", &bomb),
        ("etc/netplan/b.yaml", &deep),
        ("etc/netplan/c.yaml", &nested),
        ("etc/netplan/d.yaml", &wide),
    ]);
    everything(&guest.root).unwrap();
}

#[test]
fn module_indexes_with_circles() {
    let guest = debian(&[]);
    let names = [
        "virtio",
        "virtio_ring",
        "virtio_pci",
        "virtio_blk",
        "virtio_net",
    ];
    let mut dep = String::new();
    for name in names {
        let all: Vec<String> = names
            .iter()
            .map(|other| format!("kernel/{other}.ko"))
            .collect();
        dep.push_str(&format!("kernel/{name}.ko: {}\n", all.join(" ")));
        guest.write(
            &format!("usr/lib/modules/{VERSION}/kernel/{name}.ko"),
            b"module",
        );
    }
    guest.write(
        &format!("usr/lib/modules/{VERSION}/modules.dep"),
        dep.as_bytes(),
    );
    guest.inject();
}

#[test]
fn modules_outside_their_directory_are_not_read() {
    let guest = debian(&[("etc/shadow", "secret")]);
    let dep = "../../../../etc/shadow: \nkernel/virtio_pci.ko: ../../../../etc/shadow\nkernel/virtio_blk.ko:\nkernel/virtio_net.ko:\n";
    guest.write(
        &format!("usr/lib/modules/{VERSION}/modules.dep"),
        dep.as_bytes(),
    );
    for name in ["virtio_pci", "virtio_blk", "virtio_net"] {
        guest.write(
            &format!("usr/lib/modules/{VERSION}/kernel/{name}.ko"),
            b"module",
        );
    }
    let (.., images) = guest.inject();
    assert!(
        images[0]
            .contents
            .kinds
            .keys()
            .all(|path| !path.contains("shadow"))
    );
}

fn refused_image(content: &[u8]) -> String {
    let guest = debian(&[]);
    guest.write(&image(), content);
    let start = Instant::now();
    let refusal = guest.refusal();
    assert!(
        start.elapsed() < Duration::from_secs(120),
        "{:?}",
        start.elapsed()
    );
    assert!(
        matches!(refusal, Refusal::UnknownInitrd { .. }),
        "{refusal}"
    );
    refusal.to_string()
}

#[test]
fn images_that_unpack_without_end() {
    let zeros = vec![0u8; 1 << 20];
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), Default::default());
    let mut zstd = zstd::Encoder::new(Vec::new(), 1).unwrap();
    let mut xz = xz2::write::XzEncoder::new(Vec::new(), 1);
    for _ in 0..72 {
        gzip.write_all(&zeros).unwrap();
        zstd.write_all(&zeros).unwrap();
        xz.write_all(&zeros).unwrap();
    }
    for bomb in [
        gzip.finish().unwrap(),
        zstd.finish().unwrap(),
        xz.finish().unwrap(),
    ] {
        assert!(bomb.len() < 1 << 20);
        let text = refused_image(&bomb);
        assert!(text.contains("padding"), "{text}");
    }
}

#[test]
fn archives_with_absurd_fields() {
    let whole = archive("initramfs-tools", VERSION, &[]);
    let field = |number: usize| 6 + number * 8..14 + number * 8;
    for (number, value) in [
        (6, "ffffffff"),
        (11, "ffffffff"),
        (11, "00000000"),
        (6, "zzzzzzzz"),
    ] {
        let mut broken = whole.clone();
        broken[field(number)].copy_from_slice(value.as_bytes());
        refused_image(&broken);
    }
    refused_image(&whole[..whole.len() / 2]);
}

/// Two names of one file: extended once, taken back once.
#[test]
fn hard_links() {
    let guest = debian(&[("etc/fstab", "/dev/sda2 / xfs defaults 0 0\n")]);
    let at = |path: &str| guest.path().join(path);
    std::fs::hard_link(at(&image()), at("boot/initrd.img-again")).unwrap();
    std::fs::hard_link(at("etc/fstab"), at("etc/crypttab")).unwrap();
    let before = guest.snapshot();
    let (_, manifest, images) = guest.inject();
    assert_eq!(images.len(), 1);
    guest.take_back(&manifest, &before);
}
