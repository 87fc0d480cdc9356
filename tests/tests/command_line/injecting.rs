//! `lifeboat inject`, as far as it goes without a micro-VM.

use std::path::PathBuf;

use lifeboat_tests::{Appliance, require, run_tool};

use crate::raw_disk;

/// An appliance with a disk that has to be converted beside its state.
fn with_packed_disk() -> Appliance {
    require(&[("gzip", "gzip")]);
    let appliance = Appliance::new();
    let disk = appliance.write("disk.raw", raw_disk());
    run_tool("gzip", &[disk.to_str().unwrap()]);
    appliance
}

fn names(appliance: &Appliance) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(appliance.path("")).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into())
        .collect();
    names.sort();
    names
}

#[test]
fn what_was_converted_for_nothing_does_not_stay() {
    let appliance = with_packed_disk();
    let disk = appliance.path("disk.raw.gz");
    let out = appliance.path("out.qcow2");
    let inject = |words: &[&str]| {
        let inject = appliance.lifeboat(["inject"]).words([&disk]).words(words);
        let done = inject.variable("LIFEBOAT_KERNEL_DIR", "/nowhere").run();
        done.expect_code(1);
        // It came as far as the micro-VM.
        done.expect_said(&["/nowhere"]);
    };
    inject(&["--overlay", out.to_str().unwrap()]);
    inject(&["--dry-run"]);
    assert_eq!(names(&appliance), [PathBuf::from("disk.raw.gz")]);
}

#[test]
fn what_lay_beside_a_result_stays() {
    let appliance = with_packed_disk();
    // Without an end, as `kill -9` or an earlier, renamed result leaves it.
    let key = "0123456789abcdef0123456789abcdef";
    let complete = r#"{"complete":{"file_size":4,"blake3":""}}"#;
    let there = [
        ("captured.raw".to_owned(), "disk"),
        (format!("{key}.raw"), "disk"),
        (format!("{key}.json"), complete),
    ];
    let mut expected = Vec::new();
    for (name, text) in &there {
        expected.push(appliance.write(&format!("out.qcow2.converted/{name}"), text));
    }
    expected.sort();
    let out = appliance.path("out.qcow2");
    let inject = appliance.lifeboat(["inject"]);
    let inject = inject.words([&appliance.path("disk.raw.gz")]);
    let inject = inject.words(["--overlay", out.to_str().unwrap()]);
    let failed = inject.variable("LIFEBOAT_KERNEL_DIR", "/nowhere").run();
    failed.expect_code(1);
    failed.expect_said(&["/nowhere"]);
    let folder = std::fs::read_dir(appliance.path("out.qcow2.converted")).unwrap();
    let mut left: Vec<_> = folder.map(|entry| entry.unwrap().path()).collect();
    left.sort();
    assert_eq!(left, expected);
}

#[test]
fn a_stream_of_another_kind_is_refused_at_its_beginning() {
    let appliance = with_packed_disk();
    let path = |name: &str| appliance.path(name).to_str().unwrap().to_owned();
    let stream = |output: &str| {
        // Cut to pieces by nobody: its end is far behind what is looked at.
        let file = std::fs::File::options()
            .read(true)
            .write(true)
            .open(path("disk.raw.gz"))
            .unwrap();
        file.set_len(64 << 20).unwrap();
        let position = file.try_clone().unwrap();
        let inject = appliance.lifeboat(["inject", "-", "--output", output]);
        let refused = inject.reads(file).run();
        refused.expect_code(1);
        let read = std::io::Seek::stream_position(&mut &position).unwrap();
        assert!(read < 8 << 20, "{read} bytes were read");
        refused
    };
    let refused = stream(&path("out.raw"));
    refused.expect_said(&["out.raw", "its name promises raw"]);
    assert!(!refused.stderr.contains("scratch"), "{}", refused.stderr);
    stream(&path("out.img")).expect_said(&["raw in gzip", "--overlay"]);
    assert_eq!(names(&appliance), [PathBuf::from("disk.raw.gz")]);
}

#[test]
fn contradictions_are_told_before_anything_is_read() {
    let appliance = with_packed_disk();
    let path = |name: &str| appliance.path(name).to_str().unwrap().to_owned();
    let (out, record) = (path("out"), path("out.manifest.json"));
    std::fs::write(&record, "{}").unwrap();
    let other = path("other");
    for (words, said) in [
        (vec!["-", "--dry-run"], "`--dry-run`"),
        (
            vec!["-", "--output", &other, "--backing", "b"],
            "`--backing`",
        ),
        (
            vec!["-", "--output", &other, "--overlay", &other],
            "are the same file",
        ),
        (vec!["-", "--output", &out], "record of another injection"),
        (
            vec!["-", "--output", &other, "--overlay", &out],
            "record of another injection",
        ),
    ] {
        let stream = std::fs::File::open(path("disk.raw.gz")).unwrap();
        let position = stream.try_clone().unwrap();
        let refused = appliance
            .lifeboat(["inject"])
            .words(words)
            .reads(stream)
            .run();
        refused
            .expect_code(2)
            .expect_one_error()
            .expect_said(&[said]);
        let read = std::io::Seek::stream_position(&mut &position).unwrap();
        assert_eq!(read, 0, "{said}");
    }
    assert_eq!(std::fs::read(&record).unwrap(), b"{}");
}
