//! `kill -9` at random moments of injections and preparations: afterwards there
//! is the original or the whole result, and never anything between.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lifeboat_tests::{Appliance, Running, eventually, run_tool, sha256};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::bench::{BOOT, Bench, PROMPT, children_of, is_there};

/// How often each kind of work is killed.
const KILLS: u32 = 16;
const NO_WORDS: [&str; 0] = [];

/// Moments of a work that takes `whole`: one in each of as many equal parts,
/// at a place in it that changes from run to run.
fn moments(whole: Duration) -> impl Iterator<Item = Duration> {
    let mut seed = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(1, |time| time.as_nanos() as u64);
    eprintln!("    seed {seed}, {KILLS} kills within {whole:?}");
    (0..KILLS).map(move |part| {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let place = f64::from(part) + (seed >> 32) as f64 / f64::from(u32::MAX);
        whole.mul_f64(place / f64::from(KILLS))
    })
}

/// Kills a command when it has run this long, unless it ended before; its
/// children are gone afterwards.
fn kill_after(mut running: Running, moment: Duration) -> bool {
    let begin = Instant::now();
    let ended = eventually("the moment of a kill", PROMPT + moment, || {
        let ended = running.has_ended();
        (ended || begin.elapsed() >= moment).then_some(ended)
    });
    let children = children_of(running.pid());
    running.signal(Signal::SIGKILL);
    running.finish();
    eventually("the end of its children", PROMPT, || {
        children.iter().all(|child| !is_there(child)).then_some(())
    });
    !ended
}

pub fn an_injection_may_be_killed_at_any_moment(bench: &Bench) {
    let disk = bench.figure4.volume("dir1");
    let before = sha256(&disk);
    let folder = bench.appliance.path("killed");
    std::fs::create_dir(&folder).unwrap();
    let overlay = folder.join("out.qcow2");
    let inject = |disk: &Path, words: &[&str]| {
        let call = bench.lifeboat(&["inject"]).words([disk]).words(words);
        call.words(["--nic", "52:54:00:20:00:10=10.20.0.10"]).json()
    };
    let place = overlay.to_string_lossy().into_owned();
    let work = || inject(&disk, &["--overlay", &place]);
    let begin = Instant::now();
    work().run().expect_code(0);
    let whole = begin.elapsed();
    check_overlay(&overlay, &inject);
    let (mut killed, mut complete) = (0, 0);
    for moment in moments(whole) {
        if overlay.exists() {
            remove_results(&folder);
        }
        // What a kill left is no hindrance for the next try.
        killed += u32::from(kill_after(work().start(), moment));
        if overlay.exists() {
            complete += 1;
            check_overlay(&overlay, &inject);
        }
    }
    eprintln!("    {killed} kills hit, {complete} results were complete");
    assert!(killed >= KILLS / 2, "only {killed} kills hit the work");
    if overlay.exists() {
        remove_results(&folder);
    }
    work().run().expect_code(0);
    check_overlay(&overlay, &inject);
    assert_eq!(
        names(&folder),
        ["out.qcow2", "out.qcow2.manifest.json"],
        "leftovers stay"
    );
    assert_eq!(sha256(&disk), before, "the disk was written to");
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap().flatten();
    let mut names: Vec<_> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn remove_results(folder: &Path) {
    for name in names(folder).iter().filter(|name| name.starts_with("out")) {
        std::fs::remove_file(folder.join(name)).unwrap();
    }
}

/// It is whole, its record is there, and another injection finds all done.
fn check_overlay(overlay: &Path, inject: &dyn Fn(&Path, &[&str]) -> lifeboat_tests::Lifeboat) {
    let text = overlay.to_string_lossy();
    run_tool("qemu-img", &["check", "-q", "-f", "qcow2", &text]);
    let manifest = std::fs::read(format!("{text}.manifest.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    assert!(
        !manifest["changes"]["changes"]
            .as_array()
            .unwrap()
            .is_empty()
    );
    let flat = overlay.with_extension("raw");
    let to = flat.to_string_lossy();
    run_tool(
        "qemu-img",
        &["convert", "-f", "qcow2", "-O", "raw", &text, &to],
    );
    let again = inject(&flat, &["--dry-run"]).run();
    std::fs::remove_file(&flat).unwrap();
    again.expect_code(0);
    assert_eq!(again.json()["changes"]["changes"], Value::Array(vec![]));
}

pub fn a_preparation_may_be_killed_at_any_moment(shared: &Bench) {
    // A state of its own, where nothing is prepared yet.
    let bench = &Bench {
        appliance: Appliance::new(),
        figure4: shared.figure4.clone(),
    };
    let site = |number: u32| {
        bench
            .dir1("killed")
            .mac("dir1", &format!("52:54:00:20:02:{number:02x}"))
    };
    bench.prepare(&site(255));
    let begin = Instant::now();
    bench.prepare(&site(254));
    let whole = begin.elapsed();
    let mut killed = 0;
    for (number, moment) in (0..).zip(moments(whole)) {
        let daemon = bench.appliance.serve(NO_WORDS);
        let file = bench.write(&site(number));
        let client = bench.lifeboat(&["prepare"]).words([&file]).start();
        let begin = Instant::now();
        eventually("the moment of a kill", PROMPT + moment, || {
            (begin.elapsed() >= moment).then_some(())
        });
        let children = children_of(daemon.pid());
        daemon.crash();
        killed += u32::from(client.finish().status.code() == Some(1));
        eventually("the end of its children", PROMPT, || {
            children.iter().all(|child| !is_there(child)).then_some(())
        });
        whole_folders(bench);
    }
    eprintln!("    {killed} kills hit");
    assert!(killed >= KILLS / 2, "only {killed} kills hit the work");
    let next = bench.appliance.serve(NO_WORDS);
    // Its socket is there before it has looked around.
    eventually("the end of what is unfinished", PROMPT, || {
        unfinished(bench).is_empty().then_some(())
    });
    bench.prepare(&site(0));
    whole_folders(bench);
    next.stop().expect_code(0);
}

/// An interrupted `prepare` takes its work with it, though the daemon goes on.
pub fn an_interrupted_preparation_is_cancelled(shared: &Bench) {
    let bench = &Bench {
        appliance: Appliance::new(),
        figure4: shared.figure4.clone(),
    };
    let daemon = bench.appliance.serve(NO_WORDS);
    let file = bench.write(&bench.dir1("cancelled"));
    let mut client = bench.lifeboat(&["prepare"]).words([&file]).start();
    client.wait_for("inject drivers: dir1", BOOT);
    let qemu = eventually("the micro-VM", PROMPT, || {
        let children = children_of(daemon.pid());
        let mut qemu = children.into_iter();
        qemu.find(|child| child.program().starts_with("qemu"))
    });
    client.signal(Signal::SIGINT);
    client.finish();
    eventually("the end of the micro-VM", PROMPT, || {
        (!is_there(&qemu)).then_some(())
    });
    eventually("an empty folder", PROMPT, || {
        prepared(bench).next().is_none().then_some(())
    });
    bench.prepare(&bench.dir1("cancelled"));
    whole_folders(bench);
    daemon.stop().expect_code(0);
}

fn prepared(bench: &Bench) -> impl Iterator<Item = PathBuf> {
    let folder = std::fs::read_dir(bench.appliance.state().join("prepared"));
    folder
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
}

fn unfinished(bench: &Bench) -> Vec<PathBuf> {
    prepared(bench)
        .filter(|path| path.extension().is_some())
        .collect()
}

/// Whatever has its final name has everything that belongs to it.
fn whole_folders(bench: &Bench) {
    for folder in prepared(bench).filter(|path| path.extension().is_none()) {
        let overlay = folder.join("disk-0.qcow2");
        let text = overlay.to_string_lossy();
        run_tool("qemu-img", &["check", "-q", "-f", "qcow2", &text]);
        for name in ["report.json", "manifest.json"] {
            let text = std::fs::read(folder.join(name)).unwrap();
            serde_json::from_slice::<Value>(&text).unwrap();
        }
        assert!(folder.join("folder/etc/hostname").is_file());
    }
}
