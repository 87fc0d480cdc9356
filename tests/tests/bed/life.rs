//! Start, end, restarts, and what is left.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use lifeboat_tests::bed::{Bed, script};
use lifeboat_tests::{processes, run_tool, seconds_on_this_host};

/// With hosts that were set up before; the first start of a recipe sets them up.
const START_S: u64 = 110;
const MEMORY_MIB: u64 = 1_500;

pub fn it_starts_soon_and_is_small(bed: &Bed) {
    let mut total = 0;
    for host in bed.hosts() {
        let kib = host.memory_kib();
        eprintln!("    | {:8} {:5} MiB", host.place(), kib / 1024);
        assert!(kib > 0, "{} has processes", host.place());
        total += kib;
    }
    eprintln!("    | {:8} {:5} MiB", "all", total / 1024);
    eprintln!("    | started in {:.1} s", bed.start.as_secs_f64());
    assert!(total < MEMORY_MIB * 1024);
    assert!(bed.start < Duration::from_secs(seconds_on_this_host(START_S)));
}

pub fn nothing_reaches_the_outside(bed: &Bed) {
    let router = format!("lb-{}-router", bed.id());
    let routes = run_tool(
        "ip",
        &["-n", &router, "-o", "route", "show", "table", "all"],
    );
    let routes = String::from_utf8_lossy(&routes.stdout).into_owned();
    assert!(!routes.contains("default"), "{routes}");
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let addresses = own_addresses();
    assert!(!addresses.is_empty());
    let connect =
        |address: &str, port: u16| format!("timeout 3 bash -c '</dev/tcp/{address}/{port}'");
    for address in &addresses {
        // The control: the listener is there, for those outside the bed.
        run_tool("bash", &["-c", &connect(address, port)]);
        for place in ["mta", "mail-a", "dc-b", "centre"] {
            let said = bed
                .host(place)
                .ask(&["bash", "-c", &connect(address, port)]);
            assert!(!said.status.success(), "{place} reached {address}");
        }
    }
    // And another: the same words reach another site.
    bed.host("mta")
        .run(&["bash", "-c", &connect("10.61.1.20", 25)]);
}

/// Addresses of this machine that somebody elsewhere could reach.
fn own_addresses() -> Vec<String> {
    let output = run_tool("ip", &["-4", "-o", "address", "show", "scope", "global"]);
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| {
            line.split_whitespace()
                .nth(3)?
                .split('/')
                .next()
                .map(str::to_owned)
        })
        .collect()
}

pub fn a_host_reboots_and_comes_back(bed: &Bed) {
    let host = bed.host("mail-a");
    let before = host.init();
    host.shell("touch /run/forgotten /etc/remembered; echo other >/etc/hostname");
    host.reboot();
    assert_ne!(host.init(), before);
    assert_eq!(host.run(&["hostname"]), "other");
    host.shell(
        "test ! -e /run/forgotten; test -e /etc/remembered; store status; svc dovecot status",
    );
    host.shell("echo mail >/etc/hostname; rm /etc/remembered");
    host.reboot();
}

pub fn a_power_cut_loses_what_was_not_written(bed: &Bed) {
    let host = bed.host("pg-b");
    let write = "rm -f /srv/pg/cached /srv/pg/synced; sync -f /srv/pg;
        echo text >/srv/pg/synced; sync /srv/pg/synced; echo text >/srv/pg/cached";
    host.shell(write);
    host.kill();
    assert!(!host.is_up());
    host.start();
    // The control: without the cut, both are there.
    host.shell("grep -q text /srv/pg/synced; grep -q text /srv/pg/cached");
    host.shell(write);
    host.cut_power();
    host.start();
    host.shell("grep -q text /srv/pg/synced; ! grep -qs text /srv/pg/cached");
    host.shell("svc postgres status");
}

pub fn beds_stand_side_by_side_and_orphans_go(bed: &Bed) {
    let mut owner = Command::new("sleep").arg("3600").spawn().unwrap();
    let output = Command::new(script("up"))
        .args(["--owner", &owner.id().to_string(), "postgresql"])
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success());
    let folder = String::from_utf8(output.stdout).unwrap();
    let id = folder.trim().rsplit('/').next().unwrap();
    assert_ne!(id, bed.id());
    assert!(
        !left_of(id).is_empty(),
        "the control: a bed leaves traces while it stands"
    );
    // As long as its owner lives, nobody else removes it.
    run_tool(&script("down").to_string_lossy(), &["--orphans"]);
    assert!(Path::new(folder.trim()).exists());
    owner.kill().unwrap();
    owner.wait().unwrap();
    run_tool(&script("down").to_string_lossy(), &["--orphans"]);
    expect_nothing_left(id);
    assert!(
        bed.host("pg-a")
            .service("postgres", "status")
            .status
            .success()
    );
}

#[track_caller]
pub fn expect_nothing_left(id: &str) {
    let left = left_of(id);
    assert!(left.is_empty(), "bed {id} left: {left:#?}");
}

fn left_of(id: &str) -> Vec<String> {
    let folder = format!("/lifeboat-bed/{id}");
    let mut left: Vec<String> = processes(&folder)
        .iter()
        .map(|one| one.command.clone())
        .collect();
    let tables = [
        "losetup --noheadings --output BACK-FILE",
        "ip netns list",
        "cat /proc/mounts",
    ];
    for table in tables {
        let words: Vec<&str> = table.split(' ').collect();
        let output = run_tool(words[0], &words[1..]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let of_bed = |line: &&str| line.contains(&folder) || line.contains(&format!("lb-{id}-"));
        left.extend(text.lines().filter(of_bed).map(str::to_owned));
    }
    let beds = std::env::var("LIFEBOAT_BEDS").unwrap_or("/var/tmp/lifeboat-bed".into());
    let own = Path::new(&beds).join(id);
    left.extend(own.exists().then(|| own.display().to_string()));
    left
}
