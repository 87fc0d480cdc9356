//! Who may ask over HTTPS: log-in, tokens, locks, the audit trail, certificates.

use std::fs::File;
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::time::Duration;

use lifeboat_tests::{Appliance, Daemon, eventually, require};
use serde_json::Value;

use crate::daemon::{curl, free_port, mode};
use crate::{SITE, with_site};

const SOON: Duration = Duration::from_secs(30);
const PASSWORD: &str = "correct horse battery";

/// Some routes of every part: method, path below `/api/v1`.
const ROUTES: [(&str, &str); 16] = [
    ("GET", "/status"),
    ("GET", "/sites"),
    ("POST", "/sites"),
    ("DELETE", "/sites/small"),
    ("POST", "/sites/small/prepare"),
    ("POST", "/sites/small/sessions"),
    ("GET", "/volumes"),
    ("POST", "/sessions/x/stop"),
    ("GET", "/failover/applications"),
    ("POST", "/failover/applications/x/switch"),
    ("GET", "/access/me"),
    ("GET", "/access/users"),
    ("POST", "/access/tokens"),
    ("POST", "/access/first-user/link"),
    ("GET", "/access/audit"),
    ("POST", "/nothing"),
];

/// A daemon that answers browsers, and where.
struct Served<'a> {
    appliance: &'a Appliance,
    daemon: Daemon,
    address: String,
}

impl<'a> Served<'a> {
    #[track_caller]
    fn new(appliance: &'a Appliance, words: &[&str]) -> Self {
        let address = format!("{}:{}", Ipv4Addr::LOCALHOST, free_port());
        let words = [&["--listen", &address], words].concat();
        let daemon = appliance.serve(words);
        eventually("the HTTPS port", SOON, || TcpStream::connect(&address).ok());
        Self {
            appliance,
            daemon,
            address,
        }
    }

    fn url(&self, path: &str) -> String {
        format!("https://{}/api/v1{path}", self.address)
    }

    /// A program's question.
    #[track_caller]
    fn get(&self, token: &str, path: &str) -> (u16, String) {
        curl(&["--header", &bearer(token), &self.url(path)])
    }

    /// A browser's: it keeps its cookies in a file.
    #[track_caller]
    fn browser(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let cookies = self.appliance.path("cookies");
        let cookies = cookies.to_string_lossy();
        let origin = format!("Origin: https://{}", self.address);
        let mut words = vec![
            "--request",
            method,
            "--cookie",
            &cookies,
            "--cookie-jar",
            &cookies,
        ];
        words.extend(["--header", &origin]);
        if !body.is_empty() {
            words.extend(["--header", "Content-Type: application/json", "--data", body]);
        }
        let url = self.url(path);
        words.push(&url);
        curl(&words)
    }

    #[track_caller]
    fn log_in(&self, name: &str, password: &str) -> (u16, String) {
        let body = format!(r#"{{"name":"{name}","password":"{password}"}}"#);
        self.browser("POST", "/access/login", &body)
    }
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}")
}

/// A token made by the machine's root.
#[track_caller]
fn token(appliance: &Appliance, role: &str) -> String {
    let name = format!("for-{role}");
    let made = appliance
        .lifeboat(["access", "token", "add", &name, "--role", role])
        .run();
    made.expect_code(0);
    made.stdout.trim().to_owned()
}

/// A user made by the machine's root.
#[track_caller]
fn user(appliance: &Appliance, name: &str, role: &str) {
    let password = appliance.write("password", format!("{PASSWORD}\n"));
    appliance
        .lifeboat(["access", "user", "add", name, "--role", role])
        .reads(File::open(password).unwrap())
        .run()
        .expect_code(0);
}

#[test]
fn https_answers_those_who_may() {
    require(&[("curl", "curl")]);
    let appliance = with_site(SITE);
    appliance.write("state/api-token", "of an earlier version");
    let served = Served::new(&appliance, &[]);
    for (method, path) in ROUTES {
        for header in [
            "X-Nothing: 1",
            "Authorization: Bearer",
            "Authorization: Bearer lifeboat_0123456789abcdef_wrong",
            "Authorization: Basic YTpi",
            "Cookie: __Host-lifeboat=wrong",
        ] {
            let url = served.url(path);
            let (code, body) = curl(&["--request", method, "--header", header, &url]);
            assert_eq!(code, 401, "{method} {path} with `{header}`: {body}");
            assert!(body.contains(r#""reason":"log_in""#), "{body}");
        }
    }
    assert!(!appliance.state().join("api-token").exists());
    for file in ["api-tls.pem", "access.db", "access.key"] {
        assert_eq!(mode(&appliance.state().join(file)), 0o600, "{file}");
    }
    let token = token(&appliance, "operator");
    assert_eq!(served.get(&token, "/status").0, 200);
    assert_eq!(served.get(&token, "/sites"), (200, "[]".to_owned()));
    assert_eq!(served.get(&token, "/access/users").0, 403);
    assert_eq!(served.get(&token, "/nothing").0, 404);
    let url = served.url("/sessions/x/stop");
    let (code, body) = curl(&["--request", "POST", "--header", &bearer(&token), &url]);
    assert_eq!(code, 403, "not made for what a person confirms: {body}");
    served.daemon.stop().expect_code(0);
}

#[test]
fn only_tls_1_3_is_spoken_unless_asked_otherwise() {
    require(&[("curl", "curl")]);
    let appliance = Appliance::new();
    let old = ["--tls-max", "1.2"];
    let start = |served: &Served| served.url("/access/start");
    let served = Served::new(&appliance, &[]);
    assert_eq!(curl(&[&start(&served)]).0, 200);
    assert_eq!(curl(&[old[0], old[1], &start(&served)]).0, 0);
    let plain = format!("http://{}/api/v1/access/start", served.address);
    assert_ne!(curl(&[&plain]).0, 200, "it answers without TLS");
    served.daemon.stop().expect_code(0);
    let served = Served::new(&appliance, &["--tls12"]);
    assert_eq!(curl(&[old[0], old[1], &start(&served)]).0, 200);
    served.daemon.stop().expect_code(0);
}

#[test]
fn the_printed_link_makes_the_first_user() {
    require(&[("curl", "curl")]);
    let appliance = with_site(SITE);
    let mut served = Served::new(&appliance, &[]);
    let line = served.daemon.wait_for("first user", SOON);
    let printed = line.split_once('#').expect("a link").1.trim().to_owned();
    // A newer link takes its place.
    let link = appliance.lifeboat(["access", "first-user"]).run();
    link.expect_code(0);
    let (url, secret) = link.stdout.trim().split_once('#').expect("a link");
    assert_eq!(url, format!("https://{}/first-user", served.address));
    let ask =
        |secret: &str| format!(r#"{{"secret":"{secret}","name":"ann","password":"{PASSWORD}"}}"#);
    let (code, body) = served.browser("POST", "/access/first-user", &ask(&printed));
    assert_eq!(code, 401, "{body}");
    let (code, body) = served.browser("POST", "/access/first-user", &ask(secret));
    assert_eq!(code, 200, "{body}");
    let (code, body) = served.browser("GET", "/access/me", "");
    assert_eq!(code, 200, "{body}");
    let me: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (&me["name"], &me["role"]),
        (&"ann".into(), &"administrator".into())
    );
    appliance
        .lifeboat(["access", "first-user"])
        .run()
        .expect_code(2)
        .expect_said(&["there are users already"]);
    // What cannot be taken back needs the password again.
    let (code, body) = served.browser("DELETE", "/sites/small", "");
    assert_eq!(code, 403, "{body}");
    assert!(body.contains(r#""reason":"confirm""#), "{body}");
    let confirm = format!(r#"{{"password":"{PASSWORD}"}}"#);
    assert_eq!(served.browser("POST", "/access/confirm", &confirm).0, 200);
    let (code, body) = served.browser("DELETE", "/sites/small", "");
    assert!(body.contains("no site is called"), "{code}: {body}");
    assert_eq!(served.browser("POST", "/access/logout", "").0, 200);
    assert_eq!(served.browser("GET", "/access/me", "").0, 401);
    served.daemon.stop().expect_code(0);
}

#[test]
fn five_failures_lock_and_root_unlocks() {
    require(&[("curl", "curl")]);
    let appliance = Appliance::new();
    user(&appliance, "ann", "administrator");
    let served = Served::new(&appliance, &[]);
    for _ in 0..4 {
        assert_eq!(served.log_in("ann", "something else").0, 401);
    }
    assert_eq!(served.log_in("ann", "something else").0, 429);
    assert_eq!(served.log_in("ann", PASSWORD).0, 429);
    let users = appliance
        .lifeboat(["access", "user", "list"])
        .json()
        .run()
        .json();
    assert!(users[0]["locked_until"].is_i64(), "{users}");
    appliance
        .lifeboat(["access", "user", "unlock", "ann"])
        .run()
        .expect_code(0);
    let (code, body) = served.log_in("ann", PASSWORD);
    assert_eq!(code, 200, "{body}");
    let sessions = appliance
        .lifeboat(["access", "session", "list"])
        .json()
        .run()
        .json();
    let id = sessions[0]["id"].as_str().unwrap();
    assert_eq!(served.browser("GET", "/access/me", "").0, 200);
    appliance
        .lifeboat(["access", "session", "end", id])
        .run()
        .expect_code(0);
    assert_eq!(served.browser("GET", "/access/me", "").0, 401);
    served.daemon.stop().expect_code(0);
}

#[test]
fn users_are_managed_without_a_daemon() {
    let appliance = Appliance::new();
    user(&appliance, "ann", "administrator");
    user(&appliance, "bob", "viewer");
    let access = |words: &[&str]| appliance.lifeboat(["access"]).words(words).run();
    access(&["user", "role", "bob", "operator"]).expect_code(0);
    access(&["user", "disable", "bob"]).expect_code(0);
    let users = appliance
        .lifeboat(["access", "user", "list"])
        .json()
        .run()
        .json();
    assert_eq!(
        (&users[1]["role"], &users[1]["disabled"]),
        (&"operator".into(), &true.into())
    );
    access(&["user", "remove", "ann"])
        .expect_code(2)
        .expect_said(&["the last administrator"]);
    access(&["user", "remove", "bob"]).expect_code(0);
    access(&["user", "remove", "bob"]).expect_code(2);
    access(&["user", "remove", "../sites"]).expect_code(2);
    access(&["first-user"])
        .expect_code(1)
        .expect_said(&["no daemon serves"]);
    appliance.traces().expect_none();
}

/// Puts a word of the same length in another's place, everywhere in a file.
fn replace(file: &Path, old: &str, new: &str) {
    assert_eq!(old.len(), new.len());
    let mut bytes = std::fs::read(file).unwrap();
    let found: Vec<_> = (0..bytes.len() - old.len())
        .filter(|at| bytes[*at..].starts_with(old.as_bytes()))
        .collect();
    assert!(!found.is_empty(), "`{old}` is not in `{}`", file.display());
    for at in found {
        bytes[at..at + new.len()].copy_from_slice(new.as_bytes());
    }
    std::fs::write(file, bytes).unwrap();
}

#[test]
fn a_forged_audit_trail_is_seen() {
    let appliance = with_site(SITE);
    let site = appliance.path("site.toml");
    appliance
        .lifeboat(["site", "add"])
        .words([&site])
        .run()
        .expect_code(0);
    appliance
        .lifeboat(["site", "remove", "small"])
        .run()
        .expect_code(0);
    let entries = appliance.lifeboat(["access", "audit"]).json().run().json();
    let whats: Vec<_> = entries
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|entry| entry["what"].as_str())
        .filter(|what| !what.is_empty())
        .collect();
    assert_eq!(whats, ["DELETE /api/v1/sites/small", "POST /api/v1/sites"]);
    let verify = || appliance.lifeboat(["access", "audit", "--verify"]).run();
    let whole = verify();
    whole.expect_code(0);
    let newest = whole.stdout.lines().last().unwrap().replace("newest ", "");
    appliance
        .lifeboat(["access", "audit", "--verify", "--noted", &newest])
        .run()
        .expect_code(0);
    let other = format!("2:{}", "0".repeat(64));
    appliance
        .lifeboat(["access", "audit", "--verify", "--noted", &other])
        .run()
        .expect_code(1);
    let database = appliance.state().join("access.db");
    replace(
        &database,
        "DELETE /api/v1/sites/small",
        "DELETE /api/v1/sites/other",
    );
    let forged = verify();
    forged.expect_code(1);
    assert!(
        forged.stdout.contains("is NOT what was written"),
        "{}",
        forged.stdout
    );
}

#[test]
fn the_certificate_is_made_once_and_can_be_another() {
    require(&[("curl", "curl")]);
    let fingerprint = |served: &mut Served| {
        let line = served.daemon.wait_for("certificate (SHA-256)", SOON);
        line.rsplit(' ').next().unwrap().to_owned()
    };
    let one = Appliance::new();
    let mut served = Served::new(&one, &[]);
    let first = fingerprint(&mut served);
    served.daemon.stop().expect_code(0);
    let mut served = Served::new(&one, &[]);
    assert_eq!(fingerprint(&mut served), first);
    served.daemon.stop().expect_code(0);
    let given = one.state().join("api-tls.pem");
    let given = given.to_string_lossy();
    let two = Appliance::new();
    let mut served = Served::new(&two, &["--tls-certificate", &given, "--tls-key", &given]);
    assert_eq!(fingerprint(&mut served), first);
    // Whoever trusts it needs no leave: it is for this address.
    let trusting = std::process::Command::new("curl")
        .args(["--silent", "--max-time", "20", "--cacert", &given])
        .arg(served.url("/access/start"))
        .output()
        .unwrap();
    let answer = String::from_utf8_lossy(&trusting.stdout);
    assert!(answer.contains("first_user"), "{answer}");
    served.daemon.stop().expect_code(0);
    let wrong = two.write("wrong.pem", "no certificate");
    let wrong = wrong.to_string_lossy();
    let address = format!("{}:{}", Ipv4Addr::LOCALHOST, free_port());
    two.lifeboat(["serve", "--listen", &address])
        .words(["--tls-certificate", &wrong, "--tls-key", &given])
        .limit(SOON)
        .run()
        .expect_code(1)
        .expect_one_error()
        .expect_said(&["wrong.pem"]);
}

#[test]
fn other_pages_and_other_names_are_turned_away() {
    require(&[("curl", "curl")]);
    let appliance = Appliance::new();
    user(&appliance, "ann", "operator");
    let served = Served::new(&appliance, &["--name", "boat.example"]);
    assert_eq!(served.log_in("ann", PASSWORD).0, 200);
    let me = served.url("/access/me");
    let cookies = appliance.path("cookies");
    let cookies = cookies.to_string_lossy();
    let ask = |header: &str| curl(&["--cookie", &cookies, "--header", header, &me]).0;
    assert_eq!(ask("X-Nothing: 1"), 200);
    assert_eq!(ask("Origin: https://evil.example"), 403);
    assert_eq!(ask("Sec-Fetch-Site: cross-site"), 403);
    assert_eq!(ask("Host: evil.example"), 421);
    // By that name the cookie is another's, so nobody is logged in: but it is answered.
    assert_ne!(ask("Host: boat.example"), 421);
    let post = ["--request", "POST", "--cookie", &cookies];
    let order = served.url("/sites/small/order");
    let (code, body) = curl(&[&post[..], &[&order]].concat());
    assert_eq!(
        code, 403,
        "a change that does not say where it comes from: {body}"
    );
    served.daemon.stop().expect_code(0);
}
