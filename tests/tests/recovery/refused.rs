//! Work on real machines that is refused, with nothing half done.

use std::os::unix::fs::FileExt;
use std::path::Path;

use lifeboat_tests::{SiteFile, run_tool};

use crate::bench::Bench;

/// A machine that was captured without what starts it.
pub fn a_guest_without_an_initramfs_is_refused(bench: &Bench) {
    let tree = bench.appliance.path("bare");
    let write = |name: &str, text: &str| {
        bench.appliance.write(&format!("bare/{name}"), text);
    };
    write(
        "etc/os-release",
        "ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME=\"Debian GNU/Linux 12\"\n",
    );
    write("etc/hostname", "bare\n");
    write("etc/fstab", "/dev/sda / ext4 defaults 0 1\n");
    for folder in [
        "boot",
        "bin",
        "sbin",
        "proc",
        "sys",
        "dev",
        "usr",
        "var",
        "lib/modules",
    ] {
        std::fs::create_dir_all(tree.join(folder)).unwrap();
    }
    let image = bench.appliance.path("bare.raw");
    let words = [
        "-q",
        "-t",
        "ext4",
        "-d",
        &tree.to_string_lossy(),
        &image.to_string_lossy(),
        "64M",
    ];
    run_tool("mke2fs", &words);
    let site =
        "[site]\nname = \"bare\"\n[[machine]]\nname = \"bare\"\nvolumes = [\"../bare.raw\"]\n";
    let site = bench.appliance.write("sites/bare.toml", site);
    let before = prepared(bench);
    let outcome = bench.lifeboat(&["prepare"]).words([site]).run();
    outcome.expect_code(1).expect_one_error();
    outcome.expect_said(&["failed to prepare machine `bare`"]);
    let because: Vec<_> = outcome
        .stderr
        .lines()
        .filter(|line| line.starts_with("  because: "))
        .collect();
    assert_eq!(
        because.len(),
        1,
        "one reason was expected:\n{}",
        outcome.stderr
    );
    eprintln!("    said{}", because[0]);
    assert!(
        because[0].contains("kernel") || because[0].contains("initramfs"),
        "{}",
        because[0]
    );
    assert_eq!(prepared(bench), before, "a half prepared machine stays");
}

fn prepared(bench: &Bench) -> Vec<std::ffi::OsString> {
    let folder = std::fs::read_dir(bench.appliance.state().join("prepared"));
    let mut names: Vec<_> = folder
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    names.sort();
    names
}

pub fn a_changed_volume_is_refused(bench: &Bench) {
    let copy = bench.appliance.path("copy.raw");
    let original = bench.figure4.volume("dir1");
    run_tool(
        "cp",
        &[
            "--sparse=always",
            &original.to_string_lossy(),
            &copy.to_string_lossy(),
        ],
    );
    let site: SiteFile =
        bench
            .dir1("copied")
            .set("dir1", "volumes", vec![copy.to_string_lossy().into_owned()]);
    let file = bench.write(&site);
    let prepare = |words: &[&str]| {
        bench
            .lifeboat(&["prepare"])
            .words([&file])
            .words(words)
            .run()
    };
    prepare(&[]).expect_code(0);
    flip_last_byte(&copy);
    for command in ["prepare", "test"] {
        let refused = bench.lifeboat(&[command]).words([&file]).run();
        refused.expect_code(1).expect_one_error();
        refused.expect_said(&[
            "copy.raw",
            "`dir1`",
            "changed since its import",
            "--accept-changed",
        ]);
    }
    flip_last_byte(&copy);
    let restored = prepare(&[]);
    restored
        .expect_code(0)
        .expect_said(&["was prepared before"]);
    std::fs::remove_file(&copy).unwrap();
}

fn flip_last_byte(path: &Path) {
    let file = std::fs::File::options()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let place = file.metadata().unwrap().len() - 1;
    let mut byte = [0];
    file.read_exact_at(&mut byte, place).unwrap();
    file.write_all_at(&[!byte[0]], place).unwrap();
    file.sync_all().unwrap();
}
