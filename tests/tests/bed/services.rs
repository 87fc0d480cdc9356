//! What runs in the bed.

use std::time::Duration;

use lifeboat_tests::bed::{Bed, PASSWORD, Protocol, Site};
use lifeboat_tests::eventually;

pub const SOON: Duration = Duration::from_secs(60);

pub fn numbered_mail_is_sent_and_read(bed: &Bed) {
    let sender = bed.sender();
    sender.send(60);
    let ledger = sender.count();
    ledger.expect_whole();
    assert_eq!((ledger.accepted, ledger.waiting), (60, 0));
    for protocol in [Protocol::Imap, Protocol::Pop3] {
        assert_eq!(sender.log_in(protocol, "user01"), Ok(3));
        assert!(sender.log_in(protocol, "nobody").is_err());
    }
    assert!(sender.log_in(Protocol::Smtp, "user01").is_ok());
    assert!(sender.log_in(Protocol::Smtp, "nobody").is_err());
}

pub fn the_ledger_sees_what_is_lost_and_doubled(bed: &Bed) {
    let (serving, _) = bed.mail_hosts();
    let sender = bed.sender();
    serving.shell(
        "cd /srv/mail/user02/Maildir; set -- $(find cur new -type f); mv $1 /root/lost;
         cp -p $2 cur/$(date +%s).copy.mail:2,; sed 's/message/massage/' $3 >/root/changed
         cp -p $3 /root/whole; cat /root/changed >$3; echo $1 >/root/lost.name; echo $3 >/root/whole.name
         chown vmail: cur/*.copy.mail:2,",
    );
    let ledger = sender.count_at(&serving.address());
    serving.shell(
        "cd /srv/mail/user02/Maildir; rm cur/*.copy.mail:2,
         mv /root/lost $(cat /root/lost.name); cat /root/whole >$(cat /root/whole.name)",
    );
    let counts = [
        ledger.lost.len(),
        ledger.doubled.len(),
        ledger.damaged.len(),
    ];
    assert_eq!(counts, [1, 1, 1], "{ledger:?}");
    sender.count().expect_whole();
}

pub fn mail_is_copied_to_the_other_site(bed: &Bed) {
    let (serving, standby) = bed.mail_hosts();
    let list = "cd /srv/mail && find . -path '*/Maildir/cur/*' -o -path '*/Maildir/new/*' | sort";
    let there = serving.shell(list);
    assert!(!there.is_empty());
    eventually("the copy of all mail", SOON, || {
        (standby.shell(list) == serving.shell(list)).then_some(())
    });
}

pub fn the_directory_replicates(bed: &Bed) {
    let (a, b) = (bed.directory(Site::A), bed.directory(Site::B));
    assert!(a.knows("user01") && b.knows("user01"));
    a.create_user("latecomer");
    assert!(!b.knows("nobody-at-all"));
    b.replicate_from(&a);
    assert!(b.knows("latecomer"));
    for server in [&a, &b] {
        assert!(server.knows("MAIL$") && server.knows("MAILTMP$"));
        assert_eq!(server.addresses("mail"), ["10.61.1.20"]);
        assert_eq!(server.addresses("mailtmp"), ["10.62.1.20"]);
        server
            .host
            .run(&["samba-tool", "drs", "showrepl", "--summary"]);
    }
}

pub fn names_change_only_with_the_key(bed: &Bed) {
    for number in [1, 2] {
        let server = bed.name_server(number);
        let refused = server.point_without_key("web", "192.0.2.1").unwrap_err();
        assert!(refused.0.contains("REFUSED"), "{refused:?}");
        assert!(server.addresses("web").is_empty());
        server.point("web", "192.0.2.1").unwrap();
        assert_eq!(server.addresses("web"), ["192.0.2.1"]);
        server.point("web", "192.0.2.2").unwrap();
        assert_eq!(server.addresses("web"), ["192.0.2.2"]);
    }
}

pub fn the_database_follows(bed: &Bed) {
    let ask = |place: &str, address: &str, query: &str| {
        let url = format!("postgresql://app:{PASSWORD}@{address}/postgres");
        bed.host(place).ask(&["psql", "-Atc", query, &url])
    };
    let (primary, standby) = ("10.61.1.30", "10.62.1.30");
    let insert = "INSERT INTO ledger SELECT generate_series(1, 500)";
    assert!(ask("centre", primary, insert).status.success());
    eventually("500 rows at the standby", SOON, || {
        (ask("centre", standby, "SELECT count(*) FROM ledger").stdout == "500").then_some(())
    });
    let said = ask("centre", standby, "INSERT INTO ledger VALUES (501)");
    assert!(said.stderr.contains("read-only"), "{said:?}");
}

pub fn mail_is_switched_over_and_back_by_hand(bed: &Bed) {
    let place = |bed: &Bed| bed.mail_hosts().0.place().to_owned();
    let before = place(bed);
    for back in [false, true] {
        let (total, outage) = bed.switch_over_by_hand();
        eprintln!(
            "    | switched in {:.2} s, without IMAP for {:.2} s",
            total.as_secs_f64(),
            outage.as_secs_f64()
        );
        assert_eq!(place(bed) == before, back);
        // Whoever looked for mail found none for a while: else nothing was measured.
        assert!(outage > Duration::from_millis(500));
        bed.sender().count().expect_whole();
    }
}
