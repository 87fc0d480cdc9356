//! Images that must not be used: refused by `image inspect` and, on their way
//! into a session, by `prepare`.

use std::path::{Path, PathBuf};

use lifeboat_tests::{Appliance, require, run_tool};

use crate::{SITE, raw_disk, with_site};

struct Bench(Appliance);

impl Bench {
    fn new() -> Self {
        require(&[("qemu-img", "qemu-utils"), ("qemu-io", "qemu-utils")]);
        Self(with_site(SITE))
    }

    /// A qcow2 image in order, with some data.
    fn qcow2(&self, name: &str) -> PathBuf {
        let path = self.0.path(name);
        let text = path.to_string_lossy();
        run_tool("qemu-img", &["create", "-q", "-f", "qcow2", &text, "64M"]);
        run_tool("qemu-io", &["-f", "qcow2", "-c", "write -P 7 1M 3M", &text]);
        path
    }

    /// An image whose header names another one.
    fn referring(&self, name: &str, to: &str) -> PathBuf {
        let path = self.0.path(name);
        let text = path.to_string_lossy();
        let words = [
            "create", "-q", "-u", "-f", "qcow2", "-F", "raw", "-b", to, &text, "64M",
        ];
        run_tool("qemu-img", &words);
        path
    }

    /// Both ways in refuse it, with the same words, and leave nothing.
    #[track_caller]
    fn refused(&self, image: &Path, words: &[&str]) {
        let name = image.file_name().unwrap().to_string_lossy();
        let inspect = self.0.lifeboat(["image", "inspect"]).words([image]).run();
        inspect.expect_code(1).expect_one_error().expect_said(words);
        inspect.expect_said(&[&name]);
        let site = self
            .0
            .write("site.toml", SITE.replacen("disk.raw", &name, 1));
        let prepare = self.0.lifeboat(["prepare"]).words([&site]).run();
        prepare.expect_code(1).expect_one_error().expect_said(words);
        prepare.expect_said(&[&name, "machine `one`"]);
        assert_eq!(prepared(&self.0), Vec::<PathBuf>::new());
        self.0.traces().expect_none();
    }
}

fn prepared(appliance: &Appliance) -> Vec<PathBuf> {
    let folder = std::fs::read_dir(appliance.state().join("prepared"));
    let entries = folder.into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

#[test]
fn images_in_order_are_described() {
    let bench = Bench::new();
    for (image, format) in [
        (bench.0.path("disk.raw"), "raw"),
        (bench.qcow2("a.qcow2"), "qcow2"),
    ] {
        let inspect = || bench.0.lifeboat(["image", "inspect"]).words([&image]);
        let found = inspect().json().run();
        found.expect_code(0);
        assert_eq!(found.json()["format"], format);
        let text = inspect().run();
        assert!(text.stdout.contains(format), "{}", text.stdout);
    }
}

#[test]
fn truncated_volumes() {
    let bench = Bench::new();
    let image = bench.qcow2("short.qcow2");
    let length = image.metadata().unwrap().len();
    let file = std::fs::File::options().write(true).open(&image).unwrap();
    file.set_len(length / 2).unwrap();
    bench.refused(&image, &["copy the volume again"]);
}

#[test]
fn empty_files_and_folders() {
    let bench = Bench::new();
    bench.refused(&bench.0.write("empty.raw", ""), &["empty"]);
    let folder = bench.0.path("folder.raw");
    std::fs::create_dir(&folder).unwrap();
    bench.refused(&folder, &["directory"]);
}

#[test]
fn references_to_other_files() {
    let bench = Bench::new();
    let base = bench.qcow2("base.qcow2");
    let top = bench.referring("top.qcow2", &base.to_string_lossy());
    bench.refused(&top, &["base.qcow2", "chain"]);
    let secret = "json:{\"driver\":\"file\",\"filename\":\"/etc/shadow\"}";
    bench.refused(&bench.referring("json.qcow2", secret), &["protocol `json`"]);
    let remote = bench.referring("nbd.qcow2", "nbd://127.0.0.1:10809/x");
    bench.refused(&remote, &["protocol `nbd`"]);
}

#[test]
fn unsupported_formats() {
    let bench = Bench::new();
    let mut bytes = raw_disk();
    bytes[..4].copy_from_slice(b"QED\0");
    bench.refused(&bench.0.write("old.qed", bytes), &["QED"]);
    let encrypted = bench.0.path("encrypted.qcow2");
    let secret = bench.0.write("secret", "secret");
    let object = format!("secret,id=s,file={}", secret.display());
    let options = "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10";
    let words = [
        "create", "-q", "--object", &object, "-f", "qcow2", "-o", options,
    ];
    let name = encrypted.to_string_lossy();
    run_tool("qemu-img", &[&words[..], &[&name, "8M"]].concat());
    bench.refused(&encrypted, &["encrypted"]);
}

#[test]
fn a_name_that_promises_another_format() {
    let bench = Bench::new();
    let image = bench.qcow2("a.qcow2");
    let renamed = bench.0.path("a.vmdk");
    std::fs::rename(image, &renamed).unwrap();
    bench.refused(&renamed, &["vmdk"]);
}

#[test]
fn a_file_that_is_not_there() {
    let appliance = Appliance::new();
    let outcome = appliance
        .lifeboat(["image", "inspect", "/nowhere.raw"])
        .run();
    outcome.expect_code(1).expect_one_error();
    outcome.expect_said(&["/nowhere.raw", "no such file"]);
}
