//! Guests that are refused, each with one clear sentence and before any write.

use lifeboat_drivers::guest::verify::verify;
use lifeboat_drivers::{Bus, Manifest, NicModel, Refusal};

use crate::guest::{Guest, ROOT, archive, request, unified};

const VERSION: &str = "6.9.7-1-uki";

/// A guest with one unified image of these modules and arguments.
fn with_unified(modules: &[&str], arguments: &str) -> Guest {
    let guest = Guest::new(&[(
        "etc/network/interfaces",
        "iface eth0 inet static\n address 10.0.0.5/24\n",
    )]);
    guest.kernel(VERSION, ".ko");
    let paths: Vec<String> = modules
        .iter()
        .map(|module| format!("usr/lib/modules/{VERSION}/kernel/drivers/{module}.ko"))
        .collect();
    let extra: Vec<(&str, &str)> = paths.iter().map(|path| (path.as_str(), "module")).collect();
    let image = unified(&[
        (".linux", b"kernel"),
        (".uname", VERSION.as_bytes()),
        (".cmdline", arguments.as_bytes()),
        (".initrd", &archive("dracut", VERSION, &extra)),
    ]);
    guest.write("efi/EFI/Linux/guest.efi", &image);
    guest
}

const VIRTIO: [&str; 4] = [
    "virtio/virtio",
    "virtio/virtio_ring",
    "virtio/virtio_pci",
    "block/virtio_blk",
];

#[test]
fn a_unified_kernel_image_with_virtio_is_left_as_it_is() {
    let guest = with_unified(&VIRTIO, "root=UUID=1 ro");
    let before = guest.snapshot();
    let (_, manifest, images) = guest.inject();
    assert_eq!(images[0].report.version, VERSION);
    assert!(
        manifest
            .changes
            .iter()
            .all(|change| !change.path.contains("EFI"))
    );
    guest.take_back(&manifest, &before);
}

#[test]
fn a_unified_kernel_image_without_virtio() {
    let refusal = with_unified(&["ata/ahci", "scsi/sd_mod"], "ro").refusal();
    let text = refusal.to_string();
    assert!(
        text.contains("/efi/EFI/Linux/guest.efi lacks virtio_pci")
            && text.ends_with("; it can boot with AHCI disks and virtio-net cards instead"),
        "{text}"
    );
    // virtio_net is loaded from the root, where every module is.
    let fallback = refusal.fallback().unwrap();
    assert_eq!((fallback.disk, fallback.nic), (Bus::Ahci, NicModel::Virtio));
    assert_eq!(with_unified(&[], "ro").refusal().fallback(), None);
    // A dependency that is missing is as bad as the module itself.
    let refusal = with_unified(&VIRTIO[1..], "ro").refusal();
    assert!(
        matches!(refusal, Refusal::UnifiedKernelImage { .. }),
        "{refusal}"
    );
}

#[test]
fn a_unified_kernel_image_with_a_name_of_the_hardware() {
    let refusal = with_unified(&VIRTIO, "quiet root=/dev/sda2 ro").refusal();
    let text = refusal.to_string();
    assert!(text.contains("root=\"/dev/sda2\""), "{text}");
    assert_eq!(refusal.fallback(), None);
}

#[test]
fn kernels_that_only_run_on_xen() {
    let guest = Guest::new(&[]);
    guest.kernel("3.0.101-63-xen", ".ko");
    guest.initramfs(
        "boot/initrd-3.0.101-63-xen",
        "mkinitrd",
        "3.0.101-63-xen",
        &[],
    );
    let refusal = guest.refusal();
    assert!(
        refusal
            .to_string()
            .contains("run on Xen alone (such as 3.0.101-63-xen)"),
        "{refusal}"
    );
    // With an ordinary kernel beside it the guest boots.
    guest.kernel("3.0.101-63-default", ".ko");
    guest.initramfs(
        "boot/initrd-3.0.101-63-default",
        "mkinitrd",
        "3.0.101-63-default",
        &[],
    );
    let mut warnings = Vec::new();
    let found = lifeboat_drivers::guest::kernels::find(&guest.root, &mut warnings).unwrap();
    assert_eq!((found.len(), warnings.len()), (1, 1));
}

/// A kernel of one's own, without modules and without an initramfs.
#[test]
fn kernels_without_an_initramfs() {
    let guest = Guest::new(&[
        ("boot/vmlinuz-6.6.1-own", "kernel"),
        (
            "boot/config-6.6.1-own",
            "CONFIG_SATA_AHCI=y\nCONFIG_BLK_DEV_SD=y\nCONFIG_E1000E=y\n",
        ),
    ]);
    let refusal = guest.refusal();
    let text = refusal.to_string();
    assert!(
        text.contains("kernel 6.6.1-own has no built-in virtio_pci"),
        "{text}"
    );
    let fallback = refusal.fallback().unwrap();
    assert_eq!((fallback.disk, fallback.nic), (Bus::Ahci, NicModel::E1000e));
    let options = ["VIRTIO_PCI", "VIRTIO_BLK", "VIRTIO_NET"];
    let config: String = options
        .iter()
        .map(|option| format!("CONFIG_{option}=y\n"))
        .collect();
    guest.write("boot/config-6.6.1-own", config.as_bytes());
    guest.write(
        "etc/network/interfaces",
        b"iface eth0 inet static\n address 10.0.0.5/24\n",
    );
    let (_, manifest, _) = guest.inject();
    assert!(
        manifest
            .changes
            .iter()
            .all(|change| !change.path.starts_with("boot"))
    );
    // It finds its root by the partition table, and by nothing else.
    let entry = "linux /vmlinuz-6.6.1-own root=/dev/sda2 ro\n";
    guest.write("boot/grub/grub.cfg", entry.as_bytes());
    let refusal = guest.refusal().to_string();
    assert!(
        refusal.contains("vmlinuz-6.6.1-own starts without an initramfs, so that root=/dev/sda2"),
        "{refusal}"
    );
    let mut report = crate::guest::report();
    report.partitions[1].part_uuid = Some("1234abcd-02".to_owned());
    let before = guest.snapshot();
    let (_, manifest, images) = guest.inject_into(&report);
    assert_eq!(
        guest.root.text("boot/grub/grub.cfg"),
        "linux /vmlinuz-6.6.1-own root=PARTUUID=1234abcd-02 ro\n"
    );
    // What the kernel cannot find is noticed.
    let wrong = format!("linux /vmlinuz-6.6.1-own root=UUID={ROOT} ro\n");
    guest.write("boot/grub/grub.cfg", wrong.as_bytes());
    let checks = verify(
        &guest.root,
        &report,
        &images,
        &request(),
        &Manifest::default(),
    );
    assert!(checks.iter().any(|check| {
        !check.ok
            && check
                .detail
                .contains("a kernel without an initramfs cannot find")
    }));
    guest.write(
        "boot/grub/grub.cfg",
        b"linux /vmlinuz-6.6.1-own root=PARTUUID=1234abcd-02 ro\n",
    );
    guest.take_back(&manifest, &before);
    // Old kernels have neither virtio nor a list of what they have.
    let old = Guest::new(&[("boot/vmlinuz-2.6.18-own", "kernel")]);
    let refusal = old.refusal();
    assert!(
        matches!(refusal, Refusal::NoVirtio { fallback: None, .. }),
        "{refusal}"
    );
}

/// Beside a kernel with an initramfs.
#[test]
fn one_kernel_of_several_without_an_initramfs() {
    let grub = "linux /vmlinuz-6.9.7-1-uki root=/dev/sda2 ro\nlinux /vmlinuz-6.6.1-own root=/dev/sda2 ro\n";
    let guest = Guest::new(&[
        ("boot/vmlinuz-6.6.1-own", "kernel"),
        ("boot/vmlinuz-6.6.2-modular", "kernel"),
        ("boot/vmlinuz-6.9.7-1-uki", "kernel"),
        (
            "boot/config-6.6.1-own",
            "CONFIG_VIRTIO_PCI=y\nCONFIG_VIRTIO_BLK=y\nCONFIG_VIRTIO_NET=y\n",
        ),
        ("boot/grub/grub.cfg", grub),
        (
            "etc/network/interfaces",
            "iface eth0 inet static\n address 10.0.0.5/24\n",
        ),
    ]);
    guest.kernel(VERSION, ".ko");
    guest.initramfs(
        &format!("boot/initrd.img-{VERSION}"),
        "dracut",
        VERSION,
        &[],
    );
    let mut warnings = Vec::new();
    let found = lifeboat_drivers::guest::kernels::find(&guest.root, &mut warnings).unwrap();
    assert_eq!(found.len(), 2);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].starts_with("/boot/vmlinuz-6.6.2-modular has neither"));
    // Without a PARTUUID the guest starts by its other kernel.
    let before = guest.snapshot();
    let (plan, manifest, _) = guest.inject();
    assert!(
        plan.warnings
            .iter()
            .any(|warning| warning.contains("the root has no PARTUUID"))
    );
    assert_eq!(
        guest.root.text("boot/grub/grub.cfg").matches(ROOT).count(),
        2
    );
    guest.take_back(&manifest, &before);
    let mut report = crate::guest::report();
    report.partitions[1].part_uuid = Some("1234abcd-02".to_owned());
    guest.inject_into(&report);
    let text = guest.root.text("boot/grub/grub.cfg");
    assert_eq!(text.matches("root=PARTUUID=1234abcd-02").count(), 2);
}

#[test]
fn no_kernel_at_all() {
    assert_eq!(
        Guest::new(&[("boot/readme", "")]).refusal(),
        Refusal::NoKernel
    );
}

#[test]
fn a_hibernated_machine() {
    let guest = Guest::new(&[]);
    guest.kernel(VERSION, ".ko");
    guest.initramfs(
        &format!("boot/initrd.img-{VERSION}"),
        "dracut",
        VERSION,
        &[],
    );
    let mut report = crate::guest::report();
    report.partitions[2].filesystem = Some("hibernation".to_owned());
    let refusal = lifeboat_drivers::guest::plan::plan(
        &guest.root,
        &report,
        &guest.find(),
        &crate::guest::request(),
    );
    let text = refusal.unwrap_err().to_string();
    assert!(
        text.starts_with("disk 0 partition 3 holds the memory"),
        "{text}"
    );
}

#[test]
fn loaders_for_32_bit_firmware_only() {
    let guest = Guest::new(&[("boot/efi/EFI/BOOT/BOOTIA32.EFI", "")]);
    guest.kernel(VERSION, ".ko");
    guest.initramfs(
        &format!("boot/initrd.img-{VERSION}"),
        "dracut",
        VERSION,
        &[],
    );
    let mut report = crate::guest::report();
    report.firmware = lifeboat_drivers::Firmware::Uefi;
    let refusal = lifeboat_drivers::guest::plan::plan(
        &guest.root,
        &report,
        &guest.find(),
        &crate::guest::request(),
    );
    let text = refusal.unwrap_err().to_string();
    assert_eq!(
        text,
        "the guest is built for 32-bit UEFI, Lifeboat boots x86-64 only"
    );
}

#[test]
fn files_that_cannot_be_changed_are_named_before_anything_is() {
    let guest = Guest::new(&[
        ("etc/fstab", "/dev/sda2 / xfs defaults 0 0\n"),
        (
            "etc/network/interfaces",
            "iface eth0 inet static\n address 10.0.0.5/24\n",
        ),
        ("etc/systemd/network/x", ""),
    ]);
    guest.kernel(VERSION, ".ko");
    let image = format!("boot/initrd.img-{VERSION}");
    guest.initramfs(&image, "dracut", VERSION, &[]);
    for path in [
        "etc/fstab",
        image.as_str(),
        "etc/systemd/network",
        "etc/dracut.conf.d",
    ] {
        let full = guest.path().join(path);
        if !full.exists() {
            std::fs::create_dir(&full).unwrap();
        }
        let chattr = |how: &str| {
            let mut command = std::process::Command::new("chattr");
            let status = command.arg(how).arg(&full).status();
            status.is_ok_and(|status| status.success())
        };
        if !chattr("+i") {
            eprintln!("SKIPPED layouts chattr: no attributes here, or no root");
            return;
        }
        let refusal = guest.refusal();
        assert!(chattr("-i"));
        let path = format!("/{path}");
        assert_eq!(refusal, Refusal::Unchangeable { path });
    }
    guest.inject();
}

#[test]
fn two_cards_with_one_mac_address() {
    let guest = Guest::new(&[]);
    guest.kernel(VERSION, ".ko");
    guest.initramfs(
        &format!("boot/initrd.img-{VERSION}"),
        "dracut",
        VERSION,
        &[],
    );
    let mut request = crate::guest::request();
    request.nics.push(request.nics[0].clone());
    let refusal = lifeboat_drivers::guest::plan::plan(
        &guest.root,
        &crate::guest::report(),
        &guest.find(),
        &request,
    );
    assert!(matches!(refusal, Err(Refusal::DuplicateMac { .. })));
}
