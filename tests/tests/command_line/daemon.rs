//! The daemon: one for each state directory, its socket, and the private ones
//! that commands start for themselves.

use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use lifeboat_tests::{Appliance, require};
use serde_json::Value;

use crate::{SITE, with_site};

const SOON: Duration = Duration::from_secs(30);

/// Asks by curl: status code and body.
#[track_caller]
pub(crate) fn curl(words: &[&str]) -> (u16, String) {
    let output = Command::new("curl")
        .args(["--silent", "--insecure", "--max-time", "20"])
        .args(["--write-out", "\n%{http_code}"])
        .args(words)
        .output()
        .unwrap_or_else(|error| panic!("this test needs `curl`: {error}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (body, code) = text.rsplit_once('\n').unwrap();
    (code.parse().unwrap(), body.to_owned())
}

/// A port that nobody listens on now.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

pub(crate) fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

#[test]
fn the_socket_is_for_its_owner_alone() {
    require(&[("curl", "curl")]);
    let appliance = with_site(SITE);
    let daemon = appliance.serve([""; 0]);
    assert_eq!(mode(daemon.socket()), 0o600);
    let socket = daemon.socket().to_string_lossy().into_owned();
    let (code, body) = curl(&["--unix-socket", &socket, "http://lifeboat/api/v1/status"]);
    assert_eq!(code, 200, "{body}");
    let status: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(status["busy"], false);
    assert!(status["accelerator"]["reason"].is_string());
    daemon.stop().expect_code(0);
    assert!(!Path::new(&socket).exists(), "the socket stays");
}

#[test]
fn commands_use_the_daemon_that_runs() {
    let appliance = with_site(SITE);
    let daemon = appliance.serve([""; 0]);
    let site = appliance.path("site.toml");
    let show = appliance.lifeboat(["site", "show"]).words([&site]).start();
    show.finish().expect_code(0);
    assert_eq!(appliance.traces().private_daemons, []);
    daemon.stop().expect_code(0);
    // Without it, a private one reads the same state.
    let sites = appliance.lifeboat(["site", "list"]).json().run().json();
    assert_eq!(sites[0]["name"], "small");
    appliance.traces().expect_none();
}

#[test]
fn a_state_directory_has_one_daemon() {
    let appliance = Appliance::new();
    let daemon = appliance.serve([""; 0]);
    let second = appliance.lifeboat(["serve"]).limit(SOON).run();
    second.expect_code(2).expect_one_error();
    second.expect_said(&["another", &appliance.state().to_string_lossy()]);
    // The first is not disturbed.
    appliance.lifeboat(["site", "list"]).run().expect_code(0);
    assert_eq!(appliance.traces().private_daemons, []);
    daemon.stop().expect_code(0);
}

#[test]
fn what_a_killed_daemon_leaves_does_not_stop_the_next() {
    let appliance = with_site(SITE);
    let daemon = appliance.serve([""; 0]);
    let site = appliance.path("site.toml");
    appliance
        .lifeboat(["site", "add"])
        .words([&site])
        .run()
        .expect_code(0);
    daemon.crash();
    assert!(
        appliance.state().join("lifeboat.sock").exists(),
        "control: its socket is left"
    );
    let next = appliance.serve([""; 0]);
    let sites = appliance.lifeboat(["site", "list"]).json().run().json();
    assert_eq!(sites[0]["name"], "small");
    next.stop().expect_code(0);
}

#[test]
fn a_port_in_use_is_named() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let appliance = Appliance::new();
    let outcome = appliance
        .lifeboat(["serve", "--listen", &address])
        .limit(SOON)
        .run();
    outcome
        .expect_code(1)
        .expect_one_error()
        .expect_said(&["failed to listen", &address]);
    appliance.traces().expect_none();
}
