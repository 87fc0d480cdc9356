//! What happens before a session: the draft, the injection, the order.

use std::path::Path;
use std::process::{Command, Stdio};

use lifeboat_tests::{SiteFile, Strace, domains, program, require, run_tool, sha256};
use serde_json::Value;

use crate::bench::{Bench, words};
use crate::whole::the_plan_has_evidence_from_journals;

pub fn the_draft_describes_the_example(bench: &Bench) {
    let draft = bench
        .lifeboat(&["site", "draft", "--name", "drafted"])
        .words(bench.figure4.volumes())
        .run();
    draft.expect_code(0);
    let file = bench.appliance.write("sites/drafted.toml", &draft.stdout);
    let show = |file: &std::path::Path| {
        let outcome = bench.lifeboat(&["site", "show"]).words([file]).json().run();
        outcome.expect_code(0);
        outcome.json()
    };
    let (drafted, given) = (show(&file), show(&bench.figure4.site_file()));
    let networks = |site: &Value| {
        let all = site["networks"].as_array().unwrap().iter();
        all.map(|network| (network["cidr"].clone(), network["gateway"].clone()))
            .collect::<Vec<_>>()
    };
    assert_eq!(networks(&drafted), networks(&given));
    assert_eq!(
        drafted["machines"].as_array().unwrap().len(),
        3,
        "{drafted:#}"
    );
    for machine in given["machines"].as_array().unwrap() {
        let found = drafted["machines"]
            .as_array()
            .unwrap()
            .iter()
            .find(|found| found["name"] == machine["name"]);
        let found =
            found.unwrap_or_else(|| panic!("{} is not in\n{}", machine["name"], draft.stdout));
        let nics = |machine: &Value| {
            let all = machine["nics"].as_array().unwrap().iter();
            all.map(|nic| (nic["mac"].clone(), nic["address"].clone()))
                .collect::<Vec<_>>()
        };
        assert_eq!(nics(found), nics(machine), "{}", draft.stdout);
        for key in ["firmware", "volumes"] {
            assert_eq!(found[key], machine[key], "{}", draft.stdout);
        }
        let missing: Vec<_> = ports(machine)
            .into_iter()
            .filter(|port| !ports(found).contains(port))
            .collect();
        assert_eq!(
            missing, [0; 0],
            "gates of {} that the draft does not see:\n{}",
            machine["name"], draft.stdout
        );
    }
}

fn ports(machine: &Value) -> Vec<u64> {
    let gates = machine["gates"].as_array().unwrap().iter();
    let port = |gate: &Value| {
        gate["kind"]["tcp"]
            .as_u64()
            .or_else(|| gate["kind"]["http"]["port"].as_u64())
    };
    gates.filter_map(port).collect()
}

pub fn one_disk_is_injected(bench: &Bench) {
    let disk = bench.figure4.volume("dir1");
    let overlay = bench.appliance.path("injected.qcow2");
    let before = sha256(&disk);
    let inject = || {
        let call = bench
            .lifeboat(&["inject"])
            .words([&disk])
            .words(["--overlay"])
            .words([&overlay]);
        call.words(["--nic", "52:54:00:20:00:10=10.20.0.10"])
    };
    let outcome = inject().json().run();
    outcome.expect_code(0);
    assert_eq!(sha256(&disk), before, "the disk was written to");
    nothing_writes_to(bench, &disk);
    let report = outcome.json();
    let checks = report["verified"].as_array().unwrap();
    assert!(
        !checks.is_empty() && checks.iter().all(|check| check["ok"] == true),
        "{checks:#?}"
    );
    let changed = serde_json::to_string(&report["changes"]).unwrap();
    assert!(
        changed.contains("initrd"),
        "no initramfs was changed: {changed}"
    );
    let text = overlay.to_string_lossy();
    let info = run_tool("qemu-img", &["info", "--output=json", &text]);
    let info: Value = serde_json::from_slice(&info.stdout).unwrap();
    assert_eq!(
        (&info["format"], &info["backing-filename"]),
        (&"qcow2".into(), &disk.to_string_lossy().into_owned().into())
    );
    run_tool("qemu-img", &["check", "-q", "-f", "qcow2", &text]);
    let kept = std::fs::read(bench.appliance.path("injected.qcow2.manifest.json")).unwrap();
    let kept: Value = serde_json::from_slice(&kept).unwrap();
    assert_eq!(kept["changes"], report["changes"]);
    let written = sha256(&overlay);
    let second = inject().run();
    second
        .expect_code(2)
        .expect_one_error()
        .expect_said(&["exists already", &text]);
    assert_eq!(
        sha256(&overlay),
        written,
        "the second call changed the overlay"
    );
}

/// The same with a look at every call of the system: not only the bytes stay.
fn nothing_writes_to(bench: &Bench, disk: &Path) {
    require(&[("strace", "strace")]);
    let strace = Strace::to(bench.appliance.path("trace"));
    let overlay = bench.appliance.path("traced.qcow2");
    let inject = bench
        .appliance
        .lifeboat_traced(strace.command(), ["inject"]);
    let inject = inject.words([disk]).words(["--overlay"]).words([&overlay]);
    inject.run().expect_code(0);
    let (trace, disk) = (strace.trace(), disk.to_string_lossy());
    assert!(trace.opened(&disk));
    // The trace sees what is written.
    assert!(!trace.changes("traced.qcow2").is_empty());
    assert_eq!(trace.changes(&disk), [""; 0]);
}

/// A raw disk arrives on standard input and is injected into; its overlay says
/// that a second injection finds nothing to do.
pub fn a_stream_is_written_once_and_injected(bench: &Bench) {
    let disk = bench.figure4.volume("dir1");
    let output = bench.appliance.path("received.raw");
    let said = Command::new(program("lifeboat"))
        .args(["inject", "-", "--format", "json", "--nic"])
        .args(["52:54:00:20:00:10=10.20.0.10", "--output"])
        .arg(&output)
        .stdin(std::fs::File::open(&disk).unwrap())
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(said.status.success(), "{:?}", said.status);
    let report: Value = serde_json::from_slice(&said.stdout).unwrap();
    assert!(!changes(&report).is_empty());
    let manifest = bench.appliance.path("received.raw.manifest.json");
    let kept: Value = serde_json::from_slice(&std::fs::read(&manifest).unwrap()).unwrap();
    assert_eq!(kept["changes"], report["changes"]);
    let length = |path: &Path| std::fs::metadata(path).unwrap().len();
    assert_eq!(length(&output), length(&disk));
    let again = bench
        .lifeboat(&["inject", "--dry-run"])
        .words([&output])
        .words(["--nic", "52:54:00:20:00:10=10.20.0.10"])
        .json()
        .run();
    again.expect_code(0);
    assert_eq!(changes(&again.json()), [Value::Null; 0]);
    std::fs::remove_file(output).unwrap();
    std::fs::remove_file(manifest).unwrap();
}

fn changes(report: &Value) -> Vec<Value> {
    report["changes"]["changes"].as_array().unwrap().clone()
}

/// After it was taken back, an overlay holds what the disk holds, file by file:
/// a second injection makes the same changes as the first.
pub fn an_injection_is_taken_back(bench: &Bench) {
    let disk = bench.figure4.volume("dir1");
    let overlay = bench.appliance.path("undone.qcow2");
    let inject = || bench.lifeboat(&["inject"]).words([&disk]).json();
    let first = inject().words(["--overlay"]).words([&overlay]).run();
    first.expect_code(0);
    let manifest = bench.appliance.path("undone.qcow2.manifest.json");
    let undo = || bench.lifeboat(&["inject", "--undo"]).words([&manifest]);
    let record = std::fs::read(&manifest).unwrap();
    let first = first.json();
    let made = changes(&first);
    // A kill between the last two steps leaves the record of what is undone.
    for _ in 0..2 {
        std::fs::write(&manifest, &record).unwrap();
        let undone = undo().json().run();
        undone.expect_code(0);
        assert_eq!(undone.json()["undone"], made.len());
        assert!(!manifest.exists());
    }
    undo().run().expect_code(1).expect_one_error();
    let nbd = bench.appliance.path("undone.raw");
    let (from, to) = (overlay.to_string_lossy(), nbd.to_string_lossy());
    run_tool(
        "qemu-img",
        &["convert", "-f", "qcow2", "-O", "raw", &from, &to],
    );
    let again = bench
        .lifeboat(&["inject", "--dry-run"])
        .words([&nbd])
        .json();
    let again = again.run();
    again.expect_code(0);
    let essence = |change: &Value| {
        ["path", "action", "old_size", "old_hash", "new_hash"].map(|key| change[key].clone())
    };
    let again = changes(&again.json());
    assert_eq!(
        again.iter().map(essence).collect::<Vec<_>>(),
        made.iter().map(essence).collect::<Vec<_>>()
    );
    for file in [overlay, nbd] {
        std::fs::remove_file(file).unwrap();
    }
}

/// `order` of the whole site, and the operator's word against it.
pub fn the_order_has_evidence_and_no_guest_runs(bench: &Bench) {
    let before = domains();
    let outcome = bench
        .lifeboat(&["order"])
        .words([bench.figure4.site_file()])
        .json()
        .run();
    outcome.expect_code(0);
    let order = outcome.json();
    let mut as_report = order.clone();
    for line in as_report["plan"].as_array_mut().unwrap() {
        assert!(line["evidence"].is_array(), "{line}");
    }
    the_plan_has_evidence_from_journals(&as_report);
    let site: SiteFile = bench
        .figure4
        .site()
        .named("turned")
        .dependency("web1", "dir1");
    let turned = bench
        .lifeboat(&["order"])
        .words([bench.write(&site)])
        .json()
        .run();
    turned.expect_code(0);
    let turned = turned.json();
    let plan = turned["plan"].as_array().unwrap();
    let place = |name: &str| {
        plan.iter()
            .position(|line| line["machine"] == name)
            .unwrap()
    };
    assert!(
        place("web1") < place("dir1"),
        "the operator's word does not win: {plan:#?}"
    );
    let last = &plan[place("dir1")];
    assert!(words(&last["after"]).contains(&"web1"), "{last:#}");
    assert_eq!(domains(), before, "a guest was started for an order");
}
