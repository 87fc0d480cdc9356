//! Settings whose meaning is known better than "host": by the file they stand in and their name.

use super::{Weight, host_and_port, is_host_like, url_parts};
use crate::order::Kind;
use crate::services;

/// What a setting means when it names a host.
pub(super) struct Setting {
    /// Part of the path of the file; "" for any.
    file: &'static str,
    /// Ends of the name, in lower case, with `_` and `-` alike.
    key: &'static str,
    service: &'static str,
    kind: Option<Kind>,
    weight: Weight,
}

const fn normal(file: &'static str, key: &'static str, service: &'static str) -> Setting {
    Setting {
        file,
        key,
        service,
        kind: None,
        weight: Weight::Normal,
    }
}

/// A follower starts without its leader and connects when it is there.
const fn follower(file: &'static str, key: &'static str, service: &'static str) -> Setting {
    Setting {
        file,
        key,
        service,
        kind: Some(Kind::Soft),
        weight: Weight::Normal,
    }
}

/// Members of a cluster start in any order.
const fn peer(file: &'static str, key: &'static str, service: &'static str) -> Setting {
    Setting {
        file,
        key,
        service,
        kind: Some(Kind::Soft),
        weight: Weight::Weak,
    }
}

const SETTINGS: &[Setting] = &[
    follower("", "primary_conninfo", "postgresql"),
    follower("mysql", "master_host", "mysql"),
    follower("my.cnf", "master_host", "mysql"),
    follower("redis", "replicaof", "redis"),
    follower("redis", "slaveof", "redis"),
    follower("valkey", "replicaof", "redis"),
    follower("slapd", "provider", "directory"),
    follower("nsd", "request_xfr", "dns"),
    peer("", "statsd_host", "monitoring"),
    peer("", "graphite_host", "monitoring"),
    peer("", "sentry_dsn", "monitoring"),
    peer("", "jaeger_agent_host", "monitoring"),
    peer("", "jaeger_endpoint", "monitoring"),
    peer("", "otel_exporter_otlp_endpoint", "monitoring"),
    peer("", "zipkin.base_url", "monitoring"),
    peer("", "syslog_host", "syslog"),
    peer("", "syslog_address", "syslog"),
    peer("", "gelf_address", "syslog"),
    peer("", "logstash_host", "syslog"),
    peer("", "log_host", "syslog"),
    peer("docker", "registry_mirrors", "registry"),
    peer("", "http_proxy", "webcache"),
    peer("", "https_proxy", "webcache"),
    peer("", "wsrep_cluster_address", "mysql"),
    peer("", "discovery.seed_hosts", "elasticsearch"),
    peer("", "discovery.zen.ping.unicast.hosts", "elasticsearch"),
    peer("", "cluster.initial_master_nodes", "elasticsearch"),
    peer("etcd", "initial_cluster", "etcd"),
    peer("consul", "retry_join", "consul"),
    peer("consul", "start_join", "consul"),
    peer("corosync", "ring0_addr", ""),
    peer("corosync", "ring1_addr", ""),
    peer("keepalived", "unicast_peer", ""),
    peer("rabbitmq", "classic_config.nodes", "amqp"),
    peer("zookeeper", "server.", "zookeeper"),
    peer("cassandra", "seeds", "cassandra"),
    peer("nats", "routes", "nats"),
    normal("", "bootstrap.servers", "kafka"),
    normal("", "bootstrap_servers", "kafka"),
    normal("", "kafka_brokers", "kafka"),
    normal("", "zookeeper.connect", "zookeeper"),
    normal("", "spring.redis.host", "redis"),
    normal("", "spring.data.redis.host", "redis"),
    normal("", "spring.rabbitmq.host", "amqp"),
    normal("", "spring.rabbitmq.addresses", "amqp"),
    normal("", "spring.mail.host", "smtp"),
    normal("", "spring.kafka.bootstrap_servers", "kafka"),
    normal("", "spring.elasticsearch.uris", "elasticsearch"),
    normal("", "elasticsearch.hosts", "elasticsearch"),
    normal("", "memcached_servers", "memcached"),
    normal("", "dbhost", DATABASE),
    normal("", "db_host", DATABASE),
    normal("", "database_host", DATABASE),
    normal("", "db_server", DATABASE),
    normal("bareos", "db_address", DATABASE),
    normal("", "pghost", "postgresql"),
    normal("", "mysql_host", "mysql"),
    normal("", "postgres_host", "postgresql"),
    normal("", "redis_host", "redis"),
    normal("", "mail_host", "smtp"),
    normal("", "smtp_host", "smtp"),
    normal("", "email_host", "smtp"),
    normal("", "ldap_host", "directory"),
    normal("", "relayhost", "smtp"),
    normal("", "mailhub", "smtp"),
    normal("", "smarthost", "smtp"),
    normal("samba", "password server", "directory"),
    normal("samba", "wins server", "wins"),
    normal("samba", "realm", "directory"),
    normal("dhcp_relay", "servers", "dhcp"),
    normal("dhcp-relay", "servers", "dhcp"),
    normal("ceph", "mon_host", "ceph"),
    normal("ceph", "mon host", "ceph"),
    normal("glusterfs", "volfile_server", "gluster"),
    normal("", "memcached_pass", "memcached"),
    normal("", "uwsgi_pass", ""),
    normal("", "grpc_pass", ""),
    normal("vault", "vault_addr", "vault"),
    normal("k8s", "server", "kubernetes"),
    normal("kubernetes", "server", "kubernetes"),
    normal("rancher", "server", "kubernetes"),
];

/// Programs that watch, collect or copy: they run on without their server.
const WEAK: &[(&str, &str)] = &[
    ("etc/bareos", "backup"),
    ("etc/bacula", "backup"),
    ("etc/amanda", "backup"),
    ("etc/borgmatic", "backup"),
    ("etc/restic", "backup"),
    ("etc/urbackup", "backup"),
    ("etc/burp", "backup"),
    ("etc/duplicity", "backup"),
    ("etc/zabbix", "monitoring"),
    ("etc/nagios", "monitoring"),
    ("etc/icinga", "monitoring"),
    ("etc/check_mk", "monitoring"),
    ("etc/check-mk", "monitoring"),
    ("etc/prometheus", "monitoring"),
    ("etc/grafana", "monitoring"),
    ("etc/alertmanager", "monitoring"),
    ("etc/collectd", "monitoring"),
    ("etc/telegraf", "monitoring"),
    ("etc/munin", "monitoring"),
    ("etc/netdata", "monitoring"),
    ("etc/snmp", "monitoring"),
    ("etc/sensu", "monitoring"),
    ("etc/datadog", "monitoring"),
    ("etc/monit", "monitoring"),
    ("etc/wazuh", "monitoring"),
    ("etc/ossec", "monitoring"),
    ("etc/default/prometheus", "monitoring"),
    ("etc/rsyslog", "syslog"),
    ("etc/syslog-ng", "syslog"),
    ("etc/syslog.conf", "syslog"),
    ("etc/systemd/journal-upload", "syslog"),
    ("etc/systemd/journal-remote", "syslog"),
    ("etc/filebeat", "syslog"),
    ("etc/metricbeat", "syslog"),
    ("etc/auditbeat", "syslog"),
    ("etc/promtail", "syslog"),
    ("etc/fluent", "syslog"),
    ("etc/td-agent", "syslog"),
    ("etc/vector", "syslog"),
    ("etc/audisp", "syslog"),
    ("etc/audit/", "syslog"),
    ("etc/puppet", "configuration"),
    ("etc/salt", "configuration"),
    ("etc/chef", "configuration"),
    ("etc/cfengine", "configuration"),
    ("etc/ansible", "configuration"),
    ("etc/unattended", "update"),
    ("etc/cron", ""),
    ("etc/logrotate", ""),
    ("etc/keepalived", ""),
    ("etc/corosync", ""),
    ("etc/ha.d", ""),
    ("etc/fail2ban", ""),
    ("etc/hosts.", ""),
];

/// Servers among them keep their own data in a database, and fail without it.
const WITH_DATABASE: &[&str] = &[
    "etc/grafana",
    "etc/zabbix/zabbix_server",
    "etc/zabbix/zabbix_proxy",
    "etc/zabbix/web",
    "etc/icinga2/features-enabled/ido",
    "etc/icingadb",
    "etc/icingaweb2",
    "etc/bareos/bareos-dir",
    "etc/bacula/bacula-dir",
    "etc/puppetlabs/puppetdb",
];

/// Whether a service that such a file names is the program's own database, directory or mail.
pub(super) fn is_own_need(file: &str, service: Option<&str>) -> bool {
    let is_needed = service.is_some_and(|key| {
        let known = services::by_key(key);
        matches!(key, DATABASE | "directory" | "smtp")
            || known.is_some_and(|known| known.needed == Kind::Hard && known.rank == DATABASE_RANK)
    });
    is_needed && WITH_DATABASE.iter().any(|prefix| file.starts_with(prefix))
}

/// "Some SQL database", until the rest of the file says which.
pub(super) const DATABASE: &str = "database";
const DATABASE_RANK: u32 = 4;

/// Which database a file means by the other words in it.
pub(super) fn database_of(text: &str) -> Option<&'static str> {
    let text = text.to_ascii_lowercase();
    let holds = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let postgres = holds(&["postgres", "pgsql", "5432"]);
    let mysql = holds(&["mysql", "mariadb", "3306"]);
    match (postgres, mysql) {
        (true, false) => Some("postgresql"),
        (false, true) => Some("mysql"),
        _ => None,
    }
}

/// The role that a watching program's server plays, when the file belongs to one.
pub(super) fn weak_role(file: &str) -> Option<&'static str> {
    let found = WEAK.iter().find(|(prefix, _)| file.starts_with(prefix));
    found.map(|(_, service)| *service)
}

pub(super) struct Known {
    pub host: String,
    pub port: Option<u16>,
    pub service: Option<String>,
    pub kind: Option<Kind>,
    pub weight: Weight,
}

/// The hosts of a line whose setting is in the table; `None` when it is not.
pub(super) fn known(file: &str, line: &str, list_key: Option<&str>) -> Option<Vec<Known>> {
    let (key, value) = split(line, list_key);
    if key.len() > 100 || value.is_empty() {
        return None;
    }
    let key = key.to_ascii_lowercase().replace('-', "_");
    let file = file.to_ascii_lowercase();
    let setting = SETTINGS
        .iter()
        .find(|setting| file.contains(setting.file) && names(&key, setting.key))?;
    let hosts = hosts(value).into_iter().map(|(scheme, host, port)| Known {
        host: host.to_owned(),
        port,
        service: match setting.service {
            "" => services::by_scheme(scheme).map(|s| s.key.clone()),
            service => Some(service.to_owned()),
        },
        kind: setting.kind,
        weight: setting.weight,
    });
    Some(hosts.take(50).collect())
}

fn names(key: &str, setting: &str) -> bool {
    if let Some(prefix) = setting.strip_suffix('.') {
        let rest = key
            .strip_prefix(prefix)
            .and_then(|rest| rest.strip_prefix('.'));
        return rest.is_some_and(|number| number.parse::<u16>().is_ok());
    }
    // "nodes.1" is a member of the list "nodes".
    let key = key.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    key.strip_suffix(setting)
        .is_some_and(|rest| !rest.ends_with(|c: char| c.is_ascii_alphanumeric()))
}

/// Name and value of "name = value", "name: value", "name value", `define('NAME', 'value')`.
fn split<'a>(line: &'a str, list_key: Option<&'a str>) -> (&'a str, &'a str) {
    if let (Some(key), Some(item)) = (list_key, line.strip_prefix("- ")) {
        return (key, item.trim());
    }
    let line = line.trim_start_matches("- ");
    for prefix in ["export ", "Environment=", "define(", "set ", "--", "env "] {
        if let Some(rest) = line.strip_prefix(prefix) {
            return split(rest.trim_start_matches(['"', '\'', ' ']), None);
        }
    }
    let at = line
        .find(['=', ':', ','])
        .or_else(|| line.find([' ', '\t']));
    let Some(at) = at else { return (line, "") };
    let spaced = line[..at].trim_end_matches(['"', '\'', ' ', '\t']);
    let value = line[at..].trim_start_matches(['=', ':', ',', '>', ' ', '\t']);
    // "replicaof 10.0.0.5 6379" has its first colon or comma, if any, in the value.
    match spaced.split_once([' ', '\t']) {
        Some((key, _)) if !spaced.ends_with("server") && !spaced.ends_with("host") => (
            key,
            line[key.len()..].trim_start_matches([' ', '\t', '=', ':']),
        ),
        _ => (spaced.trim_start_matches(['"', '\'', '$', '[']), value),
    }
}

/// Hosts in a value: a URL with one or several, or a list of names with ports.
fn hosts(value: &str) -> Vec<(&str, &str, Option<u16>)> {
    if let Some(at) = value.find("host=").filter(|_| !value.contains("://")) {
        let rest = value[at + 5..].trim_start_matches(['\'', '"']);
        let list = rest.split([' ', '\'', '"']).next().unwrap_or("");
        return list
            .split(',')
            .filter(|h| is_host_like(h))
            .map(|h| ("", h, None))
            .collect();
    }
    let mut found = Vec::new();
    let mut scheme = "";
    let words = value.split([',', ' ', '\t', '"', '\'', ';', '[', ']', '(', ')']);
    for word in words.filter(|word| !word.is_empty()) {
        // "name=http://host:2380" of etcd.
        let word = match word.split_once('=') {
            Some((_, url)) if url.contains("://") => url,
            _ => word,
        };
        if let Some((its_scheme, host, port)) = url_parts(word) {
            scheme = its_scheme;
            found.push((scheme, host, port));
        } else {
            let word = word.split('/').next().unwrap_or(word);
            let word = word.rsplit('@').next().unwrap_or(word);
            let (host, port) = two_ports(word);
            let is_number = host.chars().all(|c| c.is_ascii_digit());
            if is_host_like(host) && !is_number {
                found.push((scheme, host, port));
            }
        }
    }
    found
}

/// "zk1:2888:3888" has two ports; an IPv6 address has more colons.
fn two_ports(word: &str) -> (&str, Option<u16>) {
    let mut parts = word.split(':');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(host), Some(port), Some(_), None) if !host.is_empty() => (host, port.parse().ok()),
        _ => host_and_port(word),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(file: &str, line: &str, expected: &[(&str, &str)]) {
        let found: Vec<_> = known(file, line, None)
            .unwrap_or_default()
            .into_iter()
            .map(|k| (k.host, k.service.unwrap_or_default()))
            .collect();
        let expected: Vec<_> = expected
            .iter()
            .map(|(h, s)| ((*h).to_owned(), (*s).to_owned()))
            .collect();
        assert_eq!(found, expected, "{file}: {line}");
    }

    #[test]
    fn lists_of_hosts_are_read_whole() {
        check(
            "etc/app.properties",
            "bootstrap.servers=k1:9092,k2:9092",
            &[("k1", "kafka"), ("k2", "kafka")],
        );
        check(
            "etc/kafka/server.properties",
            "zookeeper.connect=zk1:2181,zk2:2181/kafka",
            &[("zk1", "zookeeper"), ("zk2", "zookeeper")],
        );
        check(
            "etc/zookeeper/zoo.cfg",
            "server.1=zk1:2888:3888",
            &[("zk1", "zookeeper")],
        );
        check(
            "etc/redis/redis.conf",
            "replicaof data1 6379",
            &[("data1", "redis")],
        );
        check(
            "etc/redis/redis.conf",
            "replicaof 10.0.0.20 6379",
            &[("10.0.0.20", "redis")],
        );
        check(
            "etc/default/etcd",
            "ETCD_INITIAL_CLUSTER=\"a=http://e1:2380,b=http://e2:2380\"",
            &[("e1", "etcd"), ("e2", "etcd")],
        );
        check(
            "etc/mysql/conf.d/galera.cnf",
            "wsrep_cluster_address = gcomm://g1,g2",
            &[("g1", "mysql"), ("g2", "mysql")],
        );
        check(
            "etc/postgresql/15/main/postgresql.conf",
            "primary_conninfo = 'host=data1 port=5432 user=r'",
            &[("data1", "postgresql")],
        );
        check(
            "etc/samba/smb.conf",
            "password server = dir1, dir2",
            &[("dir1", "directory"), ("dir2", "directory")],
        );
        check(
            "etc/elasticsearch/elasticsearch.yml",
            "discovery.seed_hosts: [\"es1\", \"es2:9300\"]",
            &[("es1", "elasticsearch"), ("es2", "elasticsearch")],
        );
        check(
            "etc/rabbitmq/rabbitmq.conf",
            "cluster_formation.classic_config.nodes.1 = rabbit@q1",
            &[("q1", "amqp")],
        );
        check("srv/app/.env", "REDIS_HOST=cache1", &[("cache1", "redis")]);
        check(
            "etc/app.conf",
            "define('MAIL_HOST', 'mail1');",
            &[("mail1", "smtp")],
        );
    }

    proptest::proptest! {
        #[test]
        fn hostile_settings_never_panic(line in "(bootstrap.servers|replicaof|host=|://|[=:, '\"@\\[\\]]|é|[a-z0-9.]{1,9}){0,30}") {
            let _ = known("etc/redis/x", &line, Some("seeds"));
        }
    }
}
