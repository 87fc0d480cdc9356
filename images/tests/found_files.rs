//! Files that the operator did not name: they are taken only where they are what they seem to be.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixture;

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use fixture::writers::{self, disk};
use fixture::{assert_refusal, assert_refused, confined, look, take_in};
use lifeboat_images::{
    ImageError, RefusalKind as Kind, disk_files, read_package, require_manifest,
};

/// Replaces the file with a link to it, elsewhere under another name.
fn link_away(path: &Path, elsewhere: &Path) {
    let away = elsewhere.join("secret-of-the-host");
    std::fs::rename(path, &away).unwrap();
    symlink(&away, path).unwrap();
}

fn put_back(path: &Path) {
    let away = std::fs::read_link(path).unwrap();
    std::fs::remove_file(path).unwrap();
    std::fs::rename(away, path).unwrap();
}

fn sets(folder: &Path) -> [(PathBuf, PathBuf); 2] {
    let bytes = disk(5);
    let split = writers::split(&folder.join("a.x"), &bytes, 0, 3_000_320);
    let evidence = writers::ewf(&folder.join("e.x"), &bytes, 2);
    let second = [split.with_extension("001"), evidence.with_extension("E02")];
    let [part, segment] = second;
    [(split, part), (evidence, segment)]
}

#[test]
fn later_parts_that_are_links_are_refused() {
    let (place, elsewhere) = (fixture::scratch(), fixture::scratch());
    for (first, second) in sets(place.path()) {
        link_away(&second, elsewhere.path());
        let name = second.file_name().unwrap().to_str().unwrap();
        assert_refused(&first, Kind::SplitOverFiles, &[name, "symbolic link"]);
        let error = fixture::take_in_chain(&first, &[]).unwrap_err();
        assert_refusal(&error, &first, Kind::SplitOverFiles, &["symbolic link"]);
        // The control: the file itself, and a link that the operator names.
        put_back(&second);
        let named = elsewhere.path().join("named");
        let named = named.with_extension(first.extension().unwrap());
        symlink(&first, &named).unwrap();
        let (direct, linked) = (take_in(&first), take_in(&named));
        assert_eq!(direct.sources, linked.sources);
        assert_eq!(direct.sources.len(), 2);
    }
}

#[test]
fn later_parts_that_are_no_files_are_refused() {
    let place = fixture::scratch();
    for (first, second) in sets(place.path()) {
        std::fs::remove_file(&second).unwrap();
        std::fs::create_dir(&second).unwrap();
        assert_refused(&first, Kind::NotAFile, &["no ordinary file"]);
        std::fs::remove_dir(&second).unwrap();
        std::fs::write(&second, "").unwrap();
        assert_refused(&first, Kind::Empty, &["is empty"]);
    }
}

const DESCRIPTOR: &str = r#"<Envelope xmlns:ovf="o"><References><File ovf:href="a.raw" ovf:id="f1"/>
</References><DiskSection><Disk ovf:diskId="d1" ovf:fileRef="f1"/></DiskSection>
<VirtualSystem ovf:id="vm"><VirtualHardwareSection><Item><InstanceID>1</InstanceID>
<ResourceType>17</ResourceType><HostResource>ovf:/disk/d1</HostResource></Item>
</VirtualHardwareSection></VirtualSystem></Envelope>"#;

fn bring_in(descriptor: &Path) -> Result<Vec<Vec<PathBuf>>, ImageError> {
    let package = read_package(&confined(), descriptor)?;
    require_manifest(descriptor, &package, &|_, _| {})?;
    disk_files(descriptor, &package, Path::new("/nowhere"), 0, &|_, _| {})
}

#[test]
fn disks_and_manifests_of_a_package_that_are_links_are_refused() {
    let (place, elsewhere) = (fixture::scratch(), fixture::scratch());
    let path = |name: &str| place.path().join(name);
    let descriptor = path("x.ovf");
    std::fs::write(&descriptor, DESCRIPTOR).unwrap();
    fixture::raw_disk(&path("a.raw"));
    let output = fixture::run("sha256sum", &[path("a.raw").to_str().unwrap()]);
    let sum = String::from_utf8(output.stdout).unwrap();
    let line = format!("SHA256(a.raw)= {}\n", sum.split(' ').next().unwrap());
    let with_manifest = || std::fs::write(path("x.mf"), &line).unwrap();
    let refused = |name: &str| {
        let error = bring_in(&descriptor).unwrap_err();
        let words = [name, "symbolic link"];
        assert_refusal(&error, &descriptor, Kind::SplitOverFiles, &words);
    };
    link_away(&path("a.raw"), elsewhere.path());
    refused("a.raw");
    with_manifest();
    refused("a.raw");
    put_back(&path("a.raw"));
    link_away(&path("x.mf"), elsewhere.path());
    refused("x.mf");
    put_back(&path("x.mf"));
    // The control: the files themselves.
    assert_eq!(bring_in(&descriptor).unwrap(), [[path("a.raw")]]);
}

#[test]
fn an_extent_belongs_to_its_descriptor() {
    let place = fixture::scratch();
    let path = |name: &str| place.path().join(name);
    let write = |name: &str| {
        let text = format!(
            "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\n\
             createType=\"monolithicFlat\"\nRW 16384 FLAT \"{name}\" 0\n"
        );
        std::fs::write(path("web.vmdk"), text).unwrap();
    };
    for other in [
        "payroll.raw",
        "payroll-flat.vmdk",
        "web.raw",
        "web-flat.raw",
        "webshop-flat.vmdk",
        "web.vmdk",
        "web-.vmdk.img",
        // Those of the machines `web-db` and `web-2`.
        "web-db-flat.vmdk",
        "web-2-flat.vmdk",
        "web-2-s001.vmdk",
        "web-db-secrets-flat.vmdk",
        "web-s01.vmdk",
        "web-s001-db.vmdk",
        "web-00001-flat.vmdk",
        "web-0000001-flat.vmdk",
        "web-000001.vmdk",
    ] {
        if other != "web.vmdk" {
            fixture::raw_disk(&path(other));
        }
        write(other);
        let words = [other, "does not look like a part of it", "web-"];
        assert_refused(&path("web.vmdk"), Kind::SplitOverFiles, &words);
    }
    // The control: the names that VMware, VirtualBox and QEMU give.
    for own in [
        "web-flat.vmdk",
        "web-f001.vmdk",
        "web-s1000.vmdk",
        "web-000001-flat.vmdk",
        "WEB-000001-s001.VMDK",
    ] {
        fixture::raw_disk(&path(own));
        write(own);
        assert_eq!(look(&path("web.vmdk")).unwrap().virtual_size, 8 << 20);
    }
}

#[test]
fn an_extent_alone_asks_for_its_descriptor() {
    let place = fixture::scratch();
    let path = |name: &str| place.path().join(name);
    for (kind, extent, refusal) in [
        ("twoGbMaxExtentSparse", "d-s001.vmdk", Kind::SplitOverFiles),
        ("twoGbMaxExtentFlat", "d-f001.vmdk", Kind::Mismatch),
    ] {
        let create = format!("create -q -f vmdk -o subformat={kind} @ 4M");
        fixture::qemu_img(&create, &path("d.vmdk"));
        look(&path("d.vmdk")).unwrap();
        assert_refused(&path(extent), refusal, &["extent", "descriptor"]);
        std::fs::remove_file(path("d.vmdk")).unwrap();
    }
}

#[test]
fn an_empty_extent_is_refused_in_a_sentence() {
    let place = fixture::scratch();
    let path = place.path().join("d.vmdk");
    fixture::qemu_img("create -q -f vmdk -o subformat=monolithicFlat @ 4M", &path);
    look(&path).unwrap();
    fixture::set_length(&place.path().join("d-flat.vmdk"), 0);
    assert_refused(&path, Kind::Empty, &["d-flat.vmdk", "is empty"]);
}
