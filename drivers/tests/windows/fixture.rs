//! Made-up Windows guests with real SYSTEM hives, and a driver image with the layout of virtio-win.
//!
//! The texts of the setup information files are written here in the shape of the real ones; the
//! programs and catalogues are placeholders with made-up signatures.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use lifeboat_drivers::windows::boot_drivers::wide;
use lifeboat_drivers::windows::catalogue::collect::{Collected, Files, collect};
use lifeboat_drivers::windows::catalogue::{Catalogue, CatalogueError};
use lifeboat_drivers::{InjectRequest, NicIdentity, Target};
use lifeboat_hive::{Action, Edited, Editor, Hive, Value, kind};

use crate::signing::{BY_MICROSOFT, signed};

pub const AMD64: u16 = 0x8664;
pub const X86: u16 = 0x014c;

pub fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "\n{text}");
}

/// A hive of the real data, or a line that says what is skipped.
pub fn real_hive(name: &str) -> Option<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/registry");
    let Ok(bytes) = std::fs::read(folder.join(name)) else {
        say(&format!(
            "SKIPPED Windows guests: the real hive {name} is not there"
        ));
        return None;
    };
    if !name.ends_with(".xz") {
        return Some(bytes);
    }
    let mut plain = Vec::new();
    xz2::read::XzDecoder::new(bytes.as_slice())
        .read_to_end(&mut plain)
        .unwrap();
    Some(plain)
}

/// The hive as a machine that was switched off leaves it: some real samples
/// were copied from running machines, without their logs.
pub fn as_if_clean(mut hive: Vec<u8>) -> Vec<u8> {
    hive.copy_within(4..8, 8);
    let words = hive[..508].chunks_exact(4);
    let sum = words.fold(0, |sum, word| {
        sum ^ u32::from_le_bytes(word.try_into().unwrap())
    });
    hive[508..512].copy_from_slice(&sum.to_le_bytes());
    hive
}

/// Which Windows a made-up guest says it is.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    pub hive: &'static str,
    pub product: &'static str,
    pub installation: &'static str,
    pub version: &'static str,
    /// From Windows 10 on.
    pub major: Option<u32>,
    pub build: &'static str,
    pub machine: u16,
}

pub const WINDOWS_7: Kind = Kind {
    hive: "SYSTEM.xz",
    product: "Windows 7 Ultimate",
    installation: "Client",
    version: "6.1",
    major: None,
    build: "7601",
    machine: X86,
};

pub const WINDOWS_10: Kind = Kind {
    hive: "SYSTEM_WIN_10_1709.xz",
    product: "Windows 10 Enterprise",
    installation: "Client",
    version: "6.3",
    major: Some(10),
    build: "18363",
    machine: AMD64,
};

pub const WINDOWS_2012_R2: Kind = Kind {
    hive: "SYSTEM_WIN_10_1709.xz",
    product: "Windows Server 2012 R2 Standard",
    installation: "Server",
    version: "6.3",
    major: None,
    build: "9600",
    machine: AMD64,
};

pub const WINDOWS_2008_R2: Kind = Kind {
    hive: "SYSTEM.xz",
    product: "Windows Server 2008 R2 Standard",
    installation: "Server",
    version: "6.1",
    major: None,
    build: "7601",
    machine: AMD64,
};

/// A program that says which processor it is for.
pub fn program(machine: u16, content: &str) -> Vec<u8> {
    let mut bytes = vec![0; 0x86];
    bytes[..2].copy_from_slice(b"MZ");
    bytes[0x3c] = 0x80;
    bytes[0x80..0x84].copy_from_slice(b"PE\0\0");
    bytes[0x84..].copy_from_slice(&machine.to_le_bytes());
    bytes.extend(content.as_bytes());
    bytes
}

fn put(root: &Path, path: &str, content: &[u8]) {
    let path = root.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

/// A SOFTWARE hive with what identifies a Windows, made from the smallest real hive.
pub fn software(kind: Kind) -> Option<Vec<u8>> {
    let mut editor = Editor::open(real_hive("hivex_minimal")?, &[]).unwrap();
    let key = "Microsoft\\Windows NT\\CurrentVersion";
    let texts = [
        ("ProductName", kind.product),
        ("InstallationType", kind.installation),
        ("CurrentVersion", kind.version),
        ("CurrentBuildNumber", kind.build),
        ("EditionID", "Enterprise"),
    ];
    for (name, text) in texts {
        editor.set(key, name, kind::TEXT, &wide(text)).unwrap();
    }
    if let Some(major) = kind.major {
        let number = |value: u32| value.to_le_bytes();
        editor
            .set(
                key,
                "CurrentMajorVersionNumber",
                kind::NUMBER,
                &number(major),
            )
            .unwrap();
        editor
            .set(key, "CurrentMinorVersionNumber", kind::NUMBER, &number(0))
            .unwrap();
    }
    let path = wide("%SystemRoot%\\inf");
    editor
        .set(
            "Microsoft\\Windows\\CurrentVersion",
            "DevicePath",
            kind::EXPANDABLE,
            &path,
        )
        .unwrap();
    Some(editor.finish())
}

/// Writes a guest's files into a directory, named as older Windows name them.
pub fn fill(root: &Path, kind: Kind) -> Option<()> {
    let system = as_if_clean(real_hive(kind.hive)?);
    put(root, "Windows/System32/config/SYSTEM", &system);
    put(root, "Windows/System32/config/SYSTEM.LOG1", b"");
    put(root, "Windows/System32/config/SYSTEM.LOG2", b"");
    put(root, "Windows/System32/config/SOFTWARE", &software(kind)?);
    put(root, "Windows/System32/config/SAM", b"secret");
    put(root, "Windows/System32/config/SECURITY", b"secret");
    put(
        root,
        "Windows/System32/cmd.exe",
        &program(kind.machine, "cmd"),
    );
    for driver in [
        "storahci",
        "msahci",
        "stornvme",
        "partmgr",
        "EhStorClass",
        "fvevol",
        "rdyboost",
        "iorate",
        "volsnap",
        "i8042prt",
        "kdnic",
    ] {
        let path = format!("Windows/System32/drivers/{driver}.sys");
        put(root, &path, &program(kind.machine, driver));
    }
    put(root, "Windows/INF/oem0.inf", b"; taken");
    put(
        root,
        "Windows/System32/winevt/Logs/System.evtx",
        b"ElfFile\0",
    );
    put(
        root,
        "Windows/System32/winevt/Logs/Setup.evtx",
        b"ElfFile\0",
    );
    put(
        root,
        "Windows/System32/drivers/etc/hosts",
        b"127.0.0.1 localhost\r\n",
    );
    Some(())
}

const STORAGE: &str = "SCSIAdapter;{4D36E97B-E325-11CE-BFC1-08002BE10318}";
const NET: &str = "Net;{4d36e972-e325-11ce-bfc1-08002be10318}";
const OTHER: &str = "System;{4d36e97d-e325-11ce-bfc1-08002be10318}";

/// Folder, driver, section, class and GUID, identifications (transitional, modern).
const DRIVERS: [(&str, &str, &str, &str, [&str; 2]); 5] = [
    (
        "viostor",
        "viostor",
        "scsi_inst",
        STORAGE,
        ["1001&SUBSYS_00021AF4&REV_00", "1042&SUBSYS_11001AF4&REV_01"],
    ),
    (
        "vioscsi",
        "vioscsi",
        "scsi_inst",
        STORAGE,
        ["1004&SUBSYS_00081AF4&REV_00", "1048&SUBSYS_11001AF4&REV_01"],
    ),
    (
        "NetKVM",
        "netkvm",
        "kvmnet6.ndi",
        NET,
        ["1000&SUBSYS_00011AF4&REV_00", "1041&SUBSYS_11001AF4&REV_01"],
    ),
    (
        "Balloon",
        "balloon",
        "BALLOON_Device",
        OTHER,
        ["1002&SUBSYS_00051AF4&REV_00", "1045&SUBSYS_11001AF4&REV_01"],
    ),
    (
        "viorng",
        "viorng",
        "VirtRng_Device",
        OTHER,
        ["1005&SUBSYS_00041AF4&REV_00", "1044&SUBSYS_11001AF4&REV_01"],
    ),
];

/// The setup information file of one driver, in the shape of virtio-win's.
fn inf(
    driver: &str,
    section: &str,
    class: &str,
    ids: [&str; 2],
    platform: &str,
    version: &str,
) -> String {
    let (class, guid) = class.split_once(';').unwrap();
    let mut models = String::new();
    for id in ids {
        let short = id.split('&').next().unwrap();
        models.push_str(&format!(
            "%Device.Desc% = {section}, PCI\\VEN_1AF4&DEV_{id}, PCI\\VEN_1AF4&DEV_{short}\n"
        ));
    }
    format!(
        "; made for the tests of Lifeboat\n[Version]\nSignature=\"$Windows NT$\"\nClass={class}\nClassGUID={guid}\n\
         Provider=%VENDOR%\nDriverVer=07/15/2024,{version}\nCatalogFile={driver}.cat\n\
         DriverPackageType = PlugAndPlay\nPnpLockdown=1\n\n\
         [DestinationDirs]\nDefaultDestDir = 12\n\n[SourceDisksNames]\n1 = %Disk%,,,\"\"\n\n\
         [SourceDisksFiles]\n{driver}.sys = 1,,\n\n\
         [Manufacturer]\n%VENDOR% = Vendor,{platform}\n\n[Vendor.{platform}]\n{models}\n\
         [{section}]\nCopyFiles = @{driver}.sys\n\n\
         [{section}.Services]\nAddService = {driver}, 0x00000002, Service_Inst, EventLog_Inst\n\n\
         [Service_Inst]\nServiceType = 1\nStartType = 0\nErrorControl = 1\n\
         ServiceBinary = %12%\\{driver}.sys\nLoadOrderGroup = SCSI miniport\n\n\
         [Strings]\nVENDOR = \"Test Vendor, Inc.\"\nDisk = \"Test disk\"\nDevice.Desc = \"Test {driver} device\"\n"
    )
}

/// Layouts of virtio-win.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// The image: `viostor/w10/amd64`.
    Iso,
    /// The package: `drivers/by-os/amd64/w10`.
    ByOs,
}

/// The systems of [`virtio_win`]'s tree: folder, architecture, machine of its programs, section.
const SYSTEMS: [(&str, &str, u16, &str); 6] = [
    ("w10", "amd64", AMD64, "NTamd64.10.0"),
    ("w11", "amd64", AMD64, "NTamd64.10.0"),
    ("2k25", "amd64", AMD64, "NTamd64.10.0"),
    ("2k12R2", "amd64", AMD64, "NTamd64.6.3"),
    ("2k8R2", "amd64", AMD64, "NTamd64.6.1"),
    ("w7", "x86", X86, "NTx86.6.1"),
];

/// How many packages the tree holds: one a system and driver.
pub const PACKAGES: usize = SYSTEMS.len() * DRIVERS.len();

/// Writes a tree of drivers.
pub fn virtio_win(root: &Path, layout: Layout, version: &str) {
    let signature = [BY_MICROSOFT.signature(None)];
    for (os, architecture, machine, platform) in SYSTEMS {
        for (folder, driver, section, class, ids) in DRIVERS {
            let place = match layout {
                Layout::Iso => format!("{folder}/{os}/{architecture}"),
                Layout::ByOs => format!("drivers/by-os/{architecture}/{os}"),
            };
            let text = inf(driver, section, class, ids, platform, version);
            let utf16: Vec<u8> = [0xfeff]
                .into_iter()
                .chain(text.encode_utf16())
                .flat_map(u16::to_le_bytes)
                .collect();
            // Real files come in both.
            let bytes = if driver == "netkvm" {
                utf16
            } else {
                text.into_bytes()
            };
            put(root, &format!("{place}/{driver}.inf"), &bytes);
            put(
                root,
                &format!("{place}/{driver}.sys"),
                &signed(
                    program(machine, &format!("{driver} {os} {version}")),
                    &signature,
                ),
            );
            put(
                root,
                &format!("{place}/{driver}.cat"),
                &[&signature[0], format!("{driver} {os} {version}").as_bytes()].concat(),
            );
            put(root, &format!("{place}/{driver}.pdb"), b"symbols");
        }
    }
    put(root, "guest-agent/qemu-ga-x86_64.msi", b"msi");
    put(root, "virtio-win_license.txt", b"text");
}

/// The files of a directory.
pub struct Directory(pub PathBuf);

impl Files for Directory {
    fn list(&mut self) -> std::io::Result<Vec<(String, u64)>> {
        let mut files = Vec::new();
        let mut waiting = vec![self.0.clone()];
        while let Some(directory) = waiting.pop() {
            for entry in std::fs::read_dir(directory)?.flatten() {
                if entry.file_type()?.is_dir() {
                    waiting.push(entry.path());
                } else {
                    let name = entry
                        .path()
                        .strip_prefix(&self.0)
                        .unwrap()
                        .to_str()
                        .unwrap()
                        .to_owned();
                    files.push((name, entry.metadata()?.len()));
                }
            }
        }
        files.sort();
        Ok(files)
    }

    fn read(&mut self, path: &str) -> std::io::Result<Vec<u8>> {
        std::fs::read(self.0.join(path))
    }
}

/// The drivers of a tree, and the archive that the micro-VM gets.
pub fn catalogue(tree: &Path) -> (Catalogue, Vec<u8>) {
    let mut files = Directory(tree.to_owned());
    let collected: Result<Collected, CatalogueError> =
        collect(&mut files, "virtio-win-test.iso", &[]);
    let collected = collected.unwrap();
    assert!(collected.warnings.is_empty(), "{:?}", collected.warnings);
    let mut archive = Vec::new();
    let places = collected.places;
    let mut content = |hash: &str| files.read(&places[hash]);
    collected
        .catalogue
        .write(&mut archive, &mut content)
        .unwrap();
    (collected.catalogue, archive)
}

pub fn request(nics: &[(&str, Option<&str>)], target: Target) -> InjectRequest {
    let nic = |(mac, address): &(&str, Option<&str>)| NicIdentity {
        mac: (*mac).to_owned(),
        address: address.map(|address| address.parse().unwrap()),
    };
    InjectRequest {
        machine: "test".to_owned(),
        nics: nics.iter().map(nic).collect(),
        target,
        root: None,
    }
}

pub type Tree = BTreeMap<String, Vec<Value>>;

pub fn hive_tree(bytes: Vec<u8>) -> Tree {
    let hive = Hive::open(bytes, &[]).unwrap();
    assert!(!hive.is_torn);
    let mut tree = Tree::new();
    hive.walk(&mut |path, key| {
        tree.insert(path.trim_start_matches('\\').to_owned(), key.values());
    });
    tree
}

/// One difference between two hives: what happened, to which key and value.
pub type Difference = (Action, String, Option<String>);

pub fn recorded(edits: &[Edited]) -> BTreeSet<Difference> {
    let all = edits.iter();
    all.map(|one| (one.action, one.path.clone(), one.value.clone()))
        .collect()
}

/// What differs, by the whole of both.
pub fn differences(before: &Tree, after: &Tree) -> BTreeSet<Difference> {
    let mut found = BTreeSet::new();
    let mut one_way = |from: &Tree, to: &Tree, gone: Action, changed: Option<Action>| {
        for (path, values) in from {
            let other = to.get(path);
            if other.is_none() {
                found.insert((gone, path.clone(), None));
            }
            for value in values {
                let same = |other: &&Value| other.name == value.name;
                let action = match other.and_then(|other| other.iter().find(same)) {
                    None => Some(gone),
                    Some(other) if other != value => changed,
                    Some(_) => None,
                };
                let name = Some(value.name.clone());
                found.extend(action.map(|action| (action, path.clone(), name)));
            }
        }
    };
    one_way(before, after, Action::Removed, None);
    one_way(after, before, Action::Added, Some(Action::Changed));
    found
}

/// A log with one entry that gives back what a dirty hive lacks.
pub fn dirty_with_log(clean: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let page = 0x2000..0x3000;
    let mut dirty = clean.to_vec();
    dirty[page.clone()].fill(0);
    let sequence = u32::from_le_bytes(clean[4..8].try_into().unwrap());
    dirty[8..12].copy_from_slice(&(sequence - 1).to_le_bytes());
    let dirty = with_sum(dirty);
    let mut log = with_sum(dirty[..512].to_vec());
    let mut entry = vec![0; 512];
    entry[..4].copy_from_slice(b"HvLE");
    let size = (40 + 8 + 4096_usize).next_multiple_of(512);
    entry.resize(size, 0);
    entry[4..8].copy_from_slice(&(size as u32).to_le_bytes());
    entry[12..16].copy_from_slice(&(sequence - 1).to_le_bytes());
    entry[16..20].copy_from_slice(&clean[40..44]);
    entry[20..24].copy_from_slice(&1u32.to_le_bytes());
    entry[40..44].copy_from_slice(&((page.start - 4096) as u32).to_le_bytes());
    entry[44..48].copy_from_slice(&4096u32.to_le_bytes());
    entry[48..48 + 4096].copy_from_slice(&clean[page]);
    let hash = lifeboat_hive::log_hash(&entry[40..]);
    entry[24..32].copy_from_slice(&hash.to_le_bytes());
    let hash = lifeboat_hive::log_hash(&entry[..32]);
    entry[32..40].copy_from_slice(&hash.to_le_bytes());
    log.extend(entry);
    (dirty, log)
}

fn with_sum(mut bytes: Vec<u8>) -> Vec<u8> {
    let words = bytes[..508].chunks_exact(4);
    let sum = words.fold(0, |sum, word| {
        sum ^ u32::from_le_bytes(word.try_into().unwrap())
    });
    bytes[508..512].copy_from_slice(&sum.to_le_bytes());
    bytes
}
