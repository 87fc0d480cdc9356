//! Directories that look like the roots of guests of many kinds.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use lifeboat_drivers::guest::apply::{apply, undo};
use lifeboat_drivers::guest::kernels::{self, KernelImage};
use lifeboat_drivers::guest::plan::{self, Plan};
use lifeboat_drivers::guest::root::Root;
use lifeboat_drivers::guest::verify::verify;
use lifeboat_drivers::initrd::cpio::Writer;
use lifeboat_drivers::{
    Firmware, GuestReport, InjectRequest, Manifest, NicIdentity, Partition, Refusal, RootFilesystem,
};

/// The UUID of the root filesystem, on partition 2 of the first disk.
pub const ROOT: &str = "11112222-3333-4444-5555-666677778888";
/// The UUID of the swap partition, number 3.
pub const SWAP: &str = "aaaa2222-3333-4444-5555-666677778888";

/// Modules with what they need, as a kernel of today has them.
const MODULES: [(&str, &[&str]); 8] = [
    ("drivers/virtio/virtio", &["drivers/virtio/virtio_ring"]),
    ("drivers/virtio/virtio_ring", &[]),
    (
        "drivers/virtio/virtio_pci",
        &["drivers/virtio/virtio", "drivers/virtio/virtio_ring"],
    ),
    (
        "drivers/block/virtio_blk",
        &["drivers/virtio/virtio", "drivers/virtio/virtio_ring"],
    ),
    (
        "drivers/net/virtio_net",
        &["drivers/virtio/virtio", "drivers/virtio/virtio_ring"],
    ),
    ("drivers/ata/ahci", &[]),
    ("drivers/scsi/sd_mod", &[]),
    ("drivers/net/e1000e", &[]),
];

/// A guest in a directory.
pub struct Guest {
    directory: tempfile::TempDir,
    /// Its root.
    pub root: Root,
}

impl Guest {
    /// A guest with these files.
    pub fn new(files: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::open(directory.path()).unwrap();
        root.make_parents("usr/lib/modules").unwrap();
        root.symlink("usr/lib", "lib").unwrap();
        let guest = Self { directory, root };
        for (path, content) in files {
            guest.write(path, content.as_bytes());
        }
        guest
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Writes one file.
    pub fn write(&self, path: &str, content: &[u8]) {
        self.root.write(path, content).unwrap();
    }

    /// Installs a kernel whose modules have this ending.
    pub fn kernel(&self, version: &str, ending: &str) {
        let name = |module: &str| format!("kernel/{module}{ending}");
        let mut dep = String::new();
        for (module, needs) in MODULES {
            let needs: Vec<String> = needs.iter().map(|need| name(need)).collect();
            dep.push_str(&format!("{}: {}\n", name(module), needs.join(" ")));
            self.write(
                &format!("usr/lib/modules/{version}/{}", name(module)),
                format!("{version} {module}").as_bytes(),
            );
        }
        self.write(
            &format!("usr/lib/modules/{version}/modules.dep"),
            dep.as_bytes(),
        );
    }

    /// Everything a kernel with modules needs to be found, without virtio.
    pub fn initramfs(&self, path: &str, generator: &str, version: &str, extra: &[(&str, &str)]) {
        self.write(path, &gzip(&archive(generator, version, extra)));
    }

    /// The images found in it.
    pub fn find(&self) -> Vec<KernelImage> {
        kernels::find(&self.root, &mut Vec::new()).unwrap()
    }

    /// Why it is refused.
    pub fn refusal(&self) -> Refusal {
        let before = self.snapshot();
        let refusal = match kernels::find(&self.root, &mut Vec::new()) {
            Ok(kernels) => plan::plan(&self.root, &report(), &kernels, &request()).unwrap_err(),
            Err(refusal) => refusal,
        };
        assert_eq!(self.snapshot(), before, "a refusal writes nothing");
        refusal
    }

    /// Injects, verifies, injects again to no effect; gives what was done.
    pub fn inject(&self) -> (Plan, Manifest, Vec<KernelImage>) {
        self.inject_into(&report())
    }

    /// The same for a guest of which something else is known.
    pub fn inject_into(&self, report: &GuestReport) -> (Plan, Manifest, Vec<KernelImage>) {
        let kernels = self.find();
        let plan = plan::plan(&self.root, report, &kernels, &request()).unwrap();
        let manifest = apply(&self.root, &plan).unwrap();
        let after: Vec<KernelImage> = kernels
            .iter()
            .map(|kernel| kernels::read_again(&self.root, kernel).unwrap())
            .collect();
        let checks = verify(&self.root, report, &after, &request(), &manifest);
        assert!(checks.iter().all(|check| check.ok), "{checks:#?}");
        let again = plan::plan(&self.root, report, &self.find(), &request()).unwrap();
        assert_eq!(again.edits, [], "a second injection changes nothing");
        (plan, manifest, after)
    }

    /// Takes an injection back and compares with how the guest was.
    pub fn take_back(&self, manifest: &Manifest, before: &BTreeMap<String, Vec<u8>>) {
        undo(&self.root, manifest).unwrap();
        assert_eq!(&self.snapshot(), before, "everything can be taken back");
    }

    /// Every file and link, and every directory.
    pub fn snapshot(&self) -> BTreeMap<String, Vec<u8>> {
        let mut found = BTreeMap::new();
        let mut pending = vec![self.path().to_owned()];
        while let Some(next) = pending.pop() {
            for entry in std::fs::read_dir(next).unwrap().flatten() {
                let path = entry.path();
                let kind = entry.file_type().unwrap();
                let name = path
                    .strip_prefix(self.path())
                    .unwrap()
                    .display()
                    .to_string();
                let content = if kind.is_dir() {
                    pending.push(path);
                    b"directory".to_vec()
                } else if kind.is_symlink() {
                    let target = std::fs::read_link(path).unwrap();
                    target.display().to_string().into_bytes()
                } else {
                    std::fs::read(path).unwrap()
                };
                found.insert(name, content);
            }
        }
        found
    }
}

/// An uncompressed initramfs.
pub fn archive(generator: &str, version: &str, extra: &[(&str, &str)]) -> Vec<u8> {
    let mut writer = Writer::new();
    for directory in ["usr", "usr/lib", "usr/lib/modules", "etc"] {
        writer.directory(directory);
    }
    writer.link("lib", "usr/lib");
    let modules = format!("usr/lib/modules/{version}");
    writer.directory(&modules);
    writer.file(&format!("{modules}/modules.dep"), 0o644, b"");
    let marks: &[&str] = match generator {
        "dracut" => &["usr/lib/initrd-release"],
        "mkinitcpio" => &["init_functions", "buildconfig"],
        "mkinitrd" => &["run_all.sh", "boot"],
        "initramfs-tools" => &["conf/initramfs.conf", "scripts/functions", "conf/modules"],
        _ => &["init"],
    };
    for mark in marks {
        writer.file(mark, 0o644, b"");
    }
    for (path, content) in extra {
        writer.file(path, 0o644, content.as_bytes());
    }
    writer.finish()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Default::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A unified kernel image of sections.
pub fn unified(sections: &[(&str, &[u8])]) -> Vec<u8> {
    let mut head = vec![0u8; 64];
    head[..2].copy_from_slice(b"MZ");
    head[0x3c] = 64;
    head.extend(b"PE\0\0");
    head.extend(0x8664u16.to_le_bytes());
    head.extend((sections.len() as u16).to_le_bytes());
    head.extend([0; 16]);
    let mut place = (head.len() + sections.len() * 40) as u32;
    let mut body = Vec::new();
    for (name, content) in sections {
        let mut entry = [0u8; 40];
        entry[..name.len()].copy_from_slice(name.as_bytes());
        let length = content.len() as u32;
        entry[8..12].copy_from_slice(&length.to_le_bytes());
        entry[16..20].copy_from_slice(&length.to_le_bytes());
        entry[20..24].copy_from_slice(&place.to_le_bytes());
        place += length;
        head.extend(entry);
        body.extend_from_slice(content);
    }
    head.extend(body);
    head
}

/// What the inspection found of the disks.
pub fn report() -> GuestReport {
    let partition = |number, kind: &str, uuid: &str| Partition {
        number,
        filesystem: Some(kind.to_owned()),
        uuid: Some(uuid.to_owned()),
        ..Partition::default()
    };
    GuestReport {
        firmware: Firmware::Bios,
        partitions: vec![
            partition(1, "ext4", "b007-b007"),
            partition(2, "xfs", ROOT),
            partition(3, "swap", SWAP),
        ],
        root: RootFilesystem {
            partition: (0, 2),
            uuid: ROOT.to_owned(),
            ..RootFilesystem::default()
        },
        ..GuestReport::default()
    }
}

/// One card at 10.0.0.5.
pub fn request() -> InjectRequest {
    InjectRequest {
        machine: "guest".into(),
        nics: vec![NicIdentity {
            mac: "52:54:00:00:00:05".into(),
            address: Some("10.0.0.5".parse().unwrap()),
        }],
        target: Default::default(),
        root: None,
    }
}
