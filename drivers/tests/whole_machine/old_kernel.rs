//! Kernels before 5.13 take anything after an LZ4 stream for more of it: what
//! is appended there must be LZ4 too, and without padding.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lifeboat_drivers::initrd::cpio::Writer;
use lifeboat_drivers::initrd::supplement::bytes_to_append;
use lifeboat_drivers::initrd::{Compressor, lz4_legacy};

use crate::laboratory::Laboratory;

const BUSYBOX: &str = "/bin/busybox";
/// Says which of the two archives the kernel has unpacked.
const INIT: &str = "#!/bin/busybox sh\n\
    if [ -e /second ]; then echo BOTH-UNPACKED; else echo ONE-UNPACKED; fi\n\
    /bin/busybox poweroff -f\n";

/// The kernel of Debian 11, out of the matrix's own base.
fn kernel(laboratory: &Laboratory) -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/matrix/base");
    let sum = Command::new("sha256sum").arg(&script).output().unwrap();
    let sum = String::from_utf8(sum.stdout).unwrap();
    let cache = laboratory.cache_of("matrix");
    let archive = cache.join(format!("base-bullseye-{}.tar", &sum[..12]));
    if !archive.exists() {
        laboratory.say("building the base of Debian bullseye");
        let built = Command::new(script).arg("bullseye").arg(&archive).status();
        assert!(built.unwrap().success());
    }
    let kernel = Command::new("tar")
        .args(["--wildcards", "--to-stdout", "-xf"])
        .arg(&archive)
        .arg("./boot/vmlinuz-5.10*")
        .output()
        .unwrap();
    assert!(kernel.stdout.len() > 1 << 20, "no kernel 5.10 in the base");
    laboratory.bytes("kernel", 0, 0, &kernel.stdout)
}

/// An LZ4 image whose size padding would have to fill up.
fn first() -> Vec<u8> {
    let archive = first_archive();
    let sizes = 0..64;
    let mut images = sizes.map(|more| lz4_legacy::encode(&[&archive[..], &vec![0; more]].concat()));
    images.find(|image| !image.len().is_multiple_of(4)).unwrap()
}

fn first_archive() -> Vec<u8> {
    let mut writer = Writer::new();
    writer.directory("bin");
    writer.file("bin/busybox", 0o755, &std::fs::read(BUSYBOX).unwrap());
    writer.file("init", 0o755, INIT.as_bytes());
    writer.finish()
}

fn second() -> Vec<u8> {
    let mut writer = Writer::new();
    writer.file("second", 0o644, b"here");
    writer.finish()
}

fn console(laboratory: &Laboratory, kernel: &Path, name: &str, image: &[u8]) -> String {
    let image = laboratory.bytes(name, 0, 0, image);
    let output = Command::new("timeout")
        .args(["300", "qemu-system-x86_64", "-nodefaults", "-no-reboot"])
        .args([
            "-display", "none", "-accel", "tcg", "-m", "256", "-serial", "stdio",
        ])
        .args(["-append", "console=ttyS0 panic=-1", "-kernel"])
        .arg(kernel)
        .arg("-initrd")
        .arg(image)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn what_is_appended_to_lz4_is_unpacked_by_an_old_kernel() {
    let Some(laboratory) = Laboratory::open("old kernel") else {
        return;
    };
    if !Path::new(BUSYBOX).exists() {
        laboratory.say("SKIPPED whole_machine old kernel: missing busybox-static");
        return;
    }
    let kernel = kernel(&laboratory);
    let image = first();
    let appended = bytes_to_append(&second(), Some(Compressor::Lz4), image.len() as u64);
    let good = [image.clone(), appended].concat();
    let seen = console(&laboratory, &kernel, "good", &good);
    assert!(seen.contains("BOTH-UNPACKED"), "{seen}");

    let appended = bytes_to_append(&second(), Some(Compressor::Gzip), image.len() as u64);
    let bad = [image, appended].concat();
    let seen = console(&laboratory, &kernel, "bad", &bad);
    assert!(
        !seen.contains("BOTH-UNPACKED"),
        "this kernel does not mind: {seen}"
    );
}
