//! Captured volumes are never written: a trace of everything that a command,
//! its daemon and all their children do to them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use lifeboat_tests::{Appliance, Outcome, Strace, Trace, require, run_tool};

use crate::keeping::DESCRIPTOR;
use crate::{SITE, raw_disk, writers};

/// The folder whose name stands in every line about a source.
const SOURCES: &str = "the-sources";

struct Traced {
    appliance: Appliance,
}

impl Traced {
    /// Sources in a folder of their own, whose name stands in every line about them.
    fn new() -> Self {
        require(&[("strace", "strace"), ("qemu-img", "qemu-utils")]);
        let appliance = Appliance::new();
        let raw = appliance.write("the-sources/disk.raw", raw_disk());
        let packed = appliance.path("the-sources/disk.vmdk");
        let options = ["-O", "vmdk", "-o", "subformat=streamOptimized"];
        let (raw, packed) = (raw.to_string_lossy(), packed.to_string_lossy());
        run_tool(
            "qemu-img",
            &[&["convert", "-f", "raw"], &options[..], &[&raw, &packed]].concat(),
        );
        let second = SITE.replacen("disk.raw", "the-sources/disk.raw", 1);
        let text = second.replace("\"disk.raw\"", "\"the-sources/disk.vmdk\"");
        appliance.write("site.toml", text);
        Self { appliance }
    }

    fn source(&self, name: &str) -> PathBuf {
        self.appliance.path("the-sources").join(name)
    }

    fn strace(&self) -> Strace {
        Strace::to(self.appliance.path("trace"))
    }

    fn lifeboat(&self, words: &[&str]) -> (Outcome, Trace) {
        let strace = self.strace();
        let outcome = self
            .appliance
            .lifeboat_traced(strace.command(), words)
            .run();
        (outcome, strace.trace())
    }
}

fn state(path: &Path) -> State {
    use std::os::unix::fs::MetadataExt;
    let status = path.metadata().unwrap();
    let bytes = std::fs::read(path).unwrap();
    (bytes, status.ctime(), status.ctime_nsec(), status.mode())
}

#[test]
fn no_command_writes_to_a_captured_volume() {
    let traced = Traced::new();
    let (raw, packed) = (traced.source("disk.raw"), traced.source("disk.vmdk"));
    let before = (state(&raw), state(&packed));
    let site = traced
        .appliance
        .path("site.toml")
        .to_string_lossy()
        .into_owned();
    let (raw_word, packed_word) = (raw.to_string_lossy(), packed.to_string_lossy());
    let overlay = traced
        .appliance
        .path("overlay.qcow2")
        .to_string_lossy()
        .into_owned();
    // Neither disk holds a system: preparing goes as far as the micro-VM's
    // refusal, with the overlays and conversions made.
    for (words, code, both) in [
        (vec!["prepare", &site], 1, true),
        (vec!["image", "verify", &site], 0, true),
        (vec!["image", "inspect", &packed_word], 0, false),
        (vec!["inject", &raw_word, "--overlay", &overlay], 1, false),
    ] {
        let (outcome, trace) = traced.lifeboat(&words);
        outcome.expect_code(code);
        assert!(
            !both || (trace.opened("disk.raw") && trace.opened("disk.vmdk")),
            "{words:?}"
        );
        assert_eq!(trace.changes(SOURCES), [""; 0], "{words:?}");
    }
    assert!(
        before == (state(&raw), state(&packed)),
        "a source is not what it was"
    );
}

/// Every form that is converted, and an archive.
#[test]
fn no_conversion_writes_to_what_was_captured() {
    require(&[("gzip", "gzip"), ("tar", "tar")]);
    let traced = Traced::new();
    let at = |name: &str| traced.source(name).to_string_lossy().into_owned();
    let bytes = writers::disk(3);
    let qemu = |format: &str, options: &str, from: &str, name: &str| {
        let words = ["convert", "-f", "raw", "-O", format, "-o", options];
        run_tool("qemu-img", &[&words[..], &[from, &at(name)]].concat());
        at(name)
    };
    let raw = at("other.raw");
    std::fs::write(&raw, &bytes).unwrap();
    let split = writers::split(Path::new(&at("split.x")), &bytes, 0, 1_000_448);
    let evidence = writers::ewf(Path::new(&at("evidence.x")), &bytes, 2);
    let extents = qemu(
        "vmdk",
        "subformat=twoGbMaxExtentSparse",
        &raw,
        "extents.vmdk",
    );
    let parent = qemu("vpc", "force_size=on", &raw, "parent.vhd");
    let child = at("child.vhd");
    let (path, length) = (Path::new(&child), bytes.len() as u64);
    writers::differencing_vhd(path, Path::new(&parent), length, &[(5, 0x21)]);
    let log = qemu("vhdx", "subformat=dynamic", &raw, "log.vhdx");
    let end = Path::new(&log).metadata().unwrap().len();
    writers::dirty_vhdx(Path::new(&log), &[(end - 4096, vec![0; 4096])], None);
    run_tool("gzip", &["-k", &raw]);
    let packed = format!("{raw}.gz");
    let over_packed = at("over.qcow2");
    let words = ["create", "-q", "-f", "qcow2", "-F", "raw", "-b", &raw];
    run_tool("qemu-img", &[&words[..], &[&over_packed]].concat());
    let before = all_states(&traced.source(""));
    let (split, evidence) = (split.to_string_lossy(), evidence.to_string_lossy());
    for (number, chain) in [
        vec![&*split],
        vec![&*evidence],
        vec![&extents],
        vec![&child, &parent],
        vec![&log],
        vec![&packed],
        vec![&over_packed, &packed],
    ]
    .into_iter()
    .enumerate()
    {
        let overlay = traced.appliance.path(&format!("out-{number}.qcow2"));
        let overlay = overlay.to_string_lossy();
        let mut words = vec!["inject", chain[0], "--overlay", &overlay];
        let below = chain[1..].iter().flat_map(|below| ["--backing", below]);
        words.extend(below);
        let strace = traced.strace();
        let inject = traced.appliance.lifeboat_traced(strace.command(), words);
        let inject = inject.variable("LIFEBOAT_KERNEL_DIR", "/nowhere").run();
        // It came as far as the micro-VM, with the overlay made.
        inject.expect_code(1).expect_said(&["/nowhere"]);
        let trace = strace.trace();
        for file in chain {
            let name = Path::new(file).file_name().unwrap().to_string_lossy();
            assert!(trace.opened(&name), "{name}");
        }
        assert!(trace.opened(".part"), "{number}: nothing was converted");
        assert_eq!(trace.changes(SOURCES), [""; 0], "{number}");
    }
    assert!(before == all_states(&traced.source("")), "a source changed");
}

#[test]
fn no_archive_is_written_to_when_it_is_unpacked() {
    let traced = Traced::new();
    let appliance = &traced.appliance;
    appliance.write("the-sources/x.ovf", DESCRIPTOR);
    let folder = traced.source("");
    let (folder, archive) = (folder.to_string_lossy(), traced.source("x.ova"));
    let archive = archive.to_string_lossy();
    let words = ["--format=ustar", "-cf", &archive, "-C", &folder];
    run_tool("tar", &[&words[..], &["x.ovf", "disk.raw"]].concat());
    let before = all_states(&traced.source(""));
    let strace = traced.strace();
    let draft = appliance.lifeboat_traced(strace.command(), ["site", "draft", &archive]);
    let drafted = draft.variable("LIFEBOAT_KERNEL_DIR", "/nowhere").run();
    drafted.expect_code(0);
    let trace = strace.trace();
    assert!(trace.opened("x.ova") && trace.opened("/unpacked/"));
    assert_eq!(trace.changes(SOURCES), [""; 0]);
    assert!(before == all_states(&traced.source("")), "a source changed");
}

type State = (Vec<u8>, i64, i64, u32);

fn all_states(folder: &Path) -> BTreeMap<PathBuf, State> {
    let entries = std::fs::read_dir(folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.map(|path| (path.clone(), state(&path))).collect()
}

#[test]
fn the_trace_sees_whatever_changes_a_source() {
    let traced = Traced::new();
    let raw = traced.source("disk.raw");
    for (script, seen) in [
        ("exec 3<>\"$0\"", "O_RDWR"),
        (": >> \"$0\"", "O_WRONLY"),
        ("exec 4< \"$0\" && : >> /proc/self/fd/4", "O_WRONLY"),
        ("truncate -s 5M \"$0\"", "ftruncate"),
        ("chmod 600 \"$0\"", "fchmodat"),
        ("chown 1 \"$0\"", "fchownat"),
        ("touch -d yesterday \"$0\"", "utimensat"),
        ("mv \"$0\" \"$0.other\" && mv \"$0.other\" \"$0\"", "rename"),
        ("rm \"$0\"", "unlink"),
    ] {
        let strace = traced.strace();
        let done = strace
            .command()
            .args(["sh", "-c", script])
            .arg(&raw)
            .status();
        assert!(done.unwrap().success(), "{script}");
        let trace = strace.trace();
        let found = trace.changes(SOURCES);
        assert!(
            found.iter().any(|line| line.contains(seen)),
            "{script}: {found:?}"
        );
    }
}
