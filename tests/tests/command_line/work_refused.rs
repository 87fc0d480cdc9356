//! Work that cannot be done on this host: one error, exit code 1, and nothing
//! half done.

use std::path::Path;

use lifeboat_tests::{Appliance, domains, require};

use crate::{SITE, with_site};

#[track_caller]
fn expect_nothing_begun(appliance: &Appliance) {
    appliance.traces().expect_none();
    let sessions = appliance.lifeboat(["session", "list"]).json().run().json();
    assert_eq!(sessions, serde_json::json!([]), "a session was begun");
}

#[test]
fn a_report_that_cannot_be_written() {
    let appliance = with_site(SITE);
    let site = appliance.path("site.toml");
    let missing = appliance.path("nowhere/r.json");
    for path in [missing, appliance.path("")] {
        let test = appliance.lifeboat(["test"]).words([&site]);
        let outcome = test.words(["--report"]).words([&path]).run();
        outcome.expect_code(2).expect_one_error();
        outcome.expect_said(&["report", "folder"]);
    }
    assert!(!appliance.state().exists(), "work was begun");
}

#[test]
fn too_little_memory() {
    require(&[("virsh", "libvirt-clients")]);
    let before = domains();
    let appliance = with_site(&SITE.replace("memory_mib = 256", "memory_mib = 8000000"));
    let test = appliance
        .lifeboat(["test"])
        .words([appliance.path("site.toml")]);
    let outcome = test.run();
    outcome.expect_code(1).expect_one_error();
    // 2 * (8000000 + what QEMU itself needs)
    outcome.expect_said(&[
        "site `small`",
        "160",
        "MiB",
        "this host can give",
        "memory_mib",
    ]);
    assert_eq!(domains(), before);
    expect_nothing_begun(&appliance);
}

#[test]
fn too_little_disk_space() {
    require(&[("unshare", "util-linux"), ("mount", "mount")]);
    let appliance = with_site(SITE);
    let (state, site) = (appliance.state(), appliance.path("site.toml"));
    std::fs::create_dir(&state).unwrap();
    let test = appliance.lifeboat_over(&state, "40m", ["test"]);
    let outcome = test.words([&site]).run();
    outcome.expect_code(1).expect_one_error();
    outcome.expect_said(&[
        &state.to_string_lossy(),
        "MiB free",
        "needs at least",
        "--state-dir",
    ]);
    assert_eq!(
        state.read_dir().unwrap().count(),
        0,
        "the small filesystem was not used"
    );
    appliance.traces().expect_none();
}

#[test]
fn libvirt_does_not_run() {
    require(&[("unshare", "util-linux"), ("mount", "mount")]);
    let appliance = with_site(SITE);
    let sockets = Path::new("/run/libvirt");
    assert!(
        sockets.is_dir(),
        "this test needs libvirt: install libvirt-daemon-system (`./test` does)"
    );
    let site = appliance.path("site.toml");
    let outcome = appliance
        .lifeboat_over(sockets, "1m", ["test"])
        .words([&site])
        .run();
    outcome.expect_code(1).expect_one_error();
    outcome.expect_said(&["failed to connect to libvirt", "hint:", "libvirtd"]);
    let check = appliance
        .lifeboat_over(sockets, "1m", ["check"])
        .json()
        .run();
    check.expect_code(1);
    let findings = check.json();
    let findings = findings["findings"].as_array().unwrap();
    let libvirt = findings
        .iter()
        .find(|finding| finding["what"] == "libvirt")
        .unwrap();
    assert_eq!(libvirt["fit"], false);
    assert!(libvirt["advice"].as_str().unwrap().contains("libvirtd"));
    expect_nothing_begun(&appliance);
}

#[test]
fn an_overlay_that_exists_is_not_overwritten() {
    let appliance = with_site(SITE);
    let overlay = appliance.write("out.qcow2", "precious");
    let inject = appliance
        .lifeboat(["inject"])
        .words([appliance.path("disk.raw")]);
    let outcome = inject.words(["--overlay"]).words([&overlay]).run();
    outcome
        .expect_code(2)
        .expect_one_error()
        .expect_said(&["exists already"]);
    assert_eq!(std::fs::read(&overlay).unwrap(), b"precious");
}

#[test]
fn an_injection_without_a_place_for_its_result() {
    let appliance = with_site(SITE);
    let disk = appliance.path("disk.raw").to_string_lossy().into_owned();
    for (words, said) in [
        (vec![disk.as_str()], "`--overlay OUT` is missing"),
        (vec!["-"], "`--output FILE`"),
        (vec!["-", &disk, "--output", "x"], "the only disk"),
        (vec![disk.as_str(), "--output", "x"], "give `-`"),
    ] {
        let outcome = appliance.lifeboat(["inject"]).words(words).run();
        outcome
            .expect_code(2)
            .expect_one_error()
            .expect_said(&[said]);
    }
}

#[test]
fn an_empty_stream_leaves_nothing() {
    let appliance = with_site(SITE);
    let folder = appliance.path("received");
    std::fs::create_dir(&folder).unwrap();
    // Standard input is empty in every call of these tests.
    let inject = appliance.lifeboat(["inject", "-", "--output"]);
    let outcome = inject.words([folder.join("disk.raw")]).run();
    outcome
        .expect_code(1)
        .expect_one_error()
        .expect_said(&["standard input was empty"]);
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
}

#[test]
fn a_card_that_is_not_understood() {
    let appliance = with_site(SITE);
    for nic in ["nonsense", "52:54:00:20:00:10=everywhere"] {
        let inject = appliance
            .lifeboat(["inject"])
            .words([appliance.path("disk.raw")]);
        let inject = inject
            .words(["--overlay"])
            .words([appliance.path("new.qcow2")]);
        let outcome = inject.words(["--nic", nic]).run();
        outcome
            .expect_code(2)
            .expect_one_error()
            .expect_said(&[nic, "MAC=ADDRESS"]);
        assert!(!appliance.path("new.qcow2").exists());
    }
}
