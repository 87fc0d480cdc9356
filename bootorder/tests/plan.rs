//! What is made of the edges: groups, the schedule, the prediction, what-if and explanations.
#![expect(clippy::unwrap_used, reason = "a test stops where its set-up fails")]

mod written_site;

use std::collections::BTreeSet;
use std::fs;

use lifeboat_bootorder::schedule::Need;
use lifeboat_bootorder::{
    Analysis, Fate, HostBudget, Kind, OperatorWord, Options, Order, Verdict, order, read_directory,
};
use proptest::prelude::*;
use written_site::Site;

impl Site {
    /// Boots at these seconds of a day, each ready after so many seconds.
    fn boots(self, machine: &str, unit: &str, boots: &[(u32, u32)]) -> Self {
        let stamp = |s: u32| {
            format!(
                "2026-03-01T{:02}:{:02}:{:02}Z",
                s / 3600,
                s / 60 % 60,
                s % 60
            )
        };
        let lines: String = boots
            .iter()
            .map(|(at, delay)| {
                format!(
                    "{} {machine} kernel: Linux version 6.1\n{} {machine} systemd[1]: Started {unit}.service - It.\n{} {machine} systemd[1]: Startup finished in 9s.\n",
                    stamp(*at),
                    stamp(at + delay),
                    stamp(at + delay + 1),
                )
            })
            .collect();
        self.file(machine, "var/log/syslog", &lines)
    }

    fn analysis(&self, words: &[OperatorWord]) -> Analysis {
        Analysis::new(
            &read_directory(self.0.path()).unwrap(),
            words,
            &Options::default(),
        )
    }

    fn order(&self) -> Order {
        self.analysis(&[]).into_order()
    }
}

fn word(before: &str, after: &str, verdict: Verdict) -> OperatorWord {
    OperatorWord {
        before: before.into(),
        after: after.into(),
        verdict,
    }
}

/// Two name servers that ask each other, storage that one of them mounts, and a client.
fn two_name_servers() -> Site {
    Site::new()
        .machine("dns1", "10.0.0.1")
        .file("dns1", "etc/resolv.conf", "nameserver 10.0.0.2\n")
        .boots("dns1", "named", &[(3600, 20), (7200, 24), (10_800, 22)])
        .machine("dns2", "10.0.0.2")
        .file("dns2", "etc/resolv.conf", "nameserver 10.0.0.1\n")
        .file("dns2", "etc/fstab", "nas:/zones /zones nfs defaults 0 0\n")
        .boots("dns2", "named", &[(3600, 30), (7200, 30)])
        .machine("nas", "10.0.0.3")
        .boots("nas", "nfs-server", &[(3600, 60), (7200, 90)])
        .machine("web", "10.0.0.4")
        .file("web", "etc/resolv.conf", "nameserver 10.0.0.2\n")
}

fn sequence(order: &Order) -> Vec<&str> {
    order
        .plan
        .iter()
        .map(|entry| entry.machine.as_str())
        .collect()
}

#[test]
fn replicas_start_together_after_what_any_of_them_needs() {
    let order = two_name_servers().order();
    assert_eq!(order.groups.len(), 1, "{order:#?}");
    assert_eq!(order.groups[0].members, ["dns1", "dns2"]);
    assert_eq!(order.groups[0].role, "DNS server");
    assert_eq!(order.groups[0].edges.len(), 2);
    assert!(order.given_up.is_empty(), "nothing is given up for a group");
    assert_eq!(sequence(&order), ["nas", "dns1", "dns2", "web"]);
    assert_eq!(
        order.plan[1].after,
        ["nas"],
        "dns1 waits for what dns2 needs"
    );
    assert_eq!(order.needs("dns1")["nas"], Need::Soft, "it can do without");
    assert_eq!(order.needs("dns2")["nas"], Need::Hard);
    let text = order.to_text();
    assert!(text.contains("dns1, dns2 start together"), "{text}");
}

#[test]
fn domain_controllers_name_each_other_in_different_roles() {
    let boot = "2026-03-01T01:00:00Z dc kernel: Linux version 6.1\n2026-03-01T01:00:20Z dc systemd[1]: Started named.service - It.\n2026-03-01T01:00:25Z dc systemd[1]: Started slapd.service - It.\n";
    let order = Site::new()
        .machine("dc1", "10.0.0.1")
        .file("dc1", "etc/resolv.conf", "nameserver 10.0.0.2\n")
        .file("dc1", "var/log/syslog", &boot.replace(" dc ", " dc1 "))
        .machine("dc2", "10.0.0.2")
        .file("dc2", "etc/nslcd.conf", "uri ldap://dc1/\n")
        .file("dc2", "var/log/syslog", &boot.replace(" dc ", " dc2 "))
        .order();
    assert_eq!(order.groups.len(), 1, "{order:#?}");
    assert_eq!(order.groups[0].role, "DNS server and Directory server");
    assert!(order.edges.is_empty() && order.given_up.is_empty());
}

#[test]
fn a_hard_need_of_another_kind_orders_peers_after_all() {
    let order = two_name_servers()
        .file("dns2", "etc/fstab", "dns1:/zones /zones nfs defaults 0 0\n")
        .order();
    assert!(order.groups.is_empty(), "{:#?}", order.groups);
    let place = |name: &str| sequence(&order).iter().position(|one| *one == name);
    assert!(place("dns1") < place("dns2"));
    assert_eq!(order.given_up[0].before, "dns2");
}

#[test]
fn the_operator_dissolves_a_group() {
    let site = two_name_servers();
    let pinned = site
        .analysis(&[word("dns1", "dns2", Verdict::Pin)])
        .into_order();
    assert!(pinned.groups.is_empty());
    assert_eq!(pinned.given_up.len(), 1);
    assert_eq!(pinned.operator.len(), 1);
    let rejected = site
        .analysis(&[word("dns1", "dns2", Verdict::Reject)])
        .into_order();
    assert!(rejected.groups.is_empty() && rejected.given_up.is_empty());
}

#[test]
fn delays_become_time_outs_and_a_prediction() {
    let order = two_name_servers().order();
    let nas = &order.ready["nas"];
    assert_eq!(
        (nas.boots, nas.fastest_s, nas.slowest_s, nas.timeout_s),
        (2, 60.0, 90.0, 180)
    );
    assert_eq!(order.ready["dns1"].timeout_s, 120, "the floor");
    let found = &order.prediction;
    assert_eq!(found.critical_path, ["nas", "dns2", "web"]);
    assert_eq!(
        (found.boots_used, found.assumed.as_slice()),
        (7, &["web".to_owned()][..])
    );
    let (low, rta, high) = (
        found.low_s.unwrap(),
        found.rta_s.unwrap(),
        found.high_s.unwrap(),
    );
    assert!(
        low < rta && rta < high && (90.0..180.0).contains(&rta),
        "{found:?}"
    );
    let one = HostBudget {
        parallel: Some(1),
        ..HostBudget::default()
    };
    assert!(
        order.predict(&one).rta_s.unwrap() > rta,
        "one after the other takes longer"
    );
}

#[test]
fn a_host_that_is_too_small_is_named() {
    let order = two_name_servers().order();
    let machine_mib = order
        .machines
        .iter()
        .map(|name| (name.clone(), 1000))
        .collect();
    let host = HostBudget {
        memory_mib: Some(2500),
        parallel: None,
        machine_mib,
    };
    let found = order.predict(&host);
    assert_eq!(found.rta_s, None);
    assert_eq!(found.never_started.len(), 2, "{found:?}");
}

#[test]
fn without_any_delay_the_prediction_is_unknown() {
    let order = Site::new()
        .machine("a", "10.0.0.1")
        .machine("b", "10.0.0.2")
        .order();
    assert_eq!(order.prediction.rta_s, None);
    assert!(order.prediction.critical_path.is_empty());
    assert!(order.to_text().contains("unknown"), "{}", order.to_text());
}

#[test]
fn without_a_machine_those_that_need_it_are_named() {
    let order = two_name_servers().order();
    let found = order.without("nas", &HostBudget::default()).unwrap();
    let names = |all: &[lifeboat_bootorder::Consequence]| -> Vec<String> {
        all.iter().map(|one| one.machine.clone()).collect()
    };
    assert_eq!(names(&found.fails), ["dns2"]);
    assert_eq!(names(&found.waits), ["web"], "it asks dns2 and retries");
    assert_eq!(found.unaffected, ["dns1"]);
    assert!(
        found
            .missing
            .iter()
            .any(|line| line.contains("used by dns2")),
        "{found:?}"
    );
    let dns1 = order.without("dns1", &HostBudget::default()).unwrap();
    assert_eq!(dns1.partners, ["dns2"]);
    assert!(order.without("nobody", &HostBudget::default()).is_none());
}

#[test]
fn only_a_machine_and_what_it_needs() {
    let order = two_name_servers().machine("idle", "10.0.0.9").order();
    let found = order.only("dns2", &HostBudget::default()).unwrap();
    assert_eq!(sequence(&found), ["nas", "dns1", "dns2"], "its partner too");
    assert!(found.prediction.assumed.is_empty(), "web is not part of it");
    assert_eq!(
        sequence(&order.only("nas", &HostBudget::default()).unwrap()),
        ["nas"]
    );
}

#[test]
fn explanations_say_why_and_why_not() {
    let site = two_name_servers()
        .machine("mail", "10.0.0.5")
        .file(
            "mail",
            "etc/x.conf",
            "host = web\nurl = postgres://db9.example/x\n",
        )
        .file("web", "etc/fstab", "mail:/m /m nfs defaults 0 0\n");
    let analysis = site.analysis(&[word("nas", "web", Verdict::Reject)]);
    let fate = |before: &str, after: &str| analysis.explain(before, after).unwrap().fate;
    assert_eq!(fate("nas", "dns2"), Fate::Edge);
    assert_eq!(fate("dns1", "dns2"), Fate::Group);
    assert_eq!(fate("nas", "web"), Fate::Rejected);
    assert_eq!(fate("web", "mail"), Fate::GivenUp);
    assert_eq!(fate("mail", "nas"), Fate::NoFact);
    assert!(analysis.explain("nas", "nobody").is_err());
    let why = analysis.explain("nas", "dns2").unwrap();
    assert_eq!(why.facts[0].evidence[0].file, "etc/fstab");
    assert!(why.to_text().contains("etc/fstab"), "{}", why.to_text());
    let circle = analysis.explain("web", "mail").unwrap().to_text();
    assert!(circle.contains("mail -> web"), "{circle}");
    let not = analysis.explain("nas", "mail").unwrap();
    assert!(
        not.nobody.iter().any(|name| name.contains("db9.example")),
        "{not:?}"
    );
}

fn write(site: &Site, references: &[(usize, usize, u8)]) {
    for machine in 0..7 {
        let etc = site.0.path().join(format!("m{machine}/etc"));
        fs::create_dir_all(&etc).unwrap();
        let interfaces = format!(
            "iface eth0 inet static\n  address 10.0.0.{}/24\n",
            machine + 1
        );
        fs::create_dir_all(etc.join("network")).unwrap();
        fs::write(etc.join("network/interfaces"), interfaces).unwrap();
        fs::write(etc.join("hostname"), format!("m{machine}\n")).unwrap();
        let own = references.iter().filter(|(from, _, _)| *from == machine);
        let lines = |wanted: u8, line: fn(usize) -> String| -> String {
            let own = own.clone().filter(|(_, _, kind)| *kind == wanted);
            own.map(|(_, to, _)| line(*to)).collect()
        };
        fs::write(
            etc.join("resolv.conf"),
            lines(0, |to| format!("nameserver 10.0.0.{}\n", to + 1)),
        )
        .unwrap();
        fs::write(
            etc.join("fstab"),
            lines(1, |to| format!("m{to}:/x /x{to} nfs defaults 0 0\n")),
        )
        .unwrap();
        fs::write(
            etc.join("app.conf"),
            lines(2, |to| format!("url = postgres://m{to}/x\n")),
        )
        .unwrap();
        // The first four are name servers, so that circles among them are groups.
        let unit = if machine < 4 { "named" } else { "nginx" };
        let boots = format!(
            "2026-03-01T01:00:00Z m{machine} kernel: Linux version 6.1\n2026-03-01T01:00:{:02}Z m{machine} systemd[1]: Started {unit}.service - It.\n",
            machine * 7 + 2
        );
        fs::create_dir_all(site.0.path().join(format!("m{machine}/var/log"))).unwrap();
        fs::write(
            site.0.path().join(format!("m{machine}/var/log/syslog")),
            boots,
        )
        .unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn plans_with_circles_groups_and_budgets_finish_and_respect_every_edge(
        references in proptest::collection::vec((0..7_usize, 0..7_usize, 0..3_u8), 0..24),
        mutual in proptest::collection::vec((0..4_usize, 0..4_usize), 0..4),
        pins in proptest::collection::vec((0..7_usize, 0..7_usize, any::<bool>()), 0..4),
        parallel in 1..4_usize,
        shuffled in Just((0..7_usize).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let site = Site::new();
        let mut references = references;
        references.extend(mutual.iter().flat_map(|(a, b)| [(*a, *b, 0), (*b, *a, 0)]));
        write(&site, &references);
        let verdict = |pin: bool| if pin { Verdict::Pin } else { Verdict::Reject };
        let words: Vec<OperatorWord> = pins
            .iter()
            .map(|(b, a, pin)| word(&format!("m{b}"), &format!("m{a}"), verdict(*pin)))
            .collect();
        let folders = read_directory(site.0.path()).unwrap();
        let found = order(&folders, &words, &Options::default());
        let mut seen = BTreeSet::new();
        for entry in &found.plan {
            let needs = found.needs(&entry.machine);
            prop_assert!(entry.after.iter().eq(needs.keys()), "{:?} {:?}", entry, needs);
            prop_assert!(needs.keys().all(|before| seen.contains(before)), "{:?}", found.plan);
            seen.insert(entry.machine.clone());
        }
        prop_assert_eq!(seen.len(), 7);
        let inside = found.groups.iter().flat_map(|group| &group.edges);
        prop_assert!(inside.clone().all(|edge| edge.kind == Kind::Soft), "no hard edge is lost in a group");
        for group in &found.groups {
            let together: BTreeSet<_> = group.members.iter().map(|m| found.needs(m).into_keys().collect::<Vec<_>>()).collect();
            prop_assert_eq!(together.len(), 1, "members wait for the same machines");
        }
        let budget = HostBudget { parallel: Some(parallel), ..HostBudget::default() };
        let prediction = found.predict(&budget);
        prop_assert!(prediction.never_started.is_empty() && prediction.rta_s.is_some());
        let unlimited = found.prediction.rta_s.unwrap();
        prop_assert!(prediction.rta_s.unwrap() > unlimited * 0.7, "{:?}", prediction);
        let other: Vec<_> = shuffled.iter().map(|at| folders[*at].clone()).collect();
        let mut backwards = words.clone();
        backwards.reverse();
        prop_assert_eq!(order(&other, &backwards, &Options::default()), found);
    }
}
