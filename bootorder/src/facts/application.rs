//! Application files: URLs, connection strings and `host =` lines, conservatively.
//!
//! Whether a word names a machine of the site is decided later; what does not is dropped then.

use std::sync::LazyLock;

use regex::Regex;

use super::comments::{is_comment, without_comments};
use super::settings::{self, Known};
use super::yaml::list_keys;
use super::{
    FactReader, MAX_LINE, Reference, Weight, host_and_port, is_host_like, url_parts,
    without_secrets,
};
use crate::event::printable;
use crate::services;

const MAX_A_FILE: usize = 200;
const NEIGHBOURS: usize = 6;

/// Files that list hosts without depending on them, or hold no configuration of applications.
const SKIPPED: &[&str] = &[
    "etc/hosts",
    "etc/hostname",
    "etc/bind/",
    "etc/named",
    "etc/dnsmasq",
    "etc/exports",
    "etc/ssl/",
    "etc/ssh/",
    "etc/alternatives/",
    "etc/apparmor",
    "etc/init.d/",
    "etc/services",
    "etc/protocols",
    "etc/selinux/",
    "etc/fonts/",
    "etc/X11/",
    "etc/ca-certificates",
    "etc/iptables",
    "etc/nftables",
    "etc/ufw/",
    "etc/firewalld/",
    "etc/dhcp/",
    "etc/ethers",
    "etc/networks",
    "etc/pam.d/",
    "etc/security/",
    "etc/shells",
    "etc/passwd",
    "etc/group",
    "etc/shadow",
    "etc/gshadow",
    "etc/dpkg/",
    "etc/apt/",
    "etc/yum.repos.d/",
    "etc/pki/",
    "etc/rc",
    "etc/grub.d/",
    "etc/kernel/",
    "etc/modprobe.d/",
    "etc/udev/",
    "etc/perl/",
    "etc/python",
    "etc/vim/",
    "etc/bash",
    "etc/profile",
    "etc/mailname",
    "etc/aliases",
    "etc/motd",
    "etc/issue",
    "etc/os-release",
    "etc/lsb-release",
    "etc/idmapd.conf",
    "etc/nsswitch.conf",
    "etc/host.conf",
    "etc/hosts.allow",
    "etc/hosts.deny",
    "etc/samba/smb.conf.example",
    "etc/postgresql-common/",
    "etc/nfs.conf",
    "etc/ld.so",
];

static KEY: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let names = "host|hostname|hostaddr|server|servers|hosts|uri|url|dsn|endpoint|upstream|relayhost|smarthost|mailhub|proxy_pass|fastcgi_pass|conninfo|backend|broker|brokers|address|addr|remote|target|master|primary|data source|datasource|(?:db|sql|mysql|pg|ldap|mail|smtp|redis|mq|imap) ?(?:host|server|address|addr)";
    let key = format!(
        r#"(?i)(?:^|[\s"'\[(;,?&:$.>_-])(?:[a-z0-9_.-]*[_.-])?(?:{names})["'\])]*\s*(?:=>|=|:|,|\s)\s*["'(\[]*([^\s"';,)\]]+)"#
    );
    Regex::new(&key).ok()
});

static DATABASE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"(?i)(?:\b|_)(?:db|sql|database)[ _.-]?(?:host|server|address|addr|url|uri|dsn)\b")
        .ok()
});

static PORT: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r#"(?i)port["'\])]*\s*(?:=>|=|:|,|\s)\s*["']?(\d{1,5})\b"#).ok());

pub(super) struct Application;

impl FactReader for Application {
    fn claims(&self, file: &str) -> bool {
        let text = [
            ".so",
            ".pem",
            ".crt",
            ".key",
            ".js",
            ".css",
            ".md",
            ".html",
            ".sh",
            ".service.in",
        ]
        .iter()
        .all(|end| !file.ends_with(end));
        let data = ["var/lib/", "var/cache/", "var/named/", "run/"]
            .iter()
            .any(|place| file.starts_with(place));
        let of_database = ["recovery.conf", "postgresql.auto.conf", "master.info"]
            .iter()
            .any(|name| file.ends_with(name));
        let unit = file.starts_with("etc/systemd/system/") && file.contains(".wants/");
        text && !unit
            && (!data || of_database)
            && !SKIPPED.iter().any(|skipped| file.starts_with(skipped))
    }

    fn read(&self, file: &str, text: &str, out: &mut Vec<Reference>) {
        if file.ends_with("master.info") {
            out.extend(replication_source(file, text));
            return;
        }
        let blanked = without_comments(file, text);
        let all: Vec<&str> = blanked.lines().collect();
        let keys = list_keys(&all);
        let before = out.len();
        for (at, line) in all.iter().enumerate() {
            let line = line.trim();
            if line.len() > MAX_LINE || is_comment(line) || out.len() - before >= MAX_A_FILE {
                continue;
            }
            let known = settings::known(file, line, keys[at]);
            let hosts = known.unwrap_or_else(|| hosts_of(file, line, keys[at]));
            out.extend(
                hosts
                    .into_iter()
                    .map(|found| resolve(file, &all, at, line, found)),
            );
        }
    }
}

const LIST_KEYS: &[&str] = &[
    "host",
    "hosts",
    "server",
    "servers",
    "nodes",
    "brokers",
    "endpoints",
    "urls",
    "addresses",
    "upstreams",
    "targets",
];

/// What one line names, by its form alone.
fn hosts_of(file: &str, line: &str, list_key: Option<&str>) -> Vec<Known> {
    if lists_clients(line) {
        return Vec::new();
    }
    let mut hosts = urls(line);
    if !hosts.is_empty() {
        return hosts;
    }
    let item = line
        .strip_prefix("- ")
        .filter(|_| list_key.is_some_and(is_list_of_hosts));
    if let Some(item) = item {
        return words_of_list(item).collect();
    }
    hosts = server_line(line).map_or_else(|| keyed(line), |found| vec![found]);
    hosts.extend(forwarded_logs(file, line));
    hosts.extend(transport(file, line));
    hosts
}

fn is_list_of_hosts(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    LIST_KEYS.iter().any(|name| key.ends_with(name)) && !lists_clients(&key)
}

fn words_of_list(list: &str) -> impl Iterator<Item = Known> {
    let words = list.split([',', ' ', '"', '\'']).take(50);
    words
        .filter(|word| is_host_like(word) && word.contains(|c: char| c.is_alphabetic() || c == '.'))
        .map(|word| {
            let (host, port) = host_and_port(word);
            by_form(host, port, None)
        })
}

fn by_form(host: &str, port: Option<u16>, service: Option<String>) -> Known {
    Known {
        host: host.to_owned(),
        port,
        service,
        kind: None,
        weight: Weight::Normal,
    }
}

/// "site.example smtp:[mail2]:25" of a transport map.
fn transport(file: &str, line: &str) -> Option<Known> {
    let (_, rest) = line
        .split_once("smtp:")
        .filter(|_| file.starts_with("etc/postfix/"))?;
    let (host, port) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, port)) => (host, port.trim_start_matches(':').parse().ok()),
        None => host_and_port(rest.split_whitespace().next()?),
    };
    is_host_like(host).then(|| by_form(host, port, Some("smtp".to_owned())))
}

/// The fourth line of a replica's `master.info` is its source.
fn replication_source(file: &str, text: &str) -> Option<Reference> {
    let host = text
        .lines()
        .nth(3)
        .map(str::trim)
        .filter(|host| is_host_like(host))?;
    let found = super::reference(file, (4, host), host, "mysql");
    Some(Reference {
        kind: Some(crate::order::Kind::Soft),
        ..found
    })
}

/// Lines that say who may come in name clients, not servers.
fn lists_clients(line: &str) -> bool {
    let lower = line.to_ascii_lowercase();
    [
        "allow",
        "deny",
        "permit",
        "trusted",
        "mynetworks",
        "acl ",
        "initiator",
    ]
    .iter()
    .any(|word| lower.contains(word))
}

/// "server NAME ADDRESS:PORT ..." of load balancers: the name is only theirs.
fn server_line(line: &str) -> Option<Known> {
    let mut words = line.split_whitespace();
    let is_server = words.next() == Some("server");
    let address = words
        .nth(1)
        .filter(|word| is_server && is_host_like(word))?;
    let is_address = address.contains(':') || address.parse::<std::net::IpAddr>().is_ok();
    if !is_address {
        return None;
    }
    let (host, port) = host_and_port(address);
    Some(by_form(host, port, None))
}

/// "*.* @@log1:514" of rsyslog.
fn forwarded_logs(file: &str, line: &str) -> Option<Known> {
    if !file.starts_with("etc/rsyslog") {
        return None;
    }
    let (_, target) = line.split_once(" @").or_else(|| line.split_once("\t@"))?;
    let (host, port) = host_and_port(target.trim_start_matches('@').split([';', ' ']).next()?);
    is_host_like(host).then(|| by_form(host, port, Some("syslog".to_owned())))
}

/// Hosts of URLs, also of those that hold several ("mongodb://a,b:27018/x").
fn urls(line: &str) -> Vec<Known> {
    let words = line.split([' ', '\t', '"', '\'', ';', '=', '(', ')', '<', '>']);
    words
        .filter(|word| word.contains("://"))
        .flat_map(|word| {
            let mut scheme = "";
            word.split(',').filter_map(move |part| {
                if let Some((its_scheme, host, port)) = url_parts(part) {
                    scheme = its_scheme;
                    return Some((scheme, host, port));
                }
                let (host, port) = host_and_port(part.split(['/', '?']).next()?);
                let is_more = !scheme.is_empty() && is_host_like(host);
                is_more.then_some((scheme, host, port))
            })
        })
        .take(20)
        .map(|(scheme, host, port)| {
            by_form(
                host,
                port,
                services::by_scheme(scheme).map(|s| s.key.clone()),
            )
        })
        .collect()
}

fn keyed(line: &str) -> Vec<Known> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(value) = KEY
        .as_ref()
        .and_then(|key| key.captures_at(line, at)?.get(1))
    {
        // "sql1\\INSTANCE" names an instance too.
        let host = value
            .as_str()
            .trim_start_matches("tcp:")
            .split('\\')
            .next()
            .unwrap_or("")
            .trim_matches(['[', ']']);
        // What is no host may hold one: "dsn = 'pgsql:host=data1'".
        // Its name needs the character before it.
        let before = line[..value.start()].char_indices().next_back();
        at = if is_host_like(host) {
            value.end()
        } else {
            before.map_or(value.start(), |(at, _)| at)
        };
        if is_host_like(host) {
            let (host, port) = host_and_port(host);
            found.push(by_form(host, port, None));
            let more = line[at..]
                .strip_prefix(',')
                .and_then(|rest| rest.split([';', ')', '=']).next());
            found.extend(more.into_iter().flat_map(words_of_list));
        }
    }
    found
}

/// Finds out which service is meant: by scheme, by port, by the words around.
fn resolve(file: &str, all: &[&str], at: usize, line: &str, found: Known) -> Reference {
    let weak = settings::weak_role(file);
    let host = found.host.to_ascii_lowercase();
    let from = at.saturating_sub(NEIGHBOURS);
    let around = &all[from..all.len().min(at + NEIGHBOURS + 1)];
    let port = found
        .port
        .or_else(|| port_in(line))
        .or_else(|| around.iter().find_map(|l| port_in(l)));
    let by_port = || port.and_then(services::by_port);
    // Machines are often called like a product that they do not run ("db2"), and what a load
    // balancer leads to is no load balancer.
    let words = |text: &str| services::by_word(&text.to_ascii_lowercase().replace(&host, " "));
    let by_word = || {
        words(line)
            .or_else(|| words(file).filter(|s| s.key != "proxy"))
            .or_else(|| words(&around.join("\n")).filter(|s| s.key != "proxy"))
            .or_else(|| services::by_word(&host))
    };
    let by_text = || by_port().or_else(by_word).map(|s| s.key.clone());
    let service = match found.service {
        Some(service) if service == settings::DATABASE => by_port()
            .map(|s| s.key.as_str())
            .filter(|key| ["postgresql", "mysql", "mssql", "oracle"].contains(key))
            .or_else(|| settings::database_of(&all.join("\n")))
            .map(str::to_owned)
            .or(Some(service)),
        Some(service) => Some(service),
        None => by_text(),
    };
    let is_own = settings::is_own_need(file, service.as_deref()) || names_database(line);
    let weak = weak.filter(|_| !is_own);
    let service = match weak {
        Some(role) if !role.is_empty() => Some(role.to_owned()),
        _ => service.filter(|key| key != settings::DATABASE),
    };
    let default_port = service
        .as_deref()
        .and_then(services::by_key)
        .and_then(|s| s.ports.first().copied());
    let found = Reference {
        file: file.to_owned(),
        line: at + 1,
        key: None,
        text: printable(&without_secrets(line)),
        target: found.host,
        service,
        port: found.port.or(port).or(default_port),
        kind: found.kind,
        weight: found.weight,
    };
    if weak.is_some() { found.weak() } else { found }
}

/// Whether a setting says by its name that it means a database.
pub(crate) fn names_database(line: &str) -> bool {
    let names = DATABASE.as_ref();
    names.is_some_and(|names| names.is_match(line))
}

fn port_in(line: &str) -> Option<u16> {
    PORT.as_ref()?.captures(line)?.get(1)?.as_str().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::tests::{check, found};

    #[test]
    fn connection_strings_and_keys() {
        assert!(KEY.is_some() && PORT.is_some());
        check(
            "etc/app/app.env",
            "DATABASE_URL=postgres://app:geheim@data1/app\n",
            &[("data1", "postgresql", 1)],
        );
        check(
            "etc/app.ini",
            "[db]\ntype = pgsql\nhost = data1.site\n",
            &[("data1.site", "postgresql", 3)],
        );
        check(
            "etc/app/config.php",
            "<?php\n$dsn = 'pgsql:host=data1;dbname=app';\n",
            &[("data1", "postgresql", 2)],
        );
        check(
            "etc/app/settings.yml",
            "redis_host: cache1\nport: 6379\n",
            &[("cache1", "redis", 1)],
        );
        check(
            "etc/app.php",
            "'hostname' => 'db1',\n'dbdriver' => 'mysqli',\n",
            &[("db1", "mysql", 1)],
        );
        check(
            "etc/postfix/main.cf",
            "relayhost = [mail1]:25\n",
            &[("mail1", "smtp", 1)],
        );
        check(
            "etc/nginx/conf.d/a.conf",
            "  proxy_pass http://app1:8080;\n",
            &[("app1", "web", 1)],
        );
        check(
            "etc/haproxy/haproxy.cfg",
            "  server app1 10.0.0.5:8080 check\n",
            &[("10.0.0.5", "java", 1)],
        );
        check(
            "etc/rsyslog.d/50.conf",
            "*.* @@log1:514\n",
            &[("log1", "syslog", 1)],
        );
        check(
            "etc/samba/smb.conf",
            "passdb backend = ldapsam:ldap://dir1\n",
            &[("dir1", "directory", 1)],
        );
        check(
            "etc/php/php.ini",
            "session.save_path = \"tcp://cache1:6379\"\n",
            &[("cache1", "redis", 1)],
        );
        check(
            "etc/wordpress/config.php",
            "define( 'DB_HOST', 'db1' );\n$x = 'mysql';\n",
            &[("db1", "mysql", 1)],
        );
        check(
            "etc/zabbix/zabbix_server.conf",
            "DBHost=data1\nDBName=z\nDBSocket=/run/mysqld.sock\n",
            &[("data1", "mysql", 1)],
        );
        check(
            "etc/grafana/grafana.ini",
            "[database]\ntype = mysql\nhost = data1:3306\n",
            &[("data1", "mysql", 3)],
        );
        check("etc/nagios/nrpe.cfg", "allowed_hosts=mon1\n", &[]);
        check(
            "etc/app.yml",
            "mongo: mongodb://u:p@m1:27017,m2/x\nhosts:\n  - es1:9200\n",
            &[
                ("m1", "mongodb", 1),
                ("m2", "mongodb", 1),
                ("es1", "elasticsearch", 3),
            ],
        );
        check(
            "inetpub/wwwroot/web.config",
            "<add connectionString=\"Data Source=sql1\\CRM;Initial Catalog=x\" providerName=\"System.Data.SqlClient\"/>\n",
            &[("sql1", "mssql", 1)],
        );
        check(
            "etc/postfix/transport",
            "site.example smtp:[mail2]:25\n",
            &[("mail2", "smtp", 1)],
        );
        check("etc/app.conf", "# host = data1\nlisten = 80\n", &[]);
    }

    #[test]
    fn what_is_commented_out_or_left_behind_does_not_count() {
        let php =
            "<?php\n/*\n$host = 'db1';\n*/\n$db_host = 'db2'; // host = 'db3'\n$x = 'mysql';\n";
        check("etc/app/a.php", php, &[("db2", "mysql", 5)]);
        let xml = "<a>\n<!-- <Resource url=\"jdbc:mysql://db1/x\"/>\n-->\n<Resource url=\"jdbc:mysql://db2/x\"/>\n";
        check("etc/tomcat9/context.xml", xml, &[("db2", "mysql", 4)]);
        check("etc/app.env", "A=1 # postgres://old/x\n", &[]);
        for file in [
            "etc/app.conf.bak",
            "etc/app.conf~",
            "etc/nginx/sites-available/a",
            "etc/a.conf.dpkg-old",
            "etc/a.rpmsave",
            "etc/a.conf.example",
            "etc/a.conf.sample",
        ] {
            check(file, "url = postgres://db1/x\n", &[]);
        }
    }

    #[test]
    fn who_only_watches_is_weak() {
        for (file, line) in [
            ("etc/zabbix/zabbix_agentd.conf", "Server=mon1"),
            ("etc/rsyslog.d/50.conf", "*.* @@mon1:514"),
            ("etc/bareos/bareos-fd.d/director/a.conf", "address = mon1"),
        ] {
            let found =
                crate::facts::read_references(&crate::folder::ConfigFiles::of(&[(file, line)]));
            assert!(!found.is_empty(), "{file}");
            assert!(
                found
                    .iter()
                    .all(|r| r.weight == Weight::Weak && r.target == "mon1"),
                "{found:?}"
            );
        }
    }

    #[test]
    fn the_database_of_a_watching_server_is_no_weak_need() {
        let weights = |file: &str, text: &str| -> Vec<Weight> {
            let config = crate::folder::ConfigFiles::of(&[(file, text)]);
            let found = crate::facts::read_references(&config);
            found.into_iter().map(|r| r.weight).collect()
        };
        let server = "etc/zabbix/zabbix_server.conf";
        assert_eq!(weights(server, "DBHost=data1\n"), [Weight::Normal]);
        assert_eq!(
            weights("etc/grafana/grafana.ini", "host = data1:5432\n"),
            [Weight::Normal]
        );
        assert_eq!(
            weights(
                "etc/telegraf/telegraf.conf",
                "address = \"host=data1 port=5432\"\n"
            ),
            [Weight::Weak]
        );
    }

    #[test]
    fn lists_of_clients_are_no_references() {
        for file in [
            "etc/hosts",
            "etc/exports",
            "etc/bind/db.site",
            "etc/ssh/ssh_known_hosts",
        ] {
            assert_eq!(found(file, "host = web1\n"), [], "{file}");
        }
    }
}
