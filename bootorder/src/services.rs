//! The table of well-known services, kept as data in `data/services.toml`.

use std::sync::LazyLock;

use serde::Deserialize;

use crate::folder::ConfigFiles;
use crate::order::Kind;

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

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    service: Vec<Service>,
}

fn yes() -> bool {
    true
}

// The embedded table is parsed by a test; were it broken, there would be no services, not a panic.
static TABLE: LazyLock<Table> =
    LazyLock::new(|| toml::from_str(include_str!("../data/services.toml")).unwrap_or_default());

/// All roles, in the order of the file.
pub(crate) fn all() -> &'static [Service] {
    &TABLE.service
}

/// The role with a key.
pub(crate) fn by_key(key: &str) -> Option<&'static Service> {
    all().iter().find(|service| service.key == key)
}

/// The role that a systemd unit plays.
pub(crate) fn by_unit(unit: &str) -> Option<&'static Service> {
    let name = unit.strip_suffix(".service").unwrap_or(unit);
    all()
        .iter()
        .find(|service| service.units.iter().any(|pattern| matches(pattern, name)))
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

/// Shell-like match in which only `*` is special.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else {
        return false;
    };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else {
        return rest.is_empty();
    };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
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
        assert!(toml::from_str::<Table>(include_str!("../data/services.toml")).is_ok());
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
        check("getty@tty1.service", None);
        check("nginx-exporter.service", None);
    }

    #[test]
    fn keys_are_unique() {
        let keys: std::collections::BTreeSet<_> = all().iter().map(|s| &s.key).collect();
        assert_eq!(keys.len(), all().len());
        assert!(keys.len() >= 35);
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
}
