//! Faults: each is seen to hurt, and to be over afterwards.

use std::time::{Duration, Instant};

use lifeboat_tests::bed::{Bed, Damage, Direction, Host, Protocol, Site};
use lifeboat_tests::eventually;

use crate::services::SOON;

/// What `timeout` says when time is over.
const TIMED_OUT: Option<i32> = Some(124);
const SECOND: Duration = Duration::from_secs(1);

fn connect(host: &Host<'_>, address: &str, port: u16) -> Option<i32> {
    let words = format!("timeout 2 bash -c '</dev/tcp/{address}/{port}'");
    host.ask(&["bash", "-c", &words]).status.code()
}

pub fn a_black_hole_swallows_everything(bed: &Bed) {
    let (centre, inside, mail) = (bed.host("centre"), bed.host("dc-a"), "10.61.1.20");
    assert_eq!(connect(&centre, mail, 25), Some(0));
    bed.cut(Site::A, Direction::Both);
    // No answer at all, not even a refusal: that is what costs time-outs.
    assert_eq!(connect(&centre, mail, 25), TIMED_OUT);
    assert_eq!(connect(&centre, mail, 9), TIMED_OUT);
    assert_eq!(connect(&inside, "10.62.1.10", 389), TIMED_OUT);
    // The controls: the site lives inside, and the others see each other.
    assert_eq!(connect(&inside, mail, 25), Some(0));
    assert_eq!(connect(&centre, "10.62.1.10", 389), Some(0));
    bed.heal(Site::A);
    assert_eq!(connect(&centre, mail, 25), Some(0));
    // A stopped service refuses at once.
    assert_eq!(connect(&centre, mail, 9), Some(1));
}

pub fn a_line_can_fail_one_way(bed: &Bed) {
    let (centre, mail) = (bed.host("centre"), bed.host("mail-a"));
    // New packets of this kind that arrived at the mail host.
    let arrived = || -> u64 {
        let text = mail.read("/proc/1/net/snmp");
        let line = text.lines().rfind(|line| line.starts_with("Udp:")).unwrap();
        line.split(' ').nth(2).unwrap().parse().unwrap()
    };
    let send = || {
        let begin = arrived();
        let words = "for one in 1 2 3 4 5; do echo >/dev/udp/10.61.1.20/9; done";
        centre.run(&["bash", "-c", words]);
        arrived() - begin
    };
    bed.cut(Site::A, Direction::Out);
    assert_eq!(connect(&centre, "10.61.1.20", 25), TIMED_OUT);
    assert!(send() >= 5, "what goes to the site arrives");
    bed.cut(Site::A, Direction::In);
    assert_eq!(connect(&centre, "10.61.1.20", 25), TIMED_OUT);
    assert!(send() < 5, "what goes to the site vanishes");
    bed.heal(Site::A);
    assert!(send() >= 5);
}

pub fn a_narrow_line_is_slow(bed: &Bed) {
    let (from, to) = (bed.host("mail-a"), bed.host("mail-b"));
    let copy = || {
        to.shell("svc rsyncd status");
        let begin = Instant::now();
        from.shell(
            "head -c 200000 /dev/urandom >/root/bulk
             rsync --whole-file --ignore-times /root/bulk rsync://10.62.1.20/mail/.bulk",
        );
        begin.elapsed()
    };
    let wide = copy();
    bed.narrow(Site::A, 256);
    let narrow = copy();
    bed.widen(Site::A);
    let again = copy();
    to.shell("rm -f /srv/mail/.bulk");
    // 200,000 bytes at 256 kbit a second.
    assert!(narrow > Duration::from_secs(5), "{narrow:?}");
    assert!(
        wide < narrow / 2 && again < narrow / 2,
        "{wide:?} {narrow:?} {again:?}"
    );
}

pub fn a_slow_directory_slows_log_ins(bed: &Bed) {
    let mail = bed.host("mail-a");
    let directory = bed.host("dc-a");
    let ask = || {
        let begin = Instant::now();
        mail.run(&[
            "dig",
            "+tries=1",
            "+time=9",
            "@10.61.1.10",
            "mail.ad.bed.example",
        ]);
        begin.elapsed()
    };
    let quick = || eventually("a quick answer", SOON, || (ask() < SECOND).then_some(()));
    quick();
    let slowed = directory.slow(0.95);
    eventually("a slow answer", SOON, || (ask() > SECOND).then_some(()));
    drop(slowed);
    for _ in 0..3 {
        quick();
    }
    directory.pause();
    let asked = mail.ask(&[
        "dig",
        "+tries=1",
        "+time=2",
        "@10.61.1.10",
        "mail.ad.bed.example",
    ]);
    directory.resume();
    assert!(!asked.status.success());
    mail.run(&["wbinfo", "--ping-dc"]);
}

pub fn one_name_server_is_enough(bed: &Bed) {
    let sender = bed.sender();
    bed.host("ns1").kill();
    assert!(bed.name_server(2).point("web", "192.0.2.7").is_ok());
    sender.send(20);
    sender.count().expect_whole();
    bed.host("ns1").start();
    bed.name_server(1).point("web", "192.0.2.7").unwrap();
}

pub fn a_store_breaks_in_four_ways(bed: &Bed) {
    let (host, peer) = bed.mail_hosts();
    let sender = bed.sender();
    let all = sender.count();
    all.expect_whole();
    crate::services::mail_is_copied_to_the_other_site(bed);
    // Nothing may be copied while the store is broken.
    host.shell("svc lsyncd stop; svc postfix stop; svc dovecot stop; store umount");

    host.damage(Damage::Superblock);
    assert!(!host.ask(&["store", "mount"]).status.success());
    host.shell("e2fsck -fy /dev/store >/dev/null || [ $? -lt 4 ]; store mount; svc dovecot start");
    sender.count().expect_whole();

    host.damage(Damage::Locks);
    // Whoever has to give a new message its number waits for the lock.
    host.shell("cd /srv/mail/user01/Maildir/new; echo Subject: late >late; chown vmail: late");
    let begin = Instant::now();
    assert!(sender.log_in(Protocol::Imap, "user01").is_err());
    assert!(begin.elapsed() > Duration::from_secs(1), "it hangs");
    host.shell("svc dovecot stop; find /srv/mail -name '*.lock' -delete; svc dovecot start");
    assert!(sender.log_in(Protocol::Imap, "user01").is_ok());
    sender.count().expect_whole();

    host.damage(Damage::Indexes);
    host.shell("for one in 01 02 03; do doveadm force-resync -u user$one INBOX; done");
    sender.count().expect_whole();

    host.shell("svc dovecot stop");
    assert!(messages_in(&host) >= all.accepted);
    host.shell("store umount");
    host.damage(Damage::Directories);
    host.shell("fsck -p /dev/store; store mount");
    assert_eq!(messages_in(&host), 0, "checked, mounted, and all gone");
    host.shell("store umount; e2fsck -fy /dev/store >/dev/null || [ $? -lt 4 ]; store mount");
    refill(&host, &peer);
    host.shell("svc dovecot start; svc postfix start; svc lsyncd start");
    eventually("a log-in", SOON, || {
        sender.log_in(Protocol::Imap, "user01").ok()
    });
    sender.count().expect_whole();
}

/// Files of messages in a host's store, as far as its folders can be read.
fn messages_in(host: &Host<'_>) -> u64 {
    let list = "find /srv/mail -path '*/Maildir/*/*' -name '*.mail,*' 2>/dev/null | wc -l";
    host.shell(list).trim().parse().unwrap()
}

/// From the other site's copy: what hard recovery could not save.
fn refill(host: &Host<'_>, peer: &Host<'_>) {
    host.shell("svc rsyncd start");
    peer.run(&["replicate-once"]);
    host.shell("svc rsyncd stop");
}
