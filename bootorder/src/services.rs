//! The table of well-known services, kept as data in `data/services.toml` and extended by users.

use std::path::{Path, PathBuf};
use std::sync::{LazyLock, PoisonError, RwLock};

use serde::Deserialize;
use thiserror::Error;
use toml::Spanned;

use crate::folder::ConfigFiles;
use crate::order::Kind;

const DATABASES: &[&str] = &[
    "postgresql",
    "mysql",
    "mongodb",
    "oracle",
    "mssql",
    "db2",
    "firebird",
    "informix",
    "sybase",
    "hana",
    "pgbouncer",
    "proxysql",
    "influxdb",
    "clickhouse",
    "elasticsearch",
    "cassandra",
];

/// One role of the table.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Service {
    pub key: String,
    pub name: String,
    pub units: Vec<String>,
    pub ports: Vec<u16>,
    #[serde(default)]
    pub schemes: Vec<String>,
    #[serde(default)]
    pub words: Vec<String>,
    pub needed: Kind,
    #[serde(default = "yes")]
    pub gate: bool,
    pub rank: u32,
    pub listen: Option<Listen>,
    pub port: Option<PortSetting>,
}

/// Where a service says on which port it listens.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PortSetting {
    files: Vec<String>,
    key: String,
}

/// Where a service says on which addresses it listens.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listen {
    files: Vec<String>,
    /// Alternatives separated by `|`.
    key: String,
    absent: String,
}

/// Why a user's file of services was not taken.
#[derive(Debug, Error)]
pub enum ServicesError {
    /// The file could not be read.
    #[error("failed to read the services in `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: std::io::Error,
    },
    /// The file is not such a table.
    #[error("failed to understand `{}` line {line}: {key}: {message}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// The entry, by its key or number.
        key: String,
        /// What is wrong with it.
        message: String,
    },
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    service: Vec<Service>,
}

/// An entry of a user: for a known key only what differs, for a new one at least a name.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct UserService {
    key: Spanned<String>,
    name: Option<String>,
    #[serde(default)]
    units: Vec<String>,
    ports: Option<Vec<u16>>,
    #[serde(default)]
    schemes: Vec<String>,
    #[serde(default)]
    words: Vec<String>,
    needed: Option<Kind>,
    gate: Option<bool>,
    rank: Option<u32>,
    listen: Option<Listen>,
    port: Option<PortSetting>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct UserTable {
    #[serde(default)]
    service: Vec<UserService>,
}

const LAST_RANK: u32 = 9;

fn yes() -> bool {
    true
}

// The embedded table is parsed by a test; were it broken, there would be no services, not a panic.
static TABLE: LazyLock<RwLock<&'static [Service]>> = LazyLock::new(|| {
    let table: Table = toml::from_str(include_str!("../data/services.toml")).unwrap_or_default();
    RwLock::new(table.service.leak())
});

/// Adds the services of a user's file to the table, for everything that is ordered from now on.
///
/// The file has the form of `data/services.toml`. An entry with a known key replaces what it sets
/// and adds to the lists of units, schemes and words; any other is a new service and needs a
/// name. Nothing is taken from a file with a mistake in it.
pub fn extend_services(path: &Path) -> Result<(), ServicesError> {
    let text = std::fs::read_to_string(path).map_err(|source| ServicesError::Read {
        path: path.to_owned(),
        source,
    })?;
    let mut table = TABLE.write().unwrap_or_else(PoisonError::into_inner);
    // The old table stays for those who hold parts of it: it is small, and this is rare.
    *table = merged(&table, &text, path)?.leak();
    Ok(())
}

fn merged(base: &[Service], text: &str, path: &Path) -> Result<Vec<Service>, ServicesError> {
    let invalid = |at: usize, key: String, message: &str| ServicesError::Invalid {
        path: path.to_owned(),
        line: text.get(..at).unwrap_or(text).matches('\n').count() + 1,
        key,
        message: message.to_owned(),
    };
    let user: UserTable = toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        invalid(at, entry_at(text, at), error.message())
    })?;
    let mut table = base.to_vec();
    for entry in user.service {
        let (at, key) = (entry.key.span().start, entry.key.get_ref().clone());
        if key.is_empty() {
            return Err(invalid(at, "key".to_owned(), "it is empty"));
        }
        match table.iter_mut().find(|service| service.key == key) {
            Some(service) => overlay(service, entry),
            None => {
                let Some(name) = entry.name.clone() else {
                    return Err(invalid(at, key, "a new service needs a name"));
                };
                let mut service = empty(key, name);
                overlay(&mut service, entry);
                // A user's words win over those that came with the program.
                table.insert(0, service);
            }
        }
    }
    Ok(table)
}

/// The entry that a mistake is in: its key, as far as it was written before.
fn entry_at(text: &str, at: usize) -> String {
    let line_end = text
        .get(at..)
        .and_then(|rest| rest.find('\n'))
        .map_or(text.len(), |end| at + end);
    let before = text.get(..line_end).unwrap_or(text);
    let entry = before
        .rfind("[[service]]")
        .map_or("", |from| &before[from..]);
    let key = entry
        .lines()
        .find_map(|line| line.trim().strip_prefix("key")?.trim().strip_prefix('='));
    match key {
        Some(key) => format!("service {}", key.trim()),
        None => format!("entry {}", before.matches("[[service]]").count()),
    }
}

fn empty(key: String, name: String) -> Service {
    Service {
        key,
        name,
        units: Vec::new(),
        ports: Vec::new(),
        schemes: Vec::new(),
        words: Vec::new(),
        needed: Kind::Soft,
        gate: true,
        rank: LAST_RANK,
        listen: None,
        port: None,
    }
}

fn overlay(service: &mut Service, entry: UserService) {
    let prepend = |list: &mut Vec<String>, more: Vec<String>| {
        list.splice(0..0, more);
    };
    prepend(&mut service.units, entry.units);
    prepend(&mut service.schemes, entry.schemes);
    prepend(&mut service.words, entry.words);
    if let Some(name) = entry.name {
        service.name = name;
    }
    if let Some(ports) = entry.ports {
        service.ports = ports;
    }
    service.needed = entry.needed.unwrap_or(service.needed);
    service.gate = entry.gate.unwrap_or(service.gate);
    service.rank = entry.rank.unwrap_or(service.rank);
    service.listen = entry.listen.or(service.listen.take());
    service.port = entry.port.or(service.port.take());
}

/// All roles, in the order of the file.
pub(crate) fn all() -> &'static [Service] {
    *TABLE.read().unwrap_or_else(PoisonError::into_inner)
}

/// The role with a key.
pub(crate) fn by_key(key: &str) -> Option<&'static Service> {
    all().iter().find(|service| service.key == key)
}

/// The role that a systemd unit or a Windows service plays; variants fall into one.
pub(crate) fn by_unit(unit: &str) -> Option<&'static Service> {
    let name = unit.strip_suffix(".service").unwrap_or(unit);
    if name.is_empty() {
        return None;
    }
    all()
        .iter()
        .find(|service| service.units.iter().any(|pattern| matches(pattern, name)))
}

/// Whether others keep their data in it.
pub(crate) fn keeps_data(service: &Service) -> bool {
    DATABASES.contains(&service.key.as_str())
}

pub(crate) fn by_port(port: u16) -> Option<&'static Service> {
    all().iter().find(|service| service.ports.contains(&port))
}

pub(crate) fn by_scheme(scheme: &str) -> Option<&'static Service> {
    let scheme = scheme.to_ascii_lowercase();
    let find = |scheme: &str| {
        all()
            .iter()
            .find(|service| service.schemes.iter().any(|s| s == scheme))
    };
    // "ldapsam:ldap" and the like: the last part is the protocol.
    find(&scheme).or_else(|| find(scheme.rsplit(':').next()?))
}

/// The role whose word stands in a text (file name and line, lower case).
pub(crate) fn by_word(text: &str) -> Option<&'static Service> {
    all()
        .iter()
        .find(|service| service.words.iter().any(|word| holds_word(text, word)))
}

fn holds_word(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        !before.is_some_and(char::is_alphanumeric) && !after.is_some_and(char::is_alphabetic)
    })
}

/// Shell-like match in which only `*` is special; Windows does not tell upper from lower case.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| after(name, first)) else {
        return false;
    };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else {
        return rest.is_empty();
    };
    for part in middle {
        let found = rest
            .char_indices()
            .find_map(|(at, _)| after(&rest[at..], part));
        match found {
            Some(after) => rest = after,
            None => return false,
        }
    }
    let tail = rest
        .len()
        .checked_sub(last.len())
        .and_then(|at| rest.get(at..));
    tail.is_some_and(|tail| tail.eq_ignore_ascii_case(last))
}

fn after<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let head = text.get(..prefix.len())?;
    head.eq_ignore_ascii_case(prefix)
        .then(|| &text[prefix.len()..])
}

impl Service {
    /// Whether its configuration restricts it to the machine itself.
    pub fn is_local_only(&self, config: &ConfigFiles) -> bool {
        let ports = self
            .port
            .as_ref()
            .map(|place| values(config, &place.files, &place.key));
        let ports = ports.unwrap_or_default();
        if !ports.is_empty() && ports.iter().all(|value| is_loopback_port(value)) {
            return true;
        }
        let Some(listen) = &self.listen else {
            return false;
        };
        let configured = listen
            .files
            .iter()
            .any(|prefix| config.below(prefix).next().is_some());
        let value = values(config, &listen.files, &listen.key).pop();
        configured && is_loopback_list(value.unwrap_or(&listen.absent))
    }

    /// A TCP port that its configuration sets in place of the usual one.
    pub fn configured_port(&self, config: &ConfigFiles) -> Option<u16> {
        let place = self.port.as_ref()?;
        let values = values(config, &place.files, &place.key);
        let reachable = values.into_iter().filter(|value| !is_loopback_port(value));
        let ports: Vec<u16> = reachable.filter_map(port_of).collect();
        if ports.iter().any(|port| self.ports.contains(port)) {
            return None;
        }
        ports.into_iter().min()
    }
}

/// The values of some keys (alternatives separated by `|`) in all files below some places.
fn values<'a>(config: &'a ConfigFiles, places: &'a [String], keys: &str) -> Vec<&'a str> {
    let texts = places.iter().flat_map(|place| config.below(place));
    let lines = texts.flat_map(|(_, text)| text.lines()).map(str::trim);
    lines
        .filter(|line| !line.starts_with(['#', ';']))
        .filter_map(|line| {
            let key = keys.split('|').find(|key| line.starts_with(*key))?;
            let rest = line[key.len()..].split('#').next()?;
            let ends = rest.starts_with([' ', '=', ':', '\t']);
            ends.then(|| rest.trim_matches([' ', '=', ':', '\t']))
        })
        .collect()
}

fn is_loopback_port(value: &str) -> bool {
    ["127.", "localhost", "[::1]", "unix:"]
        .iter()
        .any(|local| value.starts_with(local))
}

/// The port in "8080 default_server;", "[::]:8080" or "10.0.0.1:8080".
fn port_of(value: &str) -> Option<u16> {
    let word = value.split([' ', ';', '\t']).next()?;
    word.rsplit(':')
        .next()?
        .trim_matches(['"', '\''])
        .parse()
        .ok()
}

fn is_loopback_list(value: &str) -> bool {
    let mut names = value
        .split([',', ';', ' ', '\'', '"', '[', ']'])
        .map(|name| {
            name.trim_start_matches("http://")
                .trim_start_matches('-')
                .to_ascii_lowercase()
        })
        .filter(|name| !name.is_empty())
        .peekable();
    let local = |name: &String| {
        name.starts_with("127.")
            || name.starts_with("localhost")
            || name.starts_with("loopback")
            || name == "::1"
    };
    names.peek().is_none() || names.all(|name| local(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(unit: &str, key: Option<&str>) {
        assert_eq!(by_unit(unit).map(|s| s.key.as_str()), key, "{unit}");
    }

    #[test]
    fn variants_of_a_unit_are_one_role() {
        let table = toml::from_str::<Table>(include_str!("../data/services.toml"));
        assert!(table.is_ok(), "{table:?}");
        for (unit, key) in [
            ("bind9.service", "dns"),
            ("named.service", "dns"),
            ("postgresql@15-main.service", "postgresql"),
            ("postgresql-17.service", "postgresql"),
            ("php8.2-fpm.service", "php"),
            ("nfs-server.service", "nfs"),
            ("slapd.service", "directory"),
        ] {
            check(unit, Some(key));
        }
        for (name, key) in [
            ("MSSQL$INSTANCE", "mssql"),
            ("SQL Server (SQLEXPRESS)", "mssql"),
            ("MSExchangeIS", "exchange-store"),
            ("Microsoft Exchange Information Store", "exchange-store"),
            ("NTDS", "directory"),
            ("DNS", "dns"),
            ("DNS Server", "dns"),
            ("DHCPServer", "dhcp"),
            ("W3SVC", "web"),
            ("Kdc", "kerberos"),
            ("MSMQ", "msmq"),
            ("ClusSvc", "cluster"),
            ("elasticsearch.service", "elasticsearch"),
            ("mariadb@a.service", "mysql"),
            ("zabbix-server-pgsql.service", "monitoring"),
        ] {
            check(name, Some(key));
        }
        for client in [
            "Dhcp",
            "Dnscache",
            "DHCP Client",
            "DNS Client",
            "LanmanServer",
            "Server",
            "Netlogon",
            "zabbix-agent.service",
            "nfs-client.target",
            "iSCSI Initiator",
        ] {
            check(client, None);
        }
        check("getty@tty1.service", None);
        check("nginx-exporter.service", None);
    }

    #[test]
    fn keys_are_unique() {
        let keys: std::collections::BTreeSet<_> = all().iter().map(|s| &s.key).collect();
        assert_eq!(keys.len(), all().len());
        assert!(keys.len() >= 100, "{}", keys.len());
    }

    #[test]
    fn a_service_on_loopback_is_no_gate() {
        let local = |key: &str, file: &str, text: &str| {
            by_key(key)
                .unwrap()
                .is_local_only(&ConfigFiles::of(&[(file, text)]))
        };
        let postgres = "etc/postgresql/15/main/postgresql.conf";
        assert!(local("postgresql", postgres, "#listen_addresses = '*'\n"));
        assert!(!local(
            "postgresql",
            postgres,
            "listen_addresses = '*'\t# all\n"
        ));
        assert!(local(
            "smtp",
            "etc/exim4/update-exim4.conf.conf",
            "dc_local_interfaces='127.0.0.1 ; ::1'\n"
        ));
        assert!(!local(
            "smtp",
            "etc/postfix/main.cf",
            "inet_interfaces = all\n"
        ));
        assert!(local(
            "mysql",
            "etc/mysql/mariadb.conf.d/50-server.cnf",
            "bind-address            = 127.0.0.1\n"
        ));
        assert!(local(
            "redis",
            "etc/redis/redis.conf",
            "bind 127.0.0.1 -::1\n"
        ));
    }

    #[test]
    fn ports_follow_the_configuration() {
        let web = |text: &str| {
            let config = ConfigFiles::of(&[("etc/nginx/conf.d/a.conf", text)]);
            let service = by_key("web").unwrap();
            (
                service.configured_port(&config),
                service.is_local_only(&config),
            )
        };
        assert_eq!(
            web("listen 80 default_server;\nlisten [::]:80;\n"),
            (None, false)
        );
        assert_eq!(web("listen 8081;\nlisten 8080;\n"), (Some(8080), false));
        assert_eq!(web("listen 127.0.0.1:8080;\n"), (None, true));
    }

    #[test]
    fn words_are_whole_words() {
        assert_eq!(
            by_word("dsn = pgsql:host=data1").map(|s| s.key.as_str()),
            Some("postgresql")
        );
        assert_eq!(by_word("smtpd_banner").map(|s| s.key.as_str()), None);
    }

    #[test]
    fn users_extend_the_table() {
        let path = Path::new("names.toml");
        let text = "[[service]]\nkey = \"postgresql\"\nunits = [\"crm-db\"]\nports = [6432]\n\n[[service]]\nkey = \"crm\"\nname = \"Customers\"\nunits = [\"crm*\"]\n";
        let table = merged(all(), text, path).unwrap();
        let find = |key: &str| table.iter().find(|s| s.key == key).unwrap();
        assert_eq!(find("postgresql").ports, [6432]);
        assert!(find("postgresql").units.iter().any(|u| u == "postgresql@*"));
        assert_eq!(
            (find("crm").name.as_str(), find("crm").needed),
            ("Customers", Kind::Soft)
        );
    }

    #[test]
    fn mistakes_name_file_line_and_entry() {
        let check = |text: &str, expected: &str| {
            let error = merged(all(), text, Path::new("names.toml")).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        };
        check(
            "[[service]]\nkey = \"new\"\n",
            "`names.toml` line 2: new: a new service needs a name",
        );
        check(
            "[[service]]\nkey = \"dns\"\n\nprots = [1]\n",
            "line 4: service \"dns\": unknown field `prots`",
        );
        check(
            "[[service]]\nkey = \"dns\"\nports = [\"x\"]\n",
            "line 3: service \"dns\": invalid type",
        );
        check("[[service]\n", "line 1");
        let missing = extend_services(Path::new("no/such/file")).unwrap_err();
        assert!(missing.to_string().contains("no/such/file"));
    }
}
