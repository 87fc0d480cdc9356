//! Made-up Windows guests on real NTFS in the micro-VM.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lifeboat_drivers::windows::report::WindowsRefusal;
use lifeboat_drivers::{
    Disk, Firmware, Format, Layer, MicroVm, MicroVmError, Refusal, Target, inspect, prepare,
};

use crate::fixture::*;
use crate::laboratory::Laboratory;

const MIB: u64 = 1 << 20;
const SIZE: u64 = 420 * MIB;

/// Says what is missing and gives nothing when NTFS cannot be made or mounted here.
fn laboratory(test: &str) -> Option<Laboratory> {
    let missing = [
        "/usr/sbin/mkntfs",
        "/usr/bin/ntfs-3g",
        "/usr/bin/mcopy",
        "/dev/fuse",
    ]
    .into_iter()
    .find(|path| !Path::new(path).exists());
    if let Some(missing) = missing {
        say(&format!("SKIPPED windows {test}: missing {missing}"));
        return None;
    }
    let laboratory = Laboratory::open(test)?;
    if !laboratory.micro_vm().kernel_dir.join("kit.tar").is_file() {
        say(&format!(
            "SKIPPED windows {test}: the kernel directory has no kit.tar"
        ));
        return None;
    }
    Some(laboratory)
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program}: {said}");
}

/// A disk with an MBR and one NTFS partition of this type, filled by the test's own mount.
fn disk(laboratory: &Laboratory, name: &str, kind: &str, fill: impl FnOnce(&Path)) -> PathBuf {
    let ntfs = laboratory.bytes(&format!("{name}-ntfs"), SIZE, 0, b"");
    let text = ntfs.to_str().unwrap();
    run(
        "/usr/sbin/mkntfs",
        &["-F", "-Q", "-q", "-s", "512", "-p", "2048", text],
    );
    let mount = laboratory.directory(&format!("{name}-mount"));
    run(
        "/usr/bin/ntfs-3g",
        &[
            "-o",
            "streams_interface=none",
            text,
            mount.to_str().unwrap(),
        ],
    );
    fill(&mount);
    run("umount", &[mount.to_str().unwrap()]);
    let path = laboratory.bytes(name, SIZE + 2 * MIB, 0, b"");
    partition(&path, &format!("start=1MiB, size=420MiB, type={kind}"));
    copy(&ntfs, &path, MIB);
    std::fs::remove_file(ntfs).unwrap();
    path
}

fn partition(path: &Path, line: &str) {
    let mut table = Command::new("/usr/sbin/sfdisk")
        .args(["--quiet", path.to_str().unwrap()])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let text = format!("label: dos\n{line}\n");
    let mut input = table.stdin.take().unwrap();
    input.write_all(text.as_bytes()).unwrap();
    drop(input);
    assert!(table.wait().unwrap().success());
}

/// Copies what is not zero.
fn copy(from: &Path, to: &Path, at: u64) {
    let (mut from, to) = (
        File::open(from).unwrap(),
        File::options().write(true).open(to).unwrap(),
    );
    let mut block = vec![0; 1 << 16];
    for place in (0..SIZE).step_by(block.len()) {
        from.seek(SeekFrom::Start(place)).unwrap();
        from.read_exact(&mut block).unwrap();
        if block.iter().any(|byte| *byte != 0) {
            to.write_all_at(&block, at + place).unwrap();
        }
    }
}

fn layer(path: &Path, writable: bool, format: Format) -> Layer {
    let file = File::options()
        .read(true)
        .write(writable)
        .open(path)
        .unwrap();
    Layer {
        file: file.into(),
        format,
    }
}

fn overlaid(overlay: &Path, base: &Path) -> Vec<Disk> {
    vec![Disk {
        layers: vec![
            layer(overlay, true, Format::Qcow2),
            layer(base, false, Format::Raw),
        ],
    }]
}

fn hash(path: &Path) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path).unwrap()).unwrap();
    hasher.finalize().to_hex().to_string()
}

fn ntfs_of(disk: &Path) -> Vec<u8> {
    let mut bytes = vec![0; SIZE as usize];
    File::open(disk)
        .unwrap()
        .read_exact_at(&mut bytes, MIB)
        .unwrap();
    bytes
}

/// Where the mark of hibernation stands in the filesystem.
fn asleep_at(disk: &Path) -> u64 {
    let bytes = ntfs_of(disk);
    let blocks = bytes.chunks_exact(4096);
    let place = blocks
        .into_iter()
        .position(|block| block.starts_with(b"hibr\0\0\0\0"));
    place.unwrap() as u64 * 4096
}

/// Writes the head of a journal that is in use over the empty journal of mkntfs.
fn leave_journal_open(disk: &Path) {
    let bytes = ntfs_of(disk);
    let empty = |block: &[u8]| block.iter().all(|byte| *byte == 0xff);
    let blocks: Vec<bool> = bytes.chunks_exact(4096).map(empty).collect();
    let first = blocks
        .windows(16)
        .position(|run| run.iter().all(|empty| *empty))
        .unwrap();
    let size = blocks[first..].iter().take_while(|empty| **empty).count() as u64 * 4096;
    let mut page = vec![0; 4096];
    let mut put = |at: usize, content: &[u8]| page[at..at + content.len()].copy_from_slice(content);
    put(0, b"RSTR\x1e\0\x09\0");
    put(16, &[0, 0x10, 0, 0, 0, 0x10, 0, 0, 0x30, 0, 1, 0, 1, 0]);
    put(0x1e, &[1, 0]);
    put(0x32, &[0x10]);
    put(0x38, &[1, 0, 0xff, 0xff, 0, 0, 0, 0]);
    put(
        0x40,
        &(67 - (u64::BITS - size.leading_zeros())).to_le_bytes(),
    );
    put(0x44, &[0xd0, 0, 0x30, 0]);
    put(0x48, &size.to_le_bytes());
    put(0x54, &[0x30, 0, 0x40, 0, 1]);
    put(0x62, &[0x10]);
    put(0x6a, &[0x10]);
    put(0x70, &[0xff; 4]);
    put(0x7c, &[8]);
    put(0x80, b"N\0T\0F\0S\0");
    for sector in 1..=8 {
        put(sector * 512 - 2, &[1, 0]);
    }
    let disk = File::options().write(true).open(disk).unwrap();
    for copy in 0..2 {
        disk.write_all_at(&page, MIB + first as u64 * 4096 + copy * 4096)
            .unwrap();
    }
}

/// A disk whose one partition is an EFI system partition with the loader of Windows.
fn esp_disk(laboratory: &Laboratory) -> PathBuf {
    let path = laboratory.bytes("esp", 42 * MIB, 0, b"");
    partition(&path, "start=1MiB, size=40MiB, type=ef");
    let place = format!("{}@@1M", path.to_str().unwrap());
    run(
        "/usr/bin/mformat",
        &["-i", &place, "-T", "81920", "-F", "::"],
    );
    for folder in ["::EFI", "::EFI/Microsoft", "::EFI/Microsoft/Boot"] {
        run("/usr/bin/mmd", &["-i", &place, folder]);
    }
    let loader = laboratory.bytes("loader", 0, 0, b"loader");
    let to = "::EFI/Microsoft/Boot/bootmgfw.efi";
    run(
        "/usr/bin/mcopy",
        &["-i", &place, loader.to_str().unwrap(), to],
    );
    path
}

/// The micro-VM with a catalogue of made-up drivers.
fn micro_vm(laboratory: &Laboratory) -> MicroVm {
    let drivers = laboratory.directory("virtio-win");
    virtio_win(&drivers, Layout::Iso, "100.95.104.26200");
    let path = laboratory.directory("catalogue").join("catalogue.tar");
    std::fs::write(&path, catalogue(&drivers).1).unwrap();
    MicroVm {
        drivers: Some(path),
        ..laboratory.micro_vm()
    }
}

#[test]
fn ntfs_is_prepared_twice_with_its_loader_on_another_disk_and_the_second_time_changes_nothing() {
    let Some(laboratory) = laboratory("ntfs") else {
        return;
    };
    let vm = micro_vm(&laboratory);
    let mut there = None;
    let base = disk(&laboratory, "windows", "7", |root| {
        there = fill(root, WINDOWS_10)
    });
    if there.is_none() {
        return;
    }
    let before = hash(&base);
    let folder = laboratory.directory("folder");
    let found = inspect(
        &vm,
        &[Disk {
            layers: vec![layer(&base, false, Format::Raw)],
        }],
        &folder,
    )
    .unwrap();
    let windows = found.windows.unwrap();
    assert_eq!(
        (windows.product.as_str(), windows.build),
        ("Windows 10 Enterprise", 18363)
    );
    assert_eq!(found.hostname, "DESKTOP-2KGM189");
    assert!(folder.join("Windows/System32/config/SYSTEM").is_file());
    assert!(
        folder
            .join("Windows/System32/winevt/Logs/System.evtx")
            .is_file()
    );
    assert!(!folder.join("Windows/System32/config/SAM").exists());
    let overlay = laboratory.overlay(&base, "overlay");
    let request = request(&[("00:0c:29:f3:ff:de", None)], Target::default());
    let esp = esp_disk(&laboratory);
    let loader = laboratory.overlay(&esp, "loader-overlay");
    for round in 0..2 {
        let out = laboratory.directory(&format!("out{round}"));
        let mut disks = overlaid(&overlay, &base);
        disks.extend(overlaid(&loader, &esp));
        let report = prepare(&vm, &disks, &request, &out).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(report.guest.firmware, Firmware::Uefi);
        let written = |change: &lifeboat_drivers::Change| change.path.ends_with("bootx64.efi");
        assert_eq!(report.changes.changes.iter().any(written), round == 0);
        for check in &report.verified {
            assert!(check.ok, "{}: {}", check.what, check.detail);
        }
        say(&format!(
            "windows on NTFS, round {round}: {:.1} s, {} changes, {} checks",
            report.seconds,
            report.changes.changes.len(),
            report.verified.len()
        ));
        assert_eq!(report.changes.changes.is_empty(), round == 1);
    }
    assert_eq!(hash(&base), before, "the captured disk is never written");
    // Nothing would keep what was.
    let copy = laboratory.bytes("copy", SIZE + 2 * MIB, 0, b"");
    std::fs::copy(&base, &copy).unwrap();
    let before = hash(&copy);
    let itself = [Disk {
        layers: vec![layer(&copy, true, Format::Raw)],
    }];
    let out = laboratory.directory("out-itself");
    match prepare(&vm, &itself, &request, &out) {
        Err(MicroVmError::Refused(refusal)) => {
            assert_eq!(refusal, Refusal::from(WindowsRefusal::NoOverlay));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(hash(&copy), before);
}

#[test]
fn what_must_not_be_touched_is_refused_in_the_micro_vm() {
    let Some(laboratory) = laboratory("refusals") else {
        return;
    };
    let vm = micro_vm(&laboratory);
    let mut there = None;
    let base = disk(&laboratory, "asleep", "7", |root| {
        there = fill(root, WINDOWS_10);
        let mut image = b"hibr".to_vec();
        image.resize(1 << 16, 0);
        std::fs::write(root.join("hiberfil.sys"), image).unwrap();
    });
    if there.is_none() {
        return;
    }
    let refusal = |base: &Path, name: &str| {
        let overlay = laboratory.overlay(base, name);
        let out = laboratory.directory(&format!("{name}-out"));
        match prepare(
            &vm,
            &overlaid(&overlay, base),
            &request(&[], Target::default()),
            &out,
        ) {
            Err(MicroVmError::Refused(refusal)) => refusal,
            other => panic!("{name}: {other:?}"),
        }
    };
    let asleep = refusal(&base, "asleep-overlay");
    assert_eq!(asleep, Refusal::from(WindowsRefusal::Hibernated));
    // The same disk as a dynamic one: its partition says so.
    let table = File::options().write(true).open(&base).unwrap();
    table.write_all_at(&[0x42], 450).unwrap();
    let dynamic = refusal(&base, "dynamic-overlay");
    assert!(
        matches!(
            dynamic,
            Refusal::Windows {
                why: WindowsRefusal::DynamicDisk { .. }
            }
        ),
        "{dynamic}"
    );
    // Not unmounted: its journal has a user, and cannot be replayed.
    table.write_all_at(&[0x07], 450).unwrap();
    table.write_all_at(b"none", MIB + asleep_at(&base)).unwrap();
    leave_journal_open(&base);
    let unclean = refusal(&base, "unclean-overlay");
    assert!(
        matches!(
            unclean,
            Refusal::Windows {
                why: WindowsRefusal::UncleanNtfs { .. }
            }
        ),
        "{unclean}"
    );
    // And encrypted.
    table.write_all_at(&[0x07], 450).unwrap();
    table.write_all_at(b"-FVE-FS-", MIB + 3).unwrap();
    let locked = refusal(&base, "locked-overlay");
    assert!(matches!(locked, Refusal::BitLocker { .. }), "{locked}");
}
