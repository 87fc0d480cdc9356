//! Facts from configuration files: which other machine a file names, and for what.
//!
//! A new kind of file is one reader here and one line in `READERS`; the first that claims a file
//! reads it.

mod application;
mod comments;
pub(crate) use application::names_database;
mod directory;
mod disks;
mod mounts;
mod resolver;
mod servers;
mod settings;
mod time;
mod yaml;

use std::sync::LazyLock;

use regex::Regex;

use crate::event::printable;
use crate::folder::ConfigFiles;
use crate::order::Kind;
use crate::services;

static SECRET: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r#"(?i)\b((?:[a-z_]*pass(?:word|wd)?|bindpw|pwd|secret|token|api_?key)\s?[=:]\s?)[^\s,;&]+"#).ok()
});
const MAX_REFERENCES: usize = 2_000;
const MAX_LINE: usize = 4_096;

/// One mention of another host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reference {
    pub file: String,
    /// Counted from 1; 0 where the file has no lines.
    pub line: usize,
    /// The registry key, for facts of a hive.
    pub key: Option<String>,
    pub text: String,
    /// Host name or address as written.
    pub target: String,
    /// Role that is wanted there, by key.
    pub service: Option<String>,
    pub port: Option<u16>,
    /// Where the line itself tells whether its user survives without.
    pub kind: Option<Kind>,
    pub weight: Weight,
}

/// How much a mention says about starting.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Weight {
    /// Whoever names the other host works with it.
    #[default]
    Normal,
    /// Monitoring, log shipping, backup, peers of a cluster: they run on without the other.
    Weak,
}

impl Reference {
    /// Where in its file it stands.
    pub fn place(&self) -> String {
        match &self.key {
            Some(key) => format!("key {key}"),
            None => format!("line {}", self.line),
        }
    }

    fn weak(self) -> Self {
        Self {
            kind: Some(Kind::Soft),
            weight: Weight::Weak,
            ..self
        }
    }
}

/// One kind of configuration file.
trait FactReader {
    /// Whether this reader understands the file.
    fn claims(&self, file: &str) -> bool;
    /// Appends a reference for each host that the text names; must not panic on any text.
    fn read(&self, file: &str, text: &str, out: &mut Vec<Reference>);
}

const READERS: &[&dyn FactReader] = &[
    &resolver::Resolver,
    &mounts::Mounts,
    &disks::Iscsi,
    &servers::Forwarders,
    &directory::PostgresAccess,
    &directory::Directory,
    &time::Time,
    &application::Application,
];

/// Every reference of a machine, by file and line.
pub(crate) fn read_references(config: &ConfigFiles) -> Vec<Reference> {
    let mut references = Vec::new();
    let projects = crate::graph::inner_names(config);
    let in_use = |(file, text): &(&str, &str)| !is_stale(file) && !is_disabled(file, text, config);
    for (file, text) in config.iter().filter(in_use) {
        if let Some(reader) = READERS.iter().find(|reader| reader.claims(file)) {
            let before = references.len();
            reader.read(file, text, &mut references);
            let own = projects.iter().find(|(folder, _)| in_folder(file, folder));
            if let Some((_, names)) = own {
                let new = references.split_off(before);
                references.extend(new.into_iter().filter(|r| !names.contains(&r.target)));
            }
        }
        if references.len() >= MAX_REFERENCES {
            references.truncate(MAX_REFERENCES);
            break;
        }
    }
    // ":port" and the like name nobody.
    references.retain(|reference| !reference.target.is_empty());
    references
}

/// The hosts that one configuration file names, with the service wanted there and the line.
///
/// `file` is its path below the root of its machine ("etc/fstab"): the path tells its kind.
pub fn survey_configuration(file: &str, text: &str) -> Vec<(String, String, usize)> {
    let config = ConfigFiles::one(file, text);
    read_references(&config)
        .into_iter()
        .map(|found| (found.target, found.service.unwrap_or_default(), found.line))
        .collect()
}

/// A unit that could be enabled and is not; told only where any is enabled.
fn is_disabled(file: &str, text: &str, config: &ConfigFiles) -> bool {
    let Some(rest) = file.strip_prefix("etc/systemd/system/") else {
        return false;
    };
    // A drop-in belongs to the unit that its folder is named after.
    let unit = rest
        .split('/')
        .next()
        .unwrap_or(rest)
        .trim_end_matches(".d");
    let whole = config
        .get(&format!("etc/systemd/system/{unit}"))
        .unwrap_or(text);
    let stem = unit.split_once('@').map_or(unit, |(stem, _)| stem);
    let is_enabled = |link: &String| {
        let name = link.rsplit('/').next().unwrap_or(link);
        name == unit
            || (unit.contains("@.") && name.split_once('@').is_some_and(|(s, _)| s == stem))
    };
    whole.contains("[Install]") && !config.links.is_empty() && !config.links.iter().any(is_enabled)
}

fn in_folder(file: &str, folder: &str) -> bool {
    file.strip_prefix(folder)
        .is_some_and(|rest| rest.starts_with('/') || folder.is_empty())
}

/// Files that lie beside the ones in use: backups, examples, what packages left, what is not enabled.
pub(crate) fn is_stale(file: &str) -> bool {
    let lower = file.to_ascii_lowercase();
    let name = lower.rsplit('/').next().unwrap_or(&lower);
    let endings = [
        "~",
        ".bak",
        ".old",
        ".orig",
        ".save",
        ".rpmsave",
        ".rpmnew",
        ".rpmorig",
        ".sample",
        ".dist",
        ".disabled",
        ".off",
        ".swp",
        ".tmp",
        ".template",
        ".default.conf~",
    ];
    let inside = [
        ".dpkg-", ".ucf-", ".bak.", ".bak-", ".backup", ".old.", ".orig.",
    ];
    let folders = [
        "-available/",
        "/examples/",
        "/backup/",
        "/backups/",
        "/old/",
        "/.git/",
        "/.svn/",
    ];
    // Zones and virtual hosts of "site.example" end so too.
    let is_example = name.strip_suffix(".example").is_some_and(|stem| {
        let known = [
            ".conf",
            ".cfg",
            ".ini",
            ".yml",
            ".yaml",
            ".php",
            ".env",
            ".xml",
            ".json",
            ".toml",
            ".properties",
        ];
        known.iter().any(|end| stem.ends_with(end))
    });
    is_example
        || endings.iter().any(|end| name.ends_with(end))
        || inside.iter().any(|mark| name.contains(mark))
        || folders.iter().any(|folder| lower.contains(folder))
        || (name.starts_with('#') && name.ends_with('#'))
}

/// Configuration that lies outside `etc/`: applications, compose projects, leases, targets.
pub(crate) fn is_configuration_elsewhere(relative: &str) -> bool {
    let name = relative.rsplit('/').next().unwrap_or(relative);
    let exact = [
        "docker-compose.yml",
        "docker-compose.yaml",
        "compose.yml",
        "compose.yaml",
        "docker-compose.override.yml",
        "compose.override.yml",
        ".env",
        "wp-config.php",
        "database.yml",
        "settings.py",
        "local_settings.py",
        "parameters.yml",
        "master.info",
        "recovery.conf",
        "postgresql.auto.conf",
        "localsettings.php",
        "LocalSettings.php",
        "configuration.php",
        "dhcpd.leases",
    ];
    let of_application = [
        "opt/",
        "srv/",
        "usr/local/etc/",
        "home/",
        "root/",
        "var/www/",
    ]
    .iter()
    .any(|place| relative.starts_with(place));
    let kinds = [
        ".properties",
        ".yml",
        ".yaml",
        ".conf",
        ".cfg",
        ".ini",
        ".env",
        ".toml",
    ];
    let is_settings = relative.contains("/conf/") || relative.contains("/config/");
    let of_kind = kinds.iter().any(|kind| name.ends_with(kind))
        || ["server.xml", "context.xml", "standalone.xml"].contains(&name);
    let leases = [
        "var/lib/dhcp/",
        "var/lib/dhclient/",
        "var/lib/NetworkManager/",
        "var/lib/iscsi/nodes/",
        "run/systemd/netif/leases/",
        "var/lib/dhcpd/",
    ];
    let is_data = relative.starts_with("var/lib/") && exact.contains(&name);
    let lower = relative.to_ascii_lowercase();
    let of_windows = lower.ends_with("system32/drivers/etc/hosts")
        || (lower.contains("system32/dns/") && lower.ends_with(".dns"))
        || (lower.contains("inetpub/")
            && (name.eq_ignore_ascii_case("web.config") || lower.ends_with("appsettings.json")));
    let is_noise = relative.contains("/node_modules/") || relative.contains("/vendor/");
    let is_project = name.starts_with("application") && of_kind;
    !is_noise
        && ((of_application && (exact.contains(&name) || is_project || (is_settings && of_kind)))
            || is_data
            || of_windows
            || relative.starts_with("usr/local/etc/")
            || leases.iter().any(|place| relative.starts_with(place)))
}

/// Lines with their numbers, without comments and empty ones.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(at, line)| (at + 1, line.trim()))
        .filter(|(_, line)| {
            !line.is_empty() && line.len() <= MAX_LINE && !line.starts_with(['#', ';'])
        })
}

fn reference(file: &str, (line, text): (usize, &str), target: &str, service: &str) -> Reference {
    Reference {
        file: file.to_owned(),
        line,
        key: None,
        text: printable(&without_secrets(text)),
        target: target.to_owned(),
        service: Some(service.to_owned()),
        port: services::by_key(service).and_then(|s| s.ports.first().copied()),
        kind: None,
        weight: Weight::Normal,
    }
}

/// A log line with the values of passwords blanked; the rest of it stays.
pub(crate) fn without_logged_secrets(text: &str) -> String {
    let blanked = match SECRET.as_ref() {
        Some(secret) => secret.replace_all(text, "${1}…"),
        None => text.into(),
    };
    let words = blanked.split(' ').map(blank_url_password);
    words.collect::<Vec<_>>().join(" ")
}

/// Evidence is printed and stored: passwords in it are blanked.
fn without_secrets(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let mut out = text.to_owned();
    if lower.is_ascii() && lower.len() == text.len() {
        for word in ["password", "passwd", "bindpw", "secret", "pwd"] {
            if let Some(at) = lower.find(word) {
                let end = (at + word.len()).min(out.len());
                out.truncate(end);
                out.push_str("=…");
                break;
            }
        }
    }
    blank_url_password(&out)
}

fn blank_url_password(text: &str) -> String {
    let Some((before, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    let authority_end = rest.find(['/', ' ', '"', '\'']).unwrap_or(rest.len());
    let (authority, after) = rest.split_at(authority_end);
    match authority
        .rsplit_once('@')
        .and_then(|(user, host)| Some((user.split_once(':')?.0, host)))
    {
        Some((user, host)) => format!("{before}://{user}:…@{host}{after}"),
        None => text.to_owned(),
    }
}

/// Host and port of `scheme://user:password@host:port/path`, with the scheme.
pub(crate) fn url_parts(word: &str) -> Option<(&str, &str, Option<u16>)> {
    let (scheme, rest) = word.split_once("://")?;
    let begins = scheme.rfind(|c: char| !(c.is_ascii_alphanumeric() || "+:-.".contains(c)));
    let scheme = &scheme[begins.map_or(0, |at| {
        at + scheme[at..].chars().next().map_or(1, char::len_utf8)
    })..];
    let authority = rest
        .split(['/', '?', '"', '\'', ' ', ',', ';', ')', '>', '<'])
        .next()?;
    let host_port = authority.rsplit('@').next()?;
    let (host, port) = host_and_port(host_port);
    (!host.is_empty()).then_some((scheme, host, port))
}

pub(crate) fn host_and_port(text: &str) -> (&str, Option<u16>) {
    if let Some(rest) = text.strip_prefix('[')
        && let Some((host, after)) = rest.split_once(']')
    {
        return (host, after.strip_prefix(':').and_then(|p| p.parse().ok()));
    }
    match text.split_once(':') {
        Some((host, port)) if !port.contains(':') => (host, port.parse().ok()),
        _ => (text, None),
    }
}

/// Whether a word could be a host name or an address.
pub(crate) fn is_host_like(word: &str) -> bool {
    let fits = !word.is_empty() && word.len() <= 253;
    let characters = word
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "-_.:".contains(c));
    fits && characters && word.contains(|c: char| c.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// (target, service, line) of every reference in one file.
    pub(super) fn found(file: &str, text: &str) -> Vec<(String, String, usize)> {
        read_references(&ConfigFiles::of(&[(file, text)]))
            .into_iter()
            .map(|r| (r.target, r.service.unwrap_or_default(), r.line))
            .collect()
    }

    pub(super) fn check(file: &str, text: &str, expected: &[(&str, &str, usize)]) {
        let expected: Vec<_> = expected
            .iter()
            .map(|(t, s, l)| ((*t).to_owned(), (*s).to_owned(), *l))
            .collect();
        assert_eq!(found(file, text), expected, "{file}:\n{text}");
    }

    #[test]
    fn urls_give_their_parts() {
        assert_eq!(
            url_parts("url=\"postgres://u:p@db:5433/x\""),
            Some(("postgres", "db", Some(5433)))
        );
        assert_eq!(
            url_parts("ldap://[fd00::1]:389/"),
            Some(("ldap", "fd00::1", Some(389)))
        );
        assert_eq!(
            url_parts("jdbc:postgresql://db/x"),
            Some(("jdbc:postgresql", "db", None))
        );
        assert_eq!(url_parts("ldapi:///"), None);
    }

    #[test]
    fn nobody_is_no_reference() {
        assert!(survey_configuration("etc/app.conf", "url = :y]\nyyy432/x\n").is_empty());
    }

    #[test]
    fn log_lines_hold_no_password_and_keep_the_rest() {
        assert_eq!(
            without_logged_secrets("dial postgres://u:geheim@db1/x password=foo failed"),
            "dial postgres://u:…@db1/x password=… failed"
        );
        let line = "password authentication failed for user \"app\"";
        assert_eq!(without_logged_secrets(line), line);
    }

    #[test]
    fn evidence_holds_no_password() {
        assert_eq!(
            without_secrets("postgres://u:geheim@db/x"),
            "postgres://u:…@db/x"
        );
        assert_eq!(
            without_secrets("host=db password=geheim"),
            "host=db password=…"
        );
    }

    #[test]
    fn files_that_only_lie_there() {
        for (file, expected) in [
            ("etc/bind/db.site.example", false),
            ("etc/nginx/conf.d/web.site.example.conf", false),
            ("etc/app/app.conf.example", true),
            ("etc/nginx/sites-available/a", true),
            ("etc/nginx/sites-enabled/a", false),
            ("etc/fstab.old", true),
        ] {
            assert_eq!(is_stale(file), expected, "{file}");
        }
    }

    proptest::proptest! {
        #[test]
        fn hostile_files_never_panic(text in "(host|server|://|=|:|@|\\[|\\]|ldap|url|é|password|nfs|\\PC|[ \t\n\"',;/=]|[a-z0-9.]{1,9}){0,40}") {
            for file in ["etc/resolv.conf", "etc/fstab", "etc/ldap.conf", "etc/pg_hba.conf", "etc/chrony.conf", "etc/app.conf", "etc/netplan/a.yaml", "etc/auto.nfs"] {
                let _ = found(file, &text);
            }
        }
    }
}
