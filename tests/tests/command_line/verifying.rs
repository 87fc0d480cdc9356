//! Captured volumes that rot, are written to, cut off or replaced: found by
//! reading, when asked and on a schedule, and never started.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lifeboat_tests::{Appliance, Outcome, eventually, run_tool, seconds_on_this_host};
use serde_json::Value;

use crate::{SITE, raw_disk, with_site};

const MIB: u64 = 1 << 20;

/// An appliance that has imported `disk.raw`. Nothing more can be prepared: the
/// disk holds no system.
fn imported() -> Appliance {
    let appliance = with_site(SITE);
    import(&appliance);
    appliance
}

fn import(appliance: &Appliance) {
    let prepare = appliance.lifeboat(["prepare"]);
    let outcome = prepare.words([appliance.path("site.toml")]).run();
    outcome.expect_code(1).expect_said(&["import: disk.raw"]);
}

/// Preparing goes as far as it can with a volume that is taken as it is.
#[track_caller]
fn goes_on(appliance: &Appliance) {
    let outcome = appliance.lifeboat(["prepare", "small"]).run();
    outcome.expect_code(1);
    for word in ["is damaged", "changed since", "compare: "] {
        assert!(!outcome.stderr.contains(word), "{}", outcome.stderr);
    }
}

fn verify(appliance: &Appliance, what: &Path) -> Outcome {
    let call = appliance.lifeboat(["image", "verify"]);
    call.words([what]).json().run()
}

/// Overwrites a byte and gives the file its old modification time back.
fn rot(path: &Path, at: u64) {
    let file = File::options().write(true).open(path).unwrap();
    let modified = file.metadata().unwrap().modified().unwrap();
    file.write_all_at(&[0xa5], at).unwrap();
    file.set_modified(modified).unwrap();
}

#[track_caller]
fn damaged_ranges(status: &Value) -> Vec<(u64, u64)> {
    let damaged = status["damaged"].as_array().unwrap().iter();
    let range = |damage: &Value| {
        let number = |key: &str| damage["range"][key].as_u64().unwrap();
        (number("start"), number("length"))
    };
    damaged.map(range).collect()
}

#[test]
fn a_volume_in_order_is_intact_and_an_unknown_one_is_wrong_use() {
    let appliance = with_site(SITE);
    let disk = appliance.path("disk.raw");
    let never = verify(&appliance, &disk);
    never
        .expect_code(2)
        .expect_said(&["never imported", "disk.raw"]);
    import(&appliance);
    for what in [
        disk.clone(),
        appliance.path("site.toml"),
        PathBuf::from("small"),
    ] {
        let outcome = verify(&appliance, &what);
        outcome.expect_code(0);
        let all = outcome.json();
        assert_eq!(all.as_array().unwrap().len(), 1, "{all:#}");
        assert_eq!(
            (&all[0]["ok"], &all[0]["bytes"]),
            (&true.into(), &(8 * MIB).into())
        );
        assert!(
            all[0]["verified_at"]
                .as_u64()
                .is_some_and(|at| at > 1_700_000_000)
        );
    }
    let show = appliance.lifeboat(["site", "show", "small"]).run();
    show.expect_code(0);
    assert!(show.stdout.contains("disk.raw  ok"), "{}", show.stdout);
}

#[test]
fn the_rotten_bytes_are_named_and_the_volume_does_not_start() {
    let appliance = imported();
    let disk = appliance.path("disk.raw");
    rot(&disk, 5 * MIB + 3);
    let outcome = verify(&appliance, &disk);
    outcome.expect_code(1);
    assert_eq!(damaged_ranges(&outcome.json()[0]), [(5 * MIB, MIB)]);
    let text = appliance.lifeboat(["image", "verify"]).words([&disk]).run();
    let words = ["DAMAGED", "disk.raw", "bytes 5242880 to 6291455"];
    assert!(
        words.iter().all(|word| text.stdout.contains(word)),
        "{}",
        text.stdout
    );

    for command in ["prepare", "test", "recover"] {
        let refused = appliance.lifeboat([command, "small"]).run();
        refused.expect_code(1).expect_one_error();
        refused.expect_said(&["disk.raw", "5242880 to 6291455", "--accept-changed"]);
    }
    let taken = appliance
        .lifeboat(["prepare", "small", "--accept-changed"])
        .run();
    assert!(!taken.stderr.contains("changed since"), "{}", taken.stderr);
    verify(&appliance, &disk).expect_code(0);
    appliance.traces().expect_none();
}

#[test]
fn cut_off_and_missing_volumes_are_told_and_an_intact_copy_is_taken_again() {
    let appliance = imported();
    let disk = appliance.path("disk.raw");
    let whole = std::fs::read(&disk).unwrap();
    std::fs::write(&disk, &whole[..whole.len() / 2]).unwrap();
    let short = verify(&appliance, &disk);
    short.expect_code(1);
    let problem = short.json()[0]["problem"].to_string();
    assert!(
        problem.contains("8388608") && problem.contains("4194304"),
        "{problem}"
    );
    std::fs::remove_file(&disk).unwrap();
    verify(&appliance, &disk).expect_code(1);
    std::fs::write(&disk, whole).unwrap();
    verify(&appliance, &disk).expect_code(0);
}

/// Bytes that change under the filesystem, which notes nothing: as media rot.
struct Medium {
    image: PathBuf,
    mount: PathBuf,
}

impl Medium {
    fn new(appliance: &Appliance) -> Option<Self> {
        let medium = Self {
            image: appliance.path("medium.img"),
            mount: appliance.path("medium"),
        };
        File::create(&medium.image)
            .unwrap()
            .set_len(32 * MIB)
            .unwrap();
        run_tool("mke2fs", &["-q", "-F", &medium.image.to_string_lossy()]);
        std::fs::create_dir(&medium.mount).unwrap();
        medium.insert().then_some(medium)
    }

    fn insert(&self) -> bool {
        let mount = std::process::Command::new("mount")
            .args(["-o", "loop"])
            .args([&self.image, &self.mount])
            .output();
        mount.is_ok_and(|output| output.status.success())
    }

    fn rot(&self, from: &[u8], to: &[u8]) {
        run_tool("umount", &[&self.mount.to_string_lossy()]);
        let mut bytes = std::fs::read(&self.image).unwrap();
        let is_there = |window: &[u8]| window == from;
        let place = bytes.windows(from.len()).position(is_there).unwrap();
        bytes[place..place + to.len()].copy_from_slice(to);
        std::fs::write(&self.image, bytes).unwrap();
        assert!(self.insert());
    }
}

impl Drop for Medium {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount")
            .arg(&self.mount)
            .output();
    }
}

#[test]
fn a_medium_that_rots_unnoticed_is_found_by_the_schedule_and_remembered() {
    let appliance = Appliance::new();
    let Some(medium) = Medium::new(&appliance) else {
        eprintln!(
            "SKIPPED: no filesystem can be mounted from a loop device here, so no medium rots"
        );
        return;
    };
    let mut bytes = raw_disk();
    let mark = b"the captured volume's own bytes";
    bytes[3_333_333..3_333_333 + mark.len()].copy_from_slice(mark);
    let disk = medium.mount.join("disk.raw");
    std::fs::write(&disk, bytes).unwrap();
    appliance.write("site.toml", SITE.replace("disk.raw", "medium/disk.raw"));
    import(&appliance);
    medium.rot(mark, b"THE");
    // The control: nothing that the filesystem notes tells it.
    goes_on(&appliance);

    let daemon = appliance.serve(["--verify-every", "1s"]);
    let limit = Duration::from_secs(seconds_on_this_host(60));
    let known = || {
        appliance
            .lifeboat(["image", "verify", "--list"])
            .json()
            .run()
            .json()
    };
    let found = eventually("the schedule to find the damage", limit, || {
        let all = known();
        (all[0]["ok"] == false).then(|| all[0].clone())
    });
    assert_eq!(damaged_ranges(&found), [(3 * MIB, MIB)]);
    daemon.stop().expect_code(0);

    assert_eq!(damaged_ranges(&known()[0]), [(3 * MIB, MIB)]);
    let refused = appliance.lifeboat(["recover", "small"]).run();
    refused.expect_code(1).expect_one_error();
    refused.expect_said(&["is damaged", "medium/disk.raw", "3145728 to 4194303"]);
    medium.rot(b"THE captured", b"the");
    verify(&appliance, &disk).expect_code(0);
    goes_on(&appliance);
}

#[test]
fn a_conversion_that_rots_unnoticed_is_made_again_from_its_intact_source() {
    let appliance = Appliance::new();
    let Some(medium) = Medium::new(&appliance) else {
        eprintln!(
            "SKIPPED: no filesystem can be mounted from a loop device here, so no medium rots"
        );
        return;
    };
    let folder = medium.mount.join("converted");
    std::fs::create_dir(&folder).unwrap();
    std::fs::create_dir_all(appliance.path("state")).unwrap();
    std::os::unix::fs::symlink(&folder, appliance.path("state/converted")).unwrap();
    let mut bytes = raw_disk();
    let mark = b"the captured volume's own bytes";
    bytes[3_333_333..3_333_333 + mark.len()].copy_from_slice(mark);
    std::fs::write(appliance.path("disk.raw"), bytes).unwrap();
    run_tool("gzip", &[&appliance.path("disk.raw").to_string_lossy()]);
    let archive = appliance.path("disk.raw.gz");
    appliance.write("site.toml", SITE.replace("disk.raw", "disk.raw.gz"));
    let prepare = || {
        // The medium has less room than is to stay free elsewhere.
        let prepare = appliance
            .lifeboat(["prepare"])
            .variable("LIFEBOAT_RESERVE", "0");
        prepare.words([appliance.path("site.toml")]).run()
    };
    let import = prepare();
    import.expect_code(1).expect_said(&["import: disk.raw.gz"]);
    verify(&appliance, &archive).expect_code(0);

    medium.rot(mark, b"THE");
    let outcome = verify(&appliance, &archive);
    outcome.expect_code(1);
    assert_eq!(damaged_ranges(&outcome.json()[0]), [(3 * MIB, MIB)]);
    let again = prepare();
    again.expect_said(&["converted again"]);
    for word in ["--accept-changed", "is damaged: "] {
        assert!(!again.stderr.contains(word), "{}", again.stderr);
    }
    verify(&appliance, &archive).expect_code(0);
}
