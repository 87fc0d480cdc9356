//! What configuration and names of whole sites must lead to, and what must not mislead.
#![expect(clippy::unwrap_used, reason = "a test stops where its set-up fails")]

mod written_site;

use lifeboat_bootorder::{Kind, Options, Order, order, read_directory};
use written_site::Site;

impl Site {
    fn runs(self, machine: &str, unit: &str) -> Self {
        let link = format!("etc/systemd/system/multi-user.target.wants/{unit}.service");
        self.file(machine, &link, "")
    }

    fn order(&self) -> Order {
        order(
            &read_directory(self.0.path()).unwrap(),
            &[],
            &Options::default(),
        )
    }
}

fn edges(order: &Order) -> Vec<(&str, &str)> {
    order
        .edges
        .iter()
        .map(|e| (e.before.as_str(), e.after.as_str()))
        .collect()
}

fn warns(order: &Order, text: &str) -> bool {
    order.warnings.iter().any(|warning| warning.contains(text))
}

/// A database server, and a machine that names it in its settings as given.
fn two(target: &str) -> Site {
    Site::new()
        .machine("data1", "10.0.0.20")
        .runs("data1", "postgresql")
        .machine("web1", "10.0.0.30")
        .file(
            "web1",
            "etc/app/app.conf",
            &format!("url = postgres://{target}/x\n"),
        )
}

const ZONE: &str = "@ IN SOA dir1 root (1 2 3 4 5)\ndata1 A 10.0.0.20\ndb CNAME data1\n";

#[test]
fn names_of_every_kind_lead_to_their_machine() {
    for target in [
        "data1",
        "DATA1",
        "10.0.0.20",
        "data1.site.example",
        "db",
        "db.site.example",
    ] {
        let site = two(target)
            .machine("dir1", "10.0.0.10")
            .file("dir1", "etc/bind/db.site.example", ZONE)
            .file("web1", "etc/resolv.conf", "search site.example\n");
        assert!(
            edges(&site.order()).contains(&("data1", "web1")),
            "{target}: {:?}",
            site.order().warnings
        );
    }
    for target in ["data2", "data1.example.com", "10.0.0.99", "db"] {
        assert_eq!(edges(&two(target).order()), [], "{target}");
    }
}

#[test]
fn addresses_by_dhcp_are_known_by_reservation_zone_lease_and_log() {
    let without_address = || {
        Site::new()
            .file("data1", "etc/hostname", "data1\n")
            .runs("data1", "postgresql")
            .machine("dir1", "10.0.0.10")
            .machine("web1", "10.0.0.30")
            .file("web1", "etc/app/app.conf", "url = postgres://10.0.0.20/x\n")
    };
    assert_eq!(edges(&without_address().order()), []);
    let log = "2026-03-01T00:00:01Z data1 kernel: Linux version 6.1\n2026-03-01T00:00:05Z data1 dhclient[1]: bound to 10.0.0.20 -- renewal in 300 seconds.\n";
    for (machine, file, text) in [
        (
            "dir1",
            "etc/dhcp/dhcpd.conf",
            "host data1 { fixed-address 10.0.0.20; }\n",
        ),
        (
            "dir1",
            "etc/dnsmasq.conf",
            "dhcp-host=52:54:00:00:00:01,data1,10.0.0.20\n",
        ),
        ("dir1", "etc/bind/db.site.example", ZONE),
        (
            "data1",
            "var/lib/dhcp/dhclient.eth0.leases",
            "lease {\n  fixed-address 10.0.0.20;\n}\n",
        ),
        ("data1", "var/log/syslog", log),
    ] {
        let site = without_address().file(machine, file, text);
        assert!(edges(&site.order()).contains(&("data1", "web1")), "{file}");
    }
}

#[test]
fn a_machine_s_own_word_about_its_address_wins() {
    let order = two("data1")
        .machine("web2", "10.0.0.31")
        .file("web1", "etc/hosts", "10.0.0.31 data1\n")
        .order();
    assert_eq!(edges(&order), [("data1", "web1")]);
    assert!(
        warns(
            &order,
            "etc/hosts of web1 gives data1 the address 10.0.0.31"
        ),
        "{:?}",
        order.warnings
    );
}

#[test]
fn a_hosts_file_counts_for_its_own_machine() {
    let site = two("store")
        .machine("data2", "10.0.0.21")
        .runs("data2", "postgresql")
        .machine("web2", "10.0.0.31")
        .file("web2", "etc/app/app.conf", "url = postgres://store/x\n")
        .file("web1", "etc/hosts", "10.0.0.20 store\n")
        .file("web2", "etc/hosts", "10.0.0.21 store\n");
    let order = site.order();
    assert_eq!(edges(&order), [("data1", "web1"), ("data2", "web2")]);
}

#[test]
fn names_and_addresses_of_two_machines_lead_nowhere() {
    let order = two("twin")
        .file("data1", "etc/hosts", "127.0.1.1 twin data1\n")
        .machine("web2", "10.0.0.31")
        .file("web2", "etc/hosts", "127.0.1.1 twin web2\n")
        .order();
    assert_eq!(edges(&order), []);
    assert!(warns(&order, "the name twin belongs to several machines"));
    let order = two("10.0.0.20").machine("copy", "10.0.0.20").order();
    assert_eq!(edges(&order), []);
    assert!(warns(
        &order,
        "the address 10.0.0.20 belongs to several machines"
    ));
}

#[test]
fn a_log_server_is_not_who_logs_to_it() {
    let line = |host: &str| format!("2026-03-01T00:00:01Z {host} kernel: Linux version 6.1\n");
    let order = two("data1")
        .machine("log1", "10.0.0.60")
        .file("log1", "var/log/syslog", &(line("log1") + &line("data1")))
        .order();
    assert_eq!(edges(&order), [("data1", "web1")]);
    assert!(!warns(&order, "belongs to several"), "{:?}", order.warnings);
}

#[test]
fn containers_talk_to_each_other_first() {
    let compose = "services:\n  app:\n    environment:\n      URL: postgres://data1/x\n  data1:\n    image: postgres\n";
    let site = |project: &str| {
        Site::new()
            .machine("data1", "10.0.0.20")
            .runs("data1", "postgresql")
            .machine("web1", "10.0.0.30")
            .file("web1", "srv/app/compose.yml", project)
            .file("web1", "srv/app/.env", "DATABASE_URL=postgres://data1/x\n")
    };
    assert_eq!(edges(&site(compose).order()), []);
    assert_eq!(
        edges(&site("services:\n  app:\n    image: x\n").order()),
        [("data1", "web1")]
    );
}

#[test]
fn a_domain_leads_to_who_holds_its_directory() {
    let order = Site::new()
        .machine("dir1", "10.0.0.10")
        .file("dir1", "etc/hosts", "127.0.1.1 dir1.site.example dir1\n")
        .runs("dir1", "samba-ad-dc")
        .machine("web1", "10.0.0.30")
        .file(
            "web1",
            "etc/sssd/sssd.conf",
            "[domain/x]\nad_domain = site.example\n",
        )
        .order();
    assert_eq!(edges(&order), [("dir1", "web1")]);
    assert_eq!(order.edges[0].kind, Kind::Soft);
}

#[test]
fn planted_words_make_no_edges() {
    for (file, text) in [
        ("etc/app/app.conf.bak", "url = postgres://data1/x\n"),
        ("etc/app/old/app.conf", "url = postgres://data1/x\n"),
        (
            "etc/nginx/sites-available/shop",
            "proxy_pass http://data1;\n",
        ),
        ("etc/app/app.conf", "# url = postgres://data1/x\n"),
        ("etc/app/app.php", "<?php\n/*\n$host = 'data1';\n*/\n"),
        ("etc/ssh/ssh_known_hosts", "data1 ssh-ed25519 AAAA\n"),
        ("etc/hosts", "10.0.0.20 data1\n"),
        ("etc/exports", "/srv data1(rw)\n"),
        ("etc/tgt/conf.d/a.conf", "initiator-address data1\n"),
        ("etc/app/app.conf", "allowed_hosts = data1\n"),
        (
            "etc/apt/sources.list",
            "deb http://data1/debian stable main\n",
        ),
        ("etc/bareos/bareos-dir.d/client/a.conf", "Address = data1\n"),
        (
            "etc/prometheus/prometheus.yml",
            "scrape_configs:\n - targets: ['data1:9187']\n",
        ),
    ] {
        let site = Site::new()
            .machine("data1", "10.0.0.20")
            .runs("data1", "postgresql")
            .machine("web1", "10.0.0.30")
            .runs("web1", "nginx")
            .file("web1", file, text);
        assert_eq!(edges(&site.order()), [], "{file}: {text}");
    }
}
