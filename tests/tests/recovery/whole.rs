//! The main job.

use std::path::{Path, PathBuf};

use lifeboat_tests::sha256;
use serde_json::Value;

use crate::bench::{Bench, machine, words};

/// From the start to the last gate, against the longest chain of boots.
const MOST_OVERHEAD: f64 = 1.15;

pub fn the_example_site_recovers(bench: &Bench) {
    let hashes = |volumes: &[PathBuf]| {
        volumes
            .iter()
            .map(|volume| sha256(volume))
            .collect::<Vec<_>>()
    };
    let volumes = bench.figure4.volumes();
    let before = hashes(&volumes);
    let file = bench.appliance.path("r.json");
    let outcome = bench
        .lifeboat(&["test"])
        .words([bench.figure4.site_file()])
        .words(["--report"])
        .words([&file])
        .run();
    outcome.expect_code(0);
    let report: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    eprintln!(
        "    RTA {} s, critical path {} s, ratio {}, {} frames, {} dropped",
        report["rta_s"],
        report["critical_path_s"],
        report["rta_over_critical_path"],
        report["network"]["frames"],
        report["network"]["dropped"]
    );
    assert_eq!(report["ok"], true, "{:#}", report["problems"]);
    assert_eq!(report["mode"], "test");
    assert_eq!(report["site"], "figure4");
    the_contract_is_kept(&report);
    machines_are_ready(&report);
    the_plan_has_evidence_from_journals(&report);
    the_page_was_served(&report);
    nothing_left_the_session(&report);
    times_are_consistent(&report);
    files_are_there(&report);
    the_table_tells_the_same(&outcome.stdout);
    assert_eq!(report["sources_unchanged"], true);
    assert_eq!(hashes(&volumes), before, "a captured volume was written to");
    let again = bench
        .lifeboat(&["report", report["session"].as_str().unwrap()])
        .json()
        .run();
    assert_eq!(again.json(), report, "`report` tells another story");
    the_console_is_shown(bench, report["session"].as_str().unwrap());
    let listed = bench.listed(report["session"].as_str().unwrap());
    assert_eq!(listed["state"], "ended", "{listed}");
}

/// Every key that users' programs may rely on.
fn the_contract_is_kept(report: &Value) {
    let expect = |object: &Value, keys: &str| {
        for key in keys.split(' ') {
            assert!(object.get(key).is_some(), "no `{key}` in {object:#}");
        }
    };
    expect(
        report,
        "site session mode accelerator ok rta_s critical_path_s rta_over_critical_path",
    );
    expect(
        report,
        "limiting_machines plan machines network sources_unchanged",
    );
    expect(&report["plan"][0], "machine after evidence");
    expect(
        &report["machines"][0],
        "name prepared inject_s started_s ready_s gates screenshot console",
    );
    expect(&report["machines"][0]["gates"][0], "kind port ready_s");
    expect(
        &report["network"],
        "frames dropped uplink_frames unanswered isolation",
    );
    let isolation = &report["network"]["isolation"];
    expect(isolation, "host_interfaces canaries_sent canaries_escaped");
    assert!(["kvm", "tcg"].contains(&report["accelerator"].as_str().unwrap()));
}

/// What the guest said on its serial line, harmless for a terminal.
fn the_console_is_shown(bench: &Bench, session: &str) {
    let outcome = bench
        .lifeboat(&["session", "console", session, "dir1"])
        .run();
    outcome.expect_code(0);
    assert!(
        outcome.stdout.contains("Debian GNU/Linux"),
        "{}",
        outcome.stdout
    );
    assert!(!outcome.stdout.contains('\u{1b}'));
    let nobody = bench
        .lifeboat(&["session", "console", session, "nobody"])
        .run();
    nobody
        .expect_code(1)
        .expect_one_error()
        .expect_said(&["`nobody`"]);
}

fn machines_are_ready(report: &Value) {
    for name in ["dir1", "data1", "web1"] {
        let machine = machine(report, name);
        assert_eq!(machine["ok"], true, "{machine:#}");
        assert_eq!(machine["prepared"], true);
        assert!(machine["inject_s"].as_f64().unwrap() > 0.0);
        for gate in machine["gates"].as_array().unwrap() {
            assert!(gate["ready_s"].is_f64(), "{name}: {gate}");
            assert_eq!(gate["learned"], false, "the site file gives the gates");
        }
    }
    let tcp = |name: &str| -> Vec<u64> {
        let gates = machine(report, name)["gates"].as_array().unwrap();
        gates
            .iter()
            .filter_map(|gate| gate["port"].as_u64())
            .collect()
    };
    assert_eq!(
        (tcp("dir1"), tcp("data1")),
        (vec![53, 389], vec![5432, 2049])
    );
}

/// dir1 before data1 before web1, because their own journals say so.
pub fn the_plan_has_evidence_from_journals(report: &Value) {
    let plan = report["plan"].as_array().unwrap();
    let names: Vec<_> = plan
        .iter()
        .map(|line| line["machine"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["dir1", "data1", "web1"]);
    let after = |index: usize| words(&plan[index]["after"]);
    assert_eq!(after(0), [""; 0]);
    assert_eq!(after(1), ["dir1"]);
    assert!(after(2).contains(&"data1"), "{plan:#?}");
    for (index, name) in [(1, "data1"), (2, "web1")] {
        let journal = format!("{name}:var/log/journal/");
        let evidence = words(&plan[index]["evidence"]);
        assert!(
            evidence.iter().any(|line| line.contains(&journal)),
            "no line of {name}'s own journal: {evidence:#?}"
        );
    }
}

fn the_page_was_served(report: &Value) {
    let gates = machine(report, "web1")["gates"].as_array().unwrap();
    for text in ["lifeboat-row-42", "lifeboat-share-file-42"] {
        let gate = gates.iter().find(|gate| gate["expect"] == text).unwrap();
        assert_eq!(gate["kind"], "http");
        assert!(gate["ready_s"].is_f64(), "{gate}");
        assert!(gate["detail"].as_str().unwrap().contains("200"), "{gate}");
    }
}

fn nothing_left_the_session(report: &Value) {
    let network = &report["network"];
    let isolation = &network["isolation"];
    assert_eq!(isolation["host_interfaces"], 0);
    assert_eq!(isolation["canaries_escaped"], 0);
    assert!(
        isolation["canaries_sent"].as_u64().unwrap() > 0,
        "{isolation}"
    );
    assert_eq!(isolation["control_seen"], true);
    assert_eq!(network["uplink_frames"], 0);
    let (frames, dropped) = (
        network["frames"].as_u64().unwrap(),
        network["dropped"].as_u64().unwrap(),
    );
    assert!(
        frames > 100,
        "three machines that work together say more: {network:#}"
    );
    assert!(
        dropped * 100 <= frames,
        "{dropped} of {frames} frames were dropped"
    );
}

fn times_are_consistent(report: &Value) {
    let time = |name: &str, key: &str| machine(report, name)[key].as_f64().unwrap();
    assert!(time("dir1", "ready_s") <= time("data1", "started_s"));
    assert!(time("data1", "ready_s") <= time("web1", "started_s"));
    let last = ["dir1", "data1", "web1"]
        .map(|name| time(name, "ready_s"))
        .into_iter()
        .fold(0.0, f64::max);
    let rta = report["rta_s"].as_f64().unwrap();
    assert!((rta - last).abs() < 0.01, "RTA {rta} s, last gate {last} s");
    let ratio = report["rta_over_critical_path"].as_f64().unwrap();
    assert!(
        (1.0..MOST_OVERHEAD).contains(&ratio),
        "RTA over critical path is {ratio}"
    );
    assert_eq!(
        words(&report["limiting_machines"]),
        ["dir1", "data1", "web1"]
    );
    if report["accelerator"] == "tcg" {
        assert!(
            report["isolation_note"]
                .as_str()
                .unwrap()
                .starts_with("no isolation")
        );
    }
}

/// A screenshot and a console of each machine, beside the report.
pub fn files_are_there(report: &Value) {
    let folder = Path::new(report["folder"].as_str().unwrap());
    assert!(folder.join("report.json").is_file());
    for machine in report["machines"].as_array().unwrap() {
        let file = |key: &str| {
            folder.join(
                machine[key]
                    .as_str()
                    .unwrap_or_else(|| panic!("no {key}: {machine:#}")),
            )
        };
        let picture = std::fs::read(file("screenshot")).unwrap();
        assert!(
            picture.starts_with(b"\x89PNG\r\n\x1a\n"),
            "{machine:#}: no PNG"
        );
        let console = std::fs::read(file("console")).unwrap();
        assert!(!console.is_empty(), "{machine:#}: an empty console");
    }
}

fn the_table_tells_the_same(table: &str) {
    assert!(table.starts_with("OK  site figure4"), "{table}");
    for name in ["dir1", "data1", "web1"] {
        let row = table.lines().find(|line| line.starts_with(name));
        assert!(
            row.is_some_and(|row| row.contains("ready")),
            "no row of {name}:\n{table}"
        );
    }
    for word in [
        "RTA",
        "lifeboat-row-42",
        "var/log/journal",
        "captured volumes  unchanged",
        "files",
    ] {
        assert!(table.contains(word), "no `{word}`:\n{table}");
    }
    assert!(
        !table.contains('\u{1b}'),
        "an escape sequence reaches the terminal"
    );
}
