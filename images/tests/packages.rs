//! OVF packages: real descriptors, and archives made here.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixture;

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use fixture::{assert_refusal, confined, run};
use lifeboat_images::{
    Firmware, ImageError, Package, RefusalKind, disk_files, is_package, read_package,
    require_manifest,
};
use tempfile::TempDir;

fn real(name: &str) -> Option<Result<Package, ImageError>> {
    let path = fixture::real_images()?.join("../infra/ovf").join(name);
    Some(read_package(&confined(), &path))
}

#[test]
fn real_descriptors_are_read() {
    // vCPUs, MiB, disks, cards, firmware; the MAC of the first card.
    for (name, vcpus, memory, cards, firmware, mac) in [
        ("input.ovf", 4, 4096, 3, None, None),
        ("vmware.ovf", 2, 1536, 4, Some(Firmware::Bios), None),
        ("v0.9.ovf", 1, 8192, 1, None, None),
        ("ubuntu.2.0.ovf", 1, 512, 1, None, Some("08:00:27:2a:fb:4e")),
    ] {
        let Some(package) = real(name) else { return };
        let package = package.unwrap();
        let [machine] = &package.machines[..] else {
            panic!("{name}: {package:?}");
        };
        let is = (
            machine.vcpus,
            machine.memory_mib,
            machine.nics.len(),
            machine.firmware,
        );
        assert_eq!(is, (Some(vcpus), Some(memory), cards, firmware), "{name}");
        assert_eq!(machine.disks.len(), 1, "{name}: {machine:?}");
        assert_eq!(machine.nics[0].mac.as_deref(), mac, "{name}");
        assert!(
            machine.nics.iter().all(|nic| nic.network.is_some()),
            "{name}"
        );
        assert!(!machine.name.is_empty(), "{name}");
    }
    let invalid = real("invalid.ovf").unwrap().unwrap_err();
    assert_eq!(invalid.refusal().unwrap().kind, RefusalKind::Damaged);
    assert!(invalid.to_string().contains("flash2"), "{invalid}");
}

struct Bench(TempDir);

const DESCRIPTOR: &str = r#"<Envelope xmlns:ovf="o"><References><File ovf:href="b.raw" ovf:id="f1"/>
<File ovf:href="a.raw" ovf:id="f2"/></References><DiskSection><Disk ovf:diskId="d1" ovf:fileRef="f1"/>
<Disk ovf:diskId="d2" ovf:fileRef="f2"/></DiskSection><VirtualSystem ovf:id="vm"><VirtualHardwareSection>
<Item><InstanceID>1</InstanceID><ResourceType>17</ResourceType><HostResource>ovf:/disk/d1</HostResource></Item>
<Item><InstanceID>2</InstanceID><ResourceType>17</ResourceType><HostResource>ovf:/disk/d2</HostResource></Item>
</VirtualHardwareSection></VirtualSystem></Envelope>"#;

impl Bench {
    /// A package of a descriptor, two disks and a manifest by coreutils.
    fn new(sum: &str, algorithm: &str) -> Self {
        let bench = Self(fixture::scratch());
        std::fs::write(bench.path("x.ovf"), DESCRIPTOR).unwrap();
        fixture::raw_disk(&bench.path("a.raw"));
        std::fs::write(bench.path("b.raw"), vec![7; 3_000_001]).unwrap();
        let mut manifest = String::new();
        for name in ["x.ovf", "a.raw", "b.raw"] {
            let output = run(sum, &[bench.path(name).to_str().unwrap()]);
            let text = String::from_utf8(output.stdout).unwrap();
            manifest += &format!("{algorithm}({name})= {}\n", text.split(' ').next().unwrap());
        }
        std::fs::write(bench.path("x.mf"), manifest).unwrap();
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn ova(&self, members: &[&str]) -> PathBuf {
        let path = self.path("x.ova");
        let place = self.0.path().to_str().unwrap();
        let words = [
            "--format=ustar",
            "--hard-dereference",
            "-cf",
            path.to_str().unwrap(),
            "-C",
            place,
        ];
        run("tar", &[&words[..], members].concat());
        path
    }
}

fn checked(path: &Path) -> Result<Package, ImageError> {
    let package = read_package(&confined(), path)?;
    require_manifest(path, &package, &|_, _| {})?;
    Ok(package)
}

#[test]
fn a_package_is_checked_against_its_manifest() {
    for (sum, algorithm) in [
        ("sha1sum", "SHA1"),
        ("sha256sum", "SHA256"),
        ("sha512sum", "SHA512"),
    ] {
        let bench = Bench::new(sum, algorithm);
        let descriptor = bench.path("x.ovf");
        let package = checked(&descriptor).unwrap();
        assert_eq!(package.digests.len(), 3);
        assert_eq!(package.machines[0].disks, ["b.raw", "a.raw"]);
        let files =
            disk_files(&descriptor, &package, Path::new("/nowhere"), 0, &|_, _| {}).unwrap();
        assert_eq!(files, [[bench.path("b.raw"), bench.path("a.raw")]]);
        let archive = bench.ova(&["x.ovf", "x.mf", "a.raw", "b.raw"]);
        checked(&archive).unwrap();

        fixture::patch(&bench.path("b.raw"), 2_000_000, b"rot");
        let error = checked(&descriptor).unwrap_err();
        let kind = RefusalKind::Damaged;
        assert_refusal(&error, &bench.path("b.raw"), kind, &["b.raw", "manifest"]);
        // The archive holds the bytes of before.
        checked(&archive).unwrap();
        let archive = bench.ova(&["x.ovf", "x.mf", "a.raw", "b.raw"]);
        assert_refusal(
            &checked(&archive).unwrap_err(),
            &archive,
            kind,
            &["b.raw", "manifest"],
        );
        std::fs::remove_file(bench.path("x.mf")).unwrap();
        assert_eq!(checked(&descriptor).unwrap().digests, []);
    }
}

#[test]
fn disks_of_an_archive_become_files_once() {
    let bench = Bench::new("sha256sum", "SHA256");
    let archive = bench.ova(&["x.ovf", "b.raw", "a.raw"]);
    let package = checked(&archive).unwrap();
    let folder = bench.path("unpacked");
    let unpack = || disk_files(&archive, &package, &folder, 64 << 20, &|_, _| {}).unwrap();
    let files = unpack();
    assert_eq!(files, [[folder.join("b.raw"), folder.join("a.raw")]]);
    for name in ["a.raw", "b.raw"] {
        let same =
            std::fs::read(folder.join(name)).unwrap() == std::fs::read(bench.path(name)).unwrap();
        assert!(same, "{name}");
    }
    let inode = || folder.join("a.raw").metadata().unwrap().ino();
    let before = inode();
    unpack();
    assert_eq!(inode(), before);
    fixture::set_length(&folder.join("a.raw"), 5);
    unpack();
    assert_eq!(folder.join("a.raw").metadata().unwrap().len(), 8 << 20);
    // The same length is not the same bytes.
    fixture::patch(&folder.join("a.raw"), 4 << 20, b"other");
    unpack();
    let (is, was) = (folder.join("a.raw"), bench.path("a.raw"));
    assert!(std::fs::read(is).unwrap() == std::fs::read(was).unwrap());
    // A link that took the place of a file is replaced, not followed.
    std::fs::remove_file(folder.join("a.raw")).unwrap();
    std::os::unix::fs::symlink(bench.path("a.raw"), folder.join("a.raw")).unwrap();
    unpack();
    assert!(folder.join("a.raw").symlink_metadata().unwrap().is_file());
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 2);
}

#[test]
fn an_archive_is_unpacked_with_holes_where_room_stays() {
    let bench = Bench::new("sha256sum", "SHA256");
    let archive = bench.ova(&["x.ovf", "b.raw", "a.raw"]);
    let package = checked(&archive).unwrap();
    let unpack =
        |folder: &Path, reserve: u64| disk_files(&archive, &package, folder, reserve, &|_, _| {});
    // Two disks of 8 MiB, mostly zeros, after each of which so much stays free.
    let Some(small) = fixture::SmallDisk::mount(12 << 20) else {
        return;
    };
    let folder = small.path().join("unpacked");
    let error = unpack(&folder, 11 << 20).unwrap_err();
    assert!(matches!(error, ImageError::NoRoom { .. }), "{error}");
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
    unpack(&folder, 1 << 20).unwrap();
    let taken = |name: &str| folder.join(name).metadata().unwrap().blocks() * 512;
    assert!(taken("a.raw") + taken("b.raw") < 4 << 20);
}

#[test]
fn a_disk_that_the_manifest_leaves_out_is_told() {
    let bench = Bench::new("sha256sum", "SHA256");
    let descriptor = bench.path("x.ovf");
    let warned = |path: &Path| {
        let warnings = checked(path).unwrap().warnings;
        let about = |word: &str| warnings.iter().any(|warning| warning.contains(word));
        assert!(!about("a.raw"), "{warnings:?}");
        about("does not list the disk `b.raw`")
    };
    assert!(!warned(&descriptor));
    let manifest = std::fs::read_to_string(bench.path("x.mf")).unwrap();
    let without = manifest.lines().filter(|line| !line.contains("b.raw"));
    let without: Vec<_> = without.collect();
    std::fs::write(bench.path("x.mf"), without.join("\n") + "\n").unwrap();
    assert!(warned(&descriptor));
    assert!(warned(&bench.ova(&["x.ovf", "x.mf", "a.raw", "b.raw"])));
    std::fs::remove_file(bench.path("x.mf")).unwrap();
    assert!(!warned(&descriptor));
}

#[test]
fn archives_that_are_not_whole_or_not_plain_are_refused() {
    let bench = Bench::new("sha256sum", "SHA256");
    let refused = |members: &[&str], kind, word: &str| {
        let archive = bench.ova(members);
        let error = read_package(&confined(), &archive).unwrap_err();
        assert_refusal(&error, &archive, kind, &[word]);
    };
    refused(
        &["a.raw"],
        RefusalKind::UnsupportedFormat,
        "no OVF descriptor",
    );
    refused(&["x.ovf", "a.raw"], RefusalKind::Missing, "b.raw");
    refused(
        &["x.ovf", "a.raw", "b.raw", "a.raw"],
        RefusalKind::Damaged,
        "twice",
    );
    std::fs::copy(bench.path("x.ovf"), bench.path("y.ovf")).unwrap();
    refused(
        &["x.ovf", "y.ovf"],
        RefusalKind::Damaged,
        "several files `.ovf`",
    );
    let names: Vec<String> = (0..1100).map(|number| format!("f{number}")).collect();
    names
        .iter()
        .for_each(|name| std::fs::write(bench.path(name), "").unwrap());
    let many: Vec<&str> = std::iter::once("x.ovf")
        .chain(names.iter().map(String::as_str))
        .collect();
    refused(&many, RefusalKind::Damaged, "more than 1000 members");

    let archive = bench.ova(&["x.ovf", "a.raw", "b.raw"]);
    fixture::set_length(&archive, 4 << 20);
    let error = read_package(&confined(), &archive).unwrap_err();
    assert!(error.refusal().is_some(), "{error}");
    std::fs::write(bench.path("huge.ovf"), vec![b' '; 9 << 20]).unwrap();
    let error = read_package(&confined(), &bench.path("huge.ovf")).unwrap_err();
    assert_refusal(
        &error,
        &bench.path("huge.ovf"),
        RefusalKind::AbsurdSize,
        &["bytes"],
    );
}

#[test]
fn packages_are_known_by_their_names() {
    assert!(is_package(Path::new("a.ovf")) && is_package(Path::new("/b/A.OVA")));
    assert!(!is_package(Path::new("a.raw")) && !is_package(Path::new("ova")));
}

/// A deep descriptor ends the child or is refused; it is never taken, and nothing hangs.
#[test]
fn a_descriptor_of_great_depth_is_no_danger() {
    let bench = Bench::new("sha1sum", "SHA1");
    let deep = format!("{}{}", "<a>".repeat(200_000), "</a>".repeat(200_000));
    std::fs::write(bench.path("deep.ovf"), deep).unwrap();
    read_package(&confined(), &bench.path("deep.ovf")).unwrap_err();
}
