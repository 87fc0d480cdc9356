//! Application files: URLs, connection strings and `host =` lines, conservatively.
//!
//! Whether a word names a machine of the site is decided later; what does not is dropped then.

use std::sync::LazyLock;

use regex::Regex;

use super::{
    FactReader, MAX_LINE, Reference, host_and_port, is_host_like, url_parts, without_secrets,
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
    let names = "host|hostname|hostaddr|server|servers|hosts|uri|url|dsn|endpoint|upstream|relayhost|smarthost|mailhub|proxy_pass|fastcgi_pass|conninfo|backend|broker|brokers|address|addr|remote|target|master|primary";
    let key = format!(
        r#"(?i)(?:^|[\s"'\[(;,?&:$.>_-])(?:[a-z0-9_.-]*[_.-])?(?:{names})["'\])]*\s*(?:=>|=|:|,|\s)\s*["'(\[]*([^\s"';,)\]]+)"#
    );
    Regex::new(&key).ok()
});

static PORT: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r#"(?i)port["'\])]*\s*(?:=>|=|:|,|\s)\s*["']?(\d{1,5})\b"#).ok());

pub(super) struct Application;

impl FactReader for Application {
    fn claims(&self, file: &str) -> bool {
        let text = !file.ends_with(".so") && !file.ends_with(".pem") && !file.ends_with(".crt");
        let backup = file.ends_with('~')
            || file.ends_with(".bak")
            || file.contains(".dpkg-")
            || file.contains(".ucf-");
        let zone = file.starts_with("var/lib/")
            || file.starts_with("var/cache/")
            || file.starts_with("var/named/");
        let inactive =
            file.contains("-available/") || file.ends_with(".example") || file.ends_with(".sample");
        let unit = file.starts_with("etc/systemd/system/") && file.contains(".wants/");
        text && !inactive
            && !unit
            && !backup
            && !zone
            && !SKIPPED.iter().any(|skipped| file.starts_with(skipped))
    }

    fn read(&self, file: &str, text: &str, out: &mut Vec<Reference>) {
        let all: Vec<&str> = text.lines().collect();
        let before = out.len();
        for (at, line) in all.iter().enumerate() {
            let line = line.trim();
            if line.len() > MAX_LINE || is_comment(line) || out.len() - before >= MAX_A_FILE {
                continue;
            }
            let mut hosts = urls(line);
            if hosts.is_empty() && !lists_clients(line) {
                hosts = server_line(line).map_or_else(|| keyed(line), |found| vec![found]);
                hosts.extend(forwarded_logs(file, line));
            }
            for found in hosts {
                out.push(resolve(file, &all, at, line, found));
            }
        }
    }
}

struct Found {
    host: String,
    port: Option<u16>,
    service: Option<String>,
}

fn is_comment(line: &str) -> bool {
    ["#", ";", "//", "/*", "* ", "--", "<!--", "!"]
        .iter()
        .any(|mark| line.starts_with(mark))
}

/// Lines that say who may come in name clients, not servers.
fn lists_clients(line: &str) -> bool {
    let lower = line.to_ascii_lowercase();
    ["allow", "deny", "permit", "trusted", "mynetworks", "acl "]
        .iter()
        .any(|word| lower.contains(word))
}

/// "server NAME ADDRESS:PORT ..." of load balancers: the name is only theirs.
fn server_line(line: &str) -> Option<Found> {
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
    Some(Found {
        host: host.to_owned(),
        port,
        service: None,
    })
}

/// "*.* @@log1:514" of rsyslog.
fn forwarded_logs(file: &str, line: &str) -> Option<Found> {
    if !file.starts_with("etc/rsyslog") {
        return None;
    }
    let (_, target) = line.split_once(" @").or_else(|| line.split_once("\t@"))?;
    let (host, port) = host_and_port(target.trim_start_matches('@').split([';', ' ']).next()?);
    let service = Some("syslog".to_owned());
    is_host_like(host).then(|| Found {
        host: host.to_owned(),
        port,
        service,
    })
}

fn urls(line: &str) -> Vec<Found> {
    let words = line.split([' ', '\t', '"', '\'', ',', ';', '=', '(', ')', '<', '>']);
    words
        .filter_map(url_parts)
        .map(|(scheme, host, port)| Found {
            host: host.to_owned(),
            port,
            service: services::by_scheme(scheme).map(|s| s.key.clone()),
        })
        .collect()
}

fn keyed(line: &str) -> Vec<Found> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(value) = KEY
        .as_ref()
        .and_then(|key| key.captures_at(line, at)?.get(1))
    {
        let host = value
            .as_str()
            .trim_start_matches("tcp:")
            .trim_matches(['[', ']']);
        // What is no host may hold one: "dsn = 'pgsql:host=data1'".
        at = if is_host_like(host) {
            value.end()
        } else {
            value.start()
        };
        if is_host_like(host) {
            let (host, port) = host_and_port(host);
            found.push(Found {
                host: host.to_owned(),
                port,
                service: None,
            });
        }
    }
    found
}

/// Finds out which service is meant: by scheme, by port, by the words around.
fn resolve(file: &str, all: &[&str], at: usize, line: &str, found: Found) -> Reference {
    let from = at.saturating_sub(NEIGHBOURS);
    let around = &all[from..all.len().min(at + NEIGHBOURS + 1)];
    let port = found
        .port
        .or_else(|| port_in(line))
        .or_else(|| around.iter().find_map(|l| port_in(l)));
    let by_port = || port.and_then(services::by_port);
    let by_word = || {
        services::by_word(&line.to_ascii_lowercase())
            .or_else(|| services::by_word(&file.to_ascii_lowercase()))
            .or_else(|| services::by_word(&around.join("\n").to_ascii_lowercase()))
    };
    let service = found
        .service
        .or_else(|| by_port().or_else(by_word).map(|s| s.key.clone()));
    let default_port = service
        .as_deref()
        .and_then(services::by_key)
        .and_then(|s| s.ports.first().copied());
    Reference {
        file: file.to_owned(),
        line: at + 1,
        text: printable(&without_secrets(line)),
        target: found.host,
        service,
        port: found.port.or(port).or(default_port),
        kind: None,
    }
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
        check("etc/nagios/nrpe.cfg", "allowed_hosts=mon1\n", &[]);
        check("etc/app.conf", "# host = data1\nlisten = 80\n", &[]);
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
