//! Configuration files of every kind; the first byte chooses the kind.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lifeboat_bootorder::survey_configuration;

const FILES: &[&str] = &[
    "etc/app/app.conf",
    "etc/fstab",
    "etc/auto.home",
    "etc/auto.master",
    "etc/resolv.conf",
    "etc/netplan/a.yaml",
    "etc/NetworkManager/system-connections/a.nmconnection",
    "etc/systemd/system/a.mount",
    "etc/sssd/sssd.conf",
    "etc/krb5.conf",
    "etc/chrony/chrony.conf",
    "etc/iscsi/nodes/a/b/default",
    "etc/default/grub",
    "etc/bind/named.conf",
    "etc/unbound/unbound.conf",
    "etc/dnsmasq.conf",
    "etc/postgresql/15/main/pg_hba.conf",
    "etc/redis/redis.conf",
    "etc/elasticsearch/elasticsearch.yml",
    "srv/app/docker-compose.yml",
    "var/lib/dhcp/dhclient.leases",
    "var/www/app/wp-config.php",
    "opt/tomcat/conf/server.xml",
];

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, text)) = bytes.split_first() else {
        return;
    };
    let file = FILES[usize::from(*kind) % FILES.len()];
    let text = String::from_utf8_lossy(text);
    let lines = text.lines().count();
    for (target, _, line) in survey_configuration(file, &text) {
        assert!(!target.is_empty() && line <= lines);
    }
});
