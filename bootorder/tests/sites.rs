//! Small sites written as text logs and configuration, and what must come out of them.
#![expect(clippy::unwrap_used, reason = "a test stops where its set-up fails")]

mod written_site;

use std::fs;
use std::path::Path;

use lifeboat_bootorder::{
    Kind, MachineFolder, OperatorWord, Options, Order, Source, Verdict, order, read_directory,
};
use proptest::prelude::*;
use tempfile::TempDir;
use written_site::Site;

impl Site {
    /// Lines "seconds program: message" become a syslog.
    fn log(self, machine: &str, lines: &[(u32, &str)]) -> Self {
        let stamp = |s: u32| {
            format!(
                "2026-03-01T{:02}:{:02}:{:02}Z",
                s / 3600,
                s / 60 % 60,
                s % 60
            )
        };
        let text: String = lines
            .iter()
            .map(|(s, line)| format!("{} {machine} {line}\n", stamp(*s)))
            .collect();
        self.file(machine, "var/log/syslog", &text)
    }

    fn folders(&self) -> Vec<MachineFolder> {
        read_directory(self.0.path()).unwrap()
    }

    fn order(&self, words: &[OperatorWord]) -> Order {
        order(&self.folders(), words, &Options::default())
    }
}

fn word(before: &str, after: &str, verdict: Verdict) -> OperatorWord {
    OperatorWord {
        before: before.into(),
        after: after.into(),
        verdict,
    }
}

fn sequence(order: &Order) -> Vec<&str> {
    order
        .plan
        .iter()
        .map(|entry| entry.machine.as_str())
        .collect()
}

const BOOT: &str = "kernel: Linux version 6.1";

#[test]
fn configuration_alone_orders() {
    let order = Site::new()
        .machine("web1", "10.0.0.30")
        .file(
            "web1",
            "etc/app.env",
            "DATABASE_URL=postgres://app:x@10.0.0.20/app\n",
        )
        .machine("data1", "10.0.0.20")
        .file("data1", "etc/nslcd.conf", "uri ldap://dir1/\n")
        .machine("dir1", "10.0.0.10")
        .order(&[]);
    assert_eq!(sequence(&order), ["dir1", "data1", "web1"]);
    assert_eq!(order.edges.len(), 2);
    assert!(
        order
            .edges
            .iter()
            .all(|edge| edge.source == Source::Configuration)
    );
    assert_eq!(
        order.warnings.len(),
        3,
        "one for each machine without logs: {:?}",
        order.warnings
    );
}

#[test]
fn a_failure_that_clears_is_soft_and_one_that_does_not_is_hard() {
    let site = Site::new()
        .machine("db", "10.0.0.20")
        .log("db", &[(3600, BOOT), (3660, "systemd[1]: Started postgresql@15-main.service - PostgreSQL."), (7000, "systemd[1]: Startup finished in 9s.")])
        .machine("retries", "10.0.0.30")
        .log("retries", &[
            (3590, BOOT),
            (3600, "app[7]: connection to server at \"db\" (10.0.0.20), port 5432 failed: Connection refused"),
            (3670, "app[7]: ready for connections"),
            (7000, "systemd[1]: Startup finished in 9s."),
        ])
        .machine("gives-up", "10.0.0.40")
        .file("gives-up", "etc/fstab", "db:/srv /srv nfs defaults 0 0\n")
        .log("gives-up", &[
            (3590, BOOT),
            (3600, "mount[7]: mount.nfs: Connection refused for db:/srv"),
            (3601, "systemd[1]: Failed to mount srv.mount - /srv."),
        ]);
    let order = site.order(&[]);
    let kind = |after: &str| {
        order
            .edges
            .iter()
            .find(|e| e.after == after)
            .map(|e| (e.before.as_str(), e.kind, e.source))
    };
    assert_eq!(kind("retries"), Some(("db", Kind::Soft, Source::Logs)));
    assert_eq!(kind("gives-up"), Some(("db", Kind::Hard, Source::Logs)));
    let first = &order
        .edges
        .iter()
        .find(|e| e.after == "retries")
        .unwrap()
        .evidence[0];
    assert_eq!(
        (first.file.as_str(), first.record.as_str()),
        ("var/log/syslog", "line 2")
    );
    assert_eq!(first.time.as_deref(), Some("2026-03-01T01:00:00.000Z"));
    assert_eq!(order.gates["db"][0].port, 5432);
    assert_eq!(order.ready_delays_s["db"], 60.0);
}

#[test]
fn a_machine_that_came_up_without_the_other_does_not_need_it_hard() {
    let order = Site::new()
        .machine("db", "10.0.0.20")
        .log(
            "db",
            &[
                (1000, BOOT),
                (1010, "systemd[1]: Started mariadb.service - MariaDB."),
                (1020, "cron[1]: x: y"),
                (9000, BOOT),
                (9010, "systemd[1]: Started mariadb.service - MariaDB."),
            ],
        )
        .machine("app", "10.0.0.30")
        .file("app", "etc/app.ini", "[mysql]\nhost = db\n")
        .log(
            "app",
            &[
                (5000, BOOT),
                (5060, "systemd[1]: Startup finished in 9s."),
                (5900, "cron[1]: x: y"),
            ],
        )
        .order(&[]);
    assert_eq!(order.edges[0].kind, Kind::Soft);
    assert!(
        order.edges[0]
            .evidence
            .iter()
            .any(|e| e.text.contains("ready without db")),
        "{order:?}"
    );
}

#[test]
fn the_operator_wins_and_is_shown() {
    let site = Site::new()
        .machine("a", "10.0.0.1")
        .machine("b", "10.0.0.2")
        .file("b", "etc/x.conf", "host = a\n");
    let order = site.order(&[word("b", "a", Verdict::Pin)]);
    assert_eq!(sequence(&order), ["b", "a"]);
    assert_eq!(order.plan[1].after, ["b"]);
    assert!(
        order.to_text().contains("the operator's word"),
        "{}",
        order.to_text()
    );
    assert!(
        order.warnings.iter().any(|w| w.contains("was given up")),
        "{:?}",
        order.warnings
    );
    let order = site.order(&[word("a", "b", Verdict::Reject)]);
    assert!(order.edges.is_empty());
    assert!(
        order
            .warnings
            .iter()
            .any(|w| w.contains("rejected by the operator"))
    );
}

#[test]
fn bad_input_is_named_and_the_rest_is_ordered() {
    let site = Site::new()
        .machine("a", "10.0.0.1")
        .file("a", "var/log/journal/x/system.journal", "not a journal")
        .file("win", "Security.evtx", "ElfFile")
        .machine("b", "10.0.0.2")
        .file("b", "etc/x.conf", "host = a\n");
    fs::create_dir(site.0.path().join("empty")).unwrap();
    let mut folders = site.folders();
    folders.push(MachineFolder {
        name: "a".into(),
        folder: "/zzz-nonexistent".into(),
        addresses: vec![],
        names: vec![],
    });
    let order = order(
        &folders,
        &[word("a", "nobody", Verdict::Pin)],
        &Options::default(),
    );
    assert_eq!(order.plan.len(), 4);
    assert_eq!(
        order.plan.iter().find(|p| p.machine == "b").unwrap().after,
        ["a"]
    );
    for expected in [
        "a: var/log/journal/x/system.journal: it is not a journal file",
        "win: Security.evtx: failed to read it as a Windows event log",
        "empty: no readable logs in ",
        "a: there is another machine of this name; ",
        "nobody",
    ] {
        assert!(
            order.warnings.iter().any(|w| w.contains(expected)),
            "{expected}: {:?}",
            order.warnings
        );
    }
}

#[test]
fn a_missing_machine_is_named_with_who_asks_for_it() {
    let order = Site::new()
        .machine("web1", "10.0.0.30")
        .file("web1", "etc/hosts", "10.0.0.30 web1.site.example web1\n")
        .file(
            "web1",
            "etc/resolv.conf",
            "nameserver 10.0.0.10\nnameserver 9.9.9.9\n",
        )
        .file(
            "web1",
            "etc/app.env",
            "URL=postgresql://data1.site.example/app\n",
        )
        .order(&[]);
    let missing: Vec<_> = order
        .warnings
        .iter()
        .filter(|w| w.contains("no machine of this site"))
        .collect();
    assert_eq!(missing.len(), 2, "{:?}", order.warnings);
    assert!(missing[0].contains("data1.site.example (PostgreSQL)"));
    assert!(missing[1].contains("etc/resolv.conf line 1 names 10.0.0.10 (DNS server)"));
}

#[test]
fn older_service_managers_log_descriptions() {
    let order = Site::new()
        .machine("db", "10.0.0.20")
        .file(
            "db",
            "usr/lib/systemd/system/mariadb.service",
            "[Unit]\nDescription=MariaDB 10.3 database server\n",
        )
        .log(
            "db",
            &[
                (10, BOOT),
                (40, "systemd: Started MariaDB 10.3 database server."),
            ],
        )
        .order(&[]);
    assert_eq!(order.gates["db"][0].port, 3306);
}

#[test]
fn a_server_does_not_depend_on_the_client_it_complains_about() {
    let order = Site::new()
        .machine("db1", "10.0.0.20")
        .log(
            "db1",
            &[
                (10, BOOT),
                (40, "sshd[7]: Connection timed out from 10.0.0.30 port 4711"),
                (
                    50,
                    "smbd[1]: read failed for client web1: Connection timed out",
                ),
            ],
        )
        .machine("web1", "10.0.0.30")
        .log(
            "web1",
            &[
                (10, BOOT),
                (40, "app[7]: could not connect to db1: Connection timed out"),
            ],
        )
        .order(&[]);
    let edges: Vec<_> = order
        .edges
        .iter()
        .map(|e| (e.before.as_str(), e.after.as_str()))
        .collect();
    assert_eq!(edges, [("db1", "web1")]);
}

#[test]
fn mutual_references_are_broken_and_reported() {
    let order = Site::new()
        .machine("a", "10.0.0.1")
        .file("a", "etc/fstab", "b:/x /x nfs defaults 0 0\n")
        .machine("b", "10.0.0.2")
        .file("b", "etc/resolv.conf", "nameserver 10.0.0.1\n")
        .order(&[]);
    assert_eq!(
        sequence(&order),
        ["b", "a"],
        "the hard mount outlives the soft name server"
    );
    assert_eq!(order.given_up.len(), 1);
    assert!(order.groups.is_empty(), "different roles are no replicas");
    assert!(
        order
            .warnings
            .iter()
            .any(|w| w.contains("a before b (soft")),
        "{:?}",
        order.warnings
    );
}

#[test]
fn the_json_is_the_contract() {
    let order = Site::new()
        .machine("a", "10.0.0.1")
        .machine("b", "10.0.0.2")
        .file("b", "etc/x.conf", "host = a\n")
        .order(&[]);
    let json = serde_json::to_value(&order).unwrap();
    assert_eq!(json["edges"][0]["before"], "a");
    assert_eq!(json["edges"][0]["kind"], "soft");
    assert_eq!(json["edges"][0]["source"], "configuration");
    assert_eq!(json["edges"][0]["evidence"][0]["file"], "etc/x.conf");
    assert_eq!(json["edges"][0]["evidence"][0]["record"], "line 1");
    assert_eq!(json["plan"][1]["after"][0], "a");
    assert!(json["services"]["edges"].is_array() && json["machines"].is_array());
    assert_eq!(serde_json::from_value::<Order>(json).unwrap(), order);
    assert!(order.to_dot().contains("\"a\" -> \"b\""));
}

fn write(root: &Path, references: &[(usize, usize, u8)]) {
    for machine in 0..6 {
        let folder = root.join(format!("m{machine}/etc"));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("hostname"), format!("m{machine}\n")).unwrap();
        let lines = references
            .iter()
            .filter(|(from, _, _)| *from == machine)
            .map(|(_, to, kind)| match kind {
                0 => format!("host = m{to}\n"),
                1 => format!("url = postgres://m{to}/x\n"),
                _ => format!("ldap_host = m{to}\n"),
            });
        fs::write(folder.join("app.conf"), lines.collect::<String>()).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn the_plan_is_complete_ordered_and_independent_of_the_input(
        references in proptest::collection::vec((0..6_usize, 0..6_usize, 0..3_u8), 0..20),
        pins in proptest::collection::vec((0..6_usize, 0..6_usize, any::<bool>()), 0..5),
        shuffled in Just((0..6_usize).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let root = TempDir::new().unwrap();
        write(root.path(), &references);
        let verdict = |pin: bool| if pin { Verdict::Pin } else { Verdict::Reject };
        let words: Vec<_> = pins.iter().map(|(b, a, p)| word(&format!("m{b}"), &format!("m{a}"), verdict(*p))).collect();
        let folders = read_directory(root.path()).unwrap();
        let found = order(&folders, &words, &Options::default());
        let mut seen = std::collections::BTreeSet::new();
        for entry in &found.plan {
            prop_assert!(entry.after.iter().all(|before| seen.contains(before)), "{:?}", found.plan);
            seen.insert(entry.machine.clone());
        }
        prop_assert_eq!(seen.len(), 6);
        for edge in &found.edges {
            let entry = found.plan.iter().find(|p| p.machine == edge.after).unwrap();
            prop_assert!(entry.after.contains(&edge.before));
        }
        let other: Vec<_> = shuffled.iter().map(|at| folders[*at].clone()).collect();
        let mut backwards = words.clone();
        backwards.reverse();
        prop_assert_eq!(order(&other, &backwards, &Options::default()), found);
    }
}
