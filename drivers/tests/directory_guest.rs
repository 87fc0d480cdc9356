//! The whole way of an injection on a directory instead of a mounted guest:
//! find the kernels, plan, carry out, verify, do it again, take it back.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

mod fake_guest;

use std::collections::BTreeMap;
use std::path::Path;

use lifeboat_drivers::guest::apply::{apply, undo};
use lifeboat_drivers::guest::kernels::{self, KernelImage};
use lifeboat_drivers::guest::plan;
use lifeboat_drivers::guest::root::Root;
use lifeboat_drivers::guest::verify::verify;
use lifeboat_drivers::{
    Action, Bus, Firmware, GuestReport, InjectRequest, Manifest, NicIdentity, NicModel, Partition,
    Refusal, RootFilesystem,
};

use fake_guest::{VERSION, fill};

fn report() -> GuestReport {
    let uuid = Some("11112222-3333-4444-5555-666677778888".to_owned());
    GuestReport {
        firmware: Firmware::Bios,
        partitions: vec![Partition {
            number: 1,
            uuid,
            ..Partition::default()
        }],
        root: RootFilesystem {
            partition: (0, 1),
            ..RootFilesystem::default()
        },
        ..GuestReport::default()
    }
}

fn request() -> InjectRequest {
    let address = Some("10.77.0.5".parse().unwrap());
    let nic = NicIdentity {
        mac: "52:54:00:77:00:05".into(),
        address,
    };
    InjectRequest {
        machine: "guest".into(),
        nics: vec![nic],
        target: Default::default(),
        root: None,
    }
}

/// Path and content of every file, and targets of links.
fn snapshot(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut pending = vec![directory.to_owned()];
    while let Some(next) = pending.pop() {
        for entry in std::fs::read_dir(next).unwrap().flatten() {
            let path = entry.path();
            let kind = entry.file_type().unwrap();
            let name = path.strip_prefix(directory).unwrap().display().to_string();
            if kind.is_dir() {
                pending.push(path);
            } else if kind.is_symlink() {
                let target = std::fs::read_link(path).unwrap();
                found.insert(name, target.display().to_string().into_bytes());
            } else {
                found.insert(name, std::fs::read(path).unwrap());
            }
        }
    }
    found
}

fn find(root: &Root) -> Vec<KernelImage> {
    kernels::find(root, &mut Vec::new()).unwrap()
}

fn check_whole_way(generator: &str, compressor: &str) {
    let directory = tempfile::tempdir().unwrap();
    let root = fill(directory.path(), generator, compressor);
    let before = snapshot(directory.path());

    let kernels = find(&root);
    assert_eq!(kernels[0].report.compressor, compressor);
    assert!(!kernels[0].report.virtio_present);
    let plan = plan::plan(&root, &report(), &kernels, &request()).unwrap();
    assert_eq!(
        snapshot(directory.path()),
        before,
        "planning writes nothing"
    );

    let manifest = apply(&root, &plan).unwrap();
    let actions: BTreeMap<&str, Action> = manifest
        .changes
        .iter()
        .map(|change| (change.path.as_str(), change.action))
        .collect();
    assert_eq!(
        actions[format!("boot/initrd.img-{VERSION}").as_str()],
        Action::Appended
    );
    assert_eq!(actions["boot/grub/device.map"], Action::Removed);
    assert_eq!(
        actions["etc/systemd/system/open-vm-tools.service"],
        Action::Linked
    );
    assert_eq!(
        actions["etc/cloud/cloud.cfg.d/99-keep-network.cfg"],
        Action::Created
    );
    assert!(root.text("etc/fstab").starts_with("UUID=1111"));
    assert!(root.text("boot/grub/grub.cfg").contains("root=UUID=1111"));

    let after: Vec<KernelImage> = kernels
        .iter()
        .map(|kernel| kernels::read_again(&root, kernel).unwrap())
        .collect();
    let checks = verify(&root, &report(), &after, &request(), &manifest);
    assert!(checks.iter().all(|check| check.ok), "{checks:?}");
    let again = find(&root);
    assert!(again[0].report.virtio_present);
    check_contents(&again[0], generator);

    let second = plan::plan(&root, &report(), &again, &request()).unwrap();
    assert_eq!(second.edits, [], "a second injection changes nothing");

    undo(&root, &manifest).unwrap();
    assert_eq!(
        snapshot(directory.path()),
        before,
        "everything can be taken back"
    );
}

/// Killed after any number of its steps, it is done again and ends the same.
#[test]
fn an_undo_that_was_cut_off_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let root = fill(directory.path(), "dracut", "gzip");
    let before = snapshot(directory.path());
    let modes = modes(directory.path());
    let plan = plan::plan(&root, &report(), &find(&root), &request()).unwrap();
    let mut steps = 0;
    for done in 0.. {
        let manifest = apply(&root, &plan).unwrap();
        let changes = manifest.changes.len();
        if done > changes {
            undo(&root, &manifest).unwrap();
            break;
        }
        let cut_off = Manifest {
            changes: manifest.changes[changes - done..].to_vec(),
        };
        undo(&root, &cut_off).unwrap();
        undo(&root, &manifest).unwrap();
        assert_eq!(snapshot(directory.path()), before, "after {done} steps");
        assert_eq!(self::modes(directory.path()), modes, "after {done} steps");
        steps += 1;
    }
    assert!(steps > 10, "{steps}");
    // What the guest changed since is still not thrown away.
    let manifest = apply(&root, &plan).unwrap();
    root.write("etc/fstab", b"the guest's own").unwrap();
    let error = undo(&root, &manifest).unwrap_err().to_string();
    assert!(error.contains("etc/fstab has been changed"), "{error}");
}

fn modes(directory: &Path) -> BTreeMap<String, u32> {
    use std::os::unix::fs::PermissionsExt;
    let names = snapshot(directory).into_keys();
    let mode = |name: &str| {
        std::fs::symlink_metadata(directory.join(name))
            .unwrap()
            .permissions()
    };
    names
        .map(|name| (name.clone(), mode(&name).mode()))
        .collect()
}

fn check_contents(kernel: &KernelImage, generator: &str) {
    let contents = &kernel.contents;
    assert_eq!(contents.links["lib"], "usr/lib", "the link must survive");
    let module = format!("usr/lib/modules/{VERSION}/kernel/drivers/virtio/virtio_pci.ko.xz");
    assert!(contents.kinds.contains_key(&module));
    assert!(contents.exists("etc/systemd/network/10-keep-enp9s0.link"));
    if generator == "dracut" {
        let arguments = contents.file("etc/cmdline.d/99-lifeboat.conf").unwrap();
        assert!(arguments.starts_with(b"rd.driver.pre=virtio"));
        let own = contents.file("etc/cmdline.d/95root.conf").unwrap();
        assert!(own.starts_with(b"root=UUID=1111"));
    } else {
        let list = String::from_utf8(contents.file("conf/modules").unwrap().to_vec()).unwrap();
        assert!(list.starts_with("ahci\n") && list.contains("\nvirtio_blk\n"));
    }
}

#[test]
fn every_generator_with_every_compressor() {
    for generator in ["initramfs-tools", "dracut"] {
        for compressor in ["none", "gzip", "zstd", "lz4"] {
            check_whole_way(generator, compressor);
        }
    }
}

#[test]
fn verification_sees_what_is_missing() {
    let directory = tempfile::tempdir().unwrap();
    let root = fill(directory.path(), "dracut", "gzip");
    let checks = verify(
        &root,
        &report(),
        &find(&root),
        &request(),
        &Default::default(),
    );
    let failed: Vec<&str> = checks
        .iter()
        .filter(|check| !check.ok)
        .map(|check| check.what.as_str())
        .collect();
    assert_eq!(failed.len(), 4, "{failed:?}");
}

#[test]
fn an_initramfs_of_an_unknown_builder_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let root = fill(directory.path(), "something else", "gzip");
    let refusal = plan::plan(&root, &report(), &find(&root), &request()).unwrap_err();
    assert!(
        matches!(refusal, Refusal::UnknownInitrd { .. }),
        "{refusal}"
    );
    let text = refusal.to_string();
    assert!(
        text.contains("it lacks virtio_pci and was built neither"),
        "{text}"
    );
}

/// Refused for virtio before any write, with an offer that then works.
#[test]
fn a_kernel_without_virtio_boots_on_other_hardware() {
    let directory = tempfile::tempdir().unwrap();
    let root = fill(directory.path(), "dracut", "gzip");
    let dep = format!("lib/modules/{VERSION}/modules.dep");
    let known = root.text(&dep);
    let lines = known.lines().filter(|line| !line.contains("virtio"));
    let without: String = lines.map(|line| format!("{line}\n")).collect();
    root.write(&dep, without.as_bytes()).unwrap();
    let before = snapshot(directory.path());
    let refusal = plan::plan(&root, &report(), &find(&root), &request()).unwrap_err();
    assert!(matches!(refusal, Refusal::NoVirtio { .. }), "{refusal}");
    assert_eq!(snapshot(directory.path()), before);
    assert!(
        refusal
            .to_string()
            .ends_with("; it can boot with AHCI disks and e1000e cards instead"),
        "{refusal}"
    );

    let fallback = refusal.fallback().unwrap();
    assert_eq!((fallback.disk, fallback.nic), (Bus::Ahci, NicModel::E1000e));
    assert!(
        fallback.reason.contains("has no virtio_pci"),
        "{}",
        fallback.reason
    );
    let request = InjectRequest {
        target: fallback.target(),
        ..request()
    };
    let kernels = find(&root);
    let plan = plan::plan(&root, &report(), &kernels, &request).unwrap();
    let manifest = apply(&root, &plan).unwrap();
    let after = vec![kernels::read_again(&root, &kernels[0]).unwrap()];
    let checks = verify(&root, &report(), &after, &request, &manifest);
    assert!(checks.iter().all(|check| check.ok), "{checks:?}");
    let inside = format!("usr/lib/modules/{VERSION}/kernel/drivers");
    assert!(
        after[0]
            .contents
            .exists(&format!("{inside}/net/e1000e.ko.xz"))
    );
    assert!(after[0].contents.exists(&format!("{inside}/ptp/ptp.ko")));
    assert_eq!(
        root.text("etc/dracut.conf.d/90-lifeboat.conf"),
        "# added by Lifeboat\nadd_drivers+=\" ahci sd_mod e1000e \"\n"
    );
    undo(&root, &manifest).unwrap();
    assert_eq!(snapshot(directory.path()), before);
}

#[test]
fn a_kernel_that_fits_no_hardware_is_refused_without_an_offer() {
    let directory = tempfile::tempdir().unwrap();
    let root = fill(directory.path(), "dracut", "gzip");
    let dep = format!("lib/modules/{VERSION}/modules.dep");
    root.write(&dep, b"kernel/drivers/ata/ata_piix.ko:\n")
        .unwrap();
    let refusal = plan::plan(&root, &report(), &find(&root), &request()).unwrap_err();
    assert_eq!(refusal.fallback(), None);
    assert!(
        refusal.to_string().contains("no other hardware"),
        "{refusal}"
    );
}

#[test]
fn a_guest_without_kernels_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let root = Root::open(directory.path()).unwrap();
    assert_eq!(
        kernels::find(&root, &mut Vec::new()).unwrap_err(),
        Refusal::NoKernel
    );
}

#[test]
fn what_the_guest_changed_meanwhile_is_not_taken_back() {
    let directory = tempfile::tempdir().unwrap();
    let root = fill(directory.path(), "dracut", "gzip");
    let kernels = find(&root);
    let plan = plan::plan(&root, &report(), &kernels, &request()).unwrap();
    let manifest = apply(&root, &plan).unwrap();
    root.write("etc/fstab", b"changed").unwrap();
    let error = undo(&root, &manifest).unwrap_err();
    assert!(error.to_string().contains("/etc/fstab"), "{error}");
}
