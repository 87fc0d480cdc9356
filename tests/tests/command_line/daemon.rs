//! The daemon: one for each state directory, its socket, its HTTPS side, and
//! the private ones that commands start for themselves.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use lifeboat_tests::{Appliance, eventually, require};
use serde_json::Value;

use crate::{SITE, with_site};

const SOON: Duration = Duration::from_secs(30);

/// Every route of the API: method, path below `/api/v1`.
const ROUTES: [(&str, &str); 18] = [
    ("GET", "/status"),
    ("GET", "/sites"),
    ("POST", "/sites"),
    ("GET", "/sites/small"),
    ("DELETE", "/sites/small"),
    ("POST", "/sites/small/prepare"),
    ("POST", "/sites/small/order"),
    ("GET", "/sites/small/operator"),
    ("POST", "/sites/small/operator"),
    ("POST", "/sites/small/sessions"),
    ("POST", "/sites/small/verify"),
    ("GET", "/volumes"),
    ("POST", "/volumes/verify"),
    ("GET", "/sessions"),
    ("GET", "/sessions/x"),
    ("POST", "/sessions/x/stop"),
    ("GET", "/sessions/x/report"),
    ("GET", "/nothing"),
];

/// Asks by curl: status code and body.
#[track_caller]
fn curl(words: &[&str]) -> (u16, String) {
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
fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

fn mode(path: &Path) -> u32 {
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
fn https_answers_those_who_hold_the_token() {
    require(&[("curl", "curl")]);
    let appliance = with_site(SITE);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    let daemon = appliance.serve(["--listen", &address.to_string()]);
    eventually("the HTTPS port", SOON, || TcpStream::connect(address).ok());
    for (method, path) in ROUTES {
        let url = format!("https://{address}/api/v1{path}");
        for header in [
            "X-Nothing: 1",
            "Authorization: Bearer",
            "Authorization: Bearer 0123",
            "Authorization: Basic YTpi",
        ] {
            let (code, body) = curl(&["--request", method, "--header", header, &url]);
            assert_eq!(code, 401, "{method} {path} with `{header}`: {body}");
        }
    }
    let file = appliance.state().join("api-token");
    assert_eq!(mode(&file), 0o600);
    assert_eq!(mode(&appliance.state().join("api-tls.pem")), 0o600);
    let token = std::fs::read_to_string(&file).unwrap();
    let header = format!("Authorization: Bearer {}", token.trim());
    let url = |path: &str| format!("https://{address}/api/v1{path}");
    let (code, body) = curl(&["--header", &header, &url("/status")]);
    assert_eq!(code, 200, "{body}");
    let (code, body) = curl(&["--header", &header, &url("/sites")]);
    assert_eq!((code, body.as_str()), (200, "[]"));
    let (code, body) = curl(&["--header", &header, &url("/sessions/x")]);
    assert_eq!(code, 404, "{body}");
    assert!(body.contains("no session"), "{body}");
    let plain = curl(&[
        "--header",
        &header,
        &format!("http://{address}/api/v1/status"),
    ]);
    assert_ne!(plain.0, 200, "it answers without TLS");
    daemon.stop().expect_code(0);
}

#[test]
fn the_token_stays_the_same() {
    let appliance = Appliance::new();
    let read = || std::fs::read(appliance.state().join("api-token")).ok();
    let mut tokens = Vec::new();
    for _ in 0..2 {
        let address = format!("127.0.0.1:{}", free_port());
        let daemon = appliance.serve(["--listen", &address]);
        tokens.push(eventually("the token", SOON, read));
        eventually("the HTTPS port", SOON, || TcpStream::connect(&address).ok());
        daemon.stop().expect_code(0);
    }
    assert_eq!(tokens[0], tokens[1]);
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
